# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""A measured process: started, asked, watched and ended."""

import contextlib
import json
import os
import selectors
import subprocess
import time
from pathlib import Path

WORKER = Path(__file__).parent / "contenders" / "worker.py"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OPENMM_CPU_THREADS")
WATCH = 0.5  # seconds between two looks at a process's memory


class ProcessFailed(Exception):
    """The program failed, ran out of the memory or time it was given, or died; the message says which."""


class MeasuredProcess:
    """One adapter in an interpreter of its own.

    Parameters
    ----------
    python : str
    threads : int
        For every library that reads an environment variable.
    environment : dict
        Added to ours.
    memoryLimit, timeLimit : float
        Bytes of resident memory, and seconds of one answer, after which it is ended.
    """

    def __init__(self, python, threads, environment, log, memoryLimit, timeLimit):
        own = {name: value for name, value in os.environ.items() if name != "OPENMMFLASH_CPU_PROFILE"}  # the timed process never profiles
        variables = own | dict.fromkeys(THREAD_VARIABLES, str(threads)) | environment
        self.log, self.memoryLimit, self.timeLimit = log, memoryLimit, timeLimit
        self.output = open(log, "ab")
        self.process = subprocess.Popen(
            [python, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.output, env=variables
        )
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        self.buffer = b""

    def ask(self, do, **arguments):
        """Send a request; wait for the answer."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ProcessFailed(self._death()) from None
        end = time.monotonic() + self.timeLimit
        while b"\n" not in self.buffer:
            if self.selector.select(WATCH):
                data = os.read(self.process.stdout.fileno(), 1 << 16)
                if not data:
                    raise ProcessFailed(self._death())
                self.buffer += data
            used = self.resident()
            if used > self.memoryLimit:
                self.close()
                raise ProcessFailed(f"it needs more than {self.memoryLimit / 1e9:.3g} GB of memory")
            if time.monotonic() > end:
                self.close()
                raise ProcessFailed(f"no answer within {self.timeLimit:g} s")
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise ProcessFailed(answer["error"])
        return answer

    def resident(self):
        """Bytes of memory in use, 0 where the system does not say."""
        try:
            with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return 0

    def _death(self):
        code = self.process.wait()
        self.close()
        lines = Path(self.log).read_text(errors="replace").strip().splitlines()
        return f"the process ended with code {code}" + (f": {lines[-1].strip()}" if lines else "")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.output):
            with contextlib.suppress(OSError):
                stream.close()
        self.selector.close()
