// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The launches of an evaluation. CommonSchNet.cpp holds what they work with.
#include "CommonFlashKernelSources.h"
#include "CommonSchNet.h"
#include "openmm/OpenMMException.h"
#include <algorithm>

using namespace OpenMM;

namespace OpenMMFlash {

namespace {

constexpr int Threads = 128; // of a work-group, as in the texts
/** Local memory that a work-group may have on any GPU. */
constexpr int LocalBytes = 48 * 1024;
/** Arguments that change from one evaluation to the next. */
constexpr int CapacityArgument = 1, ForwardForcesArgument = 28, ForceScaleArgument = 28;

const char* getFunction(Activation activation) {
    switch (activation) {
    case Activation::Tanh:
        return "activateTanh";
    case Activation::ShiftedSoftplus:
        return "activateShiftedSoftplus";
    case Activation::Softplus:
        return "activateSoftplus";
    case Activation::Silu:
        return "activateSilu";
    case Activation::Sigmoid:
        return "activateSigmoid";
    default:
        return "activateMish";
    }
}

} // namespace

/** Reals in local memory that passing messages needs beside a tile: see kernels/messageTable.cc, kernels/messageLowRank.cc and addRowForces(). */
int CommonSchNet::getScratch(const Shape& shape) const {
    const bool twice = cc.getUseDoublePrecision();
    if (shape.rank > 0) {
        const int pairs = twice ? 16 : 32, stride = CommonDense::getStride((splitsExpansion() ? 2 : 1) * shape.getColumns());
        return std::max({2 * pairs * stride + 17 * pairs, 9 * Threads, 3 * Threads});
    }
    return std::max(Threads / shape.lanes * getBatch(shape) * (shape.lanes + 1), 3 * Threads);
}

int CommonSchNet::getBatch(const Shape& shape) const {
    return cc.getUseDoublePrecision() ? 8 : std::min(16, shape.lanes);
}

int CommonSchNet::getLocalBytes(int numRows) const {
    const int tile = numRows * getTileStride(), realSize = cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float);
    return realSize * (tile + std::max({tile, getScratch(filterShape), getScratch(neighborShape)}));
}

/**
 * Particles of a tile. Every work-group reads all weights of its layers, so tiles should be large; but there should be one for each
 * multiprocessor. OpenMM wants about six work-groups on each.
 */
int CommonSchNet::chooseRows() const {
    const int wanted = std::max(1, cc.getNumThreadBlocks() / 6), n = device.particles.getSize();
    int chosen = device.options.rows > 0 ? device.options.rows : 16;
    while (device.options.rows == 0 && chosen > 1 && (n + chosen - 1) / chosen < wanted)
        chosen /= 2;
    while (chosen > 1 && getLocalBytes(chosen) > LocalBytes)
        chosen /= 2;
    if (getLocalBytes(1) > LocalBytes && !cc.getIsCPU())
        throw OpenMMException("FlashForce: layers of up to " + cc.intToString(getTileStride()) + " channels need " + cc.intToString(getLocalBytes(1)) +
                              " bytes of local memory, and a work-group of this device has " + cc.intToString(LocalBytes) +
                              "; use single or mixed precision, or the Reference or CPU platform");
    return chosen;
}

int CommonSchNet::getTileStride() const {
    int widest = std::max(spec.hidden, spec.filters);
    for (const int width : readoutWidths)
        widest = std::max(widest, width);
    return CommonDense::getStride(widest);
}

ComputeProgram CommonSchNet::compile(Kind kind, const Shape& shape) const {
    std::map<std::string, std::string> defines = dense.getDefines();
    auto define = [&](const std::string& name, int value) { defines[name] = cc.intToString(value); };
    if (kind == Kind::Block)
        defines["IS_BLOCK"] = "1";
    if (kind == Kind::Embedding) {
        defines["IS_EMBEDDING"] = "1";
        defines["EXCLUDE_OWN_IMAGES"] = "1";
    }
    defines["NUM_PARTICLES"] = "numParticles"; // an argument: a driver that keeps programs need not compile one for each number
    define("ROWS", rows);
    define("LANES", shape.lanes);
    define("CHANNELS", shape.channels);
    define("CHUNKS", shape.chunks);
    define("PADDED_CHANNELS", CommonDense::pad(shape.width));
    define("BATCH", getBatch(shape));
    define("TILE_STRIDE", getTileStride());
    define("TILE_REALS", rows * getTileStride());
    define("SCRATCH_REALS", std::max(rows * getTileStride(), getScratch(shape)));
    if (shape.rank > 0) {
        define("RANK_STEPS", CommonDense::pad(shape.rank) / 16);
        define("PAIR_TILES", cc.getUseDoublePrecision() ? 1 : 2);
        if (splitsExpansion())
            defines["SPLIT_EXPANSION"] = "1";
    }
    define("HIDDEN_WIDTH", CommonDense::pad(spec.hidden));
    define("FILTER_PADDED", CommonDense::pad(spec.filters));
    define("FILTER_WIDTH", filterShape.getPadded());
    define("READOUT_LAYERS", static_cast<int>(readoutWidths.size()) + 1);
    int readoutWidth = 0;
    for (const int width : readoutWidths)
        readoutWidth += width;
    define("READOUT_WIDTH", readoutWidth);
    defines["ACTIVATE"] = getFunction(spec.activation);
    defines["READOUT_ACTIVATE"] = getFunction(spec.readoutActivation);
    using Sources = CommonFlashKernelSources;
    const std::string& product = device.options.tileProduct.empty() ? Sources::tileProduct : device.options.tileProduct;
    return device.compile(product + Sources::dense + Sources::activation + getGridText() + (shape.rank > 0 ? Sources::messageLowRank : Sources::messageTable) +
                              Sources::schnetRows + Sources::schnetForward + Sources::schnetBackward,
                          defines);
}

