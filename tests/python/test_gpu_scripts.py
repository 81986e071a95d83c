# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What tests/gpu.sh and benchmarks/gpu.sh are made of, as far as it needs no GPU: what they make of tools' output, and of failures."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from openmmflash.bench.contenders.devicetrace import summarize

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "gpu" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
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

    @pytest.mark.parametrize("script", ["tests/gpu.sh", "benchmarks/gpu.sh"])
    def testAnEnvironmentThatCannotBeMade(self, tmp_path, script):
        """No carried.txt: said, in results.json, and a failure."""
        (tmp_path / "carried").mkdir()
        done = subprocess.run(["bash", ROOT / script, tmp_path / "carried", tmp_path / "out"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "make it with tests/gpu_prepare.sh" in done.stdout
        assert json.loads((tmp_path / "out" / "results.json").read_text())["failed"] == ["environment"]
