// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonFlashKernel.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/opencl/OpenCLContext.h"
#include "openmm/opencl/OpenCLPlatform.h"
#include "openmmflash/internal/FlashKernelFactory.h"

using namespace OpenMMFlash;

// OpenMM calls these after loading all plugins.
extern "C" OPENMM_EXPORT_FLASH void registerPlatforms() {}

extern "C" OPENMM_EXPORT_FLASH void registerKernelFactories() {
    FlashKernelFactory::registerWith("OpenCL", [](const std::string& name, const OpenMM::Platform& platform, OpenMM::ContextImpl& context) {
        auto& data = *static_cast<OpenMM::OpenCLPlatform::PlatformData*>(context.getPlatformData());
        return new CommonCalcFlashForceKernel(name, platform, *data.contexts[0], {});
    });
}
