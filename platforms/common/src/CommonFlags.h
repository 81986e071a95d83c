// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONFLAGS_H_
#define OPENMMFLASH_COMMONFLAGS_H_

#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeContext.h"
#include "openmm/common/ComputeEvent.h"
#include "openmm/common/ComputeQueue.h"
#include <vector>

namespace OpenMMFlash {

/**
 * What kernels have to tell the host: numbers that they raise with atomicMax, so that their order does not matter. The host reads
 * all of them once in an evaluation, and clears those that are raised.
 */
class CommonFlags {
public:
    /** @param flushes  whether a queue has to be told to begin before another can wait for it, as in OpenCL */
    explicit CommonFlags(OpenMM::ComputeContext& cc, bool flushes = false) : cc(cc), flushes(flushes) {}
    virtual ~CommonFlags() = default;
    /** A new flag, which is 0. All are made before allocate(). @return its index in the device's array */
    int add();
    void allocate();
    /** Begin to copy the flags to the host; kernels that are executed later do not disturb it. */
    virtual void enqueueRead();
    /** Wait for what enqueueRead() began. */
    virtual void wait();
    int operator[](int flag) const {
        return values[flag];
    }
    /** Set one to 0 again. */
    void clear(int flag);
    OpenMM::ComputeArray array; ///< int [flag]

protected:
    OpenMM::ComputeContext& cc;
    std::vector<int> values;

private:
    const bool flushes;
    OpenMM::ComputeQueue queue; ///< of its own, so that reading waits for what was enqueued before enqueueRead() alone
    OpenMM::ComputeEvent known;
};

} // namespace OpenMMFlash

#endif
