// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The search for the cheapest grid. A coarse grid tells how many pieces each table will need (the error of a value falls with the fourth
// power of their number, that of a derivative with the third); the most demanding table alone finds the number, then all others are made
// with it and may raise it.
#include "../model/Json.h"
#include "Half.h"
#include "TableMaker.h"
#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace OpenMMFlash {

namespace {

using Knots = RadialGrid::Knots;

/** Where the table begins, as a fraction of the cutoff: closer than particles ever are, far enough that ln r is not spent on nothing. */
constexpr double FirstKnot = 0.01;

/** Numbers of pieces that are tried: multiples of 16, each about 19 % more than the one before. */
std::vector<int> makeSizes() {
    std::vector<int> sizes;
    for (int size = 16; size <= MaxPieces; size = std::max(size + 16, 16 * static_cast<int>(std::lround(size * std::pow(2.0, 0.25) / 16))))
        sizes.push_back(size);
    if (sizes.back() != MaxPieces)
        sizes.push_back(MaxPieces);
    return sizes;
}

class GridMaker {
public:
    explicit GridMaker(const SchNetSpec& spec) : cutoff(spec.cutoff) {
        const auto getLower = [](const Envelope& envelope) { return envelope.form == EnvelopeForm::Cosine ? envelope.lower : 0; };
        zeroBelow = getLower(spec.filterEnvelope);
        if (getLower(spec.basisEnvelope) > zeroBelow)
            kink = getLower(spec.basisEnvelope);
    }
    /** Distances beyond the first knot at which second derivatives jump. */
    std::vector<double> getKinks() const {
        return kink > 0 ? std::vector<double>{kink} : std::vector<double>();
    }
    /** A grid of about `size` pieces, fewer than `next`; nothing where none has knots at the right places. */
    std::optional<RadialGrid> make(Knots knots, int size, int next) const {
        const auto u = [&](double r) { return knots == Knots::Linear ? r : std::log(r); };
        RadialGrid grid;
        grid.knots = knots;
        grid.pieces = size;
        grid.cutoff = cutoff;
        grid.first = zeroBelow > 0 ? zeroBelow : FirstKnot * cutoff;
        if (kink == 0)
            return grid;
        if (zeroBelow > 0) {
            // Below the first knot everything is zero; of the numbers that there are, take the one that brings a knot closest to the kink.
            const double fraction = (u(kink) - u(grid.first)) / (u(cutoff) - u(grid.first));
            double closest = 1;
            for (int pieces = size; pieces < next; pieces++) {
                const double x = fraction * (pieces - 1), miss = std::fabs(x - std::round(x)) / (pieces - 1);
                if (miss < closest) {
                    closest = miss;
                    grid.pieces = pieces;
                }
            }
            return grid;
        }
        if (kink <= grid.first) {
            grid.first = kink;
            return grid;
        }
        // Lower the first knot until the kink is one.
        const double ratio = (u(kink) - u(grid.first)) / (u(cutoff) - u(kink));
        const int divisions = size - 1, below = static_cast<int>(std::ceil(divisions * ratio / (1 + ratio)));
        if (below >= divisions)
            return std::nullopt;
        const double start = u(kink) - below * (u(cutoff) - u(kink)) / (divisions - below);
        grid.first = knots == Knots::Linear ? start : std::exp(start);
        if (!(grid.first > 1e-6 * cutoff))
            return std::nullopt;
        return grid;
    }

private:
    double cutoff, zeroBelow = 0, kink = 0;
};

struct Tables {
    int size; ///< index among the sizes
    RadialGrid grid;
    std::vector<RadialTable> tables; ///< [function]
};

/** The search with one kind of knots. */
class Search {
public:
    Search(const SchNetSpec& spec, double tolerance, Knots knots)
        : functions(spec), maker(spec), tolerance(tolerance), knots(knots), sizes(makeSizes()), last(static_cast<int>(sizes.size()) - 1) {
        // A first guess from a coarse grid, or from the coarsest that there is.
        int coarse = 5;
        while (coarse < last && !getGrid(coarse))
            coarse++;
        for (int function = 0; function < functions.getNumFunctions(); function++)
            needs.push_back(getNeed(function, coarse));
    }
    /** Pieces that all tables will need, roughly. */
    double getNeed() const {
        return *std::max_element(needs.begin(), needs.end());
    }
    /** Index of the largest size. */
    int getLast() const {
        return last;
    }
    /** Tables of the smallest size that will do, up to `limit`. */
    std::optional<Tables> find(int limit) {
        int worst = static_cast<int>(std::max_element(needs.begin(), needs.end()) - needs.begin());
        int size = std::min(limit, findSize(0.95 * getNeed()));
        while (!isCertified(worst, size)) {
            if (size == limit) {
                made.clear();
                return std::nullopt;
            }
            size = std::min(limit, std::max(size + 1, findSize(0.95 * getNeed(worst, size))));
        }
        while (size > 0 && isCertified(worst, size - 1))
            size--;
        for (int function = 0; function < functions.getNumFunctions();) {
            if (isCertified(function, size))
                function++;
            else {
                made.clear(); // of all functions' tables, one size at a time is kept
                if (size == limit)
                    return std::nullopt;
                size++;
                function = 0;
            }
        }
        return make(size);
    }
    /**
     * The size that meets the smallest tolerance, and that tolerance; without a size where no table is finite. It is not always the largest
     * that find() ends with: beyond some size derivatives are only rounded more, and not every size has a grid.
     */
    std::pair<double, std::optional<int>> findClosest() {
        std::pair<double, std::optional<int>> closest{HUGE_VAL, std::nullopt};
        for (int size = last; size >= 0; size--) {
            if (!getGrid(size))
                continue;
            double met = 0;
            for (int function = 0; function < functions.getNumFunctions(); function++) {
                met = std::fmax(met, getMetTolerance(get(function, size)));
                made.clear();
            }
            if (met < closest.first)
                closest = {met, size};
            else if (met > 4 * closest.first) // from here on errors are those of too few pieces
                break;
        }
        return closest;
    }
    Tables make(int size) {
        Tables tables{size, *getGrid(size), {}};
        for (int function = 0; function < functions.getNumFunctions(); function++)
            tables.tables.push_back(std::move(get(function, size)));
        made.clear();
        return tables;
    }

private:
    static double getMetTolerance(const RadialTable& table) {
        return std::fmax(table.valueError, table.derivativeError / DerivativeTolerance);
    }
    std::optional<RadialGrid> getGrid(int size) const {
        return maker.make(knots, sizes[size], size < last ? sizes[size + 1] : MaxPieces + 1);
    }
    RadialTable& get(int function, int size) {
        auto found = made.find({function, size});
        if (found == made.end())
            found = made.emplace(std::make_pair(function, size), makeTable(functions, function, *getGrid(size), maker.getKinks())).first;
        return found->second;
    }
    bool isCertified(int function, int size) {
        return getGrid(size) && getMetTolerance(get(function, size)) <= tolerance;
    }
    double getNeed(int function, int size) {
        if (!getGrid(size))
            return sizes[size];
        const RadialTable& table = get(function, size);
        return sizes[size] * std::fmax(std::pow(table.valueError / tolerance, 0.25), std::cbrt(table.derivativeError / (DerivativeTolerance * tolerance)));
    }
    int findSize(double need) const {
        return std::min(last, static_cast<int>(std::lower_bound(sizes.begin(), sizes.end(), need) - sizes.begin()));
    }

