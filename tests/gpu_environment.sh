# Shared by tests/gpu.sh and benchmarks/gpu.sh; sourced, not run.
#
# An environment for the carried wheels: makeGpuEnvironment CARRIED ENVIRONMENT. Uses PYTHON (default python3), whose own packages can be seen,
# and sets GPU_PYTHON. NVIDIA's libraries are the carried ones, else those of PYTHON.
makeGpuEnvironment() {
    local carried=$1 environment=$2 python=${PYTHON:-python3} site libraries
    [ -f "$carried/carried.txt" ] || { echo "error: $carried has no carried.txt: make it with tests/gpu_prepare.sh" >&2; return 1; }
    cat "$carried/carried.txt"
    if ! "$python" -m venv --system-site-packages "$environment" 2> /dev/null; then
        "$python" -m venv --system-site-packages --without-pip "$environment"
    fi
    GPU_PYTHON=$environment/bin/python
    # If PYTHON is itself a virtual environment, "system" leaves its packages out: name them.
    site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$site" > "$("$GPU_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz-machine.pth"
    "$GPU_PYTHON" -m pip install -q --disable-pip-version-check --no-index --no-deps --ignore-installed "$carried"/*.whl || return 1
    # OpenMM looks for them beside itself: where they are elsewhere, the loader has to be told.
    libraries=$("$GPU_PYTHON" -c 'import nvidia, os; print(":".join(os.path.join(p, "cu13", "lib") for p in nvidia.__path__))' 2> /dev/null || true)
    [ -z "$libraries" ] || export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# Run one step: step NAME COMMAND... Its output goes to OUTPUT/NAME.log, its time and exit status to OUTPUT/steps.jsonl.
step() {
    local name=$1 start=$SECONDS rc=0
    shift
    echo "==> $name"
    "$@" > "$OUTPUT/$name.log" 2>&1 || rc=$?
    printf '{"step": "%s", "status": %d, "seconds": %d}\n' "$name" "$rc" $((SECONDS - start)) >> "$OUTPUT/steps.jsonl"
    tail -n "${TAIL:-4}" "$OUTPUT/$name.log" | sed 's/^/    /'
    [ $rc = 0 ] || { echo "FAILED $name (exit status $rc)"; FAILED="${FAILED:-} $name"; }
    return 0
}

# On a machine without a GPU the steps that need one cannot pass: they are named, and the others run.
hasGpu() {
    "$GPU_PYTHON" - << 'EOF'
import sys
from openmmflash.cli import _cuda
try:
    sys.exit(_cuda.Driver().count == 0)
except _cuda.DriverError as error:
    print("no GPU:", error)
    sys.exit(1)
EOF
}
