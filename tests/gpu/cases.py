# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Every small model on platform CUDA in every precision beside Reference, and again: the same bits.

cases.py [--small] [--model NAME]... [--jobs N] [--platform NAME] [--json FILE]
    --small: few models, two evaluations, for compute-sanitizer
    --jobs: each model in a process of its own, so many at a time; one that dies takes no other with it
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import openmm
import random_models

from openmmflash import FlashForce, FlashModel
from openmmflash.convert._writer import modelBytes

# energy, of the sum of the magnitudes of what is added up; forces, of their root mean square
TOLERANCES = {"single": (2e-6, 2e-5), "mixed": (1e-6, 1e-5), "double": (1e-9, 1e-9)}
REPEATS = 20


def lowRankParts():
    """A SchNet of real width whose filters are sums of few functions, to any tolerance, as trained ones nearly are."""
    metadata, tensors = random_models.schnetParts(filterBias=False, basis="gaussian", seed=12, sizes=(64, 96, 16), width=0.2)
    random = np.random.default_rng(5)
    for name, weight in tensors.items():
        if name.endswith("filter.1.weight"):
            # Of few bits each, so that the product has this rank as the model's file stores it, too: in single precision.
            left, right = (np.round(64 * random.normal(size=size)) / 64 for size in ((len(weight), LOW_RANK), (LOW_RANK, len(weight))))
            tensors[name] = left @ right / 128
    return metadata, tensors


LOW_RANK = 20  # two steps of 16 functions


@dataclasses.dataclass
class Model:
    """Metadata and tensors, and the system: frames that do not see each other, each of particles of two groups in the same volume."""

    parts: Callable
    periodic: bool
    particles: int = 40
    frames: int = 1
    density: float = 25.0  # particles of a frame per nm^3, where there is no box
    lowRank: bool = False


MODELS = {name: Model(parts, name in random_models.PERIODIC) for name, parts in random_models.PARTS.items()}
# The first has rows of more than 32 pairs. The second has a group, as replicas are, for most multiprocessors of a large GPU, so that a
# work-group takes tiles of 16 rows; else it takes few.
MODELS["low-rank"] = Model(lowRankParts, True, 90, density=250, lowRank=True)
MODELS["low-rank-replicas"] = Model(lowRankParts, False, 60, frames=50, density=250, lowRank=True)
SMALL = ("mlcg-repulsion-cutoff", "torchmdnet", "ani", "low-rank", "low-rank-replicas")
FILTER = "OPENMMFLASH_DEVICE_FILTER"


def evaluate(name, platform, properties, half, box, tolerance, repeats):
    """Particle energies [n], forces [n, 3], and whether all repeats gave the same bits."""
    made, random = MODELS[name], np.random.default_rng(3)
    model = FlashModel.fromBytes(modelBytes(*made.parts()), name)
    frame = None if box is None else np.asarray(box) * 1.3
    types = random_models.randomTypes(model, made.particles * made.frames, random)
    distance = 0.12 if made.lowRank else 0.16
    frames = [random_models.randomPositions(made.particles, random, frame, made.density, distance) for _ in range(made.frames)]
    groups = [2 * k + i % 2 for k in range(made.frames) for i in range(made.particles)]
    system, force = random_models.makeSystem(model, types, frame, groups)
    force.setTableTolerance(tolerance)
    force.setWeightPrecision(FlashForce.Half if half else FlashForce.Single)
    system.addForce(force)
    if made.lowRank:
        os.environ[FILTER] = "2"  # an error where a filter has no such form
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform), properties)
    if made.lowRank:
        del os.environ[FILTER]
        assert platform in ("Reference", "CPU") or force.getCompilationReport(context)["network"]["filter"] == "lowRank"
    found = []
    for _ in range(repeats):
        context.setPositions(np.vstack(frames))
        forces = context.getState(forces=True).getForces(asNumpy=True)._value
        found.append((np.array(force.getParticleEnergies(context)), np.array(forces)))
    same = all(np.array_equal(a, b) for other in found[1:] for a, b in zip(found[0], other))
    return *found[0], same


