# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    set(FLASH_ISA_VARIANTS v2 v3 v4)
else()
    set(FLASH_ISA_VARIANTS baseline)
endif()

# flash_isa_variants(target sources): the sources compiled once for each instruction set, each in a namespace of its name, and linked
# into the target.
function(flash_isa_variants target)
    foreach(variant ${FLASH_ISA_VARIANTS})
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
