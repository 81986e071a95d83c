# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Times on a GPU, ours and other programs': steps of dynamics, launches and time of each kernel, memory.

    gpu.py OUTPUT.json [--platform CUDA] [--only TEXT] [--seconds S] [--mlcg PATH] [--flashmd PATH] [--chignolin MODEL STRUCTURE]

Cases: CGSchNet of 269 beads with random weights and Gaussian functions (FlashMD has no others) and trained chignolin in 1 to 128 replicas;
ANI-2x's shape with random weights on poly-alanine and water. Each program runs in a process of its own; its energies and forces are
compared with ours on the CPU platform before it is timed. Ours steps with all priors, mlcg and FlashMD with the network alone.
"""

import argparse
import dataclasses
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from openmmflash.bench import cases, machine, models, runner
from openmmflash.bench.process import MeasuredProcess, ProcessFailed
from openmmflash.convert._writer import writeModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cuda"))
import specialisations

REPLICAS, ATOMS, WATER = (128, 1, 16, 64), (60, 600, 6000), 60000
MOST = 2000
STANDSTILL = 1e-6  # ps: random weights are no physics, and atoms stay where they are; pairs are searched for all the same


@dataclasses.dataclass
class Contender:
    """A program in one form: its adapter, options of that, how exact it is, and why it is not there."""

    name: str
    adapter: str
    options: dict
    precision: str = "single"
    axis: str = "step"
    compared: bool = True
    absent: str = ""


def query(*what):
    """nvidia-smi's answer for the first GPU, None where it is not there."""
    try:
        command = ["nvidia-smi", f"--query-gpu={','.join(what)}", "--format=csv,noheader,nounits", "--id=0"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def usedMemory():
    """Bytes of the GPU in use, None if unknown."""
    answer = query("memory.used")
    return int(answer) * 2**20 if answer and answer.isdigit() else None


def emptyContext(platform):
    """Bytes that OpenMM and the driver take for a Context of two particles without forces."""
    import openmm

    before = usedMemory()
    if before is None:
        return None
    system = openmm.System()
    for _ in range(2):
        system.addParticle(1.0)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform(platform))
    context.setPositions(np.eye(3)[:2])
    context.getState(energy=True)
    return usedMemory() - before


def cgCase(folder, replicas, **shape):
    """CGSchNet's shape with the Gaussian functions that FlashMD has, in place of ExpNormal ones."""
    case = cases.cgCase(folder, replicas, "all")
    metadata, tensors = models.cgSchNet(**shape)
    h = metadata["hyperparameters"]
    means = np.linspace(0, h["cutoff"], h["num_basis"], dtype=np.float32)
    tensors["members.0.basis.means"] = means
    tensors["members.0.basis.coefficients"] = np.full(len(means), -0.5 / (means[1] - means[0]) ** 2, dtype=np.float32)
    for key in ("basis_alpha", "basis_lower"):
        del h[key]
    del tensors["members.0.basis.betas"]
    h["radial_basis"] = "gaussian"
    writeModel(folder / "model.safetensors", metadata | {"name": "cgschnet-gaussian-random"}, tensors)
    return dataclasses.replace(case, model="cgschnet-gaussian-random")


def aniCase(folder, build, atoms, members=8):
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.safetensors"
    writeModel(model, *specialisations.ani2x(members))
    return dataclasses.replace(build(folder, model, atoms), timestep=STANDSTILL)


def missing(*modules):
    """Why a program is not there, "" if it is."""
    lacking = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"{', '.join(lacking)} not installed" if lacking else ""


