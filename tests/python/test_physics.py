# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Physical validation after GROMACS' example: what holds for any correct Hamiltonian dynamics and sampling, whatever the potential.

The system is a drop of particles that a random network and its pair prior hold at distances, in a soft harmonic trap, so that it is stable
for as long as one likes. Every run starts from the same equilibrated drop, and seeds are fixed.
"""

import functools
import sys
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import unit
from random_models import aniParts, makeModel, makeSystem, randomPositions, randomTypes

import openmmflash
from openmmflash import FlashForce, FlashModel
from openmmflash.convert._writer import modelBytes
from platforms import REFERENCE, eachPlatform, inLongRuns, onHosts

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "physics"))
import endurance
import nve

PARTICLES = 12
TEMPERATURE = 300.0
KT = (unit.MOLAR_GAS_CONSTANT_R * TEMPERATURE * unit.kelvin).value_in_unit(unit.kilojoule_per_mole)
# An ANI model of random weights is rough; scaled down, it is as stiff as a real one.
MODELS = {
    "schnet": lambda: makeModel("mlcg-repulsion-cutoff"),
    "ani": lambda: FlashModel.fromBytes(modelBytes(*aniParts(members=2, repulsion=5.5, units=("angstrom", "kcal/mol"), seed=9, width=5))),
}


def makeDrop(name):
    rng = np.random.default_rng(71)
    model = MODELS[name]()
    system, force = makeSystem(model, randomTypes(model, PARTICLES, rng), mass=20.0)
    system.addForce(force)
    trap = openmm.CustomExternalForce("200*(x^2+y^2+z^2)")
    for i in range(PARTICLES):
        trap.addParticle(i)
    system.addForce(trap)
    x = randomPositions(PARTICLES, rng, distance=0.22)
    return system, x - x.mean(axis=0)


@functools.cache
def equilibrate(name):
    """Positions and velocities of a drop after 2 ps at the temperature: the same on all platforms."""
    system, x = makeDrop(name)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 10.0, 0.001)
    integrator.setRandomNumberSeed(72)
    context = REFERENCE.context(system, x, integrator)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
    context.setVelocitiesToTemperature(TEMPERATURE, 73)
    integrator.step(2000)
    state = context.getState(positions=True, velocities=True)
    return state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value


def velocityVerlet(step):
    """Positions and velocities at the same time, so that their energy is a point of the shadow Hamiltonian's surface."""
    integrator = openmm.CustomIntegrator(step)
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    integrator.addComputePerDof("x", "x+dt*v")
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    return integrator


def runNVE(platform, name, step, time):
    """Times and total energies, twenty points a picosecond of simulated time and more."""
    x, v = equilibrate(name)
    system, _ = makeDrop(name)
    context = platform.context(system, x, velocityVerlet(step))
    context.setVelocities(v)
    every = max(1, round(0.004 / step))
    times, totals, potentials = [], [], []
    for k in range(round(time / (step * every))):
        state = context.getState(energy=True)
        times.append(k * step * every)
        potentials.append(state.getPotentialEnergy()._value)
        totals.append(potentials[-1] + state.getKineticEnergy()._value)
        context.getIntegrator().step(every)
    return np.array(times), np.array(totals), np.array(potentials)


@inLongRuns
@pytest.mark.parametrize("name", MODELS)
def test_energyIsConserved(platform, name):
    """The total energy does not drift: over 4 ps by less than a thousandth of what the potential energy fluctuates by."""
    times, totals, potentials = runNVE(platform, name, 0.0005, 1.0 if platform.compiles else 4.0)
    drift = np.polyfit(times, totals, 1)[0] * times[-1]
    assert potentials.std() > KT, "the system should be moving"
    assert abs(drift) < 1e-3 * potentials.std()
    assert totals.std() < 1e-2 * potentials.std()


@onHosts
@pytest.mark.parametrize("name", MODELS)
def test_fluctuationFallsWithTheSquareOfTheStep(platform, name):
    """
    Velocity Verlet conserves a shadow Hamiltonian that differs from the true one by O(dt^2): at an eighth of the step the total energy
    fluctuates by a 64th. Forces that are not exactly the gradient add an error that does not fall. (One halving is too little to judge
    ANI, whose CELU has a second derivative that jumps.) The rounding of single energies is taken off.
    """
    steps = [0.002, 0.001, 0.0005, 0.00025]
    deviations = np.array([runNVE(platform, name, step, 0.6)[1].std() for step in steps])
    rounding = nve.Runner(nve.Molecule(*makeDrop(name), 0, (), 0), platform.name).rounding([equilibrate(name)])
    assert rounding < 0.9 * deviations[-1]
    deviations = np.sqrt(deviations**2 - rounding**2)
    assert deviations[0] / deviations[-1] == pytest.approx(64, rel=0.2)
    assert (deviations[:-1] / deviations[1:] > 2.5).all()


