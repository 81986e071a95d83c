// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COINCIDENCE_H_
#define OPENMMFLASH_COINCIDENCE_H_

namespace OpenMMFlash {

/** Particles closer than this fraction of the cutoff are at the same position, and no direction leads from one to the other. */
constexpr double CoincidenceFraction = 1e-9;

} // namespace OpenMMFlash

#endif
