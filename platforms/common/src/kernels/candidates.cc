// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// For large groups: the particles within cutoff and skin of each, found through cells, kept until a particle has moved by half the skin.
//
//   checkMoves      raises `stale` where a particle has moved that far since its reference position
//   countCells      each particle's cell, hashed together with its group; how many particles a bucket has
//   startCells      where each bucket begins
//   sortCells       the particles in the order of buckets, and their new reference positions
//   findCandidates  candidates of each row, ascending
//
// The last four do nothing unless `stale` is raised; findPairs() lowers it. Nothing here depends on the order in which atomic additions
// happen: rows are sorted by particle. A bucket may hold other cells' particles; a cell is recognised by its coordinates.

#define TEAM 32
#define TEAMS 4

DEVICE int3 findCell(mixed4 x, int3 numCells, GLOBAL const mixed4* RESTRICT box) {
#ifdef FLASH_PERIODIC
    const mixed4 a = box[0], b = box[1], c = box[2];
    mixed z = x.z * c.w, y = (x.y - z * c.y) * b.w, t = (x.x - z * c.x - y * b.x) * a.w;
    z -= floor(z);
    y -= floor(y);
    t -= floor(t);
    return make_int3(min((int) (t * numCells.x), numCells.x - 1), min((int) (y * numCells.y), numCells.y - 1), min((int) (z * numCells.z), numCells.z - 1));
#else
    return make_int3((int) floor(x.x * INVERSE_CELL), (int) floor(x.y * INVERSE_CELL), (int) floor(x.z * INVERSE_CELL));
#endif
}

/** numBuckets: a power of two. */
DEVICE int findBucket(int3 cell, int group, int numBuckets) {
    unsigned int hash = (unsigned int) cell.x * 73856093u ^ (unsigned int) cell.y * 19349663u ^ (unsigned int) cell.z * 83492791u;
    hash ^= (unsigned int) group * 2654435761u;
    hash ^= hash >> 15;
    return (int) (hash & (numBuckets - 1));
}

KERNEL void checkMoves(int numParticles, GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection, GLOBAL const int* RESTRICT slots,
                       GLOBAL const mixed4* RESTRICT references, int renew, GLOBAL int* RESTRICT stale) {
    for (int p = GLOBAL_ID; p < numParticles; p += GLOBAL_SIZE) {
        const mixed4 x = loadPosition(posq, posqCorrection, slots[p]), old = references[p];
        const mixed dx = x.x - old.x, dy = x.y - old.y, dz = x.z - old.z;
        const real moved = (real) (dx * dx + dy * dy + dz * dz);
        if (renew || !IS_FINITE(moved) || moved >= (real) HALF_SKIN_SQUARED)
            stale[0] = 1;
    }
}

KERNEL void countCells(int numParticles, int numBuckets, GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection,
                       GLOBAL const int* RESTRICT slots,
                       GLOBAL const int2* RESTRICT ranges, GLOBAL const mixed4* RESTRICT box, int numCellsX, int numCellsY, int numCellsZ,
                       GLOBAL const int* RESTRICT stale, GLOBAL int4* RESTRICT cells, GLOBAL int* RESTRICT bucketCounts) {
    if (stale[0] == 0)
        return;
    for (int p = GLOBAL_ID; p < numParticles; p += GLOBAL_SIZE) {
        const int3 cell = findCell(loadPosition(posq, posqCorrection, slots[p]), make_int3(numCellsX, numCellsY, numCellsZ), box);
        const int bucket = findBucket(cell, ranges[p].x, numBuckets);
        cells[p] = make_int4(cell.x, cell.y, cell.z, bucket);
        ATOMIC_ADD(&bucketCounts[bucket], 1);
    }
}

/** One work-group of START_THREADS threads. */
KERNEL void startCells(int numBuckets, GLOBAL const int* RESTRICT stale, GLOBAL const int* RESTRICT bucketCounts, GLOBAL int* RESTRICT bucketStarts) {
    LOCAL int sums[START_THREADS];
    if (stale[0] == 0 || GROUP_ID > 0)
        return;
    const int share = numBuckets / START_THREADS, first = LOCAL_ID * share;
    int sum = 0;
    for (int k = first; k < first + share; k++)
        sum += bucketCounts[k];
    sums[LOCAL_ID] = sum;
    SYNC_THREADS;
    int start = 0;
    for (int k = 0; k < (int) LOCAL_ID; k++)
        start += sums[k];
    for (int k = first; k < first + share; k++) {
        bucketStarts[k] = start;
        start += bucketCounts[k];
    }
    if (LOCAL_ID == START_THREADS - 1)
        bucketStarts[numBuckets] = start;
}

