# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Energies against an independent evaluation in numpy, and energies in parts."""

import numpy as np
import pytest
from numpy_evaluation import evaluate
from random_models import BOXES, PARTS, PERIODIC, makeModel, makeSystem, randomPositions, randomTypes

from platforms import eachPlatform, eachPlatformAnd

CASES = [(name, None) for name in PARTS] + [(name, box) for name in PERIODIC for box in BOXES]
IN_EACH_PRECISION = [("mlcg", None), ("torchmdnet", "triclinic"), ("ani-3", "smaller than the cutoff")]


def energyOf(context):
    return context.getState(energy=True).getPotentialEnergy()._value


@eachPlatformAnd(("name", "boxName"), CASES, IN_EACH_PRECISION)
def test_energy(platform, name, boxName):
    rng = np.random.default_rng(11)
    model, box = makeModel(name), BOXES.get(boxName)
    n = {None: 16, "smaller than the cutoff": 4}.get(boxName, 26)
    x, types = randomPositions(n, rng, box), randomTypes(model, n, rng)
    system, force = makeSystem(model, types, box)
    exclusions = [(0, 3), (2, 1)] if model.hasPairPrior() else []
    for pair in exclusions:
        force.addPairExclusion(*pair)
    system.addForce(force)
    context = platform.context(system, x)
    expected = evaluate(model.getBytes(), types, x, box, exclusions)
    tolerance = platform.tolerance(1e-12) * np.abs(expected).sum()
    assert energyOf(context) == pytest.approx(expected.mean(axis=0).sum(), rel=0, abs=tolerance)
    assert force.getMemberEnergies(context) == pytest.approx(expected.sum(axis=1), rel=0, abs=tolerance)
    assert force.getParticleEnergies(context) == pytest.approx(expected.mean(axis=0), rel=0, abs=tolerance)


@eachPlatform
@pytest.mark.parametrize("name", ["schnet-3", "ani-3", "schnetpack"])
def test_energiesInParts(platform, name):
    """Particles, groups and members add up to the energy, all scaled by the global parameters."""
    rng = np.random.default_rng(12)
    model = makeModel(name)
    n = 16
    x, types = randomPositions(n, rng), randomTypes(model, n, rng)
    groups = rng.choice([7, 2, 40], n)
    system, force = makeSystem(model, types, groups=groups)
    force.addGlobalParameter("a", 0.5)
    force.addGlobalParameter("b", -3.0)
    system.addForce(force)
    context = platform.context(system, x)
    members = np.array(
        [evaluate(model.getBytes(), np.array(types)[groups == g], x[groups == g]).sum(axis=1) for g in (2, 7, 40)]
    )  # [group][member], without the global parameters
    tolerance = platform.tolerance(1e-12) * np.abs(members).sum()
    for a, b in [(0.5, -3.0), (2.0, 1.0), (0.0, 1.0)]:
        context.setParameter("a", a)
        context.setParameter("b", b)
        assert force.getGroups() == (2, 7, 40)
        assert force.getGroupEnergies(context) == pytest.approx(a * b * members.mean(axis=1), rel=0, abs=tolerance)
        assert force.getMemberEnergies(context) == pytest.approx(a * b * members.sum(axis=0), rel=0, abs=tolerance)
        deviation = abs(a * b) * members.std(axis=1, ddof=1) if model.getNumMembers() > 1 else np.zeros(3)
        assert force.getEnsembleDeviation(context) == pytest.approx(deviation, rel=0, abs=tolerance)
        energy = energyOf(context)
        for parts in (force.getParticleEnergies(context), force.getGroupEnergies(context)):
            assert sum(parts) == pytest.approx(energy, rel=0, abs=tolerance)
        assert np.mean(force.getMemberEnergies(context)) == pytest.approx(energy, rel=0, abs=tolerance)
