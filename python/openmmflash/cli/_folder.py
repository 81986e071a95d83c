# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The folder of a run: its files, and how trajectory and log are continued without losing or doubling a row.

A checkpoint remembers how long trajectory and log were when it was written. To resume is to cut both back to that length (a killed
run may have written more) and to append.
"""

import hashlib
import json
import os
import re
import struct

from .._locks import lockFile
from ..checkpoints import packCheckpoint, unpackCheckpoint
from ._app import UserError

FORMAT = 1
RUN, SYSTEM, CHECKPOINT, LOG, STATE, PLOT, LOCK, EXCHANGES, EXCHANGE_REPORT = (
    "run.json",
    "system.xml",
    "checkpoint.npz",
    "log.csv",
    "final_state.xml",
    "energy_temperature.png",
    "run.lock",
    "exchanges.csv",
    "exchange.json",
)
TRAJECTORY = {"dcd": "trajectory.dcd", "xtc": "trajectory.xtc"}
TOPOLOGY = ("topology.pdb", "topology.cif")
ALL = (RUN, SYSTEM, CHECKPOINT, LOG, STATE, PLOT, LOCK, EXCHANGES, EXCHANGE_REPORT, *TRAJECTORY.values(), *TOPOLOGY)


class Folder:
    """Paths in a run's folder, and the lock that keeps two runs from writing to the same one."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self._lock = None

    def __getitem__(self, name):
        return os.path.join(self.path, name)

    def create(self, overwrite):
        """Make an empty folder; `overwrite` removes the files of an earlier run, and nothing else."""
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise UserError(f"--output {self.path} is a file. Give the name of a folder.")
        if os.path.isdir(self.path) and set(os.listdir(self.path)) - {LOCK}:
            if not overwrite:
                resume = ", --resume to continue that run" if os.path.exists(self[RUN]) else ""
                raise UserError(f"The folder {self.path} is not empty. Give another --output{resume}, or --overwrite to start anew in it.")
            self.lock()
            for name in os.listdir(self.path):
                if name != LOCK and nameOfOurs(name, ALL):
                    os.remove(self[name])
        os.makedirs(self.path, exist_ok=True)
        self.lock()

    def open(self):
        """The run.json of an earlier run."""
        if not os.path.isdir(self.path):
            raise UserError(f"--resume: there is no folder {self.path}.")
        if not os.path.exists(self[RUN]):
            raise UserError(f"--resume: {self.path} has no {RUN}; it is not the folder of a run.")
        self.lock()
        try:
            with open(self[RUN], encoding="utf-8") as file:
                run = json.load(file)
        except ValueError as error:
            raise UserError(f"{self[RUN]} is damaged: {error}. Start anew with --overwrite.") from error
        if not isinstance(run, dict) or run.get("format") != FORMAT:
            found = run.get("format") if isinstance(run, dict) else None
            raise UserError(f"{self[RUN]} has format {found!r}; this version of openmm-flash continues format {FORMAT}.")
        return run

    def lock(self):
        if self._lock is not None:
            return
        try:
            self._lock = lockFile(self[LOCK])
        except BlockingIOError as error:
            raise UserError(f"Another openmm-flash run is writing to {self.path}. Wait for it, or give another --output.") from error

    def close(self):
        """Release the lock. Its file stays: another run may have opened it already, and a lock on a deleted file locks nothing."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def writeRun(self, run):
        self.write(RUN, json.dumps(run, indent=2) + "\n")

    def write(self, name, data):
        """Write a file that appears under its name only when complete. Returns its SHA-256."""
        from ..convert._writer import writeFileAtomically

        if isinstance(data, str):
            data = data.encode("utf-8")
        writeFileAtomically(self[name], data)
        return hashlib.sha256(data).hexdigest()


def nameOfOurs(name, names):
    """Which of our `names` a file has, or was to get when a process was killed that wrote it (writeFileAtomically); None for others."""
    name = re.sub(r"\.\d+\.[0-9a-f]{8}\.tmp$", "", name)
    return name if name in names else None


def hashFile(path):
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def writeCheckpoint(folder, meta, context):
    """Save a Context with what is needed to continue; `meta` is a dict of JSON values."""
    folder.write(CHECKPOINT, packCheckpoint(meta, context))


def readCheckpoint(folder):
    """(meta, OpenMM's checkpoint bytes) of a run's folder."""
    path = folder[CHECKPOINT]
    if not os.path.exists(path):
        raise UserError(f"--resume: {folder.path} has no {CHECKPOINT}; the run ended before its first one. Start anew with --overwrite.")
    try:
        return unpackCheckpoint(path)
    except ValueError as error:
        raise UserError(f"{error}. Start anew with --overwrite.") from error


class Trajectory:
    """A DCD or XTC file that can be continued.

    Parameters
    ----------
    path : str
    topology : openmm.app.Topology
    timestep : float
        ps
    interval : int
        Steps from frame to frame.
    first : int, optional
        Step of the first frame. Default: the first interval.
    keep : (frames, bytes), optional
        Continue a file with this many frames in this many bytes, and cut off what it has beyond. None: a new file.
    """

    def __init__(self, path, topology, timestep, interval, keep=None, first=None):
        from openmm import app

        self.path = path
        first = interval if first is None else first
        self.frames = 0 if keep is None else keep[0]
        self._file = None
        append = self.frames > 0
        if append:
            cutFile(path, keep[1])
        elif os.path.exists(path):
            os.remove(path)
        if path.endswith(".dcd"):
            self._file = open(path, "r+b" if append else "w+b")
            if append:  # the header counts frames; the cut ones must not be counted
                self._file.seek(8)
                self._file.write(struct.pack("<i", self.frames))
                self._file.seek(20)
                self._file.write(struct.pack("<i", self.frames * interval))
            self._writer = app.DCDFile(self._file, topology, timestep, first, interval, append)
        else:
            self._writer = app.XTCFile(path, topology, timestep, first, interval, append)

    def write(self, positions, box):
        """Add a frame: positions [n, 3] in nm, box [3, 3] in nm or None."""
        from openmm import Vec3, unit

        vectors = None if box is None else [Vec3(*row) for row in box] * unit.nanometer
        self._writer.writeModel(positions, periodicBoxVectors=vectors)
        self.frames += 1

    def flush(self):
        """Bring everything to the disk. Returns the file's size in bytes."""
        if self._file is not None:
            self._file.flush()
        return syncFile(self.path)

    def close(self):
        if self._file is not None:
            self._file.close()


class Log:
    """The CSV log. `keep` continues one at that many bytes, cutting off what follows."""

    def __init__(self, path, columns, keep=None):
        self.path = path
        if keep is not None:
            cutFile(path, keep)
        self._file = open(path, "w" if keep is None else "a", encoding="utf-8", newline="")
        if keep is None:
            self._file.write(",".join(columns) + "\n")

    def write(self, values):
        self._file.write(",".join(str(value) if isinstance(value, int) else f"{value:.13g}" for value in values) + "\n")
        self._file.flush()

    def flush(self):
        self._file.flush()
        return syncFile(self.path)

    def close(self):
        self._file.close()


def checkSize(path, size):
    """Refuse a file that is shorter than it was when the checkpoint was written."""
    found = os.path.getsize(path) if os.path.exists(path) else 0
    if found < size:
        raise UserError(
            f"--resume: {path} has {found} bytes; at the checkpoint it had {size}. It was changed or cut. Start anew with --overwrite."
        )


def cutFile(path, size):
    """Cut a file to a size that it had before."""
    checkSize(path, size)
    os.truncate(path, size)


def syncFile(path):
    """Force a file to the disk, so that a checkpoint never speaks of frames that are not there. Returns its size; 0 where it is absent."""
    if not os.path.exists(path):
        return 0
    with open(path, "rb") as file:
        if os.name == "posix":
            os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size
