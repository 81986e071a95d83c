// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
//   forward:   m_i += G(r_ij) * y_j,  m_j += G(r_ij) * y_i
//   backward:  dE/dt_ij += sum_c G'_c (q_i y_j + q_j y_i),  dE/dy_i += G * q_j,  dE/dy_j += G * q_i
//
// over the channels of a slice, each unordered pair once. G is evaluated from its table's cubic pieces in registers, in both
// passes: no array of pairs x channels exists. Pairs come sorted by piece, so that a piece is read once for all its pairs and the
// table may have many; what is read and written for each pair are the features of its two particles, which come from the
// nearest caches where a tile has not too many particles. Of a pair and a vector of channels: 5 and 10 multiply-adds, 4 and 6
// loads, 2 stores. (The other order, by rows with a row's features in registers, is bound by reading four coefficients of
// each pair from the second-level cache.)
#include "Message.h"
#include "Simd.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

namespace {

/** The coefficients of a piece, N vectors of channels. */
template <int N> struct Piece {
    Floats c0[N], c1[N], c2[N], c3[N];
};

template <int N> FLASH_INLINE Piece<N> loadPiece(const float* table, int piece) {
    constexpr int S = N * Width;
    const float* c = table + static_cast<std::ptrdiff_t>(piece) * (4 * S);
    Piece<N> p;
#pragma GCC unroll 16
    for (int v = 0; v < N; v++) {
        p.c0[v] = load(c + v * Width);
        p.c1[v] = load(c + S + v * Width);
        p.c2[v] = load(c + 2 * S + v * Width);
        p.c3[v] = load(c + 3 * S + v * Width);
    }
    return p;
}

template <int N, bool WithOwn>
void forward(const MessageRun* runs, int numRuns, const MessagePair* pairs, const MessageSlice& slice, const float* y, float* m) {
    constexpr std::ptrdiff_t S = N * Width;
    for (const MessageRun* run = runs; run < runs + numRuns; run++) {
        const Piece<N> p = loadPiece<N>(slice.table, run->piece);
        for (const MessagePair* pair = pairs + run->begin; pair < pairs + run->end; pair++) {
            const std::ptrdiff_t i = pair->i * S, j = pair->j * S;
            if (!WithOwn && i == j)
                continue;
            const Floats t = broadcast(pair->t);
#pragma GCC unroll 16
            for (int v = 0; v < N; v++) {
                const Floats g = ((p.c3[v] * t + p.c2[v]) * t + p.c1[v]) * t + p.c0[v];
                const Floats yi = load(y + i + v * Width), yj = load(y + j + v * Width);
                // One after the other: they are the same where a particle meets its own image.
                store(m + i + v * Width, load(m + i + v * Width) + g * yj);
                store(m + j + v * Width, load(m + j + v * Width) + g * yi);
            }
        }
    }
}

template <int N, bool WithOwn, bool NeedsInput>
void backward(const MessageRun* runs, int numRuns, const MessagePair* pairs, const MessageSlice& slice, const float* y, const float* q, float* dy,
              float* dEdt) {
    constexpr std::ptrdiff_t S = N * Width;
    for (const MessageRun* run = runs; run < runs + numRuns; run++) {
        const Piece<N> p = loadPiece<N>(slice.table, run->piece);
        for (int k = run->begin; k < run->end; k++) {
            const std::ptrdiff_t i = pairs[k].i * S, j = pairs[k].j * S;
            if (!WithOwn && i == j)
                continue;
            const Floats t = broadcast(pairs[k].t);
            Floats total = {};
#pragma GCC unroll 16
            for (int v = 0; v < N; v++) {
                const Floats b2 = p.c3[v] * t + p.c2[v], b1 = b2 * t + p.c1[v], derivative = (p.c3[v] * t + b2) * t + b1;
                const Floats qi = load(q + i + v * Width), qj = load(q + j + v * Width);
                total += derivative * (qi * load(y + j + v * Width) + load(y + i + v * Width) * qj);
                if (NeedsInput) {
                    const Floats g = b1 * t + p.c0[v];
                    store(dy + i + v * Width, load(dy + i + v * Width) + g * qj);
                    store(dy + j + v * Width, load(dy + j + v * Width) + g * qi);
                }
            }
            dEdt[k] += sum(total);
        }
    }
}

#ifdef __AVX2__
constexpr int MaxWidth = 32; // 64 is as fast, and gives fewer threads something to do
#else
constexpr int MaxWidth = 16;
#endif

template <int Channels, bool WithOwn>
void backwardOf(const MessageRun* runs, int numRuns, const MessagePair* pairs, const MessageSlice& slice, const float* y, const float* q, float* dy,
                float* dEdt) {
    if (dy != nullptr)
        backward<Channels / Width, WithOwn, true>(runs, numRuns, pairs, slice, y, q, dy, dEdt);
    else
        backward<Channels / Width, WithOwn, false>(runs, numRuns, pairs, slice, y, q, dy, dEdt);
}

template <int Channels> struct Kernels {
    static void forward(const MessageRun* runs, int numRuns, const MessagePair* pairs, const MessageSlice& slice, const float* y, float* m) {
        if (slice.width < Channels)
            return Kernels<Channels - 16>::forward(runs, numRuns, pairs, slice, y, m);
        if (slice.withOwn)
            FLASH_ISA::forward<Channels / Width, true>(runs, numRuns, pairs, slice, y, m);
        else
            FLASH_ISA::forward<Channels / Width, false>(runs, numRuns, pairs, slice, y, m);
    }
    static void backward(const MessageRun* runs, int numRuns, const MessagePair* pairs, const MessageSlice& slice, const float* y, const float* q, float* dy,
                         float* dEdt) {
        if (slice.width < Channels)
            return Kernels<Channels - 16>::backward(runs, numRuns, pairs, slice, y, q, dy, dEdt);
        if (slice.withOwn)
            backwardOf<Channels, true>(runs, numRuns, pairs, slice, y, q, dy, dEdt);
        else
            backwardOf<Channels, false>(runs, numRuns, pairs, slice, y, q, dy, dEdt);
    }
};
/** No slice is narrower than 16. */
template <> struct Kernels<0> {
    static void forward(const MessageRun*, int, const MessagePair*, const MessageSlice&, const float*, float*) {
        __builtin_trap();
    }
    static void backward(const MessageRun*, int, const MessagePair*, const MessageSlice&, const float*, const float*, float*, float*) {
        __builtin_trap();
    }
};

} // namespace

extern const MessageKernels messageKernels;
const MessageKernels messageKernels = {MaxWidth, Kernels<MaxWidth>::forward, Kernels<MaxWidth>::backward};

} // namespace FLASH_ISA
} // namespace OpenMMFlash
