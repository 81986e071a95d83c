// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_HOSTFLASHKERNEL_H_
#define OPENMMFLASH_HOSTFLASHKERNEL_H_

#include "openmmflash/internal/ParticleFlashKernel.h"

namespace OpenMMFlash {

/**
 * What the kernels of the Reference and the CPU platform share, both of which keep positions and forces in main memory in
 * double precision: it converts between OpenMM's particles and units and the model's.
 */
class HostFlashKernel : public ParticleFlashKernel {
public:
    using ParticleFlashKernel::ParticleFlashKernel;
    double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy) override;

protected:
    /** Evaluate `particles` at their positions into `results`, which has the right sizes and zeros. */
    virtual void evaluate(bool includeForces) = 0;

private:
    void evaluateEnergies(OpenMM::ContextImpl& context) override;
    void evaluateContext(OpenMM::ContextImpl& context, bool includeForces);
};

} // namespace OpenMMFlash

#endif
