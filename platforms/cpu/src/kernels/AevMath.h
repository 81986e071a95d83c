// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// What the AEV kernels need beyond Simd.h. In a vector whose lanes are (triple, term), P terms of a triple lie side by side:
// P = 4, 8 or Width, and what has more terms takes several vectors of Width.
#ifndef OPENMMFLASH_AEVMATH_H_
#define OPENMMFLASH_AEVMATH_H_

#include "Simd.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

typedef float QuadFloats __attribute__((vector_size(16), may_alias, aligned(4)));

/** 2^x for x <= 0, and 2^-126 below that. Relative error 8e-8. */
FLASH_INLINE Floats exp2Decay(Floats x) {
    x = max(x, broadcast(-126.0f));
    // The sum's last bits are the nearest integer, and what is behind the point is lost: 1.5 * 2^23.
    const Floats shifted = x + 12582912.0f;
    const Floats f = x - (shifted - 12582912.0f);
    Floats p = broadcast(1.53533413e-4f);
    p = p * f + 1.33989004e-3f;
    p = p * f + 9.61843761e-3f;
    p = p * f + 5.55033241e-2f;
    p = p * f + 2.40226479e-1f;
    p = p * f + 6.93147203e-1f;
    p = p * f + 1.0f;
    return (Floats)((Ints)p + ((Ints)shifted << 23));
}

/** log2 x for positive normal x, error 1e-7 of max(|log2 x|, |x - 1|). */
FLASH_INLINE Floats log2(Floats x) {
    const Ints bits = (Ints)x;
    // x = 2^e m with m in [sqrt(1/2), sqrt(2))
    const Ints e = (bits - 0x3f3504f3) >> 23;
    const Floats f = (Floats)(bits - (e << 23)) - 1.0f;
    Floats p = broadcast(1.25412479e-1f);
    p = p * f - 2.10303411e-1f;
    p = p * f + 2.17379406e-1f;
    p = p * f - 2.38519430e-1f;
    p = p * f + 2.87656665e-1f;
    p = p * f - 3.60721201e-1f;
    p = p * f + 4.80922520e-1f;
    p = p * f - 7.21347153e-1f;
    p = p * f + 1.44269490f;
    return p * f + __builtin_convertvector(e, Floats);
}

/** Lane l is p[l / P]. */
template <int P> FLASH_INLINE Floats repeatEach(const float* p) {
#if defined(__AVX512F__)
    const QuadFloats q = *reinterpret_cast<const QuadFloats*>(p);
    if constexpr (P == 4)
        return __builtin_shufflevector(q, q, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    if constexpr (P == 8)
        return __builtin_shufflevector(q, q, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
#elif defined(__AVX2__)
    const QuadFloats q = *reinterpret_cast<const QuadFloats*>(p);
    if constexpr (P == 4)
        return __builtin_shufflevector(q, q, 0, 0, 0, 0, 1, 1, 1, 1);
#endif
    return broadcast(*p);
}

/** Lane l is p[l % P]. */
template <int P> FLASH_INLINE Floats repeatAll(const float* p) {
#if defined(__AVX512F__)
    if constexpr (P == 4) {
        const QuadFloats q = *reinterpret_cast<const QuadFloats*>(p);
        return __builtin_shufflevector(q, q, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
    }
    if constexpr (P == 8) {
        const UnalignedHalfFloats h = *reinterpret_cast<const UnalignedHalfFloats*>(p);
        return __builtin_shufflevector(h, h, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    }
#elif defined(__AVX2__)
    if constexpr (P == 4) {
        const QuadFloats q = *reinterpret_cast<const QuadFloats*>(p);
        return __builtin_shufflevector(q, q, 0, 1, 2, 3, 0, 1, 2, 3);
    }
#endif
    return loadUnaligned(p);
}

/** Lane l is the sum of all lanes of x[l]; x is used up. */
FLASH_INLINE Floats sumEach(Floats* x) {
#if defined(__AVX512F__)
    for (int i = 0; i < 8; i++)
        x[i] = __builtin_shufflevector(x[i], x[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
               __builtin_shufflevector(x[i], x[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    for (int i = 0; i < 4; i++)
        x[i] = __builtin_shufflevector(x[i], x[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
               __builtin_shufflevector(x[i], x[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    for (int i = 0; i < 2; i++)
        x[i] = __builtin_shufflevector(x[i], x[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
               __builtin_shufflevector(x[i], x[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    return __builtin_shufflevector(x[0], x[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           __builtin_shufflevector(x[0], x[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
#elif defined(__AVX2__)
    for (int i = 0; i < 4; i++)
        x[i] = __builtin_shufflevector(x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11) + __builtin_shufflevector(x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    for (int i = 0; i < 2; i++)
        x[i] = __builtin_shufflevector(x[i], x[i + 2], 0, 1, 8, 9, 4, 5, 12, 13) + __builtin_shufflevector(x[i], x[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    return __builtin_shufflevector(x[0], x[1], 0, 8, 2, 10, 4, 12, 6, 14) + __builtin_shufflevector(x[0], x[1], 1, 9, 3, 11, 5, 13, 7, 15);
#else
    for (int i = 0; i < 2; i++)
        x[i] = __builtin_shufflevector(x[i], x[i + 2], 0, 1, 4, 5) + __builtin_shufflevector(x[i], x[i + 2], 2, 3, 6, 7);
    return __builtin_shufflevector(x[0], x[1], 0, 4, 2, 6) + __builtin_shufflevector(x[0], x[1], 1, 5, 3, 7);
#endif
}

} // namespace FLASH_ISA
} // namespace OpenMMFlash

#endif
