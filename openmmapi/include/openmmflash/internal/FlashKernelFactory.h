// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_FLASHKERNELFACTORY_H_
#define OPENMMFLASH_FLASHKERNELFACTORY_H_

#include "openmm/KernelFactory.h"
#include "openmm/OpenMMException.h"
#include "openmmflash/FlashKernels.h"
#include <functional>
#include <string>
#include <utility>

namespace OpenMMFlash {

/** Makes the kernel of FlashForce for a platform. */
class FlashKernelFactory : public OpenMM::KernelFactory {
public:
    using Maker = std::function<CalcFlashForceKernel*(const std::string& name, const OpenMM::Platform& platform, OpenMM::ContextImpl& context)>;
    explicit FlashKernelFactory(Maker make) : make(std::move(make)) {}
    OpenMM::KernelImpl* createKernelImpl(std::string name, const OpenMM::Platform& platform, OpenMM::ContextImpl& context) const override {
        if (name != CalcFlashForceKernel::Name())
            throw OpenMM::OpenMMException("Tried to create kernel with illegal kernel name '" + name + "'");
        return make(name, platform, context);
    }
    /**
     * Register with the platform of this name, if there is one. By name: the CPU platform, which derives from the Reference platform, has a
     * kernel of its own.
     */
    static void registerWith(const std::string& platformName, const Maker& make) {
        for (int i = 0; i < OpenMM::Platform::getNumPlatforms(); i++) {
            OpenMM::Platform& platform = OpenMM::Platform::getPlatform(i);
            if (platform.getName() == platformName)
                platform.registerKernelFactory(CalcFlashForceKernel::Name(), new FlashKernelFactory(make));
        }
    }

private:
    const Maker make;
};

} // namespace OpenMMFlash

#endif
