// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Assertions and a runner for the C++ tests. Every comparison fails for NaN, names the worst element with both values, and
// throws std::runtime_error with file and line. Arrays may be std::vector<double> or a vector of anything with [0], [1], [2].
#ifndef OPENMMFLASH_TESTS_ASSERTIONS_H_
#define OPENMMFLASH_TESTS_ASSERTIONS_H_

#include "InstructionSet.h"
#include <cmath>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace OpenMMFlashTests {

struct Location {
    const char* file;
    int line;
};

[[noreturn]] inline void fail(const Location& where, const std::string& message) {
    std::ostringstream text;
    text << where.file << ":" << where.line << ": " << message;
    throw std::runtime_error(text.str());
}

inline void check(bool condition, const Location& where, const std::string& text) {
    if (!condition)
        fail(where, "not true: " + text);
}

template <class T, class U> void checkEqual(const T& expected, const U& found, const Location& where) {
    if (!(expected == found)) {
        std::ostringstream text;
        text << "expected " << expected << ", found " << found;
        fail(where, text.str());
    }
}

inline std::vector<double> flatten(const std::vector<double>& values) {
    return values;
}

template <class V> std::vector<double> flatten(const std::vector<V>& values) {
    std::vector<double> flat;
    for (const V& value : values)
        for (int k = 0; k < 3; k++)
            flat.push_back(value[k]);
    return flat;
}

/** Root mean square of the elements. */
template <class A> double getRms(const A& values) {
    double sum = 0;
    const std::vector<double> flat = flatten(values);
    for (double x : flat)
        sum += x * x;
    return flat.empty() ? 0 : std::sqrt(sum / static_cast<double>(flat.size()));
}

/** |expected - found| <= tolerance[k] for every element, NaN never passing. */
inline void checkWithin(const std::vector<double>& expected, const std::vector<double>& found, const std::function<double(size_t)>& tolerance,
                        const Location& where) {
    if (expected.size() != found.size()) {
        std::ostringstream text;
        text << "expected " << expected.size() << " values, found " << found.size();
        fail(where, text.str());
    }
    size_t worst = 0, failures = 0;
    double worstExcess = -1;
    for (size_t k = 0; k < expected.size(); k++) {
        const double difference = std::fabs(expected[k] - found[k]), allowed = tolerance(k);
        if (difference <= allowed)
            continue;
        failures++;
        const double excess = std::isfinite(difference) && allowed > 0 ? difference / allowed : HUGE_VAL;
        if (excess > worstExcess) {
            worstExcess = excess;
            worst = k;
        }
    }
    if (failures == 0)
        return;
    std::ostringstream text;
    text.precision(17);
    text << failures << " of " << expected.size() << " values differ; worst is [" << worst << "] (row " << worst / 3 << ", column " << worst % 3
         << " of a [n][3] array): expected " << expected[worst] << ", found " << found[worst] << ", difference " << expected[worst] - found[worst]
         << ", allowed " << tolerance(worst);
    fail(where, text.str());
}

/** |expected - found| <= absolute + relative |expected| */
inline void checkClose(double expected, double found, double relative, double absolute, const Location& where) {
    checkWithin({expected}, {found}, [&](size_t) { return absolute + relative * std::fabs(expected); }, where);
}

/** The same for each element of two arrays. */
template <class A, class B> void checkClose(const A& expected, const B& found, double relative, double absolute, const Location& where) {
    const std::vector<double> reference = flatten(expected);
    checkWithin(reference, flatten(found), [&](size_t k) { return absolute + relative * std::fabs(reference[k]); }, where);
}

/** Every element within relative times the RMS of the expected array, plus absolute: the measure for forces. */
template <class A, class B> void checkCloseToRms(const A& expected, const B& found, double relative, double absolute, const Location& where) {
    const double allowed = absolute + relative * getRms(expected);
    checkWithin(flatten(expected), flatten(found), [&](size_t) { return allowed; }, where);
}

/** The call throws an Exception whose message contains every one of the given texts. */
template <class Exception> void checkThrows(const std::function<void()>& call, const std::vector<std::string>& texts, const Location& where) {
    try {
        call();
    }
    catch (const Exception& exception) {
        for (const std::string& text : texts)
            if (!std::strstr(exception.what(), text.c_str()))
                fail(where, "the message does not contain '" + text + "': " + exception.what());
        return;
    }
    catch (const std::exception& exception) {
        fail(where, std::string("an exception of another kind was thrown: ") + exception.what());
    }
    fail(where, "no exception was thrown");
}

/** Run the tests, or those whose names contain the first argument. @return the exit status, for main() */
inline int runTests(int argc, char** argv, const std::vector<std::pair<std::string, std::function<void()>>>& tests) {
    int passed = 0, failed = 0;
    if (const std::string missing = getMissingInstructions(); !missing.empty()) {
        std::cout << "SKIP: OPENMMFLASH_CPU_ISA=" << std::getenv("OPENMMFLASH_CPU_ISA") << ", and this machine lacks " << missing << std::endl;
        return Skipped;
    }
    for (const auto& [name, test] : tests) {
        if (argc > 1 && name.find(argv[1]) == std::string::npos)
            continue;
        try {
            test();
            passed++;
            std::cout << "pass " << name << std::endl;
        }
        catch (const std::exception& exception) {
            failed++;
            std::cout << "FAIL " << name << ": " << exception.what() << std::endl;
        }
    }
    std::cout << passed << " passed, " << failed << " failed" << std::endl;
    // A filter that matches nothing has tested nothing.
    return failed > 0 || passed == 0 ? 1 : 0;
}

} // namespace OpenMMFlashTests

#define FLASH_HERE (::OpenMMFlashTests::Location{__FILE__, __LINE__})
#define CHECK(condition) ::OpenMMFlashTests::check(static_cast<bool>(condition), FLASH_HERE, #condition)
#define CHECK_EQUAL(expected, found) ::OpenMMFlashTests::checkEqual(expected, found, FLASH_HERE)
#define CHECK_CLOSE(expected, found, relative, absolute) ::OpenMMFlashTests::checkClose(expected, found, relative, absolute, FLASH_HERE)
#define CHECK_CLOSE_TO_RMS(expected, found, relative, absolute) ::OpenMMFlashTests::checkCloseToRms(expected, found, relative, absolute, FLASH_HERE)
/** CHECK_THROWS(Exception, statement, "text", ...): the message contains all the texts. */
#define CHECK_THROWS(Exception, statement, ...) ::OpenMMFlashTests::checkThrows<Exception>([&]() { statement; }, {__VA_ARGS__}, FLASH_HERE)

#endif
