// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The Reference evaluator: against the formulas of the documentation, against its own finite differences, under the symmetries of
// space, and at the edges (few particles, the cutoff, the isolated atom, coinciding particles).
#include "Assertions.h"
#include "ReferenceEvaluator.h"
#include "ReferenceLayers.h"
#include "TextbookModels.h"
#include <algorithm>
#include <limits>
#include <numeric>

using namespace OpenMMFlash;
using namespace OpenMMFlashTests;

namespace {

using Exclusions = std::vector<std::pair<int, int>>;

ReferenceResult evaluate(const ModelSpec& model, const Configuration& c, const Exclusions& exclusions = {}) {
    return evaluateReference(model, c.types, c.positions, c.box, exclusions);
}

double sum(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
}

double getEnergy(const ReferenceResult& result) {
    double energy = 0;
    for (const std::vector<double>& member : result.memberEnergies)
        energy += sum(member) / static_cast<double>(result.memberEnergies.size());
    return energy + sum(result.repulsionEnergies);
}

/** The pair prior over all pairs has no meaning in a box. */
bool allowsBox(const ModelSpec& model) {
    return !model.repulsion || model.repulsion->cutoff > 0;
}

bool hasNeighborEmbedding(const ModelSpec& model) {
    auto schnet = std::get_if<SchNetSpec>(&model.network);
    return schnet && schnet->members[0].neighborEmbedding;
}

/** Open system, a box larger than twice the cutoff, one smaller than the cutoff, and a single particle that sees only its own images. */
std::vector<std::pair<std::string, Configuration>> makeConfigurations(const ModelSpec& model, std::uint64_t seed) {
    std::vector<std::pair<std::string, Configuration>> configurations = {{"open", makeConfiguration(seed, model, 9, 5, {})}};
    if (!allowsBox(model))
        return configurations;
    configurations.push_back({"large box", makeConfiguration(seed + 1, model, 12, 0, makeTriclinicBox(2.4 * model.getCutoff()))});
    configurations.push_back({"small box", makeConfiguration(seed + 2, model, 4, 0, makeTriclinicBox(0.75 * model.getCutoff()))});
    configurations.push_back({"own images", makeConfiguration(seed + 3, model, 1, 0, makeTriclinicBox(0.6 * model.getCutoff()))});
    return configurations;
}

void forEachCase(const std::function<void(const ModelSpec&, const Configuration&)>& test) {
    std::uint64_t seed = 1;
    for (const NamedModel& model : makeRandomModels())
        for (const auto& [name, configuration] : makeConfigurations(model.spec, seed += 10)) {
            try {
                test(model.spec, configuration);
            }
            catch (const std::exception& exception) {
                throw std::runtime_error(model.name + ", " + name + ": " + exception.what());
            }
        }
}

/** dE/dx by central differences of fourth order. */
std::vector<Vector3> differentiate(const std::function<double(const Configuration&)>& energy, const Configuration& configuration) {
    const double h = 2e-4;
    std::vector<Vector3> gradient(configuration.positions.size());
    Configuration c = configuration;
    for (size_t i = 0; i < gradient.size(); i++)
        for (int k = 0; k < 3; k++) {
            const double x = configuration.positions[i][k];
            auto at = [&](double step) {
                c.positions[i][k] = x + step;
                return energy(c);
            };
            gradient[i][k] = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
            c.positions[i][k] = x;
        }
    return gradient;
}

// ---- neighbour list ----

/** A pair as it is sorted and compared: receiver, sender, a projection of d that no two images share, r, d. */
using PairKey = std::array<double, 7>;

PairKey makeKey(int receiver, int sender, double r, const Vector3& d) {
    return {static_cast<double>(receiver), static_cast<double>(sender), d[0] + 0.61803398875 * d[1] - 1.32471795724 * d[2], r, d[0], d[1], d[2]};
}

/** The same pairs, as often, whatever their order. */
void comparePairs(const Configuration& c, double cutoff, double tolerance) {
    std::vector<PairKey> found, expected;
    int last = 0;
    for (const ReferencePair& pair : findReferencePairs(c.positions, cutoff, c.box)) {
        CHECK(pair.receiver >= last);
        last = pair.receiver;
        found.push_back(makeKey(pair.receiver, pair.sender, pair.r, pair.d));
    }
    for (int i = 0; i < static_cast<int>(c.types.size()); i++)
        for (const Neighbor& neighbor : findNeighbors(c, i, cutoff))
            expected.push_back(makeKey(i, neighbor.j, neighbor.r, neighbor.d));
    CHECK_EQUAL(expected.size(), found.size());
    std::sort(found.begin(), found.end());
    std::sort(expected.begin(), expected.end());
    for (size_t p = 0; p < found.size(); p++)
        CHECK_CLOSE(std::vector<double>(expected[p].begin(), expected[p].end()), std::vector<double>(found[p].begin(), found[p].end()), 0, tolerance);
}

void testNeighborListAgainstAllImages() {
    Random random(7);
    const ModelSpec model = makeTypes(random, {"a"}, false);
    const double cutoff = 3;
    for (int k = 0; k < 200; k++) {
        // Edges from a fifth of the cutoff to six times it, each direction on its own.
        BoxVectors box = {};
        auto edge = [&]() { return cutoff * std::exp(random.uniform(std::log(0.2), std::log(6.0))); };
        box[0][0] = edge();
        box[1][1] = edge();
        box[2][2] = edge();
        box[1][0] = random.uniform(-0.5, 0.5) * box[0][0];
        box[2][0] = random.uniform(-0.5, 0.5) * box[0][0];
        box[2][1] = random.uniform(-0.5, 0.5) * box[1][1];
        comparePairs(makeConfiguration(k, model, 1 + random.index(8), 0, box, 0.01), cutoff, 1e-9);
        comparePairs(makeConfiguration(k, model, 1 + random.index(60), edge(), {}, 1e-5), cutoff, 1e-12);
    }
}

void testReversePairs() {
    Random random(8);
    const ModelSpec model = makeTypes(random, {"a"}, false);
    for (double size : {1.0, 2.5, 9.0}) {
        const Configuration c = makeConfiguration(3, model, 5, 0, makeTriclinicBox(size), 0.05);
        const std::vector<ReferencePair> directed = findReferencePairs(c.positions, 3, c.box);
        for (const ReferencePair& pair : directed)
            CHECK_EQUAL(1, std::count_if(directed.begin(), directed.end(), [&](const ReferencePair& other) {
                            return other.receiver == pair.sender && other.sender == pair.receiver && other.r == pair.r && other.d[0] == -pair.d[0] &&
                                   other.d[1] == -pair.d[1] && other.d[2] == -pair.d[2];
                        }));
        CHECK_EQUAL(directed.size(), 2 * takeUnorderedPairs(directed).size());
    }
}

void testFarApart() {
    Random random(9);
    const ModelSpec model = makeTypes(random, {"a"}, false);
    // Two clusters, ever farther apart: the pairs inside each stay, and nothing is allocated for the space between.
    for (double distance : {1e3, 1e7, 1e15}) {
        Configuration c = makeConfiguration(1, model, 12, 5, {});
        const size_t inOne = findReferencePairs(c.positions, 3, {}).size();
        CHECK(inOne > 0);
        for (int i = 0; i < 12; i++) {
            Position x = c.positions[i];
            // Multiples of 2 are representable at these distances.
            x = {distance + 2 * std::round(x[0]), -distance + 2 * std::round(x[1]), distance + 2 * std::round(x[2])};
            if (std::find(c.positions.begin(), c.positions.end(), x) == c.positions.end()) {
                c.positions.push_back(x);
                c.types.push_back(0);
            }
        }
        comparePairs(c, 3, 1e-12);
        CHECK(findReferencePairs(c.positions, 3, {}).size() > inOne);
    }
    const std::vector<Position> extremes = {{1e100, -1e100, 0}, {-1e100, 1e100, 0}, {0, 0, 1e-300}, {1, 0, 0}};
    CHECK_EQUAL(2u, findReferencePairs(extremes, 3, {}).size());
    // A huge box must not become a huge grid.
    CHECK_EQUAL(2u, findReferencePairs({{1, 1, 1}, {1e9 - 1, 1, 1}}, 3, BoxVectors{{{1e9, 0, 0}, {0, 1e9, 0}, {0, 0, 1e9}}}).size());
}

void testPrecisionManyBoxesAway() {
    // Box lengths and coordinates that are exact in binary: the distance must be exact, a million boxes away.
    const BoxVectors box = {{{8, 0, 0}, {2, 8, 0}, {-2, 1, 8}}};
    const Position x = {1.0 + 1.0 / 1024, 2, 3};
    for (double boxes : {0.0, 1.0, -1.0, 1e3, -1e6, 1048576.0}) {
        const Position y = {2 + boxes * (8 + 2 - 2), 2 + boxes * (8 + 1), 3 + boxes * 8};
        const std::vector<ReferencePair> pairs = findReferencePairs({x, y}, 3, box);
        CHECK_EQUAL(2u, pairs.size());
        CHECK_EQUAL(1.0 - 1.0 / 1024, pairs[0].r);
    }
}

void testCutoffIsStrict() {
    const double below = std::nextafter(3.0, 0.0);
    for (const std::optional<Box>& box : {std::optional<Box>(), std::optional<Box>(makeTriclinicBox(20))}) {
        CHECK_EQUAL(0u, findReferencePairs({{0, 0, 0}, {3, 0, 0}}, 3, box).size());
        CHECK_EQUAL(2u, findReferencePairs({{0, 0, 0}, {below, 0, 0}}, 3, box).size());
    }
    // Own images at exactly the cutoff.
    CHECK_EQUAL(0u, findReferencePairs({{0.1, 0, 0}}, 3, BoxVectors{{{3, 0, 0}, {0, 4, 0}, {0, 0, 5}}}).size());
    CHECK_EQUAL(2u, findReferencePairs({{0.1, 0, 0}}, 3, BoxVectors{{{below, 0, 0}, {0, 4, 0}, {0, 0, 5}}}).size());
}

void testWrongConfigurations() {
    const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
    const ModelSpec model = makeAni(1, {});
    auto run = [&](const std::vector<Position>& positions, const std::optional<Box>& box) {
        evaluateReference(model, std::vector<int>(positions.size(), 1), positions, box, {});
    };
    CHECK_THROWS(FlashEvaluationError, run({{0, 0, 0}, {1.5, 2.5, 3.5}, {1.5, 2.5, 3.5}}, {}), "same position",
                 "particle 1 at (1.5, 2.5, 3.5) and particle 2 at (1.5, 2.5, 3.5)");
    CHECK_THROWS(FlashEvaluationError, run({{1, 1, 1}, {1, 1, 1 + 1e-12}}, {}), "same position", "particle 0", "particle 1");
    CHECK_THROWS(FlashEvaluationError, run({{1, 1, 1}, {9, 1, 1}}, BoxVectors{{{4, 0, 0}, {0, 4, 0}, {0, 0, 4}}}), "periodic images",
                 "particle 0 at (1, 1, 1) and particle 1 at (9, 1, 1)");
    CHECK_THROWS(FlashEvaluationError, run({{0.1, 0.2, 0.3}, {0.1 + 1e4 * 4.1, 0.2, 0.3}}, BoxVectors{{{4.1, 0, 0}, {0, 4.1, 0}, {0, 0, 4.1}}}),
                 "same position");
    for (double bad : {nan, infinity, -infinity, 1e200})
        for (int k = 0; k < 3; k++) {
            std::vector<Position> positions = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}};
            positions[1][k] = bad;
            CHECK_THROWS(FlashEvaluationError, run(positions, {}), "not finite", "particle 1 at (");
            CHECK_THROWS(FlashEvaluationError, run(positions, makeTriclinicBox(9)), "not finite", "particle 1 at (");
        }
    CHECK_THROWS(FlashEvaluationError, run({{1e30, 0, 0}}, makeTriclinicBox(9)), "box lengths away", "particle 0 at (1e+30, 0, 0)");
    CHECK_THROWS(FlashEvaluationError, run({{0, 0, 0}}, BoxVectors{{{0, 0, 0}, {0, 4, 0}, {0, 0, 4}}}), "reduced form");
    CHECK_THROWS(FlashEvaluationError, run({{0, 0, 0}}, BoxVectors{{{4, 1, 0}, {0, 4, 0}, {0, 0, 4}}}), "reduced form");
    CHECK_THROWS(FlashEvaluationError, run({{0, 0, 0}}, BoxVectors{{{nan, 0, 0}, {0, 4, 0}, {0, 0, 4}}}), "box vector is not finite");
    CHECK_THROWS(FlashEvaluationError, run({{0, 0, 0}}, makeTriclinicBox(0.01)), "box is too small", "the cutoff is 5.2");
    CHECK_THROWS(std::invalid_argument, evaluateReference(model, {0, 4}, {{0, 0, 0}, {1, 0, 0}}, {}, {}), "particle 1 has type 4", "4 types");
    CHECK_THROWS(std::invalid_argument, evaluateReference(model, {-1}, {{0, 0, 0}}, {}, {}), "particle 0 has type -1");
    CHECK_THROWS(std::invalid_argument, evaluateReference(model, {0}, {{0, 0, 0}, {1, 0, 0}}, {}, {}), "1 types, but 2 positions");
    // In the caller's terms.
    try {
        run({{0, 0, 0}, {15, 25, 35}, {15, 25, 35}}, {});
        fail(FLASH_HERE, "no exception was thrown");
    }
    catch (const FlashEvaluationError& error) {
        CHECK_EQUAL(std::string("two particles are at the same position: particle 108 at (1.5, 2.5, 3.5) nm and particle 5 at (1.5, 2.5, 3.5) nm"),
                    error.describe({7, 108, 5}, 0.1, "nm"));
        CHECK_EQUAL(2u, error.getParticles().size());
        CHECK_EQUAL(25.0, error.getPositions()[1][1]);
    }
}

