# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Count the results in a JUnit file for scripts/test.

count_junit.py FILE EXIT_STATUS WHAT prints lines `passed|failed|skipped NUMBER WHAT`.
"""

import sys
import xml.etree.ElementTree as ElementTree


def countJunit(path: str, status: int, what: str) -> list[str]:
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return [f"failed 1 {what}: ended with status {status} and no results"]
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None and case not in failed]
    passed = len(cases) - len(failed) - len(skipped)
    lines = [f"failed 1 {what}: {case.get('classname', '')}.{case.get('name')}" for case in failed]
    lines += [f"passed {passed} {what}"] * (passed > 0) + [f"skipped {len(skipped)} {what}"] * bool(skipped)
    if not cases or (status != 0 and not failed):
        lines.append(f"failed 1 {what}: ended with status {status}")
    return lines


if __name__ == "__main__":
    print("\n".join(countJunit(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
