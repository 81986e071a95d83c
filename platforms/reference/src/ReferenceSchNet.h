// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_REFERENCESCHNET_H_
#define OPENMMFLASH_REFERENCESCHNET_H_

#include "ReferenceEvaluator.h"

namespace OpenMMFlash {

/** A SchNet is a function of the pair distances alone. */
struct SchNetResult {
    std::vector<double> energies;        ///< [particle]: e_i
    std::vector<double> pairDerivatives; ///< [pair]: dE/dr
};

/**
 * One member of a `schnet` model, forward and backward, as docs/model-format.md writes it.
 *
 * @param types  [n]
 * @param pairs  each unordered pair within the cutoff once
 */
SchNetResult evaluateReferenceSchNet(const SchNetSpec& spec, const SchNetMember& member, const std::vector<int>& types,
                                     const std::vector<ReferencePair>& pairs);

} // namespace OpenMMFlash

#endif
