# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Proteins as beads: interaction lists against mlcg's, what is read of a structure and what is refused, and energies."""

import hashlib
import io
import json

import numpy as np
import openmm
import pytest
from openmm import app, unit
from protein_beads import beadTopology, priorsOf, proteinModel, readPdb, villinLines

import openmmflash
from openmmflash import FlashModel
from openmmflash.coarsegrain import coarseGrain, structureFromTopology
from openmmflash.structurefile import Structure, StructureError, Terms, readStructure, writeStructure

# Made by mlcg's tool for priors (mlcg-tk at 45925aa, its prior_nls module with mlcg at 434da19 and MDTraj), of bead structures of these
# sequences: the number of terms in all lists and the SHA-256 of the lists as JSON, sorted, without empty ones. "pieces" has chains so
# short that they have no torsion, no bulk, and no ends.
SEQUENCES = {
    "chignolin": ["YYDPETGTWY"],
    "trp-cage": ["NLYIQWLKDGGPSSGRPPPS"],
    "insulin": ["GIVEQCCTSICSLYQLENYCN", "FVNQHLCGSHLVEALYLVCGERGFFYTPKT"],
    "pieces": ["GP", "A", "WSGAP"],
}
MLCG = {
    ("chignolin", "5bead"): (1082, "7226b8d49f551728f31e823c57f399a5b553f0a7c9ca1b91ab441402276c4448"),
    ("chignolin", "ca"): (52, "7a8deb283e5602ec8981fdaa485d60b39f542b81af427b5d6e4b4392defa2375"),
    ("trp-cage", "5bead"): (4462, "f0e43c686ef63a6e3ab90f81b811495d7a40ab94da23f5d99e3ce930a8e27248"),
    ("trp-cage", "ca"): (207, "421557ee1d156a241082e0e5a544d02d71b87abb83f3c559e62b015353942a89"),
    ("insulin", "5bead"): (30853, "b93dcabb3cc34c97630787c406001b551b819a659dee5138c0347cb0c547d394"),
    ("insulin", "ca"): (1320, "a06362193d5831391021117d05ec4ed42659b83a8ef397fd166363f504c97888"),
    ("pieces", "5bead"): (658, "f1d36e87f6f67075e670d1ffbad3c4d83a816fd0d5bb6a9e279d708b9a24de7f"),
    ("pieces", "ca"): (30, "4a7fde4dfbbe8ce1ea26578ccb67d17d7220c5abf157e8943bdf22721b642ac4"),
}
BEADS = ("N", "CA", "CB", "C", "O")


@pytest.fixture(scope="module")
def models():
    return {mapping: FlashModel.fromBytes(proteinModel(mapping)) for mapping in ("ca", "5bead")}


def listsOf(structure):
    """{prior: sorted terms} with the pairs that are not excluded as non_bonded, empty lists left out."""
    lists = {name: sorted(terms.particles.tolist()) for name, terms in structure.terms.items() if len(terms.particles)}
    excluded = set(map(tuple, structure.exclusions.tolist()))
    n = structure.numParticles
    pairs = [[i, j] for i in range(n) for j in range(i + 1, n) if (i, j) not in excluded]
    return lists | ({"non_bonded": pairs} if pairs else {})


def villin(edit=lambda line: line):
    """Villin headpiece, each line of its PDB file as `edit` returns it; None takes it out."""
    return readPdb([line for line in map(edit, villinLines()) if line is not None])


def inResidue(line, number):
    return int(line[22:26]) == number


def energyOf(system, positions):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value


