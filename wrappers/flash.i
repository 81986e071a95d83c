// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// The classes stand here once more, without comments of C++: SWIG needs their declarations, Python users need docstrings with
// units. A method that is missing here is caught by tests/python/test_api.py, which compares with the headers.

%module(docstring="FlashModel and FlashForce: the compiled part of OpenMM-Flash.") flash

%import(package="openmm", module="openmm") "swig/OpenMMSwigHeaders.i"
%include "swig/typemaps.i"
%include "std_string.i"
%include "std_map.i"

%{
#include "OpenMM.h"
#include "OpenMMAmoeba.h"
#include "OpenMMDrude.h"
#include "openmm/RPMDIntegrator.h"
#include "openmm/RPMDMonteCarloBarostat.h"
#include "openmm/OpenMMException.h"
#include "openmmflash/FlashForce.h"
#include "openmmflash/FlashModel.h"
#include <cstring>
#include <limits>
using namespace OpenMM;
using namespace OpenMMFlash;
%}

// All errors are OpenMM's, as for any Force.
%exception {
    try {
        $action
    }
    catch (std::exception& e) {
        PyObject* module = PyImport_ImportModule("openmm");
        PyObject* exception = module == nullptr ? nullptr : PyObject_GetAttrString(module, "OpenMMException");
        // A message may quote bytes that are not UTF-8, a file's name for example.
        PyObject* message = PyUnicode_DecodeUTF8(e.what(), static_cast<Py_ssize_t>(std::strlen(e.what())), "backslashreplace");
        if (message != nullptr)
            PyErr_SetObject(exception == nullptr ? PyExc_Exception : exception, message);
        Py_XDECREF(message);
        Py_XDECREF(exception);
        Py_XDECREF(module);
        SWIG_fail;
    }
}

%fragment("Flash_AsInt", "header") {
/** Anything that Python takes as an index, numpy's integers included. @return false with a Python error set */
static bool Flash_AsInt(PyObject* object, int& value) {
    PyObject* index = PyNumber_Index(object);
    if (index == nullptr)
        return false;
    const long number = PyLong_AsLong(index);
    Py_DECREF(index);
    if (number == -1 && PyErr_Occurred())
        return false;
    if (number < std::numeric_limits<int>::min() || number > std::numeric_limits<int>::max()) {
        PyErr_Format(PyExc_OverflowError, "%ld does not fit into 32 bits", number);
        return false;
    }
    value = static_cast<int>(number);
    return true;
}
}

