// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Continuous-filter convolutions with filters of low rank, forward and backward, for the sums of messageTable.cc:
//
//   G(r) = sum_k u_k(r) V_k,    dG/dt = sum_k du_k/dt V_k,    u_k a uniform cubic B-spline (CompiledModel.h, RadialSplines)
//
// A work-group takes a span after another: rows span.z to span.w - 1, whose senders are the span.y particles from span.x on (a group, some
// small ones, or rows of a large one). What a pair needs lies in the work-group's own memory as far as there is room for it (host: CommonLowRank):
// the points of u_k [row][FUNCTIONS] (FUNCTIONS_RESIDENT), V (EXPANSION_RESIDENT), and the features of all senders (FEATURES_RESIDENT), for a
// slice of channels after another where not for all. Nothing of a filter is ever stored.
//
// A warp takes a row, or one of ROW_PARTS parts of it: 16 FORWARD_TILES or BACK_TILES pairs at a time, whose filters it makes for 16 channels after another
// (lowRankProduct.cc) and multiplies with the senders' features. A lane's sums are those of 4 channels in each block of 16; the 8 lanes of the same
// channels are added up at the end of the row. So all sums have one order, and there is no barrier but at the end of the rows.
// The sums go to `messages` [particle][ROW_PARTS][PADDED_CHANNELS]; then teams of TEAM_SIZE threads go through the dense layers as if
// each was a work-group: the texts behind this one see LOCAL_ID and LOCAL_SIZE of a team.
//
// Memory a pair, K functions and C channels in single precision, read from the work-group's own: 16 K + 4 C bytes forward, 16 K + 8 C backward,
// and V once in 16 FORWARD_TILES or BACK_TILES pairs; from beyond: 12 bytes forward, 20 backward. Bank conflicts: points none; features where two
// neighboring entries are particles both even or both odd.

#define WIDTH (CHUNKS*CHANNELS*LANES)
#define THREADS (32*WARPS)
#define TEAMS (THREADS/TEAM_SIZE)
#define CHANNEL_BLOCKS (PADDED_CHANNELS/16)
// Features of two particles that follow each other begin in different halves of the banks.
#define BLOCK_PLACE(blocks, particle, block) ((blocks)%2 == 0 ? (block)^((particle)&1) : (block))
// A thread's sums stay in registers where loops over them are written out.
#ifndef UNROLL
#ifdef __OPENCL_VERSION__
#define UNROLL
#else
#define UNROLL _Pragma("unroll")
#endif
#endif
#define HAS_BLOCK(blocks, slice, b) (CHANNEL_BLOCKS%(blocks) == 0 || (slice)*(blocks)+(b) < CHANNEL_BLOCKS)

/** The rows of pairs, as parameters and as arguments. */
#define PAIR_ROWS int numParticles, int capacity, GLOBAL const int* RESTRICT counts, GLOBAL const int* RESTRICT senders, GLOBAL const int* RESTRICT pieces, \
                  GLOBAL const real* RESTRICT fractions, GLOBAL const int* RESTRICT types
#define PASS_PAIR_ROWS numParticles, capacity, counts, senders, pieces, fractions, types
/** The filter, as parameters and as what a kernel passes. V is multiplied by 1 / filterScale. */
#define FILTER GLOBAL const POINT* RESTRICT functions, GLOBAL const EXPANSION* RESTRICT expansion, real filterScale, GLOBAL const int4* RESTRICT spans, \
               int numSpans, GLOBAL real* messages
#define PASS_FILTER points, factors, filterScale, messages

// Where a particle's features begin for a lane, and how far the even blocks of 16 channels stand behind their place, and the odd ones in front of it.
#ifdef FEATURES_RESIDENT
#define FEATURE_MEMORY LOCAL_ARG
#define PLACE int
#define FIND_PLACE(particle, row, blocks) (((particle)-span.x)*4*(blocks)+t)
#define FIND_TURN(particle, blocks) (4*BLOCK_PLACE(blocks, (particle)-span.x, 0))
#else
#define FEATURE_MEMORY GLOBAL
#define PLACE mm_long
#define FIND_PLACE(particle, row, blocks) ((mm_long) (row)*(WIDTH/4)+slice*4*(blocks)+t)
#define FIND_TURN(particle, blocks) 0
#endif
#define FEATURE(from, place, turn, b) from[(place)+4*(b)+((b)%2 == 0 ? (turn) : -(turn))]

