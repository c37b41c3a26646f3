/* SPDX-License-Identifier: MIT */
/* The GICv2 and its frame for message-signalled interrupts (GICv2m). */
#include "board.h"
#include "examples/drivers/pci.h"

#define INTIDS 288u

static struct {
    irq_handler handler;
    void *cookie;
} handlers[INTIDS];

static unsigned msi_next, msi_end;

static volatile void *const dist = (volatile void *)(uintptr_t)GIC_DIST;
static volatile void *const cpu = (volatile void *)(uintptr_t)GIC_CPU;

void irq_init(void)
{
    uint32_t frame = mmio_read32((volatile void *)(uintptr_t)GIC_V2M, 0x8); /* MSI_TYPER */

    msi_next = frame >> 16 & 0x3ff;
    msi_end = msi_next + (frame & 0x3ff);
    mmio_write32(dist, 0, 1);   /* GICD_CTLR */
    mmio_write32(cpu, 4, 0xff); /* GICC_PMR: every priority */
    mmio_write32(cpu, 0, 1);    /* GICC_CTLR */
    irq_on();
}

void irq_enable(unsigned intid, bool edge, irq_handler handler, void *cookie)
{
    uint64_t state = irq_save();
    const uint32_t bit = 2u << intid % 16 * 2, config = 0xc00 + intid / 16 * 4; /* GICD_ICFGR */
    uint32_t old;

    if (intid >= INTIDS)
        panic("irq: INTID %u", intid);
    handlers[intid].handler = handler;
    handlers[intid].cookie = cookie;
    old = mmio_read32(dist, config);
    mmio_write32(dist, config, edge ? old | bit : old & ~bit);
    mmio_write8(dist, 0x400 + intid, 0x80);                       /* GICD_IPRIORITYR */
    mmio_write8(dist, 0x800 + intid, 1);                          /* GICD_ITARGETSR: CPU 0 */
    mmio_write32(dist, 0x280 + intid / 32 * 4, 1u << intid % 32); /* GICD_ICPENDR */
    mmio_write32(dist, 0x100 + intid / 32 * 4, 1u << intid % 32); /* GICD_ISENABLER */
    irq_restore(state);
}

void irq_disable(unsigned intid)
{
    mmio_write32(dist, 0x180 + intid / 32 * 4, 1u << intid % 32); /* GICD_ICENABLER */
    handlers[intid].handler = NULL;
}

void irq_dispatch(void)
{
    for (;;) {
        uint32_t iar = mmio_read32(cpu, 0xc); /* GICC_IAR */
        uint32_t intid = iar & 0x3ff;

        if (intid >= INTIDS)
            return; /* 1023: none left */
        if (!handlers[intid].handler)
            panic("irq: INTID %u has no handler", intid);
        handlers[intid].handler(handlers[intid].cookie);
        mmio_write32(cpu, 0x10, iar); /* GICC_EOIR */
    }
}

unsigned irq_msi_alloc(void)
{
    if (msi_next == msi_end)
        panic("irq: no message-signalled interrupt left");
    return msi_next++;
}
