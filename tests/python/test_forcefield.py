# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Models as XML files of openmm.app.ForceField: found, read, applied to any topology, and what is refused."""

import io
import shutil
import warnings
from pathlib import Path

import numpy as np
import openmm
import pytest
from mixed_cases import EXAMPLES, needs, python, solvatedPeptide
from openmm import app, unit
from protein_beads import beadTopology, proteinModel
from small_models import writeAni

import openmmflash
from openmmflash import models

PEPTIDE = app.PDBFile(str(EXAMPLES / "alanine-dipeptide.pdb"))
NAMED = {"ani1x": "H C N O", "ani1ccx": "H C N O", "ani2x": "H C N O F S Cl"}
WITH_LENGTHS = """<ForceField><Include file="openmmflash/register.xml"/><FlashModel file="{file}">
  <BondToHydrogen element="C" length="0.111"/><BondToHydrogen element="C" neighbors="3" length="0.112"/>
  <BondToHydrogen element="N" length="0.113"/><BondToHydrogen element="O" length="0.097"/>
  <Water OH="0.098" HH="0.155"/></FlashModel></ForceField>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of random weights with an XML file beside it, plain.xml, and one with lengths, lengths.xml."""
    folder = tmp_path_factory.mktemp("models")
    writeAni(folder / "tiny.safetensors")
    openmmflash.writeForceField(folder / "plain.xml", folder / "tiny.safetensors")
    (folder / "lengths.xml").write_text(WITH_LENGTHS.format(file="tiny.safetensors"))
    return folder


@pytest.fixture(scope="module")
def plain(folder):
    return app.ForceField(str(folder / "plain.xml"))


@pytest.fixture(scope="module")
def lengths(folder):
    return app.ForceField(str(folder / "lengths.xml"))


@pytest.fixture(scope="module")
def solvated():
    return solvatedPeptide()


def energy(system, positions):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def molecule(atoms, bonds, box=None, name="LIG"):
    topology = app.Topology()
    residue = topology.addResidue(name, topology.addChain())
    added = [topology.addAtom(n, app.Element.getBySymbol(s) if s else None, residue) for n, s in atoms]
    for i, j in bonds:
        topology.addBond(added[i], added[j])
    if box:
        topology.setUnitCellDimensions(openmm.Vec3(box, box, box) * unit.nanometer)
    return topology


def constraints(system):
    """{atoms: length} of a System."""
    parameters = (system.getConstraintParameters(i) for i in range(system.getNumConstraints()))
    return {frozenset((a, b)): round(length.value_in_unit(unit.nanometer), 6) for a, b, length in parameters}


WATER = [("O", "O"), ("H1", "H"), ("H2", "H")], [(0, 1), (0, 2)]


