# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""OpenMM-Flash: machine-learned force fields for OpenMM as native forces.

    import openmmflash
    system = openmmflash.createSystem(topology, "ani1x")

Importing this package needs OpenMM and numpy, nothing else.
"""

import importlib
import importlib.metadata
import pathlib

import openmm

from .flash import FlashForce, FlashModel

__version__ = importlib.metadata.version("openmm-flash")
# Loaded on first use, so that importing the package stays light: name -> module.
_LAZY = {
    "ReplicaEnergies": "replicas",
    "ReplicaExchange": "exchange",
    "ReplicaLangevinIntegrator": "replicas",
    "checkReplicas": "replicas",
    "coarseGrain": "coarsegrain",
    "convert": "convert",
    "createMixedSystem": "mixed",
    "createSystem": "system",
    "ensemble": "ensemble",
    "findModel": "models",
    "loadModel": "models",
    "priors": "priors",
    "readStructure": "structurefile",
    "structureFromTopology": "coarsegrain",
    "tilePositions": "system",
    "tileTopology": "system",
    "writeForceField": "forcefield",
    "writeStructure": "structurefile",
}
__all__ = ["FlashForce", "FlashModel", *_LAZY]


def _loadPlugins():
    """OpenMM's wheel loads our plugins with its own, from its folder. An OpenMM from elsewhere, or with OPENMM_PLUGIN_DIR set, does not."""
    folder = pathlib.Path(__file__).resolve().parent.parent / "OpenMM.libs" / "lib" / "plugins"
    if not openmm.Platform.getPlatform("Reference").supportsKernels(["CalcFlashForce"]) and folder.is_dir():
        openmm.Platform.loadPluginsFromDirectory(str(folder))


_loadPlugins()


def __getattr__(name):
    if name in _LAZY.values():
        return importlib.import_module("." + name, __name__)
    if name in _LAZY:
        return getattr(importlib.import_module("." + _LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
