// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The equations are those of docs/model-format.md, section `ani`. First the atomic environment vectors (AEV), then the atomic
// networks of every member with their gradient dE/dAEV (the mean over members), then the same loops over pairs and triples
// again with the derivatives of the terms. A neighbour is an image: two images of one atom, or of the central atom itself, are
// two neighbours.
#include "ReferenceAni.h"
#include "ReferenceLayers.h"
#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace OpenMMFlash {

namespace {

const double Pi = std::acos(-1.0);
/** Keeps theta = arccos(0.95 cos) differentiable for collinear atoms. Part of the model: it was trained so. */
constexpr double CosineFactor = 0.95;
/** Atoms of one type whose networks are evaluated together. */
constexpr int BatchSize = 64;

/** fc(r; R) = 0.5 (cos(pi r / R) + 1) for r < R. */
ValueAndDerivative evaluateCutoff(double r, double R) {
    return {0.5 * (std::cos(Pi * r / R) + 1), -0.5 * Pi / R * std::sin(Pi * r / R)};
}

class Ani {
public:
    Ani(const AniSpec& spec, const std::vector<int>& types, const std::vector<ReferencePair>& pairs)
        : spec(spec), types(types), pairs(pairs), n(static_cast<int>(types.size())) {
        if (spec.networks.empty())
            throw std::invalid_argument("evaluateReferenceAni: the model has no networks");
        numTypes = static_cast<int>(spec.networks[0].size());
        radialTerms = spec.getRadialTerms();
        angularTerms = spec.getAngularTerms();
        numBlocks = numTypes + numTypes * (numTypes + 1) / 2;
        length = numTypes * radialTerms + (numBlocks - numTypes) * angularTerms;
        aev.assign(static_cast<size_t>(n) * length, 0.0);
        aevGradient.assign(aev.size(), 0.0);
        present.assign(static_cast<size_t>(n) * numBlocks, 0);
    }

    AniResult evaluate() {
        result.memberEnergies.assign(spec.networks.size(), std::vector<double>(n));
        result.gradient.assign(n, Vector3{0, 0, 0});
        forEachEnvironment(false);
        for (int type = 0; type < numTypes; type++)
            evaluateNetworks(type);
        forEachEnvironment(true);
        return std::move(result);
    }

private:
    /** A block is the columns of one type (radial) or of one pair of types (angular). */
    int getAngularBlock(int a, int b) const {
        if (a > b)
            std::swap(a, b);
        return numTypes + a * numTypes - a * (a - 1) / 2 + (b - a);
    }
    ColumnRange getColumns(int block) const {
        if (block < numTypes)
            return {block * radialTerms, (block + 1) * radialTerms};
        int first = numTypes * radialTerms + (block - numTypes) * angularTerms;
        return {first, first + angularTerms};
    }

    /** Visit all neighbours and pairs of neighbours of all atoms: to add up the AEV, or (backward) to carry dE/dAEV to the positions. */
    void forEachEnvironment(bool backward) {
        size_t first = 0;
        for (int i = 0; i < n; i++) {
            size_t last = first;
            while (last < pairs.size() && pairs[last].receiver == i)
                last++;
            std::vector<const ReferencePair*> inner; // neighbours within the angular cutoff
            for (size_t p = first; p < last; p++) {
                addRadial(pairs[p], backward);
                if (pairs[p].r < spec.angularCutoff)
                    inner.push_back(&pairs[p]);
            }
            for (size_t j = 0; j < inner.size(); j++)
                for (size_t k = j + 1; k < inner.size(); k++)
                    addAngular(*inner[j], *inner[k], backward);
            first = last;
        }
    }

    /** 0.25 exp(-eta (r - R_s)^2) fc(r; R_r). */
    void addRadial(const ReferencePair& pair, bool backward) {
        const int i = pair.receiver, block = types[pair.sender];
        const ValueAndDerivative fc = evaluateCutoff(pair.r, spec.radialCutoff);
        size_t column = static_cast<size_t>(i) * length + getColumns(block).begin;
        double dEdr = 0;
        for (double eta : spec.radialEta)
            for (double shift : spec.radialShift) {
                double x = pair.r - shift, gaussian = 0.25 * std::exp(-eta * x * x);
                if (backward)
                    dEdr += aevGradient[column] * gaussian * (fc.derivative - 2 * eta * x * fc.value);
                else
                    aev[column] += gaussian * fc.value;
                column++;
            }
        if (backward)
            addGradient(pair, {dEdr * pair.d[0] / pair.r, dEdr * pair.d[1] / pair.r, dEdr * pair.d[2] / pair.r});
        else
            present[static_cast<size_t>(i) * numBlocks + block] = 1;
    }

