# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash coarsegrain: the beads of a protein."""

import re

import click

from ._app import UserError, declare, note, say


@declare("coarsegrain")
@click.argument("structure")
@click.option("--model", "-m", metavar="MODEL", required=True, help="Coarse-grained model file; or a mapping's name, ca or 5bead.")
@click.option(
    "--output", "-o", metavar="FILE", required=True, help="The structure file to write, e.g. beads.npz; beads.pdb goes beside it."
)
@click.option("--gaps", type=click.Choice(["error", "split"]), default="error", show_default=True, help="What to do at breaks of a chain.")
@click.option(
    "--residue", "residues", metavar="OLD=NEW", multiple=True, help="Take residues OLD for the amino acid NEW, e.g. SEP=SER; repeatable."
)
@click.option("--pair-separation", "pairSeparation", type=click.IntRange(min=1),
              help="Fewest bonds between beads of a chain that repel each other. Default: 3 for ca, 5 for 5bead.")  # fmt: skip
@click.option("--reference", metavar="FILE", help="Structure file converted with a model whose priors are specialised for this molecule.")
@click.option("--frame", type=int, help="Frame of a STRUCTURE with several, from 0; -1 is the last. Default: the first.")
@click.option("--overwrite", is_flag=True, help="Replace the files if they exist.")
def command(structure, model, output, gaps, residues, pairSeparation, reference, frame, overwrite):
    """Make the beads of the protein in STRUCTURE, a PDB or PDBx/mmCIF file, for a coarse-grained model.

    Beads are CA, or N CA CB C O, as the model's types say. FILE has positions, types, masses and the interaction lists of the model's
    priors for energy and run; the PDB file beside it has names, residues, chains and bonds for viewers.
    """
    import os

    from .. import structure as structures
    from ..coarsegrain import coarseGrain
    from ..structurefile import writeStructure
    from ..system import createSystem
    from ._outputs import checkWritable

    stem, suffix = os.path.splitext(output)
    if suffix != ".npz":
        raise UserError(f"--output {output}: the structure file is called FILE.npz; a PDB file of the beads goes beside it.")
    for path in (output, f"{stem}.pdb", f"{stem}.cif"):
        checkWritable(path)
        if os.path.exists(path) and not overwrite:
            raise UserError(f"{path} exists. Give another --output, or --overwrite to replace it.")
    loaded = structures.loadStructure(structure, frame)
    for text in loaded.notes:
        note(f"{structure}: {text}")
    if loaded.topology is None:
        raise UserError(f"{structure} does not name residues and atoms. Give a PDB or PDBx/mmCIF file.")
    if loaded.numFrames > 1 and frame is None:
        note(f"{structure}: The file has {loaded.numFrames} frames; the first is used (--frame chooses).")
    try:
        beads = coarseGrain(
            loaded.topology, loaded.positions, model, gaps, parseResidues(residues), pairSeparation, reference, source=structure
        )
    except ValueError as error:
        raise UserError(commandLineNames(str(error))) from error
    for text in beads.notes:
        note(f"{structure}: {text}")
    if beads.structure.types is not None:
        createSystem(beads.structure, model)  # what it refuses is not written
    writeStructure(output, beads.structure)
    topologyFile = writeTopology(beads.topology, beads.structure.positions, stem)
    chains, number = beads.topology.getNumChains(), beads.topology.getNumResidues()
    say(
        f"{number} residue{'s'[: number != 1]} in {chains} chain{'s'[: chains != 1]} became {beads.topology.getNumAtoms()} beads of the "
        f"mapping {beads.mapping!r}."
    )
    say(f"Wrote {output} and {topologyFile}")


def writeTopology(topology, positions, stem):
    """The beads as PDB or, where PDB's columns are too narrow, PDBx/mmCIF."""
    from openmm import app, unit

    narrow = topology.getNumAtoms() <= 99999 and abs(positions).max() < 90
    narrow = narrow and all(len(chain.id) == 1 for chain in topology.chains()) and all(len(r.id) <= 4 for r in topology.residues())
    path, kind = (f"{stem}.pdb", app.PDBFile) if narrow else (f"{stem}.cif", app.PDBxFile)
    with open(path, "w", encoding="utf-8") as file:
        kind.writeFile(topology, positions * unit.nanometer, file, keepIds=True)
    return path


def parseResidues(entries):
    """SEP=SER -> {"SEP": "SER"}."""
    residues = {}
    for entry in entries:
        old, equals, new = entry.partition("=")
        if not (old.strip() and equals and new.strip()):
            raise UserError(f"--residue {entry}: write OLD=NEW, e.g. SEP=SER.")
        residues[old.strip()] = new.strip()
    return residues


def commandLineNames(text):
    """Arguments of coarseGrain as they are called here."""
    text = re.sub(r"residues=\{[^}]*\} with a standard residue's name", "--residue OLD=NEW with a standard residue's name", text)
    return (
        text.replace("gaps='split'", "--gaps split")
        .replace("reference=FILE", "--reference FILE")
        .replace("priors=FILE", "convert's --priors FILE")
    )
