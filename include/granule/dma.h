/* SPDX-License-Identifier: MIT */
/*
 * The DMA API: what the driver of a device calls.
 *
 * A device's group must be attached to a TRANSLATED, LINEAR or IDENTITY domain (domain.h). Buffers
 * are physical ranges of any offset and length. The granules around a buffer are mapped whole, also
 * where the granule G is larger than the buffer or than the CPU's page, and the buffer's offset is
 * added back: the address returned is that of the buffer's first byte.
 *
 * Isolation (enum gr_isolation in domain.h) concerns the granules at a buffer's two ends. With
 * EXPOSE, the default of trusted devices, the device sees all of these granules. Else it sees only
 * the buffer's part: through the leaf's window, or because that part is copied to a slot of the
 * domain's bounce pool (bounce.h). A copied part keeps its offset in the granule. The CPU's and the
 * device's writes to a copied part meet only in gr_dma_sync_*() and in unmap, so call the syncs
 * also for coherent devices. A map copies the part in whatever the direction, so that a device that
 * writes less than it was given destroys nothing.
 *
 * In LINEAR and IDENTITY domains a map only checks the address and subtracts the domain's offset. A
 * buffer out of reach of the domain or of the device's mask is copied to a slot as a whole,
 * GR_BOUNCE_CHUNK bytes at most. Unmapping twice goes unnoticed there, except for copied buffers.
 *
 * Coherence: for a device that is not coherent, the CPU's caches are cleaned before the map and
 * invalidated after the unmap, whole cache lines at the buffer's ends included. While the buffer is
 * mapped the CPU must not write to anything else in these lines.
 *
 * For a coherent device caches are left alone, and a sync has no barrier. The driver itself calls
 * gr_port_wmb() between its stores to a buffer or ring and the store that tells the device of them,
 * and gr_port_rmb() between the load that tells of the device's stores and the loads of the data.
 *
 * Context: any (types.h) for every call here, except gr_dma_alloc() and gr_dma_free(), which may
 * sleep. Locks: calls take only the library's own: the domain's, its tables', the instances', the
 * pool's. Calls that set something of a device (gr_dma_set_*()) are serialised by the driver.
 *
 * Errors are the same everywhere. Nothing has changed after an error, except for GR_ETIMEDOUT:
 *   - GR_ENODEV      the device's group is attached to no TRANSLATED, LINEAR or IDENTITY domain
 *   - GR_ENODATA     a length of 0, a list without segments
 *   - GR_EACCES      dir is none of the three
 *   - GR_EOPNOTSUPP  unknown bit in attrs; an end of the buffer must bounce, but the domain has no
 *                    pool or the buffer is GR_DMA_MMIO
 *   - GR_ENOBUFS     the bounce pool is at its limit, or the buffer is longer than the largest slot
 *   - GR_EOVERFLOW   a range passes 2^64, or a list needs more than 2^63 bytes of IOVA
 *   - GR_EFAULT      memory beyond the IOMMU's physical address width; memory that a LINEAR or
 *                    IDENTITY domain does not reach, and that cannot bounce
 *   - GR_ERANGE      no granule of the aperture lies below the device's mask
 *   - GR_ENOSPC      no IOVA range of that size is left below the mask, also after a short wait for
 *                    unmaps in flight
 *   - GR_ENOMEM      the port has no memory left
 *   - GR_EIO         an invalidation of this domain failed before: the device is blocked
 *   - GR_ENOENT      no mapping contains the range: unmapped twice?
 *   - GR_EMSGSIZE    the granules are not exactly those of one mapping
 *   - GR_ETIMEDOUT   the IOMMU did not confirm an invalidation in time. Nothing is mapped, but the
 *                    memory is *not safe to reuse*. The device is blocked from now on, unless a
 *                    second attempt was confirmed, which only a map makes
 */
#ifndef GRANULE_DMA_H
#define GRANULE_DMA_H

#include <granule/domain.h>
#include <granule/err.h>
#include <granule/types.h>

GR_BEGIN_DECLS

enum gr_dma_dir {
    GR_DMA_TO_DEVICE = 1,     /* the device reads; mapped read-only */
    GR_DMA_FROM_DEVICE = 2,   /* the device writes; mapped write-only */
    GR_DMA_BIDIRECTIONAL = 3, /* both */
};

