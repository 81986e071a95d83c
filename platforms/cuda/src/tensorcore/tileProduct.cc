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
// steps would drift to one side: each step's products begin at 0 and are added to acc with rounding.
//
// A float beyond the halves' range becomes infinite, and all its products with it: then the warp does the tile once more without tensor
// cores. Read are, by a thread and step, 32 bytes of A (CommonDense::getStride() keeps the warp's loads free of bank conflicts) and 8 or 16 of B, in
// whole lines of memory. All 32 threads of a warp must call it together.
//
// Splitting A takes more instructions than multiplying it: addTileProducts() does it once for all tiles of B, and what storeTile() leaves in
// local memory is split already. B is read once for all row tiles.

// Pairs of floats are loaded at once.
#undef LOCAL
#define LOCAL __shared__ __align__(16)

#define TILE_SPLIT_SCALE 2048.0f
#ifndef ROW_TILES
#define ROW_TILES 1
#endif
#define PRODUCT_TILES 4
#define TILE_SUMS (4*PRODUCT_TILES*ROW_TILES)
#define MAY_REPEAT_TILES

/** Operand A of a step, for the thread's two rows: the pairs at 0 and 8 of each, or zeros where the row is none. */
DEVICE inline void splitRows(unsigned int* hi, unsigned int* lo, const float* first, bool hasFirst, const float* second, bool hasSecond) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 x = make_float2(0, 0);
        if (i%2 == 0 ? hasFirst : hasSecond)
            x = *(const float2*) ((i%2 == 0 ? first : second)+8*(i/2));
        hi[i] = packHalves(x.x, x.y);
        lo[i] = packHalves((x.x-lowHalf(hi[i]))*TILE_SPLIT_SCALE, (x.y-highHalf(hi[i]))*TILE_SPLIT_SCALE);
    }
}

/** sums += A B of a step; of the weights, also what rounding them left out. */
DEVICE inline void addStep(float* sums, const unsigned int* hi, const unsigned int* lo, uint2 high, uint2 low) {
    float product[4] = {0, 0, 0, 0}, rest[4] = {0, 0, 0, 0};
    multiplyTile(product, hi, high);
    multiplyTile(rest, lo, high);
#ifdef FLASH_SPLIT_WEIGHTS
    multiplyTile(rest, hi, low);
#endif
#pragma unroll
    for (int i = 0; i < 4; i++)
        sums[i] += product[i]+rest[i]/TILE_SPLIT_SCALE;
}

/** Infinite and undefined numbers have all bits of their exponent set. */
DEVICE inline bool areFinite(const float* x) {
    bool finite = true;
#pragma unroll
    for (int i = 0; i < 4; i++)
        finite = finite && (__float_as_uint(x[i])&0x7f800000u) != 0x7f800000u;
    return finite;
}

/** The same without tensor cores, for numbers that are no halves. A may be in any memory. */
DEVICE void plainTileProduct(float* acc, const float* a, mm_long strideA, int rows, GLOBAL const unsigned short* b, int kSteps, int lane) {
    // The column that belongs to acc[0] is what the lanes 8t...8t + 3 hold, that of acc[1] what the next four do.
    const int g = lane/4, column = 8*(lane%4);
    for (int i = 0; i < 16*kSteps; i++) {
        const int k = i%16, place = (k%8)/2, element = 2*(k/8)+k%2;
        const int index = (i/16*32+column+place)*4+element;
        for (int n = 0; n < 2; n++) {
            float weight = lowHalf(b[index+16*n]);
#ifdef FLASH_SPLIT_WEIGHTS
            weight += lowHalf(b[128*kSteps+index+16*n])/TILE_SPLIT_SCALE;
#endif
            acc[n] += g < rows ? a[g*strideA+i]*weight : 0;
            acc[2+n] += g+8 < rows ? a[(g+8)*strideA+i]*weight : 0;
        }
    }
}

DEVICE void tileProduct(real* acc, LOCAL_ARG const real* a, int strideA, int rows, GLOBAL const WEIGHT* b, int kSteps, int lane) {
    const int g = lane/4, t = lane%4;
    LOCAL_ARG const float* first = a+g*strideA+2*t;
    GLOBAL const uint2* high = (GLOBAL const uint2*) b+lane;
    float sums[4] = {0, 0, 0, 0};
    for (int step = 0; step < kSteps; step++) {
        unsigned int hi[4], lo[4];
        splitRows(hi, lo, first+16*step, g < rows, first+8*strideA+16*step, g+8 < rows);
        uint2 low = make_uint2(0, 0);
#ifdef FLASH_SPLIT_WEIGHTS
        low = high[32*(kSteps+step)];
#endif
        addStep(sums, hi, lo, high[32*step], low);
    }
    if (anyLane(!areFinite(sums))) {
        for (int i = 0; i < 4; i++)
            sums[i] = 0;
        plainTileProduct(sums, a, strideA, rows, b, kSteps, lane);
    }
    for (int i = 0; i < 4; i++)
        acc[i] += sums[i];
}

/** What a thread multiplies in a step. */
template <int TILES> DEVICE inline void loadWeights(uint2* high, uint2* low, const uint2* from, int strideB, int kSteps) {
#pragma unroll
    for (int n = 0; n < TILES; n++) {
        high[n] = from[n*strideB];
#ifdef FLASH_SPLIT_WEIGHTS
        low[n] = from[n*strideB+32*kSteps];
#else
        low[n] = make_uint2(0, 0);
#endif
    }
}

