# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The units of model files (docs/model-format.md) and how converters take them. The C++ reader has the same table; a test compares them."""

import math

from ._errors import ConversionError, shown

# In nm and kJ/mol; CODATA 2018.
LENGTHS = {"nm": 1.0, "angstrom": 0.1, "bohr": 0.0529177210903}
ENERGIES = {"kJ/mol": 1.0, "kcal/mol": 4.184, "eV": 96.48533212331002, "hartree": 2625.4996394798254}
_ALIASES = {  # as users write them
    "A": "angstrom",
    "Angstrom": "angstrom",
    "Ang": "angstrom",
    "Bohr": "bohr",
    "a0": "bohr",
    "Hartree": "hartree",
    "Ha": "hartree",
    "kcal": "kcal/mol",
}


def readUnit(value, names, option, missing=None):
    """A unit as the file has it: one of `names`, or a positive number as text. @param missing the error where the option is None"""
    if value is None and missing:
        raise ConversionError(missing)
    text = _ALIASES.get(value, value) if isinstance(value, str) else None
    if text in names:
        return text
    base = "nm" if option == "lengthUnit" else "kJ/mol"
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        allowed = f"{', '.join(names)}, or " if names else ""
        raise ConversionError(f"{option} is {shown(value)}; it must be {allowed}a positive number: {base} per unit.")
    return repr(number)


def statedUnits(lengthUnit, energyUnit, dialect):
    """(length unit, energy unit) of a dialect whose models do not say them: the user must."""
    texts = []
    for key, value, names in (("lengthUnit", lengthUnit, LENGTHS), ("energyUnit", energyUnit, ENERGIES)):
        missing = f"A {dialect} model does not say its units: give {key}=UNIT: {', '.join(names)} or a number, as in its training."
        texts.append(readUnit(value, names, key, missing))
    return tuple(texts)
