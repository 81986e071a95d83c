# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Named models: found where their own packages keep them, converted once into a cache.

The names are ani1x, ani1ccx and ani2x. Their weights are not part of this package. They are looked for in

1. the installed package torchani 2.2 (its wheel has ANI-1x complete; what it downloads goes there, or to ~/.local/torchani),
2. TorchANI 2.9's data folder, $TORCHANI_DATA_DIR or ~/.local/share/Torchani: Neurochem/, StateDicts/.

The first complete one is converted to a model file in the cache: $OPENMMFLASH_CACHE, else $XDG_CACHE_HOME/openmm-flash, else
~/.cache/openmm-flash. The file's name holds a hash of the source's content: a source that changes is converted again.
"""

import hashlib
import importlib.util
import numbers
import os
import sys
from pathlib import Path

from . import FlashModel
from .convert._writer import FORMAT_VERSION

NAMES = ("ani1x", "ani1ccx", "ani2x")
_FOLDERS = {"ani1x": "ani-1x_8x", "ani1ccx": "ani-1ccx_8x", "ani2x": "ani-2x_8x"}
_CLASSES = {"ani1x": "ANI1x", "ani1ccx": "ANI1ccx", "ani2x": "ANI2x"}
_CONVERTER_VERSION = 1  # to be raised when the same source gives another model file


class ModelNotFoundError(FileNotFoundError):
    """A named model is not installed; the message says where was looked and what to do."""


def loadModel(nameOrPath, members=None):
    """Load a model by name or from a model file.

    Parameters
    ----------
    nameOrPath : str or path
        `ani1x`, `ani1ccx`, `ani2x` (also written ANI-1x and so on), or the path of a model file. For a file that is called like a model,
        write ./ani1x.
    members : iterable of int, optional
        Of a named model, the ensemble members to use, numbered from 0 and none twice; [0] is the first network alone, [0, 1, 2] three of
        the eight.

    Returns
    -------
    FlashModel

    Raises
    ------
    ModelNotFoundError
        The named model is not installed, or there is neither a file nor a model of this name.
    ValueError
        members is empty, has something other than different whole numbers from 0, more than the model has, or is given with a path.
    openmm.OpenMMException
        The file is not a model file; the message names what is wrong with it.
    """
    return FlashModel(str(findModel(nameOrPath, members)))


def findModel(nameOrPath, members=None):
    """The model file of a name or path, as a pathlib.Path; a named model is converted into the cache first. See loadModel."""
    members = None if members is None else _checkedMembers(members)
    name = plainName(nameOrPath) if isinstance(nameOrPath, str) else None
    if name in NAMES:
        return _cached(name, members)
    path = Path(nameOrPath)
    if not path.exists():
        raise ModelNotFoundError(f"There is neither a model file {path} nor a model of this name; the names are {', '.join(NAMES)}.")
    if path.is_dir():
        raise ModelNotFoundError(
            f"{path} is a folder, not a model file. If it holds a model, convert it: openmm-flash convert {path} -o model.safetensors"
        )
    if not path.is_file():
        raise ModelNotFoundError(f"{path} is not a regular file (a device or a pipe?); give a model file or a model's name.")
    if members is not None:
        raise ValueError(f"members={members} chooses networks of a named model; {path} is a file. Choose when converting it.")
    return path


def _checkedMembers(members):
    """A list of different ints from 0; the model's number of members is checked when it is converted."""
    members = list(members)
    if not members:
        raise ValueError("members is empty: name at least one, or leave it out for all.")
    for k in members:
        if not isinstance(k, numbers.Integral) or isinstance(k, bool) or k < 0:
            raise ValueError(f"members has {k!r}; members are whole numbers from 0.")
    if len(set(members)) != len(members):
        raise ValueError(f"members is {members}; each may be named once.")
    return [int(k) for k in members]


def plainName(name):
    """ANI-1x, ani_1x, ani1x -> ani1x; anything else comes back as it is."""
    plain = name.lower().replace("-", "").replace("_", "")
    return plain if plain in NAMES else name


