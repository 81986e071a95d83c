# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Replicas in one Context: what would couple them is refused, each has its energies, its temperature and a thermostat of its own.

The particles of replica r have the indices r*n to (r+1)*n - 1, as `createSystem(..., replicas=R)` arranges them.
"""

import collections
import re
import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import openmm as mm
from openmm import unit

from .flash import FlashForce

GAS_CONSTANT = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)

# Forces whose energy is a sum of terms: where OpenMM's XML has the terms, and how it names a term's particles.
_TERMS = {
    mm.HarmonicBondForce: ("Bonds", r"p\d+"),
    mm.HarmonicAngleForce: ("Angles", r"p\d+"),
    mm.PeriodicTorsionForce: ("Torsions", r"p\d+"),
    mm.RBTorsionForce: ("Torsions", r"p\d+"),
    mm.CustomBondForce: ("Bonds", r"p\d+"),
    mm.CustomAngleForce: ("Angles", r"p\d+"),
    mm.CustomTorsionForce: ("Torsions", r"p\d+"),
    mm.CustomCompoundBondForce: ("Bonds", r"p\d+"),
    mm.CustomExternalForce: ("Particles", "index"),
}
BAROSTATS = (
    mm.MonteCarloBarostat,
    mm.MonteCarloAnisotropicBarostat,
    mm.MonteCarloMembraneBarostat,
    mm.MonteCarloFlexibleBarostat,
    mm.RPMDMonteCarloBarostat,
)


def checkReplicas(system, replicas, integrator=None):
    """Refuse what would make replicas in one Context feel each other.

    Parameters
    ----------
    system : openmm.System
    replicas : int
        Copies in the System, one after another.
    integrator : openmm.Integrator, optional

    Returns
    -------
    openmm.System
        One replica: its masses and its forces, but for FlashForce, the energies of which are known by group.

    Raises
    ------
    ValueError
        Numbers of particles that do not fit; a CMMotionRemover, a barostat, a constraint, a group of FlashForce or a term that couples
        replicas; forces that differ between replicas or cannot be told apart; an integrator with one thermostat or one adaptive step for
        all, that acts on pairs of particles, or with per-DOF variables (temperatures) for another number of particles; an
        AndersenThermostat beside temperatures of each replica. The message names it and tells what to do. A CustomIntegrator that sums
        over all particles, or uses their energy, gives a UserWarning. Of a CompoundIntegrator all parts are looked at.
    """
    n = particlesPerReplica(system, replicas)
    masses = [system.getParticleMass(i)._value for i in range(system.getNumParticles())]
    _refuseDifferent("mass", np.reshape(masses, (replicas, n)))
    if any(system.isVirtualSite(i) for i in range(system.getNumParticles())):
        raise ValueError("The System has virtual sites, which are not supported among replicas. Remove them.")
    one = mm.System()
    for mass in masses[:n]:
        one.addParticle(mass)
    one.setDefaultPeriodicBoxVectors(*system.getDefaultPeriodicBoxVectors())
    _constraints(system, replicas, n)
    for force in system.getForces():
        if FlashForce.isinstance(force):
            groupsOfReplicas(FlashForce.cast(force), replicas, n)
        elif isinstance(force, mm.CMMotionRemover):
            if replicas > 1:
                raise ValueError(
                    "The System has a CMMotionRemover, which holds the common centre of mass of all replicas and so couples them. "
                    "Remove it; createSystem adds none where replicas > 1."
                )
        elif isinstance(force, BAROSTATS):
            if replicas > 1:
                raise ValueError(
                    f"The System has a {_name(force)}: replicas share one box, so its volume would be nobody's. Remove it, or run the "
                    "replicas in Contexts of their own."
                )
        elif type(force) in _TERMS:
            one.addForce(_oneReplica(force, replicas, n))
        elif not isinstance(force, mm.AndersenThermostat):  # its collisions are each particle's own, and it has no energy
            listed = ", ".join(sorted(kind.__name__ for kind in _TERMS))
            raise ValueError(
                f"The energy of the System's {_name(force)} cannot be told apart by replica. Besides FlashForce there may be {listed}."
            )
    for part in _parts(integrator):
        if isinstance(part, mm.CustomIntegrator):
            _checkSizes(part, system.getNumParticles())
        if replicas > 1:
            _checkIntegrator(part, n)
            if hasTemperatures(part) and any(isinstance(force, mm.AndersenThermostat) for force in system.getForces()):
                raise ValueError(
                    "The System has an AndersenThermostat, which has one temperature for all replicas; the integrator has one for each. "
                    "Remove the AndersenThermostat: the integrator is the thermostat."
                )
    return one


class ReplicaEnergies:
    """Energies and temperatures of each replica of a Context.

    Parameters
    ----------
    context : openmm.Context
    replicas : int
        Copies in the Context, one after another.

    Raises
    ------
    ValueError
        As checkReplicas.
    """

    def __init__(self, context, replicas):
        system = context.getSystem()
        one = checkReplicas(system, replicas, context.getIntegrator())
        self.context, self.replicas, self.numParticles = context, replicas, one.getNumParticles()
        self.masses = np.array([one.getParticleMass(i)._value for i in range(self.numParticles)])
        constraints = system.getNumConstraints() // replicas
        held = 3 if any(isinstance(force, mm.CMMotionRemover) for force in system.getForces()) else 0  # only a single replica may have one
        self.degreesOfFreedom = max(3 * int(np.count_nonzero(self.masses)) - constraints - held, 1)
        self._forces = [FlashForce.cast(force) for force in system.getForces() if FlashForce.isinstance(force)]
        self._groups = [groupsOfReplicas(force, replicas, self.numParticles) for force in self._forces]
        self._other = None
        if one.getNumForces():
            self._other = mm.Context(one, mm.VerletIntegrator(0.001), mm.Platform.getPlatform("Reference"))

    def getPotentialEnergies(self, positions=None):
        """[replicas] kJ/mol: the groups of FlashForce and all other forces. positions: those of the Context in nm, if already known."""
        energies = np.zeros(self.replicas)
        for force, groups in zip(self._forces, self._groups):
            np.add.at(energies, groups, force.getGroupEnergies(self.context))
        if self._other is not None:
            state = self.context.getState(positions=positions is None, parameters=True)
            if positions is None:
                positions = state.getPositions(asNumpy=True)._value
            for name, value in self._other.getParameters().items():
                if state.getParameters()[name] != value:
                    self._other.setParameter(name, state.getParameters()[name])
            self._other.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
            for r, mine in enumerate(np.reshape(positions, (self.replicas, -1, 3))):
                self._other.setPositions(mine)
                energies[r] += self._other.getState(energy=True).getPotentialEnergy()._value
        return energies

    def getKineticEnergies(self, velocities=None):
        """[replicas] kJ/mol, of the velocities (nm/ps) that the integrator holds."""
        if velocities is None:
            velocities = self.context.getState(velocities=True).getVelocities(asNumpy=True)._value
        velocities = np.reshape(velocities, (self.replicas, -1, 3))
        return 0.5 * np.einsum("i,rix,rix->r", self.masses, velocities, velocities)

    def getTemperatures(self, velocities=None):
        """[replicas] K, from the kinetic energies."""
        return 2 * self.getKineticEnergies(velocities) / (self.degreesOfFreedom * GAS_CONSTANT)


class ReplicaLangevinIntegrator(mm.CustomIntegrator):
    """Langevin dynamics in which each replica has a temperature of its own.

    A step is that of openmm.LangevinMiddleIntegrator (Zhang et al., J. Phys. Chem. A 123, 6056 (2019)), with kT a variable of each degree
    of freedom. Noise and friction act on each particle alone, so that replicas do not feel each other.

    Parameters
    ----------
    temperatures : sequence of float or Quantity
        [replicas] K
    friction : float or Quantity
        1/ps
    stepSize : float or Quantity
        ps
    numParticles : int
        Particles of one replica. A Context does not check that temperatures times these are its particles: where they are fewer, the
        other particles have no thermostat. `checkReplicas` does, `ReplicaEnergies` and `ReplicaExchange` too on the platforms CPU and
        Reference.

    Raises
    ------
    ValueError
        A temperature or friction that is negative or not finite, a step that is not positive.
    """

    def __init__(self, temperatures, friction, stepSize, numParticles):
        friction, stepSize = inUnits(friction, unit.picosecond**-1), inUnits(stepSize, unit.picosecond)
        if not 0 <= friction < np.inf:
            raise ValueError(f"friction is {friction}/ps; it is a finite number of 0 or more.")
        if not 0 < stepSize < np.inf:
            raise ValueError(f"stepSize is {stepSize} ps; it must be positive and finite.")
        super().__init__(stepSize)
        self.addGlobalVariable("friction", friction)
        self.addPerDofVariable("kT", 0)
        self.addPerDofVariable("x1", 0)
        self.addUpdateContextState()
        self.addComputePerDof("v", "v + dt*f/m")
        self.addConstrainVelocities()
        self.addComputePerDof("x", "x + 0.5*dt*v")
        self.addComputePerDof("v", "z*v + sqrt(kT*(1 - z*z)/m)*gaussian; z = exp(-friction*dt)")
        self.addComputePerDof("x", "x + 0.5*dt*v")
        self.addComputePerDof("x1", "x")
        self.addConstrainPositions()
        self.addComputePerDof("v", "v + (x - x1)/dt")
        setReplicaTemperatures(self, temperatures, numParticles)


def setReplicaTemperatures(integrator, temperatures, numParticles):
    """Set the temperature of each replica: K times R becomes the variable `kT` (kJ/mol) of the replica's degrees of freedom.

    Parameters
    ----------
    integrator : ReplicaLangevinIntegrator, or any openmm.CustomIntegrator with a per-DOF variable `kT`
    temperatures : sequence of float or Quantity
        [replicas] K
    numParticles : int
        Particles of one replica.
    """
    temperatures = asTemperatures(temperatures, zero=True)
    kT = np.repeat(GAS_CONSTANT * temperatures, numParticles)
    integrator.setPerDofVariableByName("kT", np.repeat(kT[:, None], 3, axis=1))


def setVelocitiesToTemperatures(context, temperatures, seed):
    """Draw the velocities of each replica from the Maxwell-Boltzmann distribution of its temperature.

    Parameters
    ----------
    context : openmm.Context
    temperatures : sequence of float or Quantity
        [replicas] K
    seed : int
        The same seed gives the same velocities.
    """
    temperatures = asTemperatures(temperatures, zero=True)
    particlesPerReplica(context.getSystem(), len(temperatures))
    context.setVelocitiesToTemperature(1.0, seed)
    scaleVelocities(context, np.sqrt(temperatures))


def scaleVelocities(context, factors):
    """Multiply the velocities of each replica by a factor of its own, [replicas]."""
    velocities = np.array(context.getState(velocities=True).getVelocities(asNumpy=True)._value)
    velocities.reshape(len(factors), -1)[:] *= np.asarray(factors)[:, None]
    context.setVelocities(velocities)


def particlesPerReplica(system, replicas):
    """Particles of one replica; a ValueError where the System's do not divide."""
    if isinstance(replicas, bool) or int(replicas) != replicas or replicas < 1:
        raise ValueError(f"replicas is {replicas!r}; it is a number of copies, 1 or larger.")
    total = system.getNumParticles()
    if total == 0 or total % replicas:
        raise ValueError(f"The System has {total} particles, which are not {replicas} replicas of the same number of particles.")
    return total // int(replicas)


