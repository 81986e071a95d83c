# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""ANI-1x, ANI-1ccx and ANI-2x on the Reference platform against TorchANI 2.2.4 in double: the same energies and forces to rounding.

What TorchANI and torch round to float32, and how they are compared all the same:

- TorchANI 2.2.4 reads the AEV constants of NeuroChem files with torch's default dtype. It is float64 here, so both sides have the text's
  numbers.
- The state dict of ANI-2x holds AEV constants and self energies in float32. Both sides widen exactly these.
- torch evaluates the gradient of CELU with float32 constants, also for double tensors (2.13, CPU). Its activation gets an exact gradient
  here; testUnmodifiedTorchANI compares with torch's own.
"""

import importlib.metadata
import importlib.util
import warnings
from pathlib import Path

import numpy as np
import openmm
import pytest
from ani_structures import structures

from openmmflash import FlashForce, FlashModel
from openmmflash.convert.torchani import convertTorchANI

HARTREE = 2625.4996394798254  # kJ/mol


@pytest.fixture(scope="module")
def torchani():
    """TorchANI 2.2.4, with torch's default dtype set to float64."""
    torch = pytest.importorskip("torch", reason="needs torch, to run TorchANI")
    try:
        version = importlib.metadata.version("torchani")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs torchani==2.2.4, the reference in double precision: not installed")
    if version != "2.2.4":
        pytest.skip(f"needs torchani==2.2.4, the reference in double precision: {version} is installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchani
            import torchani.neurochem
        except ImportError as error:
            pytest.skip(f"needs what torchani 2.2.4 imports (lark, requests, importlib_metadata<8.6, setuptools<81): {error}")
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    yield torchani
    torch.set_default_dtype(dtype)
    torch.set_num_threads(threads)


def exactCelu(torchani, module):
    import torch

    def celu(x):
        return x.clamp(min=0) + 0.1 * torch.expm1(x.clamp(max=0) / 0.1)

    for part in module.modules():
        if isinstance(part, torch.nn.CELU):
            assert part.alpha == 0.1
            part.forward = celu
    return module


def neuroChemReference(torchani, folder):
    """(number of types, AEV computer, networks, self energies), all of TorchANI's own making."""
    constants = torchani.neurochem.Constants(str(next(folder.glob("*.params"))))
    networks = torchani.neurochem.load_model_ensemble(constants.species, str(folder / "train"), 8)
    return (
        len(constants.species),
        torchani.AEVComputer(**constants),
        list(networks),
        torchani.neurochem.load_sae(str(folder / "sae_linfit.dat")),
    )


def stateDictReference(torchani, path):
    import torch

    state = {key: value.double() if value.is_floating_point() else value for key, value in torch.load(path, weights_only=True).items()}
    symbols = ["H", "C", "N", "O", "S", "F", "Cl"]
    assert state["atomic_numbers"].tolist() == [1, 6, 7, 8, 16, 9, 17]
    part = "potentials.nnp.aev_computer."
    radial, angular = (
        (state[part + "radial.eta"], state[part + "radial.shifts"]),
        [state[part + "angular." + key] for key in ("eta", "zeta", "shifts", "sections")],
    )
    networks = []
    for k in range(8):
        atomic = {}
        for symbol in symbols:
            layers = []
            for layer in ("layers.0", "layers.1", "layers.2", "final_layer"):
                key = f"potentials.nnp.neural_networks.members.{k}.atomics.{symbol}.{layer}."
                linear = torch.nn.Linear(*state[key + "weight"].shape[::-1])
                linear.load_state_dict({"weight": state[key + "weight"], "bias": state[key + "bias"]})
                layers += [linear, torch.nn.CELU(0.1)]
            atomic[symbol] = torch.nn.Sequential(*layers[:-1])
        networks.append(torchani.ANIModel(atomic.values()))
    aev = torchani.AEVComputer(5.1, 3.5, *radial, *angular, num_species=7)
    return 7, aev, networks, torchani.EnergyShifter(state["energy_shifter.self_energies"].tolist())


def wheelFolder():
    """The NeuroChem files of ANI-1x in the installed torchani, which is not imported; None where they are not installed."""
    try:
        spec = importlib.util.find_spec("torchani")
    except ValueError:
        return None
    folder = spec and Path(spec.submodule_search_locations[0]) / "resources" / "ani-1x_8x"
    return folder if folder and folder.is_dir() else None


@pytest.fixture(scope="module", params=["ani1x", "ani1ccx", "ani2x"])
def case(request, torchani, tmp_path_factory):
    """(number of types, path of the source, reference parts) of one published model."""
    if request.param == "ani1x":
        source, build = wheelFolder(), neuroChemReference
    else:
        folder = request.getfixturevalue("shared") / "models" / "torchani"
        source, build = {
            "ani1ccx": (folder / "ani-1ccx_8x", neuroChemReference),
            "ani2x": (folder / "ani2x_state_dict.pt", stateDictReference),
        }[request.param]
    numTypes, aev, networks, shifter = build(torchani, source)
    return numTypes, source, aev, networks, shifter


def theirs(module, structure):
    """(energy kJ/mol, forces kJ/mol/nm)"""
    import torch

    x = torch.tensor(structure.positions[None], requires_grad=True)
    periodic = {} if structure.box is None else {"cell": torch.tensor(structure.box), "pbc": torch.ones(3, dtype=torch.bool)}
    energy = module((torch.tensor(structure.types[None]), x), **periodic).energies
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    return energy.item() * HARTREE, -gradient[0].numpy() * HARTREE * 10


def ours(model, structure):
    system = openmm.System()
    force = FlashForce(model)
    positions = structure.positions / 10
    if structure.box is not None:
        system.setDefaultPeriodicBoxVectors(*structure.box / 10)
        force.setUsesPeriodicBoundaryConditions(True)
        # Any lattice translation of any particle is the same structure; TorchANI wants them all in the box.
        shifts = np.random.default_rng(len(positions)).integers(-3, 4, positions.shape)
        positions = positions + shifts @ (structure.box / 10)
    for index, type_ in enumerate(structure.types):
        system.addParticle(1)
        force.addParticle(index, int(type_), 0)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def inBox(structure):
    """TorchANI looks for neighbours from the central box only, so its atoms must lie in it."""
    if structure.box is not None:
        fractional = structure.positions @ np.linalg.inv(structure.box)
        structure.positions = (fractional - np.floor(fractional)) @ structure.box
    return structure


@pytest.mark.parametrize("members", [[0], list(range(8))], ids=["one network", "eight networks"])
def testAgreesWithTorchANI(case, torchani, members, tmp_path):
    numTypes, source, aev, networks, shifter = case
    module = exactCelu(torchani, torchani.nn.Sequential(aev, torchani.Ensemble([networks[k] for k in members]), shifter))
    convertTorchANI(source, tmp_path / "model.safetensors", check=False, members=members)
    model = FlashModel(str(tmp_path / "model.safetensors"))
    assert model.getNumMembers() == len(members) and model.getNumTypes() == numTypes
    cases = [inBox(structure) for structure in structures(numTypes, large=len(members) == 1)]
    assert len(cases) >= 20 and {t for structure in cases for t in structure.types} == set(range(numTypes))
    failures = []
    for structure in cases:
        (energy0, forces0), (energy, forces) = theirs(module, structure), ours(model, structure)
        rms = np.sqrt((forces0**2).mean())
        if not abs(energy - energy0) <= 1e-10 * abs(energy0):
            failures.append(f"{structure.name}: energy {energy!r}, TorchANI {energy0!r} kJ/mol")
        # Where all forces vanish (an atom alone) the bound is 0; an atom among its own images feels rounding.
        if not np.abs(forces - forces0).max() <= max(1e-9 * rms, 1e-9 * (rms < 1e-6)):
            failures.append(
                f"{structure.name}: largest force difference {np.abs(forces - forces0).max():.3g}, RMS force {rms:.6g} kJ/mol/nm"
            )
    assert not failures, "\n".join(failures)


def testUnmodifiedTorchANI(case, tmp_path):
    """TorchANI as it is, with torch's gradient of CELU: the same energies, and forces as near as float32 constants allow."""
    numTypes, source, aev, networks, shifter = case
    import torchani

    for network in networks[:1]:
        for part in network.modules():
            part.__dict__.pop("forward", None)  # what exactCelu put there
    module = torchani.nn.Sequential(aev, torchani.Ensemble(networks[:1]), shifter)
    convertTorchANI(source, tmp_path / "model.safetensors", check=False, members=[0])
    model = FlashModel(str(tmp_path / "model.safetensors"))
    structure = next(s for s in structures(numTypes, large=False) if s.name == "cluster of 20")
    (energy0, forces0), (energy, forces) = theirs(module, structure), ours(model, structure)
    assert abs(energy - energy0) <= 1e-10 * abs(energy0)
    assert np.abs(forces - forces0).max() <= 1e-7 * np.sqrt((forces0**2).mean())
