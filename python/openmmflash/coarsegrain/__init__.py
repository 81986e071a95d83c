# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Proteins as beads: from an all-atom structure to what a coarse-grained model is simulated with.

    protein = app.PDBFile("protein.pdb")
    beads = coarseGrain(protein.topology, protein.positions, "model.safetensors")
    system = openmmflash.createSystem(beads.topology, "model.safetensors")

The mappings and the names of priors are those of mlcg: Charron et al., Nature Chemistry 17, 1284 (2025). docs/coarse-graining.md tells what
becomes of what.
"""

import os
from dataclasses import dataclass, field

import numpy as np
from openmm import app, unit

from ..structure import topologyBox
from ..structurefile import Structure, StructureError, readStructure
from ._mappings import MAPPINGS, MASSES, mappingOf
from ._protein import Residue, inNanometers, label, listed, readChains
from ._terms import InteractionLists, interactionLists

__all__ = ["CoarseGrained", "coarseGrain", "structureFromTopology"]
GAPS = ("error", "split")


@dataclass
class CoarseGrained:
    """A protein as beads.

    Attributes
    ----------
    topology : openmm.app.Topology
        The beads, named after the atoms that they come from (N CA CB C O), in residues and chains with their names and numbers. A chain
        that was split at a gap is two chains of one id, which PDB files keep apart, PDBx files written with keepIds=True do not. There is
        no periodic box.
    positions : Quantity
        [n, 3] nm, or [frames, n, 3] where coarseGrain was given such.
    structure : Structure
        The same with types, masses and the model's interaction lists, as createSystem takes it and writeStructure writes it. Where only
        a mapping was given: with the names of the types, no lists.
    atoms : numpy.ndarray
        [n] the index of the atom that each bead was.
    mapping : str
        "ca" or "5bead".
    notes : list of str
        Sentences for the user: what was left out or taken for something else.
    """

    topology: object
    positions: object
    structure: Structure
    atoms: np.ndarray
    mapping: str
    notes: list = field(default_factory=list)


def coarseGrain(topology, positions, model, gaps="error", residues=None, pairSeparation=None, reference=None, source="The structure"):
    """Make a protein's coarse-grained beads for a model.

    Beads are atoms that are kept: CA, or N CA CB C O (glycine without CB). Hydrogens and side chains, water, ions, ligands and caps of
    termini are left out; the box, too.

    Parameters
    ----------
    topology : openmm.app.Topology
        All atoms, or at least those that become beads.
    positions : Quantity or array
        [n, 3] or [frames, n, 3]; nm if it has no unit. Bonds between residues are told by the first frame.
    model : FlashModel or path or str
        A coarse-grained model or its file, or only the name of a mapping, "ca" or "5bead" (then the result has no interaction lists).
    gaps : str
        What to do where neighbours in a chain are not bonded, as around residues that a crystal does not show: "error", or "split" to
        make both ends of chains.
    residues : dict of str to str, optional
        What residues of other names are to be taken for, e.g. {"SEP": "SER"}. Protonation states of the twenty (HID, CYX, ...) and MSE
        are known.
    pairSeparation : int, optional
        The fewest bonds between two beads of a chain that the pair prior acts on. By default 3 for "ca" and 5 for "5bead", as in mlcg's
        models; 1 means all pairs. Chains repel each other in any case, beads of one residue only with 1.
    reference : Structure or path, optional
        For a model whose priors were specialised for one molecule, and so have no parameters by types: the structure that was converted
        with it. The protein must have the same beads in the same order; it gets the reference's interaction lists and parameters.
    source : str
        What to call the structure in messages.

    Returns
    -------
    CoarseGrained

    Raises
    ------
    StructureError
        Atoms are missing, chains broken, residues unknown (all of them are named); the model is not one of beads of a known mapping, lacks
        a type, or has a prior whose name does not say what it acts on.
    ValueError
        An argument that is not allowed.
    """
    if gaps not in GAPS:
        raise ValueError(f"gaps is {gaps!r}; 'error' and 'split' are allowed.")
    _checkTopology(topology)
    model, mapping = _modelAndMapping(model)
    positions = inNanometers(positions, topology.getNumAtoms(), source)
    first = positions if positions.ndim == 2 else positions[0]
    chains, notes = readChains(topology, first, mapping, source, residues, gaps)
    beads, atoms, chains = _beadTopology(chains, mapping)
    if topology.getPeriodicBoxVectors() is not None:
        notes.append("The periodic box is left out: it was that of all atoms.")
    chosen = positions[..., atoms, :]
    structure = _makeStructure(chains, chosen, model, mapping, pairSeparation, reference, source)
    return CoarseGrained(beads, chosen * unit.nanometer, structure, atoms, mapping.name, notes)


def structureFromTopology(topology, model, positions=None, pairSeparation=None, reference=None, source="The topology", includePriors=True):
    """The Structure (types, masses, interaction lists) of a Topology whose atoms are a model's beads already.

    Parameters
    ----------
    topology : openmm.app.Topology
        As coarseGrain makes it, or read from a PDB file of beads. Neighbours in a chain are bonded, unless the chain has bonds between
        residues but none between these two; with positions, where they are close.
    model : FlashModel or path or str
    positions : Quantity or array, optional
        [n, 3] or [frames, n, 3]; nm if it has no unit. With them a broken chain is an error. Without, those of the result are zero.
    pairSeparation, reference, source
        See coarseGrain.
    includePriors : bool
        Make the interaction lists. Without, the structure is one for the network alone.

    Returns
    -------
    Structure
        With the Topology's box, unless that is the placeholder of 1 x 1 x 1 Angstrom.

    Raises
    ------
    StructureError
        As in coarseGrain; also for an atom that is no bead.
    """
    _checkTopology(topology)
    model, mapping = _modelAndMapping(model)
    if model is None:
        raise ValueError(f"model is the name of a mapping, {mapping.name!r}; a coarse-grained model is needed.")
    if topology.getNumAtoms() == 0:
        raise StructureError(f"{source} has no atoms.")
    if positions is not None:
        positions = inNanometers(positions, topology.getNumAtoms(), source)
    first = positions if positions is None or positions.ndim == 2 else positions[0]
    chains, _ = readChains(topology, first, mapping, source, gaps="split" if positions is None else "error", beadsOnly=True)
    if positions is None:
        positions = np.zeros((topology.getNumAtoms(), 3))
    box = topologyBox(topology)
    return _makeStructure(chains, positions, model, mapping, pairSeparation, reference, source, box, includePriors)


def _checkTopology(topology):
    if not isinstance(topology, app.Topology):
        raise TypeError(f"topology is a {type(topology).__name__}; an openmm.app.Topology is needed, as app.PDBFile(...).topology is.")


def _modelAndMapping(model):
    from ..system import asModel

    if isinstance(model, str) and model in MAPPINGS:
        return None, MAPPINGS[model]
    model = asModel(model)
    return model, mappingOf(model)


def _beadTopology(chains, mapping):
    """The Topology of the beads, the atom that each of them is, and the chains with the beads' own numbers."""
    topology, atoms, numbered = app.Topology(), [], []
    for chain in chains:
        newChain, previous = topology.addChain(chain[0].residue.chain.id), None
        numbered.append([])
        for entry in chain:
            residue = topology.addResidue(entry.name, newChain, entry.residue.id, entry.residue.insertionCode)
            beads = {}
            for bead in mapping.beadsOf(entry.name):
                beads[bead] = topology.addAtom(bead, app.Element.getBySymbol(bead[0]), residue)
                atoms.append(entry.beads[bead])
            for a, b in mapping.bonds:
                if a in beads and b in beads:
                    topology.addBond(beads[a], beads[b])
            if previous is not None:
                topology.addBond(previous[mapping.link[0]], beads[mapping.link[1]])
            previous = beads
            numbered[-1].append(Residue(entry.name, residue, {bead: atom.index for bead, atom in beads.items()}))
    return topology, np.array(atoms, dtype=np.int64), numbered


