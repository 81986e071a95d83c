# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The writer of model files: the bytes that docs/model-format.md describes, whole or not at all."""

import json
import os
import stat

import numpy as np
import pytest
from random_models import ATOMS, aniParts

from openmmflash import FlashModel
from openmmflash.convert import ConversionError, modelBytes, writeModel
from openmmflash.convert._units import ENERGIES, LENGTHS

METADATA = {
    "architecture": "ani",
    "name": "tiny",
    "length_unit": "angstrom",
    "energy_unit": "hartree",
    "types": [{"name": "H", "atomic_number": 1}],
    "hyperparameters": {"radial_cutoff": np.float64(5.2), "celu_alpha": 0.1},
    "num_members": 2,
    "description": "Übung",
}


def parse(data):
    """(metadata, {name: (dtype, array, offset of its first byte in the file)}), read as the format's page says."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        assert begin == end, "a gap or an overlap"
        end = stop
        dtype = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}[entry["dtype"]]
        array = np.frombuffer(data[8 + length + begin : 8 + length + stop], dtype).reshape(entry["shape"])
        tensors[name] = (entry["dtype"], array, 8 + length + begin)
    assert 8 + length + end == len(data)
    return metadata, tensors


def testContent():
    given = {
        "half": np.arange(3, dtype=np.float16),
        "double": np.linspace(0, 1, 7).reshape(7, 1),
        "transposed": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "strided": np.arange(10, dtype=np.int64)[::3],
        "bigEndian": np.arange(5, dtype=">f8"),
        "empty": np.zeros((0, 4), dtype=np.int32),
        "scalar": np.array(2.5),
    }
    metadata, tensors = parse(modelBytes(METADATA, given))
    assert metadata["format"] == "openmm-flash" and metadata["format_version"] == "1"
    assert metadata["name"] == "tiny" and metadata["description"] == "Übung" and metadata["num_members"] == "2"
    assert json.loads(metadata["hyperparameters"]) == {"radial_cutoff": 5.2, "celu_alpha": 0.1}
    assert json.loads(metadata["types"]) == METADATA["types"]
    assert set(tensors) == set(given)
    for name, (_, array, offset) in tensors.items():
        assert array.shape == given[name].shape and np.array_equal(array, given[name]), name
        assert offset % array.itemsize == 0, f"{name} is not aligned"


def testDeterministic():
    given = {"b": np.ones(3), "a": np.zeros(2, np.float32), "c": np.ones((2, 2), np.int32)}
    reverse = dict(reversed(given.items()))
    assert modelBytes(METADATA, given) == modelBytes(dict(reversed(METADATA.items())), reverse)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array([[1, np.nan]]), ["'weight'", "nan", "[0, 1]"]),
        (np.array([1, 2, -np.inf], dtype=np.float16), ["'weight'", "-inf", "[2]"]),
        (np.array([True]), ["'weight'", "bool", "float64"]),
        (np.array([1 + 2j]), ["'weight'", "complex128"]),
        (np.array([1], dtype=np.uint8), ["'weight'", "uint8"]),
        (np.array(["a"]), ["'weight'"]),
        (np.array([None]), ["'weight'", "object"]),
    ],
)
def testRefusedTensors(value, words):
    with pytest.raises(ConversionError) as error:
        modelBytes(METADATA, {"good": np.ones(2), "weight": value})
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "blue"}, ["'colour'", "num_members"]),
        ({"name": None}, ["'name'", "None"]),
        ({"hyperparameters": {"cutoff": float("nan")}}, ["'hyperparameters'"]),
        ({"types": [{"name": object()}]}, ["'types'", "object"]),
        ({"format_version": 2}, ["'format_version'", "2", "'1'"]),
    ],
)
def testRefusedMetadata(change, words):
    with pytest.raises(ConversionError) as error:
        modelBytes({**METADATA, **change}, {})
    assert all(word in str(error.value) for word in words), error.value


def testMissingKey():
    with pytest.raises(ConversionError, match="lack energy_unit"):
        modelBytes({key: value for key, value in METADATA.items() if key != "energy_unit"}, {})


@pytest.mark.parametrize("name", ["", "__metadata__", 3])
def testRefusedNames(name):
    with pytest.raises(ConversionError, match="tensor's name"):
        modelBytes(METADATA, {name: np.ones(1)})


def testFileIsWholeOrAbsent(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    assert writeModel(path, METADATA, {"a": np.ones(2)}) == str(path)
    before = path.read_bytes()
    assert before == modelBytes(METADATA, {"a": np.ones(2)})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            writeModel(path, METADATA, {"a": np.zeros(2)})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.safetensors"], "a temporary file was left"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def testPermissionsFollowUmask(tmp_path):
    previous = os.umask(0o027)
    try:
        writeModel(tmp_path / "m", METADATA, {})
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o640


def testPlaces(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        writeModel(tmp_path / "absent" / "m.safetensors", METADATA, {})
    with pytest.raises(IsADirectoryError, match="is a folder"):
        writeModel(tmp_path, METADATA, {})


def testUnitsAreThoseOfTheReader():
    """Python's table and the C++ reader's: the same names, the same numbers."""
    for lengthUnit, length in LENGTHS.items():
        for energyUnit, energy in ENERGIES.items():
            model = FlashModel.fromBytes(modelBytes(*aniParts(units=(lengthUnit, energyUnit), types=ATOMS[:1])))
            assert (model.getLengthUnit(), model.getEnergyUnit()) == (length, energy)
