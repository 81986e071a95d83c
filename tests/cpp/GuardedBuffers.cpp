// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// A library for LD_PRELOAD that stands guard over the buffers of an OpenCL device that is this processor (PoCL takes each from
// posix_memalign() with an alignment of at least 128). A buffer ends at a page that may not be touched, and begins behind another one:
// a kernel that reads or writes there ends with a segmentation fault. What alignment leaves free on either side is filled with guard
// words, which are compared when the buffer is released, and at the end of the program: one that changed ends it, too.
//
// While FLASH_TEST_LARGEST_BUFFER is set, no buffer of more bytes than it says is made.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

namespace {

constexpr size_t SmallestAlignment = 128;
constexpr unsigned char Guard = 0xA5;

struct Buffer {
    unsigned char* pages; ///< the first of those that may be touched
    size_t size, usable;  ///< bytes of the buffer, and of these pages
};

std::map<void*, Buffer>& buffers() {
    static auto* all = new std::map<void*, Buffer>; // never destroyed: the program's last releases come late
    return *all;
}

std::mutex& lock() {
    static auto* mutex = new std::mutex;
    return *mutex;
}

template <class Function> Function* find(const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

void compareGuards(void* begin, const Buffer& buffer) {
    const auto* first = static_cast<unsigned char*>(begin);
    for (const unsigned char* p = buffer.pages; p < buffer.pages + buffer.usable; p++)
        if ((p < first || p >= first + buffer.size) && *p != Guard) {
            std::fprintf(stderr, "GuardedBuffers: byte %td of a buffer of %zu bytes was written\n", p - first, buffer.size);
            std::abort();
        }
}

void* allocate(size_t alignment, size_t size) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE)), usable = (size + page - 1) / page * page;
    auto* region = static_cast<unsigned char*>(mmap(nullptr, usable + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (region == MAP_FAILED || mprotect(region + page, usable, PROT_READ | PROT_WRITE) != 0)
        return nullptr;
    const Buffer buffer = {region + page, size, usable};
    std::memset(buffer.pages, Guard, usable);
    void* begin = buffer.pages + (usable - size) / alignment * alignment;
    const std::lock_guard<std::mutex> guard(lock());
    buffers()[begin] = buffer;
    return begin;
}

/** @return whether it was one of ours */
bool release(void* begin) {
    const std::lock_guard<std::mutex> guard(lock());
    const auto found = buffers().find(begin);
    if (found == buffers().end())
        return false;
    compareGuards(begin, found->second);
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    munmap(found->second.pages - page, found->second.usable + 2 * page);
    buffers().erase(found);
    return true;
}

struct AtTheEnd {
    ~AtTheEnd() {
        const std::lock_guard<std::mutex> guard(lock());
        for (const auto& [begin, buffer] : buffers())
            compareGuards(begin, buffer);
        if (counter > 0) // and not in a compiler that the program started
            std::fprintf(stderr, "GuardedBuffers: %zu buffers were guarded\n", counter);
    }
    size_t counter = 0;
} atTheEnd;

} // namespace

/** OpenCL's, with its types as they are in C: PoCL itself cannot stand that a buffer has no memory. */
extern "C" __attribute__((visibility("default"))) void* clCreateBuffer(void* context, std::uint64_t flags, size_t size, void* host, std::int32_t* error) {
    const char* largest = std::getenv("FLASH_TEST_LARGEST_BUFFER");
    if (largest != nullptr && size > std::strtoul(largest, nullptr, 10) && error != nullptr) {
        *error = -61; // CL_INVALID_BUFFER_SIZE
        return nullptr;
    }
    using Function = void*(void*, std::uint64_t, size_t, void*, std::int32_t*);
    static auto* const original = reinterpret_cast<Function*>(dlsym(dlopen("libOpenCL.so.1", RTLD_NOW), "clCreateBuffer"));
    return original(context, flags, size, host, error);
}

extern "C" __attribute__((visibility("default"))) int posix_memalign(void** result, size_t alignment, size_t size) {
    if (alignment < SmallestAlignment || alignment > 4096 || size == 0)
        return find<int(void**, size_t, size_t)>("posix_memalign")(result, alignment, size);
    *result = allocate(alignment, size);
    atTheEnd.counter++;
    return *result ? 0 : ENOMEM;
}

extern "C" __attribute__((visibility("default"))) void free(void* p) {
    static thread_local bool inside = false; // the map releases memory of its own
    if (p != nullptr && !inside && reinterpret_cast<std::uintptr_t>(p) % SmallestAlignment == 0) {
        inside = true;
        const bool ours = release(p);
        inside = false;
        if (ours)
            return;
    }
    static auto* const original = find<void(void*)>("free");
    original(p);
}
