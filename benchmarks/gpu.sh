#!/usr/bin/env bash
# Benchmarks on a machine with a GPU and no network: benchmarks/gpu.sh CARRIED OUTPUT [OPTIONS OF benchmarks/gpu.py]
#   CARRIED  the folder that tests/gpu_prepare.sh made elsewhere
#   OUTPUT   a new folder, for gpu.json, results.json and logs
# Environment: PYTHON (default python3); GPU_SECONDS (default 540) for everything; GPU_PLATFORM=OpenCL to try the script without a GPU.
# Peers: TorchANI where PYTHON or CARRIED has it; mlcg and FlashMD, which no package index has, from their source trees (--mlcg PATH,
# --flashmd PATH; docs/benchmarks.md). The trained chignolin is measured where it was carried. What fails, fails the script.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
carried=$(cd "$1" && pwd -P) || exit 2
. "$root/tests/gpu_environment.sh"
setOutput "$2"
shift 2
options=()
for option in "$@"; do # paths are told from where the script was called
    [ ! -e "$option" ] || option=$(realpath "$option")
    options+=("$option")
done
DEADLINE=$((SECONDS + ${GPU_SECONDS:-540}))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
export PYTHONPATH=$root/tests/python${PYTHONPATH:+:$PYTHONPATH} OPENMM_CACHE_DIR=$work/cache PYTHONUNBUFFERED=1
export TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton # what a peer compiles for one case serves the next
mkdir -p "$OPENMM_CACHE_DIR"

step environment makeGpuEnvironment "$carried" "$work/env"
if [ -n "${GPU_LIBRARIES:-}" ]; then
    TAIL=30 step diagnose bounded 120 "$GPU_PYTHON" -m openmmflash diagnose
    platform=${GPU_PLATFORM:-CUDA}
    [ ! -f "$carried/chignolin.safetensors" ] || options+=(--chignolin "$carried/chignolin.safetensors" "$carried/chignolin_structure.npz")
    # It ends by itself, half a minute after its limit at the latest; what is left is in gpu.json, as left out. ncu has the time after that.
    TAIL=80 step gpu bounded 3600 "$GPU_PYTHON" benchmarks/gpu.py "$OUTPUT/gpu.json" --platform "$platform" --limit $((DEADLINE - SECONDS - 110)) \
        --carried "$(head -1 "$carried/carried.txt")" "${options[@]}"
    # What a kernel is bound by, where NVIDIA's profiler can read the hardware's counters: two steps of each kernel of ours, with tables and low rank.
    if [ "$platform" != CUDA ]; then
        echo "ncu: left out on $platform"
    elif command -v ncu > /dev/null; then
        TAIL=10 step ncu bounded 120 ncu --clock-control none --target-processes all --kernel-name 'regex:schnet|findPairs|computeRepulsion|computeAev|addAevForces|evaluateNetworks' \
            --launch-count 24 --set basic --csv --log-file "$OUTPUT/ncu.csv" "$GPU_PYTHON" benchmarks/gpu.py "$OUTPUT/profiled.json" --only 269x128 --program single --no-peers --seconds 0.1
    else
        echo "ncu is not there: launches and times of kernels are PyTorch's profiler's, in gpu.json"
    fi
fi
"${GPU_PYTHON:-${PYTHON:-python3}}" tests/gpu/results.py "$OUTPUT"
