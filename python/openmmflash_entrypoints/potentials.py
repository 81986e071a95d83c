# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Entry points of OpenMM-ML, group openmmml.potentials."""

from openmmml.mlpotential import MLPotentialImplFactory


class FlashPotentialImplFactory(MLPotentialImplFactory):
    """Makes the implementations of MLPotential("ani2x-flash") and so on, see openmmflash.ml."""

    def createImpl(self, name, **args):
        from openmmflash.ml import FlashPotentialImpl

        return FlashPotentialImpl(name, **args)
