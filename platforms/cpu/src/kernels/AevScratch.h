// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// What the AEV kernels keep of one atom while they work on it.
#ifndef OPENMMFLASH_AEVSCRATCH_H_
#define OPENMMFLASH_AEVSCRATCH_H_

#include "Aev.h"
#include "Simd.h"

namespace OpenMMFlash {
namespace FLASH_ISA {
namespace {

constexpr int Chunk = 128; ///< triples, a multiple of Width

/** The triples of a chunk with the same j: k = begin to begin + count - 1. */
struct Run {
    int j, type, begin, count;
    int first; ///< its first triple in the chunk
};

struct Scratch {
    // Neighbours within the radial cutoff.
    double *dx, *dy, *dz, *r2;
    std::int64_t* entry;
    float *ux, *uy, *uz;   ///< directions
    float *r, *rRest;      ///< r = r + rRest
    float* inverse;        ///< 1 / r
    float *fc, *fcSlope;   ///< of the radial cutoff
    float *fcA, *fcASlope; ///< of the angular cutoff
    float* radialSums;     ///< [neighbour][Width]
    float *dEdr, *gx, *gy, *gz;
    int* radialEnd; ///< [type]: one behind its last neighbour
    // Those within the angular cutoff.
    int* index; ///< among the above
    float *ax, *ay, *az, *ar, *arRest, *af, *afSlope;
    float *dEdux, *dEduy, *dEduz, *dEdar;
    int* angularEnd;
    int* offsetsWith; ///< [neighbour] of its pair with the type of a chunk's present j
    // The chunk.
    Run* runs;
    int* offsets;                   ///< [triple] of its pair's block in the row
    float *c, *s, *ratio;           ///< cosine, sqrt(1 - (0.95 c)^2), c / s
    float *mean, *meanRest, *ff;    ///< of both distances; product of the cutoff functions
    float *A, *ASlope, *D, *DSlope; ///< [triple][term]
    float *S, *SA, *SD;             ///< [triple] sums of G A D, G A' D, G A D'
    int count, angularCount, numRuns, numTriples;
    float* end;
};

template <class T> FLASH_INLINE void take(T*& array, char*& memory, std::int64_t size) {
    array = reinterpret_cast<T*>(memory);
    memory += (size * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
}

/** Cut the memory behind the Scratch itself into arrays; every one may be read and written a vector beyond what it holds. */
void layOut(const AevConstants& constants, float* memory, std::int64_t candidates, Scratch& s) {
    char* p = reinterpret_cast<char*>(memory);
    Scratch* self;
    take(self, p, 1);
    const std::int64_t n = candidates + 2 * Width, m = Chunk + Width;
    double** const displacements[] = {&s.dx, &s.dy, &s.dz, &s.r2};
    for (double** array : displacements)
        take(*array, p, n);
    take(s.entry, p, n);
    float** const neighbors[] = {&s.ux, &s.uy, &s.uz, &s.r,  &s.rRest, &s.inverse, &s.fc, &s.fcSlope, &s.fcA,   &s.fcASlope, &s.dEdr,  &s.gx,   &s.gy,
                                 &s.gz, &s.ax, &s.ay, &s.az, &s.ar,    &s.arRest,  &s.af, &s.afSlope, &s.dEdux, &s.dEduy,    &s.dEduz, &s.dEdar};
    for (float** array : neighbors)
        take(*array, p, n);
    take(s.radialSums, p, n * Width);
    take(s.index, p, n);
    take(s.offsetsWith, p, n);
    take(s.radialEnd, p, constants.numTypes);
    take(s.angularEnd, p, constants.numTypes);
    take(s.runs, p, Chunk);
    take(s.offsets, p, m);
    float** const triples[] = {&s.c, &s.s, &s.ratio, &s.mean, &s.meanRest, &s.ff, &s.S, &s.SA, &s.SD};
    for (float** array : triples)
        take(*array, p, m);
    take(s.A, p, m * constants.angleTerms);
    take(s.ASlope, p, m * constants.angleTerms);
    take(s.D, p, m * constants.distanceTerms);
    take(s.DSlope, p, m * constants.distanceTerms);
    s.end = reinterpret_cast<float*>(p);
}

} // namespace
} // namespace FLASH_ISA
} // namespace OpenMMFlash

#endif
