# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Read a structure from PDB, PDBx/mmCIF, (extended) XYZ or npz into one small object.

What a reader would decide silently (an alternate location, a guessed element, a dummy box) is written down in `LoadedStructure.notes`.
"""

import dataclasses
import os
import re
import warnings

import numpy as np

from . import structurefile
from .structurefile import StructureError

FORMATS = ("pdb", "pdbx", "xyz", "npz")
SUFFIXES = {
    ".pdb": "pdb",
    ".ent": "pdb",
    ".cif": "pdbx",
    ".mmcif": "pdbx",
    ".pdbx": "pdbx",
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".npz": "npz",
}
# Programs that have no box write CRYST1 1 1 1 (or _cell 1 1 1): no real unit cell is as small as an atom.
DUMMY_BOX = 0.11  # nm


@dataclasses.dataclass
class LoadedStructure:
    """Particles, where they are and in what box. Lengths are in nm."""

    source: str
    """The file's path."""
    positions: np.ndarray
    """[n, 3], nm, in the frame of `box`."""
    box: np.ndarray | None = None
    """[3, 3] box vectors as rows, nm, in OpenMM's reduced form; None for an open system."""
    topology: object = None
    """openmm.app.Topology, where the file has residues and names."""
    molecule: structurefile.Structure | None = None
    """The same particles as a structure file has them: types or symbols, masses, groups, interaction lists. None where there is only a
    topology, from which a model's types follow."""
    numFrames: int = 1
    """Frames that the file has."""
    frames: np.ndarray | None = None
    """[frames, n, 3] nm, where an npz file has several."""
    rotation: np.ndarray | None = None
    """[3, 3] R of positions = (file's positions) R^T, where the box had to be turned; None where it had not."""
    notes: list = dataclasses.field(default_factory=list)
    """Sentences for the user: what was assumed while reading."""

    @property
    def numParticles(self):
        return len(self.positions)

    def toFileFrame(self, vectors):
        """Turn vectors (forces, say) [n, 3] from the frame of `box` to the file's own."""
        return vectors if self.rotation is None else vectors @ self.rotation

    def dropBox(self):
        """Make an open system of it."""
        self.box = None
        if self.topology is not None:
            self.topology.setPeriodicBoxVectors(None)
        if self.molecule is not None:
            self.molecule.box = None

    @property
    def description(self):
        """What openmmflash.createSystem takes: the molecule or, without one, the topology."""
        return self.topology if self.molecule is None else self.molecule


def loadStructure(path, frame=None):
    """Read a structure file.

    Parameters
    ----------
    path : str
        PDB, PDBx/mmCIF, XYZ or extended XYZ (positions and lattice in Angstrom, masses in amu), or npz (docs/structure-format.md). The
        suffix says which; where it does not, the content.
    frame : int, optional
        Which frame of a file with several, from 0; negative numbers count from the end. Without it, the first.

    Returns
    -------
    LoadedStructure

    Raises
    ------
    StructureError
        The file is absent, empty, damaged, has no such frame, or coordinates that are not finite.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise StructureError(f"There is no structure file {path}.")
    if os.path.isdir(path):
        raise StructureError(f"{path} is a folder; give a structure file (PDB, PDBx/mmCIF, extended XYZ or npz).")
    if not os.path.isfile(path):
        raise StructureError(
            f"{path} is not a regular file (a device or a pipe?); give a structure file (PDB, PDBx/mmCIF, extended XYZ or npz)."
        )
    if os.path.getsize(path) == 0:
        raise StructureError(f"The structure file {path} is empty.")
    kind = detectFormat(path)
    structure = {"pdb": _readPdb, "pdbx": _readPdbx, "xyz": _readXyz, "npz": _readNpz}[kind](path, frame)
    bad = np.argwhere(~np.isfinite(structure.positions))
    if len(bad):
        i, axis = bad[0]
        value = structure.positions[i, axis]
        raise StructureError(f"{path}: coordinate {'xyz'[axis]} of particle {i} is {value}; all must be finite numbers.")
    if structure.numParticles == 0:
        raise StructureError(f"{path} has no particles.")
    return structure


def detectFormat(path):
    """The format of a structure file, one of FORMATS."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    with open(path, "rb") as file:
        start = file.read(65536)
    if start[:4] == b"PK\x03\x04":
        return "npz"
    text = start.decode("utf-8", "replace")
    if re.search(r"^data_\S*\s*$", text, re.MULTILINE) and "_atom_site." in text:
        return "pdbx"
    if re.match(r"\s*\d+\s*\n", text):
        return "xyz"
    if re.search(r"^(ATOM  |HETATM|CRYST1)", text, re.MULTILINE):
        return "pdb"
    raise StructureError(
        f"{path} is not recognised as a structure. Known are PDB (.pdb), PDBx/mmCIF (.cif), extended XYZ (.xyz, .extxyz) and npz (.npz); "
        "rename the file, or convert it to one of them."
    )


