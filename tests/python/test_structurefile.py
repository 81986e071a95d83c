# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Structure files: written and read back, and every wrong one refused by name."""

import io
import tracemalloc
import zipfile

import numpy as np
import openmm
import pytest
from openmm import unit

from openmmflash import structurefile
from openmmflash.structurefile import Structure, StructureError, Terms, isStructureFile, readStructure, writeStructure

GOOD = {
    "positions": [[0.0, 0, 0], [0.38, 0, 0], [0.5, 0.36, 0]],
    "types": [20, 20, 3],
    "masses": [12.0, 12, 14],
    "box": [[3.0, 0, 0], [0.5, 3, 0], [-0.5, 0.5, 3]],
    "groups": [0, 0, 1],
    "exclusions": [[0, 1], [2, 0]],
    "terms/bonds/particles": [[0, 1], [1, 2]],
    "terms/angles/particles": [[0, 1, 2]],
    "terms/angles/parameters": [[10.0, -0.3]],
}


def write(path, **changes):
    arrays = {key: value for key, value in (GOOD | changes).items() if value is not None}
    np.savez(path, **arrays)
    return path


def testReads(tmp_path):
    """What numpy.savez wrote, as the documentation shows."""
    structure = readStructure(write(tmp_path / "s.npz"))
    assert structure.numParticles == 3 and structure.numFrames == 1
    assert structure.types.tolist() == [20, 20, 3] and structure.symbols is None and structure.masses.tolist() == [12, 12, 14]
    assert structure.exclusions.tolist() == [[0, 1], [2, 0]] and structure.groups.tolist() == [0, 0, 1]
    assert structure.terms["bonds"].particles.tolist() == [[0, 1], [1, 2]] and structure.terms["bonds"].parameters is None
    assert structure.terms["angles"].parameters.tolist() == [[10.0, -0.3]]
    np.testing.assert_array_equal(structure.box, GOOD["box"])


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def testNumbersOfAnyKind(tmp_path, dtype, order):
    positions = np.array(GOOD["positions"]).astype(dtype, order=order)
    structure = readStructure(write(tmp_path / "s.npz", positions=positions, types=np.array([20, 20, 3], ">i2")))
    np.testing.assert_array_equal(structure.positions, positions.astype(float))
    assert structure.positions.dtype == np.float64 and structure.types.tolist() == [20, 20, 3]


def testFramesAndSymbols(tmp_path):
    frames = np.arange(18.0).reshape(2, 3, 3)
    structure = readStructure(write(tmp_path / "s.npz", positions=frames, types=None, symbols=["H", "Cl", "H"]))
    assert structure.numFrames == 2 and structure.numParticles == 3 and structure.symbols == ["H", "Cl", "H"]
    np.testing.assert_array_equal(structure.getPositions(-1), frames[1])
    with pytest.raises(StructureError, match="no frame 2; it has 2"):
        structure.getPositions(2)


