// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuEvaluator.h"
#include "CpuAni.h"
#include "CpuRepulsion.h"
#include "CpuSchNet.h"
#include <cmath>
#include <cstdlib>
#include <functional>
#include <locale>
#include <sstream>
#include <stdexcept>

namespace OpenMMFlash {

namespace {

constexpr double MaxCoordinate = 1e100;

} // namespace

CpuOptions CpuOptions::fromEnvironment() {
    CpuOptions options;
    const char* text = std::getenv("OPENMMFLASH_CPU_SKIN");
    if (text != nullptr && *text != 0) {
        std::istringstream number(text);
        number.imbue(std::locale::classic());
        if (!(number >> options.skin) || !number.eof() || !(options.skin >= 0 && options.skin <= 1))
            throw std::invalid_argument("the environment variable OPENMMFLASH_CPU_SKIN is \"" + std::string(text) +
                                        "\"; it is a fraction of the cutoff from 0 to 1");
    }
    text = std::getenv("OPENMMFLASH_CPU_PROFILE");
    const std::string wanted = text == nullptr ? "" : text;
    if (wanted == "1")
        options.profile = std::make_shared<CpuProfile>();
    else if (!wanted.empty() && wanted != "0")
        throw std::invalid_argument("the environment variable OPENMMFLASH_CPU_PROFILE is \"" + wanted + "\"; it is 1 to record times, or 0");
    return options;
}

CpuEvaluator::CpuEvaluator(const ModelSpec& model, const CpuKernels& kernels, CpuThreads& threads, const CpuOptions& options)
    : kernels(kernels), threads(threads), profile(options.profile) {
    if (std::holds_alternative<SchNetSpec>(model.network))
        potentials.push_back(std::make_unique<CpuSchNet>(model, kernels, threads, options));
    else
        potentials.push_back(std::make_unique<CpuAni>(model, kernels, threads, options));
    if (model.repulsion && options.pairPrior)
        potentials.push_back(std::make_unique<CpuRepulsion>(model, kernels, threads, options));
}

void CpuEvaluator::setParticles(const ForceParticles& particles) {
    for (const auto& potential : potentials)
        potential->setParticles(particles);
}

void CpuEvaluator::evaluate(const ForceParticles& particles, bool includeForces, ForceResults& results) {
    for (int i = 0; i < particles.size(); i++)
        for (const double x : particles.positions[i])
            if (!(std::fabs(x) <= MaxCoordinate))
                throw FlashEvaluationError("a coordinate is not finite", {i}, {particles.positions[i]});
    if (profile) {
        profile->countEvaluation();
        profile->start(0);
    }
    for (const auto& potential : potentials)
        potential->prepare(particles);
    if (profile)
        profile->stop(0, CpuStage::NeighborList);
    const auto task = [&](int thread) {
        for (const auto& potential : potentials) {
            potential->compute(thread, particles, includeForces, results);
            threads.barrier(); // the next one adds to the same gradient
        }
    };
    threads.run(std::ref(task)); // by reference: std::function would allocate for a copy
    for (const auto& potential : potentials)
        potential->finish(particles);
}

std::string CpuEvaluator::getReport() const {
    ReportFields fields = {{"platform", "\"CPU\""}, {"isa", std::string("\"") + kernels.isa + "\""}, {"threads", std::to_string(threads.getSize())}};
    if (profile)
        fields.emplace_back("profile", profile->getReport());
    const std::string network = potentials[0]->getReport();
    if (!network.empty())
        fields.emplace_back("network", network);
    return describeFields(fields);
}

} // namespace OpenMMFlash
