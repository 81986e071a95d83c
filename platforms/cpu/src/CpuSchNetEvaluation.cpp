// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuSchNet.h"
#include <algorithm>
#include <cstring>

namespace OpenMMFlash {

PairEntries CpuSchNet::Workspace::getEntries() {
    return {senders.data(), shifts.data(), {piece[0].data(), piece[1].data()}, {t[0].data(), t[1].data()}};
}

GeometryScratch CpuSchNet::ThreadState::getScratch() {
    return {distances[0].data(), distances[1].data(), distances[2].data(), distances[3].data(), {order[0].data(), order[1].data(), order[2].data()}};
}

/** One group through the network, as one thread of a team sees it. */
struct CpuSchNet::Evaluation {
    Evaluation(CpuSchNet& net, const Group& group, const Team& team, Workspace& w, int thread, const CpuParticles& particles, bool includeForces,
               CpuResults& results)
        : net(net), group(group), team(team), w(w), thread(thread), state(net.states[thread]), particles(particles), includeForces(includeForces),
          results(results), dense(*net.kernels.dense), entries(w.getEntries()), stride(static_cast<int>(w.types.size())) {
        const int blocks = (group.size + dense.rowBlock - 1) / dense.rowBlock;
        begin = std::min(group.size, blocks * team.rank / team.size * dense.rowBlock);
        end = std::min(group.size, blocks * (team.rank + 1) / team.size * dense.rowBlock);
        chunk = std::max(1, RowsAtOnce / dense.rowBlock) * dense.rowBlock;
        positions = {{w.positions[0].data(), w.positions[1].data(), w.positions[2].data()}, {nullptr, nullptr, nullptr}};
        if (particles.box)
            for (int l = 0; l < 3; l++)
                positions.shifts[l] = net.shifts[l].data();
    }

    void run() {
        start();
        stop(CpuStage::Geometry);
        team.barrier();
        locatePairs();
        stop(CpuStage::Geometry);
        for (size_t m = 0; m < net.members.size(); m++)
            runMember(static_cast<int>(m));
        if (!includeForces)
            return;
        addForces();
        stop(CpuStage::Forces);
    }

private:
    void stop(CpuStage stage) {
        if (net.profile)
            net.profile->stop(thread, stage);
    }

    // ---- Rows of matrices

    SlicedMatrix getRows(CpuArray<float>& array, const Slicing& slicing, int row) {
        return {array.data() + static_cast<size_t>(row) * slicing.width, slicing.width, static_cast<std::ptrdiff_t>(stride) * slicing.width};
    }
    SlicedMatrix getHidden(CpuArray<float>& array, int row) {
        return {array.data() + static_cast<size_t>(row) * net.hiddenWidth, net.hiddenWidth, 0};
    }
    void setZero(CpuArray<float>& array, const Slicing& slicing, int first, int count) {
        const SlicedMatrix rows = getRows(array, slicing, first);
        for (int slice = 0; slice < slicing.count; slice++)
            std::memset(rows.data + slice * rows.stride, 0, sizeof(float) * slicing.width * count);
    }
    /** Rows of a table over types. */
    void setByType(CpuArray<float>& array, const Slicing& slicing, const CpuArray<float>& table, int first, int count) {
        const SlicedMatrix rows = getRows(array, slicing, first);
        const size_t numTypes = net.typeEnergies.size();
        for (int slice = 0; slice < slicing.count; slice++)
            for (int row = 0; row < count; row++)
                std::memcpy(rows.data + slice * rows.stride + static_cast<std::ptrdiff_t>(row) * slicing.width,
                            table.data() + (slice * numTypes + w.types[first + row]) * slicing.width, sizeof(float) * slicing.width);
    }
    template <class Task> void forChunks(const Task& task) {
        for (int first = begin; first < end; first += chunk)
            task(first, std::min(chunk, end - first));
        stop(CpuStage::Dense);
    }

    // ---- Pairs

    void start() {
        for (int i = begin; i < end; i++) {
            const int particle = net.order[group.begin + i];
            w.types[i] = particles.types[particle];
            for (int l = 0; l < 3; l++)
                w.positions[l][i] = particles.positions[particle][l];
        }
    }

