# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Time against size, one panel a case and model, one line a program in its best form."""

from ..plots import BLUE, GREEN, GREY, ORANGE
from .programs import OURS

COLORS = ("#CC79A7", GREEN, ORANGE, "#E69F00", "#56B4E9", GREY)


def plot(records, path):
    """Draw `records` (results.record) to an image file; False where nothing was measured."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    measured = [entry for entry in records if entry["status"] == "ok" and _time(entry)]
    panels = list(dict.fromkeys((entry["test"], entry["model"]) for entry in measured))
    if not panels:
        return False
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.5 * columns, 4.5 * rows), layout="constrained")
    spare = list(figure.subplots(rows, columns, squeeze=False).flat)
    for test, model in panels:
        axes = spare.pop(0)
        chosen = [entry for entry in measured if (entry["test"], entry["model"]) == (test, model)]
        programs = sorted(dict.fromkeys(entry["program"] for entry in chosen), key=lambda name: name != OURS)
        for k, program in enumerate(programs):
            best = {}
            for entry in chosen:
                size = entry["replicas"] if test == "cg" else entry["atoms"]
                if entry["program"] == program and not entry["form"].startswith("profiled"):
                    best[size] = min(best.get(size, float("inf")), _time(entry))
            sizes = sorted(best)
            style = {"color": BLUE, "lw": 2.5} if program == OURS else {"color": COLORS[(k - 1) % len(COLORS)], "lw": 1.5}
            axes.plot(sizes, [best[size] for size in sizes], marker="o", markersize=4, label=program, **style)
        axes.set(xscale="log", yscale="log", xlabel="replicas" if test == "cg" else "atoms", ylabel="ms per evaluation")
        sizes = sorted({entry["replicas"] if test == "cg" else entry["atoms"] for entry in chosen})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
        axes.minorticks_off()
        axes.set_title(f"{test}, {model}", fontsize=10)
        axes.grid(alpha=0.25, lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    for axes in spare:
        axes.remove()
    figure.savefig(path, dpi=150)
    return True


def _time(entry):
    """Of an evaluation; NNPOps' part where a program does no more."""
    axes = entry["axes"]
    return next((axes[axis]["median_ms"] for axis in ("total", "descriptor+gradient") if axis in axes), None)
