# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""createSystem: from topologies and structures, with replicas, priors and boxes; and what it refuses."""

import warnings

import numpy as np
import openmm
import pytest
from mlcg_reference import evaluate, referenceContext
from openmm import app, unit
from random_models import ATOMS, aniParts, makeModel, schnetParts

import openmmflash
from openmmflash import FlashForce, FlashModel, models
from openmmflash.convert._writer import modelBytes, writeModel
from openmmflash.structurefile import Structure, StructureError, Terms, writeStructure
from openmmflash.system import tilePositions, tileTopology

ELEMENT = app.element.Element.getBySymbol
METHANOL = [("C", "C"), ("O", "O"), ("H1", "H"), ("H2", "H"), ("H3", "H"), ("HO", "H")]
METHANOL_BONDS = [(0, 1), (0, 2), (3, 0), (0, 4), (5, 1)]
METHANOL_POSITIONS = np.array(
    [[0.0, 0, 0], [0.142, 0, 0], [-0.04, 0.1, 0.0], [-0.04, -0.05, 0.09], [-0.04, -0.05, -0.09], [0.18, 0.05, 0.07]]
)  # nm


def topology(atoms=METHANOL, bonds=METHANOL_BONDS, box=None, copies=1):
    result = app.Topology()
    chain = result.addChain("A")
    for number in range(copies):
        residue = result.addResidue("MOH", chain, str(number + 1))
        added = [result.addAtom(name, ELEMENT(symbol) if symbol else None, residue) for name, symbol in atoms]
        for i, j in bonds:
            result.addBond(added[i], added[j])
    if box is not None:
        result.setPeriodicBoxVectors(np.asarray(box) * unit.nanometer)
    return result


def flashForce(system):
    (force,) = [FlashForce.cast(force) for force in system.getForces() if FlashForce.isinstance(force)]
    force.owner = system  # as long as we look at the force, its System must live
    return force


def particles(force):
    return [tuple(force.getParticleParameters(i)) for i in range(force.getNumParticles())]


def masses(system):
    return [system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(system.getNumParticles())]


def beads(repulsion="all", sigma=None):
    """A bead model with a pair prior, a typed bond table and a prior whose parameters are those of the terms."""
    metadata, tensors = schnetParts(repulsion=repulsion)
    if sigma is not None:
        tensors["repulsion.sigma"] = sigma
    metadata["priors"] = [{"name": "bonds", "form": "harmonic_bond"}, {"name": "angles", "form": "cosine_angle"}]
    tensors["priors.bonds.types"], tensors["priors.bonds.parameters"] = np.array([[0, 0], [0, 1]]), np.array([[70.0, 3.8], [80.0, 3.6]])
    tensors["priors.angles.types"], tensors["priors.angles.parameters"] = np.zeros((0, 3), int), np.zeros((0, 2))
    return FlashModel.fromBytes(modelBytes(metadata, tensors))


def molecule(**changes):
    positions = [[0.0, 0, 0], [0.38, 0, 0], [0.5, 0.36, 0], [0.8, 0.3, 0.2]]
    values = {
        "positions": positions,
        "types": [0, 0, 1, 0],
        "masses": [12.0, 13, 14, 15],
        "exclusions": [[0, 1], [1, 2], [3, 2]],
        "terms": {"bonds": [[0, 1], [1, 2], [2, 3]], "angles": Terms([[0, 1, 2], [1, 2, 3]], [[10.0, -0.3], [12.0, 0.1]])},
    }
    return Structure(**(values | changes))


