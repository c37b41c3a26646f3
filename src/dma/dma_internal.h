/* SPDX-License-Identifier: MIT */
/* What the parts of the DMA API share. */
#ifndef GRI_DMA_INTERNAL_H
#define GRI_DMA_INTERNAL_H

#include <granule/dma.h>

#include "core/bits.h"
#include "core/list.h"
#include "iommu/bounce.h"
#include "iommu/iommu_internal.h"

#define GRI_DMA_ATTRS (GR_DMA_SKIP_SYNC | GR_DMA_UNCACHED | GR_DMA_MMIO)

/* The device's TRANSLATED domain, or NULL. */
static inline struct gr_domain *gri_dma_domain(const struct gr_device *dev)
{
    struct gr_domain *const domain = dev->group->domain;

    return domain && domain->type == GR_DOMAIN_TRANSLATED ? domain : NULL;
}

/* The device's IDENTITY or LINEAR domain, or NULL. */
static inline struct gr_domain *gri_dma_offset(const struct gr_device *dev)
{
    struct gr_domain *const domain = dev->group->domain;

    return domain && (domain->type == GR_DOMAIN_IDENTITY || domain->type == GR_DOMAIN_LINEAR)
               ? domain
               : NULL;
}

/* The device's domain of one of these types, or NULL. */
static inline struct gr_domain *gri_dma_any(const struct gr_device *dev)
{
    struct gr_domain *const domain = gri_dma_domain(dev);

    return domain ? domain : gri_dma_offset(dev);
}

static inline bool gri_dma_dir_ok(enum gr_dma_dir dir)
{
    return dir == GR_DMA_TO_DEVICE || dir == GR_DMA_FROM_DEVICE || dir == GR_DMA_BIDIRECTIONAL;
}

static inline unsigned gri_dma_prot(enum gr_dma_dir dir, unsigned attrs)
{
    return (dir & GR_DMA_TO_DEVICE ? GR_PROT_READ : 0) |
           (dir & GR_DMA_FROM_DEVICE ? GR_PROT_WRITE : 0) |
           (attrs & GR_DMA_UNCACHED ? GR_PROT_UNCACHED : 0);
}

/* Must the CPU's caches be kept in step by hand? */
static inline bool gri_dma_must_sync(const struct gr_device *dev, unsigned attrs)
{
    return !dev->config.coherent && !(attrs & (GR_DMA_SKIP_SYNC | GR_DMA_MMIO));
}

/*
 * A buffer is handed to the device: what the CPU wrote must reach memory. No dirty line may be
 * written back later, over what the device wrote, so FROM_DEVICE cleans as well.
 */
static inline void gri_dma_to_device(const struct gr_domain *domain, gr_pa_t pa, uint64_t len)
{
    gr_port_cache(domain->env, gr_port_phys_to_virt(domain->env, pa), (size_t)len, GR_CACHE_CLEAN);
}

/* A buffer is handed to the CPU, which must not read lines cached before the device wrote. */
static inline void gri_dma_to_cpu(const struct gr_domain *domain, gr_pa_t pa, uint64_t len,
                                  enum gr_dma_dir dir)
{
    if (dir & GR_DMA_FROM_DEVICE)
        gr_port_cache(domain->env, gr_port_phys_to_virt(domain->env, pa), (size_t)len,
                      GR_CACHE_INVAL);
}

/* The error of a call on a range, or 0. */
GR_MUST_CHECK static inline int gri_dma_check(uint64_t start, uint64_t len, enum gr_dma_dir dir,
                                              unsigned attrs)
{
    if (!len)
        return GR_ENODATA;
    if (!gri_dma_dir_ok(dir))
        return GR_EACCES;
    if (attrs & ~GRI_DMA_ATTRS)
        return GR_EOPNOTSUPP;
    return gri_overflows(start, len) ? GR_EOVERFLOW : 0;
}

/* The error of a call on a list, apart from those of its segments, or 0. */
GR_MUST_CHECK static inline int gri_dma_check_list(const struct gr_dma_list *list,
                                                   enum gr_dma_dir dir, unsigned attrs)
{
    if (!list->count)
        return GR_ENODATA;
    if (!gri_dma_dir_ok(dir))
        return GR_EACCES;
    return attrs & ~GRI_DMA_ATTRS ? GR_EOPNOTSUPP : 0;
}

/* ---- isolate.c: buffers whose first and last granule are closed off ---- */

/* Must a buffer's first and last granule be mapped by isolate.c? */
static inline bool gri_isolated(const struct gr_device *dev)
{
    return dev->group->isolated;
}

