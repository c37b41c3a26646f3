/* SPDX-License-Identifier: MIT */
/*
 * QEMU's aarch64 `virt` machine: what the files of this port offer each other. All but start.S,
 * cpu.c, mmu.c, print.c and mem.c serve ports/qemu-qtest as well, which has no CPU. The addresses
 * are QEMU's promise for this machine (docs/QEMU.md, "The machine"). RAM, the IOMMU and the devices
 * behind it are read from the device tree.
 */
#ifndef QEMU_AARCH64_BOARD_H
#define QEMU_AARCH64_BOARD_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GIC_DIST 0x08000000u
#define GIC_CPU 0x08010000u
#define GIC_V2M 0x08020000u
#define UART 0x09000000u
#define PCI_WINDOW 0x10000000u
#define PCI_WINDOW_END 0x3eff0000u
#define RAM_BASE 0x40000000u /* QEMU puts the device tree here when it loads an ELF file */
#define IMAGE_BASE 0x40400000u
#define PCI_ECAM 0x4010000000u

#define PAGE 4096u

/* ---- start.S, or ports/qemu-qtest ---- */

/* Ends the run with this exit status: semihosting, or the program's. */
__attribute__((noreturn)) void board_exit(unsigned status);

/* ---- print.c, or ports/qemu-qtest ---- */

/* Knows %s %c %d %u %x, with l or ll, and with a width, - and 0. */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2))) void panic(const char *format, ...);

/* ---- mmu.c ---- */

void mmu_on(void);                               /* the image, the device tree, the devices */
void mmu_map_ram(uint64_t first, uint64_t last); /* more RAM, whole 2 MiB of it */

/* ---- pages.c ---- */

void pages_add(uint64_t first, uint64_t last);     /* RAM to give out, whole pages of it */
void *pages_alloc(unsigned lg2, uint64_t pa_last); /* 2^lg2 bytes, zeroed; NULL */
void pages_free(void *at, unsigned lg2);
uint64_t pages_used(void); /* bytes given out now */

/* ---- irq.c ---- */

typedef void (*irq_handler)(void *cookie);

void irq_init(void);
/* `edge`: as message-signalled interrupts are. */
void irq_enable(unsigned intid, bool edge, irq_handler handler, void *cookie);
void irq_disable(unsigned intid);
void irq_dispatch(void); /* from start.S */

/* The doorbell for message-signalled interrupts: write the INTID there. */
#define MSI_DOORBELL (GIC_V2M + 0x40u)
unsigned irq_msi_alloc(void); /* an INTID that the doorbell raises */

/* ---- cpu.c, or ports/qemu-qtest for the machine whose CPU is a program on the host ---- */

/* Turn interrupts off, and back to what they were. */
uint64_t irq_save(void);
void irq_restore(uint64_t state);
void irq_on(void);

uint64_t time_ns(void);
void cpu_relax(void); /* between two polls; interrupts that are due come now at the latest */

/* A timer that interrupts after so many ticks, once. */
#define TIMER 27u /* its INTID */
void timer_arm(uint64_t ticks);
void timer_off(void);

/* From a physical address of RAM to a pointer, and back. An address outside of RAM ends the run. */
void *ram_at(uint64_t pa);
uint64_t ram_pa(const void *va);

/* Make all RAM up to `last` usable; returns where RAM begins that nothing uses yet. */
uint64_t ram_open(uint64_t last);

/* The words that select what runs; may be NULL. `tree` is the device tree. */
const char *board_arguments(const void *tree);

/* Crash in the way that `kind` names; the report of the crash is what is tested. */
void cpu_trap(const char *kind);

/* ---- main.c ---- */

int board_main(void); /* returns the exit status */

#endif
