# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Free energy along one coordinate that all engines share: the first TICA coordinate of the distances between residues, or the RMSD."""

import importlib.util

import numpy as np

from .settings import MARTINI

BINS, LAG_PART, MOST_DISTANCES = 40, 20, 300
FEWEST_FRAMES, FEWEST_TOTAL = 20, 100
GAS_CONSTANT = 8.31446261815324e-3  # kJ/mol/K
EDGES = (0.1, 99.9)  # percentiles of what is drawn


class Coordinate:
    """
    Attributes
    ----------
    kind : str
        "tica" or "rmsd"
    label : str
        Of the axis.
    text : str
        What it is, for the caption.
    values : dict of str to numpy.ndarray
        [trajectories, frames] of each engine.
    """

    def __init__(self, kind, label, text, values):
        self.kind, self.label, self.text, self.values = kind, label, text, values


def chooseCoordinate(outcomes, wanted):
    """TICA where it is wanted and possible, else the RMSD with the reason in its text."""
    if wanted == "rmsd":
        return _rmsd(outcomes, "")
    reason = _whyNoTica(outcomes)
    if reason is None:
        try:
            return _tica(outcomes)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            reason = f"TICA failed ({' '.join(str(error).split())})"
    return _rmsd(outcomes, f" instead of TICA: {reason}")


def _rmsd(outcomes, why):
    text = f"The coordinate is the RMSD to the native structure{why}."
    return Coordinate("rmsd", "RMSD to native (nm)", text, {outcome.name: outcome.measures.rmsd for outcome in outcomes})


def _whyNoTica(outcomes):
    if importlib.util.find_spec("deeptime") is None:
        return "the package deeptime is not installed (pip install deeptime)"
    if any(outcome.measures.distances is None for outcome in outcomes):
        return "the protein has no two residues three apart"
    if not _candidates(outcomes):
        return f"no engine wrote the {FEWEST_TOTAL} frames, {FEWEST_FRAMES} in a trajectory, that it needs"
    return None


def _candidates(outcomes):
    """Engines with enough frames; one whose points are C-alpha before MARTINI, the longest simulated time first."""
    enough = [o for o in outcomes if o.measures.rmsd.shape[1] >= FEWEST_FRAMES and o.measures.rmsd.size >= FEWEST_TOTAL]
    return sorted(enough, key=lambda o: (o.name == MARTINI, -o.measures.time[-1] * len(o.measures.rmsd)))


def _tica(outcomes):
    from deeptime.decomposition import TICA

    source = _candidates(outcomes)[0]
    pairs = source.measures.distances[0].shape[1]
    chosen = np.unique(np.linspace(0, pairs - 1, min(pairs, MOST_DISTANCES)).astype(int))
    trajectories = [distances[:, chosen] for distances in source.measures.distances]
    lag = max(1, len(trajectories[0]) // LAG_PART)
    model = TICA(lagtime=lag, dim=1).fit_from_timeseries(trajectories).fetch_model()
    project = {o.name: np.array([model.transform(d[:, chosen])[:, 0] for d in o.measures.distances]) for o in outcomes}
    # An eigenvector has no sign: small is native.
    if np.corrcoef(project[source.name].ravel(), source.measures.rmsd.ravel())[0, 1] < 0:
        project = {name: -values for name, values in project.items()}
    lagTime = lag * (source.measures.time[1] - source.measures.time[0]) * 1000
    text = (
        f"The coordinate is the first TICA coordinate (the slowest linear combination) of {len(chosen)} distances between residues three "
        f"or more apart, fitted to the trajectories of {source.result['title']}, which has the longest simulated time with C-alpha points, "
        f"with a lag of {lagTime:.3g} ps; the other engines are projected on it. It has no unit and grows away from the native structure."
    )
    return Coordinate("tica", "first TICA coordinate", text, project)


def profiles(coordinate, temperature):
    """Free energy by histogram.

    Returns
    -------
    centers : numpy.ndarray
        [BINS]
    energies : dict of str to (whole, halves)
        whole [BINS] kJ/mol, 0 at its minimum, NaN where nothing was; halves [2, BINS] from the first and the second half of the frames.
    """
    everything = np.concatenate([values.ravel() for values in coordinate.values.values()])
    low, high = np.percentile(everything, EDGES)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    energies = {}
    for name, values in coordinate.values.items():
        half = values.shape[1] // 2
        energies[name] = (
            _energy(values, edges, temperature),
            np.array([_energy(part, edges, temperature) for part in (values[:, :half], values[:, half:])]),
        )
    return 0.5 * (edges[1:] + edges[:-1]), energies


def _energy(values, edges, temperature):
    counts = np.histogram(values, edges)[0].astype(float)
    if not counts.sum():
        return np.full(len(counts), np.nan)
    with np.errstate(divide="ignore"):
        energy = -GAS_CONSTANT * temperature * np.log(counts / counts.sum())
    energy -= energy[counts > 0].min()
    energy[counts == 0] = np.nan
    return energy
