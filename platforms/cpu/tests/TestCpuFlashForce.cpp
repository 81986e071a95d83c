// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "TestFlashForce.h"

int main(int argc, char** argv) {
    return OpenMMFlashTests::runFlashForceTests("CPU", {2e-6, 2e-5}, {}, argc, argv);
}
