// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "Kernels.h"
#include "Simd.h"

#define FLASH_TEXT(x) #x
#define FLASH_NAME(x) FLASH_TEXT(x)

namespace OpenMMFlash {
namespace FLASH_ISA {

extern const DenseKernels denseKernels;
extern const AevKernels aevKernels;
extern const AniBackwardKernels aniBackwardKernels;
extern const GeometryKernels geometryKernels;
extern const MessageKernels messageKernels;
extern const RepulsionKernels repulsionKernels;

extern const CpuKernels kernels;
const CpuKernels kernels = {FLASH_NAME(FLASH_ISA), Width,           &denseKernels,    &aevKernels, &aniBackwardKernels,
                            &geometryKernels,      &messageKernels, &repulsionKernels};

} // namespace FLASH_ISA
} // namespace OpenMMFlash
