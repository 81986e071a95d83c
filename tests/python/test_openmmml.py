# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The potentials that OpenMM-ML finds through our entry points, in what OpenMM-ML's own tests ask of a potential and more."""

import numpy as np
import openmm
import pytest
from mixed_cases import EXAMPLES, Evaluation, classical, flashForce, needs, peptideAtoms, python, solvatedPeptide, subset
from openmm import app, unit
from protein_beads import beadTopology, proteinModel
from small_models import writeAni
from test_torchani_reference import neuroChemReference, stateDictReference, torchani, wheelFolder  # noqa: F401  a fixture

import openmmflash

openmmml = pytest.importorskip("openmmml", reason="needs openmmml")
LAMBDA = "lambda_interpolate"
NAMES = ("ani1x-flash", "ani1ccx-flash", "ani2x-flash", "flash")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    writeAni(path, members=2)
    return path


@pytest.fixture(scope="module")
def potential(path):
    return openmmml.MLPotential("flash", modelPath=path)


@pytest.fixture(scope="module")
def solvated():
    return solvatedPeptide()


@pytest.fixture(scope="module")
def mmSystem(solvated):
    return classical(solvated.topology, nonbondedMethod=app.PME)


def particles(system):
    force = flashForce(system)
    return [force.getParticleParameters(i)[0] for i in range(force.getNumParticles())]


class TestImport:
    def testIsLight(self):
        """OpenMM-ML loads all entry points when it is imported; ours bring nothing with them."""
        code = f"import sys, openmmml\nprint(set({NAMES}) <= set(openmmml.MLPotential._implFactories), 'openmmflash' in sys.modules)"
        assert python(code) == "True False\n"

    def testBrokenInstallationSparesOthers(self):
        code = """
import sys
sys.modules["openmmflash"] = None
from openmmml import MLPotential
assert "ase" in MLPotential._implFactories
try:
    MLPotential("ani2x-flash")
except ImportError as error:
    print("ImportError", error)
"""
        message = python(code)
        assert message.startswith("ImportError") and "openmmflash" in message


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def testSimulate(platform):
    needs("ani1x")
    solvated = solvatedPeptide()
    peptide = subset(solvated, peptideAtoms(solvated.topology))
    peptide.topology.setPeriodicBoxVectors(None)
    system = openmmml.MLPotential("ani1x-flash").createSystem(peptide.topology)
    integrator = openmm.LangevinIntegrator(300.0, 1.0, 0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform(platform))
    context.setPositions(peptide.positions)
    integrator.step(10)
    assert np.isfinite(context.getState(positions=True).getPositions(asNumpy=True)._value).all()
    expected = Evaluation(openmmflash.createSystem(peptide.topology, "ani1x"), peptide.positions, platform)
    assert Evaluation(system, peptide.positions, platform).energy == expected.energy


def testCreateSystem(potential, solvated, path):
    """Masses, box, molecules and energy are those of createSystem; removeCMMotion is OpenMM-ML's."""
    for removeCMMotion in (True, False):
        system = potential.createSystem(solvated.topology, removeCMMotion=removeCMMotion)
        expected = openmmflash.createSystem(solvated.topology, path, removeCMMotion=removeCMMotion)
        assert openmm.XmlSerializer.serialize(system) == openmm.XmlSerializer.serialize(expected)


def testPlaceholderOfABox(potential):
    """CRYST1 1 1 1 is no box, here as in createSystem."""
    pdb = app.PDBFile(str(EXAMPLES / "alanine-dipeptide.pdb"))
    pdb.topology.setUnitCellDimensions(openmm.Vec3(1, 1, 1) * unit.angstrom)
    with pytest.warns(UserWarning, match="placeholder"):
        assert not potential.createSystem(pdb.topology).usesPeriodicBoundaryConditions()


