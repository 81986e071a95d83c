// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_TABLEMAKER_H_
#define OPENMMFLASH_TABLEMAKER_H_

#include "EdgeFunctions.h"
#include "openmmflash/internal/CompiledModel.h"
#include <vector>

namespace OpenMMFlash {

/** Largest value and derivative of each channel. */
struct ChannelMaxima {
    std::vector<double> values, derivatives;
    explicit ChannelMaxima(int channels) : values(static_cast<size_t>(channels)), derivatives(values) {}
    void add(const double* value, const double* derivative);
    /** Raise channels that are smaller than 1e-9 of the largest to that: they are the rounding of others, and so are their errors. */
    void finish();
    /** The largest of the errors relative to these maxima. */
    double getRelativeValue(const std::vector<double>& errors) const;
    double getRelativeDerivative(const std::vector<double>& errors) const;
};

/** Where within a piece the errors of a cubic Hermite piece peak: of its value in the middle, of its derivative beside it. */
constexpr double MeasuredAt[] = {0.21132486540518713, 0.5, 0.78867513459481287};
/** What the error may be between these points, relative to that at them. Found: 1.005 at the coarsest tables, 1.000 from a tolerance of 1e-4. */
constexpr double ErrorMargin = 1.1;

/**
 * A table of cubic Hermite pieces, whose values and derivatives at the knots are exact, and its errors.
 *
 * @param kinks  distances at which the second derivative jumps: the error is measured there, too
 */
RadialTable makeTable(const EdgeFunctions& functions, int function, const RadialGrid& grid, const std::vector<double>& kinks);

} // namespace OpenMMFlash

#endif
