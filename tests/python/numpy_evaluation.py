# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
The energy of a model file in plain numpy, written from docs/model-format.md alone: an independent witness for the compiled code.

It reads the bytes itself, sums over all pairs of particles and images by brute force, and is meant for a few dozen particles.
"""

import itertools
import json

import numpy as np

LENGTHS = {"nm": 1.0, "angstrom": 0.1, "bohr": 0.0529177210903}
ENERGIES = {"kJ/mol": 1.0, "kcal/mol": 4.184, "eV": 96.48533212331002, "hartree": 2625.4996394798254}
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
ACTIVATIONS = {
    "tanh": np.tanh,
    "shifted_softplus": lambda x: np.logaddexp(0, x) - np.log(2),
    "softplus": lambda x: np.logaddexp(0, x),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log(1 + np.exp(x))),
}


def readFile(data):
    """Metadata (structured values parsed) and tensors of a model file's bytes."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    for key in ("types", "hyperparameters", "num_members", "priors"):
        if key in metadata:
            metadata[key] = json.loads(metadata[key])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[8 + size + begin : 8 + size + end], DTYPES[entry["dtype"]]).reshape(entry["shape"]).astype(float)
    return metadata, tensors


def findPairs(positions, cutoff, box=None):
    """All directed pairs i, j with r < cutoff and the vectors from i to j's image; shifts tell an atom from its own image."""
    images = [0, 0, 0]
    if box is not None:
        heights = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
        # Positions may lie anywhere, so that two of them can be further apart than one box.
        fractions = positions @ np.linalg.inv(box)
        spread = np.ceil(fractions.max(axis=0) - fractions.min(axis=0))
        images = [int(np.ceil(cutoff / height) + s) for height, s in zip(heights, spread)]
    frame = np.zeros((3, 3)) if box is None else box
    found = []
    for image in itertools.product(*(range(-m, m + 1) for m in images)):
        d = positions[None, :] + np.array(image) @ frame - positions[:, None]
        r = np.linalg.norm(d, axis=2)
        near = r < cutoff
        if image == (0, 0, 0):
            near &= ~np.eye(len(positions), dtype=bool)
        i, j = np.nonzero(near)
        found.append((i, j, d[i, j]))
    i, j, d = (np.concatenate(parts) for parts in zip(*found))
    return i, j, d, np.linalg.norm(d, axis=1)


def _linear(tensors, name, x):
    return x @ tensors[name + ".weight"].T + tensors.get(name + ".bias", 0.0)


def _perceptron(tensors, name, x, activation):
    last = max(layer for layer in range(16) if f"{name}.{layer}.weight" in tensors)
    for layer in range(last + 1):
        x = _linear(tensors, f"{name}.{layer}", x)
        if layer < last:
            x = activation(x)
    return x[:, 0]


def _envelope(form, r, cutoff, lower):
    if form == "none":
        return np.ones_like(r)
    if form == "mollifier":
        return np.exp(1 - 1 / (1 - (r / cutoff) ** 2))
    if lower > 0:
        return np.where(r > lower, 0.5 * (np.cos(np.pi * (2 * (r - lower) / (cutoff - lower) + 1)) + 1), 0.0)
    return 0.5 * (np.cos(np.pi * r / cutoff) + 1)


def _schnet(h, t, types, positions, box):
    """Particle energies of one member whose tensors are t."""
    i, j, d, r = findPairs(positions, h["cutoff"], box)
    n, act = len(types), ACTIVATIONS[h["activation"]]
    if h["radial_basis"] == "gaussian":
        e = np.exp(t["basis.coefficients"] * (r[:, None] - t["basis.means"]) ** 2)
    else:
        e = np.exp(-t["basis.betas"] * (np.exp(h["basis_alpha"] * (h["basis_lower"] - r))[:, None] - t["basis.means"]) ** 2)
    e = e * _envelope(h["basis_envelope"], r, h["cutoff"], h.get("basis_envelope_lower", 0))[:, None]
    C = _envelope(h["filter_envelope"], r, h["cutoff"], h.get("filter_envelope_lower", 0))[:, None]
    x = t["embedding"][types]
    if h.get("neighbor_embedding", False):
        sums = np.zeros_like(x)
        other = i != j
        np.add.at(sums, i[other], (t["neighbor_embedding.embedding"][types[j]] * _linear(t, "neighbor_embedding.projection", e) * C)[other])
        x = _linear(t, "neighbor_embedding.combine", np.hstack([x, sums]))
    for b in range(h["num_blocks"]):
        p = f"blocks.{b}."
        G = _linear(t, p + "filter.1", act(_linear(t, p + "filter.0", e))) * C
        m = np.zeros((n, h["num_filters"]))
        np.add.at(m, i, _linear(t, p + "input", x)[j] * G)
        x = x + _linear(t, p + "output.1", act(_linear(t, p + "output.0", m)))
    return _perceptron(t, "readout", x, ACTIVATIONS[h["readout_activation"]])