def testBeads(tmp_path):
    """A Topology of beads gets the model's masses and priors, not the masses of the elements that beads are called by."""
    (tmp_path / "beads.safetensors").write_bytes(proteinModel("ca"))
    topology = beadTopology(["AAAAA"], "ca")
    system = openmmml.MLPotential("flash", modelPath=tmp_path / "beads.safetensors").createSystem(topology)
    expected = openmmflash.createSystem(topology, tmp_path / "beads.safetensors")
    assert openmm.XmlSerializer.serialize(system) == openmm.XmlSerializer.serialize(expected)


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def testMixedSystem(potential, solvated, mmSystem, platform):
    """With lambda = 1 the mixed system, with 0 the classical one: energies and forces."""
    atoms = peptideAtoms(solvated.topology)
    mixed = Evaluation(potential.createMixedSystem(solvated.topology, mmSystem, atoms), solvated.positions, platform)
    way = Evaluation(potential.createMixedSystem(solvated.topology, mmSystem, atoms, interpolate=True), solvated.positions, platform)
    mm = Evaluation(mmSystem, solvated.positions, platform)
    for expected, value in ((mixed, 1.0), (mm, 0.0)):
        way.at(**{LAMBDA: value})
        assert way.energy == pytest.approx(expected.energy, rel=1e-5)
        assert np.allclose(way.forces, expected.forces, rtol=1e-3, atol=1e-4 * np.abs(expected.forces).max())


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("interpolate", [False, True])
def testEmbedding(potential, solvated, periodic, interpolate):
    """Mechanical embedding is MM of everything, minus MM of the atoms without their images, plus ML of the atoms."""
    atoms = peptideAtoms(solvated.topology)
    part = subset(solvated, atoms)
    mmSystem = classical(solvated.topology, nonbondedMethod=app.PME if periodic else app.NoCutoff)
    mm = Evaluation(mmSystem, solvated.positions).energy
    inner = Evaluation(classical(part.topology, nonbondedMethod=app.NoCutoff), part.positions).energy
    outer = Evaluation(potential.createSystem(part.topology), part.positions).energy
    expected = mm - inner + outer
    way = Evaluation(potential.createMixedSystem(solvated.topology, mmSystem, atoms, interpolate=interpolate), solvated.positions)
    if not interpolate:
        assert way.energy == pytest.approx(expected, abs=0.02)
    for value in (0.0, 0.25, 0.5, 1.0) if interpolate else ():
        way.at(**{LAMBDA: value})
        assert way.energy == pytest.approx(value * expected + (1 - value) * mm, abs=0.02)


def testDerivative(potential, solvated, mmSystem):
    """dU/dlambda of the CustomCVForce that OpenMM-ML puts everything into, and of createMixedSystem, which has it by itself."""
    atoms = peptideAtoms(solvated.topology)
    system = potential.createMixedSystem(solvated.topology, mmSystem, atoms, interpolate=True)
    (force,) = [force for force in system.getForces() if isinstance(force, openmm.CustomCVForce)]
    force.addEnergyParameterDerivative(LAMBDA)
    way = Evaluation(system, solvated.positions)
    slope = way.at(**{LAMBDA: 0.5}).derivatives[LAMBDA]
    difference = way.at(**{LAMBDA: 0.75}).energy - way.at(**{LAMBDA: 0.25}).energy
    assert slope == pytest.approx(2 * difference, rel=1e-8)
    ours = Evaluation(
        openmmflash.createMixedSystem(solvated.topology, mmSystem, atoms, potential._impl.modelPath, interpolate=True), solvated.positions
    )
    assert ours.energy == pytest.approx(way.at(**{LAMBDA: 1.0}).energy, rel=1e-12)
    assert ours.derivatives[LAMBDA] == pytest.approx(slope, rel=1e-6), "up to how exactly either leaves pairs out of an Ewald sum"


def testOrderOfAtoms(potential, solvated, mmSystem):
    """The model sees the atoms in the order given; forces go to where they belong."""
    atoms = peptideAtoms(solvated.topology)
    shuffled = np.random.default_rng(1).permutation(atoms).tolist()
    systems = [potential.createMixedSystem(solvated.topology, mmSystem, order) for order in (atoms, shuffled)]
    assert [particles(system) for system in systems] == [atoms, shuffled]
    plain, other = (Evaluation(system, solvated.positions) for system in systems)
    assert other.energy == pytest.approx(plain.energy, rel=1e-13)
    assert np.abs(other.forces - plain.forces).max() < 1e-8 * np.abs(plain.forces).max()


