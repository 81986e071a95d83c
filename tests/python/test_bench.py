# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash bench: what its cases are made of, and what it makes of measured times. test_bench_run.py measures."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import small_models

from openmmflash.bench import beads, cases, machine, models, polyala, results, runner, water
from openmmflash.bench.contenders.modelfile import ModelFile
from openmmflash.bench.contenders.neighbors import directedPairs
from openmmflash.bench.contenders.nnpops import networks
from openmmflash.bench.programs import PROGRAMS, Program, whyMissing
from openmmflash.convert._writer import writeModel

# Bond lengths in Angstrom by the atoms' kinds, from crystals of peptides and from spectroscopy, and how far a model may be from them.
LENGTHS = {"CC": (1.53, 0.03), "CN": (1.40, 0.08), "CO": (1.23, 0.01), "CH": (1.09, 0.02), "HN": (1.01, 0.01)}


def molecule(residues):
    """names, positions in Angstrom, bonds, neighbors of each atom."""
    names, positions, bonds = polyala.build(residues)
    neighbors = [set() for _ in names]
    for a, b in bonds.tolist():
        neighbors[a].add(b)
        neighbors[b].add(a)
    return names, 10 * positions, bonds, neighbors


def torsion(x, a, b, c, d):
    """In degrees, by the angle between the planes' normals, with the sign of the triple product."""
    n1, n2 = np.cross(x[b] - x[a], x[c] - x[b]), np.cross(x[c] - x[b], x[d] - x[c])
    angle = np.degrees(np.arccos(np.clip(n1 @ n2 / np.linalg.norm(n1) / np.linalg.norm(n2), -1, 1)))
    return angle * np.sign(np.cross(n1, n2) @ (x[c] - x[b]))


def chirality(x, n, ca, c, cb):
    return np.sign(np.cross(x[n] - x[ca], x[c] - x[ca]) @ (x[cb] - x[ca]))


@pytest.mark.parametrize("residues", [1, 2, 10, 100])
def testPolyalanineFormula(residues):
    names, positions, bonds, _ = molecule(residues)
    assert len(names) == len(positions) == 12 + 10 * residues and len(bonds) == len(names) - 1
    count = Counter(polyala.atomicNumbers(names).tolist())
    assert count == {6: 3 * residues + 3, 1: 5 * residues + 7, 7: residues + 1, 8: residues + 1}
    assert [residue for residue, _, name in names if name == "C"] == ["ACE"] + ["ALA"] * residues


@pytest.mark.parametrize(
    "atoms, expected", [(22, 22), (1, 22), (112, 112), (500, 502), (506, 502), (508, 512), (1012, 1012), (50000, 50002)]
)
def testPolyalanineSizes(atoms, expected):
    assert 12 + 10 * polyala.residuesFor(atoms) == expected


def testPolyalanineGeometry():
    names, x, bonds, neighbors = molecule(30)
    for a, b in bonds:
        kind = "".join(sorted(names[a][2][0] + names[b][2][0]))
        ideal, tolerance = LENGTHS[kind]
        assert abs(np.linalg.norm(x[a] - x[b]) - ideal) < tolerance, (names[a], names[b])
    for atom, around in enumerate(neighbors):
        assert len(around) == {"C": 4, "N": 3, "O": 1, "H": 1}[names[atom][2][0]] - (names[atom][2] == "C")
        planar = names[atom][2] in ("C", "N")
        low, high = (114, 125) if planar else (104, 115)
        angles = []
        for a in around:
            for b in around:
                if a < b:
                    u, v = x[a] - x[atom], x[b] - x[atom]
                    angles.append(np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))))
        assert all(low < angle < high for angle in angles), (names[atom], angles)
        if planar:
            assert abs(sum(angles) - 360) < 0.5, (names[atom], angles)


