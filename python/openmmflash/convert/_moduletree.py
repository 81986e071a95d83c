# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Read trees of torch modules, live or stored (_torchfile), through what both keep: `_parameters`, `_buffers`, `_modules`, attributes."""

import copy
import importlib
import math
from dataclasses import dataclass

import numpy as np

from ._errors import ConversionError, shown
from ._report import OriginalUnavailable
from ._torchfile import SparseTensor, Stub

# ln 2 rounded to float32: what `torch.log(torch.tensor(2.0)).item()`, the shift of PyG's and TorchMD-Net's shifted softplus, gives.
FLOAT32_LN2 = float(np.float32(math.log(2.0)))


def fullName(value):
    """The dotted name of the class of an object, or of a class or function itself; `torch.nn.functional.silu`."""
    if isinstance(value, type) or callable(value) and hasattr(value, "__qualname__"):
        named = value
    else:
        named = type(value)
    module = getattr(named, "__module__", None) or "torch"  # torch's built-in functions have no module
    return f"{module}.{named.__qualname__}".replace("._VariableFunctionsClass.", ".")


def isModule(value):
    """Whether a value is a torch module, live or stored."""
    return isinstance(getattr(value, "__dict__", {}).get("_modules"), dict)


def isTensor(value):
    """Whether a value is an array, or a torch tensor."""
    return isinstance(value, np.ndarray) or (hasattr(value, "detach") and hasattr(value, "numpy") and not isinstance(value, Stub))


def toArray(value):
    """A torch tensor, array or number as numpy.ndarray of its own dtype; bfloat16, which numpy lacks, as float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        return value.numpy()
    if not isinstance(value, (np.ndarray, np.generic, bool, int, float)):
        raise ConversionError(f"There is {shown(value)} where a tensor or a number should be.")
    return np.asarray(value)


def number(value, what):
    """A stored number as float. @raises ConversionError for anything else"""
    if hasattr(value, "detach") or isinstance(value, np.ndarray):
        value = toArray(value)
        value = value.reshape(()).item() if value.size == 1 else value
    if not isinstance(value, (int, float, np.number)):
        raise ConversionError(f"{what} is {shown(value)}; a number is needed.")
    return float(value)


def namedTensors(tensors, where):
    """A state dict as it is. @raises ConversionError unless all its keys are text"""
    for name in tensors:
        if not isinstance(name, str):
            raise ConversionError(f"{where}: a tensor is called {shown(name)}; names are text.")
    return tensors


def children(module):
    """Submodules by name; empty for functions and other objects."""
    found = getattr(module, "__dict__", {}).get("_modules") or {}
    return {name: child for name, child in found.items() if child is not None}


def child(module, name, where):
    """One submodule. @raises ConversionError if it is absent"""
    found = children(module)
    if name not in found:
        raise ConversionError(f"{where}: {fullName(module)} has no submodule '{name}'; it has {', '.join(found) or 'none'}.")
    return found[name]


def attribute(module, name, where, *default):
    """A plain attribute of a module. @raises ConversionError if it is absent and no default is given"""
    attributes = module.__dict__
    if name in attributes:
        return attributes[name]
    for place in ("_parameters", "_buffers", "_modules"):
        if attributes.get(place) and name in attributes[place]:
            return attributes[place][name]
    if default:
        return default[0]
    raise ConversionError(f"{where}: {fullName(module)} has no attribute '{name}', which its version must have for the conversion.")


def requireType(module, allowed, where, reason="this architecture is not supported"):
    """@raises ConversionError unless the object's class is one of `allowed` (full names)"""
    name = fullName(module)
    if name not in allowed:
        raise ConversionError(f"{where} is {name}: {reason}. Supported here: {', '.join(allowed)}.")


def stateOf(module, prefix=""):
    """The tensors of a module tree by dotted name, as module.state_dict() of a live module, read from the tree itself.

    @raises ConversionError for hooks, which may change what a module computes and cannot be converted
    """
    state = {}
    attributes = module.__dict__
    for kind in ("_forward_hooks", "_forward_pre_hooks"):
        if attributes.get(kind):
            raise ConversionError(
                f"{prefix or 'model'}: {fullName(module)} has {len(attributes[kind])} forward hook(s), which cannot be converted. "
                "Remove them."
            )
    transient = attributes.get("_non_persistent_buffers_set") or ()
    for place in ("_parameters", "_buffers"):
        for name, value in (attributes.get(place) or {}).items():
            if value is not None and name not in transient:
                state[prefix + name] = toArray(value)
    for name, value in children(module).items():
        state.update(stateOf(value, f"{prefix}{name}."))
    return state


