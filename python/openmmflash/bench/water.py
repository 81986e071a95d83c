# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""A periodic box of water at 0.997 g/cm^3: molecules on a cubic lattice, turned so that none comes too near to another."""

import numpy as np

DENSITY = 0.997  # g/cm^3, at 298 K
VOLUME = 18.01528 / (DENSITY * 0.602214076)  # Angstrom^3 a molecule
O_H, H_O_H = 0.9572, 104.52
NEAREST = 1.6  # Angstrom between atoms of different molecules
TRIALS = 200


def moleculesFor(atoms):
    """The cube nearest to so many atoms, at least 4^3 molecules: (edge in molecules, molecules)."""
    edge = max(4, int(np.floor((atoms / 3) ** (1 / 3) + 0.5)))
    candidates = [k for k in (edge - 1, edge, edge + 1) if k >= 4]
    edge = min(candidates, key=lambda k: abs(3 * k**3 - atoms))
    return edge, edge**3


def build(edge, seed=1):
    """edge^3 molecules.

    Returns
    -------
    numbers : [3 molecules] atomic numbers: O H H of each molecule
    positions : [3 molecules, 3] in nm; molecules are whole
    box : [3] in nm
    """
    random = np.random.default_rng(seed)
    half = np.radians(H_O_H / 2)
    water = O_H * np.array([[0, 0, 0], [np.sin(half), 0, np.cos(half)], [-np.sin(half), 0, np.cos(half)]])
    water -= water.mean(axis=0)
    spacing = VOLUME ** (1 / 3)
    length = edge * spacing
    cells = np.array(list(np.ndindex(edge, edge, edge)))
    index = {tuple(cell): k for k, cell in enumerate(cells.tolist())}
    steps = np.array([s for s in np.ndindex(3, 3, 3) if s != (1, 1, 1)]) - 1
    placed = np.full((len(cells), 3, 3), np.nan)
    for k, cell in enumerate(cells):
        around = placed[[index[tuple(((cell + step) % edge).tolist())] for step in steps]].reshape(-1, 3)
        around = around[~np.isnan(around[:, 0])]
        best = None
        for _ in range(TRIALS):
            molecule = (cell + 0.5) * spacing + water @ _rotation(random).T
            if not len(around):
                best = (np.inf, molecule)
                break
            d = around[None] - molecule[:, None]
            d -= length * np.round(d / length)
            nearest = np.sqrt((d**2).sum(axis=-1).min())
            if best is None or nearest > best[0]:
                best = (nearest, molecule)
            if nearest > NEAREST:
                break
        placed[k] = best[1]
    return np.tile([8, 1, 1], len(cells)), 0.1 * placed.reshape(-1, 3), np.full(3, 0.1 * length)


def _rotation(random):
    """A uniformly distributed rotation, from a random unit quaternion."""
    q = random.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