/* One map or unmap of an isolated device. */
struct gri_isolation {
    const struct gr_device *dev;
    struct gr_domain *domain;
    uint64_t unit;          /* windows begin and end on its multiples; 0: no windows */
    bool trusted;           /* windows may be widened */
    bool expose;            /* the device may see the whole granules of its buffers */
    bool mmio;              /* the buffer is registers, which cannot be copied */
    struct gri_slot *slots; /* of this map or unmap */
};

void gri_isolation_init(struct gri_isolation *is, const struct gr_device *dev, unsigned attrs);

/*
 * Map one run, [pa, pa + len), at offset `at` of the range. Both have the same offset in a granule,
 * and no other run shares the granules of IOVA. Returns 0, GR_EOPNOTSUPP (the run must bounce and
 * cannot), GR_ENOBUFS, GR_ENOMEM, GR_EEXIST.
 */
GR_MUST_CHECK int gri_isolate(struct gri_isolation *is, struct gri_mapping *m, uint64_t at,
                              gr_pa_t pa, uint64_t len);

/* Before an unmap: add the slots that [iova, iova + len) is mapped to to is->slots. */
void gri_isolation_find(struct gri_isolation *is, gr_iova_t iova, uint64_t len);

/* The PA of the buffer's byte at `iova`, also where the byte is mapped to a slot. */
gr_pa_t gri_isolation_origin(const struct gri_isolation *is, gr_iova_t iova);

/*
 * Unmap and free the allocation [iova, iova + size). Returns as gri_domain_unmap_free(). After a 0
 * gri_isolation_end() copies out what the device may have written, and frees the slots.
 */
GR_MUST_CHECK int gri_isolation_unmap(struct gri_isolation *is, gr_iova_t iova, uint64_t size);
void gri_isolation_end(struct gri_isolation *is, enum gr_dma_dir dir, unsigned attrs);

/* Free the slots of a map that failed with `ret`. */
void gri_isolation_undo(struct gri_isolation *is, int ret);

/*
 * Copy the bytes of [iova, iova + len) that lie in slots to the buffer (`out`) or from it. With
 * `check` copy nothing: callers check first. Returns 0, GR_ENOENT (not mapped, or bytes of a slot
 * beside those of the buffer).
 */
GR_MUST_CHECK int gri_isolation_sync(const struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                     bool out, bool check);

/* ---- sg.c: a range of an isolated device, as a list of one segment ---- */

/* The limits of segments do not apply. */
GR_MUST_CHECK int gri_dma_map_one(struct gr_device *dev, gr_pa_t pa, uint64_t len,
                                  enum gr_dma_dir dir, unsigned attrs, gr_iova_t *out_iova);
GR_MUST_CHECK int gri_dma_unmap_one(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                    enum gr_dma_dir dir, unsigned attrs);

/* ---- sync.c ---- */

/*
 * gr_dma_sync_for_cpu() or, without `for_cpu`, gr_dma_sync_for_device() of several parts of one
 * mapping in a TRANSLATED domain. A list is passed as a whole, because two parts may share a cache
 * line: it must not be dropped for one part when it holds what was just copied for the other.
 */
GR_MUST_CHECK int gri_dma_sync(struct gr_device *dev, const struct gr_dma_seg *parts,
                               unsigned count, enum gr_dma_dir dir, bool for_cpu);

/* ---- offset.c: the DMA API in IDENTITY and LINEAR domains, and without a domain ---- */

GR_MUST_CHECK int gri_offset_map(struct gr_device *dev, gr_pa_t pa, uint64_t len,
                                 enum gr_dma_dir dir, unsigned attrs, gr_iova_t *out_iova);
GR_MUST_CHECK int gri_offset_unmap(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                   enum gr_dma_dir dir, unsigned attrs);
GR_MUST_CHECK int gri_offset_sync(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                  enum gr_dma_dir dir, bool for_cpu);
GR_MUST_CHECK int gri_offset_map_sg(struct gr_device *dev, struct gr_dma_list *list,
                                    enum gr_dma_dir dir, unsigned attrs);
GR_MUST_CHECK int gri_offset_sync_sg(struct gr_device *dev, const struct gr_dma_list *list,
                                     enum gr_dma_dir dir, bool for_cpu);
GR_MUST_CHECK int gri_offset_unmap_sg(struct gr_device *dev, const struct gr_dma_list *list,
                                      enum gr_dma_dir dir, unsigned attrs);

/* The longest range that can always be mapped, wherever in memory the range lies. */
uint64_t gri_offset_max(const struct gr_device *dev, const struct gr_domain *domain);

#endif
