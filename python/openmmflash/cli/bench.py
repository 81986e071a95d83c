# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash bench: our time and memory beside those of other programs."""

import click

from ._app import UserError, declare, note, say

TESTS = ("polyala", "cg", "water")
SMALLEST, LARGEST, MOST_REPLICAS = 22, 50002, 128
PREFERRED = ("ani2x", "ani1x", "ani1ccx")  # of the installed ones, the first is the default
DEFAULT_ATOMS = {"polyala": (112, 1012), "water": (192, 1029)}


class Numbers(click.ParamType):
    """Whole numbers, separated by commas, between two limits."""

    name = "numbers"

    def __init__(self, low, high):
        self.low, self.high = low, high

    def get_metavar(self, param, ctx=None):
        return "N,N,..."

    def convert(self, value, param, context):
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers, such as 112,1012.", param, context)
        for number in numbers:
            if not self.low <= number <= self.high:
                self.fail(f"{number} is not between {self.low} and {self.high}.", param, context)
        return tuple(dict.fromkeys(numbers))


class Names(click.ParamType):
    """Names out of a list, separated by commas."""

    name = "names"

    def __init__(self, allowed, words=()):
        self.allowed, self.words = tuple(allowed), tuple(words)

    def get_metavar(self, param, ctx=None):
        return "NAME,..."

    def convert(self, value, param, context):
        if isinstance(value, tuple) or value in self.words:
            return value
        names = tuple(dict.fromkeys(value.split(",")))
        for name in names:
            if name not in self.allowed:
                self.fail(f"{name!r} is not known; there are {', '.join((*self.allowed, *self.words))}.", param, context)
        return names


class Assignment(click.ParamType):
    """NAME=PATH for one of our peers; the path must exist."""

    name = "assignment"

    def get_metavar(self, param, ctx=None):
        return "NAME=PATH"

    def convert(self, value, param, context):
        import os

        from ..bench.programs import NAMES

        if isinstance(value, tuple):
            return value
        name, equals, path = value.partition("=")
        if not equals or name not in NAMES:
            self.fail(f"{value!r} is not NAME=PATH with a NAME out of {', '.join(NAMES)}.", param, context)
        if not os.path.exists(path):
            self.fail(f"{value!r}: there is no {path or 'path'}.", param, context)
        return name, os.path.abspath(path)


