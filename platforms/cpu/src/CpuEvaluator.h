// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUEVALUATOR_H_
#define OPENMMFLASH_CPUEVALUATOR_H_

#include "CpuIsa.h"
#include "CpuPotential.h"
#include "CpuThreads.h"
#include <memory>
#include <string>
#include <vector>

namespace OpenMMFlash {

/** A model on the CPU: its network and its pair prior, evaluated by fused, vectorised kernels. No OpenMM. */
class CpuEvaluator {
public:
    /** The model and the threads must outlive the evaluator. */
    CpuEvaluator(const ModelSpec& model, const CpuKernels& kernels, CpuThreads& threads, const CpuOptions& options);
    /** New types, groups and exclusions. */
    void setParticles(const ForceParticles& particles);
    /**
     * Evaluate into results, which has the right sizes and zeros.
     * @throws FlashEvaluationError  the configuration cannot be evaluated
     */
    void evaluate(const ForceParticles& particles, bool includeForces, ForceResults& results);
    /** What runs, as a JSON object. */
    std::string getReport() const;

private:
    const CpuKernels& kernels;
    CpuThreads& threads;
    const std::shared_ptr<CpuProfile> profile;
    std::vector<std::unique_ptr<CpuPotential>> potentials;
};

} // namespace OpenMMFlash

#endif