def asTemperatures(temperatures, zero=False):
    """[n] K as an array; a ValueError for what is no temperature."""
    values = np.atleast_1d(np.array(inUnits(temperatures, unit.kelvin), dtype=np.float64))
    if values.ndim != 1 or not values.size or not np.isfinite(values).all() or (values < 0).any() or (not zero and (values == 0).any()):
        raise ValueError(f"temperatures are {temperatures}; finite ones, {'0 K or more' if zero else 'larger than 0 K'}, are needed.")
    return values


def groupsOfReplicas(force, replicas, n):
    """[groups] the replica of each group of a FlashForce, in the order of getGroups."""
    owner, contents = {}, collections.defaultdict(dict)
    for i in range(force.getNumParticles()):
        particle, kind, group = force.getParticleParameters(i)
        contents[particle // n][particle % n] = (kind, group)
        if owner.setdefault(group, particle // n) != particle // n:
            raise ValueError(
                f"Group {group} of FlashForce has particles of the replicas {owner[group]} and {particle // n}, which so see each other. "
                "Give each replica groups of its own, as createSystem(..., replicas=...) does."
            )
    counts = np.bincount(list(owner.values()), minlength=replicas)
    _refuseDifferent("number of FlashForce's groups", counts[:, None])
    _refuseDifferent("number of FlashForce's particles", np.array([[len(contents[r])] for r in range(replicas)]))
    for r in range(1, replicas):
        # Groups may have any numbers: as many in each replica, each with particles of one group of the first, are the same groups.
        same = {}
        for i, (kind, group) in contents[r].items():
            first = contents[0].get(i, (None, None))
            if kind != first[0] or same.setdefault(group, first[1]) != first[1]:
                raise ValueError(
                    f"Replicas are copies, but particle {i} of replica {r} is not in FlashForce as that of replica 0: with another type or "
                    "group, or in one of them not at all."
                )
    excluded = [set() for _ in range(replicas)]
    for k in range(force.getNumPairExclusions()):
        i, j = sorted(force.getPairExclusionParticles(k))
        if i // n == j // n:  # others do not see each other anyway
            excluded[i // n].add((i % n, j % n))
    for r in range(1, replicas):
        if excluded[r] != excluded[0]:
            i, j = min(excluded[r] ^ excluded[0])
            raise ValueError(
                f"Replicas are copies, but FlashForce excludes the pair of particles {i} and {j} in one of the replicas 0 and {r} only."
            )
    return np.array([owner[group] for group in force.getGroups()], dtype=np.int64)


def _oneReplica(force, replicas, n):
    """A force with the terms of the first replica, after a look at all others: each must have the same."""
    tag, pattern = _TERMS[type(force)]
    root = ElementTree.fromstring(mm.XmlSerializer.serialize(force))
    parent = root.find(tag)
    terms = [collections.Counter() for _ in range(replicas)]
    for term in list(parent):
        particles = {key: int(value) for key, value in term.attrib.items() if re.fullmatch(pattern, key)}
        owners = {particle // n for particle in particles.values()}
        if len(owners) > 1:
            raise ValueError(
                f"A term of the System's {_name(force)} joins the particles {sorted(particles.values())}, of different replicas."
            )
        owner = owners.pop()
        others = sorted(item for item in term.attrib.items() if item[0] not in particles)
        terms[owner][(tuple((key, particle - owner * n) for key, particle in sorted(particles.items())), tuple(others))] += 1
        if owner > 0:
            parent.remove(term)
    for r in range(1, replicas):
        if terms[r] != terms[0]:
            raise ValueError(
                f"The terms of the System's {_name(force)} in replica {r} are not those in replica 0: replicas are copies, with the same "
                "forces."
            )
    return mm.XmlSerializer.deserialize(ElementTree.tostring(root, encoding="unicode"))


def _constraints(system, replicas, n):
    found = [collections.Counter() for _ in range(replicas)]
    for k in range(system.getNumConstraints()):
        i, j, distance = system.getConstraintParameters(k)
        if i // n != j // n:
            raise ValueError(f"Constraint {k} joins the particles {i} and {j}, of different replicas.")
        found[i // n][(min(i, j) % n, max(i, j) % n, distance._value)] += 1
    _refuseDifferent("number of constraints", np.array([[sum(one.values())] for one in found]))
    for r in range(1, replicas):
        if found[r] != found[0]:
            one, other = (sorted((a - b).elements())[0] for a, b in ((found[r], found[0]), (found[0], found[r])))
            raise ValueError(
                f"Replicas are copies, but replica {r} has a constraint of its particles {one[0]} and {one[1]} to {one[2]:g} nm, and "
                f"replica 0 one of {other[0]} and {other[1]} to {other[2]:g} nm."
            )


def _parts(integrator):
    """The integrators that act: those within a CompoundIntegrator, or the one."""
    if isinstance(integrator, mm.CompoundIntegrator):
        for k in range(integrator.getNumIntegrators()):
            yield from _parts(integrator.getIntegrator(k))
    elif integrator is not None:
        yield integrator


def _checkIntegrator(integrator, n):
    if isinstance(integrator, mm.NoseHooverIntegrator):
        for k in range(integrator.getNumThermostats()):
            chain = integrator.getThermostat(k)
            particles = [*chain.getThermostatedAtoms(), *(i for pair in chain.getThermostatedPairs() for i in pair)]
            if not particles or len({i // n for i in particles}) > 1:
                raise ValueError(
                    "A Nose-Hoover thermostat acts on the kinetic energy of several replicas and so couples them. Give each replica its "
                    "own (NoseHooverIntegrator.addSubsystemThermostat), or take a Langevin integrator."
                )
    if isinstance(integrator, (mm.VariableLangevinIntegrator, mm.VariableVerletIntegrator)):
        raise ValueError(
            f"{type(integrator).__name__} takes one step size for all replicas from the errors of all of them. Take one of fixed step size."
        )
    if isinstance(integrator, mm.DPDIntegrator):
        raise ValueError(
            "DPDIntegrator has friction and noise between pairs of particles, those of different replicas too. Take a Langevin integrator."
        )
    if isinstance(integrator, mm.QTBIntegrator):
        owner = {}
        for particle, kind in dict(integrator.getParticleTypes()).items():
            if owner.setdefault(kind, particle // n) != particle // n:
                raise ValueError(
                    f"Type {kind} of QTBIntegrator has particles of the replicas {owner[kind]} and {particle // n}, whose noise it adapts "
                    "together. Give each replica types of its own."
                )
    if isinstance(integrator, mm.CustomIntegrator):
        for k in range(integrator.getNumComputations()):
            kind, variable, expression = integrator.getComputationStep(k)
            if kind == mm.CustomIntegrator.ComputeSum:
                warnings.warn(
                    f"The CustomIntegrator sums {expression!r} over all particles, replicas together; where {variable!r} acts on them, it "
                    "couples the replicas."
                )
            if re.search(r"(?<![\w.])energy\d*(?!\w)", expression):
                warnings.warn(
                    f"The CustomIntegrator has the step {expression!r}, and the energy is that of all replicas; where it acts on them, it "
                    "couples them."
                )


def _checkSizes(integrator, particles):
    """A Context takes too few or too many values as they are: without the others' kT there is no thermostat."""
    for k in range(integrator.getNumPerDofVariables()):
        found = len(integrator.getPerDofVariable(k))
        if found not in (1, particles):  # one stands for all
            raise ValueError(
                f"The variable {integrator.getPerDofVariableName(k)!r} of the integrator has values for {found} particles, and the System "
                f"has {particles}. Make the integrator with a temperature for each replica and the number of particles of one replica."
            )


def _refuseDifferent(what, values):
    """values [replicas, m] must be the same in every row."""
    different = (values != values[0]).any(axis=1)
    if different.any():
        r = int(np.argmax(different))
        raise ValueError(f"Replicas are copies, but the {what} in replica {r} is not that in replica 0. Check the number of replicas.")


def _name(force):
    return type(force).__name__ if force.getName() in ("", type(force).__name__) else f"{type(force).__name__} {force.getName()!r}"


def hasTemperatures(integrator):
    """Whether an integrator has the variable kT, and with it temperatures of each replica."""
    if not isinstance(integrator, mm.CustomIntegrator):
        return False
    return "kT" in [integrator.getPerDofVariableName(k) for k in range(integrator.getNumPerDofVariables())]


def inUnits(quantity, inUnit):
    """A Quantity, or a list with some in it, as numbers of a unit; other numbers as they are."""
    if unit.is_quantity(quantity):
        return quantity.value_in_unit(inUnit)
    if isinstance(quantity, (list, tuple)):
        return [inUnits(q, inUnit) for q in quantity]
    return quantity
