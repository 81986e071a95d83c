# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Times on a GPU, ours and other programs': steps of dynamics, launches and time of each kernel, memory.

    gpu.py OUTPUT.json [--platform CUDA] [--only TEXT] [--program TEXT] [--seconds S] [--mlcg PATH] [--flashmd PATH]
           [--chignolin MODEL STRUCTURE]

Cases: CGSchNet of 269 beads with random weights and Gaussian functions (FlashMD has no others), narrow and wide ones, and trained chignolin
in 1 to 128 replicas; ANI-2x's shape with random weights on poly-alanine and water. Each program runs in a process of its own; its energies
and forces are compared with ours on the CPU platform before it is timed. Ours steps with all priors, mlcg and FlashMD with the network
alone. First everything that needs no quiet machine, several at a time: cases, what they are compared with, our kernels' compilation. Then
ours in all cases, then the others.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from openmmflash.bench import cases, machine, models, programs, runner
from openmmflash.bench.process import MeasuredProcess, ProcessFailed
from openmmflash.convert._writer import writeModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cuda"))
import specialisations

ATOMS, WATER = (60, 600, 6000), 60000
MOST = 2000
# ps. With random weights, beads drift apart and have a third fewer pairs after 10,000 steps: all programs' stay where they are. Pairs are
# searched for in each step all the same; lists of groups of more than 1,500 particles are not made anew, as they are in "total".
STANDSTILL = 1e-6
# CGSchNet's 64 Gaussians as wide as 12 are, and filters of a tenth: so smooth that their rank is 28, where the others have none.
SMOOTH_WIDTH, SMOOTH_SCALE = 12, 0.1
GRACE = 30.0  # seconds after the limit in which a program may still answer
TABLES = {"OPENMMFLASH_DEVICE_FILTER": "1"}
TORCH_CLUSTER = "to be compiled with nvcc for this torch (docs/benchmarks.md): its search is part of each step"


@dataclasses.dataclass
class Contender:
    """A program in one form: its adapter, options of that, how exact it is, and why it is not there."""

    name: str
    adapter: str
    options: dict
    precision: str = "single"
    axes: tuple = ("step",)
    compared: bool = True
    absent: str = ""
    environment: dict = dataclasses.field(default_factory=dict)


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


def cgCase(folder, replicas, smooth=False, **shape):
    """CGSchNet's shape with the Gaussian functions that FlashMD has, in place of ExpNormal ones; smooth: with filters of low rank."""
    case = cases.cgCase(folder, replicas, "all")
    metadata, tensors = models.cgSchNet(**shape)
    h = metadata["hyperparameters"]
    means = np.linspace(0, h["cutoff"], h["num_basis"], dtype=np.float32)
    tensors["members.0.basis.means"] = means
    width = h["cutoff"] / (SMOOTH_WIDTH - 1) if smooth else means[1] - means[0]
    tensors["members.0.basis.coefficients"] = np.full(len(means), -0.5 / width**2, dtype=np.float32)
    for name in tensors:
        if smooth and ".filter.0." in name:
            tensors[name] = (SMOOTH_SCALE * tensors[name]).astype(np.float32)
    for key in ("basis_alpha", "basis_lower"):
        del h[key]
    del tensors["members.0.basis.betas"]
    h["radial_basis"] = "gaussian"
    name = f"cgschnet-gaussian-{'smooth' if smooth else 'random'}"
    writeModel(folder / "model.safetensors", metadata | {"name": name}, tensors)
    return dataclasses.replace(case, model=name, timestep=STANDSTILL)


def beadsCase(folder, model, structure, replicas):
    return dataclasses.replace(cases.beadsCase(folder, model, structure, replicas), timestep=STANDSTILL)


def aniCase(folder, build, atoms, members=8):
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model.safetensors"
    writeModel(model, *specialisations.ani2x(members))
    return dataclasses.replace(build(folder, model, atoms), timestep=STANDSTILL)


def missing(*modules):
    """Why a program is not there, "" if it is."""
    lacking = [name for name in modules if importlib.util.find_spec(name) is None]
    text = f"not installed: {', '.join(lacking)}" if lacking else ""
    return text + (f"; torch_cluster is {TORCH_CLUSTER}" if "torch_cluster" in lacking else "")


@functools.cache
def torchaniExtension():
    """Why TorchANI's compiled extension for environment vectors cannot be used, "" if it can. Wheels of the index have none."""
    code = "import torchani\ntry:\n    from torchani.csrc import CUAEV_IS_INSTALLED as there\n"
    code += "except ImportError:\n    there = torchani.aev.has_cuaev\nprint('there' if there else 'lacking')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return "" if done.stdout.split()[-1:] == ["there"] else "this TorchANI has no compiled extension: `ani build-extensions`, with nvcc"


