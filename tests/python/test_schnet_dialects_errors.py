# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What the converters of SchNet dialects refuse: every error names the part and its value, and nothing is written."""

import pytest
from schnet_peers import importPyG, importSchNetPack, importTorch, importTorchMDNet, pygSchNet, schnetPack, torchmdNet

from openmmflash.convert import ConversionError
from openmmflash.convert.pyg import convertPyG
from openmmflash.convert.schnetpack import convertSchNetPack
from openmmflash.convert.torchmdnet import convertTorchMDNet

UNITS = {"lengthUnit": "angstrom", "energyUnit": "eV"}


def refuse(convert, source, output, message, **options):
    with pytest.raises(ConversionError, match=message):
        convert(source, output, **options)
    assert not output.exists()


# --- units ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "does not say its units: give lengthUnit="),
        ({"lengthUnit": "angstrom"}, "give energyUnit=.*hartree"),
        ({"lengthUnit": "furlong", "energyUnit": "eV"}, "lengthUnit is 'furlong'.*nm, angstrom, bohr"),
        ({"lengthUnit": "angstrom", "energyUnit": "cal"}, "energyUnit is 'cal'.*kcal/mol"),
        ({"lengthUnit": -0.1, "energyUnit": "eV"}, "lengthUnit is -0.1.*positive number: nm per unit"),
        ({"lengthUnit": "angstrom", "energyUnit": float("nan")}, "energyUnit is nan"),
    ],
)
@pytest.mark.parametrize("convert, make", [(convertSchNetPack, schnetPack), (convertPyG, pygSchNet)], ids=["SchNetPack", "PyG"])
def testUnits(convert, make, options, message, tmp_path):
    refuse(convert, make(blocks=1), tmp_path / "m", message, **options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"energyScale": 96.4916, "energyUnit": "eV"}, "energyScale=96.4916 and energyUnit='eV'"),
        ({"energyScale": 0}, "energyScale is 0; it must be a positive number"),
        ({"energyScale": "much"}, "energyScale is 'much'"),
        ({"energyUnit": "erg"}, "energyUnit is 'erg'"),
        ({"lengthUnit": None}, "lengthUnit is None"),
    ],
)
def testTorchMDNetUnits(options, message, tmp_path):
    refuse(convertTorchMDNet, torchmdNet(blocks=1), tmp_path / "m", message, **options)


# --- SchNetPack -------------------------------------------------------------------------------------------------------------------------


def bessel(model, torch, spk):
    model.representation.radial_basis = spk.nn.BesselRBF(9, 5.0)


def switch(model, torch, spk):
    model.representation.cutoff_fn = spk.nn.SwitchFunction(3.0, 5.0)


def stepOfMollifier(model, torch, spk):
    model.representation.cutoff_fn = spk.nn.MollifierCutoff(5.0, eps=0.7)


def zeroWidth(model, torch, spk):
    model.representation.radial_basis.widths[3] = 0


def painn(model, torch, spk):
    model.representation = spk.representation.PaiNN(16, 2, spk.nn.GaussianRBF(9, 5.0), spk.nn.CosineCutoff(5.0))


def relu(model, torch, spk):
    for block in model.representation.interactions:
        block.f2out[0].activation = torch.nn.ReLU()


def mixed(model, torch, spk):
    model.representation.interactions[1].filter_network[0].activation = torch.nn.Tanh()


def noActivation(model, torch, spk):
    model.output_modules[0].outnet[0].activation = torch.nn.Identity()


def lastActivation(model, torch, spk):
    model.output_modules[0].outnet[1].activation = torch.nn.SiLU()


def steepSoftplus(model, torch, spk):
    model.output_modules[0].outnet[0].activation = torch.nn.Softplus(threshold=3)


def flatSoftplus(model, torch, spk):
    model.output_modules[0].outnet[0].activation = spk.nn.ShiftedSoftplus(1.0, 0.0)


def electronic(model, torch, spk):
    embedding = spk.nn.ElectronicEmbedding("total_charge", 16, is_charged=True)
    model.representation.electronic_embeddings = torch.nn.ModuleList([embedding])


def average(model, torch, spk):
    model.output_modules[0].aggregation_mode = "avg"


