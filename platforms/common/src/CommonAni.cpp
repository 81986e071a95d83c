// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonAni.h"
#include "CommonFlashKernelSources.h"
#include <algorithm>
#include <cmath>

namespace OpenMMFlash {

using OpenMM::ComputeArray;
using OpenMM::ComputeKernel;
using OpenMM::mm_double4;
using OpenMM::mm_int2;
using OpenMM::mm_int4;

namespace {

constexpr int Threads = 128, ChunkInputs = 128; // as in the kernels
constexpr int GroupsPerProcessor = 6;           // that OpenMM wants
/** Arguments that change from one evaluation to the next. */
constexpr int ForwardCapacity = 4, NetworkForces = 4, BackwardCapacity = 3, ForceScale = 12;
/** Keeps theta = arccos(0.95 cos) differentiable for collinear atoms. Part of the model: it was trained so. */
constexpr double CosineFactor = 0.95;
/** Factors of a triple that are in local memory or registers at a time, and what else takes local memory, in bytes. */
constexpr int MaxFactors = 32, MaxDistanceRegisters = 8, MaxFactorMemory = 16384, MaxGradientMemory = 16384;

int divideUp(int n, int size) {
    return (n + size - 1) / size;
}

/** Copy to the device; the array grows where it has to. */
template <class T> void upload(const CommonDevice& device, ComputeArray& array, const std::vector<T>& values, const std::string& name) {
    device.reserve(array, values.size(), sizeof(T), name);
    array.uploadSubArray(values.data(), 0, static_cast<int>(values.size()));
}

/** An array of reals, or of vectors of reals, of exactly the values' size. */
template <class T> void uploadReals(OpenMM::ComputeContext& cc, ComputeArray& array, const std::vector<T>& values, int elementSize, const std::string& name) {
    if (!array.isInitialized())
        array.initialize(cc, values.size(), elementSize, name);
    else if (array.getSize() != values.size())
        array.resize(values.size());
    array.upload(values, true);
}

std::vector<mm_double4> getGaussians(const std::vector<double>& etas, const std::vector<double>& shifts, bool useDouble) {
    std::vector<mm_double4> constants;
    for (const double eta : etas)
        for (const double shift : shifts) {
            const double rounded = useDouble ? shift : static_cast<double>(static_cast<float>(shift));
            constants.push_back(mm_double4(rounded, -eta / std::log(2.0), -2 * eta, shift - rounded));
        }
    return constants;
}

/** [our column] the compiled model's: ours have [angle][distance] where that has [eta][zeta][shift][theta]. */
std::vector<int> getColumns(const CompiledAni& model) {
    const AniSpec& spec = model.spec;
    const int numZeta = static_cast<int>(spec.angularZeta.size()), numTheta = static_cast<int>(spec.angularTheta.size());
    const int numEta = static_cast<int>(spec.angularEta.size()), numShift = static_cast<int>(spec.angularShift.size());
    std::vector<int> columns;
    for (int column = 0; column < static_cast<int>(model.presentTypes.size()) * spec.getRadialTerms(); column++)
        columns.push_back(column);
    while (static_cast<int>(columns.size()) < model.aevLength) {
        const int first = static_cast<int>(columns.size());
        for (int zeta = 0; zeta < numZeta; zeta++)
            for (int theta = 0; theta < numTheta; theta++)
                for (int eta = 0; eta < numEta; eta++)
                    for (int shift = 0; shift < numShift; shift++)
                        columns.push_back(first + ((eta * numZeta + zeta) * numShift + shift) * numTheta + theta);
    }
    return columns;
}

/** The layer for inputs [columns[first], ...], at most `count` of them, and outputs likewise. */
Linear cut(const Linear& layer, int firstInput, int numInputs, int firstOutput, int numOutputs, const std::vector<int>& columns = {}) {
    Linear part;
    part.inputs = std::min(numInputs, layer.inputs - firstInput);
    part.outputs = std::min(numOutputs, layer.outputs - firstOutput);
    for (int o = firstOutput; o < firstOutput + part.outputs; o++) {
        part.bias.push_back(layer.bias[o]);
        for (int i = firstInput; i < firstInput + part.inputs; i++)
            part.weight.push_back(layer.weight[static_cast<size_t>(o) * layer.inputs + (columns.empty() ? i : columns[i])]);
    }
    return part;
}

} // namespace

ComputeKernel CommonAni::Program::createKernel(const CommonDevice& device, const std::string& source, const Defines& newDefines, const std::string& name) {
    if (!program || newDefines != defines) {
        program = device.compile(source, newDefines);
        defines = newDefines;
    }
    return program->createKernel(name);
}

CommonAni::CommonAni(const CommonDevice& device, const ModelSpec& model)
    : device(device), model(model), numMembers(model.numMembers), realSize(device.cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float)),
      staged(device.options.localBytes < 40 * 1024 ? 8 : 16), list(device, getListOptions()) {}

