# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
What the CPU platform promises beyond the right forces: the same bits from run to run, on any number of threads, whatever its neighbor lists
have been through; every instruction set; tables as exact as was asked for.
"""

import concurrent.futures

import force_cases
import numpy as np
import openmm
import pytest
from force_cases import CASES, assertSameBits, evaluate, positionsOf
from random_models import aniParts, makeModel, makeSystem, randomPositions, randomTypes, schnetParts

from openmmflash import FlashModel
from openmmflash.convert._writer import modelBytes
from platforms import CPU, REFERENCE, TestedPlatform

SKIN, ISA = "OPENMMFLASH_CPU_SKIN", "OPENMMFLASH_CPU_ISA"
eachCase = pytest.mark.parametrize("name", CASES)


class Case(force_cases.Case):
    def context(self, threads=2, integrator=None, platform="CPU"):
        properties = {"Threads": str(threads)} if platform == "CPU" else {}
        return self.contextOn(TestedPlatform(platform, properties), integrator)


@eachCase
def test_sameBitsFromRunToRun(name):
    """Twenty Contexts, and evaluations without forces between them."""
    case = Case(name)
    expected = evaluate(case.context())
    assert np.isfinite(expected[1]).all() and np.abs(expected[1]).max() > 1
    for _ in range(19):
        context = case.context()
        assert context.getState(energy=True).getPotentialEnergy()._value == expected[0]
        assertSameBits(evaluate(context), expected)


@eachCase
def test_sameBitsOnAnyNumberOfThreads(name):
    case = Case(name)
    expected = evaluate(case.context(1))
    for threads in (2, 3, 8):
        context = case.context(threads)
        assert case.force.getCompilationReport(context)["threads"] == threads
        assertSameBits(evaluate(context), expected, f"{threads} threads")
        parts = case.force.getParticleEnergies(context)
        assert parts == case.force.getParticleEnergies(case.context(1))
        context.getIntegrator().step(10)
    contexts = [case.context(threads) for threads in (1, 3)]
    for context in contexts:
        context.getIntegrator().step(50)
    np.testing.assert_array_equal(positionsOf(contexts[0]), positionsOf(contexts[1]))


@eachCase
def test_sameBitsWithAnySkin(name, monkeypatch):
    case = Case(name)
    expected = evaluate(case.context())
    for skin in ("0", "0.03", "0.5", "1"):
        monkeypatch.setenv(SKIN, skin)
        assertSameBits(evaluate(case.context()), expected, f"skin {skin}")


@eachCase
def test_dynamicsDoNotDependOnTheAgeOfNeighborLists(name, monkeypatch):
    """400 steps in which lists are built now and then, against lists built at every step; on the way, against new Contexts."""
    case = Case(name)
    start = case.equilibrated(CPU)

    def makeContext():
        context = case.context()
        context.setState(start)
        return context

    context = makeContext()
    monkeypatch.setenv(SKIN, "0")
    always = makeContext()
    monkeypatch.delenv(SKIN)
    for _ in range(8):
        for one in (context, always):
            one.getIntegrator().step(50)
        np.testing.assert_array_equal(positionsOf(context), positionsOf(always))
        fresh = case.context()
        fresh.setPositions(positionsOf(context))
        assertSameBits(evaluate(context), evaluate(fresh))
    # Half the default skin: the lists of the first Context cannot have lasted.
    moved = np.linalg.norm(positionsOf(context) - start.getPositions(asNumpy=True)._value, axis=1)
    assert moved.max() > 0.05 * case.model.getCutoff()


@pytest.mark.parametrize("name", [name for name, (_, _, box, _) in CASES.items() if box is not None])
def test_particlesThatCrossManyBoxes(name):
    """A wind that carries each particle of its own through several boxes; the forces are those of a new Context at the same positions."""
    case = Case(name)
    context = case.context()
    expected = evaluate(context)
    rng = np.random.default_rng(82)
    wind = rng.normal(scale=0.3, size=case.x.shape)
    x = case.x
    for step in range(30):
        x = x + wind
        context.setPositions(x)
        fresh = case.context()
        fresh.setPositions(x)
        assertSameBits(evaluate(context), evaluate(fresh), f"step {step}")
    assert np.abs((x - case.x) @ np.linalg.inv(case.box)).max() > 5
    # Whole box vectors change nothing but the last digits of differences.
    context.setPositions(case.x + rng.integers(-40, 41, case.x.shape) @ case.box)
    energy, forces = evaluate(context)
    assert energy == pytest.approx(expected[0], rel=0, abs=CPU.energies * sum(map(abs, case.force.getParticleEnergies(context))))
    assert np.abs(forces - expected[1]).max() < CPU.forces * np.sqrt(np.mean(expected[1] ** 2))


@pytest.mark.parametrize("name", ["schnet in a box", "ani in a box"])
@pytest.mark.parametrize("flexible", [False, True])
def test_boxesThatChange(name, flexible):
    """After moves of a barostat, accepted and refused, the forces are those of a new Context."""
    case = Case(name)
    barostat = openmm.MonteCarloFlexibleBarostat(500, 300, 3) if flexible else openmm.MonteCarloBarostat(500, 300, 3)
    barostat.setRandomNumberSeed(4)
    case.system.addForce(barostat)
    context = case.context()
    context.setVelocitiesToTemperature(300, 5)
    volumes = set()
    for _ in range(25):
        context.getIntegrator().step(4)
        state = context.getState(positions=True)
        volumes.add(state.getPeriodicBoxVolume()._value)
        fresh = case.context()
        fresh.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
        fresh.setPositions(state.getPositions())
        assertSameBits(evaluate(context), evaluate(fresh))
    assert len(volumes) > 2


@eachCase
def test_continuationInANewContext(name):
    """Positions and velocities are all there is: a new Context, on another number of threads, goes on with the same bits."""
    case = Case(name)
    context = case.context(2)
    context.setState(case.equilibrated(CPU))
    context.getIntegrator().step(77)
    state, checkpoint = context.getState(positions=True, velocities=True), context.createCheckpoint()
    context.getIntegrator().step(100)
    other, third = case.context(3), case.context(2)
    other.setState(state)
    third.getIntegrator().step(20)
    third.loadCheckpoint(checkpoint)
    for one in (other, third):
        one.getIntegrator().step(100)
        np.testing.assert_array_equal(positionsOf(one), positionsOf(context))
        assertSameBits(evaluate(one), evaluate(context))


def test_contextsAtTheSameTime():
    """Contexts that run at the same time do not disturb each other."""
    cases = [Case(name) for name in CASES for _ in range(2)]

    def run(case):
        context = case.context(2)
        context.getIntegrator().step(60)
        return positionsOf(context)

    expected = [run(case) for case in cases]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(run, cases), expected):
            np.testing.assert_array_equal(found, alone)


NEEDED = {
    "v2": ("sse4_2", "ssse3", "popcnt"),
    "v3": ("avx2", "fma", "bmi1", "bmi2", "f16c", "abm"),
    "v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}


def skipUnlessMachineHas(isa):
    """By what the kernel of the operating system says, not by what our own detection does."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line.split() for line in file if line.startswith("flags")), [])
    except OSError:
        flags = []
    missing = [name for level in NEEDED if level <= isa for name in NEEDED[level] if name not in flags]
    if missing:
        pytest.skip(f"{isa}: this machine lacks {', '.join(missing)}")