/** LOCAL_ID; read anew, not kept in a register during the loops over pairs. */
DEVICE int getThread() {
#ifdef __CUDA_ARCH__
    int thread;
    asm volatile("mov.u32 %0, %tid.x;" : "=r"(thread));
    return thread;
#else
    return LOCAL_ID;
#endif
}

/** The weights of a piece's four points at t, and those of their differences for the derivative by t; all 0 where the pair does not count. */
DEVICE void weighPoints(real* w, real* dw, real t, int counts) {
    const real s = 1-t, sixth = counts ? (real) (POINT_UNIT/6) : 0, half1 = counts ? (real) (POINT_UNIT/2) : 0;
    w[0] = s*s*s*sixth;
    w[1] = ((3*t-6)*t*t+4)*sixth;
    w[2] = ((3*s-6)*s*s+4)*sixth;
    w[3] = t*t*t*sixth;
    dw[0] = s*s*half1;
    dw[1] = (1+2*t*s)*half1;
    dw[2] = t*t*half1;
}

/** The entry's sender, and its piece and t, or those of no pair. @return whether it counts */
DEVICE int readPair(int i, int k, int count, int capacity, GLOBAL const int* RESTRICT senders, GLOBAL const int* RESTRICT pieces,
                    GLOBAL const real* RESTRICT fractions, int* j, int* row, real* t) {
    *j = i;
    *row = 0;
    *t = 0;
    if (k >= count)
        return 0;
    const int entry = i*capacity+k, piece = pieces[entry];
    *j = senders[entry];
    *t = fractions[entry];
#ifdef SHARED_POINTS
    *row = piece == 0 ? 0 : piece+3;
#else
    *row = 4*piece;
#endif
#ifdef EXCLUDE_OWN_IMAGES
    return *j != i;
#else
    return 1;
#endif
}

#ifdef FEATURES_RESIDENT
/** A slice of the features of a span's particles: to [particle][4 blocks], four channels each. */
DEVICE void loadFeatures(LOCAL_ARG real4* to, GLOBAL const real* from, int4 span, int blocks, int slice, int byType, GLOBAL const int* RESTRICT types) {
    const int width = 4*blocks;
    for (int k = getThread(); k < span.y*width; k += THREADS) {
        const int particle = k/width, c = k-particle*width, block = c/4;
        if (HAS_BLOCK(blocks, slice, block))
            to[(particle*blocks+BLOCK_PLACE(blocks, particle, block))*4+c%4] =
                ((GLOBAL const real4*) from)[(mm_long) (byType ? types[span.x+particle] : span.x+particle)*(WIDTH/4)+slice*width+c];
    }
}
#endif

/** Store the sums of a row, or a part of it, over a slice. */
DEVICE void storeSums(GLOBAL real* messages, real* sum, int blocks, int slice, int i, int part, int counts, real scale, LOCAL_ARG real* scratch) {
    const int thread = getThread(), g = thread%32/4, t = thread%4;
    UNROLL
    for (int b = 0; b < blocks; b++) {
        UNROLL
        for (int c = 0; c < 4; c++)
            sum[4*b+c] = sumOverPairs(sum[4*b+c], scratch, thread)*scale;
        if (counts && g == b%8 && HAS_BLOCK(blocks, slice, b)) {
            GLOBAL real* to = messages+((mm_long) i*ROW_PARTS+part)*PADDED_CHANNELS+16*(slice*blocks+b)+4*t;
            UNROLL
            for (int c = 0; c < 4; c++)
                to[c] = sum[4*b+c];
        }
    }
}

