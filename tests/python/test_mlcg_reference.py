# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Converted models of mlcg against energies and forces that mlcg itself computed in double precision (shared/reference)."""

import subprocess
import sys

import numpy as np
import pytest
from mlcg_reference import checkAgreement, convert, evaluateInKcal, forcesOnly, referenceContext, stored

import openmmflash
from openmmflash import FlashModel
from openmmflash.convert._errors import ConversionError
from openmmflash.convert._writer import writeModel
from openmmflash.convert.mlcg import convertMlcg, convertNetwork
from openmmflash.priors import createPriorForces
from openmmflash.structurefile import Structure, StructureError

CALPHA = "schnet_cln_ca_specialized_model_and_config.pt"
FIVE_BEADS = "random_5bead_model_and_prior.pt"


@pytest.fixture(scope="module")
def calpha(shared, tmp_path_factory):
    return convert(shared / "models/mlcg" / CALPHA, tmp_path_factory.mktemp("calpha"))


@pytest.fixture(scope="module")
def fiveBeads(shared, tmp_path_factory):
    folder = shared / "models/mlcg"
    return convert(folder / FIVE_BEADS, tmp_path_factory.mktemp("fiveBeads"), structures=folder / "cln_configurations_demo.pt")


class TestTrainedCAlpha:
    """The trained C-alpha chignolin model, 24 frames."""

    def check(self, shared, system, parts):
        reference = np.load(shared / "reference/cln_ca_schnet_priors.npz")
        context = referenceContext(system)
        frames = reference["positions_A"]
        assert len(frames) == 24
        for f, positions in enumerate(frames):
            energy = sum(reference[f"energy_kcal_mol/{part}"][f] for part in parts)
            forces = sum(reference[f"forces_kcal_mol_A/{part}"][f] for part in parts)
            checkAgreement(evaluateInKcal(context, positions), (energy, forces))

    def testTypes(self, shared, calpha):
        reference = np.load(shared / "reference/cln_ca_schnet_priors.npz")
        assert calpha[2][0].types.tolist() == reference["types"].tolist()
        assert calpha[2][0].masses.tolist() == reference["masses_amu"].tolist()

    def testNetwork(self, shared, calpha):
        _, model, (structure,) = calpha
        self.check(shared, openmmflash.createSystem(structure, model, includePriors=False), ["SchNet"])

    @pytest.mark.parametrize("name", ["bonds", "angles", "dihedrals"])
    def testPrior(self, shared, calpha, name):
        _, model, (structure,) = calpha
        self.check(shared, forcesOnly(createPriorForces(model, structure, names=[name]), structure.numParticles), [name])

    def testPairPriorWithNetwork(self, shared, calpha):
        _, model, (structure,) = calpha
        system = openmmflash.createSystem(structure, model)
        for index in reversed(range(1, system.getNumForces())):
            system.removeForce(index)
        self.check(shared, system, ["SchNet", "non_bonded"])

    def testRepulsionAsTerms(self, shared, tmp_path):
        _, model, (structure,) = convert(shared / "models/mlcg" / CALPHA, tmp_path, repulsion="terms")
        assert not model.hasPairPrior()
        self.check(shared, forcesOnly(createPriorForces(model, structure, names=["non_bonded"]), structure.numParticles), ["non_bonded"])

    def testEverything(self, shared, calpha):
        _, model, (structure,) = calpha
        self.check(shared, openmmflash.createSystem(structure, model), ["SchNet", "non_bonded", "bonds", "angles", "dihedrals"])


