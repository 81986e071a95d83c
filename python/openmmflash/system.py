# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""createSystem: an OpenMM System whose particles interact through a machine-learned model."""

import os
import warnings
from collections.abc import Mapping
from numbers import Real

import numpy as np
import openmm as mm
from openmm import app, unit
from openmm.app.internal.unitcell import reducePeriodicBoxVectors

from ._hydrogens import warnOfMissingHydrogens
from .priors import createPriorForces
from .structure import topologyBox
from .structurefile import Structure, StructureError, readStructure


def createSystem(
    topology,
    model,
    replicas=1,
    nonbondedMethod=None,
    nonbondedCutoff=None,
    constraints=None,
    rigidWater=None,
    removeCMMotion=True,
    hydrogenMass=None,
    masses=None,
    groups="auto",
    includePriors=True,
):
    """Make a System in which all interactions come from a machine-learned model.

    Parameters
    ----------
    topology : openmm.app.Topology or Structure or path
        What to simulate. For models of elements (ANI) a Topology: an atom's type follows from its element, residues and bonds play no
        role. For coarse-grained models of proteins a Topology of their beads (`openmmflash.coarsegrain`), for any other a structure
        (`readStructure`, docs/structure-format.md) or the path of a structure file.
    model : FlashModel or path or str
        A model, a model file, or the name of a known model ("ani2x").
    replicas : int
        Copies of the molecule, evaluated together but not seeing each other: a group of FlashForce each, the priors repeated. The
        particles of copy r have the indices r*n to (r+1)*n - 1; tilePositions and tileTopology repeat positions and topology.
        In a periodic System all copies share one box.
    nonbondedMethod : openmm.app.NoCutoff, CutoffNonPeriodic or CutoffPeriodic, optional
        Whether the System is periodic. By default it is if topology has a box (the CRYST1 of 1 x 1 x 1 Angstrom that programs write
        without one is none). The model's own cutoff holds in any case, so that
        NoCutoff and CutoffNonPeriodic mean the same: an open System.
    nonbondedCutoff : None
        The cutoff is part of the model; any value is an error.
    constraints, rigidWater : None
        A machine-learned model has no reference bond lengths to constrain to; anything but None (or False) is an error.
    removeCMMotion : bool
        Add a CMMotionRemover. Never added for more than one replica: it would couple the copies through their common centre of mass.
    hydrogenMass : mass, optional
        Mass of hydrogens (amu if it has no unit) bonded to heavy atoms, whose mass is reduced by the same amount. Needs a Topology
        with bonds.
    masses : sequence of float or mass, optional
        [n] amu. By default a Topology's elements have theirs (a deuterium is heavier than a hydrogen); a structure has its own, or else
        those of the model's types, or else of the elements.
    groups : "auto" or sequence of int
        [n] particles of different groups do not see each other through the model. "auto": those of the structure, or one group.
    includePriors : bool
        Add the model's priors, the pair prior included. Without, the network acts alone.

    Returns
    -------
    openmm.System
        With a FlashForce, one force per form of prior, and perhaps a CMMotionRemover. A periodic System of a Topology with bonds also
        has a HarmonicBondForce called "molecules", of force constant 0 on these bonds: from it OpenMM knows the molecules that a
        barostat moves as a whole. Without bonds a barostat scales every atom on its own; of a structure, the bonds among its priors
        tell the molecules.

    Raises
    ------
    ValueError
        An argument that does not fit. StructureError, a ValueError, for what is wrong with a structure or does not suit the model: an
        element or type that the model does not have. The message names the particle.

    Warns
    -----
    UserWarning
        A model of elements got a Topology that lacks hydrogens: those of residues that OpenMM knows, or all of four carbons or more.
        A Topology's box is the placeholder of files without one, and nonbondedMethod does not say what is meant.
    """
    model = asModel(model)
    _refuseUnsupported(model, nonbondedCutoff, constraints, rigidWater)
    if isinstance(replicas, bool) or not isinstance(replicas, Real) or not float(replicas).is_integer() or replicas < 1:
        raise ValueError(f"replicas is {replicas!r}; it is a number of copies, 1 or larger.")
    replicas = int(replicas)
    structure, isTopology = _asStructure(topology, model, includePriors)
    n = structure.numParticles
    types = structure.getTypes(model)
    periodic = _isPeriodic(structure, nonbondedMethod)
    if nonbondedMethod is None and isinstance(topology, app.Topology):
        warnOfPlaceholder(topology, 3)
    system = mm.System()
    particleMasses = _masses(structure, model, types, masses)
    if hydrogenMass is not None:
        if not isTopology:
            raise ValueError("hydrogenMass needs a Topology with bonds; a structure has none. Give masses instead.")
        _repartition(topology, particleMasses, hydrogenMass)
    for mass in np.tile(particleMasses, replicas).tolist():
        system.addParticle(mass)
    if periodic:
        system.setDefaultPeriodicBoxVectors(*reducePeriodicBoxVectors(structure.box * unit.nanometer))
    addModelForces(system, structure, model, types, _groups(structure, groups), replicas, periodic, includePriors)
    if isTopology and periodic and topology.getNumBonds():
        system.addForce(_moleculeForce(topology, n, replicas))
    if removeCMMotion and replicas == 1:
        system.addForce(mm.CMMotionRemover())
    return system


