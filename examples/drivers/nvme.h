/* SPDX-License-Identifier: MIT */
/*
 * An NVMe controller: the admin queue, one queue for I/O, one namespace, PRP lists. One command at
 * a time, completions by polling; the interrupt may be on and is the host's to count.
 *
 * Rings and lists are coherent buffers, data is mapped for each command: the way of every driver
 * for hardware with rings. Sections are those of NVM Express 1.4.
 */
#ifndef DRIVERS_NVME_H
#define DRIVERS_NVME_H

#include <granule/dma.h>

#include "pci.h"

#define NVME_CLASS 0x010802u

#define NVME_ENTRIES 32u /* of each queue */
#define NVME_SEGMENTS 128u

#define NVME_WRITE 0x01u
#define NVME_READ 0x02u

struct nvme_queue {
    uint32_t *submit;            /* 16 dwords an entry */
    volatile uint32_t *complete; /* 4 dwords an entry */
    gr_iova_t submit_iova, complete_iova;
    unsigned id, tail, head, phase;
};

struct nvme {
    gr_env_t env;
    struct gr_device *dma;
    volatile void *regs;
    unsigned doorbell_lg2; /* bytes between two doorbells */
    struct nvme_queue admin, io;
    uint64_t *prps; /* a page of PRP entries */
    gr_iova_t prps_iova;
    uint64_t blocks;    /* of the namespace */
    unsigned block_lg2; /* bytes of one */
    uint64_t max_bytes; /* of one command */
    uint32_t status;    /* of the last command, 0: success */
    struct gr_dma_seg out[NVME_SEGMENTS];
};

/*
 * Start the controller. `dma` is attached to a domain. On failure everything is given back.
 * Returns 0, GR_ENODEV (not an NVMe controller of a kind that this driver knows), GR_EIO (it
 * refuses), GR_ETIMEDOUT, and what gr_dma_alloc() returns.
 */
GR_MUST_CHECK int nvme_init(struct nvme *nvme, gr_env_t env, const struct pci_function *fn,
                            struct gr_device *dma);

/* Stop it and free its memory. Returns 0, GR_ETIMEDOUT (it may still use its rings: they stay). */
GR_MUST_CHECK int nvme_fini(struct nvme *nvme);

/*
 * Read or write whole blocks from block `lba` on, NVME_READ or NVME_WRITE. A PRP list has no
 * lengths: every segment but the first begins on a page of 4 KiB, every one but the last ends on
 * one, and the first is aligned to 4 bytes. Returns 0, GR_EINVAL (the segments are not like that),
 * GR_EMSGSIZE (more than one command takes), GR_EIO
 * (`status`), GR_ETIMEDOUT (after which only nvme_fini() makes sense), and what gr_dma_map_sg()
 * returns.
 */
GR_MUST_CHECK int nvme_rw(struct nvme *nvme, unsigned opcode, uint64_t lba,
                          const struct gr_seg *segs, unsigned count);

/* The same with addresses that the device uses, mapped or not: at most two pages. */
GR_MUST_CHECK int nvme_io(struct nvme *nvme, unsigned opcode, uint64_t lba, unsigned blocks,
                          gr_iova_t prp1, gr_iova_t prp2);

#endif
