// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonRepulsion.h"
#include "CommonFlashKernelSources.h"
#include <stdexcept>

namespace OpenMMFlash {

namespace {

constexpr int Team = 32, Teams = 4; // as in kernels/repulsion.cc

} // namespace

CommonRepulsion::CommonRepulsion(const CommonDevice& device, const ModelSpec& model)
    : device(device), repulsion(model.repulsion.value()), numTypes(static_cast<int>(model.types.size())) {
    if (repulsion.cutoff > 0) {
        CommonNeighborList::Options options = device.options.getListOptions(repulsion.cutoff);
        options.excludes = true;
        list.emplace(device, options);
    }
}

void CommonRepulsion::setParticles() {
    const int n = device.particles.getSize();
    if (n == 0)
        return;
    if (list)
        list->setParticles();
    else
        exclusions.set(device);
    if (kernel)
        return;
    OpenMM::ComputeContext& cc = device.cc;
    const int realSize = cc.getUseDoublePrecision() ? sizeof(double) : sizeof(float);
    sigmas.initialize(cc, repulsion.sigma.size(), realSize, "flashSigmas");
    sigmas.upload(repulsion.sigma, true);
    energies.initialize(cc, n, realSize, "flashRepulsionEnergies");
    std::map<std::string, std::string> defines;
    defines["NUM_TYPES"] = cc.intToString(numTypes);
    defines["EXPONENT"] = cc.intToString(repulsion.exponent);
    if (list) {
        defines["USE_LIST"] = "1";
        defines["SWITCH_START"] = cc.doubleToString(0.9 * repulsion.cutoff);
        defines["SWITCH_SCALE"] = cc.doubleToString(10 / repulsion.cutoff);
    }
    kernel = device.compile(CommonFlashKernelSources::repulsion, defines)->createKernel("computeRepulsion");
    kernel->addArg(n);
    kernel->addArg(cc.getPosq());
    kernel->addArg(cc.getUseMixedPrecision() ? cc.getPosqCorrection() : cc.getPosq());
    kernel->addArg(device.particles.slots);
    kernel->addArg(device.particles.ranges);
    kernel->addArg(device.particles.types);
    kernel->addArg(list ? device.particles.slots : exclusions.starts); // what is not read must be there all the same
    kernel->addArg(list ? device.particles.slots : exclusions.partners);
    kernel->addArg(list ? list->counts : device.particles.slots);
    kernel->addArg(list ? list->senders : device.particles.slots);
    kernel->addArg(list ? list->deltas : cc.getPosq());
    capacityArgument = 11;
    kernel->addArg(0);
    kernel->addArg(sigmas);
    forceArgument = 13;
    kernel->addArg(0);
    kernel->addArg();
    kernel->addArg(energies);
    kernel->addArg(cc.getLongForceBuffer());
}

void CommonRepulsion::enqueueLists() {
    if (list)
        list->enqueue();
    else if (device.particles.isPeriodic())
        throw std::invalid_argument("the model's pair prior acts between all pairs, however far apart; that has no meaning in a periodic box");
}

void CommonRepulsion::enqueue(bool includeForces, double forceScale) {
    if (!kernel)
        return;
    kernel->setArg(capacityArgument, list ? list->getCapacity() : 0);
    kernel->setArg(forceArgument, includeForces ? 1 : 0);
    device.setReal(kernel, forceArgument + 1, forceScale);
    kernel->execute((device.particles.getSize() + Teams - 1) / Teams * Teams * Team, Teams * Team);
}

bool CommonRepulsion::grow() {
    return list && list->grow();
}

void CommonRepulsion::downloadEnergies(ForceResults& results) {
    if (!kernel)
        return;
    std::vector<double> values;
    energies.download(values, true);
    for (size_t p = 0; p < values.size(); p++)
        results.repulsionEnergies[device.particles.getOrder()[p]] += values[p];
}

} // namespace OpenMMFlash
