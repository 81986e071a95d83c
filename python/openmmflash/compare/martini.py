# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""MARTINI as its users run it: beads and topology by martinize2 (vermouth), water, ions and dynamics by GROMACS.

The run parameters are those that the MARTINI site gives for GROMACS: 20 fs, reaction field with epsilon 15 and shifted Lennard-Jones
potentials to 1.1 nm, v-rescale at 1 ps, pressure coupled to 1 bar.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from . import CompareError
from .protein import CAPS
from .settings import EQUILIBRATION, LIMIT, PADDING, SALT, SINGLE

TIMESTEP = 20.0  # fs
WATER_SPACING = 0.494  # nm: 8.3 beads of four waters in a nm^3
JITTER, SOLVENT_RADIUS = 0.06, 0.21  # nm
ANTIFREEZE = 0.1  # of MARTINI 2's water beads, which freeze at room temperature without
AVOGADRO = 0.60221  # per nm^3 and mol/l
# What each version calls its ions, and a type by which its interaction file is told.
VERSIONS = {
    "martini22": {"type": "Qda", "title": "MARTINI 2.2", "sodium": "NA+", "chloride": "CL-", "options": ["-noscfix"]},
    "martini3001": {"type": "TC1", "title": "MARTINI 3.0", "sodium": "NA", "chloride": "CL", "options": []},
}
RUN = """\
integrator = {integrator}
nsteps = {steps}
dt = {timestep}
cutoff-scheme = Verlet
verlet-buffer-tolerance = 0.005
nstlist = 20
coulombtype = reaction-field
rcoulomb = 1.1
epsilon-r = 15
epsilon-rf = 0
vdw-type = cutoff
vdw-modifier = Potential-shift-verlet
rvdw = 1.1
nstenergy = 1000
nstlog = 1000
nstcalcenergy = 100
nstxout-compressed = {interval}
compressed-x-grps = {group}
"""
DYNAMICS = """\
tcoupl = v-rescale
tc-grps = System
tau-t = 1.0
ref-t = {temperature}
pcoupl = {barostat}
pcoupltype = isotropic
tau-p = {tauP}
ref-p = 1.0
compressibility = 3e-4
gen-vel = {generate}
gen-temp = {temperature}
gen-seed = {seed}
ld-seed = {seed}
continuation = {continuation}
"""


def missing(settings):
    """(what is missing, how to get it), or None."""
    lacking, advice = [], []
    if martinize() is None:
        lacking.append("martinize2 (Python package vermouth)")
        advice.append("pip install vermouth mdtraj")
    if shutil.which(settings.gmx) is None:
        lacking.append(f"GROMACS ({settings.gmx})")
        advice.append("install GROMACS (Debian and Ubuntu: apt-get install gromacs) or give its program with --gmx PATH")
    if not settings.martiniFiles:
        lacking.append("MARTINI's interaction file")
        advice.append(
            "download martini_v3.0.0.itp, martini_v3.0.0_solvents_v1.itp and martini_v3.0.0_ions_v1.itp from cgmartini.nl and give each "
            "with --martini FILE (2.2: martini_v2.2.itp and martini_v2.0_ions.itp)"
        )
    return (" and ".join(lacking), "; ".join(advice)) if lacking else None


def martinize():
    """The command that runs martinize2 in this environment, or None."""
    import importlib.util

    script = os.path.join(sysconfig.get_path("scripts"), "martinize2")
    return [sys.executable, script] if importlib.util.find_spec("vermouth") and os.path.exists(script) else None


