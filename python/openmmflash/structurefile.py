# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Structure files: positions, types and interaction lists of a (coarse-grained) molecule, written as docs/structure-format.md says.

A structure file is an .npz archive of plain numpy arrays. It never holds pickled objects, and reading one executes nothing.
"""

import ast
import io
import os
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from openmm import unit

KEYS = ("positions", "types", "symbols", "masses", "box", "groups", "exclusions")
UNITS = {"positions": unit.nanometer, "masses": unit.dalton, "box": unit.nanometer}
TERM_PARTS = ("particles", "parameters")
# Limits of what a file may make us allocate: of a header (numpy's own), of all arrays, and of arrays out of a file much smaller.
MAX_HEADER, MAX_BYTES = 10000, 2 << 30
MAX_RATIO, FREE_BYTES = 200, 64 << 20
# What the standard library and numpy raise for damaged archives (RuntimeError: encrypted ones and nesting too deep to parse).
DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, SyntaxError, MemoryError)


class StructureError(ValueError):
    """Something is wrong with a structure; the message names the array, the index and the value."""


@dataclass
class Terms:
    """The interaction list of one prior.

    Attributes
    ----------
    particles : numpy.ndarray
        [m, k] indices of the k particles of each term, int64.
    parameters : numpy.ndarray or None
        [m, p] parameters of each term in the model's units, float64; None where the model's table has them by types.
    """

    particles: np.ndarray
    parameters: np.ndarray | None = None


class Structure:
    """A checked structure: one molecule (or several, see `groups`) with one or more frames of positions.

    Parameters
    ----------
    positions : array or Quantity
        [n, 3] or [frames, n, 3], nm if it has no unit.
    types : array of int, optional
        [n] the model's type of each particle. Exactly one of `types` and `symbols` is needed.
    symbols : sequence of str, optional
        [n] the name of each particle's type: an element's symbol or a bead's name.
    masses : array or Quantity, optional
        [n] amu, positive.
    box : array or Quantity, optional
        [3, 3] periodic box vectors, nm if they have no unit, one a row, a along x and b in the xy plane as everywhere in OpenMM.
    groups : array of int, optional
        [n] particles of different groups do not see each other through the model.
    exclusions : array of int, optional
        [m, 2] pairs left out of the model's pair prior. An empty list says that every pair counts; None that nothing is known.
    terms : dict of str to Terms, or to an array of particles, optional
        The interaction list of each prior.
    source : str
        What to call the structure in error messages.

    Raises
    ------
    StructureError
        Naming the array, the index and the value that is wrong.
    """

    def __init__(
        self, positions, types=None, symbols=None, masses=None, box=None, groups=None, exclusions=None, terms=None, source="structure"
    ):
        self.source = source
        self.positions = self._real(
            "positions", positions, "[n, 3] or [frames, n, 3]", lambda s: len(s) in (2, 3) and s[-1] == 3 and 0 not in s
        )
        n = self.numParticles

        def perParticle(shape):
            return shape == (n,)

        if (types is None) == (symbols is None):
            both = "are both" if types is not None else "is neither"
            raise StructureError(f"{source}: exactly one of 'types' and 'symbols' is needed, and there {both}.")
        self.types = None if types is None else self._notNegative("types", self._integers("types", types, f"[{n}]", perParticle))
        self.symbols = None if symbols is None else self._names(symbols, n)
        self.masses = None if masses is None else self._real("masses", masses, f"[{n}]", perParticle)
        if masses is not None and not (self.masses > 0).all():
            i = int(np.argmin(self.masses > 0))
            raise StructureError(f"{source}: masses[{i}] is {self.masses[i]}; masses are in amu and positive.")
        self.box = None if box is None else self._checkedBox(box)
        self.groups = None if groups is None else self._notNegative("groups", self._integers("groups", groups, f"[{n}]", perParticle))
        self.exclusions = None if exclusions is None else self._checkedExclusions(exclusions)
        self.terms = {name: self._checkedTerms(name, value) for name, value in (terms or {}).items()}

    @property
    def numParticles(self):
        return self.positions.shape[-2]

    @property
    def numFrames(self):
        return 1 if self.positions.ndim == 2 else len(self.positions)

    def getPositions(self, frame=0):
        """Positions [n, 3] of one frame in nm. Negative indices count from the end."""
        if not -self.numFrames <= frame < self.numFrames:
            raise StructureError(f"{self.source}: there is no frame {frame}; it has {self.numFrames}.")
        return self.positions if self.positions.ndim == 2 else self.positions[frame]

    def getTypes(self, model):
        """The model's type [n] of each particle.

        Raises
        ------
        StructureError
            A type or symbol that the model does not have, naming the particle and what the model knows.
        """
        names = [model.getTypeName(i) for i in range(model.getNumTypes())]
        known = {name: index for index, name in enumerate(names) if name}
        if self.symbols is not None:
            for i, symbol in enumerate(self.symbols):
                if symbol not in known:
                    raise StructureError(f"{self.source}: particle {i} is {symbol!r}; this model knows {' '.join(known)}.")
            return np.array([known[symbol] for symbol in self.symbols], dtype=np.int64)
        for i, index in enumerate(self.types):
            if index >= len(names) or not names[index]:
                allowed = ", ".join(f"{known[name]} ({name})" for name in known)
                raise StructureError(f"{self.source}: particle {i} has type {index}, which this model does not have; it has {allowed}.")
        return self.types

    def __eq__(self, other):
        if not isinstance(other, Structure):
            return NotImplemented
        mine, theirs = structureArrays(self), structureArrays(other)
        return mine.keys() == theirs.keys() and all(np.array_equal(mine[key], theirs[key]) for key in mine)

    __hash__ = None

    def _fail(self, key, problem):
        raise StructureError(f"{self.source}: {key} {problem}")

    def _array(self, key, value, kinds, kindName, shapeText, shapeOk):
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise StructureError(f"{self.source}: {key} is not a regular array: {error}.") from error
        # An empty list has numpy's default dtype, which says nothing.
        if array.dtype.kind not in kinds and array.size:
            self._fail(key, f"has dtype {array.dtype}; it holds {kindName}.")
        if not shapeOk(array.shape):
            self._fail(key, f"has shape {list(array.shape)}; it must be {shapeText}.")
        return array

    def _real(self, key, value, shapeText, shapeOk):
        if unit.is_quantity(value):
            if key not in UNITS:
                self._fail(key, f"has a unit, {value.unit.get_symbol()}; it holds plain numbers in the model's units.")
            if not value.unit.is_compatible(UNITS[key]):
                self._fail(key, f"is in {value.unit.get_symbol()}; {UNITS[key].get_name()} is needed.")
            value = value.value_in_unit(UNITS[key])
        array = self._array(key, value, "fiu", "real numbers", shapeText, shapeOk).astype(np.float64)
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            self._fail(key, f"is {array[tuple(bad[0])]} at index {bad[0].tolist()}; only finite numbers are allowed.")
        return array

    def _integers(self, key, value, shapeText, shapeOk):
        array = self._array(key, value, "iu", "integers", shapeText, shapeOk)
        if array.size and array.max() > np.iinfo(np.int32).max:
            self._fail(key, f"has the value {array.max()}; the largest allowed is {np.iinfo(np.int32).max}.")
        return array.astype(np.int64)

    def _notNegative(self, key, array):
        if (array < 0).any():
            i = int(np.argmax(array < 0))
            self._fail(f"{key}[{i}]", f"is {array[i]}; it must be 0 or larger.")
        return array

    def _names(self, symbols, n):
        array = self._array("symbols", symbols, "U", "text", f"[{n}]", lambda s: s == (n,))
        return [str(symbol) for symbol in array]

    def _checkedBox(self, box):
        box = self._real("box", box, "[3, 3]", lambda s: s == (3, 3))
        if np.triu(box, 1).any():
            self._fail("box", f"is {box.tolist()}; OpenMM needs a along x and b in the xy plane. Rotate box and positions.")
        if not (np.diag(box) > 0).all():
            self._fail("box", f"has the diagonal {np.diag(box).tolist()}; its elements must be positive.")
        return box

    def _inRange(self, key, array):
        n = self.numParticles
        bad = np.argwhere((array < 0) | (array >= n))
        if len(bad):
            self._fail(f"{key}{bad[0].tolist()}", f"is {array[tuple(bad[0])]}; the {n} particles have the indices 0 to {n - 1}.")
        for row in range(array.shape[0] if array.shape[1] > 1 else 0):
            if len(set(array[row].tolist())) < array.shape[1]:
                self._fail(f"{key}[{row}]", f"is {array[row].tolist()}; a particle may occur only once.")

    def _checkedExclusions(self, exclusions):
        array = self._integers("exclusions", _emptyAs(exclusions, 2), "[m, 2]", lambda s: len(s) == 2 and s[1] == 2)
        self._inRange("exclusions", array)
        seen = {}
        for row, pair in enumerate(map(tuple, np.sort(array, axis=1).tolist())):
            if pair in seen:
                self._fail(f"exclusions[{row}]", f"is the pair {pair}, as exclusions[{seen[pair]}] is already.")
            seen[pair] = row
        return array

    def _checkedTerms(self, name, value):
        if not isinstance(name, str) or not name or "/" in name:
            raise StructureError(f"{self.source}: {name!r} cannot be a prior's name; it must be a string without '/' that is not empty.")
        if isinstance(value, Terms):
            particles, parameters = value.particles, value.parameters
        else:
            particles, parameters = value, None
        key = f"terms/{name}/particles"
        particles = self._integers(key, particles, "[m, k] with k from 2 to 4", lambda s: len(s) == 2 and 2 <= s[1] <= 4)
        self._inRange(key, particles)
        if parameters is not None:
            m = len(particles)
            parameters = self._real(f"terms/{name}/parameters", parameters, f"[{m}, p]", lambda s: len(s) == 2 and s[0] == m and s[1] > 0)
        return Terms(particles, parameters)


def readStructure(path):
    """Read and check a structure file (.npz).

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    Structure

    Raises
    ------
    FileNotFoundError
        There is no such file.
    StructureError
        The file is damaged, holds pickled objects, a key that the format does not have, or a wrong value.
    """
    path = os.fspath(path)
    arrays = _readArchive(path)
    terms = {}
    for key in arrays:
        parts = key.split("/")
        if len(parts) == 3 and parts[0] == "terms" and parts[1] and parts[2] in TERM_PARTS:
            terms.setdefault(parts[1], {})[parts[2]] = arrays[key]
        elif key not in KEYS:
            allowed = ", ".join(KEYS) + ", terms/NAME/particles, terms/NAME/parameters"
            raise StructureError(f"{path}: unknown key {key!r}; a structure file has {allowed}.")
    if "positions" not in arrays:
        raise StructureError(f"{path}: there is no 'positions'; it has {', '.join(arrays) or 'nothing'}.")
    for name, parts in terms.items():
        if "particles" not in parts:
            raise StructureError(f"{path}: there is terms/{name}/parameters but no terms/{name}/particles.")
    return Structure(
        **{key: arrays[key] for key in KEYS if key in arrays},
        terms={name: Terms(parts["particles"], parts.get("parameters")) for name, parts in terms.items()},
        source=path,
    )


def writeStructure(path, structure):
    """Write a structure file (.npz). It appears under its name only when complete, and equal structures give equal bytes.

    Returns
    -------
    str
        The path.
    """
    from .convert._writer import writeFileAtomically

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in structureArrays(structure).items():
            data = io.BytesIO()
            np.lib.format.write_array(data, array, version=(1, 0), allow_pickle=False)
            # A fixed date: zip entries carry one, and equal structures shall give equal files.
            archive.writestr(zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0)), data.getvalue(), zipfile.ZIP_DEFLATED)
    writeFileAtomically(path, buffer.getvalue())
    return os.fspath(path)


def structureArrays(structure):
    """The arrays of a structure file by key: what writeStructure writes."""
    arrays = {"positions": structure.positions}
    for key in KEYS[1:]:
        value = getattr(structure, key)
        if value is not None:
            arrays[key] = np.array(value)
    for name, terms in structure.terms.items():
        arrays[f"terms/{name}/particles"] = terms.particles
        if terms.parameters is not None:
            arrays[f"terms/{name}/parameters"] = terms.parameters
    return arrays


def isStructureFile(path):
    """Whether a file looks like a structure file, by content: a zip archive with an entry positions.npy."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "positions.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def _emptyAs(value, width):
    array = np.asarray(value)
    return np.zeros((0, width), dtype=np.int64) if array.shape == (0,) else array


