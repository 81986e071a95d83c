# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Wrong model files, forces and XML: each is refused with a message that names the value, and none ends the interpreter.

The tables are in wrong_models.py and wrong_forces.py. The same cases run once more in a process of their own, as do some thousand
random damages to valid files; by hand: `python test_wrong_inputs.py mutations SEED NUMBER`.
"""

import os
import pickle
import random
import subprocess
import sys
import zipfile

import openmm
import pytest
import wrong_forces
import wrong_models
from random_models import PARTS, makeModel

from openmmflash import FlashModel
from openmmflash.convert._writer import modelBytes
from platforms import PLATFORMS, eachPlatform


def checkMessage(message, texts, name):
    for text in texts:
        assert text in message, f"{name}: {message!r} should contain {text!r}"


@pytest.mark.parametrize("name", wrong_models.CASES)
def test_model(name):
    make, *texts = wrong_models.CASES[name]
    data = make()
    with pytest.raises(openmm.OpenMMException) as error:
        FlashModel.fromBytes(data, "the file")
    checkMessage(str(error.value), ["the file: ", *texts], name)
    assert len(str(error.value)) < 1000


def test_unchangedFilesAreValid():
    """What the cases start from is read: they fail because of their change."""
    for name in PARTS:
        data = modelBytes(*PARTS[name]())
        assert FlashModel.fromBytes(wrong_models.join(*wrong_models.split(data))).getArchitecture()
    assert FlashModel.fromBytes(wrong_models.prior()()).getNumPriors() == 1


@pytest.mark.parametrize("name", wrong_forces.CASES)
@eachPlatform
def test_force(platform, name):
    make, expected, *texts = wrong_forces.CASES[name]
    with pytest.raises(expected) as error:
        make(platform)
    checkMessage(str(error.value), wrong_forces.OTHER_TEXTS.get((platform.name, name), texts), name)


@pytest.mark.parametrize("name", PARTS)
def test_truncated(name):
    """A file that ends too early, anywhere."""
    data = modelBytes(*PARTS[name]())
    for size in [*range(64), *range(64, len(data), max(1, len(data) // 200)), len(data) - 1]:
        with pytest.raises(openmm.OpenMMException, match="^cut: ") as error:
            FlashModel.fromBytes(data[:size], "cut")
        assert any(character.isdigit() for character in str(error.value)), "the message should say how many bytes there are"


def makeZip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": {}}))


OTHER_FILES = {
    "empty": lambda path: path.write_bytes(b""),
    "PDB": lambda path: path.write_text("ATOM      1  CH3 ACE A   1      -2.888   0.842   0.860  1.00  0.00           C\n" * 3),
    "JSON": lambda path: path.write_text('{"architecture": "ani"}'),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": [1.0] * 100})),
    "torch": makeZip,
    "folder": lambda path: path.mkdir(),
    "missing": lambda path: None,
    "in a missing folder": lambda path: None,
    "below a file": lambda path: path.parent.write_text("x"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_otherFiles(tmp_path, kind):
    path = tmp_path / {"in a missing folder": "no/such.safetensors", "below a file": "file/x"}.get(kind, f"{kind} é.safetensors")
    OTHER_FILES[kind](path)
    with pytest.raises(openmm.OpenMMException) as error:
        FlashModel(path)
    reason = {
        "folder": "s a directory",
        "missing": "No such file",
        "in a missing folder": "No such file",
        "below a file": "Not a directory",
    }
    texts = [str(path), reason.get(kind, "not a safetensors file")]
    checkMessage(str(error.value), texts, kind)


def test_pathsOfAnyKind(tmp_path):
    """Paths that Python or the file system find odd; errors about them are errors of Python."""
    data = modelBytes(*PARTS["ani"]())
    for name in ("plain", "with space", "日本語", "x" * 200, os.fsdecode(b"\xff\xfe")):
        path = tmp_path / name
        with pytest.raises(openmm.OpenMMException, match="No such file"):
            FlashModel(path)
        path.write_bytes(data)
        for way in (path, str(path), os.fsencode(path)):
            assert FlashModel(way).getName() == "random-ani"
    for wrong in (None, 5, 1.5, ["a"], object()):
        with pytest.raises(TypeError):
            FlashModel(wrong)
    with pytest.raises(ValueError, match="null"):
        FlashModel("a\0b")
    for wrong in (None, "text", 5, [1, 2]):
        with pytest.raises(TypeError):
            FlashModel.fromBytes(wrong)


GETTERS = {
    "type": ["getTypeName", "getTypeAtomicNumber", "getTypeMass", "getTypeEnergy"],
    "prior": ["getPriorName", "getPriorForm", "getPriorArity", "getPriorTypes", "getPriorNumParameters", "getPriorParameters"],
}


@pytest.mark.parametrize("index", [-1, 3, 2147483647, -2147483648])
def test_modelIndices(index):
    model = FlashModel.fromBytes(wrong_models.prior()())
    for what, getters in GETTERS.items():
        for getter in getters:
            with pytest.raises(openmm.OpenMMException, match=f"{what} {index} does not exist"):
                getattr(model, getter)(index)
            with pytest.raises((TypeError, OverflowError)):
                getattr(model, getter)(2**31)
            with pytest.raises(TypeError):
                getattr(model, getter)(0.0)
    for name in ("X", "", "h", "H "):
        with pytest.raises(openmm.OpenMMException, match=f'no type "{name}"; this model .* knows H C O'):
            model.getTypeIndex(name)
    assert makeModel("mlcg").getTypeName(2) == ""  # an index that is not a type is no error


def damage(data, rng):
    """Change one place of a bytearray."""
    i = rng.randrange(len(data) + 1)
    kind = rng.randrange(6)
    if kind == 0:
        data[i : i + 1] = bytes([rng.randrange(256)])
    elif kind == 1:
        data[i : i + 1] = bytes(byte ^ 1 << rng.randrange(8) for byte in data[i : i + 1])
    elif kind == 2:
        del data[i : i + rng.randint(1, 20)]
    elif kind == 3:
        data[i:i] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
    elif kind == 4:
        j = rng.randrange(len(data) + 1)
        data[i : i + rng.randint(0, 16)] = data[j : j + rng.randint(1, 24)]
    else:
        data[i : i + rng.randint(0, 2)] = rng.choice([b"0", b"9", b"-", b"e9", b'"', b"{", b"]", b",", b"null", b"\\", b"\\u", b"9" * 18])


def mutate(data, rng):
    """A valid file damaged at one to four places, most of them in the header, whose stated length mostly follows."""
    size = int.from_bytes(data[:8], "little")
    header, body = bytearray(data[8 : 8 + size]), bytearray(data[8 + size :])
    for _ in range(rng.randint(1, 4)):
        damage(header if rng.random() < 0.8 else body, rng)
    stated = rng.choice([len(header)] * 8 + [size, rng.getrandbits(64) >> rng.randrange(64)])
    result = stated.to_bytes(8, "little") + header + body
    return result[: rng.randrange(len(result))] if rng.random() < 0.1 else result


def runMutations(seed, number):
    """Load damaged files; what still loads is used. Prints how many loaded and how many were refused."""
    rng = random.Random(seed)
    files = [modelBytes(*PARTS[name]()) for name in PARTS] + [wrong_models.prior()()]
    loaded = 0
    for i in range(number):
        data = mutate(rng.choice(files), rng)
        with open("mutation.bin", "wb") as file:
            file.write(data)  # stays behind after a crash
        try:
            model = FlashModel.fromBytes(data, f"mutation {i}")
        except openmm.OpenMMException as error:
            assert str(error).startswith(f"mutation {i}: "), error
            continue
        loaded += 1
        assert model.summary() and model.getMetadata() and model.getBytes() == data
        wrong_forces.evaluateSomehow(model)
    print(f"loaded {loaded}, refused {number - loaded}")


def runCases():
    """All cases of the tables, without pytest around them; the last name printed is the one that ended the process."""
    for name, (make, *_) in wrong_models.CASES.items():
        print(name, flush=True)
        try:
            FlashModel.fromBytes(make())
        except openmm.OpenMMException:
            continue
        raise AssertionError(f"{name}: no error")
    for platform in PLATFORMS:
        for name, (make, expected, *_) in wrong_forces.CASES.items():
            print(platform.name, name, flush=True)
            try:
                make(platform)
            except expected:
                continue
            raise AssertionError(f"{name}: no error")


def runAlone(folder, *arguments):
    run = subprocess.run([sys.executable, os.path.abspath(__file__), *arguments], cwd=folder, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, f"exit status {run.returncode}\n{run.stdout[-500:]}\n{run.stderr[-2000:]}"
    return run.stdout


def test_noCaseEndsTheProcess(tmp_path):
    # OpenMM warns of PoCL at each Context.
    lines = [line for line in runAlone(tmp_path, "cases").splitlines() if not line.startswith("WARNING: Using an unsupported OpenCL")]
    assert len(lines) == len(wrong_models.CASES) + len(PLATFORMS) * len(wrong_forces.CASES) >= 40


@pytest.mark.parametrize("seed", range(3))
def test_randomDamage(tmp_path, seed):
    words = runAlone(tmp_path, "mutations", str(seed), "1500").replace(",", "").split()
    loaded, refused = int(words[1]), int(words[3])
    assert loaded + refused == 1500
    assert loaded > 10 and refused > 500, "damages should be of both kinds"


if __name__ == "__main__":
    if sys.argv[1:] == ["cases"]:
        runCases()
    elif len(sys.argv) == 4 and sys.argv[1] == "mutations":
        runMutations(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(__doc__)