/** The counts go back to zero. */
KERNEL void sortCells(int numParticles, GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection, GLOBAL const int* RESTRICT slots,
                      GLOBAL const int* RESTRICT stale, GLOBAL const int4* RESTRICT cells, GLOBAL int* RESTRICT bucketCounts,
                      GLOBAL const int* RESTRICT bucketStarts, GLOBAL int* RESTRICT sorted, GLOBAL mixed4* RESTRICT references) {
    if (stale[0] == 0)
        return;
    for (int p = GLOBAL_ID; p < numParticles; p += GLOBAL_SIZE) {
        const int bucket = cells[p].w;
        sorted[bucketStarts[bucket] + ATOMIC_ADD(&bucketCounts[bucket], -1) - 1] = p;
        references[p] = loadPosition(posq, posqCorrection, slots[p]);
    }
}

KERNEL void findCandidates(int numParticles, int numBuckets, GLOBAL const int2* RESTRICT ranges, GLOBAL const mixed4* RESTRICT box,
                           int numCellsX, int numCellsY, int numCellsZ,
                           GLOBAL const int* RESTRICT stale, GLOBAL const int4* RESTRICT cells, GLOBAL const int* RESTRICT bucketStarts,
                           GLOBAL const int* RESTRICT sorted, GLOBAL const mixed4* RESTRICT references, int capacity, GLOBAL int* RESTRICT unordered,
                           GLOBAL int* RESTRICT candidates, GLOBAL int* RESTRICT candidateCounts, GLOBAL int* RESTRICT flags) {
    LOCAL int found[TEAM * TEAMS];
    if (stale[0] == 0)
        return;
    const int team = LOCAL_ID / TEAM, rank = LOCAL_ID % TEAM;
    for (int block = GROUP_ID; block * TEAMS < numParticles; block += NUM_GROUPS) {
        const int i = block * TEAMS + team, row = i * capacity;
        const bool active = (i < numParticles && rank < 27);
        int3 cell = make_int3(0, 0, 0);
        mixed4 xi = make_mixed4(0, 0, 0, 0);
        int group = 0, bucket = 0;
        if (active) {
            // The rank-th of the cells around.
            cell = make_int3(cells[i].x + rank % 3 - 1, cells[i].y + rank / 3 % 3 - 1, cells[i].z + rank / 9 - 1);
#ifdef FLASH_PERIODIC
            cell.x = (cell.x + numCellsX) % numCellsX;
            cell.y = (cell.y + numCellsY) % numCellsY;
            cell.z = (cell.z + numCellsZ) % numCellsZ;
#endif
            xi = references[i];
            group = ranges[i].x;
            bucket = findBucket(cell, group, numBuckets);
        }
        int sum = 0, entry = 0, total = 0;
        // Both times by the same expressions, which a compiler must round in one way: the same pairs have to be found.
#pragma unroll 1
        for (int pass = 0; pass < 2; pass++) {
            if (active)
                for (int k = bucketStarts[bucket]; k < bucketStarts[bucket + 1]; k++) {
                    const int j = sorted[k];
                    const int4 its = cells[j];
                    if (j == i || ranges[j].x != group || its.x != cell.x || its.y != cell.y || its.z != cell.z)
                        continue;
                    const mixed4 xj = references[j];
                    mixed dx = xj.x - xi.x, dy = xj.y - xi.y, dz = xj.z - xi.z;
#ifdef FLASH_PERIODIC
                    const mixed4 a = box[0], b = box[1], c = box[2];
                    mixed shift = floor(dz * c.w + (mixed) 0.5);
                    dx -= shift * c.x;
                    dy -= shift * c.y;
                    dz -= shift * c.z;
                    shift = floor(dy * b.w + (mixed) 0.5);
                    dx -= shift * b.x;
                    dy -= shift * b.y;
                    dx -= floor(dx * a.w + (mixed) 0.5) * a.x;
#endif
                    if (dx * dx + dy * dy + dz * dz < RANGE_SQUARED) {
                        if (pass == 0)
                            sum++;
                        else if (entry < capacity)
                            unordered[row + entry++] = j;
                    }
                }
            if (pass == 0) {
                found[LOCAL_ID] = sum;
                SYNC_THREADS;
                for (int k = 0; k < TEAM; k++) {
                    if (k < rank)
                        entry += found[team * TEAM + k];
                    total += found[team * TEAM + k];
                }
            }
        }
        SYNC_THREADS;
        if (i < numParticles) {
            if (total > capacity) {
                ATOMIC_MAX(&flags[CANDIDATE_FLAG], total);
                total = capacity;
            }
            for (int k = rank; k < total; k += TEAM) {
                const int j = unordered[row + k];
                int place = 0;
                for (int l = 0; l < total; l++)
                    place += (unordered[row + l] < j ? 1 : 0);
                candidates[row + place] = j;
            }
            if (rank == 0)
                candidateCounts[i] = total;
        }
        SYNC_THREADS;
    }
}
