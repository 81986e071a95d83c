# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The programs that can be measured, where they are installed, and in which forms each is run."""

import json
import subprocess
from dataclasses import dataclass, field

# glibc's malloc maps large tensors anew for every use and gives them back after it, which slows torch programs severely. With these it
# keeps what it has. A fair comparison is with the better of both.
TUNED_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "17179869184",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "67108864",
}
OURS = "openmm-flash"


@dataclass(frozen=True)
class Program:
    """A program beside ours.

    Attributes
    ----------
    name : str
        As on the command line.
    adapter : str
        Module of contenders/, or the path of a file with an Adapter class.
    tests, architectures : tuple of str
        What it can evaluate.
    needs : dict of str to str
        Distributions that must be installed, with the beginning of the version ("" for any).
    forms : function of a Case
        [(form's name, its options)]: different settings of the same program.
    torch : bool
        Whether malloc's settings matter to it.
    path : str
        What --peer-path gives: "" (not used), "optional" or "required".
    compared : bool
        Whether it evaluates our model, so that its results must agree.
    threads : int or None
        The number of threads it always has.
    """

    name: str
    adapter: str
    tests: tuple
    architectures: tuple
    needs: dict = field(default_factory=dict)
    forms: object = lambda case: [("", {})]
    torch: bool = True
    path: str = ""
    compared: bool = True
    threads: int | None = None


def _torchani29Forms(case):
    forms = [("", {}), ("infer", {"kind": "infer"})]
    # Where the package's own adaptive list would leave the search over all pairs.
    if case.atoms >= (190 if case.periodic else 1770):
        forms.append(("infer, cell list", {"kind": "infer", "neighborlist": "cell_list"}))
    return forms


MOLECULES = ("polyala", "water")
PROGRAMS = (
    Program("torchani22", "torchani", MOLECULES, ("ani",), {"torchani": "2.2", "torch": ""}),
    Program("torchani29", "torchani", MOLECULES, ("ani",), {"torchani": "2.9", "torch": ""}, _torchani29Forms),
    Program("schnetpack", "schnetpack", MOLECULES, ("schnet",), {"schnetpack": "2.", "torch": "", "ase": ""}),
    Program("mlcg", "mlcg", ("cg",), ("schnet",), {"torch": "", "torch-geometric": ""}, path="required"),
    Program("nnpops", "nnpops", MOLECULES, ("ani",), torch=False, path="required", threads=1),
    Program("amber", "amber", ("polyala", "cg"), ("ani", "schnet"), {"openmm": "8."}, torch=False, compared=False),
)
NAMES = tuple(program.name for program in PROGRAMS)

_ASK = """
import importlib.metadata, json
found = {}
for name in %r:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def installed(python):
    """{distribution: version} of what the programs need, in an interpreter's environment.

    Raises
    ------
    OSError, ValueError
        The interpreter cannot be started, or does not answer.
    """
    names = sorted({name for program in PROGRAMS for name in program.needs})
    result = subprocess.run([python, "-c", _ASK % names], capture_output=True, text=True, timeout=60)
    if result.returncode:
        raise ValueError(f"{python} is not a working Python: {' '.join(result.stderr.split())[-200:]}")
    return json.loads(result.stdout)


def whyMissing(program, versions, hasPath):
    """None where a program can be run, else what it lacks."""
    if program.path == "required" and not hasPath:
        return f"it is found by --peer-path {program.name}=PATH alone"
    for name, version in program.needs.items():
        if name not in versions:
            return f"{name} is not installed"
        if not versions[name].startswith(version):
            return f"{name} is {versions[name]}, not {version.rstrip('.')}"
    return None
