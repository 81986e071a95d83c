// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Continuous-filter convolutions over the rows of a tile, forward and backward, with a filter of low rank:
//
//   G(r) = sum_k u_k(r) V_k,    dG/dt = sum_k du_k/dt V_k
//
// for the sums of messageTable.cc, with the same arrays and the same functions. table real4 [piece][FUNCTIONS] holds the u_k, padded with
// zeros to FUNCTIONS = 16 RANK_STEPS; `expansion` is the layer V (inputs: functions, outputs: channels).
//
// A work-group goes through a row's pairs in batches of PAIRS: its threads evaluate the functions into local memory, then each warp
// multiplies them with V for its tiles of 8 channels by tileProduct(), and multiplies the result with the senders' features, which are
// read once a pair. A thread's sums are those of 2 channels in each of TILES tiles; the 8 threads that share channels are added up at
// the end of the row. SPLIT_EXPANSION: weights are halves, and V = hi + lo / 2^11 has its parts one below the other.
// Bytes a pair, C channels and K functions in single precision: 12 + 16 K + 4 C forward, 16 + 16 K + 8 C backward, and V once in PAIRS
// pairs. Local memory: 2 PAIRS (EXPANDED + 8) + 17 PAIRS reals, at least 9 * 32 TILES.

#define WIDTH (CHUNKS*CHANNELS*LANES)
#define FUNCTIONS (16*RANK_STEPS)
#ifdef SPLIT_EXPANSION
#define EXPANDED_STEPS (2*RANK_STEPS)
#else
#define EXPANDED_STEPS RANK_STEPS
#endif
#define EXPANDED_STRIDE (16*EXPANDED_STEPS+8)
#define PAIRS (16*PAIR_TILES)
#define TILES 4
#define CHANNEL_TILES (PADDED_CHANNELS/8)
#define LOAD_TWO(p) (*(GLOBAL const real2*) (p))
// A thread's sums stay in registers where loops over them are written out.
#ifdef __OPENCL_VERSION__
#define UNROLL
#else
#define UNROLL _Pragma("unroll")
#endif

/** The rows of pairs, as parameters and as arguments. */
#define PAIR_ROWS int numParticles, int capacity, GLOBAL const int* RESTRICT counts, GLOBAL const int* RESTRICT senders, GLOBAL const int* RESTRICT pieces, \
                  GLOBAL const real* RESTRICT fractions, GLOBAL const int* RESTRICT types
#define PASS_PAIR_ROWS numParticles, capacity, counts, senders, pieces, fractions, types
/** The filter, as parameters and as what a kernel passes. */
#define FILTER GLOBAL const real4* RESTRICT table, int4 layer, GLOBAL const WEIGHT* RESTRICT weights
#define PASS_FILTER table, layers[expansion], weights

/** The functions of a batch of pairs, u [pair][EXPANDED_STRIDE], and their derivatives by t if they are asked for. */
DEVICE void evaluateFunctions(LOCAL_ARG real* u, LOCAL_ARG real* derivatives, int withDerivatives, int i, int firstPair, int count, int capacity,
                              GLOBAL const int* RESTRICT senders, GLOBAL const int* RESTRICT pieces, GLOBAL const real* RESTRICT fractions,
                              GLOBAL const real4* RESTRICT table) {
    for (int index = LOCAL_ID; index < PAIRS*FUNCTIONS; index += LOCAL_SIZE) {
        const int pair = index/FUNCTIONS, k = index%FUNCTIONS, entry = i*capacity+firstPair+pair;
        real value = 0, derivative = 0;
        bool counts = (firstPair+pair < count);
#ifdef EXCLUDE_OWN_IMAGES
        if (counts)
            counts = (senders[entry] != i);
#endif
        if (counts) {
            const real t = fractions[entry];
            const real4 c = table[pieces[entry]*FUNCTIONS+k];
            value = CUBIC(c, t);
            derivative = CUBIC_SLOPE(c, t);
        }
        u[pair*EXPANDED_STRIDE+k] = value;
#ifdef SPLIT_EXPANSION
        u[pair*EXPANDED_STRIDE+FUNCTIONS+k] = value*(real) (1.0/2048);
#endif
        if (withDerivatives) {
            derivatives[pair*EXPANDED_STRIDE+k] = derivative;
#ifdef SPLIT_EXPANSION
            derivatives[pair*EXPANDED_STRIDE+FUNCTIONS+k] = derivative*(real) (1.0/2048);
#endif
        }
    }
}

