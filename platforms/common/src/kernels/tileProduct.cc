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
//
// addTileProducts() is that for up to ROW_TILES tiles of A, one below the other (rows is that of all; a program that wants more than one
// defines ROW_TILES), and for numTiles <= PRODUCT_TILES tiles of B, from b on strideB weights apart. It adds to sums, TILE_SUMS of them:
//
//   sums [row tile][tile of B][4]      like acc
//
// Where several warps multiply the same A, it can be stored as the body wants it best: a warp brings 16 rows and columns of it to local
// memory by storeTile(), and after a barrier addStoredTileProducts() multiplies from its step firstStep on. The rows that are in memory are
// then a multiple of 16, strideA >= 16 steps apart.
//
// A body whose sums are wrong where A is large defines MAY_REPEAT_TILES: then areTilesRight(sums) tells, to all threads of the warp alike, whether they
// are. If not, begin again with zeros, and repeatTiles() in place of the others; its A may be in any memory.

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

#ifndef ROW_TILES
#define ROW_TILES 1
#endif
#define PRODUCT_TILES 4
#define TILE_SUMS (4*PRODUCT_TILES*ROW_TILES)

DEVICE void addTileProducts(real* sums, LOCAL_ARG const real* a, int strideA, int rows, GLOBAL const WEIGHT* b, int strideB, int numTiles, int kSteps,
                         int lane) {
#pragma unroll
    for (int n = 0; n < PRODUCT_TILES; n++)
        if (n < numTiles) {
#pragma unroll
            for (int r = 0; r < ROW_TILES; r++)
                if (16*r < rows)
                    tileProduct(sums+4*(PRODUCT_TILES*r+n), a+16*r*strideA, strideA, rows-16*r < 16 ? rows-16*r : 16, b+n*strideB, kSteps, lane);
        }
}

DEVICE void storeTile(LOCAL_ARG real* a, int strideA, int step, GLOBAL const real* from, mm_long strideFrom, int rows, int lane) {
    for (int i = lane; i < 16*16 && i/16 < rows; i += 32)
        a[i/16*strideA+16*step+i%16] = from[i/16*strideFrom+i%16];
}

DEVICE void addStoredTileProducts(real* sums, LOCAL_ARG const real* a, int strideA, int firstStep, int rows, GLOBAL const WEIGHT* b, int strideB,
                               int numTiles, int kSteps, int lane) {
    addTileProducts(sums, a+16*firstStep, strideA, rows, b, strideB, numTiles, kSteps, lane);
}
