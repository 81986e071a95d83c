# The stage `cuda` of scripts/test; sourced by stages.sh, not run. Needs no GPU, no driver and no nvcc.

CUDA_ENV=$ROOT/.venv-cuda

# The wheel of the CUDA plugin, built once for each state of the sources. Sets CUDA_WHEELS.
buildCudaWheel() {
    local key
    CUDA_WHEELS=$ROOT/build/cuda-wheels
    key=$(sourceKey)$(cat "$ROOT"/packaging/cuda13/pyproject.toml "$ROOT"/packaging/build_wheels.sh | sha256sum)
    if [ "$(cat "$CUDA_WHEELS/key" 2> /dev/null)" != "$key" ]; then
        rm -rf "$CUDA_WHEELS"
        mkdir -p "$CUDA_WHEELS"
        say "building the wheel of the CUDA plugin" >&3
        PYTHON=$TEST_ENV/bin/python "$ROOT/packaging/build_wheels.sh" "$CUDA_WHEELS" cuda13 || return
        printf '%s' "$key" > "$CUDA_WHEELS/key"
    fi
}

# What a user types, in a fresh environment, with the wheels that were built here.
installWithCuda() {
    rm -rf "$CUDA_ENV"
    "$PYTHON" -m venv "$CUDA_ENV"
    pipInstall "$CUDA_ENV" --find-links "$CUDA_WHEELS" --find-links "${WHEEL%/*}" "openmm-flash[cuda13]"
    pipInstall "$CUDA_ENV" pytest
}

inspectCudaWheel() {
    local names paths
    names=$("$TEST_ENV/bin/python" -m zipfile -l "$1" | awk 'NR > 1 { print $1 }' | grep -v '\.dist-info/')
    printf '%s\n' "$names"
    [ "$names" = OpenMM.libs/lib/plugins/libOpenMMFlashCUDA.so ] || fail "the wheel should hold one library"
    rm -rf "$ROOT/build/cuda-unpacked"
    "$TEST_ENV/bin/python" -m zipfile -e "$1" "$ROOT/build/cuda-unpacked"
    paths=$(readelf -d "$ROOT/build/cuda-unpacked/$names" | sed -n 's/.*\(RPATH\|RUNPATH\).*\[\(.*\)\]/\2/p')
    [ "$paths" = '$ORIGIN:$ORIGIN/..' ] || fail "run path $paths"
    ! grep -aqE "$ROOT|pip-build-env|site-packages/" "$ROOT/build/cuda-unpacked/$names" || fail "a path of this machine is in it"
}

stage_cuda() {
    local rc=0
    useTestEnv
    check "build the main wheel" buildWheel
    buildWheel
    check "build the wheel of the CUDA plugin" buildCudaWheel
    buildCudaWheel
    check "the wheel's library and run path" inspectCudaWheel "$CUDA_WHEELS"/openmm_flash_cuda_13-*.whl
    check "pip install openmm-flash[cuda13] into a fresh environment" installWithCuda
    check "import without a GPU" "$CUDA_ENV/bin/python" -c 'import openmmflash; print(openmmflash.__version__)'
    check "openmm-flash diagnose" "$CUDA_ENV/bin/openmm-flash" diagnose
    rm -f "$LOGS/cuda.xml"
    "$CUDA_ENV/bin/python" -m pytest -q -rfEs -p no:cacheprovider --junitxml="$LOGS/cuda.xml" --kernels="$LOGS/cuda-kernels.md" tests/cuda 2>&1 | toTerminal || rc=$?
    countJunit "$LOGS/cuda.xml" "$rc"
    check "registers, shared memory and occupancy of the kernels" cat "$LOGS/cuda-kernels.md"
}
