# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Write small valid model files, one per feature of docs/model-format.md, as seeds for the fuzzer: make_corpus.py FOLDER

Uses nothing of OpenMM-Flash, so that its reader meets files that its own writer did not make.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

random = np.random.default_rng(1)
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32"}


def safetensors(metadata: dict, tensors: dict) -> bytes:
    header, data = {"__metadata__": {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": DTYPES[str(array.dtype)], "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def real(*shape: int, dtype: str = "f4") -> np.ndarray:
    return random.normal(size=shape).astype(dtype)


def metadata(architecture: str, types: list, hyperparameters: dict, **more) -> dict:
    base = {"format": "openmm-flash", "format_version": "1", "architecture": architecture, "name": "seed", "length_unit": "angstrom"}
    return base | {"energy_unit": "kcal/mol", "types": types, "hyperparameters": hyperparameters} | more


def schnet(numTypes: int, basis: str, members: int = 1, bias: bool = True, dtype: str = "f4", **more) -> tuple[dict, dict]:
    H, F, R = 3, 2, 2
    hyperparameters = {"cutoff": 5.0, "num_blocks": 1, "hidden_channels": H, "num_filters": F, "num_basis": R, "activation": "tanh"}
    hyperparameters |= {"readout_activation": "silu", "radial_basis": basis, "basis_envelope": "cosine", "filter_envelope": "cosine"} | more
    if basis == "exp_normal":
        hyperparameters |= {"basis_alpha": 1.0, "basis_lower": 0.0}
    shapes = {"blocks.0.filter.0": (F, R), "blocks.0.filter.1": (F, F), "blocks.0.input": (F, H), "blocks.0.output.0": (H, F)}
    shapes |= {"blocks.0.output.1": (H, H), "readout.0": (2, H), "readout.1": (1, 2)}
    if hyperparameters.get("neighbor_embedding"):
        shapes |= {"neighbor_embedding.projection": (H, R), "neighbor_embedding.combine": (H, 2 * H)}
    tensors = {}
    for k in range(members):
        p = f"members.{k}."
        tensors[p + "embedding"] = real(numTypes, H, dtype=dtype)
        tensors[p + "basis.means"] = np.linspace(0, 1, R).astype(dtype)
        tensors[p + ("basis.coefficients" if basis == "gaussian" else "basis.betas")] = np.full(
            R, -1.0 if basis == "gaussian" else 1.0, dtype
        )
        if hyperparameters.get("neighbor_embedding"):
            tensors[p + "neighbor_embedding.embedding"] = real(numTypes, H)
        for name, shape in shapes.items():
            tensors[p + name + ".weight"] = real(*shape, dtype=dtype)
            if bias and name != "blocks.0.input":
                tensors[p + name + ".bias"] = real(shape[0], dtype=dtype)
    return hyperparameters, tensors


def ani(types: list, members: int) -> tuple[dict, dict]:
    T = len(types)
    tensors = {"type_energies": real(T, dtype="f8")}
    for name, size in {
        "radial.eta": 1,
        "radial.shift": 2,
        "angular.eta": 1,
        "angular.zeta": 1,
        "angular.shift": 1,
        "angular.theta": 2,
    }.items():
        tensors["aev." + name] = np.linspace(1, 2, size)
    length = 2 * T + 2 * T * (T + 1) // 2
    for k in range(members):
        for entry in types:
            for layer, shape in enumerate([(2, length), (1, 2)]):
                tensors[f"members.{k}.networks.{entry['name']}.{layer}.weight"] = real(*shape)
                tensors[f"members.{k}.networks.{entry['name']}.{layer}.bias"] = real(shape[0])
    return {"radial_cutoff": 5.2, "angular_cutoff": 3.5, "celu_alpha": 0.1, "cutoff_function": "cosine"}, tensors


def priors(numTypes: int) -> tuple[list, dict]:
    forms = {"harmonic_bond": (2, 2), "harmonic_angle": (3, 2), "cosine_angle": (3, 2), "fourier_dihedral": (4, 5)}
    forms |= {"harmonic_improper": (4, 2), "quartic_angle": (3, 5), "restricted_quartic_angle": (3, 6), "polynomial_angle": (3, 3)}
    forms |= {"power_repulsion": (2, 1), "exponential_repulsion": (2, 2)}
    forms |= {"cutoff_power_repulsion": (2, 2), "cutoff_exponential_repulsion": (2, 3)}
    tensors = {}
    for rows, (form, (arity, parameters)) in enumerate(forms.items()):
        tensors[f"priors.{form}s.types"] = random.integers(0, numTypes, (rows % 3, arity)).astype("i4" if rows % 2 else "i8")
        tensors[f"priors.{form}s.parameters"] = real(rows % 3, parameters)
    return [{"name": form + "s", "form": form} for form in forms], tensors


def seeds() -> dict[str, bytes]:
    beads = [{"name": "CA", "mass": 12.0}, None, {"name": "CB"}]
    atoms = [{"name": "H", "atomic_number": 1, "mass": 1.008}, {"name": "C", "atomic_number": 6}]
    files = {}
    hyperparameters, tensors = schnet(3, "gaussian", filter_envelope_lower=1.0)
    files["gaussian"] = safetensors(metadata("schnet", beads, hyperparameters), tensors)
    hyperparameters, tensors = schnet(3, "exp_normal", members=2, bias=False, dtype="f8", filter_envelope="mollifier", group_energy=-1.5)
    files["exp_normal"] = safetensors(
        metadata("schnet", beads, hyperparameters, num_members="2", description="a seed", license="MIT"), tensors
    )
    hyperparameters, tensors = schnet(2, "gaussian", dtype="f2", neighbor_embedding=True, basis_envelope="none")
    files["neighbor_embedding"] = safetensors(metadata("schnet", atoms, hyperparameters, length_unit="bohr", energy_unit="627.5"), tensors)
    for cutoff in (None, 8.0):
        hyperparameters, tensors = schnet(3, "exp_normal", repulsion={"exponent": 6, "cutoff": cutoff})
        list_, tables = priors(3)
        tensors |= {"repulsion.sigma": np.full((3, 3), 3.0)} | tables
        files[f"priors_{'all_pairs' if cutoff is None else 'cutoff'}"] = safetensors(
            metadata("schnet", beads, hyperparameters, priors=list_), tensors
        )
    hyperparameters, tensors = ani(atoms, 2)
    files["ani"] = safetensors(metadata("ani", atoms, hyperparameters, energy_unit="hartree", num_members="2"), tensors)
    return files


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for name, content in seeds().items():
    (folder / name).write_bytes(content)
    print(f"{name}: {len(content)} bytes")
