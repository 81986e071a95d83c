# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The amino-acid residues of a Topology: which atoms are beads, where chains are broken, and what is no protein."""

import collections
from dataclasses import dataclass

import numpy as np
from openmm import unit

from ..convert.mlcg import RESIDUES
from ..structurefile import StructureError

# The same residue in another protonation state or under another program's name; the models do not tell them apart.
VARIANTS = {
    "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "HISD": "HIS", "HISE": "HIS", "HISH": "HIS",
    "HIH": "HIS", "HSH": "HIS", "HISA": "HIS", "HISB": "HIS", "HIS1": "HIS", "HIS2": "HIS",
    "CYX": "CYS", "CYM": "CYS", "CYS2": "CYS", "CYSH": "CYS", "CYN": "CYS", "ASH": "ASP", "ASPH": "ASP", "ASPP": "ASP",
    "GLH": "GLU", "GLUH": "GLU", "GLUP": "GLU", "LYN": "LYS", "LYSH": "LYS", "LSN": "LYS", "ARGN": "ARG", "ARN": "ARG", "TYM": "TYR",
}  # fmt: skip
# Another residue with the same backbone and CB, taken for its parent with a note: crystallographers put selenium in sulfur's place.
PARENTS = {"MSE": "MET"}
ALIASES = {"O": ("OT1", "O1", "OC1", "OCT1", "OT")}  # of a C-terminus
PEPTIDE_BOND = 0.2  # nm; 0.133 in a crystal, and no strained one is as long
CA_DISTANCE = 0.45  # nm; 0.38 over a trans, 0.29 over a cis peptide bond
LISTED = 8  # of many like things, in a message


@dataclass
class Residue:
    """An amino acid: its standard name, the Topology's residue, and the atom of each bead."""

    name: str
    residue: object
    beads: dict

    def __str__(self):
        return label(self.residue)


def label(residue):
    """GLY 45B of chain A."""
    chain = f" of chain {residue.chain.id}" if str(residue.chain.id).strip() else ""
    return f"{residue.name} {residue.id}{residue.insertionCode.strip()}{chain}"


def listed(things):
    """The first few of many, and how many more."""
    things = [str(thing) for thing in things]
    return "; ".join(things[:LISTED]) + (f"; and {len(things) - LISTED} more" if len(things) > LISTED else "")


def readChains(topology, positions, mapping, source, residues=None, gaps="error", beadsOnly=False):
    """The unbroken chains of amino acids of a Topology.

    Parameters
    ----------
    topology : openmm.app.Topology
    positions : array [n, 3] or None
        nm. Without them a chain is broken where it has bonds between residues, but none between two neighbours.
    mapping : Mapping
    source : str
        For messages.
    residues : dict of str to str, optional
        What further residues are to be taken for.
    gaps : "error" or "split"
    beadsOnly : bool
        Whether every atom must be a bead (a Topology that is coarse-grained already).

    Returns
    -------
    list of list of Residue, list of str
        The second has notes for the user.
    """
    chains, unknown, missing, mirrored, broken, ignored, replaced = [], [], [], [], [], collections.Counter(), collections.Counter()
    parents = {**PARENTS, **_checkedResidues(residues)}
    names = {**{name: name for name in RESIDUES}, **VARIANTS, **parents}
    areBonded = _bondedByDistance(positions) if positions is not None else _bondedByTopology(topology)
    for chain in topology.chains():
        previous, current = None, []
        everything = list(chain.residues())
        for i, residue in enumerate(everything):
            key = residue.name.strip().upper()
            name = names.get(key) or names.get(key[1:] if len(key) == 4 and key[0] in "NC" else key)  # NALA: AMBER's terminal alanine
            if name is None:
                neighbors = everything[max(i - 1, 0) : i] + everything[i + 1 : i + 2]
                if beadsOnly or _isAminoAcid(residue, neighbors, positions):
                    unknown.append(residue)
                    previous = None  # what is missing here is said already
                else:
                    ignored[residue.name] += 1
                continue
            if key in parents:
                replaced[key, name] += 1
            found, absent = _beads(residue, mapping.beadsOf(name), source)
            if absent:
                missing.append(f"{label(residue)} has no {' '.join(absent)}")
                previous = None
                continue
            if beadsOnly:
                _refuseOthers(residue, found, mapping, source)
            elif _isMirrored(residue, positions):
                mirrored.append(label(residue))
            here = Residue(name, residue, found)
            if previous is None or not areBonded(previous, here):
                if previous is not None:
                    broken.append((previous, here, positions))
                current = []
                chains.append(current)
            current.append(here)
            previous = here
    split = "separate them into chains (TER in a PDB file)" if beadsOnly else "pass gaps='split' to make both sides ends of chains"
    _refuse(source, mapping, chains, unknown, missing, mirrored, broken if gaps == "error" else [], split)
    notes = [f"{old} is taken for {new} ({count} of them)." for (old, new), count in replaced.items()]
    if broken:
        notes.append(
            f"Chains are cut at {len(broken)} gap{'s'[: len(broken) != 1]}, both sides being ends of chains: {listed(map(_gap, broken))}."
        )
    if ignored:
        found = ", ".join(f"{count} {name}" for name, count in ignored.most_common(LISTED))
        more = f", and {len(ignored) - LISTED} more kinds" if len(ignored) > LISTED else ""
        notes.append(f"What is no amino acid is left out: {found}{more}.")
    notes += _closedBonds(topology, chains, positions)
    return chains, notes


