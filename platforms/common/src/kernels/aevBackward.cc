// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Forces from dE/dAEV (aev.cc says what the terms are), a work-group of THREADS for each atom x in the order of the networks.
//
// In:   gradients [chunk][x][AEV_STRIDE], the sum of whose chunks is dE/dAEV; what aevForward.cc left: records, cutoffs, neighbors, rowCounts.
// Out:  OpenMM's force buffers: fixed point, so that the order of additions does not matter.
//
// A neighbour j within the angular cutoff has a team of TEAM threads, which share out its partners k and the radial terms; each triple is
// so evaluated from both of its sides, and nothing is scattered but a neighbour's complete gradient. With G = dE/dAEV of a pair of types,
// a triple needs the sums of G A D, G A' D and G A D' over its terms: factors live in registers, DISTANCE_REGISTERS distances at a time.
// Neighbours further away have a thread each, and radial terms only. The atom's own gradient is minus the sum of its neighbours'.
//
// Bytes: 24 read a pair and 3 atomic additions; 24 read a triple and side (first cache), and G, from local memory if it fits.
// Local memory: 4 THREADS reals, and AEV_LENGTH (GRADIENT_IN_LOCAL): 3.6 KB for ANI-2x of H C N O (single).

#define TEAM 8
#define TEAMS (THREADS/TEAM)

#ifdef GRADIENT_IN_LOCAL
#define GRADIENT LOCAL_ARG const real*
#else
#define GRADIENT GLOBAL const real*
#endif

/** Sum of a neighbour's radial terms first, first + step, ..., each times dE/dAEV: its derivative by r. */
DEVICE real radialSlope(real r, GRADIENT gradient, int first, int step, GLOBAL const real4* RESTRICT constants) {
    real cutoffSlope;
    const real cutoff = cutoffFunction(r, RADIAL_SCALE, &cutoffSlope);
    real sum = 0;
    for (int term = first; term < RADIAL_TERMS; term += step) {
        real slope;
        const real value = gaussian(r, constants[term], &slope);
        sum += gradient[term]*(slope*cutoff+value*cutoffSlope);
    }
    return (real) 0.25*sum;
}

/** x: sum of G A D, y: of G A' D, z: of G A D'. */
DEVICE real4 contract(real c, real mean, GRADIENT gradient, GLOBAL const real4* RESTRICT angleConstants, GLOBAL const real4* RESTRICT distanceConstants) {
    const real s = SQRT(1-COSINE_FACTOR_SQUARED*c*c), ratio = COSINE_FACTOR_SQUARED*c/s;
    real4 sums = make_real4(0, 0, 0, 0);
    for (int first = 0; first < DISTANCES; first += DISTANCE_REGISTERS) {
        real values[DISTANCE_REGISTERS], slopes[DISTANCE_REGISTERS];
#pragma unroll
        for (int i = 0; i < DISTANCE_REGISTERS; i++)
            if (first+i < DISTANCES)
                values[i] = gaussian(mean, distanceConstants[first+i], &slopes[i]);
        for (int angle = 0; angle < ANGLES; angle++) {
            real sum = 0, sumSlopes = 0, angleSlope;
#pragma unroll
            for (int i = 0; i < DISTANCE_REGISTERS; i++)
                if (first+i < DISTANCES) {
                    const real g = gradient[angle*DISTANCES+first+i];
                    sum += g*values[i];
                    sumSlopes += g*slopes[i];
                }
            const real value = angleFactor(c, s, ratio, angleConstants[angle], &angleSlope);
            sums.x += sum*value;
            sums.y += sum*angleSlope;
            sums.z += sumSlopes*value;
        }
    }
    return sums;
}

