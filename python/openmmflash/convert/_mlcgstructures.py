# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""mlcg's structures (AtomicData) as structure files (docs/structure-format.md)."""

import numpy as np

from ..structurefile import Structure, Terms
from ._errors import ConversionError
from ._moduletree import toArray

TIME_FACTOR = 418.4  # amu A^2/ps^2 in a kcal/mol: masses in amu/418.4 make ps the unit of time beside kcal/mol and A


def readStructures(items, tables, pairPrior, lengthUnit, massUnit, source, notes):
    """Structures from a list of AtomicData: those that differ in positions only become frames of one.

    Parameters
    ----------
    items : list
        AtomicData, loaded or live.
    tables : list of Table
        The model's priors; specialised ones hold the parameters of all items' terms one after the other.
    pairPrior : PairPrior or None
    lengthUnit : float
        nm.
    massUnit : str
    source : str
        The file, for error messages.
    notes : list of str
        Extended.

    Returns
    -------
    list of Structure, list of (int, int)
        The second has the structure and frame that each item became.
    """
    if not items:
        static = [table.name for table in tables if table.perTerm is not None]
        if static:
            raise ConversionError(f"{source}: the priors {', '.join(static)} are specialised for structures that are not in the file.")
        return [], []
    offsets = {table.name: 0 for table in tables}
    groups, places = [], []
    for number, item in enumerate(items):
        where = f"{source}: structure {number}"
        structure = _readOne(item, tables, pairPrior, offsets, lengthUnit, massUnit, where, notes)
        index = next((g for g, frames in enumerate(groups) if _sameButPositions(frames[0], structure)), len(groups))
        if index == len(groups):
            groups.append([])
        groups[index].append(structure)
        places.append((index, len(groups[index]) - 1))
    for table in tables:
        if table.perTerm is not None and offsets[table.name] != len(table.perTerm):
            raise ConversionError(
                f"{source}: prior {table.name!r} has parameters for {len(table.perTerm)} terms, but the {len(items)} structures have "
                f"{offsets[table.name]} in all."
            )
    result = []
    for frames in groups:
        first = frames[0]
        positions = first.positions if len(frames) == 1 else np.stack([frame.positions for frame in frames])
        result.append(Structure(positions, first.types, None, first.masses, first.box, None, first.exclusions, first.terms, first.source))
    return result, places


def fieldsOf(item):
    """The fields of an AtomicData, loaded or live."""
    content = item.__dict__
    store = content.get("_store")
    if store is not None:
        content = store.__dict__.get("_mapping", content)
    return content


def _readOne(item, tables, pairPrior, offsets, lengthUnit, massUnit, where, notes):
    content = fieldsOf(item)
    for key in ("pos", "atom_types"):
        if content.get(key) is None:
            raise ConversionError(f"{where} has no '{key}'; it has {', '.join(content)}.")
    positions = toArray(content["pos"]).astype(np.float64) * lengthUnit
    types = toArray(content["atom_types"]).astype(np.int64).reshape(-1)
    counts = toArray(content["n_atoms"]).reshape(-1) if content.get("n_atoms") is not None else [len(types)]
    if len(counts) != 1 or positions.shape != (len(types), 3):
        raise ConversionError(
            f"{where} is a batch of {len(counts)} structures, or its {len(types)} types do not fit pos {list(positions.shape)}."
        )
    masses = None if content.get("masses") is None else _masses(toArray(content["masses"]), massUnit, where, notes)
    lists = content.get("neighbor_list") or {}
    terms = {table.name: _terms(lists, table, offsets, where) for table in tables}
    exclusions = None if pairPrior is None else _exclusions(lists, pairPrior, types, where, notes)
    unused = sorted(set(lists) - set(terms) - ({pairPrior.name} if pairPrior else set()) - {"SchNet"})
    if unused:
        _note(notes, f"The structures have interaction lists of priors that the model lacks; they are left out: {', '.join(unused)}.")
    structure = Structure(positions, types, None, masses, _box(content, lengthUnit, where), None, exclusions, terms, where)
    for table in tables:
        _checkTypes(table, terms[table.name], types, where)
    return structure


def _indexMapping(lists, name, arity, where):
    if name not in lists:
        raise ConversionError(f"{where} has no interaction list for the prior {name!r}; it has {', '.join(lists) or 'none'}.")
    mapping = toArray(lists[name]["index_mapping"])
    if mapping.ndim != 2 or len(mapping) != arity:
        raise ConversionError(f"{where}: the list of {name!r} has shape {list(mapping.shape)}; [{arity}, m] is needed.")
    return mapping.T.astype(np.int64)