def check(name, precision, half, periodic, platform, repeats):
    box = random_models.BOXES["triclinic"] if periodic else None
    tolerance = 1e-10 if precision == "double" else 1e-6
    properties = {"Precision": precision} if platform in ("CUDA", "OpenCL", "HIP") else {}
    # Reference does not round weights; the CPU platform does, and has an error of its own.
    expectedEnergies, expectedForces, _ = evaluate(name, "CPU" if half else "Reference", {}, half, box, tolerance, 1)
    energies, forces, same = evaluate(name, platform, properties, half, box, tolerance, repeats)
    rms = np.sqrt(np.mean(expectedForces**2))
    energyError = abs(energies.sum() - expectedEnergies.sum()) / np.abs(expectedEnergies).sum()
    forceError = np.abs(forces - expectedForces).max() / rms
    allowed = [(3 if half else 1) * value for value in TOLERANCES[precision]]
    passed = bool(same and energyError <= allowed[0] and forceError <= allowed[1])  # NaN does not pass
    label = f"{name} {precision}{' half weights' if half else ''}{' in a box' if periodic else ''}"
    record = {"case": label, "energyError": float(energyError), "forceError": float(forceError), "sameBits": same, "passed": passed}
    errors = f"energy {energyError:.1e}, forces {forceError:.1e}"
    print(f"{'ok    ' if passed else 'FAILED'} {label}: {errors}{'' if same else ', NOT THE SAME BITS'}")
    return record


def checkModel(name, small, platform):
    """The records of one model."""
    records = []
    for precision in ("single",) if small else TOLERANCES:
        for half in (False, True) if precision != "double" else (False,):
            for periodic in (False, True) if MODELS[name].periodic else (False,):
                try:
                    records.append(check(name, precision, half, periodic, platform, 2 if small else REPEATS))
                except openmm.OpenMMException as error:
                    print(f"FAILED {name} {precision}: {error}")
                    records.append({"case": f"{name} {precision}", "passed": False, "error": str(error)})
    return records


def checkInProcess(name, small, platform):
    """The same in another process: (its output, records)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.json"
        command = [sys.executable, __file__, "--model", name, "--platform", platform, "--json", str(file), *(["--small"] if small else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode in (0, 1) and file.exists():
            return "".join(done.stdout.splitlines(keepends=True)[:-1]), json.loads(file.read_text())
    error = f"its process ended with {done.returncode}: {done.stdout[-500:]}"
    return f"{done.stdout}FAILED {name}: {error}\n", [{"case": name, "passed": False, "error": error}]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--model", action="append", choices=list(MODELS))
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--platform", default=os.environ.get("GPU_PLATFORM", "CUDA"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    names = arguments.model or (SMALL if arguments.small else list(MODELS))
    records, start = [], time.monotonic()
    if arguments.jobs:
        pool = ThreadPoolExecutor(arguments.jobs)
        waiting = {pool.submit(checkInProcess, name, arguments.small, arguments.platform): name for name in names}
        try:
            for future in as_completed(dict(waiting)):
                output, found = future.result()
                print(output, end="", flush=True)
                records += found
                del waiting[future]
        except KeyboardInterrupt:  # time is up; the other processes were interrupted, too
            pool.shutdown(wait=False, cancel_futures=True)
            for name in waiting.values():
                print(f"FAILED {name}: interrupted")
                records.append({"case": name, "passed": False, "error": "interrupted"})
    else:
        for name in names:
            records += checkModel(name, arguments.small, arguments.platform)
    if arguments.json:
        arguments.json.write_text(json.dumps(records, indent=1) + "\n")
    failed = sum(not record["passed"] for record in records)
    print(f"{len(records) - failed} passed, {failed} failed ({time.monotonic() - start:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
