/// What Swift cannot say: instructions, registers, and the blocks of memory that assembly and
/// Swift share. Everything else of the platform is Swift.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef TORO_MICROVM

// Always: the optimizer inlines no freestanding C into Swift of its own accord. The target is the
// one of the interrupt handler, which calls some of them.
#define TORO_INLINE \
    static inline __attribute__((always_inline, target("general-regs-only")))

/// What each core has of its own, at its FS base. Offsets 0 and 0x28 are fixed by the ABI: the
/// block's own address, and the stack protector's canary (x86-64 psABI 3.4.2, LLVM).
struct toro_core {
    struct toro_core *_Nonnull self;
    void *_Nullable context;
    uint64_t index;
    void *_Nullable jobs_head;
    void *_Nullable jobs_tail;
    uint64_t canary;
    uint64_t stack_top, stack_size;
    /// What the core has done: interrupts taken, waits for one, jobs run, bytes copied.
    uint64_t interrupts, halts, jobs, copied_bytes;
    uint64_t ready;
    /// What other cores leave for this one, and the function that runs it; see FurtherCores.
    void *_Nullable mailbox;
    _Bool (*_Nullable deliver)(void *_Nonnull mailbox);
};
_Static_assert(offsetof(struct toro_core, canary) == 0x28, "the ABI fixes the canary's place");

/// The registers of an interrupted computation, as the trap stubs push them.
struct toro_trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/// Bounds the linker gives: see linker.ld.
extern const char toro_image_start[], toro_text_end[], toro_rodata_end[], toro_image_end[];
extern const char toro_trampoline_start[], toro_trampoline_end[];
/// The same as numbers, which is how Swift wants addresses.
TORO_INLINE uint64_t toro_image_start_address(void) { return (uintptr_t)toro_image_start; }
TORO_INLINE uint64_t toro_text_end_address(void) { return (uintptr_t)toro_text_end; }
TORO_INLINE uint64_t toro_rodata_end_address(void) { return (uintptr_t)toro_rodata_end; }
TORO_INLINE uint64_t toro_image_end_address(void) { return (uintptr_t)toro_image_end; }
TORO_INLINE uint64_t toro_trampoline_address(void) { return (uintptr_t)toro_trampoline_start; }
TORO_INLINE uint64_t toro_trampoline_size(void) {
    return (uint64_t)(toro_trampoline_end - toro_trampoline_start);
}
extern const char toro_trap_stubs[];
/// The address of a vector's stub.
TORO_INLINE uint64_t toro_trap_stub(uint32_t vector) {
    return (uintptr_t)toro_trap_stubs + 8 * vector;
}
/// How many trap stubs there are: vectors 0 to 63.
enum { TORO_TRAP_STUBS = 64 };

/// What the trampoline hands to a starting core; see boot.S.
typedef struct {
    uint64_t page_map, stack_top, core;
    void (*_Nonnull entry)(void);
} toro_trampoline_arguments_t;
extern toro_trampoline_arguments_t toro_trampoline_arguments;
TORO_INLINE void toro_set_trampoline_arguments(uint64_t page_map, uint64_t stack_top,
                                                 uint64_t core, void (*_Nonnull entry)(void)) {
    toro_trampoline_arguments =
        (toro_trampoline_arguments_t){page_map, stack_top, core, entry};
}

TORO_INLINE struct toro_core *_Nonnull toro_core(void) {
    struct toro_core *core;
    __asm__("movq %%fs:0, %0" : "=r"(core));
    return core;
}

/// Runs what other cores have left for the running core; false if there was nothing.
TORO_INLINE _Bool toro_deliver(void) {
    struct toro_core *core = toro_core();
    return core->deliver != NULL && core->deliver(core->mailbox);
}

/// A starting core says that it runs; the first one looks whether it does.
TORO_INLINE void toro_core_set_ready(void) {
    __atomic_store_n(&toro_core()->ready, 1, __ATOMIC_RELEASE);
}
TORO_INLINE uint64_t toro_core_is_ready(const struct toro_core *_Nonnull core) {
    return __atomic_load_n(&core->ready, __ATOMIC_ACQUIRE);
}

TORO_INLINE void toro_out8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}
TORO_INLINE void toro_out16(uint16_t port, uint16_t value) {
    __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}
TORO_INLINE void toro_out32(uint16_t port, uint32_t value) {
    __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}
