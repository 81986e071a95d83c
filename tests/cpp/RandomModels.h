// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Small random models of every dialect, and random configurations for them. To add one, add a line to makeRandomModels(): every
// test that loops over the models then runs on it.
#ifndef OPENMMFLASH_TESTS_RANDOMMODELS_H_
#define OPENMMFLASH_TESTS_RANDOMMODELS_H_

#include "openmmflash/internal/ModelSpec.h"
#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace OpenMMFlashTests {

/** The same numbers on every machine, unlike the distributions of <random>. */
class Random {
public:
    explicit Random(std::uint64_t seed) : engine(seed) {}
    double uniform(double low, double high) {
        return low + (high - low) * (static_cast<double>(engine() >> 11) * 0x1.0p-53);
    }
    /** From 0 to count - 1. */
    int index(int count) {
        return static_cast<int>(engine() % static_cast<std::uint64_t>(count));
    }
    std::vector<double> values(int count, double low, double high) {
        std::vector<double> x(count);
        for (double& value : x)
            value = uniform(low, high);
        return x;
    }

private:
    std::mt19937_64 engine;
};

struct NamedModel {
    std::string name;
    OpenMMFlash::ModelSpec spec;
};

inline OpenMMFlash::Linear makeLinear(Random& random, int outputs, int inputs, bool bias = true) {
    OpenMMFlash::Linear layer;
    layer.inputs = inputs;
    layer.outputs = outputs;
    const double scale = std::sqrt(3.0 / inputs);
    layer.weight = random.values(outputs * inputs, -scale, scale);
    layer.bias = bias ? random.values(outputs, -0.5, 0.5) : std::vector<double>(outputs, 0.0);
    return layer;
}

/** Types, units and self energies of a model without a network yet. @param names an empty one is an index that is not a type */
inline OpenMMFlash::ModelSpec makeTypes(Random& random, const std::vector<std::string>& names, bool energies) {
    OpenMMFlash::ModelSpec model;
    model.lengthUnit = 0.1;
    model.energyUnit = 4.184;
    for (const std::string& name : names) {
        OpenMMFlash::ParticleType type;
        type.name = name;
        if (name == "H" || name == "C" || name == "N" || name == "O") {
            type.atomicNumber = name == "H" ? 1 : name == "C" ? 6 : name == "N" ? 7 : 8;
            type.mass = name == "H" ? 1.008 : name == "C" ? 12.011 : name == "N" ? 14.007 : 15.999;
        }
        model.types.push_back(type);
    }
    model.typeEnergies = energies ? random.values(static_cast<int>(names.size()), -2, 2) : std::vector<double>(names.size(), 0.0);
    return model;
}

/** What differs between the dialects of SchNet; the rest is random. */
struct SchNetOptions {
    OpenMMFlash::Activation activation = OpenMMFlash::Activation::Tanh, readoutActivation = OpenMMFlash::Activation::Tanh;
    OpenMMFlash::RadialBasis basis = OpenMMFlash::RadialBasis::Gaussian;
    OpenMMFlash::Envelope basisEnvelope = {OpenMMFlash::EnvelopeForm::None, 0}, filterEnvelope = {OpenMMFlash::EnvelopeForm::Cosine, 0};
    bool filterBias = true, readoutBias = true, neighborEmbedding = false, typeEnergies = false;
    int numBlocks = 2, numMembers = 1, hidden = 10, filters = 7, basisSize = 9;
    double cutoff = 5, groupEnergy = 0;
};

