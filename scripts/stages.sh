# The stages of scripts/test; sourced, not run. Each stage runs in a subshell with `set -e` and its output in a log; descriptor 3 is the terminal.

LOGS=$ROOT/build/test-logs
TEST_ENV=$ROOT/.venv-test
WHEEL_ENV=$ROOT/build/wheel-env
JOBS=${JOBS:-2}
# PoCL keeps the programs that it has compiled here: a second run of the tests takes half the time.
export POCL_CACHE_DIR=${POCL_CACHE_DIR:-$ROOT/build/pocl}
# Where no platform is named, OpenMM would take OpenCL, which is PoCL here: slow, and OpenMM's own minimizer crashes on it.
export OPENMM_DEFAULT_PLATFORM=${OPENMM_DEFAULT_PLATFORM:-CPU}
FUZZ_SECONDS=${FUZZ_SECONDS:-60}
TORCH=torch==2.13.0
TORCHANI=torchani==2.2.4
TORCHANI_NEW=torchani==2.9.0 # cannot share an environment with 2.2.4: it goes into a folder that only its own tests see

# Add to the stage's counts: count passed|failed|skipped NUMBER WHAT
count() {
    [ "$2" = 0 ] || printf '%s %s %s\n' "$1" "$2" "$STAGE: $3" >> "$LOGS/$STAGE.counts"
}

# Copy what comes in to the log and to the terminal. (Not with tee /dev/fd/3: that opens, and cuts off, a file that the terminal's output goes to.)
toTerminal() {
    local line
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%s\n' "$line"
        printf '%s\n' "$line" >&3
    done
}

# One check: check WHAT COMMAND... goes on after a failure. A program whose last line is `Skipped: WHY` has checked nothing. (The command runs with `set -e`, which a plain `if` would switch off.)
check() {
    local what=$1 rc log
    shift
    log=$(mktemp)
    set +e
    (
        set -e
        "$@"
    ) > "$log" 2>&1
    rc=$?
    set -e
    printf -- '--- %s: %s\n' "$what" "$*"
    cat "$log"
    if [ "$rc" = 0 ] && tail -n 1 "$log" | grep -q '^Skipped: '; then
        count skipped 1 "$what"
        printf 'SKIPPED %s: %s\n' "$what" "$(tail -n 1 "$log")" | toTerminal
    elif [ "$rc" = 0 ]; then
        count passed 1 "$what"
        printf 'ok      %s\n' "$what" | toTerminal
    else
        count failed 1 "$what"
        { printf 'FAILED  %s (exit status %s)\n' "$what" "$rc" && tail -n 40 "$log" | sed 's/^/        /'; } >&3
        printf 'FAILED  %s (exit status %s)\n' "$what" "$rc"
    fi
    rm -f "$log"
}

runStage() {
    local rc start=$SECONDS
    STAGE=$1
    say "$STAGE"
    set +e
    (
        set -e
        "stage_$STAGE"
    ) > "$LOGS/$STAGE.log" 2>&1
    rc=$?
    set -e
    if [ "$rc" != 0 ]; then
        count failed 1 "the stage stopped (exit status $rc)"
        printf 'FAILED  the stage stopped (exit status %s)\n' "$rc"
        tail -n 15 "$LOGS/$STAGE.log" | sed 's/^/        /'
    elif [ ! -s "$LOGS/$STAGE.counts" ]; then
        count failed 1 "nothing was checked"
        printf 'FAILED  nothing was checked\n'
    fi
    printf '        %s took %s s\n' "$STAGE" $((SECONDS - start))
}

# Add the results of a JUnit file: countJunit FILE EXIT_STATUS_OF_THE_RUNNER
countJunit() {
    "$TEST_ENV/bin/python" "$ROOT/scripts/count_junit.py" "$1" "$2" "$STAGE" >> "$LOGS/$STAGE.counts"
}

