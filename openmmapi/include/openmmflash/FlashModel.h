// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_FLASHMODEL_H_
#define OPENMMFLASH_FLASHMODEL_H_

#include "openmmflash/internal/windowsExportFlash.h"
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace OpenMMFlash {

struct ModelSpec;

/** Thrown for anything wrong with a model file; the message names the key or tensor and its value. */
class OPENMM_EXPORT_FLASH FlashModelError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/**
 * A machine-learned potential, read from a model file (docs/model-format.md). It never changes and is cheap to copy: copies,
 * and all forces and contexts made from it, share its data.
 */
class OPENMM_EXPORT_FLASH FlashModel {
public:
    /** Read and check a model file. @throws FlashModelError naming what is wrong */
    explicit FlashModel(const std::string& path);
    /** Read a model from the bytes of a model file. @param source what to call the bytes in error messages */
    static FlashModel fromBytes(std::string bytes, const std::string& source = "model");
    /** The model file's bytes, exactly as read. */
    const std::string& getBytes() const;
    /** SHA-256 of the bytes, 64 hexadecimal digits. */
    const std::string& getSha256() const;

    int getFormatVersion() const;
    /** "schnet" or "ani". */
    const std::string& getArchitecture() const;
    const std::string& getName() const;
    /** Everything in the file's __metadata__, as written there. */
    const std::map<std::string, std::string>& getMetadata() const;
    /** One value of the metadata, or "" where the file has none. */
    std::string getMetadataValue(const std::string& key) const;
    /** Distance beyond which particles do not see each other through the network, in nm. */
    double getCutoff() const;
    /** The file's length unit in nm. */
    double getLengthUnit() const;
    /** The file's energy unit in kJ/mol. */
    double getEnergyUnit() const;
    /** Number of ensemble members; the energy is their mean. */
    int getNumMembers() const;
    /** Number of the network's parameters, its constants (radial functions, AEV) included, all members together. */
    long long getNumWeights() const;

    /** Number of particle types, counting indices that are not types. */
    int getNumTypes() const;
    /** Name of a type (an element's symbol or a bead's name), or "" where the index is not a type. */
    const std::string& getTypeName(int type) const;
    /** Index of the type of this name. @throws FlashModelError listing the names, if there is none */
    int getTypeIndex(const std::string& name) const;
    /** Atomic number of a type, or 0 where it has none (a coarse-grained bead). */
    int getTypeAtomicNumber(int type) const;
    /** Mass of a type in amu, or 0 where the file has none. */
    double getTypeMass(int type) const;
    /** Constant energy of a particle of this type in kJ/mol (an atom's self energy). */
    double getTypeEnergy(int type) const;

    /** Whether the model contains a pair prior (repulsion), evaluated together with the network. */
    bool hasPairPrior() const;
    /** Cutoff of the pair prior in nm, or 0 where every pair of a group counts. */
    double getPairPriorCutoff() const;
    /** The distance in nm at which the pair prior between two types is one of the file's energy units; 0 where they do not repel. */
    double getPairPriorSigma(int type1, int type2) const;

    /** Number of prior tables: typed parameters for bonded forces, which the model carries but does not evaluate. */
    int getNumPriors() const;
    const std::string& getPriorName(int index) const;
    /** One of the forms in docs/model-format.md, e.g. "harmonic_bond". */
    const std::string& getPriorForm(int index) const;
    /** Number of particles of one term. */
    int getPriorArity(int index) const;
    /** Types of all rows of a prior table, [rows][arity]. */
    const std::vector<int>& getPriorTypes(int index) const;
    /** Number of parameters of one term. */
    int getPriorNumParameters(int index) const;
    /** Parameters of all rows of a prior table in the file's units, [rows][getPriorNumParameters()]. */
    const std::vector<double>& getPriorParameters(int index) const;

    /** A few lines for a person: name, architecture, types, cutoff, size, citation, licence. */
    std::string summary() const;

    /** The parsed file. For platforms; not part of the stable interface. */
    const ModelSpec& getSpec() const;

private:
    struct Data;
    explicit FlashModel(std::shared_ptr<const Data> data);
    std::shared_ptr<const Data> data;
};

} // namespace OpenMMFlash

#endif
