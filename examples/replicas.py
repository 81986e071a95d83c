# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Four copies of a molecule in one Context: each is a group, and groups do not see each other."""

import pathlib

import numpy as np
import openmm
from openmm import app, unit

import openmmflash

COPIES = 4
pdb = app.PDBFile(str(pathlib.Path(__file__).with_name("alanine-dipeptide.pdb")))
system = openmmflash.createSystem(pdb.topology, "ani1x", replicas=COPIES)
force = next(openmmflash.FlashForce.cast(force) for force in system.getForces() if openmmflash.FlashForce.isinstance(force))

# All copies may lie at the same place. Here each is disturbed a little more than the one before.
positions = pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
noise = np.random.default_rng(1).normal(size=positions.shape)
context = openmm.Context(system, openmm.LangevinMiddleIntegrator(300, 1, 0.0005), openmm.Platform.getPlatform("CPU"))
context.setPositions(np.concatenate([positions + 0.0005 * copy * noise for copy in range(COPIES)]))
print("energies      ", np.round(force.getGroupEnergies(context), 3), "kJ/mol")
context.getIntegrator().step(10)
print("after 10 steps", np.round(force.getGroupEnergies(context), 3), "kJ/mol")
