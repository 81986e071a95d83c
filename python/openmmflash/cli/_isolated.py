# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Atoms that no other atom is near: a molecule that fell apart, or positions in the wrong unit."""

import numpy as np


def isolatedAtoms(force, positions, box=None):
    """Particles of a FlashForce without another one of their group within the model's cutoff.

    Parameters
    ----------
    force : FlashForce
    positions : array [n, 3]
        Of the System's particles, nm.
    box : array [3, 3] or None
        Box vectors as rows, nm.

    Returns
    -------
    numpy.ndarray of int
        System indices, ascending. The only particle of a group is meant to be alone, and not among them.
    """
    from ase.neighborlist import primitive_neighbor_list

    entries = np.array([force.getParticleParameters(k) for k in range(force.getNumParticles())], dtype=int).reshape(-1, 3)
    alone = []
    order = np.argsort(entries[:, 2], kind="stable")
    for members in np.split(entries[order, 0], np.flatnonzero(np.diff(entries[order, 2])) + 1):
        if len(members) < 2:
            continue
        cell = np.eye(3) if box is None else np.asarray(box, dtype=float)
        first, second = primitive_neighbor_list("ij", [box is not None] * 3, cell, positions[members], force.getModel().getCutoff())
        seen = np.zeros(len(members), dtype=bool)
        seen[first[first != second]] = True  # an image of itself is no neighbour
        alone.extend(members[~seen])
    return np.sort(np.array(alone, dtype=int))


def warnOfIsolatedAtoms(context, where, advice):
    """One line on stderr if atoms of an all-atom model are alone at the Context's positions."""
    import click

    from .. import FlashForce
    from ._inputs import isAtomistic

    state = context.getState(positions=True)
    positions = state.getPositions(asNumpy=True)._value
    for force in map(FlashForce.cast, filter(FlashForce.isinstance, context.getSystem().getForces())):
        model = force.getModel()
        if not isAtomistic(model):
            continue
        box = state.getPeriodicBoxVectors(asNumpy=True)._value if force.usesPeriodicBoundaryConditions() else None
        alone = isolatedAtoms(force, positions, box)
        if len(alone):
            which = ", ".join(map(str, alone[:5])) + (", ..." if len(alone) > 5 else "")
            click.echo(
                f"Warning: {where}: {len(alone)} of {force.getNumParticles()} atoms (index {which}) have no other atom within "
                f"{model.getCutoff():g} nm, the cutoff of {model.getName()}, and are free atoms to it. {advice}",
                err=True,
            )


AT_START = "Check the structure and its unit: PDB, PDBx and XYZ files are in Angstrom, npz files in nm."
AFTER_MINIMISATION = "The molecule fell apart: the model may not know this chemistry. Look at it before you use the run."
