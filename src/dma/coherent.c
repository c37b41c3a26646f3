/* SPDX-License-Identifier: MIT */
/* Buffers that CPU and device share all the time. A buffer owns its granules, so the device sees
 * nothing else. */
#include "dma/dma_internal.h"

/* 2^lg2 bytes of memory are allocated, at least a granule. The whole granules in use are mapped. */
struct shape {
    unsigned lg2;
    uint64_t span;
};

static int shape_of(const struct gr_device *dev, uint64_t size, struct shape *out)
{
    const struct gr_domain *const domain = gri_dma_any(dev);
    const uint64_t mask = gri_mask(domain->table.granule_lg2);

    if (!size)
        return GR_ENODATA;
    if (size > (uint64_t)INT64_MAX - dev->config.overread)
        return GR_EOVERFLOW;
    size += dev->config.overread; /* what the device reads there is zero as well */
    out->span = (size + mask) & ~mask;
    out->lg2 = domain->table.granule_lg2;
    while (size > (uint64_t)1 << out->lg2)
        out->lg2++;
    return 0;
}

static int check(const struct gr_device *dev, uint64_t size, unsigned attrs, struct shape *out)
{
    if (!gri_dma_any(dev))
        return GR_ENODEV;
    if (attrs & ~GR_DMA_UNCACHED)
        return GR_EOPNOTSUPP;
    return shape_of(dev, size, out);
}

static int map_pages(struct gr_device *dev, void *va, const struct shape *shape, unsigned attrs,
                     gr_iova_t *out_iova)
{
    struct gr_domain *const domain = gri_dma_any(dev);
    const struct gr_iova_req req = {
        .size = shape->span,
        .align = (uint64_t)1 << shape->lg2,
        .last = gri_min(dev->dma_mask, domain->aperture.last),
    };
    const gr_pa_t pa = gr_port_virt_to_phys(domain->env, va);

    if (domain->type != GR_DOMAIN_TRANSLATED) {
        *out_iova = pa - domain->direct_offset;
        return gri_linear_passes(domain, pa, shape->span, dev->dma_mask) &&
                       !(*out_iova & (req.align - 1))
                   ? 0
                   : GR_ERANGE;
    }
    return gri_domain_map_range(domain, &req, gri_dma_prot(GR_DMA_BIDIRECTIONAL, attrs), pa,
                                out_iova);
}

/* The highest physical address that the device can be given. */
static gr_pa_t reach(const struct gr_device *dev, const struct gr_domain *domain)
{
    if (domain->type == GR_DOMAIN_TRANSLATED)
        return domain->pt.pa_mask;
    return gri_min(domain->direct.last - domain->direct_offset, dev->dma_mask) +
           domain->direct_offset;
}

int gr_dma_alloc(struct gr_device *dev, uint64_t size, unsigned attrs, void **out_cpu,
                 gr_iova_t *out_iova)
{
    struct gr_domain *const domain = gri_dma_any(dev);
    struct shape shape;
    void *va;
    void *cpu;
    int ret = check(dev, size, attrs, &shape);

    if (ret)
        return ret;
    va = gr_port_pages_alloc(domain->env, shape.lg2, reach(dev, domain), GR_PAGES_MAY_SLEEP);
    if (!va)
        return GR_ENOMEM;
    cpu = va;
    if (!dev->config
             .coherent) { /* zeroes go to memory; the uncached mapping wants no cached line */
        gr_port_cache(domain->env, va, (size_t)shape.span, GR_CACHE_CLEAN | GR_CACHE_INVAL);
        cpu = gr_port_map_uncached(domain->env, va, (size_t)shape.span);
    }
    ret = cpu ? map_pages(dev, va, &shape, attrs, out_iova) : GR_EOPNOTSUPP;
    if (ret == GR_ETIMEDOUT && gri_domain_is_unsafe(domain))
        return ret; /* the device may have seen the mapping: the pages are not safe to free */
    if (ret) {
        if (cpu && cpu != va)
            gr_port_unmap_uncached(domain->env, cpu, (size_t)shape.span);
        gr_port_pages_free(domain->env, va, shape.lg2);
        return ret;
    }
    *out_cpu = cpu;
    return 0;
}

int gr_dma_free(struct gr_device *dev, uint64_t size, unsigned attrs, void *cpu, gr_iova_t iova)
{
    struct gr_domain *const domain = gri_dma_any(dev);
    struct shape shape;
    gr_pa_t pa;
    void *va;
    int ret = check(dev, size, attrs, &shape);

    if (ret)
        return ret;
    pa = iova + domain->direct_offset;
    if ((iova & gri_mask(domain->table.granule_lg2)) ||
        (domain->type == GR_DOMAIN_TRANSLATED
             ? gr_domain_iova_to_phys(domain, iova, &pa) != 0
             : !gri_linear_passes(domain, pa, shape.span, dev->dma_mask)))
        return GR_ENOENT;
    va = gr_port_phys_to_virt(domain->env, pa);
    if (dev->config.coherent && cpu != va)
        return GR_EINVAL;
    if (domain->type == GR_DOMAIN_TRANSLATED) {
        ret = gri_domain_unmap_free(domain, iova, shape.span, NULL, NULL);
        if (!ret && domain->defer)
            ret = gr_domain_flush(domain); /* the port may give the freed pages out at once */
        if (ret)
            return ret;
    }
    if (cpu != va)
        gr_port_unmap_uncached(domain->env, cpu, (size_t)shape.span);
    gr_port_pages_free(domain->env, va, shape.lg2);
    return 0;
}
