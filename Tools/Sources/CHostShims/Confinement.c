// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CHostShims.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_TSYNC
#define SECCOMP_FILTER_FLAG_TSYNC 1
#endif

// What a back end does once its sockets listen: it waits, accepts, moves bytes, maps the guest's
// memory, allocates, and ends. Nothing here names a file, a process or another address.
static const short allowed[] = {
    // Waiting.
    SYS_epoll_wait, SYS_epoll_pwait, 441 /* epoll_pwait2 */, SYS_epoll_ctl, SYS_poll, SYS_ppoll,
    SYS_restart_syscall,
    // Sockets, event descriptors and pipes that are open or come through one of them.
    SYS_accept, SYS_accept4, SYS_read, SYS_readv, SYS_write, SYS_writev, SYS_recvfrom, SYS_recvmsg,
    SYS_sendto, SYS_sendmsg, SYS_shutdown, SYS_getsockopt, SYS_setsockopt, SYS_getsockname,
    SYS_getpeername, SYS_close, SYS_fcntl, SYS_fstat,
    // Memory.
    SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk,
    // Time, threads, chance.
    SYS_clock_gettime, SYS_gettimeofday, SYS_time, SYS_clock_nanosleep, SYS_nanosleep, SYS_futex,
    SYS_sched_yield, 324 /* membarrier */, 334 /* rseq */, SYS_set_robust_list, SYS_getpid,
    SYS_gettid, SYS_getrandom, SYS_sysinfo,
    // Signals and the end.
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_tgkill, SYS_exit,
    SYS_exit_group,
};

struct program {
    struct sock_filter code[256];
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
// The low half of an argument: what flags are in.
#define ARGUMENT(index) (offsetof(struct seccomp_data, args) + 8 * (index))
#define REFUSE ANSWER(SECCOMP_RET_ERRNO | EPERM)
#define PERMIT ANSWER(SECCOMP_RET_ALLOW)

static void allow(struct program *program, unsigned number) {
    add(program, IF_EQUAL(number, 0, 1));
    add(program, PERMIT);
}

// Allows a call if an argument has none of these bits, or, the other way round, any of them.
static void allow_bits(struct program *program, unsigned number, unsigned argument, unsigned bits,
                       int has_them) {
    add(program, IF_EQUAL(number, 0, 4));
    add(program, LOAD(ARGUMENT(argument)));
    add(program, IF_ANY_BIT(bits, has_them ? 0 : 1, has_them ? 1 : 0));
    add(program, PERMIT);
    add(program, REFUSE);
}

static int install_filter(int removes_names) {
    struct program program = {.length = 0};
    // Other architectures' calls have other numbers, and x32's have this bit.
    add(&program, LOAD(offsetof(struct seccomp_data, arch)));
    add(&program, IF_EQUAL(AUDIT_ARCH_X86_64, 1, 0));
    add(&program, ANSWER(SECCOMP_RET_KILL_PROCESS));
    add(&program, LOAD(offsetof(struct seccomp_data, nr)));
    add(&program, IF_ANY_BIT(0x40000000, 0, 1));
    add(&program, ANSWER(SECCOMP_RET_KILL_PROCESS));
    for (size_t index = 0; index < sizeof allowed / sizeof *allowed; index++)
        allow(&program, (unsigned)allowed[index]);
    // No memory is ever executable that was not so before.
    allow_bits(&program, SYS_mmap, 2, PROT_EXEC, 0);
    allow_bits(&program, SYS_mprotect, 2, PROT_EXEC, 0);
    // The C library asks so for the state of an open file.
    if (!removes_names) allow_bits(&program, SYS_newfstatat, 3, AT_EMPTY_PATH, 1);
    if (removes_names) {
        allow(&program, SYS_newfstatat);
        allow(&program, SYS_lstat);
        allow(&program, SYS_unlink);
    }
    // How much of a socket's bytes have left.
    add(&program, IF_EQUAL(SYS_ioctl, 0, 4));
    add(&program, LOAD(ARGUMENT(1)));
    add(&program, IF_EQUAL(SIOCOUTQ, 0, 1));
    add(&program, PERMIT);
    add(&program, REFUSE);
    add(&program, REFUSE);
    struct sock_fprog filter = {program.length, program.code};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
}

static int has_capability(int number) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, sets) != 0) return 0;
    return (sets[number / 32].effective >> (number % 32)) & 1;
}

// Whoever is root becomes a user that nobody else is; or nobody, where there are few users.
static int leave_root(uint32_t user) {
    // A launcher that may not end other users' processes could not end this one.
    if (geteuid() != 0 || !has_capability(CAP_SETUID) || !has_capability(CAP_SETGID) ||
        !has_capability(CAP_KILL))
        return 0;
    if (setgroups(0, NULL) != 0) return errno == EPERM ? 0 : -1;
    const uid_t users[] = {user, 65534};
    for (int index = 0; index < 2; index++)
        if (setresgid(users[index], users[index], users[index]) == 0 &&
            setresuid(users[index], users[index], users[index]) == 0)
            return 0;
    return errno == EINVAL ? 0 : -1;
}

int32_t toro_confine_device(uint32_t user, int32_t removes_names) {
    int signal = 0;
    pid_t parent = getppid();
    if (prctl(PR_GET_PDEATHSIG, &signal) != 0) return -1;
    if (!removes_names && leave_root(user) != 0) return -1;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capset, &header, none) != 0) return -1;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
    // A change of user forgets it.
    if (prctl(PR_SET_PDEATHSIG, signal) != 0) return -1;
    if (signal != 0 && getppid() != parent) raise(SIGKILL);
    return install_filter(removes_names);
}
