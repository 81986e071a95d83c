# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash run: what it leaves, and that a resumed run is the run that was not stopped."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import small_models

pytest.importorskip("click", reason="the command line needs the package click")

FILES = {
    "trajectory.dcd",
    "topology.pdb",
    "log.csv",
    "energy_temperature.png",
    "checkpoint.npz",
    "final_state.xml",
    "system.xml",
    "run.json",
    "run.lock",
}
BASE = ("--seed", "11", "--interval", "20", "--checkpoint-interval", "50", "--equilibrate", "10fs")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small_models.writeAni(folder / "ani.safetensors", members=2)
    small_models.writeAni(folder / "other.safetensors", seed=9)
    small_models.writeBeads(folder / "beads.safetensors")
    small_models.writeBeadStructure(folder / "chain.npz")
    small_models.writeBeadStructure(folder / "frames.npz", frames=3)
    small_models.writePeptide(folder / "nma.pdb")
    small_models.writePeptide(folder / "nmabox.pdb", cell=(8, 8.5, 9))
    return folder


@pytest.fixture
def run(inputs, tmp_path):
    """run(*arguments) -> click's result; paths of inputs may be given by name."""
    from click.testing import CliRunner

    from openmmflash.cli._app import app

    def call(*arguments, code=0):
        result = CliRunner().invoke(app, ["run", *place(inputs, tmp_path, arguments)])
        assert result.exit_code == code, result.output
        return result

    return call


def place(inputs, folder, arguments):
    names = set(os.listdir(inputs))
    placed = [str(inputs / a) if a in names else str(a) for a in arguments]
    return [str(folder / a) if placed[i - 1] in ("-o", "--output") and i else a for i, a in enumerate(placed)]


def readDcd(path):
    """Frames [frames, n, 3] in nm of a DCD, read by its definition; the header's count must fit the file's size."""
    with open(path, "rb") as file:
        data = file.read()
    count, box = struct.unpack_from("<i", data, 8)[0], struct.unpack_from("<i", data, 48)[0]
    n = struct.unpack_from("<i", data, 268)[0]
    size = 3 * (4 * n + 8) + (56 if box else 0)
    assert len(data) == 276 + count * size
    frames = np.empty((count, n, 3), dtype=np.float32)
    for k in range(count):
        at = 276 + k * size + (56 if box else 0)
        for axis in range(3):
            frames[k, :, axis] = np.frombuffer(data, "<f4", n, at + axis * (4 * n + 8) + 4)
    return frames / 10


def readXtc(path):
    from openmm.app.internal.xtc_utils import read_xtc

    coordinates, _, times, steps = read_xtc(os.fsencode(path))
    return np.moveaxis(np.array(coordinates), -1, 0), np.array(times), np.array(steps)


def readLog(path):
    from openmmflash.plots import readLog

    return readLog(path)


def finalState(folder):
    import openmm

    return openmm.XmlSerializer.deserialize((folder / "final_state.xml").read_text())


def sameLog(a, b):
    """All but the speed, which is the clock's."""
    a, b = readLog(a), readLog(b)
    assert list(a) == list(b)
    for name in a:
        if name != "speed_ns_day":
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def sameRun(a, b):
    """Two folders hold the same trajectory, log and final state, bit by bit."""
    np.testing.assert_array_equal(readDcd(a / "trajectory.dcd"), readDcd(b / "trajectory.dcd"))
    sameLog(a / "log.csv", b / "log.csv")
    first, second = finalState(a), finalState(b)
    for get in ("getPositions", "getVelocities"):
        np.testing.assert_array_equal(getattr(first, get)(asNumpy=True)._value, getattr(second, get)(asNumpy=True)._value)
    assert first.getStepCount() == second.getStepCount() and first.getTime() == second.getTime()


