// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_REFERENCEANI_H_
#define OPENMMFLASH_REFERENCEANI_H_

#include "ReferenceEvaluator.h"

namespace OpenMMFlash {

struct AniResult {
    std::vector<std::vector<double>> memberEnergies; ///< [member][particle]: e_i
    std::vector<Vector3> gradient;                   ///< dE/dx of the members' mean
};

/**
 * An `ani` model, forward and backward, as docs/model-format.md writes it.
 *
 * @param types  [n]
 * @param pairs  all directed pairs within the radial cutoff, sorted by receiver
 */
AniResult evaluateReferenceAni(const AniSpec& spec, const std::vector<int>& types, const std::vector<ReferencePair>& pairs);

} // namespace OpenMMFlash

#endif
