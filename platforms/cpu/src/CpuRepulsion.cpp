// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuRepulsion.h"
#include "kernels/Coincidence.h"
#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

namespace OpenMMFlash {

namespace {

constexpr size_t VectorSize = 8; ///< doubles in the widest vector

} // namespace

CpuRepulsion::CpuRepulsion(const ModelSpec& model, const CpuKernels& kernels, CpuThreads& threads, const CpuOptions& options)
    : kernels(kernels), threads(threads), profile(options.profile),
      listOptions(makeListOptions(CpuNeighborList::Kind::Full, model.repulsion.value().cutoff, options)), exponent(model.repulsion->exponent),
      cutoff(model.repulsion->cutoff), numTypes(static_cast<int>(model.types.size())), states(threads.getSize()) {
    for (const double sigma : model.repulsion->sigma)
        strengths.push_back(std::pow(sigma, exponent));
}

void CpuRepulsion::setParticles(const CpuParticles& particles) {
    const int n = particles.size();
    for (const auto& [i, j] : particles.exclusions)
        if (i == j || particles.groups[i] != particles.groups[j])
            throw std::invalid_argument("CpuRepulsion: particles " + std::to_string(i) + " and " + std::to_string(j) +
                                        " are excluded from each other, but are not two particles of one group");
    if (cutoff > 0) {
        CpuNeighborList::Options options = listOptions;
        options.exclusions = particles.exclusions;
        list = std::make_unique<CpuNeighborList>(options, threads);
        list->setGroups(particles.groups);
        types.resize(n);
        std::copy(particles.types.begin(), particles.types.end(), types.data());
        return;
    }
    const int numGroups = n == 0 ? 0 : *std::max_element(particles.groups.begin(), particles.groups.end()) + 1;
    groups.assign(numGroups, {0, 0, 0});
    for (const int group : particles.groups)
        groups[group].size++;
    size_t numPositions = 0;
    int numSlots = 0, largest = 0;
    for (Group& group : groups) {
        group.begin = numSlots;
        group.firstPosition = numPositions;
        numSlots += group.size;
        numPositions += (group.size + VectorSize - 1) / VectorSize * VectorSize;
        largest = std::max(largest, group.size);
    }
    stride = (largest + VectorSize - 1) / VectorSize * VectorSize;
    for (auto& array : positions)
        array.resize(numPositions);
    order.resize(n);
    groupOf.resize(n);
    std::vector<int> slots(n), next(numGroups);
    for (int g = 0; g < numGroups; g++)
        next[g] = groups[g].begin;
    for (int i = 0; i < n; i++) {
        slots[i] = next[particles.groups[i]]++;
        order[slots[i]] = i;
        groupOf[slots[i]] = particles.groups[i];
    }
    work.assign(static_cast<size_t>(n) + 1, 0);
    for (int slot = 0; slot < n; slot++)
        work[slot + 1] = work[slot] + groups[groupOf[slot]].size;
    presentTypes = particles.types;
    std::sort(presentTypes.begin(), presentTypes.end());
    presentTypes.erase(std::unique(presentTypes.begin(), presentTypes.end()), presentTypes.end());
    present.assign(numTypes, 0);
    for (size_t k = 0; k < presentTypes.size(); k++)
        present[presentTypes[k]] = static_cast<int>(k);
    std::vector<std::vector<int>> partners(n);
    for (const auto& [i, j] : particles.exclusions) {
        partners[slots[i]].push_back(slots[j] - groups[particles.groups[j]].begin);
        partners[slots[j]].push_back(slots[i] - groups[particles.groups[i]].begin);
    }
    exclusionStart.assign(1, 0);
    exclusions.clear();
    for (std::vector<int>& row : partners) {
        std::sort(row.begin(), row.end());
        exclusions.insert(exclusions.end(), row.begin(), std::unique(row.begin(), row.end()));
        exclusionStart.push_back(static_cast<int>(exclusions.size()));
    }
    for (ThreadState& state : states) {
        state.strengths.resize(stride * presentTypes.size());
        state.groups.assign(presentTypes.size(), -1);
    }
}

void CpuRepulsion::prepare(const CpuParticles& particles) {
    if (cutoff > 0) {
        list->update(particles.positions, particles.box);
        std::int64_t longest = 0;
        for (int i = 0; i < list->getNumRows(); i++)
            longest = std::max(longest, list->getRowStart()[i + 1] - list->getRowStart()[i]);
        for (ThreadState& state : states)
            state.order.resize(static_cast<size_t>(longest) + 16);
    }
    else if (particles.box)
        throw std::invalid_argument("the model's pair prior acts between all pairs, however far apart; that has no meaning in a periodic box");
}

void CpuRepulsion::compute(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results) {
    if (profile)
        profile->start(thread);
    if (cutoff > 0)
        computeNeighbors(thread, particles, includeForces, results);
    else
        computeAllPairs(thread, particles, includeForces, results);
    if (profile)
        profile->stop(thread, CpuStage::Repulsion);
}

void CpuRepulsion::add(int particle, const RepulsionRow& row, bool includeForces, CpuResults& results) const {
    results.repulsionEnergies[particle] += row.energy;
    if (includeForces)
        for (int l = 0; l < 3; l++)
            results.gradient[particle][l] += row.gradient[l];
}

void CpuRepulsion::computeAllPairs(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results) {
    const int n = static_cast<int>(order.size()), size = threads.getSize();
    // Rows with about the same number of pairs for each thread: a row's result is the same whoever computes it.
    auto getFirst = [&](int t) { return static_cast<int>(std::lower_bound(work.begin(), work.end(), work.back() * t / size) - work.begin()); };
    const int begin = getFirst(thread), end = getFirst(thread + 1);
    for (int slot = begin; slot < end; slot++) {
        const Group& group = groups[groupOf[slot]];
        for (int l = 0; l < 3; l++)
            positions[l][group.firstPosition + (slot - group.begin)] = particles.positions[order[slot]][l];
    }
    threads.barrier();
    ThreadState& state = states[thread];
    for (int slot = begin; slot < end && n > 0; slot++) {
        const int g = groupOf[slot];
        const Group& group = groups[g];
        const int row = slot - group.begin, type = particles.types[order[slot]], index = present[type];
        double* rowStrengths = state.strengths.data() + index * stride;
        if (state.groups[index] != g) {
            for (int k = 0; k < group.size; k++)
                rowStrengths[k] = strengths[static_cast<size_t>(type) * numTypes + particles.types[order[group.begin + k]]];
            state.groups[index] = g;
        }
        const double* const where[3] = {positions[0].data() + group.firstPosition, positions[1].data() + group.firstPosition,
                                        positions[2].data() + group.firstPosition};
        const RepulsionRow result = kernels.repulsion->allPairs(where, group.size, row, rowStrengths, exclusions.data() + exclusionStart[slot],
                                                                exclusionStart[slot + 1] - exclusionStart[slot], exponent);
        add(order[slot], result, includeForces, results);
    }
}

void CpuRepulsion::computeNeighbors(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results) {
    ThreadState& state = states[thread];
    state.coincident = 0;
    const std::vector<std::int64_t>& rowStart = list->getRowStart();
    const int n = list->getNumRows(), size = threads.getSize();
    if (n == 0)
        return;
    auto getFirst = [&](int t) {
        return t == size ? n : static_cast<int>(std::lower_bound(rowStart.begin(), rowStart.end() - 1, rowStart.back() * t / size) - rowStart.begin());
    };
    for (int i = getFirst(thread); i < getFirst(thread + 1); i++) {
        const RepulsionNeighbors neighbors = {list->getSenders().data() + rowStart[i],
                                              list->getShiftIndices().data() + rowStart[i],
                                              static_cast<int>(rowStart[i + 1] - rowStart[i]),
                                              particles.positions[0].data(),
                                              list->getShifts()[0].data(),
                                              types.data(),
                                              strengths.data() + static_cast<size_t>(types[i]) * numTypes,
                                              state.order.data()};
        add(i, kernels.repulsion->neighbors(neighbors, i, exponent, cutoff, state.coincident), includeForces, results);
    }
}

void CpuRepulsion::finish(const CpuParticles& particles) {
    long coincident = 0;
    for (const ThreadState& state : states)
        coincident += state.coincident;
    if (coincident == 0)
        return;
    for (int i = 0; i < list->getNumRows(); i++)
        for (std::int64_t entry = list->getRowStart()[i]; entry < list->getRowStart()[i + 1]; entry++) {
            const int j = list->getSenders()[entry];
            const Vector3& shift = list->getShifts()[list->getShiftIndices()[entry]];
            double r2 = 0;
            for (int l = 0; l < 3; l++) {
                const double d = (particles.positions[j][l] - particles.positions[i][l]) + shift[l];
                r2 += d * d;
            }
            if (std::sqrt(r2) <= CoincidenceFraction * cutoff)
                throw FlashEvaluationError(particles.box ? "two particles (or their periodic images) are at the same position"
                                                         : "two particles are at the same position",
                                           {i, j}, {particles.positions[i], particles.positions[j]});
        }
}

} // namespace OpenMMFlash
