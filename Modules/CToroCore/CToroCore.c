// SPDX-License-Identifier: Apache-2.0
// On a guest (TORO_MICROVM) the platform defines these functions; see Platform/microvm.
#ifndef TORO_MICROVM
#include "CToroCore.h"
#include <stdlib.h>

void *toro_allocate(size_t size, size_t alignment) {
    void *memory = NULL;
    return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

void toro_deallocate(void *memory) { free(memory); }

bool toro_has_memory(size_t size) {
    (void)size;
    return true;
}

uint32_t toro_core_index(void) { return 0; }

#define SWIFT __attribute__((swiftcall))
typedef SWIFT void (*enqueue_job)(void *job);

// What libswift_Concurrency calls, if it is set, before it gives a job to its thread pool.
extern SWIFT void (*swift_task_enqueueGlobal_hook)(void *job, enqueue_job original);

static _Thread_local void (*job_taker)(void *job);

static SWIFT void divert(void *job, enqueue_job original) {
    if (job_taker != NULL) job_taker(job);
    else original(job);
}

void toro_host_divert_jobs(void (*take)(void *job)) {
    // The same value every time: it does not matter which thread is first.
    swift_task_enqueueGlobal_hook = divert;
    job_taker = take;
}
#endif
