# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""SchNets of the published sizes with random weights, as metadata and tensors of a model file. Random weights cost what trained ones do."""

import numpy as np

RESIDUES = ["ALA", "CYS", "ASP", "GLU", "PHE", "GLY", "HIS", "ILE", "LYS", "LEU"]
RESIDUES += ["MET", "ASN", "PRO", "GLN", "ARG", "SER", "THR", "VAL", "TRP", "TYR"]
# The types of the mapping with five beads a residue: CB by residue (glycine's is its CA), then the backbone.
BEAD_TYPES = [None, *RESIDUES, "N", "CA", "C", "O"]
BEAD_MASSES = {"N": 14.0, "CA": 12.0, "C": 12.0, "O": 16.0}


def _xavier(random, outputs, inputs):
    bound = np.sqrt(6 / (inputs + outputs))
    return random.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)


def _blocks(random, tensors, blocks, hidden, filters, basis, filterBias):
    for k in range(blocks):
        prefix = f"members.0.blocks.{k}."
        shapes = {"filter.0": (filters, basis), "filter.1": (filters, filters), "input": (filters, hidden)}
        shapes |= {"output.0": (hidden, filters), "output.1": (hidden, hidden)}
        for name, shape in shapes.items():
            tensors[prefix + name + ".weight"] = _xavier(random, *shape)
            if name != "input" and (filterBias or name != "filter.1"):
                tensors[prefix + name + ".bias"] = random.uniform(-0.1, 0.1, shape[0]).astype(np.float32)


def _readout(random, tensors, widths, lastBias):
    for k, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        tensors[f"members.0.readout.{k}.weight"] = _xavier(random, outputs, inputs)
        if lastBias or k < len(widths) - 2:
            tensors[f"members.0.readout.{k}.bias"] = random.uniform(-0.1, 0.1, outputs).astype(np.float32)


def schnetPack(seed=1, hidden=128, blocks=3, basis=20, cutoff=5.0):
    """SchNet as SchNetPack configures it by default: 128 features and filters, 3 interactions, 20 Gaussians to 5 Angstrom."""
    random = np.random.default_rng(seed)
    width = cutoff / (basis - 1)
    tensors = {
        "members.0.embedding": random.normal(size=(4, hidden)).astype(np.float32),
        "members.0.basis.means": np.linspace(0, cutoff, basis, dtype=np.float32),
        "members.0.basis.coefficients": np.full(basis, -0.5 / width**2, dtype=np.float32),
    }
    _blocks(random, tensors, blocks, hidden, hidden, basis, filterBias=True)
    _readout(random, tensors, (hidden, hidden // 2, 1), lastBias=True)
    hyperparameters = {"cutoff": cutoff, "num_blocks": blocks, "hidden_channels": hidden, "num_filters": hidden, "num_basis": basis}
    hyperparameters |= {"activation": "shifted_softplus", "readout_activation": "silu", "radial_basis": "gaussian"}
    hyperparameters |= {"basis_envelope": "none", "filter_envelope": "cosine"}
    types = [{"name": s, "atomic_number": z} for s, z in (("H", 1), ("C", 6), ("N", 7), ("O", 8))]
    metadata = {"architecture": "schnet", "name": "schnetpack-random", "length_unit": "angstrom", "energy_unit": "eV", "types": types}
    return metadata | {"hyperparameters": hyperparameters}, tensors


def cgSchNet(seed=1, hidden=128, blocks=4, basis=64, cutoff=15.0, readout=(128, 64), weights=None):
    """CGSchNet as its protein models are configured: 4 blocks of 128, tanh, 64 ExpNormal functions to 15 Angstrom, 25 bead types.

    The pair prior is a repulsion of all pairs, random like the weights. `weights`, if given, are those of mlcg's module, by its names.
    """
    random = np.random.default_rng(seed)
    count = len(BEAD_TYPES)
    if weights is None:
        low = np.exp(-cutoff)
        tensors = {
            "members.0.embedding": random.normal(size=(count, hidden)).astype(np.float32),
            "members.0.basis.means": np.linspace(low, 1, basis, dtype=np.float32),
            "members.0.basis.betas": np.full(basis, (2 / basis * (1 - low)) ** -2, dtype=np.float32),
        }
        _blocks(random, tensors, blocks, hidden, hidden, basis, filterBias=False)
        _readout(random, tensors, (hidden, *readout, 1), lastBias=False)
    else:
        tensors = fromMlcg(weights, blocks)
    sigma = random.uniform(2.5, 3.5, (count, count)).astype(np.float32)
    tensors["repulsion.sigma"] = np.maximum(sigma, sigma.T)
    types = [None if name is None else {"name": name, "mass": BEAD_MASSES.get(name, 15.0)} for name in BEAD_TYPES]
    hyperparameters = {"cutoff": cutoff, "num_blocks": blocks, "hidden_channels": hidden, "num_filters": hidden, "num_basis": basis}
    hyperparameters |= {"activation": "tanh", "readout_activation": "tanh", "radial_basis": "exp_normal", "basis_alpha": 5.0 / cutoff}
    hyperparameters |= {"basis_lower": 0.0, "basis_envelope": "cosine", "filter_envelope": "cosine"}
    hyperparameters |= {"repulsion": {"exponent": 6, "cutoff": None}}
    metadata = {"architecture": "schnet", "name": "cgschnet-random", "length_unit": "angstrom", "energy_unit": "kcal/mol", "types": types}
    priors = [
        {"name": "bonds", "form": "harmonic_bond"},
        {"name": "angles", "form": "cosine_angle"},
        {"name": "dihedrals", "form": "fourier_dihedral"},
    ]
    for prior, arity, parameters in zip(priors, (2, 3, 4), (2, 2, 5)):
        tensors[f"priors.{prior['name']}.types"] = np.zeros((0, arity), dtype=np.int32)
        tensors[f"priors.{prior['name']}.parameters"] = np.zeros((0, parameters))
    return metadata | {"hyperparameters": hyperparameters, "priors": priors}, tensors


def fromMlcg(weights, blocks):
    """A model file's tensors from the weights of mlcg's StandardSchNet, {name: array}."""
    tensors = {"members.0.embedding": weights["embedding_layer.weight"]}
    tensors |= {"members.0.basis.means": weights["rbf_layer.means"], "members.0.basis.betas": weights["rbf_layer.betas"]}
    names = {"conv.filter_network.layers.0": "filter.0", "conv.filter_network.layers.2": "filter.1", "conv.lin1": "input"}
    names |= {"conv.lin2": "output.0", "lin": "output.1"}
    for k in range(blocks):
        for theirs, ours in names.items():
            for part in ("weight", "bias"):
                value = weights.get(f"interaction_blocks.{k}.{theirs}.{part}")
                if value is not None:
                    tensors[f"members.0.blocks.{k}.{ours}.{part}"] = value
    depth = 0
    while f"output_network.layers.{2 * depth}.weight" in weights:
        for part in ("weight", "bias"):
            value = weights.get(f"output_network.layers.{2 * depth}.{part}")
            if value is not None:
                tensors[f"members.0.readout.{depth}.{part}"] = value
        depth += 1
    return tensors
