// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUNEIGHBORLIST_H_
#define OPENMMFLASH_CPUNEIGHBORLIST_H_

#include "CpuThreads.h"
#include "openmmflash/internal/EvaluationError.h"
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace OpenMMFlash {

/**
 * Candidate pairs: all that are closer than cutoff + skin when the list is built. It is built again only when a particle has
 * moved more than half the skin or the box has changed, so that until then no pair within the cutoff is missing. Whoever uses
 * it takes those that are within the cutoff now, in the list's order.
 *
 * What a user of the list sees does not depend on its age: particles keep their order, the pairs of a row are sorted by sender
 * and then by image, and a pair's displacement is x_sender + image * box - x_row from the positions as they were given. Pairs
 * beyond the cutoff come and go between others, without changing their order.
 */
class CpuNeighborList {
public:
    /** Half: each unordered pair once, in the row of its lower index (of a particle and its own image: one of the two). */
    enum class Kind { Half, Full };

    struct Options {
        Kind kind = Kind::Full;
        double cutoff = 0;          ///< 0: all pairs of a group, never built again; open systems only
        double skin = 0;
        std::vector<std::pair<int, int>> exclusions; ///< pairs (i, j) left out with all their images
        size_t initialCapacity = 0; ///< entries reserved at first; the list grows, nothing is ever left out
    };

    CpuNeighborList(const Options& options, CpuThreads& threads);

    /** Groups of the particles, numbered from 0; the list must be built before it is used. Row i is particle i. */
    void setGroups(const std::vector<int>& groups);

    /**
     * Build the list if it is too old. Runs on the threads.
     *
     * @param positions  [n], finite
     * @param box        nothing: an open system
     * @return           whether it was built
     * @throws FlashEvaluationError  a coordinate more than 1e12 box lengths from the box; a box that is degenerate or so small
     *                               that a particle would see over a million images of each other one
     */
    bool update(const std::vector<Vector3>& positions, const std::optional<Box>& box);

    int getNumRows() const;
    /** Entries of row i are getRowStart()[i] to getRowStart()[i + 1] - 1. */
    const std::vector<std::int64_t>& getRowStart() const;
    /** [entry] the sender j */
    const std::vector<int>& getSenders() const;
    /** [entry] index into getShifts(): the displacement of the sender's image */
    const std::vector<int>& getShiftIndices() const;
    /** image * box; the first one is zero. */
    const std::vector<Vector3>& getShifts() const;
    /** [entry], Full only: the entry of the reverse pair, whose displacement is exactly the opposite. */
    const std::vector<int>& getReverses() const;
    long getNumBuilds() const;
};

} // namespace OpenMMFlash

#endif
