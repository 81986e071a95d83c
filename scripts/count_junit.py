# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Count the results in a JUnit file for scripts/test.

count_junit.py FILE EXIT_STATUS WHAT prints lines `passed|failed|skipped NUMBER WHAT`.
"""

import sys
import xml.etree.ElementTree as ElementTree


def main(path: str, status: int, what: str) -> None:
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        print(f"failed 1 {what}: no results, exit status {status} ({error})")
        return
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None and case not in failed]
    passed = len(cases) - len(failed) - len(skipped)
    for case in failed:
        print(f"failed 1 {what}: {case.get('classname', '')}.{case.get('name')}")
    if passed:
        print(f"passed {passed} {what}")
    if skipped:
        print(f"skipped {len(skipped)} {what}")
    if not cases or (status != 0 and not failed):
        print(f"failed 1 {what}: exit status {status}")


main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
