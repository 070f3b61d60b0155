// SPDX-License-Identifier: Apache-2.0
//
// DeadMount WHAT FOLDER MARK PROGRAM...: becomes the program, for which a file system is mounted at
// the folder whose server takes every request and answers none, as that of a network file system
// that has lost its network. No signal ends who waits for an answer (fs/fuse/dev.c). If WHAT is
// "root" it answers what is asked about its empty root folder, but for the name "dead"; if it is
// "nothing" it does not. It writes to the file MARK when somebody waits. It is a child of the
// program's, and ends the waiting with its own end.
//
// DeadMount: is in a wait that only SIGKILL ends.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static void answer(int device, uint64_t request, int error, void *body, size_t size) {
    struct fuse_out_header head = {
        .len = (uint32_t)(sizeof head + size), .error = -error, .unique = request};
    struct iovec parts[] = {{&head, sizeof head}, {body, size}};
    (void)!writev(device, parts, size > 0 ? 2 : 1);
}

static int answer_root(int device, const struct fuse_in_header *request) {
    struct fuse_attr_out attributes = {
        .attr = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2, .uid = getuid(), .gid = getgid()}};
    struct fuse_statfs_out system = {.st = {.bsize = 4096, .namelen = 255, .frsize = 4096}};
    struct fuse_open_out opened = {0};
    if (request->nodeid != FUSE_ROOT_ID) return 0;
    switch (request->opcode) {
    case FUSE_LOOKUP:
        // The name, with its NUL, is what follows.
        if (strcmp((const char *)(request + 1), "dead") == 0) return 0;
        answer(device, request->unique, ENOENT, NULL, 0);
        return 1;
    case FUSE_GETATTR:
        answer(device, request->unique, 0, &attributes, sizeof attributes);
        return 1;
    case FUSE_STATFS:
        answer(device, request->unique, 0, &system, sizeof system);
        return 1;
    case FUSE_OPENDIR:
        answer(device, request->unique, 0, &opened, sizeof opened);
        return 1;
    case FUSE_ACCESS:
    case FUSE_READDIR:
    case FUSE_RELEASEDIR:
        answer(device, request->unique, 0, NULL, 0);
        return 1;
    default:
        // The kernel asks another way or does without: extended attributes, FUSE_STATX of Linux 6.6.
        answer(device, request->unique, ENOSYS, NULL, 0);
        return 1;
    }
}

static _Noreturn void serve(int device, int has_root, int mark) {
    static _Alignas(8) char buffer[1 << 17];
    // Nobody reads a pipe to its end while this holds it, and no terminal's signal ends this.
    int nothing = open("/dev/null", O_RDWR);
    for (int file = 0; file < 3; file++) dup2(nothing, file);
    for (int file = 3; file < 1024; file++)
        if (file != device && file != mark) close(file);
    setsid();
    alarm(900);
    for (;;) {
        ssize_t count = read(device, buffer, sizeof buffer);
        if (count < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) continue;
        if (count < (ssize_t)sizeof(struct fuse_in_header)) _exit(0);
        struct fuse_in_header *request = (void *)buffer;
        struct fuse_init_out hello = {
            .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096, .time_gran = 1};
        if (request->opcode == FUSE_INIT)
            answer(device, request->unique, 0, &hello, sizeof hello);
        else if (request->opcode != FUSE_FORGET && request->opcode != FUSE_BATCH_FORGET &&
                 request->opcode != FUSE_INTERRUPT && !(has_root && answer_root(device, request)))
            (void)!write(mark, "w", 1);
    }
}

static int write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t count = write(file, text, strlen(text));
    close(file);
    return count < 0 ? -1 : 0;
}

static int enter_namespace(void) {
    char users[32], groups[32];
    snprintf(users, sizeof users, "0 %u 1", geteuid());
    snprintf(groups, sizeof groups, "0 %u 1", getegid());
    if (geteuid() == 0) {
        if (unshare(CLONE_NEWNS) != 0) return -1;
    } else if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
               write_file("/proc/self/setgroups", "deny") != 0 ||
               write_file("/proc/self/uid_map", users) != 0 ||
               write_file("/proc/self/gid_map", groups) != 0) {
        return -1;
    }
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

int main(int count, char **arguments) {
    // Its parent goes on when it has ended, or another program has begun in it (vfork(2)).
    if (count == 1 && vfork() == 0)
        for (;;) pause();
    if (count < 5) return 64;
    int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    int mark = open(arguments[3], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    char options[80];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
    if (device < 0 || enter_namespace() != 0 ||
        mount("dead", arguments[2], "fuse", MS_NOSUID | MS_NODEV, options) != 0) {
        perror("no FUSE file system can be mounted");
        return 77;
    }
    pid_t server = fork();
    if (server < 0) return 77;
    if (server == 0) serve(device, strcmp(arguments[1], "root") == 0, mark);
    execvp(arguments[4], arguments + 4);
    perror(arguments[4]);
    return 127;
}
