// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
//   d = x_sender + shift - x_row,  r = |d|;  r < cutoff: piece and t of r on the knots;  dE/dx_sender += dE/dt dt/dr d / r
//
// In double precision: in single, ln r alone would be uncertain by 1e-4 of a piece. Knots in ln r need no square root: ln r is
// half of ln r^2, and dt/dr d/r = scale d / r^2. d is not kept for the backward pass but formed again.
#include "PairGeometry.h"
#if defined(__GNUC__) && !defined(__clang__)
// GCC's own AVX-512 gathers and square roots begin from a register that they call undefined.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include "Coincidence.h"
#include "Simd.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

namespace {

/** A bit for each element: whether the mask is set there. */
FLASH_INLINE unsigned getBits(Longs mask) {
#if defined(__AVX512F__)
    return _mm512_movepi64_mask((__m512i)mask);
#elif defined(__AVX2__)
    return static_cast<unsigned>(_mm256_movemask_pd((__m256d)mask));
#elif defined(__x86_64__)
    return static_cast<unsigned>(_mm_movemask_pd((__m128d)mask));
#else
    unsigned bits = 0;
    for (int k = 0; k < DoubleWidth; k++)
        bits |= mask[k] != 0 ? 1u << k : 0u;
    return bits;
#endif
}

/** Append first + k for every bit k that is set; may write a vector beyond. */
FLASH_INLINE int append(std::int32_t* list, int n, int first, unsigned bits) {
#if defined(__AVX512F__)
    const __m256i indices = _mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(list + n), _mm256_maskz_compress_epi32(static_cast<__mmask8>(bits), indices));
    return n + __builtin_popcount(bits);
#else
    for (int k = 0; k < DoubleWidth; k++) {
        list[n] = first + k;
        n += static_cast<int>((bits >> k) & 1);
    }
    return n;
#endif
}

struct Displacement {
    Doubles x, y, z;
};

/** Where the senders are, relative to nothing in particular: the row's position is subtracted first, then the shift is added. */
FLASH_INLINE Displacement findDisplacement(const Displacement& sender, const Displacement& shift, bool periodic, const PairPositions& p, int row) {
    Displacement d = {sender.x - p.positions[0][row], sender.y - p.positions[1][row], sender.z - p.positions[2][row]};
    if (periodic)
        d = {d.x + shift.x, d.y + shift.y, d.z + shift.z};
    return d;
}
FLASH_INLINE Displacement gatherVectors(const double* const* p, const std::int32_t* indices) {
    const HalfInts index = loadHalfWidth(indices);
    return {gather(p[0], index), gather(p[1], index), gather(p[2], index)};
}
FLASH_INLINE Doubles square(const Displacement& d) {
    return d.x * d.x + d.y * d.y + d.z * d.z;
}

/** Piece and t of n squared distances. @return how many lie below the first knot */
FLASH_INLINE int findPieces(const double* r2, int n, const PairGrid& grid, std::int32_t* piece, float* t) {
    int below = 0;
    const double first2 = grid.first * grid.first;
    for (int k = 0; k < n; k += DoubleWidth) {
        const Doubles s = loadUnaligned(r2 + k);
        const Doubles u = grid.logarithmic ? 0.5 * log(s) : sqrt(s);
        Doubles x = (u - grid.start) * grid.scale;
        x = x > 0.0 ? x : broadcast(0.0);
        const double last = grid.pieces - 2;
        x = x < last + 1 ? x : broadcast(last + 1); // what lies behind the last pair may be anything
        HalfInts whole = __builtin_convertvector(x, HalfInts);
        whole = whole < grid.pieces - 2 ? whole : whole * 0 + (grid.pieces - 2);
        Doubles rest = x - __builtin_convertvector(whole, Doubles);
        whole += 1;
        const Longs isBelow = s < first2;
        if (getBits(isBelow) != 0) {
            const Doubles scaled = sqrt(s) / grid.first;
            for (int l = 0; l < DoubleWidth; l++)
                if (isBelow[l] != 0 && k + l < n) {
                    whole[l] = 0;
                    rest[l] = scaled[l];
                    below++;
                }
        }
        storeHalfWidth(piece + k, whole);
        storeHalfWidth(t + k, __builtin_convertvector(rest, HalfFloats));
    }
    return below;
}

