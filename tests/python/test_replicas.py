# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Replicas in one Context: energies and thermostats of each, what is refused, and that each is as if it were alone."""

import numpy as np
import openmm
import openmm.amd
import pytest
import small_models
from scipy import stats

import openmmflash
from openmmflash import ReplicaEnergies, ReplicaLangevinIntegrator, checkReplicas
from openmmflash.replicas import GAS_CONSTANT, setReplicaTemperatures, setVelocitiesToTemperatures
from platforms import REFERENCE, onHosts

BEADS = 6


@pytest.fixture(scope="module")
def beads(tmp_path_factory):
    path = tmp_path_factory.mktemp("beads") / "beads.safetensors"
    small_models.writeBeads(path)
    return openmmflash.FlashModel(str(path)), small_models.beadChain(BEADS)


def restraint(particles):
    """A well for every particle, whose strength is a parameter of the Context."""
    force = openmm.CustomExternalForce("pull*scale*(x^2 + y^2 + z^2)")
    force.addGlobalParameter("pull", 3.0)
    force.addPerParticleParameter("scale")
    for i in range(particles):
        force.addParticle(i, [1 + i % BEADS])
    return force


@onHosts
def testEnergiesAreThoseOfSingleContexts(platform, beads):
    """Network, pair prior, bonds, a restraint, a global parameter of FlashForce: each replica's energy is that of a Context of its own."""
    model, structure = beads
    positions = np.stack([structure.positions + 0.02 * r * np.random.default_rng(r).normal(size=(BEADS, 3)) for r in range(4)])

    def make(replicas):
        system = openmmflash.createSystem(structure, model, replicas=replicas, removeCMMotion=False)
        (force,) = [openmmflash.FlashForce.cast(f) for f in system.getForces() if openmmflash.FlashForce.isinstance(f)]
        force.addGlobalParameter("lambda", 1.0)
        system.addForce(restraint(replicas * BEADS))
        context = platform.context(system, integrator=openmm.LangevinMiddleIntegrator(300, 1, 0.004))  # whose kinetic energy is at hand
        context.setParameter("lambda", 0.7)
        context.setParameter("pull", 5.0)
        return context

    context, single = make(4), make(1)
    context.setPositions(positions.reshape(-1, 3))
    context.setVelocitiesToTemperature(300, 1)
    energies = ReplicaEnergies(context, 4)
    expected, kinetic = [], []
    velocities = context.getState(velocities=True).getVelocities(asNumpy=True)._value.reshape(4, BEADS, 3)
    for r in range(4):
        single.setPositions(positions[r])
        single.setVelocities(velocities[r])
        state = single.getState(energy=True)
        expected.append(state.getPotentialEnergy()._value)
        kinetic.append(state.getKineticEnergy()._value)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(energies.getPotentialEnergies(), expected, rtol=0, atol=platform.tolerance(1e-12) * scale)
    np.testing.assert_allclose(energies.getKineticEnergies(), kinetic, rtol=1e-12)
    np.testing.assert_allclose(energies.getTemperatures(), 2 * np.array(kinetic) / (3 * BEADS * GAS_CONSTANT), rtol=1e-12)
    context.setParameter("pull", 0.0)  # a parameter that changes later reaches the parts, too
    without = context.getState(energy=True).getPotentialEnergy()._value
    assert energies.getPotentialEnergies().sum() == pytest.approx(without, abs=platform.tolerance(1e-12) * scale)
    assert np.ptp(expected) > 0.1 and abs(sum(expected) - without) > 1


