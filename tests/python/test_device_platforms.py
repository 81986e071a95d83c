# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
What a platform for devices promises beyond the right forces: the same bits in every run, whatever its neighbor rows and cells have been
through; nothing lost where something was too small; large and uneven systems; particles that OpenMM sorts and moves into the box.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm
import pytest
from force_cases import CASES, LARGE, Case, assertSameBits, evaluate, positionsOf
from random_models import aniParts, makeModel, makeSystem, randomTypes, toGrid

from openmmflash import FlashForce, FlashModel
from openmmflash.bench import water
from openmmflash.convert._writer import modelBytes
from platforms import CPU, PRECISIONS, REFERENCE

SKIN, CAPACITY, LARGE_GROUP, LOCAL_BYTES = (f"OPENMMFLASH_DEVICE_{name}" for name in ("SKIN", "CAPACITY", "LARGE_GROUP", "LOCAL_BYTES"))
CELLS, BRUTE_FORCE = "1", "1000000"  # for groups of more particles than this

eachCase = pytest.mark.parametrize("name", CASES)
DEVICES = [platform for platform in PRECISIONS if platform.compiles]
SINGLE = DEVICES[0]
eachDevice = pytest.mark.parametrize("platform", [SINGLE], ids=str)
# All cases in single precision, and two in the others.
eachCaseAndPrecision = pytest.mark.parametrize(
    ("platform", "name"),
    [(SINGLE, name) for name in CASES] + [(other, name) for other in DEVICES[1:] for name in ("large schnet in groups", "ani in a box")],
    ids=str,
)


def rms(forces):
    return np.sqrt(np.mean(np.square(forces)))


def witness(platform):
    """A platform that is as exact; Reference is slow."""
    return CPU if platform is SINGLE else REFERENCE


def assertAgree(platform, context, force, exact, groups=-1, particles=None):
    """A Context against the witness's, of the force group and the particles of a FlashForce."""
    energies, allowed = max(platform.energies, witness(platform).energies), max(platform.forces, witness(platform).forces)
    (energy, forces), (exactEnergy, exactForces) = (evaluate(one, groups=groups) for one in (context, exact))
    scale = sum(map(abs, force.getParticleEnergies(exact)))
    assert scale > 1
    assert energy == pytest.approx(exactEnergy, rel=0, abs=energies * scale)
    forces, exactForces = (f if particles is None else f[particles] for f in (forces, exactForces))
    error = np.abs(forces - exactForces)
    # Both are rounded; of many components the worst keeps more of it. A pair that is lost or doubled leaves far more.
    assert rms(error) < allowed * rms(exactForces)
    assert error.max() < 10 * allowed * rms(exactForces)


# The same bits.


@eachCaseAndPrecision
def test_sameBitsInTwentyRuns(platform, name):
    """Five Contexts, four times each; what was evaluated in between leaves no trace."""
    case = Case(name)
    elsewhere = toGrid(1.25 * case.x + 0.125)
    expected = None
    for _ in range(5):
        context = case.contextOn(platform)
        for _ in range(4):
            context.setPositions(case.x)
            found = evaluate(context)
            if expected is None:
                expected = found
                assert np.isfinite(found[1]).all() and np.abs(found[1]).max() > 1
            assertSameBits(found, expected)
            assert context.getState(energy=True).getPotentialEnergy()._value == expected[0]
            context.setPositions(elsewhere)
            assert evaluate(context)[0] != expected[0]


