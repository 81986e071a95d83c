# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""SchNetPack 2 potentials with the SchNet representation (Schuett et al., J. Chem. Phys. 158, 144801, 2023), live or saved."""

from collections.abc import Mapping

import numpy as np

from . import _schnet as common
from ._errors import ConversionError, shown
from ._moduletree import (
    State,
    attribute,
    child,
    children,
    foldActivations,
    fullName,
    isModule,
    namedTensors,
    readActivation,
    requireType,
    revive,
    stateOf,
)
from ._units import statedUnits

MODEL = "schnetpack.model.base.NeuralNetworkPotential"
TASK = "schnetpack.task.AtomisticTask"
DENSE = "schnetpack.nn.base.Dense"
IDENTITY = "torch.nn.modules.linear.Identity"
SEQUENTIAL = "torch.nn.modules.container.Sequential"
ATOMWISE = "schnetpack.atomistic.atomwise.Atomwise"
RESPONSES = (
    "schnetpack.atomistic.response.Forces",
    "schnetpack.atomistic.response.Response",
)  # derivatives of the energy: they do not change it
STRAIN = "schnetpack.atomistic.response.Strain"
DISTANCES = "schnetpack.atomistic.distances.PairwiseDistances"
SHORT_RANGE = "schnetpack.atomistic.distances.FilterShortRange"
CASTS = tuple(f"schnetpack.transform.casting.{name}" for name in ("CastTo64", "CastTo32", "CastMap"))
OFFSETS = "schnetpack.transform.atomistic.AddOffsets"
SCALE = "schnetpack.transform.atomistic.ScaleProperty"
CLASSES = (
    *(MODEL, DENSE, ATOMWISE, *RESPONSES, STRAIN, DISTANCES, SHORT_RANGE, *CASTS, OFFSETS, SCALE),
    *(f"schnetpack.representation.schnet.{name}" for name in ("SchNet", "SchNetInteraction")),
    *(f"schnetpack.nn.{name}" for name in ("radial.GaussianRBF", "radial.GaussianRBFCentered", "embedding.NuclearEmbedding")),
    *(f"schnetpack.nn.cutoff.{name}" for name in ("CosineCutoff", "MollifierCutoff")),
    *(f"schnetpack.nn.activations.{name}" for name in ("ShiftedSoftplus", "shifted_softplus")),
)


def recognises(source):
    """Whether a loaded file or live object is a SchNetPack model: a potential, a training task, or a checkpoint of one."""
    if isinstance(source, Mapping):
        hyper = source.get("hyper_parameters")
        return isinstance(hyper, Mapping) and recognises(hyper.get("model"))
    return isModule(source) and fullName(source).startswith("schnetpack.")


def convertSchNetPack(
    source,
    output,
    check=True,
    lengthUnit=None,
    energyUnit=None,
    energyKey=None,
    types=None,
    name=None,
    description=None,
    citation=None,
    license=None,
):
    """Convert a SchNetPack potential to a model file.

    Parameters
    ----------
    source : torch module, path, or list of either
        A NeuralNetworkPotential, an AtomisticTask, or a file: `best_model` as training writes it (torch.save of the module) or a Lightning
        checkpoint of a task. Files are read without SchNetPack and without torch. Several become the members of an ensemble.
    output : path
    check : bool
        Compare with the original in double precision, where SchNetPack is importable.
    lengthUnit, energyUnit : str or float
        Required, since the model does not say: `angstrom`, `bohr`, `nm` or nm per unit; `eV`, `hartree`, `kcal/mol`, `kJ/mol` or kJ/mol per
        unit.
    energyKey : str, optional
        Output that is the energy; needed where the model has more than one. The other outputs are left out, and a note says so.
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
        A part that the model format cannot express, by name; a tensor that nothing uses; units missing; a difference from the original.
    """
    units = statedUnits(lengthUnit, energyUnit, "SchNetPack")
    loaded = [_load(entry) for entry in common.sourceList(source)]
    networks = [readNetwork(module, state, energyKey, where) for module, state, where in loaded]
    kind = f"SchNetPack {_plain(loaded[0][0], 'spk_version', '2')}: {', '.join(where for _, _, where in loaded)}"
    texts = {"types": types, "name": name, "description": description, "citation": citation, "license": license}
    return common.convertNetworks(
        networks, units, output, kind, "SchNetPack", lambda: [_original(*entry[:-1], energyKey) for entry in loaded], check, **texts
    )


