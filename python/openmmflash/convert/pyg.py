# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""PyTorch Geometric's SchNet (torch_geometric.nn.models.SchNet), live, saved as a whole, or as a state dict."""

from collections.abc import Mapping

import numpy as np

from . import _schnet as common
from ._errors import ConversionError, shown
from ._moduletree import (
    FLOAT32_LN2,
    State,
    attribute,
    child,
    children,
    foldActivations,
    fullName,
    isModule,
    isTensor,
    offsetSoftplus,
    readActivation,
    requireType,
    revive,
    stateOf,
)
from ._units import statedUnits

PACKAGE = "torch_geometric.nn.models.schnet"
MODEL = f"{PACKAGE}.SchNet"
SMEARING = f"{PACKAGE}.GaussianSmearing"
GRAPH = f"{PACKAGE}.RadiusInteractionGraph"
SUM = "torch_geometric.nn.aggr.basic.SumAggregation"
CLASSES = (MODEL, SMEARING, GRAPH, SUM, *(f"{PACKAGE}.{name}" for name in ("InteractionBlock", "CFConv", "ShiftedSoftplus")))
NEIGHBORS = (
    "PyG's default graph keeps at most max_num_neighbors (32) neighbours of an atom; here every pair inside the cutoff counts, so energies "
    "differ where PyG truncates"
)


def recognises(source):
    """Whether a loaded file or live object is PyG's SchNet, or a state dict of one."""
    if isinstance(source, Mapping):
        return "distance_expansion.offset" in source and "interactions.0.conv.lin1.weight" in source and "lin1.weight" in source
    return isModule(source) and fullName(source).startswith("torch_geometric.")


def convertPyG(
    source,
    output,
    check=True,
    lengthUnit=None,
    energyUnit=None,
    cutoff=None,
    mean=None,
    std=None,
    scale=None,
    types=None,
    name=None,
    description=None,
    citation=None,
    license=None,
):
    """Convert a SchNet of PyTorch Geometric to a model file.

    PyG's default interaction graph truncates to 32 neighbours; the converted model never does.

    Parameters
    ----------
    source : torch module, mapping, path, or list of these
        The model; or a file of torch.save, read without torch: the model or its state dict. Several become the members of an ensemble.
    output : path
    check : bool
        Compare with the original in double precision, where torch_geometric is importable.
    lengthUnit, energyUnit : str or float
        Required, since the model does not say: `angstrom`, `bohr`, `nm` or nm per unit; `eV`, `hartree`, `kcal/mol`, `kJ/mol` or kJ/mol per
        unit.
    cutoff : float
        Of a state dict, which does not hold it: required there, an error elsewhere.
    mean, std, scale : float, optional
        Of a state dict, likewise: the arguments of SchNet, and the attribute `scale`. A mean needs a std, as in PyG.
    types : list, optional
        Names (or dicts of the format, or None) of the embedding's rows where these are not atomic numbers.
    name, description, citation, license : str, optional
        For the file's metadata.

    Returns
    -------
    ConversionReport

    Raises
    ------
    ConversionError
        A part that the model format cannot express, by name (dipole, readout='mean', ...); a tensor that nothing uses; units or cutoff
        missing; a difference from the original.
    """
    units = statedUnits(lengthUnit, energyUnit, "PyG")
    options = {"cutoff": cutoff, "mean": mean, "std": std, "scale": scale}
    loaded = [_load(entry, options) for entry in common.sourceList(source)]
    networks = [readNetwork(*entry[1:]) for entry in loaded]
    kind = f"PyTorch Geometric's SchNet: {', '.join(entry[-1] for entry in loaded)}"
    texts = {"types": types, "name": name, "description": description, "citation": citation, "license": license}
    return common.convertNetworks(
        networks, units, output, kind, "PyTorch Geometric", lambda: [_original(*entry[:-1]) for entry in loaded], check, **texts
    )


def _load(source, options):
    """(module or None, settings, tensors, where)."""
    source, where = common.openSource(source, "PyG SchNet", "Save PyG's SchNet, or its state_dict(), with torch.save.")
    if isinstance(source, Mapping):
        if not (source and all(isTensor(value) for value in source.values())):
            raise ConversionError(
                f"{where} is a dict, but not one of tensors only: a state_dict of PyG's SchNet is needed "
                f"({', '.join(map(shown, list(source)[:6]))})."
            )
        return None, _settingsOfOptions(options, source, where), dict(source), where
    if not isModule(source):
        raise ConversionError(f"{where} is {fullName(source)}; a SchNet of torch_geometric, its state dict, or a file of either is needed.")
    for name in ("cutoff", "mean", "std", "scale"):
        if options.get(name) is not None:
            raise ConversionError(
                f"{where}: the model itself holds {name}; the option is for state dicts. Leave it out, or set it in the model."
            )
    return source, _settingsOfModule(source, where), stateOf(source), where


