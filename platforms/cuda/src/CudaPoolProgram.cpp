// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#include "CudaPoolProgram.h"
#include "openmm/OpenMMException.h"
#include "openmm/cuda/CudaArray.h"
#include <array>
#include <cstring>
#include <vector>

using namespace OpenMM;

namespace OpenMMFlash {

namespace {

void check(CUresult result, const std::string& what) {
    if (result == CUDA_SUCCESS)
        return;
    const char* name = nullptr;
    cuGetErrorName(result, &name);
    throw OpenMMException("FlashForce: " + what + " failed: " + (name == nullptr ? "unknown error" : name) + " (" + std::to_string(result) + ")");
}

/** What CudaKernel is for OpenMM's launches. */
class CudaPoolKernel : public ComputeKernelImpl {
public:
    CudaPoolKernel(CudaContext& cc, CUfunction function, const std::string& name, int poolBytes)
        : cc(cc), function(function), name(name), poolBytes(poolBytes) {
        check(cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, poolBytes),
              "asking for " + std::to_string(poolBytes) + " bytes of shared memory for " + name);
    }
    std::string getName() const override {
        return name;
    }
    int getMaxBlockSize() const override {
        int size = 0;
        check(cuFuncGetAttribute(&size, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, function), "asking for the block size of " + name);
        return size;
    }
    /** As many blocks as there are threads for, and no fewer. */
    void execute(int threads, int blockSize) override {
        std::vector<void*> pointers;
        for (Argument& argument : arguments)
            pointers.push_back(argument.array == nullptr ? static_cast<void*>(argument.value.data()) : &argument.array->getDevicePointer());
        check(
            cuLaunchKernel(function, (threads + blockSize - 1) / blockSize, 1, 1, blockSize, 1, 1, poolBytes, cc.getCurrentStream(), pointers.data(), nullptr),
            "launching " + name);
    }

protected:
    void addArrayArg(ArrayInterface& value) override {
        addEmptyArg();
        setArrayArg(static_cast<int>(arguments.size()) - 1, value);
    }
    void addPrimitiveArg(const void* value, int size) override {
        addEmptyArg();
        setPrimitiveArg(static_cast<int>(arguments.size()) - 1, value, size);
    }
    void addEmptyArg() override {
        arguments.emplace_back();
    }
    void setArrayArg(int index, ArrayInterface& value) override {
        arguments.at(index).array = &cc.unwrap(value);
    }
    void setPrimitiveArg(int index, const void* value, int size) override {
        Argument& argument = arguments.at(index);
        if (size > static_cast<int>(argument.value.size()))
            throw OpenMMException("FlashForce: an argument of " + name + " has " + std::to_string(size) + " bytes");
        std::memcpy(argument.value.data(), value, size);
        argument.array = nullptr;
    }

private:
    struct Argument {
        alignas(16) std::array<char, 32> value{};
        CudaArray* array = nullptr;
    };
    CudaContext& cc;
    const CUfunction function;
    const std::string name;
    const int poolBytes;
    std::vector<Argument> arguments;
};

} // namespace

int getLargestPool(CudaContext& cc) {
    int bytes = 0;
    check(cuDeviceGetAttribute(&bytes, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, cc.getDevice()), "asking for the size of shared memory");
    return bytes;
}

CudaPoolProgram::CudaPoolProgram(CudaContext& cc, const std::string& source, std::map<std::string, std::string> defines, int poolBytes)
    : cc(cc), poolBytes(poolBytes) {
    defines["DECLARE_POOL"] = "extern __shared__ real4 flashPool[]";
    module = cc.createModule(source, defines);
}

ComputeKernel CudaPoolProgram::createKernel(const std::string& name) {
    return std::make_shared<CudaPoolKernel>(cc, cc.getKernel(module, name), name, poolBytes);
}

} // namespace OpenMMFlash
