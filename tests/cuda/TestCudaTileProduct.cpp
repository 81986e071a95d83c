// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The tile product for tensor cores, run without a GPU: its text is compiled here, and 32 threads play a warp (PlayedWarp.h).
#include "Assertions.h"
#include "PlayedWarp.h"
#include <random>

using namespace OpenMMFlashTests;

namespace {

#define WEIGHT unsigned short
#define ROW_TILES 3
using real = float;
using mm_long = long long;
namespace halfWeights {
#include "tileProduct.cc"
}
#define FLASH_SPLIT_WEIGHTS
namespace splitWeights {
#include "tileProduct.cc"
}

/** Weights [16 steps][8] as CommonDense packs a tile of them: [plane][step][lane][k = 2t, 2t + 1, 2t + 8, 2t + 9], n = lane / 4, t = lane % 4. */
std::vector<unsigned short> pack(const std::vector<double>& weights, int steps, bool split) {
    std::vector<unsigned short> packed;
    for (int plane = 0; plane < (split ? 2 : 1); plane++)
        for (int step = 0; step < steps; step++)
            for (int lane = 0; lane < 32; lane++)
                for (int k : {0, 1, 8, 9}) {
                    const double weight = weights[(16 * step + 2 * (lane % 4) + k) * 8 + lane / 4];
                    const unsigned short high = toHalf(static_cast<float>(weight));
                    packed.push_back(plane == 0 ? high : toHalf(static_cast<float>((weight - fromHalf(high)) * 2048)));
                }
    return packed;
}

/** A product in double precision, by its definition, and what a warp found. Matrices are [row][column]. */
struct Product {
    std::vector<double> found, expected, magnitudes;

    Product(const std::vector<float>& a, const std::vector<double>& weights, int rows, int columns, double start = 0)
        : found(rows * columns), expected(rows * columns, start), magnitudes(rows * columns) {
        const int inputs = static_cast<int>(weights.size()) / columns;
        for (int row = 0; row < rows; row++)
            for (int n = 0; n < columns; n++)
                for (int k = 0; k < inputs; k++) {
                    const double term = static_cast<double>(a[row * inputs + k]) * weights[k * columns + n];
                    expected[row * columns + n] += term;
                    magnitudes[row * columns + n] += std::fabs(term);
                }
    }
    /** Relative to the sum of the terms' magnitudes. */
    double getError() const {
        double worst = 0;
        for (size_t i = 0; i < found.size(); i++) {
            const double error = std::fabs(found[i] - expected[i]) / magnitudes[i];
            worst = std::max(worst, std::isfinite(error) ? error : HUGE_VAL);
        }
        return worst;
    }
};

/** Rows of A in memory with `stride`; what is behind their columns, and behind the last row, is no number. */
std::vector<float> spread(const std::vector<float>& a, int rows, int inputs, int stride) {
    std::vector<float> memory(std::max(1, rows) * stride, std::nanf(""));
    for (int row = 0; row < rows; row++)
        std::copy(a.begin() + row * inputs, a.begin() + (row + 1) * inputs, memory.begin() + row * stride);
    return memory;
}

/** start + A B by a warp. */
Product multiply(const std::vector<float>& a, const std::vector<double>& weights, int rows, int steps, bool split, float start = 0) {
    const std::vector<unsigned short> packed = pack(weights, steps, split);
    const int stride = 16 * steps + 8;
    const std::vector<float> memory = spread(a, rows, 16 * steps, stride);
    Product product(a, weights, rows, 8, start);
    std::atomic<bool> touched = false; // what is no row
    warp.run([&](int lane) {
        float acc[4] = {start, start, start, start};
        (split ? splitWeights::tileProduct : halfWeights::tileProduct)(acc, memory.data(), stride, rows, packed.data(), steps, lane);
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + 8 * (i / 2);
            if (row < rows)
                product.found[row * 8 + lane % 4 * 2 + i % 2] = acc[i];
            else if (acc[i] != start)
                touched = true;
        }
    });
    CHECK(!touched);
    return product;
}