def addModelForces(system, structure, model, types, groups, replicas, periodic, includePriors):
    """Add to a System the forces of a model: a FlashForce, returned, and one for each form of prior. The structure fits the model."""
    from . import FlashForce

    if periodic and includePriors and model.hasPairPrior() and model.getPairPriorCutoff() == 0:
        raise StructureError(
            "This model's pair prior has no cutoff: it acts between all pairs, which has no meaning in a periodic box. Use "
            "nonbondedMethod=NoCutoff or includePriors=False."
        )
    if includePriors and structure.exclusions is not None and len(structure.exclusions) and not model.hasPairPrior():
        raise StructureError(
            f"{structure.source}: there are {len(structure.exclusions)} exclusions, but this model has no pair prior to leave them out of; "
            f"the network sees every pair."
        )
    n = structure.numParticles
    force = FlashForce(model)
    force.setUsesPairPrior(bool(includePriors))
    stride = int(groups.max()) + 1
    force.addParticles(
        np.arange(n * replicas).tolist(),
        np.tile(types, replicas).tolist(),
        np.concatenate([groups + r * stride for r in range(replicas)]).tolist(),
    )
    force.setUsesPeriodicBoundaryConditions(periodic)
    force.setName("FlashForce")
    system.addForce(force)
    if includePriors:
        if model.hasPairPrior():
            for i, j in _pairExclusions(structure, model, types, groups).tolist():
                for r in range(replicas):
                    force.addPairExclusion(i + r * n, j + r * n)
        for prior in createPriorForces(model, structure, replicas, periodic):
            system.addForce(prior)
    return force


def tilePositions(positions, replicas):
    """Positions of all copies, in the order of createSystem.

    Parameters
    ----------
    positions : array or Quantity
        [n, 3], repeated for every copy, or [frames, n, 3]: copy r starts from frame r, frames used again if there are more copies.
    replicas : int

    Returns
    -------
    array or Quantity
        [replicas*n, 3], as given with or without unit.
    """
    if replicas < 1:
        raise ValueError(f"replicas is {replicas}; it is a number of copies, 1 or larger.")
    inUnit = unit.is_quantity(positions)
    if not inUnit and len(positions) and unit.is_quantity(positions[0]):  # a list of Vec3 with units each
        positions, inUnit = [position.value_in_unit(unit.nanometer) for position in positions] * unit.nanometer, True
    values = np.asarray(positions.value_in_unit(unit.nanometer) if inUnit else positions, dtype=np.float64)
    if values.ndim not in (2, 3) or values.shape[-1] != 3 or 0 in values.shape:
        raise ValueError(f"positions have shape {list(values.shape)}; [n, 3] or [frames, n, 3] is needed.")
    frames = values[None] if values.ndim == 2 else values
    tiled = np.concatenate([frames[r % len(frames)] for r in range(replicas)])
    return tiled * unit.nanometer if inUnit else tiled


def tileTopology(topology, replicas):
    """A Topology with all copies: the chains, residues, atoms and bonds repeated in the order of createSystem.

    Chains are numbered anew, from 1 through all copies, so that none of two copies are one in a file.
    """
    if replicas < 1:
        raise ValueError(f"replicas is {replicas}; it is a number of copies, 1 or larger.")
    tiled = app.Topology()
    tiled.setPeriodicBoxVectors(topology.getPeriodicBoxVectors())
    for _ in range(replicas):
        copies = {}
        for chain in topology.chains():
            newChain = tiled.addChain()
            for residue in chain.residues():
                newResidue = tiled.addResidue(residue.name, newChain, residue.id, residue.insertionCode)
                for atom in residue.atoms():
                    copies[atom] = tiled.addAtom(atom.name, atom.element, newResidue, atom.id, atom.formalCharge)
        for bond in topology.bonds():
            tiled.addBond(copies[bond[0]], copies[bond[1]], bond.type, bond.order)
    return tiled


def asModel(model):
    """A FlashModel from a FlashModel, the path of a model file or a model's name."""
    from . import FlashModel

    if isinstance(model, FlashModel):
        return model
    if isinstance(model, (str, os.PathLike)):
        from .models import loadModel

        return loadModel(model)
    raise TypeError(f"model is a {type(model).__name__}; a FlashModel, the path of a model file or a model's name is needed.")


