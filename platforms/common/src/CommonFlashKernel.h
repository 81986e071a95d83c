// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONFLASHKERNEL_H_
#define OPENMMFLASH_COMMONFLASHKERNEL_H_

#include "CommonPotential.h"
#include "openmm/common/ComputeContext.h"
#include "openmmflash/internal/ParticleFlashKernel.h"
#include <functional>
#include <memory>
#include <vector>

namespace OpenMMFlash {

/** What one platform adds to the common kernel. */
struct CommonPlatform {
    std::function<std::unique_ptr<CommonFlags>(OpenMM::ComputeContext&)> makeFlags;
    std::string tileProduct, lowRankProduct; ///< empty: the plain ones
    bool tensorCores = false;
    int localBytes = 48 * 1024; ///< that a work-group may have in CommonOptions::compileWithPool, or in any program if there is none
    decltype(CommonOptions::compileWithPool) compileWithPool;
};

/** FlashForce on any platform that is made of a ComputeContext. */
class CommonCalcFlashForceKernel : public ParticleFlashKernel {
public:
    CommonCalcFlashForceKernel(const std::string& name, const OpenMM::Platform& platform, OpenMM::ComputeContext& cc, const CommonPlatform& parts);
    ~CommonCalcFlashForceKernel() override;
    double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy) override;
    std::string getCompilationReport() const override;

private:
    class ForceInfo;
    class SlotUpdater;
    class FlagReset;
    class FlagCheck;
    void initializeEvaluator(const OpenMM::System& system, const FlashForce& force) override;
    void setParticles() override;
    void evaluateEnergies(OpenMM::ContextImpl& context) override;
    void enqueue(OpenMM::ContextImpl& context, bool includeForces);
    void downloadEnergies();
    /** Wait for the flags. @return whether the evaluation counts; otherwise it is to be repeated @throws OpenMMException  bad positions */
    bool checkFlags();
    /** Wait for the flags, lower them, and let grow what was too small. @return whether nothing was; the particles that raised them, or -1 */
    bool readFlags(int& notFinite, int& coincident);
    int takeParticle(int flag);
    void forgetFlags();
    /** Of the force's particles, in the model's unit. */
    std::vector<Vector3> getPositions() const;
    [[noreturn]] void reportCoincidence(int particle);

    const std::string platformName;
    OpenMM::ComputeContext& cc;
    const CommonPlatform parts;
    ForceInfo* info = nullptr;
    std::unique_ptr<CommonParticles> deviceParticles;
    std::unique_ptr<CommonFlags> flags;
    CommonOptions options;
    std::unique_ptr<CommonDevice> device;
    std::vector<std::unique_ptr<CommonPotential>> potentials;
    bool unchecked = false; ///< an evaluation's flags are still to be read
};

} // namespace OpenMMFlash

#endif
