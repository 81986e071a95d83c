// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_COMPILEDMODEL_H_
#define OPENMMFLASH_COMPILEDMODEL_H_

#include "openmmflash/internal/ModelSpec.h"
#include "openmmflash/internal/windowsExportFlash.h"
#include <optional>
#include <string>
#include <vector>

namespace OpenMMFlash {

/**
 * The knots of all radial tables of a model: one grid, so that a pair's piece is found once. Piece 0 reaches from 0 to the first
 * knot and is a cubic in r; pieces 1 to `pieces` - 1 divide what is left up to the cutoff evenly in ln r or in r.
 */
struct RadialGrid {
    enum class Knots { Linear, Logarithmic };
    Knots knots = Knots::Logarithmic;
    int pieces = 0; ///< with piece 0
    double first = 0, cutoff = 0;

    /** Where r < cutoff lies: its piece, t in [0, 1) within it, and dt/dr. */
    void locate(double r, int& piece, double& t, double& dtdr) const;
};

/** Functions of a distance as cubic pieces: value = ((c3 t + c2) t + c1) t + c0. The derivative that counts is that of this interpolant. */
struct RadialTable {
    int channels = 0;
    std::vector<double> coefficients; ///< [piece][4][channels]
    /** Largest errors beyond the first knot, measured between the knots, relative to each channel's largest value or dG/dr. */
    double valueError = 0, derivativeError = 0;
};

/** G(r) = sum_k u_k(r) V_k, where the spectrum of G allows it. */
struct LowRankFactors {
    RadialTable functions;         ///< u, with `rank` channels
    std::vector<double> expansion; ///< V [rank][channels]
    double valueError = 0;         ///< largest error, relative to each channel's largest value
    int getRank() const {
        return functions.channels;
    }
};

/** A SchNet whose edge functions are tables. Everything else stays as in the specification, rounded to half precision if asked for. */
struct CompiledSchNet {
    RadialGrid grid;
    struct Member {
        std::vector<RadialTable> filters;      ///< [block], F channels
        std::optional<RadialTable> neighbor;   ///< (P e + p) envelope of the neighbor embedding, H channels
    };
    std::vector<Member> members;
    SchNetSpec spec; ///< layers of the filter networks and of the neighbor embedding's projection are empty
};

/** Atomic networks of an ANI model for the types that a System has. */
struct CompiledAni {
    AniSpec spec;                  ///< constants; networks are empty
    std::vector<int> presentTypes; ///< model types, ascending; "present" indices below count these
    int aevLength = 0;             ///< columns that are left: radial [present][terms], then angular [present pair a <= b][terms]
    std::vector<int> columns;      ///< [aevLength] their columns in the model's AEV
    /** [member][present type][layer]; the first layer has aevLength inputs. */
    std::vector<std::vector<std::vector<Linear>>> networks;
};

/** How a model is compiled. */
struct CompileOptions {
    double tableTolerance = 1e-6;
    bool halfWeights = false; ///< dense weights are rounded to IEEE half precision
};

/**
 * Choose the grid and compile the edge functions, in double precision, from the stored buffers.
 * The number of pieces is the smallest tried for which every table's valueError is within the tolerance and its derivativeError
 * within ten times the tolerance.
 * @throws std::invalid_argument  no table of at most MaxPieces pieces meets the tolerance; the message says what can be met
 */
OPENMM_EXPORT_FLASH CompiledSchNet compileSchNet(const SchNetSpec& spec, const CompileOptions& options);
/** @param types  types of all particles, in any order, repeated */
OPENMM_EXPORT_FLASH CompiledAni compileAni(const AniSpec& spec, const std::vector<int>& types, const CompileOptions& options);
/** Factors of the smallest rank whose error is within the tolerance, or nothing where the rank would exceed half the channels. */
OPENMM_EXPORT_FLASH std::optional<LowRankFactors> factorize(const RadialTable& table, const RadialGrid& grid, double tolerance);
/** Round to the nearest IEEE half precision number, ties to even. @throws std::invalid_argument beyond 65504 */
OPENMM_EXPORT_FLASH double roundToHalf(double x);
/** What was compiled, with certified errors, as a JSON object (docs/api.md says what is in it). */
OPENMM_EXPORT_FLASH std::string describeCompilation(const CompiledSchNet& compiled, const CompileOptions& options);
OPENMM_EXPORT_FLASH std::string describeCompilation(const CompiledAni& compiled, const CompileOptions& options);

/** Largest number of pieces of a table. */
constexpr int MaxPieces = 16384;

} // namespace OpenMMFlash

#endif
