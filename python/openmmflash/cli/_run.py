# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What `openmm-flash run` does: set up or reopen a run, and carry it through its phases."""

import contextlib
import datetime
import math
import os
import secrets
import time

import numpy as np

from ..replicas import ReplicaLangevinIntegrator
from . import _folder
from ._app import UserError, note, oneLine, say
from ._exchange import Exchange
from ._isolated import AFTER_MINIMISATION, AT_START, warnOfIsolatedAtoms
from ._minimize import MINIMIZE, minimize
from ._outputs import checkFolder
from ._platforms import choosePlatform
from ._simulation import EQUILIBRATE, PRODUCE, Interrupted, Interrupts, Measurement, Simulation, Unstable

DEFAULT_TIME = 10.0  # ps
ATOMIC_TIMESTEP, BEAD_TIMESTEP = 0.5, 4.0  # fs
MAX_STEPS = 2**31 - 1  # OpenMM counts steps of one call in an int; DCD files, too
# Options that do not change what is simulated.
FREE = {"structure", "model", "output", "resume", "overwrite", "progress", "time", "steps", "debug"}


def startRun(structurePath, modelName, output, overwrite, showProgress, options):
    """A new run. Returns whether it came to its end."""
    import openmm

    checkFolder(output or os.curdir)
    inputs, settings, context = prepare(structurePath, modelName, options)
    folder = _folder.Folder(output or nameOf(structurePath, inputs.model))
    folder.create(overwrite)
    try:
        run = {
            "format": _folder.FORMAT,
            **describeInputs(structurePath, modelName, inputs),
            "settings": settings,
            "system": {"sha256": folder.write(_folder.SYSTEM, openmm.XmlSerializer.serialize(inputs.system))},
            "topology": writeTopology(folder, inputs.topology, inputs.positions),
            "versions": versions(),
            "sessions": [],
        }
        folder.writeRun(run)
        describe(run, folder)
        return carryOut(run, folder, context, inputs.model, inputs.topology, None, showProgress)
    finally:
        folder.close()


def prepare(structurePath, modelName, options, allFrames=False):
    """(Inputs, settings, Context) of a new simulation, its energy looked at."""
    from openmm import unit

    from . import _inputs

    inputs = _inputs.createInputs(
        modelName,
        structurePath,
        frame=options["frame"],
        no_periodic=options["no_periodic"],
        allow_missing_hydrogens=options["allow_missing_hydrogens"],
        priors=options["priors"],
        replicas=countReplicas(options),
        removeCMMotion=True,
        allFrames=allFrames,
    )
    settings = resolve(options, inputs.model)
    if settings["pressure_bar"] is not None:
        addBarostat(inputs.system, inputs.structure, settings)
    platform, properties = choosePlatform(options["platform"], options["threads"])
    settings["platform"], settings["threads"] = platform.getName(), options["threads"]
    settings["periodic"] = inputs.structure.box is not None
    context = createContext(inputs.system, settings, platform, properties)
    context.setPositions(inputs.positions * unit.nanometer)
    energy = context.getState(energy=True, forces=True)
    if not math.isfinite(energy.getPotentialEnergy()._value):
        raise UserError(
            f"The potential energy of {structurePath} is {energy.getPotentialEnergy()._value} kJ/mol: the structure is not usable."
        )
    warnOfIsolatedAtoms(context, structurePath, AT_START)
    return inputs, settings, context


def nameOf(structurePath, model):
    """The folder of results where the user names none."""
    return f"{os.path.splitext(os.path.basename(structurePath))[0]}-{model.getName()}"


def describeInputs(structurePath, modelName, inputs):
    """Model and structure, for run.json."""
    model, structure = inputs.model, inputs.structure
    return {
        "model": {
            "argument": modelName,
            "name": model.getName(),
            "architecture": model.getArchitecture(),
            "members": model.getNumMembers(),
            "sha256": model.getSha256(),
        },
        "structure": {
            "path": os.path.abspath(structurePath),
            "sha256": _folder.hashFile(structurePath),
            "particles": structure.numParticles,
            "box_nm": None if structure.box is None else structure.box.tolist(),
        },
    }


