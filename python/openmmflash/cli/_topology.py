# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""A Topology for structures that come without one, so that viewers find names, residues and bonds beside the trajectory."""

import numpy as np

from ..coarsegrain._mappings import BACKBONE, RESIDUES


def makeTopology(molecule, model):
    """A Topology of a structurefile.Structure.

    Atoms get their elements. Beads named after residues become C-alpha atoms of such residues; beads of a backbone (N CA C O, the side
    chain named after its residue) become residues from N to N; other beads keep their names. Each group is a chain.
    """
    from openmm import app, unit

    types = molecule.getTypes(model)
    names = [model.getTypeName(int(t)) for t in types]
    groups = np.zeros(len(names), dtype=int) if molecule.groups is None else molecule.groups
    topology = app.Topology()
    box = None if molecule.box is None else molecule.box * unit.nanometer
    topology.setPeriodicBoxVectors(box)
    chains, residues, atoms = {}, {}, []
    labels = _labels(names, types, model, groups)
    for i, (atomName, residueName, residueKey) in enumerate(labels):
        group = int(groups[i])
        if group not in chains:
            chains[group] = topology.addChain()
        if (group, residueKey) not in residues:
            residues[group, residueKey] = topology.addResidue(residueName, chains[group])
        number = model.getTypeAtomicNumber(int(types[i]))
        element = app.Element.getByAtomicNumber(number) if number else None
        atoms.append(topology.addAtom(atomName, element, residues[group, residueKey]))
    order = [atom.index for residue in topology.residues() for atom in residue.atoms()]
    if order != sorted(order):  # groups or residues that interleave: files are written residue by residue, in another order than the frames
        return _flat(names, types, model, box)
    bonds = {model.getPriorName(i) for i in range(model.getNumPriors()) if model.getPriorForm(i) == "harmonic_bond"}
    for name in sorted(bonds & set(molecule.terms)):
        for i, j in molecule.terms[name].particles:
            topology.addBond(atoms[i], atoms[j])
    return topology


def _labels(names, types, model, groups):
    """(atom's name, residue's name, residue's key) of each particle."""
    known = {model.getTypeName(i) for i in range(model.getNumTypes())} - {""}
    atomistic = all(model.getTypeAtomicNumber(int(t)) for t in types)
    if not atomistic and known <= set(RESIDUES):
        return [("CA", name, i) for i, name in enumerate(names)]
    if not atomistic and set(BACKBONE) <= known <= {*RESIDUES, *BACKBONE}:
        labels, key = [], -1
        for i, name in enumerate(names):
            if key < 0 or name == "N" or groups[i] != groups[i - 1]:
                key += 1
            labels.append([name if name in BACKBONE else "CB", "GLY", key])
        sideChains = {labels[i][2]: name for i, name in enumerate(names) if name in RESIDUES}
        for label in labels:
            label[1] = sideChains.get(label[2], "GLY")
        # Glycine has no CB: its CA bead carries the residue's type.
        for label, name in zip(labels, names):
            if name == "GLY":
                label[0] = "CA"
        return labels
    return [(name if len(names) > 3843 else f"{name}{i + 1}", "MOL", 0) for i, name in enumerate(names)]


def _flat(names, types, model, box):
    from openmm import app

    topology = app.Topology()
    topology.setPeriodicBoxVectors(box)
    residue = topology.addResidue("MOL", topology.addChain())
    for i, name in enumerate(names):
        number = model.getTypeAtomicNumber(int(types[i]))
        topology.addAtom(f"{name}{i + 1}", app.Element.getByAtomicNumber(number) if number else None, residue)
    return topology
