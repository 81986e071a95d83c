# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""mlcg's SchNet on torch: GradientsOut(StandardSchNet), all replicas in one batch, the neighbor search inside as in mlcg.

Steps of its simulations, on a GPU: mlcgsimulation.py.

mlcg's modules import packages of its other architectures and of its training. Where one is missing, a stand-in lets the import pass
(standins.py).
"""

import importlib
import sys

import numpy as np

from . import standins
from .job import Job, importTorch

ARCHITECTURES = ("mace", "nequip", "allegro", "e3nn", "nvalchemiops")
TRAINING = ("mdtraj", "sklearn", "ruamel", "pytorch_lightning", "jsonargparse", "IPython")
# What this adapter can build; the basis is either.
WANTED = {"activation": "tanh", "readout_activation": "tanh", "basis_envelope": "cosine", "filter_envelope": "cosine"}


class Adapter:
    axes = ("total", "energy")
    package, networks = "mlcg", "nn"  # FlashMD, which was made from it, has the same classes
    notes, decoration = (), ()

    def __init__(self, options):
        self.job = Job(options)

    def load(self):
        self.torch = importTorch(self.job.threads)
        for path in reversed(self.job.options.get("path", [])):
            sys.path.insert(0, path)
        absent = standins.standIn(ARCHITECTURES + TRAINING + self.decoration)
        self.notes += tuple(f"a stand-in for {name}, which does nothing in a step" for name in self.decoration if name in absent)
        import torch_geometric

        package = importlib.import_module(self.package)
        self.data = importlib.import_module(f"{self.package}.data")
        self.nn = importlib.import_module(f"{self.package}.{self.networks}")
        versions = {self.package: getattr(package, "__version__", "source tree"), "torch": self.torch.__version__}
        return versions | {"torch_geometric": torch_geometric.__version__, "numpy": np.__version__}

    def build(self):
        torch, job = self.torch, self.job
        model = self.model = job.model()
        self.network = self.nn.GradientsOut(self._schnet(), "forces").eval().requires_grad_(False)
        self.frames = [torch.tensor(frame / model.length, dtype=torch.float32) for frame in job.frames]
        n = job.numParticles // job.replicas
        self.fields = {
            "atom_types": torch.as_tensor(job.types, dtype=torch.long),
            "batch": torch.arange(job.replicas).repeat_interleave(n),
            "n_atoms": torch.full((job.replicas,), n, dtype=torch.long),
            "ptr": torch.arange(job.replicas + 1) * n,
        }

    def _basis(self, cutoff, h, tensors):
        """The radial basis, and its part of the module's state."""
        if h["radial_basis"] == "exp_normal":
            if not hasattr(self.nn, "ExpNormalBasis"):
                raise ValueError(f"{self.package} has Gaussian functions only, and the model ExpNormal ones")
            state = {"rbf_layer.means": tensors["members.0.basis.means"], "rbf_layer.betas": tensors["members.0.basis.betas"]}
            return self.nn.ExpNormalBasis(cutoff, h["num_basis"], trainable=False), state
        coefficients = tensors["members.0.basis.coefficients"]
        if np.ptp(coefficients) != 0:
            raise ValueError(f"{self.package}'s Gaussian functions have one width; those of the model have several")
        state = {"rbf_layer.offset": tensors["members.0.basis.means"], "rbf_layer.coeff": coefficients[0]}
        return self.nn.GaussianBasis(cutoff, h["num_basis"], trainable=False), state

    def _schnet(self):
        """The package's SchNet with the model's weights."""
        torch, nn, job, model = self.torch, self.nn, self.job, self.model
        h, tensors = model.hyperparameters, model.tensors
        for key, value in WANTED.items():
            if h[key] != value:
                raise ValueError(f"this adapter builds networks with {key} {value}; the model has {h[key]}")
        readout = model.layers("members.0.readout")
        cutoff = nn.CosineCutoff(cutoff_lower=h.get("basis_lower", 0.0), cutoff_upper=h["cutoff"])
        basis, state = self._basis(cutoff, h, tensors)
        network = nn.StandardSchNet(
            basis,
            cutoff,
            [weight.shape[0] for weight, _ in readout[:-1]],
            hidden_channels=h["hidden_channels"],
            embedding_size=len(model.symbols),
            num_filters=h["num_filters"],
            num_interactions=h["num_blocks"],
            activation=torch.nn.Tanh(),
            max_num_neighbors=job.numParticles // job.replicas,
        )
        state["embedding_layer.weight"] = tensors["members.0.embedding"]
        for k in range(h["num_blocks"]):
            ours, theirs = f"members.0.blocks.{k}.", f"interaction_blocks.{k}."
            names = {"filter.0": "conv.filter_network.layers.0", "filter.1": "conv.filter_network.layers.2", "input": "conv.lin1"}
            names |= {"output.0": "conv.lin2", "output.1": "lin"}
            for name, other in names.items():
                for part in ("weight", "bias"):
                    if f"{ours}{name}.{part}" in tensors:
                        state[f"{theirs}{other}.{part}"] = tensors[f"{ours}{name}.{part}"]
        for k, (weight, bias) in enumerate(readout):
            state[f"output_network.layers.{2 * k}.weight"] = weight
            if bias is not None:
                state[f"output_network.layers.{2 * k}.bias"] = bias
        network.load_state_dict({name: torch.tensor(np.array(value), dtype=torch.float32) for name, value in state.items()})
        return network

    def _data(self, k):
        # Without lists in it: mlcg searches its neighbors anew in each evaluation.
        return self.data.AtomicData(pos=self.frames[k % len(self.frames)].clone(), **self.fields, neighbor_list={}, out={})

    def _evaluate(self, k):
        out = self.network(self._data(k)).out["SchNet"]
        return out["energy"].detach().numpy(), out["forces"].numpy()

    def evaluate(self):
        energies, forces = self._evaluate(0)
        scale = self.model.energy
        return energies.astype(np.float64) * scale, forces.astype(np.float64) * (scale / self.model.length)

    def run(self, axis, k):
        if axis == "total":
            return self._evaluate(k)
        with self.torch.no_grad():
            return self.network.model(self._data(k)).out["SchNet"]["energy"].numpy()
