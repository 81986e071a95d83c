# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What scripts/test counts as passed, failed and skipped (scripts/stages.sh)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(folder, *command):
    """(lines of the counts, what the terminal shows) of one check."""
    script = 'exec 3>&1; . "$ROOT/scripts/stages.sh"; LOGS=$1 STAGE=stage; shift; set -e; check "the check" "$@" 3>&1 >"$LOGS/stage.log"'
    environment = {**os.environ, "ROOT": str(ROOT)}
    done = subprocess.run(["bash", "-c", script, "bash", folder, *command], env=environment, capture_output=True, text=True, check=True)
    return (folder / "stage.counts").read_text().splitlines(), done.stdout


@pytest.mark.parametrize(
    ("script", "counts", "shown"),
    [
        ("echo fine", "passed 1 stage: the check", "ok      the check"),
        ("echo 'Skipped: no model'; exit 0", "skipped 1 stage: the check", "SKIPPED the check: Skipped: no model"),
        ("echo 'Skipped: one of two'; echo done", "passed 1 stage: the check", "ok      the check"),
        ("echo 'Skipped: no model'; exit 3", "failed 1 stage: the check", "FAILED  the check (exit status 3)"),
    ],
)
def testCheck(tmp_path, script, counts, shown):
    found, terminal = check(tmp_path, "sh", "-c", script)
    assert found == [counts] and terminal.splitlines()[0] == shown


def testAnExampleWithoutItsModel(tmp_path):
    """It has run nothing."""
    example = [sys.executable, str(ROOT / "examples" / "cg_folding.py"), "--short"]
    found, terminal = check(tmp_path, "env", f"OPENMMFLASH_SHARED={tmp_path}", *example)
    assert found == ["skipped 1 stage: the check"] and str(tmp_path) in terminal
