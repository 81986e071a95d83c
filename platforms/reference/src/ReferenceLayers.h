// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_REFERENCELAYERS_H_
#define OPENMMFLASH_REFERENCELAYERS_H_

#include "openmmflash/internal/ModelSpec.h"
#include <functional>
#include <vector>

namespace OpenMMFlash {

/** f(x) and f'(x). */
struct ValueAndDerivative {
    double value, derivative;
};

ValueAndDerivative evaluateActivation(Activation activation, double x);
/** CELU(x) = max(0, x) + min(0, alpha (exp(x / alpha) - 1)). */
ValueAndDerivative evaluateCelu(double alpha, double x);
/** x becomes act(x), derivatives becomes act'(x). */
void activate(Activation activation, std::vector<double>& x, std::vector<double>& derivatives);

/** Columns c of a weight matrix, begin <= c < end. */
struct ColumnRange {
    int begin, end;
};

/**
 * y = W x + b for n inputs at once.
 *
 * @param x        [n][inputs]
 * @param y        [n][outputs]
 * @param columns  the only columns in which some x is not zero; empty: all
 */
void applyLinear(const Linear& layer, int n, const double* x, double* y, const std::vector<ColumnRange>& columns = {});

/** y = W x, without the bias: how the output changes when the input changes by x. */
void applyWeight(const Linear& layer, int n, const double* x, double* y);

/** The gradient with respect to an input: gx = W^T gy. @param gy [n][outputs] @param gx [n][inputs]; only `columns` are written, if given */
void applyTransposed(const Linear& layer, int n, const double* gy, double* gx, const std::vector<ColumnRange>& columns = {});

/**
 * A multilayer perceptron with one output: activation between the layers, none after the last.
 *
 * @param x         [n][inputs]
 * @param values    [n], the outputs
 * @param gradient  [n][inputs], d(output)/dx; only `columns` are written, if given
 */
void evaluatePerceptron(const std::vector<Linear>& layers, const std::function<ValueAndDerivative(double)>& activation, int n, const double* x, double* values,
                        double* gradient, const std::vector<ColumnRange>& columns = {});

} // namespace OpenMMFlash

#endif
