# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""mlcg's own Langevin simulation of its SchNet, all replicas in one batch, as its script mlcg-nvt_langevin sets it up: on a GPU, or not.

The network alone: the priors, which ours has in a step, are left out of theirs. The time step is so short that beads stay where they are.
"""

import copy
import importlib
import time

import numpy as np

from . import devicetrace, mlcg

BATCH = 0.1  # seconds of simulation that are timed as one
TIMESTEP, BETA = 1e-6, 1.67


class Adapter(mlcg.Adapter):
    axes = ("step",)
    notes = ("steps without priors",)

    def __init__(self, options):
        super().__init__(options)
        self.device = options.get("device", "cpu")

    def _simulation(self, **options):
        module = importlib.import_module(f"{self.package}.simulation")
        # n_timesteps is not used: steps are asked for one by one. The file names stand for nothing that is written.
        name = self.job.path(f"{self.package}-simulation")
        given = {"friction": 1.0, "dt": TIMESTEP, "device": self.device, "random_seed": 1, "n_timesteps": 10, "save_interval": 10}
        return module.LangevinSimulation(**given, filename=name, **options)

    def build(self):
        torch, job = self.torch, self.job
        # As both packages' scripts have it: products of float32 matrices may use tensor cores with less precision.
        torch.set_float32_matmul_precision("high")
        model = self.model = job.model()
        network = self.nn.GradientsOut(self._schnet(), "forces")
        summed = self.nn.SumOut(torch.nn.ModuleDict({"SchNet": network}))
        n = job.numParticles // job.replicas
        x = torch.tensor(job.frames[0] / model.length, dtype=torch.float32).reshape(job.replicas, n, 3)
        types = torch.as_tensor(job.types, dtype=torch.long).reshape(job.replicas, n)
        masses = torch.as_tensor(job.masses, dtype=torch.float32).reshape(job.replicas, n)
        points = self.data.AtomicData.from_points
        molecules = [points(pos=x[r], atom_types=types[r], masses=masses[r]) for r in range(job.replicas)]
        self.simulation = self._simulation()
        self.simulation.filename = None  # or it would write the model
        self.simulation.attach_model_and_configurations(summed, molecules, [BETA] * job.replicas)
        self.simulation._set_up_simulation()
        self.state = copy.deepcopy(self.simulation.initial_data).to(self.simulation.device)
        energies, forces = self.simulation.calculate_potential_and_forces(self.state)
        self.results = energies.double().cpu().numpy().reshape(-1), forces.double().cpu().numpy()
        self.forces = forces
        self._steps(3)
        begin = time.perf_counter()
        self._steps(3)
        self.count = min(max(int(3 * BATCH / (time.perf_counter() - begin)), 1), 1000)

    def _synchronise(self):
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def _steps(self, count):
        """The body of the packages' loop, without writing."""
        for _ in range(count):
            self.state, _, self.forces = self.simulation.timestep(self.state, self.forces)
            self.state.out = {}
        self._synchronise()

    def evaluate(self):
        """What the simulation starts from."""
        energies, forces = self.results
        return energies * self.model.energy, forces * (self.model.energy / self.model.length)

    def batch(self, axis):
        return self.count

    def run(self, axis, k):
        self._steps(self.count)

    def finish(self, axis):
        if not np.isfinite(self.forces.cpu().numpy()).all():
            raise RuntimeError("the simulation that was timed ended with forces that are not finite")

    def peakDeviceMemory(self):
        """Bytes that torch's tensors took at most."""
        return self.torch.cuda.max_memory_allocated() if self.device != "cpu" else None

    def profile(self):
        """{kernel: [launches, microseconds] of a step}, or None where there is no GPU."""
        return devicetrace.profile(self.torch, lambda: self._steps(10), 10) if self.device != "cpu" else None
