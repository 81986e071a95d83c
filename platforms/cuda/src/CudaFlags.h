// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CUDAFLAGS_H_
#define OPENMMFLASH_CUDAFLAGS_H_

#include "CommonFlags.h"
#include "openmm/common/ComputeEvent.h"

namespace OpenMMFlash {

/** Flags that are read while the kernels behind them run: the host waits for their copy alone, not for what was enqueued later. */
class CudaFlags : public CommonFlags {
public:
    using CommonFlags::CommonFlags;
    ~CudaFlags() override;
    void enqueueRead() override;
    void wait() override;

private:
    int* pinned = nullptr; ///< page-locked: a copy to other memory would be waited for
    OpenMM::ComputeEvent copied;
};

} // namespace OpenMMFlash

#endif
