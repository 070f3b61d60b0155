// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CSeccomp.h"
#include "Confinement.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Linux numbers, for headers that are older than the calls.
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#define NUMBER_OPENAT2 437
#define NUMBER_IO_URING_SETUP 425
#define NUMBER_PIDFD_GETFD 438
#define NUMBER_FCHMODAT2 452
#define NUMBER_SETXATTRAT 463
#define NUMBER_REMOVEXATTRAT 466
#define NUMBER_FIRST_UNKNOWN 467
#define CLONE_TREE 1             // OPEN_TREE_CLONE
#define ALL_MOUNTS_BELOW 0x8000  // AT_RECURSIVE
#define FROM_DESCRIPTOR 4        // MOVE_MOUNT_F_EMPTY_PATH
#define MOUNT_READ_ONLY 1        // MOUNT_ATTR_RDONLY
#define MOUNT_NO_SET_ID 2        // MOUNT_ATTR_NOSUID
#define MOUNT_NO_DEVICES 4       // MOUNT_ATTR_NODEV

// linux/mount.h cannot be included beside sys/mount.h everywhere.
struct mount_attributes {
    uint64_t set, clear, propagation, user_namespace;
};

static int write_file(const char *path, const char *text, size_t length) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t count = write(file, text, length);
    int error = errno;
    close(file);
    errno = error;
    return count == (ssize_t)length ? 0 : -1;
}

// MARK: Filters of system calls

#define SET_ID_BITS (S_ISUID | S_ISGID)

// Refuses set-id bits in the mode that is an argument of a call.
static void check_mode(struct toro_filter *filter, unsigned number, unsigned mode) {
    toro_filter_add(filter, IF_EQUAL(number, 0, 4));
    toro_filter_add(filter, LOAD(ARGUMENT(mode)));
    toro_filter_add(filter, IF_ANY_BIT(SET_ID_BITS, 0, 1));
    toro_filter_add(filter, REFUSE);
    toro_filter_add(filter, PERMIT);
}

// The same of a call whose mode counts only if its flags say that a file is made.
static void check_open(struct toro_filter *filter, unsigned number, unsigned flags) {
    toro_filter_add(filter, IF_EQUAL(number, 0, 6));
    toro_filter_add(filter, LOAD(ARGUMENT(flags)));
    toro_filter_add(filter, IF_ANY_BIT(O_CREAT | (O_TMPFILE & ~O_DIRECTORY), 0, 3));
    toro_filter_add(filter, LOAD(ARGUMENT(flags + 1)));
    toro_filter_add(filter, IF_ANY_BIT(SET_ID_BITS, 0, 1));
    toro_filter_add(filter, REFUSE);
    toro_filter_add(filter, PERMIT);
}

// The same of a call that can make device nodes, which it refuses.
static void check_node(struct toro_filter *filter, unsigned number, unsigned mode) {
    toro_filter_add(filter, IF_EQUAL(number, 0, 7));
    toro_filter_add(filter, LOAD(ARGUMENT(mode)));
    toro_filter_add(filter, IF_ANY_BIT(SET_ID_BITS, 4, 0));
    toro_filter_add(filter, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, S_IFMT));
    toro_filter_add(filter, IF_EQUAL(S_IFCHR, 2, 0));
    toro_filter_add(filter, IF_EQUAL(S_IFBLK, 1, 0));
    toro_filter_add(filter, PERMIT);
    toro_filter_add(filter, REFUSE);
}

// Answers that the file system is read-only if an argument has any of these bits.
static void refuse_bits(struct toro_filter *filter, unsigned number, unsigned argument,
                        unsigned bits) {
    toro_filter_add(filter, IF_EQUAL(number, 0, 4));
    toro_filter_add(filter, LOAD(ARGUMENT(argument)));
    toro_filter_add(filter, IF_ANY_BIT(bits, 0, 1));
    toro_filter_add(filter, ANSWER(FAIL_WITH(EROFS)));
    toro_filter_add(filter, PERMIT);
}

