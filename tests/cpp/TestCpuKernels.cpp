// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// Dense layers and activation functions of the CPU platform, for every instruction set that this machine has, against plain
// loops in double precision. Matrices lie between guard words, and what no row or column owns is NaN.
#include "Assertions.h"
#include "CpuDense.h"
#include "CpuIsa.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

using namespace OpenMMFlash;
using namespace OpenMMFlashTests;
using Form = DenseOutput::Form;

namespace {

constexpr double Unit = 6e-8; // of rounding to float

std::mt19937 generator(7);

double random(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(generator);
}
int randomInt(int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(generator);
}
int roundUp(int n, int multiple) {
    return (n + multiple - 1) / multiple * multiple;
}
double roundToHalf(double x) {
    int exponent;
    std::frexp(x, &exponent);
    const double unit = std::ldexp(1.0, std::max(exponent - 11, -24));
    return std::nearbyint(x / unit) * unit;
}
std::uint32_t getBits(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return bits;
}

/** A matrix in slices, with gaps between them and guard words around. */
class Matrix {
public:
    const int rows, columns, width;

    /** @param width  of a slice; a matrix of one slice is row-major with this leading dimension */
    Matrix(int rows, int columns, int width) : rows(rows), columns(columns), width(width) {
        const int slices = (columns + width - 1) / width;
        stride = rows * width + Gap;
        words.assign(static_cast<size_t>(Guard + slices * stride + Guard), std::numeric_limits<float>::quiet_NaN());
    }
    SlicedMatrix get() {
        return {words.data() + Guard, width, stride};
    }
    float& at(int row, int column) {
        return words[getIndex(row, column)];
    }
    void fill(double low, double high) {
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < columns; column++)
                at(row, column) = static_cast<float>(random(low, high));
    }
    /** Everything but rows begin to end - 1, columns up to the next multiple of 16, is as it was. */
    void checkUntouched(const Matrix& before, int begin, int end, const Location& where) {
        std::vector<char> own(words.size(), 0);
        for (int row = begin; row < end; row++)
            for (int column = 0; column < roundUp(columns, 16); column++)
                own[getIndex(row, column)] = 1;
        for (size_t k = 0; k < words.size(); k++)
            if (!own[k] && getBits(words[k]) != getBits(before.words[k]))
                fail(where, "word " + std::to_string(k) + " of a matrix of " + std::to_string(rows) + " x " + std::to_string(columns) + " in slices of " +
                                std::to_string(width) + " was written; rows " + std::to_string(begin) + " to " + std::to_string(end) + " were asked for");
    }
    bool isEqual(Matrix& other, int row) {
        for (int column = 0; column < columns; column++)
            if (getBits(at(row, column)) != getBits(other.at(row, column)))
                return false;
        return true;
    }

private:
    static constexpr int Guard = 64, Gap = 23;
    int stride;
    std::vector<float> words;

    size_t getIndex(int row, int column) const {
        return static_cast<size_t>(Guard + column / width * stride + row * width + column % width);
    }
};

/** Slices of a width that is allowed for what is written, or one slice. */
int randomWidth(int columns) {
    return randomInt(0, 1) ? roundUp(columns, 16) + 16 * randomInt(0, 1) : 16 * randomInt(1, std::max(1, columns / 16));
}

Linear makeLayer(int inputs, int outputs, bool half, bool withBias) {
    Linear layer;
    layer.inputs = inputs;
    layer.outputs = outputs;
    for (int k = 0; k < inputs * outputs; k++) {
        const double weight = random(-1, 1);
        layer.weight.push_back(half ? roundToHalf(weight) : static_cast<float>(weight));
    }
    for (int k = 0; k < outputs; k++)
        layer.bias.push_back(withBias ? static_cast<float>(random(-1, 1)) : 0);
    return layer;
}

struct Exact {
    double value, slope;
};

