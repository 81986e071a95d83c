# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT

# flash_isa_variants(target sources): the sources compiled once for each instruction set, in namespaces v2, v3 and v4 on x86-64,
# and `baseline` elsewhere; linked into the target.
function(flash_isa_variants target)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
        set(variants v2 v3 v4)
    else()
        set(variants baseline)
    endif()
    foreach(variant ${variants})
        set(library ${target}_${variant})
        add_library(${library} OBJECT ${ARGN})
        flash_target_settings(${library})
        target_compile_definitions(${library} PRIVATE FLASH_ISA=${variant})
        # Sums keep their order; a * b + c may be fused. Vectors are written out: what else GCC finds to vectorise costs more than it gains.
        target_compile_options(${library} PRIVATE -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -fno-exceptions -fno-rtti -Wno-psabi)
        if(NOT variant STREQUAL baseline)
            target_compile_options(${library} PRIVATE -march=x86-64-${variant} $<$<STREQUAL:${variant},v4>:-mprefer-vector-width=512>)
        endif()
        target_sources(${target} PRIVATE $<TARGET_OBJECTS:${library}>)
    endforeach()
endfunction()
