// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonFlashKernel.h"
#include "HipContext.h"
#include "HipPlatform.h"
#include "openmm/internal/ContextImpl.h"
#include "openmmflash/internal/FlashKernelFactory.h"

using namespace OpenMMFlash;

// OpenMM calls these after loading all plugins.
extern "C" OPENMM_EXPORT_FLASH void registerPlatforms() {}

extern "C" OPENMM_EXPORT_FLASH void registerKernelFactories() {
    FlashKernelFactory::registerWith("HIP", [](const std::string& name, const OpenMM::Platform& platform, OpenMM::ContextImpl& context) {
        auto& data = *static_cast<OpenMM::HipPlatform::PlatformData*>(context.getPlatformData());
        return new CommonCalcFlashForceKernel(name, platform, *data.contexts[0], {});
    });
}
