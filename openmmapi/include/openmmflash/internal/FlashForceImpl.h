// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_FLASHFORCEIMPL_H_
#define OPENMMFLASH_FLASHFORCEIMPL_H_

#include "openmm/Kernel.h"
#include "openmm/internal/ForceImpl.h"
#include "openmmflash/FlashForce.h"
#include "openmmflash/FlashKernels.h"
#include <map>
#include <string>
#include <vector>

namespace OpenMMFlash {

/** Checks a FlashForce against its System and drives the platform's kernel. */
class FlashForceImpl : public OpenMM::ForceImpl {
public:
    explicit FlashForceImpl(const FlashForce& owner) : owner(owner) {}
    void initialize(OpenMM::ContextImpl& context) override;
    const OpenMM::Force& getOwner() const override {
        return owner;
    }
    void updateContextState(OpenMM::ContextImpl& context, bool& forcesInvalid) override {}
    double calcForcesAndEnergy(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy, int groups) override;
    std::map<std::string, double> getDefaultParameters() override;
    std::vector<std::string> getKernelNames() override;
    void updateParametersInContext(OpenMM::ContextImpl& context);
    /** Energies in parts, times the product of the global parameters. */
    FlashEnergies computeEnergies(OpenMM::ContextImpl& context);
    std::string getCompilationReport() const;

private:
    void checkParticles(int numSystemParticles) const;
    void checkExclusions() const;
    void checkGlobalParameters() const;
    void checkBox(const OpenMM::System& system) const;
    const FlashForce& owner;
    OpenMM::Kernel kernel;
    std::vector<int> particles;                ///< System indices at creation
    std::vector<std::string> globalParameters; ///< names at creation
};

} // namespace OpenMMFlash

#endif