def standardBox(vectors, source):
    """Any three box vectors in OpenMM's reduced form, and the rotation that takes the old frame there.

    Parameters
    ----------
    vectors : array [3, 3]
        Rows are box vectors, nm.

    Returns
    -------
    (box [3, 3], rotation [3, 3] or None)
        `positions @ rotation.T` lie in the frame of `box`. None: the frame is unchanged.
    """
    vectors = np.array(vectors, dtype=float)
    if vectors.shape != (3, 3) or not np.all(np.isfinite(vectors)):
        raise StructureError(f"{source}: the box must be 3x3 finite numbers, it is {vectors.tolist()}.")
    lengths = np.linalg.norm(vectors, axis=1)
    volume = abs(np.linalg.det(vectors))
    if lengths.min() == 0 or volume < 1e-6 * lengths.prod():
        text = f"{source}: the box vectors {vectors.tolist()} (nm) do not span a volume. For an open system leave the box out."
        raise StructureError(text)
    rotation = None
    if vectors[0, 1] or vectors[0, 2] or vectors[1, 2] or np.any(np.diag(vectors) < 0):
        if np.linalg.det(vectors) < 0:
            vectors[2] *= -1  # the same lattice, right-handed
        # vectors = L Q with L lower triangular; Q's rows are the new axes.
        q, r = np.linalg.qr(vectors.T)
        signs = np.sign(np.diag(r))
        rotation = (q * signs).T
        vectors = np.tril(vectors @ rotation.T)
    a, b, c = vectors
    c = c - b * round(c[1] / b[1])
    c = c - a * round(c[0] / a[0])
    b = b - a * round(b[0] / a[0])
    return np.array([a, b, c]), rotation


def topologyBox(topology):
    """The box vectors [3, 3] of a Topology in nm, one a row; None without, or where they are the placeholder of files without."""
    from openmm import unit

    vectors = topology.getPeriodicBoxVectors()
    if vectors is None:
        return None
    box = np.array([list(row) for row in vectors.value_in_unit(unit.nanometer)])
    return None if np.linalg.norm(box, axis=1).max() <= DUMMY_BOX else box


def describeBox(box):
    """Lengths and, where they are not 90, angles of a box in words."""
    if box is None:
        return "none (open system)"
    lengths = np.linalg.norm(box, axis=1)
    text = " x ".join(f"{x:.4g}" for x in lengths) + " nm"
    unit = box / lengths[:, None]
    angles = [np.degrees(np.arccos(np.clip(unit[i] @ unit[j], -1, 1))) for i, j in ((1, 2), (2, 0), (0, 1))]
    if any(abs(angle - 90) > 1e-6 for angle in angles):
        text += ", angles " + " ".join(f"{angle:.4g}" for angle in angles)
    return text


def _pickFrame(path, number, frame):
    if frame is None:
        return 0
    if not -number <= frame < number:
        raise StructureError(f"{path} has no frame {frame}; it has {number} (0 to {number - 1}).")
    return frame % number


def _fromTopology(path, file, frame, notes):
    from openmm import unit

    number = file.getNumFrames()
    positions = file.getPositions(asNumpy=True, frame=_pickFrame(path, number, frame))
    positions = np.array(positions.value_in_unit(unit.nanometer), dtype=float).reshape(-1, 3)
    topology = file.topology
    if len(positions) != topology.getNumAtoms():
        raise StructureError(f"{path}: the chosen frame has {len(positions)} atoms, the first one has {topology.getNumAtoms()}.")
    structure = LoadedStructure(source=path, positions=positions, topology=topology, numFrames=number, notes=notes)
    box = topologyBox(topology)
    if box is not None:
        structure.box = standardBox(box, path)[0]  # a, b and c come along the axes already
        topology.setPeriodicBoxVectors(structure.box * unit.nanometer)
    elif topology.getPeriodicBoxVectors() is not None:
        notes.append("The unit cell is the 1 x 1 x 1 Angstrom placeholder of structures without one: no periodic box is used.")
        structure.dropBox()
    return structure