class TestFiveBeads:
    """A random network with the 51 priors of the 5-bead mapping, 10 configurations of 49 beads."""

    def testTypes(self, shared, fiveBeads):
        _, model, (structure,) = fiveBeads
        reference = np.load(shared / "reference/cln_5bead_random_schnet_priors.npz")
        assert structure.types.tolist() == reference["types"].tolist()
        np.testing.assert_allclose(structure.positions * 10, reference["positions_A"], rtol=1e-14)
        names = [model.getTypeName(i) for i in range(model.getNumTypes())]
        assert names[:3] == ["", "ALA", "CYS"] and names[19:] == ["TRP", "TYR", "N", "CA", "C", "O"]
        assert [model.getTypeMass(i) for i in (21, 22, 23, 24)] == [14.0, 12.0, 12.0, 16.0]

    def testNetwork(self, shared, fiveBeads):
        _, model, (structure,) = fiveBeads
        reference = np.load(shared / "reference/cln_5bead_random_schnet_priors.npz")
        context = referenceContext(openmmflash.createSystem(structure, model, includePriors=False))
        for f, positions in enumerate(reference["positions_A"]):
            expected = reference["energy_kcal_mol/SchNet"][f], reference["forces_kcal_mol_A/SchNet"][f]
            checkAgreement(evaluateInKcal(context, positions), expected)

    def testEveryPrior(self, shared, tmp_path, fiveBeads):
        """All 51 energies one by one, the repulsion as terms."""
        folder = shared / "models/mlcg"
        _, model, (structure,) = convert(folder / FIVE_BEADS, tmp_path, structures=folder / "cln_configurations_demo.pt", repulsion="terms")
        reference = np.load(shared / "reference/cln_5bead_random_schnet_priors.npz")
        names = [key.split("/")[-1] for key in reference.files if key.startswith("energy_kcal_mol/priors/")]
        assert len(names) == 51 and sorted(names) == sorted(model.getPriorName(i) for i in range(model.getNumPriors()))
        withTerms = 0
        for name in names:
            context = referenceContext(forcesOnly(createPriorForces(model, structure, names=[name]), structure.numParticles))
            withTerms += len(structure.terms[name].particles) > 0
            for f, positions in enumerate(reference["positions_A"]):
                energy = reference[f"energy_kcal_mol/priors/{name}"][f]
                assert (energy != 0) == (len(structure.terms[name].particles) > 0)
                checkAgreement(evaluateInKcal(context, positions), (energy, None))
        assert withTerms > 20

    @pytest.mark.parametrize("repulsion", ["pair", "terms"])
    def testTotalPriorForces(self, shared, tmp_path, repulsion):
        folder = shared / "models/mlcg"
        _, model, (structure,) = convert(
            folder / FIVE_BEADS, tmp_path, structures=folder / "cln_configurations_demo.pt", repulsion=repulsion
        )
        reference = np.load(shared / "reference/cln_5bead_random_schnet_priors.npz")
        system = openmmflash.createSystem(structure, model)
        names = [force.getName() for force in system.getForces()]
        assert names.count("fourier_dihedral") == 1  # all 44 of them in one force
        context = referenceContext(system)
        keys = [key for key in reference.files if key.startswith("energy_kcal_mol/")]
        for f, positions in enumerate(reference["positions_A"]):
            energy = sum(reference[key][f] for key in keys)
            forces = reference["forces_kcal_mol_A/SchNet"][f] + reference["forces_kcal_mol_A/priors"][f]
            checkAgreement(evaluateInKcal(context, positions), (energy, forces))


def networkFromWeights(reference):
    """The module tree of one of the random models in shared/reference, from its weights and configuration."""
    weights = {key[len("weights/") :]: reference[key] for key in reference.files if key.startswith("weights/")}

    def cutoff():
        return stored("mlcg.nn.cutoff.CosineCutoff", cutoff_lower=0, cutoff_upper=float(reference["config/cut"]))

    def linear(prefix):
        bias = weights.get(f"{prefix}.bias")
        return stored("torch.nn.modules.linear.Linear", tensors={"weight": weights[f"{prefix}.weight"], "bias": bias})

    def mlp(prefix):
        numbers = sorted({int(key[len(prefix) :].split(".")[2]) for key in weights if key.startswith(f"{prefix}.layers.")})
        layers = {}
        for number in numbers:
            layers[str(number)] = linear(f"{prefix}.layers.{number}")
            if number != numbers[-1]:
                layers[str(number + 1)] = tanh()
        return stored("mlcg.nn.mlp.MLP", {"layers": stored("torch.nn.modules.container.Sequential", layers)})

    def tanh():
        return stored("torch.nn.modules.activation.Tanh")

    blocks = {}
    for b in range(int(reference["config/ni"])):
        p = f"interaction_blocks.{b}"
        parts = {"lin1": linear(f"{p}.conv.lin1"), "lin2": linear(f"{p}.conv.lin2"), "filter_network": mlp(f"{p}.conv.filter_network")}
        conv = stored("mlcg.nn.schnet.CFConv", parts | {"cutoff": cutoff()}, aggr="add")
        blocks[str(b)] = stored("mlcg.nn.schnet.InteractionBlock", {"conv": conv, "activation": tanh(), "lin": linear(f"{p}.lin")})
    basis = {key.split(".")[1]: value for key, value in weights.items() if key.startswith("rbf_layer.")}
    kind = {"exp": "exp_normal.ExpNormalBasis", "gauss": "gaussian.GaussianBasis"}[str(reference["config/basis"])]
    children = {
        "embedding_layer": stored(
            "torch.nn.modules.sparse.Embedding", tensors={"weight": weights["embedding_layer.weight"]}, max_norm=None
        ),
        "rbf_layer": stored(f"mlcg.nn.radial_basis.{kind}", {"cutoff": cutoff()}, basis, alpha=5.0 / float(reference["config/cut"])),
        "interaction_blocks": stored("torch.nn.modules.container.Sequential", blocks),
        "output_network": mlp("output_network"),
    }
    return stored("mlcg.nn.schnet.StandardSchNet", children)


