# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What ran on a GPU, as CUPTI saw it through PyTorch's profiler: every kernel of the process, whoever launched it."""

import json
import os
import tempfile

CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")


def profile(torch, run, steps, runs=1):
    """Launches and time of each kernel in a step.

    Parameters
    ----------
    torch : module
    run : function
        Some steps, ending with a synchronization.
    steps, runs : int
        Steps of a run(), and how often it is called.

    Returns
    -------
    dict
        {name: [launches, microseconds]} of one step, copies and fills among them; None where torch sees no GPU. What a run() does once,
        such as the copy that it ends with, is divided by its steps.
    """
    if not torch.cuda.is_available():
        return None
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    run()
    with record(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(runs):
            run()
    handle, path = tempfile.mkstemp(suffix=".json")
    os.close(handle)
    try:
        found.export_chrome_trace(path)
        with open(path, encoding="utf-8") as file:
            return summarize(json.load(file), steps * runs)
    finally:
        os.unlink(path)


def summarize(trace, steps):
    """{name: [launches, microseconds]} of a step, from a trace in Chrome's format; the longest first."""
    totals = {}
    for event in trace["traceEvents"]:
        if event.get("cat") in CATEGORIES and event.get("ph") == "X":
            count, duration = totals.get(event["name"], (0, 0.0))
            totals[event["name"]] = (count + 1, duration + event["dur"])
    longest = sorted(totals.items(), key=lambda item: -item[1][1])
    return {name: [count / steps, duration / steps] for name, (count, duration) in longest}
