# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Half precision weights cost no more than running the network in half precision does: errors against the model in double precision are at
most twice those of torch with weights and activations in fp16.

torch gets every advantage: descriptors, radial basis and envelopes are computed in double and rounded once; atomic energies are added up in
double; only what the network itself does is in half. Energies are without self energies, which ours never rounds and torch does not see.
"""

import importlib.metadata
import warnings
from pathlib import Path

import numpy as np
import openmm.app
import pytest
from numpy_evaluation import ENERGIES, readFile
from random_models import makeSystem, randomPositions, randomTypes, schnetParts

from openmmflash import FlashForce, FlashModel, loadModel
from openmmflash.convert._writer import modelBytes
from openmmflash.convert.torchani import convertTorchANI
from openmmflash.models import ModelNotFoundError
from platforms import PLATFORMS, REFERENCE

HALVES = [platform for platform in PLATFORMS if platform.halfWeights]
CONFIGURATIONS = 6

torch = pytest.importorskip("torch", reason="needs torch, to run networks in fp16")


@pytest.fixture(autouse=True)
def doublePrecision():
    """TorchANI's AEVs in double."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def perceptron(tensors, name, x, activation, dtype):
    last = max(layer for layer in range(16) if f"{name}.{layer}.weight" in tensors)
    for layer in range(last + 1):
        bias = tensors.get(f"{name}.{layer}.bias")
        x = torch.nn.functional.linear(x, tensors[f"{name}.{layer}.weight"].to(dtype), None if bias is None else bias.to(dtype))
        if layer < last:
            x = activation(x)
    return x


def celu(x):
    """torch's own has a gradient with constants in single precision."""
    return x.clamp(min=0) + 0.1 * torch.expm1(x.clamp(max=0) / 0.1)


def aniEnergies(model, torchani):
    """A function of types, positions (A) and dtype: the energy in the model's unit, without self energies."""
    metadata, arrays = readFile(model.getBytes())
    h = metadata["hyperparameters"]
    tensors = {name: torch.tensor(value) for name, value in arrays.items()}
    constants = [tensors["aev." + key] for key in ("radial.eta", "radial.shift")]
    constants += [tensors["aev." + key] for key in ("angular.eta", "angular.zeta", "angular.shift", "angular.theta")]
    names = [entry["name"] for entry in metadata["types"]]
    computer = torchani.AEVComputer(h["radial_cutoff"], h["angular_cutoff"], *constants, num_species=len(names))
    members = int(metadata.get("num_members", 1))

    def energy(types, x, dtype):
        aev = computer((types[None], x[None]))[1][0].to(dtype)
        parts = []
        for t in torch.unique(types).tolist():
            mine = aev[types == t]
            parts += [perceptron(tensors, f"members.{k}.networks.{names[t]}", mine, celu, dtype).double().sum() for k in range(members)]
        return sum(parts) / members

    return energy


def schnetEnergies(model):
    """The same of a SchNet of mlcg's dialect."""
    metadata, arrays = readFile(model.getBytes())
    h = metadata["hyperparameters"]
    assert (h["radial_basis"], h["basis_envelope"], h["filter_envelope"], h["activation"]) == ("exp_normal", "cosine", "cosine", "tanh")
    t = {name.removeprefix("members.0."): torch.tensor(value) for name, value in arrays.items() if name.startswith("members.0.")}
    cutoff = h["cutoff"]

    def energy(types, x, dtype):
        i, j = torch.nonzero((torch.cdist(x.detach(), x.detach()) < cutoff) & ~torch.eye(len(x), dtype=torch.bool), as_tuple=True)
        r = (x[j] - x[i]).norm(dim=1)
        envelope = 0.5 * (torch.cos(np.pi * r / cutoff) + 1)[:, None]
        basis = torch.exp(-t["basis.betas"] * (torch.exp(h["basis_alpha"] * (h["basis_lower"] - r))[:, None] - t["basis.means"]) ** 2)
        basis, envelope = (basis * envelope).to(dtype), envelope.to(dtype)
        state = t["embedding"].to(dtype)[types]
        for b in range(h["num_blocks"]):
            p = f"blocks.{b}."
            filters = perceptron(t, p + "filter", basis, torch.tanh, dtype) * envelope
            messages = torch.nn.functional.linear(state, t[p + "input.weight"].to(dtype))[j] * filters
            gathered = torch.zeros(len(x), messages.shape[1], dtype=dtype).index_add(0, i, messages)
            state = state + perceptron(t, p + "output", gathered, torch.tanh, dtype)
        return perceptron(t, "readout", state, torch.tanh, dtype).double().sum()

    return energy