def _readPdb(path, frame):
    import io

    from openmm import app

    notes = []
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [_standardModel(line) for line in file.read().splitlines()]
    lines = _uniqueAtomNames(lines, notes)
    atoms = [line for line in lines if line.startswith(("ATOM  ", "HETATM"))]
    if not atoms:
        raise StructureError(f"{path} has no ATOM or HETATM records: it is not a PDB file, or an empty one.")
    guessed = sum(1 for line in atoms if not line[76:78].strip())
    if guessed:
        notes.append(f"{guessed} of {len(atoms)} atom records name no element (columns 77-78); it is guessed from the atom's name.")
    alternates = sum(1 for line in atoms if line[16:17].strip())
    _noteAlternates(alternates, notes)
    _checkPdb(path, lines)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = app.PDBFile(io.StringIO("\n".join(lines) + "\n"))
        except Exception as error:
            raise StructureError(_damaged(path, "PDB", error)) from error
    structure = _fromTopology(path, file, frame, notes)
    _refuseLosses(path, len(_firstModel(lines)), alternates, structure)
    return structure


def _noteAlternates(count, notes):
    if count:
        notes.append(f"{count} atom records are alternate locations; of each atom the first one in the file is used.")


def _refuseLosses(path, count, alternates, structure):
    """OpenMM drops atoms that it takes for repetitions; nothing may get lost unseen. count: atom records of the first model."""
    if not alternates and count != structure.numParticles:
        raise StructureError(
            f"{path} has {count} atom records, but only {structure.numParticles} atoms could be told apart: some carry the same name, "
            "residue and chain. Number the residues and name the atoms uniquely."
        )


def _standardModel(line):
    """A MODEL record with its number in columns 11-14, where OpenMM reads it and several programs do not write it."""
    words = line.split()
    return f"MODEL     {words[1]:>4}" if line.startswith("MODEL ") and len(words) == 2 and words[1].isdigit() else line


def _checkPdb(path, lines):
    """What OpenMM's reader would report without a line, or pass over: numbers that are none, elements that do not exist."""
    from openmm import app

    for number, line in enumerate(lines, 1):
        if line.startswith(("ATOM  ", "HETATM")):
            for axis, start in zip("xyz", (30, 38, 46)):
                try:
                    float(line[start : start + 8])
                except ValueError:
                    text = f"{path}, line {number}, cannot be read as PDB: {line[start : start + 8]!r} in columns {start + 1}-{start + 8}"
                    raise StructureError(f"{text} is no {axis} coordinate; the file is damaged.") from None
            symbol = line[76:78].strip()
            known = app.element.Element._elements_by_symbol
            if symbol.isalpha() and symbol.upper() not in known and symbol.upper() != "EP":  # EP: a site that is no atom
                raise StructureError(
                    f"{path}, line {number}: {symbol!r} (columns 77-78, atom {line[12:16].strip()}) is no element of the periodic table."
                )
        elif line.startswith("MODEL ") and not line[10:14].strip().isdigit():
            text = f"{path}, line {number}: {line.strip()!r} has no model number"
            raise StructureError(f"{text}; the file is damaged, or not PDB.")


def _damaged(path, kind, error):
    return f"{path} cannot be read as {kind}: it is damaged, or of another kind ({type(error).__name__}: {str(error) or 'nothing more'})."