@eachDevice
@eachCase
def test_nothingIsLostThatDoesNotFit(platform, name, monkeypatch):
    """Rows that begin with room for one particle grow while a step is repeated; with cells, so do rows of candidates."""
    case = Case(name)
    expected = evaluate(case.contextOn(platform))
    for group in (BRUTE_FORCE, CELLS):
        monkeypatch.setenv(LARGE_GROUP, group)
        for capacity in ("1", "200"):
            monkeypatch.setenv(CAPACITY, capacity)
            context = case.contextOn(platform)
            assert context.getState(energy=True).getPotentialEnergy()._value == expected[0]
            assertSameBits(evaluate(context), expected, f"capacity {capacity}, groups of {group}")
            # What asks for no energy, and what asks for energies in parts, repeat it, too.
            context = case.contextOn(platform)
            np.testing.assert_array_equal(context.getState(forces=True).getForces(asNumpy=True)._value, expected[1])
            parts = case.force.getParticleEnergies(case.contextOn(platform))
            assert sum(parts) == pytest.approx(expected[0], rel=1e-6)


@eachDevice
@pytest.mark.parametrize("group", [BRUTE_FORCE, CELLS])
@pytest.mark.parametrize("name", ["large schnet in groups", "ani"])
def test_rowsThatGrowInTheMiddleOfARun(platform, name, group, monkeypatch):
    """Particles that come together while an integrator is at work: no step is made with what did not fit."""
    monkeypatch.setenv(LARGE_GROUP, group)
    case = Case(name)
    case.box = None
    case.force.setUsesPeriodicBoundaryConditions(False)
    n = len(case.x)
    # An inward wind brings particles from far apart to where they have dozens of neighbors.
    start = toGrid(3 * case.x)
    velocities = (case.x - start) / 0.02
    paths = []
    for capacity in ("1", "256"):
        monkeypatch.setenv(CAPACITY, capacity)
        context = case.contextOn(platform, positions=start)
        context.setVelocities(velocities)
        path = []
        for _ in range(4):
            context.getIntegrator().step(10)
            path.append(positionsOf(context))
        paths.append(path)
    np.testing.assert_array_equal(*paths)
    assert np.isfinite(paths[0]).all() and len(paths[0][-1]) == n
    assert rms(paths[0][-1] - case.x) < 0.5 * rms(start - case.x)


@eachCaseAndPrecision
def test_cellsFindWhatBruteForceFinds(platform, name, monkeypatch):
    case = Case(name)
    rng = np.random.default_rng(101)
    results = []
    for group in (BRUTE_FORCE, CELLS):
        monkeypatch.setenv(LARGE_GROUP, group)
        results.append(evaluate(case.contextOn(platform)))
    assertSameBits(*results)
    if case.box is not None:
        # Anywhere, in any image.
        results = []
        x = case.x + rng.integers(-3, 4, case.x.shape) @ case.box
        for group in (BRUTE_FORCE, CELLS):
            monkeypatch.setenv(LARGE_GROUP, group)
            results.append(evaluate(case.contextOn(platform, positions=x)))
        assertSameBits(*results)


@eachDevice
@pytest.mark.parametrize("name", ["schnet", "large schnet in groups", "ani in a box"])
def test_dynamicsDoNotDependOnTheSkin(platform, name, monkeypatch):
    """Candidates of any age, or none, and on the way a new Context."""
    case = Case(name)
    start = case.equilibrated(CPU)
    contexts = []
    for skin, group in (("0", CELLS), ("0.1", CELLS), ("0.5", CELLS), ("0.1", BRUTE_FORCE)):
        monkeypatch.setenv(SKIN, skin)
        monkeypatch.setenv(LARGE_GROUP, group)
        contexts.append(case.contextOn(platform))
        contexts[-1].setState(start)
    for _ in range(2):
        for context in contexts:
            context.getIntegrator().step(80)
            np.testing.assert_array_equal(positionsOf(context), positionsOf(contexts[0]))
        fresh = case.contextOn(platform, positions=positionsOf(contexts[0]))
        expected = evaluate(fresh)
        for context in contexts:
            assertSameBits(evaluate(context), expected)
    # Half the default skin: candidates cannot have lasted.
    moved = np.linalg.norm(positionsOf(contexts[0]) - start.getPositions(asNumpy=True)._value, axis=1)
    assert moved.max() > 0.05 * case.model.getCutoff()


# Boxes.


