# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Numerical checks of a model on a structure. Each gives a Result: one line, one number, one tolerance.

A is a force field if its forces are minus the gradient of its energy, and a molecular one if the energy knows neither the frame of
reference nor the order of the particles. All differences are relative to the RMS force component or, for energies, to that force times
0.1 nm: the energy itself has an arbitrary origin.
"""

import copy
import dataclasses
import math

import numpy as np

from ._minimize import relax
from ._values import GAS_CONSTANT

# Platforms that compute in single precision resolve energies to about 1e-7 of their size, so that finite differences need longer steps
# (nm) and tell less; Reference is double throughout.
DOUBLE, SINGLE = {"gradient": 1e-6, "invariance": 1e-9, "step": 1e-4}, {"gradient": 2e-2, "invariance": 1e-3, "step": 2e-3}


@dataclasses.dataclass
class Result:
    name: str
    value: float | None = None
    tolerance: float | None = None
    text: str = ""

    @property
    def skipped(self):
        return self.value is None

    @property
    def passed(self):
        # Written so that NaN fails.
        return self.skipped or self.value <= self.tolerance

    def line(self):
        verdict = "SKIP" if self.skipped else "PASS" if self.passed else "FAIL"
        numbers = " " * 30 if self.skipped else f"{self.value:9.2e}  tolerance {self.tolerance:.1e}"
        return f"{verdict}  {self.name:<36}{numbers}  {self.text}".rstrip()


class Evaluator:
    """Energy and forces of a System, at any positions and for any order of the particles."""

    def __init__(self, system, positions, platform, properties):
        import openmm

        from .. import FlashForce

        self.openmm = openmm
        self.system, self.platform, self.properties = copy.deepcopy(system), platform, properties
        self.network = next(FlashForce.cast(force) for force in self.system.getForces() if FlashForce.isinstance(force))
        for force in self.system.getForces():  # the priors, apart
            force.setForceGroup(1)
        self.network.setForceGroup(0)
        model, entries = self.network.getModel(), range(self.network.getNumParticles())
        self.constants = np.array([model.getTypeEnergy(self.network.getParticleParameters(k)[1]) for k in entries])
        self.context = openmm.Context(self.system, openmm.VerletIntegrator(0.001), platform, properties)
        self.positions = np.array(positions, dtype=float)
        self.energy, self.forces = self.evaluate(self.positions)
        self.scale = max(math.sqrt(float(np.mean(self.forces**2))), 1e-3)  # kJ/mol/nm; a floor for particles that do not feel each other

    def evaluate(self, positions):
        """(energy kJ/mol, forces [n, 3] kJ/mol/nm)."""
        self.context.setPositions(positions)
        state = self.context.getState(energy=True, forces=True)
        return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value

    def parts(self, positions):
        """The energy in parts [n + 1], kJ/mol: of each particle, without the constant of its type, and of the priors.

        The difference of two energies of a large system drowns in their rounding: they are some 1e6 kJ/mol, most of it the atoms' self
        energies. The particles' differences do not: each is rounded by itself, and where nothing changes it is zero.
        """
        self.context.setPositions(positions)
        network = np.array(self.network.getParticleEnergies(self.context)) - self.constants
        return np.append(network, self.context.getState(energy=True, groups={1}).getPotentialEnergy()._value)

    def difference(self, energy, forces):
        """The larger one of the relative differences of energy and forces from those at the structure's positions."""
        return max(abs(energy - self.energy) / (0.1 * self.scale), float(np.abs(forces - self.forces).max()) / self.scale)

    def energyRounding(self):
        """What rounding alone does to an energy, in the measure of difference()."""
        return 4 * np.finfo(float).eps * abs(self.energy) / (0.1 * self.scale)


HALVINGS = 9  # steps of finite differences: the longest, and so many in all, each half of the one before
CREDIT = 4  # an estimated error counts up to so many times the tolerance, so that an error of ten times the tolerance never passes


def derivatives(parts, step):
    """Derivatives at 0 of the sum of parts(x), for shorter and shorter steps, `step` first: (value, estimate of its error).

    Central differences, extrapolated once (Richardson): their error falls as h^4 where the energy is smooth, and as h at kinks of the
    second derivative (ANI's CELU), until the steps leave those outside; short steps suffer from rounding. Two successive values differ
    by what either does, but at a kink they may agree by chance: the estimate falls to no less than a quarter of the one before.
    """
    central = last = estimate = None
    for h in (step / 2**k for k in range(HALVINGS)):
        coarse, central = central, float(np.sum(parts(h) - parts(-h))) / (2 * h)
        if coarse is None:
            continue
        value = (4 * central - coarse) / 3
        if last is not None:
            change = abs(value - last)
            first, estimate = estimate is None, change if estimate is None else max(change, estimate / 4)
            if not first:
                yield value, estimate
        last = value


