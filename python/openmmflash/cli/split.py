# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash split: trajectories of single replicas, or of single temperatures."""

import click

from ._app import declare, say


@declare("split")
@click.argument("folder")
@click.option(
    "--by", type=click.Choice(["replica", "temperature"]), default="replica", show_default=True,
    help="A trajectory for each replica, continuous in time; or for each temperature of a run with exchange, continuous in none.",
)  # fmt: skip
@click.option("--output", "-o", metavar="FOLDER", help="Folder of the files. Default: by_replica or by_temperature in FOLDER.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
def command(folder, by, output, overwrite):
    """Split the trajectory of a run with replicas, in FOLDER, into one file for each.

    Beside each trajectory there is a CSV file with a row for every frame: step, time, replica, thermostat's temperature, potential energy
    and kinetic temperature. topology.pdb is that of one replica. Needs mdtraj.
    """
    from ._split import splitRun

    written = splitRun(folder, by, output, overwrite)
    say(f"{written.files} trajectories of {written.frames} frames are in {written.folder}")