def test_leaves_everything(run, tmp_path, inputs):
    result = run("nma.pdb", "--model", "ani.safetensors", "--steps", 100, "-o", "out", *BASE)
    out = tmp_path / "out"
    assert set(os.listdir(out)) == FILES
    assert str(out) in result.output and "trajectory.dcd" in result.output
    log = readLog(out / "log.csv")
    np.testing.assert_array_equal(log["step"], [20, 40, 60, 80, 100])
    np.testing.assert_allclose(log["time_ps"], log["step"] * 0.0005)
    np.testing.assert_allclose(log["total_kJ_mol"], log["potential_kJ_mol"] + log["kinetic_kJ_mol"], rtol=1e-9)
    assert (log["deviation_kJ_mol"] > 0).all()
    # 12 atoms whose centre of mass is held: 33 degrees of freedom
    np.testing.assert_allclose(log["temperature_K"], 2 * log["kinetic_kJ_mol"] / (33 * 8.31446261815324e-3), rtol=1e-8)
    frames = readDcd(out / "trajectory.dcd")
    assert frames.shape == (5, 12, 3)
    state = finalState(out)
    np.testing.assert_allclose(frames[-1], state.getPositions(asNumpy=True)._value, atol=1e-6)
    assert state.getPotentialEnergy()._value == pytest.approx(log["potential_kJ_mol"][-1], abs=1e-3)
    assert state.getStepCount() == 100 and state.getTime()._value == pytest.approx(0.05)  # the production run's own
    settings = json.loads((out / "run.json").read_text())
    assert settings["settings"]["seed"] == 11 and settings["settings"]["timestep_fs"] == 0.5
    import hashlib

    assert settings["model"]["sha256"] == hashlib.sha256((inputs / "ani.safetensors").read_bytes()).hexdigest()
    assert settings["sessions"][0]["ended"] == "complete"
    assert (out / "energy_temperature.png").read_bytes()[:4] == b"\x89PNG"


def test_topology_fits_the_trajectory(run, tmp_path):
    import openmm.app

    run("chain.npz", "--model", "beads.safetensors", "--steps", 40, "--replicas", 3, "-o", "out", *BASE)
    pdb = openmm.app.PDBFile(str(tmp_path / "out" / "topology.pdb"))
    assert pdb.topology.getNumAtoms() == readDcd(tmp_path / "out" / "trajectory.dcd").shape[1] == 18
    assert pdb.topology.getNumBonds() == 15


