# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Check an installed OpenMM-Flash from outside its source tree, for scripts/test: it imports without torch and every plugin loads."""

import importlib.util
import sys
from pathlib import Path

import openmm

import openmmflash

assert importlib.util.find_spec("torch") is None, "torch is installed here, so this shows nothing"
source = Path(__file__).resolve().parents[1]
assert Path(openmmflash.__file__).resolve().is_relative_to(Path(sys.prefix).resolve()), openmmflash.__file__
assert not Path(openmmflash.__file__).resolve().is_relative_to(source / "python"), openmmflash.__file__
heavy = sorted({"torch", "matplotlib", "ase", "click", "tqdm", "scipy"} & set(sys.modules))
assert not heavy, f"import openmmflash imports {heavy}, too"
# By the name of the library: the path may have any name in it.
failures = [failure for failure in openmm.Platform.getPluginLoadFailures() if "libOpenMMFlash" in failure]
assert not failures, failures
print("openmmflash", openmmflash.__version__, "at", openmmflash.__file__)
