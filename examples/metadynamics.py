# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Free energy of the backbone angles of alanine dipeptide with ANI-1x, by well-tempered metadynamics: metadynamics.py [--short]

Draws metadynamics.png.
"""

import argparse
import pathlib

import numpy as np
import openmm
from matplotlib import pyplot
from openmm import app, unit

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--short", action="store_true", help="a few steps, to see that it runs")
steps = 200 if parser.parse_args().short else 100000

pdb = app.PDBFile(str(pathlib.Path(__file__).with_name("alanine-dipeptide.pdb")))
system = app.ForceField("openmmflash/ani1x.xml").createSystem(pdb.topology, hydrogenMass=3 * unit.dalton)


def torsion(*atoms):
    """A variable biased by Gaussians of 20 degrees."""
    force = openmm.CustomTorsionForce("theta")
    force.addTorsion(*atoms)
    return app.BiasVariable(force, -np.pi, np.pi, np.radians(20), periodic=True)


phi, psi = torsion(4, 6, 8, 10), torsion(6, 8, 10, 16)
meta = app.Metadynamics(
    system, [phi, psi], 300 * unit.kelvin, biasFactor=8, height=1 * unit.kilojoule_per_mole, frequency=100 if steps > 1000 else 20
)
simulation = app.Simulation(pdb.topology, system, openmm.LangevinMiddleIntegrator(300, 2, 0.001))
simulation.context.setPositions(pdb.positions)
simulation.minimizeEnergy(maxIterations=10)
simulation.context.setVelocitiesToTemperature(300)
for part in range(10):
    meta.step(simulation, steps // 10)
    print(f"{(part + 1) * steps // 10} steps: phi, psi = {np.degrees(meta.getCollectiveVariables(simulation)).round()} degrees", flush=True)

free = meta.getFreeEnergy().value_in_unit(unit.kilojoule_per_mole)
figure = pyplot.imshow(free - free.min(), origin="lower", extent=(-180, 180, -180, 180), cmap="viridis", interpolation="bilinear")
pyplot.colorbar(figure, label="free energy (kJ/mol)")
pyplot.gca().set(xlabel="phi (degrees)", ylabel="psi (degrees)", title="Alanine dipeptide, ANI-1x, 300 K")
pyplot.savefig("metadynamics.png", dpi=150)
