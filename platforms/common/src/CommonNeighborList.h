// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMMONNEIGHBORLIST_H_
#define OPENMMFLASH_COMMONNEIGHBORLIST_H_

#include "CommonFlags.h"
#include "CommonParticles.h"
#include "openmm/common/ComputeKernel.h"
#include <string>
#include <vector>

namespace OpenMMFlash {

/** What a potential adds to the kernel that finds the pairs: text, and the kernel arguments that it needs. */
struct CommonPairHook {
    std::string functions;                        ///< device functions, in front of the kernel
    std::string arguments;                        ///< further parameters of the kernel, each with a leading comma
    std::string record;                           ///< statements for each pair: int entry, int i, int j, real4 delta are its names
    std::vector<OpenMM::ComputeArray*> arrays;    ///< the arguments; those of a size per entry are resized by CommonNeighborList
    std::vector<OpenMM::ComputeArray*> perEntry;  ///< of these, what has one element for each entry
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
        double cutoff = 0;      ///< in the model's unit
        double skin = 0.1;      ///< of candidate lists, as a fraction of the cutoff; no result depends on it
        int initialCapacity = 0; ///< entries reserved in a row at first; 0: an estimate
        int largeGroup = 1500;  ///< groups of more particles are searched through cells
        bool excludes = false;  ///< leave out the particles' exclusions
        CommonPairHook hook;
    };
    CommonNeighborList(OpenMM::ComputeContext& cc, CommonParticles& particles, CommonFlags& flags, const Options& options);
    /** The particles are new, or other ones than before. */
    void setParticles();
    /** Find the pairs of the current positions. Nothing is waited for. */
    void enqueue();
    /** After the flags were read. @return whether something was too small: it is larger now, and the evaluation is to be repeated */
    bool grow();

    int getCapacity() const {
        return capacity;
    }
    OpenMM::ComputeArray counts;  ///< int [p]: entries in its row
    OpenMM::ComputeArray senders; ///< int [p * capacity + k]: j
    OpenMM::ComputeArray deltas;  ///< real4 [p * capacity + k]: x_j - x_i in the model's unit; w = its length

private:
    OpenMM::ComputeContext& cc;
    CommonParticles& particles;
    CommonFlags& flags;
    const Options options;
    int capacity = 0;
};

} // namespace OpenMMFlash

#endif
