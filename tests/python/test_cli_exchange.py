# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash run --temperatures: what it writes, that a resumed run is the whole run, and what is refused."""

import json
import re

import numpy as np
import pytest
import small_models
from test_cli_run import readDcd, readLog, readXtc, sameRun

pytest.importorskip("click", reason="the command line needs the package click")

LADDER = (300.0, 330.0, 370.0)
BASE = (
    "--temperatures",
    "300,330,370",
    "--seed",
    11,
    "--interval",
    20,
    "--checkpoint-interval",
    50,
    "--equilibrate",
    "40fs",
    "--exchange",
    15,
)


@pytest.fixture
def run(tmp_path):
    from click.testing import CliRunner

    from openmmflash.cli._app import app

    small_models.writeBeads(tmp_path / "beads.safetensors")
    small_models.writeBeadStructure(tmp_path / "chain.npz")

    def call(*arguments, command="run", code=0):
        places = {"beads": tmp_path / "beads.safetensors", "chain": tmp_path / "chain.npz"}
        arguments = [str(places.get(a, a)) for a in arguments]
        if command == "run" and "--resume" not in arguments:
            arguments += ["--platform", "CPU"]
        result = CliRunner().invoke(app, [command, *arguments])
        assert result.exit_code == code, result.output
        return result.output

    return call


def readExchanges(path):
    rows = np.loadtxt(path, delimiter=",", skiprows=1, dtype=int, ndmin=2)
    return rows[:, 0], rows[:, 1:]


def test_files(run, tmp_path):
    """A thermostat for each replica and frame, a row for each sweep, statistics that fit them; energies that add up."""
    output = run("chain", "-m", "beads", *BASE, "--steps", 300, "--replicas", 6, "-o", tmp_path / "out")
    assert "3 temperatures from 300 to 370 K, exchanged every 15 steps" in output and "Exchanges: 20 sweeps" in output
    log = readLog(tmp_path / "out" / "log.csv")
    steps, rungs = readExchanges(tmp_path / "out" / "exchanges.csv")
    assert steps.tolist() == list(range(15, 301, 15)) and rungs.shape == (20, 6)
    for half in (rungs[:, :3], rungs[:, 3:]):  # two ladders side by side
        assert (np.sort(half, axis=1) == [0, 1, 2]).all()
    for frame, step in enumerate(log["step"]):
        # Exchanges at the frame's own step come after it: its structure was made at the temperatures before.
        before = rungs[steps < step]
        expected = before[-1] if len(before) else np.tile(np.arange(3), 2)
        assert [log[f"thermostat_{r}_K"][frame] for r in range(6)] == [LADDER[k] for k in expected]
    np.testing.assert_allclose(sum(log[f"potential_{r}_kJ_mol"] for r in range(6)), log["potential_kJ_mol"], atol=1e-3)
    report = json.loads((tmp_path / "out" / "exchange.json").read_text())
    path = np.concatenate([[np.tile(np.arange(3), 2)], rungs])
    swaps = [int(((path[:-1] == i) & (path[1:] == i + 1)).sum()) for i in range(2)]
    assert report["accepted"] == swaps and report["attempted"] == [20, 20] and report["rungs"] == rungs[-1].tolist()
    assert 0 < sum(swaps) < 40  # some are accepted, some are not
    settings = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]
    assert settings["temperatures_K"] == list(LADDER) and settings["temperature_K"] is None and settings["replicas"] == 6


def test_resumed_exchange_is_the_whole_run(run, tmp_path):
    """Stopped at a step that is no frame's and no exchange's, and resumed: the same frames, logs, exchanges and statistics."""
    run("chain", "-m", "beads", *BASE, "--steps", 260, "-o", tmp_path / "whole")
    run("chain", "-m", "beads", *BASE, "--steps", 110, "-o", tmp_path / "parts")
    run("--resume", "-o", tmp_path / "parts", "--steps", 260)
    sameRun(tmp_path / "whole", tmp_path / "parts")
    for name in ("exchanges.csv", "exchange.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert "temperatures is [300.0, 340.0] here" in run(
        "--resume", "-o", tmp_path / "parts", "--temperatures", "300,340", "--steps", 300, code=2
    )
    assert "exchange is 20 here and 15 there" in run("--resume", "-o", tmp_path / "parts", "--exchange", 20, "--steps", 300, code=2)


def test_without_exchange(run, tmp_path):
    """--exchange 0: each replica keeps its temperature, which the motion shows."""
    options = ("--temperatures", "100:900:3", "--exchange", 0, "--friction", 20, "--timestep", 10, "--steps", 3000, "--interval", 30)
    run("chain", "-m", "beads", *options, "--replicas", 12, "--seed", 2, "-o", tmp_path / "out", "--format", "xtc")
    log = readLog(tmp_path / "out" / "log.csv")
    for rung, temperature in enumerate((100, 300, 900)):
        mine = [f"{r}_K" for r in range(rung, 12, 3)]
        assert all((log[f"thermostat_{name}"] == temperature).all() for name in mine)
        assert np.mean([log[f"temperature_{name}"] for name in mine]) == pytest.approx(temperature, rel=0.06)
    assert not (tmp_path / "out" / "exchanges.csv").exists()


