// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONSCHNET_H_
#define OPENMMFLASH_COMMONSCHNET_H_

#include "CommonDense.h"
#include "CommonLowRank.h"
#include "CommonPotential.h"
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace OpenMMFlash {

/**
 * A SchNet (docs/model-format.md, section `schnet`) on a device, for all particles and groups together. One launch finds the pairs, one
 * goes through each block forward, one through each block backward; the first of these, with the readout, is part of the last one
 * forward, and the forces of the last one backward: 2 B + 1 launches for B blocks, and two more for a neighbor embedding.
 *
 * The filters are tables over distances, or, where their spectrum allows it, products of a few functions of the distance and a matrix.
 */
class CommonSchNet : public CommonPotential {
public:
    /** @throws std::invalid_argument  the model cannot be compiled: see compileSchNet() */
    CommonSchNet(const CommonDevice& device, const ModelSpec& model);
    void setParticles() override;
    void enqueueLists() override;
    void enqueue(bool includeForces, double forceScale) override;
    bool grow() override;
    void downloadEnergies(ForceResults& results) override;
    std::string getReport() override;

private:
    enum class Kind { Nothing, Embedding, Block };
    /** How the channels of a message are dealt to threads, and its filter's form. The text's names are in brackets. */
    struct Shape {
        int width = 0;                           ///< channels of the model
        int lanes = 0, channels = 0, chunks = 0; ///< threads of a team, and for each its channels of a chunk [LANES CHANNELS CHUNKS]
        /** Channels in arrays [WIDTH]. */
        int getPadded() const {
            return lanes * channels * chunks;
        }
        std::unique_ptr<CommonLowRank> lowRank; ///< null: filters are tables
    };
    struct Filter {
        OpenMM::ComputeArray table; ///< real4 [piece][channel]
        CommonLowRank::Filter lowRank;
    };
    struct Member {
        explicit Member(size_t numBlocks) : filters(numBlocks), blocks(numBlocks) {}
        OpenMM::ComputeArray embedding;  ///< real [type][hidden]: x, or with a neighbor embedding K [x, 0] + k
        OpenMM::ComputeArray firstInput; ///< real [type][filter]: A x of the first block, where x depends on the type only
        bool withNeighbors = false;
        OpenMM::ComputeArray neighborEmbedding; ///< real [type][hidden]: Emb'
        Filter neighbor;
        std::vector<Filter> filters;  ///< [block]
        int combine = 0, readout = 0; ///< the first of their layers
        std::vector<int> blocks;      ///< the first layer of each
    };
    /** A launch forward and the one backward that belongs to it. */
    struct Stage {
        OpenMM::ComputeKernel forward, backward;        ///< backward is null where no force comes from
        int forcesArgument = 0, forceScaleArgument = 0; ///< that change from one evaluation to the next
        CommonLowRank* lowRank = nullptr;
    };

    static Shape makeShape(int width);
    void chooseFilters(const std::vector<const RadialTable*>& tables, Shape& shape);
    int getScratch(const Shape& shape) const;
    int getBatch(const Shape& shape) const;
    int getLocalBytes(int numRows) const;
    void compileMember(const CompiledSchNet& compiled, int index);
    void packFilter(const RadialTable& table, const Shape& shape, Filter& filter);
    std::string getGridText() const;
    int chooseRows() const;
    /** Reals from one row of a tile to the next. */
    int getTileStride() const;
    OpenMM::ComputeProgram compile(Kind kind, const Shape& shape) const;
    void initializeArrays();
    std::vector<std::vector<Stage>> createStages();
    /** @return how many there are */
    int addPairArguments(OpenMM::ComputeKernel& kernel, Member& member, int block);
    void execute(const Stage& stage, OpenMM::ComputeKernel& kernel) const;
    void addReal(OpenMM::ComputeKernel& kernel, double value) const;
    void createForward(OpenMM::ComputeProgram& program, int member, int index, Kind kind, Stage& stage);
    void createBackward(OpenMM::ComputeProgram& program, int member, int index, Kind kind, Stage& stage);
    void uploadReals(OpenMM::ComputeArray& array, const std::vector<double>& values, int perElement, const std::string& name) const;
    long countPairsBelowTable() const;

    const CommonDevice& device;
    OpenMM::ComputeContext& cc;
    const ModelSpec& model;
    const SchNetSpec& spec; ///< of the file: its widths
    RadialGrid grid;
    Shape filterShape, neighborShape;
    std::map<const RadialTable*, LowRankFactors> factors; ///< while the model is compiled
    CommonDense dense;
    std::vector<std::unique_ptr<Member>> members;
    std::vector<int> readoutWidths; ///< padded, without the last layer's
    OpenMM::ComputeArray knots;     ///< real2 [piece - 1]
    std::unique_ptr<CommonNeighborList> list;
    OpenMM::ComputeArray pieces, fractions, dEdt; ///< for each entry of the list

    bool evaluated = false;                            ///< the list has been made
    int rows = 0;                                      ///< particles of a tile
    OpenMM::ComputeArray x, gx;                        ///< real [particle][hidden]: x_i, dE/dx_i
    std::vector<OpenMM::ComputeArray> y, derivatives;  ///< real [block][particle][filter or hidden]: y_i, act'(B m_i + b)
    OpenMM::ComputeArray q[2];                         ///< real [particle][filter]: dE/dm_i, of one block and of the next
    OpenMM::ComputeArray readoutDerivatives, energies; ///< real [particle][readoutWidths], [member][particle]
    std::vector<std::vector<Stage>> stages;            ///< [member]: a neighbor embedding, and blocks
};

} // namespace OpenMMFlash

#endif