def _load(source):
    """(potential, tensors, where) of a source; the tensors are a checkpoint's own where it has them."""
    source, where = common.openSource(source, "SchNetPack model", "A SchNetPack model is saved as a whole, usually named best_model.")
    if isinstance(source, Mapping):
        hyper = source.get("hyper_parameters")
        if not (isinstance(hyper, Mapping) and isModule(hyper.get("model")) and isinstance(source.get("state_dict"), Mapping)):
            raise ConversionError(
                f"{where} holds tensors only ({len(source)} entries). SchNetPack's state dict does not tell cutoff function, activations, "
                "outputs: give the saved model (best_model), the checkpoint of an AtomisticTask, or the live model."
            )
        module = hyper["model"]
        # `outputs.` are the losses and metrics of the training task.
        trained = {key: value for key, value in namedTensors(source["state_dict"], where).items() if not key.startswith("outputs.")}
        # The module was saved before training: of its own tensors none may stay.
        wanted = {f"model.{key}" for key in stateOf(module)}
        for text, keys in (("has", set(trained) - wanted), ("lacks", wanted - set(trained))):
            if keys:
                names = ", ".join(f"'{key}'" for key in sorted(keys)[:6])
                raise ConversionError(f"{where}: the state_dict {text} {names}, unlike the model in hyper_parameters ({len(keys)} keys).")
        return module, {key[len("model.") :]: value for key, value in trained.items()}, where
    if isModule(source) and fullName(source) == TASK:
        source = child(source, "model", where)
    if not isModule(source):
        raise ConversionError(f"{where} is {fullName(source)}; a SchNetPack model, AtomisticTask or file of one is needed.")
    return source, stateOf(source), where


def _plain(module, name, default):
    value = module.__dict__.get(name, default)
    return value if isinstance(value, (str, int, float, bool, type(None))) else default


def readNetwork(module, tensors, energyKey=None, where="SchNetPack model"):
    """A SchNetNetwork from a NeuralNetworkPotential, live or stored, and its tensors by dotted name."""
    requireType(module, (MODEL,), where, "not a potential of SchNetPack 2")
    state = State(tensors, where)
    representation = child(module, "representation", where)
    requireType(
        representation, ("schnetpack.representation.schnet.SchNet",), f"{where}: the representation", "only SchNet can be converted"
    )
    notes = []
    cutoff, envelope = _readCutoff(child(representation, "cutoff_fn", where), state, where)
    _checkInputs(children(child(module, "input_modules", where)), cutoff, where)
    means, widths = _readBasis(child(representation, "radial_basis", where), state, where)
    embedding = _readEmbedding(child(representation, "embedding", where), state, where)
    electronic = representation.__dict__.get("electronic_embeddings") or children(representation).get("electronic_embeddings")
    if electronic is not None and (children(electronic) if isModule(electronic) else electronic):
        raise ConversionError(f"{where}: electronic_embeddings (total charge, spin) make the energy non-local and cannot be converted.")

    blocks, activations = [], []
    interactions = child(representation, "interactions", where)
    for index, interaction in enumerate(children(interactions).values()):
        prefix = f"representation.interactions.{index}"
        requireType(interaction, ("schnetpack.representation.schnet.SchNetInteraction",), f"{where}: {prefix}")
        senders, inputActivations = _readDense([("in2f", child(interaction, "in2f", where))], state, prefix, where)
        filters, filterActivation = _readDense(_sequence(interaction, "filter_network", where), state, f"{prefix}.filter_network", where)
        outputs, outputActivation = _readDense(_sequence(interaction, "f2out", where), state, f"{prefix}.f2out", where)
        if len(filters) != 2 or len(outputs) != 2 or inputActivations or senders[0][1] is not None:
            raise ConversionError(
                f"{where}: {prefix} does not have SchNet's layers (in2f without bias, two layers in filter_network and f2out)."
            )
        blocks.append(common.makeBlock(filters, filterActivation[0], senders[0][0], outputs, outputActivation[0]))
        activations += filterActivation + outputActivation
    activation = common.commonActivation(activations, "shifted_softplus", f"{where}: the interactions")

    key, position, others = _findEnergy(children(child(module, "output_modules", where)), energyKey, where)
    head = child(child(module, "output_modules", where), position, where)
    readout, readoutActivations = _readDense(_sequence(head, "outnet", where), state, f"output_modules.{position}.outnet", where)
    if attribute(head, "aggregation_mode", where) != "sum":
        raise ConversionError(
            f"{where}: Atomwise has aggregation_mode={shown(attribute(head, 'aggregation_mode', where))}; an energy is a sum ('sum')."
        )
    if len(readout[-1][0]) != 1:
        raise ConversionError(f"{where}: Atomwise has n_out={len(readout[-1][0])}; an energy has one output.")
    for name, text in others:
        notes.append(f"output '{text}' is not part of the energy '{key}' and was left out")
        for tensor in list(state.tensors):
            if tensor.startswith(f"output_modules.{name}."):
                state.drop(tensor)
    readoutActivation = common.commonActivation(readoutActivations, activation, f"{where}: the readout")

    post = _readPostprocessors(module, state, key, where, notes)
    state.finish()
    return common.SchNetNetwork(
        cutoff=cutoff,
        activation=activation,
        readoutActivation=readoutActivation,
        basis="gaussian",
        means=means,
        widths=widths,
        embedding=embedding,
        blocks=blocks,
        readout=common.scaleOutput(foldActivations(readout, readoutActivations), post["scale"], post["mean"]),
        filterEnvelope=envelope,
        typeEnergies=post["atomref"],
        groupEnergy=post["group"],
        notes=notes,
    )