KERNEL void addAevForces(int numParticles, GLOBAL const int* RESTRICT atoms, GLOBAL const int* RESTRICT slots, int capacity,
                         GLOBAL const real4* RESTRICT radialConstants, GLOBAL const real4* RESTRICT angleConstants,
                         GLOBAL const real4* RESTRICT distanceConstants, GLOBAL const real4* RESTRICT records, GLOBAL const real* RESTRICT cutoffs,
                         GLOBAL const int2* RESTRICT neighbors, GLOBAL const int2* RESTRICT rowCounts, int numChunks, real forceScale, GLOBAL real* gradients,
                         GLOBAL mm_ulong* RESTRICT forceBuffers) {
    LOCAL real4 sums[THREADS];
#ifdef GRADIENT_IN_LOCAL
    LOCAL real gradient[AEV_LENGTH];
#endif
    const int thread = LOCAL_ID, lane = thread%TEAM;
    for (int x = GROUP_ID; x < numParticles; x += NUM_GROUPS) {
        const int numAngular = rowCounts[x].x, size = rowCounts[x].y;
        const mm_long base = (mm_long) x*capacity;
        GLOBAL real* row = gradients+(mm_long) x*AEV_STRIDE;
        for (int column = thread; column < AEV_LENGTH; column += THREADS) {
            real sum = row[column];
            for (int chunk = 1; chunk < numChunks; chunk++)
                sum += row[(mm_long) chunk*numParticles*AEV_STRIDE+column];
#ifdef GRADIENT_IN_LOCAL
            gradient[column] = sum;
#else
            row[column] = sum;
#endif
        }
#ifndef GRADIENT_IN_LOCAL
        GLOBAL const real* gradient = row;
#endif
        SYNC_THREADS;
        real4 own = make_real4(0, 0, 0, 0);
        for (int first = 0; first < numAngular; first += TEAMS) {
            const int j = first+thread/TEAM;
            real4 sum = make_real4(0, 0, 0, 0); // dE/d(direction), dE/dr
            if (j < numAngular) {
                const real4 u = records[base+j];
                const int type = neighbors[base+j].y;
                real cutoffSlope;
                const real cutoff = cutoffFunction(u.w, ANGULAR_SCALE, &cutoffSlope);
                sum.w = radialSlope(u.w, gradient+type*RADIAL_TERMS, lane, TEAM, radialConstants);
                for (int k = lane; k < numAngular; k += TEAM)
                    if (k != j) {
                        const real4 v = records[base+k];
                        const real c = u.x*v.x+u.y*v.y+u.z*v.z, other = cutoffs[base+k], product = cutoff*other;
                        const real4 terms = contract(c, (real) 0.5*(u.w+v.w), gradient+angularBlock(type, neighbors[base+k].y), angleConstants,
                                                     distanceConstants);
                        const real byCosine = product*terms.y;
                        sum.x += byCosine*v.x;
                        sum.y += byCosine*v.y;
                        sum.z += byCosine*v.z;
                        sum.w += terms.x*cutoffSlope*other+(real) 0.5*product*terms.z;
                    }
            }
            sums[thread] = sum;
            SYNC_THREADS;
            if (thread < TEAMS && first+thread < numAngular) {
                sum = sums[thread*TEAM];
                for (int k = 1; k < TEAM; k++) {
                    const real4 part = sums[thread*TEAM+k];
                    sum.x += part.x;
                    sum.y += part.y;
                    sum.z += part.z;
                    sum.w += part.w;
                }
                // A direction changes by the displacement's part across it, over r.
                const real4 u = records[base+first+thread];
                const real inverse = 1/u.w, along = sum.w-(sum.x*u.x+sum.y*u.y+sum.z*u.z)*inverse;
                sum.x = along*u.x+sum.x*inverse;
                sum.y = along*u.y+sum.y*inverse;
                sum.z = along*u.z+sum.z*inverse;
                addForce(forceBuffers, neighbors[base+first+thread].x, forceScale, sum.x, sum.y, sum.z);
                own.x -= sum.x;
                own.y -= sum.y;
                own.z -= sum.z;
            }
            SYNC_THREADS;
        }
        for (int j = numAngular+thread; j < size; j += THREADS) {
            const real4 u = records[base+j];
            const real slope = radialSlope(u.w, gradient+neighbors[base+j].y*RADIAL_TERMS, 0, 1, radialConstants);
            addForce(forceBuffers, neighbors[base+j].x, forceScale, slope*u.x, slope*u.y, slope*u.z);
            own.x -= slope*u.x;
            own.y -= slope*u.y;
            own.z -= slope*u.z;
        }
        sums[thread] = own;
        SYNC_THREADS;
        for (int step = THREADS/2; step > 0; step /= 2) {
            if (thread < step) {
                sums[thread].x += sums[thread+step].x;
                sums[thread].y += sums[thread+step].y;
                sums[thread].z += sums[thread+step].z;
            }
            SYNC_THREADS;
        }
        if (thread == 0)
            addForce(forceBuffers, slots[atoms[x]], forceScale, sums[0].x, sums[0].y, sums[0].z);
        SYNC_THREADS;
    }
}
