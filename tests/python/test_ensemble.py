# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Ensembles over a local Dask cluster: a worker is killed, and no frame is lost or doubled."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import openmm
import pytest
import small_models
from test_cli_run import readDcd

import openmmflash
from openmmflash import _chunks
from openmmflash.cli._run import blankTopology, drawVelocities
from openmmflash.ensemble import Ensemble, EnsembleLock, createEnsemble, lengthenEnsemble, runEnsemble

distributed = pytest.importorskip("distributed", reason="ensembles need dask and distributed")
LADDER = [300.0, 400.0]


@pytest.fixture(scope="module")
def beads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beads")
    small_models.writeBeads(folder / "beads.safetensors")
    return openmmflash.FlashModel(str(folder / "beads.safetensors")), small_models.beadChain()


@pytest.fixture(scope="module")
def cluster():
    """Two workers. Where one dies, Dask starts another process in its place."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            yield client


def make(beads, folder, replicas=2, **options):
    model, structure = beads
    system = openmmflash.createSystem(structure, model, replicas=max(replicas, 1))
    positions = openmmflash.tilePositions(structure.positions, max(replicas, 1))
    options = {"runs": 3, "steps": 600, "timestep": 0.004, "interval": 20, "chunkSteps": 100, "minimize": False, "seed": 7} | options
    return createEnsemble(folder, system, positions, blankTopology(system.getNumParticles(), False), replicas=replicas, **options)


def steps(ensemble, run):
    return ensemble.readLog(run)["step"].astype(int).tolist()


def frames(ensemble, run):
    return np.concatenate([readDcd(path) for path in ensemble.getTrajectories(run)])


def sameRuns(one, other):
    """Two ensembles have the same frames and logs, bit by bit."""
    for run in range(one.numRuns):
        np.testing.assert_array_equal(frames(one, run), frames(other, run))
        a, b = one.readLog(run), other.readLog(run)
        for name in a:
            if name != "speed_ns_day":
                np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def runHere(folder):
    """What runEnsemble does, in this process."""
    ensemble = Ensemble(folder)
    for run in range(ensemble.numRuns):
        while not ensemble.isComplete(run):
            _chunks.runChunk(folder, run, ensemble.countChunks(run), "CPU", 1)
    return ensemble


class Killer(threading.Thread):
    """Waits for a chunk that has a few frames but is not complete, and kills the worker that makes it."""

    def __init__(self, folder, index):
        super().__init__(daemon=True)
        self.folder, self.index, self.found, self.stop = folder, index, None, threading.Event()

    def run(self):
        while not self.stop.wait(0.005):
            for log in self.folder.glob(f"run_*/.chunk_{self.index:06d}.*/log.csv"):
                with contextlib.suppress(OSError):
                    rows = log.read_text().count("\n") - 1
                    if 0 < rows < 5:
                        process = int(log.parent.name.split(".")[2])
                        os.kill(process, signal.SIGKILL)
                        self.found = int(log.parent.parent.name[4:]), process
                        return


def testKilledWorker(beads, cluster, tmp_path):
    """SIGKILL in the middle of a chunk: its run goes on in another process, from its checkpoint, as if nothing had happened."""
    options = {"temperatures": LADDER, "exchangeInterval": 30, "equilibrationSteps": 150, "steps": 2000, "interval": 50, "chunkSteps": 500}
    ensemble, alone = make(beads, tmp_path / "killed", **options), make(beads, tmp_path / "alone", **options)
    killer = Killer(tmp_path / "killed", index=3)
    killer.start()
    reported = []
    assert runEnsemble(ensemble.folder, cluster, platform="CPU", threads=1, report=lambda *what: reported.append(what)) == {}
    killer.stop.set()
    assert killer.found is not None, "no worker was killed"
    run, process = killer.found
    assert ensemble.readCheckpoint(run, 3)[0]["process"] != process
    for run in range(3):
        assert steps(ensemble, run) == list(range(50, 2001, 50)) and len(frames(ensemble, run)) == 40
        expected = [("produce", 0)] + [("produce", step) for step in (500, 1000, 1500, 2000)]
        assert [what[1:] for what in reported if what[0] == run] == [("equilibrate", 0), *expected]
    assert not list((tmp_path / "killed").glob("run_*/.*"))  # what the worker had begun is removed
    runHere(alone.folder)
    sameRuns(ensemble, alone)
    last = ensemble.readCheckpoint(0, ensemble.countChunks(0) - 1)[0]["exchange"]
    assert last["sweeps"] == last["attempted"][0] == 2000 // 30 and 0 < last["accepted"][0] <= 2000 // 30
    first = frames(ensemble, 0)
    assert np.abs(np.diff(first, axis=0)).max() > 1e-3 and np.abs(first - frames(ensemble, 1)).max() > 1e-3


def testChunksMakeOneTrajectory(beads, tmp_path):
    """Without friction there is no noise, and the frames of all chunks are those of OpenMM's own integrator, which never stopped."""
    ensemble = make(beads, tmp_path / "e", runs=1, steps=400, friction=0, equilibrationSteps=150)
    runHere(ensemble.folder)
    system = openmmflash.createSystem(beads[1], beads[0], replicas=2)
    context = openmm.Context(system, openmm.LangevinMiddleIntegrator(300, 0, 0.004), openmm.Platform.getPlatform("CPU"), {"Threads": "1"})
    context.setPositions(openmmflash.tilePositions(beads[1].positions, 2))
    drawVelocities(context, {"temperature_K": 300, "seed": ensemble.readCheckpoint(0, 0)[0]["seed"]}, None)
    context.getIntegrator().step(150)
    expected = []
    for _ in range(20):
        context.getIntegrator().step(20)
        expected.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    np.testing.assert_allclose(frames(ensemble, 0), expected, rtol=0, atol=1e-5)


