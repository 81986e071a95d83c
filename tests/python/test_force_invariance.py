# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Symmetries of the energy, groups, subsets of a System, and the smallest systems."""

from typing import NamedTuple

import numpy as np
import openmm
import pytest
from random_models import BOXES, PARTS, PERIODIC, makeModel, randomPositions, randomTypes, validTypes
from scipy.spatial.transform import Rotation

from openmmflash import FlashForce, FlashModel
from openmmflash.convert._writer import modelBytes
from platforms import eachPlatform

pytestmark = eachPlatform

eachModel = pytest.mark.parametrize("name", PARTS)


class Result(NamedTuple):
    energy: float  # kJ/mol
    forces: np.ndarray  # [System's particles, 3], kJ/mol/nm
    scale: float  # sum of the magnitudes of the particles' energies, kJ/mol


def evaluateAll(platform, model, types, positions, box=None, groups=None, particles=None, numParticles=None, exclusions=()):
    """A System with one FlashForce, in one Context for all `positions`: an iterator over Results."""
    particles = range(len(types)) if particles is None else particles
    numParticles = len(types) if numParticles is None else numParticles
    system, force = openmm.System(), FlashForce(model)
    for _ in range(numParticles):
        system.addParticle(12.0)
    force.addParticles(particles, types, [0] * len(types) if groups is None else groups)
    for pair in exclusions:
        force.addPairExclusion(*pair)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
        force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    context = platform.context(system, positions[0])
    for x in positions:
        context.setPositions(x)
        state = context.getState(energy=True, forces=True)
        scale = sum(map(abs, force.getParticleEnergies(context)))
        yield Result(state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value.reshape(numParticles, 3), scale)


def evaluate(platform, model, types, x, *arguments, **options):
    return next(evaluateAll(platform, model, types, [x], *arguments, **options))


def assertSame(platform, result, expected, wanted=1e-11):
    """`expected` is another Result, or an energy and forces."""
    expectedEnergy, expectedForces, *_ = expected
    assert result.energy == platform.energy(expectedEnergy, result.scale, wanted)
    rms = np.sqrt(np.mean(expectedForces**2))
    assert np.isfinite(result.forces).all()
    assert np.abs(result.forces - expectedForces).max() <= platform.forceTolerance(10 * wanted) * rms


def makeCase(name, n=16, seed=31, box=None):
    rng = np.random.default_rng(seed)
    model = makeModel(name)
    return rng, model, randomTypes(model, n, rng), randomPositions(n, rng, box)


@eachModel
def test_translation(platform, name):
    rng, model, types, x = makeCase(name)
    expected, *shifted = evaluateAll(platform, model, types, [x, x + [0.125, -0.25, 0.3125], x + [-50.0, 7.0, 30.0]])
    for result in shifted:
        assertSame(platform, result, expected, 1e-10)


@eachModel
def test_rotation(platform, name):
    rng, model, types, x = makeCase(name)
    matrices = [*(Rotation.random(random_state=seed).as_matrix() for seed in range(3)), np.diag([1, 1, -1.0])]
    (energy, forces, _), *turned = evaluateAll(platform, model, types, [x, *(x @ R.T for R in matrices)])
    for R, result in zip(matrices, turned, strict=True):
        assertSame(platform, result, (energy, forces @ R.T))


@eachModel
def test_permutation(platform, name):
    """Neither the order in the System nor the order in which particles were added matters."""
    rng, model, types, x = makeCase(name)
    energy, forces, _ = evaluate(platform, model, types, x)
    order = rng.permutation(len(types))
    assertSame(platform, evaluate(platform, model, np.array(types)[order], x[order]), (energy, forces[order]))
    assertSame(platform, evaluate(platform, model, np.array(types)[order], x, particles=order), (energy, forces))