def testMoleculesStayWhole(potential, solvated, mmSystem):
    """A barostat scales molecules, also the one whose classical bonds are gone."""
    for interpolate in (False, True):
        system = potential.createMixedSystem(solvated.topology, mmSystem, peptideAtoms(solvated.topology), interpolate=interpolate)
        molecules = Evaluation(system, solvated.positions).context.getMolecules()
        assert len(molecules) == solvated.topology.getNumResidues() - 2


@pytest.mark.parametrize("remove", [False, True])
def testConstraints(potential, solvated, remove):
    atoms = set(peptideAtoms(solvated.topology))
    rigid = classical(solvated.topology, constraints=app.AllBonds)

    def pairs(system):
        return {frozenset(system.getConstraintParameters(i)[:2]) for i in range(system.getNumConstraints())}

    before = pairs(rigid)
    after = pairs(potential.createMixedSystem(solvated.topology, rigid, atoms, removeConstraints=remove))
    assert before - after == ({pair for pair in before if pair <= atoms} if remove else set()) and after <= before


def testLinkAtoms(potential, solvated, mmSystem):
    """A cut bond: OpenMM-ML appends a virtual site, which the model sees as a hydrogen."""
    alanine = [atom.index for atom in solvated.topology.atoms() if atom.residue.name in ("ALA", "NME")]
    for interpolate in (False, True):
        info = potential.createMixedSystem(
            solvated.topology, mmSystem, alanine, interpolate=interpolate, returnInfo=True, linkAtomDistances=[]
        )
        system, site = info["system"], solvated.topology.getNumAtoms()
        assert system.isVirtualSite(site)
        positions = [*solvated.positions.value_in_unit(unit.nanometer), openmm.Vec3(0, 0, 0)]
        Evaluation(system, positions)
        if not interpolate:
            force = flashForce(system)
            assert particles(system) == [*alanine, site]
            assert force.getModel().getTypeName(force.getParticleParameters(len(alanine))[1]) == "H"


def testSerialization(potential, solvated, mmSystem, tmp_path):
    """Both forms of mixed system load in a process that has no OpenMM-ML."""
    np.save(tmp_path / "positions.npy", np.array(solvated.positions.value_in_unit(unit.nanometer)))
    for interpolate in (False, True):
        system = potential.createMixedSystem(solvated.topology, mmSystem, peptideAtoms(solvated.topology), interpolate=interpolate)
        (tmp_path / "mixed.xml").write_text(openmm.XmlSerializer.serialize(system))
        code = (
            "import sys\nsys.modules['openmmml'] = None\nimport openmmflash, numpy\nfrom openmm import *\n"
            f"system = XmlSerializer.deserialize(open({str(tmp_path / 'mixed.xml')!r}).read())\n"
            "context = Context(system, VerletIntegrator(0.001), Platform.getPlatform('Reference'))\n"
            f"context.setPositions(numpy.load({str(tmp_path / 'positions.npy')!r}))\n"
            "print(context.getState(energy=True).getPotentialEnergy()._value)"
        )
        assert float(python(code)) == Evaluation(system, solvated.positions).energy


