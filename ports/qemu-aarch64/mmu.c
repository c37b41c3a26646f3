/* SPDX-License-Identifier: MIT */
/*
 * The CPU's own page tables: 4 KiB pages, 39 bits, everything mapped at its physical address. The
 * image is mapped page by page, so that text cannot be written, data cannot run and the stack has
 * an end. All else is mapped in blocks of 2 MiB. Without the MMU, in mmu_on(), unaligned accesses
 * fault, so this file is built with -mstrict-align.
 */
#include "board.h"

#define VALID 0x3u /* a table, or at the lowest level a page */
#define BLOCK 0x1u
#define DEVICE (0u << 2) /* index of MAIR */
#define NORMAL (1u << 2)
#define READ_ONLY (1u << 7)
#define INNER_SHAREABLE (3u << 8)
#define ACCESSED (1u << 10)
#define NEVER_RUN (3ull << 53)

#define RAM_RW (NORMAL | INNER_SHAREABLE | ACCESSED | NEVER_RUN)
#define RAM_RO (RAM_RW | READ_ONLY)
#define RAM_TEXT ((RAM_RO & ~NEVER_RUN) | 1ull << 54)
#define REGISTERS (DEVICE | ACCESSED | NEVER_RUN)

#define MAIR 0xff04ull /* 0: device nGnRE, 1: write-back */
#define TCR                                                                                        \
    (25ull | 1ull << 8 | 1ull << 10 | 3ull << 12 | 1ull << 23 | 2ull << 32) /* 39 bits, 4 KiB,     \
                                     cached walks, inner shareable, TTBR0 only, PAs of 40 bits */

extern char image_text[], image_rodata[], image_data[], image_guard[], image_stack[], image_end[];

static uint64_t tables[16][512] __attribute__((aligned(4096)));
static unsigned tables_used = 1; /* the first is the root */

static uint64_t *below(uint64_t *entry)
{
    if (!*entry) {
        if (tables_used == sizeof(tables) / sizeof(tables[0]))
            panic("mmu: too many tables");
        *entry = (uint64_t)(uintptr_t)tables[tables_used++] | VALID;
    }
    return (uint64_t *)(uintptr_t)(*entry & 0xfffffffff000u);
}

static void map(uint64_t first, uint64_t end, uint64_t attributes)
{
    for (uint64_t at = first; at < end;) {
        uint64_t *entry = below(&tables[0][at >> 30 & 511]) + (at >> 21 & 511);

        if (!*entry && (at & 0x1fffff) == 0 && end - at >= 0x200000) {
            *entry = at | attributes | BLOCK;
            at += 0x200000;
        } else if (*entry && (*entry & VALID) == BLOCK) {
            at = (at | 0x1fffff) + 1; /* mapped before */
        } else {
            entry = below(entry) + (at >> 12 & 511);
            if (!*entry)
                *entry = at | attributes | VALID;
            at += PAGE;
        }
    }
    __asm__ volatile("dsb ishst\n\tisb" ::: "memory");
}

static uint64_t place(const char *label)
{
    return (uint64_t)(uintptr_t)label;
}

void mmu_map_ram(uint64_t first, uint64_t last)
{
    map(first, (last & ~0x1fffffull) + 0x200000, RAM_RW);
}

void mmu_on(void)
{
    uint64_t sctlr;

    map(place(image_text), place(image_rodata), RAM_TEXT);
    map(place(image_rodata), place(image_data), RAM_RO);
    map(place(image_data), place(image_guard), RAM_RW);
    map(place(image_stack), (place(image_end) + 0x1fffff) & ~0x1fffffull, RAM_RW);
    map(RAM_BASE, IMAGE_BASE, RAM_RO); /* the device tree */
    map(GIC_DIST, PCI_WINDOW_END & ~0x1fffffu, REGISTERS);
    map(PCI_ECAM, PCI_ECAM + 0x200000, REGISTERS); /* of buses 0 and 1 */
    __asm__ volatile("msr mair_el1, %0\n\tmsr tcr_el1, %1\n\tmsr ttbr0_el1, %2\n\t"
                     "dsb sy\n\ttlbi vmalle1\n\tdsb sy\n\tisb" ::"r"(MAIR),
                     "r"(TCR), "r"(tables)
                     : "memory");
    __asm__ volatile("mrs %0, sctlr_el1" : "=r"(sctlr));
    sctlr |= 1u << 0 | 1u << 2 | 1u << 3 | 1u << 12; /* MMU, data cache, SP aligned, I-cache */
    sctlr &= ~2ull;                                  /* data need not be aligned */
    __asm__ volatile("msr sctlr_el1, %0\n\tisb" ::"r"(sctlr) : "memory");
}