/** In double precision, without cancellation. */
Exact evaluate(DenseActivation activation, double alpha, double x) {
    const double q = std::exp(-std::fabs(x)), sigmoid = (x < 0 ? q : 1) / (1 + q), opposite = (x < 0 ? 1 : q) / (1 + q);
    const double softplus = std::max(x, 0.0) + std::log1p(q);
    switch (activation) {
    case DenseActivation::Tanh:
        return {std::tanh(x), 1 / (std::cosh(x) * std::cosh(x))};
    case DenseActivation::ShiftedSoftplus:
        return {softplus - std::log(2.0), sigmoid};
    case DenseActivation::Softplus:
        return {softplus, sigmoid};
    case DenseActivation::Silu:
        return {x * sigmoid, sigmoid + x * sigmoid * opposite};
    case DenseActivation::Sigmoid:
        return {sigmoid, sigmoid * opposite};
    case DenseActivation::Mish: {
        const double t = std::tanh(softplus), c = std::cosh(softplus);
        return {x * t, t + x * sigmoid / (c * c)};
    }
    case DenseActivation::Celu:
        return {x > 0 ? x : alpha * std::expm1(x / alpha), x > 0 ? 1 : std::exp(x / alpha)};
    }
    throw std::logic_error("evaluate: unknown activation");
}

const DenseActivation allActivations[] = {DenseActivation::Tanh, DenseActivation::ShiftedSoftplus, DenseActivation::Softplus,
                                          DenseActivation::Silu, DenseActivation::Sigmoid,         DenseActivation::Mish,
                                          DenseActivation::Celu};

/** One product: z = X W^T + b in double precision, and what each form makes of it. */
void checkProduct(const CpuKernels& kernels, int rows, int inputs, int outputs, bool half, bool transposed, Form form, DenseActivation activation) {
    const bool withBias = !transposed && randomInt(0, 1);
    const Linear layer = transposed ? makeLayer(outputs, inputs, half, true) : makeLayer(inputs, outputs, half, withBias);
    const PackedLinear packed(kernels, layer, transposed ? PackedLinear::Direction::Transposed : PackedLinear::Direction::Forward, half);
    // What is only read may have any leading dimension.
    Matrix x(rows, inputs, randomInt(0, 2) == 0 ? inputs + randomInt(0, 5) : randomWidth(inputs));
    Matrix y(rows, outputs, randomWidth(outputs)), other(rows, outputs, randomWidth(outputs));
    x.fill(-1, 1);
    y.fill(-1, 1);
    const double alpha = 0.125; // so that x / alpha is exact
    other.fill(-alpha, 2 * alpha);
    Matrix oldX = x, oldY = y, oldOther = other;
    const bool multiplies = form == Form::MultiplyOther || form == Form::MultiplyCeluSlope;
    const bool inPlace = multiplies && randomInt(0, 1), withSlope = form == Form::Activate && randomInt(0, 1);
    DenseOutput output = {form, y.get(), {nullptr, 0, 0}, activation, static_cast<float>(alpha)};
    if (multiplies || withSlope)
        output.other = inPlace ? y.get() : other.get();
    const int begin = randomInt(0, rows - 1), end = randomInt(begin, rows);
    packed.multiply(begin, end, x.get(), output);

    x.checkUntouched(oldX, 0, 0, FLASH_HERE);
    y.checkUntouched(oldY, begin, end, FLASH_HERE);
    if (withSlope)
        other.checkUntouched(oldOther, begin, end, FLASH_HERE);
    else
        other.checkUntouched(oldOther, 0, 0, FLASH_HERE);
    for (int row = begin; row < end; row++)
        for (int column = 0; column < outputs; column++) {
            double z = withBias ? layer.bias[static_cast<size_t>(column)] : 0, magnitude = std::fabs(z);
            for (int k = 0; k < inputs; k++) {
                const int index = transposed ? k * outputs + column : column * inputs + k;
                const double product = x.at(row, k) * layer.weight[static_cast<size_t>(index)];
                z += product;
                magnitude += std::fabs(product);
            }
            const double error = Unit * (4 + std::sqrt(inputs)) * magnitude; // no slope here is beyond 1.1
            const double old = oldY.at(row, column), factor = inPlace ? old : oldOther.at(row, column), found = y.at(row, column);
            switch (form) {
            case Form::Store:
                CHECK_CLOSE(z, found, 0, error);
                break;
            case Form::Add:
                CHECK_CLOSE(old + z, found, Unit, error);
                break;
            case Form::MultiplyOther:
                CHECK_CLOSE(z * factor, found, Unit, error * std::fabs(factor));
                break;
            case Form::MultiplyCeluSlope:
                CHECK_CLOSE(z * std::min(1.0, factor / alpha + 1), found, 4 * Unit, error + 4 * Unit * std::fabs(z));
                break;
            case Form::Activate: {
                const Exact exact = evaluate(activation, alpha, z);
                // Second derivatives are below 1.1 but CELU's, which is below 1 / alpha.
                CHECK_CLOSE(exact.value, found, 4 * Unit, 1.1 * error + 2 * Unit);
                if (withSlope && (activation != DenseActivation::Celu || std::fabs(z) > error))
                    CHECK_CLOSE(exact.slope, static_cast<double>(other.at(row, column)), 4 * Unit, error / alpha + 4 * Unit);
                break;
            }
            }
        }
}

