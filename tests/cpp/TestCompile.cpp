// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Compiled models: tables against the formulas of the documentation between their knots, pruned networks against whole ones, half
// precision numbers against a list of all of them.
#include "Assertions.h"
#include "TextbookModels.h"
#include "model/Json.h"
#include "openmmflash/internal/CompiledModel.h"
#include <algorithm>
#include <cstring>

using namespace OpenMMFlash;
using namespace OpenMMFlashTests;

namespace {

// ---- the functions that become tables ----

/** Number of a member's table: a block's, or with -1 the neighbor embedding's. */
Values getEdgeFunction(const SchNetSpec& net, const SchNetMember& member, int block, double r) {
    Values e, result;
    for (int k = 0; k < net.basisSize; k++) {
        const bool gaussian = net.basis == RadialBasis::Gaussian;
        const double x = (gaussian ? r : std::exp(net.basisAlpha * (net.basisLower - r))) - member.means[k];
        e.push_back(envelopeFunction(net.basisEnvelope, net.cutoff, r) * std::exp((gaussian ? 1 : -1) * member.widths[k] * x * x));
    }
    if (block < 0)
        result = multiply(member.neighborEmbedding->projection, e);
    else {
        Values hidden = multiply(member.blocks[block].filter0, e);
        for (double& value : hidden)
            value = activationFunction(net.activation, value);
        result = multiply(member.blocks[block].filter1, hidden);
    }
    for (double& value : result)
        value *= envelopeFunction(net.filterEnvelope, net.cutoff, r);
    return result;
}

struct TableCase {
    const SchNetSpec* net;
    const SchNetMember* member;
    int block;
    const RadialTable* table;
    const RadialGrid* grid;
    Values exact(double r) const {
        return getEdgeFunction(*net, *member, block, r);
    }
    /** Differences of fourth order; not within 2 h of a kink or of the cutoff. */
    Values exactDerivative(double r) const {
        const double h = 5e-4 * net->cutoff / 5;
        const Values a = exact(r - 2 * h), b = exact(r - h), c = exact(r + h), d = exact(r + 2 * h);
        Values derivative;
        for (size_t k = 0; k < a.size(); k++)
            derivative.push_back((8 * (c[k] - b[k]) - (d[k] - a[k])) / (12 * h));
        return derivative;
    }
    bool isSmooth(double r) const {
        const double margin = 1.1e-3 * net->cutoff / 5;
        bool smooth = r > margin && r < net->cutoff - margin;
        for (const double lower : {net->basisEnvelope.lower, net->filterEnvelope.lower})
            smooth = smooth && std::fabs(r - lower) > margin;
        return smooth;
    }
    Values value(double r) const {
        Values values(table->channels);
        table->evaluate(*grid, r, values.data(), nullptr);
        return values;
    }
    Values derivative(double r) const {
        Values values(table->channels), derivatives(table->channels);
        table->evaluate(*grid, r, values.data(), derivatives.data());
        return derivatives;
    }
};

/** Dialects beyond those of the random models: envelopes whose second derivatives jump at two places, and none at all. */
std::vector<NamedModel> makeSchNets() {
    std::vector<NamedModel> models;
    for (const NamedModel& model : makeRandomModels())
        if (std::holds_alternative<SchNetSpec>(model.spec.network) && !model.spec.repulsion)
            models.push_back(model);
    CHECK(models.size() > 10);
    auto add = [&](const std::string& name, Envelope basis, Envelope filter) {
        SchNetOptions options;
        options.basisEnvelope = basis;
        options.filterEnvelope = filter;
        options.neighborEmbedding = true;
        options.numBlocks = 1;
        models.push_back({name, makeSchNet(3000 + models.size(), options)});
    };
    add("two-lower-bounds", {EnvelopeForm::Cosine, 1.7}, {EnvelopeForm::Cosine, 0.8});
    add("lower-bound-of-the-filter-only", {EnvelopeForm::None, 0}, {EnvelopeForm::Cosine, 0.8});
    add("lower-bound-of-the-basis-below", {EnvelopeForm::Cosine, 0.8}, {EnvelopeForm::Cosine, 1.7});
    add("tiny-lower-bound", {EnvelopeForm::Cosine, 0.02}, {EnvelopeForm::None, 0});
    add("no-envelope", {EnvelopeForm::None, 0}, {EnvelopeForm::None, 0});
    return models;
}

const SchNetSpec& getSchNet(const NamedModel& model) {
    return std::get<SchNetSpec>(model.spec.network);
}

CompileOptions makeOptions(double tolerance) {
    CompileOptions options;
    options.tableTolerance = tolerance;
    return options;
}

void forEachTable(const NamedModel& model, const CompiledSchNet& compiled, const std::function<void(const TableCase&)>& test) {
    const SchNetSpec& net = getSchNet(model);
    CHECK_EQUAL(net.members.size(), compiled.members.size());
    for (size_t m = 0; m < net.members.size(); m++) {
        CHECK_EQUAL(net.members[m].blocks.size(), compiled.members[m].filters.size());
        CHECK_EQUAL(net.members[m].neighborEmbedding.has_value(), compiled.members[m].neighbor.has_value());
        const int numBlocks = static_cast<int>(net.members[m].blocks.size());
        for (int block = compiled.members[m].neighbor ? -1 : 0; block < numBlocks; block++) {
            const RadialTable& table = block < 0 ? *compiled.members[m].neighbor : compiled.members[m].filters[block];
            CHECK_EQUAL(block < 0 ? net.hidden : net.filters, table.channels);
            CHECK_EQUAL(static_cast<size_t>(compiled.grid.pieces) * 4 * table.channels, table.coefficients.size());
            try {
                test({&net, &net.members[m], block, &table, &compiled.grid});
            }
            catch (const std::exception& exception) {
                throw std::runtime_error(model.name + ", member " + std::to_string(m) + ", block " + std::to_string(block) + ": " + exception.what());
            }
        }
    }
}

void forEachTable(double tolerance, const std::function<void(const TableCase&)>& test) {
    for (const NamedModel& model : makeSchNets())
        forEachTable(model, compileSchNet(getSchNet(model), makeOptions(tolerance)), test);
}

/** Largest |error| / largest |exact| of any channel. */
struct LargestError {
    Values error, maximum;
    void add(const Values& exact, const Values& found) {
        error.resize(exact.size());
        maximum.resize(exact.size());
        for (size_t c = 0; c < exact.size(); c++) {
            error[c] = std::fmax(error[c], std::fabs(exact[c] - found[c]));
            maximum[c] = std::fmax(maximum[c], std::fabs(exact[c]));
        }
    }
    double getRelative() const {
        double largest = 0;
        for (size_t c = 0; c < error.size(); c++)
            if (error[c] > 0)
                largest = std::fmax(largest, error[c] / maximum[c]);
        return largest;
    }
};

// ---- tables ----

void testCertifiedErrors() {
    Random random(1);
    for (const double tolerance : {1e-2, 1e-4, 1e-6, 1e-7})
        forEachTable(tolerance, [&](const TableCase& c) {
            CHECK(c.table->valueError <= tolerance);
            CHECK(c.table->derivativeError <= DerivativeTolerance * tolerance);
            // At random places, and densely in some pieces, those at the ends and around kinks always.
            std::vector<double> distances;
            for (int k = 0; k < 2000; k++)
                distances.push_back(random.uniform(c.grid->first, c.grid->cutoff));
            for (int piece = 1; piece < c.grid->pieces; piece += piece < 8 || piece > c.grid->pieces - 8 || c.grid->pieces < 64 ? 1 : random.index(12) + 1)
                for (double t = 0.03; t < 1; t += 0.047)
                    distances.push_back(c.grid->getDistance(piece, t));
            LargestError value, derivative;
            for (const double r : distances) {
                value.add(c.exact(r), c.value(r));
                if (c.isSmooth(r))
                    derivative.add(c.exactDerivative(r), c.derivative(r));
            }
            for (const double lower : {c.net->basisEnvelope.lower, c.net->filterEnvelope.lower})
                for (double step = 1e-6; step < 0.03; step *= 1.4)
                    for (const double r : {lower - step, lower + step})
                        if (lower > 0 && r > c.grid->first)
                            value.add(c.exact(r), c.value(r));
            // The differences that stand for exact derivatives have an error of their own.
            CHECK(value.getRelative() <= c.table->valueError + 1e-13);
            CHECK(derivative.getRelative() <= c.table->derivativeError + 2e-9);
            // True, and not more than a margin too large.
            CHECK(value.getRelative() >= 0.4 * c.table->valueError);
            CHECK(derivative.getRelative() >= 0.4 * c.table->derivativeError);
        });
}

/** Pieces are not spent where they are not needed: a third fewer would not do. */
void testNumberOfPieces() {
    for (const NamedModel& model : makeSchNets()) {
        const CompiledSchNet compiled = compileSchNet(getSchNet(model), makeOptions(1e-6));
        CHECK(compiled.grid.pieces <= MaxPieces);
        if (model.name == "two-lower-bounds") // there the number decides how close a knot is to the second kink
            continue;
        double met = 0;
        forEachTable(model, compiled, [&](const TableCase& c) {
            met = std::fmax(met, std::fmax(c.table->valueError / 1e-6, c.table->derivativeError / (DerivativeTolerance * 1e-6)));
        });
        CHECK(met > std::pow(1 / 1.5, 3));
    }
}

void testLocate() {
    for (const RadialGrid::Knots knots : {RadialGrid::Knots::Linear, RadialGrid::Knots::Logarithmic})
        for (const int pieces : {2, 3, 48, 1000, MaxPieces}) {
            RadialGrid grid;
            grid.knots = knots;
            grid.pieces = pieces;
            grid.first = 0.037;
            grid.cutoff = 7.3;
            const bool linear = knots == RadialGrid::Knots::Linear;
            const double ratio = std::pow(grid.cutoff / grid.first, 1.0 / (pieces - 1)), width = (grid.cutoff - grid.first) / (pieces - 1);
            Random random(static_cast<std::uint64_t>(pieces));
            std::vector<double> distances = {0, 1e-300, 0.5 * grid.first, std::nextafter(grid.first, 0), grid.first, std::nextafter(grid.cutoff, 0)};
            for (int k = 0; k < 1000; k++)
                distances.push_back(random.uniform(0, grid.cutoff));
            for (int piece = 1; piece < pieces; piece += 1 + piece / 20)
                for (const double r : {grid.getDistance(piece, 0), std::nextafter(grid.getDistance(piece, 0), 0)})
                    distances.push_back(r);
            for (const double r : distances) {
                int piece;
                double t, dtdr;
                grid.locate(r, piece, t, dtdr);
                CHECK(piece >= 0 && piece < pieces);
                CHECK((r < grid.first) == (piece == 0));
                CHECK(t >= 0 && t < 1 + 1e-10);
                CHECK_CLOSE(r, grid.getDistance(piece, t), 1e-13, 1e-13);
                // The knots as they are meant, and the slope of t.
                const double begin = piece == 0 ? 0 : linear ? grid.first + (piece - 1) * width : grid.first * std::pow(ratio, piece - 1);
                const double end = piece == 0 ? grid.first : linear ? begin + width : begin * ratio;
                CHECK_CLOSE(begin, grid.getDistance(piece, 0), 1e-11, 0);
                CHECK_CLOSE(end, grid.getDistance(piece, 1), 1e-11, 0);
                CHECK_CLOSE(piece == 0 || linear ? 1 / (end - begin) : 1 / (r * std::log(ratio)), dtdr, 1e-9, 0);
            }
            CHECK_EQUAL(0.0, grid.getDistance(0, 0));
            CHECK_EQUAL(grid.first, grid.getDistance(1, 0));
            CHECK_EQUAL(grid.cutoff, grid.getDistance(pieces - 1, 1));
        }
}

/** What is called the derivative is the derivative of the polynomial that gives the value. */
void testDerivativeOfInterpolant() {
    Random random(2);
    forEachTable(1e-4, [&](const TableCase& c) {
        LargestError error;
        for (int k = 0; k < 300; k++) {
            const int piece = k < 10 ? 0 : random.index(c.grid->pieces);
            const double t = random.uniform(0.2, 0.8), r = c.grid->getDistance(piece, t),
                         h = 0.05 * (c.grid->getDistance(piece, 1) - c.grid->getDistance(piece, 0));
            const Values e2 = c.value(r - 2 * h), e1 = c.value(r - h), f1 = c.value(r + h), f2 = c.value(r + 2 * h);
            Values differences;
            for (size_t i = 0; i < e1.size(); i++)
                differences.push_back((8 * (f1[i] - e1[i]) - (f2[i] - e2[i])) / (12 * h));
            error.add(differences, c.derivative(r));
        }
        CHECK(error.getRelative() <= 1e-7);
    });
}

/** Value and derivative have no jump at any knot, and vanish at the cutoff where the model's do. */
void testContinuity() {
    forEachTable(1e-4, [](const TableCase& c) {
        const int n = c.table->channels;
        auto evaluate = [&](int piece, double t, double r) {
            const double* k = &c.table->coefficients[static_cast<size_t>(piece) * 4 * n];
            int found;
            double ignored, dtdr;
            c.grid->locate(piece == 0 ? 0 : c.grid->getDistance(std::max(1, piece), 0.5), found, ignored, dtdr);
            if (piece > 0 && c.grid->knots == RadialGrid::Knots::Logarithmic)
                dtdr *= c.grid->getDistance(piece, 0.5) / r;
            std::pair<Values, Values> result;
            for (int i = 0; i < n; i++) {
                result.first.push_back(k[i] + t * (k[n + i] + t * (k[2 * n + i] + t * k[3 * n + i])));
                result.second.push_back((k[n + i] + t * (2 * k[2 * n + i] + 3 * t * k[3 * n + i])) * dtdr);
            }
            return result;
        };
        LargestError value, derivative;
        for (int piece = 1; piece < c.grid->pieces; piece++) {
            const double knot = c.grid->getDistance(piece, 0);
            const auto left = evaluate(piece - 1, 1, knot), right = evaluate(piece, 0, knot);
            value.add(left.first, right.first);
            derivative.add(left.second, right.second);
            CHECK_CLOSE(right.first, c.value(std::nextafter(knot, 1e9)), 1e-9, 1e-9);
        }
        CHECK(value.getRelative() <= 1e-12);
        CHECK(derivative.getRelative() <= 1e-10);
        if (c.net->filterEnvelope.form == EnvelopeForm::None)
            return;
        const auto last = evaluate(c.grid->pieces - 1, 1, c.grid->cutoff);
        for (int i = 0; i < n; i++) {
            CHECK(std::fabs(last.first[i]) <= 1e-13 * value.maximum[i]);
            CHECK(std::fabs(last.second[i]) <= 1e-11 * derivative.maximum[i]);
        }
    });
}

/** From zero to the first knot the table is the exact function at both ends, bounded between, and as wrong as it says. */
void testBelowFirstKnot() {
    forEachTable(1e-4, [](const TableCase& c) {
        CHECK_CLOSE(c.exact(0), c.value(0), 1e-11, 1e-11);
        LargestError error;
        for (double x = 0; x < 1; x += 0.01)
            error.add(c.exact(x * c.grid->first), c.value(x * c.grid->first));
        for (double r = c.grid->first; r < c.net->cutoff; r += 0.01 * c.net->cutoff) {
            const Values exact = c.exact(r);
            error.add(exact, exact);
        }
        CHECK(error.getRelative() <= 1.1 * c.table->valueErrorBelow + 1e-13);
        if (c.net->filterEnvelope.lower > 0) {
            CHECK_EQUAL(c.net->filterEnvelope.lower, c.grid->first);
            CHECK_EQUAL(0.0, c.table->valueErrorBelow);
        }
        else {
            CHECK(c.grid->first <= 0.01 * c.net->cutoff);
            CHECK(c.grid->first > 0);
        }
    });
}

/** The tolerance that the error names is the smallest: it is accepted, and less is not. */
void testToleranceThatCannotBeMet() {
    SchNetOptions options;
    options.numBlocks = 1;
    const std::vector<NamedModel> models = makeSchNets();
    CHECK_EQUAL(std::string("no-envelope"), models.back().name); // of which a middle size meets the smallest tolerance
    const std::string begin =
        "table tolerance 1e-12 cannot be met with " + std::to_string(MaxPieces) + " pieces; the smallest that can be met for this model is ";
    for (const ModelSpec& model : {makeSchNet(7, options), models.back().spec}) {
        const SchNetSpec& net = std::get<SchNetSpec>(model.network);
        std::string message = "accepted";
        try {
            compileSchNet(net, makeOptions(1e-12));
        }
        catch (const std::invalid_argument& error) {
            message = error.what();
        }
        CHECK_EQUAL(begin, message.substr(0, begin.size()));
        const double smallest = std::stod(message.substr(begin.size()));
        CHECK(smallest > 1e-12 && smallest < 1e-10);
        CHECK(compileSchNet(net, makeOptions(smallest)).grid.pieces > MaxPieces / 2);
        for (const double share : {0.9, 0.8, 0.75})
            CHECK_THROWS(std::invalid_argument, compileSchNet(net, makeOptions(share * smallest)), "cannot be met");
    }
}

/** Channels that are zero, or almost, do not ask for pieces; numbers that are not finite are an error. */
void testSpecialChannels() {
    SchNetOptions options;
    options.numBlocks = 2;
    ModelSpec model = makeSchNet(8, options);
    SchNetSpec& net = std::get<SchNetSpec>(model.network);
    const int pieces = compileSchNet(net, makeOptions(1e-6)).grid.pieces, F = net.filters;
    for (SchNetBlock& block : net.members[0].blocks) {
        std::fill_n(&block.filter1.weight[2 * F], F, 0.0);
        block.filter1.bias[2] = 0;
        // Three rows of the first layer that are the same, with weights that add up to nothing: what is left is their rounding.
        std::fill_n(&block.filter1.weight[3 * F], F, 0.0);
        const double weights[] = {0.1, 0.2, -(0.1 + 0.2)};
        for (int k = 0; k < 3; k++) {
            std::copy_n(&block.filter0.weight[0], net.basisSize, &block.filter0.weight[k * net.basisSize]);
            block.filter0.bias[k] = block.filter0.bias[0];
            block.filter1.weight[3 * F + k] = weights[k];
        }
        block.filter1.bias[3] = 0;
    }
    std::fill(net.members[0].blocks[1].filter1.weight.begin(), net.members[0].blocks[1].filter1.weight.end(), 0.0);
    std::fill(net.members[0].blocks[1].filter1.bias.begin(), net.members[0].blocks[1].filter1.bias.end(), 0.0);
    const CompiledSchNet compiled = compileSchNet(net, makeOptions(1e-6));
    CHECK(compiled.grid.pieces <= 2 * pieces);
    CHECK(compiled.members[0].filters[0].valueError > 1e-10);
    CHECK_EQUAL(0.0, compiled.members[0].filters[1].valueError);
    CHECK_EQUAL(0.0, compiled.members[0].filters[1].derivativeError);
    for (const double coefficient : compiled.members[0].filters[1].coefficients)
        CHECK_EQUAL(0.0, coefficient);
    CHECK_EQUAL(1, factorize(compiled.members[0].filters[1], compiled.grid, 1e-6)->getRank());
    net.members[0].blocks[0].filter1.weight[5] = 1e308;
    net.members[0].blocks[0].filter1.weight[6] = 1e308;
    net.members[0].blocks[0].filter0.bias[5] = net.members[0].blocks[0].filter0.bias[6] = 10;
    CHECK_THROWS(std::invalid_argument, compileSchNet(net, makeOptions(1e-2)), "not finite", "0.01");
}

// ---- what is left of the specification ----

void testRestOfSchNet() {
    for (const NamedModel& model : makeSchNets())
        for (const bool half : {false, true}) {
            CompileOptions options = makeOptions(1e-3);
            options.halfWeights = half;
            const CompiledSchNet compiled = compileSchNet(getSchNet(model), options), single = compileSchNet(getSchNet(model), makeOptions(1e-3));
            auto compare = [&](const Linear& expected, const Linear& found) {
                CHECK_EQUAL(expected.inputs, found.inputs);
                CHECK_EQUAL(expected.outputs, found.outputs);
                CHECK(expected.bias == found.bias);
                CHECK_EQUAL(expected.weight.size(), found.weight.size());
                for (size_t i = 0; i < expected.weight.size(); i++)
                    CHECK_EQUAL(half ? roundToHalf(expected.weight[i]) : expected.weight[i], found.weight[i]);
            };
            for (size_t m = 0; m < compiled.members.size(); m++) {
                const SchNetMember &expected = getSchNet(model).members[m], &found = compiled.spec.members[m];
                CHECK(expected.embedding == found.embedding);
                for (size_t b = 0; b < expected.blocks.size(); b++) {
                    CHECK(found.blocks[b].filter0.weight.empty() && found.blocks[b].filter1.weight.empty());
                    CHECK(compiled.members[m].filters[b].coefficients == single.members[m].filters[b].coefficients);
                    compare(expected.blocks[b].input, found.blocks[b].input);
                    compare(expected.blocks[b].output0, found.blocks[b].output0);
                    compare(expected.blocks[b].output1, found.blocks[b].output1);
                }
                if (expected.neighborEmbedding) {
                    CHECK(found.neighborEmbedding->projection.weight.empty());
                    CHECK(expected.neighborEmbedding->embedding == found.neighborEmbedding->embedding);
                    compare(expected.neighborEmbedding->combine, found.neighborEmbedding->combine);
                }
                for (size_t l = 0; l < expected.readout.size(); l++)
                    compare(expected.readout[l], found.readout[l]);
            }
        }
    ModelSpec model = makeSchNet(1, SchNetOptions());
    SchNetSpec& net = std::get<SchNetSpec>(model.network);
    net.members[0].blocks[1].output0.weight[9] = -70000;
    CompileOptions options = makeOptions(1e-3);
    CHECK_EQUAL(-70000.0, compileSchNet(net, options).spec.members[0].blocks[1].output0.weight[9]);
    options.halfWeights = true;
    CHECK_THROWS(std::invalid_argument, compileSchNet(net, options), "members.0.blocks.1.output.0.weight [1, 2] = -70000", "65504", "single");
}

// ---- ANI ----

void testPrunedAni() {
    Random random(3);
    for (const NamedModel& model : makeRandomModels()) {
        auto* net = std::get_if<AniSpec>(&model.spec.network);
        if (!net)
            continue;
        const int T = static_cast<int>(model.spec.types.size());
        for (int subset = 0; subset < 1 << T; subset++) {
            std::vector<int> types, ascending;
            for (int type = 0; type < T; type++)
                if (subset >> type & 1) {
                    types.insert(types.begin(), 1 + random.index(3), type);
                    ascending.push_back(type);
                }
            const CompiledAni compiled = compileAni(*net, types, CompileOptions());
            CHECK(ascending == compiled.presentTypes);
            CHECK(compiled.spec.networks.empty());
            // An AEV whose columns are zero where no neighbour can be, in the order of the documentation.
            auto present = [&](int type) { return (subset >> type & 1) != 0; };
            Values aev, kept;
            std::vector<int> columns;
            auto add = [&](int terms, bool seen) {
                for (int k = 0; k < terms; k++) {
                    if (seen)
                        columns.push_back(static_cast<int>(aev.size()));
                    aev.push_back(seen ? random.uniform(0, 1) : 0);
                    if (seen)
                        kept.push_back(aev.back());
                }
            };
            for (int a = 0; a < T; a++)
                add(net->getRadialTerms(), present(a));
            for (int a = 0; a < T; a++)
                for (int b = a; b < T; b++)
                    add(net->getAngularTerms(), present(a) && present(b));
            CHECK(columns == compiled.columns);
            CHECK_EQUAL(static_cast<int>(columns.size()), compiled.aevLength);
            CHECK_EQUAL(static_cast<int>(aev.size()), compiled.modelAevLength);
            auto celu = [&](double x) { return x > 0 ? x : net->celuAlpha * (std::exp(x / net->celuAlpha) - 1); };
            CHECK_EQUAL(net->networks.size(), compiled.networks.size());
            for (size_t m = 0; m < net->networks.size(); m++) {
                CHECK_EQUAL(ascending.size(), compiled.networks[m].size());
                for (size_t k = 0; k < ascending.size(); k++) {
                    CHECK_EQUAL(compiled.aevLength, compiled.networks[m][k][0].inputs);
                    CHECK_CLOSE(perceptron(net->networks[m][ascending[k]], aev, celu), perceptron(compiled.networks[m][k], kept, celu), 1e-13, 1e-13);
                }
            }
        }
    }
}

void testHalfAni() {
    ModelSpec model = makeAni(4, AniOptions());
    AniSpec& net = std::get<AniSpec>(model.network);
    CompileOptions options;
    options.halfWeights = true;
    const CompiledAni compiled = compileAni(net, {2, 0}, options);
    for (size_t k = 0; k < 2; k++)
        for (size_t l = 0; l < 3; l++) {
            const Linear &whole = net.networks[0][2 * k][l], &found = compiled.networks[0][k][l];
            CHECK(whole.bias == found.bias);
            for (int o = 0; o < found.outputs; o++)
                for (int i = 0; i < found.inputs; i++)
                    CHECK_EQUAL(roundToHalf(whole.weight[o * whole.inputs + (l == 0 ? compiled.columns[i] : i)]), found.weight[o * found.inputs + i]);
        }
    net.networks[0][1][1].weight[0] = 65520;
    CHECK_EQUAL(2, static_cast<int>(compileAni(net, {2, 0}, options).presentTypes.size())); // of a type that is not there
    CHECK_THROWS(std::invalid_argument, compileAni(net, {2, 1}, options), "type 1, layer 1", "[0, 0] = 65520");
}

// ---- half precision ----

/** All halves that are not negative, by their bits: a higher pattern is a larger number. */
std::vector<double> makeHalves() {
    std::vector<double> halves;
    for (int bits = 0; bits < 0x7C00; bits++) {
        const int exponent = bits >> 10, fraction = bits & 0x3FF;
        halves.push_back(exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
    }
    return halves;
}

void testHalf() {
    const std::vector<double> halves = makeHalves();
    CHECK_EQUAL(65504.0, halves.back());
    // Between bits k and k + 1 the nearer one; in the middle the even one.
    auto expected = [&](double x) {
        const double magnitude = std::fabs(x);
        const size_t above = static_cast<size_t>(std::lower_bound(halves.begin(), halves.end(), magnitude) - halves.begin());
        size_t k = above;
        if (above == halves.size())
            k = above - 1;
        else if (above > 0 && halves[above] != magnitude) {
            const double down = magnitude - halves[above - 1], up = halves[above] - magnitude; // exact
            k = down < up || (down == up && (above - 1) % 2 == 0) ? above - 1 : above;
        }
        return std::copysign(halves[k], x);
    };
    auto compare = [&](double x) {
        for (const double signedX : {x, -x}) {
            const double wanted = expected(signedX), found = roundToHalf(signedX);
            CHECK_EQUAL(wanted, found);
            CHECK_EQUAL(std::signbit(wanted), std::signbit(found));
        }
    };
    for (size_t k = 0; k < halves.size(); k++) {
        CHECK_EQUAL(halves[k], roundToHalf(halves[k]));
        compare(halves[k]);
        const double middle = k + 1 < halves.size() ? 0.5 * (halves[k] + halves[k + 1]) : 65519;
        compare(middle);
        compare(std::nextafter(middle, 0));
        compare(std::nextafter(middle, 1e9));
    }
    Random random(5);
    for (int k = 0; k < 300000; k++)
        compare(std::ldexp(random.uniform(1, 2), -30 + random.index(45)));
    for (const double tiny : {5e-324, 1e-300, 1e-9})
        compare(tiny);
    CHECK_EQUAL(65504.0, roundToHalf(std::nextafter(65520.0, 0)));
    for (const double x : {65520.0, -65520.0, 1e300, HUGE_VAL, -HUGE_VAL, std::nan("")})
        CHECK_THROWS(std::invalid_argument, roundToHalf(x), "65504");
}

// ---- low rank ----

void testLowRank() {
    Random random(6);
    int found = 0;
    for (const RadialBasis basis : {RadialBasis::Gaussian, RadialBasis::ExpNormal})
        for (const double tolerance : {1e-1, 1e-3, 1e-4}) {
            SchNetOptions options;
            options.basis = basis;
            options.neighborEmbedding = true;
            options.hidden = 20;
            options.filters = 31;
            const NamedModel model = {"wide", makeSchNet(13, options)};
            forEachTable(model, compileSchNet(getSchNet(model), makeOptions(1e-6)), [&](const TableCase& c) {
                const auto factors = factorize(*c.table, *c.grid, tolerance);
                if (!factors)
                    return;
                found++;
                const int rank = factors->getRank();
                CHECK(2 * rank <= c.table->channels);
                CHECK_EQUAL(static_cast<size_t>(rank) * c.table->channels, factors->expansion.size());
                CHECK(factors->functions.valueError <= tolerance && factors->functions.derivativeError <= DerivativeTolerance * tolerance);
                LargestError value, derivative;
                auto expand = [&](const Values& u) {
                    Values sum(c.table->channels, 0.0);
                    for (int k = 0; k < rank; k++)
                        for (int i = 0; i < c.table->channels; i++)
                            sum[i] += u[k] * factors->expansion[static_cast<size_t>(k) * c.table->channels + i];
                    return sum;
                };
                for (int k = 0; k < 4000; k++) {
                    const double r = random.uniform(c.grid->first, c.grid->cutoff);
                    Values u(rank), du(rank);
                    factors->functions.evaluate(*c.grid, r, u.data(), du.data());
                    value.add(c.value(r), expand(u));
                    derivative.add(c.derivative(r), expand(du));
                }
                const double rounding = 1e-12; // all that is left where the rank is the functions' own
                CHECK(value.getRelative() <= factors->functions.valueError + rounding);
                CHECK(derivative.getRelative() <= factors->functions.derivativeError + rounding);
                CHECK(value.getRelative() >= 0.4 * factors->functions.valueError - rounding);
                CHECK(derivative.getRelative() >= 0.4 * factors->functions.derivativeError - rounding);
            });
        }
    CHECK(found >= 12);
}

/** Filters that are sums of three functions have rank three, however small the tolerance. */
void testRankOfThree() {
    SchNetOptions options;
    options.numBlocks = 1;
    options.filters = 12;
    ModelSpec model = makeSchNet(9, options);
    SchNetSpec& net = std::get<SchNetSpec>(model.network);
    Linear& layer = net.members[0].blocks[0].filter1;
    Random random(10);
    const Values left = random.values(12 * 3, -1, 1), right = random.values(3 * 12, -1, 1);
    for (int o = 0; o < 12; o++)
        for (int i = 0; i < 12; i++) {
            layer.weight[o * 12 + i] = 0;
            for (int k = 0; k < 3; k++)
                layer.weight[o * 12 + i] += left[o * 3 + k] * right[k * 12 + i] * std::pow(1e-2, k);
        }
    std::fill(layer.bias.begin(), layer.bias.end(), 0.0);
    const CompiledSchNet compiled = compileSchNet(net, makeOptions(1e-6));
    for (const double tolerance : {1e-6, 1e-10})
        CHECK_EQUAL(3, factorize(compiled.members[0].filters[0], compiled.grid, tolerance)->getRank());
    CHECK_EQUAL(1, factorize(compiled.members[0].filters[0], compiled.grid, 0.5)->getRank());
}

/** Splines are the functions that they are made of, within what they say, and go through the knots without a jump of value or slope. */
void testSplines() {
    Random random(12);
    int shared = 0, separate = 0;
    for (const RadialBasis basis : {RadialBasis::Gaussian, RadialBasis::ExpNormal})
        for (const double tolerance : {1e-3, 1e-5}) {
            SchNetOptions options;
            options.basis = basis;
            options.filters = 31;
            const NamedModel model = {"wide", makeSchNet(13, options)};
            forEachTable(model, compileSchNet(getSchNet(model), makeOptions(tolerance)), [&](const TableCase& c) {
                const auto factors = factorize(*c.table, *c.grid, 1e-2);
                if (!factors)
                    return;
                const int rank = factors->getRank(), channels = c.table->channels;
                for (const double allowed : {0.0, tolerance}) {
                    const RadialSplines splines = makeSplines(*factors, *c.grid, allowed);
                    (splines.shared ? shared : separate)++;
                    CHECK(allowed > 0 || !splines.shared);
                    CHECK(splines.shared ? splines.valueError <= allowed && splines.derivativeError <= DerivativeTolerance * allowed
                                         : splines.valueError < 1e-10);
                    CHECK_EQUAL(splines.shared ? c.grid->pieces + 6 : 4 * c.grid->pieces, splines.getNumRows());
                    auto expand = [&](double r, Values& values, Values& slopes, bool bySplines) {
                        Values u(rank), du(rank);
                        if (bySplines) {
                            int piece;
                            double t, dtdr;
                            c.grid->locate(r, piece, t, dtdr);
                            splines.evaluate(piece, t, u.data(), du.data());
                            for (double& x : du)
                                x *= dtdr;
                        }
                        else
                            factors->functions.evaluate(*c.grid, r, u.data(), du.data());
                        values.assign(channels, 0.0);
                        slopes = values;
                        for (int k = 0; k < rank; k++)
                            for (int i = 0; i < channels; i++) {
                                values[i] += u[k] * factors->expansion[static_cast<size_t>(k) * channels + i];
                                slopes[i] += du[k] * factors->expansion[static_cast<size_t>(k) * channels + i];
                            }
                    };
                    LargestError value, slope, below;
                    Values expected, found, expectedSlope, foundSlope;
                    for (int k = 0; k < 2000; k++) {
                        const double r = random.uniform(c.grid->first, c.grid->cutoff);
                        expand(r, expected, expectedSlope, false);
                        expand(r, found, foundSlope, true);
                        value.add(expected, found);
                        slope.add(expectedSlope, foundSlope);
                        // Piece 0 has rows of its own, and is exact.
                        expand(r / c.grid->cutoff * c.grid->first, expected, expectedSlope, false);
                        expand(r / c.grid->cutoff * c.grid->first, found, foundSlope, true);
                        below.add(expected, found);
                    }
                    CHECK(value.getRelative() <= splines.valueError + 1e-11);
                    CHECK(slope.getRelative() <= splines.derivativeError + 1e-11);
                    CHECK(below.getRelative() <= 1e-11);
                    for (int piece = 0; piece + 1 < c.grid->pieces; piece += 1 + c.grid->pieces / 50) {
                        int at;
                        double t, before, behind;
                        const double r = c.grid->getDistance(piece, 1);
                        c.grid->locate(r * (1 - 1e-12), at, t, before);
                        c.grid->locate(r * (1 + 1e-12), at, t, behind);
                        Values left(rank), right(rank), leftSlope(rank), rightSlope(rank);
                        splines.evaluate(piece, 1, left.data(), leftSlope.data());
                        splines.evaluate(piece + 1, 0, right.data(), rightSlope.data());
                        for (int k = 0; k < rank; k++) {
                            CHECK_CLOSE(left[k], right[k], 1e-9, 1e-10);
                            CHECK_CLOSE(leftSlope[k] * before, rightSlope[k] * behind, 1e-8, 1e-6);
                        }
                    }
                }
            });
        }
    CHECK(shared > 0 && separate > 0);
}

// ---- report ----

void testReport() {
    SchNetOptions options;
    options.neighborEmbedding = true;
    options.numMembers = 2;
    const ModelSpec model = makeSchNet(11, options);
    const SchNetSpec& net = std::get<SchNetSpec>(model.network);
    CompileOptions compile = makeOptions(1e-5);
    compile.halfWeights = true;
    const CompiledSchNet compiled = compileSchNet(net, compile);
    const Json report = Json::parse(describeCompilation(compiled, compile, 0.1, {{"isa", "\"v3\""}, {"counts", "[1, 2]"}}), "report");
    CHECK_EQUAL("isa", report.object.front().first);
    CHECK_EQUAL("v3", report.find("isa")->string);
    CHECK_EQUAL(2.0, report.find("counts")->array[1].number);
    CHECK_EQUAL("schnet", report.find("architecture")->string);
    CHECK(!report.find("exact")->boolean);
    CHECK_EQUAL(1e-5, report.find("tableTolerance")->number);
    CHECK_EQUAL(static_cast<double>(compiled.grid.pieces), report.find("pieces")->number);
    CHECK_CLOSE(0.5, report.find("cutoff")->number, 1e-15, 0);
    CHECK_CLOSE(0.1 * compiled.grid.first, report.find("firstKnot")->number, 1e-15, 0);
    CHECK_EQUAL("half", report.find("weightPrecision")->string);
    const double weights = 2 * (2 * (7 * 10 + 10 * 7 + 10 * 10) + 10 * 20 + 6 * 10 + 5 * 6 + 5);
    CHECK_EQUAL(weights, report.find("numDenseWeights")->number);
    CHECK_EQUAL(2 * weights, report.find("denseWeightBytes")->number);
    CHECK_EQUAL(2.0 * (7 + 7 + 10) * compiled.grid.pieces * 16, report.find("tableBytes")->number);
    CHECK_EQUAL(2u, report.find("members")->array.size());
    const Json& member = report.find("members")->array[1];
    CHECK_EQUAL(compiled.members[1].filters[0].valueError, member.find("blocks")->array[0].find("valueError")->number);
    CHECK_EQUAL(compiled.members[1].filters[1].derivativeError, member.find("blocks")->array[1].find("derivativeError")->number);
    CHECK_EQUAL(compiled.members[1].neighbor->valueErrorBelow, member.find("neighborEmbedding")->find("valueErrorBelowFirstKnot")->number);
    CHECK(member.find("blocks")->array[0].find("rank") != nullptr);

    const ModelSpec ani = makeAni(12, AniOptions());
    CompiledAni small = compileAni(std::get<AniSpec>(ani.network), {3, 0, 0}, CompileOptions());
    small.networks[0][0][0].weight = {}; // a platform that has packed them may need the memory
    const Json found = Json::parse(describeCompilation(small, CompileOptions(), 0.1), "report");
    CHECK_EQUAL("ani", found.find("architecture")->string);
    CHECK_EQUAL("single", found.find("weightPrecision")->string);
    CHECK_EQUAL(3.0, found.find("presentTypes")->array[1].number);
    CHECK_EQUAL(2.0 * 4 + 3 * 6, found.find("aevColumns")->number);
    CHECK_EQUAL(4.0 * 4 + 10 * 6, found.find("aevColumnsOfModel")->number);
    CHECK_EQUAL(26.0 * 9 + 9 * 6 + 6 + 26.0 * 12 + 12 * 6 + 6, found.find("numDenseWeights")->number);
    CHECK_EQUAL("{}", describeFields({}));
}

} // namespace

int main(int argc, char** argv) {
    return runTests(argc, argv,
                    {{"certified errors", testCertifiedErrors},
                     {"number of pieces", testNumberOfPieces},
                     {"locate", testLocate},
                     {"derivative of the interpolant", testDerivativeOfInterpolant},
                     {"continuity", testContinuity},
                     {"below the first knot", testBelowFirstKnot},
                     {"a tolerance that cannot be met", testToleranceThatCannotBeMet},
                     {"special channels", testSpecialChannels},
                     {"the rest of a SchNet", testRestOfSchNet},
                     {"pruned ANI networks", testPrunedAni},
                     {"ANI networks in half precision", testHalfAni},
                     {"half precision", testHalf},
                     {"low rank", testLowRank},
                     {"rank of three", testRankOfThree},
                     {"splines", testSplines},
                     {"report", testReport}});
}
