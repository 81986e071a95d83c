// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "ReferenceEvaluator.h"
#include "ReferenceAni.h"
#include "ReferenceSchNet.h"
#include <algorithm>
#include <cmath>

namespace OpenMMFlash {

namespace {

/** Add the gradient of a function of one distance, dE/dr, to both particles. */
void addPairGradient(const ReferencePair& pair, double dEdr, std::vector<Vector3>& gradient) {
    for (int l = 0; l < 3; l++) {
        double g = dEdr * pair.d[l] / pair.r;
        gradient[pair.sender][l] += g;
        gradient[pair.receiver][l] -= g;
    }
}

void addSchNet(const SchNetSpec& spec, const std::vector<int>& types, const std::vector<ReferencePair>& directed, ReferenceResult& result) {
    const std::vector<ReferencePair> pairs = takeUnorderedPairs(directed);
    const double numMembers = static_cast<double>(spec.members.size());
    std::vector<double> dEdr(pairs.size(), 0.0);
    for (const SchNetMember& member : spec.members) {
        SchNetResult one = evaluateReferenceSchNet(spec, member, types, pairs);
        for (size_t p = 0; p < pairs.size(); p++)
            dEdr[p] += one.pairDerivatives[p] / numMembers;
        // The group's constant energy is spread evenly, so that the particles' energies add up to the group's.
        for (double& energy : one.energies)
            energy += spec.groupEnergy / static_cast<double>(types.size());
        result.memberEnergies.push_back(std::move(one.energies));
    }
    for (size_t p = 0; p < pairs.size(); p++)
        addPairGradient(pairs[p], dEdr[p], result.gradient);
}

/** 1 - 10 t^3 + 15 t^4 - 6 t^5 with t = (r - 0.9 cutoff) / (0.1 cutoff), 1 before; and its derivative by r. */
void evaluateSwitch(double r, double cutoff, double& value, double& derivative) {
    const double t = (r - 0.9 * cutoff) / (0.1 * cutoff);
    value = 1;
    derivative = 0;
    if (t > 0) {
        value = 1 + t * t * t * (-10 + t * (15 - 6 * t));
        derivative = -30 * t * t * (1 - t) * (1 - t) / (0.1 * cutoff);
    }
}

/** The pair prior: sum over pairs of (sigma_ab / r)^exponent. An excluded pair is left out with all its periodic images. */
void addRepulsion(const Repulsion& repulsion, int numTypes, const std::vector<int>& types, const std::vector<Vector3>& positions, const std::optional<Box>& box,
                  const std::vector<std::pair<int, int>>& exclusions, ReferenceResult& result) {
    std::vector<std::pair<int, int>> excluded;
    for (const std::pair<int, int>& pair : exclusions)
        excluded.push_back(std::minmax(pair.first, pair.second));
    std::sort(excluded.begin(), excluded.end());
    result.repulsionEnergies.assign(types.size(), 0.0);
    auto addPair = [&](const ReferencePair& pair) {
        if (std::binary_search(excluded.begin(), excluded.end(), std::pair<int, int>(std::minmax(pair.receiver, pair.sender))))
            return;
        const double sigma = repulsion.sigma[static_cast<size_t>(types[pair.receiver]) * numTypes + types[pair.sender]];
        double energy = std::pow(sigma / pair.r, repulsion.exponent), dEdr = -repulsion.exponent * energy / pair.r;
        if (repulsion.cutoff > 0) {
            double value, derivative;
            evaluateSwitch(pair.r, repulsion.cutoff, value, derivative);
            dEdr = dEdr * value + energy * derivative;
            energy *= value;
        }
        result.repulsionEnergies[pair.receiver] += 0.5 * energy;
        result.repulsionEnergies[pair.sender] += 0.5 * energy;
        addPairGradient(pair, dEdr, result.gradient);
    };
    if (repulsion.cutoff > 0) {
        for (const ReferencePair& pair : takeUnorderedPairs(findReferencePairs(positions, repulsion.cutoff, box)))
            addPair(pair);
        return;
    }
    if (box)
        throw std::invalid_argument("the model's pair prior acts between all pairs, however far apart; that has no meaning in a periodic box");
    const int n = static_cast<int>(types.size());
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) {
            const Vector3 d = {positions[j][0] - positions[i][0], positions[j][1] - positions[i][1], positions[j][2] - positions[i][2]};
            addPair({i, j, std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]), d});
        }
}

} // namespace

ReferenceResult evaluateReference(const ModelSpec& model, const std::vector<int>& types, const std::vector<Vector3>& positions, const std::optional<Box>& box,
                                  const std::vector<std::pair<int, int>>& exclusions, bool withPairPrior) {
    if (types.size() != positions.size())
        throw std::invalid_argument("evaluateReference: " + std::to_string(types.size()) + " types, but " + std::to_string(positions.size()) + " positions");
    const int numTypes = static_cast<int>(model.types.size());
    for (size_t i = 0; i < types.size(); i++)
        if (types[i] < 0 || types[i] >= numTypes)
            throw std::invalid_argument("evaluateReference: particle " + std::to_string(i) + " has type " + std::to_string(types[i]) + ", but the model has " +
                                        std::to_string(numTypes) + " types");
    ReferenceResult result;
    result.gradient.assign(types.size(), Vector3{0, 0, 0});
    const std::vector<ReferencePair> pairs = findReferencePairs(positions, model.getCutoff(), box);
    if (auto schnet = std::get_if<SchNetSpec>(&model.network))
        addSchNet(*schnet, types, pairs, result);
    else {
        AniResult ani = evaluateReferenceAni(std::get<AniSpec>(model.network), types, pairs);
        result.memberEnergies = std::move(ani.memberEnergies);
        result.gradient = std::move(ani.gradient);
    }
    for (std::vector<double>& energies : result.memberEnergies)
        for (size_t i = 0; i < types.size(); i++)
            energies[i] += model.typeEnergies[types[i]];
    if (model.repulsion && withPairPrior)
        addRepulsion(*model.repulsion, numTypes, types, positions, box, exclusions, result);
    return result;
}

} // namespace OpenMMFlash