@eachDevice
@pytest.mark.parametrize("group", [BRUTE_FORCE, CELLS])
@pytest.mark.parametrize("name", [name for name, (_, _, box, _) in CASES.items() if box is not None])
def test_particlesThatCrossManyBoxes(platform, name, group, monkeypatch):
    """A wind that carries each particle through several boxes; the results are those of a new Context at the same positions."""
    monkeypatch.setenv(LARGE_GROUP, group)
    case = Case(name)
    context = case.contextOn(platform)
    energy, forces = evaluate(context)
    rng = np.random.default_rng(82)
    wind = rng.normal(scale=1.5, size=case.x.shape)
    x = case.x
    for step in range(4):
        x = toGrid(x + wind)
        context.setPositions(x)
        assertSameBits(evaluate(context), evaluate(case.contextOn(platform, positions=x)), f"step {step}")
    assert np.abs((x - case.x) @ np.linalg.inv(case.box)).max() > 5
    # Whole box vectors change nothing but the last digits of differences; one particle goes much farther than others.
    far = rng.integers(-5, 6, case.x.shape)
    far[1] = [12, -9, 7]
    context.setPositions(case.x + far @ case.box)
    movedEnergy, movedForces = evaluate(context)
    scale = sum(map(abs, case.force.getParticleEnergies(context)))
    assert movedEnergy == pytest.approx(energy, rel=0, abs=platform.energies * scale)
    assert np.abs(movedForces - forces).max() < platform.forces * rms(forces)


@eachDevice
@pytest.mark.parametrize("group", [BRUTE_FORCE, CELLS])
def test_boxThatShrinksBelowThreeCells(platform, group, monkeypatch):
    """Cells are searched where there are three along each side; a box that gets smaller, and larger again, goes from one to the other."""
    monkeypatch.setenv(LARGE_GROUP, group)
    case = Case("ani in a box")
    context = case.contextOn(platform)
    for factor in (1.0, 0.7, 0.4, 0.65, 0.8, 1.0):
        box = toGrid(factor * LARGE)
        x = toGrid(factor * case.x)
        fresh = openmm.XmlSerializer.clone(case.system)
        fresh.setDefaultPeriodicBoxVectors(*box)
        context.setPeriodicBoxVectors(*box)
        context.setPositions(x)
        assertSameBits(evaluate(context), evaluate(platform.context(fresh, x)), f"{factor}")
    # The box alone: no particle moves, and its neighbors are others.
    for shift in (0.0625, 0.125, -0.0625):
        box = LARGE + shift * np.diag([1, -1, 1])
        fresh.setDefaultPeriodicBoxVectors(*box)
        context.setPeriodicBoxVectors(*box)
        assertSameBits(evaluate(context), evaluate(platform.context(fresh, x)), f"box changed by {shift}")


def waterModel():
    """ANI with random weights, small enough for tens of thousands of atoms."""
    return FlashModel.fromBytes(modelBytes(*aniParts(seed=5, units=("angstrom", "kcal/mol"))))


def waterSystem(edge):
    """edge^3 molecules of water with harmonic bonds and angles, and their positions and box."""
    numbers, x, box = water.build(edge)
    system = openmm.System()
    for number in numbers:
        system.addParticle(16.0 if number == 8 else 1.0)
    system.setDefaultPeriodicBoxVectors(*np.diag(toGrid(box)))
    bonds = openmm.HarmonicBondForce()
    for i in range(0, len(numbers), 3):
        bonds.addBond(i, i + 1, 0.09572, 200000)
        bonds.addBond(i, i + 2, 0.09572, 200000)
        bonds.addBond(i + 1, i + 2, 0.15139, 200000)
    bonds.setForceGroup(1)
    system.addForce(bonds)
    return system, [2 if number == 8 else 0 for number in numbers], toGrid(x)


@eachDevice
def test_fiftyThousandAtomsOfWater(platform):
    system, types, x = waterSystem(26)
    assert len(x) > 50000
    force = FlashForce(waterModel())
    force.addParticles(range(len(x)), types, [0] * len(x))
    force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    context, exact = platform.context(system, x), CPU.context(system, x)
    assertAgree(platform, context, force, exact, groups={0})
    expected = evaluate(context)
    context.setPositions(x)
    assertSameBits(evaluate(context), expected)


