// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuAniNetworks.h"
#include <algorithm>

namespace OpenMMFlash {

namespace {

/** Atoms of a tile at most: enough that a layer's weights, once in the second cache, are used often. */
constexpr int TileSize = 144;
/** With fewer tiles the members are divided too, so that there is work for many threads, and it can be shared out evenly. */
constexpr int WantedTasks = 64;
/** Tiles of so many atoms wait for weights: they read those of the forward pass again, from the cache, instead of transposed ones from memory. */
constexpr int FewAtoms = 12;

/** The first layer for the rows of the AEV kernels. */
Linear arrangeColumns(const Linear& layer, const std::vector<int>& columns) {
    Linear arranged;
    arranged.inputs = static_cast<int>(columns.size());
    arranged.outputs = layer.outputs;
    arranged.bias = layer.bias;
    for (int o = 0; o < layer.outputs; o++)
        for (const int column : columns)
            arranged.weight.push_back(column < 0 ? 0 : layer.weight[static_cast<size_t>(o) * static_cast<size_t>(layer.inputs) + static_cast<size_t>(column)]);
    return arranged;
}

} // namespace

CpuAniNetworks::CpuAniNetworks(const CompiledAni& model, const CpuAniDescriptor& descriptor, const CpuKernels& kernels, bool half)
    : kernels(kernels), celuAlpha(static_cast<float>(model.spec.celuAlpha)), rowLength(descriptor.getConstants().rowLength),
      numMembers(static_cast<int>(model.networks.size())), rowBlock(kernels.dense->rowBlock) {
    for (const auto& member : model.networks) {
        networks.emplace_back();
        costs.assign(member.size(), 0.0);
        for (size_t type = 0; type < member.size(); type++) {
            Network network;
            for (size_t l = 0; l < member[type].size(); l++) {
                const Linear layer = l == 0 ? arrangeColumns(member[type][l], descriptor.getColumns()) : member[type][l];
                if (l + 1 == member[type].size()) {
                    network.readout = PackedReadout(kernels, layer, 1.0 / numMembers);
                    break;
                }
                network.forward.emplace_back(kernels, layer, PackedLinear::Direction::Forward, half);
                network.transposed.emplace_back(kernels, layer, PackedLinear::Direction::Transposed, half);
                costs[type] += static_cast<double>(layer.inputs) * layer.outputs;
                if (l == widths.size())
                    widths.push_back(0);
                widths[l] = std::max(widths[l], roundUp(layer.outputs, 16));
            }
            networks.back().push_back(std::move(network));
        }
    }
}

void CpuAniNetworks::setAtoms(const std::vector<int>& typeStart, int numThreads) {
    numAtoms = typeStart.back();
    tasks.clear();
    int largest = 0;
    for (size_t type = 0; type + 1 < typeStart.size(); type++) {
        const int atoms = typeStart[type + 1] - typeStart[type], tiles = (atoms + TileSize - 1) / TileSize;
        const int size = roundUp((atoms + tiles - 1) / tiles, rowBlock);
        for (int begin = typeStart[type]; begin < typeStart[type + 1]; begin += size) {
            const int end = std::min(begin + size, typeStart[type + 1]);
            tasks.push_back({static_cast<int>(type), begin, end, 0, (end - begin) * (costs[type] + rowLength)});
            largest = std::max(largest, end - begin);
        }
    }
    const int tiles = static_cast<int>(tasks.size());
    numChunks = std::max(1, std::min(numMembers, (WantedTasks + tiles - 1) / tiles));
    for (int chunk = 1; chunk < numChunks; chunk++)
        for (int tile = 0; tile < tiles; tile++) {
            tasks.push_back(tasks[static_cast<size_t>(tile)]);
            tasks.back().chunk = chunk;
        }
    for (Task& task : tasks) { // chunks differ by one member at most, and the first ones are the larger
        const int members = (numMembers - task.chunk + numChunks - 1) / numChunks;
        task.cost *= members;
    }
    std::stable_sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) { return a.cost > b.cost; });

    energies.resize(static_cast<size_t>(numMembers) * static_cast<size_t>(numAtoms));
    gradients.resize(static_cast<size_t>(numChunks) * static_cast<size_t>(numAtoms) * static_cast<size_t>(rowLength));
    scratch.resize(static_cast<size_t>(numThreads));
    for (Scratch& own : scratch) {
        own.layers.resize(widths.size());
        for (size_t l = 0; l < widths.size(); l++)
            own.layers[l].resize(static_cast<size_t>(largest) * static_cast<size_t>(widths[l]));
    }
}

void CpuAniNetworks::evaluate(int index, int thread, float* aev, bool includeForces) {
    const Task& task = tasks[static_cast<size_t>(index)];
    // Members of a chunk: chunk, chunk + numChunks, ...
    for (int member = task.chunk; member < numMembers; member += numChunks)
        evaluateMember(task, member, scratch[static_cast<size_t>(thread)], aev, includeForces, member == task.chunk);
}

void CpuAniNetworks::multiplyTransposed(const Network& network, int layer, int atoms, const SlicedMatrix& x, const DenseOutput& output) const {
    const size_t l = static_cast<size_t>(layer);
    if (atoms <= FewAtoms)
        kernels.aniBackward->multiply(0, atoms, x, network.forward[l].getWeights(), output);
    else
        network.transposed[l].multiply(0, atoms, x, output);
}

void CpuAniNetworks::evaluateMember(const Task& task, int member, Scratch& own, float* aev, bool includeForces, bool first) {
    const Network& network = networks[static_cast<size_t>(member)][static_cast<size_t>(task.type)];
    const size_t begin = static_cast<size_t>(task.begin), row = static_cast<size_t>(rowLength);
    const int atoms = task.end - task.begin, hidden = static_cast<int>(network.forward.size());
    const SlicedMatrix input = {aev + begin * row, rowLength, 0}, gradient = {getGradient(task.chunk) + begin * row, rowLength, 0};
    const auto getLayer = [&](int l) {
        return l < 0 ? input
                     : SlicedMatrix{own.layers[static_cast<size_t>(l)].data(), roundUp(network.forward[static_cast<size_t>(l)].getWeights().outputs, 16), 0};
    };
    for (int l = 0; l < hidden; l++) {
        DenseOutput output = {DenseOutput::Form::Activate, getLayer(l)};
        output.activation = DenseActivation::Celu;
        output.alpha = celuAlpha;
        network.forward[static_cast<size_t>(l)].multiply(0, atoms, getLayer(l - 1), output);
    }
    network.readout.computeEnergies(0, atoms, getLayer(hidden - 1), energies.data() + static_cast<size_t>(member) * static_cast<size_t>(numAtoms) + begin);
    if (!includeForces)
        return;
    // dE/d(what a layer gives) takes the place of what it gave, of which only the slope of the activation is needed.
    for (int l = hidden; l >= 0; l--) {
        DenseOutput output = {first ? DenseOutput::Form::Store : DenseOutput::Form::Add, gradient};
        if (l > 0) {
            output = {DenseOutput::Form::MultiplyCeluSlope, getLayer(l - 1), getLayer(l - 1)};
            output.alpha = celuAlpha;
        }
        if (l == hidden)
            network.readout.startGradient(0, atoms, output);
        else
            multiplyTransposed(network, l, atoms, getLayer(l), output);
    }
}

} // namespace OpenMMFlash
