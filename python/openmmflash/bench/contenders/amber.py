# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""OpenMM with Amber ff14SB and GBn2, on its CPU platform or a GPU's: the classical force field as a yardstick. No cutoff, no constraints.

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
        name = self.job.options.get("yardstick", "CPU")
        properties = {"Threads": str(self.job.threads)} if name == "CPU" else {}
        self.device = name != "CPU"
        self.context = openmm.Context(system, self.integrator, openmm.Platform.getPlatform(name), properties)
        self.context.setPositions(self._minimized(system, pdb.positions) if self.device else pdb.positions)
        if not self.device:
            openmm.LocalEnergyMinimizer.minimize(self.context, 50, 20)
        self.start = self.context.getState(positions=True).getPositions(asNumpy=True)._value
        self.batchSize = 500 if self.device else 1 if system.getNumParticles() > 2000 else 10

    def _minimized(self, system, positions):
        """On the CPU platform: OpenMM's minimizer crashes on PoCL, OpenCL on a processor, where GPU benchmarks are tried."""
        context = self.openmm.Context(system, self.openmm.VerletIntegrator(0.001), self.openmm.Platform.getPlatform("CPU"))
        context.setPositions(positions)
        self.openmm.LocalEnergyMinimizer.minimize(context, 50, 20)
        return context.getState(positions=True).getPositions(asNumpy=True)

    def batch(self, axis):
        return self.batchSize if axis == "step" else 1

    def prepare(self, axis):
        self.context.setPositions(self.start)
        self.context.setVelocitiesToTemperature(300, 1)

    def run(self, axis, k):
        if axis == "step":
            self.integrator.step(self.batchSize)
            return self.context.getState(velocities=True) if self.device else None
        self.context.setPositions(self.start)
        state = self.context.getState(energy=True, forces=True)
        return state.getPotentialEnergy(), state.getForces(asNumpy=True)
