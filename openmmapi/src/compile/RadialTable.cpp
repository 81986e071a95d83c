// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "openmmflash/internal/CompiledModel.h"
#include <algorithm>
#include <cmath>

namespace OpenMMFlash {

double RadialGrid::getStart() const {
    return knots == Knots::Linear ? first : std::log(first);
}

double RadialGrid::getScale() const {
    const double end = knots == Knots::Linear ? cutoff : std::log(cutoff);
    return (pieces - 1) / (end - getStart());
}

void RadialGrid::locate(double r, int& piece, double& t, double& dtdr) const {
    if (r < first) {
        piece = 0;
        t = r / first;
        dtdr = 1 / first;
        return;
    }
    const double scale = getScale(), x = std::max(0.0, ((knots == Knots::Linear ? r : std::log(r)) - getStart()) * scale);
    piece = std::min(1 + static_cast<int>(x), pieces - 1);
    t = x - (piece - 1);
    dtdr = knots == Knots::Linear ? scale : scale / r;
}

double RadialGrid::getDistance(int piece, double t) const {
    if (piece == 0)
        return t * first;
    const double x = piece - 1 + t;
    if (x == 0)
        return first;
    if (x == pieces - 1)
        return cutoff;
    const double u = getStart() + x / getScale();
    return knots == Knots::Linear ? u : std::exp(u);
}

void RadialTable::evaluate(const RadialGrid& grid, double r, double* values, double* derivatives) const {
    int piece;
    double t, dtdr;
    grid.locate(r, piece, t, dtdr);
    const double* c = &coefficients[static_cast<size_t>(piece) * 4 * channels];
    for (int k = 0; k < channels; k++) {
        const double c0 = c[k], c1 = c[channels + k], c2 = c[2 * channels + k], c3 = c[3 * channels + k];
        values[k] = ((c3 * t + c2) * t + c1) * t + c0;
        if (derivatives)
            derivatives[k] = ((3 * c3 * t + 2 * c2) * t + c1) * dtdr;
    }
}

} // namespace OpenMMFlash
