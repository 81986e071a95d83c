// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The equations are those of docs/model-format.md, section `schnet`; a matrix's name there stands beside each use here. G and
// everything before it depends on the distance only, so the backward pass ends in dE/dr of each pair:
//
//   q_i = dE/dm_i,   g = q_i * y_j + q_j * y_i,   dE/dr_ij += sum_c g_c dG_c/dr,   dE/dy_i = sum_j q_j * G(r_ij)
//
// No array of pairs x channels is kept: G is evaluated for a batch of pairs at a time, and again in the backward pass.
#include "ReferenceSchNet.h"
#include "ReferenceLayers.h"
#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace OpenMMFlash {

namespace {

const double Pi = std::acos(-1.0);
constexpr int BatchSize = 64;

/** envelope(r) and its derivative, for r < cutoff. */
ValueAndDerivative evaluateEnvelope(const Envelope& envelope, double cutoff, double r) {
    switch (envelope.form) {
    case EnvelopeForm::None:
        return {1, 0};
    case EnvelopeForm::Cosine: {
        double lower = envelope.lower;
        if (lower > 0) {
            if (r <= lower)
                return {0, 0};
            double k = 2 * Pi / (cutoff - lower), phase = k * (r - lower) + Pi;
            return {0.5 * (std::cos(phase) + 1), -0.5 * k * std::sin(phase)};
        }
        double k = Pi / cutoff;
        return {0.5 * (std::cos(k * r) + 1), -0.5 * k * std::sin(k * r)};
    }
    case EnvelopeForm::Mollifier: {
        double t = r / cutoff, u = 1 - t * t, value = std::exp(1 - 1 / u);
        return {value, value * -2 * t / (cutoff * u * u)};
    }
    }
    throw std::logic_error("evaluateEnvelope: not an envelope");
}

class SchNet {
public:
    SchNet(const SchNetSpec& spec, const SchNetMember& member, const std::vector<int>& types, const std::vector<ReferencePair>& pairs)
        : spec(spec), member(member), types(types), pairs(pairs), n(static_cast<int>(types.size())) {}

    SchNetResult evaluate() {
        result.energies.resize(n);
        result.pairDerivatives.assign(pairs.size(), 0.0);
        embed();
        stages.resize(member.blocks.size());
        for (size_t b = 0; b < member.blocks.size(); b++)
            blockForward(member.blocks[b], stages[b]);
        gx.resize(x.size());
        auto activation = [this](double value) { return evaluateActivation(spec.readoutActivation, value); };
        evaluatePerceptron(member.readout, activation, n, x.data(), result.energies.data(), gx.data());
        for (int b = static_cast<int>(member.blocks.size()) - 1; b >= 0; b--)
            blockBackward(member.blocks[b], stages[b], b > 0 || member.neighborEmbedding);
        if (member.neighborEmbedding)
            embedBackward(*member.neighborEmbedding);
        return std::move(result);
    }

private:
    /** What the backward pass needs of a block. */
    struct Stage {
        std::vector<double> y;          ///< [n][F]
        std::vector<double> derivative; ///< act' at B m_i + b, [n][H]
    };

    /** Radial basis of a batch of pairs. */
    struct Basis {
        int size;               ///< pairs in this batch
        std::vector<double> e;  ///< e_k(r), [size][R]
        std::vector<double> de; ///< its derivative
        std::vector<double> c;  ///< envelope_filter(r), [size]
        std::vector<double> dc;
    };

    Basis evaluateBasis(int first) const {
        const int R = spec.basisSize;
        Basis basis;
        basis.size = std::min(BatchSize, static_cast<int>(pairs.size()) - first);
        basis.e.resize(static_cast<size_t>(basis.size) * R);
        basis.de.resize(basis.e.size());
        basis.c.resize(basis.size);
        basis.dc.resize(basis.size);
        for (int p = 0; p < basis.size; p++) {
            const double r = pairs[first + p].r;
            ValueAndDerivative envelope = evaluateEnvelope(spec.basisEnvelope, spec.cutoff, r), filter = evaluateEnvelope(spec.filterEnvelope, spec.cutoff, r);
            basis.c[p] = filter.value;
            basis.dc[p] = filter.derivative;
            const double u = spec.basis == RadialBasis::ExpNormal ? std::exp(spec.basisAlpha * (spec.basisLower - r)) : 0;
            for (int k = 0; k < R; k++) {
                double value, derivative;
                if (spec.basis == RadialBasis::Gaussian) {
                    double difference = r - member.means[k];
                    value = std::exp(member.widths[k] * difference * difference);
                    derivative = 2 * member.widths[k] * difference * value;
                }
                else {
                    double difference = u - member.means[k];
                    value = std::exp(-member.widths[k] * difference * difference);
                    derivative = 2 * member.widths[k] * difference * spec.basisAlpha * u * value; // du/dr = -alpha u
                }
                basis.e[p * R + k] = envelope.value * value;
                basis.de[p * R + k] = envelope.derivative * value + envelope.value * derivative;
            }
        }
        return basis;
    }