class TestListsOfMlcg:
    @pytest.mark.parametrize(("protein", "mapping"), MLCG)
    def testSequence(self, models, protein, mapping):
        lists = listsOf(structureFromTopology(beadTopology(SEQUENCES[protein], mapping), models[mapping]))
        number, digest = MLCG[protein, mapping]
        assert sum(map(len, lists.values())) == number
        assert hashlib.sha256(json.dumps(dict(sorted(lists.items())), separators=(",", ":")).encode()).hexdigest() == digest

    def testByHand(self, models):
        """Gly-Pro-Ala, so that a list is there to look at: N CA C O, N CA CB C O, N CA CB C O are 0-3, 4-8, 9-13."""
        lists = listsOf(structureFromTopology(beadTopology(["GPA"], "5bead"), models["5bead"]))
        assert lists["n_term_bonds"] == [[0, 1], [1, 2], [2, 3], [2, 4]]
        assert lists["bulk_bonds"] == [[4, 5], [5, 6], [5, 7], [7, 8]]
        assert lists["c_term_bonds"] == [[7, 9], [9, 10], [10, 11], [10, 12], [12, 13]]
        assert lists["bulk_angles"] == [[4, 5, 6], [4, 5, 7], [5, 7, 8], [6, 5, 7]]
        assert lists["PRO_phi"] == [[2, 4, 5, 7]] and lists["GLY_psi"] == [[0, 1, 2, 4]] and "GLY_phi" not in lists
        assert lists["pro_omega"] == [[1, 2, 4, 5]] and lists["non_pro_omega"] == [[5, 7, 9, 10]]
        assert lists["gamma_1"] == [[4, 6, 7, 5], [9, 11, 12, 10]] and lists["gamma_2"] == [[1, 3, 4, 2], [5, 8, 9, 7]]
        assert [pair for pair in lists["non_bonded"] if 0 in pair] == [
            [0, i] for i in range(6, 14)
        ]  # N and CA of Pro are 3 and 4 bonds away

    @pytest.mark.parametrize("mapping", ["5bead", "ca"])
    def testChignolin(self, shared, tmp_path, mapping):
        """Types, masses and lists of the structures that mlcg itself wrote, from the PDB file of the beads."""
        from openmmflash.convert._mlcgstructures import fieldsOf
        from openmmflash.convert._moduletree import toArray
        from openmmflash.convert._torchfile import loadTorchFile

        folder = shared / "models/mlcg"
        model, name = modelOf(folder, tmp_path, mapping), "structures_cln_5b.pt" if mapping == "5bead" else "structures_cln_ca.pt"
        theirs = fieldsOf(loadTorchFile(folder / name)[0])
        pdb = app.PDBFile(str(folder / "cln_5beads.pdb"))
        beads = coarseGrain(pdb.topology, pdb.positions, model)
        assert beads.structure.types.tolist() == toArray(theirs["atom_types"]).tolist()
        np.testing.assert_allclose(beads.structure.masses, toArray(theirs["masses"]) * 418.4, rtol=1e-6)
        expected = {key: sorted(toArray(value["index_mapping"]).T.tolist()) for key, value in theirs["neighbor_list"].items()}
        assert listsOf(beads.structure) == {key: terms for key, terms in expected.items() if terms}
        assert set(beads.structure.terms) == set(expected) - {"non_bonded"}


def modelOf(folder, target, mapping):
    """mlcg's models with tables by types: 5 beads random, C-alpha the trained network with the tables that it was specialised from."""
    from openmmflash.convert._moduletree import child, children
    from openmmflash.convert._torchfile import loadTorchFile
    from openmmflash.convert.mlcg import convertMlcg

    if mapping == "5bead":
        source, priors = folder / "random_5bead_model_and_prior.pt", None
    else:
        parts = loadTorchFile(folder / "schnet_cln_ca_specialized_model_and_config.pt")
        source, priors = children(child(parts[0], "models", "model"))["SchNet"], folder / "sparse_prior_cln_ca.pt"
    return FlashModel(convertMlcg(source, target / "model.safetensors", check=False, priors=priors).path)