def testIntegratorIsLangevinMiddle(beads):
    """Without friction it is OpenMM's LangevinMiddleIntegrator, step by step, constraints included."""
    model, structure = beads
    states = []
    for integrator in (openmm.LangevinMiddleIntegrator(300, 0, 0.004), ReplicaLangevinIntegrator([300, 500], 0, 0.004, BEADS)):
        system = openmmflash.createSystem(structure, model, replicas=2)
        for r in range(2):
            i, j = r * BEADS, r * BEADS + 1
            system.addConstraint(i, j, float(np.linalg.norm(structure.positions[0] - structure.positions[1])))
        integrator.setConstraintTolerance(1e-12)
        context = REFERENCE.context(system, openmmflash.tilePositions(structure.positions, 2), integrator)
        context.setVelocities(np.random.default_rng(7).normal(scale=0.2, size=(2 * BEADS, 3)))
        integrator.step(50)
        state = context.getState(positions=True, velocities=True)
        states.append((state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value))
        assert ReplicaEnergies(context, 2).degreesOfFreedom == 3 * BEADS - 1
    for ours, theirs in zip(*states):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    assert np.abs(states[0][0][:BEADS] - states[0][0][BEADS:]).max() > 1e-3


def testEachReplicaHasItsTemperature():
    """Harmonic wells, for which the integrator's positions are exact at any step: <k x^2> = RT and <m v^2> = RT, replica by replica."""
    n, k, temperatures = 60, 500.0, np.array([100.0, 300.0, 900.0])
    system, force = openmm.System(), openmm.CustomExternalForce(f"0.5*{k}*(x^2 + y^2 + z^2)")
    for i in range(3 * n):
        system.addParticle(20.0)
        force.addParticle(i, [])
    system.addForce(force)
    integrator = ReplicaLangevinIntegrator([1, 1, 1], 4.0, 0.02, n)
    integrator.setRandomNumberSeed(3)
    context = REFERENCE.context(system, np.zeros((3 * n, 3)), integrator)
    setReplicaTemperatures(integrator, temperatures * openmm.unit.kelvin, n)
    setVelocitiesToTemperatures(context, temperatures, 4)
    energies, samples = ReplicaEnergies(context, 3), []
    start = energies.getTemperatures()
    assert (np.abs(start / temperatures - 1) < 5 * np.sqrt(2 / (3 * n))).all()
    integrator.step(200)
    for _ in range(200):
        integrator.step(15)
        potential = 2 * energies.getPotentialEnergies() / (3 * n * GAS_CONSTANT)
        samples.append(np.stack([potential, energies.getTemperatures()]) / temperatures)
    # 200 samples, correlated over less than two; 180 coordinates in each: the mean of their squares has a relative error below 0.011
    np.testing.assert_allclose(np.mean(samples, axis=0), 1, atol=0.05)
    assert np.std(samples) == pytest.approx(np.sqrt(2 / (3 * n)), rel=0.15)


def sample(model, structure, replicas, samples, seed):
    """Potential energies, temperatures [samples, replicas] and velocities of the centre of mass [samples, replicas, 3] of a simulation.

    Springs hold the beads at their places, so that a picosecond between samples makes them independent.
    """
    system = openmmflash.createSystem(structure, model, replicas=replicas, removeCMMotion=False)
    springs = openmm.CustomExternalForce("400*((x - x0)^2 + (y - y0)^2 + (z - z0)^2)")
    for name in ("x0", "y0", "z0"):
        springs.addPerParticleParameter(name)
    for i in range(replicas * BEADS):
        springs.addParticle(i, structure.positions[i % BEADS])
    system.addForce(springs)
    integrator = openmm.LangevinMiddleIntegrator(300, 5, 0.01)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("CPU"), {"Threads": "1"})
    context.setPositions(openmmflash.tilePositions(structure.positions, replicas))
    context.setVelocitiesToTemperature(300, seed)
    integrator.step(500)
    energies, found = ReplicaEnergies(context, replicas), []
    for _ in range(samples):
        integrator.step(100)
        velocities = context.getState(velocities=True).getVelocities(asNumpy=True)._value.reshape(replicas, BEADS, 3)
        centre = np.einsum("i,rix->rx", energies.masses, velocities) / energies.masses.sum()
        found.append((energies.getPotentialEnergies(), energies.getTemperatures(), centre))
    return [np.array(values) for values in zip(*found)] + [energies.masses.sum()]


