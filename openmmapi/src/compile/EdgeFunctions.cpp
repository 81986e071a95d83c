// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// A network is evaluated for a batch of distances together with its derivative: the columns of a matrix are first the values at these
// distances, then the derivatives. A linear layer treats both alike, but for the bias. Matrices are stored in panels of four columns,
// [panel][row][4], so that each product runs over contiguous memory.
#include "EdgeFunctions.h"
#include <algorithm>
#include <cmath>
#include <cstring>

namespace OpenMMFlash {

namespace {

constexpr int Lanes = 4, BatchPanels = 16, Batch = Lanes * BatchPanels;

struct Point {
    double value, derivative;
};

Point evaluateEnvelope(const Envelope& envelope, double cutoff, double r) {
    const double pi = 3.14159265358979323846;
    if (envelope.form == EnvelopeForm::None)
        return {1, 0};
    if (r >= cutoff || (envelope.lower > 0 && r <= envelope.lower))
        return {0, 0};
    if (envelope.form == EnvelopeForm::Mollifier) {
        const double s = r / cutoff, rest = (1 - s) * (1 + s), value = std::exp(1 - 1 / rest);
        return {value, -2 * s * value / (cutoff * rest * rest)};
    }
    // One half of a wave with lower == 0, a whole one from trough to trough with lower > 0.
    const double k = (envelope.lower > 0 ? 2 : 1) * pi / (cutoff - envelope.lower), angle = k * (r - envelope.lower), sign = envelope.lower > 0 ? -1 : 1;
    return {0.5 + sign * 0.5 * std::cos(angle), -sign * 0.5 * k * std::sin(angle)};
}

Point evaluateRadial(const SchNetSpec& spec, const SchNetMember& member, int k, double r, double u) {
    const bool gaussian = spec.basis == RadialBasis::Gaussian;
    const double difference = (gaussian ? r : u) - member.means[k], rate = gaussian ? member.widths[k] : -member.widths[k];
    const double value = std::exp(rate * difference * difference);
    if (value == 0)
        return {0, 0}; // u may have overflowed
    return {value, 2 * rate * difference * value * (gaussian ? 1 : -spec.basisAlpha * u)};
}

/** 1 / (1 + exp(-x)) */
double logistic(double x) {
    const double e = std::exp(-std::fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}

/** ln(1 + exp(x)) */
double logOnePlusExp(double x) {
    return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x)));
}

Point evaluateActivation(Activation activation, double x) {
    switch (activation) {
    case Activation::Tanh: {
        const double y = std::tanh(x);
        return {y, (1 - y) * (1 + y)};
    }
    case Activation::ShiftedSoftplus:
        return {logOnePlusExp(x) - 0.69314718055994530942, logistic(x)};
    case Activation::Softplus:
        return {logOnePlusExp(x), logistic(x)};
    case Activation::Silu: {
        const double s = logistic(x);
        return {x * s, s + x * s * logistic(-x)};
    }
    case Activation::Sigmoid: {
        const double s = logistic(x);
        return {s, s * logistic(-x)};
    }
    case Activation::Mish: {
        const double w = std::tanh(logOnePlusExp(x));
        return {x * w, w + x * (1 - w) * (1 + w) * logistic(x)};
    }
    }
    return {NAN, NAN};
}

/** What every processor has registers for. Spelled out, as are the sums below: left alone, the compiler takes twice the time or more. */
typedef double Pair __attribute__((vector_size(2 * sizeof(double))));

/** Four outputs of a linear layer for one panel. @param weight  their rows */
void multiplyFour(int inputs, const double* weight, const double* x, double* y) {
    const double *w0 = weight, *w1 = w0 + inputs, *w2 = w1 + inputs, *w3 = w2 + inputs;
    Pair a0 = {}, a1 = {}, b0 = {}, b1 = {}, c0 = {}, c1 = {}, d0 = {}, d1 = {};
    for (int i = 0; i < inputs; i++) {
        const Pair x0 = {x[i * Lanes], x[i * Lanes + 1]}, x1 = {x[i * Lanes + 2], x[i * Lanes + 3]};
        a0 += w0[i] * x0;
        a1 += w0[i] * x1;
        b0 += w1[i] * x0;
        b1 += w1[i] * x1;
        c0 += w2[i] * x0;
        c1 += w2[i] * x1;
        d0 += w3[i] * x0;
        d1 += w3[i] * x1;
    }
    const Pair sums[8] = {a0, a1, b0, b1, c0, c1, d0, d1};
    std::memcpy(y, sums, sizeof sums);
}

/** The same for one output. */
void multiplyOne(int inputs, const double* weight, const double* x, double* y) {
    double sum[Lanes] = {};
    for (int i = 0; i < inputs; i++)
        for (int lane = 0; lane < Lanes; lane++)
            sum[lane] += weight[i] * x[i * Lanes + lane];
    std::copy_n(sum, Lanes, y);
}

