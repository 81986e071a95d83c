# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Wrong model files, for test_wrong_inputs.py.

CASES maps a case's name to a function that makes the bytes, and to the texts that the error must contain: the key or tensor and the
offending value. To add a case, add a line.
"""

import json
import struct

import numpy as np
from random_models import PARTS

from openmmflash.convert._writer import modelBytes

DELETE = object()


def split(data):
    """The header, with the metadata's structured values parsed, and the tensors' bytes."""
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    metadata = header["__metadata__"]
    for key in ("types", "hyperparameters", "priors"):
        if key in metadata:
            metadata[key] = json.loads(metadata[key])
    return header, bytearray(data[8 + size :])


def join(header, body):
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict):
        structured = {
            key: json.dumps(metadata[key]) for key in ("types", "hyperparameters", "priors") if isinstance(metadata.get(key), (dict, list))
        }
        header = header | {"__metadata__": metadata | structured}
    return raw(json.dumps(header).encode(), body)


def raw(text, body=b""):
    return struct.pack("<Q", len(text)) + text + bytes(body)


def file(change, name="pyg"):
    """A valid file of random_models, after `change(header, body)`."""

    def make():
        header, body = split(modelBytes(*PARTS[name]()))
        change(header, body)
        return join(header, body)

    return make


def replaced(old, new, name="pyg"):
    """A valid file with a text in its header exchanged, for what json.dumps cannot write."""

    def make():
        data = modelBytes(*PARTS[name]())
        size = struct.unpack("<Q", data[:8])[0]
        text = data[8 : 8 + size]
        assert old in text, old
        return raw(text.replace(old, new, 1), data[8 + size :])

    return make


def put(mapping, key, value):
    if value is DELETE:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def metadata(key, value, name="pyg"):
    return file(lambda header, body: put(header["__metadata__"], key, value), name)


def hyper(key, value, name="pyg"):
    return file(lambda header, body: put(header["__metadata__"]["hyperparameters"], key, value), name)


def entry(tensor, key, value, name="pyg"):
    return file(lambda header, body: put(header[tensor], key, value), name)


def types(value, name="pyg"):
    return metadata("types", value, name)


def firstType(name="pyg", **changes):
    """Changes to the first type; DELETE takes a key away."""

    def change(header, body):
        for key, value in changes.items():
            put(header["__metadata__"]["types"][0], key, value)

    return file(change, name)


def element(tensor, index, value, name="pyg"):
    """One element of an F64 tensor."""
    return poked(lambda: modelBytes(*PARTS[name]()), tensor, 8 * index, struct.pack("<d", value))


def parts(change, name="pyg"):
    """A file written from changed metadata and tensors, whose tensors lie where they should."""

    def make():
        metadata, tensors = PARTS[name]()
        change(metadata, tensors)
        return modelBytes(metadata, tensors)

    return make


def tensor(key, value, name="pyg"):
    return parts(lambda metadata, tensors: put(tensors, key, value), name)


def prior(form="harmonic_bond", types=((0, 1),), parameters=((1.0, 2.0),), listed=None):
    """A file with one prior table called p."""

    def change(metadata, tensors):
        metadata["priors"] = [{"name": "p", "form": form}] if listed is None else listed
        put(tensors, "priors.p.types", types if types is DELETE else np.array(types))
        put(tensors, "priors.p.parameters", parameters if parameters is DELETE else np.array(parameters))

    return parts(change)


def poked(make, tensor, offset, data):
    """Another file with some bytes of a tensor exchanged."""

    def change():
        header, body = split(make())
        begin = header[tensor]["data_offsets"][0] + offset
        body[begin : begin + len(data)] = data
        return join(header, body)

    return change


def swapOffsets(header, body):
    """Two tensors of equal size in the same place."""
    header["members.0.blocks.1.filter.0.weight"]["data_offsets"] = header["members.0.blocks.0.filter.0.weight"]["data_offsets"]


def leaveGap(header, body):
    last = max((name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"][1])
    header[last]["data_offsets"] = [offset + 8 for offset in header[last]["data_offsets"]]
    body.extend(bytes(8))


DEEP = "[" * 100000
EMBEDDING = "members.0.embedding"  # [3, 6] in "pyg"
COEFFICIENTS = "members.0.basis.coefficients"

CASES = {
    # The container.
    "empty": (lambda: b"", "0 bytes"),
    "seven bytes": (lambda: b"1234567", "7 bytes"),
    "header longer than the file": (lambda: struct.pack("<Q", 1000) + b"{}", "1000 bytes", "only 2 follow"),
    "header of a terabyte": (lambda: struct.pack("<Q", 2**40) + b"{}", str(2**40)),
    "header of 2^64 - 1 bytes": (lambda: b"\xff" * 8 + b"{}", str(2**64 - 1)),
    "header over 4 MiB": (lambda: raw(b" " * (2**22 + 1)), str(2**22 + 1)),
    "header without a value": (lambda: raw(b""), "the header", "ends too early"),
    "header an array": (lambda: raw(b"[1, 2]"), "an array of 2"),
    "header null": (lambda: raw(b"null"), "null"),
    "header without metadata": (lambda: raw(b"{}"), "format"),
    "header with text behind it": (lambda: raw(b"{} x"), "text after the end", "byte 3"),
    "header cut": (lambda: raw(b'{"__metadata__": {"format": "openmm'), "without its closing quote"),
    "metadata not an object": (lambda: raw(b'{"__metadata__": 7}'), "__metadata__", "7"),
    "metadata value not a string": (lambda: raw(b'{"__metadata__": {"format": 7}}'), '"format"', "7"),
    "tensor entry a number": (lambda: raw(b'{"x": 17}'), '"x"', "17"),
    "invalid UTF-8": (replaced(b"random-schnet", b"random-\xff\xfeschnet"), "UTF-8"),
    "key twice in the metadata": (replaced(b'"name":', b'"name":"a","name":'), '"name" appears twice'),
    "tensor twice": (replaced(b'"type_energies":', b'"members.0.embedding":'), '"members.0.embedding" appears twice'),
    "key twice in the hyperparameters": (replaced(rb"\"cutoff\":", rb"\"cutoff\":1,\"cutoff\":"), '"cutoff" appears twice'),
    "deep header": (lambda: raw(b"[" * 1000000), "nested deeper than 16"),
    "deep types": (types(DEEP), "types", "nested deeper than 16"),
    "deep hyperparameters": (metadata("hyperparameters", '{"a":' * 100000), "hyperparameters", "nested deeper than 16"),
    "control character": (replaced(b"random-schnet", b"random\nschnet"), "control character"),
    "unknown escape": (replaced(b"random-schnet", rb"random\qschnet"), "unknown escape"),
    "wrong \\u escape": (replaced(b"random-schnet", rb"\u12g4"), "\\u"),
    "half of a surrogate pair": (replaced(b"random-schnet", rb"\ud800x"), "surrogate"),
    "number with a leading zero": (replaced(rb"\"cutoff\":5.0", rb"\"cutoff\":05.0"), "leading zero"),
    "number out of range": (replaced(rb"\"cutoff\":5.0", rb"\"cutoff\":1e999"), "1e999"),
    "NaN in JSON": (replaced(rb"\"cutoff\":5.0", rb"\"cutoff\":NaN"), '"N"'),
    "number without digits": (replaced(rb"\"cutoff\":5.0", rb"\"cutoff\":5."), "without digits"),
    # Tensors.
    "data cut by a byte": (lambda: modelBytes(*PARTS["ani"]())[:-1], "bytes of data"),
    "data missing": (file(lambda header, body: body.clear()), "0 bytes of data"),
    "data too long": (file(lambda header, body: body.extend(b"12345")), "the tensors end at"),
    "overlap": (file(swapOffsets), "members.0.blocks.", "overlaps"),
    "gap": (file(leaveGap), "gap"),
    "offsets reversed": (entry(EMBEDDING, "data_offsets", [144, 0]), EMBEDDING, "144 to 0"),
    "offset beyond the file": (entry(EMBEDDING, "data_offsets", [10**12, 10**12 + 144]), EMBEDDING, str(10**12)),
    "negative offset": (entry(EMBEDDING, "data_offsets", [-144, 0]), EMBEDDING, "data_offsets"),
    "fractional offset": (entry(EMBEDDING, "data_offsets", [0.5, 144.5]), EMBEDDING, "data_offsets"),
    "offset over 2^64": (entry(EMBEDDING, "data_offsets", [0, 10**30]), EMBEDDING, "data_offsets"),
    "three offsets": (entry(EMBEDDING, "data_offsets", [0, 1, 2]), EMBEDDING, "data_offsets"),
    "no offsets": (entry(EMBEDDING, "data_offsets", DELETE), EMBEDDING, "data_offsets"),
    "shape does not fit the bytes": (entry(EMBEDDING, "shape", [3, 7]), EMBEDDING, "[3, 7]"),
    "shape whose product overflows": (entry(EMBEDDING, "shape", [2**40, 2**40]), EMBEDDING, str(2**40), "overflow"),
    "shape whose bytes overflow": (entry(EMBEDDING, "shape", [2**31, 2**30]), EMBEDDING, str(2**31)),
    "shape that wraps around to the right size": (entry(EMBEDDING, "shape", [2**32, 2**32, 18]), EMBEDDING, str(2**32)),
    "negative size": (entry(EMBEDDING, "shape", [-3, -6]), EMBEDDING, "-3"),
    "fractional size": (entry(EMBEDDING, "shape", [4.5, 4]), EMBEDDING, "4.5"),
    "shape of rank five": (entry(EMBEDDING, "shape", [1, 1, 1, 3, 6]), EMBEDDING, "array of 5"),
    "shape null": (entry(EMBEDDING, "shape", None), EMBEDDING, "null"),
    "dtype BF16": (entry(EMBEDDING, "dtype", "BF16"), EMBEDDING, "BF16"),
    "dtype a number": (entry(EMBEDDING, "dtype", 64), EMBEDDING, "64"),
    "unknown key of a tensor": (entry(EMBEDDING, "stride", [6, 1]), EMBEDDING, "stride"),
    "integers where real numbers belong": (entry(EMBEDDING, "dtype", "I64"), EMBEDDING, "I64"),
    "NaN": (element(EMBEDDING, 7, np.nan), EMBEDDING, "NaN at element 7"),
    "infinity": (element(EMBEDDING, 17, np.inf), EMBEDDING, "infinity at element 17"),
    "minus infinity": (element(EMBEDDING, 0, -np.inf), EMBEDDING, "infinity at element 0"),
    "NaN in F32": (
        poked(tensor(EMBEDDING, np.zeros((3, 6), "f4")), EMBEDDING, 8, struct.pack("<f", np.nan)),
        EMBEDDING,
        "NaN at element 2",
    ),
    "NaN in F16": (poked(tensor(EMBEDDING, np.zeros((3, 6), "f2")), EMBEDDING, 8, b"\x01\x7c"), EMBEDDING, "NaN at element 4"),
    "infinity in F16": (poked(tensor(EMBEDDING, np.zeros((3, 6), "f2")), EMBEDDING, 0, b"\x00\xfc"), EMBEDDING, "infinity at element 0"),
    "transposed": (tensor(EMBEDDING, np.zeros((6, 3))), EMBEDDING, "[6, 3]", "[3, 6]"),
    "flat": (tensor(EMBEDDING, np.zeros(18)), EMBEDDING, "[18]"),
    "missing tensor": (tensor(EMBEDDING, DELETE), EMBEDDING, "missing"),
    "missing layer": (tensor("members.0.readout.0.weight", DELETE), "members.0.readout.0.weight", "missing"),
    "bias of another length": (tensor("members.0.readout.0.bias", np.zeros(5)), "members.0.readout.0.bias", "[5]"),
    "readout with two outputs": (
        parts(lambda m, t: t.update({"members.0.readout.1.weight": np.zeros((2, 4)), "members.0.readout.1.bias": np.zeros(2)})),
        "members.0.readout.1.weight",
        "2 outputs",
    ),
    "layer with too many outputs": (tensor("members.0.readout.0.weight", np.zeros((4097, 6))), "members.0.readout.0.weight", "4097"),
    "too many layers": (
        parts(lambda m, t: t.update({f"members.0.readout.{k}.weight": np.zeros((1, 4 if k == 2 else 1)) for k in range(2, 18)})),
        "readout",
    ),
    "unknown tensor": (tensor("members.0.blocks.2.input.weight", np.zeros((5, 6))), "members.0.blocks.2.input.weight", "unknown"),
    "bias that the format does not have": (tensor("members.0.blocks.0.input.bias", np.zeros(5)), "members.0.blocks.0.input.bias"),
    # Metadata.
    **{
        f"no {key}": (metadata(key, DELETE), key, "missing")
        for key in ("format", "format_version", "architecture", "name", "types", "hyperparameters")
    },
    **{f"no {key}": (metadata(key, DELETE), key, "missing") for key in ("length_unit", "energy_unit")},
    "unknown metadata key": (metadata("lenght_unit", "nm"), "lenght_unit"),
    "another format": (metadata("format", "pt"), '"pt"'),
    "a later version": (metadata("format_version", "2"), '"2"'),
    "version 1.0": (metadata("format_version", "1.0"), '"1.0"'),
    "unknown architecture": (metadata("architecture", "painn"), '"painn"'),
    "empty name": (metadata("name", ""), "name"),
    **{
        f"length unit {value!r}": (metadata("length_unit", value), "length_unit", f'"{value}"')
        for value in ("inch", "", "0", "-1", "nan", "1e999", "0x1")
    },
    **{
        f"energy unit {value!r}": (metadata("energy_unit", value), "energy_unit", f'"{value}"')
        for value in ("Hartree", "0", "-4.184", "inf", " 1")
    },
    "types an object": (types({}), "types", "an object"),
    "no types": (types([]), "types", "an array of 0"),
    "too many types": (types([{"name": f"A{i}"} for i in range(1025)]), "types", "1025"),
    "a type that is a number": (types([6, 1, 8]), "type 0", "6"),
    "fewer types than embeddings": (types([{"name": "H"}]), EMBEDDING, "[3, 6]"),
    "two types of one name": (types([{"name": "C"}, {"name": "C"}, None]), "type 1", '"C"'),
    "type without a name": (types([{"mass": 1.0}, None, None]), "type 0", '"name"'),
    "type with an empty name": (types([{"name": ""}, None, None]), "type 0", '""'),
    "type with a dot": (types([{"name": "C.3"}, None, None]), '"C.3"'),
    "type with a long name": (types([{"name": "C" * 65}, None, None]), "C" * 60),
    **{
        f"atomic number {value!r}": (firstType(atomic_number=value), "type 0", "atomic_number", text)
        for value, text in ((0, "0"), (119, "119"), (1.5, "1.5"), ("6", '"6"'))
    },
    **{f"mass {value!r}": (firstType(mass=value), "type 0", "mass", text) for value, text in ((0, "0"), (-12.5, "-12.5"), ("12", '"12"'))},
    "unknown key of a type": (firstType(charge=1), "type 0", "charge"),
    **{
        f"num_members {value!r}": (metadata("num_members", value), "num_members", text)
        for value, text in (("0", "0"), ("65", "65"), ("1.5", "1.5"), ("-1", "-1"), ('"1"', '"1"'))
    },
    "fewer members than stated": (metadata("num_members", "2"), "members.1.", "missing"),
    "more members than stated": (metadata("num_members", "2", "schnet-3"), "members.2."),
    # SchNet.
    "hyperparameters an array": (metadata("hyperparameters", [1, 2]), "hyperparameters", "an array of 2"),
    "unknown hyperparameter": (hyper("cutof", 5.0), "cutof"),
    "missing hyperparameter": (hyper("num_filters", DELETE), "num_filters", "missing"),
    **{
        f"cutoff {value!r}": (hyper("cutoff", value), "cutoff", text)
        for value, text in ((0, "0"), (-5.0, "-5"), ("5", '"5"'), (None, "null"))
    },
    **{
        f"num_blocks {value!r}": (hyper("num_blocks", value), "num_blocks", text)
        for value, text in ((-1, "-1"), (65, "65"), (1.5, "1.5"), (True, "true"))
    },
    **{
        f"hidden_channels {value!r}": (hyper("hidden_channels", value), "hidden_channels", text)
        for value, text in ((0, "0"), (4097, "4097"), (10**15, "1e+15"))
    },
    "another width than the tensors": (hyper("num_filters", 6), "members.0.blocks.0.filter.0.weight", "[6, 4]"),
    "fewer blocks than the tensors": (hyper("num_blocks", 1), "members.0.blocks.1."),
    "unknown activation": (hyper("activation", "relu"), "activation", '"relu"', "tanh"),
    "unknown readout activation": (hyper("readout_activation", 3), "readout_activation", "3"),
    "unknown radial basis": (hyper("radial_basis", "bessel"), "radial_basis", '"bessel"'),
    "alpha for a Gaussian basis": (hyper("basis_alpha", 1.0), "basis_alpha"),
    "no alpha": (hyper("basis_alpha", DELETE, "mlcg"), "basis_alpha", "missing"),
    "alpha zero": (hyper("basis_alpha", 0, "mlcg"), "basis_alpha", "0"),
    "unknown envelope": (hyper("filter_envelope", "step"), "filter_envelope", '"step"'),
    "lower bound at the cutoff": (hyper("filter_envelope_lower", 5.0), "filter_envelope_lower", "5"),
    "lower bound negative": (hyper("filter_envelope_lower", -0.5), "filter_envelope_lower", "-0.5"),
    "lower bound of a mollifier": (hyper("filter_envelope_lower", 1.0, "schnetpack"), "filter_envelope_lower", "1"),
    "neighbor_embedding a text": (hyper("neighbor_embedding", "yes"), "neighbor_embedding", '"yes"'),
    "neighbor_embedding without tensors": (hyper("neighbor_embedding", True), "neighbor_embedding.embedding", "missing"),
    "neighbor_embedding not stated": (hyper("neighbor_embedding", False, "torchmdnet"), "neighbor_embedding."),
    "group_energy a text": (hyper("group_energy", "x"), "group_energy", '"x"'),
    "positive coefficient": (element(COEFFICIENTS, 2, 0.25), COEFFICIENTS, "0.25 at element 2"),
    "beta zero": (element("members.0.basis.betas", 1, 0.0, "mlcg"), "members.0.basis.betas", "0 at element 1"),
    "type_energies of another length": (tensor("type_energies", np.zeros(4)), "type_energies", "[4]"),
    # ANI.
    "angular cutoff over the radial": (hyper("angular_cutoff", 5.5, "ani"), "angular_cutoff", "5.5"),
    "celu_alpha zero": (hyper("celu_alpha", 0.0, "ani"), "celu_alpha", "0"),
    "unknown cutoff function": (hyper("cutoff_function", "smooth", "ani"), "cutoff_function", '"smooth"'),
    "negative eta": (element("aev.radial.eta", 1, -16.0, "ani"), "aev.radial.eta", "-16 at element 1"),
    "zeta zero": (element("aev.angular.zeta", 0, 0.0, "ani"), "aev.angular.zeta", "0 at element 0"),
    "no shifts": (tensor("aev.radial.shift", np.zeros(0), "ani"), "aev.radial.shift", "[0]"),
    "AEV too long": (
        parts(lambda m, t: t.update({f"aev.angular.{k}": np.ones(64) for k in ("eta", "zeta", "shift", "theta")}), "ani"),
        "AEV",
    ),
    "another AEV length": (tensor("aev.angular.theta", np.ones(3), "ani"), "members.0.networks.H.0.weight"),
    "no self energies": (tensor("type_energies", DELETE, "ani"), "type_energies", "missing"),
    "null type in ANI": (types([{"name": "H"}, None, {"name": "O"}], "ani"), "type 1", "null"),
    "network of a type missing": (tensor("members.0.networks.C.0.weight", DELETE, "ani"), "members.0.networks.C.0.weight", "missing"),
    "network of an unknown type": (tensor("members.0.networks.N.0.weight", np.zeros((1, 1)), "ani"), "members.0.networks.N.0.weight"),
    "hyperparameter of SchNet in ANI": (hyper("num_blocks", 1, "ani"), "num_blocks"),
    # Pair prior.
    **{
        f"repulsion {key} {value!r}": (hyper("repulsion", {"exponent": 6, "cutoff": None} | {key: value}, "mlcg"), "repulsion", key, text)
        for key, value, text in (
            ("exponent", 0, "0"),
            ("exponent", 25, "25"),
            ("exponent", 6.5, "6.5"),
            ("cutoff", 0, "0"),
            ("cutoff", -8.5, "-8.5"),
            ("scale", 1, ""),
        )
    },
    "repulsion a number": (hyper("repulsion", 6, "mlcg"), "repulsion", "6"),
    "no sigma": (tensor("repulsion.sigma", DELETE, "mlcg"), "repulsion.sigma", "missing"),
    "sigma without repulsion": (hyper("repulsion", DELETE, "mlcg"), "repulsion.sigma", "unknown"),
    "sigma not symmetric": (element("repulsion.sigma", 1, 77.5, "mlcg"), "repulsion.sigma", "symmetric", "77.5"),
    "sigma negative": (element("repulsion.sigma", 5, -0.5, "mlcg"), "repulsion.sigma", "-0.5"),
    # Other priors.
    "priors an object": (metadata("priors", {"a": 1}), "priors", "an object"),
    "prior a text": (metadata("priors", ["bond"]), "prior 0", '"bond"'),
    "unknown form": (prior("morse_bond"), "prior 0", '"morse_bond"'),
    "prior without a name": (metadata("priors", [{"form": "harmonic_bond"}]), "prior 0", '"name"'),
    "two priors of one name": (prior(listed=[{"name": "p", "form": "harmonic_bond"}] * 2), "prior 1", '"p"'),
    "prior with a path for a name": (prior(listed=[{"name": "a/b", "form": "harmonic_bond"}]), "prior 0", '"a/b"'),
    "two rows of the same types": (prior(types=((0, 1), (1, 1), (0, 1)), parameters=((1.0, 2.0),) * 3), "priors.p.types", "rows 0 and 2"),
    "unknown key of a prior": (prior(listed=[{"name": "p", "form": "harmonic_bond", "k": 1}]), '"k"'),
    "prior without parameters": (prior(parameters=DELETE), "priors.p.parameters", "missing"),
    "prior without types": (prior(types=DELETE), "priors.p.types", "missing"),
    "table without a prior": (prior(listed=[]), "priors.p."),
    "parameters flat": (prior(parameters=(1.0, 2.0)), "priors.p.parameters", "[2]"),
    "columns of another form": (prior(parameters=((1.0, 2.0, 3.0),)), "priors.p.parameters", "3 columns", "harmonic_bond"),
    "Fourier terms not in pairs": (prior("fourier_dihedral", ((0, 1, 1, 0),), np.ones((1, 4))), "4 columns", "fourier_dihedral"),
    "too many Fourier terms": (prior("fourier_dihedral", ((0, 1, 1, 0),), np.ones((1, 131))), "131 columns"),
    "another number of rows": (prior(types=((0, 1), (1, 1))), "priors.p.types", "[2, 2]"),
    "types of another arity": (prior(types=((0, 1, 2),)), "priors.p.types", "[1, 3]"),
    "type out of range in a prior": (prior(types=((0, 3),)), "priors.p.types", "type 3", "row 0"),
    "negative type in a prior": (prior(types=((0, -1),)), "priors.p.types", "type -1"),
    "real types in a prior": (prior(types=((0.0, 1.0),)), "priors.p.types", "F64"),
    "integer parameters in a prior": (prior(parameters=((1, 2),)), "priors.p.parameters", "I64"),
    "type over 32 bits in a prior": (prior(types=((0, 2**40),)), "priors.p.types", str(2**40)),
    "NaN in a prior": (poked(prior(), "priors.p.parameters", 8, struct.pack("<d", np.nan)), "priors.p.parameters", "NaN at element 1"),
}
