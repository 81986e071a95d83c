# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The CUDA plugin on machines without a GPU: it loads, has our kernel, and what is in the way is said."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAKE_CONTEXT = """
import openmm, openmmflash
from openmmflash.cli import _platforms
failures = openmm.Platform.getPluginLoadFailures()
assert not failures, failures
platform = openmm.Platform.getPlatformByName("CUDA")
print("supported:", platform.supportsKernels(["CalcFlashForce"]))
print("reason:", _platforms.whyNot(platform))
"""


def testWithoutADevice(machine):
    """With all symbols bound at once: none is missing but the driver's."""
    code, output = machine.run("none", "-c", MAKE_CONTEXT)
    assert code == 0, output
    assert "supported: True" in output
    assert re.search(r"reason: Error initializing CUDA: CUDA_ERROR_NO_DEVICE \(100\)", output), output


def testWithoutADriver(machine):
    """Nothing breaks: the other platforms work, and the failure is told."""
    code, output = machine.run(
        "nothing",
        "-c",
        "import openmm, openmmflash\n"
        "from openmmflash.cli import _platforms\n"
        "print([f for f in openmm.Platform.getPluginLoadFailures() if 'FlashCUDA' in f])\n"
        "print('CPU:', _platforms.whyNot(openmm.Platform.getPlatform('CPU')))",
    )
    assert code == 0, output
    assert "libOpenMMFlashCUDA.so: libcuda.so.1" in output and "CPU: None" in output


def testKernelsAreNotMadeUp(machine):
    """The factory knows one name. (A platform with every kernel would also pass the test above.)"""
    code, output = machine.run("none", "-c", MAKE_CONTEXT.replace('"CalcFlashForce"', '"CalcFlashForces"'))
    assert code == 0 and "supported: False" in output, output