def gradientError(parts, expected, scale, tolerance, step=DOUBLE["step"]):
    """(difference of the derivative from `expected`, its tolerance), relative to `scale`, where the derivative is best known."""
    found, smallest = (math.inf, tolerance), math.inf  # what is left where all derivatives are NaN
    for value, estimate in derivatives(parts, step):
        error, estimate = abs(value - expected) / scale, estimate / scale
        if estimate < smallest:
            smallest, found = estimate, (error, tolerance + min(estimate, CREDIT * tolerance))
        if max(error, estimate) < 0.1 * tolerance:
            break
    return found


def checkCoordinates(evaluator, tolerance, count, random, step=DOUBLE["step"]):
    """Forces against finite differences of the energy, coordinate by coordinate."""
    total = evaluator.positions.size
    chosen = np.arange(total) if not count or count >= total else np.sort(random.choice(total, count, replace=False))
    worst, where = (0.0, tolerance), 0
    for index in chosen:
        i, axis = divmod(int(index), 3)

        def parts(length, i=i, axis=axis):
            moved = evaluator.positions.copy()
            moved[i, axis] += length
            return evaluator.parts(moved)

        found = gradientError(parts, -evaluator.forces[i, axis], evaluator.scale, tolerance, step)
        if not found[0] / found[1] <= worst[0] / worst[1]:
            worst, where = found, index
    text = f"{len(chosen)} of {total} coordinates, worst {'xyz'[where % 3]} of particle {where // 3}"
    return Result("forces are minus the gradient", *worst, text + uncertainty(worst[1] - tolerance))


def checkDirection(evaluator, tolerance, random, step=DOUBLE["step"]):
    """The whole gradient at once: the energy's change along a random direction of all particles."""
    direction = random.normal(size=evaluator.positions.shape)
    direction /= np.sqrt(np.mean(direction**2))

    def parts(length):
        return evaluator.parts(evaluator.positions + length * direction)

    scale = evaluator.scale * math.sqrt(direction.size)
    found = gradientError(parts, -float(np.sum(evaluator.forces * direction)), scale, tolerance, step)
    return Result("gradient along a random direction", *found, "all coordinates together" + uncertainty(found[1] - tolerance))


def uncertainty(estimate):
    return f"; {estimate:.0e} of the tolerance: error of the finite difference"


def checkTranslation(evaluator, tolerance, random):
    shift = random.uniform(-1, 1, 3)
    return Result("translation", evaluator.difference(*evaluator.evaluate(evaluator.positions + shift)), tolerance, "all particles shifted")


def checkRotation(evaluator, tolerance, random, periodic):
    if periodic:
        return Result("rotation", text="a periodic box is not the same after a rotation")
    matrix, _ = np.linalg.qr(random.normal(size=(3, 3)))
    matrix *= np.sign(np.linalg.det(matrix))
    energy, forces = evaluator.evaluate(evaluator.positions @ matrix.T)
    return Result("rotation", evaluator.difference(energy, forces @ matrix), tolerance, "forces turn along")


def checkLattice(evaluator, tolerance, random, box):
    if box is None:
        return Result("lattice translations", text="no periodic box")
    shifts = random.integers(-3, 4, size=(len(evaluator.positions), 3)) @ box
    value = evaluator.difference(*evaluator.evaluate(evaluator.positions + shifts))
    return Result("lattice translations", value, tolerance, "each particle moved by box vectors of its own")


def checkPermutation(evaluator, tolerance, random):
    """The network and the pair prior with the particles in another order."""
    from .. import FlashForce

    openmm = evaluator.openmm
    n = len(evaluator.positions)
    old = next(FlashForce.cast(force) for force in evaluator.system.getForces() if FlashForce.isinstance(force))
    order = random.permutation(n)  # new index -> old index
    place = np.argsort(order)

    def build(permuted):
        system = openmm.System()
        for _ in range(n):
            system.addParticle(1.0)
        system.setDefaultPeriodicBoxVectors(*evaluator.system.getDefaultPeriodicBoxVectors())
        force = FlashForce(old.getModel())
        force.setUsesPeriodicBoundaryConditions(old.usesPeriodicBoundaryConditions())
        force.setUsesPairPrior(old.getUsesPairPrior())
        entries = [old.getParticleParameters(k) for k in range(old.getNumParticles())]
        if permuted:
            entries = sorted(((int(place[particle]), kind, group) for particle, kind, group in entries), key=lambda entry: entry[0])
        for entry in entries:
            force.addParticle(*entry)
        for k in range(old.getNumPairExclusions()):
            pair = old.getPairExclusionParticles(k)
            force.addPairExclusion(*(int(place[i]) if permuted else i for i in pair))
        system.addForce(force)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), evaluator.platform, evaluator.properties)
        context.setPositions(evaluator.positions[order] if permuted else evaluator.positions)
        state = context.getState(energy=True, forces=True)
        return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value

    (energy, forces), (energy2, forces2) = build(False), build(True)
    value = max(abs(energy2 - energy) / (0.1 * evaluator.scale), float(np.abs(forces2[place] - forces).max()) / evaluator.scale)
    return Result("order of the particles", value, tolerance, "model and pair prior, particles shuffled")


