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

/* Its IDENTITY or LINEAR domain, or NULL. */
static inline struct gr_domain *gri_dma_offset(const struct gr_device *dev)
{
    struct gr_domain *const domain = dev->group->domain;

    return domain && (domain->type == GR_DOMAIN_IDENTITY || domain->type == GR_DOMAIN_LINEAR)
               ? domain
               : NULL;
}

/* Either, or NULL. */
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
 * The buffer goes to the device: what the CPU wrote must reach memory, and no dirty line may later
 * be written back over what the device wrote, so FROM_DEVICE cleans as well.
 */
static inline void gri_dma_to_device(const struct gr_domain *domain, gr_pa_t pa, uint64_t len)
{
    gr_port_cache(domain->env, gr_port_phys_to_virt(domain->env, pa), (size_t)len, GR_CACHE_CLEAN);
}

/* It comes back: the CPU must not read lines from before. */
static inline void gri_dma_to_cpu(const struct gr_domain *domain, gr_pa_t pa, uint64_t len,
                                  enum gr_dma_dir dir)
{
    if (dir & GR_DMA_FROM_DEVICE)
        gr_port_cache(domain->env, gr_port_phys_to_virt(domain->env, pa), (size_t)len,
                      GR_CACHE_INVAL);
}

/* What is wrong with a range, or 0. */
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

/* What is wrong with what comes along with a list, or 0. */
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

/* Must the ends of a buffer be looked at? */
static inline bool gri_isolated(const struct gr_device *dev)
{
    return dev->group->isolated;
}

/* One map or unmap of an isolated device. */
struct gri_isolation {
    const struct gr_device *dev;
    struct gr_domain *domain;
    uint64_t unit;          /* what windows begin and end on; 0: no windows */
    bool trusted;           /* its windows may be widened */
    bool expose;            /* it needs none */
    bool mmio;              /* no copying */
    struct gri_slot *slots; /* of this map or unmap */
};

void gri_isolation_init(struct gri_isolation *is, const struct gr_device *dev, unsigned attrs);

/*
 * Map [pa, pa + len), of which nothing else is mapped side by side, at `at` in the range, which has
 * the same offset in a granule. Returns 0, GR_EOPNOTSUPP (it must bounce and cannot), GR_ENOBUFS,
 * GR_ENOMEM, GR_EEXIST.
 */
GR_MUST_CHECK int gri_isolate(struct gri_isolation *is, struct gri_mapping *m, uint64_t at,
                              gr_pa_t pa, uint64_t len);

/* Before an unmap: find the slots of [iova, iova + len), as far as it is mapped. */
void gri_isolation_find(struct gri_isolation *is, gr_iova_t iova, uint64_t len);

/* Where the byte at `iova` of a buffer is in memory. */
gr_pa_t gri_isolation_origin(const struct gri_isolation *is, gr_iova_t iova);

/*
 * Unmap and free the allocation [iova, iova + size). Returns as gri_domain_unmap_free(). Then end:
 * copy out what the device may have written, and free the slots.
 */
GR_MUST_CHECK int gri_isolation_unmap(struct gri_isolation *is, gr_iova_t iova, uint64_t size);
void gri_isolation_end(struct gri_isolation *is, enum gr_dma_dir dir, unsigned attrs);

/* Free the slots of a map that failed with `ret`. */
void gri_isolation_undo(struct gri_isolation *is, int ret);

/*
 * Copy [iova, iova + len) between its slots and the buffer, as far as it is in slots: first with
 * `check`, which copies nothing. Returns 0, GR_ENOENT (bytes of a slot that are no data).
 */
GR_MUST_CHECK int gri_isolation_sync(const struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                     bool out, bool check);

/* ---- sg.c: the calls of an isolated device, as for a list of one ---- */

/* Without the limits of lists. */
GR_MUST_CHECK int gri_dma_map_one(struct gr_device *dev, gr_pa_t pa, uint64_t len,
                                  enum gr_dma_dir dir, unsigned attrs, gr_iova_t *out_iova);
GR_MUST_CHECK int gri_dma_unmap_one(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                    enum gr_dma_dir dir, unsigned attrs);

/* ---- sync.c ---- */

/*
 * gr_dma_sync_for_*(), with `for_cpu` one or the other, of several parts of one mapping in a
 * TRANSLATED domain. Whole lists go at once: a copy to one part must not be in the caches when a
 * line that it shares with the next is dropped.
 */
GR_MUST_CHECK int gri_dma_sync(struct gr_device *dev, const struct gr_dma_seg *parts,
                               unsigned count, enum gr_dma_dir dir, bool for_cpu);

/* ---- offset.c: the DMA API in IDENTITY and LINEAR domains, or where there is none ---- */

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

/* The longest range that can always be mapped, whatever memory it is. */
uint64_t gri_offset_max(const struct gr_device *dev, const struct gr_domain *domain);

#endif
