# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What the converters of SchNet dialects share: the network as docs/model-format.md has it, its file, the check against the original."""

import math
import os
from dataclasses import dataclass, field

import numpy as np

from ._errors import ConversionError
from ._moduletree import foldActivations
from ._report import ConversionReport, OriginalUnavailable, compare, evaluate, originalsFailure
from ._torchfile import isTorchFile, loadTorchFile
from ._writer import modelBytes, writeFileAtomically


@dataclass
class SchNetNetwork:
    """One SchNet in the symbols of docs/model-format.md; tensors as stored, or float64 where a dialect's constants were absorbed into them.

    A linear layer is (weight [outputs, inputs], bias [outputs] or None).
    """

    cutoff: float
    activation: str
    readoutActivation: str
    basis: str  # gaussian or exp_normal
    means: np.ndarray  # mu [R]
    widths: np.ndarray  # c [R], negative (gaussian), or beta [R], positive (exp_normal)
    embedding: np.ndarray  # [T, H]
    blocks: list  # of makeBlock()
    readout: list  # of linear layers
    basisAlpha: float = None
    basisLower: float = None
    basisEnvelope: str = "none"
    filterEnvelope: str = "cosine"
    filterEnvelopeLower: float = 0.0
    neighborEmbedding: dict = None  # embedding [T, H], projection and combine: linear layers
    typeEnergies: np.ndarray = None  # [at most T]; types beyond it are not known to the model
    groupEnergy: float = 0.0
    notes: list = field(default_factory=list)


def sourceList(source):
    """The sources of an ensemble's members; one for a single model."""
    sources = list(source) if isinstance(source, (list, tuple)) else [source]
    if not sources:
        raise ConversionError("The list of sources is empty; give at least one model.")
    return sources


def openSource(source, where, advice):
    """(what a source holds, what to call it): a file of torch.save is read, anything else is taken as it is and called `where`.

    advice : str
        What to save, for the error about a file of another kind.
    """
    if not isinstance(source, (str, os.PathLike)):
        return source, where
    if not isTorchFile(source):
        raise ConversionError(f"{source} is not a file of torch.save. {advice}")
    return loadTorchFile(source), os.path.basename(os.fspath(source))


def makeBlock(filterLayers, filterActivation, inputWeight, outputLayers, outputActivation):
    """One interaction block: filter W1 b1, W2 b2; input A; output B b, D d, with the activations' constants absorbed."""
    return {
        "filter": foldActivations(filterLayers, [filterActivation]),
        "input": inputWeight,
        "output": foldActivations(outputLayers, [outputActivation]),
    }


def commonActivation(activations, default, where):
    """The one name of several activations. @raises ConversionError if they differ"""
    names = sorted({f.name for f in activations})
    if len(names) > 1:
        raise ConversionError(
            f"{where} mixes the activations {', '.join(names)}; the model format has one for all blocks and one for the readout."
        )
    return names[0] if names else default


def scaleOutput(layers, scale, shift):
    """Absorb `scale * e + shift` per particle into the last layer of a readout."""
    weight, bias = layers[-1]
    if scale != 1.0:
        weight = np.asarray(weight, np.float64) * scale
        bias = None if bias is None else np.asarray(bias, np.float64) * scale
    if shift != 0.0:
        bias = np.full(len(weight), shift) if bias is None else np.asarray(bias, np.float64) + shift
    return [*layers[:-1], (weight, bias)]


def elementTypes(count, known=None):
    """Types of an embedding whose rows are atomic numbers: OpenMM's symbols and masses; None for row 0 and for rows that are no element.

    Parameters
    ----------
    count : int
        Rows of the embedding.
    known : int, optional
        Rows that the model has reference energies for; types beyond are None.
    """
    from openmm import unit
    from openmm.app.element import Element

    types = []
    for number in range(count):
        try:
            element = Element.getByAtomicNumber(number) if 0 < number < (known or count) else None
        except KeyError:
            element = None
        mass = element and element.mass.value_in_unit(unit.dalton)
        types.append(element and {"name": element.symbol, "atomic_number": number, **({"mass": float(mass)} if mass else {})})
    return types


def readTypes(option, count, known=None):
    """The types of the file: the option `types` where the user gives it (names, dicts of the format, or None), else the elements."""
    if option is None:
        return elementTypes(count, known)
    types = [{"name": entry} if isinstance(entry, str) else entry for entry in option]
    if len(types) != count:
        raise ConversionError(f"types has {len(types)} entries; the embedding has {count} rows, and each needs a name, a dict or None.")
    for index, entry in enumerate(types):
        if entry is not None and (
            not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or set(entry) - {"name", "atomic_number", "mass"}
        ):
            raise ConversionError(f"types[{index}] is {entry!r}; it must be a name, None, or a dict of name, atomic_number, mass.")
    return types