/** messages of the span's rows. Begins after a barrier, ends with one. */
DEVICE void passMessages(LOCAL_ARG real4* features, LOCAL_ARG real* scratch, int4 span, PAIR_ROWS, FUNCTION_MEMORY const POINT* points,
                         EXPANSION_MEMORY const EXPANSION* factors, real filterScale, GLOBAL real* messages, GLOBAL const real* RESTRICT y, int byType) {
    const int thread = getThread(), lane = thread%32, warp = thread/32, g = lane/4, t = lane%4;
    for (int slice = 0; slice*FORWARD_BLOCKS < CHANNEL_BLOCKS; slice++) {
#ifdef FEATURES_RESIDENT
        loadFeatures(features, y, span, FORWARD_BLOCKS, slice, byType, types);
        SYNC_THREADS;
        FEATURE_MEMORY const real4* ys = features;
#else
        FEATURE_MEMORY const real4* ys = (GLOBAL const real4*) y;
#endif
        for (int round = 0; round*WARPS < (span.w-span.z)*ROW_PARTS; round++) {
            const int task = round*WARPS+warp, part = task%ROW_PARTS, isRow = (span.z+task/ROW_PARTS < span.w), i = min(span.z+task/ROW_PARTS, span.w-1);
            const int count = isRow ? counts[i] : 0;
            real sum[4*FORWARD_BLOCKS];
            UNROLL
            for (int c = 0; c < 4*FORWARD_BLOCKS; c++)
                sum[c] = 0;
            for (int first = part*16*FORWARD_TILES; first < count; first += ROW_PARTS*16*FORWARD_TILES) {
                FRAGMENT u[FORWARD_TILES*FRAGMENT_SIZE];
                PLACE place[2*FORWARD_TILES];
                int turn[2*FORWARD_TILES];
                UNROLL
                for (int tile = 0; tile < FORWARD_TILES; tile++) {
                    int row[2];
                    real w[8], dw[6], fraction;
                    UNROLL
                    for (int half8 = 0; half8 < 2; half8++) {
                        int j;
                        const int exists = readPair(i, first+16*tile+8*half8+g, count, capacity, senders, pieces, fractions, &j, &row[half8], &fraction);
                        weighPoints(&w[4*half8], &dw[3*half8], fraction, exists);
                        place[2*tile+half8] = FIND_PLACE(j, byType ? types[j] : j, FORWARD_BLOCKS);
                        turn[2*tile+half8] = FIND_TURN(j, FORWARD_BLOCKS);
                    }
                    makeFragment(&u[tile*FRAGMENT_SIZE], u, 0, points, row, w, dw, lane);
                }
                UNROLL
                for (int b = 0; b < FORWARD_BLOCKS; b++)
                    if (HAS_BLOCK(FORWARD_BLOCKS, slice, b)) {
                        real filter[8*FORWARD_TILES];
                        expandBlock(filter, u, FORWARD_TILES, factors, slice*FORWARD_BLOCKS+b, lane);
                        UNROLL
                        for (int pair = 0; pair < 2*FORWARD_TILES; pair++) {
                            const real4 yj = FEATURE(ys, place[pair], turn[pair], b);
                            sum[4*b] += yj.x*filter[4*pair];
                            sum[4*b+1] += yj.y*filter[4*pair+1];
                            sum[4*b+2] += yj.z*filter[4*pair+2];
                            sum[4*b+3] += yj.w*filter[4*pair+3];
                        }
                    }
            }
            storeSums(messages, sum, FORWARD_BLOCKS, slice, i, part, isRow, filterScale, scratch);
        }
        SYNC_THREADS;
    }
}

/**
 * messages = ybar of the span's rows, if needsInput, and dE/dt of each entry: stored if isFirst, else added to what is there. Begins after a barrier,
 * ends with one.
 */
