# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The Python classes have what the C++ headers declare, take what Python users have at hand, and live as long as they are used."""

import copy
import gc
import hashlib
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import unit
from random_models import PARTS, makeModel, makeSystem

import openmmflash
from openmmflash import FlashForce, FlashModel
from openmmflash.convert._writer import modelBytes

HEADERS = Path(__file__).resolve().parents[2] / "openmmapi" / "include" / "openmmflash"
NOT_IN_PYTHON = {"FlashModel": {"getSpec"}, "FlashForce": set()}  # C++ only: the parsed file
CLASSES = {"FlashModel": FlashModel, "FlashForce": FlashForce}


def parseHeader(name):
    """Public methods of a class: {method: (least, most number of arguments, number of results through arguments)}."""
    text = (HEADERS / f"{name}.h").read_text()
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    body = text[text.index(f"class OPENMM_EXPORT_FLASH {name} ") :]
    body = body[body.index("public:") : re.search(r"\n(protected|private):", body).start()]
    while re.search(r"\{[^{}]*\}", body):
        body = re.sub(r"\{[^{}]*\}", ";", body)  # bodies of inline methods and of the enum
    methods = {}
    for method, arguments in re.findall(r"(\w+)\(((?:[^()]|\(\))*)\)\s*(?:const)?\s*(?:override)?\s*;", body):
        if method == name:
            method = "__init__"
        declared = [argument for argument in re.split(r",\s*(?![^<]*>)", arguments) if argument]
        results = [argument for argument in declared if re.match(r"(int|double)& ", argument)]
        taken = [argument for argument in declared if argument not in results]
        methods[method] = (sum("=" not in argument for argument in taken), len(taken), len(results))
    return methods


