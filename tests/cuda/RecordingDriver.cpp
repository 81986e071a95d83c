// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// A CUDA driver without a GPU, for tests: what OpenMM's CUDA platform calls of libcuda.so.1. Device memory is the host's, copies are made and
// checked, and kernels do nothing. Written down, as lines of JSON in RECORDING_DRIVER_LOG, is what a GPU would have been asked to do: each
// module (its PTX goes into a file beside the log), each launch with its grid, each wait of the host for the device. What a driver would refuse, or a
// kernel would crash on, is refused here: a block that is too large, too much shared memory, an argument that does not point into memory
// that is allocated. It plays a device of compute capability RECORDING_DRIVER_CAPABILITY (such as 90), and a driver for
// CUDA RECORDING_DRIVER_VERSION (such as 13000).
//
// fake_driver.py compiles it, and adds functions that fail for whatever else the plugins ask for.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

enum Result {
    Success = 0,
    InvalidValue = 1,
    OutOfMemory = 2,
    InvalidImage = 200,
    FileNotFound = 301,
    InvalidHandle = 400,
    NotFound = 500,
    IllegalAddress = 700,
    LaunchFailed = 719
};

struct Function {
    std::string name;
    int sharedBytes = 0, poolBytes = 0; ///< static, and what may be asked for at a launch
    std::vector<bool> isPointer;        ///< of its parameters
};

struct Module {
    int index;
    std::map<std::string, Function> functions;
};

std::recursive_mutex lock;
std::map<uintptr_t, size_t> allocations; ///< address -> bytes
std::vector<std::unique_ptr<Module>> modules;
void* current = nullptr;
int device = 0; ///< its address stands for handles

/** Filled with this before use: a NaN in every precision, and no sensible integer. */
constexpr int Poison = 0xff;
constexpr size_t Guard = 256;

/** Shared memory that every kernel may have. */
constexpr int SharedBytes = 49152;

int getCapability() {
    const char* text = getenv("RECORDING_DRIVER_CAPABILITY");
    return text ? atoi(text) : 90;
}

/** The same for kernels that ask for more, by NVIDIA's programming guide. */
int getLargestShared() {
    switch (getCapability()) {
    case 75:
        return 64 * 1024;
    case 80:
        return 163 * 1024;
    case 90:
    case 100:
        return 227 * 1024;
    default:
        return 99 * 1024;
    }
}

FILE* logFile() {
    static FILE* file = fopen(getenv("RECORDING_DRIVER_LOG"), "a");
    return file;
}

int refuse(int result, const char* what, const std::string& detail) {
    fprintf(logFile(), "{\"refused\": \"%s\", \"detail\": \"%s\"}\n", what, detail.c_str());
    fflush(logFile());
    return result;
}

bool isInside(uintptr_t address, size_t bytes) {
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin())
        return false;
    auto entry = std::prev(after);
    return address + bytes <= entry->first + entry->second;
}

int copy(void* target, const void* source, size_t bytes, bool targetOnDevice, bool sourceOnDevice) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (targetOnDevice && !isInside(reinterpret_cast<uintptr_t>(target), bytes))
        return refuse(InvalidValue, "copy", "the target is not device memory, or too small");
    if (sourceOnDevice && !isInside(reinterpret_cast<uintptr_t>(source), bytes))
        return refuse(InvalidValue, "copy", "the source is not device memory, or too small");
    memmove(target, source, bytes);
    return Success;
}

/** Bytes of the .shared variables that a kernel's text declares. */
int countShared(const std::string& body) {
    static const std::regex declaration(R"(\.shared \.align \d+ \.b(\d+) [^\s\[]+(?:\[(\d+)\])?;)"); // a pool has no size: name[]
    int bytes = 0;
    for (std::sregex_iterator found(body.begin(), body.end(), declaration), end; found != end; ++found)
        bytes += std::stoi((*found)[1]) / 8 * ((*found)[2].matched ? std::stoi((*found)[2]) : 1);
    return bytes;
}

int load(void** result, const std::string& ptx) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto module = std::make_unique<Module>();
    module->index = static_cast<int>(modules.size());
    const int sharedByAll = countShared(ptx.substr(0, ptx.find(".entry")));
    std::string names;
    for (size_t start = ptx.find(".entry "); start != std::string::npos;) {
        const size_t next = ptx.find(".entry ", start + 1);
        const std::string text = ptx.substr(start, next == std::string::npos ? next : next - start);
        start = next;
        Function function;
        const size_t open = text.find('(');
        function.name = text.substr(7, open - 7);
        function.name.erase(function.name.find_last_not_of(" \n\t") + 1);
        std::istringstream parameters(text.substr(open, text.find(')') - open));
        for (std::string line; std::getline(parameters, line);)
            if (line.find(".param") != std::string::npos)
                function.isPointer.push_back(line.find(".ptr") != std::string::npos);
        function.sharedBytes = sharedByAll + countShared(text);
        names += (names.empty() ? "\"" : ", \"") + function.name + "\"";
        module->functions[function.name] = function;
    }
    if (module->functions.empty())
        return refuse(InvalidImage, "module", "there is no kernel in it");
    const std::string path = std::string(getenv("RECORDING_DRIVER_LOG")) + "." + std::to_string(module->index) + ".ptx";
    if (FILE* file = fopen(path.c_str(), "w")) {
        fwrite(ptx.data(), 1, ptx.size(), file);
        fclose(file);
    }
    fprintf(logFile(), "{\"module\": %d, \"ptx\": \"%s\", \"kernels\": [%s]}\n", module->index, path.c_str(), names.c_str());
    fflush(logFile());
    *result = module.get();
    modules.push_back(std::move(module));
    return Success;
}