class TestFinding:
    def testNamedModelWithoutAnImport(self):
        """One line of a script is another one; that is all."""
        needs("ani1x")
        code = f"""
import sys
from openmm import app, Context, VerletIntegrator, Platform
pdb = app.PDBFile({str(EXAMPLES / "alanine-dipeptide.pdb")!r})
assert "openmmflash" not in sys.modules
system = app.ForceField("openmmflash/ani1x.xml").createSystem(pdb.topology)
context = Context(system, VerletIntegrator(0.001), Platform.getPlatform("Reference"))
context.setPositions(pdb.positions)
print(context.getState(energy=True).getPotentialEnergy()._value)
"""
        assert float(python(code)) == energy(openmmflash.createSystem(PEPTIDE.topology, "ani1x"), PEPTIDE.positions)

    def testModelFileBesideTheXml(self, folder, tmp_path, monkeypatch):
        """The path in the XML is relative to it, wherever it is read from; both move together."""
        first = tmp_path / "written here"
        first.mkdir()
        shutil.copy(folder / "tiny.safetensors", first)
        openmmflash.writeForceField(first / "plain.xml", first / "tiny.safetensors")
        moved = first.rename(tmp_path / "moved here")
        expected = energy(openmmflash.createSystem(PEPTIDE.topology, folder / "tiny.safetensors"), PEPTIDE.positions)
        code = (
            "from openmm import app\n"
            f"pdb = app.PDBFile({str(EXAMPLES / 'alanine-dipeptide.pdb')!r})\n"
            f"app.ForceField({str(moved / 'plain.xml')!r}).createSystem(pdb.topology)\n"
        )
        python(code)
        monkeypatch.chdir(moved.parent)
        for file in ("moved here/plain.xml", str(moved / "plain.xml")):
            assert energy(app.ForceField(file).createSystem(PEPTIDE.topology), PEPTIDE.positions) == expected
        with open("moved here/plain.xml") as file:
            assert energy(app.ForceField(file).createSystem(PEPTIDE.topology), PEPTIDE.positions) == expected
        # From another XML, too.
        Path("outer.xml").write_text('<ForceField><Include file="moved here/plain.xml"/></ForceField>')
        assert energy(app.ForceField("outer.xml").createSystem(PEPTIDE.topology), PEPTIDE.positions) == expected

    def testXmlWithoutAPlace(self, folder):
        text = '<ForceField><Include file="openmmflash/register.xml"/><FlashModel file="{}"/></ForceField>'
        with pytest.raises(ValueError, match="Give an absolute path"):
            app.ForceField(io.StringIO(text.format("tiny.safetensors")))
        system = app.ForceField(io.StringIO(text.format(folder / "tiny.safetensors"))).createSystem(PEPTIDE.topology)
        assert system.getNumForces() == 2

    def testBrokenInstallationSparesOthers(self):
        """Where openmmflash cannot be imported, other force fields work; ours says why not."""
        code = """
import sys
sys.modules["openmmflash"] = None
from openmm import app
app.ForceField("amber14-all.xml")
from openmm.app import forcefield
print(len(forcefield._getDataDirectories()))
try:
    app.ForceField("openmmflash/ani1x.xml")
except ImportError as error:
    print("ImportError", error)
"""
        count, message = python(code).splitlines()
        assert int(count) >= 2 and message.startswith("ImportError") and "openmmflash" in message


class TestTopologies:
    def testAnythingOfKnownElements(self, plain, folder):
        """Ligands, several in one residue, without bonds, with equal names, bonds between residues."""
        ligand = molecule([("X", "C"), ("X", "H"), ("X", "H"), ("", "O"), ("X", "N")], [(0, 1), (0, 2), (3, 0)])
        second = ligand.addResidue("MOL", ligand.addChain())
        extra = ligand.addAtom("X", app.element.carbon, second)
        ligand.addBond(list(ligand.atoms())[4], extra)
        positions = np.random.default_rng(1).normal(scale=0.15, size=(6, 3))
        system = plain.createSystem(ligand)
        assert energy(system, positions) == energy(openmmflash.createSystem(ligand, folder / "tiny.safetensors"), positions)
        assert plain.getUnmatchedResidues(ligand) == []

    def testWaterBox(self, plain, solvated, folder):
        """Also under PME, which is said to be a periodic box and no more."""
        expected = energy(openmmflash.createSystem(solvated.topology, folder / "tiny.safetensors"), solvated.positions)
        system = plain.createSystem(solvated.topology, nonbondedMethod=app.CutoffPeriodic)
        assert system.usesPeriodicBoundaryConditions()
        assert energy(system, solvated.positions) == pytest.approx(expected, rel=1e-13)
        with pytest.warns(UserWarning, match="nonbondedMethod=PME means a periodic box here.*0.52 nm"):
            system = plain.createSystem(solvated.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9)
        assert energy(system, solvated.positions) == pytest.approx(expected, rel=1e-13)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
        assert len(context.getMolecules()) == solvated.topology.getNumResidues() - 2, "a barostat must move molecules"
        assert not plain.createSystem(solvated.topology).usesPeriodicBoundaryConditions(), "NoCutoff is OpenMM's default"

    def testUnknownElements(self, plain, solvated):
        salt = molecule([("C", "C"), ("NA", "Na")], [], name="SAL")
        with pytest.raises(ValueError, match=r"Atom 1 \(NA of residue SAL 1, chain 1\) is sodium \(Na\); this model knows H C N O"):
            plain.createSystem(salt)
        with pytest.raises(ValueError, match="has no element: a virtual site"):
            plain.createSystem(molecule([("C", "C"), ("M", None)], []))
        with pytest.raises(ValueError, match="no atoms"):
            plain.createSystem(app.Topology())

    @pytest.mark.parametrize("mapping", ["ca", "5bead"])
    def testBeads(self, mapping, tmp_path):
        """A model of beads takes a Topology of beads: types, masses, priors and all, as createSystem does."""
        path = tmp_path / "protein.safetensors"
        path.write_bytes(proteinModel(mapping))
        openmmflash.writeForceField(tmp_path / "protein.xml", path)
        topology = beadTopology(["AAAAA", "AAAA"], mapping)
        system = app.ForceField(str(tmp_path / "protein.xml")).createSystem(topology)
        expected = openmmflash.createSystem(topology, path)
        assert openmm.XmlSerializer.serialize(system) == openmm.XmlSerializer.serialize(expected)
        assert system.getParticleMass(0)._value != app.element.carbon.mass._value


