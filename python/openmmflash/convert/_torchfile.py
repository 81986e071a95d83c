# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Read files written by torch.save without torch, and without executing anything that they contain.

Such a file is a zip archive of one pickle and the raw bytes of its tensors. A pickle may name any function of any installed module and
have it called. Here a name means one of three things, and nothing else:

- a function of this module that stands for the original and only builds data (`_FUNCTIONS`);
- a *stub* class, for the names under `_STUB_PREFIXES` and in `_STUB_NAMES`: inert objects that keep what the pickle stores in them;
- an error that names the foreign name and the file.

Tensors become numpy arrays (bfloat16 widened to float32), sparse ones SparseTensor.

A small file cannot take much memory or time either: all that it expands to is paid from one budget, and nothing whose parts are shared
is ever written out, hashed or copied at the size that it would have without the sharing.
"""

import io
import math
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np

from ._errors import TorchFileError, shown
from ._opcodes import checkOpcodes

# Stubs never run code; the lists are short so that a file of another kind is noticed.
_STUB_PREFIXES = (
    "mlcg.", "flashmd.", "torchani.", "schnetpack.", "torchmdnet.", "torch_geometric.", "torch.nn.modules.", "torch.nn.init.",
    "torch.optim.", "pytorch_lightning.", "lightning.", "lightning_fabric.", "lightning_utilities.", "torchmetrics.", "omegaconf.",
)  # fmt: skip
_TORCH_FUNCTIONS = ("celu", "elu", "gelu", "leaky_relu", "mish", "relu", "selu", "sigmoid", "silu", "softplus", "tanh")
_STUB_NAMES = {
    "torch.Tensor", "torch.tanh", "torch.relu", "torch.sigmoid", "torch.softplus", "torch.sin", "torch.cos", "torch.Generator",
    "typing.Any", "typing.Union", "typing.Optional", "typing.OrderedDict", "typing.List", "typing.Dict", "typing.Tuple", "typing.Set",
    "typing.Callable", "typing.Sequence", "inspect._empty", "functools.partial", "argparse.Namespace", "types.SimpleNamespace",
    "pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath", "pathlib._local.WindowsPath", "datetime.timedelta", "datetime.datetime", "builtins.object",
    "builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.list", "builtins.dict", "builtins.tuple",
    "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch._C._VariableFunctionsClass",
    *(f"{module}.{name}" for module in ("torch.nn.functional", "torch._C._nn") for name in _TORCH_FUNCTIONS),
}  # fmt: skip

_STORAGE_DTYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bfloat16", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "bool",
    "ComplexFloatStorage": "c8", "ComplexDoubleStorage": "c16", "UntypedStorage": "u1",
}  # fmt: skip
_TORCH_DTYPES = {
    "float64": "f8", "double": "f8", "float32": "f4", "float": "f4", "float16": "f2", "half": "f2", "bfloat16": "bfloat16",
    "int64": "i8", "long": "i8", "int32": "i4", "int": "i4", "int16": "i2", "short": "i2", "int8": "i1", "uint8": "u1", "bool": "bool",
    "complex64": "c8", "complex128": "c16",
}  # fmt: skip
_NUMPY_CODES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1", "c8", "c16"]
# What the unpickler and the functions below raise when the opcodes make no sense.
_DAMAGE = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RecursionError, TypeError, ValueError, pickle.UnpicklingError,
)  # fmt: skip
_LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # the first object of torch's format before 1.6, after the protocol's two bytes
# Bytes that a file may expand to, beside four times its own. mlcg's priors of five beads, 0.2 MB of sparse tables, are 0.4 GB when dense.
_ALLOWANCE = 1 << 30


class _Budget:
    """Bytes that a file may still take."""

    def __init__(self, size):
        self.size = self.left = size

    def spend(self, count, what):
        if count > self.left:
            raise TorchFileError(f"{what} would take {count} bytes, larger than any model needs ({self.left} of {self.size} are left)")
        self.left -= count


_MODULES, _DEPTH = 100_000, 200  # parts of a module, counted as often as they stand in it; how deep they may lie


class Stub:
    """An object of a class that is not imported: its stored attributes, nothing else.

    Attributes of modules are also found where torch keeps them (`_parameters`, `_buffers`, `_modules`), so `layer.weight` works as in
    torch. `typeName(stub)` tells the original class, `stubArguments` holds what it was called with, `stubItems` what was put in as into a
    list or dict.
    """

    __slots__ = ("__dict__", "__weakref__", "stubArguments", "stubItems")
    stubBudget = _Budget(_ALLOWANCE)  # of the file, where there is one

    def __new__(cls, *arguments, **keywords):
        self = object.__new__(cls)
        self.stubArguments = arguments
        self.stubItems = []
        self.__dict__.update(keywords)
        return self

    def __init__(self, *arguments, **keywords):
        pass

    def __setstate__(self, state):
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        if not all(part is None or isinstance(part, dict) for part in parts):
            self.__dict__["state"] = state
            return
        for part in parts:
            if part:
                self.stubBudget.spend(32 * len(part), "an object's attributes")
                if not all(isinstance(key, str) for key in part):
                    raise TorchFileError(f"the attributes of a {typeName(self)} have names that are no text")
                self.__dict__.update(part)

    def __getattr__(self, name):
        for place in ("_parameters", "_buffers", "_modules"):
            content = self.__dict__.get(place)
            if isinstance(content, dict) and name in content:
                return content[name]
        raise AttributeError(f"The stored {typeName(self)} has no '{name}'; it has {', '.join(sorted(self.__dict__)) or 'nothing'}.")

    def __setitem__(self, key, value):
        self.stubItems.append((key, value))

    def append(self, value):
        self.stubItems.append(value)

    def extend(self, values):
        self.stubItems.extend(values)

    def __repr__(self):
        return f"<stored {typeName(self)}>"


def typeName(value):
    """The full name of the class of a loaded object (`mlcg.nn.schnet.StandardSchNet`); a stub class gives its own name."""
    cls = value if isinstance(value, type) else type(value)
    return f"{cls.__module__}.{cls.__qualname__}"


class _Sealed:
    """An object that a pickle cannot alter: its BUILD finds __setstate__ and is refused."""

    __slots__ = ()

    def __setstate__(self, state):
        raise TorchFileError(f"its pickle tries to change {self!r}")


class SparseTensor(_Sealed):
    """A sparse COO tensor: indices [k, nnz], values [nnz, ...], shape."""

    def __init__(self, indices, values, shape, budget=None):
        _count(shape)
        shape = tuple(shape)
        k, nonzero = indices.shape if indices.ndim == 2 and indices.dtype.kind in "iu" else (-1, -1)
        if k < 0 or k > len(shape) or values.shape != (nonzero, *shape[k:]):
            raise TorchFileError(f"a sparse tensor of shape {shape} has indices {indices.shape} {indices.dtype} and values {values.shape}")
        limits = np.array(shape[: len(indices)], dtype=np.int64)[:, None]
        if (indices < 0).any() or (indices >= limits).any():
            raise TorchFileError(f"a sparse tensor of shape {shape} has an index outside of it")
        self.indices, self.values, self.shape = indices, values, shape
        self.budget = budget or _Budget(_ALLOWANCE)

    def toDense(self):
        """The dense array; elements stored twice are added, as torch does."""
        self.budget.spend(math.prod(self.shape) * self.values.itemsize, f"a sparse tensor of shape {self.shape}, made dense,")
        dense = np.zeros(self.shape, dtype=self.values.dtype)
        np.add.at(dense, tuple(self.indices), self.values)
        return dense

    def __repr__(self):
        return f"SparseTensor(shape={self.shape}, {len(self.values)} elements)"


class _Function(_Sealed):
    """A function of the list below, under the name that the pickle knows it by."""

    __slots__ = ("budget", "function", "name")

    def __init__(self, name, function, budget):
        self.name, self.function, self.budget = name, function, budget

    def __call__(self, *arguments):
        for argument in arguments:
            if isinstance(argument, (str, bytes)):
                self.budget.spend(len(argument), f"an argument of {self.name}")
            elif isinstance(argument, (tuple, list, dict, set, frozenset)):
                self.budget.spend(32 * len(argument), f"an argument of {self.name}")
        return self.function(*arguments)

    def __repr__(self):
        return self.name


class _Named(str):
    """A torch dtype, layout or storage class: the name only."""

    __slots__ = ()


class _Dtype:
    """A numpy dtype while it is being unpickled: plain numbers only, its byte order set by BUILD."""

    def __init__(self, code, align=False, copy=False):
        if not isinstance(code, str) or code.lstrip("<>|=") not in _NUMPY_CODES:
            raise TorchFileError(f"the numpy dtype {shown(code)} is not a plain number")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise TorchFileError(f"the numpy dtype {self.dtype} has the state {shown(state)}")
        self.dtype = self.dtype.newbyteorder(state[1])


class _NumpyArray(np.ndarray):
    """A numpy array while it is being unpickled: its content is checked before numpy sees it."""

    budget = None  # of the file; set where the array is made

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or _count(shape) * dtype.dtype.itemsize != len(data):
            raise TorchFileError(f"a numpy array of shape {shown(shape)} does not fit its data")
        self.budget.spend(len(data), "a numpy array")
        super().__setstate__((1, tuple(shape), dtype.dtype, bool(fortran), data))


class _Storage(_Sealed):
    __slots__ = ("budget", "data", "dtype", "key", "order")

    def __init__(self, key, data, dtype, order, budget):
        self.key, self.data, self.dtype, self.order, self.budget = key, data, dtype, order, budget


def _count(shape):
    if not isinstance(shape, (tuple, list)) or len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
        raise TorchFileError(f"{shown(shape)} is not the shape of a tensor")
    return math.prod(shape)


def _rebuildTensor(storage, offset, shape, strides, *_):
    return _strided(storage, storage.dtype if isinstance(storage, _Storage) else None, offset, shape, strides)


def _rebuildTensorV3(storage, offset, shape, strides, requiresGrad, hooks, dtype, *_):
    return _strided(storage, _TORCH_DTYPES.get(dtype) if isinstance(dtype, _Named) else None, offset, shape, strides)


def _strided(storage, dtype, offset, shape, strides):
    if not isinstance(storage, _Storage) or dtype is None:
        raise TorchFileError(f"a tensor has {shown(storage)} for its storage, or a dtype that is not known")
    count = _count(shape)
    _count(strides)
    stored = np.dtype({"bfloat16": "u2", "bool": "u1"}.get(dtype, dtype))
    available = len(storage.data) // stored.itemsize
    if len(strides) != len(shape) or type(offset) is not int or offset < 0:
        raise TorchFileError(f"a tensor of shape {tuple(shape)} has strides {tuple(strides)} and offset {shown(offset)}")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if count and last >= available:
        raise TorchFileError(f"a tensor of shape {tuple(shape)} reaches element {last} of storage '{storage.key}', which has {available}")
    storage.budget.spend(count * (4 if dtype == "bfloat16" else stored.itemsize), f"a tensor of shape {tuple(shape)}")
    if not count:
        array = np.zeros(shape, dtype=stored)
    else:
        flat = np.frombuffer(storage.data, dtype=stored.newbyteorder(storage.order), count=available)
        view = np.lib.stride_tricks.as_strided(flat[offset:], shape, [stride * stored.itemsize for stride in strides])
        array = view.astype(stored, order="C")  # its own memory, of the machine's byte order
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array != 0 if dtype == "bool" else array


def _rebuildFromType(function, type_, arguments, state):
    if not isinstance(function, _Function) or not isinstance(arguments, tuple):
        raise TorchFileError(f"a tensor is to be made by {shown(function)}")
    return function(*arguments)


def _rebuildSparse(layout, data):
    if not isinstance(layout, _Named) or layout != "torch.sparse_coo":
        raise TorchFileError(f"a sparse tensor has the layout {shown(layout)}; torch.sparse_coo is known. Make it dense before saving")
    if not isinstance(data, tuple) or len(data) < 3 or not all(type(part) is np.ndarray for part in data[:2]):
        raise TorchFileError("a sparse tensor has something other than tensors for its indices and values")
    return data[:3]


def _numpyScalar(dtype, data):
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize:
        raise TorchFileError("a numpy scalar does not fit its dtype")
    return np.frombuffer(data, dtype=dtype.dtype)[0].astype(dtype.dtype.newbyteorder("="))


def _encode(text, encoding="latin1"):
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TorchFileError(f"text is to be encoded as {shown(encoding)}; pickles of bytes use latin1")
    return text.encode("latin1")


def _bytes(*arguments):
    # bytes(10**12) would take the machine's memory; pickles make empty ones only, copies, or what _encode makes.
    if len(arguments) == 2:
        return _encode(*arguments)
    if not all(isinstance(argument, (bytes, list, tuple)) for argument in arguments):
        raise TorchFileError("bytes are to be made from something other than stored bytes")
    return bytes(*arguments)


def _reconstruct(cls, base, state):
    if not (isinstance(cls, type) and issubclass(cls, Stub)):
        raise TorchFileError(f"an object of {shown(cls)} is to be made")
    return cls.__new__(cls)


def _isName(value):
    return isinstance(value, str) and value.isidentifier()


def _named(*parts):
    if not all(type(part) is int or isinstance(part, str) for part in parts):
        raise TorchFileError(f"a device or layout is called {shown(parts)}")
    return _Named(":".join(map(str, parts)))


def _keys(make):
    """`make`, of at most one collection whose hash is cheap: flat entries, or pairs of which the first is one."""

    def checked(*items):
        (entries,) = items or ((),)
        if not isinstance(entries, (list, tuple, dict, set, frozenset)):
            raise TorchFileError(f"a set or dict is to be made of {shown(entries)}")
        pairs = make is OrderedDict and not isinstance(entries, dict)
        for entry in entries:
            key = entry[0] if pairs and isinstance(entry, (list, tuple)) and len(entry) == 2 else entry
            if isinstance(key, tuple) and (len(key) > 32 or any(isinstance(part, (tuple, frozenset)) for part in key)):
                raise TorchFileError(f"a set or dict has the key {shown(key)}")
        return make(entries)

    return checked


def _numbers(make):
    def checked(*parts):
        if not all(part is None or isinstance(part, (int, float)) for part in parts):
            raise TorchFileError(f"a {make.__name__} is to be made of {shown(parts)}")
        return make(*parts)

    return checked


def _size(shape=()):
    _count(shape)
    return tuple(shape)


_FUNCTIONS = {
    "collections.OrderedDict": _keys(OrderedDict),
    "collections.defaultdict": lambda factory=None, *items: _keys(OrderedDict)(*items),
    "collections.Counter": _keys(OrderedDict),
    "copyreg._reconstructor": _reconstruct,
    "_codecs.encode": _encode,
    "builtins.set": _keys(set),
    "builtins.frozenset": _keys(frozenset),
    "builtins.slice": _numbers(slice),
    "builtins.complex": _numbers(complex),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "torch.Size": _size,
    "torch.device": _named,
    "torch.serialization._get_layout": _named,
    "torch._utils._rebuild_tensor": _rebuildTensor,
    "torch._utils._rebuild_tensor_v2": _rebuildTensor,
    "torch._utils._rebuild_tensor_v3": _rebuildTensorV3,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch._tensor._rebuild_from_type_v2": _rebuildFromType,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray.scalar": _numpyScalar,
    "numpy.ndarray": lambda *_: np.zeros(0),
}
# The same names as Python 2's pickle protocol and numpy 2 spell them.
_ALIASES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy._core.multiarray": "numpy.core.multiarray", "operator": "_operator"}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data, archive):
        super().__init__(io.BytesIO(data))
        self.archive = archive
        self.stubs = {}
        # The functions that need to know the file.
        self.functions = _FUNCTIONS | {
            "builtins.getattr": self._getattr,
            "builtins.type": lambda value: self._stub("builtins", "type")(value),
            "_operator.getitem": lambda value, index: self._stub("typing", "Any")(value, index),  # Union[...] and the like, not evaluated
            "torch._utils._rebuild_sparse_tensor": lambda layout, data: SparseTensor(*_rebuildSparse(layout, data), archive.budget),
            "numpy.core.multiarray._reconstruct": self._emptyArray,
        }

    def _stub(self, module, name):
        full = f"{module}.{name}"
        if full not in self.stubs:  # classes of their own for each file: nothing that a pickle does to one outlives it
            content = {"__module__": module, "__slots__": (), "__qualname__": name, "stubBudget": self.archive.budget}
            self.stubs[full] = type(name, (Stub,), content)
        return self.stubs[full]

    def _emptyArray(self, *_):
        array = np.zeros(0).view(_NumpyArray)
        array.budget = self.archive.budget
        return array

    def _getattr(self, *arguments):
        # So are torch.tanh and its like stored. An attribute of any other object may be a method, and is refused.
        owner, name = arguments if len(arguments) == 2 else (None, None)
        if owner is not self._stub("torch._C", "_VariableFunctionsClass") or not _isName(name):
            raise TorchFileError(f"its pickle asks for 'builtins.getattr' of {shown(arguments)}, which reading data does not need")
        return self._stub("torch", name)

    def find_class(self, module, name):
        module = _ALIASES.get(module, module)
        full = f"{module}.{name}"
        if full == "builtins.long":
            full = "builtins.int"
        # A dotted name, "os.system" of an allowed module, stands for an attribute of an attribute: no class needs that.
        if _isName(name):
            if full in self.functions:
                return _Function(full, self.functions[full], self.archive.budget)
            if module in ("torch", "torch.storage") and name in _STORAGE_DTYPES or module == "torch" and name in _TORCH_DTYPES:
                return _Named(name)
            if full in _STUB_NAMES or full.startswith(_STUB_PREFIXES):
                return self._stub(module, name)
        raise TorchFileError(
            f"its pickle asks for '{module}.{name}', which is not among the names that are safe to read. Nothing was executed. "
            f"If the file is yours, save the model's state_dict() or convert the live object instead"
        )

    def persistent_load(self, identifier):
        if not isinstance(identifier, tuple) or len(identifier) != 5 or identifier[0] != "storage":
            raise TorchFileError(f"its pickle refers to {shown(identifier)}, which is not a tensor's storage")
        _, kind, key, _, count = identifier
        dtype = _STORAGE_DTYPES.get(kind) if isinstance(kind, _Named) else None
        if dtype is None or not isinstance(key, str):
            raise TorchFileError(f"its storage {shown(key)} has the type {shown(kind)}; known are {', '.join(_STORAGE_DTYPES)}")
        return self.archive.storage(key, dtype, count)


class _Archive:
    """The zip file around the pickle."""

    def __init__(self, file):
        self.budget = _Budget(4 * os.fstat(file.fileno()).st_size + _ALLOWANCE)
        try:
            self.zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise TorchFileError(f"it is a zip archive, but damaged or truncated ({error}). Copy or download it again") from error
        names = self.zip.namelist()
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or len(set(names)) != len(names):
            raise TorchFileError(f"it is a zip archive of {len(names)} entries, but not of torch.save: it has {len(pickles)} data.pkl")
        self.root = pickles[0][: -len("data.pkl")]
        if self.root + "constants.pkl" in names:
            raise TorchFileError("it is a TorchScript archive, which holds code; save the model's state_dict() instead")
        self.data = {}
        self.order = "<"
        if self.root + "byteorder" in names:
            text = self.read("byteorder")
            if text not in (b"little", b"big"):
                raise TorchFileError(f"its byte order is {text!r:.40}; it must be 'little' or 'big'")
            self.order = "<" if text == b"little" else ">"

    def read(self, name):
        try:
            info = self.zip.getinfo(self.root + name)
            # torch stores without compression; so no entry can be larger than the file.
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise TorchFileError(f"its entry '{name}' is compressed, which torch.save does not do; save it again with torch")
            self.budget.spend(info.file_size, f"its entry '{name}'")
            return self.zip.read(info)
        except KeyError:
            raise TorchFileError(f"its entry '{name}' is missing") from None
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise TorchFileError(f"its entry '{name}' is damaged ({error}). Copy or download the file again") from error

    def storage(self, key, dtype, count):
        if key not in self.data:
            self.data[key] = memoryview(self.read(f"data/{key}"))
        itemsize = {"bfloat16": 2, "bool": 1}.get(dtype) or np.dtype(dtype).itemsize
        if type(count) is not int or count < 0 or count * itemsize > len(self.data[key]):
            there = len(self.data[key])
            raise TorchFileError(f"its storage '{key}' should have {shown(count)} elements of {itemsize} bytes; the file has {there} bytes")
        return _Storage(key, self.data[key][: count * itemsize], dtype, self.order, self.budget)


def isTorchFile(path):
    """Whether a file looks like one of torch.save, of the present (zip) or the legacy format. Reads its first bytes only."""
    with open(path, "rb") as file:
        start = file.read(16)
    return start[:4] == b"PK\x03\x04" or start[2:14] == _LEGACY_MAGIC


def loadTorchFile(path):
    """Read a file of torch.save.

    Parameters
    ----------
    path : path
        A zip-format file (torch 1.6 and later).

    Returns
    -------
    object
        What was saved: dicts and lists as such (OrderedDict included), tensors and parameters as numpy.ndarray in the machine's byte order
        (bfloat16 as float32), sparse tensors as SparseTensor, dtypes and devices as str, everything else as Stub.

    Raises
    ------
    TorchFileError
        The file is damaged, of another kind, asks for a name that reading data does not need, or has a tensor outside its storage.
    FileNotFoundError
        There is no such file.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return _load(file)
    except TorchFileError as error:
        raise TorchFileError(f"Cannot read {path}: {error}.") from error
    except _DAMAGE as error:
        raise TorchFileError(f"Cannot read {path}: its pickle is damaged or unknown ({type(error).__name__}: {error}).") from error


