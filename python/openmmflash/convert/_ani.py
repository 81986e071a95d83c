# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""An ANI model between being read and being written (MODELS: Angstrom, hartree)."""

import math
from dataclasses import dataclass

import numpy as np

from ._errors import ConversionError

_TORCHANI = "X. Gao et al., J. Chem. Inf. Model. 60, 3408 (2020), doi:10.1021/acs.jcim.0c00451"
_LICENSE = "MIT (TorchANI and its model zoo)"
PUBLISHED = {
    "ani1x": {
        "description": "ANI-1x: wB97X/6-31G(d) energies of molecules of H C N O, trained by active learning",
        "citation": f"J. S. Smith et al., J. Chem. Phys. 148, 241733 (2018), doi:10.1063/1.5023802; {_TORCHANI}",
        "license": _LICENSE,
    },
    "ani1ccx": {
        "description": "ANI-1ccx: CCSD(T)*/CBS energies of molecules of H C N O, by transfer learning from ANI-1x",
        "citation": f"J. S. Smith et al., Nat. Commun. 10, 2903 (2019), doi:10.1038/s41467-019-10827-4; {_TORCHANI}",
        "license": _LICENSE,
    },
    "ani2x": {
        "description": "ANI-2x: wB97X/6-31G(d) energies of molecules of H C N O S F Cl",
        "citation": f"C. Devereux et al., J. Chem. Theory Comput. 16, 4192 (2020), doi:10.1021/acs.jctc.0c00121; {_TORCHANI}",
        "license": _LICENSE,
    },
}
# A published model is known by its self energies; in float32, which is what every form of distribution has in common.
_SELF_ENERGIES = {
    "ani1x": (-0.60095298, -38.08316124, -54.7077577, -75.19446356),
    "ani1ccx": (-0.5991501, -38.037508, -54.674483, -75.160435),
    "ani2x": (-0.5978584, -38.089339, -54.711968, -75.191068, -398.15771, -99.803485, -460.16819),
}


@dataclass
class AniModel:
    """symbols [T]; cutoffs in Angstrom; constants by their name in the model file without 'aev.'; selfEnergies [T] in hartree;
    members: for each, a list of layers (weight [out, in], bias [out]) per symbol."""

    symbols: list
    radialCutoff: float
    angularCutoff: float
    celuAlpha: float
    constants: dict
    selfEnergies: np.ndarray
    members: list

    def aevLength(self):
        radial, angular = (math.prod(v.size for k, v in self.constants.items() if k.startswith(part)) for part in ("radial", "angular"))
        n = len(self.symbols)
        return n * radial + n * (n + 1) // 2 * angular

    def publishedName(self):
        """ani1x, ani1ccx or ani2x, or None."""
        for name, energies in _SELF_ENERGIES.items():
            if len(energies) == len(self.symbols) and np.allclose(self.selfEnergies, energies, rtol=2e-7, atol=0):
                return name
        return None

    def selectMembers(self, members):
        """Keep the members of these indices, in this order."""
        for k in members:
            if not isinstance(k, (int, np.integer)) or not 0 <= k < len(self.members):
                raise ConversionError(f"Member {k!r} was asked for; the model has {len(self.members)} members, numbered from 0.")
        if len(members) == 0 or len(set(members)) != len(members):
            raise ConversionError(f"The members {list(members)} were asked for; name at least one, and none twice.")
        self.members = [self.members[k] for k in members]

    def toFile(self, name, **texts):
        """(metadata, tensors) for writeModel."""
        from openmm.app import Element

        types = []
        for symbol in self.symbols:
            try:
                element = Element.getBySymbol(symbol)
            except KeyError:
                raise ConversionError(f"'{symbol}' is not the symbol of an element; the model's types are {self.symbols}.") from None
            types.append({"name": symbol, "atomic_number": element.atomic_number, "mass": element.mass._value})
        if len(set(self.symbols)) != len(self.symbols):
            raise ConversionError(f"The model's elements are {self.symbols}; each may be there once.")
        hyperparameters = {
            "radial_cutoff": self.radialCutoff, "angular_cutoff": self.angularCutoff, "celu_alpha": self.celuAlpha,
            "cutoff_function": "cosine",
        }  # fmt: skip
        metadata = {
            "architecture": "ani", "name": name, "length_unit": "angstrom", "energy_unit": "hartree", "types": types,
            "hyperparameters": hyperparameters, "num_members": str(len(self.members)), **texts,
        }  # fmt: skip
        tensors = {f"aev.{key}": value.astype(np.float64).ravel() for key, value in self.constants.items()}
        tensors["type_energies"] = self.selfEnergies.astype(np.float64)
        for k, member in enumerate(self.members):
            for symbol, layers in member.items():
                self._checkLayers(f"member {k}, {symbol}", layers)
                for index, (weight, bias) in enumerate(layers):
                    prefix = f"members.{k}.networks.{symbol}.{index}"
                    tensors[f"{prefix}.weight"], tensors[f"{prefix}.bias"] = _compact(weight), _compact(bias)
        return metadata, tensors

    def _checkLayers(self, what, layers):
        width = self.aevLength()
        for index, (weight, bias) in enumerate(layers):
            if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
                shapes = f"weights {weight.shape} and biases {bias.shape}"
                raise ConversionError(f"The network of {what} has {shapes} in layer {index}, which has {width} inputs.")
            width = weight.shape[0]
        if width != 1:
            raise ConversionError(f"The network of {what} has {width} outputs; an ANI network has 1.")


def _compact(array):
    """float32 where nothing is lost by it: networks that were trained in float32 and widened since."""
    single = array.astype(np.float32)
    return single if np.array_equal(single.astype(array.dtype), array) else array
