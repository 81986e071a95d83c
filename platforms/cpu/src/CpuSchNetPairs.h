// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUSCHNETPAIRS_H_
#define OPENMMFLASH_CPUSCHNETPAIRS_H_

#include "CpuNeighborList.h"
#include "kernels/Message.h"
#include <cstdint>
#include <vector>

namespace OpenMMFlash {

/**
 * The candidate pairs of one group, in tiles: a tile holds the pairs between two blocks of consecutive particles, or within one.
 * Tiles of a round touch different blocks, so that threads may work on them at the same time, and a block meets the others in
 * the order of the rounds: its sums are formed in the same order whatever the number of threads, the list's age, and the tiles
 * that hold no pair.
 */
class CpuSchNetPairs {
public:
    /** The candidates of the rows from `firstRows` on. Among all pairs of the group, there is room for its own from `firstPair` on. */
    struct Tile {
        int firstBlock, secondBlock;
        int firstRows, numRows;
        int firstPair, numPairs;
    };

    /** @param size  particles of the group: they alone fix the size of blocks */
    void setSize(int size);
    /**
     * Sort the candidates of a half list into tiles.
     *
     * @throws FlashEvaluationError  there are more pairs than an int can number
     * @param particles   [size] the group's particles in the list, ascending
     * @param indices     [particle of the list] its index in its group
     */
    void build(const CpuNeighborList& list, const int* particles, const std::vector<int>& indices);

    /** In the order of rounds. */
    const std::vector<Tile>& getTiles() const {
        return tiles;
    }
    int getNumRounds() const {
        return numBlocks;
    }
    /** Tiles of a round are getRoundStart()[round] to getRoundStart()[round + 1] - 1. */
    const std::vector<int>& getRoundStart() const {
        return roundStart;
    }
    const std::vector<CandidateRows>& getRows() const {
        return rows;
    }
    PairCandidates getCandidates() const {
        return {senders.data(), shifts.data(), validA.data(), validB.data()};
    }
    /** Candidates with those that only fill up a row; entries need as much room. */
    size_t getNumCandidates() const {
        return senders.size();
    }
    /** Pairs, if all candidates are within the cutoff. */
    size_t getNumPairs() const {
        return numPairs;
    }
    /** The largest number of candidates of two rows in a tile. */
    int getMaxCount() const {
        return maxCount;
    }

    /**
     * Sort the pairs of a tile's entries by piece, and within a piece in the entries' order. The entries' pieces become the
     * pairs' places.
     *
     * @param counts  [pieces + 1], anything
     * @return        the number of runs, which stand from runs[tile.firstPair] on
     */
    static int sortByPiece(const Tile& tile, const PairRows* rows, const PairEntries& entries, int pieces, int* counts, MessagePair* pairs, MessageRun* runs);

private:
    struct Candidate {
        int sender, shift;
        unsigned char rows; ///< 1: A, 2: B
    };
    /** Where two rows' candidates stand in `found`, and how many of them tiles already have. */
    struct Source {
        int row;
        size_t next, end;
    };

    void collect(const CpuNeighborList& list, const int* particles, const std::vector<int>& indices, int row);
    void checkRoom(size_t count, int pairsOfTile) const;
    void addTile(int firstBlock, int secondBlock);

    int size = 0, blockSize = 2, numBlocks = 0, maxCount = 0, numPairs = 0;
    std::vector<Tile> tiles;
    std::vector<int> roundStart;
    std::vector<CandidateRows> rows;
    std::vector<std::int32_t> senders, shifts;
    std::vector<std::uint8_t> validA, validB;
    // While it is built.
    std::vector<Candidate> found;
    std::vector<Source> sources;
    std::vector<Tile> unordered;
    std::vector<std::pair<int, unsigned char>> images;
};

} // namespace OpenMMFlash

#endif
