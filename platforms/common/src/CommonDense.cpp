// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonDense.h"
#include "openmm/OpenMMException.h"
#include <climits>
#include <cmath>
#include <stdexcept>
#include <string>

using namespace OpenMM;

namespace OpenMMFlash {

std::uint16_t getHalfBits(double x) {
    const double rounded = roundToHalf(x);
    const unsigned sign = std::signbit(rounded) ? 0x8000 : 0;
    const double size = std::abs(rounded);
    if (size == 0)
        return static_cast<std::uint16_t>(sign);
    // Whole numbers of 2^-24 below 2^-14, otherwise a leading bit and ten more.
    const int exponent = std::max(std::ilogb(size), -14);
    const unsigned digits = static_cast<unsigned>(std::ldexp(size, 10 - exponent));
    return static_cast<std::uint16_t>(sign | ((static_cast<unsigned>(exponent + 14) << 10) + digits));
}

CommonDense::CommonDense(ComputeContext& cc, const CommonOptions& options)
    : cc(cc), layout(cc.getUseDoublePrecision() ? Layout::Real
                     : options.tensorCores      ? (options.compile.halfWeights ? Layout::Tensor : Layout::SplitTensor)
                                                : (options.compile.halfWeights ? Layout::Half : Layout::Real)) {}

int CommonDense::add(const Linear& layer, Direction direction) {
    const bool forward = direction == Direction::Forward;
    const int inputs = forward ? layer.inputs : layer.outputs, outputs = forward ? layer.outputs : layer.inputs;
    const int steps = pad(inputs) / 16, tiles = pad(outputs) / 8;
    const std::int64_t firstBias = forward ? static_cast<std::int64_t>(offsets.size()) : -1;
    if (numSteps > INT_MAX || firstBias > INT_MAX)
        throw OpenMMException("FlashForce: the model's layers have too many weights for one device");
    described.push_back(mm_int4(static_cast<int>(numSteps), static_cast<int>(firstBias), steps, tiles));
    std::vector<double> columns;
    for (int tile = 0; tile < tiles; tile++) {
        columns.assign(static_cast<size_t>(8) * 16 * steps, 0.0);
        for (int n = 0; n < 8; n++) {
            const int output = 8 * tile + n;
            for (int input = 0; output < outputs && input < inputs; input++)
                columns[static_cast<size_t>(n) * 16 * steps + input] =
                    layer.weight[forward ? static_cast<size_t>(output) * inputs + input : static_cast<size_t>(input) * outputs + output];
        }
        addTile(columns, steps);
    }
    numSteps += static_cast<std::int64_t>(steps) * tiles;
    for (int output = 0; forward && output < pad(outputs); output++)
        offsets.push_back(output < outputs ? layer.bias[output] : 0.0);
    return static_cast<int>(described.size()) - 1;
}

/** @param columns  [n 8][16 steps] */
void CommonDense::addTile(const std::vector<double>& columns, int steps) {
    auto get = [&](int step, int n, int k) { return columns[(static_cast<size_t>(n) * steps + step) * 16 + k]; };
    if (layout == Layout::Real || layout == Layout::Half) {
        for (int step = 0; step < steps; step++)
            for (int n = 0; n < 8; n++)
                for (int k = 0; k < 16; k++)
                    if (layout == Layout::Real)
                        reals.push_back(get(step, n, k));
                    else
                        halves.push_back(getHalfBits(get(step, n, k)));
        return;
    }
    auto getHigh = [](double weight) {
        try {
            return roundToHalf(weight);
        }
        catch (const std::invalid_argument& error) {
            throw OpenMMException(std::string("FlashForce: a layer's weight is too large for tensor cores: ") + error.what() +
                                  ". Use double precision, or the CPU or Reference platform");
        }
    };
    for (int plane = 0; plane < (layout == Layout::SplitTensor ? 2 : 1); plane++)
        for (int step = 0; step < steps; step++)
            for (int lane = 0; lane < 32; lane++)
                for (int element = 0; element < 4; element++) {
                    const double weight = get(step, lane / 4, 2 * (lane % 4) + element % 2 + 8 * (element / 2));
                    const double high = getHigh(weight);
                    halves.push_back(getHalfBits(plane == 0 ? high : (weight - high) * SplitScale));
                }
}

void CommonDense::upload() {
    const int count = getWeightsPerStep();
    const size_t steps = std::max<std::int64_t>(1, numSteps);
    // Elements are whole steps: there may be more weights than an int can number.
    if (layout == Layout::Real && cc.getUseDoublePrecision()) {
        reals.resize(steps * count);
        weights.initialize(cc, steps, count * static_cast<int>(sizeof(double)), "denseWeights");
        weights.upload(reals.data());
    }
    else if (layout == Layout::Real) {
        std::vector<float> floats(reals.begin(), reals.end());
        floats.resize(steps * count);
        weights.initialize(cc, steps, count * static_cast<int>(sizeof(float)), "denseWeights");
        weights.upload(floats.data());
    }
    else {
        halves.resize(steps * count);
        weights.initialize(cc, steps, count * static_cast<int>(sizeof(std::uint16_t)), "denseWeights");
        weights.upload(halves.data());
    }
    if (offsets.empty())
        offsets.push_back(0.0);
    biases.initialize(cc, offsets.size(), cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float), "denseBiases");
    biases.upload(offsets, true);
    std::vector<mm_int4> rows = described;
    if (rows.empty())
        rows.push_back(mm_int4(0, -1, 0, 0));
    layers.initialize<mm_int4>(cc, rows.size(), "denseLayers");
    layers.upload(rows);
    reals = {};
    halves = {};
    offsets = {};
}

std::map<std::string, std::string> CommonDense::getDefines() const {
    std::map<std::string, std::string> defines;
    defines["WEIGHT"] = layout == Layout::Real ? "real" : "unsigned short";
    defines["WEIGHTS_PER_STEP"] = cc.intToString(getWeightsPerStep());
    if (layout == Layout::Half)
        defines["FLASH_HALF_WEIGHTS"] = "1";
    if (layout == Layout::SplitTensor) {
        defines["FLASH_SPLIT_WEIGHTS"] = "1";
        defines["FLASH_SPLIT_SCALE"] = cc.doubleToString(SplitScale);
    }
    return defines;
}

} // namespace OpenMMFlash