def testThreadsOfOneWorker(beads, tmp_path):
    """Chunks that two threads of a process make have the bits of those made one after the other, though noise comes from one source."""
    options = {"temperatures": LADDER, "exchangeInterval": 30, "runs": 2, "steps": 1000, "interval": 100, "chunkSteps": 500}
    together, alone = make(beads, tmp_path / "together", **options), make(beads, tmp_path / "alone", **options)

    def carryOut(run):
        while not together.isComplete(run):
            _chunks.runChunk(together.folder, run, together.countChunks(run), "CPU", 1)

    threads = [threading.Thread(target=carryOut, args=(run,)) for run in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runHere(alone.folder)
    sameRuns(together, alone)


def periodicSystem(frequency=None):
    """20 particles in a box of 5 nm, with a barostat that acts every so many steps."""
    system, bonds = openmm.System(), openmm.HarmonicBondForce()
    for _ in range(20):
        system.addParticle(20.0)
    system.setDefaultPeriodicBoxVectors([5, 0, 0], [0, 5, 0], [0, 0, 5])
    bonds.setUsesPeriodicBoundaryConditions(True)
    system.addForce(bonds)
    if frequency:
        system.addForce(openmm.MonteCarloBarostat(50.0, 300, frequency))
    return system, np.random.default_rng(0).random((20, 3)) * 5


def testPressure(tmp_path):
    """A barostat acts in each chunk, or it is refused; the box of each frame is the System's, whatever the topology says."""
    mdtraj = pytest.importorskip("mdtraj", reason="reads the cells of DCD files")
    options = {"runs": 1, "steps": 80, "timestep": 0.004, "interval": 20, "chunkSteps": 40, "minimize": False, "seed": 7}
    with pytest.raises(ValueError, match="chunkSteps is 40, and the System's MonteCarloBarostat acts every 41 steps"):
        createEnsemble(tmp_path / "e", *periodicSystem(41), blankTopology(20, False), **options)
    ensemble = runHere(createEnsemble(tmp_path / "e", *periodicSystem(40), blankTopology(20, False), **options).folder)
    volumes = ensemble.readLog(0)["volume_nm3"]
    assert volumes[0] == 125 and len(set(volumes.tolist())) == 3
    lengths = []
    for path in ensemble.getTrajectories(0):
        with mdtraj.formats.DCDTrajectoryFile(path) as file:
            lengths += file.read()[1].tolist()
    np.testing.assert_allclose(np.prod(lengths, axis=1) / 1000, volumes, rtol=1e-5)


def testThermostatBesideALadder(beads, tmp_path):
    model, structure = beads
    system = openmmflash.createSystem(structure, model, replicas=2)
    system.addForce(openmm.AndersenThermostat(1000, 50))
    positions, options = openmmflash.tilePositions(structure.positions, 2), {"runs": 1, "steps": 10, "timestep": 0.004, "interval": 5}
    with pytest.raises(ValueError, match="AndersenThermostat, which has one temperature for all replicas"):
        createEnsemble(tmp_path / "e", system, positions, blankTopology(12, False), replicas=2, temperatures=LADDER, **options)
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    "name", ["chunk_000001_analysis.txt", "chunk_000000.backup/a", "chunk_000001/rmsd.npy", ".chunk_000002", "../a.tmp"]
)
def testOverwriteLeavesForeignFilesAlone(beads, tmp_path, name):
    ensemble = make(beads, tmp_path / "e", runs=1, steps=40, chunkSteps=20)
    runHere(ensemble.folder)
    mine = tmp_path / "e" / "run_000" / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    kept = {path: path.read_bytes() for path in (tmp_path / "e").rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="has files that are no ensemble's: .*" + name.split("/")[-1]):
        make(beads, tmp_path / "e", overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "e").rglob("*") if path.is_file()} == kept