class TestArguments:
    def testConstraintsToHydrogen(self, lengths, solvated):
        """Lengths by element and number of neighbours, those of water first."""
        found = constraints(lengths.createSystem(solvated.topology, constraints=app.HBonds))
        by = {"C": 0.111, "N": 0.113, "O": 0.098}  # the only oxygens with hydrogen are water's
        bonds = [(a, b) for a, b in solvated.topology.bonds() if "H" in (a.element.symbol, b.element.symbol)]
        heavy = [next(atom.element.symbol for atom in bond if atom.element.symbol != "H") for bond in bonds]
        assert found == {frozenset((a.index, b.index)): by[symbol] for (a, b), symbol in zip(bonds, heavy)}
        formaldehyde = molecule([("C", "C"), ("O", "O"), ("H1", "H"), ("H2", "H")], [(0, 1), (2, 0), (0, 3)])
        assert constraints(lengths.createSystem(formaldehyde, constraints=app.HBonds)) == dict.fromkeys(
            [frozenset((0, 2)), frozenset((0, 3))], 0.112
        )
        methanol = molecule([("C", "C"), ("O", "O"), ("HO", "H")], [(0, 1), (1, 2)])
        assert constraints(lengths.createSystem(methanol, constraints=app.HBonds)) == {frozenset((1, 2)): 0.097}

    def testPlaceholderOfABox(self, plain):
        topology = molecule(*WATER, box=0.1)
        with pytest.raises(ValueError, match="CutoffPeriodic.*placeholder"):
            plain.createSystem(topology, nonbondedMethod=app.CutoffPeriodic)
        assert not plain.createSystem(topology).usesPeriodicBoundaryConditions()

    def testRigidWater(self, lengths):
        water = molecule(*WATER, name="HOH")
        assert constraints(lengths.createSystem(water)) == {}, "flexible by default"
        expected = {frozenset((0, 1)): 0.098, frozenset((0, 2)): 0.098, frozenset((1, 2)): 0.155}
        assert constraints(lengths.createSystem(water, rigidWater=True)) == expected
        assert constraints(lengths.createSystem(water, constraints=app.HAngles)) == expected
        expected.popitem()
        assert constraints(lengths.createSystem(water, constraints=app.HBonds)) == expected
        assert constraints(lengths.createSystem(water, constraints=app.HBonds, flexibleConstraints=True)) == expected

    def testWaterOfAnotherName(self, lengths):
        """OpenMM makes residues called HOH rigid, and no others: nothing would be constrained, silently."""
        water = molecule(*WATER, name="WAT")
        assert constraints(lengths.createSystem(water)) == {}
        with pytest.raises(ValueError, match=r"rigidWater is True, but OpenMM .* HOH, and that of atom 0 is called WAT"):
            lengths.createSystem(water, rigidWater=True)

    def testWriteForceField(self, folder):
        for model in (openmmflash.FlashModel(str(folder / "tiny.safetensors")), None):
            with pytest.raises(TypeError, match=f"model is a {type(model).__name__}; the path of a model file or a model's name is needed"):
                openmmflash.writeForceField(folder / "other.xml", model)

    def testMasses(self, plain):
        """hydrogenMass as with any force field; a centre-of-mass motion remover unless it is not wanted."""
        system = plain.createSystem(PEPTIDE.topology, hydrogenMass=3 * unit.dalton, removeCMMotion=False)
        expected = openmmflash.createSystem(PEPTIDE.topology, plain.getGenerators()[0].model, hydrogenMass=3)
        masses = [[s.getParticleMass(i)._value for i in range(s.getNumParticles())] for s in (system, expected)]
        assert masses[0] == pytest.approx(masses[1])
        assert [type(force).__name__ for force in plain.createSystem(PEPTIDE.topology).getForces()] == ["Force", "CMMotionRemover"]
        assert system.getNumForces() == 1
        with pytest.raises(ValueError, match=r"hydrogenMass is too large: atom CH3 \(0\) of residue ACE "):
            plain.createSystem(PEPTIDE.topology, hydrogenMass=12)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"constraints": app.AllBonds}, r"no reference length for the bond C \(0\)-O \(1\) of residue LIG.*constraints=HBonds or None"),
            ({"constraints": app.HBonds}, r"no length for the bond C \(0\)-H \(2\) of residue LIG; it has those of hydrogen to none"),
            ({"switchDistance": 0.8}, "switchDistance is given: the model has its own"),
            ({"nonbondedMethod": app.PME}, "periodic boundary conditions"),
            ({"nonbondedMethod": "PME"}, "nonbondedMethod is PME; allowed are NoCutoff, CutoffNonPeriodic, CutoffPeriodic"),
            ({"implicitSolvent": 1}, "implicitSolvent"),
            ({"constraints": "HBonds"}, r"constraints is 'HBonds'; openmm.app's HBonds, AllBonds and HAngles, or None, are allowed"),
        ],
    )
    def testRefused(self, plain, arguments, message):
        topology = molecule([("C", "C"), ("O", "O"), ("H", "H")], [(0, 1), (0, 2)])
        if arguments.get("nonbondedMethod") == "PME":
            topology.setUnitCellDimensions(openmm.Vec3(2, 2, 2))
        with pytest.raises(ValueError, match=message):
            plain.createSystem(topology, **arguments)

    def testConstraintsOfATopologyWithoutBonds(self, lengths):
        """Nothing would be constrained; where nothing can be, there is nothing to refuse."""
        water = molecule([("O", "O"), ("H1", "H"), ("H2", "H")], [], name="HOH")
        for arguments in ({"constraints": app.HBonds}, {"rigidWater": True}):
            with pytest.raises(ValueError, match=r"topology has hydrogens and no bonds.*createStandardBonds"):
                lengths.createSystem(water, **arguments)
            assert lengths.createSystem(molecule([("O", "O")], []), **arguments).getNumConstraints() == 0
        assert lengths.createSystem(water, constraints=None, rigidWater=False).getNumConstraints() == 0

    def testAnglesThatHaveNoReference(self, lengths):
        methanol = molecule([("C", "C"), ("H1", "H"), ("H2", "H")], [(0, 1), (0, 2)])
        with pytest.raises(ValueError, match="no reference angle for H1 .1.-C .0.-H2 .2."):
            lengths.createSystem(methanol, constraints=app.HAngles)

    def testOtherForceFields(self, folder):
        """Both would act; in either order it is refused."""
        files = ("amber14-all.xml", str(folder / "plain.xml"))
        for order in (files, files[::-1]):
            with pytest.raises(ValueError, match="cannot stand in one ForceField with other force fields"):
                app.ForceField(*order).createSystem(PEPTIDE.topology)
            templates = {residue: residue.name for residue in PEPTIDE.topology.residues()}  # so that none is looked for
            with pytest.raises(ValueError, match="cannot stand in one ForceField with other force fields"):
                app.ForceField(*order).createSystem(PEPTIDE.topology, residueTemplates=templates)

    @pytest.mark.parametrize(
        ("element", "message"),
        [
            ('<FlashModel name="ani7"/>', 'name="ani7".*the names are ani1x, ani1ccx, ani2x'),
            ("<FlashModel/>", "either name or file"),
            ('<FlashModel name="ani1x" file="x"/>', "either name or file"),
            ('<FlashModel name="ani1x" cutoff="1"/>', "cutoff"),
            ('<FlashModel name="ani1x" members="first"/>', 'members="first".*whole numbers'),
            ('<FlashModel file="/absent/model.safetensors"/>', "/absent/model.safetensors"),
            ('<FlashModel file="{}"><Bond/></FlashModel>', "holds a <Bond>"),
            ('<FlashModel file="{}"><Water OH="0.1"/></FlashModel>', "<Water>: HH is None"),
            ('<FlashModel file="{}"><BondToHydrogen element="C" length="1.09"/></FlashModel>', "length is '1.09'; a length in nm"),
            ('<FlashModel file="{}"><BondToHydrogen length="0.1"/></FlashModel>', "<BondToHydrogen>: element is None; a chemical symbol"),
            ('<FlashModel file="{}"><BondToHydrogen element="Xx" length="0.1"/></FlashModel>', "element is 'Xx'; a chemical symbol"),
            ('<FlashModel file="{}"><BondToHydrogen element="C" neighbors="" length="0.1"/></FlashModel>', "neighbors is ''; one number"),
            ('<FlashModel file="{}"><Water OH="0.1" HH="0.5"/></FlashModel>', "HH is 0.5 nm, and less than twice OH, 0.2 nm, is needed"),
            ('<FlashModel file="{0}"/><FlashModel file="{0}"/>', "two <FlashModel>"),
        ],
    )
    def testWrongXml(self, folder, element, message):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            text = f'<ForceField><Include file="openmmflash/register.xml"/>{element}</ForceField>'
            app.ForceField(io.StringIO(text.format(folder / "tiny.safetensors")))


