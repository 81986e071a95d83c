// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The tests of FlashForce that every platform must pass: a platform's test calls runFlashForceTests() with its name and
// tolerances. The truth is the OpenMM-free evaluator's on the Reference platform, and finite differences everywhere.
#ifndef OPENMMFLASH_TESTS_TESTFLASHFORCE_H_
#define OPENMMFLASH_TESTS_TESTFLASHFORCE_H_

#include "Assertions.h"
#include "ModelWriter.h"
#include "OpenMM.h"
#include "RandomModels.h"
#include "openmmflash/FlashForce.h"
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <sstream>

namespace OpenMMFlashTests {

using namespace OpenMM;
using namespace OpenMMFlash;

/** What a platform's arithmetic allows. */
struct Tolerances {
    double energy; ///< relative to the magnitude of the particles' energies
    double force;  ///< of the RMS force
};

/** What a platform's test may set besides its name and tolerances. */
struct PlatformOptions {
    std::map<std::string, std::string> properties; ///< of Contexts
    double tableTolerance = 0;                     ///< 0: the default one
    bool singlePositions = false;                  ///< the platform keeps positions in single precision: all Contexts get such ones
    bool roundsHalfWeights = true;                 ///< FlashForce::Half rounds weights, so that one may be too large
    double cancellation = 2;                       ///< how much more rounding is allowed where forces cancel
    double resolution = 0;                         ///< of forces, in kJ/mol/nm, where they are integers
    bool compilesContexts = false;                 ///< a Context is costly: tests that ask the same of each model take some of them
    bool fewContexts = false;                      ///< so costly that only some models, each in one box, are compared with Reference
};

inline std::string platformName;
inline Tolerances tolerances;
inline PlatformOptions options;

/** Whole multiples of 2^-20 nm are numbers of single precision up to 16 nm, and so are their sums and differences. */
inline Vec3 toGrid(const Vec3& x) {
    Vec3 result;
    for (int k = 0; k < 3; k++)
        result[k] = std::nearbyint(std::ldexp(x[k], 20)) / std::ldexp(1.0, 20);
    return result;
}

/** Positions as the platform keeps them, so that configurations are compared which are the same. */
inline Vec3 representable(const Vec3& x) {
    return options.singlePositions ? toGrid(x) : x;
}

/** A System with one FlashForce on a random configuration, and its Context. */
struct TestSystem {
    System system;
    FlashForce* force;
    std::vector<Vec3> positions; ///< nm
    std::unique_ptr<VerletIntegrator> integrator;
    std::unique_ptr<Context> context;

    /** @param boxSize 0: an open system; else about the box's edges, in the model's unit */
    TestSystem(const NamedModel& model, int numParticles, double boxSize, std::uint64_t seed) {
        const auto box = boxSize > 0 ? std::optional<BoxVectors>(makeTriclinicBox(boxSize)) : std::nullopt;
        const Configuration configuration = makeConfiguration(seed, model.spec, numParticles, 4, box, 0.8);
        const double unit = model.spec.lengthUnit;
        force = new FlashForce(FlashModel::fromBytes(writeModel(model.spec, model.name)));
        if (options.tableTolerance > 0)
            force->setTableTolerance(options.tableTolerance);
        system.addForce(force);
        if (box) {
            force->setUsesPeriodicBoundaryConditions(true);
            Vec3 vectors[3];
            for (int i = 0; i < 3; i++)
                vectors[i] = representable(Vec3((*box)[i][0], (*box)[i][1], (*box)[i][2]) * unit);
            system.setDefaultPeriodicBoxVectors(vectors[0], vectors[1], vectors[2]);
        }
        for (int i = 0; i < numParticles; i++) {
            system.addParticle(12.0);
            force->addParticle(i, configuration.types[i]);
            const Vec3 x(configuration.positions[i][0], configuration.positions[i][1], configuration.positions[i][2]);
            positions.push_back(representable(x * unit));
        }
    }

    void makeContext() {
        integrator = std::make_unique<VerletIntegrator>(0.001);
        context = std::make_unique<Context>(system, *integrator, Platform::getPlatform(platformName), options.properties);
        context->setPositions(positions);
    }

    double getEnergy(const std::vector<Vec3>& x) {
        context->setPositions(x);
        return context->getState(State::Energy).getPotentialEnergy();
    }