def _sequence(parent, name, where):
    sequential = child(parent, name, where)
    requireType(sequential, (SEQUENTIAL,), f"{where}: {name}")
    return list(children(sequential).items())


def _readDense(named, state, prefix, where):
    """([(weight, bias)], [Activation]) of Dense layers; the last has no activation, the others must have one."""
    layers, activations = [], []
    for index, (name, dense) in enumerate(named):
        path = f"{prefix}.{name}"
        requireType(dense, (DENSE,), f"{where}: {path}")
        layers.append(state.linear(path, bias=f"{path}.bias" in state))
        function = attribute(dense, "activation", where)
        last = index == len(named) - 1
        if fullName(function) == IDENTITY:
            if not last:
                raise ConversionError(f"{where}: {path} has no activation (Identity); the model format needs one between layers.")
        elif last:
            raise ConversionError(
                f"{where}: {path} is a last layer with the activation {fullName(function)}; the model format has none there."
            )
        else:
            activations.append(readActivation(function, state, f"{path}.activation", f"{where}: the activation of {path}"))
    return layers, activations


def _readCutoff(function, state, where):
    name = fullName(function)
    if name == "schnetpack.nn.cutoff.CosineCutoff":
        return state.scalar("representation.cutoff_fn.cutoff"), "cosine"
    if name == "schnetpack.nn.cutoff.MollifierCutoff":
        cutoff, eps = state.scalar("representation.cutoff_fn.cutoff"), state.scalar("representation.cutoff_fn.eps")
        # The package switches off eps before the cutoff; beyond 1e-2 of the cutoff that would be a visible step (of exp(-50) there).
        if not 0 <= eps <= 1e-2 * cutoff:
            raise ConversionError(
                f"{where}: MollifierCutoff has eps={eps}; between 0 and a hundredth of the cutoff {cutoff} it has no effect, else it is "
                "a step."
            )
        return cutoff, "mollifier"
    raise ConversionError(f"{where}: the cutoff function {name} is not one of the model format. Supported: CosineCutoff, MollifierCutoff.")


def _readBasis(basis, state, where):
    """Gaussian offsets and coefficients: -0.5/width^2 in double from the stored widths, as the package computes it."""
    name = fullName(basis)
    if name not in ("schnetpack.nn.radial.GaussianRBF", "schnetpack.nn.radial.GaussianRBFCentered"):
        reason = (
            "sin(k pi r / r_c) / r is not a basis of the model format" if name.endswith(".BesselRBF") else "not a basis of the model format"
        )
        raise ConversionError(f"{where}: the radial basis {name}: {reason}. Supported: GaussianRBF, GaussianRBFCentered.")
    offsets = state.take("representation.radial_basis.offsets", (None,))
    widths = np.asarray(state.take("representation.radial_basis.widths", offsets.shape), np.float64)
    if not (np.isfinite(widths) & (widths != 0)).all():
        raise ConversionError(
            f"{where}: a width of the radial basis is {widths[~(np.isfinite(widths) & (widths != 0))][0]}; it must be finite and not zero."
        )
    return offsets, -0.5 / widths**2


