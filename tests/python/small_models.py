# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Small random models and structures for tests of the command line: cheap, smooth, and of no physical meaning."""

import numpy as np

from openmmflash.convert._writer import writeModel
from openmmflash.structurefile import Structure, Terms, writeStructure

ELEMENTS = (("H", 1), ("C", 6), ("N", 7), ("O", 8))


def writeAni(path, members=1, seed=1, name="tinyani"):
    """An ANI model of H C N O with 4 radial and 4 angular terms. Energies in hartree, lengths in Angstrom."""
    random = np.random.default_rng(seed)
    tensors = {
        "aev.radial.eta": np.array([16.0]),
        "aev.radial.shift": np.array([0.4, 1.6, 2.8, 4.0]),
        "aev.angular.eta": np.array([2.0]),
        "aev.angular.zeta": np.array([4.0]),
        "aev.angular.shift": np.array([0.9, 2.0]),
        "aev.angular.theta": np.array([0.4, 1.9]),
        "type_energies": np.array([-0.6, -38.1, -54.7, -75.2]),
    }
    length = 4 * 4 + 10 * 4
    for member in range(members):
        for symbol, _ in ELEMENTS:
            sizes = (length, 8, 6, 1)
            layers = []
            for layer in range(3):
                prefix = f"members.{member}.networks.{symbol}.{layer}"
                scale = (0.05 if layer == 2 else 1) / np.sqrt(sizes[layer])
                tensors[f"{prefix}.weight"] = random.normal(size=(sizes[layer + 1], sizes[layer])) * scale
                tensors[f"{prefix}.bias"] = random.normal(size=sizes[layer + 1]) * 0.1
                layers.append(tensors[f"{prefix}.weight"])
            # Random weights attract as often as they repel, and atoms would fall onto each other. The first unit of each layer is a wall
            # instead: it sums the radial functions at 0.4 Angstrom of all four types.
            layers[0][0] = layers[1][0] = 0
            layers[0][0, 0:16:4] = 5
            layers[1][0, 0] = layers[2][0, 0] = 1
    metadata = {
        "architecture": "ani",
        "name": name,
        "length_unit": "angstrom",
        "energy_unit": "hartree",
        "types": [{"name": symbol, "atomic_number": number} for symbol, number in ELEMENTS],
        "hyperparameters": {"radial_cutoff": 5.2, "angular_cutoff": 3.5, "celu_alpha": 0.1, "cutoff_function": "cosine"},
        "num_members": members,
        "description": "random weights, for tests",
    }
    return writeModel(path, metadata, tensors)


def writeBeads(path, seed=2, members=1, name="tinybeads"):
    """A SchNet of two bead types with a bond prior and a pair prior. Energies in kcal/mol, lengths in Angstrom."""
    random = np.random.default_rng(seed)
    hidden, filters, basis = 8, 6, 5
    hyperparameters = {
        "cutoff": 10.0,
        "num_blocks": 1,
        "hidden_channels": hidden,
        "num_filters": filters,
        "num_basis": basis,
        "activation": "tanh",
        "readout_activation": "tanh",
        "radial_basis": "gaussian",
        "basis_envelope": "cosine",
        "filter_envelope": "cosine",
        "repulsion": {"exponent": 6, "cutoff": None},
    }
    shapes = {
        "embedding": (2, hidden),
        "blocks.0.filter.0.weight": (filters, basis),
        "blocks.0.filter.1.weight": (filters, filters),
        "blocks.0.input.weight": (filters, hidden),
        "blocks.0.output.0.weight": (hidden, filters),
        "blocks.0.output.1.weight": (hidden, hidden),
        "readout.0.weight": (4, hidden),
        "readout.1.weight": (1, 4),
    }
    tensors = {
        "repulsion.sigma": np.array([[3.0, 3.2], [3.2, 3.5]]),
        "priors.bonds.types": np.array([[0, 0], [0, 1], [1, 1]], dtype=np.int32),
        "priors.bonds.parameters": np.array([[20.0, 3.8], [20.0, 3.9], [20.0, 4.0]]),
    }
    for member in range(members):
        for key, shape in shapes.items():
            tensors[f"members.{member}.{key}"] = random.normal(size=shape) / np.sqrt(shape[-1])
        tensors[f"members.{member}.basis.means"] = np.linspace(0, 10, basis)
        tensors[f"members.{member}.basis.coefficients"] = np.full(basis, -0.08)
    metadata = {
        "architecture": "schnet",
        "name": name,
        "length_unit": "angstrom",
        "energy_unit": "kcal/mol",
        "types": [{"name": "A", "mass": 100.0}, {"name": "B", "mass": 120.0}],
        "hyperparameters": hyperparameters,
        "num_members": members,
        "priors": [{"name": "bonds", "form": "harmonic_bond"}],
    }
    return writeModel(path, metadata, tensors)


def beadChain(n=6, frames=1, seed=3):
    """A bent chain of n beads, types 0 and 1 in turn."""
    random = np.random.default_rng(seed)
    i = np.arange(n)
    chain = np.stack([0.3 * i, 0.25 * (i % 2), 0.1 * ((i // 2) % 2)], axis=1)
    positions = np.array([chain + random.normal(scale=0.01, size=chain.shape) for _ in range(frames)])
    bonds = np.stack([i[:-1], i[1:]], axis=1)
    near = np.concatenate([bonds, np.stack([i[:-2], i[2:]], axis=1)])
    return Structure(positions if frames > 1 else positions[0], types=i % 2, exclusions=near, terms={"bonds": Terms(bonds)})


def writeBeadStructure(path, **options):
    """The chain of beadChain as a structure file."""
    return writeStructure(path, beadChain(**options))


PEPTIDE = """\
ATOM      1  CH3 ACE A   1      -2.888   0.842   0.860  1.00  0.00           C
ATOM      2  H1  ACE A   1      -3.293   0.329  -0.010  1.00  0.00           H
ATOM      3  H2  ACE A   1      -3.232   0.359   1.772  1.00  0.00           H
ATOM      4  H3  ACE A   1      -3.213   1.882   0.854  1.00  0.00           H
ATOM      5  C   ACE A   1      -1.379   0.801   0.809  1.00  0.00           C
ATOM      6  O   ACE A   1      -0.736   1.842   0.761  1.00  0.00           O
ATOM      7  N   NME A   2      -0.813  -0.405   0.807  1.00  0.00           N
ATOM      8  H   NME A   2      -1.419  -1.208   0.831  1.00  0.00           H
ATOM      9  C   NME A   2       0.632  -0.658   0.777  1.00  0.00           C
ATOM     10  H1  NME A   2       1.109   0.045   1.462  1.00  0.00           H
ATOM     11  H2  NME A   2       0.826  -1.680   1.103  1.00  0.00           H
ATOM     12  H3  NME A   2       1.016  -0.527  -0.235  1.00  0.00           H
END
"""
"""N-methylacetamide with its hydrogens."""


def writePeptide(path, cell=None, drop=lambda line: False):
    """N-methylacetamide as PDB; `cell` writes a CRYST1 of three lengths in Angstrom, `drop` leaves out atom lines."""
    head = "" if cell is None else "CRYST1{:9.3f}{:9.3f}{:9.3f}  90.00  90.00  90.00 P 1           1\n".format(*cell)
    lines = [line for line in PEPTIDE.splitlines(keepends=True) if not drop(line)]
    with open(path, "w", encoding="utf-8") as file:
        file.write(head + "".join(lines))
    return str(path)
