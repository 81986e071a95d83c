// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// TestCudaFlashForce single|mixed|double [part of a test's name]
#include "TestDevicePlatform.h"

int main(int argc, char** argv) {
    return OpenMMFlashTests::runDeviceTests("CUDA", argc, argv);
}
