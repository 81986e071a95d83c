// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_PARTICLEFLASHKERNEL_H_
#define OPENMMFLASH_PARTICLEFLASHKERNEL_H_

#include "openmmflash/FlashKernels.h"
#include "openmmflash/internal/Evaluation.h"
#include "openmmflash/internal/ModelSpec.h"
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace OpenMMFlash {

/**
 * What the kernels of all platforms share: the force's particles as the model numbers them, and what becomes of the energies of
 * particles and members.
 */
class OPENMM_EXPORT_FLASH ParticleFlashKernel : public CalcFlashForceKernel {
public:
    using CalcFlashForceKernel::CalcFlashForceKernel;
    void initialize(const OpenMM::System& system, const FlashForce& force) override;
    void copyParametersToContext(OpenMM::ContextImpl& context, const FlashForce& force) override;
    FlashEnergies computeEnergies(OpenMM::ContextImpl& context) override;

protected:
    /** Called once, before anything else. */
    virtual void initializeEvaluator(const OpenMM::System& system, const FlashForce& force) = 0;
    /** Types, groups and exclusions of `particles` are new. */
    virtual void setParticles() = 0;
    /** Evaluate the energies of the Context's positions into `results`. */
    virtual void evaluateEnergies(OpenMM::ContextImpl& context) = 0;

    const ModelSpec& getSpec() const {
        return model->getSpec();
    }
    bool usesPairPrior() const {
        return pairPrior;
    }
    bool usesPeriodicBoundaryConditions() const {
        return periodic;
    }
    /** System index of each particle. */
    const std::vector<int>& getIndices() const {
        return indices;
    }
    const std::vector<std::string>& getDerivatives() const {
        return derivatives;
    }
    /** The product of the global parameters. */
    double getScale(OpenMM::ContextImpl& context) const;
    /** Energy in kJ/mol of `results`, without global parameters. */
    double getEnergy() const;
    /** Add dE/d(parameter) for each parameter asked for. @param energy  without global parameters */
    void addDerivatives(OpenMM::ContextImpl& context, double energy, std::map<std::string, double>& sums) const;
    /** Sizes and zeros. */
    void clearResults(bool gradient);
    /** @throws OpenMMException  the last update of parameters failed */
    void requireParticles() const;
    /** The same error in terms of the System and nm. */
    [[noreturn]] void rethrow(const FlashEvaluationError& error) const;

    ForceParticles particles;
    ForceResults results;

private:
    void readParticles(const FlashForce& force);

    std::unique_ptr<FlashModel> model; ///< shares the force's data
    std::vector<int> indices;
    bool periodic = false, pairPrior = true;
    std::vector<std::string> globalParameters, derivatives;
    std::string failure; ///< why the particles as they are now could not be set; empty: they are
};

} // namespace OpenMMFlash

#endif
