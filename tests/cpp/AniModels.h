// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Random ANI models larger than those of RandomModels.h, for the tests of platforms that have kernels for them.
#ifndef OPENMMFLASH_TESTS_ANIMODELS_H_
#define OPENMMFLASH_TESTS_ANIMODELS_H_

#include "RandomModels.h"

namespace OpenMMFlashTests {

/** The shape of ANI-2x, or of ANI-1x with its eight angles; random networks. */
inline OpenMMFlash::ModelSpec makeAniLikeModel(std::uint64_t seed, bool eightAngles, int numMembers) {
    using namespace OpenMMFlash;
    AniOptions options;
    if (!eightAngles)
        options.names = {"H", "C", "N", "O", "S", "F", "Cl"};
    ModelSpec model = makeAni(seed, options);
    AniSpec net = std::get<AniSpec>(model.network);
    const double pi = std::acos(-1.0);
    net.radialCutoff = eightAngles ? 5.2 : 5.1;
    net.radialEta = {eightAngles ? 16.0 : 19.7};
    net.angularEta = {eightAngles ? 8.0 : 12.5};
    net.angularZeta = {eightAngles ? 32.0 : 14.1};
    net.radialShift = net.angularShift = net.angularTheta = {};
    const int numTheta = eightAngles ? 8 : 4, numShift = eightAngles ? 4 : 8;
    for (int k = 0; k < 16; k++)
        net.radialShift.push_back((eightAngles ? 0.9 : 0.8) + k * (net.radialCutoff - (eightAngles ? 0.9 : 0.8)) / 16);
    for (int k = 0; k < numShift; k++)
        net.angularShift.push_back((eightAngles ? 0.9 : 0.8) + k * 2.7 / numShift);
    for (int k = 0; k < numTheta; k++)
        net.angularTheta.push_back(pi * (2 * k + 1) / (2 * numTheta));
    const int T = static_cast<int>(model.types.size()), length = T * net.getRadialTerms() + T * (T + 1) / 2 * net.getAngularTerms();
    net.networks.clear();
    Random random(seed + 1);
    for (int member = 0; member < numMembers; member++) {
        net.networks.emplace_back();
        for (int type = 0; type < T; type++)
            net.networks.back().push_back({makeLinear(random, 48 - 4 * type, length), makeLinear(random, 32, 48 - 4 * type), makeLinear(random, 20 + type, 32),
                                           makeLinear(random, 1, 20 + type)});
    }
    model.numMembers = numMembers;
    model.network = net;
    return model;
}

/** Many angles and shells, in numbers that no vector's width divides. */
inline OpenMMFlash::ModelSpec makeOddModel(std::uint64_t seed, int numEta, int numZeta, int numShift, int numTheta, int numRadialShift, int numLayers) {
    using namespace OpenMMFlash;
    ModelSpec model = makeAni(seed, {});
    AniSpec net = std::get<AniSpec>(model.network);
    Random random(seed + 1);
    net.radialEta = random.values(numEta, 2, 8);
    net.angularEta = random.values(numEta, 2, 6);
    net.angularZeta = random.values(numZeta, 1, 20);
    net.angularZeta[0] = 1;
    net.angularShift = random.values(numShift, 0.5, 3.2);
    net.angularTheta = random.values(numTheta, -0.5, 3.6);
    net.radialShift = random.values(numRadialShift, 0, 5);
    const int T = static_cast<int>(model.types.size()), length = T * net.getRadialTerms() + T * (T + 1) / 2 * net.getAngularTerms();
    for (auto& networks : net.networks)
        for (auto& layers : networks) {
            layers = {};
            for (int l = 0, inputs = length; l < numLayers; l++, inputs = layers.back().outputs)
                layers.push_back(makeLinear(random, l + 1 < numLayers ? 7 + random.index(20) : 1, inputs));
        }
    model.network = net;
    return model;
}

} // namespace OpenMMFlashTests

#endif
