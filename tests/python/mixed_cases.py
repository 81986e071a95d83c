# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""A solvated peptide by a classical force field, for the tests of systems that are in part described by a model."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmmflash import FlashForce, models

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
AMBER = ("amber14-all.xml", "amber14/tip3p.xml")


def solvatedPeptide(width=1.9):
    """A Modeller with the topology and positions of the capped alanine, and water, in a cubic box."""
    pdb = app.PDBFile(str(EXAMPLES / "alanine-dipeptide.pdb"))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(app.ForceField(*AMBER), boxSize=openmm.Vec3(width, width, width) * unit.nanometer)
    return modeller


def peptideAtoms(topology):
    return [atom.index for atom in topology.atoms() if atom.residue.name != "HOH"]


def subset(modeller, atoms):
    """A Modeller with these atoms alone."""
    part = app.Modeller(modeller.topology, modeller.positions)
    part.delete([atom for atom in modeller.topology.atoms() if atom.index not in atoms])
    return part


def classical(topology, files=AMBER, **arguments):
    return app.ForceField(*files).createSystem(topology, **{"rigidWater": False, "nonbondedCutoff": 0.8, **arguments})


def flashForce(system):
    (force,) = [FlashForce.cast(force) for force in system.getForces() if FlashForce.isinstance(force)]
    force.owner = system  # as long as we look at the force, its System must live
    return force


class Evaluation:
    """Energy, forces and derivatives of a System at given positions."""

    def __init__(self, system, positions, platform="Reference", **parameters):
        self.context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform(platform))
        self.context.setPositions(positions)
        self.context.computeVirtualSites()
        self.at(**parameters)

    def at(self, **parameters):
        """The same with other values of parameters."""
        for name, value in parameters.items():
            self.context.setParameter(name, value)
        state = self.context.getState(energy=True, forces=True, parameterDerivatives=True)
        self.energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
        self.forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        self.derivatives = dict(state.getEnergyParameterDerivatives().items())
        assert np.isfinite(self.forces).all()
        return self


def python(code):
    """Run code in a process of its own; returns what it prints."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env=os.environ, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def needs(name):
    """Skip a test where a model's weights are not installed."""
    try:
        models.findSource(name)
    except models.ModelNotFoundError as error:
        pytest.skip(f"needs the weights of {name}: {str(error).splitlines()[0]}")