/* Attributes, or'ed. Map and unmap of a buffer get the same attributes. */
#define GR_DMA_SKIP_SYNC 0x1u /* no cache maintenance now: the caller calls gr_dma_sync_*() */
#define GR_DMA_UNCACHED 0x2u  /* map with GR_PROT_UNCACHED */
#define GR_DMA_MMIO 0x4u      /* registers of another device, not memory: never cache maintenance */

/*
 * Map [pa, pa + len) for the device and write the address that the device uses to *out_iova. The
 * caller keeps the memory until the unmap. With GR_DMA_MMIO the range need not be memory. As for
 * memory, isolation decides whether the rest of its granules is exposed: mind registers there.
 * Context: any. Errors: GR_ENODEV, GR_ENODATA, GR_EACCES, GR_EOPNOTSUPP, GR_EOVERFLOW, GR_EFAULT,
 * GR_ERANGE, GR_ENOSPC, GR_ENOMEM, GR_ENOBUFS, GR_EIO, GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gr_dma_map(struct gr_device *dev, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir,
                             unsigned attrs, gr_iova_t *out_iova);

/*
 * Undo a map: with its iova and len, and the same dir and attrs. After a 0 the CPU sees what the
 * device wrote, and the device reaches no byte of the buffer through this mapping; in a DEFERRED,
 * LINEAR or IDENTITY domain it may still reach the buffer.
 * Context: any. Errors: GR_ENODEV, GR_ENODATA, GR_EACCES, GR_EOPNOTSUPP, GR_EOVERFLOW, GR_ENOENT,
 * GR_EMSGSIZE, GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gr_dma_unmap(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                               enum gr_dma_dir dir, unsigned attrs);

/*
 * Hand [iova, iova + len) to the CPU, which then reads what the device wrote, or back to the
 * device, which then reads what the CPU wrote. The range is any part of one mapping; of a list it
 * is a part of one output segment. For a coherent device that is not isolated, or whose domain has
 * no pool, the calls in a TRANSLATED domain cost nothing and check only their arguments.
 * Context: any. Errors: GR_ENODEV, GR_ENODATA, GR_EACCES, GR_EOVERFLOW, GR_ENOENT (the range is not
 * all mapped).
 */
GR_MUST_CHECK int gr_dma_sync_for_cpu(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                      enum gr_dma_dir dir);
GR_MUST_CHECK int gr_dma_sync_for_device(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                         enum gr_dma_dir dir);

/* ---- Lists ---- */

struct gr_dma_seg {
    gr_iova_t iova;
    uint64_t len;
};

/*
 * A scatter list. The caller owns both arrays and keeps them until the unmap. The library only
 * reads `segs`. `out` has room for `count` entries.
 */
struct gr_dma_list {
    const struct gr_seg *segs;
    unsigned count;
    /* How many entries of `out` the device uses. gr_dma_map_sg() writes it; 0 after a failure. */
    unsigned out_count;
    /* Addresses for the device, in the order of the list. gr_dma_map_sg() writes them. */
    struct gr_dma_seg *out;
};

/*
 * Say which segments the device can take: of at most `max_len` bytes (0: any), none of which
 * crosses a multiple of `boundary`, a power of two (0: none). Only later calls of gr_dma_map_sg()
 * are affected. Context: any; takes no lock. Returns 0 or GR_EINVAL (no power of two).
 */
GR_MUST_CHECK int gr_dma_set_seg_limits(struct gr_device *dev, uint64_t max_len, uint64_t boundary);

/*
 * Map a list into one IOVA range: all of the list or nothing. Each output segment is made of whole
 * input segments, in order. So there are never more outputs than inputs, and the sum of the lengths
 * is the same. Two neighbouring inputs share an output if the device's limits allow it, and
 *  - the second begins at the physical end of the first, whatever the offset; or
 *  - the first ends and the second begins on a multiple of gr_dma_merge_boundary() + 1 bytes.
 * Cost: one IOVA allocation, one walk for each leaf table, one invalidation.
 * Context: any. Errors: those of gr_dma_map(), for each segment; and GR_EINVAL (a segment is longer
 * than the device's max_len, or would cross a boundary wherever it is placed).
 */
