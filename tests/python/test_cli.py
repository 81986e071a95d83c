# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash energy, info, convert, check, diagnose, and what each says about wrong input."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import small_models
from random_models import aniParts

from openmmflash.convert._writer import writeModel
from openmmflash.structurefile import writeStructure

pytest.importorskip("click", reason="the command line needs the package click")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small_models.writeAni(folder / "ani.safetensors", members=3)
    small_models.writeBeads(folder / "beads.safetensors")
    small_models.writeBeadStructure(folder / "chain.npz")
    chain = small_models.beadChain()
    chain.box = 5 * np.eye(3)
    writeStructure(folder / "boxchain.npz", chain)
    metadata, tensors = aniParts(types=[{"name": n, "atomic_number": z} for n, z in (*small_models.ELEMENTS, ("OW", 8))])
    writeModel(folder / "twooxygens.safetensors", metadata, tensors)
    small_models.writePeptide(folder / "nma.pdb")
    small_models.writePeptide(folder / "box.pdb", cell=(8, 8.5, 9))
    small_models.writePeptide(folder / "noh.pdb", drop=lambda line: line[76:78].strip() == "H")
    small_models.writePeptide(folder / "fewh.pdb", drop=lambda line: line[12:16].strip() == "H2")
    (folder / "ion.pdb").write_text(
        small_models.PEPTIDE.replace("END\n", "HETATM   13 NA    NA B   3       9.000   9.000   9.000  1.00  0.00          NA\nEND\n")
    )
    truncated = (folder / "ani.safetensors").read_bytes()[:-8]
    (folder / "truncated.safetensors").write_bytes(truncated)
    (folder / "text.safetensors").write_text("not a model")
    return folder


@pytest.fixture
def invoke(inputs, tmp_path, monkeypatch):
    """invoke(*arguments, code=0) -> output, in a folder that holds the inputs."""
    from click.testing import CliRunner

    from openmmflash.cli._app import app

    for name in os.listdir(inputs):
        os.symlink(inputs / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return call


def energyOf(path="e.json"):
    with open(path) as file:
        return json.load(file)


def direct(modelPath, symbols, positions, box=None):
    """Energy and forces with OpenMM alone, without anything of the command line."""
    import openmm

    import openmmflash

    model = openmmflash.FlashModel(str(modelPath))
    system, force = openmm.System(), openmmflash.FlashForce(model)
    for i, symbol in enumerate(symbols):
        system.addParticle(1.0)
        force.addParticle(i, model.getTypeIndex(symbol), 0)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*[openmm.Vec3(*row) for row in box])
        force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def peptide():
    lines = [line for line in small_models.PEPTIDE.splitlines() if line.startswith("ATOM")]
    positions = np.array([[float(line[a : a + 8]) for a in (30, 38, 46)] for line in lines]) / 10
    return [line[76:78].strip() for line in lines], positions


def writeXyz(path, symbols, positions, comment):
    rows = [f"{s} {x:.12f} {y:.12f} {z:.12f}" for s, (x, y, z) in zip(symbols, positions * 10)]
    path.write_text(f"{len(symbols)}\n{comment}\n" + "\n".join(rows) + "\n")


EXACT = ("--platform", "Reference")


def test_energy(invoke, inputs, tmp_path):
    output = invoke("energy", "ani.safetensors", "nma.pdb", "--json", "e.json", "--forces", "f.npy", *EXACT)
    energy, forces = direct(inputs / "ani.safetensors", *peptide())
    result = energyOf()
    assert result["energy"] == pytest.approx(energy, rel=1e-14) and f"{energy:.6f}" in output
    np.testing.assert_allclose(np.load("f.npy"), forces, rtol=1e-10, atol=1e-10)
    assert len(result["memberEnergies"]) == 3
    assert np.mean(result["memberEnergies"]) == pytest.approx(energy, rel=1e-14)
    assert result["deviation"] == pytest.approx(np.std(result["memberEnergies"], ddof=1))
    assert result["groupEnergies"] == pytest.approx([energy]) and result["platform"] == "Reference"