@eachDevice
@pytest.mark.parametrize("name", ["mlcg", "ani-3"])
def test_groupsOfOneToThreeThousandParticles(platform, name, monkeypatch):
    """In one force, in no order and in one place, through cells and by brute force."""
    model = makeModel(name)
    rng = np.random.default_rng(102)
    sizes = [1, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 127, 129, 300, 1000, 3000]
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    x = np.empty((len(groups), 3))
    for group, size in enumerate(sizes):
        # A lattice whose points are moved a little: twenty-five particles per nm^3.
        edge = int(np.ceil(size ** (1 / 3)))
        points = np.array(list(np.ndindex(edge, edge, edge)))[rng.permutation(edge**3)[:size]]
        x[groups == group] = toGrid(0.34 * points + rng.uniform(-0.06, 0.06, (size, 3)))
    system, force = makeSystem(model, randomTypes(model, len(x), rng), groups=[int(7 * g) for g in groups])
    system.addForce(force)
    context, exact = platform.context(system, x), CPU.context(system, x)
    assertAgree(platform, context, force, exact)
    energies, exactEnergies = (np.array(force.getGroupEnergies(one)) for one in (context, exact))
    parts, exactParts = (np.array(force.getParticleEnergies(one)) for one in (context, exact))
    assert np.abs(parts - exactParts).max() < 10 * CPU.energies * np.abs(exactParts).max()
    for group, size in enumerate(sizes):
        scale = np.abs(exactParts[groups == group]).sum()
        assert energies[group] == pytest.approx(exactEnergies[group], rel=0, abs=2 * CPU.energies * scale), size
    expected = evaluate(context)
    monkeypatch.setenv(LARGE_GROUP, BRUTE_FORCE)
    assertSameBits(evaluate(platform.context(system, x)), expected)


# Where OpenMM has particles sorted, moved into the box, or moved with their molecules.


