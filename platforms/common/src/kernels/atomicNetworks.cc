// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The atomic networks: e_x = MLP_type(x)(aev_x) for all members, and dE/dAEV of the members' mean, forwards and backwards in one kernel.
//
//   y_0 = aev,  y_l = celu(W_l y_(l-1) + b_l),  e = w y_last + b
//   g_last = w / NUM_MEMBERS * celu'(y_last),  g_(l-1) = W_l^T g_l * celu'(y_(l-1)),  dE/dAEV = W_1^T g_1
//
// Atoms x are sorted by type. A task (first atom, atoms, type, chunk) is a tile of up to 16 ROW_TILES atoms of one type, and the members
// chunk, chunk + numChunks, ...: they go through one after the other, and add their gradients to the chunk's, which aevBackward.cc adds up.
// Whatever the number of work-groups, every sum has one order.
//
// A layer's outputs are shared out in panels: PRODUCT_TILES tiles of 8 for each warp of 32 threads, in registers for all rows, while the
// layer's input passes through local memory, STAGE_CHUNKS * 128 columns at a time (weights of more inputs than 128 are packed in
// chunks of 128, so that addTileProducts() sees whole layers). So any width works, a panel's weights are read once for all rows of the tile,
// and what a layer gives lies in a scratch array of the work-group in global memory, small enough for the second cache:
// [atom of the tile][SCRATCH_STRIDE], the hidden layers side by side; gradients overwrite them.
//
// In:   aev [x][AEV_STRIDE], zero behind AEV_LENGTH; layers, weights and biases of CommonDense; networks [member][type]: x = first of
//       hiddenLayers, y = how many, z = first of readouts (w, b), w = its inputs; hiddenLayers: x = first chunk forwards, y = chunks,
//       z, w = the same backwards.
// Out:  energies [member][x]; gradients [chunk][x][AEV_STRIDE].
// Bytes a task and member: its weights twice (fp32, C of ANI-2x: 1.4 MB), atoms * (aev + gradient + about 4 scratch widths).
// Local memory: 16 ROW_TILES (128 STAGE_CHUNKS + 8) reals: 33 to 35 KB, or half of it, which CommonAni sees to. A work-group has THREADS, 128 or 256.

#define WARPS (THREADS/32)
#define ROWS (16*ROW_TILES)
#define CHUNK 128
#define STAGE_STRIDE (CHUNK*STAGE_CHUNKS+8)
#define MEAN_FACTOR (1/(real) NUM_MEMBERS)
// The weights of a tile of a layer, and how far it is from there to the next one of the same warp.
#define PACKED(layer, tile) (weights+((mm_long) (layer).x+(mm_long) (tile)*(layer).z)*WEIGHTS_PER_STEP)
#define PACKED_STRIDE(layer) (WARPS*(layer).z*WEIGHTS_PER_STEP)
#define TO_HIDDEN 0
#define TO_HIDDEN_GRADIENT 1
#define TO_GRADIENT 2
#define ADD_TO_GRADIENT 3

/** What celu'(x) is where celu(x) is y. */
DEVICE real celuSlope(real y) {
    return y > 0 ? 1 : 1+y*(1/(real) CELU_ALPHA);
}

/**
 * A layer for all rows, packed as chunks of inputs: layers[first ... first + numChunks - 1], if any. What becomes of its results, `mode`
 * says. No barrier may stand in a condition: some compilers for CPUs copy what is behind it.
 */
DEVICE void multiply(GLOBAL const real* from, int fromStride, GLOBAL real* to, int toStride, int rows, int mode, int first, int numChunks,
                     GLOBAL const int4* RESTRICT layers, GLOBAL const WEIGHT* RESTRICT weights, GLOBAL const real* RESTRICT biases,
                     LOCAL_ARG real* stage) {
    const int warp = LOCAL_ID/32, lane = LOCAL_ID%32, g = lane/4, t = lane%4;
    const int4 firstLayer = layers[first];
    const int numTiles = (numChunks > 0 ? firstLayer.w : 0);
    for (int panel = 0; panel < numTiles; panel += WARPS*PRODUCT_TILES) {
        const int tile = panel+warp, left = (numTiles-tile+WARPS-1)/WARPS;
        const int ours = (tile >= numTiles ? 0 : (left < PRODUCT_TILES ? left : PRODUCT_TILES));
        real sums[TILE_SUMS];
#pragma unroll
        for (int i = 0; i < TILE_SUMS; i++)
            sums[i] = 0;
        for (int firstChunk = 0; firstChunk < numChunks; firstChunk += STAGE_CHUNKS) {
            const int lastChunk = (firstChunk+STAGE_CHUNKS < numChunks ? firstChunk+STAGE_CHUNKS : numChunks)-1;
            SYNC_THREADS;
            if (panel == 0 || numChunks > STAGE_CHUNKS) {
                const int steps = CHUNK/16*(lastChunk-firstChunk)+layers[first+lastChunk].z, rowTiles = (rows+15)/16;
                for (int i = warp; i < rowTiles*steps; i += WARPS) {
                    const int row = 16*(i/steps), step = i%steps;
                    storeTile(stage+row*STAGE_STRIDE, STAGE_STRIDE, step, from+(mm_long) row*fromStride+CHUNK*firstChunk+16*step, fromStride, rows-row, lane);
                }
            }
            SYNC_THREADS;
            for (int chunk = firstChunk; chunk <= lastChunk; chunk++) {
                const int4 layer = layers[first+chunk];
                addStoredTileProducts(sums, stage, STAGE_STRIDE, CHUNK/16*(chunk-firstChunk), rows, PACKED(layer, tile), PACKED_STRIDE(layer), ours,
                                      layer.z, lane);
            }
        }
#ifdef MAY_REPEAT_TILES
        if (!areTilesRight(sums)) {
#pragma unroll
            for (int i = 0; i < TILE_SUMS; i++)
                sums[i] = 0;
            for (int chunk = 0; chunk < numChunks; chunk++) {
                const int4 layer = layers[first+chunk];
                repeatTiles(sums, from+CHUNK*chunk, fromStride, rows, PACKED(layer, tile), PACKED_STRIDE(layer), ours, layer.z, lane);
            }
        }
#endif
#pragma unroll
        for (int n = 0; n < PRODUCT_TILES; n++)
            if (n < ours) {
                const int column = 8*(tile+WARPS*n)+2*t;
#pragma unroll
                for (int k = 0; k < 4*ROW_TILES; k++) {
                    const int row = 16*(k/4)+8*(k%4/2)+g;
                    if (row < rows) {
                        GLOBAL real* result = to+(mm_long) row*toStride+column+k%2;
                        real value = sums[4*(PRODUCT_TILES*(k/4)+n)+k%4], unused;
                        if (mode == TO_HIDDEN)
                            value = activateCelu(value+biases[firstLayer.y+column+k%2], CELU_ALPHA, &unused);
                        else if (mode == TO_HIDDEN_GRADIENT)
                            value *= celuSlope(*result);
                        else if (mode == ADD_TO_GRADIENT)
                            value += *result;
                        *result = value;
                    }
                }
            }
    }
    SYNC_THREADS;
}

