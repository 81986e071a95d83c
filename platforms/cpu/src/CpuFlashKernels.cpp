// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuFlashKernels.h"
#include "openmm/OpenMMException.h"
#include "openmmflash/internal/ModelSpec.h"

namespace OpenMMFlash {

using OpenMM::ThreadPool;

CpuCalcFlashForceKernel::CpuCalcFlashForceKernel(const std::string& name, const OpenMM::Platform& platform, ThreadPool& pool)
    : HostFlashKernel(name, platform), threads(pool.getNumThreads(), [&pool](const std::function<void(int)>& task) {
          pool.execute([&task](ThreadPool&, int thread) { task(thread); });
          pool.waitForThreads();
      }) {}

void CpuCalcFlashForceKernel::initializeEvaluator(const OpenMM::System& system, const FlashForce& force) {
    try {
        CpuOptions options = CpuOptions::fromEnvironment();
        options.compile.tableTolerance = force.getTableTolerance();
        options.compile.halfWeights = force.getWeightPrecision() == FlashForce::Half;
        options.pairPrior = force.getUsesPairPrior();
        evaluator = std::make_unique<CpuEvaluator>(getSpec(), chooseKernels(), threads, options);
    }
    catch (const std::exception& error) {
        throw OpenMM::OpenMMException(std::string("FlashForce: ") + error.what());
    }
}

void CpuCalcFlashForceKernel::setParticles() {
    try {
        evaluator->setParticles(particles);
    }
    catch (const std::exception& error) {
        throw OpenMM::OpenMMException(std::string("FlashForce: ") + error.what());
    }
}

void CpuCalcFlashForceKernel::evaluate(bool includeForces) {
    evaluator->evaluate(particles, includeForces, results);
}

std::string CpuCalcFlashForceKernel::getCompilationReport() const {
    return evaluator->getReport();
}

} // namespace OpenMMFlash