def resumeRun(structurePath, modelName, output, showProgress, options, given):
    """Continue a run. Returns whether it came to its end."""
    import openmm

    if output is None:
        raise UserError("--resume continues the run in a folder: give --output FOLDER.")
    folder = _folder.Folder(output)
    run = folder.open()
    try:
        # A run from before there was replica exchange says nothing about it.
        settings = run["settings"] = {"temperatures_K": None, "exchange_interval": None, **run["settings"]}
        refuseDifferences(run, structurePath, modelName, options, given, folder)
        if {"time", "steps"} & given:
            steps = countSteps(options["time"], options["steps"], settings["timestep_fs"])
            if steps < settings["steps"]:
                raise UserError(f"--resume: the run has {settings['steps']} steps; it can be lengthened, not cut to {steps}.")
            settings["steps"], settings["time_ps"] = steps, steps * settings["timestep_fs"] / 1000
        meta, data = _folder.readCheckpoint(folder)
        # A run that was killed after its last step still lacks its results.
        finished = all(os.path.exists(folder[name]) for name in (_folder.STATE, _folder.PLOT))
        if finished and meta["phase"] == PRODUCE and meta["step"] >= settings["steps"]:
            raise UserError(
                f"The run in {folder.path} is complete: {meta['step']} steps, {meta['step'] * settings['timestep_fs'] / 1000:g} ps. "
                "A longer --time (or --steps) continues it."
            )
        if meta["interval"] != frameInterval(settings):
            meta["frames"] = 0  # the one frame of a run shorter than --interval; the longer run has its first one later
        for name, key in ((_folder.LOG, "log"), (_folder.TRAJECTORY[settings["format"]], "trajectory")):
            if meta["frames"]:
                _folder.checkSize(folder[name], meta["sizes"][key])
        system = openmm.XmlSerializer.deserialize(readSystem(folder, run))
        platform, properties = choosePlatform(settings["platform"], settings["threads"])
        context = createContext(system, settings, platform, properties)
        try:
            context.loadCheckpoint(data)
        except Exception as error:
            raise UserError(f"{folder[_folder.CHECKPOINT]} cannot be loaded: {oneLine(error)}") from error
        from ..flash import FlashForce

        model = next(FlashForce.cast(force) for force in system.getForces() if FlashForce.isinstance(force)).getModel()
        say(f"Continuing {folder.path} after step {meta['step']} of the phase '{meta['phase']}'.")
        if settings["pressure_bar"] is not None:
            note("A checkpoint does not hold the size of the barostat's trial steps; it adapts anew: the same ensemble, on another path.")
        topology = blankTopology(system.getNumParticles(), run["structure"]["box_nm"] is not None)
        return carryOut(run, folder, context, model, topology, meta, showProgress)
    finally:
        folder.close()


def resolve(options, model):
    """All settings of a run, none left open."""
    from ._inputs import isAtomistic

    timestep = options["timestep"] or (ATOMIC_TIMESTEP if isAtomistic(model) else BEAD_TIMESTEP)
    steps = countSteps(options["time"], options["steps"], timestep)
    equilibrate = options["equilibrate"]
    equilibration = steps // 10 if equilibrate is None else round(equilibrate * 1000 / timestep)
    if equilibration > MAX_STEPS:
        raise UserError(
            f"--equilibrate {equilibrate:g} ps: the equilibration would have {equilibration} steps; at most {MAX_STEPS} are possible."
        )
    interval = options["interval"]
    if interval > steps:
        note(f"--interval {interval} is longer than the run of {steps} steps: one frame is written, at its end.")
    return {
        "temperature_K": None if options["temperatures"] else options["temperature"],
        "temperatures_K": options["temperatures"],
        "exchange_interval": options["exchange"] if options["temperatures"] else None,
        "timestep_fs": timestep,
        "friction_1/ps": options["friction"],
        "pressure_bar": options["pressure"],
        "steps": steps,
        "time_ps": steps * timestep / 1000,
        "equilibration_steps": equilibration,
        "minimize": options["minimize"],
        "replicas": countReplicas(options),
        "seed": options["seed"] or secrets.randbelow(2**31 - 1) + 1,
        "priors": options["priors"],
        "format": options["format"],
        "interval": interval,
        "checkpoint_interval": options["checkpoint_interval"] or 10 * interval,
        "frame": options["frame"],
        "no_periodic": options["no_periodic"],
        "allow_missing_hydrogens": options["allow_missing_hydrogens"],
    }


