// SPDX-License-Identifier: Apache-2.0
// What the Swift concurrency library asks of its platform (swift/ExecutorImpl.h): a first-in,
// first-out queue of jobs for each core, linked through the jobs themselves.
#ifdef TORO_MICROVM
#include "CMicroVM.h"
#include <stdbool.h>

#define SWIFT __attribute__((swiftcall))

void toro_fatal(const char *cause) __attribute__((noreturn));

// The head of a job as ExecutorImpl.h declares it: two words for the scheduler's own use.
struct job {
    const void *metadata;
    uintptr_t reference_counts;
    struct job *next;
    void *unused;
};

struct executor {
    void *identity;
    uintptr_t implementation;
};

SWIFT void swift_task_enqueueGlobalImpl(struct job *job) {
    struct toro_core *core = toro_core();
    job->next = NULL;
    if (core->jobs_tail != NULL) {
        ((struct job *)core->jobs_tail)->next = job;
    } else {
        core->jobs_head = job;
    }
    core->jobs_tail = job;
}

void *toro_take_job(void) {
    struct toro_core *core = toro_core();
    struct job *job = core->jobs_head;
    if (job != NULL) {
        core->jobs_head = job->next;
        if (job->next == NULL) core->jobs_tail = NULL;
    }
    return job;
}

SWIFT void swift_job_run(struct job *job, struct executor executor);
void toro_run_job(void *job) {
    toro_core()->jobs++;
    swift_job_run(job, (struct executor){0, 0});
}

SWIFT void swift_task_enqueueMainExecutorImpl(struct job *job) {
    swift_task_enqueueGlobalImpl(job);
}

// Toro's own timers serve sleep and deadlines; nothing in Embedded Swift reaches these two.
SWIFT void swift_task_enqueueGlobalWithDelayImpl(uint64_t delay, struct job *job) {
    (void)delay, (void)job;
    toro_fatal("the Swift runtime's own sleep is not there: use ToroProcess");
}
SWIFT void swift_task_enqueueGlobalWithDeadlineImpl(int64_t s, int64_t ns, int64_t ts, int64_t tns,
                                                    int clock, struct job *job) {
    (void)s, (void)ns, (void)ts, (void)tns, (void)clock, (void)job;
    toro_fatal("the Swift runtime's own sleep is not there: use ToroProcess");
}
SWIFT void swift_task_donateThreadToGlobalExecutorUntilImpl(bool (*condition)(void *),
                                                            void *context) {
    (void)condition, (void)context;
    toro_fatal("a core cannot be donated to the executor");
}

// One executor runs all there is on a core: whoever asks is on it.
SWIFT void swift_task_checkIsolatedImpl(struct executor executor) { (void)executor; }
SWIFT int8_t swift_task_isIsolatingCurrentContextImpl(struct executor executor) {
    (void)executor;
    return 1;
}
SWIFT bool swift_task_isMainExecutorImpl(struct executor executor) {
    (void)executor;
    return false;
}
SWIFT struct executor swift_task_getMainExecutorImpl(void) { return (struct executor){0, 0}; }
SWIFT struct executor swift_getMainExecutor(void) { return (struct executor){0, 0}; }
SWIFT struct executor swift_getDefaultExecutor(void) { return (struct executor){0, 0}; }
SWIFT void swift_createDefaultExecutors(void) {}

// Custom executors do not work in Embedded Swift; default actors need no more than this.
SWIFT const void *swift_getObjectType(const void *const *object) { return *object; }
SWIFT bool swift_compareWitnessTables(const void *a, const void *b) { return a == b; }
SWIFT bool _task_serialExecutor_isSameExclusiveExecutionContext(
    const void *a, const void *b, const void *self, const void *table) {
    (void)self, (void)table;
    return a == b;
}
bool _swift_shouldReportFatalErrorsToDebugger(void) { return false; }
void _swift_reportToDebugger(uintptr_t flags, const char *message, void *details) {
    (void)flags, (void)message, (void)details;
}

