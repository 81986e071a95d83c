// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
//   forward:   m_i += G(r_ij) * y_j,  m_j += G(r_ij) * y_i
//   backward:  dE/dt_ij += sum_c G'_c (q_i y_j + q_j y_i),  dE/dy_i += G * q_j,  dE/dy_j += G * q_i
//
// over the channels of a slice, each unordered pair once. G is evaluated from its table's cubic pieces in registers, in both
// passes: no array of pairs x channels exists. Two rows A and B stay in registers while the senders that they share are read,
// and written, once. A row's own sums are added at the end, because a sender may be one of the rows. Of a pair and 16 channels
// the passes take 5 and 10 multiply-adds and four cache lines of the table, which come from the second-level cache and bind
// where that gives half a line a cycle.
#include "Message.h"
#include "Simd.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

namespace {

/** Vectors of a slice: N of them. */
template <int N> struct Slice {
    static constexpr int S = N * Width;
    static constexpr std::ptrdiff_t Piece = 4 * S;
};

template <int N> FLASH_INLINE Floats evaluate(const float* c, int v, Floats t) {
    constexpr int S = Slice<N>::S;
    Floats g = load(c + 3 * S + v * Width);
    g = g * t + load(c + 2 * S + v * Width);
    g = g * t + load(c + S + v * Width);
    return g * t + load(c + v * Width);
}

/** The value, and the derivative by t. */
template <int N> FLASH_INLINE Floats evaluate(const float* c, int v, Floats t, Floats& derivative) {
    constexpr int S = Slice<N>::S;
    const Floats c3 = load(c + 3 * S + v * Width);
    const Floats b2 = c3 * t + load(c + 2 * S + v * Width);
    const Floats b1 = b2 * t + load(c + S + v * Width);
    derivative = (c3 * t + b2) * t + b1;
    return b1 * t + load(c + v * Width);
}

/** Entries that are pairs with one row. */
template <int N>
FLASH_INLINE void forwardOne(int begin, int end, const PairEntries& entries, const float* table, const float* y, float* m, const Floats* yRow, Floats* sum) {
    for (int e = begin; e < end; e++) {
        const std::ptrdiff_t sender = static_cast<std::ptrdiff_t>(entries.senders[e]) * Slice<N>::S;
        const float* c = table + entries.piece[0][e] * Slice<N>::Piece;
        const Floats t = broadcast(entries.t[0][e]);
#pragma GCC unroll 16
        for (int v = 0; v < N; v++) {
            const Floats g = evaluate<N>(c, v, t);
            sum[v] += g * load(y + sender + v * Width);
            store(m + sender + v * Width, load(m + sender + v * Width) + g * yRow[v]);
        }
    }
}

template <int N> void forward(const PairRows* rows, int numRows, const PairEntries& entries, const MessageSlice& slice, const float* y, float* m) {
    constexpr int S = Slice<N>::S;
    const float* const table = slice.table;
    for (int index = 0; index < numRows; index++) {
        const PairRows& r = rows[index];
        const int endBoth = r.begin + r.both, endA = endBoth + r.onlyA, endB = endA + r.onlyB;
        if (endB == r.begin)
            continue;
        const std::ptrdiff_t rowA = static_cast<std::ptrdiff_t>(r.row) * S, rowB = rowA + S;
        Floats yA[N], yB[N], sumA[N], sumB[N];
#pragma GCC unroll 16
        for (int v = 0; v < N; v++) {
            yA[v] = load(y + rowA + v * Width);
            yB[v] = load(y + rowB + v * Width);
            sumA[v] = sumB[v] = Floats{};
        }
        for (int e = r.begin; e < endBoth; e++) {
            const std::ptrdiff_t sender = static_cast<std::ptrdiff_t>(entries.senders[e]) * S;
            const float* const cA = table + entries.piece[0][e] * Slice<N>::Piece;
            const float* const cB = table + entries.piece[1][e] * Slice<N>::Piece;
            const Floats tA = broadcast(entries.t[0][e]), tB = broadcast(entries.t[1][e]);
#pragma GCC unroll 16
            for (int v = 0; v < N; v++) {
                const Floats gA = evaluate<N>(cA, v, tA), gB = evaluate<N>(cB, v, tB);
                const Floats yj = load(y + sender + v * Width);
                sumA[v] += gA * yj;
                sumB[v] += gB * yj;
                store(m + sender + v * Width, (load(m + sender + v * Width) + gA * yA[v]) + gB * yB[v]);
            }
        }
        forwardOne<N>(endBoth, endA - (slice.withOwn ? 0 : r.ownA), entries, table, y, m, yA, sumA);
        forwardOne<N>(endA, endB - (slice.withOwn ? 0 : r.ownB), entries, table, y, m, yB, sumB);
#pragma GCC unroll 16
        for (int v = 0; v < N; v++) {
            store(m + rowA + v * Width, load(m + rowA + v * Width) + sumA[v]);
            store(m + rowB + v * Width, load(m + rowB + v * Width) + sumB[v]);
        }
    }
}

template <int N, bool NeedsInput>
FLASH_INLINE void backwardOne(int begin, int end, const PairEntries& entries, const float* table, const float* y, const float* q, float* dy, float* dEdt,
                              const Floats* yRow, const Floats* qRow, Floats* sum) {
    for (int e = begin; e < end; e++) {
        const std::ptrdiff_t sender = static_cast<std::ptrdiff_t>(entries.senders[e]) * Slice<N>::S;
        const float* c = table + entries.piece[0][e] * Slice<N>::Piece;
        const Floats t = broadcast(entries.t[0][e]);
        Floats total = {};
#pragma GCC unroll 16
        for (int v = 0; v < N; v++) {
            Floats derivative;
            const Floats g = evaluate<N>(c, v, t, derivative);
            const Floats qj = load(q + sender + v * Width);
            total += derivative * (qRow[v] * load(y + sender + v * Width) + yRow[v] * qj);
            if (NeedsInput) {
                sum[v] += g * qj;
                store(dy + sender + v * Width, load(dy + sender + v * Width) + g * qRow[v]);
            }
        }
        dEdt[e] += OpenMMFlash::FLASH_ISA::sum(total);
    }
}

template <int N, bool NeedsInput>
void backward(const PairRows* rows, int numRows, const PairEntries& entries, const MessageSlice& slice, const float* y, const float* q, float* dy,
              float* const* dEdt) {
    constexpr int S = Slice<N>::S;
    const float* const table = slice.table;
    for (int index = 0; index < numRows; index++) {
        const PairRows& r = rows[index];
        const int endBoth = r.begin + r.both, endA = endBoth + r.onlyA, endB = endA + r.onlyB;
        if (endB == r.begin)
            continue;
        const std::ptrdiff_t rowA = static_cast<std::ptrdiff_t>(r.row) * S, rowB = rowA + S;
        Floats yA[N], yB[N], qA[N], qB[N], sumA[N], sumB[N];
#pragma GCC unroll 16
        for (int v = 0; v < N; v++) {
            yA[v] = load(y + rowA + v * Width);
            yB[v] = load(y + rowB + v * Width);
            qA[v] = load(q + rowA + v * Width);
            qB[v] = load(q + rowB + v * Width);
            sumA[v] = sumB[v] = Floats{};
        }
        for (int e = r.begin; e < endBoth; e++) {
            const std::ptrdiff_t sender = static_cast<std::ptrdiff_t>(entries.senders[e]) * S;
            const float* const cA = table + entries.piece[0][e] * Slice<N>::Piece;
            const float* const cB = table + entries.piece[1][e] * Slice<N>::Piece;
            const Floats tA = broadcast(entries.t[0][e]), tB = broadcast(entries.t[1][e]);
            Floats totalA = {}, totalB = {};
#pragma GCC unroll 16
            for (int v = 0; v < N; v++) {
                Floats derivativeA, derivativeB;
                const Floats gA = evaluate<N>(cA, v, tA, derivativeA), gB = evaluate<N>(cB, v, tB, derivativeB);
                const Floats yj = load(y + sender + v * Width), qj = load(q + sender + v * Width);
                totalA += derivativeA * (qA[v] * yj + yA[v] * qj);
                totalB += derivativeB * (qB[v] * yj + yB[v] * qj);
                if (NeedsInput) {
                    sumA[v] += gA * qj;
                    sumB[v] += gB * qj;
                    store(dy + sender + v * Width, (load(dy + sender + v * Width) + gA * qA[v]) + gB * qB[v]);
                }
            }
            dEdt[0][e] += sum(totalA);
            dEdt[1][e] += sum(totalB);
        }
        backwardOne<N, NeedsInput>(endBoth, endA - (slice.withOwn ? 0 : r.ownA), entries, table, y, q, dy, dEdt[0], yA, qA, sumA);
        backwardOne<N, NeedsInput>(endA, endB - (slice.withOwn ? 0 : r.ownB), entries, table, y, q, dy, dEdt[0], yB, qB, sumB);
        if (NeedsInput) {
#pragma GCC unroll 16
            for (int v = 0; v < N; v++) {
                store(dy + rowA + v * Width, load(dy + rowA + v * Width) + sumA[v]);
                store(dy + rowB + v * Width, load(dy + rowB + v * Width) + sumB[v]);
            }
        }
    }
}

/** Slices of 16, 32... channels up to maxWidth. */
#if defined(__AVX512F__)
constexpr int MaxWidth = 64;
#else
constexpr int MaxWidth = 16;
#endif

void forwardAny(const PairRows* rows, int numRows, const PairEntries& entries, const MessageSlice& slice, const float* y, float* m) {
    constexpr int N = 16 / Width;
    switch (slice.width) {
    case 16:
        return forward<N>(rows, numRows, entries, slice, y, m);
#if defined(__AVX512F__)
    case 32:
        return forward<2 * N>(rows, numRows, entries, slice, y, m);
    case 48:
        return forward<3 * N>(rows, numRows, entries, slice, y, m);
    case 64:
        return forward<4 * N>(rows, numRows, entries, slice, y, m);
#endif
    default:
        __builtin_trap();
    }
}

template <bool NeedsInput>
void backwardAny(const PairRows* rows, int numRows, const PairEntries& entries, const MessageSlice& slice, const float* y, const float* q, float* dy,
                 float* const* dEdt) {
    constexpr int N = 16 / Width;
    switch (slice.width) {
    case 16:
        return backward<N, NeedsInput>(rows, numRows, entries, slice, y, q, dy, dEdt);
#if defined(__AVX512F__)
    case 32:
        return backward<2 * N, NeedsInput>(rows, numRows, entries, slice, y, q, dy, dEdt);
    case 48:
        return backward<3 * N, NeedsInput>(rows, numRows, entries, slice, y, q, dy, dEdt);
    case 64:
        return backward<4 * N, NeedsInput>(rows, numRows, entries, slice, y, q, dy, dEdt);
#endif
    default:
        __builtin_trap();
    }
}

void backwardWithOrWithout(const PairRows* rows, int numRows, const PairEntries& entries, const MessageSlice& slice, const float* y, const float* q, float* dy,
                           float* const* dEdt) {
    if (dy != nullptr)
        backwardAny<true>(rows, numRows, entries, slice, y, q, dy, dEdt);
    else
        backwardAny<false>(rows, numRows, entries, slice, y, q, dy, dEdt);
}

} // namespace

extern const MessageKernels messageKernels;
const MessageKernels messageKernels = {MaxWidth, forwardAny, backwardWithOrWithout};

} // namespace FLASH_ISA
} // namespace OpenMMFlash
