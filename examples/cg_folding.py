# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Folding of chignolin by replica exchange, with a trained C-alpha model of mlcg: cg_folding.py [MODEL] [--short]

MODEL is mlcg's schnet_cln_ca_specialized_model_and_config.pt; by default the one in the folder OPENMMFLASH_SHARED. Draws cg_folding.png.
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
    report = openmmflash.convert.convert(arguments.model, pathlib.Path(folder, "cln.safetensors"), check=False, quiet=True)
    model, structure = openmmflash.loadModel(report.path), openmmflash.readStructure(report.files[0])
temperatures = openmmflash.exchange.geometricLadder(300, 500, 8)
system = openmmflash.createSystem(structure, model, replicas=8)
integrator = openmmflash.ReplicaLangevinIntegrator(temperatures, 1, 0.004, structure.numParticles)
context = openmm.Context(system, integrator, openmm.Platform.getPlatform("CPU"))
context.setPositions(openmmflash.tilePositions(structure.positions, 8))
exchange = openmmflash.ReplicaExchange(context, temperatures, seed=1)
exchange.setVelocities(seed=2)
exchange.run(equilibration, 50)
distances, walks = np.zeros((sweeps, 8)), np.zeros((sweeps, 8), dtype=int)


def record(exchange, sweep):
    """Before each sweep: the distance from end to end of each replica, at its rung of the ladder."""
    beads = context.getState(positions=True).getPositions(asNumpy=True)._value.reshape(8, -1, 3)
    walks[sweep] = exchange.ladder.rungs
    distances[sweep, walks[sweep]] = np.linalg.norm(beads[:, 0] - beads[:, -1], axis=1)


exchange.run(sweeps, 50, record)
print("accepted between neighbours:", np.round(exchange.ladder.acceptance(), 2), "round trips:", exchange.ladder.roundTrips.sum())
figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
for rung in (0, 4, 7):
    left.hist(distances[:, rung], np.linspace(0.3, 3, 55), density=True, histtype="step", label=f"{temperatures[rung]:.0f} K")
left.set(xlabel="first to last C-alpha (nm)", ylabel="density")
left.legend()
right.plot(np.arange(min(sweeps, 400)) * 0.2, walks[:400, :2], drawstyle="steps-post")
right.set(xlabel="time (ps)", ylabel="rung of two replicas (0: 300 K, 7: 500 K)")
figure.savefig("cg_folding.png", dpi=150)