def _checkedResidues(residues):
    residues = {old.strip().upper(): new.strip().upper() for old, new in (residues or {}).items()}
    for old, new in residues.items():
        if new not in RESIDUES:
            raise ValueError(f"residues has {old!r}: {new!r}; a residue can be taken for one of {' '.join(RESIDUES)}.")
    return residues


def _refuse(source, mapping, chains, unknown, missing, mirrored, broken, split):
    """All that is wrong at once, so that it need not be found one by one."""
    problems = []
    if unknown:
        example = ", ".join(f"{kind!r}: ..." for kind in sorted({residue.name for residue in unknown})[:4])
        problems.append(
            f"amino acids that the mapping does not know: {listed(map(label, unknown))}. If a model's residue stands for them, say so "
            f"(residues={{{example}}} with a standard residue's name); or put the standard residue "
            "in their place (PDBFixer's replaceNonstandardResidues)"
        )
    if missing:
        problems.append(f"missing atoms: {listed(missing)}. Model them (PDBFixer's addMissingAtoms)")
    if mirrored:
        problems.append(f"D-amino acids, judging by CB: {listed(mirrored)}. The models know the L form only")
    if broken:
        problems.append(
            f"broken chains: {listed(map(_gap, broken))}. Model the missing residues (PDBFixer's findMissingResidues), make molecules "
            f"whole if a periodic box cuts them, or {split}"
        )
    if not problems and not chains:
        raise StructureError(f"{source}: there is no amino acid in it; the mapping {mapping.name!r} is of proteins.")
    if problems:
        raise StructureError(f"{source} cannot become beads of the mapping {mapping.name!r}; " + ". Also ".join(problems) + ".")


def _beads(residue, wanted, source):
    """{bead: atom index} and the beads that there is no atom for."""
    atoms = {}
    for atom in residue.atoms():
        if atom.name in atoms and atom.name in wanted:
            raise StructureError(
                f"{source}: {label(residue)} has two atoms {atom.name}. Of alternate locations keep one; number the residues uniquely."
            )
        atoms[atom.name] = atom.index
    found = {}
    for bead in wanted:
        for name in (bead, *ALIASES.get(bead, ())):
            if name in atoms:
                found[bead] = atoms[name]
                break
    return found, [bead for bead in wanted if bead not in found]


def _refuseOthers(residue, found, mapping, source):
    for atom in residue.atoms():
        if atom.index not in found.values():
            raise StructureError(
                f"{source}: atom {atom.index} ({atom.name} of {label(residue)}) is no bead: of {residue.name} the mapping {mapping.name!r} "
                f"has {' '.join(found)}. An all-atom structure is coarse-grained first, by openmmflash.coarsegrain.coarseGrain or "
                "openmm-flash coarsegrain."
            )


def _isAminoAcid(residue, neighbors, positions):
    """Whether a residue of unknown name is part of a chain: it has a backbone that is bonded to a neighbour's."""
    own = {atom.name: atom.index for atom in residue.atoms()}
    if not {"N", "CA", "C"} <= own.keys():
        return False
    for other in neighbors:
        theirs = {atom.name: atom.index for atom in other.atoms()}
        for a, b in (("C", "N"), ("N", "C")):
            if b in theirs and (positions is None or _distance(positions, own[a], theirs[b]) < PEPTIDE_BOND):
                return True
    return False


