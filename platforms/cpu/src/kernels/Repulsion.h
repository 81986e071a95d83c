// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_REPULSION_H_
#define OPENMMFLASH_REPULSION_H_

#include <cstdint>

namespace OpenMMFlash {

/** What a particle has of the pair prior: half of each of its pairs' energy, and dE/dx. */
struct RepulsionRow {
    double energy;
    double gradient[3];
};

/** A row of a full neighbor list. */
struct RepulsionNeighbors {
    const std::int32_t *senders, *shiftIndices;
    int count;
    const double* positions; ///< [particle][3]
    const double* shifts;    ///< [image][3]
    const std::int32_t* types;
    const double* strengths; ///< [type of the sender]: sigma^exponent for the row's type
    std::int32_t* order;     ///< room for `count` indices and 16 more
};

struct RepulsionKernels {
    /**
     * All pairs of particle `row` among n particles but those with `excluded` ones (ascending).
     *
     * @param positions  [x y z][n], readable up to the next multiple of 8
     * @param strengths  [n]: sigma^exponent of the row with each particle; likewise
     */
    RepulsionRow (*allPairs)(const double* const* positions, int n, int row, const double* strengths, const std::int32_t* excluded, int numExcluded,
                             int exponent);
    /** The neighbors within the cutoff, with the switch. @param coincident  grows by the number of pairs at the same position */
    RepulsionRow (*neighbors)(const RepulsionNeighbors& neighbors, int row, int exponent, double cutoff, long& coincident);
};

} // namespace OpenMMFlash

#endif