int waitFor(const char* what) {
    fprintf(logFile(), "{\"wait\": \"%s\"}\n", what);
    return Success;
}

} // namespace

extern "C" {

/** For the test, through ctypes: a line of its own in the log. */
void recordingDriverMark(const char* text) {
    fprintf(logFile(), "{\"mark\": \"%s\"}\n", text);
    fflush(logFile());
}

int cuInit(unsigned) {
    return Success;
}
/** NVRTC looks for a driver's cache of compiled programs. */
int cuGetExportTable(const void**, const void*) {
    return NotFound;
}
int cuDriverGetVersion(int* version) {
    const char* text = getenv("RECORDING_DRIVER_VERSION");
    *version = text ? atoi(text) : 13000;
    return Success;
}
int cuDeviceGetCount(int* count) {
    *count = 1;
    return Success;
}
int cuDeviceGet(int* result, int) {
    *result = 0;
    return Success;
}
int cuDeviceGetName(char* name, int length, int) {
    snprintf(name, length, "Recording driver");
    return Success;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
    const int capability = getCapability();
    switch (attribute) {
    case 1: // threads of a block
        *value = 1024;
        break;
    case 8: // shared memory of a block
        *value = SharedBytes;
        break;
    case 16: // multiprocessors
        *value = 132;
        break;
    case 97: // the same for kernels that ask for it
        *value = getLargestShared();
        break;
    case 75:
        *value = capability / 10;
        break;
    case 76:
        *value = capability % 10;
        break;
    default:
        *value = 1;
    }
    return Success;
}
int cuDeviceCanAccessPeer(int* can, int, int) {
    *can = 0;
    return Success;
}

int cuCtxCreate_v2(void** context, unsigned, int) {
    *context = current = &device;
    return Success;
}
int cuCtxCreate_v4(void** context, void*, unsigned, int) {
    *context = current = &device;
    return Success;
}
int cuCtxDestroy_v2(void*) {
    return Success;
}
int cuCtxPushCurrent_v2(void* context) {
    current = context;
    return Success;
}
int cuCtxPopCurrent_v2(void** context) {
    if (context)
        *context = current;
    return Success;
}
int cuCtxSetCurrent(void* context) {
    current = context;
    return Success;
}
int cuCtxSetCacheConfig(int) {
    return Success;
}
int cuCtxSynchronize() {
    return waitFor("context");
}
int cuProfilerStop() {
    return Success;
}

int cuMemAlloc_v2(uintptr_t* pointer, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (bytes == 0)
        return refuse(InvalidValue, "cuMemAlloc", "0 bytes");
    char* memory = static_cast<char*>(std::aligned_alloc(256, (bytes + Guard + 255) / 256 * 256));
    if (!memory)
        return OutOfMemory;
    memset(memory, Poison, bytes + Guard);
    *pointer = reinterpret_cast<uintptr_t>(memory);
    allocations[*pointer] = bytes;
    return Success;
}
int cuMemFree_v2(uintptr_t pointer) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (allocations.erase(pointer) == 0)
        return refuse(InvalidValue, "cuMemFree", "not allocated");
    free(reinterpret_cast<void*>(pointer));
    return Success;
}
int cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
    *pointer = std::calloc(1, bytes);
    return *pointer ? Success : OutOfMemory;
}
int cuMemFreeHost(void* pointer) {
    free(pointer);
    return Success;
}
int cuMemHostGetDevicePointer_v2(uintptr_t* result, void* pointer, unsigned) {
    *result = reinterpret_cast<uintptr_t>(pointer);
    return Success;
}
int cuMemcpyHtoD_v2(uintptr_t target, const void* source, size_t bytes) {
    waitFor("upload");
    return copy(reinterpret_cast<void*>(target), source, bytes, true, false);
}
int cuMemcpyHtoDAsync_v2(uintptr_t target, const void* source, size_t bytes, void*) {
    return copy(reinterpret_cast<void*>(target), source, bytes, true, false);
}
int cuMemcpyDtoH_v2(void* target, uintptr_t source, size_t bytes) {
    waitFor("download");
    return copy(target, reinterpret_cast<void*>(source), bytes, false, true);
}
int cuMemcpyDtoHAsync_v2(void* target, uintptr_t source, size_t bytes, void*) {
    return copy(target, reinterpret_cast<void*>(source), bytes, false, true);
}
int cuMemcpyDtoDAsync_v2(uintptr_t target, uintptr_t source, size_t bytes, void*) {
    return copy(reinterpret_cast<void*>(target), reinterpret_cast<void*>(source), bytes, true, true);
}
int cuMemcpyAsync(uintptr_t target, uintptr_t source, size_t bytes, void*) {
    return copy(reinterpret_cast<void*>(target), reinterpret_cast<void*>(source), bytes, false, false);
}

