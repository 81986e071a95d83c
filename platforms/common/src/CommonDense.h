// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONDENSE_H_
#define OPENMMFLASH_COMMONDENSE_H_

#include "CommonPotential.h"
#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeVectorTypes.h"
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace OpenMMFlash {

/**
 * Linear layers in the layout that tileProduct() takes, all in one array. Inputs and outputs are padded with zeros to multiples of 16;
 * a layer is cut into tiles of 8 outputs n, a tile into steps of 16 inputs k:
 *
 *   plain          [tile][step][n 8][k 16]                         WEIGHT = real, or unsigned short with half weights
 *   tensor cores   [tile]( [step][lane 32][4], the same again )    WEIGHT = unsigned short: halves
 *
 * For tensor cores, lane = 4 n + t holds k = 2t, 2t + 1, 2t + 8, 2t + 9: the B operand of m16n8k16. In front is the weight rounded to a
 * half, hi; behind it, unless the weights are halves anyway, the rest as half of (w - hi) * SplitScale: multiplied so, it does not
 * become a subnormal number, and hi + lo has 22 bits however small w is. The product is hi * a + lo * a / SplitScale.
 */
class CommonDense {
public:
    enum class Direction {
        Forward,   ///< W x + b
        Transposed ///< W^T g, without bias
    };
    static constexpr int SplitScale = 2048;

    CommonDense(OpenMM::ComputeContext& cc, const CommonOptions& options);
    /** The number that a layer's rows are padded to. */
    static int pad(int width) {
        return (width + 15) / 16 * 16;
    }
    /** Reals from one row to the next in local memory: loads of eight rows meet different banks. */
    static int getStride(int width) {
        return pad(width) + 8;
    }
    /** @return the index of the layer @throws std::invalid_argument  a weight has no half precision number, and has to */
    int add(const Linear& layer, Direction direction);
    /** x = first tile step, y = first bias (-1: none), z = steps of 16 inputs, w = tiles of 8 outputs: what dense() takes. */
    OpenMM::mm_int4 getLayer(int index) const {
        return described.at(index);
    }
    /** Bring everything to the device; nothing can be added any more. */
    void upload();
    /** WEIGHT, WEIGHTS_PER_STEP, FLASH_HALF_WEIGHTS where tileProduct.cc has to read halves, FLASH_SPLIT_WEIGHTS and FLASH_SPLIT_SCALE. */
    std::map<std::string, std::string> getDefines() const;

    OpenMM::ComputeArray weights; ///< WEIGHT [tile step][WEIGHTS_PER_STEP]
    OpenMM::ComputeArray biases;  ///< real
    OpenMM::ComputeArray layers;  ///< int4 [index]

private:
    enum class Layout { Real, Half, Tensor, SplitTensor };
    int getWeightsPerStep() const {
        return layout == Layout::SplitTensor ? 256 : 128;
    }
    void addTile(const std::vector<double>& columns, int steps);

    OpenMM::ComputeContext& cc;
    const Layout layout;
    std::vector<OpenMM::mm_int4> described;
    std::vector<double> reals, offsets; ///< weights where they are reals, and all biases
    std::vector<std::uint16_t> halves;
    std::int64_t numSteps = 0;
};

/** The bits of the nearest IEEE half precision number. @throws std::invalid_argument  as roundToHalf() */
std::uint16_t getHalfBits(double x);

} // namespace OpenMMFlash

#endif
