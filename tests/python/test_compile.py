# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The compilation report: what a platform made of the model, and how exactly."""

import openmm
import pytest
from mlcg_reference import convert
from random_models import makeModel, makeSystem

import openmmflash
from openmmflash import FlashForce
from platforms import PLATFORMS, eachPlatform

CALPHA = "schnet_cln_ca_specialized_model_and_config.pt"
compiling = pytest.mark.parametrize("platform", [p for p in PLATFORMS if p.name != "Reference"], ids=str)


def report(platform, model, types, tolerance=None, precision=FlashForce.Single):
    system, force = makeSystem(model, types)
    force.setWeightPrecision(precision)
    if tolerance is not None:
        force.setTableTolerance(tolerance)
    system.addForce(force)
    return force.getCompilationReport(platform.context(system))


@eachPlatform
@pytest.mark.parametrize("name", ["mlcg", "ani"])
def test_isADict(platform, name):
    found = report(platform, makeModel(name), [0, 1])
    assert type(found) is dict
    assert found["platform"] == platform.name
    assert found["network"]["architecture"] == ("ani" if name == "ani" else "schnet")
    assert found["network"]["exact"] is (platform.name == "Reference")
    assert found["network"]["weightPrecision"] == ("double" if platform.name == "Reference" else "single")


def test_forceWithoutContext():
    system, force = makeSystem(makeModel("mlcg"), [0, 1])
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    with pytest.raises(openmm.OpenMMException):
        force.getCompilationReport(context)


@compiling
@pytest.mark.parametrize("tolerance", [1e-4, 1e-6])
def test_tables(platform, tolerance):
    model = makeModel("mlcg")
    network = report(platform, model, [0, 1], tolerance)["network"]
    assert network["tableTolerance"] == tolerance
    assert network["knots"] in ("linear", "logarithmic")
    assert network["cutoff"] == pytest.approx(model.getCutoff(), rel=1e-14)
    assert 0 < network["firstKnot"] <= 0.01 * model.getCutoff() * (1 + 1e-12)
    ((blocks,),) = [list(member.values()) for member in network["members"]]
    assert len(blocks) == 2
    for block in blocks:
        assert block["channels"] == 5
        assert 0 < block["valueError"] <= tolerance
        assert 0 < block["derivativeError"] <= 4 * tolerance
    assert network["tableBytes"] == 2 * 5 * network["pieces"] * 16
    assert network["pieces"] > report(platform, model, [0, 1], 30 * tolerance)["network"]["pieces"]


@compiling
def test_typesThatAreThere(platform):
    network = report(platform, makeModel("ani"), [2, 0, 2, 2], precision=FlashForce.Half)["network"]
    assert network["presentTypes"] == [0, 2]
    assert (network["aevColumns"], network["aevColumnsOfModel"]) == (2 * 6 + 3 * 8, 3 * 6 + 6 * 8)
    assert network["weightPrecision"] == "half"
    assert network["numDenseWeights"] == 2 * (36 * 8 + 8 * 6 + 6)
    assert network["denseWeightBytes"] == 2 * network["numDenseWeights"]


@compiling
def test_toleranceThatCannotBeMet(platform):
    with pytest.raises(openmm.OpenMMException, match="table tolerance 1e-12 cannot be met .* smallest that can be met"):
        report(platform, makeModel("mlcg"), [0, 1], 1e-12)


@compiling
def test_trainedModel(platform, shared, tmp_path):
    """The filters of a trained model are smooth: few pieces, and a low rank."""
    _, model, (structure,) = convert(shared / "models/mlcg" / CALPHA, tmp_path)
    system = openmmflash.createSystem(structure, model, includePriors=False)
    (force,) = [FlashForce.cast(force) for force in system.getForces() if FlashForce.isinstance(force)]
    network = force.getCompilationReport(platform.context(system))["network"]
    assert network["knots"] == "logarithmic"
    assert network["pieces"] < 1200
    for block in network["members"][0]["blocks"]:
        assert block["valueError"] <= 1e-6
        assert block["derivativeError"] <= 4e-6
        assert block["rank"] < 64
