// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "ModelReader.h"
#include "TensorReader.h"
#include "openmmflash/FlashModel.h"
#include <algorithm>
#include <cmath>

namespace OpenMMFlash {

namespace {

using std::string;
using std::to_string;
using std::vector;

const std::set<string> MetadataKeys = {"format",          "format_version", "architecture", "name",        "length_unit", "energy_unit", "types",
                                       "hyperparameters", "num_members",    "priors",       "description", "citation",    "license",     "origin"};

const string& getMetadata(const Safetensors& file, const string& key) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end())
        throw FlashModelError("metadata key " + quoted(key) + " is missing");
    return found->second;
}

/** A named unit, or a positive decimal number. */
double parseUnit(const string& key, const string& text, const std::map<string, double>& names) {
    const auto found = names.find(text);
    if (found != names.end())
        return found->second;
    string allowed;
    for (const auto& [name, value] : names)
        allowed += name + ", ";
    const string message = "metadata key " + quoted(key) + " is " + quoted(text) + "; allowed are " + allowed + "or a positive decimal number";
    if (text.empty() || text.find_first_not_of("0123456789.eE+-") != string::npos)
        throw FlashModelError(message);
    Json number;
    try {
        number = Json::parse(text, key);
    }
    catch (const FlashModelError&) {
        throw FlashModelError(message);
    }
    if (number.type != Json::Number || !(number.number > 0))
        throw FlashModelError(message);
    return number.number;
}

/** Names become parts of tensor names and of entries in structure files. */
void checkName(const string& name, const ObjectReader& reader) {
    if (name.size() > 64 || name.find_first_of("./\\ \t\n\"") != string::npos)
        reader.fail("name", "must have at most 64 characters, none of them a dot, a slash, a space or a quote");
}

vector<ParticleType> parseTypes(const string& text, bool isAni) {
    const Json list = Json::parse(text, "metadata key \"types\"");
    if (list.type != Json::Array || list.array.empty() || list.array.size() > static_cast<size_t>(MaxTypes))
        throw FlashModelError("metadata key \"types\" must be an array of 1 to " + to_string(MaxTypes) + " types, found " + list.describe());
    vector<ParticleType> types;
    std::set<string> names;
    for (const Json& entry : list.array) {
        const string what = "type " + to_string(types.size());
        ParticleType type;
        if (entry.type != Json::Null) {
            ObjectReader reader(entry, what);
            type.name = reader.getString("name");
            checkName(type.name, reader);
            if (!names.insert(type.name).second)
                reader.fail("name", "is the name of two types");
            if (reader.has("atomic_number"))
                type.atomicNumber = reader.getInteger("atomic_number", 1, 118);
            if (reader.has("mass"))
                type.mass = reader.getPositive("mass");
            reader.checkAllRead();
        }
        else if (isAni)
            throw FlashModelError(what + " is null; an ani model must name all its types");
        types.push_back(type);
    }
    return types;
}

void checkSign(const string& name, const vector<double>& values, double sign, const char* requirement) {
    for (size_t i = 0; i < values.size(); i++)
        if (!(sign * values[i] > 0))
            throw FlashModelError("tensor " + quoted(name) + " must be " + requirement + ", found " + formatNumber(values[i]) + " at element " + to_string(i));
}

Repulsion parseRepulsion(const Json& json, TensorReader& tensors, long long numTypes) {
    ObjectReader reader(json, "repulsion");
    Repulsion repulsion;
    repulsion.exponent = reader.getInteger("exponent", 1, 24);
    if (reader.has("cutoff"))
        repulsion.cutoff = reader.getPositive("cutoff");
    reader.checkAllRead();
    repulsion.sigma = tensors.getReals("repulsion.sigma", {numTypes, numTypes});
    for (long long a = 0; a < numTypes; a++)
        for (long long b = 0; b < numTypes; b++) {
            const double value = repulsion.sigma[static_cast<size_t>(a * numTypes + b)];
            if (value < 0 || value != repulsion.sigma[static_cast<size_t>(b * numTypes + a)])
                throw FlashModelError("tensor \"repulsion.sigma\" must be symmetric and not negative, found " + formatNumber(value) + " at [" + to_string(a) +
                                      ", " + to_string(b) + "]");
        }
    return repulsion;
}

Envelope parseEnvelope(ObjectReader& reader, const string& key, double cutoff) {
    Envelope envelope;
    envelope.form = static_cast<EnvelopeForm>(reader.getChoice(key, {"none", "cosine", "mollifier"}));
    envelope.lower = reader.getNumber(key + "_lower", 0);
    if (envelope.lower < 0 || envelope.lower >= cutoff)
        reader.fail(key + "_lower", "must be from 0 to below the cutoff " + formatNumber(cutoff));
    if (envelope.lower > 0 && envelope.form != EnvelopeForm::Cosine)
        reader.fail(key + "_lower", "is for a cosine envelope only");
    return envelope;
}

