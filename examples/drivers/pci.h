/* SPDX-License-Identifier: MIT */
/*
 * What a host gives the drivers in this folder besides the DMA API: a function's configuration
 * space, its registers, its interrupt. The host implements the functions; a driver never looks into
 * struct pci_function.
 */
#ifndef DRIVERS_PCI_H
#define DRIVERS_PCI_H

#include <granule/types.h>

struct pci_function;

/* Configuration space, `offset` a multiple of 4. */
uint32_t pci_read(const struct pci_function *fn, unsigned offset);
void pci_write(const struct pci_function *fn, unsigned offset, uint32_t value);

/* Let the function be a bus master, or not. Its registers are there either way. */
void pci_enable(const struct pci_function *fn, bool on);

/* The registers of a memory BAR, for the functions below; NULL when there is none. */
volatile void *pci_bar(const struct pci_function *fn, unsigned bar);

/*
 * Let the function's first message-signalled interrupt (MSI-X or MSI) write `data` to `doorbell`,
 * an address as the device sees it. Before the driver starts the device: some look only then
 * whether their vectors are on. False: it has neither.
 */
bool pci_msi(const struct pci_function *fn, gr_iova_t doorbell, uint32_t data);

/*
 * Registers: one access of this width, in program order. `regs` is what pci_bar() returned, or that
 * plus an offset; only these functions look behind it, so a host whose registers are not in its
 * address space may choose what it is.
 */
uint8_t mmio_read8(volatile void *regs, unsigned offset);
uint16_t mmio_read16(volatile void *regs, unsigned offset);
uint32_t mmio_read32(volatile void *regs, unsigned offset);
uint64_t mmio_read64(volatile void *regs, unsigned offset);
void mmio_write8(volatile void *regs, unsigned offset, uint8_t value);
void mmio_write16(volatile void *regs, unsigned offset, uint16_t value);
void mmio_write32(volatile void *regs, unsigned offset, uint32_t value);
void mmio_write64(volatile void *regs, unsigned offset, uint64_t value);

#endif
