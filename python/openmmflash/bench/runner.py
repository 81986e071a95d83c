# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Measures a case: every program in a process of its own, results compared first, then times in turns."""

import math
import os
import statistics
import sys
from dataclasses import dataclass, field

import numpy as np

from .process import MeasuredProcess, ProcessFailed
from .programs import OURS, TUNED_MALLOC, Program

LEAST = 5  # evaluations that a median needs
MOST = 2000
KEEP = 0.08  # of the machine's memory: a process that uses more is ended after its turn and started anew for the next
# How far a program in single precision may be from ours: forces, root mean square of the difference; and energies.
FORCE_TOLERANCE = {"single": 1e-4, "half": 2e-2}  # of the RMS force
ENERGY_TOLERANCE = {"single": 1e-4, "half": 1e-2}  # of the energy, and of 1 kJ/mol a particle
STIFFNESS = 5e5  # kJ/mol/nm^2, of the stiffest bonds: what coordinates rounded to single precision do to forces


@dataclass
class Settings:
    platform: str
    threads: int
    seconds: float = 3.0
    rounds: int = 3
    malloc: tuple = ("plain", "tuned")
    precision: str = "single"
    profile: bool = False
    memoryLimit: float = 8e9
    timeLimit: float = 600.0
    pythons: dict = field(default_factory=dict)
    paths: dict = field(default_factory=dict)


@dataclass
class Contender:
    """One program in one form, and what was measured of it."""

    program: str
    adapter: str
    form: str
    malloc: str
    python: str
    threads: int
    job: dict
    compared: bool = True
    environment: dict = field(default_factory=dict)
    wanted: tuple = ()  # axes; () for all the adapter has
    status: str = "ok"
    reason: str = ""
    versions: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    axes: list = field(default_factory=list)
    rounds: dict = field(default_factory=dict)  # axis -> [[seconds of each evaluation] of each round]
    cpu: dict = field(default_factory=dict)  # axis -> [processor seconds of all threads in one evaluation] of each round
    baseline: int = 0
    peak: int = 0
    agreement: dict = field(default_factory=dict)
    report: object = None
    process: MeasuredProcess | None = None

    @property
    def label(self):
        parts = [self.form, "tuned malloc" if self.malloc == "tuned" else ""]
        return self.program + "".join(f", {part}" for part in parts if part)

    def median(self, axis):
        """Seconds, or None."""
        times = [t for times in self.rounds.get(axis, []) for t in times]
        return statistics.median(times) if times and self.status == "ok" else None

    def least(self, axis):
        times = [t for times in self.rounds.get(axis, []) for t in times]
        return min(times) if times and self.status == "ok" else None


def contenders(case, programs, settings):
    """Ours and all forms of the programs that this case suits."""
    job = {"folder": str(case.folder), "timestep": case.timestep, "platform": settings.platform, "precision": settings.precision}
    threads = settings.threads

    def make(program, adapter, form="", malloc="plain", threads=threads, options=None, **more):
        python = settings.pythons.get(program, sys.executable)
        return Contender(program, adapter, form, malloc, python, threads, {**job, "threads": threads, **(options or {})}, **more)

    mine = {"priors": case.priors}
    result = [make(OURS, "ours", options=mine)]
    suited = [program for program in programs if case.test in program.tests and case.architecture in program.architectures]
    if settings.profile:
        result.append(_profiled(make, mine, threads, "profiled"))
    if settings.platform == "CPU" and any(program.threads == 1 for program in suited):
        result.append(_profiled(make, mine, 1, "profiled, one thread"))
    for program in suited:
        for form, options in program.forms(case):
            for malloc in settings.malloc if program.torch else ("plain",):
                options = options | {"path": settings.paths.get(program.name, [])}
                environment = TUNED_MALLOC if malloc == "tuned" else {}
                count = program.threads or threads
                more = {"compared": program.compared, "environment": environment}
                result.append(make(program.name, program.adapter, form, malloc, count, options, **more))
    return result


def _profiled(make, options, threads, form):
    profile = {"OPENMMFLASH_CPU_PROFILE": "1"}
    return make(OURS, "ours", form, threads=threads, options=options, environment=profile, wanted=("total",), compared=False)


def measure(case, programs: tuple[Program, ...], settings, say=lambda text: None):
    """Everything of one case: the contenders, measured."""
    everyone = contenders(case, programs, settings)
    ours = None
    try:
        for contender in everyone:
            say(f"{case.test}, {case.label}: {contender.label}")
            if not _try(contender, lambda c=contender: _prepare(c, case, settings)):
                if contender is everyone[0]:
                    raise ProcessFailed(f"{case.test}, {case.label}: {contender.reason}")
                continue
            results = contender.agreement.pop("results")
            if ours is None:
                ours = results
            if contender.compared and contender is not everyone[0]:
                contender.agreement = compare(results, ours, case, settings.precision, _coordinates(case))
                if not contender.agreement["agrees"]:
                    contender.status, contender.reason = "disagrees", contender.agreement["text"]
                    _close(contender)
            _release(contender)
        for turn in range(settings.rounds):
            order = [c for c in everyone if c.status == "ok"]
            # To and fro, so that a machine that becomes slower or faster favours nobody.
            for contender in order if turn % 2 == 0 else order[::-1]:
                say(f"{case.test}, {case.label}: round {turn + 1} of {settings.rounds}: {contender.label}")
                _try(contender, lambda c=contender, t=turn: _turn(c, case, settings, t))
                _release(contender)
        if everyone[0].status != "ok":
            raise ProcessFailed(f"{case.test}, {case.label}: {everyone[0].reason}")
    finally:
        for contender in everyone:
            _close(contender)
    return everyone