SchNetMember readSchNetMember(const SchNetSpec& spec, const string& prefix, TensorReader& tensors, int numTypes, int numBlocks, bool hasNeighborEmbedding) {
    const int H = spec.hidden, F = spec.filters, R = spec.basisSize;
    SchNetMember member;
    member.embedding = tensors.getReals(prefix + "embedding", {numTypes, H});
    member.means = tensors.getReals(prefix + "basis.means", {R});
    const bool gaussian = spec.basis == RadialBasis::Gaussian;
    const string widths = prefix + (gaussian ? "basis.coefficients" : "basis.betas");
    member.widths = tensors.getReals(widths, {R});
    checkSign(widths, member.widths, gaussian ? -1 : 1, gaussian ? "negative" : "positive");
    if (hasNeighborEmbedding) {
        NeighborEmbedding neighbor;
        neighbor.embedding = tensors.getReals(prefix + "neighbor_embedding.embedding", {numTypes, H});
        neighbor.projection = tensors.getLinear(prefix + "neighbor_embedding.projection", R, H);
        neighbor.combine = tensors.getLinear(prefix + "neighbor_embedding.combine", 2 * H, H);
        member.neighborEmbedding = std::move(neighbor);
    }
    for (int i = 0; i < numBlocks; i++) {
        const string block = prefix + "blocks." + to_string(i) + ".";
        SchNetBlock layers;
        layers.filter0 = tensors.getLinear(block + "filter.0", R, F);
        layers.filter1 = tensors.getLinear(block + "filter.1", F, F);
        layers.input = {H, F, tensors.getReals(block + "input.weight", {F, H}), vector<double>(static_cast<size_t>(F), 0.0)};
        layers.output0 = tensors.getLinear(block + "output.0", F, H);
        layers.output1 = tensors.getLinear(block + "output.1", H, H);
        member.blocks.push_back(std::move(layers));
    }
    member.readout = tensors.getPerceptron(prefix + "readout", H);
    return member;
}

SchNetSpec readSchNet(ObjectReader& reader, TensorReader& tensors, const ModelSpec& model) {
    const vector<string> activations = {"tanh", "shifted_softplus", "softplus", "silu", "sigmoid", "mish"};
    SchNetSpec spec;
    spec.cutoff = reader.getPositive("cutoff");
    const int numBlocks = reader.getInteger("num_blocks", 0, MaxBlocks);
    spec.hidden = reader.getInteger("hidden_channels", 1, MaxWidth);
    spec.filters = reader.getInteger("num_filters", 1, MaxWidth);
    spec.basisSize = reader.getInteger("num_basis", 1, MaxWidth);
    spec.activation = static_cast<Activation>(reader.getChoice("activation", activations));
    spec.readoutActivation = static_cast<Activation>(reader.getChoice("readout_activation", activations));
    spec.basis = static_cast<RadialBasis>(reader.getChoice("radial_basis", {"gaussian", "exp_normal"}));
    if (spec.basis == RadialBasis::ExpNormal) {
        spec.basisAlpha = reader.getPositive("basis_alpha");
        spec.basisLower = reader.getNumber("basis_lower");
    }
    spec.basisEnvelope = parseEnvelope(reader, "basis_envelope", spec.cutoff);
    spec.filterEnvelope = parseEnvelope(reader, "filter_envelope", spec.cutoff);
    const bool hasNeighborEmbedding = reader.getBool("neighbor_embedding", false);
    spec.groupEnergy = reader.getNumber("group_energy", 0);
    for (int i = 0; i < model.numMembers; i++)
        spec.members.push_back(
            readSchNetMember(spec, "members." + to_string(i) + ".", tensors, static_cast<int>(model.types.size()), numBlocks, hasNeighborEmbedding));
    return spec;
}

