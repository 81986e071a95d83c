# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""OpenMM with Amber ff14SB and GBn2 on its CPU platform: the classical force field as a yardstick. No cutoff, no constraints.

It is another potential: nothing is compared, and its time says how much slower than classical a learned force field is.
"""

from .job import Job


class Adapter:
    axes = ("total", "step")
    notes = ("another potential: nothing to compare",)

    def __init__(self, options):
        self.job = Job(options)

    def load(self):
        import openmm
        import openmm.app

        self.openmm = openmm
        return {"openmm": openmm.version.version}

    def build(self):
        openmm, app = self.openmm, self.openmm.app
        pdb = app.PDBFile(self.job.path("amber.pdb"))
        field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
        system = field.createSystem(pdb.topology, nonbondedMethod=app.NoCutoff, constraints=None, rigidWater=False)
        # 0.5 fs: the same integrator and time step as for a learned force field without constraints.
        self.integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
        platform = openmm.Platform.getPlatform("CPU")
        self.context = openmm.Context(system, self.integrator, platform, {"Threads": str(self.job.threads)})
        self.context.setPositions(pdb.positions)
        openmm.LocalEnergyMinimizer.minimize(self.context, 50, 20)
        self.start = self.context.getState(positions=True).getPositions(asNumpy=True)._value
        self.batchSize = 1 if system.getNumParticles() > 2000 else 10

    def batch(self, axis):
        return self.batchSize if axis == "step" else 1

    def prepare(self, axis):
        self.context.setPositions(self.start)
        self.context.setVelocitiesToTemperature(300, 1)

    def run(self, axis, k):
        if axis == "step":
            return self.integrator.step(self.batchSize)
        self.context.setPositions(self.start)
        state = self.context.getState(energy=True, forces=True)
        return state.getPotentialEnergy(), state.getForces(asNumpy=True)
