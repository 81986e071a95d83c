# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Every program that OpenMM compiles for a GPU: by NVRTC as OpenMM calls it, then by ptxas. And what a step would launch and wait for."""

import collections
import re
from pathlib import Path

import pytest
import recording
import specialisations

# What a step launches of our own, by the specialisation's name.
SCHNET = {"findPairs": 1, "schnetForward": 4, "schnetBackward": 4, "computeRepulsion": 1}
THREE_BLOCKS = {"findPairs": 1, "schnetForward": 3, "schnetBackward": 3}
CELLS = {"checkMoves": 1, "countCells": 1, "startCells": 1, "sortCells": 1, "findCandidates": 1}
ANI = {"findPairs": 1, "computeAev": 1, "evaluateNetworks": 1, "addAevForces": 1}
LAUNCHES = {
    "cgschnet-16x269": SCHNET,
    "cgschnet-1x269": SCHNET,
    "schnetpack-3000-box": THREE_BLOCKS | CELLS,
    "ani2x-600": ANI,
    "ani2x-60": ANI,
    "ani2x-6000-box": ANI | CELLS,
}


@pytest.fixture(scope="session")
def capabilities(request):
    """Those of the tests that were chosen."""
    chosen = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return sorted({parameters["capability"] for parameters in chosen if "capability" in parameters})


@pytest.fixture(scope="session")
def compilations(capabilities, tmp_path_factory):
    """Everything on all architectures, on all processors at once: the tests wait for what they look at."""
    jobs = {("published", capability): (list(specialisations.specialisations()), capability) for capability in capabilities}
    jobs |= {("dialects", capability): (list(specialisations.dialects()), capability) for capability in capabilities}
    running = recording.Compilations(jobs, tmp_path_factory.mktemp("compilations"))
    yield running
    running.close()


@pytest.fixture(params=recording.CAPABILITIES, ids=lambda capability: f"sm_{capability}")
def capability(request):
    return request.param


@pytest.fixture
def published(compilations, capability):
    """(recordings, resources) of the published models on one architecture."""
    return compilations.result(("published", capability))


@pytest.fixture
def dialects(compilations, capability):
    return compilations.result(("dialects", capability))


def launched(recording, ours):
    return dict(collections.Counter(launch["launch"] for launch in recording.launches if launch["launch"] in ours))


def refusals(recordings):
    return [f"{name}: {text}" for name, recording in recordings.items() for text in recording.refusals]


def spills(resources):
    """Registers that do not suffice; of double precision, which has twice as many to keep, that is not asked."""
    return [
        f"{name}: {one.kernel} spills {one.spills} bytes"
        for name, kernels in resources.items()
        if "double" not in name
        for one in kernels.values()
        if one.spills
    ]


def testPublishedModels(published):
    """They compile, nothing is asked of the device that it would refuse, and no register is spilled."""
    recordings, resources = published
    assert set(resources) == set(specialisations.specialisations())
    assert not refusals(recordings)
    assert not spills(resources)
    tooMuch = [f"{name}: {kernel}" for name, kernels in resources.items() for kernel in kernels.values() if kernel.shared > 49152]
    assert not tooMuch, tooMuch


def testPools(published, capability):
    """Filters of low rank keep all that pairs need in a pool of shared memory, where a block may have 227 KB; elsewhere what fits."""
    largest = {75: 64, 80: 163, 90: 227, 100: 227, 120: 99}[capability] * 1024
    for name in ("cgschnet-16x269-low-rank-single", "cgschnet-16x269-low-rank-single-half"):
        launches = [launch for launch in published[0][name].launches if launch["launch"].startswith("schnet")]
        assert launches, name
        sizes = {launch["shared"] for launch in launches}
        assert all(0 < size <= largest for size in sizes), (name, sizes)
        # Features of 269 particles, 128 channels, and the functions and V of a filter.
        if largest == 227 * 1024:
            assert min(sizes) > 269 * 128 * 4 + 70000, (name, sizes)


def testDialects(dialects):
    recordings, resources = dialects
    assert set(resources) == set(specialisations.dialects())
    assert not refusals(recordings)
    assert not spills(resources)


def testLaunches(published):
    """In a step, of our own kernels: 10, 12 with cells, 4 and 9. And the host waits for nothing but the flags' event."""
    ours = set(recording.ourKernels())
    totals = {name: sum(LAUNCHES[name].values()) for name in LAUNCHES}
    assert [totals[name] for name in ("cgschnet-16x269", "schnetpack-3000-box", "ani2x-600", "ani2x-6000-box")] == [10, 12, 4, 9]
    expected = {
        name: next(LAUNCHES[one] for one in LAUNCHES if re.fullmatch(one + "(-low-rank)?-(single|mixed|double)(-half)?", name))
        for name in published[0]
    }
    assert {name: launched(found, ours) for name, found in published[0].items()} == expected
    assert {name: found.waits for name, found in published[0].items()} == dict.fromkeys(published[0], ["event"])


def testTensorCores(published):
    """Products of half precision are where they should be, and nowhere else; their operands are loaded in pairs or fours."""
    for name, found in published[0].items():
        programs = [Path(path).read_text() for path, kernels in found.programs if set(kernels) & set(recording.ourKernels())]
        hasProducts = any("mma.sync" in program for program in programs)
        assert hasProducts == ("double" not in name), name
        for program in programs:
            if "mma.sync" in program:
                widths = {4 * int(n) for n in re.findall(r"ld\.shared\.v([24])\.[bfu]32", program)}
                alignments = {int(n) for n in re.findall(r"\.shared \.align (\d+)", program)}
                assert widths and min(alignments) >= max(widths), (name, widths, alignments)


def testEveryKernelIsCompiledAndLaunched(published, dialects):
    """No text is left out: each kernel is in a program of these specialisations, and a step of one of them launches it."""
    ours = set(recording.ourKernels())
    assert not ours - {kernel for _, resources in (published, dialects) for kernels in resources.values() for kernel in kernels}
    assert not ours - {
        kernel for recordings, _ in (published, dialects) for found in recordings.values() for kernel in launched(found, ours)
    }


def testTable(compilations, capabilities, pytestconfig):
    """That of docs/gpu-platform.md, for --kernels FILE: each of our kernels on each architecture, with what it takes."""
    rows = []
    for capability in capabilities:
        rows += recording.rows(*compilations.result(("published", capability)), capability)
    text = recording.markdown([row for row in rows if "single" in row["specialisation"]])
    if path := pytestconfig.getoption("kernels"):
        Path(path).write_text(text)
    for name in set(recording.ourKernels()):
        found = [row for row in rows if row["kernel"] == name]
        assert {row["capability"] for row in found} == set(capabilities), name
        assert all(row["registers"] > 0 and 0 < row["occupancy"] <= 1 for row in found), name
        assert f" | {name} | " in text, name