AniSpec readAni(ObjectReader& reader, TensorReader& tensors, const ModelSpec& model) {
    AniSpec spec;
    spec.radialCutoff = reader.getPositive("radial_cutoff");
    spec.angularCutoff = reader.getPositive("angular_cutoff");
    if (spec.angularCutoff > spec.radialCutoff)
        reader.fail("angular_cutoff", "must not be larger than the radial cutoff " + formatNumber(spec.radialCutoff));
    spec.celuAlpha = reader.getPositive("celu_alpha");
    reader.getChoice("cutoff_function", {"cosine"});
    spec.radialEta = tensors.getReals("aev.radial.eta", {-1});
    spec.radialShift = tensors.getReals("aev.radial.shift", {-1});
    spec.angularEta = tensors.getReals("aev.angular.eta", {-1});
    spec.angularZeta = tensors.getReals("aev.angular.zeta", {-1});
    spec.angularShift = tensors.getReals("aev.angular.shift", {-1});
    spec.angularTheta = tensors.getReals("aev.angular.theta", {-1});
    checkSign("aev.radial.eta", spec.radialEta, 1, "positive");
    checkSign("aev.angular.eta", spec.angularEta, 1, "positive");
    // Below 1 the angular term has no derivative where it is zero.
    for (size_t i = 0; i < spec.angularZeta.size(); i++)
        if (!(spec.angularZeta[i] >= 1))
            throw FlashModelError("tensor \"aev.angular.zeta\" must be at least 1, found " + formatNumber(spec.angularZeta[i]) + " at element " + to_string(i));
    // Counted in floating point: the product of four sizes from a file may overflow an integer.
    const auto T = static_cast<double>(model.types.size());
    const double length = T * static_cast<double>(spec.radialEta.size()) * static_cast<double>(spec.radialShift.size()) +
                          T * (T + 1) / 2 * static_cast<double>(spec.angularEta.size()) * static_cast<double>(spec.angularZeta.size()) *
                              static_cast<double>(spec.angularShift.size()) * static_cast<double>(spec.angularTheta.size());
    if (length > MaxAevLength)
        throw FlashModelError("the AEV would have " + formatNumber(length) + " columns; at most " + to_string(MaxAevLength) + " are allowed");
    for (int i = 0; i < model.numMembers; i++) {
        vector<vector<Linear>> networks;
        for (const ParticleType& type : model.types)
            networks.push_back(tensors.getPerceptron("members." + to_string(i) + ".networks." + type.name, static_cast<int>(length)));
        spec.networks.push_back(std::move(networks));
    }
    return spec;
}

/** What a form of prior takes: a fixed number of columns, or at least `columns`, in steps. */
struct PriorForm {
    const char* name;
    int arity, columns, step; ///< step 0: exactly this many columns
};
constexpr int MaxPriorColumns = 129;
constexpr PriorForm PriorForms[] = {{"harmonic_bond", 2, 2, 0},          {"harmonic_angle", 3, 2, 0},           {"cosine_angle", 3, 2, 0},
                                    {"quartic_angle", 3, 5, 0},          {"restricted_quartic_angle", 3, 6, 0}, {"polynomial_angle", 3, 2, 1},
                                    {"fourier_dihedral", 4, 1, 2},       {"harmonic_improper", 4, 2, 0},        {"power_repulsion", 2, 1, 0},
                                    {"cutoff_power_repulsion", 2, 2, 0}, {"exponential_repulsion", 2, 2, 0},    {"cutoff_exponential_repulsion", 2, 3, 0}};

vector<PriorTable> readPriors(const string& text, TensorReader& tensors, const vector<ParticleType>& types) {
    const Json list = Json::parse(text, "metadata key \"priors\"");
    if (list.type != Json::Array)
        throw FlashModelError("metadata key \"priors\" must be an array, found " + list.describe());
    vector<PriorTable> priors;
    std::set<string> names;
    for (const Json& entry : list.array) {
        ObjectReader reader(entry, "prior " + to_string(priors.size()));
        PriorTable table;
        table.name = reader.getString("name");
        checkName(table.name, reader);
        if (!names.insert(table.name).second)
            reader.fail("name", "is the name of two priors");
        vector<string> forms;
        for (const PriorForm& form : PriorForms)
            forms.emplace_back(form.name);
        const PriorForm& form = PriorForms[reader.getChoice("form", forms)];
        reader.checkAllRead();
        table.form = form.name;
        table.arity = form.arity;
        const string parameters = "priors." + table.name + ".parameters", typesName = "priors." + table.name + ".types";
        const auto found = tensors.find(parameters);
        if (found == nullptr || found->shape.size() != 2)
            throw FlashModelError("tensor " + quoted(parameters) +
                                  (found == nullptr ? " is missing" : " has shape " + found->describeShape() + ", expected two dimensions"));
        const long long rows = found->shape[0], columns = found->shape[1];
        const bool fits =
            form.step == 0 ? columns == form.columns : columns >= form.columns && columns <= MaxPriorColumns && (columns - form.columns) % form.step == 0;
        if (!fits)
            throw FlashModelError("tensor " + quoted(parameters) + " has " + to_string(columns) + " columns, but " + table.form + " takes " +
                                  to_string(form.columns) + (form.step == 0 ? "" : " + " + to_string(form.step) + " n"));
        table.numParameters = static_cast<int>(columns);
        table.parameters = tensors.getReals(parameters, {rows, columns});
        table.types = tensors.getIntegers(typesName, {rows, form.arity});
        for (size_t i = 0; i < table.types.size(); i++)
            if (table.types[i] < 0 || table.types[i] >= static_cast<int>(types.size()))
                throw FlashModelError("tensor " + quoted(typesName) + " has type " + to_string(table.types[i]) + " in row " +
                                      to_string(i / static_cast<size_t>(form.arity)) + "; this model has types 0 to " + to_string(types.size() - 1));
        std::map<vector<int>, size_t> firstRows;
        for (size_t row = 0; row < static_cast<size_t>(rows); row++) {
            const auto begin = table.types.begin() + static_cast<long>(row) * form.arity;
            const auto [first, isNew] = firstRows.emplace(vector<int>(begin, begin + form.arity), row);
            if (!isNew)
                throw FlashModelError("tensor " + quoted(typesName) + " has the same types in rows " + to_string(first->second) + " and " + to_string(row));
        }
        priors.push_back(std::move(table));
    }
    return priors;
}

} // namespace

