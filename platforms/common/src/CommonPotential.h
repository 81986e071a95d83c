// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONPOTENTIAL_H_
#define OPENMMFLASH_COMMONPOTENTIAL_H_

#include "CommonFlags.h"
#include "CommonNeighborList.h"
#include "CommonParticles.h"
#include "openmm/common/ComputeKernel.h"
#include "openmm/common/ComputeProgram.h"
#include "openmmflash/internal/CompiledModel.h"
#include "openmmflash/internal/Evaluation.h"
#include <functional>
#include <map>
#include <string>

namespace OpenMMFlash {

/** How a device evaluates a model. */
struct CommonOptions {
    CompileOptions compile;
    /** As in CommonNeighborList::Options. */
    double skin = 0.1;
    int initialCapacity = 0, largeGroup = 1500;
    /** Text in front of all programs: the tile product of this platform (kernels/tileProduct.cc), and what it needs to know of it. */
    std::string tileProduct;
    /** The body of kernels/lowRankProduct.cc on this platform's tensor cores, behind tileProduct; empty: there is none. */
    std::string lowRankProduct;
    /** Local memory that a work-group may have, where all that a program needs lies in one pool of it. */
    int localBytes = 1 << 30;
    /** Compiles a program whose pool is as large as that (DECLARE_POOL in the text); empty: as any other, with the pool a local array. */
    std::function<OpenMM::ComputeProgram(const std::string& source, std::map<std::string, std::string> defines, int poolBytes)> compileWithPool;
    /** A SchNet's filters. Auto: of low rank where there are tensor cores and the rank fills their tiles, else tables. */
    enum class Filter { Auto, Table, LowRank };
    Filter filter = Filter::Auto;
    int rows = 0;             ///< particles of a SchNet's tile: 16, 8, 4, 2 or 1 (fewer where they do not fit); 0: as many as keep the device busy
    bool tensorCores = false; ///< dense weights are packed as tileProduct's tensor-core body wants them

    /**
     * The options, with those that environment variables set: OPENMMFLASH_DEVICE_SKIN, _CAPACITY, _LARGE_GROUP, _FILTER, _ROWS and _LOCAL_BYTES.
     * @throws std::invalid_argument  a value that is none
     */
    static CommonOptions fromEnvironment();
    CommonNeighborList::Options getListOptions(double cutoff) const;
};

/** What all parts of a FlashForce share on one device. */
struct CommonDevice {
    OpenMM::ComputeContext& cc;
    CommonParticles& particles;
    CommonFlags& flags;
    const CommonOptions& options;
    int coincidentFlag, notFiniteFlag; ///< raised to FLAG_BASE - i where particle i is at the place of another one, or nowhere
    static constexpr int FlagBase = 1 << 30;
    /** Defines and device functions that every program begins with (kernels/flash.cc). */
    OpenMM::ComputeProgram compile(const std::string& source, std::map<std::string, std::string> defines = {}) const;
    /** The same for one whose local memory is a pool (CommonOptions::localBytes). */
    OpenMM::ComputeProgram compile(const std::string& source, std::map<std::string, std::string> defines, int poolBytes) const;
    /** At least so many elements. Arrays only grow, and lose what is in them when they do. */
    void reserve(OpenMM::ComputeArray& array, size_t size, int elementSize, const std::string& name) const;
    /** An argument that is a `real` of the kernels. */
    void setReal(OpenMM::ComputeKernel& kernel, int argument, double value) const;

private:
    std::string complete(const std::string& source, std::map<std::string, std::string>& defines) const;
};

/**
 * One term of the energy on a device: the network or the pair prior. An evaluation is enqueueLists() and enqueue(); then the flags are
 * read, and where grow() was true all is repeated.
 */
class CommonPotential {
public:
    virtual ~CommonPotential() = default;
    /** The particles are new (called once at first), or have other types, groups or exclusions. */
    virtual void setParticles() = 0;
    virtual void enqueueLists() = 0; ///< first, for all potentials
    /**
     * Evaluate. Adds -forceScale * gradient to OpenMM's force buffer, in fixed point, where forces are asked for.
     *
     * @param forceScale  kJ/mol/nm per unit of the model's gradient, times the global parameters
     */
    virtual void enqueue(bool includeForces, double forceScale) = 0;
    virtual bool grow() = 0;
    /** Wait for the energies, and add them to results, whose particles are in the force's order. */
    virtual void downloadEnergies(ForceResults& results) = 0;
    /** What runs, with certified errors: a JSON object. Empty: nothing to say. */
    virtual std::string getReport() {
        return "";
    }
};

} // namespace OpenMMFlash

#endif