@pytest.mark.parametrize("exchange", [0, 1])
def test_unstable_run_says_so(run, tmp_path, exchange):
    """Whoever sees the explosion first, the integrator or an exchange, the message is the same."""
    options = ("--temperatures", "300,330", "--timestep", 300, "--steps", 400, "--no-minimize", "--equilibrate", 0, "--exchange", exchange)
    output = run("chain", "-m", "beads", *options, "--interval", 100, "--seed", 1, "-o", tmp_path / "out", code=2)
    assert "The simulation is unstable" in output and "shorter --timestep" in output
    assert "unstable" in json.loads((tmp_path / "out" / "run.json").read_text())["sessions"][0]["ended"]


@pytest.mark.parametrize("see", [lambda m: m.look("at step 5"), lambda m: m.row(5, 0.1, 1.0, False)], ids=["look", "row"])
@pytest.mark.parametrize("exploded", [False, True])
def test_what_is_unstable(tmp_path, exploded, see):
    """One replica far too hot among many, and coordinates that FlashForce refuses."""
    import openmm

    import openmmflash
    from openmmflash.cli._simulation import Measurement, Unstable
    from openmmflash.replicas import scaleVelocities

    small_models.writeBeads(tmp_path / "beads.safetensors")
    structure, model = small_models.beadChain(), openmmflash.FlashModel(str(tmp_path / "beads.safetensors"))
    system = openmmflash.createSystem(structure, model, replicas=64)
    context = openmm.Context(system, openmm.LangevinMiddleIntegrator(300, 1, 0.004), openmm.Platform.getPlatform("CPU"))
    positions = openmmflash.tilePositions(structure.positions, 64)
    context.setPositions(positions)
    context.setVelocitiesToTemperature(300, 1)
    measurement = Measurement(context, 64, 1, 300.0)
    see(measurement)
    if exploded:
        positions[20, 0] = np.nan
        context.setPositions(positions)
    else:
        scaleVelocities(context, np.where(np.arange(64) == 5, np.sqrt(1e5 / 300), 1))
    with pytest.raises(Unstable, match="NaN" if exploded else "the temperature of replica 5 is"):
        see(measurement)


def test_energies_that_are_not_finite(tmp_path):
    """A platform may give NaN where others refuse the coordinates: an exchange must not pass it off as a mistake in the program."""
    from openmmflash.cli._simulation import Unstable, unstable
    from openmmflash.exchange import TemperatureLadder

    with pytest.raises(Unstable, match="at step 5: energies are"), unstable("at step 5"):
        TemperatureLadder([300, 400], 2, 1).exchange([1.0, float("nan")])
    with pytest.raises(ValueError, match="one for each replica"), unstable("at step 5"):
        TemperatureLadder([300, 400], 2, 1).exchange([1.0])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--temperatures", "300:300.001:8"), "lie too close together"),
        (("--temperatures", "300"), "two or more temperatures"),
        (("--temperatures", "300,300"), "each higher than the one before"),
        (("--temperatures", "450:300:8"), "the first the lowest"),
        (("--temperatures", "300:450:1"), "two or more"),
        (("--temperatures", "300,abc"), "'abc' is not a number"),
        (("--temperatures", "0,300"), "larger than 0 K"),
        (("--temperatures", "300,400", "--temperature", "300"), "Give one of them"),
        (("--temperatures", "300,400", "--replicas", 3), "--replicas 3 does not divide among 2 --temperatures"),
        (("--exchange", 10), "--exchange 10 is about --temperatures"),
    ],
)
def test_wrong_options(run, tmp_path, arguments, message):
    assert message in run("chain", "-m", "beads", *arguments, "-o", tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["dcd", "xtc"])
