#!/usr/bin/env bash
# Benchmarks on a machine with a GPU and no network: benchmarks/gpu.sh CARRIED OUTPUT [OPTIONS OF benchmarks/gpu.py]
#   CARRIED  the folder that tests/gpu_prepare.sh made elsewhere (PEERS="torchani==2.2.4" carries TorchANI)
#   OUTPUT   for gpu.json and logs
# TorchANI is measured where PYTHON (default python3) or CARRIED has it. FlashMD and mlcg, which no package index has, are measured by
# `openmm-flash bench --peer-path`, of a source tree: see docs/benchmarks.md.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
carried=$1
mkdir -p "$2"
OUTPUT=$(cd "$2" && pwd -P)
shift 2
. "$root/tests/gpu_environment.sh"
rm -f "$OUTPUT/steps.jsonl"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
makeGpuEnvironment "$carried" "$work/env"
cd "$root"
export PYTHONPATH=$root/tests/python
TAIL=30 step diagnose "$GPU_PYTHON" -m openmmflash diagnose
TAIL=60 step gpu "$GPU_PYTHON" benchmarks/gpu.py "$OUTPUT/gpu.json" "$@"
# What a profiler of NVIDIA's says, where one is there.
if command -v nsys > /dev/null; then
    TAIL=40 step nsys nsys profile --stats=true --force-overwrite=true -o "$OUTPUT/nsys" "$GPU_PYTHON" benchmarks/gpu.py "$OUTPUT/nsys.json" \
        --only cg-269x128-single --no-peers --seconds 0.2
else
    echo "nsys is not there: launches and times of kernels are PyTorch's profiler's, in gpu.json"
fi
[ -z "${FAILED:-}" ] || { echo "failed:$FAILED"; exit 1; }
