// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT

// libFuzzer on the model reader: whatever the bytes, FlashModel::fromBytes either gives a consistent model or throws FlashModelError.
// Any other exception, a crash, a sanitizer's finding or too much memory is a fault. scripts/test fuzz builds and runs it.

#include "openmmflash/FlashModel.h"
#include "openmmflash/internal/ModelSpec.h"
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

using namespace OpenMMFlash;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t maxSize);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t maxSize, unsigned int seed);

namespace {

void require(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "a model was accepted although this does not hold: %s\n", what);
        std::abort();
    }
}

bool allFinite(const std::vector<double>& values) {
    for (const double value : values)
        if (!std::isfinite(value))
            return false;
    return true;
}

void checkLinear(const Linear& layer) {
    require(layer.inputs > 0 && layer.outputs > 0 && layer.outputs <= MaxWidth, "a layer's widths are positive and within the limits");
    require(layer.weight.size() == static_cast<size_t>(layer.inputs) * static_cast<size_t>(layer.outputs), "weight is [outputs][inputs]");
    require(layer.bias.size() == static_cast<size_t>(layer.outputs), "bias is [outputs]");
    require(allFinite(layer.weight) && allFinite(layer.bias), "weights and biases are finite");
}

void checkPerceptron(const std::vector<Linear>& layers, int inputs) {
    require(!layers.empty() && layers.size() <= MaxLayers, "a network has from 1 to MaxLayers layers");
    for (const Linear& layer : layers) {
        checkLinear(layer);
        require(layer.inputs == inputs, "a layer takes what the one before it gives");
        inputs = layer.outputs;
    }
    require(inputs == 1, "a network's last layer has one output");
}

void checkSchNet(const SchNetSpec& spec, size_t numTypes) {
    require(spec.cutoff > 0 && spec.basisEnvelope.lower < spec.cutoff && spec.filterEnvelope.lower < spec.cutoff, "envelopes end at a positive cutoff");
    const auto H = static_cast<size_t>(spec.hidden), R = static_cast<size_t>(spec.basisSize);
    for (const SchNetMember& member : spec.members) {
        require(member.embedding.size() == numTypes * H && allFinite(member.embedding), "the embedding is [T][H] and finite");
        require(member.means.size() == R && member.widths.size() == R && allFinite(member.means), "the basis has R functions");
        for (const double width : member.widths)
            require(spec.basis == RadialBasis::Gaussian ? width < 0 : width > 0, "every basis function decays");
        for (const SchNetBlock& block : member.blocks) {
            for (const Linear* layer : {&block.filter0, &block.filter1, &block.input, &block.output0, &block.output1})
                checkLinear(*layer);
            require(block.filter0.inputs == spec.basisSize && block.filter0.outputs == spec.filters, "W1 is [F][R]");
            require(block.filter1.inputs == spec.filters && block.filter1.outputs == spec.filters, "W2 is [F][F]");
            require(block.input.inputs == spec.hidden && block.input.outputs == spec.filters, "A is [F][H]");
            require(block.output0.inputs == spec.filters && block.output0.outputs == spec.hidden, "B is [H][F]");
            require(block.output1.inputs == spec.hidden && block.output1.outputs == spec.hidden, "D is [H][H]");
        }
        if (member.neighborEmbedding) {
            require(member.neighborEmbedding->embedding.size() == numTypes * H, "Emb' is [T][H]");
            checkLinear(member.neighborEmbedding->projection);
            checkLinear(member.neighborEmbedding->combine);
            require(member.neighborEmbedding->combine.inputs == 2 * spec.hidden, "K is [H][2H]");
        }
        checkPerceptron(member.readout, spec.hidden);
    }
}

void checkAni(const AniSpec& spec, size_t numTypes) {
    require(spec.radialCutoff > 0 && spec.angularCutoff > 0 && spec.angularCutoff <= spec.radialCutoff && spec.celuAlpha > 0, "cutoffs and alpha are positive");
    const auto T = static_cast<int>(numTypes);
    const int columns = T * spec.getRadialTerms() + T * (T + 1) / 2 * spec.getAngularTerms();
    require(columns > 0 && columns <= MaxAevLength, "the AEV's length is within the limits");
    for (const auto& member : spec.networks) {
        require(member.size() == numTypes, "every type has a network");
        for (const auto& layers : member)
            checkPerceptron(layers, columns);
    }
}