def _makeStructure(chains, positions, model, mapping, pairSeparation, reference, source, box=None, includePriors=True):
    """chains of residues whose beads are numbered as positions are."""
    names, masses, owners = {}, {}, {}
    for chain in chains:
        for entry in chain:
            for bead, index in entry.beads.items():
                names[index], masses[index], owners[index] = mapping.typeName(entry.name, bead), MASSES[bead], entry
    order = range(positions.shape[-2])
    if model is None:
        return Structure(positions, symbols=[names[i] for i in order], masses=[masses[i] for i in order], box=box, source=source)
    known = {model.getTypeName(i): i for i in range(model.getNumTypes()) if model.getTypeName(i)}
    absent = [owners[i].residue for i in order if names[i] not in known]
    if absent:
        raise StructureError(
            f"{source}: the model {model.getName()!r} has no type for {listed(label(residue) for residue in absent)}; it knows "
            f"{' '.join(known)}."
        )
    types = [known[names[i]] for i in order]
    masses = [model.getTypeMass(types[i]) or masses[i] for i in order]
    if reference is not None:
        terms, exclusions = _listsOf(reference, types, model, source)
    elif not includePriors:
        terms, exclusions = None, None
    else:
        _refuseSpecialised(model)
        separation = _checkedSeparation(pairSeparation)
        lists = InteractionLists(mapping, [[(entry.name, entry.beads) for entry in chain] for chain in chains], separation)
        terms = interactionLists(lists, model)
        exclusions = lists.exclusions() if model.hasPairPrior() else None
    return Structure(positions, types=types, masses=masses, box=box, exclusions=exclusions, terms=terms, source=source)


def _checkedSeparation(value):
    if value is not None and (isinstance(value, bool) or int(value) != value or value < 1):
        raise ValueError(f"pairSeparation is {value!r}; it is a number of bonds, 1 or larger.")
    return None if value is None else int(value)


def _refuseSpecialised(model):
    """Priors without parameters by types say nothing about a molecule other than the one that they were made for."""
    names = [model.getPriorName(i) for i in range(model.getNumPriors()) if len(model.getPriorTypes(i)) == 0]
    if names:
        raise StructureError(
            f"The priors {', '.join(names)} of the model {model.getName()!r} have no parameters by types: mlcg specialised them for one "
            "molecule. For that one give the structure file that was converted with the model (reference=FILE); for others convert the "
            "network with mlcg's tables of priors (priors=FILE)."
        )


def _listsOf(reference, types, model, source):
    if isinstance(reference, (str, os.PathLike)):
        reference = readStructure(reference)
    if not isinstance(reference, Structure):
        raise TypeError(f"reference is a {type(reference).__name__}; a Structure or the path of a structure file is needed.")
    theirs = reference.getTypes(model).tolist()
    if theirs != types:
        if len(theirs) != len(types):
            problem = f"has {len(theirs)} beads, not {len(types)}"
        else:
            i = next(i for i, (a, b) in enumerate(zip(theirs, types, strict=True)) if a != b)
            problem = f"has {model.getTypeName(theirs[i])} for bead {i}, not {model.getTypeName(types[i])}"
        raise StructureError(f"{source} is not the molecule of the reference {reference.source}, which {problem}.")
    return reference.terms, reference.exclusions
