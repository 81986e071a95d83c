// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "TableMaker.h"
#include <algorithm>
#include <cmath>

namespace OpenMMFlash {

namespace {

double getLargestRatio(const std::vector<double>& errors, const std::vector<double>& maxima) {
    double largest = 0;
    for (size_t c = 0; c < errors.size(); c++) {
        if (errors[c] == 0)
            continue;
        const double ratio = errors[c] / maxima[c];
        largest = std::isnan(ratio) ? HUGE_VAL : std::max(largest, ratio);
    }
    return largest;
}

void raiseSmall(std::vector<double>& maxima) {
    double largest = 0;
    for (const double maximum : maxima)
        largest = std::max(largest, maximum);
    for (double& maximum : maxima)
        maximum = std::max(maximum, 1e-9 * largest);
}

/** dr/dt at r, a knot of the piece. */
double getStretch(const RadialGrid& grid, int piece, double r) {
    if (piece == 0)
        return grid.first;
    return (grid.knots == RadialGrid::Knots::Linear ? 1 : r) / grid.getScale();
}

std::vector<double> makeCoefficients(const RadialGrid& grid, const std::vector<double>& knots, const EdgeSamples& exact, int channels) {
    std::vector<double> coefficients(static_cast<size_t>(grid.pieces) * 4 * channels);
    for (int piece = 0; piece < grid.pieces; piece++) {
        const size_t at = static_cast<size_t>(piece) * channels;
        const double stretch0 = getStretch(grid, piece, knots[piece]), stretch1 = getStretch(grid, piece, knots[piece + 1]);
        double* c = &coefficients[4 * at];
        for (int k = 0; k < channels; k++) {
            const double value0 = exact.values[at + k], value1 = exact.values[at + channels + k];
            const double slope0 = exact.derivatives[at + k] * stretch0, slope1 = exact.derivatives[at + channels + k] * stretch1;
            c[k] = value0;
            c[channels + k] = slope0;
            c[2 * channels + k] = 3 * (value1 - value0) - 2 * slope0 - slope1;
            c[3 * channels + k] = 2 * (value0 - value1) + slope0 + slope1;
        }
    }
    return coefficients;
}

} // namespace

void ChannelMaxima::add(const double* value, const double* derivative) {
    // Not a number stays: the comparison with it is false.
    for (size_t c = 0; c < values.size(); c++) {
        values[c] = std::fabs(value[c]) <= values[c] ? values[c] : std::fabs(value[c]);
        derivatives[c] = std::fabs(derivative[c]) <= derivatives[c] ? derivatives[c] : std::fabs(derivative[c]);
    }
}

void ChannelMaxima::finish() {
    raiseSmall(values);
    raiseSmall(derivatives);
}

double ChannelMaxima::getRelativeValue(const std::vector<double>& errors) const {
    return getLargestRatio(errors, values);
}

double ChannelMaxima::getRelativeDerivative(const std::vector<double>& errors) const {
    return getLargestRatio(errors, derivatives);
}

RadialTable makeTable(const EdgeFunctions& functions, int function, const RadialGrid& grid, const std::vector<double>& kinks) {
    RadialTable table;
    table.channels = functions.getNumChannels(function);
    const size_t channels = static_cast<size_t>(table.channels);
    ChannelMaxima maxima(table.channels), errors(table.channels), errorsBelow(table.channels);
    {
        std::vector<double> knots;
        for (int piece = 0; piece < grid.pieces; piece++)
            knots.push_back(grid.getDistance(piece, 0));
        knots.push_back(grid.cutoff);
        const EdgeSamples exact = functions.evaluate(function, knots);
        table.coefficients = makeCoefficients(grid, knots, exact, table.channels);
        for (size_t i = 1; i < knots.size(); i++)
            maxima.add(&exact.values[i * channels], &exact.derivatives[i * channels]);
    }
    std::vector<double> distances, values(channels), derivatives(channels);
    auto measure = [&]() {
        const EdgeSamples exact = functions.evaluate(function, distances);
        for (size_t i = 0; i < distances.size(); i++) {
            const double *exactValues = &exact.values[i * channels], *exactDerivatives = &exact.derivatives[i * channels];
            table.evaluate(grid, distances[i], values.data(), derivatives.data());
            for (size_t c = 0; c < channels; c++) {
                values[c] -= exactValues[c];
                derivatives[c] -= exactDerivatives[c];
            }
            const bool below = distances[i] < grid.first;
            if (!below)
                maxima.add(exactValues, exactDerivatives);
            (below ? errorsBelow : errors).add(values.data(), derivatives.data());
        }
        distances.clear();
    };
    for (int piece = 0; piece < grid.pieces; piece++) {
        for (const double t : MeasuredAt)
            distances.push_back(grid.getDistance(piece, t));
        if (distances.size() > 200)
            measure();
    }
    distances.insert(distances.end(), kinks.begin(), kinks.end());
    measure();
    maxima.finish();
    table.valueError = ErrorMargin * maxima.getRelativeValue(errors.values);
    table.derivativeError = ErrorMargin * maxima.getRelativeDerivative(errors.derivatives);
    table.valueErrorBelow = ErrorMargin * maxima.getRelativeValue(errorsBelow.values);
    return table;
}

} // namespace OpenMMFlash
