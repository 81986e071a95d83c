# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""What openmm-flash compare is made of: structures, measures with known values, MARTINI's files and its run."""

import dataclasses
import importlib.util
import shutil

import numpy as np
import openmm
import pytest

from openmmflash.bench import polyala
from openmmflash.compare import CompareError, martini
from openmmflash.compare.protein import prepare
from openmmflash.compare.settings import MARTINI, Outcome, Settings

GAS_CONSTANT = 8.31446261815324e-3
FILES = ("models/martini/martini_v2.2.itp", "models/martini/martini_v2.0_ions.itp")
CHIGNOLIN = "models/mlcg/cln_5beads.pdb"
TYPES = {
    "martini22": "[ defaults ]\n1 1\n[ atomtypes ]\nP4 72 0 A 0 0\nQda 72 0 A 0 0\n",
    "martini3001": "[ atomtypes ]\nTC1 36 0 A 0 0 ; tiny\n",
}
WATER = "[ moleculetype ]\n; name exclusions\nW 1\n[ atoms ]\n1 P4 1 W W 1 0\n"


@pytest.fixture(scope="module")
def platform():
    return openmm.Platform.getPlatform("CPU")


def peptide(path, keep=lambda residue, number, name: True, rename=None, shift=None, residues=3, extra=""):
    """ACE-(ALA)n-NME as PDB, with atoms left out, residues renamed {number: name} or all from a residue on shifted along x."""
    names, positions, _ = polyala.build(residues)
    lines = []
    for k, ((residue, number, name), (x, y, z)) in enumerate(zip(names, 10 * positions), 1):
        if keep(residue, number, name):
            x += shift[1] if shift and number >= shift[0] else 0.0
            residue = (rename or {}).get(number, residue)
            lines.append(
                f"ATOM  {k:5d} {name:^4s} {residue:3s} A{number:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {name[0]:>2s}\n"
            )
    path.write_text("".join(lines) + extra + "END\n")
    return str(path)


def isHeavy(residue, number, name):
    return not name.startswith("H")


def testHydrogensAndWater(platform, tmp_path):
    water = "HETATM  900  O   HOH B 900      30.000  30.000  30.000  1.00  0.00           O\n"
    source = peptide(tmp_path / "p.pdb", isHeavy, extra=water)
    protein = prepare(source, str(tmp_path / "out.pdb"), platform)
    assert protein.sequence() == ["ALA"] * 3 and protein.topology.getNumAtoms() == 42  # 12 + 10 n
    notes = " ".join(protein.notes)
    assert (
        "Left out, being no protein: 1 HOH." in notes and "22 hydrogens were added" in notes
    )  # 6 of the caps' methyls and NH, 5 of alanine
    from openmm import app

    assert app.PDBFile(protein.path).topology.getNumAtoms() == 42


def testMissingHeavyAtoms(platform, tmp_path, monkeypatch):
    pytest.importorskip("pdbfixer", reason="needs the package pdbfixer, which adds missing atoms")
    source = peptide(tmp_path / "p.pdb", lambda residue, number, name: number != 3 or name[:2] not in ("CB", "HB"))
    protein = prepare(source, str(tmp_path / "out.pdb"), platform)
    assert protein.topology.getNumAtoms() == 42 and "1 missing heavy atoms were added by PDBFixer: CB of ALA 3" in " ".join(protein.notes)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pdbfixer" else found(name))
    with pytest.raises(CompareError, match=r"p\.pdb: atoms of ALA 3 of chain A are missing.*pip install pdbfixer"):
        prepare(source, str(tmp_path / "out.pdb"), platform)


