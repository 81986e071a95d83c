# Shared by scripts/demo and scripts/test; sourced, not run.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONNOUSERSITE=1
unset PYTHONPATH PYTHONHOME

say() {
    printf '==> %s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Install Debian packages, or tell the command that does it: aptInstall REASON PACKAGE...
aptInstall() {
    local reason=$1 sudo=()
    shift
    command -v apt-get > /dev/null || fail "$reason. Install what your system calls: $*"
    if [ "$(id -u)" != 0 ]; then
        { command -v sudo && sudo -n true; } > /dev/null 2>&1 || fail "$reason. Run this, then try again:  sudo apt-get install -y $*"
        sudo=(sudo -n)
    fi
    say "$reason: installing with apt-get: $*"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" > /dev/null
}

# The interpreter that makes the environments: $PYTHON, else python3. Sets PYTHON.
findPython() {
    PYTHON=${PYTHON:-python3}
    command -v "$PYTHON" > /dev/null || aptInstall "There is no $PYTHON" python3 python3-venv python3-dev
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$PYTHON is $("$PYTHON" --version 2>&1); needed is Python 3.10 or newer. Name one with PYTHON=/path/to/python3"
}

hasVenv() {
    "$PYTHON" -c 'import venv, ensurepip' 2> /dev/null
}

hasPythonHeader() {
    "$PYTHON" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

# What cannot come from pip: a C++ compiler, Python's venv module and its header.
ensureBuildTools() {
    local missing=()
    findPython
    command -v "${CXX:-g++}" > /dev/null || missing+=(g++)
    hasVenv || missing+=(python3-venv)
    hasPythonHeader || missing+=(python3-dev)
    [ ${#missing[@]} = 0 ] || aptInstall "Needed to build OpenMM-Flash" "${missing[@]}"
    command -v "${CXX:-g++}" > /dev/null || fail "there is no C++ compiler ${CXX:-g++}"
    hasVenv || fail "$("$PYTHON" -c 'import sys; print(sys.executable)') has no venv module; install it, or name another Python with PYTHON=..."
    hasPythonHeader || fail "$("$PYTHON" -c 'import sys; print(sys.executable)') has no Python.h; install its headers, or name another Python with PYTHON=..."
}

hasOpenCL() {
    printf '#include <CL/opencl.h>\n' | "${CXX:-g++}" -E -x c++ - > /dev/null 2>&1 &&
        "$PYTHON" -c 'import ctypes; ctypes.CDLL("libOpenCL.so.1")' 2> /dev/null &&
        compgen -G "${OCL_ICD_VENDORS:-/etc/OpenCL/vendors}/*.icd" > /dev/null
}

# To build and to test the OpenCL platform: headers, the loader, and PoCL, which makes a device of any CPU.
ensureOpenCL() {
    hasOpenCL || aptInstall "Needed to test the OpenCL platform" opencl-headers ocl-icd-libopencl1 pocl-opencl-icd
    hasOpenCL || fail "there are no OpenCL headers (CL/opencl.h), no libOpenCL.so.1, or no OpenCL device (/etc/OpenCL/vendors is empty)"
}

# A digest of everything the wheel is built from.
sourceKey() {
    (cd "$ROOT" && find CMakeLists.txt pyproject.toml README.md LICENSE cmake openmmapi platforms serialization wrappers python \
        -type f ! -name '*.pyc' ! -name '*.so*' -print0 2> /dev/null | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)
}

# Make an empty virtual environment unless the folder has one that finishVenv marked with the same key: makeVenv FOLDER KEY
# Returns with VENV_READY=yes where the old one can be used.
makeVenv() {
    local folder=$1 key=$2
    VENV_READY=no
    if [ -x "$folder/bin/python" ] && "$folder/bin/python" -c '' 2> /dev/null && [ "$(cat "$folder/.key" 2> /dev/null)" = "$key" ]; then
        VENV_READY=yes
        return
    fi
    rm -rf "$folder"
    "$PYTHON" -m venv "$folder"
}

finishVenv() {
    printf '%s' "$2" > "$1/.key"
}

# Warnings of pip are dropped, errors are not: pipInstall ENVIRONMENT ARGUMENT...
pipInstall() {
    local folder=$1
    shift
    "$folder/bin/python" -m pip install -qq "$@"
}
