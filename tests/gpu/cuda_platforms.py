# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""A pytest plugin (-p cuda_platforms): what runs on OpenCL runs on CUDA instead, with its tolerances; what needs no device is left out."""

import dataclasses
import os

import pytest

import platforms

PLATFORM = os.environ.get("GPU_PLATFORM", "CUDA")


def onCuda(platform):
    return dataclasses.replace(platform, name=PLATFORM) if platform.name == "OpenCL" else platform


def change(rows):
    """The very list, which decorators and tests hold."""
    rows[:] = [onCuda(platform) for platform in rows if platform.name != "CPU"]


for name, value in list(vars(platforms).items()):
    if isinstance(value, platforms.TestedPlatform):
        setattr(platforms, name, onCuda(value))
    elif isinstance(value, list) and value and isinstance(value[0], platforms.TestedPlatform):
        change(value)
    elif isinstance(value, pytest.MarkDecorator) and value.args[0] == "platform":
        change(value.args[1])
platforms.onHosts.args[1].clear()