inline OpenMMFlash::ModelSpec makeSchNet(std::uint64_t seed, const SchNetOptions& options) {
    using namespace OpenMMFlash;
    Random random(seed);
    ModelSpec model = makeTypes(random, {"H", "", "C", "N", "bead"}, options.typeEnergies);
    const int T = static_cast<int>(model.types.size()), H = options.hidden, F = options.filters, R = options.basisSize;
    SchNetSpec net;
    net.cutoff = options.cutoff;
    net.hidden = H;
    net.filters = F;
    net.basisSize = R;
    net.activation = options.activation;
    net.readoutActivation = options.readoutActivation;
    net.basis = options.basis;
    net.basisEnvelope = options.basisEnvelope;
    net.filterEnvelope = options.filterEnvelope;
    net.groupEnergy = options.groupEnergy;
    if (net.basis == RadialBasis::ExpNormal) {
        net.basisAlpha = 4 / net.cutoff;
        net.basisLower = 0.2;
    }
    model.numMembers = options.numMembers;
    for (int member = 0; member < options.numMembers; member++) {
        SchNetMember m;
        m.embedding = random.values(T * H, -1, 1);
        for (int k = 0; k < R; k++) {
            const double x = static_cast<double>(k) / (R - 1) + random.uniform(-0.01, 0.01);
            m.means.push_back(net.basis == RadialBasis::Gaussian ? net.cutoff * x : 0.01 + 0.99 * x);
            m.widths.push_back(net.basis == RadialBasis::Gaussian ? random.uniform(-1.6, -1) : random.uniform(10, 20));
        }
        if (options.neighborEmbedding)
            m.neighborEmbedding = NeighborEmbedding{random.values(T * H, -1, 1), makeLinear(random, H, R), makeLinear(random, H, 2 * H)};
        for (int b = 0; b < options.numBlocks; b++)
            m.blocks.push_back({makeLinear(random, F, R), makeLinear(random, F, F, options.filterBias), makeLinear(random, F, H, false),
                                makeLinear(random, H, F), makeLinear(random, H, H)});
        m.readout = {makeLinear(random, 6, H), makeLinear(random, 5, 6), makeLinear(random, 1, 5, options.readoutBias)};
        net.members.push_back(m);
    }
    model.network = net;
    return model;
}

struct AniOptions {
    std::vector<std::string> names = {"H", "C", "N", "O"};
    int numMembers = 1, numEta = 1, numZeta = 1;
    double radialCutoff = 5.2, angularCutoff = 3.5;
};

inline OpenMMFlash::ModelSpec makeAni(std::uint64_t seed, const AniOptions& options) {
    using namespace OpenMMFlash;
    Random random(seed);
    ModelSpec model = makeTypes(random, options.names, true);
    const int T = static_cast<int>(model.types.size());
    AniSpec net;
    net.radialCutoff = options.radialCutoff;
    net.angularCutoff = options.angularCutoff;
    net.celuAlpha = 0.1;
    for (int k = 0; k < options.numEta; k++) {
        net.radialEta.push_back(random.uniform(2, 6));
        net.angularEta.push_back(random.uniform(1, 4));
    }
    for (int k = 0; k < options.numZeta; k++)
        net.angularZeta.push_back(random.uniform(2, 10));
    for (int k = 0; k < 4; k++)
        net.radialShift.push_back(0.8 + 1.1 * k);
    for (int k = 0; k < 2; k++)
        net.angularShift.push_back(0.9 + 1.2 * k);
    for (int k = 0; k < 3; k++)
        net.angularTheta.push_back(0.5 + 1.0 * k);
    const int length = T * net.getRadialTerms() + T * (T + 1) / 2 * net.getAngularTerms();
    model.numMembers = options.numMembers;
    for (int member = 0; member < options.numMembers; member++) {
        std::vector<std::vector<Linear>> networks;
        for (int type = 0; type < T; type++) {
            // Like the trained ones, the networks of different types have different widths.
            networks.push_back({makeLinear(random, 9 + type, length), makeLinear(random, 6, 9 + type), makeLinear(random, 1, 6)});
            for (double& weight : networks.back()[0].weight)
                weight *= 3;
        }
        net.networks.push_back(networks);
    }
    model.network = net;
    return model;
}

