// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuThreads.h"
#include <stdexcept>
#include <string>
#include <thread>

namespace OpenMMFlash {

namespace {

/** About a hundred microseconds: longer than phases differ, far shorter than a scheduler's time slice. */
constexpr int SpinsBeforeYield = 4000;

/** Tell the core that this is a waiting loop. */
inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

} // namespace

CpuThreads::CpuThreads(int size, Runner runner) : size(size), runner(std::move(runner)) {
    if (size < 1)
        throw std::invalid_argument("CpuThreads: the number of threads is " + std::to_string(size) + "; it must be at least 1");
    if (size > 1 && !this->runner)
        throw std::invalid_argument("CpuThreads: more than one thread, but nothing to run them");
}

void CpuThreads::run(const std::function<void(int)>& task) {
    if (size == 1)
        task(0);
    else
        runner(task);
}

void CpuThreads::barrier() {
    if (size == 1)
        return;
    // Relaxed: the generation does not change before this thread arrives, and this thread has seen the last change.
    const unsigned current = generation.load(std::memory_order_relaxed);
    // Release: what this thread wrote. Acquire: the last to arrive passes on what all wrote.
    if (arrived.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
        arrived.store(0, std::memory_order_relaxed);
        generation.store(current + 1, std::memory_order_release);
        return;
    }
    for (int spins = 0; generation.load(std::memory_order_acquire) == current;) {
        // With more threads than cores, the one that is waited for may need this core.
        if (spins < SpinsBeforeYield) {
            spins++;
            pause();
        }
        else
            std::this_thread::yield();
    }
}

} // namespace OpenMMFlash
