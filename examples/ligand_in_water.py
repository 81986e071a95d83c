# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""A molecule by ANI-1x in classical water, and the same all classical: ligand_in_water.py [--short]

Any molecule that the classical force field knows can take the place of the capped alanine. Draws ligand_in_water.png: where water is around
its carbonyl groups.
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
equilibration, frames, interval = (20, 5, 4) if short else (3000, 300, 30)

pdb = app.PDBFile(str(pathlib.Path(__file__).with_name("alanine-dipeptide.pdb")))
modeller = app.Modeller(pdb.topology, pdb.positions)
forceField = app.ForceField("amber14-all.xml", "amber14/tip3pfb.xml")
width = 2.0 if short else 2.5
modeller.addSolvent(forceField, boxSize=openmm.Vec3(width, width, width) * unit.nanometer)
classical = forceField.createSystem(modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9 * unit.nanometer)

atoms = list(modeller.topology.atoms())
ligand = [atom.index for atom in atoms if atom.residue.name != "HOH"]
water = [atom.index for atom in atoms if atom.residue.name == "HOH" and atom.element is app.element.oxygen]
carbonyls = [i for i in ligand if atoms[i].element is app.element.oxygen]
edges = np.linspace(0.2, 0.7, 51)
mixed = openmmflash.createMixedSystem(modeller.topology, classical, ligand, "ani1x")

for name, system in {"all classical (AMBER)": classical, "molecule by ANI-1x": mixed}.items():
    # The molecule's hydrogens vibrate, water is rigid: 1 fs.
    simulation = app.Simulation(modeller.topology, system, openmm.LangevinMiddleIntegrator(300, 1, 0.001))
    simulation.context.setPositions(modeller.positions)
    simulation.minimizeEnergy(maxIterations=50)
    simulation.step(equilibration)
    counts = np.zeros(len(edges) - 1)
    for _ in range(frames):
        simulation.step(interval)
        state = simulation.context.getState(positions=True)
        x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        box = np.diag(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer))
        offsets = x[carbonyls][:, None] - x[water]
        counts += np.histogram(np.linalg.norm(offsets - box * np.round(offsets / box), axis=-1), edges)[0]
    shells = 4 / 3 * np.pi * np.diff(edges**3) * len(carbonyls) * frames * len(water) / box.prod()
    pyplot.plot(10 * (edges[1:] + edges[:-1]) / 2, counts / shells, label=name)
    print(f"{name}: {counts[edges[1:] <= 0.35].sum() / frames / len(carbonyls):.2f} waters within 3.5 Angstrom of a carbonyl oxygen")

pyplot.gca().set(xlabel="distance of oxygens (Angstrom)", ylabel="g(r)", title="Water around the carbonyl groups")
pyplot.legend()
pyplot.savefig("ligand_in_water.png", dpi=150)