/** A pair prior for a model. @param cutoff 0: every pair */
inline OpenMMFlash::Repulsion makeRepulsion(std::uint64_t seed, int numTypes, int exponent, double cutoff) {
    Random random(seed);
    OpenMMFlash::Repulsion repulsion;
    repulsion.exponent = exponent;
    repulsion.cutoff = cutoff;
    repulsion.sigma.assign(numTypes * numTypes, 0.0);
    for (int a = 0; a < numTypes; a++)
        for (int b = 0; b <= a; b++)
            repulsion.sigma[a * numTypes + b] = repulsion.sigma[b * numTypes + a] = random.uniform(1, 1.6);
    return repulsion;
}

/** One model of every dialect and option. */
inline std::vector<NamedModel> makeRandomModels() {
    using namespace OpenMMFlash;
    const Envelope none = {EnvelopeForm::None, 0}, cosine = {EnvelopeForm::Cosine, 0}, lowerCosine = {EnvelopeForm::Cosine, 1.4},
                   mollifier = {EnvelopeForm::Mollifier, 0};
    std::vector<NamedModel> models;
    auto addSchNet = [&](const std::string& name, const std::function<void(SchNetOptions&)>& choose) {
        SchNetOptions options;
        choose(options);
        models.push_back({name, makeSchNet(1000 + models.size(), options)});
    };
    auto addAni = [&](const std::string& name, const std::function<void(AniOptions&)>& choose) {
        AniOptions options;
        choose(options);
        models.push_back({name, makeAni(1000 + models.size(), options)});
    };
    addSchNet("schnet-mlcg-gaussian", [&](SchNetOptions& o) {
        o.basisEnvelope = cosine;
        o.filterBias = o.readoutBias = false;
    });
    addSchNet("schnet-mlcg-expnormal", [&](SchNetOptions& o) {
        o.basis = RadialBasis::ExpNormal;
        o.basisEnvelope = cosine;
        o.filterBias = o.readoutBias = false;
        o.numBlocks = 3;
    });
    addSchNet("schnet-pyg", [&](SchNetOptions& o) {
        o.activation = o.readoutActivation = Activation::ShiftedSoftplus;
        o.typeEnergies = true;
        o.groupEnergy = -3.25;
    });
    addSchNet("schnet-schnetpack-cosine", [&](SchNetOptions& o) {
        o.activation = Activation::ShiftedSoftplus;
        o.readoutActivation = Activation::Silu;
        o.typeEnergies = true;
    });
    addSchNet("schnet-schnetpack-mollifier", [&](SchNetOptions& o) {
        o.activation = Activation::Softplus;
        o.readoutActivation = Activation::ShiftedSoftplus;
        o.filterEnvelope = mollifier;
    });
    addSchNet("schnet-torchmdnet-expnormal", [&](SchNetOptions& o) {
        o.activation = o.readoutActivation = Activation::Silu;
        o.basis = RadialBasis::ExpNormal;
        o.basisEnvelope = cosine;
        o.neighborEmbedding = true;
    });
    addSchNet("schnet-torchmdnet-gaussian", [&](SchNetOptions& o) {
        o.activation = Activation::Mish;
        o.readoutActivation = Activation::Sigmoid;
        o.filterEnvelope = lowerCosine;
        o.neighborEmbedding = true;
        o.numMembers = 2;
    });
    addSchNet("schnet-lower-envelopes", [&](SchNetOptions& o) {
        o.activation = Activation::Sigmoid;
        o.readoutActivation = Activation::Mish;
        o.basis = RadialBasis::ExpNormal;
        o.basisEnvelope = lowerCosine;
        o.filterEnvelope = cosine;
    });
    addSchNet("schnet-mollified-basis", [&](SchNetOptions& o) {
        o.basisEnvelope = mollifier;
        o.filterEnvelope = mollifier;
        o.hidden = 17;
        o.filters = 19;
    });
    addSchNet("schnet-one-block-ensemble", [&](SchNetOptions& o) {
        o.numBlocks = 1;
        o.numMembers = 3;
        o.groupEnergy = 1.5;
    });
    addSchNet("schnet-no-blocks", [&](SchNetOptions& o) {
        o.numBlocks = 0;
        o.neighborEmbedding = true;
        o.filterEnvelope = cosine;
        o.basisEnvelope = none;
    });
    addAni("ani-one-member", [](AniOptions&) {});
    addAni("ani-ensemble", [](AniOptions& o) {
        o.names = {"H", "C"};
        o.numMembers = 3;
        o.numEta = 2;
        o.numZeta = 2;
    });
    addAni("ani-equal-cutoffs", [](AniOptions& o) {
        o.names = {"C", "N", "H"};
        o.radialCutoff = o.angularCutoff = 3.1;
    });
    auto addRepulsion = [&](const std::string& name, size_t model, int exponent, double cutoff) {
        models.push_back({name, models[model].spec});
        ModelSpec& spec = models.back().spec;
        spec.repulsion = makeRepulsion(2000 + models.size(), static_cast<int>(spec.types.size()), exponent, cutoff);
    };
    addRepulsion("schnet-repulsion", 0, 6, 6.5);
    addRepulsion("schnet-repulsion-all-pairs", 1, 4, 0);
    addRepulsion("ani-repulsion", 11, 9, 3);
    return models;
}

