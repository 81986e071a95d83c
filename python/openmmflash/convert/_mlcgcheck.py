# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Compare a converted model with mlcg itself, in double precision."""

import contextlib
import copy
import io

import numpy as np

from ._mlcgpriors import READERS, STATIC
from ._mlcgstructures import fieldsOf
from ._moduletree import revive, revived
from ._report import compare, originalsFailure

TOLERANCE = 1e-6  # far above the rounding of either program, far below what a wrong term gives
FIELDS = ("pos", "atom_types", "n_atoms", "neighbor_list", "cell", "pbc")  # of a structure, that its energy depends on
_FILES = {  # mlcg's modules of priors
    "harmonic": ("Harmonic", "General", "Shifted"),
    "repulsion": ("Repulsion", "CutoffRepulsion", "ExpRepulsion", "CutoffExpRepulsion"),
    "fourier_series": ("Dihedral",),
    "polynomial": ("Quartic",),
    "restricted_bending": ("Restricted",),
}
CLASSES = (
    *(f"mlcg.nn.schnet.{name}" for name in ("StandardSchNet", "SchNet", "InteractionBlock", "CFConv")),
    *(f"mlcg.nn.cutoff.{name}" for name in ("CosineCutoff", "IdentityCutoff")),
    *(f"mlcg.nn.radial_basis.exp_normal.{name}" for name in ("ExpNormalBasis", "ExtendedExpNormalBasis")),
    *("mlcg.nn.radial_basis.gaussian.GaussianBasis", "mlcg.nn.mlp.MLP", "torch_geometric.nn.aggr.basic.SumAggregation"),
    *(f"mlcg.nn.prior.{file}.{name}" for name in READERS for file, starts in _FILES.items() if name.startswith(starts)),
    *(f"mlcg.nn.prior.{name}" for name in READERS),  # before mlcg's priors were a package
    *(f"mlcg.simulation.specialize_prior.{name}" for name in sorted(STATIC)),
)


def checkMlcg(parts, report, data, molecules, places):
    """Fill in the report's comparison of energy and forces with mlcg on all structures.

    Parameters
    ----------
    parts : _Parts
        The networks, priors and structures, live or as loadTorchFile gave them; what was stored is rebuilt, and nothing of it executed.
    report : ConversionReport
    data : bytes
        The model file.
    molecules : list of Structure
    places : list of (int, int)
        Structure and frame of each of mlcg's structures.

    Raises
    ------
    ConversionError
        They do not agree, or mlcg fails.
    """
    if not places:
        report.check = "not compared with mlcg: there are no structures to compare on"
        return
    from openmmflash import FlashModel

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # mlcg prints at import
            import mlcg.nn  # noqa: F401
            import torch
    except ImportError as error:
        report.check = f"not compared with mlcg, which cannot be imported ({error})"
        return
    model = FlashModel.fromBytes(data)
    with originalsFailure("mlcg"):
        theirs = _theirs(torch, parts, model.getLengthUnit(), model.getEnergyUnit())
    compare(report, f"mlcg on {len(places)} structures", _ours(model, molecules, places), theirs, TOLERANCE)


def _ours(model, molecules, places):
    """Energy (kJ/mol) and forces [particles of all structures, 3] (kJ/mol/nm) of the converted model."""
    import openmm as mm

    from ..system import createSystem

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


def _theirs(torch, parts, lengthUnit, energyUnit):
    """The same of mlcg's model, whose units (in nm and kJ/mol) are given."""
    from mlcg.data import AtomicData
    from mlcg.nn import SchNet, refresh_module_
    from torch_geometric.data.collate import collate

    items = []
    for item in parts.structures:
        content = copy.deepcopy(revived(torch, {key: fieldsOf(item).get(key) for key in FIELDS}, ()))
        items.append(AtomicData(**{key: value for key, value in content.items() if value is not None}))
    batch, _, _ = collate(AtomicData, data_list=items, increment=True, add_batch=True)
    batch.pos = batch.pos.double()
    if batch.get("cell") is not None:
        batch.cell = batch.cell.double()
    # One by one: mlcg's own sum fails where a prior has no terms in some structures.
    energy, forces = 0.0, torch.zeros_like(batch.pos)
    for name, module in (parts.networks | parts.priors).items():
        part = torch.nn.ModuleDict({"model": revive(torch, module, {}, "mlcg", CLASSES)})
        refresh_module_(part, SchNet)  # layers stored by an older torch_geometric lack attributes of the present one
        part = part["model"].double().eval()
        for key, buffer in part.named_buffers():
            if buffer.is_sparse:
                part.register_buffer(key, buffer.to_dense())
        batch.pos.requires_grad_(True)
        found = part(batch).out[part.name]["energy"].sum()
        if name not in batch.neighbor_list or len(batch.neighbor_list[name]["mapping_batch"]):
            forces -= torch.autograd.grad(found, batch.pos)[0]
            energy += float(found.detach())
        batch.pos = batch.pos.detach()
    return energy * energyUnit, forces.numpy() * (energyUnit / lengthUnit)
