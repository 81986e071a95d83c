// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// SchNet and the pair prior on the CPU platform. The witness is the Reference evaluator, group by group. Every instruction set
// that the machine has is tested, or the one that OPENMMFLASH_CPU_ISA names.
#include "Assertions.h"
#include "CountAllocations.h"
#include "CpuIsa.h"
#include "CpuRepulsion.h"
#include "CpuSchNet.h"
#include "RandomModels.h"
#include "ReferenceEvaluator.h"
#include "TestThreads.h"
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <numeric>

using namespace OpenMMFlash;
using namespace OpenMMFlashTests;

namespace {

constexpr double EnergyTolerance = 2e-6, ForceTolerance = 2e-5;

std::vector<const CpuKernels*> getKernels() {
    if (std::getenv("OPENMMFLASH_CPU_ISA") != nullptr)
        return {&chooseKernels()};
    return getSupportedKernels();
}

ForceResults makeResults(const ModelSpec& model, int n) {
    ForceResults results;
    results.memberEnergies.assign(static_cast<size_t>(model.numMembers), std::vector<double>(static_cast<size_t>(n), 0.0));
    results.repulsionEnergies.assign(static_cast<size_t>(n), 0.0);
    results.gradient.assign(static_cast<size_t>(n), Vector3{0, 0, 0});
    return results;
}

/** Tables so fine that what is compared is the arithmetic of the platform; how true the tables are is TestCompile's. */
CpuOptions makeOptions() {
    CpuOptions options;
    options.compile.tableTolerance = 2e-7;
    return options;
}

/** The network, and the pair prior if the model has one, with threads of their own. */
class Evaluator {
public:
    Evaluator(const ModelSpec& model, const CpuKernels& kernels, int numThreads, const CpuOptions& options = makeOptions())
        : model(model), threads(makeTestThreads(numThreads)), net(model, kernels, threads, options) {
        potentials.push_back(&net);
        if (model.repulsion) {
            repulsion = std::make_unique<CpuRepulsion>(model, kernels, threads, options);
            potentials.push_back(repulsion.get());
        }
    }
    ForceResults evaluate(const ForceParticles& particles, bool newParticles = true, bool includeForces = true) {
        ForceResults results = makeResults(model, particles.size());
        for (CpuPotential* potential : potentials) {
            if (newParticles)
                potential->setParticles(particles);
            potential->prepare(particles);
        }
        // All threads run one potential after the other.
        const std::function<void(int)> task = [&](int thread) {
            for (CpuPotential* potential : potentials) {
                potential->compute(thread, particles, includeForces, results);
                threads.barrier();
            }
        };
        const long before = numAllocations;
        threads.run(task);
        allocations += numAllocations - before;
        for (CpuPotential* potential : potentials)
            potential->finish(particles);
        return results;
    }
    long allocations = 0; ///< in compute()

