#!/usr/bin/env python3
# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Energy conservation: dynamics without a thermostat, of a peptide (ANI-1x, eight networks) and of C-alpha chignolin with its priors.

    tests/physics/nve.py [peptide] [chignolin] [--shared FOLDER] [--temperature 300] [--time 100] [--timestep 0.5] [--starts 8]
                         [--platform CPU] [--threads N]

Without names, both. Chignolin's model is looked for in FOLDER (see CONTRIBUTING.md). After equilibration at --temperature, with PASS or
FAIL:

- drift: the slope of the total energy over --time ps, by linear regression on the means of 50 blocks, and its standard error from the
  blocks' scatter about the line. Asked for: below 1e-2 kJ/mol/ns/particle, with an error that is less than half of that. ANI does not
  fulfil this at 300 K and 0.5 fs, in any program: CELU and the cutoff functions have second derivatives that jump, and at each jump that
  is crossed the energy makes a small step of either sign: a random walk, whose slope falls only with the square root of the time. What
  slopes a walk with the blocks' increments would have is printed, too (docs/cpu-platform.md, Energy conservation).
- fluctuation: velocity Verlet conserves a shadow Hamiltonian, from which the true energy differs by dt^2 times a function of the point in
  phase space, and terms of fourth order. So the standard deviation of the total energy along a path falls by four with each halving of the
  time step: asked for within 15 % for three steps, each over the same time from the same states (--starts of them; the mean of their
  variances). The rounding of the energy itself is taken off; it is measured around the starts, as the scatter of the difference from the
  Reference platform.
- as on Reference: what the total energy gains and loses along a path, of which the integrator and the model's own kinks (CELU, cutoff
  functions) are the causes, is the same as in double precision with the exact networks, within 2 % of its standard deviation and five
  times the rounding of the energy.