class State:
    """Tensors by name, each to be taken or dropped exactly once or more; `finish` raises for any that nobody asked for."""

    def __init__(self, tensors, where):
        self.tensors = {name: toArray(value) for name, value in namedTensors(tensors, where).items()}
        self.where = where
        self.used = set()

    def __contains__(self, name):
        return name in self.tensors

    def take(self, name, shape=None):
        """A tensor. @param shape the expected shape, None standing for any length of a dimension"""
        if name not in self.tensors:
            near = [key for key in self.tensors if key.split(".")[-1] == name.split(".")[-1]][:6]
            raise ConversionError(f"{self.where}: tensor '{name}' is missing. Of that kind there are: {', '.join(near) or 'none'}.")
        self.used.add(name)
        array = self.tensors[name]
        if array.dtype.kind != "f":
            raise ConversionError(f"{self.where}: tensor '{name}' has dtype {array.dtype}; real numbers are needed.")
        if shape is not None and (array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape))):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise ConversionError(f"{self.where}: tensor '{name}' has shape {list(array.shape)}; [{wanted}] is needed.")
        return array

    def optional(self, name, shape=None):
        return self.take(name, shape) if name in self.tensors else None

    def scalar(self, name):
        """A tensor of one element, as float."""
        array = self.take(name)
        if array.size != 1:
            raise ConversionError(f"{self.where}: tensor '{name}' has shape {list(array.shape)}; one number is needed.")
        return float(array.reshape(()))

    def linear(self, name, outputs=None, inputs=None, bias=True):
        """(weight [outputs, inputs], bias [outputs] or None)."""
        weight = self.take(f"{name}.weight", (outputs, inputs))
        return weight, self.take(f"{name}.bias", (weight.shape[0],)) if bias else None

    def drop(self, name):
        """Mark a tensor as known and not needed."""
        if name in self.tensors:
            self.used.add(name)

    def same(self, name, other):
        """Mark `name` as a second name of `other`. @raises ConversionError if their values differ"""
        if name in self.tensors:
            if not np.array_equal(self.tensors[name], self.tensors[other]):
                raise ConversionError(
                    f"{self.where}: tensors '{name}' and '{other}' are one and the same in this architecture, but their values differ."
                )
            self.used.add(name)

    def finish(self):
        """@raises ConversionError naming the tensors that were not used"""
        left = [name for name in self.tensors if name not in self.used]
        if left:
            shown = ", ".join(left[:8]) + (f" and {len(left) - 8} more" if len(left) > 8 else "")
            raise ConversionError(
                f"{self.where}: {len(left)} tensor(s) belong to nothing that this converter knows: {shown}. Nothing may be left out "
                "silently."
            )


@dataclass(frozen=True)
class Activation:
    """f(x) = outputScale * name(inputScale * x) + shift, `name` one of the model format's; None for no activation at all."""

    name: str
    inputScale: float = 1.0
    outputScale: float = 1.0
    shift: float = 0.0

    @property
    def plain(self):
        return (self.inputScale, self.outputScale, self.shift) == (1.0, 1.0, 0.0)


def offsetSoftplus(shift):
    """softplus(x) - shift; PyG and TorchMD-Net have the float32 rounding of ln 2 for it, 1.9e-9 off."""
    return Activation("shifted_softplus", shift=math.log(2.0) - shift)


_FUNCTIONS = {
    "schnetpack.nn.activations.shifted_softplus": "shifted_softplus",
    "torch.nn.functional.softplus": "softplus",
    "torch._C._nn.softplus": "softplus",
    "torch.softplus": "softplus",
    "torch.nn.functional.silu": "silu",
    "torch.nn.functional.tanh": "tanh",
    "torch.tanh": "tanh",
    "torch.nn.functional.sigmoid": "sigmoid",
    "torch.sigmoid": "sigmoid",
    "torch.nn.functional.mish": "mish",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.activation.Mish": "mish",
}


def readActivation(value, state, prefix, where):
    """The Activation of a module or function.

    Parameters
    ----------
    value : module, function or stub of either
    state : State
        Holds the module's own parameters, which are marked as used.
    prefix : str
        The module's dotted name in `state`.
    where : str
        What to call its place in errors.
    """
    name = fullName(value)
    if name in _FUNCTIONS:
        return Activation(_FUNCTIONS[name])
    if name == "torch.nn.modules.activation.Softplus":
        beta, threshold = float(attribute(value, "beta", where, 1.0)), float(attribute(value, "threshold", where, 20.0))
        if threshold < 20:
            raise ConversionError(
                f"{where} is Softplus with threshold {threshold}: below 20 the linear continuation is not a softplus any more."
            )
        return Activation("softplus", beta, 1 / _nonzero(beta, f"{where}: beta of Softplus"))
    if name == "schnetpack.nn.activations.ShiftedSoftplus":
        alpha, beta = state.scalar(f"{prefix}.alpha"), state.scalar(f"{prefix}.beta")
        return Activation("shifted_softplus", beta, alpha / _nonzero(beta, f"{where}: beta of ShiftedSoftplus"))
    if name in ("torch_geometric.nn.models.schnet.ShiftedSoftplus", "torchmdnet.models.utils.ShiftedSoftplus"):
        return offsetSoftplus(float(attribute(value, "shift", where, FLOAT32_LN2)))
    if name == "torchmdnet.models.utils.Swish":
        beta = float(attribute(value, "beta", where, 1.0))
        return Activation("silu", beta, 1 / _nonzero(beta, f"{where}: beta of Swish"))
    known = ", ".join(sorted({key.split(".")[-1] for key in _FUNCTIONS} | {"Softplus", "ShiftedSoftplus", "Swish"}))
    raise ConversionError(f"{where} is {name}, which is not an activation of the model format. Known: {known}.")