def twoOutputs(model, torch, spk):
    model.output_modules[0] = spk.atomistic.Atomwise(16, n_out=2, output_key="energy")


def dipole(model, torch, spk):
    model.output_modules[0] = spk.atomistic.DipoleMoment(16, dipole_key="mu")


def aggregated(model, torch, spk):
    model.output_modules[0].output_key = "short"
    model.output_modules.insert(1, spk.atomistic.Aggregation(["short", "ewald"], "energy"))


def shortRange(model, torch, spk):
    model.input_modules.append(spk.atomistic.FilterShortRange(3.25))


def field(model, torch, spk):
    model.input_modules.append(spk.atomistic.StaticExternalFields(response_properties=["forces"]))


def scaledEnergy(model, torch, spk):
    model.postprocessors.append(spk.transform.ScaleProperty("energy", scale=torch.tensor([0.25])))


def scaledForces(model, torch, spk):
    model.postprocessors.append(spk.transform.ScaleProperty("forces", scale=torch.tensor([0.25])))


def otherProperty(model, torch, spk):
    model.postprocessors.append(spk.transform.ScaleProperty("gap", output_key="energy", scale=torch.tensor([0.25])))


def intensive(model, torch, spk):
    model.postprocessors.append(spk.transform.AddOffsets("energy", add_atomrefs=True, is_extensive=False))


def centred(model, torch, spk):
    model.postprocessors.append(spk.transform.SubtractCenterOfGeometry())


def extra(model, torch, spk):
    model.representation.extra = torch.nn.Linear(3, 4)


def hooked(model, torch, spk):
    model.representation.interactions[0].register_forward_hook(lambda module, given, result: 2 * result)


def notFinite(model, torch, spk):
    model.representation.interactions[1].in2f.weight.data[2, 3] = float("inf")


def subclass(model, torch, spk):
    class Mine(spk.nn.Dense):
        pass

    model.output_modules[0].outnet[0].__class__ = Mine


def maxNorm(model, torch, spk):
    model.representation.embedding.max_norm = 1.5


SCHNETPACK = [
    (bessel, "BesselRBF.*GaussianRBF, GaussianRBFCentered"),
    (switch, "SwitchFunction.*CosineCutoff, MollifierCutoff"),
    (stepOfMollifier, "eps=0.69"),
    (zeroWidth, "a width of the radial basis is 0.0"),
    (painn, "PaiNN.*only SchNet"),
    (relu, "interactions.0.f2out.0 is torch.nn.modules.activation.ReLU"),
    (mixed, "mixes the activations shifted_softplus, tanh"),
    (noActivation, "outnet.0 has no activation"),
    (lastActivation, "outnet.1 is a last layer with the activation torch.nn.modules.activation.SiLU"),
    (steepSoftplus, "threshold 3"),
    (flatSoftplus, "beta of ShiftedSoftplus is 0.0"),
    (electronic, "electronic_embeddings"),
    (average, "aggregation_mode='avg'"),
    (twoOutputs, "n_out=2"),
    (dipole, "DipoleMoment.*sum of atomic energies"),
    (aggregated, r"'short' \(.*Atomwise\), 'energy' \(.*Aggregation\); give energyKey="),
    (shortRange, "FilterShortRange drops pairs beyond 3.25, inside the cutoff 5.0"),
    (field, "StaticExternalFields"),
    (scaledEnergy, "scale the energy 'energy' by 0.25 and the forces 'forces' by 1.0"),
    (scaledForces, "scale the energy 'energy' by 1.0 and the forces 'forces' by 0.25"),
    (otherProperty, "'energy' from 'gap'"),
    (intensive, "is_extensive=False"),
    (centred, "SubtractCenterOfGeometry"),
    (extra, "2 tensor.*representation.extra.weight, representation.extra.bias"),
    (hooked, "representation.interactions.0.*1 forward hook"),
    (notFinite, r"'blocks.1.input.weight' has 1 of 192 values that are not finite"),
    (subclass, "Mine"),
    (maxNorm, "max_norm=1.5"),
]