def testEndsOfChains(platform, tmp_path, monkeypatch):
    """A chain's end without its second oxygen becomes a carboxylate, also where PDBFixer puts the oxygen between O and CA, as it may."""
    pdbfixer = pytest.importorskip("pdbfixer", reason="needs the package pdbfixer, which adds missing atoms")
    add = pdbfixer.PDBFixer.addMissingAtoms

    def misplace(fixer, **arguments):
        add(fixer, **arguments)
        atoms = {atom.name: atom.index for atom in fixer.topology.atoms()}  # of the last residue
        fixer.positions[atoms["OXT"]] = 0.5 * (fixer.positions[atoms["CA"]] + fixer.positions[atoms["O"]])

    monkeypatch.setattr(pdbfixer.PDBFixer, "addMissingAtoms", misplace)
    source = peptide(tmp_path / "p.pdb", lambda *atom: atom[0] == "ALA" and isHeavy(*atom))
    protein = prepare(source, str(tmp_path / "out.pdb"), platform)
    atoms = {atom.name: atom.index for atom in protein.topology.atoms() if atom.residue.id == "4"}
    ca, c, o, oxt = (protein.positions[atoms[name]] for name in ("CA", "C", "O", "OXT"))
    assert angleOf(o, c, oxt) == pytest.approx(125, abs=4) and angleOf(ca, c, oxt) == pytest.approx(117, abs=4)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"shift": (3, 4.0)}, r"ALA 2 and ALA 3 of chain A are neighbors in the file, but C and N are 0\.\d\d nm apart"),
        ({"rename": {3: "SEP"}}, r"SEP 3 of chain A are no standard amino acids"),
        ({"rename": {1: "LIG", 2: "LIG", 3: "LIG", 4: "LIG", 5: "LIG"}, "keep": lambda r, n, name: name != "CA"}, "has no amino acid"),
    ],
)
def testStructuresThatAreRefused(platform, tmp_path, options, message):
    with pytest.raises(CompareError, match=message):
        prepare(peptide(tmp_path / "p.pdb", **options), str(tmp_path / "out.pdb"), platform)


@pytest.fixture
def helix(tmp_path):
    """measure(change) of ten frames of an ideal helix of eight alanines, changed by a function of positions and frame."""
    mdtraj = pytest.importorskip("mdtraj", reason="compare needs the package mdtraj")
    from openmmflash.compare.analysis import measure

    native = mdtraj.load(peptide(tmp_path / "helix.pdb", residues=8))

    def call(change, keep="all"):
        atoms = native.topology.select(keep)
        part = native.atom_slice(atoms)
        part[0].save_pdb(tmp_path / "part.pdb")
        frames = np.array([change(part.xyz[0].astype(float), k) for k in range(10)])
        mdtraj.Trajectory(frames, part.topology).save_xtc(str(tmp_path / "t.xtc"))
        result = {"trajectories": [str(tmp_path / "t.xtc")], "topology": str(tmp_path / "part.pdb"), "bead": "CA"}
        return measure(result | {"reference": str(tmp_path / "helix.pdb"), "interval": 50, "timestep_fs": 2.0}, 8)

    return call


def rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def testMeasuresOfAHelixThatMoves(helix):
    """Turned and shifted it is the same; angles are those that it was built with. Files are rounded to 0.001 nm."""
    found = helix(lambda x, k: x @ rotation(k) + 0.3 * k)
    assert found.rmsd.shape == (1, 10) and found.rmsd.max() < 2e-3
    assert found.gyration == pytest.approx(np.full((1, 10), found.native["gyration"]), abs=1e-3)
    assert found.contacts.min() > 0.99
    np.testing.assert_allclose(found.time, 1e-4 * np.arange(1, 11))  # 50 steps of 2 fs
    assert found.phi.shape == (10, 8) and np.abs(found.phi - polyala.PHI).max() < 1.5 and np.abs(found.psi - polyala.PSI).max() < 1.5
    # Of an alpha helix with these angles: Levitt, J. Mol. Biol. 104, 59 (1976), 91 and 52 degrees.
    assert np.abs(found.angles - 91).max() < 2 and np.abs(found.dihedrals - 50).max() < 3
    assert found.distances[0].shape == (10, 15) and found.native["contacts"] == 9  # 8 residues: 15 pairs; i+3 and i+4 within 0.8 nm


