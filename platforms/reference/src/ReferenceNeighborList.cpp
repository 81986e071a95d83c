// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "ReferenceEvaluator.h"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <unordered_map>

namespace OpenMMFlash {

namespace {

/** Particles closer than this fraction of the cutoff have no direction that means anything: they are at the same position. */
constexpr double CoincidenceFraction = 1e-9;
/** Cells are made for a cutoff larger by this, so that rounding at a cell's border cannot lose a pair. */
constexpr double Margin = 1 + 1e-9;
/** Cells per direction at most, so that three indices fit into a 64-bit key whatever the extent of the system. */
constexpr double MaxCells = 1 << 20;
/** Cells that one particle looks at, at most (own box and images). */
constexpr double MaxVisitedCells = 1e6;
constexpr double MaxCoordinate = 1e100;
/** Farther from a periodic box than this many box lengths, a double does not say where in the box a particle is. */
constexpr double MaxBoxLengths = 1e12;

/** One direction of the cell grid. */
struct Direction {
    int cells;
    int range; ///< neighbours lie at most this many cells away
};

/** The grid: maps a particle to its cell, and a cell's key to the particles in it. */
class CellGrid {
public:
    CellGrid(const std::vector<Vector3>& positions, double cutoff, const std::optional<Box>& box) : periodic(box.has_value()) {
        if (periodic)
            useBox(*box, cutoff);
        else
            useBounds(positions, cutoff);
        wrapped.reserve(positions.size());
        cells.reserve(positions.size());
        for (size_t i = 0; i < positions.size(); i++) {
            if (periodic)
                for (int k = 0; k < 3; k++)
                    if (std::fabs(positions[i][k]) > MaxBoxLengths * vectors[k][k])
                        throw FlashEvaluationError("a coordinate is more than 1e12 box lengths away from the periodic box", {static_cast<int>(i)},
                                                   {positions[i]});
            wrapped.push_back(positions[i]);
            Vector3 fraction = periodic ? wrap(wrapped.back()) : getFraction(positions[i]);
            std::array<int, 3> cell;
            for (int k = 0; k < 3; k++)
                cell[k] = std::clamp(static_cast<int>(std::floor(fraction[k] * direction[k].cells)), 0, direction[k].cells - 1);
            cells.push_back(cell);
            members[getKey(cell)].push_back(static_cast<int>(i));
        }
    }

    /** Call visit(j, shift) for every particle j, and its displacement by box vectors, in the cells around particle i's. */
    template <class Visitor> void visitNeighbors(int i, const Visitor& visit) const {
        std::array<int, 3> offset, cell, image;
        for (offset[0] = -direction[0].range; offset[0] <= direction[0].range; offset[0]++) {
            if (!locate(i, 0, offset, cell, image))
                continue;
            for (offset[1] = -direction[1].range; offset[1] <= direction[1].range; offset[1]++) {
                if (!locate(i, 1, offset, cell, image))
                    continue;
                for (offset[2] = -direction[2].range; offset[2] <= direction[2].range; offset[2]++) {
                    if (!locate(i, 2, offset, cell, image))
                        continue;
                    auto found = members.find(getKey(cell));
                    if (found == members.end())
                        continue;
                    Vector3 shift = {0, 0, 0};
                    for (int k = 0; k < 3; k++)
                        for (int l = 0; l < 3; l++)
                            shift[l] += image[k] * vectors[k][l];
                    for (int j : found->second)
                        visit(j, shift);
                }
            }
        }
    }

    /** Positions moved into the box; in an open system, positions as they are. */
    std::vector<Vector3> wrapped;

private:
    void useBox(const Box& box, double cutoff) {
        vectors = box;
        for (const Vector3& vector : box)
            for (double x : vector)
                if (!std::isfinite(x))
                    throw FlashEvaluationError("a periodic box vector is not finite", {}, {});
        const Vector3 &a = box[0], &b = box[1], &c = box[2];
        if (!(a[0] > 0 && b[1] > 0 && c[2] > 0) || a[1] != 0 || a[2] != 0 || b[2] != 0)
            throw FlashEvaluationError("the periodic box vectors are not in OpenMM's reduced form: a along x, b in the xy plane, positive diagonal", {}, {});
        // Distance between opposite faces: the box volume over the area of the face.
        double volume = a[0] * b[1] * c[2];
        double xy = b[0], xz = c[0], yz = c[1];
        Vector3 height = {volume / std::sqrt(b[1] * b[1] * c[2] * c[2] + xy * xy * c[2] * c[2] + (xy * yz - b[1] * xz) * (xy * yz - b[1] * xz)),
                          volume / (a[0] * std::sqrt(c[2] * c[2] + yz * yz)), c[2]};
        double visited = 1;
        for (int k = 0; k < 3; k++) {
            double count = std::clamp(std::floor(height[k] / (Margin * cutoff)), 1.0, MaxCells);
            double range = std::ceil(Margin * cutoff / (height[k] / count));
            visited *= 2 * range + 1;
            if (!(visited <= MaxVisitedCells)) {
                std::ostringstream message;
                message << "the periodic box is too small for the model's cutoff: the distances between its faces are " << height[0] << ", " << height[1]
                        << ", " << height[2] << " and the cutoff is " << cutoff << " in the model's length unit; use a larger box";
                throw FlashEvaluationError(message.str(), {}, {});
            }
            direction[k] = {static_cast<int>(count), static_cast<int>(range)};
        }
    }

