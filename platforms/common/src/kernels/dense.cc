// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// A dense layer for a tile of up to 16 rows, all in local memory:
//
//   out = in W^T + b          or, to add to what is there,          out += in W^T + b
//
// in [rows][16 kSteps], out [rows][16 ceil(outputs / 16)], both with strides of their own (CommonDense::getStride() keeps tensor cores'
// loads free of bank conflicts). `layer` is one of CommonDense::layers: its first tile of weights, its first bias (-1: none), kSteps
// and the number of tiles of 8 outputs. The warps of a work-group share out the tiles: read from memory are the layer's weights,
// once for each work-group. Call it from all threads, with barriers in front of it and behind it; with rows = 0 it does nothing.
// in and out must not overlap.
// Columns of padding become 0, or keep what they are.

DEVICE void dense(LOCAL_ARG real* out, int strideOut, bool add, LOCAL_ARG const real* in, int strideIn, int rows, int4 layer,
                  GLOBAL const WEIGHT* RESTRICT weights, GLOBAL const real* RESTRICT biases) {
    const int lane = LOCAL_ID%32, g = lane/4, t = lane%4, warps = LOCAL_SIZE/32;
    const int strideB = (mm_long) warps*layer.z*WEIGHTS_PER_STEP;
    for (int tile = LOCAL_ID/32; rows > 0 && tile < layer.w; tile += PRODUCT_TILES*warps) {
        const int left = (layer.w-tile+warps-1)/warps, numTiles = (left < PRODUCT_TILES ? left : PRODUCT_TILES);
        GLOBAL const WEIGHT* packed = weights+(layer.x+(mm_long) tile*layer.z)*WEIGHTS_PER_STEP;
        real sums[TILE_SUMS];
#pragma unroll
        for (int i = 0; i < TILE_SUMS; i++)
            sums[i] = 0;
        addTileProducts(sums, in, strideIn, rows, packed, strideB, numTiles, layer.z, lane);
#ifdef MAY_REPEAT_TILES
        if (!areTilesRight(sums)) {
#pragma unroll
            for (int i = 0; i < TILE_SUMS; i++)
                sums[i] = 0;
            repeatTiles(sums, in, strideIn, rows, packed, strideB, numTiles, layer.z, lane);
        }
#endif
#pragma unroll
        for (int n = 0; n < PRODUCT_TILES; n++) {
            const int column = 8*(tile+warps*n)+2*t;
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (n < numTiles && g+8*(i/2) < rows) {
                    LOCAL_ARG real* to = out+(g+8*(i/2))*strideOut+column+i%2;
                    *to = (add ? *to : 0)+(sums[4*n+i]+(layer.y >= 0 ? biases[layer.y+column+i%2] : 0));
                }
        }
    }
}
