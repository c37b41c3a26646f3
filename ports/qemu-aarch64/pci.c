/* SPDX-License-Identifier: MIT */
#include "pci.h"
#include "board.h"

#define COMMAND 0x04u /* and status */
#define HEADER 0x0cu  /* type in bits 23 to 16 */
#define BAR0 0x10u
#define CAPABILITIES 0x34u

#define CAP_MSI 0x05u
#define CAP_MSIX 0x11u

uint32_t pci_read(const struct pci_function *fn, unsigned offset)
{
    return mmio_read32(fn->config, offset);
}

void pci_write(const struct pci_function *fn, unsigned offset, uint32_t value)
{
    mmio_write32(fn->config, offset, value);
}

void pci_enable(const struct pci_function *fn, bool on)
{
    /* memory, bus master, no INTx; the status in the upper half is cleared by ones */
    pci_write(fn, COMMAND, on ? 0x406 : 0x402);
}

volatile void *pci_bar(const struct pci_function *fn, unsigned bar)
{
    return bar < 6 && fn->bar[bar] ? (volatile void *)(uintptr_t)fn->bar[bar] : NULL;
}

static unsigned find_capability(const struct pci_function *fn, unsigned id)
{
    unsigned at = pci_read(fn, CAPABILITIES) & 0xfc;

    for (unsigned i = 0; at && i < 48; i++) {
        uint32_t head = pci_read(fn, at);

        if ((head & 0xff) == id)
            return at;
        at = head >> 8 & 0xfc;
    }
    return 0;
}

bool pci_msi(const struct pci_function *fn, gr_iova_t doorbell, uint32_t data)
{
    unsigned at = find_capability(fn, CAP_MSIX);

    if (at) {
        uint32_t table = pci_read(fn, at + 4);
        volatile void *entry = pci_bar(fn, table & 7);

        if (!entry)
            return false;
        pci_write(fn, at, 0xc0000000); /* on, all masked */
        mmio_write32(entry, (table & ~7u) + 0, (uint32_t)doorbell);
        mmio_write32(entry, (table & ~7u) + 4, (uint32_t)(doorbell >> 32));
        mmio_write32(entry, (table & ~7u) + 8, data);
        mmio_write32(entry, (table & ~7u) + 12, 0); /* this vector is not masked */
        pci_write(fn, at, 0x80000000);
        return true;
    }
    at = find_capability(fn, CAP_MSI);
    if (!at)
        return false;
    bool wide = pci_read(fn, at) >> 23 & 1;

    if (!wide && doorbell >> 32)
        return false;
    pci_write(fn, at, 0);
    pci_write(fn, at + 4, (uint32_t)doorbell);
    if (wide)
        pci_write(fn, at + 8, (uint32_t)(doorbell >> 32));
    pci_write(fn, at + (wide ? 12 : 8), data);
    pci_write(fn, at, 0x10000); /* on, one vector */
    return true;
}

/* A BAR's size is read from the bits that stay set after all ones. Every BAR is put below 4 GiB. */
static void place_bars(struct pci_function *fn, uint32_t *window)
{
    for (unsigned i = 0; i < 6; i++) {
        unsigned at = BAR0 + 4 * i;
        uint32_t kind = pci_read(fn, at), size;
        bool wide = (kind & 7) == 4;

        pci_write(fn, at, UINT32_MAX);
        size = pci_read(fn, at);
        if (kind & 1 || !(size & ~0xfu)) { /* ports, or nothing */
            pci_write(fn, at, 0);
            continue;
        }
        size = ~(size & ~0xfu) + 1;
        *window = (*window + size - 1) & ~(size - 1);
        if (*window > PCI_WINDOW_END - size)
            panic("pci: no place for a BAR of %x bytes", size);
        fn->bar[i] = *window;
        pci_write(fn, at, *window);
        *window += size;
        if (wide)
            pci_write(fn, BAR0 + 4 * ++i, 0);
    }
}

unsigned pci_scan(struct pci_function *functions, unsigned room)
{
    uint32_t window = PCI_WINDOW;
    unsigned count = 0;

    for (unsigned rid = 0; rid < 256 && count < room; rid++) {
        struct pci_function *fn = &functions[count];
        uint32_t id;

        *fn = (struct pci_function){.rid = (uint16_t)rid,
                                    .config = (volatile void *)(PCI_ECAM + ((uintptr_t)rid << 12))};
        id = pci_read(fn, 0);
        if ((id & 0xffff) == 0xffff) {
            rid |= rid & 7 ? 0 : 7; /* without function 0 there is no other */
            continue;
        }
        fn->vendor = (uint16_t)id;
        fn->device = (uint16_t)(id >> 16);
        if ((pci_read(fn, HEADER) >> 16 & 0x7f) == 0) /* no bridge */
            place_bars(fn, &window);
        pci_enable(fn, false);
        if (!(rid & 7) && !(pci_read(fn, HEADER) >> 16 & 0x80))
            rid |= 7; /* one function only */
        count++;
    }
    return count;
}
