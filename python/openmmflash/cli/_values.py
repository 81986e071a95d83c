# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Values with units on the command line, and the units that the commands share."""

import math
import re

import click


class Quantity(click.ParamType):
    """A finite number with an optional unit, in the option's own unit afterwards.

    Parameters
    ----------
    units : dict of str to float
        Unit to its size in the first one, which is also the one of a bare number.
    minimum : float
    exclusive : bool
        Whether the minimum itself is refused.
    maximum : float
    """

    def __init__(self, units, minimum=0.0, exclusive=False, maximum=math.inf):
        self.units, self.minimum, self.exclusive, self.maximum = units, minimum, exclusive, maximum
        self.unit = next(iter(units))
        self.name = self.unit.upper() if self.unit in ("k",) else self.unit

    def get_metavar(self, param, ctx=None):
        return self.unit

    def convert(self, value, param, context):
        if isinstance(value, (int, float)):
            return float(value)
        match = re.fullmatch(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z/]*)\s*", value)
        if not match:
            self.fail(f"{value!r} is not a number{self._unitText()}.", param, context)
        number, unit = float(match[1]), match[2] or self.unit
        if unit not in self.units:
            self.fail(f"{value!r} has the unit {unit!r}; allowed are {', '.join(self.units)} (without one: {self.unit}).", param, context)
        number *= self.units[unit]
        low = number <= self.minimum if self.exclusive else number < self.minimum
        if not math.isfinite(number) or low:
            bound = "larger than" if self.exclusive else "at least"
            self.fail(f"{value!r} must be a finite number {bound} {self.minimum:g} {self.unit}.", param, context)
        if number > self.maximum:
            self.fail(f"{value!r} is too large; at most {self.maximum:g} {self.unit} is allowed.", param, context)
        return number

    def _unitText(self):
        return f", with or without a unit ({', '.join(self.units)})"


class Ladder(click.ParamType):
    """Rising temperatures in K: a list (300,320,350), or lowest:highest:number for one of equal ratios."""

    name = "ladder"

    def get_metavar(self, param, ctx=None):
        return "K,K,...|K:K:N"

    def convert(self, value, param, context):
        if not isinstance(value, str):
            return value
        temperature = Quantity(TEMPERATURE, exclusive=True, maximum=HOTTEST)
        parts = value.split(":")
        if len(parts) == 3 and parts[2].strip().isdecimal():
            low, high = (temperature.convert(part, param, context) for part in parts[:2])
            number = int(parts[2])
            if number < 2 or not low < high:
                self.fail(f"{value!r}: LOWEST:HIGHEST:NUMBER has two or more temperatures, the first the lowest.", param, context)
            values = [round(low * (high / low) ** (i / (number - 1)), 3) for i in range(number)]
            if any(a >= b for a, b in zip(values, values[1:])):
                self.fail(f"{value!r}: {number} temperatures lie too close together; they are rounded to 0.001 K.", param, context)
            return values
        values = [temperature.convert(part, param, context) for part in value.split(",")]
        if len(values) < 2 or any(a >= b for a, b in zip(values, values[1:])):
            self.fail(f"{value!r} must be two or more temperatures, each higher than the one before.", param, context)
        return values


DURATION = {"ps": 1.0, "fs": 1e-3, "ns": 1e3, "us": 1e6}
TIMESTEP = {"fs": 1.0, "ps": 1e3}
TEMPERATURE = {"K": 1.0}
FRICTION = {"1/ps": 1.0}
HOTTEST, STRONGEST = 1e5, 1e6  # K, 1/ps: far beyond what molecules and integrators stand
PRESSURE = {"bar": 1.0, "atm": 1.01325}
GAS_CONSTANT = 8.31446261815324e-3  # kJ/mol/K