    /** 2 ((1 + cos(theta - theta_s)) / 2)^zeta exp(-eta ((r_j + r_k)/2 - R_a)^2) fc(r_j; R_a) fc(r_k; R_a). */
    void addAngular(const ReferencePair& j, const ReferencePair& k, bool backward) {
        const int i = j.receiver, block = getAngularBlock(types[j.sender], types[k.sender]);
        const ValueAndDerivative fcJ = evaluateCutoff(j.r, spec.angularCutoff), fcK = evaluateCutoff(k.r, spec.angularCutoff);
        const double cosine = (j.d[0] * k.d[0] + j.d[1] * k.d[1] + j.d[2] * k.d[2]) / (j.r * k.r);
        const double theta = std::acos(CosineFactor * cosine), mean = 0.5 * (j.r + k.r);

        // The angle's factor for each [zeta][theta_s], and the distances' factor for each [eta][R_a].
        angle.clear();
        for (double zeta : spec.angularZeta)
            for (double shift : spec.angularTheta) {
                double half = 0.5 * (1 + std::cos(theta - shift)), power = std::pow(half, zeta - 1);
                angle.push_back({half * power, -0.5 * zeta * power * std::sin(theta - shift)});
            }
        distance.clear();
        for (double eta : spec.angularEta)
            for (double shift : spec.angularShift) {
                double x = mean - shift, gaussian = std::exp(-eta * x * x);
                distance.push_back({gaussian, -2 * eta * x * gaussian});
            }

        size_t column = static_cast<size_t>(i) * length + getColumns(block).begin;
        const size_t numZeta = spec.angularZeta.size(), numShift = spec.angularShift.size(), numTheta = spec.angularTheta.size();
        double sum = 0, sumAngle = 0, sumDistance = 0; // sum of dE/dAEV times angle' * distance', with neither, the first or the second differentiated
        for (size_t eta = 0; eta < spec.angularEta.size(); eta++)
            for (size_t zeta = 0; zeta < numZeta; zeta++)
                for (size_t shift = 0; shift < numShift; shift++)
                    for (size_t t = 0; t < numTheta; t++, column++) {
                        const ValueAndDerivative &a = angle[zeta * numTheta + t], &b = distance[eta * numShift + shift];
                        if (backward) {
                            sum += aevGradient[column] * a.value * b.value;
                            sumAngle += aevGradient[column] * a.derivative * b.value;
                            sumDistance += aevGradient[column] * a.value * b.derivative;
                        }
                        else
                            aev[column] += 2 * a.value * b.value * fcJ.value * fcK.value;
                    }
        if (!backward) {
            present[static_cast<size_t>(i) * numBlocks + block] = 1;
            return;
        }
        const double fc = 2 * fcJ.value * fcK.value;
        const double dEdrJ = 2 * fcJ.derivative * fcK.value * sum + 0.5 * fc * sumDistance;
        const double dEdrK = 2 * fcJ.value * fcK.derivative * sum + 0.5 * fc * sumDistance;
        // dtheta/dcos = -0.95 / sqrt(1 - (0.95 cos)^2)
        const double dEdcos = fc * sumAngle * -CosineFactor / std::sqrt(1 - CosineFactor * cosine * CosineFactor * cosine);
        Vector3 gradientJ, gradientK;
        for (int l = 0; l < 3; l++) {
            double uJ = j.d[l] / j.r, uK = k.d[l] / k.r;
            gradientJ[l] = dEdrJ * uJ + dEdcos * (uK - cosine * uJ) / j.r;
            gradientK[l] = dEdrK * uK + dEdcos * (uJ - cosine * uK) / k.r;
        }
        addGradient(j, gradientJ);
        addGradient(k, gradientK);
    }

    /** Add dE/d(d) of a pair to both its atoms. */
    void addGradient(const ReferencePair& pair, const Vector3& g) {
        for (int l = 0; l < 3; l++) {
            result.gradient[pair.sender][l] += g[l];
            result.gradient[pair.receiver][l] -= g[l];
        }
    }

    /** e_i = MLP_type(AEV_i) for every atom of a type and every member, and dE/dAEV. */
    void evaluateNetworks(int type) {
        auto activation = [this](double x) { return evaluateCelu(spec.celuAlpha, x); };
        std::vector<int> atoms;
        for (int i = 0; i < n; i++)
            if (types[i] == type)
                atoms.push_back(i);
        const size_t numMembers = spec.networks.size();
        for (size_t first = 0; first < atoms.size(); first += BatchSize) {
            const int size = static_cast<int>(std::min<size_t>(BatchSize, atoms.size() - first));
            std::vector<double> x(static_cast<size_t>(size) * length), gradient(x.size()), energy(size);
            // Blocks of types that none of these atoms has around it are zero, and so is their derivative.
            std::vector<ColumnRange> columns;
            for (int block = 0; block < numBlocks; block++)
                for (int a = 0; a < size; a++)
                    if (present[static_cast<size_t>(atoms[first + a]) * numBlocks + block]) {
                        columns.push_back(getColumns(block));
                        break;
                    }
            if (columns.empty())
                columns.push_back({0, 0}); // an empty list would mean all columns
            for (int a = 0; a < size; a++)
                std::copy_n(&aev[static_cast<size_t>(atoms[first + a]) * length], length, &x[static_cast<size_t>(a) * length]);
            for (size_t member = 0; member < numMembers; member++) {
                evaluatePerceptron(spec.networks[member][type], activation, size, x.data(), energy.data(), gradient.data(), columns);
                for (int a = 0; a < size; a++) {
                    const int i = atoms[first + a];
                    result.memberEnergies[member][i] = energy[a];
                    for (const ColumnRange& range : columns)
                        for (int c = range.begin; c < range.end; c++)
                            aevGradient[static_cast<size_t>(i) * length + c] += gradient[static_cast<size_t>(a) * length + c] / static_cast<double>(numMembers);
                }
            }
        }
    }

    const AniSpec& spec;
    const std::vector<int>& types;
    const std::vector<ReferencePair>& pairs;
    const int n;
    int numTypes, radialTerms, angularTerms, numBlocks, length;
    std::vector<double> aev;         ///< [n][length]
    std::vector<double> aevGradient; ///< dE/dAEV of the members' mean, [n][length]
    std::vector<char> present;       ///< [n][numBlocks]: whether a block of an atom's AEV has any term
    std::vector<ValueAndDerivative> angle, distance;
    AniResult result;
};

} // namespace

AniResult evaluateReferenceAni(const AniSpec& spec, const std::vector<int>& types, const std::vector<ReferencePair>& pairs) {
    return Ani(spec, types, pairs).evaluate();
}

} // namespace OpenMMFlash
