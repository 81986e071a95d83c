# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Runs one engine in a process of its own: python -m openmmflash.compare.worker JOB.json. What it found is in the folder's result.json."""

import dataclasses
import importlib.metadata
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from . import CompareError
from .settings import EQUILIBRATION, FLASH, SINGLE, Settings
from .systems import build

MINIMIZATION = 200  # iterations
PIECE = 0.2  # seconds of integration between two looks at the clock
FEWEST = 2  # frames, however long they take
HOTTEST = 20  # times the thermostat's temperature: only an explosion makes that


def run(job):
    """Minimize, equilibrate, produce for the time budget. Returns what result.json holds."""
    import openmm as mm
    from openmm import app, unit

    settings = Settings(**job["settings"])
    folder = job["folder"]
    platform = mm.Platform.getPlatform(settings.platform)
    prepared = time.perf_counter()
    setup = build(job["engine"], job["pdb"], settings, platform)
    context = _context(setup.system, setup, settings, platform)
    context.setPositions(setup.positions)
    mm.LocalEnergyMinimizer.minimize(context, 10.0, MINIMIZATION)
    context.setVelocitiesToTemperature(settings.temperature, settings.seed)
    n = setup.topology.getNumAtoms()
    each = len(setup.positions) // setup.replicas
    with open(os.path.join(folder, "topology.pdb"), "w", encoding="utf-8") as file:
        app.PDBFile.writeFile(setup.topology, setup.positions[:n] * unit.nanometer, file, keepIds=True)
    print(f"{setup.title}: prepared in {time.perf_counter() - prepared:.1f} s", flush=True)
    dynamics = _Dynamics(context, setup, settings)
    perStep = dynamics.spend(EQUILIBRATION * settings.budget)
    interval = max(1, round(settings.budget / (settings.frames * perStep)))
    print(f"equilibrated for {dynamics.steps} steps, {perStep * 1000:.3g} ms each; a frame every {interval} steps", flush=True)
    trajectories = _Trajectories(folder, setup.topology, setup.replicas, each, setup.timestep, interval)
    before = os.getloadavg()[0]
    produced = dynamics.produce(settings.budget, interval, trajectories)
    result = {
        "title": setup.title,
        "details": setup.details
        | {
            "integrator": f"LangevinMiddle, {setup.timestep:g} fs, {settings.friction:g}/ps",
            "program": f"OpenMM {importlib.metadata.version('openmm')}, {settings.platform}",
        },
        "timestep_fs": setup.timestep,
        "replicas": setup.replicas,
        "interval": interval,
        "frames": trajectories.frames,
        "equilibration_steps": dynamics.steps - produced["steps"],
        "load_average": [before, os.getloadavg()[0]],
        "trajectories": trajectories.paths,
        "topology": os.path.join(folder, "topology.pdb"),
        "bead": "CA",
        "mean_temperature_K": float(np.mean(dynamics.temperatures)),
        **produced,
    }
    perSingle, state = None, context.getState(positions=True)
    del context, dynamics
    if settings.platform == "CPU" and settings.threads > 1 and job["engine"] != FLASH:
        result["crowd"] = _crowd(setup, settings, platform, state)
    if setup.single is not None:
        single = _context(setup.single, setup, settings, platform)
        single.setPositions(state.getPositions(asNumpy=True)[:each])
        single.setVelocitiesToTemperature(settings.temperature, settings.seed)
        alone = _Dynamics(single, dataclasses.replace(setup, replicas=1), settings)
        alone.spend(0.2 * SINGLE * settings.budget)
        perSingle = alone.spend(SINGLE * settings.budget)
    result["single_steps_per_s"] = 1 / perSingle if perSingle else produced["steps"] / produced["wall_s"]
    return result


def _context(system, setup, settings, platform):
    import openmm as mm

    integrator = mm.LangevinMiddleIntegrator(settings.temperature, settings.friction, setup.timestep * 1e-3)
    integrator.setRandomNumberSeed(settings.seed)
    return mm.Context(system, integrator, platform, settings.properties)


def _crowd(setup, settings, platform, state):
    """What as many trajectories reach as there are threads, one thread each, all at once: {trajectories, steps_per_s of all}."""
    alone = dataclasses.replace(settings, properties=settings.properties | {"Threads": "1"})
    contexts = [_context(setup.system, setup, alone, platform) for _ in range(settings.threads)]
    runs = []
    for k, context in enumerate(contexts):
        context.setPeriodicBoxVectors(*state.getPeriodicBoxVectors())
        context.setPositions(state.getPositions())
        context.setVelocitiesToTemperature(settings.temperature, settings.seed + k)
        runs.append(_Dynamics(context, setup, settings))
    for seconds in (0.2 * SINGLE * settings.budget, SINGLE * settings.budget):  # the first to warm up
        # OpenMM lets other Python threads run while it integrates.
        with ThreadPoolExecutor(len(runs)) as pool:
            perStep = list(pool.map(_Dynamics.spend, runs, [seconds] * len(runs)))
    return {"trajectories": len(runs), "steps_per_s": sum(1 / seconds for seconds in perStep)}