def test_the_fastest_platform_that_has_our_kernel_is_the_default(invoke, inputs, monkeypatch):
    import openmm

    ours = ("CPU", "Reference")
    speed = {name: openmm.Platform.getPlatform(name).getSpeed() for name in ours}
    assert speed["CPU"] > speed["Reference"]
    energy, forces = direct(inputs / "ani.safetensors", *peptide())
    for threads in ((), ("--threads", "1")):
        output = invoke("energy", "ani.safetensors", "nma.pdb", "--json", "e.json", "--forces", "f.npy", *threads)
        assert energyOf()["platform"] == "CPU" and "platform CPU" in output
        assert energyOf()["energy"] == pytest.approx(energy, rel=1e-9) and energyOf()["energy"] != energy
        np.testing.assert_allclose(np.load("f.npy"), forces, rtol=0, atol=2e-5 * np.sqrt(np.mean(forces**2)))
    # A setting that is wrong is said; no slower platform takes its place.
    monkeypatch.setenv("OPENMMFLASH_CPU_ISA", "v9")
    output = invoke("energy", "ani.safetensors", "nma.pdb", code=2)
    assert "Platform CPU" in output and 'OPENMMFLASH_CPU_ISA is "v9"; this machine can run' in output
    assert "platform Reference" in invoke("energy", "ani.safetensors", "nma.pdb", *EXACT)


def test_energy_of_every_format(invoke, inputs, tmp_path):
    """The same molecule in four formats, and as an npz of types."""
    pytest.importorskip("ase", reason="extended XYZ is read with the package ase")
    import openmm.app

    symbols, positions = peptide()
    energy, _ = direct(inputs / "ani.safetensors", symbols, positions)
    pdb = openmm.app.PDBFile("nma.pdb")
    openmm.app.PDBxFile.writeFile(pdb.topology, pdb.positions, "a.cif")
    writeXyz(tmp_path / "a.xyz", symbols, positions, "plain")
    np.savez("a.npz", positions=positions, symbols=np.array(symbols))
    np.savez("b.npz", positions=positions, types=np.array(["HCNO".index(s) for s in symbols]))
    for name in ("a.cif", "a.xyz", "a.npz", "b.npz"):
        invoke("energy", "ani.safetensors", name, "--json", "e.json", *EXACT)
        assert energyOf()["energy"] == pytest.approx(energy, abs=1e-6), name


def test_periodic_energy(invoke, inputs):
    symbols, positions = peptide()
    energy, _ = direct(inputs / "ani.safetensors", symbols, positions, np.diag([0.8, 0.85, 0.9]))
    output = invoke("energy", "ani.safetensors", "box.pdb", "--json", "e.json", *EXACT)
    assert energyOf()["energy"] == pytest.approx(energy, abs=1e-8)
    assert "priors" not in output and energyOf()["priorEnergy"] == 0  # the force that names the molecules is none
    open_, _ = direct(inputs / "ani.safetensors", symbols, positions)
    invoke("energy", "ani.safetensors", "box.pdb", "--no-periodic", "--json", "e.json", *EXACT)
    assert energyOf()["energy"] == pytest.approx(open_, abs=1e-8) and energyOf()["box"] is None


