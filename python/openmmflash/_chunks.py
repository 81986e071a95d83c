# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What a worker of an ensemble does: one chunk of a run, from the checkpoint before it to its own."""

import contextlib
import io
import json
import os
import shutil
import socket
import tempfile
import threading

import numpy as np
import openmm

from .cli import _folder
from .cli._exchange import Exchange
from .cli._minimize import relax
from .cli._platforms import choosePlatform
from .cli._run import blankTopology, createContext, drawVelocities, temperatures
from .cli._simulation import EQUILIBRATE, PRODUCE, Interrupts, Measurement, Simulation, nextMultiple
from .ensemble import CHECKPOINT, LOG, MAX_SEED, START, SYSTEM, Ensemble, waitFor
from .flash import FlashForce

# On the platforms CPU and Reference all CustomIntegrators of a process draw from one sequence of random numbers: chunks that threads of
# one worker made at the same time would take each other's.
_ONE_AT_A_TIME = threading.RLock()


def runChunk(folder, run, index, platform=None, threads=None):
    """Make one chunk of a run. A chunk that is there already is left alone.

    Returns
    -------
    dict
        The checkpoint's: run, index, phase, step, frames, and who made it.
    """
    ensemble = Ensemble(folder)
    final = ensemble.chunkFolder(run, index)
    if os.path.isdir(final):  # its worker was lost when it had finished
        return ensemble.readCheckpoint(run, index)[0]
    if index:
        waitFor(lambda: ensemble.countChunks(run) >= index, ensemble.chunkFolder(run, index - 1))
    os.makedirs(ensemble.runFolder(run), exist_ok=True)
    _syncFolder(ensemble.folder)
    work = tempfile.mkdtemp(prefix=f".chunk_{index:06d}.{os.getpid()}.", dir=ensemble.runFolder(run))
    try:
        shutil.copymode(ensemble.runFolder(run), work)  # mkdtemp's are private
        with _ONE_AT_A_TIME:
            meta = _makeChunk(ensemble, run, index, _folder.Folder(work), platform, threads)
        _syncFolder(work)
        try:
            os.rename(work, final)
            _syncFolder(ensemble.runFolder(run))
        except OSError:
            if not os.path.isdir(final):
                raise
            return ensemble.readCheckpoint(run, index)[0]  # another worker, while this one was taken for lost: its chunk stands
        return meta
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _syncFolder(path):
    """Force the names in a folder to the disk: files that were synced are nowhere after a power cut if their names were not."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems sync no folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _makeChunk(ensemble, run, index, folder, platform, threads):
    seed = int(np.random.SeedSequence([ensemble.settings["seed"], run, index]).generate_state(1)[0]) % MAX_SEED + 1
    settings = {**ensemble.settings, "seed": seed}
    meta, context = _restore(ensemble, run, index, settings, platform, threads)
    exchange = None
    if settings["temperatures_K"]:
        exchange = Exchange(context, folder, settings, meta and {"exchange": meta["exchange"], "sizes": {}})
    if meta is None:
        phase, step, frames = EQUILIBRATE, 0, 0
        _start(context, settings, exchange)
    else:
        phase, step, frames = _integrate(context, folder, settings, meta["phase"], meta["step"], exchange)
    if phase == EQUILIBRATE and step >= settings["equilibration_steps"]:
        phase, step = PRODUCE, 0
    meta = {"run": run, "index": index, "phase": phase, "step": step, "frames": frames, "seed": seed}
    meta |= {"platform": context.getPlatform().getName(), "host": socket.gethostname(), "process": os.getpid()}
    meta["exchange"] = None
    if exchange is not None:
        meta["exchange"] = exchange.ladder.getState()
        exchange.flush()
        exchange.close()
    _writeCheckpoint(folder, meta, context)
    return meta


def _restore(ensemble, run, index, settings, platform, threads):
    """(meta of the checkpoint before the chunk, or None; a Context in its state)."""
    with open(os.path.join(ensemble.folder, SYSTEM), encoding="utf-8") as file:
        system = openmm.XmlSerializer.deserialize(file.read())
    for force in system.getForces():
        if hasattr(force, "setRandomNumberSeed"):
            force.setRandomNumberSeed(settings["seed"])
    platform, properties = choosePlatform(platform)
    if threads is not None and platform.getName() == "CPU":
        properties["Threads"] = str(threads)
    context = createContext(system, settings, platform, properties)
    if not index:
        with np.load(os.path.join(ensemble.folder, START), allow_pickle=False) as archive:
            context.setPositions(archive["positions"][run % len(archive["positions"])])
        return None, context
    meta, positions, velocities, box = ensemble.readCheckpoint(run, index - 1)
    context.setPeriodicBoxVectors(*box)
    context.setPositions(positions)
    context.setVelocities(velocities)
    return meta, context


def _start(context, settings, exchange):
    if settings["minimize"]:
        relax(context, replicas=settings["replicas"])
    drawVelocities(context, settings, exchange)


def _integrate(context, folder, settings, phase, step, exchange):
    """From a step of a phase to the end of the chunk. Returns (phase, step, frames)."""
    total = settings["equilibration_steps"] if phase == EQUILIBRATE else settings["steps"]
    stop = min(total, (step // settings["checkpoint_interval"] + 1) * settings["checkpoint_interval"])
    forces = [FlashForce.cast(force) for force in context.getSystem().getForces() if FlashForce.isinstance(force)]
    members = forces[0].getModel().getNumMembers() if len(forces) == 1 else 1
    ladder = exchange and exchange.ladder
    measurement = Measurement(context, settings["replicas"], members, max(temperatures(settings)), ladder)
    trajectory = log = None
    if phase == PRODUCE:
        path, interval = folder[_folder.TRAJECTORY[settings["format"]]], settings["interval"]
        topology = blankTopology(context.getSystem().getNumParticles(), settings["periodic"])
        trajectory = _folder.Trajectory(path, topology, settings["timestep_fs"] / 1000, interval, first=nextMultiple(step, interval))
        log = _folder.Log(folder[LOG], measurement.columns(settings["pressure_bar"] is not None))
    chunk = _Chunk(context, folder, settings, settings["interval"], measurement, trajectory, log, Interrupts(), _silent, exchange)
    step = chunk.run(phase, step, stop)
    if trajectory is None:
        return phase, step, 0
    for file in (trajectory, log):
        file.flush()
        file.close()
    if not trajectory.frames and os.path.exists(trajectory.path):  # the end of a run that is no multiple of the interval
        os.remove(trajectory.path)
    return phase, step, trajectory.frames


class _Chunk(Simulation):
    """A Simulation that ends at its first checkpoint, which is written when everything else is."""

    def checkpoint(self, phase, step):
        self.measurement.look(f"at step {step} of {phase}")


@contextlib.contextmanager
def _silent(phase, total, start):
    yield lambda step, speed: None


def _writeCheckpoint(folder, meta, context):
    state = context.getState(positions=True, velocities=True)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        meta=np.array(json.dumps(meta)),
        positions=state.getPositions(asNumpy=True)._value,
        velocities=state.getVelocities(asNumpy=True)._value,
        box=np.array([list(row) for row in state.getPeriodicBoxVectors()._value]),
    )
    folder.write(CHECKPOINT, buffer.getvalue())
