// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The launches of an evaluation. CommonSchNet.cpp holds what they work with.
#include "CommonFlashKernelSources.h"
#include "CommonSchNet.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <climits>

using namespace OpenMM;

namespace OpenMMFlash {

namespace {

constexpr int Threads = 128; // of a work-group, as in the texts
/** Local memory that a work-group may have on most GPUs: more for one would leave fewer of them on a multiprocessor. */
constexpr int LocalBytes = 48 * 1024;
/** Of both kernels: what changes from one evaluation to the next, and the first of the filter's. */
constexpr int CapacityArgument = 1, FilterArgument = 7;

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

/** Reals in local memory that passing messages needs beside a tile: see kernels/messageTable.cc and addRowForces(). */
int CommonSchNet::getScratch(const Shape& shape) const {
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
    const int most = std::min(LocalBytes, device.options.localBytes);
    while (chosen > 1 && getLocalBytes(chosen) > most)
        chosen /= 2;
    if (getLocalBytes(1) > most && !cc.getIsCPU())
        throw OpenMMException("FlashForce: layers of up to " + cc.intToString(getTileStride()) + " channels need " + cc.intToString(getLocalBytes(1)) +
                              " bytes of local memory, and a work-group of this device has " + cc.intToString(most) +
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
    define("LANES", shape.lanes);
    define("CHANNELS", shape.channels);
    define("CHUNKS", shape.chunks);
    define("PADDED_CHANNELS", CommonDense::pad(shape.width));
    define("BATCH", getBatch(shape));
    define("TILE_STRIDE", getTileStride());
    if (shape.lowRank)
        shape.lowRank->addDefines(defines);
    else {
        define("ROWS", rows);
        define("TILE_REALS", rows * getTileStride());
        define("SCRATCH_REALS", std::max(rows * getTileStride(), getScratch(shape)));
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
    const std::string stages = Sources::schnetRows + Sources::schnetForward + Sources::schnetBackward;
    // Texts behind messageLowRank.cc see a team of threads in place of a work-group.
    if (shape.lowRank)
        return shape.lowRank->compile(product, Sources::dense + Sources::activation + getGridText() + stages, defines);
    return device.compile(product + Sources::dense + Sources::activation + getGridText() + Sources::messageTable + stages, defines);
}

void CommonSchNet::initializeArrays() {
    const size_t n = device.particles.getSize();
    const int realSize = cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float);
    auto initialize = [&](ComputeArray& array, size_t width, const std::string& name) {
        if (n * std::max<size_t>(1, width) > static_cast<size_t>(INT_MAX / realSize)) // of a buffer that is cleared, OpenMM counts the bytes in an int
            throw OpenMMException("FlashForce: " + std::to_string(n) + " particles with " + std::to_string(width) +
                                  " channels are more than this platform can hold (2 GB in one array); use the CPU platform, or fewer replicas in a Context");
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
    // No launches are left that belong to another layout, whatever throws after this: then the next call makes them.
    for (const Shape* shape : {&filterShape, &neighborShape})
        if (shape->lowRank && shape->lowRank->setParticles())
            stages.clear();
    if (!stages.empty())
        return;
    if (!energies.isInitialized()) {
        rows = chooseRows();
        initializeArrays();
    }
    stages = createStages();
}

std::vector<std::vector<CommonSchNet::Stage>> CommonSchNet::createStages() {
    ComputeProgram programs[3];
    auto getProgram = [&](Kind kind) -> ComputeProgram& {
        ComputeProgram& program = programs[static_cast<int>(kind)];
        if (!program)
            program = compile(kind, kind == Kind::Embedding ? neighborShape : filterShape);
        return program;
    };
    std::vector<std::vector<Stage>> created(members.size());
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
            stage.lowRank = (kinds[s] == Kind::Embedding ? neighborShape : filterShape).lowRank.get();
            createForward(getProgram(kinds[s]), static_cast<int>(m), static_cast<int>(s), kinds[s], stage);
            if (kinds[s] != Kind::Nothing)
                createBackward(getProgram(kinds[s]), static_cast<int>(m), static_cast<int>(s), kinds[s], stage);
            created[m].push_back(stage);
        }
    }
    return created;
}

/** The arguments that both kernels begin with, and the y that messages come from. */
int CommonSchNet::addPairArguments(ComputeKernel& kernel, Member& member, int block) {
    kernel->addArg(device.particles.getSize());
    kernel->addArg(0);
    kernel->addArg(list->counts);
    kernel->addArg(list->senders);
    kernel->addArg(pieces);
    kernel->addArg(fractions);
    kernel->addArg(device.particles.types);
    Filter& filter = block < 0 ? member.neighbor : member.filters[block];
    const bool nothing = block < 0 && !member.withNeighbors; // what is not read must be there all the same
    CommonLowRank* lowRank = (block < 0 ? neighborShape : filterShape).lowRank.get();
    if (lowRank && !nothing)
        lowRank->addArguments(kernel, filter.lowRank);
    else
        kernel->addArg(nothing ? knots : filter.table);
    const bool byType = block < 0 || (block == 0 && !member.withNeighbors);
    kernel->addArg(nothing ? knots : block < 0 ? member.neighborEmbedding : byType ? member.firstInput : y[block]);
    kernel->addArg(byType ? 1 : 0);
    return FilterArgument + (lowRank && !nothing ? CommonLowRank::NumArguments : 1) + 2;
}

void CommonSchNet::addReal(ComputeKernel& kernel, double value) const {
    if (cc.getUseDoublePrecision())
        kernel->addArg(value);
    else
        kernel->addArg(static_cast<float>(value));
}

void CommonSchNet::createForward(ComputeProgram& program, int index, int stage, Kind kind, Stage& result) {
    Member& member = *members[index];
    const int numBlocks = static_cast<int>(member.blocks.size()), block = member.withNeighbors || kind == Kind::Nothing ? stage - 1 : stage;
    ComputeKernel& kernel = result.forward = program->createKernel("schnetForward");
    result.forcesArgument = addPairArguments(kernel, member, block) + 17;
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
}

void CommonSchNet::createBackward(ComputeProgram& program, int index, int stage, Kind kind, Stage& result) {
    Member& member = *members[index];
    const int numStages = static_cast<int>(member.blocks.size()) + (member.withNeighbors ? 1 : 0), block = member.withNeighbors ? stage - 1 : stage;
    ComputeKernel& kernel = result.backward = program->createKernel("schnetBackward");
    result.forceScaleArgument = addPairArguments(kernel, member, block) + 17;
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
}

void CommonSchNet::enqueueLists() {
    list->enqueue();
    evaluated = !stages.empty();
}

void CommonSchNet::execute(const Stage& stage, ComputeKernel& kernel) const {
    kernel->setArg(CapacityArgument, list->getCapacity());
    if (stage.lowRank)
        stage.lowRank->execute(kernel, FilterArgument);
    else
        kernel->execute((device.particles.getSize() + std::max(1, rows) - 1) / std::max(1, rows) * Threads, Threads);
}

void CommonSchNet::enqueue(bool includeForces, double forceScale) {
    for (std::vector<Stage>& ofMember : stages) {
        for (Stage& stage : ofMember) {
            stage.forward->setArg(stage.forcesArgument, includeForces && ofMember[0].backward ? 1 : 0);
            execute(stage, stage.forward);
        }
        for (auto stage = ofMember.rbegin(); includeForces && stage != ofMember.rend(); ++stage) {
            if (!stage->backward)
                continue;
            device.setReal(stage->backward, stage->forceScaleArgument, forceScale);
            execute(*stage, stage->backward);
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
