# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The cases: what is built for each, written into a folder from which every program reads the same numbers."""

import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..convert._writer import writeModel
from . import beads, models, polyala, water
from .contenders.modelfile import ModelFile
from .contenders.neighbors import directedPairs

FRAMES, DISPLACEMENT = 8, 0.001  # nm rms along each axis: what thermal motion does within a few femtoseconds
YARDSTICK_ATOMS = 1012  # the classical yardstick of a protein of 269 beads: about as many atoms


class CaseError(ValueError):
    """A case that cannot be built as asked; the message is for the user."""


@dataclass
class Case:
    """One system to measure.

    Attributes
    ----------
    test : str
    label : str
        "1012 atoms", "16 replicas"
    folder : pathlib.Path
    model : str
        The model's name.
    architecture : str
    atoms, replicas, pairs : int
        Particles in all replicas; undirected pairs within the cutoff in all of them.
    cutoff : float
        nm
    timestep : float
        ps, of simulations that are timed.
    """

    test: str
    label: str
    folder: Path
    model: str
    architecture: str
    atoms: int
    replicas: int
    pairs: int
    cutoff: float
    timestep: float
    periodic: bool = False
    priors: str = "none"


def _frames(positions, seed=7):
    random = np.random.default_rng(seed)
    return positions[None] + np.concatenate(
        [np.zeros((1, *positions.shape)), random.normal(scale=DISPLACEMENT, size=(FRAMES - 1, *positions.shape))]
    )


def _write(folder, frames, types, numbers, masses, box=None, replicas=1):
    arrays = {"frames": frames, "types": np.asarray(types), "numbers": np.asarray(numbers), "masses": np.asarray(masses, dtype=float)}
    if box is not None:
        arrays["box"] = box
    np.savez(folder / "system.npz", replicas=replicas, **arrays)


def _jittered(positions, amount=0.002, seed=3):
    """Away from the ideal geometry, so that forces are those of a simulation (a few hundred kJ/mol/nm), not of a minimum."""
    return positions + np.random.default_rng(seed).normal(scale=amount, size=positions.shape)


def _molecule(test, label, folder, modelPath, numbers, positions, box=None):
    from openmm.app import Element

    folder.mkdir(parents=True, exist_ok=True)
    if Path(modelPath) != folder / "model.safetensors":
        shutil.copyfile(modelPath, folder / "model.safetensors")
    model = ModelFile(folder / "model.safetensors")
    known = {entry["atomic_number"]: k for k, entry in enumerate(model.metadata["types"]) if entry and "atomic_number" in entry}
    missing = sorted(set(numbers.tolist()) - set(known))
    if missing:
        symbols = ", ".join(Element.getByAtomicNumber(z).symbol for z in missing)
        known = " ".join(symbol for symbol in model.symbols if symbol)
        raise CaseError(f"the model {model.metadata['name']} has no type for {symbols}, which {test} needs; it knows {known}")
    if box is not None and min(box) < 2 * model.cutoff * model.length:
        raise CaseError(f"{label}: the box of {box[0]:.3f} nm is smaller than twice the model's cutoff; ask for more atoms")
    types = np.array([known[z] for z in numbers.tolist()])
    masses = np.array([Element.getByAtomicNumber(int(z)).mass._value for z in numbers])
    frames = _frames(_jittered(positions))
    _write(folder, frames, types, numbers, masses, box)
    cutoff = model.cutoff * model.length
    pairs = len(directedPairs(frames[0], cutoff, box)[0]) // 2
    metadata = model.metadata
    return Case(
        test, label, folder, metadata["name"], metadata["architecture"], len(types), 1, pairs, cutoff, 0.0005, periodic=box is not None
    )


def polyalaCase(folder, modelPath, atoms):
    """ACE-(ALA)n-NME of the size nearest to `atoms`."""
    names, positions, bonds = polyala.build(polyala.residuesFor(atoms))
    case = _molecule("polyala", f"{len(names)} atoms", Path(folder), modelPath, polyala.atomicNumbers(names), positions)
    _writeYardstick(case.folder, names, positions, bonds)
    return case


def _writeYardstick(folder, names, positions, bonds):
    """The molecule that Amber evaluates."""
    from openmm import app, unit

    with open(folder / "amber.pdb", "w", encoding="ascii") as file:
        app.PDBFile.writeFile(polyala.topology(names, bonds), positions * unit.nanometer, file)


