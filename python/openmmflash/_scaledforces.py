# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Forces of a classical force field times 1 - lambda, with lambda a parameter of the Context and the derivative by it at hand."""

import copy
import re

import numpy as np
import openmm as mm
from openmm import unit

COULOMB = 138.93545764438198  # kJ/mol nm per squared elementary charge, OpenMM's
DISTANCE = "r = distance(p1, p2)"
LENNARD_JONES = "4*epsilon*((sigma/r)^12 - (sigma/r)^6)"
# OpenMM's; the names are none that somebody's expression has.
SWITCH = (
    "switchingFactor = select(step(r - switchStart), 1 + switchX^3*(switchX*(15 - 6*switchX) - 10), 1); "
    "switchX = (r - switchStart)/(cutoffEnd - switchStart)"
)
IDENTIFIER = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
COORDINATE = re.compile(r"(?<![\w.])([xyz][12])\b")  # what names of a CustomNonbondedForce may be and a bond's may not
# What custom forces call their geometry, whether an expression uses it or not.
VARIABLES = {mm.CustomBondForce: ("r",), mm.CustomAngleForce: ("theta",), mm.CustomTorsionForce: ("theta",)}

# Energies as OpenMM's User Guide defines them, section "Standard Forces": class -> (custom class, expression, parameters).
HARMONIC = {
    mm.HarmonicBondForce: (mm.CustomBondForce, "0.5*k*(r - r0)^2", ("r0", "k")),
    mm.HarmonicAngleForce: (mm.CustomAngleForce, "0.5*k*(theta - theta0)^2", ("theta0", "k")),
    mm.PeriodicTorsionForce: (mm.CustomTorsionForce, "k*(1 + cos(n*theta - theta0))", ("n", "theta0", "k")),
    mm.RBTorsionForce: (
        mm.CustomTorsionForce,
        "c0 + c*(c1 + c*(c2 + c*(c3 + c*(c4 + c*c5)))); c = -cos(theta)",
        ("c0", "c1", "c2", "c3", "c4", "c5"),
    ),
}


def scaledForces(force, parameter):
    """Forces of the energy (1 - parameter) times that of a bonded or custom force, which stands in no System.

    Returns
    -------
    list of openmm.Force
        Of the same force group; a custom force is itself changed.
    """
    if isinstance(force, mm.CMAPTorsionForce):
        return [_named(scaled, force, parameter) for scaled in _mapForces(force)]
    if type(force) not in HARMONIC:
        return [_named(force, force, parameter)]
    kind, energy, parameters = HARMONIC[type(force)]
    scaled = kind(energy)
    for name in parameters:
        (scaled.addPerBondParameter if kind is mm.CustomBondForce else
         scaled.addPerAngleParameter if kind is mm.CustomAngleForce else scaled.addPerTorsionParameter)(name)  # fmt: skip
    what = {mm.CustomBondForce: "Bond", mm.CustomAngleForce: "Angle", mm.CustomTorsionForce: "Torsion"}[kind]
    size = {"Bond": 2, "Angle": 3, "Torsion": 4}[what]
    for i in range(getattr(force, f"getNum{what}s")()):
        values = getattr(force, f"get{what}Parameters")(i)
        getattr(scaled, f"add{what}")(*values[:size], list(values[size:]))
    return [_named(scaled, force, parameter)]


