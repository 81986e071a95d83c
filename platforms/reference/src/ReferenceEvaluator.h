// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_REFERENCEEVALUATOR_H_
#define OPENMMFLASH_REFERENCEEVALUATOR_H_

#include "openmmflash/internal/ModelSpec.h"
#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace OpenMMFlash {

using Vector3 = std::array<double, 3>;
/** Periodic box vectors in OpenMM's reduced form: a along x, b in the xy plane. */
using Box = std::array<Vector3, 3>;

/** A directed pair: `receiver` is influenced by `sender`, which may be a periodic image (of the receiver itself, too, in a small box). */
struct ReferencePair {
    int receiver, sender;
    double r;
    Vector3 d; ///< from the receiver to this image of the sender
};

/**
 * All directed pairs closer than a cutoff, sorted by receiver; none is ever left out. Valid for any lattice translation of
 * any particle and for boxes of any size: where the box is small, all images within the cutoff are found.
 *
 * @param positions  [n]
 * @param box        periodic box vectors, or nothing for an open system
 * @throws FlashEvaluationError  two particles at the same position, or a coordinate that is not finite
 */
std::vector<ReferencePair> findReferencePairs(const std::vector<Vector3>& positions, double cutoff, const std::optional<Box>& box);

/** What one group of interacting particles gives, in the model's units. */
struct ReferenceResult {
    std::vector<std::vector<double>> memberEnergies; ///< [member][particle], with type energies and this particle's part of the group energy
    std::vector<double> repulsionEnergies;           ///< [particle], half of each pair's energy; empty without a pair prior
    std::vector<Vector3> gradient;                   ///< [particle]: dE/dx of the members' mean plus the pair prior
};

/**
 * Evaluate a model on one group, exactly as docs/model-format.md writes it, in double precision.
 *
 * @param types      [n] indices into model.types
 * @param positions  [n], in the model's length unit
 * @param exclusions pairs (i, j) of this group left out of the pair prior
 */
ReferenceResult evaluateReference(const ModelSpec& model, const std::vector<int>& types, const std::vector<Vector3>& positions, const std::optional<Box>& box,
                                  const std::vector<std::pair<int, int>>& exclusions);

} // namespace OpenMMFlash

#endif