TORO_INLINE uint8_t toro_in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/// Reads `count` bytes from a port into memory, in one instruction: one exit of the guest under
/// hardware virtualization.
TORO_INLINE void toro_in_bytes(uint16_t port, void *_Nonnull memory, size_t count) {
    __asm__ volatile("rep insb" : "+D"(memory), "+c"(count) : "d"(port) : "memory");
}

TORO_INLINE uint64_t toro_rdtsc(void) {
    uint32_t low, high;
    // After what was read before, and before what is read next: see MachineClock.
    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}
TORO_INLINE uint64_t toro_read_cr2(void) {
    uint64_t value;
    __asm__ volatile("movq %%cr2, %0" : "=r"(value));
    return value;
}
TORO_INLINE void toro_write_cr3(uint64_t value) {
    __asm__ volatile("movq %0, %%cr3" ::"r"(value) : "memory");
}

struct toro_cpuid {
    uint32_t eax, ebx, ecx, edx;
};
TORO_INLINE struct toro_cpuid toro_cpuid(uint32_t leaf) {
    struct toro_cpuid r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(0));
    return r;
}
/// A random word from RDRAND, or from the time stamp counter where the processor has none to give.
uint64_t toro_random(void);

TORO_INLINE uint32_t toro_load32(uint64_t address) {
    return *(volatile const uint32_t *)(uintptr_t)address;
}
TORO_INLINE void toro_store32(uint64_t address, uint32_t value) {
    *(volatile uint32_t *)(uintptr_t)address = value;
}
TORO_INLINE uint8_t toro_load8(uint64_t address) {
    return *(volatile const uint8_t *)(uintptr_t)address;
}

TORO_INLINE void toro_lidt(const void *_Nonnull table, uint16_t limit) {
    struct __attribute__((packed)) {
        uint16_t limit;
        const void *base;
    } pointer = {limit, table};
    __asm__ volatile("lidt %0" ::"m"(pointer));
}
/// Loads the descriptor table and the task register; the code and data selectors stay 8 and 16.
TORO_INLINE void toro_lgdt(const void *_Nonnull table, uint16_t limit, uint16_t task) {
    struct __attribute__((packed)) {
        uint16_t limit;
        const void *base;
    } pointer = {limit, table};
    __asm__ volatile("lgdt %0; ltr %1" ::"m"(pointer), "r"(task));
}

/// Lets one pending or coming interrupt in and returns after it; see the run loop. The
/// interrupt shadow of STI makes the pair atomic: an interrupt that is already pending ends HLT.
TORO_INLINE void toro_halt(void) {
    toro_core()->halts++;
    __asm__ volatile("sti; hlt; cli" ::: "memory", "cc");
}
/// Stops the core for ever.
__attribute__((noreturn)) TORO_INLINE void toro_stop(void) {
    for (;;) __asm__ volatile("cli; hlt");
}
/// Raises the exception that ends the guest with a report.
__attribute__((noreturn)) TORO_INLINE void toro_raise(void) { __builtin_trap(); }
TORO_INLINE void toro_relax(void) { __asm__ volatile("pause"); }

/// Continues in `function` on another stack; the old one is never used again.
__attribute__((noreturn)) void toro_switch_stack(uint64_t stack_top,
                                                 void (*_Nonnull function)(void));

/// The devices that the interrupt handler acknowledges: the address of a virtio-mmio window for
/// each vector from TORO_DEVICE_VECTOR, 0 for none.
enum { TORO_TIMER_VECTOR = 32, TORO_WAKE_VECTOR = 33, TORO_DEVICE_VECTOR = 34 };
extern uint64_t toro_device_windows[TORO_TRAP_STUBS - TORO_DEVICE_VECTOR];
TORO_INLINE void toro_set_device_window(uint32_t line, uint64_t address) {
    toro_device_windows[line] = address;
}

/// Takes the oldest job of the running core's queue, or NULL; and runs a job.
void *_Nullable toro_take_job(void);
void toro_run_job(void *_Nonnull job);

/// The most cores a machine may have.
enum { TORO_MAXIMUM_CORES = 16 };
/// The heap's control block; see ToroMemory's Heap.
extern unsigned char toro_heap_state[1152 + TORO_MAXIMUM_CORES * 384];
TORO_INLINE uint64_t toro_heap_state_address(void) { return (uintptr_t)toro_heap_state; }

/// The executable's entry (`@main`).
int main(int argc, char *_Nullable *_Nullable argv);

#endif