CommonNeighborList::Options CommonAni::getListOptions() {
    CommonNeighborList::Options options = device.options.getListOptions(model.getCutoff());
    options.hook.perEntry = {{&records, 4 * realSize}, {&cutoffs, realSize}, {&neighbors, static_cast<int>(sizeof(mm_int2))}};
    return options;
}

void CommonAni::setParticles() {
    list.setParticles();
    if (device.particles.getSize() == 0)
        return;
    std::vector<int> types = device.particles.getTypes();
    std::sort(types.begin(), types.end());
    types.erase(std::unique(types.begin(), types.end()), types.end());
    if (!dense || types != presentTypes)
        compile(types);
    arrangeAtoms();
    createKernels();
}

/** All or nothing: types that cannot be compiled leave what there is. */
void CommonAni::compile(const std::vector<int>& types) {
    OpenMM::ComputeContext& cc = device.cc;
    CompiledAni newModel = compileAni(std::get<AniSpec>(model.network), types, device.options.compile);
    std::string newReport = describeCompilation(newModel, device.options.compile, model.lengthUnit);
    auto newDense = std::make_unique<CommonDense>(cc, device.options);
    const std::vector<int> columns = getColumns(newModel);
    std::vector<mm_int4> networkTable, layerTable;
    std::vector<double> readoutTable;
    int newStride = 0;
    for (auto& member : newModel.networks)
        for (std::vector<Linear>& layers : member) {
            const int numHidden = static_cast<int>(layers.size()) - 1, numInputs = layers.back().inputs;
            networkTable.push_back(mm_int4(static_cast<int>(layerTable.size()), numHidden, static_cast<int>(readoutTable.size()), numInputs));
            int width = 0;
            for (int l = 0; l < numHidden; l++) {
                const Linear& layer = layers[l];
                mm_int4 row(0, divideUp(layer.inputs, ChunkInputs), 0, divideUp(layer.outputs, ChunkInputs));
                for (int chunk = 0; chunk < row.y; chunk++) {
                    const Linear part = cut(layer, chunk * ChunkInputs, ChunkInputs, 0, layer.outputs, l == 0 ? columns : std::vector<int>());
                    const int index = newDense->add(part, CommonDense::Direction::Forward);
                    row.x = chunk == 0 ? index : row.x;
                }
                for (int chunk = 0; chunk < row.w; chunk++) {
                    const Linear part = cut(layer, 0, layer.inputs, chunk * ChunkInputs, ChunkInputs, l == 0 ? columns : std::vector<int>());
                    const int index = newDense->add(part, CommonDense::Direction::Transposed);
                    row.z = chunk == 0 ? index : row.z;
                }
                layerTable.push_back(row);
                width += CommonDense::pad(layer.outputs);
            }
            newStride = std::max(newStride, width);
            const Linear readout = cut(layers.back(), 0, numInputs, 0, 1, numHidden == 0 ? columns : std::vector<int>());
            readoutTable.insert(readoutTable.end(), readout.weight.begin(), readout.weight.end());
            readoutTable.push_back(readout.bias[0]);
            layers.clear();
        }
    layerTable.push_back(mm_int4(0, 0, 0, 0)); // what a network without hidden layers reads, and does not use

    newDense->upload();
    upload(device, networks, networkTable, "flashNetworks");
    upload(device, hiddenLayers, layerTable, "flashHiddenLayers");
    uploadReals(cc, readouts, readoutTable, realSize, "flashReadouts");
    const AniSpec& spec = newModel.spec;
    const bool useDouble = cc.getUseDoublePrecision();
    uploadReals(cc, radialConstants, getGaussians(spec.radialEta, spec.radialShift, useDouble), 4 * realSize, "flashRadialConstants");
    uploadReals(cc, distanceConstants, getGaussians(spec.angularEta, spec.angularShift, useDouble), 4 * realSize, "flashDistanceConstants");
    std::vector<mm_double4> angles;
    for (const double zeta : spec.angularZeta)
        for (const double theta : spec.angularTheta)
            angles.push_back(mm_double4(0.5 * CosineFactor * std::cos(theta), 0.5 * std::sin(theta), zeta - 1, 2 * zeta));
    uploadReals(cc, angleConstants, angles, 4 * realSize, "flashAngleConstants");
    dense = std::move(newDense);
    compiled = std::move(newModel);
    report = std::move(newReport);
    scratchStride = std::max(1, newStride);
    presentTypes = types;
}