def countArguments(function):
    """Least and most number of arguments of a function, or of what SWIG says of it where it takes *args."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        arguments = re.search(rf"{function.__name__}\((.*)\)", function.__doc__.strip().splitlines()[0])[1]
        parameters = [a for a in re.sub(r"\(\)", "", arguments).split(",") if a.strip() not in ("", "self")]
        return sum("=" not in a for a in parameters), len(parameters)
    return sum(p.default is p.empty for p in parameters), len(parameters)


@pytest.mark.parametrize("name", CLASSES)
def test_everyMethodOfTheHeader(name):
    declared = parseHeader(name)
    assert len(declared) > 25 and "__init__" in declared, f"the header of {name} was not understood: {sorted(declared)}"
    for method, (least, most, _) in declared.items():
        if method in NOT_IN_PYTHON[name]:
            assert not hasattr(CLASSES[name], method)
            continue
        function = getattr(CLASSES[name], method, None)
        assert callable(function), f"{name}.{method} is missing in Python"
        assert countArguments(function) == (least, most), f"{name}.{method}"


@pytest.mark.parametrize("name", CLASSES)
def test_everyMethodOfPythonIsDeclared(name):
    """Nothing public in Python alone, besides cast and isinstance, OpenMM's own way to reach a Force's class."""
    extra = {
        method for method, value in vars(CLASSES[name]).items() if not method.startswith("_") and callable(getattr(CLASSES[name], method))
    }
    assert extra - set(parseHeader(name)) <= {"cast", "isinstance"}


@pytest.mark.parametrize("name", CLASSES)
def test_docstrings(name):
    assert len(CLASSES[name].__doc__) > 100
    for method in parseHeader(name):
        if method not in NOT_IN_PYTHON[name]:
            assert inspect.getdoc(getattr(CLASSES[name], method)), f"{name}.{method} has no docstring"


def test_resultsThroughArgumentsAreLists():
    _, force = makeSystem(makeModel("mlcg"), [1, 0])
    force.setParticleParameters(1, 1, 3, 8)
    force.addPairExclusion(1, 0)
    results = {method: results for method, (_, _, results) in parseHeader("FlashForce").items() if results}
    assert results == {"getParticleParameters": 3, "getPairExclusionParticles": 2}
    assert force.getParticleParameters(1) == [1, 3, 8]
    assert force.getPairExclusionParticles(0) == [1, 0]


def test_names():
    assert set(openmmflash.__all__) >= {"FlashForce", "FlashModel", "convert", "createSystem", "loadModel"}
    assert len(set(openmmflash.__all__)) == len(openmmflash.__all__)
    for name in openmmflash.__all__:
        assert inspect.getdoc(getattr(openmmflash, name)), f"{name} has no docstring"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", openmmflash.__version__)
    with pytest.raises(AttributeError, match="nothingOfThisName"):
        openmmflash.nothingOfThisName
    assert (FlashForce.Single, FlashForce.Half) == (0, 1)


def test_importIsLight():
    """Importing the package imports OpenMM and numpy, and none of what converters and the command line use."""
    heavy = ["torch", "torchani", "ase", "matplotlib", "tqdm", "click", "scipy", "openmmflash.convert", "openmmflash.cli"]
    code = f"import openmmflash, sys; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def test_defaults():
    model = makeModel("ani")
    force = FlashForce(model)
    assert isinstance(force, openmm.Force)
    assert force.getName() == "FlashForce"
    assert force.getForceGroup() == 0
    assert force.usesPeriodicBoundaryConditions() is False
    assert force.getWeightPrecision() == FlashForce.Single
    assert force.getTableTolerance() == 1e-6
    for count in ("Particles", "PairExclusions", "GlobalParameters", "EnergyParameterDerivatives"):
        assert getattr(force, f"getNum{count}")() == 0
    assert force.getGroups() == ()
    force.addParticle(3, 1)
    assert force.getParticleParameters(0) == [3, 1, 0]


def test_counts():
    """What add... returns is the index, and getNum... counts."""
    force = FlashForce(makeModel("mlcg"))
    assert [force.addParticle(i, 0) for i in (5, 2, 7)] == [0, 1, 2]
    assert [force.addPairExclusion(5, i) for i in (2, 7)] == [0, 1]
    assert [force.addGlobalParameter(name, 1) for name in "ab"] == [0, 1]
    force.addEnergyParameterDerivative("b")
    assert (force.getNumParticles(), force.getNumPairExclusions()) == (3, 2)
    assert (force.getNumGlobalParameters(), force.getNumEnergyParameterDerivatives()) == (2, 1)
    force.setGlobalParameterName(0, "c")
    force.setGlobalParameterDefaultValue(0, -4.5)
    assert (force.getGlobalParameterName(0), force.getGlobalParameterDefaultValue(0)) == ("c", -4.5)
    assert force.getEnergyParameterDerivativeName(0) == "b"


INTEGERS = [int, np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64, np.array]


@pytest.mark.parametrize("kind", INTEGERS, ids=lambda kind: kind.__name__)
def test_integers(kind):
    force = FlashForce(makeModel("mlcg"))
    force.addParticle(kind(7), kind(1), kind(2))
    force.setParticleParameters(kind(0), kind(8), kind(3), kind(4))
    assert force.getParticleParameters(kind(0)) == [8, 3, 4]
    force.addPairExclusion(kind(8), kind(9))
    assert force.getPairExclusionParticles(kind(0)) == [8, 9]
    assert force.getModel().getTypeName(kind(1)) == "CB"


SEQUENCES = {
    "list": list,
    "tuple": tuple,
    "range": lambda values: range(len(values)),
    "array": np.array,
    "array of bytes": lambda values: np.array(values, np.uint8),
    "strided array": lambda values: np.array([values, values]).T[:, 0],
}


@pytest.mark.parametrize("kind", SEQUENCES)
def test_sequences(kind):
    force, make = FlashForce(makeModel("mlcg")), SEQUENCES[kind]
    force.addParticles(make([0, 1, 2]), make([0, 1, 2]))
    force.addParticles(make([0, 1, 2]), make([0, 1, 2]), make([0, 1, 2]))
    rows = [force.getParticleParameters(i) for i in range(6)]
    assert rows == [[0, 0, 0], [1, 1, 0], [2, 2, 0], [0, 0, 0], [1, 1, 1], [2, 2, 2]]
    force.addParticles([], [], ())
    assert force.getNumParticles() == 6


REALS = [0.25, np.float32(0.25), np.float64(0.25), np.float16(0.25), np.array(0.25)]
QUANTITIES = [0.25 * unit.dimensionless, 250 * unit.joule / unit.mole, 2.5 * unit.angstrom]


@pytest.mark.parametrize("value", [*REALS, *QUANTITIES], ids=lambda value: f"{type(value).__name__} {value}")
def test_realNumbersAndUnits(value):
    """Numbers of any kind; quantities are taken in OpenMM's units (nm, kJ/mol)."""
    force = FlashForce(makeModel("mlcg"))
    force.addGlobalParameter("a", value)
    assert force.getGlobalParameterDefaultValue(0) == pytest.approx(0.25, rel=1e-15)
    force.setGlobalParameterDefaultValue(0, np.int64(3))
    assert force.getGlobalParameterDefaultValue(0) == 3
    force.setGlobalParameterDefaultValue(0, value)
    assert force.getGlobalParameterDefaultValue(0) == pytest.approx(0.25, rel=1e-15)