"""

import argparse
import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openmm
from openmm import app, unit

import openmmflash
from openmmflash.convert.mlcg import convertMlcg
from openmmflash.structurefile import readStructure
from openmmflash.system import tilePositions

ROOT = Path(__file__).resolve().parents[2]
CHIGNOLIN = "models/mlcg/schnet_cln_ca_specialized_model_and_config.pt"
TEMPERATURE = 300.0  # K
ALLOWED_DRIFT = 1e-2  # kJ/mol/ns/particle
ALLOWED_RATIO = 0.15
KELVIN = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)


class Molecule(NamedTuple):
    """What is simulated, and with which time steps (ps)."""

    system: openmm.System
    positions: np.ndarray
    equilibrationStep: float
    steps: tuple  # of the fluctuation, the longest first, each half of the one before
    span: float  # of one path, ps


def makePeptide(shared=None):
    pdb = app.PDBFile(str(ROOT / "examples" / "alanine-dipeptide.pdb"))
    system = openmmflash.createSystem(pdb.topology, openmmflash.loadModel("ani1x"), removeCMMotion=False)
    return Molecule(system, np.array(pdb.getPositions(asNumpy=True)._value), 0.0005, (0.001, 0.0005, 0.00025), 0.5)


def makeChignolin(shared, replicas=1):
    with tempfile.TemporaryDirectory() as folder:
        report = convertMlcg(Path(shared) / CHIGNOLIN, Path(folder) / "chignolin.safetensors", check=False)
        model, structure = openmmflash.FlashModel(report.path), readStructure(report.files[0])
    system = openmmflash.createSystem(structure, model, replicas=replicas, removeCMMotion=False)
    return Molecule(system, tilePositions(structure.positions, replicas), 0.002, (0.004, 0.002, 0.001), 4.0)


MOLECULES = {"peptide": makePeptide, "chignolin": makeChignolin}


class Runner:
    """Makes Contexts of a molecule on a platform."""

    def __init__(self, molecule, platform, threads=None, temperature=TEMPERATURE):
        self.molecule, self.platform, self.temperature = molecule, openmm.Platform.getPlatform(platform), temperature
        self.properties = {} if threads is None else {"Threads": str(threads)}
        n = molecule.system.getNumParticles()
        self.masses = np.array([molecule.system.getParticleMass(i)._value for i in range(n)])[:, None]

    def context(self, integrator):
        return openmm.Context(self.molecule.system, integrator, self.platform, self.properties)

    def equilibrate(self, span, states, seed=7):
        """Positions and velocities after `span` ps with a thermostat, and further ones half a ps apart; no momentum."""
        integrator = openmm.LangevinMiddleIntegrator(self.temperature, 5.0, self.molecule.equilibrationStep)
        integrator.setRandomNumberSeed(seed)
        context = self.context(integrator)
        context.setPositions(self.molecule.positions)
        openmm.LocalEnergyMinimizer.minimize(context, 10.0, 200)
        context.setVelocitiesToTemperature(self.temperature, seed + 1)
        found = []
        for k in range(states):
            integrator.step(round((span if k == 0 else 0.5) / self.molecule.equilibrationStep))
            state = context.getState(positions=True, velocities=True)
            velocities = np.array(state.getVelocities(asNumpy=True)._value)
            velocities -= (self.masses * velocities).sum(axis=0) / self.masses.sum()
            found.append((np.array(state.getPositions(asNumpy=True)._value), velocities))
        return found

    def energies(self, start, timestep, span, interval):
        """Times and total energies every `interval` steps of `span` ps of leapfrog dynamics; mean temperature."""
        x, v = start
        context = self.context(openmm.VerletIntegrator(timestep))
        context.setPositions(x)
        # The integrator takes velocities as half a step old, and State.getKineticEnergy() shifts them to the positions' time.
        forces = context.getState(forces=True).getForces(asNumpy=True)._value
        context.setVelocities(v - 0.5 * timestep * forces / self.masses)
        count = round(span / timestep / interval) + 1
        totals, kinetic = np.empty(count), np.empty(count)
        for k in range(count):
            if k > 0:
                context.getIntegrator().step(interval)
            state = context.getState(energy=True)
            kinetic[k] = state.getKineticEnergy()._value
            totals[k] = state.getPotentialEnergy()._value + kinetic[k]
        return np.arange(count) * interval * timestep, totals, 2 * kinetic.mean() / ((3 * len(x) - 3) * KELVIN)

    def rounding(self, starts, points=40):
        """Standard deviation of the energy's rounding: of its difference from Reference, within a millionth of a nm around each start."""
        rng = np.random.default_rng(3)
        ours = self.context(openmm.VerletIntegrator(0.001))
        exact = openmm.Context(self.molecule.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
        variances = []
        for x, _ in starts[:4]:
            differences = []
            for _ in range(points):
                moved = x + rng.normal(scale=1e-6, size=x.shape)
                values = []
                for context in (ours, exact):
                    context.setPositions(moved)
                    values.append(context.getState(energy=True).getPotentialEnergy()._value)
                differences.append(values[0] - values[1])
            variances.append(np.var(differences, ddof=1))
        return float(np.sqrt(np.mean(variances)))


def slopeOfBlocks(times, values, blocks=50):
    """Slope of a linear regression on the means of blocks, and its standard error."""
    t = np.array([block.mean() for block in np.array_split(times, blocks)])
    y = np.array([block.mean() for block in np.array_split(values, blocks)])
    t -= t.mean()
    slope = np.sum(t * y) / np.sum(t * t)
    residuals = y - y.mean() - slope * t
    return float(slope), float(np.sqrt(np.sum(residuals**2) / (blocks - 2) / np.sum(t * t)))


def slopeOfWalk(times, values, blocks=50):
    """Standard deviation of the slopes of random walks whose blocks' means change from one to the next as much as these.

    Of a walk with the variance D t after a time t: (2/3) D h of the differences of means over h, (6/5) D / T of slopes over T.
    """
    increments = np.diff([block.mean() for block in np.array_split(values, blocks)])
    span = times[-1] - times[0]
    return float(np.sqrt(1.2 / span * 1.5 * np.mean(increments**2) * blocks / span))


def checkDrift(runner, start, timestep, span, conclusive=True):
    """
    (passed, text). Of a run that is too short to tell, only what it can tell is asked for: `conclusive` false. Within a few ps the means of
    blocks depend on each other, of which the scatter about the line knows nothing; a walk with their increments is the other extreme.
    """
    began, n = time.time(), len(start[0])
    times, totals, temperature = runner.energies(start, timestep, span, 10)
    slope, error, walk = (1000 / n * value for value in (*slopeOfBlocks(times, totals), slopeOfWalk(times, totals)))
    if not np.isfinite(totals).all():
        return False, f"the energy is not finite after {span:g} ps"
    if conclusive:
        passed = abs(slope) < ALLOWED_DRIFT and error < 0.5 * ALLOWED_DRIFT
    else:
        passed = abs(slope) < ALLOWED_DRIFT + 4 * max(error, walk)
    text = f"drift {slope:+.2e} +- {error:.1e} kJ/mol/ns/particle over {span:g} ps at {timestep * 1e3:g} fs (allowed {ALLOWED_DRIFT:g})"
    text += f"; of random walks with its increments: +-{walk:.1e}"
    return bool(passed), f"{text}; total energy varies by {totals.std():.3g} kJ/mol, {temperature:.0f} K, {time.time() - began:.0f} s"


def checkFluctuations(runner, starts, span=None):
    """(passed, text) for each halving of the time step."""
    molecule = runner.molecule
    span = molecule.span if span is None else span
    rounding = runner.rounding(starts)
    deviations = []
    for timestep in molecule.steps:
        interval = round(molecule.steps[0] / timestep)  # the same times
        variance = np.mean([np.var(runner.energies(start, timestep, span, interval)[1]) for start in starts])
        deviations.append(np.sqrt(max(variance - rounding**2, 0.0)))
    results = []
    for k in range(len(deviations) - 1):
        ratio = deviations[k] / max(deviations[k + 1], 1e-300)
        passed = abs(ratio / 4 - 1) < ALLOWED_RATIO and rounding < 0.5 * deviations[k + 1]
        steps = [1e3 * step for step in molecule.steps[k : k + 2]]
        text = f"fluctuation {deviations[k]:.3e} kJ/mol at {steps[0]:g} fs, {deviations[k + 1]:.3e} at {steps[1]:g} fs: ratio {ratio:.2f}"
        text += f" (4 within {100 * ALLOWED_RATIO:g} %); {len(starts)} paths of {span:g} ps; rounding {rounding:.1e} kJ/mol"
        results.append((bool(passed), text))
    return results


def checkAgainstReference(runner, start, timestep, span):
    """(passed, text). Short: paths of different rounding part after about 2 ps."""
    reference = Runner(runner.molecule, "Reference")
    changes = [each.energies(start, timestep, span, 4)[1] for each in (runner, reference)]
    changes = [totals - totals[0] for totals in changes]
    difference, scale, rounding = np.abs(changes[0] - changes[1]).max(), changes[1].std(), runner.rounding([start])
    text = f"the total energy changes as on Reference within {difference:.1e} kJ/mol, {difference / scale:.1e} of its standard deviation"
    passed = difference < 0.02 * scale + 5 * rounding
    return bool(passed), f"{text}, over {span:g} ps at {timestep * 1e3:g} fs; rounding {rounding:.1e} kJ/mol"


@functools.cache
def prepare(name, shared, platform, threads=None, equilibration=5.0, starts=8, temperature=TEMPERATURE):
    """(Runner, starts) of a molecule."""
    runner = Runner(MOLECULES[name](shared), platform, threads, temperature)
    return runner, runner.equilibrate(equilibration, starts)


def measure(name, arguments):
    """Results of a molecule, one after the other."""
    given = arguments
    runner, starts = prepare(name, given.shared, given.platform, given.threads, starts=given.starts, temperature=given.temperature)
    yield from checkFluctuations(runner, starts)
    asReference, text = checkAgainstReference(runner, starts[0], 1e-3 * given.timestep, 0.5)
    yield asReference, text
    passed, text = checkDrift(runner, starts[0], 1e-3 * given.timestep, given.time)
    if asReference and not passed:
        text += "; as the energy changes as on Reference, this is the model's at this temperature and time step"
    yield passed, text


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("molecules", nargs="*", choices=[[], *MOLECULES], help="default: all")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with models/mlcg")
    parser.add_argument("--temperature", type=float, default=TEMPERATURE, help="of the equilibration, K")
    parser.add_argument("--time", type=float, default=100.0, help="of the drift, ps")
    parser.add_argument("--timestep", type=float, default=0.5, help="of the drift, fs")
    parser.add_argument("--starts", type=int, default=8, help="paths for the fluctuation")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--threads", type=int, help="of platform CPU")
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.molecules or MOLECULES:
        for passed, text in measure(name, arguments):
            print("PASS" if passed else "FAIL", f"{name}: {text}", flush=True)
            failed += not passed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
