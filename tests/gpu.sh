#!/usr/bin/env bash
# The whole test suite on platform CUDA, on a machine with a GPU and no network: tests/gpu.sh CARRIED OUTPUT
#   CARRIED  the folder that tests/gpu_prepare.sh made elsewhere       OUTPUT  a new folder for logs, JUnit files and results.json
# Environment: PYTHON (default python3); GPU_SECONDS (default 540) for everything, but for up to 20 s in which programs end;
# JOBS processes of a kind at a time (default: half the cores, 8 at most);
# SANITIZER=no leaves out compute-sanitizer, =only all else; CASES=--small takes few models; PYTEST names tests in place of all;
# GPU_PLATFORM=OpenCL runs it all on that platform, to try the script without a GPU. What fails, fails the script; the others go on.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,8s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
carried=$(cd "$1" && pwd -P) || exit 2
case ${SANITIZER:=yes} in
    yes | no | only) ;;
    *) echo "error: SANITIZER is '$SANITIZER'; it can be yes, no or only" >&2; exit 2 ;;
esac
. "$root/tests/gpu_environment.sh"
setOutput "$2"
DEADLINE=$((SECONDS + ${GPU_SECONDS:-540}))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root"
export GPU_PLATFORM=${GPU_PLATFORM:-CUDA} JOBS=${JOBS:-$(nproc | awk '{n = int(($1 + 1) / 2); print n < 8 ? n : 8}')}
export PYTHONPATH=$root/tests/python:$root/tests/gpu PYTHONFAULTHANDLER=1 PYTHONUNBUFFERED=1
export OPENMM_CACHE_DIR=$work/cache # a fresh one: nothing compiled by another version
export OPENMM_DEFAULT_PLATFORM=CPU # tests that name no platform
mkdir -p "$OPENMM_CACHE_DIR"

# cppTests PROGRAM ARGUMENT...: tests built elsewhere, with the plugins of the carried wheels.
cppTests() {
    local plugins=$GPU_LIBRARIES/plugins program=$carried/$1
    shift
    [ -x "$program" ] || { echo "error: $program was not carried"; return 1; }
    LD_LIBRARY_PATH=$GPU_LIBRARIES:${LD_LIBRARY_PATH:-} FLASH_TEST_PLATFORM=$GPU_PLATFORM \
        FLASH_TEST_PLUGINS=$plugins/libOpenMM$GPU_PLATFORM.so:$plugins/libOpenMMFlashReference.so:$plugins/libOpenMMFlash$GPU_PLATFORM.so \
        bounded 480 "$program" "$@"
}

# pytestOn FILE...: with CUDA in place of OpenCL, in several processes where pytest-xdist is there.
pytestOn() {
    local workers=()
    ! "$GPU_PYTHON" -c 'import xdist' 2> /dev/null || workers=(-n "$JOBS" --dist worksteal)
    bounded 480 "$GPU_PYTHON" -m pytest -q -rfEs -p no:cacheprovider -p cuda_platforms "${workers[@]}" --junitxml="$OUTPUT/pytest.xml" "$@"
}

# sanitize TOOL NAME PORT [VARIABLE=VALUE...]: small cases under compute-sanitizer; what it says is judged by sanitizer.py.
sanitize() {
    local tool=$1 name=$2 port=$3 rc=0
    shift 3
    # Errors of API calls are OpenMM's business, which asks for things that need not be there.
    bounded 480 env "$@" "$sanitizer" --tool "$tool" --port "$port" --report-api-errors no --padding 64 --print-limit 5000 --error-exitcode 9 \
        --log-file "$OUTPUT/sanitizer-$name.log.txt" "$GPU_PYTHON" tests/gpu/cases.py --small || rc=$?
    "$GPU_PYTHON" tests/gpu/sanitizer.py "$OUTPUT/sanitizer-$name.log.txt" --status $rc --json "$OUTPUT/sanitizer-$name.json"
}

step environment makeGpuEnvironment "$carried" "$work/env"
if [ -n "${GPU_LIBRARIES:-}" ]; then
    TAIL=40 step diagnose bounded 120 "$GPU_PYTHON" -m openmmflash diagnose
    [ "$GPU_PLATFORM" != CUDA ] || step gpu hasGpu

    if [ "$SANITIZER" != only ]; then
        # 1. Each model in each precision beside Reference, with tensor cores and without; the C++ tests; the Python tests. All at once.
        step cases bounded 300 "$GPU_PYTHON" tests/gpu/cases.py ${CASES:-} --jobs "$JOBS" --json "$OUTPUT/cases.json" &
        step cases-without-tensor-cores bounded 300 env OPENMMFLASH_CUDA_TENSOR_CORES=0 "$GPU_PYTHON" tests/gpu/cases.py ${CASES:-} \
            --jobs "$JOBS" --json "$OUTPUT/cases-plain.json" &
        if [ "$GPU_PLATFORM" = CUDA ]; then
            for precision in single mixed double; do
                step "cpp-$precision" cppTests TestCudaFlashForce $precision &
            done
            step cpp-ani cppTests TestCommonAni & # on OpenCL one of them needs a library in between
        fi
        # Networks of all widths, and filters of low rank.
        step cpp-schnet cppTests TestCommonSchNet &
        files=(force_values force_openmm force_gradient force_invariance half_weights physics device_errors device_platforms)
        files=("${files[@]/#/tests/python/test_}")
        step pytest pytestOn ${PYTEST:-"${files[@]/%/.py}"} &
        wait
    fi

    # 2. Memory errors, races, memory that was never written; the second time with texts that small systems do without: cells.
    sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda/compute-sanitizer/compute-sanitizer 2> /dev/null | head -1 || true)
    if [ "$SANITIZER" = no ]; then
        echo "compute-sanitizer: left out, as asked"
    elif [ -z "$sanitizer" ]; then
        step sanitizer sh -c 'echo "compute-sanitizer is not on the PATH nor in /usr/local/cuda (SANITIZER=no leaves it out)"; exit 127'
    else
        port=49200
        for tool in memcheck racecheck initcheck; do
            step "sanitizer-$tool" sanitize $tool $tool $port &
            step "sanitizer-$tool-cells" sanitize $tool $tool-cells $((port + 20)) OPENMMFLASH_DEVICE_LARGE_GROUP=1 &
            port=$((port + 40))
        done
        wait
    fi
fi

"${GPU_PYTHON:-${PYTHON:-python3}}" tests/gpu/results.py "$OUTPUT"
