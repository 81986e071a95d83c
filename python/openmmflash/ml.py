# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""OpenMM-ML's potentials that this package implements (docs/openmm-ml.md); OpenMM-ML loads them through an entry point.

potential = openmmml.MLPotential("ani2x-flash")
system = potential.createSystem(topology)
system = potential.createMixedSystem(topology, mmSystem, atoms, interpolate=True)
"""

from openmmml.mlpotential import MLPotentialImpl

from .mixed import addSubsetForces, checkedAtoms
from .models import loadModel
from .structure import topologyBox
from .system import _asStructure, _groups, _masses, _moleculeForce, addModelForces, asModel, warnOfPlaceholder

SUFFIX = "-flash"
# What OpenMM-ML hands on of the arguments of createMixedSystem, for its own use.
EMBEDDING_ARGUMENTS = {"linkAtomDistances", "mlLongRange"}


class FlashPotentialImpl(MLPotentialImpl):
    """A model of this package as a potential function.

    Parameters
    ----------
    name : str
        "ani1x-flash", "ani1ccx-flash", "ani2x-flash", or "flash" for a model file.
    modelPath : path or str or FlashModel, optional
        With the name "flash": the model file, or a model's name.
    """

    def __init__(self, name, modelPath=None, **args):
        _refuseArguments(args, "MLPotential", "modelPath, with the name 'flash'")
        self.name, self.modelPath = name, modelPath
        if (name == SUFFIX[1:]) != (modelPath is not None):
            raise ValueError(
                "MLPotential('flash', modelPath=...) needs the path of a model file."
                if modelPath is None
                else f"MLPotential({name!r}) is a known model and has no modelPath; MLPotential('flash', modelPath=...) loads a file."
            )
        self._models = {}
        self._model(None)

    def addForces(self, topology, system, atoms, forceGroup, modelIndex=None, **args):
        """Called by OpenMM-ML. modelIndex: the network of the ensemble to use, of a known model; by default all of them."""
        _refuseArguments(args.keys() - EMBEDDING_ARGUMENTS, "createSystem and createMixedSystem", "modelIndex")
        model = self._model(modelIndex)
        # As OpenMM-ML's own potentials: for interpolation the System given here is an empty one, which knows nothing.
        periodic = topologyBox(topology) is not None or system.usesPeriodicBoundaryConditions()
        if not periodic:
            warnOfPlaceholder(topology, 4)
        if atoms is not None:
            addSubsetForces(system, topology, model, checkedAtoms(atoms, topology.getNumAtoms()), periodic, forceGroup)
            return
        structure, isAtoms = _asStructure(topology, model)
        types = structure.getTypes(model)
        if not isAtoms and system.getNumParticles() == structure.numParticles:
            # Beads, which OpenMM-ML has given the mass of the element that they are called by.
            for i, mass in enumerate(_masses(structure, model, types, None).tolist()):
                system.setParticleMass(i, mass)
        before = system.getNumForces()
        addModelForces(system, structure, model, types, _groups(structure, "auto"), 1, periodic, True)
        if periodic and topology.getNumBonds():
            system.addForce(_moleculeForce(topology, structure.numParticles, 1))
        for force in system.getForces()[before:]:
            force.setForceGroup(forceGroup)

    def getMLLongRange(self):
        return False

    def _model(self, modelIndex):
        if modelIndex not in self._models:
            if self.modelPath is None:
                members = None if modelIndex is None else [modelIndex]
                self._models[modelIndex] = loadModel(self.name.removesuffix(SUFFIX), members)
            elif modelIndex is None:
                self._models[modelIndex] = asModel(self.modelPath)
            else:
                raise ValueError(f"modelIndex is {modelIndex}, but this model is a file: choose its networks when converting it.")
        return self._models[modelIndex]


def _refuseArguments(names, where, allowed):
    if names:
        hint = " The model runs where the Context's Platform does." if "device" in names else ""
        raise ValueError(f"{where} got {', '.join(sorted(names))}, which this potential does not have; it has {allowed}.{hint}")