def _refuseUnsupported(model, nonbondedCutoff, constraints, rigidWater):
    if nonbondedCutoff is not None:
        raise ValueError(f"nonbondedCutoff is {nonbondedCutoff}: the cutoff is part of the model ({model.getCutoff():g} nm). Leave it out.")
    if constraints is not None:
        raise ValueError(
            f"constraints is {constraints}: a machine-learned model has no reference bond lengths to constrain to. Use constraints=None; "
            f"heavier hydrogens (hydrogenMass) allow longer steps."
        )
    if rigidWater:
        raise ValueError("rigidWater is True: a machine-learned model has no reference geometry of water. Leave it out.")


def _asStructure(topology, model, includePriors=True):
    """(Structure, whether it came from a Topology of atoms). A Topology's Structure has no positions that mean anything."""
    if isinstance(topology, (str, os.PathLike)):
        return readStructure(topology), False
    if isinstance(topology, Structure):
        return topology, False
    if not hasattr(topology, "atoms") or not hasattr(topology, "getPeriodicBoxVectors"):
        raise TypeError(
            f"topology is a {type(topology).__name__}; an openmm.app.Topology, a Structure or the path of a structure file is needed."
        )
    if not any(model.getTypeAtomicNumber(i) > 0 for i in range(model.getNumTypes())):
        from .coarsegrain import structureFromTopology

        return structureFromTopology(topology, model, includePriors=includePriors), False
    types = elementTypes(topology.atoms(), model, includePriors)
    warnOfMissingHydrogens(topology, model, 3)
    masses = [atom.element.mass.value_in_unit(unit.dalton) for atom in topology.atoms()]
    return Structure(np.zeros((len(types), 3)), types=types, masses=masses, box=topologyBox(topology), source="topology"), True


def warnOfPlaceholder(topology, stacklevel):
    """Where a Topology's box is none, and the System open for this reason."""
    if topology.getPeriodicBoxVectors() is not None and topologyBox(topology) is None:
        warnings.warn(
            "The topology's box is the 1 x 1 x 1 Angstrom placeholder of structures without one: the System is open.",
            stacklevel=stacklevel,
        )


def elementTypes(atoms, model, includePriors=True):
    """The model's types of a Topology's atoms, by their elements, as a list."""
    known = {}
    for i in range(model.getNumTypes()):
        if model.getTypeAtomicNumber(i) > 0:
            known.setdefault(model.getTypeAtomicNumber(i), []).append(i)
    if model.getNumPriors() and includePriors:
        raise StructureError(
            "This model has priors, whose interaction lists a Topology does not hold. Give a structure file (docs/structure-format.md), or "
            "includePriors=False for the network alone."
        )
    types = []
    for atom in atoms:
        where = f"Atom {atom.index} ({atom.name} of residue {atom.residue.name} {atom.residue.id}, chain {atom.residue.chain.id})"
        allowed = " ".join(model.getTypeName(i) for same in known.values() for i in same)
        if atom.element is None:
            raise StructureError(
                f"{where} has no element: a virtual site or dummy particle, which the model cannot see. Remove it (for "
                f"openmmflash.createMixedSystem: leave it out of `atoms`); the model knows {allowed}."
            )
        if atom.element.atomic_number not in known:
            raise StructureError(f"{where} is {atom.element.name} ({atom.element.symbol}); this model knows {allowed}.")
        same = known[atom.element.atomic_number]
        if len(same) > 1:
            raise StructureError(
                f"{where} is {atom.element.name}, and this model has {len(same)} types for it: "
                f"{', '.join(f'{model.getTypeName(i)} ({i})' for i in same)}. A Topology does not say which is meant: give a "
                "structure file (docs/structure-format.md) with types."
            )
        types.append(same[0])
    if not types:
        raise StructureError("The topology has no atoms.")
    return types


def _moleculeForce(topology, n, replicas):
    """Bonds without energy: FlashForce reports none, as a model may break them, and a barostat scales apart what is not bonded."""
    force = mm.HarmonicBondForce()
    for r in range(replicas):
        for a, b in topology.bonds():
            force.addBond(a.index + r * n, b.index + r * n, 0.0, 0.0)
    force.setUsesPeriodicBoundaryConditions(True)
    force.setName("molecules")
    return force


def _isPeriodic(structure, nonbondedMethod):
    hasBox = structure.box is not None
    if nonbondedMethod is None:
        return hasBox
    if nonbondedMethod in (app.NoCutoff, app.CutoffNonPeriodic):
        return False
    if nonbondedMethod is not app.CutoffPeriodic:
        raise ValueError(
            f"nonbondedMethod is {nonbondedMethod}; the model has its own cutoff, so NoCutoff and CutoffNonPeriodic (both open) and "
            "CutoffPeriodic are allowed."
        )
    if not hasBox:
        raise ValueError(f"nonbondedMethod is CutoffPeriodic, but {structure.source} has no box (1 x 1 x 1 Angstrom is a placeholder).")
    return True