class TestApplicationLayer:
    def testModeller(self, plain, solvated):
        """What would give nonsense, or nothing, says what to do instead; what has nothing to do does nothing."""
        water = app.Modeller(solvated.topology, solvated.positions)
        water.addExtraParticles(plain)
        assert water.topology.getNumAtoms() == solvated.topology.getNumAtoms()
        modeller = app.Modeller(PEPTIDE.topology, PEPTIDE.positions)
        modeller.delete([atom for atom in modeller.topology.atoms() if atom.element is app.element.hydrogen])
        with pytest.raises(ValueError, match=r"Modeller.addHydrogens .*Call addHydrogens\(\) without a force field"):
            modeller.addHydrogens(plain)
        modeller.addHydrogens(platform=openmm.Platform.getPlatform("Reference"))
        with pytest.raises(ValueError, match="Modeller.addSolvent .*Give it a classical force field"):
            modeller.addSolvent(plain, padding=0.5)
        plain.createSystem(modeller.topology)

    def testSimulationAndSerialization(self, lengths, tmp_path, solvated):
        system = lengths.createSystem(solvated.topology, nonbondedMethod=app.CutoffPeriodic, rigidWater=True, hydrogenMass=2 * unit.dalton)
        xml = openmm.XmlSerializer.serialize(system)
        assert openmm.XmlSerializer.serialize(openmm.XmlSerializer.deserialize(xml)) == xml
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0005)
        integrator.setRandomNumberSeed(1)
        simulation = app.Simulation(solvated.topology, system, integrator, openmm.Platform.getPlatform("CPU"))
        simulation.context.setPositions(solvated.positions)
        simulation.minimizeEnergy(maxIterations=3)
        simulation.reporters += [
            app.DCDReporter(str(tmp_path / "out.dcd"), 2),
            app.PDBReporter(str(tmp_path / "out.pdb"), 4),
            app.StateDataReporter(str(tmp_path / "out.csv"), 2, step=True, potentialEnergy=True, temperature=True, density=True),
            app.CheckpointReporter(str(tmp_path / "out.chk"), 4),
        ]
        simulation.step(4)
        simulation.reporters.clear()  # closes their files
        assert app.PDBFile(str(tmp_path / "out.pdb")).topology.getNumAtoms() == solvated.topology.getNumAtoms()
        rows = np.loadtxt(tmp_path / "out.csv", delimiter=",")
        assert len(rows) == 2 and np.isfinite(rows).all()
        positions = simulation.context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        for pair, length in constraints(system).items():
            a, b = pair
            assert np.linalg.norm(positions[a] - positions[b]) == pytest.approx(length, rel=1e-4)
        simulation.loadCheckpoint(str(tmp_path / "out.chk"))


