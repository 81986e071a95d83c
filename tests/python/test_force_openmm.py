# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""FlashForce together with the rest of OpenMM: minimiser, wrapping forces, barostats, integrators, constraints, several forces."""

import numpy as np
import openmm
import pytest
from random_models import BOXES, makeModel, makeSystem, randomPositions, randomTypes

from openmmflash import FlashForce
from platforms import eachPlatform, requireMinimizer

pytestmark = eachPlatform

ENOUGH = 24  # particles


def energyOf(context, **options):
    return context.getState(energy=True, **options).getPotentialEnergy()._value


def forcesOf(context, **options):
    return context.getState(forces=True, **options).getForces(asNumpy=True)._value


def positionsOf(context):
    return context.getState(positions=True).getPositions(asNumpy=True)._value


def assertForces(platform, value, expected, wanted=1e-12):
    np.testing.assert_allclose(value, expected, rtol=0, atol=platform.forceTolerance(wanted) * np.abs(expected).max())


def makeCase(name="mlcg-repulsion-cutoff", box=None, n=ENOUGH, seed=41):
    """System with a FlashForce in it, the force, positions and types. The pair prior keeps particles apart, so that dynamics are stable."""
    rng = np.random.default_rng(seed)
    model = makeModel(name)
    types = randomTypes(model, n, rng)
    system, force = makeSystem(model, types, box)
    system.addForce(force)
    return system, force, randomPositions(n, rng, box, distance=0.2), types


def freshEnergy(platform, system, context):
    """The energy of this System in a new Context at the positions, box and parameters of another Context."""
    state = context.getState(positions=True, parameters=True)
    # The copy has no barostat, whose parameters are no concern of it.
    other = openmm.XmlSerializer.clone(system)
    for i in reversed(range(other.getNumForces())):
        if "Barostat" in other.getForce(i).getName():
            other.removeForce(i)
    fresh = platform.context(other, box=state.getPeriodicBoxVectors())
    fresh.setPositions(state.getPositions())
    return energyOf(fresh)


@pytest.mark.parametrize("name", ["mlcg-repulsion-cutoff", "ani-all-pairs"])
def test_minimizer(platform, name):
    if platform.compiles:
        requireMinimizer(platform)
    system, _, x, _ = makeCase(name, n=12)
    context = platform.context(system, x)
    before = energyOf(context)
    openmm.LocalEnergyMinimizer.minimize(context, tolerance=0.5, maxIterations=2000)
    assert energyOf(context) < before
    assert np.sqrt(np.mean(forcesOf(context) ** 2)) < 0.01 * np.sqrt(np.mean(forcesOf(platform.context(system, x)) ** 2))
    assert energyOf(context) == pytest.approx(freshEnergy(platform, system, context), rel=platform.tolerance(1e-12))


def test_customCVForce(platform):
    """A FlashForce as a collective variable: U = k (E - E0)^2 has the forces 2 k (E - E0) F."""
    system, force, x, types = makeCase()
    alone = platform.context(system, x)
    energy, forces = energyOf(alone), forcesOf(alone)
    inside, variable = makeSystem(force.getModel(), types)
    variable.addGlobalParameter("lambda", 1.0)
    variable.addEnergyParameterDerivative("lambda")
    wrapper = openmm.CustomCVForce("k*(E-E0)^2")
    wrapper.addGlobalParameter("k", 0.01)
    wrapper.addGlobalParameter("E0", energy - 3)
    wrapper.addGlobalParameter("lambda", 1.0)
    wrapper.addEnergyParameterDerivative("lambda")
    wrapper.addCollectiveVariable("E", variable)
    inside.addForce(wrapper)
    context = platform.context(inside, x)
    tolerance = platform.tolerance(1e-12) * abs(energy)
    assert wrapper.getCollectiveVariableValues(context)[0] == pytest.approx(energy, rel=0, abs=tolerance)
    assert energyOf(context) == pytest.approx(0.09, abs=tolerance)
    assertForces(platform, forcesOf(context), 0.06 * forces, 1e-10)
    derivative = context.getState(parameterDerivatives=True).getEnergyParameterDerivatives()["lambda"]
    assert derivative == pytest.approx(0.06 * energy, rel=platform.tolerance(1e-10))
    context.setParameter("lambda", 2.0)
    assert wrapper.getCollectiveVariableValues(context)[0] == pytest.approx(2 * energy, rel=platform.tolerance(1e-12))
    with pytest.raises(openmm.OpenMMException, match="not present in the Context"):
        variable.getGroupEnergies(context)
    # Still the same after a step, which moves the inner Context's positions too.
    context.setParameter("lambda", 1.0)
    context.getIntegrator().step(5)
    alone.setPositions(positionsOf(context))
    assert wrapper.getCollectiveVariableValues(context)[0] == pytest.approx(energyOf(alone), rel=platform.tolerance(1e-12))


