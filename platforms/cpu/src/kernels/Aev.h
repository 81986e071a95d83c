// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_AEV_H_
#define OPENMMFLASH_AEV_H_

#include <cstddef>
#include <cstdint>

namespace OpenMMFlash {

/**
 * The constants of atomic environment vectors, prepared in double precision. Terms are padded, with copies of real ones, to what
 * vectors need (AevKernels::padTerms):
 *
 *   radial    [eta][shift]   -> radialTerms
 *   angle     [zeta][theta]  -> angleTerms      2 ((1 + cos(theta - theta_s)) / 2)^zeta
 *   distance  [eta][shift]   -> distanceTerms   exp(-eta ((r_j + r_k) / 2 - R_a)^2)
 *
 * A row of the AEV is, in floats: [type][radialTerms], then [pair of types a <= b][angleTerms][distanceTerms].
 * Arrays of constants repeat themselves up to a multiple of a vector where their terms are fewer.
 */
struct AevConstants {
    double radialCutoff, angularCutoff; ///< angularCutoff <= radialCutoff
    double coincidence;                 ///< at this distance or nearer there is no direction
    double grid;                        ///< distances are split into a multiple of this, a float exactly, and a small rest
    int numTypes;
    int radialTerms, angleTerms, distanceTerms;
    int rowLength; ///< floats

    /** x = r - shift = (r' - shift) + (rest of r - rest of shift): exp2(exponent x^2), and slope x times that is its derivative. */
    const float *radialShift, *radialShiftRest, *radialExponent, *radialSlope;
    const float *distanceShift, *distanceShiftRest, *distanceExponent, *distanceSlope;
    /** u = 1/2 + angleCosine c + angleSine s, u^(zeta - 1); its derivative by c is that times angleSlope - angleSlopeSine c / s. */
    const float *angleCosine, *angleSine, *angleExponent, *angleSlope, *angleSlopeSine;
    const int* pairOffsets; ///< [type a][type b]: where the block of a pair begins in a row
};

/** The neighbor list as the kernels read it: particles are sorted by type, senders of a row ascend. */
struct AevRow {
    const double* positions; ///< [particle][3]
    const double* shifts;    ///< [image][3]
    const int *senders, *shiftIndices;
    std::int64_t begin, end;
    const int* typeStart; ///< [type]: its first particle; [numTypes]: all
    int particle;
};

/** An atom's environment vector and its gradient, compiled for one instruction set. */
struct AevKernels {
    /** Terms with padding. */
    int (*padTerms)(int terms);
    /** Floats of scratch memory for rows of at most so many candidates. 64-byte aligned. */
    size_t (*getScratchSize)(const AevConstants& constants, std::int64_t candidates);
    /** Make memory of that size usable, whatever is in it. */
    void (*prepareScratch)(const AevConstants& constants, std::int64_t candidates, float* scratch);
    /**
     * Write the AEV of an atom.
     *
     * @param row  [rowLength], 64-byte aligned
     * @return     the first entry whose distance is none (see coincidence), which is left out; -1 if there is none
     */
    std::int64_t (*forward)(const AevConstants& constants, const AevRow& atom, float* scratch, float* row);
    /**
     * dE/d(displacement) for all entries of the atom's row, zero beyond the cutoff.
     *
     * @param gradient         [rowLength] dE/dAEV, 64-byte aligned
     * @param entryGradients   [entry][3], of all rows
     */
    void (*backward)(const AevConstants& constants, const AevRow& atom, float* scratch, const float* gradient, float* entryGradients);
};

} // namespace OpenMMFlash

#endif
