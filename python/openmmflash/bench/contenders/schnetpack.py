# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""SchNetPack's SchNet: NeuralNetworkPotential with PairwiseDistances, Atomwise and Forces.

The pairs within the cutoff are given to it, as its own MD does between two updates of its list: its time has no neighbor search.
"""

import importlib
import importlib.machinery
import importlib.metadata
import sys
import types

import numpy as np

from .job import Job, importTorch
from .neighbors import directedPairs


class Adapter:
    axes = ("total",)
    notes = ("pairs are given: its time has no neighbor search",)

    def __init__(self, options):
        self.job = Job(options)

    def load(self):
        self.torch = importTorch(self.job.threads)
        found = importlib.machinery.PathFinder.find_spec("schnetpack")
        if found is None:
            raise ImportError("SchNetPack is not installed")
        # Its __init__ imports trainers, databases and an MD engine with all their requirements. An empty package in its place lets the
        # modules of the model be imported alone.
        for name, path in (
            ("schnetpack", list(found.submodule_search_locations)),
            ("schnetpack.transform", [f"{path}/transform" for path in found.submodule_search_locations]),
        ):
            module = sys.modules[name] = types.ModuleType(name)
            module.__path__ = path
        sys.modules["schnetpack"].__version__ = importlib.metadata.version("schnetpack")
        sys.modules["schnetpack"].transform = sys.modules["schnetpack.transform"]
        sys.modules["schnetpack.transform"].Transform = importlib.import_module("schnetpack.transform.base").Transform
        names = ("nn", "representation", "atomistic", "model.base")
        self.nn, self.representation, self.atomistic, self.base = (importlib.import_module(f"schnetpack.{name}") for name in names)
        return {"schnetpack": sys.modules["schnetpack"].__version__, "torch": self.torch.__version__, "numpy": np.__version__}

    def build(self):
        torch, job = self.torch, self.job
        model = self.model = job.model()
        h, tensors = model.hyperparameters, model.tensors
        wanted = {"activation": "shifted_softplus", "readout_activation": "silu", "radial_basis": "gaussian", "basis_envelope": "none"}
        wanted["filter_envelope"] = "cosine"
        for key, value in wanted.items():
            if h[key] != value:
                raise ValueError(f"this adapter builds networks with {key} {value}; the model has {h[key]}")
        readout = model.layers("members.0.readout")
        representation = self.representation.SchNet(
            n_atom_basis=h["hidden_channels"],
            n_interactions=h["num_blocks"],
            radial_basis=self.nn.GaussianRBF(h["num_basis"], h["cutoff"]),
            cutoff_fn=self.nn.CosineCutoff(h["cutoff"]),
            n_filters=h["num_filters"],
        )
        hidden = [weight.shape[0] for weight, _ in readout[:-1]]
        atomwise = self.atomistic.Atomwise(
            n_in=h["hidden_channels"], n_layers=len(readout), n_hidden=hidden, output_key="energy", activation=torch.nn.functional.silu
        )
        network = self.base.NeuralNetworkPotential(
            representation, [self.atomistic.PairwiseDistances()], [atomwise, self.atomistic.Forces()], []
        )
        embedding = np.zeros((representation.embedding.num_embeddings, h["hidden_channels"]))
        for index, entry in enumerate(model.metadata["types"]):
            embedding[entry["atomic_number"]] = tensors["members.0.embedding"][index]
        state = {"representation.embedding.weight": embedding}
        means, coefficients = tensors["members.0.basis.means"], tensors["members.0.basis.coefficients"]
        state |= {"representation.radial_basis.offsets": means, "representation.radial_basis.widths": np.sqrt(-0.5 / coefficients)}
        names = {"filter.0": "filter_network.0", "filter.1": "filter_network.1", "input": "in2f"}
        names |= {"output.0": "f2out.0", "output.1": "f2out.1"}
        for k in range(h["num_blocks"]):
            for name, other in names.items():
                for part in ("weight", "bias"):
                    key = f"members.0.blocks.{k}.{name}.{part}"
                    if key in tensors:
                        state[f"representation.interactions.{k}.{other}.{part}"] = tensors[key]
        for k, (weight, bias) in enumerate(readout):
            state[f"output_modules.0.outnet.{k}.weight"] = weight
            state[f"output_modules.0.outnet.{k}.bias"] = np.zeros(len(weight)) if bias is None else bias
        result = network.load_state_dict({name: torch.tensor(np.array(v), dtype=torch.float32) for name, v in state.items()}, strict=False)
        # Buffers that the package derives itself (its cutoff) may be absent from ours; a weight may not.
        left = [name for name in result.missing_keys if "cutoff" not in name] + result.unexpected_keys
        if left:
            raise ValueError(f"SchNetPack's network and the model file do not fit: {', '.join(left)}")
        self.network = network.eval().requires_grad_(False)
        box = None if job.box is None else job.box / model.length
        self.inputs = []
        for frame in job.frames:
            i, j, shifts = directedPairs(frame / model.length, h["cutoff"], box)
            self.inputs.append(
                {
                    "_atomic_numbers": torch.as_tensor(job.numbers, dtype=torch.long),
                    "_positions": torch.tensor(frame / model.length, dtype=torch.float32),
                    "_idx_i": torch.as_tensor(i),
                    "_idx_j": torch.as_tensor(j),
                    "_offsets": torch.tensor(shifts, dtype=torch.float32),
                    "_idx_m": torch.zeros(job.numParticles, dtype=torch.long),
                    "_n_atoms": torch.tensor([job.numParticles]),
                }
            )

    def run(self, axis, k):
        result = self.network(dict(self.inputs[k % len(self.inputs)]))
        return result["energy"].detach().numpy(), result["forces"].detach().numpy()

    def evaluate(self):
        energy, forces = self.run("total", 0)
        scale = self.model.energy
        return energy.reshape(-1).astype(np.float64) * scale, forces.astype(np.float64) * (scale / self.model.length)
