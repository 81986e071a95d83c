// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// ANI on the platforms that share platforms/common, in all three precisions; the witness is a Context on the Reference platform.
// FLASH_TEST_PLATFORM names the platform (OpenCL if it is not set), FLASH_TEST_PLUGINS the libraries to load, with colons between them.
#include "AniModels.h"
#include "Assertions.h"
#include "ModelWriter.h"
#include "OpenMM.h"
#include "openmmflash/FlashForce.h"
#include "openmmflash/internal/CompiledModel.h"
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <sstream>

using namespace OpenMM;
using namespace OpenMMFlash;
using namespace OpenMMFlashTests;

namespace {

struct Precision {
    std::string name;
    double energy, force; ///< relative to the particles' energies; of the RMS force
};
const std::vector<Precision> Precisions = {{"single", 2e-6, 2e-5}, {"mixed", 1e-6, 1e-5}, {"double", 1e-9, 1e-9}};
/** A coordinate that a float has exactly, so that no platform sees another one. */
constexpr double Grid = 1.0 / (1 << 20);

double round(double x) {
    return std::round(x / Grid) * Grid;
}

std::string getPlatformName() {
    const char* name = std::getenv("FLASH_TEST_PLATFORM");
    return name ? name : "OpenCL";
}

/** A System whose only force is a FlashForce on a configuration. */
struct Case {
    System system;
    FlashForce* force;
    std::vector<Vec3> positions;

