# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The report's figures, as PNG files; matplotlib draws them without a display."""

import numpy as np

from ..plots import BLUE, GREEN, GREY, ORANGE
from .settings import EXPLICIT, FLASH, IMPLICIT, MARTINI, VACUUM

COLORS = {FLASH: BLUE, VACUUM: GREY, IMPLICIT: ORANGE, EXPLICIT: "#CC79A7", MARTINI: GREEN}
SHORT = {FLASH: "OpenMM-Flash", VACUUM: "AMBER vacuum", IMPLICIT: "AMBER implicit", EXPLICIT: "AMBER TIP3P", MARTINI: "MARTINI"}
DPI, WIDTH = 110, 9.6
MAP_BINS, FEWEST_PANELS = 48, 3  # panels of maps are never larger than a third of the width


def _figure(height, rows=1, columns=1, **options):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _tidy(axes):
    axes.grid(alpha=0.25, lw=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure, path):
    figure.savefig(path, dpi=DPI)


def speeds(outcomes, rates, path):
    """Bars of steps per second and of ns/day, on logarithmic axes. rates: {engine: dict of report.rates}."""
    figure, ((left, right),) = _figure(0.9 + 0.42 * len(outcomes), 1, 2)
    places = np.arange(len(outcomes))[::-1]
    for place, outcome in zip(places, outcomes):
        rate, color = rates[outcome.name], COLORS[outcome.name]
        left.barh(place, rate["steps_per_s"], color=color, height=0.6)
        _label(left, rate["steps_per_s"], place)
        many = rate["aggregate_ns_per_day"] > 1.001 * rate["single_ns_per_day"]
        right.barh(place, rate["aggregate_ns_per_day"], color=color, height=0.6, alpha=0.4 if many else 1)
        if many:
            right.barh(place, rate["single_ns_per_day"], color=color, height=0.6)
        _label(right, rate["aggregate_ns_per_day"], place)
    for axes, label in ((left, "steps per second"), (right, "ns/day of one trajectory; pale: in aggregate")):
        _logarithmic(axes)
        axes.set_xlabel(label, fontsize=9)
        _tidy(axes)
    left.set_yticks(places, [SHORT[outcome.name] for outcome in outcomes], fontsize=9)
    right.set_yticks(places, [""] * len(places))
    _save(figure, path)


