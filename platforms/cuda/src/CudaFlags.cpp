// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CudaFlags.h"
#include "CudaContext.h"
#include "openmm/OpenMMException.h"
#include <algorithm>

namespace OpenMMFlash {

CudaFlags::~CudaFlags() {
    if (pinned)
        cuMemFreeHost(pinned);
}

void CudaFlags::enqueueRead() {
    if (!pinned) {
        const CUresult result = cuMemHostAlloc(reinterpret_cast<void**>(&pinned), values.size() * sizeof(int), CU_MEMHOSTALLOC_PORTABLE);
        if (result != CUDA_SUCCESS)
            throw OpenMM::OpenMMException("FlashForce: page-locked memory could not be had: " + OpenMM::CudaContext::getErrorString(result));
        copied = cc.createEvent();
    }
    array.download(pinned, false);
    copied->enqueue();
}

void CudaFlags::wait() {
    copied->wait();
    std::copy(pinned, pinned + values.size(), values.begin());
}

} // namespace OpenMMFlash
