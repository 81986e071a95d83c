# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The exceptions of the converters, and how its messages show what a file holds."""

import reprlib


class ConversionError(ValueError):
    """A source cannot be converted; the message says what was found, where, what is allowed and what to do."""


class TorchFileError(ConversionError):
    """A torch file that is damaged, of another kind, or asks for something that reading data does not need."""


class _Shown(reprlib.Repr):
    """A repr that is short to make, too: that of nested shared lists would have 2^n parts, and is cut only after it has been built."""

    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 80, 80

    def repr1(self, value, level):
        if isinstance(value, type):
            return f"the class {value.__module__}.{value.__qualname__}"
        if type(value) in (str, tuple, list, dict, set, frozenset):
            return super().repr1(value, level)
        if isinstance(value, str):
            return super().repr_str(str(value), level)
        if value is None or isinstance(value, (bool, float, complex)) or isinstance(value, int) and value.bit_length() < 256:
            return repr(value)
        if isinstance(value, bytes):
            return repr(value[:40])
        return f"<{type(value).__module__}.{type(value).__qualname__}>"


def shown(value):
    """A short text for any value, whatever it is: for messages about what a file holds."""
    return _Shown().repr(value)
