// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuAni.h"
#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace OpenMMFlash {

namespace {

const std::pair<int, int> None = {-1, -1};

} // namespace

CpuAni::CpuAni(const ModelSpec& model, const CpuKernels& kernels, CpuThreads& threads, const CpuOptions& options)
    : model(model), kernels(kernels), threads(threads), options(options),
      neighborList(makeListOptions(CpuNeighborList::Kind::Full, model.getCutoff(), options), threads), own(static_cast<size_t>(threads.getSize())) {}

void CpuAni::setParticles(const CpuParticles& particles) {
    ready = false;
    numAtoms = particles.size();
    order.resize(static_cast<size_t>(numAtoms));
    std::iota(order.begin(), order.end(), 0);
    const auto getKey = [&](int i) { return std::pair<int, int>(particles.types[static_cast<size_t>(i)], particles.groups[static_cast<size_t>(i)]); };
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return getKey(a) < getKey(b); });
    groups.clear();
    std::vector<int> present;
    typeStart.clear();
    for (const int i : order) {
        const int type = particles.types[static_cast<size_t>(i)];
        if (present.empty() || present.back() != type) {
            present.push_back(type);
            typeStart.push_back(static_cast<int>(groups.size()));
        }
        groups.push_back(particles.groups[static_cast<size_t>(i)]);
    }
    typeStart.push_back(numAtoms);
    neighborList.setGroups(groups);
    positions.resize(static_cast<size_t>(numAtoms));
    if (numAtoms == 0) {
        ready = true;
        return;
    }
    if (!networks || present != presentTypes)
        compile(particles, present);
    networks->setAtoms(typeStart, threads.getSize());
    const size_t rowLength = static_cast<size_t>(descriptor->getConstants().rowLength);
    aev.resize(static_cast<size_t>(numAtoms) * rowLength);
    for (Thread& thread : own)
        thread.gradient.resize(rowLength);
    blockSize = std::clamp(numAtoms / 256, 1, 16);
    ready = true;
}

/** All or nothing: types that cannot be compiled leave what there is. */
void CpuAni::compile(const CpuParticles& particles, const std::vector<int>& present) {
    CompiledAni newCompiled = compileAni(std::get<AniSpec>(model.network), particles.types, options.compile);
    auto newDescriptor = std::make_unique<CpuAniDescriptor>(newCompiled, kernels);
    auto newNetworks = std::make_unique<CpuAniNetworks>(newCompiled, *newDescriptor, kernels, options.compile.halfWeights);
    for (auto& member : newCompiled.networks)
        for (auto& layers : member)
            for (Linear& layer : layers) {
                layer.weight = {};
                layer.bias = {};
            }
    std::vector<int> newTypes = present;
    compiled = std::move(newCompiled);
    descriptor = std::move(newDescriptor);
    networks = std::move(newNetworks);
    presentTypes = std::move(newTypes);
}

void CpuAni::prepare(const CpuParticles& particles) {
    if (!ready)
        throw std::logic_error("CpuAni: nothing can be evaluated: setParticles() has not succeeded");
    for (Thread& thread : own)
        thread.coincident = None;
    if (numAtoms == 0)
        return;
    for (size_t atom = 0; atom < positions.size(); atom++)
        positions[atom] = particles.positions[static_cast<size_t>(order[atom])];
    try {
        neighborList.update(positions, particles.box);
    }
    catch (const FlashEvaluationError& error) {
        std::vector<int> theirs;
        for (const int atom : error.getParticles())
            theirs.push_back(order[static_cast<size_t>(atom)]);
        throw FlashEvaluationError(error.getProblem(), theirs, error.getPositions());
    }
    const std::vector<std::int64_t>& rowStart = neighborList.getRowStart();
    std::int64_t candidates = 0;
    for (size_t atom = 0; atom < positions.size(); atom++)
        candidates = std::max(candidates, rowStart[atom + 1] - rowStart[atom]);
    const AevConstants& constants = descriptor->getConstants();
    for (Thread& thread : own) {
        thread.scratch.resize(kernels.aev->getScratchSize(constants, candidates));
        kernels.aev->prepareScratch(constants, candidates, thread.scratch.data());
    }
    entryGradients.resize(3 * static_cast<size_t>(rowStart.back()));
}

AevRow CpuAni::getRow(int atom) const {
    AevRow row;
    row.positions = positions[0].data();
    row.shifts = neighborList.getShifts()[0].data();
    row.senders = neighborList.getSenders().data();
    row.shiftIndices = neighborList.getShiftIndices().data();
    row.begin = neighborList.getRowStart()[static_cast<size_t>(atom)];
    row.end = neighborList.getRowStart()[static_cast<size_t>(atom) + 1];
    row.typeStart = typeStart.data();
    row.particle = atom;
    return row;
}

void CpuAni::computeDescriptors(int block, Thread& thread) {
    const AevConstants& constants = descriptor->getConstants();
    for (int atom = block * blockSize; atom < std::min((block + 1) * blockSize, numAtoms); atom++) {
        float* row = aev.data() + static_cast<size_t>(atom) * static_cast<size_t>(constants.rowLength);
        const std::int64_t entry = kernels.aev->forward(constants, getRow(atom), thread.scratch.data(), row);
        if (entry < 0)
            continue;
        const int sender = neighborList.getSenders()[static_cast<size_t>(entry)];
        const std::pair<int, int> found = {order[static_cast<size_t>(atom)], order[static_cast<size_t>(sender)]};
        if (thread.coincident == None || found < thread.coincident)
            thread.coincident = found;
    }
}