    /** x_i = Emb[type_i], or K [x_i, sum_j Emb'[type_j] * ((P e + p) envelope_filter)] + k. */
    void embed() {
        const int H = spec.hidden;
        x.resize(static_cast<size_t>(n) * H);
        for (int i = 0; i < n; i++)
            std::copy_n(&member.embedding[static_cast<size_t>(types[i]) * H], H, &x[static_cast<size_t>(i) * H]);
        if (!member.neighborEmbedding)
            return;
        const NeighborEmbedding& neighbor = *member.neighborEmbedding;
        std::vector<double> combined(static_cast<size_t>(n) * 2 * H, 0.0); // [x_i, the sum over neighbours]
        for (int i = 0; i < n; i++)
            std::copy_n(&x[static_cast<size_t>(i) * H], H, &combined[static_cast<size_t>(i) * 2 * H]);
        for (int first = 0; first < static_cast<int>(pairs.size()); first += BatchSize) {
            const Basis basis = evaluateBasis(first);
            std::vector<double> w(static_cast<size_t>(basis.size) * H);
            applyLinear(neighbor.projection, basis.size, basis.e.data(), w.data());
            for (int p = 0; p < basis.size; p++) {
                const ReferencePair& pair = pairs[first + p];
                if (pair.receiver == pair.sender)
                    continue;
                const double* embeddingI = &neighbor.embedding[static_cast<size_t>(types[pair.receiver]) * H];
                const double* embeddingJ = &neighbor.embedding[static_cast<size_t>(types[pair.sender]) * H];
                double* sumI = &combined[static_cast<size_t>(pair.receiver) * 2 * H + H];
                double* sumJ = &combined[static_cast<size_t>(pair.sender) * 2 * H + H];
                for (int c = 0; c < H; c++) {
                    double filter = w[p * H + c] * basis.c[p];
                    sumI[c] += embeddingJ[c] * filter;
                    sumJ[c] += embeddingI[c] * filter;
                }
            }
        }
        applyLinear(neighbor.combine, n, combined.data(), x.data());
    }

    /** From dE/dx_i: dE/dr through the sum over neighbours; the embeddings themselves depend on no position. */
    void embedBackward(const NeighborEmbedding& neighbor) {
        const int H = spec.hidden;
        std::vector<double> g(static_cast<size_t>(n) * 2 * H);
        applyTransposed(neighbor.combine, n, gx.data(), g.data());
        for (int first = 0; first < static_cast<int>(pairs.size()); first += BatchSize) {
            const Basis basis = evaluateBasis(first);
            std::vector<double> w(static_cast<size_t>(basis.size) * H), dw(w.size());
            applyLinear(neighbor.projection, basis.size, basis.e.data(), w.data());
            applyWeight(neighbor.projection, basis.size, basis.de.data(), dw.data());
            for (int p = 0; p < basis.size; p++) {
                const ReferencePair& pair = pairs[first + p];
                if (pair.receiver == pair.sender)
                    continue;
                const double* embeddingI = &neighbor.embedding[static_cast<size_t>(types[pair.receiver]) * H];
                const double* embeddingJ = &neighbor.embedding[static_cast<size_t>(types[pair.sender]) * H];
                const double* gI = &g[static_cast<size_t>(pair.receiver) * 2 * H + H];
                const double* gJ = &g[static_cast<size_t>(pair.sender) * 2 * H + H];
                double sum = 0;
                for (int c = 0; c < H; c++)
                    sum += (gI[c] * embeddingJ[c] + gJ[c] * embeddingI[c]) * (dw[p * H + c] * basis.c[p] + w[p * H + c] * basis.dc[p]);
                result.pairDerivatives[first + p] += sum;
            }
        }
    }