DEVICE void passMessagesBack(LOCAL_ARG real4* features, LOCAL_ARG real* scratch, int4 span, PAIR_ROWS, FUNCTION_MEMORY const POINT* points,
                             EXPANSION_MEMORY const EXPANSION* factors, real filterScale, GLOBAL real* messages, GLOBAL const real* RESTRICT y, int byType,
                             GLOBAL const real* RESTRICT q, GLOBAL real* RESTRICT dEdt, int isFirst, int needsInput) {
    const int thread = getThread(), lane = thread%32, warp = thread/32, g = lane/4, t = lane%4;
    for (int slice = 0; slice*BACK_BLOCKS < CHANNEL_BLOCKS; slice++) {
#ifdef FEATURES_RESIDENT
        loadFeatures(features, y, span, BACK_BLOCKS, slice, byType, types);
        loadFeatures(features+RESIDENT_PARTICLES*4*BACK_BLOCKS, q, span, BACK_BLOCKS, slice, 0, types);
        SYNC_THREADS;
        FEATURE_MEMORY const real4* ys = features;
        FEATURE_MEMORY const real4* qs = features+RESIDENT_PARTICLES*4*BACK_BLOCKS;
#else
        FEATURE_MEMORY const real4* ys = (GLOBAL const real4*) y;
        FEATURE_MEMORY const real4* qs = (GLOBAL const real4*) q;
#endif
        for (int round = 0; round*WARPS < (span.w-span.z)*ROW_PARTS; round++) {
            const int task = round*WARPS+warp, part = task%ROW_PARTS, isRow = (span.z+task/ROW_PARTS < span.w), i = min(span.z+task/ROW_PARTS, span.w-1);
            const int count = isRow ? counts[i] : 0;
            int longest = count;
#ifdef WARPS_WAIT
            for (int row = round*WARPS/ROW_PARTS; row <= (round*WARPS+WARPS-1)/ROW_PARTS && span.z+row < span.w; row++)
                longest = max(longest, counts[span.z+row]);
#endif
            real sum[4*BACK_BLOCKS];
            UNROLL
            for (int c = 0; c < 4*BACK_BLOCKS; c++)
                sum[c] = 0;
            for (int begin = 0; begin < longest; begin += ROW_PARTS*16*BACK_TILES) {
                const int first = begin+part*16*BACK_TILES;
#ifndef WARPS_WAIT
                if (first >= count)
                    break;
#endif
                // Fragments of the functions, and behind them those of their derivatives.
                FRAGMENT u[2*BACK_TILES*FRAGMENT_SIZE];
                PLACE place[2*BACK_TILES], placeY[2*BACK_TILES];
                int turn[2*BACK_TILES];
                real s[2*BACK_TILES];
                UNROLL
                for (int tile = 0; tile < BACK_TILES; tile++) {
                    int row[2];
                    real w[8], dw[6], fraction;
                    UNROLL
                    for (int half8 = 0; half8 < 2; half8++) {
                        int j;
                        const int exists = readPair(i, first+16*tile+8*half8+g, count, capacity, senders, pieces, fractions, &j, &row[half8], &fraction);
                        weighPoints(&w[4*half8], &dw[3*half8], fraction, exists);
                        s[2*tile+half8] = 0;
                        place[2*tile+half8] = FIND_PLACE(j, j, BACK_BLOCKS);
                        placeY[2*tile+half8] = FIND_PLACE(j, byType ? types[j] : j, BACK_BLOCKS);
                        turn[2*tile+half8] = FIND_TURN(j, BACK_BLOCKS);
                    }
                    makeFragment(&u[tile*FRAGMENT_SIZE], &u[(BACK_TILES+tile)*FRAGMENT_SIZE], 1, points, row, w, dw, lane);
                }
                const PLACE own = FIND_PLACE(i, i, BACK_BLOCKS), ownY = FIND_PLACE(i, byType ? types[i] : i, BACK_BLOCKS);
                const int ownTurn = FIND_TURN(i, BACK_BLOCKS);
                UNROLL
                for (int b = 0; b < BACK_BLOCKS; b++)
                    if (HAS_BLOCK(BACK_BLOCKS, slice, b)) {
                        real filter[16*BACK_TILES];
                        expandBlock(filter, u, 2*BACK_TILES, factors, slice*BACK_BLOCKS+b, lane);
                        const real4 yi = FEATURE(ys, ownY, ownTurn, b), qi = FEATURE(qs, own, ownTurn, b);
                        UNROLL
                        for (int pair = 0; pair < 2*BACK_TILES; pair++) {
                            const real4 yj = FEATURE(ys, placeY[pair], turn[pair], b), qj = FEATURE(qs, place[pair], turn[pair], b);
                            const real* slope = &filter[8*BACK_TILES+4*pair];
                            s[pair] += slope[0]*(qi.x*yj.x+qj.x*yi.x);
                            s[pair] += slope[1]*(qi.y*yj.y+qj.y*yi.y);
                            s[pair] += slope[2]*(qi.z*yj.z+qj.z*yi.z);
                            s[pair] += slope[3]*(qi.w*yj.w+qj.w*yi.w);
                            sum[4*b] += qj.x*filter[4*pair];
                            sum[4*b+1] += qj.y*filter[4*pair+1];
                            sum[4*b+2] += qj.z*filter[4*pair+2];
                            sum[4*b+3] += qj.w*filter[4*pair+3];
                        }
                    }
                UNROLL
                for (int pair = 0; pair < 2*BACK_TILES; pair++) {
                    const real total = sumOverChannels(s[pair], scratch, thread)*filterScale;
                    const int k = first+8*pair+g;
                    if (pair%4 == t && k < count)
                        dEdt[i*capacity+k] = (slice == 0 && isFirst ? 0 : dEdt[i*capacity+k])+total;
                }
            }
            if (needsInput)
                storeSums(messages, sum, BACK_BLOCKS, slice, i, part, isRow, filterScale, scratch);
        }
        SYNC_THREADS;
    }
}

