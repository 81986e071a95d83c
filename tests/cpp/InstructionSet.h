// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Tests of the CPU platform run once for each instruction set, which OPENMMFLASH_CPU_ISA names. Whether the machine has it is
// read here from /proc/cpuinfo, so that a mistake in the library's own detection fails tests instead of skipping them.
#ifndef OPENMMFLASH_TESTS_INSTRUCTIONSET_H_
#define OPENMMFLASH_TESTS_INSTRUCTIONSET_H_

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace OpenMMFlashTests {

/** What ctest reads as "skipped" (SKIP_RETURN_CODE). */
constexpr int Skipped = 77;

/** What the machine lacks of the instruction set that OPENMMFLASH_CPU_ISA names; empty: nothing, or none is named. */
inline std::string getMissingInstructions() {
    static const std::map<std::string, std::vector<std::string>> needed = {
        {"v2", {"sse4_2", "ssse3", "popcnt"}},
        {"v3", {"avx2", "fma", "bmi1", "bmi2", "f16c", "abm"}},
        {"v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}},
    };
    const char* wanted = std::getenv("OPENMMFLASH_CPU_ISA");
    if (wanted == nullptr || needed.count(wanted) == 0)
        return "";
    std::ifstream file("/proc/cpuinfo");
    std::set<std::string> flags;
    for (std::string line; std::getline(file, line);)
        if (line.compare(0, 5, "flags") == 0) {
            std::istringstream words(line);
            for (std::string word; words >> word;)
                flags.insert(word);
            break;
        }
    std::string missing;
    for (const auto& [level, names] : needed) {
        for (const std::string& name : names)
            if (flags.count(name) == 0)
                missing += (missing.empty() ? "" : ", ") + name;
        if (level == wanted)
            break; // each level contains those before it
    }
    return missing;
}

} // namespace OpenMMFlashTests

#endif