@pytest.fixture
def weights(request, tmp_path, monkeypatch):
    """weights(name): skip the test where a model is neither installed nor among the reference data."""

    def weights(name):
        try:
            models.findSource(name)
        except models.ModelNotFoundError:
            source = request.getfixturevalue("shared") / "models" / "torchani"
            monkeypatch.setenv("TORCHANI_DATA_DIR", str(tmp_path))
            monkeypatch.setenv("OPENMMFLASH_CACHE", str(tmp_path / "cache"))
            for folder, file in (("Neurochem", "ani-1ccx_8x"), ("StateDicts", "ani2x_state_dict.pt")):
                (tmp_path / folder).mkdir()
                (tmp_path / folder / file).symlink_to(source / file)
            needs(name)

    return weights


@pytest.mark.parametrize("name", NAMED)
def testLengthsAreTheModels(name, weights):
    """The lengths in the XML files are those of molecules that the model itself has minimised, to a thousandth of a nanometre."""
    weights(name)
    generator = app.ForceField(f"openmmflash/{name}.xml").getGenerators()[0]
    assert {symbol for symbol, _ in generator.bondLengths} == set(NAMED[name].split()) - {"H"}
    build = pytest.importorskip("ase.build")
    molecules = {"H2O": None, "CH4": ("C", 4), "C6H6": ("C", 3), "C2H2": ("C", 2), "H3CNH2": ("N", 3), "CH3OH": ("O", 2)}
    molecules |= {"SH2": ("S", 2), "HF": ("F", 1), "HCl": ("Cl", 1)} if "S" in NAMED[name] else {}
    for formula, key in molecules.items():
        atoms = build.molecule(formula)
        symbols = atoms.get_chemical_symbols()
        topology = molecule([(symbol, symbol) for symbol in symbols], [])
        context = openmm.Context(
            openmmflash.createSystem(topology, generator.model), openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
        )
        positions = relaxed(context, atoms.positions / 10)
        distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
        hydrogens = [i for i, symbol in enumerate(symbols) if symbol == "H"]
        if key is None:
            oxygen = symbols.index("O")
            assert generator.water[0] == pytest.approx(distances[oxygen, hydrogens].mean(), abs=1e-4)
            assert generator.water[1] == pytest.approx(distances[hydrogens[0], hydrogens[1]], abs=2e-4)
            continue
        heavy = symbols.index(key[0])
        bonded = [distances[heavy, i] for i in hydrogens if distances[heavy, i] < 0.15]
        expected = generator.bondLengths.get(key, generator.bondLengths.get((key[0], None)))
        assert expected == pytest.approx(np.mean(bonded), abs=1e-3), formula