class TestElements:
    def testParticles(self):
        model = makeModel("ani")
        system = openmmflash.createSystem(topology(copies=2), model)
        expected = [model.getTypeIndex(symbol) for _, symbol in METHANOL] * 2
        assert particles(flashForce(system)) == [(i, t, 0) for i, t in enumerate(expected)]
        assert masses(system) == pytest.approx([ELEMENT(symbol).mass.value_in_unit(unit.dalton) for _, symbol in METHANOL] * 2)
        assert not system.usesPeriodicBoundaryConditions() and system.getNumConstraints() == 0
        assert [type(force).__name__ for force in system.getForces()][1:] == ["CMMotionRemover"]

    def testSimulationRuns(self):
        """As any user of OpenMM would write it."""
        top = topology()
        simulation = app.Simulation(
            top,
            openmmflash.createSystem(top, makeModel("ani")),
            openmm.LangevinMiddleIntegrator(300 * unit.kelvin, 1 / unit.picosecond, 0.0001 * unit.picosecond),
            openmm.Platform.getPlatformByName("Reference"),
        )
        simulation.context.setPositions(METHANOL_POSITIONS * unit.nanometer)
        simulation.step(5)
        assert np.isfinite(simulation.context.getState(energy=True).getPotentialEnergy()._value)

    def testMotionRemover(self):
        assert openmmflash.createSystem(topology(), makeModel("ani"), removeCMMotion=False).getNumForces() == 1

    def testModelFromAFile(self, tmp_path):
        path = writeModel(tmp_path / "m.safetensors", *aniParts())
        for given in (path, tmp_path / "m.safetensors"):
            assert flashForce(openmmflash.createSystem(topology(), given)).getNumParticles() == 6

    def testTheNameOfAModelWinsOverAFile(self, tmp_path, monkeypatch):
        """As models.loadModel promises; ./ani1x is the file."""
        named = writeModel(tmp_path / "named.safetensors", *aniParts(seed=7))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(models, "_cached", lambda name, members: named)
        writeModel("ani1x", *aniParts(seed=8))
        digests = [
            flashForce(openmmflash.createSystem(topology(), name)).getModel().getSha256()
            for name in ("ani1x", named, "./ani1x", tmp_path / "ani1x")
        ]
        assert digests[0] == digests[1] != digests[2] == digests[3]

    def testTwoTypesOfOneElement(self):
        """A Topology cannot say which is meant; a structure can. Elements of one type are not concerned."""
        metadata, tensors = aniParts(types=[*ATOMS, {"name": "OW", "atomic_number": 8}])
        model = FlashModel.fromBytes(modelBytes(metadata, tensors))
        with pytest.raises(StructureError, match=r"Atom 1 \(O of .*\) is oxygen.*types for it: O \(2\), OW \(3\).*structure file.*types"):
            openmmflash.createSystem(topology(), model)
        assert openmmflash.createSystem(topology(atoms=[("C", "C"), ("H", "H")], bonds=[]), model).getNumParticles() == 2
        system = openmmflash.createSystem(Structure(METHANOL_POSITIONS, types=[1, 3, 0, 0, 0, 0]), model)
        assert [t for _, t, _ in particles(flashForce(system))] == [1, 3, 0, 0, 0, 0]

    BOX = [[2.0, 0, 0], [0.5, 2.1, 0], [-0.4, 0.6, 2.2]]

    @pytest.mark.parametrize(
        ("box", "method", "periodic"),
        [(None, None, False), (BOX, None, True), (BOX, app.CutoffPeriodic, True), (BOX, app.NoCutoff, False), (None, app.NoCutoff, False)]
        + [(BOX, app.CutoffNonPeriodic, False)],
    )
    def testPeriodicity(self, box, method, periodic):
        system = openmmflash.createSystem(topology(box=box), makeModel("ani"), nonbondedMethod=method)
        assert system.usesPeriodicBoundaryConditions() == periodic == flashForce(system).usesPeriodicBoundaryConditions()
        if periodic:
            found = [vector.value_in_unit(unit.nanometer) for vector in system.getDefaultPeriodicBoxVectors()]
            np.testing.assert_allclose(np.array([list(v) for v in found]), box, rtol=1e-12)

    def testPlaceholderOfABox(self):
        """Files without a box write CRYST1 1 1 1: no box, and never one full of images."""
        top, model = topology(box=np.eye(3) / 10), makeModel("ani")
        with pytest.warns(UserWarning, match="1 x 1 x 1 Angstrom placeholder of structures without one: the System is open"):
            assert not openmmflash.createSystem(top, model).usesPeriodicBoundaryConditions()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            openmmflash.createSystem(top, model, nonbondedMethod=app.NoCutoff)
        with pytest.raises(ValueError, match="CutoffPeriodic, but topology has no box"):
            openmmflash.createSystem(top, model, nonbondedMethod=app.CutoffPeriodic)

    @pytest.mark.parametrize("replicas", [1, 2])
    def testMoleculesAreKnown(self, replicas):
        """A barostat moves molecules as a whole, so OpenMM must know them; nothing else changes."""
        box, model = 1.6 * np.eye(3), makeModel("ani")
        x = np.concatenate([METHANOL_POSITIONS, METHANOL_POSITIONS + [0.5, 0.4, 0.3]])
        system = openmmflash.createSystem(topology(copies=2, box=box), model, replicas=replicas, removeCMMotion=False)
        assert [force.getName() for force in system.getForces()] == ["FlashForce", "molecules"]
        context, n = referenceContext(system), 2 * replicas
        assert [list(molecule) for molecule in context.getMolecules()] == [list(range(6 * k, 6 * k + 6)) for k in range(n)]
        without = openmmflash.createSystem(topology(copies=2, bonds=[], box=box), model, replicas=replicas, removeCMMotion=False)
        assert without.getNumForces() == 1 and len(referenceContext(without).getMolecules()) == 12 * replicas
        (energy, forces), (energy0, forces0) = (evaluate(referenceContext(s), tilePositions(x, replicas)) for s in (system, without))
        assert energy == energy0
        np.testing.assert_array_equal(forces, forces0)

    def testOpenSystemsHaveNoNeedOfMolecules(self):
        assert openmmflash.createSystem(topology(), makeModel("ani"), removeCMMotion=False).getNumForces() == 1

    def testBarostatScalesMolecules(self):
        """After moves of the barostat alone, the shape of each molecule is what it was."""
        system = openmmflash.createSystem(topology(copies=2, box=1.6 * np.eye(3)), makeModel("ani"), removeCMMotion=False)
        system.addForce(openmm.MonteCarloBarostat(1e5 * unit.bar, 300 * unit.kelvin, 1))
        for i in range(system.getNumParticles()):
            system.setParticleMass(i, 1e12)  # too heavy to be moved by forces
        context = openmm.Context(system, openmm.VerletIntegrator(1e-6), openmm.Platform.getPlatform("Reference"))
        context.setPositions(np.concatenate([METHANOL_POSITIONS, METHANOL_POSITIONS + [0.5, 0.4, 0.3]]))
        context.getIntegrator().step(60)
        state = context.getState(positions=True)
        assert abs(state.getPeriodicBoxVolume()._value / 1.6**3 - 1) > 1e-3
        x = state.getPositions(asNumpy=True)._value
        for molecule in (x[:6], x[6:]):
            np.testing.assert_allclose(molecule - molecule[0], METHANOL_POSITIONS - METHANOL_POSITIONS[0], atol=1e-9)

    def testUnreducedBoxIsTheSameLattice(self):
        """OpenMM takes reduced boxes only; another cell of the same lattice is reduced, and gives the same energy."""
        model, reduced = makeModel("ani"), np.array([[0.7, 0, 0], [0.1, 0.8, 0], [-0.2, 0.3, 0.9]])
        skewed = reduced.copy()
        skewed[1] += 2 * reduced[0]
        skewed[2] += reduced[1] - 3 * reduced[0]
        types = [model.getTypeIndex(symbol) for _, symbol in METHANOL]
        energies = []
        for box in (reduced, skewed):
            structure = Structure(METHANOL_POSITIONS, types=types, box=box)
            energies.append(evaluate(referenceContext(openmmflash.createSystem(structure, model)), METHANOL_POSITIONS)[0])
        assert energies[0] == pytest.approx(energies[1], rel=1e-12)

    def testWhoseMasses(self):
        """A Topology's elements have theirs, isotopes included; of a structure without masses the model's types go first."""
        metadata, tensors = aniParts()
        metadata["types"] = [dict(entry) for entry in metadata["types"]]
        metadata["types"][0]["mass"] = 1.5
        del metadata["types"][1]["mass"]
        model = FlashModel.fromBytes(modelBytes(metadata, tensors))
        heavy = masses(openmmflash.createSystem(topology(atoms=[("D", "D"), ("H", "H"), ("C", "C")], bonds=[]), model))
        assert heavy == pytest.approx([2.0135532127, 1.007947, 12.01078])
        bare = Structure(np.eye(3), symbols=["H", "C", "O"])
        assert masses(openmmflash.createSystem(bare, model)) == pytest.approx([1.5, 12.01078, ELEMENT("O").mass._value])

    def testHydrogenMass(self):
        """As ForceField.createSystem does it: the total stays."""
        plain = masses(openmmflash.createSystem(topology(), makeModel("ani")))
        for given in (3.0, 3.0 * unit.dalton, 0.003 * unit.kilogram / unit.mole):
            heavy = masses(openmmflash.createSystem(topology(), makeModel("ani"), hydrogenMass=given))
            assert heavy[2:] == pytest.approx([3.0] * 4) and sum(heavy) == pytest.approx(sum(plain))
            assert heavy[0] == pytest.approx(plain[0] - 3 * (3.0 - plain[2])) and heavy[1] == pytest.approx(plain[1] - (3.0 - plain[5]))

    def testGivenMasses(self):
        for given in ([1, 2, 3, 4, 5, 6], np.arange(1.0, 7) * unit.dalton, [float(i) * unit.dalton for i in range(1, 7)]):
            assert masses(openmmflash.createSystem(topology(), makeModel("ani"), masses=given)) == [1, 2, 3, 4, 5, 6]

    def testReplicas(self):
        """Each copy is a group; energies and forces are those of single molecules."""
        model, rng = makeModel("ani"), np.random.default_rng(4)
        system = openmmflash.createSystem(topology(), model, replicas=3)
        assert system.getNumForces() == 1  # no CMMotionRemover: it would couple the copies
        force = flashForce(system)
        assert list(force.getGroups()) == [0, 1, 2] and [p[2] for p in particles(force)] == [0] * 6 + [1] * 6 + [2] * 6
        frames = METHANOL_POSITIONS + 0.01 * rng.normal(size=(3, 6, 3))
        energy, forces = evaluate(referenceContext(system), tilePositions(frames, 3))
        single = referenceContext(openmmflash.createSystem(topology(), model))
        alone = [evaluate(single, frame) for frame in frames]
        assert energy == pytest.approx(sum(e for e, _ in alone), rel=1e-13)
        np.testing.assert_allclose(forces, np.concatenate([f for _, f in alone]), rtol=1e-12, atol=1e-9)

    def testGroupsOfReplicas(self):
        system = openmmflash.createSystem(topology(copies=2), makeModel("ani"), replicas=2, groups=[0] * 6 + [4] * 6)
        assert [p[2] for p in particles(flashForce(system))] == [0] * 6 + [4] * 6 + [5] * 6 + [9] * 6

    REFUSED = [
        (
            {"atoms": [("SI", "Si"), ("O", "O")], "bonds": []},
            {},
            r"Atom 0 \(SI of residue MOH 1, chain A\) is silicon \(Si\); this model knows H C O",
        ),
        ({"atoms": [("O", "O"), ("M", None)], "bonds": []}, {}, r"Atom 1 \(M of residue MOH 1, chain A\) has no element: a virtual site"),
        ({"atoms": [], "bonds": []}, {}, "has no atoms"),
        ({}, {"replicas": 0}, "replicas is 0; it is a number of copies, 1 or larger"),
        ({}, {"replicas": 1.5}, "replicas is 1.5"),
        ({}, {"replicas": True}, "replicas is True"),
        ({}, {"replicas": None}, "replicas is None; it is a number of copies"),
        ({}, {"replicas": "two"}, "replicas is 'two'; it is a number of copies"),
        ({}, {"constraints": app.HBonds}, "no reference bond lengths to constrain to"),
        ({}, {"rigidWater": True}, "no reference geometry of water"),
        ({}, {"nonbondedCutoff": 1.0 * unit.nanometer}, r"the cutoff is part of the model \(0.5 nm\)"),
        ({}, {"nonbondedMethod": app.PME}, "nonbondedMethod is PME"),
        ({}, {"nonbondedMethod": app.CutoffPeriodic}, "CutoffPeriodic, but topology has no box"),
        ({}, {"hydrogenMass": -1.0}, "hydrogenMass is -1.0 amu; it must be positive"),
        ({}, {"hydrogenMass": 6.0}, r"atom 0 \(C of MOH 1\) would have no mass left"),
        ({"bonds": []}, {"hydrogenMass": 3.0}, "no bonds to hydrogens"),
        ({}, {"masses": [1.0, 2.0]}, r"masses have shape \[2\]"),
        ({}, {"masses": [1.0, 2.0, -3.0, 4, 5, 6]}, "a minimum of -3.0"),
        ({}, {"masses": [1.0, 2.0, float("nan"), 4, 5, 6]}, "6 finite ones"),
        ({}, {"groups": [0, 1]}, r"6 integers from 0, one per particle; found shape \[2\]"),
        ({}, {"groups": [0, 0, 0, 0, 0, -1]}, "6 integers from 0"),
        ({}, {"groups": "chains"}, "groups is 'chains'; 'auto' or"),
    ]

    @pytest.mark.parametrize(("top", "options", "message"), REFUSED, ids=[case[2][:40] for case in REFUSED])
    def testRefused(self, top, options, message):
        with pytest.raises(ValueError, match=message):
            openmmflash.createSystem(topology(**top), makeModel("ani"), **options)

    def testWrongTypes(self):
        with pytest.raises(TypeError, match="topology is a list"):
            openmmflash.createSystem([1, 2], makeModel("ani"))
        with pytest.raises(TypeError, match="model is a int"):
            openmmflash.createSystem(topology(), 3)


