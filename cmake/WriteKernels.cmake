# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
#
# A script for EncodeKernels.cmake: writes HEADER and SOURCE, in which the texts INPUTS are static members of CLASS.
set(declarations "")
set(definitions "")
foreach(input ${INPUTS})
    get_filename_component(name ${input} NAME_WE)
    file(READ ${input} text)
    string(APPEND declarations "    static const std::string ${name};\n")
    string(APPEND definitions "const std::string ${CLASS}::${name} = R\"FLASH_TEXT(${text})FLASH_TEXT\";\n")
endforeach()
file(WRITE ${HEADER} "#include <string>\nnamespace OpenMMFlash {\nclass ${CLASS} {\npublic:\n${declarations}};\n}\n")
file(WRITE ${SOURCE} "#include \"${CLASS}.h\"\nnamespace OpenMMFlash {\n${definitions}}\n")
