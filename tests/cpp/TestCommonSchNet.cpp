// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// SchNet on the common-compute platform, beyond what every platform's tests do: all widths, both forms of the filters, every number
// of rows in a tile, half weights, and the same bits in every run, in the three precisions. The witness is the Reference platform.
// FLASH_TEST_PLUGINS names the plugins, FLASH_TEST_PLATFORM the platform (OpenCL unless it is set).
#include "Assertions.h"
#include "ModelWriter.h"
#include "OpenMM.h"
#include "RandomModels.h"
#include "openmmflash/FlashForce.h"
#include <cstdlib>
#include <map>
#include <memory>
#include <thread>

using namespace OpenMM;
using namespace OpenMMFlash;
using namespace OpenMMFlashTests;

namespace {

struct Precision {
    const char* name;
    double energy; ///< allowed, relative to the magnitude of the particles' energies
    double force;  ///< of the RMS force
    double tables; ///< tolerance of the tables: so fine that what is compared is the platform's arithmetic
};
const Precision single = {"single", 2e-6, 2e-5, 2e-7}, mixed = {"mixed", 1e-6, 1e-5, 2e-7}, twice = {"double", 1e-9, 1e-9, 3e-11};
const Precision precisions[] = {single, mixed, twice};

std::string getPlatformName() {
    const char* name = std::getenv("FLASH_TEST_PLATFORM");
    return name == nullptr ? "OpenCL" : name;
}

/** An environment variable, for as long as this lives. */
class Setting {
public:
    Setting(const std::string& name, const std::string& value) : name(name) {
        setenv(name.c_str(), value.c_str(), 1);
    }
    ~Setting() {
        unsetenv(name.c_str());
    }

private:
    const std::string name;
};

/** Groups of particles on random places. */
struct Case {
    ModelSpec model;
    Configuration configuration;
    std::vector<int> groups;
    bool half = false;

    Case(const ModelSpec& model, const std::vector<int>& groupSizes, double boxSize = 0, double size = 6) : model(model) {
        int seed = 17;
        for (size_t group = 0; group < groupSizes.size(); group++) {
            const auto box = boxSize > 0 ? std::optional<BoxVectors>(makeTriclinicBox(boxSize)) : std::nullopt;
            const Configuration part = makeConfiguration(seed++, model, groupSizes[group], size, box, 0.8);
            configuration.box = part.box;
            configuration.types.insert(configuration.types.end(), part.types.begin(), part.types.end());
            configuration.positions.insert(configuration.positions.end(), part.positions.begin(), part.positions.end());
            groups.insert(groups.end(), groupSizes[group], static_cast<int>(group));
        }
    }
};

/** One Context on a case. */
struct Run {
    System system;
    FlashForce* force;
    VerletIntegrator integrator{0.001};
    std::unique_ptr<Context> context;

