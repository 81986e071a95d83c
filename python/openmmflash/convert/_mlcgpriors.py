# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""mlcg's priors as typed parameter tables (docs/model-format.md, "Other priors")."""

from dataclasses import dataclass

import numpy as np

from ._errors import ConversionError
from ._moduletree import attribute, fullName, toArray
from ._torchfile import SparseTensor


@dataclass
class Table:
    """One prior: types [n, k] and parameters [n, p]. One that mlcg specialised has n = 0 and `perTerm`, parameters of a batch's terms."""

    name: str
    form: str
    types: np.ndarray
    parameters: np.ndarray
    perTerm: np.ndarray | None = None

    @property
    def arity(self):
        return self.types.shape[1]


@dataclass
class PairPrior:
    """The repulsion that becomes the model's pair prior: sigma [T, T], and the types it was made for."""

    name: str
    values: np.ndarray
    types: set


def _columns(*names):
    """Parameters that are tables [T, ..., T] each."""
    return lambda prior, where: [_dense(prior, name, where) for name in names]


def _harmonic(prior, where):
    return _columns("k", "x_0")(prior, where)


def _shifted(prior, where):
    # mlcg's feature is phi + pi or phi - pi, in [-pi, pi): k (phi' - x0)^2 is k (phi - (x0 + pi))^2 with the difference wrapped.
    k, x0 = _harmonic(prior, where)
    moved = x0.astype(np.float64) + np.pi
    return [k, moved - 2 * np.pi * np.ceil((moved - np.pi) / (2 * np.pi))]


def _dihedral(prior, where):
    sines, cosines = _dense(prior, "k1s", where), _dense(prior, "k2s", where)
    if len(sines) != len(cosines):
        raise ConversionError(f"{where}: {len(sines)} coefficients k1 and {len(cosines)} k2; there must be as many of both.")
    return [_dense(prior, "v_0", where), *sines, *cosines]


def _quarticCosine(prior, where):
    ks = list(_dense(prior, "ks", where))
    if len(ks) > 4:
        raise ConversionError(f"{where}: a polynomial of degree {len(ks)} in the cosine; up to 4 are supported.")
    ks += [np.zeros_like(ks[0])] * (4 - len(ks))
    return [*ks[::-1], _dense(prior, "v_0", where)]


def _polynomial(prior, where):
    return [_dense(prior, "v_0", where), *_dense(prior, "ks", where)]


def _withCutoff(*names):
    def read(prior, where):
        found = _columns(*names)(prior, where)
        cutoff = float(attribute(prior, "cutoff", where))
        return [*found, np.where(np.logical_or.reduce([value != 0 for value in found]), cutoff, 0.0)]

    return read


# Class of mlcg -> (form, particles of a term, reader of its columns)
READERS = {
    "HarmonicBonds": ("harmonic_bond", 2, _harmonic),
    "GeneralBonds": ("harmonic_bond", 2, _harmonic),
    "HarmonicAngles": ("cosine_angle", 3, _harmonic),
    "GeneralAngles": ("cosine_angle", 3, _harmonic),
    "HarmonicAnglesRaw": ("harmonic_angle", 3, _harmonic),
    "HarmonicImpropers": ("harmonic_improper", 4, _harmonic),
    "ShiftedPeriodicHarmonicImpropers": ("harmonic_improper", 4, _shifted),
    "Dihedral": ("fourier_dihedral", 4, _dihedral),
    "QuarticAngles": ("quartic_angle", 3, _quarticCosine),
    "QuarticRawAngles": ("polynomial_angle", 3, _polynomial),
    "RestrictedQuartic": ("restricted_quartic_angle", 3, _columns("a", "b", "c", "d", "k", "v_0")),
    "Repulsion": ("power_repulsion", 2, _columns("sigma")),
    "CutoffRepulsion": ("cutoff_power_repulsion", 2, _withCutoff("sigma")),
    "ExpRepulsion": ("exponential_repulsion", 2, _columns("alpha", "r_0")),
    "CutoffExpRepulsion": ("cutoff_exponential_repulsion", 2, _withCutoff("alpha", "r_0")),
}
# The priors that mlcg specialises have one row per term of a batch of structures instead of a table by types.
STATIC = {f"Static{name}" for name in ("HarmonicBonds", "GeneralBonds", "HarmonicAngles", "GeneralAngles", "HarmonicImpropers", "Dihedral")}