int cuModuleLoadDataEx(void** module, const void* image, unsigned, void*, void*) {
    return load(module, static_cast<const char*>(image));
}
int cuModuleLoad(void** module, const char* path) {
    FILE* file = fopen(path, "rb");
    if (!file)
        return FileNotFound;
    std::string text;
    char part[65536];
    for (size_t n; (n = fread(part, 1, sizeof(part), file)) > 0;)
        text.append(part, n);
    fclose(file);
    return load(module, text);
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    auto& functions = static_cast<Module*>(module)->functions;
    auto found = functions.find(name);
    if (found == functions.end())
        return refuse(NotFound, "cuModuleGetFunction", name);
    *function = &found->second;
    return Success;
}
int cuFuncGetAttribute(int* value, int attribute, void* function) {
    *value = attribute == 0 ? 1024 : attribute == 1 ? static_cast<Function*>(function)->sharedBytes : 32;
    return Success;
}
int cuFuncSetAttribute(void* handle, int attribute, int value) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    Function& function = *static_cast<Function*>(handle);
    if (attribute != 8 || value < 0 || function.sharedBytes + value > getLargestShared())
        return refuse(InvalidValue, "cuFuncSetAttribute", function.name + ": " + std::to_string(value) + " bytes of shared memory");
    function.poolBytes = value;
    fprintf(logFile(), "{\"pool\": %d, \"kernel\": \"%s\"}\n", value, function.name.c_str());
    return Success;
}
int cuLaunchKernel(void* handle, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes, void*,
                   void** arguments, void**) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    const Function& function = *static_cast<Function*>(handle);
    if (gridX == 0 || gridY == 0 || gridZ == 0 || blockX * blockY * blockZ == 0 || blockX * blockY * blockZ > 1024)
        return refuse(InvalidValue, "cuLaunchKernel", function.name + ": a grid or a block of " + std::to_string(gridX) + " x " + std::to_string(blockX));
    if (sharedBytes > static_cast<unsigned>(std::max(function.poolBytes, SharedBytes - function.sharedBytes)))
        return refuse(LaunchFailed, "cuLaunchKernel", function.name + ": " + std::to_string(function.sharedBytes + sharedBytes) + " bytes of shared memory");
    for (size_t i = 0; i < function.isPointer.size(); i++) {
        if (!function.isPointer[i])
            continue;
        uintptr_t address;
        memcpy(&address, arguments[i], sizeof(address));
        if (!isInside(address, 1))
            return refuse(IllegalAddress, "cuLaunchKernel", function.name + ": argument " + std::to_string(i) + " is no device memory");
    }
    fprintf(logFile(), "{\"launch\": \"%s\", \"grid\": %u, \"block\": %u, \"shared\": %u}\n", function.name.c_str(), gridX, blockX,
            function.sharedBytes + sharedBytes);
    return Success;
}

int cuEventCreate(void** event, unsigned) {
    *event = &device;
    return Success;
}
int cuEventDestroy_v2(void*) {
    return Success;
}
int cuEventRecord(void*, void*) {
    return Success;
}
int cuEventSynchronize(void*) {
    return waitFor("event");
}
int cuStreamCreate(void** stream, unsigned) {
    *stream = &device;
    return Success;
}
int cuStreamDestroy_v2(void*) {
    return Success;
}
int cuStreamSynchronize(void*) {
    return waitFor("stream");
}
int cuStreamWaitEvent(void*, void*, unsigned) {
    return Success;
}
int cuGetErrorName(int error, const char** name) {
    static const std::map<int, const char*> names = {{InvalidValue, "CUDA_ERROR_INVALID_VALUE"},     {OutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                     {InvalidImage, "CUDA_ERROR_INVALID_IMAGE"},     {FileNotFound, "CUDA_ERROR_FILE_NOT_FOUND"},
                                                     {InvalidHandle, "CUDA_ERROR_INVALID_HANDLE"},   {NotFound, "CUDA_ERROR_NOT_FOUND"},
                                                     {IllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {LaunchFailed, "CUDA_ERROR_LAUNCH_FAILED"}};
    auto found = names.find(error);
    *name = found == names.end() ? "CUDA_SUCCESS" : found->second;
    return Success;
}
}
