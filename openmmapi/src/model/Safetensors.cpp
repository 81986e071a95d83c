// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "Safetensors.h"
#include "Json.h"
#include "openmmflash/FlashModel.h"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace OpenMMFlash {

namespace {

constexpr uint64_t MaxHeader = 4 << 20;
constexpr size_t MaxRank = 4;

int elementSize(const std::string& dtype) {
    if (dtype == "F64" || dtype == "I64")
        return 8;
    if (dtype == "F32" || dtype == "I32")
        return 4;
    if (dtype == "F16")
        return 2;
    return 0;
}

template <class T> T load(const char* data, long long index) {
    T value;
    std::memcpy(&value, data + index * static_cast<long long>(sizeof(T)), sizeof(T));
    return value;
}

double halfToDouble(uint16_t half) {
    const double sign = half & 0x8000 ? -1 : 1;
    const int exponent = (half >> 10) & 31, fraction = half & 1023;
    if (exponent == 31)
        return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
    if (exponent == 0)
        return sign * std::ldexp(fraction, -24);
    return sign * std::ldexp(1024 + fraction, exponent - 25);
}

Tensor parseTensor(const std::string& name, const Json& entry, const std::string& bytes, uint64_t dataStart, uint64_t& begin, uint64_t& end) {
    const std::string what = "tensor " + quoted(name);
    if (entry.type != Json::Object)
        throw FlashModelError(what + ": expected an object, found " + entry.describe());
    for (const auto& [key, value] : entry.object)
        if (key != "dtype" && key != "shape" && key != "data_offsets")
            throw FlashModelError(what + ": unknown key " + quoted(key));
    const Json *dtype = entry.find("dtype"), *shape = entry.find("shape"), *offsets = entry.find("data_offsets");
    if (dtype == nullptr || shape == nullptr || offsets == nullptr)
        throw FlashModelError(what + ": dtype, shape and data_offsets are required");
    auto isSize = [](const Json& value) { return value.type == Json::Number && value.isInteger && value.number >= 0; };

    Tensor tensor;
    tensor.name = name;
    if (dtype->type != Json::String || elementSize(dtype->string) == 0)
        throw FlashModelError(what + " has dtype " + dtype->describe() + "; allowed are F64, F32, F16, I64, I32");
    tensor.dtype = dtype->string;
    if (shape->type != Json::Array || shape->array.size() > MaxRank)
        throw FlashModelError(what + ": shape must be an array of at most " + std::to_string(MaxRank) + " sizes, found " + shape->describe());
    tensor.size = 1;
    for (const Json& dimension : shape->array) {
        if (!isSize(dimension))
            throw FlashModelError(what + ": shape contains " + dimension.describe() + ", which is not a size");
        const auto length = static_cast<long long>(dimension.number);
        tensor.shape.push_back(length);
        if (__builtin_mul_overflow(tensor.size, length, &tensor.size))
            throw FlashModelError(what + ": the product of its shape " + tensor.describeShape() + " overflows");
    }
    if (offsets->type != Json::Array || offsets->array.size() != 2 || !isSize(offsets->array[0]) || !isSize(offsets->array[1]))
        throw FlashModelError(what + ": data_offsets must be two sizes");
    begin = static_cast<uint64_t>(offsets->array[0].number);
    end = static_cast<uint64_t>(offsets->array[1].number);
    const std::string range = std::to_string(begin) + " to " + std::to_string(end);
    if (end < begin || end > bytes.size() - dataStart)
        throw FlashModelError(what + " lies at " + range + ", but the file has " + std::to_string(bytes.size() - dataStart) + " bytes of data");
    long long expected;
    if (__builtin_mul_overflow(tensor.size, static_cast<long long>(elementSize(tensor.dtype)), &expected) || static_cast<uint64_t>(expected) != end - begin)
        throw FlashModelError(what + " lies at " + range + ", which does not fit its shape " + tensor.describeShape() + " of " + tensor.dtype);
    tensor.data = bytes.data() + dataStart + begin;
    return tensor;
}

} // namespace

std::string Tensor::describeShape() const {
    std::string out = "[";
    for (size_t i = 0; i < shape.size(); i++)
        out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
    return out + "]";
}

