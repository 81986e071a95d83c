# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Minimisation leaves molecules in one piece, and atoms without a neighbour are noticed."""

import numpy as np
import pytest
import small_models

pytest.importorskip("click", reason="the command line needs the package click")
pytest.importorskip("ase", reason="the command line minimises with the package ase")


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    """invoke(*arguments) -> output, in a folder with a small model."""
    from click.testing import CliRunner

    from openmmflash.cli._app import app

    monkeypatch.chdir(tmp_path)
    small_models.writeAni("ani.safetensors")
    small_models.writeBeads("beads.safetensors")
    small_models.writePeptide("nma.pdb")

    def call(*arguments, code=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return call


@pytest.fixture
def ani1x():
    from openmmflash import models

    try:
        models.findSource("ani1x")
    except models.ModelNotFoundError:
        pytest.skip("needs the weights of ANI-1x: pip install --no-deps torchani==2.2.4")
    return "ani1x"


def contextOf(model, structure, **options):
    import openmm

    from openmmflash.cli import _inputs

    made = _inputs.createInputs(model, structure, **options)
    context = openmm.Context(made.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(made.positions)
    return context, made


def distances(positions):
    return np.linalg.norm(positions[:, None] - positions[None], axis=2)


@pytest.mark.parametrize("name", ["H2O", "HCN", "CH4"])
def test_small_molecules_stay_molecules(invoke, ani1x, name):
    """Free atoms may have the lower energy, but a minimisation is not to find them."""
    from ase.build import molecule
    from ase.io import write

    atoms = molecule(name)
    write("m.xyz", atoms)
    output = invoke("run", "m.xyz", "-m", ani1x, "--steps", 1, "--equilibrate", 0, "--temperature", 0, "-o", "out")
    assert "Minimised" in output and "Warning" not in output
    import openmm

    with open("out/final_state.xml") as file:
        positions = openmm.XmlSerializer.deserialize(file.read()).getPositions(asNumpy=True)._value
    before = distances(atoms.positions / 10)
    assert np.abs(distances(positions) - before)[before < 0.13].max() < 0.02


def test_hydrogen_does_not_fly_apart(invoke, ani1x):
    """ANI-1x does not know H2: its minimum is too short, and two free atoms are lower than the molecule."""
    from ase.build import molecule
    from ase.io import write

    write("m.xyz", molecule("H2"))
    context, _ = contextOf(ani1x, "m.xyz")
    from openmmflash.cli._minimize import relax

    relax(context)
    assert distances(context.getState(positions=True).getPositions(asNumpy=True)._value)[0, 1] < 0.11
    assert "0 failed" in invoke("check", ani1x, "m.xyz")


def test_steps_are_bounded(invoke):
    """No particle moves more than 0.02 nm in an iteration, although a tenfold force asks for it; the energy falls."""
    from openmmflash.cli._minimize import relax

    positions = small_models.beadChain().positions * 0.7  # bonds far too short
    np.savez("short.npz", positions=positions, **{k: v for k, v in arrays().items() if k != "positions"})
    context, _ = contextOf("beads.safetensors", "short.npz")
    path, energies = [], []

    def report(iteration, energy):
        path.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
        energies.append(energy)

    relax(context, report=report)
    moved = np.linalg.norm(np.diff(path, axis=0), axis=2).max(axis=1)
    assert len(path) > 5 and 0.0199 < moved.max() < 0.02000001
    state = context.getState(energy=True, forces=True)
    assert state.getPotentialEnergy()._value == pytest.approx(min(energies)) and min(energies) < energies[0] - 10
    assert np.sqrt(np.mean(state.getForces(asNumpy=True)._value ** 2)) < 10.001


def arrays():
    small_models.writeBeadStructure("chain.npz")
    return dict(np.load("chain.npz"))


def test_every_replica_is_minimised(invoke):
    """The RMS force of many replicas at rest hides that of one which is not."""
    from openmmflash.cli._minimize import relax

    context, made = contextOf("ani.safetensors", "nma.pdb")
    relax(context, tolerance=5.0)
    rest = context.getState(positions=True).getPositions(asNumpy=True)._value
    context, _ = contextOf("ani.safetensors", "nma.pdb", replicas=20)
    start = np.tile(rest, (20, 1))
    start[:12] = made.positions
    context.setPositions(start)
    relax(context, replicas=20)
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    assert np.sqrt(np.mean(forces[:12] ** 2)) < 10.001


def test_isolated_atoms_are_noticed(invoke):
    symbols = [line[76:78].strip() for line in small_models.PEPTIDE.splitlines() if line.startswith("ATOM")]
    _, made = contextOf("ani.safetensors", "nma.pdb")
    np.savez("right.npz", positions=made.positions, symbols=np.array(symbols))
    np.savez("angstrom.npz", positions=made.positions * 10, symbols=np.array(symbols))
    moved = made.positions.copy()
    moved[3] += [0, 0, 3]
    np.savez("one.npz", positions=moved, symbols=np.array(symbols))
    np.savez("periodic.npz", positions=moved, symbols=np.array(symbols), box=np.diag([3.0, 3.0, 3.0]))
    np.savez("atom.npz", positions=[[0, 0, 0]], symbols=np.array(["H"]))
    for name in ("right.npz", "periodic.npz", "atom.npz"):
        assert "Warning" not in invoke("energy", "ani.safetensors", name), name
    assert "12 of 12 atoms (index 0, 1, 2, 3, 4, ...)" in invoke("energy", "ani.safetensors", "angstrom.npz")
    for command in (("energy", "ani.safetensors", "one.npz"), ("run", "one.npz", "-m", "ani.safetensors", "--steps", 1)):
        output = invoke(*command)
        assert "Warning: one.npz: 1 of 12 atoms (index 3)" in output and "npz files in nm" in output
    assert "Warning: after the minimisation: 1 of 12" in output
    small_models.writeBeadStructure("chain.npz")
    assert "Warning" not in invoke("energy", "beads.safetensors", "chain.npz")
