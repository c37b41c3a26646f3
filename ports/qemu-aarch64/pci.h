/* SPDX-License-Identifier: MIT */
/* The functions on bus 0. No firmware has run, so this port places their BARs. */
#ifndef QEMU_AARCH64_PCI_H
#define QEMU_AARCH64_PCI_H

#include "examples/drivers/pci.h"

struct pci_function {
    volatile void *config;
    uint16_t rid; /* bus, device and function: what an iommu-map translates to a stream */
    uint16_t vendor, device;
    uint32_t bar[6]; /* address, 0: none */
};

/* Find every function and place its BARs. Returns how many, at most `room`. */
unsigned pci_scan(struct pci_function *functions, unsigned room);

#endif