def _ani(h, aev, t, names, types, positions, box):
    """Particle energies of one member whose networks are t; aev are the constants."""
    i, j, d, r = findPairs(positions, h["radial_cutoff"], box)
    T = len(names)

    def fc(r, R):
        return 0.5 * (np.cos(np.pi * r / R) + 1)

    radial = (
        0.25
        * np.exp(-aev["radial.eta"][:, None] * (r[:, None, None] - aev["radial.shift"]) ** 2)
        * fc(r, h["radial_cutoff"])[:, None, None]
    )

    def celu(x, alpha=h["celu_alpha"]):
        return np.maximum(0, x) + np.minimum(0, alpha * (np.exp(np.minimum(x, 0) / alpha) - 1))

    energies = np.zeros(len(types))
    for a in range(len(types)):
        columns = [np.zeros(aev["radial.eta"].size * aev["radial.shift"].size) for _ in range(T)]
        for p in np.nonzero(i == a)[0]:
            columns[types[j[p]]] += radial[p].ravel()
        pairs = dict.fromkeys(itertools.combinations_with_replacement(range(T), 2), 0.0)
        near = np.nonzero((i == a) & (r < h["angular_cutoff"]))[0]
        for p, q in itertools.combinations(near, 2):
            theta = np.arccos(0.95 * np.dot(d[p], d[q]) / (r[p] * r[q]))
            angle = ((1 + np.cos(theta - aev["angular.theta"])) / 2)[None, None, None, :] ** aev["angular.zeta"][None, :, None, None]
            distance = np.exp(-aev["angular.eta"][:, None] * ((r[p] + r[q]) / 2 - aev["angular.shift"]) ** 2)[:, None, :, None]
            term = 2 * angle * distance * fc(r[p], h["angular_cutoff"]) * fc(r[q], h["angular_cutoff"])
            pairs[tuple(sorted((types[j[p]], types[j[q]])))] += term.ravel()
        size = aev["angular.eta"].size * aev["angular.zeta"].size * aev["angular.shift"].size * aev["angular.theta"].size
        row = np.concatenate(columns + [value + np.zeros(size) for value in pairs.values()])
        energies[a] = _perceptron(t, "networks." + names[types[a]], row[None, :], celu)[0]
    return energies


def _repulsion(repulsion, sigma, types, positions, box, exclusions):
    cutoff = repulsion.get("cutoff")
    i, j, _, r = findPairs(positions, np.inf if cutoff is None else cutoff, box)
    energy = (sigma[types[i], types[j]] / r) ** repulsion["exponent"]
    if cutoff is not None:
        t = np.clip((r - 0.9 * cutoff) / (0.1 * cutoff), 0, 1)
        energy *= 1 - 10 * t**3 + 15 * t**4 - 6 * t**5
    excluded = {frozenset(pair) for pair in exclusions}
    keep = [frozenset((a, b)) not in excluded for a, b in zip(i, j)]
    energies = np.zeros(len(types))
    np.add.at(energies, i, 0.5 * energy * keep)
    return energies


def evaluate(data, types, positions, box=None, exclusions=()):
    """
    Energies in kJ/mol of one group of particles.

    data: a model file's bytes; types: [n]; positions: [n, 3] in nm; box: [3, 3] in nm; exclusions: pairs of indices.
    Returns the energies of the particles by each member, [members, n], pair prior included.
    """
    metadata, tensors = readFile(data)
    h, names = metadata["hyperparameters"], [entry and entry["name"] for entry in metadata["types"]]
    lengthUnit = LENGTHS.get(metadata["length_unit"]) or float(metadata["length_unit"])
    energyUnit = ENERGIES.get(metadata["energy_unit"]) or float(metadata["energy_unit"])
    types, x = np.asarray(types, int), np.asarray(positions, float) / lengthUnit
    frame = None if box is None else np.asarray(box, float) / lengthUnit
    members = []
    for k in range(int(metadata.get("num_members", 1))):
        own = {name.split(".", 2)[2]: value for name, value in tensors.items() if name.startswith(f"members.{k}.")}
        if metadata["architecture"] == "schnet":
            energies = _schnet(h, own, types, x, frame) + h.get("group_energy", 0.0) / max(len(types), 1)
        else:
            aev = {name[4:]: value for name, value in tensors.items() if name.startswith("aev.")}
            energies = _ani(h, aev, own, names, types, x, frame)
        if "type_energies" in tensors:
            energies = energies + tensors["type_energies"][types]
        if "repulsion" in h:
            energies = energies + _repulsion(h["repulsion"], tensors["repulsion.sigma"], types, x, frame, exclusions)
        members.append(energies)
    return np.array(members) * energyUnit