/**
 * For a known number of tiles, so that nothing in the loop depends on it. A stored A lies in memory as it does in registers: [step][hi, lo][lane][4].
 * Then weights are loaded a step ahead, unless sums take the registers.
 */
template <int TILES, bool STORED> DEVICE inline void addTiles(float* sums, const float* a, int strideA, int rows, const uint2* b, int strideB, int kSteps,
                                                              int lane) {
    const int g = lane/4, t = lane%4;
    const bool loadsAhead = (STORED && ROW_TILES < 4);
    uint2 high[TILES], low[TILES];
    if (loadsAhead)
        loadWeights<TILES>(high, low, b, strideB, kSteps);
    for (int step = 0; step < kSteps; step++) {
        uint2 nextHigh[TILES], nextLow[TILES];
        if (loadsAhead)
            loadWeights<TILES>(nextHigh, nextLow, b+32*(step+1 < kSteps ? step+1 : step), strideB, kSteps);
        else
            loadWeights<TILES>(high, low, b+32*step, strideB, kSteps);
#pragma unroll
        for (int r = 0; r < ROW_TILES; r++)
            if (16*r < rows) {
                unsigned int hi[4], lo[4];
                if (STORED) {
                    const uint4* stored = (const uint4*) (a+16*r*strideA)+64*step+lane;
                    const uint4 x = stored[0], y = stored[32];
                    hi[0] = x.x;
                    hi[1] = x.y;
                    hi[2] = x.z;
                    hi[3] = x.w;
                    lo[0] = y.x;
                    lo[1] = y.y;
                    lo[2] = y.z;
                    lo[3] = y.w;
                }
                else {
                    const float* row = a+(16*r+g)*strideA+2*t+16*step;
                    splitRows(hi, lo, row, 16*r+g < rows, row+8*strideA, 16*r+8+g < rows);
                }
#pragma unroll
                for (int n = 0; n < TILES; n++)
                    addStep(sums+4*(PRODUCT_TILES*r+n), hi, lo, high[n], low[n]);
            }
        if (loadsAhead) {
#pragma unroll
            for (int n = 0; n < TILES; n++) {
                high[n] = nextHigh[n];
                low[n] = nextLow[n];
            }
        }
    }
}

/** TILE_SUMS stay in registers only where no index is computed. */
template <bool STORED> DEVICE inline void addSomeTiles(float* sums, const float* a, int strideA, int rows, const unsigned short* b, int strideB,
                                                       int numTiles, int kSteps, int lane) {
    const uint2* high = (const uint2*) b+lane;
    switch (numTiles) {
    case 1:
        addTiles<1, STORED>(sums, a, strideA, rows, high, strideB/4, kSteps, lane);
        break;
    case 2:
        addTiles<2, STORED>(sums, a, strideA, rows, high, strideB/4, kSteps, lane);
        break;
    case 3:
        addTiles<3, STORED>(sums, a, strideA, rows, high, strideB/4, kSteps, lane);
        break;
    case 4:
        addTiles<4, STORED>(sums, a, strideA, rows, high, strideB/4, kSteps, lane);
    }
}

DEVICE void addTileProducts(real* sums, LOCAL_ARG const real* a, int strideA, int rows, GLOBAL const WEIGHT* b, int strideB, int numTiles, int kSteps,
                         int lane) {
    addSomeTiles<false>(sums, a, strideA, rows, b, strideB, numTiles, kSteps, lane);
}

DEVICE void storeTile(LOCAL_ARG real* a, int strideA, int step, GLOBAL const real* from, mm_long strideFrom, int rows, int lane) {
    unsigned int hi[4], lo[4];
    const float* row = from+lane/4*strideFrom+2*(lane%4);
    splitRows(hi, lo, row, lane/4 < rows, row+8*strideFrom, lane/4+8 < rows);
    uint4* stored = (uint4*) a+64*step+lane;
    stored[0] = make_uint4(hi[0], hi[1], hi[2], hi[3]);
    stored[32] = make_uint4(lo[0], lo[1], lo[2], lo[3]);
}

DEVICE void addStoredTileProducts(real* sums, LOCAL_ARG const real* a, int strideA, int firstStep, int rows, GLOBAL const WEIGHT* b, int strideB,
                               int numTiles, int kSteps, int lane) {
    addSomeTiles<true>(sums, a+256*firstStep, strideA, rows, b, strideB, numTiles, kSteps, lane);
}

DEVICE inline bool areTilesRight(const real* sums) {
    bool finite = true;
#pragma unroll
    for (int i = 0; i < TILE_SUMS; i += 4)
        finite = areFinite(sums+i) && finite;
    return !anyLane(!finite);
}

DEVICE void repeatTiles(real* sums, const real* a, mm_long strideA, int rows, GLOBAL const WEIGHT* b, int strideB, int numTiles, int kSteps, int lane) {
#pragma unroll 1
    for (int tile = 0; tile < ROW_TILES*PRODUCT_TILES; tile++) {
        const int r = tile/PRODUCT_TILES, n = tile%PRODUCT_TILES;
        if (16*r >= rows || n >= numTiles)
            continue;
        float acc[4] = {0, 0, 0, 0};
        plainTileProduct(acc, a+16*r*strideA, strideA, rows-16*r, b+n*strideB, kSteps, lane);
        // Sums stay in registers, which have no index.
#pragma unroll
        for (int i = 0; i < TILE_SUMS; i++)
            if (i/4 == tile)
                sums[i] += acc[i%4];
    }
}
