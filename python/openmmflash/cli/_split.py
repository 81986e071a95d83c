# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Split the trajectory of a run with replicas."""

import contextlib
import json
import os
from dataclasses import dataclass

import numpy as np

from ..plots import readLog
from . import _folder
from ._app import UserError
from ._outputs import checkFolder
from ._run import frameInterval

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
    log = readLog(os.path.join(path, _folder.LOG))
    source = os.path.join(path, _folder.TRAJECTORY[settings["format"]])
    frames = len(log["step"])
    if not frames:
        raise UserError(f"The run in {path} has no frame yet.")
    constant = np.full(frames, settings["temperature_K"] or 0.0)
    thermostats = np.stack([log.get(f"thermostat_{r}_K", constant) for r in range(replicas)])
    names, owners = assign(by, settings, thermostats)
    output = os.path.abspath(output or os.path.join(path, f"by_{by}"))
    checkFolder(output)
    os.makedirs(output, exist_ok=True)
    if os.listdir(output) and not overwrite:
        raise UserError(f"The folder {output} is not empty. Give another --output, or --overwrite to replace files in it.")
    topology = oneReplica(path, run, n, output)
    with contextlib.ExitStack() as stack:
        files = []
        for name in names:
            end, timestep = settings["format"], settings["timestep_fs"] / 1000
            trajectory = _folder.Trajectory(os.path.join(output, f"{name}.{end}"), topology, timestep, frameInterval(settings))
            table = _folder.Log(os.path.join(output, f"{name}.csv"), COLUMNS)
            stack.callback(trajectory.close)
            stack.callback(table.close)
            files.append((trajectory, table))
        # A run that goes on, or was killed, may have a frame or a row more than the other.
        frames = 0
        for f, (positions, box) in zip(range(len(log["step"])), readFrames(source, run["structure"]["box_nm"] is not None)):
            for (trajectory, table), owner in zip(files, owners):
                r = int(owner[f])
                trajectory.write(positions[r * n : (r + 1) * n].astype(np.float64), box)
                values = [thermostats[r, f], log[f"potential_{r}_kJ_mol"][f], log[f"temperature_{r}_K"][f]]
                table.write([int(log["step"][f]), log["time_ps"][f], r, *values])
            frames += 1
    return Written(output, len(names), frames)


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
            names.append(f"temperature_{temperature:g}K{suffix}")
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
    """(positions [n, 3] nm, box vectors [3, 3] nm or None) of each frame of a trajectory."""
    try:
        from mdtraj.formats import DCDTrajectoryFile, XTCTrajectoryFile
        from mdtraj.utils import lengths_and_angles_to_box_vectors
    except ImportError as error:
        raise UserError("Splitting a trajectory needs mdtraj: pip install mdtraj") from error

    if path.endswith(".xtc"):
        with XTCTrajectoryFile(path) as file:
            while len((frame := file.read(n_frames=1))[0]):
                yield frame[0][0], frame[3][0] if periodic else None
        return
    with DCDTrajectoryFile(path) as file:
        while len((frame := file.read(n_frames=1))[0]):
            box = None
            if periodic:
                box = np.array(lengths_and_angles_to_box_vectors(*(frame[1][0] / 10), *frame[2][0]))
            yield frame[0][0] / 10, box