def waterCase(folder, modelPath, atoms):
    edge, molecules = water.moleculesFor(atoms)
    numbers, positions, box = water.build(edge)
    return _molecule("water", f"{3 * molecules} atoms", Path(folder), modelPath, numbers, positions, box)


def schnetModel(folder):
    """The model file of a random SchNet of SchNetPack's default size."""
    return Path(writeModel(Path(folder) / "schnet.safetensors", *models.schnetPack()))


def readBeads(path):
    """(types, positions in nm, mlcg's weights) of an npz file with types, positions_A and weights/NAME."""
    try:
        file = np.load(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CaseError(f"{path} is not an npz file: {error}") from None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise CaseError(f"{path} is not an npz file, but a single array")
    with file as data:
        wanted = [name for name in ("types", "positions_A") if name not in data]
        if wanted:
            raise CaseError(f"{path} has no array {' nor '.join(wanted)}; docs/benchmarks.md says what such a file holds")
        weights = {name[len("weights/") :]: data[name] for name in data.files if name.startswith("weights/")}
        expected = {"config/basis": "exp", "config/cut": 15.0, "config/ni": 4, "config/H": 128, "config/F": 128, "config/nrbf": 64}
        for name, value in expected.items():
            if name in data and data[name] != value:
                raise CaseError(f"{path}: {name} is {data[name]}; the case cg is made for {value}")
        positions = data["positions_A"]
        return data["types"], 0.1 * (positions[0] if positions.ndim == 3 else positions), weights or None


def cgCase(folder, replicas, priors="pair", source=None):
    """269 beads, `replicas` times; source: an npz file as readBeads reads it, else random beads and weights."""
    from ..structurefile import Structure, writeStructure

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if source is None:
        (types, positions), weights = beads.build(), None
    else:
        types, positions, weights = readBeads(source)
    metadata, tensors = models.cgSchNet(weights=weights)
    writeModel(folder / "model.safetensors", metadata, tensors)
    masses = np.array([metadata["types"][t]["mass"] for t in types.tolist()])
    terms, exclusions = beads.priors(positions)
    writeStructure(folder / "structure.npz", Structure(positions, types=types, masses=masses, exclusions=exclusions, terms=terms))
    frames = _frames(np.tile(positions, (replicas, 1)))
    _write(folder, frames, np.tile(types, replicas), np.zeros(len(types) * replicas, dtype=int), np.tile(masses, replicas), None, replicas)
    _writeYardstick(folder, *polyala.build(polyala.residuesFor(YARDSTICK_ATOMS)))
    pairs = len(directedPairs(positions, 1.5)[0]) // 2 * replicas
    label = f"{replicas} replica{'s' if replicas > 1 else ''}"
    return Case("cg", label, folder, metadata["name"], "schnet", len(types) * replicas, replicas, pairs, 1.5, 0.002, priors=priors)


def beadsCase(folder, modelPath, structurePath, replicas, priors="all"):
    """A converted model of beads and its structure, `replicas` times the first frame."""
    from ..structurefile import readStructure

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(modelPath, folder / "model.safetensors")
    shutil.copyfile(structurePath, folder / "structure.npz")
    model, structure = ModelFile(folder / "model.safetensors"), readStructure(structurePath)
    if structure.types is None:
        raise CaseError(f"{structurePath} names its types; a structure that was converted with its model is needed, which numbers them")
    positions = structure.positions[0] if structure.positions.ndim == 3 else structure.positions
    n, cutoff = len(positions), model.cutoff * model.length
    frames = _frames(np.tile(positions, (replicas, 1)))
    masses = structure.masses if structure.masses is not None else np.full(n, 100.0)
    _write(folder, frames, np.tile(structure.types, replicas), np.zeros(n * replicas, int), np.tile(masses, replicas), None, replicas)
    pairs = len(directedPairs(positions, cutoff)[0]) // 2 * replicas
    label = f"{replicas} replica{'s' if replicas > 1 else ''}"
    return Case("cg", label, folder, model.metadata["name"], "schnet", n * replicas, replicas, pairs, cutoff, 0.002, priors=priors)