class TestEnergies:
    """The energy of beads from a PDB file is that of the structure converted with the model."""

    def testTrainedCAlpha(self, shared, tmp_path):
        from openmmflash.convert.mlcg import convertMlcg

        folder = shared / "models/mlcg"
        report = convertMlcg(folder / "schnet_cln_ca_specialized_model_and_config.pt", tmp_path / "trained.safetensors", check=False)
        converted, trained = readStructure(report.files[0]), FlashModel(report.path)
        pdb = app.PDBFile(str(folder / "cln_5beads.pdb"))
        byTypes = modelOf(folder, tmp_path, "ca")
        beads = coarseGrain(pdb.topology, pdb.positions, byTypes)
        expected = energyOf(openmmflash.createSystem(converted, trained), beads.positions)
        assert abs(expected) > 1
        assert energyOf(openmmflash.createSystem(beads.topology, byTypes), beads.positions) == pytest.approx(expected, rel=1e-12)
        with pytest.raises(StructureError, match="dihedrals, angles, bonds .* have no parameters by types.*reference=FILE"):
            coarseGrain(pdb.topology, pdb.positions, trained)
        same = coarseGrain(pdb.topology, pdb.positions, trained, reference=report.files[0])
        assert energyOf(openmmflash.createSystem(same.structure, trained), same.positions) == pytest.approx(expected, rel=1e-12)
        trpCage = app.PDBFile(str(folder / "1L2Y_cg_structure.pdb"))
        with pytest.raises(StructureError, match="is not the molecule of the reference .*, which has 10 beads, not 20"):
            coarseGrain(trpCage.topology, trpCage.positions, trained, reference=converted)

    def testFiveBeads(self, shared, tmp_path):
        from openmmflash.convert.mlcg import convertMlcg

        folder = shared / "models/mlcg"
        source, structures = folder / "random_5bead_model_and_prior.pt", folder / "cln_configurations_demo.pt"
        report = convertMlcg(source, tmp_path / "converted.safetensors", check=False, structures=structures)
        converted, model = readStructure(report.files[0]), FlashModel(report.path)
        pdb = app.PDBFile(str(folder / "cln_5beads.pdb"))
        beads = coarseGrain(pdb.topology, pdb.positions, model)
        expected = energyOf(openmmflash.createSystem(converted, model), beads.positions)
        assert energyOf(openmmflash.createSystem(beads.topology, model), beads.positions) == pytest.approx(expected, rel=1e-12)

    def testTopologyAndStructureAgree(self, models):
        topology, positions = villin()
        beads = coarseGrain(topology, positions, models["5bead"])
        energy = energyOf(openmmflash.createSystem(beads.structure, models["5bead"]), beads.positions)
        assert energyOf(openmmflash.createSystem(beads.topology, models["5bead"]), beads.positions) == energy


