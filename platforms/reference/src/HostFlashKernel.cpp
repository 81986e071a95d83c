// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "HostFlashKernel.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/reference/ReferencePlatform.h"
#include "openmmflash/internal/ModelSpec.h"
#include <map>

namespace OpenMMFlash {

using OpenMM::ContextImpl;
using OpenMM::OpenMMException;
using OpenMM::ReferencePlatform;
using OpenMM::Vec3;

namespace {

/** On the CPU platform, too: it derives from the Reference platform. */
ReferencePlatform::PlatformData& getData(ContextImpl& context) {
    return *reinterpret_cast<ReferencePlatform::PlatformData*>(context.getPlatformData());
}

} // namespace

void HostFlashKernel::initialize(const OpenMM::System& system, const FlashForce& force) {
    model = std::make_unique<FlashModel>(force.getModel());
    pairPrior = force.getUsesPairPrior();
    periodic = force.usesPeriodicBoundaryConditions();
    for (int i = 0; i < force.getNumGlobalParameters(); i++)
        globalParameters.push_back(force.getGlobalParameterName(i));
    for (int i = 0; i < force.getNumEnergyParameterDerivatives(); i++)
        derivatives.push_back(force.getEnergyParameterDerivativeName(i));
    initializeEvaluator(force);
    readParticles(force);
}

void HostFlashKernel::copyParametersToContext(ContextImpl& context, const FlashForce& force) {
    readParticles(force);
}

void HostFlashKernel::readParticles(const FlashForce& force) {
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

void HostFlashKernel::evaluateContext(ContextImpl& context, bool includeForces) {
    if (!failure.empty())
        throw OpenMMException(
            "FlashForce: the particles' parameters could not be updated; correct them and call updateParametersInContext() again. The reason: " + failure);
    const double unit = getSpec().lengthUnit;
    const size_t n = indices.size();
    const std::vector<Vec3>& positions = *getData(context).positions;
    for (size_t i = 0; i < n; i++) {
        const Vec3 x = positions[static_cast<size_t>(indices[i])] / unit;
        particles.positions[i] = {x[0], x[1], x[2]};
    }
    if (periodic) {
        const Vec3* vectors = getData(context).periodicBoxVectors;
        particles.box.emplace();
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < 3; k++)
                (*particles.box)[i][k] = vectors[i][k] / unit;
    }
    results.memberEnergies.resize(getSpec().numMembers);
    for (auto& member : results.memberEnergies)
        member.assign(n, 0.0);
    results.repulsionEnergies.assign(n, 0.0);
    results.gradient.assign(n, Vector3{0, 0, 0});
    try {
        evaluate(includeForces);
    }
    catch (const FlashEvaluationError& error) {
        throw OpenMMException("FlashForce: " + error.describe(indices, unit, "nm"));
    }
}

double HostFlashKernel::execute(ContextImpl& context, bool includeForces, bool includeEnergy) {
    evaluateContext(context, includeForces);
    const ModelSpec& spec = getSpec();
    double energy = 0;
    for (const auto& member : results.memberEnergies)
        for (const double particleEnergy : member)
            energy += particleEnergy / spec.numMembers;
    for (const double particleEnergy : results.repulsionEnergies)
        energy += particleEnergy;
    energy *= spec.energyUnit;
    double scale = 1;
    for (const std::string& name : globalParameters)
        scale *= context.getParameter(name);
    if (includeForces) {
        std::vector<Vec3>& forces = *getData(context).forces;
        const double forceUnit = scale * spec.energyUnit / spec.lengthUnit;
        for (size_t i = 0; i < indices.size(); i++) {
            const Vector3& gradient = results.gradient[i];
            forces[static_cast<size_t>(indices[i])] -= Vec3(gradient[0], gradient[1], gradient[2]) * forceUnit;
        }
    }
    // d(E a b)/da = E b: the product of the other parameters, since a itself may be zero.
    for (const std::string& name : derivatives) {
        double others = 1;
        for (const std::string& other : globalParameters)
            if (other != name)
                others *= context.getParameter(other);
        (*getData(context).energyParameterDerivatives)[name] += energy * others;
    }
    return energy * scale;
}

FlashEnergies HostFlashKernel::computeEnergies(ContextImpl& context) {
    evaluateContext(context, false);
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
