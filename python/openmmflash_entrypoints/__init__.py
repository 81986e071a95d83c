# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What OpenMM and OpenMM-ML load through entry points.

Both load the entry points of all installed packages at once, and give up all of them where one fails. So nothing here imports openmmflash
before it is used: an installation of it that does not work shall not take the others with it.
"""
