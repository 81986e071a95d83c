// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_MESSAGE_H_
#define OPENMMFLASH_MESSAGE_H_

#include "PairGeometry.h"

namespace OpenMMFlash {

/** A slice of channels of one interaction block. */
struct MessageSlice {
    int width;          ///< channels S, a multiple of 16, at most MessageKernels::maxWidth
    const float* table; ///< [piece][4][S]: value = ((c3 t + c2) t + c1) t + c0
    bool withOwn;       ///< whether a particle's own images count
};

struct MessageKernels {
    int maxWidth; ///< the widest slice for which everything that a pair of rows needs stays in registers

    /** m_i += sum_j y_j * G(r_ij) over the entries, both ways. @param y,m  [particle][S] */
    void (*forward)(const PairRows* rows, int numRows, const PairEntries& entries, const MessageSlice& slice, const float* y, float* m);
    /**
     * From q_i = dE/dm_i:  dE/dt += sum_c G'_c(t) (q_ic y_jc + q_jc y_ic)  and, unless dy is null,  dE/dy_i += sum_j q_j * G(r_ij).
     *
     * @param y,q,dy  [particle][S]
     * @param dEdt    [2]: of the pairs that piece[0] and piece[1] belong to, [entry]
     */
    void (*backward)(const PairRows* rows, int numRows, const PairEntries& entries, const MessageSlice& slice, const float* y, const float* q, float* dy,
                     float* const* dEdt);
};

} // namespace OpenMMFlash

#endif
