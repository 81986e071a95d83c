# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Convert models of other packages to model files (docs/model-format.md).

    from openmmflash.convert import convert
    report = convert("ani2x_state_dict.pt", "ani2x.safetensors")

There is one module per origin; `convert` recognises which by the content of the source. Sources are read without the packages they come
from; where these can be imported, the result is compared with the original.
"""

import importlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path

from ._errors import ConversionError, shown
from ._moduletree import isModule
from ._report import ConversionReport
from ._torchfile import isTorchFile, loadTorchFile, typeName
from ._writer import MAX_HEADER, modelBytes, writeFileAtomically, writeModel

__all__ = ["ORIGINS", "ConversionError", "ConversionReport", "convert", "modelBytes", "recognise", "writeModel"]

# origin: (function that converts, function that tells whether a loaded file or a live object is of this origin, what it is)
ORIGINS = {
    "torchani": ("convertTorchANI", "recognises", "TorchANI: NeuroChem folder, .info file, state dict, live model"),
    "mlcg": ("convertMlcg", "recognises", "mlcg: model_and_prior.pt, *_specialized_model_and_config.pt, Lightning .ckpt"),
    "schnetpack": ("convertSchNetPack", "recognises", "SchNetPack 2: best_model, Lightning .ckpt, live model"),
    "pyg": ("convertPyG", "recognises", "PyTorch Geometric SchNet: saved model, state dict, live model"),
    "torchmdnet": ("convertTorchMDNet", "recognises", "TorchMD-Net graph network: Lightning .ckpt, saved model, live model"),
}


def convert(source, output, origin=None, check=True, quiet=False, **options):
    """Convert a model of another package to a model file.

    Parameters
    ----------
    source : path, str, torch.nn.Module, dict, or a list of these
        A file or folder; the name of a model (`ani1x`, `ani1ccx`, `ani2x`) that is installed (write ./ani1x for a file of that name); a
        live model or state dict. A list of models of SchNetPack, PyTorch Geometric or TorchMD-Net makes an ensemble. What it is follows
        from its content, never from its file name.
    output : path
        The model file to write (by convention *.safetensors).
    origin : str, optional
        `torchani`, `mlcg`, `schnetpack`, `pyg` or `torchmdnet`: do not recognise, take it to be this.
    check : bool
        Compare with the original package where it can be imported.
    quiet : bool
        Do not print the report.
    options
        Of the origin: see convertTorchANI, convertMlcg, convertSchNetPack, convertPyG, convertTorchMDNet.

    Returns
    -------
    ConversionReport
        `path`, `files` (structures written beside), `notes`, `check`, `maxForceDifference` in kJ/mol/nm.

    Raises
    ------
    ConversionError
        The source is not recognised, is damaged, or holds something that a model file cannot express; an option that the origin does not
        have; the result does not agree with the original.
    FileNotFoundError
        There is no such file, or the named model is not installed.
    """
    if origin is not None and origin not in ORIGINS:
        raise ConversionError(f"The origin {origin!r} is not known; known are {', '.join(ORIGINS)}.")
    source = _resolve(source)
    if origin is None and _isModelFile(source):
        report = _copy(source, output, options)
    else:
        origin = origin or recognise(source)
        function = getattr(_module(origin), ORIGINS[origin][0])
        _checkOptions(function, origin, options)
        report = function(source, output, check=check, **options)
    if not quiet:
        print(report.summary())
    return report


def recognise(source):
    """The origin ("torchani", "mlcg", ...) of a path, a live model, or what loadTorchFile returned.

    Raises
    ------
    ConversionError
        None of the origins, or several, claim it; the message says what it is.
    """
    if (
        isinstance(source, (list, tuple))
        and source
        and all(_isPath(entry) or isModule(entry) or isinstance(entry, Mapping) for entry in source)
    ):
        origins = dict.fromkeys(recognise(entry) for entry in source)
        if len(origins) > 1:
            raise ConversionError(
                f"The {len(source)} sources are of {' and '.join(origins)}; the members of an ensemble are of one origin."
            )
        return next(iter(origins))
    loaded, where = source, f"The {type(source).__name__}"
    if _isPath(source):
        path = Path(source)
        where = os.fspath(path)
        if not path.exists():
            raise FileNotFoundError(f"There is no file or folder {path}, nor is that the name of a known model.")
        if path.is_dir() or path.suffix == ".info":
            return "torchani"  # the only origin whose models are folders; its converter says what is missing
        if not isTorchFile(path):
            raise ConversionError(
                f"{path} is not recognised: it begins with {_start(path)!r}, so it is neither a torch file nor a model file. {_known()}"
            )
        loaded = loadTorchFile(path)
    matches = [origin for origin in ORIGINS if getattr(_module(origin), ORIGINS[origin][1])(loaded)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ConversionError(f"{where} could be of {' or '.join(matches)}. Say which with origin=NAME.")
    raise ConversionError(f"{where} is not recognised: it holds {_describe(loaded)}. {_known()}")


def _isPath(value):
    return isinstance(value, (str, os.PathLike))


def _module(origin):
    return importlib.import_module(f".{origin}", __name__)


def _resolve(source):
    from .. import models

    name = models.plainName(source) if isinstance(source, str) else None
    if name in models.NAMES:
        return models.findSource(name)
    return source


def _start(path):
    with open(path, "rb") as file:
        return file.read(16)


def _isModelFile(source):
    """Whether a path is a safetensors file with our format in its first bytes; everything else about it is FlashModel's to check."""
    if not _isPath(source) or not os.path.isfile(source):
        return False
    with open(source, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        return len(start) == 8 and 2 <= length <= MAX_HEADER and b'"openmm-flash"' in file.read(length)


def _copy(source, output, options):
    from .. import FlashModel

    if options:
        raise ConversionError(f"{source} is a model file already; the options {', '.join(options)} have no meaning for it.")
    FlashModel(os.fspath(source))
    writeFileAtomically(output, Path(source).read_bytes())
    return ConversionReport(os.fspath(output), f"the model file {source}, which was copied", check="checked: it can be read")


def _checkOptions(function, origin, options):
    allowed = [name for name in inspect.signature(function).parameters if name not in ("source", "output", "check")]
    for option in options:
        if option not in allowed:
            raise ConversionError(f"The option {option!r} is not known for {origin}; it has {', '.join(allowed)}.")


def _describe(loaded):
    if isinstance(loaded, Mapping):
        return f"a dict with {len(loaded)} keys: {', '.join(map(shown, list(loaded)[:6]))}"
    if isinstance(loaded, (list, tuple)):
        return f"a {type(loaded).__name__} of {len(loaded)}: {', '.join(typeName(item) for item in loaded[:3])}"
    return f"a {typeName(loaded)}"


def _known():
    return "Known are " + "; ".join(text for _, _, text in ORIGINS.values()) + "; model files; and the names of models."
