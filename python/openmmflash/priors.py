# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Priors: the bonded terms that a coarse-grained model is used with, as OpenMM forces.

A model file has the parameters (docs/model-format.md, "Other priors"), a structure the interaction lists (docs/structure-format.md).
The forms are those of mlcg (Charron et al., Nature Chemistry 17, 1284 (2025)).
"""

from dataclasses import dataclass, field

import numpy as np
import openmm as mm

from .structurefile import StructureError

# cos(theta) from the three distances: unlike theta and its derivative, it is smooth for straight angles, too.
COSINE = "c = (a*a + b*b - d*d)/(2*a*b); a = distance(p1, p2); b = distance(p2, p3); d = distance(p1, p3)"


@dataclass(frozen=True)
class Form:
    """How one form of docs/model-format.md becomes an OpenMM force.

    Attributes
    ----------
    arity : int
        Particles of a term.
    columns : tuple of str
        Names of the parameters of a term; for a series its first ones.
    units : tuple of (int, int)
        Powers of the model's energy and length unit in each column; the last entry stands for all further columns.
    kind : type
        OpenMM's class.
    energy : str
        Expression for custom forces, in the columns' names. `E` is the model's energy unit in kJ/mol.
    series : bool
        Whether the number of columns varies.
    """

    arity: int
    columns: tuple
    units: tuple
    kind: type
    energy: str = ""
    series: bool = False


ENERGY, LENGTH, NUMBER = (1, 0), (0, 1), (0, 0)
STIFFNESS = (1, -2)
SIXTH = "(sigma/r)^6"
EXPONENTIAL = "(6/alpha)*exp(alpha*(1 - r/r0))"
QUARTIC = "(((k4*c + k3)*c + k2)*c + k1)*c"
WRAPPED = f"d = t - {2 * np.pi!r}*floor(t/{2 * np.pi!r} + 0.5); t = theta - x0"

FORMS = {
    "harmonic_bond": Form(2, ("k", "x0"), (STIFFNESS, LENGTH), mm.HarmonicBondForce),
    "harmonic_angle": Form(3, ("k", "x0"), (ENERGY, NUMBER), mm.HarmonicAngleForce),
    "cosine_angle": Form(3, ("k", "x0"), (ENERGY, NUMBER), mm.CustomCompoundBondForce, f"k*(c - x0)^2; {COSINE}"),
    "polynomial_angle": Form(3, ("v0",), (ENERGY,), mm.CustomAngleForce, series=True),
    "quartic_angle": Form(3, ("k4", "k3", "k2", "k1", "v0"), (ENERGY,), mm.CustomCompoundBondForce, f"{QUARTIC} + v0; {COSINE}"),
    "restricted_quartic_angle": Form(
        3, ("k4", "k3", "k2", "k1", "k", "v0"), (ENERGY,), mm.CustomCompoundBondForce, f"{QUARTIC} + k/(1 - c*c) + v0; {COSINE}"
    ),
    "fourier_dihedral": Form(4, ("v0",), (ENERGY,), mm.CustomTorsionForce, series=True),
    "harmonic_improper": Form(
        4, ("k", "x0"), (ENERGY, NUMBER), mm.CustomTorsionForce, f"k*d^2; {WRAPPED}"
    ),
    "power_repulsion": Form(2, ("sigma",), (LENGTH,), mm.CustomBondForce, f"E*{SIXTH}"),
    "exponential_repulsion": Form(2, ("alpha", "r0"), (NUMBER, LENGTH), mm.CustomBondForce, f"E*{EXPONENTIAL}"),
    "cutoff_power_repulsion": Form(
        2, ("sigma", "rc"), (LENGTH,), mm.CustomBondForce, "E*step(rc - r)*((sigma/r)^6 - u*(1 - 6*(r - rc)/rc)); u = (sigma/rc)^6"
    ),
    "cutoff_exponential_repulsion": Form(
        2, ("alpha", "r0", "rc"), (NUMBER, LENGTH, LENGTH), mm.CustomBondForce,
        f"E*step(rc - r)*({EXPONENTIAL} - u*(1 - (alpha/r0)*(r - rc))); u = (6/alpha)*exp(alpha*(1 - rc/r0))",
    ),
}  # fmt: skip


@dataclass
class _Batch:
    """Terms of one form, collected from all priors of that form. Parameters are in OpenMM's units."""

    particles: list = field(default_factory=list)
    parameters: list = field(default_factory=list)


