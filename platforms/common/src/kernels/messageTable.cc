// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Continuous-filter convolutions over the rows of a tile, forward and backward, with the filter as a table over distances:
//
//   m_i     = sum_j y_j * G(r_ij)                                     passMessages()
//   ybar_i  = sum_j q_j * G(r_ij)                                     passMessagesBack()
//   dE/dt_e = sum_c dG_c/dt (q_ic y_jc + q_jc y_ic)                   passMessagesBack(), e = the pair's entry in row i
//
// table real4 [piece][WIDTH], y and q [particle][WIDTH] (or y [type][WIDTH] where byType), WIDTH = the channels padded with zeros to
// CHUNKS * CHANNELS * LANES. A row's owner evaluates every pair of the row, so that each pair is evaluated from both sides: nothing is
// scattered, and each sum has one order. A team of LANES threads takes a row, or one of SPLIT parts of it where there are fewer rows
// than teams; a thread takes CHANNELS channels of a chunk: coefficients (16 bytes a channel) and features (4) are read by
// neighboring threads from neighboring addresses. Bytes a pair and C channels in single precision: 12 + 20 C forward, 16 + 24 C
// backward. Local memory backward: TEAMS * BATCH * (LANES + 1) reals, to add up dE/dt over a team's threads.

#define TEAMS (128/LANES)
#define SPLIT (ROWS < TEAMS ? TEAMS/ROWS : 1)
#define ROUNDS (ROWS < TEAMS ? 1 : ROWS/TEAMS)
#define WIDTH (CHUNKS*CHANNELS*LANES)
/** Messages of so many pairs are added up by themselves: of hundreds, dense layers would feel one long sum's rounding. */
#define RUN 16

/** The rows of pairs, as parameters and as arguments. */
#define PAIR_ROWS int numParticles, int capacity, GLOBAL const int* RESTRICT counts, GLOBAL const int* RESTRICT senders, GLOBAL const int* RESTRICT pieces, \
                  GLOBAL const real* RESTRICT fractions, GLOBAL const int* RESTRICT types
#define PASS_PAIR_ROWS numParticles, capacity, counts, senders, pieces, fractions, types
/** The filter, as parameters and as what a kernel passes. */
#define FILTER GLOBAL const real4* RESTRICT table
#define PASS_FILTER table

/** m [row][TILE_STRIDE]. Ends with a barrier. */
DEVICE void passMessages(LOCAL_ARG real* m, LOCAL_ARG real* scratch, int begin, int rows, PAIR_ROWS, FILTER, GLOBAL const real* RESTRICT y,
                         int byType) {
    const int lane = LOCAL_ID%LANES, team = LOCAL_ID/LANES, part = team%SPLIT;
    for (int chunk = 0; chunk < CHUNKS; chunk++)
        for (int round = 0; round < ROUNDS; round++) {
            const int row = round*TEAMS+team/SPLIT, i = begin+row, first = chunk*CHANNELS*LANES+lane;
            const int count = (row < rows ? counts[i] : 0);
            mixed sum[CHANNELS];
            for (int u = 0; u < CHANNELS; u++)
                sum[u] = 0;
            for (int run = part; run < count; run += RUN*SPLIT) {
                real sumOfRun[CHANNELS];
                for (int u = 0; u < CHANNELS; u++)
                    sumOfRun[u] = 0;
                for (int k = run; k < min(count, run+RUN*SPLIT); k += SPLIT) {
                    const int entry = i*capacity+k, j = senders[entry];
#ifdef EXCLUDE_OWN_IMAGES
                    if (j == i)
                        continue;
#endif
                    const real t = fractions[entry];
                    GLOBAL const real4* RESTRICT coefficients = table+pieces[entry]*WIDTH+first;
                    GLOBAL const real* RESTRICT yj = y+(mm_long) (byType ? types[j] : j)*WIDTH+first;
                    for (int u = 0; u < CHANNELS; u++) {
                        const real4 c = coefficients[u*LANES];
                        sumOfRun[u] += yj[u*LANES]*CUBIC(c, t);
                    }
                }
                for (int u = 0; u < CHANNELS; u++)
                    sum[u] += sumOfRun[u];
            }
            for (int turn = 0; turn < SPLIT; turn++) {
                if (turn == part && row < rows)
                    for (int u = 0; u < CHANNELS; u++)
                        if (first+u*LANES < PADDED_CHANNELS) {
                            LOCAL_ARG real* to = &m[row*TILE_STRIDE+first+u*LANES];
                            *to = (turn > 0 ? *to : 0)+(real) sum[u];
                        }
                if (SPLIT > 1)
                    SYNC_THREADS;
            }
        }
    SYNC_THREADS;
}

