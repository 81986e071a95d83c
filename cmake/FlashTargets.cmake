# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT

# Settings that all our own targets share.
function(flash_target_settings target)
    target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/openmmapi/include>)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-unused-parameter $<$<BOOL:${OPENMMFLASH_WERROR}>:-Werror>)
    if(OPENMMFLASH_SANITIZE)
        target_compile_options(${target} PRIVATE -fsanitize=${OPENMMFLASH_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
        target_link_options(${target} PRIVATE -fsanitize=${OPENMMFLASH_SANITIZE})
    endif()
endfunction()

# A plugin library for one platform: loaded by OpenMM from its plugin folder.
function(flash_platform_plugin target)
    add_library(${target} MODULE ${ARGN})
    flash_target_settings(${target})
    target_link_libraries(${target} PRIVATE OpenMMFlash)
    # What is missing shows when it is linked, not when OpenMM loads it. The sanitizers' own symbols come with the program.
    if(NOT OPENMMFLASH_SANITIZE AND CMAKE_SYSTEM_NAME STREQUAL Linux)
        target_link_options(${target} PRIVATE -Wl,-z,defs)
    endif()
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN:$ORIGIN/..")
    install(TARGETS ${target} DESTINATION ${FLASH_PLUGIN_DIR})
endfunction()
