#!/usr/bin/env python3
# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
64 replicas of C-alpha chignolin in one Context against 64 runs of one: the same distributions, and nothing in common.

    tests/physics/replica_distributions.py SHARED [--replicas 64] [--steps 20000] [--platform CPU]

SHARED is the folder with models/mlcg (see CONTRIBUTING.md). Replica k and run k start from the same structure with other velocities and
another noise, at 300 K. Printed, one line each with PASS or FAIL:

- potential energies, and temperatures: Kolmogorov-Smirnov's statistic between all samples of the replicas and all of the runs. Samples of
  one run are correlated, so that its significance comes from permutation: which of the 128 runs are called replicas is drawn anew 2,000
  times, and the statistic taken again;
- temperatures of the replicas against the chi-squared distribution of 30 degrees of freedom;
- the motion of the centre of all replicas against that of independent ones, and the variance of the sums of their kinetic and potential
  energies against the sum of the variances: what a shared noise, or a common centre of mass, would show in.

tests/python/test_replicas.py has the short form, with a small model. On the CPU platform it takes some minutes.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openmm
from chignolin_replicas import MODEL, TEMPERATURE, TIMESTEP
from scipy import stats

import openmmflash
from openmmflash.convert.mlcg import convertMlcg
from openmmflash.replicas import GAS_CONSTANT, ReplicaEnergies
from openmmflash.structurefile import readStructure

SIGNIFICANT = 0.001
INTERVAL = 250  # steps between samples: a picosecond
EQUILIBRATION = 2000  # steps


def simulate(model, structure, first, replicas, steps, platform, friction, seed):
    """Potential energies and temperatures [samples, replicas], centre-of-mass velocities [samples, replicas, 3], mass of one replica.

    The replicas start from the structure's frames, the first of them from frame `first`.
    """
    system = openmmflash.createSystem(structure, model, replicas=replicas, removeCMMotion=False)
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, friction, TIMESTEP)
    integrator.setRandomNumberSeed(seed)
    properties = {"Threads": "1"} if platform == "CPU" else {}  # ten beads are too few for more
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    frames = structure.positions if structure.positions.ndim == 3 else structure.positions[None]
    context.setPositions(np.concatenate([frames[(first + r) % len(frames)] for r in range(replicas)]))
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 100)
    context.setVelocitiesToTemperature(TEMPERATURE, seed)
    integrator.step(EQUILIBRATION)
    energies, samples = ReplicaEnergies(context, replicas), []
    for _ in range(steps // INTERVAL):
        integrator.step(INTERVAL)
        velocities = np.array(context.getState(velocities=True).getVelocities(asNumpy=True)._value).reshape(replicas, -1, 3)
        centre = np.einsum("i,rix->rx", energies.masses, velocities) / energies.masses.sum()
        samples.append((energies.getPotentialEnergies(), energies.getTemperatures(velocities), centre))
    return [np.array(values) for values in zip(*samples)] + [energies.masses.sum()]


def compareRuns(what, replicas, runs, permutations=2000):
    """Kolmogorov-Smirnov between two sets of runs, [samples, runs] each, its significance by permutation of the runs."""
    runs = np.concatenate([replicas, runs], axis=1)
    order = np.argsort(runs, axis=None)
    owner, count = order % runs.shape[1], replicas.shape[1]

    def statistic(labels):
        return np.abs(np.cumsum(np.where(labels[owner], 1.0, -count / (runs.shape[1] - count)))).max() / (count * runs.shape[0])

    labels = np.arange(runs.shape[1]) < count
    found, random = statistic(labels), np.random.default_rng(1)
    others = np.array([statistic(random.permutation(labels)) for _ in range(permutations)])
    p = (1 + np.count_nonzero(others >= found)) / (1 + permutations)
    ours, theirs = runs[:, labels], runs[:, ~labels]
    means = f"means {ours.mean():.3f} and {theirs.mean():.3f}, spreads {ours.std():.3f} and {theirs.std():.3f}"
    return p > SIGNIFICANT, f"{what}: D = {found:.4f} (permuted runs: median {np.median(others):.4f}), p = {p:.3f}; {means}"


def checkKnown(what, values, distribution):
    p = stats.kstest(np.ravel(values), distribution.cdf).pvalue
    return p > SIGNIFICANT, f"{what}: p = {p:.3f}; mean {np.mean(values):.4f}, expected {distribution.mean():.4f}"


def checkTogether(what, values):
    """Whether columns vary independently: the variance of their sum over the sum of their variances."""
    values = values - values.mean(axis=0)
    ratio = np.var(values.sum(axis=1)) / np.var(values, axis=0).sum()
    # Samples of slow quantities are correlated: the number of independent ones is that of the columns' autocorrelation.
    correlation = [np.mean(values[:-k] * values[k:]) / np.mean(values**2) for k in range(1, len(values) // 4)]
    positive = next((k for k, c in enumerate(correlation) if c < 0.05), len(correlation))
    freedom = (len(values) - 1) / (1 + 2 * sum(correlation[:positive]))
    low, high = (stats.chi2(freedom).ppf(q) / freedom for q in (SIGNIFICANT / 2, 1 - SIGNIFICANT / 2))
    return low < ratio < high, f"{what}: variance of the sum is {ratio:.3f} of the sum of variances; allowed {low:.3f} to {high:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("shared", type=Path, help="folder with models/mlcg")
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--friction", type=float, default=1.0, help="1/ps")
    parser.add_argument("--platform", default="CPU")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = convertMlcg(arguments.shared / MODEL, Path(folder) / "chignolin.safetensors", check=False)
        model, structure = openmmflash.FlashModel(report.path), readStructure(report.files[0])
    options = (arguments.steps, arguments.platform, arguments.friction)
    start = time.time()
    potential, temperature, centre, mass = simulate(model, structure, 0, arguments.replicas, *options, seed=1)
    print(f"{arguments.replicas} replicas, {arguments.steps} steps: {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    alone = [simulate(model, structure, k, 1, *options, seed=1000 + k)[:2] for k in range(arguments.replicas)]
    print(f"{arguments.replicas} runs of one: {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    potentialAlone, temperatureAlone = (np.concatenate(values, axis=1) for values in zip(*alone))
    degrees = 3 * structure.numParticles
    common = mass * arguments.replicas * centre.mean(axis=1) ** 2 / (GAS_CONSTANT * TEMPERATURE)
    results = [
        compareRuns("potential energy (kJ/mol)", potential, potentialAlone),
        compareRuns("temperature (K)", temperature, temperatureAlone),
        checkKnown("kinetic energy of a replica in RT/2", temperature * degrees / TEMPERATURE, stats.chi2(degrees)),
        checkKnown("motion of the centre of all replicas in RT/2", common, stats.chi2(1)),
        checkTogether("kinetic energies", temperature),
        checkTogether("potential energies", potential),
    ]
    for right, text in results:
        print("PASS" if right else "FAIL", text)
    return 0 if all(right for right, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
