// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonLowRank.h"
#include "CommonDense.h"
#include "CommonFlashKernelSources.h"
#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>
#include <tuple>

using namespace OpenMM;

namespace OpenMMFlash {

namespace {

/** Warps of a work-group: a thread may have all of its 255 registers. With 12 warps some kernels spill. */
constexpr int Warps = 8;
/** Channels of a slice, in blocks of 16: as many sums as registers can hold, forward and backward, where there are also sums over channels. */
constexpr int MostForwardBlocks = 8, MostBackBlocks = 4;
/** Beyond so many slices, functions that are evaluated for each cost more than features that are read from memory. */
constexpr int MostSlices = 8;
/** Functions and expansions are scaled to this, so that the halves that tensor cores take are far from the smallest and largest ones. */
constexpr double HalfScale = 256;
/** Fixed-point numbers of a function's unit, but in double precision: any difference of two points is one of 32 bits, too. */
constexpr int PointsPerUnit = 1 << 21;

int divideUp(int a, int b) {
    return (a + b - 1) / b;
}

/** The power of two that brings `largest` below HalfScale, and above half of it. */
double getScaleFor(double largest) {
    return largest > 0 ? std::ldexp(1.0, std::ilogb(HalfScale) - 1 - std::ilogb(largest)) : 1;
}

double findLargest(const std::vector<double>& values, size_t first, size_t stride) {
    double largest = 0;
    for (size_t i = first; i < values.size(); i += stride)
        largest = std::max(largest, std::fabs(values[i]));
    return largest;
}

} // namespace

bool CommonLowRank::Layout::operator==(const Layout& other) const {
    auto all = [](const Layout& x) {
        return std::tie(x.teamSize, x.rows, x.rowParts, x.forwardBlocks, x.backBlocks, x.features, x.functions, x.expansion, x.particles, x.expansionAt,
                        x.featuresAt, x.reals);
    };
    return all(*this) == all(other);
}

CommonLowRank::CommonLowRank(const CommonDevice& device, const RadialGrid& grid, const std::vector<const LowRankFactors*>& factors, int channels,
                             int tileStride)
    : device(device), cc(device.cc), grid(grid), blocks(channels / 16), tileStride(tileStride),
      realSize(cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float)), onTensorCores(!device.options.lowRankProduct.empty()),
      fixedPoints(!cc.getUseDoublePrecision()) {
    for (const LowRankFactors* each : factors) {
        rank = std::max(rank, each->getRank());
        shared = shared && makeSplines(*each, grid, getTolerance()).shared;
    }
    steps = CommonDense::pad(rank) / 16;
    for (const LowRankFactors* each : factors)
        splitSteps = std::max(splitSteps, onTensorCores ? countSplitSteps(*each) : 0);
}

/** All filters' rows are shared, or none's: tolerance 0 asks for rows of each piece's own. */
RadialSplines CommonLowRank::makePoints(const LowRankFactors& factors) const {
    return makeSplines(factors, grid, shared ? getTolerance() : 0);
}

/**
 * The first functions, in steps of 16, whose rounding to halves (2^-12 of each factor) would show in values and derivatives of the filters by more
 * than the tolerance.
 */
int CommonLowRank::countSplitSteps(const LowRankFactors& factors) const {
    const size_t numFunctions = factors.getRank(), channels = factors.expansion.size() / numFunctions;
    std::vector<double> u[2] = {std::vector<double>(numFunctions), std::vector<double>(numFunctions)}, sum[2], largest[2];
    std::vector<std::vector<double>> rounded[2]; // [value or derivative][steps that are split][channel]
    for (int d = 0; d < 2; d++) {
        largest[d].resize(channels);
        rounded[d].assign(steps, std::vector<double>(channels));
    }
    for (int piece = 1; piece < grid.pieces; piece++) {
        factors.functions.evaluate(grid, grid.getDistance(piece, 0.5), u[0].data(), u[1].data());
        for (int d = 0; d < 2; d++)
            for (size_t c = 0; c < channels; c++) {
                double total = 0, magnitude = 0;
                for (size_t k = numFunctions; k-- > 0;) {
                    const double term = u[d][k] * factors.expansion[k * channels + c];
                    total += term;
                    magnitude += std::fabs(term);
                    if (k % 16 == 0)
                        rounded[d][k / 16][c] = std::max(rounded[d][k / 16][c], magnitude / 2048);
                }
                largest[d][c] = std::max(largest[d][c], std::fabs(total));
            }
    }
    for (int split = 0; split < steps && split * 16 < static_cast<int>(numFunctions); split++) {
        double worst = 0;
        for (int d = 0; d < 2; d++)
            for (size_t c = 0; c < channels; c++)
                worst = std::max(worst, rounded[d][split][c] / std::max(largest[d][c], 1e-300) / (d == 0 ? 1 : DerivativeTolerance));
        if (worst <= device.options.compile.tableTolerance)
            return split;
    }
    return steps;
}

