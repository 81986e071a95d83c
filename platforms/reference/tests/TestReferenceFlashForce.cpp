// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "TestFlashForce.h"

int main(int argc, char** argv) {
    OpenMMFlashTests::PlatformOptions options;
    options.roundsHalfWeights = false;
    return OpenMMFlashTests::runFlashForceTests("Reference", {1e-9, 1e-9}, options, argc, argv);
}