    void locatePairs() {
        // Rows do not depend on each other, and a thread's share of them need not be tiles.
        const std::vector<CandidateRows>& rows = group.pairs.getRows();
        const size_t first = rows.size() * team.rank / team.size, last = rows.size() * (team.rank + 1) / team.size;
        net.kernels.geometry->locate(rows.data() + first, static_cast<int>(last - first), group.pairs.getCandidates(), positions, net.grid, state.getScratch(),
                                     entries, w.rows.data() + first, state.found);
        team.barrier();
        const std::vector<CpuSchNetPairs::Tile>& tiles = group.pairs.getTiles();
        for (size_t k = team.rank; k < tiles.size(); k += team.size) {
            const CpuSchNetPairs::Tile& tile = tiles[k];
            w.numRuns[k] = CpuSchNetPairs::sortByPiece(tile, w.rows.data(), entries, net.grid.pieces, state.counts.data(), w.pairs.data(), w.runs.data());
            if (includeForces)
                for (CpuArray<float>& slot : w.dEdt)
                    std::memset(slot.data() + tile.firstPair, 0, sizeof(float) * tile.numPairs);
        }
        team.barrier();
    }

    /** task(slice, slot, runs, numRuns) for every slice of channels and every tile, in the order that fixes all sums. */
    template <class Task> void forSlices(const Slicing& slicing, CpuStage stage, const Task& task) {
        const std::vector<CpuSchNetPairs::Tile>& tiles = group.pairs.getTiles();
        const int numSlots = net.numSlots, numTurns = (slicing.count + numSlots - 1) / numSlots;
        if (team.size <= numSlots) {
            for (int slot = team.rank; slot < numSlots; slot += team.size)
                for (int slice = slot; slice < slicing.count; slice += numSlots)
                    for (size_t k = 0; k < tiles.size(); k++)
                        task(slice, slot, w.runs.data() + tiles[k].firstPair, w.numRuns[k]);
        }
        else {
            // Several threads to a slot: they share the tiles of a round.
            const int slot = team.rank % numSlots, rank = team.rank / numSlots, size = (team.size - 1 - slot) / numSlots + 1;
            for (int turn = 0; turn < numTurns; turn++) {
                const int slice = slot + turn * numSlots;
                for (int round = 0; round < group.pairs.getNumRounds(); round++) {
                    if (slice < slicing.count)
                        for (int k = group.pairs.getRoundStart()[round] + rank; k < group.pairs.getRoundStart()[round + 1]; k += size)
                            task(slice, slot, w.runs.data() + tiles[k].firstPair, w.numRuns[k]);
                    team.barrier();
                }
            }
        }
        team.barrier();
        stop(stage);
    }
    static MessageSlice getSlice(const CpuArray<float>& table, const Slicing& slicing, int pieces, int slice, bool withOwn) {
        return {slicing.width, table.data() + static_cast<size_t>(slice) * pieces * 4 * slicing.width, withOwn};
    }
    void passMessages(const CpuArray<float>& table, const Slicing& slicing, bool withOwn, CpuArray<float>& y, CpuArray<float>& m) {
        forSlices(slicing, CpuStage::Message, [&](int slice, int, const MessageRun* runs, int numRuns) {
            const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(slice) * stride * slicing.width;
            net.kernels.message->forward(runs, numRuns, w.pairs.data(), getSlice(table, slicing, net.grid.pieces, slice, withOwn), y.data() + offset,
                                         m.data() + offset);
        });
    }
    /** @param dy  null: not needed */
    void passMessagesBack(const CpuArray<float>& table, const Slicing& slicing, bool withOwn, CpuArray<float>& y, CpuArray<float>& q, CpuArray<float>* dy) {
        forSlices(slicing, CpuStage::MessageBackward, [&](int slice, int slot, const MessageRun* runs, int numRuns) {
            const std::ptrdiff_t offset = static_cast<std::ptrdiff_t>(slice) * stride * slicing.width;
            net.kernels.message->backward(runs, numRuns, w.pairs.data(), getSlice(table, slicing, net.grid.pieces, slice, withOwn), y.data() + offset,
                                          q.data() + offset, dy == nullptr ? nullptr : dy->data() + offset, w.dEdt[slot].data());
        });
    }

