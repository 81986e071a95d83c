# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The packages whose SchNets are converted, run live in double precision; structures, and our energy and forces of a converted file."""

import contextlib
import copy
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

    The package's own __init__ imports its trainers, databases and MD engine, and transform's its neighbour lists. An empty package in the
    place of each leaves the model's modules importable with torch, numpy and ase alone.
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


def schnetPack(seed=0, cutoff=5.0, basis="GaussianRBF", envelope="CosineCutoff", activation=None, readout=None, dtype=None, **options):
    """A random NeuralNetworkPotential. options: H, F, blocks, R, start, trainable, shared, nuclear, layers, hidden, post, modules."""
    torch, spk = importTorch(), importSchNetPack()
    torch.manual_seed(seed)
    H = options.get("H", 16)
    extra = {"start": options["start"]} if "start" in options else {}
    rbf = getattr(spk.nn, basis)(options.get("R", 9), cutoff, trainable=options.get("trainable", False), **extra)
    representation = spk.representation.SchNet(
        n_atom_basis=H,
        n_interactions=options.get("blocks", 3),
        radial_basis=rbf,
        cutoff_fn=getattr(spk.nn, envelope)(cutoff),
        n_filters=options.get("F", 12),
        shared_interactions=options.get("shared", False),
        nuclear_embedding=spk.nn.NuclearEmbedding(101, H, zero_init=False) if options.get("nuclear") else None,
        **({} if activation is None else {"activation": activation(torch, spk)}),
    )
    atomwise = spk.atomistic.Atomwise(
        n_in=H,
        n_layers=options.get("layers", 2),
        n_hidden=options.get("hidden"),
        output_key="energy",
        **({} if readout is None else {"activation": readout(torch, spk)}),
    )
    modules = options.get("modules", lambda spk: [])(spk)
    post = options.get("post", lambda torch, spk: [])(torch, spk)
    model = spk.model.NeuralNetworkPotential(
        representation, [spk.atomistic.PairwiseDistances()], [atomwise, spk.atomistic.Forces(), *modules], post
    )
    randomize(torch, model, seed)
    model.do_postprocessing = options.get("postprocess", True)
    return (model.double() if dtype == "double" else model).eval()


def runSchNetPack(model):
    """(numbers, positions, box) -> (energy, forces) of the package's own forward pass, its own Forces module included."""
    torch = importTorch()
    live = copy.deepcopy(model).double()
    live.train()
    live.eval()

    def evaluate(numbers, positions, box):
        i, j, shifts = periodicPairs(positions, box, float(live.representation.cutoff_fn.cutoff))
        inputs = {
            "_atomic_numbers": torch.as_tensor(numbers, dtype=torch.long),
            "_positions": torch.tensor(positions),
            "_idx_i": torch.as_tensor(i),
            "_idx_j": torch.as_tensor(j),
            "_offsets": torch.as_tensor(shifts),
            "_idx_m": torch.zeros(len(numbers), dtype=torch.long),
            "_n_atoms": torch.tensor([len(numbers)]),
        }
        result = live(inputs)
        return float(result["energy"].detach()), result["forces"].detach().numpy()

    return evaluate


def pygSchNet(seed=0, H=16, F=12, blocks=3, R=9, cutoff=5.0, dtype=None, scale=None, atomref=False, **options):
    torch, pyg = importTorch(), importPyG()
    torch.manual_seed(seed)
    reference = 5 * torch.randn(100, 1) if atomref else None
    model = pyg.SchNet(H, F, blocks, R, cutoff, atomref=reference, **options)
    randomize(torch, model, seed)
    model.scale = scale
    return (model.double() if dtype == "double" else model).eval()


def runPyG(model):
    """(numbers, positions, None) -> (energy, forces), with all pairs instead of torch_cluster's truncated list."""
    torch = importTorch()
    live = copy.deepcopy(model).double()
    cutoff = live.cutoff
    del live.interaction_graph

    def graph(x, batch):
        i, j, _ = periodicPairs(x.detach().numpy(), None, cutoff)
        i, j = torch.as_tensor(i), torch.as_tensor(j)
        return torch.stack([j, i]), (x[j] - x[i]).norm(dim=-1)

    live.interaction_graph = graph

    def evaluate(numbers, positions, box):
        x = torch.tensor(positions, requires_grad=True)
        energy = live(torch.as_tensor(numbers), x)
        return float(energy.detach()), -torch.autograd.grad(energy.sum(), x)[0].numpy()

    return evaluate


def torchmdNet(seed=0, H=16, blocks=3, R=9, basis="expnorm", activation="silu", lower=0.0, upper=5.0, dtype=None, **options):
    """A random TorchMD_Net with a graph network. options: F, trainable, neighborEmbedding, std, mean, layers, priors, maxZ, neighbors."""
    torch, tmd = importTorch(), importTorchMDNet()
    torch.manual_seed(seed)
    precision = torch.float64 if dtype == "double" else torch.float32
    representation = tmd.gn.TorchMD_GN(
        hidden_channels=H,
        num_filters=options.get("F", H),
        num_layers=blocks,
        num_rbf=R,
        rbf_type=basis,
        trainable_rbf=options.get("trainable", True),
        activation=activation,
        neighbor_embedding=options.get("neighborEmbedding", True),
        cutoff_lower=lower,
        cutoff_upper=upper,
        max_z=options.get("maxZ", 30),
        max_num_neighbors=options.get("neighbors", 100),
        dtype=precision,
    )
    output = tmd.output.Scalar(H, activation=activation, reduce_op="sum", dtype=precision, num_layers=options.get("layers", 0))
    numbers = {name: None if options.get(name) is None else torch.tensor(options[name]) for name in ("std", "mean")}
    priors = [tmd.priors.Atomref(max_z=options.get("maxZ", 30), enable=enable) for enable in options.get("priors", ())] or None
    model = tmd.model.TorchMD_Net(representation, output, prior_model=priors, derivative=True, dtype=precision, **numbers)
    randomize(torch, model, seed)
    for prior in priors or ():
        prior.atomref.weight.data += 5 * torch.randn(prior.atomref.weight.shape)
    return model.eval()


def runTorchMDNet(model):
    """(numbers, positions, box) -> (energy, forces) of the package's own forward pass: its neighbour search, its derivative."""
    torch = importTorch()
    live = copy.deepcopy(model).double()

    def evaluate(numbers, positions, box):
        energy, forces = live(torch.as_tensor(numbers), torch.tensor(positions), box=None if box is None else torch.tensor(box))
        return float(energy.detach()), forces.detach().numpy()

    return evaluate
