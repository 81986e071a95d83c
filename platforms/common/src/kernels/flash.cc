// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// What every program begins with: names for what OpenCL and CUDA call differently, and positions.

#ifdef __OPENCL_VERSION__
#define ATOMIC_MAX(p, value) atomic_max(p, value)
#define FLOAT_BITS(x) as_int(x)
#define DOUBLE_BITS(x) as_long(x)
#else
#define ATOMIC_MAX(p, value) atomicMax(p, value)
#define FLOAT_BITS(x) __float_as_int(x)
#define DOUBLE_BITS(x) __double_as_longlong(x)
#endif

// Programs are compiled with fast mathematics, which may take isfinite() for granted: the exponent's bits tell.
#ifdef USE_DOUBLE_PRECISION
#define IS_FINITE(x) ((DOUBLE_BITS(x) & 0x7ff0000000000000L) != 0x7ff0000000000000L)
#else
#define IS_FINITE(x) ((FLOAT_BITS(x) & 0x7f800000) != 0x7f800000)
#endif

/** A position in nm. Where precision is not mixed, posqCorrection is not read. */
DEVICE mixed4 loadPosition(GLOBAL const real4* RESTRICT posq, GLOBAL const real4* RESTRICT posqCorrection, int slot) {
    real4 x = posq[slot];
#ifdef USE_MIXED_PRECISION
    real4 low = posqCorrection[slot];
    return make_mixed4((mixed) x.x + (mixed) low.x, (mixed) x.y + (mixed) low.y, (mixed) x.z + (mixed) low.z, 0);
#else
    return make_mixed4(x.x, x.y, x.z, 0);
#endif
}

/** Add -forceScale * gradient to OpenMM's force on a particle. Integers: the order of additions does not matter. */
DEVICE void addForce(GLOBAL mm_ulong* RESTRICT forceBuffers, int slot, real forceScale, real gradientX, real gradientY, real gradientZ) {
    ATOMIC_ADD(&forceBuffers[slot], (mm_ulong) realToFixedPoint(-forceScale * gradientX));
    ATOMIC_ADD(&forceBuffers[slot + PADDED_NUM_ATOMS], (mm_ulong) realToFixedPoint(-forceScale * gradientY));
    ATOMIC_ADD(&forceBuffers[slot + 2 * PADDED_NUM_ATOMS], (mm_ulong) realToFixedPoint(-forceScale * gradientZ));
}