    void useBounds(const std::vector<Vector3>& positions, double cutoff) {
        for (int k = 0; k < 3; k++) {
            double lower = 0, upper = 0;
            if (!positions.empty()) {
                lower = upper = positions[0][k];
                for (const Vector3& x : positions) {
                    lower = std::min(lower, x[k]);
                    upper = std::max(upper, x[k]);
                }
            }
            origin[k] = lower;
            double count = std::clamp(std::floor((upper - lower) / (Margin * cutoff)), 1.0, MaxCells);
            extent[k] = std::max(upper - lower, count * Margin * cutoff);
            direction[k] = {static_cast<int>(count), 1};
        }
    }

    /** Move a position into the box; returns its fractional coordinates there. fma: the multiple of a box vector is not rounded before it is subtracted. */
    Vector3 wrap(Vector3& x) const {
        Vector3 fraction;
        for (int k = 2; k >= 0; k--) {
            // Twice, because the first quotient of a particle very many boxes away is rounded.
            for (int pass = 0; pass < 2; pass++) {
                double image = std::floor(x[k] / vectors[k][k]);
                if (image != 0)
                    for (int l = 0; l <= k; l++)
                        x[l] = std::fma(-image, vectors[k][l], x[l]);
            }
        }
        double sz = x[2] / vectors[2][2];
        double sy = (x[1] - sz * vectors[2][1]) / vectors[1][1];
        double sx = (x[0] - sy * vectors[1][0] - sz * vectors[2][0]) / vectors[0][0];
        fraction = {sx, sy, sz};
        // The loop above puts x, not the fractional coordinates, into [0, a_x) x [0, b_y) x [0, c_z): in a triclinic box the cells are slanted.
        for (int k = 0; k < 3; k++) {
            double image = std::floor(fraction[k]);
            if (image != 0) {
                fraction[k] -= image;
                for (int l = 0; l <= k; l++)
                    x[l] = std::fma(-image, vectors[k][l], x[l]);
            }
        }
        return fraction;
    }

    Vector3 getFraction(const Vector3& x) const {
        return {(x[0] - origin[0]) / extent[0], (x[1] - origin[1]) / extent[1], (x[2] - origin[2]) / extent[2]};
    }

    /** The cell at an offset from particle i's, in direction k: cell index inside the box and image. False where an open system has no such cell. */
    bool locate(int i, int k, const std::array<int, 3>& offset, std::array<int, 3>& cell, std::array<int, 3>& image) const {
        int c = cells[i][k] + offset[k], count = direction[k].cells;
        image[k] = periodic ? (c >= 0 ? c / count : -((-c + count - 1) / count)) : 0;
        cell[k] = c - image[k] * count;
        return cell[k] >= 0 && cell[k] < count;
    }

    static std::uint64_t getKey(const std::array<int, 3>& cell) {
        return (static_cast<std::uint64_t>(cell[0]) << 42) | (static_cast<std::uint64_t>(cell[1]) << 21) | static_cast<std::uint64_t>(cell[2]);
    }

    bool periodic;
    Box vectors = {};
    Vector3 origin = {}, extent = {};
    std::array<Direction, 3> direction;
    std::vector<std::array<int, 3>> cells;
    std::unordered_map<std::uint64_t, std::vector<int>> members;
};

} // namespace

std::vector<ReferencePair> findReferencePairs(const std::vector<Vector3>& positions, double cutoff, const std::optional<Box>& box) {
    for (size_t i = 0; i < positions.size(); i++)
        for (double x : positions[i])
            if (!(std::fabs(x) <= MaxCoordinate))
                throw FlashEvaluationError("a coordinate is not finite", {static_cast<int>(i)}, {positions[i]});
    CellGrid grid(positions, cutoff, box);
    std::vector<ReferencePair> pairs;
    const int n = static_cast<int>(positions.size());
    for (int i = 0; i < n; i++)
        grid.visitNeighbors(i, [&](int j, const Vector3& shift) {
            if (j == i && shift[0] == 0 && shift[1] == 0 && shift[2] == 0)
                return;
            // The difference first, then the box vectors: the reverse pair has exactly the opposite d.
            const Vector3 &xi = grid.wrapped[i], &xj = grid.wrapped[j];
            Vector3 d = {xj[0] - xi[0] + shift[0], xj[1] - xi[1] + shift[1], xj[2] - xi[2] + shift[2]};
            double r = std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
            if (!(r < cutoff))
                return;
            if (r <= CoincidenceFraction * cutoff)
                throw FlashEvaluationError(box ? "two particles (or their periodic images) are at the same position" : "two particles are at the same position",
                                           {i, j}, {positions[i], positions[j]});
            pairs.push_back({i, j, r, d});
        });
    return pairs;
}

std::vector<ReferencePair> takeUnorderedPairs(const std::vector<ReferencePair>& directed) {
    std::vector<ReferencePair> pairs;
    pairs.reserve(directed.size() / 2);
    const Vector3 zero = {0, 0, 0};
    for (const ReferencePair& pair : directed)
        // A particle and its own image: the pair and its reverse differ in the sign of d only.
        if (pair.receiver < pair.sender || (pair.receiver == pair.sender && pair.d > zero))
            pairs.push_back(pair);
    return pairs;
}

} // namespace OpenMMFlash