enum class Way { Rows, Stored, Again };

/** The same by the functions for several tiles: A in two pieces, of which the second begins in the middle of what was stored. */
Product multiplyTiles(Way way, const std::vector<float>& a, const std::vector<double>& weights, int rows, int numTiles, int steps, bool split, bool& right) {
    constexpr int Apart = 1000; // weights between the tiles, and 8 more each
    const int inputs = 16 * steps, firstPiece = steps / 2, columns = 8 * numTiles;
    std::vector<unsigned short> pieces[2];
    int strides[2], sizes[2] = {firstPiece, steps - firstPiece};
    for (int piece = 0; piece < 2; piece++) {
        strides[piece] = (split ? 256 : 128) * sizes[piece] + Apart;
        pieces[piece].assign(strides[piece] * numTiles, 0x7c00);
        for (int tile = 0; tile < numTiles; tile++) {
            std::vector<double> ofTile;
            for (int k = 16 * firstPiece * piece; k < 16 * (piece == 0 ? firstPiece : steps); k++)
                ofTile.insert(ofTile.end(), weights.begin() + k * columns + 8 * tile, weights.begin() + k * columns + 8 * tile + 8);
            const std::vector<unsigned short> packed = pack(ofTile, sizes[piece], split);
            std::copy(packed.begin(), packed.end(), pieces[piece].begin() + strides[piece] * tile);
        }
    }
    const int stride = inputs + 8;
    const std::vector<float> memory = spread(a, rows, inputs, stride);
    struct alignas(16) Line {
        float reals[4];
    };
    std::vector<Line> local(16 * ROW_TILES * stride / 4, Line{std::nanf(""), std::nanf(""), std::nanf(""), std::nanf("")});
    float* stored = local[0].reals;
    auto* store = split ? splitWeights::storeTile : halfWeights::storeTile;
    auto* again = split ? splitWeights::repeatTiles : halfWeights::repeatTiles;
    auto* add = split ? splitWeights::addTileProducts : halfWeights::addTileProducts;
    auto* addStored = split ? splitWeights::addStoredTileProducts : halfWeights::addStoredTileProducts;
    Product product(a, weights, rows, columns);
    std::atomic<bool> touched = false; // what is no row or no tile
    warp.run([&](int lane) {
        for (int row = 0; row < rows; row += 16)
            for (int step = 0; step < steps; step++)
                store(stored + row * stride, stride, step, &memory[row * stride + 16 * step], stride, rows - row, lane);
        warp.meet();
        float sums[TILE_SUMS] = {};
        for (int piece = 0; piece < 2; piece++) {
            const float* part = memory.data() + 16 * firstPiece * piece;
            if (way == Way::Rows)
                add(sums, part, stride, rows, pieces[piece].data(), strides[piece], numTiles, sizes[piece], lane);
            else if (way == Way::Stored)
                addStored(sums, stored, stride, firstPiece * piece, rows, pieces[piece].data(), strides[piece], numTiles, sizes[piece], lane);
            else
                again(sums, part, stride, rows, pieces[piece].data(), strides[piece], numTiles, sizes[piece], lane);
        }
        const bool mine = (split ? splitWeights::areTilesRight : halfWeights::areTilesRight)(sums);
        if (lane == 0)
            right = mine;
        for (int i = 0; i < TILE_SUMS; i++) {
            const int tile = i / 4 % PRODUCT_TILES, row = i / (4 * PRODUCT_TILES) * 16 + lane / 4 + 8 * (i % 4 / 2);
            if (row < rows && tile < numTiles)
                product.found[row * columns + 8 * tile + lane % 4 * 2 + i % 2] = sums[i];
            else if (sums[i] != 0)
                touched = true;
        }
    });
    CHECK(!touched);
    return product;
}

