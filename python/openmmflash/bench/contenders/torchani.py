# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""TorchANI 2.2 and 2.9: a molecule's energy and its gradient by autograd, as their own calculators do it.

The modules are the packages' own, built by their public constructors and filled with the model file's weights. The neighbor search is
inside, as in both packages. The compared energy leaves out the self energies, whose size would hide everything else in single precision.
"""

import numpy as np

from . import devicetrace
from .job import Job, importTorch


class Adapter:
    """Options: kind ("plain", "infer"); of 2.9 neighborlist; on a GPU device ("cuda") and compiled, which takes the extension for AEVs."""

    axes = ("total", "energy", "descriptor", "networks")

    def __init__(self, options):
        self.job = Job(options)
        self.kind, self.device = options.get("kind", "plain"), options.get("device", "cpu")
        self.compiled = options.get("compiled", False)

    def load(self):
        self.torch = importTorch(self.job.threads)
        if self.kind == "infer" and not self.torch.cuda.is_available():
            # The model for inference marks ranges for NVIDIA's profiler, which a torch without CUDA refuses.
            nvtx = self.torch.cuda.nvtx
            nvtx.range_push = nvtx.range_pop = nvtx.mark = lambda *arguments: None
        import torchani

        self.torchani = torchani
        self.new = hasattr(torchani, "arch") or not torchani.__version__.startswith("2.2")
        return {"torchani": torchani.__version__, "torch": self.torch.__version__, "numpy": np.__version__}

    def build(self):
        torch, model, job = self.torch, self.job.model(), self.job
        self.model = model
        self.species = torch.as_tensor(job.types, dtype=torch.long, device=self.device)[None]
        self.frames = [torch.tensor(frame[None] / model.length, dtype=torch.float32, device=self.device) for frame in job.frames]
        self.cell = self.pbc = None
        if job.box is not None:
            self.cell = torch.diag(torch.tensor(job.box / model.length, dtype=torch.float32, device=self.device))
            self.pbc = torch.ones(3, dtype=torch.bool, device=self.device)
        tensors = {name[4:]: value for name, value in model.tensors.items() if name.startswith("aev.")}
        parts = (self._new if self.new else self._old)(model, tensors)
        self.aev, self.networks, self.shifter = (part.to(self.device) for part in parts)
        self.aevs = None

    def _networks(self, model, make, container):
        members = [f"members.{k}.networks." for k in range(model.members)]
        return [container({name: make(model.layers(prefix + name)) for name in model.symbols}) for prefix in members]

    def _linear(self, weight, bias):
        torch = self.torch
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        layer.weight.data = torch.tensor(weight, dtype=torch.float32)
        if bias is not None:
            layer.bias.data = torch.tensor(bias, dtype=torch.float32)
        return layer

    def _old(self, model, tensors):
        torch, torchani = self.torch, self.torchani
        f = {name: torch.tensor(np.array(value), dtype=torch.float32) for name, value in tensors.items()}
        h = model.hyperparameters
        aev = torchani.AEVComputer(
            h["radial_cutoff"],
            h["angular_cutoff"],
            f["radial.eta"],
            f["radial.shift"],
            f["angular.eta"],
            f["angular.zeta"],
            f["angular.shift"],
            f["angular.theta"],
            len(model.symbols),
            **({"use_cuda_extension": True} if self.compiled else {}),
        )

        def network(layers):
            modules = []
            for weight, bias in layers:
                modules += [self._linear(weight, bias), torch.nn.CELU(h["celu_alpha"])]
            return torch.nn.Sequential(*modules[:-1])

        from collections import OrderedDict

        members = self._networks(model, network, lambda atomic: torchani.ANIModel(OrderedDict(atomic)))
        networks = torchani.nn.Ensemble(members) if len(members) > 1 else members[0]
        networks.requires_grad_(False)
        shifter = torchani.EnergyShifter(model.tensors["type_energies"].tolist())
        return aev, networks, shifter

    def _new(self, model, tensors):
        import torchani.aev
        import torchani.nn
        import torchani.sae

        h = model.hyperparameters
        for name in ("radial.eta", "angular.eta", "angular.zeta"):
            if len(tensors[name]) != 1:
                raise ValueError(f"TorchANI 2.9's own terms have one {name}; the model has {len(tensors[name])}")
        if h["celu_alpha"] != 0.1:
            raise ValueError(f"TorchANI 2.9's CELU has alpha 0.1; the model has {h['celu_alpha']}")
        eta = float(tensors["radial.eta"][0])
        radial = torchani.aev.ANIRadial(eta=eta, shifts=tensors["radial.shift"].tolist(), cutoff=h["radial_cutoff"])
        angular = torchani.aev.ANIAngular(
            eta=float(tensors["angular.eta"][0]),
            zeta=float(tensors["angular.zeta"][0]),
            shifts=tensors["angular.shift"].tolist(),
            sections=tensors["angular.theta"].tolist(),
            cutoff=h["angular_cutoff"],
        )
        neighborlist = self.job.options.get("neighborlist", "all_pairs")
        options = {"strategy": "cuaev" if self.compiled else "pyaev", "cutoff_fn": "cosine", "neighborlist": neighborlist}
        aev = torchani.aev.AEVComputer(radial, angular, len(model.symbols), **options)

        def network(layers):
            dims = [layers[0][0].shape[1], *(weight.shape[0] for weight, _ in layers)]
            atomic = torchani.nn.AtomicNetwork(dims, activation=torchani.nn.TightCELU(), bias=layers[0][1] is not None)
            for k, (weight, bias) in enumerate(layers):
                made = self._linear(weight, bias)
                if k < len(layers) - 1:
                    atomic.layers[k] = made
                else:
                    atomic.final_layer = made
            return atomic

        members = self._networks(model, network, torchani.nn.ANINetworks)
        networks = torchani.nn.Ensemble(members) if len(members) > 1 else members[0]
        networks.requires_grad_(False)
        if self.kind == "infer":
            networks = networks.to_infer_model()
        shifter = torchani.sae.SelfEnergy(model.symbols, model.tensors["type_energies"].tolist())
        return aev, networks, shifter

    def _descriptor(self, x):
        if self.new:
            return self.aev(self.species, x, self.cell, self.pbc)
        return self.aev((self.species, x), cell=self.cell, pbc=self.pbc)[1]

    def _evaluateNetworks(self, aevs):
        return self.networks(self.species, aevs) if self.new else self.networks((self.species, aevs))[1]

    def _energy(self, x):
        """What the package's user computes: self energies included."""
        energy = self._evaluateNetworks(self._descriptor(x))
        return energy + self.shifter(self.species) if self.new else self.shifter((self.species, energy))[1]

    def evaluate(self):
        x = self.frames[0].clone().requires_grad_(True)
        energy = self._evaluateNetworks(self._descriptor(x))
        gradient = self.torch.autograd.grad(energy.sum(), x)[0]
        scale = self.model.energy
        forces = -gradient[0].cpu().numpy().astype(np.float64) * (scale / self.model.length)
        return energy.detach().cpu().numpy().astype(np.float64) * scale, forces

    def prepare(self, axis):
        if axis == "networks":
            with self.torch.no_grad():
                self.aevs = self._descriptor(self.frames[0])

    def finish(self, axis):
        self.aevs = None

    def run(self, axis, k):
        x = self.frames[k % len(self.frames)]
        if axis == "total":
            x = x.clone().requires_grad_(True)
            return self.torch.autograd.grad(self._energy(x).sum(), x)[0].cpu().numpy()
        with self.torch.no_grad():
            if axis == "energy":
                return self._energy(x).cpu().numpy()
            return (self._descriptor(x) if axis == "descriptor" else self._evaluateNetworks(self.aevs)).cpu().numpy()

    def peakDeviceMemory(self):
        """Bytes that torch's tensors took at most."""
        return self.torch.cuda.max_memory_allocated() if self.device != "cpu" else None

    def profile(self):
        """{kernel: [launches, microseconds] of an evaluation}, or None where there is no GPU."""
        return devicetrace.profile(self.torch, lambda: self.run("total", 0), 1, runs=5) if self.device != "cpu" else None