@pytest.mark.parametrize("change, message", SCHNETPACK, ids=[change.__name__ for change, _ in SCHNETPACK])
def testSchNetPack(change, message, tmp_path):
    model = schnetPack(blocks=2)
    change(model, importTorch(), importSchNetPack())
    refuse(convertSchNetPack, model, tmp_path / "m", message, **UNITS)


def testAggregationIsNoAtomwise(tmp_path):
    model = schnetPack(blocks=1)
    aggregated(model, importTorch(), importSchNetPack())
    refuse(
        convertSchNetPack, model, tmp_path / "m", "'energy' is schnetpack.atomistic.aggregation.Aggregation", energyKey="energy", **UNITS
    )


def testSchNetPackSources(tmp_path):
    torch = importTorch()
    model = schnetPack(blocks=1)
    refuse(convertSchNetPack, model.state_dict(), tmp_path / "m", "tensors only.*cutoff function", **UNITS)
    refuse(convertSchNetPack, torch.nn.Linear(2, 3), tmp_path / "m", "torch.nn.modules.linear.Linear: not a potential", **UNITS)
    refuse(convertSchNetPack, 17, tmp_path / "m", "is builtins.int", **UNITS)
    (tmp_path / "text").write_text("not a model")
    refuse(convertSchNetPack, tmp_path / "text", tmp_path / "m", "text is not a file of torch.save", **UNITS)
    with pytest.raises(FileNotFoundError, match="absent"):
        convertSchNetPack(tmp_path / "absent", tmp_path / "m", **UNITS)
    with pytest.raises(TypeError, match="energykey"):
        convertSchNetPack(model, tmp_path / "m", energykey="energy", **UNITS)


# --- PyTorch Geometric ------------------------------------------------------------------------------------------------------------------


def meanReadout(model, torch, pyg):
    from torch_geometric.nn import MeanAggregation

    model.readout = MeanAggregation()


def isDipole(model, torch, pyg):
    model.dipole = True


def shortGraph(model, torch, pyg):
    model.interaction_graph.cutoff = 3.75


def otherEnvelope(model, torch, pyg):
    model.interactions[1].conv.cutoff = 6.5


def otherActivation(model, torch, pyg):
    model.interactions[1].act = torch.nn.SiLU()


def unknownActivation(model, torch, pyg):
    model.act = torch.nn.PReLU()


def otherSmearing(model, torch, pyg):
    model.distance_expansion = torch.nn.Linear(1, 9)


def splitFilter(model, torch, pyg):
    import copy

    model.interactions[0].conv.nn = copy.deepcopy(model.interactions[0].mlp)
    model.interactions[0].conv.nn[2].bias.data += 1


def vectorMean(model, torch, pyg):
    model.mean, model.std = torch.zeros(3), 1.0


def moreLayers(model, torch, pyg):
    model.lin3 = torch.nn.Linear(1, 1)


def positiveCoefficient(model, torch, pyg):
    model.distance_expansion.coeff = 2.5


PYG = [
    (meanReadout, "MeanAggregation.*readout='add'"),
    (isDipole, "dipole=True"),
    (shortGraph, "cutoff 3.75, the envelope 5.0"),
    (otherEnvelope, "interactions.1.conv has cutoff 6.5, the model 5.0"),
    (otherActivation, "activations differ.*silu"),
    (unknownActivation, "act is torch.nn.modules.activation.PReLU"),
    (otherSmearing, "distance_expansion is torch.nn.modules.linear.Linear"),
    (splitFilter, "'interactions.0.conv.nn.2.bias' and 'interactions.0.mlp.2.bias'"),
    (vectorMean, "mean is .*Tensor.*one number"),
    (moreLayers, "lin3.weight, lin3.bias"),
    (positiveCoefficient, "Radial basis function 0 has 2.5.*negative"),
]


@pytest.mark.parametrize("change, message", PYG, ids=[change.__name__ for change, _ in PYG])
def testPyG(change, message, tmp_path):
    model = pygSchNet(blocks=2)
    change(model, importTorch(), importPyG())
    refuse(convertPyG, model, tmp_path / "m", message, **UNITS)


