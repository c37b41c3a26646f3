/* SPDX-License-Identifier: MIT */
/* The entry, the exception vectors, and the way out. */

    .section .text.start, "ax"
    .global _start
_start:
    mrs     x1, currentel
    cmp     x1, #(1 << 2)
    b.ne    .                           // EL1 is where `-M virt` starts us
    ldr     x1, =image_vectors
    msr     vbar_el1, x1
    mov     x1, #(3 << 20)              // libfdt's archive is built with vector registers
    msr     cpacr_el1, x1
    msr     spsel, #1
    isb
    ldr     x1, =image_stack_end
    mov     sp, x1
    ldr     x1, =image_bss
    ldr     x2, =image_bss_end
1:  cmp     x1, x2
    b.hs    2f
    stp     xzr, xzr, [x1], #16
    b       1b
2:  mov     x29, xzr
    mov     x30, xzr
    bl      mmu_on
    bl      board_main
    // board_main's result is the exit status
    .global board_exit
board_exit:
    ldr     x1, =exit_block
    mov     w2, w0
    str     x2, [x1, #8]
    mov     x0, #0x18                   // SYS_EXIT: ADP_Stopped_ApplicationExit and the status
    hlt     #0xf000
    b       .

    .data
    .balign 8
exit_block:
    .quad   0x20026, 0

/*
 * One frame for all: x0 to x30, sp, ELR, SPSR, ESR, FAR. Vector registers are not saved: of all that
 * is linked only libfdt uses them, and no handler calls it.
 */
#define FRAME (36 * 8)

    .macro  enter
    sub     sp, sp, #FRAME
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    add     x0, sp, #FRAME
    stp     x30, x0, [sp, #240]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x0, x1, [sp, #256]
    mrs     x0, esr_el1
    mrs     x1, far_el1
    stp     x0, x1, [sp, #272]
    .endm

    .macro  vector number
    .balign 128
    // An exception on a bad stack would fault again for ever: the report gets a stack of its own.
    msr     tpidr_el1, x0
    mov     x0, sp
    msr     tpidrro_el0, x0
    ldr     x0, =trap_stack_end
    mov     sp, x0
    mrs     x0, tpidr_el1
    b       trap_\number
    .endm

    .text
    .balign 2048
image_vectors:
    vector  0
    vector  1
    vector  2
    vector  3
    vector  4
    .balign 128                         // an interrupt, on the image's stack
    b       irq_entry
    vector  6
    vector  7
    vector  8
    vector  9
    vector  10
    vector  11
    vector  12
    vector  13
    vector  14
    vector  15

    .irp    number, 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
trap_\number:
    enter
    mrs     x0, tpidrro_el0
    str     x0, [sp, #248]
    mov     x0, sp
    mov     x1, #\number
    bl      trap_report
    .endr

irq_entry:
    enter
    bl      irq_dispatch
    ldp     x0, x1, [sp, #256]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldp     x0, x1, [sp, #0]
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    add     sp, sp, #FRAME
    eret

    .bss
    .balign 16
    .space  8192
trap_stack_end:
