# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Conversion of ANI models: every form of distribution gives the numbers it holds, and what is wrong is named."""

import json
import subprocess
import sys

import numpy as np
import pytest
from small_neurochem import CONSTANTS, SELF_ENERGIES, SYMBOLS, layerText, stateDict, weights, writeNetwork, writeNeuroChem
from test_torchani_reference import torchani, wheelFolder  # noqa: F401  a fixture
from test_writer import parse

from openmmflash import FlashModel
from openmmflash.convert import ConversionError
from openmmflash.convert.torchani import checkStructure, convertTorchANI

CUTOFFS = {"radialCutoff": 4.5, "angularCutoff": 3.1}


def converted(source, path, **options):
    """(metadata, {tensor: array}) of the model file."""
    convertTorchANI(source, path, check=False, **options)
    FlashModel(str(path))  # it can be read
    metadata, tensors = parse(path.read_bytes())
    return metadata, {name: array for name, (_, array, _) in tensors.items()}


def assertSmallModel(metadata, tensors, members, real):
    """The small model; `real` is the precision in which the source holds constants."""
    hyper = json.loads(metadata["hyperparameters"])
    assert hyper == {"radial_cutoff": 4.5, "angular_cutoff": 3.1, "celu_alpha": 0.1, "cutoff_function": "cosine"}
    assert [t["name"] for t in json.loads(metadata["types"])] == SYMBOLS and [
        t["atomic_number"] for t in json.loads(metadata["types"])
    ] == [1, 6]
    assert metadata["length_unit"] == "angstrom" and metadata["energy_unit"] == "hartree" and metadata["num_members"] == str(len(members))
    for name, key in (
        ("radial.eta", "EtaR"),
        ("radial.shift", "ShfR"),
        ("angular.eta", "EtaA"),
        ("angular.zeta", "Zeta"),
        ("angular.shift", "ShfA"),
        ("angular.theta", "ShfZ"),
    ):
        assert tensors[f"aev.{name}"].dtype == np.float64
        assert np.array_equal(tensors[f"aev.{name}"], np.array(CONSTANTS[key], dtype=real).astype("f8")), name
    for k, member in enumerate(members):
        for symbol, layers in weights()[member].items():
            for index, (weight, bias) in enumerate(layers):
                assert np.array_equal(tensors[f"members.{k}.networks.{symbol}.{index}.weight"], weight)
                assert np.array_equal(tensors[f"members.{k}.networks.{symbol}.{index}.bias"], bias)
    assert len(tensors) == 7 + 10 * len(members)


def testNeuroChem(tmp_path):
    folder = writeNeuroChem(tmp_path / "small")
    metadata, tensors = converted(folder, tmp_path / "m.safetensors")
    assertSmallModel(metadata, tensors, [0, 1], "f8")
    assert np.array_equal(tensors["type_energies"], SELF_ENERGIES)
    assert metadata["name"] == "small" and "NeuroChem files (small)" in metadata["origin"] and "citation" not in metadata


def testNeuroChemInfoFileAndOneMember(tmp_path):
    writeNeuroChem(tmp_path / "small")
    (tmp_path / "small.info").write_text("small/small.params\nsmall/sae_linfit.dat\nsmall/train\n2\n")
    whole = converted(tmp_path / "small.info", tmp_path / "m.safetensors")
    assertSmallModel(*whole, [0, 1], "f8")
    metadata, tensors = converted(tmp_path / "small", tmp_path / "m.safetensors", members=[1], name="one", citation="nobody")
    assertSmallModel(metadata, tensors, [1], "f8")
    assert metadata["name"] == "one" and metadata["citation"] == "nobody"
    assertSmallModel(*converted(tmp_path / "small", tmp_path / "m.safetensors", members=(1, 0)), [1, 0], "f8")
    # One trainN folder with its own constants, as the wheel has them.
    for file in ("small.params", "sae_linfit.dat"):
        (tmp_path / "small" / "train1" / file).write_bytes((tmp_path / "small" / file).read_bytes())
    assertSmallModel(*converted(tmp_path / "small" / "train1", tmp_path / "m.safetensors"), [1], "f8")


