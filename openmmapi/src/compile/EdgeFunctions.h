// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_EDGEFUNCTIONS_H_
#define OPENMMFLASH_EDGEFUNCTIONS_H_

#include "openmmflash/internal/ModelSpec.h"
#include <vector>

namespace OpenMMFlash {

/** Functions of all channels at some distances. */
struct EdgeSamples {
    std::vector<double> values;      ///< [distance][channels]
    std::vector<double> derivatives; ///< d/dr
};

/**
 * The functions of a SchNet that depend on a pair's distance alone: for each member the filter G of each block, then (with neighbor
 * embedding) (P e + p) envelope. They are numbered through all members.
 */
class EdgeFunctions {
public:
    explicit EdgeFunctions(const SchNetSpec& spec) : spec(spec) {}
    int getNumFunctions() const {
        return static_cast<int>(spec.members.size()) * getNumPerMember();
    }
    /** Functions of each member; the neighbor embedding's is the last. */
    int getNumPerMember() const;
    int getNumChannels(int function) const;
    /** Exact values, many distances at once; at the cutoff, and where a second derivative jumps, the limit from below. */
    EdgeSamples evaluate(int function, const std::vector<double>& distances) const;

private:
    bool isNeighborEmbedding(int function) const;
    const SchNetSpec& spec;
};

} // namespace OpenMMFlash

#endif
