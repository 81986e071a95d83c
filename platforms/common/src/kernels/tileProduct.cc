// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The product that all dense layers and the expansion of low-rank filters are made of:
//
//   acc += A B      A [16][16 kSteps] in local memory, B [16 kSteps][8] a packed tile of weights (CommonDense.h)
//
// for the 32 threads of a "warp" (lane = 0...31). With g = lane / 4 and t = lane % 4, acc[0...3] are the elements (g, 2t), (g, 2t + 1),
// (g + 8, 2t) and (g + 8, 2t + 1): the accumulators of a tensor core's m16n8k16 product. This is the body for any device; a platform
// may put one with tensor cores in its place, with the same meaning (CommonOptions::tileProduct).
//
// Rows of A from `rows` on count as zero and are not in memory; its columns are padded with finite numbers (their weights are 0).
// Nothing is fused, no barrier is met. A thread reads 2 rows of A and 2 columns of B: 32 kSteps weights.
// WEIGHT is real, or unsigned short with the bits of an IEEE half (FLASH_HALF_WEIGHTS).

#ifdef FLASH_HALF_WEIGHTS
#if defined(__OPENCL_VERSION__)
#define LOAD_WEIGHT(b, i) vload_half(i, (GLOBAL const half*) (b))
#elif defined(__HIP_DEVICE_COMPILE__) || defined(__HIPCC_RTC__)
#define LOAD_WEIGHT(b, i) ((float) ((const _Float16*) (b))[i])
#else
DEVICE float flashHalfToFloat(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
#define LOAD_WEIGHT(b, i) flashHalfToFloat((b)[i])
#endif
#else
#define LOAD_WEIGHT(b, i) ((b)[i])
#endif

DEVICE void tileProduct(real* acc, LOCAL_ARG const real* a, int strideA, int rows, GLOBAL const WEIGHT* b, int kSteps, int lane) {
    const int g = lane/4, t = lane%4;
    if (g >= rows)
        return;
    const bool both = (g+8 < rows);
    LOCAL_ARG const real* first = a+g*strideA;
    LOCAL_ARG const real* second = (both ? first+8*strideA : first);
    real sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
    for (int step = 0; step < kSteps; step++) {
        GLOBAL const WEIGHT* column = b+step*128+32*t;
        for (int k = 0; k < 16; k++) {
            const real w0 = LOAD_WEIGHT(column, k), w1 = LOAD_WEIGHT(column, 16+k);
            const real a0 = first[16*step+k], a1 = second[16*step+k];
            sum0 += a0*w0;
            sum1 += a0*w1;
            sum2 += a1*w0;
            sum3 += a1*w1;
        }
    }
    acc[0] += sum0;
    acc[1] += sum1;
    if (both) {
        acc[2] += sum2;
        acc[3] += sum3;
    }
}
