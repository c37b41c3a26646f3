/* SPDX-License-Identifier: MIT */
/*
 * A virtio block device, modern (virtio 1.0, PCI): one queue, one request at a time, segments of
 * any length at any address. The device must be behind the IOMMU, which it says by ACCESS_PLATFORM.
 * Sections are those of virtio 1.1.
 */
#ifndef DRIVERS_VIRTIO_BLK_H
#define DRIVERS_VIRTIO_BLK_H

#include <granule/dma.h>

#include "pci.h"

#define VIRTIO_VENDOR 0x1af4u
#define VIRTIO_BLK_DEVICE 0x1042u

#define VIRTIO_BLK_ENTRIES 128u
#define VIRTIO_BLK_SEGMENTS (VIRTIO_BLK_ENTRIES - 2)

struct virtio_blk_memory; /* what the device sees of the queue */

struct virtio_blk {
    gr_env_t env;
    struct gr_device *dma;
    volatile void *common, *notify;
    struct virtio_blk_memory *memory;
    gr_iova_t memory_iova;
    uint64_t sectors; /* of 512 bytes */
    uint16_t seen;    /* the used index up to which we looked */
    struct gr_dma_seg out[VIRTIO_BLK_SEGMENTS];
};

/* Returns 0, GR_ENODEV, GR_EIO (it refuses our features), GR_ETIMEDOUT, what gr_dma_alloc() does.
 */
GR_MUST_CHECK int virtio_blk_init(struct virtio_blk *blk, gr_env_t env,
                                  const struct pci_function *fn, struct gr_device *dma);

/* Reset it and free its memory. */
GR_MUST_CHECK int virtio_blk_fini(struct virtio_blk *blk);

/*
 * Read or write from `sector` on; the lengths' sum is a multiple of 512.
 * Returns 0, GR_EMSGSIZE (too many segments), GR_EIO (the device failed it), GR_ETIMEDOUT (after
 * which only virtio_blk_fini() makes sense), and what gr_dma_map_sg() returns.
 */
GR_MUST_CHECK int virtio_blk_rw(struct virtio_blk *blk, bool write, uint64_t sector,
                                const struct gr_seg *segs, unsigned count);

#endif
