// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuDense.h"
#include <algorithm>
#include <cmath>
#include <sstream>
#include <stdexcept>

namespace OpenMMFlash {

namespace {

void checkSizes(const Linear& layer) {
    const size_t inputs = static_cast<size_t>(std::max(layer.inputs, 0)), outputs = static_cast<size_t>(std::max(layer.outputs, 0));
    if (inputs > 0 && outputs > 0 && layer.weight.size() == inputs * outputs && layer.bias.size() == outputs)
        return;
    std::ostringstream message;
    message << "a linear layer of " << layer.inputs << " inputs and " << layer.outputs << " outputs has " << layer.weight.size() << " weights and "
            << layer.bias.size() << " biases";
    throw std::invalid_argument(message.str());
}

/** The IEEE half precision number that x is. */
std::uint16_t toHalf(double x) {
    const unsigned sign = std::signbit(x) ? 0x8000 : 0;
    if (x == 0)
        return static_cast<std::uint16_t>(sign);
    int exponent;
    const double fraction = std::frexp(std::fabs(x), &exponent); // in [1/2, 1)
    // In units of the last bit: 2^-24 below 2^-14, then 11 significant bits.
    const int unit = std::max(exponent - 11, -24);
    const double significand = std::ldexp(fraction, exponent - unit);
    if (!std::isfinite(x) || significand != std::floor(significand) || exponent > 16) {
        std::ostringstream message;
        message.precision(17);
        message << "the weight " << x << " is not a half precision number; it must be rounded before it is packed as one";
        throw std::invalid_argument(message.str());
    }
    // A normal number's leading bit adds one to the exponent field, as it should.
    return static_cast<std::uint16_t>(sign + (static_cast<unsigned>(unit + 24) << 10) + static_cast<unsigned>(significand));
}

} // namespace

DenseActivation getDenseActivation(Activation activation) {
    switch (activation) {
    case Activation::Tanh:
        return DenseActivation::Tanh;
    case Activation::ShiftedSoftplus:
        return DenseActivation::ShiftedSoftplus;
    case Activation::Softplus:
        return DenseActivation::Softplus;
    case Activation::Silu:
        return DenseActivation::Silu;
    case Activation::Sigmoid:
        return DenseActivation::Sigmoid;
    case Activation::Mish:
        return DenseActivation::Mish;
    }
    throw std::logic_error("getDenseActivation: unknown activation");
}

PackedLinear::PackedLinear(const CpuKernels& cpuKernels, const Linear& layer, Direction direction, bool half) : kernels(cpuKernels.dense) {
    checkSizes(layer);
    const bool forward = direction == Direction::Forward;
    const int inputs = forward ? layer.inputs : layer.outputs, outputs = forward ? layer.outputs : layer.inputs;
    half = half && kernels->hasHalf;
    const size_t size = static_cast<size_t>(inputs) * roundUp(outputs, kernels->vector);
    if (half)
        halves.resize(size);
    else
        floats.resize(size);
    size_t next = 0;
    for (int begin = 0; begin < outputs; begin += kernels->panel) {
        const int width = static_cast<int>(roundUp(std::min(outputs - begin, kernels->panel), kernels->vector));
        for (int input = 0; input < inputs; input++)
            for (int output = begin; output < begin + width; output++, next++) {
                if (output >= outputs)
                    continue; // stays zero
                const size_t row = static_cast<size_t>(forward ? output : input), column = static_cast<size_t>(forward ? input : output);
                const double weight = layer.weight[row * static_cast<size_t>(layer.inputs) + column];
                if (half)
                    halves[next] = toHalf(weight);
                else
                    floats[next] = static_cast<float>(weight);
            }
    }
    if (forward && std::any_of(layer.bias.begin(), layer.bias.end(), [](double b) { return b != 0; })) {
        bias.resize(roundUp(outputs, 16));
        for (size_t k = 0; k < layer.bias.size(); k++)
            bias[k] = static_cast<float>(layer.bias[k]);
    }
    weights = {half ? static_cast<const void*>(halves.data()) : floats.data(), half, bias.data(), inputs, outputs};
}

PackedReadout::PackedReadout(const CpuKernels& cpuKernels, const Linear& layer, double scale) : kernels(cpuKernels.dense) {
    checkSizes(layer);
    if (layer.outputs != 1)
        throw std::invalid_argument("the last layer of a network has " + std::to_string(layer.outputs) + " outputs; it must have one, the energy");
    inputs = layer.inputs;
    constant = layer.bias[0];
    weights.resize(roundUp(inputs, 16));
    scaled.resize(roundUp(inputs, 16));
    for (size_t k = 0; k < layer.weight.size(); k++) {
        weights[k] = layer.weight[k];
        scaled[k] = static_cast<float>(scale * layer.weight[k]);
    }
    gradient = {nullptr, false, scaled.data(), 0, inputs};
}

} // namespace OpenMMFlash
