# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""createMixedSystem: a model within some molecules, a classical force field for the rest, and the way between both."""

import copy
import re

import numpy as np
import openmm
import pytest
from mixed_cases import EXAMPLES, Evaluation, classical, flashForce, peptideAtoms, python, solvatedPeptide, subset
from openmm import app, unit
from protein_beads import proteinModel
from small_models import writeAni

import openmmflash
from openmmflash import createMixedSystem
from openmmflash._scaledforces import scaledForces

LAMBDA = "lambda_interpolate"
# Beside the force field's own: files of the force field, arguments, and how well lambda = 0 is the force field. With Ewald summation a pair
# is left out up to the tolerance of the sum. LJPME also has dispersion beyond its cutoff by a combination rule of its own.
METHODS = {
    "NoCutoff": ({"nonbondedMethod": app.NoCutoff}, 1e-9),
    "CutoffNonPeriodic": ({"nonbondedMethod": app.CutoffNonPeriodic}, 1e-9),
    "CutoffPeriodic": ({"nonbondedMethod": app.CutoffPeriodic, "switchDistance": 0.6}, 1e-9),
    "PME": ({"nonbondedMethod": app.PME, "ewaldErrorTolerance": 1e-6}, 0.01),
    "LJPME": ({"nonbondedMethod": app.LJPME, "ewaldErrorTolerance": 1e-6}, 0.05),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    writeAni(path, members=2)
    return path


@pytest.fixture(scope="module")
def solvated():
    return solvatedPeptide()


@pytest.fixture(scope="module")
def chosen(solvated):
    """The peptide and two molecules of water, far apart, in an order of their own."""
    waters = [residue for residue in solvated.topology.residues() if residue.name == "HOH"]
    atoms = peptideAtoms(solvated.topology) + [atom.index for water in (waters[3], waters[40]) for atom in water.atoms()]
    return np.random.default_rng(2).permutation(atoms).tolist()


@pytest.mark.parametrize("method", METHODS)
def testEnergies(solvated, chosen, path, method):
    """U(MM) - U(MM of the chosen atoms) + U(model of them); lambda between both, and dU/dlambda."""
    arguments, tolerance = METHODS[method]
    topology, positions = solvated.topology, solvated.positions
    system = classical(topology, **arguments)
    before = openmm.XmlSerializer.serialize(system)
    mm = Evaluation(system, positions)
    mixed = Evaluation(createMixedSystem(topology, system, chosen, path), positions)
    assert openmm.XmlSerializer.serialize(system) == before, "the classical system is not to change"

    if method not in ("PME", "LJPME"):  # where the sum has pairs that the cutoff leaves out
        part = subset(solvated, chosen)
        alone = classical(part.topology, **arguments)
        for force in alone.getForces():
            if isinstance(force, openmm.NonbondedForce):
                force.setUseDispersionCorrection(False)  # that of the whole system stays
        periodic = app.CutoffPeriodic if system.usesPeriodicBoundaryConditions() else app.NoCutoff
        model = openmmflash.createSystem(part.topology, path, nonbondedMethod=periodic)
        inner, outer = (Evaluation(system, part.positions).energy for system in (alone, model))
        assert mixed.energy == pytest.approx(mm.energy - inner + outer, abs=1e-7)

    way = Evaluation(createMixedSystem(topology, system, chosen, path, interpolate=True), positions)
    assert way.energy == pytest.approx(mixed.energy, abs=1e-9) and way.forces == pytest.approx(mixed.forces, abs=1e-9)
    slope = way.derivatives[LAMBDA]
    way.at(**{LAMBDA: 0.0})
    assert way.energy == pytest.approx(mm.energy, abs=tolerance)
    scale = np.sqrt((mm.forces**2).mean())
    assert np.abs(way.forces - mm.forces).max() < max(tolerance, 1e-8) * scale
    assert slope == pytest.approx(mixed.energy - way.energy, rel=1e-12), "U is linear in lambda"


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def testDerivativeIsTheDifference(solvated, path, platform):
    """dU/dlambda against finite differences to 1e-5, at several values of lambda."""
    system = createMixedSystem(
        solvated.topology, classical(solvated.topology, nonbondedMethod=app.PME), peptideAtoms(solvated.topology), path, interpolate=True
    )
    way = Evaluation(system, solvated.positions, platform)
    step = 0.25
    for value in (0.25, 0.5, 0.75):
        slope = way.at(**{LAMBDA: value}).derivatives[LAMBDA]
        difference = (way.at(**{LAMBDA: value + step}).energy - way.at(**{LAMBDA: value - step}).energy) / (2 * step)
        assert slope == pytest.approx(difference, rel=1e-5)
        assert abs(slope) > 1000, "it must mean something"


def testEveryKindOfTerm():
    """The scaled force of each kind has (1 - lambda) times its energy and forces, and the derivative."""
    random = np.random.default_rng(4)
    positions = random.normal(scale=0.2, size=(9, 3)) + np.arange(9)[:, None] * [0.1, 0.05, 0.0]
    bonds, angles, torsions = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    ryckaert, maps = openmm.RBTorsionForce(), openmm.CMAPTorsionForce()
    custom = [
        openmm.CustomBondForce("k*d^4; d = r - 0.1*scale"),
        openmm.CustomAngleForce("k*sin(theta)"),
        openmm.CustomTorsionForce("k*theta^2"),
        openmm.CustomCompoundBondForce(3, "k*distance(p1, p2)*angle(p1, p2, p3)"),
    ]
    for force, add in zip(custom, ("PerBond", "PerAngle", "PerTorsion", "PerBond")):
        getattr(force, f"add{add}Parameter")("k")
    custom[0].addGlobalParameter("scale", 1.7)
    for size in (12, 24):
        maps.addMap(size, random.normal(size=size * size).tolist())
    for i in range(5):
        bonds.addBond(i, i + 1, 0.1 + 0.01 * i, 1000.0 + i)
        angles.addAngle(i, i + 1, i + 2, 1.5 + 0.1 * i, 100.0 + i)
        torsions.addTorsion(i, i + 1, i + 2, i + 3, i + 1, 0.3 * i, 5.0 + i)
        ryckaert.addTorsion(i, i + 1, i + 2, i + 3, *random.normal(size=6).tolist())
        custom[0].addBond(i, i + 2, [3000.0 + i])
        custom[1].addAngle(i, i + 1, i + 2, [20.0 + i])
        custom[2].addTorsion(i, i + 1, i + 2, i + 3, [2.0 + i])
        custom[3].addBond([i, i + 1, i + 3], [30.0 + i])
        maps.addTorsion(i % 2, *random.permutation(9)[:8].tolist())
    for force in (bonds, angles, torsions, ryckaert, maps, *custom):
        force.setForceGroup(3)
        plain, scaled = openmm.System(), openmm.System()
        for _ in range(9):
            plain.addParticle(1)
            scaled.addParticle(1)
        plain.addForce(copy.deepcopy(force))
        for made in scaledForces(copy.deepcopy(force), "x"):
            assert made.getForceGroup() == 3
            scaled.addForce(made)
        expected, found = Evaluation(plain, positions), Evaluation(scaled, positions, x=0.0)
        name = type(force).__name__
        assert abs(expected.energy) > 0.1, name
        assert found.energy == pytest.approx(expected.energy, rel=1e-10), name
        assert np.abs(found.forces - expected.forces).max() < 1e-8 * np.abs(expected.forces).max(), name
        assert found.derivatives["x"] == pytest.approx(-expected.energy, rel=1e-10), name
        found.at(x=0.25)
        assert found.energy == pytest.approx(0.75 * expected.energy, rel=1e-10), name


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.parametrize("kind", ["plain", "groups", "table"])
def testCustomNonbonded(solvated, path, kind, platform):
    """A CustomNonbondedForce loses the pairs of the chosen atoms, and has them at lambda = 0; so with overlapping groups, with tables."""
    topology, atoms = solvated.topology, peptideAtoms(solvated.topology)
    system = classical(topology, nonbondedMethod=app.CutoffPeriodic)
    (nonbonded,) = [force for force in system.getForces() if isinstance(force, openmm.NonbondedForce)]
    function = "table(q1, q2)" if kind == "table" else "(q1 + q2)"
    force = openmm.CustomNonbondedForce(f"strength*{function}*exp(-5*r)/x; strength = 1000*s; x = 2;")
    force.addGlobalParameter("s", 1.0)
    force.addPerParticleParameter("q")
    if kind == "table":
        force.addTabulatedFunction("table", openmm.Discrete2DFunction(3, 3, [0.0, 1, 2, 1, 5, 3, 2, 3, 4]))
        force.setUseSwitchingFunction(True)
        force.setSwitchingDistance(0.5)
    force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(0.8)
    for i in range(topology.getNumAtoms()):
        force.addParticle([i % 3])
    for k in range(nonbonded.getNumExceptions()):
        force.addExclusion(*nonbonded.getExceptionParameters(k)[:2])
    if kind == "groups":
        force.addInteractionGroup(range(200), range(10, 400))
        force.addInteractionGroup(range(5), range(15, 30))
    system.addForce(force)
    mm = Evaluation(system, solvated.positions, platform)
    mixed = Evaluation(createMixedSystem(topology, system, atoms, path), solvated.positions, platform)
    scale = np.sqrt((mm.forces**2).mean())
    way = Evaluation(createMixedSystem(topology, system, atoms, path, interpolate=True), solvated.positions, platform)
    for expected, value in ((mixed, 1.0), (mm, 0.0)):
        way.at(**{LAMBDA: value})
        # The CPU platform adds up single precision; the model's energy is a large number.
        assert way.energy == pytest.approx(expected.energy, abs=1e-7 if platform == "Reference" else 0.05)
        assert np.abs(way.forces - expected.forces).max() < (1e-9 if platform == "Reference" else 1e-3) * scale
    system.removeForce(system.getNumForces() - 1)
    without = Evaluation(createMixedSystem(topology, system, atoms, path, interpolate=True), solvated.positions, platform)
    if kind != "groups":
        assert abs(without.derivatives[LAMBDA] - way.derivatives[LAMBDA]) > 1, "the pairs mean something"


def testSystemAround(solvated, path):
    """Order of atoms, force groups, molecules for a barostat, forces in their places, XML in a new process."""
    topology, atoms = solvated.topology, peptideAtoms(solvated.topology)[::-1]
    system = classical(topology, nonbondedMethod=app.PME)
    system.addForce(openmm.MonteCarloBarostat(1, 300))
    for interpolate in (False, True):
        mixed = createMixedSystem(topology, system, atoms, path, interpolate, forceGroup=7)
        force = flashForce(mixed)
        assert [force.getParticleParameters(i)[0] for i in range(force.getNumParticles())] == atoms
        assert force.getForceGroup() == 7 and force.usesPeriodicBoundaryConditions()
        kinds = [type(force) for force in system.getForces()]
        assert [type(force) for force in mixed.getForces()][: len(kinds)] == kinds
        evaluation = Evaluation(mixed, solvated.positions)
        assert len(evaluation.context.getMolecules()) == topology.getNumResidues() - 2, "the peptide's three residues are one molecule"
    xml, state = openmm.XmlSerializer.serialize(mixed), evaluation.at(**{LAMBDA: 0.4})
    code = (
        "import sys\n"
        "sys.modules['openmmml'] = None\n"
        "import openmmflash, numpy as np\n"
        "from openmm import *\n"
        "system = XmlSerializer.deserialize(open({xml!r}).read())\n"
        "context = Context(system, VerletIntegrator(0.001), Platform.getPlatform('Reference'))\n"
        "context.setPositions(np.load({positions!r}))\n"
        "context.setParameter('lambda_interpolate', 0.4)\n"
        "print(context.getState(energy=True).getPotentialEnergy()._value)"
    )
    folder = path.parent
    (folder / "mixed.xml").write_text(xml)
    np.save(folder / "positions.npy", np.array(solvated.positions.value_in_unit(unit.nanometer)))
    printed = python(code.format(xml=str(folder / "mixed.xml"), positions=str(folder / "positions.npy")))
    assert float(printed) == state.energy


def testConstraints(solvated, path):
    """Between chosen atoms they go, if wanted; a way to a force field that would not hold the atoms is refused."""
    topology, atoms = solvated.topology, set(peptideAtoms(solvated.topology))

    def counts(system):
        pairs = [system.getConstraintParameters(i)[:2] for i in range(system.getNumConstraints())]
        return len(pairs), sum(a in atoms and b in atoms for a, b in pairs)

    rigid = classical(topology, constraints=app.HBonds, rigidWater=True)
    total, inside = counts(rigid)
    assert inside == 12
    assert counts(createMixedSystem(topology, rigid, atoms, path)) == (total - inside, 0)
    assert counts(createMixedSystem(topology, rigid, atoms, path, removeConstraints=False)) == (total, inside)
    assert counts(createMixedSystem(topology, rigid, atoms, path, interpolate=True, removeConstraints=False)) == (total, inside)
    with pytest.raises(
        ValueError, match=r"are constrained, and the force field has no energy for their distance.*flexibleConstraints=True"
    ):
        createMixedSystem(topology, rigid, atoms, path, interpolate=True)
    held = classical(topology, constraints=app.HBonds, rigidWater=True, flexibleConstraints=True)
    assert counts(createMixedSystem(topology, held, atoms, path, interpolate=True)) == (total - inside, 0)
    water = [atom.index for atom in next(r for r in topology.residues() if r.name == "HOH").atoms()]
    createMixedSystem(topology, held, water, path, interpolate=True)
    with pytest.raises(ValueError, match="are constrained"):
        createMixedSystem(topology, rigid, water, path, interpolate=True)


def ownForces(i, j, k, m):
    """What users add: (force, whether a term of chosen atoms alone stays)."""
    harmonic, angle, torsion, ryckaert = (
        openmm.HarmonicBondForce(),
        openmm.HarmonicAngleForce(),
        openmm.PeriodicTorsionForce(),
        openmm.RBTorsionForce(),
    )
    bond, bend, umbrella = openmm.CustomBondForce("r"), openmm.CustomAngleForce("theta"), openmm.CustomTorsionForce("theta^2")
    compound, outside = openmm.CustomCompoundBondForce(2, "distance(p1, p2)"), openmm.CustomExternalForce("x^2")
    centroid = openmm.CustomCentroidBondForce(2, "distance(g1, g2)")
    harmonic.addBond(i, j, 0.1, 1)
    angle.addAngle(i, j, k, 1, 1)
    torsion.addTorsion(i, j, k, m, 1, 0, 1)
    ryckaert.addTorsion(i, j, k, m, 1, 0, 1, 0, 0, 0)
    bond.addBond(i, j, [])
    bend.addAngle(i, j, k, [])
    umbrella.addTorsion(i, j, k, m, [])
    compound.addBond([i, j], [])
    outside.addParticle(i, [])
    centroid.addBond([centroid.addGroup([i, j]), centroid.addGroup([k, m])], [])
    gone = [(force, False) for force in (harmonic, angle, torsion, ryckaert, bond, bend, umbrella, compound)]
    return [*gone, (outside, True), (centroid, True)]


def numTerms(force):
    return next(
        getattr(force, f"getNum{what}")() for what in ("Bonds", "Angles", "Torsions", "Particles") if hasattr(force, f"getNum{what}")
    )


def testRestraints(solvated, path):
    """What goes and what stays of a user's own forces is what docs/openmm-ml.md says; between chosen and other atoms all stays."""
    topology, atoms = solvated.topology, peptideAtoms(solvated.topology)
    for others, crossing in ((atoms[:4], False), ([*atoms[:3], len(atoms) + 1], True)):
        own = classical(topology)
        before = own.getNumForces()
        forces = ownForces(*(others[::-1] if crossing else others))
        for force, _ in forces:
            own.addForce(copy.deepcopy(force))
        mixed = createMixedSystem(topology, own, atoms, path)
        for i, (force, stays) in enumerate(forces):
            found = numTerms(mixed.getForce(before + i))
            assert found == (numTerms(force) if stays or crossing else 0), type(force).__name__
    page = (EXAMPLES.parent / "docs" / "openmm-ml.md").read_text()
    rows = {
        kind: row.split("|")[2]
        for row in page.splitlines()
        if row.startswith("| `")
        for kind in re.findall("`([A-Za-z]+Force)`", row.split("|")[1])
    }
    for force, stays in forces:
        assert ("stay" in rows[type(force).__name__]) == stays, type(force).__name__


def twoWaters(distance):
    """(topology, positions) of two molecules of water, as far apart along x."""
    topology, water = app.Topology(), np.array([[0, 0, 0], [0.0957, 0, 0], [-0.024, 0.0927, 0]])
    chain = topology.addChain()
    for _ in range(2):
        residue = topology.addResidue("HOH", chain)
        oxygen, *hydrogens = (topology.addAtom(name, app.Element.getBySymbol(name[0]), residue) for name in ("O", "H1", "H2"))
        for hydrogen in hydrogens:
            topology.addBond(oxygen, hydrogen)
    return topology, np.concatenate([water, water + [distance, 0, 0]])


def testVirtualSites(path):
    """Sites that the model does not see go with the atoms that they are made of: where all is chosen, the model alone is left."""
    topology, positions = twoWaters(0.3)
    modeller = app.Modeller(topology, positions * unit.nanometer)
    modeller.addExtraParticles(app.ForceField("amber14/tip4pew.xml"))
    sites = modeller.topology
    system = classical(sites, ("amber14/tip4pew.xml",), nonbondedMethod=app.NoCutoff)
    own = openmm.CustomNonbondedForce("x1*x2/r + y1; y1 = 2*x2*x1")  # names that bonds have for coordinates
    own.addPerParticleParameter("x")
    for i in range(8):
        own.addParticle([i])
    nonbonded = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    for k in range(nonbonded.getNumExceptions()):
        own.addExclusion(*nonbonded.getExceptionParameters(k)[:2])
    system.addForce(own)
    atoms = [atom.index for atom in sites.atoms() if atom.element is not None]
    model, mm = Evaluation(openmmflash.createSystem(topology, path), positions), Evaluation(system, modeller.positions)
    for interpolate in (False, True):
        mixed = Evaluation(createMixedSystem(sites, system, atoms, path, interpolate), modeller.positions)
        assert mixed.energy == pytest.approx(model.energy, abs=1e-9)
    assert mixed.at(**{LAMBDA: 0.0}).energy == pytest.approx(mm.energy, abs=1e-9)
    assert abs(mm.energy) > 10
    with pytest.raises(ValueError, match=r"Atom 3 \(M .*has no element.*leave it out of `atoms`"):
        createMixedSystem(sites, system, range(8), path)
    system.setVirtualSite(3, openmm.TwoParticleAverageSite(0, 4, 0.5, 0.5))
    with pytest.raises(ValueError, match=r"Atom 3 .*virtual site of atoms 0, 4, of which only some are among the atoms"):
        createMixedSystem(sites, system, atoms[:3], path)


def testPeriodicityIsThatOfPairs(path):
    """A restraint that knows of a box makes neither the model nor the scaled pairs of an open system periodic."""
    topology, positions = twoWaters(1.75)  # close through the default box of 2 nm
    model = Evaluation(openmmflash.createSystem(topology, path), positions).energy
    system = classical(topology, nonbondedMethod=app.NoCutoff)
    expected = Evaluation(system, positions).energy
    restraint = openmm.CustomExternalForce("0*periodicdistance(x, y, z, 0, 0, 0)^2")
    restraint.addParticle(0, [])
    system.addForce(restraint)
    mixed = Evaluation(createMixedSystem(topology, system, range(6), path, interpolate=True), positions)
    assert mixed.energy == pytest.approx(model, abs=1e-9)
    assert mixed.at(**{LAMBDA: 0.0}).energy == pytest.approx(expected, abs=1e-9)


def testMoleculesStayApart(solvated, chosen, path):
    """Pairs that are scaled are no bonds: a barostat and wrapping take several chosen molecules as several."""
    system = classical(solvated.topology, nonbondedMethod=app.PME)
    own = openmm.CustomNonbondedForce("1/r")
    own.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffPeriodic)
    own.setCutoffDistance(0.8)
    for _ in range(solvated.topology.getNumAtoms()):
        own.addParticle([])
    nonbonded = next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))
    for k in range(nonbonded.getNumExceptions()):
        own.addExclusion(*nonbonded.getExceptionParameters(k)[:2])
    system.addForce(own)
    for interpolate in (False, True):
        mixed = Evaluation(createMixedSystem(solvated.topology, system, chosen, path, interpolate), solvated.positions)
        assert len(mixed.context.getMolecules()) == solvated.topology.getNumResidues() - 2