// The red-black tree under libstdc++'s ordered containers, which the runtime's task groups use:
// layout and order are the ABI's (bits/stl_tree.h); `header` holds root, leftmost, rightmost.
struct node {
    int color;
    struct node *parent, *left, *right;
};
enum { RED, BLACK };

struct node *_ZSt18_Rb_tree_decrementPSt18_Rb_tree_node_base(struct node *x) {
    if (x->color == RED && x->parent->parent == x) return x->right;
    if (x->left != NULL) {
        x = x->left;
        while (x->right != NULL) x = x->right;
        return x;
    }
    struct node *y = x->parent;
    while (x == y->left) {
        x = y;
        y = y->parent;
    }
    return y;
}

static void replace_child(struct node *old, struct node *new, struct node *header) {
    new->parent = old->parent;
    if (old == header->parent) {
        header->parent = new;
    } else if (old == old->parent->left) {
        old->parent->left = new;
    } else {
        old->parent->right = new;
    }
    old->parent = new;
}

static void rotate(struct node *x, bool left, struct node *header) {
    struct node *y = left ? x->right : x->left;
    struct node **inner = left ? &y->left : &y->right;
    if (left) {
        x->right = *inner;
    } else {
        x->left = *inner;
    }
    if (*inner != NULL) (*inner)->parent = x;
    *inner = x;
    replace_child(x, y, header);
}

void _ZSt29_Rb_tree_insert_and_rebalancebPSt18_Rb_tree_node_baseS0_RS_(bool left, struct node *x,
                                                                       struct node *parent,
                                                                       struct node *header) {
    *x = (struct node){RED, parent, NULL, NULL};
    if (left) {
        parent->left = x;  // also the leftmost, when parent is the header
        if (parent == header) {
            header->parent = x;
            header->right = x;
        } else if (parent == header->left) {
            header->left = x;
        }
    } else {
        parent->right = x;
        if (parent == header->right) header->right = x;
    }
    while (x != header->parent && x->parent->color == RED) {
        struct node *grand = x->parent->parent;
        bool on_left = x->parent == grand->left;
        struct node *uncle = on_left ? grand->right : grand->left;
        if (uncle != NULL && uncle->color == RED) {
            x->parent->color = BLACK;
            uncle->color = BLACK;
            grand->color = RED;
            x = grand;
            continue;
        }
        if (x == (on_left ? x->parent->right : x->parent->left)) {
            x = x->parent;
            rotate(x, on_left, header);
        }
        x->parent->color = BLACK;
        grand->color = RED;
        rotate(grand, !on_left, header);
    }
    header->parent->color = BLACK;
}

// The interrupt handler: it only wakes (rule 2). It runs with interrupts off, on a stack of its
// own, and only while the core halts, so it touches no vector register and needs none saved.
uint64_t toro_device_windows[TORO_TRAP_STUBS - TORO_DEVICE_VECTOR];

enum { LAPIC_EOI = 0xfee000b0, VIRTIO_INTERRUPT_STATUS = 0x60, VIRTIO_INTERRUPT_ACK = 0x64 };

__attribute__((target("general-regs-only"))) void toro_interrupt(
    const struct toro_trap_frame *frame) {
    struct toro_core *core = toro_core();
    core->interrupts++;
    if (frame->vector >= TORO_DEVICE_VECTOR && frame->vector < TORO_TRAP_STUBS) {
        uint64_t window = toro_device_windows[frame->vector - TORO_DEVICE_VECTOR];
        if (window != 0) {
            toro_store32(window + VIRTIO_INTERRUPT_ACK,
                         toro_load32(window + VIRTIO_INTERRUPT_STATUS));
        }
    }
    toro_store32(LAPIC_EOI, 0);
}

uint32_t toro_core_index(void) { return (uint32_t)toro_core()->index; }
void *toro_core_context(void) { return toro_core()->context; }
#endif