def testMeasuresOfAHelixThatGrows(helix):
    """Scaled by s about its centre: Rg grows by s, and the RMSD is (s - 1) Rg. Contacts are lost. Beads alone give the same."""
    scale = 1.05 + 0.05 * np.arange(10)
    for keep in ("all", "name CA"):
        found = helix(lambda x, k: x * scale[k], keep)
        native = found.native["gyration"]
        assert found.gyration[0] == pytest.approx(scale * native, abs=1e-3)
        assert found.rmsd[0] == pytest.approx((scale - 1) * native, abs=2e-3)
        assert found.contacts[0, 0] > 0.98 and found.contacts[0, -1] < 0.01  # at 1.05 and 1.5 times the distance
        assert (np.diff(found.contacts[0]) <= 0).all()
        assert (found.phi is None) == (keep != "all") and found.broken == 0
    torn = helix(lambda x, k: x * (1 if k < 7 else 2))
    assert torn.broken == 3  # neighbors 0.76 nm apart


def angleOf(a, b, c):
    u, v = a - b, c - b
    return np.degrees(np.arccos(np.sum(u * v, axis=-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)))


def dihedralOf(a, b, c, d):
    """IUPAC's sign."""
    u, v, w = b - a, c - b, d - c
    n, m = np.cross(u, v), np.cross(v, w)
    return np.degrees(np.arctan2(np.linalg.norm(v, axis=-1) * np.sum(u * m, axis=-1), np.sum(n * m, axis=-1)))


def testAnglesOfABentHelix(helix):
    """Each angle belongs to its residue: against the formulas, on a structure without symmetry."""
    noise = np.random.default_rng(3).normal(scale=0.02, size=(92, 3))
    found = helix(lambda x, k: x + noise)
    names, positions, _ = polyala.build(8)
    x = {(number, name): position for (_, number, name), position in zip(names, positions + noise)}
    n, ca, c = (np.array([x[k, name] for k in range(2, 10)]) for name in ("N", "CA", "C"))
    before, after = np.vstack([[x[1, "C"]], c[:-1]]), np.vstack([n[1:], [x[10, "N"]]])
    for values, expected in (
        (found.phi, dihedralOf(before, n, ca, c)),
        (found.psi, dihedralOf(n, ca, c, after)),
        (found.dihedrals, dihedralOf(ca[:-3], ca[1:-2], ca[2:-1], ca[3:])),
        (found.angles, angleOf(ca[:-3], ca[1:-2], ca[2:-1])),
    ):
        assert values.shape == (10, len(expected))
        assert np.abs((values - expected + 180) % 360 - 180).max() < 2  # coordinates are rounded to 0.001 nm, bonds 0.13 nm long


def testMeasuresOfAnotherProtein(helix):
    with pytest.raises(CompareError, match="0 particles CA are in the trajectory and 8 in the reference; the protein has 8"):
        helix(lambda x, k: x, "name CB")


def outcome(name, rmsd, distances=None, step=0.001):
    from openmmflash.compare.analysis import Measures

    values = np.atleast_2d(rmsd)
    none = dict.fromkeys(("contacts", "phi", "psi", "angles", "dihedrals"))
    measures = Measures(step * np.arange(1, values.shape[1] + 1), values, values, native={}, distances=distances, **none)
    return Outcome(name, "done", result={"title": name}, measures=measures)


def testFreeEnergyOfTwoStates():
    """Populations of 3 to 1 are kT ln 3 apart; nothing is said of bins where nothing was."""
    from openmmflash.compare.freeenergy import BINS, chooseCoordinate, profiles

    one = outcome("flash", np.tile([0.1, 0.1, 0.1, 0.5], 100))
    coordinate = chooseCoordinate([one], "rmsd")
    centers, energies = profiles(coordinate, 350.0)
    whole, halves = energies["flash"]
    assert coordinate.kind == "rmsd" and len(centers) == BINS
    assert whole[0] == 0 and whole[-1] == pytest.approx(GAS_CONSTANT * 350 * np.log(3)) and np.isnan(whole[1:-1]).all()
    np.testing.assert_allclose(halves, [whole, whole])


