// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
//   E_i = 1/2 sum_j (sigma_ij / r)^exponent [switch(r)],   dE/dx_i = -sum_j dE_ij/dr d / r,   d = x_j - x_i
//
// In double precision. Each row is summed over all its partners, so that no two rows write to the same place: a pair is
// evaluated twice, in vectors of consecutive particles, which is cheaper than once with scattered sums.
#include "Repulsion.h"
#if defined(__GNUC__) && !defined(__clang__)
// GCC's own AVX-512 gathers and square roots begin from a register that they call undefined.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include "Coincidence.h"
#include "Simd.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

namespace {

/** r^-exponent from r^-2. */
FLASH_INLINE Doubles power(Doubles inverse2, int exponent) {
    Doubles result = broadcast(1.0), square = inverse2;
    for (int k = exponent / 2; k > 0; k >>= 1) {
        if (k & 1)
            result *= square;
        square *= square;
    }
    return exponent % 2 == 0 ? result : result * sqrt(inverse2);
}

struct Sums {
    Doubles energy, x, y, z;
};

FLASH_INLINE RepulsionRow finish(const Sums& sums) {
    return {0.5 * sum(sums.energy), {sum(sums.x), sum(sums.y), sum(sums.z)}};
}

FLASH_INLINE Longs lanes() {
    Longs x;
    for (int k = 0; k < DoubleWidth; k++)
        x[k] = k;
    return x;
}

template <int Exponent>
FLASH_INLINE Sums sumAllPairs(const double* const* positions, int n, int row, const double* strengths, const std::int32_t* excluded, int numExcluded,
                              int exponent) {
    const Longs lane = lanes();
    const double x = positions[0][row], y = positions[1][row], z = positions[2][row];
    const int power2 = Exponent > 0 ? Exponent : exponent;
    Sums sums = {};
    int nextExcluded = 0, left = numExcluded > 0 ? excluded[0] : n;
    for (int j = 0; j < n; j += DoubleWidth) {
        const Doubles dx = loadUnaligned(positions[0] + j) - x, dy = loadUnaligned(positions[1] + j) - y, dz = loadUnaligned(positions[2] + j) - z;
        Doubles r2 = dx * dx + dy * dy + dz * dz, strength = loadUnaligned(strengths + j);
        // The row itself, what it must not see, and what lies behind the last particle.
        const bool self = row >= j && row < j + DoubleWidth;
        if (self || left < j + DoubleWidth || j + DoubleWidth > n) {
            Longs mask = lane < static_cast<std::int64_t>(n - j);
            if (self)
                mask &= lane != static_cast<std::int64_t>(row - j);
            while (left < j + DoubleWidth && left < n) {
                mask &= lane != static_cast<std::int64_t>(left - j);
                left = ++nextExcluded < numExcluded ? excluded[nextExcluded] : n;
            }
            strength = mask ? strength : broadcast(0.0);
            r2 = mask ? r2 : broadcast(1.0);
        }
        const Doubles inverse2 = 1.0 / r2;
        const Doubles energy = strength * power(inverse2, power2), g = energy * inverse2 * power2;
        sums.energy += energy;
        sums.x += g * dx;
        sums.y += g * dy;
        sums.z += g * dz;
    }
    return sums;
}

RepulsionRow allPairs(const double* const* positions, int n, int row, const double* strengths, const std::int32_t* excluded, int numExcluded, int exponent) {
    if (exponent == 6)
        return finish(sumAllPairs<6>(positions, n, row, strengths, excluded, numExcluded, exponent));
    return finish(sumAllPairs<0>(positions, n, row, strengths, excluded, numExcluded, exponent));
}

RepulsionRow neighbors(const RepulsionNeighbors& list, int row, int exponent, double cutoff, long& coincident) {
    const Longs lane = lanes();
    const double cutoff2 = cutoff * cutoff, tiny = CoincidenceFraction * cutoff * CoincidenceFraction * cutoff;
    const double* own = list.positions + 3 * static_cast<std::ptrdiff_t>(row);
    // Only those within the cutoff are added up, side by side: the sums do not depend on what else the list holds.
    int kept = 0;
    for (int k = 0; k < list.count; k++) {
        const double *sender = list.positions + 3 * static_cast<std::ptrdiff_t>(list.senders[k]),
                     *shift = list.shifts + 3 * static_cast<std::ptrdiff_t>(list.shiftIndices[k]);
        const double dx = (sender[0] - own[0]) + shift[0], dy = (sender[1] - own[1]) + shift[1], dz = (sender[2] - own[2]) + shift[2];
        const double r2 = dx * dx + dy * dy + dz * dz;
        list.order[kept] = k;
        kept += r2 < cutoff2 ? 1 : 0;
        coincident += r2 <= tiny ? 1 : 0;
    }
    Sums sums = {};
    for (int k = 0; k < kept; k += DoubleWidth) {
        Doubles dx = {}, dy = {}, dz = {}, strength = {};
        for (int l = 0; l < DoubleWidth && k + l < kept; l++) {
            const int entry = list.order[k + l], sender = list.senders[entry];
            const double *position = list.positions + 3 * static_cast<std::ptrdiff_t>(sender),
                         *shift = list.shifts + 3 * static_cast<std::ptrdiff_t>(list.shiftIndices[entry]);
            dx[l] = (position[0] - own[0]) + shift[0];
            dy[l] = (position[1] - own[1]) + shift[1];
            dz[l] = (position[2] - own[2]) + shift[2];
            strength[l] = list.strengths[list.types[sender]];
        }
        const Longs inside = lane < static_cast<std::int64_t>(kept - k);
        const Doubles r2 = inside ? dx * dx + dy * dy + dz * dz : broadcast(1.0);
        const Doubles inverse2 = 1.0 / r2, r = sqrt(r2);
        Doubles energy = strength * power(inverse2, exponent), g = energy * inverse2 * exponent;
        // 1 - 10 t^3 + 15 t^4 - 6 t^5 from 0.9 cutoff on
        Doubles t = (r - 0.9 * cutoff) * (10 / cutoff);
        t = t > 0.0 ? t : broadcast(0.0);
        const Doubles value = 1.0 + t * t * t * (-10.0 + t * (15.0 - 6.0 * t)), slope = 30.0 * t * t * (1.0 - t) * (1.0 - t) * (10 / cutoff);
        g = g * value + energy * slope / r;
        energy *= value;
        sums.energy += energy;
        sums.x += g * dx;
        sums.y += g * dy;
        sums.z += g * dz;
    }
    return finish(sums);
}

} // namespace

extern const RepulsionKernels repulsionKernels;
const RepulsionKernels repulsionKernels = {allPairs, neighbors};

} // namespace FLASH_ISA
} // namespace OpenMMFlash
