# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""A pytest plugin (-p cuda_platforms): the tests that run on every platform run on CUDA in place of OpenCL, with OpenCL's tolerances."""

import dataclasses
import os

import platforms


def onCuda(platform):
    return dataclasses.replace(platform, name=os.environ.get("GPU_PLATFORM", "CUDA")) if platform.name == "OpenCL" else platform


# The lists that the decorators hold.
for chosen in (platforms.PLATFORMS, platforms.PRECISIONS):
    chosen[:] = [onCuda(platform) for platform in chosen if platform.name != "CPU"]