# .venv-test: tools, peers and torch; OpenMM-Flash itself comes from the wheel that is built here (installWheel).
setUpTests() {
    local key
    ensureBuildTools
    ensureOpenCL
    mkdir -p "$POCL_CACHE_DIR"
    key=$("$PYTHON" --version)$'\n'$TORCH$'\n'$TORCHANI$'\n'$TORCHANI_NEW$'\n'$(cat "$ROOT"/tests/python/requirements*.txt)
    makeVenv "$TEST_ENV" "$key"
    if [ "$VENV_READY" = yes ]; then
        say "using the environment .venv-test"
        return
    fi
    say "installing into .venv-test: tests/python/requirements.txt, $TORCH, $TORCHANI, $TORCHANI_NEW and tests/python/requirements-peers.txt"
    pipInstall "$TEST_ENV" -r "$ROOT/tests/python/requirements.txt"
    pipInstall "$TEST_ENV" "$TORCH"
    pipInstall "$TEST_ENV" --no-deps "$TORCHANI"
    pipInstall "$TEST_ENV" --no-deps -r "$ROOT/tests/python/requirements-peers.txt"
    pipInstall "$TEST_ENV" --target "$TEST_ENV/torchani-new" --no-deps "$TORCHANI_NEW" h5py
    pipInstall "$TEST_ENV" --target "$TEST_ENV/torchani-new" huggingface_hub # TorchANI imports it
    finishVenv "$TEST_ENV" "$key"
}

# Tools of the test environment first, so that cmake, ninja and swig are the ones that requirements.txt names.
useTestEnv() {
    export PATH=$TEST_ENV/bin:$PATH
}

configure() {
    local folder=$1
    shift
    cmake -S "$ROOT" -B "$folder" -G Ninja -DPython_EXECUTABLE="$TEST_ENV/bin/python" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
        -DOPENMMFLASH_BUILD_TESTS=ON -DOPENMMFLASH_WERROR=ON -DOPENMMFLASH_WITH_OPENCL=ON "$@"
}

