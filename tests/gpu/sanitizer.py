# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Judges what compute-sanitizer wrote: errors in our kernels, or that it cannot attribute, fail; those in OpenMM's own are counted.

sanitizer.py LOG --status STATUS [--json FILE]     STATUS: compute-sanitizer's exit status, which is 9 where it found errors
"""

import argparse
import collections
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "========="
FOUND = 9
SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)")
PLACE = re.compile(r"\b(?:at|in) (?:[\w:<>~]+::)?(\w+)(?:\([^)]*\))?\+0x[0-9a-f]+")


def ourKernels():
    """Names of the kernels in our texts."""
    found = set()
    for path in (ROOT / "platforms").glob("*/src/**/*.cc"):
        found.update(re.findall(r"^KERNEL\s+void\s+(\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def records(text):
    """The reports of errors, each a list of lines; and the number of errors that the last lines state, or None."""
    found, summary, current = [], None, None
    for line in text.splitlines():
        if not line.startswith(PREFIX):
            continue
        rest = line[len(PREFIX) :]
        if match := SUMMARY.search(rest):
            summary, current = int(match[1]), None
        elif not rest.strip() or rest.strip() in ("COMPUTE-SANITIZER",) or "were not printed" in rest:
            current = None
        elif rest.startswith(("  ", " and ")):
            if current is not None:
                current.append(rest.strip())
        else:
            current = [rest.strip()]
            found.append(current)
    return found, summary


def judge(text, status, ours):
    """
    Returns
    -------
    dict
        passed, summary (number of errors or hazards, None where the tool did not come to its end), ours and others ({kernel: number}),
        unattributed (first lines of the others' reports), reason.
    """
    reports, summary = records(text)
    mine, others, unattributed = collections.Counter(), collections.Counter(), []
    for report in reports:
        kernels = {match[1] for line in report for match in PLACE.finditer(line)}
        if not kernels:
            unattributed.append(report[0])
        for kernel in kernels:
            (mine if kernel in ours else others)[kernel] += 1
    result = {"summary": summary, "ours": dict(mine), "others": dict(others), "unattributed": unattributed[:20]}
    if summary is None:
        reason = f"it did not come to its end (exit status {status})"
    elif mine:
        reason = f"errors in {', '.join(sorted(mine))}"
    elif unattributed:
        reason = unattributed[0]
    elif summary > len(reports):
        reason = f"{summary} errors, of which only {len(reports)} were printed"
    elif status not in (0, FOUND):
        reason = f"the program ended with {status}"
    else:
        reason = ""
    return result | {"passed": not reason, "reason": reason}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--status", type=int, required=True)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    text = arguments.log.read_text(encoding="utf-8", errors="replace") if arguments.log.exists() else ""
    result = judge(text, arguments.status, ourKernels())
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    for kernel, number in result["others"].items():
        print(f"not ours: {kernel}, {number}")
    print("clean" if result["passed"] else f"FAILED: {result['reason']}")
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