def testReplicasAreIndependent(beads):
    """16 replicas: energies distributed as in single runs; temperatures, and the motion of all replicas together, as mathematics asks.

    tests/physics/replica_distributions.py is the long form, with a trained model. What couples replicas but leaves each one's distribution
    alone (one noise for all, a common centre of mass) shows in what they do together.
    """
    model, structure = beads
    replicas, samples = 16, 150
    potential, temperature, centre, mass = sample(model, structure, replicas, samples, 5)
    alone = [sample(model, structure, 1, 120, 100 + k)[0] for k in range(4)]
    assert stats.ks_2samp(potential.ravel(), np.ravel(alone)).pvalue > 1e-4
    kinetic = temperature * 3 * BEADS / 300  # in RT/2
    assert stats.kstest(kinetic.ravel(), stats.chi2(3 * BEADS).cdf).pvalue > 1e-4
    # The centre of all replicas moves as that of independent ones, and their energies vary together as independent ones do.
    common = mass * replicas * centre.mean(axis=1) ** 2 / (GAS_CONSTANT * 300)
    assert stats.kstest(common.ravel(), stats.chi2(1).cdf).pvalue > 1e-4
    freedom = samples - 1
    for values in (potential, kinetic):
        ratio = np.var(values.sum(axis=1)) / np.var(values, axis=0).sum()
        assert stats.chi2(freedom).ppf(1e-5) / freedom < ratio < stats.chi2(freedom).ppf(1 - 1e-5) / freedom


def makeSystem(beads, replicas=2, change=lambda system: None):
    model, structure = beads
    system = openmmflash.createSystem(structure, model, replicas=replicas)
    change(system)
    return system


def addBond(*particles):
    def change(system):
        force = openmm.HarmonicBondForce()
        force.setName("extra")
        for i, j in particles:
            force.addBond(i, j, 0.3, 100)
        system.addForce(force)

    return change


def addConstraints(*constraints):
    def change(system):
        for constraint in constraints:
            system.addConstraint(*constraint)

    return change


def flashForce(system):
    (force,) = [openmmflash.FlashForce.cast(f) for f in system.getForces() if openmmflash.FlashForce.isinstance(f)]
    return force


def setParticle(index, group=None, otherType=False):
    """Give a particle of FlashForce another group, or the other of the two types."""

    def apply(system):
        force = flashForce(system)
        particle, kind, mine = force.getParticleParameters(index)
        force.setParticleParameters(index, particle, 1 - kind if otherType else kind, mine if group is None else group)

    return apply


def halves(system):
    """Replica 0 in two groups of three, replica 1 in groups of two and four."""
    for i in range(2 * BEADS):
        setParticle(i, group=2 * (i // BEADS) + int(i % BEADS >= 3 - i // BEADS))(system)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda system: system.addForce(openmm.CMMotionRemover()), "common centre of mass"),
        (lambda system: system.addForce(openmm.MonteCarloBarostat(1, 300)), "share one box"),
        (lambda system: system.addForce(openmm.NonbondedForce()), "NonbondedForce cannot be told apart"),
        (addBond((0, BEADS)), r"'extra' joins the particles \[0, 6\], of different replicas"),
        (addBond((0, 2)), "HarmonicBondForce 'extra' in replica 1 are not those in replica 0"),
        (addBond((0, 2), (BEADS, BEADS + 3)), "in replica 1 are not those"),
        (lambda system: system.setParticleMass(BEADS + 1, 7), "the mass in replica 1"),
        (lambda system: system.addConstraint(1, BEADS + 1, 0.1), "Constraint 0 joins the particles 1 and 7"),
        (lambda system: system.addConstraint(1, 2, 0.1), "number of constraints in replica 1"),
        (
            addConstraints((1, 2, 0.1), (BEADS + 1, BEADS + 2, 0.2)),
            "constraint of its particles 1 and 2 to 0.2 nm, and replica 0 one of 1 and 2",
        ),
        (addConstraints((1, 2, 0.1), (BEADS + 1, BEADS + 3, 0.1)), "constraint of its particles 1 and 3 to 0.1 nm"),
        (lambda system: system.addParticle(1), "13 particles, which are not 2 replicas"),
        (setParticle(BEADS, group=0), "Group 0 of FlashForce has particles of the replicas 0 and 1"),
        (setParticle(BEADS + 1, otherType=True), "particle 1 of replica 1 is not in FlashForce as that of replica 0"),
        (halves, "particle 3 of replica 1 is not in FlashForce as that of replica 0"),
        (lambda system: flashForce(system).addPairExclusion(BEADS + 5, BEADS), "excludes the pair of particles 0 and 5 in one of the"),
    ],
)
def testWhatCouplesIsRefused(beads, change, message):
    with pytest.raises(ValueError, match=message):
        checkReplicas(makeSystem(beads, change=change), 2)