def testPolyalanineIsARightHandedHelixOfLResidues():
    import openmm.app

    names, x, _, _ = molecule(12)
    place = {(number, name): k for k, (_, number, name) in enumerate(names)}
    pdb = openmm.app.PDBFile(str(Path(__file__).parents[2] / "examples" / "alanine-dipeptide.pdb"))
    known = {atom.name: atom.index for atom in pdb.topology.atoms() if atom.residue.name == "ALA"}
    left = chirality(np.array(pdb.positions._value), *(known[name] for name in ("N", "CA", "C", "CB")))
    for number in range(2, 14):
        assert chirality(x, *(place[number, name] for name in ("N", "CA", "C", "CB"))) == left
        before, after = place[number - 1, "C"], place[number + 1, "N"]
        n, ca, c = (place[number, name] for name in ("N", "CA", "C"))
        assert torsion(x, before, n, ca, c) == pytest.approx(-57, abs=0.01)
        assert torsion(x, n, ca, c, after) == pytest.approx(-47, abs=0.01)
        methyl = place.get((number - 1, "CA"), place.get((1, "CH3")))
        assert abs(torsion(x, methyl, before, n, ca)) == pytest.approx(180, abs=0.01)
        assert abs(torsion(x, place[number - 1, "O"], before, n, place[number, "H"])) == pytest.approx(180, abs=2)
        if (number + 4, "H") in place:
            assert 1.8 < np.linalg.norm(x[place[number, "O"]] - x[place[number + 4, "H"]]) < 2.3
    along = x[[place[number, "CA"] for number in range(2, 14)]]
    assert np.linalg.norm(along[-1] - along[0]) / 11 == pytest.approx(1.5, abs=0.1)  # Angstrom a residue


@pytest.mark.parametrize("residues", [1, 3, 500])
def testPolyalanineHasNoClashes(residues):
    _, x, _, neighbors = molecule(residues)
    i, j, shift = directedPairs(x, 2.6)
    assert not shift.any()
    near = 0
    for a, b in zip(i.tolist(), j.tolist()):
        bonded = b in neighbors[a] or neighbors[a] & neighbors[b]
        near += not bonded
        assert bonded or np.linalg.norm(x[a] - x[b]) > 1.9, (a, b)
    assert near > 0  # the cutoff reaches further than 1-3 neighbors


def testPolyalanineIsWhatAmberKnows():
    """Amber's templates name every atom and bond of the three residues; another program's opinion."""
    import openmm.app as app

    names, _, bonds = polyala.build(3)
    topology = polyala.topology(names, bonds)
    system = app.ForceField("amber14-all.xml", "implicit/gbn2.xml").createSystem(topology)
    assert system.getNumParticles() == 42


def testPolyalanineOfNothing():
    with pytest.raises(ValueError, match="at least one alanine"):
        polyala.build(0)


@pytest.mark.parametrize("atoms, edge", [(22, 4), (192, 4), (280, 4), (290, 5), (1029, 7), (5184, 12)])
def testWaterSizes(atoms, edge):
    assert water.moleculesFor(atoms) == (edge, edge**3)


