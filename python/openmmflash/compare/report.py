# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""report.json, report.html and the figures, out of what the engines left. The page holds its figures and loads nothing from elsewhere."""

import base64
import dataclasses
import importlib.metadata
import json
import math
import os

import numpy as np

from . import figures, freeenergy
from .settings import EXPLICIT, FLASH, MARTINI, SINGLE

DAY = 86400e-6  # ns/day of one step of 1 fs per second
DISTURBED = 0.85  # of the threads' time that an engine got: with less, others used the machine
DETAILS = ("force field", "solvent", "particles", "integrator", "constraints", "program")
PACKAGES = ("openmm-flash", "openmm", "mdtraj", "deeptime", "vermouth", "pdbfixer", "numpy")


def rates(result):
    """Speeds of a result.

    steps_per_s in production; ns_per_day of a single trajectory, and in aggregate of as many at_once: those of production, or one on each
    thread if that is more; simulated_ns of one and of all trajectories; threads_used, the processor time of a second.
    """
    perSecond, timestep = result["steps"] / result["wall_s"], result["timestep_fs"]
    one = result["steps"] * timestep * 1e-6
    aggregate, atOnce = perSecond * timestep * result["replicas"] * DAY, result["replicas"]
    crowd = result.get("crowd")
    if crowd and crowd["steps_per_s"] * timestep * DAY > aggregate:
        aggregate, atOnce = crowd["steps_per_s"] * timestep * DAY, crowd["trajectories"]
    return {
        "steps_per_s": perSecond,
        "single_ns_per_day": result["single_steps_per_s"] * timestep * DAY,
        "aggregate_ns_per_day": aggregate,
        "at_once": atOnce,
        "trajectories": result["replicas"],
        "simulated_ns_each": one,
        "simulated_ns": one * result["replicas"],
        "wall_s": result["wall_s"],
        "threads_used": result["cpu_s"] / result["wall_s"],
    }


def summary(measures):
    """Means and standard deviations over all frames, NaN-free; None where a measure is not defined."""
    found = {"frames": int(measures.rmsd.size), "broken_frames": measures.broken}
    for name in ("rmsd", "gyration", "contacts"):
        values = getattr(measures, name)
        found[name] = None if values is None else {"mean": float(np.mean(values)), "sd": float(np.std(values))}
    return found | {"native": measures.native}


def write(folder, protein, settings, outcomes, machine, elapsed):
    """Write everything into the folder. Returns the path of the page."""
    done = [outcome for outcome in outcomes if outcome.status == "done"]
    speed = {outcome.name: rates(outcome.result) for outcome in done}
    drawn, coordinate = [], None
    if done:
        coordinate = freeenergy.chooseCoordinate(done, settings.coordinate)
        centers, energies = freeenergy.profiles(coordinate, settings.temperature)
        drawn = _draw(folder, done, speed, coordinate, centers, energies)
    document = {
        "format": 1,
        "protein": {"title": protein.title, "sequence": protein.sequence(), "notes": protein.notes},
        "settings": dataclasses.asdict(settings),
        "machine": machine,
        "versions": _versions(),
        "elapsed_s": elapsed,
        "engines": [_record(outcome, speed.get(outcome.name), folder) for outcome in outcomes],
        "figures": [figure["file"] for figure in drawn],
    }
    if done:
        document["free_energy"] = {
            "coordinate": coordinate.kind,
            "text": coordinate.text,
            "centers": centers,
            "kJ_per_mol": {name: whole for name, (whole, _) in energies.items()},
            "halves_kJ_per_mol": {name: halves for name, (_, halves) in energies.items()},
        }
    document = plain(document)
    _writeText(os.path.join(folder, "report.json"), json.dumps(document, indent=1, allow_nan=False) + "\n")
    path = os.path.join(folder, "report.html")
    _writeText(path, _page(document, protein, settings, outcomes, speed, drawn, machine))
    return path


