/* SPDX-License-Identifier: MIT */
/* What needs instructions of the CPU: barriers, registers, time, the mask of interrupts. */
#include "board.h"
#include "examples/drivers/pci.h"
#include <granule/port.h>
#include <libfdt.h>

extern char image_stack[], image_end[];

/* ---- The port: barriers ---- */

/* Line by line, to the point of coherency. Never called on this machine, which is coherent. */
void gr_port_cache(gr_env_t env, const void *va, size_t len, unsigned op)
{
    uintptr_t at = (uintptr_t)va & ~(uintptr_t)(GR_PORT_CACHE_LINE - 1);

    (void)env;
    for (; at < (uintptr_t)va + len; at += GR_PORT_CACHE_LINE) {
        if (op & GR_CACHE_INVAL) /* cleans as well: other data in the line must survive */
            __asm__ volatile("dc civac, %0" ::"r"(at) : "memory");
        else
            __asm__ volatile("dc cvac, %0" ::"r"(at) : "memory");
    }
    __asm__ volatile("dsb sy" ::: "memory");
}

void gr_port_wmb(void)
{
    __asm__ volatile("dsb st" ::: "memory");
}

void gr_port_rmb(void)
{
    __asm__ volatile("dsb ld" ::: "memory");
}

void gr_port_mb(void)
{
    __asm__ volatile("dsb sy" ::: "memory");
}

/* ---- Registers ---- */

uint8_t mmio_read8(volatile void *regs, unsigned offset)
{
    return *(volatile uint8_t *)((volatile uint8_t *)regs + offset);
}

uint16_t mmio_read16(volatile void *regs, unsigned offset)
{
    return *(volatile uint16_t *)((volatile uint8_t *)regs + offset);
}

uint32_t mmio_read32(volatile void *regs, unsigned offset)
{
    return *(volatile uint32_t *)((volatile uint8_t *)regs + offset);
}

uint64_t mmio_read64(volatile void *regs, unsigned offset)
{
    return *(volatile uint64_t *)((volatile uint8_t *)regs + offset);
}

void mmio_write8(volatile void *regs, unsigned offset, uint8_t value)
{
    *(volatile uint8_t *)((volatile uint8_t *)regs + offset) = value;
}

void mmio_write16(volatile void *regs, unsigned offset, uint16_t value)
{
    *(volatile uint16_t *)((volatile uint8_t *)regs + offset) = value;
}

void mmio_write32(volatile void *regs, unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)((volatile uint8_t *)regs + offset) = value;
}

void mmio_write64(volatile void *regs, unsigned offset, uint64_t value)
{
    *(volatile uint64_t *)((volatile uint8_t *)regs + offset) = value;
}

/* ---- Interrupts and time ---- */

uint64_t irq_save(void)
{
    uint64_t daif;

    __asm__ volatile("mrs %0, daif\n\tmsr daifset, #2" : "=r"(daif)::"memory");
    return daif;
}

void irq_restore(uint64_t daif)
{
    __asm__ volatile("msr daif, %0" ::"r"(daif) : "memory");
}

void irq_on(void)
{
    __asm__ volatile("msr daifclr, #2" ::: "memory");
}

uint64_t time_ns(void)
{
    uint64_t count, frequency;

    __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(count)::"memory");
    __asm__("mrs %0, cntfrq_el0" : "=r"(frequency));
    return count / frequency * 1000000000u + count % frequency * 1000000000u / frequency;
}

void cpu_relax(void)
{
    __asm__ volatile("yield" ::: "memory");
}

void timer_arm(uint64_t ticks)
{
    __asm__ volatile("msr cntv_tval_el0, %0\n\tmsr cntv_ctl_el0, %1\n\tisb" ::"r"(ticks), "r"(1ul));
}

void timer_off(void)
{
    __asm__ volatile("msr cntv_ctl_el0, xzr\n\tisb");
}

/* ---- Memory is mapped at its physical address ---- */

void *ram_at(uint64_t pa)
{
    return (void *)(uintptr_t)pa;
}

uint64_t ram_pa(const void *va)
{
    return (uintptr_t)va;
}

uint64_t ram_open(uint64_t last)
{
    const uint64_t after = ((uint64_t)(uintptr_t)image_end + 0x1fffff) & ~0x1fffffull;

    mmu_map_ram(after, last);
    return after;
}

/* ---- What to run ---- */

/* QEMU's -append. */
const char *board_arguments(const void *tree)
{
    int len = 0, chosen = fdt_path_offset(tree, "/chosen");

    return chosen < 0 ? NULL : fdt_getprop(tree, chosen, "bootargs", &len);
}

static bool is(const char *kind, const char *name)
{
    return memcmp(kind, name, strlen(name)) == 0;
}

void cpu_trap(const char *kind)
{
    if (is(kind, "store"))
        *(volatile uint32_t *)(uintptr_t)0x1234 = 1;
    if (is(kind, "text"))
        *(volatile uint32_t *)(uintptr_t)board_main = 1;
    if (is(kind, "stack")) /* the first store below the end of the stack */
        __asm__ volatile("mov sp, %0\n\tstr xzr, [sp, #-16]!" ::"r"(image_stack));
}