def withoutBonds(topology):
    bare = copy.deepcopy(topology)
    bare._bonds = []
    return bare


def testTopologyWithoutBonds(solvated, path):
    """The System tells the molecules, too: which bonds would be cut, and what a barostat moves as a whole."""
    topology, atoms = withoutBonds(solvated.topology), peptideAtoms(solvated.topology)
    flexible = classical(solvated.topology, nonbondedMethod=app.PME)
    rigid = classical(solvated.topology, nonbondedMethod=app.PME, constraints=app.HBonds)
    for system in (flexible, rigid):
        mixed = createMixedSystem(topology, system, atoms, path)
        evaluation = Evaluation(mixed, solvated.positions)
        assert len(evaluation.context.getMolecules()) == topology.getNumResidues() - 2
    with pytest.raises(ValueError, match=r"Atom 4 .* is bonded, in the system, to atom 6"):
        createMixedSystem(topology, flexible, range(6), path)
    with pytest.raises(ValueError, match=r"Atom 0 .* is constrained to atom 3"):
        createMixedSystem(topology, rigid, range(3), path)
    held = openmm.System()
    for _ in range(2):
        held.addParticle(1)
    pair = openmm.HarmonicBondForce()
    pair.addBond(0, 1, 0.1, 1)
    held.addForce(pair)
    two = app.Topology()
    for _ in range(2):
        two.addAtom("H", app.element.hydrogen, two.addResidue("H", two.addChain()))
    with pytest.raises(ValueError, match=r"Atom 0 .* is bonded, in the system, to atom 1"):
        createMixedSystem(two, held, [0], path)