def scaledNonbonded(force, atoms, periodic, parameter):
    """What a NonbondedForce does between pairs of the atoms, as bonds times 1 - parameter: exceptions, and other pairs.

    They are CustomCompoundBondForces: by a CustomBondForce OpenMM would take all molecules among the atoms for one.

    Other pairs act as the force's method says: Lennard-Jones interactions within the cutoff, switched; Coulomb interactions within it with
    a reaction field, or, with Ewald summation, at any distance. Periodic images of the atoms are left to the force.
    """
    if not force.getIncludeDirectSpace():
        raise ValueError(
            f"{force.getName()} has setIncludeDirectSpace(False), so that some other force does what it leaves out, which cannot be scaled "
            "for some atoms. Use interpolate=False."
        )
    method, length, energy = force.getNonbondedMethod(), unit.nanometer, unit.kilojoule_per_mole
    coulomb, lennardJones, within = f"{COULOMB}*q/r", LENNARD_JONES, ""
    if method not in (mm.NonbondedForce.NoCutoff, mm.NonbondedForce.LJPME):
        rc, within = force.getCutoffDistance().value_in_unit(length), "step(cutoffEnd - r)*"
        if force.getUseSwitchingFunction():
            start = force.getSwitchingDistance().value_in_unit(length)
            lennardJones = f"switchingFactor*{LENNARD_JONES}; {SWITCH}; switchStart = {start!r}"
        lennardJones += f"; cutoffEnd = {rc!r}"
        if method in (mm.NonbondedForce.CutoffNonPeriodic, mm.NonbondedForce.CutoffPeriodic):
            dielectric = force.getReactionFieldDielectric()
            krf, crf = (dielectric - 1) / (2 * dielectric + 1) / rc**3, 3 * dielectric / (2 * dielectric + 1) / rc
            coulomb = f"{COULOMB}*q*step(cutoffEnd - r)*(1/r + {krf!r}*r*r - {crf!r})"
    exceptions = mm.CustomCompoundBondForce(2, f"{COULOMB}*q/r + {LENNARD_JONES}; {DISTANCE}")
    pairs = mm.CustomCompoundBondForce(2, f"{coulomb} + {within}{lennardJones}; {DISTANCE}")
    for bonds in (exceptions, pairs):
        for name in ("q", "sigma", "epsilon"):
            bonds.addPerBondParameter(name)
        bonds.setUsesPeriodicBoundaryConditions(periodic)
    known = {}
    for k in range(force.getNumExceptions()):
        i, j, q, sigma, epsilon = force.getExceptionParameters(k)
        known[frozenset((i, j))] = [q.value_in_unit(q.unit), sigma.value_in_unit(length), epsilon.value_in_unit(energy)]
    particles = np.array([[value._value for value in force.getParticleParameters(i)] for i in atoms])
    for k, i in enumerate(atoms):
        for m, j in enumerate(atoms[:k]):
            if frozenset((i, j)) in known:
                target, values = exceptions, known[frozenset((i, j))]
            else:
                (q1, s1, e1), (q2, s2, e2) = particles[k], particles[m]
                target, values = pairs, [q1 * q2, 0.5 * (s1 + s2), np.sqrt(e1 * e2)]
            if values[0] != 0 or values[2] != 0:
                target.addBond([i, j], values)
    return [_named(bonds, force, parameter) for bonds in (exceptions, pairs) if bonds.getNumBonds()]


def scaledCustomNonbonded(force, atoms, periodic, parameter):
    """What a CustomNonbondedForce does between pairs of the atoms, as bonds times 1 - parameter; its cutoff, switch and groups count.

    Bonds, since a second CustomNonbondedForce would have other exclusions, which OpenMM does not allow in one System.
    """
    if force.getNumComputedValues():
        raise ValueError(
            f"{force.getName()} is a CustomNonbondedForce with computed values, which cannot be scaled for some atoms. "
            "Use interpolate=False."
        )
    taken = [name for name in map(force.getGlobalParameterName, range(force.getNumGlobalParameters())) if COORDINATE.fullmatch(name)]
    if taken:
        raise ValueError(
            f"{force.getName()} is a CustomNonbondedForce with a global parameter {taken[0]!r}, which is a coordinate where it is scaled "
            "for some atoms. Give it another name, or use interpolate=False."
        )
    energy, *definitions = filter(str.strip, COORDINATE.sub(r"\1_own", force.getEnergyFunction()).split(";"))
    distance = [DISTANCE]
    if force.getNonbondedMethod() != mm.CustomNonbondedForce.NoCutoff:
        rc = force.getCutoffDistance().value_in_unit(unit.nanometer)
        energy, distance = f"step(cutoffEnd - r)*({energy})", [f"cutoffEnd = {rc!r}", DISTANCE]
        if force.getUseSwitchingFunction():
            start = force.getSwitchingDistance().value_in_unit(unit.nanometer)
            energy, distance = f"switchingFactor*{energy}", [SWITCH, f"switchStart = {start!r}", *distance]
    bonds = mm.CustomCompoundBondForce(2, ";".join([energy, *definitions, *distance]))  # no CustomBondForce: see scaledNonbonded
    names = [force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())]
    for particle in "12":
        for name in names:
            bonds.addPerBondParameter(COORDINATE.sub(r"\1_own", name + particle))
    for i in range(force.getNumGlobalParameters()):
        bonds.addGlobalParameter(force.getGlobalParameterName(i), force.getGlobalParameterDefaultValue(i))
    for i in range(force.getNumEnergyParameterDerivatives()):
        bonds.addEnergyParameterDerivative(force.getEnergyParameterDerivativeName(i))
    for i in range(force.getNumTabulatedFunctions()):
        bonds.addTabulatedFunction(force.getTabulatedFunctionName(i), copy.deepcopy(force.getTabulatedFunction(i)))
    bonds.setUsesPeriodicBoundaryConditions(periodic)
    excluded = {frozenset(force.getExclusionParticles(i)) for i in range(force.getNumExclusions())}
    groups = [tuple(map(set, force.getInteractionGroupParameters(i))) for i in range(force.getNumInteractionGroups())]
    for k, i in enumerate(atoms):
        for j in atoms[:k]:
            # OpenMM adds up a pair's interaction for each of the groups that it is in.
            times = sum((i in a and j in b) or (j in a and i in b) for a, b in groups) if groups else 1
            for _ in range(0 if frozenset((i, j)) in excluded else times):
                bonds.addBond([i, j], [*force.getParticleParameters(i), *force.getParticleParameters(j)])
    return [_named(bonds, force, parameter)] if bonds.getNumBonds() else []


