# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The converter for mlcg on small made-up models: every class of prior, several structures, and what cannot be converted."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from mlcg_reference import evaluateInKcal, forcesOnly, referenceContext, stored

import openmmflash
from openmmflash import FlashModel
from openmmflash.convert import recognise
from openmmflash.convert._errors import ConversionError
from openmmflash.convert._moduletree import revive
from openmmflash.convert._torchfile import SparseTensor, loadTorchFile
from openmmflash.convert.mlcg import CITATION, convertMlcg
from openmmflash.priors import createPriorForces
from openmmflash.structurefile import readStructure

ROWS = 25  # of the embedding
RNG = np.random.default_rng(11)


def linear(outputs, inputs, bias=True):
    tensors = {
        "weight": RNG.normal(size=(outputs, inputs)).astype(np.float32),
        "bias": RNG.normal(size=outputs).astype(np.float32) if bias else None,
    }
    return stored("torch.nn.modules.linear.Linear", tensors=tensors)


def activation(name="Tanh", **attributes):
    return stored(f"torch.nn.modules.activation.{name}", **attributes)


def cutoff(kind="CosineCutoff", lower=0, upper=8.0):
    return stored(f"mlcg.nn.cutoff.{kind}", cutoff_lower=lower, cutoff_upper=upper)


def sequential(parts):
    return stored("torch.nn.modules.container.Sequential", {str(i): part for i, part in enumerate(parts)})


def mlp(*layers):
    return stored("mlcg.nn.mlp.MLP", {"layers": sequential(layers)})


def block(filterCutoff=None, filters=5, hidden=6, size=4, aggregation="add", inner=None):
    network = mlp(linear(filters, size), inner or activation(), linear(filters, filters, bias=False))
    parts = {
        "lin1": linear(filters, hidden, bias=False),
        "lin2": linear(hidden, filters),
        "filter_network": network,
        "cutoff": filterCutoff or cutoff(),
    }
    conv = stored("mlcg.nn.schnet.CFConv", parts, aggr=aggregation)
    return stored("mlcg.nn.schnet.InteractionBlock", {"conv": conv, "activation": activation(), "lin": linear(hidden, hidden)})


def expNormal(envelope=None, size=4, kind="ExpNormalBasis", **more):
    tensors = {"means": np.linspace(0.1, 1, size, dtype=np.float32), "betas": np.full(size, 4.0, np.float32)}
    return stored(f"mlcg.nn.radial_basis.exp_normal.{kind}", {"cutoff": envelope or cutoff()}, tensors, alpha=0.625, **more)


def gaussian(envelope=None, size=4):
    tensors = {"offset": np.linspace(0, 8, size, dtype=np.float32), "coeff": np.float32(-0.07)}
    return stored("mlcg.nn.radial_basis.gaussian.GaussianBasis", {"cutoff": envelope or cutoff()}, tensors)


def schnet(basis=None, blocks=None, readout=None, maxNorm=None, name="mlcg.nn.schnet.StandardSchNet"):
    embedding = stored(
        "torch.nn.modules.sparse.Embedding", tensors={"weight": RNG.normal(size=(ROWS, 6)).astype(np.float32)}, max_norm=maxNorm
    )
    parts = {
        "embedding_layer": embedding,
        "rbf_layer": basis or expNormal(),
        "interaction_blocks": sequential(blocks or [block(), block()]),
    }
    return stored(name, parts | {"output_network": readout or mlp(linear(3, 6), activation(), linear(1, 3, bias=False))}, name="SchNet")


def wrap(module):
    return stored("mlcg.nn.gradients.GradientsOut", {"model": module}, targets=["forces"], name=getattr(module, "name", "?"))


def sumOut(network=None, **priors):
    parts = {"SchNet": wrap(network or schnet())} | {name: wrap(prior) for name, prior in priors.items()}
    return stored(
        "mlcg.nn.gradients.SumOut", {"models": stored("torch.nn.modules.container.ModuleDict", parts)}, targets=["energy", "forces"]
    )


def prior(kind, name, keys, **values):
    """A prior of mlcg with a table by types; values are those of each key in turn, series [keys][degrees]."""
    size = max(max(key) for key in keys) + 1
    tensors = {}
    for column, given in values.items():
        given = np.asarray(given, np.float32)
        if given.ndim == 2:
            table = np.zeros((given.shape[1], *[size] * len(keys[0])), np.float32)
            for key, row in zip(keys, given, strict=True):
                table[(slice(None), *key)] = row
        else:
            table = np.zeros([size] * len(keys[0]), np.float32)
            for key, value in zip(keys, given, strict=True):
                table[key] = value
        tensors[column] = table
    return stored(f"mlcg.nn.prior.{kind}", tensors=tensors, allowed_interaction_keys=keys, name=name, order=len(keys[0]))