def test_toleranceOfAnyNumber():
    force = FlashForce(makeModel("mlcg"))
    for value in (1e-5, np.float32(0.25) / 1024, np.float64(1e-12), 1e-2):
        force.setTableTolerance(value)
        assert force.getTableTolerance() == float(value)


def test_castAndIsinstance():
    system, force = makeSystem(makeModel("mlcg"), [0, 1])
    force.setName("mine")
    system.addForce(openmm.HarmonicBondForce())
    system.addForce(force)
    kinds = [FlashForce.isinstance(other) for other in system.getForces()]
    assert kinds == [False, True]
    plain = system.getForce(1)
    found = FlashForce.cast(plain)
    assert isinstance(found, FlashForce)
    assert found.getName() == "mine"
    found.setParticleParameters(0, 0, 3, 0)
    assert force.getParticleParameters(0) == [0, 3, 0]
    assert FlashForce.cast(found).getNumParticles() == 2
    with pytest.raises(openmm.OpenMMException, match="HarmonicBondForce"):
        FlashForce.cast(system.getForce(0))


@pytest.mark.parametrize("keep", ["plain", "cast", "both"])
def test_castOfAForceThatNobodyElseHolds(keep):
    """A Force from XML belongs to the Python object; it lives while that or what cast() gave lives, and either goes into a System."""
    _, force = makeSystem(makeModel("mlcg"), [0, 1, 3])
    plain = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(force))
    found = FlashForce.cast(plain)
    if keep == "plain":
        del found
    elif keep == "cast":
        del plain
    gc.collect()
    for _ in range(50):  # memory that was given back by mistake would be used by others
        makeModel("mlcg")
    holder = plain if keep == "plain" else found
    assert FlashForce.cast(holder).getNumParticles() == 3
    assert holder.thisown
    system = openmm.System()
    system.addForce(holder)
    assert not holder.thisown
    assert FlashForce.cast(system.getForce(0)).getParticleParameters(2) == [2, 3, 0]


@pytest.mark.parametrize("name", PARTS)
def test_modelCopies(name):
    model = makeModel(name)
    for other in (pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model), FlashModel.fromBytes(model.getBytes())):
        assert isinstance(other, FlashModel)
        assert other.getBytes() == model.getBytes()
        assert other.summary() == model.summary()
        assert FlashForce(other).getModel().getSha256() == model.getSha256()


def test_modelOutlivesItsForce():
    """The model that a force gives back is there when the force is gone."""
    force = FlashForce(makeModel("ani"))
    model = force.getModel()
    del force
    gc.collect()
    for _ in range(50):
        FlashForce(makeModel("mlcg")).addParticles(range(100), [0] * 100)
    assert model.getName() == "random-ani"
    assert FlashForce(makeModel("pyg")).getModel().getTypeName(1) == "C"


def test_forceOutlivesItsModel():
    model = makeModel("ani")
    force = FlashForce(model)
    expected = model.getSha256()
    del model
    gc.collect()
    assert force.getModel().getSha256() == expected


