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
    const int lane = LOCAL_ID%32, g = lane/4, t = lane%4;
    for (int tile = LOCAL_ID/32; rows > 0 && tile < layer.w; tile += LOCAL_SIZE/32) {
        real acc[4] = {0, 0, 0, 0};
        if (layer.y >= 0) {
            acc[0] = acc[2] = biases[layer.y+8*tile+2*t];
            acc[1] = acc[3] = biases[layer.y+8*tile+2*t+1];
        }
        tileProduct(acc, in, strideIn, rows, weights+(layer.x+(mm_long) tile*layer.z)*WEIGHTS_PER_STEP, layer.z, lane);
        for (int half8 = 0; half8 < 2; half8++) {
            const int row = g+8*half8;
            if (row < rows) {
                LOCAL_ARG real* to = out+row*strideOut+8*tile+2*t;
                to[0] = (add ? to[0] : 0)+acc[2*half8];
                to[1] = (add ? to[1] : 0)+acc[2*half8+1];
            }
        }
    }
}
