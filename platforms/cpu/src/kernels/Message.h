// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_MESSAGE_H_
#define OPENMMFLASH_MESSAGE_H_

#include "PairGeometry.h"

namespace OpenMMFlash {

/** Two particles, and where in its piece their distance lies. */
struct MessagePair {
    std::int32_t i, j;
    float t;
};

/** Pairs begin to end - 1, whose distances lie in the same piece. */
struct MessageRun {
    std::int32_t piece, begin, end;
};

/** A slice of channels of one interaction block. */
struct MessageSlice {
    int width;          ///< channels S: 16, 32... up to MessageKernels::maxWidth
    const float* table; ///< [piece][4][S]: value = ((c3 t + c2) t + c1) t + c0
    bool withOwn;       ///< whether pairs of a particle with its own image count
};

struct MessageKernels {
    int maxWidth; ///< the widest slice

    /** m_i += sum_j y_j * G(r_ij) over the pairs, both ways. @param y,m  [particle][S] */
    void (*forward)(const MessageRun* runs, int numRuns, const MessagePair* pairs, const MessageSlice& slice, const float* y, float* m);
    /**
     * From q_i = dE/dm_i:  dE/dt += sum_c G'_c(t) (q_ic y_jc + q_jc y_ic)  and, unless dy is null,  dE/dy_i += sum_j q_j * G(r_ij).
     *
     * @param y,q,dy  [particle][S]
     * @param dEdt    [pair]
     */
    void (*backward)(const MessageRun* runs, int numRuns, const MessagePair* pairs, const MessageSlice& slice, const float* y, const float* q, float* dy,
                     float* dEdt);
};

} // namespace OpenMMFlash

#endif
