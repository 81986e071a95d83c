# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Puts what tests/gpu.sh found into OUTPUT/results.json, and says what failed: results.py OUTPUT. Needs nothing but Python.

Exit status: 0 where every step passed, 1 where one did not, or where none was run.
"""

import json
import pathlib
import re
import sys


def readJson(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        return {"unreadable": str(error)}


def systemInformation():
    try:
        from openmmflash.bench.machine import systemInformation as information
    except ImportError as error:
        return {"unknown": f"openmmflash cannot be imported: {error}"}
    return information()


def main(output):
    lines = (output / "steps.jsonl").read_text().splitlines() if (output / "steps.jsonl").exists() else []
    steps = [json.loads(line) for line in lines]
    carried = output / "carried.txt"  # the wheels' commit, which an installed package does not know
    record = {"system": systemInformation(), "carried": carried.read_text().strip() if carried.exists() else None, "steps": steps}
    for path in sorted(output.glob("*.json")):
        if path.name != "results.json":
            record[path.stem] = readJson(path)
    for path in sorted(output.glob("*.xml")):
        # JUnit's first element counts; the rest is in the file itself.
        match = re.search(r"<testsuite [^>]*>", path.read_text(errors="replace"))
        counts = re.findall(r'(tests|failures|errors|skipped)="(\d+)"', match[0] if match else "")
        record[path.stem] = {name: int(number) for name, number in counts}
    failed = [step["step"] for step in steps if step["status"] != 0]
    record["failed"] = failed
    (output / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    for step in steps:
        print(f"{'ok    ' if step['status'] == 0 else 'FAILED'} {step['step']} ({step['seconds']} s, exit status {step['status']})")
    print(f"{len(steps) - len(failed)} steps passed, {len(failed)} failed")
    return 1 if failed or not steps else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
