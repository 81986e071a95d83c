# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Times on a GPU, ours and other programs': steps of dynamics, launches and time of each kernel, memory.

    gpu.py OUTPUT.json [--platform CUDA] [--only TEXT] [--seconds S] [--peer-path NAME=PATH]...

Cases: the CGSchNet of 269 beads in 1 to 256 replicas, with its pair prior; ANI-2x's shape (its weights, where TorchANI is installed) on
poly-alanine and water. Single and half weights. Each time is the median of at least five batches after a warm-up, by wall clock around
batches that end with a synchronisation. A program that does not agree with ours is not timed.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openmm

from openmmflash import FlashForce, FlashModel
from openmmflash.bench import beads, machine, models, polyala, water
from openmmflash.convert._writer import modelBytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cuda"))
import specialisations

KCAL = 4.184


def usedMemory():
    """Bytes of the first GPU in use, by nvidia-smi; None where that is not there."""
    try:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]) * 2**20
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None


def gpuName():
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,clocks.mem,power.limit", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def beadCase(replicas, half):
    """Model, System and positions of replicas side by side: network, pair prior, and the bonded priors of OpenMM."""
    model = FlashModel.fromBytes(modelBytes(*models.cgSchNet()))
    types, x = beads.build()
    terms, exclusions = beads.priors(x)
    n, system, force = len(types), openmm.System(), FlashForce(model)
    bonds, angles = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce()
    for replica in range(replicas):
        first = replica * n
        for kind in types:
            system.addParticle(model.getTypeMass(int(kind)))
        force.addParticles(list(range(first, first + n)), [int(kind) for kind in types], [replica] * n)
        for i, j in exclusions:
            force.addPairExclusion(first + int(i), first + int(j))
        for (i, j), (_, length) in zip(terms["bonds"].particles, terms["bonds"].parameters):
            bonds.addBond(first + int(i), first + int(j), 0.1 * length, 2 * 100 * KCAL * 100)
        for (i, j, k), (_, cosine) in zip(terms["angles"].particles, terms["angles"].parameters):
            angles.addAngle(first + int(i), first + int(j), first + int(k), float(np.arccos(cosine)), 40 * KCAL)
    force.setWeightPrecision(FlashForce.Half if half else FlashForce.Single)
    for each in (force, bonds, angles):
        system.addForce(each)
    return system, force, np.concatenate([x] * replicas), 0.004


def aniCase(kind, atoms, half):
    metadata, tensors = specialisations.ani2x()
    model = FlashModel.fromBytes(modelBytes(metadata, tensors))
    numbers = {1: 0, 6: 1, 7: 2, 8: 3}
    box = None
    if kind == "polyala":
        names, positions, _ = polyala.build(polyala.residuesFor(atoms))
        elements = polyala.atomicNumbers(names)
    else:
        elements, positions, box = water.build(water.moleculesFor(atoms)[0])
    system, force = openmm.System(), FlashForce(model)
    for number in elements:
        system.addParticle({1: 1.008, 6: 12.011, 7: 14.007, 8: 15.999}[number])
    force.addParticles(list(range(len(elements))), [numbers[number] for number in elements], [0] * len(elements))
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*np.diag(box))
        force.setUsesPeriodicBoundaryConditions(True)
    force.setWeightPrecision(FlashForce.Half if half else FlashForce.Single)
    system.addForce(force)
    # The weights are random, and no physics: atoms stay where they are, and the neighbor list works as in a simulation.
    return system, force, np.asarray(positions), 1e-6


def batches(run, seconds, synchronise):
    """Seconds of one call of run(), each the mean of a batch of at least 20 ms."""
    run()
    synchronise()
    start = time.perf_counter()
    run()
    synchronise()
    size = max(1, int(0.02 / max(time.perf_counter() - start, 1e-6)))
    found, end = [], time.perf_counter() + seconds
    while len(found) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(size):
            run()
        synchronise()
        found.append((time.perf_counter() - start) / size)
    return found


def kernelProfile(run, synchronise, steps=20):
    """{kernel: (launches, microseconds) of a step}, by CUPTI through PyTorch's profiler; None without PyTorch."""
    try:
        import torch
        from torch.profiler import ProfilerActivity, profile
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    run()
    synchronise()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(steps):
            run()
        synchronise()
    totals = {}
    for event in found.events():
        if "CUDA" not in str(event.device_type).upper():
            continue
        count, duration = totals.get(event.name, (0, 0.0))
        totals[event.name] = (count + 1, duration + event.time_range.elapsed_us())
    return {name: (count / steps, duration / steps) for name, (count, duration) in totals.items()}