def _isMirrored(residue, positions):
    """Whether N, C and CB stand around CA in the order of a D-amino acid. A nearly flat center says nothing."""
    atoms = {atom.name: positions[atom.index] for atom in residue.atoms() if atom.name in ("N", "CA", "C", "CB")}
    if len(atoms) < 4:
        return False
    n, c, cb = (atoms[name] - atoms["CA"] for name in ("N", "C", "CB"))
    volume = np.dot(np.cross(n, c), cb)
    return volume < -0.2 * np.linalg.norm(n) * np.linalg.norm(c) * np.linalg.norm(cb)


def _bondedByTopology(topology):
    """A function that tells whether a bond joins two Residues of a chain; where the chain has no bonds between residues, all are."""
    between = [(a.residue, b.residue) for a, b in topology.bonds() if a.residue is not b.residue]
    linked = {frozenset((a.index, b.index)) for a, b in between}
    chains = {a.chain.index for a, b in between if a.chain is b.chain}
    return lambda a, b: a.residue.chain.index not in chains or frozenset((a.residue.index, b.residue.index)) in linked


def _bondedByDistance(positions):
    """A function that tells whether two Residues in sequence are close enough for a peptide bond."""

    def areBonded(first, second):
        limit, a, b = _peptide(first, second)
        return _distance(positions, a, b) <= limit

    return areBonded


def _peptide(first, second):
    """The atoms that tell whether two residues are bonded, and how far apart they may be."""
    carbon = next((atom.index for atom in first.residue.atoms() if atom.name == "C"), None)
    nitrogen = next((atom.index for atom in second.residue.atoms() if atom.name == "N"), None)
    if carbon is None or nitrogen is None:
        return CA_DISTANCE, first.beads["CA"], second.beads["CA"]
    return PEPTIDE_BOND, carbon, nitrogen


def _gap(entry):
    first, second, positions = entry
    text = f"{first} and {second}, neighbours in their chain, are not bonded"
    if positions is not None:
        _, a, b = _peptide(first, second)
        text += f" ({_distance(positions, a, b):.2f} nm)"
    return text


def _closedBonds(topology, chains, positions):
    """Notes about bonds that no prior of such models stands for."""
    notes = []
    sulfurs = sum(1 for a, b in topology.bonds() if a.name == b.name == "SG")
    if sulfurs:
        notes.append(f"Disulfide bonds ({sulfurs}) have no counterpart among the beads: nothing but the network knows of them.")
    for chain in chains if positions is not None else ():
        limit, a, b = _peptide(chain[-1], chain[0])
        if len(chain) > 2 and limit == PEPTIDE_BOND and _distance(positions, a, b) < limit:
            notes.append(f"{chain[-1]} is bonded to {chain[0]}: a ring, which is treated as an open chain.")
    return notes


def _distance(positions, a, b):
    return float(np.linalg.norm(positions[a] - positions[b]))


def inNanometers(positions, count, source):
    """Positions [n, 3] or [frames, n, 3] in nm, as plain finite numbers."""
    if positions is None:
        raise TypeError(f"positions is None; [{count}, 3] or [frames, {count}, 3] numbers are needed, in nm if they have no unit.")
    if not unit.is_quantity(positions) and len(positions) and unit.is_quantity(positions[0]):  # a list of Vec3 with units each
        positions = [position.value_in_unit(unit.nanometer) for position in positions]
    values = np.array(positions.value_in_unit(unit.nanometer) if unit.is_quantity(positions) else positions, dtype=np.float64)
    if values.ndim not in (2, 3) or values.shape[-2:] != (count, 3) or values.shape[0] == 0:
        raise StructureError(f"{source}: positions have shape {list(values.shape)}; [{count}, 3] or [frames, {count}, 3] is needed.")
    if not np.isfinite(values).all():
        bad = np.argwhere(~np.isfinite(values))[0]
        raise StructureError(f"{source}: positions{bad.tolist()} is {values[tuple(bad)]}; only finite numbers are allowed.")
    return values