def test_atmForce(platform):
    """An alchemical transfer between two places of a molecule: (1 - L) U(x) + L U(x + d)."""
    system, force, x, types = makeCase()
    moved = x.copy()
    moved[3:6] += [0.4, 0.1, -0.2]
    expected = []
    for positions in (x, moved):
        context = platform.context(system, positions)
        expected.append((energyOf(context), forcesOf(context)))
    inside, variable = makeSystem(force.getModel(), types)
    wrapper = openmm.ATMForce("(1-L)*u0+L*u1")
    wrapper.addGlobalParameter("L", 0.3)
    wrapper.addForce(variable)
    for i in range(len(types)):
        wrapper.addParticle(openmm.Vec3(0.4, 0.1, -0.2) if 3 <= i < 6 else openmm.Vec3(0, 0, 0))
    inside.addForce(wrapper)
    context = platform.context(inside, x)
    for L in (0.3, 0.0, 1.0):
        context.setParameter("L", L)
        assert energyOf(context) == pytest.approx((1 - L) * expected[0][0] + L * expected[1][0], rel=platform.tolerance(1e-12))
        assertForces(platform, forcesOf(context), (1 - L) * expected[0][1] + L * expected[1][1])
    for energy, (alone, _) in zip(reversed(wrapper.getPerturbationEnergy(context)[:2]), expected):
        assert energy._value == pytest.approx(alone, rel=platform.tolerance(1e-12))


BAROSTATS = {
    "isotropic": lambda: openmm.MonteCarloBarostat(500, 300, 2),
    "anisotropic": lambda: openmm.MonteCarloAnisotropicBarostat(openmm.Vec3(500, 1000, 200), 300, True, True, True, 2),
    "flexible": lambda: openmm.MonteCarloFlexibleBarostat(500, 300, 2),
    "membrane": lambda: openmm.MonteCarloMembraneBarostat(
        500, 10, 300, openmm.MonteCarloMembraneBarostat.XYAnisotropic, openmm.MonteCarloMembraneBarostat.ZFree, 2
    ),
}


@pytest.mark.parametrize("name", ["mlcg-repulsion-cutoff", "schnetpack", "ani"])
@pytest.mark.parametrize("kind", BAROSTATS)
def test_barostats(platform, kind, name):
    """Box vectors change during a simulation, and the energy follows them."""
    box = BOXES["triclinic"] if kind == "flexible" else BOXES["cubic"]
    system, force, x, _ = makeCase(name, box)
    barostat = BAROSTATS[kind]()
    barostat.setRandomNumberSeed(5)
    system.addForce(barostat)
    assert system.usesPeriodicBoundaryConditions()
    integrator = openmm.LangevinMiddleIntegrator(300, 5.0, 0.0005)
    integrator.setRandomNumberSeed(6)
    context = platform.context(system, x, integrator)
    volumes = set()
    for _ in range(6):
        integrator.step(5)
        state = context.getState()
        volumes.add(state.getPeriodicBoxVolume()._value)
        scale = sum(map(abs, force.getParticleEnergies(context)))
        expected = freshEnergy(platform, system, context)
        assert energyOf(context) == pytest.approx(expected, rel=0, abs=platform.tolerance(1e-12) * scale)
        assert sum(force.getGroupEnergies(context)) == pytest.approx(expected, rel=0, abs=platform.tolerance(1e-12) * scale)
    assert len(volumes) > 2, "the barostat should have changed the box"
    vectors = state.getPeriodicBoxVectors(asNumpy=True)._value
    assert np.abs(vectors - box).max() > 1e-4
    if kind == "flexible":
        assert np.abs((vectors - box)[[1, 2, 2], [0, 0, 1]]).max() > 1e-5, "angles should change"


