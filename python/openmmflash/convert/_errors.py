# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The one exception of the converters."""


class ConversionError(ValueError):
    """A source cannot be converted; the message says what was found, where, what is allowed and what to do."""