def soluteInWater(edge, periodic):
    """
    Water that OpenMM sorts, because a NonbondedForce has a cutoff, and a FlashForce on part of it: periodic on every other molecule, or not
    periodic on two groups of particles that were bound to each other nowhere else.
    """
    system, types, x = waterSystem(edge)
    nonbonded = openmm.NonbondedForce()
    for i in range(len(x)):
        nonbonded.addParticle(*((-0.8, 0.3166, 0.65) if i % 3 == 0 else (0.4, 1, 0)))
    for i in range(0, len(x), 3):
        for pair in ((i, i + 1), (i, i + 2), (i + 1, i + 2)):
            nonbonded.addException(*pair, 0, 1, 0)
    nonbonded.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    nonbonded.setCutoffDistance(0.7)
    nonbonded.setForceGroup(2)
    system.addForce(nonbonded)
    force = FlashForce(waterModel())
    if periodic:
        particles = [i for i in range(len(x)) if i // 3 % 2 == 0][::-1]
        force.addParticles(particles, [types[i] for i in particles], [0] * len(particles))
        force.setUsesPeriodicBoundaryConditions(True)
    else:
        # The molecules nearest to two places, one of them a corner of the box, into which OpenMM moves molecules: it must not part them.
        edge = system.getDefaultPeriodicBoxVectors()[0][0]._value
        particles, groups = [], []
        for group, place in enumerate(([0, 0, 0], [0.9, 0.9, 0.9])):
            images = edge * np.round((x[::3] - place) / edge)
            near = np.argsort(np.linalg.norm(x[::3] - images - place, axis=1))
            for m in [m for m in near if 3 * m not in particles][:4]:
                x[3 * m : 3 * m + 3] -= images[m]
                particles += [3 * m, 3 * m + 1, 3 * m + 2]
            groups += [group] * 12
        assert (x[particles[:12]].min(axis=0) < -0.05).any() and (x[particles[:12]].max(axis=0) > 0.05).any()
        force.addParticles(particles, [types[i] for i in particles], groups)
    force.setForceGroup(0)
    system.addForce(force)
    return system, force, x, particles


@pytest.mark.parametrize(("platform", "periodic"), [(SINGLE, True), *((platform, False) for platform in DEVICES)], ids=str)
def test_particlesThatOpenMMSorts(platform, periodic):
    """Twice more than the 250 steps after which OpenMM looks for a better order; and new types and groups then."""
    system, force, x, particles = soluteInWater(5, periodic)
    integrator = openmm.LangevinMiddleIntegrator(600, 5.0, 0.0005)
    integrator.setRandomNumberSeed(103)
    context = platform.context(system, x, integrator)
    exact = witness(platform).context(system)
    others = np.setdiff1d(np.arange(len(x)), particles)
    for steps in (0, 270, 270):
        integrator.step(steps)
        y = positionsOf(context)
        exact.setPositions(y)
        assertAgree(platform, context, force, exact, {0}, particles)
        assert not evaluate(context, groups={0})[1][others].any()
    assert np.linalg.norm(y - x, axis=1).max() > 0.1, "the particles should be moving"
    for i in range(0, len(particles), 2):
        particle, _, group = force.getParticleParameters(i)
        force.setParticleParameters(i, particle, 1, group)
    before = evaluate(context, groups={0})
    for one in (context, exact):
        force.updateParametersInContext(one)
    assert evaluate(context, groups={0})[0] != before[0]
    assertAgree(platform, context, force, exact, {0}, particles)
    integrator.step(30)
    exact.setPositions(positionsOf(context))
    assertAgree(platform, context, force, exact, {0}, particles)


@eachDevice
@pytest.mark.parametrize("anisotropic", [False, True])
def test_barostatMovesWholeMolecules(platform, anisotropic):
    system, types, x = waterSystem(6)
    force = FlashForce(waterModel())
    force.addParticles(range(len(x)), types, [0] * len(x))
    force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    exact = CPU.context(system)
    if anisotropic:
        barostat = openmm.MonteCarloAnisotropicBarostat(openmm.Vec3(3000, 1, 500), 300, True, False, True, 2)
    else:
        barostat = openmm.MonteCarloBarostat(3000, 300, 2)
    barostat.setRandomNumberSeed(104)
    withBarostat = openmm.XmlSerializer.clone(system)
    withBarostat.addForce(barostat)
    integrator = openmm.LangevinMiddleIntegrator(300, 5.0, 0.0002)
    integrator.setRandomNumberSeed(105)
    context = platform.context(withBarostat, x, integrator)
    volumes, force = set(), FlashForce.cast(system.getForce(1))
    for _ in range(5):
        integrator.step(10)
        state = context.getState(positions=True)
        volumes.add(state.getPeriodicBoxVolume()._value)
        y = state.getPositions(asNumpy=True)._value
        # Bonds are stiff: a molecule that was scaled, or left behind in another image, would show.
        assert np.linalg.norm(y[1::3] - y[::3], axis=1).max() < 0.12
        exact.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
        exact.setPositions(y)
        assertAgree(platform, context, force, exact, {0})
    assert len(volumes) > 2


# The texts of the kernels.

KERNELS = Path(__file__).resolve().parents[2] / "platforms" / "common" / "src" / "kernels"
# Texts without a kernel of their own, and a kernel that is made with them.
PARTS_OF = {
    "activation": "schnetForward",
    "aev": "computeAev",
    "dense": "schnetForward",
    "flash": "findPairs",
    "lowRankProduct": "schnetForward",
    "messageLowRank": "schnetForward",
    "messageTable": "schnetForward",
    "radialTable": "findPairs",
    "schnetRows": "schnetForward",
    "tileProduct": "schnetForward",
}
RUN = """
import os
from force_cases import Case, evaluate
from platforms import OPENCL_SINGLE
for name, filter in (("large schnet in groups", "table"), ("large schnet in groups", "lowRank"), ("ani in a box", None)):
    os.environ["OPENMMFLASH_DEVICE_FILTER"] = "2" if filter == "lowRank" else "1"
    case = Case(name)
    case.force.setTableTolerance(1e-2 if filter == "lowRank" else 1e-6)
    context = case.contextOn(OPENCL_SINGLE)
    assert evaluate(context)[1].any()
    assert case.force.getCompilationReport(context)["network"].get("filter") == filter
"""


def test_everyKernelIsCompiledAndRun(tmp_path):
    """PoCL compiles a kernel when it is executed first, and leaves it in its cache, in a folder of the kernel's name."""
    if SINGLE.name != "OpenCL":
        pytest.skip(f"needs PoCL, not {SINGLE.name}")
    context = Case("schnet").contextOn(SINGLE)
    vendor = context.getPlatform().getPropertyValue(context, "OpenCLPlatformName")
    if vendor != "Portable Computing Language":
        pytest.skip(f"needs PoCL, whose cache tells what ran, not {vendor}")
    environment = dict(os.environ, POCL_CACHE_DIR=str(tmp_path), PYTHONPATH=str(Path(__file__).parent)) | {LARGE_GROUP: CELLS}
    run = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr[-2000:]
    executed = {path.parent.parent.name for path in tmp_path.rglob("*.so")}
    assert len(executed) > 10, f"PoCL's cache is not understood: {sorted(executed)}"
    texts = {path.stem: path.read_text() for path in KERNELS.glob("*.cc")}
    declared = {name: re.findall(r"^KERNEL void (\w+)\(", text, re.MULTILINE) for name, text in texts.items()}
    assert {name for name, kernels in declared.items() if not kernels} == set(PARTS_OF)
    for name, kernels in declared.items():
        for kernel in kernels or [PARTS_OF[name]]:
            assert kernel in executed, f"{kernel}() of {name}.cc"


# What users may set.


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        *((SKIN, value, "from 0 to 1") for value in ("-0.1", "1.5", "nan", "inf", "wide", "0.1 nm", "0,1")),
        *((CAPACITY, value, "whole number from 1 to 1048576") for value in ("0", "-1", "2.5", "many", "1048577", "99999999999")),
        *((LARGE_GROUP, value, "whole number from 1 to 1073741824:") for value in ("0", "-1", "1e3", "all", "99999999999")),
        *(("OPENMMFLASH_DEVICE_ROWS", value, "16, 8, 4, 2 or 1") for value in ("0", "3", "32", "x")),
        *(("OPENMMFLASH_DEVICE_FILTER", value, "low rank") for value in ("-1", "3", "table")),
        *((LOCAL_BYTES, value, "whole number from 4096 to 1073741824:") for value in ("0", "4095", "48 KB", "1073741825")),
    ],
)
def test_wrongValuesOfVariables(variable, value, allowed, monkeypatch):
    case = Case("schnet")
    monkeypatch.setenv(variable, value)
    with pytest.raises(openmm.OpenMMException, match=f"FlashForce: .*{variable} is .*{value}.*{allowed}"):
        case.contextOn(SINGLE)


def test_severalDevices():
    """One Context on two devices is refused, in words."""
    case = Case("schnet")
    platform = SINGLE.get()
    with pytest.raises(openmm.OpenMMException, match="several devices.*one DeviceIndex"):
        openmm.Context(case.system, openmm.VerletIntegrator(0.001), platform, {"DeviceIndex": "0,0", "Precision": "single"})


def test_cellsAreThere():
    """The boxes in which tests mean to search cells have three of cutoff and skin along each side."""
    normals = np.cross(np.roll(LARGE, -1, 0), np.roll(LARGE, -2, 0))
    widths = np.linalg.det(LARGE) / np.linalg.norm(normals, axis=1)
    assert widths.min() > 3 * 1.1 * max(Case(name).model.getCutoff() for name in CASES)