@pytest.mark.parametrize("isa", NEEDED)
@eachCase
def test_instructionSets(name, isa, monkeypatch):
    """Each against Reference; two of them may differ in the last digits, and do."""
    skipUnlessMachineHas(isa)
    case = Case(name)
    monkeypatch.setenv(ISA, isa)
    context = case.context()
    assert case.force.getCompilationReport(context)["isa"] == isa
    (energy, forces), (exactEnergy, exactForces) = evaluate(context), evaluate(case.context(platform="Reference"))
    scale = sum(map(abs, case.force.getParticleEnergies(context)))
    assert energy == pytest.approx(exactEnergy, rel=0, abs=CPU.energies * scale)
    assert np.abs(forces - exactForces).max() < CPU.forces * np.sqrt(np.mean(exactForces**2))
    assertSameBits(evaluate(case.context(1)), (energy, forces))


def test_theFastestInstructionSetIsChosen(monkeypatch):
    case = Case("schnet")
    monkeypatch.delenv(ISA, raising=False)
    chosen = case.force.getCompilationReport(case.context())["isa"]
    monkeypatch.setenv(ISA, "v9")
    with pytest.raises(openmm.OpenMMException, match='OPENMMFLASH_CPU_ISA is "v9"; this machine can run: ') as error:
        case.context()
    assert str(error.value).split(": ")[-1].split(", ")[0] == chosen


@pytest.mark.parametrize("skin", ["-0.1", "1.5", "nan", "inf", "wide", "0.1 nm", "0,1"])
def test_wrongSkin(skin, monkeypatch):
    case = Case("schnet")
    monkeypatch.setenv(SKIN, skin)
    with pytest.raises(openmm.OpenMMException, match=f'OPENMMFLASH_CPU_SKIN is "{skin}".* from 0 to 1'):
        case.context()


