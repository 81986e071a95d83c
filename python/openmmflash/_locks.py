# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Locks on folders of results, which end with the process that holds them."""


def lockFile(path):
    """Make a file and lock it for as long as it stays open.

    Returns
    -------
    file

    Raises
    ------
    BlockingIOError
        Somebody else has locked it.
    """
    file = open(path, "w")
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise BlockingIOError(f"{path} is locked by another process") from error
    return file
