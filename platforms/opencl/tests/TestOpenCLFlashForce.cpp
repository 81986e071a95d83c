// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// TestOpenCLFlashForce single|mixed|double|optimized [part of a test's name]
// The last is single precision with few Contexts, for compilers that are allowed to optimize and take long for it.
#include "TestFlashForce.h"
#include <iostream>

int main(int argc, char** argv) {
    const std::string argument = argc > 1 ? argv[1] : "", precision = argument == "optimized" ? "single" : argument;
    OpenMMFlashTests::Tolerances tolerances;
    OpenMMFlashTests::PlatformOptions options;
    options.properties = {{"Precision", precision}};
    options.compilesContexts = true;
    options.resolution = std::ldexp(1, -31); // forces are sums of multiples of 2^-32
    if (precision == "single") {
        tolerances = {2e-6, 2e-5};
        options.singlePositions = true;
        options.fewContexts = argument == "optimized";
    }
    else if (precision == "mixed") {
        tolerances = {1e-6, 1e-5};
        options.cancellation = 4; // networks are evaluated in single precision
    }
    else if (precision == "double") {
        tolerances = {1e-9, 1e-9};
        options.tableTolerance = 4e-11;
    }
    else {
        std::cerr << "The first argument is the precision: single, mixed, double or optimized, not '" << argument << "'" << std::endl;
        return 2;
    }
    return OpenMMFlashTests::runFlashForceTests("OpenCL", tolerances, options, argc - 1, argv + 1);
}