def testPyGOptions(tmp_path):
    """Options of state dicts: the cutoff is needed, and must be the one at which the last Gaussian sits; a live model has its own."""
    state = pygSchNet(blocks=2).state_dict()
    for options, message in (
        ({}, r"does not hold the cutoff; give cutoff=.*got None"),
        ({"cutoff": -5}, "got -5"),
        ({"cutoff": "five"}, "cutoff is 'five'"),
        ({"cutoff": 6.0}, "cutoff is 6.0, but PyG puts the last Gaussian at the cutoff, and that is 5.0"),
        ({"cutoff": 5.0, "mean": 0.25}, "mean is 0.25 and std is None"),
        ({"cutoff": 5.0, "scale": float("inf")}, "scale is inf"),
    ):
        refuse(convertPyG, state, tmp_path / "m", message, **options, **UNITS)
    refuse(convertPyG, pygSchNet(blocks=1), tmp_path / "m", "the model itself holds scale", scale=2.0, **UNITS)


def testPyGStateDicts(tmp_path):
    """Missing, misshapen and superfluous tensors of a state dict are named."""
    torch = importTorch()
    state = pygSchNet(blocks=2).state_dict()
    options = {"cutoff": 5.0, **UNITS}
    without = {key: value for key, value in state.items() if key != "interactions.1.conv.lin2.bias"}
    refuse(convertPyG, without, tmp_path / "m", "'interactions.1.conv.lin2.bias' is missing", **options)
    shaped = state | {"interactions.1.conv.lin1.weight": torch.zeros(12, 15)}
    refuse(convertPyG, shaped, tmp_path / "m", r"'blocks.1.input.weight' has shape \[12, 15\].*\[12, 16\]", **options)
    refuse(convertPyG, state | {"lin2.bias": torch.zeros(2)}, tmp_path / "m", r"'lin2.bias' has shape \[2\]; \[1\] is needed", **options)
    refuse(convertPyG, state | {"lin2.bias": torch.zeros(1, dtype=torch.int64)}, tmp_path / "m", "'lin2.bias' has dtype int64", **options)
    refuse(convertPyG, state | {"lin3.bias": torch.zeros(2)}, tmp_path / "m", "1 tensor.*lin3.bias", **options)
    refuse(convertPyG, state | {"atomic_mass": torch.zeros(100)}, tmp_path / "m", "'atomic_mass'.*dipole=True", **options)
    refuse(convertPyG, {"epoch": 3}, tmp_path / "m", "not one of tensors only.*epoch", **options)
    refuse(convertPyG, {"a.weight": torch.zeros(3)}, tmp_path / "m", "distance_expansion.offset", **options)


# --- TorchMD-Net ------------------------------------------------------------------------------------------------------------------------


def equivariant(model, torch, tmd):
    from torchmdnet.models.torchmd_et import TorchMD_ET

    model.representation_model = TorchMD_ET(hidden_channels=16, num_layers=1, num_rbf=9, max_z=30)


def filtered(model, torch, tmd):
    model.representation_model = tmd.wrappers.AtomFilter(model.representation_model, 1)


def dipoleOutput(model, torch, tmd):
    model.output_model = tmd.output.DipoleMoment(16)


def meanMessages(model, torch, tmd):
    model.representation_model.aggr = "mean"
    for block in model.representation_model.interactions:
        block.conv.aggr = "mean"


def meanOfAtoms(model, torch, tmd):
    model.output_model.reduce_op = "mean"


def zbl(model, torch, tmd):
    arguments = {
        "cutoff_distance": 4.0,
        "max_num_neighbors": 50,
        "atomic_number": list(range(30)),
        "distance_scale": 1e-10,
        "energy_scale": 1.6e-19,
    }
    model.prior_model = torch.nn.ModuleList([tmd.priors.ZBL(**arguments)])


def coulomb(model, torch, tmd):
    model.prior_model = torch.nn.ModuleList([tmd.priors.Coulomb(1e-10, 1.6e-19, 2.0, 4.0, 50)])


def ownPrior(model, torch, tmd):
    class Mine(tmd.priors.base.BasePrior):
        pass

    model.prior_model = torch.nn.ModuleList([Mine()])


