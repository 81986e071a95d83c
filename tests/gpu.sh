#!/usr/bin/env bash
# The whole test suite on platform CUDA, on a machine with a GPU and no network: tests/gpu.sh CARRIED OUTPUT
#   CARRIED  the folder that tests/gpu_prepare.sh made elsewhere       OUTPUT  for logs, JUnit files and results.json
# Environment: PYTHON (default python3); GPU_SECONDS (default 500): how long pytest may take; SANITIZER=no leaves out
# compute-sanitizer; CASES=--small takes few models; GPU_PLATFORM=OpenCL runs it all on that platform, to try the script without a GPU.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,6s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
mkdir -p "$2"
OUTPUT=$(cd "$2" && pwd -P)
rm -f "$OUTPUT/steps.jsonl"
. "$root/tests/gpu_environment.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

makeGpuEnvironment "$1" "$work/env"
cd "$root"
export GPU_PLATFORM=${GPU_PLATFORM:-CUDA}
export PYTHONPATH=$root/tests/python:$root/tests/gpu PYTHONFAULTHANDLER=1
TAIL=40 step diagnose "$GPU_PYTHON" -m openmmflash diagnose
[ "$GPU_PLATFORM" != CUDA ] || step gpu hasGpu
pytest=("$GPU_PYTHON" -m pytest -q -rfEs -p no:cacheprovider)

# 1. Each model in each precision beside Reference, with tensor cores and without: quick, and the first thing to look at.
step cases "$GPU_PYTHON" tests/gpu/cases.py ${CASES:-} --json "$OUTPUT/cases.json"
step cases-without-tensor-cores env OPENMMFLASH_CUDA_TENSOR_CORES=0 "$GPU_PYTHON" tests/gpu/cases.py ${CASES:-} --json "$OUTPUT/cases-plain.json"

# 2. The Python tests, with CUDA in place of OpenCL.
step pytest timeout "${GPU_SECONDS:-500}" "${pytest[@]}" -p cuda_platforms --junitxml="$OUTPUT/pytest.xml" tests/python/test_force_values.py \
    tests/python/test_force_openmm.py tests/python/test_force_gradient.py tests/python/test_force_invariance.py tests/python/test_half_weights.py \
    tests/python/test_physics.py tests/python/test_device_errors.py tests/python/test_device_platforms.py

# 3. Memory errors, races, memory that was never written.
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda/compute-sanitizer/compute-sanitizer 2> /dev/null | head -1 || true)
if [ "${SANITIZER:-yes}" = no ] || [ -z "$sanitizer" ]; then
    echo "compute-sanitizer: left out (${sanitizer:-not found})"
else
    for tool in memcheck racecheck initcheck; do
        step "sanitizer-$tool" timeout 300 "$sanitizer" --tool $tool --error-exitcode 9 --print-limit 20 "$GPU_PYTHON" tests/gpu/cases.py --small
        # The texts that small systems do without: cells, and filters of low rank.
        step "sanitizer-$tool-cells" timeout 300 env OPENMMFLASH_DEVICE_LARGE_GROUP=1 OPENMMFLASH_DEVICE_FILTER=2 "$sanitizer" --tool $tool --error-exitcode 9 \
            --print-limit 20 "$GPU_PYTHON" tests/gpu/cases.py --small
    done
fi

"$GPU_PYTHON" - "$OUTPUT" << 'EOF'
import json, pathlib, sys

from openmmflash.bench.machine import systemInformation

output = pathlib.Path(sys.argv[1])
steps = [json.loads(line) for line in (output / "steps.jsonl").read_text().splitlines()]
cases = {p.stem: json.loads(p.read_text()) for p in output.glob("cases*.json")}
record = {"system": systemInformation(), "steps": steps, "cases": cases}
(output / "results.json").write_text(json.dumps(record, indent=1) + "\n")
passed = sum(step["status"] == 0 for step in steps)
print(f"{passed} passed, {len(steps) - passed} failed")
EOF
[ -z "${FAILED:-}" ] || { echo "failed:$FAILED"; exit 1; }