class TestReading:
    def testBeads(self, models):
        topology, positions = villin()
        beads = coarseGrain(topology, positions * unit.nanometer, models["5bead"])
        atoms = list(topology.atoms())
        assert [(a.name, a.residue.id) for a in beads.topology.atoms()] == [(atoms[i].name, atoms[i].residue.id) for i in beads.atoms]
        names = [atom.name for residue in beads.topology.residues() for atom in residue.atoms() if residue.name != "GLY"]
        assert names == 33 * list(BEADS)
        np.testing.assert_array_equal(beads.positions.value_in_unit(unit.nanometer), positions[beads.atoms])
        assert beads.structure.masses.tolist()[:5] == [14, 12, 12, 12, 16]
        assert [models["5bead"].getTypeName(t) for t in beads.structure.types[:5]] == ["N", "CA", "LEU", "C", "O"]
        glycine = [bead.index for bead in beads.topology.atoms() if bead.residue.id == "11"]
        assert [models["5bead"].getTypeName(t) for t in beads.structure.types[glycine]] == ["N", "GLY", "C", "O"]
        assert len(list(beads.topology.bonds())) == beads.topology.getNumAtoms() - 1
        assert beads.notes == ["What is no amino acid is left out: 2 Cl."]

    def testFramesAndMapping(self, models):
        topology, positions = villin()
        frames = np.stack([positions, positions + 1])
        beads = coarseGrain(topology, frames, "ca")
        assert beads.structure.numFrames == 2 and beads.positions.shape == (2, 35, 3) and beads.mapping == "ca"
        assert beads.structure.symbols[:3] == ["LEU", "SER", "ASP"] and beads.structure.terms == {}
        with pytest.raises(StructureError, match=r"positions have shape \[2, 3\]; \[584, 3\]"):
            coarseGrain(topology, positions[:2], "ca")
        with pytest.raises(StructureError, match=r"positions\[5, 1\] is nan"):
            coarseGrain(topology, np.where(np.arange(584 * 3).reshape(584, 3) == 16, np.nan, positions), "ca")

    def testArguments(self, models):
        topology, positions = villin()
        with pytest.raises(TypeError, match="topology is a str; an openmm.app.Topology is needed"):
            coarseGrain("protein.pdb", positions, "ca")
        with pytest.raises(TypeError, match=r"positions is None; \[584, 3\]"):
            coarseGrain(topology, None, "ca")
        with pytest.raises(TypeError, match="model is a int"):
            coarseGrain(topology, positions, 3)
        with pytest.raises(ValueError, match="model is the name of a mapping, 'ca'; a coarse-grained model is needed"):
            structureFromTopology(topology, "ca")

    def testAllProblemsAtOnce(self):
        """Missing atoms, an amino acid that is none of the twenty, and a gap: residue, number, chain and names of each."""

        def edit(line):
            if inResidue(line, 4) and line[12:16].strip() in ("CB", "O") or inResidue(line, 20):
                return None
            return line[:17] + line[17:20].replace("THR", "TPO") + line[20] + "B" + line[22:26] + "C" + line[27:]

        with pytest.raises(StructureError) as caught:
            coarseGrain(*villin(edit), "5bead", source="villin.pdb")
        text = str(caught.value)
        assert text.startswith("villin.pdb cannot become beads of the mapping '5bead'")
        assert "TPO 13C of chain B" in text and "residues={'TPO': ...}" in text
        assert "GLU 4C of chain B has no CB O" in text
        assert "ASN 19C of chain B and PRO 21C of chain B, neighbours in their chain, are not bonded (0." in text
        assert text.count("not bonded") == 1  # the gaps that the other problems leave are theirs

    def testResiduesOfOtherNames(self, models):
        """Protonation states, AMBER's names of ends, MSE; others only when the user says so."""

        def edit(line):
            names = {2: "SEP", 3: "ASH", 12: "MSE"}
            return line[:17] + names.get(int(line[22:26]), line[17:20]) + line[20:]

        topology, positions = villin(edit)
        next(topology.residues()).name = "NLEU"
        with pytest.raises(StructureError, match=r"amino acids that the mapping does not know: SEP 2\. "):
            coarseGrain(topology, positions, models["5bead"])
        beads = coarseGrain(topology, positions, models["5bead"], residues={"SEP": "SER"})
        plain = coarseGrain(*villin(), models["5bead"])
        assert beads.structure == plain.structure
        assert [r.name for r in beads.topology.residues()] == [r.name for r in plain.topology.residues()]
        assert {"MSE is taken for MET (1 of them).", "SEP is taken for SER (1 of them)."} < set(beads.notes)
        with pytest.raises(ValueError, match="residues has 'SEP': 'FOO'; a residue can be taken for one of ALA"):
            coarseGrain(topology, positions, "ca", residues={"SEP": "FOO"})

    def testGaps(self, models):
        topology, positions = villin(lambda line: None if inResidue(line, 20) else line)
        with pytest.raises(StructureError, match="broken chains: ASN 19 and PRO 21"):
            coarseGrain(topology, positions, models["ca"])
        beads = coarseGrain(topology, positions, models["ca"], gaps="split")
        assert [len(list(chain.residues())) for chain in beads.topology.chains()] == [19, 15]
        assert any("cut at 1 gap" in note for note in beads.notes)
        assert [18, 19] not in beads.structure.terms["bonds"].particles.tolist() and len(beads.structure.terms["bonds"].particles) == 32
        assert [18, 19] not in beads.structure.exclusions.tolist()  # the two ends repel each other
        with pytest.raises(ValueError, match="gaps is 'ignore'; 'error' and 'split' are allowed"):
            coarseGrain(topology, positions, models["ca"], gaps="ignore")

    def testSeveralChains(self, models):
        lines = villinLines()[:582]
        second = [f"{line[:21]}B{line[22:30]}{float(line[30:38]) + 40:8.3f}{line[38:]}" for line in lines]
        first = [line[:21] + "A" + line[22:] for line in lines]
        beads = coarseGrain(*readPdb([*first, "TER", *second]), models["5bead"])
        single = coarseGrain(*readPdb(first), models["5bead"]).structure
        n = single.numParticles
        assert [chain.id for chain in beads.topology.chains()] == ["A", "B"]
        for name, terms in single.terms.items():
            expected = np.concatenate([terms.particles, terms.particles + n])
            assert sorted(map(tuple, beads.structure.terms[name].particles)) == sorted(map(tuple, expected)), name
        assert len(beads.structure.exclusions) == 2 * len(single.exclusions)

    def testAlternateLocationsAndInsertionCodes(self, models):
        lines = []
        for line in villinLines()[:582]:
            # Residues 1 to 35 become 1, 1A, 2, 2A, ...
            number = int(line[22:26]) - 1
            line = f"{line[:22]}{number // 2 + 1:4d}{'A' if number % 2 else ' '}{line[27:]}"
            if number == 7:
                lines += [
                    f"{line[:16]}{letter}{line[17:30]}{float(line[30:38]) + shift:8.3f}{line[38:]}"
                    for letter, shift in (("A", 0.0), ("B", 0.5))
                ]
            else:
                lines.append(line)
        beads = coarseGrain(*readPdb(lines), models["5bead"])
        assert beads.structure == coarseGrain(*villin(), models["5bead"]).structure
        assert [residue.id + residue.insertionCode.strip() for residue in beads.topology.residues()][:4] == ["1", "1A", "2", "2A"]
        topology, positions = readPdb(villinLines())
        list(topology.atoms())[4].name = "N"
        with pytest.raises(StructureError, match="LEU 1 has two atoms N"):
            coarseGrain(topology, positions, "5bead")

    def testMirrorImage(self):
        topology, positions = villin()
        with pytest.raises(StructureError, match="D-amino acids, judging by CB: LEU 1; SER 2; .*and 25 more"):
            coarseGrain(topology, positions * [-1, 1, 1], "ca")

    def testRing(self):
        topology, positions = villin(lambda line: None if inResidue(line, 35) and line[12:16].strip() == "CB" else line)
        ends = [next(a.index for a in topology.atoms() if (a.residue.id, a.name) == end) for end in (("1", "N"), ("35", "C"))]
        assert not any("ring" in note for note in coarseGrain(topology, positions, "ca").notes)
        positions[ends[1]] = positions[ends[0]] + [0, 0, 0.133]
        notes = coarseGrain(topology, positions, "ca").notes
        assert "PHE 35 is bonded to LEU 1: a ring, which is treated as an open chain." in notes

    def testNoProtein(self):
        with pytest.raises(StructureError, match="there is no amino acid in it"):
            coarseGrain(*readPdb(villinLines()[582:]), "ca")

    def testBoxIsLeftOut(self, models):
        topology, positions = villin()
        topology.setUnitCellDimensions(openmm.Vec3(5, 5, 5))
        beads = coarseGrain(topology, positions, models["ca"])
        assert beads.topology.getPeriodicBoxVectors() is None and beads.structure.box is None
        assert "The periodic box is left out: it was that of all atoms." in beads.notes


