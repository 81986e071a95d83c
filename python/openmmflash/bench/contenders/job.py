# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""A calculation to be measured, as the folder that the runner wrote: system.npz, model.safetensors and whatever else a case has."""

import os

import numpy as np

from .modelfile import ModelFile


class Job:
    """
    Attributes
    ----------
    frames : [frames, n, 3] positions in nm, of all replicas, which differ by thermal displacements
    types, numbers, masses : [n] the model's types, atomic numbers (0 for beads), amu
    box : [3] edges in nm, or None
    replicas : int
    options : dict
    """

    def __init__(self, options):
        self.options, self.folder = options, options["folder"]
        with np.load(os.path.join(self.folder, "system.npz")) as data:
            self.frames, self.types, self.numbers, self.masses = (data[name] for name in ("frames", "types", "numbers", "masses"))
            self.box = data.get("box")
            self.replicas = int(data["replicas"])
        self.threads = options["threads"]
        self.numParticles = self.frames.shape[1]

    def path(self, name):
        return os.path.join(self.folder, name)

    def model(self):
        return ModelFile(self.path("model.safetensors"))


def importTorch(threads):
    """torch with this number of threads."""
    import torch

    torch.set_num_threads(threads)
    return torch
