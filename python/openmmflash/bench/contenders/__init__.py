# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What runs inside a measured process: worker.py and an adapter for each program.

These files are run by the interpreter in which the program is installed, so they use nothing but the standard library, numpy and the
program.
"""
