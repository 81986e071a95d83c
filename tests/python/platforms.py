# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
The platforms on which the tests of FlashForce run, and short ways to make Contexts on them.

A platform in PLATFORMS must be there with our kernel: if it cannot be loaded, its tests fail. To test another one, add it to the
list; a test takes part through `pytestmark = eachPlatform` (or the same as a decorator) and an argument called `platform`.
"""

from dataclasses import dataclass, field

import openmm
import pytest

import openmmflash  # noqa: F401  (loads the plugins where OpenMM itself does not look for them)


@dataclass(frozen=True)
class TestedPlatform:
    """
    A platform and how exact it is.

    Tests state what they ask for in exact arithmetic, and get at least what the platform allows: of energies `tolerance(wanted)`, relative
    to the energy or, where parts of it may cancel, to the sum of the magnitudes of what was added up (`energy`); of forces
    `forceTolerance(wanted)`, relative to their root mean square. Where a platform must give the same bits, tests ask for equality.
    """

    __test__ = False  # not a test class, whatever its name

    name: str
    properties: dict = field(default_factory=dict, hash=False)
    precision: float = 1e-14  # rounding of one energy, relative to the sum of what was added up: what finite differences suffer from
    gradient: float = 1e-6  # of the RMS force: what finite differences of its energies can tell
    energies: float = 1e-12  # agreement of energies with exact arithmetic
    forces: float = 1e-12  # agreement of forces with exact arithmetic
    halfWeights: bool = False  # whether FlashForce.Half rounds the weights

    def tolerance(self, wanted: float) -> float:
        return max(wanted, self.energies)

    def forceTolerance(self, wanted: float) -> float:
        return max(wanted, self.forces)

    def energy(self, expected: float, scale: float, wanted: float):
        """An energy within `wanted` of itself, or what the platform allows of a sum whose terms' magnitudes add up to `scale`."""
        return pytest.approx(expected, rel=wanted, abs=self.energies * scale)

    def get(self) -> openmm.Platform:
        try:
            return openmm.Platform.getPlatformByName(self.name)
        except openmm.OpenMMException as error:
            failures = "\n".join(openmm.Platform.getPluginLoadFailures()) or "no plugin reported a failure"
            pytest.fail(f"platform {self.name} should be there: {error}\n{failures}")

    def context(self, system, positions=None, integrator=None, box=None) -> openmm.Context:
        """A Context with these positions (nm) and box vectors (nm)."""
        integrator = openmm.VerletIntegrator(0.001) if integrator is None else integrator
        context = openmm.Context(system, integrator, self.get(), self.properties)
        if box is not None:
            context.setPeriodicBoxVectors(*box)
        if positions is not None:
            context.setPositions(positions)
        return context


PLATFORMS = [
    TestedPlatform("Reference"),
    # Networks in single precision, on tables that are certified to 1e-6; two threads, whatever the machine has.
    TestedPlatform("CPU", {"Threads": "2"}, precision=1.5e-7, gradient=5e-3, energies=2e-6, forces=2e-5, halfWeights=True),
]

eachPlatform = pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