def networkTensors(network, prefix):
    """Tensors and hyperparameters of one network. @raises ConversionError for shapes that do not fit together, naming the tensor"""
    n = network
    tensors = {}

    def add(name, array, shape):
        array = np.asarray(array)
        if array.shape != shape:
            raise ConversionError(f"'{name}' has shape {list(array.shape)}; the rest of the network needs {list(shape)}.")
        if not np.isfinite(array).all():
            raise ConversionError(f"'{name}' has {np.count_nonzero(~np.isfinite(array))} of {array.size} values that are not finite.")
        tensors[prefix + name] = array

    def addLinear(name, layer, outputs, inputs):
        add(f"{name}.weight", layer[0], (outputs, inputs))
        if layer[1] is not None:
            add(f"{name}.bias", layer[1], (outputs,))

    T, H = n.embedding.shape
    R = len(n.means)
    F = len(n.blocks[0]["input"]) if n.blocks else H
    add("embedding", n.embedding, (T, H))
    add("basis.means", n.means, (R,))
    gaussian = n.basis == "gaussian"
    widths = np.asarray(n.widths)
    bad = np.flatnonzero(~(widths < 0) if gaussian else ~(widths > 0))
    if len(bad):
        what = "the coefficient of a Gaussian must be negative" if gaussian else "beta of an exp_normal function must be positive"
        raise ConversionError(f"Radial basis function {bad[0]} has {widths[bad[0]]}: {what}.")
    add("basis.coefficients" if gaussian else "basis.betas", widths, (R,))
    if n.neighborEmbedding is not None:
        add("neighbor_embedding.embedding", n.neighborEmbedding["embedding"], (T, H))
        addLinear("neighbor_embedding.projection", n.neighborEmbedding["projection"], H, R)
        addLinear("neighbor_embedding.combine", n.neighborEmbedding["combine"], H, 2 * H)
    for b, block in enumerate(n.blocks):
        addLinear(f"blocks.{b}.filter.0", block["filter"][0], F, R)
        addLinear(f"blocks.{b}.filter.1", block["filter"][1], F, F)
        add(f"blocks.{b}.input.weight", block["input"], (F, H))
        addLinear(f"blocks.{b}.output.0", block["output"][0], H, F)
        addLinear(f"blocks.{b}.output.1", block["output"][1], H, H)
    width = H
    for index, layer in enumerate(n.readout):
        outputs = 1 if index == len(n.readout) - 1 else len(layer[0])
        addLinear(f"readout.{index}", layer, outputs, width)
        width = outputs
    hyper = {
        "cutoff": n.cutoff,
        "num_blocks": len(n.blocks),
        "hidden_channels": H,
        "num_filters": F,
        "num_basis": R,
        "activation": n.activation,
        "readout_activation": n.readoutActivation,
        "radial_basis": n.basis,
        "basis_envelope": n.basisEnvelope,
        "filter_envelope": n.filterEnvelope,
    }
    if not gaussian:
        hyper.update(basis_alpha=n.basisAlpha, basis_lower=n.basisLower)
    if n.filterEnvelopeLower != 0.0:
        hyper["filter_envelope_lower"] = n.filterEnvelopeLower
    if n.neighborEmbedding is not None:
        hyper["neighbor_embedding"] = True
    if n.groupEnergy != 0.0:
        hyper["group_energy"] = n.groupEnergy
    return tensors, hyper


def networksToModel(networks, types, lengthUnit, energyUnit, name, **texts):
    """(metadata, tensors) for modelBytes. Several networks become the members of an ensemble and must agree in all but their weights.

    Parameters
    ----------
    networks : list of SchNetNetwork
    types : list
        As in the format's metadata, one entry per row of the embedding.
    lengthUnit, energyUnit : str
        As in the format's metadata.
    name : str
    texts
        description, citation, license, origin.
    """
    tensors, first = {}, None
    for k, network in enumerate(networks):
        own, hyper = networkTensors(network, f"members.{k}.")
        energies = None if network.typeEnergies is None else np.asarray(network.typeEnergies, np.float64)
        if first is None:
            first = hyper, energies
        for key in sorted(set(hyper) | set(first[0])):
            if hyper.get(key) != first[0].get(key):
                raise ConversionError(
                    f"Members of an ensemble must agree: '{key}' is {first[0].get(key)} in member 0 and {hyper.get(key)} in member {k}."
                )
        if not np.array_equal(energies, first[1]):
            raise ConversionError(f"Members of an ensemble must agree: the reference energies of member {k} differ from those of member 0.")
        if network.embedding.shape[0] != len(types):
            raise ConversionError(f"Member {k} has {network.embedding.shape[0]} rows in its embedding; there are {len(types)} types.")
        tensors.update(own)
    if first[1] is not None:
        energies = np.zeros(len(types))
        count = min(len(types), len(first[1]))
        energies[:count] = first[1][:count]
        tensors["type_energies"] = energies
    metadata = {
        "architecture": "schnet",
        "name": name,
        "length_unit": lengthUnit,
        "energy_unit": energyUnit,
        "types": types,
        "hyperparameters": first[0],
        **{key: text for key, text in texts.items() if text},
    }
    if len(networks) > 1:
        metadata["num_members"] = str(len(networks))
    return metadata, tensors


