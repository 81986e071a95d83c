// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUREPULSION_H_
#define OPENMMFLASH_CPUREPULSION_H_

#include "CpuArray.h"
#include "CpuNeighborList.h"
#include "CpuPotential.h"
#include "CpuThreads.h"
#include "kernels/Kernels.h"
#include <memory>
#include <vector>

namespace OpenMMFlash {

/** The pair prior (sigma_ab / r)^exponent, of all pairs or within a cutoff. Each particle is summed over all its partners. */
class CpuRepulsion : public CpuPotential {
public:
    CpuRepulsion(const ModelSpec& model, const CpuKernels& kernels, CpuThreads& threads, const CpuOptions& options);
    /** @throws std::invalid_argument  an exclusion between particles of different groups, or of a particle with itself */
    void setParticles(const CpuParticles& particles) override;
    void prepare(const CpuParticles& particles) override;
    void compute(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results) override;
    void finish(const CpuParticles& particles) override;

private:
    struct alignas(64) ThreadState {
        // All pairs: sigma^exponent of a type with the particles of the group that the thread is at.
        CpuArray<double> strengths; ///< [present type][particle of the group]
        std::vector<int> groups;    ///< [present type]: for which group, -1: none
        // Within a cutoff.
        CpuArray<std::int32_t> order;
        long coincident = 0;
    };

    void computeAllPairs(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results);
    void computeNeighbors(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results);
    void add(int particle, const RepulsionRow& row, bool includeForces, CpuResults& results) const;

    const CpuKernels& kernels;
    CpuThreads& threads;
    const std::shared_ptr<CpuProfile> profile;
    const CpuNeighborList::Options listOptions;
    const int exponent;
    const double cutoff;
    int numTypes;
    std::vector<double> strengths; ///< sigma^exponent, [type][type]
    std::vector<ThreadState> states;

    // All pairs. Particles by group; a group begins at a multiple of a vector.
    struct Group {
        int begin, size;      ///< in `order`
        size_t firstPosition; ///< in `positions`
    };
    std::vector<Group> groups;
    std::vector<int> order, groupOf;             ///< [slot]
    std::vector<std::int64_t> work;              ///< [slot]: pairs of those before it
    std::vector<int> presentTypes, present;      ///< types that there are; [type]: its index among them
    std::vector<int> exclusionStart, exclusions; ///< [slot]: indices in its group, ascending
    size_t stride = 0;                           ///< of a type's strengths
    CpuArray<double> positions[3];

    // Within a cutoff.
    std::unique_ptr<CpuNeighborList> list;
    CpuArray<std::int32_t> types;
};

} // namespace OpenMMFlash

#endif
