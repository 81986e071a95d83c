# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash run: minimise, equilibrate, produce."""

import click

from ._app import INTERRUPTED, declare, platformOptions, structureOptions
from ._options import checkInputs, checkOptions, givenOptions, simulationOptions


@declare("run")
@click.argument("structure", required=False)
@click.option("--model", "-m", metavar="MODEL", help="Model file or name. Needed unless --resume.")
@click.option("--output", "-o", metavar="FOLDER", help="Folder of the results. Default: STRUCTURE's name with -MODEL appended.")
@simulationOptions
@click.option("--checkpoint-interval", type=click.IntRange(min=1), help="Steps between checkpoints. Default: ten times --interval.")
@click.option(
    "--resume", is_flag=True, help="Continue the run in --output exactly where its checkpoint is; --time or --steps may lengthen it."
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier run's files in --output.")
@click.option("--progress/--no-progress", default=None, help="Progress bar. Default: in a terminal.")
@platformOptions
@structureOptions
@click.pass_context
def command(context, structure, model, output, resume, overwrite, progress, **options):
    """Simulate STRUCTURE with a model: minimise, equilibrate, produce.

    FOLDER then holds the trajectory with a topology.pdb for viewers, log.csv, a plot, checkpoint.npz, final_state.xml, system.xml and
    run.json. Ctrl-C stops with a checkpoint; `openmm-flash run --resume -o FOLDER` continues without losing or doubling a frame.
    """
    from . import _run

    given = givenOptions(context)
    checkOptions(options, given, resume, overwrite)
    if resume:
        finished = _run.resumeRun(structure, model, output, progress, options, given)
    else:
        checkInputs(structure, model)
        finished = _run.startRun(structure, model, output, overwrite, progress, options)
    if not finished:
        context.exit(INTERRUPTED)
