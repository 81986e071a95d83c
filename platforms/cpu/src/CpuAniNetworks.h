// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUANINETWORKS_H_
#define OPENMMFLASH_CPUANINETWORKS_H_

#include "CpuAniDescriptor.h"
#include "CpuDense.h"
#include "CpuThreads.h"
#include "openmmflash/internal/Evaluation.h"

namespace OpenMMFlash {

/**
 * The atomic networks of all members: energies from AEV rows, and dE/dAEV.
 *
 * Atoms are sorted by type. A task is a tile of atoms of one type and a chunk of the members, which go through one after the
 * other; a chunk has its own dE/dAEV, to which its members add in their order. Tiles and chunks depend on the numbers of atoms
 * alone, and so does every sum.
 */
class CpuAniNetworks {
public:
    CpuAniNetworks(const CompiledAni& model, const CpuAniDescriptor& descriptor, const CpuKernels& kernels, bool half);

    /** Reserve memory. @param typeStart  [present type] its first atom, and one more: all atoms */
    void setAtoms(const std::vector<int>& typeStart, int numThreads);

    int getNumTasks() const {
        return static_cast<int>(tasks.size());
    }
    /** Chunks of members; the sum of their gradients, in their order, is that of the members' mean. */
    int getNumChunks() const {
        return numChunks;
    }
    /** Energies of a task's atoms and, if asked for, the gradient of its chunk. */
    void evaluate(int task, int thread, float* aev, bool includeForces);

    /** [member][atom] */
    const double* getEnergies(int member) const {
        return energies.data() + static_cast<size_t>(member) * static_cast<size_t>(numAtoms);
    }
    /** [atom][rowLength] of a chunk */
    float* getGradient(int chunk) {
        return gradients.data() + static_cast<size_t>(chunk) * static_cast<size_t>(numAtoms) * static_cast<size_t>(rowLength);
    }

private:
    struct Network {
        std::vector<PackedLinear> forward, transposed; ///< [layer], without the last one
        PackedReadout readout;
    };
    struct Task {
        int type, begin, end, chunk;
        double cost;
    };
    struct Scratch {
        std::vector<CpuArray<float>> layers; ///< what a hidden layer gives, then the gradient by what it got: [atom of the tile][width]
    };

    void multiplyTransposed(const Network& network, int layer, int atoms, const SlicedMatrix& x, const DenseOutput& output) const;
    void evaluateMember(const Task& task, int member, Scratch& scratch, float* aev, bool includeForces, bool first);

    const CpuKernels& kernels;
    const float celuAlpha;
    const int rowLength, numMembers, rowBlock;
    int numAtoms = 0, numChunks = 0;
    std::vector<std::vector<Network>> networks; ///< [member][type]
    std::vector<double> costs;                  ///< [type] multiplications for an atom
    std::vector<int> widths;                    ///< [hidden layer] of the widest network
    std::vector<Task> tasks;
    std::vector<Scratch> scratch; ///< [thread]
    CpuArray<double> energies;
    CpuArray<float> gradients;
};

} // namespace OpenMMFlash

#endif
