// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// One step of a SchNet forward, for tiles of ROWS particles; a work-group of 128 threads takes one tile after another (with filters of low rank
// a larger one takes spans of tiles, messageLowRank.cc):
//
//   IS_BLOCK       m_i = sum_j y_j * G(r_ij);  v_i = act(B m_i + b);  x_i += D v_i + d
//   IS_EMBEDDING   x_i = (K's left half) Emb[type_i] + k + (K's right half) sum_j Emb'[type_j] * G(r_ij), j not an image of i
//   neither        x_i = Emb[type_i]: a model without blocks
//
// then, if there is a next block (next >= 0), its y_i = A x_i; else the readout e_i = MLP(x_i) and, if forces are asked for, back to
// gx_i = share dE/dx_i and q_i = share dE/dm_i (share: one over the number of members).
//
// Fused: message, dense layers, residual, and at the end readout and the first backward layers: one launch a block. x, gx and act' are
// [particle][HIDDEN_WIDTH], y and q [particle][WIDTH]. In front of the first block x and y are tables over types (xByType, yByType).
// Bytes a particle beside the pairs': 8 H + 4 F (act' 4 H more with forces); a work-group reads each layer's weights once.
// Local memory: a tile, and another one or what messages need (SCRATCH_REALS). No atomics; nothing of another tile is written.
// Registers and local memory for each architecture: docs/gpu-platform.md.

KERNEL void schnetForward(PAIR_ROWS, FILTER, GLOBAL const real* RESTRICT y, int yByType,
                          GLOBAL const real* xSource, int xByType, GLOBAL real* x,
                          GLOBAL real* RESTRICT derivatives, DENSE_LAYERS, int block, int next, GLOBAL real* RESTRICT yNext, int readout,
                          GLOBAL real* RESTRICT readoutDerivatives, GLOBAL real* RESTRICT energies, int firstEnergy, real share, GLOBAL real* RESTRICT gx,
                          GLOBAL real* RESTRICT q, int includeForces) {
    MESSAGE_MEMORY
    const int readoutLayers = (next >= 0 ? 0 : READOUT_LAYERS);
    FOR_EACH_TILE(PASS_MESSAGES)
#if defined(IS_BLOCK)
        MESSAGES_OF_TILE;
        DENSE(second, false, first, rows, block+LAYER_B);
        SYNC_THREADS;
        activateRows(second, derivatives, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH, 0, includeForces);
        loadRows(first, xSource, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH, xByType, types);
        SYNC_THREADS;
        DENSE(first, true, second, rows, block+LAYER_D);
#elif defined(IS_EMBEDDING)
        MESSAGES_OF_TILE;
        loadRows(second, xSource, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH, xByType, types);
        SYNC_THREADS;
        DENSE(second, true, first, rows, block+LAYER_K);
#else
        loadRows(first, xSource, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH, xByType, types);
#endif
        SYNC_THREADS;
#ifdef IS_EMBEDDING
        LOCAL_ARG real* h = second;
        LOCAL_ARG real* other = first;
#else
        LOCAL_ARG real* h = first;
        LOCAL_ARG real* other = second;
#endif
        storeRows(x, h, begin, next >= 0 ? rows : 0, HIDDEN_WIDTH, HIDDEN_WIDTH);
        SYNC_THREADS; // as behind the gradient's rows in schnetBackward
        if (next >= 0)
            DENSE(other, false, h, rows, next+LAYER_A);
        SYNC_THREADS;
        storeRows(yNext, other, begin, next >= 0 ? rows : 0, FILTER_PADDED, FILTER_WIDTH);
        SYNC_THREADS;
        int column = 0;
        for (int layer = 0; layer < readoutLayers; layer++) {
            DENSE(other, false, h, rows, readout+layer);
            SYNC_THREADS;
            LOCAL_ARG real* result = other;
            other = h;
            h = result;
            if (layer < READOUT_LAYERS-1) {
                const int width = 8*layers[readout+layer].w;
                activateRows(h, readoutDerivatives+column, begin, rows, width, READOUT_WIDTH, 1, includeForces);
                column += width;
            }
            SYNC_THREADS;
        }
        if (LOCAL_ID < rows && readoutLayers > 0)
            energies[firstEnergy+begin+LOCAL_ID] = h[LOCAL_ID*TILE_STRIDE];
        SYNC_THREADS;
#if defined(IS_BLOCK) || defined(IS_EMBEDDING)
        const int backRows = (includeForces ? rows : 0);
        for (int k = LOCAL_ID; k < backRows*16; k += LOCAL_SIZE)
            h[k/16*TILE_STRIDE+k%16] = (k%16 == 0 ? share : 0);
        SYNC_THREADS;
        for (int layer = (includeForces ? readoutLayers : 0)-1; layer >= 0; layer--) {
            DENSE(other, false, h, rows, readout+READOUT_LAYERS+layer);
            SYNC_THREADS;
            LOCAL_ARG real* result = other;
            other = h;
            h = result;
            if (layer > 0) {
                const int width = 8*layers[readout+layer-1].w;
                column -= width;
                multiplyRows(h, readoutDerivatives+column, begin, rows, width, READOUT_WIDTH);
            }
            SYNC_THREADS;
        }
        const int lastRows = (readoutLayers > 0 ? backRows : 0);
        storeRows(gx, h, begin, lastRows, HIDDEN_WIDTH, HIDDEN_WIDTH);
        SYNC_THREADS;
#ifdef IS_BLOCK
        backToMessage(h, other, begin, lastRows, PASS_DENSE_LAYERS, block, 0, derivatives, q, WIDTH);
#else
        backToMessage(h, other, begin, lastRows, PASS_DENSE_LAYERS, block, 1, derivatives, q, WIDTH);
#endif
#endif
    END_OF_TILES
}
