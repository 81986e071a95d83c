// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Writes a ModelSpec as the bytes of a model file, following docs/model-format.md: the counterpart of the library's reader,
// written apart from it. Biases that are zero are left out, as the format allows.
#ifndef OPENMMFLASH_TESTS_MODELWRITER_H_
#define OPENMMFLASH_TESTS_MODELWRITER_H_

#include "openmmflash/internal/ModelSpec.h"
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace OpenMMFlashTests {

/** Builds a safetensors file. Tests of the reader also use it to write wrong ones. */
class SafetensorsWriter {
public:
    static std::string quote(const std::string& text) {
        std::string quoted = "\"";
        for (char c : text) {
            if (c == '"' || c == '\\')
                quoted += '\\';
            if (static_cast<unsigned char>(c) < 0x20) {
                char escape[8];
                std::snprintf(escape, sizeof(escape), "\\u%04x", c);
                quoted += escape;
            }
            else
                quoted += c;
        }
        return quoted + "\"";
    }

    /** A number that reads back as the same double. */
    static std::string number(double value) {
        char text[40];
        std::snprintf(text, sizeof(text), "%.17g", value);
        return text;
    }

    void setMetadata(const std::string& key, const std::string& value) {
        metadata[key] = value;
    }

    void addBytes(const std::string& name, const std::string& dtype, const std::vector<int>& shape, const std::string& bytes) {
        tensors.push_back({name, dtype, shape, bytes});
    }

    void addReal(const std::string& name, const std::vector<int>& shape, const std::vector<double>& values) {
        addBytes(name, "F64", shape, toBytes(values));
    }

    void addIntegers(const std::string& name, const std::vector<int>& shape, const std::vector<int>& values) {
        addBytes(name, "I32", shape, toBytes(std::vector<std::int32_t>(values.begin(), values.end())));
    }

    std::string getBytes() const {
        std::string header = "{\"__metadata__\":{", data;
        bool first = true;
        for (const auto& [key, value] : metadata) {
            header += (first ? "" : ",") + quote(key) + ":" + quote(value);
            first = false;
        }
        header += "}";
        for (const Tensor& tensor : tensors) {
            header += "," + quote(tensor.name) + ":{\"dtype\":" + quote(tensor.dtype) + ",\"shape\":[";
            for (size_t k = 0; k < tensor.shape.size(); k++)
                header += (k == 0 ? "" : ",") + std::to_string(tensor.shape[k]);
            header += "],\"data_offsets\":[" + std::to_string(data.size()) + "," + std::to_string(data.size() + tensor.bytes.size()) + "]}";
            data += tensor.bytes;
        }
        header += "}";
        header.append((8 - header.size() % 8) % 8, ' '); // keeps the data aligned
        std::string length(8, '\0');
        for (int k = 0; k < 8; k++)
            length[k] = static_cast<char>((static_cast<std::uint64_t>(header.size()) >> (8 * k)) & 0xff);
        return length + header + data;
    }

private:
    struct Tensor {
        std::string name, dtype;
        std::vector<int> shape;
        std::string bytes;
    };

    template <class T> static std::string toBytes(const std::vector<T>& values) {
        std::string bytes;
        for (const T& value : values) {
            char raw[sizeof(T)];
            std::memcpy(raw, &value, sizeof(T));
            const std::uint16_t probe = 1;
            if (*reinterpret_cast<const unsigned char*>(&probe) == 0)
                std::reverse(raw, raw + sizeof(T));
            bytes.append(raw, sizeof(T));
        }
        return bytes;
    }

    std::map<std::string, std::string> metadata;
    std::vector<Tensor> tensors;
};

inline void addLinear(SafetensorsWriter& writer, const std::string& name, const OpenMMFlash::Linear& layer) {
    writer.addReal(name + ".weight", {layer.outputs, layer.inputs}, layer.weight);
    if (std::any_of(layer.bias.begin(), layer.bias.end(), [](double x) { return x != 0; }))
        writer.addReal(name + ".bias", {layer.outputs}, layer.bias);
}

/** The schnet tensors; returns the hyperparameters as the inside of a JSON object. */
inline std::string addSchNet(SafetensorsWriter& writer, const OpenMMFlash::SchNetSpec& net, int T) {
    using namespace OpenMMFlash;
    const int H = net.hidden, R = net.basisSize;
    for (size_t k = 0; k < net.members.size(); k++) {
        const SchNetMember& member = net.members[k];
        const std::string prefix = "members." + std::to_string(k) + ".";
        writer.addReal(prefix + "embedding", {T, H}, member.embedding);
        writer.addReal(prefix + "basis.means", {R}, member.means);
        writer.addReal(prefix + (net.basis == RadialBasis::Gaussian ? "basis.coefficients" : "basis.betas"), {R}, member.widths);
        if (member.neighborEmbedding) {
            writer.addReal(prefix + "neighbor_embedding.embedding", {T, H}, member.neighborEmbedding->embedding);
            addLinear(writer, prefix + "neighbor_embedding.projection", member.neighborEmbedding->projection);
            addLinear(writer, prefix + "neighbor_embedding.combine", member.neighborEmbedding->combine);
        }
        for (size_t b = 0; b < member.blocks.size(); b++) {
            const std::string block = prefix + "blocks." + std::to_string(b) + ".";
            addLinear(writer, block + "filter.0", member.blocks[b].filter0);
            addLinear(writer, block + "filter.1", member.blocks[b].filter1);
            addLinear(writer, block + "input", member.blocks[b].input);
            addLinear(writer, block + "output.0", member.blocks[b].output0);
            addLinear(writer, block + "output.1", member.blocks[b].output1);
        }
        for (size_t l = 0; l < member.readout.size(); l++)
            addLinear(writer, prefix + "readout." + std::to_string(l), member.readout[l]);
    }
    auto nameActivation = [](Activation activation) -> std::string {
        switch (activation) {
        case Activation::Tanh:
            return "\"tanh\"";
        case Activation::ShiftedSoftplus:
            return "\"shifted_softplus\"";
        case Activation::Softplus:
            return "\"softplus\"";
        case Activation::Silu:
            return "\"silu\"";
        case Activation::Sigmoid:
            return "\"sigmoid\"";
        default:
            return "\"mish\"";
        }
    };
    auto describeEnvelope = [](const std::string& key, const Envelope& envelope) {
        std::string text = ",\"" + key + "\":" +
                           (envelope.form == EnvelopeForm::None     ? "\"none\""
                            : envelope.form == EnvelopeForm::Cosine ? "\"cosine\""
                                                                    : "\"mollifier\"");
        if (envelope.lower != 0)
            text += ",\"" + key + "_lower\":" + SafetensorsWriter::number(envelope.lower);
        return text;
    };
    const SchNetMember& member = net.members.at(0);
    std::string text = "\"cutoff\":" + SafetensorsWriter::number(net.cutoff) + ",\"num_blocks\":" + std::to_string(member.blocks.size()) +
                       ",\"hidden_channels\":" + std::to_string(H) + ",\"num_filters\":" + std::to_string(net.filters) + ",\"num_basis\":" + std::to_string(R) +
                       ",\"activation\":" + nameActivation(net.activation) + ",\"readout_activation\":" + nameActivation(net.readoutActivation);
    text += std::string(",\"radial_basis\":") + (net.basis == RadialBasis::Gaussian ? "\"gaussian\"" : "\"exp_normal\"");
    if (net.basis == RadialBasis::ExpNormal)
        text += ",\"basis_alpha\":" + SafetensorsWriter::number(net.basisAlpha) + ",\"basis_lower\":" + SafetensorsWriter::number(net.basisLower);
    text += describeEnvelope("basis_envelope", net.basisEnvelope) + describeEnvelope("filter_envelope", net.filterEnvelope);
    if (member.neighborEmbedding)
        text += ",\"neighbor_embedding\":true";
    if (net.groupEnergy != 0)
        text += ",\"group_energy\":" + SafetensorsWriter::number(net.groupEnergy);
    return text;
}

/** The ani tensors; returns the hyperparameters as the inside of a JSON object. */
inline std::string addAni(SafetensorsWriter& writer, const OpenMMFlash::AniSpec& net, const std::vector<OpenMMFlash::ParticleType>& types) {
    auto addConstants = [&](const std::string& name, const std::vector<double>& values) {
        writer.addReal("aev." + name, {static_cast<int>(values.size())}, values);
    };
    addConstants("radial.eta", net.radialEta);
    addConstants("radial.shift", net.radialShift);
    addConstants("angular.eta", net.angularEta);
    addConstants("angular.zeta", net.angularZeta);
    addConstants("angular.shift", net.angularShift);
    addConstants("angular.theta", net.angularTheta);
    for (size_t k = 0; k < net.networks.size(); k++)
        for (size_t t = 0; t < types.size(); t++)
            for (size_t l = 0; l < net.networks[k][t].size(); l++)
                addLinear(writer, "members." + std::to_string(k) + ".networks." + types[t].name + "." + std::to_string(l), net.networks[k][t][l]);
    return "\"radial_cutoff\":" + SafetensorsWriter::number(net.radialCutoff) + ",\"angular_cutoff\":" + SafetensorsWriter::number(net.angularCutoff) +
           ",\"celu_alpha\":" + SafetensorsWriter::number(net.celuAlpha) + ",\"cutoff_function\":\"cosine\"";
}

/** A writer holding the whole model, for tests that change something before they take its bytes. */
inline SafetensorsWriter makeModelWriter(const OpenMMFlash::ModelSpec& model, const std::string& name) {
    using namespace OpenMMFlash;
    SafetensorsWriter writer;
    const int T = static_cast<int>(model.types.size());
    const bool ani = std::holds_alternative<AniSpec>(model.network);
    writer.setMetadata("format", "openmm-flash");
    writer.setMetadata("format_version", "1");
    writer.setMetadata("architecture", ani ? "ani" : "schnet");
    writer.setMetadata("name", name);
    writer.setMetadata("length_unit", SafetensorsWriter::number(model.lengthUnit));
    writer.setMetadata("energy_unit", SafetensorsWriter::number(model.energyUnit));
    writer.setMetadata("num_members", std::to_string(model.numMembers));
    std::string types = "[";
    for (int t = 0; t < T; t++) {
        const ParticleType& type = model.types[t];
        types += t == 0 ? "" : ",";
        if (type.name.empty()) {
            types += "null";
            continue;
        }
        types += "{\"name\":" + SafetensorsWriter::quote(type.name);
        if (type.atomicNumber != 0)
            types += ",\"atomic_number\":" + std::to_string(type.atomicNumber);
        if (type.mass != 0)
            types += ",\"mass\":" + SafetensorsWriter::number(type.mass);
        types += "}";
    }
    writer.setMetadata("types", types + "]");
    const bool hasEnergies = std::any_of(model.typeEnergies.begin(), model.typeEnergies.end(), [](double x) { return x != 0; });
    if (ani || hasEnergies)
        writer.addReal("type_energies", {T}, model.typeEnergies);
    std::string hyperparameters =
        ani ? addAni(writer, std::get<AniSpec>(model.network), model.types) : addSchNet(writer, std::get<SchNetSpec>(model.network), T);
    if (model.repulsion) {
        const double cutoff = model.repulsion->cutoff;
        hyperparameters += ",\"repulsion\":{\"exponent\":" + std::to_string(model.repulsion->exponent) +
                           ",\"cutoff\":" + (cutoff == 0 ? "null" : SafetensorsWriter::number(cutoff)) + "}";
        writer.addReal("repulsion.sigma", {T, T}, model.repulsion->sigma);
    }
    writer.setMetadata("hyperparameters", "{" + hyperparameters + "}");
    if (!model.priors.empty()) {
        std::string priors = "[";
        for (const PriorTable& prior : model.priors) {
            priors += (priors.size() > 1 ? "," : "") + ("{\"name\":" + SafetensorsWriter::quote(prior.name)) +
                      ",\"form\":" + SafetensorsWriter::quote(prior.form) + "}";
            const int rows = static_cast<int>(prior.types.size()) / prior.arity;
            writer.addIntegers("priors." + prior.name + ".types", {rows, prior.arity}, prior.types);
            writer.addReal("priors." + prior.name + ".parameters", {rows, prior.numParameters}, prior.parameters);
        }
        writer.setMetadata("priors", priors + "]");
    }
    return writer;
}

/** The bytes of a model file. */
inline std::string writeModel(const OpenMMFlash::ModelSpec& model, const std::string& name) {
    return makeModelWriter(model, name).getBytes();
}

} // namespace OpenMMFlashTests

#endif
