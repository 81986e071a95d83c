# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""XML, copies, State, checkpoints, and the XML of released versions."""

import base64
import copy
import gc
import hashlib
import pickle
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import openmm
import pytest
from numpy_evaluation import evaluate
from random_models import BOXES, PARTS, makeModel, makeSystem, randomPositions, randomTypes

from openmmflash import FlashForce
from platforms import eachPlatform

DATA = Path(__file__).resolve().parents[1] / "data"


def energyOf(context):
    return context.getState(energy=True).getPotentialEnergy()._value


def describe(force):
    """Everything that a FlashForce holds."""
    return {
        "sha256": force.getModel().getSha256(),
        "bytes": force.getModel().getBytes(),
        "name": force.getName(),
        "force group": force.getForceGroup(),
        "periodic": force.usesPeriodicBoundaryConditions(),
        "precision": force.getWeightPrecision(),
        "tolerance": force.getTableTolerance(),
        "particles": [tuple(force.getParticleParameters(i)) for i in range(force.getNumParticles())],
        "exclusions": [tuple(force.getPairExclusionParticles(i)) for i in range(force.getNumPairExclusions())],
        "parameters": [
            (force.getGlobalParameterName(i), force.getGlobalParameterDefaultValue(i)) for i in range(force.getNumGlobalParameters())
        ],
        "derivatives": [force.getEnergyParameterDerivativeName(i) for i in range(force.getNumEnergyParameterDerivatives())],
    }


def makeForce(name="mlcg-repulsion-cutoff"):
    """A force in which nothing has its default value."""
    force = FlashForce(makeModel(name))
    force.setName("the <second> & \"third\" 'é'")
    force.setForceGroup(17)
    force.setUsesPeriodicBoundaryConditions(True)
    force.setWeightPrecision(FlashForce.Half)
    force.setTableTolerance(1.0 / 3e5)
    force.addParticles([5, 0, 3, 1, 2], [0, 1, 3, 3, 0], [0, 0, 2147483647, 0, 2147483647])
    force.addPairExclusion(1, 5)
    force.addPairExclusion(3, 2)
    force.addGlobalParameter("lambda", 0.1)
    force.addGlobalParameter("µ & more", -1e-300)
    force.addEnergyParameterDerivative("µ & more")
    return force


COPIES = {
    "XML": lambda force: FlashForce.cast(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force))),
    "clone": lambda force: FlashForce.cast(openmm.XmlSerializer.clone(force)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda force: pickle.loads(pickle.dumps(force)),
}


@pytest.mark.parametrize("way", COPIES)
def test_copies(way):
    """A copy has everything, is a FlashForce of its own that owns its memory, and a System takes it."""
    force = makeForce()
    expected = describe(force)
    other = COPIES[way](force)
    gc.collect()
    assert isinstance(other, FlashForce)
    assert describe(other) == expected
    other.setParticleParameters(0, 4, 1, 2)
    other.setName("other")
    assert describe(force) == expected, "the copy should share nothing that changes"
    del force
    gc.collect()
    assert other.getModel().getSha256() == expected["sha256"]
    system = openmm.System()
    system.addForce(other)
    assert FlashForce.isinstance(system.getForce(0))
    assert FlashForce.cast(system.getForce(0)).getName() == "other"


@pytest.mark.parametrize("name", PARTS)
@eachPlatform
def test_systemThroughXml(platform, name):
    rng = np.random.default_rng(51)
    model = makeModel(name)
    types = randomTypes(model, 8, rng)
    system, force = makeSystem(model, types, groups=[0, 1] * 4)
    force.addGlobalParameter("scale", 1.7)
    if model.hasPairPrior():
        force.addPairExclusion(0, 2)
    system.addForce(force)
    x = randomPositions(8, rng)
    context = platform.context(system, x)
    xml = openmm.XmlSerializer.serialize(system)
    for other in (openmm.XmlSerializer.deserialize(xml), copy.deepcopy(system), pickle.loads(pickle.dumps(system))):
        result = platform.context(other, x)
        assert energyOf(result) == energyOf(context)
        assert openmm.XmlSerializer.serialize(other) == xml


