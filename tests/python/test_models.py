# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Named models: where they are looked for, what the cache does, and what is said when they are not there."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_neurochem import stateDict, writeNeuroChem
from test_torchani_reference import wheelFolder

from openmmflash import loadModel
from openmmflash.convert import convert
from openmmflash.models import ModelNotFoundError, cacheFolder, findModel, findSource


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A home, cache and TorchANI data folder of their own, and no installed torchani."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("OPENMMFLASH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHANI_DATA_DIR", str(tmp_path / "data"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torchani" else find(name, *rest))
    return tmp_path


def testNotInstalled(places):
    with pytest.raises(ModelNotFoundError) as error:
        loadModel("ani1x")
    message = str(error.value)
    assert "pip install --no-deps torchani==2.2.4" in message and "torchani.models.ANI1x()" in message
    for place in (
        places / "home/.local/torchani/ani-1x_8x",
        places / "data/Neurochem/ani-1x_8x",
        places / "data/StateDicts/ani1x_state_dict.pt",
    ):
        assert f"{place}: absent" in message
    with pytest.raises(ModelNotFoundError) as error:
        loadModel("ani2x")
    assert "pip install" not in str(error.value), "no wheel has ANI-2x"
    assert not (places / "cache").exists()


def testEmptyAndIncompleteFilesAreNotTaken(places):
    folder = writeNeuroChem(places / "data" / "Neurochem" / "ani-2x_8x")
    (places / "data" / "StateDicts").mkdir()
    (places / "data" / "StateDicts" / "ani2x_state_dict.pt").write_bytes(b"")
    for file in [folder / "small.params", *folder.glob("train0/networks/*")]:
        file.write_bytes(b"")
    with pytest.raises(ModelNotFoundError, match=r"13 of its 26 files are empty[^$]*ani2x_state_dict.pt: empty"):
        findSource("ani2x")
    shutil.rmtree(folder / "train0")
    shutil.rmtree(folder / "train1")
    with pytest.raises(ModelNotFoundError, match="incomplete"):
        findSource("ani2x")


def testOrderOfPlaces(places):
    """NeuroChem files before state dicts: they have the constants in double."""
    torch = pytest.importorskip("torch", reason="needs torch, to write a state dict")
    (places / "data" / "StateDicts").mkdir(parents=True)
    path = places / "data" / "StateDicts" / "ani1ccx_state_dict.pt"
    torch.save({key: torch.tensor(value) for key, value in stateDict("2.9").items()}, path)
    assert findSource("ani1ccx") == path
    folder = writeNeuroChem(places / "data" / "Neurochem" / "ani-1ccx_8x")
    assert findSource("ani1ccx") == folder
    old = writeNeuroChem(places / "home" / ".local" / "torchani" / "ani-1ccx_8x")
    assert findSource("ani1ccx") == old


def testConvertedOnceAndAgainWhenChanged(places, capsys):
    folder = writeNeuroChem(places / "data" / "Neurochem" / "ani-2x_8x")
    path = findModel("ani2x")
    assert path.parent == places / "cache" and "NeuroChem files" in capsys.readouterr().err
    model = loadModel("ANI-2x")
    assert model.getName() == "ani2x" and model.getNumMembers() == 2 and model.getNumTypes() == 2
    stamp = path.stat().st_mtime_ns
    assert findModel("ani2x") == path and path.stat().st_mtime_ns == stamp and capsys.readouterr().err == ""
    one = loadModel("ani2x", members=[1])
    assert one.getName() == "ani2x_1" and one.getNumMembers() == 1 and len(list(path.parent.iterdir())) == 2
    text = (folder / "sae_linfit.dat").read_text()
    (folder / "sae_linfit.dat").write_text(text.replace("-0.5978583943827134", "-0.2500000000000000"))  # as long as before
    assert findModel("ani2x") != path
    assert loadModel("ani2x").getTypeEnergy(0) == pytest.approx(-0.25 * 2625.4996394798254, rel=1e-14)


