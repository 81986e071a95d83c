// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_PLAYEDWARP_H_
#define OPENMMFLASH_PLAYEDWARP_H_

// What texts for tensor cores need to run without a GPU: 32 threads play a warp. What instructions.cc has is written anew from the description of
// mma.sync.m16n8k16 in the PTX manual: where each lane's registers lie in the matrices, and a sum that is as inexact as tensor cores' sums are.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace {

struct float2 {
    float x, y;
};
struct uint2 {
    unsigned int x, y;
};
struct uint4 {
    unsigned int x, y, z, w;
};
[[maybe_unused]] float2 make_float2(float x, float y) {
    return {x, y};
}
[[maybe_unused]] uint2 make_uint2(unsigned x, unsigned y) {
    return {x, y};
}
[[maybe_unused]] uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}
[[maybe_unused]] unsigned int __float_as_uint(float x) {
    unsigned int bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/** IEEE half precision: 11 bits, whole numbers of 2^-24 below 2^-14, infinite from 65520 on; to the nearest, ties to even. */
[[maybe_unused]] std::uint16_t toHalf(float x) {
    const std::uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    const double size = std::fabs(static_cast<double>(x));
    if (std::isnan(x))
        return 0x7fff;
    if (size >= 65520)
        return sign | 0x7c00;
    if (size < std::ldexp(1.0, -14))
        return sign | static_cast<std::uint16_t>(std::nearbyint(std::ldexp(size, 24)));
    const int exponent = std::ilogb(size);
    // A carry into the exponent is what it should be.
    return sign | static_cast<std::uint16_t>(((exponent + 14) << 10) + static_cast<int>(std::nearbyint(std::ldexp(size, 10 - exponent))));
}

[[maybe_unused]] double fromHalf(unsigned bits) {
    const int exponent = bits >> 10 & 31;
    const double digits = bits & 1023;
    const double size = exponent == 31  ? (digits == 0 ? HUGE_VAL : std::nan(""))
                        : exponent == 0 ? std::ldexp(digits, -24)
                                        : std::ldexp(1024 + digits, exponent - 25);
    return bits & 0x8000 ? -size : size;
}

/** 32 threads that do the same, and meet wherever one of them needs what others have. */
class Warp {
public:
    template <class F> void run(const F& body) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 32; i++)
            threads.emplace_back([this, i, &body]() {
                lane = i;
                body(i);
            });
        for (std::thread& thread : threads)
            thread.join();
    }
    void meet() {
        std::unique_lock<std::mutex> guard(mutex);
        const int round = rounds;
        if (++waiting == 32) {
            waiting = 0;
            rounds++;
            changed.notify_all();
        }
        else
            changed.wait(guard, [&]() { return rounds != round; });
    }
    static thread_local int lane;
    std::array<std::array<unsigned, 4>, 32> a;
    std::array<std::array<unsigned, 2>, 32> b;
    std::array<bool, 32> conditions;
    std::array<float, 32> values;
    bool cutsOff = false; ///< tensor cores' sums: only the bits that a float has beside the largest term's, cut off rather than rounded

private:
    std::mutex mutex;
    std::condition_variable changed;
    int waiting = 0, rounds = 0;
};
thread_local int Warp::lane;
Warp warp;

/** The sum of products and of what they are added to. */
[[maybe_unused]] float addUp(const std::vector<double>& terms) {
    double sum = 0;
    for (double term : terms)
        sum += term;
    if (!warp.cutsOff || !std::isfinite(sum))
        return static_cast<float>(sum);
    double largest = 0;
    for (double term : terms)
        largest = std::max(largest, std::fabs(term));
    if (largest == 0)
        return 0;
    const int place = 23 - std::ilogb(largest);
    sum = 0;
    for (double term : terms)
        sum += std::trunc(std::ldexp(term, place));
    const int carried = std::max(0, sum == 0 ? 0 : std::ilogb(sum) - 23);
    return static_cast<float>(std::ldexp(std::trunc(std::ldexp(sum, -carried)), carried - place));
}

[[maybe_unused]] unsigned packHalves(float first, float second) {
    return toHalf(first) | static_cast<unsigned>(toHalf(second)) << 16;
}
[[maybe_unused]] float lowHalf(unsigned halves) {
    return static_cast<float>(fromHalf(halves & 0xffff));
}
[[maybe_unused]] float highHalf(unsigned halves) {
    return static_cast<float>(fromHalf(halves >> 16));
}

/** Element i of the m16n8k16 operands of one lane, as the manual numbers them: its row and column in A [16][16], B [16][8] and D [16][8]. */
[[maybe_unused]] double getA(int row, int column) {
    const int i = column % 2 + 2 * (row / 8) + 4 * (column / 8), lane = row % 8 * 4 + column % 8 / 2;
    return fromHalf(warp.a[lane][i / 2] >> (16 * (i % 2)) & 0xffff);
}
[[maybe_unused]] double getB(int row, int column) {
    const int i = row % 2 + 2 * (row / 8), lane = column * 4 + row % 8 / 2;
    return fromHalf(warp.b[lane][i / 2] >> (16 * (i % 2)) & 0xffff);
}

[[maybe_unused]] void multiplyTile(float* d, const unsigned* a, uint2 b) {
    std::copy(a, a + 4, warp.a[warp.lane].begin());
    warp.b[warp.lane] = {b.x, b.y};
    warp.meet();
    for (int i = 0; i < 4; i++) {
        const int row = warp.lane / 4 + 8 * (i / 2), column = warp.lane % 4 * 2 + i % 2;
        std::vector<double> terms = {d[i]};
        for (int k = 0; k < 16; k++)
            terms.push_back(getA(row, k) * getB(k, column));
        d[i] = addUp(terms);
    }
    warp.meet();
}

[[maybe_unused]] bool anyLane(bool condition) {
    warp.conditions[warp.lane] = condition;
    warp.meet();
    bool any = false;
    for (bool each : warp.conditions)
        any = any || each;
    warp.meet();
    return any;
}

/** What another lane has: NVIDIA's shuffle. */
[[maybe_unused]] float __shfl_xor_sync(unsigned, float x, int mask) {
    warp.values[warp.lane] = x;
    warp.meet();
    const float other = warp.values[warp.lane ^ mask];
    warp.meet();
    return other;
}

} // namespace

#define DEVICE [[maybe_unused]] static
#define LOCAL_ARG
#define GLOBAL

#endif
