// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Atomic environment vectors (aev.cc says what they are), a work-group of THREADS for each atom. Atoms are in the order of the
// networks: x = 0, 1, ... is our particle atoms[x].
//
// In:   the neighbour list (rows are sorted by type within a group), radialConstants [RADIAL_TERMS], angleConstants [ANGLES] and
//       distanceConstants [DISTANCES], real4.
// Out:  aev [x][AEV_STRIDE]; and for aevBackward.cc, in rows of `capacity`: first the neighbours within the angular cutoff, in the
//       list's order, then the others, from the end: records (direction, distance), cutoffs fc(r; ANGULAR_CUTOFF), neighbors (where in
//       OpenMM's arrays, type); rowCounts [x] = (how many are within the angular cutoff, how many there are).
//
// Radial: a thread owns a column and adds up the neighbours of its type. Angular: triples are numbered by pair of types, then (j, k), and
// go through in batches of BATCH. A triple's terms are the outer product of ANGLES and DISTANCES factors: these are computed with
// triples in the lanes, into local memory; then each thread adds up a column over the batch's triples of its pair of types. No atomic
// additions, and an order that the row alone fixes. Nothing limits the number of neighbours; models with more factors than ANGLE_CHUNK
// and DISTANCE_CHUNK go through in chunks of them.
//
// Bytes: 24 read and 28 written a pair, 40 read a triple (first cache); (4 or 8) AEV_LENGTH an atom written.
// Local memory: BATCH (ANGLE_CHUNK + DISTANCE_CHUNK) + 2 THREADS reals, 2 NUM_TYPES + 2 THREADS ints: 8.3 KB for ANI-2x (single).

#define PARTS (THREADS/BATCH)
#define ANGLE_PASSES ((ANGLES+ANGLE_CHUNK-1)/ANGLE_CHUNK)
#define DISTANCE_PASSES ((DISTANCES+DISTANCE_CHUNK-1)/DISTANCE_CHUNK)
#define NUM_BLOCKS (NUM_TYPES*NUM_TYPES)
#define FACTOR_STRIDE (BATCH+1)

/** Sum of `value` over the threads in front of this one; totals: over each 32 threads. Barriers: between calls, one of the caller's. */
DEVICE int prefixSum(int value, LOCAL_ARG int* values, LOCAL_ARG int* totals) {
    values[LOCAL_ID] = value;
    SYNC_THREADS;
    int sum = 0;
    for (int k = LOCAL_ID-LOCAL_ID%32; k < LOCAL_ID; k++)
        sum += values[k];
    if (LOCAL_ID%32 == 31)
        totals[LOCAL_ID/32] = sum+value;
    SYNC_THREADS;
    for (int k = 0; k < LOCAL_ID/32; k++)
        sum += totals[k];
    return sum;
}

/** The block, of those that begin at starts[0 ... THREADS - 1], that has this triple. */
DEVICE int findBlock(LOCAL_ARG const int* starts, int triple) {
    int low = 0;
    for (int step = THREADS/2; step > 0; step /= 2)
        if (starts[low+step] <= triple)
            low += step;
    return low;
}