def convertNetworks(networks, units, output, kind, package, originals, check, types=None, name=None, **texts):
    """Assemble, compare with the originals, write.

    Parameters
    ----------
    networks : list of SchNetNetwork
    units : (str, str)
        Length and energy unit.
    output : path
    kind : str
        What the file is made from.
    package : str
        What to call the originals.
    originals : callable
        Returns one function per network, (types [n], positions [n, 3]) -> (energy, forces [n, 3]) in the model's units and in double
        precision; raises OriginalUnavailable.
    check : bool
    types : list, optional
        Instead of the elements.
    name : str, optional
        By default the output's.
    texts
        description, citation, license.

    Returns
    -------
    ConversionReport

    Raises
    ------
    ConversionError
        The model differs from the original, or the original fails; nothing is written then.
    """
    known = None if networks[0].typeEnergies is None else len(networks[0].typeEnergies)
    types = readTypes(types, len(networks[0].embedding), known)
    name = name or os.path.splitext(os.path.basename(os.fspath(output)))[0]
    data = modelBytes(*networksToModel(networks, types, *units, name, origin=kind, **texts))
    report = ConversionReport(os.fspath(output), kind)
    report.notes += dict.fromkeys(note for network in networks for note in network.notes)
    if check:
        _check(report, data, types, networks[0].cutoff, package, originals)
    writeFileAtomically(output, data)
    return report


def _check(report, data, types, cutoff, package, originals):
    from openmmflash import FlashModel

    model = FlashModel.fromBytes(data)
    length, energy = model.getLengthUnit(), model.getEnergyUnit()
    kinds, positions = checkStructure(types, cutoff)
    try:
        with originalsFailure(package):
            results = [function(kinds, positions) for function in originals()]
    except OriginalUnavailable as reason:
        report.check = f"not compared with the original: {reason}"
        return
    theirs = np.mean([result[0] for result in results]) * energy, np.mean([result[1] for result in results], axis=0) * energy / length
    # 1e-7 is far above rounding in double precision and far below what any wrong constant gives.
    compare(report, f"{package} in double precision", evaluate(data, kinds, positions * length), theirs, 1e-7)


def importTorch():
    """torch, or OriginalUnavailable."""
    try:
        import torch
    except ImportError as error:
        raise OriginalUnavailable(f"torch cannot be imported ({error})") from error
    return torch


def checkStructure(types, cutoff, count=16, seed=20):
    """A small cluster for comparisons: (types [n], positions [n, 3] in the cutoff's unit), pairs 0.15 to about 2 cutoffs apart."""
    random = np.random.default_rng(seed)
    known = np.array([index for index, entry in enumerate(types) if entry is not None])
    positions = []
    while len(positions) < count:
        trial = random.uniform(0, 1.2 * cutoff, 3)
        if all(np.linalg.norm(trial - other) > 0.15 * cutoff for other in positions):
            positions.append(trial)
    # Light elements first: the trained ones are among them.
    return random.choice(known[:20], count), np.array(positions)


def allPairs(torch, positions, cutoff, lower=0.0):
    """All directed pairs of an open system: (receivers [e], senders [e]), torch tensors; i and j with lower <= r_ij < cutoff."""
    distances = torch.cdist(positions.detach(), positions.detach(), compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(math.inf)
    return torch.nonzero((distances < cutoff) & (distances >= lower), as_tuple=True)


def energyAndForces(torch, positions, energyOf):
    """(float, array [n, 3]) of a torch function of positions in double precision."""
    x = torch.tensor(positions, dtype=torch.float64, requires_grad=True)
    energy = energyOf(x)
    gradient = torch.autograd.grad(energy.sum(), x, allow_unused=True)[0]
    return float(energy.detach().sum()), np.zeros(x.shape) if gradient is None else -gradient.detach().numpy()
