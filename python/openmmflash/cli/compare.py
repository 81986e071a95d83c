# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash compare: the same protein with our model, AMBER and MARTINI."""

import click

from ..compare.settings import ENGINES, VACUUM
from ._app import UserError, declare, platformOptions, say
from ._values import FRICTION, HOTTEST, STRONGEST, TEMPERATURE, TIMESTEP, Quantity
from .bench import Names

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
PACKAGES = {"mdtraj": "mdtraj", "jinja2": "jinja2", "matplotlib": "matplotlib"}


@declare("compare")
@click.argument("structure", metavar="[PDB]", required=False)
@click.option("--model", metavar="MODEL", help="Our model: a file, or a name. Default: ani1x.")
@click.option("--reference", metavar="FILE", help="Structure file converted with a model whose priors are specialised for this protein.")
@click.option(
    "--engines",
    type=Names(ENGINES),
    help="Of flash, amber-vacuum, amber-implicit, amber-explicit, martini. Default: all that fit the model.",
)
@click.option("--martini", "martiniFiles", metavar="FILE", multiple=True, help="MARTINI's interaction file, and those of water and ions.")
@click.option("--martini-elastic", is_flag=True, help="MARTINI with an elastic network, as for large folded proteins.")
@click.option("--gmx", metavar="PROGRAM", default="gmx", show_default=True, help="GROMACS.")
@click.option("--implicit", type=click.Choice(["gbn2", "obc2"]), default="gbn2", show_default=True, help="AMBER's implicit solvent.")
@click.option("--alanines", type=click.IntRange(1, 100), default=8, show_default=True, help="Of ACE-(ALA)n-NME, without PDB.")
@click.option("--time-budget", type=Quantity(SECONDS, 0, True, 1e6), default="120 s", show_default=True, help="Production of each engine.")
@click.option("--frames", type=click.IntRange(2, 100000), default=500, show_default=True, help="Aimed at in each trajectory.")
@click.option("--replicas", type=click.IntRange(1, 1024), help="Trajectories of our model at once. Default: 16 of beads, 1 of atoms.")
@click.option("--temperature", type=Quantity(TEMPERATURE, 0, True, HOTTEST), default="300", show_default=True, help="Of all engines.")
@click.option("--friction", type=Quantity(FRICTION, 0, False, STRONGEST), default="1", show_default=True, help="Of OpenMM's integrators.")
@click.option("--timestep", type=Quantity(TIMESTEP, 0, True, 100), help="Of our model. Default: 4 fs of beads, 0.5 fs of atoms.")
@click.option("--coordinate", type=click.Choice(["tica", "rmsd"]), default="tica", show_default=True, help="Of the free energy.")
@click.option("--seed", type=click.IntRange(1, 2**31 - 4), default=1, show_default=True, help="Of all random numbers.")
@platformOptions
@click.option("-o", "--output", metavar="FOLDER", default="compare", show_default=True, help="Where everything is written.")
@click.option("--overwrite", is_flag=True, help="Replace the comparison that is in the folder.")
def command(structure, **options):
    """Run a protein with our model, AMBER and MARTINI for the same time each, and write one report.

    \b
    flash           our model, of atoms or beads (--model)
    amber-vacuum    AMBER ff14SB alone; by default with models of atoms only
    amber-implicit  with GBn2 or OBC2
    amber-explicit  with TIP3P water, PME, 1 bar
    martini         martinize2 and GROMACS, with your MARTINI files (--martini)

    Without PDB, poly-alanine. The report is FOLDER/report.html, all numbers are in report.json. The exit code is 0 if all engines ran, 1 if
    one failed or one named by --engines is missing. docs/compare.md says what is run and how to read it.
    """
    import os

    from ..compare import CompareError
    from ..compare.runner import compare, isFailure
    from ._inputs import isAtomistic, loadModel
    from ._platforms import choosePlatform

    _checkPackages()
    _checkFiles(structure, options)
    model = loadModel(options["model"] or "ani1x")
    platform, properties = choosePlatform(options["platform"], options["threads"])
    settings = _settings(options, isAtomistic(model), platform.getName(), properties)
    folder = os.path.abspath(options["output"])
    locked = _makeFolder(folder, options["overwrite"])
    try:
        outcomes, path = compare(structure, settings, folder, platform, options["alanines"], say)
    except CompareError as error:
        raise UserError(str(error)) from error
    finally:
        locked.close()
    say(f"report: {path}")
    if isFailure(outcomes, settings):
        click.get_current_context().exit(1)


def _checkPackages():
    import importlib.util

    lacking = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if lacking:
        raise UserError(
            f"compare needs the packages {', '.join(lacking)}: pip install 'openmm-flash[compare]', or pip install {' '.join(lacking)}."
        )


def _checkFiles(structure, options):
    import os

    given = [("PDB", structure), ("--reference", options["reference"]), *(("--martini", path) for path in options["martiniFiles"])]
    for name, path in given:
        if path is not None and not os.path.isfile(path):
            raise UserError(f"{name}: there is no file {path}.")


def _settings(options, atomistic, platform, properties):
    from ..bench.machine import cores
    from ..compare.settings import Settings

    default = ENGINES if atomistic else tuple(name for name in ENGINES if name != VACUUM)
    threads = options["threads"] or cores()
    if platform == "CPU":
        properties = {"Threads": str(threads)}
    if atomistic and options["reference"] is not None:
        raise UserError("--reference: the model is one of atoms, which need none.")
    return Settings(
        model=options["model"] or "ani1x",
        platform=platform,
        properties=properties,
        threads=threads,
        engines=tuple(name for name in ENGINES if name in (options["engines"] or default)),
        named=options["engines"] is not None,
        budget=options["time_budget"],
        frames=options["frames"],
        replicas=options["replicas"],
        temperature=options["temperature"],
        friction=options["friction"],
        timestep=options["timestep"],
        implicit=options["implicit"],
        seed=options["seed"],
        reference=options["reference"],
        martiniFiles=options["martiniFiles"],
        elastic=options["martini_elastic"],
        gmx=options["gmx"],
        coordinate=options["coordinate"],
    )


def _makeFolder(folder, overwrite):
    """An empty folder, locked until it is closed; `overwrite` removes an earlier comparison, and nothing else."""
    import os
    import shutil

    from ..compare.runner import REPORT
    from ._folder import LOCK, Folder
    from ._outputs import checkFolder

    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UserError(f"--output {folder} is a file. Give the name of a folder.")
    checkFolder(folder)
    os.makedirs(folder, exist_ok=True)
    found = set(os.listdir(folder)) - {LOCK}
    if found and not overwrite:
        raise UserError(f"The folder {folder} is not empty. Give another --output, or --overwrite to replace the comparison in it.")
    foreign = sorted(found - {*REPORT, *ENGINES})
    if foreign:
        raise UserError(f"--overwrite: {folder} has {', '.join(foreign[:5])}, which no comparison wrote. Give another --output.")
    locked = Folder(folder)
    locked.lock()
    for name in {*REPORT, *ENGINES} & set(os.listdir(folder)) if overwrite else ():
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.remove(path)
    return locked