void locate(const CandidateRows* candidateRows, int numRows, const PairCandidates& candidates, const PairPositions& positions, const PairGrid& grid,
            const GeometryScratch& scratch, const PairEntries& entries, PairRows* rows, GeometryCounts& counts) {
    const bool periodic = positions.shifts[0] != nullptr;
    const double cutoff2 = grid.cutoff * grid.cutoff, coincident = CoincidenceFraction * grid.cutoff, coincident2 = coincident * coincident;
    constexpr unsigned allBits = (1u << DoubleWidth) - 1;
    for (int index = 0; index < numRows; index++) {
        const CandidateRows& from = candidateRows[index];
        const std::int32_t* senders = candidates.senders + from.begin;
        const std::int32_t* shifts = periodic ? candidates.shifts + from.begin : nullptr;
        int both = 0, onlyA = 0, onlyB = 0;
        for (int k = 0; k < from.count; k += DoubleWidth) {
            const int byte = (from.begin + k) / 8, bit = k % 8;
            const unsigned validA = (candidates.validA[byte] >> bit) & allBits, validB = (candidates.validB[byte] >> bit) & allBits;
            const Displacement sender = gatherVectors(positions.positions, senders + k);
            const Displacement shift = periodic ? gatherVectors(positions.shifts, shifts + k) : sender;
            Doubles a = square(findDisplacement(sender, shift, periodic, positions, from.row));
            // Without a row B, nothing is valid for it; its coordinates are those of a particle that is not there.
            Doubles b = square(findDisplacement(sender, shift, periodic, positions, from.row + 1));
            const Longs apartA = a > coincident2, apartB = b > coincident2;
            const unsigned same = (validA & ~getBits(apartA)) | (validB & ~getBits(apartB));
            if (same != 0)
                counts.coincident += __builtin_popcount(same);
            a = apartA ? a : broadcast(cutoff2);
            b = apartB ? b : broadcast(cutoff2);
            storeUnaligned(scratch.a + k, a);
            storeUnaligned(scratch.b + k, b);
            const unsigned insideA = validA & getBits(a < cutoff2), insideB = validB & getBits(b < cutoff2);
            both = append(scratch.order[0], both, k, insideA & insideB);
            onlyA = append(scratch.order[1], onlyA, k, insideA & ~insideB);
            onlyB = append(scratch.order[2], onlyB, k, insideB & ~insideA);
        }
        rows[index] = {from.row, from.begin, both, onlyA, onlyB};

        // Squared distances of the entries, in their order.
        std::int32_t* toSenders = entries.senders + from.begin;
        double *r2 = scratch.c, *second = scratch.d;
        const int ends[3] = {both, both + onlyA, both + onlyA + onlyB};
        int entry = 0;
        for (int part = 0; part < 3; part++) {
            const double* source = part < 2 ? scratch.a : scratch.b;
            for (const std::int32_t* order = scratch.order[part]; entry < ends[part]; entry++, order++) {
                toSenders[entry] = senders[*order];
                r2[entry] = source[*order];
                if (part == 0)
                    second[entry] = scratch.b[*order];
                if (periodic)
                    entries.shifts[from.begin + entry] = shifts[*order];
            }
        }
        for (int k = 0; k < DoubleWidth; k++)
            r2[entry + k] = second[both + k] = cutoff2;
        counts.below += findPieces(r2, entry, grid, entries.piece[0] + from.begin, entries.t[0] + from.begin);
        counts.below += findPieces(second, both, grid, entries.piece[1] + from.begin, entries.t[1] + from.begin);
    }
}

