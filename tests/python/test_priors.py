# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Priors as OpenMM forces: every form against its formula in plain numpy and against finite differences; tables by type; replicas."""

import numpy as np
import openmm
import pytest
from mlcg_reference import evaluate, forcesOnly, referenceContext
from random_models import schnetParts

from openmmflash import FlashModel
from openmmflash.convert._writer import modelBytes
from openmmflash.priors import FORMS, createPriorForces
from openmmflash.structurefile import Structure, StructureError, Terms

ENERGY, LENGTH = 4.184, 0.1  # the models here are in kcal/mol and Angstrom
TYPES = [{"name": name} for name in ("A", "B", "C", "D")]


def distance(x):
    return np.linalg.norm(x[0] - x[1])


def cosine(x):
    a, b = x[0] - x[1], x[2] - x[1]
    return a @ b / np.sqrt((a @ a) * (b @ b))


def torsion(x):
    """IUPAC's sign: positive if, looking along the middle bond, the far bond is turned clockwise."""
    a, b, c = x[1] - x[0], x[2] - x[1], x[3] - x[2]
    return np.arctan2(np.linalg.norm(b) * (a @ np.cross(b, c)), np.cross(a, b) @ np.cross(b, c))


def wrapped(angle):
    return angle - 2 * np.pi * np.round(angle / (2 * np.pi))


def fourier(x, p):
    n = (len(p) - 1) // 2
    phi = torsion(x)
    return p[0] + sum(p[i] * np.sin(i * phi) + p[n + i] * np.cos(i * phi) for i in range(1, n + 1))


def cutoffForm(u, du, r, rc):
    return u(r) - u(rc) - (r - rc) * du(rc) if r < rc else 0.0


# form -> energy of one term, in the model's units; x are positions [k, 3], p the parameters
ENERGIES = {
    "harmonic_bond": lambda x, p: p[0] * (distance(x) - p[1]) ** 2,
    "harmonic_angle": lambda x, p: p[0] * (np.arccos(cosine(x)) - p[1]) ** 2,
    "cosine_angle": lambda x, p: p[0] * (cosine(x) - p[1]) ** 2,
    "polynomial_angle": lambda x, p: sum(p[i] * np.arccos(cosine(x)) ** i for i in range(len(p))),
    "quartic_angle": lambda x, p: np.polyval(p, cosine(x)),
    "restricted_quartic_angle": lambda x, p: np.polyval([*p[:4], p[5]], cosine(x)) + p[4] / np.sin(np.arccos(cosine(x))) ** 2,
    "fourier_dihedral": fourier,
    "harmonic_improper": lambda x, p: p[0] * wrapped(torsion(x) - p[1]) ** 2,
    "power_repulsion": lambda x, p: (p[0] / distance(x)) ** 6,
    "exponential_repulsion": lambda x, p: 6 / p[0] * np.exp(p[0] * (1 - distance(x) / p[1])),
    "cutoff_power_repulsion": lambda x, p: cutoffForm(lambda r: (p[0] / r) ** 6, lambda r: -6 * p[0] ** 6 / r**7, distance(x), p[1]),
    "cutoff_exponential_repulsion": lambda x, p: cutoffForm(
        lambda r: 6 / p[0] * np.exp(p[0] * (1 - r / p[1])), lambda r: -6 / p[1] * np.exp(p[0] * (1 - r / p[1])), distance(x), p[2]
    ),
}
PARAMETERS = {
    "harmonic_bond": [[70.0, 3.8], [90.0, 3.6]],
    "harmonic_angle": [[12.0, 1.9], [8.0, 2.2]],
    "cosine_angle": [[12.0, -0.3], [20.0, 0.1]],
    "polynomial_angle": [[1.0, -2.0, 0.5, 0.25], [0.3, 1.0, -0.5, 0.1]],
    "quartic_angle": [[1.0, -2.0, 3.0, 0.5, 0.25], [-0.5, 1.5, 2.0, -1.0, 4.0]],
    "restricted_quartic_angle": [[1.0, -2.0, 3.0, 0.5, 2.0, 0.25], [-0.5, 1.5, 2.0, -1.0, 1.0, 4.0]],
    "fourier_dihedral": [[-3.0, 0.5, -1.2, 0.3, 1.5, 0.2, -0.7], [1.0, 0.1, 0.2, -0.3, -0.4, 0.5, 0.6]],
    "harmonic_improper": [[5.0, 2.9], [7.0, -0.4]],
    "power_repulsion": [[4.0], [5.0]],
    "exponential_repulsion": [[9.0, 4.0], [7.0, 5.0]],
    "cutoff_power_repulsion": [[4.0, 3.9], [5.0, 9.0]],
    "cutoff_exponential_repulsion": [[9.0, 4.0, 3.9], [7.0, 5.0, 9.0]],
}


