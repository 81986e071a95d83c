// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_REFERENCEFLASHKERNELS_H_
#define OPENMMFLASH_REFERENCEFLASHKERNELS_H_

#include "ReferenceEvaluator.h"
#include "openmmflash/FlashKernels.h"
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace OpenMMFlash {

/** FlashForce in double precision with the exact networks; converts between OpenMM's units and the model's. */
class ReferenceCalcFlashForceKernel : public CalcFlashForceKernel {
public:
    using CalcFlashForceKernel::CalcFlashForceKernel;
    void initialize(const OpenMM::System& system, const FlashForce& force) override;
    double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy) override;
    void copyParametersToContext(OpenMM::ContextImpl& context, const FlashForce& force) override;
    FlashEnergies computeEnergies(OpenMM::ContextImpl& context) override;

private:
    struct Group {
        std::vector<int> particles;                  ///< System indices
        std::vector<int> indices;                    ///< indices within the force
        std::vector<int> types;                      ///< the model's types
        std::vector<std::pair<int, int>> exclusions; ///< pairs of indices into these arrays
    };
    void setParticles(const FlashForce& force);
    ReferenceResult evaluate(OpenMM::ContextImpl& context, const Group& group) const;

    std::unique_ptr<FlashModel> model; ///< shares the force's data
    std::vector<Group> groups;         ///< by ascending group number
    int numParticles = 0;
    bool periodic = false, pairPrior = true;
    std::vector<std::string> globalParameters, derivatives;
};

} // namespace OpenMMFlash

#endif