class TestBeads:
    def testForces(self):
        system = openmmflash.createSystem(molecule(), beads())
        assert [force.getName() for force in system.getForces()] == ["FlashForce", "harmonic_bond", "cosine_angle", "CMMotionRemover"]
        force = flashForce(system)
        assert particles(force) == [(0, 0, 0), (1, 0, 0), (2, 1, 0), (3, 0, 0)] and masses(system) == [12, 13, 14, 15]
        assert [tuple(force.getPairExclusionParticles(i)) for i in range(force.getNumPairExclusions())] == [(0, 1), (1, 2), (3, 2)]

    def testWithoutPriors(self):
        """The network alone: neither bonded terms nor the pair prior, whose lists are then not needed."""
        bare = molecule(exclusions=None, terms=None)
        system = openmmflash.createSystem(bare, beads(), includePriors=False)
        force = flashForce(system)
        assert not force.getUsesPairPrior() and force.getNumPairExclusions() == 0 and system.getNumForces() == 2
        assert force.getModel().getSha256() == beads().getSha256()  # the very model file
        full = openmmflash.createSystem(molecule(), beads())
        positions = molecule().positions
        energies = [evaluate(referenceContext(s), positions)[0] for s in (system, full)]
        # by hand: bonds, angles, repulsion of the pairs that are not excluded
        x, sigma, types = positions * 10, schnetParts(repulsion="all")[1]["repulsion.sigma"], [0, 0, 1, 0]

        def r(i, j):
            return np.linalg.norm(x[i] - x[j])

        def c(i, j, k):
            return (x[i] - x[j]) @ (x[k] - x[j]) / r(i, j) / r(j, k)

        priors = 70 * (r(0, 1) - 3.8) ** 2 + 80 * (r(1, 2) - 3.6) ** 2 + 80 * (r(2, 3) - 3.6) ** 2
        priors += 10 * (c(0, 1, 2) + 0.3) ** 2 + 12 * (c(1, 2, 3) - 0.1) ** 2
        priors += sum((sigma[types[i], types[j]] / r(i, j)) ** 6 for i, j in [(0, 2), (0, 3), (1, 3)])
        assert energies[1] - energies[0] == pytest.approx(4.184 * priors, rel=1e-10)

    def testPeriodicWithoutThePairPrior(self):
        """A pair prior of all pairs has no meaning in a box; without it the network has."""
        box = np.diag([2.5, 2.5, 2.5])
        system = openmmflash.createSystem(molecule(box=box), beads(), includePriors=False)
        positions = molecule().positions
        moved = positions + np.array([[0, 0, 0], [1, 0, -2], [0, 3, 0], [-1, -1, 1]]) @ box
        energies = [evaluate(referenceContext(system), x)[0] for x in (positions, moved)]
        assert energies[0] == pytest.approx(energies[1], rel=1e-10)

    def testReplicas(self):
        model, n = beads(), 4
        system = openmmflash.createSystem(molecule(groups=[0, 0, 0, 0]), model, replicas=3)
        assert [force.getName() for force in system.getForces()] == ["FlashForce", "harmonic_bond", "cosine_angle"]
        frames = molecule().positions + 0.01 * np.random.default_rng(5).normal(size=(3, n, 3))
        energy, forces = evaluate(referenceContext(system), tilePositions(frames, 3))
        single = referenceContext(openmmflash.createSystem(molecule(), model))
        alone = [evaluate(single, frame) for frame in frames]
        assert energy == pytest.approx(sum(e for e, _ in alone), rel=1e-12)
        np.testing.assert_allclose(forces, np.concatenate([f for _, f in alone]), rtol=1e-10, atol=1e-9)

    def testStructureFileAndSymbols(self, tmp_path):
        path = writeStructure(tmp_path / "s.npz", molecule(types=None, symbols=["CA", "CA", "CB", "CA"], masses=None))
        system = openmmflash.createSystem(path, beads())
        assert particles(flashForce(system)) == [(0, 0, 0), (1, 0, 0), (2, 1, 0), (3, 0, 0)]
        assert masses(system) == [12, 12, 30, 12]  # the model's

    def testExclusionsBetweenGroupsHaveNoMeaning(self):
        """They are left out, since the pair is not evaluated anyway."""
        force = flashForce(openmmflash.createSystem(molecule(groups=[0, 0, 1, 1]), beads()))
        assert [tuple(force.getPairExclusionParticles(i)) for i in range(force.getNumPairExclusions())] == [(0, 1), (3, 2)]

    def testPeriodicWithCutoff(self):
        box = np.diag([2.5, 2.5, 2.5])
        system = openmmflash.createSystem(molecule(box=box), beads(repulsion=6.0))
        assert all(force.usesPeriodicBoundaryConditions() for force in list(system.getForces())[:3])
        positions = molecule().positions
        moved = positions + np.array([[0, 0, 0], [1, 0, -2], [0, 3, 0], [-1, -1, 1]]) @ box
        energies = [evaluate(referenceContext(system), x)[0] for x in (positions, moved)]
        assert energies[0] == pytest.approx(energies[1], rel=1e-10)

    REFUSED = [
        ({"types": [0, 0, 2, 0]}, {}, r"particle 2 has type 2, which this model does not have; it has 0 \(CA\), 1 \(CB\), 3 \(N\)"),
        ({"types": [0, 0, 9, 0]}, {}, "particle 2 has type 9"),
        ({"types": None, "symbols": ["CA", "CA", "CX", "CA"]}, {}, "particle 2 is 'CX'; this model knows CA CB N"),
        ({"types": [0, 0, 3, 0], "masses": None}, {}, "the model has none for the types N"),
        ({"exclusions": None}, {}, "there are no 'exclusions', but the model has a pair prior"),
        ({"terms": {"bonds": [[0, 1]]}}, {}, "no terms/angles/particles for the model's prior 'angles'"),
        ({"types": [1, 1, 1, 1]}, {}, r"terms/bonds/particles\[0\] is \[0, 1\] with the types CB, CB"),
        ({"box": np.diag([3.0, 3, 3])}, {}, "pair prior has no cutoff"),
        ({}, {"hydrogenMass": 3.0}, "hydrogenMass needs a Topology"),
    ]

    @pytest.mark.parametrize(("changes", "options", "message"), REFUSED, ids=[case[2][:40] for case in REFUSED])
    def testRefused(self, changes, options, message):
        with pytest.raises(ValueError, match=message):
            openmmflash.createSystem(molecule(**changes), beads(), **options)

    def testExclusionsOfNoPrior(self):
        metadata, tensors = schnetParts(repulsion=None)
        model = FlashModel.fromBytes(modelBytes(metadata, tensors))
        with pytest.raises(StructureError, match="there are 3 exclusions, but this model has no pair prior"):
            openmmflash.createSystem(molecule(terms=None), model)

    def testNoSigma(self):
        """A pair that repels by no sigma at all is a hole in the model, unless it is excluded."""
        sigma = np.array([[4.0, 0, 0, 1], [0, 4, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1]])
        model = beads(sigma=sigma)
        with pytest.raises(StructureError, match=r"no sigma for the types CA and CB of particles 0 and 2 \(1 such pairs\)"):
            openmmflash.createSystem(molecule(), model)
        openmmflash.createSystem(molecule(exclusions=[[0, 1], [1, 2], [3, 2], [2, 0]]), model)
        openmmflash.createSystem(molecule(groups=[0, 0, 1, 0]), model)

    def testTopologyWithoutPriors(self):
        """An element's type follows from the element, whatever the priors' lists would be."""
        metadata, tensors = aniParts()
        metadata["priors"] = [{"name": "bonds", "form": "harmonic_bond"}]
        tensors["priors.bonds.types"], tensors["priors.bonds.parameters"] = np.array([[0, 0]]), np.array([[70.0, 3.8]])
        model = FlashModel.fromBytes(modelBytes(metadata, tensors))
        with pytest.raises(StructureError, match="has priors, whose interaction lists"):
            openmmflash.createSystem(topology(), model)
        assert openmmflash.createSystem(topology(), model, includePriors=False).getNumForces() == 2

    def testTopologyIsNotEnough(self):
        with pytest.raises(ValueError, match="types are beads, not elements"):
            openmmflash.createSystem(topology(), beads())


