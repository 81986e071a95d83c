# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Systems on which fast platforms show that no bit of their results depends on what has happened before, and what such tests compare."""

import numpy as np
import openmm
from random_models import BOXES, makeModel, makeSystem, randomPositions, randomTypes, schnetParts, toGrid

from openmmflash import FlashModel
from openmmflash.convert._writer import modelBytes

LARGE = toGrid([[2.4, 0, 0], [0.5, 2.2, 0], [-0.6, 0.7, 2.3]])


def largeModel():
    """Odd widths of more than one vector of any instruction set."""
    return FlashModel.fromBytes(modelBytes(*schnetParts(filterBias=False, repulsion=6.0, seed=11, sizes=(37, 43, 9), width=0.2)))


# name -> model, number of particles, box, number of groups. The pair priors keep particles apart, so that dynamics are stable.
CASES = {
    "schnet": (lambda: makeModel("mlcg-repulsion-cutoff"), 40, None, 1),
    "schnet in a box": (lambda: makeModel("mlcg-repulsion-cutoff"), 26, BOXES["triclinic"], 1),
    "large schnet in groups": (largeModel, 180, LARGE, 7),
    "schnet with neighbor embedding": (lambda: makeModel("torchmdnet"), 60, LARGE, 1),
    "ani": (lambda: makeModel("ani-3"), 40, None, 2),
    "ani in a box": (lambda: makeModel("ani-3"), 150, LARGE, 1),
}


class Case:
    def __init__(self, name):
        make, n, self.box, groups = CASES[name]
        rng = np.random.default_rng(81)
        self.model = make()
        self.system, self.force = makeSystem(
            self.model, randomTypes(self.model, n, rng), self.box, [int(g) for g in rng.integers(groups, size=n)], mass=20.0
        )
        self.system.addForce(self.force)
        self.x = randomPositions(n, rng, self.box, distance=0.17)

    def contextOn(self, platform, integrator=None, positions=None):
        integrator = openmm.VerletIntegrator(0.0005) if integrator is None else integrator
        return platform.context(self.system, self.x if positions is None else positions, integrator)

    def equilibrated(self, platform):
        """Positions and velocities that carry particles across the skin again and again."""
        context = self.contextOn(platform)
        openmm.LocalEnergyMinimizer.minimize(context, maxIterations=30)
        context.setVelocitiesToTemperature(300, 5)
        return context.getState(positions=True, velocities=True)


def evaluate(context, **options):
    state = context.getState(energy=True, forces=True, **options)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def positionsOf(context):
    return context.getState(positions=True).getPositions(asNumpy=True)._value


def assertSameBits(found, expected, what=""):
    assert found[0] == expected[0], what
    np.testing.assert_array_equal(found[1], expected[1], err_msg=what)