/** The gradient at the senders of entries begin to end - 1, pairs with one row; the row's is the opposite of `sum`. */
template <bool Add>
FLASH_INLINE void addRow(int begin, int end, int row, const PairEntries& entries, const PairPositions& positions, const PairGrid& grid,
                         const std::int32_t* places, const float* const* dEdt, int numSlots, double* const* senders, Displacement& sum) {
    const bool periodic = positions.shifts[0] != nullptr;
    const double first2 = grid.first * grid.first;
    for (int k = begin; k < end; k += DoubleWidth) {
        const Displacement sender = gatherVectors(positions.positions, entries.senders + k);
        const Displacement shift = periodic ? gatherVectors(positions.shifts, entries.shifts + k) : sender;
        const Displacement d = findDisplacement(sender, shift, periodic, positions, row);
        Doubles g = broadcast(0.0);
        for (int l = 0; l < DoubleWidth && k + l < end; l++) {
            double total = 0;
            for (int slot = 0; slot < numSlots; slot++)
                total += dEdt[slot][places[k + l]];
            g[l] = total;
        }
        Longs lane;
        for (int l = 0; l < DoubleWidth; l++)
            lane[l] = l;
        const Longs inside = lane < static_cast<std::int64_t>(end - k);
        const Doubles r2 = inside ? square(d) : broadcast(1.0);
        Doubles factor = grid.logarithmic ? grid.scale / r2 : grid.scale / sqrt(r2);
        const Longs below = r2 < first2;
        if (getBits(below) != 0)
            factor = below ? 1.0 / (grid.first * sqrt(r2)) : factor;
        g = inside ? g * factor : broadcast(0.0);
        const Displacement part = {g * d.x, g * d.y, g * d.z};
        // A tail that is not inside adds nothing, or overwrites what is written again later.
        storeUnaligned(senders[0] + k, Add ? loadUnaligned(senders[0] + k) + part.x : part.x);
        storeUnaligned(senders[1] + k, Add ? loadUnaligned(senders[1] + k) + part.y : part.y);
        storeUnaligned(senders[2] + k, Add ? loadUnaligned(senders[2] + k) + part.z : part.z);
        sum = {sum.x + part.x, sum.y + part.y, sum.z + part.z};
    }
}

void addGradient(const PairRows* rows, int numRows, const PairEntries& entries, const PairPositions& positions, const PairGrid& grid, const float* const* dEdt,
                 int numSlots, const GeometryScratch& scratch, double* const* gradient) {
    for (int index = 0; index < numRows; index++) {
        const PairRows& r = rows[index];
        const int endA = r.both + r.onlyA, end = endA + r.onlyB;
        if (end == 0)
            continue;
        const PairEntries here = {entries.senders + r.begin, entries.shifts + r.begin, {entries.piece[0] + r.begin, entries.piece[1] + r.begin}, {}};
        double* const senders[3] = {scratch.a, scratch.b, scratch.c};
        Displacement sumA = {}, sumB = {};
        addRow<false>(0, endA, r.row, here, positions, grid, here.piece[0], dEdt, numSlots, senders, sumA);
        addRow<false>(endA, end, r.row + 1, here, positions, grid, here.piece[0], dEdt, numSlots, senders, sumB);
        addRow<true>(0, r.both, r.row + 1, here, positions, grid, here.piece[1], dEdt, numSlots, senders, sumB);
        for (int k = 0; k < end; k++) {
            const int sender = here.senders[k];
            gradient[0][sender] += senders[0][k];
            gradient[1][sender] += senders[1][k];
            gradient[2][sender] += senders[2][k];
        }
        const Displacement* sums[2] = {&sumA, &sumB};
        for (int l = 0; l < 2; l++) {
            gradient[0][r.row + l] -= sum(sums[l]->x);
            gradient[1][r.row + l] -= sum(sums[l]->y);
            gradient[2][r.row + l] -= sum(sums[l]->z);
        }
    }
}

} // namespace

extern const GeometryKernels geometryKernels;
const GeometryKernels geometryKernels = {locate, addGradient};

} // namespace FLASH_ISA
} // namespace OpenMMFlash
