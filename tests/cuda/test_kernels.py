# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Every program that OpenMM compiles for a GPU: by NVRTC as OpenMM calls it, then by ptxas. And what a step would launch and wait for."""

import re
from pathlib import Path

import pytest
import recording
import specialisations


@pytest.fixture(scope="module", params=recording.CAPABILITIES, ids=lambda capability: f"sm_{capability}")
def published(request, tmp_path_factory):
    """(recordings, resources) of the published models on one architecture."""
    recordings = recording.record(list(specialisations.specialisations()), request.param, tmp_path_factory.mktemp("published"))
    return recordings, recording.assembleAll(recordings, request.param)


@pytest.fixture(scope="module", params=(75,), ids=lambda capability: f"sm_{capability}")
def dialects(request, tmp_path_factory):
    recordings = recording.record(list(specialisations.dialects()), request.param, tmp_path_factory.mktemp("dialects"))
    return recordings, recording.assembleAll(recordings, request.param)


def refusals(recordings):
    return [f"{name}: {text}" for name, recording in recordings.items() for text in recording.refusals]


def testPublishedModels(published):
    """They compile, nothing is asked of the device that it would refuse, and no register is spilled."""
    recordings, resources = published
    assert set(resources) == set(specialisations.specialisations())
    assert not refusals(recordings)
    spilled = [
        f"{name}: {kernel.kernel} spills {kernel.spills} bytes"
        for name, kernels in resources.items()
        if "double" not in name
        for kernel in kernels.values()
        if kernel.spills
    ]
    assert not spilled, "\n".join(spilled)
    tooMuch = [f"{name}: {kernel}" for name, kernels in resources.items() for kernel in kernels.values() if kernel.shared > 49152]
    assert not tooMuch, tooMuch


def testLaunches(published):
    """In a step, of our own kernels; and the host waits for nothing but the flags' event."""
    ours = set(recording.ourKernels())
    for name, found in published[0].items():
        launches = [launch["launch"] for launch in found.launches if launch["launch"] in ours]
        assert launches, name
        # A list that is made through cells, of many particles, takes a few more.
        assert len(launches) <= (16 if "6000" in name or "3000" in name else 12), (name, launches)
        assert set(found.waits) <= {"event"} and len(found.waits) <= 1, (name, found.waits)


def testTensorCores(published, request):
    """Products of half precision are where they should be, and nowhere else; their operands are loaded in pairs."""
    for name, found in published[0].items():
        programs = [Path(path).read_text() for path, kernels in found.programs if set(kernels) & set(recording.ourKernels())]
        hasProducts = any("mma.sync" in program for program in programs)
        assert hasProducts == ("double" not in name), name
        for program in programs:
            if "mma.sync" in program:
                assert "ld.shared.v2.f32" in program or "ld.shared.v2.b32" in program, name
                alignments = {int(n) for n in re.findall(r"\.shared \.align (\d+)", program)}
                assert min(alignments) >= 8, (name, alignments)


def testDialects(dialects):
    recordings, resources = dialects
    assert set(resources) == set(specialisations.dialects())
    assert not refusals(recordings)


def testEveryKernelIsCompiled(published, dialects):
    """No text is left out: each kernel is in a program of these specialisations, and each that is launched was compiled."""
    compiled = {kernel for _, resources in (published, dialects) for kernels in resources.values() for kernel in kernels}
    assert not set(recording.ourKernels()) - compiled