def countReplicas(options):
    """--replicas, or one for each of --temperatures, or one."""
    temperatures, replicas = options["temperatures"], options["replicas"]
    if not temperatures:
        return replicas or 1
    if replicas and replicas % len(temperatures):
        raise UserError(
            f"--replicas {replicas} does not divide among {len(temperatures)} --temperatures: give a multiple, or leave --replicas out."
        )
    return replicas or len(temperatures)


def temperatures(settings):
    """All temperatures of thermostats, K."""
    return settings["temperatures_K"] or [settings["temperature_K"]]


def frameInterval(settings):
    """Steps between frames: --interval, or the whole of a run that is shorter, so that it has a frame at all."""
    return min(settings["interval"], settings["steps"])


def countSteps(timePs, steps, timestepFs):
    """Number of steps from --time or --steps."""
    if steps is None:
        timePs = DEFAULT_TIME if timePs is None else timePs
        exact = timePs * 1000 / timestepFs
        steps = max(1, round(exact))
        if abs(steps - exact) > 1e-6 * exact:
            note(
                f"{timePs:g} ps is not a multiple of the time step {timestepFs:g} fs: the run has {steps} steps, "
                f"{steps * timestepFs / 1000:g} ps."
            )
    if steps > MAX_STEPS:
        raise UserError(
            f"The run would have {steps} steps; at most {MAX_STEPS} are possible. Shorten it, and lengthen it later with --resume."
        )
    return steps


def refuseDifferences(run, structurePath, modelName, options, given, folder):
    """Whatever the user states again must be what the run was started with."""
    names = {
        "temperature": "temperature_K",
        "temperatures": "temperatures_K",
        "exchange": "exchange_interval",
        "timestep": "timestep_fs",
        "friction": "friction_1/ps",
        "pressure": "pressure_bar",
    }
    settings, different = run["settings"], []
    for option in sorted(given - FREE - {"equilibrate"}):
        here, there = options[option], settings[names.get(option, option)]
        if option == "platform":
            here = next((name for name in (there,) if name.lower() == here.lower()), here)
        if here != there:
            different.append(f"--{option.replace('_', '-')} is {here} here and {there} there")
    if "equilibrate" in given:
        steps = round(options["equilibrate"] * 1000 / settings["timestep_fs"])
        if steps != settings["equilibration_steps"]:
            there = settings["equilibration_steps"] * settings["timestep_fs"] / 1000
            different.append(f"--equilibrate is {options['equilibrate']:g} ps here and {there:g} ps there")
    if structurePath is not None:
        if not os.path.isfile(structurePath):
            raise UserError(f"There is no structure file {structurePath}.")
        if _folder.hashFile(structurePath) != run["structure"]["sha256"]:
            different.append(f"the structure {structurePath} is not the one of the run, {run['structure']['path']}")
    if modelName is not None:
        from ._inputs import loadModel

        model = loadModel(modelName)
        if model.getSha256() != run["model"]["sha256"]:
            name = run["model"]["name"]
            different.append(
                f"the model {modelName} ({model.getSha256()[:12]}...) is not the one of the run, {name} ({run['model']['sha256'][:12]}...)"
            )
    here = versions()["openmm"]
    if here != run["versions"]["openmm"]:
        different.append(f"OpenMM is {here} here and {run['versions']['openmm']} there, and checkpoints belong to one version")
    if different:
        raise UserError(
            f"--resume: not the run in {folder.path}: {'; '.join(different)}. Leave these options out to continue that "
            "run, or start a new one elsewhere."
        )


def readSystem(folder, run):
    path = folder[_folder.SYSTEM]
    if not os.path.exists(path) or _folder.hashFile(path) != run["system"]["sha256"]:
        raise UserError(f"--resume: {path} is missing or was changed since the run started. Start anew with --overwrite.")
    with open(path, encoding="utf-8") as file:
        return file.read()