    /** y_j = A x_j;  m_i = sum_j y_j * G(r_ij);  v_i = act(B m_i + b);  x_i += D v_i + d. */
    void blockForward(const SchNetBlock& block, Stage& stage) {
        const int H = spec.hidden, F = spec.filters;
        stage.y.resize(static_cast<size_t>(n) * F);
        applyLinear(block.input, n, x.data(), stage.y.data());
        std::vector<double> m(static_cast<size_t>(n) * F, 0.0), h(static_cast<size_t>(BatchSize) * F), w(h.size()), unused;
        for (int first = 0; first < static_cast<int>(pairs.size()); first += BatchSize) {
            const Basis basis = evaluateBasis(first);
            h.resize(static_cast<size_t>(basis.size) * F);
            applyLinear(block.filter0, basis.size, basis.e.data(), h.data());
            activate(spec.activation, h, unused);
            applyLinear(block.filter1, basis.size, h.data(), w.data());
            for (int p = 0; p < basis.size; p++) {
                const ReferencePair& pair = pairs[first + p];
                const double *yI = &stage.y[static_cast<size_t>(pair.receiver) * F], *yJ = &stage.y[static_cast<size_t>(pair.sender) * F];
                double *mI = &m[static_cast<size_t>(pair.receiver) * F], *mJ = &m[static_cast<size_t>(pair.sender) * F];
                for (int c = 0; c < F; c++) {
                    double G = w[p * F + c] * basis.c[p];
                    mI[c] += yJ[c] * G;
                    mJ[c] += yI[c] * G;
                }
            }
        }
        std::vector<double> v(static_cast<size_t>(n) * H), update(v.size());
        applyLinear(block.output0, n, m.data(), v.data());
        activate(spec.activation, v, stage.derivative);
        applyLinear(block.output1, n, v.data(), update.data());
        for (size_t k = 0; k < x.size(); k++)
            x[k] += update[k];
    }

    /** gx is dE/dx behind the block, and then before it, unless nothing there depends on positions (needInput). */
    void blockBackward(const SchNetBlock& block, const Stage& stage, bool needInput) {
        const int H = spec.hidden, F = spec.filters;
        std::vector<double> gv(static_cast<size_t>(n) * H), q(static_cast<size_t>(n) * F), gy(static_cast<size_t>(n) * F, 0.0);
        applyTransposed(block.output1, n, gx.data(), gv.data());
        for (size_t k = 0; k < gv.size(); k++)
            gv[k] *= stage.derivative[k];
        applyTransposed(block.output0, n, gv.data(), q.data());
        std::vector<double> h, dact, dh, w, g, u;
        for (int first = 0; first < static_cast<int>(pairs.size()); first += BatchSize) {
            const Basis basis = evaluateBasis(first);
            const size_t size = static_cast<size_t>(basis.size) * F;
            h.resize(size);
            dh.resize(size);
            w.resize(size);
            g.resize(size);
            u.resize(size);
            applyLinear(block.filter0, basis.size, basis.e.data(), h.data());
            activate(spec.activation, h, dact);
            applyWeight(block.filter0, basis.size, basis.de.data(), dh.data());
            applyLinear(block.filter1, basis.size, h.data(), w.data());
            for (int p = 0; p < basis.size; p++) {
                const ReferencePair& pair = pairs[first + p];
                const double *yI = &stage.y[static_cast<size_t>(pair.receiver) * F], *yJ = &stage.y[static_cast<size_t>(pair.sender) * F];
                const double *qI = &q[static_cast<size_t>(pair.receiver) * F], *qJ = &q[static_cast<size_t>(pair.sender) * F];
                double *gyI = &gy[static_cast<size_t>(pair.receiver) * F], *gyJ = &gy[static_cast<size_t>(pair.sender) * F];
                for (int c = 0; c < F; c++) {
                    double G = w[p * F + c] * basis.c[p];
                    gyI[c] += qJ[c] * G;
                    gyJ[c] += qI[c] * G;
                    g[p * F + c] = qI[c] * yJ[c] + qJ[c] * yI[c];
                }
            }
            // dG/dr = w dC/dr + C W2 (act' * W1 de/dr); its product with g is formed as (W2^T g) . (act' * W1 de/dr).
            applyTransposed(block.filter1, basis.size, g.data(), u.data());
            for (int p = 0; p < basis.size; p++) {
                double alongEnvelope = 0, alongFilter = 0;
                for (int c = p * F; c < (p + 1) * F; c++) {
                    alongEnvelope += g[c] * w[c];
                    alongFilter += u[c] * dact[c] * dh[c];
                }
                result.pairDerivatives[first + p] += basis.dc[p] * alongEnvelope + basis.c[p] * alongFilter;
            }
        }
        if (!needInput)
            return;
        std::vector<double> g0(static_cast<size_t>(n) * H);
        applyTransposed(block.input, n, gy.data(), g0.data());
        for (size_t k = 0; k < gx.size(); k++)
            gx[k] += g0[k];
    }

    const SchNetSpec& spec;
    const SchNetMember& member;
    const std::vector<int>& types;
    const std::vector<ReferencePair>& pairs;
    const int n;
    std::vector<double> x;  ///< x_i, [n][H]
    std::vector<double> gx; ///< dE/dx_i
    std::vector<Stage> stages;
    SchNetResult result;
};

} // namespace

SchNetResult evaluateReferenceSchNet(const SchNetSpec& spec, const SchNetMember& member, const std::vector<int>& types,
                                     const std::vector<ReferencePair>& pairs) {
    return SchNet(spec, member, types, pairs).evaluate();
}

} // namespace OpenMMFlash
