# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The command openmm-flash; one file per command. Nothing heavy is imported before a command needs it."""

COMMANDS = ("run", "ensemble", "split", "energy", "convert", "coarsegrain", "info", "check", "bench", "compare", "diagnose")


def main(args=None, prog_name="openmm-flash"):
    """Entry point of the command line; ends the process with its exit code (0 done, 1 a check failed or an internal error, 2 bad input)."""
    try:
        import click  # noqa: F401
    except ImportError:
        import sys

        sys.exit("Error: the command line needs the package 'click'. Install it: pip install click tqdm matplotlib ase")
    from ._app import app

    app.main(args=args, prog_name=prog_name)