@pytest.mark.parametrize("imports", ["openmm", "openmm, openmmflash"])
@eachPlatform
def test_systemInNewProcess(platform, imports, tmp_path):
    """Another process needs the XML alone: not the model's file, and not even our Python package."""
    rng = np.random.default_rng(52)
    model = makeModel("ani-3")
    system, force = makeSystem(model, randomTypes(model, 8, rng))
    system.addForce(force)
    x = randomPositions(8, rng)
    context = platform.context(system, x)
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    (tmp_path / "state.xml").write_text(openmm.XmlSerializer.serialize(context.getState(positions=True)))
    (tmp_path / "run.py").write_text(f"""
import {imports}
system = openmm.XmlSerializer.deserialize(open("system.xml").read())
platform = openmm.Platform.getPlatformByName("{platform.name}")
context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, {platform.properties})
context.setState(openmm.XmlSerializer.deserialize(open("state.xml").read()))
print(repr(context.getState(energy=True).getPotentialEnergy()._value))
""")
    run = subprocess.run([sys.executable, "run.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    # PoCL makes OpenMM print a warning first.
    assert float(run.stdout.splitlines()[-1]) == pytest.approx(energyOf(context), rel=platform.tolerance(1e-14))


def readReleased(path):
    """The attributes of a released XML as Python values, and the model's bytes, by the standard library alone."""
    root = ElementTree.fromstring(path.read_text())
    number = lambda text: int(text)  # noqa: E731
    rows = lambda tag, *names: [tuple(number(node.get(name)) for name in names) for node in root.find(tag)]  # noqa: E731
    model = base64.b64decode(root.find("Model").get("safetensors"), validate=True)
    assert hashlib.sha256(model).hexdigest() == root.find("Model").get("sha256")
    return {
        "sha256": root.find("Model").get("sha256"),
        "bytes": model,
        "name": root.get("name"),
        "force group": int(root.get("forceGroup")),
        "periodic": root.get("usesPeriodic") == "1",
        "precision": {"single": FlashForce.Single, "half": FlashForce.Half}[root.get("weightPrecision")],
        "tolerance": float(root.get("tableTolerance")),
        "particles": rows("Particles", "index", "type", "group"),
        "exclusions": rows("PairExclusions", "p1", "p2"),
        "parameters": [(node.get("name"), float(node.get("default"))) for node in root.find("GlobalParameters")],
        "derivatives": [node.get("name") for node in root.find("EnergyParameterDerivatives")],
    }


@pytest.mark.parametrize("path", sorted(DATA.glob("flashforce-*.xml")), ids=lambda path: path.stem)
@eachPlatform
def test_releasedXml(platform, path):
    """What a released version wrote is read by all later ones: every value, and the energy that the model file stands for."""
    expected = readReleased(path)
    force = FlashForce.cast(openmm.XmlSerializer.deserialize(path.read_text()))
    assert describe(force) == expected
    n = max(particle for particle, _, _ in expected["particles"]) + 1
    box = np.array([[1.7, 0, 0], [0.3, 1.6, 0], [-0.2, 0.5, 1.8]])
    x = randomPositions(n, np.random.default_rng(53), box, distance=0.3)
    energy = 0
    for group in {row[2] for row in expected["particles"]}:
        members = [row for row in expected["particles"] if row[2] == group]
        place = {row[0]: k for k, row in enumerate(members)}
        exclusions = [(place[i], place[j]) for i, j in expected["exclusions"] if i in place and j in place]
        parts = evaluate(expected["bytes"], [row[1] for row in members], x[[row[0] for row in members]], box, exclusions)
        energy += parts.mean(axis=0).sum()
    for _, value in expected["parameters"]:
        energy *= value
    assert abs(energy) > 1
    # Half precision weights and coarse tables, as the file asks for, cost digits where the platform has them; without, none are lost.
    half = platform.halfWeights and expected["precision"] == FlashForce.Half
    for precision, tolerance, allowed in (
        (expected["precision"], expected["tolerance"], 5e-3 if half else platform.tolerance(1e-12)),
        (FlashForce.Single, 1e-6, platform.tolerance(1e-12)),
    ):
        force.setWeightPrecision(precision)
        force.setTableTolerance(tolerance)
        system = openmm.System()
        for _ in range(n):
            system.addParticle(1.0)
        system.setDefaultPeriodicBoxVectors(*box)
        system.addForce(openmm.XmlSerializer.clone(force))
        context = platform.context(system, x)
        assert energyOf(context) == pytest.approx(energy, rel=allowed)


def test_thisVersionHasItsXml():
    """Every released version leaves a file in tests/data: flashforce-VERSION.xml. The format has one version so far."""
    files = [path.name for path in DATA.glob("flashforce-*.xml")]
    assert "flashforce-0.1.0.xml" in files


@eachPlatform
def test_state(platform):
    """A State with energy, forces, parameters and derivatives; through XML (where OpenMM leaves derivatives out) it sets a Context."""
    rng = np.random.default_rng(54)
    model = makeModel("pyg")
    system, force = makeSystem(model, randomTypes(model, 8, rng))
    force.addGlobalParameter("scale", 1.0)
    force.addEnergyParameterDerivative("scale")
    system.addForce(force)
    context = platform.context(system, randomPositions(8, rng))
    context.setParameter("scale", 0.6)
    context.setVelocitiesToTemperature(300, 1)
    state = context.getState(positions=True, velocities=True, energy=True, forces=True, parameters=True, parameterDerivatives=True)
    assert state.getEnergyParameterDerivatives()["scale"] == pytest.approx(energyOf(context) / 0.6, rel=platform.tolerance(1e-13))
    other = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(state))
    assert other.getPotentialEnergy() == state.getPotentialEnergy()
    np.testing.assert_array_equal(other.getForces(asNumpy=True), state.getForces(asNumpy=True))
    fresh = platform.context(system)
    fresh.setState(other)
    assert fresh.getParameter("scale") == 0.6
    assert energyOf(fresh) == energyOf(context)
    again = fresh.getState(parameterDerivatives=True).getEnergyParameterDerivatives()["scale"]
    assert again == state.getEnergyParameterDerivatives()["scale"]


@pytest.mark.parametrize("name", ["mlcg-repulsion-cutoff", "ani"])
@eachPlatform
def test_checkpoint(platform, name):
    """From a checkpoint a simulation continues to the last bit, in the same Context and in a new one."""
    rng = np.random.default_rng(55)
    model = makeModel(name)
    system, force = makeSystem(model, randomTypes(model, 20, rng), BOXES["cubic"])
    force.addGlobalParameter("scale", 1.0)
    system.addForce(force)

    def makeContext():
        integrator = openmm.LangevinMiddleIntegrator(300, 2.0, 0.0005)
        integrator.setRandomNumberSeed(9)
        return platform.context(system, randomPositions(20, np.random.default_rng(56), BOXES["cubic"]), integrator)

    def run(context):
        context.getIntegrator().step(25)
        state = context.getState(positions=True, velocities=True, energy=True, forces=True)
        arrays = [state.getPositions(asNumpy=True), state.getVelocities(asNumpy=True), state.getForces(asNumpy=True)]
        return np.concatenate([array._value for array in arrays]), state.getPotentialEnergy()._value

    context = makeContext()
    context.setVelocitiesToTemperature(300, 2)
    context.setParameter("scale", 0.9)
    run(context)
    checkpoint = context.createCheckpoint()
    arrays, energy = run(context)
    assert np.isfinite(arrays).all()
    run(context)
    context.setParameter("scale", 0.1)
    other = makeContext()
    other.getIntegrator().step(3)
    for again in (context, other):
        again.loadCheckpoint(checkpoint)
        assert again.getParameter("scale") == 0.9
        repeated = run(again)
        np.testing.assert_array_equal(repeated[0], arrays)
        assert repeated[1] == energy
