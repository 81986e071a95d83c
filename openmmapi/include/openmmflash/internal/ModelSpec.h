// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_MODELSPEC_H_
#define OPENMMFLASH_MODELSPEC_H_

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace OpenMMFlash {

/** Largest values that a model file may state. Everything allocated from a file stays within them. */
constexpr int MaxMembers = 64, MaxBlocks = 64, MaxLayers = 16, MaxWidth = 4096, MaxTypes = 1024, MaxAevLength = 1 << 20;

/** y = W x + b. */
struct Linear {
    int inputs = 0, outputs = 0;
    std::vector<double> weight; ///< [outputs][inputs]
    std::vector<double> bias;   ///< [outputs], zero where the file has none
};

enum class Activation { Tanh, ShiftedSoftplus, Softplus, Silu, Sigmoid, Mish };
enum class RadialBasis { Gaussian, ExpNormal };
enum class EnvelopeForm { None, Cosine, Mollifier };

/** envelope(r), zero at and beyond the model's cutoff; `lower` belongs to the cosine form. */
struct Envelope {
    EnvelopeForm form = EnvelopeForm::None;
    double lower = 0;
};

/** One interaction block of a SchNet, in the symbols of docs/model-format.md. */
struct SchNetBlock {
    Linear filter0, filter1; ///< W1 b1 [F][R], W2 b2 [F][F]
    Linear input;            ///< A [F][H], no bias
    Linear output0, output1; ///< B b [H][F], D d [H][H]
};

struct NeighborEmbedding {
    std::vector<double> embedding; ///< Emb' [T][H]
    Linear projection;             ///< P p [H][R]
    Linear combine;                ///< K k [H][2H]
};

struct SchNetMember {
    std::vector<double> embedding; ///< Emb [T][H]
    std::vector<double> means;     ///< mu [R]
    std::vector<double> widths;    ///< [R]: c (Gaussian, negative) or beta (ExpNormal, positive)
    std::optional<NeighborEmbedding> neighborEmbedding;
    std::vector<SchNetBlock> blocks;
    std::vector<Linear> readout;
};

struct SchNetSpec {
    double cutoff = 0;
    int hidden = 0, filters = 0, basisSize = 0; ///< H, F, R
    Activation activation = Activation::Tanh, readoutActivation = Activation::Tanh;
    RadialBasis basis = RadialBasis::Gaussian;
    double basisAlpha = 0, basisLower = 0; ///< ExpNormal only
    Envelope basisEnvelope, filterEnvelope;
    double groupEnergy = 0; ///< constant energy of a group that has any particle
    std::vector<SchNetMember> members;
};

struct AniSpec {
    double radialCutoff = 0, angularCutoff = 0, celuAlpha = 0;
    std::vector<double> radialEta, radialShift;                              ///< radial terms: [type][eta][shift]
    std::vector<double> angularEta, angularZeta, angularShift, angularTheta; ///< angular terms: [type pair][eta][zeta][shift][theta]
    /** [member][type][layer] */
    std::vector<std::vector<std::vector<Linear>>> networks;

    int getRadialTerms() const {
        return static_cast<int>(radialEta.size() * radialShift.size());
    }
    int getAngularTerms() const {
        return static_cast<int>(angularEta.size() * angularZeta.size() * angularShift.size() * angularTheta.size());
    }
};

/** A particle type; a type without a name is an index that the model does not know. */
struct ParticleType {
    std::string name;
    int atomicNumber = 0; ///< 0: none
    double mass = 0;      ///< amu, 0: none
};

/** The pair prior: (sigma_ab / r)^exponent over all pairs of a group that are not excluded. */
struct Repulsion {
    int exponent = 6;
    double cutoff = 0;         ///< 0: none, every pair
    std::vector<double> sigma; ///< [T][T]
};

/** A typed table of parameters for a bonded force; never evaluated by this library. */
struct PriorTable {
    std::string name, form;
    int arity = 0, numParameters = 0;
    std::vector<int> types;         ///< [rows][arity]
    std::vector<double> parameters; ///< [rows][numParameters]
};

/** Everything in a model file, checked, in the file's own units. */
struct ModelSpec {
    double lengthUnit = 1; ///< nm per unit
    double energyUnit = 1; ///< kJ/mol per unit
    int numMembers = 1;
    std::vector<ParticleType> types;
    std::vector<double> typeEnergies; ///< [T], zero where the file has none
    std::optional<Repulsion> repulsion;
    std::vector<PriorTable> priors;
    std::variant<SchNetSpec, AniSpec> network;

    /** The distance beyond which the network sees nothing, in the file's length unit. */
    double getCutoff() const {
        if (auto schnet = std::get_if<SchNetSpec>(&network))
            return schnet->cutoff;
        return std::get<AniSpec>(network).radialCutoff;
    }
};

} // namespace OpenMMFlash

#endif
