# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Compare a converted model with mlcg itself, in double precision."""

import contextlib
import copy
import io
import os

import numpy as np

from ..structurefile import readStructure
from ._report import compare

TOLERANCE = 1e-6  # far above the rounding of either program, far below what a wrong term gives


def checkMlcg(parts, report, places):
    """Fill in the report's comparison of energy and forces with mlcg on all structures.

    The originals are unpickled by torch here. That is done only for files that the restricted reader has read before, and only where mlcg
    can be imported.

    Parameters
    ----------
    parts : _Parts
        `given` has the sources by their role.
    report : ConversionReport
    places : list of (int, int)
        Structure file and frame of each of mlcg's structures.

    Raises
    ------
    ConversionError
        They do not agree.
    """
    if not places:
        report.check = "not compared with mlcg: there are no structures to compare on"
        return
    from openmmflash import FlashModel

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # mlcg prints at import
            import mlcg.nn  # noqa: F401
            import torch
    except Exception as error:  # whatever the many packages that mlcg imports may raise
        report.check = f"not compared with mlcg, which cannot be imported ({type(error).__name__}: {error})"
        return
    model = FlashModel(report.path)
    try:
        theirs = _theirs(torch, parts.given, model.getLengthUnit(), model.getEnergyUnit())
    except Exception as error:  # mlcg could be imported but not run: a package that it needs is missing or too new
        report.check = f"not compared with mlcg, which failed ({type(error).__name__}: {error})"
        return
    compare(report, f"mlcg on {len(places)} structures", _ours(model, report.files, places), theirs, TOLERANCE)


def _ours(model, files, places):
    """Energy (kJ/mol) and forces [particles of all structures, 3] (kJ/mol/nm) of the converted model."""
    import openmm as mm

    from ..system import createSystem

    molecules = [readStructure(path) for path in files]
    contexts, energy, forces = {}, 0.0, []
    for number, frame in places:
        if number not in contexts:
            molecule = molecules[number]
            system = createSystem(molecule, model, removeCMMotion=False, masses=np.ones(molecule.numParticles))
            contexts[number] = mm.Context(system, mm.VerletIntegrator(0.001), mm.Platform.getPlatformByName("Reference"))
        contexts[number].setPositions(molecules[number].getPositions(frame))
        state = contexts[number].getState(energy=True, forces=True)
        energy += state.getPotentialEnergy()._value
        forces.append(state.getForces(asNumpy=True)._value)
    return energy, np.concatenate(forces)


def _theirs(torch, given, lengthUnit, energyUnit):
    """The same of mlcg's model, whose units (in nm and kJ/mol) are given."""
    from mlcg.data import AtomicData
    from mlcg.nn import SchNet, SumOut, refresh_module_
    from mlcg.nn.utils import desparsify_prior_module
    from torch_geometric.data.collate import collate

    def load(role):
        value = given.get(role)
        return torch.load(value, map_location="cpu", weights_only=False) if isinstance(value, (str, os.PathLike)) else copy.deepcopy(value)

    model, items = load("model"), None
    if isinstance(model, (tuple, list)):
        model, items = model
    elif isinstance(model, dict):
        state, model = model["state_dict"], model["hyper_parameters"]["model"]
        model.load_state_dict({key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")})
    parts = dict(model.models.items()) if isinstance(model, SumOut) else {model.name: model}
    if "priors" in given:
        parts.update(load("priors").items())
    if "structures" in given:
        items = load("structures")
    batch, _, _ = collate(AtomicData, data_list=items, increment=True, add_batch=True)
    batch.pos = batch.pos.double()
    # One by one: mlcg's own sum fails where a prior has no terms in some structures.
    energy, forces = 0.0, torch.zeros_like(batch.pos)
    for name, part in parts.items():
        if not type(part.model).__name__.startswith("Static"):  # those are dense, and not what this function takes them for
            desparsify_prior_module(part.model)
        refresh_module_(part, SchNet)  # layers stored by an older torch_geometric lack attributes of the present one
        out = part.double().eval()(batch).out[part.name]
        if name not in batch.neighbor_list or len(batch.neighbor_list[name]["mapping_batch"]):
            energy += float(out["energy"].detach().sum())
            forces += out["forces"].detach()
    return energy * energyUnit, forces.numpy() * (energyUnit / lengthUnit)
