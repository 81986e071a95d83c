# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash convert: models of other packages become model files."""

import re

import click

from ._app import UserError, declare, say

# Same as openmmflash.convert.ORIGINS, which is not imported for --help.
ORIGINS = ("torchani", "mlcg", "schnetpack", "pyg", "torchmdnet")


@declare("convert")
@click.argument("source", nargs=-1, required=True)
@click.option("--output", "-o", metavar="FILE", required=True, help="The model file to write, e.g. model.safetensors.")
@click.option("--from", "origin", type=click.Choice(ORIGINS), help="Take SOURCE to be of this package. Default: told by its content.")
@click.option("--check/--no-check", default=True, show_default=True, help="Compare with the original package, where it is installed.")
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option("--name", help="The model's name. Default: told by SOURCE or FILE.")
@click.option("--citation", help="The paper to cite, for the file's metadata.")
@click.option("--license", help="The model's licence, for the file's metadata.")
@click.option("--description", help="Free text, for the file's metadata.")
@click.option("--length-unit", "lengthUnit", metavar="UNIT", help="Unit of the model's lengths: angstrom, nm, bohr or nm per unit.")
@click.option("--energy-unit", "energyUnit", metavar="UNIT", help="Unit of its energies: eV, hartree, kcal/mol, kJ/mol or kJ/mol per unit.")
@click.option("--types", metavar="NAMES", help="Names of the embedding's rows, separated by commas; '-' for a row that is no type.")
@click.option("--cutoff", type=float, help="pyg, state dict: the cutoff, in the model's length unit.")
@click.option("--mean", type=float, help="pyg, state dict: mean of the energy.")
@click.option("--std", type=float, help="pyg, state dict: standard deviation of the energy.")
@click.option("--scale", type=float, help="pyg, state dict: the attribute `scale`.")
@click.option("--members", metavar="NUMBERS", help="torchani: members of the ensemble to keep, e.g. 0 or 0,1,2.")
@click.option("--species", metavar="SYMBOLS", help="torchani: the elements in the model's order, e.g. H,C,N,O, where SOURCE does not say.")
@click.option("--radial-cutoff", "radialCutoff", type=float, help="torchani, state dict: radial cutoff in Angstrom.")
@click.option("--angular-cutoff", "angularCutoff", type=float, help="torchani, state dict: angular cutoff in Angstrom.")
@click.option("--priors", metavar="FILE", help="mlcg: priors to combine with the network, e.g. prior.pt.")
@click.option("--structures", metavar="FILE", help="mlcg: structures with their interaction lists.")
@click.option("--mapping", help="mlcg: what the bead types are: ca or 5bead. Default: told by the types in use.")
@click.option("--mass-unit", "massUnit", type=click.Choice(["auto", "amu", "amu/418.4"]), help="mlcg: unit of the structures' masses.")
@click.option("--repulsion", type=click.Choice(["pair", "terms"]), help="mlcg: repulsion as the model's pair prior, or as a list of terms.")
@click.option("--energy-key", "energyKey", help="schnetpack: the output that is the energy, where there are several.")
@click.option("--energy-scale", "energyScale", type=float, help="torchmdnet: kJ/mol per unit of energy, as openmm-ml has it.")
@click.option("--reference-energies", "referenceEnergies", is_flag=True, default=None, help="torchmdnet: add a disabled Atomref prior.")
@click.option("--ignore-box", "ignoreBox", is_flag=True, default=None, help="torchmdnet: convert a model with a fixed box, without it.")
def command(source, output, origin, check, overwrite, **options):
    """Convert SOURCE, a file, a folder or a model's name, to a model file.

    Sources are TorchANI models (NeuroChem folder, state dict, or the names ani1x, ani1ccx, ani2x), mlcg, SchNetPack, PyTorch Geometric and
    TorchMD-Net. Nothing in them is executed. Several files make an ensemble, where the package supports that. Structures that SOURCE holds
    are written beside the model as FILE's stem + _structure.npz.
    """
    import os

    from ..convert import ConversionError, convert

    if os.path.exists(output) and not overwrite:
        raise UserError(f"{output} exists. Give another --output, or --overwrite to replace it.")
    options = {name: value for name, value in options.items() if value is not None}
    for name in ("species", "types"):
        if name in options:
            options[name] = [entry.strip() for entry in options[name].split(",")]
    if "types" in options:
        options["types"] = [None if entry == "-" else entry for entry in options["types"]]
    if "members" in options:
        options["members"] = parseMembers(options["members"])
    try:
        report = convert(list(source) if len(source) > 1 else source[0], output, origin=origin, check=check, quiet=True, **options)
    except ConversionError as error:
        raise UserError(commandLineNames(str(error))) from error
    say(commandLineNames(report.summary()))


def parseMembers(text):
    """0,2,3 -> [0, 2, 3]."""
    try:
        return [int(entry) for entry in text.split(",")]
    except ValueError as error:
        raise UserError(f"--members {text}: members are numbers from 0, separated by commas.") from error


def commandLineNames(text):
    """Options as they are called here: lengthUnit= and 'lengthUnit' become --length-unit."""
    names = {parameter.name: parameter.opts[0] for parameter in command.params if parameter.opts[0].startswith("--")}
    names["origin"] = "--from"
    pattern = "|".join(names)
    text = re.sub(rf"\b({pattern})=", lambda match: names[match[1]] + " ", text)
    return re.sub(rf"\b(option )'({pattern})'", lambda match: match[1] + names[match[2]], text)
