# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Forces are minus the gradient of the energy: on every coordinate by finite differences, and along paths by the work they do, which is the
sharper test in single precision; derivatives by global parameters.
"""

import numpy as np
import pytest
from random_models import BOXES, PARTS, PERIODIC, makeModel, makeSystem, randomPositions, randomTypes, toGrid

from platforms import eachPlatform, eachPlatformAnd

CASES = [(name, None) for name in PARTS] + [(name, box) for name in PERIODIC for box in BOXES]
IN_EACH_PRECISION = [("mlcg", None), ("torchmdnet", "triclinic"), ("ani-3", "smaller than the cutoff")]


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


class Case:
    """A random model's forces at a random configuration, and how well the platform resolves an energy there."""

    def __init__(self, platform, name, boxName):
        self.rng = np.random.default_rng(21)
        model, box = makeModel(name), BOXES.get(boxName)
        n = {None: 16, "smaller than the cutoff": 4}.get(boxName, 26)
        self.x = randomPositions(n, self.rng, box)
        system, force = makeForce(model, n, self.rng, box)
        force.addGlobalParameter("scale", 0.7)
        self.context = platform.context(system, self.x)
        self.forces = self.forcesAt(self.x)
        self.rms = np.sqrt(np.mean(self.forces**2))
        assert self.rms > 10, "the model should give forces worth testing"
        # What the rounding of an energy is relative to; self energies count.
        self.resolution = platform.precision * sum(map(abs, force.getParticleEnergies(self.context)))

    def energyAt(self, positions):
        self.context.setPositions(positions)
        return self.context.getState(energy=True).getPotentialEnergy()._value

    def forcesAt(self, positions):
        self.context.setPositions(positions)
        return self.context.getState(forces=True).getForces(asNumpy=True)._value


@eachPlatformAnd(("name", "boxName"), CASES, IN_EACH_PRECISION)
def test_forcesDoTheWork(platform, name, boxName):
    """
    The integral of the forces along straight lines is what the energy loses, by Gauss-Legendre quadrature in 24 pieces (for the kinks of
    ANI's CELU and of the envelopes). The energy changes much more than over the steps of finite differences.
    """
    case = Case(platform, name, boxName)
    nodes, weights = np.polynomial.legendre.leggauss(6)
    for _ in range(2):
        d = toGrid(case.rng.normal(scale=0.005, size=case.x.shape))
        work = 0.0
        for piece in range(24):
            for node, weight in zip(nodes, weights):
                work += weight / 48 * np.sum(case.forcesAt(case.x + (piece + 0.5 + 0.5 * node) / 24 * d) * d)
        change = case.energyAt(case.x + d) - case.energyAt(case.x)
        allowed = platform.forceTolerance(1e-5) * case.rms * np.linalg.norm(d) + 2 * case.resolution
        assert change == pytest.approx(-work, rel=0, abs=allowed)


@eachPlatformAnd(("name", "boxName"), CASES, IN_EACH_PRECISION)
def test_forcesAreMinusTheGradient(platform, name, boxName):
    case = Case(platform, name, boxName)
    forces = case.forces
    # ANI's CELU and the envelopes have kinks in their second derivative, so steps are as short as rounding allows, and never longer than
    # a picometre. The difference of two steps tells how good the numbers are: without it, a failure could be the steps' fault.
    tolerance = max(platform.gradient * case.rms, 15 * case.resolution / 1e-3)
    h = max(2e-6, 15 * case.resolution / tolerance)
    steps = (h, 0.6 * h)
    if platform.singlePositions:
        steps = [np.ceil(step * 2**20) / 2**20 for step in steps]  # exact on top of positions on the grid
    gradient, other = (gradientBySteps(case.energyAt, case.x, step) for step in steps)
    judged = np.abs(gradient - other) < 0.3 * tolerance
    # The longer steps of single precision may cross a kink here and there: such a component tells nothing (test_forcesDoTheWork does).
    assert judged.mean() >= (1 if platform.name == "Reference" else 0.9), "the finite differences are not good enough to judge the forces"
    error = np.where(judged, np.abs(forces + gradient), 0)
    worst = np.unravel_index(error.argmax(), error.shape)
    assert error.max() < tolerance, f"particle {worst[0]}, {'xyz'[worst[1]]}: force {forces[worst]}, minus gradient {-gradient[worst]}"


@eachPlatform
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


@eachPlatform
def test_globalParametersScaleForces(platform):
    rng = np.random.default_rng(23)
    model = makeModel("pyg")
    system, force = makeForce(model, 8, rng)
    force.addGlobalParameter("a", 1.0)
    context = platform.context(system, randomPositions(8, rng))
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    context.setParameter("a", -0.25)
    scaled = context.getState(forces=True).getForces(asNumpy=True)._value
    np.testing.assert_allclose(scaled, -0.25 * forces, rtol=0, atol=platform.forceTolerance(1e-13) * np.abs(forces).max())
    context.setParameter("a", 0.0)
    assert not context.getState(forces=True).getForces(asNumpy=True)._value.any()