/**
 * Every step of a work-group reads weights and multiplies them with its row tiles; the work-groups are as many as its tiles of atoms times
 * the members, and go through the multiprocessors in rounds. Reading takes about as long as multiplying 2.5 row tiles does (docs/gpu-platform.md).
 */
void CommonAni::chooseRowTiles(int processors, const std::function<int(int)>& countTiles) {
    constexpr double Reading = 2.5;
    double least = HUGE_VAL;
    for (int candidate = 1; candidate * realSize <= staged; candidate *= 2) {
        const double time = divideUp(countTiles(16 * candidate) * numMembers, processors) * std::max(Reading, static_cast<double>(candidate));
        if (time < least) {
            least = time;
            rowTiles = candidate;
        }
    }
}

/** Tiles of atoms and chunks of members for the networks, as the numbers of atoms and the device's size suggest. */
void CommonAni::arrangeAtoms() {
    OpenMM::ComputeContext& cc = device.cc;
    const std::vector<int>& types = device.particles.getTypes();
    const int n = device.particles.getSize(), numTypes = static_cast<int>(presentTypes.size());
    std::vector<int> indices, counts(numTypes, 0);
    for (const int type : types) {
        indices.push_back(static_cast<int>(std::lower_bound(presentTypes.begin(), presentTypes.end(), type) - presentTypes.begin()));
        counts[indices.back()]++;
    }
    order.resize(n);
    for (int p = 0; p < n; p++)
        order[p] = p;
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return indices[a] < indices[b]; });
    upload(device, atoms, order, "flashAniAtoms");
    upload(device, typeIndices, indices, "flashAniTypes");

    auto countTiles = [&](int rows) {
        int tiles = 0;
        for (const int count : counts)
            tiles += divideUp(count, rows);
        return tiles;
    };
    const int wanted = cc.getNumThreadBlocks(), processors = std::max(1, wanted / GroupsPerProcessor);
    chooseRowTiles(processors, countTiles);
    const int allTiles = countTiles(16 * rowTiles);
    numChunks = std::max(1, std::min(numMembers, divideUp(wanted, allTiles)));
    // A work-group that has its multiprocessor to itself: more threads go through a layer in fewer panels.
    networkThreads = allTiles * numChunks <= processors && cc.getMaxThreadBlockSize() >= 2 * Threads ? 2 * Threads : Threads;
    std::vector<mm_int4> taskTable;
    for (int chunk = 0; chunk < numChunks; chunk++)
        for (int type = 0, first = 0; type < numTypes; first += counts[type++]) {
            const int tiles = divideUp(counts[type], 16 * rowTiles), rows = divideUp(divideUp(counts[type], tiles), 8) * 8;
            for (int begin = 0; begin < counts[type]; begin += rows)
                taskTable.push_back(mm_int4(first + begin, std::min(rows, counts[type] - begin), type, chunk));
        }
    numTasks = static_cast<int>(taskTable.size());
    networkGroups = std::min(numTasks, wanted);
    upload(device, tasks, taskTable, "flashAniTasks");

    const size_t stride = CommonDense::pad(compiled->aevLength);
    device.reserve(rowCounts, n, sizeof(mm_int2), "flashAniRowCounts");
    device.reserve(aev, n * stride, realSize, "flashAev");
    device.reserve(gradients, static_cast<size_t>(numChunks) * n * stride, realSize, "flashAevGradients");
    device.reserve(scratch, static_cast<size_t>(networkGroups) * 16 * rowTiles * scratchStride, realSize, "flashAniScratch");
    device.reserve(energies, static_cast<size_t>(numMembers) * n, realSize, "flashAniEnergies");
}

