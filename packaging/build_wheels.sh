#!/usr/bin/env bash
# Build the main wheel and those of the CUDA plugins: packaging/build_wheels.sh FOLDER [main|cuda13|cuda12]...
# Needs Python with pip, a C++ compiler and readelf; no GPU, no driver. PYTHON names the interpreter that the main wheel is for.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
python=${PYTHON:-python3}
newest=34 # glibc 2.34: what OpenMM's wheels are built for
[ $# -gt 0 ] || { sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd -P)
shift
[ $# -gt 0 ] || set -- main cuda13 cuda12
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# tagged WHEEL: the wheel under the tag of OpenMM's, if it runs wherever that tag says. (Its own name says only: a Linux like this one.)
tagged() {
    local needed
    rm -rf "$work/unpacked"
    "$python" -m zipfile -e "$1" "$work/unpacked"
    needed=$(find "$work/unpacked" -name '*.so' -exec readelf --version-info {} + | grep -o 'GLIBC_2\.[0-9]*' | sort -t. -k2 -n | tail -1)
    [ "${needed#GLIBC_2.}" -le "$newest" ] || { echo "error: ${1##*/} needs $needed, newer than 2.$newest; build it on an older system" >&2; return 1; }
    if [ ! -x "$work/venv/bin/python" ]; then
        "$python" -m venv "$work/venv"
        "$work/venv/bin/python" -m pip install -qq --disable-pip-version-check wheel
    fi
    "$work/venv/bin/python" -m wheel tags --remove --platform-tag "manylinux_2_${newest}_$(uname -m)" "$1" > /dev/null
    echo "    needs $needed"
}

for name in "$@"; do
    case $name in
        main) source=$root pattern="openmm_flash-*" ;;
        cuda12 | cuda13) source=$root/packaging/$name pattern="openmm_flash_cuda_${name#cuda}-*" ;;
        *) echo "error: there is no wheel '$name'; there are: main cuda13 cuda12" >&2; exit 2 ;;
    esac
    echo "==> building $name"
    rm -rf "$work/wheel"
    "$python" -m pip wheel -q --disable-pip-version-check --no-deps --config-settings=build-dir="$work/build-$name" --wheel-dir "$work/wheel" "$source"
    [ "$name" = main ] || tagged "$work"/wheel/*.whl
    rm -f "$folder"/$pattern.whl
    mv "$work"/wheel/*.whl "$folder/"
    ls "$folder"/$pattern.whl
done
