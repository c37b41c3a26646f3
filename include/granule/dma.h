/* SPDX-License-Identifier: MIT */
/*
 * The DMA API: what the driver of a device calls.
 *
 * A device's group must be attached to a TRANSLATED, LINEAR or IDENTITY domain (domain.h). Buffers
 * are physical ranges; any offset and length: where the IOMMU's granule G is larger than the
 * buffer, or than the CPU's page, the granules around the buffer are mapped and the offset is added
 * back, so the address returned is the buffer's first byte.
 *
 * Isolation (enum gr_isolation in domain.h): of the granules at a buffer's two ends the device sees
 * only the buffer's part, by the leaf's window or because that part is copied to a slot of the
 * domain's bounce pool (bounce.h); with EXPOSE, the default of trusted devices, it sees all of
 * them. Copied ends keep their offset in the granule. What the CPU writes to a mapped buffer and
 * what the device writes meets only in gr_dma_sync_*() and unmap: call them also for coherent
 * devices. The part is copied in whatever the direction, so that a device that writes less than it
 * was given destroys nothing.
 *
 * In LINEAR and IDENTITY domains nothing is mapped: the address is checked and the offset added.
 * What the domain, or the device's mask, does not reach is copied to a slot as a whole,
 * GR_BOUNCE_CHUNK bytes at most. Unmapping twice goes unnoticed there, but for what was copied.
 *
 * Coherence: for a device that is not coherent, the CPU's caches are cleaned before the map and
 * invalidated after the unmap, whole cache lines at the buffer's ends included: nothing else that
 * the CPU writes may share these lines while the buffer is mapped.
 *
 * For a coherent device nothing is done to caches, and a sync has no barrier in it: between what
 * the CPU wrote to a buffer or a ring and the store that tells the device of it stands the driver's
 * own gr_port_wmb(), between what tells the CPU and what it then reads a gr_port_rmb().
 *
 * Context: any, for every call here but gr_dma_alloc() and gr_dma_free(). Locks: the domain's own.
 *
 * The same errors everywhere; each with nothing changed, but for GR_ETIMEDOUT:
 *   - GR_ENODEV      the device has no such domain
 *   - GR_ENODATA     a length of 0, a list without segments
 *   - GR_EACCES      dir is none of the three
 *   - GR_EOPNOTSUPP  unknown bit in attrs; an end of the buffer must bounce, and the domain has no
 *                    pool or it is GR_DMA_MMIO
 *   - GR_ENOBUFS     the bounce pool is at its limit, or the buffer longer than its slots
 *   - GR_EOVERFLOW   a range passes 2^64, or a list needs more than 2^63 bytes of IOVA
 *   - GR_EFAULT      memory beyond the IOMMU's physical address width, or what a LINEAR or IDENTITY
 *                    domain reaches, and nothing to bounce from
 *   - GR_ERANGE      no granule of the aperture lies below the device's mask
 *   - GR_ENOSPC      no IOVA range of that size left below the mask, also after a short wait for
 *                    what is being unmapped
 *   - GR_ENOMEM      the port has no memory left
 *   - GR_EIO         an invalidation of this domain failed before: the device is blocked
 *   - GR_ENOENT      nothing is mapped there: unmapped twice?
 *   - GR_EMSGSIZE    the granules are not exactly those of one mapping
 *   - GR_ETIMEDOUT   the IOMMU did not confirm an invalidation in time. Nothing is mapped, but the
 *                    memory is *not safe to reuse*; unless a second attempt was confirmed (only a
 *                    map makes one) the device is blocked from now on
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

/* Attributes, or'ed. The same go to map and unmap. */
#define GR_DMA_SKIP_SYNC 0x1u /* no cache maintenance now: the caller calls gr_dma_sync_*() */
#define GR_DMA_UNCACHED 0x2u  /* GR_PROT_UNCACHED */
#define GR_DMA_MMIO 0x4u      /* registers of another device, not memory: never cache maintenance */

/*
 * Map [pa, pa + len) for the device and write the address that it uses to *out_iova.
 * The physical range must live until the unmap. With GR_DMA_MMIO it need not be memory, and what
 * else lies in its granules is exposed to the device as ever: mind neighbouring registers.
 * Errors: GR_ENODEV, GR_ENODATA, GR_EACCES, GR_EOPNOTSUPP, GR_EOVERFLOW, GR_EFAULT, GR_ERANGE,
 * GR_ENOSPC, GR_ENOMEM, GR_ENOBUFS, GR_EIO, GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gr_dma_map(struct gr_device *dev, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir,
                             unsigned attrs, gr_iova_t *out_iova);

/*
 * Undo a map: the iova and len of that very map, the same dir and attrs. On return of 0 the device
 * reaches no byte of the buffer through this mapping, but in a DEFERRED, LINEAR or IDENTITY domain,
 * and what it wrote is visible to the CPU.
 * Errors: GR_ENODEV, GR_ENODATA, GR_EACCES, GR_EOPNOTSUPP, GR_EOVERFLOW, GR_ENOENT, GR_EMSGSIZE,
 * GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gr_dma_unmap(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                               enum gr_dma_dir dir, unsigned attrs);

/*
 * Hand [iova, iova + len), any part of one mapping, of a list: of one output segment, to the CPU
 * (to read what the device wrote) or back to the device (with what the CPU wrote). Free of cost for
 * a coherent device that is not isolated or whose domain has no pool, where it checks nothing but
 * its arguments. Errors:
 * GR_ENODEV, GR_ENODATA, GR_EACCES, GR_EOVERFLOW, GR_ENOENT (not mapped in whole).
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
 * A scatter list. The caller owns both arrays, which must stay until the unmap; `segs` is only ever
 * read. `out` has room for `count` entries.
 */
