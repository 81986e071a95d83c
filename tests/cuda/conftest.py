# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Fixtures of the CUDA tests, which need OpenMM's and our CUDA wheels, a C++ compiler, and no GPU."""

import os
import subprocess
import sys
from pathlib import Path

import fake_driver
import pytest
import recording

FOLDER = Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption("--kernels", metavar="FILE", help="write registers, shared memory and occupancy of the kernels to this file")


@pytest.fixture(scope="session", autouse=True)
def plugins():
    """The libraries under test: they must be there, as a test that is skipped would hide that they are not."""
    names = {Path(path).name for path in recording.cudaPlugins()}
    missing = {"libOpenMMCUDA.so", "libOpenMMFlashCUDA.so"} - names
    if missing:
        pytest.fail(f"{', '.join(sorted(missing))} not found in {recording.pluginFolder()}: install openmm-flash[cuda13]", pytrace=False)
    return recording.cudaPlugins()


class Machine:
    """A machine as a process sees it: without a driver, with one that finds no device, or with one that plays a device."""

    def __init__(self, folder, plugins):
        self.folder, self.plugins = folder, plugins

    def run(self, kind, *command, capability=90, version=13000):
        variables = dict(os.environ)
        variables.pop("LD_LIBRARY_PATH", None)
        if kind != "nothing":
            if not (self.folder / kind).exists():
                fake_driver.build(kind, self.folder / kind, self.plugins)
            variables["LD_LIBRARY_PATH"] = str(self.folder / kind)
        variables |= {"RECORDING_DRIVER_LOG": str(self.folder / "log"), "LD_BIND_NOW": "1"}
        variables |= {"RECORDING_DRIVER_CAPABILITY": str(capability), "RECORDING_DRIVER_VERSION": str(version)}
        done = subprocess.run([sys.executable, *command], env=variables, capture_output=True, text=True, cwd=self.folder)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def machine(tmp_path_factory, plugins):
    return Machine(tmp_path_factory.mktemp("machine"), plugins)
