# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""openmm-flash compare: the whole of it with short runs, and its page in a browser."""

import html.parser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import small_models

pytest.importorskip("click", reason="the command line needs the package click")
pytest.importorskip("mdtraj", reason="compare needs the package mdtraj")
pytest.importorskip("jinja2", reason="compare needs the package jinja2")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Three residues are too few for contacts; four have a pseudo-dihedral and, from end to end, a distance.
SHORT = ("--platform", "CPU", "--threads", "2", "--alanines", "4", "--time-budget", "0.3s", "--frames", "6", "--implicit", "obc2")


def invoke(*arguments, code=0):
    from click.testing import CliRunner

    from openmmflash.cli._app import app

    result = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def ani(tmp_path_factory):
    return small_models.writeAni(tmp_path_factory.mktemp("model") / "ani.safetensors")


@pytest.fixture(scope="module")
def comparison(ani, tmp_path_factory):
    """The folder of a comparison of a small model with AMBER in vacuum; MARTINI lacks its file."""
    folder = tmp_path_factory.mktemp("compare") / "out"
    output = invoke(
        *SHORT, "--model", ani, "--replicas", 2, "--engines", "flash,amber-implicit,martini", "-o", folder, "--gmx", "no-gmx", code=1
    )
    assert "martini: not run, missing" in output and f"report: {folder}/report.html" in output
    return folder


class Page(html.parser.HTMLParser):
    """Everything that a page refers to, its tables' cells and its text."""

    def __init__(self, text):
        super().__init__()
        self.references, self.rows, self.text, self.tags = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action", "poster")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def testReport(comparison):
    document = json.loads((comparison / "report.json").read_text())
    engines = {engine["name"]: engine for engine in document["engines"]}
    assert list(engines) == ["flash", "amber-implicit", "martini"]
    assert [engine["status"] for engine in engines.values()] == ["done", "done", "missing"]
    assert "GROMACS (no-gmx)" in engines["martini"]["reason"] and "interaction file" in engines["martini"]["reason"]
    assert "apt-get install gromacs" in engines["martini"]["advice"] and "martini_v3.0.0.itp" in engines["martini"]["advice"]
    assert document["protein"]["sequence"] == ["ALA"] * 4 and document["settings"]["budget"] == 0.3
    for name, replicas, timestep in (("flash", 2, 0.5), ("amber-implicit", 1, 4.0)):
        engine, rates = engines[name], engines[name]["rates"]
        result = engine["result"]
        assert rates["trajectories"] == replicas and result["timestep_fs"] == timestep and rates["wall_s"] >= 0.3
        # A day has 86,400 s, and 1e6 fs are a nanosecond.
        perDay = result["steps"] / result["wall_s"] * 86400 * timestep / 1e6
        # Ours in production, AMBER also one on each thread, if that is more.
        assert ("crowd" in result) == (name != "flash")
        crowd = result["crowd"]["steps_per_s"] * 86400 * timestep / 1e6 if "crowd" in result else 0
        assert rates["aggregate_ns_per_day"] == pytest.approx(max(replicas * perDay, crowd), rel=1e-4)
        assert rates["at_once"] == 2 or crowd < perDay
        assert rates["simulated_ns"] == pytest.approx(replicas * result["steps"] * timestep * 1e-6, rel=1e-4)
        assert rates["single_ns_per_day"] == pytest.approx(result["single_steps_per_s"] * 86400 * timestep / 1e6, rel=1e-4)
        assert len(result["trajectories"]) == replicas and all((comparison / path).is_file() for path in result["trajectories"])
        frames = result["frames"]
        assert frames >= 2 and engine["structure"]["frames"] == frames * replicas
        for series in ("rmsd_nm", "gyration_nm", "native_contacts"):
            assert [len(one) for one in engine["series"][series]] == [frames] * replicas
        assert engine["series"]["time_ns"][0] == pytest.approx(result["interval"] * timestep * 1e-6, rel=1e-4)
    assert "OBC2" in engines["amber-implicit"]["result"]["title"]
    assert document["free_energy"]["coordinate"] == "rmsd" and "frames" in document["free_energy"]["text"]
    for name in document["figures"]:
        assert (comparison / name).read_bytes()[:4] == b"\x89PNG"
    assert {"speed.png", "structure.png", "ramachandran.png", "pseudodihedral.png", "free_energy.png"} == set(document["figures"])