class _Dynamics:
    """Steps of a Context by the clock, with a look at what comes out."""

    def __init__(self, context, setup, settings):
        self.context, self.integrator = context, context.getIntegrator()
        system = context.getSystem()
        particles = sum(1 for i in range(system.getNumParticles()) if system.getParticleMass(i)._value > 0)
        removers = any(type(force).__name__ == "CMMotionRemover" for force in system.getForces())
        self.degreesOfFreedom = max(3 * particles - system.getNumConstraints() - 3 * removers, 1)
        self.temperature, self.steps, self.temperatures = settings.temperature, 0, []

    def spend(self, seconds):
        """Integrate for so long, at least one step. Returns seconds per step."""
        start, done, piece = time.perf_counter(), 0, 1
        elapsed = 0.0
        while done == 0 or elapsed < seconds:
            begin = time.perf_counter()
            self._step(piece)
            done += piece
            elapsed = time.perf_counter() - start
            perStep = max(time.perf_counter() - begin, 1e-9) / piece
            piece = max(1, min(int(min(PIECE, max(seconds - elapsed, 0)) / perStep), 4 * piece))
        self._look()
        return elapsed / done

    def produce(self, seconds, interval, trajectories):
        """Integrate and write frames until the time is spent. Returns steps, and seconds of the clock and of the processor."""
        self.temperatures.clear()
        start, cpu, done = time.perf_counter(), _cpuTime(), 0
        while trajectories.frames < FEWEST or time.perf_counter() - start < seconds:
            for piece in _pieces(interval, max(1, int(PIECE / max((time.perf_counter() - start) / max(done, 1), 1e-7)))):
                self._step(piece)
                done += piece
                # A frame that takes longer than a tenth of what was meant for all is not waited for.
                if trajectories.frames >= FEWEST and time.perf_counter() - start > 1.1 * seconds:
                    break
            else:
                trajectories.write(self._look())
        return {"steps": done, "wall_s": time.perf_counter() - start, "cpu_s": _cpuTime() - cpu}

    def _step(self, count):
        from openmm import OpenMMException

        try:
            self.integrator.step(count)
        except OpenMMException as error:
            raise CompareError(f"the simulation became unstable after {self.steps} steps: {error}") from error
        self.steps += count

    def _look(self):
        """The positions; refuses what only an explosion can have made."""
        from openmm.unit import MOLAR_GAS_CONSTANT_R, kelvin, kilojoule_per_mole

        state = self.context.getState(positions=True, energy=True)
        positions = state.getPositions(asNumpy=True)._value
        kinetic = state.getKineticEnergy()._value
        temperature = 2 * kinetic / (self.degreesOfFreedom * MOLAR_GAS_CONSTANT_R.value_in_unit(kilojoule_per_mole / kelvin))
        if (
            not np.isfinite(positions).all()
            or not np.isfinite(state.getPotentialEnergy()._value)
            or not temperature < HOTTEST * self.temperature
        ):
            raise CompareError(f"the simulation became unstable: after {self.steps} steps the temperature is {temperature:.4g} K")
        self.temperatures.append(temperature)
        return positions


def _pieces(total, largest):
    while total > 0:
        yield min(total, largest)
        total -= largest


def _cpuTime():
    times = os.times()
    return times.user + times.system


class _Trajectories:
    """An XTC file of each replica, of the particles that the topology has."""

    def __init__(self, folder, topology, replicas, each, timestep, interval):
        from openmm import app

        self.each, self.n, self.frames = each, topology.getNumAtoms(), 0
        self.paths = [os.path.join(folder, f"trajectory_{r}.xtc" if replicas > 1 else "trajectory.xtc") for r in range(replicas)]
        plain = _open(topology)
        self.writers = [app.XTCFile(path, plain, timestep * 1e-3, interval, interval) for path in self.paths]

    def write(self, positions):
        from openmm import unit

        for r, writer in enumerate(self.writers):
            writer.writeModel(positions[r * self.each : r * self.each + self.n] * unit.nanometer)
        self.frames += 1


def _open(topology):
    """Without its box: molecules are written whole, and the box of a barostat would be out of date."""
    topology.setPeriodicBoxVectors(None)
    return topology


def main(path):
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    try:
        result = run(job)
    except Exception as error:
        import traceback

        traceback.print_exc()
        result = {"error": " ".join(str(error).split()) or type(error).__name__}
    target = os.path.join(job["folder"], "result.json")
    with open(target + ".part", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    os.replace(target + ".part", target)
    return 1 if "error" in result else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
