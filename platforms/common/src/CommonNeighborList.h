// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONNEIGHBORLIST_H_
#define OPENMMFLASH_COMMONNEIGHBORLIST_H_

#include "openmm/Vec3.h"
#include "openmm/common/ComputeArray.h"
#include "openmm/common/ComputeKernel.h"
#include <array>
#include <string>
#include <utility>
#include <vector>

namespace OpenMMFlash {

struct CommonDevice;

/** What a potential adds to the kernel that finds the pairs: text, and the kernel arguments that it needs. */
struct CommonPairHook {
    std::string functions;                     ///< device functions, in front of the kernel
    std::string parameters;                    ///< further parameters, each with a leading comma: ", GLOBAL int* RESTRICT pieces"
    std::string arguments;                     ///< their names, each with a leading comma: ", pieces"
    std::string record;                        ///< statements for each pair; they see int index (the entry), int i, int j, real4 delta (w: its length)
    std::vector<OpenMM::ComputeArray*> arrays; ///< the arguments
    std::vector<std::pair<OpenMM::ComputeArray*, int>> perEntry; ///< arrays with an element for each entry, and its size: they grow with the rows
};

/** The particles that each particle is excluded from, on the device. */
struct CommonExclusions {
    OpenMM::ComputeArray starts;   ///< int [p + 1]
    OpenMM::ComputeArray partners; ///< int: those of p, ascending, from starts[p] on
    void set(const CommonDevice& device);
};

/**
 * Pairs within the cutoff, in rows by receiver (CSR; row i begins at i * capacity, so that no prefix sum is needed): exact in each
 * evaluation, in ascending order of the sender and its images, both directions of each pair. In periodic boxes of any size all
 * images count, a particle's own included. Nothing is lost: a row that does not fit raises a flag, the host grows the arrays and
 * the evaluation is repeated.
 */
class CommonNeighborList {
public:
    struct Options {
        double cutoff = 0;       ///< in the model's unit
        double skin = 0.1;       ///< of candidate lists, as a fraction of the cutoff; no result depends on it
        int initialCapacity = 0; ///< entries reserved in a row at first; 0: an estimate
        int largeGroup = 1500;   ///< groups of more particles are searched through cells
        bool excludes = false;   ///< leave out the particles' exclusions
        CommonPairHook hook;
    };
    /** The flags are not allocated yet. */
    CommonNeighborList(const CommonDevice& device, const Options& options);
    /** The particles are new (once at first), or have other types, groups or exclusions. */
    void setParticles();
    /** Find the pairs of the current positions. Nothing is waited for. */
    void enqueue();
    /** After the flags were read. @return whether something was too small: it is larger now, and the evaluation is to be repeated */
    bool grow();

    /** Entries that are reserved in each row. It grows: pass it to kernels whenever they are executed. */
    int getCapacity() const {
        return capacity;
    }
    OpenMM::ComputeArray counts;  ///< int [p]: entries in its row
    OpenMM::ComputeArray senders; ///< int [p * capacity + k]: j
    OpenMM::ComputeArray deltas;  ///< real4 [p * capacity + k]: x_j - x_i in the model's unit; w = its length

private:
    /** Candidates of large groups, see kernels/candidates.cc. */
    struct Cells {
        int capacity = 0, counts[3] = {1, 1, 1}; ///< entries in a row; cells along each box vector
        bool renew = true;
        OpenMM::ComputeArray stale, places, bucketCounts, bucketStarts, sorted, references, unordered, candidates, candidateCounts;
        OpenMM::ComputeKernel check, count, start, sort, find, findPairs;
    };
    double getReach() const;
    void setCapacity(int newCapacity);
    void checkBox() const;
    /** Whether candidates are found through cells in the current box. */
    bool usesCells();
    void makeCells();
    void setCandidateCapacity(int newCapacity);
    void enqueueCells();
    OpenMM::ComputeKernel makeKernel(bool candidates);

    const CommonDevice& device;
    const Options options;
    int capacity;
    const int capacityFlag, candidateFlag;
    CommonExclusions exclusions;
    OpenMM::ComputeKernel findPairs; ///< among all particles of a group
    Cells cells;
    std::array<OpenMM::Vec3, 3> cellBox; ///< the box that the candidates are for
};

} // namespace OpenMMFlash

#endif
