// SPDX-License-Identifier: Apache-2.0
// The least a guest can do: a PVH entry that ends the machine at once. What it takes is QEMU's.
        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 4, 18                        // XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .long   _start
        .text
        .code32
        .global _start
_start: mov     $0x501, %dx
        mov     $1, %eax
        out     %eax, %dx
1:      hlt
        jmp     1b
        .section .note.GNU-stack, "", @progbits
