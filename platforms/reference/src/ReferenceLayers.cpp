// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "ReferenceLayers.h"
#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace OpenMMFlash {

namespace {

/** Inputs that are multiplied side by side, so that a weight is read once for all of them. Each sum still runs in the order of its index. */
constexpr int Lanes = 8;

std::vector<ColumnRange> getRanges(const Linear& layer, const std::vector<ColumnRange>& columns) {
    return columns.empty() ? std::vector<ColumnRange>{{0, layer.inputs}} : columns;
}

/** 1 / (1 + exp(-x)), without overflow. */
double sigmoid(double x) {
    if (x >= 0)
        return 1 / (1 + std::exp(-x));
    double e = std::exp(x);
    return e / (1 + e);
}

/** ln(1 + exp(x)), without overflow. */
double softplus(double x) {
    return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
}

/** y = W x, plus a bias if there is one. */
void multiply(const Linear& layer, const double* bias, int n, const double* x, double* y, const std::vector<ColumnRange>& ranges) {
    std::vector<double> packed(static_cast<size_t>(layer.inputs) * Lanes, 0.0); // [input][lane]
    for (int first = 0; first < n; first += Lanes) {
        const int lanes = std::min(Lanes, n - first);
        for (const ColumnRange& range : ranges)
            for (int c = range.begin; c < range.end; c++)
                for (int lane = 0; lane < Lanes; lane++)
                    packed[c * Lanes + lane] = lane < lanes ? x[static_cast<size_t>(first + lane) * layer.inputs + c] : 0.0;
        for (int o = 0; o < layer.outputs; o++) {
            double sum[Lanes];
            std::fill(sum, sum + Lanes, bias ? bias[o] : 0.0);
            const double* row = &layer.weight[static_cast<size_t>(o) * layer.inputs];
            for (const ColumnRange& range : ranges)
                for (int c = range.begin; c < range.end; c++)
                    for (int lane = 0; lane < Lanes; lane++)
                        sum[lane] += row[c] * packed[c * Lanes + lane];
            for (int lane = 0; lane < lanes; lane++)
                y[static_cast<size_t>(first + lane) * layer.outputs + o] = sum[lane];
        }
    }
}

} // namespace

ValueAndDerivative evaluateActivation(Activation activation, double x) {
    switch (activation) {
    case Activation::Tanh: {
        double t = std::tanh(x);
        return {t, 1 - t * t};
    }
    case Activation::ShiftedSoftplus:
        return {softplus(x) - std::log(2.0), sigmoid(x)};
    case Activation::Softplus:
        return {softplus(x), sigmoid(x)};
    case Activation::Silu: {
        double s = sigmoid(x);
        return {x * s, s * (1 + x * (1 - s))};
    }
    case Activation::Sigmoid: {
        double s = sigmoid(x);
        return {s, s * (1 - s)};
    }
    case Activation::Mish: {
        double t = std::tanh(softplus(x));
        return {x * t, t + x * (1 - t * t) * sigmoid(x)};
    }
    }
    throw std::logic_error("evaluateActivation: not an activation");
}

ValueAndDerivative evaluateCelu(double alpha, double x) {
    if (x > 0)
        return {x, 1};
    return {alpha * std::expm1(x / alpha), std::exp(x / alpha)};
}

void activate(Activation activation, std::vector<double>& x, std::vector<double>& derivatives) {
    derivatives.resize(x.size());
    for (size_t k = 0; k < x.size(); k++) {
        ValueAndDerivative f = evaluateActivation(activation, x[k]);
        x[k] = f.value;
        derivatives[k] = f.derivative;
    }
}

void applyLinear(const Linear& layer, int n, const double* x, double* y, const std::vector<ColumnRange>& columns) {
    multiply(layer, layer.bias.data(), n, x, y, getRanges(layer, columns));
}

void applyWeight(const Linear& layer, int n, const double* x, double* y) {
    multiply(layer, nullptr, n, x, y, getRanges(layer, {}));
}

void applyTransposed(const Linear& layer, int n, const double* gy, double* gx, const std::vector<ColumnRange>& columns) {
    const std::vector<ColumnRange> ranges = getRanges(layer, columns);
    std::vector<double> packed(static_cast<size_t>(layer.outputs) * Lanes); // [output][lane]
    for (int first = 0; first < n; first += Lanes) {
        const int lanes = std::min(Lanes, n - first);
        for (int o = 0; o < layer.outputs; o++)
            for (int lane = 0; lane < Lanes; lane++)
                packed[o * Lanes + lane] = lane < lanes ? gy[static_cast<size_t>(first + lane) * layer.outputs + o] : 0.0;
        for (const ColumnRange& range : ranges)
            for (int c = range.begin; c < range.end; c++) {
                double sum[Lanes] = {};
                for (int o = 0; o < layer.outputs; o++)
                    for (int lane = 0; lane < Lanes; lane++)
                        sum[lane] += layer.weight[static_cast<size_t>(o) * layer.inputs + c] * packed[o * Lanes + lane];
                for (int lane = 0; lane < lanes; lane++)
                    gx[static_cast<size_t>(first + lane) * layer.inputs + c] = sum[lane];
            }
    }
}

void evaluatePerceptron(const std::vector<Linear>& layers, const std::function<ValueAndDerivative(double)>& activation, int n, const double* x, double* values,
                        double* gradient, const std::vector<ColumnRange>& columns) {
    // Columns concern the first layer only: everything behind it is dense.
    const std::vector<ColumnRange> all;
    const int numLayers = static_cast<int>(layers.size());
    std::vector<std::vector<double>> derivatives(numLayers); // act' behind each layer but the last, [n][outputs]
    std::vector<double> hidden;
    for (int l = 0; l < numLayers; l++) {
        std::vector<double> y(static_cast<size_t>(n) * layers[l].outputs);
        applyLinear(layers[l], n, l == 0 ? x : hidden.data(), y.data(), l == 0 ? columns : all);
        if (l + 1 < numLayers) {
            derivatives[l].resize(y.size());
            for (size_t k = 0; k < y.size(); k++) {
                ValueAndDerivative f = activation(y[k]);
                y[k] = f.value;
                derivatives[l][k] = f.derivative;
            }
        }
        hidden.swap(y);
    }
    std::copy(hidden.begin(), hidden.end(), values);
    std::vector<double> g(n, 1.0);
    for (int l = numLayers - 1; l > 0; l--) {
        std::vector<double> gx(static_cast<size_t>(n) * layers[l].inputs);
        applyTransposed(layers[l], n, g.data(), gx.data());
        for (size_t k = 0; k < gx.size(); k++)
            gx[k] *= derivatives[l - 1][k];
        g.swap(gx);
    }
    applyTransposed(layers[0], n, g.data(), gradient, columns);
}

} // namespace OpenMMFlash
