// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CHostShims.h"
#include "CSeccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <signal.h>
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

// Allows a call if an argument has none of these bits, or, the other way round, any of them.
static void allow_bits(struct toro_filter *filter, unsigned number, unsigned argument, unsigned bits,
                       int has_them) {
    toro_filter_add(filter, IF_EQUAL(number, 0, 4));
    toro_filter_add(filter, LOAD(ARGUMENT(argument)));
    toro_filter_add(filter, IF_ANY_BIT(bits, has_them ? 0 : 1, has_them ? 1 : 0));
    toro_filter_add(filter, PERMIT);
    toro_filter_add(filter, REFUSE);
}

static int install_filter(int removes_names) {
    struct toro_filter filter;
    toro_filter_begin(&filter);
    for (size_t index = 0; index < sizeof allowed / sizeof *allowed; index++)
        toro_filter_answer(&filter, (unsigned)allowed[index], SECCOMP_RET_ALLOW);
    // No memory is ever executable that was not so before.
    allow_bits(&filter, SYS_mmap, 2, PROT_EXEC, 0);
    allow_bits(&filter, SYS_mprotect, 2, PROT_EXEC, 0);
    // The C library asks so for the state of an open file.
    if (!removes_names) allow_bits(&filter, SYS_newfstatat, 3, AT_EMPTY_PATH, 1);
    if (removes_names) {
        toro_filter_answer(&filter, SYS_newfstatat, SECCOMP_RET_ALLOW);
        toro_filter_answer(&filter, SYS_lstat, SECCOMP_RET_ALLOW);
        toro_filter_answer(&filter, SYS_unlink, SECCOMP_RET_ALLOW);
    }
    // How much of a socket's bytes have left.
    toro_filter_add(&filter, IF_EQUAL(SYS_ioctl, 0, 4));
    toro_filter_add(&filter, LOAD(ARGUMENT(1)));
    toro_filter_add(&filter, IF_EQUAL(SIOCOUTQ, 0, 1));
    toro_filter_add(&filter, PERMIT);
    toro_filter_add(&filter, REFUSE);
    return toro_filter_install(&filter, FAIL_WITH(EPERM), SECCOMP_FILTER_FLAG_TSYNC);
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