@pytest.mark.parametrize("name", ["expnormal", "gaussian"])
def testRandomNetworks(shared, tmp_path, name):
    """Random models on 269 beads packed like a protein: both bases, filters narrower than the features, up to 164 neighbours."""
    reference = np.load(shared / f"reference/random_schnet_{name}_269.npz")
    hyperparameters, tensors = convertNetwork(networkFromWeights(reference), name)
    types = [{"name": f"B{i}"} for i in range(len(tensors["members.0.embedding"]))]
    metadata = {"architecture": "schnet", "name": name, "length_unit": "angstrom", "energy_unit": "kcal/mol"}
    path = writeModel(tmp_path / "m.safetensors", metadata | {"types": types, "hyperparameters": hyperparameters}, tensors)
    structure = Structure(reference["positions_A"] / 10, types=reference["types"], masses=np.ones(269))
    context = referenceContext(openmmflash.createSystem(structure, FlashModel(path)))
    for f, positions in enumerate(reference["positions_A"]):
        expected = reference["energy_kcal_mol"][f], reference["forces_kcal_mol_A"][f]
        checkAgreement(evaluateInKcal(context, positions), expected)


# Every file of models/mlcg: how it is converted, or why it is not.
CONVERTED = [
    (CALPHA, {}, 1),
    (FIVE_BEADS, {}, 0),
    (FIVE_BEADS, {"structures": "structures_cln_5b.pt"}, 1),
    ("schnet_train.ckpt", {}, 0),
    ("schnet_train.ckpt", {"priors": "prior.pt", "structures": "cln_configurations_demo.pt"}, 1),
    ("schnet_train.ckpt", {"priors": "sparse_prior_cln_5b.pt", "structures": "structures_cln_5b.pt"}, 1),
    ("schnet_train.ckpt", {"priors": "sparse_prior_cln_ca.pt", "structures": "structures_cln_ca.pt"}, 1),
]
REFUSED = [
    ("prior.pt", {}, "there is no network in this file"),
    ("sparse_prior_cln_5b.pt", {}, "priors=FILE"),
    ("sparse_prior_cln_ca.pt", {}, "priors=FILE"),
    ("structures_cln_5b.pt", {}, "structures=FILE"),
    ("structures_cln_ca.pt", {}, "structures=FILE"),
    ("cln_configurations_demo.pt", {}, "It holds 10 structures"),
    (FIVE_BEADS, {"priors": "prior.pt"}, "two models named 'n_term_bonds'"),
    ("schnet_train.ckpt", {"priors": "structures_cln_ca.pt"}, "this one holds 2 structures"),
    ("schnet_train.ckpt", {"structures": "prior.pt"}, "takes a list of AtomicData alone"),
    (CALPHA, {"structures": "structures_cln_ca.pt"}, "has structures already"),
    ("schnet_train.ckpt", {"priors": "sparse_prior_cln_ca.pt", "structures": "structures_cln_5b.pt"}, "no interaction list for the prior"),
    ("schnet_train.ckpt", {"repulsion": "all"}, "allowed are 'pair' and 'terms'"),
    ("schnet_train.ckpt", {"mapping": "3bead"}, "allowed are 'ca', '5bead'"),
    (CALPHA, {"mapping": {1: "ALA"}}, r"no name for the types \[3, 4"),
    (CALPHA, {"massUnit": "kg"}, "massUnit is 'kg'"),
]


def withPaths(options, folder):
    return {key: folder / value if key in ("priors", "structures") else value for key, value in options.items()}