def test_without_priors_the_model_is_the_file(run, inputs, tmp_path):
    """What system.xml holds is the model that run.json names, with the pair prior left out by the force."""
    import hashlib

    import openmm

    from openmmflash import FlashForce

    run("chain.npz", "--model", "beads.safetensors", "--no-priors", "--steps", 4, "-o", "out", *BASE)
    system = openmm.XmlSerializer.deserialize((tmp_path / "out" / "system.xml").read_text())
    (force,) = [FlashForce.cast(force) for force in system.getForces() if FlashForce.isinstance(force)]
    digest = hashlib.sha256((inputs / "beads.safetensors").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["model"]["sha256"] == force.getModel().getSha256() == digest
    assert not force.getUsesPairPrior()


def test_default_timesteps(run, tmp_path):
    run("nma.pdb", "--model", "ani.safetensors", "--steps", 1, "-o", "atoms")
    run("chain.npz", "--model", "beads.safetensors", "--steps", 1, "-o", "beads")
    for name, expected in (("atoms", 0.5), ("beads", 4.0)):
        assert json.loads((tmp_path / name / "run.json").read_text())["settings"]["timestep_fs"] == expected


def test_energies_of_replicas_add_up(run, tmp_path):
    run("frames.npz", "--model", "beads.safetensors", "--steps", 200, "--replicas", 4, "-o", "out", *BASE)
    log = readLog(tmp_path / "out" / "log.csv")
    parts = [log[f"potential_{k}_kJ_mol"] for k in range(4)]
    np.testing.assert_allclose(sum(parts), log["potential_kJ_mol"], atol=1e-6)
    np.testing.assert_allclose(np.mean([log[f"temperature_{k}_K"] for k in range(4)], axis=0), log["temperature_K"], rtol=1e-7)
    assert np.ptp([part[-1] for part in parts]) > 1e-6  # they went different ways


def test_replicas_start_from_the_frames(run, tmp_path):
    """Replica k starts from frame k of a structure file, or all from the one that --frame chooses."""
    frames = small_models.beadChain(frames=3).positions
    options = ("frames.npz", "--model", "beads.safetensors", "--replicas", 3, "--no-minimize", "--equilibrate", 0, "--temperature", 0)
    options = (*options, "--timestep", "0.001", "--steps", 1, "--interval", 1)
    assert "start from its 3 frames in turn" in run(*options, "-o", "all").output
    assert "in turn" not in run(*options, "--frame", 1, "-o", "one").output
    for name, expected in (("all", frames), ("one", frames[[1, 1, 1]])):
        first = readDcd(tmp_path / name / "trajectory.dcd")[0].reshape(3, 6, 3)
        np.testing.assert_allclose(first, expected, atol=1e-6)
    assert np.abs(frames[1:] - frames[0]).max() > 0.01  # the frames differ by far more


def test_without_friction_energy_is_conserved(run, tmp_path):
    run("chain.npz", "--model", "beads.safetensors", "--steps", 2000, "--timestep", "1", "--friction", 0, "-o", "out", *BASE)
    log = readLog(tmp_path / "out" / "log.csv")
    assert np.std(log["total_kJ_mol"]) < 0.05 * np.std(log["kinetic_kJ_mol"])


def test_thermostat(run, tmp_path):
    """The mean temperature within five standard errors; rows are 5 relaxation times apart."""
    options = ("--steps", 50000, "--friction", 10, "--temperature", 250, "--replicas", 4, "--seed", 3, "--equilibrate", "4ps")
    run("chain.npz", "--model", "beads.safetensors", "--interval", 125, "-o", "out", *options)
    temperature = readLog(tmp_path / "out" / "log.csv")["temperature_K"]
    error = 250 * np.sqrt(2 / 72) / np.sqrt(len(temperature))
    assert abs(temperature.mean() - 250) < 5 * error


@pytest.mark.parametrize("structure, model", [("nma.pdb", "ani.safetensors"), ("chain.npz", "beads.safetensors")])
def test_resumed_run_is_the_whole_run(run, tmp_path, structure, model):
    """n steps and n more after a resume are 2 n steps: the same frames, rows and final state, bit by bit.

    130 is no multiple of --interval.
    """
    run(structure, "--model", model, "--steps", 260, "-o", "whole", *BASE)
    run(structure, "--model", model, "--steps", 130, "-o", "parts", *BASE)
    result = run("--resume", "-o", "parts", "--steps", 260)
    assert "after step 130" in result.output
    sameRun(tmp_path / "whole", tmp_path / "parts")
    assert len(json.loads((tmp_path / "parts" / "run.json").read_text())["sessions"]) == 2


def test_resumed_replicas(run, tmp_path):
    options = ("frames.npz", "--model", "beads.safetensors", "--replicas", 3, *BASE)
    run(*options, "--steps", 200, "-o", "whole")
    run(*options, "--steps", 100, "-o", "parts")
    run(*options, "--resume", "--steps", 200, "-o", "parts")
    sameRun(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("form", ["dcd", "xtc"])
def test_interval_longer_than_the_run(run, tmp_path, form):
    """One frame at the end; the same command with more steps continues it, and is the run that had them from the start."""
    options = ("nma.pdb", "--model", "ani.safetensors", "--seed", 11, "--interval", 40, "--equilibrate", 0, "--format", form)
    assert "longer than the run" in run(*options, "--steps", 4, "-o", "parts").output
    parts = tmp_path / "parts"
    assert json.loads((parts / "run.json").read_text())["settings"]["interval"] == 40
    np.testing.assert_array_equal(readLog(parts / "log.csv")["step"], [4])
    for steps, rows in ((8, [8]), (100, [40, 80])):
        run(*options, "--resume", "--steps", steps, "-o", "parts")
        np.testing.assert_array_equal(readLog(parts / "log.csv")["step"], rows)
    run(*options, "--steps", 100, "-o", "whole")
    sameLog(tmp_path / "whole" / "log.csv", parts / "log.csv")
    if form == "dcd":
        sameRun(tmp_path / "whole", parts)
    else:
        for whole, part in zip(readXtc(tmp_path / "whole" / "trajectory.xtc"), readXtc(parts / "trajectory.xtc")):
            np.testing.assert_array_equal(whole, part)


def test_killed_while_the_interval_grows(run, tmp_path):
    """The resumed run begins its log anew; killed before its first checkpoint, it leaves the old one, and can be resumed again."""
    options = ("nma.pdb", "--model", "ani.safetensors", "--seed", 11, "--interval", 40, "--equilibrate", 0)
    run(*options, "--steps", 4, "-o", "parts")
    checkpoint = (tmp_path / "parts" / "checkpoint.npz").read_bytes()
    run("--resume", "--steps", 50, "-o", "parts")
    (tmp_path / "parts" / "checkpoint.npz").write_bytes(checkpoint)
    for name in ("log.csv", "trajectory.dcd"):
        os.truncate(tmp_path / "parts" / name, 10)
    run("--resume", "-o", "parts")
    run(*options, "--steps", 50, "-o", "whole")
    sameRun(tmp_path / "whole", tmp_path / "parts")


def test_resumed_xtc(run, tmp_path):
    options = ("nmabox.pdb", "--model", "ani.safetensors", "--format", "xtc", *BASE)
    run(*options, "--steps", 200, "-o", "whole")
    run(*options, "--steps", 100, "-o", "parts")
    run("--resume", "--steps", 200, "-o", "parts")
    for whole, part in zip(readXtc(tmp_path / "whole" / "trajectory.xtc"), readXtc(tmp_path / "parts" / "trajectory.xtc")):
        np.testing.assert_array_equal(whole, part)
    steps = readXtc(tmp_path / "parts" / "trajectory.xtc")[2]
    np.testing.assert_array_equal(steps, np.arange(20, 201, 20))
    sameLog(tmp_path / "whole" / "log.csv", tmp_path / "parts" / "log.csv")


def test_frames_after_the_checkpoint_are_cut(run, tmp_path):
    """What a killed run leaves: a checkpoint older than trajectory and log."""
    run("nma.pdb", "--model", "ani.safetensors", "--steps", 100, "-o", "parts", *BASE)
    parts = tmp_path / "parts"
    checkpoint = (parts / "checkpoint.npz").read_bytes()
    run("--resume", "-o", "parts", "--steps", 160)
    (parts / "checkpoint.npz").write_bytes(checkpoint)
    with open(parts / "log.csv", "a") as file:
        file.write("180,0.0")  # a row half written
    with open(parts / "trajectory.dcd", "ab") as file:
        file.write(b"half a frame")
    run("--resume", "-o", "parts", "--steps", 200)
    run("nma.pdb", "--model", "ani.safetensors", "--steps", 200, "-o", "whole", *BASE)
    sameRun(tmp_path / "whole", parts)


def test_pressure(run, tmp_path):
    run("nmabox.pdb", "--model", "ani.safetensors", "--steps", 400, "--pressure", 1, "-o", "out", *BASE)
    volume = readLog(tmp_path / "out" / "log.csv")["volume_nm3"]
    assert "barostat" in run("--resume", "-o", "out", "--steps", 420).output  # says what is not exact
    assert len(readDcd(tmp_path / "out" / "trajectory.dcd")) == 21
    assert np.ptp(volume) > 0 and abs(volume[0] / (0.8 * 0.85 * 0.9) - 1) < 0.5


def test_overwrite_leaves_foreign_files_alone(run, tmp_path):
    run("chain.npz", "--model", "beads.safetensors", "--steps", 40, "-o", "out", *BASE)
    for name in ("notes.txt", "checkpoint.npz.12.tmp", "exchange.json.12.0123abcd.tmp"):  # a killed run left the last one
        (tmp_path / "out" / name).write_text("mine")
    assert "--overwrite" in run("chain.npz", "--model", "beads.safetensors", "--steps", 20, "-o", "out", *BASE, code=2).output
    run("chain.npz", "--model", "beads.safetensors", "--steps", 20, "-o", "out", "--overwrite", *BASE)
    assert set(os.listdir(tmp_path / "out")) == FILES | {"notes.txt", "checkpoint.npz.12.tmp"}
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert len(readLog(tmp_path / "out" / "log.csv")["step"]) == 1


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("--temperature", 310), "--temperature is 310"),
        (("--timestep", 1), "--timestep is 1"),
        (("--interval", 30), "--interval is 30"),
        (("--friction", 2), "--friction is 2"),
        (("--no-priors",), "--priors is False"),
        (("--seed", 12), "--seed is 12"),
        (("--replicas", 2), "--replicas is 2"),
        (("--equilibrate", 1), "--equilibrate is 1 ps"),
        (("--model", "other.safetensors"), "model"),
        (("chain.npz",), "structure"),
        (("--steps", 50), "not cut"),
        ((), "complete"),
    ],
)
def test_resume_refuses(run, arguments, expected, tmp_path):
    run("nma.pdb", "--model", "ani.safetensors", "--steps", 100, "-o", "out", *BASE)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    result = run("--resume", "-o", "out", *arguments, code=2)
    assert result.output.startswith("Error: ") and expected in result.output
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == before