void CommonLowRank::pack(const LowRankFactors& factors, Filter& filter) const {
    const RadialSplines splines = makePoints(factors);
    const int functions = 16 * steps, own = factors.getRank(), rows = splines.getNumRows(), channels = static_cast<int>(factors.expansion.size()) / own;
    std::vector<double> expansion = factors.expansion, points(static_cast<size_t>(rows) * functions);
    for (int k = 0; k < own; k++) {
        const double scale = getScaleFor(findLargest(splines.points, k, own));
        for (int row = 0; row < rows; row++)
            points[static_cast<size_t>(row) * functions + 16 * getStepPlace(row, k / 16) + k % 16] = splines.points[static_cast<size_t>(row) * own + k] * scale;
        for (int c = 0; c < channels; c++)
            expansion[static_cast<size_t>(k) * channels + c] /= scale;
    }
    const double scale = getScaleFor(findLargest(expansion, 0, 1));
    filter.scale = 1 / scale;
    auto get = [&](int k, int c) { return k < own && c < channels ? expansion[static_cast<size_t>(k) * channels + c] * scale : 0; };
    filter.functions.initialize(cc, points.size(), realSize, "flashFunctions");
    if (fixedPoints) {
        std::vector<std::int32_t> fixed;
        for (const double point : points)
            fixed.push_back(static_cast<std::int32_t>(std::lround(point * PointsPerUnit)));
        filter.functions.upload(fixed);
    }
    else
        filter.functions.upload(points);
    if (!onTensorCores) {
        std::vector<double> values;
        for (int block = 0; block < blocks; block++)
            for (int k = 0; k < functions; k++)
                for (int c = 0; c < 16; c++)
                    values.push_back(get(k, 16 * block + c));
        filter.expansion.initialize(cc, values.size(), realSize, "flashExpansion");
        filter.expansion.upload(values, true);
        return;
    }
    // In the order that tensorcore/lowRankProduct.cc tells.
    std::vector<std::uint16_t> halves;
    for (int block = 0; block < blocks; block++)
        for (int step = 0; step < steps + splitSteps; step++)
            for (int lane = 0; lane < 32; lane++)
                for (int tile = 0; tile < 2; tile++)
                    for (int element = 0; element < 4; element++) {
                        const int n = lane / 4, t = lane % 4, c = 16 * block + 4 * (n / 2) + 2 * tile + n % 2;
                        const double value = get(16 * (step % steps) + 4 * t + element, c);
                        halves.push_back(getHalfBits(step < steps ? value : value - roundToHalf(value)));
                    }
    filter.expansion.initialize(cc, halves.size() / 8, 8 * sizeof(std::uint16_t), "flashExpansion");
    filter.expansion.upload(static_cast<const void*>(halves.data()));
}

/** Whether the layout's choices fit into local memory; then places and sizes are set. */
bool CommonLowRank::fits(Layout& candidate) const {
    const int pieces = grid.pieces, threads = 32 * Warps;
    const std::int64_t functions = candidate.functions ? static_cast<std::int64_t>(shared ? pieces + 6 : 4 * pieces) * 16 * steps : 0;
    const int perBlock = onTensorCores ? (steps + splitSteps) * 128 : 16 * 16 * steps;
    const std::int64_t expansion = candidate.expansion ? static_cast<std::int64_t>(blocks) * perBlock : 0;
    const std::int64_t features =
        candidate.features ? static_cast<std::int64_t>(candidate.particles) * 16 * std::max(candidate.forwardBlocks, 2 * candidate.backBlocks) : 0;
    const int tile = candidate.rows * tileStride;
    const std::int64_t dense = threads / candidate.teamSize * (tile + static_cast<std::int64_t>(std::max(tile, 3 * candidate.teamSize)));
    const std::int64_t all = functions + expansion + std::max(features, dense), sums = onTensorCores ? 4 : threads;
    if ((all + sums) * realSize > device.options.localBytes)
        return false;
    candidate.expansionAt = static_cast<int>(functions);
    candidate.featuresAt = static_cast<int>(functions + expansion);
    candidate.reals = static_cast<int>(all);
    return true;
}

