// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// What the kernels of a SchNet do with the rows of a tile: up to ROWS particles from `begin` on, in local memory [row][TILE_STRIDE].
// All of a work-group's threads call these functions; none of them begins or ends with a barrier unless it says so. With rows = 0
// they do nothing but meet the barriers: kernels have none under a condition, which compilers for CPUs handle by doubling the text.
//
// Layers of a block in CommonDense::layers, from the block's index on:  A, B, D, A^T, B^T, D^T; of a neighbor embedding:  K, K^T.

#define LAYER_A 0
#define LAYER_B 1
#define LAYER_D 2
#define LAYER_A_BACK 3
#define LAYER_B_BACK 4
#define LAYER_D_BACK 5
#define LAYER_K 0
#define LAYER_K_BACK 1

/** The layers' weights, as parameters and as arguments. */
#define DENSE_LAYERS GLOBAL const WEIGHT* RESTRICT weights, GLOBAL const real* RESTRICT biases, GLOBAL const int4* RESTRICT layers
#define PASS_DENSE_LAYERS weights, biases, layers
#define DENSE(out, add, in, rows, layer) dense(out, TILE_STRIDE, add, in, TILE_STRIDE, rows, layers[layer], weights, biases)

/** Rows of from [particle or type][stride]. */
DEVICE void loadRows(LOCAL_ARG real* to, GLOBAL const real* from, int begin, int rows, int width, int stride, int byType, GLOBAL const int* RESTRICT types) {
    for (int k = LOCAL_ID; k < rows*width; k += LOCAL_SIZE) {
        const int row = k/width, c = k-row*width;
        to[row*TILE_STRIDE+c] = from[(mm_long) (byType ? types[begin+row] : begin+row)*stride+c];
    }
}

DEVICE void storeRows(GLOBAL real* to, LOCAL_ARG const real* from, int begin, int rows, int width, int stride) {
    for (int k = LOCAL_ID; k < rows*width; k += LOCAL_SIZE) {
        const int row = k/width, c = k-row*width;
        to[(mm_long) (begin+row)*stride+c] = from[row*TILE_STRIDE+c];
    }
}

/** h = act(h), and the derivative to [particle][stride] if it is needed later. */
DEVICE void activateRows(LOCAL_ARG real* h, GLOBAL real* derivatives, int begin, int rows, int width, int stride, int isReadout, int keepDerivatives) {
    for (int k = LOCAL_ID; k < rows*width; k += LOCAL_SIZE) {
        const int row = k/width, c = k-row*width;
        LOCAL_ARG real* value = &h[row*TILE_STRIDE+c];
        real derivative;
        *value = (isReadout ? READOUT_ACTIVATE(*value, &derivative) : ACTIVATE(*value, &derivative));
        if (keepDerivatives)
            derivatives[(mm_long) (begin+row)*stride+c] = derivative;
    }
}

DEVICE void multiplyRows(LOCAL_ARG real* g, GLOBAL const real* derivatives, int begin, int rows, int width, int stride) {
    for (int k = LOCAL_ID; k < rows*width; k += LOCAL_SIZE) {
        const int row = k/width, c = k-row*width;
        g[row*TILE_STRIDE+c] *= derivatives[(mm_long) (begin+row)*stride+c];
    }
}

/**
 * q = dE/dm of a block or a neighbor embedding (isEmbedding) from gx = dE/dx behind it: B^T (act' * D^T gx), or K^T gx.
 * Overwrites both tiles. Begins after a barrier, ends with one.
 */
DEVICE void backToMessage(LOCAL_ARG real* gx, LOCAL_ARG real* spare, int begin, int rows, DENSE_LAYERS, int block, int isEmbedding,
                          GLOBAL const real* derivatives, GLOBAL real* q, int qWidth) {
    DENSE(spare, false, gx, rows, block+(isEmbedding ? LAYER_K_BACK : LAYER_D_BACK));
    SYNC_THREADS;
    if (isEmbedding)
        storeRows(q, spare, begin, rows, HIDDEN_WIDTH, qWidth);
    else
        multiplyRows(spare, derivatives, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH);
    SYNC_THREADS;
    if (!isEmbedding)
        DENSE(gx, false, spare, rows, block+LAYER_B_BACK);
    SYNC_THREADS;
    if (!isEmbedding)
        storeRows(q, gx, begin, rows, FILTER_PADDED, qWidth);
    SYNC_THREADS;
}
