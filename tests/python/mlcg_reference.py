# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What the tests of mlcg's models share: conversion, evaluation on the Reference platform, and mlcg's units."""

import numpy as np
import openmm

from openmmflash import FlashModel
from openmmflash.convert.mlcg import convertMlcg
from openmmflash.structurefile import readStructure

ENERGY = 4.184  # kJ/mol in a kcal/mol
FORCE = 41.84  # kJ/mol/nm in a kcal/mol/A
LENGTH = 0.1  # nm in an A


def convert(source, folder, **options):
    """(report, model, structures) of a converted file."""
    report = convertMlcg(source, folder / "model.safetensors", check=False, **options)
    return report, FlashModel(report.path), [readStructure(path) for path in report.files]


def referenceContext(system):
    return openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def forcesOnly(forces, numParticles):
    """A System of nothing but some forces."""
    system = openmm.System()
    for _ in range(numParticles):
        system.addParticle(1.0)
    for force in forces:
        system.addForce(force)
    return system


def evaluate(context, positions):
    """Energy (kJ/mol) and forces (kJ/mol/nm) at positions in nm."""
    context.setPositions(np.asarray(positions))
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, np.array(state.getForces(asNumpy=True)._value)


def evaluateInKcal(context, positions):
    """Energy (kcal/mol) and forces (kcal/mol/A) at positions in A."""
    energy, forces = evaluate(context, np.asarray(positions, dtype=np.float64) * LENGTH)
    return energy / ENERGY, forces / FORCE


def checkAgreement(found, expected, energyTolerance=1e-10, forceTolerance=1e-9):
    """Energies relative, forces relative to their root mean square; NaN fails."""
    (energy, forces), (energy0, forces0) = found, expected
    assert abs(energy - energy0) <= energyTolerance * abs(energy0), f"energy {energy!r}, expected {energy0!r}"
    if forces0 is not None:
        difference = np.abs(forces - forces0)
        index = np.unravel_index(np.argmax(np.where(np.isnan(difference), np.inf, difference)), difference.shape)
        allowed = forceTolerance * np.sqrt((forces0**2).mean())
        assert difference[index] <= allowed, f"force {index} is {forces[index]!r}, expected {forces0[index]!r} within {allowed:.1e}"


class Stored:
    """A stand-in for a module of torch as the converter sees one: its class's name and what it stores."""

    def __init__(self, children, tensors, attributes):
        self.__dict__.update(attributes, _parameters=tensors or {}, _buffers={}, _modules=children or {})


def stored(kind, /, children=None, tensors=None, **attributes):
    """An object of the class with this full name."""
    module, _, short = kind.rpartition(".")
    return type(short, (Stored,), {"__module__": module})(children, tensors, attributes)
