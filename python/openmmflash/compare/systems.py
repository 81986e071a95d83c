# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""The Systems that OpenMM runs: our model of atoms or beads, and AMBER in vacuum, implicit and explicit water."""

import dataclasses

import numpy as np

from .settings import EXPLICIT, FLASH, IMPLICIT, PADDING, SALT, VACUUM

# OpenMM's user guide: heavier hydrogens, constrained, and LangevinMiddleIntegrator allow 4 fs.
AMBER_TIMESTEP, HYDROGEN_MASS = 4.0, 1.5  # fs, amu
CUTOFF = 0.9  # nm
IMPLICIT_NAMES = {"gbn2": "GBn2", "obc2": "OBC2"}
BEADS_AT_ONCE = 16  # trajectories of beads in one Context, unless asked otherwise


@dataclasses.dataclass
class Setup:
    """
    Attributes
    ----------
    system : openmm.System
    positions : numpy.ndarray
        [replicas * n, 3] nm
    topology : openmm.app.Topology
        Of one molecule as it is written to trajectories: its n particles come first in each replica.
    replicas : int
    timestep : float
        fs
    title : str
    details : dict of str to str
        Rows of the report.
    single : openmm.System or None
        One replica alone, where there are several.
    """

    system: object
    positions: np.ndarray
    topology: object
    replicas: int
    timestep: float
    title: str
    details: dict
    single: object = None


def build(name, pdb, settings, platform):
    """The Setup of an engine that OpenMM runs."""
    from openmm import app, unit

    file = app.PDBFile(pdb)
    positions = np.array(file.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    if name == FLASH:
        return _flash(file.topology, positions, settings)
    return _amber(name, file.topology, positions, settings, platform)


def _flash(topology, positions, settings):
    from ..cli._inputs import isAtomistic
    from ..coarsegrain import coarseGrain
    from ..models import loadModel
    from ..system import createSystem, tilePositions

    model = loadModel(settings.model)
    atomistic = isAtomistic(model)
    if atomistic:
        description, own, start = topology, topology, positions
    else:
        beads = coarseGrain(topology, positions, model, reference=settings.reference, source="The prepared structure")
        description, own, start = beads.structure, beads.topology, beads.structure.getPositions()
    replicas = settings.replicas or (1 if atomistic else BEADS_AT_ONCE)
    timestep = settings.timestep or (0.5 if atomistic else 4.0)
    system = createSystem(description, model, replicas=replicas)
    single = createSystem(description, model) if replicas > 1 else None
    what = "atoms" if atomistic else "beads"
    details = {
        "force field": f"{model.getName()} ({_architecture(model)})",
        "solvent": "none: the model's atoms alone" if atomistic else "in the model: it was trained without explicit water",
        "particles": f"{len(start)} {what}" + (f", {replicas} copies in one Context" if replicas > 1 else ""),
        "constraints": "none",
    }
    return Setup(
        system, np.array(tilePositions(start, replicas)), own, replicas, timestep, f"OpenMM-Flash {model.getName()}", details, single
    )


def _architecture(model):
    members = model.getNumMembers()
    return {"ani": "ANI", "schnet": "SchNet"}.get(model.getArchitecture(), model.getArchitecture()) + (
        f", {members} networks" if members > 1 else ""
    )


def _amber(name, topology, positions, settings, platform):
    import openmm as mm
    from openmm import app, unit

    options = {"constraints": app.HBonds, "hydrogenMass": HYDROGEN_MASS * unit.dalton}
    details = {"force field": "AMBER ff14SB"}
    title = "AMBER ff14SB"
    if name == EXPLICIT:
        field = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
        modeller = app.Modeller(topology, positions * unit.nanometer)
        modeller.addSolvent(
            field,
            model="tip3p",
            padding=PADDING * unit.nanometer,
            boxShape="dodecahedron",
            ionicStrength=SALT * unit.molar,
        )
        whole = modeller.topology
        start = np.array(modeller.positions.value_in_unit(unit.nanometer))
        method = {"nonbondedMethod": app.PME, "nonbondedCutoff": CUTOFF * unit.nanometer}
        waters = sum(1 for residue in whole.residues() if residue.name == "HOH")
        title += ", TIP3P"
        details["solvent"] = f"{waters} TIP3P waters, {SALT:g} mol/l NaCl, PME with {CUTOFF:g} nm, {PADDING:g} nm from copy to copy, 1 bar"
    else:
        files = ["implicit/" + settings.implicit + ".xml"] if name == IMPLICIT else []
        field = app.ForceField("amber14-all.xml", *files)
        whole, start, method = topology, positions, {"nonbondedMethod": app.NoCutoff}
        solvent = IMPLICIT_NAMES[settings.implicit] if name == IMPLICIT else "vacuum"
        title += f", {solvent}"
        details["solvent"] = "none: vacuum, no cutoff" if name == VACUUM else f"{solvent}, implicit, no cutoff"
    system = field.createSystem(whole, **method, **options)
    if name == EXPLICIT:
        barostat = mm.MonteCarloBarostat(1.0 * unit.bar, settings.temperature * unit.kelvin)
        barostat.setRandomNumberSeed(settings.seed + 2)
        system.addForce(barostat)
        system.addForce(_together(topology))
    details["particles"] = f"{system.getNumParticles()} atoms" + (f", {topology.getNumAtoms()} of the protein" if name == EXPLICIT else "")
    details["constraints"] = f"bonds of hydrogens, whose mass is {HYDROGEN_MASS:g} amu"
    return Setup(system, start, topology, 1, AMBER_TIMESTEP, title, details)


def _together(topology):
    """Bonds without energy between chains: the barostat moves what is bonded as a whole, and would put chains into different copies of the
    box."""
    import openmm as mm

    force = mm.HarmonicBondForce()
    first = [next(chain.atoms()).index for chain in topology.chains()]
    for a, b in zip(first, first[1:]):
        force.addBond(a, b, 0.0, 0.0)
    force.setUsesPeriodicBoundaryConditions(True)
    force.setName("chains together")
    return force
