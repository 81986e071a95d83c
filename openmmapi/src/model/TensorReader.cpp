// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "TensorReader.h"
#include "openmmflash/FlashModel.h"

namespace OpenMMFlash {

const Tensor& TensorReader::take(const std::string& name, const std::vector<long long>& shape) {
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end())
        throw FlashModelError("tensor " + quoted(name) + " is missing");
    const Tensor& tensor = found->second;
    bool fits = tensor.shape.size() == shape.size();
    for (size_t i = 0; fits && i < shape.size(); i++)
        fits = shape[i] == -1 ? tensor.shape[i] >= 1 : tensor.shape[i] == shape[i];
    if (!fits) {
        std::string expected;
        for (size_t i = 0; i < shape.size(); i++)
            expected += (i == 0 ? "" : ", ") + (shape[i] == -1 ? "n" : std::to_string(shape[i]));
        throw FlashModelError("tensor " + quoted(name) + " has shape " + tensor.describeShape() + ", expected [" + expected + "]");
    }
    if (taken.insert(name).second)
        numTaken += tensor.size;
    return tensor;
}

const Tensor* TensorReader::find(const std::string& name) const {
    const auto found = file.tensors.find(name);
    return found == file.tensors.end() ? nullptr : &found->second;
}

std::vector<double> TensorReader::getReals(const std::string& name, const std::vector<long long>& shape) {
    return take(name, shape).getReals();
}

std::vector<int> TensorReader::getIntegers(const std::string& name, const std::vector<long long>& shape) {
    return take(name, shape).getIntegers();
}

Linear TensorReader::getLinear(const std::string& prefix, int inputs, int outputs) {
    Linear layer;
    const Tensor& weight = take(prefix + ".weight", {outputs, inputs});
    if (weight.shape[0] > MaxWidth)
        throw FlashModelError("tensor " + quoted(weight.name) + " has " + std::to_string(weight.shape[0]) + " outputs; at most " + std::to_string(MaxWidth) +
                              " are allowed");
    layer.inputs = inputs;
    layer.outputs = static_cast<int>(weight.shape[0]);
    layer.weight = weight.getReals();
    layer.bias = has(prefix + ".bias") ? getReals(prefix + ".bias", {layer.outputs}) : std::vector<double>(static_cast<size_t>(layer.outputs), 0.0);
    return layer;
}

std::vector<Linear> TensorReader::getPerceptron(const std::string& prefix, int inputs) {
    std::vector<Linear> layers;
    int width = inputs;
    while (has(prefix + "." + std::to_string(layers.size()) + ".weight")) {
        if (layers.size() == MaxLayers)
            throw FlashModelError(prefix + " has more than " + std::to_string(MaxLayers) + " layers");
        layers.push_back(getLinear(prefix + "." + std::to_string(layers.size()), width, -1));
        width = layers.back().outputs;
    }
    if (layers.empty())
        throw FlashModelError("tensor " + quoted(prefix + ".0.weight") + " is missing");
    if (width != 1)
        throw FlashModelError("tensor " + quoted(prefix + "." + std::to_string(layers.size() - 1) + ".weight") + " has " + std::to_string(width) +
                              " outputs; the last layer must have one");
    return layers;
}

void TensorReader::checkAllTaken() const {
    for (const auto& [name, tensor] : file.tensors)
        if (taken.count(name) == 0)
            throw FlashModelError("unknown tensor " + quoted(name) + " of shape " + tensor.describeShape());
}

ObjectReader::ObjectReader(const Json& object, const std::string& what) : object(object), what(what) {
    if (object.type != Json::Object)
        throw FlashModelError(what + " must be a JSON object, found " + object.describe());
}

void ObjectReader::fail(const std::string& key, const std::string& requirement) const {
    const Json* value = object.find(key);
    throw FlashModelError(what + ": " + quoted(key) + " " + requirement + (value == nullptr ? "" : ", found " + value->describe()));
}

bool ObjectReader::has(const std::string& key) {
    read.insert(key);
    const Json* value = object.find(key);
    return value != nullptr && value->type != Json::Null;
}

const Json& ObjectReader::get(const std::string& key) {
    read.insert(key);
    const Json* value = object.find(key);
    if (value == nullptr)
        fail(key, "is missing");
    return *value;
}

double ObjectReader::getNumber(const std::string& key) {
    const Json& value = get(key);
    if (value.type != Json::Number)
        fail(key, "must be a number");
    return value.number;
}

double ObjectReader::getNumber(const std::string& key, double defaultValue) {
    return has(key) ? getNumber(key) : defaultValue;
}

double ObjectReader::getPositive(const std::string& key) {
    const double value = getNumber(key);
    if (!(value > 0))
        fail(key, "must be positive");
    return value;
}

int ObjectReader::getInteger(const std::string& key, int minimum, int maximum) {
    const Json& value = get(key);
    if (value.type != Json::Number || !value.isInteger || value.number < minimum || value.number > maximum)
        fail(key, "must be an integer from " + std::to_string(minimum) + " to " + std::to_string(maximum));
    return static_cast<int>(value.number);
}

bool ObjectReader::getBool(const std::string& key, bool defaultValue) {
    if (!has(key))
        return defaultValue;
    const Json& value = get(key);
    if (value.type != Json::Bool)
        fail(key, "must be true or false");
    return value.boolean;
}

std::string ObjectReader::getString(const std::string& key) {
    const Json& value = get(key);
    if (value.type != Json::String || value.string.empty())
        fail(key, "must be a string that is not empty");
    return value.string;
}

size_t ObjectReader::getChoice(const std::string& key, const std::vector<std::string>& choices) {
    const Json& value = get(key);
    std::string list;
    for (size_t i = 0; i < choices.size(); i++) {
        if (value.type == Json::String && value.string == choices[i])
            return i;
        list += (i == 0 ? "" : ", ") + choices[i];
    }
    fail(key, "must be one of " + list);
}

void ObjectReader::checkAllRead() const {
    for (const auto& [key, value] : object.object)
        if (read.count(key) == 0)
            throw FlashModelError(what + ": unknown key " + quoted(key));
}

} // namespace OpenMMFlash
