# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Checkpoints: OpenMM's own, with what else a continuation needs, in one file that can tell whether it is whole."""

import hashlib
import io
import json

import numpy as np


def packCheckpoint(meta, context):
    """The bytes of a checkpoint file: a Context's state and `meta`, a dict of JSON values."""
    data = context.createCheckpoint()
    meta = {**meta, "sha256": hashlib.sha256(data).hexdigest()}
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.array(json.dumps(meta)), checkpoint=np.frombuffer(data, dtype=np.uint8))
    return buffer.getvalue()


def unpackCheckpoint(path):
    """(meta, OpenMM's checkpoint bytes) of a file; a ValueError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta, data = json.loads(str(archive["meta"])), archive["checkpoint"].tobytes()
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if hashlib.sha256(data).hexdigest() != meta.get("sha256"):
        raise ValueError(f"{path} is damaged: its contents do not fit its SHA-256")
    return meta, data
