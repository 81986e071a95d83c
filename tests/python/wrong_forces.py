# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Wrong uses of FlashForce, Contexts and XML, for test_wrong_inputs.py.

CASES maps a case's name to a function of the tested platform that must raise, the type of the error, and the texts that it must contain.
To add a case, add a line.
"""

import base64
import contextlib
import math
import re

import numpy as np
import openmm
from random_models import makeModel, makeSystem, randomPositions, validTypes

from openmmflash import FlashForce, FlashModel
from platforms import CPU, REFERENCE

FLASH = openmm.OpenMMException
X = randomPositions(6, np.random.default_rng(61))
MODELS = {}


def model(name="mlcg-repulsion-cutoff"):
    if name not in MODELS:
        MODELS[name] = makeModel(name)
    return MODELS[name]


def system(change=lambda force: None, name="mlcg-repulsion-cutoff", box=None):
    """A System of six particles with a FlashForce, after `change(force)`; the force."""
    result, force = makeSystem(model(name), [validTypes(model(name))[i % 2] for i in range(6)], box)
    change(force)
    result.addForce(force)
    return result, force


def creating(change=lambda force: None, name="mlcg-repulsion-cutoff", box=None):
    """Create a Context after `change(force)`."""
    return lambda platform: platform.context(system(change, name, box)[0])


def calling(call, name="mlcg-repulsion-cutoff"):
    """Call something of a FlashForce with six particles, an exclusion, a global parameter and a derivative."""

    def run(platform):
        _, force = makeSystem(model(name), [0, 1] * 3)
        force.addPairExclusion(0, 1)
        force.addGlobalParameter("scale", 1.0)
        force.addEnergyParameterDerivative("scale")
        call(force)

    return run


def updating(change):
    """updateParametersInContext after `change(force)`."""

    def run(platform):
        made, force = system()
        context = platform.context(made, X)
        change(force)
        force.updateParametersInContext(context)

    return run


def evaluating(change, name="mlcg-repulsion-cutoff", box=None):
    """Evaluate a Context after `change(positions, context)`."""

    def run(platform):
        context = platform.context(system(name=name, box=box)[0])
        x = X.copy()
        change(x, context)
        context.setPositions(x)
        context.getState(energy=True)

    return run


def place(particle, position):
    def change(x, context):
        x[particle] = position

    return change


def asking(method, place=None):
    """Ask for energies in parts with a wrong Context."""

    def run(platform):
        made, force = system()
        other, _ = makeSystem(model(), [0, 0])
        getattr(force, method)(platform.context(other, X[:2]) if place is None else place)

    return run


def reading(pattern, replacement, count=1):
    """Read the XML of a force after an exchange of text."""

    def run(platform):
        _, force = makeSystem(model(), [0, 1] * 3)
        force.addPairExclusion(0, 1)
        force.addGlobalParameter("scale", 1.0)
        force.addEnergyParameterDerivative("scale")
        text = openmm.XmlSerializer.serialize(force)
        changed, number = re.subn(pattern, replacement, text, count=count)
        assert number, f"no {pattern} in the XML"
        openmm.XmlSerializer.deserialize(changed)

    return run


def damagedModel(change):
    """Exchange the model's bytes in the XML."""

    def replace(match):
        return f'safetensors="{base64.b64encode(change(base64.b64decode(match[1]))).decode()}"'

    return reading('safetensors="([^"]*)"', replace)


def evaluateSomehow(model):
    """Create a Context for a model of unknown quality and evaluate it; anything but an OpenMMException is an error."""
    types = validTypes(model)[:3]
    if not types:
        return
    made, force = makeSystem(model, [types[i % len(types)] for i in range(6)])
    made.addForce(force)
    for platform in (REFERENCE, CPU):  # each damaged model would need programs of its own elsewhere
        with contextlib.suppress(openmm.OpenMMException):
            platform.context(made, X).getState(energy=True, forces=True)


INVALID = "mlcg"  # its pair prior acts between all pairs
CUBE = np.eye(3)
NAN, INF = math.nan, math.inf
HUGE = 2**31