@pytest.mark.parametrize("boxName", BOXES)
@pytest.mark.parametrize("name", PERIODIC)
def test_latticeTranslation(platform, name, boxName):
    """Every particle may lie in a periodic image of its own, however far away."""
    box = BOXES[boxName]
    rng, model, types, x = makeCase(name, 4 if boxName == "smaller than the cutoff" else 26, box=box)
    distances = (1, 20) if platform.singlePositions else (1, 20, 1000)
    moved = [x + rng.integers(-far, far + 1, (len(x), 3)) @ box for far in distances]
    expected, *results = evaluateAll(platform, model, types, [x, *moved, x + [0.375, -5.125, 12.25]], box)
    for far, result in zip(distances, results[:-1], strict=True):
        assertSame(platform, result, expected, 1e-13 * (far + 100))
    assertSame(platform, results[-1], expected, 1e-10)


@pytest.mark.parametrize("name", PERIODIC)
def test_largerCell(platform, name):
    """
    Two by one by two copies of a box smaller than the cutoff: four times the energy, the same forces.

    A neighbour embedding leaves out a particle's own images, so that it is no function of the infinite crystal in such a box.
    """
    if name in ("torchmdnet", "schnet-0-blocks"):
        assert "neighbor_embedding" in PARTS[name]()[0]["hyperparameters"]
        boxName = "cubic"  # no particle sees its own image
    else:
        boxName = "smaller than the cutoff"
    box = BOXES[boxName]
    _, model, types, x = makeCase(name, 4, box=box)
    energy, forces, _ = evaluate(platform, model, types, x, box)
    copies = np.concatenate([x + i * box[0] + k * box[2] for i in range(2) for k in range(2)])
    # OpenMM wants reduced box vectors: 2 c may exceed half of 2 a and b.
    large = np.array([2 * box[0], box[1], 2 * box[2]])
    large[2] -= large[1] * np.round(large[2][1] / large[1][1])
    large[2] -= large[0] * np.round(large[2][0] / large[0][0])
    # The constant energy of a group is there once, in a cell of any size.
    constant = PARTS[name]()[0]["hyperparameters"].get("group_energy", 0.0) * model.getEnergyUnit()
    expected = 4 * (energy - constant) + constant
    assertSame(platform, evaluate(platform, model, types * 4, copies, large), (expected, np.tile(forces, (4, 1))))


@pytest.mark.parametrize(("name", "periodic"), [(name, False) for name in PARTS] + [(name, True) for name in PERIODIC])
def test_groupsDoNotSeeEachOther(platform, name, periodic):
    """Three groups that lie in the same place give what they give alone."""
    box = BOXES["triclinic"] if periodic else None
    rng = np.random.default_rng(32)
    model = makeModel(name)
    n = 18
    groups = rng.permutation(np.repeat([5, 0, 1000000], 6))
    x, types = np.empty((n, 3)), np.array(randomTypes(model, n, rng))
    energy, forces = 0, np.empty((n, 3))
    for g in (0, 5, 1000000):
        mine = np.nonzero(groups == g)[0]
        x[mine] = randomPositions(6, rng, box)
        e, f, _ = evaluate(platform, model, types[mine], x[mine], box)
        energy += e
        forces[mine] = f
    # Two particles of different groups at the same place do not meet either.
    a, b = np.nonzero(groups == 0)[0][0], np.nonzero(groups == 5)[0][0]
    x[groups == 5] += x[a] - x[b]
    x[b] = x[a]
    assertSame(platform, evaluate(platform, model, types, x, box, groups), (energy, forces))
    together = evaluate(platform, model, types[groups != 5], x[groups != 5], box)
    apart = evaluate(platform, model, types[groups != 5], x[groups != 5], box, groups[groups != 5])
    assert abs(together.energy - apart.energy) > 1e-3 * abs(apart.energy), "the groups should be near enough that mixing them up would show"


@eachModel
def test_netForceAndTorqueAreZero(platform, name):
    _, model, types, x = makeCase(name)
    forces = evaluate(platform, model, types, x).forces
    scale = np.abs(forces).sum()
    assert np.abs(forces.sum(axis=0)).max() < platform.tolerance(1e-13) * scale
    assert np.abs(np.cross(x, forces).sum(axis=0)).max() < platform.tolerance(1e-12) * scale