%typemap(in, fragment="Flash_AsInt") int {
    if (!Flash_AsInt($input, $1))
        SWIG_fail;
}
%typemap(typecheck, precedence=SWIG_TYPECHECK_INTEGER) int {
    $1 = PyIndex_Check($input);
}
// Anything that Python takes as a real number, numpy's scalars and OpenMM's quantities included.
%typemap(in) double {
    PyObject* stripped = Py_StripOpenMMUnits($input);
    if (stripped == nullptr)
        SWIG_fail;
    $1 = PyFloat_AsDouble(stripped);
    Py_DECREF(stripped);
    if (PyErr_Occurred())
        SWIG_fail;
}
%typemap(in, fragment="Flash_AsInt") const std::vector<int>& (std::vector<int> values) {
    PyObject* sequence = PySequence_Fast($input, "a sequence of integers is needed");
    if (sequence == nullptr)
        SWIG_fail;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); i++) {
        int value;
        if (!Flash_AsInt(PySequence_Fast_GET_ITEM(sequence, i), value)) {
            Py_DECREF(sequence);
            SWIG_fail;
        }
        values.push_back(value);
    }
    Py_DECREF(sequence);
    $1 = &values;
}
%typemap(typecheck, precedence=SWIG_TYPECHECK_INT32_ARRAY) const std::vector<int>& {
    $1 = PySequence_Check($input);
}
%fragment("Flash_ToTuple", "header") {
static PyObject* Flash_ToTuple(const std::vector<int>& values) {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(values.size()));
    for (size_t i = 0; i < values.size(); i++)
        PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), PyLong_FromLong(values[i]));
    return tuple;
}
static PyObject* Flash_ToTuple(const std::vector<double>& values) {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(values.size()));
    for (size_t i = 0; i < values.size(); i++)
        PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), PyFloat_FromDouble(values[i]));
    return tuple;
}
}
%typemap(out, fragment="Flash_ToTuple") std::vector<int> {
    $result = Flash_ToTuple($1);
}
%typemap(out, fragment="Flash_ToTuple") const std::vector<int>& {
    $result = Flash_ToTuple(*$1);
}
%typemap(out, fragment="Flash_ToTuple") std::vector<double> {
    $result = Flash_ToTuple($1);
}
%typemap(out, fragment="Flash_ToTuple") const std::vector<double>& {
    $result = Flash_ToTuple(*$1);
}
%typemap(out) const std::map<std::string, std::string>& {
    $result = PyDict_New();
    for (const auto& [key, text] : *$1) {
        PyObject* value = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
        PyObject* name = PyUnicode_DecodeUTF8(key.data(), static_cast<Py_ssize_t>(key.size()), "replace");
        PyDict_SetItem($result, name, value);
        Py_DECREF(name);
        Py_DECREF(value);
    }
}
%typemap(freearg) const std::string& path ""
// A model file's bytes are `bytes` in Python.
%typemap(in) std::string bytes {
    char* buffer;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize($input, &buffer, &length) == -1)
        SWIG_fail;
    $1.assign(buffer, static_cast<size_t>(length));
}
%typemap(typecheck, precedence=SWIG_TYPECHECK_STRING) std::string bytes {
    $1 = PyBytes_Check($input);
}
%typemap(out) const std::string& getBytes {
    $result = PyBytes_FromStringAndSize($1->data(), static_cast<Py_ssize_t>($1->size()));
}
// A path may be a str or any os.PathLike.
%typemap(in) const std::string& path (std::string value) {
    PyObject* encoded;
    if (!PyUnicode_FSConverter($input, &encoded))
        SWIG_fail;
    value.assign(PyBytes_AS_STRING(encoded), static_cast<size_t>(PyBytes_GET_SIZE(encoded)));
    Py_DECREF(encoded);
    $1 = &value;
}
%typemap(typecheck, precedence=SWIG_TYPECHECK_STRING) const std::string& path {
    $1 = PyUnicode_Check($input) || PyBytes_Check($input) || PyObject_HasAttrString($input, "__fspath__");
}

// Output arguments become a list of results.
%apply int& OUTPUT { int& particle, int& type, int& group, int& particle1, int& particle2 };

%feature("autodoc", "0");
%feature("compactdefaultargs") OpenMMFlash::FlashForce::addParticles;
%feature("kwargs") OpenMMFlash::FlashForce::addParticles;
%feature("compactdefaultargs") OpenMMFlash::FlashModel::fromBytes;
%feature("kwargs") OpenMMFlash::FlashModel::fromBytes;
// The cast object and the one it was made from share one handle: either keeps the force alive, and either may be given to a System.
%feature("pythonappend") OpenMMFlash::FlashForce::cast %{
    if force.thisown:
        force.this.disown()
        val.this.acquire()
    force.this = val.this
%}