def model(tables, repulsion=None, types=TYPES):
    """A model with prior tables {name: (form, types [n, k], parameters [n, p])}."""
    metadata, tensors = schnetParts(types=types, repulsion=repulsion)
    metadata["priors"] = [{"name": name, "form": form} for name, (form, _, _) in tables.items()]
    for name, (_, rows, parameters) in tables.items():
        tensors[f"priors.{name}.types"] = np.array(rows, dtype=np.int32)
        tensors[f"priors.{name}.parameters"] = np.array(parameters, dtype=np.float64)
    return FlashModel.fromBytes(modelBytes(metadata, tensors))


def untyped(form, name="prior"):
    """A model whose prior has no parameters by types."""
    return model({name: (form, np.zeros((0, FORMS[form].arity)), np.zeros((0, len(PARAMETERS[form][0]))))})


def chain(n, seed=0):
    """A random chain with bonds of about 3.8 A and no straight angles; nm."""
    rng = np.random.default_rng(seed)
    positions = np.zeros((n, 3))
    for i in range(1, n):
        step = rng.normal(size=3) + (0.8, 0.3, 0)
        positions[i] = positions[i - 1] + rng.uniform(3.5, 4.1) * step / np.linalg.norm(step)
    return positions * LENGTH


def twoTerms(form, positions, parameters=None, **more):
    k = FORMS[form].arity
    terms = Terms(np.array([range(k), range(1, k + 1)]), np.array(PARAMETERS[form] if parameters is None else parameters))
    return Structure(positions, types=[0] * len(positions), terms={"prior": terms}, **more)


def centralDifferences(context, positions, h=1e-5):
    forces = np.empty_like(positions)
    for index in np.ndindex(*positions.shape):
        values = []
        for step in (-h, h):
            moved = positions.copy()
            moved[index] += step
            values.append(evaluate(context, moved)[0])
        forces[index] = -(values[1] - values[0]) / (2 * h)
    return forces


def testEveryFormIsTested():
    assert set(FORMS) == set(ENERGIES) == set(PARAMETERS)


@pytest.mark.parametrize("form", FORMS)
def testFormula(form):
    """Energies of two terms in 20 conformations against the formula, with the units of the model converted."""
    prior = untyped(form)
    values = []
    for seed in range(20):
        positions = chain(FORMS[form].arity + 1, seed)
        structure = twoTerms(form, positions)
        (force,) = createPriorForces(prior, structure)
        assert force.getName() == form
        expected = ENERGY * sum(
            ENERGIES[form](positions[particles] / LENGTH, p)
            for particles, p in zip(structure.terms["prior"].particles, PARAMETERS[form], strict=True)
        )
        found = evaluate(referenceContext(forcesOnly([force], len(positions))), positions)[0]
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
        values.append(found)
    assert np.ptp(values) > 0.1


@pytest.mark.parametrize("form", FORMS)
def testForcesAreMinusTheGradient(form):
    for seed in range(4):
        positions = chain(FORMS[form].arity + 1, seed)
        context = referenceContext(forcesOnly(createPriorForces(untyped(form), twoTerms(form, positions)), len(positions)))
        forces = evaluate(context, positions)[1]
        scale = max(1.0, np.abs(forces).max())
        np.testing.assert_allclose(forces, centralDifferences(context, positions), atol=1e-6 * scale)
        np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-11 * scale)


