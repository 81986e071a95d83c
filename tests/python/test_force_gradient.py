# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Forces are minus the gradient of the energy, on every coordinate; derivatives by global parameters."""

import numpy as np
import pytest
from random_models import BOXES, PARTS, PERIODIC, makeModel, makeSystem, randomPositions, randomTypes

from platforms import eachPlatform

pytestmark = eachPlatform

CASES = [(name, None) for name in PARTS] + [(name, box) for name in PERIODIC for box in BOXES]


def makeForce(model, n, rng, box=None):
    groups = [1 if i % 5 == 4 else 0 for i in range(n)]
    system, force = makeSystem(model, randomTypes(model, n, rng), box, groups)
    if model.hasPairPrior():
        force.addPairExclusion(0, 1)
    system.addForce(force)
    return system, force


def gradientBySteps(energyAt, x, h):
    """Central differences of fourth order: f' = (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / (12 h)."""
    gradient = np.empty_like(x)
    for index in np.ndindex(*x.shape):
        value = {}
        for step in (-2, -1, 1, 2):
            moved = x.copy()
            moved[index] += step * h
            value[step] = energyAt(moved)
        gradient[index] = (8 * (value[1] - value[-1]) - (value[2] - value[-2])) / (12 * h)
    return gradient


@pytest.mark.parametrize(("name", "boxName"), CASES)
def test_forcesAreMinusTheGradient(platform, name, boxName):
    rng = np.random.default_rng(21)
    model, box = makeModel(name), BOXES.get(boxName)
    n = {None: 16, "smaller than the cutoff": 4}.get(boxName, 28)
    x = randomPositions(n, rng, box)
    system, force = makeForce(model, n, rng, box)
    force.addGlobalParameter("scale", 0.7)
    context = platform.context(system, x)

    def energyAt(positions):
        context.setPositions(positions)
        return context.getState(energy=True).getPotentialEnergy()._value

    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    rms = np.sqrt(np.mean(forces**2))
    assert rms > 10, "the model should give forces worth testing"
    # What the rounding of an energy is relative to; self energies count.
    resolution = platform.precision * sum(map(abs, force.getParticleEnergies(context)))
    tolerance = platform.tolerance(1e-6) * rms
    # ANI's CELU and the envelopes have kinks in their second derivative, so steps are as short as rounding allows. The difference of
    # two steps tells how good the numbers are: without it, a failure could be the steps' fault.
    h = max(2e-6, 15 * resolution / tolerance)
    gradient, other = gradientBySteps(energyAt, x, h), gradientBySteps(energyAt, x, 0.6 * h)
    assert np.abs(gradient - other).max() < 0.3 * tolerance, "the finite differences are not good enough to judge the forces"
    error = np.abs(forces + gradient)
    worst = np.unravel_index(error.argmax(), error.shape)
    assert error.max() < tolerance, f"particle {worst[0]}, {'xyz'[worst[1]]}: force {forces[worst]}, minus gradient {-gradient[worst]}"


@pytest.mark.parametrize("name", ["mlcg", "ani-3"])
def test_derivativeByGlobalParameters(platform, name):
    """dE/da = E / a, also where a is zero, and by each of two parameters; both central difference and formula."""
    rng = np.random.default_rng(22)
    model = makeModel(name)
    system, force = makeForce(model, 8, rng)
    force.addGlobalParameter("a", 0.7)
    force.addGlobalParameter("b", -1.5)
    force.addGlobalParameter("c", 2.0)
    force.addEnergyParameterDerivative("b")
    force.addEnergyParameterDerivative("a")
    context = platform.context(system, randomPositions(8, rng))

    def energyAt(**values):
        for key, value in values.items():
            context.setParameter(key, value)
        return context.getState(energy=True).getPotentialEnergy()._value

    one = energyAt(a=1, b=1, c=1)
    assert one != 0
    for a, b, c in [(0.7, -1.5, 2.0), (0.0, 2.0, 1.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0)]:
        assert energyAt(a=a, b=b, c=c) == pytest.approx(one * a * b * c, rel=platform.tolerance(1e-13), abs=0)
        derivatives = context.getState(parameterDerivatives=True).getEnergyParameterDerivatives()
        assert {key: derivatives[key] for key in "ab"} == {
            "a": pytest.approx(one * b * c, rel=platform.tolerance(1e-13)),
            "b": pytest.approx(one * a * c, rel=platform.tolerance(1e-13)),
        }
        h = 0.125
        difference = (energyAt(a=a + h, b=b, c=c) - energyAt(a=a - h, b=b, c=c)) / (2 * h)
        energyAt(a=a)
        assert derivatives["a"] == pytest.approx(difference, rel=platform.tolerance(1e-10), abs=platform.tolerance(1e-12) * abs(one))


def test_globalParametersScaleForces(platform):
    rng = np.random.default_rng(23)
    model = makeModel("pyg")
    system, force = makeForce(model, 8, rng)
    force.addGlobalParameter("a", 1.0)
    context = platform.context(system, randomPositions(8, rng))
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    context.setParameter("a", -0.25)
    scaled = context.getState(forces=True).getForces(asNumpy=True)._value
    np.testing.assert_allclose(scaled, -0.25 * forces, rtol=0, atol=platform.tolerance(1e-13) * np.abs(forces).max())
    context.setParameter("a", 0.0)
    assert not context.getState(forces=True).getForces(asNumpy=True)._value.any()
