// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// What is prepared once: tables, weights, and what an evaluation consists of. CommonSchNetStages.cpp holds the launches.
#include "CommonSchNet.h"
#include "CommonFlashKernelSources.h"
#include "openmmflash/internal/Layers.h"
#include <algorithm>
#include <cmath>
#include <optional>

using namespace OpenMM;

namespace OpenMMFlash {

namespace {

/** Low-rank filters pay where the tensor cores' tiles are filled: two steps of 16 functions. */
constexpr int LargestRank = 32;
/** Of finer tables, low-rank filters would show the rounding of their points in single precision; tables do not. */
constexpr double FinestLowRank = 1e-8;

/** Rows of `width` numbers, filled up with zeros. */
std::vector<double> padRows(const std::vector<double>& values, int width, int padded) {
    const size_t rows = values.size() / width;
    std::vector<double> result(rows * padded);
    for (size_t row = 0; row < rows; row++)
        std::copy_n(&values[row * width], width, &result[row * padded]);
    return result;
}

} // namespace

/** Room for the channels as layers are padded, with as few threads and registers without a channel as possible. */
CommonSchNet::Shape CommonSchNet::makeShape(int width) {
    Shape shape;
    shape.width = width;
    const int padded = CommonDense::pad(width);
    shape.lanes = padded <= 16 ? 16 : 32;
    shape.chunks = (padded + 4 * shape.lanes - 1) / (4 * shape.lanes);
    shape.channels = (padded + shape.lanes * shape.chunks - 1) / (shape.lanes * shape.chunks);
    return shape;
}

/** Whether these filters, of all blocks and members, are to be of low rank: then shape.lowRank is set. */
void CommonSchNet::chooseFilters(const std::vector<const RadialTable*>& tables, Shape& shape) {
    using Choice = CommonOptions::Filter;
    const CommonOptions& options = device.options;
    if (options.filter == Choice::Table || (options.filter == Choice::Auto && (!options.tensorCores || options.compile.tableTolerance < FinestLowRank)))
        return;
    std::vector<const LowRankFactors*> found;
    for (const RadialTable* table : tables) {
        std::optional<LowRankFactors> each = factorize(*table, grid, CommonLowRank::ToleranceShare * options.compile.tableTolerance);
        if (!each && options.filter == Choice::LowRank)
            throw std::invalid_argument("filters of low rank were asked for, and a filter of this model with " + std::to_string(table->channels) +
                                        " channels has none within an eighth of the table tolerance; use tables");
        if (!each || (options.filter == Choice::Auto && each->getRank() > LargestRank))
            return;
        found.push_back(&(factors[table] = std::move(*each)));
    }
    if (!found.empty())
        shape.lowRank = std::make_unique<CommonLowRank>(device, grid, found, CommonDense::pad(shape.width), getTileStride());
}

CommonSchNet::CommonSchNet(const CommonDevice& device, const ModelSpec& model)
    : device(device), cc(device.cc), model(model), spec(std::get<SchNetSpec>(model.network)), dense(device.cc, device.options) {
    const CompiledSchNet compiled = compileSchNet(spec, device.options.compile);
    grid = compiled.grid;
    filterShape = makeShape(spec.filters);
    neighborShape = makeShape(spec.hidden);
    std::vector<const RadialTable*> filters, neighbors;
    for (const CompiledSchNet::Member& member : compiled.members) {
        for (const RadialTable& table : member.filters)
            filters.push_back(&table);
        if (member.neighbor)
            neighbors.push_back(&*member.neighbor);
    }
    for (size_t layer = 0; layer + 1 < spec.members.at(0).readout.size(); layer++)
        readoutWidths.push_back(CommonDense::pad(spec.members[0].readout[layer].outputs));
    chooseFilters(filters, filterShape);
    chooseFilters(neighbors, neighborShape);
    for (size_t m = 0; m < compiled.members.size(); m++)
        compileMember(compiled, static_cast<int>(m));
    dense.upload();
    factors.clear();

    std::vector<double> values;
    for (int piece = 1; piece < grid.pieces; piece++) {
        const double knot = grid.getDistance(piece, 0);
        const double high = cc.getUseDoublePrecision() ? knot : static_cast<double>(static_cast<float>(knot));
        values.push_back(high);
        values.push_back(knot - high);
    }
    uploadReals(knots, values, 2, "flashKnots");
    const int realSize = cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float);
    CommonNeighborList::Options options = device.options.getListOptions(spec.cutoff);
    options.hook.functions = getGridText();
    options.hook.parameters = ", GLOBAL const real2* RESTRICT knots, GLOBAL int* RESTRICT pieces, GLOBAL real* RESTRICT fractions";
    options.hook.arguments = ", knots, pieces, fractions";
    options.hook.record = "locatePair(delta.w, knots, &pieces[index], &fractions[index]);";
    options.hook.arrays = {&knots, &pieces, &fractions};
    options.hook.perEntry = {{&pieces, sizeof(int)}, {&fractions, realSize}, {&dEdt, realSize}};
    list = std::make_unique<CommonNeighborList>(device, options);
}

void CommonSchNet::uploadReals(ComputeArray& array, const std::vector<double>& values, int perElement, const std::string& name) const {
    const int realSize = cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float);
    array.initialize(cc, values.size() / perElement, perElement * realSize, name);
    if (cc.getUseDoublePrecision())
        array.upload(static_cast<const void*>(values.data()));
    else {
        const std::vector<float> floats(values.begin(), values.end());
        array.upload(static_cast<const void*>(floats.data()));
    }
}

