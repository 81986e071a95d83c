// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Dense layers: Y = form(X W^T + bias), X [rows][inputs], W [outputs][inputs] packed in panels of outputs.
//
// A tile of up to MaxRows rows x MaxVectors vectors of outputs is summed in registers over all inputs: per input, one load per
// vector of weights and one broadcast per row. Panels are the outer loop and tiles of rows the inner one, so that a panel comes
// from memory once and stays in the first-level cache; rows are cut so that X stays in the second level. Every element is one
// chain of multiply-adds over the inputs in their order, whatever the tile: it does not depend on the rows around it.
#include "Dense.h"
#include "Activations.h"
#include "Simd.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

extern const DenseKernels denseKernels;

namespace {

// As many accumulators as leave registers for a row of weights and a broadcast.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int MaxRows = 12, MaxVectors = 2;
#else
constexpr int MaxRows = 6, MaxVectors = 2;
#endif
constexpr int Panel = MaxVectors * Width;
/** Bytes of X that shall stay in the second-level cache, and how far ahead of their use weights are asked for. */
constexpr int CacheBytes = 256 * 1024, PrefetchBytes = 8 * 1024;

FLASH_INLINE Floats loadWeights(const float* p) {
    return load(p);
}
FLASH_INLINE Floats loadWeights(const std::uint16_t* p) {
    return loadHalfPrecision(p);
}

FLASH_INLINE float* at(const SlicedMatrix& matrix, int row, int column) {
    return matrix.data + column / matrix.width * matrix.stride + static_cast<std::ptrdiff_t>(row) * matrix.width + column % matrix.width;
}

/** Part of a matrix: where each vector of its first row begins, and floats from row to row. */
struct Target {
    float* vectors[MaxVectors];
    std::ptrdiff_t rowStride;

    inline __attribute__((always_inline)) float* at(int row, int vector) const {
        return vectors[vector] + row * rowStride;
    }
};

/** The columns of a panel, from row 0. */
FLASH_INLINE Target getColumns(const SlicedMatrix& matrix, int column, int vectors) {
    Target target = {};
    for (int v = 0; v < MaxVectors; v++)
        target.vectors[v] = at(matrix, 0, v < vectors ? column + v * Width : column);
    target.rowStride = matrix.width;
    return target;
}

FLASH_INLINE Target fromRow(const Target& columns, int row) {
    Target target = columns;
    for (int v = 0; v < MaxVectors; v++)
        target.vectors[v] += row * columns.rowStride;
    return target;
}

/**
 * target = (or +=) bias + X W^T for one tile.
 *
 * @param x        the first row's element of column 0
 * @param weights  of the panel
 * @param bias     of the panel, or null
 */
template <int Rows, int Vectors, class Weight>
void multiplyTile(const float* x, const SlicedMatrix& matrix, int inputs, const Weight* weights, const float* bias, const Target& target, bool add) {
    Floats sum[Rows][Vectors];
#pragma GCC unroll 12
    for (int r = 0; r < Rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; v++)
            sum[r][v] = bias == nullptr ? Floats{} : loadUnaligned(bias + v * Width);
    const std::ptrdiff_t stride = matrix.width;
    for (int first = 0; first < inputs; first += matrix.width, x += matrix.stride) {
        const int count = inputs - first < matrix.width ? inputs - first : matrix.width;
        const float* const end = x + count;
        for (const float* p = x; p < end; p++) {
            constexpr int bytes = Vectors * Width * static_cast<int>(sizeof(Weight));
#pragma GCC unroll 4
            for (int offset = 0; offset < bytes; offset += 64)
                __builtin_prefetch(reinterpret_cast<const char*>(weights) + PrefetchBytes + offset);
            Floats w[Vectors];
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; v++)
                w[v] = loadWeights(weights + v * Width);
            weights += Vectors * Width;
#pragma GCC unroll 12
            for (int r = 0; r < Rows; r++) {
                const Floats value = broadcast(p[r * stride]);
#pragma GCC unroll 4
                for (int v = 0; v < Vectors; v++)
                    sum[r][v] += value * w[v];
            }
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < Rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; v++) {
            float* const p = target.at(r, v);
            storeUnaligned(p, add ? loadUnaligned(p) + sum[r][v] : sum[r][v]);
        }
}

template <class Weight> using Tile = void (*)(const float*, const SlicedMatrix&, int, const Weight*, const float*, const Target&, bool);

/** [rows - 1] */
template <int Vectors, class Weight> struct Tiles {
    static constexpr Tile<Weight> tiles[] = {
        multiplyTile<1, Vectors, Weight>,  multiplyTile<2, Vectors, Weight>,  multiplyTile<3, Vectors, Weight>,
        multiplyTile<4, Vectors, Weight>,  multiplyTile<5, Vectors, Weight>,  multiplyTile<6, Vectors, Weight>,
#if defined(__AVX512F__) || defined(__aarch64__)
        multiplyTile<7, Vectors, Weight>,  multiplyTile<8, Vectors, Weight>,  multiplyTile<9, Vectors, Weight>,
        multiplyTile<10, Vectors, Weight>, multiplyTile<11, Vectors, Weight>, multiplyTile<12, Vectors, Weight>,
#endif
    };
    static_assert(sizeof(tiles) == MaxRows * sizeof(tiles[0]), "a kernel for each number of rows");
};

/** value = a(value), slope = a'(value) for a tile. */
template <bool WithSlope, class Function> void activateTile(const Function& function, int rows, int vectors, const Target& value, const Target& slope) {
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            float* const p = value.at(r, v);
            Floats y, dy;
            function(loadUnaligned(p), y, dy);
            storeUnaligned(p, y);
            if (WithSlope)
                storeUnaligned(slope.at(r, v), dy);
        }
}