@pytest.mark.parametrize("form", ["cosine_angle", "quartic_angle"])
@pytest.mark.parametrize("bend", [1.0, 1e-2, 1e-4, 1e-6, 1e-8, 0.0])
@pytest.mark.parametrize("straight", [True, False], ids=["near 180 degrees", "near 0 degrees"])
def testAnglesNearStraight(form, bend, straight):
    """Forces of the forms in cos theta stay finite and exact where the derivative by theta is 0/0."""
    a = np.array([0.38, 0.0, 0.0])
    b = 0.31 * np.array([-np.cos(bend) if straight else np.cos(bend), np.sin(bend), 0.0])
    positions = np.array([a, np.zeros(3), b, [1.0, 1.0, 1.0]])
    parameters = PARAMETERS[form][0]
    structure = Structure(positions, types=[0] * 4, terms={"prior": Terms(np.array([[0, 1, 2]]), np.array([parameters]))})
    _, forces = evaluate(referenceContext(forcesOnly(createPriorForces(untyped(form), structure), 4)), positions)
    c = cosine(positions)
    slope = ENERGY * (2 * parameters[0] * (c - parameters[1]) if form == "cosine_angle" else np.polyval(np.polyder(parameters), c))
    # grad_a cos = (b/|b| - c a/|a|) / |a|, written so that nothing cancels: that difference is the part of b/|b| across a
    u, v = a / np.linalg.norm(a), b / np.linalg.norm(b)
    acrossU, acrossV = v - (u @ v) * u, u - (u @ v) * v
    expected = np.zeros((4, 3))
    expected[0], expected[2] = -slope * acrossU / np.linalg.norm(a), -slope * acrossV / np.linalg.norm(b)
    expected[1] = -expected[0] - expected[2]
    np.testing.assert_allclose(forces, expected, atol=1e-11 * abs(slope) + 1e-12)


def testTorsionSignIsThatOfOpenMM():
    phi = np.radians(60)
    x = np.array([[0, 1.0, 0], [0, 0, 0], [0, 0, 1.5], [-np.sin(phi), np.cos(phi), 1.5]])
    assert abs(torsion(x)) == pytest.approx(phi)
    structure = Structure(x, types=[0] * 4, terms={"prior": Terms(np.array([[0, 1, 2, 3]]), np.array([[0.0, 1.0, 0.0]]))})
    metadata = model({"prior": ("fourier_dihedral", np.zeros((0, 4)), np.zeros((0, 3)))})
    # E = sin(phi): its sign is that of the torsion, which OpenMM's own periodic torsion has, too
    energy = evaluate(referenceContext(forcesOnly(createPriorForces(metadata, structure), 4)), x)[0]
    openmmForce = openmm.PeriodicTorsionForce()
    openmmForce.addTorsion(0, 1, 2, 3, 1, np.pi / 2, 1.0)  # 1 + cos(phi - pi/2) = 1 + sin(phi)
    assert energy / ENERGY == pytest.approx(evaluate(referenceContext(forcesOnly([openmmForce], 4)), x)[0] - 1, abs=1e-12)
    assert energy / ENERGY == pytest.approx(np.sin(torsion(x)), abs=1e-12)


