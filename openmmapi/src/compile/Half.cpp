// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "Half.h"
#include "../model/Json.h"
#include "openmmflash/internal/CompiledModel.h"
#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace OpenMMFlash {

double roundToHalf(double x) {
    // 11 significant bits; below 2^-14 the spacing stays 2^-24. Scaling by powers of two is exact, and nearbyint() breaks ties to even
    // in the rounding mode that every program starts in.
    int exponent;
    std::frexp(x, &exponent);
    const int spacing = std::max(exponent - 11, -24);
    const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, -spacing)), spacing);
    if (!(std::fabs(rounded) <= 65504))
        throw std::invalid_argument(formatNumber(x) + " has no half precision number; the largest is 65504");
    return rounded;
}

void roundWeights(Linear& layer, const std::string& name) {
    for (size_t i = 0; i < layer.weight.size(); i++) {
        try {
            layer.weight[i] = roundToHalf(layer.weight[i]);
        }
        catch (const std::invalid_argument& error) {
            const size_t inputs = static_cast<size_t>(layer.inputs);
            throw std::invalid_argument(name + ".weight [" + std::to_string(i / inputs) + ", " + std::to_string(i % inputs) + "] = " + error.what() +
                                        ". Use single precision weights for this model");
        }
    }
}

} // namespace OpenMMFlash
