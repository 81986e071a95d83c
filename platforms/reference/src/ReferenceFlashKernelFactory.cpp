// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "ReferenceFlashKernels.h"
#include "openmmflash/internal/FlashKernelFactory.h"

using namespace OpenMMFlash;

// OpenMM calls these after loading all plugins.
extern "C" OPENMM_EXPORT_FLASH void registerPlatforms() {}

extern "C" OPENMM_EXPORT_FLASH void registerKernelFactories() {
    FlashKernelFactory::registerWith("Reference", [](const std::string& name, const OpenMM::Platform& platform, OpenMM::ContextImpl&) {
        return new ReferenceCalcFlashForceKernel(name, platform);
    });
}