/** Add up what the 8 threads with the same channels have, for a chunk of 32 TILES channels. Begins after a barrier, ends with one. */
DEVICE void addChannels(LOCAL_ARG real* to, int firstTile, const real* sum, LOCAL_ARG real* scratch) {
    const int lane = LOCAL_ID%32, warp = LOCAL_ID/32, g = lane/4, t = lane%4;
    UNROLL
    for (int w = 0; w < TILES; w++)
        UNROLL
        for (int c = 0; c < 2; c++)
            scratch[((w*4+warp)*8+2*t+c)*9+g] = sum[2*w+c];
    SYNC_THREADS;
    for (int c = LOCAL_ID; c < 32*TILES; c += LOCAL_SIZE)
        if (8*firstTile+c < PADDED_CHANNELS) {
            real total = 0;
            for (int other = 0; other < 8; other++)
                total += scratch[c*9+other];
            to[8*firstTile+c] = total;
        }
    SYNC_THREADS;
}

/** m [row][TILE_STRIDE]. Ends with a barrier. */
DEVICE void passMessages(LOCAL_ARG real* m, LOCAL_ARG real* scratch, int begin, int rows, PAIR_ROWS, FILTER, GLOBAL const real* RESTRICT y, int byType) {
    const int lane = LOCAL_ID%32, warp = LOCAL_ID/32, g = lane/4, t = lane%4;
    for (int row = 0; row < rows; row++)
        for (int firstTile = 0; firstTile < CHANNEL_TILES; firstTile += 4*TILES) {
            const int i = begin+row, count = counts[i];
            real sum[2*TILES];
            UNROLL
            for (int w = 0; w < 2*TILES; w++)
                sum[w] = 0;
            for (int first = 0; first < count; first += PAIRS) {
                evaluateFunctions(scratch, scratch, 0, i, first, count, capacity, senders, pieces, fractions, table);
                SYNC_THREADS;
                UNROLL
                for (int w = 0; w < TILES; w++) {
                    const int tile = firstTile+4*w+warp;
                    UNROLL
                    for (int part = 0; part < PAIR_TILES; part++) {
                        const int here = min(16, count-first-16*part);
                        if (tile >= CHANNEL_TILES || here <= 0)
                            continue;
                        real filter[4] = {0, 0, 0, 0};
                        tileProduct(filter, scratch+16*part*EXPANDED_STRIDE, EXPANDED_STRIDE, here,
                                    weights+(layer.x+(mm_long) tile*EXPANDED_STEPS)*WEIGHTS_PER_STEP, EXPANDED_STEPS, lane);
                        UNROLL
                        for (int half8 = 0; half8 < 2; half8++)
                            if (g+8*half8 < here) {
                                const int j = senders[i*capacity+first+16*part+g+8*half8];
                                const real2 yj = LOAD_TWO(y+(mm_long) (byType ? types[j] : j)*WIDTH+8*tile+2*t);
                                sum[2*w] += yj.x*filter[2*half8];
                                sum[2*w+1] += yj.y*filter[2*half8+1];
                            }
                    }
                }
                SYNC_THREADS;
            }
            addChannels(m+row*TILE_STRIDE, firstTile, sum, scratch);
        }
    SYNC_THREADS;
}

/**
 * ybar [row][TILE_STRIDE], and dE/dt of each entry: stored if isFirst, else added to what is there. Ends with a barrier.
 */
