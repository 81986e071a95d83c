// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_DENSE_H_
#define OPENMMFLASH_DENSE_H_

#include <cstddef>
#include <cstdint>

namespace OpenMMFlash {

/**
 * A matrix of rows (particles) x columns (channels) in slices of columns:
 * element (row, column) = data[(column / width) * stride + row * width + column % width].
 * One slice as wide as the matrix is the ordinary row-major form; the width is then its leading dimension.
 */
struct SlicedMatrix {
    float* data;
    int width;             ///< columns in a slice, a multiple of 16 (of a matrix that is only read and has one slice: anything)
    std::ptrdiff_t stride; ///< floats from one slice to the next
};

/**
 * Weights of a linear layer as multiply() reads them; PackedLinear (CpuDense.h) makes them. Outputs are cut into panels of
 * DenseKernels::panel, the last one rounded up to whole vectors: [panel][input][outputs of the panel], zero where there are none.
 */
struct PackedWeights {
    const void* panels; ///< floats, or IEEE half precision numbers, 64-byte aligned
    bool half;
    const float* bias;   ///< [outputs, with zeros up to a multiple of 16], or null
    int inputs, outputs; ///< no inputs: every row is the bias
};

enum class DenseActivation { Tanh, ShiftedSoftplus, Softplus, Silu, Sigmoid, Mish, Celu };

/**
 * What becomes of z = X W^T + bias. Columns between `outputs` and the next multiple of 16 may be written too (with finite
 * numbers if what is read there is finite); nothing else is.
 */
struct DenseOutput {
    enum class Form {
        Store,             ///< y = z
        Add,               ///< y += z
        Activate,          ///< y = a(z), and other = a'(z) if there is an `other`
        MultiplyOther,     ///< y = z * other; other may be y
        MultiplyCeluSlope, ///< y = z * CELU'(), found from the value that was stored: min(1, other / alpha + 1); other may be y
    };
    Form form;
    SlicedMatrix y;
    SlicedMatrix other = {nullptr, 0, 0};
    DenseActivation activation = DenseActivation::Tanh;
    float alpha = 1; ///< of CELU: x > 0 ? x : alpha (exp(x / alpha) - 1)
};

/** Dense layers. A row's result depends on that row alone, to the last bit: not on the range of rows it is computed in. */
struct DenseKernels {
    int panel;    ///< outputs in a panel of packed weights
    int vector;   ///< outputs in a vector
    int rowBlock; ///< rows that are computed together: ranges for threads are best multiples of it
    bool hasHalf; ///< whether weights can be packed as halves; otherwise they are floats of the same value

    /** Rows begin to end - 1 of X W^T + bias, and what becomes of them. y may not overlap x. */
    void (*multiply)(int begin, int end, const SlicedMatrix& x, const PackedWeights& weights, const DenseOutput& output);

    /** values[row] = bias + sum of x(row, k) weights[k] over `inputs` columns, in double precision, for rows begin to end - 1. */
    void (*dotRows)(int begin, int end, const SlicedMatrix& x, int inputs, const double* weights, double bias, double* values);

    /** a(x) and a'(x) of n numbers; derivative may be null, value may be x. Reads and writes nothing else. */
    void (*activate)(DenseActivation activation, float alpha, int n, const float* x, float* value, float* derivative);
};

} // namespace OpenMMFlash

#endif
