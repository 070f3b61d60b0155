// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLauncher.h"
#include "CloseRange.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// What the child says, beside the descriptor: at last, and before that with each piece of what the
// file holds, which follows.
struct answer {
    int32_t error;
    uint32_t mode, user, group;
    int32_t goes_on;
};

#define PIECE (1 << 15)

union control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
};

// The descriptor of this process that a path leads through, or -1: a shell's <(…) is /dev/fd/63.
static int named_descriptor(const char *path) {
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};
    if (strcmp(path, "/dev/stdin") == 0) return STDIN_FILENO;
    for (size_t index = 0; index < sizeof folders / sizeof *folders; index++) {
        const char *digits = path + strlen(folders[index]);
        if (strncmp(path, folders[index], strlen(folders[index])) == 0 && *digits >= '0' &&
            *digits <= '9')
            return (int)strtol(digits, NULL, 10);
    }
    return -1;
}

// Closes every descriptor but these, of which -1 is none: nobody waits for the end of what a process
// may hold for ever.
static void keep_only(int one, int other) {
    int nothing = open("/dev/null", O_RDWR);
    for (int file = 0; file < 3; file++)
        if (file != one && file != other) dup2(nothing, file);
    int low = one < other ? one : other, high = one < other ? other : one;
    unsigned first = 3;
    for (int index = 0; index < 2; index++) {
        int file = index == 0 ? low : high;
        if (file < (int)first) continue;
        if (file > (int)first) toro_close_range(first, (unsigned)file - 1, 0);
        first = (unsigned)file + 1;
    }
    toro_close_range(first, ~0U, 0);
}

static int say(int socket, struct answer *answer, void *piece, size_t size, int file) {
    struct iovec parts[] = {{answer, sizeof *answer}, {piece, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    union control control;
    if (file >= 0) {
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof file);
        memcpy(CMSG_DATA(&control.head), &file, sizeof file);
    }
    while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        if (errno != EINTR) return -1;
    return 0;
}

// Says what a file holds, or its beginning when that is beyond the limit. Returns 0 or an errno.
static int say_contents(int file, size_t limit, int socket, struct answer *answer) {
    static char piece[PIECE];
    answer->goes_on = 1;
    for (size_t total = 0; total <= limit;) {
        ssize_t count = read(file, piece, sizeof piece);
        if (count == 0) break;
        if (count < 0 && errno == EAGAIN) {
            poll(&(struct pollfd){file, POLLIN, 0}, 1, -1);
            continue;
        }
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno;
        total += (size_t)count;
        if (say(socket, answer, piece, (size_t)count, -1) != 0) return errno;
    }
    return 0;
}

// The life of the child: system calls only, as other threads may have held locks.
static _Noreturn void answer_in_child(
    const char *path, struct toro_question question, int reads, int socket) {
    keep_only(socket, named_descriptor(path));
    struct answer answer = {0};
    struct stat status;
    int file = open(path, question.flags | (reads ? O_RDONLY | O_NONBLOCK : O_PATH));
    if (file < 0 || fstat(file, &status) != 0) {
        answer.error = errno;
    } else {
        answer = (struct answer){0, status.st_mode, status.st_uid, status.st_gid, 0};
        if (reads && S_ISDIR(status.st_mode))
            answer.error = EISDIR;
        else if (reads && question.is_regular && !S_ISREG(status.st_mode))
            answer.error = EINVAL;
        else if (reads)
            answer.error = say_contents(file, question.limit, socket, &answer);
    }
    answer.goes_on = 0;
    int given = answer.error == 0 && !reads ? file : -1;
    _exit(say(socket, &answer, NULL, 0, given) != 0);
}

// Takes what the child says next. Returns 0 or an errno, and whether more comes.
static int32_t take(
    int socket, struct toro_file *file, struct toro_contents *contents, int32_t *goes_on) {
    struct answer answer;
    static _Thread_local char piece[PIECE];
    struct iovec parts[] = {{&answer, sizeof answer}, {piece, sizeof piece}};
    union control control;
    struct msghdr message = {.msg_iov = parts,
                             .msg_iovlen = 2,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    *goes_on = 0;
    ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (count < (ssize_t)sizeof answer) return ECHILD;
    if (answer.error != 0) return answer.error;
    *goes_on = answer.goes_on;
    file->mode = answer.mode;
    file->user = answer.user;
    file->group = answer.group;
    size_t size = (size_t)count - sizeof answer;
    if (contents && size > 0) {
        void *larger = realloc(contents->bytes, contents->count + size);
        if (!larger) {
            *goes_on = 0;
            return ENOMEM;
        }
        contents->bytes = larger;
        memcpy(contents->bytes + contents->count, piece, size);
        contents->count += size;
    }
    if (contents) return 0;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (!head || head->cmsg_type != SCM_RIGHTS) return EMFILE;
    memcpy(&file->descriptor, CMSG_DATA(head), sizeof(int));
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

int32_t toro_ask(const char *path, struct toro_question question, struct toro_file *file,
                 struct toro_contents *contents) {
    *file = (struct toro_file){.descriptor = -1};
    if (contents) *contents = (struct toro_contents){0};
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
        answer_in_child(path, question, contents != NULL, ends[1]);
    }
    close(ends[1]);
    struct pollfd waits[] = {{ends[0], POLLIN, 0}, {toro_signal_reader(), POLLIN, 0}};
    int32_t error = 0, goes_on = 1;
    while (goes_on) {
        while (poll(waits, 2, -1) < 0 && errno == EINTR) {}
        if (waits[0].revents == 0) break;
        error = take(ends[0], file, contents, &goes_on);
    }
    close(ends[0]);
    if (goes_on) {
        error = EINTR;
        file->waiting = kill_soon(child);
    } else {
        // It may be about to say more than there is room for here.
        kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    }
    if (error != 0 && contents) {
        free(contents->bytes);
        *contents = (struct toro_contents){0};
    }
    return error;
}
