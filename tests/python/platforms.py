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
    """A platform and how exact it is."""

    __test__ = False  # not a test class, whatever its name

    name: str
    properties: dict = field(default_factory=dict, hash=False)
    precision: float = 1e-14  # rounding of one energy, relative to the sum of what was added up

    def tolerance(self, wanted: float) -> float:
        """The tolerance that a test asks for in exact arithmetic, or what this platform's rounding allows."""
        return max(wanted, 100 * self.precision)

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


PLATFORMS = [TestedPlatform("Reference")]

eachPlatform = pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