def testOverwriteRemovesWhatKilledProcessesLeft(beads, tmp_path):
    ensemble = make(beads, tmp_path / "e", runs=1, steps=40, chunkSteps=20)
    _chunks.runChunk(ensemble.folder, 0, 0, "CPU", 1)
    (tmp_path / "e" / "ensemble.json.123.0123abcd.tmp").write_text("half")
    (tmp_path / "e" / "run_000" / ".chunk_000001.1.ab_c").mkdir()
    (tmp_path / "e" / "run_000" / ".chunk_000001.1.ab_c" / "checkpoint.npz.1.0123abcd.tmp").write_text("half")
    make(beads, tmp_path / "e", overwrite=True)
    names = {"ensemble.json", "system.xml", "start.npz", "topology.pdb", "run.lock"}
    assert {path.name for path in (tmp_path / "e").iterdir()} == names


def testOneRunFails(beads, cluster, tmp_path):
    """A run whose atoms lie on each other fails, with a reason; the others are completed."""
    structure = beads[1]
    positions = np.stack([structure.positions, structure.positions])
    positions[1, 1] = positions[1, 3] + 1e-4
    system = openmmflash.createSystem(structure, beads[0])
    options = {"runs": 2, "steps": 40, "timestep": 0.004, "interval": 20, "minimize": False}
    ensemble = createEnsemble(tmp_path / "e", system, positions, blankTopology(6, False), **options)
    failed = runEnsemble(tmp_path / "e", cluster, platform="CPU", threads=1)
    assert list(failed) == [1] and ("not finite" in failed[1] or "temperature is" in failed[1] or "NaN" in failed[1]), failed
    assert ensemble.isComplete(0) and steps(ensemble, 0) == [20, 40] and not ensemble.isComplete(1)


def testLengthened(beads, tmp_path):
    """More steps for runs that are complete make the longer runs; the last chunk may be a short one that has no frame."""
    short, long = make(beads, tmp_path / "short", runs=1, steps=210), make(beads, tmp_path / "long", runs=1, steps=400)
    runHere(short.folder)
    assert steps(short, 0) == list(range(20, 201, 20)) and len(short.getTrajectories(0)) == 2 and short.getProgress(0) == ("produce", 210)
    with pytest.raises(ValueError, match="not cut to 200"):
        lengthenEnsemble(short.folder, 200)
    for wrong in (300.5, float("inf")):
        with pytest.raises(ValueError, match=f"steps is {wrong}"):
            lengthenEnsemble(short.folder, wrong)
    lengthenEnsemble(short.folder, 400)
    runHere(short.folder)
    runHere(long.folder)
    assert steps(Ensemble(short.folder), 0) == steps(long, 0) == list(range(20, 401, 20))
    np.testing.assert_array_equal(frames(short, 0)[:10], frames(long, 0)[:10])


