# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Stand-ins for NVIDIA's driver (libcuda.so.1), so that OpenMM's CUDA platform and our plugin load on a machine without a GPU.

    fake_driver.py none|record FOLDER PLUGIN...

`none` makes one that finds no device; `record` compiles RecordingDriver.cpp. Either has all functions of the driver that the plugins need.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("RecordingDriver.cpp")
NO_DEVICE = 100

HEADER = f"""
extern "C" int cuGetErrorName(int error, const char** name) {{
    *name = error == {NO_DEVICE} ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_UNKNOWN";
    return 0;
}}
"""


def driverFunctions(plugins):
    """Names of the driver's functions that libraries have no definition of."""
    text = "".join(
        subprocess.run(["nm", "-D", "--undefined-only", str(plugin)], check=True, capture_output=True, text=True).stdout
        for plugin in plugins
    )
    # The driver API alone: names of cuFFT and of the run-time API go on with a small letter.
    return sorted(set(re.findall(r" U (cu[A-Z]\w*)(?:@\S*)?$", text, re.MULTILINE)))


def build(kind, folder, plugins):
    """Make libcuda.so.1 in `folder` and return its path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    own = SOURCE.read_text() if kind == "record" else HEADER
    defined = set(re.findall(r"\b(cu[A-Z]\w*)\(", own))
    missing = [name for name in driverFunctions(plugins) if name not in defined]
    stubs = "".join(f'extern "C" int {name}() {{\n    return {NO_DEVICE};\n}}\n' for name in missing)
    generated, library = folder / f"driver-{kind}.cpp", folder / "libcuda.so.1"
    generated.write_text((f'#include "{SOURCE}"\n' if kind == "record" else HEADER) + stubs)
    compiler = os.environ.get("CXX", "g++")
    subprocess.run(
        [
            compiler,
            "-std=c++17",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            "-Wl,-soname,libcuda.so.1",
            generated,
            "-o",
            library,
        ],
        check=True,
    )
    return library


if __name__ == "__main__":
    print(build(sys.argv[1], sys.argv[2], sys.argv[3:]))