struct gr_dma_list {
    const struct gr_seg *segs;
    unsigned count;
    unsigned out_count;     /* written by gr_dma_map_sg(): how many of `out` the device is to use;
                               0 where it fails */
    struct gr_dma_seg *out; /* written by gr_dma_map_sg(): addresses, in the order of the list */
};

/*
 * What the device can take: segments of at most `max_len` bytes (0: any), none of which crosses a
 * multiple of `boundary`, a power of two (0: none). Only gr_dma_map_sg() looks at it, at later
 * lists. Returns 0 or GR_EINVAL (no power of two).
 */
GR_MUST_CHECK int gr_dma_set_seg_limits(struct gr_device *dev, uint64_t max_len, uint64_t boundary);

/*
 * Map a list into one IOVA range: all of it or nothing. Each output segment is made of whole input
 * segments, in order, so there are never more of them, and their lengths have the same sum. Inputs
 * share one output where
 *  - the next begins at the very physical end of the one before, whatever the offset, or
 *  - one ends and the next begins on a multiple of gr_dma_merge_boundary() + 1 bytes,
 * and the device's limits allow the sum. Cost: one IOVA allocation, one walk for each leaf table,
 * one invalidation.
 * Errors: as gr_dma_map(), for each segment; and GR_EINVAL (a segment is over the device's limits:
 * longer than max_len, or it crosses a boundary wherever it is placed).
 */
GR_MUST_CHECK int gr_dma_map_sg(struct gr_device *dev, struct gr_dma_list *list,
                                enum gr_dma_dir dir, unsigned attrs);

/*
 * Undo the map of a whole list, as it was filled by gr_dma_map_sg(). Errors as gr_dma_unmap().
 */
GR_MUST_CHECK int gr_dma_unmap_sg(struct gr_device *dev, const struct gr_dma_list *list,
                                  enum gr_dma_dir dir, unsigned attrs);

/* gr_dma_sync_for_*() for a whole list. Errors: GR_ENODEV, GR_ENODATA, GR_EACCES, GR_ENOENT. */
GR_MUST_CHECK int gr_dma_sync_sg_for_cpu(struct gr_device *dev, const struct gr_dma_list *list,
                                         enum gr_dma_dir dir);
GR_MUST_CHECK int gr_dma_sync_sg_for_device(struct gr_device *dev, const struct gr_dma_list *list,
                                            enum gr_dma_dir dir);

/* ---- Coherent buffers ---- */

/*
 * Allocate memory that CPU and device both use all the time: rings, descriptors. `size` bytes, any;
 * *out_iova and *out_cpu are aligned to size rounded up to a power of two, the CPU's to at least a
 * granule. The buffer owns its granules, and all that the device can reach of them is zero. Device
 * permission: read and write.
 * For a device that is not coherent this needs the port's optional uncached mapping (port.h).
 * Context: may sleep.
 * Errors: GR_ENODEV, GR_ENODATA, GR_EOPNOTSUPP (unknown attrs; not coherent and the port has no
 * uncached mapping), GR_EOVERFLOW, GR_ERANGE, GR_ENOSPC, GR_ENOMEM, GR_EIO, GR_ETIMEDOUT (where
 * the device is blocked from now on, the memory stays allocated: it is not safe).
 */
GR_MUST_CHECK int gr_dma_alloc(struct gr_device *dev, uint64_t size, unsigned attrs, void **out_cpu,
                               gr_iova_t *out_iova);

/*
 * Free it: the size, addresses and attributes of the allocation.
 * Context: may sleep.
 * Errors: GR_ENODEV, GR_ENODATA, GR_EOPNOTSUPP, GR_ENOENT, GR_EMSGSIZE (another size), GR_EINVAL
 * (cpu and iova do not belong together), GR_ETIMEDOUT (the memory stays allocated: it is not safe).
 */
GR_MUST_CHECK int gr_dma_free(struct gr_device *dev, uint64_t size, unsigned attrs, void *cpu,
                              gr_iova_t iova);

/* ---- Limits and answers; all in bytes; 0 where the device has no domain that maps ---- */

/*
 * The highest address the device can put out, e.g. 0xffffffff. Only later maps look at it.
 * Returns 0, or GR_ENODEV, GR_ERANGE (not one granule of the aperture lies under it; the old mask
 * stays).
 */
GR_MUST_CHECK int gr_dma_set_mask(struct gr_device *dev, uint64_t mask);

/* The smallest 2^n - 1 that, as a mask, lets the device use its whole aperture. */
uint64_t gr_dma_required_mask(const struct gr_device *dev);

/*
 * The longest range that one map can take at any offset while nothing else is mapped. Where some
 * memory is out of a LINEAR or IDENTITY domain's or the device's reach, what its slots hold; where
 * nothing can bounce either, what lies within reach.
 */
uint64_t gr_dma_max_mapping_size(const struct gr_device *dev);

/* The longest range that maps at full speed: there is no cliff, so the same. */
uint64_t gr_dma_opt_mapping_size(const struct gr_device *dev);

/* See gr_dma_map_sg(): G - 1; 0 in LINEAR and IDENTITY domains, where only neighbours join. */
uint64_t gr_dma_merge_boundary(const struct gr_device *dev);

GR_END_DECLS

#endif
