# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Files of SchNetPack, PyTorch Geometric and TorchMD-Net users, ensembles, units, types, and what a conversion reports."""

import json
import struct
import subprocess
import sys

import numpy as np
import openmm
import pytest
from schnet_peers import (
    KJ,
    assertSame,
    cluster,
    flash,
    importTorch,
    importTorchMDNet,
    pygSchNet,
    runSchNetPack,
    runTorchMDNet,
    schnetPack,
    torchmdNet,
)

import openmmflash
from openmmflash.convert import ConversionError, convert, pyg, recognise
from openmmflash.convert.pyg import convertPyG
from openmmflash.convert.schnetpack import convertSchNetPack
from openmmflash.convert.torchmdnet import convertTorchMDNet

UNITS = {"lengthUnit": "angstrom", "energyUnit": "eV"}
HYPER = {
    "model": "graph-network", "precision": 32, "embedding_dimension": 16, "num_layers": 2, "num_rbf": 9, "rbf_type": "expnorm",
    "trainable_rbf": True, "activation": "ssp", "cutoff_lower": 0.0, "cutoff_upper": 5.0, "max_z": 20, "max_num_neighbors": 100,
    "aggr": "add", "neighbor_embedding": True, "derivative": True, "atom_filter": -1, "prior_model": None, "prior_args": None,
    "output_model": "Scalar", "reduce_op": "add",
}  # fmt: skip
ATOMS = [1, 6, 7, 8]


def header(path):
    """A model file's header, read by hand."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])


def tensorBytes(path):
    data = path.read_bytes()
    return data[8 + struct.unpack("<Q", data[:8])[0] :]


def hyperparameters(path):
    return json.loads(header(path)["__metadata__"]["hyperparameters"])


def checkpoint(path, rename=lambda key: key, std=1.9, mean=-3.1, seed=0, **changes):
    """A Lightning checkpoint of a random graph network as LNNP writes it, and the network."""
    torch, tmd = importTorch(), importTorchMDNet()
    torch.manual_seed(seed)
    hyper = HYPER | changes
    model = tmd.model.create_model(dict(hyper), mean=torch.tensor(mean), std=torch.tensor(std))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    state = {rename(f"model.{key}"): value for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": hyper, "epoch": 3, "pytorch-lightning_version": "2.5.0"}, path)
    return model.eval()


def sameAs(path, evaluate, what, scale=KJ["eV"]):
    numbers, positions = cluster(20, 11, ATOMS)
    energy, forces = evaluate(numbers, positions, None)
    assertSame(flash(path, numbers, positions, 0.1), (energy * scale, forces * scale / 0.1), what)


def testSchNetPackFile(tmp_path):
    """best_model is read without torch; the file is the live model's but for its origin, and is checked against the package."""
    torch = importTorch()
    model = schnetPack(seed=1, activation=lambda t, s: s.nn.ShiftedSoftplus(1.2, 0.9), nuclear=True)
    torch.save(model, tmp_path / "best_model")
    for source, name in ((model, "live"), (str(tmp_path / "best_model"), "file")):
        report = convert(source, tmp_path / name, name="same", **UNITS)
        assert report.maxForceDifference <= 1e-9 * report.rmsForce
        assert "largest force difference" in report.summary()
    live, file = header(tmp_path / "live"), header(tmp_path / "file")
    assert "best_model" in file["__metadata__"].pop("origin") and live["__metadata__"].pop("origin")
    assert file == live
    assert tensorBytes(tmp_path / "live") == tensorBytes(tmp_path / "file")


def testSchNetPackCheckpoint(tmp_path):
    """A checkpoint of an AtomisticTask: the architecture of the model in hyper_parameters with the tensors of the state_dict."""
    torch = importTorch()
    before, after = schnetPack(seed=2), schnetPack(seed=3)
    state = {f"model.{key}": value for key, value in after.state_dict().items()} | {"outputs.0.train_metrics.mae.total": torch.zeros(1)}
    saved = {"state_dict": state, "hyper_parameters": {"model": before, "optimizer_cls": torch.optim.AdamW, "optimizer_args": {"lr": 1e-3}}}
    torch.save(saved, tmp_path / "last.ckpt")
    assert recognise(tmp_path / "last.ckpt") == "schnetpack"
    report = convertSchNetPack(tmp_path / "last.ckpt", tmp_path / "m", **UNITS)
    assert report.maxForceDifference <= 1e-9 * report.rmsForce
    sameAs(tmp_path / "m", runSchNetPack(after), "the state_dict's tensors")
    torch.save(saved | {"state_dict": state | {"model.extra.weight": torch.zeros(3)}}, tmp_path / "other.ckpt")
    with pytest.raises(ConversionError, match="'model.extra.weight'"):
        convertSchNetPack(tmp_path / "other.ckpt", tmp_path / "m", **UNITS)