def test_split(run, tmp_path, form):
    """A file for each replica, or each temperature of each ladder: the frames that the log tells, topology and rows beside them."""
    import openmm.app

    pytest.importorskip("mdtraj", reason="split needs mdtraj")
    read = readDcd if form == "dcd" else lambda path: readXtc(path)[0]
    run("chain", "-m", "beads", *BASE, "--steps", 200, "--replicas", 6, "--format", form, "-o", tmp_path / "out")
    whole, log = read(tmp_path / "out" / f"trajectory.{form}").reshape(10, 6, 6, 3), readLog(tmp_path / "out" / "log.csv")
    tolerance = 1e-6 if form == "dcd" else 2e-3  # XTC rounds
    assert "6 trajectories of 10 frames" in run(tmp_path / "out", command="split")
    for r in range(6):
        np.testing.assert_allclose(read(tmp_path / "out" / "by_replica" / f"replica_{r:03d}.{form}"), whole[:, r], atol=tolerance)
        rows = readLog(tmp_path / "out" / "by_replica" / f"replica_{r:03d}.csv")
        np.testing.assert_array_equal(rows["potential_kJ_mol"], log[f"potential_{r}_kJ_mol"])
    run(tmp_path / "out", "--by", "temperature", "-o", tmp_path / "t", command="split")
    used = np.zeros((10, 6), dtype=int)
    for ladder in range(2):
        for temperature in LADDER:
            name = f"temperature_{temperature:g}K_ladder_{ladder:02d}"
            rows, frames = readLog(tmp_path / "t" / f"{name}.csv"), read(tmp_path / "t" / f"{name}.{form}")
            assert (rows["thermostat_K"] == temperature).all() and (rows["replica"] // 3 == ladder).all()
            np.testing.assert_array_equal(rows["step"], log["step"])
            for f, r in enumerate(rows["replica"].astype(int)):
                assert log[f"thermostat_{r}_K"][f] == temperature
                np.testing.assert_allclose(frames[f], whole[f, r], atol=tolerance)
                used[f, r] += 1
    assert (used == 1).all()
    topology = openmm.app.PDBFile(str(tmp_path / "t" / "topology.pdb")).topology
    assert (topology.getNumAtoms(), topology.getNumBonds()) == (6, 5)
    assert "is not empty" in run(tmp_path / "out", command="split", code=2)
    run(tmp_path / "out", "--overwrite", command="split")


def test_split_of_many_replicas(run, tmp_path):
    """More replicas than files may be open at a time."""
    resource = pytest.importorskip("resource", reason="this system has no limit of open files to set")
    pytest.importorskip("mdtraj", reason="split needs mdtraj")
    run("chain", "-m", "beads", "--steps", 20, "--interval", 10, "--replicas", 60, "-o", tmp_path / "out", "--no-minimize")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(tmp_path / "chain.npz") as file:
        used = file.fileno()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 112, limits[1]))
        assert "60 trajectories of 2 frames" in run(tmp_path / "out", command="split")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    whole = readDcd(tmp_path / "out" / "trajectory.dcd").reshape(2, 60, 6, 3)
    for r in (0, 49, 50, 59):
        np.testing.assert_array_equal(readDcd(tmp_path / "out" / "by_replica" / f"replica_{r:03d}.dcd"), whole[:, r])


@pytest.mark.parametrize("form", ["dcd", "xtc"])
def test_split_of_damaged_runs(run, tmp_path, form):
    """A frame or a row too many is what a killed run leaves; more is told, and no file is made."""
    pytest.importorskip("mdtraj", reason="split needs mdtraj")
    out, options = tmp_path / "out", ("--steps", 50, "--interval", 10, "--replicas", 2, "--format", form, "--no-minimize")
    run("chain", "-m", "beads", *options, "-o", out)
    path, log = out / f"trajectory.{form}", (out / "log.csv").read_text()
    whole, rows = path.read_bytes(), log.splitlines(keepends=True)
    for data, text, frames in ((whole[:-20], log, 4), (whole, "".join(rows[:-1]), 4)):
        path.write_bytes(data)
        (out / "log.csv").write_text(text)
        assert f"2 trajectories of {frames} frames" in run(out, "-o", out / f"{len(data)}", command="split")
    for data, text, message in (
        (whole[: len(whole) * 3 // 5], log, "frames, and .*log.csv 5 rows"),
        (whole, "".join(rows[:-2]), "5 frames, and .*log.csv 3 rows"),
        (whole, log[:-60], "log.csv is damaged"),
        (whole, log[:-3], "log.csv is damaged"),
    ):
        path.write_bytes(data)
        (out / "log.csv").write_text(text)
        assert re.search(message, run(out, command="split", code=2)) and not (out / "by_replica").exists()


def test_split_spares_the_run(run, tmp_path):
    """The run's own topology is that of all replicas; a file for each temperature, however close they are."""
    pytest.importorskip("mdtraj", reason="split needs mdtraj")
    out = tmp_path / "out"
    run("chain", "-m", "beads", "--temperatures", "1000.001,1000.002", "--exchange", 5, "--steps", 20, "--interval", 10, "-o", out)
    before = (out / "topology.pdb").read_bytes()
    assert "is that of a run" in run(out, "-o", out, "--overwrite", command="split", code=2)
    assert (out / "topology.pdb").read_bytes() == before
    run(out, "--by", "temperature", command="split")
    assert len(list((out / "by_temperature").glob("*.dcd"))) == 2 and (out / "by_temperature" / "temperature_1000.002K.csv").exists()


def test_nothing_to_split(run, tmp_path):
    run("chain", "-m", "beads", "--steps", 4, "-o", tmp_path / "one", "--no-minimize")
    run("chain", "-m", "beads", "--steps", 4, "--replicas", 2, "-o", tmp_path / "two", "--no-minimize")
    assert "nothing to split" in run(tmp_path / "one", command="split", code=2)
    assert "Use --by replica" in run(tmp_path / "two", "--by", "temperature", command="split", code=2)
    assert "not the folder of a run" in run(tmp_path, command="split", code=2)