def _terms(lists, table, offsets, where):
    particles = _indexMapping(lists, table.name, table.arity, where)
    if table.perTerm is None:
        return Terms(particles)
    start = offsets[table.name]
    offsets[table.name] += len(particles)
    return Terms(particles, table.perTerm[start : start + len(particles)].astype(np.float64))


def _checkTypes(table, terms, types, where):
    """mlcg gives no energy to a term for whose types it has no parameters, silently; here that is an error."""
    if table.perTerm is not None:
        return
    rows = set(map(tuple, table.types.tolist()))
    for particles in terms.particles:
        key = tuple(types[particles].tolist())
        if key not in rows:
            raise ConversionError(
                f"{where}: prior {table.name!r} has no parameters for the types {list(key)} of particles {particles.tolist()}: mlcg "
                f"would give this term no energy. Take it out of the structure's list, or use priors that were made for it."
            )


def _exclusions(lists, pairPrior, types, where, notes):
    """All pairs that are not in the repulsion's list, and those listed for which there is no sigma."""
    pairs = np.sort(_indexMapping(lists, pairPrior.name, 2, where), axis=1)
    n = len(types)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= n):
        raise ConversionError(f"{where}: the list of {pairPrior.name!r} has the index {pairs.max()}; there are {n} particles.")
    if types.min() < 0 or types.max() >= len(pairPrior.values):
        raise ConversionError(f"{where} uses type {types.max()}; the network's embedding knows the types 0 to {len(pairPrior.values) - 1}.")
    listed = np.zeros((n, n), dtype=np.int64)
    np.add.at(listed, tuple(pairs.T), 1)
    if np.diag(listed).any() or listed.max(initial=0) > 1:
        i, j = np.argwhere((listed > 1) | (np.eye(n, dtype=bool) & (listed > 0)))[0]
        problem = f"lists the pair ({i}, {j}) {listed[i, j]} times" if i != j else f"lists particle {i} with itself"
        raise ConversionError(
            f"{where}: the list of {pairPrior.name!r} {problem}, which a pair prior cannot express. Use repulsion='terms'."
        )
    missing = (listed > 0) & (pairPrior.values[np.ix_(types, types)] == 0)
    if missing.any():
        i, j = np.argwhere(missing)[0]
        found = f"{missing.sum()} listed pairs have no sigma, first particles {i} and {j} of the types {types[i]} and {types[j]}"
        _note(notes, f"Prior {pairPrior.name!r}: {found}. mlcg gives them no energy; they are excluded.")
        listed[missing] = 0
    i, j = np.triu_indices(n, 1)
    free = listed[i, j] == 0
    return np.stack([i[free], j[free]], axis=1)


def _masses(masses, unit, where, notes):
    if unit not in ("auto", "amu", f"amu/{TIME_FACTOR}"):
        raise ConversionError(f"massUnit is {unit!r}; allowed are 'auto', 'amu' and 'amu/{TIME_FACTOR}'.")
    if unit == "auto":
        small = masses < 1
        if small.any() and not small.all():
            raise ConversionError(
                f"{where}: masses from {masses.min()} to {masses.max()}: neither all smaller than 1 (amu/{TIME_FACTOR}) nor "
                f"all 1 or larger (amu). Say which with massUnit."
            )
        unit = f"amu/{TIME_FACTOR}" if small.all() else "amu"
        _note(notes, f"Masses are taken to be in {unit}, being {'smaller than 1' if small.all() else '1 or larger'}.")
    if unit == "amu":
        return masses.astype(np.float64)
    digits = 6 if masses.dtype.itemsize <= 4 else 12
    return np.array([float(f"{float(mass) * TIME_FACTOR:.{digits}g}") for mass in masses])


def _box(content, lengthUnit, where):
    cell, pbc = content.get("cell"), content.get("pbc")
    if cell is None or pbc is None or not toArray(pbc).any():
        return None
    if not toArray(pbc).all():
        raise ConversionError(f"{where} is periodic in some directions only (pbc {toArray(pbc).tolist()}), which OpenMM does not have.")
    return toArray(cell).astype(np.float64).reshape(-1, 3, 3)[0] * lengthUnit


def _sameButPositions(a, b):
    def same(x, y):
        return (x is None) == (y is None) and (x is None or np.array_equal(x, y))

    if not (same(a.types, b.types) and same(a.masses, b.masses) and same(a.box, b.box) and same(a.exclusions, b.exclusions)):
        return False
    mine, theirs = a.terms, b.terms
    return mine.keys() == theirs.keys() and all(
        same(mine[k].particles, theirs[k].particles) and same(mine[k].parameters, theirs[k].parameters) for k in mine
    )


def _note(notes, text):
    if text not in notes:
        notes.append(text)
