# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Small random models of every architecture and dialect, and random structures for them.

The models are no physics, but each uses a different part of docs/model-format.md: dialects of SchNet in different units, ANI,
ensembles, pair priors with and without cutoff, type energies, indices that are not types. All have a cutoff of about half a nanometre.
"""

import numpy as np
import openmm

from openmmflash import FlashForce, FlashModel
from openmmflash.convert._writer import modelBytes

BEADS = [{"name": "CA", "mass": 12.0}, {"name": "CB", "mass": 30.0}, None, {"name": "N"}]
ATOMS = [
    {"name": "H", "atomic_number": 1, "mass": 1.008},
    {"name": "C", "atomic_number": 6, "mass": 12.011},
    {"name": "O", "atomic_number": 8},
]


def schnetParts(
    seed=1,
    members=1,
    types=BEADS,
    units=("angstrom", "kcal/mol"),
    cutoff=5.0,
    activation="tanh",
    basis="exp_normal",
    envelopes=("cosine", "cosine"),
    bias=True,
    filterBias=True,
    neighborEmbedding=False,
    typeEnergies=False,
    numBlocks=2,
    repulsion=None,
    width=1.0,
    sizes=(6, 5, 4),
    **more,
):
    """
    Metadata and tensors of a random SchNet.

    repulsion: "all" for all pairs, or a cutoff; width scales the readout, and so the energy; sizes are the numbers of hidden channels, of
    filters and of basis functions; more goes into the hyperparameters.
    """
    rng = np.random.default_rng(seed)
    T, (H, F, R) = len(types), sizes
    hyperparameters = {
        "cutoff": cutoff,
        "num_blocks": numBlocks,
        "hidden_channels": H,
        "num_filters": F,
        "num_basis": R,
        "activation": activation,
    }
    hyperparameters |= {
        "readout_activation": activation,
        "radial_basis": basis,
        "basis_envelope": envelopes[0],
        "filter_envelope": envelopes[1],
    }
    if basis == "exp_normal":
        hyperparameters |= {"basis_alpha": 5.0 / cutoff, "basis_lower": 0.1 * cutoff}
    tensors = {}

    def linear(name, outputs, inputs, bias=bias):
        tensors[name + ".weight"] = rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)
        if bias:
            tensors[name + ".bias"] = rng.normal(size=outputs)

    for k in range(members):
        p = f"members.{k}."
        tensors[p + "embedding"] = rng.normal(size=(T, H))
        if basis == "gaussian":
            tensors[p + "basis.means"] = np.linspace(0, cutoff, R)
            tensors[p + "basis.coefficients"] = np.full(R, -0.5 * (R / cutoff) ** 2)
        else:
            tensors[p + "basis.means"] = np.linspace(np.exp(-5.0), 1, R)
            tensors[p + "basis.betas"] = np.full(R, (0.5 * R) ** 2.0)
        if neighborEmbedding:
            tensors[p + "neighbor_embedding.embedding"] = rng.normal(size=(T, H))
            linear(p + "neighbor_embedding.projection", H, R)
            linear(p + "neighbor_embedding.combine", H, 2 * H)
            hyperparameters["neighbor_embedding"] = True
        for b in range(numBlocks):
            q = f"{p}blocks.{b}."
            linear(q + "filter.0", F, R)
            linear(q + "filter.1", F, F, bias=filterBias and bias)
            linear(q + "input", F, H, bias=False)
            linear(q + "output.0", H, F)
            linear(q + "output.1", H, H)
        linear(p + "readout.0", 4, H)
        linear(p + "readout.1", 1, 4)
        tensors[p + "readout.1.weight"] *= 5 * width
    if typeEnergies:
        tensors["type_energies"] = 10 * rng.normal(size=T)
    if repulsion is not None:
        sigma = rng.uniform(0.3, 0.45, size=(T, T)) * cutoff
        tensors["repulsion.sigma"] = 0.5 * (sigma + sigma.T)
        hyperparameters["repulsion"] = {"exponent": 6, "cutoff": None if repulsion == "all" else repulsion}
    metadata = {"architecture": "schnet", "name": "random-schnet", "length_unit": units[0], "energy_unit": units[1], "types": types}
    metadata |= {"hyperparameters": hyperparameters | more, "num_members": members}
    return metadata, tensors


def aniParts(seed=2, members=1, types=ATOMS, units=("angstrom", "hartree"), cutoff=5.0, repulsion=None, width=1.0):
    """Metadata and tensors of a random ANI model; `repulsion` is "all" or a cutoff."""
    rng = np.random.default_rng(seed)
    T = len(types)
    sizes = {"radial.eta": 2, "radial.shift": 3, "angular.eta": 1, "angular.zeta": 2, "angular.shift": 2, "angular.theta": 2}
    length = T * 2 * 3 + T * (T + 1) // 2 * 1 * 2 * 2 * 2
    scale = 5.0 / cutoff
    values = {
        "radial.eta": [2.0 * scale**2, 4.0 * scale**2],
        "radial.shift": np.linspace(0.5, 4, 3) / scale,
        "angular.eta": [1.5 * scale**2],
    }
    values |= {"angular.zeta": [8.0, 14.1], "angular.shift": np.linspace(0.5, 2, 2) / scale, "angular.theta": [0.6, 2.2]}
    assert {name: len(value) for name, value in values.items()} == sizes
    tensors = {"aev." + name: np.array(value) for name, value in values.items()}
    tensors["type_energies"] = rng.normal(size=T)
    for k in range(members):
        for entry in types:
            for layer, (outputs, inputs) in enumerate([(8, length), (6, 8), (1, 6)]):
                name = f"members.{k}.networks.{entry['name']}.{layer}"
                tensors[name + ".weight"] = rng.normal(size=(outputs, inputs)) * (0.2 * width if layer == 2 else 1.0)
                tensors[name + ".bias"] = 0.1 * rng.normal(size=outputs)
    hyperparameters = {"radial_cutoff": cutoff, "angular_cutoff": 0.7 * cutoff, "celu_alpha": 0.1, "cutoff_function": "cosine"}
    if repulsion is not None:
        sigma = rng.uniform(0.35, 0.45, size=(T, T)) * cutoff
        tensors["repulsion.sigma"] = 0.5 * (sigma + sigma.T)
        hyperparameters["repulsion"] = {"exponent": 8, "cutoff": None if repulsion == "all" else repulsion}
    metadata = {"architecture": "ani", "name": "random-ani", "length_unit": units[0], "energy_unit": units[1], "types": types}
    metadata |= {"hyperparameters": hyperparameters, "num_members": members}
    return metadata, tensors


# name -> metadata and tensors. Lengths are in the model's unit.
PARTS = {
    "mlcg": lambda: schnetParts(filterBias=False, repulsion="all"),
    "mlcg-repulsion-cutoff": lambda: schnetParts(filterBias=False, repulsion=6.0, seed=3),
    "pyg": lambda: schnetParts(
        types=ATOMS,
        units=("angstrom", "eV"),
        activation="shifted_softplus",
        basis="gaussian",
        envelopes=("none", "cosine"),
        typeEnergies=True,
        seed=4,
    ),
    "schnetpack": lambda: schnetParts(
        types=ATOMS,
        units=("bohr", "hartree"),
        cutoff=9.0,
        activation="silu",
        basis="gaussian",
        envelopes=("none", "mollifier"),
        group_energy=-3.5,
        seed=5,
    ),
    "torchmdnet": lambda: schnetParts(
        units=("nm", "kJ/mol"), cutoff=0.5, activation="mish", neighborEmbedding=True, filter_envelope_lower=0.05, numBlocks=1, seed=6
    ),
    "schnet-3": lambda: schnetParts(
        members=3, activation="softplus", basis="gaussian", repulsion=4.0, seed=7, units=("0.1", "2.5"), width=10
    ),
    "schnet-0-blocks": lambda: schnetParts(activation="sigmoid", neighborEmbedding=True, numBlocks=0, seed=8, bias=False, width=20),
    "ani": lambda: aniParts(),
    "ani-3": lambda: aniParts(members=3, repulsion=5.5, units=("angstrom", "kcal/mol"), seed=9, width=50),
    "ani-all-pairs": lambda: aniParts(repulsion="all", units=("angstrom", "eV"), seed=10),
}
# Models with a pair prior between all pairs have no meaning in a periodic box.
PERIODIC = [name for name in PARTS if name not in ("mlcg", "ani-all-pairs")]


def toGrid(x):
    """
    Whole multiples of 2^-18 nm: numbers of single precision up to 64 nm, and so are their sums. Platforms that keep positions in single
    precision then evaluate the very configuration that was meant, moved by whole box vectors, too.
    """
    return np.round(np.asarray(x, float) * 2**18) / 2**18


BOXES = {
    "cubic": toGrid(np.diag([1.1, 1.1, 1.1])),
    "triclinic": toGrid([[1.1, 0, 0], [0.3, 1.05, 0], [-0.35, 0.4, 1.15]]),
    "smaller than the cutoff": toGrid([[0.45, 0, 0], [0.1, 0.42, 0], [-0.15, 0.12, 0.48]]),
}


def makeModel(name):
    """A FlashModel of PARTS."""
    return FlashModel.fromBytes(modelBytes(*PARTS[name]()), name)


def validTypes(model):
    return [i for i in range(model.getNumTypes()) if model.getTypeName(i)]


def randomTypes(model, n, rng):
    return [int(t) for t in rng.choice(validTypes(model), n)]


def makeSystem(model, types, box=None, groups=None, mass=12.0):
    """A System of particles of these types, and a FlashForce for all of them that has not been added to it yet."""
    system, force = openmm.System(), FlashForce(model)
    for _ in types:
        system.addParticle(mass)
    force.addParticles(range(len(types)), types, [0] * len(types) if groups is None else groups)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
        force.setUsesPeriodicBoundaryConditions(True)
    return system, force


def randomPositions(n, rng, box=None, density=25.0, distance=0.16):
    """[n, 3] in nm, on the grid, no two closer than `distance` (images counted); without a box, `density` particles per nm^3 in a cube."""
    frame = np.asarray(box, float) if box is not None else np.eye(3) * (n / density) ** (1 / 3)
    shifts = (
        np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]) @ frame if box is not None else np.zeros((1, 3))
    )
    positions = np.empty((0, 3))
    for _ in range(100000):
        if len(positions) == n:
            return positions
        candidate = toGrid(rng.uniform(size=3) @ frame)
        if len(positions) == 0 or np.min(np.linalg.norm(positions[:, None] + shifts[None] - candidate, axis=2)) > distance:
            positions = np.vstack([positions, candidate])
    raise ValueError(f"no room for {n} particles at a distance of {distance} nm")
