# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT

# flash_encode_kernels(target class folder names): the texts folder/name.cc as static members `class::name`, compiled into the target. The two
# files are written into the build folder when it is built, and whenever a text changes.
function(flash_encode_kernels target class folder)
    set(inputs)
    foreach(name ${ARGN})
        list(APPEND inputs ${folder}/${name}.cc)
    endforeach()
    set(header ${CMAKE_CURRENT_BINARY_DIR}/kernels/${class}.h)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/kernels/${class}.cpp)
    add_custom_command(
        OUTPUT ${source} ${header}
        COMMAND ${CMAKE_COMMAND} -DCLASS=${class} -DHEADER=${header} -DSOURCE=${source} "-DINPUTS=${inputs}" -P ${PROJECT_SOURCE_DIR}/cmake/WriteKernels.cmake
        DEPENDS ${inputs} ${PROJECT_SOURCE_DIR}/cmake/WriteKernels.cmake
        VERBATIM)
    target_sources(${target} PRIVATE ${source} ${header})
    target_include_directories(${target} PUBLIC ${CMAKE_CURRENT_BINARY_DIR}/kernels)
endfunction()