@pytest.mark.parametrize(("source", "options", "count"), CONVERTED)
def testFileIsConverted(shared, tmp_path, source, options, count):
    folder = shared / "models/mlcg"
    report, model, structures = convert(folder / source, tmp_path, **withPaths(options, folder))
    assert len(structures) == count and model.getArchitecture() == "schnet"
    for structure in structures:
        context = referenceContext(openmmflash.createSystem(structure, model))
        energy, forces = evaluateInKcal(context, structure.getPositions() * 10)
        assert np.isfinite(energy) and np.abs(forces).max() > 0
        assert np.abs(forces.sum(axis=0)).max() < 1e-8 * np.abs(forces).max()


@pytest.mark.parametrize(("source", "options", "message"), REFUSED)
def testFileIsRefused(shared, tmp_path, source, options, message):
    folder = shared / "models/mlcg"
    with pytest.raises(ConversionError, match=message):
        convertMlcg(folder / source, tmp_path / "m.safetensors", check=False, **withPaths(options, folder))
    assert not list(tmp_path.iterdir())


def testPriorsOfBothKindsAgree(shared, tmp_path):
    """The specialised model's parameters per term are those of the table by types that it was specialised from."""
    folder = shared / "models/mlcg"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, special, (structure,) = convert(folder / CALPHA, tmp_path / "a")
    options = {"priors": folder / "sparse_prior_cln_ca.pt", "structures": folder / "structures_cln_ca.pt"}
    _, typed, (typedStructure,) = convert(folder / "schnet_train.ckpt", tmp_path / "b", **options)
    assert typedStructure.terms["bonds"].parameters is None and structure.terms["bonds"].parameters.shape == (9, 2)
    results = []
    for model, molecule in ((special, structure), (typed, typedStructure)):
        context = referenceContext(forcesOnly(createPriorForces(model, molecule), 10))
        results.append([evaluateInKcal(context, structure.getPositions(frame) * 10) for frame in range(structure.numFrames)])
    for found, expected in zip(*results, strict=True):
        checkAgreement(found, expected)


def testTermForOtherTypesIsRefused(shared, fiveBeads):
    """A term for whose types the model has no parameters is named, not given zero energy."""
    _, model, (structure,) = fiveBeads
    terms = dict(structure.terms)
    terms["bulk_bonds"] = np.vstack([terms["bulk_bonds"].particles, [[0, 4]]])
    other = Structure(structure.positions, types=structure.types, exclusions=structure.exclusions, terms=terms)
    with pytest.raises(StructureError, match=r"bulk_bonds/particles\[38\] is \[0, 4\] with the types N, O \[21, 24\]"):
        openmmflash.createSystem(other, model)


def testMissingSigmaIsRefused(shared, calpha):
    """Types that the pair prior was not made for are named."""
    _, model, (structure,) = calpha
    types = structure.types.copy()
    types[0] = 1
    other = Structure(structure.positions, types=types, exclusions=structure.exclusions, terms=structure.terms, masses=structure.masses)
    with pytest.raises(StructureError, match="no sigma for the types ALA and PRO of particles 0 and 3"):
        openmmflash.createSystem(other, model)


def testAgainstMlcgItself(shared, tmp_path):
    """Where mlcg can be imported, a conversion ends with a comparison."""
    pytest.importorskip("mlcg.nn", reason="needs the package mlcg with all that it imports (not on PyPI)")
    report = convertMlcg(shared / "models/mlcg" / CALPHA, tmp_path / "m.safetensors")
    assert "compared with mlcg on 2 structures" in report.check and report.maxForceDifference < 1e-9 * report.rmsForce


def testNothingHeavyIsImported(shared, tmp_path):
    """Conversion works where neither torch nor mlcg can be imported."""
    code = (
        "import sys\n"
        "for name in ('torch', 'mlcg', 'torch_geometric'): sys.modules[name] = None\n"
        "from openmmflash.convert.mlcg import convertMlcg\n"
        "report = convertMlcg(sys.argv[1], sys.argv[2])\n"
        "print(report.check)\n"
    )
    source = shared / "models/mlcg" / CALPHA
    result = subprocess.run([sys.executable, "-c", code, source, tmp_path / "m.safetensors"], capture_output=True, text=True, check=True)
    assert "not compared with mlcg, which cannot be imported" in result.stdout