@declare("bench")
@click.option("--test", type=Names(TESTS), default=",".join(TESTS), show_default=True, help="Cases to run.")
@click.option("--platform", metavar="NAME", default="CPU", show_default=True, help="OpenMM platform of our part.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of every program. Default: all cores.")
@click.option("--model", metavar="A,B", help="Of polyala and water: ANI models, by name or file, and schnet. Default: ani2x or ani1x.")
@click.option("--atoms", type=Numbers(SMALLEST, LARGEST), help="Sizes of polyala and water; the nearest possible are taken.")
@click.option("--replicas", type=Numbers(1, MOST_REPLICAS), default="1,16", show_default=True, help="Of cg.")
@click.option("--priors", type=click.Choice(["none", "pair", "all"]), default="pair", show_default=True, help="Of our part of cg.")
@click.option("--beads", metavar="FILE", help="npz file with beads and weights for cg. Default: random ones of the same kind.")
@click.option("--precision", type=click.Choice(["single", "half"]), default="single", show_default=True, help="Of our stored weights.")
@click.option("--peers", default="installed", show_default=True, help="Programs beside ours: installed, none, or names; several: A,B.")
@click.option("--peer-python", "pythons", type=Assignment(), multiple=True, help="The Python in whose environment a peer is installed.")
@click.option("--peer-path", "paths", type=Assignment(), multiple=True, help="Where a peer's source tree or library is.")
@click.option("--malloc", type=click.Choice(["both", "plain", "tuned"]), default="both", show_default=True, help="Of peers on torch.")
@click.option("--seconds", type=click.FloatRange(min=0.0, max=3600), default=3.0, show_default=True, help="Spent on a program in a case.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Turns in which programs are measured.")
@click.option("--memory-limit", type=click.FloatRange(min=0.01), metavar="GB", help="Per process. Default: 80 % of what is free.")
@click.option("--time-limit", type=click.FloatRange(min=1), default=600, show_default=True, metavar="S", help="For an answer.")
@click.option("--profile", is_flag=True, help="Also show the time of each of our stages.")
@click.option("--style", type=click.Choice(["table", "simple"]), default="table", show_default=True, help="Of what is printed.")
@click.option("--outfile", metavar="FILE", help="Write everything measured as JSON.")
@click.option("--plot", "image", metavar="FILE", help="Draw time against size (.png, .pdf or .svg).")
@click.option("--folder", metavar="FOLDER", help="Keep inputs and logs there. Default: they are deleted.")
@click.option("--verbose", is_flag=True, help="Say what is being measured.")
def command(**options):
    """Measure energy and forces of standard cases, with other programs beside ours where they are installed.

    \b
    polyala  ACE-(ALA)n-NME helices, with ANI models or a SchNet as SchNetPack configures it (--model schnet)
    cg       269 beads packed like a folded protein, CGSchNet with random weights, many replicas
    water    periodic boxes at 0.997 g/cm3, with ANI models

    Every program runs in a process of its own, with the same model file and coordinates. Its results are compared with ours first; one that
    does not agree is not timed. docs/benchmarks.md says what is measured and how to read it.
    """
    import tempfile

    from ..bench.process import ProcessFailed
    from ..bench.programs import PROGRAMS, TUNED_MALLOC
    from ..bench.runner import Settings
    from ._outputs import checkFolder, checkWritable
    from ._platforms import choosePlatform

    if options["outfile"] is not None:
        if not options["outfile"].endswith(".json"):
            raise UserError(f"--outfile {options['outfile']}: the file is JSON; give a name that ends with .json.")
        checkWritable(options["outfile"])
    if options["image"] is not None:
        if not options["image"].endswith((".png", ".pdf", ".svg")):
            raise UserError(f"--plot {options['image']}: give a name that ends with .png, .pdf or .svg.")
        checkWritable(options["image"])
    if options["folder"] is not None:
        checkFolder(options["folder"])
    platform, _ = choosePlatform(options["platform"])
    if platform.getName() == "Reference" and options["precision"] == "half":
        raise UserError("--precision half: the Reference platform always calculates in double precision.")
    settings = Settings(
        platform=platform.getName(),
        threads=options["threads"] or _cores(),
        seconds=options["seconds"],
        rounds=options["rounds"],
        malloc={"both": ("plain", "tuned"), "plain": ("plain",), "tuned": ("tuned",)}[options["malloc"]],
        precision=options["precision"],
        profile=options["profile"],
        memoryLimit=_memoryLimit(options["memory_limit"]),
        timeLimit=options["time_limit"],
    )
    settings.pythons = _assigned(options["pythons"], "--peer-python")
    for name, path in options["paths"]:
        settings.paths.setdefault(name, []).append(path)
    peers = _peers(options["peers"], PROGRAMS, options["test"], settings)
    models = _models(options["model"], options["test"])
    with tempfile.TemporaryDirectory(prefix="openmm-flash-bench-") as temporary:
        try:
            _run(options, settings, models, peers, options["folder"] or temporary, TUNED_MALLOC)
        except ProcessFailed as error:
            raise UserError(f"OpenMM-Flash itself could not be measured: {error}. With --folder FOLDER the logs are kept.") from error


