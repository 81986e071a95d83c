// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "HostFlashKernel.h"
#include "openmm/internal/ContextImpl.h"
#include "openmm/reference/ReferencePlatform.h"

namespace OpenMMFlash {

using OpenMM::ContextImpl;
using OpenMM::ReferencePlatform;
using OpenMM::Vec3;

namespace {

/** On the CPU platform, too: it derives from the Reference platform. */
ReferencePlatform::PlatformData& getData(ContextImpl& context) {
    return *reinterpret_cast<ReferencePlatform::PlatformData*>(context.getPlatformData());
}

} // namespace

void HostFlashKernel::evaluateContext(ContextImpl& context, bool includeForces) {
    requireParticles();
    const double unit = getSpec().lengthUnit;
    const std::vector<int>& indices = getIndices();
    const std::vector<Vec3>& positions = *getData(context).positions;
    for (size_t i = 0; i < indices.size(); i++) {
        const Vec3 x = positions[static_cast<size_t>(indices[i])] / unit;
        particles.positions[i] = {x[0], x[1], x[2]};
    }
    if (usesPeriodicBoundaryConditions()) {
        const Vec3* vectors = getData(context).periodicBoxVectors;
        particles.box.emplace();
        for (int i = 0; i < 3; i++)
            for (int k = 0; k < 3; k++)
                (*particles.box)[i][k] = vectors[i][k] / unit;
    }
    clearResults(true);
    try {
        evaluate(includeForces);
    }
    catch (const FlashEvaluationError& error) {
        rethrow(error);
    }
}

void HostFlashKernel::evaluateEnergies(ContextImpl& context) {
    evaluateContext(context, false);
}

double HostFlashKernel::execute(ContextImpl& context, bool includeForces, bool includeEnergy) {
    evaluateContext(context, includeForces);
    const ModelSpec& spec = getSpec();
    const double energy = getEnergy(), scale = getScale(context);
    if (includeForces) {
        std::vector<Vec3>& forces = *getData(context).forces;
        const std::vector<int>& indices = getIndices();
        const double forceUnit = scale * spec.energyUnit / spec.lengthUnit;
        for (size_t i = 0; i < indices.size(); i++) {
            const Vector3& gradient = results.gradient[i];
            forces[static_cast<size_t>(indices[i])] -= Vec3(gradient[0], gradient[1], gradient[2]) * forceUnit;
        }
    }
    addDerivatives(context, energy, *getData(context).energyParameterDerivatives);
    return energy * scale;
}

} // namespace OpenMMFlash