def plain(value):
    """The same in JSON's types; what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.6g}") if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def _versions():
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _record(outcome, speed, folder):
    record = {"name": outcome.name, "status": outcome.status, "reason": outcome.reason, "advice": outcome.advice}
    if outcome.status != "done":
        return record | {"log": outcome.log}
    result = dict(outcome.result)
    for name in ("topology", "reference"):
        result[name] = os.path.relpath(result[name], folder)
    result["trajectories"] = [os.path.relpath(path, folder) for path in result["trajectories"]]
    measures = outcome.measures
    series = {"time_ns": measures.time, "rmsd_nm": measures.rmsd, "gyration_nm": measures.gyration, "native_contacts": measures.contacts}
    return record | {"rates": speed, "structure": summary(measures), "result": result, "series": series}


def _draw(folder, done, speed, coordinate, centers, energies):
    """The figures that these engines allow: dicts of key, file, title, caption."""
    drawn = []

    def add(key, function, *arguments, **keywords):
        function(*arguments, os.path.join(folder, key + ".png"), **keywords)
        drawn.append({"key": key, "file": key + ".png"})

    add("speed", figures.speeds, done, speed)
    add("structure", figures.series, done)
    full = ((-180, 180), (-180, 180))
    atoms = [outcome for outcome in done if outcome.measures.phi is not None]
    if atoms:
        add("ramachandran", figures.maps, atoms, lambda m: m.phi, lambda m: m.psi, ("phi (degrees)", "psi (degrees)"), full)
    chains = [outcome for outcome in done if outcome.measures.dihedrals is not None]
    if chains:
        labels, limits = ("pseudo-dihedral (degrees)", "pseudo-angle (degrees)"), ((-180, 180), (60, 180))
        add("pseudodihedral", figures.maps, chains, lambda m: m.dihedrals, lambda m: m.angles, labels, limits, ticks=(90, 30))
    add("free_energy", figures.freeEnergy, done, coordinate, centers, energies)
    return drawn


def _page(document, protein, settings, outcomes, speed, drawn, machine):
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(__file__)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    environment.filters["time"] = duration
    done = [outcome for outcome in outcomes if outcome.status == "done"]
    folder = os.path.dirname(protein.path)
    images = {}
    for figure in drawn:
        with open(os.path.join(folder, figure["file"]), "rb") as file:
            images[figure["key"]] = "data:image/png;base64," + base64.b64encode(file.read()).decode("ascii")
    native = done[0].measures.native if done else {}
    return environment.get_template("report.html.j2").render(
        document=document,
        protein=protein,
        settings=settings,
        sequence=" ".join(protein.sequence()),
        done=done,
        others=[outcome for outcome in outcomes if outcome.status != "done"],
        speed=speed,
        structure={outcome.name: summary(outcome.measures) for outcome in done},
        short=figures.SHORT,
        colors=figures.COLORS,
        images=images,
        coordinate=document.get("free_energy"),
        details=[row for row in DETAILS if any(row in outcome.result["details"] for outcome in done)],
        disturbed=[figures.SHORT[o.name] for o in done if _isDisturbed(o, settings, machine)],
        native=native,
        names={"flash": FLASH, "explicit": EXPLICIT, "martini": MARTINI},
        beads=any(o.name == FLASH and "beads" in o.result["details"]["particles"] for o in done),
        singlePercent=round(100 * SINGLE),
    )


def _isDisturbed(outcome, settings, machine):
    """Whether others took the processor's time: the engine got less than its threads', while more wanted to run than there are cores."""
    processor = outcome.name == MARTINI or settings.platform == "CPU"
    crowded = max(outcome.result["load_average"]) > machine["cores"] + 0.5
    return processor and crowded and outcome.result["cpu_s"] / outcome.result["wall_s"] < DISTURBED * settings.threads


def number(value, digits=3):
    """A number with so many significant digits, thousands in groups; an en dash for none."""
    if value is None:
        return "\u2013"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{rounded:,.{decimals}f}"


def duration(ns):
    """Simulated time in the unit that suits it."""
    for size, unit in ((1e3, "\u00b5s"), (1.0, "ns"), (1e-3, "ps"), (1e-6, "fs")):
        if ns >= size or unit == "fs":
            return f"{number(ns / size)} {unit}"
    return ""


def _writeText(path, text):
    from ..convert._writer import writeFileAtomically

    writeFileAtomically(path, text.encode("utf-8"))
