// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Threads for the tests of the CPU platform without OpenMM.
#ifndef OPENMMFLASH_TESTS_TESTTHREADS_H_
#define OPENMMFLASH_TESTS_TESTTHREADS_H_

#include "CpuThreads.h"
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace OpenMMFlashTests {

/** Threads that sleep until they are given a task. The one that gives it takes part as thread 0. Running a task allocates nothing. */
class TestThreadPool {
public:
    explicit TestThreadPool(int size) {
        for (int thread = 1; thread < size; thread++)
            workers.emplace_back([this, thread]() { work(thread); });
    }
    ~TestThreadPool() {
        give(nullptr);
        for (std::thread& worker : workers)
            worker.join();
    }
    void run(const std::function<void(int)>& newTask) {
        give(&newTask);
        newTask(0);
        std::unique_lock<std::mutex> lock(mutex);
        changed.wait(lock, [this]() { return running == 0; });
    }

private:
    /** @param newTask  null: end */
    void give(const std::function<void(int)>* newTask) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            task = newTask;
            running = static_cast<int>(workers.size());
            numTasks++;
        }
        changed.notify_all();
    }
    void work(int thread) {
        for (long done = 0;; done++) {
            const std::function<void(int)>* mine;
            {
                std::unique_lock<std::mutex> lock(mutex);
                changed.wait(lock, [&]() { return numTasks > done; });
                mine = task;
            }
            if (!mine)
                return;
            (*mine)(thread);
            {
                std::lock_guard<std::mutex> lock(mutex);
                running--;
            }
            changed.notify_all();
        }
    }

    std::mutex mutex;
    std::condition_variable changed;
    const std::function<void(int)>* task = nullptr;
    int running = 0;
    long numTasks = 0;
    std::vector<std::thread> workers;
};

/** CpuThreads with n threads of their own, which end with it. */
inline OpenMMFlash::CpuThreads makeTestThreads(int n) {
    const auto pool = std::make_shared<TestThreadPool>(n);
    return OpenMMFlash::CpuThreads(n, [pool](const std::function<void(int)>& task) { pool->run(task); });
}

} // namespace OpenMMFlashTests

#endif