ModelFile readModel(const string& bytes) {
    const Safetensors file = Safetensors::parse(bytes);
    TensorReader tensors(file);
    ModelFile model;
    model.metadata = file.metadata;
    if (getMetadata(file, "format") != "openmm-flash")
        throw FlashModelError("metadata key \"format\" is " + quoted(getMetadata(file, "format")) +
                              "; only \"openmm-flash\" model files can be read (openmm-flash convert makes them)");
    if (getMetadata(file, "format_version") != "1")
        throw FlashModelError("metadata key \"format_version\" is " + quoted(getMetadata(file, "format_version")) +
                              "; this version of OpenMM-Flash reads version 1");
    model.formatVersion = 1;
    for (const auto& [key, value] : file.metadata)
        if (MetadataKeys.count(key) == 0)
            throw FlashModelError("unknown metadata key " + quoted(key));
    model.architecture = getMetadata(file, "architecture");
    if (model.architecture != "schnet" && model.architecture != "ani")
        throw FlashModelError("metadata key \"architecture\" is " + quoted(model.architecture) + "; allowed are ani and schnet");
    const bool isAni = model.architecture == "ani";
    model.name = getMetadata(file, "name");
    if (model.name.empty())
        throw FlashModelError("metadata key \"name\" is empty");

    ModelSpec& spec = model.spec;
    spec.lengthUnit = parseUnit("length_unit", getMetadata(file, "length_unit"), {{"nm", 1}, {"angstrom", 0.1}, {"bohr", 0.0529177210903}});
    spec.energyUnit = parseUnit("energy_unit", getMetadata(file, "energy_unit"),
                                {{"kJ/mol", 1}, {"kcal/mol", 4.184}, {"eV", 96.48533212331002}, {"hartree", 2625.4996394798254}});
    spec.types = parseTypes(getMetadata(file, "types"), isAni);
    const auto numTypes = static_cast<long long>(spec.types.size());
    if (file.metadata.count("num_members") != 0) {
        const Json members = Json::parse(file.metadata.at("num_members"), "metadata key \"num_members\"");
        if (members.type != Json::Number || !members.isInteger || members.number < 1 || members.number > MaxMembers)
            throw FlashModelError("metadata key \"num_members\" must be an integer from 1 to " + to_string(MaxMembers) + ", found " + members.describe());
        spec.numMembers = static_cast<int>(members.number);
    }

    const Json hyperparameters = Json::parse(getMetadata(file, "hyperparameters"), "metadata key \"hyperparameters\"");
    ObjectReader reader(hyperparameters, "hyperparameters");
    if (isAni)
        spec.network = readAni(reader, tensors, spec);
    else
        spec.network = readSchNet(reader, tensors, spec);
    model.numWeights = tensors.getNumTaken();
    if (isAni || tensors.has("type_energies"))
        spec.typeEnergies = tensors.getReals("type_energies", {numTypes});
    else
        spec.typeEnergies.assign(spec.types.size(), 0.0);
    if (reader.has("repulsion"))
        spec.repulsion = parseRepulsion(reader.get("repulsion"), tensors, numTypes);
    reader.checkAllRead();
    if (file.metadata.count("priors") != 0)
        spec.priors = readPriors(file.metadata.at("priors"), tensors, spec.types);
    tensors.checkAllTaken();
    return model;
}

} // namespace OpenMMFlash