def testChunkIsMadeOnce(beads, tmp_path, monkeypatch):
    """A chunk that is there is left alone, also where it appears while a worker that was taken for lost makes it again."""
    ensemble = make(beads, tmp_path / "e", runs=1)
    first = _chunks.runChunk(ensemble.folder, 0, 0, "CPU", 1)
    second = _chunks.runChunk(ensemble.folder, 0, 1, "CPU", 1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "e").rglob("*")}
    assert _chunks.runChunk(ensemble.folder, 0, 0, "CPU", 1) == first and _chunks.runChunk(ensemble.folder, 0, 1, "CPU", 1) == second
    make_ = _chunks._makeChunk

    def late(*arguments):
        meta = make_(*arguments)
        monkeypatch.setattr(_chunks, "_makeChunk", make_)
        other = _chunks.runChunk(ensemble.folder, 0, 2, "CPU", 1)
        return {**meta, "late": True, "other": other}

    monkeypatch.setattr(_chunks, "_makeChunk", late)
    assert "late" not in _chunks.runChunk(ensemble.folder, 0, 2, "CPU", 1)
    assert ensemble.countChunks(0) == 3 and not list((tmp_path / "e").glob("run_*/.*"))
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items() if path.is_file())
    os.rename(ensemble.chunkFolder(0, 1), tmp_path / "away")
    with pytest.raises(ValueError, match=r"has the chunks \[0, 2\]: some were removed"):
        ensemble.countChunks(0)


@pytest.mark.parametrize("format", ["dcd", "xtc"])
def testTimesOfALengthenedRun(beads, tmp_path, format):
    """Frames of a run that was lengthened where it had no frame have the steps and times of its log."""
    mdtraj = pytest.importorskip("mdtraj", reason="reads the headers of XTC files")
    ensemble = make(beads, tmp_path / "e", runs=1, steps=50, interval=20, chunkSteps=40, format=format)
    runHere(ensemble.folder)
    lengthenEnsemble(ensemble.folder, 120)
    runHere(ensemble.folder)
    assert steps(ensemble, 0) == [20, 40, 60, 80, 100, 120]
    found = []
    for path in ensemble.getTrajectories(0):
        if format == "xtc":
            with mdtraj.formats.XTCTrajectoryFile(path) as file:
                _, times, stepsHere, _ = file.read()
            np.testing.assert_allclose(times, 0.004 * stepsHere, rtol=1e-6)
            found += stepsHere.tolist()
        else:  # the header has the first step and the interval
            count, first, interval = np.fromfile(path, dtype="<i4", count=5)[2:]
            found += range(first, first + count * interval, interval)
    assert found == steps(ensemble, 0)


def testUnits(beads, tmp_path):
    """Quantities have the units that they say; other numbers are nm, ps, K, 1/ps. An array of temperatures is as good as a list."""
    unit = openmm.unit
    model, structure = beads
    plain = make(beads, tmp_path / "plain", temperature=310)
    system, angstrom = openmmflash.createSystem(structure, model, replicas=2), 10 * openmmflash.tilePositions(structure.positions, 2)
    options = {"runs": 3, "steps": 600, "interval": 20, "chunkSteps": 100, "replicas": 2, "minimize": False, "seed": 7}
    options |= {"timestep": 4 * unit.femtosecond, "temperature": 310 * unit.kelvin, "friction": 1 / unit.picosecond}
    for k, positions in enumerate((angstrom * unit.angstrom, [openmm.Vec3(*x) for x in angstrom.tolist()] * unit.angstrom)):
        other = createEnsemble(tmp_path / f"units{k}", system, positions, blankTopology(12, False), **options)
        assert other.settings == plain.settings
        read = [np.load(folder / "start.npz")["positions"] for folder in (tmp_path / "plain", tmp_path / f"units{k}")]
        np.testing.assert_allclose(read[0], read[1], rtol=1e-12)
    ladder = make(beads, tmp_path / "ladder", temperatures=openmmflash.exchange.geometricLadder(300, 400, 2))
    assert ladder.settings["temperatures_K"] == pytest.approx(LADDER) and ladder.settings["temperature_K"] is None


