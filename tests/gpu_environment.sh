# Shared by tests/gpu.sh and benchmarks/gpu.sh; sourced, not run. Whoever sources it sets OUTPUT, and DEADLINE in seconds of the shell's life.

# Make a folder for the results of one run: setOutput FOLDER. One that has those of another is left as it is.
setOutput() {
    mkdir -p "$1"
    OUTPUT=$(cd "$1" && pwd -P)
    if [ -e "$OUTPUT/steps.jsonl" ]; then
        echo "error: $OUTPUT has the results of another run (steps.jsonl): name another folder, or remove that one" >&2
        exit 2
    fi
}

# An environment for the carried wheels: makeGpuEnvironment CARRIED ENVIRONMENT. Uses PYTHON (default python3), whose own packages can be seen,
# and sets GPU_PYTHON and GPU_LIBRARIES, OpenMM's folder. NVIDIA's libraries are the carried ones, else those of PYTHON, else a toolkit's.
makeGpuEnvironment() {
    local carried=$1 environment=$2 python=${PYTHON:-python3} site libraries
    [ -f "$carried/carried.txt" ] || { echo "error: $carried has no carried.txt: make it with tests/gpu_prepare.sh" >&2; return 1; }
    tee "$OUTPUT/carried.txt" < "$carried/carried.txt" # results.json tells by it which commit ran
    # Without pip: PYTHON's is taken, which need not be able to install another.
    "$python" -m venv --system-site-packages --without-pip "$environment" || return 1
    GPU_PYTHON=$environment/bin/python
    # If PYTHON is itself a virtual environment, "system" leaves its packages out: name them.
    site=$("$GPU_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || return 1
    "$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/zz-machine.pth" || return 1
    bounded 300 "$GPU_PYTHON" -m pip install -q --disable-pip-version-check --no-index --no-deps --ignore-installed "$carried"/*.whl || return 1
    GPU_LIBRARIES=$site/OpenMM.libs/lib
    [ -d "$GPU_LIBRARIES" ] || { echo "error: the wheels in $carried brought no OpenMM" >&2; return 1; }
    # OpenMM looks for them beside itself: where they are elsewhere, the loader has to be told.
    libraries=$("$GPU_PYTHON" -c 'import nvidia, os; print(":".join(os.path.join(p, "cu13", "lib") for p in nvidia.__path__))' 2> /dev/null || true)
    [ -n "$libraries" ] || libraries=/usr/local/cuda/lib64
    export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    "$GPU_PYTHON" -c 'import openmmflash; print("openmm-flash", openmmflash.__version__)' || return 1
}

# Run one step: step NAME COMMAND... Its output goes to OUTPUT/NAME.log, its time and exit status to OUTPUT/steps.jsonl. Never fails:
# the others go on, and what failed is read from that file.
step() {
    local name=$1 start=$SECONDS rc=0 said
    shift
    "$@" > "$OUTPUT/$name.log" 2>&1 || rc=$?
    printf '{"step": "%s", "status": %d, "seconds": %d}\n' "$name" "$rc" $((SECONDS - start)) >> "$OUTPUT/steps.jsonl"
    said=$(tail -n "${TAIL:-4}" "$OUTPUT/$name.log" | sed 's/^/    /')
    [ $rc = 0 ] || said="$said"$'\n'"FAILED $name (exit status $rc)"
    printf '==> %s (%d s)\n%s\n' "$name" $((SECONDS - start)) "$said"
}

# bounded SECONDS COMMAND...: not longer than that, nor than until DEADLINE. Interrupted first, so that a program can write what it has.
bounded() {
    local most=$1 left=$((DEADLINE - SECONDS))
    shift
    if [ "$left" -le 0 ]; then
        echo "left out: no time is left"
        return 124
    fi
    timeout -s INT -k 20 $((most < left ? most : left)) "$@"
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
