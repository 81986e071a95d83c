// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Vectors as wide as a register of the instruction set that this source is compiled for, on the vector extensions of GCC and
// Clang: + - * / and comparisons are the language's, a * b + c becomes a fused multiply-add where there is one, and a mask
// (Ints of 0 or -1) selects by `mask ? a : b`. What the extensions lack stands here, once for all instruction sets where
// it can be.
//
// Only kernel sources include this header. They are compiled once for each instruction set, in a namespace of its own
// (FLASH_ISA), and may not use templates or inline functions of any other header: the linker keeps one copy of those, and it
// could be one that this machine cannot run.
#ifndef OPENMMFLASH_SIMD_H_
#define OPENMMFLASH_SIMD_H_

#include <cstddef>
#include <cstdint>
#ifdef __x86_64__
#include <immintrin.h>
#endif
#ifdef __aarch64__
#include <arm_neon.h>
#endif

#define FLASH_INLINE static inline __attribute__((always_inline))

namespace OpenMMFlash {
namespace FLASH_ISA {

#if defined(__AVX512F__)
constexpr int Width = 16; ///< floats in a vector
#elif defined(__AVX2__)
constexpr int Width = 8;
#else
constexpr int Width = 4;
#endif
constexpr int DoubleWidth = Width / 2;

typedef float Floats __attribute__((vector_size(4 * Width), may_alias));
typedef std::int32_t Ints __attribute__((vector_size(4 * Width), may_alias));
typedef double Doubles __attribute__((vector_size(4 * Width), may_alias));
typedef std::int64_t Longs __attribute__((vector_size(4 * Width), may_alias));
/** As many floats or ints as there are doubles in a vector. */
typedef float HalfFloats __attribute__((vector_size(2 * Width), may_alias));
typedef std::int32_t HalfInts __attribute__((vector_size(2 * Width), may_alias));
typedef float UnalignedFloats __attribute__((vector_size(4 * Width), may_alias, aligned(4)));
typedef std::int32_t UnalignedInts __attribute__((vector_size(4 * Width), may_alias, aligned(4)));
typedef double UnalignedDoubles __attribute__((vector_size(4 * Width), may_alias, aligned(8)));
typedef float UnalignedHalfFloats __attribute__((vector_size(2 * Width), may_alias, aligned(4)));
typedef std::int32_t UnalignedHalfInts __attribute__((vector_size(2 * Width), may_alias, aligned(4)));

FLASH_INLINE Floats broadcast(float x) {
    return x - Floats{};
}
FLASH_INLINE Doubles broadcast(double x) {
    return x - Doubles{};
}
/** From an address that is a multiple of the vector's size. */
FLASH_INLINE Floats load(const float* p) {
    return *reinterpret_cast<const Floats*>(p);
}
FLASH_INLINE Floats loadUnaligned(const float* p) {
    return *reinterpret_cast<const UnalignedFloats*>(p);
}
FLASH_INLINE Ints loadUnaligned(const std::int32_t* p) {
    return *reinterpret_cast<const UnalignedInts*>(p);
}
FLASH_INLINE Doubles loadUnaligned(const double* p) {
    return *reinterpret_cast<const UnalignedDoubles*>(p);
}
FLASH_INLINE HalfFloats loadHalfWidth(const float* p) {
    return *reinterpret_cast<const UnalignedHalfFloats*>(p);
}
FLASH_INLINE HalfInts loadHalfWidth(const std::int32_t* p) {
    return *reinterpret_cast<const UnalignedHalfInts*>(p);
}
FLASH_INLINE void store(float* p, Floats x) {
    *reinterpret_cast<Floats*>(p) = x;
}
FLASH_INLINE void storeUnaligned(float* p, Floats x) {
    *reinterpret_cast<UnalignedFloats*>(p) = x;
}
FLASH_INLINE void storeUnaligned(std::int32_t* p, Ints x) {
    *reinterpret_cast<UnalignedInts*>(p) = x;
}
FLASH_INLINE void storeUnaligned(double* p, Doubles x) {
    *reinterpret_cast<UnalignedDoubles*>(p) = x;
}
FLASH_INLINE void storeHalfWidth(float* p, HalfFloats x) {
    *reinterpret_cast<UnalignedHalfFloats*>(p) = x;
}
FLASH_INLINE void storeHalfWidth(std::int32_t* p, HalfInts x) {
    *reinterpret_cast<UnalignedHalfInts*>(p) = x;
}

/** 0, 1, 2... */
FLASH_INLINE Ints iota() {
    Ints x;
    for (int k = 0; k < Width; k++)
        x[k] = k;
    return x;
}

FLASH_INLINE Floats sqrt(Floats x) {
#if defined(__AVX512F__)
    return (Floats)_mm512_maskz_sqrt_ps(0xffff, (__m512)x); // without the mask GCC 12 warns of what it does not initialise
#elif defined(__AVX2__)
    return (Floats)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
    return (Floats)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
    return (Floats)vsqrtq_f32((float32x4_t)x);
#else
    for (int k = 0; k < Width; k++)
        x[k] = __builtin_sqrtf(x[k]);
    return x;
#endif
}
FLASH_INLINE Doubles sqrt(Doubles x) {
#if defined(__AVX512F__)
    return (Doubles)_mm512_maskz_sqrt_pd(0xff, (__m512d)x);
#elif defined(__AVX2__)
    return (Doubles)_mm256_sqrt_pd((__m256d)x);
#elif defined(__x86_64__)
    return (Doubles)_mm_sqrt_pd((__m128d)x);
#elif defined(__aarch64__)
    return (Doubles)vsqrtq_f64((float64x2_t)x);
#else
    for (int k = 0; k < DoubleWidth; k++)
        x[k] = __builtin_sqrt(x[k]);
    return x;
#endif
}

/** ln x for positive normal x, relative error 1e-15 of max(|ln x|, 1). */
FLASH_INLINE Doubles log(Doubles x) {
    const Longs bits = (Longs)x;
    // x = 2^e m with m in [sqrt(1/2), sqrt(2))
    const Longs shifted = bits - 0x3fe6a09e667f3bcdLL;
    const Longs e = shifted >> 52;
    const Doubles m = (Doubles)(bits - (e << 52));
    const Doubles z = (m - 1.0) / (m + 1.0), w = z * z;
    // ln m = 2 atanh z, |z| < 0.1716
    Doubles p = broadcast(2.0 / 19);
    p = p * w + 2.0 / 17;
    p = p * w + 2.0 / 15;
    p = p * w + 2.0 / 13;
    p = p * w + 2.0 / 11;
    p = p * w + 2.0 / 9;
    p = p * w + 2.0 / 7;
    p = p * w + 2.0 / 5;
    p = p * w + 2.0 / 3;
    const Doubles n = __builtin_convertvector(e, Doubles);
    return n * 0.693147180559945309417 + (2.0 * z + z * w * p);
}

/** Sum of all elements, in a fixed order. */
FLASH_INLINE float sum(Floats x) {
#if defined(__AVX512F__)
    const auto a = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
    const auto b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
#elif defined(__AVX2__)
    const auto b = __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
#else
    const Floats b = x;
#endif
    return (b[0] + b[2]) + (b[1] + b[3]);
}
FLASH_INLINE double sum(Doubles x) {
    double total = x[0];
    for (int k = 1; k < DoubleWidth; k++)
        total += x[k];
    return total;
}

/** Elements p[index[k]]. */
FLASH_INLINE Doubles gather(const double* p, HalfInts index) {
#if defined(__AVX512F__)
    return (Doubles)_mm512_i32gather_pd((__m256i)index, p, 8);
#else
    Doubles x;
    for (int k = 0; k < DoubleWidth; k++)
        x[k] = p[index[k]];
    return x;
#endif
}

/** Whether numbers of IEEE half precision can be converted in hardware; without, such weights are kept as floats. */
#if defined(__F16C__) || defined(__aarch64__)
constexpr bool HasHalf = true;
#else
constexpr bool HasHalf = false;
#endif
FLASH_INLINE Floats loadHalfPrecision([[maybe_unused]] const std::uint16_t* p) {
#if defined(__AVX512F__)
    // Without the mask GCC 12 warns of a variable of its own that is not initialized; the instruction is the same.
    return (Floats)_mm512_maskz_cvtph_ps(__mmask16(-1), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__F16C__)
    return (Floats)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(__aarch64__)
    return (Floats)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    return Floats{}; // never called: see HasHalf
#endif
}

} // namespace FLASH_ISA
} // namespace OpenMMFlash

#endif