/** Indices of the model that are types. */
inline std::vector<int> getUsableTypes(const OpenMMFlash::ModelSpec& model) {
    std::vector<int> usable;
    for (size_t type = 0; type < model.types.size(); type++)
        if (!model.types[type].name.empty())
            usable.push_back(static_cast<int>(type));
    return usable;
}

using Position = std::array<double, 3>;
using BoxVectors = std::array<Position, 3>;

struct Configuration {
    std::vector<int> types;
    std::vector<Position> positions; ///< in the model's length unit
    std::optional<BoxVectors> box;
};

/** A triclinic box in reduced form whose edge lengths are about `size`. */
inline BoxVectors makeTriclinicBox(double size) {
    return {{{size, 0, 0}, {0.3 * size, 1.05 * size, 0}, {-0.4 * size, 0.25 * size, 0.95 * size}}};
}

/**
 * Particles at random places, none closer to another (or to another's image) than minDistance. In a box they are spread over
 * several images of it; without a box they fill a cube of edge `size`.
 */
inline Configuration makeConfiguration(std::uint64_t seed, const OpenMMFlash::ModelSpec& model, int numParticles, double size,
                                       const std::optional<BoxVectors>& box, double minDistance = 0.9) {
    Random random(seed);
    Configuration configuration;
    configuration.box = box;
    const std::vector<int> usable = getUsableTypes(model);
    std::vector<Position> inside;
    for (int attempts = 0; static_cast<int>(inside.size()) < numParticles; attempts++) {
        if (attempts > 100000)
            throw std::logic_error("makeConfiguration: " + std::to_string(numParticles) + " particles do not fit");
        Position x = {0, 0, 0};
        for (int k = 0; k < 3; k++) {
            const double fraction = random.uniform(0, 1);
            for (int l = 0; l < 3; l++)
                x[l] += fraction * (box ? (*box)[k][l] : (k == l ? size : 0.0));
        }
        bool free = true;
        const int images = box ? 1 : 0;
        for (const Position& y : inside)
            for (int a = -images; a <= images; a++)
                for (int b = -images; b <= images; b++)
                    for (int c = -images; c <= images; c++) {
                        double r2 = 0;
                        for (int l = 0; l < 3; l++) {
                            const double d = x[l] - y[l] + (box ? a * (*box)[0][l] + b * (*box)[1][l] + c * (*box)[2][l] : 0.0);
                            r2 += d * d;
                        }
                        free = free && r2 > minDistance * minDistance;
                    }
        if (free)
            inside.push_back(x);
    }
    for (const Position& x : inside) {
        configuration.types.push_back(usable[random.index(static_cast<int>(usable.size()))]);
        Position moved = x;
        for (int k = 0; box && k < 3; k++) {
            const int image = random.index(7) - 3;
            for (int l = 0; l < 3; l++)
                moved[l] += image * (*box)[k][l];
        }
        configuration.positions.push_back(moved);
    }
    return configuration;
}

} // namespace OpenMMFlashTests

#endif