def _try(contender, action):
    try:
        action()
    except ProcessFailed as error:
        contender.status, contender.reason = "failed", str(error)
        _close(contender)
    return contender.status == "ok"


def _start(contender, case, settings):
    log = os.path.join(case.folder, f"{contender.label.replace(', ', '-').replace(' ', '-')}.log")
    process = contender.process = MeasuredProcess(
        contender.python, contender.threads, contender.environment, log, settings.memoryLimit, settings.timeLimit
    )
    answer = process.ask("load", adapter=contender.adapter, job=contender.job)
    contender.versions, contender.baseline = answer["versions"], answer["baseline"]
    answer = process.ask("build")
    contender.axes, contender.notes = [axis for axis in answer["axes"] if axis in (contender.wanted or answer["axes"])], answer["notes"]


def _prepare(contender, case, settings):
    """Start it, and keep its results to be compared."""
    contender.agreement["results"] = None
    mine = contender.program == OURS
    if not contender.compared and not mine:
        return _start(contender, case, settings)
    # Peers evaluate the network. Ours with priors is compared without them, in a process that is not measured.
    job = contender.job
    contender.job = job | {"priors": "none"} if mine else job
    _start(contender, case, settings)
    file = os.path.join(case.folder, "results.npz")
    contender.process.ask("evaluate", file=file)
    with np.load(file) as data:
        contender.agreement["results"] = data["energies"], data["forces"]
    if contender.job != job:
        _close(contender)
        contender.job = job
    return None


def _turn(contender, case, settings, turn):
    if contender.process is None:
        _start(contender, case, settings)
    profiled = "OPENMMFLASH_CPU_PROFILE" in contender.environment
    before = contender.process.ask("call", method="report")["result"] if profiled else None
    for axis in contender.axes:
        answer = contender.process.ask(
            "time",
            axis=axis,
            warmup=2 if turn == 0 else 1,
            repeats=math.ceil(LEAST / settings.rounds),
            seconds=settings.seconds / settings.rounds / len(contender.axes),
            most=MOST,
        )
        contender.rounds.setdefault(axis, []).append(answer["times"])
        contender.cpu.setdefault(axis, []).append(answer["cpu"])
    contender.peak = max(contender.peak, contender.process.ask("memory")["peak"] - contender.baseline)
    if contender.program == OURS:
        report = contender.process.ask("call", method="report")["result"]
        contender.report = report
        if profiled:
            _addStages(contender, before, report)


def _addStages(contender, before, after):
    """Seconds of each stage of one evaluation in this round, from the profile before and after it."""
    if not after or "profile" not in after:
        return
    first, last = (before or {}).get("profile", {}), after["profile"]
    evaluations = last["evaluations"] - first.get("evaluations", 0)
    for stage, seconds in last.items():
        if stage != "evaluations" and evaluations:
            contender.rounds.setdefault(f"stage {stage}", []).append([(seconds - first.get(stage, 0.0)) / evaluations])


def _release(contender):
    """A process that keeps much memory does not stay while others are measured."""
    if contender.process is not None:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if contender.process.resident() > KEEP * total:
            _close(contender)


def _close(contender):
    if contender.process is not None:
        contender.process.close()
        contender.process = None


def _coordinates(case):
    with np.load(case.folder / "system.npz") as data:
        return float(np.abs(data["frames"][0]).max())


def compare(theirs, ours, case, precision, extent):
    """Whether energies (per replica, without type energies) and forces agree.

    Returns
    -------
    dict
        agrees, text, energyDifference (largest, kJ/mol), forceDifference (RMS of the difference over the RMS force) and
        allowedForceDifference.
    """
    (energies, forces), (energies0, forces0) = theirs, ours
    result = {"agrees": False, "text": "", "energyDifference": None, "forceDifference": None, "allowedForceDifference": None}
    if energies.shape != energies0.shape or forces.shape != forces0.shape:
        result["text"] = f"it gave {energies.size} energies and {len(forces)} forces instead of {energies0.size} and {len(forces0)}"
        return result
    rms = float(np.sqrt(np.mean(forces0**2)))
    difference = float(np.sqrt(np.mean((forces - forces0) ** 2)))
    energy = float(np.abs(energies - energies0).max())
    rounding = STIFFNESS * 0.5 * float(np.spacing(np.float32(extent))) / rms
    allowed = FORCE_TOLERANCE[precision] + rounding
    particles = case.atoms // case.replicas
    allowedEnergy = ENERGY_TOLERANCE[precision] * (float(np.abs(energies0).max()) + particles)
    result |= {"energyDifference": energy, "forceDifference": difference / rms, "allowedForceDifference": allowed}
    # Written so that NaN does not agree.
    result["agrees"] = bool(difference / rms <= allowed and energy <= allowedEnergy)
    if not result["agrees"]:
        result["text"] = (
            f"its forces are {difference / rms:.1e} of the RMS force from ours (allowed {allowed:.1e}), "
            f"its energy {energy:.3g} kJ/mol (allowed {allowedEnergy:.3g})"
        )
    return result
