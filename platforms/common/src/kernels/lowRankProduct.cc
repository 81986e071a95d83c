// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// What the rows of messageLowRank.cc need of a "warp" of 32 threads, lane = 4 g + t: this is the body for any device; a platform may put one with
// tensor cores in its place, with the same meaning (CommonOptions::lowRankProduct).
//
//   makeFragment   the functions u_k of two pairs, the lane's g and g + 8, and their derivatives du_k/dt if they are asked for: from the four rows of
//                  points that each pair's piece begins with, the weights of these for the values, and those of their three differences for the
//                  derivatives. Points are fixed-point numbers (POINT int) but in double precision, so that these differences are exact; weights
//                  are multiplied by POINT_UNIT. What a "fragment" is, the body alone knows. In row n the functions 16 s...16 s + 15 stand at
//                  16 STEP_PLACE(n, s).
//   expandBlock    filters of one fragment or several: filter[8 f + 4 h + c] = sum_k u_k V_k for pair g + 8 h of fragment f and channel 16 block + 4 t + c
//   sumOverPairs, sumOverChannels   the sum of x over the 8 lanes of the same t, and over the 4 of the same g. All threads must call them together.
//
// Here each lane evaluates and multiplies what it needs by itself: expansion real [block][function][16].

#define FRAGMENT real
#define FRAGMENT_SIZE (2*FUNCTIONS)
// sumOverPairs() and sumOverChannels() have barriers: loops around them are of one length for all threads.
#define WARPS_WAIT

DEVICE void makeFragment(FRAGMENT* u, FRAGMENT* slopes, int withSlopes, FUNCTION_MEMORY const POINT* points, const int* row, const real* weights,
                         const real* slopeWeights, int lane) {
    for (int half8 = 0; half8 < 2; half8++)
        for (int k = 0; k < FUNCTIONS; k++) {
            POINT p[4];
            for (int m = 0; m < 4; m++)
                p[m] = points[(row[half8]+m)*FUNCTIONS+16*STEP_PLACE(row[half8]+m, k/16)+k%16];
            const real* w = &weights[4*half8];
            const real* dw = &slopeWeights[3*half8];
            u[half8*FUNCTIONS+k] = w[0]*(real) p[0]+w[1]*(real) p[1]+w[2]*(real) p[2]+w[3]*(real) p[3];
            if (withSlopes)
                slopes[half8*FUNCTIONS+k] = dw[0]*(real) (p[1]-p[0])+dw[1]*(real) (p[2]-p[1])+dw[2]*(real) (p[3]-p[2]);
        }
}

DEVICE void expandBlock(real* filter, const FRAGMENT* u, int fragments, EXPANSION_MEMORY const EXPANSION* expansion, int block, int lane) {
    for (int pair = 0; pair < 2*fragments; pair++)
        for (int c = 0; c < 4; c++) {
            real sum = 0;
            for (int k = 0; k < FUNCTIONS; k++)
                sum += u[pair*FUNCTIONS+k]*expansion[(block*FUNCTIONS+k)*16+4*(lane%4)+c];
            filter[4*pair+c] = sum;
        }
}

DEVICE real sumOverPairs(real x, LOCAL_ARG real* scratch, int thread) {
    scratch[thread] = x;
    SYNC_THREADS;
    real sum = 0;
    for (int g = 0; g < 8; g++)
        sum += scratch[thread/32*32+4*g+thread%4];
    SYNC_THREADS;
    return sum;
}

DEVICE real sumOverChannels(real x, LOCAL_ARG real* scratch, int thread) {
    scratch[thread] = x;
    SYNC_THREADS;
    real sum = 0;
    for (int t = 0; t < 4; t++)
        sum += scratch[thread/4*4+t];
    SYNC_THREADS;
    return sum;
}
