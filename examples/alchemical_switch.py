# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Free energy in water of a change from AMBER to ANI-1x within a molecule: alchemical_switch.py [--short]

Thermodynamic integration over lambda, in water and in vacuum; the Contexts tell dU/dlambda. Draws alchemical_switch.png.
"""

import argparse
import pathlib

import numpy as np
import openmm
from matplotlib import pyplot
from openmm import app, unit

import openmmflash

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--short", action="store_true", help="a few steps, to see that it runs")
short = parser.parse_args().short
windows = np.linspace(0, 1, 3 if short else 6)
equilibration, samples, interval = (20, 5, 4) if short else (1000, 200, 20)

pdb = app.PDBFile(str(pathlib.Path(__file__).with_name("alanine-dipeptide.pdb")))
forceField = app.ForceField("amber14-all.xml", "amber14/tip3pfb.xml")
modeller = app.Modeller(pdb.topology, pdb.positions)
width = 2.0 if short else 2.5
modeller.addSolvent(forceField, boxSize=openmm.Vec3(width, width, width) * unit.nanometer)
ligand = list(range(pdb.topology.getNumAtoms()))
legs = {"vacuum": (pdb, app.NoCutoff), "water": (modeller, app.PME)}
work = {}

for name, (molecules, method) in legs.items():
    classical = forceField.createSystem(molecules.topology, nonbondedMethod=method, nonbondedCutoff=0.9 * unit.nanometer)
    system = openmmflash.createMixedSystem(molecules.topology, classical, ligand, "ani1x", interpolate=True)
    simulation = app.Simulation(molecules.topology, system, openmm.LangevinMiddleIntegrator(300, 1, 0.001))
    simulation.context.setPositions(molecules.positions)
    means, errors = [], []
    for value in windows:
        simulation.context.setParameter("lambda_interpolate", value)
        if value == windows[0]:
            simulation.minimizeEnergy(maxIterations=50)
        simulation.step(equilibration)
        slopes = []
        for _ in range(samples):
            simulation.step(interval)
            slopes.append(simulation.context.getState(parameterDerivatives=True).getEnergyParameterDerivatives()["lambda_interpolate"])
        means.append(np.mean(slopes))
        errors.append(np.std([np.mean(block) for block in np.array_split(slopes, 5)], ddof=1) / np.sqrt(5))
    work[name] = np.sum((np.array(means[1:]) + means[:-1]) / 2 * np.diff(windows))
    # ANI's energies are total ones, from separated electrons and nuclei on: only differences mean something.
    pyplot.errorbar(windows, np.array(means) - work["vacuum"], errors, label=name, marker="o", capsize=3)

print(f"free energy of the switch, water less vacuum: {work['water'] - work['vacuum']:.1f} kJ/mol")
pyplot.gca().set(xlabel="lambda (0: AMBER, 1: ANI-1x)", ylabel="dU/dlambda, less the mean in vacuum (kJ/mol)")
pyplot.legend()
pyplot.savefig("alchemical_switch.png", dpi=150)
