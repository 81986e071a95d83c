# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""On a device: an error tells what is wrong now, and an evaluation after it begins anew; groups that OpenMM may have moved apart."""

import numpy as np
import openmm
import pytest
from random_models import makeModel, randomPositions, randomTypes

from openmmflash import FlashForce
from platforms import OPENCL_SINGLE


def addForce(system, model, types, group=0, groups=None):
    force = FlashForce(model)
    for i, t in enumerate(types):
        force.addParticle(i, int(t), 0 if groups is None else int(groups[i]))
    force.setForceGroup(group)
    system.addForce(force)
    return force


@pytest.fixture(scope="module")
def model():
    return makeModel("mlcg")


def positionsOf(n, seed=1):
    return np.float32(randomPositions(n, np.random.default_rng(seed))).astype(float)


def energy(context, positions, **which):
    context.setPositions(positions)
    return context.getState(energy=True, forces=True, **which).getPotentialEnergy()._value


def testGoodPositionsAfterBadOnes(model):
    """Two forces, of which one tells of a coordinate: the other one has found it, too, and does not tell of it later."""
    n = 8
    system = openmm.System()
    types = randomTypes(model, n, np.random.default_rng(2))
    for _ in range(n):
        system.addParticle(12.0)
    addForce(system, model, types)
    addForce(system, model, types, group=3)
    context = OPENCL_SINGLE.context(system)
    good = positionsOf(n)
    expected = energy(context, good)
    first = energy(context, good, groups={0})
    bad = good.copy()
    bad[5, 1] = np.nan
    bad[2] = bad[1]
    with pytest.raises(openmm.OpenMMException, match="not finite.*particle 5"):
        energy(context, bad)
    assert energy(context, good) == expected
    with pytest.raises(openmm.OpenMMException, match="not finite.*particle 5"):
        energy(context, bad)
    assert energy(context, good, groups={0}) == first
    bad = good.copy()
    bad[2] = bad[1]
    with pytest.raises(openmm.OpenMMException, match="same position.*particle 1 .*particle 2"):
        energy(context, bad)
    assert energy(context, good, groups={0}) == first
    assert energy(context, good) == expected


def testGroupsThatMayBeApart(model):
    """Without periodic boundary conditions, where other forces make OpenMM move molecules: groups that join others are refused."""
    n = 8
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors([3, 0, 0], [0, 3, 0], [0, 0, 3])
    types = randomTypes(model, n, np.random.default_rng(2))
    nonbonded = openmm.NonbondedForce()
    nonbonded.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    for _ in range(n):
        system.addParticle(12.0)
        nonbonded.addParticle(0, 0.3, 0)
    system.addForce(nonbonded)
    groups = np.arange(n) % 2
    force = addForce(system, model, types, groups=groups)
    context = OPENCL_SINGLE.context(system)
    good = positionsOf(n)
    expected = energy(context, good)
    force.setParticleParameters(1, 1, int(types[1]), 0)
    with pytest.raises(openmm.OpenMMException, match="reinitialize"):
        force.updateParametersInContext(context)
    with pytest.raises(openmm.OpenMMException, match="could not be updated"):
        energy(context, good)
    force.setParticleParameters(1, 1, int(types[1]), 7)  # a group of its own
    force.updateParametersInContext(context)
    assert energy(context, good) != expected
    force.setParticleParameters(1, 1, int(types[1]), 0)
    context.reinitialize()
    assert np.isfinite(energy(context, good))
