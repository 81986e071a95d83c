# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Structures that other packages come with become beads, or it is said why not. What is expected of each is what is known of the molecule.

Each file is skipped where its package is not installed; OpenMM's own are always there.
"""

import gzip
import importlib.util
from pathlib import Path

import pytest
from protein_beads import priorsOf, proteinModel

from openmmflash import FlashModel, createSystem
from openmmflash.coarsegrain import coarseGrain
from openmmflash.structure import loadStructure
from openmmflash.structurefile import StructureError

TIER = "tests/data/integration_tests/tier-"
# (package, file, residues of each chain, what must be said about what was left out)
PROTEINS = [
    ("openmm", "app/data/test.pdb", [35], "2761 HOH, 2 Cl"),  # villin headpiece in water
    ("pdbfixer", "tests/data/test.pdb", [36], ""),
    ("pdbfixer", "tests/data/alanine-dipeptide.pdb", [1], "1 ACE, 1 NME"),
    ("vermouth", "tests/data/1UBQ.pdb", [76], "58 HOH"),
    ("vermouth", "tests/data/1UBQ.cif", [76], "58 HOH"),
    ("vermouth", "tests/data/1bta.pdb", [89], ""),  # barstar, NMR
    ("vermouth", "tests/data/2dn2.pdb", [141, 146, 141, 146], ""),  # haemoglobin
    ("vermouth", "tests/data/tri_alanine.pdb", [3], ""),
    ("vermouth", TIER + "0/mini-protein3_trp-cage/aa.pdb", [20], ""),
    ("vermouth", TIER + "1/1mj5/aa.pdb", [295], ""),
    ("vermouth", TIER + "1/3i40/3i40.pdb", [21, 30], "Disulfide bonds (3)"),  # insulin
    ("vermouth", TIER + "1/bpti/aa.pdb", [58], "Disulfide bonds (3)"),
    ("vermouth", TIER + "1/hst5/aa.pdb", [24], ""),  # histatin 5, disordered
    ("vermouth", TIER + "1/lysozyme/aa.pdb", [129], "Disulfide bonds (4)"),
    ("vermouth", TIER + "1/prot_modf_charmm/input.pdb", [129], ""),  # with CHARMM's names
    ("openmmtools", "data/T4-lysozyme-L99A-implicit/receptor.pdb", [162], ""),
    ("openmmtools", "data/amoeba/1AP4_14_wat.pdb", [89], "1 Ca"),  # the calcium ion is called CA
    ("MDAnalysisTests", "data/4E43.pdb", [99, 99, 6], "10 GOL"),  # a protease with a peptide, alternate locations
    ("MDAnalysisTests", "data/adk_open.pdb", [214], ""),
    ("MDAnalysisTests", "data/19hc.pdb.gz", [292, 292], "18 HEM"),  # a cytochrome
    ("MDAnalysisTests", "data/1osm.pdb.gz", [185], ""),
    ("MDAnalysisTests", "data/mmcif/1YJP.cif", [7], "7 HOH"),  # an amyloid peptide
    ("MDAnalysisTests", "data/dssp/1ahsA.pdb.gz", [126], ""),
]
# (package, file, mapping, why not)
REFUSED = [
    ("openmm", "app/data/tip3p.pdb", "ca", "there is no amino acid"),
    ("vermouth", "tests/data/dna-short.pdb", "ca", "there is no amino acid"),
    ("vermouth", "tests/data/1bta_mutated.pdb", "ca", "does not know: UNK 1 of chain A"),
    ("vermouth", TIER + "1/6LFO_gap/6LFO_gap.pdb", "ca", "SER 67 of chain R and SER 72 of chain R"),
    ("vermouth", TIER + "0/mini-protein1_betasheet/aa.pdb", "5bead", "D-amino acids, judging by CB: PRO 8 of chain A; ALA 23 of chain A"),
    ("vermouth", TIER + "0/mini-protein2_helix/aa.pdb", "5bead", "LEU 43 of chain A has no O"),
    ("pdbfixer", "tests/data/1BHL.pdb", "ca", r"CAS 65 of chain A; CAS 130 of chain A.*GLN 137 of chain A and MET 154"),
    ("MDAnalysisTests", "data/1hvr.pdb", "ca", "CSO 67 of chain A; CSO 67 of chain B"),
    ("MDAnalysisTests", "data/1grm_single.pdb", "ca", "D-amino acids, judging by CB: LEU 4 of chain A"),  # gramicidin
    ("MDAnalysisTests", "data/mmcif/1BD2.pdb.gz", "5bead", "ARG 17 of chain A has no CB"),
]


@pytest.fixture(scope="module")
def models():
    ca = proteinModel("ca", [prior for prior in priorsOf("ca") if prior[0] != "pseudo_ca_dihedral"])
    return {"ca": FlashModel.fromBytes(ca), "5bead": FlashModel.fromBytes(proteinModel("5bead"))}


def load(package, name, folder):
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"the package {package}, which {name} comes with, is not installed")
    path = next(Path(place) / name for place in spec.submodule_search_locations)
    if not path.exists():
        pytest.skip(f"this version of {package} comes without {name}")
    if path.suffix == ".gz":
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        path = folder / path.stem
    return loadStructure(path)


@pytest.mark.parametrize(("package", "name", "residues", "note"), PROTEINS, ids=[f"{p}-{n}" for p, n, *_ in PROTEINS])
def testConverted(models, tmp_path, package, name, residues, note):
    structure = load(package, name, tmp_path)
    for mapping, model in models.items():
        beads = coarseGrain(structure.topology, structure.positions, model)
        assert [len(list(chain.residues())) for chain in beads.topology.chains()] == residues
        assert note in " ".join(beads.notes)
        glycines = sum(residue.name == "GLY" for residue in beads.topology.residues())
        assert beads.structure.numParticles == (sum(residues) if mapping == "ca" else 5 * sum(residues) - glycines)
        createSystem(beads.structure, model)


@pytest.mark.parametrize(("package", "name", "mapping", "reason"), REFUSED, ids=[f"{p}-{n}" for p, n, *_ in REFUSED])
def testRefused(tmp_path, package, name, mapping, reason):
    structure = load(package, name, tmp_path)
    with pytest.raises(StructureError, match=reason):
        coarseGrain(structure.topology, structure.positions, mapping)