@eachPlatform
@pytest.mark.parametrize("name", MODELS)
def test_timeIsReversible(platform, name):
    """Forwards, velocities turned, and back."""
    x, v = equilibrate(name)
    system, _ = makeDrop(name)
    context = platform.context(system, x, velocityVerlet(0.0005))
    context.setVelocities(v)
    context.getIntegrator().step(200)
    there = context.getState(positions=True, velocities=True)
    context.setVelocities(-there.getVelocities(asNumpy=True))
    context.getIntegrator().step(200)
    back = context.getState(positions=True).getPositions(asNumpy=True)._value
    assert np.abs(there.getPositions(asNumpy=True)._value - x).max() > 1e-2
    assert np.abs(back - x).max() < max(platform.tolerance(1e-8), 1e-5 if platform.singlePositions else 0)


def standardError(values, blocks=20):
    """Of a mean of correlated values, from the means of blocks."""
    means = [block.mean() for block in np.array_split(np.asarray(values), blocks)]
    return np.std(means, ddof=1) / np.sqrt(blocks)


@onHosts
@pytest.mark.parametrize("name", MODELS)
def test_temperature(platform, name):
    """A Langevin thermostat gives its temperature, and the virial theorem holds: the mean of -x . F is 3 N kT."""
    x, v = equilibrate(name)
    system, _ = makeDrop(name)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 10.0, 0.001)
    integrator.setRandomNumberSeed(75)
    context = platform.context(system, x, integrator)
    context.setVelocities(v)
    temperatures, virials = [], []
    for _ in range(2500):
        integrator.step(16)
        state = context.getState(energy=True, positions=True, forces=True)
        temperatures.append(2 * state.getKineticEnergy()._value / (3 * PARTICLES * KT) * TEMPERATURE)
        virials.append(-np.sum(state.getPositions(asNumpy=True)._value * state.getForces(asNumpy=True)._value))
    for values, expected, precision in ((temperatures, TEMPERATURE, 0.02), (virials, 3 * PARTICLES * KT, 0.06)):
        error = standardError(values)
        assert error < precision * expected, "the run should be long enough to tell"
        assert abs(np.mean(values) - expected) < 4 * error
    # Chi-squared distribution of the kinetic energy with 3 N degrees of freedom.
    assert np.std(temperatures) == pytest.approx(TEMPERATURE * np.sqrt(2 / (3 * PARTICLES)), rel=0.15)


@eachPlatform
def test_replicasAreIndependent(platform):
    """Copies of one drop, in groups of one force and in the same place, move as one alone does."""
    name = "schnet"
    x, v = equilibrate(name)
    single, _ = makeDrop(name)
    alone = platform.context(single, x, velocityVerlet(0.001))
    alone.setVelocities(v)
    model = MODELS[name]()
    types = [FlashForce.cast(single.getForce(0)).getParticleParameters(i)[1] for i in range(PARTICLES)]
    system, force = makeSystem(model, types * 3, groups=np.repeat([0, 1, 2], PARTICLES), mass=20.0)
    system.addForce(force)
    trap = openmm.CustomExternalForce("200*(x^2+y^2+z^2)")
    for i in range(3 * PARTICLES):
        trap.addParticle(i)
    system.addForce(trap)
    context = platform.context(system, np.tile(x, (3, 1)), velocityVerlet(0.001))
    context.setVelocities(np.tile(v, (3, 1)))
    for one in (alone, context):
        one.getIntegrator().step(100)
    expected = alone.getState(positions=True).getPositions(asNumpy=True)._value
    found = context.getState(positions=True).getPositions(asNumpy=True)._value.reshape(3, PARTICLES, 3)
    for copy in found:
        np.testing.assert_allclose(copy, expected, rtol=0, atol=max(platform.tolerance(1e-10), 5e-6 if platform.singlePositions else 0))


@onHosts
@pytest.mark.parametrize("name", nve.MOLECULES)
def test_realModels(platform, name, request):
    """
    ANI-1x on a peptide and C-alpha chignolin: fluctuations that fall with the square of the step, no drift, as far as short runs can tell.
    tests/physics/nve.py is the long version.
    """
    if name == "peptide":
        try:
            openmmflash.loadModel("ani1x")
        except openmmflash.models.ModelNotFoundError as error:
            pytest.skip(f"needs the weights of ANI-1x: {error}")
    shared = request.getfixturevalue("shared") if name == "chignolin" else None
    many = platform.name != "Reference"  # which is slow
    threads = platform.properties.get("Threads")
    runner, starts = nve.prepare(name, shared, platform.name, threads, equilibration=1.0, starts=4 if many else 2)
    results = nve.checkFluctuations(runner, starts, runner.molecule.span / (4 if many else 10))
    results.append(nve.checkDrift(runner, starts[0], runner.molecule.steps[1], 2000 * runner.molecule.steps[1], conclusive=False))
    if platform.name != "Reference":
        results.append(nve.checkAgainstReference(runner, starts[0], runner.molecule.steps[1], 100 * runner.molecule.steps[1]))
    for passed, text in results:
        assert passed, text


@onHosts
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_memoryDoesNotGrow(platform):
    """After a warm-up, 5000 steps in a process that does other things, too. tests/physics/endurance.py is the long version."""
    system, x = makeDrop("schnet")
    molecule = nve.Molecule(system, x, 0.001, (), 0.0)
    _, memory, warm = endurance.runLong(molecule, 0.001, 5000, platform.name, platform.properties.get("Threads"))
    passed, text = endurance.checkMemory(memory, warm)
    assert passed, text
