# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Reads a model file (docs/model-format.md) with numpy alone: every program gets its weights from the same bytes."""

import json

import numpy as np

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
HARTREE, KCAL, EV = 2625.4996394798254, 4.184, 96.48533212331002
ENERGY = {"kJ/mol": 1.0, "kcal/mol": KCAL, "eV": EV, "hartree": HARTREE}
LENGTH = {"nm": 1.0, "angstrom": 0.1, "bohr": 0.0529177210903}


class ModelFile:
    """metadata (JSON values decoded), tensors, and the units in kJ/mol and nm."""

    def __init__(self, path):
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            data = file.read()
        self.metadata = header.pop("__metadata__")
        for key in ("types", "hyperparameters", "priors"):
            if key in self.metadata:
                self.metadata[key] = json.loads(self.metadata[key])
        self.tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            self.tensors[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        self.hyperparameters = self.metadata["hyperparameters"]
        self.members = int(self.metadata.get("num_members", 1))
        self.symbols = [None if entry is None else entry["name"] for entry in self.metadata["types"]]
        self.energy = _size(self.metadata["energy_unit"], ENERGY)
        self.length = _size(self.metadata["length_unit"], LENGTH)
        self.cutoff = self.hyperparameters["radial_cutoff" if self.metadata["architecture"] == "ani" else "cutoff"]

    def layers(self, prefix):
        """[(weight, bias or None)] of PREFIX.0, PREFIX.1, ..."""
        found = []
        while f"{prefix}.{len(found)}.weight" in self.tensors:
            name = f"{prefix}.{len(found)}"
            found.append((self.tensors[name + ".weight"], self.tensors.get(name + ".bias")))
        return found


def _size(unit, known):
    return known[unit] if unit in known else float(unit)
