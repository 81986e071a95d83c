// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// What is prepared: the model's tables and weights in the kernels' layouts, groups, tiles and memory. CpuSchNetEvaluation.cpp
// holds the evaluation.
#include "CpuSchNet.h"
#include "kernels/Coincidence.h"
#include "openmmflash/internal/Layers.h"
#include <algorithm>
#include <cmath>
#include <exception>
#include <numeric>

namespace OpenMMFlash {

namespace {

/** Rows of `channels` numbers as [slice][row][S]. */
void packSlices(const std::vector<double>& values, int channels, int width, int count, CpuArray<float>& packed) {
    const size_t rows = values.size() / channels;
    packed.resize(rows * width * count);
    for (size_t row = 0; row < rows; row++)
        for (int c = 0; c < channels; c++)
            packed[((c / width) * rows + row) * width + c % width] = static_cast<float>(values[row * channels + c]);
}

} // namespace

CpuSchNet::Slicing CpuSchNet::slice(int channels, int maxWidth) {
    Slicing slicing;
    slicing.count = (channels + maxWidth - 1) / maxWidth;
    slicing.width = roundUp((channels + slicing.count - 1) / slicing.count, 16);
    return slicing;
}

int CpuSchNet::getNumGradientSums(int size) {
    return std::clamp(size / 32, 1, 8);
}

CpuSchNet::CpuSchNet(const ModelSpec& model, const CpuKernels& kernels, CpuThreads& threads, const CpuOptions& options)
    : model(model), compileOptions(options.compile), kernels(kernels), threads(threads), profile(options.profile), typeEnergies(model.typeEnergies),
      list(makeListOptions(CpuNeighborList::Kind::Half, model.getCutoff(), options), threads) {
    const CompiledSchNet compiled = compileSchNet(std::get<SchNetSpec>(model.network), options.compile);
    const SchNetSpec& spec = compiled.spec;
    hidden = spec.hidden;
    hiddenWidth = roundUp(hidden, 16);
    filters = slice(spec.filters, kernels.message->maxWidth);
    neighbors = slice(hidden, kernels.message->maxWidth);
    activation = getDenseActivation(spec.activation);
    readoutActivation = getDenseActivation(spec.readoutActivation);
    groupEnergy = spec.groupEnergy;
    cutoff = spec.cutoff;
    grid = {compiled.grid.knots == RadialGrid::Knots::Logarithmic,
            compiled.grid.pieces,
            compiled.grid.getStart(),
            compiled.grid.getScale(),
            compiled.grid.first,
            compiled.grid.cutoff};
    numSlots = filters.count;
    for (const Linear& layer : spec.members.at(0).readout)
        readoutWidths.push_back(roundUp(layer.outputs, 16));
    members.resize(spec.members.size());
    for (size_t m = 0; m < members.size(); m++) {
        compileMember(compiled, static_cast<int>(m), options);
        if (members[m].withNeighbors)
            numSlots = std::max(numSlots, neighbors.count);
    }
    numSlots = std::min(numSlots, MaxMessageSlots);
    states.resize(threads.getSize());
    workspaces.resize(threads.getSize());
}

void CpuSchNet::compileMember(const CompiledSchNet& compiled, int index, const CpuOptions& options) {
    const SchNetMember& from = compiled.spec.members[index];
    const CompiledSchNet::Member& tables = compiled.members[index];
    Member& to = members[index];
    const bool half = options.compile.halfWeights;
    auto pack = [&](const Linear& layer) { return PackedLinear(kernels, layer, PackedLinear::Direction::Forward, half); };
    auto packBack = [&](const Linear& layer) { return PackedLinear(kernels, layer, PackedLinear::Direction::Transposed, half); };
    auto packTable = [&](const RadialTable& table, const Slicing& slicing, CpuArray<float>& packed) {
        packSlices(table.coefficients, table.channels, slicing.width, slicing.count, packed); // [piece][4] rows
    };

    std::vector<double> embedding = from.embedding;
    to.withNeighbors = from.neighborEmbedding.has_value();
    if (to.withNeighbors) {
        Linear left = takeColumns(from.neighborEmbedding->combine, 0, hidden);
        left.bias = from.neighborEmbedding->combine.bias;
        embedding = applyLayer(left, embedding);
        const Linear right = takeColumns(from.neighborEmbedding->combine, hidden, 2 * hidden);
        to.combine = pack(right);
        to.combineBack = packBack(right);
        packSlices(from.neighborEmbedding->embedding, hidden, neighbors.width, neighbors.count, to.neighborEmbedding);
        packTable(tables.neighbor.value(), neighbors, to.neighborTable);
    }
    else if (!from.blocks.empty())
        packSlices(applyLayer(from.blocks[0].input, embedding), compiled.spec.filters, filters.width, filters.count, to.firstInput);
    packSlices(embedding, hidden, hiddenWidth, 1, to.embedding);
    to.blocks.resize(from.blocks.size());
    for (size_t b = 0; b < from.blocks.size(); b++) {
        Block& block = to.blocks[b];
        packTable(tables.filters.at(b), filters, block.table);
        block.input = pack(from.blocks[b].input);
        block.output0 = pack(from.blocks[b].output0);
        block.output1 = pack(from.blocks[b].output1);
        block.inputBack = packBack(from.blocks[b].input);
        block.output0Back = packBack(from.blocks[b].output0);
        block.output1Back = packBack(from.blocks[b].output1);
    }
    for (size_t layer = 0; layer + 1 < from.readout.size(); layer++) {
        to.readout.push_back(pack(from.readout[layer]));
        to.readoutBack.push_back(packBack(from.readout[layer]));
    }
    to.lastReadout = PackedReadout(kernels, from.readout.back(), 1.0 / static_cast<double>(members.size()));
}

void CpuSchNet::setParticles(const CpuParticles& particles) {
    const int n = particles.size();
    list.setGroups(particles.groups);
    const int numGroups = n == 0 ? 0 : *std::max_element(particles.groups.begin(), particles.groups.end()) + 1;
    std::vector<int> start(static_cast<size_t>(numGroups) + 1, 0);
    for (const int group : particles.groups)
        start[static_cast<size_t>(group) + 1]++;
    std::partial_sum(start.begin(), start.end(), start.begin());
    groups.clear();
    groups.resize(numGroups);
    for (int g = 0; g < numGroups; g++) {
        groups[g].begin = start[g];
        groups[g].size = start[g + 1] - start[g];
        groups[g].pairs.setSize(groups[g].size);
    }
    order.resize(n);
    indices.resize(n);
    for (int i = 0; i < n; i++) {
        const int group = particles.groups[i];
        indices[i] = start[group] - groups[group].begin;
        order[start[group]++] = i;
    }
    tilesAreStale = true;
}

void CpuSchNet::prepare(const CpuParticles& particles) {
    if (!list.update(particles.positions, particles.box) && !tilesAreStale)
        return;
    tilesAreStale = true; // until they are all there
    const std::vector<Vector3>& vectors = list.getShifts();
    for (int l = 0; l < 3; l++) {
        shifts[l].resize(vectors.size());
        for (size_t k = 0; k < vectors.size(); k++)
            shifts[l][k] = vectors[k][l];
    }
    std::vector<std::exception_ptr> problems(threads.getSize());
    threads.resetCounter();
    threads.run([&](int thread) {
        try {
            for (int g = threads.next(); g < static_cast<int>(groups.size()); g = threads.next())
                groups[g].pairs.build(list, order.data() + groups[g].begin, indices);
        }
        catch (...) {
            problems[thread] = std::current_exception();
        }
    });
    for (const std::exception_ptr& problem : problems)
        if (problem)
            std::rethrow_exception(problem);
    planGroups();
    reserve();
    tilesAreStale = false;
}

/** All threads together evaluate a group while it is a large part of what is left; the others they share out, the largest first. */
void CpuSchNet::planGroups() {
    together.clear();
    alone.clear();
    std::vector<int> sorted;
    std::vector<double> work(groups.size());
    double left = 0;
    for (size_t g = 0; g < groups.size(); g++) {
        if (groups[g].size == 0)
            continue;
        // A particle's dense layers cost about as much as a hundred pairs.
        work[g] = static_cast<double>(groups[g].pairs.getNumCandidates()) + 100.0 * groups[g].size;
        left += work[g];
        sorted.push_back(static_cast<int>(g));
    }
    std::stable_sort(sorted.begin(), sorted.end(), [&](int a, int b) { return work[a] > work[b]; });
    for (const int g : sorted) {
        const bool large = threads.getSize() > 1 && alone.empty() && 2.0 * threads.getSize() * work[g] > left;
        (large ? together : alone).push_back(g);
        left -= work[g];
    }
}

void CpuSchNet::reserve() {
    std::vector<int> all = alone;
    all.insert(all.end(), together.begin(), together.end());
    reserve(workspaces[0], all);
    int maxCount = 0;
    for (const Group& group : groups)
        maxCount = std::max(maxCount, group.pairs.getMaxCount());
    const int widest = std::max({hiddenWidth, filters.getChannels(), *std::max_element(readoutWidths.begin(), readoutWidths.end())});
    for (size_t thread = 0; thread < states.size(); thread++) {
        if (thread > 0)
            reserve(workspaces[thread], alone);
        ThreadState& state = states[thread];
        for (auto& array : state.distances)
            array.resize(maxCount + 16);
        for (auto& array : state.order)
            array.resize(maxCount + 16);
        state.counts.resize(grid.pieces);
        for (auto& array : state.hidden)
            array.resize(static_cast<size_t>(RowsAtOnce) * widest);
        state.readoutDerivatives.resize(readoutWidths.size() - 1);
        for (size_t layer = 0; layer < state.readoutDerivatives.size(); layer++)
            state.readoutDerivatives[layer].resize(static_cast<size_t>(RowsAtOnce) * readoutWidths[layer]);
        state.energies.resize(RowsAtOnce);
    }
}

/** Memory for any of these groups. */
void CpuSchNet::reserve(Workspace& w, const std::vector<int>& which) {
    size_t n = 0, entries = 0, rows = 0, pairs = 0, tiles = 0;
    for (const int g : which) {
        n = std::max(n, static_cast<size_t>(groups[g].size));
        entries = std::max(entries, groups[g].pairs.getNumCandidates());
        rows = std::max(rows, groups[g].pairs.getRows().size());
        pairs = std::max(pairs, groups[g].pairs.getNumPairs());
        tiles = std::max(tiles, groups[g].pairs.getTiles().size());
    }
    if (n == 0)
        return;
    // The number of candidates changes from build to build: some room saves moving everything again and again.
    // Of arrays that grow together, the one that is asked comes last: where memory runs out, all are resized again next time.
    if (entries + 16 > w.senders.size()) {
        const size_t room = entries + entries / 8 + 16;
        for (auto& array : w.t)
            array.resize(room);
        for (CpuArray<std::int32_t>* array : {&w.shifts, &w.piece[0], &w.piece[1], &w.senders})
            array->resize(room);
    }
    if (rows > w.rows.size())
        w.rows.resize(rows + rows / 8);
    if (tiles > w.numRuns.size())
        w.numRuns.resize(tiles);
    w.dEdt.resize(numSlots);
    if (pairs > w.pairs.size()) {
        const size_t room = pairs + pairs / 8;
        w.runs.resize(room);
        for (auto& array : w.dEdt)
            array.resize(room);
        w.pairs.resize(room);
    }
    // A row behind the last one: the second of two rows where their number is odd.
    n++;
    if (n <= w.types.size())
        return;
    for (int l = 0; l < 3; l++) {
        w.positions[l].resize(n);
        w.gradient[l].resize(n * getNumGradientSums(static_cast<int>(n)));
    }
    w.x.resize(n * hiddenWidth);
    w.gx.resize(n * hiddenWidth);
    size_t numBlocks = 0, messageWidth = filters.getChannels();
    for (const Member& member : members) {
        numBlocks = std::max(numBlocks, member.blocks.size());
        if (member.withNeighbors) {
            messageWidth = std::max(messageWidth, static_cast<size_t>(neighbors.getChannels()));
            w.neighborInput.resize(n * neighbors.getChannels());
        }
    }
    w.y.resize(numBlocks);
    w.derivatives.resize(numBlocks);
    for (auto& array : w.y)
        array.resize(n * filters.getChannels());
    for (auto& array : w.derivatives)
        array.resize(n * hiddenWidth);
    w.m.resize(n * messageWidth);
    w.dy.resize(n * messageWidth);
    w.types.resize(n);
}

void CpuSchNet::finish(const CpuParticles& particles) {
    long coincident = 0;
    for (const ThreadState& state : states)
        coincident += state.found.coincident;
    if (coincident == 0)
        return;
    for (int i = 0; i < list.getNumRows(); i++)
        for (std::int64_t entry = list.getRowStart()[i]; entry < list.getRowStart()[i + 1]; entry++) {
            const int j = list.getSenders()[entry];
            const Vector3& shift = list.getShifts()[list.getShiftIndices()[entry]];
            double r2 = 0;
            for (int l = 0; l < 3; l++) {
                const double d = (particles.positions[j][l] - particles.positions[i][l]) + shift[l];
                r2 += d * d;
            }
            if (!(std::sqrt(r2) > CoincidenceFraction * cutoff))
                throw FlashEvaluationError(particles.box ? "two particles (or their periodic images) are at the same position"
                                                         : "two particles are at the same position",
                                           {i, j}, {particles.positions[i], particles.positions[j]});
        }
    throw std::logic_error("CpuSchNet: particles are at the same position, but none were found");
}

long CpuSchNet::getNumPairsBelowTable() const {
    long below = 0;
    for (const ThreadState& state : states)
        below += state.found.below;
    return below;
}

std::string CpuSchNet::getReport() const {
    // Compiled once more: the tables of the kernels are in single precision, and the report's ranks take longer than the tables.
    const CompiledSchNet compiled = compileSchNet(std::get<SchNetSpec>(model.network), compileOptions);
    return describeCompilation(compiled, compileOptions, model.lengthUnit, {{"pairsBelowFirstKnot", std::to_string(getNumPairsBelowTable())}});
}

} // namespace OpenMMFlash