def testTopologyIsWritten(beads, tmp_path):
    """createEnsemble writes the file with which trajectories are read, and refuses a topology of something else."""
    model, structure = beads
    system = openmmflash.createSystem(structure, model)
    options = {"runs": 1, "steps": 10, "timestep": 0.001, "interval": 1}
    topology = openmm.app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for i in range(6):
        topology.addAtom(f"X{i}", None, residue)
    createEnsemble(tmp_path / "e", system, structure.positions, topology, **options)
    pdb = openmm.app.PDBFile(str(tmp_path / "e" / "topology.pdb"))
    np.testing.assert_allclose(pdb.getPositions(asNumpy=True)._value, structure.positions, atol=1e-4)
    with pytest.raises(ValueError, match="topology has 5 atoms, and the System 6 particles"):
        createEnsemble(tmp_path / "f", system, structure.positions, blankTopology(5, False), **options)
    assert not (tmp_path / "f").exists()


def testOneAtATime(beads, cluster, tmp_path):
    """While somebody is at work on an ensemble, nobody else carries it out, lengthens or replaces it, or clears up in it."""
    ensemble = make(beads, tmp_path / "e", runs=1, steps=40, chunkSteps=20)
    begun = tmp_path / "e" / "run_000" / ".chunk_000001.1.x"
    with EnsembleLock(ensemble.folder) as lock:
        lock.acquire()
        begun.mkdir(parents=True)
        for work in (
            lambda: runEnsemble(ensemble.folder, cluster, platform="CPU", threads=1),
            lambda: lengthenEnsemble(ensemble.folder, 80),
            lambda: make(beads, tmp_path / "e", overwrite=True),
        ):
            with pytest.raises(ValueError, match="Another process is at work on the ensemble in"):
                work()
        assert begun.is_dir() and Ensemble(ensemble.folder).settings == ensemble.settings and ensemble.countChunks(0) == 0
        # The holder of the lock may, and keeps it.
        lengthenEnsemble(ensemble.folder, 60, lock)
        assert runEnsemble(ensemble.folder, cluster, platform="CPU", threads=1, lock=lock) == {}
        assert steps(ensemble, 0) == [20, 40, 60] and not begun.exists()
        with pytest.raises(ValueError, match="Another process is at work"):
            runEnsemble(ensemble.folder, cluster)
    assert runEnsemble(ensemble.folder, cluster) == {}


def testLockOfAnotherFolder(beads, tmp_path):
    ensemble = make(beads, tmp_path / "e", runs=1, steps=40)
    with EnsembleLock(tmp_path / "other") as lock:
        for work in (
            lambda: runEnsemble(ensemble.folder, lock=lock),
            lambda: lengthenEnsemble(ensemble.folder, 80, lock),
            lambda: make(beads, tmp_path / "e", overwrite=True, lock=lock),
        ):
            with pytest.raises(ValueError, match="The lock is that of the folder .*other, not of"):
                work()
    assert Ensemble(ensemble.folder).settings["steps"] == 40 and not (tmp_path / "other").exists()
    os.symlink(tmp_path / "e", tmp_path / "link")
    with EnsembleLock(tmp_path / "link") as lock:
        lengthenEnsemble(ensemble.folder, 80, lock)


