# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash info: what a model is."""

import click

from ._app import declare, say


@declare("info")
@click.argument("model")
@click.option("--json", "asJson", is_flag=True, help="Print everything as JSON.")
def command(model, asJson):
    """Read and check MODEL and say what it is."""
    import json

    from ._inputs import loadModel

    name, model = model, loadModel(model)
    facts = gather(model)
    if asJson:
        say(json.dumps({"source": name, **facts}, indent=2))
        return
    say(model.summary().rstrip())
    say()
    rows = [("format version", facts["formatVersion"]), ("length unit", f"{facts['lengthUnit']:g} nm")]
    rows.append(("energy unit", f"{facts['energyUnit']:.10g} kJ/mol"))
    prior = facts["pairPrior"]
    if prior is None:
        text = "none"
    else:
        text = "every pair of a group" if prior["cutoff"] == 0 else f"pairs closer than {prior['cutoff']:g} nm"
    rows.append(("pair prior", text))
    for key, value in rows:
        say(f"{key:<15} {value}")
    say()
    say("type  name    atomic number      mass (amu)    constant energy (kJ/mol)")
    for entry in facts["types"]:
        number, mass = entry["atomicNumber"] or "-", f"{entry['mass']:.4f}" if entry["mass"] else "-"
        say(f"{entry['index']:>4}  {entry['name']:<6} {number:>14} {mass:>15} {entry['energy']:>27.6f}")


def gather(model):
    """Everything that a model file says about itself, as JSON values."""
    types = [
        {
            "index": i,
            "name": model.getTypeName(i),
            "atomicNumber": model.getTypeAtomicNumber(i),
            "mass": model.getTypeMass(i),
            "energy": model.getTypeEnergy(i),
        }
        for i in range(model.getNumTypes())
        if model.getTypeName(i)
    ]
    priors = []
    for i in range(model.getNumPriors()):
        arity = model.getPriorArity(i)
        rows = len(model.getPriorTypes(i)) // arity
        priors.append({"name": model.getPriorName(i), "form": model.getPriorForm(i), "arity": arity, "rows": rows})
    return {
        "name": model.getName(),
        "architecture": model.getArchitecture(),
        "sha256": model.getSha256(),
        "formatVersion": model.getFormatVersion(),
        "cutoff": model.getCutoff(),
        "lengthUnit": model.getLengthUnit(),
        "energyUnit": model.getEnergyUnit(),
        "numMembers": model.getNumMembers(),
        "numWeights": model.getNumWeights(),
        "pairPrior": {"cutoff": model.getPairPriorCutoff()} if model.hasPairPrior() else None,
        "types": types,
        "priors": priors,
        "metadata": dict(model.getMetadata()),
    }