    /** dE/dx of the particles, from dE/dt of the pairs: rows are dealt to a number of sums that the group's size fixes. */
    void addForces() {
        const float* dEdt[MaxMessageSlots];
        for (int k = 0; k < net.numSlots; k++)
            dEdt[k] = w.dEdt[k].data();
        const int numSums = getNumGradientSums(group.size);
        auto getFirstRow = [&](int sum) { return static_cast<int>(static_cast<std::int64_t>(group.size) * sum / numSums); };
        for (int sum = team.rank; sum < numSums; sum += team.size) {
            double* gradient[3];
            for (int l = 0; l < 3; l++) {
                gradient[l] = w.gradient[l].data() + static_cast<size_t>(sum) * stride;
                std::fill_n(gradient[l], group.size, 0.0);
            }
            for (const CpuSchNetPairs::Tile& tile : group.pairs.getTiles()) {
                const PairRows *first = w.rows.data() + tile.firstRows, *end = first + tile.numRows;
                auto isBefore = [](const PairRows& rows, int row) { return rows.row < row; };
                first = std::lower_bound(first, end, getFirstRow(sum), isBefore);
                end = std::lower_bound(first, end, getFirstRow(sum + 1), isBefore);
                net.kernels.geometry->addGradient(first, static_cast<int>(end - first), entries, positions, net.grid, dEdt, net.numSlots, state.getScratch(),
                                                  gradient);
            }
        }
        team.barrier();
        for (int i = begin; i < end; i++)
            for (int l = 0; l < 3; l++) {
                double total = 0;
                for (int sum = 0; sum < numSums; sum++)
                    total += w.gradient[l][static_cast<size_t>(sum) * stride + i];
                results.gradient[net.order[group.begin + i]][l] += total;
            }
    }

    // ---- Network

    void runMember(int index) {
        Member& member = net.members[index];
        const int numBlocks = static_cast<int>(member.blocks.size());
        forChunks([&](int first, int count) {
            setByType(w.x, {net.hiddenWidth, 1}, member.embedding, first, count);
            if (member.withNeighbors) {
                setByType(w.neighborInput, net.neighbors, member.neighborEmbedding, first, count);
                setZero(w.dy, net.neighbors, first, count);
            }
            else if (numBlocks > 0) {
                setByType(w.y[0], net.filters, member.firstInput, first, count);
                setZero(w.m, net.filters, first, count);
            }
            else
                readOut(member, index, first, count);
        });
        team.barrier();
        if (member.withNeighbors) {
            passMessages(member.neighborTable, net.neighbors, false, w.neighborInput, w.dy);
            forChunks([&](int first, int count) {
                member.combine.multiply(0, count, getRows(w.dy, net.neighbors, first), {DenseOutput::Form::Add, getHidden(w.x, first)});
                if (numBlocks > 0)
                    prepareBlock(member, 0, first, count);
                else
                    readOut(member, index, first, count);
            });
            team.barrier();
        }
        for (int b = 0; b < numBlocks; b++) {
            passMessages(member.blocks[b].table, net.filters, true, w.y[b], w.m);
            forChunks([&](int first, int count) {
                update(member.blocks[b], b, first, count);
                if (b + 1 < numBlocks)
                    prepareBlock(member, b + 1, first, count);
                else
                    readOut(member, index, first, count);
            });
            team.barrier();
        }
        if (!includeForces)
            return;
        for (int b = numBlocks - 1; b >= 0; b--) {
            const bool needsInput = b > 0 || member.withNeighbors;
            passMessagesBack(member.blocks[b].table, net.filters, true, w.y[b], w.m, needsInput ? &w.dy : nullptr);
            if (!needsInput)
                break;
            forChunks([&](int first, int count) {
                member.blocks[b].inputBack.multiply(0, count, getRows(w.dy, net.filters, first), {DenseOutput::Form::Add, getHidden(w.gx, first)});
                prepareBack(member, b - 1, first, count);
            });
            team.barrier();
        }
        if (member.withNeighbors)
            passMessagesBack(member.neighborTable, net.neighbors, false, w.neighborInput, w.m, nullptr);
    }

