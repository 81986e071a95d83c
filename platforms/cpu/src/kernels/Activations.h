// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Activation functions and their slopes. All are built from q = e^-|x| in (0, 1], which neither overflows nor cancels, so that
// both tails are right to rounding. Relative errors: up to 3e-7 of a value, 5e-7 of a slope; 1.5e-7 absolute where one crosses zero
// between terms of order one; values below 1e-35 may become zero; NaN stays NaN, infinities give limits.
#ifndef OPENMMFLASH_ACTIVATIONS_H_
#define OPENMMFLASH_ACTIVATIONS_H_

#include "Dense.h"
#include "Simd.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

/** e^x and e^x - 1, each to its own relative precision, for x <= 0. */
FLASH_INLINE void expNegative(Floats x, Floats& e, Floats& eMinusOne) {
    const Ints tiny = x < -87.0f;
    x = tiny ? broadcast(-87.0f) : x;
    const Floats shifted = x * 1.44269504f + 12582912.0f; // 1.5 * 2^23: the sum ends in the nearest integer n
    const Floats n = shifted - 12582912.0f;
    const Floats f = (x - n * 0.693359375f) - n * -2.12194440e-4f; // x - n ln 2
    const Floats scale = (Floats)(((Ints)shifted + 127) << 23);    // 2^n
    // (e^f - 1 - f) / f^2 on [-ln 2 / 2, ln 2 / 2], fitted for the least error
    Floats p = broadcast(1.99077068e-4f);
    p = p * f + 1.39337329e-3f;
    p = p * f + 8.33328583e-3f;
    p = p * f + 4.16664642e-2f;
    p = p * f + 0.166666668f;
    p = p * f + 0.5f;
    p = (p * f) * f + f;
    e = tiny ? Floats{} : p * scale + scale;
    eMinusOne = p * scale + (scale - 1.0f);
}

FLASH_INLINE Floats abs(Floats x) {
    return (Floats)((Ints)x & 0x7fffffff);
}
/** Finite, for products with what is zero there; NaN stays. */
FLASH_INLINE Floats limit(Floats x) {
    const Floats most = broadcast(1000.0f);
    x = x > most ? most : x;
    return x < -most ? -most : x;
}

struct Tanh {
    /** @param slope  cost nothing where it is not used, here and below */
    inline __attribute__((always_inline)) void operator()(Floats x, Floats& value, Floats& slope) const {
        Floats q, m;
        expNegative(-2.0f * abs(x), q, m);
        const Floats r = 1.0f / (2.0f + m), t = m * r;
        value = x < 0.0f ? t : -t;
        slope = 4.0f * q * r * r;
    }
};

/** ln(1 + e^x) - shift */
struct Softplus {
    float shift;
    inline __attribute__((always_inline)) void operator()(Floats x, Floats& value, Floats& slope) const {
        Floats q, m;
        expNegative(-abs(x), q, m);
        // ln(1 + q) = 2 atanh z; (2 atanh z - 2 z) / z^3 fitted for the least error
        const Floats z = q / (2.0f + q), w = z * z, s = 1.0f / (1.0f + q);
        Floats p = broadcast(0.284077553f);
        p = p * w + 0.27911734f;
        p = p * w + 0.400278959f;
        p = p * w + 0.666662809f;
        value = ((2.0f * z - shift) + p * (z * w)) + (x < 0.0f ? Floats{} : x);
        slope = x < 0.0f ? q * s : s;
    }
};

struct Sigmoid {
    inline __attribute__((always_inline)) void operator()(Floats x, Floats& value, Floats& slope) const {
        Floats q, m;
        expNegative(-abs(x), q, m);
        const Floats r = 1.0f / (1.0f + q);
        value = x < 0.0f ? q * r : r;
        slope = q * r * r;
    }
};

/** x sigmoid(x) */
struct Silu {
    inline __attribute__((always_inline)) void operator()(Floats x, Floats& value, Floats& slope) const {
        Floats q, m;
        expNegative(-abs(x), q, m);
        const Floats r = 1.0f / (1.0f + q), finite = limit(x);
        const Floats s = x < 0.0f ? q * r : r, opposite = x < 0.0f ? r : q * r;
        value = s * (x < 0.0f ? finite : x);
        slope = s * (1.0f + finite * opposite);
    }
};

/** x tanh(ln(1 + e^x)) */
struct Mish {
    inline __attribute__((always_inline)) void operator()(Floats x, Floats& value, Floats& slope) const {
        Floats q, m;
        expNegative(-abs(x), q, m);
        // The hyperbolic tangent is n / d, with numerator and denominator multiplied by q^2 where x > 0.
        const Ints negative = x < 0.0f;
        const Floats finite = limit(x), n = negative ? q * (q + 2.0f) : 1.0f + 2.0f * q, d = n + (negative ? broadcast(2.0f) : 2.0f * q * q);
        const Floats r = 1.0f / d, t = n * r;
        value = t * (negative ? finite : x);
        slope = t + finite * (4.0f * (1.0f + q) * (negative ? q : q * q) * (r * r));
    }
};

/** x > 0 ? x : alpha (e^(x / alpha) - 1) */
struct Celu {
    float alpha, inverse;
    inline __attribute__((always_inline)) void operator()(Floats x, Floats& value, Floats& slope) const {
        const Ints positive = x > 0.0f;
        Floats q, m;
        expNegative(positive ? Floats{} : x * inverse, q, m);
        value = positive ? x : alpha * m;
        slope = q; // e^0 = 1 where x is positive
    }
};

} // namespace FLASH_ISA
} // namespace OpenMMFlash

#endif
