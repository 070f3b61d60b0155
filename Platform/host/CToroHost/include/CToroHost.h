// SPDX-License-Identifier: Apache-2.0
//
// The system calls of ToroHost that Swift's Glibc module does not have. Empty in a guest image.
#pragma once
#ifndef TORO_MICROVM
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// openat2(2) with RESOLVE_BENEATH: no way out of the folder, by `..`, by an absolute link or by a
/// magic one. Returns a close-on-exec descriptor, or a negative errno.
int32_t toro_host_open_beneath(int32_t folder, const char *_Nonnull path, uint64_t flags);

/// O_PATH: a file that is only looked at. The C library hides it behind a feature macro.
uint64_t toro_host_path_only(void);

/// A new epoll descriptor, or a negative errno.
int32_t toro_host_epoll(void);
/// Reports changes of the file, with `token`, until it is closed. Returns 0 or a negative errno.
int32_t toro_host_watch(int32_t epoll, int32_t file, uint64_t token);
/// Waits for up to 64 changes, `nanoseconds` at most (for ever if negative).
int32_t toro_host_wait(int32_t epoll, uint64_t *_Nonnull tokens, int64_t nanoseconds);
/// A new eventfd, or a negative errno.
int32_t toro_host_event(void);

/// Listens on a TCP address; `port` gets the one that was bound. Returns a non-blocking descriptor,
/// or a negative errno; -10000 and less is a getaddrinfo error.
int32_t toro_host_listen(const char *_Nonnull host, uint16_t port, int32_t backlog,
                         uint16_t *_Nonnull bound);
/// Begins to connect to a TCP address. As `toro_host_listen`.
int32_t toro_host_connect(const char *_Nonnull host, uint16_t port);

/// Whether a socket that began to connect is connected: 0, or a negative errno, -EINPROGRESS while
/// the peer has not answered. An error is told once.
int32_t toro_host_connected(int32_t socket);
/// Lets the process have as many descriptors as the system allows it.
void toro_host_raise_file_limit(void);
/// Accepts a connection, non-blocking. A negative errno if there is none.
int32_t toro_host_accept(int32_t listener);
/// Sends two pieces at once. The number of bytes, or a negative errno.
int64_t toro_host_send(int32_t socket, const void *_Nullable first, size_t first_size,
                       const void *_Nullable second, size_t second_size);
/// Reads what a socket has received and forgets it. The number of bytes, 0 at the end of the stream,
/// or a negative errno.
int64_t toro_host_drop(int32_t socket);
/// The bytes sent that the peer's system has not confirmed (SIOCOUTQ), the end of the stream as one
/// of them.
int64_t toro_host_unsent(int32_t socket);
/// Has the socket reset its connection when it is closed (SO_LINGER of no time).
void toro_host_reset_on_close(int32_t socket);
/// The permission, kind and other figures of an open file.
struct toro_host_status {
    uint64_t identity, size;
    int64_t seconds;
    uint32_t nanoseconds, mode;
};
/// fstat(2). 0 or a negative errno.
int32_t toro_host_stat(int32_t file, struct toro_host_status *_Nonnull status);
#endif
