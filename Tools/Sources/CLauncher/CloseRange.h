// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <sys/syscall.h>
#include <unistd.h>

// Linux's number, for headers that are older than the call.
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define KEEP_ON_EXEC_NOTHING 4 // CLOSE_RANGE_CLOEXEC

/// Closes descriptors, or has them closed on exec: close_range(2), which C libraries may not have.
static inline long toro_close_range(unsigned first, unsigned last, unsigned flags) {
    return syscall(SYS_close_range, first, last, flags);
}
