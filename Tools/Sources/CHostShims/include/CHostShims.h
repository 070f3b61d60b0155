// SPDX-License-Identifier: Apache-2.0
//
// What the host's device back ends need that Swift cannot say: descriptors beside bytes on a
// socket, and single accesses to memory that a guest changes at the same time.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>

/// Receives bytes and the descriptors sent with them, which are close-on-exec; `count` says how
/// many `descriptors` may take and then how many there are. Returns recvmsg's result.
ssize_t toro_receive(int32_t socket, void *_Nonnull bytes, size_t length,
                     int32_t *_Nonnull descriptors, size_t *_Nonnull count);

/// Sends bytes and descriptors. Returns sendmsg's result.
ssize_t toro_send(int32_t socket, const void *_Nonnull bytes, size_t length,
                  const int32_t *_Nullable descriptors, size_t count);

/// Accepts a connection, non-blocking and close-on-exec; -1 with errno.
int32_t toro_accept(int32_t listener);

/// How many bytes sit in the socket's send queue: written, and not yet taken by the peer's host (of
/// a Unix socket: by the peer, with what their buffers cost). -1 with errno (tcp(7), SIOCOUTQ).
int32_t toro_unsent(int32_t socket);

/// Receives up to 64 KiB and throws them away. Returns recv's result.
ssize_t toro_discard(int32_t socket);

/// The error that the socket has met, which it forgets by that; 0 if there is none.
int32_t toro_error(int32_t socket);

/// Whether an event descriptor holds a count that nobody has read.
int32_t toro_is_unread(int32_t file);

/// Whether a mapping of that many bytes of the file can never lose its pages: a file that is
/// sealed against shrinking and is large enough.
int32_t toro_cannot_shrink(int32_t file, uint64_t size);

/// A sealed memory file of that size, or -1 with errno.
int32_t toro_make_memory(uint64_t size);

/// Maps the first `length` bytes of a file for reading and writing; NULL with errno. In what is built
/// with AddressSanitizer, an access to the first `hidden` bytes or to those behind the last one is
/// an error that it names: it knows nothing of mappings by itself.
void *_Nullable toro_map(int32_t file, size_t length, size_t hidden);

/// Ends a mapping of that many bytes that `toro_map` made.
void toro_unmap(void *_Nonnull start, size_t length);

static inline uint16_t toro_load16(const void *_Nonnull address) {
    return __atomic_load_n((const uint16_t *)address, __ATOMIC_ACQUIRE);
}

static inline uint64_t toro_load64(const void *_Nonnull address) {
    return __atomic_load_n((const uint64_t *)address, __ATOMIC_RELAXED);
}

static inline void toro_store16(void *_Nonnull address, uint16_t value) {
    __atomic_store_n((uint16_t *)address, value, __ATOMIC_RELEASE);
}

static inline void toro_store32(void *_Nonnull address, uint32_t value) {
    __atomic_store_n((uint32_t *)address, value, __ATOMIC_RELAXED);
}

/// The bits of epoll(7), which is a union away from Swift.
enum {
    TORO_READABLE = EPOLLIN,
    TORO_WRITABLE = EPOLLOUT,
    TORO_FINISHED = EPOLLRDHUP,
    TORO_ERROR = EPOLLERR,
    TORO_BROKEN = EPOLLHUP | EPOLLERR,
};
#define TORO_EDGES 0x80000000u

/// Adds a file to an epoll descriptor; its events come with `token`. Returns 0, or -1 with errno.
int32_t toro_epoll_add(int32_t epoll, int32_t file, uint32_t events, uint64_t token);

/// Waits for events: up to `limit` of them, with their tokens. Returns epoll_wait's result.
int32_t toro_epoll_wait(int32_t epoll, uint64_t *_Nonnull tokens, uint32_t *_Nonnull events,
                        int32_t limit, int32_t timeout);

/// A full fence: between publishing an index or event and reading the other side's.
static inline void toro_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/// Gives up, for good, what a back end needs no more once its sockets listen. Root becomes `user`;
/// there are no capabilities and no new privileges; a filter of system calls allows what moves bytes
/// between what is open, and answers EPERM to everything else: no file is opened, no program
/// started, no address connected to. Whoever `removes_names` of its Unix sockets at its end keeps its
/// user and may still remove names. Returns 0, or -1 with errno. x86-64 only.
int32_t toro_confine_device(uint32_t user, int32_t removes_names);
