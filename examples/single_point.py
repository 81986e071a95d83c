# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Energy and forces of one structure with ANI-1x, and how far the ensemble's members disagree."""

import pathlib

import numpy as np
import openmm
from openmm import app, unit

import openmmflash

pdb = app.PDBFile(str(pathlib.Path(__file__).with_name("alanine-dipeptide.pdb")))
system = openmmflash.createSystem(pdb.topology, "ani1x")
context = openmm.Context(system, openmm.VerletIntegrator(0.0005), openmm.Platform.getPlatform("Reference"))
context.setPositions(pdb.positions)

state = context.getState(energy=True, forces=True)
energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
force = next(openmmflash.FlashForce.cast(force) for force in system.getForces() if openmmflash.FlashForce.isinstance(force))

print(f"energy              {energy:.4f} kJ/mol")
print(f"largest force       {np.abs(forces).max():.2f} kJ/mol/nm")
print(f"members' deviation  {force.getEnsembleDeviation(context)[0]:.4f} kJ/mol")