@pytest.fixture(scope="module")
def system(solvated):
    return classical(solvated.topology)


class TestRefused:
    @pytest.mark.parametrize(
        ("atoms", "message"),
        [
            ([], "atoms is empty"),
            ([0, 1, 0], "atoms has 0 twice"),
            ([0, 100000], "atoms has 100000; indices of the topology's"),
            ([-1], "atoms has -1"),
            ([0.5], "atoms has 0.5"),
            (5, r"atoms is 5; a list of indices is needed"),
            (range(6), r"Atom 4 .*is bonded to atom 6 .*OpenMM-ML put link atoms there"),
        ],
    )
    def testAtoms(self, solvated, system, path, atoms, message):
        with pytest.raises(ValueError, match=message):
            createMixedSystem(solvated.topology, system, atoms, path)

    def testSystems(self, solvated, system, path):
        atoms = peptideAtoms(solvated.topology)
        with pytest.raises(ValueError, match="system has 22 particles and the topology"):
            createMixedSystem(solvated.topology, classical(subset(solvated, atoms).topology), atoms, path)
        foreign = copy.deepcopy(system)
        foreign.addForce(openmm.GayBerneForce())
        with pytest.raises(ValueError, match=r"Force 5 \(GayBerneForce\) is a GayBerneForce.*cannot be taken out"):
            createMixedSystem(solvated.topology, foreign, atoms, path)
        taken = copy.deepcopy(system)
        restraint = openmm.CustomExternalForce(f"{LAMBDA}*x^2")
        restraint.addGlobalParameter(LAMBDA, 1.0)
        taken.addForce(restraint)
        createMixedSystem(solvated.topology, taken, atoms, path)
        with pytest.raises(ValueError, match=f"CustomExternalForce has a global parameter '{LAMBDA}' already"):
            createMixedSystem(solvated.topology, taken, atoms, path, interpolate=True)
        createMixedSystem(solvated.topology, taken, atoms, path, interpolate=True, parameter="lambda_model")
        offset = copy.deepcopy(system)
        nonbonded = next(force for force in offset.getForces() if isinstance(force, openmm.NonbondedForce))
        nonbonded.addGlobalParameter("charge", 1.0)
        nonbonded.addParticleParameterOffset("charge", 5, 1.0, 0.0, 0.0)
        with pytest.raises(ValueError, match="parameter offset for atom 5"):
            createMixedSystem(solvated.topology, offset, atoms, path)

    @pytest.mark.parametrize("name", ["k", "theta0", "q", "epsilon", "r", "theta", "n", "x3", "a b", "1a"])
    def testNamesWithinExpressions(self, solvated, system, path, name):
        """In an expression such a name is a bond's constant or a coordinate, and the energy would silently be another one."""
        atoms, own = peptideAtoms(solvated.topology), copy.deepcopy(system)
        triple = openmm.CustomCompoundBondForce(3, "1e3*distance(p1, p2)")
        triple.addBond([0, 1, 2], [])
        own.addForce(triple)
        createMixedSystem(solvated.topology, own, atoms, path, parameter=name)  # where it plays no role
        with pytest.raises(ValueError, match=f"parameter='{name}'.*(has something else by this name|a name of letters)"):
            createMixedSystem(solvated.topology, own, atoms, path, interpolate=True, parameter=name)

    def testNamesThatAreFree(self, solvated, system, path):
        """Neither is a number's exponent a name, nor the part of one."""
        atoms, own = peptideAtoms(solvated.topology), copy.deepcopy(system)
        bond = openmm.CustomBondForce("1e3*strength*r^2; strength = 2.e1")
        bond.addBond(0, 1, [])
        own.addForce(bond)
        expected = Evaluation(own, solvated.positions).energy
        for name in ("e3", "e1", "streng", "R"):
            way = Evaluation(createMixedSystem(solvated.topology, own, atoms, path, True, name), solvated.positions)
            assert way.at(**{name: 0.0}).energy == pytest.approx(expected, abs=1e-7)

    def testComputedValues(self, solvated, system, path):
        foreign = copy.deepcopy(system)
        force = openmm.CustomNonbondedForce("c1*c2")
        force.addComputedValue("c", "x")
        for _ in range(solvated.topology.getNumAtoms()):
            force.addParticle([])
        foreign.addForce(force)
        createMixedSystem(solvated.topology, foreign, peptideAtoms(solvated.topology), path)
        with pytest.raises(ValueError, match="computed values"):
            createMixedSystem(solvated.topology, foreign, peptideAtoms(solvated.topology), path, interpolate=True)

    def testGlobalParameterThatABondHasForACoordinate(self, solvated, system, path):
        foreign, force = copy.deepcopy(system), openmm.CustomNonbondedForce("z2/r")
        force.addGlobalParameter("z2", 1.0)
        for _ in range(solvated.topology.getNumAtoms()):
            force.addParticle([])
        foreign.addForce(force)
        with pytest.raises(ValueError, match="global parameter 'z2', which is a coordinate where it is scaled"):
            createMixedSystem(solvated.topology, foreign, peptideAtoms(solvated.topology), path, interpolate=True)

    def testASecondModel(self, solvated, system, path):
        """On the same atoms two models would add up; on others they may be."""
        topology, atoms = solvated.topology, peptideAtoms(solvated.topology)
        waters = [[atom.index for atom in residue.atoms()] for residue in topology.residues() if residue.name == "HOH"]
        once = createMixedSystem(topology, system, [*atoms, *waters[3]], path)
        for again in (atoms, waters[3], [*waters[4], *waters[3]]):
            with pytest.raises(
                ValueError, match=rf"Atom {min(set(again) & {*atoms, *waters[3]})} .*is in a FlashForce of the system already"
            ):
                createMixedSystem(topology, once, again, path)
        twice = createMixedSystem(topology, once, waters[4], path)
        assert sum(openmmflash.FlashForce.isinstance(force) for force in twice.getForces()) == 2

    def testNoDirectSpace(self, solvated, path):
        system = classical(solvated.topology, nonbondedMethod=app.PME)
        next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce)).setIncludeDirectSpace(False)
        atoms = peptideAtoms(solvated.topology)
        createMixedSystem(solvated.topology, system, atoms, path)
        with pytest.raises(ValueError, match=r"setIncludeDirectSpace\(False\)"):
            createMixedSystem(solvated.topology, system, atoms, path, interpolate=True)

    def testOrderOfArguments(self, solvated, system, path):
        for first, second in ((system, solvated.topology), (solvated.topology, None), (solvated, system)):
            with pytest.raises(TypeError, match="an openmm.app.Topology and then an openmm.System are needed"):
                createMixedSystem(first, second, [0], path)

    def testModels(self, solvated, system, path, tmp_path):
        (tmp_path / "beads.safetensors").write_bytes(proteinModel("ca"))
        with pytest.raises(ValueError, match="needs a model of elements"):
            createMixedSystem(solvated.topology, system, peptideAtoms(solvated.topology), tmp_path / "beads.safetensors")
        salt = app.Topology()
        salt.addAtom("NA", app.element.sodium, salt.addResidue("NA", salt.addChain()))
        ion = openmm.System()
        ion.addParticle(23)
        with pytest.raises(ValueError, match=r"Atom 0 \(NA of residue NA .* is sodium"):
            createMixedSystem(salt, ion, [0], path)
