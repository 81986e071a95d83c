// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "TestFlashForce.h"

int main(int argc, char** argv) {
    return OpenMMFlashTests::runFlashForceTests("Reference", {1e-9, 1e-9}, argc, argv);
}