def _run(options, settings, models, peers, folder, tuned):
    import dataclasses
    import json
    import os

    from ..bench import machine, results
    from ..bench.cases import CaseError
    from ..bench.plot import plot
    from ..bench.runner import measure

    system = machine.systemInformation()
    for key, value in system.items():
        say(f"{key}: {value}")
    say(f"threads: {settings.threads}")
    say("peers: " + (", ".join(program.name for program in peers) or "none"))
    document = {
        "system": system,
        "settings": {key: value for key, value in dataclasses.asdict(settings).items() if key not in ("pythons", "paths")},
        "tuned_malloc": tuned,
        "benchmarks": [],
        "ratios": [],
    }
    progress = note if options["verbose"] else lambda text: None
    for number, build in enumerate(_cases(options, models)):
        try:
            case = build(os.path.join(folder, f"case{number}"))
        except CaseError as error:
            raise UserError(f"{error}.") from error
        everyone = measure(case, peers, settings, progress)
        records = [results.record(case, contender, settings) for contender in everyone]
        found = results.ratios(case, everyone)
        say()
        for line in results.table(case, records, found, options["style"]):
            say(line)
        document["benchmarks"] += records
        document["ratios"] += found
        if options["outfile"] is not None:  # after each case: what is measured is not lost if a later one fails
            with open(options["outfile"], "w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
                file.write("\n")
    document["system"]["load_average_after"] = list(os.getloadavg())
    if options["outfile"] is not None:
        with open(options["outfile"], "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
    if options["image"] is not None:
        plot(document["benchmarks"], options["image"])


def _cases(options, models):
    """Functions of a folder that build a case each."""
    from ..bench import cases

    tests = options["test"]
    for test, build in (("polyala", cases.polyalaCase), ("water", cases.waterCase)):
        if test in tests:
            for model in models:
                for atoms in options["atoms"] or DEFAULT_ATOMS[test]:
                    yield lambda folder, build=build, model=model, atoms=atoms: build(folder, _modelFile(model, folder), atoms)
    if "cg" in tests:
        for replicas in options["replicas"]:
            yield lambda folder, replicas=replicas: cases.cgCase(folder, replicas, options["priors"], options["beads"])


def _models(given, tests):
    """Paths of model files, or "schnet"."""
    from ..models import findModel

    if not {"polyala", "water"} & set(tests):
        return []
    names = [_firstInstalled()] if given is None else given.split(",")
    return ["schnet" if name == "schnet" else findModel(name) for name in dict.fromkeys(names)]


def _firstInstalled():
    from ..models import ModelNotFoundError, findSource

    for name in PREFERRED:
        try:
            findSource(name)
        except ModelNotFoundError:
            continue
        return name
    return PREFERRED[0]  # whose error says where was looked and how to get it


def _modelFile(model, folder):
    import os

    from ..bench.cases import schnetModel

    os.makedirs(folder, exist_ok=True)
    return schnetModel(folder) if model == "schnet" else model


def _assigned(pairs, option):
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{option} is given twice for {', '.join(twice)}.")
    return dict(pairs)


def _peers(wanted, programs, tests, settings):
    """The programs to run; those that were asked for by name must be there."""
    import subprocess
    import sys

    from ..bench.programs import NAMES, installed, whyMissing

    if wanted == "none":
        return ()
    named = None if wanted == "installed" else tuple(dict.fromkeys(wanted.split(",")))
    for name in named or ():
        if name not in NAMES:
            raise UserError(f"--peers {name}: there are {', '.join(NAMES)}, and the words installed and none.")
    found, known = [], {}
    for program in programs:
        if named is not None and program.name not in named or not set(program.tests) & set(tests):
            continue
        python = settings.pythons.get(program.name, sys.executable)
        if python not in known:
            try:
                known[python] = installed(python)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                raise UserError(f"--peer-python {program.name}={python}: it cannot be run as a Python: {error}") from error
        reason = whyMissing(program, known[python], bool(settings.paths.get(program.name)))
        asked = named is not None or program.name in settings.pythons or program.name in settings.paths
        if reason is None:
            found.append(program)
        elif asked:
            raise UserError(f"The peer {program.name} cannot be measured: {reason}. docs/benchmarks.md says how each is made available.")
    return tuple(found)


def _cores():
    from ..bench.machine import cores

    return cores()


def _memoryLimit(given):
    from ..bench.machine import availableMemory

    if given is not None:
        return given * 1e9
    available = availableMemory()[1]
    return 0.8 * available if available else float("inf")