def _settingsOfOptions(options, state, where):
    cutoff = options["cutoff"]
    for name, value in options.items():
        if value is not None and not (isinstance(value, (int, float)) and np.isfinite(value)):
            raise ConversionError(f"{name} is {value!r}; a finite number is needed.")
    if cutoff is None or not cutoff > 0:
        raise ConversionError(
            f"{where}: a state dict of PyG's SchNet does not hold the cutoff; give cutoff=NUMBER, a positive one in the model's length "
            f"unit (got {cutoff!r})."
        )
    if (options.get("mean") is None) != (options.get("std") is None):
        raise ConversionError(
            f"mean is {options.get('mean')} and std is {options.get('std')}: PyG applies them only together. Give both (std=1 for none)."
        )
    offset = np.asarray(state["distance_expansion.offset"]) if "distance_expansion.offset" in state else np.zeros(0)
    if offset.ndim != 1 or len(offset) < 2 or offset[1] == offset[0]:
        raise ConversionError(
            f"{where}: 'distance_expansion.offset' has shape {list(offset.shape)}; at least two different offsets are needed."
        )
    if abs(float(offset[-1]) - cutoff) > 1e-6 * cutoff:
        raise ConversionError(
            f"{where}: cutoff is {cutoff}, but PyG puts the last Gaussian at the cutoff, and that is {float(offset[-1])}."
        )
    return {
        "cutoff": float(cutoff),
        "mean": options.get("mean"),
        "std": options.get("std"),
        "scale": options.get("scale"),
        "coeff": -0.5 / float(np.float32(offset[1]) - np.float32(offset[0])) ** 2,  # as GaussianSmearing computes it, from float32 offsets
        "activation": offsetSoftplus(FLOAT32_LN2),
        "notes": [NEIGHBORS],
    }


def _settingsOfModule(module, where):
    requireType(module, (MODEL,), where)
    if attribute(module, "dipole", where, False):
        raise ConversionError(f"{where} has dipole=True: it predicts the norm of a dipole moment, not an energy.")
    requireType(child(module, "readout", where), (SUM,), f"{where}: the readout", "an energy is a sum over atoms: readout='add'")
    cutoff = float(attribute(module, "cutoff", where))
    notes = []
    graph = (
        child(module, "interaction_graph", where)
        if "interaction_graph" in children(module)
        else attribute(module, "interaction_graph", where)
    )
    if fullName(graph) == GRAPH:
        reach = float(attribute(graph, "cutoff", where))
        if reach != cutoff:
            raise ConversionError(
                f"{where}: the interaction graph has cutoff {reach}, the envelope {cutoff}; only equal ones give a continuous energy."
            )
        notes.append(NEIGHBORS)
    else:
        notes.append(f"the interaction graph is {fullName(graph)}; it is taken to be all pairs inside the cutoff {cutoff}")
    smearing = child(module, "distance_expansion", where)
    requireType(smearing, (SMEARING,), f"{where}: distance_expansion")
    empty = State({}, where)
    read = [readActivation(child(module, "act", where), empty, "act", f"{where}: act")]
    for index, block in children(child(module, "interactions", where)).items():
        requireType(block, (f"{PACKAGE}.InteractionBlock",), f"{where}: interactions.{index}")
        conv, mlp = child(block, "conv", where), child(block, "mlp", where)
        requireType(conv, (f"{PACKAGE}.CFConv",), f"{where}: interactions.{index}.conv")
        if float(attribute(conv, "cutoff", where)) != cutoff:
            raise ConversionError(
                f"{where}: interactions.{index}.conv has cutoff {attribute(conv, 'cutoff', where)}, the model {cutoff}; the model "
                "format has one."
            )
        for name, function in (
            (f"interactions.{index}.mlp.1", child(mlp, "1", where)),
            (f"interactions.{index}.act", child(block, "act", where)),
        ):
            read.append(readActivation(function, empty, name, f"{where}: {name}"))
    if len(set(read)) > 1:
        raise ConversionError(
            f"{where}: the activations differ between layers ({', '.join(sorted({str(f) for f in read}))}); PyG's SchNet has one."
        )
    settings = {name: attribute(module, name, where, None) for name in ("mean", "std", "scale")}
    for name, value in settings.items():
        if value is not None:
            array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
            if array.size != 1 or array.dtype.kind not in "fiu":
                raise ConversionError(f"{where}: {name} is {shown(value)}; one number is needed.")
            settings[name] = float(array.reshape(()))
    return {**settings, "cutoff": cutoff, "coeff": float(attribute(smearing, "coeff", where)), "activation": read[0], "notes": notes}


