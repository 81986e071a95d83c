// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_KERNELS_H_
#define OPENMMFLASH_KERNELS_H_

#include "Aev.h"
#include "AniBackward.h"
#include "Dense.h"
#include "Message.h"
#include "Repulsion.h"

namespace OpenMMFlash {

/** The stages, compiled for one instruction set. Addresses only: nothing of it may run before the instruction set is known. */
struct CpuKernels {
    const char* isa;
    int width; ///< floats in a vector
    const DenseKernels* dense;
    const AevKernels* aev;
    const AniBackwardKernels* aniBackward;
    const GeometryKernels* geometry;
    const MessageKernels* message;
    const RepulsionKernels* repulsion;
};

} // namespace OpenMMFlash

#endif