# The wheel, built once for each state of the sources, with build isolation. Sets WHEEL.
buildWheel() {
    local key
    key=$(sourceKey)
    if [ "$(cat "$ROOT/build/wheel/key" 2> /dev/null)" != "$key" ]; then
        rm -rf "$ROOT/build/wheel" "$ROOT/build/wheel-build" # not the folder that an editable install works in
        mkdir -p "$ROOT/build/wheel"
        say "building the wheel" >&3
        "$TEST_ENV/bin/python" -m pip wheel --no-deps --config-settings=build-dir="$ROOT/build/wheel-build" --wheel-dir "$ROOT/build/wheel" "$ROOT" || return
        printf '%s' "$key" > "$ROOT/build/wheel/key"
    fi
    WHEEL=$(ls "$ROOT"/build/wheel/*.whl)
}

# Install the wheel unless this very file is installed there already: installWheel ENVIRONMENT
installWheel() {
    local digest
    buildWheel || return
    digest=$(sha256sum "$WHEEL")
    if [ "$(cat "$1/.wheel" 2> /dev/null)" != "$digest" ]; then
        pipInstall "$1" "$WHEEL" || return
        pipInstall "$1" --force-reinstall --no-deps "$WHEEL" || return
        printf '%s' "$digest" > "$1/.wheel"
    fi
}

pythonFiles() {
    find python tests scripts examples wrappers -name '*.py'
}

cppFiles() {
    find openmmapi platforms serialization wrappers tests examples \( -name '*.cpp' -o -name '*.h' \) -not -path '*/build/*'
}

# clang-tidy on the library and on what all platforms are made of. It knows clang's options only, so those of GCC are taken out of the compile
# commands. The CPU platform's kernels are left to the compilers' warnings: of registers and their intrinsics it knows nothing worth saying.
clangTidy() {
    mkdir -p build/tidy
    sed 's/ -f\(no-\)\?tree-[a-z-]*//g' build/cpp/compile_commands.json > build/tidy/compile_commands.json
    find openmmapi/src/model openmmapi/src/compile platforms/reference/src platforms/cpu/src -name '*.cpp' -not -path '*/kernels/*' |
        xargs -n 1 -P "$JOBS" clang-tidy --quiet -p build/tidy 2> >(grep -v 'warnings\? .*generated' >&2)
}

stage_lint() {
    useTestEnv
    check "ruff check" ruff check --no-cache .
    check "ruff format" ruff format --no-cache --check --diff .
    check "clang-format" clang-format --dry-run -Werror $(cppFiles)
    check "shell syntax" bash -n scripts/common.sh scripts/stages.sh scripts/cuda_stage.sh scripts/demo scripts/test scripts/format .ci/run
    configure build/cpp
    check "clang-tidy" clangTidy
}

# ctest on a build, its output in the log and on the terminal: runCtest BUILD JUNIT_FILE OPTION...
runCtest() {
    local build=$1 junit=$2 rc=0
    shift 2
    ctest --test-dir "$build" -j "$JOBS" --timeout 1200 --output-on-failure --no-tests=error --output-junit "$junit" "$@" 2>&1 | toTerminal || rc=$?
    grep -h '^SKIP' "$build/Testing/Temporary/LastTest.log" | sort -u | toTerminal || true
    return "$rc"
}

stage_cpp() {
    local rc=0
    useTestEnv
    configure build/cpp
    check "build with -Wall -Wextra -Werror" cmake --build build/cpp -j "$JOBS"
    check "nothing leaves the kernels of an instruction set" "$TEST_ENV/bin/python" scripts/check_isa_symbols.py build/cpp
    rm -f "$LOGS/ctest.xml"
    runCtest build/cpp "$LOGS/ctest.xml" || rc=$?
    countJunit "$LOGS/ctest.xml" "$rc"
}

stage_pytest() {
    installWheel "$TEST_ENV"
    "$TEST_ENV/bin/python" scripts/run_pytest.py "$LOGS" "$LOGS/pytest.counts" "$JOBS" 2>&1 | toTerminal
}

# The C++ tests that need no OpenMM: all of their code is ours, built with the sanitizer.
ALONE='^Test(ModelReader|ReferenceEvaluator|Compile|Cpu(NeighborList|Kernels|SchNet|Ani))'
# Tests in which several threads work together. OpenMM's threads, which are not built with the sanitizer, synchronise by mutexes, which it sees.
# TestCpuFlashForce evaluates models of every dialect; of the others, which would take many minutes, stage threads runs what it does not reach.
THREADED='^TestCpuFlashForce$'

# Leaks are looked for where only our own code runs: OpenMM never frees its kernel factories, nor a Context whose constructor throws.
stage_sanitize() {
    local rc
    useTestEnv
    configure build/sanitize -DOPENMMFLASH_BUILD_PYTHON=OFF -DOPENMMFLASH_WITH_OPENCL=OFF -DOPENMMFLASH_SANITIZE=address,undefined -DCMAKE_CXX_FLAGS_RELEASE=-O1
    check "build with sanitizers" cmake --build build/sanitize -j "$JOBS"
    rm -f "$LOGS"/sanitize*.xml
    rc=0
    ASAN_OPTIONS=detect_leaks=1 runCtest build/sanitize "$LOGS/sanitize.xml" -R "$ALONE" || rc=$?
    countJunit "$LOGS/sanitize.xml" "$rc"
    rc=0
    ASAN_OPTIONS=detect_leaks=0 runCtest build/sanitize "$LOGS/sanitize-openmm.xml" -E "$ALONE" || rc=$?
    countJunit "$LOGS/sanitize-openmm.xml" "$rc"
}

stage_threads() {
    local rc=0
    useTestEnv
    configure build/threads -DOPENMMFLASH_BUILD_PYTHON=OFF -DOPENMMFLASH_WITH_OPENCL=OFF -DOPENMMFLASH_SANITIZE=thread -DCMAKE_CXX_FLAGS_RELEASE=-O1
    check "build with ThreadSanitizer" cmake --build build/threads -j "$JOBS" --target OpenMMFlashReference OpenMMFlashCPU \
        TestCpuNeighborList TestCpuAni TestCpuSchNet TestCpuFlashForce
    rm -f "$LOGS/threads.xml"
    OPENMM_CPU_THREADS=3 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 runCtest build/threads "$LOGS/threads.xml" -R "$THREADED" || rc=$?
    countJunit "$LOGS/threads.xml" "$rc"
    # Groups alone and together, lists in cells and without, built anew and grown, rows longer than a batch, on one to five threads.
    for test in SchNet:{sizes,groups} Ani:{ManyNeighbors,ManyAtoms,NewParticles,HalfWeights} \
        NeighborList:{"many cells",replicas,walks,"number of threads",barrier}; do
        check "TestCpu${test%:*} ${test#*:} with ThreadSanitizer" env TSAN_OPTIONS=halt_on_error=1 "build/threads/tests/TestCpu${test%:*}" "${test#*:}"
    done
}

hasFuzzer() {
    local out=$ROOT/build/fuzz/probe
    mkdir -p "${out%/*}"
    printf '#include <string>\nextern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long n) { return std::string(n, 0).size() > 1e18; }\n' |
        clang++ -std=c++17 -fsanitize=fuzzer,address,undefined -x c++ - -o "$out" && "$out" -runs=1 > /dev/null 2>&1
}

stage_fuzz() {
    local corpus=build/fuzz/corpus
    hasFuzzer || aptInstall "Needed to fuzz the model reader" clang >&3
    hasFuzzer || fail "clang++ cannot build libFuzzer programs; install clang with its runtime libraries (Debian: sudo apt-get install clang)"
    check "build the fuzzer" clang++ -std=c++17 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Iopenmmapi/include -Iopenmmapi/src \
        tests/fuzz/FuzzModelReader.cpp openmmapi/src/model/*.cpp -o build/fuzz/FuzzModelReader
    rm -rf "$corpus"
    check "write the seed corpus" "$TEST_ENV/bin/python" tests/fuzz/make_corpus.py "$corpus"
    check "the seeds are valid models" env FUZZ_EXPECT_VALID=1 build/fuzz/FuzzModelReader "$corpus"/*
    check "fuzz the model reader for $FUZZ_SECONDS s" build/fuzz/FuzzModelReader -max_total_time="$FUZZ_SECONDS" -max_len=65536 -timeout=10 \
        -rss_limit_mb=1024 -malloc_limit_mb=256 -print_final_stats=1 -artifact_prefix=build/fuzz/ -dict=tests/fuzz/model.dict "$corpus"
}

stage_wheel() {
    check "build the wheel" buildWheel
    buildWheel
    printf '%s, %s bytes\n' "${WHEEL##*/}" "$(stat -c %s "$WHEEL")"
    check "the wheel's files and run paths" "$TEST_ENV/bin/python" scripts/inspect_wheel.py "$WHEEL" "$ROOT"
    rm -rf "$WHEEL_ENV"
    "$PYTHON" -m venv "$WHEEL_ENV"
    check "install the wheel into a fresh environment" installWheel "$WHEEL_ENV"
    check "import without torch and without a GPU" env CUDA_VISIBLE_DEVICES= "$WHEEL_ENV/bin/python" scripts/check_import.py
    check "openmm-flash --help" "$WHEEL_ENV/bin/openmm-flash" --help
    check "openmm-flash diagnose" "$WHEEL_ENV/bin/openmm-flash" diagnose
}

