# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The protein that all engines are given: complete, with hydrogens, alone and relaxed, as a PDB file; what was done to it is noted."""

import collections
import dataclasses
import importlib.util
import os

import numpy as np

from ..bench.models import RESIDUES
from . import CompareError

CAPS = ("ACE", "NME", "NH2")
VARIANTS = (
    "ASH",
    "GLH",
    "HID",
    "HIE",
    "HIP",
    "HSD",
    "HSE",
    "HSP",
    "LYN",
    "CYM",
    "CYX",
)  # protonation states, as AMBER and CHARMM call them
KNOWN = frozenset((*RESIDUES, *CAPS, *VARIANTS))
LONGEST_PEPTIDE_BOND = 0.2  # nm
RELAXATION, RELAXATION_CUTOFF, MOST_WITHOUT_CUTOFF = 200, 1.2, 300  # iterations, nm, atoms


@dataclasses.dataclass
class Protein:
    """
    Attributes
    ----------
    title : str
    path : str
        The PDB file of the prepared structure.
    topology : openmm.app.Topology
    positions : numpy.ndarray
        [n, 3] nm
    notes : list of str
        What was done to the structure that was given.
    """

    title: str
    path: str
    topology: object
    positions: np.ndarray
    notes: list

    def residues(self):
        """The amino acids, without caps."""
        return [residue for residue in self.topology.residues() if residue.name not in CAPS]

    def sequence(self):
        return [residue.name for residue in self.residues()]


def prepare(source, path, platform, pH=7.0, alanines=8):
    """Prepare a structure file, or without one ACE-(ALA)n-NME, and write it to `path`.

    Raises
    ------
    CompareError
        There is no protein, it has gaps or residues that AMBER and MARTINI do not know, or atoms are missing and PDBFixer is not installed.
    StructureError
        The file cannot be read.
    """
    from openmm import app, unit

    notes = []
    if source is None:
        from ..bench import polyala

        names, positions, bonds = polyala.build(alanines)
        topology, title = polyala.topology(names, bonds), f"ACE-(ALA){alanines}-NME"
        notes.append("No structure was given: an ideal alpha helix of alanines is used.")
    else:
        topology, positions = _load(source, notes)
        topology, positions = _proteinOnly(source, topology, positions, notes)
        title = os.path.basename(source)
        _refuseGaps(source, topology, positions)
        topology, positions = _complete(source, topology, positions, platform, pH, notes)
    positions = _relax(topology, positions, platform, notes)
    with open(path, "w", encoding="utf-8") as file:
        app.PDBFile.writeFile(topology, positions * unit.nanometer, file, keepIds=True)
    return Protein(title, path, topology, positions, notes)


def _load(source, notes):
    from ..structure import loadStructure

    structure = loadStructure(source)
    notes += structure.notes
    if structure.topology is None:
        raise CompareError(f"{source} has no residues; AMBER and MARTINI need a PDB or PDBx/mmCIF file of the whole protein.")
    if structure.numFrames > 1:
        notes.append(f"The file has {structure.numFrames} models; the first is used.")
    structure.dropBox()
    return structure.topology, structure.positions


def _proteinOnly(source, topology, positions, notes):
    """Without water, ions and ligands; a residue of the chain that nobody knows is refused rather than cut out."""
    from openmm import app, unit

    foreign, strange = collections.Counter(), []
    for residue in topology.residues():
        if residue.name in KNOWN:
            continue
        if {"N", "CA", "C"} <= {atom.name for atom in residue.atoms()}:
            strange.append(f"{residue.name} {residue.id} of chain {residue.chain.id}")
        else:
            foreign[residue.name] += 1
    if strange:
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        raise CompareError(
            f"{source}: {', '.join(strange[:5])}{more} are no standard amino acids, which AMBER and MARTINI have no parameters for. "
            "Replace them (PDBFixer.replaceNonstandardResidues does)."
        )
    modeller = app.Modeller(topology, positions * unit.nanometer)
    if foreign:
        modeller.delete([residue for residue in topology.residues() if residue.name not in KNOWN])
        found = ", ".join(f"{count} {name}" for name, count in sorted(foreign.items()))
        notes.append(f"Left out, being no protein: {found}.")
    if not any(residue.name not in CAPS for residue in modeller.topology.residues()):
        raise CompareError(f"{source} has no amino acid; compare runs proteins and peptides.")
    return modeller.topology, _array(modeller.positions)


def _array(positions):
    from openmm import unit

    return np.array(positions.value_in_unit(unit.nanometer), dtype=float)


def _refuseGaps(source, topology, positions):
    for chain in topology.chains():
        residues = list(chain.residues())
        for before, after in zip(residues, residues[1:]):
            c = next((atom.index for atom in before.atoms() if atom.name == "C"), None)
            n = next((atom.index for atom in after.atoms() if atom.name == "N"), None)
            if c is None or n is None:
                continue
            distance = np.linalg.norm(positions[c] - positions[n])
            if distance > LONGEST_PEPTIDE_BOND:
                raise CompareError(
                    f"{source}: {before.name} {before.id} and {after.name} {after.id} of chain {chain.id} are neighbors in the file, but "
                    f"C and N are {distance:.2f} nm apart: residues between them are missing. Build them (PDBFixer, MODELLER) or cut the "
                    "chain there by a TER record."
                )


