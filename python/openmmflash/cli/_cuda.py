# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Why platform CUDA can be used here, or what is in its way: the wheels, the driver, the GPU."""

import ctypes
import importlib.metadata
import os

PLUGIN, OPENMM_PLUGIN = "libOpenMMFlashCUDA.so", "libOpenMMCUDA.so"
# CUDA version -> the first driver that runs it, the first compute capability that its compiler knows
VERSIONS = {13: ("580", (7, 5)), 12: ("525", (5, 0))}
TENSOR_CORES = (7, 5)


class DriverError(Exception):
    """What the driver does not do, and what to do about it."""


def installed(name):
    """The version of an installed distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def report():
    """Lines (what, text) about CUDA: first the wheels, then the driver and each GPU."""
    yield "wheels", wheels()
    version = wheelVersion()
    try:
        driver = Driver()
        yield "driver", driver.describe(version)
        if (problem := driver.compilerProblem(version)) is not None:
            yield "compiler", f"no: {problem}"
        for line in driver.devices(version):
            yield "GPU", line
    except DriverError as error:
        yield "driver", f"no: {error}"


def wheelVersion():
    """The CUDA version that OpenMM's wheel here is for; None where OpenMM's CUDA platform came by other ways, or not at all."""
    return next((version for version in VERSIONS if installed(f"OpenMM-CUDA-{version}")), None)


def findPlugin(name):
    """The path of a library in a folder that OpenMM or we load plugins from, or None."""
    import openmm

    import openmmflash

    places = [os.path.dirname(os.path.dirname(module.__file__)) for module in (openmm, openmmflash)]
    folders = [os.path.join(place, "OpenMM.libs", "lib", "plugins") for place in places]
    paths = [os.path.join(folder, name) for folder in (*folders, openmm.Platform.getDefaultPluginsDirectory())]
    return next((path for path in paths if os.path.exists(path)), None)


def wheels():
    """Whether OpenMM's CUDA platform and our plugin for it are there, and belong together."""
    import openmmflash

    version = wheelVersion()
    if findPlugin(OPENMM_PLUGIN) is None:
        extras = ", or ".join(f'pip install "openmm-flash[cuda{v}]" (driver {driver} or newer)' for v, (driver, _) in VERSIONS.items())
        return f"OpenMM's CUDA platform is not installed. Only for machines with an NVIDIA GPU: {extras}"
    if findPlugin(PLUGIN) is None:
        how = f'pip install "openmm-flash[cuda{version}]"' if version else "build OpenMM-Flash against this OpenMM"
        return f"OpenMM's CUDA platform is there, but not OpenMM-Flash's plugin for it ({PLUGIN}): {how}"
    if version is None:
        return "OpenMM's CUDA platform and OpenMM-Flash's plugin for it are there"
    ours = installed(f"openmm-flash-cuda-{version}")
    other = next((v for v in VERSIONS if v != version and installed(f"openmm-flash-cuda-{v}")), None)
    if ours is None and other is not None:
        return (
            f"OpenMM-CUDA-{version} and openmm-flash-cuda-{other} do not belong together: "
            f"pip uninstall both, then install openmm-flash[cuda{version}] or openmm-flash[cuda{other}]"
        )
    if ours is not None and ours != openmmflash.__version__:
        how = f'pip install -U "openmm-flash[cuda{version}]"'
        return f"openmm-flash-cuda-{version} {ours} is not of this version, {openmmflash.__version__}: {how}"
    return f"OpenMM-CUDA-{version} {installed(f'OpenMM-CUDA-{version}')} and OpenMM-Flash's plugin for it"


class Driver:
    """NVIDIA's driver, asked without OpenMM."""

    def __init__(self):
        name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
        try:
            self.library = ctypes.CDLL(name)
        except OSError as error:
            raise DriverError(f"no NVIDIA driver is installed ({error}). Without a GPU, ignore it") from error
        self.call("cuInit", 0)
        version, count = ctypes.c_int(), ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(version))
        self.call("cuDeviceGetCount", ctypes.byref(count))
        self.version, self.count = divmod(version.value // 10, 100), count.value

    def call(self, name, *arguments):
        result = getattr(self.library, name)(*arguments)
        if result == 0:
            return
        text = ctypes.c_char_p()
        self.library.cuGetErrorName(result, ctypes.byref(text))
        advice = {
            100: "there is no GPU, or CUDA_VISIBLE_DEVICES hides it",
            802: "the GPUs' fabric manager does not run: ask whoever runs the machine",
            803: "the driver and its library are of different versions, as after an update: reboot",
        }.get(result, "nvidia-smi may tell more")
        raise DriverError(f"{name} gives {(text.value or b'an unknown error').decode()} ({result}): {advice}")

    def describe(self, wheel):
        major, minor = self.version
        text = f"for CUDA {major}.{minor}, {self.count} GPU{'' if self.count == 1 else 's'}"
        if wheel is None or major >= wheel:
            return text
        older = next((v for v in VERSIONS if v <= major), None)
        other = f', or pip uninstall OpenMM-CUDA-{wheel} openmm-flash-cuda-{wheel} and install "openmm-flash[cuda{older}]"' if older else ""
        return f"no: {text}, but OpenMM-CUDA-{wheel} needs driver {VERSIONS[wheel][0]} or newer. Update the driver{other}"

    def compilerProblem(self, wheel):
        """OpenMM compiles its kernels for the GPU with NVRTC, whose output a driver reads if it is not older than NVRTC."""
        name = {13: "nvidia-cuda-nvrtc", 12: "nvidia-cuda-nvrtc-cu12"}.get(wheel)
        version = name and installed(name)
        if not version or self.version[0] < wheel:
            return None
        major, minor = (int(part) for part in version.split(".")[:2])
        if (major, minor) <= self.version:
            return None
        return (
            f"{name} {version} is newer than the driver and writes code that it cannot read (CUDA_ERROR_UNSUPPORTED_PTX_VERSION). "
            f'Update the driver, or pip install "{name}=={major}.{self.version[1]}.*"'
        )

    def devices(self, wheel):
        for index in range(self.count):
            device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
            self.call("cuDeviceGet", ctypes.byref(device), index)
            self.call("cuDeviceGetName", name, len(name), device)
            capability = []
            for attribute in (75, 76):  # compute capability: major, minor
                value = ctypes.c_int()
                self.call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
                capability.append(value.value)
            text = f"{index}: {name.value.decode(errors='replace')}, compute capability {capability[0]}.{capability[1]}"
            if wheel is not None and tuple(capability) < VERSIONS[wheel][1]:
                needed = ".".join(map(str, VERSIONS[wheel][1]))
                older = next((v for v in VERSIONS if v < wheel and tuple(capability) >= VERSIONS[v][1]), None)
                how = f'pip install "openmm-flash[cuda{older}]" instead' if older else "this GPU is too old; platform OpenCL may do"
                yield f"{text}: no: CUDA {wheel} needs {needed} or newer: {how}"
            else:
                yield text + ("" if tuple(capability) >= TENSOR_CORES else ", without the tensor cores that dense layers could use")