/** What is to be in local memory, and how many channels of features at a time. @param spanRows  the most rows that a work-group takes */
void CommonLowRank::choose(Layout& candidate, int spanRows) const {
    // Teams of four warps where there is a tile of 16 rows, and local memory, for each.
    const int most = Warps / 4;
    candidate.rows = 1;
    while (candidate.rows < 16 && candidate.rows < spanRows)
        candidate.rows *= 2;
    auto fitsWithTeams = [&]() {
        for (const int teams : {divideUp(spanRows, 16) >= most ? most : 1, 1}) {
            candidate.teamSize = 32 * Warps / teams;
            if (fits(candidate))
                return true;
        }
        return false;
    };
    candidate.rowParts = 1;
    while (2 * candidate.rowParts * spanRows <= Warps)
        candidate.rowParts *= 2;
    const int forwardSlices = divideUp(blocks, MostForwardBlocks), backSlices = divideUp(blocks, MostBackBlocks);
    auto setSlices = [&](int forward, int back) {
        candidate.forwardBlocks = divideUp(blocks, std::min(blocks, std::max(forward, forwardSlices)));
        candidate.backBlocks = divideUp(blocks, std::min(blocks, std::max(back, backSlices)));
    };
    // Everything, with as few slices as fit.
    candidate.features = candidate.functions = candidate.expansion = true;
    for (int slices = 1; slices <= std::min(blocks, MostSlices * forwardSlices); slices++) {
        setSlices(slices, 2 * slices);
        if (fitsWithTeams())
            return;
    }
    setSlices(1, 1);
    candidate.features = false;
    candidate.particles = 0;
    for (const bool functions : {true, false})
        for (const bool expansion : {true, false}) {
            candidate.functions = functions;
            candidate.expansion = expansion;
            if (fitsWithTeams())
                return;
        }
    // Wide layers: fewer rows at a time.
    while (candidate.rows > 1) {
        candidate.rows /= 2;
        if (fits(candidate))
            return;
    }
    throw OpenMMException("FlashForce: rows of " + cc.intToString(tileStride) + " numbers do not fit into the " + cc.intToString(device.options.localBytes) +
                          " bytes of local memory that a work-group may have (of this device, or set by OPENMMFLASH_DEVICE_LOCAL_BYTES); use tables, single or "
                          "mixed precision, or the Reference or CPU platform");
}

/**
 * Groups of particles, some small ones together or the rows of one among several work-groups, so that all multiprocessors have about the same to do.
 */
std::vector<mm_int4> CommonLowRank::makeSpans() const {
    const std::vector<int>& starts = device.particles.getGroupStarts();
    const int multiprocessors = std::max(1, cc.getNumThreadBlocks() / 6), n = starts.back(), numGroups = static_cast<int>(starts.size()) - 1;
    const int together = std::clamp(n / multiprocessors, 1, 64);
    // Rounds of all multiprocessors, and what a work-group takes to begin (loading), as a part of what a group of a few hundred particles takes.
    int parts = 1;
    double least = HUGE_VAL;
    for (int candidate = 1; candidate <= std::max(1, std::min(device.particles.getLargestGroup(), multiprocessors)); candidate++) {
        const double time = divideUp(numGroups * candidate, multiprocessors) * (1.0 / candidate + 0.03);
        if (time < least) {
            least = time;
            parts = candidate;
        }
    }
    std::vector<mm_int4> found;
    for (int group = 0; group < numGroups;) {
        const int first = starts[group];
        int end = starts[++group];
        while (group < numGroups && starts[group + 1] - first <= together)
            end = starts[++group];
        const int rows = std::max(1, divideUp(end - first, parts));
        for (int row = first; row < end; row += rows)
            found.push_back(mm_int4(first, end - first, row, std::min(end, row + rows)));
    }
    return found;
}

bool CommonLowRank::setParticles() {
    const std::vector<mm_int4> found = makeSpans();
    Layout candidate;
    int rows = 1;
    for (const mm_int4& span : found) {
        rows = std::max(rows, span.w - span.z);
        candidate.particles = std::max(candidate.particles, span.y);
    }
    choose(candidate, rows);
    const size_t n = device.particles.getSize(), size = n * candidate.rowParts * blocks * 16;
    if (!spans.isInitialized())
        spans.initialize<mm_int4>(cc, n, "flashSpans");
    device.reserve(messages, size, realSize, "flashMessages");
    numSpans = static_cast<int>(found.size());
    std::vector<mm_int4> padded = found;
    padded.resize(n, mm_int4(0, 0, 0, 0));
    spans.upload(padded);
    const bool changed = !(candidate == layout);
    layout = candidate;
    return changed;
}