def _complete(source, topology, positions, platform, pH, notes):
    """Add heavy atoms that are missing, where PDBFixer is there to do it, and hydrogens."""
    from openmm import app, unit

    fixable = importlib.util.find_spec("pdbfixer") is not None
    if fixable:
        topology, positions = _addHeavyAtoms(topology, positions, platform, notes)
    forceField = app.ForceField("amber14-all.xml")
    modeller = app.Modeller(topology, positions * unit.nanometer)
    before = modeller.topology.getNumAtoms()
    modeller.addHydrogens(pH=pH, platform=platform)
    unmatched = forceField.getUnmatchedResidues(modeller.topology)
    if unmatched:
        advice = "Complete it" if fixable else "Install PDBFixer (pip install pdbfixer), which completes it, or do that yourself"
        names = ", ".join(f"{residue.name} {residue.id} of chain {residue.chain.id}" for residue in unmatched[:5])
        more = f" and {len(unmatched) - 5} more" if len(unmatched) > 5 else ""
        raise CompareError(f"{source}: atoms of {names}{more} are missing or have other names than AMBER knows. {advice}.")
    added = modeller.topology.getNumAtoms() - before
    if added:
        notes.append(f"{added} hydrogens were added for pH {pH:g} (openmm.app.Modeller).")
    return modeller.topology, _array(modeller.positions)


def _addHeavyAtoms(topology, positions, platform, notes):
    import io

    import pdbfixer
    from openmm import app, unit

    text = io.StringIO()
    app.PDBFile.writeFile(topology, positions * unit.nanometer, text, keepIds=True)
    text.seek(0)
    fixer = pdbfixer.PDBFixer(pdbfile=text, platform=platform)
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    lacking = {residue: [atom.name for atom in atoms] for residue, atoms in fixer.missingAtoms.items()}
    for residue, names in fixer.missingTerminals.items():
        lacking.setdefault(residue, []).extend(names)
    if not lacking:
        return topology, positions
    described = [f"{', '.join(names)} of {residue.name} {residue.id}" for residue, names in list(lacking.items())[:3]]
    more = f" and of {len(lacking) - 3} more residues" if len(lacking) > 3 else ""
    notes.append(f"{sum(map(len, lacking.values()))} missing heavy atoms were added by PDBFixer: {'; '.join(described)}{more}.")
    ends = {residue.index for residue, names in fixer.missingTerminals.items() if "OXT" in names}
    fixer.addMissingAtoms(seed=1)
    positions = _array(fixer.positions)
    for residue in fixer.topology.residues():
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        if residue.index in ends and {"CA", "C", "O", "OXT"} <= atoms.keys():
            _placeTerminalOxygen(positions, *(atoms[name] for name in ("CA", "C", "O", "OXT")))
    return fixer.topology, positions


def _placeTerminalOxygen(positions, alpha, carbon, oxygen, terminal):
    """PDBFixer's may lie beside the other oxygen, where a minimization leaves it: here it is the mirror image of that one about CA-C."""
    axis = positions[carbon] - positions[alpha]
    axis /= np.linalg.norm(axis)
    bond = positions[oxygen] - positions[carbon]
    positions[terminal] = positions[carbon] + 2 * (bond @ axis) * axis - bond


def _relax(topology, positions, platform, notes):
    """A few hundred steps of minimization with AMBER in GBn2: structures from experiments, and added atoms above all, have clashes."""
    import openmm as mm
    from openmm import app, unit

    try:
        field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
        method = app.NoCutoff if topology.getNumAtoms() <= MOST_WITHOUT_CUTOFF else app.CutoffNonPeriodic
        system = field.createSystem(topology, nonbondedMethod=method, nonbondedCutoff=RELAXATION_CUTOFF * unit.nanometer)
    except ValueError as error:
        raise CompareError(f"AMBER does not know this structure: {' '.join(str(error).split())}") from error
    context = mm.Context(system, mm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    mm.LocalEnergyMinimizer.minimize(context, 10.0, RELAXATION)
    state = context.getState(positions=True, energy=True)
    relaxed = state.getPositions(asNumpy=True)._value
    if not np.isfinite(relaxed).all():
        raise CompareError("Minimizing the structure with AMBER gave positions that are not finite: look for atoms on top of each other.")
    alphas = [atom.index for atom in topology.atoms() if atom.name == "CA"]
    shift = float(np.sqrt(np.mean(np.sum((relaxed - positions)[alphas] ** 2, axis=1)))) if alphas else 0.0
    notes.append(
        f"Minimized with AMBER ff14SB and GBn2; C-alpha atoms moved by {shift:.3f} nm (RMS). This is the structure that every engine "
        "starts from, and what is called native in the report."
    )
    return np.array(relaxed)