class TestTables:
    TABLE = {
        "angles": ("cosine_angle", [[0, 1, 2], [2, 1, 0], [3, 0, 1], [0, 0, 0]], [[1.0, 0.1], [2.0, 0.2], [3.0, 0.3], [4.0, 0.4]]),
    }

    def parameters(self, types):
        structure = Structure(chain(3), types=types, terms={"angles": [[0, 1, 2]]})
        (force,) = createPriorForces(model(self.TABLE), structure)
        return [value / ENERGY if i == 0 else value for i, value in enumerate(force.getBondParameters(0)[1])]

    @pytest.mark.parametrize(
        ("types", "row"), [([0, 1, 2], 0), ([2, 1, 0], 1), ([3, 0, 1], 2), ([1, 0, 3], 2), ([0, 0, 0], 3)], ids=lambda value: str(value)
    )
    def testLookup(self, types, row):
        """The order of the term's particles first, then the reversed one."""
        assert self.parameters(types) == pytest.approx(self.TABLE["angles"][2][row])

    def testMissing(self):
        with pytest.raises(StructureError, match=r"angles/particles\[0\] is \[0, 1, 2\] with the types B, A, C \[1, 0, 2\].*4 rows"):
            self.parameters([1, 0, 2])

    def testNoList(self):
        with pytest.raises(StructureError, match=r"no terms/angles/particles.*\[0, 3\].*includePriors=False"):
            createPriorForces(model(self.TABLE), Structure(chain(3), types=[0, 0, 0]))

    def testListOfAnotherPrior(self):
        structure = Structure(chain(3), types=[0, 0, 0], terms={"angels": [[0, 1, 2]], "angles": [[0, 1, 2]]})
        with pytest.raises(StructureError, match="terms/angels belongs to no prior of this model; it has angles"):
            createPriorForces(model(self.TABLE), structure)

    def testArity(self):
        structure = Structure(chain(3), types=[0, 0, 0], terms={"angles": [[0, 1]]})
        with pytest.raises(StructureError, match=r"shape \[1, 2\]; cosine_angle needs \[m, 3\]"):
            createPriorForces(model(self.TABLE), structure)

    def testParametersTwice(self):
        structure = Structure(chain(3), types=[0, 0, 0], terms={"angles": Terms([[0, 1, 2]], [[1.0, 0.5]])})
        with pytest.raises(StructureError, match="is given, but the model has parameters by types"):
            createPriorForces(model(self.TABLE), structure)

    @pytest.mark.parametrize("parameters", [None, [[1.0]], [[1.0, 2.0, 3.0]]])
    def testParametersPerTerm(self, parameters):
        structure = Structure(chain(3), types=[0, 0, 0], terms={"prior": Terms([[0, 1, 2]], parameters)})
        with pytest.raises(StructureError, match="terms/prior/parameters .*needs 2 of its own"):
            createPriorForces(untyped("cosine_angle"), structure)

    def testUnknownName(self):
        structure = Structure(chain(3), types=[0, 0, 0], terms={"angles": [[0, 1, 2]]})
        with pytest.raises(ValueError, match="no prior 'bonds'; it has angles"):
            createPriorForces(model(self.TABLE), structure, names=["bonds"])

    def testNoTerms(self):
        structure = Structure(chain(3), types=[0, 0, 0], terms={"angles": np.zeros((0, 3), int)})
        assert createPriorForces(model(self.TABLE), structure) == []


def testSeriesOfDifferentLengthShareAForce():
    """Two Fourier series of 1 and 3 coefficients and another prior: one force per form, the energies added."""
    tables = {
        "short": ("fourier_dihedral", [[0, 0, 0, 0]], [[0.5, 1.0, 2.0]]),
        "long": ("fourier_dihedral", [[0, 0, 0, 0]], [[-0.5, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]),
        "bonds": ("harmonic_bond", [[0, 0]], [[50.0, 3.8]]),
    }
    positions = chain(5)
    terms = {"short": [[0, 1, 2, 3]], "long": [[1, 2, 3, 4]], "bonds": [[0, 1], [3, 4]]}
    forces = createPriorForces(model(tables), Structure(positions, types=[0] * 5, terms=terms))
    assert [force.getName() for force in forces] == ["fourier_dihedral", "harmonic_bond"]
    expected = ENERGY * sum(
        ENERGIES[tables[name][0]](positions[particles] / LENGTH, tables[name][2][0]) for name in terms for particles in terms[name]
    )
    assert evaluate(referenceContext(forcesOnly(forces, 5)), positions)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("form", FORMS)
def testReplicas(form):
    """Three copies: each feels its own terms only, as a single copy does."""
    n = FORMS[form].arity + 1
    frames = [chain(n, seed) for seed in range(3)]
    single, many = (createPriorForces(untyped(form), twoTerms(form, frames[0]), replicas=r) for r in (1, 3))
    energy, forces = evaluate(referenceContext(forcesOnly(many, 3 * n)), np.concatenate(frames))
    context = referenceContext(forcesOnly(single, n))
    expected = [evaluate(context, frame) for frame in frames]
    assert energy == pytest.approx(sum(e for e, _ in expected), rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(forces, np.concatenate([f for _, f in expected]), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def testPeriodic(form):
    """Particles moved by lattice vectors change nothing in a periodic System."""
    n = FORMS[form].arity + 1
    positions = chain(n, 5)
    box = np.array([[3.0, 0, 0], [0.6, 3.1, 0], [-0.7, 0.8, 2.9]])
    results = []
    for shifts in (np.zeros((n, 3)), np.random.default_rng(1).integers(-2, 3, size=(n, 3))):
        system = forcesOnly(createPriorForces(untyped(form), twoTerms(form, positions), periodic=True), n)
        system.setDefaultPeriodicBoxVectors(*box)
        results.append(evaluate(referenceContext(system), positions + shifts @ box))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-9)
    np.testing.assert_allclose(results[1][1], results[0][1], atol=1e-8 * max(1.0, np.abs(results[0][1]).max()))
