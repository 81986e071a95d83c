// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonFlashKernel.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/opencl/OpenCLContext.h"
#include "openmm/opencl/OpenCLPlatform.h"
#include "openmmflash/internal/FlashKernelFactory.h"
#include <algorithm>

using namespace OpenMMFlash;

// OpenMM calls these after loading all plugins.
extern "C" OPENMM_EXPORT_FLASH void registerPlatforms() {}

extern "C" OPENMM_EXPORT_FLASH void registerKernelFactories() {
    FlashKernelFactory::registerWith("OpenCL", [](const std::string& name, const OpenMM::Platform& platform, OpenMM::ContextImpl& context) {
        OpenMM::OpenCLContext& cc = *static_cast<OpenMM::OpenCLPlatform::PlatformData*>(context.getPlatformData())->contexts[0];
        CommonPlatform parts;
        parts.makeFlags = [](OpenMM::ComputeContext& context) { return std::make_unique<CommonFlags>(context, true); };
        parts.localBytes = static_cast<int>(std::min<cl_ulong>(cc.getDevice().getInfo<CL_DEVICE_LOCAL_MEM_SIZE>(), 1 << 30));
        return new CommonCalcFlashForceKernel(name, platform, cc, parts);
    });
}
