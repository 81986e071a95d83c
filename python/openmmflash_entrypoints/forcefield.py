# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Entry point of openmm.app.ForceField, group openmm.forcefielddir."""

import os

from openmm.app import forcefield


def dataFolder():
    """The folder in which ForceField finds openmmflash/ani2x.xml; from now on it understands the tag <FlashModel>."""
    forcefield.parsers["FlashModel"] = _parse
    return os.path.join(os.path.dirname(__file__), "data")


def _parse(element, forceField):
    from openmmflash.forcefield import parseElement

    parseElement(element, forceField)
