// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "TableMaker.h"
#include <algorithm>
#include <cmath>

namespace OpenMMFlash {

namespace {

/** Values of the four basis functions of a piece at t, and their derivatives by t. */
void evaluateBasis(double t, double* w, double* dw) {
    const double s = 1 - t;
    w[0] = s * s * s / 6;
    w[1] = (3 * t * t * t - 6 * t * t + 4) / 6;
    w[2] = (3 * s * s * s - 6 * s * s + 4) / 6;
    w[3] = t * t * t / 6;
    dw[0] = -s * s / 2;
    dw[1] = (3 * t - 4) * t / 2;
    dw[2] = (4 - 3 * s) * s / 2;
    dw[3] = t * t / 2;
}

/** The four points of a cubic whose coefficients are a. */
void convertPiece(const double* a, double* points) {
    points[0] = a[0] - a[1] + 2 * a[2] / 3;
    points[1] = a[0] - a[2] / 3;
    points[2] = a[0] + a[1] + 2 * a[2] / 3;
    points[3] = a[0] + 2 * a[1] + 11 * a[2] / 3 + 6 * a[3];
}

/**
 * Points of the spline with these values at its knots and these slopes at both ends. Every inner point c_i has c_(i-1) + 4 c_i + c_(i+1) =
 * 6 values_i: a diagonally dominant system, solved by elimination after the slopes have replaced the outermost points.
 */
std::vector<double> interpolate(const std::vector<double>& values, double firstSlope, double lastSlope) {
    const size_t n = values.size();
    std::vector<double> right(n), upper(n), points(n + 2);
    for (size_t i = 0; i < n; i++)
        right[i] = 6 * values[i];
    right[0] += 2 * firstSlope;
    right[n - 1] -= 2 * lastSlope;
    double pivot = 4;
    upper[0] = 2 / pivot;
    right[0] /= pivot;
    for (size_t i = 1; i < n; i++) {
        const double lower = i + 1 == n ? 2 : 1;
        pivot = 4 - lower * upper[i - 1];
        upper[i] = 1 / pivot;
        right[i] = (right[i] - lower * right[i - 1]) / pivot;
    }
    points[n] = right[n - 1];
    for (size_t i = n - 1; i > 0; i--)
        points[i] = right[i - 1] - upper[i - 1] * points[i + 1];
    points[0] = points[2] - 2 * firstSlope;
    points[n + 1] = points[n - 1] + 2 * lastSlope;
    return points;
}

/** Rows that neighboring pieces share: one spline from the first knot to the cutoff. */
RadialSplines share(const RadialTable& functions, const RadialGrid& grid) {
    const size_t channels = functions.channels, intervals = grid.pieces - 1;
    RadialSplines splines;
    splines.channels = functions.channels;
    splines.shared = true;
    splines.points.resize((intervals + 7) * channels);
    for (size_t k = 0; k < channels; k++) {
        auto coefficient = [&](size_t piece, int power) { return functions.coefficients[(piece * 4 + power) * channels + k]; };
        double a[4], points[4];
        for (int power = 0; power < 4; power++)
            a[power] = coefficient(0, power);
        convertPiece(a, points);
        for (size_t m = 0; m < 4; m++)
            splines.points[m * channels + k] = points[m];
        std::vector<double> values;
        for (size_t piece = 1; piece <= intervals; piece++)
            values.push_back(coefficient(piece, 0));
        for (int power = 0; power < 4; power++)
            a[power] = coefficient(intervals, power);
        values.push_back(a[0] + a[1] + a[2] + a[3]);
        const std::vector<double> all = interpolate(values, coefficient(1, 1), a[1] + 2 * a[2] + 3 * a[3]);
        for (size_t row = 0; row < all.size(); row++)
            splines.points[(4 + row) * channels + k] = all[row];
    }
    return splines;
}

/** Four rows of its own for each piece: exact, whatever the pieces are. */
RadialSplines separate(const RadialTable& functions, const RadialGrid& grid) {
    const size_t channels = functions.channels;
    RadialSplines splines;
    splines.channels = functions.channels;
    splines.points.resize(static_cast<size_t>(grid.pieces) * 4 * channels);
    for (size_t piece = 0; piece < static_cast<size_t>(grid.pieces); piece++)
        for (size_t k = 0; k < channels; k++) {
            double a[4], points[4];
            for (size_t power = 0; power < 4; power++)
                a[power] = functions.coefficients[(piece * 4 + power) * channels + k];
            convertPiece(a, points);
            for (size_t m = 0; m < 4; m++)
                splines.points[(piece * 4 + m) * channels + k] = points[m];
        }
    return splines;
}

/** Errors of sum_k u_k V_k between first knot and cutoff, relative to the largest value and derivative of each channel. */
void measure(const LowRankFactors& factors, const RadialGrid& grid, RadialSplines& splines) {
    const size_t rank = factors.getRank(), channels = factors.expansion.size() / rank;
    ChannelMaxima largest(static_cast<int>(channels)), errors(static_cast<int>(channels));
    std::vector<double> u(rank), du(rank), other(rank), otherSlope(rank);
    auto add = [&](ChannelMaxima& to, const std::vector<double>& values, const std::vector<double>& slopes) {
        std::vector<double> value(channels), slope(channels);
        for (size_t k = 0; k < rank; k++)
            for (size_t c = 0; c < channels; c++) {
                value[c] += values[k] * factors.expansion[k * channels + c];
                slope[c] += slopes[k] * factors.expansion[k * channels + c];
            }
        to.add(value.data(), slope.data());
    };
    for (int piece = 1; piece < grid.pieces; piece++)
        for (const double t : {0.0, MeasuredAt[0], MeasuredAt[1], MeasuredAt[2], 1.0}) {
            const double r = grid.getDistance(piece, t);
            int found;
            double fraction, slope;
            grid.locate(r, found, fraction, slope);
            factors.functions.evaluate(grid, r, u.data(), du.data());
            splines.evaluate(found, fraction, other.data(), otherSlope.data());
            add(largest, u, du);
            for (size_t k = 0; k < rank; k++) {
                other[k] -= u[k];
                otherSlope[k] = otherSlope[k] * slope - du[k];
            }
            add(errors, other, otherSlope);
        }
    largest.finish();
    splines.valueError = ErrorMargin * largest.getRelativeValue(errors.values);
    splines.derivativeError = ErrorMargin * largest.getRelativeDerivative(errors.derivatives);
}

} // namespace

void RadialSplines::evaluate(int piece, double t, double* values, double* slopes) const {
    double w[4], dw[4];
    evaluateBasis(t, w, dw);
    const double* first = &points[static_cast<size_t>(getFirstRow(piece)) * channels];
    for (int k = 0; k < channels; k++) {
        values[k] = slopes[k] = 0;
        for (int m = 0; m < 4; m++) {
            values[k] += w[m] * first[m * channels + k];
            slopes[k] += dw[m] * first[m * channels + k];
        }
    }
}

RadialSplines makeSplines(const LowRankFactors& factors, const RadialGrid& grid, double tolerance) {
    RadialSplines splines = share(factors.functions, grid);
    measure(factors, grid, splines);
    if (splines.valueError <= tolerance && splines.derivativeError <= DerivativeTolerance * tolerance)
        return splines;
    splines = separate(factors.functions, grid);
    measure(factors, grid, splines);
    return splines;
}

} // namespace OpenMMFlash
