// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// ANI on the CPU platform. The witness is the Reference evaluator, group by group; every instruction set that the machine has
// is tested, with several numbers of threads.
#include "AniModels.h"
#include "Assertions.h"
#include "CountAllocations.h"
#include "CpuAni.h"
#include "CpuIsa.h"
#include "RandomModels.h"
#include "ReferenceEvaluator.h"
#include "TestThreads.h"
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <numeric>

using namespace OpenMMFlash;
using namespace OpenMMFlashTests;

namespace {

constexpr double EnergyTolerance = 2e-6, ForceTolerance = 2e-5;

ForceResults makeResults(const ModelSpec& model, int n) {
    ForceResults results;
    results.memberEnergies.assign(static_cast<size_t>(model.numMembers), std::vector<double>(static_cast<size_t>(n), 0.0));
    results.gradient.assign(static_cast<size_t>(n), Vector3{0, 0, 0});
    return results;
}

/** A potential with its threads. */
class Evaluator {
public:
    Evaluator(const ModelSpec& model, const CpuKernels& kernels, int numThreads, const CpuOptions& options = {})
        : model(model), threads(makeTestThreads(numThreads)), ani(model, kernels, threads, options) {}
    ForceResults evaluate(const ForceParticles& particles, bool newParticles = true, bool includeForces = true) {
        ForceResults results = makeResults(model, particles.size());
        if (newParticles)
            ani.setParticles(particles);
        ani.prepare(particles);
        const std::function<void(int)> task = [&](int thread) { ani.compute(thread, particles, includeForces, results); };
        const long before = numAllocations;
        threads.run(task);
        allocations += numAllocations - before;
        ani.finish(particles);
        return results;
    }
    long allocations = 0; ///< in compute()

private:
    const ModelSpec& model;
    CpuThreads threads;
    CpuAni ani;
};

ForceParticles makeParticles(const Configuration& configuration, int numGroups = 1) {
    ForceParticles particles;
    particles.types = configuration.types;
    particles.positions = configuration.positions;
    particles.box = configuration.box;
    particles.numGroups = numGroups;
    for (int i = 0; i < particles.size(); i++)
        particles.groups.push_back(i * 7 % numGroups);
    return particles;
}

/** The Reference, group by group. */
ForceResults evaluateWitness(const ModelSpec& model, const ForceParticles& particles) {
    ForceResults results = makeResults(model, particles.size());
    for (int group = 0; group < particles.numGroups; group++) {
        std::vector<int> members, types;
        std::vector<Vector3> positions;
        for (int i = 0; i < particles.size(); i++)
            if (particles.groups[i] == group) {
                members.push_back(i);
                types.push_back(particles.types[i]);
                positions.push_back(particles.positions[i]);
            }
        const ReferenceResult one = evaluateReference(model, types, positions, particles.box, {}, false);
        for (size_t k = 0; k < members.size(); k++) {
            results.gradient[members[k]] = one.gradient[k];
            for (size_t m = 0; m < one.memberEnergies.size(); m++)
                results.memberEnergies[m][members[k]] = one.memberEnergies[m][k];
        }
    }
    return results;
}

double sum(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
}

/** Energies are relative to the sum of what is added up: networks' energies and type energies, which may cancel. */
void checkResults(const ModelSpec& model, const ForceParticles& particles, const ForceResults& expected, const ForceResults& found) {
    for (size_t m = 0; m < expected.memberEnergies.size(); m++) {
        double size = 0;
        for (size_t i = 0; i < particles.types.size(); i++) {
            const double typeEnergy = model.typeEnergies[particles.types[i]];
            size += std::fabs(typeEnergy) + std::fabs(expected.memberEnergies[m][i] - typeEnergy);
        }
        CHECK_CLOSE(sum(expected.memberEnergies[m]), sum(found.memberEnergies[m]), 0, EnergyTolerance * size);
        CHECK_CLOSE(expected.memberEnergies[m], found.memberEnergies[m], 1e-5, 1e-5);
    }
    CHECK_CLOSE_TO_RMS(expected.gradient, found.gradient, ForceTolerance, 1e-9);
}

/** To the last bit. */
void checkSame(const ForceResults& expected, const ForceResults& found) {
    CHECK(expected.memberEnergies == found.memberEnergies);
    CHECK(expected.gradient == found.gradient);
}

/** How many neighbours within the angular cutoff the first particle has. */
int countAngularNeighbors(const ModelSpec& model, const ForceParticles& particles) {
    int count = 0;
    for (const ReferencePair& pair : findReferencePairs(particles.positions, std::get<AniSpec>(model.network).angularCutoff, particles.box))
        count += pair.receiver == 0;
    return count;
}

std::vector<NamedModel> makeModels() {
    std::vector<NamedModel> models;
    for (const NamedModel& model : makeRandomModels())
        if (std::holds_alternative<AniSpec>(model.spec.network))
            models.push_back(model);
    models.push_back({"ani-2x-like", makeAniLikeModel(50, false, 8)});
    models.push_back({"ani-1x-like", makeAniLikeModel(60, true, 2)});
    models.push_back({"one term", makeOddModel(70, 1, 1, 1, 1, 1, 3)});
    models.push_back({"5 angles, 3 shells", makeOddModel(80, 1, 1, 3, 5, 17, 2)});
    models.push_back({"9 angles, 6 shells", makeOddModel(90, 2, 3, 3, 3, 5, 1)});
    models.push_back({"34 angles, 38 shells", makeOddModel(100, 2, 2, 19, 17, 19, 4)});
    return models;
}

std::vector<std::pair<std::string, ForceParticles>> makeConfigurations(const ModelSpec& model, std::uint64_t seed) {
    const double cutoff = model.getCutoff();
    const int seven = std::min(7, static_cast<int>(model.types.size()));
    std::vector<std::pair<std::string, ForceParticles>> configurations;
    const auto add = [&](const std::string& name, const Configuration& configuration, int numGroups = 1) {
        configurations.push_back({name, makeParticles(configuration, numGroups)});
    };
    add("open", makeConfiguration(seed, model, 23, 6, {}));
    add("groups", makeConfiguration(seed + 1, model, 30, 6, {}), 3);
    add("large box", makeConfiguration(seed + 2, model, 40, 0, makeTriclinicBox(2.2 * cutoff)));
    add("small box", makeConfiguration(seed + 3, model, 6, 0, makeTriclinicBox(0.75 * cutoff)), 2);
    add("own images", makeConfiguration(seed + 4, model, 1, 0, makeTriclinicBox(0.6 * cutoff)));
    add("one particle", makeConfiguration(seed + 5, model, 1, 5, {}));
    add("two particles", makeConfiguration(seed + 6, model, 2, 1.5, {}));
    Configuration line = makeConfiguration(seed + 7, model, 5, 6, {});
    for (int i = 0; i < 5; i++)
        line.positions[i] = {1.2 * i, 0, 0};
    add("line", line);
    Configuration single = makeConfiguration(seed + 8, model, 9, 4, {});
    std::fill(single.types.begin(), single.types.end(), seven - 1);
    add("one type", single);
    add("no particles", {});
    return configurations;
}

void forEachKernels(const std::function<void(const CpuKernels&)>& test) {
    for (const CpuKernels* kernels : getSupportedKernels()) {
        try {
            test(*kernels);
        }
        catch (const std::exception& exception) {
            throw std::runtime_error(std::string(kernels->isa) + ": " + exception.what());
        }
    }
}

void testAgainstReference() {
    std::uint64_t seed = 1;
    for (const NamedModel& model : makeModels())
        for (const auto& [name, particles] : makeConfigurations(model.spec, seed += 20)) {
            const ForceResults expected = evaluateWitness(model.spec, particles);
            try {
                forEachKernels([&](const CpuKernels& kernels) {
                    Evaluator one(model.spec, kernels, 1);
                    const ForceResults found = one.evaluate(particles);
                    checkResults(model.spec, particles, expected, found);
                    for (const int numThreads : {2, 5}) {
                        Evaluator several(model.spec, kernels, numThreads);
                        checkSame(found, several.evaluate(particles));
                        checkSame(found, several.evaluate(particles, false));
                    }
                    ForceResults energies = one.evaluate(particles, false, false);
                    CHECK(energies.memberEnergies == found.memberEnergies);
                    CHECK_EQUAL(0.0, getRms(energies.gradient));
                });
            }
            catch (const std::exception& exception) {
                throw std::runtime_error(model.name + ", " + name + ": " + exception.what());
            }
        }
}

/** More neighbours than vectors and chunks of triples hold, and in another number for each atom. */
void testManyNeighbors() {
    const ModelSpec model = makeAniLikeModel(50, false, 2);
    for (const auto& [size, numParticles, wanted] : {std::tuple<double, int, int>{6, 60, 32}, {2.7, 30, 200}}) {
        const ForceParticles particles = makeParticles(makeConfiguration(7, model, numParticles, 0, makeTriclinicBox(size), 0.6));
        CHECK(countAngularNeighbors(model, particles) > wanted);
        const ForceResults expected = evaluateWitness(model, particles);
        forEachKernels([&](const CpuKernels& kernels) {
            Evaluator evaluator(model, kernels, 2);
            checkResults(model, particles, expected, evaluator.evaluate(particles));
        });
    }
}

/** Enough atoms for several tiles of a type, and for chunks of several members. */
void testManyAtoms() {
    const ModelSpec model = makeAniLikeModel(50, false, 8);
    const ForceParticles particles = makeParticles(makeConfiguration(8, model, 1100, 24, {}, 1.2), 2);
    const ForceResults expected = evaluateWitness(model, particles);
    forEachKernels([&](const CpuKernels& kernels) {
        Evaluator evaluator(model, kernels, 1), other(model, kernels, 3);
        const ForceResults found = evaluator.evaluate(particles);
        checkResults(model, particles, expected, found);
        checkSame(found, other.evaluate(particles));
    });
}

void moveParticles(Random& random, ForceParticles& particles, double step) {
    for (Vector3& x : particles.positions)
        for (double& coordinate : x)
            coordinate += random.uniform(-step, step);
}

/** What was evaluated before, and how old the neighbor list is, changes no bit. */
void testHistory() {
    const ModelSpec model = makeAniLikeModel(50, false, 2);
    for (const bool periodic : {false, true}) {
        ForceParticles particles =
            makeParticles(makeConfiguration(9, model, 50, 8, periodic ? std::optional<BoxVectors>(makeTriclinicBox(9)) : std::nullopt), 2);
        forEachKernels([&](const CpuKernels& kernels) {
            Random random(3);
            CpuOptions noSkin;
            noSkin.skin = 0;
            Evaluator old(model, kernels, 2), rebuilt(model, kernels, 1, noSkin);
            for (int step = 0; step < 40; step++) {
                const ForceResults found = old.evaluate(particles, step == 0);
                checkSame(found, rebuilt.evaluate(particles));
                checkSame(found, old.evaluate(particles, false));
                if (step % 10 == 9) {
                    Evaluator fresh(model, kernels, 1);
                    checkSame(found, fresh.evaluate(particles));
                }
                moveParticles(random, particles, 0.05);
            }
        });
    }
}

/** Nothing of an earlier set of particles is left: other types, more and fewer of them. */
void testNewParticles() {
    const ModelSpec model = makeAniLikeModel(50, false, 2);
    forEachKernels([&](const CpuKernels& kernels) {
        Evaluator evaluator(model, kernels, 2);
        std::uint64_t seed = 1;
        for (const auto& [n, numTypes] : {std::pair<int, int>{20, 7}, {60, 2}, {0, 1}, {7, 2}, {150, 7}, {1, 1}, {30, 4}}) {
            Configuration configuration = makeConfiguration(seed++, model, n, 8, {});
            for (int& type : configuration.types)
                type = 6 - type % numTypes;
            const ForceParticles particles = makeParticles(configuration);
            Evaluator fresh(model, kernels, 1);
            const ForceResults found = evaluator.evaluate(particles);
            checkSame(fresh.evaluate(particles), found);
            checkResults(model, particles, evaluateWitness(model, particles), found);
        }
    });
}

/** Half precision weights: the networks are those of the rounded weights. */
void testHalfWeights() {
    const ModelSpec model = makeAniLikeModel(50, false, 2);
    ModelSpec rounded = model;
    for (auto& networks : std::get<AniSpec>(rounded.network).networks)
        for (auto& layers : networks)
            for (Linear& layer : layers)
                for (double& weight : layer.weight)
                    weight = roundToHalf(weight);
    const ForceParticles particles = makeParticles(makeConfiguration(10, model, 100, 10, {}));
    const ForceResults expected = evaluateWitness(rounded, particles);
    CpuOptions options;
    options.compile.halfWeights = true;
    forEachKernels([&](const CpuKernels& kernels) {
        Evaluator evaluator(model, kernels, 1, options);
        checkResults(model, particles, expected, evaluator.evaluate(particles));
    });
}

/** A type whose network cannot be compiled: nothing is evaluated with half of the new particles, and the next ones are as ever. */
void testFailedCompilation() {
    ModelSpec model = makeAniLikeModel(50, false, 2);
    std::get<AniSpec>(model.network).networks[1][3][1].weight[5] = 1e5;
    CpuOptions options;
    options.compile.halfWeights = true;
    const Configuration configuration = makeConfiguration(12, model, 40, 8, {});
    ForceParticles good = makeParticles(configuration), bad = good, fewer = makeParticles(makeConfiguration(15, model, 9, 6, {}));
    for (ForceParticles* particles : {&good, &fewer})
        for (int& type : particles->types)
            type %= 3;
    bad.types[0] = 3;
    forEachKernels([&](const CpuKernels& kernels) {
        Evaluator evaluator(model, kernels, 2, options), fresh(model, kernels, 2, options), never(model, kernels, 2, options);
        const ForceResults expected = evaluator.evaluate(good);
        for (const ForceParticles* next : {&good, &fewer}) {
            CHECK_THROWS(std::invalid_argument, evaluator.evaluate(bad), "type 3", "1e+05", "65504");
            for (const ForceParticles* particles : {&bad, &good})
                CHECK_THROWS(std::logic_error, evaluator.evaluate(*particles, false), "setParticles() has not succeeded");
            checkSame(next == &good ? expected : fresh.evaluate(fewer), evaluator.evaluate(*next));
        }
        CHECK_THROWS(std::invalid_argument, never.evaluate(bad), "65504");
        CHECK_THROWS(std::logic_error, never.evaluate(bad, false), "setParticles() has not succeeded");
        checkSame(expected, never.evaluate(good));
    });
}

/** An array that found no memory has no elements, and can be used again. */
void testNoMemory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // they end the program instead
    CpuArray<float> array;
    array.resize(100);
    volatile size_t tooMuch = SIZE_MAX / 16;
    CHECK_THROWS(std::bad_alloc, array.resize(tooMuch), "bad_alloc");
    CHECK_EQUAL(size_t(0), array.size());
    CHECK_EQUAL(size_t(0), array.getBytes());
    array.resize(50);
    CHECK_EQUAL(0.0f, array[49]);
#endif
}