KERNEL void computeAev(int numParticles, GLOBAL const int* RESTRICT counts, GLOBAL const int* RESTRICT senders, GLOBAL const real4* RESTRICT deltas,
                       int capacity, GLOBAL const int* RESTRICT atoms, GLOBAL const int* RESTRICT typeIndices, GLOBAL const int* RESTRICT slots,
                       GLOBAL const real4* RESTRICT radialConstants, GLOBAL const real4* RESTRICT angleConstants,
                       GLOBAL const real4* RESTRICT distanceConstants, GLOBAL real4* records, GLOBAL real* cutoffs, GLOBAL int2* RESTRICT neighbors,
                       GLOBAL int2* RESTRICT rowCounts, GLOBAL real* aev) {
    LOCAL int typeStarts[NUM_TYPES+1];    // of a chunk of the row
    LOCAL int angularStarts[NUM_TYPES+1]; // among the neighbours within the angular cutoff
    LOCAL int scratch[THREADS];
    LOCAL int totals[4];
    LOCAL int blockStarts[THREADS+1];
    LOCAL real distances[THREADS], weights[THREADS];
    LOCAL real angleValues[ANGLE_CHUNK*FACTOR_STRIDE], distanceValues[DISTANCE_CHUNK*FACTOR_STRIDE];
    const int thread = LOCAL_ID;
    for (int x = GROUP_ID; x < numParticles; x += NUM_GROUPS) {
        const int particle = atoms[x];
        const int size = (counts[particle] < capacity ? counts[particle] : capacity); // a row that did not fit is found again
        const mm_long from = (mm_long) particle*capacity, to = (mm_long) x*capacity;
        GLOBAL real* row = aev+(mm_long) x*AEV_STRIDE;
        int angular = 0;
        int first = 0;
        do { // once even for an empty row
            const int count = (size-first < THREADS ? size-first : THREADS);
            int type = -1, near = 0;
            real4 delta = make_real4(0, 0, 0, 1);
            real unused;
            if (thread < count) {
                delta = deltas[from+first+thread];
                type = typeIndices[senders[from+first+thread]];
                near = (delta.w < ANGULAR_CUTOFF);
                distances[thread] = delta.w;
                weights[thread] = (real) 0.25*cutoffFunction(delta.w, RADIAL_SCALE, &unused);
            }
            const int before = angular+prefixSum(near, scratch, totals);
            if (thread < count) {
                const int k = first+thread;
                const int place = (near ? before : size-1-(k-before));
                const real inverse = 1/delta.w;
                records[to+place] = make_real4(delta.x*inverse, delta.y*inverse, delta.z*inverse, delta.w);
                neighbors[to+place] = make_int2(slots[senders[from+k]], type);
                if (near)
                    cutoffs[to+place] = cutoffFunction(delta.w, ANGULAR_SCALE, &unused);
                const int previous = (k == 0 ? -1 : typeIndices[senders[from+k-1]]);
                for (int t = previous+1; t <= type; t++)
                    angularStarts[t] = before;
                for (int t = (thread == 0 ? 0 : previous+1); t <= type; t++)
                    typeStarts[t] = thread;
            }
            angular += totals[0]+totals[1]+totals[2]+totals[3];
            if (thread == (count > 0 ? count-1 : 0))
                for (int t = type+1; t <= NUM_TYPES; t++) {
                    typeStarts[t] = count;
                    angularStarts[t] = angular;
                }
            SYNC_THREADS;
            for (int column = thread; column < RADIAL_LENGTH; column += THREADS) {
                const int own = column/RADIAL_TERMS;
                const real4 constants = radialConstants[column%RADIAL_TERMS];
                real sum = (first == 0 ? 0 : row[column]);
                for (int k = typeStarts[own]; k < typeStarts[own+1]; k++)
                    sum += weights[k]*gaussian(distances[k], constants, &unused);
                row[column] = sum;
            }
            SYNC_THREADS;
            first += THREADS;
        } while (first < size);
        if (thread == 0)
            rowCounts[x] = make_int2(angular, size);
        for (int column = RADIAL_LENGTH+thread; column < AEV_STRIDE; column += THREADS) // with zeros behind the last, as networks want
            row[column] = 0;

        for (int firstBlock = 0; firstBlock < NUM_BLOCKS; firstBlock += THREADS) {
            int triples = 0;
            if (firstBlock+thread < NUM_BLOCKS) {
                const int a = (firstBlock+thread)/NUM_TYPES, b = (firstBlock+thread)%NUM_TYPES;
                const int numA = angularStarts[a+1]-angularStarts[a], numB = angularStarts[b+1]-angularStarts[b];
                triples = (a > b ? 0 : (a == b ? numA*(numA-1)/2 : numA*numB));
            }
            const int start = prefixSum(triples, scratch, totals);
            blockStarts[thread] = start;
            if (thread == THREADS-1)
                blockStarts[THREADS] = start+triples;
            SYNC_THREADS;
            const int total = blockStarts[THREADS];
            for (int batch = 0; batch < total; batch += BATCH) {
                const int end = (batch+BATCH < total ? batch+BATCH : total);
                const int firstInside = findBlock(blockStarts, batch), lastInside = findBlock(blockStarts, end-1);
                // This thread's triple, and its angle.
                const int place = thread%BATCH, part = thread/BATCH, triple = batch+place;
                real c = 0, s = 1, mean = 0, product = 0;
                if (triple < end) {
                    const int block = findBlock(blockStarts, triple), a = (firstBlock+block)/NUM_TYPES, b = (firstBlock+block)%NUM_TYPES;
                    const int index = triple-blockStarts[block], numB = angularStarts[b+1]-angularStarts[b];
                    // Of one type: partners 1, 2, ... further round the circle.
                    int j = (a == b ? index%numB : index/numB), k = (a == b ? j+index/numB+1 : index%numB);
                    if (k >= numB)
                        k -= numB;
                    j += angularStarts[a];
                    k += angularStarts[b];
                    const real4 u = records[to+j], v = records[to+k];
                    c = u.x*v.x+u.y*v.y+u.z*v.z;
                    s = SQRT(1-COSINE_FACTOR_SQUARED*c*c);
                    mean = (real) 0.5*(u.w+v.w);
                    product = cutoffs[to+j]*cutoffs[to+k];
                }
                for (int pass = 0; pass < ANGLE_PASSES*DISTANCE_PASSES; pass++) {
                    const int firstAngle = pass/DISTANCE_PASSES*ANGLE_CHUNK, firstDistance = pass%DISTANCE_PASSES*DISTANCE_CHUNK;
                    const int numAngles = (ANGLES-firstAngle < ANGLE_CHUNK ? ANGLES-firstAngle : ANGLE_CHUNK);
                    const int numDistances = (DISTANCES-firstDistance < DISTANCE_CHUNK ? DISTANCES-firstDistance : DISTANCE_CHUNK);
                    if (triple < end) {
                        real unused;
                        for (int angle = part; angle < numAngles; angle += PARTS)
                            angleValues[angle*FACTOR_STRIDE+place] = product*angleFactor(c, s, 0, angleConstants[firstAngle+angle], &unused);
                        for (int distance = part; distance < numDistances; distance += PARTS)
                            distanceValues[distance*FACTOR_STRIDE+place] = gaussian(mean, distanceConstants[firstDistance+distance], &unused);
                    }
                    SYNC_THREADS;
                    const int terms = numAngles*numDistances;
                    for (int y = thread; y < (lastInside-firstInside+1)*terms; y += THREADS) {
                        const int block = firstInside+y/terms, angle = y%terms/numDistances, distance = y%numDistances;
                        const int begin = (blockStarts[block] > batch ? blockStarts[block]-batch : 0);
                        const int behind = (blockStarts[block+1] < end ? blockStarts[block+1] : end)-batch;
                        if (begin < behind) {
                            real sum = 0;
                            for (int k = begin; k < behind; k++)
                                sum += angleValues[angle*FACTOR_STRIDE+k]*distanceValues[distance*FACTOR_STRIDE+k];
                            row[angularBlock((firstBlock+block)/NUM_TYPES, (firstBlock+block)%NUM_TYPES)+
                                (firstAngle+angle)*DISTANCES+firstDistance+distance] += sum;
                        }
                    }
                    SYNC_THREADS;
                }
            }
        }
        SYNC_THREADS;
    }
}