void CommonSchNet::initializeArrays() {
    const size_t n = device.particles.getSize();
    const int realSize = cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float);
    auto initialize = [&](ComputeArray& array, size_t width, const std::string& name) {
        array.initialize(cc, n * std::max<size_t>(1, width), realSize, name);
        cc.clearBuffer(array); // columns of padding are never written, and must be numbers
    };
    size_t numBlocks = 0, messageWidth = filterShape.getPadded();
    for (const auto& member : members) {
        numBlocks = std::max(numBlocks, member->blocks.size());
        if (member->withNeighbors)
            messageWidth = std::max<size_t>(messageWidth, neighborShape.getPadded());
    }
    const int hidden = CommonDense::pad(spec.hidden);
    initialize(x, hidden, "flashX");
    initialize(gx, hidden, "flashXGradient");
    y = std::vector<ComputeArray>(numBlocks);
    derivatives = std::vector<ComputeArray>(std::max<size_t>(1, numBlocks));
    for (ComputeArray& array : y)
        initialize(array, filterShape.getPadded(), "flashY");
    for (ComputeArray& array : derivatives)
        initialize(array, hidden, "flashActivationDerivatives");
    for (ComputeArray& array : q)
        initialize(array, messageWidth, "flashMessageGradient");
    size_t readoutWidth = 0;
    for (const int width : readoutWidths)
        readoutWidth += width;
    initialize(readoutDerivatives, readoutWidth, "flashReadoutDerivatives");
    initialize(energies, members.size(), "flashEnergies");
}

void CommonSchNet::setParticles() {
    if (device.particles.getSize() == 0)
        return;
    list->setParticles();
    if (!stages.empty())
        return;
    rows = chooseRows();
    initializeArrays();
    createStages();
}

void CommonSchNet::createStages() {
    ComputeProgram programs[3];
    auto getProgram = [&](Kind kind) -> ComputeProgram& {
        ComputeProgram& program = programs[static_cast<int>(kind)];
        if (!program)
            program = compile(kind, kind == Kind::Embedding ? neighborShape : filterShape);
        return program;
    };
    stages.resize(members.size());
    for (size_t m = 0; m < members.size(); m++) {
        const Member& member = *members[m];
        std::vector<Kind> kinds;
        if (member.withNeighbors)
            kinds.push_back(Kind::Embedding);
        kinds.resize(kinds.size() + member.blocks.size(), Kind::Block);
        if (kinds.empty())
            kinds.push_back(Kind::Nothing);
        for (size_t s = 0; s < kinds.size(); s++) {
            Stage stage;
            stage.forward = createForward(getProgram(kinds[s]), static_cast<int>(m), static_cast<int>(s), kinds[s]);
            if (kinds[s] != Kind::Nothing)
                stage.backward = createBackward(getProgram(kinds[s]), static_cast<int>(m), static_cast<int>(s), kinds[s]);
            stages[m].push_back(stage);
        }
    }
}

/** The arguments that both kernels begin with, and the y that messages come from. */
void CommonSchNet::addPairArguments(ComputeKernel& kernel, Member& member, int block) {
    kernel->addArg(device.particles.getSize());
    kernel->addArg(0);
    kernel->addArg(list->counts);
    kernel->addArg(list->senders);
    kernel->addArg(pieces);
    kernel->addArg(fractions);
    kernel->addArg(device.particles.types);
    Filter& filter = block < 0 ? member.neighbor : member.filters[block];
    const bool nothing = block < 0 && !member.withNeighbors; // what is not read must be there all the same
    kernel->addArg(nothing ? knots : filter.table);
    kernel->addArg(nothing ? 0 : filter.expansion);
    const bool byType = block < 0 || (block == 0 && !member.withNeighbors);
    kernel->addArg(nothing ? knots : block < 0 ? member.neighborEmbedding : byType ? member.firstInput : y[block]);
    kernel->addArg(byType ? 1 : 0);
}

void CommonSchNet::addReal(ComputeKernel& kernel, double value) const {
    if (cc.getUseDoublePrecision())
        kernel->addArg(value);
    else
        kernel->addArg(static_cast<float>(value));
}