def _label(axes, value, place):
    """The bar's length at its end, with three digits."""
    axes.annotate(f"{float(f'{value:.3g}'):,g}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=8)


def _logarithmic(axes):
    """From a decade below the shortest bar to room for the label of the longest; decades are labelled, nothing between them."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    lengths = [bar.get_width() for bar in axes.patches]
    axes.set_xscale("log")
    axes.set_xlim(10 ** np.floor(np.log10(min(lengths) / 2)), max(lengths) * 6)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def series(outcomes, path):
    """RMSD, radius of gyration and native contacts against simulated time, a column an engine, and their distributions."""
    rows = [("RMSD (nm)", lambda m: m.rmsd, None), ("radius of\ngyration (nm)", lambda m: m.gyration, "gyration")]
    if any(outcome.measures.contacts is not None for outcome in outcomes):
        rows.append(("native contacts", lambda m: m.contacts, None))
    ratios = [1] * len(outcomes) + [0.8]
    figure, grid = _figure(1.75 * len(rows) + 0.5, len(rows), len(outcomes) + 1, sharey="row", gridspec_kw={"width_ratios": ratios})
    for (label, get, native), line in zip(rows, grid):
        line[0].set_ylabel(label, fontsize=9)
        everything = [get(outcome.measures).ravel() for outcome in outcomes if get(outcome.measures) is not None]
        bins = np.histogram_bin_edges(np.concatenate(everything), bins=60)
        for axes, outcome in zip(line, outcomes):
            values, color = get(outcome.measures), COLORS[outcome.name]
            if values is None:
                continue
            time, unit = _timeAxis(outcome.measures.time)
            for k, one in enumerate(values):
                first = k == 0
                axes.plot(time, one, color=color, lw=0.9 if first else 0.5, alpha=1 if first else 0.15, zorder=3 if first else 2)
            counts, edges = np.histogram(values, bins=bins)
            line[-1].stairs(counts / counts.max(), edges, orientation="horizontal", color=color, lw=1.2)
            if native:
                axes.axhline(outcome.measures.native[native], color="black", lw=0.8, ls="--")
            axes.set_xlabel(f"simulated time ({unit})", fontsize=8)
        for axes in line:
            _tidy(axes)
            axes.tick_params(labelsize=8)
        line[-1].set_xticks([])
    for axes in grid[:-1].ravel():
        axes.set_xlabel("")
    for axes, outcome in zip(grid[0], outcomes):
        axes.set_title(SHORT[outcome.name], fontsize=9, color=COLORS[outcome.name])
    grid[0][-1].set_title("distributions", fontsize=9)
    grid[-1][-1].set_xlabel("frequency", fontsize=8)
    _save(figure, path)


def _timeAxis(time):
    return (time * 1000, "ps") if time[-1] < 1 else (time, "ns") if time[-1] < 1000 else (time / 1000, "us")


def maps(outcomes, horizontal, vertical, labels, limits, path, ticks=(90, 90)):
    """Two-dimensional histograms, a panel an engine: -ln(p/p_max) in colors. horizontal, vertical: functions of Measures."""
    columns = max(len(outcomes), FEWEST_PANELS)
    figure, (line,) = _figure(0.75 + 0.85 * WIDTH / columns, 1, columns, sharey=True)
    image = None
    edges = [np.linspace(*limit, MAP_BINS + 1) for limit in limits]
    for axes, outcome in zip(line, outcomes):
        counts = np.histogram2d(horizontal(outcome.measures).ravel(), vertical(outcome.measures).ravel(), bins=edges)[0]
        with np.errstate(divide="ignore"):
            image = axes.pcolormesh(*edges, -np.log(counts.T / counts.max()), cmap="viridis", vmin=0, vmax=7, rasterized=True)
        axes.set_title(SHORT[outcome.name], fontsize=9, color=COLORS[outcome.name])
        axes.set_xlabel(labels[0], fontsize=9)
        axes.set_xticks(np.arange(limits[0][0], limits[0][1] + 1, ticks[0]))
        axes.set_yticks(np.arange(limits[1][0], limits[1][1] + 1, ticks[1]))
        axes.tick_params(labelsize=7)
        axes.set_box_aspect(1)
        axes.set_facecolor("white")
    for axes in line[len(outcomes) :]:
        axes.set_visible(False)
    line[0].set_ylabel(labels[1], fontsize=9)
    figure.colorbar(image, ax=line[: len(outcomes)].tolist(), shrink=0.8, aspect=18, pad=0.01, label=r"$-\ln(p/p_\mathrm{max})$")
    _save(figure, path)


def freeEnergy(outcomes, coordinate, centers, energies, path):
    """Profiles, each with a band between those of the two halves of the run."""
    figure, ((axes,),) = _figure(3.6)
    for outcome in outcomes:
        whole, halves = energies[outcome.name]
        color = COLORS[outcome.name]
        axes.plot(centers, whole, color=color, lw=1.6, marker="o", markersize=2.5, label=SHORT[outcome.name])
        both = np.isfinite(halves).all(axis=0)
        axes.fill_between(
            centers, np.where(both, halves.min(axis=0), np.nan), np.where(both, halves.max(axis=0), np.nan), color=color, alpha=0.18, lw=0
        )
    axes.set_xlabel(coordinate.label, fontsize=9)
    axes.set_ylabel("free energy (kJ/mol)", fontsize=9)
    axes.set_ylim(bottom=-0.5)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    _tidy(axes)
    _save(figure, path)