class Interactions:
    """What the interaction files have: version (a key of VERSIONS), molecules; paths, in the order in which they are to be included."""

    def __init__(self, paths):
        types, self.molecules, places = set(), set(), {}
        for path in map(os.path.abspath, paths):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    lines = [line.split(";")[0].strip() for line in file]
            except OSError as error:
                raise CompareError(f"The MARTINI file {path} cannot be read: {error.strerror}.") from error
            section, sections = None, set()
            for line in filter(None, lines):
                heading = re.fullmatch(r"\[\s*(\w+)\s*\]", line)
                if heading:
                    section = heading[1]
                    sections.add(section)
                elif section == "atomtypes":
                    types.add(line.split()[0])
                elif section == "moleculetype":
                    self.molecules.add(line.split()[0])
            # grompp wants defaults first, then all types, then molecules.
            places[path] = 0 if "defaults" in sections else 1 if "atomtypes" in sections else 2
        self.paths = sorted(places, key=places.get)
        names = ", ".join(map(os.path.basename, self.paths))
        found = [version for version, entry in VERSIONS.items() if entry["type"] in types]
        if len(found) != 1:
            known = " or ".join(f"{entry['title']} (type {entry['type']})" for entry in VERSIONS.values())
            what = "types of both versions" if found else f"{len(types)} atom types, but not those"
            raise CompareError(f"The MARTINI files {names} have {what} of {known}. Give the interaction file of one version.")
        self.version = found[0]
        self.entry = VERSIONS[self.version]
        if "W" not in self.molecules:
            raise CompareError(
                f"The MARTINI files {names} have no molecule W, the water. For MARTINI 3 also give "
                "martini_v3.0.0_solvents_v1.itp (--martini)."
            )


def coarseGrain(protein, interactions, folder, log, elastic=False):
    """Run martinize2: cg.pdb, molecule_*.itp and cg.top appear in the folder. Returns the lines of the topology's [ molecules ].

    Caps (ACE, NME) are no beads of MARTINI: a capped chain gets neutral ends.
    """
    capped = any(residue.name in CAPS for residue in protein.topology.residues())
    command = [
        *martinize(),
        "-f",
        os.path.abspath(protein.path),
        "-ff",
        interactions.version,
        "-x",
        "cg.pdb",
        "-o",
        "cg.top",
        "-dssp",
        "-ignh",
    ]
    command += interactions.entry["options"] + (["-elastic"] if elastic else []) + (["-nt", "-ignore", ",".join(CAPS)] if capped else [])
    _run(command, folder, log, "martinize2")
    if not os.path.exists(os.path.join(folder, "cg.pdb")):
        raise CompareError("martinize2 wrote no structure; its warnings are in the log")
    with open(os.path.join(folder, "cg.top"), encoding="utf-8") as file:
        return file.read().split("[ molecules ]")[1].split("\n")[1:]