def testPageIsWhole(comparison):
    """It loads nothing from elsewhere, has every figure inside, and names what did not run."""
    text = (comparison / "report.html").read_text()
    page = Page(text)
    assert page.references and all(reference.startswith("data:") for reference in page.references)
    assert sum(reference.startswith("data:image/png;base64,") for reference in page.references) == 5
    assert not re.search(r"https?://|@import|url\(", text) and "script" not in page.tags
    assert "MARTINI was not run." in page.text and "apt-get install gromacs" in page.text
    assert "A nanosecond of beads is not a nanosecond of atoms." in page.text
    cells = [row[0].split()[0] for row in page.rows if row and row[0].split()]
    assert "OpenMM-Flash" in cells and "AMBER" in cells


def testPageInABrowser(comparison, tmp_path):
    """No error in the console, every image is drawn, and nothing is wider than a laptop's window; a page with an error is told."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"needs Chromium: none of {', '.join(BROWSERS)} is installed (Debian: apt-get install chromium)")
    probe = (
        "<script>addEventListener('load', () => document.body.setAttribute('data-probe', [document.images.length, "
        "[...document.images].filter(i => i.naturalWidth > 0).length, document.documentElement.scrollWidth <= innerWidth].join()))</script>"
    )
    text = (comparison / "report.html").read_text()
    good, bad = tmp_path / "good.html", tmp_path / "bad.html"
    good.write_text(text.replace("</body>", probe + "</body>"))
    bad.write_text(text.replace("</body>", probe + '<img src="absent.png"><script>absent()</script></body>'))
    console, dom = _open(browser, good, tmp_path)
    assert not console, console
    assert 'data-probe="5,5,true"' in dom, re.findall(r'data-probe="[^"]*"', dom)
    console, dom = _open(browser, bad, tmp_path)
    assert "absent is not defined" in console and 'data-probe="6,5,' in dom


def _open(browser, path, folder):
    """(what the browser writes to its console, the page as it is after loading)"""
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1280,800",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
    ]
    command = [browser, *options, f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line), done.stdout


def testAFailedEngine(ani, tmp_path):
    """A model of beads that are no amino acids: that is in the report with the end of the log, and AMBER's results are there."""
    beads = small_models.writeBeads(tmp_path / "beads.safetensors")
    output = invoke(*SHORT, "--model", beads, "--engines", "flash,amber-vacuum", "-o", tmp_path / "out", code=1)
    assert "flash: failed: This model's types are beads" in output and "amber-vacuum:" in output
    flash, amber = json.loads((tmp_path / "out/report.json").read_text())["engines"]
    assert (flash["status"], amber["status"]) == ("failed", "done")
    assert "mapping" in flash["reason"] and "worker.py" in flash["log"] and amber["rates"]["steps_per_s"] > 0
    page = Page((tmp_path / "out/report.html").read_text())
    assert "OpenMM-Flash failed." in page.text and "mapping" in page.text and "worker.py" in page.text
    output = invoke(*SHORT, "--model", ani, "--engines", "amber-vacuum", "-o", tmp_path / "out", code=2)
    assert "is not empty" in output and (tmp_path / "out/report.json").is_file()
    (tmp_path / "out/mine.txt").write_text("precious")
    output = invoke(*SHORT, "--model", ani, "--engines", "amber-vacuum", "-o", tmp_path / "out", "--overwrite", code=2)
    assert "has mine.txt, which no comparison wrote" in " ".join(output.split())


