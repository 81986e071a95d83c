# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Replica exchange of a protein of C-alpha beads, with a trained model of mlcg: cg_folding.py [MODEL] [--short]

MODEL: a file of mlcg with model and structure, by default chignolin's in the folder OPENMMFLASH_SHARED. Draws cg_folding.png.
"""

import argparse
import os
import pathlib
import sys
import tempfile

import numpy as np
import openmm
from matplotlib import pyplot

import openmmflash

default = pathlib.Path(os.environ.get("OPENMMFLASH_SHARED", "shared"), "models/mlcg/schnet_cln_ca_specialized_model_and_config.pt")
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", nargs="?", type=pathlib.Path, default=default)
parser.add_argument("--short", action="store_true", help="a few steps, to see that it runs")
arguments = parser.parse_args()
if arguments.model == default and not default.exists():
    sys.exit(print(f"Skipped: there is no trained model {default}. Give the path of mlcg's file."))
sweeps, equilibration = (40, 5) if arguments.short else (4000, 200)
with tempfile.TemporaryDirectory() as folder:
    report = openmmflash.convert.convert(arguments.model, pathlib.Path(folder, "cg.safetensors"), check=False, quiet=True)
    model, structure = openmmflash.loadModel(report.path), openmmflash.readStructure(report.files[0])
temperatures = openmmflash.exchange.geometricLadder(300, 500, 8)
integrator = openmmflash.ReplicaLangevinIntegrator(temperatures, 1, 0.004, structure.numParticles)
context = openmm.Context(openmmflash.createSystem(structure, model, replicas=8), integrator, openmm.Platform.getPlatform("CPU"))
context.setPositions(openmmflash.tilePositions(structure.positions, 8))
exchange = openmmflash.ReplicaExchange(context, temperatures, seed=1)
exchange.setVelocities(seed=2)
exchange.run(equilibration, 50)
distances, energies, walks = np.zeros((sweeps, 8)), np.zeros((sweeps, 8)), np.zeros((sweeps, 8), dtype=int)


def record(exchange, sweep):
    beads = context.getState(positions=True).getPositions(asNumpy=True)._value.reshape(8, -1, 3)
    walks[sweep] = exchange.ladder.rungs
    distances[sweep, walks[sweep]] = np.linalg.norm(beads[:, 0] - beads[:, -1], axis=1)
    energies[sweep, walks[sweep]] = exchange.energies.getPotentialEnergies(beads)


exchange.run(sweeps, 50, record)
print("accepted between neighbours:", np.round(exchange.ladder.acceptance(), 2), "round trips:", exchange.ladder.roundTrips.sum())
figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for rung, temperature in list(enumerate(temperatures))[::7]:
    for values, place in ((energies, axes[0]), (distances, axes[1])):
        place.hist(values[:, rung], 50, density=True, histtype="step", label=f"{temperature:.0f} K")
axes[2].plot(np.arange(min(sweeps, 200)) * 0.2, walks[:200, :2], drawstyle="steps-post")
axes[0].set(xlabel="potential energy (kJ/mol)", ylabel="density")
axes[1].set(xlabel="first to last C-alpha (nm)")
axes[2].set(xlabel="time (ps)", ylabel="rung of two replicas (7: 500 K)")
axes[0].legend()
figure.savefig("cg_folding.png", dpi=150)