@pytest.mark.parametrize("changes", [{}, {"types": None, "symbols": ["H", "Cl", "H"]}, {"box": None, "masses": None, "exclusions": []}])
def testRoundTrip(tmp_path, changes):
    structure = readStructure(write(tmp_path / "a.npz", **changes))
    again = readStructure(writeStructure(tmp_path / "b.npz", structure))
    assert again == structure and again.exclusions.shape[1] == 2
    writeStructure(tmp_path / "c.npz", structure)
    assert (tmp_path / "b.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    with np.load(tmp_path / "b.npz", allow_pickle=False) as arrays:  # numpy reads what we write
        np.testing.assert_array_equal(arrays["positions"], structure.positions)


def testEmptyTermsKeepTheirArity(tmp_path):
    structure = Structure(GOOD["positions"], types=[1, 1, 1], terms={"d": Terms(np.zeros((0, 4), int), np.zeros((0, 7)))})
    again = readStructure(writeStructure(tmp_path / "s.npz", structure))
    assert again.terms["d"].particles.shape == (0, 4) and again.terms["d"].parameters.shape == (0, 7)


def testDifferentStructuresAreNotEqual(tmp_path):
    structure = readStructure(write(tmp_path / "a.npz"))
    assert structure != readStructure(write(tmp_path / "b.npz", masses=[12, 12, 15.0]))
    assert structure != readStructure(write(tmp_path / "b.npz", masses=None))
    assert structure != 3


NAN, INFINITE = float("nan"), float("inf")
WRONG = [
    ("no positions", {"positions": None}, "there is no 'positions'"),
    ("positions of one particle flat", {"positions": [0.0, 0, 0]}, r"positions has shape \[3\]; it must be \[n, 3\] or \[frames, n, 3\]"),
    ("two coordinates", {"positions": [[0.0, 0], [1, 1], [2, 2]]}, r"positions has shape \[3, 2\]"),
    ("no particles", {"positions": np.zeros((0, 3))}, r"positions has shape \[0, 3\]"),
    ("NaN", {"positions": [[0.0, 0, 0], [0, NAN, 0], [1, 1, 1]]}, r"positions is nan at index \[1, 1\]"),
    ("infinite", {"positions": [[0.0, 0, 0], [0, 0, 0], [1, 1, INFINITE]]}, r"positions is inf at index \[2, 2\]"),
    ("complex", {"positions": np.zeros((3, 3), complex)}, "dtype complex128"),
    ("neither types nor symbols", {"types": None}, "exactly one of 'types' and 'symbols' is needed, and there is neither"),
    ("both", {"symbols": ["H", "H", "H"]}, "there are both"),
    ("too few types", {"types": [1, 2]}, r"types has shape \[2\]; it must be \[3\]"),
    ("real types", {"types": [1.0, 2.0, 3.0]}, "types has dtype float64; it holds integers"),
    ("negative type", {"types": [1, -2, 3]}, r"types\[1\] is -2"),
    ("huge type", {"types": [1, 2**40, 3]}, "types has the value 1099511627776"),
    ("symbols are numbers", {"types": None, "symbols": [1, 2, 3]}, "symbols has dtype int64; it holds text"),
    ("mass zero", {"masses": [12, 0, 12]}, r"masses\[1\] is 0.0; masses are in amu and positive"),
    ("mass NaN", {"masses": [12, 12, NAN]}, r"masses is nan at index \[2\]"),
    ("box of one length", {"box": [3.0]}, r"box has shape \[1\]; it must be \[3, 3\]"),
    ("box not triangular", {"box": [[3.0, 1, 0], [0, 3, 0], [0, 0, 3]]}, "a along x and b in the xy plane"),
    ("box flat", {"box": [[3.0, 0, 0], [0, 3, 0], [0, 0, 0]]}, "its elements must be positive"),
    ("negative group", {"groups": [0, 0, -1]}, r"groups\[2\] is -1"),
    ("exclusion of nobody", {"exclusions": [[0, 3]]}, r"exclusions\[0, 1\] is 3; the 3 particles have the indices 0 to 2"),
    ("exclusion of one", {"exclusions": [[1, 1]]}, r"exclusions\[0\] is \[1, 1\]; a particle may occur only once"),
    ("exclusion twice", {"exclusions": [[0, 1], [1, 2], [1, 0]]}, r"exclusions\[2\] is the pair \(0, 1\), as exclusions\[0\] is already"),
    ("exclusion of three", {"exclusions": [[0, 1, 2]]}, r"exclusions has shape \[1, 3\]; it must be \[m, 2\]"),
    ("negative index", {"terms/bonds/particles": [[0, -1]]}, r"terms/bonds/particles\[0, 1\] is -1"),
    ("index out of range", {"terms/angles/particles": [[0, 1, 7]]}, r"terms/angles/particles\[0, 2\] is 7"),
    (
        "particle twice",
        {"terms/angles/particles": [[0, 1, 0]]},
        r"terms/angles/particles\[0\] is \[0, 1, 0\]; a particle may occur only once",
    ),
    ("term of one", {"terms/bonds/particles": [[0], [1]]}, r"shape \[2, 1\]; it must be \[m, k\] with k from 2 to 4"),
    (
        "parameters of another number",
        {"terms/angles/parameters": [[1.0, 2], [3, 4]]},
        r"parameters has shape \[2, 2\]; it must be \[1, p\]",
    ),
    ("parameters NaN", {"terms/angles/parameters": [[1.0, NAN]]}, r"terms/angles/parameters is nan at index \[0, 1\]"),
    ("parameters alone", {"terms/angles/particles": None}, "there is terms/angles/parameters but no terms/angles/particles"),
    ("unknown key", {"velocities": np.zeros((3, 3))}, "unknown key 'velocities'; a structure file has positions, types"),
    ("unknown part of a term", {"terms/bonds/atoms": [[0, 1]]}, "unknown key 'terms/bonds/atoms'"),
    ("term without a name", {"terms//particles": [[0, 1]]}, "unknown key 'terms//particles'"),
]


@pytest.mark.parametrize(("changes", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def testWrongContent(tmp_path, changes, message):
    path = write(tmp_path / "s.npz", **changes)
    with pytest.raises(StructureError, match=message) as caught:
        readStructure(path)
    assert "s.npz" in str(caught.value)


def testPickledObjectsAreNotRead(tmp_path):
    """An object array would need pickle, which executes code."""
    touched = tmp_path / "touched"

    class Trap:
        def __reduce__(self):
            return open, (str(touched), "w")

    np.savez(tmp_path / "s.npz", positions=np.array([Trap(), Trap()], dtype=object))
    with pytest.raises(StructureError, match="positions holds Python objects"):
        readStructure(tmp_path / "s.npz")
    assert not touched.exists()


def archive(path, entries):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries:
            file.writestr(name, data)
    return path


def npy(array, header=None):
    data = io.BytesIO()
    np.save(data, array)
    data = data.getvalue()
    if header is None:
        return data
    text = (header + " " * 200)[:117].encode() + b"\n"
    return data[:8] + len(text).to_bytes(2, "little") + text + data[10 + int.from_bytes(data[8:10], "little") :]


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s), }"
DAMAGED = [
    (
        "more than is there",
        [("positions.npy", npy(np.zeros((3, 3)), HEADER % "1000000000000, 3"))],
        "24000000000000 bytes, but 72 are there",
    ),
    ("negative extent", [("positions.npy", npy(np.zeros((3, 3)), HEADER % "-3, 3"))], r"shape \(-3, 3\)"),
    ("code in the header", [("positions.npy", npy(np.zeros((3, 3)), "__import__('os').system('true')"))], "not a readable structure file"),
    ("structured dtype", [("positions.npy", npy(np.zeros(3, [("a", "<f8"), ("b", "<i4")])))], "an unusual header"),
    ("not an array", [("positions.txt", b"0 0 0")], "'positions.txt', which is not an array"),
    ("no magic", [("positions.npy", b"0 0 0 0 0 0 0 0 0 0 0")], "not a readable structure file"),
    ("empty entry", [("positions.npy", b"")], "not a readable structure file"),
    ("twice", [("positions.npy", npy(np.zeros((3, 3)))), ("positions.npy", npy(np.ones((3, 3))))], "holds 'positions' twice"),
    ("nothing", [], "there is no 'positions'; it has nothing"),
]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("entries", "message"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED])
def testDamagedArchive(tmp_path, entries, message):
    with pytest.raises(StructureError, match=message):
        readStructure(archive(tmp_path / "s.npz", entries))