/** to [row][TILE_STRIDE] = what passMessages() or passMessagesBack() has stored; columns of padding included. */
DEVICE void loadMessages(LOCAL_ARG real* to, GLOBAL const real* messages, int begin, int rows) {
    for (int k = getThread()%TEAM_SIZE; k < rows*PADDED_CHANNELS; k += TEAM_SIZE) {
        const int row = k/PADDED_CHANNELS, c = k-row*PADDED_CHANNELS;
        GLOBAL const real* from = messages+(mm_long) (begin+row)*ROW_PARTS*PADDED_CHANNELS+c;
        real sum = from[0];
        for (int part = 1; part < ROW_PARTS; part++)
            sum += from[part*PADDED_CHANNELS];
        to[row*TILE_STRIDE+c] = sum;
    }
}

/** Bring what fits of the filter into the work-group's memory. Ends with a barrier. */
DEVICE void loadFilter(LOCAL_ARG real* pool, GLOBAL const POINT* RESTRICT functions, GLOBAL const EXPANSION* RESTRICT expansion) {
#ifdef FUNCTIONS_RESIDENT
    for (int k = getThread(); k < POINT_ROWS*FUNCTIONS/4; k += THREADS)
        ((LOCAL_ARG POINT4*) pool)[k] = ((GLOBAL const POINT4*) functions)[k];
#endif
#ifdef EXPANSION_RESIDENT
    for (int k = getThread(); k < EXPANSION_SIZE; k += THREADS)
        ((LOCAL_ARG EXPANSION*) (pool+EXPANSION_AT))[k] = expansion[k];
#endif
    SYNC_THREADS;
}

// What the kernels are made of, as in messageTable.cc. Dense layers use the memory that the features had.
#ifdef FUNCTIONS_RESIDENT
#define POINTS_OF(pool) ((LOCAL_ARG const POINT*) (pool))
#else
#define POINTS_OF(pool) functions
#endif
#ifdef EXPANSION_RESIDENT
#define FACTORS_OF(pool) ((LOCAL_ARG const EXPANSION*) ((pool)+EXPANSION_AT))
#else
#define FACTORS_OF(pool) expansion
#endif
#define MESSAGE_MEMORY \
    DECLARE_POOL; \
    LOCAL real scratch[SUM_REALS]; \
    LOCAL_ARG real* pool = (LOCAL_ARG real*) flashPool; \
    loadFilter(pool, functions, expansion);
#define FOR_EACH_TILE(pass) \
    for (int number = GROUP_ID; number < numSpans; number += NUM_GROUPS) { \
        const int4 span = spans[number]; \
        pass; \
        for (int tile = span.z; tile < span.w; tile += TEAMS*ROWS) { \
            const int begin = tile+getThread()/TEAM_SIZE*ROWS, rows = max(0, min(ROWS, span.w-begin)); \
            LOCAL_ARG real* first = pool+FEATURES_AT+getThread()/TEAM_SIZE*(TILE_REALS+SCRATCH_REALS); \
            LOCAL_ARG real* second = first+TILE_REALS;
#define END_OF_TILES }}
#define PASS_SPAN (LOCAL_ARG real4*) (pool+FEATURES_AT), scratch, span, PASS_PAIR_ROWS, POINTS_OF(pool), FACTORS_OF(pool), filterScale, messages
#define PASS_MESSAGES passMessages(PASS_SPAN, y, yByType)
#define PASS_MESSAGES_BACK passMessagesBack(PASS_SPAN, y, yByType, q, dEdt, isFirst, previous >= 0)
#define MESSAGES_OF_TILE loadMessages(first, messages, begin, rows); SYNC_THREADS
#define MESSAGES_OF_TILE_BACK MESSAGES_OF_TILE

#ifndef __OPENCL_VERSION__
// Registers for a work-group as large as this, of which a multiprocessor need not hold a second one.
#undef KERNEL
#define KERNEL extern "C" __global__ __launch_bounds__(THREADS, 1)
#endif
#undef LOCAL_ID
#define LOCAL_ID (getThread()%TEAM_SIZE)
#undef LOCAL_SIZE
#define LOCAL_SIZE TEAM_SIZE