def _readEmbedding(embedding, state, where):
    name = fullName(embedding)
    if name == "torch.nn.modules.sparse.Embedding":
        if attribute(embedding, "max_norm", where, None) is not None:
            raise ConversionError(
                f"{where}: the embedding has max_norm={attribute(embedding, 'max_norm', where)}, which changes its rows while it runs. "
                "Remove it."
            )
        return state.take("representation.embedding.weight", (None, None))
    if name == "schnetpack.nn.embedding.NuclearEmbedding":
        elements = np.asarray(state.take("representation.embedding.element_embedding", (None, None)), np.float64)
        electrons = np.asarray(state.take("representation.embedding.electron_config", (len(elements), None)), np.float64)
        linear = state.take("representation.embedding.config_linear.weight", (elements.shape[1], electrons.shape[1]))
        return elements + electrons @ np.asarray(linear, np.float64).T
    raise ConversionError(f"{where}: the embedding {name} is not supported. Supported: torch.nn.Embedding, schnetpack NuclearEmbedding.")


def _checkInputs(modules, cutoff, where):
    """Input modules must not change the energy; otherwise they are refused by name."""
    for name, module in modules.items():
        kind = fullName(module)
        if kind == SHORT_RANGE:
            short = float(attribute(module, "short_range_cutoff", where))
            if short < cutoff:
                raise ConversionError(
                    f"{where}: FilterShortRange drops pairs beyond {short}, inside the cutoff {cutoff}: the energy would not be continuous."
                )
        elif kind not in (DISTANCES, STRAIN):
            raise ConversionError(
                f"{where}: the input module {name} is {kind}, which cannot be converted. Supported: PairwiseDistances, "
                "FilterShortRange, Strain."
            )


def _findEnergy(modules, energyKey, where):
    """(energy key, name of its Atomwise, [(name, description) of output modules that are left out])."""
    heads = {name: module for name, module in modules.items() if fullName(module) not in RESPONSES}
    keys = {name: attribute(module, "output_key", where, fullName(module)) for name, module in heads.items()}
    if energyKey is None:
        if len(heads) != 1:
            there = ", ".join(f"{shown(keys[name])} ({fullName(module)})" for name, module in heads.items()) or "none"
            raise ConversionError(
                f"{where}: the outputs are {there}; give energyKey=NAME to say which Atomwise is the energy. The others are left out then."
            )
        energyKey = next(iter(keys.values()))
    found = [name for name in heads if keys[name] == energyKey]
    if len(found) != 1:
        raise ConversionError(
            f"{where}: energyKey is {energyKey!r}; the model's outputs are {', '.join(map(shown, keys.values())) or 'none'}."
        )
    requireType(heads[found[0]], (ATOMWISE,), f"{where}: the output '{energyKey}'", "the model format has a sum of atomic energies")
    return energyKey, found[0], [(name, f"{keys[name]} ({fullName(heads[name])})") for name in heads if name != found[0]]


