// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUFLASHKERNELS_H_
#define OPENMMFLASH_CPUFLASHKERNELS_H_

#include "CpuEvaluator.h"
#include "HostFlashKernel.h"
#include "openmm/internal/ThreadPool.h"

namespace OpenMMFlash {

/** FlashForce on the threads of OpenMM's CPU platform. */
class CpuCalcFlashForceKernel : public HostFlashKernel {
public:
    CpuCalcFlashForceKernel(const std::string& name, const OpenMM::Platform& platform, OpenMM::ThreadPool& pool);
    std::string getCompilationReport() const override;

private:
    void initializeEvaluator(const OpenMM::System& system, const FlashForce& force) override;
    void setParticles() override;
    void evaluate(bool includeForces) override;

    CpuThreads threads;
    std::unique_ptr<CpuEvaluator> evaluator;
};

} // namespace OpenMMFlash

#endif
