// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONANI_H_
#define OPENMMFLASH_COMMONANI_H_

#include "CommonDense.h"
#include "CommonPotential.h"
#include "openmm/common/ComputeKernel.h"
#include "openmm/common/ComputeProgram.h"
#include <functional>
#include <memory>
#include <optional>

namespace OpenMMFlash {

/**
 * An ANI model. After the neighbour list three launches: environment vectors (kernels/aevForward.cc), networks of all members forwards
 * and backwards (kernels/atomicNetworks.cc), forces (kernels/aevBackward.cc).
 *
 * The networks number the atoms x by type, so that a tile of them has one network; environment vectors and what belongs to them are
 * in that order, too. Columns of types that no particle has are dropped; other types compile anew.
 */
class CommonAni : public CommonPotential {
public:
    CommonAni(const CommonDevice& device, const ModelSpec& model);
    void setParticles() override;
    void enqueueLists() override;
    void enqueue(bool includeForces, double forceScale) override;
    bool grow() override;
    void downloadEnergies(ForceResults& results) override;
    std::string getReport() override;

private:
    using Defines = std::map<std::string, std::string>;
    /** A program, which is compiled again only when its defines change. */
    struct Program {
        Defines defines;
        OpenMM::ComputeProgram program;
        OpenMM::ComputeKernel createKernel(const CommonDevice& device, const std::string& source, const Defines& newDefines, const std::string& name);
    };

    CommonNeighborList::Options getListOptions();
    void compile(const std::vector<int>& types);
    void arrangeAtoms();
    void chooseRowTiles(int processors, const std::function<int(int)>& countTiles);
    Defines getAevDefines() const;
    void createKernels();

    const CommonDevice& device;
    const ModelSpec& model;
    const int numMembers, realSize;
    /** Of the networks' input in local memory: row tiles x chunks of columns x bytes of a number, 2 KB each; 16, or 8 where there are only 32 KB. */
    const int staged;
    /** What aevForward.cc leaves for aevBackward.cc, with the rows' capacity: see there. */
    OpenMM::ComputeArray records, cutoffs, neighbors;
    CommonNeighborList list;

    std::vector<int> presentTypes;
    std::optional<CompiledAni> compiled; ///< without its layers, which are packed
    std::string report;                  ///< made while they were there
    std::unique_ptr<CommonDense> dense;
    int scratchStride = 0;  ///< reals that the hidden layers of the largest network take for an atom
    std::vector<int> order; ///< [x] our particle p
    int rowTiles = 1, numChunks = 1, numTasks = 0, networkGroups = 0, networkThreads = 0;

    OpenMM::ComputeArray radialConstants, angleConstants, distanceConstants; ///< real4
    OpenMM::ComputeArray networks, hiddenLayers, readouts;                   ///< as in kernels/atomicNetworks.cc
    OpenMM::ComputeArray atoms, typeIndices;                                 ///< int [x]: p; int [p]: which of the present types
    OpenMM::ComputeArray tasks, rowCounts;
    OpenMM::ComputeArray aev, scratch, gradients, energies;
    Program forwardProgram, networkProgram, backwardProgram;
    OpenMM::ComputeKernel forward, evaluateNetworks, backward;
};

} // namespace OpenMMFlash

#endif
