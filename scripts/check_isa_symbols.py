# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""
Check the kernels that are compiled once for each instruction set, for scripts/test: check_isa_symbols.py BUILD_FOLDER

An object file made for AVX-512 may give the linker nothing that common code could pick up: of an inline function or a template that several
objects have, it keeps one copy for all, and the program would end with SIGILL on a machine without AVX-512. So every symbol that such an
object defines for others lies in the namespace of its instruction set. Nor may it run code when the library is loaded.
"""

import re
import subprocess
import sys
from pathlib import Path

VARIANT = re.compile(r"[^/]+_(v2|v3|v4|baseline)\.dir$")
# Sections whose code or addresses run before main() and when a library is loaded.
INITIALIZERS = re.compile(r"\s(\.init_array\S*|\.ctors\S*|\.preinit_array\S*|\.text\.startup\S*)\s")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def inspect(path: Path, namespace: str) -> tuple[int, list[str]]:
    """How many symbols an object defines for others, and what is wrong with it."""
    problems, number = [], 0
    for line in output("nm", "--demangle", "--defined-only", str(path)).splitlines():
        _, kind, name = line.split(" ", 2)
        if not (kind.isupper() or kind in "uvw"):
            continue  # seen by nobody else
        number += 1
        if not re.match(rf"OpenMMFlash::{namespace}::", name):
            problems.append(f"{path.name}: {name!r} (nm: {kind}) is outside OpenMMFlash::{namespace}")
    found = sorted(set(INITIALIZERS.findall(output("readelf", "--sections", "--wide", str(path)))))
    problems += [f"{path.name}: section {section}: something runs when the library is loaded" for section in found]
    return number, problems


def main(build: str) -> int:
    problems, seen = [], {}
    for folder in sorted(Path(build).rglob("*.dir")):
        variant = VARIANT.search(folder.name)
        for path in sorted(folder.rglob("*.o")) if variant else []:
            number, wrong = inspect(path, variant[1])
            seen.setdefault(variant[1], []).append(path.name)
            problems += [f"{folder.name}/{line}" for line in wrong]
            if number == 0:
                problems.append(f"{folder.name}/{path.name}: defines nothing")
    for variant, names in seen.items():
        print(f"{variant}: {', '.join(names)}")
    if not seen:
        problems.append(f"no objects of instruction sets in {build}")
    if len({tuple(names) for names in seen.values()}) > 1:
        problems.append("the instruction sets have different sources")
    print("\n".join(problems) or "nothing wrong")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