class TestTopologyOfBeads:
    @pytest.mark.parametrize("mapping", ["ca", "5bead"])
    def testPdbFile(self, models, mapping):
        """Written as PDB and read again: the same residues, lists and gaps."""
        topology, positions = villin(lambda line: None if inResidue(line, 20) else line)
        beads = coarseGrain(topology, positions, models[mapping], gaps="split")
        file = io.StringIO()
        app.PDBFile.writeFile(beads.topology, beads.positions, file, keepIds=True)
        again = app.PDBFile(io.StringIO(file.getvalue()))
        read = structureFromTopology(again.topology, models[mapping], again.positions)
        assert listsOf(read) == listsOf(beads.structure) == listsOf(structureFromTopology(again.topology, models[mapping]))
        assert read.types.tolist() == beads.structure.types.tolist()
        np.testing.assert_allclose(read.positions, beads.structure.positions, atol=6e-5)
        unbroken = app.PDBFile(io.StringIO("\n".join(line for line in file.getvalue().splitlines() if not line.startswith("TER"))))
        with pytest.raises(StructureError, match=r"broken chains: ASN 19 .*separate them into chains \(TER"):
            structureFromTopology(unbroken.topology, models[mapping], unbroken.positions)

    def testBondsTell(self, models):
        """Without positions a chain with bonds is broken where it has none."""
        topology, positions = villin()
        beads = coarseGrain(topology, positions, models["ca"]).topology
        joined = app.Topology()
        chain, atoms = joined.addChain(), []
        for residue in beads.residues():
            atoms.append(joined.addAtom("CA", app.element.carbon, joined.addResidue(residue.name, chain)))
        for i in range(34):
            if i != 9:
                joined.addBond(atoms[i], atoms[i + 1])
        bonds = structureFromTopology(joined, models["ca"]).terms["bonds"].particles.tolist()
        assert bonds == [[i, i + 1] for i in range(34) if i != 9]

    def testPlaceholderOfABox(self, models):
        topology = beadTopology(["AAAA"], "ca")
        topology.setUnitCellDimensions(openmm.Vec3(1, 1, 1) * unit.angstrom)
        assert structureFromTopology(topology, models["ca"]).box is None
        with pytest.warns(UserWarning, match="placeholder"):
            assert not openmmflash.createSystem(topology, models["ca"]).usesPeriodicBoundaryConditions()

    def testAllAtoms(self, models):
        topology, positions = villin()
        for call in (lambda: structureFromTopology(topology, models["ca"]), lambda: openmmflash.createSystem(topology, models["ca"])):
            with pytest.raises(StructureError, match=r"atom 0 \(N of LEU 1\) is no bead: of LEU the mapping 'ca' has CA.*coarseGrain"):
                call()


