// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonFlashKernel.h"
#include "CudaContext.h"
#include "CudaFlags.h"
#include "CudaFlashKernelSources.h"
#include "CudaPlatform.h"
#include "CudaPoolProgram.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include "openmmflash/internal/FlashKernelFactory.h"
#include <cstdlib>

using namespace OpenMMFlash;

namespace {

/** OPENMMFLASH_CUDA_TENSOR_CORES: 1, or 0 to do without them, so that the two can be compared. */
bool mayUseTensorCores() {
    const char* text = std::getenv("OPENMMFLASH_CUDA_TENSOR_CORES");
    const std::string value = text && *text ? text : "1";
    if (value != "0" && value != "1")
        throw OpenMM::OpenMMException("FlashForce: the environment variable OPENMMFLASH_CUDA_TENSOR_CORES is '" + value + "'; it can be 0 or 1");
    return value == "1";
}

} // namespace

// OpenMM calls these after loading all plugins.
extern "C" OPENMM_EXPORT_FLASH void registerPlatforms() {}

extern "C" OPENMM_EXPORT_FLASH void registerKernelFactories() {
    FlashKernelFactory::registerWith("CUDA", [](const std::string& name, const OpenMM::Platform& platform, OpenMM::ContextImpl& context) {
        OpenMM::CudaContext& cc = *static_cast<OpenMM::CudaPlatform::PlatformData*>(context.getPlatformData())->contexts[0];
        CommonPlatform parts;
        parts.makeFlags = [](OpenMM::ComputeContext& context) { return std::make_unique<CudaFlags>(context); };
        // The product of halves with sums in single precision came with Turing. In double precision there is none of use.
        parts.tensorCores = mayUseTensorCores() && !cc.getUseDoublePrecision() && cc.getComputeCapability() >= 7.5;
        if (parts.tensorCores) {
            parts.tileProduct = CudaFlashKernelSources::instructions + CudaFlashKernelSources::tileProduct;
            parts.lowRankProduct = CudaFlashKernelSources::lowRankProduct;
        }
        parts.localBytes = getLargestPool(cc);
        parts.compileWithPool = [&cc](const std::string& source, const std::map<std::string, std::string>& defines, int poolBytes) {
            return std::make_shared<CudaPoolProgram>(cc, source, defines, poolBytes);
        };
        return new CommonCalcFlashForceKernel(name, platform, cc, parts);
    });
}
