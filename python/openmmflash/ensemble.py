# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Ensembles: many runs of one System, carried out in chunks by the processes or machines of a Dask cluster.

A chunk goes from one checkpoint to the next. Its frames, its log and its checkpoint are written into a folder that gets its name when it
is complete, in one step; so a worker that dies takes nothing with it but its chunk, which another one begins anew. A chunk follows from
the checkpoint before it and a seed of its own; from one seed, platforms and numbers of threads make noise of their own. Positions and
velocities are stored as numbers, so that machines and platforms may differ.
"""

import contextlib
import io
import json
import logging
import os
import re
import secrets
import shutil
import socket
import time

import numpy as np

from ._locks import lockFile

FORMAT = 1
SETTINGS, SYSTEM, START, LOCK = "ensemble.json", "system.xml", "start.npz", "run.lock"
CHECKPOINT, LOG = "checkpoint.npz", "log.csv"
PATIENCE = 60  # seconds until what another machine wrote must be visible
MAX_SEED = MAX_STEPS = 2**31 - 1  # OpenMM counts steps of one call in an int; DCD files, too


class Ensemble:
    """The folder of an ensemble: its settings, and what has been done.

    Parameters
    ----------
    folder : path

    Raises
    ------
    ValueError
        The folder is not that of an ensemble, or of another format.
    """

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        path = os.path.join(self.folder, SETTINGS)
        try:
            with open(path, encoding="utf-8") as file:
                self.record = json.load(file)
        except FileNotFoundError as error:
            raise ValueError(
                f"{socket.gethostname()}: there is no {path}. It is not the folder of an ensemble, or this machine does not see the file "
                "system that it is on."
            ) from error
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}. Restore it, or start anew elsewhere.") from error
        found = self.record.get("format") if isinstance(self.record, dict) else None
        if found != FORMAT:
            raise ValueError(f"{path} has format {found!r}; this version of OpenMM-Flash continues format {FORMAT}.")
        self.settings = self.record["settings"]
        self.numRuns = self.settings["runs"]

    def runFolder(self, run):
        return os.path.join(self.folder, f"run_{run:03d}")

    def chunkFolder(self, run, index):
        return os.path.join(self.runFolder(run), f"chunk_{index:06d}")

    def countChunks(self, run):
        """Chunks of a run that are complete; the first is its start."""
        try:
            names = os.listdir(self.runFolder(run))
        except FileNotFoundError:
            return 0
        found = sorted(int(name[6:]) for name in names if re.fullmatch(r"chunk_\d{6}", name))
        if found != list(range(len(found))):
            raise ValueError(f"{self.runFolder(run)} has the chunks {found}: some were removed. Restore them, or start anew.")
        return len(found)

    def readCheckpoint(self, run, index):
        """(meta, positions, velocities, box) at the end of a chunk, in nm and nm/ps."""
        path = os.path.join(self.chunkFolder(run, index), CHECKPOINT)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return json.loads(str(archive["meta"])), archive["positions"], archive["velocities"], archive["box"]
        except Exception as error:  # what numpy, zipfile and json raise of a damaged file are many things
            raise ValueError(
                f"{path} is missing or damaged ({type(error).__name__}: {error}). Remove the folder {os.path.dirname(path)} and those of "
                "later chunks of this run; they are then made anew."
            ) from error

    def getProgress(self, run):
        """(phase, step) that a run has reached."""
        count = self.countChunks(run)
        if not count:
            return "minimize", 0
        meta = self.readCheckpoint(run, count - 1)[0]
        return meta["phase"], meta["step"]

    def isComplete(self, run):
        phase, step = self.getProgress(run)
        return phase == "produce" and step >= self.settings["steps"]

    def getTrajectories(self, run):
        """Paths of a run's trajectory files, in order; mdtraj and MDAnalysis read such a list as one trajectory."""
        name = f"trajectory.{self.settings['format']}"
        paths = [os.path.join(self.chunkFolder(run, index), name) for index in range(self.countChunks(run))]
        return [path for path in paths if os.path.exists(path)]

    def readLog(self, run):
        """A run's log: dict of column name to array, one entry for each frame."""
        from .plots import readLog

        paths = [os.path.join(self.chunkFolder(run, index), LOG) for index in range(self.countChunks(run))]
        logs = [readLog(path) for path in paths if os.path.exists(path)]
        return {name: np.concatenate([log[name] for log in logs]) for name in logs[0]} if logs else {}

    def removeLeftovers(self):
        """Delete what workers that died have begun. Only while none is at work; what a lost one still writes may stay."""
        for run in range(self.numRuns):
            names = os.listdir(self.runFolder(run)) if os.path.isdir(self.runFolder(run)) else []
            for name in names:
                if name.startswith(".chunk_"):
                    shutil.rmtree(os.path.join(self.runFolder(run), name), ignore_errors=True)