void CpuAni::computeGradients(int block, Thread& thread) {
    const AevConstants& constants = descriptor->getConstants();
    const size_t rowLength = static_cast<size_t>(constants.rowLength);
    const int numChunks = networks->getNumChunks();
    for (int atom = block * blockSize; atom < std::min((block + 1) * blockSize, numAtoms); atom++) {
        const float* sum = networks->getGradient(0) + static_cast<size_t>(atom) * rowLength;
        for (int chunk = 1; chunk < numChunks; chunk++) {
            const float* part = networks->getGradient(chunk) + static_cast<size_t>(atom) * rowLength;
            for (size_t k = 0; k < rowLength; k++)
                thread.gradient[k] = sum[k] + part[k];
            sum = thread.gradient.data();
        }
        kernels.aev->backward(constants, getRow(atom), thread.scratch.data(), sum, entryGradients.data());
    }
}

void CpuAni::addForces(int block, CpuResults& results) const {
    const std::vector<int>& reverses = neighborList.getReverses();
    const float* gradients = entryGradients.data();
    for (int atom = block * blockSize; atom < std::min((block + 1) * blockSize, numAtoms); atom++) {
        double x = 0, y = 0, z = 0;
        const std::int64_t end = neighborList.getRowStart()[static_cast<size_t>(atom) + 1];
        for (std::int64_t e = neighborList.getRowStart()[static_cast<size_t>(atom)]; e < end; e++) {
            // This atom is where the displacement begins, and where that of the reverse entry ends.
            const float *minus = gradients + 3 * e, *plus = gradients + 3 * static_cast<std::int64_t>(reverses[static_cast<size_t>(e)]);
            x += static_cast<double>(plus[0]) - static_cast<double>(minus[0]);
            y += static_cast<double>(plus[1]) - static_cast<double>(minus[1]);
            z += static_cast<double>(plus[2]) - static_cast<double>(minus[2]);
        }
        const size_t particle = static_cast<size_t>(order[static_cast<size_t>(atom)]);
        results.gradient[particle][0] += x;
        results.gradient[particle][1] += y;
        results.gradient[particle][2] += z;
    }
}

void CpuAni::addEnergies(int block, const CpuParticles& particles, CpuResults& results) const {
    for (int atom = block * blockSize; atom < std::min((block + 1) * blockSize, numAtoms); atom++) {
        const size_t particle = static_cast<size_t>(order[static_cast<size_t>(atom)]);
        const double typeEnergy = model.typeEnergies[static_cast<size_t>(particles.types[particle])];
        for (size_t member = 0; member < results.memberEnergies.size(); member++)
            results.memberEnergies[member][particle] += networks->getEnergies(static_cast<int>(member))[atom] + typeEnergy;
    }
}

void CpuAni::compute(int thread, const CpuParticles& particles, bool includeForces, CpuResults& results) {
    if (numAtoms == 0)
        return;
    Thread& mine = own[static_cast<size_t>(thread)];
    CpuProfile* profile = options.profile.get();
    const int blocks = (numAtoms + blockSize - 1) / blockSize;
    // Every thread takes one number too many in each phase, so the next phase knows where its numbers begin.
    int first = 0;
    const auto forEach = [&](int count, const auto& work) {
        for (int piece = threads.next() - first; piece < count; piece = threads.next() - first)
            work(piece);
        first += count + threads.getSize();
        threads.barrier();
    };
    const auto stop = [&](CpuStage stage) {
        if (profile)
            profile->stop(thread, stage);
    };
    threads.barrier();
    if (thread == 0)
        threads.resetCounter();
    threads.barrier();
    if (profile)
        profile->start(thread);
    forEach(blocks, [&](int block) { computeDescriptors(block, mine); });
    stop(CpuStage::Descriptor);
    forEach(networks->getNumTasks(), [&](int task) { networks->evaluate(task, thread, aev.data(), includeForces); });
    stop(CpuStage::Networks);
    if (includeForces) {
        forEach(blocks, [&](int block) { computeGradients(block, mine); });
        stop(CpuStage::DescriptorBackward);
    }
    forEach(blocks, [&](int block) {
        addEnergies(block, particles, results);
        if (includeForces)
            addForces(block, results);
    });
    stop(CpuStage::Forces);
}

void CpuAni::finish(const CpuParticles& particles) {
    std::pair<int, int> coincident = None;
    for (const Thread& thread : own)
        if (thread.coincident != None && (coincident == None || thread.coincident < coincident))
            coincident = thread.coincident;
    if (coincident == None)
        return;
    throw FlashEvaluationError(particles.box ? "two particles (or their periodic images) are at the same position" : "two particles are at the same position",
                               {coincident.first, coincident.second},
                               {particles.positions[static_cast<size_t>(coincident.first)], particles.positions[static_cast<size_t>(coincident.second)]});
}

std::string CpuAni::getReport() const {
    return compiled ? describeCompilation(*compiled, options.compile, model.lengthUnit) : describeFields({{"architecture", "\"ani\""}});
}

} // namespace OpenMMFlash
