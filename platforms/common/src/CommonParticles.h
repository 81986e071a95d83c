// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONPARTICLES_H_
#define OPENMMFLASH_COMMONPARTICLES_H_

#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeContext.h"
#include "openmmflash/internal/Evaluation.h"
#include <map>
#include <string>
#include <vector>

namespace OpenMMFlash {

/**
 * The particles of a force on a device, in the order in which all our kernels number them: by group, then by type, then as the
 * force has them. Particles of one group are contiguous, and so are a group's particles of one type.
 */
class CommonParticles {
public:
    /** @param lengthUnit  nm per unit of the model */
    CommonParticles(OpenMM::ComputeContext& cc, double lengthUnit, bool periodic);
    /** @param particles  types, groups and exclusions @param indices  their indices in the System */
    void setParticles(const ForceParticles& particles, const std::vector<int>& indices);
    /** Look up where OpenMM keeps the particles now. */
    void updateSlots();
    /** Bring the device's box up to date. */
    void updateBox();

    int getSize() const {
        return static_cast<int>(order.size());
    }
    bool isPeriodic() const {
        return periodic;
    }
    double getLengthUnit() const {
        return lengthUnit;
    }
    /** [p] index in the force of our particle p. */
    const std::vector<int>& getOrder() const {
        return order;
    }
    /** [p] types, in our order. */
    const std::vector<int>& getTypes() const {
        return sortedTypes;
    }
    /** [group] the first of its particles; one more at the end. */
    const std::vector<int>& getGroupStarts() const {
        return groupStarts;
    }
    /** For each excluded pair its particles, in our numbers. */
    const std::vector<std::pair<int, int>>& getExclusions() const {
        return exclusions;
    }
    int getLargestGroup() const;
    /** Reduced box vectors in nm: a, b, c. */
    const OpenMM::Vec3* getBox() const {
        return box;
    }
    /** Defines for all programs: FLASH_PERIODIC where the force is, NUM_PARTICLES, NM_TO_MODEL (1 / length unit), PADDED_NUM_ATOMS, ... */
    std::map<std::string, std::string> getDefines() const;

    OpenMM::ComputeArray slots;      ///< int [p]: where in OpenMM's arrays
    OpenMM::ComputeArray types;      ///< int [p]
    OpenMM::ComputeArray ranges;     ///< int2 [p]: first particle of its group, and the one behind its last
    OpenMM::ComputeArray boxVectors; ///< mixed4 [3]: reduced box vectors in nm, w = 1 / diagonal element

private:
    OpenMM::ComputeContext& cc;
    const double lengthUnit;
    const bool periodic;
    std::vector<int> order, systemIndices, sortedTypes, groupStarts;
    std::vector<std::pair<int, int>> exclusions;
    OpenMM::Vec3 box[3];
    bool boxIsKnown = false;
};

} // namespace OpenMMFlash

#endif