class EnsembleLock:
    """Keeps an ensemble's folder for one user, from the first function that is given the lock until it is closed.

    createEnsemble, lengthenEnsemble and runEnsemble take one of their own; to let nobody in between give them the same:

        with EnsembleLock(folder) as lock:
            createEnsemble(folder, ..., lock=lock)
            runEnsemble(folder, lock=lock)

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder):
        self.folder, self._file = os.path.abspath(folder), None

    def acquire(self):
        """Take the lock, unless this object has it.

        Raises
        ------
        ValueError
            Somebody else has it.
        OSError
            The file system has no locks.
        """
        if self._file is None:
            try:
                self._file = lockFile(os.path.join(self.folder, LOCK))
            except BlockingIOError as error:
                raise ValueError(f"Another process is at work on the ensemble in {self.folder}. Wait for it, or stop it.") from error

    def close(self):
        """Release the lock. Its file stays: another process may have opened it already."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.close()


def createEnsemble(
    folder,
    system,
    positions,
    topology,
    runs,
    steps,
    timestep,
    interval,
    chunkSteps=None,
    temperature=300.0,
    temperatures=None,
    exchangeInterval=250,
    friction=1.0,
    replicas=1,
    equilibrationSteps=0,
    minimize=True,
    format="dcd",
    seed=None,
    about=None,
    overwrite=False,
    lock=None,
):
    """Write the folder of a new ensemble, which runEnsemble carries out.

    Parameters
    ----------
    folder : path
        Made if it does not exist; it must be empty but for an earlier ensemble, and every worker must see it under this name.
    system : openmm.System
        Of one run, with all of its replicas.
    positions : array or Quantity
        [N, 3] nm, or [m, N, 3]: run r starts from positions[r % m].
    topology : openmm.app.Topology
        Of the N particles; it is written as topology.pdb (.cif where PDB is too narrow), for reading the trajectories.
    runs, steps : int
        Number of runs, and steps of each.
    timestep : float or Quantity
        ps
    interval : int
        Steps between frames.
    chunkSteps : int, optional
        Steps of a chunk, a multiple of interval: what is lost where a worker dies. Some minutes are a good length. Default: 100 intervals.
        A barostat counts its steps anew in each chunk, which must not be shorter than its frequency.
    temperature : float or Quantity
        K; or temperatures, rising, for replica exchange within each run, every exchangeInterval steps (0: none).
    friction : float or Quantity
        1/ps
    replicas : int
        Copies in the System.
    equilibrationSteps : int
    minimize : bool
    format : "dcd" or "xtc"
    seed : int, optional
        From which those of all runs and chunks follow. Default: a random one.
    about : dict, optional
        JSON values to keep with the settings.
    overwrite : bool
        Delete an earlier ensemble in the folder, once everything else has been checked and nobody is at work on it.
    lock : EnsembleLock, optional
        The caller's, which is left taken.

    Returns
    -------
    Ensemble

    Raises
    ------
    ValueError
        A folder that is not empty or in use, or settings that do not fit. The message names them; nothing was deleted.
    """
    import openmm

    from .cli import _folder
    from .cli._run import writeTopology
    from .convert._writer import writeFileAtomically
    from .exchange import TemperatureLadder
    from .replicas import BAROSTATS, ReplicaLangevinIntegrator, asTemperatures, checkReplicas, inUnits

    runs, steps, interval = whole("runs", runs, 1), whole("steps", steps, 1), whole("interval", interval, 1)
    replicas, equilibrationSteps = whole("replicas", replicas, 1), whole("equilibrationSteps", equilibrationSteps, 0)
    chunkSteps = 100 * interval if chunkSteps is None else whole("chunkSteps", chunkSteps, 1)
    seed = secrets.randbelow(MAX_SEED) + 1 if seed is None else whole("seed", seed, 0)
    if chunkSteps % interval:
        raise ValueError(f"chunkSteps is {chunkSteps}; it is a multiple of interval, {interval}, so that every chunk ends with a frame.")
    if interval > steps:
        raise ValueError(f"interval is {interval}, and a run has {steps} steps: it would have no frame.")
    timestep, friction = inUnits(timestep, openmm.unit.picosecond), inUnits(friction, openmm.unit.picosecond**-1)
    if not 0 < timestep < np.inf:
        raise ValueError(f"timestep is {timestep} ps; it must be positive and finite.")
    if not 0 <= friction < np.inf:
        raise ValueError(f"friction is {friction}/ps; it is a finite number of 0 or more.")
    if format not in ("dcd", "xtc"):
        raise ValueError(f"format is {format!r}; 'dcd' and 'xtc' are allowed.")
    positions, numParticles = np.asarray(inUnits(positions, openmm.unit.nanometer), dtype=np.float64), system.getNumParticles()
    positions = positions[None] if positions.ndim == 2 else positions
    if positions.ndim != 3 or not len(positions) or positions.shape[1:] != (numParticles, 3) or not np.isfinite(positions).all():
        raise ValueError(f"positions have shape {list(positions.shape)}; {numParticles} finite ones, [N, 3] or [m, N, 3], are needed.")
    if topology.getNumAtoms() != numParticles:
        raise ValueError(f"topology has {topology.getNumAtoms()} atoms, and the System {numParticles} particles, all replicas together.")
    for force in system.getForces():
        if isinstance(force, BAROSTATS) and chunkSteps < force.getFrequency():
            raise ValueError(
                f"chunkSteps is {chunkSteps}, and the System's {type(force).__name__} acts every {force.getFrequency()} steps, counted "
                "anew in each chunk: it would never act. Make chunks longer, or the barostat's frequency smaller."
            )
    integrator = None
    if temperatures is None:
        (temperature,) = asTemperatures([temperature], zero=True).tolist()
    else:
        ladder = TemperatureLadder(temperatures, replicas, 1)
        temperature, temperatures = None, ladder.temperatures.tolist()
        exchangeInterval = whole("exchangeInterval", exchangeInterval, 0)
        integrator = ReplicaLangevinIntegrator(ladder.replicaTemperatures, friction, timestep, numParticles // replicas)
    if replicas > 1:
        checkReplicas(system, replicas, integrator)
    settings = {
        "runs": runs,
        "steps": steps,
        "timestep_fs": float(timestep) * 1000,
        "interval": interval,
        "checkpoint_interval": chunkSteps,
        "temperature_K": temperature,
        "temperatures_K": temperatures,
        "exchange_interval": exchangeInterval if temperatures else None,
        "friction_1/ps": float(friction),
        "replicas": replicas,
        "equilibration_steps": equilibrationSteps,
        "minimize": bool(minimize),
        "format": format,
        "seed": seed,
        "pressure_bar": next((_pressure(force) for force in system.getForces() if isinstance(force, openmm.MonteCarloBarostat)), None),
        "periodic": system.usesPeriodicBoundaryConditions(),
    }
    record = json.dumps({"format": FORMAT, "settings": settings, **(about or {})}, indent=2) + "\n"
    serialized = openmm.XmlSerializer.serialize(system).encode("utf-8")
    buffer = io.BytesIO()
    np.savez(buffer, positions=positions)
    folder = os.path.abspath(folder)
    with contextlib.ExitStack() as stack:
        lock = _lockOf(folder, lock, stack)
        makeRoom(folder, overwrite, lock)
        writeFileAtomically(os.path.join(folder, START), buffer.getvalue())
        writeFileAtomically(os.path.join(folder, SYSTEM), serialized)
        writeTopology(_folder.Folder(folder), topology, positions[0])
        writeFileAtomically(os.path.join(folder, SETTINGS), record.encode("utf-8"))
    return Ensemble(folder)


def _inside(folder):
    """Names in a folder; an empty one where it is none."""
    return os.listdir(folder) if os.path.isdir(folder) and not os.path.islink(folder) else [""]


def _lockOf(folder, lock, stack):
    """The caller's lock, if it is that of the folder, or one that the stack closes."""
    if lock is None:
        return stack.enter_context(EnsembleLock(folder))
    if os.path.realpath(lock.folder) != os.path.realpath(folder):
        raise ValueError(f"The lock is that of the folder {lock.folder}, not of {os.path.abspath(folder)}. Make one for this folder.")
    return lock


def whole(name, value, least, most=None):
    """A whole number as an int, or a ValueError."""
    try:
        right = not isinstance(value, bool) and int(value) == value and least <= value <= (most or MAX_STEPS)
    except (TypeError, ValueError, OverflowError):
        right = False
    if not right:
        raise ValueError(f"{name} is {value!r}; it is a whole number from {least} to {most or MAX_STEPS}.")
    return int(value)


def makeRoom(folder, overwrite, lock):
    """Make a folder and take its lock; with `overwrite`, delete the files of an earlier ensemble, and only if there are no others."""
    from .cli._folder import EXCHANGE_REPORT, EXCHANGES, TOPOLOGY, TRAJECTORY, nameOfOurs

    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ValueError(f"{folder} is a file. Give the name of a folder.")
    os.makedirs(folder, exist_ok=True)
    lock.acquire()
    names = sorted(set(os.listdir(folder)) - {LOCK})
    if not names:
        return
    if not overwrite:
        raise ValueError(f"The folder {folder} is not empty. Give another one, or replace the ensemble in it (overwrite).")
    ours = {name: nameOfOurs(name, (SETTINGS, SYSTEM, START, *TOPOLOGY)) for name in names}
    runs = [name for name in names if SETTINGS in names and re.fullmatch(r"run_\d{3,}", name)]
    foreign = [name for name in names if not ours[name] and name not in runs]
    ofChunks = {CHECKPOINT, LOG, EXCHANGES, EXCHANGE_REPORT, *TRAJECTORY.values()}
    for run in runs:
        for name in sorted(_inside(os.path.join(folder, run))):
            path = os.path.join(run, name)
            if re.fullmatch(r"chunk_\d{6}", name):
                foreign += [os.path.join(path, other) for other in sorted(_inside(os.path.join(folder, path))) if other not in ofChunks]
            elif not re.fullmatch(r"\.chunk_\d{6}\.\d+\.\w+", name):  # what a lost worker has begun
                foreign.append(path)
    if foreign:
        listed = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        raise ValueError(f"The folder {folder} has files that are no ensemble's: {listed}. Move them away, or give another folder.")
    for name in runs:
        shutil.rmtree(os.path.join(folder, name))
    for name in sorted(filter(ours.get, names), key=lambda name: name == SETTINGS):  # last, so that an interruption leaves an ensemble
        os.remove(os.path.join(folder, name))


def lengthenEnsemble(folder, steps, lock=None):
    """Give every run of an ensemble more steps; runEnsemble then continues them.

    Parameters
    ----------
    folder : path
    steps : int
        Of each run, those that it has included.
    lock : EnsembleLock, optional
        The caller's, which is left taken.

    Raises
    ------
    ValueError
        Fewer steps than the runs have, or somebody else is at work on the ensemble.
    """
    from .convert._writer import writeFileAtomically

    steps = whole("steps", steps, 1)
    Ensemble(folder)  # no lock in what is none
    with contextlib.ExitStack() as stack:
        lock = _lockOf(folder, lock, stack)
        lock.acquire()
        ensemble = Ensemble(folder)
        if steps < ensemble.settings["steps"]:
            raise ValueError(f"The runs have {ensemble.settings['steps']} steps; they can be lengthened, not cut to {steps}.")
        ensemble.settings["steps"] = steps
        data = json.dumps(ensemble.record, indent=2) + "\n"
        writeFileAtomically(os.path.join(ensemble.folder, SETTINGS), data.encode("utf-8"))


def runEnsemble(folder, client=None, workers=None, scheduler=None, platform=None, threads=None, report=None, lock=None):
    """Carry out what is left of an ensemble's runs.

    Parameters
    ----------
    folder : path
        Made by createEnsemble.
    client : distributed.Client, optional
        The cluster to use.
    workers : int, optional
        Processes of a cluster on this machine, used where neither client nor scheduler is given. Default: 2, or one for each run.
    scheduler : str, optional
        Address of a Dask scheduler, tcp://host:port. Its workers need OpenMM-Flash, and the folder under the same name.
    platform : str, optional
        OpenMM's platform. By default each worker takes its fastest one.
    threads : int, optional
        Threads of each worker, where its platform is CPU. By default the workers of a local cluster share this machine's cores, and those
        of a scheduler take all cores each.
    report : callable, optional
        report(run, phase, step) after every chunk.
    lock : EnsembleLock, optional
        The caller's, which is left taken.

    Returns
    -------
    dict of int to str
        The runs that failed, and why; their chunks until then are kept. Empty where all are complete.

    Raises
    ------
    ImportError
        dask or distributed is not installed.
    ValueError
        Somebody else is at work on the ensemble, a checkpoint is damaged, or there is no such scheduler.
    """
    from ._chunks import runChunk

    distributed = importDistributed()
    Ensemble(folder)  # no lock in what is none
    failed = {}
    with contextlib.ExitStack() as stack:
        lock = _lockOf(folder, lock, stack)
        lock.acquire()
        ensemble = Ensemble(folder)
        if client is None:
            if scheduler is None:  # when the workers of a local cluster have ended, however that came
                stack.callback(ensemble.removeLeftovers)
            client, threads = _connect(stack, distributed, scheduler, workers or min(2, ensemble.numRuns), threads)
        token = secrets.token_hex(4)  # Dask must not take a chunk for one of an earlier call

        def submit(run):
            index = ensemble.countChunks(run)
            key = f"openmmflash-{token}-run-{run}-chunk-{index}"
            # Runs that are behind come first.
            return client.submit(runChunk, ensemble.folder, run, index, platform, threads, key=key, pure=False, priority=-index)

        owners = {submit(run): run for run in range(ensemble.numRuns) if not ensemble.isComplete(run)}
        waiting = distributed.as_completed(list(owners), loop=client.loop)
        for future in waiting:
            run = owners.pop(future)
            if future.status != "finished":
                error = future.exception() if future.status == "error" else None
                failed[run] = " ".join(str(error).split()) if error is not None else "it was cancelled"
                continue
            meta = future.result()
            if report is not None:
                report(run, meta["phase"], meta["step"])
            waitFor(lambda run=run, index=meta["index"]: ensemble.countChunks(run) > index, ensemble.chunkFolder(run, meta["index"]))
            if not ensemble.isComplete(run):
                future = submit(run)
                owners[future] = run
                waiting.add(future)
        ensemble.removeLeftovers()
    return failed


def waitFor(condition, what):
    """What another machine has written may take a while to be seen on a network's file system."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(
                f"{socket.gethostname()}: {what} has not appeared within {PATIENCE} s. Do all machines share this file system?"
            )
        time.sleep(0.2)


def connect(scheduler):
    """A distributed.Client of the scheduler at an address, or a ValueError."""
    try:
        return importDistributed().Client(scheduler, timeout=20)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"There is no Dask scheduler at {scheduler}: {error}. `dask scheduler` starts one and tells its address."
        ) from error


def _connect(stack, distributed, scheduler, workers, threads):
    """(Client, threads of a CPU platform)."""
    if scheduler is not None:
        return stack.enter_context(connect(scheduler)), threads
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    cluster = distributed.LocalCluster(n_workers=workers, **options)
    stack.enter_context(cluster)
    return stack.enter_context(distributed.Client(cluster)), threads or max(1, (os.cpu_count() or 1) // workers)


def importDistributed():
    """The package distributed, or an ImportError that tells how to get it."""
    try:
        import distributed
    except ImportError as error:
        raise ImportError('Ensembles need Dask: pip install "openmm-flash[ensemble]" (the packages dask and distributed).') from error
    return distributed


def _pressure(force):
    return force.getDefaultPressure()._value
