# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Convert coarse-grained models of mlcg (CGSchNet): the network, its priors and structures.

Neither mlcg nor torch is needed. Read are the files that mlcg's own scripts write: a combined model (`model_and_prior.pt`), a model
specialised for a simulation together with its structures (`*_specialized_model_and_config.pt`), a Lightning checkpoint (`.ckpt`), tables
of priors (`prior.pt`) and lists of structures. All buffers are used as they are stored.

Reference: Charron et al., Nature Chemistry 17, 1284 (2025).
"""

import os

import numpy as np

from ..structurefile import writeStructure
from . import _mlcgpriors, _mlcgstructures
from ._errors import ConversionError, shown
from ._mlcgcheck import checkMlcg
from ._moduletree import State, attribute, child, children, fullName, isModule, namedTensors, readActivation, stateOf
from ._report import ConversionReport
from ._torchfile import loadTorchFile
from ._units import ENERGIES, LENGTHS, readUnit
from ._writer import modelBytes, writeFileAtomically

RESIDUES = (
    "ALA", "CYS", "ASP", "GLU", "PHE", "GLY", "HIS", "ILE", "LYS", "LEU", "MET", "ASN", "PRO", "GLN", "ARG", "SER", "THR", "VAL", "TRP",
    "TYR",
)  # fmt: skip
# mlcg's mappings: one bead per residue at C-alpha; or N, CA, C, O and CB, whose type is the residue's (glycine's is that of its CA).
MAPPINGS = {
    "ca": {i + 1: name for i, name in enumerate(RESIDUES)},
    "5bead": {i + 1: name for i, name in enumerate((*RESIDUES, "N", "CA", "C", "O"))},
}
# The method. Whose model a file holds it does not say: that is for the user to give.
CITATION = (
    "Method: CGSchNet as implemented in mlcg; Charron et al., Navigating protein landscapes with a machine-learned transferable "
    "coarse-grained model, Nature Chemistry 17, 1284 (2025)"
)
NETWORKS = ("StandardSchNet", "SchNet")


def convertMlcg(
    source,
    output,
    check=True,
    priors=None,
    structures=None,
    name=None,
    citation=CITATION,
    license=None,
    description=None,
    mapping=None,
    lengthUnit="angstrom",
    energyUnit="kcal/mol",
    massUnit="auto",
    repulsion="pair",
):
    """Convert a model of mlcg to a model file, and its structures to structure files beside it.

    Parameters
    ----------
    source : path or object
        A file with a network: model_and_prior.pt, *_specialized_model_and_config.pt or a Lightning checkpoint; or what such a file holds.
    output : path
        The model file to write. For model.safetensors, structures go to model_structure.npz, or to model_structure0.npz, ... if they differ
        in more than positions.
    check : bool
        Compare with mlcg itself, where it can be imported and there are structures to compare on.
    priors : path or object, optional
        A file of priors to combine with the network (mlcg's prior.pt).
    structures : path or object, optional
        A file of structures: a list of AtomicData with positions, types and interaction lists.
    name, citation, license, description : str, optional
        For the metadata; the name is output's by default, and the citation that of the method: a file does not say which paper a model is
        from.
    mapping : str or dict, optional
        What the bead types are: "ca", "5bead" or {type: name}. By default recognised from the types that priors and structures use.
    lengthUnit, energyUnit : str or float
        mlcg's files do not state units; its models are in angstrom and kcal/mol.
    massUnit : str
        "amu", "amu/418.4" (mlcg's masses that make ps the unit of time) or "auto": amu/418.4 where all masses are smaller than 1.
    repulsion : str
        "pair" makes mlcg's Repulsion the model's pair prior, evaluated with the network, its list becoming exclusions; "terms" keeps its
        list as the terms of a bonded force.

    Returns
    -------
    ConversionReport
        `files` are the structure files.

    Raises
    ------
    ConversionError
        Saying what was found and what to do; or the converted model does not agree with mlcg.
    """
    if repulsion not in ("pair", "terms"):
        raise ConversionError(f"repulsion is {repulsion!r}; allowed are 'pair' and 'terms'.")
    lengthUnit, energyUnit = readUnit(lengthUnit, LENGTHS, "lengthUnit"), readUnit(energyUnit, ENERGIES, "energyUnit")
    length = LENGTHS.get(lengthUnit) or float(lengthUnit)
    parts = _Parts()
    if isinstance(source, list) and len(source) > 1 and all(isinstance(entry, (str, os.PathLike)) or isModule(entry) for entry in source):
        raise ConversionError(
            f"A model of mlcg is one network: this is a list of {len(source)} sources. Give its priors and structures as priors=FILE and "
            "structures=FILE; there are no ensembles."
        )
    for wanted, given in (("model", source), ("priors", priors), ("structures", structures)):
        if given is not None:
            parts.add(given, wanted)
    source = parts.sources[0]
    if not parts.networks:
        there = "structures" if parts.structures else "priors"
        found = f"{len(parts.structures)} structures" if parts.structures else _listed(parts.priors)
        raise ConversionError(
            f"{source}: there is no network in this file. It holds {found}. A coarse-grained model is its network and its priors "
            f"together: give a file with a network as the source, and this one with {there}=FILE"
        )
    if len(parts.networks) > 1:
        raise ConversionError(f"{source}: there are {len(parts.networks)} networks, {', '.join(parts.networks)}; a model file holds one.")
    (networkName, network), notes = next(iter(parts.networks.items())), []
    hyperparameters, tensors = convertNetwork(network, f"{source}: {networkName}")
    tables = _mlcgpriors.readPriors(parts.priors, source, notes)
    sigma = _mlcgpriors.takePairPrior(tables, len(tensors["members.0.embedding"]), repulsion, source)
    if sigma is not None:
        hyperparameters["repulsion"] = {"exponent": 6, "cutoff": None}
        tensors["repulsion.sigma"] = sigma.values
    molecules, places = _mlcgstructures.readStructures(parts.structures, tables, sigma, length, massUnit, parts.structureSource, notes)
    types = typeTable(len(tensors["members.0.embedding"]), mapping, tables, sigma, molecules, notes)
    for table in tables:
        tensors[f"priors.{table.name}.types"] = table.types.astype(np.int32)
        tensors[f"priors.{table.name}.parameters"] = table.parameters
    from .. import FlashModel

    output = os.fspath(output)
    stem = output[: -len(".safetensors")] if output.endswith(".safetensors") else output
    metadata = {
        "architecture": "schnet",
        "name": name or os.path.basename(stem),
        "length_unit": lengthUnit,
        "energy_unit": energyUnit,
        "types": types,
        "hyperparameters": hyperparameters,
        "citation": citation,
        "origin": f"mlcg ({', '.join(os.path.basename(path) for path in parts.sources)})",
    }
    metadata |= {key: text for key, text in (("license", license), ("description", description)) if text}
    if tables:
        metadata["priors"] = [{"name": table.name, "form": table.form} for table in tables]
    if not parts.priors:
        notes.append("There are no priors: this network was trained to correct them and is not stable alone. Give them: priors=FILE")
    if parts.priors and not molecules:
        notes.append(
            "There are no structures, and so no interaction lists, without which the priors act on nothing. Give them: structures=FILE"
        )
    data = modelBytes(metadata, tensors)
    files = [f"{stem}_structure{i if len(molecules) > 1 else ''}.npz" for i in range(len(molecules))]
    report = ConversionReport(path=output, kind=metadata["origin"], notes=notes, files=files)
    FlashModel.fromBytes(data)  # what it would not read is not written
    if check:
        checkMlcg(parts, report, data, molecules, places)
    writeFileAtomically(output, data)
    for path, molecule in zip(files, molecules, strict=True):
        writeStructure(path, molecule)
    return report


def recognises(loaded):
    """Whether something that loadTorchFile returned is a model, priors or structures of mlcg, told by its classes."""
    return bool(_roots(loaded)) or bool(_structureList(loaded))


class _Parts:
    """The networks, priors and structures of all files."""

    def __init__(self):
        self.networks, self.priors, self.structures, self.structureSource = {}, {}, [], ""
        self.sources = []  # names for messages

    def add(self, given, wanted):
        isPath = isinstance(given, (str, os.PathLike))
        loaded, path = (loadTorchFile(given), os.fspath(given)) if isPath else (given, f"the given {wanted}")
        self.sources.append(path)
        before = len(self.networks), len(self.priors)
        found, roots = _structureList(loaded), _roots(loaded)
        if found and self.structures:
            raise ConversionError(f"{path}: {self.structureSource} has structures already, and its priors may be specialised for them.")
        if found:
            self.structures, self.structureSource = found, path
        for root in roots:
            self._collect(root, path, "")
        if not found and not roots:
            what = fullName(loaded)
            if isinstance(loaded, dict):
                what = f"a dict of {_listed(loaded)}"
                if "state_dict" not in loaded and all(hasattr(value, "shape") for value in loaded.values()):
                    what += (
                        ", a bare state dict, which does not say what the network is. Save the whole model, or give Lightning's checkpoint"
                    )
            raise ConversionError(f"{path}: nothing of mlcg is in it: it holds {what}.")
        if wanted == "structures" and (not found or roots):
            raise ConversionError(f"{path}: structures=FILE takes a list of AtomicData alone; this file holds {_listed(self.priors)}.")
        if wanted == "priors" and (found or len(self.networks) > before[0] or len(self.priors) == before[1]):
            what = f"{len(found)} structures" if found else _listed(self.networks)
            raise ConversionError(f"{path}: priors=FILE takes a file of priors alone, as mlcg's prior.pt; this one holds {what}.")

    def _collect(self, module, path, key):
        kind = shortName(module)
        if kind in ("SumOut", "torch.nn.modules.container.ModuleDict"):
            for name, part in children(child(module, "models", path) if kind == "SumOut" else module).items():
                self._collect(part, path, name)
        elif kind in ("GradientsOut", "EnergyOut"):
            self._collect(child(module, "model", path), path, key or attribute(module, "name", path, ""))
        elif kind in NETWORKS:
            self._insert(self.networks, key or kind, module, path)
        elif kind in _mlcgpriors.READERS or kind.startswith("Static"):
            # mlcg looks the interaction list up under the prior's own name; only specialised priors, which have none, take their key's.
            self._insert(self.priors, attribute(module, "name", path, key), module, path)
        else:
            supported = ", ".join((*NETWORKS, *_mlcgpriors.READERS))
            raise ConversionError(f"{path}: '{key}' is {fullName(module)}, which is not supported. Supported are {supported}.")

    @staticmethod
    def _insert(place, name, module, path):
        if not isinstance(name, str):
            raise ConversionError(f"{path}: a model is called {shown(name)}; names are text.")
        if name in place:
            raise ConversionError(f"{path}: there are two models named {name!r}. Give priors only once.")
        place[name] = module


def shortName(value):
    """The class's own name for classes of mlcg ("GradientsOut"), the full name for others."""
    name = fullName(value)
    return name.rsplit(".", 1)[-1] if name.startswith("mlcg.") else name


def _listed(names):
    names = [name if isinstance(name, str) else shown(name) for name in names]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _isOurs(module):
    """Whether a module tree is one of mlcg, or a ModuleDict of such."""
    if fullName(module) == "torch.nn.modules.container.ModuleDict":
        return any(_isOurs(part) for part in children(module).values())
    return fullName(module).startswith("mlcg.")


def _roots(loaded):
    """The module trees in a loaded file, those of a Lightning checkpoint with its trained values put in."""
    if isModule(loaded):
        return [loaded] if _isOurs(loaded) else []
    if isinstance(loaded, dict) and "state_dict" in loaded and isModule((loaded.get("hyper_parameters") or {}).get("model")):
        model = loaded["hyper_parameters"]["model"]
        if not _isOurs(model):
            return []
        prefixes = ("model._orig_mod.", "model.")  # a compiled model's names have the first
        values = {}
        for key, value in namedTensors(loaded["state_dict"], "The checkpoint").items():
            for prefix in prefixes:
                if key.startswith(prefix):
                    values[key[len(prefix) :]] = value
                    break
        _putState(model, values, "")
        if values:
            raise ConversionError(
                f"The checkpoint's state_dict has {len(values)} tensors that its model does not: {', '.join(list(values)[:6])}."
            )
        return [model]
    if isinstance(loaded, (tuple, list)) and len(loaded) == 2 and isModule(loaded[0]):
        return _roots(loaded[0])
    return []


def _putState(module, values, prefix):
    """Replace a module tree's tensors by those of a state dict, taking them out of it. The tree's own are initial values: none may stay."""
    transient = attribute(module, "_non_persistent_buffers_set", prefix, None) or ()
    for place in ("_parameters", "_buffers"):
        content = module.__dict__.get(place) or {}
        for name, value in content.items():
            if value is not None and name not in transient:
                if prefix + name not in values:
                    raise ConversionError(f"The checkpoint's state_dict has no '{prefix + name}', which its model needs.")
                trained = values.pop(prefix + name)
                if tuple(trained.shape) != tuple(value.shape):
                    raise ConversionError(
                        f"The checkpoint's '{prefix + name}' has shape {list(trained.shape)}, its model {list(value.shape)}."
                    )
                content[name] = trained
    for name, part in children(module).items():
        _putState(part, values, f"{prefix}{name}.")


def _structureList(loaded):
    if isinstance(loaded, (tuple, list)) and len(loaded) == 2 and isModule(loaded[0]):
        loaded = loaded[1]
    if isinstance(loaded, (tuple, list)) and loaded and all(shortName(item) == "AtomicData" for item in loaded):
        return list(loaded)
    return [loaded] if shortName(loaded) == "AtomicData" else []


def convertNetwork(network, where):
    """Hyperparameters and tensors (docs/model-format.md) of mlcg's SchNet.

    Parameters
    ----------
    network : module
        StandardSchNet or SchNet, live or loaded by loadTorchFile.
    where : str
        What to call it in errors.
    """
    state = State(stateOf(network), where)
    tensors = {"members.0.embedding": state.take("embedding_layer.weight", (None, None))}
    if attribute(child(network, "embedding_layer", where), "max_norm", where, None) is not None:
        raise ConversionError(f"{where}: the embedding has max_norm set, which rescales it at every call.")
    hidden = tensors["members.0.embedding"].shape[1]
    rbf = child(network, "rbf_layer", where)
    hyperparameters = _convertBasis(rbf, state, tensors, where)
    cutoff, size = hyperparameters["cutoff"], len(tensors["members.0.basis.means"])
    blocks = list(children(child(network, "interaction_blocks", where)).items())
    activations, envelopes, filters = set(), set(), None
    for b, (key, block) in enumerate(blocks):
        at, prefix, target = f"{where}: interaction block {key}", f"interaction_blocks.{key}", f"members.0.blocks.{b}"
        _require(block, ("InteractionBlock",), at)
        conv = child(block, "conv", at)
        _require(conv, ("CFConv",), at)
        aggregation = attribute(conv, "aggr", at)
        if aggregation not in ("add", "sum"):
            raise ConversionError(f"{at}: the aggregation is {shown(aggregation)}; only sums are supported.")
        envelopes.add(_envelope(child(conv, "cutoff", at), cutoff, at))
        first, last, found = _perceptron(child(conv, "filter_network", at), state, f"{prefix}.conv.filter_network", at)
        if len(found) != 1:
            raise ConversionError(f"{at}: the filter network has {len(found) + 1} layers; 2 are supported.")
        filters = len(last[0]) if filters is None else filters
        activations |= {*found, readActivation(child(block, "activation", at), state, f"{prefix}.activation", at)}
        _put(tensors, f"{target}.filter.0", first, (filters, size), at)
        _put(tensors, f"{target}.filter.1", last, (filters, filters), at)
        _put(
            tensors,
            f"{target}.input",
            (state.take(f"{prefix}.conv.lin1.weight"), state.optional(f"{prefix}.conv.lin1.bias")),
            (filters, hidden),
            at,
        )
        if f"{target}.input.bias" in tensors:
            raise ConversionError(f"{at}: lin1 has a bias, which mlcg's CFConv does not.")
        _put(tensors, f"{target}.output.0", _linear(state, f"{prefix}.conv.lin2"), (hidden, filters), at)
        _put(tensors, f"{target}.output.1", _linear(state, f"{prefix}.lin"), (hidden, hidden), at)
    if not blocks or len(activations) != 1 or len(envelopes) != 1:
        raise ConversionError(
            f"{where}: {len(blocks)} blocks with the activations {activations} and envelopes {envelopes}; all blocks must have the same."
        )
    *layers, found = _perceptron(child(network, "output_network", where), state, "output_network", f"{where}: output_network")
    for number, layer in enumerate(layers):
        _put(tensors, f"members.0.readout.{number}", layer, (len(layer[0]), hidden if number == 0 else len(layers[number - 1][0])), where)
    if len(set(found)) > 1 or len(layers[-1][0]) != 1:
        raise ConversionError(
            f"{where}: the readout has the activations {set(found)} and {len(layers[-1][0])} outputs; one of each is supported."
        )
    state.finish()
    form, lower = envelopes.pop()
    hyperparameters |= {
        "num_blocks": len(blocks),
        "hidden_channels": hidden,
        "num_filters": filters,
        "num_basis": size,
        "activation": _plain(activations.pop(), where),
        "filter_envelope": form,
    }
    hyperparameters["readout_activation"] = _plain(found[0], where) if found else hyperparameters["activation"]
    if lower:
        hyperparameters["filter_envelope_lower"] = lower
    return hyperparameters, tensors


def _convertBasis(rbf, state, tensors, where):
    kind = shortName(rbf)
    _require(rbf, ("ExpNormalBasis", "ExtendedExpNormalBasis", "GaussianBasis"), f"{where}: the radial basis")
    cutoff = float(attribute(child(rbf, "cutoff", where), "cutoff_upper", where))
    form, lower = _envelope(child(rbf, "cutoff", where), cutoff, f"{where}: the radial basis")
    hyperparameters = {"cutoff": cutoff, "basis_envelope": form}
    if lower:
        hyperparameters["basis_envelope_lower"] = lower
    if kind == "GaussianBasis":
        means, coefficient = state.take("rbf_layer.offset", (None,)), state.take("rbf_layer.coeff")
        tensors["members.0.basis.means"] = means
        tensors["members.0.basis.coefficients"] = np.broadcast_to(coefficient, means.shape).copy()
        return hyperparameters | {"radial_basis": "gaussian"}
    tensors["members.0.basis.means"] = state.take("rbf_layer.means", (None,))
    tensors["members.0.basis.betas"] = state.take("rbf_layer.betas", tensors["members.0.basis.means"].shape)
    inner = (
        attribute(rbf, "internal_cutoff_lower", where)
        if kind == "ExtendedExpNormalBasis"
        else attribute(child(rbf, "cutoff", where), "cutoff_lower", where)
    )
    return hyperparameters | {
        "radial_basis": "exp_normal",
        "basis_alpha": float(attribute(rbf, "alpha", where)),
        "basis_lower": float(inner),
    }


def _envelope(module, cutoff, where):
    """(form, lower bound) of an envelope, which must end where the neighbour list does."""
    _require(module, ("CosineCutoff", "IdentityCutoff"), f"{where}: the envelope")
    if shortName(module) == "IdentityCutoff":
        return "none", 0.0
    lower, upper = float(attribute(module, "cutoff_lower", where)), float(attribute(module, "cutoff_upper", where))
    if upper != cutoff:
        raise ConversionError(
            f"{where}: its envelope ends at {upper}, but neighbours are searched up to {cutoff}; a model file has one cutoff."
        )
    return "cosine", lower


def _perceptron(module, state, prefix, where):
    """The layers of mlcg's MLP, (weight, bias or None) each, and then the list of the activations between them."""
    _require(module, ("MLP",), where)
    layers, activations = [], []
    for key, layer in children(child(module, "layers", where)).items():
        if fullName(layer) == "torch.nn.modules.linear.Linear":
            if len(layers) != len(activations):
                raise ConversionError(f"{where}: layer {key} follows another without an activation between.")
            layers.append(_linear(state, f"{prefix}.layers.{key}"))
        else:
            activations.append(readActivation(layer, state, f"{prefix}.layers.{key}", f"{where}: layer {key}"))
    if len(layers) != len(activations) + 1:
        raise ConversionError(f"{where}: {len(layers)} linear layers and {len(activations)} activations do not alternate.")
    return *layers, activations


def _linear(state, prefix):
    return state.take(f"{prefix}.weight", (None, None)), state.optional(f"{prefix}.bias")


def _put(tensors, name, layer, shape, where):
    weight, bias = layer
    if weight.shape != shape or (bias is not None and bias.shape != shape[:1]):
        raise ConversionError(f"{where}: {name} has a weight of shape {list(weight.shape)}; {list(shape)} is needed.")
    tensors[f"{name}.weight"] = weight
    if bias is not None:
        tensors[f"{name}.bias"] = bias


def _plain(activation, where):
    if not activation.plain:
        raise ConversionError(f"{where}: the activation {activation} has scales, which are not supported for mlcg.")
    return activation.name


def _require(module, allowed, where):
    if shortName(module) not in allowed:
        raise ConversionError(f"{where} is {fullName(module)}; supported are {', '.join(allowed)}.")


def typeTable(count, mapping, tables, sigma, molecules, notes):
    """The metadata's `types` for an embedding of `count` rows.

    The mapping is told by the types that priors and structures use: any of 21 to 24 (N, CA, C, O) means 5 beads, 1 to 20 alone one bead per
    residue.
    Types that no mapping names are called by their index.
    """
    used = {int(t) for table in tables for t in np.unique(table.types)} | {int(t) for molecule in molecules for t in molecule.types}
    if sigma is not None:
        used |= sigma.types
    if max(used, default=0) >= count:
        raise ConversionError(
            f"The priors or structures use type {max(used)}, but the network's embedding knows the types 0 to {count - 1} only."
        )
    if isinstance(mapping, dict):
        names = {int(index): str(text) for index, text in mapping.items()}
    elif mapping is not None:
        if mapping not in MAPPINGS:
            raise ConversionError(f"mapping is {mapping!r}; allowed are {', '.join(map(repr, MAPPINGS))} and a dict of names by type.")
        if used and used <= set(MAPPINGS["5bead"]) and mapping != ("5bead" if max(used) > 20 else "ca"):
            raise ConversionError(
                f"mapping is {mapping!r}, but priors or structures use the types {min(used)} to {max(used)}: N, CA, C and O are 21 to 24."
            )
        names = MAPPINGS[mapping]
    elif used and used <= set(MAPPINGS["5bead"]):
        guess = "5bead" if max(used) > 20 else "ca"
        names = MAPPINGS[guess]
        notes.append(
            f"The bead types are taken to be those of mlcg's mapping '{guess}', from the types in use ({min(used)} to {max(used)})."
        )
    else:
        names = {index: f"B{index}" for index in range(count)}
        notes.append(
            f"What the {count} bead types are cannot be told from the files; they are named B0 to B{count - 1}. mapping=NAMES tells."
        )
    unnamed = sorted(used - set(names))
    if unnamed:
        raise ConversionError(f"The mapping has no name for the types {unnamed}, which priors or structures use.")
    masses = {}
    for molecule in molecules:
        for index, mass in zip(molecule.types, molecule.masses if molecule.masses is not None else (), strict=False):
            masses.setdefault(int(index), set()).add(float(mass))
    types = []
    for index in range(count):
        entry = {"name": names[index]} if index in names else None
        if entry and len(masses.get(index, ())) == 1:
            entry["mass"] = next(iter(masses[index]))
        types.append(entry)
    return types
