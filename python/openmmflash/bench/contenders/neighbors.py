# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Pairs within a cutoff, by cells, with numpy: for programs that are given their pairs, and to count what is measured."""

import itertools

import numpy as np


def directedPairs(positions, cutoff, box=None):
    """All i, j with |x_j + shift - x_i| < cutoff, every pair in both directions.

    Parameters
    ----------
    positions : [n, 3]
    cutoff : float
    box : [3], optional
        Edges of a rectangular periodic box, none shorter than twice the cutoff.

    Returns
    -------
    i, j : [pairs] int64, sorted by i
    shift : [pairs, 3], to be added to x_j
    """
    x = np.asarray(positions, dtype=np.float64)
    if box is not None and min(box) < 2 * cutoff:
        raise ValueError(f"a box of {list(box)} is smaller than twice the cutoff of {cutoff}")
    if box is None:
        origin, wrapped, offsets = x.min(axis=0), x, np.zeros_like(x)
        counts = np.maximum(np.floor(np.ptp(x, axis=0) / cutoff).astype(np.int64) + 1, 1)
        width = np.full(3, cutoff)
    else:
        box = np.asarray(box, dtype=np.float64)
        offsets = np.floor(x / box) * box
        origin, wrapped = np.zeros(3), x - offsets
        counts = np.floor(box / cutoff).astype(np.int64)
        width = box / counts
    cell = np.clip(((wrapped - origin) / width).astype(np.int64), 0, counts - 1)
    key = (cell[:, 0] * counts[1] + cell[:, 1]) * counts[2] + cell[:, 2]
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    found = []
    # With two cells along an edge, those at -1 and +1 are the same cell with different shifts; the distance decides.
    for step in itertools.product((-1, 0, 1), repeat=3):
        other, shift = cell + step, np.zeros_like(x)
        if box is None:
            inside = np.all((other >= 0) & (other < counts), axis=1)
        else:
            image = np.floor_divide(other, counts)
            other, shift = other - image * counts, image * box
            inside = np.ones(len(x), dtype=bool)
        rows = np.flatnonzero(inside)
        wanted = (other[rows, 0] * counts[1] + other[rows, 1]) * counts[2] + other[rows, 2]
        first, last = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
        length = last - first
        i = np.repeat(rows, length)
        start = np.repeat(first - np.concatenate([[0], np.cumsum(length)[:-1]]), length)
        j = order[start + np.arange(len(i))]
        d = wrapped[j] + shift[i] - wrapped[i]
        near = (np.einsum("ij,ij->i", d, d) < cutoff**2) & (i != j)
        i, j = i[near], j[near]
        found.append((i, j, shift[i] + offsets[i] - offsets[j]))
    i, j, shift = (np.concatenate(part) for part in zip(*found))
    order = np.argsort(i, kind="stable")
    return i[order], j[order], shift[order]
