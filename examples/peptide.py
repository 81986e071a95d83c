# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Molecular dynamics of a capped alanine peptide with ANI-1x at 300 K: peptide.py [STEPS]"""

import pathlib
import sys

import openmm
from openmm import app, unit

import openmmflash

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
pdb = app.PDBFile(str(pathlib.Path(__file__).with_name("alanine-dipeptide.pdb")))
system = openmmflash.createSystem(pdb.topology, "ani1x")
# Nothing is constrained, so hydrogens vibrate: 0.5 fs.
integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.5 * unit.femtosecond)
simulation = app.Simulation(pdb.topology, system, integrator)
simulation.context.setPositions(pdb.positions)
simulation.minimizeEnergy(maxIterations=10)
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin)
simulation.reporters.append(
    app.StateDataReporter(sys.stdout, max(1, steps // 10), step=True, potentialEnergy=True, temperature=True, speed=True)
)
simulation.step(steps)
