// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The formulas of docs/model-format.md, written out one by one: sums over all pairs and all images, energies only. Slow, and
// sharing nothing with the library but the ModelSpec.
#ifndef OPENMMFLASH_TESTS_TEXTBOOKMODELS_H_
#define OPENMMFLASH_TESTS_TEXTBOOKMODELS_H_

#include "RandomModels.h"
#include <functional>

namespace OpenMMFlashTests {

/** j as seen from i: one image. */
struct Neighbor {
    int j;
    Position d;
    double r;
};

/** All images of all particles within the cutoff of particle i. Images are bounded by the distance between lattice planes. */
inline std::vector<Neighbor> findNeighbors(const Configuration& configuration, int i, double cutoff) {
    std::vector<Neighbor> neighbors;
    const Position& xi = configuration.positions[i];
    for (int j = 0; j < static_cast<int>(configuration.positions.size()); j++) {
        const Position& xj = configuration.positions[j];
        const Position d = {xj[0] - xi[0], xj[1] - xi[1], xj[2] - xi[2]};
        if (!configuration.box) {
            const double r = std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
            if (j != i && r < cutoff)
                neighbors.push_back({j, d, r});
            continue;
        }
        const BoxVectors& box = *configuration.box;
        // Layers of the lattice along c, then rows along b, then points along a: each is a fixed distance from the next.
        auto visit = [&](int k, const Position& start, const std::function<void(const Position&)>& next) {
            const int low = static_cast<int>(std::ceil((-cutoff - start[k]) / box[k][k])), high = static_cast<int>(std::floor((cutoff - start[k]) / box[k][k]));
            for (int image = low; image <= high; image++)
                next({start[0] + image * box[k][0], start[1] + image * box[k][1], start[2] + image * box[k][2]});
        };
        visit(2, d, [&](const Position& layer) {
            visit(1, layer, [&](const Position& row) {
                visit(0, row, [&](const Position& point) {
                    const double r = std::sqrt(point[0] * point[0] + point[1] * point[1] + point[2] * point[2]);
                    const bool itself = j == i && r < 1e-9 * cutoff;
                    if (!itself && r < cutoff)
                        neighbors.push_back({j, point, r});
                });
            });
        });
    }
    return neighbors;
}

using Values = std::vector<double>;

inline Values multiply(const OpenMMFlash::Linear& layer, const Values& x) {
    Values y = layer.bias;
    for (int o = 0; o < layer.outputs; o++)
        for (int c = 0; c < layer.inputs; c++)
            y[o] += layer.weight[o * layer.inputs + c] * x[c];
    return y;
}

inline double perceptron(const std::vector<OpenMMFlash::Linear>& layers, Values x, const std::function<double(double)>& activation) {
    for (size_t l = 0; l < layers.size(); l++) {
        x = multiply(layers[l], x);
        for (double& value : x)
            value = l + 1 < layers.size() ? activation(value) : value;
    }
    return x[0];
}

inline double activationFunction(OpenMMFlash::Activation activation, double x) {
    using OpenMMFlash::Activation;
    switch (activation) {
    case Activation::Tanh:
        return (std::exp(x) - std::exp(-x)) / (std::exp(x) + std::exp(-x));
    case Activation::ShiftedSoftplus:
        return std::log(0.5 * std::exp(x) + 0.5);
    case Activation::Softplus:
        return std::log(1 + std::exp(x));
    case Activation::Silu:
        return x / (1 + std::exp(-x));
    case Activation::Sigmoid:
        return 1 / (1 + std::exp(-x));
    case Activation::Mish:
        return x * std::tanh(std::log(1 + std::exp(x)));
    }
    throw std::logic_error("not an activation");
}

inline double envelopeFunction(const OpenMMFlash::Envelope& envelope, double cutoff, double r) {
    using OpenMMFlash::EnvelopeForm;
    const double pi = 3.14159265358979323846, lower = envelope.lower;
    if (envelope.form == EnvelopeForm::None)
        return 1;
    if (envelope.form == EnvelopeForm::Mollifier)
        return std::exp(1 - 1 / (1 - std::pow(r / cutoff, 2)));
    if (lower == 0)
        return 0.5 * (std::cos(pi * r / cutoff) + 1);
    return r > lower ? 0.5 * (std::cos(pi * (2 * (r - lower) / (cutoff - lower) + 1)) + 1) : 0;
}

/** Network energy of one member: without type energies, with the group's constant energy. */
inline double getTextbookEnergy(const OpenMMFlash::SchNetSpec& net, const OpenMMFlash::SchNetMember& member, const Configuration& configuration) {
    using namespace OpenMMFlash;
    const int n = static_cast<int>(configuration.types.size()), H = net.hidden;
    if (n == 0)
        return 0;
    auto act = [&](Values x) {
        for (double& value : x)
            value = activationFunction(net.activation, value);
        return x;
    };
    auto basis = [&](double r) {
        Values e;
        for (int k = 0; k < net.basisSize; k++) {
            const double mu = member.means[k], width = member.widths[k];
            const double x = net.basis == RadialBasis::Gaussian ? r - mu : std::exp(net.basisAlpha * (net.basisLower - r)) - mu;
            e.push_back(envelopeFunction(net.basisEnvelope, net.cutoff, r) * std::exp((net.basis == RadialBasis::Gaussian ? width : -width) * x * x));
        }
        return e;
    };
    auto row = [&](const Values& table, int type) { return Values(table.begin() + type * H, table.begin() + (type + 1) * H); };
    std::vector<std::vector<Neighbor>> neighbors;
    for (int i = 0; i < n; i++)
        neighbors.push_back(findNeighbors(configuration, i, net.cutoff));
    std::vector<Values> x;
    for (int i = 0; i < n; i++) {
        x.push_back(row(member.embedding, configuration.types[i]));
        if (!member.neighborEmbedding)
            continue;
        Values sum(H, 0.0);
        for (const Neighbor& neighbor : neighbors[i]) {
            if (neighbor.j == i)
                continue;
            const Values other = row(member.neighborEmbedding->embedding, configuration.types[neighbor.j]),
                         w = multiply(member.neighborEmbedding->projection, basis(neighbor.r));
            for (int c = 0; c < H; c++)
                sum[c] += other[c] * w[c] * envelopeFunction(net.filterEnvelope, net.cutoff, neighbor.r);
        }
        x[i].insert(x[i].end(), sum.begin(), sum.end());
        x[i] = multiply(member.neighborEmbedding->combine, x[i]);
    }
    for (const SchNetBlock& block : member.blocks) {
        std::vector<Values> next = x;
        for (int i = 0; i < n; i++) {
            Values m(net.filters, 0.0);
            for (const Neighbor& neighbor : neighbors[i]) {
                const Values y = multiply(block.input, x[neighbor.j]), w = multiply(block.filter1, act(multiply(block.filter0, basis(neighbor.r))));
                for (int c = 0; c < net.filters; c++)
                    m[c] += y[c] * w[c] * envelopeFunction(net.filterEnvelope, net.cutoff, neighbor.r);
            }
            const Values update = multiply(block.output1, act(multiply(block.output0, m)));
            for (int c = 0; c < H; c++)
                next[i][c] += update[c];
        }
        x = next;
    }
    double energy = net.groupEnergy;
    for (int i = 0; i < n; i++)
        energy += perceptron(member.readout, x[i], [&](double value) { return activationFunction(net.readoutActivation, value); });
    return energy;
}

/** Network energy of one member, without type energies. */
inline double getTextbookEnergy(const OpenMMFlash::AniSpec& net, const std::vector<std::vector<OpenMMFlash::Linear>>& networks,
                                const Configuration& configuration) {
    const double pi = 3.14159265358979323846;
    const int n = static_cast<int>(configuration.types.size()), T = static_cast<int>(networks.size());
    auto fc = [&](double r, double R) { return r < R ? 0.5 * (std::cos(pi * r / R) + 1) : 0.0; };
    double energy = 0;
    for (int i = 0; i < n; i++) {
        const std::vector<Neighbor> neighbors = findNeighbors(configuration, i, net.radialCutoff);
        Values aev;
        for (int type = 0; type < T; type++)
            for (double eta : net.radialEta)
                for (double shift : net.radialShift) {
                    double sum = 0;
                    for (const Neighbor& j : neighbors)
                        if (configuration.types[j.j] == type)
                            sum += 0.25 * std::exp(-eta * std::pow(j.r - shift, 2)) * fc(j.r, net.radialCutoff);
                    aev.push_back(sum);
                }
        for (int a = 0; a < T; a++)
            for (int b = a; b < T; b++)
                for (double eta : net.angularEta)
                    for (double zeta : net.angularZeta)
                        for (double shift : net.angularShift)
                            for (double thetaShift : net.angularTheta) {
                                double sum = 0;
                                // Over ordered pairs of different neighbours, so half of it.
                                for (size_t j = 0; j < neighbors.size(); j++)
                                    for (size_t k = 0; k < neighbors.size(); k++) {
                                        const int typeJ = configuration.types[neighbors[j].j], typeK = configuration.types[neighbors[k].j];
                                        if (j == k || !((typeJ == a && typeK == b) || (typeJ == b && typeK == a)))
                                            continue;
                                        const Position &dj = neighbors[j].d, &dk = neighbors[k].d;
                                        const double rj = neighbors[j].r, rk = neighbors[k].r;
                                        const double theta = std::acos(0.95 * (dj[0] * dk[0] + dj[1] * dk[1] + dj[2] * dk[2]) / rj / rk);
                                        sum += std::pow((1 + std::cos(theta - thetaShift)) / 2, zeta) * std::exp(-eta * std::pow((rj + rk) / 2 - shift, 2)) *
                                               fc(rj, net.angularCutoff) * fc(rk, net.angularCutoff);
                                    }
                                aev.push_back(sum); // 2 times one half
                            }
        energy += perceptron(networks[configuration.types[i]], aev,
                             [&](double x) { return std::max(0.0, x) + std::min(0.0, net.celuAlpha * (std::exp(x / net.celuAlpha) - 1)); });
    }
    return energy;
}

/** Each member's energy of a whole group, with type energies, without the pair prior. */
inline Values getTextbookEnergies(const OpenMMFlash::ModelSpec& model, const Configuration& configuration) {
    Values energies;
    if (auto schnet = std::get_if<OpenMMFlash::SchNetSpec>(&model.network)) {
        for (const OpenMMFlash::SchNetMember& member : schnet->members)
            energies.push_back(getTextbookEnergy(*schnet, member, configuration));
    }
    else {
        const OpenMMFlash::AniSpec& ani = std::get<OpenMMFlash::AniSpec>(model.network);
        for (const auto& networks : ani.networks)
            energies.push_back(getTextbookEnergy(ani, networks, configuration));
    }
    for (double& energy : energies)
        for (int type : configuration.types)
            energy += model.typeEnergies[type];
    return energies;
}

/** The pair prior: half of the sum over all ordered pairs and images. */
inline double getTextbookRepulsion(const OpenMMFlash::ModelSpec& model, const Configuration& configuration,
                                   const std::vector<std::pair<int, int>>& exclusions) {
    const OpenMMFlash::Repulsion& repulsion = *model.repulsion;
    const double cutoff = repulsion.cutoff;
    double energy = 0;
    for (int i = 0; i < static_cast<int>(configuration.types.size()); i++)
        for (const Neighbor& neighbor : findNeighbors(configuration, i, cutoff == 0 ? HUGE_VAL : cutoff)) {
            bool excluded = false;
            for (const auto& [a, b] : exclusions)
                excluded = excluded || (a == i && b == neighbor.j) || (b == i && a == neighbor.j);
            if (excluded)
                continue;
            const double sigma = repulsion.sigma[configuration.types[i] * model.types.size() + configuration.types[neighbor.j]];
            const double t = cutoff == 0 ? 0 : std::max(0.0, (neighbor.r - 0.9 * cutoff) / (0.1 * cutoff));
            energy += 0.5 * std::pow(sigma / neighbor.r, repulsion.exponent) * (1 - 10 * std::pow(t, 3) + 15 * std::pow(t, 4) - 6 * std::pow(t, 5));
        }
    return energy;
}

} // namespace OpenMMFlashTests

#endif