def testTicaFindsWhatIsSlow():
    """One distance jumps seldom, the others tremble with ten times its amplitude: TICA takes the slow one, and points away from native."""
    pytest.importorskip("deeptime", reason="TICA needs the package deeptime")
    from openmmflash.compare.freeenergy import chooseCoordinate

    random = np.random.default_rng(5)
    state = np.cumsum(random.random(4000) < 0.005) % 2
    fast = random.normal(size=(4000, 5))
    distances = np.column_stack([state + 0.1 * random.normal(size=4000), 10 * fast])
    one = outcome("flash", 0.2 + 0.5 * (1 - state), [distances])
    other = outcome("amber-implicit", np.full(30, 0.2), [distances[:30]])
    coordinate = chooseCoordinate([one, other], "tica")
    assert coordinate.kind == "tica" and "fitted to the trajectories of flash" in coordinate.text
    assert np.corrcoef(coordinate.values["flash"][0], 1 - state)[0, 1] > 0.95
    np.testing.assert_allclose(coordinate.values["amber-implicit"][0], coordinate.values["flash"][0, :30])
    few = chooseCoordinate([other], "tica")
    assert few.kind == "rmsd" and "no engine wrote the 100 frames" in few.text


def write(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize("version", sorted(TYPES))
def testMartiniVersions(tmp_path, version):
    found = martini.Interactions([write(tmp_path, "ff.itp", TYPES[version]), write(tmp_path, "solvent.itp", WATER)])
    assert found.version == version and found.molecules == {"W"}


def testOrderOfMartinisFiles(tmp_path):
    """grompp wants defaults, types and molecules in this order, however they are given."""
    texts = {"molecules.itp": WATER, "more.itp": "[atomtypes]\nX 1 0 A 0 0\n", "ff.itp": TYPES["martini22"]}
    files = [write(tmp_path, name, text) for name, text in texts.items()]
    for given in (files, files[::-1], files[1:] + files[:1]):
        assert martini.Interactions(given).paths == files[::-1]


@pytest.mark.parametrize(
    "text, message",
    [
        (WATER, "have 0 atom types, but not those of MARTINI 2.2 .*or MARTINI 3.0"),
        ("".join(TYPES.values()) + WATER, "have types of both versions"),
        (TYPES["martini3001"], r"have no molecule W.*martini_v3\.0\.0_solvents_v1\.itp"),
    ],
)
def testMartiniFilesThatAreRefused(tmp_path, text, message):
    with pytest.raises(CompareError, match=message):
        martini.Interactions([write(tmp_path, "ff.itp", text)])


def testBeadsOfMartini(platform, tmp_path):
    """martinize2 on a capped peptide with MARTINI 3: a backbone and a side-chain bead of each alanine, no charge."""
    if martini.martinize() is None:
        pytest.skip("needs martinize2: the package vermouth is not installed")
    protein = prepare(None, str(tmp_path / "p.pdb"), platform, alanines=4)
    interactions = martini.Interactions([write(tmp_path, "ff.itp", TYPES["martini3001"] + WATER)])
    molecules = martini.coarseGrain(protein, interactions, str(tmp_path), str(tmp_path / "log.txt"))
    beads = [line[12:16].strip() for line in (tmp_path / "cg.pdb").read_text().splitlines() if line.startswith("ATOM")]
    assert beads.count("BB") == 4 and beads.count("SC1") == 4 and len(beads) == 8
    assert [line.split() for line in molecules if line.strip()] == [["molecule_0", "1"]] and martini._charge(str(tmp_path), molecules) == 0
    atoms = (tmp_path / "molecule_0.itp").read_text().split("[ atoms ]")[1].split("[")[0].strip().splitlines()
    assert [float(line.split()[6]) for line in atoms] == [0] * 8  # caps make both ends neutral


def twoChains(path, chignolin, folder):
    """Chignolin and, 1 nm beside it, three alanines."""
    from openmm import app, unit

    alanines = peptide(folder / "peptide.pdb", lambda residue, number, name: residue == "ALA" and isHeavy(residue, number, name))
    first, second = app.PDBFile(str(chignolin)), app.PDBFile(alanines)
    x, y = (np.array(file.getPositions(asNumpy=True).value_in_unit(unit.nanometer)) for file in (first, second))
    y += x.mean(axis=0) - y.mean(axis=0)
    y[:, 0] += x[:, 0].max() + 1.0 - y[:, 0].min()
    modeller = app.Modeller(first.topology, x * unit.nanometer)
    modeller.add(second.topology, y * unit.nanometer)
    with open(path, "w") as file:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
    return str(path)


def testMartiniWithGromacs(platform, shared, tmp_path):
    """Two chains with MARTINI 2.2, files in any order: charges, water, ions, a run by the clock and a trajectory of whole molecules.

    One thread: threads of mdrun that wait for each other are slow where tests run side by side.
    """
    if martini.martinize() is None or shutil.which("gmx") is None:
        pytest.skip("needs martinize2 (package vermouth) and GROMACS (gmx)")
    mdtraj = pytest.importorskip("mdtraj", reason="compare needs the package mdtraj")
    pytest.importorskip("pdbfixer", reason="needs the package pdbfixer, which adds missing atoms")
    protein = prepare(twoChains(tmp_path / "two.pdb", shared / CHIGNOLIN, tmp_path), str(tmp_path / "p.pdb"), platform)
    files = tuple(str(shared / path) for path in reversed(FILES))
    settings = Settings("none", "CPU", threads=1, budget=0.5, frames=20, martiniFiles=files)
    result = martini.run(protein, settings, str(tmp_path), str(tmp_path / "log.txt"))
    top = dict(line.split() for line in (tmp_path / "system.top").read_text().split("[ molecules ]")[1].strip().splitlines())
    counts = {name: int(count) for name, count in top.items()}
    # Asp and Glu carry -1 each, the termini cancel; a tenth of the water is antifreeze.
    assert counts["NA+"] - counts["CL-"] == 2 and counts["WF"] == pytest.approx(0.1 * (counts["W"] + counts["WF"]), rel=0.1)
    assert counts["molecule_0"] == counts["molecule_1"] == 1
    assert result["steps"] > 0 and result["timestep_fs"] == 20 and result["bead"] == "BB" and "crowd" not in result
    trajectory = mdtraj.load(result["trajectories"][0], top=result["topology"])
    backbone = trajectory.atom_slice(trajectory.topology.select("name BB"))
    assert backbone.n_atoms == 13 and backbone.n_frames >= 2
    bonds = mdtraj.compute_distances(backbone, [(k, k + 1) for k in range(12) if k != 9], periodic=False)
    assert bonds.min() > 0.1 and bonds.max() < 0.6  # 0.35 nm at rest, with a deviation of 0.045 nm: no bond is cut by the box
    density = (counts["W"] + counts["WF"]) / trajectory.unitcell_volumes[-1]
    assert 6.5 < density < 9  # 8.3 beads of four waters in a nm^3, less what protein and ions take

    gromacs = martini._Gromacs(settings, str(tmp_path), str(tmp_path / "log.txt"))
    crowd = martini._crowd(gromacs, dataclasses.replace(settings, threads=2))
    assert crowd["trajectories"] == 2 and crowd["steps_per_s"] > 0

    # The same chains with their centers 1 nm apart and a corner of the box between them: so they come out.
    def between(xyz):
        return np.subtract(*(xyz[:, chain].mean(axis=1, keepdims=True) for chain in chains))

    beads = mdtraj.load(str(tmp_path / "produce.xtc"), top=result["topology"])
    chains = [trajectory.topology.select(f"chainid {k}") for k in (0, 1)]
    xyz, box = trajectory.xyz, beads.unitcell_vectors  # box: [frame, vector, xyz]
    xyz[:, chains[1]] += between(xyz) + [1, 0, 0]
    fractions = (xyz - xyz[:, [chain[0] for chain in chains]].mean(axis=1, keepdims=True)) @ np.linalg.inv(box)
    beads.xyz = (fractions - np.floor(fractions)) @ box
    assert np.ptp(beads.xyz, axis=1).max(axis=-1).min() > 2, "moved"
    beads.save_xtc(str(tmp_path / "produce.xtc"))
    martini._joinMolecules(gromacs, {"beads": beads.n_atoms, "molecules": 2})
    joined = mdtraj.load(str(tmp_path / "trajectory.xtc"), top=result["topology"])
    assert np.abs(between(joined.xyz) + [1, 0, 0]).max() < 0.01


def testWhatMartiniLacks():
    assert MARTINI == "martini"
    reason, advice = martini.missing(Settings("none", "CPU", gmx="no-such-gmx"))
    assert "GROMACS (no-such-gmx) and MARTINI's interaction file" in reason and "--gmx PATH" in advice and "--martini FILE" in advice
