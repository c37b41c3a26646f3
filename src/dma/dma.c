/* SPDX-License-Identifier: MIT */
#include <granule/dma.h>

#include "core/bits.h"
#include "iommu/iommu_internal.h"

#define KNOWN_ATTRS (GR_DMA_SKIP_SYNC | GR_DMA_UNCACHED)

static struct gr_domain *dma_domain(const struct gr_device *dev)
{
    struct gr_domain *const domain = gr_device_domain(dev);

    return domain && domain->type == GR_DOMAIN_TRANSLATED ? domain : NULL;
}

/* The granules around [start, start + len): the rule for G > P (REQUIREMENTS 3.2). */
struct encap {
    uint64_t base;
    uint64_t offset;
    uint64_t span; /* 0: it would pass 2^64 */
};

static struct encap encapsulate(uint64_t start, uint64_t len, unsigned granule_lg2)
{
    const uint64_t mask = gri_mask(granule_lg2);
    const uint64_t offset = start & mask;

    if (len > UINT64_MAX - offset - mask)
        return (struct encap){0, 0, 0};
    return (struct encap){start & ~mask, offset, (offset + len + mask) & ~mask};
}

static int check_args(uint64_t start, uint64_t len, enum gr_dma_dir dir, unsigned attrs)
{
    if (!len)
        return GR_ENODATA;
    if (dir != GR_DMA_TO_DEVICE && dir != GR_DMA_FROM_DEVICE && dir != GR_DMA_BIDIRECTIONAL)
        return GR_EACCES;
    if (attrs & ~KNOWN_ATTRS)
        return GR_EOPNOTSUPP;
    return gri_overflows(start, len) ? GR_EOVERFLOW : 0;
}

static unsigned prot_of(enum gr_dma_dir dir, unsigned attrs)
{
    return (dir & GR_DMA_TO_DEVICE ? GR_PROT_READ : 0) |
           (dir & GR_DMA_FROM_DEVICE ? GR_PROT_WRITE : 0) |
           (attrs & GR_DMA_UNCACHED ? GR_PROT_UNCACHED : 0);
}

/*
 * Cache maintenance where the device does not snoop. The buffer goes to the device: what the CPU
 * wrote must reach memory, and no dirty line may later be written back over what the device wrote,
 * so FROM_DEVICE cleans as well. It comes back: the CPU must not read lines from before.
 */
static void give_to_device(const struct gr_domain *domain, gr_pa_t pa, uint64_t len)
{
    gr_port_cache(domain->env, gr_port_phys_to_virt(domain->env, pa), (size_t)len, GR_CACHE_CLEAN);
}

static void give_to_cpu(const struct gr_domain *domain, gr_pa_t pa, uint64_t len,
                        enum gr_dma_dir dir)
{
    if (dir & GR_DMA_FROM_DEVICE)
        gr_port_cache(domain->env, gr_port_phys_to_virt(domain->env, pa), (size_t)len,
                      GR_CACHE_INVAL);
}

int gr_dma_set_mask(struct gr_device *dev, uint64_t mask)
{
    const struct gr_domain *const domain = dma_domain(dev);

    if (!domain)
        return GR_ENODEV;
    if (mask < domain->aperture.first + gri_mask(domain->pt.granule_lg2))
        return GR_ERANGE;
    dev->dma_mask = mask;
    return 0;
}

int gr_dma_map(struct gr_device *dev, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir, unsigned attrs,
               gr_iova_t *out_iova)
{
    struct gr_domain *const domain = dma_domain(dev);
    struct gr_iova_req req = {0};
    struct encap e;
    gr_iova_t iova;
    int ret = domain ? check_args(pa, len, dir, attrs) : GR_ENODEV;

    if (ret)
        return ret;
    e = encapsulate(pa, len, domain->pt.granule_lg2);
    if (!e.span || e.base + e.span - 1 > gri_mask(domain->pt.pa_bits))
        return GR_EFAULT;
    if (e.span != len && gr_device_untrusted(dev))
        return GR_EOPNOTSUPP;
    if (!dev->config.coherent && !(attrs & GR_DMA_SKIP_SYNC))
        give_to_device(domain, pa, len);
    req.size = e.span;
    req.last = gri_min(dev->dma_mask, domain->aperture.last);
    ret = gri_domain_map_new(domain, &req, e.base, prot_of(dir, attrs), &iova);
    if (!ret)
        *out_iova = iova + e.offset;
    return ret;
}

int gr_dma_unmap(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                 unsigned attrs)
{
    struct gr_domain *const domain = dma_domain(dev);
    const bool sync = !dev->config.coherent && !(attrs & GR_DMA_SKIP_SYNC);
    struct encap e;
    gr_pa_t pa;
    int ret = domain ? check_args(iova, len, dir, attrs) : GR_ENODEV;

    if (ret)
        return ret;
    e = encapsulate(iova, len, domain->pt.granule_lg2);
    if (!e.span)
        return GR_ENOENT;
    ret = gri_domain_unmap_free(domain, e.base, e.span, sync ? &pa : NULL);
    if (!ret && sync)
        give_to_cpu(domain, pa + e.offset, len, dir);
    return ret;
}

/* Where a part of one mapping lies in memory: the granules of one mapping are contiguous. */
static int find(struct gr_domain *domain, gr_iova_t iova, uint64_t len, gr_pa_t *out_pa)
{
    gr_pa_t last_pa;
    int ret = gr_domain_iova_to_phys(domain, iova, out_pa);

    if (!ret)
        ret = gr_domain_iova_to_phys(domain, iova + len - 1, &last_pa);
    if (ret || last_pa - *out_pa != len - 1)
        return GR_ENOENT;
    return 0;
}

static int check_sync(const struct gr_device *dev, gr_iova_t iova, uint64_t len,
                      enum gr_dma_dir dir)
{
    return dma_domain(dev) ? check_args(iova, len, dir, 0) : GR_ENODEV;
}

int gr_dma_sync_for_cpu(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir)
{
    gr_pa_t pa;
    int ret = check_sync(dev, iova, len, dir);

    if (ret || dev->config.coherent)
        return ret;
    ret = find(dma_domain(dev), iova, len, &pa);
    if (!ret)
        give_to_cpu(dma_domain(dev), pa, len, dir);
    return ret;
}

int gr_dma_sync_for_device(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir)
{
    gr_pa_t pa;
    int ret = check_sync(dev, iova, len, dir);

    if (ret || dev->config.coherent)
        return ret;
    ret = find(dma_domain(dev), iova, len, &pa);
    if (!ret)
        give_to_device(dma_domain(dev), pa, len);
    return ret;
}
