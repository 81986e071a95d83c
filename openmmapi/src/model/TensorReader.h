// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_TENSORREADER_H_
#define OPENMMFLASH_TENSORREADER_H_

#include "Json.h"
#include "Safetensors.h"
#include "openmmflash/internal/ModelSpec.h"
#include <set>
#include <string>
#include <vector>

namespace OpenMMFlash {

/** Takes tensors of stated shapes out of a file and remembers which were taken, so that none is overlooked. */
class TensorReader {
public:
    explicit TensorReader(const Safetensors& file) : file(file) {}

    bool has(const std::string& name) const {
        return file.tensors.count(name) != 0;
    }
    /** A tensor to look at, or nullptr; it does not count as taken. */
    const Tensor* find(const std::string& name) const;
    /** Number of elements of all tensors taken so far. */
    long long getNumTaken() const {
        return numTaken;
    }
    /** A tensor of real numbers of exactly this shape; -1 stands for any size from 1. */
    std::vector<double> getReals(const std::string& name, const std::vector<long long>& shape);
    std::vector<int> getIntegers(const std::string& name, const std::vector<long long>& shape);
    /** `prefix`.weight [outputs][inputs] and, where present, `prefix`.bias [outputs]. @param outputs -1: as the file has it */
    Linear getLinear(const std::string& prefix, int inputs, int outputs);
    /** `prefix`.0, `prefix`.1, ...: layers that lead from `inputs` to one output. */
    std::vector<Linear> getPerceptron(const std::string& prefix, int inputs);
    /** @throws FlashModelError if the file has a tensor that was never taken */
    void checkAllTaken() const;

private:
    const Tensor& take(const std::string& name, const std::vector<long long>& shape);
    const Safetensors& file;
    std::set<std::string> taken;
    long long numTaken = 0;
};

/** Reads the members of a JSON object and remembers which were read. */
class ObjectReader {
public:
    /** @param what names the object in messages; `object` must be a JSON object */
    ObjectReader(const Json& object, const std::string& what);

    bool has(const std::string& key);
    /** A required number. */
    double getNumber(const std::string& key);
    double getNumber(const std::string& key, double defaultValue);
    double getPositive(const std::string& key);
    int getInteger(const std::string& key, int minimum, int maximum);
    bool getBool(const std::string& key, bool defaultValue);
    std::string getString(const std::string& key);
    /** Index of a required string among the allowed ones. */
    size_t getChoice(const std::string& key, const std::vector<std::string>& choices);
    const Json& get(const std::string& key);
    /** @throws FlashModelError if the object has a key that was never asked for */
    void checkAllRead() const;
    [[noreturn]] void fail(const std::string& key, const std::string& requirement) const;

private:
    const Json& object;
    std::string what;
    std::set<std::string> read;
};

} // namespace OpenMMFlash

#endif