def _run(command, folder, log, name, seconds=None, answer=""):
    """Run a program with its output in the log; `answer` is typed into it."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | {"GMX_MAXBACKUP": "-1"}
    with open(log, "ab") as file:
        file.write(f"\n$ {' '.join(command)}\n".encode())
        file.flush()
        try:
            done = subprocess.run(
                command, cwd=folder, input=answer.encode(), stdout=file, stderr=subprocess.STDOUT, env=environment, timeout=seconds or LIMIT
            )
        except subprocess.TimeoutExpired:
            raise CompareError(f"{name} did not end within {seconds or LIMIT:g} s") from None
    if done.returncode:
        raise CompareError(f"{name} ended with code {done.returncode}")


class _Gromacs:
    def __init__(self, settings, folder, log):
        self.settings, self.folder, self.log = settings, folder, log

    def __call__(self, *arguments, seconds=None, answer=""):
        command = [self.settings.gmx, *map(str, arguments)]
        _run(command, self.folder, self.log, f"gmx {arguments[0]}", seconds, answer)

    def simulate(self, name, start, text, hours=None, previous=None):
        """grompp and mdrun, from the checkpoint of the run `previous` if there is one. `hours` ends a run by the clock.

        Returns the processor's seconds of mdrun.
        """
        with open(os.path.join(self.folder, name + ".mdp"), "w", encoding="ascii") as file:
            file.write(text)
        state = ["-t", previous + ".cpt"] if previous else []
        self("grompp", "-f", name + ".mdp", "-c", start, *state, "-p", "system.top", "-o", name + ".tpr", "-po", name + ".out.mdp")
        options = ["-maxh", f"{hours:.8f}"] if hours else []
        limit = LIMIT + (3 * 3600 * hours if hours else 0)
        before = _childrenTime()
        self("mdrun", "-deffnm", name, "-ntmpi", 1, "-ntomp", self.settings.threads, *options, seconds=limit)
        return _childrenTime() - before


def run(protein, settings, folder, log):
    """Everything from the prepared protein to the result."""
    interactions = Interactions(settings.martiniFiles)
    molecules = coarseGrain(protein, interactions, folder, log, settings.elastic)
    gromacs = _Gromacs(settings, folder, log)
    counts = _solvate(gromacs, interactions, molecules, folder, settings.seed)
    values = {"temperature": settings.temperature, "seed": settings.seed}
    plain = {"integrator": "md", "group": "System", "interval": 1000}
    gromacs.simulate("minimize", "solvated.gro", RUN.format(**plain | {"integrator": "steep", "steps": 500, "timestep": 0.001}))
    gentle = {"barostat": "C-rescale", "tauP": 4.0, **values}
    text = RUN.format(**plain, steps=4000, timestep=0.005) + DYNAMICS.format(**gentle, generate="yes", continuation="no")
    gromacs.simulate("settle", "minimize.gro", text)
    step = TIMESTEP * 1e-3
    text = RUN.format(**plain, steps=-1, timestep=step) + DYNAMICS.format(**gentle, generate="no", continuation="yes")
    gromacs.simulate("equilibrate", "settle.gro", text, EQUILIBRATION * settings.budget / 3600, previous="settle")
    before = _mdLog(os.path.join(folder, "equilibrate.log"))
    interval = max(1, round(before["steps"] / before["wall_s"] * settings.budget / settings.frames))
    production = plain | {"group": "Protein", "interval": interval}
    text = RUN.format(**production, steps=-1, timestep=step) + DYNAMICS.format(
        barostat="Parrinello-Rahman", tauP=12.0, **values, generate="no", continuation="yes"
    )
    load = os.getloadavg()[0]
    # mdrun -maxh leaves a checkpoint, and no structure.
    cpu = gromacs.simulate("produce", "settle.gro", text, settings.budget / 3600, previous="equilibrate")
    result = _result(gromacs, interactions, settings, counts, interval, [load, os.getloadavg()[0]], cpu)
    if settings.platform == "CPU" and settings.threads > 1:
        result["crowd"] = _crowd(gromacs, settings)
    return result


def _crowd(gromacs, settings):
    """What as many trajectories reach as there are threads, one thread each, all at once: {trajectories, steps_per_s of all}."""
    hours = f"{SINGLE * settings.budget / 3600:.8f}"

    def one(k):
        options = ("-ntmpi", 1, "-ntomp", 1, "-pin", "off", "-maxh", hours)
        log = os.path.join(gromacs.folder, f"crowd_{k}.txt")
        _Gromacs(settings, gromacs.folder, log)("mdrun", "-s", "produce.tpr", "-deffnm", f"crowd_{k}", *options)
        found = _mdLog(os.path.join(gromacs.folder, f"crowd_{k}.log"))
        return found["steps"] / found["wall_s"]

    with ThreadPoolExecutor(settings.threads) as pool:
        return {"trajectories": settings.threads, "steps_per_s": sum(pool.map(one, range(settings.threads)))}


def _solvate(gromacs, interactions, molecules, folder, seed):
    """Protein, water, ions and antifreeze in a dodecahedron: solvated.gro and system.top. Returns {molecule: how many}."""
    width = f"{_width(os.path.join(folder, 'cg.pdb')):.3f}"
    gromacs("editconf", "-f", "cg.pdb", "-box", width, "-bt", "dodecahedron", "-c", "-o", "boxed.gro")
    _writeWater(os.path.join(folder, "water.gro"), seed)
    gromacs("solvate", "-cp", "boxed.gro", "-cs", "water.gro", "-radius", SOLVENT_RADIUS, "-o", "watered.gro")
    with open(os.path.join(folder, "watered.gro"), encoding="utf-8") as file:
        lines = file.read().split("\n")
    atoms, box = lines[2 : 2 + int(lines[1])], lines[2 + int(lines[1])]
    solute = [line for line in atoms if line[5:10].strip() != "W"]
    water = [line[20:] for line in atoms if line[5:10].strip() == "W"]
    # Which beads become ions or antifreeze is drawn: in the file, neighbors follow each other.
    np.random.default_rng(seed).shuffle(water)
    charge = _charge(folder, molecules)
    wanted = {"W": 0}
    if "WF" in interactions.molecules:
        wanted["WF"] = round(ANTIFREEZE * len(water))
    sodium, chloride = interactions.entry["sodium"], interactions.entry["chloride"]
    if {sodium, chloride} <= interactions.molecules:
        edges = [float(value) for value in box.split()]
        salt = round(SALT * AVOGADRO * edges[0] * edges[1] * edges[2])
        wanted[sodium] = salt + max(0, -charge)
        wanted[chloride] = salt + max(0, charge)
    wanted["W"] = len(water) - sum(wanted.values())
    if wanted["W"] < 100:
        raise CompareError(f"only {len(water)} water beads fit into the box: something is wrong with the solvation")
    placed = [name for name, count in wanted.items() for _ in range(count)]
    first = len(solute)
    for k, (name, rest) in enumerate(zip(placed, water)):
        residue = "ION" if name in (sodium, chloride) else name
        solute.append(f"{(first + k + 1) % 100000:5d}{residue:<5s}{name:>5s}{(first + k + 1) % 100000:5d}{rest}")
    with open(os.path.join(folder, "solvated.gro"), "w", encoding="utf-8") as file:
        file.write("\n".join([lines[0], str(len(solute)), *solute, box, ""]))
    includes = [f'#include "{path}"' for path in interactions.paths]
    includes += [f'#include "{name}.itp"' for name in dict.fromkeys(line.split()[0] for line in molecules if line.strip())]
    listed = [line for line in molecules if line.strip()] + [f"{name} {count}" for name, count in wanted.items() if count]
    with open(os.path.join(folder, "system.top"), "w", encoding="utf-8") as file:
        file.write("\n".join([*includes, "[ system ]", "protein in MARTINI water", "[ molecules ]", *listed, ""]))
    number = sum(int(line.split()[1]) for line in molecules if line.strip())
    return {"beads": first, "charge": charge, "molecules": number, **wanted}


def _width(path):
    """Of the box in nm: the protein's diameter and PADDING, but at least twice PADDING, as openmm.app.Modeller.addSolvent has it."""
    import mdtraj
    from scipy.spatial.distance import pdist

    points = mdtraj.load(path).xyz[0]
    diameter = pdist(points).max() if len(points) > 1 else 0.0
    return max(float(diameter) + PADDING, 2 * PADDING)


