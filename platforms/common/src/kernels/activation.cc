// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Activations and their derivatives, to a few units in the last place of the largest value near x, whatever fast mathematics does to
// tanh, log and large arguments of exp: only EXP of numbers that are not positive is used, and divisions.
//
//   value = activateName(x, &derivative)
//
// With E = exp(-|x|): tanh = (1 - E^2) / (1 + E^2), sigmoid = 1 / (1 + E) or E / (1 + E), softplus = max(x, 0) + log(1 + E).

/** log(1 + e) for e from 0 to 1: 2 artanh(e / (2 + e)). */
DEVICE real logOnePlus(real e) {
#ifdef USE_DOUBLE_PRECISION
    return log1p(e);
#else
    const float s = e/(2+e), z = s*s;
    return 2*s*(1+z*(0.333332066f+z*(0.200108496f+z*(0.1399957f+z*0.140122325f)))); // minimax, 5e-9
#endif
}

DEVICE real activateTanh(real x, real* derivative) {
#ifdef USE_DOUBLE_PRECISION
    const real value = tanh(x), e = EXP(-2*fabs(x));
    *derivative = 4*e/((1+e)*(1+e));
    return value;
#else
    const float size = fabs(x), e = EXP(-2*size), z = x*x, inverse = 1/(1+e);
    const float near = x*(1+z*(-0.333332993f+z*(0.133319582f+z*(-0.0537866832f+z*(0.0208053832f-z*0.00590586667f))))); // minimax to 0.6, 3e-9
    const float far = 1-2*e*inverse;
    *derivative = size < 0.6f ? 1-near*near : 4*e*inverse*inverse;
    return size < 0.6f ? near : (x < 0 ? -far : far);
#endif
}

DEVICE real activateSigmoid(real x, real* derivative) {
    const real e = EXP(-fabs(x)), inverse = 1/(1+e);
    *derivative = e*inverse*inverse;
    return x < 0 ? e*inverse : inverse;
}

DEVICE real activateSoftplus(real x, real* derivative) {
    const real e = EXP(-fabs(x)), inverse = 1/(1+e);
    *derivative = x < 0 ? e*inverse : inverse;
    return (x < 0 ? 0 : x)+logOnePlus(e);
}

DEVICE real activateShiftedSoftplus(real x, real* derivative) {
    return activateSoftplus(x, derivative)-(real) 0.69314718055994530942;
}

DEVICE real activateSilu(real x, real* derivative) {
    real slope;
    const real value = activateSigmoid(x, &slope);
    *derivative = value+x*slope;
    return x*value;
}

/** x tanh(softplus(x)); tanh(log(1 + w)) = w (w + 2) / (w (w + 2) + 2) with w = exp(x), multiplied by E^2 where w = 1 / E. */
DEVICE real activateMish(real x, real* derivative) {
    const real e = EXP(-fabs(x)), e2 = e*e;
    const real top = x < 0 ? e*(e+2) : 1+2*e, one = x < 0 ? 1 : e2;
    const real inverse = 1/(top+2*one), t = top*inverse;
    const real sigmoid = (x < 0 ? e : 1)/(1+e);
    *derivative = t+x*sigmoid*4*one*(top+one)*inverse*inverse;
    return x*t;
}

/** x > 0 ? x : alpha (exp(x / alpha) - 1) */
DEVICE real activateCelu(real x, real alpha, real* derivative) {
    const real e = EXP((x < 0 ? x : 0)/alpha);
    *derivative = e;
    return x > 0 ? x : alpha*(e-1);
}
