# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Random SchNets of SchNetPack, PyTorch Geometric and TorchMD-Net, converted, against the packages run live in double precision."""

import numpy as np
import pytest
from schnet_peers import (
    KJ,
    NM,
    assertSame,
    cluster,
    flash,
    importTorch,
    periodicPairs,
    pygSchNet,
    runPyG,
    runSchNetPack,
    runTorchMDNet,
    schnetPack,
    torchmdNet,
)

from openmmflash.convert.pyg import convertPyG
from openmmflash.convert.schnetpack import convertSchNetPack
from openmmflash.convert.torchmdnet import convertTorchMDNet

SIZES = (1, 2, 20, 100)
ELEMENTS = [1, 6, 7, 8, 16, 17]
TRICLINIC = np.array([[7.4, 0, 0], [1.3, 7.8, 0], [-2.1, 1.7, 8.3]])  # OpenMM's and TorchMD-Net's reduced form; at least twice 3.5 wide


def inputsOf(convert, model, path, lengthUnit, energyUnit, **options):
    """Convert, and return the units in nm and kJ/mol by this file's own table."""
    report = convert(model, path, lengthUnit=lengthUnit, energyUnit=energyUnit, **options)
    assert report.maxForceDifference is not None, report.check  # the converter's own comparison ran
    return NM.get(lengthUnit, lengthUnit), KJ.get(energyUnit, energyUnit)


def compareSizes(path, evaluate, nm, kj, cutoff, sizes=SIZES, elements=ELEMENTS, box=None, seed=0, spacing=0.8):
    """`evaluate(numbers, positions, box)` of the original against the file, both in the model's units."""
    for count in sizes:
        numbers, positions = cluster(count, seed + count, elements, spacing=spacing)
        neighbors = np.bincount(periodicPairs(positions, box, cutoff)[0], minlength=count)
        if count == 100 and cutoff > 4.5:
            assert neighbors.max() > 32  # where PyG would truncate and TorchMD-Net stop
        energy, forces = evaluate(numbers, positions, box)
        if count > 2:
            assert np.sqrt(np.mean(forces**2)) > 1e-4 * np.abs(energy) / count  # the comparison is of something
        assertSame(flash(path, numbers, positions, nm, box), (energy * kj, forces * (kj / nm)), f"{path.name}, {count} atoms")


# --- SchNetPack -------------------------------------------------------------------------------------------------------------------------


def offsets(atomrefs=False, mean=None, extensive=True, scale=None, scaleFirst=False):
    def make(torch, spk):
        add = spk.transform.AddOffsets("energy", add_mean=mean is not None, add_atomrefs=atomrefs, is_extensive=extensive)
        if mean is not None:
            add.mean = torch.tensor([mean])
        if atomrefs:
            add.atomref = 10 * torch.randn(90, dtype=torch.float64)
        scaling = [] if scale is None else [spk.transform.ScaleProperty(key, scale=torch.tensor([scale])) for key in ("energy", "forces")]
        return [spk.casting.CastTo64(), *(scaling + [add] if scaleFirst else [add] + scaling)]

    return make


SCHNETPACK = {
    "defaults": ({}, "angstrom", "eV"),
    "silu": ({"activation": lambda t, s: t.nn.functional.silu, "trainable": True}, "bohr", "hartree"),
    "tanh, mollifier": ({"activation": lambda t, s: t.tanh, "envelope": "MollifierCutoff"}, "angstrom", "kcal/mol"),
    "sigmoid": ({"activation": lambda t, s: t.nn.Sigmoid(), "readout": lambda t, s: t.sigmoid, "layers": 3}, 0.1, 12.5),
    "mish": (
        {"activation": lambda t, s: t.nn.Mish(), "readout": lambda t, s: t.nn.functional.tanh, "hidden": [11, 7], "layers": 3},
        "nm",
        "kJ/mol",
    ),
    "softplus": ({"activation": lambda t, s: t.nn.Softplus(beta=1.7), "readout": lambda t, s: t.nn.functional.softplus}, "angstrom", "eV"),
    "shifted softplus with parameters": (
        {"activation": lambda t, s: s.nn.ShiftedSoftplus(1.3, 0.6, trainable=True), "readout": lambda t, s: s.nn.ShiftedSoftplus(0.8, 1.9)},
        "angstrom",
        "eV",
    ),
    "centered basis": ({"basis": "GaussianRBFCentered", "trainable": True, "dtype": "double", "R": 4}, "angstrom", "eV"),
    "basis from 0.7": ({"start": 0.7, "R": 5, "envelope": "MollifierCutoff", "trainable": True}, "angstrom", "eV"),
    "shared interactions": ({"shared": True, "blocks": 4, "dtype": "double"}, "angstrom", "eV"),
    "nuclear embedding": ({"nuclear": True}, "angstrom", "eV"),
    "one layer of readout": ({"layers": 1, "F": 24}, "angstrom", "eV"),
    "odd cutoff": ({"cutoff": 5.1}, "angstrom", "eV"),
    "mean per atom": ({"post": offsets(mean=-0.37)}, "angstrom", "eV"),
    "mean per molecule": ({"post": offsets(mean=-0.37, extensive=False)}, "angstrom", "eV"),
    "atomrefs": ({"post": offsets(atomrefs=True)}, "angstrom", "eV"),
    "mean, atomrefs, then scale": ({"post": offsets(atomrefs=True, mean=1.1, scale=0.7)}, "angstrom", "eV"),
    "scale, then mean and atomrefs": ({"post": offsets(atomrefs=True, mean=1.1, scale=2.5, scaleFirst=True)}, "angstrom", "eV"),
    "postprocessing off": ({"post": offsets(atomrefs=True, mean=1.1), "postprocess": False}, "angstrom", "eV"),
}


