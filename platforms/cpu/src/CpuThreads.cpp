// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CpuThreads.h"
#include <stdexcept>
#include <string>

namespace OpenMMFlash {

namespace {

/** Some tens of microseconds: longer than phases differ, and what it costs to sleep and to be woken. */
constexpr int SpinsBeforeSleep = 2000;

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
        // Sequentially consistent, as below: either this thread sees the sleeper, or the sleeper sees the new generation.
        generation.store(current + 1);
        if (sleeping.load() > 0) {
            {
                const std::lock_guard<std::mutex> lock(mutex);
            }
            changed.notify_all();
        }
        return;
    }
    for (int spins = 0; spins < SpinsBeforeSleep; spins++) {
        if (generation.load(std::memory_order_acquire) != current)
            return;
        pause();
    }
    std::unique_lock<std::mutex> lock(mutex);
    sleeping.fetch_add(1);
    changed.wait(lock, [&]() { return generation.load() != current; });
    sleeping.fetch_sub(1);
}

} // namespace OpenMMFlash
