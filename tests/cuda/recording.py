# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What OpenMM's CUDA platform would send to a GPU: programs, their cost on each architecture, and launches. Nothing here needs a GPU.

recording.py [--json FILE] [--markdown FILE] [CAPABILITY...]     tables of the default specialisations
"""

import argparse
import collections
import dataclasses
import glob
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_driver

CAPABILITIES = (75, 80, 90, 100, 120)
ROOT = Path(__file__).resolve().parents[2]


def pluginFolder():
    origin = importlib.util.find_spec("openmm").origin
    return Path(origin).parents[1] / "OpenMM.libs" / "lib" / "plugins"


def cudaPlugins():
    return sorted(glob.glob(str(pluginFolder() / "libOpenMM*CUDA.so")))


def findTool(name):
    """A tool of NVIDIA's wheels, which OpenMM-CUDA brings, or of a toolkit."""
    import shutil

    site = pluginFolder().parents[2]
    for folder in (site / "nvidia/cu13/bin", site / "nvidia/cuda_nvcc/bin", Path("/usr/local/cuda/bin")):
        if (folder / name).exists():
            return str(folder / name)
    return shutil.which(name)


def ourKernels():
    """Names of the kernels in our texts, and the files that they stand in."""
    found = {}
    for path in sorted((ROOT / "platforms").glob("*/src/**/*.cc")):
        for name in re.findall(r"^KERNEL\s+void\s+(\w+)\(", path.read_text(), re.MULTILINE):
            found.setdefault(name, []).append(path.name)
    return found