CASES = {
    # Particles.
    "System index too large": (creating(lambda f: f.setParticleParameters(3, 6, 0, 0)), FLASH, "particle 3", "6", "0 to 5"),
    "System index negative": (creating(lambda f: f.setParticleParameters(3, -1, 0, 0)), FLASH, "particle 3", "-1"),
    "System index 2^31 - 1": (creating(lambda f: f.addParticle(HUGE - 1, 0)), FLASH, "particle 6", str(HUGE - 1)),
    "particle twice": (creating(lambda f: f.setParticleParameters(5, 2, 0, 0)), FLASH, "particle 5", "System index 2", "particle 2"),
    "type too large": (creating(lambda f: f.setParticleParameters(1, 1, 4, 0)), FLASH, "particle 1", "type 4", "0=CA 1=CB 3=N"),
    "type negative": (creating(lambda f: f.setParticleParameters(1, 1, -7, 0)), FLASH, "particle 1", "type -7"),
    "type that is none": (creating(lambda f: f.setParticleParameters(1, 1, 2, 0)), FLASH, "particle 1", "type 2", "0=CA 1=CB 3=N"),
    "type of ANI": (creating(lambda f: f.setParticleParameters(1, 1, 6, 0), "ani"), FLASH, "type 6", "0=H 1=C 2=O"),
    "group negative": (creating(lambda f: f.setParticleParameters(4, 4, 0, -3)), FLASH, "particle 4", "group -3"),
    "more types than particles": (calling(lambda f: f.addParticles([0, 1], [0, 0, 0])), FLASH, "2 particles", "3 types"),
    "fewer groups than particles": (calling(lambda f: f.addParticles([0, 1], [0, 0], [0])), FLASH, "2 particles", "1 groups"),
    "particles of text": (calling(lambda f: f.addParticles(["a"], [0])), TypeError, "str"),
    "particles of real numbers": (calling(lambda f: f.addParticles(np.zeros(2), [0, 0])), TypeError, "float"),
    "particles over 32 bits": (calling(lambda f: f.addParticles([HUGE], [0])), OverflowError, str(HUGE)),
    "particles two-dimensional": (calling(lambda f: f.addParticles(np.zeros((2, 2), int), [0, 0])), TypeError, "integer"),
    "particles a number": (calling(lambda f: f.addParticles(3, [0])), TypeError, ""),
    "particle a real number": (calling(lambda f: f.addParticle(0.5, 0)), TypeError, ""),
    "particle over 32 bits": (calling(lambda f: f.addParticle(HUGE, 0)), OverflowError, str(HUGE)),
    "type over 64 bits": (calling(lambda f: f.addParticle(0, 2**70)), OverflowError, ""),
    "particle without a type": (calling(lambda f: f.addParticle(0)), TypeError, ""),
    # Pair exclusions.
    "exclusion of a stranger": (creating(lambda f: f.addPairExclusion(0, 17)), FLASH, "exclusion 0", "17"),
    "exclusion of a negative index": (creating(lambda f: f.addPairExclusion(-2, 1)), FLASH, "exclusion 0", "-2"),
    "exclusion of itself": (creating(lambda f: f.addPairExclusion(3, 3)), FLASH, "exclusion 0", "3, 3"),
    "exclusion twice": (creating(lambda f: (f.addPairExclusion(1, 2), f.addPairExclusion(2, 1))), FLASH, "exclusion 1", "2, 1", "twice"),
    "exclusion between groups": (
        creating(lambda f: (f.setParticleParameters(1, 1, 0, 9), f.addPairExclusion(0, 1))),
        FLASH,
        "exclusion 0",
        "groups 0 and 9",
    ),
    "exclusion without a prior": (creating(lambda f: f.addPairExclusion(0, 1), "pyg"), FLASH, "1 pair exclusions", "no pair prior"),
    # Global parameters.
    "parameter twice": (creating(lambda f: [f.addGlobalParameter("lambda", 1) for _ in range(2)]), FLASH, "parameter 1", '"lambda"'),
    "parameter without a name": (creating(lambda f: f.addGlobalParameter("", 1)), FLASH, "parameter 0", "empty"),
    "parameter NaN": (creating(lambda f: f.addGlobalParameter("lambda", NAN)), FLASH, '"lambda"', "nan"),
    "parameter infinite": (creating(lambda f: f.addGlobalParameter("lambda", -INF)), FLASH, '"lambda"', "-inf"),
    "parameter a text": (calling(lambda f: f.addGlobalParameter("lambda", "1")), TypeError, "str"),
    "parameter None": (calling(lambda f: f.addGlobalParameter("lambda", None)), TypeError, "None"),
    "derivative of a stranger": (calling(lambda f: f.addEnergyParameterDerivative("lambda")), FLASH, '"lambda"', "scale"),
    "derivative twice": (calling(lambda f: f.addEnergyParameterDerivative("scale")), FLASH, '"scale"', "already"),
    # Options.
    "weight precision 7": (calling(lambda f: f.setWeightPrecision(7)), FLASH, "7"),
    "weight precision -1": (calling(lambda f: f.setWeightPrecision(-1)), FLASH, "-1"),
    "weight precision a text": (calling(lambda f: f.setWeightPrecision("half")), TypeError, ""),
    **{
        f"table tolerance {value}": (calling(lambda f, value=value: f.setTableTolerance(value)), FLASH, text)
        for value, text in ((0, "tolerance 0 "), (-1e-6, "-1e-06"), (9e-13, "9e-13"), (0.011, "0.011"), (NAN, "nan"), (INF, "inf"))
    },
    "force without a model": (lambda platform: FlashForce(None), (TypeError, FLASH, ValueError), ""),
    "force of a path": (lambda platform: FlashForce("model.safetensors"), TypeError, ""),
    "force group 32": (calling(lambda f: f.setForceGroup(32)), FLASH, ""),
    "cast of another force": (lambda platform: FlashForce.cast(openmm.NonbondedForce()), FLASH, "NonbondedForce"),
    "cast of a number": (lambda platform: FlashForce.cast(5), TypeError, ""),
    # Indices of getters and setters: what there is, and one that is not.
    **{
        f"{method} {index}": (
            calling(lambda f, m=method, i=index, a=arguments: getattr(f, m)(i, *a)),
            FLASH,
            f"{what} {index} ",
            f"there are {number}",
        )
        for index in (-1, 6, HUGE - 1, -HUGE)
        for method, what, number, arguments in (
            ("getParticleParameters", "particle", 6, ()),
            ("setParticleParameters", "particle", 6, (0, 0, 0)),
            ("getPairExclusionParticles", "pair exclusion", 1, ()),
            ("setPairExclusionParticles", "pair exclusion", 1, (0, 1)),
            ("getGlobalParameterName", "global parameter", 1, ()),
            ("setGlobalParameterName", "global parameter", 1, ("a",)),
            ("getGlobalParameterDefaultValue", "global parameter", 1, ()),
            ("setGlobalParameterDefaultValue", "global parameter", 1, (1.0,)),
            ("getEnergyParameterDerivativeName", "energy parameter derivative", 1, ()),
        )
    },
    # Boxes.
    "all-pairs prior in a box": (creating(name=INVALID, box=CUBE), FLASH, "random-schnet", "no cutoff"),
    "box in the wrong unit": (creating(box=CUBE * 0.02), FLASH, "0.02", "0.5 nm", "vector a"),
    "box flat in one direction": (creating(box=np.diag([1, 1, 1e-7])), FLASH, "1e-07", "vector c"),
    "box that gets too small": (
        evaluating(lambda x, context: context.setPeriodicBoxVectors(*np.eye(3) * 1e-4), box=CUBE),
        FLASH,
        "box",
        "0.00",
    ),
    # Positions.
    "two particles in one place": (
        evaluating(lambda x, context: x.__setitem__(4, x[2])),
        FLASH,
        "particle 2",
        "particle 4",
        repr(float(X[2][0]))[:8],
    ),
    "a particle in another's image": (
        evaluating(lambda x, context: x.__setitem__(4, x[2] + [1, -3, 2]), box=CUBE),
        FLASH,
        "particle 2",
        "particle 4",
        "image",
    ),
    **{
        f"position {value} in {where}": (evaluating(place(3, [0.1, value, 0.2]), name, box), FLASH, "particle 3", text)
        for value, text in ((NAN, "nan"), (INF, "inf"), (-INF, "-inf"), (1e300, "1e+300"))
        for where, name, box in (("a box", "mlcg-repulsion-cutoff", CUBE), ("the open", "mlcg", None), ("ANI", "ani", None))
    },
    "position very far from the box": (evaluating(place(3, [0.1, 1e15, 0.2]), box=CUBE), FLASH, "particle 3", "1e+15"),
    # updateParametersInContext.
    "update with another number": (updating(lambda f: f.addParticle(0, 0)), FLASH, ""),
    "update with a new System index": (updating(lambda f: f.setParticleParameters(2, 17, 0, 0)), FLASH, "17"),
    "update with exchanged indices": (
        updating(lambda f: (f.setParticleParameters(2, 3, 0, 0), f.setParticleParameters(3, 2, 0, 0))),
        FLASH,
        "System index 3",
        "particle 2",
        "reinitialize",
    ),
    "update with a wrong type": (updating(lambda f: f.setParticleParameters(2, 2, 2, 0)), FLASH, "particle 2", "type 2"),
    "update with a wrong group": (updating(lambda f: f.setParticleParameters(2, 2, 0, -1)), FLASH, "particle 2", "group -1"),
    "update with a wrong exclusion": (updating(lambda f: f.addPairExclusion(0, 9)), FLASH, "exclusion 0", "9"),
    "update of another Context": (asking("updateParametersInContext"), FLASH, "Context"),
    **{
        f"{method} of another Context": (asking(method), FLASH, "Context")
        for method in ("getGroupEnergies", "getParticleEnergies", "getMemberEnergies", "getEnsembleDeviation")
    },
    "energies of no Context": (asking("getGroupEnergies", 5), TypeError, ""),
    "unknown Context parameter": (lambda platform: platform.context(system()[0]).setParameter("lambda", 1), FLASH, "lambda"),
    "two default values of a parameter": (
        lambda platform: platform.context(twoDefaults()),
        FLASH,
        "scale",
    ),
    # XML.
    "XML of a later version": (reading(' version="1"', ' version="2"'), FLASH, "version 2", "version 1"),
    "XML without a version": (reading(' version="1"', ""), FLASH, "version"),
    "XML with a damaged model": (damagedModel(lambda data: data[:-4] + b"\0\0\0\0"), FLASH, "SHA-256"),
    "XML with a cut model": (damagedModel(lambda data: data[:-4]), FLASH, "the model in the XML", "bytes of data"),
    "XML with half a model": (damagedModel(lambda data: data[: len(data) // 2]), FLASH, "the model in the XML"),
    "XML with an empty model": (damagedModel(lambda data: b""), FLASH, "the model in the XML", "0 bytes"),
    "XML with damaged base64": (reading('safetensors="([^"]{400})[^"]{8}', r'safetensors="\1$%*#@!~^'), FLASH, "the model in the XML"),
    "XML with another SHA-256": (reading('sha256="....', 'sha256="0000'), FLASH, "SHA-256", "0000"),
    "XML without a SHA-256": (reading('sha256="[^"]*"', ""), FLASH, "sha256"),
    "XML without a model": (reading("<Model [^>]*/>", ""), FLASH, "Model"),
    "XML with an unknown precision": (reading('weightPrecision="single"', 'weightPrecision="quarter"'), FLASH, '"quarter"'),
    "XML with a wrong tolerance": (reading('tableTolerance="[^"]*"', 'tableTolerance="0.5"'), FLASH, "0.5"),
    "XML with a wrong derivative": (reading('Parameter name="scale"', 'Parameter name="other"'), FLASH, '"other"'),
    "XML with a wrong force group": (reading('forceGroup="0"', 'forceGroup="99"'), FLASH, ""),
    "XML without particles": (reading("<Particles>(.|\n)*</Particles>", ""), FLASH, "Particles"),
    "XML with an incomplete particle": (reading(' type="0"', ""), FLASH, "type"),
    "XML that ends early": (reading("</Particles>(.|\n)*", ""), FLASH, ""),
}

# What a platform says instead, of cases that it refuses by itself.
OTHER_TEXTS = {("CPU", name): ("Particle coordinate is NaN",) for name in CASES if name.startswith("position nan")}
# Numbers of single precision.
OTHER_TEXTS |= {("OpenCL", name): ("particle 3", "inf") for name in CASES if name.startswith("position 1e+300")}
OTHER_TEXTS["OpenCL", "position very far from the box"] = ("particle 3", "9.99999987e+14")


def twoDefaults():
    made, force = system(lambda force: force.addGlobalParameter("scale", 1.0))
    other = FlashForce(FlashModel.fromBytes(model("pyg").getBytes()))
    other.addGlobalParameter("scale", 2.0)
    made.addForce(other)
    return made
