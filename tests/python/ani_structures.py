# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Structures on which ANI models are compared with TorchANI: random, but the same ones in every run. Lengths in Angstrom."""

from dataclasses import dataclass

import numpy as np


@dataclass
class AniStructure:
    name: str
    types: np.ndarray  # [n]
    positions: np.ndarray  # [n, 3]
    box: np.ndarray | None = None  # [3, 3], rows, in OpenMM's reduced form


def packed(random, count, numTypes, distance, volume, box=None):
    """`count` atoms of random types, none nearer to another than `distance`, in a cube of `volume` A^3 an atom, or in the box."""
    cell = np.eye(3) * (count * volume) ** (1 / 3) if box is None else np.array(box)
    positions = np.zeros((0, 3))
    for _ in range(100000):
        if len(positions) == count:
            return random.integers(0, numTypes, count), positions
        candidate = random.uniform(size=3) @ cell
        d = positions - candidate
        if box is not None:
            shifts = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]) @ cell
            d = (d[:, None] + shifts).reshape(-1, 3)
        if not len(d) or (d**2).sum(1).min() > distance**2:
            positions = np.vstack([positions, candidate])
    raise AssertionError(f"{count} atoms {distance} A apart do not fit")


def waterBox(random, edge=4):
    """edge^3 water molecules at the liquid's density, on a jittered grid, randomly oriented; molecules are whole across the boundary."""
    spacing = 3.104
    half = np.radians(104.52 / 2)
    water = np.array([[0, 0, 0], [np.sin(half), 0, np.cos(half)], [-np.sin(half), 0, np.cos(half)]]) * 0.9572
    positions = []
    for cell in np.ndindex(edge, edge, edge):
        rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
        positions.append((np.array(cell) + 0.5) * spacing + random.uniform(-0.2, 0.2, 3) + water @ rotation)
    return np.tile([3, 0, 0], edge**3), np.vstack(positions), np.eye(3) * spacing * edge


def triclinic(a, b, c):
    """A skewed box with the lengths a, b, c along the diagonal, at the limit of OpenMM's reduced form."""
    return np.array([[a, 0, 0], [-0.47 * a, b, 0], [0.31 * a, -0.44 * b, c]])


def structures(numTypes, large):
    """At least 20 structures; with `large`, up to 500 atoms, else up to 192."""
    random = np.random.default_rng(2024)
    result = [AniStructure(f"atom {t}", np.array([t]), random.uniform(-9, 9, (1, 3))) for t in range(numTypes)]
    # Inside both cutoffs, between them, at the angular one, and beyond both.
    for distance in (0.9, 1.1, 1.53, 3.4999999, 3.5, 4.4, 5.0999, 6.0):
        direction = random.normal(size=3)
        types = random.integers(0, numTypes, 2)
        positions = np.array([np.zeros(3), distance * direction / np.linalg.norm(direction)])
        result.append(AniStructure(f"dimer at {distance}", types, positions))
    line = np.array([[0, 0, 0], [1.2, 0, 0], [2.4, 0, 0], [3.6, 0, 0]])
    result.append(AniStructure("linear chain", np.array([1, 1, 0, numTypes - 1]), line))
    for count, distance, volume in (
        (3, 0.9, 8),
        (5, 0.9, 6),
        (8, 1.0, 8),
        (12, 0.9, 6),
        (20, 1.1, 9),
        (33, 0.9, 7),
        (50, 1.2, 10),
        (80, 1.0, 9),
    ):
        result.append(AniStructure(f"cluster of {count}", *packed(random, count, numTypes, distance, volume)))
    for name, count, box in (
        ("cubic box", 40, np.eye(3) * 11.5),
        ("triclinic box", 60, triclinic(11.3, 12.1, 10.7)),
        ("triclinic box smaller than twice the cutoff", 24, triclinic(7.1, 6.4, 6.8)),
        ("triclinic box smaller than the cutoff", 6, triclinic(4.3, 3.7, 4.0)),
        ("one atom in a box smaller than the cutoff", 1, triclinic(2.9, 3.1, 3.3)),
    ):
        result.append(AniStructure(name, *packed(random, count, numTypes, 0.95, 0, box), box))
    result.append(AniStructure("water box of 192", *waterBox(random)))
    if large:
        result.append(AniStructure("cluster of 500", *packed(random, 500, numTypes, 1.0, 10)))
        box = triclinic(17, 16, 15.5)
        result.append(AniStructure("triclinic box of 400", *packed(random, 400, numTypes, 1.0, 0, box), box))
    return result
