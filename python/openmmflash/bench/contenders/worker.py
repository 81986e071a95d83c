# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""One measured process: imports a program, builds its calculation, evaluates it when asked.

Requests come as lines of JSON on the standard input, answers leave on what was the standard output; anything the program itself prints goes
to the standard error. Between requests the process waits and uses no time, so that several can be measured in turns.

    {"do": "load", "adapter": "torchani", "job": {...}}   imports -> versions, the memory in use after the imports (bytes)
    {"do": "build"}                                        sets the calculation up
    {"do": "evaluate", "file": "x.npz"}                    writes energies [groups] (kJ/mol, no type energies) and forces [n, 3] (kJ/mol/nm)
    {"do": "time", "axis": "total", "warmup": 2, "repeats": 5, "seconds": 1.0, "most": 200}   -> seconds of each evaluation,
                                                           and processor seconds of all threads in one of them
    {"do": "memory"}                                       -> highest memory in use since the start (bytes)
    {"do": "call", "method": "profile"}                    -> what that method of the adapter returns
"""

import importlib
import importlib.util
import json
import os
import sys
import time
import traceback

ENOUGH = 5.0  # seconds of warm-up: one evaluation that long needs no second


def peakMemory():
    """Highest resident memory of this process in bytes.

    Linux gives the figure of this program in VmHWM; ru_maxrss there starts from the memory of the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Worker:
    def __init__(self):
        self.adapter = None
        self.turn = 0

    def load(self, adapter, job):
        if adapter.endswith(".py"):
            spec = importlib.util.spec_from_file_location("adapter", adapter)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(f"contenders.{adapter}")
        self.adapter = module.Adapter(job)
        versions = self.adapter.load()
        return {"versions": versions, "baseline": peakMemory()}

    def build(self):
        self.adapter.build()
        return {"axes": list(self.adapter.axes), "notes": list(getattr(self.adapter, "notes", ()))}

    def evaluate(self, file):
        import numpy as np

        energies, forces = self.adapter.evaluate()
        np.savez(file, energies=np.asarray(energies, dtype=np.float64), forces=np.asarray(forces, dtype=np.float64))
        return {}

    def time(self, axis, warmup, repeats, seconds, most):
        prepare = getattr(self.adapter, "prepare", None)
        batch = self.adapter.batch(axis) if hasattr(self.adapter, "batch") else 1
        if prepare is not None:
            prepare(axis)
        start = time.perf_counter()
        for _ in range(warmup):
            self.adapter.run(axis, self.turn)
            self.turn += 1
            if time.perf_counter() - start > ENOUGH:
                break
        times, start, used = [], time.perf_counter(), time.process_time()
        while len(times) < most and (len(times) < repeats or time.perf_counter() - start < seconds):
            begin = time.perf_counter()
            self.adapter.run(axis, self.turn)
            times.append((time.perf_counter() - begin) / batch)
            self.turn += 1
        used = (time.process_time() - used) / (len(times) * batch)
        if hasattr(self.adapter, "finish"):
            self.adapter.finish(axis)
        return {"times": times, "cpu": used}

    def memory(self):
        return {"peak": peakMemory()}

    def call(self, method):
        return {"result": getattr(self.adapter, method)()}


def main():
    here = os.path.dirname(os.path.realpath(__file__))
    # This folder's modules must never stand in for a program's own; Python has it in sys.path with links resolved.
    sys.path[:] = [path for path in sys.path if os.path.realpath(path or ".") != here]
    sys.path.append(os.path.dirname(here))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
