# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""OpenMM-Flash, through OpenMM as a user has it: a Context, positions in, energy and forces out, or an integrator's steps.

"total" moves the whole system by a nanometre to and fro, so that the neighbor list is made anew in every evaluation, as it is by programs
that search in each call; "reused" only displaces it thermally, as a simulation does.
"""

import time

import numpy as np

from . import devicetrace
from .job import Job

SHIFT = 1.0  # nm, more than any skin
BATCH, MOST = 0.05, 100  # seconds of simulation that are timed as one, and steps
# A GPU works on while Python goes on: at the end of each batch it is waited for, which must not count.
DEVICES = ("CUDA", "OpenCL", "HIP")
DEVICE_BATCH, DEVICE_MOST = 0.2, 2000
PROFILED = 100  # steps in which kernels are counted, so that what they end with, a copy of velocities, counts little


class Adapter:
    axes = ("total", "reused", "energy", "step")

    def __init__(self, options):
        self.job = Job(options)

    def load(self):
        import openmm

        import openmmflash

        self.openmm, self.flash = openmm, openmmflash
        return {"openmm-flash": openmmflash.__version__, "openmm": openmm.version.version, "numpy": np.__version__}

    def _system(self, priors):
        """priors: none (the network alone), pair, or all."""
        openmm, job = self.openmm, self.job
        model = self.flash.FlashModel(job.path("model.safetensors"))
        n = job.numParticles // job.replicas
        if priors != "none":
            structure = self.flash.readStructure(job.path("structure.npz"))
            system = self.flash.createSystem(structure, model, replicas=job.replicas, removeCMMotion=False)
            keep = [i for i in range(system.getNumForces()) if priors == "all" or self.flash.FlashForce.isinstance(system.getForce(i))]
            for i in reversed(range(system.getNumForces())):
                if i not in keep:
                    system.removeForce(i)
            force = next(f for f in system.getForces() if self.flash.FlashForce.isinstance(f))
            force = self.flash.FlashForce.cast(force)
        else:
            system, force = openmm.System(), self.flash.FlashForce(model)
            for mass in job.masses:
                system.addParticle(float(mass))
            groups = np.repeat(np.arange(job.replicas), n)
            force.addParticles(list(range(job.numParticles)), [int(t) for t in job.types], [int(g) for g in groups])
            force.setUsesPairPrior(False)
            if job.box is not None:
                system.setDefaultPeriodicBoxVectors(*[openmm.Vec3(*row) for row in np.diag(job.box)])
                force.setUsesPeriodicBoundaryConditions(True)
            system.addForce(force)
        if job.options.get("precision", "single") == "half":
            force.setWeightPrecision(self.flash.FlashForce.Half)
        return system, force, model

    def build(self):
        openmm, job = self.openmm, self.job
        system, self.force, self.model = self._system(job.options["priors"])
        name = job.options["platform"]
        properties = {"Threads": str(job.threads)} if name == "CPU" else {}
        self.integrator = openmm.LangevinMiddleIntegrator(300, 1, job.options["timestep"])
        self.context = openmm.Context(system, self.integrator, openmm.Platform.getPlatform(name), properties)
        self.context.setPositions(self.job.frames[0])
        self.context.getState(energy=True, forces=True)
        begin = time.perf_counter()
        self.context.getState(energy=True, forces=True)
        self.device = name in DEVICES
        batch, most = (DEVICE_BATCH, DEVICE_MOST) if self.device else (BATCH, MOST)
        self.steps = min(max(int(batch / (time.perf_counter() - begin)), 1), most)
        shift = np.array([SHIFT, 0.0, 0.0])
        self.frames = {False: list(self.job.frames), True: [frame + shift * (k % 2) for k, frame in enumerate(self.job.frames)]}

    def evaluate(self):
        """Without type energies; per replica."""
        self.context.setPositions(self.job.frames[0])
        forces = self.context.getState(forces=True).getForces(asNumpy=True)._value
        energies = np.array(self.force.getGroupEnergies(self.context))
        constants = np.array([self.model.getTypeEnergy(int(t)) for t in self.job.types]).reshape(self.job.replicas, -1).sum(axis=1)
        return energies - constants, np.array(forces)

    def batch(self, axis):
        return self.steps if axis == "step" else 1

    def prepare(self, axis):
        if axis == "step":
            self.context.setPositions(self.job.frames[0])
            self.context.setVelocitiesToTemperature(300, 1)

    def finish(self, axis):
        if axis == "step":
            energy = self.context.getState(energy=True).getPotentialEnergy()._value
            if not np.isfinite(energy):
                raise RuntimeError(f"the simulation that was timed ended with an energy of {energy}: the time step is too long")

    def run(self, axis, k):
        if axis == "step":
            self.integrator.step(self.steps)
            return self.context.getState(velocities=True) if self.device else None
        frames = self.frames[axis != "reused"]
        self.context.setPositions(frames[k % len(frames)])
        if axis == "energy":
            return self.context.getState(energy=True).getPotentialEnergy()._value
        state = self.context.getState(energy=True, forces=True)
        return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value

    def report(self):
        """What the platform says about its evaluation, with the profile if that was switched on."""
        return self.force.getCompilationReport(self.context)

    def profile(self):
        """{kernel: [launches, microseconds] of a step}, by CUPTI through PyTorch; None where PyTorch is not there or sees no GPU."""
        try:
            import torch
        except ImportError:
            return None

        def run():
            self.integrator.step(PROFILED)
            self.context.getState(velocities=True)

        return devicetrace.profile(torch, run, PROFILED)
