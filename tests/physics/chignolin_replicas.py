#!/usr/bin/env python3
# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Eight replicas of C-alpha chignolin in one Context: 20,000 steps of 4 fs at 300 K, Langevin dynamics, priors on.

    tests/physics/chignolin_replicas.py SHARED [--steps 20000] [--replicas 8] [--platform Reference]

SHARED is the folder with models/mlcg (see CONTRIBUTING.md). Printed, one line each with PASS or FAIL:

- nothing became NaN or infinite;
- the kinetic temperature is 300 K within four standard errors, whose correlation time comes from the friction;
- the bonds' mean length and spread are those of their harmonic priors at 300 K, as far as the network leaves them;
- forces on the trajectory agree with Contexts of one replica.

On the Reference platform it takes about a quarter of an hour.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openmm
from openmm import unit

import openmmflash
from openmmflash.convert.mlcg import convertMlcg
from openmmflash.structurefile import readStructure
from openmmflash.system import tilePositions

MODEL = "models/mlcg/schnet_cln_ca_specialized_model_and_config.pt"
TEMPERATURE = 300.0  # K
TIMESTEP = 0.004  # ps
FRICTION = 1.0  # 1/ps
KELVIN = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)


def evaluate(context, positions):
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, np.array(state.getForces(asNumpy=True)._value)


def runReplicas(
    shared, steps=20000, replicas=8, platform="Reference", equilibration=2000, interval=50, minimization=200, seed=2026, log=None
):
    """Run the simulation and measure.

    Parameters
    ----------
    shared : path
        Folder with models/mlcg.
    steps, replicas : int
    platform : str
    equilibration : int
        Steps before anything is measured.
    interval : int
        Steps between measurements.
    minimization : int
        Largest number of iterations of the minimiser at the start; 0: none, the structure is a frame of a simulation.
    log : file, optional
        Where progress is written.

    Returns
    -------
    list of (bool, str)
        What was checked: whether it is right, and a sentence with the numbers.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = convertMlcg(Path(shared) / MODEL, Path(folder) / "chignolin.safetensors", check=False)
        model, structure = openmmflash.FlashModel(report.path), readStructure(report.files[0])
    n = structure.numParticles
    platform = openmm.Platform.getPlatformByName(platform)
    system = openmmflash.createSystem(structure, model, replicas=replicas)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, TIMESTEP)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, platform)
    context.setPositions(tilePositions(structure.positions, replicas))
    if minimization:
        openmm.LocalEnergyMinimizer.minimize(context, 10.0, minimization)
    context.setVelocitiesToTemperature(TEMPERATURE, seed + 1)
    integrator.step(equilibration)
    bonds = structure.terms["bonds"].particles
    temperatures, lengths, frames, start = [], [], [], time.time()
    for step in range(interval, steps + 1, interval):
        integrator.step(interval)
        state = context.getState(positions=True, energy=True, velocities=True)
        temperatures.append(2 * state.getKineticEnergy()._value / (3 * n * replicas * KELVIN))
        positions = np.array(state.getPositions(asNumpy=True)._value).reshape(replicas, n, 3)
        if not np.isfinite(positions).all():
            return [(False, f"positions are not finite at step {step}")]
        lengths.append(np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=2))
        if len(frames) < 20 and step % max(interval, steps // 20 // interval * interval) == 0:
            frames.append(positions)
        if log and step % 1000 == 0:
            rate = (time.time() - start) / step
            print(f"step {step}: {temperatures[-1]:.1f} K, {rate * 1e3:.0f} ms a step", file=log, flush=True)
    results = [(True, f"{steps} steps of {TIMESTEP * 1e3:g} fs with {replicas} replicas, nothing infinite or NaN")]
    results.append(checkTemperature(np.array(temperatures), n * replicas, interval))
    results.append(checkBonds(np.array(lengths), structure, steps * TIMESTEP))
    results.append(checkSingleReplicas(structure, model, platform, context, frames))
    return results


def checkTemperature(temperatures, particles, interval):
    """Mean of the kinetic temperature against the canonical distribution, whose spread is T sqrt(2 / degrees of freedom)."""
    degrees = 3 * particles
    # The kinetic energy decays with twice the friction; that is the slowest it can do, since forces decorrelate it, too.
    independent = max(1.0, len(temperatures) * min(1.0, interval * TIMESTEP * 2 * FRICTION / 2))
    error = TEMPERATURE * np.sqrt(2 / degrees / independent)
    mean, spread = temperatures.mean(), temperatures.std()
    right = abs(mean - TEMPERATURE) < 4 * error
    return bool(right), f"temperature {mean:.2f} K, expected {TEMPERATURE:g} within {4 * error:.2f}; spread {spread:.1f} K"


def checkBonds(lengths, structure, duration):
    """
    Bond lengths against k (r - x0)^2 at this temperature: mean x0 and standard deviation sqrt(RT / 2k), the network adding a little.
    For all bonds together, and for each as well as so many independent vibrations can tell: one in each replica and time of friction.
    """
    k, x0 = structure.terms["bonds"].parameters.T  # kcal/mol/A^2, A
    mean, spread = lengths.mean(axis=(0, 1)) * 10, lengths.std(axis=(0, 1)) * 10
    expected = np.sqrt(KELVIN / 4.184 * TEMPERATURE / (2 * k))
    shift, ratio = np.abs(mean - x0).max(), spread / expected
    together, error = np.sqrt((ratio**2).mean()), 1 / np.sqrt(2 * lengths.shape[1] * max(1.0, duration * FRICTION))
    right = shift < 0.1 and 0.7 < together < 1.4 and ratio.min() > 0.7 - error and ratio.max() < 1.4 + error
    right = right and lengths.min() > 0.32 and lengths.max() < 0.46
    text = (
        f"bonds {lengths.min():.3f} to {lengths.max():.3f} nm; means within {shift:.3f} A of their priors', spreads {ratio.min():.2f} to "
    )
    return bool(right), text + f"{ratio.max():.2f} of the priors' ({expected.mean():.3f} A), {together:.2f} together"


def checkSingleReplicas(structure, model, platform, context, frames):
    """Forces of all replicas together against those of one replica alone, on frames of the trajectory."""
    single = openmm.Context(openmmflash.createSystem(structure, model), openmm.VerletIntegrator(0.001), platform)
    worst = 0.0
    for positions in frames:
        energy, forces = evaluate(context, positions.reshape(-1, 3))
        alone = [evaluate(single, replica) for replica in positions]
        expected = np.concatenate([f for _, f in alone])
        worst = max(worst, np.abs(forces - expected).max() / np.sqrt((expected**2).mean()))
        worst = max(worst, abs(energy - sum(e for e, _ in alone)) / abs(energy))
    tolerance = 1e-9 if platform.getName() == "Reference" else 2e-5
    right = worst < tolerance and len(frames) > 0
    return bool(right), f"forces and energies of {len(frames)} frames agree with single replicas within {worst:.1e} (allowed {tolerance:g})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("shared", type=Path, help="folder with models/mlcg")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--platform", default="Reference")
    arguments = parser.parse_args()
    results = runReplicas(arguments.shared, arguments.steps, arguments.replicas, arguments.platform, log=sys.stderr)
    for right, text in results:
        print("PASS" if right else "FAIL", text)
    return 0 if all(right for right, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
