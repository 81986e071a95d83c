# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The finite differences of `openmm-flash check`: right forces pass, wrong ones do not, whatever the energy's size and its kinks."""

import numpy as np
import pytest
import small_models

pytest.importorskip("click", reason="the command line needs the package click")


def evaluatorOf(folder, copies, selfEnergy):
    """Molecules in a row, their atoms of a huge self energy (hartree)."""
    import openmm
    from random_models import aniParts

    from openmmflash.cli import _checks, _inputs
    from openmmflash.convert._writer import writeModel

    symbols = [line[76:78].strip() for line in small_models.PEPTIDE.splitlines() if line.startswith("ATOM")]
    rows = [[float(line[a : a + 8]) / 10 for a in (30, 38, 46)] for line in small_models.PEPTIDE.splitlines() if line.startswith("ATOM")]
    positions = np.concatenate([np.array(rows) + [0, 0, 0.5 * k] for k in range(copies)])
    metadata, tensors = aniParts(types=[{"name": name, "atomic_number": number} for name, number in small_models.ELEMENTS])
    tensors["type_energies"] = np.full_like(tensors["type_energies"], selfEnergy)
    writeModel(folder / "heavy.safetensors", metadata, tensors)
    np.savez(folder / "row.npz", positions=positions, symbols=np.array(symbols * copies))
    made = _inputs.createInputs(str(folder / "heavy.safetensors"), str(folder / "row.npz"))
    return _checks.Evaluator(made.system, made.positions, openmm.Platform.getPlatform("Reference"), {})


def results(evaluator):
    from openmmflash.cli import _checks

    random = np.random.default_rng(1)
    return [_checks.checkCoordinates(evaluator, 1e-6, 8, random), _checks.checkDirection(evaluator, 1e-6, random)]


def test_rounding_of_a_large_energy_is_no_wrong_force(tmp_path):
    """2e9 kJ/mol of self energies: the total's last digit is more than the tolerance times a step."""
    evaluator = evaluatorOf(tmp_path, 3, -20000.0)
    assert abs(evaluator.energy) > 1e9
    # What the total energy gives: the reason for taking it apart.
    h, moved = 2e-6, np.zeros_like(evaluator.positions)
    moved[0, 0] = h
    total = (evaluator.evaluate(evaluator.positions + moved)[0] - evaluator.evaluate(evaluator.positions - moved)[0]) / (2 * h)
    assert abs(total + evaluator.forces[0, 0]) / evaluator.scale > 1e-6
    for result in results(evaluator):
        assert result.passed and result.value < 1e-6, result.line()
    evaluator.forces *= 1 + 1e-5
    coordinates, direction = results(evaluator)
    assert not coordinates.passed and not direction.passed


@pytest.mark.parametrize("kink", [0.0, 3e-6, 7e-6, 2e-5])
def test_kinks_of_the_second_derivative(kink):
    """A jump of the second derivative within the steps is told from a wrong derivative."""
    from openmmflash.cli import _checks

    def parts(x):
        return np.array([3.0 * x + 40 * x**2, 0.5 * 2.0 * max(x - kink, 0.0) ** 2])

    exact = 3.0
    error, tolerance = _checks.gradientError(parts, exact, 1.0, 1e-6)
    assert error <= tolerance <= 5e-6 + 1e-18
    error, tolerance = _checks.gradientError(parts, exact * (1 + 1e-5), 1.0, 1e-6)
    assert error > tolerance


def test_a_derivative_that_is_not_a_number_fails():
    from openmmflash.cli import _checks

    error, tolerance = _checks.gradientError(lambda x: np.array([np.nan]), 1.0, 1.0, 1e-6)
    assert not error <= tolerance and tolerance < 1e-5


def test_priors_are_part_of_the_difference(tmp_path):
    """Leaving the bonds out of the energy shows."""
    import openmm

    from openmmflash.cli import _checks, _inputs

    small_models.writeBeads(tmp_path / "beads.safetensors")
    small_models.writeBeadStructure(tmp_path / "chain.npz")
    made = _inputs.createInputs(str(tmp_path / "beads.safetensors"), str(tmp_path / "chain.npz"))
    evaluator = _checks.Evaluator(made.system, made.positions, openmm.Platform.getPlatform("Reference"), {})
    assert np.sum(evaluator.parts(evaluator.positions)) == pytest.approx(evaluator.energy, rel=1e-12)
    assert all(result.passed for result in results(evaluator))
    parts = evaluator.parts
    evaluator.parts = lambda x: parts(x)[:-1]
    assert not any(result.passed for result in results(evaluator))


def test_water(tmp_path, monkeypatch):
    """Three atoms, the smallest molecule that anybody tries, through all checks."""
    pytest.importorskip("ase", reason="XYZ is read with the package ase")
    from click.testing import CliRunner

    from openmmflash import models
    from openmmflash.cli._app import app

    try:
        models.findSource("ani1x")
    except models.ModelNotFoundError:
        pytest.skip("needs the weights of ANI-1x: pip install --no-deps torchani==2.2.4")
    from ase.build import molecule
    from ase.io import write

    monkeypatch.chdir(tmp_path)
    for name in ("H2O", "CH3CH2OH"):
        write("m.xyz", molecule(name))
        result = CliRunner().invoke(app, ["check", "ani1x", "m.xyz", "--nve-steps", "100"])
        assert result.exit_code == 0 and ", 0 failed" in result.output, result.output