def noseHoover(*subsystems):
    integrator = openmm.NoseHooverIntegrator(0.001)
    for particles in subsystems:
        integrator.addSubsystemThermostat(particles, [], 300, 1, 300, 1)
    return integrator


def compound(*integrators):
    whole = openmm.CompoundIntegrator()
    for integrator in integrators:
        whole.addIntegrator(integrator)
    return whole


def quantum(types):
    integrator = openmm.QTBIntegrator(300, 1, 0.001)
    for particle, kind in types.items():
        integrator.setParticleType(particle, kind)
    return integrator


def summing():
    integrator = openmm.CustomIntegrator(0.001)
    integrator.addGlobalVariable("kinetic", 0)
    integrator.addComputeSum("kinetic", "m*v*v/2")
    return integrator


def testGroupsOfAnyNumbers(beads):
    """Particles, groups and exclusions of FlashForce are compared, not their order and numbers."""

    def change(system):
        force = flashForce(system)
        for i in range(2 * BEADS):
            setParticle(i, group=[7, 3, 1, 40][2 * (i // BEADS) + int(i % BEADS >= 2)])(system)
        pairs = (0, 5), (2, 4), (BEADS + 4, BEADS + 2), (BEADS, BEADS + 5)
        for pair in pairs:
            force.addPairExclusion(*pair)
        one, other = force.getParticleParameters(BEADS), force.getParticleParameters(BEADS + 3)
        force.setParticleParameters(BEADS, *other)
        force.setParticleParameters(BEADS + 3, *one)

    checkReplicas(makeSystem(beads, change=change), 2)


def testConstraintsInAnyOrder(beads):
    constraints = (1, 2, 0.1), (4, 3, 0.2), (BEADS + 3, BEADS + 4, 0.2), (BEADS + 1, BEADS + 2, 0.1)
    checkReplicas(makeSystem(beads, change=addConstraints(*constraints)), 2)


def testCentreOfMassHasNoTemperature(beads):
    """A CMMotionRemover takes three degrees of freedom: of one replica, which alone may have one."""
    system = makeSystem(beads, 1)
    assert any(isinstance(force, openmm.CMMotionRemover) for force in system.getForces())
    context = REFERENCE.context(system, beads[1].positions)
    assert ReplicaEnergies(context, 1).degreesOfFreedom == 3 * BEADS - 3


def testIntegratorsThatUseTheEnergy(beads):
    """What OpenMM's energy is in an expression is the sum of all replicas; a name that only contains it is another."""
    system, harmless = makeSystem(beads), openmm.CustomIntegrator(0.001)
    harmless.addGlobalVariable("energyBefore", 0)
    harmless.addComputeGlobal("energyBefore", "2*energyBefore")
    checkReplicas(system, 2, harmless)
    branch = openmm.CustomIntegrator(0.001)
    branch.beginIfBlock("energy3 > 0")
    branch.endBlock()
    for integrator in (openmm.amd.AMDIntegrator(0.001, 10.0, 100.0), branch):
        with pytest.warns(UserWarning, match="the energy is that of all replicas"):
            checkReplicas(system, 2, integrator)
        checkReplicas(makeSystem(beads, 1), 1, integrator)


def testIntegrators(beads, recwarn):
    system, first, second = makeSystem(beads), list(range(BEADS)), list(range(BEADS, 2 * BEADS))
    hidden = compound(openmm.VerletIntegrator(0.001), openmm.NoseHooverIntegrator(300, 1, 0.001))
    for integrator in (openmm.NoseHooverIntegrator(300, 1, 0.001), noseHoover(first + second), hidden, compound(hidden)):
        with pytest.raises(ValueError, match="Nose-Hoover thermostat acts on the kinetic energy of several replicas"):
            checkReplicas(system, 2, integrator)
    with pytest.raises(ValueError, match="one step size for all replicas"):
        checkReplicas(system, 2, openmm.VariableLangevinIntegrator(300, 1, 0.001))
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"sums 'm\*v\*v/2' over all particles"):
        checkReplicas(system, 2, summing())
    with pytest.raises(ValueError, match="between pairs of particles, those of different replicas too"):
        checkReplicas(system, 2, openmm.DPDIntegrator(300, 1, 1.0, 0.004))
    with pytest.raises(ValueError, match="Type 4 of QTBIntegrator has particles of the replicas 0 and 1"):
        checkReplicas(system, 2, quantum({0: 4, BEADS: 4}))
    ladder = ReplicaLangevinIntegrator([300, 400], 1, 0.004, BEADS)
    checkReplicas(system, 2, ladder)
    system.addForce(openmm.AndersenThermostat(300, 1))
    good = (noseHoover(first, second), openmm.LangevinMiddleIntegrator(300, 1, 0.004), openmm.VerletIntegrator(0.001))
    for integrator in (*good, quantum({0: 4, 1: 4, BEADS: 5}), compound(noseHoover(first, second), openmm.VerletIntegrator(0.001))):
        one = checkReplicas(system, 2, integrator)
        assert one.getNumParticles() == BEADS and [force.getName() for force in one.getForces()] == ["harmonic_bond"]
        assert one.getForce(0).getNumBonds() == BEADS - 1
    for integrator in (ladder, compound(openmm.VerletIntegrator(0.001), ReplicaLangevinIntegrator([300, 400], 1, 0.004, BEADS))):
        with pytest.raises(ValueError, match="AndersenThermostat, which has one temperature for all replicas"):
            checkReplicas(system, 2, integrator)
    # A single replica may have what would couple several.
    alone = makeSystem(beads, 1, lambda system: system.addForce(openmm.MonteCarloBarostat(1, 300)))
    checkReplicas(alone, 1, openmm.NoseHooverIntegrator(300, 1, 0.001))


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def testIntegratorsOfAnotherSize(beads, platform):
    """OpenMM takes temperatures for fewer or more particles than there are, and leaves the others without a thermostat."""
    system = makeSystem(beads)
    for integrator in (
        ReplicaLangevinIntegrator([300], 1, 0.004, BEADS),
        ReplicaLangevinIntegrator([300, 300], 1, 0.004, BEADS - 1),
        ReplicaLangevinIntegrator([300, 300, 300], 1, 0.004, BEADS),
    ):
        found = len(integrator.getPerDofVariableByName("kT"))
        message = f"variable 'kT' of the integrator has values for {found} particles, and the System has 12"
        with pytest.raises(ValueError, match=message):
            checkReplicas(system, 2, integrator)
        context = openmm.Context(system, integrator, openmm.Platform.getPlatform(platform))
        with pytest.raises(ValueError, match=message):
            ReplicaEnergies(context, 2)
    for put in (lambda integrator: integrator, compound):
        with pytest.raises(ValueError, match="has values for 12 particles, and the System has 6"):
            checkReplicas(makeSystem(beads, 1), 1, put(ReplicaLangevinIntegrator([300, 300], 1, 0.004, BEADS)))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([], 1, 0.004, 3), "temperatures"),
        (([300, -1], 1, 0.004, 3), "0 K or more"),
        (([300, float("inf")], 1, 0.004, 3), "finite"),
        (([300], -1, 0.004, 3), "friction is -1/ps"),
        (([300], 1, 0, 3), "stepSize is 0 ps"),
    ],
)
def testWrongIntegrators(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReplicaLangevinIntegrator(*arguments)
    with pytest.raises(ValueError, match="replicas is 0"):
        checkReplicas(openmm.System(), 0)
