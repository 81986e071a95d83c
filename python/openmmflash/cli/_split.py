# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Split the trajectory of a run with replicas."""

import contextlib
import json
import os
from dataclasses import dataclass

import numpy as np

from ..ensemble import SETTINGS
from ..plots import readLog
from . import _folder
from ._app import UserError, oneLine
from ._outputs import checkFolder
from ._run import frameInterval

BATCH = 50  # trajectories, each with a table, that are written at a time: systems let a process open a few hundred files, or more
COLUMNS = ("step", "time_ps", "replica", "thermostat_K", "potential_kJ_mol", "temperature_K")


@dataclass
class Written:
    folder: str
    files: int
    frames: int


def splitRun(path, by, output=None, overwrite=False):
    """Write a trajectory and a CSV file for each replica or each temperature of a run.

    Parameters
    ----------
    path : str
        Folder of `openmm-flash run` with several replicas.
    by : "replica" or "temperature"
    output : str, optional
        Default: by_replica or by_temperature in `path`.
    overwrite : bool

    Returns
    -------
    Written
    """
    run, replicas = readRun(path, by)
    settings = run["settings"]
    n = run["structure"]["particles"]
    logPath, source = os.path.join(path, _folder.LOG), os.path.join(path, _folder.TRAJECTORY[settings["format"]])
    before = len(readRows(logPath)["step"])
    if not before:
        raise UserError(f"The run in {path} has no frame yet.")
    periodic = run["structure"]["box_nm"] is not None
    stored = sum(1 for _ in readFrames(source, periodic))
    log = readRows(logPath)  # once more, as the run may go on
    rows = len(log["step"])
    # A run that goes on, or was killed, may have a frame or a row more than the other.
    if stored < before - 1 or stored > rows + 1:
        raise UserError(f"{source} has {stored} frames, and {logPath} {rows} rows: one of them was changed or cut. Restore it.")
    constant = np.full(rows, settings["temperature_K"] or 0.0)
    thermostats = np.stack([log.get(f"thermostat_{r}_K", constant) for r in range(replicas)])
    names, owners = assign(by, settings, thermostats)
    output = os.path.abspath(output or os.path.join(path, f"by_{by}"))
    checkFolder(output)
    os.makedirs(output, exist_ok=True)
    if {_folder.RUN, SETTINGS} & set(os.listdir(output)):
        raise UserError(f"The folder {output} is that of a run, whose topology would be replaced. Give another --output.")
    if os.listdir(output) and not overwrite:
        raise UserError(f"The folder {output} is not empty. Give another --output, or --overwrite to replace files in it.")
    topology = oneReplica(path, run, n, output)
    frames = min(stored, rows)
    for first in range(0, len(names), BATCH):
        with contextlib.ExitStack() as stack:
            files = [openFiles(stack, os.path.join(output, name), settings, topology) for name in names[first : first + BATCH]]
            for f, (positions, box) in zip(range(frames), readFrames(source, periodic)):
                for (trajectory, table), owner in zip(files, owners[first : first + BATCH]):
                    r = int(owner[f])
                    trajectory.write(positions[r * n : (r + 1) * n].astype(np.float64), box)
                    values = [thermostats[r, f], log[f"potential_{r}_kJ_mol"][f], log[f"temperature_{r}_K"][f]]
                    table.write([int(log["step"][f]), log["time_ps"][f], r, *values])
    return Written(output, len(names), frames)


def readRows(path):
    """The log, or a UserError where a row of it is not whole."""
    try:
        with open(path, "rb") as file:
            if not file.read().endswith(b"\n"):
                raise ValueError("its last row has no end")
        return readLog(path)
    except ValueError as error:
        text = f"{path} is damaged: {oneLine(error)}. Try again if the run still goes on; --resume cuts back what a killed run left."
        raise UserError(text) from error


def openFiles(stack, path, settings, topology):
    """(trajectory, table) at a path without its extension, which the stack closes."""
    trajectory = _folder.Trajectory(f"{path}.{settings['format']}", topology, settings["timestep_fs"] / 1000, frameInterval(settings))
    table = _folder.Log(f"{path}.csv", COLUMNS)
    stack.callback(trajectory.close)
    stack.callback(table.close)
    return trajectory, table


def readRun(path, by):
    """(run.json, number of replicas); a UserError where there is nothing to split."""
    try:
        with open(os.path.join(path, _folder.RUN), encoding="utf-8") as file:
            run = json.load(file)
    except OSError as error:
        raise UserError(f"{path} has no {_folder.RUN}; it is not the folder of a run.") from error
    except ValueError as error:
        raise UserError(f"{os.path.join(path, _folder.RUN)} is damaged: {error}.") from error
    replicas = run["settings"]["replicas"]
    if replicas == 1:
        raise UserError(f"The run in {path} has one replica: there is nothing to split.")
    if by == "temperature" and not run["settings"].get("temperatures_K"):
        raise UserError(f"The run in {path} has one temperature for all replicas. Use --by replica.")
    return run, replicas


def assign(by, settings, thermostats):
    """Names of the files, and for each [frames] the replica whose structure it gets."""
    replicas, frames = thermostats.shape
    if by == "replica":
        return [f"replica_{r:03d}" for r in range(replicas)], np.repeat(np.arange(replicas)[:, None], frames, axis=1)
    temperatures = np.array(settings["temperatures_K"])
    size = len(temperatures)
    names, owners = [], []
    for ladder in range(0, replicas, size):
        for temperature in temperatures:
            suffix = f"_ladder_{ladder // size:02d}" if replicas > size else ""
            names.append(f"temperature_{temperature:.10g}K{suffix}")
            owners.append(ladder + np.argmin(np.abs(thermostats[ladder : ladder + size] - temperature), axis=0))
    return names, np.array(owners)


def oneReplica(path, run, n, output):
    """The Topology of one replica, written beside the trajectories."""
    from openmm import app

    name = run["topology"]
    kind = app.PDBFile if name.endswith(".pdb") else app.PDBxFile
    whole = kind(os.path.join(path, name))
    modeller = app.Modeller(whole.topology, whole.positions)
    modeller.delete([atom for atom in whole.topology.atoms() if atom.index >= n])
    options = {"extraParticleIdentifier": ""} if kind is app.PDBFile else {}
    with open(os.path.join(output, name), "w", encoding="utf-8") as file:
        kind.writeFile(modeller.topology, modeller.positions, file, keepIds=True, **options)
    return modeller.topology


def readFrames(path, periodic):
    """(positions [n, 3] nm, box vectors [3, 3] nm or None) of each whole frame of a trajectory, up to one that is damaged or cut."""
    try:
        from mdtraj.formats import DCDTrajectoryFile, XTCTrajectoryFile
        from mdtraj.utils import lengths_and_angles_to_box_vectors
    except ImportError as error:
        raise UserError("Splitting a trajectory needs mdtraj: pip install mdtraj") from error

    if path.endswith(".xtc"):
        with XTCTrajectoryFile(path) as file:
            while True:
                try:
                    frame = file.read(n_frames=1)
                except RuntimeError:
                    return
                if not len(frame[0]):
                    return
                yield frame[0][0], frame[3][0] if periodic else None
    with DCDTrajectoryFile(path) as file:
        while len((frame := file.read(n_frames=1))[0]):
            box = None
            if periodic:
                box = np.array(lengths_and_angles_to_box_vectors(*(frame[1][0] / 10), *frame[2][0]))
            yield frame[0][0] / 10, box