def test_forces_of_a_turned_lattice_are_in_the_files_frame(invoke, inputs, tmp_path):
    """A triclinic lattice in an orientation OpenMM does not know: forces come back in the file's own."""
    pytest.importorskip("ase", reason="extended XYZ is read with the package ase")
    symbols, positions = peptide()
    box = np.array([[0.8, 0, 0], [0.2, 0.7, 0], [0.1, -0.3, 0.9]])
    energy, forces = direct(inputs / "ani.safetensors", symbols, positions, box)
    open_, _ = direct(inputs / "ani.safetensors", symbols, positions)
    assert abs(energy - open_) > 0.1  # images matter here
    rotation, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation)
    lattice = " ".join(f"{x:.12f}" for x in (box @ rotation.T * 10).ravel())
    writeXyz(tmp_path / "a.xyz", symbols, positions @ rotation.T, f'Lattice="{lattice}" pbc="T T T" Properties=species:S:1:pos:R:3')
    invoke("energy", "ani.safetensors", "a.xyz", "--json", "e.json", "--forces", "f.npy", *EXACT)
    assert energyOf()["energy"] == pytest.approx(energy, abs=1e-6)
    np.testing.assert_allclose(np.load("f.npy"), forces @ rotation.T, atol=1e-6)


def test_energy_with_and_without_priors(invoke):
    invoke("energy", "beads.safetensors", "chain.npz", "--json", "e.json")
    result = energyOf()
    chain = small_models.beadChain()
    r = np.linalg.norm(np.diff(chain.positions * 10, axis=0), axis=1)
    bonds = 4.184 * float(np.sum(20 * (r - 3.9) ** 2))  # all bonds are between an A and a B
    i, j = np.triu_indices(6, 3)  # bonds and angles are excluded
    sigma = np.array([[3.0, 3.2], [3.2, 3.5]])[i % 2, j % 2]
    repulsion = 4.184 * float(np.sum((sigma / np.linalg.norm(chain.positions[i] - chain.positions[j], axis=1) / 10) ** 6))
    invoke("energy", "beads.safetensors", "chain.npz", "--no-priors", "--json", "e.json")
    assert result["priorEnergy"] == pytest.approx(bonds + repulsion, abs=1e-6)
    assert result["energy"] == pytest.approx(result["networkEnergy"] + result["priorEnergy"], abs=1e-9)
    assert energyOf()["energy"] == energyOf()["networkEnergy"] == pytest.approx(result["networkEnergy"], abs=1e-9)
    assert energyOf()["priorEnergy"] == 0 and np.mean(result["memberEnergies"]) == pytest.approx(result["energy"], abs=1e-9)
    output = invoke("check", "beads.safetensors", "boxchain.npz", "--no-priors", "--coordinates", 6, "--nve-steps", 0)
    assert "PASS  order of the particles" in output and ", 0 failed" in output


def test_energy_of_groups(invoke, inputs):
    symbols, positions = peptide()
    np.savez("two.npz", positions=np.concatenate([positions, positions]), symbols=np.array(symbols * 2), groups=np.repeat([0, 4], 12))
    output = invoke("energy", "ani.safetensors", "two.npz", "--json", "e.json")
    energy, _ = direct(inputs / "ani.safetensors", symbols, positions)
    assert energyOf()["groups"] == [0, 4] and energyOf()["groupEnergies"] == pytest.approx([energy, energy])
    assert "Groups" in output


def test_frames(invoke, inputs):
    _, positions = peptide()
    lines = small_models.PEPTIDE.splitlines()[:-1]
    with open("m.pdb", "w") as file:
        for k in range(2):
            moved = [line[:30] + f"{float(line[30:38]) + (k and i == 0) * 0.1:8.3f}" + line[38:] for i, line in enumerate(lines)]
            file.write("\n".join([f"MODEL     {k + 1:>4}", *moved, "ENDMDL"]) + "\n")
    energies = []
    for options in ((), ("--frame", 0), ("--frame", 1), ("--frame", -1)):
        output = invoke("energy", "ani.safetensors", "m.pdb", "--json", "e.json", *options)
        assert ("2 frames" in output) == (not options)
        energies.append(energyOf()["energy"])
    assert energies[0] == energies[1] != energies[2] == energies[3]


