// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLauncher.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// Linux numbers, for headers that are older than the calls.
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#define ALL_MOUNTS_BELOW 0x8000 // AT_RECURSIVE
#define MOUNT_READ_ONLY 1       // MOUNT_ATTR_RDONLY
#define KEEP_ON_EXEC_NOTHING 4  // CLOSE_RANGE_CLOEXEC

// linux/mount.h cannot be included beside sys/mount.h everywhere.
struct mount_attributes {
    uint64_t set, clear, propagation, user_namespace;
};

static int write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t count = write(file, text, strlen(text));
    close(file);
    return count == (ssize_t)strlen(text) ? 0 : -1;
}

// A mount namespace of its own. An ordinary user is root in a user namespace that has one user.
static int enter_namespace(const char *user_map, const char *group_map, int is_root) {
    if (unshare(is_root ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) return -1;
    if (!is_root) {
        if (write_file("/proc/self/setgroups", "deny") != 0 && errno != ENOENT) return -1;
        if (write_file("/proc/self/uid_map", user_map) != 0) return -1;
        if (write_file("/proc/self/gid_map", group_map) != 0) return -1;
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return -1;
    return 0;
}

// Makes the folder and all mounts below it read-only in this mount namespace.
static int make_read_only(const char *folder) {
    // The root cannot be covered: a path that begins there would not see the new mount.
    if (strcmp(folder, "/") != 0 && mount(folder, folder, NULL, MS_BIND | MS_REC, NULL) != 0)
        return -1;
    struct mount_attributes attributes = {.set = MOUNT_READ_ONLY};
    if (syscall(SYS_mount_setattr, AT_FDCWD, folder, ALL_MOUNTS_BELOW, &attributes,
                sizeof attributes) != 0)
        return -1;
    struct statvfs view;
    if (statvfs(folder, &view) != 0) return -1;
    if ((view.f_flag & ST_RDONLY) == 0) {
        errno = EROFS;
        return -1;
    }
    return 0;
}

static int set_descriptors(const struct toro_part *part) {
    for (int index = 0; index < 3; index++) {
        int source = part->standard[index];
        if (source < 0) source = open("/dev/null", O_RDWR);
        if (source < 0 || dup2(source, index) < 0) return -1;
    }
    if (syscall(SYS_close_range, 3, ~0U, KEEP_ON_EXEC_NOTHING) != 0 && errno != ENOSYS) return -1;
    for (size_t index = 0; index < part->kept_count; index++)
        if (fcntl(part->kept[index], F_SETFD, 0) != 0) return -1;
    return 0;
}

static void reset_signals(void) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) sigaction(number, &standard, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

pid_t toro_start(const struct toro_part *part, struct toro_failure *failure) {
    int report[2];
    failure->stage = TORO_STAGE_FORK;
    if (pipe2(report, O_CLOEXEC) != 0) {
        failure->error = errno;
        return -1;
    }
    // Nothing but system calls between fork and exec: other threads may hold locks.
    char user_map[64], group_map[64];
    snprintf(user_map, sizeof user_map, "0 %u 1", (unsigned)geteuid());
    snprintf(group_map, sizeof group_map, "0 %u 1", (unsigned)getegid());
    int is_root = geteuid() == 0;
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) {
        failure->error = errno;
        close(report[0]);
        close(report[1]);
        return -1;
    }
    if (child == 0) {
        struct toro_failure mine = {.stage = TORO_STAGE_DESCRIPTORS};
        setpgid(0, 0);
        reset_signals();
        if (set_descriptors(part) != 0) goto failed;
        mine.stage = TORO_STAGE_NAMESPACE;
        if (part->is_private && enter_namespace(user_map, group_map, is_root) != 0) goto failed;
        mine.stage = TORO_STAGE_READ_ONLY;
        if (part->read_only && make_read_only(part->read_only) != 0) goto failed;
        // After the namespaces: a change of credentials would forget it.
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(127);
        mine.stage = TORO_STAGE_EXEC;
        execv(part->program, part->arguments);
    failed:
        mine.error = errno;
        (void)!write(report[1], &mine, sizeof mine);
        _exit(127);
    }
    close(report[1]);
    ssize_t count;
    do count = read(report[0], failure, sizeof *failure);
    while (count < 0 && errno == EINTR);
    close(report[0]);
    if (count == 0) return child;
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    return -1;
}

int32_t toro_pidfd(pid_t child) { return (int32_t)syscall(SYS_pidfd_open, child, 0); }

static volatile sig_atomic_t signal_descriptor = -1;

static void note_signal(int number) {
    int saved = errno;
    unsigned char byte = (unsigned char)number;
    int descriptor = signal_descriptor;
    if (descriptor >= 0) (void)!write(descriptor, &byte, 1);
    errno = saved;
}

void toro_watch_signals(int32_t descriptor) {
    struct sigaction action = {.sa_handler = descriptor < 0 ? SIG_DFL : note_signal};
    action.sa_flags = SA_RESTART;
    signal_descriptor = descriptor;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    // Whoever started us may have blocked them, as threads of Dispatch do.
    sigset_t watched;
    sigemptyset(&watched);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGHUP);
    if (descriptor >= 0) sigprocmask(SIG_UNBLOCK, &watched, NULL);
    struct sigaction ignored = {.sa_handler = descriptor < 0 ? SIG_DFL : SIG_IGN};
    sigaction(SIGPIPE, &ignored, NULL);
}

static int address_of(const char *path, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address->sun_path, path);
    return 0;
}

int32_t toro_connect(const char *path) {
    struct sockaddr_un address;
    if (address_of(path, &address) != 0) return -1;
    int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0) return -1;
    if (connect(file, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(file);
        errno = error;
        return -1;
    }
    return file;
}

int32_t toro_socket_pair_by_path(const char *path, int32_t *listener, int32_t *connection) {
    struct sockaddr_un address;
    if (address_of(path, &address) != 0) return errno;
    int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0) return errno;
    int error = 0, other = -1;
    if (bind(file, (struct sockaddr *)&address, sizeof address) != 0 || listen(file, 1) != 0)
        error = errno;
    else if ((other = toro_connect(path)) < 0)
        error = errno;
    unlink(path);
    if (error != 0) {
        close(file);
        return error;
    }
    *listener = file;
    *connection = other;
    return 0;
}

int32_t toro_pipe(int32_t *ends) { return pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno; }