namespace OpenMMFlash {

%feature("docstring") FlashModel "A machine-learned potential, read from a model file (see docs/model-format.md). It never changes.

FlashModel(path) reads and checks a file; an openmm.OpenMMException names what is wrong with it.";
class FlashModel {
public:
    explicit FlashModel(const std::string& path);
    %feature("docstring") fromBytes "Read a model from the bytes of a model file. source: what to call them in error messages.";
    static FlashModel fromBytes(std::string bytes, const std::string& source = "model");
    %feature("docstring") getBytes "The model file's bytes, exactly as read.";
    const std::string& getBytes() const;
    %feature("docstring") getSha256 "SHA-256 of the bytes, 64 hexadecimal digits.";
    const std::string& getSha256() const;
    %feature("docstring") getFormatVersion "Version of the model file's format.";
    int getFormatVersion() const;
    %feature("docstring") getArchitecture "'schnet' or 'ani'.";
    const std::string& getArchitecture() const;
    const std::string& getName() const;
    %feature("docstring") getMetadata "Everything in the file's metadata, as a dict of strings.";
    const std::map<std::string, std::string>& getMetadata() const;
    %feature("docstring") getMetadataValue "One value of the metadata, or '' where the file has none.";
    std::string getMetadataValue(const std::string& key) const;
    %feature("docstring") getCutoff "Distance beyond which particles do not see each other through the network, in nm.";
    double getCutoff() const;
    %feature("docstring") getLengthUnit "The file's length unit in nm.";
    double getLengthUnit() const;
    %feature("docstring") getEnergyUnit "The file's energy unit in kJ/mol.";
    double getEnergyUnit() const;
    %feature("docstring") getNumMembers "Number of ensemble members; the energy is their mean.";
    int getNumMembers() const;
    %feature("docstring") getNumWeights "Number of the network's parameters, its constants included, all members together.";
    long long getNumWeights() const;
    %feature("docstring") getNumTypes "Number of particle types, counting indices that are not types.";
    int getNumTypes() const;
    %feature("docstring") getTypeName "Name of a type (an element's symbol, a bead's name), or '' where the index is not a type.";
    const std::string& getTypeName(int type) const;
    %feature("docstring") getTypeIndex "Index of the type of this name; an error lists the names.";
    int getTypeIndex(const std::string& name) const;
    %feature("docstring") getTypeAtomicNumber "Atomic number of a type, or 0 for a coarse-grained bead.";
    int getTypeAtomicNumber(int type) const;
    %feature("docstring") getTypeMass "Mass of a type in amu, or 0 where the file has none.";
    double getTypeMass(int type) const;
    %feature("docstring") getTypeEnergy "Constant energy of a particle of this type (an atom's self energy), in kJ/mol.";
    double getTypeEnergy(int type) const;
    %feature("docstring") hasPairPrior "Whether the model contains a pair prior (repulsion).";
    bool hasPairPrior() const;
    %feature("docstring") getPairPriorCutoff "Cutoff of the pair prior in nm, or 0 where every pair of a group counts.";
    double getPairPriorCutoff() const;
    %feature("docstring") getPairPriorSigma "The distance in nm at which the pair prior between two types is one of the file's energy units; 0 where they do not repel.";
    double getPairPriorSigma(int type1, int type2) const;
    %feature("docstring") getNumPriors "Number of prior tables: typed parameters for bonded forces, carried but not evaluated by the model.";
    int getNumPriors() const;
    %feature("docstring") getPriorName "Name of a prior table.";
    const std::string& getPriorName(int index) const;
    %feature("docstring") getPriorForm "One of the forms in docs/model-format.md, e.g. 'harmonic_bond'.";
    const std::string& getPriorForm(int index) const;
    %feature("docstring") getPriorArity "Number of particles of one term.";
    int getPriorArity(int index) const;
    %feature("docstring") getPriorTypes "Types of all rows of a prior table, flat: [rows][arity].";
    const std::vector<int>& getPriorTypes(int index) const;
    %feature("docstring") getPriorNumParameters "Number of parameters of one term.";
    int getPriorNumParameters(int index) const;
    %feature("docstring") getPriorParameters "Parameters of all rows in the file's units, flat: [rows][getPriorNumParameters()].";
    const std::vector<double>& getPriorParameters(int index) const;
    %feature("docstring") summary "A few lines for a person: name, architecture, types, cutoff, size, citation, licence.";
    std::string summary() const;

