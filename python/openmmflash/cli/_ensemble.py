# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What `openmm-flash ensemble` does around openmmflash.ensemble: options, folders, progress, words."""

import contextlib
import os
import signal
import time

import numpy as np

from .. import ensemble as ensembles
from ._app import UserError, note, oneLine, say
from ._outputs import checkFolder
from ._run import Progress, countSteps, describeInputs, describeTemperatures, nameOf, prepare, versions

# Options that a continuation may have: how, not what.
RESUMABLE = {"output", "resume", "time", "steps", "workers", "scheduler", "platform", "threads", "progress", "debug"}


@contextlib.contextmanager
def usersErrors():
    """What the library refuses, the user can put right."""
    try:
        yield
    except (ValueError, ImportError) as error:
        raise UserError(oneLine(error)) from error


def connect(stack, workers, scheduler):
    """A Client of the scheduler, before anything is written or deleted; None where there is to be a cluster on this machine."""
    if workers and scheduler:
        raise UserError(f"--workers {workers} makes a cluster on this machine, --scheduler {scheduler} uses another one. Give one of them.")
    with usersErrors():
        ensembles.importDistributed()
        return stack.enter_context(ensembles.connect(scheduler)) if scheduler else None


def create(stack, structurePath, modelName, output, overwrite, runs, chunk, options):
    """A new ensemble. Returns its lock, which the stack closes."""
    checkFolder(output or os.curdir)
    inputs, settings, _ = prepare(structurePath, modelName, {**options, "checkpoint_interval": chunk}, allFrames=runs > 1)
    path = os.path.abspath(output or nameOf(structurePath, inputs.model))
    lock = stack.enter_context(ensembles.EnsembleLock(path))
    with usersErrors():
        ensembles.createEnsemble(
            path,
            inputs.system,
            startPositions(inputs, settings["replicas"], runs, options["frame"]),
            inputs.topology,
            runs,
            settings["steps"],
            settings["timestep_fs"] / 1000,
            min(settings["interval"], settings["steps"]),
            chunk,
            settings["temperature_K"],
            settings["temperatures_K"],
            settings["exchange_interval"],
            settings["friction_1/ps"],
            settings["replicas"],
            settings["equilibration_steps"],
            settings["minimize"],
            settings["format"],
            settings["seed"],
            {**describeInputs(structurePath, modelName, inputs), "versions": versions()},
            overwrite,
            lock,
        )
    say(f"Model      {inputs.model.getName()}, SHA-256 {inputs.model.getSha256()[:16]}...")
    copies = f", {settings['replicas']} replicas each" if settings["replicas"] > 1 else ""
    say(f"Ensemble   {runs} runs{copies} of {settings['time_ps']:g} ps = {settings['steps']} steps, {describeTemperatures(settings)}")
    say(f"Output     {path}")
    return lock


def startPositions(inputs, replicas, runs, frame):
    """[m, N, 3]: where the structure has frames, runs and their replicas start from them in turn."""
    frames = inputs.structure.frames
    if frames is None or frame is not None:
        return inputs.positions[None]
    if runs > 1:
        note(f"The {runs} runs start from the structure's {len(frames)} frames in turn (--frame takes one for all).")
    return np.stack([np.concatenate([frames[(r * replicas + k) % len(frames)] for k in range(replicas)]) for r in range(runs)])


def reopen(stack, output, options, given):
    """Look at an ensemble that is to be continued, and lengthen it if asked. Returns its lock, which the stack closes."""
    if output is None:
        raise UserError("--resume continues the ensemble in a folder: give --output FOLDER.")
    other = sorted(given - RESUMABLE)
    if other:
        named = ", ".join("STRUCTURE" if name == "structure" else f"--{name.replace('_', '-')}" for name in other)
        raise UserError(f"--resume continues an ensemble as it was started. Leave out {named}, or start a new one elsewhere.")
    with usersErrors():
        settings = ensembles.Ensemble(output).settings
        lock = stack.enter_context(ensembles.EnsembleLock(output))
        lock.acquire()
        if {"time", "steps"} & given:
            ensembles.lengthenEnsemble(output, countSteps(options["time"], options["steps"], settings["timestep_fs"]), lock)
    return lock


@contextlib.contextmanager
def stoppedBySigterm():
    """SIGTERM, which batch systems send, stops as Ctrl-C does: the cluster is closed, and what it had begun is removed."""

    def stop(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: a second one must not cut this short
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def carryOut(lock, client, workers, options, showProgress):
    """Do what is left, with a progress bar. Returns whether all runs came to their end."""
    path = lock.folder
    try:
        with usersErrors(), stoppedBySigterm():
            ensemble = ensembles.Ensemble(path)
            settings = ensemble.settings
            each = settings["equilibration_steps"] + settings["steps"]

            def done(phase, step):
                return settings["equilibration_steps"] + step if phase == "produce" else step

            reached = {run: done(*ensemble.getProgress(run)) for run in range(ensemble.numRuns)}
            before, clock = sum(reached.values()), time.perf_counter()
            if before == each * ensemble.numRuns:
                raise UserError(f"The ensemble in {path} is complete: {settings['steps']} steps in each run. A longer --time continues it.")
            with Progress(showProgress)("ensemble", each * ensemble.numRuns, before) as advance:

                def report(run, phase, step):
                    reached[run] = done(phase, step)
                    steps, elapsed = sum(reached.values()), time.perf_counter() - clock
                    advance(steps, (steps - before) * settings["timestep_fs"] * 1e-6 / elapsed * 86400)

                failed = ensembles.runEnsemble(path, client, workers, None, options["platform"], options["threads"], report, lock)
    except KeyboardInterrupt:
        say(f"Stopped; the chunks that are complete are kept. Continue with:  openmm-flash ensemble --resume -o {path}")
        raise
    summarize(ensemble, failed)
    return not failed


def summarize(ensemble, failed):
    settings = ensemble.settings
    complete = [run for run in range(ensemble.numRuns) if run not in failed]
    say(f"Done: {len(complete)} of {ensemble.numRuns} runs, {settings['steps']} steps each. Results are in {ensemble.folder}:")
    say(f"  run_*/chunk_*/trajectory.{settings['format']}, log.csv   a file for each chunk, in the order of their names")
    for run, reason in sorted(failed.items()):
        say(f"Failed: run {run} after step {ensemble.getProgress(run)[1]}: {reason}")