def testSchNetPackBefore21(tmp_path):
    """Models of 2.0.4 have no electronic_embeddings and no version."""
    torch = importTorch()
    model = schnetPack(seed=4)
    expected = runSchNetPack(model)
    del model.representation.electronic_embeddings
    del model.spk_version
    torch.save(model, tmp_path / "best_model")
    report = convertSchNetPack(tmp_path / "best_model", tmp_path / "m", **UNITS)
    assert report.maxForceDifference <= 1e-9 * report.rmsForce
    sameAs(tmp_path / "m", expected, "2.0.4")


def testEnergyKey(tmp_path):
    """Outputs beside the energy are left out when the user says which output is the energy, and the report tells."""
    model = schnetPack(seed=5, modules=lambda spk: [spk.atomistic.Atomwise(16, output_key="gap"), spk.atomistic.DipoleMoment(16)])
    with pytest.raises(ConversionError, match="'energy'.*'gap'.*energyKey="):
        convertSchNetPack(model, tmp_path / "m", **UNITS)
    with pytest.raises(ConversionError, match="'enthalpy'.*'energy', 'gap'"):
        convertSchNetPack(model, tmp_path / "m", energyKey="enthalpy", **UNITS)
    report = convertSchNetPack(model, tmp_path / "m", energyKey="energy", **UNITS)
    assert sum("left out" in note for note in report.notes) == 2 and any("'gap" in note for note in report.notes)


def testWithoutTorch(tmp_path):
    """Files convert where torch and the packages cannot be imported; the report says why there was no comparison."""
    torch = importTorch()
    torch.save(schnetPack(seed=6), tmp_path / "best_model")
    torch.save(pygSchNet(seed=6).state_dict(), tmp_path / "pyg.pt")
    checkpoint(tmp_path / "tmd.ckpt")
    program = """
import sys
for name in ("torch", "schnetpack", "torch_geometric", "torchmdnet", "warp"):
    sys.modules[name] = None
from openmmflash.convert import convert
folder = sys.argv[1]
units = {"lengthUnit": "angstrom", "energyUnit": "eV"}
for name, options in (("best_model", units), ("pyg.pt", units | {"cutoff": 5}), ("tmd.ckpt", {})):
    print(convert(f"{folder}/{name}", f"{folder}/{name}.safetensors", quiet=True, **options).check)
"""
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 3 and all("not compared" in line and "torch cannot be imported" in line for line in lines), result.stdout
    for name in ("best_model", "pyg.pt", "tmd.ckpt"):
        assert openmmflash.FlashModel(str(tmp_path / f"{name}.safetensors")).getArchitecture() == "schnet"


def oldNames(key):
    """As before version 2.1: no `layers` in the readout, one prior instead of a list, no box."""
    return key.replace("output_network.layers.", "output_network.").replace("prior_model.0.", "prior_model.")


@pytest.mark.parametrize("rename", [lambda key: key, oldNames], ids=["present names", "old names"])
@pytest.mark.parametrize(
    "prior",
    [{"prior_model": "Atomref", "prior_args": {"max_z": 20}}, {"prior_model": [{"Atomref": {"max_z": 20}}]}, {}],
    ids=["prior", "list", "none"],
)
def testTorchMDNetCheckpoint(rename, prior, tmp_path):
    model = checkpoint(tmp_path / "epoch.ckpt", rename, seed=7, **prior)
    assert recognise(tmp_path / "epoch.ckpt") == "torchmdnet"
    report = convertTorchMDNet(tmp_path / "epoch.ckpt", tmp_path / "m")
    assert report.maxForceDifference <= 1e-9 * report.rmsForce
    sameAs(tmp_path / "m", runTorchMDNet(model), "checkpoint")
    assert hyperparameters(tmp_path / "m")["group_energy"] == float(np.float32(-3.1))


def testEnergyScale(tmp_path):
    """An eV is CODATA's by default; openmm-ml's 96.4916 and any other unit can be asked for."""
    model = checkpoint(tmp_path / "epoch.ckpt")
    for options, scale in (
        ({}, KJ["eV"]),
        ({"energyScale": 96.4916}, 96.4916),
        ({"energyUnit": "kcal/mol"}, 4.184),
        ({"energyUnit": "Ha"}, KJ["hartree"]),
    ):
        convertTorchMDNet(tmp_path / "epoch.ckpt", tmp_path / "m", **options)
        sameAs(tmp_path / "m", runTorchMDNet(model), str(options), scale)