void testProducts() {
    for (const CpuKernels* kernels : getSupportedKernels())
        for (const Form form : {Form::Store, Form::Add, Form::Activate, Form::MultiplyOther, Form::MultiplyCeluSlope})
            for (const bool half : {false, true})
                for (const bool transposed : {false, true})
                    for (int k = 0; k < 42; k++)
                        checkProduct(*kernels, randomInt(1, 70), randomInt(1, 200), randomInt(1, 150), half, transposed, form, allActivations[k % 7]);
}

void testLargeAndSmallProducts() {
    for (const CpuKernels* kernels : getSupportedKernels())
        for (const bool half : {false, true}) {
            // More rows than one block of the cache holds; the widest layer; one of everything.
            checkProduct(*kernels, 300, 1008, 40, half, false, Form::Store, DenseActivation::Tanh);
            checkProduct(*kernels, 45, 4096, 33, half, false, Form::Add, DenseActivation::Tanh);
            checkProduct(*kernels, 13, 17, 4096, half, true, Form::Store, DenseActivation::Tanh);
            for (int k = 0; k < 5; k++)
                checkProduct(*kernels, 1, 1, 1, half, false, Form::Activate, DenseActivation::Silu);
        }
}

/** A row's result has the same bits in whatever range of rows it is computed, and in whatever slices. */
void testRowsDoNotDependOnTheRange() {
    for (const CpuKernels* kernels : getSupportedKernels())
        for (const bool half : {false, true})
            for (const Form form : {Form::Add, Form::Activate, Form::MultiplyOther}) {
                const int rows = 67, inputs = 83, outputs = 107;
                const PackedLinear packed(*kernels, makeLayer(inputs, outputs, half, true), PackedLinear::Direction::Forward, half);
                Matrix x(rows, inputs, inputs), slicedX(rows, inputs, 16), y(rows, outputs, 112), other(rows, outputs, 112);
                x.fill(-1, 1);
                y.fill(-1, 1);
                other.fill(-1, 1);
                for (int row = 0; row < rows; row++)
                    for (int k = 0; k < inputs; k++)
                        slicedX.at(row, k) = x.at(row, k);
                Matrix whole = y, wholeOther = other;
                packed.multiply(0, rows, x.get(), {form, whole.get(), wholeOther.get(), DenseActivation::Tanh, 1});
                for (int size = 1; size <= 30; size++) {
                    Matrix parts = y, partsOther = other;
                    for (int begin = 0; begin < rows; begin += size)
                        packed.multiply(begin, std::min(begin + size, rows), size % 2 == 0 ? x.get() : slicedX.get(),
                                        {form, parts.get(), partsOther.get(), DenseActivation::Tanh, 1});
                    for (int row = 0; row < rows; row++)
                        CHECK(parts.isEqual(whole, row) && partsOther.isEqual(wholeOther, row));
                }
            }
}