@pytest.mark.filterwarnings("ignore:Converting a tensor")  # in OpenMM-ML
@pytest.mark.parametrize("theirName", ["ani1ccx", "ani2x"])
def testEqualsTheirs(theirName, torchani, request, monkeypatch, solvated, mmSystem):  # noqa: F811
    """OpenMM-ML's own implementation through TorchANI, with the same weights: energies in single precision, forces.

    Where the weights of ANI-2x are not there, its place is taken by ANI-1x from TorchANI's wheel.
    """
    import torch

    try:
        folder = request.getfixturevalue("shared") / "models" / "torchani"
        source, build = {
            "ani1ccx": (folder / "ani-1ccx_8x", neuroChemReference),
            "ani2x": (folder / "ani2x_state_dict.pt", stateDictReference),
        }[theirName]
    except pytest.skip.Exception:
        if theirName != "ani2x":
            raise
        source, build = wheelFolder(), neuroChemReference
    model = openmmflash.FlashModel(str(convertedModel(source, request.getfixturevalue("tmp_path"))))
    _, aev, networks, shifter = build(torchani, source)
    module = torchani.nn.Sequential(aev, torchani.Ensemble(networks), shifter).float()
    types = {model.getTypeAtomicNumber(i): i for i in range(model.getNumTypes())}

    class Theirs(torch.nn.Module):
        """What torchani.models.ANI2x(periodic_table_index=True) is to OpenMM-ML."""

        def forward(self, speciesCoordinates, cell=None, pbc=None):
            species, coordinates = speciesCoordinates
            return module((torch.tensor([[types[int(number)] for number in species[0]]]), coordinates), cell=cell, pbc=pbc)

    monkeypatch.setattr(torchani.models, {"ani1ccx": "ANI1ccx", "ani2x": "ANI2x"}[theirName], lambda **_: Theirs())
    theirs, ours = openmmml.MLPotential(theirName), openmmml.MLPotential("flash", modelPath=model)
    peptide = subset(solvated, peptideAtoms(solvated.topology))
    atoms = peptideAtoms(solvated.topology)[::-1]
    mixed = [Evaluation(p.createMixedSystem(solvated.topology, mmSystem, atoms), solvated.positions).energy for p in (theirs, ours)]
    assert mixed[1] == pytest.approx(mixed[0], rel=3e-7), "which they compute in single precision"
    expected, found = (Evaluation(p.createSystem(peptide.topology), peptide.positions) for p in (theirs, ours))
    assert found.energy == pytest.approx(expected.energy, rel=3e-7)
    # OpenMM-ML 1.8 returns the forces of ANI in kJ/mol/Angstrom where kJ/mol/nm are meant: a tenth. Its energy tells which are right.
    factor = np.linalg.norm(found.forces) / np.linalg.norm(expected.forces)
    assert round(factor) in (1, 10)
    assert np.abs(found.forces - round(factor) * expected.forces).max() < 2e-4 * np.abs(found.forces).max()
    positions, step = np.array(peptide.positions.value_in_unit(unit.nanometer)), 0.005
    direction = found.forces / np.linalg.norm(found.forces)
    ends = []
    for sign in (1, -1):
        expected.context.setPositions(positions + sign * step * direction)
        ends.append(expected.at().energy)
    assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(np.linalg.norm(found.forces), rel=0.05)


def convertedModel(source, folder):
    from openmmflash.convert.torchani import convertTorchANI

    convertTorchANI(source, folder / "model.safetensors", check=False)
    return folder / "model.safetensors"


def testOneNetwork(potential):
    """modelIndex, as OpenMM-ML's own ANI has it, is a member of a known model."""
    needs("ani1x")
    solvated = solvatedPeptide()
    peptide = subset(solvated, peptideAtoms(solvated.topology))
    system = openmmml.MLPotential("ani1x-flash").createSystem(peptide.topology, modelIndex=3)
    model = openmmflash.loadModel("ani1x", members=[3])
    assert flashForce(system).getModel().getSha256() == model.getSha256()
    with pytest.raises(ValueError, match="modelIndex is 3, but this model is a file"):
        potential.createSystem(peptide.topology, modelIndex=3)


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("flash",), "needs the path of a model file"),
            (("ani1x-flash", "path"), "is a known model and has no modelPath"),
            (("flash", "/absent/model"), "/absent/model"),
        ],
    )
    def testPotentials(self, arguments, message):
        name, *rest = arguments
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            openmmml.MLPotential(name, **({"modelPath": rest[0]} if rest else {}))

    def testArguments(self, potential, solvated, mmSystem, path):
        with pytest.raises(ValueError, match="MLPotential got precision"):
            openmmml.MLPotential("flash", modelPath=path, precision="single")
        with pytest.raises(ValueError, match="got device, which this potential does not have.*Platform"):
            potential.createSystem(solvated.topology, device="cuda")
        with pytest.raises(ValueError, match="does not support the mlLongRange option"):
            potential.createMixedSystem(solvated.topology, mmSystem, [0], mlLongRange=True)
        with pytest.raises(ValueError, match="atoms is empty"):
            potential.createMixedSystem(solvated.topology, mmSystem, [])
        salt = app.Topology()
        salt.addAtom("NA", app.element.sodium, salt.addResidue("NA", salt.addChain()))
        with pytest.raises(ValueError, match=r"Atom 0 \(NA of residue NA .* is sodium"):
            potential.createSystem(salt)