def createContext(system, settings, platform, properties):
    import openmm
    from openmm import unit

    friction, timestep = settings["friction_1/ps"] / unit.picosecond, settings["timestep_fs"] * unit.femtosecond
    if settings["temperatures_K"]:
        ladder, replicas = settings["temperatures_K"], settings["replicas"]
        ladder = ladder * (replicas // len(ladder))
        integrator = ReplicaLangevinIntegrator(ladder, friction, timestep, system.getNumParticles() // replicas)
    else:
        integrator = openmm.LangevinMiddleIntegrator(settings["temperature_K"] * unit.kelvin, friction, timestep)
    integrator.setRandomNumberSeed(settings["seed"])
    return openmm.Context(system, integrator, platform, properties)


def drawVelocities(context, settings, exchange):
    """Draw velocities of the thermostats' temperatures; `exchange` where each replica has its own."""
    # Some platforms' thermostats would begin with the same random numbers if they had the same seed.
    seed = int(np.random.SeedSequence([settings["seed"], 1]).generate_state(1)[0]) % (2**31 - 1) + 1
    if exchange is None:
        context.setVelocitiesToTemperature(settings["temperature_K"], seed)
    else:
        exchange.setVelocities(seed)


def addBarostat(system, structure, settings):
    import openmm
    from openmm import unit

    if structure.box is None:
        raise UserError(f"--pressure {settings['pressure_bar']:g} bar needs a periodic box, and {structure.source} has none.")
    if settings["replicas"] > 1:
        raise UserError(
            f"--pressure with --replicas {settings['replicas']}: replicas share one box, so its volume would be nobody's. Run them apart."
        )
    barostat = openmm.MonteCarloBarostat(settings["pressure_bar"] * unit.bar, settings["temperature_K"] * unit.kelvin)
    barostat.setRandomNumberSeed(settings["seed"])
    system.addForce(barostat)


def carryOut(run, folder, context, model, topology, meta, showProgress):
    """Go through the phases that are left, from the checkpoint's `meta` or from the start; leave results and words."""
    settings = run["settings"]
    timestep = settings["timestep_fs"] / 1000
    session = {"started": now(), "from": [meta["phase"], meta["step"]] if meta else None, "ended": "killed"}
    run["sessions"].append(session)
    folder.writeRun(run)
    exchange = Exchange(context, folder, settings, meta) if settings["temperatures_K"] else None
    ladder = exchange and exchange.ladder
    measurement = Measurement(context, settings["replicas"], model.getNumMembers(), max(temperatures(settings)), ladder)
    columns = measurement.columns(settings["pressure_bar"] is not None)
    keep = meta["sizes"] if meta and meta["frames"] else None
    log = _folder.Log(folder[_folder.LOG], columns, keep and keep["log"])
    trajectoryFile, interval = folder[_folder.TRAJECTORY[settings["format"]]], frameInterval(settings)
    trajectory = _folder.Trajectory(trajectoryFile, topology, timestep, interval, keep and (meta["frames"], keep["trajectory"]))
    clock = time.perf_counter()
    phase, step = (meta["phase"], meta["step"]) if meta else (MINIMIZE, 0)
    firstStep = step if phase == PRODUCE else 0
    try:
        with Interrupts() as interrupts:
            progress = Progress(showProgress)
            simulation = Simulation(context, folder, settings, interval, measurement, trajectory, log, interrupts, progress, exchange)
            if phase == MINIMIZE:
                if settings["minimize"]:
                    minimize(context, settings["replicas"], interrupts, simulation.progress)
                    warnOfIsolatedAtoms(context, "after the minimisation", AFTER_MINIMISATION)
                    if interrupts.received:
                        simulation.checkpoint(MINIMIZE, 0)
                        raise Interrupted
                drawVelocities(context, settings, exchange)
                simulation.checkpoint(EQUILIBRATE, 0)
                phase, step = EQUILIBRATE, 0
            if phase == EQUILIBRATE:
                simulation.run(EQUILIBRATE, step, settings["equilibration_steps"])
                context.setTime(0)
                context.setStepCount(0)
                simulation.checkpoint(PRODUCE, 0)
                phase, step = PRODUCE, 0
            start = time.perf_counter()
            step = simulation.run(PRODUCE, step, settings["steps"])
            wall = time.perf_counter() - start
        session["ended"] = "complete"
    except Interrupted:
        session["ended"] = "interrupted"
    except KeyboardInterrupt:
        session["ended"] = "interrupted"
        raise
    except Unstable as error:
        session["ended"] = f"unstable: {oneLine(error)}"
        raise UserError(instability(error, settings, simulation, folder)) from error
    except BaseException as error:
        session["ended"] = f"{type(error).__name__}: {oneLine(error)}"
        raise
    finally:
        trajectory.close()
        log.close()
        if exchange is not None:
            exchange.close()
        session["wall_s"] = round(time.perf_counter() - clock, 2)
        folder.writeRun(run)
    if session["ended"] == "interrupted":
        where = (
            "before the first step" if simulation.lastCheckpoint is None else "after step {1} of '{0}'".format(*simulation.lastCheckpoint)
        )
        say(f"Stopped {where}, with a checkpoint. Continue with:  openmm-flash run --resume -o {folder.path}")
        return False
    finish(run, folder, context, step - firstStep, wall)
    if exchange is not None:
        exchange.summarize()
    return True


def instability(error, settings, simulation, folder):
    """What happened and what to try."""
    kept = simulation.lastCheckpoint
    where = "" if kept is None else f" Frames up to the checkpoint at step {kept[1]} of '{kept[0]}' are good; {folder.path} keeps them."
    advice = [f"a shorter --timestep (it is {settings['timestep_fs']:g} fs)"]
    if not settings["minimize"]:
        advice.append("--minimize")
    if not settings["priors"]:
        advice.append("the model's priors, without which a coarse-grained network is not stable")
    advice.append("look at the structure: atoms that overlap, missing atoms, or chemistry the model has not learned")
    return f"The simulation is unstable: {oneLine(error)}.{where} Try {'; '.join(advice)}."


def finish(run, folder, context, steps, wall):
    """Final state, plot and a summary."""
    import openmm

    from .. import plots

    settings = run["settings"]
    state = context.getState(positions=True, velocities=True, forces=True, energy=True, parameters=True)
    folder.write(_folder.STATE, openmm.XmlSerializer.serialize(state))
    log = plots.readLog(folder[_folder.LOG])
    title = f"{os.path.basename(run['structure']['path'])}, {run['model']['name']}"
    plotted = plots.plotLog(folder[_folder.LOG], folder[_folder.PLOT], title, settings["temperature_K"])
    done = f"Done: {settings['steps']} steps, {settings['time_ps']:g} ps"
    if steps:  # none where a run only lacked its results
        speed = steps * settings["timestep_fs"] / 1000 / wall * 86.4 if wall > 0 else math.nan
        done += f"; {speed:.4g} ns/day" + replicaSpeed(settings["replicas"], speed)
    rows = len(log["step"])
    say(done)
    if rows and not settings["temperatures_K"]:
        half = log["temperature_K"][rows // 2 :]
        say(f"Temperature: {np.mean(half):.1f} K (mean of the second half of {rows} rows)")
    say(f"Results are in {folder.path}:")
    spacing = frameInterval(settings) * settings["timestep_fs"] / 1000
    lines = [
        (_folder.TRAJECTORY[settings["format"]], f"{rows} frames, one every {spacing:g} ps"),
        (run["topology"], "names and bonds for a viewer"),
        (_folder.LOG, "energies, temperature, speed"),
        (_folder.PLOT, "energy and temperature") if plotted else None,
        (_folder.CHECKPOINT, "to continue with --resume"),
        (_folder.STATE, "positions and velocities at the end"),
        (_folder.SYSTEM, "the System, the model in it"),
        (_folder.RUN, "settings, versions, the model's SHA-256"),
    ]
    for name, text in filter(None, lines):
        say(f"  {name:<24} {text}")


def replicaSpeed(replicas, speed):
    return f" for each of {replicas} replicas, {speed * replicas:.4g} together" if replicas > 1 else ""


def describe(run, folder):
    settings, model, structure = run["settings"], run["model"], run["structure"]
    from ..structure import describeBox

    box = None if structure["box_nm"] is None else np.array(structure["box_nm"])
    members = f", {model['members']} members" if model["members"] > 1 else ""
    say(f"Model      {model['name']} ({model['architecture']}{members}), SHA-256 {model['sha256'][:16]}...")
    copies = f", {settings['replicas']} replicas" if settings["replicas"] > 1 else ""
    say(f"Structure  {structure['path']}: {structure['particles']} particles{copies}; box: {describeBox(box)}")
    pressure = "" if settings["pressure_bar"] is None else f", {settings['pressure_bar']:g} bar"
    say(
        f"Run        {settings['time_ps']:g} ps = {settings['steps']} steps of {settings['timestep_fs']:g} fs at "
        f"{describeTemperatures(settings)}{pressure}, "
        f"friction {settings['friction_1/ps']:g}/ps, seed {settings['seed']}"
    )
    say(f"Platform   {settings['platform']}")
    say(f"Output     {folder.path}")


def describeTemperatures(settings):
    ladder, interval = settings["temperatures_K"], settings["exchange_interval"]
    if not ladder:
        return f"{settings['temperature_K']:g} K"
    exchanged = f"exchanged every {interval} steps" if interval else "not exchanged"
    return f"{len(ladder)} temperatures from {ladder[0]:g} to {ladder[-1]:g} K, {exchanged}"


def writeTopology(folder, topology, positions):
    """A file that viewers open beside the trajectory: PDB, or PDBx/mmCIF where PDB is too narrow."""
    from openmm import app, unit

    wide = topology.getNumAtoms() > 99999 or topology.getNumChains() > 26 or np.abs(positions).max() > 90
    name = _folder.TOPOLOGY[1 if wide else 0]
    with open(folder[name], "w", encoding="utf-8") as file:
        if wide:
            app.PDBxFile.writeFile(topology, positions * unit.nanometer, file, keepIds=True)
        else:
            # Beads have no element: leave the column empty rather than call them extra particles.
            app.PDBFile.writeFile(topology, positions * unit.nanometer, file, keepIds=True, extraParticleIdentifier="")
    return name


def blankTopology(numParticles, periodic):
    """Atoms enough to write a trajectory: their number and whether there is a box."""
    from openmm import Vec3, app, unit

    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for _ in range(numParticles):
        topology.addAtom("X", None, residue)
    if periodic:  # each frame brings its own
        topology.setPeriodicBoxVectors([Vec3(1, 0, 0), Vec3(0, 1, 0), Vec3(0, 0, 1)] * unit.nanometer)
    return topology


class Progress:
    """Progress bars with ns/day and time left, or nothing. A total of None counts iterations of a minimisation, with the energy."""

    def __init__(self, show):
        import sys

        self.show = sys.stderr.isatty() if show is None else show

    @contextlib.contextmanager
    def __call__(self, phase, total, start):
        if not self.show or total == 0:
            yield lambda step, speed: None
            return
        from tqdm import tqdm

        if total is None:
            with tqdm(desc=f"{phase.capitalize():<11}", bar_format="{desc} {n_fmt} iterations, {elapsed} gone{postfix}") as bar:

                def count(iteration, energy):
                    bar.set_postfix_str(f"{energy:.1f} kJ/mol", refresh=False)
                    bar.update(iteration - bar.n)

                yield count
            return
        form = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps, {elapsed} gone, {remaining} left{postfix}"
        with tqdm(total=total, initial=start, desc=f"{phase.capitalize():<11}", bar_format=form, dynamic_ncols=True) as bar:

            def advance(step, speed):
                bar.set_postfix_str(f"{speed:.3g} ns/day", refresh=False)
                bar.update(step - bar.n)

            yield advance


def versions():
    """Versions of everything that a result depends on."""
    import platform

    import openmm

    import openmmflash

    return {
        "openmmflash": openmmflash.__version__,
        "openmm": openmm.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
