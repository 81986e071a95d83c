// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_HOSTFLASHKERNEL_H_
#define OPENMMFLASH_HOSTFLASHKERNEL_H_

#include "openmmflash/FlashKernels.h"
#include "openmmflash/internal/Evaluation.h"
#include <memory>
#include <string>
#include <vector>

namespace OpenMMFlash {

/**
 * What the kernels of the Reference and the CPU platform share, both of which keep positions and forces in main memory in
 * double precision: it converts between OpenMM's particles and units and the model's.
 */
class HostFlashKernel : public CalcFlashForceKernel {
public:
    using CalcFlashForceKernel::CalcFlashForceKernel;
    void initialize(const OpenMM::System& system, const FlashForce& force) override;
    double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy) override;
    void copyParametersToContext(OpenMM::ContextImpl& context, const FlashForce& force) override;
    FlashEnergies computeEnergies(OpenMM::ContextImpl& context) override;

protected:
    /** Called once, before anything else. */
    virtual void initializeEvaluator(const FlashForce& force) = 0;
    /** Types, groups and exclusions of `particles` are new. */
    virtual void setParticles() = 0;
    /** Evaluate `particles` at their positions into `results`, which has the right sizes and zeros. */
    virtual void evaluate(bool includeForces) = 0;

    const ModelSpec& getSpec() const {
        return model->getSpec();
    }
    bool usesPairPrior() const {
        return pairPrior;
    }
    ForceParticles particles;
    ForceResults results;

private:
    void readParticles(const FlashForce& force);
    void evaluateContext(OpenMM::ContextImpl& context, bool includeForces);

    std::unique_ptr<FlashModel> model; ///< shares the force's data
    std::vector<int> indices;          ///< System index of each particle
    bool periodic = false, pairPrior = true;
    std::vector<std::string> globalParameters, derivatives;
    std::string failure; ///< why the particles as they are now could not be set; empty: they are
};

} // namespace OpenMMFlash

#endif