    /** y = A x of a block, and m = 0. */
    void prepareBlock(Member& member, int b, int first, int count) {
        member.blocks[b].input.multiply(0, count, getHidden(w.x, first), {DenseOutput::Form::Store, getRows(w.y[b], net.filters, first)});
        setZero(w.m, net.filters, first, count);
    }
    /** v = act(B m + b), x += D v + d. */
    void update(Block& block, int b, int first, int count) {
        const SlicedMatrix v = {state.hidden[0].data(), net.hiddenWidth, 0};
        block.output0.multiply(
            0, count, getRows(w.m, net.filters, first),
            {DenseOutput::Form::Activate, v, includeForces ? getHidden(w.derivatives[b], first) : SlicedMatrix{nullptr, 0, 0}, net.activation});
        block.output1.multiply(0, count, v, {DenseOutput::Form::Add, getHidden(w.x, first)});
    }
    /** Energies from x; dE/dx, and what the last block's backward pass begins with. */
    void readOut(Member& member, int index, int first, int count) {
        SlicedMatrix x = getHidden(w.x, first);
        const int numLayers = static_cast<int>(member.readout.size());
        auto getDerivative = [&](int layer) {
            return SlicedMatrix{includeForces ? state.readoutDerivatives[layer].data() : nullptr, net.readoutWidths[layer], 0};
        };
        for (int layer = 0; layer < numLayers; layer++) {
            const SlicedMatrix h = {state.hidden[layer % 2].data(), net.readoutWidths[layer], 0};
            member.readout[layer].multiply(0, count, x, {DenseOutput::Form::Activate, h, getDerivative(layer), net.readoutActivation});
            x = h;
        }
        member.lastReadout.computeEnergies(0, count, x, state.energies.data());
        for (int row = 0; row < count; row++) {
            const int particle = net.order[group.begin + first + row];
            results.memberEnergies[index][particle] += state.energies[row] + net.groupEnergy / group.size + net.typeEnergies[particles.types[particle]];
        }
        if (!includeForces)
            return;
        const SlicedMatrix gx = getHidden(w.gx, first);
        if (numLayers == 0)
            member.lastReadout.startGradient(0, count, {DenseOutput::Form::Store, gx});
        else {
            SlicedMatrix g = {state.hidden[0].data(), net.readoutWidths[numLayers - 1], 0};
            member.lastReadout.startGradient(0, count, {DenseOutput::Form::MultiplyOther, g, getDerivative(numLayers - 1)});
            for (int layer = numLayers - 1; layer > 0; layer--) {
                const SlicedMatrix next = {state.hidden[(numLayers - layer) % 2].data(), net.readoutWidths[layer - 1], 0};
                member.readoutBack[layer].multiply(0, count, g, {DenseOutput::Form::MultiplyOther, next, getDerivative(layer - 1)});
                g = next;
            }
            member.readoutBack[0].multiply(0, count, g, {DenseOutput::Form::Store, gx});
        }
        prepareBack(member, static_cast<int>(member.blocks.size()) - 1, first, count);
    }
    /** q = dE/dm of a block from dE/dx behind it, and dE/dy = 0; before the first block, what the neighbor embedding needs. */
    void prepareBack(Member& member, int b, int first, int count) {
        const SlicedMatrix gx = getHidden(w.gx, first);
        if (b < 0) {
            if (member.withNeighbors)
                member.combineBack.multiply(0, count, gx, {DenseOutput::Form::Store, getRows(w.m, net.neighbors, first)});
            return;
        }
        const SlicedMatrix gv = {state.hidden[0].data(), net.hiddenWidth, 0};
        member.blocks[b].output1Back.multiply(0, count, gx, {DenseOutput::Form::MultiplyOther, gv, getHidden(w.derivatives[b], first)});
        member.blocks[b].output0Back.multiply(0, count, gv, {DenseOutput::Form::Store, getRows(w.m, net.filters, first)});
        setZero(w.dy, net.filters, first, count);
    }

    CpuSchNet& net;
    const Group& group;
    const Team team;
    Workspace& w;
    const int thread;
    ThreadState& state;
    const CpuParticles& particles;
    const bool includeForces;
    CpuResults& results;
    const DenseKernels& dense;
    const PairEntries entries;
    PairPositions positions;
    const int stride; ///< rows from one slice of a matrix to the next
    int begin, end;   ///< this thread's rows
    int chunk;
};

void CpuSchNet::compute(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results) {
    states[thread].found = {};
    if (thread == 0)
        threads.resetCounter();
    if (profile)
        profile->start(thread);
    const Team all = {thread, threads.getSize(), threads.getSize() > 1 ? &threads : nullptr};
    all.barrier();
    for (const int g : together) {
        Evaluation(*this, groups[g], all, workspaces[0], thread, particles, includeForces, results).run();
        all.barrier(); // the workspace is used again
    }
    for (int k = threads.next(); k < static_cast<int>(alone.size()); k = threads.next())
        Evaluation(*this, groups[alone[k]], {0, 1, nullptr}, workspaces[thread], thread, particles, includeForces, results).run();
}

} // namespace OpenMMFlash
