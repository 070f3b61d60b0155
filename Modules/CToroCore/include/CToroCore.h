/// The things ToroCore asks of the world below it: memory that may run out without ending
/// the program, and the core that is running. In a guest the kernel defines them; on a host
/// they are the C library's allocator and the number 0.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Memory of `size` bytes at an address divisible by `alignment` (a power of two, at least 8),
/// or NULL when there is none.
void *_Nullable toro_allocate(size_t size, size_t alignment);

/// Gives back what `toro_allocate` returned; nothing for NULL.
void toro_deallocate(void *_Nullable memory);

/// Whether `toro_allocate` could give `size` bytes more now, a page at a time. O(1) unless memory is
/// short.
bool toro_has_memory(size_t size);

/// Zeros that stand for the memory of a buffer that has none: 64 bytes, and always the same.
static inline void *_Nonnull toro_no_memory(void) {
    static _Alignas(64) char zeros[64];
    return zeros;
}

/// The index of the running core, 0 on a host.
uint32_t toro_core_index(void);

#ifdef TORO_MICROVM
/// One machine word that belongs to the running core, which the platform sets.
void *_Nullable toro_core_context(void);
#endif

#ifndef TORO_MICROVM
/// Has `take` get the jobs that this thread would give to Swift's thread pool, until it is NULL.
void toro_host_divert_jobs(void (*_Nullable take)(void *_Nonnull job));
#endif