def _load(file):
    start = file.read(16)
    if start[2:14] == _LEGACY_MAGIC:
        raise TorchFileError("it is in torch's format from before version 1.6. Read it with torch.load and save it with torch.save again")
    if start[:4] != b"PK\x03\x04":
        raise TorchFileError(f"it is not a file of torch.save: that begins with 'PK', this one with {start[:8]!r}")
    file.seek(0)
    archive = _Archive(file)
    data = archive.read("data.pkl")
    checkOpcodes(data)
    loaded = _Unpickler(data, archive).load()
    _checkModules(loaded)
    return loaded


def _checkModules(loaded):
    """Refuse module trees that would keep whoever walks through them busy: a module inside itself, or parts shared over and over.

    A layer may well stand in several places (shared weights). Counted are the ways from a module down to all its parts.
    """
    stack, seen, modules = [loaded], set(), []
    while stack:
        value = stack.pop()
        if id(value) in seen or not isinstance(value, (Stub, dict, list, tuple)):
            continue
        seen.add(id(value))
        if isinstance(value, Stub):
            modules.append(value)
            stack.extend((value.__dict__, value.stubArguments, value.stubItems))
        else:
            stack.extend(value.values() if isinstance(value, dict) else value)

    ways, open_ = {}, set()  # by id: number of ways down; modules whose parts are being counted
    for module in modules:
        stack = [module]
        while stack:
            top = stack[-1]
            found = top.__dict__.get("_modules")
            parts = [part for part in found.values() if isinstance(part, Stub)] if isinstance(found, dict) else []
            if id(top) not in open_ and id(top) not in ways:
                open_.add(id(top))
                if any(id(part) in open_ for part in parts):
                    raise TorchFileError(f"a {typeName(top)} contains itself")
                if len(open_) > _DEPTH:
                    raise TorchFileError(f"its modules are nested deeper than {_DEPTH}")
                stack.extend(part for part in parts if id(part) not in ways)
                continue
            stack.pop()
            if id(top) in open_:
                open_.discard(id(top))
                ways[id(top)] = 1 + sum(ways.get(id(part), 0) for part in parts)
                if ways[id(top)] > _MODULES:
                    raise TorchFileError(f"its modules share parts until there are more than {_MODULES}")
