# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest

SHARED_VARIABLE = "OPENMMFLASH_SHARED"


def _findShared() -> tuple[Path, str]:
    """Where the reference data should lie, and who says so."""
    if os.environ.get(SHARED_VARIABLE):
        return Path(os.environ[SHARED_VARIABLE]).resolve(), f"the environment variable {SHARED_VARIABLE}"
    return Path(__file__).resolve().parents[2].parent / "shared", f"the place beside the checkout; {SHARED_VARIABLE} can name another"


@pytest.fixture(scope="session")
def shared() -> Path:
    """
    The folder shared/ with models and reference results that are not part of this repository (their licences, their size).

    Tests that use it are skipped where the folder is absent; a variable that names a folder which does not exist is an error,
    so that a typing mistake cannot turn tests off.
    """
    path, source = _findShared()
    if not (path / "models").is_dir() or not (path / "reference").is_dir():
        if os.environ.get(SHARED_VARIABLE):
            pytest.fail(f"{SHARED_VARIABLE}={os.environ[SHARED_VARIABLE]}: no folder with models/ and reference/ in it")
        pytest.skip(f"needs reference data: no models/ and reference/ in {path} ({source})")
    return path