def testFileSystemWithoutLocks(beads, tmp_path, monkeypatch):
    """Only a lock that is taken means somebody else; what cannot be locked is told as such."""
    fcntl = pytest.importorskip("fcntl", reason="this system has no fcntl locks")

    def missing(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(OSError, match=r"cannot be locked \(Function not implemented\).*run.lock"):
        EnsembleLock(tmp_path).acquire()


def testLeftovers(beads, tmp_path):
    """What cannot be deleted, as a worker that was taken for lost still writes to it, leaves the rest to be deleted, and no error."""
    ensemble = make(beads, tmp_path / "e")
    for name in ("run_000/.chunk_000001.1.x", "run_002/.chunk_000001.2.y", "run_002/chunk_000000"):  # and no run_001 yet
        (tmp_path / "e" / name).mkdir(parents=True)
    (tmp_path / "e" / "run_000" / ".chunk_000000").write_text("not a folder")
    ensemble.removeLeftovers()
    assert sorted(path.name for path in (tmp_path / "e").glob("run_*/*")) == [".chunk_000000", "chunk_000000"]


def testDamagedCheckpoint(beads, tmp_path):
    """A power cut may leave an empty file: the message names it, and what to remove."""
    ensemble = make(beads, tmp_path / "e", runs=1, steps=40, chunkSteps=20)
    _chunks.runChunk(ensemble.folder, 0, 0, "CPU", 1)
    path = os.path.join(ensemble.chunkFolder(0, 0), "checkpoint.npz")
    whole = open(path, "rb").read()
    for data in (b"", whole[:100], whole[:-300]):
        with open(path, "wb") as file:
            file.write(data)
        with pytest.raises(ValueError, match=f"{path} is missing or damaged .* Remove the folder {ensemble.chunkFolder(0, 0)}"):
            ensemble.getProgress(0)
    os.remove(path)
    with pytest.raises(ValueError, match="is missing or damaged"):
        _chunks.runChunk(ensemble.folder, 0, 1, "CPU", 1)
    os.rmdir(ensemble.chunkFolder(0, 0))
    runHere(ensemble.folder)
    assert steps(ensemble, 0) == [20, 40]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"runs": 0}, "runs is 0; it is a whole number from 1 to"),
        ({"runs": float("inf")}, "runs is inf"),
        ({"replicas": 0}, "replicas is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"friction": -1}, "friction is -1/ps"),
        ({"friction": np.nan}, "friction is nan/ps"),
        ({"temperature": np.nan}, r"temperatures are \[nan\]"),
        ({"temperature": -5}, r"temperatures are \[-5\]"),
        ({"temperatures": LADDER, "exchangeInterval": -5}, "exchangeInterval is -5"),
        ({"temperatures": LADDER, "exchangeInterval": 2.5}, "exchangeInterval is 2.5"),
        ({"chunkSteps": 40.5}, "chunkSteps is 40.5"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"chunkSteps": 30}, "multiple of interval, 20"),
        ({"interval": 700, "chunkSteps": 700}, "it would have no frame"),
        ({"timestep": 0}, "timestep is 0 ps"),
        ({"format": "trr"}, "format is 'trr'"),
        ({"temperatures": [300, 310, 320]}, "3 temperatures and 2 replicas"),
        ({"temperatures": [300, 300]}, "higher than the one before"),
    ],
)
def testWrongSettings(beads, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make(beads, tmp_path / "e", **options)
    assert not (tmp_path / "e").exists()


def testWrongFolders(beads, tmp_path):
    with pytest.raises(ValueError, match="there is no .*ensemble.json"):
        runEnsemble(tmp_path)
    for damaged, message in (("{", "ensemble.json is damaged"), ("[]", "ensemble.json has format None")):
        (tmp_path / "ensemble.json").write_text(damaged)
        with pytest.raises(ValueError, match=message):
            Ensemble(tmp_path)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        make(beads, tmp_path / "e")
    system = openmm.System()
    system.addParticle(1.0)
    with pytest.raises(ValueError, match=r"positions have shape \[1, 2, 3\]; 1 finite ones"):
        createEnsemble(tmp_path / "f", system, np.zeros((2, 3)), blankTopology(1, False), 1, 10, 0.001, 1)
    with pytest.raises(ValueError, match="There is no Dask scheduler at nowhere"):
        runEnsemble(make(beads, tmp_path / "g").folder, scheduler="nowhere")


def testWithoutDask(beads, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r'pip install "openmm-flash\[ensemble\]"'):
        runEnsemble(make(beads, tmp_path / "e").folder)


def testCommand(beads, cluster, tmp_path):
    """openmm-flash ensemble: made, complete, lengthened, started anew; on the workers of a scheduler."""
    from click.testing import CliRunner

    from openmmflash.cli._app import app

    (tmp_path / "beads.safetensors").write_bytes(beads[0].getBytes())
    small_models.writeBeadStructure(tmp_path / "chain.npz", frames=3)
    out = str(tmp_path / "out")

    def call(*arguments, code=0):
        result = CliRunner().invoke(app, ["ensemble", *map(str, arguments)])
        assert result.exit_code == code, result.output
        return result.output

    where = ("--scheduler", cluster.scheduler.address, "--platform", "CPU", "--threads", 1)
    inputs = (tmp_path / "chain.npz", "-m", tmp_path / "beads.safetensors", "-o", out)
    base = (*inputs, "--runs", 2, "--replicas", 2, "--steps", 60, "--interval", 20, "--chunk", 40, "--no-minimize", "--equilibrate", 0)
    output = call(*base, *where)
    assert "2 runs, 2 replicas each" in output and "Done: 2 of 2 runs" in output and "2 runs start from the structure's 3 frames" in output
    ensemble = Ensemble(out)
    assert [steps(ensemble, run) for run in range(2)] == [[20, 40, 60]] * 2
    # Copies start from the frames in turn, run by run.
    starts = small_models.beadChain(frames=3).positions
    for run, order in enumerate(((0, 1), (2, 0))):
        np.testing.assert_allclose(
            np.load(tmp_path / "out" / "start.npz")["positions"][run], np.concatenate(starts[list(order)]), atol=1e-6
        )
    assert openmm.app.PDBFile(str(tmp_path / "out" / "topology.pdb")).topology.getNumAtoms() == 12
    assert ensemble.record["model"]["sha256"] == beads[0].getSha256() and ensemble.record["versions"]["openmm"] == openmm.__version__
    assert "is complete: 60 steps" in call("--resume", "-o", out, *where, code=2)
    assert "Leave out --temperature" in call("--resume", "-o", out, "--temperature", 300, *where, code=2)
    assert "not cut to 40" in call("--resume", "-o", out, "--steps", 40, *where, code=2)
    call("--resume", "-o", out, "--steps", 100, *where)
    assert [steps(ensemble, run) for run in range(2)] == [[20, 40, 60, 80, 100]] * 2
    assert "is not empty" in call(*base, *where, code=2)
    # What is refused deletes nothing and changes nothing.
    (tmp_path / "out" / "run_001" / "notes.txt").write_text("mine")
    kept = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert "no ensemble's: run_001/notes.txt" in call(*base, "--overwrite", *where, code=2).replace("\\", "/")
    assert "Give one of them" in call(*base, "--overwrite", *where, "--workers", 2, code=2)
    assert "no Dask scheduler at nowhere" in call(*base, "--overwrite", "--scheduler", "nowhere", code=2)
    chunk = ("--interval", 20, "--chunk", 30, "--no-minimize", "--overwrite")
    assert "multiple of interval" in call(*inputs, *chunk, *where, code=2)
    with EnsembleLock(out) as lock:
        lock.acquire()
        assert "Another process is at work" in call(*base, "--overwrite", *where, code=2)
        assert "Another process is at work" in call("--resume", "-o", out, "--steps", 200, *where, code=2)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == kept
    os.remove(tmp_path / "out" / "run_001" / "notes.txt")
    assert "Done: 2 of 2 runs" in call(*base, "--overwrite", *where)
    assert [steps(ensemble, run) for run in range(2)] == [[20, 40, 60]] * 2


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM")
def testSigterm(beads, tmp_path):
    """SIGTERM stops as Ctrl-C does: a sentence, no process and nothing half-made left behind; --resume continues."""
    (tmp_path / "beads.safetensors").write_bytes(beads[0].getBytes())
    small_models.writeBeadStructure(tmp_path / "chain.npz")
    command = [sys.executable, "-c", "from openmmflash.cli._app import app; app()", "ensemble"]
    command += [tmp_path / "chain.npz", "-m", tmp_path / "beads.safetensors", "-o", tmp_path / "out", "--platform", "CPU", "--workers", "1"]
    command += ["--runs", "1", "--steps", "100000000", "--interval", "1000", "--chunk", "5000000", "--no-minimize", "--equilibrate", "0"]
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 120
        while not (begun := list(tmp_path.glob("out/run_000/.chunk_000001.*/trajectory.dcd"))):
            assert process.poll() is None and time.monotonic() < end, process.communicate()
            time.sleep(0.05)
        worker = int(begun[0].parent.name.split(".")[2])
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "Stopped; the chunks that are complete are kept" in output, (output, errors)
    assert "leaked" not in errors and not list(tmp_path.glob("out/run_*/.*")) and Ensemble(tmp_path / "out").countChunks(0) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
