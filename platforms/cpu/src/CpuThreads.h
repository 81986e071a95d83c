// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUTHREADS_H_
#define OPENMMFLASH_CPUTHREADS_H_

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>

namespace OpenMMFlash {

/**
 * The threads that evaluate a force together. A stage runs on all of them with run() and separates its phases by barrier(),
 * which spins for a while: phases are microseconds long, waking a thread costs more. Then it sleeps: the thread that is waited
 * for may need this core, and among busy programs it gets one sooner if those that wait do not look busy.
 *
 * Nothing that is computed may depend on their number: work is cut into pieces by the size of the problem, and sums are formed
 * in an order that the pieces fix.
 */
class CpuThreads {
public:
    /** Runs a task on `size` threads, with arguments 0 to size - 1, and returns when all have finished. */
    using Runner = std::function<void(const std::function<void(int)>&)>;

    /** @param runner  runs its `size` tasks at the same time, on a thread each: they wait for each other. Not called for a single thread */
    CpuThreads(int size, Runner runner);
    int getSize() const {
        return size;
    }
    /** Run task(thread) on every thread. It must not throw. Not to be called from within a task. */
    void run(const std::function<void(int)>& task);
    /** Wait, within run(), until all threads are here. What they wrote before is seen by all behind it. */
    void barrier();
    /** Take the next piece of a phase's work: 0, 1, 2... in the order in which threads ask. Reset by resetCounter(). */
    int next() {
        return counter.fetch_add(1, std::memory_order_relaxed);
    }
    /** For one thread, between two barriers. */
    void resetCounter() {
        counter.store(0, std::memory_order_relaxed);
    }

private:
    const int size;
    const Runner runner;
    alignas(64) std::atomic<int> arrived{0};
    alignas(64) std::atomic<unsigned> generation{0};
    alignas(64) std::atomic<int> counter{0};
    alignas(64) std::atomic<int> sleeping{0};
    std::mutex mutex;
    std::condition_variable changed;
};

} // namespace OpenMMFlash

#endif