def readPriors(priors, source, notes):
    """Tables of the priors {name: module}."""
    tables = []
    for name, prior in priors.items():
        where = f"{source}: prior {name!r}"
        kind = fullName(prior).rsplit(".", 1)[-1]
        if kind in STATIC:
            tables.append(_readStatic(name, prior, READERS[kind.removeprefix("Static")], where))
        elif kind in READERS:
            tables.append(_readTyped(name, prior, *READERS[kind], where, notes))
        else:
            raise ConversionError(f"{where} is {fullName(prior)}; supported are {', '.join((*READERS, *sorted(STATIC)))}.")
        if tables[-1].form == "harmonic_improper":
            notes.append(
                f"Prior {name!r}: phi - x0 is taken in (-pi, pi] here. mlcg does not, and its energy jumps where phi passes 180 degrees; "
                f"the two differ only where they are more than 180 degrees apart."
            )
    return tables


def _readTyped(name, prior, form, arity, read, where, notes):
    columns = [np.asarray(column) for column in read(prior, where)]
    for column in columns:
        if column.ndim != arity or len(set(column.shape)) != 1 or column.shape != columns[0].shape:
            raise ConversionError(f"{where}: a table has shape {list(column.shape)}; {arity} equal extents are needed.")
    present = np.logical_or.reduce([column != 0 for column in columns])  # NaN counts as present
    keys = {tuple(int(t) for t in key) for key in attribute(prior, "allowed_interaction_keys", where, ())}
    for key in keys:
        if len(key) != arity or min(key) < 0 or max(key) >= present.shape[0]:
            raise ConversionError(f"{where}: the key {key} does not fit a table of {arity} types from 0 to {present.shape[0] - 1}.")
    rows = np.array(sorted(keys | {tuple(key) for key in np.argwhere(present).tolist()}), dtype=np.int64).reshape(-1, arity)
    dtype = np.result_type(*columns)
    parameters = np.stack([column[tuple(rows.T)] for column in columns], axis=1).astype(dtype)
    failed = np.isnan(parameters).any(axis=1)
    if failed.any():
        first = rows[failed][0].tolist()
        notes.append(f"Prior {name!r}: {failed.sum()} of {len(rows)} rows are NaN (mlcg's fit failed), first for types {first}; left out.")
        rows, parameters = rows[~failed], parameters[~failed]
    return Table(name, form, rows, parameters)


def _readStatic(name, prior, reader, where):
    form, arity, _ = reader
    values = {key: _dense(prior, key, where) for key in attribute(prior, "param_names", where)}
    if form == "fourier_dihedral":
        constant, sines, cosines = values["v_0"], values["k1s"], values["k2s"]
        # Padded like the coefficients; mlcg itself uses the first column only.
        if constant.ndim == 2:
            constant = constant[:, 0]
        perTerm = np.concatenate([constant[:, None], sines, cosines], axis=1)
    else:
        if np.any(values.get("V0", 0)):
            raise ConversionError(f"{where}: the harmonic terms have an energy offset V0, which the form {form} does not.")
        perTerm = np.stack([values["k"], values["x0"]], axis=1)
    return Table(name, form, np.zeros((0, arity), np.int64), np.zeros((0, perTerm.shape[1]), perTerm.dtype), perTerm)


def takePairPrior(tables, count, repulsion, source):
    """Take the Repulsion out of the tables and return it as the pair prior for `count` types; None where there is none or it is to stay."""
    found = [table for table in tables if table.form == "power_repulsion"]
    if repulsion == "terms" or not found:
        return None
    if len(found) > 1:
        names = ", ".join(repr(table.name) for table in found)
        raise ConversionError(
            f"{source}: there are {len(found)} repulsions, {names}, but a model has one pair prior. Use repulsion='terms'."
        )
    (table,) = found
    if table.types.size and table.types.max() >= count:
        raise ConversionError(f"{source}: prior {table.name!r} uses type {table.types.max()}; the network's embedding has {count} rows.")
    sigma = np.zeros((count, count), table.parameters.dtype)
    sigma[tuple(table.types.T)] = table.parameters[:, 0]
    if not np.array_equal(sigma, sigma.T):
        a, b = np.argwhere(sigma != sigma.T)[0]
        problem = f"sigma is {sigma[a, b]} for the types ({a}, {b}) but {sigma[b, a]} for ({b}, {a})"
        raise ConversionError(f"{source}: prior {table.name!r}: {problem}; a pair prior is symmetric. Use repulsion='terms'.")
    if (sigma < 0).any():
        a, b = np.argwhere(sigma < 0)[0]
        raise ConversionError(f"{source}: prior {table.name!r}: sigma is {sigma[a, b]} for the types ({a}, {b}); it must not be negative.")
    tables.remove(table)
    return PairPrior(table.name, sigma, {int(t) for t in np.unique(table.types)})


def _dense(prior, name, where):
    value = attribute(prior, name, where)
    if isinstance(value, SparseTensor):
        return value.toDense()
    return toArray(value.to_dense() if getattr(value, "is_sparse", False) else value)
