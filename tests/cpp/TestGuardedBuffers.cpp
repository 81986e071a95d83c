// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// That GuardedBuffers, which this test is run with, notices what is written and read outside of a buffer.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

namespace {

/** The signal that ends a process which touches this byte of a buffer of 1000; 0: none. */
int touch(int offset, bool write) {
    const pid_t child = fork();
    if (child == 0) {
        std::fclose(stderr);
        void* buffer = nullptr;
        if (posix_memalign(&buffer, 128, 1000) != 0)
            _exit(1);
        volatile char* byte = static_cast<char*>(buffer) + offset;
        if (write)
            *byte = 1;
        else
            (void)*byte;
        std::free(buffer);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

} // namespace

int main() {
    const struct {
        int offset;
        bool write;
        int signal;
    } cases[] = {{0, true, 0},        {999, true, 0},        {999, false, 0},        {1000, true, SIGABRT},
                 {-1, true, SIGABRT}, {1024, true, SIGSEGV}, {1024, false, SIGSEGV}, {-4096, false, SIGSEGV}};
    int failed = 0;
    for (const auto& [offset, write, signal] : cases)
        if (const int found = touch(offset, write); found != signal) {
            std::printf("FAILED %s byte %d: ended with %d, expected %d\n", write ? "writing" : "reading", offset, found, signal);
            failed++;
        }
    std::printf("%d passed, %d failed\n", static_cast<int>(sizeof(cases) / sizeof(cases[0])) - failed, failed);
    return failed == 0 ? 0 : 1;
}