ComputeKernel CommonSchNet::createForward(ComputeProgram& program, int index, int stage, Kind kind) {
    Member& member = *members[index];
    const int numBlocks = static_cast<int>(member.blocks.size()), block = member.withNeighbors || kind == Kind::Nothing ? stage - 1 : stage;
    ComputeKernel kernel = program->createKernel("schnetForward");
    addPairArguments(kernel, member, block);
    kernel->addArg(stage == 0 ? member.embedding : x);
    kernel->addArg(stage == 0 ? 1 : 0);
    kernel->addArg(x);
    kernel->addArg(derivatives[std::max(0, block)]);
    kernel->addArg(dense.weights);
    kernel->addArg(dense.biases);
    kernel->addArg(dense.layers);
    kernel->addArg(block < 0 ? member.combine : member.blocks[block]);
    const bool last = block + 1 == numBlocks;
    kernel->addArg(last ? -1 : member.blocks[block + 1]);
    kernel->addArg(last ? x : y[block + 1]);
    kernel->addArg(member.readout);
    kernel->addArg(readoutDerivatives);
    kernel->addArg(energies);
    kernel->addArg(index * device.particles.getSize());
    addReal(kernel, 1.0 / static_cast<double>(members.size()));
    kernel->addArg(gx);
    kernel->addArg(q[stage % 2]);
    kernel->addArg(0);
    return kernel;
}

ComputeKernel CommonSchNet::createBackward(ComputeProgram& program, int index, int stage, Kind kind) {
    Member& member = *members[index];
    const int numStages = static_cast<int>(member.blocks.size()) + (member.withNeighbors ? 1 : 0), block = member.withNeighbors ? stage - 1 : stage;
    ComputeKernel kernel = program->createKernel("schnetBackward");
    addPairArguments(kernel, member, block);
    kernel->addArg(q[stage % 2]);
    kernel->addArg(dEdt);
    kernel->addArg(index == 0 && stage == numStages - 1 ? 1 : 0);
    kernel->addArg(dense.weights);
    kernel->addArg(dense.biases);
    kernel->addArg(dense.layers);
    kernel->addArg(kind == Kind::Block ? member.blocks[block] : member.combine);
    const bool intoEmbedding = block == 0 && member.withNeighbors;
    kernel->addArg(stage == 0 ? -1 : intoEmbedding ? member.combine : member.blocks[block - 1]);
    kernel->addArg(intoEmbedding ? 1 : 0);
    kernel->addArg(derivatives[std::max(0, block - 1)]);
    kernel->addArg(gx);
    kernel->addArg(q[(stage + 1) % 2]);
    kernel->addArg(intoEmbedding ? neighborShape.getPadded() : filterShape.getPadded());
    kernel->addArg(index + 1 == static_cast<int>(members.size()) && stage == 0 ? 1 : 0);
    kernel->addArg(list->deltas);
    kernel->addArg(device.particles.slots);
    kernel->addArg(cc.getLongForceBuffer());
    addReal(kernel, 0);
    return kernel;
}

void CommonSchNet::enqueueLists() {
    list->enqueue();
    evaluated = !stages.empty();
}

void CommonSchNet::enqueue(bool includeForces, double forceScale) {
    const int threads = (device.particles.getSize() + std::max(1, rows) - 1) / std::max(1, rows) * Threads;
    for (const std::vector<Stage>& ofMember : stages) {
        for (const Stage& stage : ofMember) {
            stage.forward->setArg(CapacityArgument, list->getCapacity());
            stage.forward->setArg(ForwardForcesArgument, includeForces && ofMember[0].backward ? 1 : 0);
            stage.forward->execute(threads, Threads);
        }
        for (auto stage = ofMember.rbegin(); includeForces && stage != ofMember.rend(); ++stage) {
            if (!stage->backward)
                continue;
            stage->backward->setArg(CapacityArgument, list->getCapacity());
            if (cc.getUseDoublePrecision())
                stage->backward->setArg(ForceScaleArgument, forceScale);
            else
                stage->backward->setArg(ForceScaleArgument, static_cast<float>(forceScale));
            stage->backward->execute(threads, Threads);
        }
    }
}

bool CommonSchNet::grow() {
    return list->grow();
}

void CommonSchNet::downloadEnergies(ForceResults& results) {
    if (stages.empty())
        return;
    std::vector<double> values;
    energies.download(values, true);
    const std::vector<int>&types = device.particles.getTypes(), &starts = device.particles.getGroupStarts();
    const size_t n = types.size();
    for (size_t m = 0; m < members.size(); m++)
        for (size_t group = 0; group + 1 < starts.size(); group++)
            for (int p = starts[group]; p < starts[group + 1]; p++)
                results.memberEnergies[m][device.particles.getOrder()[p]] +=
                    values[m * n + p] + model.typeEnergies[types[p]] + spec.groupEnergy / (starts[group + 1] - starts[group]);
}

} // namespace OpenMMFlash