class TestModels:
    def testNames(self):
        """A name that is unknown, one that has no meaning for one bead a residue, and one of another number of particles."""
        for name, form, arity in (("bends", "cosine_angle", 3), ("phi", "fourier_dihedral", 4), ("angles", "harmonic_bond", 2)):
            model = FlashModel.fromBytes(proteinModel("ca", priors=[(name, form, [(0,) * arity])]))
            with pytest.raises(StructureError, match=f"prior '{name}' \\({form}, .*does not say which beads"):
                structureFromTopology(beadTopology(["AAAA"], "ca"), model)

    def testSpecialisedPriors(self, tmp_path):
        """Parameters for the terms of one molecule serve this molecule alone, and are never guessed for another."""
        model = FlashModel.fromBytes(proteinModel("ca", priors=[("bonds", "harmonic_bond", [])]))
        topology = beadTopology(["AWG"], "ca")
        with pytest.raises(StructureError, match="priors bonds of the model 'protein' have no parameters by types.*reference=FILE"):
            openmmflash.createSystem(topology, model)
        terms = {"bonds": Terms(np.array([[0, 1], [1, 2]]), np.array([[10.0, 3.8], [20.0, 3.9]]))}
        reference = Structure(np.eye(3), types=[0, 18, 5], exclusions=[[0, 1]], terms=terms)
        writeStructure(tmp_path / "reference.npz", reference)
        for given in (reference, tmp_path / "reference.npz"):
            structure = structureFromTopology(topology, model, reference=given)
            assert structure.terms["bonds"].parameters.tolist() == [[10.0, 3.8], [20.0, 3.9]]
            assert structure.exclusions.tolist() == [[0, 1]]
        with pytest.raises(StructureError, match="not the molecule of the reference .*, which has TRP for bead 1, not ALA"):
            structureFromTopology(beadTopology(["AAG"], "ca"), model, reference=reference)
        with pytest.raises(TypeError, match="reference is a int"):
            structureFromTopology(topology, model, reference=3)
        assert structureFromTopology(topology, model, includePriors=False).terms == {}
        assert openmmflash.createSystem(topology, model, includePriors=False, removeCMMotion=False).getNumForces() == 1

    def testRepulsionAsTerms(self):
        model = FlashModel.fromBytes(proteinModel("ca", priors=[("non_bonded", "power_repulsion", [(0, 0)])], pairPrior=False))
        structure = structureFromTopology(beadTopology(["AAAAA"], "ca"), model)
        assert structure.terms["non_bonded"].particles.tolist() == [[0, 3], [0, 4], [1, 4]] and structure.exclusions is None

    def testPairSeparation(self, models):
        topology = beadTopology(["AAG"], "5bead")
        assert len(structureFromTopology(topology, models["5bead"], pairSeparation=1).exclusions) == 0
        two = structureFromTopology(topology, models["5bead"], pairSeparation=2).exclusions.tolist()
        assert [0, 4] in two and [4, 5] not in two  # never within a residue: N and O; between residues O and the next N
        assert [0, 5] in structureFromTopology(topology, models["5bead"], pairSeparation=4).exclusions.tolist()
        for wrong in (0, 1.5, True):
            with pytest.raises(ValueError, match="pairSeparation is .*; it is a number of bonds"):
                structureFromTopology(topology, models["5bead"], pairSeparation=wrong)

    def testTypes(self):
        few = FlashModel.fromBytes(proteinModel("ca", priors=[], names=["ALA", "GLY"]))
        with pytest.raises(StructureError, match="has no type for TRP 2 of chain 1; it knows ALA GLY"):
            structureFromTopology(beadTopology(["AWG"], "ca"), few)
        other = FlashModel.fromBytes(proteinModel("ca", priors=[], names=["BB", "SC"]))
        with pytest.raises(StructureError, match="types are BB SC; known are residues alone"):
            structureFromTopology(beadTopology(["AWG"], "ca"), other)

    def testNoParametersForTheseTypes(self):
        """Nothing of mlcg's silent zeros: a term that the tables do not have is an error."""
        model = FlashModel.fromBytes(proteinModel("ca", priors=[("bonds", "harmonic_bond", [(0, 0)])]))
        with pytest.raises(StructureError, match=r"terms/bonds/particles\[1\] is \[1, 2\] with the types ALA, TRP"):
            openmmflash.createSystem(beadTopology(["AAW"], "ca"), model)


