// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Everything a FlashForce holds survives XML.
#include "Assertions.h"
#include "ModelWriter.h"
#include "RandomModels.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/XmlSerializer.h"
#include "openmmflash/FlashForce.h"
#include <memory>
#include <sstream>

using namespace OpenMMFlash;
using namespace OpenMMFlashTests;
using OpenMM::XmlSerializer;

namespace {

std::string toXml(const FlashForce& force) {
    std::ostringstream xml;
    XmlSerializer::serialize<FlashForce>(&force, "Force", xml);
    return xml.str();
}

std::unique_ptr<FlashForce> fromXml(const std::string& text) {
    std::istringstream xml(text);
    return std::unique_ptr<FlashForce>(XmlSerializer::deserialize<FlashForce>(xml));
}

FlashForce makeForce() {
    FlashForce force(FlashModel::fromBytes(writeModel(makeRandomModels()[14].spec, "tiny <&\"> model")));
    force.setName("network");
    force.setForceGroup(7);
    force.setUsesPeriodicBoundaryConditions(true);
    force.setWeightPrecision(FlashForce::Half);
    force.setTableTolerance(1e-5);
    force.setUsesPairPrior(false);
    force.addParticles({5, 2, 9}, {0, 2, 3}, {0, 4, 4});
    force.addPairExclusion(9, 2);
    force.addGlobalParameter("lambda", 0.1);
    force.addGlobalParameter("mu", -3);
    force.addEnergyParameterDerivative("mu");
    return force;
}

void testRoundTrip() {
    const FlashForce force = makeForce();
    const auto copy = fromXml(toXml(force));
    CHECK(copy->getModel().getBytes() == force.getModel().getBytes());
    CHECK_EQUAL(force.getName(), copy->getName());
    CHECK_EQUAL(7, copy->getForceGroup());
    CHECK(copy->usesPeriodicBoundaryConditions());
    CHECK(copy->getWeightPrecision() == FlashForce::Half);
    CHECK_EQUAL(1e-5, copy->getTableTolerance());
    CHECK(!copy->getUsesPairPrior());
    FlashForce renamed = force;
    renamed.setGlobalParameterName(1, "nu");
    CHECK_EQUAL(std::string("nu"), fromXml(toXml(renamed))->getEnergyParameterDerivativeName(0));
    CHECK_EQUAL(3, copy->getNumParticles());
    int particle, type, group;
    copy->getParticleParameters(2, particle, type, group);
    CHECK(particle == 9 && type == 3 && group == 4);
    CHECK_EQUAL(1, copy->getNumPairExclusions());
    int particle1, particle2;
    copy->getPairExclusionParticles(0, particle1, particle2);
    CHECK(particle1 == 9 && particle2 == 2);
    CHECK_EQUAL(2, copy->getNumGlobalParameters());
    CHECK_EQUAL(std::string("mu"), copy->getGlobalParameterName(1));
    CHECK_EQUAL(-3.0, copy->getGlobalParameterDefaultValue(1));
    CHECK_EQUAL(1, copy->getNumEnergyParameterDerivatives());
    CHECK_EQUAL(std::string("mu"), copy->getEnergyParameterDerivativeName(0));
    CHECK_EQUAL(toXml(force), toXml(*copy));
}

void testWrongXml() {
    const std::string xml = toXml(makeForce());
    auto edited = [&](const std::string& from, const std::string& to) {
        std::string text = xml;
        const size_t position = text.find(from);
        if (position == std::string::npos)
            throw std::logic_error("no " + from);
        return text.replace(position, from.size(), to);
    };
    CHECK_THROWS(OpenMM::OpenMMException, fromXml(edited("version=\"1\"", "version=\"9\"")), "version 9");
    CHECK_THROWS(OpenMM::OpenMMException, fromXml(edited("weightPrecision=\"half\"", "weightPrecision=\"quarter\"")), "quarter");
    CHECK_THROWS(OpenMM::OpenMMException, fromXml(edited("tableTolerance=\"1e-05\"", "tableTolerance=\"7\"")), "7");
    const std::string hash = makeForce().getModel().getSha256();
    CHECK_THROWS(OpenMM::OpenMMException, fromXml(edited(hash, std::string(64, '0'))), hash, "damaged");
    CHECK_THROWS(FlashModelError, fromXml(edited("safetensors=\"", "safetensors=\"AAAA")), "the model in the XML");
}

} // namespace

int main(int argc, char** argv) {
    return runTests(argc, argv, {{"round trip", testRoundTrip}, {"wrong XML", testWrongXml}});
}