void CommonLowRank::addDefines(std::map<std::string, std::string>& defines) const {
    auto define = [&](const std::string& name, int value) { defines[name] = cc.intToString(value); };
    define("RANK_STEPS", steps);
    define("SPLIT_STEPS", splitSteps);
    define("FUNCTIONS", 16 * steps);
    defines["STEP_PLACE(row, step)"] = steps % 2 == 0 ? "((step)^((row)&1))" : "(step)"; // as getStepPlace()
    define("POINT_ROWS", shared ? grid.pieces + 6 : 4 * grid.pieces);
    if (shared)
        defines["SHARED_POINTS"] = "1";
    defines["POINT"] = fixedPoints ? "int" : "double";
    defines["POINT4"] = fixedPoints ? "int4" : "double4";
    defines["POINT_UNIT"] = fixedPoints ? "(1.0/" + cc.intToString(PointsPerUnit) + ")" : "1.0";
    defines["EXPANSION"] = onTensorCores ? "uint4" : "real";
    define("EXPANSION_SIZE", blocks * (onTensorCores ? (steps + splitSteps) * 32 : 16 * 16 * steps));
    define("FORWARD_TILES", onTensorCores && layout.features ? 2 : 1);
    define("BACK_TILES", 1);
    define("MOST_FRAGMENTS", 2);
    define("WARPS", Warps);
    define("TEAM_SIZE", layout.teamSize);
    define("ROW_PARTS", layout.rowParts);
    define("FORWARD_BLOCKS", layout.forwardBlocks);
    define("BACK_BLOCKS", layout.backBlocks);
    define("RESIDENT_PARTICLES", layout.particles);
    define("EXPANSION_AT", layout.expansionAt);
    define("FEATURES_AT", layout.featuresAt);
    define("POOL_REALS", layout.reals);
    define("SUM_REALS", onTensorCores ? 4 : 32 * Warps);
    defines["FUNCTION_MEMORY"] = layout.functions ? "LOCAL_ARG" : "GLOBAL";
    defines["EXPANSION_MEMORY"] = layout.expansion ? "LOCAL_ARG" : "GLOBAL";
    if (layout.features)
        defines["FEATURES_RESIDENT"] = "1";
    if (layout.functions)
        defines["FUNCTIONS_RESIDENT"] = "1";
    if (layout.expansion)
        defines["EXPANSION_RESIDENT"] = "1";
    define("ROWS", layout.rows);
    define("TILE_REALS", layout.rows * tileStride);
    define("SCRATCH_REALS", std::max(layout.rows * tileStride, 3 * layout.teamSize));
}

void CommonLowRank::addArguments(ComputeKernel& kernel, Filter& filter) {
    kernel->addArg(filter.functions);
    kernel->addArg(filter.expansion);
    if (cc.getUseDoublePrecision())
        kernel->addArg(filter.scale);
    else
        kernel->addArg(static_cast<float>(filter.scale));
    kernel->addArg(spans);
    kernel->addArg(numSpans);
    kernel->addArg(messages);
}

ComputeProgram CommonLowRank::compile(const std::string& tileProduct, const std::string& source, const std::map<std::string, std::string>& defines) const {
    using Sources = CommonFlashKernelSources;
    const std::string& product = onTensorCores ? device.options.lowRankProduct : Sources::lowRankProduct;
    return device.compile(tileProduct + product + Sources::messageLowRank + source, defines, layout.reals * realSize);
}

void CommonLowRank::execute(ComputeKernel& kernel, int firstArgument) const {
    kernel->setArg(firstArgument + 4, numSpans);
    kernel->execute(numSpans * 32 * Warps, 32 * Warps);
}

std::string CommonLowRank::describeMemory() const {
    std::string names;
    for (const auto& [is, name] : {std::pair(layout.features, "features"), std::pair(layout.functions, "functions"), std::pair(layout.expansion, "expansion")})
        if (is)
            names += std::string(names.empty() ? "\"" : ", \"") + name + "\"";
    return "[" + names + "]";
}

} // namespace OpenMMFlash
