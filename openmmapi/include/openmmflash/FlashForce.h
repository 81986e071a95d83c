// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_FLASHFORCE_H_
#define OPENMMFLASH_FLASHFORCE_H_

#include "openmm/Context.h"
#include "openmm/Force.h"
#include "openmmflash/FlashModel.h"
#include <string>
#include <utility>
#include <vector>

namespace OpenMMFlash {

struct FlashEnergies;

/**
 * A machine-learned potential acting on particles of a System. Energies are in kJ/mol, lengths in nm, as everywhere in OpenMM.
 *
 * Particles are added with their System index, the model's type and a group. They interact only with particles of the same
 * group: replicas and independent molecules are groups. Particles of the System that are not added are untouched.
 *
 * The energy is the model's, pair prior included, times the product of all global parameters of this force.
 */
class OPENMM_EXPORT_FLASH FlashForce : public OpenMM::Force {
public:
    /** Storage of dense weights on the platforms that compile models; the Reference platform is always exact, in double precision. */
    enum WeightPrecision { Single = 0, Half = 1 };

    explicit FlashForce(const FlashModel& model);
    const FlashModel& getModel() const {
        return model;
    }

    int getNumParticles() const {
        return static_cast<int>(particles.size());
    }
    /**
     * Add a particle.
     *
     * @param particle  index in the System; no particle may be added twice
     * @param type      index of the model's type
     * @param group     particles of different groups do not see each other; any integer from 0
     * @return          index of the particle within this force
     */
    int addParticle(int particle, int type, int group = 0);
    /** Add many particles at once. @param groups may be empty: all in group 0 */
    void addParticles(const std::vector<int>& particles, const std::vector<int>& types, const std::vector<int>& groups = std::vector<int>());
    /** Parameters of a particle. @param index its index within this force */
    void getParticleParameters(int index, int& particle, int& type, int& group) const;
    void setParticleParameters(int index, int particle, int type, int group);

    int getNumPairExclusions() const {
        return static_cast<int>(exclusions.size());
    }
    /**
     * Leave a pair out of the model's pair prior. The network always sees every pair.
     *
     * @param particle1,particle2  System indices of two particles of this force, in the same group
     * @return                     index of the exclusion
     */
    int addPairExclusion(int particle1, int particle2);
    void getPairExclusionParticles(int index, int& particle1, int& particle2) const;
    void setPairExclusionParticles(int index, int particle1, int particle2);

    int getNumGlobalParameters() const {
        return static_cast<int>(globalParameters.size());
    }
    /** Add a Context parameter that multiplies the energy. @return its index */
    int addGlobalParameter(const std::string& name, double defaultValue);
    const std::string& getGlobalParameterName(int index) const;
    void setGlobalParameterName(int index, const std::string& name);
    double getGlobalParameterDefaultValue(int index) const;
    void setGlobalParameterDefaultValue(int index, double defaultValue);
    /** Ask for the derivative of the energy with respect to a global parameter; State.getEnergyParameterDerivatives() then has it. */
    void addEnergyParameterDerivative(const std::string& name);
    int getNumEnergyParameterDerivatives() const {
        return static_cast<int>(energyParameterDerivatives.size());
    }
    const std::string& getEnergyParameterDerivativeName(int index) const;

    void setUsesPeriodicBoundaryConditions(bool periodic) {
        this->periodic = periodic;
    }
    bool usesPeriodicBoundaryConditions() const override {
        return periodic;
    }

    /** Whether the model's pair prior, if it has one, is part of the energy; yes unless set otherwise. */
    bool getUsesPairPrior() const {
        return pairPrior;
    }
    void setUsesPairPrior(bool use) {
        pairPrior = use;
    }

    WeightPrecision getWeightPrecision() const {
        return weightPrecision;
    }
    void setWeightPrecision(WeightPrecision precision);
    /** Largest error of a radial table relative to each channel's maximum, for platforms that use tables. */
    double getTableTolerance() const {
        return tableTolerance;
    }
    /** @param tolerance between 1e-12 and 1e-2; the default is 1e-6 */
    void setTableTolerance(double tolerance);

    /**
     * Copy types, groups and exclusions to a Context. The number of particles and their System indices must be unchanged. Groups that join
     * particles of different groups need Context::reinitialize() on GPU platforms, where the force is not periodic and the System is.
     */
    void updateParametersInContext(OpenMM::Context& context);

    /** Energy of each group at the Context's positions, in kJ/mol: groups in ascending order, as getGroups() lists them. Their sum is this force's energy. */
    std::vector<double> getGroupEnergies(OpenMM::Context& context) const;
    /** Energy of each particle of this force in kJ/mol, in the order in which they were added; half of a pair's energy belongs to each partner. Their sum is this force's energy. */
    std::vector<double> getParticleEnergies(OpenMM::Context& context) const;
    /** Total energy as each ensemble member gives it, in kJ/mol. Their mean is this force's energy. */
    std::vector<double> getMemberEnergies(OpenMM::Context& context) const;
    /** Standard deviation (n - 1) of the members' energies for each group, in kJ/mol; zero for a single member. */
    std::vector<double> getEnsembleDeviation(OpenMM::Context& context) const;
    /** The group numbers in use, ascending. */
    std::vector<int> getGroups() const;

    /** How the Context's platform evaluates the model, with the certified errors of tables: a JSON object (docs/api.md says what is in it). */
    std::string getCompilationReport(OpenMM::Context& context) const;

protected:
    OpenMM::ForceImpl* createImpl() const override;

private:
    FlashEnergies computeEnergies(OpenMM::Context& context) const;
    struct Particle {
        int particle, type, group;
    };
    struct GlobalParameter {
        std::string name;
        double defaultValue;
    };
    FlashModel model;
    std::vector<Particle> particles;
    std::vector<std::pair<int, int>> exclusions;
    std::vector<GlobalParameter> globalParameters;
    std::vector<std::string> energyParameterDerivatives;
    bool periodic = false, pairPrior = true;
    WeightPrecision weightPrecision = Single;
    double tableTolerance = 1e-6;
};

} // namespace OpenMMFlash

#endif