    EdgeFunctions functions;
    GridMaker maker;
    double tolerance;
    Knots knots;
    std::vector<int> sizes;
    int last;
    std::vector<double> needs;                       ///< [function]
    std::map<std::pair<int, int>, RadialTable> made; ///< by function and size
};

Tables findTables(const SchNetSpec& spec, double tolerance) {
    Search logarithmic(spec, tolerance, Knots::Logarithmic), linear(spec, tolerance, Knots::Linear);
    const bool startLinear = linear.getNeed() < logarithmic.getNeed();
    Search &first = startLinear ? linear : logarithmic, &second = startLinear ? logarithmic : linear;
    std::optional<Tables> best = first.find(first.getLast());
    if (!best || best->size > 0)
        if (std::optional<Tables> cheaper = second.find(best ? best->size - 1 : second.getLast()))
            best = std::move(cheaper);
    if (best)
        return *std::move(best);
    const std::string problem = "table tolerance " + formatNumber(tolerance) + " cannot be met with " + std::to_string(MaxPieces) + " pieces";
    double smallest = HUGE_VAL;
    for (Search* search : {&first, &second}) {
        const auto [met, size] = search->findClosest();
        if (met <= tolerance)
            return search->make(*size);
        smallest = std::min(smallest, met);
    }
    if (!std::isfinite(smallest))
        throw std::invalid_argument(problem + ", nor can any other: the model's filters are not finite");
    // Rounded up to two digits, so that it can be given.
    std::ostringstream rounded;
    rounded.precision(1);
    rounded << std::scientific << smallest * 1.06;
    throw std::invalid_argument(problem + "; the smallest that can be met for this model is " + formatNumber(std::stod(rounded.str())));
}

/** Layers that are no longer needed are emptied, dense weights rounded. */
void reduce(SchNetMember& member, const std::string& prefix, bool halfWeights) {
    const auto round = [&](Linear& layer, const std::string& name) {
        if (halfWeights)
            roundWeights(layer, prefix + name);
    };
    if (member.neighborEmbedding) {
        member.neighborEmbedding->projection = {};
        round(member.neighborEmbedding->combine, "neighbor_embedding.combine");
    }
    for (size_t b = 0; b < member.blocks.size(); b++) {
        SchNetBlock& block = member.blocks[b];
        const std::string name = "blocks." + std::to_string(b) + ".";
        block.filter0 = block.filter1 = {};
        round(block.input, name + "input");
        round(block.output0, name + "output.0");
        round(block.output1, name + "output.1");
    }
    for (size_t l = 0; l < member.readout.size(); l++)
        round(member.readout[l], "readout." + std::to_string(l));
}

} // namespace

CompiledSchNet compileSchNet(const SchNetSpec& spec, const CompileOptions& options) {
    CompiledSchNet compiled;
    compiled.members.resize(spec.members.size());
    const int perMember = EdgeFunctions(spec).getNumPerMember();
    if (perMember == 0) // nothing depends on a distance
        compiled.grid = *GridMaker(spec).make(Knots::Linear, 16, 32);
    else {
        Tables found = findTables(spec, options.tableTolerance);
        compiled.grid = found.grid;
        for (size_t m = 0; m < spec.members.size(); m++) {
            auto tables = found.tables.begin() + static_cast<std::ptrdiff_t>(m) * perMember;
            const size_t numBlocks = spec.members[m].blocks.size();
            compiled.members[m].filters.assign(std::make_move_iterator(tables), std::make_move_iterator(tables + numBlocks));
            if (spec.members[m].neighborEmbedding)
                compiled.members[m].neighbor = std::move(tables[numBlocks]);
        }
    }
    compiled.spec = spec;
    for (size_t m = 0; m < spec.members.size(); m++)
        reduce(compiled.spec.members[m], "members." + std::to_string(m) + ".", options.halfWeights);
    return compiled;
}

} // namespace OpenMMFlash
