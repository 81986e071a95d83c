// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CommonPotential.h"
#include "CommonFlashKernelSources.h"
#include <cstdlib>
#include <locale>
#include <sstream>
#include <stdexcept>

namespace OpenMMFlash {

namespace {

/** Set value to what an environment variable says, if it is set. */
template <class T> void readVariable(const char* name, T& value, T lowest, T highest, const std::string& meaning) {
    const char* text = std::getenv(name);
    if (text == nullptr || *text == 0)
        return;
    std::istringstream number(text);
    number.imbue(std::locale::classic());
    if (!(number >> value) || !number.eof() || !(value >= lowest && value <= highest))
        throw std::invalid_argument("the environment variable " + std::string(name) + " is \"" + text + "\"; it is " + meaning);
}

} // namespace

CommonOptions CommonOptions::fromEnvironment() {
    CommonOptions options;
    readVariable("OPENMMFLASH_DEVICE_SKIN", options.skin, 0.0, 1.0, "a fraction of the cutoff from 0 to 1");
    readVariable("OPENMMFLASH_DEVICE_CAPACITY", options.initialCapacity, 1, 1 << 20, "a whole number from 1 to 1048576: entries reserved for each particle");
    readVariable("OPENMMFLASH_DEVICE_LARGE_GROUP", options.largeGroup, 1, 1 << 30,
                 "a whole number from 1 to 1073741824: groups of more particles are searched through cells");
    readVariable("OPENMMFLASH_DEVICE_LOCAL_BYTES", options.localBytes, 1 << 12, 1 << 30,
                 "a whole number from 4096 to 1073741824: bytes of local memory that filters of low rank may take, where the device has as much");
    int filter = static_cast<int>(options.filter);
    readVariable("OPENMMFLASH_DEVICE_FILTER", filter, 0, 2, "0 (chosen by the model), 1 (tables) or 2 (low rank)");
    options.filter = static_cast<Filter>(filter);
    readVariable("OPENMMFLASH_DEVICE_ROWS", options.rows, 1, 16, "16, 8, 4, 2 or 1: particles of a tile");
    if ((options.rows & (options.rows - 1)) != 0)
        throw std::invalid_argument("the environment variable OPENMMFLASH_DEVICE_ROWS is " + std::to_string(options.rows) + "; it is 16, 8, 4, 2 or 1");
    return options;
}

CommonNeighborList::Options CommonOptions::getListOptions(double cutoff) const {
    CommonNeighborList::Options list;
    list.cutoff = cutoff;
    list.skin = skin;
    list.initialCapacity = initialCapacity;
    list.largeGroup = largeGroup;
    return list;
}

std::string CommonDevice::complete(const std::string& source, std::map<std::string, std::string>& defines) const {
    const std::string text = CommonFlashKernelSources::flash + source;
    // Only what the text names: a driver that keeps programs compiles once what differs in nothing else.
    for (const auto& [name, value] : particles.getDefines())
        if (text.find(name) != std::string::npos)
            defines.emplace(name, value);
    defines.emplace("FLAG_BASE", cc.intToString(FlagBase));
    return text;
}

OpenMM::ComputeProgram CommonDevice::compile(const std::string& source, std::map<std::string, std::string> defines) const {
    const std::string text = complete(source, defines);
    return cc.compileProgram(text, defines);
}

OpenMM::ComputeProgram CommonDevice::compile(const std::string& source, std::map<std::string, std::string> defines, int poolBytes) const {
    const std::string text = complete(source, defines);
    if (options.compileWithPool)
        return options.compileWithPool(text, defines, poolBytes);
    defines["DECLARE_POOL"] = "LOCAL real4 flashPool[POOL_REALS/4]";
    return cc.compileProgram(text, defines);
}

void CommonDevice::reserve(OpenMM::ComputeArray& array, size_t size, int elementSize, const std::string& name) const {
    if (!array.isInitialized())
        array.initialize(cc, size, elementSize, name);
    else if (array.getSize() < size) {
        const size_t before = array.getSize();
        try {
            array.resize(size);
        }
        catch (...) {
            // OpenMM has freed the old memory, and already calls the array as large as was asked for.
            array.getArray().initialize(cc, before, array.getElementSize(), name);
            throw;
        }
    }
}

void CommonDevice::setReal(OpenMM::ComputeKernel& kernel, int argument, double value) const {
    if (cc.getUseDoublePrecision())
        kernel->setArg(argument, value);
    else
        kernel->setArg(argument, static_cast<float>(value));
}

} // namespace OpenMMFlash
