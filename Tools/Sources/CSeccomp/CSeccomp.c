// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CSeccomp.h"

#include <linux/audit.h>
#include <sys/syscall.h>
#include <unistd.h>

void toro_filter_add(struct toro_filter *filter, struct sock_filter instruction) {
    if (filter->length < sizeof filter->code / sizeof *filter->code)
        filter->code[filter->length] = instruction;
    // One that does not fit is not installed either.
    filter->length++;
}

void toro_filter_begin(struct toro_filter *filter) {
    filter->length = 0;
    toro_filter_add(filter, LOAD(offsetof(struct seccomp_data, arch)));
    toro_filter_add(filter, IF_EQUAL(AUDIT_ARCH_X86_64, 1, 0));
    toro_filter_add(filter, ANSWER(SECCOMP_RET_KILL_PROCESS));
    toro_filter_add(filter, LOAD(NUMBER));
    // The x32 calls have this bit.
    toro_filter_add(filter, IF_ANY_BIT(0x40000000, 0, 1));
    toro_filter_add(filter, ANSWER(SECCOMP_RET_KILL_PROCESS));
}

void toro_filter_answer(struct toro_filter *filter, unsigned number, unsigned what) {
    toro_filter_add(filter, IF_EQUAL(number, 0, 1));
    toro_filter_add(filter, ANSWER(what));
}

int toro_filter_install(struct toro_filter *filter, unsigned otherwise, unsigned flags) {
    toro_filter_add(filter, ANSWER(otherwise));
    if (filter->length > sizeof filter->code / sizeof *filter->code) {
        errno = E2BIG;
        return -1;
    }
    struct sock_fprog program = {(unsigned short)filter->length, filter->code};
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    // A thread that could not follow has its number in the result.
    if (result > 0) errno = EAGAIN;
    return result == 0 ? 0 : -1;
}
