// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_ANIBACKWARD_H_
#define OPENMMFLASH_ANIBACKWARD_H_

#include "Dense.h"

namespace OpenMMFlash {

/**
 * The way back through a dense layer with the weights of its way forth: for few rows, where reading weights takes longer than
 * computing, and those of a network are still in the second-level cache.
 */
struct AniBackwardKernels {
    /**
     * Z = G W for rows begin to end - 1, and what becomes of Z: Store, Add or MultiplyCeluSlope. A row's result depends on that row alone.
     *
     * @param g        [row][outputs], one slice; columns up to the next multiple of 16 are finite
     * @param weights  packed for the forward pass (PackedLinear::Direction::Forward)
     */
    void (*multiply)(int begin, int end, const SlicedMatrix& g, const PackedWeights& weights, const DenseOutput& output);
};

} // namespace OpenMMFlash

#endif