    const ModelSpec& model;
    CpuThreads threads;
    CpuSchNet net;
    std::unique_ptr<CpuRepulsion> repulsion;
    std::vector<CpuPotential*> potentials;
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

/** The particles of one group. */
ForceParticles takeGroup(const ForceParticles& particles, int group, std::vector<int>& members) {
    ForceParticles part;
    std::vector<int> indices(static_cast<size_t>(particles.size()), -1);
    members.clear();
    for (int i = 0; i < particles.size(); i++)
        if (particles.groups[i] == group) {
            indices[i] = part.size();
            members.push_back(i);
            part.types.push_back(particles.types[i]);
            part.groups.push_back(0);
            part.positions.push_back(particles.positions[i]);
        }
    for (const auto& [i, j] : particles.exclusions)
        if (indices[i] >= 0)
            part.exclusions.emplace_back(indices[i], indices[j]);
    part.box = particles.box;
    part.numGroups = 1;
    return part;
}

/** The Reference, group by group. */
ForceResults evaluateWitness(const ModelSpec& model, const ForceParticles& particles) {
    ForceResults results = makeResults(model, particles.size());
    std::vector<int> members;
    for (int group = 0; group < particles.numGroups; group++) {
        const ForceParticles part = takeGroup(particles, group, members);
        const ReferenceResult one = evaluateReference(model, part.types, part.positions, part.box, part.exclusions);
        for (size_t k = 0; k < members.size(); k++) {
            results.gradient[members[k]] = one.gradient[k];
            if (model.repulsion)
                results.repulsionEnergies[members[k]] = one.repulsionEnergies[k];
            for (size_t m = 0; m < one.memberEnergies.size(); m++)
                results.memberEnergies[m][members[k]] = one.memberEnergies[m][k];
        }
    }
    return results;
}

double sum(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
}

/** @param cancellation  by how much more than its result a sum's terms are rounded: forces between the many images in a tiny box cancel */
void checkResults(const ForceResults& expected, const ForceResults& found, double cancellation = 1) {
    for (size_t m = 0; m < expected.memberEnergies.size(); m++) {
        double size = 0; // of the terms, which are of the order of one where an energy is small
        for (const double energy : expected.memberEnergies[m])
            size += std::max(std::fabs(energy), 0.2);
        CHECK_CLOSE(sum(expected.memberEnergies[m]), sum(found.memberEnergies[m]), 0, cancellation * EnergyTolerance * size);
        CHECK_CLOSE(expected.memberEnergies[m], found.memberEnergies[m], 1e-5, 1e-5);
    }
    CHECK_CLOSE(expected.repulsionEnergies, found.repulsionEnergies, 1e-12, 1e-12);
    CHECK_CLOSE_TO_RMS(expected.gradient, found.gradient, cancellation * ForceTolerance, 1e-9);
}

/** To the last bit. */
void checkSame(const ForceResults& expected, const ForceResults& found) {
    CHECK(expected.memberEnergies == found.memberEnergies);
    CHECK(expected.repulsionEnergies == found.repulsionEnergies);
    CHECK(expected.gradient == found.gradient);
}

std::vector<NamedModel> makeModels() {
    std::vector<NamedModel> models;
    for (const NamedModel& model : makeRandomModels())
        if (std::holds_alternative<SchNetSpec>(model.spec.network))
            models.push_back(model);
    auto add = [&](const std::string& name, int hidden, int filters, const std::function<void(SchNetOptions&)>& choose) {
        SchNetOptions options;
        options.hidden = hidden;
        options.filters = filters;
        choose(options);
        models.push_back({name, makeSchNet(3000 + models.size(), options)});
    };
    add("several slices", 96, 144, [](SchNetOptions& o) { o.neighborEmbedding = true; });
    add("more slices than slots", 40, 16 * 17, [](SchNetOptions& o) { o.numBlocks = 1; });
    add("a slice that is not full", 80, 80, [](SchNetOptions& o) {
        o.neighborEmbedding = true;
        o.numMembers = 2;
    });
    add("hidden slices only", 200, 3, [](SchNetOptions& o) { o.neighborEmbedding = true; });
    // A readout of one layer.
    models.push_back({"linear readout", models[0].spec});
    SchNetSpec net = std::get<SchNetSpec>(models.back().spec.network);
    Random random(77);
    for (SchNetMember& member : net.members)
        member.readout = {makeLinear(random, 1, net.hidden)};
    models.back().spec.network = net;
    return models;
}

const ModelSpec& findModel(const std::vector<NamedModel>& models, const std::string& name) {
    for (const NamedModel& model : models)
        if (model.name == name)
            return model.spec;
    throw std::logic_error("no model " + name);
}

/** Pairs next to each other in the particles' order, of the same group, left out of the pair prior. */
void addExclusions(ForceParticles& particles) {
    for (int i = 0; i < particles.size(); i++)
        for (int j = i + 1; j < std::min(i + 12, particles.size()); j++)
            if (particles.groups[i] == particles.groups[j] && (i + j) % 3 == 0)
                particles.exclusions.emplace_back((i + j) % 2 ? i : j, (i + j) % 2 ? j : i);
}

/** Open, periodic, and from the sixth on boxes smaller than the cutoff, whose particles see their own images. */
std::vector<ForceParticles> makeSystems(const ModelSpec& model, std::uint64_t seed) {
    std::vector<ForceParticles> systems;
    const bool open = model.repulsion && model.repulsion->cutoff == 0;
    systems.push_back(makeParticles(makeConfiguration(seed, model, 35, 7, {})));
    systems.push_back(makeParticles(makeConfiguration(seed + 1, model, 71, 10, {}), 3));
    systems.push_back(makeParticles(makeConfiguration(seed + 2, model, 1, 4, {})));
    systems.push_back(makeParticles(makeConfiguration(seed + 3, model, 2, 4, {})));
    if (!open) {
        systems.push_back(makeParticles(makeConfiguration(seed + 4, model, 24, 0, makeTriclinicBox(11))));
        systems.push_back(makeParticles(makeConfiguration(seed + 5, model, 9, 0, makeTriclinicBox(4.2)), 2));
        systems.push_back(makeParticles(makeConfiguration(seed + 6, model, 1, 0, makeTriclinicBox(3.1))));
        systems.push_back(makeParticles(makeConfiguration(seed + 7, model, 5, 0, makeTriclinicBox(2.9))));
    }
    if (model.repulsion)
        for (ForceParticles& particles : systems)
            addExclusions(particles);
    return systems;
}

void testAgreement() {
    for (const NamedModel& model : makeModels()) {
        try {
            const std::vector<ForceParticles> systems = makeSystems(model.spec, 10);
            std::vector<ForceResults> expected;
            for (const ForceParticles& particles : systems)
                expected.push_back(evaluateWitness(model.spec, particles));
            for (const CpuKernels* kernels : getKernels()) {
                Evaluator one(model.spec, *kernels, 1), two(model.spec, *kernels, 2), five(model.spec, *kernels, 5);
                for (size_t k = 0; k < systems.size(); k++) {
                    try {
                        const ForceResults found = one.evaluate(systems[k]);
                        checkResults(expected[k], found, k >= 5 ? 5 : 1);
                        checkSame(found, two.evaluate(systems[k]));
                        checkSame(found, five.evaluate(systems[k]));
                    }
                    catch (const std::exception& problem) {
                        throw std::runtime_error("system " + std::to_string(k) + " (" + kernels->isa + "): " + problem.what());
                    }
                }
            }
        }
        catch (const std::exception& problem) {
            throw std::runtime_error(model.name + ", " + problem.what());
        }
    }
}

/** Groups of all sizes, in no order, some without particles: each as if it were alone. */
void testGroups() {
    const std::vector<NamedModel> models = makeModels();
    for (const char* name : {"schnet-torchmdnet-gaussian", "schnet-repulsion-all-pairs", "schnet-repulsion"}) {
        const ModelSpec& model = findModel(models, name);
        ForceParticles particles = makeParticles(makeConfiguration(31, model, 160, 16, {}));
        Random random(32);
        particles.numGroups = 30;
        for (int& group : particles.groups) {
            group = random.index(3) == 0 ? 4 : random.index(30);
            group = group % 7 == 0 ? 1 : group; // 0, 7, 14... have none
        }
        addExclusions(particles);
        const ForceResults expected = evaluateWitness(model, particles);
        for (const CpuKernels* kernels : getKernels()) {
            Evaluator one(model, *kernels, 1), two(model, *kernels, 2), five(model, *kernels, 5), alone(model, *kernels, 1);
            const ForceResults found = one.evaluate(particles);
            checkResults(expected, found);
            checkSame(found, two.evaluate(particles));
            checkSame(found, five.evaluate(particles));
            std::vector<int> members;
            for (int group = 0; group < particles.numGroups; group++) {
                const ForceResults part = alone.evaluate(takeGroup(particles, group, members));
                for (size_t k = 0; k < members.size(); k++) {
                    CHECK(part.gradient[k] == found.gradient[members[k]]);
                    CHECK(part.repulsionEnergies[k] == found.repulsionEnergies[members[k]]);
                    for (size_t m = 0; m < part.memberEnergies.size(); m++)
                        CHECK(part.memberEnergies[m][k] == found.memberEnergies[m][members[k]]);
                }
            }
        }
    }
}

/** One block of particles, and several; no particles at all. */
void testSizes() {
    SchNetOptions options;
    options.numBlocks = 2;
    options.cutoff = 3;
    const ModelSpec model = makeSchNet(41, options);
    for (const CpuKernels* kernels : getKernels()) {
        Evaluator one(model, *kernels, 1), five(model, *kernels, 5);
        for (const int n : {0, 1, 287, 288, 289, 600}) {
            const ForceParticles particles = makeParticles(makeConfiguration(42 + n, model, n, 1.6 * std::cbrt(n), {}, 0.7));
            const ForceResults found = one.evaluate(particles);
            checkSame(found, five.evaluate(particles));
            checkResults(evaluateWitness(model, particles), found);
        }
    }
}

/** Whatever was evaluated before, and whenever the list was built: the same bits. Nothing is allocated in compute(). */
void testHistory() {
    const std::vector<NamedModel> models = makeModels();
    for (const char* name : {"schnet-torchmdnet-expnormal", "schnet-repulsion", "schnet-repulsion-all-pairs", "several slices"}) {
        const ModelSpec& model = findModel(models, name);
        const bool open = model.repulsion && model.repulsion->cutoff == 0;
        ForceParticles particles =
            makeParticles(makeConfiguration(51, model, 48, 8, open ? std::optional<BoxVectors>() : std::optional<BoxVectors>(makeTriclinicBox(8))), 2);
        addExclusions(particles);
        const CpuKernels& kernels = *getKernels()[0];
        CpuOptions wide = makeOptions(), none = wide, small = wide;
        wide.skin = 0.5;
        none.skin = 0;
        small.neighborCapacity = 1;
        Evaluator one(model, kernels, 1), two(model, kernels, 2, wide), three(model, kernels, 3, none), capacity(model, kernels, 2, small);
        Random random(52);
        bool newParticles = true;
        for (int step = 0; step < 12; step++) {
            const ForceResults found = one.evaluate(particles, newParticles);
            checkSame(found, one.evaluate(particles, false));
            checkSame(found, two.evaluate(particles, newParticles));
            checkSame(found, three.evaluate(particles, newParticles));
            checkSame(found, capacity.evaluate(particles, newParticles));
            const ForceResults energies = two.evaluate(particles, false, false);
            CHECK(found.memberEnergies == energies.memberEnergies);
            CHECK(found.repulsionEnergies == energies.repulsionEnergies);
            CHECK_EQUAL(0.0, getRms(energies.gradient));
            newParticles = false;
            for (Vector3& x : particles.positions)
                for (double& coordinate : x)
                    coordinate += random.uniform(-0.08, 0.08);
            if (step == 5 && particles.box) // whole boxes away, which changes every image
                for (int l = 0; l < 3; l++)
                    particles.positions[3][l] += 5 * (*particles.box)[1][l];
            if (step == 8 && particles.box)
                for (int k = 0; k < 3; k++)
                    for (int l = 0; l < 3; l++)
                        (*particles.box)[k][l] *= 1.01;
        }
        CHECK_EQUAL(0, one.allocations + two.allocations + three.allocations + capacity.allocations);
    }
}

void testCoincidence() {
    const std::vector<NamedModel> models = makeModels();
    const ModelSpec& model = findModel(models, "schnet-repulsion");
    for (const CpuKernels* kernels : getKernels()) {
        Evaluator one(model, *kernels, 1), two(model, *kernels, 2);
        ForceParticles particles = makeParticles(makeConfiguration(61, model, 40, 9, {}), 2);
        const ForceResults good = one.evaluate(particles);
        ForceParticles bad = particles;
        bad.positions[29] = bad.positions[7];
        for (Evaluator* evaluator : {&one, &two})
            CHECK_THROWS(FlashEvaluationError, evaluator->evaluate(bad), "two particles are at the same position: particle 7 at (", "and particle 29 at (");
        // In different groups they do not see each other.
        bad.positions[29] = particles.positions[29];
        bad.positions[28] = bad.positions[7];
        checkResults(evaluateWitness(model, bad), two.evaluate(bad));
        // After an error everything is as before.
        checkSame(good, one.evaluate(particles));
        particles.box = makeTriclinicBox(12);
        for (int l = 0; l < 3; l++)
            particles.positions[31][l] = particles.positions[17][l] - 2 * (*particles.box)[2][l];
        CHECK_THROWS(FlashEvaluationError, two.evaluate(particles), "two particles (or their periodic images) are at the same position: particle 17 at (",
                     "and particle 31 at (");
    }
}

/** Closer than the tables' first knot: counted, and still a smooth function whose gradient is the derivative. */
void testShortDistances() {
    SchNetOptions options;
    options.basis = RadialBasis::ExpNormal;
    options.basisEnvelope = {EnvelopeForm::Cosine, 0};
    const ModelSpec model = makeSchNet(71, options);
    for (const CpuKernels* kernels : getKernels()) {
        Evaluator evaluator(model, *kernels, 1);
        ForceParticles particles = makeParticles(makeConfiguration(72, model, 11, 5, {}));
        auto moveTo = [&](double r) {
            particles.positions[4] = particles.positions[2];
            particles.positions[4][1] += r;
        };
        moveTo(1e-4);
        evaluator.evaluate(particles);
        CHECK_EQUAL(1, evaluator.net.getNumPairsBelowTable());
        // Energies are rounded to single precision: a long difference, summed up in small steps, against the forces along the way.
        double work = 0;
        const double from = 1e-3, to = 0.6;
        const int steps = 400;
        moveTo(from);
        const double first = sum(evaluator.evaluate(particles).memberEnergies[0]);
        moveTo(to);
        const ForceResults last = evaluator.evaluate(particles);
        for (int k = 0; k < steps; k++) {
            moveTo(from + (k + 0.5) * (to - from) / steps);
            work += evaluator.evaluate(particles).gradient[4][1] * (to - from) / steps;
        }
        CHECK_EQUAL(0, evaluator.net.getNumPairsBelowTable());
        CHECK_CLOSE(sum(last.memberEnergies[0]) - first, work, 1e-3, 2e-5);
    }
}

/** Exponents, the switch, every pair of types, exclusions: in double precision. */
void testRepulsion() {
    ModelSpec model = makeModels()[0].spec;
    for (const CpuKernels* kernels : getKernels())
        for (const int exponent : {1, 2, 5, 6, 12, 13, 24})
            for (const double cutoff : {0.0, 2.5, 5.5}) {
                model.repulsion = makeRepulsion(81 + exponent, static_cast<int>(model.types.size()), exponent, cutoff);
                CpuThreads threads = makeTestThreads(3);
                CpuRepulsion repulsion(model, *kernels, threads, {});
                for (const int n : {1, 7, 8, 9, 40}) {
                    ForceParticles particles = makeParticles(
                        makeConfiguration(82 + n, model, n, 6, cutoff > 0 && n % 2 ? std::optional<BoxVectors>(makeTriclinicBox(5.2)) : std::nullopt),
                        n == 40 ? 2 : 1);
                    addExclusions(particles);
                    ForceResults expected = evaluateWitness(model, particles), found = makeResults(model, n);
                    ModelSpec network = model;
                    network.repulsion.reset();
                    const ForceResults networkOnly = evaluateWitness(network, particles);
                    for (int i = 0; i < n; i++)
                        for (int l = 0; l < 3; l++)
                            expected.gradient[i][l] -= networkOnly.gradient[i][l];
                    repulsion.setParticles(particles);
                    repulsion.prepare(particles);
                    threads.run([&](int thread) { repulsion.compute(thread, particles, true, found); });
                    repulsion.finish(particles);
                    CHECK_CLOSE(expected.repulsionEnergies, found.repulsionEnergies, 1e-13, 1e-14);
                    CHECK_CLOSE_TO_RMS(expected.gradient, found.gradient, 1e-12, 1e-12);
                }
            }
    model.repulsion->cutoff = 0;
    CpuThreads threads = makeTestThreads(1);
    CpuRepulsion repulsion(model, *getKernels()[0], threads, {});
    ForceParticles particles = makeParticles(makeConfiguration(83, model, 5, 0, makeTriclinicBox(6)));
    repulsion.setParticles(particles);
    CHECK_THROWS(std::invalid_argument, repulsion.prepare(particles), "all pairs", "periodic box");
}

/** Weights that are half precision numbers already: stored as halves they give the same bits. */
void testHalfWeights() {
    SchNetOptions options;
    options.neighborEmbedding = true;
    ModelSpec model = makeSchNet(91, options);
    SchNetSpec net = std::get<SchNetSpec>(model.network);
    auto round = [](Linear& layer) {
        for (double& weight : layer.weight)
            weight = roundToHalf(weight);
    };
    for (SchNetMember& member : net.members) {
        round(member.neighborEmbedding->combine);
        for (SchNetBlock& block : member.blocks)
            for (Linear* layer : {&block.input, &block.output0, &block.output1})
                round(*layer);
        for (Linear& layer : member.readout)
            round(layer);
    }
    model.network = net;
    const ForceParticles particles = makeParticles(makeConfiguration(92, model, 30, 6, {}));
    CpuOptions half = makeOptions();
    half.compile.halfWeights = true;
    for (const CpuKernels* kernels : getKernels()) {
        const ForceResults found = Evaluator(model, *kernels, 1).evaluate(particles);
        checkSame(found, Evaluator(model, *kernels, 1, half).evaluate(particles));
        checkResults(evaluateWitness(model, particles), found);
    }
}

} // namespace

int main(int argc, char** argv) {
    return runTests(argc, argv,
                    {{"agreement", testAgreement},
                     {"groups", testGroups},
                     {"sizes", testSizes},
                     {"history", testHistory},
                     {"coincidence", testCoincidence},
                     {"short distances", testShortDistances},
                     {"repulsion", testRepulsion},
                     {"half weights", testHalfWeights}});
}
