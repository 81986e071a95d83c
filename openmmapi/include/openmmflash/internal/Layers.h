// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_LAYERS_H_
#define OPENMMFLASH_LAYERS_H_

#include "openmmflash/internal/ModelSpec.h"
#include <vector>

namespace OpenMMFlash {

/** Columns begin to end - 1 of a layer, without its bias. */
inline Linear takeColumns(const Linear& layer, int begin, int end) {
    Linear part;
    part.inputs = end - begin;
    part.outputs = layer.outputs;
    part.bias.assign(layer.outputs, 0.0);
    for (int row = 0; row < layer.outputs; row++)
        for (int column = begin; column < end; column++)
            part.weight.push_back(layer.weight[static_cast<size_t>(row) * layer.inputs + column]);
    return part;
}

/** W x + b for each of the rows x. */
inline std::vector<double> applyLayer(const Linear& layer, const std::vector<double>& x) {
    const size_t n = x.size() / layer.inputs;
    std::vector<double> y(n * layer.outputs);
    for (size_t row = 0; row < n; row++)
        for (int output = 0; output < layer.outputs; output++) {
            double sum = layer.bias[output];
            for (int input = 0; input < layer.inputs; input++)
                sum += layer.weight[static_cast<size_t>(output) * layer.inputs + input] * x[row * layer.inputs + input];
            y[row * layer.outputs + output] = sum;
        }
    return y;
}

} // namespace OpenMMFlash

#endif
