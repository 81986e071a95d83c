// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUPROFILE_H_
#define OPENMMFLASH_CPUPROFILE_H_

#include <array>
#include <chrono>
#include <locale>
#include <sstream>
#include <string>

namespace OpenMMFlash {

/** The stages of an evaluation whose times are taken. */
enum class CpuStage { NeighborList, Geometry, Message, MessageBackward, Dense, Descriptor, DescriptorBackward, Networks, Repulsion, Forces, Count };

/** Where an evaluation spends its time, as thread 0 sees it: its work and its waiting for the others. */
class CpuProfile {
public:
    /** The next stage starts now. */
    void start(int thread) {
        if (thread == 0)
            last = Clock::now();
    }
    /** A stage that thread 0 worked on ends now, and the next one starts. */
    void stop(int thread, CpuStage stage) {
        if (thread != 0)
            return;
        const Clock::time_point now = Clock::now();
        seconds[static_cast<size_t>(stage)] += std::chrono::duration<double>(now - last).count();
        last = now;
    }
    void countEvaluation() {
        evaluations++;
    }
    /** Seconds in all evaluations so far, as a JSON object. */
    std::string getReport() const {
        static const char* names[] = {"neighborList", "geometry",           "message",  "messageBackward", "dense",
                                      "descriptor",   "descriptorBackward", "networks", "repulsion",       "forces"};
        std::ostringstream report;
        report.imbue(std::locale::classic()); // JSON knows no other
        report.precision(9);
        report << "{\"evaluations\": " << evaluations;
        for (size_t i = 0; i < seconds.size(); i++)
            if (seconds[i] > 0)
                report << ", \"" << names[i] << "\": " << seconds[i];
        report << "}";
        return report.str();
    }

private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point last;
    std::array<double, static_cast<size_t>(CpuStage::Count)> seconds = {};
    long evaluations = 0;
};

} // namespace OpenMMFlash

#endif