def tables(report):
    for member in report["network"]["members"]:
        yield from member["blocks"]
        if "neighborEmbedding" in member:
            yield member["neighborEmbedding"]


@pytest.mark.parametrize("name", ["schnet in a box", "large schnet in groups", "schnet with neighbor embedding"])
def test_tableTolerance(name):
    """Tables are as exact as was asked for, and say so; forces follow."""
    case = Case(name)
    _, exact = evaluate(case.context(platform="Reference"))
    pieces, errors = [], []
    for tolerance in (1e-2, 1e-4, 1e-6):
        case.force.setTableTolerance(tolerance)
        context = case.context()
        report = case.force.getCompilationReport(context)
        assert report["platform"] == "CPU" and report["network"]["tableTolerance"] == tolerance
        found = list(tables(report))
        assert len(found) >= 1
        for table in found:
            assert 0 < table["valueError"] <= tolerance and 0 < table["derivativeError"] <= 4 * tolerance
        pieces.append(report["network"]["pieces"])
        _, forces = evaluate(context)
        errors.append(np.abs(forces - exact).max() / np.sqrt(np.mean(exact**2)))
        assert errors[-1] < max(30 * tolerance, CPU.forces)
    assert pieces[0] < pieces[1] < pieces[2]
    assert errors[0] > 3 * errors[2] > 0


def test_toleranceThatCannotBeMet():
    case = Case("schnet in a box")
    case.force.setTableTolerance(1e-12)
    with pytest.raises(openmm.OpenMMException, match="1e-12") as error:
        case.context()
    assert "toler" in str(error.value)


def test_denseEnvironments():
    """More angular neighbors than any fixed-size buffer would hold, and thousands of neighbors."""
    for parts, n, density in ((aniParts(repulsion=None), 120, 250.0), (schnetParts(repulsion=None), 700, 1000.0)):
        rng = np.random.default_rng(83)
        model = FlashModel.fromBytes(modelBytes(*parts))
        system, force = makeSystem(model, randomTypes(model, n, rng))
        system.addForce(force)
        x = randomPositions(n, rng, density=density, distance=0.08)
        (energy, forces), (exactEnergy, exactForces) = (evaluate(platform.context(system, x)) for platform in (CPU, REFERENCE))
        scale = sum(map(abs, force.getParticleEnergies(CPU.context(system, x))))
        assert energy == pytest.approx(exactEnergy, rel=0, abs=CPU.energies * scale)
        # Forces of hundreds of neighbors cancel, and single components keep more rounding; one neighbor that is lost leaves far more.
        error, rms = np.abs(forces - exactForces), np.sqrt(np.mean(exactForces**2))
        assert np.sqrt(np.mean(error**2)) < CPU.forces * rms and error.max() < 10 * CPU.forces * rms


@pytest.mark.parametrize("name", ["mlcg", "ani-3"])
def test_manySmallGroups(name):
    """Three hundred groups of one to five particles, in no order, in one place."""
    rng = np.random.default_rng(84)
    model = makeModel(name)
    groups = np.repeat(np.arange(300) * 3, rng.integers(1, 6, 300))
    x = np.concatenate([randomPositions(np.sum(groups == g), rng) for g in np.unique(groups)])
    order = rng.permutation(len(groups))
    groups, x = groups[order], x[order]
    system, force = makeSystem(model, randomTypes(model, len(groups), rng), groups=[int(g) for g in groups])
    system.addForce(force)
    contexts = CPU.context(system, x), REFERENCE.context(system, x)
    (energy, forces), (exactEnergy, exactForces) = map(evaluate, contexts)
    energies, exactEnergies = (np.array(force.getGroupEnergies(context)) for context in contexts)
    scale = np.abs(exactEnergies).sum()
    assert energy == pytest.approx(exactEnergy, rel=0, abs=CPU.energies * scale)
    assert np.abs(energies - exactEnergies).max() < 20 * CPU.energies * np.abs(exactEnergies).max()
    assert np.abs(forces - exactForces).max() < CPU.forces * np.sqrt(np.mean(exactForces**2))


def test_pairsBelowFirstKnot():
    """Pairs nearer than the tables begin are counted."""
    case = Case("schnet in a box")
    context = case.context()
    evaluate(context)
    report = case.force.getCompilationReport(context)["network"]
    assert report["pairsBelowFirstKnot"] == 0
    positions = context.getState(positions=True).getPositions(asNumpy=True)._value
    positions[1] = positions[0] + [0.3 * report["firstKnot"], 0, 0]
    context.setPositions(positions)
    _, forces = evaluate(context)
    assert case.force.getCompilationReport(context)["network"]["pairsBelowFirstKnot"] == 1
    assert np.isfinite(forces).all()
