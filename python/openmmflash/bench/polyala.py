# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""ACE-(ALA)n-NME as an ideal right-handed alpha helix of L-residues, built from internal coordinates. 12 + 10 n atoms.

Bond lengths and angles are those of Engh and Huber's protein parameters, rounded; hydrogens stand at 1.01 (N) and 1.09 Angstrom (C).
"""

import numpy as np

PHI, PSI, OMEGA = -57.0, -47.0, 180.0
N_CA, CA_C, C_N, C_O, CA_CB, C_H, N_H = 1.458, 1.525, 1.329, 1.231, 1.530, 1.09, 1.01
AT_CA, AT_C, AT_N, C_C_O, N_C_O = 111.0, 116.6, 121.7, 120.1, 122.9
TETRAHEDRAL = 109.5
ALANINE = ("N", "H", "CA", "HA", "CB", "HB1", "HB2", "HB3", "C", "O")
ACETYL = ("HH31", "CH3", "HH32", "HH33", "C", "O")
METHYLAMIDE = ("N", "H", "CH3", "HH31", "HH32", "HH33")
NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8}


def residuesFor(atoms):
    """The number of alanines whose molecule is nearest in size to so many atoms."""
    return max(1, int(np.floor((atoms - 12) / 10 + 0.5)))


def place(a, b, c, length, angle, torsion):
    """d with |cd| = length, angle(b, c, d) and torsion(a, b, c, d) in degrees; a, b, c may be [..., 3]."""
    angle, torsion = np.radians(angle), np.radians(torsion)
    along = c - b
    along = along / np.linalg.norm(along, axis=-1, keepdims=True)
    normal = np.cross(b - a, along)
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    across = np.cross(normal, along)
    return c + length * (-np.cos(angle) * along + np.sin(angle) * (np.cos(torsion) * across + np.sin(torsion) * normal))


def build(residues):
    """The molecule.

    Parameters
    ----------
    residues : int
        Number of alanines, at least 1.

    Returns
    -------
    names : list of (residue name, residue number, atom name)
    positions : numpy.ndarray
        [12 + 10 residues, 3] in nm, the centre of geometry at the origin.
    bonds : numpy.ndarray
        [bonds, 2]
    """
    if residues < 1:
        raise ValueError(f"residues is {residues}; at least one alanine is needed.")
    n, ca, c = _backbone(residues)
    n0, ca0, c0 = n[:-1], ca[1:], c[1:]
    alpha, before = ca[:-1], c[:-1]  # CA and C of the residue before; methyl and carbonyl carbon of the acetyl group for the first
    parts = {
        "N": n0,
        "H": place(alpha, before, n0, N_H, 119.0, OMEGA + 180),
        "CA": ca0,
        "HA": place(before, n0, ca0, C_H, 108.0, PHI + 118.0),
        "CB": place(before, n0, ca0, CA_CB, 110.4, PHI - 122.6),
        "C": c0,
        "O": place(n0, ca0, c0, C_O, C_C_O, PSI + 180),
    }
    for k, torsion in enumerate((60.0, 180.0, 300.0)):
        parts[f"HB{k + 1}"] = place(n0, ca0, parts["CB"], C_H, TETRAHEDRAL, torsion)
    alanines = np.stack([parts[name] for name in ALANINE], axis=1).reshape(-1, 3)
    acetyl = {"CH3": ca[0], "C": c[0], "O": place(ca0[0], n[0], c[0], C_O, N_C_O, OMEGA + 180)}
    for name, torsion in (("HH31", 60.0), ("HH32", 180.0), ("HH33", 300.0)):
        acetyl[name] = place(n[0], c[0], ca[0], C_H, TETRAHEDRAL, torsion)
    amide = {"N": n[-1], "CH3": place(ca[-1], c[-1], n[-1], N_CA, AT_N, OMEGA)}
    amide["H"] = place(ca[-1], c[-1], n[-1], N_H, 119.0, OMEGA + 180)
    for name, torsion in (("HH31", 60.0), ("HH32", 180.0), ("HH33", 300.0)):
        amide[name] = place(c[-1], n[-1], amide["CH3"], C_H, TETRAHEDRAL, torsion)
    positions = np.concatenate([[acetyl[name] for name in ACETYL], alanines, [amide[name] for name in METHYLAMIDE]])
    names = [("ACE", 1, name) for name in ACETYL]
    names += [("ALA", k + 2, name) for k in range(residues) for name in ALANINE]
    names += [("NME", residues + 2, name) for name in METHYLAMIDE]
    return names, 0.1 * (positions - positions.mean(axis=0)), _bonds(residues)


def _backbone(residues):
    """N of residues 1 to n + 1, CA and C of residues 0 to n; residue 0 is the acetyl group, n + 1 the amide."""
    n, ca, c = np.zeros((residues + 1, 3)), np.zeros((residues + 1, 3)), np.zeros((residues + 1, 3))
    c[0] = CA_C, 0.0, 0.0
    n[0] = place(np.array([0.0, 1.0, 0.0]), ca[0], c[0], C_N, AT_C, PSI)
    for k in range(1, residues + 1):
        ca[k] = place(ca[k - 1], c[k - 1], n[k - 1], N_CA, AT_N, OMEGA)
        c[k] = place(c[k - 1], n[k - 1], ca[k], CA_C, AT_CA, PHI)
        n[k] = place(n[k - 1], ca[k], c[k], C_N, AT_C, PSI)
    return n, ca, c


def _bonds(residues):
    inside = {
        "ACE": (ACETYL, [("HH31", "CH3"), ("HH32", "CH3"), ("HH33", "CH3"), ("CH3", "C"), ("C", "O")]),
        "NME": (METHYLAMIDE, [("N", "H"), ("N", "CH3"), ("CH3", "HH31"), ("CH3", "HH32"), ("CH3", "HH33")]),
    }
    alanine = [("N", "H"), ("N", "CA"), ("CA", "HA"), ("CA", "CB"), ("CB", "HB1"), ("CB", "HB2"), ("CB", "HB3"), ("CA", "C"), ("C", "O")]

    def indices(atoms, pairs):
        return np.array([(atoms.index(a), atoms.index(b)) for a, b in pairs])

    starts = 6 + 10 * np.arange(residues)
    own = (starts[:, None, None] + indices(ALANINE, alanine)).reshape(-1, 2)
    carbons = np.concatenate([[ACETYL.index("C")], starts + ALANINE.index("C")])
    nitrogens = np.concatenate([starts, [6 + 10 * residues]])
    amide = 6 + 10 * residues + indices(*inside["NME"])
    return np.concatenate([indices(*inside["ACE"]), own, amide, np.stack([carbons, nitrogens], axis=1)])


def atomicNumbers(names):
    return np.array([NUMBERS[name[0]] for _, _, name in names])


def topology(names, bonds):
    """An openmm.app.Topology of one chain."""
    from openmm import app

    result = app.Topology()
    chain, residue, last, atoms = result.addChain(), None, None, []
    for residueName, number, name in names:
        if number != last:
            residue, last = result.addResidue(residueName, chain, str(number)), number
        atoms.append(result.addAtom(name, app.Element.getBySymbol(name[0]), residue))
    for a, b in bonds:
        result.addBond(atoms[a], atoms[b])
    return result
