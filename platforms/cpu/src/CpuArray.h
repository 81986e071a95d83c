// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
#ifndef OPENMMFLASH_CPUARRAY_H_
#define OPENMMFLASH_CPUARRAY_H_

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace OpenMMFlash {

/** The next multiple of a positive number, n itself if it is one. */
template <class T> constexpr T roundUp(T n, T multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

/** Plain numbers on whole cache lines. Memory is kept when the array shrinks; new elements are zero the first time. */
template <class T> class CpuArray {
public:
    /** Contents are lost where the array has to move; a whole cache line behind the last element may be read and written. */
    void resize(size_t size) {
        if (size > capacity || !memory) {
            const size_t bytes = ((size * sizeof(T) + 63) / 64 + 1) * 64;
            count = capacity = 0; // should there be no memory
            memory.reset();       // before its successor needs memory
            memory.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
            if (!memory)
                throw std::bad_alloc();
            std::memset(static_cast<void*>(memory.get()), 0, bytes);
            capacity = size;
        }
        count = size;
    }
    size_t size() const {
        return count;
    }
    size_t getBytes() const {
        return capacity * sizeof(T);
    }
    T* data() {
        return memory.get();
    }
    const T* data() const {
        return memory.get();
    }
    T& operator[](size_t i) {
        return memory.get()[i];
    }
    const T& operator[](size_t i) const {
        return memory.get()[i];
    }

private:
    struct Free {
        void operator()(T* p) const {
            std::free(p);
        }
    };
    std::unique_ptr<T, Free> memory;
    size_t count = 0, capacity = 0;
};

} // namespace OpenMMFlash

#endif
