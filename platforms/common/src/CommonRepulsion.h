// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONREPULSION_H_
#define OPENMMFLASH_COMMONREPULSION_H_

#include "CommonPotential.h"
#include <optional>

namespace OpenMMFlash {

/** The pair prior: over all pairs of a group, or over those within a cutoff. */
class CommonRepulsion : public CommonPotential {
public:
    CommonRepulsion(const CommonDevice& device, const ModelSpec& model);
    void setParticles() override;
    void enqueueLists() override;
    void enqueue(bool includeForces, double forceScale) override;
    bool grow() override;
    void downloadEnergies(ForceResults& results) override;

private:
    const CommonDevice& device;
    const Repulsion repulsion;
    const int numTypes;
    std::optional<CommonNeighborList> list; ///< with a cutoff
    CommonExclusions exclusions;            ///< without one
    OpenMM::ComputeArray sigmas, energies;
    OpenMM::ComputeKernel kernel;
    int capacityArgument = 0, forceArgument = 0;
};

} // namespace OpenMMFlash

#endif