def _readPostprocessors(module, state, key, where, notes):
    """What postprocessors make of the energy: scale (of the network's sum), mean (per atom), atomref (per type), group (per molecule)."""
    result = {"scale": 1.0, "mean": 0.0, "atomref": None, "group": 0.0}
    processors = children(child(module, "postprocessors", where))
    active = bool(attribute(module, "do_postprocessing", where, True))
    forceScales = dict.fromkeys(_forceKeys(module, where), 1.0)
    if processors and not active:
        notes.append("do_postprocessing is False: the postprocessors (offsets, scales) are not applied, as in the original")
    for name, processor in processors.items():
        kind, prefix = fullName(processor), f"postprocessors.{name}"
        what = f"{where}: {prefix}"
        if kind in CASTS:
            continue
        if kind == OFFSETS:
            given = made = attribute(processor, "_property", what)
        elif kind == SCALE:
            given, made = attribute(processor, "input_key", what), attribute(processor, "output_key", what)
        else:
            raise ConversionError(f"{what} is {kind}, which cannot be converted. Supported: AddOffsets, ScaleProperty, CastTo32, CastTo64.")
        if not active or made != key and made not in forceScales:
            for tensor in ("mean", "atomref", "scale"):
                state.drop(f"{prefix}.{tensor}")
            if active:
                notes.append(f"{kind.split('.')[-1]} of '{made}' does not concern the energy '{key}' and was left out")
        elif given != made or kind == OFFSETS and made in forceScales:
            raise ConversionError(f"{what} ({kind.split('.')[-1]}) makes '{made}' from '{given}', which cannot be converted.")
        elif kind == OFFSETS:
            _applyOffsets(processor, state, prefix, result, what)
        elif made == key:
            scale = state.scalar(f"{prefix}.scale")
            result.update({part: result[part] * scale for part in ("scale", "mean", "group")})
            result["atomref"] = None if result["atomref"] is None else result["atomref"] * scale
        else:
            forceScales[made] *= state.scalar(f"{prefix}.scale")
    for name, scale in forceScales.items():
        # The package differentiates the energy before it is scaled.
        if scale != result["scale"]:
            raise ConversionError(
                f"{where}: the postprocessors scale the energy '{key}' by {result['scale']} and the forces '{name}' by {scale}: these "
                "forces are not the energy's gradient. Scale both (ScaleProperty), or take the Forces out of the model."
            )
    return result


def _forceKeys(module, where):
    """Names of the outputs that are forces."""
    keys = []
    for part in children(child(module, "output_modules", where)).values():
        if fullName(part) == RESPONSES[0] and attribute(part, "calc_forces", where, True):
            keys.append(str(attribute(part, "force_key", where)))
        elif fullName(part) == RESPONSES[1] and "forces" in attribute(part, "response_properties", where):
            keys.append(str(attribute(part, "map_properties", where)["forces"]))
    return keys


def _applyOffsets(processor, state, prefix, result, what):
    extensive = bool(attribute(processor, "is_extensive", what))
    if attribute(processor, "add_mean", what):
        result["mean" if extensive else "group"] += state.scalar(f"{prefix}.mean")
    if attribute(processor, "add_atomrefs", what):
        if not extensive:
            raise ConversionError(
                f"{what} (AddOffsets) has is_extensive=False with atomrefs: the mean of atomic energies is not a sum over atoms."
            )
        atomref = np.asarray(state.take(f"{prefix}.atomref"), np.float64).reshape(-1)
        old = result["atomref"]
        if old is not None:
            count = min(len(old), len(atomref))
            atomref = old[:count] + atomref[:count]
        result["atomref"] = atomref
    for tensor in ("mean", "atomref"):
        state.drop(f"{prefix}.{tensor}")


def _original(module, tensors, energyKey):
    """The original as a function (types, positions) -> (energy, forces), in double precision, with all pairs."""
    torch = common.importTorch()
    live = revive(torch, module, tensors, "schnetpack", CLASSES)
    if not hasattr(live.representation, "electronic_embeddings"):
        live.representation.electronic_embeddings = []  # saved before 2.1
    key, position, _ = _findEnergy(children(live.output_modules), energyKey, "SchNetPack model")
    cutoff = float(live.representation.cutoff_fn.cutoff)

    def evaluate(types, positions):
        z = torch.as_tensor(np.asarray(types), dtype=torch.long)

        def energy(x):
            i, j = common.allPairs(torch, x, cutoff)
            inputs = {"_atomic_numbers": z, "_positions": x, "_idx_i": i, "_idx_j": j, "_Rij": x[j] - x[i]}
            inputs.update(_idx_m=torch.zeros_like(z), _n_atoms=torch.tensor([len(z)]))
            inputs = live.output_modules[int(position)](live.representation(inputs))
            for processor in live.postprocessors if live.do_postprocessing else ():
                # Casts are left out: everything is double here.
                if fullName(processor) not in CASTS and key in (processor.__dict__.get("_property"), processor.__dict__.get("output_key")):
                    inputs = processor(inputs)
            return inputs[key]

        return common.energyAndForces(torch, positions, energy)

    return evaluate
