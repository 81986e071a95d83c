// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_PAIRGEOMETRY_H_
#define OPENMMFLASH_PAIRGEOMETRY_H_

#include <cstdint>

namespace OpenMMFlash {

/** Slices of channels are dealt to at most so many slots, each of which sums its part of dE/dt. */
constexpr int MaxMessageSlots = 8;

/** Where distances lie on the knots of the radial tables: see RadialGrid. */
struct PairGrid {
    bool logarithmic;
    int pieces;
    double start, scale, first, cutoff;
};

/** Coordinates of a group's particles, and the displacements of periodic images, [x y z]. */
struct PairPositions {
    const double* positions[3];
    const double* shifts[3]; ///< null in an open system
};

/**
 * Pairs that may be within the cutoff, each unordered one once. Two rows, particles A and B = A + 1, stand together: a candidate
 * is an image of a sender with either row or with both.
 */
struct PairCandidates {
    const std::int32_t* senders;
    const std::int32_t* shifts;          ///< index of the image's displacement; null in an open system
    const std::uint8_t *validA, *validB; ///< a bit for each candidate: whether it is a pair with that row
};

/** Candidates of two rows in a tile. `begin` is a multiple of 8, and so is the next one's; what lies between is valid for no row. */
struct CandidateRows {
    int row; ///< A
    int begin, count;
};

/** What was kept of them: entries from `begin` on, first those that are pairs with both rows, then with A only, then with B only. */
struct PairRows {
    int row, begin;
    int both, onlyA, onlyB;
};

/** [entry]; [0]: of the pair with A, or with B if that is the only one; [1]: of the pair with B where there are both. */
struct PairEntries {
    std::int32_t *senders, *shifts;
    std::int32_t* piece[2]; ///< and when the pairs have been sorted: where they stand
    float* t[2];            ///< where in the piece
};

/** Memory of a thread; each array has room for the candidates of any two rows, and 16 more. */
struct GeometryScratch {
    double *a, *b, *c, *d;
    std::int32_t* order[3];
};

struct GeometryCounts {
    long coincident; ///< pairs whose particles are at the same position
    long below;      ///< pairs closer than the tables' first knot
};

struct GeometryKernels {
    /** Distances of the candidates, in double precision: those within the cutoff become entries, in their order. */
    void (*locate)(const CandidateRows* candidateRows, int numRows, const PairCandidates& candidates, const PairPositions& positions, const PairGrid& grid,
                   const GeometryScratch& scratch, const PairEntries& entries, PairRows* rows, GeometryCounts& counts);
    /**
     * gradient += dE/dx from dE/dt of each pair.
     *
     * @param entries  piece[] says where the pairs stand in dEdt
     * @param dEdt     [slot][pair]; the sum over slots counts
     */
    void (*addGradient)(const PairRows* rows, int numRows, const PairEntries& entries, const PairPositions& positions, const PairGrid& grid,
                        const float* const* dEdt, int numSlots, const GeometryScratch& scratch, double* const* gradient);
};

} // namespace OpenMMFlash

#endif
