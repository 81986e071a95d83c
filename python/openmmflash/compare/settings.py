# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What a comparison is asked for, and what each engine left behind."""

import dataclasses

FLASH, VACUUM, IMPLICIT, EXPLICIT, MARTINI = "flash", "amber-vacuum", "amber-implicit", "amber-explicit", "martini"
ENGINES = (FLASH, VACUUM, IMPLICIT, EXPLICIT, MARTINI)
EQUILIBRATION = 0.1  # of the time budget, before it
SINGLE = 0.05  # of the time budget, after it: the speed of one trajectory where several ran together, and of several where one ran
PADDING, SALT = 2.0, 0.15  # nm from copy to copy and mol/l, of boxes with water
LIMIT = 900  # seconds beyond three budgets after which an engine is ended


@dataclasses.dataclass
class Settings:
    """One comparison. Times in seconds of the wall clock where their name says so."""

    model: str
    """A model file or a name."""
    platform: str
    """OpenMM's, of everything that OpenMM runs."""
    properties: dict = dataclasses.field(default_factory=dict)
    threads: int = 1
    engines: tuple = (FLASH, IMPLICIT, EXPLICIT, MARTINI)
    named: bool = False
    """Whether the user named the engines, so that a missing one is a failure."""
    budget: float = 120.0
    """Wall-clock seconds of production of each engine."""
    frames: int = 500
    """Frames of each trajectory that are aimed at."""
    replicas: int | None = None
    """Trajectories of our model in one Context; None: 16 of beads, 1 of atoms."""
    temperature: float = 300.0
    """K"""
    friction: float = 1.0
    """1/ps, of OpenMM's Langevin integrators"""
    timestep: float | None = None
    """fs, of our model; None: 4 of beads, 0.5 of atoms"""
    implicit: str = "gbn2"
    seed: int = 1
    reference: str | None = None
    """The structure file that was converted with a model of beads whose priors are specialised for this protein."""
    martiniFiles: tuple = ()
    elastic: bool = False
    gmx: str = "gmx"
    coordinate: str = "tica"


@dataclasses.dataclass
class Outcome:
    """What became of an engine.

    Attributes
    ----------
    status : str
        "done", "failed" or "missing".
    reason, advice : str or None
        Why it failed or is missing, and what to do about it.
    log : str or None
        The end of its log, of a failed engine.
    result : dict
        Of a finished one: title, details, steps, wall_s, cpu_s, timestep_fs, trajectories (paths), topology and reference (paths), bead
        (the name of the particle that stands for a residue), single_steps_per_s, and crowd: trajectories and steps_per_s (their sum) of
        as many one-thread runs at once as there are threads, where that was measured.
    measures : analysis.Measures or None
    """

    name: str
    status: str
    reason: str | None = None
    advice: str | None = None
    log: str | None = None
    result: dict = dataclasses.field(default_factory=dict)
    measures: object = None