// Leaves of ioctl(2) what is about a descriptor or its bytes. What else there is depends on the file
// system, and much of it changes files that are open for reading only.
static void check_controls(struct toro_filter *filter) {
    static const unsigned harmless[] = {FIONBIO, FIOCLEX, FIONCLEX, FIONREAD, TCGETS};
    enum { COUNT = sizeof harmless / sizeof *harmless };
    toro_filter_add(filter, IF_EQUAL(SYS_ioctl, 0, 2 * COUNT + 2));
    toro_filter_add(filter, LOAD(ARGUMENT(1)));
    for (int index = 0; index < COUNT; index++)
        toro_filter_answer(filter, harmless[index], SECCOMP_RET_ALLOW);
    toro_filter_add(filter, ANSWER(FAIL_WITH(ENOTTY)));
}

// Begins a filter that names what it refuses. Calls that are newer than it are refused, too, as on a
// kernel that has none.
static void begin_refusals(struct toro_filter *filter) {
    toro_filter_begin(filter);
    toro_filter_add(filter, IF_AT_LEAST(NUMBER_FIRST_UNKNOWN, 0, 1));
    toro_filter_add(filter, ANSWER(FAIL_WITH(ENOSYS)));
}

// Has unshare(2) of a thread's own folder succeed and do nothing, as some containers refuse unshare
// altogether. virtiofsd asks for it, and changes its folder later for extended attributes only, which
// it has off.
static int ignore_unshare(void) {
    struct toro_filter filter;
    toro_filter_begin(&filter);
    toro_filter_add(&filter, IF_EQUAL(SYS_unshare, 0, 3));
    toro_filter_add(&filter, LOAD(ARGUMENT(0)));
    toro_filter_add(&filter, IF_EQUAL(CLONE_FS, 0, 1));
    toro_filter_add(&filter, ANSWER(SECCOMP_RET_ERRNO));
    return toro_filter_install(&filter, SECCOMP_RET_ALLOW, 0);
}

// Nothing that the process makes or changes gets more rights than whoever runs it has: no set-id
// bits, no device nodes, no file capabilities. What the calls with structures in memory would do
// cannot be seen here: they are as on a kernel that has none. And the process makes no connections
// of its own: the sockets that it needs it was given. Nor does it reach into other processes.
static int restrict_calls(void) {
    struct toro_filter filter;
    begin_refusals(&filter);
    toro_filter_answer(&filter, NUMBER_OPENAT2, FAIL_WITH(ENOSYS));
    toro_filter_answer(&filter, NUMBER_IO_URING_SETUP, FAIL_WITH(ENOSYS));
    toro_filter_answer(&filter, SYS_socket, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, SYS_connect, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, SYS_bind, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, SYS_setxattr, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, SYS_lsetxattr, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, SYS_fsetxattr, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, NUMBER_SETXATTRAT, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, SYS_ptrace, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, SYS_process_vm_readv, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, SYS_process_vm_writev, FAIL_WITH(EPERM));
    toro_filter_answer(&filter, NUMBER_PIDFD_GETFD, FAIL_WITH(EPERM));
    check_mode(&filter, SYS_chmod, 1);
    check_mode(&filter, SYS_fchmod, 1);
    check_mode(&filter, SYS_fchmodat, 2);
    check_mode(&filter, NUMBER_FCHMODAT2, 2);
    check_mode(&filter, SYS_creat, 1);
    check_open(&filter, SYS_open, 1);
    check_open(&filter, SYS_openat, 2);
    check_node(&filter, SYS_mknod, 1);
    check_node(&filter, SYS_mknodat, 2);
    return toro_filter_install(&filter, SECCOMP_RET_ALLOW, 0);
}

// Changes no file at all: for a read-only share where there are no namespaces to make it so. What
// was opened for writing before stays so. Comes on top of restrict_calls, which refuses openat2,
// io_uring and what sets extended attributes.
static int refuse_changes(void) {
    static const short changes[] = {
        SYS_creat,       SYS_mkdir,        SYS_mkdirat,      SYS_mknod,         SYS_mknodat,
        SYS_unlink,      SYS_unlinkat,     SYS_rmdir,        SYS_rename,        SYS_renameat,
        SYS_renameat2,   SYS_link,         SYS_linkat,       SYS_symlink,       SYS_symlinkat,
        SYS_chmod,       SYS_fchmod,       SYS_fchmodat,     NUMBER_FCHMODAT2,  SYS_chown,
        SYS_lchown,      SYS_fchown,       SYS_fchownat,     SYS_utime,         SYS_utimes,
        SYS_futimesat,   SYS_utimensat,    SYS_truncate,     SYS_ftruncate,     SYS_fallocate,
        SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr, NUMBER_REMOVEXATTRAT,
    };
    struct toro_filter filter;
    begin_refusals(&filter);
    for (size_t index = 0; index < sizeof changes / sizeof *changes; index++)
        toro_filter_answer(&filter, (unsigned)changes[index], FAIL_WITH(EROFS));
    toro_filter_answer(&filter, SYS_open_by_handle_at, FAIL_WITH(EPERM));
    refuse_bits(&filter, SYS_open, 1, O_ACCMODE | O_CREAT | O_TRUNC);
    refuse_bits(&filter, SYS_openat, 2, O_ACCMODE | O_CREAT | O_TRUNC);
    check_controls(&filter);
    return toro_filter_install(&filter, SECCOMP_RET_ALLOW, 0);
}