KERNEL void evaluateNetworks(int numParticles, GLOBAL const int4* RESTRICT tasks, int numTasks, int numChunks, int includeForces,
                             GLOBAL const int4* RESTRICT networks, GLOBAL const int4* RESTRICT hiddenLayers, GLOBAL const int4* RESTRICT layers,
                             GLOBAL const WEIGHT* RESTRICT weights, GLOBAL const real* RESTRICT biases, GLOBAL const real* RESTRICT readouts,
                             GLOBAL const real* aev, GLOBAL real* scratch, GLOBAL real* RESTRICT energies, GLOBAL real* gradients) {
    LOCAL real stage[ROWS*STAGE_STRIDE];
    GLOBAL real* hidden = scratch+(mm_long) GROUP_ID*ROWS*SCRATCH_STRIDE;
    for (int index = GROUP_ID; index < numTasks; index += NUM_GROUPS) {
        const int4 task = tasks[index];
        const int rows = task.y;
        GLOBAL const real* input = aev+(mm_long) task.x*AEV_STRIDE;
        GLOBAL real* gradient = gradients+((mm_long) task.w*numParticles+task.x)*AEV_STRIDE;
        for (int member = task.w; member < NUM_MEMBERS; member += numChunks) {
            const int4 network = networks[member*NUM_TYPES+task.z];
            const int numHidden = network.y, numSteps = (includeForces ? 2*numHidden : numHidden);
            const bool add = (member != task.w);
            int column = 0; // of the hidden layer that was last evaluated, or whose gradient was
            for (int step = 0; step <= numSteps; step++) {
                // Forwards through the layers, the readout, and backwards: one loop, so that multiply() and its barriers are there once.
                const bool backwards = (step > numHidden), readout = (step == numHidden);
                const int l = (backwards ? numSteps-step : (readout ? 0 : step));
                const int4 layer = hiddenLayers[network.x+l];
                GLOBAL const real* from = hidden+column;
                int fromStride = SCRATCH_STRIDE, toStride = SCRATCH_STRIDE, mode = TO_HIDDEN;
                if (step == 0) {
                    from = input;
                    fromStride = AEV_STRIDE;
                }
                else if (backwards && l > 0)
                    column -= 8*layers[hiddenLayers[network.x+l-1].x].w;
                else if (!backwards && !readout)
                    column += 8*layers[hiddenLayers[network.x+l-1].x].w;
                GLOBAL real* to = hidden+column;
                if (backwards) {
                    mode = TO_HIDDEN_GRADIENT;
                    if (l == 0) {
                        to = gradient;
                        toStride = AEV_STRIDE;
                        mode = (add ? ADD_TO_GRADIENT : TO_GRADIENT);
                    }
                }
                multiply(from, fromStride, to, toStride, rows, mode, backwards ? layer.z : layer.x, readout ? 0 : (backwards ? layer.w : layer.y), layers,
                         weights, biases, stage);

                // The readout: a few threads for each row.
                const int row = LOCAL_ID%ROWS, part = LOCAL_ID/ROWS;
                real sum = 0;
                if (readout && row < rows)
                    for (int k = part; k < network.w; k += THREADS/ROWS) {
                        const real w = readouts[network.z+k];
                        GLOBAL real* last = hidden+(mm_long) row*SCRATCH_STRIDE+column+k;
                        const real y = (numHidden == 0 ? input[(mm_long) row*AEV_STRIDE+k] : *last);
                        sum += w*y;
                        if (includeForces) {
                            if (numHidden == 0) {
                                GLOBAL real* result = gradient+(mm_long) row*AEV_STRIDE+k;
                                *result = (add ? *result : 0)+w*MEAN_FACTOR;
                            }
                            else
                                *last = w*MEAN_FACTOR*celuSlope(y);
                        }
                    }
                stage[LOCAL_ID] = sum;
                SYNC_THREADS;
                if (readout && LOCAL_ID < rows) {
                    for (int k = 1; k < THREADS/ROWS; k++)
                        sum += stage[k*ROWS+LOCAL_ID];
                    energies[(mm_long) member*numParticles+task.x+LOCAL_ID] = sum+readouts[network.z+network.w];
                }
            }
        }
    }
}