/** Halves give the bits that floats of the same value give, and take half the memory where the machine can read them. */
void testHalfWeights() {
    for (const CpuKernels* kernels : getSupportedKernels()) {
        const int rows = 19, inputs = 65, outputs = 96;
        Linear layer = makeLayer(inputs, outputs, true, false);
        // The whole range of the format: largest, smallest normal, largest and smallest subnormal, zeros.
        const double special[] = {65504, -65504, std::ldexp(1, -14), std::ldexp(-1023, -24), std::ldexp(1, -24), 0.0, -0.0, 1, -2, std::ldexp(2047, -11)};
        std::copy(std::begin(special), std::end(special), layer.weight.begin());
        const PackedLinear halves(*kernels, layer, PackedLinear::Direction::Forward, true), floats(*kernels, layer, PackedLinear::Direction::Forward, false);
        Matrix x(rows, inputs, inputs), y(rows, outputs, outputs), z = y;
        x.fill(-1, 1);
        halves.multiply(0, rows, x.get(), {Form::Store, y.get()});
        floats.multiply(0, rows, x.get(), {Form::Store, z.get()});
        for (int row = 0; row < rows; row++)
            CHECK(y.isEqual(z, row));
        CHECK_EQUAL(sizeof(float) * inputs * outputs, floats.getBytes());
        CHECK_EQUAL(floats.getBytes() / (kernels->dense->hasHalf ? 2 : 1), halves.getBytes());
        // One weight at a time, read back as it is.
        for (const double weight : special) {
            const PackedLinear one(*kernels, {1, 1, {weight}, {0}}, PackedLinear::Direction::Forward, true);
            Matrix in(1, 1, 1), out(1, 1, 16);
            in.at(0, 0) = 1;
            one.multiply(0, 1, in.get(), {Form::Store, out.get()});
            CHECK_EQUAL(weight, static_cast<double>(out.at(0, 0)));
        }
    }
}

void testWrongLayersAreRefused() {
    for (const CpuKernels* kernels : getSupportedKernels()) {
        const auto pack = [&](const Linear& layer, bool half) { PackedLinear(*kernels, layer, PackedLinear::Direction::Forward, half); };
        CHECK_THROWS(std::invalid_argument, pack({2, 2, {1, 2, 3}, {0, 0}}, false), "2 inputs and 2 outputs has 3 weights and 2 biases");
        CHECK_THROWS(std::invalid_argument, pack({2, 1, {1, 2}, {}}, false), "2 inputs and 1 outputs has 2 weights and 0 biases");
        CHECK_THROWS(std::invalid_argument, pack({0, 1, {}, {1}}, false), "0 inputs");
        if (kernels->dense->hasHalf)
            for (const double weight : {0.1, 65520.0, 65536.0, 1e300, std::ldexp(1, -25), std::ldexp(3, -25)})
                CHECK_THROWS(std::invalid_argument, pack({1, 1, {weight}, {0}}, true), "half precision", "rounded");
        CHECK_THROWS(std::invalid_argument, PackedReadout(*kernels, {1, 2, {1, 1}, {0, 0}}, 1), "2 outputs");
    }
}

/** Not a number stays in its row and shows in all of it. */
void testNanShowsInItsRow() {
    for (const CpuKernels* kernels : getSupportedKernels())
        for (const DenseActivation activation : allActivations) {
            const int rows = 25, inputs = 20, outputs = 37;
            const PackedLinear packed(*kernels, makeLayer(inputs, outputs, false, true), PackedLinear::Direction::Forward, false);
            Matrix x(rows, inputs, inputs), y(rows, outputs, 48), slope(rows, outputs, 48), product(rows, outputs, 48);
            x.fill(-1, 1);
            x.at(7, 3) = std::numeric_limits<float>::quiet_NaN();
            packed.multiply(0, rows, x.get(), {Form::Activate, y.get(), slope.get(), activation, 0.1f});
            x.at(7, 3) = 1;
            packed.multiply(0, rows, x.get(), {Form::MultiplyCeluSlope, product.get(), y.get(), activation, 0.1f});
            for (int row = 0; row < rows; row++)
                for (int column = 0; column < outputs; column++) {
                    CHECK_EQUAL(row == 7, std::isnan(y.at(row, column)));
                    CHECK_EQUAL(row == 7, std::isnan(slope.at(row, column)));
                    CHECK_EQUAL(row == 7, std::isnan(product.at(row, column)));
                }
        }
}

