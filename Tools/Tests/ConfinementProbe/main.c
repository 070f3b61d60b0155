// SPDX-License-Identifier: Apache-2.0
//
// Confines itself as the vsock device does, and says which of the calls that an intruder would make
// still work. With the argument "compat" it makes a call of another architecture instead; with
// "container" it becomes the program that follows, without the calls that containers refuse.
#define _GNU_SOURCE
#include "CHostShims.h"
#include "CSeccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int pair[2];

static void report(const char *name, long result) {
    const char *how = result != -1 ? "done" : errno == EPERM ? "refused" : "failed";
    char line[64];
    (void)!write(1, line, (size_t)snprintf(line, sizeof line, "%s: %s\n", name, how));
}

static long move_bytes(void) {
    char byte;
    return write(pair[0], "x", 1) == 1 && read(pair[1], &byte, 1) == 1 ? 0 : -1;
}

static long allocate(void) {
    size_t size = 64 << 20;
    char *block = malloc(size);
    if (!block) return -1;
    memset(block, 1, size);
    free(block);
    return 0;
}

// Refuses what the default profile of Docker refuses to a root without CAP_SYS_ADMIN.
static int become_contained(char **program) {
    static const unsigned refused[] = {SYS_unshare, SYS_mount, SYS_umount2, SYS_setns,
                                       428 /* open_tree */, 429 /* move_mount */,
                                       442 /* mount_setattr */};
    struct toro_filter filter;
    toro_filter_begin(&filter);
    for (size_t index = 0; index < sizeof refused / sizeof *refused; index++)
        toro_filter_answer(&filter, refused[index], FAIL_WITH(EPERM));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        toro_filter_install(&filter, SECCOMP_RET_ALLOW, 0) != 0)
        return 2;
    execvp(program[0], program);
    return 2;
}

int main(int count, char **arguments) {
    if (count > 2 && strcmp(arguments[1], "container") == 0) return become_contained(arguments + 2);
    char *none[] = {NULL};
    long program[4] = {0};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return 2;
    int file = open("/dev/null", O_RDWR);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (toro_confine_device(0x70000001, 0) != 0) {
        perror("confine");
        return 2;
    }
    if (count > 1) {
        // getpid of the 32-bit table.
        long result;
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory");
        return 0;
    }
    report("bytes", move_bytes());
    report("memory", allocate());
    report("queue", ioctl(pair[0], TIOCOUTQ, program) == -1 ? -1 : 0);
    report("user", geteuid() == 0 ? -1 : 0);
    errno = EPERM;
    report("open", syscall(SYS_open, "/etc/passwd", O_RDONLY));
    report("openat", open("/etc/passwd", O_RDONLY));
    report("openat2", syscall(437, AT_FDCWD, "/etc/passwd", program, 24));
    report("execve", execve("/bin/true", none, none));
    report("execveat", syscall(SYS_execveat, file, "", none, none, AT_EMPTY_PATH));
    report("fork", syscall(SYS_fork));
    report("clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    report("clone3", syscall(435, program, sizeof program));
    report("socket", socket(AF_INET, SOCK_STREAM, 0));
    report("connect", connect(pair[0], NULL, 0));
    report("bind", bind(pair[0], NULL, 0));
    report("unlink", unlink("/nonexistent"));
    report("stat", syscall(SYS_stat, "/etc/passwd", program));
    report("chmod", chmod("/etc/passwd", 0644));
    report("kill", kill(getppid(), 0));
    report("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    report("setuid", syscall(SYS_setuid, 0));
    report("prctl", syscall(SYS_prctl, 15, "name", 0, 0, 0));
    report("uring", syscall(425, 1, program));
    report("tiocsti", ioctl(file, TIOCSTI, "x"));
    report("code", mprotect(page, 4096, PROT_READ | PROT_EXEC));
    report("code2", (long)mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    return 0;
}
