// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "Half.h"
#include "openmmflash/internal/CompiledModel.h"
#include <set>

namespace OpenMMFlash {

namespace {

/** Columns of the model's AEV that particles of these types can make different from zero, in their order. */
std::vector<int> getColumns(const AniSpec& spec, const std::vector<int>& presentTypes) {
    const int numTypes = static_cast<int>(spec.networks[0].size()), radial = spec.getRadialTerms(), angular = spec.getAngularTerms();
    const std::set<int> present(presentTypes.begin(), presentTypes.end());
    std::vector<int> columns;
    int column = 0;
    auto add = [&](int terms, bool kept) {
        for (int term = 0; term < terms; term++, column++)
            if (kept)
                columns.push_back(column);
    };
    for (int a = 0; a < numTypes; a++)
        add(radial, present.count(a));
    for (int a = 0; a < numTypes; a++)
        for (int b = a; b < numTypes; b++)
            add(angular, present.count(a) && present.count(b));
    return columns;
}

Linear pickColumns(const Linear& layer, const std::vector<int>& columns) {
    Linear picked;
    picked.inputs = static_cast<int>(columns.size());
    picked.outputs = layer.outputs;
    picked.bias = layer.bias;
    picked.weight.reserve(static_cast<size_t>(picked.outputs) * columns.size());
    for (int o = 0; o < layer.outputs; o++)
        for (const int column : columns)
            picked.weight.push_back(layer.weight[static_cast<size_t>(o) * layer.inputs + column]);
    return picked;
}

} // namespace

CompiledAni compileAni(const AniSpec& spec, const std::vector<int>& types, const CompileOptions& options) {
    const int numTypes = static_cast<int>(spec.networks[0].size());
    const std::set<int> present(types.begin(), types.end());
    CompiledAni compiled;
    compiled.spec = spec;
    compiled.spec.networks.clear();
    compiled.presentTypes.assign(present.begin(), present.end());
    compiled.modelAevLength = numTypes * spec.getRadialTerms() + numTypes * (numTypes + 1) / 2 * spec.getAngularTerms();
    compiled.columns = getColumns(spec, compiled.presentTypes);
    compiled.aevLength = static_cast<int>(compiled.columns.size());
    for (size_t m = 0; m < spec.networks.size(); m++) {
        compiled.networks.emplace_back();
        for (const int type : compiled.presentTypes) {
            std::vector<Linear> layers = spec.networks[m][static_cast<size_t>(type)];
            layers[0] = pickColumns(layers[0], compiled.columns);
            if (options.halfWeights)
                for (size_t l = 0; l < layers.size(); l++)
                    roundWeights(layers[l], "members." + std::to_string(m) + ".networks, type " + std::to_string(type) + ", layer " + std::to_string(l));
            compiled.networks.back().push_back(std::move(layers));
        }
    }
    return compiled;
}

} // namespace OpenMMFlash