/** The grid's constants as macros, and kernels/radialTable.cc: text may stand in front of any kernel. */
std::string CommonSchNet::getGridText() const {
    std::string text;
    auto define = [&](const std::string& name, const std::string& value) { text += "#define " + name + " " + value + "\n"; };
    if (grid.knots == RadialGrid::Knots::Logarithmic)
        define("GRID_LOGARITHMIC", "1");
    define("GRID_START", cc.doubleToString(grid.getStart()));
    define("GRID_SCALE", cc.doubleToString(grid.getScale()));
    define("GRID_FIRST", cc.doubleToString(grid.first));
    define("GRID_PIECES", cc.intToString(grid.pieces));
    return text + CommonFlashKernelSources::radialTable;
}

/** The table's cubic pieces, its channels padded with zeros; or its factors. */
void CommonSchNet::packFilter(const RadialTable& table, const Shape& shape, Filter& filter) {
    if (shape.lowRank) {
        shape.lowRank->pack(factors.at(&table), filter.lowRank);
        return;
    }
    const size_t channels = table.channels, columns = shape.getPadded();
    std::vector<double> values(grid.pieces * columns * 4);
    for (size_t piece = 0; piece < static_cast<size_t>(grid.pieces); piece++)
        for (size_t power = 0; power < 4; power++)
            for (size_t c = 0; c < channels; c++)
                values[(piece * columns + c) * 4 + power] = table.coefficients[(piece * 4 + power) * channels + c];
    uploadReals(filter.table, values, 4, "flashFilter");
}

void CommonSchNet::compileMember(const CompiledSchNet& compiled, int index) {
    const SchNetMember& from = compiled.spec.members[index];
    const CompiledSchNet::Member& tables = compiled.members[index];
    members.push_back(std::make_unique<Member>(from.blocks.size()));
    Member& to = *members.back();
    using Direction = CommonDense::Direction;
    std::vector<double> embedding = from.embedding;
    to.withNeighbors = from.neighborEmbedding.has_value();
    if (to.withNeighbors) {
        const NeighborEmbedding& neighbors = *from.neighborEmbedding;
        Linear left = takeColumns(neighbors.combine, 0, spec.hidden);
        left.bias = neighbors.combine.bias;
        embedding = applyLayer(left, embedding);
        const Linear right = takeColumns(neighbors.combine, spec.hidden, 2 * spec.hidden);
        to.combine = dense.add(right, Direction::Forward);
        dense.add(right, Direction::Transposed);
        uploadReals(to.neighborEmbedding, padRows(neighbors.embedding, spec.hidden, neighborShape.getPadded()), 1, "flashNeighborEmbedding");
        packFilter(tables.neighbor.value(), neighborShape, to.neighbor);
    }
    else if (!from.blocks.empty())
        uploadReals(to.firstInput, padRows(applyLayer(from.blocks[0].input, embedding), spec.filters, filterShape.getPadded()), 1, "flashFirstInput");
    uploadReals(to.embedding, padRows(embedding, spec.hidden, CommonDense::pad(spec.hidden)), 1, "flashEmbedding");
    for (size_t b = 0; b < from.blocks.size(); b++) {
        const SchNetBlock& block = from.blocks[b];
        // In the order that kernels/schnetRows.cc numbers them.
        to.blocks[b] = dense.add(block.input, Direction::Forward);
        dense.add(block.output0, Direction::Forward);
        dense.add(block.output1, Direction::Forward);
        dense.add(block.input, Direction::Transposed);
        dense.add(block.output0, Direction::Transposed);
        dense.add(block.output1, Direction::Transposed);
        packFilter(tables.filters.at(b), filterShape, to.filters[b]);
    }
    for (const Direction direction : {Direction::Forward, Direction::Transposed})
        for (size_t layer = 0; layer < from.readout.size(); layer++) {
            const int added = dense.add(from.readout[layer], direction);
            if (direction == Direction::Forward && layer == 0)
                to.readout = added;
        }
}

long CommonSchNet::countPairsBelowTable() const {
    if (!evaluated)
        return 0;
    std::vector<int> counts, found;
    list->counts.download(counts);
    pieces.download(found);
    long below = 0;
    for (size_t i = 0; i < counts.size(); i++)
        for (int k = 0; k < counts[i]; k++)
            below += found[i * list->getCapacity() + k] == 0 ? 1 : 0;
    return below / 2; // each pair has two entries
}

std::string CommonSchNet::getReport() {
    const CommonLowRank* lowRank = filterShape.lowRank.get();
    // Compiled once more: what the kernels use is packed, and the report's ranks take longer than the tables.
    const CompiledSchNet compiled = compileSchNet(spec, device.options.compile);
    return describeCompilation(compiled, device.options.compile, model.lengthUnit,
                               {{"filter", lowRank ? "\"lowRank\"" : "\"table\""},
                                {"filterRank", std::to_string(lowRank ? lowRank->getRank() : 0)},
                                {"filterInLocalMemory", lowRank ? lowRank->describeMemory() : "[]"},
                                {"rowsPerTile", std::to_string(lowRank ? lowRank->getLayout().rows : rows)},
                                {"pairsBelowFirstKnot", std::to_string(countPairsBelowTable())}});
}

} // namespace OpenMMFlash
