# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""convert(): sources are recognised by their content, and whatever is not recognised is described."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_neurochem import stateDict, writeNeuroChem

import openmmflash.convert
from openmmflash import FlashModel
from openmmflash.convert import ORIGINS, ConversionError, convert, recognise

SHARED = {
    "mlcg/random_5bead_model_and_prior.pt": "mlcg",
    "mlcg/schnet_cln_ca_specialized_model_and_config.pt": "mlcg",
    "mlcg/schnet_train.ckpt": "mlcg",
    "mlcg/prior.pt": "mlcg",
    "mlcg/structures_cln_ca.pt": "mlcg",
    "torchani/ani2x_state_dict.pt": "torchani",
    "torchani/ani-1ccx_8x": "torchani",
    "torchani/ani-1ccx_8x.info": "torchani",
}


@pytest.mark.parametrize("name", SHARED)
def testSharedSources(shared, tmp_path, name):
    """By content: a file under another name is the same."""
    source = shared / "models" / name
    assert recognise(source) == SHARED[name]
    if source.suffix in (".pt", ".ckpt"):
        assert recognise(shutil.copy(source, tmp_path / "weights.bin")) == SHARED[name]


def testNeuroChem(tmp_path, capsys):
    folder = writeNeuroChem(tmp_path / "small")
    report = convert(folder, tmp_path / "m.safetensors", check=False)
    assert report.path == str(tmp_path / "m.safetensors") and report.summary() in capsys.readouterr().out
    assert convert(folder, tmp_path / "n.safetensors", origin="torchani", check=False, quiet=True, members=[1]).notes
    assert capsys.readouterr().out == ""
    assert FlashModel(str(tmp_path / "n.safetensors")).getNumMembers() == 1


def testStateDictInMemory(tmp_path):
    convert(stateDict("2.9"), tmp_path / "m.safetensors", check=False, quiet=True, radialCutoff=4.5, angularCutoff=3.1)
    assert FlashModel(str(tmp_path / "m.safetensors")).getNumMembers() == 2


def testNamedModel(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHANI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    writeNeuroChem(tmp_path / "Neurochem" / "ani-2x_8x")
    convert("ani2x", tmp_path / "m.safetensors", check=False, quiet=True, name="mine")
    assert FlashModel(str(tmp_path / "m.safetensors")).getName() == "mine"


def testModelFileIsCheckedAndCopied(tmp_path):
    convert(writeNeuroChem(tmp_path / "small"), tmp_path / "m.safetensors", check=False, quiet=True)
    report = convert(tmp_path / "m.safetensors", tmp_path / "copy", quiet=True)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "m.safetensors").read_bytes() and "copied" in report.summary()
    with pytest.raises(ConversionError, match="model file already; the options members"):
        convert(tmp_path / "m.safetensors", tmp_path / "copy2", quiet=True, members=[0])
    data = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "cut").write_bytes(data[:-4])
    with pytest.raises(Exception, match="cut"):
        convert(tmp_path / "cut", tmp_path / "copy2", quiet=True)
    assert not (tmp_path / "copy2").exists()


def testNotRecognised(tmp_path):
    output = tmp_path / "m.safetensors"
    with pytest.raises(FileNotFoundError, match="no file or folder .*absent"):
        convert(str(tmp_path / "absent"), output)
    (tmp_path / "text").write_text("HEADER PROTEIN")
    with pytest.raises(ConversionError, match=r"text is not recognised: it begins with b'HEADER PROTEIN'.*TorchANI.*mlcg.*SchNetPack"):
        convert(tmp_path / "text", output)
    with pytest.raises(ConversionError, match=r"dict with 1 keys: 'a'\. Known are"):
        convert({"a": np.ones(2)}, output)
    with pytest.raises(ConversionError, match=r"The list is not recognised.*builtins.int"):
        convert([1, 2], output)
    header = json.dumps({"__metadata__": {"format": "pt"}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "foreign").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ConversionError, match="foreign is not recognised"):
        convert(tmp_path / "foreign", output)
    with pytest.raises(ConversionError, match="'gromacs' is not known; known are torchani, mlcg"):
        convert(tmp_path / "text", output, origin="gromacs")
    with pytest.raises(ConversionError, match="'memebers' is not known for torchani; it has members"):
        convert(writeNeuroChem(tmp_path / "small"), output, memebers=[0])
    assert not output.exists()


def testListsOfSources(tmp_path):
    """Every entry is looked at, and origins without ensembles of files say so."""
    output = tmp_path / "m.safetensors"
    folder, model = writeNeuroChem(tmp_path / "small"), stateDict("2.2")
    with pytest.raises(ConversionError, match="one path, state dict or live model; this is a list of 2 sources"):
        convert([folder, folder], output)
    other = {"distance_expansion.offset": 0, "interactions.0.conv.lin1.weight": 0, "lin1.weight": 0}
    with pytest.raises(ConversionError, match="2 sources are of torchani and pyg"):
        recognise([model, other])
    with pytest.raises(FileNotFoundError, match="absent"):
        recognise([folder, tmp_path / "absent"])
    with pytest.raises(ConversionError, match=r"mlcg is one network: this is a list of 2 sources.*priors=FILE"):
        convert([tmp_path / "a", tmp_path / "b"], output, origin="mlcg")


def testMessagesOnTheCommandLine():
    """An option's name in a message stands before a placeholder for its value, so that `--structures .` cannot come of it."""
    for path in Path(openmmflash.convert.__file__).parent.glob("*.py"):
        for line in path.read_text().splitlines():
            if '"' in line:
                assert not re.search(r"\b(cutoff|priors|structures|origin|energyKey|mapping|key\}|\w+Unit)=(?=[ ,.;)])", line), line


def testForeignTorchModule(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch, for a module that is no model")
    with pytest.raises(ConversionError, match="Linear is not recognised"):
        convert(torch.nn.Linear(2, 2), tmp_path / "m.safetensors")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "l.pt")
    with pytest.raises(ConversionError, match="torch.nn.modules.linear.Linear"):
        convert(tmp_path / "l.pt", tmp_path / "m.safetensors")


def testEveryOriginIsComplete():
    """The table and the modules agree."""
    import importlib

    for origin, (function, recognises, text) in ORIGINS.items():
        module = importlib.import_module(f"openmmflash.convert.{origin}")
        assert callable(getattr(module, function)) and callable(getattr(module, recognises)) and text
        assert not getattr(module, recognises)({}) and not getattr(module, recognises)([])
