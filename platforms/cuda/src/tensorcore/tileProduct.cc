// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// kernels/tileProduct.cc of the common platform on tensor cores, with the same meaning:
//
//   acc += A B      A [16][16 kSteps] floats in local memory, B [16 kSteps][8] halves, packed as CommonDense packs them for tensor cores
//
// A float is split as hi + lo / 2^11, both halves: hi is the float rounded, lo what that left out, times 2^11. Multiplied so, lo is as large
// as hi and no subnormal number wherever hi is none: 22 bits of every float from 2^-14 to 65504 are kept, and of smaller ones all
// down to 2^-35. Weights are split in the same way (FLASH_SPLIT_WEIGHTS), or are halves themselves, so that lo is 0:
//
//   acc += hi B_hi + (lo B_hi + hi B_lo) / 2^11
//
// What is left out, lo B_lo / 2^22, is as small as what rounding A left out. Tensor cores add up products by cutting off bits, which over many
// steps would drift to one side: each step's product hi B_hi begins at 0 and is added to acc with rounding. The other sum counts for
// 2^-11 of that, and stays where it is.
//
// A float beyond the halves' range becomes infinite, and all its products with it: then the warp does the tile once more without tensor
// cores. Read are, by a thread and step, 32 bytes of A (CommonDense::getStride() keeps the warp's loads free of bank conflicts) and 8 or 16 of B, in
// whole lines of memory. All 32 threads of a warp must call it together.

// Pairs of floats are loaded at once.
#undef LOCAL
#define LOCAL __shared__ __align__(16)

#define TILE_SPLIT_SCALE 2048.0f

/** The same without tensor cores: for numbers that are no halves. */
DEVICE void plainTileProduct(float* acc, LOCAL_ARG const float* first, LOCAL_ARG const float* second, GLOBAL const unsigned short* b, int kSteps, int lane) {
    // The column that belongs to acc[0] is what the lanes 8t...8t + 3 hold, that of acc[1] what the next four do.
    const int column = 8*(lane%4);
    for (int i = 0; i < 16*kSteps; i++) {
        const int k = i%16, place = (k%8)/2, element = 2*(k/8)+k%2;
        const int index = (i/16*32+column+place)*4+element;
        for (int n = 0; n < 2; n++) {
            float weight = lowHalf(b[index+16*n]);
#ifdef FLASH_SPLIT_WEIGHTS
            weight += lowHalf(b[128*kSteps+index+16*n])/TILE_SPLIT_SCALE;
#endif
            acc[n] += first != 0 ? first[i]*weight : 0;
            acc[2+n] += second != 0 ? second[i]*weight : 0;
        }
    }
}

DEVICE void tileProduct(real* acc, LOCAL_ARG const real* a, int strideA, int rows, GLOBAL const WEIGHT* b, int kSteps, int lane) {
    const int g = lane/4, t = lane%4;
    LOCAL_ARG const float* first = g < rows ? a+g*strideA : 0;
    LOCAL_ARG const float* second = g+8 < rows ? a+(g+8)*strideA : 0;
    GLOBAL const uint2* high = (GLOBAL const uint2*) b+lane;
#ifdef FLASH_SPLIT_WEIGHTS
    GLOBAL const uint2* low = high+32*kSteps;
#endif
    float sum[4] = {0, 0, 0, 0}, rest[4] = {0, 0, 0, 0};
    for (int step = 0; step < kSteps; step++) {
        unsigned int hi[4], lo[4];
        for (int i = 0; i < 4; i++) {
            LOCAL_ARG const float* row = i%2 == 0 ? first : second;
            float2 x = make_float2(0, 0);
            if (row != 0)
                x = *(LOCAL_ARG const float2*) (row+16*step+2*t+8*(i/2));
            hi[i] = packHalves(x.x, x.y);
            lo[i] = packHalves((x.x-lowHalf(hi[i]))*TILE_SPLIT_SCALE, (x.y-highHalf(hi[i]))*TILE_SPLIT_SCALE);
        }
        const uint2 weights = high[32*step];
        float product[4] = {0, 0, 0, 0};
        multiplyTile(product, hi, weights);
        multiplyTile(rest, lo, weights);
#ifdef FLASH_SPLIT_WEIGHTS
        multiplyTile(rest, hi, low[32*step]);
#endif
        for (int i = 0; i < 4; i++)
            sum[i] += product[i];
    }
    bool finite = true;
    for (int i = 0; i < 4; i++) {
        sum[i] += rest[i]/TILE_SPLIT_SCALE;
        // Infinite and undefined numbers have all bits of their exponent set.
        finite = finite && (__float_as_uint(sum[i])&0x7f800000u) != 0x7f800000u;
    }
    if (anyLane(!finite)) {
        for (int i = 0; i < 4; i++)
            sum[i] = 0;
        plainTileProduct(sum, first, second, b, kSteps, lane);
    }
    for (int i = 0; i < 4; i++)
        acc[i] += sum[i];
}
