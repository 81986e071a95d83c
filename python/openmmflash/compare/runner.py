# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Runs the engines one after another. What one of them does wrong is written into the report and does not touch the others."""

import dataclasses
import json
import os
import subprocess
import sys
import time

from ..bench.process import THREAD_VARIABLES
from . import CompareError, analysis, martini, report
from .protein import prepare
from .settings import LIMIT, MARTINI, Outcome

LOG_LINES = 40
REPORT = (
    "report.html",
    "report.json",
    "protein.pdb",
    "speed.png",
    "structure.png",
    "ramachandran.png",
    "pseudodihedral.png",
    "free_energy.png",
)


def compare(source, settings, folder, platform, alanines=8, say=print):
    """Run everything; write the report into the folder, which exists.

    Parameters
    ----------
    source : str or None
        PDB or PDBx file; None: poly-alanine.
    settings : Settings
    folder : str
    platform : openmm.Platform
    alanines : int
    say : callable
        Called with a line of progress.

    Returns
    -------
    outcomes : list of Outcome
    path : str
        Of the report.

    Raises
    ------
    CompareError, StructureError
        The structure cannot be used: nothing was run.
    """
    from ..bench.machine import systemInformation

    folder = os.path.abspath(folder)
    start, machine = time.perf_counter(), systemInformation()
    protein = prepare(source, os.path.join(folder, "protein.pdb"), platform, alanines=alanines)
    for note in protein.notes:
        say(f"structure: {note}")
    outcomes, stopped = [], False
    for name in settings.engines:
        if stopped:
            outcomes.append(Outcome(name, "failed", "The comparison was stopped before it."))
            continue
        lacking = whyMissing(name, settings)
        if lacking is not None:
            outcomes.append(Outcome(name, "missing", f"Missing: {lacking[0]}.", lacking[1] + "."))
            say(f"{name}: not run, missing {lacking[0]}")
            continue
        say(f"{name}: {settings.budget:g} s of production")
        try:
            outcomes.append(_run(name, protein, settings, os.path.join(folder, name)))
        except KeyboardInterrupt:
            outcomes.append(Outcome(name, "failed", "It was stopped by the user."))
            stopped = True
        last = outcomes[-1]
        say(f"{name}: " + (_line(last) if last.status == "done" else f"failed: {last.reason}"))
    path = report.write(folder, protein, settings, outcomes, machine, time.perf_counter() - start)
    if stopped:
        raise KeyboardInterrupt
    return outcomes, path


def whyMissing(name, settings):
    """(what an engine lacks, how to get it), or None."""
    return martini.missing(settings) if name == MARTINI else None


def _line(outcome):
    rates = report.rates(outcome.result)
    many = f", {rates['aggregate_ns_per_day']:.4g} with {rates['at_once']} trajectories at once" if rates["at_once"] > 1 else ""
    return f"{rates['steps_per_s']:.4g} steps/s, {rates['single_ns_per_day']:.4g} ns/day{many}"


def _run(name, protein, settings, folder):
    os.makedirs(folder)
    log = os.path.join(folder, "log.txt")
    try:
        if name == MARTINI:
            result = martini.run(protein, settings, folder, log)
            result["reference"] = result["topology"]
        else:
            result = _runWorker(name, protein, settings, folder, log)
            result["reference"] = protein.path
        return Outcome(name, "done", result=result, measures=analysis.measure(result, len(protein.residues())))
    except Exception as error:  # whatever it is, the other engines' results are worth more than a traceback here
        import traceback

        with open(log, "a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
        expected = isinstance(error, (CompareError, OSError))
        reason = " ".join(str(error).split()) if expected else f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome(name, "failed", reason[:1].upper() + reason[1:] + ("" if reason.endswith(".") else "."), log=_tail(log))


def _runWorker(name, protein, settings, folder, log):
    """The result of a worker process. Its own errors come back in result.json; a crash leaves none."""
    job = os.path.join(folder, "job.json")
    values = dataclasses.asdict(settings)
    values["reference"] = settings.reference and os.path.abspath(settings.reference)
    with open(job, "w", encoding="utf-8") as file:
        json.dump({"engine": name, "pdb": protein.path, "folder": folder, "settings": values}, file, indent=1)
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(settings.threads))
    limit = 3 * settings.budget + LIMIT
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "openmmflash.compare.worker", job],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise CompareError(f"it did not end within {limit:g} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    path = os.path.join(folder, "result.json")
    if not os.path.exists(path):
        raise CompareError(f"its process ended with code {code} and without a result")
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    if "error" in result:
        raise CompareError(result["error"])
    return result


def _tail(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-LOG_LINES:])


def isFailure(outcomes, settings):
    """Whether the command's exit code tells of a failure: an engine failed, or one that was named is missing, or none ran."""
    wrong = ("failed", "missing") if settings.named else ("failed",)
    return any(outcome.status in wrong for outcome in outcomes) or all(outcome.status != "done" for outcome in outcomes)
