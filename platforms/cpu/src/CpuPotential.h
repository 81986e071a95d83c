// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUPOTENTIAL_H_
#define OPENMMFLASH_CPUPOTENTIAL_H_

#include "CpuNeighborList.h"
#include "CpuProfile.h"
#include "openmmflash/internal/CompiledModel.h"
#include "openmmflash/internal/Evaluation.h"
#include <memory>
#include <string>

namespace OpenMMFlash {

/** How the CPU platform evaluates a model. */
struct CpuOptions {
    CompileOptions compile;
    bool pairPrior = true;
    /** Neighbor lists reach this much farther than the cutoff, as a fraction of it. No result depends on it. */
    double skin = 0.1;
    /** Neighbor list entries reserved at first. No result depends on it: the list grows. */
    size_t neighborCapacity = 0;
    /** Where to record times; nothing: they are not taken. */
    std::shared_ptr<CpuProfile> profile;

    /**
     * The options, with those that environment variables set: OPENMMFLASH_CPU_SKIN, a fraction of the cutoff from 0 to 1;
     * OPENMMFLASH_CPU_PROFILE, 1 to record times.
     */
    static CpuOptions fromEnvironment();
};

inline CpuNeighborList::Options makeListOptions(CpuNeighborList::Kind kind, double cutoff, const CpuOptions& options) {
    CpuNeighborList::Options list;
    list.kind = kind;
    list.cutoff = cutoff;
    list.skin = options.skin * cutoff;
    list.initialCapacity = options.neighborCapacity;
    return list;
}

using CpuParticles = ForceParticles;
/** Each potential adds its part. The evaluator has set the sizes, and zeros. */
using CpuResults = ForceResults;

/**
 * One term of the energy: the network or the pair prior. An evaluation is prepare() by the calling thread, compute() by all
 * threads, finish() by the calling thread again. Two evaluations of the same positions give the same bits, whatever was
 * evaluated before and on however many threads.
 */
class CpuPotential {
public:
    virtual ~CpuPotential() = default;
    /** New types and groups; the number of particles may change. */
    virtual void setParticles(const CpuParticles& particles) = 0;
    /**
     * Bring neighbor lists up to date and reserve memory. May run tasks on the threads, may throw.
     * Positions are finite: the caller has looked.
     */
    virtual void prepare(const CpuParticles& particles) = 0;
    /** This thread's share. All threads call it at the same time; no allocation, no exception. */
    virtual void compute(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results) = 0;
    /** @throws FlashEvaluationError  what compute() found: particles at the same position */
    virtual void finish(const CpuParticles& particles) {}
    /** What runs, with certified errors: a JSON object. Empty: nothing to say. */
    virtual std::string getReport() const {
        return "";
    }
};

} // namespace OpenMMFlash

#endif