/** Whole numbers, so that nothing is rounded: any two elements that change places are seen. */
void testLayout() {
    std::mt19937 random(1);
    std::uniform_int_distribution<int> integers(-40, 40);
    for (bool split : {false, true})
        for (int rows : {0, 1, 2, 4, 7, 8, 9, 13, 16})
            for (int steps : {1, 2, 5}) {
                std::vector<float> a(16 * rows * steps);
                std::vector<double> weights(128 * steps);
                for (float& x : a)
                    x = integers(random);
                for (double& x : weights)
                    x = integers(random);
                const Product product = multiply(a, weights, rows, steps, split, 3);
                CHECK_CLOSE(product.expected, product.found, 0, 0);
            }
}

void testSeveralTiles() {
    std::mt19937 random(2);
    std::uniform_int_distribution<int> integers(-40, 40);
    for (Way way : {Way::Rows, Way::Stored, Way::Again})
        for (bool split : {false, true})
            for (int rows : {1, 8, 15, 16, 17, 32, 43, 48})
                for (int numTiles = 1; numTiles <= PRODUCT_TILES; numTiles++) {
                    const int steps = 2 + (rows + numTiles) % 3;
                    std::vector<float> a(16 * rows * steps);
                    std::vector<double> weights(16 * steps * 8 * numTiles);
                    for (float& x : a)
                        x = integers(random);
                    for (double& x : weights)
                        x = integers(random);
                    bool right = false;
                    const Product product = multiplyTiles(way, a, weights, rows, numTiles, steps, split, right);
                    CHECK(right);
                    CHECK_CLOSE(product.expected, product.found, 0, 0);
                }
}

/** Relative to the sum of the terms' magnitudes, for numbers of any size that halves have. */
void testPrecision() {
    for (bool cutsOff : {false, true}) {
        warp.cutsOff = cutsOff;
        for (bool split : {false, true})
            for (int steps : {1, 8, 24, 63})
                for (double size : {1e-3, 1.0, 1e3}) {
                    std::mt19937 random(steps);
                    std::normal_distribution<double> normal;
                    std::vector<float> a(16 * 16 * steps);
                    std::vector<double> weights(128 * steps);
                    for (float& x : a)
                        x = static_cast<float>(size * normal(random));
                    for (double& x : weights) {
                        x = 0.1 * normal(random);
                        if (!split)
                            x = fromHalf(toHalf(static_cast<float>(x)));
                    }
                    const double error = multiply(a, weights, 16, steps, split).getError();
                    std::cout << (split ? "split" : "half") << " weights, " << 16 * steps << " inputs of size " << size << (cutsOff ? ", bits cut off" : "")
                              << ": error " << error << std::endl;
                    CHECK(error < 4e-7);
                }
    }
    warp.cutsOff = false;
}

/** What halves cannot hold. */
void testRange() {
    for (bool split : {false, true})
        for (float size : {7e4f, 1e9f, 1e30f}) {
            std::mt19937 random(5);
            std::normal_distribution<double> normal;
            std::vector<float> a(16 * 11 * 3);
            std::vector<double> weights(128 * 3);
            for (float& x : a)
                x = static_cast<float>(normal(random));
            for (double& x : weights)
                x = fromHalf(toHalf(static_cast<float>(normal(random))));
            a[4 * 48 + 37] = size;
            CHECK(multiply(a, weights, 11, 3, split).getError() < 4e-7);
            for (Way way : {Way::Rows, Way::Stored, Way::Again}) {
                bool right = false;
                const Product product = multiplyTiles(way, a, weights, 11, 1, 3, split, right);
                CHECK_EQUAL(way == Way::Again, right);
                if (right)
                    CHECK(product.getError() < 4e-7);
            }
        }
    // Down to 2^-35 nothing is lost.
    std::vector<float> a(16);
    std::vector<double> weights(128, 1.0);
    a[3] = std::ldexp(1.0f, -35);
    a[5] = std::ldexp(1.0f, -15) + std::ldexp(1.0f, -30);
    const Product product = multiply(a, weights, 1, 1, true);
    CHECK_CLOSE(product.expected, product.found, 0, 0);
}

} // namespace

int main(int argc, char* argv[]) {
    return runTests(argc, argv, {{"layout", testLayout}, {"several tiles", testSeveralTiles}, {"precision", testPrecision}, {"range", testRange}});
}