def testWaterBox():
    numbers, positions, box = water.build(6)
    assert numbers.tolist() == [8, 1, 1] * 216
    volume = np.prod(box) * 1e-21  # cm^3
    grams = 216 * (15.999 + 2 * 1.008) / 6.02214076e23
    assert grams / volume == pytest.approx(0.997, rel=2e-4)
    x = 10 * positions.reshape(216, 3, 3)
    arms = x[:, 1:] - x[:, :1]
    length = np.linalg.norm(arms, axis=2)
    assert length == pytest.approx(np.full((216, 2), 0.9572), abs=1e-9)
    cosine = np.einsum("ij,ij->i", arms[:, 0], arms[:, 1]) / length.prod(axis=1)
    assert np.degrees(np.arccos(cosine)) == pytest.approx(np.full(216, 104.52), abs=1e-6)
    directions = arms.sum(axis=1) / np.linalg.norm(arms.sum(axis=1), axis=1, keepdims=True)
    assert np.abs(directions.mean(axis=0)).max() < 0.2  # turned every way
    i, j, shift = directedPairs(10 * positions, 2.0, 10 * box)
    d = np.linalg.norm(10 * positions[j] + shift - 10 * positions[i], axis=1)
    assert d[i // 3 != j // 3].min() > 1.6


def testBeadsArePackedLikeAProtein():
    types, positions = beads.build()
    assert len(types) == len(positions) == 269
    names = [models.BEAD_TYPES[t] for t in types]
    assert [names.count(name) for name in ("N", "C", "O", "CA", "GLY")] == [54, 54, 54, 53, 1]
    i, j, _ = directedPairs(10 * positions, 15.0)
    assert len(i) / 269 == pytest.approx(164, abs=6)
    assert np.linalg.norm(positions[j] - positions[i], axis=1).min() > 0.17
    terms, exclusions = beads.priors(positions)
    assert [len(terms[name].particles) for name in ("bonds", "angles", "dihedrals")] == [268, 267, 266]
    assert (exclusions[:, 0] < exclusions[:, 1]).all()
    excluded = set(map(tuple, exclusions.tolist()))
    assert all((k, k + 4) in excluded for k in range(265)) and len(excluded) < 0.2 * 269 * 268 / 2


@pytest.mark.parametrize("box", [None, (10.0, 12.0, 7.9), (6.0, 30.0, 6.1)])
@pytest.mark.parametrize("count", [1, 100])
def testPairs(box, count):
    """Against all distances and all images; positions lie outside the box too."""
    x = np.random.default_rng(count).uniform(-20, 25, (count, 3))
    cutoff = 8.0 if box is None else 3.0
    i, j, shift = directedPairs(x, cutoff, box)
    edges = np.zeros(3) if box is None else np.array(box)
    d = x[None] - x[:, None]
    nearest = np.zeros_like(d) if box is None else -np.round(d / edges) * edges
    expected = []
    for image in [np.zeros(3)] if box is None else np.array(list(np.ndindex(3, 3, 3))) - 1:
        move = nearest + image * edges
        near = np.linalg.norm(d + move, axis=2) < cutoff
        near &= ~np.eye(count, dtype=bool) | move.any(axis=2)
        expected += [(a, b, *np.round(move[a, b], 6)) for a, b in np.argwhere(near).tolist()]
    found = list(zip(i.tolist(), j.tolist(), *np.round(shift, 6).T.tolist()))
    assert sorted(found) == sorted(expected) and (count == 1 or len(found) > 100)


def testPairsInATooSmallBox():
    with pytest.raises(ValueError, match="smaller than twice the cutoff"):
        directedPairs(np.zeros((1, 3)), 3.0, (10.0, 5.9, 10.0))


def testModelFilesAreReadAsTheyWereWritten(tmp_path):
    metadata, tensors = models.cgSchNet()
    model = ModelFile(writeModel(tmp_path / "m.safetensors", metadata, tensors))
    assert model.tensors.keys() == tensors.keys()
    assert all(np.array_equal(model.tensors[name], tensors[name]) for name in tensors)
    assert model.energy == 4.184 and model.length == 0.1 and model.cutoff == 15.0 and model.members == 1
    assert [weight.shape for weight, _ in model.layers("members.0.readout")] == [(128, 128), (64, 128), (1, 64)]


def testNetworksInNumpy(tmp_path):
    """Their gradient by finite differences; their energy is that of the library for a single atom, whose AEV is zero."""
    import openmm

    import openmmflash

    path = small_models.writeAni(tmp_path / "ani.safetensors", members=2)
    model = ModelFile(path)
    random = np.random.default_rng(5)
    types, aevs = np.array([0, 1, 2, 3, 1]), random.uniform(0, 1, (5, 56))
    energy, gradient = networks(model, types, aevs)
    for atom, column in ((0, 0), (1, 20), (4, 55), (3, 7)):
        moved = [aevs.copy(), aevs.copy()]
        moved[0][atom, column] += 1e-5
        moved[1][atom, column] -= 1e-5
        difference = (networks(model, types, moved[0])[0] - networks(model, types, moved[1])[0]) / 2e-5
        assert gradient[atom, column] == pytest.approx(difference, rel=1e-5, abs=1e-9)
    system, force = openmm.System(), openmmflash.FlashForce(openmmflash.FlashModel(path))
    system.addParticle(1.0)
    force.addParticle(0, 2)
    system.addForce(force)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference"))
    context.setPositions(np.zeros((1, 3)))
    library = context.getState(energy=True).getPotentialEnergy()._value - force.getModel().getTypeEnergy(2)
    assert networks(model, np.array([2]), np.zeros((1, 56)))[0] * model.energy == pytest.approx(library, rel=1e-9)


@pytest.fixture
def ani(tmp_path):
    return small_models.writeAni(tmp_path / "ani.safetensors")


def testCases(ani, tmp_path):
    case = cases.polyalaCase(tmp_path / "a", ani, 50)
    assert (case.atoms, case.label, case.cutoff, case.periodic) == (52, "52 atoms", 0.52, False)
    with np.load(case.folder / "system.npz") as data:
        frames, types = data["frames"], data["types"]
    distance = np.linalg.norm(frames[0][:, None] - frames[0][None], axis=2)
    assert case.pairs == ((distance < 0.52).sum() - 52) // 2
    assert frames.shape == (8, 52, 3) and 0 < np.abs(np.diff(frames, axis=0)).max() < 0.01  # far less than a skin
    assert Counter(types.tolist()) == {0: 27, 1: 15, 2: 5, 3: 5}
    box = cases.waterCase(tmp_path / "w", ani, 192)
    assert box.periodic and box.atoms == 192


def testCasesThatCannotBe(tmp_path, ani):
    with pytest.raises(cases.CaseError, match="no type for H, C, N, O"):
        small_models.writeBeads(tmp_path / "beads.safetensors")
        cases.polyalaCase(tmp_path / "a", tmp_path / "beads.safetensors", 22)
    np.savez(tmp_path / "x.npz", types=np.zeros(3))
    with pytest.raises(cases.CaseError, match="no array positions_A"):
        cases.cgCase(tmp_path / "c", 1, source=tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", types=np.zeros(3, dtype=int), positions_A=np.zeros((3, 3)), **{"config/H": 64})
    with pytest.raises(cases.CaseError, match="config/H is 64"):
        cases.cgCase(tmp_path / "c", 1, source=tmp_path / "x.npz")


def testCgFromAFile(tmp_path, shared):
    """The reference beads: the case's model and positions are the file's."""
    source = shared / "reference" / "random_schnet_expnormal_269.npz"
    case = cases.cgCase(tmp_path / "c", 2, source=source)
    model = ModelFile(case.folder / "model.safetensors")
    with np.load(source) as data, np.load(case.folder / "system.npz") as system:
        assert np.array_equal(model.tensors["members.0.blocks.3.output.1.bias"], data["weights/interaction_blocks.3.lin.bias"])
        assert np.array_equal(model.tensors["members.0.readout.2.weight"], data["weights/output_network.layers.4.weight"])
        assert system["frames"][0] == pytest.approx(0.1 * np.tile(data["positions_A"][0], (2, 1)))
    assert case.pairs == 2 * 21890
    _, random = models.cgSchNet()
    assert {name: value.shape for name, value in model.tensors.items()} == {name: value.shape for name, value in random.items()}


class TestCompare:
    case = cases.Case("polyala", "", Path(), "m", "ani", 10, 1, 0, 0.5, 0.001)
    energies, forces = np.array([-1000.0]), np.random.default_rng(1).normal(size=(10, 3)) * 500

    def compare(self, energies, forces, precision="single", extent=1.0):
        return runner.compare((energies, forces), (self.energies, self.forces), self.case, precision, extent)

    def testSame(self):
        result = self.compare(self.energies, self.forces)
        assert result["agrees"] and result["forceDifference"] == 0 and result["text"] == ""

    def testRounding(self):
        rounded = self.forces * (1 + 3e-5 * np.random.default_rng(2).normal(size=(10, 3)))
        assert self.compare(self.energies + 0.05, rounded)["agrees"]

    @pytest.mark.parametrize("factor", [1.001, 0.999, -1, np.nan, np.inf])
    def testWrongForces(self, factor):
        with np.errstate(invalid="ignore"):
            result = self.compare(self.energies, self.forces * factor)
        assert not result["agrees"] and "forces" in result["text"]

    @pytest.mark.parametrize("shift", [0.2, -0.2, np.nan])
    def testWrongEnergies(self, shift):
        assert not self.compare(self.energies + shift, self.forces)["agrees"]

    def testOneWrongForce(self):
        forces = self.forces.copy()
        forces[4, 1] += 1.0
        assert not self.compare(self.energies, forces)["agrees"]

    def testHalfPrecisionIsWider(self):
        assert self.compare(self.energies, self.forces * 1.005, "half")["agrees"]
        assert not self.compare(self.energies, self.forces * 1.05, "half")["agrees"]

    def testCoordinatesInSinglePrecision(self):
        """At 400 nm from the origin, single precision places an atom to 1.5e-5 nm; at 1 nm that is no excuse."""
        forces = self.forces * 1.002
        assert self.compare(self.energies, forces, extent=400.0)["agrees"]
        assert not self.compare(self.energies, forces, extent=1.0)["agrees"]

    def testOtherShape(self):
        assert "9 forces instead of" in self.compare(self.energies, self.forces[:9])["text"]


def contender(program, rounds, form="", malloc="plain", **more):
    found = runner.Contender(program, "", form, malloc, "python", 2, {}, **more)
    found.rounds = {axis: [[1e-3 * t for t in turn] for turn in turns] for axis, turns in rounds.items()}
    found.peak = 1000
    return found


class TestRatios:
    case = cases.Case("polyala", "22 atoms", Path(), "m", "ani", 22, 1, 99, 0.5, 0.0005)
    ours = ("openmm-flash", {"total": [[2.0, 2.0], [2.0, 4.0]], "energy": [[1.0], [1.0]], "step": [[3.0], [3.0]]})

    def ratios(self, *others, case=None):
        return results.ratios(case or self.case, [contender(*self.ours), *others])

    def testTheBestFormCounts(self):
        slow = contender("torchani29", {"total": [[50.0], [50.0]]})
        fast = contender("torchani29", {"total": [[8.0], [24.0]]}, "infer", "tuned")
        (found,) = self.ratios(slow, fast)
        assert (found["program"], found["form"], found["malloc"]) == ("torchani29", "infer", "tuned")
        assert found["ratio"] == pytest.approx(6.0)  # 4 in the first round, 8 in the second
        assert (found["lowest"], found["highest"]) == pytest.approx((4.0, 8.0))
        assert found["memory"] == 1.0

    @pytest.mark.parametrize("status", ["disagrees", "failed"])
    def testWhatIsNotRightDoesNotCount(self, status):
        wrong = contender("torchani29", {"total": [[1.0], [1.0]]}, status=status)
        right = contender("torchani29", {"total": [[20.0], [20.0]]}, "infer")
        (found,) = self.ratios(wrong, right)
        assert found["ratio"] == pytest.approx((10.0 + 20.0 / 3) / 2)
        assert self.ratios(wrong) == []

    def testAmberIsAYardstickOfSteps(self):
        amber = contender("amber", {"total": [[1.0], [1.0]], "step": [[6.0], [6.0]]}, compared=False)
        (found,) = self.ratios(amber)
        assert found["ratio"] == pytest.approx(2.0) and found["memory"] is None
        many = cases.Case("cg", "4 replicas", Path(), "m", "schnet", 1076, 4, 99, 1.5, 0.002)
        (found,) = self.ratios(amber, case=many)
        assert found["ratio"] == pytest.approx(8.0)  # replicas' steps

    def testCoarseGrainedStepBesideANetworkAlone(self):
        case = cases.Case("cg", "1 replica", Path(), "m", "schnet", 269, 1, 99, 1.5, 0.002, priors="all")
        energy, step = self.ratios(contender("mlcg", {"total": [[300.0], [300.0]]}), case=case)
        assert energy["ratio"] == pytest.approx(125.0) and step["ratio"] == pytest.approx(100.0)
        assert "all priors and integrator" in step["what"]

    def testDescriptorOnOneThread(self):
        peer = contender("nnpops", {"descriptor+gradient": [[300.0], [300.0]]})
        assert self.ratios(peer) == []  # nothing of ours to compare with
        stages = {"stage neighborList": [[0.5], [0.5]], "stage descriptor": [[1.0], [1.0]], "stage descriptorBackward": [[1.5], [1.5]]}
        stages["stage networks"] = [[50.0], [50.0]]
        single = contender("openmm-flash", stages, "profiled, one thread", compared=False)
        (found,) = self.ratios(single, peer)
        assert found["ratio"] == pytest.approx(100.0)

    def testRecord(self):
        settings = runner.Settings("CPU", 2)
        entry = results.record(self.case, contender(*self.ours), settings)
        total = entry["axes"]["total"]
        assert (total["median_ms"], total["min_ms"], total["evaluations"]) == pytest.approx((2.0, 2.0, 4))
        assert total["round_medians_ms"] == pytest.approx([2.0, 3.0])
        assert entry["axes"]["gradient"]["median_ms"] == pytest.approx(1.0)
        assert entry["atoms_per_second"] == pytest.approx(11000) and entry["ns_per_day"] == pytest.approx(14.4)
        wrong = results.record(self.case, contender("mlcg", self.ours[1], status="disagrees", reason="why"), settings)
        assert wrong["axes"] == {} and wrong["atoms_per_second"] is None and wrong["reason"] == "why"
        lines = "\n".join(results.table(self.case, [entry, wrong], []))
        assert "disagrees: why" in lines and "22 atoms" in lines


def testWhatPeersNeed():
    peers = {program.name: program for program in PROGRAMS}
    here = {"torchani": "2.2.4", "torch": "2.13.0+cpu", "torch-geometric": "2.8"}
    assert whyMissing(peers["torchani22"], here, False) is None
    assert whyMissing(peers["torchani29"], here, False) == "torchani is 2.2.4, not 2.9"
    assert whyMissing(peers["torchani22"], {"torchani": "2.2.4"}, False) == "torch is not installed"
    assert "--peer-path mlcg=PATH" in whyMissing(peers["mlcg"], here, False)
    assert whyMissing(peers["mlcg"], here, True) is None


def testEveryFormIsRunPlainAndTuned(tmp_path):
    case = cases.Case("polyala", "2012 atoms", tmp_path, "m", "ani", 2012, 1, 99, 0.5, 0.0005)
    everyone = runner.contenders(case, PROGRAMS, runner.Settings("CPU", 2, pythons={"torchani29": "/other/python"}))
    labels = [c.label for c in everyone]
    assert labels[:2] == ["openmm-flash", "openmm-flash, profiled, one thread"]
    for form in ("torchani29", "torchani29, infer", "torchani29, infer, cell list", "torchani22"):
        assert form in labels and f"{form}, tuned malloc" in labels
    assert "amber" in labels and "amber, tuned malloc" not in labels and not any(label.startswith("mlcg") for label in labels)
    for c in everyone:
        assert c.python == "/other/python" if c.program == "torchani29" else c.python != "/other/python"
        assert ("MALLOC_MMAP_THRESHOLD_" in c.environment) == (c.malloc == "tuned")
        assert c.threads == c.job["threads"] == (1 if c.program == "nnpops" or "one thread" in c.form else 2)
    small = cases.Case("polyala", "112 atoms", tmp_path, "m", "ani", 112, 1, 99, 0.5, 0.0005)
    assert not any("cell list" in c.label for c in runner.contenders(small, PROGRAMS, runner.Settings("CPU", 2)))
    schnet = cases.Case("polyala", "112 atoms", tmp_path, "m", "schnet", 112, 1, 99, 0.5, 0.0005)
    assert {c.program for c in runner.contenders(schnet, PROGRAMS, runner.Settings("CPU", 2))} == {"openmm-flash", "schnetpack", "amber"}


def testSystemInformation():
    info = machine.systemInformation()
    for key in (
        "hostname",
        "timestamp",
        "openmm_version",
        "openmmflash_version",
        "cpuinfo",
        "cpuarch",
        "cores",
        "system",
        "os",
        "memory_bytes",
    ):
        assert info[key], key
    assert {"commit", "compiler", "caches", "instruction_set", "load_average"} <= info.keys()
    total, available = machine.availableMemory()
    assert 1e8 < available <= total


def testProgramsAreData():
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)
    assert all(isinstance(program, Program) and program.tests and program.architectures for program in PROGRAMS)
