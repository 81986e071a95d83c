# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Plots of a run's log; matplotlib draws them without a display."""

import csv

import numpy as np

# Okabe and Ito: distinguishable with any colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8a8a8a"


def readLog(path):
    """Read a log.csv.

    Returns
    -------
    dict of str to numpy.ndarray
        Each column under its heading, in the file's order.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows:
        raise ValueError(f"{path} is empty.")
    values = np.array([[float(x) for x in row] for row in rows[1:]], dtype=float).reshape(-1, len(rows[0]))
    return {name: values[:, i] for i, name in enumerate(rows[0])}


def plotLog(logPath, imagePath, title="", temperature=None):
    """Draw energy and temperature of a run against time.

    Parameters
    ----------
    logPath : str
        A log.csv written by `openmm-flash run`: time in ps, energies in kJ/mol, temperature in K.
    imagePath : str
        The PNG to write.
    temperature : float, optional
        The thermostat's temperature in K, drawn as a line.

    Returns
    -------
    bool
        False (and no image) where the log has no row yet.
    """
    log = readLog(logPath)
    time = log["time_ps"]
    if not len(time):
        return False
    from matplotlib.figure import Figure  # it draws files with a canvas of its own, whatever backend pyplot has

    scale, unit = (1e-3, "ns") if time[-1] >= 10000 else (1, "ps")
    time = time * scale
    figure = Figure(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    marker = {"marker": "o", "markersize": 3} if len(time) < 30 else {}
    # The constant of a sum of self energies says nothing; what moves is what is drawn, and the label gives the rest.
    potential, total = log["potential_kJ_mol"], log["total_kJ_mol"]
    origin = float(np.floor(potential.min())) if np.abs(potential).max() > 1e5 else 0.0
    upper.plot(time, potential - origin, color=BLUE, lw=1.2, label="potential", **marker)
    upper.plot(time, total - origin, color=ORANGE, lw=1.2, label="total", **marker)
    offset = f"\n{'-' if origin > 0 else '+'} {abs(origin):,.0f}" if origin else ""
    upper.set_ylabel(f"energy{offset} (kJ/mol)")
    upper.ticklabel_format(axis="y", useOffset=False, style="plain")
    replicas = [name for name in log if name.startswith("temperature_") and name != "temperature_K"]
    for i, name in enumerate(replicas):
        lower.plot(time, log[name], color=GREY, lw=0.6, alpha=0.5, label="replicas" if i == 0 else None)
    lower.plot(time, log["temperature_K"], color=GREEN, lw=1.2, label="all replicas" if replicas else "instantaneous", **marker)
    half = len(time) // 2
    mean = float(np.mean(log["temperature_K"][half:]))
    if temperature is not None:
        lower.axhline(temperature, color="black", lw=1, ls="--", label=f"thermostat, {temperature:g} K")
    lower.set_ylabel("temperature (K)")
    lower.set_xlabel(f"time ({unit})")
    lower.set_title(f"mean of the second half: {mean:.1f} K", fontsize=9, loc="right")
    for axes in (upper, lower):
        axes.grid(alpha=0.25, lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    figure.savefig(imagePath, dpi=150)
    return True