def test_info(invoke, inputs):
    output = invoke("info", "ani.safetensors")
    assert "tinyani" in output and "3 networks" in output and "H C N O" in output
    result = json.loads(invoke("info", "beads.safetensors", "--json"))
    import hashlib

    output = invoke("info", "beads.safetensors")
    weights = str(result["numWeights"])
    assert [output.replace(",", "").count(text) for text in (result["sha256"], weights, "harmonic_bond")] == [1, 1, 1]  # said once
    assert result["sha256"] == hashlib.sha256((inputs / "beads.safetensors").read_bytes()).hexdigest()
    assert result["priors"] == [{"name": "bonds", "form": "harmonic_bond", "arity": 2, "rows": 3}]
    assert [entry["name"] for entry in result["types"]] == ["A", "B"] and result["cutoff"] == pytest.approx(1.0)


def test_check_passes(invoke):
    for model, structure in (("ani.safetensors", "nma.pdb"), ("ani.safetensors", "box.pdb"), ("beads.safetensors", "chain.npz")):
        output = invoke("check", model, structure, "--coordinates", 0, "--nve-steps", 100)
        assert "FAIL" not in output and ", 0 failed" in output, output
        assert ("SKIP  rotation" in output) == (structure == "box.pdb")
        assert ("SKIP  lattice" in output) == (structure != "box.pdb")


def test_check_fails_with_exit_code_1(invoke):
    output = invoke("check", "beads.safetensors", "chain.npz", "--timestep", 250, code=1)
    assert "FAIL  NVE" in output


@pytest.mark.parametrize(
    "name, spoil",
    [
        ("forces are minus the gradient", lambda e, f, x: (e, f * (1 + 1e-5))),
        ("gradient along a random direction", lambda e, f, x: (e, f + np.array([0.1, 0, 0]))),
        ("translation", lambda e, f, x: (e + 1e-3 * x[0, 0], f)),
        ("rotation", lambda e, f, x: (e, f * np.array([1.0001, 1, 1]))),
        ("lattice translations", lambda e, f, x: (e + 1e-3 * np.sin(x).sum(), f)),
        ("net force", lambda e, f, x: (e, f + 1e-5)),
    ],
)
def test_checks_notice(inputs, name, spoil):
    """Each check fails where what it checks is broken."""
    import openmm

    from openmmflash.cli import _checks, _inputs

    structure = "box.pdb" if name.startswith("lattice") else "nma.pdb"
    made = _inputs.createInputs(str(inputs / "ani.safetensors"), str(inputs / structure))
    evaluator = _checks.Evaluator(made.system, made.positions, openmm.Platform.getPlatform("Reference"), {})
    box = made.structure.box

    def results():
        random = np.random.default_rng(1)
        made = [_checks.checkCoordinates(evaluator, 1e-6, 12, random), _checks.checkDirection(evaluator, 1e-6, random)]
        made += [_checks.checkTranslation(evaluator, 1e-9, random), _checks.checkRotation(evaluator, 1e-9, random, box is not None)]
        made += [_checks.checkLattice(evaluator, 1e-9, random, box), *_checks.checkNetForce(evaluator, 1e-9, box is not None)]
        return {result.name: result for result in made}

    assert all(result.passed for result in results().values())
    evaluate = evaluator.evaluate
    evaluator.evaluate = lambda x: spoil(*evaluate(x), x)
    evaluator.energy, evaluator.forces = evaluator.evaluate(evaluator.positions)
    assert not results()[name].passed


def test_nan_is_no_pass():
    from openmmflash.cli._checks import Result

    assert not Result("x", float("nan"), 1.0).passed and "FAIL" in Result("x", float("nan"), 1.0).line()


