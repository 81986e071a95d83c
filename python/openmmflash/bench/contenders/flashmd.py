# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""FlashMD's Langevin simulation: mlcg's, with Triton kernels, half weights (W16A16) and torch.compile, which are its defaults.

The option "optimized": False is its --disable_optim. Without a GPU there are no kernels and no half weights, and it is that.
"""

import os

from . import mlcgsimulation

SWITCHES = ("TRITON_MESSAGE_PASSING", "FUSED_RBF", "FUSED_TANH_LINEAR", "CSR", "SRC_CSR_GRAD_X")


class Adapter(mlcgsimulation.Adapter):
    package, networks = "flashmd", "models"
    decoration = ("nvtx", "loguru")  # ranges for NVIDIA's profiler, messages

    def load(self):
        self.optimized = self.job.options.get("optimized", True) and self.device != "cpu"
        if not self.optimized:
            os.environ |= {f"MLCG_USE_{name}": "0" for name in SWITCHES}  # read when it is imported
        return super().load()

    def _simulation(self, **options):
        if not self.optimized:
            options |= {"compile_model": False, "gptq": None}
        return super()._simulation(output_dir=self.job.folder, **options)

    def build(self):
        if not self.device.startswith("cuda") and self.device != "cpu":
            raise ValueError(f"FlashMD runs on CUDA; the device is {self.device}")
        super().build()
