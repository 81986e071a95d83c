# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""From measured contenders to what is reported: one record a contender, ratios, the table."""

import statistics

from .programs import OURS

AXES = ("total", "reused", "energy", "gradient", "descriptor", "descriptor+gradient", "networks", "step")
# What NNPOps' AEV with its gradient does, among our stages: it searches neighbors too.
DESCRIPTOR_STAGES = ("stage neighborList", "stage descriptor", "stage descriptorBackward")


def record(case, contender, settings):
    """A contender's entry in the JSON file; times in milliseconds."""
    axes = {axis: _summary(rounds) for axis, rounds in contender.rounds.items()} if contender.status == "ok" else {}
    for axis in axes.keys() & contender.cpu.keys():
        # Far above threads x median: somebody else used the machine, and the median says little.
        axes[axis]["cpu_ms"] = 1e3 * statistics.median(contender.cpu[axis])
    if {"total", "energy"} <= axes.keys():
        # Not measured but subtracted: what the forces cost beyond the energy.
        axes["gradient"] = {"median_ms": axes["total"]["median_ms"] - axes["energy"]["median_ms"]}
    total = contender.median("total")
    mine = contender.program == OURS
    entry = {
        "test": case.test,
        "size": case.label,
        "model": case.model,
        "atoms": case.atoms,
        "replicas": case.replicas,
        "pairs": case.pairs,
        "cutoff_nm": case.cutoff,
        "periodic": case.periodic,
        "program": contender.program,
        "form": contender.form,
        "malloc": contender.malloc,
        "threads": 1 if mine and settings.platform == "Reference" else contender.threads,
        "platform": settings.platform if mine else None,
        "precision": ("double" if settings.platform == "Reference" else settings.precision) if mine else "single",
        "priors": case.priors if mine else None,
        "timestep_in_fs": case.timestep * 1000 if "step" in axes else None,
        "status": contender.status,
        "reason": contender.reason or None,
        "agreement": contender.agreement or None,
        "axes": axes,
        "atoms_per_second": case.atoms / total if total and contender.program != "amber" else None,
        "peak_memory_bytes": contender.peak if contender.status == "ok" else None,
        "baseline_memory_bytes": contender.baseline or None,
        "versions": contender.versions,
        "notes": contender.notes,
    }
    if mine:
        entry["report"] = contender.report
        step = contender.median("step")
        entry["ns_per_day"] = case.timestep * 1e-3 / step * 86400 if step else None
    return entry


def _summary(rounds):
    times = [1e3 * t for times in rounds for t in times]
    return {
        "median_ms": statistics.median(times),
        "min_ms": min(times),
        "evaluations": len(times),
        "round_medians_ms": [1e3 * statistics.median(times) for times in rounds],
    }


def ratios(case, everyone):
    """How many times faster ours is than the best form of each program, measured in the same turns.

    Returns
    -------
    list of dict
        program, form, malloc, what (in words), ratio (median of those of single rounds), lowest, highest, memory (ours / theirs).
    """
    ours, found = everyone[0], []
    single = next((c for c in everyone if c.form == "profiled, one thread" and c.status == "ok"), None)
    for program in dict.fromkeys(c.program for c in everyone if c.program != OURS):
        forms = [c for c in everyone if c.program == program]
        for what, mine, axis, theirs in _comparisons(case, program, ours, single):
            able = [c for c in forms if c.median(theirs)]
            myRounds = _roundMedians(*mine, axis) if mine[0] else []
            if not able or not myRounds:
                continue
            best = min(able, key=lambda c: c.median(theirs))
            theirRounds = _roundMedians(best, 1.0, theirs)
            pairs = [b / a for a, b in zip(myRounds, theirRounds)]
            found.append(
                {
                    "test": case.test,
                    "size": case.label,
                    "model": case.model,
                    "program": program,
                    "form": best.form,
                    "malloc": best.malloc,
                    "what": what,
                    "ratio": statistics.median(pairs),
                    "lowest": min(pairs),
                    "highest": max(pairs),
                    "memory": ours.peak / best.peak if best.peak > 0 and axis == "total" else None,
                }
            )
    return found


