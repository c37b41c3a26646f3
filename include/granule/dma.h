/* SPDX-License-Identifier: MIT */
/*
 * The DMA API: what the driver of a device calls.
 *
 * A device's group must be attached to a TRANSLATED domain (domain.h). Buffers are physical ranges;
 * any offset and length: where the IOMMU's granule G is larger than the buffer, or than the CPU's
 * page, the granules around the buffer are mapped and the offset is added back, so the address
 * returned is the buffer's first byte.
 *
 * Isolation: EXPOSE. The device can reach what else lies in the granules of a mapping. That is
 * refused for untrusted devices: their buffers must begin and end on a granule.
 *
 * Coherence: for a device that is not coherent, the CPU's caches are cleaned before the map and
 * invalidated after the unmap, whole cache lines at the buffer's ends included: nothing else that
 * the CPU writes may share these lines while the buffer is mapped.
 *
 * Context: any, for every call here. Locks: the domain's own.
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

/*
 * The highest address the device can put out, e.g. 0xffffffff. Only later maps look at it.
 * Returns 0, or GR_ENODEV (no TRANSLATED domain), GR_ERANGE (not one granule of the aperture lies
 * under it; the old mask stays).
 */
GR_MUST_CHECK int gr_dma_set_mask(struct gr_device *dev, uint64_t mask);

/*
 * Map [pa, pa + len) for the device and write the address that it uses to *out_iova.
 * The physical range must be memory that lives until the unmap.
 * Returns 0, or, with nothing changed:
 * GR_ENODEV      the device has no TRANSLATED domain
 * GR_ENODATA     len is 0
 * GR_EACCES      dir is none of the three
 * GR_EOPNOTSUPP  unknown bit in attrs; an untrusted device and a buffer that shares a granule
 * GR_EOVERFLOW   pa + len passes 2^64
 * GR_EFAULT      memory beyond the IOMMU's physical address width
 * GR_ENOSPC      no IOVA range of that size left below the mask
 * GR_ENOMEM      the port has no memory for tables
 * GR_EIO         an invalidation of this domain failed before: the device is blocked
 * GR_ETIMEDOUT   the invalidation failed: the device is now blocked, nothing is mapped
 */
GR_MUST_CHECK int gr_dma_map(struct gr_device *dev, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir,
                             unsigned attrs, gr_iova_t *out_iova);

/*
 * Undo a map: the iova and len of that very map, the same dir and attrs. On return of 0 the device
 * reaches no byte of the buffer through this mapping, and what it wrote is visible to the CPU.
 * Returns 0, or, with nothing changed, GR_ENODEV, GR_ENODATA, GR_EACCES, GR_EOPNOTSUPP,
 * GR_EOVERFLOW, GR_ENOENT (nothing is mapped there: unmapped twice?), GR_EMSGSIZE (the granules are
 * not exactly those of one map); or GR_ETIMEDOUT: unmapped, but the IOMMU did not confirm, the
 * device is blocked and the memory is *not safe to reuse*.
 */
GR_MUST_CHECK int gr_dma_unmap(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                               enum gr_dma_dir dir, unsigned attrs);

/*
 * Hand [iova, iova + len), a part of one mapping, to the CPU (to read what the device wrote) or
 * back to the device. Free of cost for a coherent device, which also checks nothing but dir.
 * Returns 0, GR_ENODEV, GR_ENODATA, GR_EACCES, GR_EOVERFLOW, GR_ENOENT (not mapped in whole).
 */
GR_MUST_CHECK int gr_dma_sync_for_cpu(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                      enum gr_dma_dir dir);
GR_MUST_CHECK int gr_dma_sync_for_device(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                         enum gr_dma_dir dir);

GR_END_DECLS

#endif
