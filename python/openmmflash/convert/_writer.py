# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Write model files (docs/model-format.md): safetensors, deterministic to the byte, put in place atomically."""

import json
import os
import secrets
import struct

import numpy as np

from ._errors import ConversionError

FORMAT = "openmm-flash"
FORMAT_VERSION = 1
REQUIRED_KEYS = ("architecture", "name", "length_unit", "energy_unit", "types", "hyperparameters")
OPTIONAL_KEYS = ("num_members", "priors", "description", "citation", "license", "origin")
MAX_HEADER = 4 * 1024 * 1024  # the reader refuses longer ones
DTYPES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32"}


def modelBytes(metadata, tensors):
    """The bytes of a model file.

    Parameters
    ----------
    metadata : dict
        The keys of docs/model-format.md. `format` and `format_version` are filled in. Strings are written as they are; dicts,
        lists, numbers and booleans as JSON.
    tensors : dict of str to numpy.ndarray
        dtypes float64, float32, float16, int64, int32, of any byte order and memory layout.

    Returns
    -------
    bytes
        The same for equal input, whatever the order of the dicts.

    Raises
    ------
    ConversionError
        A key that the format does not have or that is missing, a value that JSON cannot hold, a tensor with another dtype or with NaN or
        infinite values.
    """
    arrays = {name: _checkedArray(name, value) for name, value in tensors.items()}
    header = {"__metadata__": _encodeMetadata(metadata)}
    # Largest items first: then every tensor is aligned to its own item size without the gaps that the format forbids.
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    offset = 0
    for name in order:
        array = arrays[name]
        header[name] = {"dtype": DTYPES[array.dtype.str[1:]], "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = _toJson("the header", header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ConversionError(f"The model's header has {len(text)} bytes; the format allows {MAX_HEADER}. It has {len(arrays)} tensors.")
    return b"".join([struct.pack("<Q", len(text)), text, *(arrays[name].tobytes() for name in order)])


def writeModel(path, metadata, tensors):
    """Write a model file; see modelBytes for the arguments and errors.

    The file appears under its name only when it is complete: it is written beside, flushed to the disk and renamed, so that neither an
    interruption nor a second process writing the same file can leave a damaged one.

    Returns
    -------
    str
        The path.
    """
    writeFileAtomically(path, modelBytes(metadata, tensors))
    return os.fspath(path)


def writeFileAtomically(path, data):
    """Write bytes to a file that appears under its name only when complete."""
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"Cannot write {path}: there is no folder {folder}. Make it first.")
    if os.path.isdir(path):
        raise IsADirectoryError(f"Cannot write {path}: it is a folder. Give the name of a file.")
    temporary = f"{path}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    # os.open rather than tempfile: the file gets the permissions that the user's umask asks for, not 0600.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _checkedArray(name, value):
    if not isinstance(name, str) or not name or name == "__metadata__":
        raise ConversionError(f"{name!r} cannot be a tensor's name; it must be a string that is neither empty nor '__metadata__'.")
    array = np.asarray(value)
    if array.dtype.str[1:] not in DTYPES:
        allowed = "float64, float32, float16, int64, int32"
        raise ConversionError(f"Tensor '{name}' has dtype {array.dtype}; a model file holds {allowed} only. Convert it explicitly.")
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if array.dtype.kind == "f":
        bad = np.argwhere(~np.isfinite(array))
        if len(bad):
            index = [int(i) for i in bad[0]]
            count = f"{len(bad)} of {array.size} elements"
            raise ConversionError(f"Tensor '{name}' is not finite in {count}, first {array[tuple(index)]} at {index}.")
    return array


def _encodeMetadata(metadata):
    result = {"format": FORMAT, "format_version": str(FORMAT_VERSION)}
    for key, value in metadata.items():
        if key in result:
            if str(value) != result[key]:
                raise ConversionError(f"Metadata key '{key}' is {value!r}; this library writes {result[key]!r}. Leave it out.")
        elif key not in REQUIRED_KEYS and key not in OPTIONAL_KEYS:
            known = ", ".join(REQUIRED_KEYS + OPTIONAL_KEYS)
            raise ConversionError(f"Metadata key {key!r} is not part of the model format; it has {known}.")
        elif isinstance(value, str):
            result[key] = value
        elif value is None:
            raise ConversionError(f"Metadata key '{key}' is None; leave the key out instead.")
        else:
            result[key] = _toJson(f"Metadata key '{key}'", value)
    missing = [key for key in REQUIRED_KEYS if key not in result]
    if missing:
        raise ConversionError(f"The metadata lack {', '.join(missing)}; every model file needs {', '.join(REQUIRED_KEYS)}.")
    return result


def _toJson(what, value):
    def plain(item):
        if isinstance(item, (np.generic, np.ndarray)):
            return item.tolist()
        raise TypeError(f"{type(item).__name__} is not a JSON type")

    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=plain)
    except (TypeError, ValueError) as error:
        raise ConversionError(f"{what} cannot be written as JSON: {error}.") from error