class TestCommand:
    @pytest.fixture
    def invoke(self, tmp_path, monkeypatch):
        testing = pytest.importorskip("click.testing", reason="the command line needs the package click")
        from openmmflash.cli._app import app as command

        monkeypatch.chdir(tmp_path)
        priors = [prior for prior in priorsOf("ca") if prior[0] != "pseudo_ca_dihedral"]
        (tmp_path / "model.safetensors").write_bytes(proteinModel("ca", priors))
        (tmp_path / "villin.pdb").write_text("\n".join(villinLines()) + "\nEND\n")

        def call(*arguments, code=0):
            result = testing.CliRunner().invoke(command, arguments)
            assert result.exit_code == code, result.output
            return result.output

        return call

    def testFiles(self, invoke):
        output = invoke("coarsegrain", "villin.pdb", "-m", "model.safetensors", "-o", "beads.npz")
        assert "35 residues in 1 chain became 35 beads of the mapping 'ca'" in output and "left out: 2 Cl" in output
        energies = []
        for structure in ("beads.npz", "beads.pdb"):
            invoke("energy", "model.safetensors", structure, "--json", "e.json", "--platform", "Reference")
            with open("e.json") as file:
                energies.append(json.load(file)["energy"])
        assert energies[0] == pytest.approx(energies[1], abs=1e-6) and energies[0] != 0
        assert "beads.npz exists" in invoke("coarsegrain", "villin.pdb", "-m", "model.safetensors", "-o", "beads.npz", code=2)
        invoke("coarsegrain", "villin.pdb", "-m", "ca", "-o", "beads.npz", "--overwrite")
        with open("specialised.safetensors", "wb") as file:
            file.write(proteinModel("ca", [("bonds", "harmonic_bond", [])]))
        invoke("energy", "specialised.safetensors", "beads.pdb", "--no-priors", "--platform", "Reference")

    def testAllAtomsAreNotSimulated(self, invoke):
        assert "is no bead" in invoke("run", "villin.pdb", "-m", "model.safetensors", "-o", "out", "--steps", "5", code=2)

    def testErrors(self, invoke):
        with open("villin.pdb") as file:
            lines = [line for line in file.read().splitlines() if line[22:26] != "  20"]
        with open("gap.pdb", "w") as file:
            file.write("\n".join(lines).replace("TRP", "FOO"))
        text = invoke("coarsegrain", "gap.pdb", "-m", "model.safetensors", "-o", "beads.npz", code=2)
        assert "--residue OLD=NEW" in text and "--gaps split" in text
        invoke("coarsegrain", "gap.pdb", "-m", "model.safetensors", "-o", "beads.npz", "--gaps", "split", "--residue", "FOO=TRP")
        assert "write OLD=NEW" in invoke("coarsegrain", "gap.pdb", "-m", "ca", "-o", "b.npz", "--residue", "FOO", code=2)
        assert "is called FILE.npz" in invoke("coarsegrain", "gap.pdb", "-m", "ca", "-o", "b.pdb", code=2)
        assert "does not name residues" in invoke("coarsegrain", "beads.npz", "-m", "ca", "-o", "b.npz", code=2)