CommonAni::Defines CommonAni::getAevDefines() const {
    const OpenMM::ComputeContext& cc = device.cc;
    const AniSpec& spec = compiled->spec;
    const double pi = std::acos(-1.0);
    Defines defines;
    defines["NUM_TYPES"] = cc.intToString(static_cast<int>(presentTypes.size()));
    defines["RADIAL_TERMS"] = cc.intToString(spec.getRadialTerms());
    defines["ANGLES"] = cc.intToString(static_cast<int>(spec.angularZeta.size() * spec.angularTheta.size()));
    defines["DISTANCES"] = cc.intToString(static_cast<int>(spec.angularEta.size() * spec.angularShift.size()));
    defines["AEV_LENGTH"] = cc.intToString(compiled->aevLength);
    defines["AEV_STRIDE"] = cc.intToString(CommonDense::pad(compiled->aevLength));
    defines["ANGULAR_CUTOFF"] = cc.doubleToString(spec.angularCutoff);
    defines["RADIAL_SCALE"] = cc.doubleToString(0.5 * pi / spec.radialCutoff);
    defines["ANGULAR_SCALE"] = cc.doubleToString(0.5 * pi / spec.angularCutoff);
    return defines;
}

void CommonAni::createKernels() {
    OpenMM::ComputeContext& cc = device.cc;
    const AniSpec& spec = compiled->spec;
    const int n = device.particles.getSize();
    const int angles = static_cast<int>(spec.angularZeta.size() * spec.angularTheta.size());
    const int distances = static_cast<int>(spec.angularEta.size() * spec.angularShift.size());

    Defines defines = getAevDefines();
    const int angleChunk = std::min(angles, MaxFactors), distanceChunk = std::min(distances, MaxFactors);
    int batch = Threads;
    while (batch * (angleChunk + distanceChunk) * realSize > MaxFactorMemory)
        batch /= 2;
    defines["ANGLE_CHUNK"] = cc.intToString(angleChunk);
    defines["DISTANCE_CHUNK"] = cc.intToString(distanceChunk);
    defines["BATCH"] = cc.intToString(batch);
    forward = forwardProgram.createKernel(device, CommonFlashKernelSources::aev + CommonFlashKernelSources::aevForward, defines, "computeAev");
    forward->addArg(n);
    for (ComputeArray* array : {&list.counts, &list.senders, &list.deltas})
        forward->addArg(*array);
    forward->addArg(list.getCapacity());
    for (ComputeArray* array : {&atoms, &typeIndices, &device.particles.slots, &radialConstants, &angleConstants, &distanceConstants, &records, &cutoffs,
                                &neighbors, &rowCounts, &aev})
        forward->addArg(*array);

    defines = getAevDefines();
    const int passes = divideUp(distances, MaxDistanceRegisters);
    defines["DISTANCE_REGISTERS"] = cc.intToString(divideUp(distances, passes));
    if (compiled->aevLength * realSize <= MaxGradientMemory)
        defines["GRADIENT_IN_LOCAL"] = "1";
    backward = backwardProgram.createKernel(device, CommonFlashKernelSources::aev + CommonFlashKernelSources::aevBackward, defines, "addAevForces");
    backward->addArg(n);
    backward->addArg(atoms);
    backward->addArg(device.particles.slots);
    backward->addArg(list.getCapacity());
    for (ComputeArray* array : {&radialConstants, &angleConstants, &distanceConstants, &records, &cutoffs, &neighbors, &rowCounts})
        backward->addArg(*array);
    backward->addArg(numChunks);
    backward->addArg(); // forceScale
    backward->addArg(gradients);
    backward->addArg(cc.getLongForceBuffer());

    defines = dense->getDefines();
    defines["NUM_TYPES"] = cc.intToString(static_cast<int>(presentTypes.size()));
    defines["NUM_MEMBERS"] = cc.intToString(numMembers);
    defines["AEV_STRIDE"] = cc.intToString(CommonDense::pad(compiled->aevLength));
    defines["SCRATCH_STRIDE"] = cc.intToString(scratchStride);
    defines["THREADS"] = cc.intToString(networkThreads);
    defines["ROW_TILES"] = cc.intToString(rowTiles);
    defines["STAGE_CHUNKS"] = cc.intToString(staged / (rowTiles * realSize));
    defines["CELU_ALPHA"] = cc.doubleToString(spec.celuAlpha);
    const std::string& product = device.options.tileProduct.empty() ? CommonFlashKernelSources::tileProduct : device.options.tileProduct;
    const std::string source = product + CommonFlashKernelSources::activation + CommonFlashKernelSources::atomicNetworks;
    evaluateNetworks = networkProgram.createKernel(device, source, defines, "evaluateNetworks");
    evaluateNetworks->addArg(n);
    evaluateNetworks->addArg(tasks);
    evaluateNetworks->addArg(numTasks);
    evaluateNetworks->addArg(numChunks);
    evaluateNetworks->addArg(0); // includeForces
    for (ComputeArray* array : {&networks, &hiddenLayers, &dense->layers, &dense->weights, &dense->biases, &readouts, &aev, &scratch, &energies, &gradients})
        evaluateNetworks->addArg(*array);
}

