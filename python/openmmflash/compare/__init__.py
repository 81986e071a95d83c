# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash compare: the same protein with our model, AMBER and MARTINI, for the same wall time each, in one report (docs/compare.md).

protein prepares the structure; worker runs what OpenMM runs (systems builds it) in a process of its own, martini what GROMACS runs;
analysis and freeenergy measure the trajectories; figures and report show them; runner goes through all of it.
"""


class CompareError(ValueError):
    """Something that cannot be compared as asked; the message is for the user."""
