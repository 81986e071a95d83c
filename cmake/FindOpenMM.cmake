# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
#
# Finds OpenMM: in OPENMM_DIR (a prefix with include/OpenMM.h and lib/libOpenMM.so: conda, a source build), else in the openmm wheel of
# the Python interpreter, else in CONDA_PREFIX. The wheel is located without importing it, so that a build in isolation works.
# Defines OPENMM_DIR, the target OpenMM::OpenMM and, where OpenMM has these platforms, OpenMM::CPU and
# (if there are OpenCL headers, too) OpenMM::OpenCL. What is built fits the OpenMM it was built against; after an update of OpenMM, build anew.

if(NOT OPENMM_DIR AND DEFINED ENV{OPENMM_DIR})
    set(OPENMM_DIR $ENV{OPENMM_DIR})
endif()
if(NOT OPENMM_DIR)
    execute_process(
        COMMAND ${Python_EXECUTABLE} -c
            "import importlib.util, pathlib; s = importlib.util.find_spec('openmm'); print(pathlib.Path(s.origin).parent.parent / 'OpenMM.libs' if s else '')"
        OUTPUT_VARIABLE candidate OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(candidate AND EXISTS ${candidate}/include/OpenMM.h)
        set(OPENMM_DIR ${candidate})
    elseif(DEFINED ENV{CONDA_PREFIX} AND EXISTS $ENV{CONDA_PREFIX}/include/OpenMM.h)
        set(OPENMM_DIR $ENV{CONDA_PREFIX})
    endif()
endif()
# Never kept in the cache: in an isolated build the wheel lies in a temporary folder.
find_path(OpenMM_INCLUDE_DIR OpenMM.h PATHS ${OPENMM_DIR}/include NO_DEFAULT_PATH NO_CACHE)
find_library(OpenMM_LIBRARY OpenMM PATHS ${OPENMM_DIR}/lib NO_DEFAULT_PATH NO_CACHE)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
    OpenMM REQUIRED_VARS OpenMM_LIBRARY OpenMM_INCLUDE_DIR
    REASON_FAILURE_MESSAGE
        "No OpenMM with headers was found. Either run 'pip install \"openmm>=8.6.1,<8.7\"' in the environment of ${Python_EXECUTABLE}, or set -DOPENMM_DIR to the prefix of an installed OpenMM.")

if(NOT TARGET OpenMM::OpenMM)
    add_library(OpenMM::OpenMM SHARED IMPORTED)
    set_target_properties(OpenMM::OpenMM PROPERTIES IMPORTED_LOCATION ${OpenMM_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${OpenMM_INCLUDE_DIR})
endif()

find_library(OpenMM_CPU_LIBRARY OpenMMCPU PATHS ${OPENMM_DIR}/lib/plugins NO_DEFAULT_PATH NO_CACHE)
if(OpenMM_CPU_LIBRARY AND NOT TARGET OpenMM::CPU)
    add_library(OpenMM::CPU SHARED IMPORTED)
    # Its headers include their neighbors without a folder.
    set_target_properties(OpenMM::CPU PROPERTIES IMPORTED_LOCATION ${OpenMM_CPU_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES "${OpenMM_INCLUDE_DIR}/openmm/cpu;${OpenMM_INCLUDE_DIR}/openmm/reference"
        INTERFACE_LINK_LIBRARIES OpenMM::OpenMM)
endif()

find_library(OpenMM_OPENCL_LIBRARY OpenMMOpenCL PATHS ${OPENMM_DIR}/lib/plugins NO_DEFAULT_PATH NO_CACHE)
find_path(OpenCL_HEADERS CL/opencl.h)
if(OpenMM_OPENCL_LIBRARY AND OpenCL_HEADERS AND NOT TARGET OpenMM::OpenCL)
    add_library(OpenMM::OpenCL SHARED IMPORTED)
    set_target_properties(OpenMM::OpenCL PROPERTIES IMPORTED_LOCATION ${OpenMM_OPENCL_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES "${OpenMM_INCLUDE_DIR}/openmm/opencl;${OpenMM_INCLUDE_DIR}/openmm/common;${OpenCL_HEADERS}"
        INTERFACE_COMPILE_DEFINITIONS CL_TARGET_OPENCL_VERSION=300
        INTERFACE_LINK_LIBRARIES OpenMM::OpenMM)
endif()