# What a stored network may be rebuilt from, beside the classes of its own package.
TORCH_CLASSES = (
    *(f"torch.nn.modules.container.{name}" for name in ("Sequential", "ModuleList", "ModuleDict")),
    *(f"torch.nn.modules.linear.{name}" for name in ("Linear", "Identity")),
    "torch.nn.modules.sparse.Embedding",
    "torch.nn.modules.activation.Softplus",
    *_FUNCTIONS,
)


def revive(torch, module, tensors, package, classes):
    """A live copy of a module in double precision and evaluation mode, with `tensors` (by dotted name) in place of its own.

    Nothing of a stored module's file is executed: objects of `classes` and TORCH_CLASSES are made empty and their attributes set; other
    modules only keep their tensors, and other objects stay as they are stored.

    Parameters
    ----------
    torch : module
    module : torch.nn.Module or Stub
    tensors : dict
    package : str
        What to say is missing.
    classes : collection of str
        Full names of the package's classes and functions.

    Raises
    ------
    OriginalUnavailable
        The package cannot be imported.
    """
    try:
        live = revived(torch, module, {*classes, *TORCH_CLASSES}) if isinstance(module, Stub) else copy.deepcopy(module)
    except ImportError as error:
        raise OriginalUnavailable(f"{package} cannot be imported ({error})") from error
    live = live.double()
    mine = dict(live.named_parameters(remove_duplicate=False)) | dict(live.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for name, array in tensors.items():
            mine[name].copy_(torch.as_tensor(array))
    live.train()
    live.eval()  # both: SchNetPack's NuclearEmbedding computes its table when it is switched to evaluation
    return live


def revived(torch, value, classes, seen=None):
    """What loadTorchFile returned with live objects in the place of its stored modules and tensors; see revive."""
    seen = {} if seen is None else seen
    if isinstance(value, Stub) or isinstance(value, type) and issubclass(value, Stub):
        if id(value) in seen:
            return seen[id(value)]
        name, found = fullName(value), None
        if name in classes:
            module, _, attributeName = name.rpartition(".")
            found = getattr(importlib.import_module(module), attributeName)
        elif isModule(value):
            found = torch.nn.Module
        if isinstance(value, type) or not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
            return value if found is None else found
        live = seen[id(value)] = found.__new__(found)
        state = {key: revived(torch, entry, classes, seen) for key, entry in value.__dict__.items()}
        for key, entry in state.get("_parameters", {}).items():
            state["_parameters"][key] = None if entry is None else torch.nn.Parameter(entry, requires_grad=False)
        torch.nn.Module.__setstate__(live, state)
        return live
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.array(value))
    if isinstance(value, SparseTensor):
        return torch.from_numpy(value.toDense())
    if isinstance(value, dict):
        return type(value)((key, revived(torch, entry, classes, seen)) for key, entry in value.items())
    if isinstance(value, (list, tuple, set)):
        return type(value)(revived(torch, entry, classes, seen) for entry in value)
    return value


def _nonzero(value, what):
    if value == 0 or not math.isfinite(value):
        raise ConversionError(f"{what} is {value}; it must be finite and not zero.")
    return value


def foldActivations(layers, activations):
    """Absorb the scales and shifts of activations into the layers around them.

    W f(V x + v) + w with f(x) = s f0(t x) + d becomes W' f0(V' x + v') + w'.

    Parameters
    ----------
    layers : list of (weight [n, m], bias [n] or None)
    activations : list of Activation
        One fewer, between the layers.

    Returns
    -------
    list of (weight, bias)
        As stored where nothing had to be absorbed, else float64.
    """
    layers = list(layers)
    for i, f in enumerate(activations):
        if f.inputScale != 1.0:
            weight, bias = layers[i]
            layers[i] = (_double(weight) * f.inputScale, None if bias is None else _double(bias) * f.inputScale)
        if f.shift != 0.0:
            weight, bias = layers[i + 1]
            added = f.shift * _double(weight).sum(axis=1)
            layers[i + 1] = (weight, added if bias is None else _double(bias) + added)
        if f.outputScale != 1.0:
            weight, bias = layers[i + 1]
            layers[i + 1] = (_double(weight) * f.outputScale, bias)
    return layers


def _double(array):
    return np.asarray(array, dtype=np.float64)