def test_modelGetters():
    """Every getter, on a model whose every value is known."""
    metadata, tensors = PARTS["mlcg-repulsion-cutoff"]()
    metadata["priors"] = [{"name": "bonds", "form": "harmonic_bond"}, {"name": "none", "form": "fourier_dihedral"}]
    metadata |= {"description": "d", "citation": "c é", "license": "MIT", "origin": "here"}
    tensors |= {"priors.bonds.types": np.array([[0, 1], [3, 3]]), "priors.bonds.parameters": np.array([[1.5, 2.5], [3.5, 4.5]])}
    tensors |= {"priors.none.types": np.zeros((0, 4), "i4"), "priors.none.parameters": np.zeros((0, 5))}
    tensors["type_energies"] = np.array([1.0, 2.0, 0.0, -3.0])
    data = modelBytes(metadata, tensors)
    model = FlashModel.fromBytes(data)
    assert model.getBytes() == data
    assert model.getSha256() == hashlib.sha256(data).hexdigest()
    assert (model.getFormatVersion(), model.getArchitecture(), model.getName()) == (1, "schnet", "random-schnet")
    found = model.getMetadata()
    assert type(found) is dict and found["format"] == "openmm-flash" and found["citation"] == "c é"
    assert (model.getMetadataValue("license"), model.getMetadataValue("nothing")) == ("MIT", "")
    assert model.getCutoff() == pytest.approx(0.5, rel=1e-15)
    assert (model.getLengthUnit(), model.getEnergyUnit(), model.getNumMembers()) == (0.1, 4.184, 1)
    trained = [name for name in tensors if name.startswith("members.")]
    assert model.getNumWeights() == sum(tensors[name].size for name in trained)
    assert [model.getTypeName(i) for i in range(model.getNumTypes())] == ["CA", "CB", "", "N"]
    assert model.getTypeIndex("N") == 3
    assert [model.getTypeMass(i) for i in range(4)] == [12.0, 30.0, 0.0, 0.0]
    assert [model.getTypeEnergy(i) for i in range(4)] == pytest.approx([4.184, 8.368, 0.0, -12.552], rel=1e-15)
    assert [makeModel("ani").getTypeAtomicNumber(i) for i in range(3)] == [1, 6, 8]
    assert model.getTypeAtomicNumber(0) == 0
    assert model.hasPairPrior() is True and model.getPairPriorCutoff() == pytest.approx(0.6, rel=1e-15)
    assert makeModel("mlcg").hasPairPrior() is True and makeModel("mlcg").getPairPriorCutoff() == 0
    assert makeModel("pyg").hasPairPrior() is False
    assert model.getNumPriors() == 2
    assert [model.getPriorName(i) for i in range(2)] == ["bonds", "none"]
    assert [model.getPriorForm(i) for i in range(2)] == ["harmonic_bond", "fourier_dihedral"]
    assert [model.getPriorArity(i) for i in range(2)] == [2, 4]
    assert [model.getPriorNumParameters(i) for i in range(2)] == [2, 5]
    assert np.reshape(model.getPriorTypes(0), (-1, 2)).tolist() == [[0, 1], [3, 3]]
    assert np.reshape(model.getPriorParameters(0), (-1, 2)).tolist() == [[1.5, 2.5], [3.5, 4.5]]
    assert len(model.getPriorTypes(1)) == len(model.getPriorParameters(1)) == 0
    for text in ("random-schnet", "schnet", "CA CB N", "angstrom", "kcal/mol", "bonds", "c é", "MIT", model.getSha256()):
        assert text in model.summary()
    assert "random-schnet" in repr(model) and "0.5" in repr(model)


def test_longTextsInMessages():
    """A long name is cut between characters, not inside one."""
    for k in range(4):
        name = "x" * k + "日本語" * 20
        with pytest.raises(openmm.OpenMMException, match="日本語") as error:
            makeModel("ani").getTypeIndex(name)
        assert "\ufffd" not in str(error.value) and "\\x" not in str(error.value) and "?" not in str(error.value)
