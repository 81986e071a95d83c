// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuFlashKernels.h"
#include "openmm/cpu/CpuPlatform.h"
#include "openmm/internal/ContextImpl.h"
#include "openmmflash/internal/FlashKernelFactory.h"

using namespace OpenMMFlash;

// OpenMM calls these after loading all plugins.
extern "C" OPENMM_EXPORT_FLASH void registerPlatforms() {}

extern "C" OPENMM_EXPORT_FLASH void registerKernelFactories() {
    FlashKernelFactory::registerWith("CPU", [](const std::string& name, const OpenMM::Platform& platform, OpenMM::ContextImpl& context) {
        return new CpuCalcFlashForceKernel(name, platform, OpenMM::CpuPlatform::getPlatformData(context).threads);
    });
}
