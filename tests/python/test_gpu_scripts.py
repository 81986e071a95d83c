# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What tests/gpu.sh and benchmarks/gpu.sh are made of, as far as it needs no GPU: what they make of tools' output, and of failures."""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openmmflash.bench import cases
from openmmflash.bench.contenders.devicetrace import summarize
from openmmflash.bench.contenders.modelfile import ModelFile
from openmmflash.bench.process import ProcessFailed

ROOT = Path(__file__).resolve().parents[2]


def load(name, folder=ROOT / "tests" / "gpu"):
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


# What compute-sanitizer writes, of programs and kernels of ours and others.
CLEAN = "========= COMPUTE-SANITIZER\nok     ani single\n========= ERROR SUMMARY: 0 errors\n"
NO_RACE = "========= COMPUTE-SANITIZER\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n"
WRITE = """========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at findPairs(const float4 *, int *)+0x1a0
=========     by thread (33,0,0) in block (2,0,0)
=========     Access to 0x7f1e3c200404 is out of bounds
=========     and is 5 bytes after the nearest allocation at 0x7f1e3c200000 of size 1,024 bytes
=========     Saved host backtrace up to driver entry point at kernel launch time
=========         Host Frame: OpenMM::CudaKernel::execute(int, int) [0x3c0f] in libOpenMMCUDA.so
=========
========= ERROR SUMMARY: 1 error
"""
RACE = """========= COMPUTE-SANITIZER
========= Error: Race reported between Write access at schnetForward+0x90
=========     and Read access at schnetForward+0x100 [508 hazards]
=========
========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)
"""
OPENMM = """========= COMPUTE-SANITIZER
========= Uninitialized __global__ memory read of size 16 bytes
=========     at integrateLangevinMiddlePart1+0x60
=========     by thread (0,0,0) in block (0,0,0)
=========
========= ERROR SUMMARY: 1 error
"""
UNKNOWN = """========= COMPUTE-SANITIZER
========= Internal Sanitizer Error: The Sanitizer encountered an error when tracking an access
=========
========= ERROR SUMMARY: 1 error
"""


class TestSanitizer:
    def judge(self, text, status=0):
        module = load("sanitizer")
        return module.judge(text, status, module.ourKernels())

    def testOurKernelsAreKnown(self):
        assert {"findPairs", "schnetForward", "schnetBackward", "computeAev", "evaluateNetworks"} <= load("sanitizer").ourKernels()

    @pytest.mark.parametrize("text", [CLEAN, NO_RACE])
    def testClean(self, text):
        assert self.judge(text) == {"summary": 0, "ours": {}, "others": {}, "unattributed": [], "passed": True, "reason": ""}

    @pytest.mark.parametrize(("text", "kernel"), [(WRITE, "findPairs"), (RACE, "schnetForward")])
    def testErrorsInOurKernelsFail(self, text, kernel):
        result = self.judge(text, 9)
        assert not result["passed"] and result["ours"] == {kernel: 1} and kernel in result["reason"]

    def testErrorsInOpenMMsKernelsAreCounted(self):
        result = self.judge(OPENMM, 9)
        assert result["passed"] and result["others"] == {"integrateLangevinMiddlePart1": 1}

    @pytest.mark.parametrize(
        ("text", "status", "reason"),
        [
            (UNKNOWN, 9, "Internal Sanitizer Error"),
            (CLEAN.replace("========= ERROR SUMMARY: 0 errors\n", ""), 255, "did not come to its end (exit status 255)"),
            ("", 127, "did not come to its end"),
            (CLEAN, 1, "the program ended with 1"),
            (OPENMM.replace("SUMMARY: 1 error", "SUMMARY: 7000 errors"), 9, "7000 errors, of which only 1"),
        ],
    )
    def testWhatIsNotKnownToBeCleanFails(self, text, status, reason):
        result = self.judge(text, status)
        assert not result["passed"] and reason in result["reason"]

    def testCommand(self, tmp_path):
        log, file = tmp_path / "log", tmp_path / "found.json"
        log.write_text(WRITE)
        command = [sys.executable, ROOT / "tests/gpu/sanitizer.py", log, "--status", "9", "--json", file]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "FAILED: errors in findPairs" in done.stdout
        assert json.loads(file.read_text())["ours"] == {"findPairs": 1}
        log.unlink()  # the tool was not there
        assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def testTraceOfKernels():
    """PyTorch's trace in Chrome's format: launches and time of a step, copies and fills too, without what the host does."""
    events = [
        {"ph": "X", "cat": "kernel", "name": "schnetForward", "ts": 1, "dur": 30.0},
        {"ph": "X", "cat": "kernel", "name": "schnetForward", "ts": 50, "dur": 50.0},
        {"ph": "X", "cat": "gpu_memset", "name": "Memset (Device)", "ts": 2, "dur": 2.0},
        {"ph": "X", "cat": "cuda_driver", "name": "cuLaunchKernel", "ts": 3, "dur": 400.0},
        {"ph": "M", "name": "process_name"},
        {"ph": "f", "cat": "kernel", "name": "ac2g"},
    ]
    assert summarize({"traceEvents": events}, 2) == {"schnetForward": [1.0, 40.0], "Memset (Device)": [0.5, 1.0]}