def contenders(case, arguments):
    """Ours, and the peers that suit a case."""
    job = {"folder": str(case.folder), "threads": machine.cores(), "platform": arguments.platform, "timestep": case.timestep}
    device = {"device": "cuda" if arguments.platform == "CUDA" else "cpu"}
    ours = job | {"priors": case.priors}
    found = [Contender(f"openmm-flash, {p}", "ours", ours | {"precision": p}, p) for p in ("single", "half")]
    if arguments.no_peers:
        return found
    if case.test == "cg":
        # Both packages' scripts allow products with less precision than float32's; FlashMD's defaults have half weights.
        for name, adapter, path in (("FlashMD", "flashmd", arguments.flashmd), ("mlcg", "mlcgsimulation", arguments.mlcg)):
            absent = missing("torch", "torch_geometric", "torch_cluster") if path else f"it is found by --{name.lower()} PATH"
            if name == "FlashMD" and "gaussian" not in case.model:
                absent = "FlashMD has Gaussian functions only, and this model others"
            found.append(Contender(name, adapter, job | device | {"path": [path]}, "half", absent=absent))
    elif case.test == "polyala":
        absent = missing("torch", "torchani")
        found.append(Contender("TorchANI", "torchani", job | device, "single", "total", absent=absent))
        # Its extension for AEVs needs a GPU, and is compiled with fast math.
        compiled = absent or ("" if device["device"] == "cuda" else "its extension needs a GPU")
        options = {"compiled": True, "kind": "infer"}
        found.append(Contender("TorchANI, infer, compiled", "torchani", job | device | options, "half", "total", absent=compiled))
        found.append(Contender("Amber ff14SB, GBn2", "amber", job | {"yardstick": arguments.platform}, compared=False))
    return found


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.end = time.monotonic() + arguments.limit
        self.document = {"system": machine.systemInformation(), "gpu": query("name", "driver_version", "clocks.max.sm", "memory.total")}
        self.document |= {"platform": arguments.platform, "seconds": arguments.seconds, "empty_context_bytes": None, "benchmarks": []}
        self.failed = []

    def _process(self, folder, name):
        log = folder / f"{name.replace(', ', '-').replace(' ', '-')}.log"
        return MeasuredProcess(sys.executable, machine.cores(), {}, log, 64e9, self.arguments.time_limit)

    def _truth(self, case, priors):
        """Energies and forces by our CPU platform."""
        process = self._process(case.folder, "truth")
        job = {"folder": str(case.folder), "threads": machine.cores(), "platform": "CPU", "timestep": case.timestep, "priors": priors}
        try:
            process.ask("load", adapter="ours", job=job)
            process.ask("build")
            process.ask("evaluate", file=str(case.folder / "truth.npz"))
        finally:
            process.close()
        with np.load(case.folder / "truth.npz") as data:
            return data["energies"], data["forces"]

    def _measure(self, case, contender, truth):
        before = usedMemory()
        process = self._process(case.folder, contender.name)
        record = {}
        try:
            record["versions"] = process.ask("load", adapter=contender.adapter, job=contender.options)["versions"]
            start = time.perf_counter()
            record["notes"] = process.ask("build")["notes"]
            record["build_s"] = time.perf_counter() - start
            if contender.compared:
                process.ask("evaluate", file=str(case.folder / "results.npz"))
                with np.load(case.folder / "results.npz") as data, np.load(case.folder / "system.npz") as system:
                    extent = float(np.abs(system["frames"][0]).max())
                    results = data["energies"], data["forces"]
                record["agreement"] = runner.compare(results, truth, case, contender.precision, extent)
                if not record["agreement"]["agrees"]:
                    return record | {"status": "disagrees", "reason": record["agreement"]["text"]}
            repeats = 2 if self.arguments.small else 5
            answer = process.ask("time", axis=contender.axis, warmup=1, repeats=repeats, seconds=self.arguments.seconds, most=MOST)
            milliseconds = 1e3 * statistics.median(answer["times"])
            record |= {"axis": contender.axis, "ms": milliseconds, "ms_all": [1e3 * value for value in answer["times"]]}
            if case.test == "cg":
                record["timestep_mol_per_s"] = 1e3 * case.replicas / milliseconds
            after = usedMemory()
            record["device_memory_bytes"] = None if before is None or after is None else after - before
            if contender.adapter != "amber":
                record["kernels"] = process.ask("call", method="profile")["result"]
                record["launches"] = sum(count for count, _ in record["kernels"].values()) if record["kernels"] else None
            method = "report" if contender.adapter == "ours" else "peakDeviceMemory" if contender.compared else None
            if method:
                record[method] = process.ask("call", method=method)["result"]
            return record | {"status": "ok"}
        except ProcessFailed as error:
            return record | {"status": "failed", "reason": str(error)}
        finally:
            process.close()

    def keep(self, label, case, contender, record):
        record = {"case": label, "program": contender.name} | record
        self.document["benchmarks"].append(record)
        self.write()
        text = record["status"] + (f": {record['reason'][:200]}" if record.get("reason") else "")
        if record["status"] == "ok":
            text = f"{record['ms']:.4f} ms a {'step' if record['axis'] == 'step' else 'evaluation'}"
            if "timestep_mol_per_s" in record:
                text += f", {record['timestep_mol_per_s']:,.0f} timestep*mol/s"
            if record.get("launches"):
                text += f", {record['launches']:.0f} launches"
            if record["device_memory_bytes"] is not None:
                text += f", {record['device_memory_bytes'] / 1e6:.0f} MB"
        elif record["status"] in ("failed", "disagrees"):
            self.failed.append(f"{label}, {contender.name}")
        print(f"{label}, {contender.name}: {text}", flush=True)

    def write(self):
        self.arguments.output.write_text(json.dumps(self.document, indent=1) + "\n")

    def run(self, label, build):
        """All contenders of one case."""
        with tempfile.TemporaryDirectory() as folder:
            nobody = Contender("openmm-flash", "ours", {})
            if time.monotonic() > self.end:
                return self.keep(label, None, nobody, {"status": "left out", "reason": "no time is left"})
            try:
                case = build(Path(folder) / "case")
                truth = {priors: self._truth(case, priors) for priors in {"none", case.priors}}
            except (ProcessFailed, cases.CaseError, OSError) as error:
                return self.keep(label, None, nobody, {"status": "failed", "reason": str(error)})
            for contender in contenders(case, self.arguments):
                if contender.absent:
                    record = {"status": "absent", "reason": contender.absent}
                elif time.monotonic() > self.end:
                    record = {"status": "left out", "reason": "no time is left"}
                else:
                    record = self._measure(case, contender, truth[contender.options.get("priors", "none")])
                self.keep(label, case, contender, record)
        return None


