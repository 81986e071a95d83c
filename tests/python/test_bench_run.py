# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash bench measures: processes, peers that are right and peers that are not, the command. No times are tested."""

import importlib.metadata
import importlib.util
import json
import sys

import numpy as np
import pytest
import small_models

from openmmflash.bench import cases, models, results, runner
from openmmflash.bench.process import MeasuredProcess, ProcessFailed
from openmmflash.bench.programs import PROGRAMS, Program
from platforms import onHosts

pytest.importorskip("click", reason="the command line needs the package click")

# An adapter built on ours: `forces` and `energies` say what it makes of the right ones.
PEER = """
from contenders.ours import Adapter as Ours

class Adapter(Ours):
    axes = ("total",)
    def __init__(self, options):
        super().__init__(options | {"priors": "none"})
    def evaluate(self):
        energies, forces = super().evaluate()
        return {energies}, {forces}
"""


@pytest.fixture
def ani(tmp_path):
    return small_models.writeAni(tmp_path / "ani.safetensors", members=2)


def settings(platform, **more):
    given = {"threads": 1, "seconds": 0.0, "rounds": 2, "timeLimit": 300.0}
    return runner.Settings(platform.name, **(given | more))


def peer(tmp_path, name="fake", energies="energies", forces="forces", source=PEER):
    path = tmp_path / f"{name}.py"
    path.write_text(source.replace("{energies}", energies).replace("{forces}", forces))
    return Program(name, str(path), ("polyala", "cg"), ("ani", "schnet"), torch=False)


@onHosts
def testPeersAreComparedBeforeTheyAreTimed(platform, ani, tmp_path):
    case = cases.polyalaCase(tmp_path / "case", ani, 22)
    peers = (
        peer(tmp_path, "right"),
        peer(tmp_path, "wrongforces", forces="1.001 * forces"),
        peer(tmp_path, "wrongenergy", energies="energies + 5.0"),
        peer(tmp_path, "nan", forces="forces * float('nan')"),
        peer(tmp_path, "fewer", forces="forces[1:]"),
        peer(tmp_path, "raises", forces="1 / 0"),
        peer(tmp_path, "dies", forces="__import__('os')._exit(7)"),
    )
    everyone = runner.measure(case, peers, settings(platform))
    status = {c.program: c.status for c in everyone}
    assert status == {
        "openmm-flash": "ok",
        "right": "ok",
        "wrongforces": "disagrees",
        "wrongenergy": "disagrees",
        "nan": "disagrees",
        "fewer": "disagrees",
        "raises": "failed",
        "dies": "failed",
    }
    found = {c.program: c for c in everyone}
    assert [len(times) for times in found["right"].rounds["total"]] == [3, 3]
    assert found["right"].agreement["forceDifference"] < 1e-6
    assert all(not found[name].rounds for name, state in status.items() if state != "ok")
    assert found["wrongforces"].agreement["forceDifference"] == pytest.approx(1e-3, rel=0.01)
    assert "ZeroDivisionError" in found["raises"].reason and "ended with code 7" in found["dies"].reason
    assert [ratio["program"] for ratio in results.ratios(case, everyone)] == ["right"]
    assert all(c.process is None for c in everyone)
    assert 0 < found["openmm-flash"].peak < 2e9
    lines = "\n".join(results.table(case, [results.record(case, c, settings(platform)) for c in everyone], []))
    assert lines.count("disagrees:") == 4 and lines.count("failed:") == 2


@onHosts
def testOursIsComparedWithoutPriors(platform, tmp_path, monkeypatch):
    """cg: what is compared is the network of each replica; what is timed has the priors."""
    original = models.cgSchNet
    monkeypatch.setattr(models, "cgSchNet", lambda weights=None: original(hidden=8, blocks=1, basis=8, readout=(8,), weights=weights))
    case = cases.cgCase(tmp_path / "case", 2, "all")
    alone = peer(tmp_path, "alone")
    everyone = runner.measure(case, (alone,), settings(platform))
    assert [c.status for c in everyone] == ["ok", "ok"]
    assert everyone[0].job["priors"] == "all" and "step" in everyone[0].rounds
    with np.load(case.folder / "results.npz") as data:
        assert data["energies"].shape == (2,) and data["forces"].shape == (538, 3)
    energy, step = results.ratios(case, everyone)
    assert "all priors" in step["what"]


def testOursMustWork(ani, tmp_path):
    case = cases.polyalaCase(tmp_path / "case", ani, 22)
    (case.folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ProcessFailed, match="22 atoms"):
        runner.measure(case, (), runner.Settings("Reference", 1, timeLimit=300.0))


