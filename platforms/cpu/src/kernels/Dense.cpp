// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "Dense.h"
#include "Simd.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

extern const DenseKernels denseKernels;
const DenseKernels denseKernels = {2 * Width, Width, 12, HasHalf, nullptr, nullptr, nullptr};

} // namespace FLASH_ISA
} // namespace OpenMMFlash
