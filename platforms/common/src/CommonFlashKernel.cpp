// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonFlashKernel.h"
#include "CommonAni.h"
#include "CommonRepulsion.h"
#include "CommonSchNet.h"
#include "openmm/OpenMMException.h"
#include "openmm/common/ComputeForceInfo.h"
#include "openmm/common/ContextSelector.h"
#include "openmm/internal/ContextImpl.h"
#include <algorithm>
#include <cmath>

namespace OpenMMFlash {

using OpenMM::ComputeContext;
using OpenMM::ContextImpl;
using OpenMM::ContextSelector;
using OpenMM::OpenMMException;
using OpenMM::Vec3;

/**
 * OpenMM moves molecules by box vectors, and sorts them. Our kernels look up where each particle is; but without periodic boundary
 * conditions the particles of a group have to stay together, as those of one molecule do. OpenMM asks for the molecules once, so they
 * are the groups that the Context began with.
 */
class CommonCalcFlashForceKernel::ForceInfo : public OpenMM::ComputeForceInfo {
public:
    int getNumParticleGroups() override {
        return static_cast<int>(members.size());
    }
    void getParticlesInGroup(int index, std::vector<int>& particles) override {
        particles = members[index];
    }
    bool areGroupsIdentical(int, int) override {
        return true;
    }
    /** Groups of a force without periodic boundary conditions. @throws OpenMMException  they join particles that OpenMM may have moved apart */
    void setGroups(const ForceParticles& particles, const std::vector<int>& indices, bool canMove) {
        if (groups.empty()) {
            groups = particles.groups;
            members.resize(particles.numGroups);
            for (int i = 0; i < particles.size(); i++)
                members[groups[i]].push_back(indices[i]);
            return;
        }
        std::vector<int> first(particles.numGroups, -1);
        for (int i = 0; canMove && i < particles.size(); i++) {
            int& other = first[particles.groups[i]];
            if (other < 0)
                other = i;
            else if (groups[other] != groups[i])
                throw OpenMMException("FlashForce: particles " + std::to_string(indices[other]) + " and " + std::to_string(indices[i]) +
                                      " are in one group now and were not when the Context was made. The force is not periodic, but OpenMM moves molecules "
                                      "by box vectors for the other forces of this System: call Context.reinitialize() to change groups like this");
        }
    }

private:
    std::vector<int> groups;
    std::vector<std::vector<int>> members;
};

class CommonCalcFlashForceKernel::SlotUpdater : public ComputeContext::ReorderListener {
public:
    explicit SlotUpdater(CommonParticles& particles) : particles(particles) {}
    void execute() override {
        particles.updateSlots();
    }

private:
    CommonParticles& particles;
};

/** Before an evaluation: flags of an earlier one, which ended with another force's error, tell nothing of this one. */
class CommonCalcFlashForceKernel::FlagReset : public ComputeContext::ForcePreComputation {
public:
    explicit FlagReset(CommonCalcFlashForceKernel& kernel) : kernel(kernel) {}
    void computeForceAndEnergy(bool, bool, int) override {
        kernel.forgetFlags();
    }

private:
    CommonCalcFlashForceKernel& kernel;
};

/** After all forces are on their way: what our kernels found is known long since, so that nothing is waited for in vain. */
class CommonCalcFlashForceKernel::FlagCheck : public ComputeContext::ForcePostComputation {
public:
    explicit FlagCheck(CommonCalcFlashForceKernel& kernel) : kernel(kernel) {}
    double computeForceAndEnergy(bool, bool, int) override {
        if (kernel.unchecked && !kernel.checkFlags())
            kernel.cc.setForcesValid(false);
        return 0;
    }

private:
    CommonCalcFlashForceKernel& kernel;
};

CommonCalcFlashForceKernel::CommonCalcFlashForceKernel(const std::string& name, const OpenMM::Platform& platform, ComputeContext& cc,
                                                       const CommonPlatform& parts)
    : ParticleFlashKernel(name, platform), platformName(platform.getName()), cc(cc), parts(parts) {}

CommonCalcFlashForceKernel::~CommonCalcFlashForceKernel() {
    // Arrays and kernels are released in their own Context.
    ContextSelector selector(cc);
    potentials.clear();
    device.reset();
    flags.reset();
    deviceParticles.reset();
}

void CommonCalcFlashForceKernel::initializeEvaluator(const OpenMM::System& system, const FlashForce& force) {
    if (cc.getNumContexts() > 1)
        throw OpenMMException("FlashForce: a Context on several devices is not supported; give one DeviceIndex");
    ContextSelector selector(cc);
    deviceParticles = std::make_unique<CommonParticles>(cc, getSpec().lengthUnit, usesPeriodicBoundaryConditions());
    flags = parts.makeFlags ? parts.makeFlags(cc) : std::make_unique<CommonFlags>(cc);
    try {
        options = CommonOptions::fromEnvironment();
    }
    catch (const std::invalid_argument& error) {
        throw OpenMMException(std::string("FlashForce: ") + error.what());
    }
    options.compile.tableTolerance = force.getTableTolerance();
    options.compile.halfWeights = force.getWeightPrecision() == FlashForce::Half;
    options.tileProduct = parts.tileProduct;
    options.lowRankProduct = parts.lowRankProduct;
    options.localBytes = std::min(options.localBytes, parts.localBytes);
    options.compileWithPool = parts.compileWithPool;
    options.tensorCores = parts.tensorCores;
    device.reset(new CommonDevice{cc, *deviceParticles, *flags, options, flags->add(), flags->add()});
    try {
        if (std::holds_alternative<SchNetSpec>(getSpec().network))
            potentials.push_back(std::make_unique<CommonSchNet>(*device, getSpec()));
        else
            potentials.push_back(std::make_unique<CommonAni>(*device, getSpec()));
        if (getSpec().repulsion && usesPairPrior())
            potentials.push_back(std::make_unique<CommonRepulsion>(*device, getSpec()));
    }
    catch (const std::invalid_argument& error) {
        throw OpenMMException(std::string("FlashForce: ") + error.what());
    }
    flags->allocate();
    cc.addReorderListener(new SlotUpdater(*deviceParticles));
    cc.addPreComputation(new FlagReset(*this));
    cc.addPostComputation(new FlagCheck(*this));
    info = new ForceInfo;
    cc.addForce(info);
    for (const std::string& name : getDerivatives())
        cc.addEnergyParameterDerivative(name);
}

void CommonCalcFlashForceKernel::setParticles() {
    ContextSelector selector(cc);
    if (!usesPeriodicBoundaryConditions())
        info->setGroups(particles, getIndices(), cc.getNonbondedUtilities().getUseCutoff() && cc.getNonbondedUtilities().getUsePeriodic());
    deviceParticles->setParticles(particles, getIndices());
    try {
        for (const auto& potential : potentials)
            potential->setParticles();
    }
    catch (const std::invalid_argument& error) {
        throw OpenMMException(std::string("FlashForce: ") + error.what());
    }
}

void CommonCalcFlashForceKernel::enqueue(ContextImpl& context, bool includeForces) {
    requireParticles();
    if (usesPeriodicBoundaryConditions())
        deviceParticles->updateBox();
    try {
        for (const auto& potential : potentials)
            potential->enqueueLists();
    }
    catch (const std::invalid_argument& error) {
        throw OpenMMException(std::string("FlashForce: ") + error.what());
    }
    flags->enqueueRead();
    unchecked = true;
    const double forceScale = getScale(context) * getSpec().energyUnit / getSpec().lengthUnit;
    for (const auto& potential : potentials)
        potential->enqueue(includeForces, forceScale);
}

int CommonCalcFlashForceKernel::takeParticle(int flag) {
    const int raised = (*flags)[flag];
    if (raised == 0)
        return -1;
    flags->clear(flag);
    return deviceParticles->getOrder()[CommonDevice::FlagBase - raised];
}

bool CommonCalcFlashForceKernel::readFlags(int& notFinite, int& coincident) {
    unchecked = false;
    flags->wait();
    notFinite = takeParticle(device->notFiniteFlag);
    coincident = takeParticle(device->coincidentFlag);
    bool valid = true;
    for (const auto& potential : potentials)
        if (potential->grow())
            valid = false;
    return valid;
}

void CommonCalcFlashForceKernel::forgetFlags() {
    int notFinite, coincident;
    if (unchecked)
        readFlags(notFinite, coincident);
}

bool CommonCalcFlashForceKernel::checkFlags() {
    int notFinite, coincident;
    const bool valid = readFlags(notFinite, coincident);
    if (notFinite >= 0) {
        const Vector3 x = getPositions()[notFinite];
        const bool finite = std::isfinite(x[0]) && std::isfinite(x[1]) && std::isfinite(x[2]);
        rethrow(FlashEvaluationError(finite ? "a coordinate is more than 1e12 nm away from the periodic box" : "a coordinate is not finite", {notFinite}, {x}));
    }
    if (coincident >= 0)
        reportCoincidence(coincident);
    return valid;
}

std::vector<Vector3> CommonCalcFlashForceKernel::getPositions() const {
    std::vector<Vec3> all;
    cc.getContextImpl()->getPositions(all);
    std::vector<Vector3> positions;
    for (const int index : getIndices()) {
        const Vec3 x = all[index] / getSpec().lengthUnit;
        positions.push_back({x[0], x[1], x[2]});
    }
    return positions;
}

void CommonCalcFlashForceKernel::reportCoincidence(int i) {
    const std::vector<Vector3> positions = getPositions();
    int nearest = i;
    double least = HUGE_VAL;
    for (int j = 0; j < particles.size(); j++) {
        if (j == i || particles.groups[j] != particles.groups[i])
            continue;
        Vec3 d(positions[j][0] - positions[i][0], positions[j][1] - positions[i][1], positions[j][2] - positions[i][2]);
        if (usesPeriodicBoundaryConditions())
            for (int k = 2; k >= 0; k--) {
                const Vec3 vector = deviceParticles->getBox()[k] / getSpec().lengthUnit;
                d -= vector * std::floor(d[k] / vector[k] + 0.5);
            }
        if (d.dot(d) < least) {
            least = d.dot(d);
            nearest = j;
        }
    }
    const int first = std::min(i, nearest), second = std::max(i, nearest);
    rethrow(FlashEvaluationError(usesPeriodicBoundaryConditions() ? "two particles (or their periodic images) are at the same position"
                                                                  : "two particles are at the same position",
                                 {first, second}, {positions[first], positions[second]}));
}

void CommonCalcFlashForceKernel::downloadEnergies() {
    clearResults(false);
    for (const auto& potential : potentials)
        potential->downloadEnergies(results);
}

double CommonCalcFlashForceKernel::execute(ContextImpl& context, bool includeForces, bool includeEnergy) {
    ContextSelector selector(cc);
    enqueue(context, includeForces);
    if (!includeEnergy && getDerivatives().empty())
        return 0;
    downloadEnergies();
    const double energy = getEnergy();
    addDerivatives(context, energy, cc.getEnergyParamDerivWorkspace());
    return energy * getScale(context);
}

void CommonCalcFlashForceKernel::evaluateEnergies(ContextImpl& context) {
    ContextSelector selector(cc);
    forgetFlags();
    do {
        enqueue(context, false);
    } while (!checkFlags());
    downloadEnergies();
}

std::string CommonCalcFlashForceKernel::getCompilationReport() const {
    ContextSelector selector(cc); // it reads what the device has counted
    ReportFields fields = {{"platform", "\"" + platformName + "\""}};
    const std::string network = potentials[0]->getReport();
    if (!network.empty())
        fields.emplace_back("network", network);
    return describeFields(fields);
}

} // namespace OpenMMFlash
