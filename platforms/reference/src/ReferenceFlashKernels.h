// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_REFERENCEFLASHKERNELS_H_
#define OPENMMFLASH_REFERENCEFLASHKERNELS_H_

#include "HostFlashKernel.h"
#include <utility>
#include <vector>

namespace OpenMMFlash {

/** FlashForce in double precision with the exact networks, one group after the other. */
class ReferenceCalcFlashForceKernel : public HostFlashKernel {
public:
    using HostFlashKernel::HostFlashKernel;
    std::string getCompilationReport() const override;

private:
    struct Group {
        std::vector<int> indices;                    ///< of its particles within the force
        std::vector<int> types;                      ///< the model's types
        std::vector<std::pair<int, int>> exclusions; ///< pairs of indices into these arrays
    };
    void initializeEvaluator(const OpenMM::System& system, const FlashForce& force) override {}
    void setParticles() override;
    void evaluate(bool includeForces) override;

    std::vector<Group> groups;
};

} // namespace OpenMMFlash

#endif