def _comparisons(case, program, ours, single):
    """(words, (our contender, factor on its time), our axes, their axis)."""
    if program == "amber":
        words = f"steps per second{' and replica' if case.replicas > 1 else ''}, ours / Amber's"
        return [(words, (ours, 1 / case.replicas), "step", "step")]
    if program == "nnpops":
        return [("AEV with its gradient, one thread", (single, 1.0), DESCRIPTOR_STAGES, "descriptor+gradient")]
    result = [("energy and forces", (ours, 1.0), "total", "total")]
    if case.test == "cg":
        with_ = {"none": "", "pair": ", pair prior", "all": ", all priors"}[case.priors]
        result.append((f"our step{with_} and integrator / its network alone", (ours, 1.0), "step", "total"))
    return result


def _roundMedians(contender, factor, axis):
    names = (axis,) if isinstance(axis, str) else axis
    lists = [contender.rounds[name] for name in names if contender.rounds.get(name)]
    return [factor * sum(statistics.median(times) for times in turn) for turn in zip(*lists)]


def table(case, records, found, style="table"):
    """Lines for the terminal."""
    first = records[0]
    lines = [
        f"{case.test}, {case.model}: {case.label}, {case.atoms:,} particles, {case.pairs:,} pairs within {case.cutoff:g} nm"
        + (", periodic" if case.periodic else "")
    ]
    if style == "simple":
        for entry in records:
            lines += [f"{key}: {value}" for key, value in entry.items() if key not in ("report", "axes")]
            lines += [f"{axis}: {values['median_ms']:.4g} ms" for axis, values in entry["axes"].items()] + [""]
    else:
        axes = [axis for axis in AXES if any(axis in entry["axes"] for entry in records)]
        width = max(len(_name(entry)) for entry in records) + 2
        lines.append(
            " " * width + "".join(f"{axis[:11]:>12}" for axis in axes) + f"{'lowest':>10}{'atoms/s':>12}{'memory':>10}{'forces':>10}"
        )
        lines.append(" " * width + f"{'ms':>12}" * len(axes) + f"{'ms':>10}{'':>12}{'MB':>10}{'differ':>10}")
        for entry in records:
            if entry["status"] != "ok":
                lines.append(f"{_name(entry):<{width}}{entry['status']}: {entry['reason']}")
                continue
            cells = "".join(f"{_number(entry['axes'].get(axis, {}).get('median_ms')):>12}" for axis in axes)
            lowest = entry["axes"].get("total", {}).get("min_ms")
            speed = entry["atoms_per_second"]
            agreement = (entry["agreement"] or {}).get("forceDifference")
            lines.append(
                f"{_name(entry):<{width}}{cells}{_number(lowest):>10}{f'{speed:,.0f}' if speed else '-':>12}"
                f"{entry['peak_memory_bytes'] / 1e6:>10.1f}{'-' if agreement is None else f'{agreement:.0e}':>10}"
            )
    for ratio in found:
        memory = f"; {100 * ratio['memory']:.2g} % of its memory" if ratio["memory"] else ""
        name = _name(ratio)
        spread = f"{ratio['lowest']:.3g} to {ratio['highest']:.3g} by round"
        lines.append(f"  {ratio['ratio']:.3g} times {name}: {ratio['what']} ({spread}){memory}")
    lines += [f"  {_name(entry)}: {text}" for entry in records for text in entry["notes"]]
    stages = [(name, values) for entry in records for name, values in entry["axes"].items() if name.startswith("stage ")]
    if stages:
        lines += profile(records)
    elif first.get("report") is not None and "profile" in (first["report"] or {}):
        lines.append(f"  profile: {first['report']['profile']}")
    return lines


def profile(records):
    """Our stages: milliseconds of an evaluation, and their part of it."""
    lines = []
    for entry in records:
        stages = {name[6:]: values["median_ms"] for name, values in entry["axes"].items() if name.startswith("stage ")}
        if stages:
            total = sum(stages.values())
            lines.append(f"  {_name(entry)}, ms of thread 0 in one evaluation with a new neighbor list:")
            lines += [f"    {name:<20}{value:>10.3f}{100 * value / total:>7.1f} %" for name, value in stages.items()]
    return lines


def _name(entry):
    parts = [entry["form"], "tuned malloc" if entry["malloc"] == "tuned" else ""]
    return entry["program"] + "".join(f", {part}" for part in parts if part)


def _number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