// ---- energies and gradients ----

void testActivations() {
    for (Activation activation :
         {Activation::Tanh, Activation::ShiftedSoftplus, Activation::Softplus, Activation::Silu, Activation::Sigmoid, Activation::Mish}) {
        for (double x = -15; x <= 15; x += 0.37) {
            const ValueAndDerivative f = evaluateActivation(activation, x);
            CHECK_CLOSE(activationFunction(activation, x), f.value, 1e-8, 1e-15);
            const double h = 1e-5;
            CHECK_CLOSE((evaluateActivation(activation, x + h).value - evaluateActivation(activation, x - h).value) / (2 * h), f.derivative, 1e-9, 1e-9);
        }
        // Where exp(x) overflows, or where 1 + exp(x) is 1.
        for (double x : {-1e300, -1e4, -745.0, 710.0, 1e4, 1e300}) {
            const bool bounded = activation == Activation::Tanh || activation == Activation::Sigmoid;
            const double left = activation == Activation::Tanh ? -1 : activation == Activation::ShiftedSoftplus ? -std::log(2.0) : 0;
            const double right = bounded ? 1 : activation == Activation::ShiftedSoftplus ? x - std::log(2.0) : x;
            const ValueAndDerivative f = evaluateActivation(activation, x);
            CHECK_CLOSE(x < 0 ? left : right, f.value, 1e-15, 1e-300);
            CHECK_CLOSE(x < 0 || bounded ? 0.0 : 1.0, f.derivative, 1e-15, 1e-300);
        }
        // Small values keep their relative accuracy.
        if (activation == Activation::Softplus)
            for (double f : {evaluateActivation(activation, -40).value, evaluateActivation(activation, -40).derivative})
                CHECK_CLOSE(std::exp(-40.0), f, 1e-14, 0);
    }
    for (double x : {-1e300, -3.0, -1e-9, 0.0, 1e-9, 2.0, 1e300}) {
        const ValueAndDerivative f = evaluateCelu(0.1, x);
        CHECK_CLOSE(x > 0 ? x : 0.1 * std::expm1(10 * x), f.value, 1e-14, 0);
        CHECK_CLOSE(x > 0 ? 1.0 : std::exp(10 * x), f.derivative, 1e-14, 0);
    }
}