/**
 * ybar [row][TILE_STRIDE] if needsInput, and dE/dt of each entry: stored if isFirst, else added to what is there. Ends with a barrier.
 */
DEVICE void passMessagesBack(LOCAL_ARG real* ybar, LOCAL_ARG real* scratch, int begin, int rows, PAIR_ROWS, FILTER,
                             GLOBAL const real* RESTRICT y, int byType, GLOBAL const real* RESTRICT q, GLOBAL real* RESTRICT dEdt, int isFirst,
                             int needsInput) {
    const int lane = LOCAL_ID%LANES, team = LOCAL_ID/LANES, part = team%SPLIT;
    LOCAL_ARG real* partial = scratch+team*BATCH*(LANES+1);
    for (int chunk = 0; chunk < CHUNKS; chunk++)
        for (int round = 0; round < ROUNDS; round++) {
            const int row = round*TEAMS+team/SPLIT, i = begin+row, first = chunk*CHANNELS*LANES+lane;
            const int count = (row < rows ? counts[i] : 0);
            int longest = 0; // of the round: all threads have to meet at the barriers
            for (int other = round*TEAMS; other < rows && other < round*TEAMS+TEAMS/SPLIT; other++)
                longest = max(longest, counts[begin+other]);
            real qi[CHANNELS], yi[CHANNELS], sum[CHANNELS];
            for (int u = 0; u < CHANNELS; u++) {
                sum[u] = 0;
                qi[u] = (row < rows ? q[(mm_long) i*WIDTH+first+u*LANES] : 0);
                yi[u] = (row < rows ? y[(mm_long) (byType ? types[i] : i)*WIDTH+first+u*LANES] : 0);
            }
            for (int batch = 0; batch*SPLIT < longest; batch += BATCH) {
                for (int b = 0; b < BATCH; b++) {
                    const int k = (batch+b)*SPLIT+part;
                    real s = 0;
                    if (k < count) {
                        const int entry = i*capacity+k, j = senders[entry];
#ifdef EXCLUDE_OWN_IMAGES
                        if (j != i)
#endif
                        {
                            const real t = fractions[entry];
                            GLOBAL const real4* RESTRICT coefficients = table+pieces[entry]*WIDTH+first;
                            GLOBAL const real* RESTRICT yj = y+(mm_long) (byType ? types[j] : j)*WIDTH+first;
                            GLOBAL const real* RESTRICT qj = q+(mm_long) j*WIDTH+first;
                            for (int u = 0; u < CHANNELS; u++) {
                                const real4 c = coefficients[u*LANES];
                                const real qju = qj[u*LANES];
                                s += CUBIC_SLOPE(c, t)*(qi[u]*yj[u*LANES]+qju*yi[u]);
                                sum[u] += qju*CUBIC(c, t);
                            }
                        }
                    }
                    partial[b*(LANES+1)+lane] = s;
                }
                SYNC_THREADS;
                const int k = (batch+lane)*SPLIT+part;
                if (lane < BATCH && k < count) {
                    real s = (chunk == 0 && isFirst ? 0 : dEdt[i*capacity+k]);
                    for (int other = 0; other < LANES; other++)
                        s += partial[lane*(LANES+1)+other];
                    dEdt[i*capacity+k] = s;
                }
                SYNC_THREADS;
            }
            for (int turn = 0; turn < SPLIT && needsInput; turn++) {
                if (turn == part && row < rows)
                    for (int u = 0; u < CHANNELS; u++)
                        if (first+u*LANES < PADDED_CHANNELS) {
                            LOCAL_ARG real* to = &ybar[row*TILE_STRIDE+first+u*LANES];
                            *to = (turn > 0 ? *to : 0)+sum[u];
                        }
                if (SPLIT > 1)
                    SYNC_THREADS;
            }
        }
    SYNC_THREADS;
}

// What the kernels are made of: local memory, a tile after another for each work-group, and the messages of a tile in `first`.
#define MESSAGE_MEMORY LOCAL real first[TILE_REALS], second[SCRATCH_REALS];
#define FOR_EACH_TILE(pass) \
    for (int tile = GROUP_ID; tile*ROWS < numParticles; tile += NUM_GROUPS) { \
        const int begin = tile*ROWS, rows = min(ROWS, numParticles-begin);
#define END_OF_TILES }
#define MESSAGES_OF_TILE passMessages(first, second, begin, rows, PASS_PAIR_ROWS, PASS_FILTER, y, yByType)
#define MESSAGES_OF_TILE_BACK \
    passMessagesBack(first, second, begin, rows, PASS_PAIR_ROWS, PASS_FILTER, y, yByType, q, dEdt, isFirst, previous >= 0)
