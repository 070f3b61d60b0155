// SPDX-License-Identifier: Apache-2.0
//
// From the hypervisor to Swift: the PVH entry of the first core, the real-mode trampoline of the
// others, and the stubs every trap comes in by.
#ifdef TORO_MICROVM

        // The ELF note that makes this image a PVH kernel (xen/include/public/elfnote.h,
        // XEN_ELFNOTE_PHYS32_ENTRY = 18): the address of a 32-bit entry.
        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 4, 18
        .asciz  "Xen"
        .long   toro_pvh_entry

        .section .rodata.boot, "a"
        .balign 8
boot_gdt:
        .quad   0
        .quad   0x00af9a000000ffff              // 8: 64-bit code
        .quad   0x00cf92000000ffff              // 16: data
        .quad   0x00cf9a000000ffff              // 24: 32-bit code, for the trampoline
boot_gdt_end:
boot_gdtr:
        .word   boot_gdt_end - boot_gdt - 1
        .long   boot_gdt

        // Page tables for the time until Swift has built the real ones: the first GiB as
        // 2 MiB pages.
        .section .bss.boot, "aw", @nobits
        .balign 4096
boot_pml4:      .skip 4096
boot_pdpt:      .skip 4096
boot_pd:        .skip 4096
        .global toro_boot_stack, toro_boot_stack_top
toro_boot_stack: .skip 16384
toro_boot_stack_top:
        .global toro_first_core
        .balign 64
toro_first_core: .skip 256
        .global toro_trampoline_arguments
toro_trampoline_arguments: .skip 32

#define CR0_BITS        0x80010002              /* PG, WP, MP */
#define CR4_BITS        0x620                   /* PAE, OSFXSR, OSXMMEXCPT */
#define EFER            0xc0000080
#define EFER_BITS       0x900                   /* LME, NXE */

        .section .text.boot, "ax"
        // Entered with paging off, flat segments, ebx = physical address of hvm_start_info.
        .code32
        .global toro_pvh_entry
toro_pvh_entry:
        cld
        rdtsc                                   // the guest's first instruction, for the log
        mov     %eax, %esi
        mov     %edx, %edi
        mov     $toro_boot_stack_top, %esp
        push    %edi
        push    %esi

        movl    $boot_pdpt + 3, boot_pml4
        movl    $boot_pd + 3, boot_pdpt
        mov     $boot_pd, %edi
        mov     $0x83, %eax                     // present, writable, large
        mov     $512, %ecx
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    1b

        mov     $boot_pml4, %eax
        mov     %eax, %cr3
        lgdt    boot_gdtr
        call    enter_long_mode
        ljmp    $8, $1f

        .code64
1:      mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        pop     %rsi                            // the time stamp
        mov     %ebx, %ebx
        mov     %rbx, %rdi
        lea     toro_first_core(%rip), %rax
        call    set_core
        xor     %ebp, %ebp
        call    toro_boot                       // (start_info, tsc), never returns
        ud2

        // Makes rax this core's block, with a canary of its own; keeps rdi and rsi.
set_core:
        mov     %rax, %r8
        mov     %rax, (%rax)
        mov     %rax, %rdx
        shr     $32, %rdx
        mov     $0xc0000100, %ecx               // FS base
        wrmsr
        rdtsc                                   // no RDRAND: better than a constant
        shl     $32, %rax
        or      %rdx, %rax
        mov     %rax, %r9
        mov     $1, %eax
        cpuid
        bt      $30, %ecx
        jnc     1f
        rdrand  %r9
1:      shl     $8, %r9                         // a zero byte stops string overruns
        mov     %r9, 0x28(%r8)
        ret

        .code32
enter_long_mode:
        mov     %cr4, %eax
        or      $CR4_BITS, %eax
        mov     %eax, %cr4
        mov     $EFER, %ecx
        rdmsr
        or      $EFER_BITS, %eax
        wrmsr
        mov     %cr0, %eax
        and     $~0xc, %eax                     // EM, TS
        or      $CR0_BITS, %eax
        mov     %eax, %cr0
        ret

        // ---- The other cores -------------------------------------------------------------
        // Copied to a page below 1 MiB; a SIPI enters it at offset 0 with cs = page / 16.
        .section .rodata.trampoline, "a"
        .code16
        .global toro_trampoline_start, toro_trampoline_end
toro_trampoline_start:
        cli
        cld
        mov     %cs, %ax
        mov     %ax, %ds
        lgdtl   trampoline_gdtr - toro_trampoline_start
        mov     %cr0, %eax
        or      $1, %eax
        mov     %eax, %cr0
        ljmpl   $24, $toro_core_entry
        .balign 8
trampoline_gdtr:
        .word   boot_gdt_end - boot_gdt - 1
        .long   boot_gdt
toro_trampoline_end:

        .section .text.boot, "ax"
        .code32
toro_core_entry:
        mov     $16, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $boot_core_stack_top, %esp
        mov     toro_trampoline_arguments, %eax
        mov     %eax, %cr3
        call    enter_long_mode
        ljmp    $8, $1f
        .code64
1:      mov     toro_trampoline_arguments + 8, %rsp
        mov     toro_trampoline_arguments + 16, %rax
        xor     %ecx, %ecx
        mov     %ecx, %fs
        mov     %ecx, %gs
        call    set_core
        xor     %ebp, %ebp
        call    *toro_trampoline_arguments + 24 // never returns
        ud2

        .section .bss.boot, "aw", @nobits
        .balign 16
        .skip   64
boot_core_stack_top:

        // ---- Traps -----------------------------------------------------------------------
        // A stub for each vector, eight bytes apart. Exceptions 8, 10-14, 17, 21, 29 and 30 push
        // an error code (SDM volume 3, 6.15); for the others a zero goes below the vector.
        .section .text.traps, "ax"
        .global toro_trap_stubs
        .balign 8
toro_trap_stubs:
        .set    number, 0
        .rept   64
        .balign 8
        push    $number
        jmp     trap
        .set    number, number + 1
        .endr

        .balign 8
with_error_code: .quad  0x60227d00

trap:   push    %rax
        mov     8(%rsp), %eax
        bt      %rax, with_error_code(%rip)
        pop     %rax
        jc      1f
        push    (%rsp)
        movq    $0, 8(%rsp)
1:      push    %rax
        push    %rcx
        push    %rdx
        push    %rbx
        push    %rbp
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        cld
        mov     %rsp, %rdi
        mov     %rsp, %rbp
        and     $-16, %rsp
        cmpq    $32, 120(%rbp)
        jb      1f
        call    toro_interrupt
        mov     %rbp, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rbp
        pop     %rbx
        pop     %rdx
        pop     %rcx
        pop     %rax
        add     $16, %rsp
        iretq
1:      call    toro_exception                  // never returns
        ud2

        .section .text.switch, "ax"
        .global toro_switch_stack
toro_switch_stack:
        mov     %rdi, %rsp
        xor     %ebp, %ebp
        call    *%rsi
        ud2
#endif
        .section .note.GNU-stack, "", @progbits