void testAgainstTextbook() {
    forEachCase([](const ModelSpec& model, const Configuration& c) {
        const ReferenceResult result = evaluate(model, c);
        std::vector<double> energies;
        for (const std::vector<double>& member : result.memberEnergies)
            energies.push_back(sum(member));
        CHECK_CLOSE(getTextbookEnergies(model, c), energies, 1e-12, 1e-11);
        CHECK_EQUAL(model.repulsion ? c.types.size() : 0u, result.repulsionEnergies.size());
        if (model.repulsion)
            CHECK_CLOSE(getTextbookRepulsion(model, c, {}), sum(result.repulsionEnergies), 1e-12, 1e-12);
    });
}

void testGradient() {
    forEachCase([](const ModelSpec& model, const Configuration& c) {
        const ReferenceResult result = evaluate(model, c);
        // One particle and its own images: they move together, nothing depends on its position.
        const bool constant = c.types.size() == 1;
        CHECK(constant || getRms(result.gradient) > 1e-3);
        CHECK_CLOSE_TO_RMS(result.gradient, differentiate([&](const Configuration& moved) { return getEnergy(evaluate(model, moved)); }, c), 1e-6,
                           constant ? 1e-9 : 0);
    });
}

/** An ensemble is the mean of its members, each evaluated alone. */
void testMembers() {
    for (const NamedModel& model : makeRandomModels()) {
        if (model.spec.numMembers == 1)
            continue;
        for (const auto& [name, c] : makeConfigurations(model.spec, 77)) {
            const ReferenceResult ensemble = evaluate(model.spec, c);
            std::vector<double> mean(3 * c.types.size(), 0.0);
            CHECK_EQUAL(static_cast<size_t>(model.spec.numMembers), ensemble.memberEnergies.size());
            for (int k = 0; k < model.spec.numMembers; k++) {
                ModelSpec one = model.spec;
                one.numMembers = 1;
                if (auto schnet = std::get_if<SchNetSpec>(&one.network))
                    schnet->members = {schnet->members[k]};
                else
                    std::get<AniSpec>(one.network).networks = {std::get<AniSpec>(one.network).networks[k]};
                const ReferenceResult single = evaluate(one, c);
                CHECK_CLOSE(single.memberEnergies[0], ensemble.memberEnergies[k], 1e-14, 1e-14);
                const std::vector<double> gradient = flatten(single.gradient);
                for (size_t i = 0; i < mean.size(); i++)
                    mean[i] += gradient[i] / model.spec.numMembers;
            }
            CHECK_CLOSE(mean, ensemble.gradient, 1e-12, 1e-12);
        }
    }
}

