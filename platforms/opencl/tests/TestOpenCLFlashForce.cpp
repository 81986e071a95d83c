// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// TestOpenCLFlashForce single|mixed|double|optimized [part of a test's name]
#include "TestDevicePlatform.h"

int main(int argc, char** argv) {
    return OpenMMFlashTests::runDeviceTests("OpenCL", argc, argv);
}