stage_example() {
    useTestEnv
    [ -x "$WHEEL_ENV/bin/python" ] || "$PYTHON" -m venv "$WHEEL_ENV"
    installWheel "$WHEEL_ENV"
    pipInstall "$WHEEL_ENV" --no-deps "$TORCHANI"
    check "convert ANI-1x without torch" "$WHEEL_ENV/bin/openmm-flash" convert ani1x -o build/ani1x.safetensors --overwrite
    rm -rf build/example
    check "configure the C++ example" cmake -S examples/cpp -B build/example -G Ninja -DPython_EXECUTABLE="$WHEEL_ENV/bin/python"
    check "build the C++ example" cmake --build build/example
    check "run the C++ example" build/example/single_point build/ani1x.safetensors
    check "examples/single_point.py" "$WHEEL_ENV/bin/python" examples/single_point.py
    for example in peptide ligand_in_water alchemical_switch metadynamics cg_folding; do
        check "examples/$example.py, shortened" env -C build "$WHEEL_ENV/bin/python" "$ROOT/examples/$example.py" --short
    done
    check "examples/replicas.py" "$WHEEL_ENV/bin/python" examples/replicas.py
}

stage_demo() {
    rm -rf build/demo-output
    check "scripts/demo, shortened" scripts/demo --steps 20 --equilibrate 0 --interval 10 --output build/demo-output
    check "trajectory, log and plot are there" bash -c 'ls build/demo-output/*.dcd build/demo-output/*.csv build/demo-output/*.png'
}
