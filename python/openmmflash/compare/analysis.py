# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Structure along the trajectories, measured by MDTraj on one point a residue, so that atoms and beads can be compared.

The point is the C-alpha atom or bead, or MARTINI's backbone bead BB; native is the prepared structure, in the same representation.
"""

import dataclasses

import numpy as np

from . import CompareError

CONTACT, SEPARATION = 0.8, 3  # nm; residues apart in the chain
BROKEN = 0.6  # nm between the points of neighbors in a chain, which are 0.35 to 0.4 nm apart
STEEPNESS, TOLERANCE = 50.0, 1.2  # 1/nm and 1: of Best, Hummer and Eaton's fraction of native contacts, for coarse-grained models


@dataclasses.dataclass
class Measures:
    """[trajectories, frames] each, unless said otherwise; None where the protein is too short or the engine has no such atoms.

    Attributes
    ----------
    time : numpy.ndarray
        [frames] ns of simulated time
    rmsd, gyration : numpy.ndarray
        nm
    contacts : numpy.ndarray or None
        Fraction of native contacts.
    native : dict
        gyration (nm) of the native structure, contacts (how many pairs).
    phi, psi : numpy.ndarray or None
        [trajectories * frames, residues] degrees
    angles, dihedrals : numpy.ndarray or None
        [trajectories * frames, quadruplets] degrees: pseudo-dihedral of four consecutive points, and the angle at the second of them.
    broken : int
        Frames, of all trajectories, in which neighbors of a chain are further than BROKEN apart.
    distances : list of numpy.ndarray or None
        [frames, pairs] nm of each trajectory, residues at least SEPARATION apart.
    """

    time: np.ndarray
    rmsd: np.ndarray
    gyration: np.ndarray
    contacts: np.ndarray | None
    native: dict
    phi: np.ndarray | None
    psi: np.ndarray | None
    angles: np.ndarray | None
    dihedrals: np.ndarray | None
    distances: list | None
    broken: int = 0


def measure(result, residues):
    """The Measures of an engine's result (settings.Outcome) for a protein of so many amino acids.

    Raises
    ------
    CompareError
        A trajectory is empty, or its points are not those of the protein.
    """
    import mdtraj

    native = mdtraj.load(result["reference"])
    trajectories = [mdtraj.load(path, top=result["topology"]) for path in result["trajectories"]]
    frames = min(trajectory.n_frames for trajectory in trajectories)
    if frames < 1:
        raise CompareError("the trajectory has no frame")
    trajectories = [trajectory[:frames] for trajectory in trajectories]
    points = [atom.index for atom in trajectories[0].topology.atoms if atom.name == result["bead"]]
    nativePoints = [atom.index for atom in native.topology.atoms if atom.name == result["bead"]]
    if len(points) != residues or len(nativePoints) != residues:
        raise CompareError(
            f"{len(points)} particles {result['bead']} are in the trajectory and {len(nativePoints)} in the reference; the protein has "
            f"{residues} amino acids"
        )
    chains = [native.topology.atom(i).residue.chain.index for i in nativePoints]
    reduced = [trajectory.atom_slice(points) for trajectory in trajectories]
    reference = native.atom_slice(nativePoints)
    for part in (*reduced, reference):
        part.unitcell_vectors = None  # molecules are whole; distances are those inside one
    pairs = np.array([(i, j) for i in range(residues) for j in range(i + SEPARATION, residues)])
    contacts, numNative = None, 0
    if len(pairs):
        distances = [mdtraj.compute_distances(part, pairs, periodic=False) for part in reduced]
        nativeDistances = mdtraj.compute_distances(reference, pairs, periodic=False)[0]
        near = nativeDistances < CONTACT
        numNative = int(near.sum())
        if numNative:
            contacts = np.array([_fraction(d[:, near], nativeDistances[near]) for d in distances])
    else:
        distances = None
    quadruplets = np.array([range(k, k + 4) for k in range(residues - 3) if len(set(chains[k : k + 4])) == 1])
    angles = dihedrals = None
    if len(quadruplets):
        angles = np.degrees(np.concatenate([mdtraj.compute_angles(part, quadruplets[:, :3], periodic=False) for part in reduced]))
        dihedrals = np.degrees(np.concatenate([mdtraj.compute_dihedrals(part, quadruplets, periodic=False) for part in reduced]))
    neighbors = np.array([(k, k + 1) for k in range(residues - 1) if chains[k] == chains[k + 1]])
    broken = 0
    if len(neighbors):
        longest = [mdtraj.compute_distances(part, neighbors, periodic=False).max(axis=1) for part in reduced]
        broken = int(sum((lengths > BROKEN).sum() for lengths in longest))
    phi, psi = _ramachandran(trajectories)
    step = result["interval"] * result["timestep_fs"] * 1e-6
    return Measures(
        time=step * np.arange(1, frames + 1),
        rmsd=np.array([mdtraj.rmsd(part, reference) for part in reduced]) if residues > 1 else np.zeros((len(reduced), frames)),
        gyration=np.array([mdtraj.compute_rg(part) for part in reduced]),
        contacts=contacts,
        native={"gyration": float(mdtraj.compute_rg(reference)[0]), "contacts": numNative},
        phi=phi,
        psi=psi,
        angles=angles,
        dihedrals=dihedrals,
        distances=distances,
        broken=broken,
    )


def _fraction(distances, native):
    """[frames] of Best, Hummer, Eaton, PNAS 110, 17874 (2013), equation 1."""
    from scipy.special import expit

    return np.mean(expit(-STEEPNESS * (distances - TOLERANCE * native)), axis=1)


def _ramachandran(trajectories):
    """phi and psi of the residues that have both, where all have their backbone atoms."""
    import mdtraj

    topology = trajectories[0].topology
    if not any({"N", "CA", "C"} <= {atom.name for atom in residue.atoms} for residue in topology.residues):
        return None, None
    phi, psi = ([function(part, periodic=False) for part in trajectories] for function in (mdtraj.compute_phi, mdtraj.compute_psi))
    # The second atom of phi and the first of psi is the residue's N.
    first, second = phi[0][0][:, 1].tolist(), psi[0][0][:, 0].tolist()
    both = sorted(set(first) & set(second))
    if not both:
        return None, None
    columns = [first.index(i) for i in both], [second.index(i) for i in both]
    return tuple(np.degrees(np.concatenate([values[:, chosen] for _, values in found])) for found, chosen in zip((phi, psi), columns))