def measureOurs(name, build, platform, seconds):
    before = usedMemory()
    system, force, positions, timestep = build()
    integrator = openmm.LangevinMiddleIntegrator(300, 1, timestep)
    properties = {"Precision": "single"} if platform in ("CUDA", "OpenCL", "HIP") else {}
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform), properties)
    context.setPositions(positions)
    start = time.perf_counter()
    state = context.getState(energy=True, forces=True)
    first = time.perf_counter() - start
    energy, forces = state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value
    if not np.isfinite(energy) or not np.isfinite(forces).all():
        raise RuntimeError(f"{name}: the energy is {energy}")
    context.setVelocitiesToTemperature(300, 1)

    def synchronise(context=context):
        context.getState(velocities=True)

    # The network alone, as often as a step needs it, and whole steps of dynamics.
    steps = batches(lambda: integrator.step(1), seconds, synchronise)
    evaluations = batches(lambda context=context: context.getState(forces=True), seconds, lambda: None)
    after = usedMemory()
    record = {
        "case": name,
        "program": "openmm-flash",
        "particles": system.getNumParticles(),
        "ms_per_step": 1e3 * statistics.median(steps),
        "ms_per_step_all": [1e3 * value for value in steps],
        "ms_per_evaluation": 1e3 * statistics.median(evaluations),
        "first_evaluation_s": first,
        "memory_bytes": None if before is None else after - before,
        "kernels": kernelProfile(lambda: integrator.step(1), synchronise) if platform == "CUDA" else None,
        "energy": energy,
        "report": force.getCompilationReport(context),
    }
    del context
    gc.collect()
    return record


def measureAmber(atoms, platform, seconds):
    """OpenMM's Amber ff14SB with GBn2 on the same molecule: another potential, as a yardstick."""
    import openmm.app as app

    names, positions, bonds = polyala.build(polyala.residuesFor(atoms))
    topology = polyala.topology(names, bonds)
    field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
    system = field.createSystem(topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds)
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 50, 20)
    context.setVelocitiesToTemperature(300, 1)
    steps = batches(lambda: integrator.step(1), seconds, lambda: context.getState(velocities=True))
    return {"case": f"polyala-{len(positions)}", "program": "Amber ff14SB, GBn2", "ms_per_step": 1e3 * statistics.median(steps)}


def measureTorchani(kind, atoms, seconds, compiled):
    """TorchANI's ANI-2x on the GPU, with its compiled AEV where it is built: energies and forces of the same coordinates."""
    import torch
    import torchani

    names, positions, _ = polyala.build(polyala.residuesFor(atoms))
    numbers = torch.tensor([polyala.atomicNumbers(names)], device="cuda")
    model = torchani.models.ANI2x(periodic_table_index=True).to("cuda")
    if compiled:
        if hasattr(model, "set_strategy"):
            model.set_strategy("cuaev")
        else:
            model.aev_computer.use_cuda_extension = True
    x = torch.tensor(10 * np.asarray(positions)[None], dtype=torch.float32, device="cuda", requires_grad=True)

    def run():
        energy = model((numbers, x)).energies.sum()
        return torch.autograd.grad(energy, x)[0]

    steps = batches(run, seconds, torch.cuda.synchronize)
    program = f"TorchANI {torchani.__version__}" + (", cuaev" if compiled else "")
    peak = torch.cuda.max_memory_allocated()
    return {
        "case": f"{kind}-{len(positions)}",
        "program": program,
        "ms_per_evaluation": 1e3 * statistics.median(steps),
        "memory_bytes": peak,
    }


def cases():
    for half in (False, True):
        label = "half" if half else "single"
        for replicas in (1, 16, 64, 128, 256):
            yield f"cg-269x{replicas}-{label}", lambda r=replicas, h=half: beadCase(r, h)
        for atoms in (60, 600, 6000):
            yield f"polyala-{atoms}-{label}", lambda a=atoms, h=half: aniCase("polyala", a, h)
        yield f"water-60000-{label}", lambda h=half: aniCase("water", 60000, h)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--platform", default="CUDA")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--no-peers", action="store_true")
    arguments = parser.parse_args()
    document = {"system": machine.systemInformation(), "gpu": gpuName(), "benchmarks": [], "missing": []}

    def keep(name, measure):
        try:
            record = measure()
        except Exception as error:  # a peer that is not there, or a case that does not fit: the others go on
            document["missing"].append({"name": name, "reason": f"{type(error).__name__}: {error}"[:500]})
            print(f"{name}: {type(error).__name__}: {str(error)[:200]}", flush=True)
        else:
            document["benchmarks"].append(record)
            ms = record.get("ms_per_step", record.get("ms_per_evaluation"))
            replicas = record.get("particles", 0) // 269 if name.startswith("cg-") else 0
            rate = f", {1e3 * replicas / ms:,.0f} timestep*mol/s" if replicas else ""
            launches = sum(count for count, _ in (record.get("kernels") or {}).values())
            print(f"{name}, {record['program']}: {ms:.4f} ms{rate}{f', {launches:.0f} launches' if launches else ''}", flush=True)
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")

    for name, build in cases():
        if arguments.only in name:
            keep(name, lambda name=name, build=build: measureOurs(name, build, arguments.platform, arguments.seconds))
    if not arguments.no_peers:
        for atoms in (60, 600, 2000):
            keep(f"polyala-{atoms} Amber", lambda a=atoms: measureAmber(a, arguments.platform, arguments.seconds))
        for atoms in (60, 600, 6000):
            for compiled in (False, True):
                keep(f"polyala-{atoms} TorchANI", lambda a=atoms, c=compiled: measureTorchani("polyala", a, arguments.seconds, c))


if __name__ == "__main__":
    main()