void checkModel(const FlashModel& model) {
    const ModelSpec& spec = model.getSpec();
    const auto numTypes = static_cast<size_t>(model.getNumTypes());
    require(numTypes >= 1 && numTypes <= MaxTypes && spec.types.size() == numTypes && spec.typeEnergies.size() == numTypes,
            "there are from 1 to MaxTypes types");
    require(spec.lengthUnit > 0 && std::isfinite(spec.lengthUnit) && spec.energyUnit > 0 && std::isfinite(spec.energyUnit), "units are positive");
    require(model.getNumMembers() >= 1 && model.getNumMembers() <= MaxMembers, "there are from 1 to MaxMembers members");
    require(model.getNumWeights() >= 0, "a number of weights is not negative");
    require(allFinite(spec.typeEnergies), "type energies are finite");
    if (const auto* schnet = std::get_if<SchNetSpec>(&spec.network)) {
        require(schnet->members.size() == static_cast<size_t>(spec.numMembers), "every member is there");
        checkSchNet(*schnet, numTypes);
    }
    else {
        require(std::get<AniSpec>(spec.network).networks.size() == static_cast<size_t>(spec.numMembers), "every member is there");
        checkAni(std::get<AniSpec>(spec.network), numTypes);
    }
    for (int type = 0; type < model.getNumTypes(); type++) {
        require(model.getTypeMass(type) >= 0 && model.getTypeAtomicNumber(type) >= 0 && model.getTypeAtomicNumber(type) <= 118,
                "masses and atomic numbers are possible");
        if (!model.getTypeName(type).empty())
            require(model.getTypeIndex(model.getTypeName(type)) == type, "a type's name leads to its index");
    }
    require(model.hasPairPrior() == spec.repulsion.has_value(), "hasPairPrior tells what the file has");
    if (spec.repulsion)
        require(spec.repulsion->sigma.size() == numTypes * numTypes && spec.repulsion->exponent >= 1 && spec.repulsion->exponent <= 24, "sigma is [T][T]");
    for (int i = 0; i < model.getNumPriors(); i++) {
        const auto rows = model.getPriorTypes(i).size() / static_cast<size_t>(model.getPriorArity(i));
        require(model.getPriorTypes(i).size() == rows * static_cast<size_t>(model.getPriorArity(i)), "a prior's types are [rows][arity]");
        require(model.getPriorParameters(i).size() == rows * static_cast<size_t>(model.getPriorNumParameters(i)),
                "a prior's parameters are [rows][parameters]");
        for (const int type : model.getPriorTypes(i))
            require(type >= 0 && static_cast<size_t>(type) < numTypes, "a prior's types exist");
        require(allFinite(model.getPriorParameters(i)), "a prior's parameters are finite");
    }
    require(!model.summary().empty() && model.getSha256().size() == 64, "there is a summary and a digest");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string bytes(reinterpret_cast<const char*>(data), size);
    try {
        const FlashModel model = FlashModel::fromBytes(bytes, "fuzz");
        require(model.getBytes() == bytes, "the bytes are kept as they are");
        checkModel(model);
    }
    catch (const FlashModelError& error) {
        if (std::strlen(error.what()) == 0) {
            std::fprintf(stderr, "a FlashModelError without a message\n");
            std::abort();
        }
        // To see that the seeds are what they should be: models that the reader accepts.
        if (std::getenv("FUZZ_EXPECT_VALID") != nullptr) {
            std::fprintf(stderr, "refused: %s\n", error.what());
            std::abort();
        }
    }
    return 0;
}

/** Changes the header's text and keeps the length in front of it right, which blind changes of bytes would nearly always break. */
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t maxSize, unsigned int seed) {
    std::minstd_rand random(seed);
    uint64_t header = 0;
    if (size >= 8)
        std::memcpy(&header, data, 8);
    if (size < 8 || header > size - 8 || random() % 8 == 0)
        return LLVMFuzzerMutate(data, size, maxSize);
    const std::string tail(reinterpret_cast<char*>(data) + 8 + header, size - 8 - header);
    if (!tail.empty() && random() % 4 == 0)
        return 8 + header + LLVMFuzzerMutate(data + 8 + header, tail.size(), maxSize - 8 - header);
    const size_t room = maxSize - 8 - tail.size();
    header = LLVMFuzzerMutate(data + 8, header, room);
    std::memcpy(data, &header, 8);
    std::memcpy(data + 8 + header, tail.data(), tail.size());
    return 8 + header + tail.size();
}