def plan(arguments):
    """(name, function that builds it in a folder) of each case; the most wanted first."""
    small = arguments.small
    shape = {"hidden": 16, "blocks": 1, "basis": 8, "readout": (16,)} if small else {}
    for replicas in (2,) if small else REPLICAS:
        yield f"cg-269x{replicas}", lambda folder, r=replicas: cgCase(folder, r, **shape)
    for atoms in (22,) if small else ATOMS:
        yield f"polyala-{atoms}", lambda folder, a=atoms: aniCase(folder, cases.polyalaCase, a, 1 if small else 8)
    if arguments.chignolin:
        for replicas in (2,) if small else REPLICAS:
            yield f"chignolin-10x{replicas}", lambda folder, r=replicas: cases.beadsCase(folder, *arguments.chignolin, r)
    if not small:
        yield f"water-{WATER}", lambda folder: aniCase(folder, cases.waterCase, WATER)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--platform", default="CUDA")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--small", action="store_true", help="few small cases, to try the script without a GPU")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each program in each case")
    parser.add_argument("--limit", type=float, default=1e9, help="seconds after which what is left is left out")
    parser.add_argument("--time-limit", type=float, default=240.0, help="seconds for one answer of a program")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--mlcg", metavar="PATH", help="the folder that holds the package mlcg: src in its source tree")
    parser.add_argument("--flashmd", metavar="PATH", help="the same of flashmd")
    parser.add_argument("--chignolin", nargs=2, metavar=("MODEL", "STRUCTURE"), help="a converted model and its structure")
    arguments = parser.parse_args()
    for name in ("mlcg", "flashmd"):
        path = getattr(arguments, name)
        if path is not None and not (Path(path) / name / "__init__.py").exists():
            parser.error(f"--{name} {path}: there is no {name}/__init__.py in it")
    bench = Bench(arguments)
    try:
        bench.document["empty_context_bytes"] = emptyContext(arguments.platform)
    except Exception as error:  # OpenMM's, of whatever kind: the cases say more
        print(f"an empty Context: {error}", flush=True)
    chosen = [(label, build) for label, build in plan(arguments) if arguments.only in label]
    if not chosen:
        parser.error(f"no case's name contains {arguments.only!r}")
    for label, build in chosen:
        bench.run(label, build)
    bench.write()
    if bench.failed:
        print(f"failed: {'; '.join(bench.failed)}")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
