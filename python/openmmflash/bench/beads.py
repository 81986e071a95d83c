# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""269 beads packed like a folded protein of 54 residues in the mapping with five beads a residue (one glycine, which has no CB)."""

import numpy as np

from .models import BEAD_TYPES, RESIDUES

RESIDUE_COUNT = 54
RADIUS = 13.0  # Angstrom: 164 neighbors a bead within 15 Angstrom, as in a native fold of this length
NEAREST = 1.8  # Angstrom; the shortest bonds of the mapping are 1.2


def build(seed=1):
    """(types [269], positions [269, 3] in nm): random points in a ball, no two nearer than NEAREST, numbered along a path of near ones."""
    random = np.random.default_rng(seed)
    types = _types(random)
    points = np.empty((0, 3))
    while len(points) < len(types):
        candidate = random.uniform(-RADIUS, RADIUS, 3)
        if np.linalg.norm(candidate) < RADIUS and (not len(points) or np.linalg.norm(points - candidate, axis=1).min() > NEAREST):
            points = np.vstack([points, candidate])
    path, left = [0], set(range(1, len(points)))
    while left:
        rest = np.array(sorted(left))
        path.append(int(rest[np.argmin(np.linalg.norm(points[rest] - points[path[-1]], axis=1))]))
        left.remove(path[-1])
    return types, 0.1 * points[path]


def _types(random):
    names = [name for name in RESIDUES if name != "GLY"]
    sequence = list(random.choice(names, RESIDUE_COUNT))
    sequence[RESIDUE_COUNT // 2] = "GLY"
    beads = []
    for residue in sequence:
        beads += ["N", "GLY", "C", "O"] if residue == "GLY" else ["N", "CA", residue, "C", "O"]
    return np.array([BEAD_TYPES.index(bead) for bead in beads])


def priors(positions):
    """Interaction lists along the path, at rest where the beads stand: (terms, exclusions) of a structure file.

    Their parameters are as stiff as those of a protein model, so that a simulation of random weights holds together. Excluded from the
    repulsion are pairs up to four apart on the path, and pairs nearer than 0.4 nm.
    """
    from ..structurefile import Terms

    x, n = 10 * positions, len(positions)
    i = np.arange(n)
    bonds, angles, dihedrals = (np.stack([i[k : n - m + 1 + k] for k in range(m)], axis=1) for m in (2, 3, 4))
    length = np.linalg.norm(x[bonds[:, 1]] - x[bonds[:, 0]], axis=1)
    a, b = x[angles[:, 0]] - x[angles[:, 1]], x[angles[:, 2]] - x[angles[:, 1]]
    cosine = np.einsum("ij,ij->i", a, b) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    fourier = np.tile([0.0, 0.3, 0.1, -0.2, 0.1], (len(dihedrals), 1))
    terms = {
        "bonds": Terms(bonds, np.stack([np.full(len(bonds), 100.0), length], axis=1)),
        "angles": Terms(angles, np.stack([np.full(len(angles), 20.0), cosine], axis=1)),
        "dihedrals": Terms(dihedrals, fourier),
    }
    distance = np.linalg.norm(x[:, None] - x[None], axis=2)
    near = (distance < 4.0) | (np.abs(i[:, None] - i[None]) <= 4)
    exclusions = np.argwhere(np.triu(near, 1))
    return terms, exclusions