def _writeWater(path, seed):
    """A cube of water beads on a disturbed lattice, with which gmx solvate fills the box; equilibration melts and packs it."""
    n = 8
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    points = (grid + 0.5) * WATER_SPACING + random.uniform(-JITTER, JITTER, (n**3, 3))
    edge = n * WATER_SPACING
    with open(path, "w", encoding="ascii") as file:
        file.write(f"water beads\n{n**3}\n")
        for k, (x, y, z) in enumerate(points, 1):
            file.write(f"{k:5d}W        W{k:5d}{x:8.3f}{y:8.3f}{z:8.3f}\n")
        file.write(f"{edge:10.5f}{edge:10.5f}{edge:10.5f}\n")


def _charge(folder, molecules):
    """The protein's charge in e, from the topologies that martinize2 wrote."""
    total = 0.0
    for line in filter(str.strip, molecules):
        name, count = line.split()[:2]
        section = None
        with open(os.path.join(folder, name + ".itp"), encoding="utf-8") as file:
            for text in file:
                text = text.split(";")[0].strip()
                if text.startswith("["):
                    section = text.strip("[] ")
                elif section == "atoms" and len(text.split()) >= 7:
                    total += int(count) * float(text.split()[6])
    return round(total)


def _childrenTime():
    times = os.times()
    return times.children_user + times.children_system