def _whereXyz(path, symbol):
    """The line of a symbol in an XYZ file."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return next((f"line {number}:" for number, line in enumerate(file, 1) if symbol in line.split()), "element")


def _firstModel(lines):
    atoms = []
    for line in lines:
        if line.startswith(("ATOM  ", "HETATM")):
            atoms.append(line)
        elif line.startswith("ENDMDL"):
            break
    return atoms


def _uniqueAtomNames(lines, notes):
    """Give atoms that share name and residue names of their own.

    Small-molecule programs call every carbon C, and OpenMM would keep only one of them. A second CA of an amino acid keeps its name and is
    refused later: it is another residue's.
    """
    from .coarsegrain._protein import RESIDUES, VARIANTS

    result, renamed, seen, residue = [], 0, {}, None
    for line in lines:
        if line.startswith(("ATOM  ", "HETATM")):
            here = line[17:27]
            if here != residue:
                residue, seen = here, {}
            key = (line[12:16].strip(), line[16:17])
            if key in seen and not key[1].strip() and not (key[0] == "CA" and line[17:21].strip() in (*RESIDUES, *VARIANTS)):
                stem = (line[76:78].strip() or re.sub(r"[\d'\"*]", "", key[0]) or "X")[:2]
                number = seen.get(stem, 0) + 1
                while (f"{stem}{_base36(number)}", key[1]) in seen:
                    number += 1
                seen[stem] = number
                name = f"{stem}{_base36(number)}"
                if len(name) <= 4:
                    line = line[:12] + (name.ljust(4) if len(name) == 4 or len(stem) == 2 else (" " + name).ljust(4)) + line[16:]
                    key = (name, key[1])
                    renamed += 1
            seen[key] = 1
        elif line.startswith(("TER", "MODEL", "ENDMDL")):
            residue = None
        result.append(line)
    if renamed:
        notes.append(f"{renamed} atoms had a name that their residue uses twice; they got names of their own.")
    return result


def _base36(number):
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[rest] + digits
    return digits


def _readPdbx(path, frame):
    import io

    from openmm import app
    from openmm.app.internal.pdbx.reader.PdbxReader import PdbxReader

    notes, blocks = [], []
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    # A cell of unknown lengths, as structures without crystals have, would stop OpenMM's reader.
    text = re.sub(r"^(_cell\.length_[abc]\s+)[?.]\s*$", r"\g<1>1.0", text, flags=re.MULTILINE)
    text = re.sub(r"^(_cell\.angle_\w+\s+)[?.]\s*$", r"\g<1>90.0", text, flags=re.MULTILINE)
    try:
        file = app.PDBxFile(io.StringIO(text))
        PdbxReader(io.StringIO(text)).read(blocks)
    except Exception as error:
        raise StructureError(_damaged(path, "PDBx/mmCIF", error)) from error
    records = blocks[0].getObj("atom_site")
    location, model = map(records.getAttributeIndex, ("label_alt_id", "pdbx_PDB_model_num"))
    rows = records.getRowList()
    alternates = sum(1 for row in rows if row[location] not in (".", "?")) if location >= 0 else 0
    _noteAlternates(alternates, notes)
    structure = _fromTopology(path, file, frame, notes)
    _refuseLosses(path, sum(1 for row in rows if model < 0 or row[model] == rows[0][model]), alternates, structure)
    return structure


def _readXyz(path, frame):
    import ase.data
    import ase.io

    notes = []
    try:
        frames = ase.io.read(path, index=":", format="extxyz")
    except Exception as error:
        if isinstance(error, KeyError) and error.args and error.args[0] not in ase.data.atomic_numbers:
            raise StructureError(
                f"{path}: {_whereXyz(path, error.args[0])} {error.args[0]!r} is no element of the periodic table."
            ) from error
        raise StructureError(_damaged(path, "(extended) XYZ", error)) from error
    if not frames:
        raise StructureError(f"{path} has no frame.")
    atoms = frames[_pickFrame(path, len(frames), frame)]
    unknown = [i for i, number in enumerate(atoms.numbers) if number == 0]
    if unknown:
        raise StructureError(f"{path}: atom {unknown[0]} has no element ('X'); name an element of the periodic table.")
    positions, box, rotation = np.array(atoms.positions) / 10, None, None
    if all(atoms.pbc):
        box, rotation = standardBox(np.array(atoms.cell) / 10, path)
        if rotation is not None:
            positions = positions @ rotation.T
    elif any(atoms.pbc):
        flags = " ".join("T" if x else "F" for x in atoms.pbc)
        raise StructureError(
            f'{path}: pbc="{flags}"; a structure is periodic in all three directions or in none. '
            "Make the open directions periodic with a wide cell."
        )
    elif np.any(np.array(atoms.cell)):
        notes.append("The file has a Lattice but pbc is F F F: no periodic box is used.")
    masses = atoms.arrays.get("masses", atoms.arrays.get("mass"))  # ASE's name of the column and libAtoms'
    molecule = structurefile.Structure(positions, symbols=atoms.get_chemical_symbols(), masses=masses, box=box, source=path)
    return LoadedStructure(
        source=path, positions=molecule.positions, box=box, molecule=molecule, rotation=rotation, numFrames=len(frames), notes=notes
    )


def _readNpz(path, frame):
    molecule = structurefile.readStructure(path)
    frames = molecule.positions if molecule.numFrames > 1 else None
    molecule.positions = molecule.getPositions(_pickFrame(path, molecule.numFrames, frame))
    if molecule.box is not None:
        molecule.box = standardBox(molecule.box, path)[0]
    number = 1 if frames is None else len(frames)
    return LoadedStructure(source=path, positions=molecule.positions, box=molecule.box, molecule=molecule, frames=frames, numFrames=number)