def test_diagnose(invoke):
    output = invoke("diagnose")
    for text in (
        "OpenMM ",
        "Reference      evaluates FlashForce",
        "CPU            evaluates FlashForce",
        "libOpenMMFlash",
        "ani1x",
        "ani2x",
        "Plugin load failures",
        "ase",
    ):
        assert text in output
    lines = {line.split()[0]: line for line in output.splitlines() if line.split()}
    folder = next(line.split(maxsplit=2)[2] for line in output.splitlines() if line.startswith("  plugin folder"))
    assert any("OpenMMFlash" in name for name in os.listdir(folder))  # not OpenMM's default, which may be another or absent
    for plugin in ("libOpenMMFlashReference.so", "libOpenMMFlashCPU.so"):
        assert lines[plugin].split()[1].startswith(folder) and "not loaded" not in lines[plugin]


def test_diagnose_says_how_to_get_what_is_missing(invoke, monkeypatch):
    import importlib.metadata

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    output = invoke("diagnose")
    assert "pip install --no-deps torchani==2.2.4" in output and "pip install torchani" not in output
    assert "reading model files does not need it. pip install torch\n" in output


def test_convert_model_file(invoke, inputs):
    output = invoke("convert", "ani.safetensors", "-o", "copy.safetensors")
    assert "copied" in output
    with open("copy.safetensors", "rb") as file:
        assert file.read() == (inputs / "ani.safetensors").read_bytes()
    assert "exists" in invoke("convert", "ani.safetensors", "-o", "copy.safetensors", code=2)
    invoke("convert", "ani.safetensors", "-o", "copy.safetensors", "--overwrite")


def test_convert_writes_structures(invoke, shared):
    source = shared / "models" / "mlcg" / "schnet_cln_ca_specialized_model_and_config.pt"
    output = invoke("convert", source, "-o", "cln.safetensors")
    assert "cln_structure.npz" in output and "compared" in output
    invoke("energy", "cln.safetensors", "cln_structure.npz", "--json", "e.json")
    assert energyOf()["priorEnergy"] != 0
    # The named way gives the same; a wrong name is refused by that converter.
    invoke("convert", source, "-o", "again.safetensors", "--from", "mlcg", "--name", "cln")
    with open("cln.safetensors", "rb") as a, open("again.safetensors", "rb") as b:
        assert a.read() == b.read()
    assert invoke("convert", source, "-o", "x.safetensors", "--from", "pyg", code=2).startswith("Error: ")


def test_convert_combines_network_priors_and_structures(invoke, shared):
    """mlcg has a network, priors and structures in three files; they become one model and its structure, with every prior in it."""
    from openmmflash import FlashModel, readStructure

    folder = shared / "models" / "mlcg"
    parts = ("--priors", folder / "sparse_prior_cln_ca.pt", "--structures", folder / "structures_cln_ca.pt")
    output = invoke("convert", folder / "schnet_train.ckpt", "-o", "ca.safetensors", "--no-check", *parts)
    assert "ca_structure.npz" in output
    model, structure = FlashModel("ca.safetensors"), readStructure("ca_structure.npz")
    names = {model.getPriorName(i) for i in range(model.getNumPriors())}
    assert names == set(structure.terms) and {"bonds", "angles"} <= names and model.hasPairPrior() and len(structure.exclusions)
    assert structure.numParticles == 10 and len(structure.terms["bonds"].particles) == 9
    invoke("energy", "ca.safetensors", "ca_structure.npz", "--json", "e.json")
    assert energyOf()["priorEnergy"] != 0
    # The network alone has no priors, and structures of other beads do not fit these.
    invoke("convert", folder / "schnet_train.ckpt", "-o", "bare.safetensors", "--no-check")
    assert FlashModel("bare.safetensors").getNumPriors() == 0
    wrong = (*parts[:2], "--structures", folder / "structures_cln_5b.pt")
    assert "no interaction list for the prior" in invoke("convert", folder / "schnet_train.ckpt", "-o", "x.safetensors", *wrong, code=2)
    assert not os.path.exists("x.safetensors")


