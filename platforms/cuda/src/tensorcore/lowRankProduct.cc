// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// kernels/lowRankProduct.cc of the common platform on tensor cores, with the same meaning. A lane evaluates the functions 16 s + 4 t...4 t + 3 of its two
// pairs, which are, as halves, its registers of a matrix A [16 pairs][16 functions]; the filters of 16 channels are two products with tiles of V.
//
//   fragment     [step][4], then [split step][4]: a function is hi + lo, both halves; lo is kept of the first SPLIT_STEPS steps
//   expansion    uint4 [block][step, then split step][lane]: registers of B for the two tiles, V = hi + lo in the same way. Column 2t + e + 8h of A and
//                B is the function 4t + 2h + e of a step, column n of tile b of B the channel 4 (n / 2) + 2b + n % 2 of a block.
//
//   G = hi V_hi + lo V_hi + hi V_lo, the last two for functions of split steps only: the others are so small that a half's 11 bits are enough (host:
//   CommonLowRank, which also scales both so that lo is no number too small for a half)
//
// Four rows of points are read in an order in which lanes of even g meet even rows while those of odd g meet odd ones: so never the same banks.
// All 32 threads of a warp must call these together.

#define FRAGMENT unsigned int
#define FRAGMENT_SIZE (4*(RANK_STEPS+SPLIT_STEPS))

/** Two pairs' values of functions 4t...4t + 3 of a step into registers of A: in front as halves, behind the steps what is left, where it counts. */
DEVICE __forceinline__ void storeFragment(FRAGMENT* u, int step, int half8, float x, float y, float z, float w) {
    const unsigned int xy = packHalves(x, y), zw = packHalves(z, w);
    u[4*step+half8] = xy;
    u[4*step+2+half8] = zw;
    if (step < SPLIT_STEPS) {
        u[4*(RANK_STEPS+step)+half8] = packHalves(x-lowHalf(xy), y-highHalf(xy));
        u[4*(RANK_STEPS+step)+2+half8] = packHalves(z-lowHalf(zw), w-highHalf(zw));
    }
}

// In terms of one point and three differences of the rows as they are read, the first two and the last two perhaps turned around.
#define VALUE(x) (w0*(float) p0.x+w1*(float) (p1.x-p0.x)+w2*(float) (p2.x-p0.x)+w3*(float) (p3.x-p2.x))
#define SLOPE(x) (dw0*(float) (p1.x-p0.x)+dw1*(float) (p2.x-p0.x)+dw2*(float) (p3.x-p2.x))

DEVICE __forceinline__ void makeFragment(FRAGMENT* u, FRAGMENT* slopes, int withSlopes, FUNCTION_MEMORY const int* points, const int* row,
                                         const float* weights, const float* slopeWeights, int lane) {
    const int g = lane/4, t = lane%4, odd = g%2;
#pragma unroll
    for (int half8 = 0; half8 < 2; half8++) {
        const float* w = &weights[4*half8];
        const float* dw = &slopeWeights[3*half8];
        const int turned = (row[half8]+g)%2;
        const float w2 = w[2]+w[3], w0 = w[0]+w[1]+w2, w1 = turned ? w[0] : w[1], w3 = turned ? w[2] : w[3];
        const float dw0 = turned ? -dw[0] : dw[0]-dw[1], dw1 = dw[1], dw2 = turned ? dw[1]-dw[2] : dw[2];
        const int* first = points+(row[half8]+turned)*FUNCTIONS+4*t;
        const int* second = points+(row[half8]+1-turned)*FUNCTIONS+4*t;
#pragma unroll
        for (int step = 0; step < RANK_STEPS; step++) {
            const int4 p0 = *(const int4*) (first+16*STEP_PLACE(odd, step)), p1 = *(const int4*) (second+16*STEP_PLACE(1-odd, step));
            const int4 p2 = *(const int4*) (first+2*FUNCTIONS+16*STEP_PLACE(odd, step));
            const int4 p3 = *(const int4*) (second+2*FUNCTIONS+16*STEP_PLACE(1-odd, step));
            storeFragment(u, step, half8, VALUE(x), VALUE(y), VALUE(z), VALUE(w));
            if (withSlopes)
                storeFragment(slopes, step, half8, SLOPE(x), SLOPE(y), SLOPE(z), SLOPE(w));
        }
    }
}

DEVICE __forceinline__ void expandBlock(float* filter, const FRAGMENT* u, int fragments, EXPANSION_MEMORY const uint4* expansion, int block, int lane) {
    const uint4* tile = expansion+block*(RANK_STEPS+SPLIT_STEPS)*32+lane;
    float d[8*MOST_FRAGMENTS];
#pragma unroll
    for (int i = 0; i < 8*fragments; i++)
        d[i] = 0;
#pragma unroll
    for (int step = 0; step < RANK_STEPS+SPLIT_STEPS; step++) {
        const uint4 b = tile[32*step];
        const uint2 even = make_uint2(b.x, b.y), odd = make_uint2(b.z, b.w);
#pragma unroll
        for (int f = 0; f < fragments; f++) {
            const FRAGMENT* a = &u[f*FRAGMENT_SIZE];
            const int function = step < RANK_STEPS ? step : step-RANK_STEPS;
            multiplyTile(&d[8*f], &a[4*function], even);
            multiplyTile(&d[8*f+4], &a[4*function], odd);
            if (step < SPLIT_STEPS) {
                multiplyTile(&d[8*f], &a[4*(RANK_STEPS+step)], even);
                multiplyTile(&d[8*f+4], &a[4*(RANK_STEPS+step)], odd);
            }
        }
    }
#pragma unroll
    for (int f = 0; f < fragments; f++)
#pragma unroll
        for (int half8 = 0; half8 < 2; half8++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                filter[8*f+4*half8+c] = d[8*f+4*(c/2)+2*half8+c%2];
}

DEVICE __forceinline__ float sumOverPairs(float x, LOCAL_ARG float* scratch, int thread) {
    x += __shfl_xor_sync(0xffffffff, x, 4);
    x += __shfl_xor_sync(0xffffffff, x, 8);
    return x+__shfl_xor_sync(0xffffffff, x, 16);
}

DEVICE __forceinline__ float sumOverChannels(float x, LOCAL_ARG float* scratch, int thread) {
    x += __shfl_xor_sync(0xffffffff, x, 1);
    return x+__shfl_xor_sync(0xffffffff, x, 2);
}
