# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Models as force fields of openmm.app.ForceField: what stands behind <FlashModel> in its XML files (docs/forcefield.md).

    forceField = openmm.app.ForceField("openmmflash/ani2x.xml")
    system = forceField.createSystem(topology)

ForceField understands the tag once it has looked into its data folders, which our entry point is one of; nothing need be imported.
"""

import os
import sys
import warnings
import xml.etree.ElementTree as etree

from openmm import app, unit
from openmm.app import forcefield as openmmForceField

from .models import NAMES, findModel, plainName
from .structurefile import StructureError
from .system import _asStructure, _groups, _masses, _moleculeForce, addModelForces, asModel

PERIODIC = (app.CutoffPeriodic, app.Ewald, app.PME, app.LJPME)
OPEN = (app.NoCutoff, app.CutoffNonPeriodic)
LENGTHS = ("BondToHydrogen", "Water")
_CLASSICAL = (
    "it needs van der Waals radii and charges, which a model does not have. Give it a classical force field, as "
    'app.ForceField("amber14-all.xml", "amber14/tip3p.xml"); the model comes afterwards.'
)
MODELLER = {
    "addHydrogens": "it minimises random positions, and far from molecules that it knows a model lets hydrogens fly away. Call "
    "addHydrogens() without a force field.",
    "addSolvent": _CLASSICAL,
    "addMembrane": _CLASSICAL,
}


class FlashGenerator:
    """The force generator of one model; ForceField calls it.

    Parameters
    ----------
    forceField : openmm.app.ForceField
        The one that it is registered with.
    model : FlashModel
    bondLengths : dict of (str, int or None) to float
        Lengths, in nm, of constrained bonds to hydrogen, by the other atom's symbol and its number of neighbours (None: any other).
    water : (float, float) or None
        Distances O-H and H-H, in nm, of rigid water.
    source : str
        What to call the force field in error messages.
    """

    def __init__(self, forceField, model, bondLengths, water, source):
        self.forceField = forceField
        self.model, self.bondLengths, self.water, self.source = model, bondLengths, water, source
        self._templates = {}

    def match(self, forceField, residue, bondedToAtom, ignoreExternalBonds, ignoreExtraParticles):
        """A template made to fit the residue: a model knows elements, so that every residue is a known one."""
        self._refuseOthers()
        atoms = [atom for atom in residue.atoms() if not (ignoreExtraParticles and atom.element is None)]
        local = {atom.index: i for i, atom in enumerate(atoms)}
        bonds = tuple((i, local[j]) for atom, i in local.items() for j in bondedToAtom[atom] if i < local.get(j, -1))
        outside = tuple(i for atom, i in local.items() for j in bondedToAtom[atom] if j not in local)
        key = (tuple(atom.element for atom in atoms), bonds, outside)
        if key not in self._templates:
            self._templates[key] = self._template(forceField, atoms, bonds, outside)
        return self._templates[key]

    def _refuseOthers(self):
        if self.forceField.getGenerators() != [self]:
            raise ValueError(
                f"{self.source} cannot stand in one ForceField with other force fields: the model would act on top of their forces. "
                "Load it alone; for a part of a system by a model and the rest by a force field see openmmflash.createMixedSystem."
            )

    def _template(self, forceField, atoms, bonds, outside):
        template = openmmForceField.ForceField._TemplateData(f"openmmflash-{len(self._templates)}")
        template.rigidWater = False  # what rigidWater=None stands for
        for i, atom in enumerate(atoms):
            symbol, mass = ("particle", 0.0) if atom.element is None else (atom.element.symbol, atom.element.mass)
            name = f"openmmflash-{symbol}"
            if name not in forceField._atomTypes:
                element = {} if atom.element is None else {"element": atom.element}
                forceField.registerAtomType({"name": name, "class": name, "mass": mass, **element})
            template.addAtom(openmmForceField.ForceField._TemplateAtomData(str(i), name, atom.element))
        for i, j in bonds:
            template.addBond(i, j)
        for i in outside:
            template.addExternalBond(i)
        return template

    def createForce(self, system, data, nonbondedMethod, nonbondedCutoff, args):
        """Called by ForceField.createSystem."""
        _refuseModeller()
        self._refuseOthers()  # once more: residues named in residueTemplates are never matched
        if args.get("switchDistance", None) is not None:
            raise ValueError("switchDistance is given: the model has its own cutoff function. Leave it out.")
        args.get("flexibleConstraints", None)  # a model's energy always has the constrained coordinates, so that there is nothing to do
        periodic = self._isPeriodic(nonbondedMethod)
        if not data.atoms:
            raise StructureError("The topology has no atoms.")
        topology = data.atoms[0].residue.chain.topology
        _refuseIdleConstraints(data, topology)
        structure, isAtoms = _asStructure(topology, self.model)
        if periodic and structure.box is None:
            raise ValueError(f"nonbondedMethod is {nonbondedMethod}, but the topology's box is the placeholder of 1 x 1 x 1 Angstrom.")
        types = structure.getTypes(self.model)
        for i, mass in enumerate(_masses(structure, self.model, types, None).tolist()):
            if not isAtoms:
                system.setParticleMass(i, mass)  # beads, whatever element they are called by
            elif system.getParticleMass(i) <= 0 * unit.dalton:
                raise ValueError(f"hydrogenMass is too large: atom {_names(data, i)} would have no mass left.")
        addModelForces(system, structure, self.model, types, _groups(structure, "auto"), 1, periodic, True)
        if periodic and topology.getNumBonds():
            system.addForce(_moleculeForce(topology, structure.numParticles, 1))
        self._addConstraints(system, data)

    def _isPeriodic(self, method):
        if method not in PERIODIC + OPEN:
            raise ValueError(f"nonbondedMethod is {method}; allowed are {', '.join(map(str, OPEN + PERIODIC))}.")
        if method not in (app.NoCutoff, app.CutoffNonPeriodic, app.CutoffPeriodic):
            warnings.warn(
                f"nonbondedMethod={method} means a periodic box here, as CutoffPeriodic does: the model has no charges, and nothing acts "
                f"beyond its own cutoff of {self.model.getCutoff():g} nm.",
                stacklevel=4,
            )
        return method in PERIODIC

    def _addConstraints(self, system, data):
        """Bonds to hydrogen and rigid water, with the lengths of the XML file."""
        for bond in data.bonds:
            if bond.isConstrained:
                data.addConstraint(system, bond.atom1, bond.atom2, self._constrainedLength(data, bond.atom1, bond.atom2))
        for (a, b, c), isConstrained in zip(data.angles, data.isAngleConstrained):
            if isConstrained:
                if not _isWater(data, b):
                    raise ValueError(
                        f"constraints=HAngles: {self.source} has no reference angle for {_names(data, a, b, c)}. "
                        "Use constraints=HBonds or None."
                    )
                if self.water is None:
                    raise ValueError(f'rigidWater: {self.source} has no <Water OH="..." HH="..."/>, the geometry of rigid water.')
                data.addConstraint(system, a, c, self.water[1])

    def _constrainedLength(self, data, a, b):
        if self.water is not None and (_isWater(data, a) or _isWater(data, b)):
            return self.water[0]
        hydrogens = [i for i in (a, b) if data.atoms[i].element is app.element.hydrogen]
        if not hydrogens:
            raise ValueError(
                f"constraints: {self.source} has no reference length for the bond {_names(data, a, b)}. "
                "Bonds to hydrogen can be constrained: constraints=HBonds or None."
            )
        heavy = b if hydrogens[0] == a else a
        symbol, neighbors = data.atoms[heavy].element.symbol, len(data.bondedToAtom[heavy])
        length = self.bondLengths.get((symbol, neighbors), self.bondLengths.get((symbol, None)))
        if length is None:
            known = ", ".join(sorted({other for other, _ in self.bondLengths})) or "none"
            raise ValueError(
                f"constraints: {self.source} has no length for the bond {_names(data, a, b)}; it has those of hydrogen to {known}. Use "
                'constraints=None, or add <BondToHydrogen element="..." length="..."/> to the XML file.'
            )
        return length


def parseElement(element, forceField):
    """Read a <FlashModel> and register it with the ForceField that is reading its file."""
    if any(isinstance(generator, FlashGenerator) for generator in forceField.getGenerators()):
        raise ValueError("There are two <FlashModel> in this ForceField; a system has one.")
    unknown = sorted(set(element.attrib) - {"name", "file", "members"})
    if unknown or ("name" in element.attrib) == ("file" in element.attrib):
        found = " ".join(f'{key}="{value}"' for key, value in element.attrib.items())
        raise ValueError(f"<FlashModel {found}>: needed is either name or file, and members with a name if not all are meant.")
    if "name" in element.attrib:
        source = element.attrib["name"]
        if plainName(source) not in NAMES:
            raise ValueError(f'<FlashModel name="{source}">: the names are {", ".join(NAMES)}. A model file goes into file="...".')
        members = element.attrib.get("members")
        path = findModel(source, None if members is None else _numbers(members, "members"))
    else:
        if "members" in element.attrib:
            raise ValueError("<FlashModel file=... members=...>: members go with a name; choose those of a file when converting it.")
        source = element.attrib["file"]
        path = findModel(os.path.join(_folderOf(element, source), source))
    bondLengths, water = _lengths(element)
    generator = FlashGenerator(forceField, asModel(path), bondLengths, water, f"the force field of {source}")
    forceField.registerGenerator(generator)
    forceField.registerTemplateMatcher(generator.match)


def writeForceField(path, model):
    """Write an XML file by which openmm.app.ForceField loads a model file.

    Parameters
    ----------
    path : path
        The file to write. The model's path inside is relative to it, so that both can move together. <BondToHydrogen> and <Water>
        may be added to it (docs/forcefield.md).
    model : path or str
        A model file; or the name of a known model.

    Returns
    -------
    str
        The path.

    Raises
    ------
    FileNotFoundError
        There is no such model file.
    TypeError
        model is neither a path nor a name.
    """
    from .convert._writer import writeFileAtomically

    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"model is a {type(model).__name__}; the path of a model file or a model's name is needed, which the XML file can name."
        )
    root = etree.Element("ForceField")
    etree.SubElement(root, "Include", file="openmmflash/register.xml")
    if isinstance(model, str) and plainName(model) in NAMES:
        etree.SubElement(root, "FlashModel", name=plainName(model))
    else:
        asModel(model)  # one that can be read
        folder = os.path.dirname(os.path.abspath(path))
        etree.SubElement(root, "FlashModel", file=os.path.relpath(os.path.abspath(model), folder))
    etree.indent(root)
    writeFileAtomically(path, etree.tostring(root) + b"\n")
    return os.fspath(path)


def _lengths(element):
    bondLengths, water = {}, None
    for child in element:
        if child.tag not in LENGTHS:
            raise ValueError(f"<FlashModel> holds a <{child.tag}>; allowed are {' and '.join(f'<{tag}>' for tag in LENGTHS)}.")
        if child.tag == "Water":
            water = _length(child, "OH"), _length(child, "HH")
            if water[1] >= 2 * water[0]:
                raise ValueError(f"<Water>: HH is {water[1]:g} nm, and less than twice OH, {2 * water[0]:g} nm, is needed.")
            continue
        neighbors = child.attrib.get("neighbors")
        numbers = [None] if neighbors is None else _numbers(neighbors, "neighbors")
        if len(numbers) != 1:
            raise ValueError(f"<BondToHydrogen>: neighbors is {neighbors!r}; one number is needed.")
        try:
            symbol = app.Element.getBySymbol(child.attrib.get("element", "")).symbol
        except KeyError:
            raise ValueError(f"<BondToHydrogen>: element is {child.attrib.get('element')!r}; a chemical symbol is needed.") from None
        bondLengths[symbol, numbers[0]] = _length(child, "length")
    return bondLengths, water


def _length(child, key):
    text = child.attrib.get(key)
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = 0.0
    if not 0 < value < 1:
        raise ValueError(f"<{child.tag}>: {key} is {text!r}; a length in nm, between 0 and 1, is needed.")
    return value


def _numbers(text, what):
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ValueError(f'<FlashModel {what}="{text}">: whole numbers with spaces between are needed.') from None


def _folderOf(element, file):
    """The folder of the XML file that an element comes from.

    ForceField tells its parsers the element and nothing else. It reads files and trees into lists of the same order, which are found here
    in its frame; tests/python/test_forcefield.py fails where a later OpenMM does that differently.
    """
    if os.path.isabs(file):
        return ""
    frame = sys._getframe()
    while frame is not None and not {"trees", "files"} <= frame.f_locals.keys():
        frame = frame.f_back
    for tree, name in zip(frame.f_locals["trees"], frame.f_locals["files"]) if frame else ():
        name = getattr(name, "name", name)  # an open file
        if any(child is element for child in tree.getroot()) and isinstance(name, (str, os.PathLike)):
            places = [os.fspath(name), *(os.path.join(folder, name) for folder in openmmForceField._getDataDirectories())]
            found = next((place for place in places if os.path.isfile(place)), None)
            if found is not None:
                return os.path.dirname(os.path.abspath(found))
    raise ValueError(f'<FlashModel file="{file}">: a path relative to the XML file, whose own place is not known. Give an absolute path.')


def _refuseModeller():
    """Methods of openmm.app.Modeller that want of a force field what a model does not have."""
    frame = sys._getframe()
    while frame is not None and not (frame.f_globals.get("__name__") == "openmm.app.modeller" and frame.f_code.co_name in MODELLER):
        frame = frame.f_back
    if frame is not None:
        raise ValueError(f"Modeller.{frame.f_code.co_name} with the force field of a model: {MODELLER[frame.f_code.co_name]}")


def _refuseIdleConstraints(data, topology):
    """Constraints that are wanted and that ForceField, which tells its generators nothing of this, would silently not make."""
    frame = sys._getframe()
    while frame is not None and frame.f_code is not app.ForceField.createSystem.__code__:
        frame = frame.f_back
    if frame is None:
        return
    constraints, rigidWater = frame.f_locals["constraints"], frame.f_locals["rigidWater"]
    if constraints not in (None, app.HBonds, app.AllBonds, app.HAngles):
        raise ValueError(f"constraints is {constraints!r}; openmm.app's HBonds, AllBonds and HAngles, or None, are allowed.")
    hasHydrogens = any(atom.element is app.element.hydrogen for atom in topology.atoms())
    if (constraints is not None or rigidWater) and hasHydrogens and not topology.getNumBonds():
        raise ValueError(
            "constraints or rigidWater is given, but the topology has hydrogens and no bonds, so that nothing would be constrained. "
            "topology.createStandardBonds() makes the bonds of water and proteins."
        )
    for i, atom in enumerate(data.atoms if rigidWater else ()):
        if atom.residue.name != "HOH" and _isWater(data, i):
            raise ValueError(
                f"rigidWater is True, but OpenMM makes water rigid in residues called HOH, and that of atom {i} is called "
                f"{atom.residue.name}: it would stay flexible. Rename it (residue.name = 'HOH')."
            )


def _isWater(data, index):
    """Whether an atom is the oxygen of a water molecule."""
    if data.atoms[index].element is not app.element.oxygen:
        return False
    neighbors = data.bondedToAtom[index]
    return len(neighbors) == 2 and all(data.atoms[i].element is app.element.hydrogen for i in neighbors)


def _names(data, *atoms):
    return "-".join(f"{data.atoms[i].name} ({i})" for i in atoms) + f" of residue {data.atoms[atoms[0]].residue.name}"