def testMembersAreChecked(places):
    """No choice is silently another one, and none makes a file in the cache before it is known to be right."""
    writeNeuroChem(places / "data" / "Neurochem" / "ani-2x_8x")
    for members, message in (
        ([], "members is empty"), (iter(()), "members is empty"), ([0.9], "members has 0.9"), (["0"], "members has '0'"),
        ([True], "members has True"), ([-1], "members has -1"), ([1, 1], r"members is \[1, 1\]; each"), ([0, 2], "the model has 2 members"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            loadModel("ani2x", members=members)
    assert not (places / "cache").exists() or not list((places / "cache").iterdir())
    assert loadModel("ani2x", members=(k for k in (1, 0))).getName() == "ani2x_1_0"
    assert loadModel("ani2x", members=np.array([1])).getName() == "ani2x_1"


def testNothingHeavyIsImported(places):
    """A named model is converted without torch and TorchANI, which would be imported into the user's process, though they be there."""
    writeNeuroChem(places / "data" / "Neurochem" / "ani-2x_8x")
    code = (
        "import sys; from openmmflash import loadModel; loadModel('ani2x'); print([n for n in ('torch', 'torchani') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def testTwoProcessesAtOnce(places):
    writeNeuroChem(places / "data" / "Neurochem" / "ani-2x_8x")
    code = "from openmmflash.models import findModel; print(findModel('ani2x'))"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate()[0].strip() for process in processes}
    assert all(process.returncode == 0 for process in processes) and len(outputs) == 1
    assert os.listdir(places / "cache") == [os.path.basename(outputs.pop())]
    assert loadModel("ani2x").getNumMembers() == 2


def testCacheFolder(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENMMFLASH_CACHE", str(tmp_path))
    assert cacheFolder() == tmp_path
    monkeypatch.delenv("OPENMMFLASH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cacheFolder() == tmp_path / "x" / "openmm-flash"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the XDG specification
    assert cacheFolder() == Path.home() / ".cache" / "openmm-flash"


def testCacheThatCannotBeWritten(places, monkeypatch):
    writeNeuroChem(places / "data" / "Neurochem" / "ani-2x_8x")
    (places / "file").write_text("")
    monkeypatch.setenv("OPENMMFLASH_CACHE", str(places / "file" / "cache"))
    with pytest.raises(OSError, match="Set OPENMMFLASH_CACHE to a folder that can be written"):
        loadModel("ani2x")


def testPathsAndUnknownNames(places, monkeypatch):
    writeNeuroChem(places / "data" / "Neurochem" / "ani-2x_8x")
    path = shutil.copy(findModel("ani2x"), places / "mine.safetensors")
    assert findModel(path) == path and loadModel(str(path)).getNumTypes() == 2
    with pytest.raises(ModelNotFoundError, match="neither a model file ani3 nor a model of this name; the names are ani1x, ani1ccx, ani2x"):
        loadModel("ani3")
    with pytest.raises(ModelNotFoundError, match="is a folder"):
        loadModel(places)
    with pytest.raises(ValueError, match="members="):
        loadModel(path, members=[0])
    (places / "bad").write_bytes(b"no model")
    with pytest.raises(Exception, match="bad"):
        loadModel(places / "bad")
    monkeypatch.chdir(places)
    shutil.copy(path, "ani1x")
    assert loadModel("./ani1x").getNumTypes() == 2
    with pytest.raises(ModelNotFoundError):
        loadModel("ani1x")
    # A converter takes the same for a name.
    with pytest.raises(ModelNotFoundError, match="The model ani1x is not installed"):
        convert("ani1x", "out", quiet=True)
    assert "was copied" in convert("./ani1x", "out", quiet=True).kind


def testWheel(tmp_path, monkeypatch):
    """ANI-1x from the installed package, as README's first command takes it."""
    if wheelFolder() is None:
        pytest.skip("needs the wheel of torchani==2.2.4 (--no-deps is enough): not installed")
    monkeypatch.setenv("OPENMMFLASH_CACHE", str(tmp_path / "cache"))
    model = loadModel("ani1x")
    assert model.getNumMembers() == 8 and [model.getTypeName(t) for t in range(model.getNumTypes())] == ["H", "C", "N", "O"]
    assert model.getCutoff() == pytest.approx(0.52) and np.isclose(model.getTypeMass(1), 12.011, atol=1e-3)