def testWheelWithoutTorch(tmp_path):
    """ANI-1x from the wheel of torchani, which is not imported; nor is torch."""
    if wheelFolder() is None:
        pytest.skip("needs the wheel of torchani==2.2.4 (--no-deps is enough): not installed")
    code = (
        "import sys; sys.modules['torch'] = sys.modules['torchani'] = None\n"
        "from openmmflash.convert.torchani import convertTorchANI\n"
        "print(convertTorchANI(sys.argv[1], sys.argv[2]).summary())"
    )
    arguments = [sys.executable, "-c", code, str(wheelFolder()), str(tmp_path / "m.safetensors")]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "not compared with TorchANI" in result.stdout
    metadata, tensors = parse((tmp_path / "m.safetensors").read_bytes())
    assert metadata["name"] == "ani1x" and "1.5023802" in metadata["citation"] and metadata["num_members"] == "8"
    assert tensors["type_energies"][1].tolist() == [-0.60095298, -38.08316124, -54.7077577, -75.19446356]
    assert tensors["aev.angular.theta"][1][0] == 0.19634954 and len(tensors) == 7 + 8 * 4 * 4 * 2


@pytest.mark.parametrize("style", ["2.9", "legacy", "2.2"])
def testStateDict(tmp_path, style):
    metadata, tensors = converted(stateDict(style), tmp_path / "m.safetensors", **CUTOFFS)
    assertSmallModel(metadata, tensors, [0, 1], "f4")
    assert np.array_equal(tensors["type_energies"], np.array(SELF_ENERGIES, dtype="f8" if style == "2.2" else "f4"))


@pytest.mark.parametrize(("prefix", "style"), [("members.0.", "2.9"), ("0.", "2.2")])
def testStateDictOfOneNetwork(tmp_path, prefix, style):
    state = {key.replace(f"neural_networks.{prefix}", "neural_networks."): value for key, value in stateDict(style, 1).items()}
    assertSmallModel(*converted(state, tmp_path / "m.safetensors", **CUTOFFS), [0], "f4")


