// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "ReferenceFlashKernels.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/reference/ReferencePlatform.h"
#include <map>

namespace OpenMMFlash {

using OpenMM::ContextImpl;
using OpenMM::OpenMMException;
using OpenMM::ReferencePlatform;
using OpenMM::Vec3;

namespace {

ReferencePlatform::PlatformData& getData(ContextImpl& context) {
    return *reinterpret_cast<ReferencePlatform::PlatformData*>(context.getPlatformData());
}

} // namespace

void ReferenceCalcFlashForceKernel::initialize(const OpenMM::System& system, const FlashForce& force) {
    model = std::make_unique<FlashModel>(force.getModel());
    pairPrior = force.getUsesPairPrior();
    periodic = force.usesPeriodicBoundaryConditions();
    for (int i = 0; i < force.getNumGlobalParameters(); i++)
        globalParameters.push_back(force.getGlobalParameterName(i));
    for (int i = 0; i < force.getNumEnergyParameterDerivatives(); i++)
        derivatives.push_back(force.getEnergyParameterDerivativeName(i));
    setParticles(force);
}

void ReferenceCalcFlashForceKernel::copyParametersToContext(ContextImpl& context, const FlashForce& force) {
    setParticles(force);
}

void ReferenceCalcFlashForceKernel::setParticles(const FlashForce& force) {
    numParticles = force.getNumParticles();
    std::map<int, Group> byNumber;
    std::map<int, std::pair<Group*, int>> places; // of each System index
    for (int i = 0; i < numParticles; i++) {
        int particle, type, number;
        force.getParticleParameters(i, particle, type, number);
        Group& group = byNumber[number];
        places[particle] = {&group, static_cast<int>(group.particles.size())};
        group.particles.push_back(particle);
        group.indices.push_back(i);
        group.types.push_back(type);
    }
    for (int i = 0; i < force.getNumPairExclusions(); i++) {
        int particle1, particle2;
        force.getPairExclusionParticles(i, particle1, particle2);
        const auto& [group, place] = places.at(particle1);
        group->exclusions.emplace_back(place, places.at(particle2).second);
    }
    groups.clear();
    for (auto& [number, group] : byNumber)
        groups.push_back(std::move(group));
}

ReferenceResult ReferenceCalcFlashForceKernel::evaluate(ContextImpl& context, const Group& group) const {
    const ModelSpec& spec = model->getSpec();
    const std::vector<Vec3>& positions = *getData(context).positions;
    std::vector<Vector3> x;
    x.reserve(group.particles.size());
    for (const int particle : group.particles) {
        const Vec3 position = positions[static_cast<size_t>(particle)] / spec.lengthUnit;
        x.push_back({position[0], position[1], position[2]});
    }
    std::optional<Box> box;
    if (periodic) {
        const Vec3* vectors = getData(context).periodicBoxVectors;
        box.emplace();
        for (size_t i = 0; i < 3; i++)
            for (int k = 0; k < 3; k++)
                (*box)[i][static_cast<size_t>(k)] = vectors[i][k] / spec.lengthUnit;
    }
    try {
        return evaluateReference(spec, group.types, x, box, group.exclusions, pairPrior);
    }
    catch (const FlashEvaluationError& error) {
        throw OpenMMException("FlashForce: " + error.describe(group.particles, spec.lengthUnit, "nm"));
    }
}

double ReferenceCalcFlashForceKernel::execute(ContextImpl& context, bool includeForces, bool includeEnergy) {
    const ModelSpec& spec = model->getSpec();
    double scale = 1;
    for (const std::string& name : globalParameters)
        scale *= context.getParameter(name);
    std::vector<Vec3>& forces = *getData(context).forces;
    const double forceUnit = scale * spec.energyUnit / spec.lengthUnit;
    double energy = 0;
    for (const Group& group : groups) {
        const ReferenceResult result = evaluate(context, group);
        for (const auto& member : result.memberEnergies)
            for (const double particleEnergy : member)
                energy += particleEnergy / spec.numMembers;
        for (const double particleEnergy : result.repulsionEnergies)
            energy += particleEnergy;
        if (includeForces)
            for (size_t i = 0; i < group.particles.size(); i++) {
                const Vector3& gradient = result.gradient[i];
                forces[static_cast<size_t>(group.particles[i])] -= Vec3(gradient[0], gradient[1], gradient[2]) * forceUnit;
            }
    }
    energy *= spec.energyUnit;
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

FlashEnergies ReferenceCalcFlashForceKernel::computeEnergies(ContextImpl& context) {
    const ModelSpec& spec = model->getSpec();
    FlashEnergies energies;
    energies.particles.assign(static_cast<size_t>(numParticles), 0.0);
    energies.members.resize(static_cast<size_t>(spec.numMembers));
    for (const Group& group : groups) {
        const ReferenceResult result = evaluate(context, group);
        double repulsion = 0;
        for (size_t i = 0; i < result.repulsionEnergies.size(); i++) {
            repulsion += result.repulsionEnergies[i] * spec.energyUnit;
            energies.particles[static_cast<size_t>(group.indices[i])] += result.repulsionEnergies[i] * spec.energyUnit;
        }
        for (size_t m = 0; m < energies.members.size(); m++) {
            double sum = 0;
            for (size_t i = 0; i < group.particles.size(); i++) {
                const double energy = result.memberEnergies[m][i] * spec.energyUnit;
                sum += energy;
                energies.particles[static_cast<size_t>(group.indices[i])] += energy / spec.numMembers;
            }
            energies.members[m].push_back(sum + repulsion);
        }
    }
    return energies;
}

} // namespace OpenMMFlash
