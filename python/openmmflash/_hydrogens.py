# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""An all-atom model takes a carbon without its hydrogens for a carbene, and says nothing: so we do."""

import functools
import os
import warnings
import xml.etree.ElementTree as ElementTree

MANY_CARBONS = 4  # of so many without any hydrogen one may think that it was forgotten


class MissingHydrogensWarning(UserWarning):
    """A model of atoms got a structure without its hydrogens."""


@functools.cache
def standardHydrogens():
    """{residue: [heavy atom of each hydrogen that every protonation state and every place in a chain has]}, from OpenMM's own table."""
    import openmm.app

    path = os.path.join(os.path.dirname(openmm.app.__file__), "data", "hydrogens.xml")
    table = {}
    for residue in ElementTree.parse(path).getroot().findall("Residue"):
        always = [h for h in residue.findall("H") if not {"terminal", "variant", "maxph"} & set(h.attrib)]
        table[residue.attrib["name"]] = [h.attrib["parent"] for h in always]
    return table


def missingHydrogens(source, topology, numbers, model):
    """A text that tells which hydrogens a structure lacks for a model that has this element, or None.

    Parameters
    ----------
    source : str
        What to call the structure.
    topology : openmm.app.Topology or None
    numbers : sequence of int
        Atomic numbers.
    model : FlashModel
    """
    if 1 not in {model.getTypeAtomicNumber(i) for i in range(model.getNumTypes())}:
        return None
    table = standardHydrogens()
    lacking, absent = [], 0
    for residue in topology.residues() if topology is not None else ():
        atoms = list(residue.atoms())
        found = sum(1 for atom in atoms if atom.element is not None and atom.element.atomic_number == 1)
        names = {atom.name for atom in atoms}
        # The backbone's N may lose its hydrogen (a cyclic or modified chain), no other parent does.
        expected = sum(1 for parent in table.get(residue.name, ()) if parent in names and parent != "N")
        if found < expected:
            lacking.append((residue, found, expected))
            absent += expected - found
    carbons = numbers.count(6)
    if lacking:
        residue, found, expected = lacking[0]
        return (
            f"{source}: hydrogens are missing in {len(lacking)} of {topology.getNumResidues()} residues (at least {absent}); "
            f"first {residue.name} {residue.id} of chain {residue.chain.id}: it has {found}, at least {expected} are expected"
        )
    if 1 not in numbers and carbons >= MANY_CARBONS:
        return f"{source} has {carbons} carbons and no hydrogen at all"
    return None


def warnOfMissingHydrogens(topology, model, stacklevel):
    """A MissingHydrogensWarning where a Topology lacks hydrogens; all its atoms have elements."""
    what = missingHydrogens("The topology", topology, [atom.element.atomic_number for atom in topology.atoms()], model)
    if what is not None:
        warnings.warn(
            f"{what}. {model.getName()} describes exactly the atoms given, another molecule, with open valences. Add hydrogens "
            "(openmm.app.Modeller.addHydrogens, PDBFixer); if the structure is right as it is, ignore this warning.",
            MissingHydrogensWarning,
            stacklevel=stacklevel + 1,
        )