def test_topology_of_beads(shared, invoke):
    """C-alpha beads become residues with CA atoms, so that viewers draw a chain."""
    source = shared / "models" / "mlcg" / "schnet_cln_ca_specialized_model_and_config.pt"
    invoke("convert", source, "-o", "cln.safetensors", "--no-check")
    from openmmflash.cli._inputs import createInputs

    made = createInputs("cln.safetensors", "cln_structure.npz")
    names = [residue.name for residue in made.topology.residues()]
    assert names == ["TYR", "TYR", "ASP", "PRO", "GLU", "THR", "GLY", "THR", "TRP", "TYR"]
    assert {atom.name for atom in made.topology.atoms()} == {"CA"} and made.topology.getNumBonds() == 9


def test_missing_hydrogens(invoke):
    """An all-atom model on a structure without hydrogens is another molecule: refused, with the residue, unless it is meant."""
    output = invoke("energy", "ani.safetensors", "noh.pdb", code=2)
    assert "hydrogens are missing in 2 of 2 residues" in output and "ACE 1" in output and "--allow-missing-hydrogens" in output
    assert "hydrogens are missing in 2 of 2 residues" in invoke("energy", "ani.safetensors", "noh.pdb", "--allow-missing-hydrogens")
    output = invoke("energy", "ani.safetensors", "fewh.pdb", code=2)
    assert "has 2, at least 3 are expected" in output


def test_missing_hydrogens_without_residues(invoke, inputs, tmp_path):
    """XYZ and npz have no residues to compare with; four carbons and no hydrogen at all are noticed."""
    pytest.importorskip("ase", reason="XYZ is read with the package ase")
    positions = np.array([[0.0, 0, 0], [0.14, 0, 0], [0.21, 0.12, 0], [0.35, 0.12, 0], [0.42, 0, 0]])
    writeXyz(tmp_path / "a.xyz", "CCCCO", positions, "plain")
    np.savez("a.npz", positions=positions, symbols=np.array(list("CCCCO")))
    np.savez("b.npz", positions=positions, types=[1, 1, 1, 1, 3])
    for name in ("a.xyz", "a.npz", "b.npz"):
        output = invoke("energy", "ani.safetensors", name, code=2)
        assert f"{name} has 4 carbons and no hydrogen at all" in output and "--allow-missing-hydrogens" in output
        assert "Note: " in invoke("energy", "ani.safetensors", name, "--allow-missing-hydrogens")
    writeXyz(tmp_path / "a.xyz", "CCCCH", positions, "plain")
    assert "hydrogen" not in invoke("energy", "ani.safetensors", "a.xyz")


def test_foreign_elements(invoke):
    output = invoke("energy", "ani.safetensors", "ion.pdb", code=2)
    assert "Na in NA (atom 13)" in output and "H C N O" in output


