# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Check what a wheel holds, for scripts/test: inspect_wheel.py WHEEL SOURCE_FOLDER"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIRED = [
    r"OpenMM\.libs/lib/libOpenMMFlash\.so",
    r"OpenMM\.libs/lib/plugins/libOpenMMFlashReference\.so",
    r"OpenMM\.libs/lib/plugins/libOpenMMFlashCPU\.so",
    r"OpenMM\.libs/lib/plugins/libOpenMMFlashOpenCL\.so",
    r"OpenMM\.libs/include/openmmflash/FlashForce\.h",
    r"OpenMM\.libs/include/openmmflash/FlashModel\.h",
    r"openmmflash/__init__\.py",
    r"openmmflash/compare/report\.html\.j2",
    r"openmmflash/_[A-Za-z_]+\.(cpython|abi3)[^/]*\.so",
    r"openmmflash_entrypoints/data/openmmflash/ani2x\.xml",
    r"openmmflash_entrypoints/data/openmmflash/register\.xml",
    r"openmm_flash-[^/]*\.dist-info/METADATA",
    r"openmm_flash-[^/]*\.dist-info/entry_points\.txt",
    r"openmm_flash-[^/]*\.dist-info/licenses/LICENSE",
]
FOREIGN = re.compile(r"(\.(cpp|cc|i|o|a|swg|txt\.in|cmake)|CMakeLists\.txt|(^|/)tests?/.*)$")


def runPaths(binary: Path) -> list[str]:
    """Each entry of a binary's RPATH and RUNPATH."""
    text = subprocess.run(["readelf", "-d", binary], check=True, capture_output=True, text=True).stdout
    return [entry for line in re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", text) for entry in line.split(":")]


def inspect(wheel: Path, source: Path) -> list[str]:
    """Everything wrong with a wheel."""
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
            names = [name for name in archive.namelist() if not name.endswith("/")]
        problems += [f"no file matches {pattern}" for pattern in REQUIRED if not any(re.fullmatch(pattern, name) for name in names)]
        problems += [f"{name} does not belong into a wheel" for name in names if FOREIGN.search(name)]
        for name in names:
            data = (Path(folder) / name).read_bytes()
            if data[:4] != b"\x7fELF":
                continue
            paths = runPaths(Path(folder) / name)
            print(f"{name}: {len(data)} bytes, run path {':'.join(paths) or '(none)'}")
            problems += [
                f"{name}: run path entry {entry!r} is not relative to $ORIGIN" for entry in paths if not entry.startswith("$ORIGIN")
            ]
            # OpenMM's library lies one folder up, its platforms' plugins in the same one.
            if "/lib/plugins/" in name and paths != ["$ORIGIN", "$ORIGIN/.."]:
                problems.append(f"{name}: the run path of a plugin is $ORIGIN:$ORIGIN/..")
            # Pip builds in temporary folders, whose names end in debugging text and assertions.
            for place in (str(source).encode(), b"/tmp/", b"pip-build-env", b"site-packages/"):
                found = re.search(rb"[\x20-\x7e]*" + re.escape(place) + rb"[\x20-\x7e]*", data)
                if found:
                    problems.append(f"{name} contains a path of the machine that built it: {found.group().decode()!r}")
        metadata = next((Path(folder) / name for name in names if name.endswith(".dist-info/METADATA")), None)
        requirements = re.findall(r"^Requires-Dist: (.*)$", metadata.read_text(), re.MULTILINE) if metadata else []
        print("requires:", "; ".join(requirements))
        needed = [requirement for requirement in requirements if "extra ==" not in requirement]
        problems += [f"needs {requirement}" for requirement in needed if re.match(r"torch", requirement)]
        if not any(re.match(r"openmm\b.*<8\.7", requirement, re.IGNORECASE) for requirement in needed):
            problems.append("does not pin OpenMM below 8.7, although its binary interface is that of 8.6")
    return problems


found = inspect(Path(sys.argv[1]), Path(sys.argv[2]))
print("\n".join(found) or "nothing wrong")
sys.exit(bool(found))
