# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Ensembles over a local Dask cluster: a worker is killed, and no frame is lost or doubled."""

import contextlib
import os
import signal
import threading

import numpy as np
import openmm
import pytest
import small_models
from test_cli_run import readDcd

import openmmflash
from openmmflash import _chunks
from openmmflash.cli._run import blankTopology
from openmmflash.ensemble import Ensemble, createEnsemble, lengthenEnsemble, runEnsemble

distributed = pytest.importorskip("distributed", reason="ensembles need dask and distributed")
LADDER = [300.0, 400.0]


@pytest.fixture(scope="module")
def beads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beads")
    small_models.writeBeads(folder / "beads.safetensors")
    return openmmflash.FlashModel(str(folder / "beads.safetensors")), small_models.beadChain()


@pytest.fixture(scope="module")
def cluster():
    """Two workers, which are not started again where they die."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            yield client


def make(beads, folder, replicas=2, **options):
    model, structure = beads
    system = openmmflash.createSystem(structure, model, replicas=replicas)
    positions = openmmflash.tilePositions(structure.positions, replicas)
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
    """SIGKILL in the middle of a chunk: its run goes on elsewhere, from its checkpoint. The result is that of an ensemble left alone."""
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
    context.setVelocitiesToTemperature(300, ensemble.readCheckpoint(0, 0)[0]["seed"])
    context.getIntegrator().step(150)
    expected = []
    for _ in range(20):
        context.getIntegrator().step(20)
        expected.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    np.testing.assert_allclose(frames(ensemble, 0), expected, rtol=0, atol=1e-5)


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


@pytest.mark.parametrize(
    "options, message",
    [
        ({"runs": 0}, "runs is 0"),
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
    import sys

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
    assert "Give one of them" in call(*base, "--overwrite", *where, "--workers", 2, code=2)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "is not empty" in call(*base, "--overwrite", *where, code=2)
    os.remove(tmp_path / "out" / "notes.txt")
    assert "multiple of interval" in call(*inputs, "--interval", 20, "--chunk", 30, "--no-minimize", *where, code=2)