def findSource(name):
    """Where the weights of a named model lie: a NeuroChem folder or a state dict.

    Raises
    ------
    ModelNotFoundError
        Nowhere; the message lists the places and says what to install.
    """
    tried = []
    for path in _places(name):
        problem = _problem(path)
        if problem is None:
            return path
        tried.append(f"  {path}: {problem}")
    raise ModelNotFoundError(f"The model {name} is not installed. Looked at\n" + "\n".join(tried) + "\n" + _advice(name))


def cacheFolder():
    """The folder of converted models."""
    if os.environ.get("OPENMMFLASH_CACHE"):
        return Path(os.environ["OPENMMFLASH_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "openmm-flash"


def _places(name):
    try:
        spec = importlib.util.find_spec("torchani")
    except ValueError:  # a module of this name is loaded that did not come from a file
        spec = None
    for package in spec.submodule_search_locations or [] if spec else []:
        yield Path(package) / "resources" / _FOLDERS[name]
    yield Path.home() / ".local" / "torchani" / _FOLDERS[name]
    data = Path(os.environ.get("TORCHANI_DATA_DIR") or Path.home() / ".local" / "share" / "Torchani")
    # NeuroChem first: it has the constants and self energies in double.
    yield data / "Neurochem" / _FOLDERS[name]
    yield data / "StateDicts" / f"{name}_state_dict.pt"


def _problem(path):
    """Why a place has no complete model, or None. The wheel of torchani 2.2.4 has empty files in the place of most of its models."""
    if path.suffix == ".pt":
        return "absent" if not path.is_file() else "empty" if path.stat().st_size == 0 else None
    if not path.is_dir():
        return "absent"
    files = _files(path)
    if not any(file.suffix == ".params" for file in files) or not any(file.suffix == ".nnf" for file in files):
        return "incomplete"
    empty = [file for file in files if file.stat().st_size == 0]
    return f"{len(empty)} of its {len(files)} files are empty" if empty else None


def _files(path):
    """The files that define a model."""
    if path.is_file():
        return [path]
    return sorted([*path.glob("*.params"), *path.glob("sae_linfit.dat"), *path.glob("train*/networks/ANN-*")])


def _advice(name):
    data = "$TORCHANI_DATA_DIR or ~/.local/share/Torchani"
    lines = ["Get it with one of"]
    if name == "ani1x":
        lines.append("  pip install --no-deps torchani==2.2.4      (its wheel has the weights; torch is not needed)")
    lines += [
        f'  python -c "import torchani; torchani.models.{_CLASSES[name]}()"      (TorchANI 2.9 downloads it into {data})',
        f"  putting TorchANI 2.9's {name}_state_dict.pt into StateDicts/ in {data}",
        f"  putting the folder {_FOLDERS[name]} of NeuroChem files into Neurochem/ there",
    ]
    return "\n".join(lines)


def _cached(name, members):
    source = findSource(name)
    digest = hashlib.sha256()
    for file in _files(source):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(source)} {len(content)}\n".encode())
        digest.update(content)
    selection = "" if members is None else "".join(f"_{k}" for k in members)
    folder = cacheFolder()
    path = folder / f"{name}{selection}-{digest.hexdigest()[:16]}-v{FORMAT_VERSION}.{_CONVERTER_VERSION}.safetensors"
    if path.is_file():
        return path
    from .convert.torchani import convertTorchANI

    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Written atomically: a second process that converts at the same time puts the same bytes in place. No check: it would import torch
        # into the user's process; `openmm-flash convert` has it.
        report = convertTorchANI(source, path, check=False, members=members, name=name + selection)
    except OSError as error:
        raise type(error)(
            f"Cannot write the converted model to {folder} ({error}). Set OPENMMFLASH_CACHE to a folder that can be written."
        ) from error
    print(f"openmmflash: {report.summary()}", file=sys.stderr)
    return path
