# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Reading structures: what files of the wild get wrong, and boxes of any orientation."""

import numpy as np
import pytest
import small_models

from openmmflash.structure import StructureError, describeBox, detectFormat, loadStructure, standardBox


def pdb(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def atom(serial, name, residue="ALA", number=1, xyz=(0, 0, 0), element="C", alternate=" ", chain="A", record="ATOM"):
    x, y, z = xyz
    name = name.ljust(4) if len(name) == 4 else (" " + name).ljust(4)
    start = f"{record:<6}{serial:>5} {name}{alternate}{residue:>3} {chain}{number:>4}    "
    return start + f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {element:>2}"


def test_pdb(tmp_path):
    structure = loadStructure(small_models.writePeptide(tmp_path / "nma.pdb"))
    assert structure.numParticles == 12 and structure.box is None and structure.notes == []
    np.testing.assert_allclose(structure.positions[0], [-0.2888, 0.0842, 0.0860], atol=1e-12)
    assert [a.element.symbol for a in structure.topology.atoms()] == list("CHHHCONHCHHH")


def test_dummy_cell_is_no_box(tmp_path):
    structure = loadStructure(small_models.writePeptide(tmp_path / "nma.pdb", cell=(1, 1, 1)))
    assert structure.box is None and structure.topology.getPeriodicBoxVectors() is None
    assert "1 x 1 x 1" in structure.notes[0]


def test_cell(tmp_path):
    structure = loadStructure(small_models.writePeptide(tmp_path / "nma.pdb", cell=(20, 30, 40)))
    np.testing.assert_allclose(structure.box, np.diag([2, 3, 4]))
    structure.dropBox()
    assert structure.box is None and structure.topology.getPeriodicBoxVectors() is None


def test_atoms_of_one_name_are_all_kept(tmp_path):
    """Small-molecule programs write such files, and OpenMM's reader keeps one atom of each name."""
    lines = [atom(i + 1, "C" if i < 4 else "H", "UNL", xyz=(i, 0, 0), element="C" if i < 4 else "H", record="HETATM") for i in range(9)]
    structure = loadStructure(pdb(tmp_path / "a.pdb", *lines, "CONECT    1    2", "END"))
    np.testing.assert_allclose(structure.positions[:, 0], np.arange(9) / 10, atol=1e-12)
    assert [a.element.symbol for a in structure.topology.atoms()] == list("CCCCHHHHH")
    assert len({a.name for a in structure.topology.atoms()}) == 9
    assert structure.topology.getNumBonds() == 1
    assert "7 atoms" in structure.notes[0]


@pytest.mark.parametrize("residue", ["ALA", "HIE"])
def test_repeated_residue_number(tmp_path, residue):
    """Of an amino acid there is one CA: a second one is another residue of the same number."""
    lines = [atom(i + 1, "CA", residue, number=min(i, 1), xyz=(3.8 * i, 0, 0)) for i in range(3)]
    with pytest.raises(StructureError, match="has 3 atom records, but only 2 atoms could be told apart.*Number the residues"):
        loadStructure(pdb(tmp_path / "a.pdb", *lines))


def test_one_name_and_no_elements(tmp_path):
    lines = [atom(i + 1, "CL", "UNL", xyz=(i, 0, 0), element="", record="HETATM") for i in range(3)]
    structure = loadStructure(pdb(tmp_path / "a.pdb", *lines))
    assert [a.element.symbol for a in structure.topology.atoms()] == ["Cl", "Cl", "Cl"]


def test_alternate_locations(tmp_path):
    lines = [atom(1, "N", element="N"), atom(2, "CA", xyz=(1, 0, 0), alternate="A"), atom(3, "CA", xyz=(2, 0, 0), alternate="B")]
    structure = loadStructure(pdb(tmp_path / "a.pdb", *lines, atom(4, "C", xyz=(3, 0, 0))))
    np.testing.assert_allclose(structure.positions[:, 0], [0, 0.1, 0.3], atol=1e-12)
    assert any("alternate" in text for text in structure.notes)


def test_missing_elements_are_guessed_aloud(tmp_path):
    structure = loadStructure(pdb(tmp_path / "a.pdb", atom(1, "CA", element=""), atom(2, "HA", element="", xyz=(1, 0, 0))))
    assert [a.element.symbol for a in structure.topology.atoms()] == ["C", "H"]
    assert "2 of 2" in structure.notes[0]


def test_models_are_frames(tmp_path):
    lines = ["MODEL 1", atom(1, "C"), "ENDMDL", "MODEL         2", atom(1, "C", xyz=(5, 0, 0)), "ENDMDL", "END"]
    path = pdb(tmp_path / "a.pdb", *lines)
    assert loadStructure(path).numFrames == 2
    assert loadStructure(path).positions[0, 0] == 0
    assert loadStructure(path, -1).positions[0, 0] == pytest.approx(0.5)
    for frame in (2, -3):
        with pytest.raises(StructureError, match=f"no frame {frame}; it has 2"):
            loadStructure(path, frame)


CIF = """\
data_x
_cell.length_a {cell}
_cell.length_b {cell}
_cell.length_c {cell}
_cell.angle_alpha {angle}
_cell.angle_beta {angle}
_cell.angle_gamma {angle}
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
ATOM 1 N N . GLY A 1 1.0 2.0 3.0
ATOM 2 C CA . GLY A 1 2.0 2.0 3.0
#
"""


@pytest.mark.parametrize("cell, angle, length", [("?", "?", None), (".", ".", None), ("1.000", "90.0", None), ("25.0", "90.0", 2.5)])
def test_pdbx(tmp_path, cell, angle, length):
    (tmp_path / "a.cif").write_text(CIF.format(cell=cell, angle=angle))
    structure = loadStructure(tmp_path / "a.cif")
    np.testing.assert_allclose(structure.positions, [[0.1, 0.2, 0.3], [0.2, 0.2, 0.3]])
    if length is None:
        assert structure.box is None
    else:
        np.testing.assert_allclose(structure.box, length * np.eye(3))


def test_pdbx_alternate_locations(tmp_path):
    text = CIF.format(cell="?", angle="?").removesuffix("#\n").replace("C CA . GLY", "C CA A GLY")
    (tmp_path / "a.cif").write_text(text + "ATOM 3 C CA B GLY A 1 2.5 2.0 3.0\n#\n")
    structure = loadStructure(tmp_path / "a.cif")
    np.testing.assert_allclose(structure.positions, [[0.1, 0.2, 0.3], [0.2, 0.2, 0.3]])
    assert structure.notes[0].startswith("2 atom records are alternate locations; of each atom the first one")


def test_pdbx_that_would_lose_atoms(tmp_path):
    """Without the column of alternate locations OpenMM's reader keeps one oxygen of all water that has no numbers."""
    text = CIF.format(cell="?", angle="?").replace("_atom_site.label_alt_id\n", "")
    (tmp_path / "a.cif").write_text("\n".join(line.replace(" . GLY A 1", " HOH A .").replace(" CA ", " N ") for line in text.splitlines()))
    with pytest.raises(StructureError, match="a.cif has 2 atom records, but only 1 atoms could be told apart"):
        loadStructure(tmp_path / "a.cif")


def xyz(path, comment, *rows):
    path.write_text(f"{len(rows)}\n{comment}\n" + "\n".join(rows) + "\n")
    return str(path)


def test_extended_xyz(tmp_path):
    pytest.importorskip("ase", reason="extended XYZ is read with the package ase")
    path = xyz(tmp_path / "a.xyz", 'Lattice="8 0 0 0 9 0 0 0 10" pbc="T T T" Properties=species:S:1:pos:R:3', "O 1 2 3", "H 4 5 6")
    structure = loadStructure(path)
    np.testing.assert_allclose(structure.positions, [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    np.testing.assert_allclose(structure.box, np.diag([0.8, 0.9, 1.0]))
    assert structure.molecule.symbols == ["O", "H"] and structure.rotation is None


@pytest.mark.parametrize("column", ["mass", "masses"])
def test_masses_of_extended_xyz(tmp_path, column):
    """Both names are in use; ASE's is the second."""
    pytest.importorskip("ase", reason="extended XYZ is read with the package ase")
    path = xyz(tmp_path / "a.xyz", f"Properties=species:S:1:pos:R:3:{column}:R:1", "O 1 2 3 17.5", "H 4 5 6 2.25")
    assert loadStructure(path).molecule.masses.tolist() == [17.5, 2.25]
    assert loadStructure(xyz(tmp_path / "b.xyz", "plain", "O 1 2 3", "H 4 5 6")).molecule.masses is None
    with pytest.raises(StructureError, match=r"masses\[1\] is 0.0; masses are in amu and positive"):
        loadStructure(xyz(tmp_path / "c.xyz", f"Properties=species:S:1:pos:R:3:{column}:R:1", "O 1 2 3 17.5", "H 4 5 6 0"))


def test_plain_xyz_is_open(tmp_path):
    pytest.importorskip("ase", reason="XYZ is read with the package ase")
    assert loadStructure(xyz(tmp_path / "a.xyz", "water", "O 0 0 0", "H 1 0 0")).box is None
    open_ = loadStructure(xyz(tmp_path / "b.xyz", 'Lattice="8 0 0 0 9 0 0 0 10" pbc="F F F"', "O 0 0 0"))
    assert open_.box is None and "F F F" in open_.notes[0]


def test_xyz_frames(tmp_path):
    pytest.importorskip("ase", reason="XYZ is read with the package ase")
    (tmp_path / "a.xyz").write_text("1\n\nO 1 0 0\n1\n\nO 2 0 0\n")
    assert loadStructure(tmp_path / "a.xyz").numFrames == 2
    assert loadStructure(tmp_path / "a.xyz", 1).positions[0, 0] == pytest.approx(0.2)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_of_any_orientation(seed):
    """The reduced box spans the same lattice, and the rotation is one: no length and no image changes."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(3, 3)) + 2 * np.eye(3)
    if seed % 2:
        vectors[2] *= -1  # left-handed
    box, rotation = standardBox(vectors, "test")
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert np.all(np.diag(box) > 0) and not np.triu(box, 1).any()
    assert abs(box[1, 0]) <= box[0, 0] / 2 + 1e-12 and abs(box[2, 0]) <= box[0, 0] / 2 + 1e-12 and abs(box[2, 1]) <= box[1, 1] / 2 + 1e-12
    coefficients = box @ rotation @ np.linalg.inv(vectors)  # the new vectors, in the old frame, by the old vectors: integers
    np.testing.assert_allclose(coefficients, np.round(coefficients), atol=1e-10)
    assert abs(np.linalg.det(coefficients)) == pytest.approx(1)


def test_reduced_boxes_stay():
    box, rotation = standardBox([[2, 0, 0], [0.9, 2, 0], [-0.9, 0.9, 2]], "test")
    np.testing.assert_array_equal(box, [[2, 0, 0], [0.9, 2, 0], [-0.9, 0.9, 2]])
    assert rotation is None
    box, rotation = standardBox([[2, 0, 0], [1.9, 2, 0], [0, 0, 2]], "test")
    np.testing.assert_allclose(box, [[2, 0, 0], [-0.1, 2, 0], [0, 0, 2]])
    assert rotation is None


def test_npz(tmp_path):
    path = small_models.writeBeadStructure(tmp_path / "a.npz", frames=3)
    structure = loadStructure(path, 2)
    assert structure.frames.shape == (3, 6, 3) and structure.molecule.numFrames == 1
    np.testing.assert_array_equal(structure.positions, structure.frames[2])


def test_formats_by_content(tmp_path):
    for name, text, expected in (
        ("a", small_models.PEPTIDE, "pdb"),
        ("b", CIF.format(cell=1, angle=90), "pdbx"),
        ("c", "1\n\nO 0 0 0\n", "xyz"),
    ):
        (tmp_path / name).write_text(text)
        assert detectFormat(str(tmp_path / name)) == expected
    small_models.writeBeadStructure(tmp_path / "d")
    assert detectFormat(str(tmp_path / "d")) == "npz"


def test_describe_box():
    assert describeBox(None) == "none (open system)"
    assert describeBox(np.diag([1.0, 2.0, 3.0])) == "1 x 2 x 3 nm"
    assert "angles 90 90 60" in describeBox(np.array([[2, 0, 0], [1, np.sqrt(3), 0], [0, 0, 2]]))


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.pdb", "", "is empty"),
        ("a.pdb", "hello\n", "no ATOM"),
        ("a.pdb", atom(1, "C").replace("0.000", "x.xxx") + "\n", "cannot be read as PDB"),
        ("a.pdb", atom(1, "C").replace("   0.000   0.000   0.000", "     nan   0.000   0.000") + "\n", "coordinate x of particle 0 is nan"),
        ("a.cif", "data_x\n", "cannot be read as PDBx"),
        ("a.xyz", "2\n\nO 0 0 0\n", "cannot be read as"),
        ("a.xyz", "1\n\nX 0 0 0\n", "no element"),
        ("a.xyz", '1\nLattice="5 0 0 0 5 0 0 0 5" pbc="T T F"\nO 0 0 0\n', 'pbc="T T F"'),
        ("a.xyz", '1\nLattice="5 0 0 5 0 0 0 0 5" pbc="T T T"\nO 0 0 0\n', "do not span a volume"),
        ("a.dat", "what is this\n", "not recognised"),
        ("a.npz", "not a zip", "not a readable structure file"),
    ],
)
def test_refuses(tmp_path, name, content, message):
    if name.endswith("xyz"):
        pytest.importorskip("ase", reason="XYZ is read with the package ase")
    (tmp_path / name).write_text(content)
    with pytest.raises(StructureError, match=message):
        loadStructure(tmp_path / name)


def test_absent_and_folder(tmp_path):
    with pytest.raises(StructureError, match="There is no structure file"):
        loadStructure(tmp_path / "none.pdb")
    with pytest.raises(StructureError, match="is a folder"):
        loadStructure(tmp_path)


RECORD = "ATOM      1  C   LIG A   1      -1.379   0.801   0.809  1.00  0.00           C\n"
LOOP = "data_x\nloop_\n_atom_site.group_PDB\n_atom_site.id\n_atom_site.type_symbol\nATOM 1 C\nATOM 2\n"


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("a.pdb", RECORD.replace("           C\n", "          Qq\n"), ["line 1", "'Qq'", "no element"]),
        ("a.pdb", "REMARK\n" + RECORD.replace(" 0.801", " 0.8x1"), ["line 2", "0.8x1", "y coordinate", "damaged"]),
        ("a.pdb", "MODEL        x\n" + RECORD + "ENDMDL\n", ["line 1", "MODEL", "damaged"]),
        ("a.cif", LOOP, ["damaged"]),
        ("a.xyz", "2\n\nH 0 0 0\nQq 0 0 1\n", ["line 4", "'Qq'", "no element"]),
        ("a.xyz", "3\n\nH 0 0 0\n", ["damaged"]),
    ],
)
def test_unreadable_files_say_where(tmp_path, name, text, expected):
    """The file, the place in it where the reader knows one, and what is wrong."""
    if name.endswith("xyz"):
        pytest.importorskip("ase", reason="XYZ is read with the package ase")
    (tmp_path / name).write_text(text)
    with pytest.raises(StructureError) as caught:
        loadStructure(tmp_path / name)
    assert all(part in str(caught.value) for part in [str(tmp_path / name), *expected]), caught.value


@pytest.mark.parametrize("symbol", [" C", " H", " D", "CL", "Cl", "ZN", "10", "  ", "EP"])
def test_element_columns_that_are_read(tmp_path, symbol):
    """Elements in any case, deuterium, empty columns, and the line numbers of old files, which are no elements."""
    (tmp_path / "a.pdb").write_text(RECORD.replace("           C\n", f"          {symbol}\n"))
    assert loadStructure(tmp_path / "a.pdb").numParticles == 1
