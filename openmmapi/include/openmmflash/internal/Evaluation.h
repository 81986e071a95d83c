// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_EVALUATION_H_
#define OPENMMFLASH_EVALUATION_H_

#include "openmmflash/internal/EvaluationError.h"
#include <optional>
#include <utility>
#include <vector>

namespace OpenMMFlash {

/** The particles of a force, in its order, in the model's units. */
struct ForceParticles {
    std::vector<int> types;
    std::vector<int> groups; ///< 0, 1, 2...; only particles of the same group interact
    int numGroups = 0;
    std::vector<std::pair<int, int>> exclusions; ///< pairs left out of the pair prior
    std::vector<Vector3> positions;              ///< as the caller gives them: not wrapped into the box
    std::optional<Box> box;
    int size() const {
        return static_cast<int>(types.size());
    }
};

/** What an evaluation gives, in the model's units. */
struct ForceResults {
    std::vector<std::vector<double>> memberEnergies; ///< [member][particle], with type energies and this particle's part of the group energy
    std::vector<double> repulsionEnergies;           ///< [particle], half of each pair's energy; zeros without a pair prior
    std::vector<Vector3> gradient;                   ///< [particle]: dE/dx of the members' mean plus the pair prior
};

} // namespace OpenMMFlash

#endif
