# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What a conversion returns, and the comparison of a converted model with its original."""

import contextlib
from dataclasses import dataclass, field

import numpy as np

from ._errors import ConversionError


class OriginalUnavailable(Exception):
    """The original cannot be run here, its package not being importable; the message says which."""


@dataclass
class ConversionReport:
    """Result of a conversion."""

    path: str  # the model file
    kind: str  # what the source was
    notes: list = field(default_factory=list)  # what a user should know about it
    files: list = field(default_factory=list)  # further files written
    check: str = "not compared with the original: the check was not asked for"
    maxForceDifference: float | None = None  # kJ/mol/nm, as rmsForce; None where the original was not run
    rmsForce: float | None = None

    def summary(self):
        lines = [f"{self.path}: converted from {self.kind}", *self.notes, *(f"also written: {file}" for file in self.files), self.check]
        return "\n".join(lines)


@contextlib.contextmanager
def originalsFailure(package):
    """Whatever the original raises while it is built or run is an error of the conversion: it says what failed, and how to do without."""
    try:
        yield
    except (ConversionError, OriginalUnavailable):
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {str(error)[:400]}"
        raise ConversionError(f"{package} failed on the original, for the comparison ({what}). check=False converts without it.") from error


def evaluate(data, types, positions):
    """Energy (kJ/mol) and forces [n, 3] (kJ/mol/nm) of a model on the Reference platform, not periodic.

    data : the model file's bytes, or its path;  types : [n];  positions : [n, 3], nm
    """
    import openmm

    from openmmflash import FlashForce, FlashModel

    system = openmm.System()
    force = FlashForce(FlashModel.fromBytes(data) if isinstance(data, bytes) else FlashModel(str(data)))
    for index, type_ in enumerate(types):
        system.addParticle(1.0)
        force.addParticle(index, int(type_), 0)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(np.asarray(positions, dtype=np.float64))
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def compare(report, original, ours, theirs, tolerance):
    """Fill in the report's comparison of (energy, forces) pairs; raise ConversionError where they differ by more than the tolerance."""
    (energy, forces), (energy0, forces0) = ours, theirs
    report.maxForceDifference = float(np.abs(forces - forces0).max())
    report.rmsForce = float(np.sqrt((forces0**2).mean()))
    differences = (
        f"largest force difference {report.maxForceDifference:.2e} kJ/mol/nm (RMS force {report.rmsForce:.4g}), "
        f"energy difference {energy - energy0:.2e} of {energy0:.9g} kJ/mol, {len(forces0)} particles"
    )
    report.check = f"compared with {original}: {differences}"
    # Written so that NaN fails.
    if not (report.maxForceDifference <= tolerance * report.rmsForce and abs(energy - energy0) <= tolerance * abs(energy0)):
        allowed = f"allowed is {tolerance:g} of the RMS force and of the energy"
        raise ConversionError(f"The converted model does not agree with {original}: {differences}; {allowed}.")