void testReadout() {
    for (const CpuKernels* kernels : getSupportedKernels())
        for (const int inputs : {1, 3, 16, 37, 64, 128, 1000}) {
            const int rows = 21;
            Linear layer = makeLayer(inputs, 1, false, true);
            for (double& weight : layer.weight)
                weight += 1e-9; // no float: energies are summed with the weights as they are
            const double scale = 0.125;
            const PackedReadout readout(*kernels, layer, scale);
            for (const int width : {inputs, roundUp(inputs, 16), 16}) {
                Matrix x(rows, inputs, width), y(rows, inputs, randomWidth(inputs)), other(rows, inputs, randomWidth(inputs));
                x.fill(-1, 1);
                other.fill(-1, 1);
                Matrix oldX = x, oldY = y, oldOther = other;
                std::vector<double> energies(rows, -7);
                readout.computeEnergies(2, rows - 1, x.get(), energies.data());
                readout.startGradient(2, rows - 1, {Form::MultiplyOther, y.get(), other.get()});
                x.checkUntouched(oldX, 0, 0, FLASH_HERE);
                y.checkUntouched(oldY, 2, rows - 1, FLASH_HERE);
                other.checkUntouched(oldOther, 0, 0, FLASH_HERE);
                for (int row = 0; row < rows; row++) {
                    double energy = layer.bias[0];
                    for (int k = 0; k < inputs; k++)
                        energy += x.at(row, k) * layer.weight[static_cast<size_t>(k)];
                    if (row < 2 || row == rows - 1)
                        energy = -7;
                    else
                        for (int k = 0; k < inputs; k++)
                            CHECK_CLOSE(scale * layer.weight[static_cast<size_t>(k)] * other.at(row, k), static_cast<double>(y.at(row, k)), 2 * Unit, 0);
                    CHECK_CLOSE(energy, energies[static_cast<size_t>(row)], 0, 1e-15 * (4 + inputs));
                }
            }
        }
}

/** Numbers over the whole range of floats, dense where functions bend. */
std::vector<float> makeArguments() {
    std::vector<float> x = {0.0f, -0.0f, std::numeric_limits<float>::min(), std::numeric_limits<float>::denorm_min()};
    for (double r = 1e-38; r < 3e38; r *= 1.013)
        x.push_back(static_cast<float>(r));
    for (double r = 0.001; r < 120; r += 0.00317)
        x.push_back(static_cast<float>(r));
    x.push_back(std::numeric_limits<float>::max());
    for (size_t k = x.size(); k-- > 0;)
        x.push_back(-x[k]);
    return x;
}

