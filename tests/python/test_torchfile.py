# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The reader of torch files: the same data as torch.load, no torch, and nothing executed whatever the file asks for."""

import collections
import io
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from openmmflash.convert._torchfile import SparseTensor, Stub, TorchFileError, isTorchFile, loadTorchFile, typeName

SHARED_FILES = [
    "mlcg/cln_configurations_demo.pt", "mlcg/prior.pt", "mlcg/random_5bead_model_and_prior.pt", "mlcg/sparse_prior_cln_5b.pt",
    "mlcg/schnet_cln_ca_specialized_model_and_config.pt", "mlcg/schnet_train.ckpt", "mlcg/sparse_prior_cln_ca.pt",
    "mlcg/structures_cln_5b.pt", "mlcg/structures_cln_ca.pt", "torchani/ani2x_state_dict.pt",
]  # fmt: skip


def archive(path, data, storages=None, extra=None, compression=zipfile.ZIP_STORED):
    """A file in torch's zip format with this pickle."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/version", "3\n")
        for key, content in (storages or {}).items():
            file.writestr(f"archive/data/{key}", content)
        for key, content in (extra or {}).items():
            file.writestr(f"archive/{key}", content)
    return path


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value):
    return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def call(module, name, *arguments):
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def tensor(numel=6, offset=0, shape=(2, 3), strides=(3, 1), storage="FloatStorage"):
    """The opcodes of one tensor, as torch.save writes them."""
    numbers = b"(" + b"".join(map(integer, shape)) + b"t", b"(" + b"".join(map(integer, strides)) + b"t"
    reference = b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text("0") + text("cpu") + integer(numel) + b"tQ"
    return call("torch._utils", "_rebuild_tensor_v2", reference, integer(offset), *numbers, b"\x89", call("collections", "OrderedDict"))


def program(*opcodes):
    return b"\x80\x02" + b"".join(opcodes) + b"."


SIX = np.arange(6, dtype="<f4").tobytes()


@pytest.mark.parametrize("name", SHARED_FILES)
def testSharedFilesWithoutTorch(shared, name):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from openmmflash.convert._torchfile import loadTorchFile, typeName\n"
        "print(typeName(loadTorchFile(sys.argv[1])))"
    )
    result = subprocess.run([sys.executable, "-c", code, str(shared / "models" / name)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1].startswith(("builtins.", "collections.", "torch.nn.", "mlcg.")), result.stdout


def testStateDictAsTorchReadsIt(shared):
    torch = pytest.importorskip("torch", reason="needs torch, to compare with torch.load")
    path = shared / "models" / "torchani" / "ani2x_state_dict.pt"
    expected, found = torch.load(path, weights_only=True), loadTorchFile(path)
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].dtype == value.numpy().dtype and np.array_equal(found[key], value.numpy()), key


def testEveryKindOfTensor(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch, to write the file")
    base = torch.arange(24.0).reshape(4, 6)
    given = {
        "float64": torch.rand(3, dtype=torch.float64), "float32": torch.rand(2, 2), "float16": torch.rand(5).half(),
        "bfloat16": torch.rand(7).bfloat16(), "int64": torch.arange(-3, 4), "int32": torch.arange(3, dtype=torch.int32),
        "int16": torch.arange(3, dtype=torch.int16), "int8": torch.arange(-3, 3, dtype=torch.int8), "bool": torch.tensor([True, False]),
        "uint8": torch.arange(3, dtype=torch.uint8), "complex": torch.tensor([1 + 2j]),
        "transposed": base.T, "view": base[1:, 2:5], "whole": base,
        "expanded": base[:1].expand(5, 6), "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(base),
    }  # fmt: skip
    torch.save(given, tmp_path / "t.pt")
    found = loadTorchFile(tmp_path / "t.pt")
    for key, value in given.items():
        expected = value.detach().float().numpy() if key == "bfloat16" else value.detach().numpy()
        assert found[key].dtype == expected.dtype and found[key].shape == expected.shape and np.array_equal(found[key], expected), key
        assert found[key].flags.owndata or found[key].base.flags.owndata


def testSparseTensor(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch, to write the file")
    indices, values = torch.tensor([[0, 2, 0], [1, 0, 1]]), torch.tensor([1.0, 2.0, 4.0])
    given = torch.sparse_coo_tensor(indices, values, (3, 2))
    torch.save(given, tmp_path / "s.pt")
    found = loadTorchFile(tmp_path / "s.pt")
    assert isinstance(found, SparseTensor) and np.array_equal(found.toDense(), given.to_dense().numpy())
    with pytest.raises(TorchFileError, match="outside"):
        SparseTensor(np.array([[3]]), np.array([1.0]), (3,))
    with pytest.raises(TorchFileError, match="larger than any model needs"):
        SparseTensor(np.zeros((4, 0), dtype=np.int64), np.zeros(0), (10000,) * 4).toDense()


def testNumpyAndContainers(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch, to write the file")
    given = {
        "float": np.float64(2.5), "big": np.arange(3, dtype=">i4"), "matrix": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "set": {1, 2}, "bytes": b"\xff\x00", "default": collections.defaultdict(list, a=[1]), "size": torch.Size([2, 3]),
        "dtype": torch.float32, "none": None, "nested": [({"x": 1.5},)], "counter": collections.Counter("aab"),
    }  # fmt: skip
    torch.save(given, tmp_path / "n.pt")
    found = loadTorchFile(tmp_path / "n.pt")
    assert found["float"] == 2.5 and found["set"] == {1, 2} and found["bytes"] == b"\xff\x00" and found["none"] is None
    assert np.array_equal(found["big"], [0, 1, 2]) and np.array_equal(found["matrix"], given["matrix"])
    assert found["default"] == {"a": [1]} and found["size"] == (2, 3) and found["dtype"] == "float32" and found["nested"] == [({"x": 1.5},)]
    assert found["counter"] == {"a": 2, "b": 1}


def testModulesBecomeStubs(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch, to write the file")
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
    torch.save(module, tmp_path / "m.pt")
    found = loadTorchFile(tmp_path / "m.pt")
    assert isinstance(found, Stub) and typeName(found) == "torch.nn.modules.container.Sequential"
    linear = found._modules["0"]
    assert typeName(linear) == "torch.nn.modules.linear.Linear" and linear.in_features == 3
    assert np.array_equal(linear.weight, module[0].weight.detach().numpy())
    with pytest.raises(AttributeError, match="torch.nn.modules.linear.Linear has no 'colour'"):
        linear.colour


def nestedModules(torch, kind):
    module = torch.nn.Linear(1, 1)
    if kind == "itself":
        outer = torch.nn.Sequential(torch.nn.Sequential(module))
        outer[0].add_module("outer", outer)
        return outer
    for _ in range({"deep": 250, "shared": 30, "shared twice": 1}[kind]):
        module = torch.nn.Sequential(module) if kind == "deep" else torch.nn.Sequential(module, module)
    return module


@pytest.mark.parametrize(
    ("kind", "message"),
    [("itself", "Sequential contains itself"), ("deep", "nested deeper than 200"), ("shared", "more than 100000"), ("shared twice", None)],
)
def testEndlessModules(tmp_path, kind, message):
    """Walking through them would end in a RecursionError, or take for ever."""
    torch = pytest.importorskip("torch", reason="needs torch, to write the file")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20000)  # for writing the deep one
    torch.save(nestedModules(torch, kind), tmp_path / "m.pt")
    sys.setrecursionlimit(limit)
    if message is None:
        assert len(loadTorchFile(tmp_path / "m.pt")._modules) == 2
        return
    with pytest.raises(TorchFileError, match=message):
        loadTorchFile(tmp_path / "m.pt")


def testHandMadeFile(tmp_path):
    path = archive(tmp_path / "t.pt", program(tensor()), {"0": SIX})
    assert isTorchFile(path) and np.array_equal(loadTorchFile(path), np.arange(6).reshape(2, 3))
    path = archive(tmp_path / "t.pt", program(tensor()), {"0": np.arange(6, dtype=">f4").tobytes()}, {"byteorder": "big"})
    assert np.array_equal(loadTorchFile(path), np.arange(6).reshape(2, 3))


class _Evil:
    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("builtins", "eval"),
        ("__builtin__", "exec"), ("builtins", "getattr"), ("builtins", "__import__"), ("builtins", "open"),
        ("operator", "attrgetter"), ("_operator", "methodcaller"), ("functools", "reduce"),
        ("importlib", "import_module"), ("torch", "load"), ("torch.hub", "load"),
        ("torch.storage", "_load_from_bytes"), ("torch._utils", "_rebuild_qtensor"), ("numpy", "load"),
        ("mlcgx", "Model"), ("torch", "nn"), ("numpy.core.multiarray", "fromfile"), ("pickle", "loads"),
        ("codecs", "decode"), ("sys", "exit"),
        # Under an allowed prefix, but not the name of a class: an attribute of what the module imports.
        ("torch.nn.functional", "torch.os.system"), ("torch.nn.modules.linear", "torch.os.system"), ("mlcg.nn", "torch.load"),
        ("schnetpack.nn", "a.b"), ("torch", "FloatStorage.from_file"), ("torch.nn.functional", "torch"), ("torch.nn.modules", "../x"),
    ],
)  # fmt: skip
def testForeignGlobals(tmp_path, module, name):
    path = archive(tmp_path / "evil.pt", program(call(module, name, text("touch " + str(tmp_path / "harmed")))))
    with pytest.raises(TorchFileError) as error:
        loadTorchFile(path)
    # Two names of one module are told by one of them.
    shown = {"__builtin__": "builtins", "operator": "_operator"}.get(module, module)
    assert f"'{shown}.{name}'" in str(error.value) and str(path) in str(error.value), error.value
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def testForeignGlobalInEveryProtocol(tmp_path, protocol):
    import os

    data = pickle.dumps({"weights": _Evil(os.system, f"touch {tmp_path / 'harmed'}")}, protocol)
    with pytest.raises(TorchFileError, match="system"):
        loadTorchFile(archive(tmp_path / "evil.pt", data))
    assert not (tmp_path / "harmed").exists()


def testStubsAreInert(tmp_path):
    """A class of an allowed package is not imported, though it can be: its constructor and __setstate__ do not run."""
    torch = pytest.importorskip("torch", reason="needs an importable class that is read as a stub")
    path = archive(
        tmp_path / "t.pt", program(call("torch.nn.modules.linear", "Linear", integer(2), integer(3)), b"}", text("a"), integer(1), b"sb")
    )
    found = loadTorchFile(path)
    assert not isinstance(found, torch.nn.Module) and found.stubArguments == (2, 3) and found.a == 1


REFERENCE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + integer(6) + b"tQ"
DAMAGED = {
    "changes a function": (program(b"c_codecs\nencode\n", b"N}", text("function"), b"K\x01s\x86b"), {}, "tries to change"),
    "changes a storage": (program(REFERENCE, b"}b"), {"0": SIX}, "tries to change"),
    "extension registry": (program(b"\x82\x01"), {}, "extension registry"),
    "huge memo": (program(b"]r\xff\xff\xff\x7f"), {}, "memo index of 2147483647"),
    "beyond the storage": (program(tensor(shape=(2, 4), strides=(4, 1))), {"0": SIX}, "reaches element 7 of storage '0', which has 6"),
    "offset beyond": (program(tensor(offset=1)), {"0": SIX}, "reaches element 6"),
    "negative offset": (program(tensor(offset=-1)), {"0": SIX}, "offset -1"),
    "negative size": (program(tensor(shape=(-2, 3))), {"0": SIX}, "is not the shape"),
    "negative stride": (program(tensor(strides=(3, -1))), {"0": SIX}, "is not the shape"),
    "absurd stride": (program(tensor(strides=(2**62, 2**62))), {"0": SIX}, "reaches element"),
    "absurd shape": (program(tensor(shape=(2**40, 2**20), strides=(0, 0))), {"0": SIX}, "larger than any model needs"),
    "rank mismatch": (program(tensor(strides=(3,))), {"0": SIX}, "strides (3,)"),
    "storage too short": (program(tensor(numel=7)), {"0": SIX}, "should have 7 elements of 4 bytes; the file has 24 bytes"),
    "storage missing": (program(tensor()), {}, "entry 'data/0' is missing"),
    "storage count": (program(tensor(numel=2**62)), {"0": SIX}, "should have 4611686018427387904 elements"),
    "quantised storage": (program(tensor(storage="QInt8Storage")), {"0": SIX}, "torch.QInt8Storage"),
    "foreign reference": (program(text("somewhere"), b"Q"), {}, "'somewhere', which is not a tensor's storage"),
    "empty bytes of a terabyte": (program(call("builtins", "bytes", integer(2**40))), {}, "something other than stored bytes"),
    "object array": (program(call("numpy", "dtype", text("O8"))), {}, "'O8' is not a plain number"),
    "text in another code": (program(call("_codecs", "encode", text("a"), text("rot13"))), {}, "rot13"),
    "truncated pickle": (program(tensor())[:-20], {"0": SIX}, "damaged"),
    "not a pickle": (b"hello world", {}, "damaged"),
    "empty pickle": (b"", {}, "damaged"),
    "stack underflow": (b"\x80\x02R.", {}, "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def testDamagedPickles(tmp_path, name):
    data, storages, message = DAMAGED[name]
    path = archive(tmp_path / "t.pt", data, storages)
    with pytest.raises(TorchFileError) as error:
        loadTorchFile(path)
    assert message in str(error.value) and str(path) in str(error.value), error.value


def doublings(first, grow, count=60):
    """The opcodes of an object whose parts are twice the same object, and so on: 2^count parts in all, in 7 bytes each."""
    return b"".join([first, b"q\x00", *[b"0" + grow + b"q\x00" for _ in range(count)]])


LISTS, TUPLES = doublings(b"](K\x01K\x02e", b"](h\x00h\x00e"), doublings(b"K\x01K\x02\x86", b"h\x00h\x00\x86")
DICTS = doublings(b"c__builtin__\nset\n)R0}", b"}(K\x01h\x00K\x02h\x00u")
EXPLOSIONS = {
    # What is written into a message.
    "message: reference": (program(LISTS, b"Q"), "which is not a tensor's storage"),
    "message: storage": (program(b"(" + text("storage") + LISTS + text("0") + text("cpu") + b"K\x01tQ"), "has the type"),
    "message: storage of dicts": (program(b"(" + text("storage") + DICTS + text("0") + text("cpu") + b"K\x01tQ"), "has the type"),
    "message: key": (program(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + LISTS + text("cpu") + b"K\x01tQ"), "its storage"),
    "message: count": (program(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + LISTS + b"tQ"), "elements"),
    "message: shape": (program(call("torch", "Size", LISTS)), "is not the shape"),
    "message: tensor's storage": (program(call("torch._utils", "_rebuild_tensor", LISTS, b"K\x00", b")", b")")), "for its storage"),
    "message: encoding": (program(call("_codecs", "encode", text("a"), LISTS)), "is to be encoded"),
    "message: dtype": (program(call("numpy", "dtype", LISTS)), "is not a plain number"),
    "message: dtype's state": (program(call("numpy", "dtype", text("f8")), LISTS, b"b"), "has the state"),
    "message: object": (program(b"ccopy_reg\n_reconstructor\n(", LISTS, b"NNtR"), "is to be made"),
    "message: maker": (program(call("torch._tensor", "_rebuild_from_type_v2", LISTS, b"N", b")", b"N")), "is to be made by"),
    "message: ordered dict": (
        program(b"ccollections\nOrderedDict\n)R", text("a"), LISTS, b"sq\x01", b"Q"), "which is not a tensor's storage",
    ),
    # What is turned into text or an array.
    "text: device": (program(call("torch", "device", LISTS)), "is called"),
    "text: layout": (program(call("torch.serialization", "_get_layout", LISTS)), "is called"),
    "text: attribute": (program(b"cmlcg.nn\nA\n)\x81}", TUPLES, b"K\x01sb"), "again and again"),
    "text: attribute's name": (program(b"cmlcg.nn\nA\n)\x81}(K\x01K\x02ub"), "names that are no text"),
    "array: indices": (
        program(call("torch._utils", "_rebuild_sparse_tensor", call("torch.serialization", "_get_layout", text("torch.sparse_coo")),
                     b"(" + LISTS + b"h\x00" + b"(K\x02K\x02tt")),
        "something other than tensors",
    ),
    "bytes: utf-7": (program(call("builtins", "bytes", text("a" * 40), text("utf-7"))), "encoded as 'utf-7'"),
    # What is hashed.
    "hash: key": (program(b"}", TUPLES, b"K\x01s"), "again and again"),
    "hash: keys": (program(b"}(", TUPLES, b"K\x01K\x02K\x03u"), "again and again"),
    "hash: entry of a set": (b"\x80\x04\x8f(" + TUPLES + b"\x90.", "again and again"),
    "hash: frozenset": (b"\x80\x04(" + TUPLES + b"\x91.", "again and again"),
    "hash: made set": (program(call("__builtin__", "set", b"](", TUPLES, b"e")), "has the key"),
    "hash: made dict": (program(call("collections", "OrderedDict", b"](](", TUPLES, b"K\x01ee")), "has the key"),
    # What is copied again and again.
    "copy: arguments": (
        program(b"(" + b"K\x01" * 20000 + b"tq\x010cmlcg.nn\nA\nq\x020](" + b"h\x02h\x01R" * 20000 + b"e"), "again and again",
    ),
    "copy: attributes": (
        program(b"}(" + b"".join(text(f"k{i}") + b"N" for i in range(20000)) + b"uq\x010cmlcg.nn\nA\nq\x02)\x81" + b"h\x01b" * 20000),
        "larger than any model needs",
    ),
    "copy: lists into sets": (
        program(b"](" + b"K\x01" * 60000 + b"e\x85q\x010c__builtin__\nset\nq\x020](" + b"h\x02h\x01R" * 20000 + b"e"),
        "larger than any model needs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPLOSIONS)
def testSmallFilesStaySmall(tmp_path, name):
    """Pickles of at most 300 kB whose data would be huge, or would take for ever: each is refused with little memory."""
    data, message = EXPLOSIONS[name]
    path = archive(tmp_path / "t.pt", data, {"0": SIX})
    code = (
        "import resource, sys\n"
        "from openmmflash.convert._torchfile import TorchFileError, loadTorchFile\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "try: print(len(str(loadTorchFile(sys.argv[1]))))\n"
        "except TorchFileError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr or f"ended by signal {-result.returncode}"
    error, memory = result.stdout.splitlines()
    assert message in error and len(error) < 1000, error
    assert int(memory) < 1 << 20, f"took {memory} kB"


def testOneBudgetForEverything(tmp_path):
    """Tensors that are small in the file and large in memory: each is allowed, all together are not. So with sparse ones made dense."""
    big = tensor(numel=1, shape=(10000, 10000), strides=(0, 0))
    with pytest.raises(TorchFileError, match=r"shape \(10000, 10000\) would take 400000000 bytes, larger than any model needs"):
        loadTorchFile(archive(tmp_path / "t.pt", program(b"](", big * 3, b"e"), {"0": SIX}))
    sparse = SparseTensor(np.zeros((2, 1), dtype=np.int64), np.ones(1, dtype=np.float32), (10000, 10000))
    for _ in range(2):
        assert sparse.toDense()[0, 0] == 1
    with pytest.raises(TorchFileError, match="larger than any model needs"):
        sparse.toDense()
    # One storage under a million views is not copied for each.
    many = program(b"](", b"".join(tensor(numel=250000, shape=(1,), strides=(1,)) for _ in range(2000)), b"e")
    assert len(loadTorchFile(archive(tmp_path / "t.pt", many, {"0": bytes(1000000)}))) == 2000


def testFunctionsOfTorch(tmp_path):
    """torch.tanh is stored as getattr(torch._C._VariableFunctionsClass, "tanh"): that, and no other attribute of anything."""
    torch = pytest.importorskip("torch", reason="needs torch, to write the file")
    torch.save([torch.tanh, torch.nn.functional.silu, torch.nn.functional.softplus], tmp_path / "f.pt")
    assert [typeName(entry) for entry in loadTorchFile(tmp_path / "f.pt")] == [
        "torch.tanh", "torch.nn.functional.silu", "torch._C._nn.softplus",
    ]  # fmt: skip
    owner, other = b"ctorch._C\n_VariableFunctionsClass\n", b"cmlcg.nn\nA\n"
    for arguments in ([other, text("x")], [owner, text("a.b")], [owner, b"K\x01"], [owner], [LISTS, text("x")]):
        with pytest.raises(TorchFileError, match="'builtins.getattr' of"):
            loadTorchFile(archive(tmp_path / "t.pt", program(call("builtins", "getattr", *arguments))))


def testTruncatedZip(tmp_path):
    data = archive(tmp_path / "t.pt", program(tensor()), {"0": SIX}).read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "t.pt").write_bytes(data[:length])
        with pytest.raises(TorchFileError, match="Cannot read"):
            loadTorchFile(tmp_path / "t.pt")


def testDamagedBytes(tmp_path):
    """One changed byte anywhere: an error, or the same data where the byte does not matter; never other data."""
    path = archive(tmp_path / "t.pt", program(tensor()), {"0": SIX})
    data = path.read_bytes()
    refused = 0
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        try:
            assert np.array_equal(loadTorchFile(path), np.arange(6).reshape(2, 3)), position
        except TorchFileError:
            refused += 1
    assert refused > len(data) / 2


def testOtherFiles(tmp_path):
    path = tmp_path / "t.pt"
    archive(path, program(tensor()), {"0": SIX}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(TorchFileError, match="is compressed"):
        loadTorchFile(path)
    archive(path, program(tensor()), {"0": SIX}, {"constants.pkl": b""})
    with pytest.raises(TorchFileError, match="TorchScript"):
        loadTorchFile(path)
    archive(path, program(tensor()), {"0": SIX}, {"byteorder": "middle"})
    with pytest.raises(TorchFileError, match="middle"):
        loadTorchFile(path)
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(TorchFileError, match="0 data.pkl"):
        loadTorchFile(path)
    path.write_text("MODEL 1")
    assert not isTorchFile(path)
    with pytest.raises(TorchFileError, match="not a file of torch.save"):
        loadTorchFile(path)
    with pytest.raises(FileNotFoundError):
        loadTorchFile(tmp_path / "absent.pt")


def testLegacyFile(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch, to write the file")
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert isTorchFile(tmp_path / "old.pt")
    with pytest.raises(TorchFileError, match=r"before version 1.6.*save it with torch.save again"):
        loadTorchFile(tmp_path / "old.pt")