/** Call action(function) for the activation function of that name. */
template <class Action> FLASH_INLINE void withActivation(DenseActivation activation, float alpha, const Action& action) {
    switch (activation) {
    case DenseActivation::Tanh:
        return action(Tanh());
    case DenseActivation::ShiftedSoftplus:
        return action(Softplus{0.693147180559945309f});
    case DenseActivation::Softplus:
        return action(Softplus{0});
    case DenseActivation::Silu:
        return action(Silu());
    case DenseActivation::Sigmoid:
        return action(Sigmoid());
    case DenseActivation::Mish:
        return action(Mish());
    case DenseActivation::Celu:
        return action(Celu{alpha, 1 / alpha});
    }
}

/** What becomes of a tile once its sums stand in y, or in `sums` for the forms that multiply. */
void finishTile(int rows, int vectors, const DenseOutput& output, const Target& y, const Target& other, const Target& sums) {
    using Form = DenseOutput::Form;
    if (output.form == Form::Store || output.form == Form::Add)
        return;
    if (output.form == Form::Activate) {
        withActivation(output.activation, output.alpha, [&](const auto& function) {
            if (output.other.data != nullptr)
                activateTile<true>(function, rows, vectors, y, other);
            else
                activateTile<false>(function, rows, vectors, y, other);
        });
        return;
    }
    const bool celu = output.form == Form::MultiplyCeluSlope;
    const Floats inverse = broadcast(1 / output.alpha), one = broadcast(1.0f);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            Floats factor = loadUnaligned(other.at(r, v));
            if (celu) {
                factor = factor * inverse + one;
                factor = factor > one ? one : factor; // NaN stays
            }
            storeUnaligned(y.at(r, v), loadUnaligned(sums.at(r, v)) * factor);
        }
}

/** Where part k of n begins, of parts that differ by at most one row. */
FLASH_INLINE int cut(int rows, int k, int n) {
    return static_cast<int>(static_cast<std::int64_t>(rows) * k / n);
}

