# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Minimise the energy of a Context in steps of at most 0.02 nm.

The first step of OpenMM's LocalEnergyMinimizer is about 1 nm long for all particles together. That is nothing for a protein, and tears a
water molecule into free atoms, which in a machine-learned potential may have the lower energy. ASE's L-BFGS bounds every step.
"""

import math

import numpy as np

from ._app import say
from ._simulation import Unstable

MINIMIZE = "minimize"
MAX_ITERATIONS, TOLERANCE = 1000, 10.0  # RMS force component, kJ/mol/nm: LocalEnergyMinimizer's default
MAX_STEP = 0.02  # nm, the longest way of a particle in one iteration


def relax(context, maxIterations=MAX_ITERATIONS, tolerance=TOLERANCE, replicas=1, report=lambda iteration, energy: False):
    """Minimise the energy of a Context's positions; the box is fixed, and so are particles without a mass.

    Parameters
    ----------
    context : openmm.Context
        Its positions become those of the lowest energy that was met.
    maxIterations : int
    tolerance : float
        kJ/mol/nm. Done when the RMS force component of each replica is below it.
    replicas : int
        Copies in the Context, one after another. They are minimised together.
    report : callable
        report(iteration, energy in kJ/mol); a true answer ends the minimisation.

    Raises
    ------
    Unstable
        An energy or a force is not finite.
    """
    import ase
    from ase import units
    from ase.calculators.calculator import Calculator, all_changes
    from ase.optimize import LBFGS

    energyUnit = units.kJ / units.mol  # eV
    system = context.getSystem()
    fixed = np.array([system.getParticleMass(i)._value == 0 for i in range(system.getNumParticles())])

    class OpenMM(Calculator):
        """Energy and forces of the Context, in eV and Angstrom."""

        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            context.setPositions(atoms.positions / units.nm)
            energy, forces = evaluate(context)
            forces[fixed] = 0
            self.results = {"energy": energy * energyUnit, "forces": forces * (energyUnit / units.nm)}

    def rms(forces):
        """The largest of the replicas' RMS force components, kJ/mol/nm."""
        squares = np.reshape(forces / (energyUnit / units.nm), (replicas, -1)) ** 2
        return math.sqrt(float(squares.mean(axis=1).max()))

    start = context.getState(positions=True).getPositions(asNumpy=True)._value
    atoms = ase.Atoms(numbers=np.zeros(len(start), dtype=int), positions=start * units.nm, calculator=OpenMM())
    optimizer = LBFGS(atoms, maxstep=MAX_STEP * units.nm, logfile=None)
    lowest, best = math.inf, start
    for iteration in range(maxIterations + 1):
        energy, forces = atoms.get_potential_energy() / energyUnit, atoms.get_forces()
        if energy < lowest:
            lowest, best = energy, atoms.positions / units.nm
        if report(iteration, energy) or rms(forces) < tolerance or iteration == maxIterations:
            break
        optimizer.step()
    context.setPositions(best)


def evaluate(context):
    """(energy kJ/mol, forces [n, 3] kJ/mol/nm), finite ones."""
    from openmm import OpenMMException

    try:
        state = context.getState(energy=True, forces=True)
    except OpenMMException as error:
        raise Unstable(f"the minimisation failed: {error}") from error
    energy, forces = state.getPotentialEnergy()._value, np.array(state.getForces(asNumpy=True)._value)
    if not math.isfinite(energy) or not np.all(np.isfinite(forces)):
        raise Unstable(f"the minimisation failed: the energy is {energy} kJ/mol, or a force is not finite")
    return energy, forces


def minimize(context, replicas, interrupts, progress):
    """The first phase of a run; Ctrl-C ends it early."""
    before = context.getState(energy=True).getPotentialEnergy()._value
    with progress(MINIMIZE, None, 0) as advance:

        def report(iteration, energy):
            advance(iteration, energy)
            return interrupts.received

        relax(context, replicas=replicas, report=report)
    after = context.getState(energy=True).getPotentialEnergy()._value
    say(f"Minimised: {before:.3f} -> {after:.3f} kJ/mol")
