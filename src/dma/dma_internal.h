/* SPDX-License-Identifier: MIT */
/* What the parts of the DMA API share. */
#ifndef GRI_DMA_INTERNAL_H
#define GRI_DMA_INTERNAL_H

#include <granule/dma.h>

#include "core/bits.h"
#include "core/list.h"
#include "iommu/iommu_internal.h"

#define GRI_DMA_ATTRS (GR_DMA_SKIP_SYNC | GR_DMA_UNCACHED | GR_DMA_MMIO)

/* The device's TRANSLATED domain, or NULL. */
static inline struct gr_domain *gri_dma_domain(const struct gr_device *dev)
{
    struct gr_domain *const domain = dev->group->domain;

    return domain && domain->type == GR_DOMAIN_TRANSLATED ? domain : NULL;
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

#endif