def _refuseTakenName(scaled, force, parameter):
    """Within an expression a name means one thing: a parameter called as a variable would silently be this variable."""
    energy = scaled.getEnergyFunction()
    taken = {name for kind, names in VARIABLES.items() if isinstance(scaled, kind) for name in names} | set(IDENTIFIER.findall(energy))
    kinds = {mm.CustomBondForce: "Bond", mm.CustomAngleForce: "Angle", mm.CustomTorsionForce: "Torsion", mm.CustomCompoundBondForce: "Bond"}
    what = f"Per{kinds[type(scaled)]}Parameter"
    taken |= {getattr(scaled, f"get{what}Name")(i) for i in range(getattr(scaled, f"getNum{what}s")())}
    if isinstance(scaled, mm.CustomCompoundBondForce):
        taken |= {f"{axis}{i + 1}" for axis in "xyz" for i in range(scaled.getNumParticlesPerBond())}
    if parameter in taken:
        raise ValueError(
            f"parameter={parameter!r}: the energy of {force.getName()}, {energy!r}, has something else by this name. "
            f"Choose another one; taken are {', '.join(sorted(taken))}."
        )


def _named(scaled, force, parameter):
    """Put the factor into a custom force, and what is common to a force and the one that stands for it."""
    _refuseTakenName(scaled, force, parameter)
    energy, *definitions = filter(str.strip, scaled.getEnergyFunction().split(";"))
    scaled.setEnergyFunction(";".join([f"(1 - {parameter})*({energy})", *definitions]))
    scaled.addGlobalParameter(parameter, 1.0)
    scaled.addEnergyParameterDerivative(parameter)
    if scaled is not force:
        if not isinstance(force, (mm.NonbondedForce, mm.CustomNonbondedForce)):
            scaled.setUsesPeriodicBoundaryConditions(force.usesPeriodicBoundaryConditions())
        scaled.setForceGroup(force.getForceGroup())
        scaled.setName(f"{force.getName()}, scaled")
    return scaled


def _mapForces(force):
    """A CMAPTorsionForce as custom forces, one for each map that is used: OpenMM splines both alike."""
    used = {}
    for i in range(force.getNumTorsions()):
        index, *particles = force.getTorsionParameters(i)
        used.setdefault(index, []).append(particles)
    for index, torsions in used.items():
        size, energy = force.getMapParameters(index)
        values = np.array(energy.value_in_unit(unit.kilojoule_per_mole)).reshape(size, size)  # [second angle, first angle]
        closed = np.pad(values, (0, 1), mode="wrap")
        scaled = mm.CustomCompoundBondForce(8, "map(dihedral(p1, p2, p3, p4), dihedral(p5, p6, p7, p8))")
        function = mm.Continuous2DFunction(size + 1, size + 1, closed.ravel().tolist(), 0, 2 * np.pi, 0, 2 * np.pi, True)
        scaled.addTabulatedFunction("map", function)
        for particles in torsions:
            scaled.addBond(particles, [])
        yield scaled
