// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "FlashForceProxy.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmmflash/FlashForce.h"
#include <memory>

namespace OpenMMFlash {

using OpenMM::OpenMMException;
using OpenMM::SerializationNode;
using std::string;

namespace {

constexpr char Base64Digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

string encodeBase64(const string& bytes) {
    string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.size(); i += 3) {
        unsigned group = 0;
        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
        for (size_t k = 0; k < 4; k++)
            text += k < bytes.size() - i + 1 ? Base64Digits[group >> (18 - 6 * k) & 63] : '=';
    }
    return text;
}

string decodeBase64(const string& text) {
    int values[256];
    for (int& value : values)
        value = -1;
    for (int i = 0; i < 64; i++)
        values[static_cast<unsigned char>(Base64Digits[i])] = i;
    string bytes;
    bytes.reserve(text.size() / 4 * 3);
    unsigned group = 0;
    int bits = 0;
    for (const char c : text) {
        const int value = values[static_cast<unsigned char>(c)];
        if (value == -1)
            continue; // padding and whitespace; a damaged text is found by the model's SHA-256
        group = (group << 6 | static_cast<unsigned>(value)) & 0xFFFFFF;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes += static_cast<char>(group >> bits & 0xFF);
        }
    }
    return bytes;
}

} // namespace

FlashForceProxy::FlashForceProxy() : SerializationProxy("FlashForce") {}

void FlashForceProxy::serialize(const void* object, SerializationNode& node) const {
    const FlashForce& force = *reinterpret_cast<const FlashForce*>(object);
    node.setIntProperty("version", 1);
    node.setIntProperty("forceGroup", force.getForceGroup());
    node.setStringProperty("name", force.getName());
    node.setBoolProperty("usesPeriodic", force.usesPeriodicBoundaryConditions());
    node.setBoolProperty("usesPairPrior", force.getUsesPairPrior());
    node.setStringProperty("weightPrecision", force.getWeightPrecision() == FlashForce::Half ? "half" : "single");
    node.setDoubleProperty("tableTolerance", force.getTableTolerance());
    SerializationNode& model = node.createChildNode("Model");
    model.setStringProperty("sha256", force.getModel().getSha256());
    model.setStringProperty("safetensors", encodeBase64(force.getModel().getBytes()));
    SerializationNode& parameters = node.createChildNode("GlobalParameters");
    for (int i = 0; i < force.getNumGlobalParameters(); i++)
        parameters.createChildNode("Parameter")
            .setStringProperty("name", force.getGlobalParameterName(i))
            .setDoubleProperty("default", force.getGlobalParameterDefaultValue(i));
    SerializationNode& derivatives = node.createChildNode("EnergyParameterDerivatives");
    for (int i = 0; i < force.getNumEnergyParameterDerivatives(); i++)
        derivatives.createChildNode("Parameter").setStringProperty("name", force.getEnergyParameterDerivativeName(i));
    SerializationNode& particles = node.createChildNode("Particles");
    for (int i = 0; i < force.getNumParticles(); i++) {
        int particle, type, group;
        force.getParticleParameters(i, particle, type, group);
        particles.createChildNode("Particle").setIntProperty("index", particle).setIntProperty("type", type).setIntProperty("group", group);
    }
    SerializationNode& exclusions = node.createChildNode("PairExclusions");
    for (int i = 0; i < force.getNumPairExclusions(); i++) {
        int particle1, particle2;
        force.getPairExclusionParticles(i, particle1, particle2);
        exclusions.createChildNode("Exclusion").setIntProperty("p1", particle1).setIntProperty("p2", particle2);
    }
}

void* FlashForceProxy::deserialize(const SerializationNode& node) const {
    const int version = node.getIntProperty("version");
    if (version != 1)
        throw OpenMMException("FlashForce: the XML has version " + std::to_string(version) + "; this version of OpenMM-Flash reads version 1");
    const SerializationNode& modelNode = node.getChildNode("Model");
    const FlashModel model = FlashModel::fromBytes(decodeBase64(modelNode.getStringProperty("safetensors")), "the model in the XML");
    if (model.getSha256() != modelNode.getStringProperty("sha256"))
        throw OpenMMException("FlashForce: the model in the XML is damaged: its SHA-256 is " + model.getSha256() + ", but " +
                              modelNode.getStringProperty("sha256") + " is stated");
    auto force = std::make_unique<FlashForce>(model);
    force->setForceGroup(node.getIntProperty("forceGroup", 0));
    force->setName(node.getStringProperty("name", force->getName()));
    force->setUsesPeriodicBoundaryConditions(node.getBoolProperty("usesPeriodic"));
    force->setUsesPairPrior(node.getBoolProperty("usesPairPrior", true));
    const string& precision = node.getStringProperty("weightPrecision");
    if (precision != "single" && precision != "half")
        throw OpenMMException("FlashForce: the XML has the weight precision \"" + precision + "\"; allowed are single and half");
    force->setWeightPrecision(precision == "half" ? FlashForce::Half : FlashForce::Single);
    force->setTableTolerance(node.getDoubleProperty("tableTolerance"));
    for (const SerializationNode& parameter : node.getChildNode("GlobalParameters").getChildren())
        force->addGlobalParameter(parameter.getStringProperty("name"), parameter.getDoubleProperty("default"));
    for (const SerializationNode& parameter : node.getChildNode("EnergyParameterDerivatives").getChildren())
        force->addEnergyParameterDerivative(parameter.getStringProperty("name"));
    for (const SerializationNode& particle : node.getChildNode("Particles").getChildren())
        force->addParticle(particle.getIntProperty("index"), particle.getIntProperty("type"), particle.getIntProperty("group"));
    for (const SerializationNode& exclusion : node.getChildNode("PairExclusions").getChildren())
        force->addPairExclusion(exclusion.getIntProperty("p1"), exclusion.getIntProperty("p2"));
    return force.release();
}

} // namespace OpenMMFlash
