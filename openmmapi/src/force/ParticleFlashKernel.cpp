// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "openmmflash/internal/ParticleFlashKernel.h"
#include "openmm/OpenMMException.h"

namespace OpenMMFlash {

using OpenMM::ContextImpl;
using OpenMM::OpenMMException;

void ParticleFlashKernel::initialize(const OpenMM::System& system, const FlashForce& force) {
    model = std::make_unique<FlashModel>(force.getModel());
    pairPrior = force.getUsesPairPrior();
    periodic = force.usesPeriodicBoundaryConditions();
    for (int i = 0; i < force.getNumGlobalParameters(); i++)
        globalParameters.push_back(force.getGlobalParameterName(i));
    for (int i = 0; i < force.getNumEnergyParameterDerivatives(); i++)
        derivatives.push_back(force.getEnergyParameterDerivativeName(i));
    initializeEvaluator(system, force);
    readParticles(force);
}

void ParticleFlashKernel::copyParametersToContext(ContextImpl& context, const FlashForce& force) {
    readParticles(force);
}

void ParticleFlashKernel::readParticles(const FlashForce& force) {
    const int n = force.getNumParticles();
    particles = ForceParticles();
    indices.resize(n);
    std::map<int, int> groups, places; // the force's group numbers in ascending order, and System indices, to ours
    for (int i = 0; i < n; i++) {
        int type, group;
        force.getParticleParameters(i, indices[i], type, group);
        particles.types.push_back(type);
        particles.groups.push_back(group);
        groups[group] = 0;
        places[indices[i]] = i;
    }
    for (auto& [group, number] : groups)
        number = particles.numGroups++;
    for (int& group : particles.groups)
        group = groups[group];
    for (int i = 0; i < force.getNumPairExclusions(); i++) {
        int particle1, particle2;
        force.getPairExclusionParticles(i, particle1, particle2);
        particles.exclusions.emplace_back(places.at(particle1), places.at(particle2));
    }
    particles.positions.resize(n);
    try {
        setParticles();
        failure.clear();
    }
    catch (const std::exception& error) {
        failure = error.what();
        throw;
    }
}

void ParticleFlashKernel::requireParticles() const {
    if (!failure.empty())
        throw OpenMMException(
            "FlashForce: the particles' parameters could not be updated; correct them and call updateParametersInContext() again. The reason: " + failure);
}

void ParticleFlashKernel::clearResults(bool gradient) {
    const size_t n = indices.size();
    results.memberEnergies.resize(getSpec().numMembers);
    for (auto& member : results.memberEnergies)
        member.assign(n, 0.0);
    results.repulsionEnergies.assign(n, 0.0);
    if (gradient)
        results.gradient.assign(n, Vector3{0, 0, 0});
}

void ParticleFlashKernel::rethrow(const FlashEvaluationError& error) const {
    throw OpenMMException("FlashForce: " + error.describe(indices, getSpec().lengthUnit, "nm"));
}

double ParticleFlashKernel::getScale(ContextImpl& context) const {
    double scale = 1;
    for (const std::string& name : globalParameters)
        scale *= context.getParameter(name);
    return scale;
}

double ParticleFlashKernel::getEnergy() const {
    const ModelSpec& spec = getSpec();
    double energy = 0;
    for (const auto& member : results.memberEnergies)
        for (const double particleEnergy : member)
            energy += particleEnergy / spec.numMembers;
    for (const double particleEnergy : results.repulsionEnergies)
        energy += particleEnergy;
    return energy * spec.energyUnit;
}

void ParticleFlashKernel::addDerivatives(ContextImpl& context, double energy, std::map<std::string, double>& sums) const {
    // d(E a b)/da = E b: the product of the other parameters, since a itself may be zero.
    for (const std::string& name : derivatives) {
        double others = 1;
        for (const std::string& other : globalParameters)
            if (other != name)
                others *= context.getParameter(other);
        sums[name] += energy * others;
    }
}

FlashEnergies ParticleFlashKernel::computeEnergies(ContextImpl& context) {
    evaluateEnergies(context);
    const ModelSpec& spec = getSpec();
    FlashEnergies energies;
    energies.particles.resize(indices.size());
    std::vector<double> repulsion(static_cast<size_t>(particles.numGroups), 0.0);
    for (size_t i = 0; i < indices.size(); i++) {
        energies.particles[i] = results.repulsionEnergies[i] * spec.energyUnit;
        repulsion[particles.groups[i]] += energies.particles[i];
    }
    for (const auto& member : results.memberEnergies) {
        energies.members.push_back(repulsion);
        for (size_t i = 0; i < indices.size(); i++) {
            const double energy = member[i] * spec.energyUnit;
            energies.members.back()[particles.groups[i]] += energy;
            energies.particles[i] += energy / spec.numMembers;
        }
    }
    return energies;
}

} // namespace OpenMMFlash
