# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""createMixedSystem: some molecules by a model, everything else by a classical force field (mechanical embedding).

OpenMM-ML interpolates between both descriptions by a CustomCVForce, which evaluates them in Contexts of its own. Here every force stands in
the System itself, scaled by the parameter, so that energies are those of the System's own kernels and dU/dlambda comes with them.
"""

import copy
import re
import xml.etree.ElementTree as etree

import openmm as mm
from openmm import app

from ._scaledforces import IDENTIFIER, scaledCustomNonbonded, scaledForces, scaledNonbonded
from .structurefile import StructureError
from .system import asModel, elementTypes

# Forces made of terms that XML lists one by one.
TERMS = (
    mm.HarmonicBondForce,
    mm.HarmonicAngleForce,
    mm.PeriodicTorsionForce,
    mm.RBTorsionForce,
    mm.CMAPTorsionForce,
    mm.CustomBondForce,
    mm.CustomAngleForce,
    mm.CustomTorsionForce,
    mm.CustomCompoundBondForce,
)
# Forces that stay as they are: no interactions, or none that some atoms have for themselves.
KEPT = (
    mm.CMMotionRemover,
    mm.AndersenThermostat,
    mm.MonteCarloBarostat,
    mm.MonteCarloAnisotropicBarostat,
    mm.MonteCarloMembraneBarostat,
    mm.MonteCarloFlexibleBarostat,
    mm.CustomExternalForce,
    mm.CustomCentroidBondForce,
    mm.RMSDForce,
    mm.GBSAOBCForce,
    mm.CustomGBForce,
)
PARTICLE = re.compile("[pab][0-9]+")


def createMixedSystem(
    topology, system, atoms, model, interpolate=False, parameter="lambda_interpolate", removeConstraints=True, forceGroup=0
):
    """Make a System in which a model describes some molecules within, and a classical force field everything else.

    The interactions among the chosen atoms come from the model, those of all others, and between both, from the force field: mechanical
    embedding. The energy is that of openmmml.MLPotential.createMixedSystem.

    What the model replaces is told by the atoms alone: every bonded or custom term all atoms of which are chosen goes, and with it your own
    restraints and biases (CustomTorsionForce, CustomCompoundBondForce, HarmonicBondForce, ...). Add restraints and umbrellas to the System
    that this function returns. docs/openmm-ml.md has a table of what goes and what stays.

    Parameters
    ----------
    topology : openmm.app.Topology
    system : openmm.System
        The whole topology by a classical force field. It is not changed.
    atoms : iterable of int
        The atoms, whole molecules, that the model describes. The model sees them in this order. Virtual sites without an element are
        left out: what they do among themselves and the atoms goes with the atoms that they are made of.
    model : FlashModel or path or str
        A model of elements, a model file, or the name of a known model ("ani2x").
    interpolate : bool
        Make the energy (1 - lambda) U(force field) + lambda U(mixed), with lambda a parameter of the Context, 1 by default, and
        State.getEnergyParameterDerivatives() tell dU/dlambda. At lambda = 0 the energy is that of `system`.
    parameter : str
        The name of lambda: letters, digits and _, and none that the energy of a scaled force uses ("k", "r", "theta", ...).
    removeConstraints : bool
        Remove the constraints between atoms of the model.
    forceGroup : int
        The force group of the FlashForce. Other forces keep theirs.

    Returns
    -------
    openmm.System
        Its forces are those of `system`, in the same order, without what the model replaces; behind them the new ones.

    Raises
    ------
    ValueError
        An argument that does not fit; atoms that are bonded or constrained to others, by the topology or the System (OpenMM-ML has link
        atoms: MLPotential("ani2x-flash")), or have a virtual site in common with others; atoms that a FlashForce of the System has
        already; a force that cannot be taken apart; with interpolate, constrained bonds that the force field has no energy for.
        StructureError, a ValueError: an element that the model does not have.
    TypeError
        Arguments in another order.
    """
    if not isinstance(topology, app.Topology) or not isinstance(system, mm.System):
        raise TypeError(
            f"createMixedSystem got a {type(topology).__name__} and a {type(system).__name__}; an openmm.app.Topology and then an "
            "openmm.System are needed."
        )
    model, atoms = asModel(model), checkedAtoms(atoms, topology.getNumAtoms())
    if system.getNumParticles() != topology.getNumAtoms():
        raise ValueError(
            f"The system has {system.getNumParticles()} particles and the topology {topology.getNumAtoms()} atoms; they must agree."
        )
    if interpolate and not (isinstance(parameter, str) and IDENTIFIER.fullmatch(parameter)):
        raise ValueError(f"parameter={parameter!r}; a name of letters, digits and _ is needed, as OpenMM's expressions have them.")
    described = atoms + _sitesOf(system, topology, set(atoms))
    inner = _refuseCutBonds(topology, system, set(described))
    # Other forces may be periodic on their own account, as restraints by periodicdistance() are.
    nonbonded = [force for force in system.getForces() if isinstance(force, (mm.NonbondedForce, mm.CustomNonbondedForce))]
    periodic = any(force.usesPeriodicBoundaryConditions() for force in nonbonded or [system])
    mixed, inside = _split(system, set(described), parameter if interpolate else None)
    if interpolate:
        _refuseMissingTerms(mixed, inside, topology, set(atoms), removeConstraints)
    new = [scaled for force in inside for scaled in scaledForces(force, parameter)] if interpolate else []
    for force, original in zip(mixed.getForces(), system.getForces()):
        if isinstance(force, mm.NonbondedForce):
            new += scaledNonbonded(original, described, periodic, parameter) if interpolate else []
            _excludeNonbonded(force, described, periodic)
        elif isinstance(force, mm.CustomNonbondedForce):
            new += scaledCustomNonbonded(original, described, periodic, parameter) if interpolate else []
            _excludeCustomNonbonded(force, described)
    for force in new:
        mixed.addForce(force)
    flash = addSubsetForces(mixed, topology, model, atoms, periodic, forceGroup, inner)
    if interpolate:
        flash.addGlobalParameter(parameter, 1.0)
        flash.addEnergyParameterDerivative(parameter)
    if removeConstraints:
        for i in reversed(range(mixed.getNumConstraints())):
            if set(mixed.getConstraintParameters(i)[:2]) <= set(atoms):
                mixed.removeConstraint(i)
    return mixed


def checkedAtoms(atoms, n):
    """The indices as a list of int, checked."""
    try:
        atoms = list(atoms)
    except TypeError:
        raise ValueError(f"atoms is {atoms!r}; a list of indices is needed, 0 to {n - 1}.") from None
    for i in atoms:
        if isinstance(i, bool) or not hasattr(i, "__index__") or not 0 <= i < n:
            raise ValueError(f"atoms has {i!r}; indices of the topology's {n} atoms are needed, 0 to {n - 1}.")
    atoms = [int(i) for i in atoms]
    if not atoms:
        raise ValueError("atoms is empty: name at least one, or use the classical force field alone.")
    if len(set(atoms)) < len(atoms):
        raise ValueError(f"atoms has {next(i for i in atoms if atoms.count(i) > 1)} twice.")
    return atoms


def _sitesOf(system, topology, chosen):
    """Virtual sites made of chosen atoms, not chosen themselves."""
    sites, everyone = [], list(topology.atoms())
    for i in range(system.getNumParticles()):
        if system.isVirtualSite(i) and i not in chosen:
            site = system.getVirtualSite(i)
            parents = {site.getParticle(k) for k in range(site.getNumParticles())}
            if parents <= chosen:
                sites.append(i)
            elif parents & chosen:
                raise ValueError(
                    f"Atom {i} ({everyone[i]}) is a virtual site of atoms {', '.join(map(str, sorted(parents)))}, of which only some are "
                    "among the atoms. Choose whole molecules."
                )
    return sites


def addSubsetForces(system, topology, model, atoms, periodic, forceGroup, bonds=()):
    """Add to a System a FlashForce, returned, for some atoms of the topology, in their order; in a periodic box also their bonds.

    Without a force that tells the bonds, a barostat would scale these atoms apart. `bonds`: pairs of these atoms besides the topology's.
    """
    from . import FlashForce

    if not any(model.getTypeAtomicNumber(i) > 0 for i in range(model.getNumTypes())) or model.hasPairPrior():
        raise StructureError("A part of a system needs a model of elements without priors; this one has beads or a pair prior.")
    chosen, everyone = set(atoms), list(topology.atoms())
    for other in (FlashForce.cast(force) for force in system.getForces() if FlashForce.isinstance(force)):
        common = chosen.intersection(other.getParticleParameters(i)[0] for i in range(other.getNumParticles()))
        if common:
            raise ValueError(
                f"Atom {min(common)} ({everyone[min(common)]}) is in a FlashForce of the system already ({other.getName()!r}): two models "
                "of the same atoms would add up. Choose other atoms, or begin with the classical system."
            )
    force = FlashForce(model)
    force.addParticles(atoms, elementTypes([everyone[i] for i in atoms], model))
    force.setUsesPeriodicBoundaryConditions(periodic)
    force.setForceGroup(forceGroup)
    force.setName("FlashForce")
    system.addForce(force)
    pairs = {(a.index, b.index) for a, b in topology.bonds() if a.index in chosen and b.index in chosen}
    pairs = sorted({tuple(sorted(pair)) for pair in (*pairs, *bonds)})
    if periodic and pairs:
        molecules = mm.HarmonicBondForce()
        for a, b in pairs:
            molecules.addBond(a, b, 0.0, 0.0)
        molecules.setUsesPeriodicBoundaryConditions(True)
        molecules.setForceGroup(forceGroup)
        molecules.setName("molecules")
        system.addForce(molecules)
    return force


def _refuseCutBonds(topology, system, chosen):
    """Refuse bonds, of the topology or the System, between chosen and other atoms; returns the System's pairs of chosen atoms.

    A bond between two atoms that see each other otherwise, too, is no chemical one but a restraint, which may be there.
    """
    atoms, inner, outer = list(topology.atoms()), [], []
    for a, b in topology.bonds():
        if (a.index in chosen) != (b.index in chosen):
            _cutBond(atoms, a.index, b.index, chosen, "bonded")
    for i in range(system.getNumConstraints()):
        a, b, _ = system.getConstraintParameters(i)
        if (a in chosen) != (b in chosen):
            _cutBond(atoms, a, b, chosen, "constrained")
        elif a in chosen:
            inner.append((a, b))
    for force in system.getForces():
        if isinstance(force, (mm.HarmonicBondForce, mm.CustomBondForce)):
            pairs = [force.getBondParameters(i)[:2] for i in range(force.getNumBonds())]
            inner += [(a, b) for a, b in pairs if a in chosen and b in chosen]
            outer += [(a, b) for a, b in pairs if (a in chosen) != (b in chosen)]
    if outer:
        unseen = _excludedPairs(system)
        for a, b in outer:
            if unseen is None or frozenset((a, b)) in unseen:
                _cutBond(atoms, a, b, chosen, "bonded, in the system,")
    return inner


def _cutBond(atoms, a, b, chosen, how):
    inner, outer = (a, b) if a in chosen else (b, a)
    raise ValueError(
        f"Atom {inner} ({atoms[inner]}) is {how} to atom {outer} ({atoms[outer]}), which is not among the atoms. Choose whole "
        'molecules, or let OpenMM-ML put link atoms there: openmmml.MLPotential("ani2x-flash").createMixedSystem(...).'
    )


def _excludedPairs(system):
    """Pairs without nonbonded interaction; None where nothing has any."""
    excluded = None
    for force in system.getForces():
        if isinstance(force, mm.NonbondedForce):
            terms = map(force.getExceptionParameters, range(force.getNumExceptions()))
            pairs = [(i, j) for i, j, charge, _, depth in terms if charge._value == depth._value == 0]
            excluded = (excluded or set()) | set(map(frozenset, pairs))
        elif isinstance(force, mm.CustomNonbondedForce):
            pairs = map(force.getExclusionParticles, range(force.getNumExclusions()))
            excluded = (excluded or set()) | set(map(frozenset, pairs))
    return excluded


def _split(system, chosen, parameter):
    """(a copy of the System without the terms that have only chosen particles, forces made of these terms)."""
    for i, force in enumerate(system.getForces()):
        if not isinstance(force, TERMS + KEPT + (mm.NonbondedForce, mm.CustomNonbondedForce)) and not _isFlash(force):
            raise ValueError(
                f"Force {i} ({force.getName()}) is a {type(force).__name__}: what it does between the chosen atoms cannot be taken out. "
                "Remove it from the system, and add it to the mixed system if it is meant to act there, too."
            )
    root, inside = etree.fromstring(mm.XmlSerializer.serialize(system)), []
    for force, element in zip(system.getForces(), root.findall("./Forces/Force")):
        if parameter is not None and any(p.get("name") == parameter for p in element.findall("./GlobalParameters/Parameter")):
            raise ValueError(
                f"The system's {force.getName()} has a global parameter {parameter!r} already. Choose another name: parameter=..."
            )
        if isinstance(force, TERMS):
            selected = copy.deepcopy(element)
            if _removeTerms(selected, lambda particles: not particles <= chosen):
                _removeTerms(element, lambda particles: particles <= chosen)
                inside.append(mm.XmlSerializer.deserialize(etree.tostring(selected, encoding="unicode")))
    return mm.XmlSerializer.deserialize(etree.tostring(root, encoding="unicode")), inside


def _isFlash(force):
    from . import FlashForce

    return FlashForce.isinstance(force)


def _removeTerms(element, shouldRemove):
    """Remove terms by their sets of particles; returns how many are left."""
    left = 0
    for terms in (terms for tag in ("Bonds", "Angles", "Torsions") for terms in element.findall(tag)):
        for term in list(terms):
            if shouldRemove({int(value) for key, value in term.attrib.items() if PARTICLE.fullmatch(key)}):
                terms.remove(term)
        left += len(terms)
    return left


def _refuseMissingTerms(mixed, inside, topology, chosen, removeConstraints):
    """At lambda = 0 the force field alone holds what constraints, now removed, have held."""
    if not removeConstraints:
        return
    held = set()
    for force in inside:
        if isinstance(force, (mm.HarmonicBondForce, mm.CustomBondForce)):
            held |= {frozenset(force.getBondParameters(i)[:2]) for i in range(force.getNumBonds())}
        elif isinstance(force, (mm.HarmonicAngleForce, mm.CustomAngleForce)):
            held |= {frozenset(force.getAngleParameters(i)[0:3:2]) for i in range(force.getNumAngles())}
    atoms = list(topology.atoms())
    for i in range(mixed.getNumConstraints()):
        a, b = mixed.getConstraintParameters(i)[:2]
        if a in chosen and b in chosen and frozenset((a, b)) not in held:
            raise ValueError(
                f"Atoms {a} ({atoms[a]}) and {b} ({atoms[b]}) are constrained, and the force field has no energy for their distance: "
                "at lambda = 0 nothing would hold them. Make the system with constraints=None and rigidWater=False, or with "
                "flexibleConstraints=True."
            )


def _excludeNonbonded(force, atoms, periodic):
    for k in range(force.getNumParticleParameterOffsets()):
        if force.getParticleParameterOffset(k)[1] in set(atoms):
            raise ValueError(
                f"The NonbondedForce has a parameter offset for atom {force.getParticleParameterOffset(k)[1]}, which the model describes."
            )
    for k in range(force.getNumExceptionParameterOffsets()):
        if set(force.getExceptionParameters(force.getExceptionParameterOffset(k)[1])[:2]) <= set(atoms):
            raise ValueError("The NonbondedForce has an exception parameter offset for two atoms that the model describes.")
    for k, i in enumerate(atoms):
        for j in atoms[:k]:
            force.addException(i, j, 0.0, 1.0, 0.0, True)
    # Where the atoms are several molecules, excluded are those that are next to each other.
    force.setExceptionsUsePeriodicBoundaryConditions(periodic)


def _excludeCustomNonbonded(force, atoms):
    excluded = {frozenset(force.getExclusionParticles(i)) for i in range(force.getNumExclusions())}
    for k, i in enumerate(atoms):
        for j in atoms[:k]:
            if frozenset((i, j)) not in excluded:
                force.addExclusion(i, j)
