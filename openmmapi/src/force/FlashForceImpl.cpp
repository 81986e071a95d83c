// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "openmmflash/internal/FlashForceImpl.h"
#include "../model/Json.h"
#include "openmm/OpenMMException.h"
#include "openmm/internal/ContextImpl.h"
#include "openmmflash/internal/ModelSpec.h"
#include <algorithm>
#include <cmath>
#include <set>

namespace OpenMMFlash {

using OpenMM::OpenMMException;
using OpenMM::Vec3;
using std::string;
using std::to_string;

void FlashForceImpl::initialize(OpenMM::ContextImpl& context) {
    const OpenMM::System& system = context.getSystem();
    checkParticles(system.getNumParticles());
    checkExclusions();
    checkGlobalParameters();
    checkBox(system);
    for (int i = 0; i < owner.getNumParticles(); i++) {
        int particle, type, group;
        owner.getParticleParameters(i, particle, type, group);
        particles.push_back(particle);
    }
    for (int i = 0; i < owner.getNumGlobalParameters(); i++)
        globalParameters.push_back(owner.getGlobalParameterName(i));
    kernel = context.getPlatform().createKernel(CalcFlashForceKernel::Name(), context);
    kernel.getAs<CalcFlashForceKernel>().initialize(system, owner);
}

void FlashForceImpl::checkParticles(int numSystemParticles) const {
    const FlashModel& model = owner.getModel();
    std::vector<int> firstUse(static_cast<size_t>(numSystemParticles), -1);
    for (int i = 0; i < owner.getNumParticles(); i++) {
        int particle, type, group;
        owner.getParticleParameters(i, particle, type, group);
        const string what = "FlashForce: particle " + to_string(i);
        if (particle < 0 || particle >= numSystemParticles)
            throw OpenMMException(what + " has System index " + to_string(particle) + "; this System has particles 0 to " + to_string(numSystemParticles - 1));
        int& first = firstUse[static_cast<size_t>(particle)];
        if (first != -1)
            throw OpenMMException(what + " has System index " + to_string(particle) + ", which particle " + to_string(first) +
                                  " of this force already has; each particle may be added once");
        first = i;
        if (group < 0)
            throw OpenMMException(what + " (System index " + to_string(particle) + ") has group " + to_string(group) + "; groups are integers from 0");
        if (type < 0 || type >= model.getNumTypes() || model.getTypeName(type).empty()) {
            string known;
            for (int t = 0; t < model.getNumTypes(); t++)
                if (!model.getTypeName(t).empty())
                    known += " " + to_string(t) + "=" + model.getTypeName(t);
            throw OpenMMException(what + " (System index " + to_string(particle) + ") has type " + to_string(type) + "; this model (" + model.getName() +
                                  ") knows" + known);
        }
    }
}

void FlashForceImpl::checkExclusions() const {
    if (owner.getNumPairExclusions() == 0)
        return;
    if (!owner.getModel().hasPairPrior())
        throw OpenMMException("FlashForce: there are " + to_string(owner.getNumPairExclusions()) + " pair exclusions, but this model (" +
                              owner.getModel().getName() + ") has no pair prior; the network itself sees every pair");
    std::map<int, int> groups;
    for (int i = 0; i < owner.getNumParticles(); i++) {
        int particle, type, group;
        owner.getParticleParameters(i, particle, type, group);
        groups[particle] = group;
    }
    std::set<std::pair<int, int>> seen;
    for (int i = 0; i < owner.getNumPairExclusions(); i++) {
        int particle1, particle2;
        owner.getPairExclusionParticles(i, particle1, particle2);
        const string what = "FlashForce: pair exclusion " + to_string(i) + " (System indices " + to_string(particle1) + ", " + to_string(particle2) + ")";
        for (const int particle : {particle1, particle2})
            if (groups.count(particle) == 0)
                throw OpenMMException(what + ": " + to_string(particle) + " is not a particle of this force");
        if (particle1 == particle2)
            throw OpenMMException(what + " excludes a particle from itself");
        if (groups[particle1] != groups[particle2])
            throw OpenMMException(what + ": the particles are in groups " + to_string(groups[particle1]) + " and " + to_string(groups[particle2]) +
                                  " and do not interact");
        if (!seen.insert(std::minmax(particle1, particle2)).second)
            throw OpenMMException(what + " appears twice");
    }
}

void FlashForceImpl::checkGlobalParameters() const {
    std::set<string> names;
    for (int i = 0; i < owner.getNumGlobalParameters(); i++) {
        const string& name = owner.getGlobalParameterName(i);
        if (name.empty())
            throw OpenMMException("FlashForce: global parameter " + to_string(i) + " has an empty name");
        if (!names.insert(name).second)
            throw OpenMMException("FlashForce: global parameter " + to_string(i) + " has the name \"" + name + "\", which another one has");
        if (!std::isfinite(owner.getGlobalParameterDefaultValue(i)))
            throw OpenMMException("FlashForce: global parameter \"" + name + "\" has the default value " +
                                  formatNumber(owner.getGlobalParameterDefaultValue(i)));
    }
    for (int i = 0; i < owner.getNumEnergyParameterDerivatives(); i++)
        if (names.count(owner.getEnergyParameterDerivativeName(i)) == 0)
            throw OpenMMException("FlashForce: the derivative with respect to \"" + owner.getEnergyParameterDerivativeName(i) +
                                  "\" is asked for, which is not a global parameter of this force");
}

void FlashForceImpl::checkBox(const OpenMM::System& system) const {
    if (!owner.usesPeriodicBoundaryConditions())
        return;
    const FlashModel& model = owner.getModel();
    if (owner.getUsesPairPrior() && model.hasPairPrior() && model.getPairPriorCutoff() == 0)
        throw OpenMMException("FlashForce: the pair prior of this model (" + model.getName() +
                              ") has no cutoff, so its sum over a periodic system has no meaning; do not use periodic boundary conditions, or give the model "
                              "file a repulsion cutoff");
    // Small boxes are evaluated with all images; the limit keeps a mistaken unit from asking for millions of them.
    Vec3 box[3];
    system.getDefaultPeriodicBoxVectors(box[0], box[1], box[2]);
    const double volume = std::fabs(box[0].dot(box[1].cross(box[2])));
    for (int i = 0; i < 3; i++) {
        const Vec3 normal = box[(i + 1) % 3].cross(box[(i + 2) % 3]);
        const double height = volume / std::sqrt(normal.dot(normal));
        if (!(height > 0.05 * model.getCutoff()))
            throw OpenMMException("FlashForce: the periodic box is " + formatNumber(height) + " nm high along vector " + "abc"[i] +
                                  ", less than a twentieth of the model's cutoff, " + formatNumber(model.getCutoff()) +
                                  " nm; check the box vectors' unit (nm)");
    }
}

double FlashForceImpl::calcForcesAndEnergy(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy, int groups) {
    if ((groups & (1 << owner.getForceGroup())) == 0)
        return 0;
    return kernel.getAs<CalcFlashForceKernel>().execute(context, includeForces, includeEnergy);
}

std::map<string, double> FlashForceImpl::getDefaultParameters() {
    std::map<string, double> parameters;
    for (int i = 0; i < owner.getNumGlobalParameters(); i++)
        parameters[owner.getGlobalParameterName(i)] = owner.getGlobalParameterDefaultValue(i);
    return parameters;
}

std::vector<string> FlashForceImpl::getKernelNames() {
    return {CalcFlashForceKernel::Name()};
}

void FlashForceImpl::updateParametersInContext(OpenMM::ContextImpl& context) {
    checkParticles(context.getSystem().getNumParticles());
    checkExclusions();
    if (owner.getNumParticles() != static_cast<int>(particles.size()))
        throw OpenMMException("FlashForce: updateParametersInContext() got " + to_string(owner.getNumParticles()) + " particles; this Context has " +
                              to_string(particles.size()) + ". Call Context.reinitialize() after adding particles");
    for (int i = 0; i < owner.getNumParticles(); i++) {
        int particle, type, group;
        owner.getParticleParameters(i, particle, type, group);
        if (particle != particles[static_cast<size_t>(i)])
            throw OpenMMException("FlashForce: updateParametersInContext() got System index " + to_string(particle) + " for particle " + to_string(i) +
                                  ", which has " + to_string(particles[static_cast<size_t>(i)]) + " in this Context. Call Context.reinitialize() to change it");
    }
    kernel.getAs<CalcFlashForceKernel>().copyParametersToContext(context, owner);
    context.systemChanged();
}

FlashEnergies FlashForceImpl::computeEnergies(OpenMM::ContextImpl& context) {
    context.calcForcesAndEnergy(false, false, 0); // of no force: OpenMM's own check that positions have been set
    FlashEnergies energies = kernel.getAs<CalcFlashForceKernel>().computeEnergies(context);
    double scale = 1;
    for (const string& name : globalParameters)
        scale *= context.getParameter(name);
    for (double& energy : energies.particles)
        energy *= scale;
    for (auto& member : energies.members)
        for (double& energy : member)
            energy *= scale;
    return energies;
}

string FlashForceImpl::getCompilationReport() const {
    return kernel.getAs<const CalcFlashForceKernel>().getCompilationReport();
}

} // namespace OpenMMFlash
