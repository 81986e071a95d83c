#!/usr/bin/env bash
# Collect what tests/gpu.sh and benchmarks/gpu.sh need on a machine with a GPU and no network: tests/gpu_prepare.sh FOLDER [--without-nvidia]
#   FOLDER            into which wheels go; keep it out of version control (build/gpu, say)
#   --without-nvidia  leave out NVIDIA's compiler and libraries (0.6 GB): the other machine's Python has them, as PyTorch for CUDA 13 does
# PYTHON names a Python of the version that the other machine has (python3.12, say). PEERS names more packages to carry, for the benchmarks.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
python=${PYTHON:-python3.12}
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
folder=$1
nvidia=yes
[ "${2:-}" != --without-nvidia ] || nvidia=no
mkdir -p "$folder"
rm -f "$folder"/*.whl "$folder"/carried.txt # one version of each
folder=$(cd "$folder" && pwd -P)

# The driver reads what NVRTC writes if it is not older than NVRTC: 13.0 is for every driver of CUDA 13.
nvrtc="nvidia-cuda-nvrtc==13.0.*"
PYTHON=$python "$root/packaging/build_wheels.sh" "$folder" main cuda13
download=("$python" -m pip download -q --disable-pip-version-check --only-binary=:all: --find-links "$folder" -d "$folder")
if [ $nvidia = yes ]; then
    "${download[@]}" "openmm-flash[cuda13]" "$nvrtc" pytest scipy
else
    "${download[@]}" --no-deps "openmm>=8.6.1,<8.7" "OpenMM-CUDA-13>=8.6.1,<8.7" numpy click tqdm ase scipy pytest pluggy iniconfig packaging pygments
fi
for peer in ${PEERS:-}; do
    "${download[@]}" --no-deps "$peer"
done
cat > "$folder/carried.txt" << EOF
openmm-flash $(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml" | head -1), commit $(git -C "$root" rev-parse HEAD 2> /dev/null || echo unknown), for $("$python" --version), NVIDIA's libraries: $nvidia
EOF
cat "$folder/carried.txt"
du -sh "$folder" | cut -f1
