/* SPDX-License-Identifier: MIT */
/* One range: map, unmap, sync; and the answers about limits. */
#include "dma/dma_internal.h"

/* The granules around [start, start + len): the rule for G > P (REQUIREMENTS 3.2). */
struct encap {
    uint64_t base;
    uint64_t offset;
    uint64_t span; /* 0: it would pass 2^64 */
};

static struct encap encapsulate(uint64_t start, uint64_t len, uint64_t mask)
{
    const uint64_t offset = start & mask;

    if (len > UINT64_MAX - offset - mask)
        return (struct encap){0, 0, 0};
    return (struct encap){start & ~mask, offset, (offset + len + mask) & ~mask};
}

static int check_args(uint64_t start, uint64_t len, enum gr_dma_dir dir, unsigned attrs)
{
    if (!len)
        return GR_ENODATA;
    if (!gri_dma_dir_ok(dir))
        return GR_EACCES;
    if (attrs & ~GRI_DMA_ATTRS)
        return GR_EOPNOTSUPP;
    return gri_overflows(start, len) ? GR_EOVERFLOW : 0;
}

int gr_dma_map(struct gr_device *dev, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir, unsigned attrs,
               gr_iova_t *out_iova)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    struct gr_iova_req req = {0};
    struct encap e;
    int ret = domain ? check_args(pa, len, dir, attrs) : GR_ENODEV;

    if (ret)
        return ret;
    e = encapsulate(pa, len, domain->pt.granule_mask);
    if (!e.span || e.base + e.span - 1 > domain->pt.pa_mask)
        return GR_EFAULT;
    if (e.span != len && dev->group->untrusted)
        return GR_EOPNOTSUPP;
    if (gri_dma_must_sync(dev, attrs))
        gri_dma_to_device(domain, pa, len);
    req.size = e.span;
    req.last = gri_min(dev->dma_mask, domain->aperture.last);
    ret = gri_domain_map_range(domain, &req, gri_dma_prot(dir, attrs), e.base, out_iova);
    if (!ret)
        *out_iova += e.offset;
    return ret;
}

int gr_dma_unmap(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                 unsigned attrs)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    const bool sync = gri_dma_must_sync(dev, attrs);
    struct encap e;
    gr_pa_t pa = 0;
    int ret = domain ? check_args(iova, len, dir, attrs) : GR_ENODEV;

    if (ret)
        return ret;
    e = encapsulate(iova, len, domain->pt.granule_mask);
    if (!e.span)
        return GR_ENOENT;
    ret = gri_domain_unmap_free(domain, e.base, e.span, sync ? &pa : NULL);
    if (!ret && sync)
        gri_dma_to_cpu(domain, pa + e.offset, len, dir);
    return ret;
}

/* ---- sync ---- */

/* Of [iova, iova + *len), find where it lies and cut it to what is contiguous there. */
static int find(struct gr_domain *domain, gr_iova_t iova, uint64_t *len, gr_pa_t *out_pa)
{
    const uint64_t mask = gri_mask(domain->pt.granule_lg2);
    int ret = gr_domain_iova_to_phys(domain, iova, out_pa);
    uint64_t run = gri_min(*len, (mask + 1) - (iova & mask));

    if (ret)
        return GR_ENOENT;
    while (run < *len) {
        gr_pa_t next;

        ret = gr_domain_iova_to_phys(domain, iova + run, &next);
        if (ret)
            return GR_ENOENT;
        if (next != *out_pa + run)
            break;
        run = gri_min(*len, run + mask + 1);
    }
    *len = run;
    return 0;
}

static int sync_range(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                      bool for_cpu)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    int ret = domain ? check_args(iova, len, dir, 0) : GR_ENODEV;

    if (ret || dev->config.coherent)
        return ret;
    /* First look at all of it, then touch caches: nothing half done. */
    for (unsigned pass = 0; pass < 2; pass++) {
        uint64_t part;

        for (uint64_t done = 0; done < len; done += part) {
            gr_pa_t pa;

            part = len - done;
            ret = find(domain, iova + done, &part, &pa);
            if (ret)
                return ret;
            if (pass && for_cpu)
                gri_dma_to_cpu(domain, pa, part, dir);
            else if (pass)
                gri_dma_to_device(domain, pa, part);
        }
    }
    return 0;
}

int gr_dma_sync_for_cpu(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir)
{
    return sync_range(dev, iova, len, dir, true);
}

int gr_dma_sync_for_device(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir)
{
    return sync_range(dev, iova, len, dir, false);
}

/* ---- limits ---- */

int gr_dma_set_mask(struct gr_device *dev, uint64_t mask)
{
    const struct gr_domain *const domain = gri_dma_domain(dev);

    if (!domain)
        return GR_ENODEV;
    if (mask < domain->aperture.first + gri_mask(domain->pt.granule_lg2))
        return GR_ERANGE;
    dev->dma_mask = mask;
    return 0;
}

int gr_dma_set_seg_limits(struct gr_device *dev, uint64_t max_len, uint64_t boundary)
{
    if (boundary & (boundary - 1))
        return GR_EINVAL;
    dev->seg_max = max_len ? max_len : UINT64_MAX;
    dev->seg_boundary = boundary;
    return 0;
}

uint64_t gr_dma_required_mask(const struct gr_device *dev)
{
    const struct gr_domain *const domain = gri_dma_domain(dev);
    unsigned bits = 0;

    if (!domain)
        return 0;
    while (domain->aperture.last & ~gri_mask(bits))
        bits++;
    return gri_mask(bits);
}

/* The reserved range of the group that covers `at`, or the nearest one above it; NULL: none. */
static const struct gr_range *next_reserved(const struct gr_device *dev, uint64_t at)
{
    const struct gr_range *best = NULL;

    GRI_LIST_FOREACH(link, &dev->group->members) {
        const struct gr_device *const d = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; i < d->config.reserved_count; i++) {
            const struct gr_range *const r = &d->config.reserved[i];

            if (r->last >= at && (!best || r->first < best->first))
                best = r;
        }
    }
    return best;
}

uint64_t gr_dma_max_mapping_size(const struct gr_device *dev)
{
    const struct gr_domain *const domain = gri_dma_domain(dev);
    uint64_t mask;
    uint64_t last;
    uint64_t best = 0;

    if (!domain)
        return 0;
    mask = gri_mask(domain->pt.granule_lg2);
    last = gri_min(domain->aperture.last, dev->dma_mask);
    for (uint64_t at = domain->aperture.first; at <= last;) {
        const struct gr_range *const r = next_reserved(dev, at);
        const uint64_t gap_last = r && r->first <= last ? r->first - 1 : last;

        if (!r || r->first > at)
            best = gri_max(best, (gap_last - at + 1) & ~mask);
        if (!r || (r->last | mask) >= last)
            break;
        at = (r->last | mask) + 1; /* a granule that is reserved in part is not used */
    }
    best = gri_min(best, (uint64_t)1 << domain->pt.pa_bits);
    return best > mask ? best - mask : 0; /* the worst offset takes G - 1 bytes */
}

uint64_t gr_dma_opt_mapping_size(const struct gr_device *dev)
{
    return gr_dma_max_mapping_size(dev);
}

uint64_t gr_dma_merge_boundary(const struct gr_device *dev)
{
    const struct gr_domain *const domain = gri_dma_domain(dev);

    return domain ? gri_mask(domain->pt.granule_lg2) : 0;
}