def atomicData(positions, types, lists, masses=12.0 / 418.4, **more):
    content = {"pos": np.asarray(positions, np.float32), "atom_types": np.asarray(types), "n_atoms": np.array([len(types)])}
    if masses is not None:
        content["masses"] = np.broadcast_to(np.asarray(masses), len(types)).copy()
    content["neighbor_list"] = {name: {"tag": name, "index_mapping": np.asarray(terms).T} for name, terms in lists.items()}
    store = stored("torch_geometric.data.storage.GlobalStorage", _mapping=content | more)
    return stored("mlcg.data.atomic_data.AtomicData", _store=store)


POSITIONS = np.array([[0.0, 0, 0], [3.8, 0, 0.4], [5.0, 3.5, 0], [8.6, 4.0, 1.5]], np.float32)
TYPES = [1, 2, 1, 2]
REPULSION = prior("Repulsion", "non_bonded", [(1, 1), (1, 2), (2, 1), (2, 2)], sigma=[3.0, 4.0, 4.0, 5.0])


def converted(tmp_path, model, structures=None, **options):
    report = convertMlcg(model, tmp_path / "m.safetensors", check=False, structures=structures, **options)
    return report, FlashModel(report.path), [readStructure(path) for path in report.files]


def distance(x):
    return np.linalg.norm(x[1] - x[0])


def angle(x):
    a, b = x[0] - x[1], x[2] - x[1]
    return np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)


def torsion(x):
    """As mlcg writes it, in unit vectors."""
    d = np.diff(x, axis=0)
    d /= np.linalg.norm(d, axis=1)[:, None]
    n1, n2 = np.cross(d[0], d[1]), np.cross(d[1], d[2])
    return np.arctan2(-(np.cross(n1, d[1]) @ n2), n1 @ n2)


def shifted(phi):
    return (phi + 2 * np.pi if phi < 0 else phi) - np.pi


def continued(u, du, r, rc):
    return u(r) - u(rc) - (r - rc) * du(rc) if r < rc else 0.0


def wrapped(angle):
    """Where mlcg's energy would jump, ours does not: angles differ by at most pi."""
    return angle - 2 * np.pi * np.round(angle / (2 * np.pi))


def f(value):
    """As stored: single precision."""
    return float(np.float32(value))