def torchaniForms(case, cuda):
    """[(name, options, precision, why it is not there)]."""
    new = not importlib.metadata.version("torchani").startswith("2.2")
    program = next(p for p in programs.PROGRAMS if p.name == ("torchani29" if new else "torchani22"))
    forms = [(f"TorchANI{', ' if form else ''}{form}", options, "single", "") for form, options in program.forms(case)]
    # Its extension needs a GPU, and is compiled with fast math.
    absent = torchaniExtension() if cuda else "its extension needs a GPU"
    return [*forms, ("TorchANI, infer, compiled" if new else "TorchANI, compiled", {"compiled": True, "kind": "infer"}, "half", absent)]


def contenders(case, arguments, peers):
    """Ours, or the peers that suit a case."""
    cuda = arguments.platform == "CUDA"
    job = {"folder": str(case.folder), "threads": machine.cores(), "platform": arguments.platform, "timestep": case.timestep}
    device = {"device": "cuda" if cuda else "cpu"}
    found = []
    if not peers:
        ours = job | {"priors": case.priors}
        # TorchANI searches its pairs in each evaluation: "total" is that of ours.
        axes = ("step",) if case.test == "cg" else ("step", "total")
        found = [Contender(f"openmm-flash, {p}", "ours", ours | {"precision": p}, p, axes) for p in ("single", "half")]
        if case.model.endswith("smooth"):
            found.append(Contender("openmm-flash, single, tables", "ours", ours | {"precision": "single"}, environment=TABLES))
    elif case.test == "cg":
        # Both packages' scripts allow products with less precision than float32's; FlashMD's defaults have half weights.
        for name, adapter, path in (("FlashMD", "flashmd", arguments.flashmd), ("mlcg", "mlcgsimulation", arguments.mlcg)):
            needs = ("torch", "torch_geometric", "torch_cluster", *(("triton", "scipy") if name == "FlashMD" and cuda else ()))
            absent = missing(*needs) if path else f"it is found by --{name.lower()} PATH"
            if name == "FlashMD" and "gaussian" not in case.model:
                absent = "FlashMD has Gaussian functions only, and this model others"
            found.append(Contender(name, adapter, job | device | {"path": [path]}, "half", absent=absent))
    elif case.test == "polyala":
        absent = missing("torch", "torchani")
        for name, options, precision, why in [("TorchANI", {}, "single", absent)] if absent else torchaniForms(case, cuda):
            found.append(Contender(name, "torchani", job | device | options, precision, ("total",), absent=why))
        found.append(Contender("Amber ff14SB, GBn2", "amber", job | {"yardstick": arguments.platform}, compared=False))
    return [contender for contender in found if arguments.program in contender.name]