def createPriorForces(model, structure, replicas=1, periodic=False, names=None):
    """OpenMM forces for the priors of a model.

    Parameters
    ----------
    model : FlashModel
    structure : Structure
        With the interaction list of every prior.
    replicas : int
        Copies of the structure; the particles of copy r have the indices r*n to (r+1)*n - 1.
    periodic : bool
        Whether distances and angles use the nearest image.
    names : collection of str, optional
        Only these priors. By default all.

    Returns
    -------
    list of openmm.Force
        One per form, named after it ("harmonic_bond"). Forms without terms give no force. The pair prior is not among them: FlashForce
        evaluates it.

    Raises
    ------
    StructureError
        A missing or unknown list, a list of the wrong arity, or a term for whose types the model has no parameters.
    ValueError
        A name in `names` that is not one of the model's priors.
    """
    known = [model.getPriorName(i) for i in range(model.getNumPriors())]
    for name in names or ():
        if name not in known:
            raise ValueError(f"This model has no prior {name!r}; it has {', '.join(known) or 'none'}.")
    for name in structure.terms:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise StructureError(f"{structure.source}: terms/{name} belongs to no prior of this model; it has {listed}.")
    types = structure.getTypes(model)
    batches = {}
    for index, name in enumerate(known):
        if names is None or name in names:
            particles, parameters = getPriorTerms(model, index, structure, types)
            if len(particles):
                batch = batches.setdefault(model.getPriorForm(index), _Batch())
                batch.particles.append(particles)
                batch.parameters.append(toOpenMMUnits(model.getPriorForm(index), parameters, model.getLengthUnit(), model.getEnergyUnit()))
    return [_createForce(form, batch, structure.numParticles, replicas, periodic, model.getEnergyUnit()) for form, batch in batches.items()]


def getPriorTerms(model, index, structure, types=None):
    """Particles [m, k] and parameters [m, p], in the model's units, of the terms of one prior.

    A typed table is searched for the types in the order of the term's particles and then, as the reversed term is the same bond, angle
    or torsion, in reverse order.
    """
    name, form = model.getPriorName(index), model.getPriorForm(index)
    arity, width = model.getPriorArity(index), model.getPriorNumParameters(index)
    if name not in structure.terms:
        raise StructureError(
            f"{structure.source}: there is no terms/{name}/particles for the model's prior {name!r} ({form}). "
            f"Where no term of it occurs, give an empty array of shape [0, {arity}]; to leave all priors out, use includePriors=False."
        )
    terms = structure.terms[name]
    if terms.particles.shape[1] != arity:
        shape = list(terms.particles.shape)
        raise StructureError(f"{structure.source}: terms/{name}/particles has shape {shape}; {form} needs [m, {arity}].")
    tableTypes = np.asarray(model.getPriorTypes(index), dtype=np.int64).reshape(-1, arity)
    tableParameters = np.asarray(model.getPriorParameters(index), dtype=np.float64).reshape(-1, width)
    if len(tableTypes) == 0 and (len(terms.particles) or terms.parameters is not None):
        if terms.parameters is None or terms.parameters.shape[1] != width:
            found = "is missing" if terms.parameters is None else f"has shape {list(terms.parameters.shape)}"
            raise StructureError(
                f"{structure.source}: terms/{name}/parameters {found}; the model has no parameters by types for this prior ({form}), "
                f"so that each of its {len(terms.particles)} terms needs {width} of its own."
            )
        return terms.particles, terms.parameters
    if terms.parameters is not None:
        problem = "is given, but the model has parameters by types for this prior. Leave it out."
        raise StructureError(f"{structure.source}: terms/{name}/parameters {problem}")
    if types is None:
        types = structure.getTypes(model)
    rows = {row: i for i, row in enumerate(map(tuple, tableTypes.tolist()))}
    found = np.empty(len(terms.particles), dtype=np.int64)
    for i, particles in enumerate(terms.particles):
        key = tuple(types[particles].tolist())
        row = rows.get(key, rows.get(key[::-1]))
        if row is None:
            typeNames = ", ".join(model.getTypeName(t) for t in key)
            raise StructureError(
                f"{structure.source}: terms/{name}/particles[{i}] is {particles.tolist()} with the types {typeNames} {list(key)}, for "
                f"which the model's prior {name!r} ({form}) has no parameters among its {len(rows)} rows: the model was not made for it."
            )
        found[i] = row
    return terms.particles, tableParameters[found]


