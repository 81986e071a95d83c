# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash energy: a single point."""

import click

from ._app import UserError, declare, platformOptions, say, structureOptions


@declare("energy")
@click.argument("model")
@click.argument("structure")
@click.option("--json", "jsonFile", metavar="FILE", help="Write energies and their origin as JSON.")
@click.option("--forces", "forcesFile", metavar="FILE", help="Write the forces as .npy, [n, 3] in kJ/mol/nm, in the structure's own frame.")
@click.option("--priors/--no-priors", default=True, show_default=True, help="Include the priors that belong to a coarse-grained model.")
@platformOptions
@structureOptions
def command(model, structure, jsonFile, forcesFile, priors, platform, threads, **reading):
    """Evaluate MODEL on STRUCTURE: energy in kJ/mol, the members of an ensemble, forces on request.

    The energy is that of the network and, for a coarse-grained model, of its priors, the repulsion of pairs among them. In the JSON file
    networkEnergy is what --no-priors gives, and networkEnergy and priorEnergy add up to energy; memberEnergies contain all priors, so
    that their mean is the energy; groupEnergies contain, of the priors, the repulsion of pairs.
    """
    import json
    import os

    import numpy as np
    import openmm
    from openmm import unit

    from .. import structure as structures
    from . import _inputs
    from ._isolated import AT_START, warnOfIsolatedAtoms
    from ._outputs import checkWritable
    from ._platforms import choosePlatform
    from ._run import versions

    paths = [path for path in (jsonFile, forcesFile) if path is not None]
    for path in paths:
        checkWritable(path)
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise UserError(f"--json and --forces both write {jsonFile}. Give them different files.")
    inputs = _inputs.createInputs(model, structure, priors=priors, **reading)
    chosen, properties = choosePlatform(platform, threads)
    context = openmm.Context(inputs.system, openmm.VerletIntegrator(0.001), chosen, properties)
    context.setPositions(inputs.positions * unit.nanometer)
    state = context.getState(energy=True, forces=True)
    energy = float(state.getPotentialEnergy()._value)
    forces = inputs.structure.toFileFrame(np.array(state.getForces(asNumpy=True)._value))
    if not (np.isfinite(energy) and np.all(np.isfinite(forces))):
        raise UserError(
            f"The energy of {structure} is {energy} kJ/mol, or a force is not finite: the structure is not usable (overlapping particles?)."
        )

    warnOfIsolatedAtoms(context, structure, AT_START)

    force = inputs.force
    members, groups = np.array(force.getMemberEnergies(context)), np.array(force.getGroupEnergies(context))
    deviations = np.array(force.getEnsembleDeviation(context))
    used = inputs.model
    hasPriors = priors and (used.getNumPriors() > 0 or used.hasPairPrior())
    # Without priors the rest is zero; their difference would be rounding.
    rest = energy - float(groups.sum()) if hasPriors else 0.0
    network = networkEnergy(inputs, chosen, properties) if hasPriors else energy
    result = {
        "energy": energy,
        "memberEnergies": [float(x) + rest for x in members],
        "deviation": float(np.std(members, ddof=1)) if len(members) > 1 else 0.0,
        "networkEnergy": network,
        "priorEnergy": energy - network,
        "groups": [int(x) for x in force.getGroups()],
        "groupEnergies": groups.tolist(),
        "groupDeviations": deviations.tolist(),
        "maxForce": float(np.linalg.norm(forces, axis=1).max()),
        "units": {"energy": "kJ/mol", "force": "kJ/mol/nm"},
        "numParticles": inputs.structure.numParticles,
        "box": None if inputs.structure.box is None else inputs.structure.box.tolist(),
        "priors": priors,
        "platform": chosen.getName(),
        "model": {"name": used.getName(), "architecture": used.getArchitecture(), "sha256": used.getSha256()},
        "structure": structure,
        "versions": versions(),
    }
    say(f"Model      {used.getName()} ({used.getArchitecture()}), platform {chosen.getName()}")
    say(f"Structure  {inputs.structure.numParticles} particles; box: {structures.describeBox(inputs.structure.box)}")
    say(f"Energy     {energy:.6f} kJ/mol")
    if hasPriors:
        say(f"           {network:.6f} network, {energy - network:.6f} priors")
    if len(members) > 1:
        say(f"Members    mean of {len(members)}, standard deviation {result['deviation']:.6f} kJ/mol")
    if len(groups) > 1:
        say("Groups     " + "  ".join(f"{g}: {e:.6f}" for g, e in zip(force.getGroups(), groups)))
    worst = int(np.argmax(np.linalg.norm(forces, axis=1)))
    say(f"Forces     largest {result['maxForce']:.6g} kJ/mol/nm, on particle {worst}; net {np.linalg.norm(forces.sum(axis=0)):.2g}")
    if forcesFile is not None:
        with open(forcesFile, "wb") as file:
            np.save(file, forces)
        say(f"Wrote {forcesFile}")
    if jsonFile is not None:
        with open(jsonFile, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
            file.write("\n")
        say(f"Wrote {jsonFile}")


def networkEnergy(inputs, platform, properties):
    """The energy of the network alone, without the pair prior and the other priors, kJ/mol."""
    import copy

    import openmm

    system, force = openmm.System(), copy.deepcopy(inputs.force)
    for _ in range(inputs.system.getNumParticles()):
        system.addParticle(1.0)
    system.setDefaultPeriodicBoxVectors(*inputs.system.getDefaultPeriodicBoxVectors())
    force.setUsesPairPrior(False)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, properties)
    context.setPositions(inputs.positions)
    return float(context.getState(energy=True).getPotentialEnergy()._value)
