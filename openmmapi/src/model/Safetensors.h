// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_SAFETENSORS_H_
#define OPENMMFLASH_SAFETENSORS_H_

#include <map>
#include <string>
#include <vector>

namespace OpenMMFlash {

/** A tensor within the bytes of a safetensors file; the bytes must outlive it. */
struct Tensor {
    std::string name, dtype;
    std::vector<long long> shape;
    const char* data = nullptr;
    long long size = 0; ///< number of elements

    /** "[25, 128]" */
    std::string describeShape() const;
    /** All elements as double. @throws FlashModelError for an integer dtype or a value that is not finite */
    std::vector<double> getReals() const;
    /** All elements as int. @throws FlashModelError for any other dtype or a value out of int's range */
    std::vector<int> getIntegers() const;
};

/** A checked safetensors file: metadata and tensors that neither overlap nor leave gaps nor reach past the end. */
struct Safetensors {
    std::map<std::string, std::string> metadata;
    std::map<std::string, Tensor> tensors;

    /** @throws FlashModelError naming what is wrong */
    static Safetensors parse(const std::string& bytes);
};

} // namespace OpenMMFlash

#endif