    Run(const Case& test, const std::string& platform, const Precision& precision) {
        const double unit = test.model.lengthUnit;
        force = new FlashForce(FlashModel::fromBytes(writeModel(test.model, "test")));
        system.addForce(force);
        force->setTableTolerance(precision.tables);
        force->setWeightPrecision(test.half ? FlashForce::Half : FlashForce::Single);
        if (test.configuration.box) {
            force->setUsesPeriodicBoundaryConditions(true);
            Vec3 vectors[3];
            for (int k = 0; k < 3; k++)
                vectors[k] = toVec3((*test.configuration.box)[k]) * unit;
            system.setDefaultPeriodicBoxVectors(vectors[0], vectors[1], vectors[2]);
        }
        std::vector<Vec3> positions;
        for (size_t i = 0; i < test.groups.size(); i++) {
            system.addParticle(12.0);
            force->addParticle(static_cast<int>(i), test.configuration.types[i], test.groups[i]);
            positions.push_back(toVec3(test.configuration.positions[i]) * unit);
        }
        std::map<std::string, std::string> properties;
        if (platform != "Reference")
            properties["Precision"] = precision.name;
        context = std::make_unique<Context>(system, integrator, Platform::getPlatform(platform), properties);
        context->setPositions(positions);
    }
    static Vec3 toVec3(const Position& x) {
        return Vec3(x[0], x[1], x[2]);
    }
    State evaluate() {
        return context->getState(State::Energy | State::Forces);
    }
    /** An entry of the compilation report. */
    std::string getReported(const std::string& key) const {
        const std::string report = force->getCompilationReport(*context), name = "\"" + key + "\":";
        const size_t found = report.find(name);
        CHECK(found != std::string::npos);
        const size_t start = report.find_first_not_of(" \"", found + name.size());
        return report.substr(start, report.find_first_of(",}\"\n", start) - start);
    }
};

void compare(const std::string& name, const Case& test, const Precision& precision, double factor = 1) {
    try {
        Run reference(test, "Reference", precision), run(test, getPlatformName(), precision);
        const State expected = reference.evaluate(), found = run.evaluate();
        double magnitude = 0;
        for (const double energy : reference.force->getParticleEnergies(*reference.context))
            magnitude += std::fabs(energy);
        if (std::getenv("FLASH_TEST_VERBOSE")) {
            double worst = 0;
            for (size_t i = 0; i < expected.getForces().size(); i++)
                for (int k = 0; k < 3; k++)
                    worst = std::max(worst, std::fabs(expected.getForces()[i][k] - found.getForces()[i][k]));
            std::cout << "  " << precision.name << " " << name << ": energy "
                      << std::fabs(expected.getPotentialEnergy() - found.getPotentialEnergy()) / magnitude << ", force " << worst / getRms(expected.getForces())
                      << std::endl;
        }
        CHECK_CLOSE(expected.getPotentialEnergy(), found.getPotentialEnergy(), 0, factor * precision.energy * magnitude);
        CHECK_CLOSE_TO_RMS(expected.getForces(), found.getForces(), factor * precision.force, 0);
        // Energies alone are computed by the same sums.
        CHECK_EQUAL(found.getPotentialEnergy(), run.context->getState(State::Energy).getPotentialEnergy());
    }
    catch (const std::exception& error) {
        throw std::runtime_error(std::string(precision.name) + ", " + name + ": " + error.what());
    }
}

std::vector<NamedModel> makeSchNets() {
    std::vector<NamedModel> models;
    for (const NamedModel& model : makeRandomModels())
        if (std::holds_alternative<SchNetSpec>(model.spec.network) && !model.spec.repulsion)
            models.push_back(model);
    return models;
}

// Every model of other sizes or precision is a program that the driver compiles: that is what these tests take their time for.

/** The Reference platform rounds nothing: weights that are halves already show that none is rounded once more, or misread. */
void roundWeights(Case& test) {
    for (SchNetMember& member : std::get<SchNetSpec>(test.model.network).members) {
        std::vector<Linear*> layers;
        for (SchNetBlock& block : member.blocks)
            layers.insert(layers.end(), {&block.input, &block.output0, &block.output1});
        for (Linear& layer : member.readout)
            layers.push_back(&layer);
        if (member.neighborEmbedding)
            layers.push_back(&member.neighborEmbedding->combine);
        for (Linear* layer : layers)
            for (double& weight : layer->weight)
                weight = std::round(weight * 512) / 512;
    }
    test.half = true;
}

void testDialects() {
    // All of them in each precision are what every platform's tests go through.
    int index = 0;
    for (const NamedModel& model : makeSchNets()) {
        const Precision& precision = precisions[index++ % 3];
        // OpenMM's single precision rounds coordinates that are several images away from the first box.
        compare(model.name, Case(model.spec, {1, 7, 20}, 11), precision, precision.name == std::string("single") ? 2 : 1);
    }
}

void testWidths() {
    const std::pair<int, int> widths[] = {{1, 1}, {2, 33}, {33, 2}, {16, 17}, {64, 96}, {130, 40}, {128, 128}, {70, 300}};
    for (const auto& [hidden, filters] : widths) {
        SchNetOptions options;
        options.hidden = hidden;
        options.filters = filters;
        options.numBlocks = 3;
        const std::string name = "H = " + std::to_string(hidden) + ", F = " + std::to_string(filters);
        compare(name, Case(makeSchNet(5 + hidden, options), {19}), single);
        if (hidden == filters)
            continue;
        options.neighborEmbedding = true;
        options.numBlocks = 1;
        compare("neighbor embedding, " + name, Case(makeSchNet(6 + hidden, options), {19}), hidden % 2 == 0 ? mixed : twice);
    }
}

void testReadouts() {
    SchNetOptions options;
    for (const std::vector<int>& widths : {std::vector<int>{}, {3}, {40, 1, 25}, {7, 6, 5, 4, 3, 2}}) {
        ModelSpec model = makeSchNet(77, options);
        Random random(3);
        std::vector<Linear>& readout = std::get<SchNetSpec>(model.network).members[0].readout;
        readout.clear();
        int inputs = options.hidden;
        for (const int width : widths) {
            readout.push_back(makeLinear(random, width, inputs));
            inputs = width;
        }
        readout.push_back(makeLinear(random, 1, inputs));
        compare(std::to_string(readout.size()) + " layers of the readout", Case(model, {19}), readout.size() == 2 ? twice : single);
    }
}

void testRowsOfATile() {
    SchNetOptions options;
    options.numBlocks = 2;
    for (const int width : {12, 40}) {
        options.hidden = options.filters = width;
        const Case test(makeSchNet(9, options), {37, 3});
        for (const int rows : {1, 2, 4, 8, 16}) {
            const Setting setting("OPENMMFLASH_DEVICE_ROWS", std::to_string(rows));
            const Precision& precision = width > 16 ? single : twice;
            compare(std::to_string(width) + " channels, " + std::to_string(rows) + " rows", test, precision);
            CHECK_EQUAL(std::to_string(rows), Run(test, getPlatformName(), precision).getReported("rowsPerTile"));
        }
    }
}

/** Filters that are sums of no more than rank + 1 functions, to any tolerance: the network's hidden layer goes through a narrow one. */
void narrowFilters(ModelSpec& model, int rank) {
    Random random(11);
    for (SchNetMember& member : std::get<SchNetSpec>(model.network).members)
        for (SchNetBlock& block : member.blocks) {
            const int F = block.filter1.outputs;
            const std::vector<double> in = random.values(rank * F, -1, 1), out = random.values(F * rank, -1, 1);
            for (int c = 0; c < F; c++)
                for (int f = 0; f < F; f++) {
                    double sum = 0;
                    for (int k = 0; k < rank; k++)
                        sum += out[c * rank + k] * in[k * F + f];
                    block.filter1.weight[c * F + f] = sum / F;
                }
        }
}

void testLowRank() {
    const Setting setting("OPENMMFLASH_DEVICE_FILTER", "2");
    SchNetOptions options;
    options.hidden = 20;
    options.filters = 50;
    Case narrow(makeSchNet(8, options), {1, 45}, 12);
    narrowFilters(narrow.model, 5);
    compare("F = 50", narrow, single);
    {
        // 512 KB are enough for all, 45,000 bytes for features in slices, 40,000 for V alone, 12,288 for nothing of the filter. So it is on
        // a processor: tensor cores have V in another form, and devices with many multiprocessors fewer rows in a work-group.
        for (const auto& [bytes, resident] : {std::pair("524288", "\"features\", \"functions\", \"expansion\""),
                                              {"45000", "\"features\", \"functions\", \"expansion\""},
                                              {"40000", "\"expansion\""},
                                              {"12288", ""}}) {
            const Setting memory("OPENMMFLASH_DEVICE_LOCAL_BYTES", bytes);
            compare(std::string("F = 50, ") + bytes + " bytes of local memory", narrow, single);
            const Run run(narrow, getPlatformName(), single);
            const std::string report = run.force->getCompilationReport(*run.context), wanted = "\"filterInLocalMemory\": [" + std::string(resident) + "]";
            const bool known = (getPlatformName() == "OpenCL" && std::thread::hardware_concurrency() <= 8) || bytes == std::string("524288");
            if (known && report.find(wanted) == std::string::npos)
                throw std::runtime_error(bytes + (": expected " + wanted) + " in " + report);
        }
        const Setting memory("OPENMMFLASH_DEVICE_LOCAL_BYTES", "4096");
        CHECK_THROWS(OpenMMException, Run(narrow, getPlatformName(), twice), "4096 bytes of local memory");
    }
    roundWeights(narrow);
    compare("half weights", narrow, mixed);
    options.filters = 140;
    Case wide(makeSchNet(8, options), {1, 45}, 12);
    narrowFilters(wide.model, 20);
    compare("F = 140", wide, twice);
    options.neighborEmbedding = true;
    options.numMembers = 2;
    Case test(makeSchNet(31, options), {40});
    narrowFilters(test.model, 9);
    compare("neighbor embedding", test, single);
    const Run run(test, getPlatformName(), single);
    CHECK_EQUAL(std::string("lowRank"), run.getReported("filter"));
    CHECK_THROWS(OpenMMException, Run(Case(makeSchNet(4, SchNetOptions()), {2}), getPlatformName(), single), "low rank", "7 channels", "use tables");
}

void testHalfWeights() {
    for (const NamedModel& model : makeSchNets())
        for (const Precision& precision : precisions) {
            if (model.name != "schnet-pyg" && model.name != "schnet-torchmdnet-gaussian")
                continue;
            Case test(model.spec, {20});
            roundWeights(test);
            compare(model.name + ", half weights", test, precision);
        }
}

void testSameBits() {
    SchNetOptions options;
    options.hidden = options.filters = 40;
    options.numMembers = 2;
    options.neighborEmbedding = true;
    const Case test(makeSchNet(21, options), {30, 60}, 9);
    for (const Precision& precision : precisions) {
        Run first(test, getPlatformName(), precision);
        const State expected = first.evaluate();
        for (int run = 0; run < 20; run++) {
            // Some in the same Context, some in new ones.
            const State again = run % 4 == 0 ? Run(test, getPlatformName(), precision).evaluate() : first.evaluate();
            CHECK_EQUAL(expected.getPotentialEnergy(), again.getPotentialEnergy());
            for (size_t i = 0; i < test.groups.size(); i++)
                CHECK(expected.getForces()[i] == again.getForces()[i]);
        }
    }
}

void testReport() {
    SchNetOptions options;
    Case test(makeSchNet(4, options), {3});
    test.configuration.positions = {{0, 0, 0}, {1e-4, 0, 0}, {0, 2, 0}};
    Run run(test, getPlatformName(), single);
    CHECK_EQUAL(std::string("0"), run.getReported("pairsBelowFirstKnot")); // nothing was evaluated yet
    run.evaluate();
    CHECK_EQUAL(std::string("1"), run.getReported("pairsBelowFirstKnot"));
    CHECK_EQUAL(std::string("table"), run.getReported("filter"));
    CHECK_EQUAL(std::string("0"), run.getReported("filterRank"));
    const double unit = test.model.lengthUnit;
    run.context->setPositions({Vec3(0, 0, 0), Vec3(2 * unit, 0, 0), Vec3(0, 2 * unit, 0)});
    run.evaluate();
    CHECK_EQUAL(std::string("0"), run.getReported("pairsBelowFirstKnot"));
}

} // namespace

int main(int argc, char** argv) {
    if (const char* plugins = std::getenv("FLASH_TEST_PLUGINS")) { // paths with colons between them
        std::istringstream paths(plugins);
        for (std::string path; std::getline(paths, path, ':');)
            Platform::loadPluginLibrary(path);
    }
    return runTests(argc, argv,
                    {{"dialects", testDialects},
                     {"widths", testWidths},
                     {"readouts", testReadouts},
                     {"rows of a tile", testRowsOfATile},
                     {"low rank", testLowRank},
                     {"half weights", testHalfWeights},
                     {"same bits", testSameBits},
                     {"report", testReport}});
}
