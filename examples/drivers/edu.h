/* SPDX-License-Identifier: MIT */
/*
 * QEMU's educational device: 4 KiB of memory of its own and one DMA engine between that and the
 * host's. What is a driver's first page elsewhere is a probe here: it goes to any address it is
 * told, so a test can send it where it must not get.
 */
#ifndef DRIVERS_EDU_H
#define DRIVERS_EDU_H

#include <granule/dma.h>

#include "pci.h"

#define EDU_VENDOR 0x1234u
#define EDU_DEVICE 0x11e8u

/* The most that one transfer takes: the device's own check refuses the last byte of its memory. */
#define EDU_MAX 4095u

struct edu {
    gr_env_t env;
    volatile void *regs;
};

/* Returns 0 or GR_ENODEV (not this device). */
GR_MUST_CHECK int edu_init(struct edu *edu, gr_env_t env, const struct pci_function *fn);

/*
 * Move `len` bytes, 1 to EDU_MAX, between the device's memory and `iova`. The device does not say
 * what became of them. Returns 0, GR_EINVAL (len) or GR_ETIMEDOUT.
 */
GR_MUST_CHECK int edu_read(struct edu *edu, gr_iova_t iova, uint32_t len);  /* host to device */
GR_MUST_CHECK int edu_write(struct edu *edu, gr_iova_t iova, uint32_t len); /* device to host */

/* Raise the interrupt, and take it back. */
void edu_interrupt(struct edu *edu);
void edu_acknowledge(struct edu *edu);

/* Copy a buffer into or out of another through the device: what a user of DMA does, in whole. */
GR_MUST_CHECK int edu_copy(struct edu *edu, struct gr_device *dma, gr_pa_t to, gr_pa_t from,
                           uint32_t len);

#endif
