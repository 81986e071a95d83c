// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Z = G W, G [rows][outputs], W [outputs][inputs] in panels [panel][input][outputs of the panel]: an element of Z is the scalar
// product of a row of G and of an input's outputs, which lie side by side in every panel. A tile of Rows rows x Inputs inputs is
// summed in registers over all outputs, lane by lane; lanes are added up for Width inputs at a time. Every element is one chain
// of multiply-adds in each lane, and a fixed sum of lanes.
#include "AniBackward.h"
#include "AevMath.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

extern const AniBackwardKernels aniBackwardKernels;

namespace {

// As many sums as leave registers for the weights of the inputs and one vector of G.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int MaxRows = 12;
#else
constexpr int MaxRows = 6;
#endif
constexpr int Inputs = 2;
constexpr int PanelVectors = 2;
/** Lanes that an input's sums are folded to as soon as they are complete. */
constexpr int Part = Width > 4 ? Width / Inputs : Width;

FLASH_INLINE Floats loadWeights(const float* p) {
    return load(p);
}
FLASH_INLINE Floats loadWeights(const std::uint16_t* p) {
    return loadHalfPrecision(p);
}

/** sums[row][Part][Width], of which those of inputs `input` and the next one (or itself, if it is the last) are written, from the first row's. */
template <int Rows, class Weight> void multiplyTile(const float* g, std::ptrdiff_t stride, const PackedWeights& packed, int input, float* sums) {
    Floats sum[Rows][Inputs] = {};
    const Weight* panel = static_cast<const Weight*>(packed.panels);
    const int vectors = (packed.outputs + Width - 1) / Width, whole = vectors / PanelVectors;
    const std::ptrdiff_t next = input + 1 < packed.inputs ? 1 : 0;
    const Weight* w = panel + input * (PanelVectors * Width);
    for (int p = 0; p < whole; p++) {
#pragma GCC unroll 2
        for (int v = 0; v < PanelVectors; v++) {
            const Floats w0 = loadWeights(w + v * Width), w1 = loadWeights(w + (next * PanelVectors + v) * Width);
#pragma GCC unroll 12
            for (int r = 0; r < Rows; r++) {
                const Floats x = load(g + r * stride + v * Width);
                sum[r][0] += x * w0;
                sum[r][1] += x * w1;
            }
        }
        w += static_cast<std::ptrdiff_t>(packed.inputs) * (PanelVectors * Width);
        g += PanelVectors * Width;
    }
    if (whole * PanelVectors < vectors) { // the last panel is a vector wide
        w = panel + (static_cast<std::ptrdiff_t>(whole) * packed.inputs * PanelVectors + input) * Width;
        const Floats w0 = loadWeights(w), w1 = loadWeights(w + next * Width);
#pragma GCC unroll 12
        for (int r = 0; r < Rows; r++) {
            const Floats x = load(g + r * stride);
            sum[r][0] += x * w0;
            sum[r][1] += x * w1;
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < Rows; r++)
        for (int i = 0; i < Inputs; i += Width / Part)
            store(sums + (r * Part + i * Part / Width) * Width, pack<Part>(sum[r] + i));
}

template <class Weight> using Tile = void (*)(const float*, std::ptrdiff_t, const PackedWeights&, int, float*);

/** [rows - 1] */
template <class Weight> struct Tiles {
    static constexpr Tile<Weight> tiles[] = {
        multiplyTile<1, Weight>, multiplyTile<2, Weight>, multiplyTile<3, Weight>, multiplyTile<4, Weight>,  multiplyTile<5, Weight>,  multiplyTile<6, Weight>,
#if defined(__AVX512F__) || defined(__aarch64__)
        multiplyTile<7, Weight>, multiplyTile<8, Weight>, multiplyTile<9, Weight>, multiplyTile<10, Weight>, multiplyTile<11, Weight>, multiplyTile<12, Weight>,
#endif
    };
    static_assert(sizeof(tiles) == MaxRows * sizeof(tiles[0]), "a kernel for each number of rows");
};

FLASH_INLINE Floats finish(Floats z, const DenseOutput& output, int row, int column) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(row) * output.y.width + column;
    if (output.form == DenseOutput::Form::Add)
        return loadUnaligned(output.y.data + at) + z;
    if (output.form == DenseOutput::Form::MultiplyCeluSlope) {
        const Floats one = broadcast(1.0f);
        const Floats slope = loadUnaligned(output.other.data + static_cast<std::ptrdiff_t>(row) * output.other.width + column) * (1 / output.alpha) + one;
        return z * (slope > one ? one : slope); // NaN stays
    }
    return z;
}

template <class Weight> void multiplyRows(int begin, int end, const SlicedMatrix& g, const PackedWeights& packed, const DenseOutput& output) {
    alignas(64) float sums[MaxRows * Part * Width];
    const int tiles = (end - begin + MaxRows - 1) / MaxRows;
    for (int tile = 0; tile < tiles; tile++) {
        // Tiles of nearly the same size.
        const int first = begin + (end - begin) * tile / tiles, rows = begin + (end - begin) * (tile + 1) / tiles - first;
        const float* const from = g.data + static_cast<std::ptrdiff_t>(first) * g.width;
        for (int column = 0; column < packed.inputs; column += Width) {
            for (int i = 0; i < Width; i += Inputs) {
                const int input = column + i < packed.inputs ? column + i : packed.inputs - 1;
                Tiles<Weight>::tiles[rows - 1](from, g.width, packed, input, sums + i * Part);
            }
            for (int r = 0; r < rows; r++) {
                Floats lanes[Part];
                for (int i = 0; i < Part; i++)
                    lanes[i] = load(sums + (r * Part + i) * Width);
                const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(first + r) * output.y.width + column;
                storeUnaligned(output.y.data + at, finish(sumParts<Part>(lanes), output, first + r, column));
            }
        }
    }
}

void multiply(int begin, int end, const SlicedMatrix& g, const PackedWeights& packed, const DenseOutput& output) {
    if constexpr (HasHalf)
        if (packed.half)
            return multiplyRows<std::uint16_t>(begin, end, g, packed, output);
    multiplyRows<float>(begin, end, g, packed, output);
}

} // namespace

const AniBackwardKernels aniBackwardKernels = {multiply};

} // namespace FLASH_ISA
} // namespace OpenMMFlash