def gelu(model, torch, tmd):
    for block in model.representation_model.interactions:
        block.act = block.mlp[1] = torch.nn.GELU()


def oneOtherActivation(model, torch, tmd):
    model.representation_model.interactions[1].act = torch.nn.Tanh()


def otherCutoff(model, torch, tmd):
    model.representation_model.interactions[1].conv.cutoff = tmd.utils.CosineCutoff(0.0, 4.5)


def negativeBeta(model, torch, tmd):
    model.representation_model.distance_expansion.betas.data[4] = -0.5


TORCHMDNET = [
    (equivariant, "TorchMD_ET.*graph-network"),
    (filtered, "AtomFilter"),
    (dipoleOutput, "DipoleMoment.*only Scalar"),
    (meanMessages, "aggr is 'mean'"),
    (meanOfAtoms, "reduce_op is 'mean'"),
    (zbl, "the prior ZBL cannot be converted"),
    (coulomb, "the prior Coulomb cannot be converted"),
    (ownPrior, "Mine cannot be converted"),
    (gelu, "interactions.0.mlp.1 is torch.nn.modules.activation.GELU"),
    (oneOtherActivation, "activations differ between layers.*tanh"),
    (otherCutoff, r"interactions.1 has the cutoffs \(0.0, 4.5\), the representation \(0.0, 5.0\)"),
    (negativeBeta, "Radial basis function 4 has -0.5.*positive"),
]


@pytest.mark.parametrize("change, message", TORCHMDNET, ids=[change.__name__ for change, _ in TORCHMDNET])
def testTorchMDNet(change, message, tmp_path):
    model = torchmdNet(blocks=2)
    change(model, importTorch(), importTorchMDNet())
    refuse(convertTorchMDNet, model, tmp_path / "m", message)


HYPER = {"model": "graph-network", "rbf_type": "expnorm", "activation": "silu", "cutoff_lower": 0.0, "cutoff_upper": 5.0, "num_layers": 2}
CHECKPOINTS = [
    ({"model": "tensornet"}, "the architecture 'tensornet'.*graph-network"),
    ({"model": "equivariant-transformer"}, "the architecture 'equivariant-transformer'"),
    ({"model": None}, "the architecture None"),
    ({"output_model": "ElectronicSpatialExtent"}, "'ElectronicSpatialExtent'"),
    ({"atom_filter": 1}, "atom_filter is 1"),
    ({"activation": "gelu"}, "activation is 'gelu'.*mish"),
    ({"rbf_type": "bessel"}, "rbf_type is 'bessel'"),
    ({"aggr": "max"}, "aggr is 'max'"),
    ({"reduce_op": "max"}, "reduce_op is 'max'"),
    ({"cutoff_lower": 6.0}, "cutoffs are 6.0 and 5.0"),
    ({"prior_model": "ZBL", "prior_args": {}}, "the prior ZBL"),
    ({"prior_model": ["Atomref", "D2"], "prior_args": [{}, {}]}, "the prior D2"),
    ({"prior_model": [{"Coulomb": {"alpha": 1.8}}]}, "the prior Coulomb"),
    ({"prior_model": ["Atomref", "Atomref"], "prior_args": [{}]}, "1 entries for 2 prior"),
    ({"prior_model": "Atomref"}, "'prior_model.0.atomref.weight' is missing"),
    ({"neighbor_embedding": False}, "neighbor_embedding.embedding.weight"),
    ({"rbf_type": "gauss"}, "'representation_model.distance_expansion.offset' is missing"),
    ({"num_layers": 3}, "tensors of 2 interaction blocks; the model has 3"),
    ({"num_layers": None}, "tensors of 2 interaction blocks; the model has None"),
]


