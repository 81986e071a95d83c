// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUISA_H_
#define OPENMMFLASH_CPUISA_H_

#include "kernels/Kernels.h"
#include <string>
#include <vector>

namespace OpenMMFlash {

/** The kernels that this machine can run, the fastest first. */
std::vector<const CpuKernels*> getSupportedKernels();

/**
 * The fastest kernels, or those that the environment variable OPENMMFLASH_CPU_ISA names.
 * @throws std::invalid_argument  it names none that this machine can run
 */
const CpuKernels& chooseKernels();

} // namespace OpenMMFlash

#endif