GR_MUST_CHECK int gr_dma_map_sg(struct gr_device *dev, struct gr_dma_list *list,
                                enum gr_dma_dir dir, unsigned attrs);

/*
 * Undo the map of a whole list. `list` is as gr_dma_map_sg() filled it. Context: any. Errors as
 * gr_dma_unmap().
 */
GR_MUST_CHECK int gr_dma_unmap_sg(struct gr_device *dev, const struct gr_dma_list *list,
                                  enum gr_dma_dir dir, unsigned attrs);

/*
 * gr_dma_sync_for_*() for a whole list. Context: any. Errors: GR_ENODEV, GR_ENODATA, GR_EACCES,
 * GR_ENOENT.
 */
GR_MUST_CHECK int gr_dma_sync_sg_for_cpu(struct gr_device *dev, const struct gr_dma_list *list,
                                         enum gr_dma_dir dir);
GR_MUST_CHECK int gr_dma_sync_sg_for_device(struct gr_device *dev, const struct gr_dma_list *list,
                                            enum gr_dma_dir dir);

/* ---- Coherent buffers ---- */

/*
 * Allocate memory that CPU and device both use all the time: rings, descriptors. `size` is any
 * number of bytes. *out_iova and *out_cpu are aligned to `size` rounded up to a power of two, and
 * at least to a granule. The buffer owns its granules: all that the device can reach of them is
 * zero. The device may read and write. For a device that is not coherent the port's optional
 * uncached mapping (port.h) is needed. Free the buffer with gr_dma_free().
 * Context: may sleep.
 * Errors: GR_ENODEV, GR_ENODATA, GR_EOPNOTSUPP (unknown bit in attrs; the device is not coherent
 * and the port has no uncached mapping), GR_EOVERFLOW, GR_ERANGE, GR_ENOSPC, GR_ENOMEM, GR_EIO,
 * GR_ETIMEDOUT (if the device is blocked from now on, the memory stays allocated, because the
 * device may still write to it).
 */
GR_MUST_CHECK int gr_dma_alloc(struct gr_device *dev, uint64_t size, unsigned attrs, void **out_cpu,
                               gr_iova_t *out_iova);

/*
 * Free a buffer of gr_dma_alloc(), with its size, addresses and attributes. Also flushes a DEFERRED
 * domain, because the memory is free for others at once.
 * Context: may sleep.
 * Errors: GR_ENODEV, GR_ENODATA, GR_EOPNOTSUPP, GR_EOVERFLOW, GR_ENOENT, GR_EMSGSIZE (another
 * size), GR_EINVAL (cpu and iova do not belong together), GR_ETIMEDOUT (the memory stays allocated,
 * because the device may still write to it).
 */
GR_MUST_CHECK int gr_dma_free(struct gr_device *dev, uint64_t size, unsigned attrs, void *cpu,
                              gr_iova_t iova);

/* ---- Limits: any context, no lock; questions answer 0 where the device has no such domain ---- */

/*
 * Set the highest address that the device can put out, e.g. 0xffffffff. Only later maps are
 * affected. Returns 0, GR_ENODEV, or GR_ERANGE (no whole granule of the aperture lies at or below
 * the mask; the old mask stays).
 */
GR_MUST_CHECK int gr_dma_set_mask(struct gr_device *dev, uint64_t mask);

/* The smallest mask 2^n - 1 with which the device can use its whole aperture. */
uint64_t gr_dma_required_mask(const struct gr_device *dev);

/*
 * The longest range, in bytes, that one map can take at any offset while nothing else is mapped. In
 * a LINEAR or IDENTITY domain: if some memory is out of reach of the domain or of the device's mask
 * and the domain has a pool, what a slot holds; else the length of what is within reach.
 */
uint64_t gr_dma_max_mapping_size(const struct gr_device *dev);

/* The longest range that maps at full speed: gr_dma_max_mapping_size(), for cost has no cliff. */
uint64_t gr_dma_opt_mapping_size(const struct gr_device *dev);

/*
 * See gr_dma_map_sg(): G - 1. 0 in LINEAR and IDENTITY domains, where an output is made only of
 * inputs that touch in physical memory.
 */
uint64_t gr_dma_merge_boundary(const struct gr_device *dev);

GR_END_DECLS

#endif
