# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""ANI models as NeuroChem's files: `*.params`, `sae_linfit.dat`, `trainN/networks/ANN-X.nnf` with the weights beside. Needs numpy only."""

import bz2
import os
import re
from pathlib import Path

import numpy as np

from ._ani import AniModel
from ._errors import ConversionError

_ARRAYS = {
    "EtaR": "radial.eta", "ShfR": "radial.shift", "EtaA": "angular.eta", "Zeta": "angular.zeta", "ShfA": "angular.shift",
    "ShfZ": "angular.theta",
}  # fmt: skip
_CELU, _LINEAR = 9, 6  # NeuroChem's numbers of the activations; its CELU has alpha = 0.1
_LAYER = re.compile(r"\s*layer\s*\[((?:\s*\w+\s*=[^;]*;)*)\s*\]")
_MAX_TEXT = 1 << 20  # bytes of a decompressed .nnf; those of the published models have one thousand


def isNeuroChem(path):
    """Whether a path is a folder of NeuroChem files (or one with `trainN` folders, which _findFiles then checks) or an `.info` file."""
    path = Path(path)
    if path.is_dir():
        return any(path.glob("*.params")) or any(path.glob("train*/networks"))
    return path.is_file() and path.suffix == ".info"


def readNeuroChem(path):
    """Read a NeuroChem folder, one `trainN` folder, or the `.info` file that names the parts.

    Returns
    -------
    AniModel
        Constants and self energies in double, from the text; weights in float32, as the files have them.

    Raises
    ------
    ConversionError
        A file that is absent, empty, malformed, of a wrong size, or that describes something other than an ANI network with CELU.
    """
    params, sae, networks = _findFiles(Path(path))
    symbols, radialCutoff, angularCutoff, constants = _readParams(params)
    model = AniModel(
        symbols=symbols,
        radialCutoff=radialCutoff,
        angularCutoff=angularCutoff,
        celuAlpha=0.1,
        constants=constants,
        selfEnergies=_readSelfEnergies(sae, symbols),
        members=[{symbol: _readNetwork(folder / f"ANN-{symbol}.nnf", symbol) for symbol in symbols} for folder in networks],
    )
    model.files = (params, sae, networks)
    return model


def _findFiles(path):
    if path.is_file():
        lines = _text(path).splitlines()
        if len(lines) < 4 or not lines[3].strip().isdigit():
            parts = "the constants' file, the self energies' file, the networks' folders without their number, how many they are"
            raise ConversionError(f"{path} is not an .info file of TorchANI: that has four lines: {parts}.")
        params, sae, prefix = (path.parent / line.strip() for line in lines[:3])
        return params, sae, [Path(f"{prefix}{k}") / "networks" for k in range(int(lines[3]))]
    params = sorted(path.glob("*.params"))
    if len(params) != 1:
        raise ConversionError(f"{path} has {len(params)} files named *.params; a folder of NeuroChem files has one.")
    sae = path / "sae_linfit.dat"
    if (path / "networks").is_dir():
        return params[0], sae, [path / "networks"]
    numbers = sorted(int(folder.name[5:]) for folder in path.glob("train*") if folder.name[5:].isdigit())
    if not numbers or numbers != list(range(len(numbers))):
        raise ConversionError(f"{path} should have the folders train0, train1, ... with the networks; it has the numbers {numbers}.")
    return params[0], sae, [path / f"train{k}" / "networks" for k in numbers]


def _text(path):
    data = _bytes(path)
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise ConversionError(f"{path} is not a text file.") from None


def _bytes(path):
    if not path.is_file():
        raise ConversionError(f"{path} is missing; the model is not complete.")
    data = path.read_bytes()
    if not data:
        hint = "In TorchANI 2.2.4's wheel the files of ANI-1ccx and ANI-2x and all .info files are empty; its folder ani-1x_8x is complete."
        raise ConversionError(f"{path} is empty (0 bytes). {hint}")
    return data


def _number(text, path, what):
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise ConversionError(f"{path}: {what} is '{text.strip()}', which is not a finite number.")
    return value


def _numbers(text, path, what):
    return np.array([_number(item, path, what) for item in text.strip("[]").split(",")])


def _readParams(path):
    values = {}
    for line in _text(path).splitlines():
        name, equals, value = line.partition("=")
        name = name.strip()
        if not line.strip():
            continue
        if not equals or name in values:
            raise ConversionError(f"{path}: the line '{line.strip()}' is not of the form 'name = value', or its name comes twice.")
        values[name] = value.strip()
    missing = [name for name in ("Rcr", "Rca", "Atyp", *_ARRAYS) if name not in values]
    unknown = [name for name in values if name not in ("TM", "Rcr", "Rca", "Atyp", *_ARRAYS)]
    mode = values.get("TM", "1")
    if missing or unknown or mode != "1":
        raise ConversionError(f"{path} does not hold ANI's constants: missing {missing}, unknown {unknown}, TM = {mode} (1 is known).")
    constants = {key: _numbers(values[name], path, name) for name, key in _ARRAYS.items()}
    symbols = [symbol.strip() for symbol in values["Atyp"].strip("[]").split(",")]
    return symbols, _number(values["Rcr"], path, "Rcr"), _number(values["Rca"], path, "Rca"), constants