WRONG = [
    (("energy", "none.safetensors", "nma.pdb"), "none.safetensors"),
    (("energy", "ani9x", "nma.pdb"), "ani9x"),
    (("energy", "truncated.safetensors", "nma.pdb"), "truncated.safetensors"),
    (("energy", "text.safetensors", "nma.pdb"), "text.safetensors"),
    (("energy", "ani.safetensors", "none.pdb"), "none.pdb"),
    (("energy", "ani.safetensors", "."), "folder"),
    (("energy", "ani.safetensors", "chain.npz"), "no pair prior"),
    (("energy", "beads.safetensors", "nma.pdb"), "beads"),
    (("energy", "beads.safetensors", "boxchain.npz"), "no cutoff"),
    (("energy", "twooxygens.safetensors", "nma.pdb"), "O (3), OW (4)"),
    (("convert", "ani1x", "-o", "x.safetensors", "--members", "-1"), "-1"),
    (("convert", "ani1x", "-o", "x.safetensors", "--members", "99"), "99"),
    (("energy", "ani.safetensors", "nma.pdb", "--platform", "Abacus"), "Abacus"),
    (("energy", "ani.safetensors", "nma.pdb", "--platform", "Reference", "--threads", "2"), "--threads 2"),
    (("energy", "ani.safetensors", "nma.pdb", "--frame", "7"), "no frame 7; it has 1"),
    (("energy", "ani.safetensors", "nma.pdb", "--json", "no/such/e.json"), "no folder"),
    (("energy", "ani.safetensors", "nma.pdb", "--forces", "."), "is a folder"),
    (("energy", "ani.safetensors", "nma.pdb", "--json", "e.json", "--forces", "./e.json"), "different files"),
    (("energy", "/dev/zero", "nma.pdb"), "not a regular file"),
    (("energy", "ani.safetensors", "/dev/zero"), "not a regular file"),
    (("energy", "ani.safetensors", ""), "'STRUCTURE' is empty"),
    (("energy", "", "nma.pdb"), "'MODEL' is empty"),
    (("run", "nma.pdb", "-m", ""), "'--model' / '-m' is empty"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "-o", ""), "'--output' / '-o' is empty"),
    (("energy", "ani.safetensors"), "STRUCTURE"),
    (("energi", "ani.safetensors"), "energi"),
    (("info", "nma.pdb"), "nma.pdb"),
    (("check", "ani.safetensors", "nma.pdb", "--timestep", "-1"), "-1"),
    (("convert", "none.pt", "-o", "x.safetensors"), "none.pt"),
    (("convert", "nma.pdb", "-o", "x.safetensors"), "not recognised"),
    (("convert", "ani.safetensors"), "--output"),
    (("convert", "ani.safetensors", "-o", "x.safetensors", "--from", "keras"), "keras"),
    (("convert", "ani.safetensors", "-o", "x.safetensors", "--members", "one"), "--members one"),
    (("run",), "STRUCTURE"),
    (("run", "nma.pdb"), "--model"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--time", "fast"), "'fast'"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--time", "0"), "larger than 0"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--time", "3 weeks"), "weeks"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--time", "1", "--steps", "5"), "Give one"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--steps", "0"), "0"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--timestep", "nan"), "nan"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--temperature", "-3"), "-3"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--pressure", "1"), "periodic box"),
    (("run", "box.pdb", "-m", "ani.safetensors", "--pressure", "1", "--replicas", "2"), "replicas"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--format", "trr"), "trr"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--seed", "0"), "0"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--time", "1e12"), "at most"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--equilibrate", "1e20"), "equilibration would have"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--friction", "1e12"), "at most 1e+06 1/ps"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--temperature", "1e9"), "at most 100000 K"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "--replicas", "1000000"), "12000000 particles"),
    (("run", "nma.pdb", "-m", "ani.safetensors", "-o", "nma.pdb"), "is a file"),
    (("run", "--resume"), "--output"),
    (("run", "--resume", "-o", "nowhere"), "nowhere"),
    (("run", "--resume", "-o", "."), "not the folder of a run"),
    (("run", "--resume", "--overwrite", "-o", "x"), "--overwrite"),
]


@pytest.mark.parametrize("arguments, expected", WRONG)
def test_wrong_input(invoke, arguments, expected):
    """Exit code 2 and one line that names what is wrong; nothing is left behind."""
    before = sorted(os.listdir("."))
    output = invoke(*arguments, code=2)
    assert expected in output and "Traceback" not in output
    assert [line for line in output.splitlines() if line.startswith("Error: ")] == [output.splitlines()[-1]]
    assert sorted(os.listdir(".")) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc, where nobody can make a file")
@pytest.mark.parametrize("option", ["--json", "--forces", "-o"])
def test_results_that_cannot_be_written(invoke, monkeypatch, option):
    """Known before the work."""
    from openmmflash.cli import _inputs

    monkeypatch.setattr(_inputs, "createInputs", lambda *arguments, **options: pytest.fail("computed first"))
    command = ("run", "nma.pdb", "-m", "ani.safetensors") if option == "-o" else ("energy", "ani.safetensors", "nma.pdb")
    output = invoke(*command, option, "/proc/new", code=2)
    assert "Cannot write /proc/new: no file can be made in /proc" in output and "elsewhere" in output


