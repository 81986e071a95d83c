# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Live models of TorchANI 2.9, which cannot share an environment with 2.2.4: these tests run where 2.9 is installed instead."""

import importlib.metadata

import pytest
from test_writer import parse

from openmmflash import FlashModel
from openmmflash.convert import ConversionError, convert
from openmmflash.convert.torchani import convertTorchANI


@pytest.fixture(scope="module")
def arch():
    pytest.importorskip("torch", reason="needs torch, to run TorchANI")
    try:
        version = importlib.metadata.version("torchani")
    except importlib.metadata.PackageNotFoundError:
        version = "no version"
    if not version.startswith("2.9"):
        pytest.skip(f"needs torchani 2.9: {version} is installed")
    import torchani.arch

    return torchani.arch


@pytest.fixture
def model(arch):
    """Random networks of two elements, as TorchANI's own training scripts build them."""
    import torch

    torch.manual_seed(3)
    return arch.simple_ani(
        lot="wb97x-631gd", symbols=["H", "C"], ensemble_size=2, repulsion=False, cutoff_fn="cosine", activation="celu", bias=True,
        radial_cutoff=4.9,
    )  # fmt: skip


def same(first, second):
    (_, a), (_, b) = parse(first.read_bytes()), parse(second.read_bytes())
    return a.keys() == b.keys() and all((a[key][1] == b[key][1]).all() for key in a)


def testLiveModel(model, tmp_path):
    report = convertTorchANI(model, tmp_path / "m.safetensors")
    assert report.maxForceDifference <= 1e-9 * report.rmsForce and "the original object" in report.check
    found = FlashModel(str(tmp_path / "m.safetensors"))
    assert found.getCutoff() == pytest.approx(0.49) and found.getNumMembers() == 2
    one = convertTorchANI(model[1], tmp_path / "one.safetensors")
    assert one.maxForceDifference <= 1e-9 * one.rmsForce
    convertTorchANI(model, tmp_path / "chosen.safetensors", members=[1])
    assert same(tmp_path / "one.safetensors", tmp_path / "chosen.safetensors")
    model.set_active_members([1])
    active = convertTorchANI(model, tmp_path / "active.safetensors")
    assert active.maxForceDifference <= 1e-9 * active.rmsForce and same(tmp_path / "one.safetensors", tmp_path / "active.safetensors")


def testSelfEnergiesOff(model, tmp_path):
    model.set_enabled("energy_shifter", False)
    report = convertTorchANI(model, tmp_path / "m.safetensors")
    assert report.maxForceDifference <= 1e-9 * report.rmsForce
    assert FlashModel(str(tmp_path / "m.safetensors")).getTypeEnergy(0) == 0


@pytest.mark.parametrize("legacy", [False, True])
def testStateDict(model, tmp_path, legacy):
    import torch

    torch.save(model.legacy_state_dict() if legacy else model.state_dict(), tmp_path / "state.pt")
    report = convert(tmp_path / "state.pt", tmp_path / "m.safetensors", quiet=True, radialCutoff=4.9, angularCutoff=3.5)
    assert report.maxForceDifference <= 1e-9 * report.rmsForce
    convertTorchANI(model, tmp_path / "live.safetensors", check=False)
    assert same(tmp_path / "m.safetensors", tmp_path / "live.safetensors")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"repulsion": True}, "repulsion_xtb"),
        ({"cutoff_fn": "smooth"}, "CutoffSmooth"),
        ({"activation": "gelu"}, "GELU"),
    ],
)
def testOtherModels(arch, tmp_path, options, words):
    settings = {"repulsion": False, "cutoff_fn": "cosine", "activation": "celu", **options}
    model = arch.simple_ani(lot="wb97x-631gd", symbols=["H", "C"], ensemble_size=1, **settings)
    with pytest.raises(ConversionError, match=words):
        convertTorchANI(model, tmp_path / "m.safetensors")


def testPublishedModel(arch, shared, tmp_path):
    """ANI-2x as TorchANI 2.9 builds it, against its state dict read without torch."""
    import torch

    asm = arch.Assembler()
    asm.set_symbols(("H", "C", "N", "O", "S", "F", "Cl"))
    asm.set_global_cutoff_fn("cosine")
    asm.set_aev_computer(radial="ani2x", angular="ani2x")
    asm.set_atomic_networks(ctor="ani2x")
    asm.set_neighborlist("all_pairs")
    asm.set_gsaes_as_self_energies("wb97x-631gd")
    model = asm.assemble(8)
    path = shared / "models" / "torchani" / "ani2x_state_dict.pt"
    model.load_state_dict(torch.load(path, weights_only=True))
    report = convertTorchANI(model, tmp_path / "live.safetensors")
    assert report.maxForceDifference <= 1e-9 * report.rmsForce
    convertTorchANI(path, tmp_path / "file.safetensors", check=False)
    assert same(tmp_path / "live.safetensors", tmp_path / "file.safetensors")
