# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""`python -m openmmflash` is the command openmm-flash."""

from openmmflash.cli import main

main(prog_name="python -m openmmflash")