@pytest.mark.parametrize("case", SCHNETPACK)
def testSchNetPack(case, tmp_path):
    settings, lengthUnit, energyUnit = SCHNETPACK[case]
    seed = list(SCHNETPACK).index(case)
    model = schnetPack(seed=seed, **settings)
    path = tmp_path / "model.safetensors"
    nm, kj = inputsOf(convertSchNetPack, model, path, lengthUnit, energyUnit)
    evaluate = runSchNetPack(model)
    if settings.get("post") is not None:  # constants: one size is enough, and the forces are small beside them
        numbers, positions = cluster(20, seed, ELEMENTS)
        energy, forces = evaluate(numbers, positions, None)
        assertSame(flash(path, numbers, positions, nm), (energy * kj, forces * (kj / nm)), case)
    else:
        compareSizes(path, evaluate, nm, kj, settings.get("cutoff", 5.0), seed=seed)


@pytest.mark.parametrize("envelope", ["CosineCutoff", "MollifierCutoff"])
@pytest.mark.parametrize("box", [TRICLINIC, np.diag([4.1, 5.0, 6.2])], ids=["triclinic", "smaller than two cutoffs"])
def testSchNetPackPeriodic(envelope, box, tmp_path):
    """Through SchNetPack's offsets; in the small box atoms see several images of others, and their own."""
    model = schnetPack(seed=3, cutoff=3.5, envelope=envelope)
    path = tmp_path / "model.safetensors"
    nm, kj = inputsOf(convertSchNetPack, model, path, "angstrom", "eV")
    compareSizes(path, runSchNetPack(model), nm, kj, 3.5, sizes=(1, 2, 14), box=box, seed=5)


def testSoftplusBeyondTwenty(tmp_path, monkeypatch):
    """torch's softplus is x beyond 20, 2e-9 off; ours is exact. With an exact one the package agrees to rounding, else to that error."""
    torch = importTorch()
    model = schnetPack(seed=7, basis="GaussianRBFCentered", R=20)
    path = tmp_path / "model.safetensors"
    convertSchNetPack(model, path, lengthUnit="angstrom", energyUnit="eV")
    numbers, positions = cluster(100, 7, ELEMENTS)
    ours = flash(path, numbers, positions, 0.1)
    largest = []

    def exact(x):
        largest.append(float(x.max()))
        return torch.logaddexp(x, torch.zeros_like(x))

    kj = KJ["eV"]
    energy, forces = runSchNetPack(model)(numbers, positions, None)
    difference = np.abs(ours[1] - forces * kj / 0.1).max() / np.sqrt(np.mean(ours[1] ** 2))
    assert 1e-11 < difference < 1e-7
    monkeypatch.setattr(torch.nn.functional, "softplus", exact)
    energy, forces = runSchNetPack(model)(numbers, positions, None)
    assert max(largest) > 20
    assertSame(ours, (energy * kj, forces * kj / 0.1), "with an exact softplus")


# --- PyTorch Geometric ------------------------------------------------------------------------------------------------------------------


PYG = {
    "defaults": ({}, "angstrom", "eV"),
    "double": ({"dtype": "double", "R": 20, "blocks": 2}, "bohr", "hartree"),
    "wide filters": ({"F": 31, "cutoff": 5.3}, "angstrom", "kcal/mol"),
    "std and mean": ({"std": 2.3, "mean": -0.4}, "angstrom", "eV"),
    "mean without std": ({"mean": -0.4}, "angstrom", "eV"),
    "scale": ({"scale": 0.037}, "angstrom", 3.5),
    "atomref": ({"atomref": True}, "angstrom", "eV"),
    "everything": ({"std": 2.3, "mean": -0.4, "scale": -1.7, "atomref": True, "dtype": "double"}, "angstrom", "eV"),
}


