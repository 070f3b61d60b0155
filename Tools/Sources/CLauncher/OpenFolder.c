// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLauncher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

// What the child says, beside the descriptor.
struct answer {
    int32_t error;
    uint32_t user, group;
};

union control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
};

// The life of the child: system calls only, as other threads may have held locks.
static _Noreturn void open_in_child(const char *path, int socket) {
    // Nobody waits for the end of what this may hold for ever.
    int nothing = open("/dev/null", O_RDWR);
    for (int file = 0; file < 3; file++) dup2(nothing, file);
    if (socket != 3) dup2(socket, 3);
    syscall(SYS_close_range, 4, ~0U, 0);
    struct answer answer = {0};
    struct stat status;
    int folder = open(path, O_PATH | O_DIRECTORY);
    if (folder < 0 || fstat(folder, &status) != 0) {
        answer.error = errno;
    } else {
        answer.user = status.st_uid;
        answer.group = status.st_gid;
    }
    struct iovec bytes = {&answer, sizeof answer};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    union control control;
    if (answer.error == 0) {
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof folder);
        memcpy(CMSG_DATA(&control.head), &folder, sizeof folder);
    }
    _exit(sendmsg(3, &message, MSG_NOSIGNAL) < 0);
}

static int32_t take(int socket, struct toro_folder *folder) {
    struct answer answer;
    struct iovec bytes = {&answer, sizeof answer};
    union control control;
    struct msghdr message = {.msg_iov = &bytes,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != sizeof answer) return ECHILD;
    if (answer.error != 0) return answer.error;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (!head || head->cmsg_type != SCM_RIGHTS) return EMFILE;
    memcpy(&folder->descriptor, CMSG_DATA(head), sizeof(int));
    folder->user = answer.user;
    folder->group = answer.group;
    return 0;
}

// Kills a child; its number if it does not end, else 0.
static pid_t kill_soon(pid_t child) {
    kill(child, SIGKILL);
    for (int turn = 0; turn < 100; turn++) {
        pid_t ended = waitpid(child, NULL, WNOHANG);
        if (ended == child || (ended < 0 && errno != EINTR)) return 0;
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    return child;
}

int32_t toro_open_folder(const char *path, struct toro_folder *folder) {
    *folder = (struct toro_folder){.descriptor = -1};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return errno;
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) {
        int error = errno;
        close(ends[0]);
        close(ends[1]);
        return error;
    }
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        open_in_child(path, ends[1]);
    }
    close(ends[1]);
    struct pollfd waits[] = {{ends[0], POLLIN, 0}, {toro_signal_reader(), POLLIN, 0}};
    while (poll(waits, 2, -1) < 0 && errno == EINTR) {}
    int32_t error = EINTR;
    if (waits[0].revents != 0) {
        error = take(ends[0], folder);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    } else {
        folder->waiting = kill_soon(child);
    }
    close(ends[0]);
    return error;
}