def testTwoComparisonsInOneFolder(ani, tmp_path, monkeypatch):
    """--overwrite does not touch a comparison that is running; once this has ended, it is replaced."""
    from openmmflash.compare import runner

    folder, calls = tmp_path / "out", []

    def compare(source, settings, path, *_):
        calls.append(sorted(os.listdir(path)))
        (folder / "amber-vacuum").mkdir()
        (folder / "amber-vacuum/trajectory.xtc").write_text("precious")
        if len(calls) == 1:
            output = invoke(*SHORT, "--model", ani, "-o", folder, "--overwrite", code=2)
            assert "Another openmm-flash run is writing to" in output
            assert (folder / "amber-vacuum/trajectory.xtc").read_text() == "precious"
        return [], "report.html"

    monkeypatch.setattr(runner, "compare", compare)
    monkeypatch.setattr(runner, "isFailure", lambda *_: False)
    invoke(*SHORT, "--model", ani, "-o", folder)
    invoke(*SHORT, "--model", ani, "-o", folder, "--overwrite")
    assert calls == [["run.lock"], ["run.lock"]]


def testAnEngineMeasuredBothWays(tmp_path, monkeypatch):
    """One that runs several trajectories in a Context is timed with one alone, and another one with as many as threads; or both."""
    import dataclasses

    import openmm

    from openmmflash.compare import systems, worker
    from openmmflash.compare.protein import prepare
    from openmmflash.compare.settings import Settings

    def build(*arguments):
        setup = systems.build(*arguments)
        return dataclasses.replace(setup, single=setup.system)

    monkeypatch.setattr(worker, "build", build)
    protein = prepare(None, str(tmp_path / "p.pdb"), openmm.Platform.getPlatform("Reference"), alanines=1)
    settings = dataclasses.asdict(Settings("none", "CPU", threads=2, budget=0.1, frames=2))
    result = worker.run({"engine": "amber-vacuum", "pdb": protein.path, "folder": str(tmp_path), "settings": settings})
    assert result["crowd"]["trajectories"] == 2 and result["single_steps_per_s"] != result["steps"] / result["wall_s"]


@pytest.mark.parametrize("program, code", [("false", 1), ("true", 0)])
def testAProcessThatDies(tmp_path, monkeypatch, program, code):
    """Without a result: the engine has failed, whatever its exit code is."""
    from openmmflash.compare import runner
    from openmmflash.compare.protein import Protein
    from openmmflash.compare.settings import Settings

    monkeypatch.setattr(runner.sys, "executable", shutil.which(program))
    protein = Protein("x", str(tmp_path / "x.pdb"), None, None, [])
    outcome = runner._run("amber-vacuum", protein, Settings("m", "CPU", budget=1), str(tmp_path / "engine"))
    assert outcome.status == "failed" and outcome.reason == f"Its process ended with code {code} and without a result."


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--engines", "charmm"], "'charmm' is not known; there are flash, amber-vacuum, amber-implicit, amber-explicit, martini"),
        (["absent.pdb"], "PDB: there is no file absent.pdb"),
        (["--martini", "absent.itp"], "--martini: there is no file absent.itp"),
        (["--reference", "absent.npz"], "--reference: there is no file absent.npz"),
        (["--model", "absent.safetensors"], "neither a model file absent.safetensors"),
        (["--time-budget", "0"], "larger than 0 s"),
        (["--time-budget", "5 parsec"], "has the unit 'parsec'; allowed are s, min, h"),
        (["--frames", "1"], "1 is not in the range"),
        (["--alanines", "0"], "0 is not in the range"),
        (["--platform", "Fast"], "There is no platform 'Fast'"),
        (["--temperature", "-3"], "must be a finite number larger than 0 K"),
        (["--implicit", "gbn3"], "'gbn3' is not one of"),
        (["--output", "file.txt"], "is a file. Give the name of a folder."),
        (["file.txt"], "file.txt"),
    ],
)
def testWrongOptions(ani, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("file.txt").write_text("no structure")
    model = [] if "--model" in arguments else ["--model", ani]
    output = invoke(*model, *([] if "--platform" in arguments else ["--platform", "Reference"]), *arguments, code=2)
    assert message in " ".join(output.split()) and "Traceback" not in output
    assert not os.path.exists("compare/report.html")
