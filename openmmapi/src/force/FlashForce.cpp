// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "openmmflash/FlashForce.h"
#include "../model/Json.h"
#include "openmm/OpenMMException.h"
#include "openmmflash/internal/FlashForceImpl.h"
#include "openmmflash/internal/ModelSpec.h"
#include <cmath>
#include <set>

namespace OpenMMFlash {

using OpenMM::OpenMMException;
using std::string;
using std::to_string;

namespace {

template <class Items> auto& checked(Items& items, int index, const char* what) {
    if (index < 0 || index >= static_cast<int>(items.size()))
        throw OpenMMException(string("FlashForce: ") + what + " " + to_string(index) + " does not exist; there are " + to_string(items.size()) +
                              ", counted from 0");
    return items[static_cast<size_t>(index)];
}

} // namespace

FlashForce::FlashForce(const FlashModel& model) : model(model) {
    setName("FlashForce");
}

int FlashForce::addParticle(int particle, int type, int group) {
    particles.push_back({particle, type, group});
    return getNumParticles() - 1;
}

void FlashForce::addParticles(const std::vector<int>& indices, const std::vector<int>& types, const std::vector<int>& groups) {
    if (types.size() != indices.size() || (!groups.empty() && groups.size() != indices.size()))
        throw OpenMMException("FlashForce: addParticles() got " + to_string(indices.size()) + " particles, " + to_string(types.size()) + " types and " +
                              to_string(groups.size()) + " groups; these must be as many (groups may be left out)");
    for (size_t i = 0; i < indices.size(); i++)
        addParticle(indices[i], types[i], groups.empty() ? 0 : groups[i]);
}

void FlashForce::getParticleParameters(int index, int& particle, int& type, int& group) const {
    const Particle& p = checked(particles, index, "particle");
    particle = p.particle;
    type = p.type;
    group = p.group;
}

void FlashForce::setParticleParameters(int index, int particle, int type, int group) {
    checked(particles, index, "particle") = {particle, type, group};
}

int FlashForce::addPairExclusion(int particle1, int particle2) {
    exclusions.emplace_back(particle1, particle2);
    return getNumPairExclusions() - 1;
}

void FlashForce::getPairExclusionParticles(int index, int& particle1, int& particle2) const {
    const auto& pair = checked(exclusions, index, "pair exclusion");
    particle1 = pair.first;
    particle2 = pair.second;
}

void FlashForce::setPairExclusionParticles(int index, int particle1, int particle2) {
    checked(exclusions, index, "pair exclusion") = {particle1, particle2};
}

int FlashForce::addGlobalParameter(const string& name, double defaultValue) {
    globalParameters.push_back({name, defaultValue});
    return getNumGlobalParameters() - 1;
}

const string& FlashForce::getGlobalParameterName(int index) const {
    return checked(globalParameters, index, "global parameter").name;
}

void FlashForce::setGlobalParameterName(int index, const string& name) {
    string& current = checked(globalParameters, index, "global parameter").name;
    for (string& derivative : energyParameterDerivatives)
        if (derivative == current)
            derivative = name;
    current = name;
}

double FlashForce::getGlobalParameterDefaultValue(int index) const {
    return checked(globalParameters, index, "global parameter").defaultValue;
}

void FlashForce::setGlobalParameterDefaultValue(int index, double defaultValue) {
    checked(globalParameters, index, "global parameter").defaultValue = defaultValue;
}

void FlashForce::addEnergyParameterDerivative(const string& name) {
    // A second request would count the derivative twice.
    for (const string& other : energyParameterDerivatives)
        if (other == name)
            throw OpenMMException("FlashForce: addEnergyParameterDerivative() got \"" + name + "\", whose derivative is asked for already");
    string known;
    for (const GlobalParameter& parameter : globalParameters) {
        if (parameter.name == name) {
            energyParameterDerivatives.push_back(name);
            return;
        }
        known += " " + parameter.name;
    }
    throw OpenMMException("FlashForce: addEnergyParameterDerivative() got \"" + name + "\"; the global parameters of this force are" +
                          (known.empty() ? " none yet" : known));
}

const string& FlashForce::getEnergyParameterDerivativeName(int index) const {
    return checked(energyParameterDerivatives, index, "energy parameter derivative");
}

void FlashForce::setWeightPrecision(WeightPrecision precision) {
    if (precision != Single && precision != Half)
        throw OpenMMException("FlashForce: weight precision " + to_string(static_cast<int>(precision)) + " is unknown; allowed are Single (0) and Half (1)");
    weightPrecision = precision;
}

void FlashForce::setTableTolerance(double tolerance) {
    if (!(tolerance >= 1e-12 && tolerance <= 1e-2))
        throw OpenMMException("FlashForce: table tolerance " + formatNumber(tolerance) + " is not between 1e-12 and 1e-2");
    tableTolerance = tolerance;
}

void FlashForce::updateParametersInContext(OpenMM::Context& context) {
    dynamic_cast<FlashForceImpl&>(getImplInContext(context)).updateParametersInContext(getContextImpl(context));
}

std::vector<int> FlashForce::getGroups() const {
    std::set<int> groups;
    for (const Particle& particle : particles)
        groups.insert(particle.group);
    return {groups.begin(), groups.end()};
}

namespace {

std::vector<double> sumOverMembers(const FlashEnergies& energies) {
    std::vector<double> sum(energies.members[0].size());
    for (const auto& member : energies.members)
        for (size_t i = 0; i < sum.size(); i++)
            sum[i] += member[i];
    return sum;
}

} // namespace

std::vector<double> FlashForce::getGroupEnergies(OpenMM::Context& context) const {
    const FlashEnergies energies = computeEnergies(context);
    std::vector<double> mean = sumOverMembers(energies);
    for (double& energy : mean)
        energy /= static_cast<double>(energies.members.size());
    return mean;
}

std::vector<double> FlashForce::getParticleEnergies(OpenMM::Context& context) const {
    return computeEnergies(context).particles;
}

std::vector<double> FlashForce::getMemberEnergies(OpenMM::Context& context) const {
    std::vector<double> totals;
    for (const auto& member : computeEnergies(context).members) {
        totals.push_back(0);
        for (const double energy : member)
            totals.back() += energy;
    }
    return totals;
}

std::vector<double> FlashForce::getEnsembleDeviation(OpenMM::Context& context) const {
    const FlashEnergies energies = computeEnergies(context);
    const auto numMembers = static_cast<double>(energies.members.size());
    const std::vector<double> sum = sumOverMembers(energies);
    std::vector<double> deviation(sum.size());
    if (numMembers == 1)
        return deviation;
    for (size_t i = 0; i < sum.size(); i++) {
        for (const auto& member : energies.members) {
            const double difference = member[i] - sum[i] / numMembers;
            deviation[i] += difference * difference;
        }
        deviation[i] = std::sqrt(deviation[i] / (numMembers - 1));
    }
    return deviation;
}

string FlashForce::getCompilationReport(OpenMM::Context& context) const {
    return dynamic_cast<const FlashForceImpl&>(getImplInContext(context)).getCompilationReport();
}

FlashEnergies FlashForce::computeEnergies(OpenMM::Context& context) const {
    return dynamic_cast<FlashForceImpl&>(getImplInContext(context)).computeEnergies(getContextImpl(context));
}

OpenMM::ForceImpl* FlashForce::createImpl() const {
    return new FlashForceImpl(*this);
}

} // namespace OpenMMFlash