void testSymmetries() {
    std::uint64_t seed = 1;
    forEachCase([&](const ModelSpec& model, const Configuration& c) {
        Random random(seed++);
        const ReferenceResult original = evaluate(model, c);
        const double energy = getEnergy(original), scale = 1e-11;
        // The tolerance on energies: the particles' energies may cancel.
        const double absolute = 1e-12 * static_cast<double>(c.types.size()) * 10;

        Vector3 net = {0, 0, 0};
        for (const Vector3& g : original.gradient)
            for (int k = 0; k < 3; k++)
                net[k] += g[k];
        CHECK_CLOSE(std::vector<double>(3, 0.0), std::vector<Vector3>{net}, 0, 1e-12 * (1 + getRms(original.gradient)) * static_cast<double>(c.types.size()));

        Configuration moved = c;
        const Vector3 t = {random.uniform(-20, 20), random.uniform(-20, 20), random.uniform(-20, 20)};
        for (Position& x : moved.positions)
            for (int k = 0; k < 3; k++)
                x[k] += t[k];
        ReferenceResult result = evaluate(model, moved);
        CHECK_CLOSE(energy, getEnergy(result), 1e-12, absolute);
        CHECK_CLOSE_TO_RMS(original.gradient, result.gradient, scale, 1e-12);

        const int n = static_cast<int>(c.types.size());
        std::vector<int> order(n);
        std::iota(order.begin(), order.end(), 0);
        for (int i = n - 1; i > 0; i--)
            std::swap(order[i], order[random.index(i + 1)]);
        Configuration permuted = c;
        std::vector<Vector3> expected(n);
        for (int i = 0; i < n; i++) {
            permuted.types[i] = c.types[order[i]];
            permuted.positions[i] = c.positions[order[i]];
            expected[i] = original.gradient[order[i]];
        }
        result = evaluate(model, permuted);
        CHECK_CLOSE(energy, getEnergy(result), 1e-12, absolute);
        CHECK_CLOSE_TO_RMS(expected, result.gradient, scale, 1e-12);

        if (c.box) {
            // Each particle by its own lattice translation.
            Configuration shifted = c;
            for (Position& x : shifted.positions)
                for (int k = 0; k < 3; k++) {
                    const int image = random.index(41) - 20;
                    for (int l = 0; l < 3; l++)
                        x[l] += image * (*c.box)[k][l];
                }
            result = evaluate(model, shifted);
            CHECK_CLOSE(energy, getEnergy(result), 1e-12, absolute);
            CHECK_CLOSE_TO_RMS(original.gradient, result.gradient, 10 * scale, 1e-11);
            return;
        }
        // Rotation by a random unit quaternion, and a mirror.
        Vector3 v = {random.uniform(-1, 1), random.uniform(-1, 1), random.uniform(-1, 1)};
        const double w = random.uniform(-1, 1), norm = std::sqrt(w * w + v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        const double a = w / norm, b = v[0] / norm, q = v[1] / norm, d = v[2] / norm;
        const double rotation[3][3] = {{1 - 2 * (q * q + d * d), 2 * (b * q - a * d), 2 * (b * d + a * q)},
                                       {2 * (b * q + a * d), 1 - 2 * (b * b + d * d), 2 * (q * d - a * b)},
                                       {-2 * (b * d - a * q), -2 * (q * d + a * b), -1 + 2 * (b * b + q * q)}};
        auto rotate = [&](const Vector3& x) {
            Vector3 y = {0, 0, 0};
            for (int k = 0; k < 3; k++)
                for (int l = 0; l < 3; l++)
                    y[k] += rotation[k][l] * x[l];
            return y;
        };
        Configuration rotated = c;
        for (int i = 0; i < n; i++) {
            rotated.positions[i] = rotate(c.positions[i]);
            expected[i] = rotate(original.gradient[i]);
        }
        result = evaluate(model, rotated);
        CHECK_CLOSE(energy, getEnergy(result), 1e-12, absolute);
        CHECK_CLOSE_TO_RMS(expected, result.gradient, scale, 1e-12);
    });
}

/** A crystal described by its cell and by 2 x 2 x 2 cells: same energy per cell, same forces. Small boxes against large ones. */
void testSupercell() {
    for (const NamedModel& model : makeRandomModels()) {
        // A particle's own images are no neighbours in a neighbour embedding, so that it depends on the choice of the cell.
        if (!allowsBox(model.spec) || hasNeighborEmbedding(model.spec))
            continue;
        ModelSpec spec = model.spec;
        if (auto schnet = std::get_if<SchNetSpec>(&spec.network))
            schnet->groupEnergy = 0;
        const Configuration cell = makeConfiguration(5, spec, 3, 0, makeTriclinicBox(0.7 * spec.getCutoff()));
        Configuration crystal;
        crystal.box = cell.box;
        for (Position& vector : *crystal.box)
            for (double& x : vector)
                x *= 2;
        std::vector<Vector3> expected;
        const ReferenceResult one = evaluate(spec, cell);
        for (int a = 0; a < 2; a++)
            for (int b = 0; b < 2; b++)
                for (int c = 0; c < 2; c++)
                    for (size_t i = 0; i < cell.types.size(); i++) {
                        Position x = cell.positions[i];
                        for (int l = 0; l < 3; l++)
                            x[l] += a * (*cell.box)[0][l] + b * (*cell.box)[1][l] + c * (*cell.box)[2][l];
                        crystal.positions.push_back(x);
                        crystal.types.push_back(cell.types[i]);
                        expected.push_back(one.gradient[i]);
                    }
        const ReferenceResult all = evaluate(spec, crystal);
        CHECK_CLOSE(8 * getEnergy(one), getEnergy(all), 1e-12, 1e-11);
        CHECK_CLOSE_TO_RMS(expected, all.gradient, 1e-11, 1e-11);
    }
}

// ---- few particles, and the pair prior ----

void testFewParticles() {
    for (const NamedModel& model : makeRandomModels()) {
        for (const std::optional<Box>& box : {std::optional<Box>(), std::optional<Box>(makeTriclinicBox(20))}) {
            if (box && !allowsBox(model.spec))
                continue;
            const ReferenceResult none = evaluateReference(model.spec, {}, {}, box, {});
            CHECK_EQUAL(static_cast<size_t>(model.spec.numMembers), none.memberEnergies.size());
            CHECK_EQUAL(0.0, getEnergy(none));
            CHECK(none.gradient.empty());
            const ReferenceResult one = evaluateReference(model.spec, {2 % static_cast<int>(model.spec.types.size())}, {{100, -3, 5}}, box, {});
            CHECK(std::isfinite(getEnergy(one)));
            CHECK_CLOSE(std::vector<double>(3, 0.0), one.gradient, 0, 0);
            // Two: the force lies along the line between them.
            const ReferenceResult two = evaluateReference(model.spec, {0, 0}, {{1, 1, 1}, {2.2, 2.6, 1}}, box, {});
            const Vector3& g = two.gradient[0];
            CHECK(getRms(two.gradient) > 1e-6);
            CHECK_CLOSE(0.0, 0.8 * g[0] - 0.6 * g[1], 0, 1e-12 * getRms(two.gradient) + 1e-13);
            CHECK_CLOSE(0.0, g[2], 0, 1e-15);
        }
    }
}

void testCutoffAndIsolatedAtom() {
    for (const NamedModel& model : makeRandomModels()) {
        ModelSpec spec = model.spec;
        spec.repulsion.reset();
        if (auto schnet = std::get_if<SchNetSpec>(&spec.network))
            schnet->groupEnergy = 0;
        const int type = 0;
        const double cutoff = spec.getCutoff(), alone = getEnergy(evaluateReference(spec, {type}, {{0, 0, 0}}, {}, {}));
        // Exactly at the cutoff, and far beyond: as if alone, without any force.
        for (double distance : {cutoff, 1e3, 1e7}) {
            const ReferenceResult apart = evaluateReference(spec, {type, type}, {{0, 0, 0}, {distance, 0, 0}}, {}, {});
            CHECK_CLOSE(2 * alone, getEnergy(apart), 1e-15, 0);
            CHECK_CLOSE(std::vector<double>(6, 0.0), apart.gradient, 0, 0);
        }
        // Just inside it, the envelopes have brought energy and force to zero: both are continuous there.
        const double inside = cutoff * (1 - 1e-6);
        const ReferenceResult near = evaluateReference(spec, {type, type}, {{0, 0, 0}, {inside, 0, 0}}, {}, {});
        CHECK_CLOSE(2 * alone, getEnergy(near), 0, 1e-9);
        CHECK_CLOSE(std::vector<double>(6, 0.0), near.gradient, 0, 1e-4);
        // An atom out of reach changes nothing for the others.
        Configuration c = makeConfiguration(3, spec, 6, 4, {});
        const ReferenceResult without = evaluate(spec, c);
        c.types.push_back(type);
        c.positions.push_back({-900, 2000, 1e7});
        const ReferenceResult with = evaluate(spec, c);
        CHECK_CLOSE(getEnergy(without) + alone, getEnergy(with), 1e-13, 1e-12);
        std::vector<Vector3> expected = without.gradient;
        expected.push_back({0, 0, 0});
        CHECK_CLOSE(expected, with.gradient, 1e-12, 1e-13);
    }
}

void testGroupAndParticleEnergies() {
    SchNetOptions options;
    options.groupEnergy = 8;
    options.typeEnergies = true;
    ModelSpec model = makeSchNet(3, options);
    const Configuration c = makeConfiguration(4, model, 5, 4, {});
    const ReferenceResult with = evaluate(model, c);
    std::get<SchNetSpec>(model.network).groupEnergy = 0;
    std::vector<double> energies = model.typeEnergies;
    model.typeEnergies.assign(energies.size(), 0.0);
    const ReferenceResult without = evaluate(model, c);
    for (size_t i = 0; i < c.types.size(); i++)
        CHECK_CLOSE(without.memberEnergies[0][i] + energies[c.types[i]] + 8.0 / 5, with.memberEnergies[0][i], 1e-14, 1e-14);
}

void testRepulsion() {
    for (double cutoff : {0.0, 4.0})
        for (int exponent : {1, 6, 12, 24}) {
            ModelSpec model = makeSchNet(5, {});
            model.repulsion = makeRepulsion(6, static_cast<int>(model.types.size()), exponent, cutoff);
            std::vector<Configuration> configurations = {makeConfiguration(7, model, 8, 6, {})};
            if (cutoff > 0) {
                configurations.push_back(makeConfiguration(8, model, 8, 0, makeTriclinicBox(9)));
                configurations.push_back(makeConfiguration(9, model, 3, 0, makeTriclinicBox(2.8)));
            }
            for (const Configuration& c : configurations) {
                for (const Exclusions& exclusions : {Exclusions{}, Exclusions{{0, 1}}, Exclusions{{2, 1}, {0, 2}}}) {
                    ModelSpec network = model;
                    network.repulsion.reset();
                    auto priorEnergy = [&](const Configuration& moved) { return sum(evaluate(model, moved, exclusions).repulsionEnergies); };
                    CHECK_CLOSE(getTextbookRepulsion(model, c, exclusions), priorEnergy(c), 1e-12, 1e-14);
                    const ReferenceResult with = evaluate(model, c, exclusions), without = evaluate(network, c);
                    CHECK(without.repulsionEnergies.empty());
                    CHECK_CLOSE(without.memberEnergies[0], with.memberEnergies[0], 0, 0);
                    std::vector<double> prior = flatten(with.gradient);
                    for (size_t k = 0; k < prior.size(); k++)
                        prior[k] -= flatten(without.gradient)[k];
                    CHECK_CLOSE_TO_RMS(prior, differentiate(priorEnergy, c), 1e-6, 0);
                }
            }
        }
}

void testRepulsionByHand() {
    ModelSpec model = makeSchNet(5, {});
    Repulsion repulsion;
    repulsion.exponent = 6;
    repulsion.sigma.assign(model.types.size() * model.types.size(), 2.0);
    model.repulsion = repulsion;
    const std::vector<int> types = {0, 0, 0};
    const std::vector<Position> line = {{0, 0, 0}, {4, 0, 0}, {400, 0, 0}};
    // Every pair, however far apart: (2/4)^6, (2/400)^6, (2/396)^6; half of each belongs to each partner.
    const ReferenceResult all = evaluateReference(model, types, line, {}, {});
    const double e01 = 1.0 / 64, e02 = std::pow(0.005, 6), e12 = std::pow(2.0 / 396, 6);
    CHECK_CLOSE(std::vector<double>({0.5 * (e01 + e02), 0.5 * (e01 + e12), 0.5 * (e02 + e12)}), all.repulsionEnergies, 1e-14, 0);
    // In the middle of the switching range (0.95 of the cutoff) the switch is one half.
    model.repulsion->cutoff = 4 / 0.95;
    const ReferenceResult half = evaluateReference(model, types, line, {}, {});
    CHECK_CLOSE(std::vector<double>({e01 / 4, e01 / 4, 0}), half.repulsionEnergies, 1e-12, 0);
    model.repulsion->cutoff = 4;
    CHECK_CLOSE(std::vector<double>(3, 0.0), evaluateReference(model, types, line, {}, {}).repulsionEnergies, 0, 0);
    model.repulsion->cutoff = 0;
    CHECK_THROWS(std::invalid_argument, evaluateReference(model, types, line, makeTriclinicBox(500), {}), "no meaning in a periodic box");
}

} // namespace

int main(int argc, char** argv) {
    return runTests(argc, argv,
                    {{"neighbor list against all images", testNeighborListAgainstAllImages},
                     {"reverse pairs", testReversePairs},
                     {"far apart", testFarApart},
                     {"precision many boxes away", testPrecisionManyBoxesAway},
                     {"cutoff is strict", testCutoffIsStrict},
                     {"wrong configurations", testWrongConfigurations},
                     {"activations", testActivations},
                     {"against textbook formulas", testAgainstTextbook},
                     {"gradient by central differences", testGradient},
                     {"ensemble members", testMembers},
                     {"symmetries and net force", testSymmetries},
                     {"supercell", testSupercell},
                     {"0, 1 and 2 particles", testFewParticles},
                     {"at the cutoff, and isolated", testCutoffAndIsolatedAtom},
                     {"group and particle energies", testGroupAndParticleEnergies},
                     {"repulsion", testRepulsion},
                     {"repulsion by hand", testRepulsionByHand}});
}