std::vector<double> Tensor::getReals() const {
    std::vector<double> values(static_cast<size_t>(size));
    for (long long i = 0; i < size; i++) {
        double value;
        if (dtype == "F64")
            value = load<double>(data, i);
        else if (dtype == "F32")
            value = load<float>(data, i);
        else if (dtype == "F16")
            value = halfToDouble(load<uint16_t>(data, i));
        else
            throw FlashModelError("tensor " + quoted(name) + " has dtype " + dtype + "; real numbers (F64, F32, F16) are needed here");
        if (!std::isfinite(value))
            throw FlashModelError("tensor " + quoted(name) + " has the value " + (std::isnan(value) ? "NaN" : "infinity") + " at element " + std::to_string(i));
        values[static_cast<size_t>(i)] = value;
    }
    return values;
}

std::vector<int> Tensor::getIntegers() const {
    std::vector<int> values(static_cast<size_t>(size));
    for (long long i = 0; i < size; i++) {
        int64_t value;
        if (dtype == "I64")
            value = load<int64_t>(data, i);
        else if (dtype == "I32")
            value = load<int32_t>(data, i);
        else
            throw FlashModelError("tensor " + quoted(name) + " has dtype " + dtype + "; integers (I32, I64) are needed here");
        if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max())
            throw FlashModelError("tensor " + quoted(name) + " has the value " + std::to_string(value) + " at element " + std::to_string(i) +
                                  ", which is out of range");
        values[static_cast<size_t>(i)] = static_cast<int>(value);
    }
    return values;
}

Safetensors Safetensors::parse(const std::string& bytes) {
    static_assert(sizeof(double) == 8 && sizeof(float) == 4, "IEEE 754 is assumed");
    if (bytes.size() < 8)
        throw FlashModelError("not a safetensors file: it has only " + std::to_string(bytes.size()) + " bytes");
    uint64_t headerSize = 0;
    for (int i = 7; i >= 0; i--)
        headerSize = headerSize << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(i)]);
    if (headerSize > MaxHeader)
        throw FlashModelError("not a safetensors file, or a damaged one: its header would have " + std::to_string(headerSize) + " bytes; at most " +
                              std::to_string(MaxHeader) + " are allowed");
    if (headerSize > bytes.size() - 8)
        throw FlashModelError("truncated: the header has " + std::to_string(headerSize) + " bytes, but only " + std::to_string(bytes.size() - 8) + " follow");
    const uint64_t dataStart = 8 + headerSize;
    const Json header = Json::parse(bytes.substr(8, headerSize), "the header");
    if (header.type != Json::Object)
        throw FlashModelError("the header must be a JSON object, found " + header.describe());

    Safetensors file;
    struct Extent {
        uint64_t begin, end;
        std::string name;
    };
    std::vector<Extent> extents;
    for (const auto& [name, entry] : header.object) {
        if (name == "__metadata__") {
            if (entry.type != Json::Object)
                throw FlashModelError("__metadata__ must be a JSON object, found " + entry.describe());
            for (const auto& [key, value] : entry.object) {
                if (value.type != Json::String)
                    throw FlashModelError("metadata key " + quoted(key) + " must be a string, found " + value.describe());
                file.metadata[key] = value.string;
            }
            continue;
        }
        uint64_t begin, end;
        file.tensors[name] = parseTensor(name, entry, bytes, dataStart, begin, end);
        extents.push_back({begin, end, name});
    }
    std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
    uint64_t position = 0;
    for (const Extent& extent : extents) {
        if (extent.begin != position)
            throw FlashModelError("tensor " + quoted(extent.name) + " begins at " + std::to_string(extent.begin) +
                                  (extent.begin < position ? " and overlaps another tensor, which ends at " : ", which leaves a gap after ") +
                                  std::to_string(position));
        position = extent.end;
    }
    if (position != bytes.size() - dataStart)
        throw FlashModelError("the tensors end at " + std::to_string(position) + ", but the file has " + std::to_string(bytes.size() - dataStart) +
                              " bytes of data");
    return file;
}

} // namespace OpenMMFlash
