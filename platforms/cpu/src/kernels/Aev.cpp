// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// ANI's atomic environment vectors and their gradient, for one atom at a time:
//
//   radial:  sum_j 0.25 exp(-eta (r_j - R_s)^2) fc(r_j; R_r)
//   angular: sum_{j<k} 2 u^zeta exp(-eta ((r_j + r_k)/2 - R_a)^2) fc(r_j; R_a) fc(r_k; R_a),  u = (1 + cos(theta - theta_s)) / 2
//
// with theta = arccos(0.95 c), c the cosine of the angle jik: cos(theta - theta_s) = 0.95 c cos(theta_s) + s sin(theta_s),
// s = sqrt(1 - (0.95 c)^2). No arccos, and no division by a sine that can vanish.
//
// What there is once for each neighbour (displacement, distance, cutoff functions) is found in double precision and rounded.
// A distance stays in two parts, because the Gaussians multiply its error by several tens.
//
// Triples (j, k) of neighbours are numbered in the order of j, then k, and go through in chunks that stay in the first cache.
// A triple's angular terms are the outer product of angleTerms and distanceTerms numbers. Both are computed with
// (triple, term) in the lanes. Forward: the outer products of all triples of one pair of types are added in registers.
// Backward, with G = dE/dAEV of that pair, for each triple: the sums of G A D, G A' D and G A D' over all terms, which are the
// derivatives that the triple's c and distances need; from there on lanes are triples with the same j.
#include "Aev.h"
#include "AevMath.h"
#include "AevScratch.h"

