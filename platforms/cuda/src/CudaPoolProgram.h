// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CUDAPOOLPROGRAM_H_
#define OPENMMFLASH_CUDAPOOLPROGRAM_H_

#include "openmm/common/ComputeProgram.h"
#include "openmm/cuda/CudaContext.h"
#include <map>
#include <string>

namespace OpenMMFlash {

/** Shared memory that a block of this device may have if its kernel asks for it. */
int getLargestPool(OpenMM::CudaContext& cc);

/**
 * A program whose kernels have a pool of shared memory that is larger than the 48 KB every kernel may have: its size is given when they are launched. OpenMM's
 * own launches cannot do that.
 */
class CudaPoolProgram : public OpenMM::ComputeProgramImpl {
public:
    /** @param source  declares the pool by DECLARE_POOL */
    CudaPoolProgram(OpenMM::CudaContext& cc, const std::string& source, std::map<std::string, std::string> defines, int poolBytes);
    OpenMM::ComputeKernel createKernel(const std::string& name) override;

private:
    OpenMM::CudaContext& cc;
    CUmodule module;
    const int poolBytes;
};

} // namespace OpenMMFlash

#endif
