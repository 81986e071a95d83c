# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The group of commands, what happens to errors, and options that several commands share."""

import importlib
import os
import sys
import traceback

import click

from . import COMMANDS

INTERNAL_ERROR = 1
BAD_INPUT = 2
INTERRUPTED = 130


class UserError(click.ClickException):
    """Something the user can put right: a line or a few, exit code 2."""

    exit_code = BAD_INPUT


class Group(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, context):
        return list(COMMANDS)

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        return importlib.import_module(f".{name}", __package__).command


class Command(click.Command):
    """A command whose errors are messages, not tracebacks; --debug shows where they come from."""

    def __init__(self, *args, **keywords):
        super().__init__(*args, **keywords)
        self.params.append(click.Option(["--debug"], is_flag=True, help="Show the full traceback of an error."))

    def invoke(self, context):
        debug = context.params.pop("debug") or os.environ.get("OPENMMFLASH_DEBUG", "") not in ("", "0")
        try:
            for parameter in self.params:
                if context.params.get(parameter.name) == "":
                    raise UserError(f"{parameter.get_error_hint(context)} is empty: give a value, or leave it out if it is optional.")
            return super().invoke(context)
        except (click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            context.exit(INTERRUPTED)
        except BrokenPipeError:
            raise
        except Exception as error:
            if debug:
                traceback.print_exc()
            if isinstance(error, click.ClickException):
                raise
            if isUsersError(error):
                raise UserError(messageOf(error)) from error
            text = f"Error: internal error, {type(error).__name__}: {oneLine(error)}. Repeat it with --debug and report what that shows."
            click.echo(text, err=True)
            sys.exit(INTERNAL_ERROR)


def isUsersError(error):
    """Whether an exception's message is written for the user: ours, OpenMM's and the operating system's.

    Any other one, a plain ValueError included, comes from a mistake in the program.
    """
    from openmm import OpenMMException

    from ..convert import ConversionError
    from ..structurefile import StructureError

    return isinstance(error, (ConversionError, StructureError, OpenMMException, OSError))


def messageOf(error):
    """The message for the user: one line, but that of a model which is not installed is a list of places and of ways to get it."""
    from ..models import ModelNotFoundError

    return str(error) if isinstance(error, ModelNotFoundError) else oneLine(error)


def oneLine(error):
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="openmm-flash", prog_name="openmm-flash")
def app():
    """Machine-learned force fields in OpenMM: simulate, evaluate, convert and check models.

    MODEL is a model file (.safetensors) or the name of a model, e.g. ani1x; STRUCTURE is a PDB, PDBx/mmCIF, extended XYZ or npz file.
    """


def declare(name, **keywords):
    """Declare a command of openmm-flash."""
    return click.command(name, cls=Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}, **keywords)


def platformOptions(function):
    """--platform and --threads."""
    function = click.option("--threads", type=click.IntRange(min=1), help="Threads of the CPU platform. Default: all cores.")(function)
    text = "OpenMM platform: CUDA, HIP, OpenCL, CPU or Reference. Default: the fastest that works."
    return click.option("--platform", metavar="NAME", help=text)(function)


def structureOptions(function):
    """How a structure file is read."""
    text = "Accept structures without their hydrogens (an all-atom model then describes another molecule)."
    function = click.option("--allow-missing-hydrogens", is_flag=True, help=text)(function)
    function = click.option("--no-periodic", is_flag=True, help="Ignore the structure's box.")(function)
    text = "Frame of a structure file with several, from 0; -1 is the last. Default: the first; with --replicas, all in turn."
    return click.option("--frame", type=int, help=text)(function)


def say(text=""):
    """One line for the user."""
    click.echo(text)


def note(text):
    click.echo(f"Note: {text}", err=True)
