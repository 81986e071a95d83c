// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUANI_H_
#define OPENMMFLASH_CPUANI_H_

#include "CpuAniDescriptor.h"
#include "CpuAniNetworks.h"
#include "CpuNeighborList.h"
#include "CpuPotential.h"
#include "CpuThreads.h"
#include <memory>
#include <optional>

namespace OpenMMFlash {

/**
 * An ANI model: environment vectors of all atoms, the networks, dE/d(displacement) for each entry of the neighbor list, and the
 * sum of both directions of each pair.
 *
 * Atoms are sorted by type, then group, then index, and keep that order: neighbours of a row are sorted by type then, and atoms
 * of one type lie together for the dense layers.
 */
class CpuAni : public CpuPotential {
public:
    CpuAni(const ModelSpec& model, const CpuKernels& kernels, CpuThreads& threads, const CpuOptions& options);
    void setParticles(const CpuParticles& particles) override;
    void prepare(const CpuParticles& particles) override;
    void compute(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results) override;
    void finish(const CpuParticles& particles) override;
    std::string getReport() const override;

private:
    /** What a thread needs for itself. */
    struct Thread {
        CpuArray<float> scratch;
        CpuArray<float> gradient; ///< [rowLength] dE/dAEV of an atom
        /** Particles without a distance between them: the first such pair in the caller's order, or (-1, -1). */
        std::pair<int, int> coincident;
    };

    void compile(const CpuParticles& particles, const std::vector<int>& present);
    AevRow getRow(int atom) const;
    void computeDescriptors(int block, Thread& own);
    void computeGradients(int block, Thread& own);
    void addEnergies(int block, const CpuParticles& particles, CpuResults& results) const;
    void addForces(int block, CpuResults& results) const;

    const ModelSpec& model;
    const CpuKernels& kernels;
    CpuThreads& threads;
    const CpuOptions options;
    CpuNeighborList neighborList;

    bool ready = false; ///< the last setParticles() came to its end
    int numAtoms = 0;
    int blockSize = 1;      ///< atoms that a thread takes at a time
    std::vector<int> order; ///< [atom] the caller's index of the particle; atoms are numbered in our order
    std::vector<int> groups, typeStart;
    std::vector<Vector3> positions;
    std::vector<int> presentTypes;       ///< those that have been compiled
    std::optional<CompiledAni> compiled; ///< without its layers, which are packed
    std::unique_ptr<CpuAniDescriptor> descriptor;
    std::unique_ptr<CpuAniNetworks> networks;
    CpuArray<float> aev;            ///< [atom][rowLength]
    CpuArray<float> entryGradients; ///< [entry][3] dE/d(displacement)
    std::vector<Thread> own;        ///< [thread]
};

} // namespace OpenMMFlash

#endif