def readNetwork(settings, tensors, where="PyG SchNet"):
    """A SchNetNetwork from settings (cutoff, mean, std, scale, coeff, activation, notes) and tensors by the names of PyG's state dict."""
    state = State(tensors, where)
    f = settings["activation"]
    if "atomic_mass" in state:
        raise ConversionError(
            f"{where} has the tensor 'atomic_mass': it is a model with dipole=True, which predicts the norm of a dipole moment, not an "
            "energy."
        )
    offsets = state.take("distance_expansion.offset", (None,))
    blocks = []
    while f"interactions.{len(blocks)}.lin.weight" in state:
        prefix = f"interactions.{len(blocks)}"
        filters = [state.linear(f"{prefix}.mlp.0", inputs=len(offsets)), state.linear(f"{prefix}.mlp.2")]
        for layer in ("0", "2"):
            for kind in ("weight", "bias"):
                state.same(f"{prefix}.conv.nn.{layer}.{kind}", f"{prefix}.mlp.{layer}.{kind}")
        outputs = [state.linear(f"{prefix}.conv.lin2"), state.linear(f"{prefix}.lin")]
        blocks.append(common.makeBlock(filters, f, state.take(f"{prefix}.conv.lin1.weight", (None, None)), outputs, f))
    readout = foldActivations([state.linear("lin1"), state.linear("lin2", outputs=1)], [f])
    std, mean, scale = 1.0, 0.0, 1.0 if settings["scale"] is None else float(settings["scale"])
    if settings["mean"] is not None and settings["std"] is not None:  # PyG applies neither without the other
        std, mean = float(settings["std"]), float(settings["mean"])
    atomref = state.optional("atomref.weight", (None, 1))
    if atomref is None and "initial_atomref" in state:
        raise ConversionError(f"{where}: tensor 'atomref.weight' is missing; there is 'initial_atomref', what it was before training.")
    state.drop("initial_atomref")  # what atomref was initialised with
    embedding = state.take("embedding.weight", (None, None))
    state.finish()
    return common.SchNetNetwork(
        cutoff=settings["cutoff"],
        activation=f.name,
        readoutActivation=f.name,
        basis="gaussian",
        means=offsets,
        widths=np.full(len(offsets), settings["coeff"]),
        embedding=embedding,
        blocks=blocks,
        readout=common.scaleOutput(readout, std * scale, mean * scale),
        typeEnergies=None if atomref is None else np.asarray(atomref, np.float64)[:, 0] * scale,
        notes=list(settings["notes"]),
    )


def _original(module, settings, tensors):
    """The original as a function (types, positions) -> (energy, forces), in double precision, with all pairs."""
    torch = common.importTorch()
    try:
        from torch_geometric.nn.models.schnet import SchNet
    except ImportError as error:
        raise common.OriginalUnavailable(f"torch_geometric cannot be imported ({error})") from error
    if module is None:
        blocks = len({name.split(".")[1] for name in tensors if name.startswith("interactions.")})
        filters = tensors["interactions.0.conv.lin1.weight"].shape[0] if blocks else 1
        sizes = (tensors["embedding.weight"].shape[1], filters, blocks, len(tensors["distance_expansion.offset"]))
        atomref = torch.zeros(tensors["atomref.weight"].shape) if "atomref.weight" in tensors else None
        module = SchNet(*sizes, settings["cutoff"], mean=settings["mean"], std=settings["std"], atomref=atomref)
        rows, hidden = tensors["embedding.weight"].shape
        module.embedding = torch.nn.Embedding(rows, hidden)  # PyG's own has 100 rows
        if atomref is not None:
            module.atomref = torch.nn.Embedding(*atomref.shape)
        module.scale = settings["scale"]
    live = revive(torch, module, tensors, "torch_geometric", CLASSES)

    def graph(x, batch):
        i, j = common.allPairs(torch, x, settings["cutoff"])
        return torch.stack([j, i]), (x[i] - x[j]).norm(dim=-1)

    live._modules.pop("interaction_graph", None)
    live.__dict__["interaction_graph"] = graph

    def evaluate(types, positions):
        z = torch.as_tensor(np.asarray(types), dtype=torch.long)
        return common.energyAndForces(torch, positions, lambda x: live(z, x))

    return evaluate