def test_overlapping_particles(invoke):
    _, positions = peptide()
    positions[1] = positions[0]
    np.savez("a.npz", positions=positions, symbols=np.array(peptide()[0]))
    assert "same position" in invoke("energy", "ani.safetensors", "a.npz", code=2)


def call(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "openmmflash", *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


@pytest.mark.parametrize("bug", [ValueError("shapes (3,) and (4,) differ"), MemoryError(), KeyError("x"), FileExistsError("x is there")])
def test_our_bugs_are_not_the_users_input(invoke, monkeypatch, bug):
    """A ValueError that is not one of ours comes from a mistake in the program, and is to be reported."""
    from openmmflash import system

    def broken(*arguments, **options):
        raise bug

    monkeypatch.setattr(system, "createSystem", broken)
    ours = not isinstance(bug, OSError)
    output = invoke("energy", "ani.safetensors", "nma.pdb", code=1 if ours else 2)
    assert ("internal error" in output and "--debug and report" in output) == ours and output.count("\n") == 1


def test_a_model_that_is_not_installed(invoke, monkeypatch, tmp_path):
    """Where was looked and what to do: a list, a line each."""
    from openmmflash import models

    monkeypatch.setattr(models, "_places", lambda name: [tmp_path / "one", tmp_path / "two"])
    output = invoke("energy", "ani2x", "nma.pdb", code=2)
    lines = output.splitlines()
    assert lines[0] == "Error: The model ani2x is not installed. Looked at"
    assert lines[1:3] == [f"  {tmp_path / 'one'}: absent", f"  {tmp_path / 'two'}: absent"] and "pip" in output or "putting" in output


def test_debug_shows_where(inputs):
    quiet = call("energy", inputs / "ani.safetensors", "none.pdb")
    loud = call("energy", inputs / "ani.safetensors", "none.pdb", "--debug")
    assert quiet.returncode == loud.returncode == 2
    assert "Traceback" not in quiet.stderr and quiet.stderr.count("\n") == 1
    assert "Traceback" in loud.stderr and "structure.py" in loud.stderr


def test_plots_leave_the_backend_alone(tmp_path):
    """A notebook that plots a log goes on with the backend that it had."""
    matplotlib = pytest.importorskip("matplotlib", reason="plots are drawn with the package matplotlib")
    from openmmflash.plots import plotLog

    before = matplotlib.get_backend()
    (tmp_path / "log.csv").write_text("time_ps,potential_kJ_mol,total_kJ_mol,temperature_K\n1,2,3,300\n2,3,4,310\n")
    try:
        matplotlib.use("svg")
        assert plotLog(tmp_path / "log.csv", tmp_path / "log.png", temperature=300)
        assert matplotlib.get_backend().lower() == "svg"
    finally:
        matplotlib.use(before)
    assert (tmp_path / "log.png").read_bytes()[:4] == b"\x89PNG"


def test_help_of_every_command():
    top = call("--help")
    assert top.returncode == 0
    from openmmflash.cli import COMMANDS

    for name in COMMANDS:
        assert f"\n  {name} " in top.stdout
        one = call(name, "--help")
        assert one.returncode == 0 and "Usage:" in one.stdout
    version = call("--version")
    import openmmflash

    assert openmmflash.__version__ in version.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys, openmmflash.cli\n"
        "try: openmmflash.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([n for n in ('torch', 'matplotlib', 'ase', 'tqdm', 'scipy') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout.splitlines()[-1] == "[]", result.stdout + result.stderr


def test_command_is_installed(inputs):
    import shutil
    import sysconfig

    command = shutil.which("openmm-flash", path=sysconfig.get_path("scripts"))
    assert command, "the entry point openmm-flash is not installed"
    result = subprocess.run([command, "info", inputs / "ani.safetensors"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and "tinyani" in result.stdout