def _readSelfEnergies(path, symbols):
    energies = {}
    for line in filter(str.strip, _text(path).splitlines()):
        match = re.fullmatch(r"\s*([A-Z][a-z]?)\s*,\s*(\d+)\s*=\s*(\S+)\s*", line)
        if not match or match[1] in energies:
            raise ConversionError(f"{path}: the line '{line.strip()}' is not of the form 'H,0=-0.5', or its element comes twice.")
        # Readers of these files differ in whether the name or the index counts: both have to agree.
        if match[1] not in symbols or symbols.index(match[1]) != int(match[2]):
            raise ConversionError(f"{path}: element {match[1]} has index {match[2]}, but the constants have the elements {symbols}.")
        energies[match[1]] = _number(match[3], path, f"the self energy of {match[1]}")
    if len(energies) != len(symbols):
        raise ConversionError(f"{path} has self energies of {sorted(energies)}; needed are {symbols}.")
    return np.array([energies[symbol] for symbol in symbols])


def _readNetwork(path, symbol):
    """Layers [(weight [out, in], bias [out]), ...] of one atomic network."""
    data = _bytes(path)
    start = data.find(b"=")
    decompressor = bz2.BZ2Decompressor()
    try:
        text = decompressor.decompress(data[start + 2 :], _MAX_TEXT).rstrip(b"\0").decode("ascii")
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path} is not a NeuroChem network: after '<n>=' it should have bzip2-compressed text ({error}).") from None
    if not decompressor.eof:
        raise ConversionError(f"{path} is truncated, or has more than {_MAX_TEXT} bytes of text, which no network needs.")
    head = re.match(r"\s*inputsize\s*=\s*(\d+)\s*;\s*atom_net\s+(\w+)\s*\$", text)
    if not head or head[2] != symbol:
        raise ConversionError(f"{path} should begin with 'inputsize=...; atom_net {symbol} $'; it begins with '{text[:40]!r}'.")
    width, layers, position = int(head[1]), [], head.end()
    while match := _LAYER.match(text, position):
        keys = dict(item.split("=", 1) for item in re.sub(r"\s", "", match[1]).split(";") if item)
        layers.append((_integer(keys, "activation", path), *_readLayer(path, len(layers), keys, width)))
        width, position = len(layers[-1][2]), match.end()
    if text[position:].strip(" \t\r\n$\0") or not layers:
        raise ConversionError(f"{path}: after {len(layers)} layers comes something that is not a layer: '{text[position:][:40]!r}'.")
    activations = [layer[0] for layer in layers]
    if activations != [_CELU] * (len(layers) - 1) + [_LINEAR] or width != 1:
        known = f"{_CELU} (CELU), at the end {_LINEAR} (linear), 1 output"
        raise ConversionError(f"{path} has activations {activations} and {width} outputs; known are {known}.")
    return [(weight, bias) for _, weight, bias in layers]


def _integer(keys, name, path):
    if not keys.get(name, "").isdigit():
        raise ConversionError(f"{path}: a layer has {name}={keys.get(name)!r}; it must be a whole number.")
    return int(keys[name])


def _readLayer(path, index, keys, width):
    inputs, outputs = _integer(keys, "blocksize", path), _integer(keys, "nodes", path)
    norm = keys.get("btchnorm", "0")
    if inputs != width or _integer(keys, "type", path) != 0 or norm != "0":
        expected = f"expected are {width}, 0, 0"
        raise ConversionError(f"{path}: layer {index} has blocksize {inputs}, type {keys['type']}, btchnorm {norm}; {expected}.")
    weight = _readFloats(path, keys.get("weights", ""), inputs * outputs).reshape(outputs, inputs)
    return weight, _readFloats(path, keys.get("biases", ""), outputs)


def _readFloats(path, reference, count):
    match = re.fullmatch(r"FILE:([\w.\-]+)\[(\d+)\]", reference)
    if not match or int(match[2]) != count:
        raise ConversionError(f"{path}: '{reference}' should be 'FILE:<name>[{count}]', a file beside this one with {count} numbers.")
    file = path.parent / match[1]
    data = _bytes(file)
    if len(data) != 4 * count:
        raise ConversionError(f"{file} has {os.path.getsize(file)} bytes; {count} numbers in float32 have {4 * count}.")
    return np.frombuffer(data, dtype="<f4").astype(np.float32)