@pytest.mark.parametrize("name", ["checkpoint.npz", "system.xml", "log.csv", "run.json"])
def test_resume_refuses_damaged_folders(run, tmp_path, name):
    run("nma.pdb", "--model", "ani.safetensors", "--steps", 100, "-o", "out", *BASE)
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:-40])
    result = run("--resume", "-o", "out", "--steps", 200, code=2)
    assert result.output.startswith("Error: ") and name in result.output


def test_unstable_run_says_so(run, tmp_path):
    """A step of 1 ps on bonds that vibrate in 0.3 ps ends in a message, not in a trajectory of NaN."""
    options = ("--timestep", 1000, "--no-minimize", "--equilibrate", 0)
    result = run("chain.npz", "--model", "beads.safetensors", "--steps", 20000, "--interval", 10, "-o", "out", *options, code=2)
    assert "unstable" in result.output and "shorter --timestep" in result.output and "--minimize" in result.output
    assert np.isfinite(readDcd(tmp_path / "out" / "trajectory.dcd")).all()
    assert "unstable" in json.loads((tmp_path / "out" / "run.json").read_text())["sessions"][0]["ended"]


@pytest.mark.parametrize("missing", [("final_state.xml", "energy_temperature.png"), ("energy_temperature.png",)])
def test_killed_before_its_results(run, tmp_path, monkeypatch, missing):
    """All steps done and saved, but not the final state or the plot: --resume makes them, and the run is complete as any other."""
    from openmmflash.cli import _run

    options = ("chain.npz", "--model", "beads.safetensors", "--steps", 40, *BASE)
    run(*options, "-o", "whole")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_run, "finish", killed)
        run(*options, "-o", "out", code=130)
    out = tmp_path / "out"
    if len(missing) == 1:
        (out / "final_state.xml").write_bytes((tmp_path / "whole" / "final_state.xml").read_bytes())
    assert set(os.listdir(out)) == FILES - set(missing)
    output = run("--resume", "-o", "out").output
    assert "Done: 40 steps" in output and "ns/day" not in output and set(os.listdir(out)) == FILES
    sameRun(tmp_path / "whole", out)
    assert "is complete" in run("--resume", "-o", "out", code=2).output


