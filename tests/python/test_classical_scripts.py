# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Scripts for classical force fields, as in OpenMM's user guide and cookbook, run with a model when the line of the force field changes.

Each is written with the calls of the published one (simulatePdb.py; "Writing Custom Integrators", velocity Verlet with constraints;
metadynamics of the alanine dipeptide), shorter in steps alone, and runs as a program of its own, classical and with the model.
"""

import os
import subprocess
import sys

import numpy as np
import pytest
from mixed_cases import needs, solvatedPeptide
from openmm import app, unit

HEAD = """
from openmm.app import *
from openmm import *
from openmm.unit import *
from sys import stdout

pdb = PDBFile('input.pdb')
forcefield = ForceField('amber14-all.xml', 'amber14/tip3pfb.xml')
"""

SIMULATE_PDB = (
    HEAD
    + """
system = forcefield.createSystem(pdb.topology, nonbondedMethod=PME, nonbondedCutoff=1*nanometer, constraints=HBonds)
integrator = LangevinMiddleIntegrator(300*kelvin, 1/picosecond, 0.004*picoseconds)
simulation = Simulation(pdb.topology, system, integrator)
simulation.context.setPositions(pdb.positions)
simulation.minimizeEnergy(maxIterations=20)
simulation.reporters.append(DCDReporter('output.dcd', 20))
simulation.reporters.append(StateDataReporter('output.csv', 20, step=True, potentialEnergy=True, temperature=True))
simulation.step(100)
"""
)

CUSTOM_INTEGRATOR = (
    HEAD
    + """
system = forcefield.createSystem(pdb.topology, nonbondedMethod=CutoffNonPeriodic, nonbondedCutoff=1*nanometer, constraints=HBonds,
        rigidWater=True, hydrogenMass=2*amu, removeCMMotion=False)
integrator = CustomIntegrator(0.002)
integrator.addPerDofVariable("x1", 0)
integrator.addUpdateContextState()
integrator.addComputePerDof("v", "v+0.5*dt*f/m")
integrator.addComputePerDof("x", "x+dt*v")
integrator.addComputePerDof("x1", "x")
integrator.addConstrainPositions()
integrator.addComputePerDof("v", "v+0.5*dt*f/m+(x-x1)/dt")
integrator.addConstrainVelocities()
integrator.setConstraintTolerance(1e-7)
simulation = Simulation(pdb.topology, system, integrator)
simulation.context.setPositions(pdb.positions)
simulation.minimizeEnergy(maxIterations=20)
simulation.context.setVelocitiesToTemperature(100*kelvin, 1)
simulation.reporters.append(StateDataReporter('output.csv', 10, step=True, totalEnergy=True, temperature=True))
simulation.step(50)
"""
)

METADYNAMICS = (
    HEAD
    + """
system = forcefield.createSystem(pdb.topology, nonbondedMethod=NoCutoff, constraints=HBonds)
cv1 = CustomTorsionForce('theta')
cv1.addTorsion(4, 6, 8, 10)
phi = BiasVariable(cv1, -np.pi, np.pi, 0.5, True)
cv2 = CustomTorsionForce('theta')
cv2.addTorsion(6, 8, 10, 16)
psi = BiasVariable(cv2, -np.pi, np.pi, 0.5, True)
meta = Metadynamics(system, [phi, psi], 300.0*kelvin, 4.0, 1.0*kilojoules_per_mole, 10)
integrator = LangevinIntegrator(300*kelvin, 1.0/picosecond, 0.002*picoseconds)
simulation = Simulation(pdb.topology, system, integrator)
simulation.context.setPositions(pdb.positions)
simulation.minimizeEnergy(maxIterations=20)
simulation.reporters.append(StateDataReporter('output.csv', 10, step=True, potentialEnergy=True, temperature=True))
meta.step(simulation, 50)
np.save('free_energy.npy', meta.getFreeEnergy().value_in_unit(kilojoules_per_mole))
np.save('variables.npy', meta.getCollectiveVariables(simulation))
"""
).replace("from sys import stdout", "from sys import stdout\nimport numpy as np")

CLASSICAL = "ForceField('amber14-all.xml', 'amber14/tip3pfb.xml')"
MODEL = "ForceField('openmmflash/ani1x.xml')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """input.pdb: the peptide with a few molecules of water in a box."""
    needs("ani1x")
    folder = tmp_path_factory.mktemp("scripts")
    modeller = solvatedPeptide(2.2)
    peptide = np.array([p.value_in_unit(unit.nanometer) for p in modeller.positions[:22]])
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))

    def distance(residue):
        return np.linalg.norm(peptide - positions[next(residue.atoms()).index], axis=1).min()

    waters = sorted((residue for residue in modeller.topology.residues() if residue.name == "HOH"), key=distance)
    modeller.delete(waters[6:])
    with open(folder / "input.pdb", "w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    return folder


@pytest.fixture(params=[CLASSICAL, MODEL], ids=["classical", "model"])
def run(request, folder, tmp_path):
    """run(script) -> (folder of its results, the numbers of output.csv)"""

    def run(script):
        assert script.count(CLASSICAL) == 1
        (tmp_path / "input.pdb").write_bytes((folder / "input.pdb").read_bytes())
        (tmp_path / "script.py").write_text(script.replace(CLASSICAL, request.param))
        environment = {**os.environ, "OPENMM_DEFAULT_PLATFORM": "CPU"}
        result = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        rows = np.loadtxt(tmp_path / "output.csv", delimiter=",")
        assert np.isfinite(rows).all()
        assert (rows[:, 1] < -1e6).all() == (request.param == MODEL), "a model's energies are those of whole atoms"
        return tmp_path, rows

    return run


def testSimulatePdb(run):
    """An explicit box under PME, bonds to hydrogen constrained, steps of 4 fs."""
    folder, rows = run(SIMULATE_PDB)
    assert rows[:, 0].tolist() == [20, 40, 60, 80, 100]
    assert 50 < rows[-1, 2] < 400, "0.4 ps on the way from 0 K to 300 K, with a friction of 1/ps; the end fluctuates by a sixth"
    assert (folder / "output.dcd").stat().st_size > 5 * 40 * 3 * 4


def testCustomIntegrator(run):
    """Velocity Verlet with constraints keeps the total energy."""
    _, rows = run(CUSTOM_INTEGRATOR)
    assert np.ptp(rows[:, 1]) < 5, "kJ/mol, of 40 atoms"
    assert 10 < rows[:, 2].mean() < 200


def testMetadynamics(run):
    """Hills lie where the molecule is, and have the heights of well-tempered metadynamics."""
    folder, rows = run(METADYNAMICS)
    free, variables = (np.load(folder / name) for name in ("free_energy.npy", "variables.npy"))
    assert len(rows) == 5 and free.shape == (63, 63)
    psi, phi = np.linspace(-np.pi, np.pi, 63)[list(np.unravel_index(free.argmin(), free.shape))]
    distance = np.array([phi, psi]) - variables
    assert np.abs((distance + np.pi) % (2 * np.pi) - np.pi).max() < 0.5, "0.1 ps, hills with a deviation of 0.5"
    # Five hills, at the most upon each other: each is 1 kJ/mol exp(-V/(3 kT)) high, and the free energy is -4/3 of their sum V.
    highest = 0.0
    for _ in range(5):
        highest += np.exp(-highest / (3 * 8.31446e-3 * 300))
    assert -4 / 3 * highest - 0.01 < free.min() < -2 / 3 * highest
