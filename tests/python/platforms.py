# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
The platforms on which the tests of FlashForce run, and short ways to make Contexts on them.

A platform in PLATFORMS must be there with our kernel: if it cannot be loaded, its tests fail. To test another one, add it to the
list; a test takes part through `pytestmark = eachPlatform` (or the same as a decorator) and an argument called `platform`. A platform
that runs in several precisions is in PLATFORMS in the one that most people use; with eachPrecision a test runs in all of them.
"""

import functools
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace

import openmm
import pytest

from openmmflash import FlashForce  # loads the plugins where OpenMM itself does not look for them

# PoCL, the OpenCL of machines without a GPU, compiles ten times faster so, and evaluates half as fast. (The C++ tests optimize, too.)
os.environ.setdefault("POCL_EXTRA_BUILD_FLAGS", "-cl-opt-disable")


@dataclass(frozen=True)
class TestedPlatform:
    """
    A platform and how exact it is.

    Tests state what they ask for in exact arithmetic, and get at least what the platform allows: of energies `tolerance(wanted)`, relative
    to the energy or, where parts of it may cancel, to the sum of the magnitudes of what was added up (`energy`); of forces
    `forceTolerance(wanted)`, relative to their root mean square. Where a platform must give the same bits, tests ask for equality.
    """

    __test__ = False  # not a test class, whatever its name

    name: str  # OpenMM's
    properties: dict = field(default_factory=dict, hash=False)
    precision: float = 1e-14  # rounding of one energy, relative to the sum of what was added up: what finite differences suffer from
    gradient: float = 1e-6  # of the RMS force: what finite differences of its energies can tell
    energies: float = 1e-12  # agreement of energies with exact arithmetic
    forces: float = 1e-12  # agreement of forces with exact arithmetic
    halfWeights: bool = False  # whether FlashForce.Half rounds the weights
    singlePositions: bool = False  # positions are kept in single precision; those of random_models are such numbers
    tableTolerance: float = 1e-6  # of forces that have the default one: Contexts are made with this one instead
    compiles: bool = False  # programs are compiled for each new System: Contexts are costly

    def __str__(self) -> str:
        return "-".join([self.name, *filter(None, [self.properties.get("Precision")])])

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
        if self.tableTolerance != 1e-6:
            refine(system, self.tableTolerance)
        integrator = openmm.VerletIntegrator(0.001) if integrator is None else integrator
        context = openmm.Context(system, integrator, self.get(), self.properties)
        if box is not None:
            context.setPeriodicBoxVectors(*box)
        if positions is not None:
            context.setPositions(positions)
        return context


def refine(system, tolerance):
    """Give the FlashForces of a System, also those in collective variables, another table tolerance where they have the default one."""
    forces = list(system.getForces())
    while forces:
        force = forces.pop()
        if FlashForce.isinstance(force):
            flash = FlashForce.cast(force)
            if flash.getTableTolerance() == 1e-6:
                flash.setTableTolerance(tolerance)
        elif isinstance(force, openmm.CustomCVForce):
            forces += [force.getCollectiveVariable(i) for i in range(force.getNumCollectiveVariables())]


MINIMIZE = """
import openmm
system, force = openmm.System(), openmm.HarmonicBondForce()
for i in range(4):
    system.addParticle(1.0)
    force.addBond(i, (i + 1) % 4, 0.1, 1000)
system.addForce(force)
context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform({name!r}), {properties!r})
context.setPositions([[0, 0, 0], [0.2, 0, 0], [0.2, 0.3, 0], [0, 0.1, 0.1]])
openmm.LocalEnergyMinimizer.minimize(context)
"""


@functools.cache
def requireMinimizer(platform: TestedPlatform) -> None:
    """Skip where OpenMM's minimizer ends the process whatever the forces are, as it does with PoCL 3.1: tried without ours."""
    code = MINIMIZE.format(name=platform.name, properties=platform.properties)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    if run.returncode < 0:
        pytest.skip(f"LocalEnergyMinimizer without a FlashForce ends with signal {-run.returncode} on {platform}")
    assert run.returncode == 0, run.stderr


REFERENCE = TestedPlatform("Reference")
# Networks in single precision, on tables that are certified to 1e-6; two threads, whatever the machine has.
CPU = TestedPlatform("CPU", {"Threads": "2"}, precision=1.5e-7, gradient=5e-3, energies=2e-6, forces=2e-5, halfWeights=True)
OPENCL_SINGLE = TestedPlatform(
    "OpenCL",
    {"Precision": "single"},
    precision=2.5e-7,
    gradient=5e-3,
    energies=2e-6,
    forces=2e-5,
    halfWeights=True,
    singlePositions=True,
    compiles=True,
)
OPENCL_MIXED = TestedPlatform(
    "OpenCL", {"Precision": "mixed"}, precision=2.5e-7, gradient=5e-3, energies=1e-6, forces=1e-5, halfWeights=True, compiles=True
)
OPENCL_DOUBLE = TestedPlatform(
    "OpenCL", {"Precision": "double"}, precision=1e-14, gradient=1e-6, energies=1e-9, forces=1e-9, tableTolerance=7e-11, compiles=True
)
PLATFORMS = [REFERENCE, CPU, OPENCL_SINGLE]
PRECISIONS = [*PLATFORMS, OPENCL_MIXED, OPENCL_DOUBLE]

# Thousands of steps of a dozen particles: two threads would mostly wait for each other, above all where other tests run beside them. No bit
# depends on the number of threads (test_cpu_platform.py).
CPU_ALONE = replace(CPU, properties={"Threads": "1"})
onHosts = pytest.mark.parametrize("platform", [REFERENCE, CPU_ALONE], ids=str)  # long runs, and what concerns no device
inLongRuns = pytest.mark.parametrize("platform", [REFERENCE, CPU_ALONE, OPENCL_SINGLE], ids=str)
eachPlatform = pytest.mark.parametrize("platform", PLATFORMS, ids=str)
eachPrecision = pytest.mark.parametrize("platform", PRECISIONS, ids=str)


def eachPlatformAnd(names, cases, inEachPrecision):
    """Parametrize `platform` and `names`: all cases on all platforms, and some of them in the other precisions, too."""
    assert set(inEachPrecision) <= set(cases)
    arguments = [(platform, *case) for platform in PLATFORMS for case in cases]
    arguments += [(platform, *case) for platform in PRECISIONS if platform not in PLATFORMS for case in inEachPrecision]
    ids = ["-".join(str(value) for value in (*case, platform)) for platform, *case in arguments]
    return pytest.mark.parametrize(("platform", *names), arguments, ids=ids)
