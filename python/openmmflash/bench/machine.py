# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What a time depends on besides the program: the processor, the system, versions, how our library was compiled."""

import os
import platform
import re
import socket
import subprocess
from datetime import datetime, timezone
from pathlib import Path

# The feature levels of the x86-64 psABI that kernels are compiled for, by the flag that stands for each.
LEVELS = (("x86-64-v4", "avx512f"), ("x86-64-v3", "avx2"), ("x86-64-v2", "sse4_2"))


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def systemInformation():
    """A dict for the JSON file; what a system does not tell is None."""
    import numpy
    import openmm

    import openmmflash

    return {
        "hostname": socket.gethostname(),
        "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "openmm_version": openmm.version.version,
        "openmmflash_version": openmmflash.__version__,
        "commit": _commit(),
        "compiler": _compiler(),
        "numpy_version": numpy.__version__,
        "python_version": platform.python_version(),
        "cpuinfo": _cpuName(),
        "cpuarch": platform.machine(),
        "instruction_set": _level(),
        "cores": cores(),
        "caches": _caches(),
        "memory_bytes": availableMemory()[0],
        "system": platform.system(),
        "os": platform.platform(),
        "load_average": list(os.getloadavg()),
    }


def availableMemory():
    """(all, available) bytes of memory, None where unknown."""
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", _read("/proc/meminfo"), re.MULTILINE))
    if "MemTotal" in values:
        return int(values["MemTotal"]) * 1024, int(values.get("MemAvailable", values["MemTotal"])) * 1024
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None, None
    return total, total


def _read(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpuName():
    match = re.search(r"^model name\s*: (.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return match[1] if match else platform.processor() or None


def _level():
    match = re.search(r"^flags\s*: (.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    flags = match[1].split() if match else []
    return next((level for level, flag in LEVELS if flag in flags), None)


def _caches():
    """{"L1d": "32K", ...} of the first core."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level = _read(folder / "type").strip(), _read(folder / "level").strip()
        found[f"L{level}{kind[:1].lower() if kind in ('Data', 'Instruction') else ''}"] = _read(folder / "size").strip()
    return found or None


def _commit():
    """The commit of the source tree that this package runs from, with + where files differ from it; None for an installed one."""
    folder = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run(["git", "-C", folder, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return None if commit.returncode else commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _compiler():
    """What compiled libOpenMMFlash, as the compiler itself noted in the file."""
    match = re.search(r"\s(/\S*libOpenMMFlash\.so\S*)$", _read("/proc/self/maps"), re.MULTILINE)
    if not match:
        return None
    note = re.search(rb"(GCC: \([^)]*\) [\d.]+|clang version [\d.]+)", Path(match[1]).read_bytes())
    return note[1].decode() if note else None