def testStateDictFile(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch, to write the file")
    torch.save({key: torch.tensor(value) for key, value in stateDict("2.9").items()}, tmp_path / "my-model_state_dict.pt")
    metadata, tensors = converted(tmp_path / "my-model_state_dict.pt", tmp_path / "m.safetensors", **CUTOFFS)
    assertSmallModel(metadata, tensors, [0, 1], "f4")
    assert metadata["name"] == "mymodel"
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(ConversionError, match=r"other.pt is not a TorchANI state dict.*the keys 'a'"):
        convertTorchANI(tmp_path / "other.pt", tmp_path / "m.safetensors")


def testPublishedStateDict(shared, tmp_path):
    """ANI-2x: the elements' order, and the numbers of the file, widened."""
    torch = pytest.importorskip("torch", reason="needs torch, to compare with torch.load")
    path = shared / "models" / "torchani" / "ani2x_state_dict.pt"
    metadata, tensors = converted(path, tmp_path / "m.safetensors")
    assert metadata["name"] == "ani2x" and "0c00121" in metadata["citation"]
    assert [t["name"] for t in json.loads(metadata["types"])] == ["H", "C", "N", "O", "S", "F", "Cl"]
    assert (
        json.loads(metadata["hyperparameters"])["radial_cutoff"] == 5.1 and json.loads(metadata["hyperparameters"])["angular_cutoff"] == 3.5
    )
    with pytest.raises(ConversionError, match="angularCutoff is 3, but the model's is 3.5"):
        convertTorchANI(path, tmp_path / "n.safetensors", angularCutoff=3)
    state = torch.load(path, weights_only=True)
    assert np.array_equal(tensors["type_energies"], state["energy_shifter.self_energies"].double())
    assert np.array_equal(tensors["aev.radial.shift"], state["potentials.nnp.aev_computer.radial.shifts"].double())
    key = "potentials.nnp.neural_networks.members.7.atomics.Cl."
    assert np.array_equal(tensors["members.7.networks.Cl.0.weight"], state[key + "layers.0.weight"])
    assert np.array_equal(tensors["members.7.networks.Cl.3.bias"], state[key + "final_layer.bias"])


def changed(**changes):
    """Applied to a state dict: values replaced, or keys removed where the value is None."""

    def apply(state):
        for key, value in changes.items():
            matching = [name for name in state if key in name]
            for name in matching or [key]:
                if value is None:
                    del state[name]
                else:
                    state[name] = value(state.get(name)) if callable(value) else value

    return apply


BAD_STATES = {
    "another potential": (changed(**{"potentials.repulsion_xtb.y_ab": np.ones(2)}), {}, ["1 keys", "repulsion_xtb.y_ab", "repulsion"]),
    "no self energies": (changed(self_energies=None), {}, ["lacks energy_shifter.self_energies"]),
    "no constants": (changed(**{"radial.eta": None}), {}, ["lacks radial.eta"]),
    "no networks": (changed(neural_networks=None), {}, ["lacks neural_networks"]),
    "an intercept": (changed(self_energies=np.ones(3)), {}, ["3 self energies", "intercept"]),
    "a member missing": (changed(**{"members.0.": None}), {}, ["[1]", "without a gap"]),
    "an element missing": (changed(**{"members.1.atomics.C.": None}), {}, ["Member 1", "['H']"]),
    "a layer missing": (changed(**{"members.0.atomics.H.layers.0": None}), {}, ["member 0, H", "final_layer"]),
    "no last layer": (changed(**{"members.0.atomics.H.final_layer": None}), {}, ["member 0, H", "layers"]),
    "a bias without weight": (changed(**{"members.0.atomics.H.layers.1.weight": None}), {}, ["Layer 1 of member 0, H"]),
    "a wrong shape": (changed(**{"members.0.atomics.H.layers.1.weight": np.ones((4, 9))}), {}, ["member 0, H", "(4, 9)", "5 inputs"]),
    "two outputs": (changed(**{".0.atomics.H.final_layer.": lambda old: np.ones((2, *old.shape[1:]))}), {}, ["member 0, H", "2 outputs"]),
    "NaN": (changed(**{"members.1.atomics.C.layers.0.weight": np.full((6, 18), np.nan)}), {}, ["members.1.networks.C.0.weight", "nan"]),
    "other order of pairs": (changed(triu_index=np.array([[0, 2], [2, 1]])), {}, ["triu_index"]),
    "other elements": (changed(conv_tensor=lambda old: np.roll(old, 1)), {}, ["['H', 'C']", "conv_tensor", "['He', 'N']"]),
    "other species": (changed(), {"species": ["C", "H"]}, ["option species", "['C', 'H']"]),
    "not an element": (changed(atomic_numbers=None, conv_tensor=None), {"species": ["H", "Xx"]}, ["['H', 'C']", "Xx"]),
    "cutoffs not given": (changed(), {"radialCutoff": None}, ["ANI-1x", "radialCutoff", "3.299999952316284"]),
    "cutoff not a number": (changed(), {"radialCutoff": np.nan}, ["radialCutoff is nan"]),
    "a member that is not there": (changed(), {"members": [2]}, ["Member 2", "2 members"]),
    "a member twice": (changed(), {"members": [0, 0]}, ["[0, 0]", "none twice"]),
    "no members": (changed(), {"members": []}, ["at least one"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_STATES)
def testBadStateDict(tmp_path, name):
    change, options, words = BAD_STATES[name]
    state = stateDict("2.9")
    change(state)
    with pytest.raises(ConversionError) as error:
        convertTorchANI(state, tmp_path / "m.safetensors", check=False, **{**CUTOFFS, **options})
    assert all(word in str(error.value) for word in words), error.value
    assert not (tmp_path / "m.safetensors").exists()


def replace(file, old, new):
    def apply(folder):
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))

    return apply


def network(**changes):
    """Another text for the network of C in train1: its first layer's lines changed."""

    def apply(folder):
        lines = layerText("C", 0, (6, 18), False)
        for key, value in changes.items():
            old = next(line for line in lines.splitlines() if line.startswith(key + "="))
            lines = lines.replace(old, f"{key}={value};")
        text = "inputsize=18;\natom_net C $\n" + lines + layerText("C", 1, (1, 6), True) + " $ \n"
        writeNetwork(folder / "train1" / "networks", "C", text)

    return apply


NNF, WEIGHTS = "train1/networks/ANN-C.nnf", "train1/networks/ANN-C.nnf-l1.wparam"
BAD_FOLDERS = {
    "constants empty": (lambda f: (f / "small.params").write_bytes(b""), ["small.params is empty (0 bytes)"]),
    "constant not a number": (replace("small.params", "[3.2]", "[3.2x]"), ["EtaR", "'3.2x'"]),
    "constant infinite": (replace("small.params", "4.5\n", "inf\n"), ["Rcr", "'inf'"]),
    "constant missing": (replace("small.params", "Zeta", "Zitat"), ["missing ['Zeta']", "unknown ['Zitat']"]),
    "constant twice": (replace("small.params", "TM = 1", "Rcr = 5"), ["'Rcr = 4.5'", "twice"]),
    "another kind": (replace("small.params", "TM = 1", "TM = 2"), ["TM = 2"]),
    "no equals sign": (replace("small.params", "TM = 1", "TM 1"), ["'TM 1'"]),
    "binary constants": (lambda f: (f / "small.params").write_bytes(b"\xff\xfe"), ["not a text file"]),
    "unknown element": (replace("small.params", "[H,C]", "[H,Qq]"), ["Qq"]),
    "angular cutoff larger": (replace("small.params", "3.1", "4.6"), None),
    "two parameter files": (lambda f: (f / "b.params").write_text(""), ["2 files named *.params"]),
    "self energies missing": (lambda f: (f / "sae_linfit.dat").unlink(), ["sae_linfit.dat is missing"]),
    "self energies in another order": (replace("sae_linfit.dat", "H,0", "H,1"), ["element H has index 1", "['H', 'C']"]),
    "self energy of one element": (lambda f: (f / "sae_linfit.dat").write_text("H,0=-0.5\n"), ["['H']", "['H', 'C']"]),
    "self energy not a number": (replace("sae_linfit.dat", "=-38", "=nan-38"), ["self energy of C", "nan-38"]),
    "no networks": (lambda f: [d.rename(d.with_name("x" + d.name)) for d in f.glob("train*")], ["train0", "[]"]),
    "numbers with a gap": (lambda f: (f / "train1").rename(f / "train2"), ["[0, 2]"]),
    "network missing": (lambda f: (f / NNF).unlink(), ["ANN-C.nnf is missing"]),
    "network empty": (lambda f: (f / NNF).write_bytes(b""), ["ANN-C.nnf is empty (0 bytes)"]),
    "network not compressed": (lambda f: (f / NNF).write_bytes(b"12=\nlayer"), ["bzip2"]),
    "network truncated": (lambda f: (f / NNF).write_bytes((f / NNF).read_bytes()[:60]), ["ANN-C.nnf", "truncated"]),
    "network far too long": (lambda f: writeNetwork((f / NNF).parent, "C", " " * (2 << 20)), ["ANN-C.nnf", "1048576"]),
    "network of another element": (lambda f: (f / NNF).write_bytes((f / NNF.replace("-C", "-H")).read_bytes()), ["atom_net C $", "net H"]),
    "network without layers": (lambda f: writeNetwork((f / NNF).parent, "C", "inputsize=18;\natom_net C $\n $"), ["0 layers"]),
    "network with other content": (lambda f: writeNetwork((f / NNF).parent, "C", "inputsize=18;\natom_net C $ import os"), ["import os"]),
    "Gaussian activation": (network(activation=5), ["activations [5, 6]", "9 (CELU)"]),
    "other inputs": (network(blocksize=19), ["blocksize 19", "expected are 18, 0, 0"]),
    "layer of another type": (network(type=1), ["type 1"]),
    "batch norm": (network(btchnorm=1), ["btchnorm 1"]),
    "weights elsewhere": (network(weights="FILE:../../train0/networks/ANN-C.nnf-l1.wparam[108]"), ["FILE:../../train0", "beside this one"]),
    "number of weights": (network(weights="FILE:ANN-C.nnf-l1.wparam[109]"), ["[109]", "[108]"]),
    "nodes not a number": (network(nodes="six"), ["nodes='six'"]),
    "weights truncated": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1]), ["431 bytes", "have 432"]),
    "weights too long": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes() + bytes(4)), ["436 bytes", "have 432"]),
    "weights missing": (lambda f: (f / WEIGHTS).unlink(), ["l1.wparam is missing"]),
    "NaN weight": (lambda f: (f / WEIGHTS).write_bytes(np.full(108, np.nan, "<f4").tobytes()), ["members.1.networks.C.0.weight", "nan"]),
    "another AEV": (replace("small.params", "[0.9,1.7]", "[0.9,1.7,2.3]"), ["member 0, H", "(5, 18)", "24 inputs"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FOLDERS)
def testBadNeuroChem(tmp_path, name):
    change, words = BAD_FOLDERS[name]
    folder = writeNeuroChem(tmp_path / "small")
    change(folder)
    if words is None:  # left to the reader of model files
        convertTorchANI(folder, tmp_path / "m.safetensors", check=False)
        with pytest.raises(Exception, match="angular_cutoff"):
            FlashModel(str(tmp_path / "m.safetensors"))
        return
    with pytest.raises(ConversionError) as error:
        convertTorchANI(folder, tmp_path / "m.safetensors", check=False)
    assert all(word in str(error.value) for word in words), error.value
    assert not (tmp_path / "m.safetensors").exists()


def testBadSources(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        convertTorchANI(tmp_path / "absent", tmp_path / "m.safetensors")
    with pytest.raises(ConversionError, match="has no NeuroChem files"):
        convertTorchANI(tmp_path, tmp_path / "m.safetensors")
    (tmp_path / "x.info").write_text("a\nb\n")
    with pytest.raises(ConversionError, match="four lines"):
        convertTorchANI(tmp_path / "x.info", tmp_path / "m.safetensors")
    (tmp_path / "x.info").write_text("")
    with pytest.raises(ConversionError, match=r"x.info is empty \(0 bytes\)"):
        convertTorchANI(tmp_path / "x.info", tmp_path / "m.safetensors")
    with pytest.raises(ConversionError, match="do not apply"):
        convertTorchANI(writeNeuroChem(tmp_path / "small"), tmp_path / "m.safetensors", radialCutoff=5.0)


def testCheckStructure():
    types, positions = checkStructure(7)
    distances = np.linalg.norm(positions[:, None] - positions, axis=2) + np.eye(len(types))
    assert sorted(types) == sorted(list(range(7)) * 4) and distances.min() > 0.1


class TestLive:
    """Live models of TorchANI 2.2.4."""

    @pytest.fixture
    def parts(self, torchani, tmp_path):  # noqa: F811
        folder = writeNeuroChem(tmp_path / "small")
        constants = torchani.neurochem.Constants(str(folder / "small.params"))
        networks = torchani.neurochem.load_model_ensemble(constants.species, str(folder / "train"), 2)
        shifter, energies = torchani.neurochem.load_sae(str(folder / "sae_linfit.dat"), return_dict=True)
        converter = torchani.SpeciesConverter(constants.species)
        return converter, torchani.AEVComputer(**constants), networks, shifter, constants, energies

    def testBuiltinEnsemble(self, torchani, parts, tmp_path):  # noqa: F811
        converter, aev, networks, shifter, constants, energies = parts
        for numbers in (True, False):
            module = torchani.models.BuiltinEnsemble(
                converter, aev, networks, shifter, constants.species_to_tensor, constants, energies, numbers
            )
            report = convertTorchANI(module, tmp_path / "m.safetensors")
            assert report.maxForceDifference <= 1e-9 * report.rmsForce and "the original object" in report.check
            metadata, tensors = parse((tmp_path / "m.safetensors").read_bytes())
            assertSmallModel(metadata, {name: array for name, (_, array, _) in tensors.items()}, [0, 1], "f8")
            one = convertTorchANI(module[1], tmp_path / "m.safetensors")
            assert "1 network" in one.notes[0] and one.maxForceDifference <= 1e-9 * one.rmsForce
            chosen = convertTorchANI(module, tmp_path / "n.safetensors", members=[1])
            assert chosen.maxForceDifference <= 1e-9 * chosen.rmsForce and chosen.rmsForce == pytest.approx(one.rmsForce)

    def testSequential(self, torchani, parts, tmp_path):  # noqa: F811
        _, aev, networks, shifter, *_ = parts
        report = convertTorchANI(torchani.nn.Sequential(aev, networks[0], shifter), tmp_path / "m.safetensors")
        assert report.maxForceDifference <= 1e-9 * report.rmsForce

    def testSinglePrecisionModel(self, torchani, parts, tmp_path):  # noqa: F811
        """A model in float32 is converted as it is: the check widens the original, whose constants then are those of the file."""
        _, aev, networks, shifter, *_ = parts
        module = torchani.nn.Sequential(aev, networks, shifter).float()
        report = convertTorchANI(module, tmp_path / "m.safetensors")
        assert report.maxForceDifference <= 1e-9 * report.rmsForce
        _, tensors = parse((tmp_path / "m.safetensors").read_bytes())
        assert tensors["aev.radial.eta"][1][0] == np.float64(np.float32(3.2)) != 3.2

    def testNeuroChemCheck(self, torchani, tmp_path, monkeypatch):  # noqa: F811
        # The default dtype is the whole process's: other threads would make their tensors in it.
        monkeypatch.setattr("torch.set_default_dtype", lambda dtype: pytest.fail("torch's default dtype was changed"))
        report = convertTorchANI(writeNeuroChem(tmp_path / "small"), tmp_path / "m.safetensors", members=[1])
        assert report.check.startswith("compared with TorchANI 2.2.4 in double") and report.maxForceDifference <= 1e-9 * report.rmsForce
        assert report.rmsForce > 1

    def testStateDictCheck(self, torchani, tmp_path):  # noqa: F811
        report = convertTorchANI(stateDict("2.2"), tmp_path / "m.safetensors", **CUTOFFS)
        assert report.maxForceDifference <= 1e-9 * report.rmsForce

    def testDisagreementIsAnError(self, torchani, parts, tmp_path):  # noqa: F811
        """A model that does more than its parts say."""
        _, aev, networks, shifter, *_ = parts

        class More(torchani.nn.Sequential):
            def forward(self, pair, cell=None, pbc=None):
                result = super().forward(pair)
                return result._replace(energies=result.energies + 1e-6 * (pair[1] ** 2).sum())

        with pytest.raises(ConversionError, match="does not agree with TorchANI 2.2.4"):
            convertTorchANI(More(aev, networks, shifter), tmp_path / "m.safetensors")
        assert not (tmp_path / "m.safetensors").exists()

    def testOtherActivation(self, torchani, parts, tmp_path):  # noqa: F811
        import torch

        _, aev, networks, shifter, *_ = parts
        networks[1]["C"][1] = torch.nn.GELU()
        with pytest.raises(ConversionError, match="GELU"):
            convertTorchANI(torchani.nn.Sequential(aev, networks, shifter), tmp_path / "m.safetensors")
        networks[1]["C"][1] = torch.nn.CELU(0.2)
        with pytest.raises(ConversionError, match=r"0\.1, 0\.2"):
            convertTorchANI(torchani.nn.Sequential(aev, networks, shifter), tmp_path / "m.safetensors")

    def testIncomplete(self, torchani, parts, tmp_path):  # noqa: F811
        _, aev, networks, *_ = parts
        with pytest.raises(ConversionError, match="not a complete ANI model"):
            convertTorchANI(torchani.nn.Sequential(aev, networks), tmp_path / "m.safetensors")