@pytest.mark.parametrize("name", PERIODIC)
def test_netForceInBox(platform, name):
    box = BOXES["smaller than the cutoff"]
    _, model, types, x = makeCase(name, 4, box=box)
    forces = evaluate(platform, model, types, x, box).forces
    assert np.abs(forces.sum(axis=0)).max() < platform.tolerance(1e-13) * np.abs(forces).sum()


@eachModel
def test_oneParticle(platform, name):
    """No neighbours: no force, and an energy that does not depend on the place."""
    model = makeModel(name)
    for t in validTypes(model):
        here, there = evaluateAll(platform, model, [t], [[[0.1, 0.2, 0.3]], [[-7.0, 0, 0]]])
        assert not here.forces.any()
        assert there.energy == here.energy != 0


@eachModel
def test_twoParticles(platform, name):
    """Forces along the line between them, opposite and equal, and minus dE/dr."""
    model = makeModel(name)
    t = validTypes(model)
    direction = np.array([1.0, -2.0, 2.0]) / 3
    h = 5e-6 * max(1, (platform.precision / 1e-14) ** 0.3)  # where rounding and the error of fourth order are about equal
    distances = np.array([0.17, 0.3, 0.4])
    points = (distances[:, None] + h * np.arange(-2, 3)).ravel()
    positions = [np.array([[0.3, 0.4, 0.5], [0.3, 0.4, 0.5] + r * direction]) for r in points]
    results = list(evaluateAll(platform, model, t[:2], positions))
    for k in range(len(distances)):
        near = results[5 * k : 5 * k + 5]
        _, forces, magnitude = near[2]
        along = forces[1] @ direction
        scale = platform.forceTolerance(1e-11) * abs(along)
        assert abs(along) > 1e-3
        np.testing.assert_allclose(forces[1], along * direction, rtol=0, atol=scale)
        np.testing.assert_allclose(forces[0], -forces[1], rtol=0, atol=scale)
        derivative = (8 * (near[3].energy - near[1].energy) - (near[4].energy - near[0].energy)) / (12 * h)
        assert along == pytest.approx(-derivative, rel=max(1e-6, 0.1 * platform.gradient), abs=2 * platform.precision * magnitude / h)


@eachModel
def test_atTheCutoff(platform, name):
    """A pair exactly at the cutoff and beyond it does not interact; just inside it does, and the energy is continuous."""
    parts = PARTS[name]()
    parts[0]["hyperparameters"].pop("repulsion", None)  # acts at other distances
    parts[1].pop("repulsion.sigma", None)
    # In nm, so that the distance is not rounded on its way to the network.
    parts[0]["length_unit"] = "nm"
    scale = 0.5 / parts[0]["hyperparameters"].get("cutoff", 5.0)
    for key in ("cutoff", "radial_cutoff", "angular_cutoff", "basis_lower", "filter_envelope_lower"):
        if key in parts[0]["hyperparameters"]:
            parts[0]["hyperparameters"][key] *= scale
    model = FlashModel.fromBytes(modelBytes(*parts))
    cutoff, t = model.getCutoff(), validTypes(model)[:2]
    assert cutoff == 0.5
    distances = (2.0, cutoff, np.nextafter(cutoff, 1), np.nextafter(cutoff, 0), 0.5 * cutoff)
    far, *outside, inside, near = evaluateAll(platform, model, t, [[[0.0, 0, 0], [r, 0, 0]] for r in distances])
    apart = far.energy
    for result in outside:
        assert result.energy == pytest.approx(apart, rel=platform.tolerance(1e-14))
        assert not result.forces.any()
    assert inside.energy == pytest.approx(apart, rel=platform.tolerance(1e-12))
    assert np.abs(near.forces).max() > 1e-6
    # Periodic, the other particle at the cutoff on both sides.
    box = np.eye(3)
    periodic = evaluate(platform, model, t, [[0.0, 0, 0], [cutoff, 0, 0]], box)
    assert periodic.energy == pytest.approx(apart, rel=platform.tolerance(1e-14))
    assert not periodic.forces.any()


