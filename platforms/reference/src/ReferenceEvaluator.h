// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_REFERENCEEVALUATOR_H_
#define OPENMMFLASH_REFERENCEEVALUATOR_H_

#include "openmmflash/internal/EvaluationError.h"
#include "openmmflash/internal/ModelSpec.h"
#include <optional>
#include <utility>
#include <vector>

namespace OpenMMFlash {

/** A directed pair: `receiver` is influenced by `sender`, which may be a periodic image (of the receiver itself, too, in a small box). */
struct ReferencePair {
    int receiver, sender;
    double r;
    Vector3 d; ///< from the receiver to this image of the sender
};

/**
 * All directed pairs closer than a cutoff, sorted by receiver; none is ever left out. Valid for any lattice translation of
 * any particle and for boxes of any size: where the box is small, all images within the cutoff are found. The reverse of
 * every pair is in the list too, with exactly the opposite d and the same r.
 *
 * @param positions  [n]
 * @param box        periodic box vectors, or nothing for an open system
 * @throws FlashEvaluationError  two particles (or one and another's image) at the same position, that is closer than 1e-9 of
 *                               the cutoff; a coordinate that is not finite or beyond 1e100; a box that is degenerate or so
 *                               small that a particle would see over a million images of each other one
 */
std::vector<ReferencePair> findReferencePairs(const std::vector<Vector3>& positions, double cutoff, const std::optional<Box>& box);

/** Each unordered pair once: of a directed pair and its reverse, one is kept. */
std::vector<ReferencePair> takeUnorderedPairs(const std::vector<ReferencePair>& directed);

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
 * @param exclusions     pairs (i, j) of this group left out of the pair prior
 * @param withPairPrior  whether the pair prior, if the model has one, is part of the result
 */
ReferenceResult evaluateReference(const ModelSpec& model, const std::vector<int>& types, const std::vector<Vector3>& positions, const std::optional<Box>& box,
                                  const std::vector<std::pair<int, int>>& exclusions, bool withPairPrior = true);

} // namespace OpenMMFlash

#endif
