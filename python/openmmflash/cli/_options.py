# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What a simulation is asked to be: the options that run and ensemble share."""

import click

from ._app import UserError
from ._values import DURATION, FRICTION, HOTTEST, PRESSURE, STRONGEST, TEMPERATURE, TIMESTEP, Ladder, Quantity

OPTIONS = (
    click.option(
        "--time",
        "time",
        type=Quantity(DURATION, exclusive=True),
        help="Length of the production run (ps; 2ns and 500fs work too). Default: 10 ps.",
    ),
    click.option("--steps", type=click.IntRange(min=1), help="The same in steps."),
    click.option(
        "--equilibrate", type=Quantity(DURATION), help="Time before the production run, without output (ps). Default: a tenth of --time."
    ),
    click.option(
        "--temperature",
        type=Quantity(TEMPERATURE, maximum=HOTTEST),
        default="300",
        show_default=True,
        help="Temperature of the Langevin thermostat (K).",
    ),
    click.option(
        "--temperatures",
        type=Ladder(),
        help="Replica exchange: a temperature for each replica (K), rising: 300,320,350, or 300:450:8 for 8 of equal ratios. "
        "--replicas may be a multiple: so many ladders side by side.",
    ),
    click.option(
        "--exchange",
        type=click.IntRange(min=0),
        default=250,
        show_default=True,
        help="Steps between exchanges of --temperatures; 0: each replica keeps its own.",
    ),
    click.option(
        "--timestep",
        type=Quantity(TIMESTEP, exclusive=True),
        help="Time step (fs). Default: 0.5 for atoms (hydrogens are flexible, and ANI's networks have no continuous second derivative), "
        "4 for coarse-grained beads.",
    ),
    click.option(
        "--friction",
        type=Quantity(FRICTION, maximum=STRONGEST),
        default="1",
        show_default=True,
        help="Friction of the thermostat (1/ps); 0 conserves the energy.",
    ),
    click.option(
        "--pressure",
        type=Quantity(PRESSURE, minimum=-1e6),
        help="Pressure of a Monte Carlo barostat (bar); needs a periodic box; after --resume the size of its trial steps "
        "adapts anew. Default: constant volume.",
    ),
    click.option("--minimize/--no-minimize", default=True, show_default=True, help="Minimise the energy first."),
    click.option(
        "--replicas",
        type=click.IntRange(min=1),
        help="Independent copies, simulated together. Default: 1, or one for each of --temperatures.",
    ),
    click.option(
        "--seed", type=click.IntRange(1, 2**31 - 1), help="Seed of velocities and thermostat. Default: a random one, written to run.json."
    ),
    click.option("--priors/--no-priors", default=True, show_default=True, help="Use the priors that belong to a coarse-grained model."),
    click.option(
        "--format", "format", type=click.Choice(["dcd", "xtc"]), default="dcd", show_default=True, help="Format of the trajectory."
    ),
    click.option(
        "--interval", type=click.IntRange(min=1), default=200, show_default=True, help="Steps between frames and between rows of the log."
    ),
)


def simulationOptions(function):
    """The options that say what is simulated and what is written of it."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def givenOptions(context):
    """Names of the options that stand on the command line."""
    return {name for name in context.params if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}


def checkOptions(options, given, resume, overwrite):
    """Refuse options that contradict each other."""
    if resume and overwrite:
        raise UserError("--resume continues a run and --overwrite deletes it. Give one of them.")
    if options["time"] is not None and options["steps"] is not None:
        raise UserError(f"--time {options['time']:g} ps and --steps {options['steps']} both set the length. Give one of them.")
    if {"temperature", "temperatures"} <= given:
        raise UserError("--temperature is of all replicas, --temperatures are one for each. Give one of them.")
    if "exchange" in given and options["temperatures"] is None and not resume:
        raise UserError(f"--exchange {options['exchange']} is about --temperatures, which are not given.")


def checkInputs(structure, model):
    """A new simulation needs both."""
    if structure is None:
        raise UserError("Give a STRUCTURE: a PDB, PDBx/mmCIF, extended XYZ or npz file.")
    if model is None:
        raise UserError("Give a --model: a model file (.safetensors), or a name such as ani1x. `openmm-flash diagnose` lists the names.")