class TestProcess:
    def start(self, tmp_path, source, **limits):
        (tmp_path / "adapter.py").write_text(source)
        given = {"memoryLimit": 8e9, "timeLimit": 300.0} | limits
        process = MeasuredProcess(sys.executable, 1, {"MINE": "yes"}, tmp_path / "log", **given)
        process.ask("load", adapter=str(tmp_path / "adapter.py"), job={})
        return process

    BASE = "class Adapter:\n    axes = ('total',)\n    def __init__(self, options): pass\n    def load(self): return {}\n"

    def testMemoryIsWhatTheProcessUses(self, tmp_path):
        source = self.BASE + "    def build(self):\n        self.kept = bytearray(b'x') * 100_000_000\n        del self.kept\n"
        process = self.start(tmp_path, source)
        before = process.ask("memory")["peak"]
        process.ask("build")
        assert 0.9e8 < process.ask("memory")["peak"] - before < 1.5e8
        process.close()

    def testMemoryLimit(self, tmp_path):
        source = (
            self.BASE + "    def build(self):\n        self.kept = bytearray(b'x') * 600_000_000\n        import time; time.sleep(100)\n"
        )
        process = self.start(tmp_path, source, memoryLimit=4e8)
        with pytest.raises(ProcessFailed, match="more than 0.4 GB"):
            process.ask("build")
        assert process.process.poll() is not None

    def testTimeLimit(self, tmp_path):
        process = self.start(tmp_path, self.BASE + "    def build(self):\n        import time; time.sleep(100)\n")
        process.timeLimit = 1.0
        with pytest.raises(ProcessFailed, match="no answer within 1 s"):
            process.ask("build")

    def testEnvironmentAndOutput(self, tmp_path):
        """What a program prints does not get among the answers; threads are set for every library."""
        source = self.BASE + "    def build(self):\n        print('{\"x\": 1}')\n"
        source += "    def seen(self):\n        import os; return [os.environ[k] for k in ('MINE', 'OMP_NUM_THREADS', 'MKL_NUM_THREADS')]\n"
        process = self.start(tmp_path, source)
        assert process.ask("build")["axes"] == ["total"]
        assert process.ask("call", method="seen")["result"] == ["yes", "1", "1"]
        process.close()
        assert '{"x": 1}' in (tmp_path / "log").read_text()


