#!/usr/bin/env python3
# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
A long run: the time of a step and the memory of the process stay what they were at the start.

    tests/physics/endurance.py [peptide | chignolin] [--shared FOLDER] [--steps 100000] [--replicas 8] [--platform CPU] [--threads N]

The peptide (ANI-1x, Langevin at 300 K, 0.5 fs) needs no other files; chignolin (C-alpha, 4 fs, --replicas copies) takes its model from
FOLDER (see CONTRIBUTING.md). Printed: for each tenth of the run the median time of a step, over pieces of 50 steps, and the resident memory
(VmRSS); then, with PASS or FAIL, that the memory at the end is within 1 % of that after a warm-up of a tenth, and the ratio of the last
tenth's time to the first's, which is for the reader to judge: other programs run on the machine, too.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import openmm
from nve import ROOT, makeChignolin, makePeptide

TEMPERATURE = 300.0  # K
PIECE = 50  # steps
ALLOWED_GROWTH = 0.01


def residentMemory():
    """VmRSS of this process in kB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def runLong(molecule, timestep, steps, platform="CPU", threads=None, log=None):
    """
    Langevin dynamics of `steps` steps after a warm-up of a tenth as many.

    Returns median seconds of a step and VmRSS in kB, for each tenth, [10] each, and VmRSS after the warm-up.
    """
    integrator = openmm.LangevinMiddleIntegrator(TEMPERATURE, 1.0, timestep)
    integrator.setRandomNumberSeed(11)
    properties = {} if threads is None else {"Threads": str(threads)}
    context = openmm.Context(molecule.system, integrator, openmm.Platform.getPlatform(platform), properties)
    context.setPositions(molecule.positions)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 100)
    context.setVelocitiesToTemperature(TEMPERATURE, 12)
    pieces = max(1, steps // (10 * PIECE))

    def tenth():
        times = []
        for _ in range(pieces):
            start = time.perf_counter()
            integrator.step(PIECE)
            times.append((time.perf_counter() - start) / PIECE)
        energy = context.getState(energy=True).getPotentialEnergy()._value
        if not np.isfinite(energy):
            raise RuntimeError(f"the energy is {energy}")
        return np.median(times), residentMemory()

    _, warm = tenth()
    medians, memory = [], []
    for k in range(10):
        median, resident = tenth()
        medians.append(median)
        memory.append(resident)
        if log:
            print(f"tenth {k + 1:2d}: {1e6 * median:8.1f} us a step, {resident} kB", file=log, flush=True)
    return np.array(medians), np.array(memory), warm


def checkMemory(memory, warm):
    growth = (memory[-1] - warm) / warm
    return bool(
        abs(growth) <= ALLOWED_GROWTH
    ), f"resident memory {warm} kB after the warm-up, {memory[-1]} kB at the end: {100 * growth:+.2f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("molecule", nargs="?", choices=["peptide", "chignolin"], default="peptide")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with models/mlcg")
    parser.add_argument("--steps", type=int, default=100000)
    parser.add_argument("--replicas", type=int, default=8, help="of chignolin")
    parser.add_argument("--platform", default="CPU")
    parser.add_argument("--threads", type=int, help="of platform CPU")
    arguments = parser.parse_args()
    if arguments.molecule == "peptide":
        molecule, timestep = makePeptide(), 0.0005
    else:
        molecule, timestep = makeChignolin(arguments.shared, arguments.replicas), 0.004
    medians, memory, warm = runLong(molecule, timestep, arguments.steps, arguments.platform, arguments.threads, sys.stdout)
    passed, text = checkMemory(memory, warm)
    print("PASS" if passed else "FAIL", text)
    print(f"time of a step: last tenth / first {medians[-1] / medians[0]:.3f}, slowest / fastest {medians.max() / medians.min():.3f}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