class TestStandIns:
    """What stands in for packages that a peer imports: in another process, whose imports it changes."""

    def run(self, code, packages="['nvtx', 'loguru', 'absent_one', 'json']"):
        start = f"import sys; from openmmflash.bench.contenders import standins; print(standins.standIn({packages}))\n"
        hide = "import importlib.util as u; find = u.find_spec; u.find_spec = lambda n: None if n in ('nvtx', 'loguru') else find(n)\n"
        return subprocess.run([sys.executable, "-c", hide + start + code], capture_output=True, text=True, check=False)

    def testTheyDoNothingAndSayWhatIsSaid(self):
        code = "import json; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\nimport nvtx\nfrom loguru import logger\n"
        code += "from absent_one.part import Thing\nlogger.remove(); logger.add(3); logger.warning('compiled?')\nf = lambda x: x + 1\n"
        code += "assert nvtx.annotate('a', color='red')(f) is f\nwith nvtx.annotate('b'):\n    print(json.dumps(f(1)), Thing(1, 2) is None)"
        done = self.run(code)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == ["['nvtx', 'loguru', 'absent_one']", "2 False"] and done.stderr.strip() == "compiled?"

    def testNothingElseSeemsToBeThere(self):
        code = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\nimport nvtx\nnvtx.push_range('x')"
        done = self.run(code)
        assert done.returncode == 1 and "the stand-in for nvtx has no push_range: install nvtx" in done.stderr


