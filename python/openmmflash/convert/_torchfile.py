# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Read files written by torch.save without torch, and without executing anything that they contain.

Such a file is a zip archive of one pickle and the raw bytes of its tensors. A pickle may name any function of any installed module and
have it called. Here a name means one of three things, and nothing else:

- a function of this module that stands for the original and only builds data (`_FUNCTIONS`);
- a *stub* class, for the names under `_STUB_PREFIXES` and in `_STUB_NAMES`: inert objects that keep what the pickle stores in them;
- an error that names the foreign name and the file.

Tensors become numpy arrays (bfloat16 widened to float32), sparse ones SparseTensor.
"""

import io
import math
import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict

import numpy as np

from ._errors import ConversionError

# Stubs never run code; the lists are short so that a file of another kind is noticed.
_STUB_PREFIXES = (
    "mlcg.", "flashmd.", "torchani.", "schnetpack.", "torchmdnet.", "torch_geometric.", "torch.nn.", "torch.optim.", "torch._C._nn.",
    "pytorch_lightning.", "lightning.", "lightning_fabric.", "lightning_utilities.", "torchmetrics.", "omegaconf.",
)  # fmt: skip
_STUB_NAMES = {
    "torch.Tensor", "torch.tanh", "torch.relu", "torch.sigmoid", "torch.softplus", "torch.sin", "torch.cos", "torch.Generator",
    "typing.Any", "typing.Union", "typing.Optional", "typing.OrderedDict", "typing.List", "typing.Dict", "typing.Tuple", "typing.Set",
    "typing.Callable", "typing.Sequence", "inspect._empty", "functools.partial", "argparse.Namespace", "types.SimpleNamespace",
    "pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath", "pathlib._local.WindowsPath", "datetime.timedelta", "datetime.datetime", "builtins.object",
    "builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.list", "builtins.dict", "builtins.tuple",
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
_MAX_DENSE = 1 << 28  # elements of one tensor that is larger than what the file stores of it (expanded or sparse)


class TorchFileError(ConversionError):
    """A torch file that is damaged, of another kind, or asks for something that reading data does not need."""


class Stub:
    """An object of a class that is not imported: its stored attributes, nothing else.

    Attributes of modules are also found where torch keeps them (`_parameters`, `_buffers`, `_modules`), so `layer.weight` works as in
    torch. `typeName(stub)` tells the original class, `stubArguments` holds what it was called with, `stubItems` what was put in as into a
    list or dict.
    """

    __slots__ = ("__dict__", "__weakref__", "stubArguments", "stubItems")

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
                self.__dict__.update((str(key), value) for key, value in part.items())

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

    def __init__(self, indices, values, shape):
        shape = tuple(int(n) for n in shape)
        k, nonzero = indices.shape if indices.ndim == 2 and indices.dtype.kind in "iu" else (-1, -1)
        if k < 0 or k > len(shape) or values.shape != (nonzero, *shape[k:]):
            raise TorchFileError(f"a sparse tensor of shape {shape} has indices {indices.shape} {indices.dtype} and values {values.shape}")
        limits = np.array(shape[: len(indices)], dtype=np.int64)[:, None]
        if (indices < 0).any() or (indices >= limits).any():
            raise TorchFileError(f"a sparse tensor of shape {shape} has an index outside of it")
        self.indices, self.values, self.shape = indices, values, shape

    def toDense(self):
        """The dense array; elements stored twice are added, as torch does."""
        if math.prod(self.shape) > _MAX_DENSE:
            raise TorchFileError(f"A sparse tensor of shape {self.shape} is too large to be made dense ({_MAX_DENSE} elements allowed).")
        dense = np.zeros(self.shape, dtype=self.values.dtype)
        np.add.at(dense, tuple(self.indices), self.values)
        return dense

    def __repr__(self):
        return f"SparseTensor(shape={self.shape}, {len(self.values)} elements)"


class _Function(_Sealed):
    """A function of the list below, under the name that the pickle knows it by."""

    __slots__ = ("function", "name")

    def __init__(self, name, function):
        self.name, self.function = name, function

    def __call__(self, *arguments):
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
            raise TorchFileError(f"the numpy dtype {code!r} is not a plain number")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise TorchFileError(f"the numpy dtype {self.dtype} has the state {state!r:.80}")
        self.dtype = self.dtype.newbyteorder(state[1])


class _NumpyArray(np.ndarray):
    """A numpy array while it is being unpickled: its content is checked before numpy sees it."""

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or _count(shape) * dtype.dtype.itemsize != len(data):
            raise TorchFileError(f"a numpy array of shape {shape!r:.80} does not fit its data")
        super().__setstate__((1, tuple(shape), dtype.dtype, bool(fortran), data))


class _Storage(_Sealed):
    __slots__ = ("data", "dtype", "key", "order")

    def __init__(self, key, data, dtype, order):
        self.key, self.data, self.dtype, self.order = key, data, dtype, order


def _count(shape):
    if not isinstance(shape, (tuple, list)) or len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
        raise TorchFileError(f"{shape!r:.80} is not the shape of a tensor")
    return math.prod(shape)


def _rebuildTensor(storage, offset, shape, strides, *_):
    return _strided(storage, storage.dtype if isinstance(storage, _Storage) else None, offset, shape, strides)


def _rebuildTensorV3(storage, offset, shape, strides, requiresGrad, hooks, dtype, *_):
    return _strided(storage, _TORCH_DTYPES.get(str(dtype)), offset, shape, strides)


def _strided(storage, dtype, offset, shape, strides):
    if not isinstance(storage, _Storage) or dtype is None:
        raise TorchFileError(f"a tensor has {storage!r:.80} for its storage")
    count = _count(shape)
    _count(strides)
    stored = np.dtype({"bfloat16": "u2", "bool": "u1"}.get(dtype, dtype))
    available = len(storage.data) // stored.itemsize
    if len(strides) != len(shape) or type(offset) is not int or offset < 0:
        raise TorchFileError(f"a tensor of shape {tuple(shape)} has strides {tuple(strides)} and offset {offset}")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if count and last >= available:
        raise TorchFileError(f"a tensor of shape {tuple(shape)} reaches element {last} of storage '{storage.key}', which has {available}")
    if count > max(available, _MAX_DENSE):
        raise TorchFileError(f"a tensor of shape {tuple(shape)} is larger than any model needs")
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
    if not isinstance(function, _Function):
        raise TorchFileError(f"a tensor is to be made by {function!r:.80}")
    return function(*arguments)


def _rebuildSparse(layout, data):
    if str(layout) != "torch.sparse_coo":
        raise TorchFileError(f"a sparse tensor has the layout {layout}; torch.sparse_coo is known. Make it dense before saving")
    return SparseTensor(np.asarray(data[0]), np.asarray(data[1]), data[2])


def _numpyScalar(dtype, data):
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize:
        raise TorchFileError("a numpy scalar does not fit its dtype")
    return np.frombuffer(data, dtype=dtype.dtype)[0].astype(dtype.dtype.newbyteorder("="))


def _encode(text, encoding="latin1"):
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TorchFileError(f"text is to be encoded as {encoding!r:.80}; pickles of bytes use latin1")
    return text.encode("latin1")


def _bytes(*arguments):
    # bytes(10**12) would take the machine's memory; pickles make empty ones only, or copies.
    if not all(isinstance(argument, (bytes, str, list, tuple)) for argument in arguments):
        raise TorchFileError("bytes are to be made from something other than stored bytes")
    return bytes(*arguments)


def _reconstruct(cls, base, state):
    if not (isinstance(cls, type) and issubclass(cls, Stub)):
        raise TorchFileError(f"an object of {cls!r:.80} is to be made")
    return cls.__new__(cls)


def _subscript(value, index):
    # Only type expressions such as Union[...] arrive here; they are kept as they are, never evaluated.
    return Stub(value, index)


_FUNCTIONS = {
    "collections.OrderedDict": lambda *items: OrderedDict(*items),
    "collections.defaultdict": lambda factory=None, *items: OrderedDict(*items),
    "collections.Counter": lambda *items: OrderedDict(*items),
    "copyreg._reconstructor": _reconstruct,
    "_codecs.encode": _encode,
    "_operator.getitem": _subscript,
    "builtins.set": lambda *items: set(*items),
    "builtins.frozenset": lambda *items: frozenset(*items),
    "builtins.slice": lambda *parts: slice(*parts),
    "builtins.complex": lambda *parts: complex(*parts),
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "builtins.type": lambda value: Stub(value),
    "torch.Size": lambda *sizes: tuple(*sizes),
    "torch.device": lambda *parts: _Named(":".join(map(str, parts))),
    "torch.serialization._get_layout": lambda name: _Named(name),
    "torch._utils._rebuild_tensor": _rebuildTensor,
    "torch._utils._rebuild_tensor_v2": _rebuildTensor,
    "torch._utils._rebuild_tensor_v3": _rebuildTensorV3,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch._utils._rebuild_sparse_tensor": _rebuildSparse,
    "torch._tensor._rebuild_from_type_v2": _rebuildFromType,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray.scalar": _numpyScalar,
    "numpy.core.multiarray._reconstruct": lambda *_: np.zeros(0).view(_NumpyArray),
    "numpy.ndarray": lambda *_: np.zeros(0),
}
# The same names as Python 2's pickle protocol and numpy 2 spell them.
_ALIASES = {"__builtin__": "builtins", "copy_reg": "copyreg", "numpy._core.multiarray": "numpy.core.multiarray", "operator": "_operator"}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data, archive):
        super().__init__(io.BytesIO(data))
        self.archive = archive
        self.stubs = {}

    def find_class(self, module, name):
        module = _ALIASES.get(module, module)
        full = f"{module}.{name}"
        if full == "builtins.long":
            full = "builtins.int"
        if full in _FUNCTIONS:
            return _Function(full, _FUNCTIONS[full])
        if module in ("torch", "torch.storage") and name in _STORAGE_DTYPES:
            return _Named(name)
        if module == "torch" and (name in _TORCH_DTYPES or name in ("strided", "sparse_coo")):
            return _Named(name)
        if full in _STUB_NAMES or full.startswith(_STUB_PREFIXES):
            if full not in self.stubs:  # classes of their own for each file: nothing that a pickle does to one outlives it
                self.stubs[full] = type(name, (Stub,), {"__module__": module, "__slots__": (), "__qualname__": name})
            return self.stubs[full]
        raise TorchFileError(
            f"its pickle asks for '{module}.{name}', which is not among the names that are safe to read. Nothing was executed. "
            f"If the file is yours, save the model's state_dict() or convert the live object instead"
        )

    def persistent_load(self, identifier):
        if not isinstance(identifier, tuple) or len(identifier) != 5 or identifier[0] != "storage":
            raise TorchFileError(f"its pickle refers to {identifier!r:.80}, which is not a tensor's storage")
        _, kind, key, _, count = identifier
        dtype = _STORAGE_DTYPES.get(str(kind))
        if not isinstance(kind, _Named) or dtype is None:
            raise TorchFileError(f"its storage '{key}' has the type {kind!r:.80}; known are {', '.join(_STORAGE_DTYPES)}")
        return self.archive.storage(str(key), dtype, count)


class _Archive:
    """The zip file around the pickle."""

    def __init__(self, file):
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
            return self.zip.read(info)
        except KeyError:
            raise TorchFileError(f"its entry '{name}' is missing") from None
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise TorchFileError(f"its entry '{name}' is damaged ({error}). Copy or download the file again") from error

    def storage(self, key, dtype, count):
        if key not in self.data:
            self.data[key] = self.read(f"data/{key}")
        itemsize = {"bfloat16": 2, "bool": 1}.get(dtype) or np.dtype(dtype).itemsize
        if type(count) is not int or count < 0 or count * itemsize > len(self.data[key]):
            there = len(self.data[key])
            raise TorchFileError(f"its storage '{key}' should have {count!r:.40} elements of {itemsize} bytes; the file has {there} bytes")
        return _Storage(key, self.data[key][: count * itemsize], dtype, self.order)


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
    _checkOpcodes(data)
    return _Unpickler(data, archive).load()


def _checkOpcodes(data):
    """Refuse, before anything is built, the opcodes that go round find_class or take memory by their argument alone."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("EXT1", "EXT2", "EXT4"):
            raise TorchFileError("its pickle uses the extension registry, which no model needs")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(data):
            raise TorchFileError(f"its pickle has a memo index of {argument}, more than it has bytes")
