// SPDX-License-Identifier: Apache-2.0
// The C library functions that compiled Swift and its runtime call, and no others.
#ifdef TORO_MICROVM
#include "CMicroVM.h"
#include <stdarg.h>
#include <stdbool.h>

#define NO_BUILTIN __attribute__((no_builtin("memcpy", "memmove", "memset", "memcmp", "strlen")))

typedef uint64_t word __attribute__((may_alias, aligned(1)));
typedef uint32_t half __attribute__((may_alias, aligned(1)));
typedef unsigned char block __attribute__((vector_size(16), aligned(1), may_alias));

// Fewer than 16 bytes: all are read before any is written, some of them twice.
NO_BUILTIN static void copy_few(unsigned char *to, const unsigned char *from, size_t n) {
    if (n >= 8) {
        word first = *(const word *)from, last = *(const word *)(from + n - 8);
        *(word *)to = first;
        *(word *)(to + n - 8) = last;
    } else if (n >= 4) {
        half first = *(const half *)from, last = *(const half *)(from + n - 4);
        *(half *)to = first;
        *(half *)(to + n - 4) = last;
    } else if (n != 0) {
        unsigned char first = from[0], middle = from[n / 2], last = from[n - 1];
        to[0] = first;
        to[n / 2] = middle;
        to[n - 1] = last;
    }
}

// The last block is read first, as one before it may be written over it.
NO_BUILTIN static void copy_up(unsigned char *to, const unsigned char *from, size_t n) {
    if (n < 16) return copy_few(to, from, n);
    block last = *(const block *)(from + n - 16);
    unsigned char *end = to + n - 16;
    for (; end - to >= 32; to += 32, from += 32) {
        block a = *(const block *)from, b = *(const block *)(from + 16);
        *(block *)to = a;
        *(block *)(to + 16) = b;
    }
    for (; to < end; to += 16, from += 16) *(block *)to = *(const block *)from;
    *(block *)end = last;
}

NO_BUILTIN static void copy_down(unsigned char *to, const unsigned char *from, size_t n) {
    if (n < 16) return copy_few(to, from, n);
    block first = *(const block *)from;
    for (; n > 16; n -= 16) *(block *)(to + n - 16) = *(const block *)(from + n - 16);
    *(block *)to = first;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    toro_core()->copied_bytes += n;
    copy_up(to, from, n);
    return to;
}

void *memmove(void *to, const void *from, size_t n) {
    toro_core()->copied_bytes += n;
    if ((uintptr_t)to - (uintptr_t)from >= n) {
        copy_up(to, from, n);
    } else {
        copy_down(to, from, n);
    }
    return to;
}

NO_BUILTIN void *memset(void *to, int value, size_t n) {
    unsigned char *at = to;
    word pattern = 0x0101010101010101u * (unsigned char)value;
    for (; n >= 8; n -= 8, at += 8) *(word *)at = pattern;
    for (; n != 0; n--) *at++ = (unsigned char)value;
    return to;
}

// Calls of this one come out of optimizations at link time, when it would be gone.
__attribute__((used)) NO_BUILTIN int memcmp(const void *a, const void *b, size_t n) {
    const unsigned char *x = a, *y = b;
    for (; n >= 8 && *(const word *)x == *(const word *)y; n -= 8) x += 8, y += 8;
    for (; n != 0; n--, x++, y++) {
        if (*x != *y) return *x - *y;
    }
    return 0;
}

NO_BUILTIN size_t strlen(const char *text) {
    size_t n = 0;
    while (text[n] != 0) n++;
    return n;
}

char *strncpy(char *restrict to, const char *restrict from, size_t n) {
    size_t i = 0;
    for (; i < n && from[i] != 0; i++) to[i] = from[i];
    for (; i < n; i++) to[i] = 0;
    return to;
}

double ceil(double x) {
    if (!(x > -4503599627370496.0 && x < 4503599627370496.0)) return x;
    double whole = (double)(int64_t)x;
    return whole < x ? whole + 1 : whole;
}