// Has setgroups(2) succeed and do nothing. virtiofsd gives up when it cannot drop its supplementary
// groups, which nobody can in a user namespace of an ordinary user; they are that user's own, and
// what they allow is what the user may do anyway.
static int ignore_setgroups(void) {
    struct toro_filter filter;
    toro_filter_begin(&filter);
    toro_filter_answer(&filter, SYS_setgroups, SECCOMP_RET_ERRNO);
    return toro_filter_install(&filter, SECCOMP_RET_ALLOW, 0);
}

// MARK: Namespaces

// The identity map of all users, or groups, that there are here: `map` is this process's own. A
// line says which number inside stands for which outside, and for how many.
static ssize_t identity_map(const char *map, char *text, size_t room) {
    char own[4096];
    int file = open(map, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t count = read(file, own, sizeof own - 1);
    close(file);
    if (count < 0) return -1;
    own[count] = 0;
    size_t length = 0;
    unsigned first, outside, number;
    int used;
    for (char *line = own; sscanf(line, "%u %u %u%n", &first, &outside, &number, &used) == 3;
         line += used) {
        int written = snprintf(text + length, room - length, "%u %u %u\n", first, first, number);
        if (written < 0 || (size_t)written >= room - length) return -1;
        length += (size_t)written;
    }
    return (ssize_t)length;
}

// The life of a child of a process that makes a user namespace: it stays outside, where it may say
// who is in the namespace.
static _Noreturn void map_from_outside(const struct toro_part *part, pid_t process, int signal) {
    char byte, path[64], text[4096];
    if (read(signal, &byte, 1) != 1) _exit(0);
    for (int is_group = 0; is_group < 2; is_group++) {
        ssize_t length;
        if (part->namespace == TORO_NAMESPACE_ALL_USERS)
            length = identity_map(is_group ? "/proc/self/gid_map" : "/proc/self/uid_map", text,
                                  sizeof text);
        else
            length = snprintf(text, sizeof text, "0 %u 1", is_group ? part->group : part->user);
        if (length < 0) _exit(1);
        snprintf(path, sizeof path, "/proc/%d/%s", process, is_group ? "gid_map" : "uid_map");
        if (write_file(path, text, (size_t)length) != 0) _exit(errno);
    }
    _exit(0);
}

// Makes user and mount namespaces whose users another process outside maps.
static int enter_mapped(const struct toro_part *part) {
    int go[2];
    if (pipe2(go, O_CLOEXEC) != 0) return -1;
    pid_t own = getpid();
    pid_t helper = fork();
    if (helper < 0) return -1;
    if (helper == 0) {
        close(go[1]);
        map_from_outside(part, own, go[0]);
    }
    close(go[0]);
    int result = unshare(CLONE_NEWUSER | CLONE_NEWNS);
    int error = errno, status;
    if (result == 0) (void)!write(go[1], "", 1);
    close(go[1]);
    while (waitpid(helper, &status, 0) < 0 && errno == EINTR) {}
    if (result == 0 && status != 0) {
        result = -1;
        error = WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
    }
    errno = error;
    if (result != 0) return -1;
    if (syscall(SYS_setgroups, 0, NULL) != 0) return -1;
    if (syscall(SYS_setresgid, 0, 0, 0) != 0) return -1;
    return (int)syscall(SYS_setresuid, 0, 0, 0);
}

// Makes user and mount namespaces in which the process's own user is root, and alone.
static int enter_alone(const struct toro_launcher *launcher) {
    char user_map[64], group_map[64];
    int user_length = snprintf(user_map, sizeof user_map, "0 %u 1", launcher->user);
    int group_length = snprintf(group_map, sizeof group_map, "0 %u 1", launcher->group);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return -1;
    if (write_file("/proc/self/setgroups", "deny", 4) != 0 && errno != ENOENT) return -1;
    if (write_file("/proc/self/uid_map", user_map, (size_t)user_length) != 0) return -1;
    if (write_file("/proc/self/gid_map", group_map, (size_t)group_length) != 0) return -1;
    return ignore_setgroups();
}

static int enter_namespace(const struct toro_part *part, const struct toro_launcher *launcher) {
    int result = -1;
    switch (part->namespace) {
    case TORO_NAMESPACE_NONE:
        return 0;
    case TORO_NAMESPACE_MOUNTS:
        result = unshare(CLONE_NEWNS);
        break;
    case TORO_NAMESPACE_ONE_USER:
        result = part->user == launcher->user && part->group == launcher->group
                     ? enter_alone(launcher)
                     : enter_mapped(part);
        break;
    case TORO_NAMESPACE_ALL_USERS:
        result = enter_mapped(part);
        break;
    }
    if (result != 0) return -1;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

// Puts the folder that is the working directory, with all mounts below it, where the part looks for
// it. No path leads to it here: a descriptor of the old namespace is of no use in the new one, but
// the working directory goes along.
static int mount_folder(const char *place, int is_read_only) {
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, ".",
                            CLONE_TREE | ALL_MOUNTS_BELOW | O_CLOEXEC);
    if (tree < 0) return -1;
    struct mount_attributes attributes = {.set = MOUNT_NO_SET_ID | MOUNT_NO_DEVICES};
    if (is_read_only) attributes.set |= MOUNT_READ_ONLY;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | ALL_MOUNTS_BELOW, &attributes,
                sizeof attributes) != 0)
        return -1;
    struct statvfs view;
    if (fstatvfs(tree, &view) != 0) return -1;
    if (is_read_only && (view.f_flag & ST_RDONLY) == 0) {
        errno = EROFS;
        return -1;
    }
    // Whoever gets out of the folder changes nothing there: /proc and its settings included.
    struct mount_attributes rest = {.set = MOUNT_READ_ONLY};
    if (syscall(SYS_mount_setattr, AT_FDCWD, "/", ALL_MOUNTS_BELOW, &rest, sizeof rest) != 0)
        return -1;
    if (syscall(SYS_move_mount, tree, "", AT_FDCWD, place, FROM_DESCRIPTOR) != 0) return -1;
    close(tree);
    return chdir("/");
}

