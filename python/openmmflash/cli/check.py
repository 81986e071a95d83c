# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash check: is this a force field on this structure?"""

import click

from ._app import declare, platformOptions, say, structureOptions
from ._values import HOTTEST, TEMPERATURE, TIMESTEP, Quantity


@declare("check")
@click.argument("model")
@click.argument("structure")
@click.option(
    "--coordinates",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    help="Coordinates of the finite differences, chosen at random; 0: all.",
)
@click.option("--timestep", type=Quantity(TIMESTEP, exclusive=True), help="Time step of the NVE run (fs). Default: as for `run`.")
@click.option("--nve-steps", type=click.IntRange(min=0), default=200, show_default=True, help="Steps of the NVE run; 0 leaves it out.")
@click.option(
    "--temperature",
    type=Quantity(TEMPERATURE, exclusive=True, maximum=HOTTEST),
    default="300",
    show_default=True,
    help="Temperature of the NVE run's first velocities (K).",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of everything random.")
@click.option("--priors/--no-priors", default=True, show_default=True, help="Include the priors that belong to a coarse-grained model.")
@platformOptions
@structureOptions
@click.pass_context
def command(context, model, structure, coordinates, timestep, nve_steps, temperature, seed, priors, platform, threads, **reading):
    """Check MODEL on STRUCTURE: forces against finite differences, invariances, energy conservation.

    One line each, PASS or FAIL with the number and the tolerance. Forces are measured against the RMS force, energies against the RMS
    force times 0.1 nm. The exit code is 1 if a check fails.
    """
    import numpy as np

    from . import _checks, _inputs
    from ._platforms import choosePlatform
    from ._run import ATOMIC_TIMESTEP, BEAD_TIMESTEP

    inputs = _inputs.createInputs(model, structure, priors=priors, **reading)
    chosen, properties = choosePlatform(platform, threads)
    evaluator = _checks.Evaluator(inputs.system, inputs.positions, chosen, properties)
    limits = _checks.DOUBLE if chosen.getName() == "Reference" else _checks.SINGLE
    timestep = timestep or (ATOMIC_TIMESTEP if _inputs.isAtomistic(inputs.model) else BEAD_TIMESTEP)
    random = np.random.default_rng(seed)
    box = inputs.structure.box
    periodic = box is not None
    invariance = max(limits["invariance"], evaluator.energyRounding())
    say(
        f"{inputs.model.getName()} on {structure}: {inputs.structure.numParticles} particles, platform {chosen.getName()}, "
        f"RMS force {evaluator.scale:.5g} kJ/mol/nm"
    )

    failed = total = 0

    def report(results):
        nonlocal failed, total
        for result in results if isinstance(results, list) else [results]:
            say(result.line())
            failed += not result.passed
            total += not result.skipped

    report(_checks.checkCoordinates(evaluator, limits["gradient"], coordinates, random, limits["step"]))
    report(_checks.checkDirection(evaluator, limits["gradient"], random, limits["step"]))
    report(_checks.checkTranslation(evaluator, invariance, random))
    report(_checks.checkRotation(evaluator, invariance, random, periodic))
    report(_checks.checkLattice(evaluator, invariance, random, box))
    report(_checks.checkPermutation(evaluator, invariance, random))
    report(_checks.checkNetForce(evaluator, invariance, periodic))
    if chosen.getName() in ("Reference", "CPU"):
        report(_checks.checkRepeat(evaluator))
    if nve_steps:
        report(_checks.checkDrift(evaluator, timestep, nve_steps, temperature, seed))
    say(f"{total - failed} passed, {failed} failed")
    if failed:
        context.exit(1)
