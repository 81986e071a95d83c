# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash diagnose: what works here, and what to do about what does not."""

from ._app import declare, say

OPTIONAL = (
    ("click", "the command line", "click"),
    ("tqdm", "progress bars of `run`", "tqdm"),
    ("matplotlib", "plots of `run`", "matplotlib"),
    ("ase", "extended XYZ structures, and minimisation", "ase"),
    ("torchani", "the weights of ani1x (read without torch), and comparing TorchANI conversions", "--no-deps torchani==2.2.4"),
    ("torch", "comparing conversions with the original; reading model files does not need it", "torch"),
    ("schnetpack", "comparing SchNetPack conversions", "schnetpack"),
    ("torch-geometric", "comparing PyG conversions", "torch-geometric"),
    ("torchmd-net", "comparing TorchMD-Net conversions", "torchmd-net"),
)


@declare("diagnose")
def command():
    """Say what is installed, what works and how to get what is missing. Paste its output into a bug report."""
    import importlib.metadata
    import os
    import platform
    import sys

    import numpy
    import openmm

    import openmmflash

    from . import _cuda, _platforms

    say("Versions")
    for name, text in (
        ("openmm-flash", openmmflash.__version__),
        ("OpenMM", openmm.Platform.getOpenMMVersion()),
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("numpy", numpy.__version__),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores"),
    ):
        say(f"  {name:<14} {text}")

    say("Libraries")
    for name, text in libraries():
        say(f"  {name:<24} {text}")

    say("Platforms (fastest first)")
    usable = 0
    for entry in _platforms.platforms():
        reason = _platforms.whyNot(entry)
        usable += reason is None
        say(f"  {entry.getName():<14} {'evaluates FlashForce' if reason is None else 'no: ' + reason}")
    if not usable:
        say("  None of them evaluates a FlashForce: the plugin is not loaded. Reinstall openmm-flash beside this OpenMM.")

    say("CUDA")
    for name, text in _cuda.report():
        say(f"  {name:<14} {text}")

    say("Plugin load failures")
    failures = [text for text in openmm.Platform.getPluginLoadFailures() if text.strip()]
    for text in failures:
        say(f"  {' '.join(text.split())}{advice(text)}")
    if not failures:
        say("  none")

    say("Named models")
    for name, text in namedModels():
        say(f"  {name:<14} {text}")

    say("Optional packages")
    for name, purpose, install in OPTIONAL:
        try:
            say(f"  {name:<16} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            say(f"  {name:<16} missing: {purpose}. pip install {install}")


def libraries():
    """Where our compiled parts and OpenMM's lie."""
    import glob
    import os

    import openmm

    import openmmflash
    from openmmflash import flash

    yield "openmmflash", os.path.dirname(openmmflash.__file__)
    yield "openmm", os.path.dirname(openmm.__file__)
    for name in ("_flash", "_openmmflash"):
        module = getattr(flash, name, None)
        if module is not None and getattr(module, "__file__", None):
            yield "Python module", module.__file__
    candidates = {
        openmm.version.openmm_library_path,
        os.path.join(os.path.dirname(os.path.dirname(openmmflash.__file__)), "OpenMM.libs", "lib"),
        openmm.Platform.getDefaultPluginsDirectory(),
    }
    found = sorted(
        {os.path.realpath(p) for folder in candidates for p in glob.glob(os.path.join(folder, "**", "*OpenMMFlash*"), recursive=True)}
    )
    loaded = loadedLibraries()
    plugins = {os.path.dirname(path) for path in (loaded or found) if os.path.basename(os.path.dirname(path)) == "plugins"}
    yield "plugin folder", ", ".join(sorted(plugins)) or "no plugin of openmm-flash was found"
    for path in sorted({*found, *(loaded or ())}):
        yield os.path.basename(path), path + ("" if loaded is None or path in loaded else "  (not loaded)")
    if not found:
        yield "libOpenMMFlash", f"not found in {', '.join(sorted(candidates))}"


def loadedLibraries():
    """Paths of our libraries in this process, or None where the system does not tell."""
    import os

    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            paths = {line.split(maxsplit=5)[5].strip() for line in file if "OpenMMFlash" in line}
    except OSError:
        return None
    return {os.path.realpath(path) for path in paths if os.path.isabs(path) and "OpenMMFlash" in os.path.basename(path)}


def advice(failure):
    """What a plugin's failure to load means in practice."""
    lower = failure.lower()
    if any(name in lower for name in ("libcuda", "libnvrtc", "libcufft", "libopenmmcuda.so: cannot open")):
        return "  [needs an NVIDIA driver: without a GPU, ignore it; with one, see CUDA above]"
    if "libamdhip" in lower or "libhip" in lower:
        return "  [needs an AMD GPU and ROCm: without one, ignore it]"
    if "libopencl" in lower:
        return "  [needs an OpenCL loader, e.g. apt install ocl-icd-libopencl1 and a driver]"
    return ""


def namedModels():
    """(name, where it is or how to get it) of every named model."""
    from .. import models

    for name in models.NAMES:
        try:
            yield name, f"found in {models.findSource(name)}"
        except models.ModelNotFoundError as error:
            lines = str(error).splitlines()
            yield name, "not installed. " + "\n".join([lines[0], *(f"{'':17}{line}" for line in lines[1:])])
    yield "cache", str(models.cacheFolder())