_Alignas(64) unsigned char toro_heap_state[1152 + TORO_MAXIMUM_CORES * 384];

// The heap is Swift: see Heap+Runtime.swift. `malloc` and `posix_memalign` must not fail for the
// runtime, which cannot throw; `toro_allocate` may.
void *toro_heap_allocate(size_t size, size_t alignment);
void toro_heap_deallocate(void *memory);
bool toro_heap_is_scarce(size_t size);
void *toro_heap_reallocate(void *memory, size_t size);
size_t toro_heap_usable_size(const void *memory);
void toro_heap_exhausted(size_t size) __attribute__((noreturn));

// Who can do without leaves the last frames to the runtime, which cannot.
void *toro_allocate(size_t size, size_t alignment) {
    return toro_heap_is_scarce(0) ? NULL : toro_heap_allocate(size, alignment);
}

bool toro_has_memory(size_t size) { return !toro_heap_is_scarce(size); }

void *malloc(size_t size) {
    void *memory = toro_heap_allocate(size, 16);
    if (memory == NULL) toro_heap_exhausted(size);
    return memory;
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    *memory = toro_heap_allocate(size, alignment);
    if (*memory == NULL) toro_heap_exhausted(size);
    return 0;
}

void *realloc(void *memory, size_t size) {
    void *moved = memory == NULL ? toro_heap_allocate(size, 16) : toro_heap_reallocate(memory, size);
    if (moved == NULL) toro_heap_exhausted(size);
    return moved;
}

void free(void *memory) {
    if (memory != NULL) toro_heap_deallocate(memory);
}

void toro_deallocate(void *memory) { free(memory); }

size_t malloc_usable_size(void *memory) {
    return memory == NULL ? 0 : toro_heap_usable_size(memory);
}

// The console: see Console.swift.
void toro_console_put(uint8_t byte);
void toro_fatal(const char *cause) __attribute__((noreturn));

int putchar(int c) {
    toro_console_put((uint8_t)c);
    return c;
}

int puts(const char *text) {
    while (*text != 0) toro_console_put((uint8_t)*text++);
    toro_console_put('\n');
    return 0;
}

// The runtime formats its fatal errors with these; the text without its numbers says enough, and
// the panic report says the rest.
int vprintf(const char *format, va_list arguments) {
    (void)arguments;
    while (*format != 0) toro_console_put((uint8_t)*format++);
    return 0;
}

int vsnprintf(char *to, size_t size, const char *format, va_list arguments) {
    (void)arguments;
    size_t n = strlen(format);
    if (size != 0) {
        size_t kept = n < size ? n : size - 1;
        memcpy(to, format, kept);
        to[kept] = 0;
    }
    return (int)n;
}

void abort(void) { toro_fatal("the Swift runtime gave up (abort)"); }
void exit(int status) {
    (void)status;
    toro_fatal("the Swift runtime ended the program (exit)");
}
void __stack_chk_fail(void) { toro_fatal("a stack buffer was overrun (stack protector)"); }
void __cxa_pure_virtual(void) { toro_fatal("a pure virtual function was called"); }
void _ZSt20__throw_length_errorPKc(const char *what) {
    (void)what;
    toro_fatal("a container of the Swift runtime grew too long");
}

// Hashing seeds of Dictionary and Set.
void arc4random_buf(void *to, size_t n) {
    unsigned char *at = to;
    for (; n != 0; at++, n--) *at = (unsigned char)toro_random();
}

uint64_t toro_random(void) {
    static bool known, available;
    if (!known) {
        available = (toro_cpuid(1).ecx >> 30 & 1) != 0;
        known = true;
    }
    // RDRAND may fail for a moment (Intel's guide: try ten times).
    for (int attempt = 0; available && attempt < 10; attempt++) {
        uint64_t value;
        unsigned char valid;
        __asm__ volatile("rdrand %0; setc %1" : "=r"(value), "=qm"(valid)::"cc");
        if (valid) return value;
    }
    return toro_rdtsc() * 0x9e3779b97f4a7c15u;
}
#endif
