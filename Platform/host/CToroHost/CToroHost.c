// SPDX-License-Identifier: Apache-2.0
#ifndef TORO_MICROVM
#define _GNU_SOURCE
#include "CToroHost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

// linux/openat2.h is younger than some systems' headers.
struct open_how_v0 {
    uint64_t flags, mode, resolve;
};
#define NO_MAGIC_LINKS 0x02
#define BENEATH 0x08

int32_t toro_host_open_beneath(int32_t folder, const char *path, uint64_t flags) {
    struct open_how_v0 how = {.flags = flags | O_CLOEXEC, .resolve = BENEATH | NO_MAGIC_LINKS};
    // EAGAIN: somebody renamed on the way, and the kernel cannot tell where `..` leads.
    for (int attempt = 0; attempt < 16; attempt++) {
        long file = syscall(SYS_openat2, folder, path, &how, sizeof how);
        if (file >= 0) return (int32_t)file;
        if (errno != EAGAIN && errno != EINTR) break;
    }
    return -errno;
}

uint64_t toro_host_path_only(void) { return O_PATH; }

int32_t toro_host_epoll(void) {
    int file = epoll_create1(EPOLL_CLOEXEC);
    return file < 0 ? -errno : file;
}

int32_t toro_host_watch(int32_t epoll, int32_t file, uint64_t token) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data = {.u64 = token}};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event) == 0 ? 0 : -errno;
}

int32_t toro_host_wait(int32_t epoll, uint64_t *tokens, int64_t nanoseconds) {
    struct epoll_event found[64];
    // Rounded up: a timer must not fire early.
    int64_t limit = nanoseconds < 0 ? -1 : (nanoseconds + 999999) / 1000000;
    if (limit > 1 << 30) limit = 1 << 30;
    int count = epoll_wait(epoll, found, 64, (int)limit);
    for (int index = 0; index < count; index++) tokens[index] = found[index].data.u64;
    return count < 0 ? 0 : count;
}

int32_t toro_host_event(void) {
    int file = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return file < 0 ? -errno : file;
}

static int32_t open_socket(const char *host, uint16_t port, int passive, struct addrinfo **found) {
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    int error = getaddrinfo(host, service, &hints, found);
    if (error != 0) return -10000 + error;
    int file = socket((*found)->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (file >= 0) return file;
    int result = -errno;
    freeaddrinfo(*found);
    return result;
}

int32_t toro_host_listen(const char *host, uint16_t port, int32_t backlog, uint16_t *bound) {
    struct addrinfo *found;
    int32_t file = open_socket(host, port, 1, &found);
    if (file < 0) return file;
    int one = 1, error = 0;
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (bind(file, found->ai_addr, found->ai_addrlen) != 0 || listen(file, backlog) != 0 ||
        getsockname(file, (struct sockaddr *)&address, &length) != 0)
        error = errno;
    else
        // The port is at the same place in IPv4's and IPv6's addresses.
        *bound = ntohs(((struct sockaddr_in *)&address)->sin_port);
    freeaddrinfo(found);
    if (error == 0) return file;
    close(file);
    return -error;
}

int32_t toro_host_connect(const char *host, uint16_t port) {
    struct addrinfo *found;
    int32_t file = open_socket(host, port, 0, &found);
    if (file < 0) return file;
    int error = connect(file, found->ai_addr, found->ai_addrlen) == 0 ? 0 : errno;
    freeaddrinfo(found);
    if (error == 0 || error == EINPROGRESS) return file;
    close(file);
    return -error;
}

int32_t toro_host_connected(int32_t socket) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -errno;
    if (error != 0) return -error;
    struct sockaddr_storage peer;
    length = sizeof peer;
    if (getpeername(socket, (struct sockaddr *)&peer, &length) == 0) return 0;
    return errno == ENOTCONN ? -EINPROGRESS : -errno;
}

void toro_host_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int32_t toro_host_accept(int32_t listener) {
    int file = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (file < 0) return -errno;
    int one = 1;
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return file;
}

int64_t toro_host_send(int32_t socket, const void *first, size_t first_size, const void *second,
                       size_t second_size) {
    struct iovec parts[2] = {{(void *)first, first_size}, {(void *)second, second_size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t count = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    return count < 0 ? -errno : count;
}

int64_t toro_host_drop(int32_t socket) {
    char bytes[16384];
    ssize_t count = recv(socket, bytes, sizeof bytes, MSG_DONTWAIT);
    return count < 0 ? -errno : count;
}

int64_t toro_host_unsent(int32_t socket) {
    int count = 0;
    return ioctl(socket, SIOCOUTQ, &count) == 0 ? count : 0;
}

void toro_host_reset_on_close(int32_t socket) {
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

int32_t toro_host_stat(int32_t file, struct toro_host_status *status) {
    struct stat found;
    if (fstat(file, &found) != 0) return -errno;
    status->identity = found.st_ino;
    status->size = (uint64_t)found.st_size;
    status->seconds = found.st_mtim.tv_sec;
    status->nanoseconds = (uint32_t)found.st_mtim.tv_nsec;
    status->mode = found.st_mode;
    return 0;
}
#endif