def peakOfReading(path, message):
    """Bytes that Python allocates until a file is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(StructureError, match=message):
            readStructure(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def testLongHeader(tmp_path):
    """A header is text that is parsed; megabytes of it, which compress to nothing, would cost gigabytes."""
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"1, " * 200000 + b"), }"
    data = b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("positions.npy", data)
    assert peakOfReading(tmp_path / "s.npz", f"header of {len(text)} bytes; at most 10000 are read") < 1e6


def testMuchOutOfLittle(tmp_path):
    """Arrays of zeros compress a thousandfold; a small file must not fill the memory."""
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("positions.npy", npy(np.zeros((3, 3))))
        with file.open("masses.npy", "w") as entry:
            for _ in range(100):
                entry.write(bytes(1 << 20))
    assert peakOfReading(tmp_path / "s.npz", r"would unpack to 104857\d\d\d bytes, \d{3,4} times its size") < 1e6


def testTooLarge(tmp_path, monkeypatch):
    write(tmp_path / "s.npz")
    monkeypatch.setattr(structurefile, "MAX_BYTES", 1000)
    with pytest.raises(StructureError, match=r"would unpack to \d+ bytes; at most 1000 are read"):
        readStructure(tmp_path / "s.npz")


def testManyEqualSymbolsAreNoBomb(tmp_path):
    structure = Structure(np.zeros((20000, 3)), symbols=["C"] * 20000)
    assert readStructure(writeStructure(tmp_path / "s.npz", structure)) == structure


def testTruncated(tmp_path):
    """Cut anywhere, a file is refused, never read in part."""
    data = write(tmp_path / "s.npz").read_bytes()
    for length in range(0, len(data), 97):
        (tmp_path / "t.npz").write_bytes(data[:length])
        with pytest.raises(StructureError, match="not a readable structure file"):
            readStructure(tmp_path / "t.npz")


def testAnyChangedByteIsNoCrash(tmp_path):
    """Changed bytes give a structure or a StructureError, nothing else."""
    data = write(tmp_path / "s.npz").read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(400):
        changed = bytearray(data)
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[position] = rng.integers(0, 256)
        (tmp_path / "t.npz").write_bytes(changed)
        try:
            readStructure(tmp_path / "t.npz")
        except StructureError:
            refused += 1
    assert refused > 200


def testOtherFiles(tmp_path):
    with pytest.raises(FileNotFoundError):
        readStructure(tmp_path / "absent.npz")
    np.save(tmp_path / "array.npy", np.zeros((3, 3)))
    with pytest.raises(StructureError, match="not a readable structure file"):
        readStructure(tmp_path / "array.npy")
    assert isStructureFile(write(tmp_path / "s.npz")) and not isStructureFile(tmp_path / "array.npy") and not isStructureFile(tmp_path)


def testUnits():
    """A Quantity, of a list or an array, counts in its own unit; what has the model's units has none."""
    plain = Structure([[0, 0, 0], [0.1, 0.2, 0]], types=[1, 1], masses=[12, 14], box=np.eye(3) * 2)
    for positions in (np.array([[0.0, 0, 0], [1, 2, 0]]), [openmm.Vec3(0, 0, 0), openmm.Vec3(1, 2, 0)]):
        given = Structure(
            positions * unit.angstrom, types=[1, 1], masses=np.array([12, 14]) * unit.dalton, box=np.eye(3) * 20 * unit.angstrom
        )
        np.testing.assert_allclose(given.positions, plain.positions, rtol=1e-14)
        assert given.masses.tolist() == [12, 14] and given.box.tolist() == plain.box.tolist()
    with pytest.raises(StructureError, match="masses is in nm; dalton is needed"):
        Structure(plain.positions, types=[1, 1], masses=[12, 14] * unit.nanometer)
    with pytest.raises(StructureError, match="parameters has a unit, /nm; .* in the model's units"):
        Structure(plain.positions, types=[1, 1], terms={"b": Terms([[0, 1]], np.ones((1, 2)) / unit.nanometer)})


def testArgumentsInPython():
    with pytest.raises(StructureError, match="'a/b' cannot be a prior's name"):
        Structure(GOOD["positions"], types=[1, 1, 1], terms={"a/b": [[0, 1]]})
    with pytest.raises(StructureError, match="not a regular array"):
        Structure([[0, 0, 0], [1, 1]], types=[1, 1])