class TestBenchmarks:
    """benchmarks/gpu.py, as far as it needs no device."""

    @pytest.fixture
    def gpu(self):
        return load("gpu", ROOT / "benchmarks")

    @pytest.fixture
    def bench(self, gpu, tmp_path):
        """makes a Bench whose workers answer as they are told: a function of (adapter, request, arguments)."""

        def make(answer, limit=1e9, **more):
            given = {"limit": limit, "carried": "commit x", "platform": "CPU", "seconds": 0.0, "small": True, "time_limit": 60.0}
            given |= {"no_ours": False, "no_peers": False, "program": "", "mlcg": None, "flashmd": None, "output": tmp_path / "gpu.json"}
            made = gpu.Bench(argparse.Namespace(**(given | more)), tmp_path)

            class Process:
                def __init__(self, environment):
                    self.environment = environment

                def ask(self, do, **arguments):
                    return answer(do, arguments)

                def close(self):
                    pass

            made._process = lambda folder, name, environment=None, threads=None: Process(environment)
            return made

        return make

    @staticmethod
    def works(do, arguments):
        """A worker that has four zero forces of each case."""
        if do == "evaluate":
            np.savez(arguments["file"], energies=np.ones(1), forces=np.ones((4, 3)))
        if do == "time":
            return {"times": [0.001 if arguments["axis"] == "step" else 0.004], "cpu": 0.0}
        return {"versions": {}, "notes": [], "result": None}

    @staticmethod
    def build(folder, test="polyala", model="random"):
        folder.mkdir()
        np.savez(folder / "system.npz", frames=np.zeros((1, 4, 3)))
        return cases.Case(test, "4", folder, model, "ani" if test == "polyala" else "schnet", 4, 1, 6, 0.5, 1e-6)

    def found(self, bench):
        return [(entry["case"], entry["program"].split(",")[0], entry["status"]) for entry in bench.document["benchmarks"]]

    def testOursComesFirst(self, bench, tmp_path):
        made = bench(self.works)
        made.runAll([("one", self.build), ("two", self.build)])
        seen = [program == "openmm-flash" for _, program, status in self.found(made)]
        assert seen == sorted(seen, reverse=True) and seen.count(True) == 4
        entry = json.loads((tmp_path / "gpu.json").read_text())["benchmarks"][0]
        assert (entry["ms"], entry["total_ms"], entry["pairs"], entry["timestep_fs"]) == (1.0, 4.0, 6, 1e-3)
        assert json.loads((tmp_path / "gpu.json").read_text())["carried"] == "commit x"

    def testPeersAlone(self, bench):
        asked = []
        made = bench(
            lambda do, arguments: (asked.append(arguments.get("job", {}).get("priors")), self.works(do, arguments))[1], no_ours=True
        )
        made.runAll([("one", self.build)])
        assert self.found(made) and not any(program == "openmm-flash" for _, program, _ in self.found(made))
        assert asked.count("none") == 1  # what they are compared with; ours is neither compiled nor timed

    def testTablesBesideFiltersOfLowRank(self, bench):
        seen = []

        def answer(do, arguments):
            return self.works(do, arguments)

        made = bench(answer, no_peers=True)
        process = made._process
        made._process = lambda folder, name, environment=None, threads=None: (
            seen.append((name, environment)),
            process(folder, name, environment),
        )[1]
        made.runAll([("smooth", lambda folder: self.build(folder, "cg", "cgschnet-gaussian-smooth"))])
        assert ("openmm-flash, single, tables", {"OPENMMFLASH_DEVICE_FILTER": "1"}) in seen

    def testWhatWasTimedStaysWhereTheProfileFails(self, bench):
        def answer(do, arguments):
            if do == "call" and arguments["method"] == "profile":
                raise ProcessFailed("no CUPTI")
            return self.works(do, arguments)

        made = bench(answer, no_peers=True)
        made.runAll([("one", self.build)])
        assert {entry["status"] for entry in made.document["benchmarks"]} == {"ok"} and not made.failed
        assert made.document["benchmarks"][0]["profile_error"] == "no CUPTI" and made.document["benchmarks"][0]["ms"] == 1.0

    def testAnInterruptLeavesOutTheRest(self, bench, tmp_path):
        def answer(do, arguments):
            if do == "time":
                raise KeyboardInterrupt
            return self.works(do, arguments)

        made = bench(answer)
        made.runAll([("one", self.build), ("two", self.build)])
        found = json.loads((tmp_path / "gpu.json").read_text())["benchmarks"]
        assert [(entry["case"], entry["program"], entry["reason"]) for entry in found] == [
            (label, program, "interrupted") for program in ("openmm-flash", "peers") for label in ("one", "two")
        ]

    def testNoAnswerComesAfterTheLimit(self, gpu, bench):
        """A program that is ended because no time is left has not failed."""
        limits = []

        def answer(do, arguments):
            if do == "time":
                made.end = 0.0
                raise ProcessFailed("no answer")
            return self.works(do, arguments)

        made = bench(answer, limit=20.0, no_peers=True)
        ask = made._ask

        def watched(process, do, **what):
            found = ask(process, do, **what)
            limits.append(process.timeLimit)
            return found

        made._ask = watched
        made.runAll([("one", self.build)])
        assert max(limits) <= 20.0 + gpu.GRACE and not made.failed
        assert {status for _, _, status in self.found(made)} == {"left out"}

    @pytest.mark.parametrize("model", ["cgschnet-gaussian-random", "exp-normal"])
    def testPeersThatAreNotThere(self, gpu, bench, tmp_path, model, monkeypatch):
        """torch_cluster searches in each step: nothing stands in for it, and what to do is said."""
        find = gpu.importlib.util.find_spec
        monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None if name == "torch_cluster" else find("json"))
        made = bench(self.works, mlcg="x", flashmd="x")
        case = self.build(tmp_path / "case", "cg", model)
        flashmd, mlcg = gpu.contenders(case, made.arguments, True)
        assert mlcg.absent.startswith("not installed: torch_cluster; torch_cluster is to be compiled with nvcc")
        assert ("Gaussian functions only" in flashmd.absent) == (model == "exp-normal") and flashmd.absent
        monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: find("json"))
        assert [c.absent for c in gpu.contenders(case, made.arguments, True)][1] == ""

    def testSmoothFiltersAreOfLowRank(self, gpu, tmp_path):
        """Their singular values fall off as they must for a rank of at most 32; those of the published shape do not."""
        values = {}
        for smooth in (False, True):
            case = gpu.cgCase(tmp_path / str(smooth), 1, smooth=smooth)
            model = ModelFile(case.folder / "model.safetensors")
            tensors = model.tensors
            r = np.linspace(0.5, 15.0, 400)[:, None]
            basis = np.exp(tensors["members.0.basis.coefficients"] * (r - tensors["members.0.basis.means"]) ** 2)
            hidden = np.tanh(basis @ tensors["members.0.blocks.0.filter.0.weight"].T + tensors["members.0.blocks.0.filter.0.bias"])
            singular = np.linalg.svd(hidden @ tensors["members.0.blocks.0.filter.1.weight"].T, compute_uv=False)
            values[smooth] = singular[32] / singular[0]
            assert case.timestep == gpu.STANDSTILL
        assert values[True] < 1e-7 and values[False] > 1e-5


