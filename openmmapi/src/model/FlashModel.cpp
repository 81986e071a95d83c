// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "openmmflash/FlashModel.h"
#include "Json.h"
#include "ModelReader.h"
#include "Sha256.h"
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace OpenMMFlash {

using std::string;
using std::to_string;

struct FlashModel::Data {
    string bytes, hash;
    ModelFile file;
};

namespace {

string readFile(const string& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream)
        throw FlashModelError("Cannot open the model file \"" + path + "\": " + std::strerror(errno));
    errno = 0;
    if (stream.peek() == std::ifstream::traits_type::eof() && !stream.bad() && errno == 0)
        return ""; // which the line below takes for a failure
    std::ostringstream content;
    content << stream.rdbuf();
    if (!stream || stream.bad() || content.fail())
        throw FlashModelError("Cannot read the model file \"" + path + "\"" + (errno == 0 ? "" : string(": ") + std::strerror(errno)));
    return content.str();
}

template <class T> const T& checked(const std::vector<T>& items, int index, const char* what) {
    if (index < 0 || index >= static_cast<int>(items.size()))
        throw FlashModelError(string("FlashModel: ") + what + " " + to_string(index) + " does not exist; there are " + to_string(items.size()) +
                              ", counted from 0");
    return items[static_cast<size_t>(index)];
}

} // namespace

FlashModel::FlashModel(std::shared_ptr<const Data> data) : data(std::move(data)) {}

FlashModel::FlashModel(const string& path) : FlashModel(fromBytes(readFile(path), path)) {}

FlashModel FlashModel::fromBytes(string bytes, const string& source) {
    auto data = std::make_shared<Data>();
    data->bytes = std::move(bytes);
    data->hash = sha256(data->bytes);
    try {
        data->file = readModel(data->bytes);
    }
    catch (const FlashModelError& error) {
        throw FlashModelError(source + ": " + error.what());
    }
    return FlashModel(data);
}

const string& FlashModel::getBytes() const {
    return data->bytes;
}

const string& FlashModel::getSha256() const {
    return data->hash;
}

int FlashModel::getFormatVersion() const {
    return data->file.formatVersion;
}

const string& FlashModel::getArchitecture() const {
    return data->file.architecture;
}

const string& FlashModel::getName() const {
    return data->file.name;
}

const std::map<string, string>& FlashModel::getMetadata() const {
    return data->file.metadata;
}

string FlashModel::getMetadataValue(const string& key) const {
    const auto found = getMetadata().find(key);
    return found == getMetadata().end() ? "" : found->second;
}

double FlashModel::getCutoff() const {
    return getSpec().getCutoff() * getSpec().lengthUnit;
}

double FlashModel::getLengthUnit() const {
    return getSpec().lengthUnit;
}

double FlashModel::getEnergyUnit() const {
    return getSpec().energyUnit;
}

int FlashModel::getNumMembers() const {
    return getSpec().numMembers;
}

long long FlashModel::getNumWeights() const {
    return data->file.numWeights;
}

int FlashModel::getNumTypes() const {
    return static_cast<int>(getSpec().types.size());
}

const string& FlashModel::getTypeName(int type) const {
    return checked(getSpec().types, type, "type").name;
}

int FlashModel::getTypeIndex(const string& name) const {
    string known;
    const auto& types = getSpec().types;
    for (size_t i = 0; i < types.size(); i++) {
        if (!name.empty() && types[i].name == name)
            return static_cast<int>(i);
        if (!types[i].name.empty())
            known += " " + types[i].name;
    }
    throw FlashModelError("FlashModel: there is no type " + quoted(name) + "; this model (" + getName() + ") knows" + known);
}

int FlashModel::getTypeAtomicNumber(int type) const {
    return checked(getSpec().types, type, "type").atomicNumber;
}

double FlashModel::getTypeMass(int type) const {
    return checked(getSpec().types, type, "type").mass;
}

double FlashModel::getTypeEnergy(int type) const {
    return checked(getSpec().typeEnergies, type, "type") * getSpec().energyUnit;
}

bool FlashModel::hasPairPrior() const {
    return getSpec().repulsion.has_value();
}

double FlashModel::getPairPriorCutoff() const {
    return hasPairPrior() ? getSpec().repulsion->cutoff * getSpec().lengthUnit : 0;
}

double FlashModel::getPairPriorSigma(int type1, int type2) const {
    if (!hasPairPrior())
        throw FlashModelError("FlashModel: this model (" + getName() + ") has no pair prior");
    const ModelSpec& spec = getSpec();
    checked(spec.types, type1, "type");
    checked(spec.types, type2, "type");
    return spec.repulsion->sigma[static_cast<size_t>(type1) * spec.types.size() + static_cast<size_t>(type2)] * spec.lengthUnit;
}

int FlashModel::getNumPriors() const {
    return static_cast<int>(getSpec().priors.size());
}

const string& FlashModel::getPriorName(int index) const {
    return checked(getSpec().priors, index, "prior").name;
}

const string& FlashModel::getPriorForm(int index) const {
    return checked(getSpec().priors, index, "prior").form;
}

int FlashModel::getPriorArity(int index) const {
    return checked(getSpec().priors, index, "prior").arity;
}

const std::vector<int>& FlashModel::getPriorTypes(int index) const {
    return checked(getSpec().priors, index, "prior").types;
}

int FlashModel::getPriorNumParameters(int index) const {
    return checked(getSpec().priors, index, "prior").numParameters;
}

const std::vector<double>& FlashModel::getPriorParameters(int index) const {
    return checked(getSpec().priors, index, "prior").parameters;
}

string FlashModel::summary() const {
    std::ostringstream out;
    out << getName() << ": " << getArchitecture() << ", " << getNumMembers() << (getNumMembers() == 1 ? " network, " : " networks, ") << getNumWeights()
        << " parameters, cutoff " << getCutoff() << " nm\n";
    out << "types:";
    for (int i = 0; i < getNumTypes(); i++)
        if (!getTypeName(i).empty())
            out << ' ' << getTypeName(i);
    out << '\n';
    if (const auto* schnet = std::get_if<SchNetSpec>(&getSpec().network))
        out << "blocks " << schnet->members[0].blocks.size() << ", hidden channels " << schnet->hidden << ", filters " << schnet->filters
            << ", radial functions " << schnet->basisSize << '\n';
    else {
        const auto& ani = std::get<AniSpec>(getSpec().network);
        out << "angular cutoff " << ani.angularCutoff * getLengthUnit() << " nm, AEV length " << ani.networks[0][0][0].inputs << '\n';
    }
    if (hasPairPrior())
        out << "pair prior: repulsion, exponent " << getSpec().repulsion->exponent << '\n';
    for (const PriorTable& prior : getSpec().priors)
        out << "prior " << prior.name << ": " << prior.form << ", " << prior.types.size() / static_cast<size_t>(prior.arity) << " rows\n";
    out << "units in the file: " << getMetadataValue("length_unit") << ", " << getMetadataValue("energy_unit") << '\n';
    for (const char* key : {"description", "origin", "citation", "license"})
        if (!getMetadataValue(key).empty())
            out << key << ": " << getMetadataValue(key) << '\n';
    out << "SHA-256: " << getSha256() << '\n';
    return out.str();
}

const ModelSpec& FlashModel::getSpec() const {
    return data->file.spec;
}

} // namespace OpenMMFlash
