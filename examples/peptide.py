# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Molecular dynamics of a capped alanine peptide with ANI-1x at 300 K: peptide.py [--short]; draws peptide.png"""

import argparse
import pathlib
import sys

import numpy as np
import openmm
from matplotlib import pyplot
from openmm import app, unit

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--short", action="store_true", help="a few steps, to see that it runs")
steps, interval = (20, 2) if parser.parse_args().short else (20000, 20)

pdb = app.PDBFile(str(pathlib.Path(__file__).with_name("alanine-dipeptide.pdb")))
system = app.ForceField("openmmflash/ani1x.xml").createSystem(pdb.topology)
# Nothing is constrained, so hydrogens vibrate: 0.5 fs.
integrator = openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.5 * unit.femtosecond)
simulation = app.Simulation(pdb.topology, system, integrator)
simulation.context.setPositions(pdb.positions)
simulation.minimizeEnergy(maxIterations=10)
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin)
simulation.reporters.append(app.StateDataReporter(sys.stdout, steps // 10, step=True, potentialEnergy=True, temperature=True, speed=True))


def dihedral(a, b, c, d):
    """Degrees."""
    u, v, w = b - a, c - b, d - c
    return np.degrees(np.arctan2(np.linalg.norm(v) * u @ np.cross(v, w), np.cross(u, v) @ np.cross(v, w)))


angles = []
for _ in range(steps // interval):
    simulation.step(interval)
    x = simulation.context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    angles.append((dihedral(*x[[4, 6, 8, 10]]), dihedral(*x[[6, 8, 10, 16]])))  # C N CA C and N CA C N

picoseconds = (np.arange(len(angles)) + 1) * interval * 0.0005
points = pyplot.scatter(*np.transpose(angles), c=picoseconds, s=8)
pyplot.colorbar(points, label="time (ps)")
pyplot.gca().set(xlim=(-180, 180), ylim=(-180, 180), aspect="equal", xlabel="phi (degrees)", ylabel="psi (degrees)")
pyplot.title("Alanine dipeptide, ANI-1x, 300 K")
pyplot.savefig("peptide.png", dpi=150)
