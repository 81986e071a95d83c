// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Filters of low rank on tensor cores, run without a GPU: the text is compiled here, and 32 threads play a warp (PlayedWarp.h). What it finds is
// compared with sums over functions in double precision; points and expansions are laid out as kernels/lowRankProduct.cc and the text itself tell.
#include "Assertions.h"
#include "PlayedWarp.h"
#include <random>

using namespace OpenMMFlashTests;

namespace {

struct int4 {
    int x, y, z, w;
};
#define __forceinline__ inline
#define FUNCTION_MEMORY
#define EXPANSION_MEMORY
#define FUNCTIONS (16 * RANK_STEPS)
#define MOST_FRAGMENTS 2

#define RANK_STEPS 1
#define SPLIT_STEPS 1
#define STEP_PLACE(row, step) ((step) + 0 * (row))
namespace oneStep {
#include "lowRankProduct.cc"
constexpr int steps = RANK_STEPS, splitSteps = SPLIT_STEPS, size = FRAGMENT_SIZE;
} // namespace oneStep
#undef RANK_STEPS
#undef FRAGMENT
#undef FRAGMENT_SIZE
#undef STEP_PLACE

#define RANK_STEPS 2
#define STEP_PLACE(row, step) ((step) ^ ((row) & 1))
namespace halfSplit {
#include "lowRankProduct.cc"
constexpr int steps = RANK_STEPS, splitSteps = SPLIT_STEPS, size = FRAGMENT_SIZE;
} // namespace halfSplit
#undef SPLIT_STEPS
#undef FRAGMENT
#undef FRAGMENT_SIZE

#define SPLIT_STEPS 2
namespace wholeSplit {
#include "lowRankProduct.cc"
constexpr int steps = RANK_STEPS, splitSteps = SPLIT_STEPS, size = FRAGMENT_SIZE;
} // namespace wholeSplit

using MakeFragment = void (*)(unsigned*, unsigned*, int, const int*, const int*, const float*, const float*, int);
using ExpandBlock = void (*)(float*, const unsigned*, int, const uint4*, int, int);
struct Text {
    int steps, splitSteps, size;
    MakeFragment makeFragment;
    ExpandBlock expandBlock;
};
const Text texts[] = {{oneStep::steps, oneStep::splitSteps, oneStep::size, oneStep::makeFragment, oneStep::expandBlock},
                      {halfSplit::steps, halfSplit::splitSteps, halfSplit::size, halfSplit::makeFragment, halfSplit::expandBlock},
                      {wholeSplit::steps, wholeSplit::splitSteps, wholeSplit::size, wholeSplit::makeFragment, wholeSplit::expandBlock}};

constexpr int NumRows = 23, NumBlocks = 3;

/** Fixed-point points [row][function], V [function][channel], and 16 pairs, each with its first row and weights. */
struct Problem {
    int functions;
    std::vector<int> points;
    std::vector<float> weights, slopeWeights;
    std::vector<double> expansion;
    std::vector<int> rows;
    double getValue(int pair, int k, bool slope) const {
        double p[4], sum = 0;
        for (int m = 0; m < 4; m++)
            p[m] = points[(rows[pair] + m) * functions + k];
        for (int m = 0; m < (slope ? 3 : 4); m++)
            sum += slope ? slopeWeights[3 * pair + m] * (p[m + 1] - p[m]) : weights[4 * pair + m] * p[m];
        return sum;
    }
};

/** All filters and slopes of the 16 pairs, [slope][pair][channel], by a warp. */
std::vector<double> expand(const Text& text, const Problem& problem) {
    const int functions = problem.functions;
    std::vector<int> points(problem.points.size());
    for (int row = 0; row < NumRows; row++)
        for (int k = 0; k < functions; k++)
            points[row * functions + 16 * (text.steps % 2 == 0 ? k / 16 ^ row % 2 : k / 16) + k % 16] = problem.points[row * functions + k];
    std::vector<uint4> expansion;
    for (int block = 0; block < NumBlocks; block++)
        for (int part = 0; part < text.steps + text.splitSteps; part++)
            for (int lane = 0; lane < 32; lane++) {
                unsigned registers[4];
                for (int i = 0; i < 4; i++) { // tile i / 2, register i % 2: its two halves
                    unsigned halves[2];
                    for (int e = 0; e < 2; e++) {
                        const int k = 16 * (part % text.steps) + 4 * (lane % 4) + 2 * (i % 2) + e;
                        const int c = 16 * block + 4 * (lane / 8) + 2 * (i / 2) + lane / 4 % 2;
                        const double v = problem.expansion[k * 16 * NumBlocks + c];
                        const unsigned high = toHalf(static_cast<float>(v));
                        halves[e] = part < text.steps ? high : toHalf(static_cast<float>(v - fromHalf(high)));
                    }
                    registers[i] = halves[0] | halves[1] << 16;
                }
                expansion.push_back(make_uint4(registers[0], registers[1], registers[2], registers[3]));
            }
    std::vector<double> found(2 * 16 * 16 * NumBlocks);
    warp.run([&](int lane) {
        const int g = lane / 4, t = lane % 4, rows[2] = {problem.rows[g], problem.rows[g + 8]};
        float weights[8], slopeWeights[6];
        for (int half = 0; half < 2; half++) {
            std::copy_n(&problem.weights[4 * (g + 8 * half)], 4, &weights[4 * half]);
            std::copy_n(&problem.slopeWeights[3 * (g + 8 * half)], 3, &slopeWeights[3 * half]);
        }
        std::vector<unsigned> fragments(2 * text.size);
        text.makeFragment(fragments.data(), fragments.data() + text.size, 1, points.data(), rows, weights, slopeWeights, lane);
        for (int block = 0; block < NumBlocks; block++) {
            float filter[16];
            text.expandBlock(filter, fragments.data(), 2, expansion.data(), block, lane);
            for (int i = 0; i < 16; i++)
                found[((i / 8 * 16 + g + 8 * (i / 4 % 2)) * NumBlocks + block) * 16 + 4 * t + i % 4] = filter[i];
        }
    });
    return found;
}

/** The largest error relative to the largest sum of the terms' magnitudes. */
double compare(const Text& text, const Problem& problem) {
    const std::vector<double> found = expand(text, problem);
    const int channels = 16 * NumBlocks;
    double worst = 0;
    for (int slope = 0; slope < 2; slope++) {
        double error = 0, largest = 0;
        for (int pair = 0; pair < 16; pair++)
            for (int c = 0; c < channels; c++) {
                double expected = 0, magnitude = 0;
                for (int k = 0; k < problem.functions; k++) {
                    const double term = problem.getValue(pair, k, slope != 0) * problem.expansion[k * channels + c];
                    expected += term;
                    magnitude += std::fabs(term);
                }
                largest = std::max(largest, magnitude);
                error = std::max(error, std::fabs(expected - found[(slope * 16 + pair) * channels + c]));
            }
        worst = std::max(worst, error / largest);
    }
    return worst;
}

/** @param draw  (function) @param unit  fixed-point numbers of a point's unit @param center  (function) what its points are drawn around */
template <class Draw, class Center> Problem makeProblem(const Text& text, std::mt19937& random, Draw draw, int unit, Center center) {
    Problem problem;
    problem.functions = 16 * text.steps;
    for (int i = 0; i < NumRows * problem.functions; i++)
        problem.points.push_back(static_cast<int>(std::lround(unit * (center(i % problem.functions) + draw(i % problem.functions)))));
    for (int k = 0; k < problem.functions; k++)
        for (int c = 0; c < 16 * NumBlocks; c++)
            problem.expansion.push_back(draw(k));
    for (int pair = 0; pair < 16; pair++) {
        problem.rows.push_back(static_cast<int>(random() % (NumRows - 3)));
        for (int m = 0; m < 4; m++)
            problem.weights.push_back(static_cast<float>(draw(0) / unit));
        for (int m = 0; m < 3; m++)
            problem.slopeWeights.push_back(static_cast<float>(draw(0) / unit));
    }
    return problem;
}

/** Whole numbers, so that nothing is rounded: any two elements that change places are seen. */
void testLayout() {
    std::mt19937 random(1);
    std::uniform_int_distribution<int> integers(-7, 7);
    for (const Text& text : texts)
        CHECK_EQUAL(0.0, compare(text, makeProblem(text, random, [&](int) { return integers(random); }, 1, [](int) { return 0; })));
}

/**
 * Functions of steps that are split keep single precision; those of others count for as little as the host takes care that they do. So do derivatives
 * where the points' differences are a hundredth of them.
 */
void testPrecision() {
    for (bool cutsOff : {false, true}) {
        warp.cutsOff = cutsOff;
        for (const Text& text : texts) {
            std::mt19937 random(2);
            std::normal_distribution<double> normal;
            for (const double mean : {0.0, 100.0}) {
                auto weigh = [&](int k) { return k < 16 * text.splitSteps ? 1 : 0.02; };
                auto draw = [&](int k) { return (mean > 0 ? 1 : 16) * weigh(k) * normal(random); };
                const double error = compare(text, makeProblem(text, random, draw, 1 << 21, [&](int k) { return mean * weigh(k); }));
                std::cout << text.steps << " steps, " << text.splitSteps << " split, points around " << mean << (cutsOff ? ", bits cut off" : "") << ": error "
                          << error << std::endl;
                CHECK(error < 1e-6);
            }
        }
    }
    warp.cutsOff = false;
}

void testSums() {
    std::vector<float> pairs(32), channels(32);
    warp.run([&](int lane) {
        pairs[lane] = oneStep::sumOverPairs(static_cast<float>(1 << lane / 4 << 8 * (lane % 4 % 2)), nullptr, lane);
        channels[lane] = oneStep::sumOverChannels(static_cast<float>(lane), nullptr, lane);
    });
    for (int lane = 0; lane < 32; lane++) {
        CHECK_EQUAL(255.0f * (lane % 2 == 0 ? 1 : 256), pairs[lane]);
        CHECK_EQUAL(static_cast<float>(lane / 4 * 16 + 6), channels[lane]);
    }
}

} // namespace

int main(int argc, char* argv[]) {
    return runTests(argc, argv, {{"layout", testLayout}, {"precision", testPrecision}, {"sums", testSums}});
}