@pytest.mark.parametrize("changes, message", CHECKPOINTS, ids=[", ".join(f"{k}={v}" for k, v in c.items()) for c, _ in CHECKPOINTS])
def testTorchMDNetCheckpoint(changes, message, tmp_path):
    torch = importTorch()
    state = {f"model.{key}": value for key, value in torchmdNet(blocks=2).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": HYPER | changes}, tmp_path / "epoch.ckpt")
    refuse(convertTorchMDNet, tmp_path / "epoch.ckpt", tmp_path / "m", message)


def testTorchMDNetSources(tmp_path):
    torch = importTorch()
    state = {f"model.{key}": value for key, value in torchmdNet(blocks=2).state_dict().items()}
    refuse(convertTorchMDNet, {"state_dict": state}, tmp_path / "m", "no hyper_parameters.*state_dict")
    lacking = {key: value for key, value in HYPER.items() if key != "cutoff_upper"}
    refuse(convertTorchMDNet, {"state_dict": state, "hyper_parameters": lacking}, tmp_path / "m", "lack 'cutoff_upper'")
    more = state | {"model.representation_model.extra": torch.zeros(2)}
    refuse(convertTorchMDNet, {"state_dict": more, "hyper_parameters": HYPER}, tmp_path / "m", "1 tensor.*representation_model.extra")
    refuse(convertTorchMDNet, [], tmp_path / "m", "list of sources is empty")


def testTensorsThatAreMissing(tmp_path):
    """A checkpoint that lacks a trained tensor: the architecture's own would be the one from before training, or a default."""
    torch = importTorch()
    model = schnetPack(blocks=1)
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    removed = "model.representation.interactions.0.in2f.weight"
    lacking = {key: value for key, value in state.items() if key != removed}
    torch.save({"state_dict": lacking, "hyper_parameters": {"model": model}}, tmp_path / "spk.ckpt")
    refuse(convertSchNetPack, tmp_path / "spk.ckpt", tmp_path / "m", f"the state_dict lacks '{removed}'", **UNITS)
    state = {f"model.{key}": value for key, value in torchmdNet(blocks=2, std=2.0).state_dict().items()}
    for name, message in (("std", "'std' is missing"), ("mean", "'mean' is missing")):
        lacking = {key: value for key, value in state.items() if key != f"model.{name}"}
        refuse(convertTorchMDNet, {"state_dict": lacking, "hyper_parameters": HYPER}, tmp_path / "m", message)
    lacking = {key: value for key, value in state.items() if ".interactions.1." not in key}
    refuse(
        convertTorchMDNet, {"state_dict": lacking, "hyper_parameters": HYPER}, tmp_path / "m", "of 1 interaction blocks; the model has 2"
    )
    state = dict(pygSchNet(blocks=1, atomref=True).state_dict())
    assert "initial_atomref" in state
    del state["atomref.weight"]
    refuse(convertPyG, state, tmp_path / "m", "'atomref.weight' is missing", cutoff=5.0, **UNITS)


@pytest.mark.parametrize("convert, make", [(convertSchNetPack, schnetPack), (convertPyG, pygSchNet), (convertTorchMDNet, torchmdNet)])
def testOriginalThatFails(convert, make, tmp_path, monkeypatch):
    """An original that cannot be run though its package is there: an error, unless the comparison was declined."""
    importTorch()
    source, units = make(blocks=1), {} if convert is convertTorchMDNet else UNITS

    def broken(*_, **__):
        raise OSError("no such kernel")

    monkeypatch.setattr(type(source), "__deepcopy__", broken, raising=False)
    refuse(convert, source, tmp_path / "m", r"failed on the original.*OSError: no such kernel.*check=False converts without it", **units)
    convert(source, tmp_path / "m", check=False, **units)


def testHugeValuesInMessages(tmp_path):
    """What a file holds is never written out whole: shared parts would make it endless."""
    endless = [1]
    for _ in range(60):
        endless = [endless, endless]
    state = {f"model.{key}": value for key, value in torchmdNet(blocks=2).state_dict().items()}
    for key in ("model", "output_model", "activation", "aggr", "reduce_op", "rbf_type", "cutoff_lower", "atom_filter", "num_layers"):
        with pytest.raises(ConversionError) as error:
            convertTorchMDNet({"state_dict": state, "hyper_parameters": HYPER | {key: endless}}, tmp_path / "m")
        assert len(str(error.value)) < 400
    for tensors in ({"model.representation_model.x": endless}, state | {("a",): state["model.mean"]}):
        with pytest.raises(ConversionError):
            convertTorchMDNet({"state_dict": tensors, "hyper_parameters": HYPER}, tmp_path / "m")
