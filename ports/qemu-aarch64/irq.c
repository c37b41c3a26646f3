/* SPDX-License-Identifier: MIT */
/* The GICv2 and its frame for message-signalled interrupts (GICv2m). */
#include "board.h"

#define INTIDS 288u

static struct {
    irq_handler handler;
    void *cookie;
} handlers[INTIDS];

static unsigned msi_next, msi_end;

static volatile uint32_t *reg(uint32_t base, uint32_t offset)
{
    return (volatile uint32_t *)(uintptr_t)(base + offset);
}

void irq_init(void)
{
    uint32_t frame = *reg(GIC_V2M, 0x8); /* MSI_TYPER */

    msi_next = frame >> 16 & 0x3ff;
    msi_end = msi_next + (frame & 0x3ff);
    *reg(GIC_DIST, 0) = 1;   /* GICD_CTLR */
    *reg(GIC_CPU, 4) = 0xff; /* GICC_PMR: every priority */
    *reg(GIC_CPU, 0) = 1;    /* GICC_CTLR */
    __asm__ volatile("msr daifclr, #2" ::: "memory");
}

void irq_enable(unsigned intid, bool edge, irq_handler handler, void *cookie)
{
    volatile uint8_t *bytes = (volatile uint8_t *)reg(GIC_DIST, 0);
    uint64_t state = irq_save();
    volatile uint32_t *config = reg(GIC_DIST, 0xc00 + intid / 16 * 4);
    const uint32_t bit = 2u << intid % 16 * 2;

    if (intid >= INTIDS)
        panic("irq: INTID %u", intid);
    handlers[intid].handler = handler;
    handlers[intid].cookie = cookie;
    *config = edge ? *config | bit : *config & ~bit;           /* GICD_ICFGR */
    bytes[0x400 + intid] = 0x80;                               /* GICD_IPRIORITYR */
    bytes[0x800 + intid] = 1;                                  /* GICD_ITARGETSR: CPU 0 */
    *reg(GIC_DIST, 0x280 + intid / 32 * 4) = 1u << intid % 32; /* GICD_ICPENDR */
    *reg(GIC_DIST, 0x100 + intid / 32 * 4) = 1u << intid % 32; /* GICD_ISENABLER */
    irq_restore(state);
}

void irq_disable(unsigned intid)
{
    *reg(GIC_DIST, 0x180 + intid / 32 * 4) = 1u << intid % 32; /* GICD_ICENABLER */
    handlers[intid].handler = NULL;
}

void irq_dispatch(void)
{
    for (;;) {
        uint32_t iar = *reg(GIC_CPU, 0xc); /* GICC_IAR */
        uint32_t intid = iar & 0x3ff;

        if (intid >= INTIDS)
            return; /* 1023: none left */
        if (!handlers[intid].handler)
            panic("irq: INTID %u has no handler", intid);
        handlers[intid].handler(handlers[intid].cookie);
        *reg(GIC_CPU, 0x10) = iar; /* GICC_EOIR */
    }
}

unsigned irq_msi_alloc(void)
{
    if (msi_next == msi_end)
        panic("irq: no message-signalled interrupt left");
    return msi_next++;
}
