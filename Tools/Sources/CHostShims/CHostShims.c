// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CHostShims.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTOR_LIMIT 16

ssize_t toro_receive(int32_t socket, void *bytes, size_t length, int32_t *descriptors,
                     size_t *count) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * DESCRIPTOR_LIMIT)];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t result = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    size_t room = *count;
    *count = 0;
    if (result < 0) return result;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item; item = CMSG_NXTHDR(&message, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
        size_t there = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < there; index++) {
            int file;
            memcpy(&file, CMSG_DATA(item) + index * sizeof(int), sizeof file);
            if (*count < room)
                descriptors[(*count)++] = file;
            else
                close(file);
        }
    }
    return result;
}

ssize_t toro_send(int32_t socket, const void *bytes, size_t length, const int32_t *descriptors,
                  size_t count) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int) * DESCRIPTOR_LIMIT)];
    } control;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > DESCRIPTOR_LIMIT) count = DESCRIPTOR_LIMIT;
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *item = CMSG_FIRSTHDR(&message);
        item->cmsg_level = SOL_SOCKET;
        item->cmsg_type = SCM_RIGHTS;
        item->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(item), descriptors, sizeof(int) * count);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int32_t toro_accept(int32_t listener) {
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

int32_t toro_unsent(int32_t socket) {
    int count;
    return ioctl(socket, SIOCOUTQ, &count) == 0 ? count : -1;
}

ssize_t toro_discard(int32_t socket) {
    char bytes[1 << 16];
    return recv(socket, bytes, sizeof bytes, MSG_DONTWAIT);
}

int32_t toro_error(int32_t socket) {
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

int32_t toro_is_unread(int32_t file) {
    struct pollfd wait = {.fd = file, .events = POLLIN};
    return poll(&wait, 1, 0) == 1 && (wait.revents & POLLIN) != 0;
}

int32_t toro_cannot_shrink(int32_t file, uint64_t size) {
    struct stat status;
    int seals = fcntl(file, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && fstat(file, &status) == 0 &&
           status.st_size >= 0 && (uint64_t)status.st_size >= size;
}

int32_t toro_make_memory(uint64_t size) {
    int file = memfd_create("toro", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) return -1;
    if (ftruncate(file, (off_t)size) != 0 || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) != 0) {
        close(file);
        return -1;
    }
    return file;
}

int32_t toro_epoll_add(int32_t epoll, int32_t file, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event);
}

int32_t toro_epoll_wait(int32_t epoll, uint64_t *tokens, uint32_t *events, int32_t limit,
                        int32_t timeout) {
    struct epoll_event found[64];
    if (limit > 64) limit = 64;
    int count = epoll_wait(epoll, found, limit, timeout);
    for (int index = 0; index < count; index++) {
        tokens[index] = found[index].data.u64;
        events[index] = found[index].events;
    }
    return count;
}

#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>

// A page of nothing behind the file's.
static size_t reserved(size_t length) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (length + page - 1) / page * page + page;
}

void *toro_map(int32_t file, size_t length, size_t hidden) {
    size_t whole = reserved(length);
    char *start = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    if (mmap(start, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) ==
        MAP_FAILED) {
        munmap(start, whole);
        return NULL;
    }
    __asan_poison_memory_region(start, hidden);
    __asan_poison_memory_region(start + length, whole - length);
    return start;
}

void toro_unmap(void *start, size_t length) {
    __asan_unpoison_memory_region(start, reserved(length));
    munmap(start, reserved(length));
}
#else
void *toro_map(int32_t file, size_t length, size_t hidden) {
    (void)hidden;
    void *start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return start == MAP_FAILED ? NULL : start;
}

void toro_unmap(void *start, size_t length) { munmap(start, length); }
#endif