def _masses(structure, model, types, given):
    n = structure.numParticles
    if given is not None:
        values = (
            given.value_in_unit(unit.dalton)
            if unit.is_quantity(given)
            else [m.value_in_unit(unit.dalton) if unit.is_quantity(m) else m for m in given]
        )
        values = np.array(values, dtype=np.float64)
        if values.shape != (n,) or not np.isfinite(values).all() or (values < 0).any():
            found = f"masses have shape {list(values.shape)} and a minimum of {values.min(initial=0)}"
            raise ValueError(f"{found}; {n} finite ones, 0 or larger, are needed.")
        return values
    if structure.masses is not None:
        return structure.masses.copy()
    values = np.array([_typeMass(model, t) for t in types.tolist()])
    if not (values > 0).all():
        missing = sorted({model.getTypeName(t) for t in types[values <= 0].tolist()})
        raise StructureError(
            f"{structure.source}: there are no masses, and the model has none for the types {', '.join(missing)}. Give masses."
        )
    return values


def _typeMass(model, index):
    if model.getTypeMass(index) > 0:
        return model.getTypeMass(index)
    number = model.getTypeAtomicNumber(index)
    return app.Element.getByAtomicNumber(number).mass.value_in_unit(unit.dalton) if number > 0 else 0.0


def _repartition(topology, masses, hydrogenMass):
    """Move mass to hydrogens from the heavy atoms that they are bonded to, as openmm.app.ForceField does."""
    hydrogenMass = hydrogenMass.value_in_unit(unit.dalton) if unit.is_quantity(hydrogenMass) else float(hydrogenMass)
    if not 0 < hydrogenMass < np.inf:
        raise ValueError(f"hydrogenMass is {hydrogenMass} amu; it must be positive.")
    hydrogen, bonded = app.element.hydrogen, set()
    for a, b in topology.bonds():
        if a.element is hydrogen:
            a, b = b, a
        if b.element is hydrogen and a.element is not hydrogen and b.index not in bonded:
            bonded.add(b.index)
            masses[a.index] -= hydrogenMass - masses[b.index]
            masses[b.index] = hydrogenMass
            if masses[a.index] <= 0:
                where = f"atom {a.index} ({a.name} of {a.residue.name} {a.residue.id})"
                raise ValueError(f"hydrogenMass is {hydrogenMass} amu: {where} would have no mass left.")
    if not bonded and any(atom.element is hydrogen for atom in topology.atoms()):
        raise ValueError(
            "hydrogenMass is given, but the topology has no bonds to hydrogens. topology.createStandardBonds() makes those of proteins."
        )


def _groups(structure, groups):
    n = structure.numParticles
    if isinstance(groups, str):
        if groups != "auto":
            raise ValueError(f"groups is {groups!r}; 'auto' or one integer per particle is allowed.")
        return np.zeros(n, dtype=np.int64) if structure.groups is None else structure.groups
    values = np.asarray(groups)
    if isinstance(groups, Mapping) or values.shape != (n,) or values.dtype.kind not in "iu" or (values < 0).any():
        raise ValueError(f"groups must be {n} integers from 0, one per particle; found shape {list(values.shape)} of {values.dtype}.")
    return values.astype(np.int64)


def _pairExclusions(structure, model, types, groups):
    """The exclusions [m, 2] of the pair prior, after a look for pairs that the prior has no sigma for."""
    if structure.exclusions is None:
        raise StructureError(
            f"{structure.source}: there are no 'exclusions', but the model has a pair prior: without them bonded particles would "
            f"repel each other. Give an empty [0, 2] array if every pair is meant, or includePriors=False."
        )
    present, place = np.unique(types, return_inverse=True)
    sigma = np.array([[model.getPairPriorSigma(i, j) for j in present.tolist()] for i in present.tolist()])
    missing = sigma[np.ix_(place, place)] == 0
    if missing.any():
        missing &= groups[:, None] == groups[None, :]
        missing[tuple(structure.exclusions.T)] = missing[tuple(structure.exclusions.T[::-1])] = False
        np.fill_diagonal(missing, False)
        if missing.any():
            i, j = np.argwhere(missing)[0]
            names = f"{model.getTypeName(int(types[i]))} and {model.getTypeName(int(types[j]))}"
            raise StructureError(
                f"{structure.source}: the model's pair prior has no sigma for the types {names} of particles {i} and {j} "
                f"({missing.sum() // 2} such pairs): it was not made for them. Exclude the pairs if they are meant not to repel."
            )
    same = groups[structure.exclusions[:, 0]] == groups[structure.exclusions[:, 1]]
    return structure.exclusions[same]