namespace OpenMMFlash {
namespace FLASH_ISA {

extern const AevKernels aevKernels;

namespace {

constexpr float CosineFactor = 0.95f;

/** Neighbours within the radial cutoff, in the row's order. @return the first entry without a direction, or -1 */
std::int64_t findNeighbors(const AevConstants& constants, const AevRow& atom, Scratch& s) {
    const double *positions = atom.positions, *shifts = atom.shifts, *xi = positions + 3 * static_cast<std::int64_t>(atom.particle);
    const double x = xi[0], y = xi[1], z = xi[2];
    const int *senders = atom.senders, *shiftIndices = atom.shiftIndices;
    double *dxs = s.dx, *dys = s.dy, *dzs = s.dz, *r2s = s.r2;
    std::int64_t* entries = s.entry;
    const double cutoff2 = constants.radialCutoff * constants.radialCutoff, coincidence2 = constants.coincidence * constants.coincidence;
    std::int64_t coincident = -1, e = atom.begin;
    int n = 0;
    for (int type = 0; type < constants.numTypes; type++) {
        const int typeEnd = atom.typeStart[type + 1];
        for (; e < atom.end && senders[e] < typeEnd; e++) {
            const double *xj = positions + 3 * static_cast<std::int64_t>(senders[e]), *shift = shifts + 3 * static_cast<std::int64_t>(shiftIndices[e]);
            // The difference first, then the box vectors: the reverse pair has exactly the opposite displacement.
            const double dx = xj[0] - x + shift[0], dy = xj[1] - y + shift[1], dz = xj[2] - z + shift[2];
            const double r2 = dx * dx + dy * dy + dz * dz;
            dxs[n] = dx;
            dys[n] = dy;
            dzs[n] = dz;
            r2s[n] = r2;
            entries[n] = e;
            if (__builtin_expect(!(r2 > coincidence2), 0)) {
                coincident = coincident < 0 ? e : coincident;
                continue;
            }
            n += static_cast<int>(r2 < cutoff2); // no branch: which ones are near is not to be foreseen
        }
        s.radialEnd[type] = n;
    }
    s.count = n;
    for (int k = n; k < n + DoubleWidth; k++) { // what is read beyond the last one
        s.dx[k] = s.dy[k] = s.dz[k] = 0;
        s.r2[k] = 1;
    }
    return coincident;
}

/** fc = cos(x)^2 with x = pi r / (2 R), and its derivative by r; x in [0, pi/2]. */
FLASH_INLINE void evaluateCutoff(Doubles r, double cutoff, Doubles& value, Doubles& slope) {
    const double scale = 1.57079632679489661923 / cutoff;
    const Doubles x = r * scale, z = x * x;
    Doubles c = broadcast(1.0 / 20922789888000.0), s = broadcast(1.0 / 355687428096000.0);
    c = c * z - 1.0 / 87178291200.0;
    s = s * z - 1.0 / 1307674368000.0;
    c = c * z + 1.0 / 479001600.0;
    s = s * z + 1.0 / 6227020800.0;
    c = c * z - 1.0 / 3628800.0;
    s = s * z - 1.0 / 39916800.0;
    c = c * z + 1.0 / 40320.0;
    s = s * z + 1.0 / 362880.0;
    c = c * z - 1.0 / 720.0;
    s = s * z - 1.0 / 5040.0;
    c = c * z + 1.0 / 24.0;
    s = s * z + 1.0 / 120.0;
    c = c * z - 0.5;
    s = s * z - 1.0 / 6.0;
    c = c * z + 1.0;
    s = (s * z + 1.0) * x;
    value = c * c;
    slope = -2.0 * scale * c * s;
}

FLASH_INLINE void storeRounded(float* p, Doubles x) {
    storeHalfWidth(p, __builtin_convertvector(x, HalfFloats));
}

void computeGeometry(const AevConstants& constants, const Scratch& s) {
    const double toGrid = 6755399441055744.0 * constants.grid; // 1.5 * 2^52: the sum is a multiple of the grid
    const double *dx = s.dx, *dy = s.dy, *dz = s.dz, *r2s = s.r2;
    float *ux = s.ux, *uy = s.uy, *uz = s.uz, *inverses = s.inverse, *rs = s.r, *rRests = s.rRest;
    float *fc = s.fc, *fcSlope = s.fcSlope, *fcA = s.fcA, *fcASlope = s.fcASlope;
    const double radialCutoff = constants.radialCutoff, angularCutoff = constants.angularCutoff;
    for (int k = 0, count = s.count; k < count; k += DoubleWidth) {
        const Doubles r2 = loadUnaligned(r2s + k), inverse = 1.0 / sqrt(r2), r = r2 * inverse;
        storeRounded(ux + k, loadUnaligned(dx + k) * inverse);
        storeRounded(uy + k, loadUnaligned(dy + k) * inverse);
        storeRounded(uz + k, loadUnaligned(dz + k) * inverse);
        storeRounded(inverses + k, inverse);
        const Doubles coarse = (r + toGrid) - toGrid;
        storeRounded(rs + k, coarse);
        storeRounded(rRests + k, r - coarse);
        Doubles value, slope;
        evaluateCutoff(r, radialCutoff, value, slope);
        storeRounded(fc + k, value);
        storeRounded(fcSlope + k, slope);
        evaluateCutoff(r, angularCutoff, value, slope); // of no use beyond
        storeRounded(fcA + k, value);
        storeRounded(fcASlope + k, slope);
    }
}

void selectAngular(const AevConstants& constants, Scratch& s) {
    const double cutoff2 = constants.angularCutoff * constants.angularCutoff;
    int n = 0, k = 0;
    for (int type = 0; type < constants.numTypes; type++) {
        for (; k < s.radialEnd[type]; k++) {
            s.index[n] = k;
            n += s.r2[k] < cutoff2;
        }
        s.angularEnd[type] = n;
    }
    s.angularCount = n;
    for (k = 0; k < n; k++) {
        const int i = s.index[k];
        s.ax[k] = s.ux[i];
        s.ay[k] = s.uy[i];
        s.az[k] = s.uz[i];
        s.ar[k] = s.r[i];
        s.arRest[k] = s.rRest[i];
        s.af[k] = s.fcA[i];
        s.afSlope[k] = s.fcASlope[i];
    }
    float* const arrays[] = {s.ax, s.ay, s.az, s.ar, s.arRest, s.af, s.afSlope};
    for (float* array : arrays)
        storeUnaligned(array + n, Floats{});
}

void addRadial(const AevConstants& constants, const Scratch& s, float* row) {
    const float *r = s.r, *rRest = s.rRest, *fc = s.fc;
    for (int q = 0; q < constants.radialTerms; q += Width) {
        const Floats shift = loadUnaligned(constants.radialShift + q), shiftRest = loadUnaligned(constants.radialShiftRest + q);
        const Floats exponent = loadUnaligned(constants.radialExponent + q);
        int k = 0;
        for (int type = 0; type < constants.numTypes; type++) {
            Floats sum = {};
            for (const int end = s.radialEnd[type]; k < end; k++) {
                const Floats x = (r[k] - shift) + (rRest[k] - shiftRest);
                sum += exp2Decay(exponent * x * x) * fc[k];
            }
            store(row + static_cast<std::int64_t>(type) * constants.radialTerms + q, 0.25f * sum);
        }
    }
}

/** dE/dr of the radial terms. */
void radialGradient(const AevConstants& constants, const Scratch& s, const float* gradient) {
    const float *r = s.r, *rRest = s.rRest, *fc = s.fc, *fcSlope = s.fcSlope;
    float* terms = s.radialSums;
    for (int q = 0; q < constants.radialTerms; q += Width) {
        const Floats shift = loadUnaligned(constants.radialShift + q), shiftRest = loadUnaligned(constants.radialShiftRest + q);
        const Floats exponent = loadUnaligned(constants.radialExponent + q), slope = loadUnaligned(constants.radialSlope + q);
        int k = 0;
        for (int type = 0; type < constants.numTypes; type++) {
            const Floats g = 0.25f * load(gradient + static_cast<std::int64_t>(type) * constants.radialTerms + q);
            for (const int end = s.radialEnd[type]; k < end; k++) {
                const Floats x = (r[k] - shift) + (rRest[k] - shiftRest);
                const Floats product = g * exp2Decay(exponent * x * x) * (slope * x * fc[k] + fcSlope[k]);
                float* sum = terms + static_cast<std::int64_t>(k) * Width;
                store(sum, q == 0 ? product : load(sum) + product);
            }
        }
    }
    for (int k = 0; k < s.count; k += Width) {
        Floats sums[Width];
        for (int l = 0; l < Width; l++)
            sums[l] = load(terms + static_cast<std::int64_t>(k + l) * Width);
        storeUnaligned(s.dEdr + k, sumParts<Width>(sums));
    }
}

/** Where in the order of triples the next chunk begins. */
struct Position {
    int j, k;
};

/** The next chunk's triples: which they are, and c, mean distance and product of the cutoff functions of each. @return false: none left */
template <bool Backward> FLASH_INLINE bool startChunk(const AevConstants& constants, Scratch& s, Position& at) {
    const float *ax = s.ax, *ay = s.ay, *az = s.az, *ar = s.ar, *arRest = s.arRest, *af = s.af;
    float *cs = s.c, *sines = s.s, *ratios = s.ratio, *means = s.mean, *meanRests = s.meanRest, *ffs = s.ff;
    int *offsets = s.offsets, *offsetsWith = s.offsetsWith;
    const int neighbors = s.angularCount;
    int triples = 0, runs = 0, type = 0, typeDone = -1;
    while (at.j + 1 < neighbors && triples < Chunk) {
        int count = neighbors - at.k;
        if (count > Chunk - triples)
            count = (Chunk - triples) / Width * Width;
        if (count == 0)
            break;
        while (at.j >= s.angularEnd[type])
            type++;
        const int j = at.j, begin = at.k;
        s.runs[runs++] = {j, type, begin, count, triples};
        if (Backward && type != typeDone) {
            for (int k = j + 1, other = type; k < neighbors; k++) {
                while (k >= s.angularEnd[other])
                    other++;
                offsetsWith[k] = constants.pairOffsets[static_cast<std::int64_t>(type) * constants.numTypes + other];
            }
            typeDone = type;
        }
        const Floats ux = broadcast(ax[j]), uy = broadcast(ay[j]), uz = broadcast(az[j]);
        const Floats r = broadcast(ar[j]), rRest = broadcast(arRest[j]), f = broadcast(af[j]);
        for (int l = 0; l < count; l += Width) {
            const int k = begin + l, t = triples + l;
            storeUnaligned(cs + t, ux * loadUnaligned(ax + k) + (uy * loadUnaligned(ay + k) + uz * loadUnaligned(az + k)));
            storeUnaligned(means + t, 0.5f * (r + loadUnaligned(ar + k))); // exact, on half the grid
            storeUnaligned(meanRests + t, 0.5f * (rRest + loadUnaligned(arRest + k)));
            storeUnaligned(ffs + t, f * loadUnaligned(af + k));
            if (Backward)
                storeUnaligned(offsets + t, loadUnaligned(offsetsWith + k));
        }
        triples += count;
        at.k += count;
        if (at.k == neighbors) {
            at.j++;
            at.k = at.j + 1;
        }
    }
    s.numRuns = runs;
    s.numTriples = triples;
    for (int t = 0; t < triples; t += Width) {
        const Floats c = load(cs + t), scaled = CosineFactor * c, sine = sqrt(1.0f - scaled * scaled);
        store(sines + t, sine);
        store(ratios + t, c / sine);
    }
    return triples > 0;
}

/** A, times the cutoff functions (forward), or A and A' = dA/dc. */
template <int P, bool Backward> FLASH_INLINE void computeAngles(const AevConstants& constants, const Scratch& s) {
    const float *cs = s.c, *sines = s.s, *ratios = s.ratio, *ffs = s.ff;
    const int triples = s.numTriples, terms = constants.angleTerms;
    for (int q = 0; q < terms; q += Width) {
        const Floats cosine = loadUnaligned(constants.angleCosine + q), sine = loadUnaligned(constants.angleSine + q);
        const Floats exponent = loadUnaligned(constants.angleExponent + q);
        const Floats slope = loadUnaligned(constants.angleSlope + q), slopeSine = loadUnaligned(constants.angleSlopeSine + q);
        float *A = s.A + q, *ASlope = s.ASlope + q;
        for (int t = 0; t < triples; t += Width / P, A += P < Width ? Width : terms, ASlope += P < Width ? Width : terms) {
            Floats u = cosine * repeatEach<P>(cs + t) + (sine * repeatEach<P>(sines + t) + 0.5f);
            u = limit(u, 1e-30f); // rounding may leave nothing, or less
            const Floats power = exp2Decay(exponent * log2(u)), value = power * (u + u);
            if (Backward) {
                store(A, value);
                store(ASlope, power * (slope - slopeSine * repeatEach<P>(ratios + t)));
            }
            else
                store(A, value * repeatEach<P>(ffs + t));
        }
    }
}

/** D, or D and D' = dD/d(mean distance). */
template <int P, bool Backward> FLASH_INLINE void computeDistances(const AevConstants& constants, const Scratch& s) {
    const float *means = s.mean, *meanRests = s.meanRest;
    const int triples = s.numTriples, terms = constants.distanceTerms;
    for (int q = 0; q < terms; q += Width) {
        const Floats shift = loadUnaligned(constants.distanceShift + q), shiftRest = loadUnaligned(constants.distanceShiftRest + q);
        const Floats exponent = loadUnaligned(constants.distanceExponent + q), slope = loadUnaligned(constants.distanceSlope + q);
        float *D = s.D + q, *DSlope = s.DSlope + q;
        for (int t = 0; t < triples; t += Width / P, D += P < Width ? Width : terms, DSlope += P < Width ? Width : terms) {
            const Floats x = (repeatEach<P>(means + t) - shift) + (repeatEach<P>(meanRests + t) - shiftRest);
            const Floats gaussian = exp2Decay(exponent * x * x);
            store(D, gaussian);
            if (Backward)
                store(DSlope, gaussian * x * slope);
        }
    }
}

template <bool Backward> void computeTerms(const AevConstants& constants, const Scratch& s) {
    if (constants.angleTerms == 4)
        computeAngles<4, Backward>(constants, s);
    else if (constants.angleTerms == 8 && Width > 8)
        computeAngles<8, Backward>(constants, s);
    else
        computeAngles<Width, Backward>(constants, s);
    if (constants.distanceTerms == 4)
        computeDistances<4, Backward>(constants, s);
    else if (constants.distanceTerms == 8 && Width > 8)
        computeDistances<8, Backward>(constants, s);
    else
        computeDistances<Width, Backward>(constants, s);
}

/** Vector v of the outer product of A and D, whose columns are [angle term][distance term]. */
template <int P> FLASH_INLINE Floats multiplyTerms(const float* A, const float* D, int v, int perAngle) {
    if (P < Width)
        return repeatEach<P>(A + v * (Width / P)) * repeatAll<P>(D);
    return broadcast(A[v / perAngle]) * loadUnaligned(D + v % perAngle * Width);
}

/** Add N vectors of the outer products of consecutive triples. */
template <int P, int N> FLASH_INLINE void addProducts(const AevConstants& constants, const Scratch& s, int first, int count, int v, float* block) {
    const int perAngle = constants.distanceTerms / Width;
    Floats sum[N];
    for (int i = 0; i < N; i++)
        sum[i] = load(block + (v + i) * Width);
    const float *A = s.A + static_cast<std::int64_t>(first) * constants.angleTerms, *D = s.D + static_cast<std::int64_t>(first) * constants.distanceTerms;
    for (int t = 0; t < count; t++) {
        for (int i = 0; i < N; i++)
            sum[i] += multiplyTerms<P>(A, D, v + i, perAngle);
        A += constants.angleTerms;
        D += constants.distanceTerms;
    }
    for (int i = 0; i < N; i++)
        store(block + (v + i) * Width, sum[i]);
}

/** Call visit(first triple, count, pair's offset) for the runs' parts whose k are of one type. */
template <class Visitor> FLASH_INLINE void forEachSegment(const AevConstants& constants, const Scratch& s, const Visitor& visit) {
    for (int i = 0; i < s.numRuns; i++) {
        const Run& run = s.runs[i];
        int k = run.begin;
        for (int type = run.type; k < run.begin + run.count; type++) {
            int end = s.angularEnd[type];
            if (end <= k)
                continue;
            if (end > run.begin + run.count)
                end = run.begin + run.count;
            visit(run.first + k - run.begin, end - k, constants.pairOffsets[static_cast<std::int64_t>(run.type) * constants.numTypes + type]);
            k = end;
        }
    }
}

template <int P> void addAngular(const AevConstants& constants, const Scratch& s, float* row) {
    const int vectors = constants.angleTerms * constants.distanceTerms / Width;
    forEachSegment(constants, s, [&](int first, int count, int offset) __attribute__((always_inline)) {
        float* block = row + offset;
        int v = 0;
        for (; v + 4 <= vectors; v += 4)
            addProducts<P, 4>(constants, s, first, count, v, block);
        for (; v + 2 <= vectors; v += 2)
            addProducts<P, 2>(constants, s, first, count, v, block);
        for (; v < vectors; v++)
            addProducts<P, 1>(constants, s, first, count, v, block);
    });
}

/** For each triple the sums of G A D, G A' D and G A D' over the terms of its pair. */
template <int P, int Rows> void contract(const AevConstants& constants, const Scratch& s, const float* gradient) {
    constexpr int Together = Width / P; // triples whose distance terms fill a vector
    const int A = constants.angleTerms, D = constants.distanceTerms;
    const int perAngle = P < Width ? 1 : D / Width, rows = Rows > 0 ? Rows : A * D / Width / perAngle;
    const float *a = s.A, *aSlope = s.ASlope, *d = s.D, *dSlope = s.DSlope;
    const int* offsets = s.offsets;
    for (int first = 0; first < s.numTriples; first += Width) {
        Floats sums[P], sumsA[P], sumsD[P];
        for (int l = 0; l < P; l++) {
            sums[l] = sumsA[l] = sumsD[l] = Floats{};
            for (int q = 0; q < perAngle; q++) {
                Floats x[Together], xSlope[Together];
#pragma GCC unroll 4
                for (int i = 0; i < Together; i++) {
                    const float *block = gradient + offsets[i] + q * Width, *from = a + i * A, *fromSlope = aSlope + i * A;
                    x[i] = xSlope[i] = Floats{};
#pragma GCC unroll 4
                    for (int row = 0; row < rows; row++) {
                        const Floats g = load(block);
                        x[i] += repeatEach<P>(from) * g;
                        xSlope[i] += repeatEach<P>(fromSlope) * g;
                        block += perAngle * Width;
                        from += Together;
                        fromSlope += Together;
                    }
                }
                const Floats sum = pack<P>(x), distance = load(d + q * Width);
                sums[l] += sum * distance;
                sumsA[l] += pack<P>(xSlope) * distance;
                sumsD[l] += sum * load(dSlope + q * Width);
            }
            a += Together * A;
            aSlope += Together * A;
            d += Together * D;
            dSlope += Together * D;
            offsets += Together;
        }
        store(s.S + first, sumParts<P>(sums));
        store(s.SA + first, sumParts<P>(sumsA));
        store(s.SD + first, sumParts<P>(sumsD));
    }
}

template <int P> FLASH_INLINE void contractRows(const AevConstants& constants, const Scratch& s, const float* gradient) {
    const int rows = constants.angleTerms / (Width / P);
    if (rows == 2)
        contract<P, 2>(constants, s, gradient);
    else if (rows == 4)
        contract<P, 4>(constants, s, gradient);
    else
        contract<P, 0>(constants, s, gradient); // any number
}

/** From the sums of the chunk's triples: dE/d(direction) and dE/dr of their neighbours. */
void addTripleGradients(const Scratch& s) {
    const Ints lanes = iota();
    const float *ax = s.ax, *ay = s.ay, *az = s.az, *af = s.af, *afSlope = s.afSlope, *sums = s.S, *sumsA = s.SA, *sumsD = s.SD;
    float *dEdux = s.dEdux, *dEduy = s.dEduy, *dEduz = s.dEduz, *dEdar = s.dEdar;
    for (int i = 0; i < s.numRuns; i++) {
        const Run& run = s.runs[i];
        const int j = run.j;
        const Floats ux = broadcast(ax[j]), uy = broadcast(ay[j]), uz = broadcast(az[j]), f = broadcast(af[j]), fSlope = broadcast(afSlope[j]);
        Floats x = {}, y = {}, z = {}, r = {};
        for (int l = 0; l < run.count; l += Width) {
            const int k = run.begin + l, t = run.first + l;
            const Ints inside = lanes < run.count - l;
            const Floats fK = loadUnaligned(af + k), ff = f * fK;
            const Floats S = inside ? loadUnaligned(sums + t) : Floats{};
            const Floats byCosine = inside ? ff * loadUnaligned(sumsA + t) : Floats{};
            const Floats byMean = inside ? (0.5f * ff) * loadUnaligned(sumsD + t) : Floats{};
            x += byCosine * loadUnaligned(ax + k);
            y += byCosine * loadUnaligned(ay + k);
            z += byCosine * loadUnaligned(az + k);
            r += (S * fK) * fSlope + byMean;
            storeUnaligned(dEdux + k, loadUnaligned(dEdux + k) + byCosine * ux);
            storeUnaligned(dEduy + k, loadUnaligned(dEduy + k) + byCosine * uy);
            storeUnaligned(dEduz + k, loadUnaligned(dEduz + k) + byCosine * uz);
            storeUnaligned(dEdar + k, loadUnaligned(dEdar + k) + ((S * f) * loadUnaligned(afSlope + k) + byMean));
        }
        dEdux[j] += sum(x);
        dEduy[j] += sum(y);
        dEduz[j] += sum(z);
        dEdar[j] += sum(r);
    }
}

/** Radial and angular parts together: dE/d(displacement). */
void storeGradients(const AevRow& atom, const Scratch& s, float* entryGradients) {
    for (int k = 0; k < s.count; k += Width) {
        const Floats g = loadUnaligned(s.dEdr + k);
        storeUnaligned(s.gx + k, g * loadUnaligned(s.ux + k));
        storeUnaligned(s.gy + k, g * loadUnaligned(s.uy + k));
        storeUnaligned(s.gz + k, g * loadUnaligned(s.uz + k));
    }
    for (int k = 0; k < s.angularCount; k++) {
        const int i = s.index[k];
        const float ux = s.ax[k], uy = s.ay[k], uz = s.az[k], x = s.dEdux[k], y = s.dEduy[k], z = s.dEduz[k], inverse = s.inverse[i];
        // A direction changes by the displacement's part across it, over r.
        const float along = s.dEdar[k] - (x * ux + y * uy + z * uz) * inverse;
        s.gx[i] += along * ux + x * inverse;
        s.gy[i] += along * uy + y * inverse;
        s.gz[i] += along * uz + z * inverse;
    }
    for (std::int64_t e = 3 * atom.begin; e < 3 * atom.end; e++)
        entryGradients[e] = 0;
    for (int k = 0; k < s.count; k++) {
        float* g = entryGradients + 3 * s.entry[k];
        g[0] = s.gx[k];
        g[1] = s.gy[k];
        g[2] = s.gz[k];
    }
}

int padTerms(int terms) {
    for (int few = 4; few < Width; few *= 2)
        if (terms <= few)
            return few;
    return (terms + Width - 1) / Width * Width;
}

size_t getScratchSize(const AevConstants& constants, std::int64_t candidates) {
    Scratch s;
    layOut(constants, nullptr, candidates, s);
    return reinterpret_cast<size_t>(s.end) / sizeof(float);
}

void prepareScratch(const AevConstants& constants, std::int64_t candidates, float* scratch) {
    layOut(constants, scratch, candidates, *reinterpret_cast<Scratch*>(scratch));
}

std::int64_t forward(const AevConstants& constants, const AevRow& atom, float* scratch, float* row) {
    Scratch& s = *reinterpret_cast<Scratch*>(scratch);
    const std::int64_t coincident = findNeighbors(constants, atom, s);
    computeGeometry(constants, s);
    selectAngular(constants, s);
    for (int c = constants.numTypes * constants.radialTerms; c < constants.rowLength; c += Width)
        store(row + c, Floats{});
    addRadial(constants, s, row);
    for (Position at = {0, 1}; startChunk<false>(constants, s, at);) {
        computeTerms<false>(constants, s);
        if (constants.distanceTerms == 4)
            addAngular<4>(constants, s, row);
        else if (constants.distanceTerms == 8 && Width > 8)
            addAngular<8>(constants, s, row);
        else
            addAngular<Width>(constants, s, row);
    }
    return coincident;
}

void backward(const AevConstants& constants, const AevRow& atom, float* scratch, const float* gradient, float* entryGradients) {
    Scratch& s = *reinterpret_cast<Scratch*>(scratch);
    findNeighbors(constants, atom, s);
    computeGeometry(constants, s);
    selectAngular(constants, s);
    radialGradient(constants, s, gradient);
    float* const arrays[] = {s.dEdux, s.dEduy, s.dEduz, s.dEdar};
    for (float* array : arrays)
        for (int k = 0; k < s.angularCount + Width; k += Width)
            storeUnaligned(array + k, Floats{});
    for (Position at = {0, 1}; startChunk<true>(constants, s, at);) {
        computeTerms<true>(constants, s);
        for (int t = s.numTriples; t < s.numTriples + Width; t++)
            s.offsets[t] = 0; // computed with the others, and of no use
        if (constants.distanceTerms == 4)
            contractRows<4>(constants, s, gradient);
        else if (constants.distanceTerms == 8 && Width > 8)
            contractRows<8>(constants, s, gradient);
        else
            contractRows<Width>(constants, s, gradient);
        addTripleGradients(s);
    }
    storeGradients(atom, s, entryGradients);
}

} // namespace

const AevKernels aevKernels = {padTerms, getScratchSize, prepareScratch, forward, backward};

} // namespace FLASH_ISA
} // namespace OpenMMFlash
