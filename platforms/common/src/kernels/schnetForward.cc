// One step of a SchNet forward, for tiles of ROWS particles; a work-group of 128 threads takes one tile after another:
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
// Local memory: 2 LOCAL_REALS. No atomics; nothing of another tile is written.

KERNEL void schnetForward(PAIR_ROWS, GLOBAL const real4* RESTRICT table, int expansion, GLOBAL const real* RESTRICT y, int yByType, GLOBAL const real* xSource, int xByType, GLOBAL real* x,
                          GLOBAL real* RESTRICT derivatives, DENSE_LAYERS, int block, int next, GLOBAL real* RESTRICT yNext, int readout,
                          GLOBAL real* RESTRICT readoutDerivatives, GLOBAL real* RESTRICT energies, int firstEnergy, real share, GLOBAL real* RESTRICT gx,
                          GLOBAL real* RESTRICT q, int includeForces) {
    LOCAL real first[LOCAL_REALS], second[LOCAL_REALS];
    for (int tile = GROUP_ID; tile*ROWS < NUM_PARTICLES; tile += NUM_GROUPS) {
        const int begin = tile*ROWS, rows = min(ROWS, NUM_PARTICLES-begin);
#if defined(IS_BLOCK)
        passMessages(first, second, begin, rows, PASS_PAIR_ROWS, PASS_FILTER, y, yByType);
        DENSE(second, false, first, block+LAYER_B);
        SYNC_THREADS;
        activateRows(second, derivatives, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH, 0, includeForces);
        loadRows(first, xSource, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH, xByType, types);
        SYNC_THREADS;
        DENSE(first, true, second, block+LAYER_D);
#elif defined(IS_EMBEDDING)
        passMessages(second, first, begin, rows, PASS_PAIR_ROWS, PASS_FILTER, y, yByType);
        loadRows(first, xSource, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH, xByType, types);
        SYNC_THREADS;
        DENSE(first, true, second, block+LAYER_K);
#else
        loadRows(first, xSource, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH, xByType, types);
#endif
        SYNC_THREADS;
        if (next >= 0) {
            storeRows(x, first, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH);
            DENSE(second, false, first, next+LAYER_A);
            SYNC_THREADS;
            storeRows(yNext, second, begin, rows, FILTER_PADDED, FILTER_WIDTH);
            SYNC_THREADS;
            continue;
        }
        LOCAL_ARG real* h = first;
        LOCAL_ARG real* other = second;
        int column = 0;
        for (int layer = 0; layer < READOUT_LAYERS; layer++) {
            DENSE(other, false, h, readout+layer);
            SYNC_THREADS;
            LOCAL_ARG real* result = other;
            other = h;
            h = result;
            if (layer < READOUT_LAYERS-1) {
                const int width = 8*layers[readout+layer].w;
                activateRows(h, readoutDerivatives+column, begin, rows, width, READOUT_WIDTH, 1, includeForces);
                SYNC_THREADS;
                column += width;
            }
        }
        if (LOCAL_ID < rows)
            energies[firstEnergy+begin+LOCAL_ID] = h[LOCAL_ID*TILE_STRIDE];
        SYNC_THREADS;
        if (!includeForces)
            continue;
        for (int k = LOCAL_ID; k < rows*16; k += LOCAL_SIZE)
            h[k/16*TILE_STRIDE+k%16] = (k%16 == 0 ? share : 0);
        SYNC_THREADS;
        for (int layer = READOUT_LAYERS-1; layer >= 0; layer--) {
            DENSE(other, false, h, readout+READOUT_LAYERS+layer);
            SYNC_THREADS;
            LOCAL_ARG real* result = other;
            other = h;
            h = result;
            if (layer > 0) {
                const int width = 8*layers[readout+layer-1].w;
                column -= width;
                multiplyRows(h, readoutDerivatives+column, begin, rows, width, READOUT_WIDTH);
                SYNC_THREADS;
            }
        }
        storeRows(gx, h, begin, rows, HIDDEN_WIDTH, HIDDEN_WIDTH);
#if defined(IS_BLOCK)
        backToMessage(h, other, begin, rows, PASS_DENSE_LAYERS, block, 0, derivatives, q, WIDTH);
#elif defined(IS_EMBEDDING)
        backToMessage(h, other, begin, rows, PASS_DENSE_LAYERS, block, 1, derivatives, q, WIDTH);
#endif
        SYNC_THREADS;
    }
}