@eachModel
def test_isolatedParticle(platform, name):
    """A particle far from all others adds its own energy and feels nothing (of the network; an all-pairs prior reaches it)."""
    _, model, types, x = makeCase(name, 9)
    exclusions = [(i, 8) for i in range(8)] if model.hasPairPrior() else ()
    rest = evaluate(platform, model, types[:8], x[:8])
    alone = evaluate(platform, model, types[8:], x[8:])
    # The constant energy of a group is counted once where they are one group.
    constant = PARTS[name]()[0]["hyperparameters"].get("group_energy", 0.0) * model.getEnergyUnit()
    x[8] = [300.0, -4.0, 5.0]
    result = evaluate(platform, model, types, x, exclusions=exclusions)
    assert not result.forces[8].any()
    expected = rest.energy + alone.energy - constant
    assertSame(platform, result._replace(forces=result.forces[:8]), (expected, rest.forces))


@pytest.mark.parametrize("name", ["mlcg", "schnetpack", "ani"])
@pytest.mark.parametrize("numParticles", [0, 3])
def test_emptyForce(platform, name, numParticles):
    """A force without particles: nothing at all, also as the only force of an empty System."""
    if numParticles == 0:
        # OpenMM makes no Context of a System without particles; the force may be without them.
        with pytest.raises(openmm.OpenMMException, match="no particles"):
            evaluate(platform, makeModel(name), [], [], numParticles=0)
        return
    model = makeModel(name)
    system, force = openmm.System(), FlashForce(model)
    for _ in range(numParticles):
        system.addParticle(1.0)
    system.addForce(force)
    context = platform.context(system, np.zeros((3, 3)))
    state = context.getState(energy=True, forces=True)
    assert state.getPotentialEnergy()._value == 0
    assert not state.getForces(asNumpy=True)._value.any()
    assert (
        force.getGroups()
        == force.getGroupEnergies(context)
        == force.getParticleEnergies(context)
        == force.getEnsembleDeviation(context)
        == ()
    )
    assert force.getMemberEnergies(context) == (0.0,) * model.getNumMembers()


@eachModel
def test_subsetOfTheSystem(platform, name):
    """Some particles of a System, in any order: the others feel nothing and change nothing, even at the same place."""
    rng, model, types, x = makeCase(name, 8)
    energy, forces, _ = evaluate(platform, model, types, x)
    n = 20
    particles = rng.permutation(n)[:8]
    others = np.setdiff1d(np.arange(n), particles)
    positions = np.empty((n, 3))
    positions[particles] = x
    positions[others] = np.concatenate([x, x])[: len(others)]
    expected = np.zeros((n, 3))
    expected[particles] = forces
    result = evaluate(platform, model, types, positions, particles=particles, numParticles=n)
    assertSame(platform, result, (energy, expected))
    assert not result.forces[others].any()


@pytest.mark.parametrize("name", ["mlcg", "mlcg-repulsion-cutoff", "ani-3"])
def test_exclusionsConcernThePairPriorOnly(platform, name):
    """Excluding every pair takes the prior away and nothing else; the order of a pair does not matter."""
    _, model, types, x = makeCase(name, 7)
    parts = PARTS[name]()
    del parts[0]["hyperparameters"]["repulsion"], parts[1]["repulsion.sigma"]
    bare = evaluate(platform, FlashModel.fromBytes(modelBytes(*parts)), types, x)
    full = evaluate(platform, model, types, x)
    pairs = [(i, j) if (i + j) % 2 else (j, i) for i in range(7) for j in range(i)]
    assertSame(platform, evaluate(platform, model, types, x, exclusions=pairs), bare)
    assert np.abs(full.forces - bare.forces).max() > 0.05 * np.abs(bare.forces).max()
