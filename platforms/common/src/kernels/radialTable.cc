// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Where a distance lies on the grid that all radial tables of a model share (CompiledModel.h, RadialGrid), and functions of it as cubic
// pieces of t, from 0 to 1:
//
//   r < first knot:  piece 0, t = r / first;    otherwise  x = (u(r) - u(first)) * GRID_SCALE, u = ln r or r, piece = 1 + floor(x), t = x - floor(x)
//   value = ((w t + z) t + y) t + x,            dvalue/dr = ((3 w t + 2 z) t + y) dt/dr
//
// In single precision x would be uncertain by 1e-4 of a piece. So only the piece is found from it; t comes from the distance to the
// piece's knot, which is stored as the sum of two floats. The piece may be the next one where t is 0 or 1 to rounding: the tables and
// their derivatives are continuous there.
//
// The kernel that finds the pairs calls locatePair() once for each; stored are piece and t: 8 bytes a pair.

#ifdef GRID_LOGARITHMIC
#define GRID_POSITION(r) (LOG(r)-(real) GRID_START)
#else
#define GRID_POSITION(r) ((r)-(real) GRID_START)
#endif

DEVICE void locatePair(real r, GLOBAL const real2* RESTRICT knots, GLOBAL int* RESTRICT piece, GLOBAL real* RESTRICT fraction) {
    if (r < (real) GRID_FIRST) {
        *piece = 0;
        *fraction = r*(real) (1/GRID_FIRST);
        return;
    }
    const real x = GRID_POSITION(r)*(real) GRID_SCALE;
    const int index = max(0, min((int) x, GRID_PIECES-2));
    *piece = index+1;
#ifdef USE_DOUBLE_PRECISION
    *fraction = x-index;
#else
    const real2 knot = knots[index];
    const real above = (r-knot.x)-knot.y;
#ifdef GRID_LOGARITHMIC
    // ln(r / knot) = 2 artanh(s), s = (r - knot) / (r + knot); pieces are narrower than ln 2. Minimax, 5e-9.
    const real s = above/(r+knot.x), z = s*s;
    *fraction = 2*s*(1+z*(0.333332066f+z*(0.200108496f+z*(0.1399957f+z*0.140122325f))))*(real) GRID_SCALE;
#else
    *fraction = above*(real) GRID_SCALE;
#endif
#endif
}

/** dt/dr */
DEVICE real gridSlope(real r) {
    if (r < (real) GRID_FIRST)
        return (real) (1/GRID_FIRST);
#ifdef GRID_LOGARITHMIC
    return (real) GRID_SCALE/r;
#else
    return (real) GRID_SCALE;
#endif
}

#define CUBIC(c, t) ((((c).w*(t)+(c).z)*(t)+(c).y)*(t)+(c).x)
#define CUBIC_SLOPE(c, t) ((3*(c).w*(t)+2*(c).z)*(t)+(c).y)
