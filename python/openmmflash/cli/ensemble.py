# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash ensemble: many runs, over many processes or machines."""

import contextlib

import click

from ._app import INTERNAL_ERROR, declare, platformOptions, structureOptions
from ._options import checkInputs, checkOptions, givenOptions, simulationOptions


@declare("ensemble")
@click.argument("structure", required=False)
@click.option("--model", "-m", metavar="MODEL", help="Model file or name. Needed unless --resume.")
@click.option(
    "--output", "-o", metavar="FOLDER", help="Folder of the results, which all workers must see under this name. Default: as that of run."
)
@click.option("--runs", type=click.IntRange(min=1), default=4, show_default=True, help="Runs, each with seeds of its own.")
@simulationOptions
@click.option(
    "--chunk", type=click.IntRange(min=1), help="Steps from checkpoint to checkpoint, a multiple of --interval: what is made anew where a "
    "worker dies. Some minutes are a good length. Default: 100 times --interval.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="Processes on this machine. Default: 2.")
@click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler, tcp://HOST:PORT, whose workers are used instead.")
@click.option("--resume", is_flag=True, help="Continue the runs in --output; --time or --steps may lengthen them.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier ensemble in --output.")
@click.option("--progress/--no-progress", default=None, help="Progress bar. Default: in a terminal.")
@platformOptions
@structureOptions
@click.pass_context
def command(context, structure, model, output, runs, chunk, workers, scheduler, resume, overwrite, progress, **options):
    """Simulate STRUCTURE many times, on the workers of a Dask cluster.

    FOLDER then holds run_000, run_001 and so on, in each a folder for every chunk, with its trajectory, log and checkpoint. Where a worker
    dies, others continue its runs from their checkpoints; no frame is lost or doubled. Needs pip install "openmm-flash[ensemble]".
    """
    from . import _ensemble

    given = givenOptions(context)
    checkOptions(options, given, resume, overwrite)
    if not resume:
        checkInputs(structure, model)
    with contextlib.ExitStack() as stack:
        client = _ensemble.connect(stack, workers, scheduler)
        if resume:
            lock = _ensemble.reopen(stack, output, options, given)
        else:
            lock = _ensemble.create(stack, structure, model, output, overwrite, runs, chunk, options)
        complete = _ensemble.carryOut(lock, client, workers, options, progress)
    if not complete:
        context.exit(INTERNAL_ERROR)
