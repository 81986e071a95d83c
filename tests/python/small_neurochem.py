# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""A small ANI model of random weights, as NeuroChem files and as state dicts of every TorchANI."""

import bz2

import numpy as np

SYMBOLS = ["H", "C"]
CONSTANTS = {
    "Rcr": 4.5, "Rca": 3.1, "EtaR": [3.2], "ShfR": [0.9, 2.1, 3.3], "Zeta": [4.5], "ShfZ": [0.39269908, 1.9634954], "EtaA": [2.5],
    "ShfA": [0.9, 1.7],
}  # fmt: skip
SELF_ENERGIES = [-0.5978583943827134, -38.08933878049795]
WIDTHS = {"H": (18, 5, 4, 1), "C": (18, 6, 1)}  # AEV: 2 types x 3 radial + 3 pairs x 4 angular


def weights(members=2):
    """[member][symbol] -> [(weight, bias), ...], float32."""
    random = np.random.default_rng(5)

    def layers(widths):
        return [(random.normal(size=(o, i)).astype("f4"), random.normal(size=o).astype("f4")) for i, o in zip(widths, widths[1:])]

    return [{symbol: layers(WIDTHS[symbol]) for symbol in SYMBOLS} for _ in range(members)]


def layerText(symbol, index, shape, last):
    name = f"ANN-{symbol}.nnf-l{index + 1}"
    settings = f"nodes={shape[0]};\nactivation={6 if last else 9};\ntype=0;\nblocksize={shape[1]};\ndropout=0;\nmaskupdate=-nan;\n"
    settings += "l2norm=1;\nl2valu=0.000100;\nbtchnorm=0;\n"
    files = f"weights=FILE:{name}.wparam[{shape[0] * shape[1]}];\nbiases=FILE:{name}.bparam[{shape[0]}];\n"
    return f"layer [\n{settings}{files}]\n"


def writeNetwork(folder, symbol, text):
    """The .nnf file: '<n>=' and the bzip2-compressed text."""
    data = bz2.compress(text.encode() + b"\0")
    (folder / f"ANN-{symbol}.nnf").write_bytes(f"{len(data)}=\n".encode() + data)


def writeNeuroChem(folder, members=2):
    """The folder, complete."""
    folder.mkdir(parents=True)
    lines = [
        "TM = 1",
        *(f"{key} = {value if isinstance(value, float) else str(value).replace(' ', '')}" for key, value in CONSTANTS.items()),
    ]
    (folder / "small.params").write_text("\n".join([*lines, f"Atyp = [{','.join(SYMBOLS)}]"]) + "\n")
    (folder / "sae_linfit.dat").write_text("".join(f"{s},{i}={e!r}\n" for i, (s, e) in enumerate(zip(SYMBOLS, SELF_ENERGIES))))
    for k, member in enumerate(weights(members)):
        networks = folder / f"train{k}" / "networks"
        networks.mkdir(parents=True)
        for symbol, layers in member.items():
            text = f"inputsize={layers[0][0].shape[1]};\natom_net {symbol} $\n"
            for index, (weight, bias) in enumerate(layers):
                text += layerText(symbol, index, weight.shape, index == len(layers) - 1)
                (networks / f"ANN-{symbol}.nnf-l{index + 1}.wparam").write_bytes(weight.astype("<f4").tobytes())
                (networks / f"ANN-{symbol}.nnf-l{index + 1}.bparam").write_bytes(bias.astype("<f4").tobytes())
            writeNetwork(networks, symbol, text + "\n $ \n")
    return folder


def stateDict(style, members=2):
    """The model as TorchANI 2.9 ("2.9"), its development versions ("legacy") or 2.2.4 ("2.2") save it: numpy arrays, float32 constants."""
    c = {key: np.array(value, dtype="f4") for key, value in CONSTANTS.items()}
    result = {}
    numbers = {"H": 1, "C": 6}
    conversion = np.full(120, -1)
    for index, symbol in enumerate(SYMBOLS):
        conversion[numbers[symbol]] = index
    prefix = "potentials.nnp." if style == "2.9" else ""
    names = {
        "2.9": ("radial.eta", "radial.shifts", "angular.eta", "angular.zeta", "angular.shifts", "angular.sections"),
        "legacy": (
            "radial_terms.EtaR",
            "radial_terms.ShfR",
            "angular_terms.EtaA",
            "angular_terms.Zeta",
            "angular_terms.ShfA",
            "angular_terms.ShfZ",
        ),
        "2.2": ("EtaR", "ShfR", "EtaA", "Zeta", "ShfA", "ShfZ"),
    }[style]
    for name, key in zip(names, ("EtaR", "ShfR", "EtaA", "Zeta", "ShfA", "ShfZ")):
        result[f"{prefix}aev_computer.{name}"] = c[key] if style == "2.9" else c[key].reshape(1, -1)
    result[f"{prefix}aev_computer.triu_index"] = np.array([[0, 1], [1, 2]])
    if style == "2.9":
        result["atomic_numbers"] = np.array([1, 6])
    if style == "2.2":
        result["aev_computer.default_cell"] = np.eye(3, dtype="f4")
        result["aev_computer.default_shifts"] = np.zeros((0, 3), dtype="i8")
    result["species_converter.conv_tensor"] = conversion
    for k, member in enumerate(weights(members)):
        for symbol, layers in member.items():
            for index, parts in enumerate(layers):
                if style == "2.9":
                    place = f"members.{k}.atomics.{symbol}.{f'layers.{index}' if index < len(layers) - 1 else 'final_layer'}"
                else:
                    place = f"{k}.{symbol}.{2 * index}"
                for kind, array in zip(("weight", "bias"), parts):
                    result[f"{prefix}neural_networks.{place}.{kind}"] = array
    result["energy_shifter.self_energies"] = np.array(SELF_ENERGIES, dtype="f4" if style != "2.2" else "f8")
    return result
