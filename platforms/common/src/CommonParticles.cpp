// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonParticles.h"
#include "openmm/Vec3.h"
#include <algorithm>
#include <numeric>

namespace OpenMMFlash {

using OpenMM::mm_double4;
using OpenMM::mm_float4;
using OpenMM::mm_int2;
using OpenMM::Vec3;

CommonParticles::CommonParticles(OpenMM::ComputeContext& cc, double lengthUnit, bool periodic) : cc(cc), lengthUnit(lengthUnit), periodic(periodic) {
    if (cc.getUseDoublePrecision() || cc.getUseMixedPrecision())
        boxVectors.initialize<mm_double4>(cc, 3, "flashBox");
    else
        boxVectors.initialize<mm_float4>(cc, 3, "flashBox");
}

void CommonParticles::setParticles(const ForceParticles& particles, const std::vector<int>& indices) {
    const int n = particles.size();
    order.resize(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int i, int j) {
        return particles.groups[i] != particles.groups[j] ? particles.groups[i] < particles.groups[j] : particles.types[i] < particles.types[j];
    });
    std::vector<int> places(n);
    sortedTypes.resize(n);
    systemIndices.resize(n);
    groupStarts.assign(static_cast<size_t>(particles.numGroups) + 1, 0);
    for (int p = 0; p < n; p++) {
        const int i = order[p];
        places[i] = p;
        sortedTypes[p] = particles.types[i];
        systemIndices[p] = indices[i];
        groupStarts[particles.groups[i] + 1] = p + 1; // no group is empty
    }
    std::vector<mm_int2> groupRanges;
    for (int p = 0; p < n; p++) {
        const int group = particles.groups[order[p]];
        groupRanges.push_back(mm_int2(groupStarts[group], groupStarts[group + 1]));
    }
    exclusions.clear();
    for (const auto& [i, j] : particles.exclusions)
        exclusions.emplace_back(places[i], places[j]);
    if (n == 0)
        return;
    if (!slots.isInitialized()) {
        slots.initialize<int>(cc, n, "flashSlots");
        types.initialize<int>(cc, n, "flashTypes");
        ranges.initialize<mm_int2>(cc, n, "flashRanges");
    }
    types.upload(sortedTypes);
    ranges.upload(groupRanges);
    updateSlots();
}

void CommonParticles::updateSlots() {
    if (order.empty())
        return;
    const std::vector<int>& atomIndex = cc.getAtomIndex();
    std::vector<int> slotOf(atomIndex.size()), values;
    for (size_t slot = 0; slot < atomIndex.size(); slot++)
        slotOf[atomIndex[slot]] = static_cast<int>(slot);
    for (const int index : systemIndices)
        values.push_back(slotOf[index]);
    slots.upload(values);
}

void CommonParticles::updateBox() {
    Vec3 vectors[3];
    cc.getPeriodicBoxVectors(vectors[0], vectors[1], vectors[2]);
    if (boxIsKnown && std::equal(vectors, vectors + 3, box))
        return;
    std::vector<mm_double4> values;
    for (int k = 0; k < 3; k++) {
        box[k] = vectors[k];
        values.push_back(mm_double4(box[k][0], box[k][1], box[k][2], 1 / box[k][k]));
    }
    boxVectors.upload(values, true);
    boxIsKnown = true;
}

int CommonParticles::getLargestGroup() const {
    int largest = 0;
    for (size_t g = 0; g + 1 < groupStarts.size(); g++)
        largest = std::max(largest, groupStarts[g + 1] - groupStarts[g]);
    return largest;
}

std::map<std::string, std::string> CommonParticles::getDefines() const {
    std::map<std::string, std::string> defines;
    defines["NUM_PARTICLES"] = cc.intToString(getSize());
    defines["PADDED_NUM_ATOMS"] = cc.intToString(cc.getPaddedNumAtoms());
    defines["NM_TO_MODEL"] = cc.doubleToString(1 / lengthUnit, true);
    if (periodic)
        defines["FLASH_PERIODIC"] = "1";
    return defines;
}

} // namespace OpenMMFlash
