// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Channels are scaled by their largest values, so that the singular values of the sampled functions mean errors relative to these. The
// samples are first brought to a triangle of the same singular values and right vectors (Householder), whose columns are then made
// orthogonal by rotations (one-sided Jacobi): both keep small singular values accurate, which the eigenvalues of a Gram matrix would not.
#include "TableMaker.h"
#include <algorithm>
#include <cmath>

namespace OpenMMFlash {

namespace {

/** A matrix by columns. */
struct Matrix {
    size_t rows, columns;
    std::vector<double> data;
    Matrix(size_t rows, size_t columns) : rows(rows), columns(columns), data(rows * columns) {}
    double* column(size_t c) {
        return &data[c * rows];
    }
    const double* column(size_t c) const {
        return &data[c * rows];
    }
};

/** In four sums, which run side by side. */
double dot(const double* a, const double* b, size_t n) {
    double sums[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t k = 0; k < 4; k++)
            sums[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        sums[0] += a[i] * b[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/** The triangle R of a = Q R; a has at least as many rows as columns. */
Matrix makeTriangle(Matrix a) {
    for (size_t k = 0; k < a.columns; k++) {
        double* v = a.column(k) + k;
        const size_t n = a.rows - k;
        const double norm = std::sqrt(dot(v, v, n));
        if (norm == 0)
            continue;
        const double head = v[0] > 0 ? -norm : norm;
        v[0] -= head;
        const double square = dot(v, v, n);
        for (size_t c = k + 1; c < a.columns; c++) {
            double* other = a.column(c) + k;
            const double factor = 2 * dot(v, other, n) / square;
            for (size_t i = 0; i < n; i++)
                other[i] -= factor * v[i];
        }
        std::fill(v, v + n, 0.0);
        v[0] = head;
    }
    Matrix triangle(a.columns, a.columns);
    for (size_t c = 0; c < a.columns; c++)
        std::copy_n(a.column(c), a.columns, triangle.column(c));
    return triangle;
}

/** Right singular vectors as columns, the most important first. */
Matrix makeRightVectors(Matrix a) {
    const size_t n = a.columns;
    Matrix v(n, n);
    for (size_t c = 0; c < n; c++)
        v.column(c)[c] = 1;
    bool rotated = true;
    for (int sweep = 0; rotated && sweep < 40; sweep++) {
        rotated = false;
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++) {
                double *x = a.column(p), *y = a.column(q);
                const double xx = dot(x, x, n), yy = dot(y, y, n), xy = dot(x, y, n);
                if (std::fabs(xy) <= 1e-14 * std::sqrt(xx * yy))
                    continue;
                rotated = true;
                const double zeta = (yy - xx) / (2 * xy), tangent = std::copysign(1.0, zeta) / (std::fabs(zeta) + std::hypot(1, zeta));
                const double cosine = 1 / std::hypot(1, tangent), sine = cosine * tangent;
                for (double* columns : {x, v.column(p)}) {
                    double* others = columns == x ? y : v.column(q);
                    for (size_t i = 0; i < n; i++) {
                        const double first = columns[i], second = others[i];
                        columns[i] = cosine * first - sine * second;
                        others[i] = sine * first + cosine * second;
                    }
                }
            }
    }
    std::vector<double> squares(n);
    std::vector<size_t> order(n);
    for (size_t c = 0; c < n; c++) {
        squares[c] = dot(a.column(c), a.column(c), n);
        order[c] = c;
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t p, size_t q) { return squares[p] > squares[q]; });
    Matrix sorted(n, n);
    for (size_t c = 0; c < n; c++)
        std::copy_n(v.column(order[c]), n, sorted.column(c));
    return sorted;
}

/** Residuals of a table's channels at many distances between first knot and cutoff. */
struct Samples {
    size_t channels;
    ChannelMaxima maxima;
    std::vector<std::vector<double>> values, derivatives; ///< [distance][channels]

    Samples(const RadialTable& table, const RadialGrid& grid) : channels(static_cast<size_t>(table.channels)), maxima(table.channels) {
        add(table, grid, 1, 0);
        for (int piece = 1; piece < grid.pieces; piece++) {
            for (const double t : MeasuredAt)
                add(table, grid, piece, t);
            add(table, grid, piece, 1);
        }
        maxima.finish();
    }
    /** Take out the part along a unit vector of the space of scaled channels. */
    void project(const double* direction) {
        std::vector<double> in(channels), out(channels);
        for (size_t c = 0; c < channels; c++) {
            in[c] = direction[c] / getScale(c);
            out[c] = direction[c] * getScale(c);
        }
        for (auto* rows : {&values, &derivatives})
            for (std::vector<double>& row : *rows) {
                const double sum = dot(row.data(), in.data(), channels);
                for (size_t c = 0; c < channels; c++)
                    row[c] -= sum * out[c];
            }
    }
    double getScale(size_t c) const {
        return maxima.values[c] > 0 ? maxima.values[c] : 1;
    }

private:
    void add(const RadialTable& table, const RadialGrid& grid, int piece, double t) {
        values.emplace_back(channels);
        derivatives.emplace_back(channels);
        table.evaluate(grid, grid.getDistance(piece, t), values.back().data(), derivatives.back().data());
        maxima.add(values.back().data(), derivatives.back().data());
    }
};

/** Directions in the space of scaled channels, the most important first, from enough of the samples. */
Matrix makeDirections(const Samples& samples) {
    const size_t channels = samples.channels, stride = std::max<size_t>(1, samples.values.size() / (4 * channels)), count = samples.values.size() / stride;
    // Errors of derivatives may be larger; one factor for all channels keeps the rows' meaning.
    double valueSum = 0, derivativeSum = 0;
    for (size_t c = 0; c < channels; c++) {
        valueSum += samples.maxima.values[c];
        derivativeSum += samples.maxima.derivatives[c];
    }
    const double weight = derivativeSum > 0 ? valueSum / (DerivativeTolerance * derivativeSum) : 0;
    Matrix scaled(std::max(2 * count, channels), channels);
    for (size_t i = 0; i < count; i++)
        for (size_t c = 0; c < channels; c++) {
            scaled.column(c)[2 * i] = samples.values[i * stride][c] / samples.getScale(c);
            scaled.column(c)[2 * i + 1] = weight * samples.derivatives[i * stride][c] / samples.getScale(c);
        }
    return makeRightVectors(makeTriangle(std::move(scaled)));
}

} // namespace

std::optional<LowRankFactors> factorize(const RadialTable& table, const RadialGrid& grid, double tolerance) {
    const size_t channels = static_cast<size_t>(table.channels);
    Samples samples(table, grid);
    const Matrix directions = makeDirections(samples);
    for (size_t rank = 1; 2 * rank <= channels; rank++) {
        samples.project(directions.column(rank - 1));
        ChannelMaxima errors(table.channels);
        for (size_t i = 0; i < samples.values.size(); i++)
            errors.add(samples.values[i].data(), samples.derivatives[i].data());
        const double valueError = ErrorMargin * samples.maxima.getRelativeValue(errors.values);
        const double derivativeError = ErrorMargin * samples.maxima.getRelativeDerivative(errors.derivatives);
        if (!(valueError <= tolerance && derivativeError <= DerivativeTolerance * tolerance))
            continue;
        LowRankFactors factors;
        factors.functions.channels = static_cast<int>(rank);
        factors.functions.valueError = valueError;
        factors.functions.derivativeError = derivativeError;
        factors.functions.coefficients.resize(static_cast<size_t>(grid.pieces) * 4 * rank);
        for (size_t k = 0; k < rank; k++)
            for (size_t c = 0; c < channels; c++)
                factors.expansion.push_back(directions.column(k)[c] * samples.getScale(c));
        for (size_t row = 0; row < static_cast<size_t>(grid.pieces) * 4; row++)
            for (size_t k = 0; k < rank; k++) {
                double sum = 0;
                for (size_t c = 0; c < channels; c++)
                    sum += table.coefficients[row * channels + c] * directions.column(k)[c] / samples.getScale(c);
                factors.functions.coefficients[row * rank + k] = sum;
            }
        return factors;
    }
    return std::nullopt;
}

} // namespace OpenMMFlash
