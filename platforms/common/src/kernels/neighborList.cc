// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The pairs within the cutoff, anew in each evaluation, in rows by receiver:
//
//   counts[i]                      entries of row i
//   senders[i * capacity + k]      j, ascending; the images of one j follow each other in a fixed order
//   deltas[i * capacity + k]       x_j - x_i in the model's unit, and its length
//
// A team of TEAM threads looks through the candidates of one row: the particles of its group, or (USE_CANDIDATES) those that
// candidates.cc found within cutoff and skin. Each thread has a contiguous share of them and goes through it twice, first to count
// and then, knowing what the threads before it found, to write. Written: 20 bytes a pair, and what PAIR_RECORD adds.

#define TEAM 32
#define TEAMS 4

#ifdef FLASH_PERIODIC
/** Farther away, the image in the box is lost in rounding. */
#define IS_NEAR(x) (IS_FINITE(x) && fabs(x) < (real) 1e12)

/** How far to either side of the nearest image others can be within the range. */
DEVICE int countImages(mixed range, mixed inverseWidth) {
    return (int) ceil(range * inverseWidth + (mixed) 0.5) - 1;
}
#else
#define IS_NEAR(x) IS_FINITE(x)
#endif

/**
 * All images of j within the range of i, in a fixed order; with entry >= 0 they are written.
 * @return how many
 */
DEVICE int visitPair(int i, int j, mixed4 xi, mixed4 xj, GLOBAL const mixed4* RESTRICT box, int row, int entry, int capacity, GLOBAL int* RESTRICT senders,
                     GLOBAL real4* RESTRICT deltas, GLOBAL int* RESTRICT flags PAIR_PARAMETERS) {
    int found = 0;
    mixed dx = xj.x - xi.x, dy = xj.y - xi.y, dz = xj.z - xi.z;
#ifdef FLASH_PERIODIC
    mixed4 a = box[0], b = box[1], c = box[2];
    mixed shift = floor(dz * c.w + (mixed) 0.5);
    dx -= shift * c.x;
    dy -= shift * c.y;
    dz -= shift * c.z;
    int nc = countImages(RANGE, c.w), nb = countImages(RANGE, b.w), na = countImages(RANGE, a.w);
    for (int ic = -nc; ic <= nc; ic++) {
        mixed z = dz + ic * c.z, yc = dy + ic * c.y, xc = dx + ic * c.x;
        mixed shiftB = floor(yc * b.w + (mixed) 0.5);
        yc -= shiftB * b.y;
        xc -= shiftB * b.x;
        for (int ib = -nb; ib <= nb; ib++) {
            mixed y = yc + ib * b.y, xb = xc + ib * b.x;
            xb -= floor(xb * a.w + (mixed) 0.5) * a.x;
            for (int ia = -na; ia <= na; ia++) {
                mixed x = xb + ia * a.x;
                // A particle is not its own neighbor, but its images are.
                if (i == j && x * x + y * y + z * z < OWN_IMAGE)
                    continue;
#else
    if (i != j) {
        mixed x = dx, y = dy, z = dz;
        {
            {
#endif
                real4 delta = make_real4((real) (x * NM_TO_MODEL), (real) (y * NM_TO_MODEL), (real) (z * NM_TO_MODEL), 0);
                real r2 = delta.x * delta.x + delta.y * delta.y + delta.z * delta.z;
                if (r2 < CUTOFF_SQUARED) {
                    int place = entry + found;
                    if (entry >= 0 && place < capacity) {
                        delta.w = SQRT(r2);
                        if (delta.w < COINCIDENCE)
                            ATOMIC_MAX(&flags[COINCIDENT_FLAG], FLAG_BASE - i);
                        int index = row * capacity + place;
                        senders[index] = j;
                        deltas[index] = delta;
                        PAIR_RECORD
                    }
                    found++;
                }
            }
        }
    }
    return found;
}

#ifdef USE_EXCLUSIONS
/** Whether j is one of the row's exclusions, which are in ascending order. */
DEVICE bool isExcluded(int j, GLOBAL const int* RESTRICT exclusions, int begin, int end) {
    while (begin < end) {
        int middle = (begin + end) / 2;
        if (exclusions[middle] == j)
            return true;
        if (exclusions[middle] < j)
            begin = middle + 1;
        else
            end = middle;
    }
    return false;
}
#endif

KERNEL void findPairs(int numParticles, GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection, GLOBAL const int* RESTRICT slots,
                      GLOBAL const int2* RESTRICT ranges, GLOBAL const mixed4* RESTRICT box, GLOBAL const int* RESTRICT candidateCounts,
                      GLOBAL const int* RESTRICT candidates, int candidateCapacity, GLOBAL const int* RESTRICT exclusionStarts,
                      GLOBAL const int* RESTRICT exclusions, int capacity, GLOBAL int* RESTRICT counts, GLOBAL int* RESTRICT senders,
                      GLOBAL real4* RESTRICT deltas, GLOBAL int* RESTRICT flags, GLOBAL int* RESTRICT stale PAIR_PARAMETERS) {
    LOCAL int found[TEAM * TEAMS];
#ifdef USE_CANDIDATES
    if (GLOBAL_ID == 0)
        stale[0] = 0;
#endif
    const int team = LOCAL_ID / TEAM, rank = LOCAL_ID % TEAM;
    for (int block = GROUP_ID; block * TEAMS < numParticles; block += NUM_GROUPS) {
        const int i = block * TEAMS + team;
        mixed4 xi = make_mixed4(0, 0, 0, 0);
        int begin = 0, end = 0;
        if (i < numParticles) {
            real4 x = posq[slots[i]];
            if (rank == 0 && !(IS_NEAR(x.x) && IS_NEAR(x.y) && IS_NEAR(x.z)))
                ATOMIC_MAX(&flags[NOT_FINITE_FLAG], FLAG_BASE - i);
            xi = loadPosition(posq, posqCorrection, slots[i]);
#ifdef USE_CANDIDATES
            int numCandidates = candidateCounts[i];
            int first = i * candidateCapacity;
#else
            int numCandidates = ranges[i].y - ranges[i].x;
            int first = ranges[i].x;
#endif
            int share = (numCandidates + TEAM - 1) / TEAM;
            begin = first + min(rank * share, numCandidates);
            end = first + min((rank + 1) * share, numCandidates);
        }
        // Both times by the same expressions, which a compiler must round in one way: the same pairs have to be found.
#pragma unroll 1
        for (int pass = 0; pass < 2; pass++) {
            int entry = -1;
            if (pass == 1) {
                entry = 0;
                for (int k = 0; k < rank; k++)
                    entry += found[team * TEAM + k];
            }
            int sum = 0;
            for (int k = begin; k < end; k++) {
#ifdef USE_CANDIDATES
                int j = candidates[k];
#else
                int j = k;
#endif
#ifdef USE_EXCLUSIONS
                if (isExcluded(j, exclusions, exclusionStarts[i], exclusionStarts[i + 1]))
                    continue;
#endif
                mixed4 xj = loadPosition(posq, posqCorrection, slots[j]);
                sum += visitPair(i, j, xi, xj, box, i, pass == 0 ? -1 : entry + sum, capacity, senders, deltas, flags PAIR_ARGUMENTS);
            }
            if (pass == 0)
                found[LOCAL_ID] = sum;
            else if (rank == TEAM - 1 && i < numParticles) {
                int total = entry + sum;
                counts[i] = min(total, capacity);
                if (total > capacity)
                    ATOMIC_MAX(&flags[CAPACITY_FLAG], total);
            }
            SYNC_THREADS;
        }
    }
}