@pytest.mark.parametrize(
    "make, module, name, convert",
    [(schnetPack, "schnetpack.task", "AtomisticTask", convertSchNetPack), (torchmdNet, "torchmdnet.module", "LNNP", convertTorchMDNet)],
)
def testLiveTask(make, module, name, convert, tmp_path):
    """The training modules of both packages hold the model. Classes of these names stand for them: the real ones need Lightning."""
    torch = importTorch()
    task = type(name, (torch.nn.Module,), {"__module__": module, "__qualname__": name})()
    task.model = make(seed=12)
    assert recognise(task) == convert.__module__.split(".")[-1]
    report = convert(task, tmp_path / "m", **UNITS)
    assert report.maxForceDifference <= 1e-9 * report.rmsForce


def testReferenceEnergies(tmp_path):
    """A disabled Atomref counts only on request, and the report says so."""
    arguments = {"prior_model": "Atomref", "prior_args": {"max_z": 20, "enable": False}}
    model = checkpoint(tmp_path / "epoch.ckpt", **arguments)
    report = convertTorchMDNet(tmp_path / "epoch.ckpt", tmp_path / "m")
    assert any("disabled" in note for note in report.notes)
    sameAs(tmp_path / "m", runTorchMDNet(model), "without")
    model.prior_model[0].enable = True
    convertTorchMDNet(tmp_path / "epoch.ckpt", tmp_path / "m", referenceEnergies=True)
    sameAs(tmp_path / "m", runTorchMDNet(model), "with")


def testFixedBox(tmp_path):
    model = checkpoint(tmp_path / "epoch.ckpt", box_vecs=[[15.0, 0, 0], [0, 16.0, 0], [0, 0, 17.0]])
    with pytest.raises(ConversionError, match=r"15\.0.*16\.0.*17\.0.*ignoreBox=True"):
        convertTorchMDNet(tmp_path / "epoch.ckpt", tmp_path / "m")
    report = convertTorchMDNet(tmp_path / "epoch.ckpt", tmp_path / "m", ignoreBox=True)
    assert any("17.0" in note for note in report.notes)
    numbers, positions = cluster(20, 11, ATOMS)
    energy, forces = runTorchMDNet(model)(numbers, positions, None)  # in its own box
    ours = flash(tmp_path / "m", numbers, positions, 0.1, np.diag([15.0, 16.0, 17.0]))
    assertSame(ours, (energy * KJ["eV"], forces * KJ["eV"] / 0.1), "with the System's box")


def testEnsemble(tmp_path):
    """A list of models becomes one with members; the energy is their mean, and each member's is its own."""
    models = [schnetPack(seed=seed) for seed in (8, 9, 10)]
    report = convertSchNetPack(models, tmp_path / "m", **UNITS)
    assert report.maxForceDifference <= 1e-9 * report.rmsForce
    numbers, positions = cluster(20, 11, ATOMS)
    results = [runSchNetPack(model)(numbers, positions, None) for model in models]
    mean = np.mean([energy for energy, _ in results]), np.mean([forces for _, forces in results], axis=0)
    assertSame(flash(tmp_path / "m", numbers, positions, 0.1), (mean[0] * KJ["eV"], mean[1] * KJ["eV"] / 0.1), "mean")
    assert openmmflash.FlashModel(str(tmp_path / "m")).getNumMembers() == 3

    system, force = openmm.System(), openmmflash.FlashForce(openmmflash.FlashModel(str(tmp_path / "m")))
    for index, number in enumerate(numbers):
        system.addParticle(1.0)
        force.addParticle(index, int(number))
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions * 0.1)
    np.testing.assert_allclose(force.getMemberEnergies(context), [energy * KJ["eV"] for energy, _ in results], rtol=1e-10)

    with pytest.raises(ConversionError, match="'cutoff' is 5.0 in member 0 and 4.0 in member 1"):
        convertSchNetPack([models[0], schnetPack(cutoff=4.0)], tmp_path / "n", **UNITS)
    with pytest.raises(ConversionError, match="reference energies of member 1"):
        convertPyG([pygSchNet(seed=1, atomref=True), pygSchNet(seed=2, atomref=True)], tmp_path / "n", **UNITS)