void testActivations() {
    std::vector<float> x = makeArguments();
    const int n = static_cast<int>(x.size());
    for (const CpuKernels* kernels : getSupportedKernels())
        for (const DenseActivation activation : allActivations)
            for (const float alpha : {1.0f, 0.1f}) {
                std::vector<float> value(x.size() + 1, 77), slope(x.size() + 1, 77);
                kernels->dense->activate(activation, alpha, n, x.data(), value.data(), slope.data());
                for (size_t k = 0; k < x.size(); k++) {
                    const double r = x[k];
                    const Exact exact = evaluate(activation, static_cast<double>(alpha), r);
                    const bool celu = activation == DenseActivation::Celu;
                    // Relative, but where the function crosses zero with its terms of order one; what is below 1e-35 may be zero.
                    // CELU's argument x / alpha is rounded.
                    const bool valueCrosses = activation == DenseActivation::ShiftedSoftplus && std::fabs(r) < 1;
                    const bool slopeCrosses = (activation == DenseActivation::Silu || activation == DenseActivation::Mish) && r < 0 && r > -3;
                    const double slopeError = celu && r < 0 ? 2.4e-7 + 1.2e-7 * -r / static_cast<double>(alpha) : 5e-7;
                    CHECK_CLOSE(exact.value, static_cast<double>(value[k]), 3e-7, valueCrosses ? 1e-7 : 1e-35);
                    CHECK_CLOSE(exact.slope, static_cast<double>(slope[k]), slopeError, slopeCrosses ? 1.5e-7 : 1e-35);
                }
                CHECK_EQUAL(77.0f, value.back());
                CHECK_EQUAL(77.0f, slope.back());
                // In place, and without a slope.
                std::vector<float> inPlace = x;
                kernels->dense->activate(activation, alpha, n, inPlace.data(), inPlace.data(), nullptr);
                CHECK(std::equal(inPlace.begin(), inPlace.end(), value.begin()));
            }
}

void testActivationsAtInfinity() {
    const float infinity = std::numeric_limits<float>::infinity();
    const float x[] = {-infinity, infinity};
    struct Limits {
        DenseActivation activation;
        float values[2], slopes[2];
    };
    const Limits limits[] = {
        {DenseActivation::Tanh, {-1, 1}, {0, 0}},
        {DenseActivation::ShiftedSoftplus, {-std::log(2.0f), infinity}, {0, 1}},
        {DenseActivation::Softplus, {0, infinity}, {0, 1}},
        {DenseActivation::Silu, {0, infinity}, {0, 1}},
        {DenseActivation::Sigmoid, {0, 1}, {0, 0}},
        {DenseActivation::Mish, {0, infinity}, {0, 1}},
        {DenseActivation::Celu, {-0.25f, infinity}, {0, 1}},
    };
    for (const CpuKernels* kernels : getSupportedKernels())
        for (const Limits& expected : limits) {
            float values[2], slopes[2];
            kernels->dense->activate(expected.activation, 0.25f, 2, x, values, slopes);
            for (int k = 0; k < 2; k++) {
                CHECK_EQUAL(expected.values[k], values[k]);
                CHECK_EQUAL(expected.slopes[k], slopes[k]);
            }
        }
}

void testActivationsOfModels() {
    const std::pair<Activation, double> values[] = {
        // at x = 1
        {Activation::Tanh, 0.76159416}, {Activation::ShiftedSoftplus, 0.62011451}, {Activation::Softplus, 1.31326169},
        {Activation::Silu, 0.73105858}, {Activation::Sigmoid, 0.73105858},         {Activation::Mish, 0.86509839},
    };
    for (const auto& [activation, expected] : values) {
        const float one = 1;
        float value;
        getSupportedKernels()[0]->dense->activate(getDenseActivation(activation), 1, 1, &one, &value, nullptr);
        CHECK_CLOSE(expected, static_cast<double>(value), 1e-7, 0);
    }
    // Silu and the sigmoid agree at 1.
    CHECK(getDenseActivation(Activation::Silu) != getDenseActivation(Activation::Sigmoid));
}

} // namespace

int main(int argc, char** argv) {
    return runTests(argc, argv,
                    {{"testProducts", testProducts},
                     {"testLargeAndSmallProducts", testLargeAndSmallProducts},
                     {"testRowsDoNotDependOnTheRange", testRowsDoNotDependOnTheRange},
                     {"testHalfWeights", testHalfWeights},
                     {"testWrongLayersAreRefused", testWrongLayersAreRefused},
                     {"testNanShowsInItsRow", testNanShowsInItsRow},
                     {"testReadout", testReadout},
                     {"testActivations", testActivations},
                     {"testActivationsAtInfinity", testActivationsAtInfinity},
                     {"testActivationsOfModels", testActivationsOfModels}});
}