def toOpenMMUnits(form, parameters, lengthUnit, energyUnit):
    """Parameters [m, p] of a form in nm, kJ/mol and rad, from a model's length unit (nm) and energy unit (kJ/mol)."""
    powers = FORMS[form].units
    scale = [energyUnit**e * lengthUnit**n for e, n in (powers[min(i, len(powers) - 1)] for i in range(parameters.shape[1]))]
    return parameters * np.array(scale)


def _createForce(form, batch, numParticles, replicas, periodic, energyUnit):
    particles = np.concatenate(batch.particles)
    particles = np.concatenate([particles + r * numParticles for r in range(replicas)]).tolist()
    parameters = _widened(form, batch.parameters)
    kind, energy, columns = FORMS[form].kind, FORMS[form].energy, FORMS[form].columns
    if form == "fourier_dihedral":
        energy, columns = _fourier((parameters.shape[1] - 1) // 2)
    elif form == "polynomial_angle":
        energy, columns = _polynomial(parameters.shape[1] - 1)
    if kind in (mm.HarmonicBondForce, mm.HarmonicAngleForce):
        force = kind()
        # mlcg writes k (x - x0)^2, OpenMM K/2 (x - x0)^2
        parameters = np.stack([parameters[:, 1], 2 * parameters[:, 0]], axis=1)
        add = force.addBond if kind is mm.HarmonicBondForce else force.addAngle
        for term, (x0, k) in zip(particles, parameters.tolist() * replicas, strict=True):
            add(*term, x0, k)
    else:
        energy = energy.replace("E*", f"{energyUnit!r}*")
        force = kind(3, energy) if kind is mm.CustomCompoundBondForce else kind(energy)
        addParameter = {
            mm.CustomBondForce: "addPerBondParameter",
            mm.CustomAngleForce: "addPerAngleParameter",
            mm.CustomTorsionForce: "addPerTorsionParameter",
            mm.CustomCompoundBondForce: "addPerBondParameter",
        }[kind]
        for column in columns:
            getattr(force, addParameter)(column)
        for term, values in zip(particles, parameters.tolist() * replicas, strict=True):
            if kind is mm.CustomCompoundBondForce:
                force.addBond(term, values)
            elif kind is mm.CustomBondForce:
                force.addBond(*term, values)
            elif kind is mm.CustomAngleForce:
                force.addAngle(*term, values)
            else:
                force.addTorsion(*term, values)
    force.setUsesPeriodicBoundaryConditions(periodic)
    force.setName(form)
    return force


def _widened(form, tables):
    """One array of the parameters of several priors; series get zeros for the terms that a shorter one lacks."""
    width = max(table.shape[1] for table in tables)
    if form == "fourier_dihedral":
        n = (width - 1) // 2
        tables = [_paddedFourier(table, n) for table in tables]
    else:
        tables = [np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in tables]
    return np.concatenate(tables)


def _paddedFourier(table, n):
    mine = (table.shape[1] - 1) // 2
    zeros = np.zeros((len(table), n - mine))
    return np.concatenate([table[:, : 1 + mine], zeros, table[:, 1 + mine :], zeros], axis=1)


def _fourier(n):
    sines = [f"a{i}*sin({i}*theta)" for i in range(1, n + 1)]
    cosines = [f"b{i}*cos({i}*theta)" for i in range(1, n + 1)]
    return " + ".join(["v0", *sines, *cosines]), ["v0", *(f"a{i}" for i in range(1, n + 1)), *(f"b{i}" for i in range(1, n + 1))]


def _polynomial(n):
    return " + ".join(["v0", *(f"k{i}*theta^{i}" for i in range(1, n + 1))]), ["v0", *(f"k{i}" for i in range(1, n + 1))]