class TestTiling:
    def testPositions(self):
        one, two = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(2, 2, 3)
        np.testing.assert_array_equal(tilePositions(one, 2), np.concatenate([one, one]))
        np.testing.assert_array_equal(tilePositions(two, 3), np.concatenate([two[0], two[1], two[0]]))
        inUnits = tilePositions(one * unit.angstrom, 2)
        np.testing.assert_allclose(inUnits.value_in_unit(unit.nanometer), np.concatenate([one, one]) / 10)
        listed = [openmm.Vec3(0, 0, 1), openmm.Vec3(0, 2, 0)] * unit.nanometer
        np.testing.assert_array_equal(tilePositions(listed, 2).value_in_unit(unit.nanometer)[2:], [[0, 0, 1], [0, 2, 0]])

    @pytest.mark.parametrize(("positions", "replicas"), [(np.zeros((2, 3)), 0), (np.zeros((2, 2)), 1), (np.zeros(3), 1)])
    def testWrong(self, positions, replicas):
        with pytest.raises(ValueError, match="replicas is|positions have shape"):
            tilePositions(positions, replicas)

    def testTopology(self):
        tiled = tileTopology(topology(box=np.eye(3)), 3)
        assert tiled.getNumAtoms() == 18 and tiled.getNumChains() == 3 and tiled.getNumBonds() == 15
        assert [atom.name for atom in tiled.atoms()] == [name for name, _ in METHANOL] * 3
        assert [(a.index, b.index) for a, b in tiled.bonds()][5:10] == [(i + 6, j + 6) for i, j in METHANOL_BONDS]
        assert tiled.getPeriodicBoxVectors() is not None
        ion = app.Topology()
        ion.addAtom("NA", ELEMENT("Na"), ion.addResidue("NA", ion.addChain("B"), "7", "C"), "12", 1)
        atoms = list(tileTopology(ion, 2).atoms())
        assert [(a.id, a.formalCharge, a.residue.id, a.residue.insertionCode) for a in atoms] == [("12", 1, "7", "C")] * 2
        assert [a.residue.chain.id for a in atoms] == ["1", "2"]  # of a file of all copies no two are taken for one
        system = openmmflash.createSystem(topology(), makeModel("ani"), replicas=3)
        assert system.getNumParticles() == tiled.getNumAtoms()
        with pytest.raises(ValueError, match="replicas is 0"):
            tileTopology(topology(), 0)