def theirs(energy, model, types, x, dtype):
    """kJ/mol, kJ/mol/nm"""
    length = model.getLengthUnit()
    positions = torch.tensor(x / length, requires_grad=True)
    value = energy(torch.tensor(types), positions, dtype)
    (gradient,) = torch.autograd.grad(value, positions)
    return value.item() * model.getEnergyUnit(), -gradient.numpy() * model.getEnergyUnit() / length


def ours(platform, model, types, configurations, precision):
    system, force = makeSystem(model, types)
    force.setWeightPrecision(precision)
    system.addForce(force)
    context = platform.context(system)
    if platform.halfWeights:
        name = "half" if precision == FlashForce.Half else "single"
        assert force.getCompilationReport(context)["network"]["weightPrecision"] == name
    constant = sum(model.getTypeEnergy(t) for t in types)
    results = []
    for x in configurations:
        context.setPositions(x)
        state = context.getState(energy=True, forces=True)
        results.append((state.getPotentialEnergy()._value - constant, state.getForces(asNumpy=True)._value))
    return results


def errors(results, exact):
    """Root mean square errors of energies and forces."""
    energies = [e - e0 for (e, _), (e0, _) in zip(results, exact)]
    forces = [f - f0 for (_, f), (_, f0) in zip(results, exact)]
    return np.sqrt(np.mean(np.square(energies))), np.sqrt(np.mean(np.square(forces)))


def check(platform, model, energy, types, configurations):
    exact = ours(REFERENCE, model, types, configurations, FlashForce.Single)
    double = [theirs(energy, model, types, x, torch.float64) for x in configurations]
    scale = np.sqrt(np.mean([f**2 for _, f in exact]))
    assert errors(double, exact)[1] < 1e-6 * scale, "torch should evaluate the same model"
    single = errors(ours(platform, model, types, configurations, FlashForce.Single), exact)
    half = errors(ours(platform, model, types, configurations, FlashForce.Half), exact)
    fp16 = errors([theirs(energy, model, types, x, torch.float16) for x in configurations], exact)
    print(f"\n{model.getName()} on {platform}: errors of energy (kJ/mol) and forces (of RMS)")
    for what, (e, f) in {"single": single, "half weights": half, "torch fp16": fp16}.items():
        print(f"    {what:12s} {e:.2e} {f / scale:.2e}")
    assert half[1] > 3 * single[1], "the weights should have been rounded"
    assert half[0] <= 2 * fp16[0]
    assert half[1] <= 2 * fp16[1]


@pytest.fixture(scope="module")
def torchani():
    try:
        version = importlib.metadata.version("torchani")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs torchani==2.2.4, for AEVs in torch: not installed")
    if version != "2.2.4":
        pytest.skip(f"needs torchani==2.2.4, for AEVs in torch: {version} is installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchani
        except ImportError as error:
            pytest.skip(f"needs what torchani 2.2.4 imports: {error}")
    return torchani


def peptide(model):
    """Types of the capped alanine, and configurations around its minimum."""
    path = Path(__file__).resolve().parents[2] / "examples" / "alanine-dipeptide.pdb"
    pdb = openmm.app.PDBFile(str(path))
    x = np.array(pdb.getPositions(asNumpy=True)._value)
    rng = np.random.default_rng(91)
    types = [model.getTypeIndex(atom.element.symbol) for atom in pdb.topology.atoms()]
    return types, [x + rng.normal(scale=0.006, size=x.shape) for _ in range(CONFIGURATIONS)]


@pytest.mark.parametrize("platform", HALVES, ids=str)
@pytest.mark.parametrize("name", ["ani1x", "ani2x"])
def test_ani(platform, name, torchani, request, tmp_path):
    if name == "ani1x":
        try:
            model = loadModel(name)
        except ModelNotFoundError as error:
            pytest.skip(f"needs the weights of ANI-1x: {error}")
    else:
        shared = request.getfixturevalue("shared")
        convertTorchANI(shared / "models" / "torchani" / "ani2x_state_dict.pt", tmp_path / "model.safetensors", check=False)
        model = FlashModel(tmp_path / "model.safetensors")
    assert model.getEnergyUnit() == pytest.approx(ENERGIES["hartree"])
    check(platform, model, aniEnergies(model, torchani), *peptide(model))


@pytest.mark.parametrize("platform", HALVES, ids=str)
@pytest.mark.parametrize("seed", [92, 93])
def test_schnet(platform, seed):
    """Of mlcg's shape: four blocks of 128 channels, 64 basis functions."""
    model = FlashModel.fromBytes(
        modelBytes(*schnetParts(filterBias=False, seed=seed, sizes=(128, 128, 64), numBlocks=4, cutoff=8.0, width=0.2))
    )
    rng = np.random.default_rng(seed)
    types = randomTypes(model, 40, rng)
    x = randomPositions(40, rng, distance=0.3, density=8.0)
    check(platform, model, schnetEnergies(model), types, [x + rng.normal(scale=0.01, size=x.shape) for _ in range(CONFIGURATIONS)])