DEVICE void passMessagesBack(LOCAL_ARG real* ybar, LOCAL_ARG real* scratch, int begin, int rows, PAIR_ROWS, FILTER, GLOBAL const real* RESTRICT y, int byType,
                             GLOBAL const real* RESTRICT q, GLOBAL real* RESTRICT dEdt, int isFirst, int needsInput) {
    const int lane = LOCAL_ID%32, warp = LOCAL_ID/32, g = lane/4, t = lane%4;
    LOCAL_ARG real* slopes = scratch+PAIRS*EXPANDED_STRIDE;
    LOCAL_ARG real* partial = slopes+PAIRS*EXPANDED_STRIDE;
    for (int row = 0; row < rows; row++)
        for (int firstTile = 0; firstTile < CHANNEL_TILES; firstTile += 4*TILES) {
            const int i = begin+row, count = counts[i];
            real sum[2*TILES];
            UNROLL
            for (int w = 0; w < 2*TILES; w++)
                sum[w] = 0;
            for (int first = 0; first < count; first += PAIRS) {
                evaluateFunctions(scratch, slopes, 1, i, first, count, capacity, senders, pieces, fractions, table);
                SYNC_THREADS;
                UNROLL
                for (int part = 0; part < PAIR_TILES; part++) {
                    const int here = min(16, count-first-16*part);
                    real s[2] = {0, 0};
                    UNROLL
                    for (int w = 0; w < TILES; w++) {
                        const int tile = firstTile+4*w+warp;
                        if (tile >= CHANNEL_TILES || here <= 0)
                            continue;
                        GLOBAL const WEIGHT* RESTRICT expansion = weights+(layer.x+(mm_long) tile*EXPANDED_STEPS)*WEIGHTS_PER_STEP;
                        const real2 yi = LOAD_TWO(y+(mm_long) (byType ? types[i] : i)*WIDTH+8*tile+2*t), qi = LOAD_TWO(q+(mm_long) i*WIDTH+8*tile+2*t);
                        real filter[4] = {0, 0, 0, 0}, slope[4] = {0, 0, 0, 0};
                        tileProduct(filter, scratch+16*part*EXPANDED_STRIDE, EXPANDED_STRIDE, here, expansion, EXPANDED_STEPS, lane);
                        tileProduct(slope, slopes+16*part*EXPANDED_STRIDE, EXPANDED_STRIDE, here, expansion, EXPANDED_STEPS, lane);
                        UNROLL
                        for (int half8 = 0; half8 < 2; half8++)
                            if (g+8*half8 < here) {
                                const int j = senders[i*capacity+first+16*part+g+8*half8];
                                const real2 yj = LOAD_TWO(y+(mm_long) (byType ? types[j] : j)*WIDTH+8*tile+2*t);
                                const real2 qj = LOAD_TWO(q+(mm_long) j*WIDTH+8*tile+2*t);
                                s[half8] += slope[2*half8]*(qi.x*yj.x+qj.x*yi.x)+slope[2*half8+1]*(qi.y*yj.y+qj.y*yi.y);
                                sum[2*w] += qj.x*filter[2*half8];
                                sum[2*w+1] += qj.y*filter[2*half8+1];
                            }
                    }
                    UNROLL
                    for (int half8 = 0; half8 < 2; half8++)
                        partial[(16*part+g+8*half8)*17+4*warp+t] = s[half8];
                }
                SYNC_THREADS;
                const int k = first+LOCAL_ID;
                if (LOCAL_ID < PAIRS && k < count) {
                    real s = (firstTile == 0 && isFirst ? 0 : dEdt[i*capacity+k]);
                    for (int other = 0; other < 16; other++)
                        s += partial[LOCAL_ID*17+other];
                    dEdt[i*capacity+k] = s;
                }
                SYNC_THREADS;
            }
            addChannels(ybar+row*TILE_STRIDE, firstTile, sum, scratch);
        }
    SYNC_THREADS;
}
