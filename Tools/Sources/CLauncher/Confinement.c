// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "Confinement.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
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
#define NUMBER_FCHMODAT2 452
#define NUMBER_SETXATTRAT 463
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

// A program of seccomp(2), put together before it is handed over.
struct program {
    struct sock_filter code[160];
    unsigned short length;
};

static void add(struct program *program, struct sock_filter instruction) {
    program->code[program->length++] = instruction;
}

#define LOAD(field) (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, field)
#define ANSWER(what) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, what)
#define IF_EQUAL(value, yes, no) \
    (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define IF_ANY_BIT(value, yes, no) \
    (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, value, yes, no)
// The low half of an argument: what a mode or flags are in.
#define ARGUMENT(index) (offsetof(struct seccomp_data, args) + 8 * (index))
#define REFUSE ANSWER(SECCOMP_RET_ERRNO | EPERM)
#define PERMIT ANSWER(SECCOMP_RET_ALLOW)
#define SET_ID_BITS (S_ISUID | S_ISGID)

// Begins with the number of the call loaded. Other architectures' calls have other numbers.
static void begin(struct program *program) {
    add(program, LOAD(offsetof(struct seccomp_data, arch)));
    add(program, IF_EQUAL(AUDIT_ARCH_X86_64, 1, 0));
    add(program, ANSWER(SECCOMP_RET_KILL_PROCESS));
    add(program, LOAD(offsetof(struct seccomp_data, nr)));
    // The x32 calls, which have this bit.
    add(program, IF_ANY_BIT(0x40000000, 0, 1));
    add(program, ANSWER(SECCOMP_RET_KILL_PROCESS));
}

static void answer(struct program *program, unsigned number, unsigned what) {
    add(program, IF_EQUAL(number, 0, 1));
    add(program, ANSWER(what));
}

// Refuses set-id bits in the mode that is an argument of a call.
static void check_mode(struct program *program, unsigned number, unsigned mode) {
    add(program, IF_EQUAL(number, 0, 4));
    add(program, LOAD(ARGUMENT(mode)));
    add(program, IF_ANY_BIT(SET_ID_BITS, 0, 1));
    add(program, REFUSE);
    add(program, PERMIT);
}

// The same of a call whose mode counts only if its flags say that a file is made.
static void check_open(struct program *program, unsigned number, unsigned flags) {
    add(program, IF_EQUAL(number, 0, 6));
    add(program, LOAD(ARGUMENT(flags)));
    add(program, IF_ANY_BIT(O_CREAT | (O_TMPFILE & ~O_DIRECTORY), 0, 3));
    add(program, LOAD(ARGUMENT(flags + 1)));
    add(program, IF_ANY_BIT(SET_ID_BITS, 0, 1));
    add(program, REFUSE);
    add(program, PERMIT);
}

// The same of a call that can make device nodes, which it refuses.
static void check_node(struct program *program, unsigned number, unsigned mode) {
    add(program, IF_EQUAL(number, 0, 7));
    add(program, LOAD(ARGUMENT(mode)));
    add(program, IF_ANY_BIT(SET_ID_BITS, 4, 0));
    add(program, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, S_IFMT));
    add(program, IF_EQUAL(S_IFCHR, 2, 0));
    add(program, IF_EQUAL(S_IFBLK, 1, 0));
    add(program, PERMIT);
    add(program, REFUSE);
}

static int install(struct program *program) {
    add(program, PERMIT);
    struct sock_fprog filter = {program->length, program->code};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

// Nothing that the process makes or changes gets more rights than whoever runs it has: no set-id
// bits, no device nodes, no file capabilities. What the calls with structures in memory would do
// cannot be seen here: they are as on a kernel that has none. And the process makes no connections
// of its own: the sockets that it needs it was given.
static int restrict_calls(void) {
    struct program program = {.length = 0};
    begin(&program);
    answer(&program, NUMBER_OPENAT2, SECCOMP_RET_ERRNO | ENOSYS);
    answer(&program, NUMBER_IO_URING_SETUP, SECCOMP_RET_ERRNO | ENOSYS);
    answer(&program, SYS_socket, SECCOMP_RET_ERRNO | EPERM);
    answer(&program, SYS_connect, SECCOMP_RET_ERRNO | EPERM);
    answer(&program, SYS_bind, SECCOMP_RET_ERRNO | EPERM);
    answer(&program, SYS_setxattr, SECCOMP_RET_ERRNO | EPERM);
    answer(&program, SYS_lsetxattr, SECCOMP_RET_ERRNO | EPERM);
    answer(&program, SYS_fsetxattr, SECCOMP_RET_ERRNO | EPERM);
    answer(&program, NUMBER_SETXATTRAT, SECCOMP_RET_ERRNO | EPERM);
    check_mode(&program, SYS_chmod, 1);
    check_mode(&program, SYS_fchmod, 1);
    check_mode(&program, SYS_fchmodat, 2);
    check_mode(&program, NUMBER_FCHMODAT2, 2);
    check_mode(&program, SYS_creat, 1);
    check_open(&program, SYS_open, 1);
    check_open(&program, SYS_openat, 2);
    check_node(&program, SYS_mknod, 1);
    check_node(&program, SYS_mknodat, 2);
    return install(&program);
}

// Has setgroups(2) succeed and do nothing. virtiofsd gives up when it cannot drop its supplementary
// groups, which nobody can in a user namespace of an ordinary user; they are that user's own, and
// what they allow is what the user may do anyway.
static int ignore_setgroups(void) {
    struct program program = {.length = 0};
    begin(&program);
    answer(&program, SYS_setgroups, SECCOMP_RET_ERRNO);
    return install(&program);
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
    return 0;
}
