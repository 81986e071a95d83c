// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "../model/Json.h"
#include "openmmflash/internal/CompiledModel.h"

namespace OpenMMFlash {

using std::string;
using std::to_string;

namespace {

string describeList(const std::vector<string>& values) {
    string text = "[";
    for (const string& value : values)
        text += (text.size() > 1 ? ", " : "") + value;
    return text + "]";
}

/** Number and size of the weight matrices, which may have been packed and emptied; biases are a small part and stay as they are. */
struct WeightCount {
    long long count = 0;
    void add(const Linear& layer) {
        count += static_cast<long long>(layer.outputs) * layer.inputs;
    }
    ReportFields describe(const CompileOptions& options) const {
        return {{"weightPrecision", options.halfWeights ? "\"half\"" : "\"single\""},
                {"numDenseWeights", to_string(count)},
                {"denseWeightBytes", to_string(count * (options.halfWeights ? 2 : 4))}};
    }
};

void append(ReportFields& fields, const ReportFields& more) {
    fields.insert(fields.end(), more.begin(), more.end());
}

string describeTable(const RadialTable& table, const RadialGrid& grid, const CompileOptions& options) {
    const auto factors = factorize(table, grid, options.tableTolerance);
    return describeFields({{"channels", to_string(table.channels)},
                           {"valueError", formatNumber(table.valueError)},
                           {"derivativeError", formatNumber(table.derivativeError)},
                           {"valueErrorBelowFirstKnot", formatNumber(table.valueErrorBelow)},
                           {"rank", factors ? to_string(factors->getRank()) : "null"}});
}

} // namespace

string describeFields(const ReportFields& fields) {
    string text = "{";
    for (const auto& [name, value] : fields)
        text.append(text.size() > 1 ? ", \"" : "\"").append(name).append("\": ").append(value);
    return text + "}";
}

string describeCompilation(const CompiledSchNet& compiled, const CompileOptions& options, double lengthUnit, const ReportFields& fields) {
    const RadialGrid& grid = compiled.grid;
    std::vector<string> members;
    long long numChannels = 0;
    for (const CompiledSchNet::Member& member : compiled.members) {
        std::vector<string> blocks;
        for (const RadialTable& table : member.filters) {
            blocks.push_back(describeTable(table, grid, options));
            numChannels += table.channels;
        }
        ReportFields tables = {{"blocks", describeList(blocks)}};
        if (member.neighbor) {
            tables.emplace_back("neighborEmbedding", describeTable(*member.neighbor, grid, options));
            numChannels += member.neighbor->channels;
        }
        members.push_back(describeFields(tables));
    }
    WeightCount weights;
    for (const SchNetMember& member : compiled.spec.members) {
        for (const SchNetBlock& block : member.blocks)
            for (const Linear* layer : {&block.input, &block.output0, &block.output1})
                weights.add(*layer);
        if (member.neighborEmbedding)
            weights.add(member.neighborEmbedding->combine);
        for (const Linear& layer : member.readout)
            weights.add(layer);
    }
    ReportFields all = fields;
    append(all, {{"architecture", "\"schnet\""},
                 {"exact", "false"},
                 {"tableTolerance", formatNumber(options.tableTolerance)},
                 {"knots", grid.knots == RadialGrid::Knots::Linear ? "\"linear\"" : "\"logarithmic\""},
                 {"pieces", to_string(grid.pieces)},
                 {"firstKnot", formatNumber(grid.first * lengthUnit)},
                 {"cutoff", formatNumber(grid.cutoff * lengthUnit)},
                 {"members", describeList(members)},
                 {"tableBytes", to_string(numChannels * grid.pieces * 16)}});
    append(all, weights.describe(options));
    return describeFields(all);
}

string describeCompilation(const CompiledAni& compiled, const CompileOptions& options, double lengthUnit, const ReportFields& fields) {
    std::vector<string> types;
    for (const int type : compiled.presentTypes)
        types.push_back(to_string(type));
    WeightCount weights;
    for (const auto& member : compiled.networks)
        for (const auto& layers : member)
            for (const Linear& layer : layers)
                weights.add(layer);
    ReportFields all = fields;
    append(all, {{"architecture", "\"ani\""},
                 {"exact", "false"},
                 {"radialCutoff", formatNumber(compiled.spec.radialCutoff * lengthUnit)},
                 {"angularCutoff", formatNumber(compiled.spec.angularCutoff * lengthUnit)},
                 {"numMembers", to_string(compiled.networks.size())},
                 {"presentTypes", describeList(types)},
                 {"aevColumns", to_string(compiled.aevLength)},
                 {"aevColumnsOfModel", to_string(compiled.modelAevLength)}});
    append(all, weights.describe(options));
    return describeFields(all);
}

} // namespace OpenMMFlash
