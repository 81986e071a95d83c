// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUDENSE_H_
#define OPENMMFLASH_CPUDENSE_H_

#include "CpuArray.h"
#include "kernels/Kernels.h"
#include "openmmflash/internal/ModelSpec.h"

namespace OpenMMFlash {

DenseActivation getDenseActivation(Activation activation);

/** The weights of a linear layer, packed once for the kernels that will read them. */
class PackedLinear {
public:
    /** Forward: rows x [inputs] to W x + b. Transposed: rows of dE/d(outputs) to dE/d(inputs), W^T g, without the bias. */
    enum class Direction { Forward, Transposed };

    /** No layer yet. */
    PackedLinear() = default;
    /**
     * @param half  keep the weights (not the bias) as half precision numbers where the kernels can read them
     * @throws std::invalid_argument  arrays do not fit inputs and outputs; half, and a weight is no half precision number
     *                                (compileSchNet and compileAni round them)
     */
    PackedLinear(const CpuKernels& kernels, const Linear& layer, Direction direction, bool half);

    /** Rows begin to end - 1 of the product: see DenseKernels::multiply. */
    void multiply(int begin, int end, const SlicedMatrix& x, const DenseOutput& output) const {
        kernels->multiply(begin, end, x, weights, output);
    }
    const PackedWeights& getWeights() const {
        return weights;
    }
    /** Memory that one pass over the layer reads, and that it holds. */
    size_t getBytes() const {
        return floats.getBytes() + halves.getBytes() + bias.getBytes();
    }

private:
    const DenseKernels* kernels = nullptr;
    PackedWeights weights = {nullptr, false, nullptr, 0, 0};
    CpuArray<float> floats, bias;
    CpuArray<std::uint16_t> halves;
};

/** The last layer of a network, with one output: a row's energy, and where its gradient begins. */
class PackedReadout {
public:
    PackedReadout() = default;
    /**
     * @param scale  of the gradient: the share of this network in the energy
     * @throws std::invalid_argument  the layer has not one output
     */
    PackedReadout(const CpuKernels& kernels, const Linear& layer, double scale);

    /** energies[row] = w x + b for rows begin to end - 1, in double precision. */
    void computeEnergies(int begin, int end, const SlicedMatrix& x, double* energies) const {
        kernels->dotRows(begin, end, x, inputs, weights.data(), constant, energies);
    }
    /** Every row of z is scale * w: output.form says by what derivative it is multiplied. */
    void startGradient(int begin, int end, const DenseOutput& output) const {
        kernels->multiply(begin, end, SlicedMatrix{nullptr, 16, 0}, gradient, output);
    }
    size_t getBytes() const {
        return weights.getBytes() + scaled.getBytes();
    }

private:
    const DenseKernels* kernels = nullptr;
    CpuArray<double> weights;
    CpuArray<float> scaled;
    double constant = 0;
    int inputs = 0;
    PackedWeights gradient = {nullptr, false, nullptr, 0, 0};
};

} // namespace OpenMMFlash

#endif
