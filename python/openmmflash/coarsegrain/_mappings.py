# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The two coarse-grained mappings of proteins that mlcg's models use, and which of them a model has."""

from dataclasses import dataclass

from ..convert.mlcg import RESIDUES
from ..structurefile import StructureError

BACKBONE = ("N", "CA", "C", "O")
# Of the bead types that a model file has no mass for: the nearest whole masses of the beads' atoms, as mlcg has them.
MASSES = {"N": 14.0, "CA": 12.0, "CB": 12.0, "C": 12.0, "O": 16.0}  # amu


@dataclass(frozen=True)
class Mapping:
    """Which atoms of a protein are its beads.

    Attributes
    ----------
    name : str
    beads : tuple of str
        The atoms that a residue keeps, in the order of the beads.
    bonds : tuple of (str, str)
        Bonds between beads of one residue.
    link : (str, str)
        The bond to the next residue: this one's bead and the next one's.
    separation : int
        The fewest bonds between two beads of a chain that repel each other through the pair prior.
    """

    name: str
    beads: tuple
    bonds: tuple
    link: tuple
    separation: int

    def beadsOf(self, residue):
        """The beads of a residue: glycine has no CB."""
        return tuple(bead for bead in self.beads if bead != "CB" or residue != "GLY")

    def typeName(self, residue, bead):
        """The name of a bead's type: a residue's name at CB, which glycine has at CA, or the bead's own."""
        carrier = "CA" if residue == "GLY" or "CB" not in self.beads else "CB"
        return residue if bead == carrier else bead


MAPPINGS = {
    mapping.name: mapping
    for mapping in (
        Mapping("ca", ("CA",), (), ("CA", "CA"), 3),
        Mapping("5bead", ("N", "CA", "CB", "C", "O"), (("N", "CA"), ("CA", "CB"), ("CA", "C"), ("C", "O")), ("C", "N"), 5),
    )
}


def mappingOf(model):
    """The mapping that a model was made for, told by the names of its types.

    Raises
    ------
    StructureError
        The model's particles are atoms, or beads of another mapping.
    """
    types = [i for i in range(model.getNumTypes()) if model.getTypeName(i)]
    names = {model.getTypeName(i) for i in types}
    if all(model.getTypeAtomicNumber(i) > 0 for i in types):
        raise StructureError(f"The types of the model {model.getName()!r} are elements: it acts on atoms, not on coarse-grained beads.")
    if names <= set(RESIDUES):
        return MAPPINGS["ca"]
    if set(BACKBONE) <= names <= {*RESIDUES, *BACKBONE}:
        return MAPPINGS["5bead"]
    raise StructureError(
        f"This model's types are beads, not elements, and not those of a mapping that is known, so that a Topology does not say what its "
        f"particles are. The types are {' '.join(sorted(names))}; known are residues alone (one bead at CA) and residues with N, CA, C and "
        "O (five beads, the side chain at CB named after its residue). Give a structure file (docs/structure-format.md), which "
        "openmm-flash convert writes beside the model."
    )
