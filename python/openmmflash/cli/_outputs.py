# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Whether results can be written where the user wants them: before the work, not after it."""

import os
import tempfile

from ._app import UserError


def checkWritable(path):
    """Refuse a file that cannot be written; nothing is left behind."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UserError(f"Cannot write {path}: there is no folder {folder}. Make it, or give another path.")
    if os.path.isdir(path):
        raise UserError(f"Cannot write {path}: it is a folder. Give the name of a file.")
    if os.path.exists(path):
        if not os.access(path, os.W_OK):
            raise UserError(f"Cannot write {path}: the file is write-protected. Give another path, or make it writable.")
    else:
        tryFolder(folder, path)


def checkFolder(path):
    """Refuse a folder in which nothing can be written, or which cannot be made."""
    existing = os.path.abspath(path)
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if os.path.isdir(existing):
        tryFolder(existing, path)


def tryFolder(folder, path):
    # Permissions alone do not tell: file systems may be read-only or full, and the superuser passes all of them.
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        text = f"Cannot write {path}: no file can be made in {folder} ({error.strerror or error})."
        raise UserError(f"{text} Give a path elsewhere, or make the folder writable.") from error
