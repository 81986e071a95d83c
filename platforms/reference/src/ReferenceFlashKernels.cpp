// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "ReferenceFlashKernels.h"
#include "ReferenceEvaluator.h"
#include "openmmflash/internal/CompiledModel.h"

namespace OpenMMFlash {

void ReferenceCalcFlashForceKernel::setParticles() {
    groups.assign(static_cast<size_t>(particles.numGroups), Group());
    std::vector<int> places; // of each particle within its group
    for (int i = 0; i < particles.size(); i++) {
        Group& group = groups[particles.groups[i]];
        places.push_back(static_cast<int>(group.indices.size()));
        group.indices.push_back(i);
        group.types.push_back(particles.types[i]);
    }
    for (const auto& [i, j] : particles.exclusions)
        groups[particles.groups[i]].exclusions.emplace_back(places[i], places[j]);
}

void ReferenceCalcFlashForceKernel::evaluate(bool includeForces) {
    for (const Group& group : groups) {
        std::vector<Vector3> positions;
        for (const int i : group.indices)
            positions.push_back(particles.positions[i]);
        try {
            const ReferenceResult result = evaluateReference(getSpec(), group.types, positions, particles.box, group.exclusions, usesPairPrior());
            for (size_t k = 0; k < group.indices.size(); k++) {
                const int i = group.indices[k];
                for (size_t m = 0; m < results.memberEnergies.size(); m++)
                    results.memberEnergies[m][i] = result.memberEnergies[m][k];
                if (!result.repulsionEnergies.empty())
                    results.repulsionEnergies[i] = result.repulsionEnergies[k];
                results.gradient[i] = result.gradient[k];
            }
        }
        catch (const FlashEvaluationError& error) {
            throw error.renumbered(group.indices);
        }
    }
}

std::string ReferenceCalcFlashForceKernel::getCompilationReport() const {
    const char* architecture = std::holds_alternative<AniSpec>(getSpec().network) ? "\"ani\"" : "\"schnet\"";
    const std::string network = describeFields({{"architecture", architecture}, {"exact", "true"}, {"weightPrecision", "\"double\""}});
    return describeFields({{"platform", "\"Reference\""}, {"network", network}});
}

} // namespace OpenMMFlash