BOND, ANGLE, TORSION = [(1, 2), (2, 1)], [(1, 2, 1), (2, 1, 2)], [(1, 2, 1, 2), (2, 1, 2, 1)]
SERIES = [(1, 0.5, 1), (2, -1, 0.25), (3, 2, -0.5)]  # n, k1, k2
# mlcg's class, its arguments, and the energy that mlcg's `compute` gives for one term
PRIORS = {
    "harmonic.HarmonicBonds": (BOND, {"k": [70.3, 70.3], "x_0": [3.7, 3.7]}, lambda x: f(70.3) * (distance(x) - f(3.7)) ** 2),
    "harmonic.GeneralBonds": (BOND, {"k": [70.3, 70.3], "x_0": [3.7, 3.7]}, lambda x: f(70.3) * (distance(x) - f(3.7)) ** 2),
    "harmonic.HarmonicAngles": (ANGLE, {"k": [10, 10], "x_0": [-0.3, -0.3]}, lambda x: 10 * (np.cos(angle(x)) - f(-0.3)) ** 2),
    "harmonic.GeneralAngles": (ANGLE, {"k": [10, 10], "x_0": [-0.3, -0.3]}, lambda x: 10 * (np.cos(angle(x)) - f(-0.3)) ** 2),
    "harmonic.HarmonicAnglesRaw": (ANGLE, {"k": [10, 10], "x_0": [1.9, 1.9]}, lambda x: 10 * (angle(x) - f(1.9)) ** 2),
    "harmonic.HarmonicImpropers": (TORSION, {"k": [5, 5], "x_0": [0.4, 0.4]}, lambda x: 5 * wrapped(torsion(x) - f(0.4)) ** 2),
    "harmonic.ShiftedPeriodicHarmonicImpropers": (
        TORSION, {"k": [5, 5], "x_0": [0.4, 0.4]}, lambda x: 5 * wrapped(shifted(torsion(x)) - f(0.4)) ** 2,
    ),
    "fourier_series.Dihedral": (
        TORSION,
        {"v_0": [1.5, 1.5], "k1s": [[0.5, -1, 2]] * 2, "k2s": [[1, 0.25, -0.5]] * 2},
        lambda x: 1.5 + sum(a * np.sin(i * torsion(x)) + b * np.cos(i * torsion(x)) for i, a, b in SERIES),
    ),
    "polynomial.QuarticAngles": (
        ANGLE, {"v_0": [1.5, 1.5], "ks": [[0.5, -1, 2, 3]] * 2}, lambda x: np.polyval([3, 2, -1, 0.5, 1.5], np.cos(angle(x))),
    ),
    "polynomial.QuarticRawAngles": (
        ANGLE, {"v_0": [1.5, 1.5], "ks": [[0.5, -1, 2, 3]] * 2}, lambda x: np.polyval([3, 2, -1, 0.5, 1.5], angle(x)),
    ),
    "restricted_bending.RestrictedQuartic": (
        ANGLE,
        {"a": [1, 1], "b": [2, 2], "c": [-3, -3], "d": [0.5, 0.5], "k": [1.25, 1.25], "v_0": [4, 4]},
        lambda x: np.polyval([1, 2, -3, 0.5, 4], np.cos(angle(x))) + 1.25 / np.sin(angle(x)) ** 2,
    ),
    "repulsion.ExpRepulsion": (BOND, {"alpha": [9, 9], "r_0": [4, 4]}, lambda x: 6 / 9 * np.exp(9 * (1 - distance(x) / 4))),
    "repulsion.CutoffRepulsion": (
        BOND, {"sigma": [4, 4]}, lambda x: continued(lambda r: (4 / r) ** 6, lambda r: -6 * 4**6 / r**7, distance(x), 3.9),
    ),
    "repulsion.CutoffExpRepulsion": (
        BOND, {"alpha": [9, 9], "r_0": [4, 4]},
        lambda x: continued(lambda r: 6 / 9 * np.exp(9 * (1 - r / 4)), lambda r: -6 / 4 * np.exp(9 * (1 - r / 4)), distance(x), 3.9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", PRIORS)
def testEveryPrior(tmp_path, kind, sparse):
    """Energy of each class as mlcg computes it, in mlcg's parameters, over several conformations."""
    keys, values, energy = PRIORS[kind]
    made = prior(kind, "p", keys, **values)
    made.cutoff = 3.9
    if sparse:
        for name, table in made._parameters.items():
            indices = np.argwhere(table).T
            made._parameters[name] = SparseTensor(indices, table[tuple(indices)], table.shape)
    k = len(keys[0])
    terms = [list(range(k)), list(range(1, k + 1))] if k < 4 else [list(range(k))]
    for seed in range(6):
        positions = POSITIONS + np.random.default_rng(seed).normal(scale=0.7, size=POSITIONS.shape).astype(np.float32)
        report, model, (structure,) = converted(tmp_path, sumOut(p=made), [atomicData(positions, TYPES, {"p": terms})])
        assert any("phi - x0 is taken in" in note for note in report.notes) == ("Impropers" in kind)
        forces = createPriorForces(model, structure)
        found = evaluateInKcal(referenceContext(forcesOnly(forces, 4)), positions)[0]
        assert found == pytest.approx(sum(energy(positions[term].astype(float)) for term in terms), rel=1e-10, abs=1e-9)


@pytest.mark.parametrize("kind", ["HarmonicBonds", "GeneralAngles", "HarmonicImpropers", "Dihedral"])
def testSpecialisedPriorsAreSplit(tmp_path, kind):
    """Per-term parameters of a batch of structures go to each structure's own terms, in the batch's order."""
    k = {"HarmonicBonds": 2, "GeneralAngles": 3, "HarmonicImpropers": 4, "Dihedral": 4}[kind]
    lists = [[list(range(k))], [list(range(k)), list(range(k))[::-1]], [list(range(k))]]
    if kind == "Dihedral":
        tensors = {"v_0": np.array([[i, 0.0] for i in range(4)]), "k1s": np.arange(8.0).reshape(4, 2), "k2s": -np.arange(8.0).reshape(4, 2)}
        expected = [[i, 2 * i, 2 * i + 1, -2.0 * i, -2.0 * i - 1] for i in range(4)]
    else:
        tensors = {"x0": np.arange(4.0), "k": 10 + np.arange(4.0), "V0": np.zeros(4)}
        expected = [[10.0 + i, i] for i in range(4)]
    special = stored(f"mlcg.simulation.specialize_prior.Static{kind}", tensors=tensors, param_names=list(tensors))
    data = [atomicData(POSITIONS, TYPES, {"p": terms}) for terms in lists]
    report, model, structures = converted(tmp_path, (sumOut(p=special), data))
    assert [len(structure.terms["p"].particles) for structure in structures] == [1, 2, 1] and len(report.files) == 3
    assert np.concatenate([structure.terms["p"].parameters for structure in structures]).tolist() == expected
    assert len(model.getPriorTypes(0)) == 0 and model.getPriorNumParameters(0) == len(expected[0])
    with pytest.raises(ConversionError, match="parameters for 4 terms, but the 2 structures have 2 in all"):
        converted(tmp_path, (sumOut(p=special), [data[0], data[2]]))
    with pytest.raises(ConversionError, match="specialised for structures that are not in the file"):
        converted(tmp_path, sumOut(p=special))


def testPairPrior(tmp_path):
    """mlcg's list of pairs becomes the complement of exclusions."""
    data = atomicData(POSITIONS, TYPES, {"non_bonded": [[0, 2], [3, 0]]})
    _, model, (structure,) = converted(tmp_path, sumOut(non_bonded=REPULSION), [data])
    assert model.hasPairPrior() and structure.exclusions.tolist() == [[0, 1], [1, 2], [1, 3], [2, 3]]
    energies = []
    for system in (openmmflash.createSystem(structure, model, includePriors=include) for include in (True, False)):
        energies.append(evaluateInKcal(referenceContext(system), POSITIONS)[0])
    expected = (3 / distance(POSITIONS[[0, 2]].astype(float))) ** 6 + (4 / distance(POSITIONS[[3, 0]].astype(float))) ** 6
    assert energies[0] - energies[1] == pytest.approx(expected, rel=1e-8)


def testPairWithoutSigmaIsExcludedAloud(tmp_path):
    """mlcg gives no energy to a listed pair without sigma; the same happens here, and a note says so."""
    hole = prior("Repulsion", "non_bonded", [(1, 2), (2, 1), (2, 2)], sigma=[4.0, 4.0, 5.0])
    data = atomicData(POSITIONS, TYPES, {"non_bonded": [[0, 2], [0, 3], [1, 3]]})
    report, model, (structure,) = converted(tmp_path, sumOut(non_bonded=hole), [data])
    assert [0, 2] in structure.exclusions.tolist() and [0, 3] not in structure.exclusions.tolist()
    assert any("1 listed pairs have no sigma, first particles 0 and 2 of the types 1 and 1" in note for note in report.notes)
    openmmflash.createSystem(structure, model)


def testSeveralRepulsionsAsTerms(tmp_path):
    other = prior("Repulsion", "also", [(1, 1), (1, 2), (2, 1), (2, 2)], sigma=[2.0] * 4)
    data = atomicData(POSITIONS, TYPES, {"non_bonded": [[0, 2], [0, 2]], "also": [[1, 3]]})
    model = sumOut(non_bonded=REPULSION, also=other)
    with pytest.raises(ConversionError, match="2 repulsions, 'non_bonded', 'also'.*repulsion='terms'"):
        converted(tmp_path, model, [data])
    _, flash, (structure,) = converted(tmp_path, model, [data], repulsion="terms")
    found = evaluateInKcal(referenceContext(forcesOnly(createPriorForces(flash, structure), 4)), POSITIONS)[0]
    x = POSITIONS.astype(float)
    assert found == pytest.approx(2 * (3 / distance(x[[0, 2]])) ** 6 + (2 / distance(x[[1, 3]])) ** 6, rel=1e-10)


class TestStructures:
    def testFramesAndFiles(self, tmp_path):
        """The same molecule: frames of one file; another one: another file."""
        data = [atomicData(POSITIONS + i, TYPES, {}) for i in range(3)] + [atomicData(POSITIONS, [1, 1, 1, 1], {})]
        report, _, structures = converted(tmp_path, sumOut(), data)
        assert [structure.numFrames for structure in structures] == [3, 1]
        assert [Path(path).name for path in report.files] == ["m_structure0.npz", "m_structure1.npz"]
        np.testing.assert_allclose(structures[0].getPositions(2) * 10, POSITIONS + 2, rtol=1e-6)

    @pytest.mark.parametrize(
        ("masses", "unit", "expected"),
        [
            (np.float32(12 / 418.4), "auto", 12.0),
            (np.float64(14.0067) / 418.4, "auto", 14.0067),
            (14.0067, "auto", 14.0067),
            (0.5, "amu", 0.5),
            (2.0, "amu/418.4", 836.8),
            (None, "auto", None),
        ],
    )
    def testMasses(self, tmp_path, masses, unit, expected):
        report, model, (structure,) = converted(tmp_path, sumOut(), [atomicData(POSITIONS, TYPES, {}, masses)], massUnit=unit)
        assert structure.masses is None if expected is None else structure.masses.tolist() == [expected] * 4
        assert model.getTypeMass(1) == (expected or 0)
        assert any("Masses are taken to be" in note for note in report.notes) == (unit == "auto" and masses is not None)

    def testBox(self, tmp_path):
        cell = np.array([[[20.0, 0, 0], [3, 21, 0], [0, 0, 22]]])
        data = [atomicData(POSITIONS, TYPES, {}, cell=cell, pbc=np.array([[True, True, True]]))]
        _, model, (structure,) = converted(tmp_path, sumOut(), data)
        np.testing.assert_allclose(structure.box, cell[0] / 10)
        assert openmmflash.createSystem(structure, model).usesPeriodicBoundaryConditions()

    def testUnits(self, tmp_path):
        _, model, (structure,) = converted(tmp_path, sumOut(), [atomicData(POSITIONS, TYPES, {})], lengthUnit="nm", energyUnit="kJ/mol")
        assert model.getLengthUnit() == 1 and model.getEnergyUnit() == 1 and model.getCutoff() == 8
        np.testing.assert_allclose(structure.positions, POSITIONS)

    LISTED = {"non_bonded": [[0, 2], [0, 3]], "p": [[0, 1]]}
    REFUSED = [
        ({"p": [[0, 1]]}, {}, {}, r"no interaction list for the prior 'non_bonded'; it has p"),
        (LISTED | {"p": [[0, 1, 2]]}, {}, {}, r"the list of 'p' has shape \[3, 1\]; \[2, m\] is needed"),
        (
            LISTED | {"p": [[0, 2]]},
            {},
            {},
            r"no parameters for the types \[1, 1\] of particles \[0, 2\]: mlcg would give this term no energy",
        ),
        (LISTED | {"p": [[0, 9]]}, {}, {}, r"terms/p/particles\[0, 1\] is 9; the 4 particles"),
        (LISTED | {"non_bonded": [[0, 2], [2, 0]]}, {}, {}, r"lists the pair \(0, 2\) 2 times.*repulsion='terms'"),
        (LISTED | {"non_bonded": [[0, 0]]}, {}, {}, "lists particle 0 with itself"),
        (LISTED | {"non_bonded": [[0, 7]]}, {}, {}, "has the index 7; there are 4 particles"),
        (LISTED, {"masses": [0.5, 12, 12, 12]}, {}, "masses from 0.5 to 12.0: neither all smaller than 1"),
        (LISTED, {"n_atoms": np.array([2, 2])}, {}, "a batch of 2 structures"),
        (LISTED, {"pos": None}, {}, "has no 'pos'; it has"),
        (LISTED, {"atom_types": np.array([1, 2, 1, 30])}, {}, "uses type 30; the network's embedding knows the types 0 to 24"),
        (LISTED, {"cell": np.eye(3), "pbc": np.array([True, True, False])}, {}, "periodic in some directions only"),
    ]

    @pytest.mark.parametrize(("lists", "changes", "options", "message"), REFUSED, ids=[case[3][:30] for case in REFUSED])
    def testRefused(self, tmp_path, lists, changes, options, message):
        bonds = prior("GeneralBonds", "p", BOND, k=[1, 1], x_0=[3, 3])
        masses = changes.pop("masses", 12 / 418.4) if "masses" in changes else 12 / 418.4
        with pytest.raises((ConversionError, ValueError), match=message):
            converted(tmp_path, sumOut(p=bonds, non_bonded=REPULSION), [atomicData(POSITIONS, TYPES, lists, masses, **changes)], **options)
        assert not list(tmp_path.iterdir())


class TestTypes:
    def names(self, tmp_path, model, structures=None, **options):
        _, flash, _ = converted(tmp_path, model, structures, **options)
        return [flash.getTypeName(i) for i in range(flash.getNumTypes())]

    def testCAlpha(self, tmp_path):
        names = self.names(tmp_path, sumOut(), [atomicData(POSITIONS, [1, 20, 6, 13], {})])
        assert names[:3] == ["", "ALA", "CYS"] and names[20] == "TYR" and names[21:] == [""] * 4

    def testFiveBeads(self, tmp_path):
        names = self.names(tmp_path, sumOut(), [atomicData(POSITIONS, [21, 22, 6, 24], {})])
        assert names[20:] == ["TYR", "N", "CA", "C", "O"]

    def testUnknown(self, tmp_path):
        assert self.names(tmp_path, sumOut()) == [f"B{i}" for i in range(ROWS)]
        assert self.names(tmp_path, sumOut(), [atomicData(POSITIONS, [0, 1, 2, 3], {})])[0] == "B0"

    def testGiven(self, tmp_path):
        assert self.names(tmp_path, sumOut(), mapping={0: "W", 3: "X"})[:5] == ["W", "", "", "X", ""]
        assert self.names(tmp_path, sumOut(), mapping="ca")[1] == "ALA"
        with pytest.raises(ConversionError, match=r"no name for the types \[1, 2\]"):
            self.names(tmp_path, sumOut(), [atomicData(POSITIONS, TYPES, {})], mapping={0: "W"})
        for used, mapping in (([1, 2, 3, 20], "5bead"), ([21, 22, 6, 24], "ca")):
            with pytest.raises(ConversionError, match=f"mapping is '{mapping}', but .* {min(used)} to {max(used)}"):
                self.names(tmp_path, sumOut(), [atomicData(POSITIONS, used, {})], mapping=mapping)


class TestNetwork:
    """What belongs to the network and what of it the model file cannot express."""

    def testGaussianBasis(self, tmp_path):
        for envelope, form in ((cutoff(), "cosine"), (cutoff("IdentityCutoff", upper=8.0), "none")):
            _, model, _ = converted(tmp_path, sumOut(schnet(gaussian(envelope), [block(cutoff("IdentityCutoff", upper=np.inf))])))
            hyperparameters = model.getMetadata()["hyperparameters"]
            assert f'"basis_envelope":"{form}"' in hyperparameters and '"filter_envelope":"none"' in hyperparameters

    def testLowerBounds(self, tmp_path):
        basis = expNormal(cutoff(lower=1.5), kind="ExtendedExpNormalBasis", internal_cutoff_lower=0.5)
        _, model, _ = converted(tmp_path, sumOut(schnet(basis, [block(cutoff(lower=1.0))])))
        hyperparameters = model.getMetadata()["hyperparameters"]
        for text in ('"basis_envelope_lower":1.5', '"filter_envelope_lower":1.0', '"basis_lower":0.5', '"basis_alpha":0.625'):
            assert text in hyperparameters

    def testPriorsAreCombined(self, tmp_path):
        table = stored("torch.nn.modules.container.ModuleDict", {"p": wrap(prior("GeneralBonds", "p", BOND, k=[1, 1], x_0=[3, 3]))})
        _, model, _ = converted(tmp_path, wrap(schnet()), priors=table)
        assert model.getPriorName(0) == "p" and recognise(table) == recognise(sumOut()) == "mlcg"

    def testCheckpoint(self, tmp_path):
        """A Lightning checkpoint: the weights of state_dict, not those stored with the architecture."""
        network = schnet()
        _, before, _ = converted(tmp_path, wrap(network))
        state = {}

        def collect(module, prefix):
            for name, value in module._parameters.items():
                if value is not None:
                    state[prefix + name] = np.asarray(value) * np.float32(0.5)
            for name, part in module._modules.items():
                collect(part, f"{prefix}{name}.")

        model = wrap(network)
        collect(model, "model.")
        checkpoint = {"state_dict": state | {"loss.weights": np.ones(1)}, "hyper_parameters": {"model": model}}
        assert recognise(checkpoint) == "mlcg"
        short = dict(checkpoint, state_dict={k: v for k, v in state.items() if not k.endswith("lin2.bias")})
        with pytest.raises(ConversionError, match="state_dict has no 'model.interaction_blocks.0.conv.lin2.bias'"):
            converted(tmp_path, short)
        with pytest.raises(ConversionError, match="1 tensors that its model does not: more"):
            converted(tmp_path, dict(checkpoint, state_dict=state | {"model.more": np.ones(1)}))
        _, after, _ = converted(tmp_path, checkpoint)
        assert before.getBytes() != after.getBytes() and before.getNumWeights() == after.getNumWeights()
        np.testing.assert_array_equal(
            network._modules["embedding_layer"]._parameters["weight"], state["model.model.embedding_layer.weight"]
        )

    REFUSED = [
        (lambda: sumOut(schnet(maxNorm=1.0)), "max_norm"),
        (lambda: sumOut(schnet(blocks=[block(aggregation="mean")])), "the aggregation is 'mean'"),
        (lambda: sumOut(schnet(blocks=[block(cutoff(upper=7.0))])), "ends at 7.0, but neighbours are searched up to 8.0"),
        (
            lambda: sumOut(schnet(blocks=[block(cutoff("ShiftedCosineCutoff"))])),
            "is mlcg.nn.cutoff.ShiftedCosineCutoff; supported are CosineCutoff",
        ),
        (lambda: sumOut(schnet(blocks=[block(inner=activation("ReLU"))])), "ReLU"),
        (lambda: sumOut(schnet(blocks=[block(inner=activation("SiLU"))])), "all blocks must have the same"),
        (
            lambda: sumOut(schnet(blocks=[block(inner=activation("Softplus", beta=2.0, threshold=20.0))] * 2)),
            "scales, which are not supported|the same",
        ),
        (lambda: sumOut(schnet(blocks=[block(), block(filters=7)])), r"filter.0 has a weight of shape \[7, 4\]; \[5, 4\] is needed"),
        (lambda: sumOut(schnet(blocks=[block(cutoff(lower=1.0)), block()])), "all blocks must have the same"),
        (
            lambda: sumOut(schnet(basis=stored("mlcg.nn.radial_basis.exp_spaced.SpacedExpBasis", {"cutoff": cutoff()}))),
            "SpacedExpBasis; supported are",
        ),
        (lambda: sumOut(schnet(readout=mlp(linear(3, 6), linear(1, 3)))), "follows another without an activation"),
        (lambda: sumOut(schnet(readout=mlp(linear(3, 6), activation(), linear(2, 3)))), "2 outputs"),
        (lambda: sumOut(schnet(readout=stored("mlcg.nn.mlp.TypesMLP"))), "TypesMLP; supported are MLP"),
        (
            lambda: sumOut(schnet(name="mlcg.nn.painn.StandardPaiNN")),
            "mlcg.nn.painn.StandardPaiNN, which is not supported. Supported are StandardSchNet",
        ),
        (lambda: sumOut(p=prior("FourierSeries", "p", TORSION, v_0=[1, 1])), "FourierSeries, which is not supported"),
        (lambda: sumOut(Other=schnet()), "2 networks, SchNet, Other; a model file holds one"),
        (lambda: sumOut(p=prior("Dihedral", "p", TORSION, v_0=[1, 1], k1s=[[1, 2]] * 2, k2s=[[1]] * 2)), "2 coefficients k1 and 1 k2"),
        (
            lambda: sumOut(p=prior("GeneralBonds", "p", [(30, 30)], k=[1], x_0=[3])),
            "type 30, but the network's embedding knows the types 0 to 24",
        ),
        (
            lambda: sumOut(p=prior("Repulsion", "p", [(1, 2), (2, 1)], sigma=[4, 5])),
            r"sigma is 4.0 for the types \(1, 2\) but 5.0 for \(2, 1\)",
        ),
        (lambda: sumOut(p=prior("Repulsion", "p", [(1, 2)], sigma=[4])), r"sigma is 4.0 for the types \(1, 2\) but 0.0 for \(2, 1\)"),
        (lambda: sumOut(p=prior("Repulsion", "p", [(1, 1)], sigma=[-4])), "must not be negative"),
        (lambda: {"embedding_layer.weight": np.ones((3, 4))}, "a bare state dict, which does not say what the network is"),
        (lambda: {"epoch": 3}, "it holds a dict of epoch"),
        (lambda: 3, "it holds builtins.int"),
    ]

    @pytest.mark.parametrize(("model", "message"), REFUSED, ids=[case[1][:40] for case in REFUSED])
    def testRefused(self, tmp_path, model, message):
        with pytest.raises(ConversionError, match=message):
            converted(tmp_path, model())
        assert not list(tmp_path.iterdir())

    def testFailedFitsAreLeftOut(self, tmp_path):
        """mlcg stores NaN where its fit failed: such rows become missing ones, and a note says so."""
        table = prior("GeneralBonds", "p", [*BOND, (2, 2)], k=[1, 1, np.nan], x_0=[3, 3, np.nan])
        report, model, _ = converted(tmp_path, sumOut(p=table))
        assert len(model.getPriorTypes(0)) == 4 and any("1 of 3 rows are NaN" in note for note in report.notes)


def testNothingIsWrittenOrExecutedWhenTheCheckFails(tmp_path, monkeypatch):
    """An mlcg that can be imported but not run: an error that says so, no files, and no unpickling by torch of what the user gave."""
    torch = pytest.importorskip("torch", reason="needs torch, which the check imports")
    source = tmp_path / "m.pt"
    torch.save({"a": 1}, source)
    data = atomicData(POSITIONS, TYPES, {})
    monkeypatch.setattr("openmmflash.convert.mlcg.loadTorchFile", lambda path: (sumOut(), [data]))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    for name in ("mlcg", "mlcg.nn", "mlcg.data"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    with pytest.raises(ConversionError, match=r"mlcg failed on the original.*AtomicData.*check=False converts without it"):
        convertMlcg(source, tmp_path / "m.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]
    assert len(convertMlcg(source, tmp_path / "m.safetensors", check=False).files) == 1


def testOnlyListedClassesAreRebuilt(tmp_path, monkeypatch):
    """What a file names beside the classes of the network is not imported, even where it is a class of torch's modules."""
    torch = pytest.importorskip("torch", reason="needs torch, to rebuild a module")
    foreign = types.ModuleType("mlcg.foreign")
    foreign.Boom = type("Boom", (torch.nn.Module,), {"__module__": "mlcg.foreign", "__setstate__": lambda *_: pytest.fail("was made")})
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh())
    monkeypatch.setitem(sys.modules, "mlcg", types.ModuleType("mlcg"))
    monkeypatch.setitem(sys.modules, "mlcg.foreign", foreign)
    model.boom = foreign.Boom()
    torch.save(model, tmp_path / "m.pt")
    live = revive(torch, loadTorchFile(tmp_path / "m.pt"), {}, "mlcg", ("mlcg.nn.mlp.MLP",))
    assert type(live.boom) is torch.nn.Module and isinstance(live[0], torch.nn.Linear) and live[0].weight.dtype == torch.float64
    assert torch.equal(live[0].weight.float(), model[0].weight)


def testTorchLoadIsNotUsed():
    """The library never lets torch unpickle a file: torch.load executes what it holds."""
    for path in Path(openmmflash.__file__).parent.rglob("*.py"):
        assert not re.search(r"torch\.load\(|weights_only=False|pickle\.loads?\(", path.read_text()), path


def testCitationIsOfTheMethod(tmp_path):
    """A file does not say which paper its model is from, and the converted one does not claim any."""
    _, model, _ = converted(tmp_path, sumOut())
    assert model.getMetadata()["citation"].startswith("Method: CGSchNet") and "Nature Chemistry 17, 1284 (2025)" in CITATION
    _, model, _ = converted(tmp_path, sumOut(), citation="A and B (2026)")
    assert model.getMetadata()["citation"] == "A and B (2026)"


@pytest.mark.parametrize("option, value", [("lengthUnit", "furlong"), ("energyUnit", "cal"), ("lengthUnit", -1), ("energyUnit", None)])
def testUnitsOfOptions(tmp_path, option, value):
    with pytest.raises(ConversionError, match=f"{option} is .*it must be .*or a positive number"):
        converted(tmp_path, sumOut(), **{option: value})
    _, model, _ = converted(tmp_path, sumOut(), lengthUnit="A", energyUnit=4.184)
    assert model.getLengthUnit() == 0.1 and model.getEnergyUnit() == 4.184


def testStoredValuesAreNotRounded(tmp_path):
    """Single-precision buffers arrive as they are stored."""
    network = schnet()
    report, _, _ = converted(tmp_path, wrap(network))
    data = Path(report.path).read_bytes()
    for value in (network._modules["embedding_layer"]._parameters["weight"], network._modules["rbf_layer"]._parameters["betas"]):
        assert value.astype("<f4").tobytes() in data