// Becomes the user that the part runs as, with no groups but its own.
static int become_user(const struct toro_part *part) {
    gid_t groups[] = {part->extra_group};
    if (syscall(SYS_setgroups, part->extra_group == 0 ? 0 : 1, groups) != 0) return -1;
    if (syscall(SYS_setresgid, part->group, part->group, part->group) != 0) return -1;
    return (int)syscall(SYS_setresuid, part->user, part->user, part->user);
}

// Gives up all capabilities. With no new privileges, exec gives root none back.
static int drop_capabilities(void) {
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return -1;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    return (int)syscall(SYS_capset, &header, none);
}

int toro_confine(const struct toro_part *part, const struct toro_launcher *launcher, int32_t *stage) {
    *stage = TORO_STAGE_FOLDER;
    if (part->folder >= 0 && fchdir(part->folder) != 0) return -1;
    *stage = TORO_STAGE_NAMESPACE;
    if (part->is_restricted && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    if (enter_namespace(part, launcher) != 0) return -1;
    *stage = TORO_STAGE_FOLDER;
    if (part->folder >= 0 && mount_folder(part->place, part->is_read_only) != 0) return -1;
    *stage = TORO_STAGE_USER;
    if (part->changes_user && become_user(part) != 0) return -1;
    if (part->is_powerless && drop_capabilities() != 0) return -1;
    *stage = TORO_STAGE_FILTER;
    if (part->is_restricted && restrict_calls() != 0) return -1;
    if (part->changes_nothing && refuse_changes() != 0) return -1;
    if (part->is_restricted && part->namespace == TORO_NAMESPACE_NONE && ignore_unshare() != 0)
        return -1;
    return 0;
}