def _mdLog(path):
    """Steps, seconds and processor features of an mdrun, as it logged them."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    steps, wall = re.search(r"Statistics over (\d+) steps", text), re.search(r"^\s+Time:\s+\S+\s+(\S+)", text, re.MULTILINE)
    performance = re.search(r"^Performance:\s+(\S+)", text, re.MULTILINE)
    version = re.search(r"GROMACS version:\s+(\S+)", text)
    simd = re.search(r"SIMD instructions:\s+(\S+)", text)
    if not (steps and wall and performance):
        raise CompareError(f"{os.path.basename(path)} has no statistics: mdrun did not come to its end")
    return {
        "steps": int(steps[1]) - 1,  # the first is the start
        "wall_s": float(wall[1]),
        "ns_per_day": float(performance[1]),
        "version": version[1] if version else "unknown",
        "simd": simd[1] if simd else "unknown",
    }


def _joinMolecules(gromacs, counts):
    """trajectory.xtc of produce.xtc, which has beads where they are in the box: molecules whole again, and several of them together."""
    with open(os.path.join(gromacs.folder, "protein.ndx"), "w", encoding="ascii") as file:
        numbers = [str(k) for k in range(1, counts["beads"] + 1)]
        file.write("[ Protein ]\n" + "\n".join(" ".join(numbers[k : k + 15]) for k in range(0, len(numbers), 15)) + "\n")
    gromacs("convert-tpr", "-s", "produce.tpr", "-n", "protein.ndx", "-o", "protein.tpr")
    whole = "whole.xtc" if counts["molecules"] > 1 else "trajectory.xtc"
    gromacs("trjconv", "-f", "produce.xtc", "-s", "protein.tpr", "-pbc", "whole", "-o", whole, answer="System\n")
    if counts["molecules"] > 1:
        gromacs("trjconv", "-f", whole, "-s", "protein.tpr", "-pbc", "cluster", "-o", "trajectory.xtc", answer="System\nSystem\n")


def _result(gromacs, interactions, settings, counts, interval, load, cpu):
    folder = gromacs.folder
    _joinMolecules(gromacs, counts)
    found = _mdLog(os.path.join(folder, "produce.log"))
    water = counts["W"] + counts.get("WF", 0)
    ions = sum(count for name, count in counts.items() if name not in ("beads", "charge", "molecules", "W", "WF"))
    antifreeze = f", {counts['WF']} of them antifreeze" if counts.get("WF") else ""
    salt = f"{ions} ions ({SALT:g} mol/l NaCl, neutral)" if ions else f"no ions (none in the files given; charge {counts['charge']:+d} e)"
    title = interactions.entry["title"]
    return {
        "title": f"{title}, GROMACS",
        "details": {
            "force field": f"{title} (martinize2{', elastic network' if settings.elastic else ', no elastic network'})",
            "solvent": f"{water} water beads of four waters{antifreeze}, {salt}, {PADDING:g} nm from copy to copy, 1 bar",
            "particles": f"{counts['beads'] + water + ions} beads, {counts['beads']} of the protein",
            "constraints": "those of the topology (rings, short bonds)",
            "integrator": f"leap-frog, {TIMESTEP:g} fs, v-rescale 1 ps",
            "program": f"GROMACS {found['version']}, compiled for {found['simd']}",
        },
        "timestep_fs": TIMESTEP,
        "replicas": 1,
        "interval": interval,
        "load_average": load,
        "steps": found["steps"],
        "wall_s": found["wall_s"],
        "cpu_s": cpu,
        "single_steps_per_s": found["steps"] / found["wall_s"],
        "ns_per_day_reported": found["ns_per_day"],
        "trajectories": [os.path.join(folder, "trajectory.xtc")],
        "topology": os.path.join(folder, "cg.pdb"),
        "bead": "BB",
    }