def relaxed(context, positions):
    """Positions of the next minimum, by steps that stay small."""
    optimize = pytest.importorskip("scipy.optimize")

    def evaluate(x):
        context.setPositions(x.reshape(-1, 3))
        state = context.getState(energy=True, forces=True)
        gradient = -state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer).ravel()
        return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / 100, gradient / 100

    start = positions.ravel()
    result = optimize.minimize(evaluate, start, jac=True, method="L-BFGS-B", bounds=[(x - 0.03, x + 0.03) for x in start])
    return result.x.reshape(-1, 3)


def withoutHydrogens(keep=lambda atom: False):
    part = app.Modeller(PEPTIDE.topology, PEPTIDE.positions)
    part.delete([atom for atom in PEPTIDE.topology.atoms() if atom.element is app.element.hydrogen and not keep(atom)])
    return part.topology


@pytest.mark.parametrize("kind", ["createSystem", "ForceField", "MLPotential"])
def testMissingHydrogens(folder, plain, kind):
    """A structure without hydrogens is another molecule, which no force field would know: there is a warning, whatever makes the System."""
    path = folder / "tiny.safetensors"
    if kind == "MLPotential":
        create = pytest.importorskip("openmmml", reason="needs openmmml").MLPotential("flash", modelPath=path).createSystem
    else:
        create = plain.createSystem if kind == "ForceField" else lambda topology: openmmflash.createSystem(topology, path)
    all_, few = withoutHydrogens(), withoutHydrogens(lambda atom: atom.name not in ("HB2", "HB3"))
    cases = {
        r"missing in 3 of 3 residues \(at least 10\); first ACE 1 of chain A: it has 0, at least 3 are expected.*addHydrogens": all_,
        "missing in 1 of 3 .*first ALA 2 of chain A: it has 3, at least 4 are expected": few,
        "has 4 carbons and no hydrogen at all": molecule([(f"C{i}", "C") for i in range(4)], [(0, 1), (1, 2), (2, 3)]),
    }
    for message, topology in cases.items():
        with pytest.warns(UserWarning, match=message):
            create(topology)
    fine = [
        PEPTIDE.topology,
        molecule([("C", "C")], []),
        molecule([("O", "O")], []),
        molecule([("C", "C"), ("O1", "O"), ("O2", "O")], [(0, 1), (0, 2)]),
        molecule([("C", "C"), ("H1", "H"), ("H2", "H"), ("H3", "H")], [(0, 1), (0, 2), (0, 3)]),
        molecule([("O", "O"), ("H1", "H")], [(0, 1)]),
        molecule([("N", "N"), ("N2", "N")], [(0, 1)]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for topology in fine:
            create(topology)
