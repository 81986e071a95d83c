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
 * One slice as wide as the matrix is the ordinary row-major form.
 */
struct SlicedMatrix {
    float* data;
    int width;              ///< columns in a slice, a multiple of 16
    std::ptrdiff_t stride;  ///< floats from one slice to the next
};

struct DenseKernels {
    int panel; ///< outputs in a panel of packed weights
};

} // namespace OpenMMFlash

#endif
