// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// One step of a SchNet backward, for tiles of ROWS particles; a work-group of 128 threads takes one tile after another (with filters of low rank
// a larger one takes spans of tiles, messageLowRank.cc). From q = dE/dm
// of a block (or of the neighbor embedding), all particles':
//
//   dE/dt_e += sum_c dG_c/dt (q_ic y_jc + q_jc y_ic)          for each pair's entry e of the rows, see CompiledModel.h for t
//
// and, if anything is in front of the block (previous >= 0),
//
//   gx_i += A^T sum_j q_j * G(r_ij),    qPrevious_i = B^T (act' * D^T gx_i)    or    K^T gx_i in front of which is the embedding
//
// In the last launch of an evaluation (addForces), dE/dt is complete: F_i = sum_e dE/dt dt/dr (x_j - x_i) / r goes to OpenMM's forces.
// Fused: both sums over the pairs, dense layers, forces: one launch a block. Each pair is evaluated from both sides, so a row's owner
// has all that it needs. Bytes a particle beside the pairs': 12 H + 4 F. Local memory: as forward. No atomics but the forces'.
// Registers and local memory for each architecture: docs/gpu-platform.md.

/** Forces on the rows, of which there are at most `most`, the same number for all threads. Begins after a barrier, ends with one. */
DEVICE void addRowForces(LOCAL_ARG real* scratch, int begin, int rows, int most, int capacity, GLOBAL const int* RESTRICT counts, GLOBAL const real4* RESTRICT deltas,
                         GLOBAL const real* dEdt, GLOBAL const int* RESTRICT slots, GLOBAL mm_ulong* RESTRICT forceBuffers, real forceScale) {
    const int lane = LOCAL_ID%32, warp = LOCAL_ID/32, warps = LOCAL_SIZE/32;
    for (int round = 0; warps*round < most; round++) {
        const int row = warps*round+warp, i = begin+row;
        const int count = (row < rows ? counts[i] : 0);
        real x = 0, y = 0, z = 0;
        for (int k = lane; k < count; k += 32) {
            const real4 delta = deltas[i*capacity+k];
            const real scale = dEdt[i*capacity+k]*gridSlope(delta.w)/delta.w;
            x -= scale*delta.x;
            y -= scale*delta.y;
            z -= scale*delta.z;
        }
        scratch[3*LOCAL_ID] = x;
        scratch[3*LOCAL_ID+1] = y;
        scratch[3*LOCAL_ID+2] = z;
        SYNC_THREADS;
        if (lane == 0 && row < rows) {
            for (int other = 1; other < 32; other++) {
                x += scratch[3*(LOCAL_ID+other)];
                y += scratch[3*(LOCAL_ID+other)+1];
                z += scratch[3*(LOCAL_ID+other)+2];
            }
            addForce(forceBuffers, slots[i], forceScale, x, y, z);
        }
        SYNC_THREADS;
    }
}

KERNEL void schnetBackward(PAIR_ROWS, FILTER, GLOBAL const real* RESTRICT y, int yByType,
                           GLOBAL const real* RESTRICT q, GLOBAL real* dEdt, int isFirst, DENSE_LAYERS, int block, int previous, int previousIsEmbedding,
                           GLOBAL const real* RESTRICT derivatives, GLOBAL real* gx, GLOBAL real* RESTRICT qPrevious, int qWidth, int addForces,
                           GLOBAL const real4* RESTRICT deltas, GLOBAL const int* RESTRICT slots, GLOBAL mm_ulong* RESTRICT forceBuffers,
                           real forceScale) {
    MESSAGE_MEMORY
    FOR_EACH_TILE(PASS_MESSAGES_BACK)
        MESSAGES_OF_TILE_BACK;
#ifdef IS_BLOCK
        const int backRows = (previous >= 0 ? rows : 0);
        loadRows(second, gx, begin, backRows, HIDDEN_WIDTH, HIDDEN_WIDTH, 0, types);
        SYNC_THREADS;
        if (previous >= 0)
            DENSE(second, true, first, backRows, block+LAYER_A_BACK);
        SYNC_THREADS;
        storeRows(gx, second, begin, backRows, HIDDEN_WIDTH, HIDDEN_WIDTH);
        SYNC_THREADS; // without it PoCL 3.1 loses what is stored where a tile has fewer numbers than threads
        backToMessage(second, first, begin, backRows, PASS_DENSE_LAYERS, previous, previousIsEmbedding, derivatives, qPrevious, qWidth);
#endif
        addRowForces(second, begin, addForces ? rows : 0, addForces ? ROWS : 0, capacity, counts, deltas, dEdt, slots, forceBuffers, forceScale);
    END_OF_TILES
}