/** A matrix of value and derivative columns, [2 BatchPanels][rows][4]. */
class Columns {
public:
    explicit Columns(int rows) : rows(rows), data(static_cast<size_t>(2 * BatchPanels) * rows * Lanes) {}
    double& value(int row, int point) {
        return data[(static_cast<size_t>(point / Lanes) * rows + row) * Lanes + point % Lanes];
    }
    double& derivative(int row, int point) {
        return value(row, point + Batch);
    }
    /** Become W x (+ b for the values). */
    void assignProduct(const Linear& layer, const Columns& x, int numPoints) {
        const int used = (numPoints + Lanes - 1) / Lanes;
        for (int panel = 0; panel < 2 * BatchPanels; panel++) {
            if (panel % BatchPanels >= used)
                continue;
            const double* in = &x.data[static_cast<size_t>(panel) * x.rows * Lanes];
            double* out = &data[static_cast<size_t>(panel) * rows * Lanes];
            int row = 0;
            for (; row + 4 <= rows; row += 4)
                multiplyFour(layer.inputs, &layer.weight[static_cast<size_t>(row) * layer.inputs], in, out + row * Lanes);
            for (; row < rows; row++)
                multiplyOne(layer.inputs, &layer.weight[static_cast<size_t>(row) * layer.inputs], in, out + row * Lanes);
            if (panel < BatchPanels)
                for (row = 0; row < rows; row++)
                    for (int lane = 0; lane < Lanes; lane++)
                        out[row * Lanes + lane] += layer.bias[row];
        }
    }
    void activate(Activation activation, int numPoints) {
        for (int point = 0; point < numPoints; point++)
            for (int row = 0; row < rows; row++) {
                const Point y = evaluateActivation(activation, value(row, point));
                value(row, point) = y.value;
                derivative(row, point) *= y.derivative;
            }
    }

private:
    int rows;
    std::vector<double> data;
};

} // namespace

int EdgeFunctions::getNumPerMember() const {
    return static_cast<int>(spec.members[0].blocks.size()) + (spec.members[0].neighborEmbedding ? 1 : 0);
}

bool EdgeFunctions::isNeighborEmbedding(int function) const {
    return function % getNumPerMember() == static_cast<int>(spec.members[0].blocks.size());
}

int EdgeFunctions::getNumChannels(int function) const {
    return isNeighborEmbedding(function) ? spec.hidden : spec.filters;
}

EdgeSamples EdgeFunctions::evaluate(int function, const std::vector<double>& distances) const {
    const SchNetMember& member = spec.members[static_cast<size_t>(function / getNumPerMember())];
    const SchNetBlock* block = isNeighborEmbedding(function) ? nullptr : &member.blocks[static_cast<size_t>(function % getNumPerMember())];
    const int channels = getNumChannels(function);
    EdgeSamples samples;
    samples.values.resize(distances.size() * channels);
    samples.derivatives.resize(samples.values.size());
    Columns basis(spec.basisSize), hidden(block ? channels : 0), result(channels);
    for (size_t first = 0; first < distances.size(); first += Batch) {
        const int numPoints = static_cast<int>(std::min<size_t>(Batch, distances.size() - first));
        for (int point = 0; point < numPoints; point++) {
            const double r = distances[first + point], u = std::exp(spec.basisAlpha * (spec.basisLower - r));
            const Point envelope = evaluateEnvelope(spec.basisEnvelope, spec.cutoff, r);
            for (int k = 0; k < spec.basisSize; k++) {
                const Point e = evaluateRadial(spec, member, k, r, u);
                basis.value(k, point) = envelope.value * e.value;
                basis.derivative(k, point) = envelope.derivative * e.value + envelope.value * e.derivative;
            }
        }
        if (block) {
            hidden.assignProduct(block->filter0, basis, numPoints);
            hidden.activate(spec.activation, numPoints);
            result.assignProduct(block->filter1, hidden, numPoints);
        }
        else
            result.assignProduct(member.neighborEmbedding->projection, basis, numPoints);
        for (int point = 0; point < numPoints; point++) {
            const Point envelope = evaluateEnvelope(spec.filterEnvelope, spec.cutoff, distances[first + point]);
            double* values = &samples.values[(first + point) * channels];
            double* derivatives = &samples.derivatives[(first + point) * channels];
            for (int c = 0; c < channels; c++) {
                values[c] = envelope.value * result.value(c, point);
                derivatives[c] = envelope.derivative * result.value(c, point) + envelope.value * result.derivative(c, point);
            }
        }
    }
    return samples;
}

} // namespace OpenMMFlash
