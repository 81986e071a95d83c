# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Run tests/python for scripts/test, each file in a process of its own: run_pytest.py LOG_FOLDER COUNTS_FILE JOBS

A test that crashes the interpreter is then a failure of its file, and the other files go on.
"""

import concurrent.futures
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from count_junit import countJunit

TIMEOUT = 1800  # s, for one file
# Tests that need a package which cannot share the environment: a folder that comes first for them.
OVERLAYS = {"test_torchani29.py": Path(sys.prefix) / "torchani-new"}
printing = threading.Lock()


def runFile(path: Path, logs: Path) -> list[str]:
    start = time.monotonic()
    junit, log = logs / f"pytest-{path.stem}.xml", logs / f"pytest-{path.stem}.log"
    command = [sys.executable, "-m", "pytest", str(path), "-q", "-rfEs", "-p", "no:cacheprovider", f"--junitxml={junit}"]
    environment = dict(os.environ, PYTHONPATH=str(OVERLAYS[path.name])) if path.name in OVERLAYS else None
    with open(log, "w") as stream:
        try:
            result = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, timeout=TIMEOUT, env=environment, check=False)
            status = result.returncode
        except subprocess.TimeoutExpired:
            stream.write(f"\nstopped after {TIMEOUT} s\n")
            status = 124
    counts = countJunit(str(junit), status, f"pytest: {path.name}")
    lines = log.read_text(errors="replace").splitlines()
    failed = any(line.startswith("failed") for line in counts)
    with printing:
        numbers = ", ".join(f"{line.split()[1]} {line.split()[0]}" for line in counts if not line.startswith("failed"))
        seconds = f"{time.monotonic() - start:.0f} s"
        print(f"{'FAILED ' if failed else 'ok     '} {path.name}: {numbers or 'nothing passed'} ({seconds})", flush=True)
        for line in lines[-60:] if failed else [line for line in lines if line.startswith("SKIPPED")]:
            print(f"        {line[:300]}", flush=True)
    return counts


def main(logs: str, countsFile: str, jobs: str) -> None:
    files = sorted(Path("tests/python").glob("test_*.py"), key=lambda path: -path.stat().st_size)
    # One thread for what does not ask for more: as many files run side by side as there are processors.
    os.environ.update(OMP_NUM_THREADS="1", OPENMM_CPU_THREADS="1", PYTHONFAULTHANDLER="1")
    with concurrent.futures.ThreadPoolExecutor(int(jobs)) as pool:
        counts = [line for lines in pool.map(lambda path: runFile(path, Path(logs)), files) for line in lines]
    with open(countsFile, "a") as stream:
        stream.writelines(line + "\n" for line in counts)


main(*sys.argv[1:4])