void testNoAllocation() {
    const ModelSpec model = makeAniLikeModel(50, false, 2);
    ForceParticles particles = makeParticles(makeConfiguration(11, model, 80, 9, {}));
    forEachKernels([&](const CpuKernels& kernels) {
        Random random(4);
        Evaluator evaluator(model, kernels, 2);
        evaluator.evaluate(particles);
        evaluator.allocations = 0;
        for (int step = 0; step < 10; step++) {
            moveParticles(random, particles, 0.05);
            evaluator.evaluate(particles, false);
        }
        CHECK_EQUAL(0, evaluator.allocations);
    });
}

void testCoincidence() {
    const ModelSpec model = makeAniLikeModel(50, false, 1);
    forEachKernels([&](const CpuKernels& kernels) {
        Evaluator evaluator(model, kernels, 2);
        ForceParticles particles = makeParticles(makeConfiguration(13, model, 25, 7, {}));
        const ForceResults before = evaluator.evaluate(particles);
        ForceParticles coincident = particles;
        coincident.positions[17] = coincident.positions[4];
        coincident.positions[20] = coincident.positions[11];
        CHECK_THROWS(FlashEvaluationError, evaluator.evaluate(coincident, false), "two particles are at the same position: particle 4 at (",
                     "and particle 17 at (");
        coincident.positions[17][0] += 1e-10;
        CHECK_THROWS(FlashEvaluationError, evaluator.evaluate(coincident, false), "particle 4", "particle 17");
        checkSame(before, evaluator.evaluate(particles, false));

        ForceParticles periodic = makeParticles(makeConfiguration(14, model, 12, 0, makeTriclinicBox(7)));
        for (int k = 0; k < 3; k++)
            periodic.positions[9][k] = periodic.positions[2][k] + (*periodic.box)[0][k] - (*periodic.box)[2][k];
        periodic.positions[9][1] = periodic.positions[2][1] - (*periodic.box)[2][1];
        CHECK_THROWS(FlashEvaluationError, evaluator.evaluate(periodic), "two particles (or their periodic images) are at the same position: particle 2 at (",
                     "and particle 9 at (");
        periodic.positions[9] = {1, 2, 1e15};
        CHECK_THROWS(FlashEvaluationError, evaluator.evaluate(periodic, false), "1e12 box lengths", "particle 9 at (");
    });
}

} // namespace

int main(int argc, char** argv) {
    return runTests(argc, argv,
                    {{"AgainstReference", testAgainstReference},
                     {"ManyNeighbors", testManyNeighbors},
                     {"ManyAtoms", testManyAtoms},
                     {"History", testHistory},
                     {"NewParticles", testNewParticles},
                     {"HalfWeights", testHalfWeights},
                     {"FailedCompilation", testFailedCompilation},
                     {"NoMemory", testNoMemory},
                     {"NoAllocation", testNoAllocation},
                     {"Coincidence", testCoincidence}});
}
