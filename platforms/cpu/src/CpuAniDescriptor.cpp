// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuAniDescriptor.h"
#include "kernels/Coincidence.h"
#include <algorithm>
#include <cmath>

namespace OpenMMFlash {

namespace {

/** Keeps theta = arccos(0.95 cos) differentiable for collinear atoms. Part of the model: it was trained so. */
constexpr double CosineFactor = 0.95;

/** Gaussians exp(-eta (r - shift)^2) for each eta and shift. */
struct Gaussians {
    std::vector<double> shift, shiftRest, exponent, slope;

    Gaussians(const std::vector<double>& etas, const std::vector<double>& shifts, double grid) {
        for (const double eta : etas)
            for (const double s : shifts) {
                shift.push_back(std::round(s / grid) * grid);
                shiftRest.push_back(s - shift.back());
                exponent.push_back(-eta / std::log(2.0));
                slope.push_back(-2 * eta);
            }
    }
    void pad(int terms) {
        for (std::vector<double>* values : {&shift, &shiftRest, &exponent, &slope})
            values->resize(static_cast<size_t>(terms), values->back());
    }
};

} // namespace

const float* CpuAniDescriptor::keep(const std::vector<double>& values) {
    CpuArray<float>& array = arrays.at(numArrays++);
    array.resize(static_cast<size_t>(roundUp(static_cast<int>(values.size()), width)));
    for (size_t k = 0; k < array.size(); k++)
        array[k] = static_cast<float>(values[k % values.size()]);
    return array.data();
}

CpuAniDescriptor::CpuAniDescriptor(const CompiledAni& model, const CpuKernels& kernels) : width(kernels.width) {
    const AniSpec& spec = model.spec;
    const int types = static_cast<int>(model.presentTypes.size());
    const int angles = static_cast<int>(spec.angularZeta.size() * spec.angularTheta.size()),
              distances = static_cast<int>(spec.angularEta.size() * spec.angularShift.size());
    constants.radialCutoff = spec.radialCutoff;
    constants.angularCutoff = spec.angularCutoff;
    constants.coincidence = CoincidenceFraction * spec.radialCutoff;
    constants.numTypes = types;
    constants.radialTerms = roundUp(spec.getRadialTerms(), width);
    constants.angleTerms = kernels.aev->padTerms(angles);
    constants.distanceTerms = kernels.aev->padTerms(distances);

    // 20 bits for distances within the cutoff: the sum of two is still exact in a float, and so is what is left of a shift.
    double largest = spec.radialCutoff;
    for (const std::vector<double>* shifts : {&spec.radialShift, &spec.angularShift})
        for (const double shift : *shifts)
            largest = std::max(largest, std::fabs(shift));
    constants.grid = std::ldexp(1.0, static_cast<int>(std::ceil(std::log2(largest))) - 20);

    Gaussians radial(spec.radialEta, spec.radialShift, constants.grid), distance(spec.angularEta, spec.angularShift, constants.grid);
    radial.pad(constants.radialTerms);
    distance.pad(constants.distanceTerms);
    std::vector<double> cosine, sine, exponent, slope, slopeSine;
    for (int k = 0; k < constants.angleTerms; k++) {
        const size_t term = static_cast<size_t>(std::min(k, angles - 1)), numTheta = spec.angularTheta.size();
        const double zeta = spec.angularZeta[term / numTheta], theta = spec.angularTheta[term % numTheta];
        cosine.push_back(0.5 * CosineFactor * std::cos(theta));
        sine.push_back(0.5 * std::sin(theta));
        exponent.push_back(zeta - 1);
        slope.push_back(zeta * CosineFactor * std::cos(theta));
        slopeSine.push_back(zeta * CosineFactor * CosineFactor * std::sin(theta));
    }
    constants.radialShift = keep(radial.shift);
    constants.radialShiftRest = keep(radial.shiftRest);
    constants.radialExponent = keep(radial.exponent);
    constants.radialSlope = keep(radial.slope);
    constants.distanceShift = keep(distance.shift);
    constants.distanceShiftRest = keep(distance.shiftRest);
    constants.distanceExponent = keep(distance.exponent);
    constants.distanceSlope = keep(distance.slope);
    constants.angleCosine = keep(cosine);
    constants.angleSine = keep(sine);
    constants.angleExponent = keep(exponent);
    constants.angleSlope = keep(slope);
    constants.angleSlopeSine = keep(slopeSine);

    // The model's columns: [type][eta][shift], then [pair][eta][zeta][shift][theta].
    const int radialTerms = spec.getRadialTerms();
    for (int type = 0; type < types; type++)
        for (int k = 0; k < constants.radialTerms; k++)
            columns.push_back(k < radialTerms ? type * radialTerms + k : -1);
    pairOffsets.resize(static_cast<size_t>(types) * static_cast<size_t>(types));
    int first = types * radialTerms;
    for (int a = 0; a < types; a++)
        for (int b = a; b < types; b++) {
            const int offset = static_cast<int>(columns.size());
            pairOffsets[a * types + b] = offset;
            pairOffsets[b * types + a] = offset;
            const int numShift = static_cast<int>(spec.angularShift.size()), numTheta = static_cast<int>(spec.angularTheta.size());
            const int numZeta = static_cast<int>(spec.angularZeta.size());
            for (int angle = 0; angle < constants.angleTerms; angle++)
                for (int d = 0; d < constants.distanceTerms; d++) {
                    const int eta = d / numShift, shift = d % numShift, zeta = angle / numTheta, theta = angle % numTheta;
                    const bool real = angle < angles && d < distances;
                    columns.push_back(real ? first + ((eta * numZeta + zeta) * numShift + shift) * numTheta + theta : -1);
                }
            first += spec.getAngularTerms();
        }
    columns.resize(static_cast<size_t>(roundUp(static_cast<int>(columns.size()), 16)), -1);
    constants.rowLength = static_cast<int>(columns.size());
    constants.pairOffsets = pairOffsets.data();
}

} // namespace OpenMMFlash
