// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// What the texts of the atomic environment vectors share: constants, terms, and where things are in a row.
//
//   radial   [type][eta][shift]                       0.25 exp(-eta (r - R_s)^2) fc(r; RADIAL_CUTOFF)
//   angular  [pair of types a <= b][angle][distance]  A D fc(r_j; ANGULAR_CUTOFF) fc(r_k; ANGULAR_CUTOFF)
//   A = 2 u^zeta, u = (1 + cos(theta - theta_s)) / 2  for each angle = [zeta][theta_s]
//   D = exp(-eta ((r_j + r_k) / 2 - R_a)^2)           for each distance = [eta][R_a]
//
// with theta = arccos(0.95 c), c the cosine of the angle jik: cos(theta - theta_s) = 0.95 c cos(theta_s) + s sin(theta_s),
// s = sqrt(1 - (0.95 c)^2) >= 0.31. No arccos, and no division by a sine that can vanish. Types are the NUM_TYPES that are present.
//
// Constants: a Gaussian's are (shift, -eta / ln 2, -2 eta, what rounding took from the shift), an angle's (0.95 cos(theta_s) / 2,
// sin(theta_s) / 2, zeta - 1, 2 zeta). Nothing relies on how fast mathematics rounds log and cos.

#define THREADS 128
#define RADIAL_LENGTH (NUM_TYPES*RADIAL_TERMS)
#define ANGULAR_TERMS (ANGLES*DISTANCES)
#define COSINE_FACTOR_SQUARED ((real) 0.9025)

#ifdef __OPENCL_VERSION__
#define BITS_FLOAT(x) as_float(x)
#define EXP2(x) exp2(x)
#else
#define BITS_FLOAT(x) __int_as_float(x)
#ifdef USE_DOUBLE_PRECISION
#define EXP2(x) exp2(x)
#else
#define EXP2(x) exp2f(x)
#endif
#endif

/** log2 x for positive normal x. In single precision its error is 1e-7 of max(|log2 x|, |x - 1|): it is multiplied by zeta. */
DEVICE real logarithm2(real x) {
#ifdef USE_DOUBLE_PRECISION
    return log2(x);
#else
    // x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2))
    const int bits = FLOAT_BITS(x), e = (bits-0x3f3504f3)>>23;
    const float f = BITS_FLOAT(bits-(e<<23))-1.0f;
    float p = 1.25412479e-1f;
    p = p*f-2.10303411e-1f;
    p = p*f+2.17379406e-1f;
    p = p*f-2.38519430e-1f;
    p = p*f+2.87656665e-1f;
    p = p*f-3.60721201e-1f;
    p = p*f+4.80922520e-1f;
    p = p*f-7.21347153e-1f;
    p = p*f+1.44269490f;
    return p*f+(float) e;
#endif
}

/** fc = cos(x)^2 with x = pi r / (2 cutoff), in [0, pi / 2]; derivative: by r. */
DEVICE real cutoffFunction(real r, real scale, real* derivative) {
    const real x = scale*r;
#ifdef USE_DOUBLE_PRECISION
    const real c = cos(x), s = sin(x);
#else
    const float z = x*x;
    float c = 1.0f/479001600, s = 1.0f/6227020800.0f;
    c = c*z-1.0f/3628800;
    s = s*z-1.0f/39916800;
    c = c*z+1.0f/40320;
    s = s*z+1.0f/362880;
    c = c*z-1.0f/720;
    s = s*z-1.0f/5040;
    c = c*z+1.0f/24;
    s = s*z+1.0f/120;
    c = c*z-0.5f;
    s = s*z-1.0f/6;
    c = c*z+1;
    s = (s*z+1)*x;
#endif
    *derivative = -2*scale*c*s;
    return c*c;
}

/** exp(-eta (r - shift)^2); slope: its derivative by r. */
DEVICE real gaussian(real r, real4 constants, real* slope) {
    const real x = (r-constants.x)-constants.w;
    const real value = EXP2(constants.y*x*x);
    *slope = constants.z*x*value;
    return value;
}

/** A for an angle with cosine c and s as above; ratio = 0.9025 c / s. slope: dA/dc. */
DEVICE real angleFactor(real c, real s, real ratio, real4 constants, real* slope) {
    real u = (real) 0.5+(constants.x*c+constants.y*s);
    u = (u > (real) 1e-30f ? u : (real) 1e-30f); // rounding may leave nothing, or less
    const real power = EXP2(constants.z*logarithm2(u));
    *slope = constants.w*power*(constants.x-constants.y*ratio);
    return 2*u*power;
}

/** The first column of a pair of types, in any order. */
DEVICE int angularBlock(int a, int b) {
    const int low = (a < b ? a : b), high = (a < b ? b : a);
    return RADIAL_LENGTH+(low*NUM_TYPES-low*(low-1)/2+high-low)*ANGULAR_TERMS;
}
