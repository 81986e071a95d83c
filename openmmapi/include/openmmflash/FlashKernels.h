// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_FLASHKERNELS_H_
#define OPENMMFLASH_FLASHKERNELS_H_

#include "openmm/KernelImpl.h"
#include "openmm/Platform.h"
#include "openmm/System.h"
#include "openmm/internal/ContextImpl.h"
#include "openmmflash/FlashForce.h"
#include <string>
#include <vector>

namespace OpenMMFlash {

/** The energy of a FlashForce in parts, in kJ/mol. */
struct FlashEnergies {
    std::vector<double> particles;            ///< [particle of the force], without global parameters
    std::vector<std::vector<double>> members; ///< [member][group in ascending order], without global parameters
};

/** What a platform offers for FlashForce. */
class OPENMM_EXPORT_FLASH CalcFlashForceKernel : public OpenMM::KernelImpl {
public:
    static std::string Name() {
        return "CalcFlashForce";
    }
    CalcFlashForceKernel(const std::string& name, const OpenMM::Platform& platform) : KernelImpl(name, platform) {}
    /** The force has been validated against the System. */
    virtual void initialize(const OpenMM::System& system, const FlashForce& force) = 0;
    /** Add the forces, times the product of the global parameters, and record energy parameter derivatives. @return the energy in kJ/mol */
    virtual double execute(OpenMM::ContextImpl& context, bool includeForces, bool includeEnergy) = 0;
    virtual void copyParametersToContext(OpenMM::ContextImpl& context, const FlashForce& force) = 0;
    virtual FlashEnergies computeEnergies(OpenMM::ContextImpl& context) = 0;
    /** A JSON object with the fields "platform" (its name) and "network" (an object: what became of the model), and what the platform adds. */
    virtual std::string getCompilationReport() const = 0;
};

} // namespace OpenMMFlash

#endif