    Case(const ModelSpec& model, const Configuration& configuration, int numGroups = 1) {
        force = new FlashForce(FlashModel::fromBytes(writeModel(model, "random")));
        system.addForce(force);
        const double unit = model.lengthUnit;
        if (configuration.box) {
            Vec3 vectors[3];
            for (int i = 0; i < 3; i++)
                for (int k = 0; k < 3; k++)
                    vectors[i][k] = round((*configuration.box)[i][k] * unit);
            system.setDefaultPeriodicBoxVectors(vectors[0], vectors[1], vectors[2]);
            force->setUsesPeriodicBoundaryConditions(true);
        }
        for (size_t i = 0; i < configuration.types.size(); i++) {
            system.addParticle(1.0);
            force->addParticle(static_cast<int>(i), configuration.types[i], static_cast<int>(i * 7) % numGroups);
            const BoxVectors::value_type& x = configuration.positions[i];
            positions.emplace_back(round(x[0] * unit), round(x[1] * unit), round(x[2] * unit));
        }
        system.addParticle(1.0); // a bystander: OpenMM's kinetic energy of a single particle crashes in PoCL 3.1
        positions.emplace_back(1, 2, 3);
    }
};

/** What a Context gives. */
struct Results {
    double energy = 0;
    std::vector<double> particles;
    std::vector<Vec3> forces;
};

class Evaluator {
public:
    Evaluator(Case& test, const std::string& platformName, const std::string& precision = "")
        : test(test), integrator(0.001),
          context(test.system, integrator, Platform::getPlatform(platformName),
                  precision.empty() ? std::map<std::string, std::string>() : std::map<std::string, std::string>{{"Precision", precision}}) {}
    Results evaluate(const std::vector<Vec3>& positions) {
        context.setPositions(positions);
        const State state = context.getState(State::Energy | State::Forces);
        return {state.getPotentialEnergy(), test.force->getParticleEnergies(context), state.getForces()};
    }
    void update() {
        test.force->updateParametersInContext(context);
    }

private:
    Case& test;
    VerletIntegrator integrator;
    Context context;
};

void checkResults(const Results& expected, const Results& found, const Precision& precision, double factor = 1) {
    double magnitude = 0;
    for (const double energy : expected.particles)
        magnitude += std::fabs(energy);
    CHECK_CLOSE(expected.energy, found.energy, 0, precision.energy * magnitude);
    // OpenMM's force buffers hold multiples of 2^-32 kJ/mol/nm; a force is the sum of some dozens of rounded parts.
    CHECK_CLOSE_TO_RMS(expected.forces, found.forces, factor * precision.force, 1e-8);
}

/** To the last bit. */
void checkSame(const Results& expected, const Results& found) {
    CHECK_EQUAL(expected.energy, found.energy);
    CHECK(expected.particles == found.particles);
    CHECK(expected.forces == found.forces);
}

void forEachPrecision(const std::function<void(const Precision&)>& test) {
    for (const Precision& precision : Precisions) {
        try {
            test(precision);
        }
        catch (const std::exception& exception) {
            throw std::runtime_error(precision.name + ": " + exception.what());
        }
    }
}

void checkCase(Case& test, double factor = 1) {
    const Results expected = Evaluator(test, "Reference").evaluate(test.positions);
    forEachPrecision([&](const Precision& precision) {
        Evaluator evaluator(test, getPlatformName(), precision.name);
        checkResults(expected, evaluator.evaluate(test.positions), precision, factor);
    });
}

/** Another shape of every network's hidden layers; the first one's inputs stay. */
ModelSpec reshape(ModelSpec model, const std::vector<int>& widths) {
    AniSpec net = std::get<AniSpec>(model.network);
    Random random(7);
    for (auto& networks : net.networks)
        for (auto& layers : networks) {
            int inputs = layers[0].inputs;
            layers.clear();
            for (const int width : widths) {
                layers.push_back(makeLinear(random, width, inputs));
                inputs = width;
            }
            layers.push_back(makeLinear(random, 1, inputs));
        }
    model.network = net;
    return model;
}

/** Particles in all the places that can matter, for one model; the shared tests have more models. */
void testPlaces() {
    const ModelSpec model = makeAniLikeModel(50, false, 2);
    const double cutoff = model.getCutoff();
    std::vector<std::pair<std::string, Configuration>> places;
    places.emplace_back("open", makeConfiguration(1, model, 23, 6, {}));
    places.emplace_back("large box", makeConfiguration(2, model, 40, 0, makeTriclinicBox(2.2 * cutoff)));
    places.emplace_back("small box", makeConfiguration(3, model, 6, 0, makeTriclinicBox(0.75 * cutoff)));
    places.emplace_back("own images", makeConfiguration(4, model, 1, 0, makeTriclinicBox(0.6 * cutoff)));
    places.emplace_back("one particle", makeConfiguration(5, model, 1, 5, {}));
    places.emplace_back("two particles", makeConfiguration(6, model, 2, 1.5, {}));
    Configuration line = makeConfiguration(7, model, 5, 6, {});
    for (int i = 0; i < 5; i++)
        line.positions[i] = {1.2 * i, 0, 0};
    places.emplace_back("line", line);
    Configuration apart = makeConfiguration(8, model, 5, 6, {});
    for (int i = 0; i < 5; i++)
        apart.positions[i] = {30.0 * (i / 2), i % 2 * 4.0, 0}; // pairs beyond the angular cutoff, and one alone
    places.emplace_back("apart", apart);
    Configuration single = makeConfiguration(9, model, 19, 5, {});
    std::fill(single.types.begin(), single.types.end(), 6);
    places.emplace_back("one type", single);
    for (const auto& [name, configuration] : places)
        for (const int numGroups : {1, 3}) {
            if (numGroups > static_cast<int>(configuration.types.size()))
                continue;
            try {
                Case test(model, configuration, numGroups);
                checkCase(test, configuration.box && configuration.types.size() < 10 ? 2 : 1); // forces of many images cancel, their rounding does not
            }
            catch (const std::exception& exception) {
                throw std::runtime_error(name + ", " + std::to_string(numGroups) + " groups: " + exception.what());
            }
        }
}

/** Numbers of terms, layers, widths, members and types that fit no tile, and more than fit local memory or one pass. */
void testShapes() {
    std::vector<NamedModel> models;
    models.push_back({"eight angles", makeAniLikeModel(60, true, 2)});
    models.push_back({"one term", makeOddModel(70, 1, 1, 1, 1, 1, 3)});
    models.push_back({"5 angles, 3 shells", makeOddModel(80, 1, 1, 3, 5, 17, 2)});
    models.push_back({"no hidden layer", makeOddModel(90, 2, 3, 3, 3, 5, 1)});
    models.push_back({"long AEV: 34 angles, 38 shells", makeOddModel(100, 2, 2, 19, 17, 19, 4)});
    models.push_back({"wide layers", reshape(makeAniLikeModel(50, false, 1), {300, 7, 650, 129, 128})});
    AniOptions options;
    options.numMembers = 64;
    models.push_back({"64 members", makeAni(110, options)});
    options.numMembers = 1;
    options.names.clear();
    for (int type = 0; type < 17; type++)
        options.names.push_back("t" + std::to_string(type));
    models.push_back({"17 types", makeAni(120, options)});
    for (const NamedModel& model : models) {
        try {
            Case test(model.spec, makeConfiguration(11, model.spec, 41, 7, {}), 2);
            checkCase(test);
        }
        catch (const std::exception& exception) {
            throw std::runtime_error(model.name + ": " + exception.what());
        }
    }
}

/** Rows of more neighbours than a work-group has threads, of 250 of them within the angular cutoff. */
void testManyNeighbors() {
    const ModelSpec model = makeAniLikeModel(50, false, 1);
    for (const auto& [size, numParticles] : {std::pair<double, int>{6, 60}, {2.7, 30}}) {
        const Configuration configuration = makeConfiguration(7, model, numParticles, 0, makeTriclinicBox(size), 0.6);
        Case test(model, configuration);
        checkCase(test, 2);
    }
}

/** Tiles of every size, tasks of one member and of several, and a work-group that is alone and so has more threads. */
void testManyAtoms() {
    const ModelSpec wide = reshape(makeAniLikeModel(50, false, 1), {300, 7, 200});
    Configuration alone = makeConfiguration(8, wide, 13, 4, {}, 1.2);
    std::fill(alone.types.begin(), alone.types.end(), 1);
    Case single(wide, alone);
    checkCase(single);
    const ModelSpec model = makeAniLikeModel(50, false, 8);
    for (const int numParticles : {90, 700}) {
        Case test(model, makeConfiguration(8, model, numParticles, 20, {}, 1.2), 2);
        checkCase(test);
    }
    // As where a work-group has less local memory.
    setenv("OPENMMFLASH_DEVICE_LOCAL_BYTES", "32768", 1);
    checkCase(single);
    Case test(model, makeConfiguration(8, model, 90, 20, {}, 1.2), 2);
    checkCase(test);
    unsetenv("OPENMMFLASH_DEVICE_LOCAL_BYTES");
}

/** Where there is no memory for longer rows, the evaluation fails, and no other one. */
void testMemoryRunsOut() {
    if (getPlatformName() != "OpenCL") {
        std::cout << "SKIP MemoryRunsOut: libGuardedBuffers.so is between the program and OpenCL only" << std::endl;
        return;
    }
    const char* preloaded = std::getenv("LD_PRELOAD");
    if (preloaded == nullptr || std::string(preloaded).find("GuardedBuffers") == std::string::npos)
        throw std::runtime_error("this test needs libGuardedBuffers.so in LD_PRELOAD");
    const ModelSpec model = makeAniLikeModel(50, false, 1);
    Case test(model, makeConfiguration(11, model, 200, 60, {}, 4));
    std::vector<Vec3> dense = test.positions;
    for (Vec3& x : dense)
        x *= 0.3;
    setenv("OPENMMFLASH_DEVICE_CAPACITY", "1", 1);
    Evaluator evaluator(test, getPlatformName(), "single");
    unsetenv("OPENMMFLASH_DEVICE_CAPACITY");
    const Results expected = evaluator.evaluate(test.positions);
    setenv("FLASH_TEST_LARGEST_BUFFER", "60000", 1);
    for (int run = 0; run < 2; run++) {
        CHECK_THROWS(OpenMMException, evaluator.evaluate(dense), "Error creating array");
        checkSame(expected, evaluator.evaluate(test.positions));
    }
    unsetenv("FLASH_TEST_LARGEST_BUFFER");
    checkResults(Evaluator(test, "Reference").evaluate(dense), evaluator.evaluate(dense), Precisions[0]);
    checkSame(expected, evaluator.evaluate(test.positions));
}

/** The same bits in every run, whatever was evaluated before, however old the neighbour list is, and with energies alone. */
void testSameBits() {
    const ModelSpec model = makeAniLikeModel(50, false, 3);
    Case test(model, makeConfiguration(9, model, 50, 0, makeTriclinicBox(9)), 2);
    forEachPrecision([&](const Precision& precision) {
        Evaluator evaluator(test, getPlatformName(), precision.name), other(test, getPlatformName(), precision.name);
        std::vector<Vec3> moved = test.positions;
        const Results expected = evaluator.evaluate(test.positions);
        Random random(3);
        for (int run = 0; run < 20; run++) {
            for (Vec3& x : moved)
                for (int k = 0; k < 3; k++)
                    x[k] = round(x[k] + random.uniform(-0.01, 0.01));
            const Results there = evaluator.evaluate(moved);
            checkSame(expected, evaluator.evaluate(test.positions));
            if (run % 5 == 0)
                checkSame(there, other.evaluate(moved));
        }
    });
}

/** Other types than those that were compiled, fewer of them and more, and back. */
void testOtherTypes() {
    const ModelSpec model = makeAniLikeModel(50, false, 2);
    Case test(model, makeConfiguration(10, model, 30, 6, {}));
    forEachPrecision([&](const Precision& precision) {
        for (int i = 0; i < 30; i++)
            test.force->setParticleParameters(i, i, i % 3, 0);
        Evaluator evaluator(test, getPlatformName(), precision.name);
        const Results first = evaluator.evaluate(test.positions);
        for (const int numTypes : {7, 1, 4, 3}) {
            for (int i = 0; i < 30; i++)
                test.force->setParticleParameters(i, i, 6 - i % numTypes, i % 2);
            evaluator.update();
            checkResults(Evaluator(test, "Reference").evaluate(test.positions), evaluator.evaluate(test.positions), precision);
        }
        for (int i = 0; i < 30; i++)
            test.force->setParticleParameters(i, i, i % 3, 0);
        evaluator.update();
        checkSame(first, evaluator.evaluate(test.positions));
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
    const Configuration configuration = makeConfiguration(12, model, 60, 8, {});
    Case test(model, configuration), witness(rounded, configuration);
    test.force->setWeightPrecision(FlashForce::Half);
    const Results expected = Evaluator(witness, "Reference").evaluate(test.positions);
    forEachPrecision([&](const Precision& precision) {
        Evaluator evaluator(test, getPlatformName(), precision.name);
        checkResults(expected, evaluator.evaluate(test.positions), precision);
    });
}

} // namespace

int main(int argc, char** argv) {
    if (const char* plugins = std::getenv("FLASH_TEST_PLUGINS")) {
        std::istringstream paths(plugins);
        for (std::string path; std::getline(paths, path, ':');)
            Platform::loadPluginLibrary(path);
    }
    return runTests(argc, argv,
                    {{"Places", testPlaces},
                     {"Shapes", testShapes},
                     {"ManyNeighbors", testManyNeighbors},
                     {"ManyAtoms", testManyAtoms},
                     {"MemoryRunsOut", testMemoryRunsOut},
                     {"SameBits", testSameBits},
                     {"OtherTypes", testOtherTypes},
                     {"HalfWeights", testHalfWeights}});
}
