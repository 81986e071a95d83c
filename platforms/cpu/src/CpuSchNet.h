// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUSCHNET_H_
#define OPENMMFLASH_CPUSCHNET_H_

#include "CpuArray.h"
#include "CpuDense.h"
#include "CpuNeighborList.h"
#include "CpuPotential.h"
#include "CpuSchNetPairs.h"
#include "CpuThreads.h"
#include <vector>

namespace OpenMMFlash {

/**
 * A SchNet whose edge functions are tables (docs/model-format.md, section `schnet`). One group at a time goes through the whole
 * network, forward and backward:
 *
 *   geometry   distances of the candidate pairs, their pieces of the tables              pairs, by tiles
 *   rows       x_i = Emb[type_i],  y_j = A x_j                                           particles
 *   message    m_i = sum_j y_j * G(r_ij)                                                 pairs, by slices of channels
 *   rows       v_i = act(B m_i + b);  x_i += D v_i + d;  the next block's y_j = A x_j    particles
 *   ...        after the last block the readout, and back to q_i = dE/dm_i
 *   message    dE/dt of each pair, dE/dy_i = sum_j q_j * G(r_ij)                         pairs, by slices of channels
 *   ...
 *   forces     dE/dt of each pair, added up over blocks and members, along its direction   pairs
 *
 * Large groups are evaluated by all threads together, with a barrier between these phases; where there are many groups, each
 * thread takes whole ones. Either way every sum is formed in the same order.
 */
class CpuSchNet : public CpuPotential {
public:
    /** @throws std::invalid_argument  the model cannot be compiled: see compileSchNet() */
    CpuSchNet(const ModelSpec& model, const CpuKernels& kernels, CpuThreads& threads, const CpuOptions& options);
    void setParticles(const CpuParticles& particles) override;
    void prepare(const CpuParticles& particles) override;
    void compute(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results) override;
    void finish(const CpuParticles& particles) override;
    std::string getReport() const override;
    /** Pairs that were closer than the tables' first knot in the last evaluation. */
    long getNumPairsBelowTable() const;

private:
    /** How channels are cut into slices. */
    struct Slicing {
        int width = 16, count = 0;
        int getChannels() const {
            return width * count;
        }
    };
    struct Block {
        CpuArray<float> table; ///< [slice][piece][4][S]
        PackedLinear input, output0, output1, inputBack, output0Back, output1Back;
    };
    struct Member {
        CpuArray<float> embedding;  ///< x, or with a neighbor embedding K [x, 0] + k: [type][hidden]
        CpuArray<float> firstInput; ///< A x of the first block, where x depends on the type only: [slice][type][S]
        bool withNeighbors = false;
        CpuArray<float> neighborEmbedding, neighborTable; ///< [slice][type][S], [slice][piece][4][S]
        PackedLinear combine, combineBack;                ///< K's right half
        std::vector<Block> blocks;
        std::vector<PackedLinear> readout, readoutBack; ///< all layers but the last
        PackedReadout lastReadout;
    };
    struct Group {
        int begin, size; ///< its particles are order[begin] to order[begin + size - 1]
        CpuSchNetPairs pairs;
    };
    /** State of one group's evaluation. */
    struct Workspace {
        CpuArray<double> positions[3];
        CpuArray<double> gradient[3]; ///< [sum][particle]
        CpuArray<int> types;
        CpuArray<float> x, gx;                       ///< x_i and dE/dx_i, [particle][hidden]
        std::vector<CpuArray<float>> y, derivatives; ///< [block]: y_i [slice][particle][S], act'(B m_i + b) [particle][hidden]
        CpuArray<float> neighborInput;               ///< Emb'[type_i], [slice][particle][S]
        CpuArray<float> m;                           ///< m_i; on the way back q_i = dE/dm_i: [slice][particle][S]
        CpuArray<float> dy;                          ///< dE/dy_i; before the first block the sum of the neighbor embedding
        CpuArray<PairRows> rows;
        CpuArray<std::int32_t> senders, shifts, piece[2];
        CpuArray<float> t[2];
        CpuArray<MessagePair> pairs;
        CpuArray<MessageRun> runs;         ///< those of a tile from its first pair on
        CpuArray<int> numRuns;             ///< [tile]
        std::vector<CpuArray<float>> dEdt; ///< [slot][pair]
        PairEntries getEntries();
    };
    /** What a thread needs for itself. */
    struct alignas(64) ThreadState {
        CpuArray<double> distances[4];
        CpuArray<std::int32_t> order[3];
        CpuArray<int> counts;                            ///< [piece]
        CpuArray<float> hidden[2];                       ///< a few rows of a layer
        std::vector<CpuArray<float>> readoutDerivatives; ///< [layer]
        CpuArray<double> energies;                       ///< [row]
        GeometryCounts found = {};
        GeometryScratch getScratch();
    };
    /** The threads that evaluate a group together. */
    struct Team {
        int rank, size;
        CpuThreads* threads; ///< null: one thread alone
        void barrier() const {
            if (threads != nullptr)
                threads->barrier();
        }
    };
    struct Evaluation;

    /** Rows that go through a chain of layers together, so that what is between the layers stays in the nearest caches. */
    static constexpr int RowsAtOnce = 64;

    static Slicing slice(int channels, int maxWidth);
    /** Sums to which the pairs' gradients are added, so that several threads can do so. */
    static int getNumGradientSums(int size);
    void compileMember(const CompiledSchNet& compiled, int index, const CpuOptions& options);
    void reserve();
    void reserve(Workspace& workspace, const std::vector<int>& which);
    void planGroups();

    const ModelSpec& model;
    const CompileOptions compileOptions;
    const CpuKernels& kernels;
    CpuThreads& threads;
    const std::shared_ptr<CpuProfile> profile;
    int hidden = 0, hiddenWidth = 0; ///< H, and rounded up to whole vectors
    Slicing filters, neighbors;      ///< of F channels, and of the neighbor embedding's H
    int numSlots = 1;                ///< slices s of a block are evaluated in slot s mod numSlots, in order
    DenseActivation activation, readoutActivation;
    std::vector<int> readoutWidths;
    std::vector<double> typeEnergies;
    double groupEnergy = 0, cutoff = 0;
    PairGrid grid;
    std::vector<Member> members;

    CpuNeighborList list;
    bool tilesAreStale = true;
    std::vector<int> order, indices; ///< particles by group; [particle] its index in its group
    std::vector<Group> groups;
    CpuArray<double> shifts[3];
    std::vector<int> together, alone; ///< groups that all threads evaluate together, and those that each thread takes
    std::vector<Workspace> workspaces;
    std::vector<ThreadState> states;
};

} // namespace OpenMMFlash

#endif
