# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Small random models with the bead types and the priors of mlcg's mappings of proteins, and proteins to put through them."""

import io
import itertools

import numpy as np
from openmm import app, unit

from openmmflash.convert._writer import modelBytes
from openmmflash.convert.mlcg import RESIDUES

LETTERS = dict(zip("ACDEFGHIKLMNPQRSTVWY", RESIDUES, strict=True))  # mlcg numbers them in the order of their letters
REGIONS = ("n_term_", "bulk_", "c_term_")


def priorsOf(mapping):
    """[(name, form, types of the rows)] with the names of mlcg's priors; every combination of types that a protein can have."""
    if mapping == "ca":
        types = range(len(RESIDUES))
        return [
            ("bonds", "harmonic_bond", list(itertools.product(types, repeat=2))),
            ("angles", "cosine_angle", list(itertools.product(types, repeat=3))),
            # Its rows would be 160000: those of chains of alanine are enough where no energy is asked for.
            ("pseudo_ca_dihedral", "fourier_dihedral", [(0, 0, 0, 0)]),
        ]
    names = {name: i for i, name in enumerate([*RESIDUES, "N", "CA", "C", "O"])}
    n, ca, c, o, gly = (names[name] for name in ("N", "CA", "C", "O", "GLY"))
    sides = [names[name] for name in RESIDUES if name != "GLY"]
    bonds = [(n, ca), (n, gly), (ca, c), (gly, c), (c, o), (c, n), *((ca, side) for side in sides)]
    angles = [(n, ca, c), (n, gly, c), (ca, c, o), (gly, c, o), (ca, c, n), (gly, c, n), (o, c, n), (c, n, ca), (c, n, gly)]
    angles += [(end, ca, side) for end in (n, c) for side in sides]
    priors = [(region + "bonds", "harmonic_bond", bonds) for region in REGIONS]
    priors += [(region + "angles", "cosine_angle", angles) for region in REGIONS]
    for residue in RESIDUES:
        center = gly if residue == "GLY" else ca
        priors.append((f"{residue}_phi", "fourier_dihedral", [(c, n, center, c)]))
        priors.append((f"{residue}_psi", "fourier_dihedral", [(n, center, c, n)]))
    omega = [(a, c, n, b) for a in (ca, gly) for b in (ca, gly)]
    priors += [(name, "fourier_dihedral", omega) for name in ("pro_omega", "non_pro_omega")]
    priors.append(("gamma_1", "fourier_dihedral", [(n, side, c, ca) for side in sides]))
    priors.append(("gamma_2", "fourier_dihedral", [(ca, o, n, c), (gly, o, n, c)]))
    return priors


def proteinModel(mapping, priors=None, seed=5, pairPrior=True, names=None):
    """The bytes of a model. `priors` replaces those of mlcg, `names` the types' names."""
    random = np.random.default_rng(seed)
    names = names or [*RESIDUES, *(("N", "CA", "C", "O") if mapping == "5bead" else ())]
    hidden, filters, basis = 4, 4, 4
    shapes = {
        "embedding": (len(names), hidden),
        "blocks.0.filter.0.weight": (filters, basis),
        "blocks.0.filter.1.weight": (filters, filters),
        "blocks.0.input.weight": (filters, hidden),
        "blocks.0.output.0.weight": (hidden, filters),
        "blocks.0.output.1.weight": (hidden, hidden),
        "readout.0.weight": (4, hidden),
        "readout.1.weight": (1, 4),
    }
    tensors = {f"members.0.{key}": random.normal(size=shape) / np.sqrt(shape[-1]) for key, shape in shapes.items()}
    tensors["members.0.basis.means"] = np.linspace(0, 10, basis)
    tensors["members.0.basis.coefficients"] = np.full(basis, -0.1)
    priors = priorsOf(mapping) if priors is None else priors
    for name, form, rows in priors:
        arity = {"harmonic_bond": 2, "power_repulsion": 2, "cosine_angle": 3, "fourier_dihedral": 4}[form]
        width = {"harmonic_bond": 2, "power_repulsion": 1, "cosine_angle": 2, "fourier_dihedral": 3}[form]
        rows = np.array(rows, dtype=np.int32).reshape(-1, arity)
        tensors[f"priors.{name}.types"] = rows
        tensors[f"priors.{name}.parameters"] = random.uniform(0.5, 1.5, size=(len(rows), width))
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
    }
    if pairPrior:
        hyperparameters["repulsion"] = {"exponent": 6, "cutoff": None}
        sigma = random.uniform(2, 4, size=(len(names), len(names)))
        tensors["repulsion.sigma"] = sigma + sigma.T
    metadata = {
        "architecture": "schnet",
        "name": "protein",
        "length_unit": "angstrom",
        "energy_unit": "kcal/mol",
        "types": [{"name": name} for name in names],
        "hyperparameters": hyperparameters,
        "priors": [{"name": name, "form": form} for name, form, _ in priors],
    }
    return modelBytes(metadata, tensors)


def beadTopology(sequences, mapping):
    """A Topology of beads without bonds, one chain a sequence."""
    topology = app.Topology()
    for sequence in sequences:
        chain = topology.addChain()
        for letter in sequence:
            residue = topology.addResidue(LETTERS[letter], chain)
            for bead in ("CA",) if mapping == "ca" else ("N", "CA", "CB", "C", "O"):
                if bead != "CB" or letter != "G":
                    topology.addAtom(bead, app.Element.getBySymbol(bead[0]), residue)
    return topology


def villinLines():
    """The atoms of OpenMM's own test protein, villin headpiece (35 residues), as lines of a PDB file."""
    path = app.__path__[0] + "/data/test.pdb"
    with open(path) as file:
        return [line.rstrip("\n") for line in file if line.startswith("ATOM") and line[17:20] not in ("HOH", "SOL", "CL ")]


def readPdb(lines):
    """(topology, positions in nm) of lines of a PDB file."""
    file = app.PDBFile(io.StringIO("\n".join(lines) + "\nEND\n"))
    return file.topology, np.array(file.positions.value_in_unit(unit.nanometer))
