# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Convert ANI models of TorchANI: NeuroChem files, state dicts (2.2 and 2.9), live models of either version.

Which constants are double. NeuroChem's text is read in double: cutoffs, AEV constants and self energies are the published numbers.
TorchANI 2.2.4 rounds the AEV constants to float32 when it reads that text (unless torch's default dtype is float64) and keeps the self
energies in double. TorchANI 2.9 holds and saves both as float32. A state dict or a live model is converted exactly as it is, its float32
numbers widened: these define the model that its owner runs, and TorchANI itself computes with just these when it is set to double.
Guessing the decimals behind them would change the model to repair its last digit; the forces differ by about 1e-7 of their size between
the two, the energy by a constant of up to 1.5e-5 hartree an atom.
"""

import copy
import functools
import importlib.util
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np

from ._ani import PUBLISHED, AniModel
from ._errors import ConversionError, shown
from ._moduletree import namedTensors, toArray
from ._neurochem import isNeuroChem, readNeuroChem
from ._report import ConversionReport, compare, evaluate, originalsFailure
from ._torchfile import loadTorchFile
from ._units import ENERGIES
from ._writer import modelBytes, writeFileAtomically

HARTREE = ENERGIES["hartree"]

_NETWORKS = re.compile(
    r"(?:members\.)?(?:(?P<member>\d+)\.)?(?:atomics\.)?(?P<symbol>[A-Z][a-z]?)\."
    r"(?P<layers>layers\.)?(?P<layer>\d+|final_layer)\.(?P<kind>weight|bias)"
)
_CONSTANTS = {
    "EtaR": "radial.eta", "radial.eta": "radial.eta", "ShfR": "radial.shift", "radial.shifts": "radial.shift", "EtaA": "angular.eta",
    "angular.eta": "angular.eta", "Zeta": "angular.zeta", "angular.zeta": "angular.zeta", "ShfA": "angular.shift",
    "angular.shifts": "angular.shift", "ShfZ": "angular.theta", "angular.sections": "angular.theta",
}  # fmt: skip
# State dicts do not hold the cutoffs. Those of the published families follow from their radial shifts, which divide [first, cutoff) evenly.
_FAMILIES = {"ANI-1x": (0.9, 5.2, 0.9, 3.5, 16.0, 8.0, 32.0), "ANI-2x": (0.8, 5.1, 0.8, 3.5, 19.7, 12.5, 14.1)}


def recognises(loaded):
    """Whether something loaded from a torch file, or a live object, is an ANI model that this module converts."""
    if isinstance(loaded, dict):
        return any(isinstance(key, str) and re.search(r"(^|\.)aev_computer\.", key) for key in loaded)
    return _isModule(loaded) and any(type(module).__name__ == "AEVComputer" for module in loaded.modules())


def convertTorchANI(
    source, output, check=True, members=None, name=None, citation=None, species=None, radialCutoff=None, angularCutoff=None
):
    """Convert an ANI model to a model file.

    Parameters
    ----------
    source : path, dict or torch.nn.Module
        A folder of NeuroChem files, one of its trainN folders or an .info file; a torch file with a state dict, or the state dict; a live
        TorchANI model (2.2.4: BuiltinModel, BuiltinEnsemble or torchani.nn.Sequential; 2.9: torchani.arch.ANI). Files are read without
        torch.
    output : path
        The model file to write.
    check : bool
        Compare the result with TorchANI, in double on a small structure, where torch and torchani can be imported.
    members : sequence of int, optional
        Members of the ensemble to keep; [0] is the first network alone.
    name, citation : str, optional
        For the metadata; known for ANI-1x, ANI-1ccx and ANI-2x.
    species : sequence of str, optional
        The elements' symbols in the model's order, where the source does not have them.
    radialCutoff, angularCutoff : float, optional
        In Angstrom, for state dicts of other constants than those of ANI-1x and ANI-2x: a state dict does not hold them. Nor does it hold
        the activation and the cutoff function, which are taken to be CELU(0.1) and the cosine; a live model has them all.

    Returns
    -------
    ConversionReport

    Raises
    ------
    ConversionError
        The source is not an ANI model of this kind, or is damaged; or the converted model does not agree with TorchANI.
    """
    options = {"species": species, "radialCutoff": radialCutoff, "angularCutoff": angularCutoff}
    origin, model, kind = _read(source, options)
    # Needed only where a file does not say its cutoffs; elsewhere they must not contradict it.
    for option, given, own in (("radialCutoff", radialCutoff, model.radialCutoff), ("angularCutoff", angularCutoff, model.angularCutoff)):
        if given is not None and given != own:
            raise ConversionError(f"{option} is {given}, but the model's is {own} Angstrom; leave the option out.")
    if members is not None:
        members = list(members)
        model.selectMembers(members)
    published = model.publishedName()
    texts = dict(PUBLISHED.get(published, {}), origin=f"{kind}{f' ({origin})' if origin else ''}")
    if citation:
        texts["citation"] = citation
    if not name:
        name = published or _plainName(origin) or "ani"
        if members is not None:
            name += "".join(f"_{k}" for k in members)
    data = modelBytes(*model.toFile(name, **texts))
    report = ConversionReport(path=os.fspath(output), kind=texts["origin"])
    report.notes.append(f"{name}: {' '.join(model.symbols)}, {len(model.members)} network(s), AEV of {model.aevLength()}")
    if not hasattr(model, "files"):
        report.notes.append("AEV constants and self energies are exactly the source's, which TorchANI rounds to float32")
    if check:
        _check(report, data, source, model, members)
    writeFileAtomically(output, data)
    return report


def _read(source, options):
    """(name of the source, AniModel, kind)."""
    if not isinstance(source, (str, os.PathLike, dict)) and not _isModule(source):
        what = f"a list of {len(source)} sources" if isinstance(source, (list, tuple)) else shown(source)
        raise ConversionError(
            f"An ANI model is converted from one path, state dict or live model; this is {what}. A folder of NeuroChem files and a state "
            "dict hold their ensemble's members already."
        )
    if _isModule(source):
        return type(source).__name__, _readModule(source, options["species"]), "a live TorchANI model"
    if isinstance(source, dict):
        return "", _readStateDict(source, **options), "a TorchANI state dict"
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    if isNeuroChem(path):
        if any(value is not None for value in options.values()):
            raise ConversionError(f"NeuroChem files hold elements and cutoffs; the options {', '.join(options)} do not apply to {path}.")
        return path.name, readNeuroChem(path), "NeuroChem files"
    if path.is_dir():
        needed = "a *.params file, sae_linfit.dat and train0, train1, ... with the networks"
        raise ConversionError(f"The folder {path} has no NeuroChem files: {needed}.")
    loaded = loadTorchFile(path)
    if not isinstance(loaded, dict) or not recognises(loaded):
        what = f"a dict with the keys {', '.join(map(shown, list(loaded)[:5]))}" if isinstance(loaded, dict) else shown(loaded)
        raise ConversionError(f"{path} is not a TorchANI state dict: it has no key with 'aev_computer'; it holds {what}.")
    return path.name, _readStateDict(loaded, **options), "a TorchANI state dict"


def _plainName(origin):
    """ani-1x_8x -> ani1x, my_model.pt -> my_model."""
    return re.sub(r"(_state_dict|_8x)?(\.pt|\.pth|\.info)?$", "", origin or "").replace("-", "")


def _isModule(value):
    # Without importing torch: an object can only be a module of torch when torch is imported.
    torch = sys.modules.get("torch")
    return torch is not None and hasattr(torch, "nn") and isinstance(value, torch.nn.Module)


def _readStateDict(tensors, species=None, radialCutoff=None, angularCutoff=None, celuAlpha=None):
    """AniModel from a dict of arrays with the keys of TorchANI 2.2 or 2.9."""
    constants, networks, rest, unknown = {}, {}, {}, []
    for key, value in namedTensors(tensors, "The state dict").items():
        key = re.sub(r"^potentials\.(nnp|2)\.", "", key)
        part, _, tail = key.partition(".")
        value = toArray(value)
        if part == "aev_computer":
            tail = re.sub(r"^(radial|angular)(_terms)?\.(?=Eta|Shf|Zeta)|(?<=radial)_terms|(?<=angular)_terms", "", tail)
            if tail in _CONSTANTS:
                constants[_CONSTANTS[tail]] = value.astype(np.float64).ravel()
            elif tail == "triu_index":
                rest[tail] = value
            elif tail not in ("default_cell", "default_shifts"):
                unknown.append(key)
        elif part == "neural_networks" and (match := _NETWORKS.fullmatch(tail)):
            layers = networks.setdefault(int(match["member"] or 0), {}).setdefault(match["symbol"], {})
            layers.setdefault((match["layer"], bool(match["layers"])), {})[match["kind"]] = value
        elif key in ("energy_shifter.self_energies", "species_converter.conv_tensor", "atomic_numbers"):
            rest[key] = value
        else:
            unknown.append(key)
    if unknown:
        raise ConversionError(
            f"The state dict has {len(unknown)} keys that a pure ANI model does not have, such as {', '.join(unknown[:3])}. Models with "
            f"further potentials (repulsion, dispersion, charges) or other networks are not supported."
        )
    missing = sorted(set(_CONSTANTS.values()) - set(constants))
    missing += ["energy_shifter.self_energies"] if "energy_shifter.self_energies" not in rest else []
    if missing or not networks:
        missing = ", ".join(missing) or "neural_networks"
        raise ConversionError(f"The state dict lacks {missing}; it is not that of a complete ANI model.")
    symbols = _symbols(rest, networks, species)
    radialCutoff, angularCutoff = _cutoffs(constants, radialCutoff, angularCutoff)
    energies = rest["energy_shifter.self_energies"].ravel()
    if len(energies) != len(symbols):
        raise ConversionError(f"The model has {len(energies)} self energies for the elements {symbols}; an intercept is not supported.")
    n = len(symbols)
    pairs = np.zeros((n, n), dtype=np.int64)
    upper = np.triu_indices(n)
    pairs[upper] = pairs.T[upper] = np.arange(len(upper[0]))
    if "triu_index" in rest and not np.array_equal(rest["triu_index"], pairs):
        raise ConversionError("The model numbers the pairs of elements (aev_computer.triu_index) in another order than TorchANI does.")
    if sorted(networks) != list(range(len(networks))):
        raise ConversionError(f"The state dict has the ensemble members {sorted(networks)}; they should be numbered from 0 without a gap.")
    members = [{symbol: _layers(k, symbol, networks[k].get(symbol, {})) for symbol in symbols} for k in range(len(networks))]
    celuAlpha = 0.1 if celuAlpha is None else celuAlpha
    return AniModel(symbols, radialCutoff, angularCutoff, celuAlpha, constants, energies.astype(np.float64), members)


def _symbols(rest, networks, species):
    """The elements in the order of the model's species indices, from wherever the state dict tells; all that tell must agree."""
    from openmm.app import Element

    found = {}
    if species is not None:
        found["the option species"] = list(species)
    if "atomic_numbers" in rest:
        found["atomic_numbers"] = [Element.getByAtomicNumber(int(number)).symbol for number in rest["atomic_numbers"]]
    if "species_converter.conv_tensor" in rest:
        # conv_tensor[atomic number] is the species index, -1 for elements that the model does not have.
        table = rest["species_converter.conv_tensor"]
        numbers = [int(number) for number in np.argsort(table, kind="stable") if table[number] >= 0]
        found["species_converter.conv_tensor"] = [Element.getByAtomicNumber(number).symbol for number in numbers]
    for member, layers in networks.items():
        found.setdefault("the networks", list(layers))
        if sorted(layers) != sorted(found["the networks"]):
            raise ConversionError(f"Member {member} has networks of {sorted(layers)}, others of {sorted(found['the networks'])}.")
    order = next(iter(found.values()))
    for place, symbols in found.items():
        if (sorted(symbols) if place == "the networks" else symbols) != (sorted(order) if place == "the networks" else order):
            raise ConversionError(f"The model's elements are {order} according to {next(iter(found))}, but {symbols} according to {place}.")
    return order


def _cutoffs(constants, radialCutoff, angularCutoff):
    if radialCutoff is not None and angularCutoff is not None:
        return float(radialCutoff), float(angularCutoff)
    for first, radial, firstAngular, angular, *etas in _FAMILIES.values():
        n, m = len(constants["radial.shift"]), len(constants["angular.shift"])
        expected = {
            "radial.shift": first + (radial - first) / n * np.arange(n),
            "angular.shift": firstAngular + (angular - firstAngular) / m * np.arange(m),
            "radial.eta": etas[0], "angular.eta": etas[1], "angular.zeta": etas[2],
        }  # fmt: skip
        if (n, m) in ((16, 4), (16, 8)) and all(np.allclose(constants[key], value, rtol=1e-6, atol=0) for key, value in expected.items()):
            return radial, angular
    eta, shifts = constants["radial.eta"].tolist(), constants["radial.shift"].tolist()
    raise ConversionError(
        f"The state dict does not hold the cutoffs, and its constants are those of neither {' nor '.join(_FAMILIES)} (radial eta {eta}, "
        f"shifts {shifts}). Give radialCutoff and angularCutoff in Angstrom, or convert the live model."
    )


def _layers(member, symbol, layers):
    """[(weight, bias), ...] in order; torch.nn.Sequential numbers them 0, 2, 4 (activations between), TorchANI 2.9 0, 1, 2, final_layer."""
    numbered = sorted(((int(layer), listed) for layer, listed in layers if layer != "final_layer"))
    last = [(layer, listed) for layer, listed in layers if layer == "final_layer"]
    listed = {listed for _, listed in numbered}
    step = 1 if listed == {True} else 2
    gapless = [index for index, _ in numbered] == list(range(0, step * len(numbered), step))
    if not numbered or len(listed) != 1 or not gapless or (step == 1) != bool(last):
        there, known = [layer for layer, _ in layers], "0, 2, 4, ... or layers.0, layers.1, ..., final_layer"
        raise ConversionError(f"The network of member {member}, {symbol} has the layers {there}; known are {known}.")
    result = []
    for key in [(str(index), flag) for index, flag in numbered] + last:
        if "weight" not in layers[key]:
            raise ConversionError(f"Layer {key[0]} of member {member}, {symbol} has a bias but no weight.")
        weight = layers[key]["weight"]
        result.append((weight, layers[key].get("bias", np.zeros(weight.shape[:1], dtype=weight.dtype))))
    return result


def _readModule(module, species):
    """AniModel from a live model: its state dict, and from the objects what that does not hold."""
    byClass = {}
    for part in module.modules():
        byClass.setdefault(type(part).__name__, part)
    aev = byClass.get("AEVComputer")
    networks = next((part for part in module.modules() if type(part).__name__ in ("Ensemble", "ANIModel", "ANINetworks")), None)
    shifter = byClass.get("EnergyShifter", byClass.get("SelfEnergy"))
    if aev is None or networks is None or shifter is None:
        needed = "an AEVComputer, an ANIModel, ANINetworks or Ensemble, and self energies (convert before to_infer_model())"
        raise ConversionError(
            f"The {type(module).__name__} with the parts {', '.join(sorted(byClass))} is not a complete ANI model: {needed}."
        )
    for key, potential in dict(getattr(module, "potentials", {})).items():
        if potential._enabled != (key == "nnp") or (key == "nnp" and type(potential).__name__ != "NNPotential"):
            what = f"'{key}' ({type(potential).__name__}), {'on' if potential._enabled else 'off'}"
            raise ConversionError(f"The model has the potential {what}; models of an NNPotential alone can be converted.")
    parts = [("aev_computer", aev), ("neural_networks", networks), ("energy_shifter", shifter)]
    parts += [("species_converter", byClass["SpeciesConverter"])] if "SpeciesConverter" in byClass else []
    tensors = {f"{prefix}.{key}": _array(value) for prefix, part in parts for key, value in part.state_dict().items()}
    tensors = {key: value for key, value in tensors.items() if key != "species_converter.atomic_numbers"}
    tensors["energy_shifter.self_energies"] = tensors["energy_shifter.self_energies"] * getattr(shifter, "_enabled", True)
    if hasattr(aev, "Rcr"):  # 2.2.4, whose only cutoff function is the cosine
        radialCutoff, angularCutoff = aev.Rcr, aev.Rca
    else:
        radialCutoff, angularCutoff = aev.radial.cutoff, aev.angular.cutoff
        names = [type(part).__name__ for part in (aev.radial, aev.angular, aev.radial.cutoff_fn, aev.angular.cutoff_fn)]
        if names != ["ANIRadial", "ANIAngular", "CutoffCosine", "CutoffCosine"]:
            raise ConversionError(f"The AEV has the terms {names}; known are ANIRadial, ANIAngular and CutoffCosine.")
    alphas = {_celuAlpha(part) for part in networks.modules() if not list(part.children())} - {None}
    if len(alphas) > 1:
        raise ConversionError(f"The networks have CELU with different alpha: {sorted(alphas)}; one for all is supported.")
    model = _readStateDict(tensors, species, radialCutoff, angularCutoff, alphas.pop() if alphas else None)
    active = list(getattr(networks, "active_members_idxs", range(len(model.members))))
    if active != list(range(len(model.members))):
        model.selectMembers(active)
    return model


def _celuAlpha(module):
    """alpha of a CELU, None of a Linear."""
    kind = type(module).__name__
    if kind in ("Linear", "CELU", "TightCELU"):
        return {"Linear": None, "TightCELU": 0.1}[kind] if kind != "CELU" else float(module.alpha)
    raise ConversionError(f"The networks contain a {kind}; ANI networks have Linear and CELU only.")


def _array(tensor):
    array = tensor.detach().cpu()
    return (array.float() if str(array.dtype) == "torch.bfloat16" else array).numpy()


def _check(report, data, source, model, members):
    for package in ("torch", "torchani"):
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            report.check = f"not compared with TorchANI: {package} is not installed"
            return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
            import torchani
            from torchani import neurochem as _  # noqa: F401  needs lark in 2.2.4
    except ImportError as error:
        report.check = f"not compared with TorchANI: it cannot be imported ({error})"
        return
    types, positions = checkStructure(len(model.symbols))
    live = _isModule(source) and members is None  # some members of a live ensemble are built anew, of what was read
    with originalsFailure("TorchANI"):
        # torch's default dtype, which belongs to the whole process, is left alone; what was made in float32 is filled in double.
        original = copy.deepcopy(source).cpu().double() if live else _original(torch, torchani, model, members).double()
        _useExactCelu(torch, original)
        numbers = types
        if live and getattr(source, "periodic_table_index", any(type(part).__name__ == "SpeciesConverter" for part in source.modules())):
            from openmm.app import Element

            numbers = [Element.getBySymbol(model.symbols[type_]).atomic_number for type_ in types]
        x = torch.tensor(positions[None] * 10, requires_grad=True)
        energy = original((torch.tensor([list(numbers)]), x)).energies.sum()
        (gradient,) = torch.autograd.grad(energy, x)
    theirs = (energy.item() * HARTREE, -gradient[0].numpy() * HARTREE * 10)
    what = "the original object" if live else "its AEV and networks"
    compare(report, f"TorchANI {torchani.__version__} in double ({what})", evaluate(data, types, positions), theirs, 1e-9)


def checkStructure(numTypes):
    """(types [n], positions [n, 3] nm): four atoms of each type, packed at random with at least 0.1 nm between them."""
    random = np.random.default_rng(20)
    types = np.tile(np.arange(numTypes), 4)
    edge = 0.16 * len(types) ** (1 / 3)
    positions = []
    while len(positions) < len(types):
        candidate = random.uniform(0, edge, 3)
        if all(np.linalg.norm(candidate - other) > 0.1 for other in positions):
            positions.append(candidate)
    return types, np.array(positions)


def _useExactCelu(torch, module):
    """Give every CELU a gradient in double.

    torch's own (2.13, CPU) evaluates CELU in double, but its derivative with float32 constants: it is off by 1.5e-8, and the forces by up
    to 1e-8 of their size.
    """

    def celu(alpha, x):
        return x.clamp(min=0) + alpha * torch.expm1(x.clamp(max=0) / alpha)

    for part in module.modules():
        if type(part).__name__ in ("CELU", "TightCELU"):
            part.forward = functools.partial(celu, _celuAlpha(part))


def _original(torch, torchani, model, members):
    """The model as TorchANI evaluates it.

    TorchANI 2.2.4 reads NeuroChem files itself. State dicts, and everything with 2.9, whose reader of NeuroChem files would execute their
    text, are built of TorchANI's parts with the numbers that were read here.
    """
    files = getattr(model, "files", None)
    T = lambda values: torch.tensor(np.asarray(values, dtype=np.float64))  # noqa: E731
    c = {key: T(value) for key, value in model.constants.items()}
    if hasattr(torchani, "arch"):
        return _original29(torch, torchani, model, c, T)
    aev = torchani.AEVComputer(
        model.radialCutoff, model.angularCutoff, c["radial.eta"], c["radial.shift"], c["angular.eta"], c["angular.zeta"],
        c["angular.shift"], c["angular.theta"], len(model.symbols),
    )  # fmt: skip
    if files:
        params, sae, folders = files
        constants = torchani.neurochem.Constants(str(params))
        for name in ("EtaR", "ShfR", "EtaA", "Zeta", "ShfA", "ShfZ"):  # which it has in float32
            theirs, ours = getattr(constants, name).numpy(), model.constants[_CONSTANTS[name]]
            if theirs.shape != ours.shape or not np.allclose(theirs, ours, rtol=1e-6, atol=1e-7):
                raise ConversionError(f"TorchANI reads {name} as {theirs.tolist()}, the converter as {ours.tolist()}.")
        shifter = torchani.neurochem.load_sae(str(sae))
        networks = [torchani.neurochem.load_model(constants.species, str(folders[k])) for k in (members or range(len(folders)))]
    else:
        shifter = torchani.EnergyShifter(model.selfEnergies.tolist())
        networks = [
            torchani.ANIModel([_sequential(torch, layers, model.celuAlpha, T) for layers in member.values()]) for member in model.members
        ]
    return torchani.nn.Sequential(aev, torchani.Ensemble(networks), shifter)


def _sequential(torch, layers, alpha, T):
    parts = []
    for weight, bias in layers:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.weight.data, linear.bias.data = T(weight), T(bias)
        parts += [linear, torch.nn.CELU(alpha)]
    return torch.nn.Sequential(*parts[:-1])


def _original29(torch, torchani, model, c, T):
    aev = torchani.aev.AEVComputer.from_constants(
        model.radialCutoff, model.angularCutoff, c["radial.eta"].item(), c["radial.shift"].tolist(), c["angular.eta"].item(),
        c["angular.zeta"].item(), c["angular.shift"].tolist(), c["angular.theta"].tolist(), len(model.symbols),
    )  # fmt: skip
    # The constructors round to float32.
    aev.radial.eta, aev.radial.shifts = c["radial.eta"], c["radial.shift"]
    aev.angular.eta, aev.angular.zeta = c["angular.eta"], c["angular.zeta"]
    aev.angular.shifts, aev.angular.sections = c["angular.shift"], c["angular.theta"]
    networks = []
    for member in model.members:
        atomic = {}
        for symbol, layers in member.items():
            widths = [layers[0][0].shape[1]] + [weight.shape[0] for weight, _ in layers]
            atomic[symbol] = torchani.nn.AtomicNetwork(widths, activation=torch.nn.CELU(model.celuAlpha), bias=True)
            for index, (weight, bias) in enumerate(layers):
                linear = atomic[symbol][index]
                linear.weight.data, linear.bias.data = T(weight), T(bias)
        networks.append(torchani.nn.ANINetworks(atomic))
    shifter = torchani.sae.SelfEnergy(model.symbols, model.selfEnergies.tolist())
    return torchani.arch.ANI(model.symbols, aev, torchani.nn.Ensemble(networks), shifter, periodic_table_index=False)
