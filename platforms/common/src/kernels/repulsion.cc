// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The pair prior E = sum over pairs (sigma_ab / r)^n S(r), its gradient, and each particle's half of its pairs' energies.
//
//   S(r) = 1 without a cutoff, else 1 - 10 t^3 + 15 t^4 - 6 t^5, t = (r - 0.9 cutoff) / (0.1 cutoff) where that is positive
//
// A team of TEAM threads adds up one row; every pair is evaluated from both of its sides, so that nothing is scattered. With a cutoff
// (USE_LIST) the rows are those of neighborList.cc, which has left out the exclusions; 20 bytes a pair are read. Without one they are
// all particles of the group.

#define TEAM 32
#define TEAMS 4

/** Energy of a pair; dEdr is set. */
DEVICE real repel(real r, real sigma, real* dEdr) {
    const real inverse = RECIP(r);
    const real ratio = sigma * inverse;
    real power = 1;
    for (int k = 0; k < EXPONENT; k++)
        power *= ratio;
    real value = 1, slope = 0;
#ifdef USE_LIST
    const real t = (r - (real) SWITCH_START) * (real) SWITCH_SCALE;
    if (t > 0) {
        value = 1 + t * t * t * (-10 + t * (15 - 6 * t));
        slope = (real) SWITCH_SCALE * t * t * (-30 + t * (60 - 30 * t));
    }
#endif
    *dEdr = power * (slope - EXPONENT * inverse * value);
    return power * value;
}

KERNEL void computeRepulsion(int numParticles, GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection, GLOBAL const int* RESTRICT slots,
                             GLOBAL const int2* RESTRICT ranges, GLOBAL const int* RESTRICT types, GLOBAL const int* RESTRICT exclusionStarts,
                             GLOBAL const int* RESTRICT exclusions, GLOBAL const int* RESTRICT counts, GLOBAL const int* RESTRICT senders,
                             GLOBAL const real4* RESTRICT deltas, int capacity, GLOBAL const real* RESTRICT sigmas, int includeForces, real forceScale,
                             GLOBAL real* RESTRICT energies, GLOBAL mm_ulong* RESTRICT forceBuffers) {
    LOCAL real4 sums[TEAM * TEAMS];
    const int team = LOCAL_ID / TEAM, rank = LOCAL_ID % TEAM;
    for (int block = GROUP_ID; block * TEAMS < numParticles; block += NUM_GROUPS) {
        const int i = block * TEAMS + team;
        real4 sum = make_real4(0, 0, 0, 0);
        if (i < numParticles) {
            GLOBAL const real* RESTRICT sigma = &sigmas[types[i] * NUM_TYPES];
#ifdef USE_LIST
            for (int k = i * capacity + rank; k < i * capacity + counts[i]; k += TEAM) {
                const int j = senders[k];
                const real4 delta = deltas[k];
#else
            const mixed4 xi = loadPosition(posq, posqCorrection, slots[i]);
            int exclusion = exclusionStarts[i];
            const int lastExclusion = exclusionStarts[i + 1];
            for (int j = ranges[i].x + rank; j < ranges[i].y; j += TEAM) {
                while (exclusion < lastExclusion && exclusions[exclusion] < j)
                    exclusion++;
                if (j == i || (exclusion < lastExclusion && exclusions[exclusion] == j))
                    continue;
                const mixed4 xj = loadPosition(posq, posqCorrection, slots[j]);
                real4 delta = make_real4((real) ((xj.x - xi.x) * NM_TO_MODEL), (real) ((xj.y - xi.y) * NM_TO_MODEL), (real) ((xj.z - xi.z) * NM_TO_MODEL), 0);
                delta.w = SQRT(delta.x * delta.x + delta.y * delta.y + delta.z * delta.z);
#endif
                real dEdr;
                sum.w += (real) 0.5 * repel(delta.w, sigma[types[j]], &dEdr);
                const real factor = -dEdr * RECIP(delta.w);
                sum.x += factor * delta.x;
                sum.y += factor * delta.y;
                sum.z += factor * delta.z;
            }
        }
        sums[LOCAL_ID] = sum;
        SYNC_THREADS;
        if (rank == 0 && i < numParticles) {
            for (int k = 1; k < TEAM; k++) {
                real4 other = sums[LOCAL_ID + k];
                sum.x += other.x;
                sum.y += other.y;
                sum.z += other.z;
                sum.w += other.w;
            }
            energies[i] = sum.w;
            if (includeForces)
                addForce(forceBuffers, slots[i], forceScale, sum.x, sum.y, sum.z);
        }
        SYNC_THREADS;
    }
}