@pytest.mark.parametrize("case", PYG)
def testPyG(case, tmp_path):
    settings, lengthUnit, energyUnit = PYG[case]
    seed = list(PYG).index(case)
    model = pygSchNet(seed=seed, **settings)
    path = tmp_path / "model.safetensors"
    nm, kj = inputsOf(convertPyG, model, path, lengthUnit, energyUnit)
    sizes = (20,) if settings.get("atomref") else SIZES
    compareSizes(path, runPyG(model), nm, kj, settings.get("cutoff", 5.0), sizes=sizes, seed=seed)


def testPyGStateDict(tmp_path):
    """A state dict, in memory and as a file, gives the file of the live model once its cutoff, std, mean and scale are told."""
    torch = importTorch()
    model = pygSchNet(seed=4, std=2.3, mean=-0.4, scale=1.7, atomref=True)
    units = {"lengthUnit": "angstrom", "energyUnit": "eV", "name": "same"}
    told = {"cutoff": 5.0, "std": 2.3, "mean": -0.4, "scale": 1.7}
    torch.save(model.state_dict(), tmp_path / "state.pt")
    torch.save(model, tmp_path / "model.pt")
    paths = [tmp_path / f"{k}.safetensors" for k in range(4)]
    convertPyG(model, paths[0], **units)
    for source, path, options in (
        (model.state_dict(), paths[1], told),
        (tmp_path / "state.pt", paths[2], told),
        (tmp_path / "model.pt", paths[3], {}),
    ):
        report = convertPyG(source, path, **units, **options)
        assert report.maxForceDifference <= 1e-9 * report.rmsForce
    numbers, positions = cluster(20, 4, ELEMENTS)
    first = flash(paths[0], numbers, positions, 0.1)
    for path in paths[1:]:
        assertSame(flash(path, numbers, positions, 0.1), first, path.name)


# --- TorchMD-Net ------------------------------------------------------------------------------------------------------------------------


TORCHMDNET = {
    "defaults": ({}, "angstrom", "eV"),
    "gauss, ssp": ({"basis": "gauss", "activation": "ssp"}, "angstrom", "kcal/mol"),
    "ssp in double": ({"activation": "ssp", "dtype": "double"}, "bohr", "hartree"),
    "tanh, no neighbor embedding": ({"activation": "tanh", "neighborEmbedding": False}, "angstrom", 96.4916),
    "sigmoid, lower cutoff": ({"activation": "sigmoid", "lower": 1.5}, "angstrom", "eV"),
    "mish, gauss, lower cutoff": ({"activation": "mish", "basis": "gauss", "lower": 1.2, "neighborEmbedding": False}, "angstrom", "eV"),
    "swish, gauss, fixed basis": ({"activation": "swish", "basis": "gauss", "trainable": False}, 0.1, "kJ/mol"),
    "gauss, neighbor embedding, lower cutoff": ({"basis": "gauss", "lower": 0.9}, "angstrom", "eV"),
    "fixed expnorm, lower cutoff": ({"trainable": False, "lower": 0.4, "blocks": 1}, "angstrom", "eV"),
    "narrow filters, deep readout": ({"F": 7, "layers": 2}, "angstrom", "eV"),
    "double": ({"dtype": "double", "upper": 5.2, "R": 17}, "angstrom", "eV"),
    "no interactions": ({"blocks": 0}, "angstrom", "eV"),
    "std and mean": ({"std": 1.9, "mean": -3.1}, "angstrom", "eV"),
    "atomref": ({"priors": (True,), "std": 1.9, "mean": -3.1}, "angstrom", "eV"),
    "two atomrefs, one disabled": ({"priors": (True, False)}, "angstrom", "eV"),
}


@pytest.mark.parametrize("case", TORCHMDNET)
def testTorchMDNet(case, tmp_path):
    settings, lengthUnit, energyUnit = TORCHMDNET[case]
    seed = list(TORCHMDNET).index(case)
    model = torchmdNet(seed=seed, **settings)
    path = tmp_path / "model.safetensors"
    nm, kj = inputsOf(convertTorchMDNet, model, path, lengthUnit, energyUnit)
    sizes = (20,) if "priors" in settings else (1, 2, 20, 100)
    compareSizes(path, runTorchMDNet(model), nm, kj, settings.get("upper", 5.0), sizes=sizes, seed=seed)


@pytest.mark.parametrize("basis", ["expnorm", "gauss"])
@pytest.mark.parametrize("lower", [0.0, 1.4])
def testTorchMDNetPeriodic(basis, lower, tmp_path):
    model = torchmdNet(seed=8, basis=basis, lower=lower, upper=3.5)
    path = tmp_path / "model.safetensors"
    nm, kj = inputsOf(convertTorchMDNet, model, path, "angstrom", "eV")
    compareSizes(path, runTorchMDNet(model), nm, kj, 3.5, sizes=(2, 20, 60), box=TRICLINIC, seed=8)