class Bench:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.end = time.monotonic() + arguments.limit
        self.document = {"system": machine.systemInformation(), "carried": arguments.carried}
        self.document |= {"gpu": query("name", "driver_version", "clocks.max.sm", "memory.total"), "platform": arguments.platform}
        self.document |= {"seconds": arguments.seconds, "empty_context_bytes": None, "benchmarks": []}
        # Whether of peers: ours first.
        self.passes = [peers for peers, left in ((False, arguments.no_ours), (True, arguments.no_peers)) if not left]
        self.failed = []
        self.prepared = {}  # label -> (case, {priors: energies and forces}), or why there is none

    def over(self):
        return time.monotonic() > self.end

    def _process(self, folder, name, environment=None, threads=None):
        log = folder / f"{name.replace(', ', '-').replace(' ', '-')}.log"
        return MeasuredProcess(sys.executable, threads or machine.cores(), environment or {}, log, 64e9, 0.0)

    def _ask(self, process, do, **what):
        """One answer, not later than a little after the limit."""
        process.timeLimit = max(min(self.arguments.time_limit, self.end + GRACE - time.monotonic()), 1.0)
        return process.ask(do, **what)

    def _truth(self, case, priors):
        """Energies and forces by our CPU platform."""
        process = self._process(case.folder, f"truth-{priors}", threads=2)
        file = case.folder / f"truth-{priors}.npz"
        job = {"folder": str(case.folder), "threads": 2, "platform": "CPU", "timestep": case.timestep, "priors": priors}
        try:
            self._ask(process, "load", adapter="ours", job=job)
            self._ask(process, "build")
            self._ask(process, "evaluate", file=str(file))
        finally:
            process.close()
        with np.load(file) as data:
            return data["energies"], data["forces"]

    def _compile(self, case, contender):
        """Leaves our compiled kernels in OpenMM's cache; what fails, fails again where it is measured."""
        process = self._process(case.folder, f"compile-{contender.name}", contender.environment, threads=2)
        try:
            self._ask(process, "load", adapter=contender.adapter, job=contender.options)
            self._ask(process, "build")
        except ProcessFailed:
            pass
        finally:
            process.close()

    def prepare(self, chosen):
        """What needs no quiet machine, several at a time: cases, what results are compared with, our kernels."""

        def one(label, build):
            if self.over():
                self.prepared[label] = "no time is left"
                return
            try:
                case = build(self.folder / label)
                wanted = ({"none"} if True in self.passes else set()) | ({case.priors} if False in self.passes else set())
                self.prepared[label] = case, {priors: self._truth(case, priors) for priors in sorted(wanted)}
            except (ProcessFailed, cases.CaseError, OSError) as error:
                self.prepared[label] = str(error)
                return
            for contender in contenders(case, self.arguments, False) if False in self.passes else ():
                self._compile(case, contender)

        with ThreadPoolExecutor(max(machine.cores() // 2, 1)) as pool:
            try:
                for made in [pool.submit(one, *case) for case in chosen]:
                    made.result()
            except KeyboardInterrupt:
                self.end = time.monotonic() - GRACE  # what has not begun does not begin
                raise

    def _measure(self, case, contender, truth):
        before = usedMemory()
        process = self._process(case.folder, contender.name, contender.environment)
        record = {}
        try:
            record["versions"] = self._ask(process, "load", adapter=contender.adapter, job=contender.options)["versions"]
            start = time.perf_counter()
            record["notes"] = self._ask(process, "build")["notes"]
            record["build_s"] = time.perf_counter() - start
            if contender.compared:
                self._ask(process, "evaluate", file=str(case.folder / "results.npz"))
                with np.load(case.folder / "results.npz") as data, np.load(case.folder / "system.npz") as system:
                    extent = float(np.abs(system["frames"][0]).max())
                    results = data["energies"], data["forces"]
                record["agreement"] = runner.compare(results, truth, case, contender.precision, extent)
                if not record["agreement"]["agrees"]:
                    return record | {"status": "disagrees", "reason": record["agreement"]["text"]}
            for axis in contender.axes:
                self._time(process, case, axis, record)
            after = usedMemory()
            record["device_memory_bytes"] = None if before is None or after is None else after - before
            self._describe(process, contender, record)
            return record | {"status": "ok"}
        except ProcessFailed as error:
            if self.over():
                return record | {"status": "left out", "reason": f"no time is left: {error}"}
            return record | {"status": "failed", "reason": str(error)}
        finally:
            process.close()

    def _time(self, process, case, axis, record):
        repeats = 2 if self.arguments.small else 5
        answer = self._ask(process, "time", axis=axis, warmup=1, repeats=repeats, seconds=self.arguments.seconds, most=MOST)
        milliseconds = 1e3 * statistics.median(answer["times"])
        if "ms" in record:
            record[f"{axis}_ms"] = milliseconds
            return
        record |= {"axis": axis, "ms": milliseconds, "ms_all": [1e3 * value for value in answer["times"]]}
        if case.test == "cg":
            record["timestep_mol_per_s"] = 1e3 * case.replicas / milliseconds

    def _describe(self, process, contender, record):
        """Kernels and the rest: what was timed counts without it, too."""
        try:
            method = "report" if contender.adapter == "ours" else "peakDeviceMemory" if contender.compared else None
            if method:
                record[method] = self._ask(process, "call", method=method)["result"]
            if contender.adapter != "amber":
                record["kernels"] = self._ask(process, "call", method="profile")["result"]
                record["launches"] = sum(count for count, _ in record["kernels"].values()) if record["kernels"] else None
        except ProcessFailed as error:
            record["profile_error"] = str(error)

    def keep(self, label, program, record, case=None):
        about = {"case": label, "program": program}
        if case is not None:
            about |= {"model": case.model, "particles": case.atoms, "replicas": case.replicas, "pairs": case.pairs}
            about |= {"priors": case.priors if program.startswith("openmm-flash") else "none", "timestep_fs": 1e3 * case.timestep}
        self.document["benchmarks"].append(about | record)
        self.write()
        text = record["status"] + (f": {record['reason'][:200]}" if record.get("reason") else "")
        if record["status"] == "ok":
            text = f"{record['ms']:.4f} ms {'a step' if record['axis'] == 'step' else 'an evaluation'}"
            if "total_ms" in record:
                text += f", {record['total_ms']:.4f} ms an evaluation"
            if "timestep_mol_per_s" in record:
                text += f", {record['timestep_mol_per_s']:,.0f} timestep*mol/s"
            if record.get("launches"):
                text += f", {record['launches']:.0f} launches"
            if record["device_memory_bytes"] is not None:
                text += f", {record['device_memory_bytes'] / 1e6:.0f} MB"
            if "profile_error" in record:
                text += f"; no profile: {record['profile_error'][:200]}"
        elif record["status"] in ("failed", "disagrees"):
            self.failed.append(f"{label}, {program}")
        print(f"{label}, {program}: {text}", flush=True)

    def write(self):
        self.arguments.output.write_text(json.dumps(self.document, indent=1) + "\n")

    def run(self, label, peers):
        """Ours, or the peers, in one case."""
        if isinstance(self.prepared[label], str):
            status = "left out" if self.over() else "failed"
            if peers == self.passes[0]:
                self.keep(label, "peers" if peers else "openmm-flash", {"status": status, "reason": self.prepared[label]})
            return
        case, truth = self.prepared[label]
        for contender in contenders(case, self.arguments, peers):
            if contender.absent:
                record = {"status": "absent", "reason": contender.absent}
            elif self.over():
                record = {"status": "left out", "reason": "no time is left"}
            else:
                record = self._measure(case, contender, truth[contender.options.get("priors", "none")])
            self.keep(label, contender.name, record, case)

    def runAll(self, chosen):
        """The most wanted first; an interrupt leaves the rest out, and says so."""
        todo = [(label, peers) for peers in self.passes for label, _ in chosen]
        try:
            self.prepare(chosen)
            while todo:
                self.run(*todo[0])
                del todo[0]
        except KeyboardInterrupt:
            for label, peers in todo:
                self.keep(label, "peers" if peers else "openmm-flash", {"status": "left out", "reason": "interrupted"})


def plan(arguments):
    """(name, function that builds it in a folder) of each case; the most wanted first."""
    small = arguments.small
    shape = {"hidden": 16, "blocks": 1, "basis": 8, "readout": (16,)} if small else {}
    first, rest = ((2,), ()) if small else ((128, 1), (16, 64))

    def replicated(counts):
        for r in counts:
            yield f"cg-269x{r}", lambda folder, r=r: cgCase(folder, r, **shape)
            yield f"cg-smooth-269x{r}", lambda folder, r=r: cgCase(folder, r, smooth=True, **shape)
            if arguments.chignolin:
                yield f"chignolin-10x{r}", lambda folder, r=r: beadsCase(folder, *arguments.chignolin, r)

    yield from replicated(first)
    for atoms in (22,) if small else ATOMS:
        yield f"polyala-{atoms}", lambda folder, a=atoms: aniCase(folder, cases.polyalaCase, a, 2 if small else 8)
    if not small:
        yield f"water-{WATER}", lambda folder: aniCase(folder, cases.waterCase, WATER)
    yield from replicated(rest)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--platform", default="CUDA")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--program", default="", help="programs whose names contain this")
    parser.add_argument("--carried", help="what is measured, as tests/gpu_prepare.sh said: kept in the output")
    parser.add_argument("--small", action="store_true", help="few small cases, to try the script without a GPU")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each program in each case")
    parser.add_argument("--limit", type=float, default=1e9, help="seconds after which what is left is left out")
    parser.add_argument("--time-limit", type=float, default=240.0, help="seconds for one answer of a program")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--no-peers", action="store_true", help="ours alone")
    either.add_argument("--no-ours", action="store_true", help="the others alone")
    parser.add_argument("--mlcg", metavar="PATH", help="the folder that holds the package mlcg: src in its source tree")
    parser.add_argument("--flashmd", metavar="PATH", help="the same of flashmd")
    parser.add_argument("--chignolin", nargs=2, metavar=("MODEL", "STRUCTURE"), help="a converted model and its structure")
    arguments = parser.parse_args()
    for name in ("mlcg", "flashmd"):
        path = getattr(arguments, name)
        if path is not None and not (Path(path) / name / "__init__.py").exists():
            parser.error(f"--{name} {path}: there is no {name}/__init__.py in it")
    chosen = [(label, build) for label, build in plan(arguments) if arguments.only in label]
    if not chosen:
        parser.error(f"no case's name contains {arguments.only!r}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments, Path(folder))
        bench.write()
        try:
            bench.document["empty_context_bytes"] = emptyContext(arguments.platform)
        except Exception as error:  # OpenMM's, of whatever kind: the cases say more
            print(f"an empty Context: {error}", flush=True)
        bench.runAll(chosen)
        bench.write()
    if bench.failed:
        print(f"failed: {'; '.join(bench.failed)}")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