def test_velocities_and_noise_are_independent():
    """On the Reference platform velocities and LangevinMiddleIntegrator's noise of one seed would begin with the same random numbers."""
    import openmm

    from openmmflash.cli._run import createContext, drawVelocities

    system = openmm.System()
    for _ in range(1000):
        system.addParticle(20.0)
    settings = {"temperature_K": 300.0, "temperatures_K": None, "friction_1/ps": 1.0, "timestep_fs": 4.0, "seed": 12345}
    context = createContext(system, settings, openmm.Platform.getPlatform("Reference"), {})
    context.setPositions(np.zeros((1000, 3)))
    drawVelocities(context, settings, None)
    velocities = []
    for _ in range(2):
        velocities.append(np.array(context.getState(velocities=True).getVelocities(asNumpy=True)._value).ravel())
        context.getIntegrator().step(1)
    noise = velocities[1] - np.exp(-0.004) * velocities[0]
    assert abs(np.corrcoef(velocities[0], noise)[0, 1]) < 5 / np.sqrt(3000)


def start(inputs, folder, *arguments):
    command = [sys.executable, "-m", "openmmflash", "run", *place(inputs, folder, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def waitForRows(process, path, rows, seconds=120):
    """Wait until a run has written this many rows."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        if path.exists() and path.read_text().count("\n") > rows:
            return
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"{path} did not get {rows} rows in {seconds} s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_writes_a_checkpoint(run, inputs, tmp_path, number):
    options = ("nma.pdb", "--model", "ani.safetensors", "--seed", 5, "--interval", 200, "--checkpoint-interval", 100000000)
    process = start(inputs, tmp_path, *options, "--steps", 100000000, "--equilibrate", "0.01", "-o", "parts")
    waitForRows(process, tmp_path / "parts" / "log.csv", 4)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in output and str(tmp_path / "parts") in output
    rows = (tmp_path / "parts" / "log.csv").read_text().count("\n") - 1
    steps = (rows + 3) * 200
    # a shorter total than the one it was started with cannot be asked for: rewrite the goal as a user of run.json would not
    path = tmp_path / "parts" / "run.json"
    settings = json.loads(path.read_text())
    assert settings["sessions"][0]["ended"] == "interrupted"
    settings["settings"]["steps"] = steps
    path.write_text(json.dumps(settings))
    run("--resume", "-o", "parts")
    run(*options, "--steps", steps, "--equilibrate", "0.01", "-o", "whole")
    sameRun(tmp_path / "whole", tmp_path / "parts")


def test_interrupted_minimisation_is_continued(run, tmp_path, monkeypatch):
    """Ctrl-C while minimising must not leave a half minimised structure to be heated."""
    from openmmflash.cli import _minimize

    original, results = _minimize.relax, []

    def interrupted(context, *arguments, report, **options):
        def reported(iteration, energy):
            if iteration == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return report(iteration, energy)

        original(context, *arguments, report=reported, **options)
        results.append(context.getState(energy=True).getPotentialEnergy()._value)

    options = ("nma.pdb", "--model", "ani.safetensors", "--steps", 40, *BASE)
    with monkeypatch.context() as patch:
        patch.setattr(_minimize, "relax", interrupted)
        assert "--resume" in run(*options, "-o", "out", code=130).output
    output = run("--resume", "-o", "out").output
    before, after = map(float, re.search(r"Minimised: (\S+) -> (\S+) kJ/mol", output).groups())
    assert before == pytest.approx(results[0], abs=1e-3) and after < before - 1
    assert len(readLog(tmp_path / "out" / "log.csv")["step"]) == 2


def test_killed_run_resumes_exactly(run, inputs, tmp_path):
    options = ("nma.pdb", "--model", "ani.safetensors", "--seed", 6, "--interval", 20, "--checkpoint-interval", 70, "--equilibrate", "0.01")
    process = start(inputs, tmp_path, *options, "--steps", 100000000, "-o", "parts")
    waitForRows(process, tmp_path / "parts" / "log.csv", 8)
    process.kill()
    process.communicate()
    path = tmp_path / "parts" / "run.json"
    settings = json.loads(path.read_text())
    assert settings["sessions"][0]["ended"] == "killed"
    rows = (tmp_path / "parts" / "log.csv").read_text().count("\n") - 1
    settings["settings"]["steps"] = (rows + 5) * 20
    path.write_text(json.dumps(settings))
    run("--resume", "-o", "parts")
    run(*options, "--steps", (rows + 5) * 20, "-o", "whole")
    sameRun(tmp_path / "whole", tmp_path / "parts")


def test_the_lock_is_one_file(tmp_path):
    """Whoever opened run.lock while a run held it must exclude others once that run is over: a deleted file would exclude nobody."""
    fcntl = pytest.importorskip("fcntl", reason="this system has no fcntl locks")
    from openmmflash.cli._app import UserError
    from openmmflash.cli._folder import Folder

    first, third = Folder(tmp_path / "out"), Folder(tmp_path / "out")
    first.create(False)
    with open(tmp_path / "out" / "run.lock", "w") as second:
        with pytest.raises(OSError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        first.close()
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(UserError, match="Another openmm-flash run"):
            third.create(False)
    third.create(False)  # a folder with nothing but the lock is empty
    third.close()


def test_two_runs_in_one_folder(run, inputs, tmp_path):
    fcntl = pytest.importorskip("fcntl", reason="this system has no fcntl locks")
    assert fcntl
    process = start(inputs, tmp_path, "nma.pdb", "--model", "ani.safetensors", "--steps", 100000000, "--equilibrate", 0, "-o", "out")
    waitForRows(process, tmp_path / "out" / "log.csv", 1)
    try:
        for options in (("--resume",), ("nma.pdb", "--model", "ani.safetensors", "--steps", 1, "--overwrite")):
            assert "Another openmm-flash run" in run(*options, "-o", "out", code=2).output
    finally:
        process.kill()
        process.communicate()
