# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Which OpenMM platforms there are, and which of them can evaluate a FlashForce here."""

from ._app import UserError


def platforms():
    """OpenMM's platforms, the fastest first."""
    from openmm import Platform

    found = [Platform.getPlatform(i) for i in range(Platform.getNumPlatforms())]
    return sorted(found, key=lambda platform: -platform.getSpeed())


def tinyModel():
    """A model of one particle type, without blocks: enough to ask a platform whether it has our kernels."""
    import numpy as np

    from .. import FlashModel
    from ..convert._writer import modelBytes

    hyperparameters = {"cutoff": 1.0, "num_blocks": 0, "hidden_channels": 1, "num_filters": 1, "num_basis": 2, "activation": "tanh"}
    hyperparameters |= {"readout_activation": "tanh", "radial_basis": "gaussian", "basis_envelope": "none", "filter_envelope": "cosine"}
    tensors = {
        "members.0.embedding": np.ones((1, 1)),
        "members.0.basis.means": np.array([0.0, 1.0]),
        "members.0.basis.coefficients": np.array([-1.0, -1.0]),
        "members.0.readout.0.weight": np.ones((1, 1)),
    }
    metadata = {"architecture": "schnet", "name": "probe", "length_unit": "nm", "energy_unit": "kJ/mol"}
    metadata |= {"types": [{"name": "X"}], "hyperparameters": hyperparameters}
    return FlashModel.fromBytes(modelBytes(metadata, tensors))


def isProcessor(platform):
    """Whether the platform's device is a processor that an OpenCL library drives: OpenMM's CPU platform is much faster there."""
    import openmm

    if platform.getName() != "OpenCL":
        return False
    system = openmm.System()
    system.addParticle(1.0)
    try:
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    except openmm.OpenMMException:
        return False  # why, whyNot() tells
    library, device = (platform.getPropertyValue(context, name) for name in ("OpenCLPlatformName", "DeviceName"))
    return "Portable Computing Language" in library or "CPU" in device


def whyNot(platform):
    """None where the platform evaluates a FlashForce, else its reason."""
    import openmm

    from .. import FlashForce

    system = openmm.System()
    for _ in range(3):  # PoCL crashes on OpenMM's kinetic energy of a single one
        system.addParticle(1.0)
    force = FlashForce(tinyModel())
    force.addParticle(0, 0, 0)
    system.addForce(force)
    try:
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        context.setPositions([openmm.Vec3(i, 0, 0) for i in range(3)])
        energy = context.getState(energy=True).getPotentialEnergy()._value
    except Exception as error:
        return " ".join(str(error).split())
    return None if energy == 1.0 else f"the probe's energy is {energy} kJ/mol, not 1"


def choosePlatform(name=None, threads=None):
    """The platform of a Context and its properties: without a name the fastest, where OpenCL on a processor comes last.

    Raises
    ------
    UserError
        No such platform, a platform that cannot evaluate a FlashForce, or threads for one that has none.
    """
    available = platforms()
    if name is None:
        chosen = None
        for platform in sorted(available, key=isProcessor):
            reason = whyNot(platform)
            if reason is None:
                chosen = platform
                break
            # A slower platform is no answer to a wrong setting.
            if "environment variable OPENMMFLASH_" in reason:
                raise UserError(f"Platform {platform.getName()} cannot evaluate a FlashForce: {reason}.")
        if chosen is None:
            raise UserError("No OpenMM platform can evaluate a FlashForce here. `openmm-flash diagnose` says why.")
    else:
        matching = [platform for platform in available if platform.getName().lower() == name.lower()]
        names = ", ".join(platform.getName() for platform in available)
        if not matching:
            raise UserError(f"There is no platform {name!r}; here are {names}. `openmm-flash diagnose` says why others are missing.")
        chosen = matching[0]
        reason = whyNot(chosen)
        if reason is not None:
            usable = [platform.getName() for platform in available if platform is not chosen and whyNot(platform) is None]
            raise UserError(
                f"Platform {chosen.getName()} cannot evaluate a FlashForce: {reason}. Usable here: {', '.join(usable) or 'none'}."
            )
    properties = {}
    if threads is not None:
        if chosen.getName() != "CPU":
            raise UserError(f"--threads {threads}: platform {chosen.getName()} has no threads to set; only CPU has.")
        properties["Threads"] = str(threads)
    return chosen, properties
