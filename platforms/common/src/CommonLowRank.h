// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONLOWRANK_H_
#define OPENMMFLASH_COMMONLOWRANK_H_

#include "CommonPotential.h"
#include <map>
#include <string>
#include <vector>

namespace OpenMMFlash {

/**
 * Filters of low rank on a device, of all blocks and members, or of their neighbor embeddings: how their functions and expansions are stored, what of
 * them a work-group keeps in its local memory, and which rows it takes. See kernels/messageLowRank.cc.
 */
class CommonLowRank {
public:
    struct Filter {
        OpenMM::ComputeArray functions; ///< POINT [row of points][functions]
        OpenMM::ComputeArray expansion; ///< as the body of lowRankProduct.cc wants it
        double scale = 1;               ///< of the messages
    };
    /** What a program is compiled for. */
    struct Layout {
        int teamSize = 0, rows = 0;                                  ///< threads that share a dense layer, and their rows
        int rowParts = 0;                                            ///< warps that share a row of pairs
        int forwardBlocks = 0, backBlocks = 0;                       ///< 16 channels each, of a slice
        bool features = false, functions = false, expansion = false; ///< are in local memory
        int particles = 0;                                           ///< whose features are, at most
        int expansionAt = 0, featuresAt = 0, reals = 0;              ///< of local memory: places, and all of it
        bool operator==(const Layout& other) const;
    };

    /** What the rank, and shared points of splines, may each add to a table's errors, in parts of the table tolerance. */
    static constexpr double ToleranceShare = 0.125;
    /** @param factors  of all filters @param channels  padded to a multiple of 16 @param tileStride  reals of a row of the dense layers */
    CommonLowRank(const CommonDevice& device, const RadialGrid& grid, const std::vector<const LowRankFactors*>& factors, int channels, int tileStride);
    void pack(const LowRankFactors& factors, Filter& filter) const;
    /** The particles are new, or their groups are. @return whether programs have to be compiled anew @throws OpenMMException  layers are too wide */
    bool setParticles();
    /** For a layout, with all other defines of a SchNet. */
    void addDefines(std::map<std::string, std::string>& defines) const;
    /** How many arguments stand for FILTER in the text. */
    static constexpr int NumArguments = 6;
    void addArguments(OpenMM::ComputeKernel& kernel, Filter& filter);
    /** @param tileProduct,source  in front of the messages' text, and behind it */
    OpenMM::ComputeProgram compile(const std::string& tileProduct, const std::string& source, const std::map<std::string, std::string>& defines) const;
    void execute(OpenMM::ComputeKernel& kernel, int firstArgument) const;

    const Layout& getLayout() const {
        return layout;
    }
    int getRank() const {
        return rank;
    }
    /** What is in local memory, as JSON. */
    std::string describeMemory() const;

private:
    double getTolerance() const {
        return ToleranceShare * device.options.compile.tableTolerance;
    }
    RadialSplines makePoints(const LowRankFactors& factors) const;
    int countSplitSteps(const LowRankFactors& factors) const;
    /** Where the functions 16 step...16 step + 15 stand in a row of points. */
    int getStepPlace(int row, int step) const {
        return steps % 2 == 0 ? step ^ (row & 1) : step;
    }
    bool fits(Layout& candidate) const;
    void choose(Layout& candidate, int spanRows) const;
    std::vector<OpenMM::mm_int4> makeSpans() const;

    const CommonDevice& device;
    OpenMM::ComputeContext& cc;
    const RadialGrid& grid;
    const int blocks, tileStride, realSize;
    const bool onTensorCores, fixedPoints;
    int rank = 0, steps = 0, splitSteps = 0;
    bool shared = true;
    Layout layout;
    int numSpans = 0;
    OpenMM::ComputeArray spans;    ///< int4: first sender, number of them, first row, the one behind the last
    OpenMM::ComputeArray messages; ///< real [particle][part][channel]
};

} // namespace OpenMMFlash

#endif