def peersHere():
    """Those of our peers that this Python has."""
    versions = {}
    for name in ("torchani", "schnetpack"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    wanted = {"torchani22": versions.get("torchani", "").startswith("2.2"), "torchani29": versions.get("torchani", "").startswith("2.9")}
    wanted["schnetpack"] = "schnetpack" in versions
    if importlib.util.find_spec("torch") is None:
        return []
    return [program for program in PROGRAMS if wanted.get(program.name)]


@pytest.mark.parametrize("test", ["polyala", "water"])
@pytest.mark.parametrize("program", peersHere(), ids=lambda program: program.name)
def testInstalledPeersAgree(program, test, ani, tmp_path):
    """The adapters build the very model: another program, its own code, the same energies and forces."""
    model = cases.schnetModel(tmp_path) if program.name == "schnetpack" else ani
    if test == "water" and program.name == "schnetpack":
        pytest.skip("192 atoms and a model of this size take too long on the Reference platform")
    case = (cases.polyalaCase if test == "polyala" else cases.waterCase)(tmp_path / "case", model, 22)
    everyone = runner.measure(case, (program,), runner.Settings("Reference", 1, seconds=0.0, rounds=1, malloc=("plain",), timeLimit=300.0))
    assert len(everyone) >= 2
    for c in everyone[1:]:
        assert c.status == "ok", c.reason
        assert c.agreement["forceDifference"] < 2e-5


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """invoke(*arguments, code=0) -> output, in an empty folder."""
    from click.testing import CliRunner

    from openmmflash.cli._app import app

    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        result = CliRunner().invoke(app, ["bench", *map(str, arguments)])
        assert result.exit_code == code, result.output
        return result.output

    return call


@onHosts
def testCommand(platform, invoke, ani, tmp_path):
    pytest.importorskip("matplotlib", reason="plots are drawn with the package matplotlib")
    output = invoke(
        *("--test", "polyala", "--model", ani, "--atoms", "22,30", "--platform", platform.name, "--peers", "none", "--threads", 1),
        *("--seconds", 0, "--rounds", 1, "--outfile", "o.json", "--plot", "o.png", "--profile", "--folder", "kept"),
    )
    assert "22 atoms, 22 particles" in output and "32 atoms, 32 particles" in output
    with open("o.json") as file:
        document = json.load(file)
    assert document["system"]["cpuinfo"] in output and document["settings"]["platform"] == platform.name
    entries = document["benchmarks"]
    assert [(entry["atoms"], entry["form"]) for entry in entries] == [(22, ""), (22, "profiled"), (32, ""), (32, "profiled")]
    first = entries[0]
    assert first["test"] == "polyala" and first["model"] == "tinyani" and first["program"] == "openmm-flash" and first["status"] == "ok"
    assert first["threads"] == 1 and first["precision"] == ("double" if platform.name == "Reference" else "single")
    assert first["pairs"] > 22 and first["malloc"] == "plain" and first["platform"] == platform.name
    for axis in ("total", "reused", "energy", "step"):
        assert first["axes"][axis]["evaluations"] >= 5 and 0 < first["axes"][axis]["min_ms"] <= first["axes"][axis]["median_ms"]
    assert first["peak_memory_bytes"] > 0 and first["atoms_per_second"] > 0 and first["ns_per_day"] > 0
    assert {"openmm-flash", "openmm", "numpy"} <= first["versions"].keys() and first["report"]["platform"] == platform.name
    assert (tmp_path / "o.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "kept" / "case0" / "model.safetensors").is_file()
    if platform.name == "CPU":
        stages = [axis for axis in entries[1]["axes"] if axis.startswith("stage ")]
        assert {"stage neighborList", "stage descriptor", "stage networks"} <= set(stages)
        assert "stage networks"[6:] in output


def testCommandWithAPeer(invoke, ani, tmp_path, monkeypatch):
    from openmmflash.bench import programs

    monkeypatch.setattr(programs, "PROGRAMS", (peer(tmp_path, "amber"),))
    arguments = ("--test", "polyala", "--model", ani, "--atoms", 22, "--platform", "Reference", "--seconds", 0, "--rounds", 1)
    output = invoke(*arguments, "--peers", "amber", "--style", "simple", "--outfile", "o.json", "--verbose")
    assert "peers: amber" in output and "program: amber" in output
    with open("o.json") as file:
        assert [ratio["program"] for ratio in json.load(file)["ratios"]] == []  # a yardstick has steps; this one has none


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--test", "nonsense"], "'nonsense' is not known; there are polyala, cg, water"),
        (["--atoms", "21"], "21 is not between 22 and 50002"),
        (["--atoms", "60000"], "60000 is not between"),
        (["--atoms", "many"], "is not a list of whole numbers"),
        (["--replicas", "1,129"], "129 is not between 1 and 128"),
        (["--replicas", "0"], "0 is not between 1 and 128"),
        (["--platform", "Fast"], "There is no platform 'Fast'"),
        (["--platform", "Reference", "--precision", "half"], "always calculates in double precision"),
        (["--outfile", "x.yaml"], "ends with .json"),
        (["--outfile", "none/x.json"], "there is no folder"),
        (["--plot", "x.gif"], "ends with .png, .pdf or .svg"),
        (["--peers", "lammps"], "--peers lammps: there are torchani22"),
        (["--peers", "mlcg"], "The peer mlcg cannot be measured: it is found by --peer-path mlcg=PATH alone"),
        (["--peer-python", "torchani29"], "is not NAME=PATH"),
        (["--peer-python", "other=/bin/sh"], "is not NAME=PATH"),
        (["--peer-python", "mlcg=/none/such"], "there is no /none/such"),
        (["--peers", "amber", "--peer-python", "amber=/bin/false"], "cannot be run as a Python"),
        (["--test", "cg", "--beads", "none.npz", "--peers", "none"], "none.npz"),
        (["--model", "none.safetensors"], "none.safetensors"),
        (["--threads", "0"], "0 is not in the range"),
        (["--rounds", "0"], "0 is not in the range"),
        (["--memory-limit", "0"], "is not in the range"),
    ],
)
def testWrongOptions(invoke, arguments, message):
    platform = [] if "--platform" in arguments else ["--platform", "Reference"]
    output = invoke(*platform, *arguments, code=2)
    assert message in " ".join(output.split()) and "Traceback" not in output


def testModelsThatDoNotFit(invoke, tmp_path):
    small_models.writeBeads(tmp_path / "beads.safetensors")
    output = invoke("--platform", "Reference", "--test", "polyala", "--model", "beads.safetensors", "--peers", "none", code=2)
    assert "has no type for H, C, N, O, which polyala needs; it knows A B" in " ".join(output.split())


def testMemoryLimitOfOurs(invoke, ani):
    arguments = ("--platform", "Reference", "--test", "polyala", "--model", ani, "--atoms", 22, "--peers", "none")
    output = invoke(*arguments, "--memory-limit", 0.02, code=2)
    assert "OpenMM-Flash itself could not be measured" in output and "more than 0.02 GB" in output
