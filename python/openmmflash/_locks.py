# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Locks on folders of results, which end with the process that holds them."""

import errno


def lockFile(path):
    """Make a file and lock it for as long as it stays open.

    Returns
    -------
    file

    Raises
    ------
    BlockingIOError
        Somebody else has locked it.
    OSError
        The file system has no locks, or the file cannot be made.
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
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            raise BlockingIOError(f"{path} is locked by another process") from error
        text = f"this file cannot be locked ({error.strerror}). Mount the file system with locks (flock), or take a folder on another one"
        raise OSError(error.errno, text, path) from error
    return file