def checkNetForce(evaluator, tolerance, periodic):
    value = float(np.abs(evaluator.forces.sum(axis=0)).max()) / evaluator.scale
    results = [Result("net force", value, tolerance)]
    if not periodic:
        centred = evaluator.positions - evaluator.positions.mean(axis=0)
        torque = np.cross(centred, evaluator.forces).sum(axis=0)
        extent = max(float(np.sqrt(np.mean(centred**2))), 0.1)
        results.append(Result("net torque", float(np.abs(torque).max()) / (evaluator.scale * extent), tolerance))
    return results


def checkRepeat(evaluator):
    """The same positions again, after others: bit by bit."""
    energy, forces = evaluator.evaluate(evaluator.positions)
    value = max(abs(energy - evaluator.energy), float(np.abs(forces - evaluator.forces).max()))
    return Result("repeated evaluation is identical", value, 0.0)


def checkDrift(evaluator, timestepFs, steps, temperature, seed):
    """Total energy without a thermostat, after a short minimisation, with velocities of `temperature`.

    Verlet's energy error is bounded and falls as the square of the time step, if the forces are a gradient. Checked are the drift (slope
    of the total energy) and how the fluctuation changes as the step is halved.
    """
    evaluator.context.setPositions(evaluator.positions)
    relax(evaluator.context, 100, 50.0)
    start = evaluator.context.getState(positions=True).getPositions(asNumpy=True)
    masses = np.array([evaluator.system.getParticleMass(i)._value for i in range(evaluator.system.getNumParticles())])
    freedom = 3 * int(np.count_nonzero(masses))
    # Velocities directly rather than from the Context: the same ones for both time steps, at the same time.
    random = np.random.default_rng(seed)
    inverse = np.divide(1, masses, out=np.zeros_like(masses), where=masses > 0)
    velocities = random.normal(size=start.shape) * np.sqrt(GAS_CONSTANT * temperature * inverse)[:, None]
    whole = _conserve(evaluator, start, velocities, timestepFs, steps, 1)
    half = _conserve(evaluator, start, velocities, timestepFs, steps, 2)
    length = steps * timestepFs / 1000
    run = f"{steps} steps of {timestepFs:g} fs = {length:g} ps"
    if whole is None or half is None:
        return [Result("NVE drift", math.inf, 0.01, f"the energy ran away; {run}")]
    slope = float(np.polyfit(np.arange(1, steps + 1) * timestepFs / 1000, whole[0], 1)[0])
    drift = abs(slope) / freedom / (GAS_CONSTANT * temperature)
    error, smaller, exchange = float(np.std(whole[0])), float(np.std(half[0])), float(np.std(whole[1]))
    return [
        Result("NVE drift", drift, 0.01, f"kT per degree of freedom and ps; {run}"),
        Result("NVE energy error / exchanged energy", error / max(exchange, 1e-300), 0.05, f"{error:.2e} of {exchange:.3g} kJ/mol"),
        Result("NVE error at half the step", smaller / max(error, 1e-300), 0.4, "of that at the full step; 0.25 for an exact gradient"),
    ]


def _conserve(evaluator, start, velocities, timestepFs, steps, divisor):
    """(total, kinetic) energies [steps] of velocity Verlet with the time step divided by `divisor`; None where they ran away."""
    openmm = evaluator.openmm
    integrator = openmm.CustomIntegrator(timestepFs / 1000 / divisor)  # positions and velocities belong to the same time
    integrator.addUpdateContextState()
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    integrator.addComputePerDof("x", "x+dt*v")
    integrator.addComputePerDof("v", "v+0.5*dt*f/m")
    context = openmm.Context(evaluator.system, integrator, evaluator.platform, evaluator.properties)
    context.setPositions(start)
    context.setVelocities(velocities)
    energies = np.empty((2, steps))
    for i in range(steps):
        try:
            integrator.step(divisor)
            state = context.getState(energy=True)
        except openmm.OpenMMException as error:
            if "finite" in str(error) or "NaN" in str(error):
                return None
            raise
        kinetic = state.getKineticEnergy()._value
        energies[:, i] = state.getPotentialEnergy()._value + kinetic, kinetic
        # Far beyond what any start can hold, and before squares overflow.
        if not np.all(np.abs(energies[:, i]) < 1e30):
            return None
    return energies