template <class Weight> void multiplyRows(int begin, int end, const SlicedMatrix& x, const PackedWeights& packed, const DenseOutput& output) {
    using Form = DenseOutput::Form;
    const bool toBuffer = output.form == Form::MultiplyOther || output.form == Form::MultiplyCeluSlope;
    const bool hasOther = toBuffer || (output.form == Form::Activate && output.other.data != nullptr);
    alignas(64) float buffer[MaxRows * Panel];
    const Target sums = getColumns(SlicedMatrix{buffer, Panel, 0}, 0, MaxVectors);
    const Weight* weights = static_cast<const Weight*>(packed.panels);
    const int rows = end - begin, tiles = (rows + MaxRows - 1) / MaxRows;
    for (int column = 0; column < packed.outputs; column += Panel) {
        const int left = packed.outputs - column, vectors = left >= Panel ? MaxVectors : (left + Width - 1) / Width;
        const float* const bias = packed.bias == nullptr ? nullptr : packed.bias + column;
        const Target yColumns = getColumns(output.y, column, vectors);
        const Target otherColumns = hasOther ? getColumns(output.other, column, vectors) : yColumns;
        const Tile<Weight>* const kernels = vectors == 1 ? Tiles<1, Weight>::tiles : Tiles<MaxVectors, Weight>::tiles;
        for (int tile = 0; tile < tiles; tile++) {
            // Tiles of nearly the same size: a last one of a row or two would take as long as one of four.
            const int first = begin + cut(rows, tile, tiles), next = begin + cut(rows, tile + 1, tiles);
            const float* const row = packed.inputs == 0 ? nullptr : x.data + static_cast<std::ptrdiff_t>(first) * x.width;
            const Target y = fromRow(yColumns, first);
            kernels[next - first - 1](row, x, packed.inputs, weights, bias, toBuffer ? sums : y, output.form == Form::Add);
            finishTile(next - first, vectors, output, y, fromRow(otherColumns, first), sums);
        }
        weights += static_cast<std::ptrdiff_t>(packed.inputs) * vectors * Width;
    }
}

void multiply(int begin, int end, const SlicedMatrix& x, const PackedWeights& packed, const DenseOutput& output) {
    // Whole tiles, as many as keep their part of X in the cache.
    const int bytes = (packed.inputs > 0 ? packed.inputs : 1) * MaxRows * static_cast<int>(sizeof(float));
    const int tiles = CacheBytes / bytes > 2 ? CacheBytes / bytes : 2, rows = end - begin;
    const int blocks = (rows + tiles * MaxRows - 1) / (tiles * MaxRows);
    for (int block = 0; block < blocks; block++) {
        const int first = begin + cut(rows, block, blocks), next = begin + cut(rows, block + 1, blocks);
        if constexpr (HasHalf)
            if (packed.half) {
                multiplyRows<std::uint16_t>(first, next, x, packed, output);
                continue;
            }
        multiplyRows<float>(first, next, x, packed, output);
    }
}

void dotRows(int begin, int end, const SlicedMatrix& x, int inputs, const double* weights, double bias, double* values) {
    for (int row = begin; row < end; row++) {
        Doubles sums{};
        double rest = bias;
        for (int first = 0; first < inputs; first += x.width) {
            const float* const p = at(x, row, first);
            const double* const w = weights + first;
            const int count = inputs - first < x.width ? inputs - first : x.width;
            int k = 0;
            for (; k + DoubleWidth <= count; k += DoubleWidth)
                sums += __builtin_convertvector(loadHalfWidth(p + k), Doubles) * loadUnaligned(w + k);
            for (; k < count; k++)
                rest += static_cast<double>(p[k]) * w[k];
        }
        for (int k = 0; k < DoubleWidth; k++)
            rest += sums[k];
        values[row] = rest;
    }
}

void activate(DenseActivation activation, float alpha, int n, const float* x, float* value, float* derivative) {
    withActivation(activation, alpha, [&](const auto& function) {
        for (int k = 0; k < n; k += Width) {
            const int count = n - k < Width ? n - k : Width;
            alignas(64) float buffer[Width] = {};
            for (int i = 0; i < count; i++)
                buffer[i] = x[k + i];
            Floats y, dy;
            function(load(buffer), y, dy);
            for (int i = 0; i < count; i++) {
                value[k + i] = y[i];
                if (derivative != nullptr)
                    derivative[k + i] = dy[i];
            }
        }
    });
}

} // namespace

const DenseKernels denseKernels = {Panel, Width, MaxRows, HasHalf, multiply, dotRows, activate};

} // namespace FLASH_ISA
} // namespace OpenMMFlash
