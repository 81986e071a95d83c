// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_EVALUATIONERROR_H_
#define OPENMMFLASH_EVALUATIONERROR_H_

#include <array>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace OpenMMFlash {

using Vector3 = std::array<double, 3>;
/** Periodic box vectors in OpenMM's reduced form: a along x, b in the xy plane. */
using Box = std::array<Vector3, 3>;

/**
 * A configuration that no model can be evaluated on: particles at the same position, a coordinate that is not finite, a
 * degenerate box. It knows the particles by their index in the arrays given to the evaluator; a caller with other numbers
 * and units for them rewrites the message with describe().
 */
class FlashEvaluationError : public std::runtime_error {
public:
    /**
     * @param problem    what is wrong, without the particles
     * @param particles  indices of the particles concerned, possibly none
     * @param positions  their coordinates, in the model's length unit
     */
    FlashEvaluationError(const std::string& problem, const std::vector<int>& particles, const std::vector<Vector3>& positions)
        : std::runtime_error(describeParticles(problem, particles, positions, 1, "")), problem(problem), particles(particles), positions(positions) {}
    /** What is wrong, without the particles. */
    const std::string& getProblem() const {
        return problem;
    }
    const std::vector<int>& getParticles() const {
        return particles;
    }
    const std::vector<Vector3>& getPositions() const {
        return positions;
    }
    /** The same error where particle i is called names[i]. */
    FlashEvaluationError renumbered(const std::vector<int>& names) const {
        return FlashEvaluationError(problem, translate(names), positions);
    }
    /**
     * The message in the caller's terms.
     *
     * @param names       names[i] is what the caller calls particle i (its index in the System)
     * @param lengthUnit  factor from the model's length unit to the caller's
     * @param unit        the caller's length unit, e.g. "nm"
     */
    std::string describe(const std::vector<int>& names, double lengthUnit, const std::string& unit) const {
        return describeParticles(problem, translate(names), positions, lengthUnit, unit);
    }

private:
    std::vector<int> translate(const std::vector<int>& names) const {
        std::vector<int> theirs;
        for (const int particle : particles)
            theirs.push_back(names[static_cast<size_t>(particle)]);
        return theirs;
    }
    static std::string describeParticles(const std::string& problem, const std::vector<int>& names, const std::vector<Vector3>& positions, double lengthUnit,
                                         const std::string& unit) {
        std::ostringstream message;
        message.precision(10);
        message << problem;
        for (size_t k = 0; k < names.size(); k++) {
            message << (k == 0 ? ": " : " and ") << "particle " << names[k] << " at (" << lengthUnit * positions[k][0] << ", " << lengthUnit * positions[k][1]
                    << ", " << lengthUnit * positions[k][2] << ")";
            if (!unit.empty())
                message << " " << unit;
        }
        return message.str();
    }

    std::string problem;
    std::vector<int> particles;
    std::vector<Vector3> positions;
};

} // namespace OpenMMFlash

#endif
