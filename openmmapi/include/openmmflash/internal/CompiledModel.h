// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMPILEDMODEL_H_
#define OPENMMFLASH_COMPILEDMODEL_H_

#include "openmmflash/internal/ModelSpec.h"
#include "openmmflash/internal/windowsExportFlash.h"
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace OpenMMFlash {

/** Largest number of pieces of a table. */
constexpr int MaxPieces = 32768;

/**
 * The knots of all radial tables of a model: one grid, so that a pair's piece is found once. Piece 0 reaches from 0 to the first
 * knot; pieces 1 to `pieces` - 1 divide what is left up to the cutoff evenly in u(r) = ln r or u(r) = r:
 *
 *   r < first:   piece = 0,             t = r / first,                          dt/dr = 1 / first
 *   otherwise:   x = (u(r) - getStart()) * getScale(), at least 0
 *                piece = 1 + floor(x), at most pieces - 1,  t = x - (piece - 1),  dt/dr = getScale() * du/dr  (du/dr = 1 / r or 1)
 *
 * In single precision x would be uncertain by 1e-4 of a piece where there are a thousand: find piece and t in double, or x as the
 * sum of an exact and a small part, and round t.
 */
struct OPENMM_EXPORT_FLASH RadialGrid {
    enum class Knots { Linear, Logarithmic };
    Knots knots = Knots::Logarithmic;
    int pieces = 0; ///< with piece 0
    double first = 0, cutoff = 0;

    /** u at the first knot. */
    double getStart() const;
    /** Pieces per unit of u. */
    double getScale() const;
    /** Where r < cutoff lies: its piece, t in it (from 0 to 1, to rounding), and dt/dr. */
    void locate(double r, int& piece, double& t, double& dtdr) const;
    /** The distance at t of a piece. */
    double getDistance(int piece, double t) const;
};

/**
 * Functions of a distance as cubic pieces: value = ((c3 t + c2) t + c1) t + c0. The derivative that counts is that of this interpolant,
 * ((3 c3 t + 2 c2) t + c1) dt/dr. Both are continuous at every knot, the first one included.
 */
struct OPENMM_EXPORT_FLASH RadialTable {
    int channels = 0;
    std::vector<double> coefficients; ///< [piece][4][channels]
    /**
     * Bounds of the errors of value and derivative between first knot and cutoff, relative to each channel's largest value and derivative
     * there. Measured in every piece where the error of a cubic piece peaks, times a margin for what lies between.
     */
    double valueError = 0, derivativeError = 0;
    double valueErrorBelow = 0; ///< the same of the value between 0 and the first knot, where no tolerance holds

    /** @param values,derivatives  [channels] @param derivatives  dG/dr, or nullptr */
    void evaluate(const RadialGrid& grid, double r, double* values, double* derivatives) const;
};

/** G(r) = sum_k u_k(r) V_k, where the spectrum of G allows it. */
struct LowRankFactors {
    RadialTable functions;         ///< u, with `rank` channels; its errors are those of this factorization of the table
    std::vector<double> expansion; ///< V [rank][channels]
    int getRank() const {
        return functions.channels;
    }
};

/**
 * The functions of LowRankFactors as uniform cubic B-splines, whose pieces may share their points: a quarter of the numbers. In piece p,
 *
 *   u_k(t) = sum_m w_m(t) points[getFirstRow(p) + m][k],  m = 0...3
 *   w = (1 - t)^3 / 6, (3 t^3 - 6 t^2 + 4) / 6, (3 s^3 - 6 s^2 + 4) / 6 with s = 1 - t, t^3 / 6
 */
struct OPENMM_EXPORT_FLASH RadialSplines {
    int channels = 0;
    bool shared = false;        ///< rows 0 to 3 are those of piece 0, the others belong to one spline; otherwise each piece has four rows of its own
    std::vector<double> points; ///< [row][channels]
    double valueError = 0, derivativeError = 0; ///< what they add to those of the filters, in the same sense

    int getFirstRow(int piece) const {
        return shared ? (piece == 0 ? 0 : piece + 3) : 4 * piece;
    }
    int getNumRows() const {
        return static_cast<int>(points.size()) / channels;
    }
    /** @param values,slopes  [channels] u_k and du_k/dt */
    void evaluate(int piece, double t, double* values, double* slopes) const;
};

/** A SchNet whose edge functions are tables. Everything else stays as in the specification, rounded to half precision if asked for. */
struct CompiledSchNet {
    RadialGrid grid;
    struct Member {
        std::vector<RadialTable> filters;    ///< [block], F channels
        std::optional<RadialTable> neighbor; ///< (P e + p) envelope of the neighbor embedding, H channels
    };
    std::vector<Member> members;
    SchNetSpec spec; ///< layers of the filter networks and of the neighbor embedding's projection are empty
};

/** Atomic networks of an ANI model for the types that a System has. */
struct CompiledAni {
    AniSpec spec;                  ///< constants; networks are empty
    std::vector<int> presentTypes; ///< model types, ascending; "present" indices below count these
    int modelAevLength = 0;        ///< columns of the model's AEV
    int aevLength = 0;             ///< columns that are left: radial [present][terms], then angular [present pair a <= b][terms]
    std::vector<int> columns;      ///< [aevLength] their columns in the model's AEV
    /** [member][present type][layer]; the first layer has aevLength inputs. */
    std::vector<std::vector<std::vector<Linear>>> networks;
};

/**
 * Errors of tables' derivatives may be larger than those of their values by this factor. Measured on random models of every dialect:
 * with 10, forces are off by up to 3.4e-5 of the RMS force at a tolerance of 1e-6; with 4, by at most 1.6e-5.
 */
constexpr double DerivativeTolerance = 4;

/** How a model is compiled. */
struct CompileOptions {
    double tableTolerance = 1e-6;
    /**
     * Round the weight matrices of dense layers to IEEE half precision. Biases, embeddings, type energies and the constants of basis and
     * AEV are not rounded, nor are the filter networks, which become tables.
     */
    bool halfWeights = false;
};

/**
 * Choose the grid and compile the edge functions, in double precision, from the stored buffers.
 * Knots in ln r and in r are tried; the number of pieces is the smallest tried for which every table's valueError is within the tolerance
 * and its derivativeError within DerivativeTolerance times that. Bounds of envelopes (`lower`), where second derivatives jump, become knots.
 * @throws std::invalid_argument  no table of at most MaxPieces pieces meets the tolerance (the message says what can be met); or a
 *                                weight has no half precision number
 */
OPENMM_EXPORT_FLASH CompiledSchNet compileSchNet(const SchNetSpec& spec, const CompileOptions& options);
/** @param types  types of all particles, in any order, repeated @throws std::invalid_argument  a weight has no half precision number */
OPENMM_EXPORT_FLASH CompiledAni compileAni(const AniSpec& spec, const std::vector<int>& types, const CompileOptions& options);
/**
 * Factors of the smallest rank for which the error of the value is within the tolerance and that of the derivative within
 * DerivativeTolerance times that, or nothing where the rank would exceed half the channels.
 */
OPENMM_EXPORT_FLASH std::optional<LowRankFactors> factorize(const RadialTable& table, const RadialGrid& grid, double tolerance);
/**
 * The functions as splines. Their points are shared where that adds no more than the tolerance to the filters' values and DerivativeTolerance times
 * that to their derivatives; they are not where a second derivative jumps, as at the end of some envelopes.
 */
OPENMM_EXPORT_FLASH RadialSplines makeSplines(const LowRankFactors& factors, const RadialGrid& grid, double tolerance);
/** Round to the nearest IEEE half precision number, ties to even. @throws std::invalid_argument  not finite, or it would round beyond 65504 */
OPENMM_EXPORT_FLASH double roundToHalf(double x);

/** Further fields of a report, at its beginning: names, and values as JSON text. */
using ReportFields = std::vector<std::pair<std::string, std::string>>;
/** What was compiled, with certified errors, as a JSON object (docs/api.md says what is in it). @param lengthUnit  nm per unit of the model */
OPENMM_EXPORT_FLASH std::string describeCompilation(const CompiledSchNet& compiled, const CompileOptions& options, double lengthUnit,
                                                    const ReportFields& fields = {});
OPENMM_EXPORT_FLASH std::string describeCompilation(const CompiledAni& compiled, const CompileOptions& options, double lengthUnit,
                                                    const ReportFields& fields = {});
/** A JSON object of these fields alone. */
OPENMM_EXPORT_FLASH std::string describeFields(const ReportFields& fields);

} // namespace OpenMMFlash

#endif
