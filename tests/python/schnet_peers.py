# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The packages whose SchNets are converted, run live in double precision; structures, and our energy and forces of a converted file."""

import contextlib
import importlib
import importlib.machinery
import importlib.metadata
import io
import itertools
import sys
import types
from types import SimpleNamespace

import numpy as np
import openmm
import pytest

import openmmflash

# CODATA 2018, in nm and kJ/mol, apart from the library's own.
NM = {"nm": 1.0, "angstrom": 0.1, "bohr": 0.0529177210903}
KJ = {"kJ/mol": 1.0, "kcal/mol": 4.184, "eV": 96.48533212331002, "hartree": 2625.4996394798254}


def _import(names, what):
    """Modules by name, or a skip that says what is missing."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # warp prints a banner
            return [importlib.import_module(name) for name in names]
    except ImportError as error:
        pytest.skip(f"{what} cannot be imported: {error}. See tests/python/requirements-peers.txt.")


def importTorch():
    torch = _import(["torch"], "torch")[0]
    torch.set_num_threads(1)
    return torch


def importSchNetPack():
    """SchNetPack's model classes.

    The package's own __init__ imports its trainers, databases and MD engine, and transform's its neighbour lists. An empty package in the place
    of each leaves the model's modules importable with torch, numpy and ase alone.
    """
    importTorch()
    if "schnetpack" not in sys.modules:
        found = importlib.machinery.PathFinder.find_spec("schnetpack")
        if found is None:
            pytest.skip("SchNetPack is not installed. See tests/python/requirements-peers.txt.")
        package = _emptyPackage("schnetpack", found.submodule_search_locations)
        package.__version__ = importlib.metadata.version("schnetpack")
        package.transform = _emptyPackage("schnetpack.transform", [f"{path}/transform" for path in package.__path__])
        package.transform.Transform = _import(["schnetpack.transform.base"], "SchNetPack")[0].Transform
    names = ["nn", "representation", "atomistic", "transform.atomistic", "transform.casting", "model.base"]
    nn, representation, atomistic, transform, casting, model = _import([f"schnetpack.{name}" for name in names], "SchNetPack")
    return SimpleNamespace(nn=nn, representation=representation, atomistic=atomistic, transform=transform, casting=casting, model=model)


def _emptyPackage(name, path):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = list(path)
    return module


def importPyG():
    importTorch()
    return _import(["torch_geometric.nn.models.schnet"], "PyTorch Geometric")[0]


def importTorchMDNet():
    importTorch()
    names = ["models.model", "models.torchmd_gn", "models.output_modules", "models.utils", "models.wrappers", "priors"]
    model, gn, output, utils, wrappers, priors = _import([f"torchmdnet.{name}" for name in names], "TorchMD-Net")
    return SimpleNamespace(model=model, gn=gn, output=output, utils=utils, wrappers=wrappers, priors=priors)


def randomize(torch, module, seed):
    """Every parameter moved by a random amount: initial biases are zero, and initial radial bases evenly spaced."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
        scale = (
            0.03 * parameter.detach().abs()
            if name.split(".")[-1] in ("offsets", "widths", "means", "betas", "offset", "coeff", "alpha", "beta")
            else 0.1
        )
        parameter.data += scale * noise


def cluster(count, seed, numbers, spacing=0.8, density=0.12):
    """(atomic numbers [n], positions [n, 3]) of random atoms at least `spacing` apart, 1/density of volume each."""
    random = np.random.default_rng(seed)
    edge = (count / density) ** (1 / 3)
    positions = np.empty((0, 3))
    while len(positions) < count:
        trial = random.uniform(0, edge, 3)
        if not len(positions) or np.linalg.norm(positions - trial, axis=1).min() > spacing:
            positions = np.vstack([positions, trial])
    return random.choice(numbers, count), positions


def periodicPairs(positions, box, cutoff):
    """All directed pairs within the cutoff with all their images: (receivers, senders, shifts [e, 3] to add to the sender)."""
    n = len(positions)
    if box is None:
        shifts = np.zeros((1, 3))
    else:
        heights = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
        spread = np.ptp(positions @ np.linalg.inv(box), axis=0)
        ranges = [range(-k, k + 1) for k in np.ceil(cutoff / heights + spread).astype(int)]
        shifts = np.array(list(itertools.product(*ranges))) @ box
    found = [np.empty((0, 2), int)], [np.empty((0, 3))]
    for shift in shifts:
        distances = np.linalg.norm(positions[None, :] + shift - positions[:, None], axis=-1)
        if not shift.any():
            distances[np.arange(n), np.arange(n)] = np.inf
        pairs = np.argwhere(distances < cutoff)
        found[0].append(pairs)
        found[1].append(np.broadcast_to(shift, (len(pairs), 3)))
    pairs = np.concatenate(found[0])
    return pairs[:, 0], pairs[:, 1], np.concatenate(found[1])


def flash(path, kinds, positions, nm, box=None, seed=0):
    """Energy (kJ/mol) and forces (kJ/mol/nm) of a model file on the Reference platform.

    positions, box in units of `nm`. With a box every particle is moved by a random lattice vector first, which must change nothing.
    """
    model = openmmflash.FlashModel(str(path))
    system = openmm.System()
    force = openmmflash.FlashForce(model)
    for index, kind in enumerate(kinds):
        system.addParticle(1.0)
        force.addParticle(index, int(kind))
    positions = np.asarray(positions, float)
    if box is not None:
        positions = positions + np.random.default_rng(seed).integers(-3, 4, (len(positions), 3)) @ box
        system.setDefaultPeriodicBoxVectors(*[openmm.Vec3(*map(float, row)) for row in box * nm])
        force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions * nm)
    state = context.getState(energy=True, forces=True)
    unit = openmm.unit.kilojoule_per_mole
    energy = state.getPotentialEnergy().value_in_unit(unit)
    return energy, np.array(state.getForces(asNumpy=True).value_in_unit(unit / openmm.unit.nanometer))


def assertSame(ours, theirs, what):
    """Energy within 1e-10 relative, forces within 1e-9 of the RMS force; NaN fails."""
    (energy, forces), (energy0, forces0) = ours, theirs
    assert abs(energy - energy0) <= 1e-10 * abs(energy0), f"{what}: energy {energy!r} instead of {energy0!r} kJ/mol"
    difference = np.abs(forces - forces0)
    allowed = 1e-9 * np.sqrt(np.mean(forces0**2))
    worst = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference)), difference.shape)
    assert difference[worst] <= allowed, (
        f"{what}: force {worst} is {forces[worst]!r} instead of {forces0[worst]!r}, allowed is a difference of {allowed}"
    )
