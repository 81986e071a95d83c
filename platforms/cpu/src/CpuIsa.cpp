// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuIsa.h"
#include <cstdlib>
#include <stdexcept>

namespace OpenMMFlash {

#ifdef __x86_64__
namespace v2 {
extern const CpuKernels kernels;
}
namespace v3 {
extern const CpuKernels kernels;
}
namespace v4 {
extern const CpuKernels kernels;
}
#else
namespace baseline {
extern const CpuKernels kernels;
}
#endif

std::vector<const CpuKernels*> getSupportedKernels() {
    std::vector<const CpuKernels*> supported;
#ifdef __x86_64__
    __builtin_cpu_init();
    const bool level2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("popcnt");
    const bool level3 = level2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                        __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("lzcnt");
    const bool level4 = level3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (level4)
        supported.push_back(&v4::kernels);
    if (level3)
        supported.push_back(&v3::kernels);
    if (level2)
        supported.push_back(&v2::kernels);
    if (!level2)
        throw std::runtime_error("this processor lacks SSE4.2 (x86-64-v2), which the CPU platform needs; the Reference platform runs everywhere");
#else
    supported.push_back(&baseline::kernels);
#endif
    return supported;
}

const CpuKernels& chooseKernels() {
    const std::vector<const CpuKernels*> supported = getSupportedKernels();
    const char* wanted = std::getenv("OPENMMFLASH_CPU_ISA");
    if (wanted == nullptr || *wanted == 0)
        return *supported[0];
    std::string names;
    for (const CpuKernels* kernels : supported) {
        if (std::string(wanted) == kernels->isa)
            return *kernels;
        names += std::string(names.empty() ? "" : ", ") + kernels->isa;
    }
    throw std::invalid_argument("the environment variable OPENMMFLASH_CPU_ISA is \"" + std::string(wanted) + "\"; this machine can run: " + names);
}

} // namespace OpenMMFlash