@dataclasses.dataclass
class Resources:
    """What ptxas says of one kernel."""

    kernel: str
    registers: int
    shared: int
    stack: int
    spills: int

    def occupancy(self, capability, block=128, shared=None):
        """Threads of a multiprocessor that run at once, of those that it can hold; shared: with a pool, if the launch has one."""
        threads, sharedMemory = {75: (1024, 65536), 80: (2048, 167936), 90: (2048, 233472), 100: (2048, 233472), 120: (1536, 102400)}[
            capability
        ]
        warps = -(-block // 32)
        byRegisters = 65536 // (32 * -(-self.registers // 8) * 8) // warps
        blocks = min(threads // block, byRegisters, sharedMemory // ((self.shared if shared is None else shared) + 1024))
        return blocks * block / threads


@dataclasses.dataclass
class Recording:
    """A specialisation on one architecture."""

    name: str
    programs: list = dataclasses.field(default_factory=list)  # paths of PTX files
    launches: list = dataclasses.field(default_factory=list)  # of one step
    waits: list = dataclasses.field(default_factory=list)
    refusals: list = dataclasses.field(default_factory=list)


def environment(folder, capability, log):
    variables = dict(os.environ)
    variables["LD_LIBRARY_PATH"] = f"{folder}:{variables.get('LD_LIBRARY_PATH', '')}"
    variables |= {"RECORDING_DRIVER_LOG": str(log), "RECORDING_DRIVER_CAPABILITY": str(capability), "LD_BIND_NOW": "1"}
    variables.pop("OPENMM_CACHE_DIR", None)
    return variables


def record(names, capability, driver, folder):
    """Make Contexts on a device of this compute capability: {name: Recording}. driver is what fake_driver made, the folder is empty."""
    work = Path(folder)
    work.mkdir(parents=True)
    log = work / "log"
    command = [sys.executable, str(Path(__file__).with_name("specialisations.py")), str(work), *names]
    done = subprocess.run(command, env=environment(Path(driver).parent, capability, log), capture_output=True, text=True)
    recordings, current, inStep = {}, None, False
    for line in log.read_text().splitlines() if log.exists() else ():
        entry = json.loads(line)
        if "mark" in entry:
            what, _, name = entry["mark"].partition(" ")
            current = recordings.setdefault(name, Recording(name))
            inStep = what == "step"
        elif current is None:
            continue
        elif "module" in entry:
            current.programs.append((entry["ptx"], entry["kernels"]))
        elif "refused" in entry and entry["refused"] not in ("module",):
            current.refusals.append(f"{entry['refused']}: {entry['detail']}")
        elif inStep and "launch" in entry:
            current.launches.append(entry)
        elif inStep and "wait" in entry:
            current.waits.append(entry["wait"])
    if done.returncode != 0:
        refusals = [text for recording in recordings.values() for text in recording.refusals]
        raise RuntimeError("\n".join([f"compute capability {capability}: {done.stdout[-2000:]}{done.stderr[-4000:]}", *refusals]))
    return recordings


def assemble(path, capability):
    """{kernel: Resources} of a PTX file, by ptxas for the architecture."""
    done = subprocess.run(
        [findTool("ptxas"), "-v", f"-arch=sm_{capability}", "-o", f"{path}.cubin", path], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{path}: {done.stderr}")
    found, kernel = {}, None
    for line in done.stderr.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = found.setdefault(match[1], Resources(match[1], 0, 0, 0, 0))
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            kernel.stack, kernel.spills = int(match[1]), int(match[2]) + int(match[3])
        elif match := re.search(r"Used (\d+) registers", line):
            kernel.registers = int(match[1])
            shared = re.search(r"(\d+) bytes smem", line)
            kernel.shared = int(shared[1]) if shared else 0
    return found


def assembleAll(recordings, capability):
    """{name: {kernel: Resources}} of our kernels. Programs that many specialisations have in common are assembled once."""
    ours = set(ourKernels())
    paths = {}
    for recording in recordings.values():
        for path, kernels in recording.programs:
            if ours & set(kernels):
                paths.setdefault(hashlib.sha256(Path(path).read_bytes()).hexdigest(), path)
    results = {digest: assemble(path, capability) for digest, path in paths.items()}
    found = collections.defaultdict(dict)
    for name, recording in recordings.items():
        for path, kernels in recording.programs:
            if ours & set(kernels):
                programs = results[hashlib.sha256(Path(path).read_bytes()).hexdigest()]
                found[name] |= {kernel: value for kernel, value in programs.items() if kernel in ours}
    return dict(found)


class Compilations:
    """Specialisations on architectures, on all processors at once: result() is (recordings, resources), or raises what was wrong."""

    def __init__(self, jobs, folder):
        """jobs: {key: (names, compute capability)}; the longest ones first."""
        folder = Path(folder)
        driver = fake_driver.build("record", folder / "driver", cudaPlugins())
        self.pool = ThreadPoolExecutor(os.cpu_count())
        self.futures = {
            key: self.pool.submit(self.compile, names, capability, driver, folder / str(index))
            for index, (key, (names, capability)) in enumerate(jobs.items())
        }

    @staticmethod
    def compile(names, capability, driver, folder):
        recordings = record(names, capability, driver, folder)
        return recordings, assembleAll(recordings, capability)

    def result(self, key):
        return self.futures[key].result()

    def close(self):
        self.pool.shutdown(cancel_futures=True)


def rows(recordings, resources, capability):
    """One for each kernel that a step of a specialisation launches."""
    for name, recording in recordings.items():
        count = collections.Counter(launch["launch"] for launch in recording.launches)
        for kernel, value in resources.get(name, {}).items():
            if not count[kernel]:
                continue
            launch = next(entry for entry in recording.launches if entry["launch"] == kernel)
            yield {
                "specialisation": name,
                "capability": capability,
                "kernel": kernel,
                "launches": count[kernel],
                "groups": launch["grid"],
                "threads": launch["block"],
                "registers": value.registers,
                "shared": launch["shared"],
                "spills": value.spills,
                "occupancy": round(value.occupancy(capability, launch["block"], launch["shared"]), 2),
            }


def markdown(table):
    capabilities = sorted({row["capability"] for row in table})
    lines = ["| specialisation | kernel | launches | work-groups | " + " | ".join(f"sm_{c}" for c in capabilities) + " |"]
    lines.append("|---" * (4 + len(capabilities)) + "|")
    grouped = collections.defaultdict(dict)
    for row in table:
        grouped[row["specialisation"], row["kernel"]][row["capability"]] = row
    for (name, kernel), byCapability in grouped.items():
        first = next(iter(byCapability.values()))
        cells = []
        for capability in capabilities:
            row = byCapability.get(capability)
            text = "" if row is None else f"{row['registers']}, {row['shared']}, {row['occupancy']:.0%}"
            cells.append(text + (f", **{row['spills']} B spilled**" if row and row["spills"] else ""))
        lines.append(f"| {name} | {kernel} | {first['launches']} | {first['groups']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    import specialisations

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--only", default="", help="specialisations whose names contain this")
    parser.add_argument("capabilities", nargs="*", type=int, default=list(CAPABILITIES))
    arguments = parser.parse_args()
    names = [name for name in specialisations.specialisations() if arguments.only in name]
    table = []
    with tempfile.TemporaryDirectory() as folder:
        compilations = Compilations({capability: (names, capability) for capability in arguments.capabilities}, folder)
        for capability in arguments.capabilities:
            table += rows(*compilations.result(capability), capability)
        compilations.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")
    text = markdown(table)
    if arguments.markdown:
        arguments.markdown.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