def testTypes(tmp_path):
    """Embedding rows are atomic numbers; or beads, where the user names them."""
    convertPyG(pygSchNet(), tmp_path / "m", **UNITS)
    model = openmmflash.FlashModel(str(tmp_path / "m"))
    assert model.getNumTypes() == 100 and model.getTypeName(0) == ""
    for number in (1, 6, 17, 53, 99):
        element = openmm.app.Element.getByAtomicNumber(number)
        assert (model.getTypeName(number), model.getTypeAtomicNumber(number)) == (element.symbol, number)
        assert model.getTypeMass(number) == element.mass.value_in_unit(openmm.unit.dalton)

    convertTorchMDNet(torchmdNet(maxZ=130), tmp_path / "m")
    model = openmmflash.FlashModel(str(tmp_path / "m"))
    assert model.getTypeName(92) == "U" and model.getTypeName(119) == "" and model.getTypeName(129) == ""

    beads = [None, "CA", {"name": "CB", "mass": 14.5}]
    convertTorchMDNet(torchmdNet(maxZ=3), tmp_path / "m", types=beads)
    model = openmmflash.FlashModel(str(tmp_path / "m"))
    assert [model.getTypeName(k) for k in range(3)] == ["", "CA", "CB"] and model.getTypeMass(2) == 14.5
    for types, message in (
        (beads[:2], "types has 2 entries.*3 rows"),
        ([None, 7, "A"], r"types\[1\] is 7"),
        ([None, {"label": 1}, "A"], "'label'"),
    ):
        with pytest.raises(ConversionError, match=message):
            convertTorchMDNet(torchmdNet(maxZ=3), tmp_path / "m", types=types)


def testTypesWithoutReferenceEnergy(tmp_path):
    """SchNetPack cannot evaluate an element beyond its atomrefs; such types are not known to the model."""
    torch = importTorch()

    def post(torch, spk):
        offsets = spk.transform.AddOffsets("energy", add_atomrefs=True)
        offsets.atomref = torch.arange(10, dtype=torch.float64)
        return [offsets]

    convertSchNetPack(schnetPack(post=post), tmp_path / "m", **UNITS)
    model = openmmflash.FlashModel(str(tmp_path / "m"))
    assert model.getTypeName(9) == "F" and model.getTypeName(10) == ""
    assert model.getTypeEnergy(8) == pytest.approx(8 * KJ["eV"], rel=1e-15) and torch.float64


def testStoredPrecision(tmp_path):
    """Tensors keep their dtype where nothing was absorbed into them; a double model stays double."""
    convertSchNetPack(schnetPack(), tmp_path / "m", **UNITS)
    stored = {name: entry["dtype"] for name, entry in header(tmp_path / "m").items() if name != "__metadata__"}
    assert stored.pop("members.0.basis.coefficients") == "F64"  # computed from the widths
    assert set(stored.values()) == {"F32"}
    convertSchNetPack(schnetPack(dtype="double"), tmp_path / "m", **UNITS)
    assert {entry["dtype"] for name, entry in header(tmp_path / "m").items() if name != "__metadata__"} == {"F64"}
    # PyG's ln 2 is rounded to float32; the rest of it goes into the following bias.
    convertPyG(pygSchNet(), tmp_path / "m", **UNITS)
    stored = header(tmp_path / "m")
    assert stored["members.0.blocks.0.filter.1.bias"]["dtype"] == "F64" and stored["members.0.blocks.0.filter.1.weight"]["dtype"] == "F32"


def testMetadata(tmp_path):
    report = convertPyG(pygSchNet(), tmp_path / "m.safetensors", citation="A, B 1 (2026)", license="MIT", description="d", **UNITS)
    metadata = openmmflash.FlashModel(str(tmp_path / "m.safetensors")).getMetadata()
    assert (
        metadata["name"] == "m"
        and metadata["citation"] == "A, B 1 (2026)"
        and metadata["license"] == "MIT"
        and metadata["description"] == "d"
    )
    assert "PyTorch Geometric" in metadata["origin"] and metadata["length_unit"] == "angstrom" and metadata["energy_unit"] == "eV"
    assert any("32" in note for note in report.notes)  # PyG truncates, we never do


def testWrongConversionIsNoticed(tmp_path, monkeypatch):
    """The converters' own check refuses a result that differs by a little, and leaves no file."""
    original = pyg.common.scaleOutput
    monkeypatch.setattr(pyg.common, "scaleOutput", lambda layers, scale, shift: original(layers, scale * (1 + 1e-6), shift))
    with pytest.raises(ConversionError, match="does not agree"):
        convertPyG(pygSchNet(), tmp_path / "m", **UNITS)
    assert not (tmp_path / "m").exists()
