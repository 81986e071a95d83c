# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash bench: our time and memory beside those of other programs, with the same model and coordinates. See docs/benchmarks.md.

polyala, water, beads and models build what is measured; cases puts it into folders; contenders/ holds one adapter per program, and the
worker that runs it in a process of its own with the interpreter it is installed in; runner measures in turns and compares; results and
plot show it.
"""
