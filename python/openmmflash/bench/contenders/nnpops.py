# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""NNPOps' AEV and its gradient on one thread, from a shared library with the C interface of docs/benchmarks.md.

NNPOps has no networks on a CPU. To compare what it computes, the networks are evaluated here with numpy, between its two parts and outside
the measured time.
"""

import ctypes

import numpy as np

from .job import Job

FLOATS = np.ctypeslib.ndpointer(np.float32, flags="C")
INTS = np.ctypeslib.ndpointer(np.int32, flags="C")


class Adapter:
    axes = ("descriptor", "descriptor+gradient")
    notes = ("AEV and its gradient alone, one thread",)

    def __init__(self, options):
        self.job = Job(options)

    def load(self):
        paths = self.job.options.get("path", [])
        if len(paths) != 1:
            raise ImportError("NNPOps is measured through a shared library: --peer-path nnpops=FILE")
        library = self.library = ctypes.CDLL(paths[0])
        library.nnpops_create.restype = ctypes.c_void_p
        f, i = ctypes.c_float, ctypes.c_int
        library.nnpops_create.argtypes = [i, i, f, f, i, INTS, i, FLOATS, i, FLOATS]
        library.nnpops_compute.argtypes = [ctypes.c_void_p, FLOATS, ctypes.c_void_p, FLOATS, FLOATS]
        library.nnpops_backprop.argtypes = [ctypes.c_void_p, FLOATS, FLOATS, FLOATS]
        library.nnpops_destroy.argtypes = [ctypes.c_void_p]
        return {"NNPOps": paths[0], "numpy": np.__version__}

    def build(self):
        job = self.job
        model = self.model = job.model()
        aev = {name[4:]: value for name, value in model.tensors.items() if name.startswith("aev.")}
        radial = np.array([(eta, shift) for eta in aev["radial.eta"] for shift in aev["radial.shift"]], dtype=np.float32)
        angular = [
            (eta, shift, zeta, theta)
            for eta in aev["angular.eta"]
            for zeta in aev["angular.zeta"]
            for shift in aev["angular.shift"]
            for theta in aev["angular.theta"]
        ]
        angular = np.array(angular, dtype=np.float32)
        n, types = job.numParticles, len(model.symbols)
        h = model.hyperparameters
        species = np.ascontiguousarray(job.types, dtype=np.int32)
        periodic = job.box is not None
        self.handle = self.library.nnpops_create(
            n, types, h["radial_cutoff"], h["angular_cutoff"], periodic, species, len(radial), radial, len(angular), angular
        )
        self.frames = [np.ascontiguousarray(frame / model.length, dtype=np.float32) for frame in job.frames]
        self.box = np.ascontiguousarray(np.diag(job.box / model.length), dtype=np.float32) if periodic else None
        self.radial = np.zeros((n, types * len(radial)), dtype=np.float32)
        self.angular = np.zeros((n, types * (types + 1) // 2 * len(angular)), dtype=np.float32)
        random = np.random.default_rng(1)
        self.upstream = [random.normal(size=a.shape).astype(np.float32) for a in (self.radial, self.angular)]
        self.gradient = np.zeros((n, 3), dtype=np.float32)

    def _compute(self, k):
        box = None if self.box is None else self.box.ctypes.data_as(ctypes.c_void_p)
        self.library.nnpops_compute(self.handle, self.frames[k % len(self.frames)], box, self.radial, self.angular)

    def run(self, axis, k):
        self._compute(k)
        if axis == "descriptor+gradient":
            self.library.nnpops_backprop(self.handle, *self.upstream, self.gradient)

    def evaluate(self):
        self._compute(0)
        energy, upstream = networks(self.model, self.job.types, np.concatenate([self.radial, self.angular], axis=1).astype(np.float64))
        split = self.radial.shape[1]
        parts = [np.ascontiguousarray(part, dtype=np.float32) for part in (upstream[:, :split], upstream[:, split:])]
        self.library.nnpops_backprop(self.handle, *parts, self.gradient)
        scale = self.model.energy
        return [energy * scale], -self.gradient.astype(np.float64) * (scale / self.model.length)


def networks(model, types, aevs):
    """(energy, its gradient [n, columns] by the AEVs): the mean over the members, no type energies, in double precision."""
    alpha = model.hyperparameters["celu_alpha"]
    energy, gradient = 0.0, np.zeros_like(aevs)
    for index, name in enumerate(model.symbols):
        rows = np.flatnonzero(np.asarray(types) == index)
        for member in range(model.members if len(rows) else 0):
            layers = model.layers(f"members.{member}.networks.{name}")
            value, slopes = aevs[rows], []
            for depth, (weight, bias) in enumerate(layers):
                value = value @ weight.T.astype(np.float64) + (0 if bias is None else bias)
                if depth < len(layers) - 1:
                    slopes.append(np.where(value > 0, 1.0, np.exp(np.minimum(value, 0) / alpha)))
                    value = np.where(value > 0, value, alpha * np.expm1(np.minimum(value, 0) / alpha))
            energy += value.sum() / model.members
            back = np.ones_like(value)
            for depth in reversed(range(len(layers))):
                if depth < len(layers) - 1:
                    back = back * slopes[depth]
                back = back @ layers[depth][0].astype(np.float64)
            gradient[rows] += back / model.members
    return energy, gradient
