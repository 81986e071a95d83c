# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Ensembles: many runs of one System, carried out in chunks by the processes or machines of a Dask cluster.

A chunk goes from one checkpoint to the next. Its frames, its log and its checkpoint are written into a folder that gets its name when it
is complete, in one step; so a worker that dies takes nothing with it but its chunk, which another one begins anew. A chunk follows from
the checkpoint before it and a seed of its own, wherever it is made. Positions and velocities are stored as numbers, so that machines and
platforms may differ.
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

FORMAT = 1
SETTINGS, SYSTEM, START, LOCK = "ensemble.json", "system.xml", "start.npz", "run.lock"
CHECKPOINT, LOG = "checkpoint.npz", "log.csv"
PATIENCE = 60  # seconds until what another machine wrote must be visible
MAX_SEED = 2**31 - 1


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
        if self.record.get("format") != FORMAT:
            raise ValueError(f"{path} has format {self.record.get('format')!r}; this version of OpenMM-Flash continues format {FORMAT}.")
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
        with np.load(path, allow_pickle=False) as archive:
            return json.loads(str(archive["meta"])), archive["positions"], archive["velocities"], archive["box"]

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
        """Delete what workers that died have begun. Only while none is at work."""
        for run in range(self.numRuns):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(self.runFolder(run)):
                    if name.startswith(".chunk_"):
                        shutil.rmtree(os.path.join(self.runFolder(run), name))


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
):
    """Write the folder of a new ensemble, which runEnsemble carries out.

    Parameters
    ----------
    folder : path
        Made if it does not exist; it must be empty, and every worker must see it under this name.
    system : openmm.System
        Of one run, with all of its replicas.
    positions : array
        [N, 3] nm, or [m, N, 3]: run r starts from positions[r % m].
    topology : openmm.app.Topology
        Of the N particles, for the trajectories.
    runs, steps : int
        Number of runs, and steps of each.
    timestep : float
        ps
    interval : int
        Steps between frames.
    chunkSteps : int, optional
        Steps of a chunk, a multiple of interval: what is lost where a worker dies. Some minutes are a good length. Default: 100 intervals.
    temperature : float
        K; or temperatures, rising, for replica exchange within each run, every exchangeInterval steps (0: none).
    friction : float
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

    Returns
    -------
    Ensemble

    Raises
    ------
    ValueError
        A folder that is not empty, or settings that do not fit. The message names them.
    """
    import openmm

    from .convert._writer import writeFileAtomically
    from .exchange import TemperatureLadder
    from .replicas import checkReplicas

    for name, value, least in (
        ("runs", runs, 1),
        ("steps", steps, 1),
        ("interval", interval, 1),
        ("equilibrationSteps", equilibrationSteps, 0),
    ):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise ValueError(f"{name} is {value!r}; it is a whole number, {least} or larger.")
    chunkSteps = 100 * interval if chunkSteps is None else chunkSteps
    if chunkSteps < 1 or chunkSteps % interval:
        raise ValueError(f"chunkSteps is {chunkSteps}; it is a multiple of interval, {interval}, so that every chunk ends with a frame.")
    if interval > steps:
        raise ValueError(f"interval is {interval}, and a run has {steps} steps: it would have no frame.")
    if not 0 < timestep < np.inf:
        raise ValueError(f"timestep is {timestep} ps; it must be positive and finite.")
    if format not in ("dcd", "xtc"):
        raise ValueError(f"format is {format!r}; 'dcd' and 'xtc' are allowed.")
    positions = np.asarray(positions, dtype=np.float64)
    positions = positions[None] if positions.ndim == 2 else positions
    if positions.ndim != 3 or positions.shape[1:] != (system.getNumParticles(), 3) or not np.isfinite(positions).all():
        raise ValueError(
            f"positions have shape {list(positions.shape)}; {system.getNumParticles()} finite ones, [N, 3] or [m, N, 3], are needed."
        )
    if replicas > 1:
        checkReplicas(system, replicas)
    if temperatures:
        TemperatureLadder(temperatures, replicas, 1)  # refuses what does not fit
    folder = os.path.abspath(folder)
    if os.path.isdir(folder) and set(os.listdir(folder)) - {LOCK}:
        raise ValueError(f"The folder {folder} is not empty. Give another one.")
    settings = {
        "runs": int(runs),
        "steps": int(steps),
        "timestep_fs": timestep * 1000,
        "interval": int(interval),
        "checkpoint_interval": int(chunkSteps),
        "temperature_K": None if temperatures else float(temperature),
        "temperatures_K": [float(t) for t in temperatures] if temperatures else None,
        "exchange_interval": int(exchangeInterval) if temperatures else None,
        "friction_1/ps": float(friction),
        "replicas": int(replicas),
        "equilibration_steps": int(equilibrationSteps),
        "minimize": bool(minimize),
        "format": format,
        "seed": int(seed or secrets.randbelow(MAX_SEED) + 1),
        "pressure_bar": next((_pressure(force) for force in system.getForces() if isinstance(force, openmm.MonteCarloBarostat)), None),
        "periodic": topology.getPeriodicBoxVectors() is not None,
    }
    os.makedirs(folder, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, positions=positions)
    writeFileAtomically(os.path.join(folder, START), buffer.getvalue())
    writeFileAtomically(os.path.join(folder, SYSTEM), openmm.XmlSerializer.serialize(system).encode("utf-8"))
    record = {"format": FORMAT, "settings": settings, **(about or {})}
    writeFileAtomically(os.path.join(folder, SETTINGS), (json.dumps(record, indent=2) + "\n").encode("utf-8"))
    return Ensemble(folder)


def lengthenEnsemble(folder, steps):
    """Give every run of an ensemble more steps; runEnsemble then continues them."""
    from .convert._writer import writeFileAtomically

    ensemble = Ensemble(folder)
    if steps < ensemble.settings["steps"]:
        raise ValueError(f"The runs have {ensemble.settings['steps']} steps; they can be lengthened, not cut to {steps}.")
    ensemble.settings["steps"] = int(steps)
    data = json.dumps(ensemble.record, indent=2) + "\n"
    writeFileAtomically(os.path.join(ensemble.folder, SETTINGS), data.encode("utf-8"))


def runEnsemble(folder, client=None, workers=None, scheduler=None, platform=None, threads=None, report=None):
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

    Returns
    -------
    dict of int to str
        The runs that failed, and why; their chunks until then are kept. Empty where all are complete.

    Raises
    ------
    ImportError
        dask or distributed is not installed.
    """
    from ._chunks import runChunk

    distributed = importDistributed()
    ensemble = Ensemble(folder)
    failed = {}
    with contextlib.ExitStack() as stack:
        if client is None:
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


def _connect(stack, distributed, scheduler, workers, threads):
    """(Client, threads of a CPU platform)."""
    if scheduler is not None:
        try:
            return stack.enter_context(distributed.Client(scheduler, timeout=20)), threads
        except (OSError, ValueError) as error:
            raise ValueError(
                f"There is no Dask scheduler at {scheduler}: {error}. `dask scheduler` starts one and tells its address."
            ) from error
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
