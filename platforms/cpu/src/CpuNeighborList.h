// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUNEIGHBORLIST_H_
#define OPENMMFLASH_CPUNEIGHBORLIST_H_

#include "CpuThreads.h"
#include "openmmflash/internal/EvaluationError.h"
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
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
        double cutoff = 0;                           ///< 0: all pairs of a group, never built again; open systems only
        double skin = 0;                             ///< of which no more than the cutoff is used
        std::vector<std::pair<int, int>> exclusions; ///< pairs (i, j) left out with all their images
        size_t initialCapacity = 0;                  ///< entries reserved at first; the list grows, nothing is ever left out
    };

    CpuNeighborList(const Options& options, CpuThreads& threads);

    /** Groups of the particles, numbered from 0; the list must be built before it is used. Row i is particle i. */
    void setGroups(const std::vector<int>& groups);

    /**
     * Build the list if it is too old. Runs on the threads.
     *
     * @param positions  [n]
     * @param box        nothing: an open system
     * @return           whether it was built
     * @throws FlashEvaluationError  a coordinate that is not finite, or more than 1e12 box lengths from the box; a box that is
     *                               degenerate or so small that a particle would see over a million images of each other one;
     *                               more entries than an int counts (Full only)
     */
    bool update(const std::vector<Vector3>& positions, const std::optional<Box>& box);

    int getNumRows() const {
        return numParticles;
    }
    /** Entries of row i are getRowStart()[i] to getRowStart()[i + 1] - 1. */
    const std::vector<std::int64_t>& getRowStart() const {
        return rowStart;
    }
    /** [entry] the sender j */
    const std::vector<int>& getSenders() const {
        return senders;
    }
    /** [entry] index into getShifts(): the displacement of the sender's image */
    const std::vector<int>& getShiftIndices() const {
        return shiftIndices;
    }
    /** image * box; the first one is zero. */
    const std::vector<Vector3>& getShifts() const {
        return shifts;
    }
    /** [entry], Full only: the entry of the reverse pair, whose displacement is exactly the opposite. */
    const std::vector<int>& getReverses() const {
        return reverses;
    }
    long getNumBuilds() const {
        return numBuilds;
    }

private:
    /** How many box vectors something is away. */
    using Image = std::array<std::int64_t, 3>;

    /** Slots that the particles of a cell look at, and the near image of the box that they see there. */
    struct Segment {
        int begin, end;
        int image;
        bool ascending; ///< a single cell's slots, whose particles are in ascending order
    };

    /** The different images of the list's pairs, in the order in which they are met. */
    struct ImageTable {
        std::vector<Image> images;
        std::vector<int> buckets; ///< open addressing; -1: free
        void clear();
        int findOrAdd(const Image& image);
        void rehash(size_t numBuckets);
    };

    /** The cells of a group. */
    struct Grid {
        std::array<int, 3> count, range; ///< neighbours lie at most `range` cells away
        Vector3 origin, edge;            ///< open systems; edges of a periodic cell are 1 / count of the box
    };

    bool isUpToDate(const std::vector<Vector3>& positions, const std::optional<Box>& box) const;
    void build();
    void useBox(const Box& box);
    double getFraction(const Vector3& x, int k) const;
    Vector3 getShift(const Image& image) const;
    Grid makeOpenGrid(int group) const;
    std::uint64_t getCellKey(const Grid& grid, int particle) const;
    void makeCells(int group);
    void makeSegments(const Grid& grid, int cell, int firstCell, int endCell, int endSlot);
    bool isExcluded(int i, int j) const;
    template <class Visitor> void visitRow(int i, const Visitor& visit) const;
    void forBlocks(int numBlocks, const std::function<void(int)>& task);
    void findPairs(std::vector<std::int64_t>& start, std::vector<int>& found);
    void findImages(const std::vector<std::int64_t>& start, std::vector<int>& indices);
    void mirror();

    const Options options;
    const double skin;
    CpuThreads& threads;
    int numParticles = 0;
    long numBuilds = 0;
    std::vector<int> groupStart, members;        ///< the particles of a group, ascending, one group after the other
    std::vector<int> exclusionStart, exclusions; ///< [particle]: what it must not see, ascending; only higher indices

    bool built = false;
    std::vector<Vector3> builtPositions;
    std::optional<Box> builtBox;

    // The list.
    std::vector<std::int64_t> rowStart;
    std::vector<int> senders, shiftIndices, reverses;
    std::vector<Vector3> shifts;

    // What is needed while it is built.
    double radius = 0; ///< of the search
    Grid boxGrid;
    Vector3 inverseBox[3];                             ///< rows of the matrix that gives fractional coordinates
    std::array<int, 3> nearImages = {0, 0, 0};         ///< a cell sees images -nearImages to nearImages
    std::vector<Vector3> nearShifts;                   ///< [near image], in lexicographic order
    std::vector<Image> homes;                          ///< [particle] the image of the box that it is in
    std::vector<Vector3> wrapped;                      ///< [particle] the place in the box itself
    std::vector<std::pair<std::uint64_t, int>> sorted; ///< a group's particles by cell
    std::vector<int> slots;                            ///< [slot] particle: by group, by cell, by index
    std::vector<double> slotX, slotY, slotZ;           ///< [slot] wrapped
    std::vector<std::uint64_t> cellKeys;
    std::vector<int> cellStart;             ///< [cell] its first slot
    std::vector<int> cellOf;                ///< [particle]
    std::vector<std::int64_t> segmentStart; ///< [cell]
    std::vector<Segment> segments;
    std::vector<std::uint64_t> keys; ///< pairs (sender, near image) to be sorted
    ImageTable imageTable;
    std::vector<int> imageOrder, imageRank, nearIds;
    // Full: each pair once, before it is mirrored.
    std::vector<std::int64_t> halfStart, cursor;
    std::vector<int> halfSenders, halfShifts, numMirrored;
};

} // namespace OpenMMFlash

#endif
