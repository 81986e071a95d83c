#!/usr/bin/env bash
# Collect what tests/gpu.sh and benchmarks/gpu.sh need on a machine with a GPU and no network: tests/gpu_prepare.sh FOLDER [--without-nvidia]
#   FOLDER            into which wheels go; keep it out of version control (build/gpu, say)
#   --without-nvidia  leave out NVIDIA's compiler and libraries (0.6 GB): the other machine's Python has them, as PyTorch for CUDA 13 does
# PYTHON names a Python of the version that the other machine has (python3.12, say). HAVE names a file that lists, one a line, packages which
# that machine's Python has already, as its `pip list` says: those are left out. PEERS names more to carry, for the benchmarks: packages or
# wheel files. OPENMMFLASH_SHARED: where mlcg's trained chignolin is (models/mlcg), which the benchmarks take if it is there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
python=${PYTHON:-python3.12}
[ $# -ge 1 ] || { sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
folder=$1
nvidia=yes
case ${2:-} in
    "") ;;
    --without-nvidia) nvidia=no ;;
    *) echo "error: '$2' is not known; there is --without-nvidia" >&2; exit 2 ;;
esac
[ -z "${HAVE:-}" ] || [ -f "$HAVE" ] || { echo "error: HAVE names $HAVE, which is no file" >&2; exit 2; }
# A version that pyenv has, but not for this folder, is a command that says so and fails.
"$python" -c "" 2> /dev/null || { echo "error: PYTHON is $python, which cannot be run: give PYTHON=/path/to/python3.12, of the other machine's version" >&2; exit 2; }
mkdir -p "$folder"
rm -f "$folder"/*.whl "$folder"/carried.txt "$folder"/TestCudaFlashForce "$folder"/TestCommon{SchNet,Ani} "$folder"/chignolin* # one version of each
folder=$(cd "$folder" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

PYTHON=$python "$root/packaging/build_wheels.sh" "$folder" main cuda13
# The driver reads what NVRTC writes if it is not older than NVRTC: 13.0 is for every driver of CUDA 13.
nvrtc="nvidia-cuda-nvrtc==13.0.*"
download=("$python" -m pip download -q --disable-pip-version-check --only-binary=:all: --find-links "$folder" -d "$folder")
if [ $nvidia = yes ]; then
    "${download[@]}" "openmm-flash[cuda13]" "$nvrtc" pytest scipy
else
    "${download[@]}" openmm-flash pytest scipy
    "${download[@]}" --no-deps "OpenMM-CUDA-13>=8.6.1,<8.7"
fi
for peer in ${PEERS:-}; do
    if [ -f "$peer" ]; then cp "$peer" "$folder/"; else "${download[@]}" --no-deps "$peer"; fi
done
# Names as package indexes compare them: lower case, hyphens.
normalized() { tr '[:upper:]_.' '[:lower:]--'; }
if [ -n "${HAVE:-}" ]; then
    cut -d' ' -f1 "$HAVE" | sed 's/==.*//' | normalized | sort -u > "$work/have"
    for wheel in "$folder"/*.whl; do
        name=$(basename "$wheel" | cut -d- -f1 | normalized)
        ! grep -qx -- "$name" "$work/have" || rm "$wheel"
    done
fi

# The C++ tests. They need no CUDA to be built.
programs=(TestCudaFlashForce TestCommonSchNet TestCommonAni)
echo "==> building ${programs[*]}"
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check "openmm>=8.6.1,<8.7" "cmake>=3.25" ninja
PATH=$work/venv/bin:$PATH cmake -S "$root" -B "$work/build" -G Ninja -DOPENMMFLASH_BUILD_TESTS=ON -DOPENMMFLASH_WITH_OPENCL=OFF -DOPENMMFLASH_WITH_CUDA=OFF \
    -DPython_EXECUTABLE="$work/venv/bin/python" > "$work/cmake.log" 2>&1 || { cat "$work/cmake.log" >&2; exit 1; }
PATH=$work/venv/bin:$PATH cmake --build "$work/build" --target "${programs[@]}" > "$work/cmake.log" 2>&1 || { tail -40 "$work/cmake.log" >&2; exit 1; }
for program in "${programs[@]}"; do strip -o "$folder/$program" "$work/build/tests/$program"; done

# A trained network for the benchmarks, beside random ones.
trained=${OPENMMFLASH_SHARED:-$root/../shared}/models/mlcg/schnet_cln_ca_specialized_model_and_config.pt
if [ -f "$trained" ]; then
    "$work/venv/bin/python" -m pip install -q --disable-pip-version-check --find-links "$folder" "$folder"/openmm_flash-*.whl
    "$work/venv/bin/openmm-flash" convert --no-check "$trained" -o "$folder/chignolin.safetensors" > /dev/null
else
    echo "without the trained chignolin: there is no $trained"
fi
cat > "$folder/carried.txt" << EOF
openmm-flash $(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml" | head -1), commit $(git -C "$root" describe --always --dirty --abbrev=40 --exclude '*' 2> /dev/null || echo unknown), for $("$python" --version), NVIDIA's libraries: $nvidia
EOF
cat "$folder/carried.txt"
(cd "$folder" && ls -sh -- * && du -sh . | cut -f1)
