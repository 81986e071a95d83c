// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The tests of TestFlashForce.h on a platform that is made of platforms/common, in one of its precisions.
#ifndef OPENMMFLASH_TESTS_TESTDEVICEPLATFORM_H_
#define OPENMMFLASH_TESTS_TESTDEVICEPLATFORM_H_

#include "TestFlashForce.h"
#include <iostream>

namespace OpenMMFlashTests {

/**
 * The arguments: single|mixed|double|optimized [part of a test's name]. The last of these precisions is single, with few Contexts, for
 * compilers that are allowed to optimize and take long for it.
 */
inline int runDeviceTests(const std::string& platform, int argc, char** argv) {
    const std::string argument = argc > 1 ? argv[1] : "", precision = argument == "optimized" ? "single" : argument;
    Tolerances allowed;
    PlatformOptions more;
    more.properties = {{"Precision", precision}};
    more.compilesContexts = true;
    more.cancellation = 1;
    more.resolution = std::ldexp(1, -31); // forces are sums of multiples of 2^-32
    if (precision == "single") {
        allowed = {2e-6, 2e-5};
        more.singlePositions = true;
        more.fewContexts = argument == "optimized";
    }
    else if (precision == "mixed") {
        allowed = {1e-6, 1e-5};
    }
    else if (precision == "double") {
        allowed = {1e-9, 1e-9};
        more.tableTolerance = 4e-11;
    }
    else {
        std::cerr << "The first argument is the precision: single, mixed, double or optimized, not '" << argument << "'" << std::endl;
        return 2;
    }
    return runFlashForceTests(platform, allowed, more, argc - 1, argv + 1);
}

} // namespace OpenMMFlashTests

#endif