def test_rpmd(platform):
    """Every bead of a ring polymer has the energy that a Context of its own gives it."""
    system, force, x, _ = makeCase(n=10)
    copies = 4
    integrator = openmm.RPMDIntegrator(copies, 300, 5.0, 0.0005)
    integrator.setRandomNumberSeed(3)
    context = platform.context(system, x, integrator)
    context.setVelocitiesToTemperature(300, 1)
    rng = np.random.default_rng(42)
    for copy in range(copies):
        integrator.setPositions(copy, x + 0.005 * rng.normal(size=x.shape))
    integrator.step(10)
    own = platform.context(system)
    energies = []
    for copy in range(copies):
        state = integrator.getState(copy, getPositions=True, getEnergy=True, getForces=True)
        own.setPositions(state.getPositions())
        energies.append(state.getPotentialEnergy()._value)
        assert energies[-1] == pytest.approx(energyOf(own), rel=platform.tolerance(1e-12))
        assertForces(platform, state.getForces(asNumpy=True)._value, forcesOf(own), 1e-11)
    assert np.ptp(energies) > 1e-3


def test_multipleTimeSteps(platform):
    """The network in a slow force group: with one inner step MTS is velocity Verlet of the sum; with four it conserves energy."""
    system, force, x, _ = makeCase(n=10)
    bonds = openmm.HarmonicBondForce()
    for i in range(0, 10, 2):
        bonds.addBond(i, i + 1, np.linalg.norm(x[i] - x[i + 1]), 20000)
    system.addForce(bonds)

    def run(steps, slow, groups):
        force.setForceGroup(slow)
        context = platform.context(system, x, openmm.MTSIntegrator(0.0005, groups))
        context.setVelocitiesToTemperature(300, 7)
        energies = []
        for _ in range(10):
            context.getIntegrator().step(steps // 10)
            state = context.getState(energy=True)
            energies.append((state.getPotentialEnergy() + state.getKineticEnergy())._value)
        return positionsOf(context), np.array(energies)

    together, _ = run(50, 0, [(0, 1)])
    apart, _ = run(50, 3, [(0, 1), (3, 1)])
    np.testing.assert_allclose(apart, together, rtol=0, atol=platform.tolerance(1e-11))
    moved, energies = run(50, 3, [(0, 4), (3, 1)])
    assert np.abs(moved - together).max() < 1e-3 < np.abs(moved - x).max()
    kinetic = 1.5 * 10 * 8.314e-3 * 300
    assert np.ptp(energies) < 0.02 * kinetic


def test_forceGroups(platform):
    """Each force is evaluated when its force group is asked for, and only then."""
    system, force, x, types = makeCase()
    model = makeModel("pyg")
    _, second = makeSystem(model, randomTypes(model, ENOUGH, np.random.default_rng(43)))
    force.setForceGroup(4)
    second.setForceGroup(31)
    system.addForce(second)
    context = platform.context(system, x)
    parts = []
    for which, group in ((force, 4), (second, 31)):
        energy, forces = energyOf(context, groups={group}), forcesOf(context, groups={group})
        assert energy == pytest.approx(sum(which.getGroupEnergies(context)), rel=platform.tolerance(1e-12))
        parts.append((energy, forces))
    assert energyOf(context, groups={0, 1, 30}) == 0
    assert not forcesOf(context, groups={0, 1, 30}).any()
    assert energyOf(context) == pytest.approx(parts[0][0] + parts[1][0], rel=platform.tolerance(1e-12))
    assertForces(platform, forcesOf(context), parts[0][1] + parts[1][1])


def test_twoForcesShareAParameter(platform):
    """Two models in one System, each on its own particles, scaled by one Context parameter and another one of the first force."""
    rng = np.random.default_rng(44)
    models = [makeModel("torchmdnet"), makeModel("ani-3")]
    x = randomPositions(20, rng)
    system = openmm.System()
    for _ in range(20):
        system.addParticle(10.0)
    forces, energies = [], []
    for k, model in enumerate(models):
        force, particles = FlashForce(model), list(range(12)) if k == 0 else list(range(8, 20))
        force.addParticles(particles, randomTypes(model, 12, rng))
        alone = openmm.XmlSerializer.clone(system)
        alone.addForce(openmm.XmlSerializer.clone(force))
        energies.append(energyOf(platform.context(alone, x)))
        force.addGlobalParameter("shared", 1.0)
        force.addEnergyParameterDerivative("shared")
        forces.append(force)
    forces[0].addGlobalParameter("own", 3.0)
    for force in forces:
        system.addForce(force)
    context = platform.context(system, x)
    for shared, own in ((1.0, 3.0), (0.5, -1.0), (0.0, 2.0)):
        context.setParameter("shared", shared)
        context.setParameter("own", own)
        scale = platform.tolerance(1e-12) * (abs(energies[0]) + abs(energies[1]))
        assert energyOf(context) == pytest.approx(shared * own * energies[0] + shared * energies[1], rel=0, abs=scale)
        derivative = context.getState(parameterDerivatives=True).getEnergyParameterDerivatives()["shared"]
        assert derivative == pytest.approx(own * energies[0] + energies[1], rel=0, abs=10 * scale)


def test_updateParametersInContext(platform):
    """Types, groups and exclusions reach the Context when the update is called, and the result is that of a new Context."""
    system, force, x, types = makeCase()
    n = len(types)
    force.addPairExclusion(0, 1)
    context = platform.context(system, x)
    rng = np.random.default_rng(45)

    def changeTypes():
        for i in range(n):
            force.setParticleParameters(i, i, int(rng.choice([0, 1, 3])), 0)

    def changeGroups():
        for i in range(n):
            force.setParticleParameters(i, i, types[i], 3 if i in (0, 1) else 10 - i % 2)

    sameGroup = [(i, j) for i in range(2, n) for j in range(2, i) if (i + j) % 2 == 0]
    near = sorted(sameGroup, key=lambda pair: np.linalg.norm(x[pair[0]] - x[pair[1]]))

    def changeExclusion():
        force.setPairExclusionParticles(0, *near[0])

    def addExclusions():
        for pair in near[1:6]:
            force.addPairExclusion(*pair)

    seen = {energyOf(context)}
    for change in (changeTypes, changeGroups, changeExclusion, addExclusions):
        before, forcesBefore = energyOf(context), forcesOf(context)
        change()
        context.setPositions(x)
        assert energyOf(context) == before, f"{change.__name__} should have no effect before the update"
        force.updateParametersInContext(context)
        fresh = platform.context(system, x)
        assert energyOf(context) == pytest.approx(energyOf(fresh), rel=platform.tolerance(1e-13))
        assertForces(platform, forcesOf(context), forcesOf(fresh))
        assert np.abs(forcesOf(context) - forcesBefore).max() > 1e-6, change.__name__
        assert force.getGroupEnergies(context) == pytest.approx(force.getGroupEnergies(fresh), rel=platform.tolerance(1e-12))
        seen.add(energyOf(context))
    assert len(seen) == 5
    assert force.getGroups() == (3, 9, 10)
    # An update that is refused leaves the Context as it was.
    before = energyOf(context)
    force.setParticleParameters(0, 0, 2, 3)
    with pytest.raises(openmm.OpenMMException, match="type 2"):
        force.updateParametersInContext(context)
    context.setPositions(x)
    assert energyOf(context) == before


def test_virtualSitesAndConstraints(platform):
    """Forces on a virtual site reach the particles that carry it; constraints hold; the energy is conserved."""
    system, force, x, types = makeCase(n=9)
    for i in (2, 5):
        system.setParticleMass(i, 0)
    system.setVirtualSite(2, openmm.TwoParticleAverageSite(0, 1, 0.6, 0.4))
    system.setVirtualSite(5, openmm.ThreeParticleAverageSite(3, 4, 6, 0.5, 0.25, 0.25))
    lengths = {(0, 1): np.linalg.norm(x[0] - x[1]), (7, 8): np.linalg.norm(x[7] - x[8])}
    # Parents and sites should not come too near to each other.
    for (i, j), length in lengths.items():
        system.addConstraint(i, j, length)
    integrator = openmm.VerletIntegrator(0.0005)
    digits = 100 if platform.singlePositions else 1
    integrator.setConstraintTolerance(1e-10 if digits == 1 else 1e-6)
    context = platform.context(system, x, integrator)
    context.computeVirtualSites()
    x = positionsOf(context)
    forces = forcesOf(context)

    def energyAt(positions):
        context.setPositions(positions)
        context.computeVirtualSites()
        return energyOf(context)

    scale = np.sqrt(np.mean(forces**2))
    magnitude = sum(map(abs, force.getParticleEnergies(context)))
    h = max(1e-5, (platform.precision * magnitude / scale) ** (1 / 3) / 30)  # rounding and the error of second order about equal
    allowed = max(1e-5 * scale, 3 * platform.precision * magnitude / h)
    for i in (0, 1, 3, 4, 6, 7):
        for k in range(3):
            values = []
            for step in (h, -h):
                moved = x.copy()
                moved[i, k] += step
                values.append(energyAt(moved))
            assert -(values[0] - values[1]) / (2 * h) == pytest.approx(forces[i, k], rel=0, abs=allowed), (i, k)
    context.setPositions(x)
    context.setVelocitiesToTemperature(100, 8)
    start = context.getState(energy=True)
    integrator.step(100)
    end = context.getState(energy=True)
    y = positionsOf(context)
    assert np.abs(y - x).max() > 1e-3
    for (i, j), length in lengths.items():
        assert np.linalg.norm(y[i] - y[j]) == pytest.approx(length, rel=1e-8 if digits == 1 else 2e-6)
    np.testing.assert_allclose(y[2], 0.6 * y[0] + 0.4 * y[1], atol=1e-9 * digits)
    total = [(state.getPotentialEnergy() + state.getKineticEnergy())._value for state in (start, end)]
    change = abs((end.getPotentialEnergy() - start.getPotentialEnergy())._value)
    assert abs(total[1] - total[0]) < 0.05 * change


def test_reinitialize(platform):
    """After a change that an update cannot make: a new particle, another global parameter, periodicity."""
    system, force, x, types = makeCase(box=BOXES["cubic"])
    force.setUsesPeriodicBoundaryConditions(False)
    context = platform.context(system, x)
    first = energyOf(context)
    context.reinitialize(preserveState=True)
    assert energyOf(context) == first
    force.setUsesPeriodicBoundaryConditions(True)
    force.addGlobalParameter("scale", 0.5)
    context.setPositions(x)
    assert energyOf(context) == first
    context.reinitialize(preserveState=True)
    np.testing.assert_array_equal(positionsOf(context), x)
    periodic = energyOf(context)
    assert periodic == pytest.approx(energyOf(platform.context(system, x)), rel=platform.tolerance(1e-13))
    assert abs(periodic - 0.5 * first) > 1e-3 * abs(first)
    context.setParameter("scale", 1.0)
    context.reinitialize(preserveState=True)
    assert context.getParameter("scale") == 1.0
    assert energyOf(context) == pytest.approx(2 * periodic, rel=platform.tolerance(1e-13))
    system.addParticle(1.0)
    force.addParticle(ENOUGH, types[0])
    context.reinitialize()
    assert context.getParameter("scale") == 0.5
    y = np.vstack([x, [[0.5, 0.5, 0.5]]])
    context.setPositions(y)
    assert len(force.getParticleEnergies(context)) == ENOUGH + 1
    assert energyOf(context) == pytest.approx(energyOf(platform.context(system, y)), rel=platform.tolerance(1e-13))


def test_manyContexts(platform):
    """Contexts made from one force do not share anything that changes, and outlive the Python objects they were made from."""
    system, force, x, types = makeCase()
    contexts = [platform.context(system, x + k) for k in range(3)]
    expected = energyOf(contexts[0])
    contexts[1].setPositions(2 * x)
    stretched = energyOf(contexts[1])
    del system, force
    assert energyOf(contexts[0]) == expected != stretched
    assert energyOf(contexts[1]) == stretched
    assert energyOf(contexts[2]) == pytest.approx(expected, rel=platform.tolerance(1e-10))
