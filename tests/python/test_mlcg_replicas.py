# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Eight replicas of C-alpha chignolin in one Context. tests/physics/chignolin_replicas.py is the long version (20,000 steps)."""

import sys
from pathlib import Path

import numpy as np
import pytest
from mlcg_reference import convert, evaluate

import openmmflash
from openmmflash.system import tilePositions
from platforms import eachPlatform, onHosts

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "physics"))
import chignolin_replicas
import replica_distributions

SOURCE = "models/mlcg/schnet_cln_ca_specialized_model_and_config.pt"
REPLICAS = 8


@pytest.fixture(scope="module")
def molecule(shared, tmp_path_factory):
    _, model, (structure,) = convert(shared / SOURCE, tmp_path_factory.mktemp("chignolin"))
    return model, structure


@eachPlatform
def testReplicasAgreeWithSingleContexts(platform, shared, molecule):
    """Energies of groups and forces, from 24 frames of a simulation by mlcg, taken as replicas in turn."""
    model, structure = molecule
    frames = np.load(shared / "reference/cln_ca_schnet_priors.npz")["positions_A"] / 10
    system = openmmflash.createSystem(structure, model, replicas=REPLICAS)
    assert system.getNumParticles() == REPLICAS * 10
    context, single = platform.context(system), platform.context(openmmflash.createSystem(structure, model))
    (force,) = [openmmflash.FlashForce.cast(f) for f in system.getForces() if openmmflash.FlashForce.isinstance(f)]
    for start in range(0, len(frames), REPLICAS):
        group = frames[start : start + REPLICAS]
        energy, forces = evaluate(context, tilePositions(group, REPLICAS))
        alone = [evaluate(single, frame) for frame in group]
        assert energy == platform.energy(sum(e for e, _ in alone), sum(abs(e) for e, _ in alone), 1e-13)
        expected = np.concatenate([f for _, f in alone])
        rms = np.sqrt(np.mean(expected**2))
        np.testing.assert_allclose(forces, expected, rtol=0, atol=max(1e-9, platform.forceTolerance(1e-13) * rms))
        assert list(force.getGroups()) == list(range(REPLICAS)) and len(force.getGroupEnergies(context)) == REPLICAS


@eachPlatform
def testReplicasDoNotFeelEachOther(platform, molecule):
    """Moving one replica changes no force on the others, wherever it goes: on top of another one, too."""
    model, structure = molecule
    context = platform.context(openmmflash.createSystem(structure, model, replicas=3))
    positions = tilePositions(structure.positions, 3)
    _, before = evaluate(context, positions)
    positions[10:20] = positions[:10] + 0.01 * np.random.default_rng(1).normal(size=(10, 3))
    _, after = evaluate(context, positions)
    np.testing.assert_array_equal(np.delete(after, np.s_[10:20], axis=0), np.delete(before, np.s_[10:20], axis=0))
    assert np.abs(after[10:20] - before[10:20]).max() > 1


@onHosts
def testShortSimulation(platform, shared):
    """150 steps from a thermal frame: no NaN, bonds in place, forces as in single Contexts, a temperature as of so short a run."""
    results = chignolin_replicas.runReplicas(shared, steps=100, platform=platform.name, equilibration=50, interval=5, minimization=0)
    assert len(results) == 4
    for right, text in results:
        assert right, text


def testDistributionsProgram(shared, monkeypatch, capsys):
    """tests/physics/replica_distributions.py with few replicas and steps: it runs and its lines are there; so little data shows no more."""
    monkeypatch.setattr(sys, "argv", ["replica_distributions.py", str(shared), "--replicas", "3", "--steps", "2500"])
    monkeypatch.setattr(replica_distributions, "EQUILIBRATION", 250)
    replica_distributions.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(line.startswith(("PASS ", "FAIL ")) for line in lines), lines
    assert lines[0].startswith("PASS potential energy") and lines[1].startswith("PASS temperature"), lines


def testDistributionsAreTold():
    """The program's statistics pass independent runs, and see a shift and a noise that all share."""
    rng = np.random.default_rng(3)
    one, other, shared = rng.normal(size=(200, 16)), rng.normal(size=(200, 16)), rng.normal(size=(200, 1))
    assert replica_distributions.compareRuns("same", one, other, 2000)[0]
    assert not replica_distributions.compareRuns("shifted", one, other + 0.5, 2000)[0]
    assert replica_distributions.checkTogether("independent", one)[0]
    assert not replica_distributions.checkTogether("coupled", one + 0.5 * shared)[0]
    normal = replica_distributions.stats.norm()
    assert replica_distributions.checkKnown("known", one, normal)[0] and not replica_distributions.checkKnown("wide", 1.3 * one, normal)[0]
