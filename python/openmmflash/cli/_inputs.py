# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Model and structure as the user names them become a System; what does not fit together is said here, before anything runs."""

import collections
import dataclasses
import warnings

import numpy as np

from .._hydrogens import MissingHydrogensWarning, missingHydrogens
from ._app import UserError, note

MAX_PARTICLES = 1_000_000  # of all replicas together


@dataclasses.dataclass
class Inputs:
    """What a command computes with. Lengths in nm."""

    model: object
    structure: object
    system: object
    force: object  # the System's FlashForce
    topology: object  # of all replicas
    positions: np.ndarray  # [replicas * n, 3]


def loadModel(name):
    """The model of a file or a name."""
    from .. import models

    return models.loadModel(name)


def loadStructure(path, model, frame=None, noPeriodic=False, allowMissingHydrogens=False, allFrames=False, priors=True):
    """A structure that suits the model; what was assumed on the way goes to stderr.

    Raises
    ------
    UserError
        Elements that the model does not know, or an all-atom structure without its hydrogens.
    """
    from .. import structure as structures

    structure = structures.loadStructure(path, frame)
    for text in structure.notes:
        note(f"{path}: {text}")
    if structure.numFrames > 1 and frame is None and not (allFrames and structure.frames is not None):
        note(f"{path}: The file has {structure.numFrames} frames; the first is used (--frame chooses).")
    if noPeriodic:
        structure.dropBox()
    if isAtomistic(model):
        if structure.topology is not None:
            checkElements(structure, model)
        checkHydrogens(structure, model, allowMissingHydrogens)
    elif structure.topology is not None:
        from ..coarsegrain import structureFromTopology

        structure.molecule = structureFromTopology(structure.topology, model, structure.positions, source=path, includePriors=priors)
    return structure


def createInputs(
    modelName,
    structurePath,
    frame=None,
    no_periodic=False,
    allow_missing_hydrogens=False,
    priors=True,
    replicas=1,
    removeCMMotion=False,
    allFrames=False,
):
    """Load a model and a structure and build the System of `replicas` copies. allFrames: the caller uses all frames of the structure."""
    from .. import FlashForce
    from .. import system as systems
    from ._topology import makeTopology

    model = loadModel(modelName)
    structure = loadStructure(structurePath, model, frame, no_periodic, allow_missing_hydrogens, allFrames or replicas > 1, priors)
    total = replicas * structure.numParticles
    if replicas > 1 and total > MAX_PARTICLES:
        raise UserError(
            f"--replicas {replicas}: copies of {structure.numParticles} particles are {total} particles; at most {MAX_PARTICLES} are "
            f"simulated together, {MAX_PARTICLES // structure.numParticles} replicas. Run several smaller ones, each with its own --seed."
        )
    # Without its motion as a whole, a single particle would have none.
    options = {"includePriors": priors, "removeCMMotion": removeCMMotion and structure.numParticles > 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingHydrogensWarning)  # said by loadStructure
        system = systems.createSystem(structure.description, model, replicas=replicas, **options)
    force = next(FlashForce.cast(force) for force in system.getForces() if FlashForce.isinstance(force))
    topology = makeTopology(structure.molecule, model) if structure.topology is None else structure.topology
    positions = structure.positions
    if replicas > 1:
        topology = systems.tileTopology(topology, replicas)
        frames = structure.frames if structure.frames is not None and frame is None else structure.positions
        positions = systems.tilePositions(frames, replicas)
        if frames.ndim == 3:
            note(f"{structurePath}: the {replicas} replicas start from its {len(frames)} frames in turn (--frame takes one for all).")
    return Inputs(model, structure, system, force, topology, np.array(positions))


def isAtomistic(model):
    """Whether the model's particles are atoms: every type has an atomic number."""
    types = [i for i in range(model.getNumTypes()) if model.getTypeName(i)]
    return all(model.getTypeAtomicNumber(i) > 0 for i in types)


def typeNames(model):
    return [model.getTypeName(i) for i in range(model.getNumTypes()) if model.getTypeName(i)]


def checkElements(structure, model):
    """All atoms that the model does not know at once: which, how many, where."""
    known = {model.getTypeAtomicNumber(i) for i in range(model.getNumTypes())}
    foreign, first, unnamed = collections.Counter(), {}, None
    for atom in structure.topology.atoms():
        if atom.element is None:
            unnamed = unnamed or atom
        elif atom.element.atomic_number not in known:
            key = (atom.element.symbol, atom.residue.name)
            foreign[key] += 1
            first.setdefault(key, atom)
    if unnamed is not None:
        raise UserError(
            f"{structure.source}: atom {unnamed.index + 1} ({unnamed.name} of {unnamed.residue.name} {unnamed.residue.id}) has no element, "
            "and its name does not tell it. Write the element (columns 77-78 of a PDB file, type_symbol in PDBx)."
        )
    if foreign:
        found = "; ".join(
            f"{symbol} in {residue} (atom {first[symbol, residue].index + 1}{f', {count} in all' if count > 1 else ''})"
            for (symbol, residue), count in list(foreign.items())[:6]
        )
        more = f"; and {len(foreign) - 6} more kinds" if len(foreign) > 6 else ""
        raise UserError(
            f"{structure.source} has elements that the model {model.getName()} does not know: {found}{more}. "
            f"It knows {' '.join(typeNames(model))}. Remove these atoms (openmm.app.Modeller does) or take another model."
        )


def atomicNumbers(structure, model):
    """The atomic number of each atom."""
    if structure.topology is None:
        return [model.getTypeAtomicNumber(int(t)) for t in structure.molecule.getTypes(model)]
    return [atom.element.atomic_number for atom in structure.topology.atoms()]


def checkHydrogens(structure, model, allow):
    """Refuse an all-atom structure without its hydrogens; allowed, it is noted."""
    what = missingHydrogens(structure.source, structure.topology, atomicNumbers(structure, model), model)
    if what is None:
        return
    if allow:
        note(f"{what}. The model sees exactly the atoms given (--allow-missing-hydrogens).")
        return
    raise UserError(
        f"{what}. {model.getName()} would describe another molecule, with open valences. Add them "
        "(openmm.app.Modeller.addHydrogens, PDBFixer), or pass --allow-missing-hydrogens if the structure is right as it is."
    )