@pytest.mark.parametrize(
    "kind, arguments, expected",
    [
        ("nothing", {}, ["driver         no: no NVIDIA driver is installed", "Without a GPU, ignore it"]),
        ("none", {}, ["driver         no: cuInit gives CUDA_ERROR_NO_DEVICE (100): there is no GPU, or CUDA_VISIBLE_DEVICES hides it"]),
        ("record", {"version": 12040}, ["driver         no: for CUDA 12.4, 1 GPU, but OpenMM-CUDA-13 needs driver 580", "[cuda12]"]),
        ("record", {"version": 13000}, ["compiler       no: nvidia-cuda-nvrtc ", 'pip install "nvidia-cuda-nvrtc==13.0.*"']),
        (
            "record",
            {"version": 13990},
            ["driver         for CUDA 13.99, 1 GPU", "GPU            0: Recording driver, compute capability 9.0\n"],
        ),
        ("record", {"capability": 61}, ["compute capability 6.1: no: CUDA 13 needs 7.5 or newer", "openmm-flash[cuda12]"]),
    ],
)
def testDiagnose(machine, kind, arguments, expected):
    import importlib.metadata

    try:
        compiler = importlib.metadata.version("nvidia-cuda-nvrtc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("for CUDA 13")
    if "compiler" in expected[0] and compiler.startswith("13.0."):
        pytest.skip("NVRTC 13.0 is not newer than a driver for 13.0")
    code, output = machine.run(kind, "-m", "openmmflash", "diagnose", **arguments)
    assert code == 0, output
    assert re.search(r"wheels +OpenMM-CUDA-13 8\.6\.\d+ and OpenMM-Flash's plugin for it", output), output
    for text in expected:
        assert text in output
    assert ("compiler " in output) == ("compiler" in expected[0] or kind == "record" and "capability" in arguments)


MAKE_LARGE_WEIGHT = """
import openmm, openmmflash
from openmmflash.bench import models
from openmmflash.convert._writer import modelBytes
metadata, tensors = models.schnetPack()
tensors["members.0.blocks.0.output.1.weight"][3, 5] = 70000
system, force = openmm.System(), openmmflash.FlashForce(openmmflash.FlashModel.fromBytes(modelBytes(metadata, tensors)))
for i in range(2):
    system.addParticle(12)
    force.addParticle(i, 1, 0)
system.addForce(force)
openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("CUDA"))
"""


def testWeightsBeyondHalves(machine):
    """Tensor cores take halves and sums of two: a weight that is neither is told, with what to do, before anything is calculated."""
    code, output = machine.run("record", "-c", MAKE_LARGE_WEIGHT)
    assert code != 0, output
    assert "a layer's weight is too large for tensor cores: 70000 has no half precision number; the largest is 65504. Use" in output, output


CHOOSE_FILTERS = f"""
import sys
sys.path[:0] = [{str(ROOT / "tests/gpu")!r}, {str(ROOT / "tests/python")!r}]
import cases, openmm, openmmflash
from openmmflash.convert._writer import modelBytes
model = openmmflash.FlashModel.fromBytes(modelBytes(*cases.lowRankParts()))
for precision in ("single", "double"):
    for tolerance in (1e-6, 1.1e-8, 9e-9):
        system, force = openmm.System(), openmmflash.FlashForce(model)
        force.setTableTolerance(tolerance)
        for i in range(2):
            system.addParticle(12)
            force.addParticle(i, 1, 0)
        system.addForce(force)
        platform = openmm.Platform.getPlatform("CUDA")
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, {{"Precision": precision}})
        print(precision, tolerance, force.getCompilationReport(context)["network"]["filter"])
"""


def testChoiceOfFilters(machine):
    """Low rank unasked: where there are tensor cores, and no tolerance finer than its points."""
    code, output = machine.run("record", "-c", CHOOSE_FILTERS)
    assert code == 0, output
    expected = ["single 1e-06 lowRank", "single 1.1e-08 lowRank", "single 9e-09 table"]
    assert output.splitlines()[-6:] == [*expected, *(f"double {tolerance} table" for tolerance in ("1e-06", "1.1e-08", "9e-09"))], output


def testDiagnoseOfMissingWheels(monkeypatch):
    from openmmflash.cli import _cuda

    monkeypatch.setattr(_cuda, "findPlugin", lambda name: None)
    assert "is not installed" in _cuda.wheels() and "openmm-flash[cuda13]" in _cuda.wheels() and "openmm-flash[cuda12]" in _cuda.wheels()
    monkeypatch.setattr(_cuda, "findPlugin", lambda name: name if name == _cuda.OPENMM_PLUGIN else None)
    monkeypatch.setattr(_cuda, "installed", {"OpenMM-CUDA-12": "8.6.1"}.get)
    assert "not OpenMM-Flash's plugin" in _cuda.wheels() and 'pip install "openmm-flash[cuda12]"' in _cuda.wheels()
    monkeypatch.setattr(_cuda, "findPlugin", lambda name: name)
    monkeypatch.setattr(_cuda, "installed", {"OpenMM-CUDA-12": "8.6.1", "openmm-flash-cuda-12": "0.0.9"}.get)
    assert "0.0.9 is not of this version" in _cuda.wheels()
    monkeypatch.setattr(_cuda, "installed", {"OpenMM-CUDA-12": "8.6.1", "openmm-flash-cuda-13": "0.1.0"}.get)
    assert "do not belong together" in _cuda.wheels()


def testWheelsHaveOneVersion():
    """That of the main wheel, which they and its extras name."""

    def read(path):
        return (ROOT / path).read_text()

    version = re.search(r'^version = "(.*)"', read("pyproject.toml"), re.MULTILINE)[1]
    for cuda in ("12", "13"):
        text = read(f"packaging/cuda{cuda}/pyproject.toml")
        assert f'\nversion = "{version}"\n' in text and f'"openmm-flash=={version}"' in text
        assert f'cuda{cuda} = ["openmm-flash-cuda-{cuda}=={version}"]' in read("pyproject.toml")
