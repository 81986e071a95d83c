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

/** max(x, lowest) in one instruction; GCC 12 makes two of a comparison and a choice. */
FLASH_INLINE Floats limit(Floats x, float lowest) {
#if defined(__AVX512F__)
    return (Floats)_mm512_maskz_max_ps(0xffff, (__m512)x, (__m512)broadcast(lowest));
#elif defined(__AVX2__)
    return (Floats)_mm256_max_ps((__m256)x, (__m256)broadcast(lowest));
#elif defined(__x86_64__)
    return (Floats)_mm_max_ps((__m128)x, (__m128)broadcast(lowest));
#else
    return x > lowest ? x : broadcast(lowest);
#endif
}

/** 2^x for x <= 0, and 2^-126 below that. Relative error 8e-8. */
FLASH_INLINE Floats exp2Decay(Floats x) {
    x = limit(x, -126.0f);
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

// Four or eight floats to all parts of a vector: intrinsics, because GCC 12 makes of __builtin_shufflevector on a shorter vector a
// store and a longer load, which waits for it; with masks, because it warns of what the others do not initialise.

/** Lane l is p[l / P]; reads four floats. */
template <int P> FLASH_INLINE Floats repeatEach(const float* p) {
#if defined(__AVX512F__)
    if constexpr (P == 4 || P == 8) {
        const __m512 all = _mm512_maskz_broadcast_f32x4(0xffff, _mm_loadu_ps(p));
        const Ints each = iota() / P;
        return (Floats)_mm512_maskz_permutevar_ps(0xffff, all, (__m512i)each);
    }
#elif defined(__AVX2__)
    if constexpr (P == 4) {
        const Ints each = iota() / P;
        return (Floats)_mm256_permutevar_ps(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)), (__m256i)each);
    }
#endif
    return broadcast(*p);
}

/** Lane l is p[l % P]. */
template <int P> FLASH_INLINE Floats repeatAll(const float* p) {
#if defined(__AVX512F__)
    if constexpr (P == 4)
        return (Floats)_mm512_maskz_broadcast_f32x4(0xffff, _mm_loadu_ps(p));
    if constexpr (P == 8)
        return (Floats)_mm512_maskz_broadcast_f32x8(0xffff, _mm256_loadu_ps(p));
#elif defined(__AVX2__)
    if constexpr (P == 4)
        return (Floats)_mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
#endif
    return loadUnaligned(p);
}

// Vectors a and b cut into parts of 2, 4, 8 or 16 lanes: sums of the halves of each part, those of a's parts and b's in turn.
#if defined(__AVX512F__)
FLASH_INLINE Floats merge16(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}
FLASH_INLINE Floats merge8(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
           __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
}
FLASH_INLINE Floats merge4(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
FLASH_INLINE Floats merge2(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}
#elif defined(__AVX2__)
FLASH_INLINE Floats merge8(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}
FLASH_INLINE Floats merge4(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
}
FLASH_INLINE Floats merge2(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14) + __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
}
#else
FLASH_INLINE Floats merge4(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
}
FLASH_INLINE Floats merge2(Floats a, Floats b) {
    return __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
}
#endif

/** Width / P vectors become one: its lanes [P l, P (l + 1)) are the sums of x[l] over lanes that are the same modulo P. */
template <int P> FLASH_INLINE Floats pack(const Floats* x) {
#if defined(__AVX512F__)
    if constexpr (P == 8)
        return merge16(x[0], x[1]);
    if constexpr (P == 4)
        return merge8(merge16(x[0], x[2]), merge16(x[1], x[3]));
#elif defined(__AVX2__)
    if constexpr (P == 4)
        return merge8(x[0], x[1]);
#endif
    return x[0];
}

/** Of P vectors, the sums of every P lanes, in their order. */
template <int P> FLASH_INLINE Floats sumParts(const Floats* x) {
    static_assert(P == 4 || P == 8 || P == Width, "parts of a vector");
#if defined(__AVX512F__)
    if constexpr (P == 16) {
        Floats y[8];
        for (int i = 0; i < 8; i++)
            y[i] = merge16(x[i], x[i + 8]);
        for (int i = 0; i < 4; i++)
            y[i] = merge8(y[i], y[i + 4]);
        return merge2(merge4(y[0], y[2]), merge4(y[1], y[3]));
    }
    if constexpr (P == 8) {
        Floats y[4];
        for (int i = 0; i < 4; i++)
            y[i] = merge8(x[i], x[i + 4]);
        const Floats sums = merge2(merge4(y[0], y[2]), merge4(y[1], y[3]));
        return __builtin_shufflevector(sums, sums, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    }
    if constexpr (P == 4) {
        const Floats sums = merge2(merge4(x[0], x[2]), merge4(x[1], x[3]));
        return __builtin_shufflevector(sums, sums, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    }
#elif defined(__AVX2__)
    if constexpr (P == 8) {
        Floats y[4];
        for (int i = 0; i < 4; i++)
            y[i] = merge8(x[i], x[i + 4]);
        return merge2(merge4(y[0], y[2]), merge4(y[1], y[3]));
    }
    if constexpr (P == 4) {
        const Floats sums = merge2(merge4(x[0], x[2]), merge4(x[1], x[3]));
        return __builtin_shufflevector(sums, sums, 0, 4, 1, 5, 2, 6, 3, 7);
    }
#else
    return merge2(merge4(x[0], x[2]), merge4(x[1], x[3]));
#endif
}

} // namespace FLASH_ISA
} // namespace OpenMMFlash

#endif
