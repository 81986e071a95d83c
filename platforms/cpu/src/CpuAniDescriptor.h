// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUANIDESCRIPTOR_H_
#define OPENMMFLASH_CPUANIDESCRIPTOR_H_

#include "CpuArray.h"
#include "kernels/Kernels.h"
#include "openmmflash/internal/CompiledModel.h"
#include <array>

namespace OpenMMFlash {

/** The constants of atomic environment vectors as the kernels read them, and where in a row of theirs a compiled model's columns are. */
class CpuAniDescriptor {
public:
    CpuAniDescriptor(const CompiledAni& model, const CpuKernels& kernels);
    CpuAniDescriptor(const CpuAniDescriptor&) = delete;
    CpuAniDescriptor& operator=(const CpuAniDescriptor&) = delete;
    const AevConstants& getConstants() const {
        return constants;
    }
    /** [rowLength] the compiled model's AEV column, or -1: a copy of another one, which no network reads. */
    const std::vector<int>& getColumns() const {
        return columns;
    }

private:
    const float* keep(const std::vector<double>& values);

    AevConstants constants = {};
    std::vector<int> columns, pairOffsets;
    std::array<CpuArray<float>, 13> arrays;
    size_t numArrays = 0;
    int width;
};

} // namespace OpenMMFlash

#endif
