# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The interaction lists of a coarse-grained protein: which beads the priors of a model act on.

A model's table tells the types of a prior's terms, but terms of the same types belong to different priors (a bond at a terminus, the phi of
an alanine). What a prior means its name says; the names are those that mlcg's tools for priors give.
"""

import itertools
import re

import numpy as np

from ..convert.mlcg import RESIDUES
from ..structurefile import StructureError, Terms

# (bead, offset of its residue) of the torsions of the 5-bead mapping. The gammas are improper, the central bead last.
TORSIONS = {
    "phi": (("C", -1), ("N", 0), ("CA", 0), ("C", 0)),
    "psi": (("N", 0), ("CA", 0), ("C", 0), ("N", 1)),
    "omega": (("CA", -1), ("C", -1), ("N", 0), ("CA", 0)),
    "gamma_1": (("N", 0), ("CB", 0), ("C", 0), ("CA", 0)),
    "gamma_2": (("CA", 0), ("O", 0), ("N", 1), ("C", 0)),
}
CHAIN_TORSIONS = ("dihedrals", "pseudo_ca_dihedral")
TORSION_NAME = re.compile(rf"(?:({'|'.join(RESIDUES)}|pro|non_pro)_)?({'|'.join(TORSIONS)})")
PATH_NAME = re.compile(r"(n_term_|bulk_|c_term_)?(bonds|angles)")
KNOWN = (
    "bonds and angles, also with n_term_, bulk_ or c_term_ before them; non_bonded; for one bead a residue dihedrals, "
    "pseudo_ca_dihedral; for five beads phi, psi, omega, also with a residue, pro_ or non_pro_ before them, gamma_1, gamma_2"
)


class InteractionLists:
    """Bonds of a coarse-grained protein and what follows from them.

    Parameters
    ----------
    mapping : Mapping
    chains : list of list of (str, dict)
        For each residue of each unbroken chain its name and {bead: particle}.
    separation : int, optional
        The fewest bonds between two beads of a chain that repel each other; by default the mapping's.
    """

    def __init__(self, mapping, chains, separation=None):
        self.mapping, self.chains = mapping, chains
        self.separation = mapping.separation if separation is None else separation
        self.numParticles = sum(len(beads) for chain in chains for _, beads in chain)
        self.bonds, self.ends, self.residues = [], {"n_term_": set(), "c_term_": set()}, [-1] * self.numParticles
        for number, (_, beads) in enumerate(itertools.chain(*chains)):
            for particle in beads.values():
                self.residues[particle] = number
        for chain in chains:
            for _, beads in chain:
                self.bonds += [(beads[a], beads[b]) for a, b in mapping.bonds if a in beads and b in beads]
            self.bonds += [(a[mapping.link[0]], b[mapping.link[1]]) for (_, a), (_, b) in itertools.pairwise(chain)]
            if len(chain) > 1:  # mlcg: a residue alone has no termini
                self.ends["n_term_"].update(chain[0][1].values())
                self.ends["c_term_"].update(chain[-1][1].values())
        self.neighbors = [[] for _ in range(self.numParticles)]
        for a, b in self.bonds:
            self.neighbors[a].append(b)
            self.neighbors[b].append(a)

    def termsOf(self, name, form, arity):
        """Particles [m, arity] of the terms of one prior.

        Raises
        ------
        StructureError
            A name that says nothing.
        """
        found = self._find(name)
        if found is None or found[0] != arity:
            raise StructureError(
                f"The name of the model's prior {name!r} ({form}, {arity} particles a term) does not say which beads of the mapping "
                f"{self.mapping.name!r} it acts on. Known names are {KNOWN}. Give a structure with its interaction list "
                "(docs/structure-format.md)."
            )
        return np.array(sorted(found[1]), dtype=np.int64).reshape(-1, arity)

    def exclusions(self):
        """Pairs [m, 2] that the pair prior leaves out: those of one residue and those that few bonds are between."""
        pairs = set()
        for start in range(self.numParticles):
            shell, seen = {start}, {start}
            for _ in range(self.separation - 1):
                shell = {b for a in shell for b in self.neighbors[a]} - seen
                seen |= shell
            pairs.update((start, other) for other in seen if other > start)
        if self.separation > 1:
            for _, beads in itertools.chain(*self.chains):
                pairs.update(itertools.combinations(sorted(beads.values()), 2))
        return np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)

    def _find(self, name):
        """(particles of a term, terms), or None."""
        path, torsion = PATH_NAME.fullmatch(name), TORSION_NAME.fullmatch(name)
        if path:
            region, kind = path.groups()
            terms = [tuple(sorted(bond)) for bond in self.bonds] if kind == "bonds" else self._angles()
            return len(terms[0]) if terms else {"bonds": 2, "angles": 3}[kind], self._inRegion(region, terms)
        if name == "non_bonded":
            return 2, self._pairs()
        if torsion and "CB" in self.mapping.beads:
            return 4, self._torsions(*torsion.groups())
        if name in CHAIN_TORSIONS and self.mapping.beads == ("CA",):
            return 4, [tuple(beads["CA"] for _, beads in chain[i : i + 4]) for chain in self.chains for i in range(len(chain) - 3)]
        return None

    def _angles(self):
        return [
            (min(a, b), center, max(a, b)) for center, around in enumerate(self.neighbors) for a, b in itertools.combinations(around, 2)
        ]

    def _inRegion(self, region, terms):
        if region is None:
            return terms
        if region == "bulk_":
            ends = self.ends["n_term_"] | self.ends["c_term_"]
            return [term for term in terms if not ends.intersection(term)]
        return [term for term in terms if self.ends[region].intersection(term)]

    def _torsions(self, residue, kind):
        terms = []
        for chain in self.chains:
            for i, (name, own) in enumerate(chain):
                chosen = residue in (None, name) or residue == ("pro" if name == "PRO" else "non_pro")
                places = [i + offset for _, offset in TORSIONS[kind]]
                if chosen and min(places) >= 0 and max(places) < len(chain) and all(bead in own for bead, _ in TORSIONS[kind]):
                    terms.append(tuple(chain[place][1][bead] for place, (bead, _) in zip(places, TORSIONS[kind], strict=True)))
        return terms

    def _pairs(self):
        allowed = np.triu(np.ones((self.numParticles, self.numParticles), dtype=bool), 1)
        allowed[tuple(self.exclusions().T)] = False
        return map(tuple, np.argwhere(allowed).tolist())


def interactionLists(lists, model):
    """{prior's name: Terms} of all priors of a model."""
    return {
        model.getPriorName(i): Terms(lists.termsOf(model.getPriorName(i), model.getPriorForm(i), model.getPriorArity(i)))
        for i in range(model.getNumPriors())
    }