def testCudaTakesOpenCLsPlace():
    """In the lists, in the decorators and in the names that tests import: on a GPU nothing may run on PoCL in its stead."""
    code = "import platforms, cuda_platforms; from platforms import *\n"
    code += "print(OPENCL_SINGLE, OPENCL_DOUBLE, [str(p) for p in PRECISIONS], eachPlatform.args[1] is PLATFORMS)\n"
    code += "print([str(p) for p in inLongRuns.args[1]], onHosts.args[1], REFERENCE)"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/tests/python:{ROOT}/tests/gpu", "GPU_PLATFORM": "CUDA"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == [
        "CUDA-single CUDA-double ['Reference', 'CUDA-single', 'CUDA-mixed', 'CUDA-double'] True",
        "['Reference', 'CUDA-single'] [] Reference",
    ]


class TestSteps:
    """The shell functions."""

    def run(self, tmp_path, script, deadline=60):
        setup = f"set -euo pipefail; OUTPUT={tmp_path}; DEADLINE={deadline}; . {ROOT}/tests/gpu_environment.sh; "
        return subprocess.run(["bash", "-c", setup + script], capture_output=True, text=True, check=False, timeout=60)

    def steps(self, tmp_path):
        lines = (tmp_path / "steps.jsonl").read_text().splitlines()
        return {entry["step"]: entry["status"] for entry in map(json.loads, lines)}

    def testAFailureStopsNoOther(self, tmp_path):
        done = self.run(tmp_path, "step bad sh -c 'echo why; exit 3'; step good true & step gone /no/such; wait")
        assert done.returncode == 0 and "why" in done.stdout and "FAILED bad (exit status 3)" in done.stdout
        assert self.steps(tmp_path) == {"bad": 3, "good": 0, "gone": 127}
        assert (tmp_path / "bad.log").read_text() == "why\n"

    def testTimeIsLimited(self, tmp_path):
        """An interrupt comes first, in the background too, so that a program can write what it has."""
        program = "import signal, time\ntry:\n time.sleep(50)\nexcept KeyboardInterrupt:\n print('interrupted')"
        done = self.run(tmp_path, f'step slow bounded 1 {sys.executable} -c "{program}" & wait')
        assert done.returncode == 0 and self.steps(tmp_path) == {"slow": 124}
        assert "interrupted" in (tmp_path / "slow.log").read_text()

    def testNothingStartsAfterTheDeadline(self, tmp_path):
        self.run(tmp_path, f"step late bounded 50 touch {tmp_path}/made", deadline=0)
        assert self.steps(tmp_path) == {"late": 124} and not (tmp_path / "made").exists()

    def testResults(self, tmp_path):
        command = [sys.executable, ROOT / "tests/gpu/results.py", tmp_path]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 1  # nothing was run
        (tmp_path / "carried.txt").write_text("openmm-flash 0.1.0, commit 0123\n")
        (tmp_path / "cases.json").write_text('[{"case": "ani", "passed": true}]')
        (tmp_path / "half.json").write_text("[")
        (tmp_path / "pytest.xml").write_text('<testsuites><testsuite name="a" errors="1" failures="2" skipped="0" tests="9" time="1.0">')
        self.run(tmp_path, "step good true")
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        self.run(tmp_path, "step bad false")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "FAILED bad" in done.stdout and "1 steps passed, 1 failed" in done.stdout
        found = json.loads((tmp_path / "results.json").read_text())
        assert found["failed"] == ["bad"] and found["cases"][0]["passed"] and "unreadable" in found["half"]
        assert found["pytest"] == {"errors": 1, "failures": 2, "skipped": 0, "tests": 9} and "hostname" in found["system"]
        assert found["carried"] == "openmm-flash 0.1.0, commit 0123"

    @pytest.mark.parametrize("script", ["tests/gpu.sh", "benchmarks/gpu.sh"])
    def testAnEnvironmentThatCannotBeMade(self, tmp_path, script):
        """No carried.txt: said, in results.json, and a failure."""
        (tmp_path / "carried").mkdir()
        done = subprocess.run(["bash", ROOT / script, tmp_path / "carried", tmp_path / "out"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "make it with tests/gpu_prepare.sh" in done.stdout
        assert json.loads((tmp_path / "out" / "results.json").read_text())["failed"] == ["environment"]

    @pytest.mark.parametrize("script", ["tests/gpu.sh", "benchmarks/gpu.sh"])
    def testResultsOfAnotherRunAreKept(self, tmp_path, script):
        (tmp_path / "carried").mkdir()
        files = dict.fromkeys(("steps.jsonl", "results.json", "pytest.log"), "{}")
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        done = subprocess.run(["bash", ROOT / script, tmp_path / "carried", tmp_path], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "has the results of another run" in done.stderr and "name another folder" in done.stderr
        assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == files


def testWhatIsNotKnownIsRefused(tmp_path):
    """A word that would otherwise leave something out, and a Python that is a name only."""
    command = ["bash", ROOT / "tests/gpu.sh", tmp_path, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"SANITIZER": "none"})
    assert done.returncode == 2 and "SANITIZER is 'none'; it can be yes, no or only" in done.stderr
    command, environment = ["bash", ROOT / "tests/gpu_prepare.sh", tmp_path / "carried"], os.environ | {"PYTHON": "python3.99"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2 and "PYTHON is python3.99, which cannot be run: give PYTHON=/path/to/" in done.stderr
    assert not (tmp_path / "carried").exists()


def testLowRankCasesAreOfLowRank():
    """To any tolerance, and with more channels than functions: otherwise they would be refused, or show nothing."""
    code = "import cases, numpy\n"
    code += "tensors = cases.lowRankParts()[1]\n"
    code += "weights = [value for name, value in tensors.items() if name.endswith('filter.1.weight')]\n"
    code += "print([(value.shape, int(numpy.linalg.matrix_rank(value))) for value in weights])\n"
    code += "print([name for name in cases.SMALL if cases.MODELS[name].lowRank])"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/tests/python:{ROOT}/tests/gpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["[((96, 96), 20), ((96, 96), 20)]", "['low-rank', 'low-rank-replicas']"]