    %pythoncode %{
    def __repr__(self):
        return f"<FlashModel {self.getName()!r}: {self.getArchitecture()}, {self.getNumMembers()} member(s), cutoff {self.getCutoff():g} nm>"

    def __reduce__(self):
        return FlashModel.fromBytes, (self.getBytes(),)

    def __deepcopy__(self, memo):
        return self  # it never changes
    %}
};

%feature("docstring") FlashForce "A machine-learned potential acting on particles of a System. Energies are in kJ/mol, lengths in nm.

Particles are added with their System index, the model's type and a group, and interact only within their group: replicas and
independent molecules are groups. The energy is the model's, pair prior included, times the product of all global parameters.";
class FlashForce : public OpenMM::Force {
public:
    enum WeightPrecision { Single = 0, Half = 1 };
    explicit FlashForce(const FlashModel& model);
    FlashForce(const FlashForce& other);
    // By value, not by reference as in C++: a reference would point into a force that Python may free first.
    %feature("docstring") getModel "The model, shared with this force.";
    FlashModel getModel() const;
    %feature("docstring") getNumParticles "Number of particles added.";
    int getNumParticles() const;
    %feature("docstring") addParticle "Add a particle.

particle: index in the System (each at most once); type: index of the model's type; group: an integer from 0. Returns its index within this force.";
    int addParticle(int particle, int type, int group = 0);
    %feature("autodoc", "addParticles(particles, types, groups=())") addParticles;
    %feature("docstring") addParticles "Add many particles at once; sequences or arrays of integers, of the same length. Without groups: all in group 0.";
    void addParticles(const std::vector<int>& particles, const std::vector<int>& types, const std::vector<int>& groups = std::vector<int>());
    %feature("docstring") getParticleParameters "getParticleParameters(index) -> [particle, type, group]";
    void getParticleParameters(int index, int& particle, int& type, int& group) const;
    %feature("docstring") setParticleParameters "Change what addParticle() was given for the particle of this index within the force; see updateParametersInContext().";
    void setParticleParameters(int index, int particle, int type, int group);
    %feature("docstring") getNumPairExclusions "Number of pairs left out of the pair prior.";
    int getNumPairExclusions() const;
    %feature("docstring") addPairExclusion "Leave a pair (two System indices, same group) out of the model's pair prior. The network always sees every pair.";
    int addPairExclusion(int particle1, int particle2);
    %feature("docstring") getPairExclusionParticles "getPairExclusionParticles(index) -> [particle1, particle2]";
    void getPairExclusionParticles(int index, int& particle1, int& particle2) const;
    %feature("docstring") setPairExclusionParticles "Change the System indices of a pair exclusion.";
    void setPairExclusionParticles(int index, int particle1, int particle2);
    %feature("docstring") getNumGlobalParameters "Number of Context parameters that multiply the energy.";
    int getNumGlobalParameters() const;
    %feature("docstring") addGlobalParameter "Add a Context parameter that multiplies the energy. Returns its index.";
    int addGlobalParameter(const std::string& name, double defaultValue);
    %feature("docstring") getGlobalParameterName "Name of a global parameter.";
    const std::string& getGlobalParameterName(int index) const;
    %feature("docstring") setGlobalParameterName "Rename a global parameter; Contexts made before keep the old name.";
    void setGlobalParameterName(int index, const std::string& name);
    %feature("docstring") getGlobalParameterDefaultValue "Value of a global parameter in a new Context.";
    double getGlobalParameterDefaultValue(int index) const;
    %feature("docstring") setGlobalParameterDefaultValue "Change the value of a global parameter in new Contexts; Context.setParameter() changes it in an existing one.";
    void setGlobalParameterDefaultValue(int index, double defaultValue);
    %feature("docstring") addEnergyParameterDerivative "Ask for dE/d(parameter); State.getEnergyParameterDerivatives() then has it.";
    void addEnergyParameterDerivative(const std::string& name);
    %feature("docstring") getNumEnergyParameterDerivatives "Number of derivatives asked for.";
    int getNumEnergyParameterDerivatives() const;
    %feature("docstring") getEnergyParameterDerivativeName "Name of a parameter whose derivative is asked for.";
    const std::string& getEnergyParameterDerivativeName(int index) const;
    %feature("docstring") setUsesPeriodicBoundaryConditions "Whether particles interact with the nearest and all farther images within the cutoff. Boxes may be triclinic and smaller than the cutoff. Default: no.";
    void setUsesPeriodicBoundaryConditions(bool periodic);
    %feature("docstring") getUsesPairPrior "Whether the model's pair prior, if it has one, is part of the energy.";
    bool getUsesPairPrior() const;
    %feature("docstring") setUsesPairPrior "Leave the model's pair prior out (False) or not (True, as it is unless set otherwise).";
    void setUsesPairPrior(bool use);
    %feature("docstring") getWeightPrecision "FlashForce.Single or FlashForce.Half.";
    WeightPrecision getWeightPrecision() const;
    %feature("docstring") setWeightPrecision "FlashForce.Single or FlashForce.Half: storage of dense weights on platforms that compile models. The Reference platform is always exact.";
    void setWeightPrecision(WeightPrecision precision);
    %feature("docstring") getTableTolerance "Largest relative error of a radial table.";
    double getTableTolerance() const;
    %feature("docstring") setTableTolerance "Largest relative error of a radial table, 1e-12 to 1e-2, for platforms that use tables. The Reference platform is always exact.";
    void setTableTolerance(double tolerance);
    %feature("docstring") updateParametersInContext "Copy types, groups and exclusions to a Context. Number and System indices of the particles must be unchanged.";
    void updateParametersInContext(OpenMM::Context& context);
    %feature("docstring") getGroupEnergies "Energy of each group (in the order of getGroups()) at the Context's positions, in kJ/mol. Their sum is this force's energy.";
    std::vector<double> getGroupEnergies(OpenMM::Context& context) const;
    %feature("docstring") getParticleEnergies "Energy of each particle of this force in kJ/mol, in the order in which they were added. Their sum is this force's energy.";
    std::vector<double> getParticleEnergies(OpenMM::Context& context) const;
    %feature("docstring") getMemberEnergies "Total energy as each ensemble member gives it, in kJ/mol. Their mean is this force's energy.";
    std::vector<double> getMemberEnergies(OpenMM::Context& context) const;
    %feature("docstring") getEnsembleDeviation "Standard deviation (n - 1) of the members' energies for each group, in kJ/mol; zero for a single member.";
    std::vector<double> getEnsembleDeviation(OpenMM::Context& context) const;
    %feature("docstring") getGroups "The group numbers in use, ascending.";
    std::vector<int> getGroups() const;
    %feature("docstring") getCompilationReport "How the Context's platform evaluates the model, with the certified errors of tables, as a dict (docs/api.md says what is in it).";
    %feature("pythonappend") getCompilationReport %{
        from json import loads
        val = loads(val)
    %}
    std::string getCompilationReport(OpenMM::Context& context) const;

    %extend {
        %feature("docstring") isinstance "Whether a Force, as System.getForce() returns it, is a FlashForce.";
        static bool isinstance(OpenMM::Force& force) {
            return dynamic_cast<OpenMMFlash::FlashForce*>(&force) != nullptr;
        }
        %feature("docstring") cast "A Force, as System.getForce() returns it, as a FlashForce.";
        static OpenMMFlash::FlashForce& cast(OpenMM::Force& force) {
            auto* flash = dynamic_cast<OpenMMFlash::FlashForce*>(&force);
            if (flash == nullptr)
                throw OpenMM::OpenMMException("FlashForce.cast() got a force that is not a FlashForce: " + force.getName());
            return *flash;
        }
    }

    %pythoncode %{
    def __copy__(self):
        return FlashForce(self)

    def __deepcopy__(self, memo):
        return FlashForce(self)  # the model, which it shares with the copy, never changes

    def __setstate__(self, state):  # OpenMM's leaves a handle of a plain Force
        from openmm import XmlSerializer
        self.this = FlashForce.cast(XmlSerializer.deserialize(state)).this
    %}
};

} // namespace OpenMMFlash