    std::vector<Vec3> getForces() {
        context->setPositions(positions);
        return context->getState(State::Forces).getForces();
    }
};

/** All random models, or some of each kind where Contexts are costly. */
inline std::vector<NamedModel> someModels() {
    const std::vector<NamedModel> all = makeRandomModels();
    if (!options.compilesContexts)
        return all;
    std::vector<NamedModel> some;
    for (const NamedModel& model : all)
        for (const char* name : {"schnet-mlcg-expnormal", "schnet-torchmdnet-gaussian", "ani-ensemble", "schnet-repulsion"})
            if (model.name == name)
                some.push_back(model);
    CHECK_EQUAL(size_t(4), some.size());
    return some;
}

/** Models whose pair prior reaches over all pairs cannot be periodic. */
inline bool canBePeriodic(const NamedModel& model) {
    return !model.spec.repulsion || model.spec.repulsion->cutoff > 0;
}

inline void testForcesAreTheGradient() {
    for (const NamedModel& model : someModels())
        for (const double box : {0.0, 9.0, 4.0}) {
            if (box > 0 && !canBePeriodic(model))
                continue;
            TestSystem test(model, 8, box, 3);
            test.makeContext();
            const std::vector<Vec3> forces = test.getForces();
            // Along the gradient and along random directions; the step fits the platform's energy resolution.
            Random random(5);
            const double step = std::cbrt(tolerances.energy) * 1e-2;
            for (int trial = 0; trial < 4; trial++) {
                std::vector<Vec3> direction = forces;
                if (trial > 0)
                    for (Vec3& d : direction)
                        d = Vec3(random.uniform(-1, 1), random.uniform(-1, 1), random.uniform(-1, 1));
                double norm = 0, slope = 0, magnitude = 0;
                for (const Vec3& d : direction)
                    norm += d.dot(d);
                norm = std::sqrt(norm);
                std::vector<Vec3> plus = test.positions, minus = test.positions;
                for (size_t i = 0; i < direction.size(); i++) {
                    const Vec3 d = direction[i] / norm;
                    plus[i] = representable(plus[i] + d * step);
                    minus[i] = representable(minus[i] - d * step);
                    slope -= (plus[i] - minus[i]).dot(forces[i]) / (2 * step);
                    magnitude += forces[i].dot(forces[i]);
                }
                const double energyPlus = test.getEnergy(plus), energyMinus = test.getEnergy(minus);
                CHECK_CLOSE((energyPlus - energyMinus) / (2 * step), slope, 0, 1e-3 * std::cbrt(tolerances.energy / 1e-9) * std::sqrt(magnitude));
            }
        }
}

inline void testAgreesWithReference() {
    // On the Reference platform itself this compares a Context with its like; the evaluator has tests of its own.
    const std::vector<double> boxes = options.fewContexts ? std::vector<double>{11.0} : std::vector<double>{0.0, 11.0, 3.6};
    for (const NamedModel& model : options.fewContexts ? someModels() : makeRandomModels())
        for (const double box : boxes) {
            if (box > 0 && !canBePeriodic(model))
                continue;
            TestSystem test(model, 20, box, 4);
            test.makeContext();
            VerletIntegrator integrator(0.001);
            Context reference(test.system, integrator, Platform::getPlatform("Reference"));
            reference.setPositions(test.positions);
            const State expected = reference.getState(State::Energy | State::Forces);
            // Energies of particles may cancel; forces may vanish (a saturated activation in a dense box).
            double magnitude = 0;
            for (const double energy : test.force->getParticleEnergies(reference))
                magnitude += std::fabs(energy);
            try {
                CHECK_CLOSE(expected.getPotentialEnergy(), test.getEnergy(test.positions), 0, tolerances.energy * magnitude);
                // In a box smaller than the cutoff the forces of hundreds of images cancel, and their rounding does not.
                const double cancellation = box > 0 && box < model.spec.getCutoff() ? options.cancellation : 1;
                CHECK_CLOSE_TO_RMS(expected.getForces(), test.getForces(), cancellation * tolerances.force, 1e-3 * tolerances.force + options.resolution);
            }
            catch (const std::runtime_error& error) {
                throw std::runtime_error(model.name + ", box " + std::to_string(box) + ": " + error.what());
            }
        }
}

inline void testGroupsDoNotSeeEachOther() {
    for (const NamedModel& model : someModels()) {
        TestSystem one(model, 7, 0, 6), two(model, 5, 0, 7), both(model, 7, 0, 6);
        for (int i = 0; i < 5; i++) {
            int particle, type, group;
            two.force->getParticleParameters(i, particle, type, group);
            both.force->addParticle(both.system.addParticle(1.0), type, 41);
            two.positions[i] = representable(two.positions[i] + Vec3(0.01, 0.02, 0)); // inside the other group
            both.positions.push_back(two.positions[i]);
        }
        for (TestSystem* test : {&one, &two, &both})
            test->makeContext();
        const double energy1 = one.getEnergy(one.positions), energy2 = two.getEnergy(two.positions);
        CHECK_CLOSE(energy1 + energy2, both.getEnergy(both.positions), tolerances.energy, 1e-9);
        const std::vector<double> groups = both.force->getGroupEnergies(*both.context);
        CHECK_CLOSE(std::vector<double>({energy1, energy2}), groups, tolerances.energy, 1e-9);
        CHECK(both.force->getGroups() == std::vector<int>({0, 41}));
        std::vector<Vec3> expected = one.getForces();
        for (const Vec3& f : two.getForces())
            expected.push_back(f);
        CHECK_CLOSE_TO_RMS(expected, both.getForces(), tolerances.force, 1e-12);
    }
}

inline void testSubsetInAnyOrder() {
    const NamedModel model = makeRandomModels()[11];
    TestSystem plain(model, 9, 0, 8), mixed(model, 9, 0, 8);
    System system;
    auto* force = new FlashForce(mixed.force->getModel());
    force->setTableTolerance(mixed.force->getTableTolerance());
    system.addForce(force);
    std::vector<Vec3> positions(20, Vec3(100, 0, 0));
    for (int i = 0; i < 20; i++) {
        system.addParticle(1.0);
        positions[i] += Vec3(0, i, 0);
    }
    for (int i = 0; i < 9; i++) {
        int particle, type, group;
        mixed.force->getParticleParameters(i, particle, type, group);
        force->addParticle(19 - 2 * i, type);
        positions[19 - 2 * i] = mixed.positions[i];
    }
    plain.makeContext();
    VerletIntegrator integrator(0.001);
    Context context(system, integrator, Platform::getPlatform(platformName), options.properties);
    context.setPositions(positions);
    const State state = context.getState(State::Energy | State::Forces);
    CHECK_CLOSE(plain.getEnergy(plain.positions), state.getPotentialEnergy(), tolerances.energy, 0);
    const std::vector<Vec3> expected = plain.getForces();
    std::vector<Vec3> found;
    for (int i = 0; i < 9; i++)
        found.push_back(state.getForces()[19 - 2 * i]);
    CHECK_CLOSE_TO_RMS(expected, found, tolerances.force, 0);
    for (int i = 0; i < 20; i += 2)
        CHECK(state.getForces()[i] == Vec3());
}

inline void testLatticeTranslations() {
    for (const NamedModel& model : someModels()) {
        if (!canBePeriodic(model))
            continue;
        TestSystem test(model, 10, 7, 9);
        test.makeContext();
        const double energy = test.getEnergy(test.positions);
        const std::vector<Vec3> forces = test.getForces();
        Vec3 box[3];
        test.system.getDefaultPeriodicBoxVectors(box[0], box[1], box[2]);
        Random random(10);
        std::vector<Vec3> moved = test.positions;
        for (Vec3& x : moved)
            for (const Vec3& vector : box)
                x += vector * (random.index(9) - 4);
        CHECK_CLOSE(energy, test.getEnergy(moved), tolerances.energy, 1e-9);
        CHECK_CLOSE_TO_RMS(forces, test.context->getState(State::Forces).getForces(), 2 * tolerances.force, 1e-9);
    }
}

inline void testFewParticles() {
    for (const NamedModel& model : someModels())
        for (const int count : {0, 1, 2}) {
            TestSystem test(model, count, 0, 11);
            for (int other = 0; other < 3; other++) { // OpenMM allows no empty System, and PoCL crashes on one of a single particle
                test.system.addParticle(1.0);
                test.positions.emplace_back(5, 5, 5);
            }
            test.makeContext();
            const double energy = test.getEnergy(test.positions);
            CHECK(std::isfinite(energy));
            if (count == 0)
                CHECK_EQUAL(0.0, energy);
            const std::vector<Vec3> forces = test.getForces();
            CHECK(forces.back() == Vec3());
            if (count == 1)
                CHECK(forces[0] == Vec3());
            // Far apart, two particles are two single ones.
            if (count == 2) {
                test.positions[1] = test.positions[0] + Vec3(1000, 0, 0);
                const std::vector<double> particles = (test.getEnergy(test.positions), test.force->getParticleEnergies(*test.context));
                CHECK_CLOSE(0.0, std::sqrt(test.getForces()[0].dot(test.getForces()[0])), 0, 1e-9);
                CHECK_CLOSE(particles[0] + particles[1], test.getEnergy(test.positions), tolerances.energy, 1e-9);
            }
        }
}

inline void testEnergiesInParts() {
    for (const NamedModel& model : someModels()) {
        TestSystem test(model, 9, 0, 12);
        for (int i = 0; i < 9; i++) {
            int particle, type, group;
            test.force->getParticleParameters(i, particle, type, group);
            test.force->setParticleParameters(i, particle, type, i % 3);
        }
        test.force->addGlobalParameter("scale", 0.7);
        test.makeContext();
        const double energy = test.getEnergy(test.positions), absolute = 1e-9 + tolerances.energy * std::fabs(energy);
        auto sum = [](const std::vector<double>& values) {
            double total = 0;
            for (const double value : values)
                total += value;
            return total;
        };
        CHECK_CLOSE(energy, sum(test.force->getParticleEnergies(*test.context)), 0, absolute);
        CHECK_CLOSE(energy, sum(test.force->getGroupEnergies(*test.context)), 0, absolute);
        const std::vector<double> members = test.force->getMemberEnergies(*test.context);
        CHECK_EQUAL(static_cast<size_t>(model.spec.numMembers), members.size());
        CHECK_CLOSE(energy, sum(members) / model.spec.numMembers, 0, absolute);
        const std::vector<double> deviation = test.force->getEnsembleDeviation(*test.context);
        CHECK_EQUAL(size_t(3), deviation.size());
        for (const double value : deviation)
            CHECK(model.spec.numMembers == 1 ? value == 0 : value > 0);
    }
}

inline void testGlobalParameters() {
    TestSystem test(makeRandomModels()[0], 6, 0, 13);
    test.force->addGlobalParameter("lambda", 0.25);
    test.force->addGlobalParameter("mu", 2.0);
    test.force->addEnergyParameterDerivative("lambda");
    test.makeContext();
    test.context->setParameter("lambda", 1);
    test.context->setParameter("mu", 1);
    const double full = test.getEnergy(test.positions);
    const std::vector<Vec3> forces = test.getForces();
    test.context->setParameter("lambda", 0.5);
    test.context->setParameter("mu", 3);
    CHECK_CLOSE(1.5 * full, test.getEnergy(test.positions), tolerances.energy, 0);
    std::vector<Vec3> scaled = forces;
    for (Vec3& f : scaled)
        f *= 1.5;
    CHECK_CLOSE_TO_RMS(scaled, test.getForces(), tolerances.force, 0);
    // At zero, too, the derivative is the energy times the other parameter.
    test.context->setParameter("lambda", 0);
    const State state = test.context->getState(State::Energy | State::ParameterDerivatives);
    CHECK_EQUAL(0.0, state.getPotentialEnergy());
    CHECK_CLOSE(3 * full, state.getEnergyParameterDerivatives().at("lambda"), tolerances.energy, 0);
}

inline void testUpdateParameters() {
    const std::vector<NamedModel> models = makeRandomModels();
    TestSystem test(models[14], 8, 0, 14); // with a pair prior
    test.makeContext();
    const double before = test.getEnergy(test.positions);
    int particle, type, group;
    test.force->getParticleParameters(2, particle, type, group);
    test.force->setParticleParameters(2, particle, type == 0 ? 3 : 0, 5);
    test.force->addPairExclusion(0, 1);
    CHECK_EQUAL(before, test.getEnergy(test.positions));
    test.force->updateParametersInContext(*test.context);
    const double updated = test.getEnergy(test.positions);
    CHECK(std::fabs(updated - before) > 1e-3);
    test.context->reinitialize();
    CHECK_CLOSE(updated, test.getEnergy(test.positions), tolerances.energy, 0);
    test.force->addParticle(0, 0);
    CHECK_THROWS(OpenMMException, test.force->updateParametersInContext(*test.context), "particle 8 has System index 0", "particle 0");
}

/** A platform that cannot take new parameters evaluates nothing with half of them, and takes the next ones. */
inline void testFailedUpdate() {
    NamedModel model;
    for (const NamedModel& one : makeRandomModels())
        if (model.name.empty() && std::holds_alternative<AniSpec>(one.spec.network))
            model = one;
    auto& networks = std::get<AniSpec>(model.spec.network).networks;
    const int last = static_cast<int>(networks[0].size()) - 1;
    networks[0][static_cast<size_t>(last)][0].weight[0] = 1e5; // no half precision number
    TestSystem test(model, 6, 0, 20);
    for (int i = 0; i < 6; i++)
        test.force->setParticleParameters(i, i, 0, 0);
    test.force->setWeightPrecision(FlashForce::Half);
    test.makeContext();
    const double before = test.getEnergy(test.positions);
    test.force->setParticleParameters(2, 2, last, 0);
    if (!options.roundsHalfWeights)
        test.force->updateParametersInContext(*test.context); // takes any weight
    else {
        CHECK_THROWS(OpenMMException, test.force->updateParametersInContext(*test.context), "FlashForce: ", "1e+05", "65504");
        CHECK_THROWS(OpenMMException, test.getEnergy(test.positions), "FlashForce: ", "could not be updated", "updateParametersInContext()", "65504");
        CHECK_THROWS(OpenMMException, test.force->getGroupEnergies(*test.context), "could not be updated");
    }
    test.force->setParticleParameters(2, 2, 0, 0);
    test.force->updateParametersInContext(*test.context);
    CHECK_EQUAL(before, test.getEnergy(test.positions));
}

inline void testPairPriorLeftOut() {
    const NamedModel with = makeRandomModels()[15]; // a prior over all pairs
    NamedModel without = with;
    without.spec.repulsion.reset();
    TestSystem all(with, 7, 0, 18), none(without, 7, 0, 18), left(with, 7, 0, 18), periodic(with, 7, 9, 18);
    left.force->addPairExclusion(0, 1);
    left.force->setUsesPairPrior(false);
    for (TestSystem* test : {&all, &none, &left})
        test->makeContext();
    CHECK(std::fabs(all.getEnergy(all.positions) - none.getEnergy(none.positions)) > 1e-3);
    CHECK_CLOSE(none.getEnergy(none.positions), left.getEnergy(left.positions), tolerances.energy, 0);
    CHECK_CLOSE_TO_RMS(none.getForces(), left.getForces(), tolerances.force, 0);
    CHECK_THROWS(OpenMMException, periodic.makeContext(), "no cutoff");
    periodic.force->setUsesPairPrior(false);
    periodic.makeContext();
}

inline void testEnergiesNeedPositions() {
    TestSystem test(makeRandomModels()[0], 1, 0, 19);
    VerletIntegrator integrator(0.001);
    Context context(test.system, integrator, Platform::getPlatform(platformName), options.properties);
    CHECK_THROWS(OpenMMException, test.force->getGroupEnergies(context), "positions");
}

inline void testMoleculesDoNotAge() {
    // Positions far from those of the first call, and back: nothing that was kept between calls may change a result.
    TestSystem test(makeRandomModels()[1], 12, 0, 15);
    test.makeContext();
    const double energy = test.getEnergy(test.positions);
    const std::vector<Vec3> forces = test.getForces();
    std::vector<Vec3> moved = test.positions;
    for (size_t i = 0; i < moved.size(); i++)
        moved[i] = moved[i] * (1 + 0.3 * static_cast<double>(i)) + Vec3(3, -2, 1);
    test.getEnergy(moved);
    CHECK_EQUAL(energy, test.getEnergy(test.positions));
    CHECK(forces == test.getForces());
}

inline void testWrongForces() {
    const NamedModel schnet = makeRandomModels()[0], prior = makeRandomModels()[15];
    auto fails = [](const NamedModel& model, const std::function<void(TestSystem&)>& change, const std::vector<std::string>& texts, const Location& where) {
        TestSystem test(model, 4, 0, 16);
        change(test);
        checkThrows<OpenMMException>([&]() { test.makeContext(); }, texts, where);
    };
    fails(schnet, [](TestSystem& t) { t.force->addParticle(9, 0); }, {"particle 4", "index 9", "0 to 3"}, FLASH_HERE);
    fails(schnet, [](TestSystem& t) { t.force->addParticle(-1, 0); }, {"index -1"}, FLASH_HERE);
    fails(schnet, [](TestSystem& t) { t.force->addParticle(2, 0); }, {"particle 4", "index 2", "particle 2"}, FLASH_HERE);
    fails(schnet, [](TestSystem& t) { t.force->setParticleParameters(1, 1, 17, 0); }, {"type 17", "0=H"}, FLASH_HERE);
    fails(schnet, [](TestSystem& t) { t.force->setParticleParameters(1, 1, 1, 0); }, {"type 1;"}, FLASH_HERE); // an index that is not a type
    fails(schnet, [](TestSystem& t) { t.force->setParticleParameters(1, 1, 0, -2); }, {"group -2"}, FLASH_HERE);
    fails(schnet, [](TestSystem& t) { t.force->addPairExclusion(0, 1); }, {"no pair prior"}, FLASH_HERE);
    fails(prior, [](TestSystem& t) { t.force->addPairExclusion(0, 9); }, {"9 is not a particle"}, FLASH_HERE);
    fails(prior, [](TestSystem& t) { t.force->addPairExclusion(3, 3); }, {"from itself"}, FLASH_HERE);
    fails(
        prior,
        [](TestSystem& t) {
            t.force->addPairExclusion(0, 1);
            t.force->addPairExclusion(1, 0);
        },
        {"twice"}, FLASH_HERE);
    fails(prior, [](TestSystem& t) { t.force->setUsesPeriodicBoundaryConditions(true); }, {"no cutoff"}, FLASH_HERE);
    fails(
        schnet,
        [](TestSystem& t) {
            t.force->setUsesPeriodicBoundaryConditions(true);
            t.system.setDefaultPeriodicBoxVectors(Vec3(0.01, 0, 0), Vec3(0, 2, 0), Vec3(0, 0, 2));
        },
        {"0.01", "0.5"}, FLASH_HERE);
    fails(
        schnet,
        [](TestSystem& t) {
            t.force->addGlobalParameter("a", 1);
            t.force->addGlobalParameter("a", 1);
        },
        {"\"a\""}, FLASH_HERE);
    TestSystem test(schnet, 4, 0, 17);
    CHECK_THROWS(OpenMMException, test.force->setTableTolerance(0.5), "0.5");
    CHECK_THROWS(OpenMMException, test.force->addEnergyParameterDerivative("none"), "\"none\"");
    CHECK_THROWS(OpenMMException, test.force->setParticleParameters(4, 0, 0, 0), "particle 4");
    CHECK_THROWS(OpenMMException, test.force->getGlobalParameterName(0), "global parameter 0");
    test.makeContext();
    test.positions[3] = test.positions[1];
    CHECK_THROWS(OpenMMException, test.getEnergy(test.positions), "same position", "1", "3");
}

/** @return the exit status, for main() */
inline int runFlashForceTests(const std::string& platform, const Tolerances& allowed, const PlatformOptions& more, int argc, char** argv) {
    platformName = platform;
    tolerances = allowed;
    options = more;
    if (const char* plugins = std::getenv("FLASH_TEST_PLUGINS")) { // paths with colons between them
        std::istringstream paths(plugins);
        for (std::string path; std::getline(paths, path, ':');)
            Platform::loadPluginLibrary(path);
    }
    return runTests(argc, argv,
                    {{"forces are the gradient", testForcesAreTheGradient},
                     {"agrees with Reference", testAgreesWithReference},
                     {"groups do not see each other", testGroupsDoNotSeeEachOther},
                     {"subset in any order", testSubsetInAnyOrder},
                     {"lattice translations", testLatticeTranslations},
                     {"few particles", testFewParticles},
                     {"energies in parts", testEnergiesInParts},
                     {"global parameters", testGlobalParameters},
                     {"update parameters", testUpdateParameters},
                     {"failed update", testFailedUpdate},
                     {"pair prior left out", testPairPriorLeftOut},
                     {"energies need positions", testEnergiesNeedPositions},
                     {"molecules do not age", testMoleculesDoNotAge},
                     {"wrong forces", testWrongForces}});
}

} // namespace OpenMMFlashTests

#endif