void CommonAni::enqueueLists() {
    list.enqueue();
}

void CommonAni::enqueue(bool includeForces, double forceScale) {
    const int n = device.particles.getSize();
    if (n == 0)
        return;
    forward->setArg(ForwardCapacity, list.getCapacity());
    forward->execute(n * Threads, Threads);
    evaluateNetworks->setArg(NetworkForces, includeForces ? 1 : 0);
    evaluateNetworks->execute(networkGroups * networkThreads, networkThreads);
    if (!includeForces)
        return;
    backward->setArg(BackwardCapacity, list.getCapacity());
    device.setReal(backward, ForceScale, forceScale);
    backward->execute(n * Threads, Threads);
}

bool CommonAni::grow() {
    return list.grow();
}

void CommonAni::downloadEnergies(ForceResults& results) {
    const size_t n = device.particles.getSize();
    if (n == 0)
        return;
    std::vector<double> values;
    energies.download(values, true);
    const std::vector<int>& theirs = device.particles.getOrder();
    for (int member = 0; member < numMembers; member++)
        for (size_t x = 0; x < n; x++) {
            const double typeEnergy = model.typeEnergies[device.particles.getTypes()[order[x]]];
            results.memberEnergies[member][theirs[order[x]]] += values[member * n + x] + typeEnergy;
        }
}

std::string CommonAni::getReport() {
    return compiled ? report : describeFields({{"architecture", "\"ani\""}});
}

} // namespace OpenMMFlash
