// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "ReferenceFlashKernels.h"
#include "openmm/KernelFactory.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"

namespace OpenMMFlash {

class ReferenceFlashKernelFactory : public OpenMM::KernelFactory {
public:
    OpenMM::KernelImpl* createKernelImpl(std::string name, const OpenMM::Platform& platform, OpenMM::ContextImpl& context) const override {
        if (name == CalcFlashForceKernel::Name())
            return new ReferenceCalcFlashForceKernel(name, platform);
        throw OpenMM::OpenMMException("Tried to create kernel with illegal kernel name '" + name + "'");
    }
};

} // namespace OpenMMFlash

// OpenMM calls these after loading all plugins.
extern "C" OPENMM_EXPORT_FLASH void registerPlatforms() {}

extern "C" OPENMM_EXPORT_FLASH void registerKernelFactories() {
    // By name, not by class: the CPU platform derives from the Reference platform and has kernels of its own.
    for (int i = 0; i < OpenMM::Platform::getNumPlatforms(); i++) {
        OpenMM::Platform& platform = OpenMM::Platform::getPlatform(i);
        if (platform.getName() == "Reference")
            platform.registerKernelFactory(OpenMMFlash::CalcFlashForceKernel::Name(), new OpenMMFlash::ReferenceFlashKernelFactory());
    }
}
