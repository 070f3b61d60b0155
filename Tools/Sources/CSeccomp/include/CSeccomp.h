// SPDX-License-Identifier: Apache-2.0
//
// Filters of system calls (seccomp(2)): put together, then installed. Nothing here allocates or
// locks, so that it may stand between fork and exec. x86-64 only.
#pragma once
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

/// A program of seccomp(2), of which each instruction looks at the call's number unless it has
/// loaded something else.
struct toro_filter {
    struct sock_filter code[256];
    unsigned length;
};

#define LOAD(field) (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, field)
#define ANSWER(what) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, what)
#define IF_EQUAL(value, yes, no) \
    (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define IF_AT_LEAST(value, yes, no) \
    (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, value, yes, no)
#define IF_ANY_BIT(value, yes, no) \
    (struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, value, yes, no)
#define NUMBER offsetof(struct seccomp_data, nr)
// The low half of an argument: what a mode, a command or flags are in.
#define ARGUMENT(index) (offsetof(struct seccomp_data, args) + 8 * (index))
#define FAIL_WITH(error) (SECCOMP_RET_ERRNO | (error))
#define REFUSE ANSWER(FAIL_WITH(EPERM))
#define PERMIT ANSWER(SECCOMP_RET_ALLOW)

/// Begins a filter: the calls of other architectures, whose numbers are others, end the process. The
/// number of the call is loaded.
void toro_filter_begin(struct toro_filter *filter);

/// Adds an instruction.
void toro_filter_add(struct toro_filter *filter, struct sock_filter instruction);

/// Adds the answer to a call, whatever its arguments.
void toro_filter_answer(struct toro_filter *filter, unsigned number, unsigned what);

/// Adds the answer to every call that is not looked at before, and installs the filter: for all
/// threads if `flags` say so (SECCOMP_FILTER_FLAG_TSYNC). Returns 0, or -1 with errno.
int toro_filter_install(struct toro_filter *filter, unsigned otherwise, unsigned flags);