def _readArchive(path):
    """All arrays of an .npz, read without numpy's loader, which allocates what a damaged header asks for."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuseHuge(path, sum(info.file_size for info in archive.infolist()))
            arrays = {}
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    raise StructureError(f"{path}: the archive holds {info.filename!r}, which is not an array.")
                key = info.filename[:-4]
                if key in arrays:
                    raise StructureError(f"{path}: the archive holds {key!r} twice.")
                with archive.open(info) as file:
                    arrays[key] = _readArray(file, info.file_size, f"{path}: {key}")
            return arrays
    except (FileNotFoundError, IsADirectoryError, PermissionError, StructureError):
        raise
    except DAMAGED as error:
        raise StructureError(f"{path}: not a readable structure file (.npz): {error}.") from error


def _refuseHuge(path, unpacked):
    """Before anything is unpacked. zipfile itself never unpacks more than an entry claims."""
    if unpacked > MAX_BYTES:
        raise StructureError(f"{path}: its arrays would unpack to {unpacked} bytes; at most {MAX_BYTES} are read. Use fewer frames.")
    packed = os.path.getsize(path)
    if unpacked > max(MAX_RATIO * packed, FREE_BYTES):
        raise StructureError(
            f"{path}: its arrays would unpack to {unpacked} bytes, {unpacked // packed} times its size; that is no structure's content."
        )


def _readArray(file, size, what):
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise StructureError(f"{what} is an array of numpy's format version {version}; 1.0 and 2.0 are read.")
    length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    if length > MAX_HEADER:
        raise StructureError(f"{what} has a header of {length} bytes; at most {MAX_HEADER} are read.")
    header = ast.literal_eval(file.read(length).decode("latin1"))
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"} or not isinstance(header["descr"], str):
        raise StructureError(f"{what} has an unusual header: {str(header)[:100]}; only plain arrays are read.")
    dtype, shape = np.dtype(header["descr"]), header["shape"]
    if dtype.hasobject:
        raise StructureError(f"{what} holds Python objects (dtype {dtype}); a structure file has numbers and text only.")
    if dtype.kind not in "fiuU":
        raise StructureError(f"{what} has dtype {dtype}; a structure file has real numbers, integers and text only.")
    if not isinstance(shape, tuple) or not all(isinstance(extent, int) and extent >= 0 for extent in shape):
        raise StructureError(f"{what} has the shape {shape}.")
    count = 1
    for extent in shape:
        count *= extent
    expected, found = count * dtype.itemsize, size - file.tell()
    if expected != found:
        raise StructureError(f"{what} has shape {list(shape)} and dtype {dtype}, which are {expected} bytes, but {found} are there.")
    data = file.read()
    if len(data) != expected:
        raise StructureError(f"{what} ends after {len(data)} of {expected} bytes.")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if header["fortran_order"] else "C")
