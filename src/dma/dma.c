/* SPDX-License-Identifier: MIT */
/* One range: map and unmap; and the answers about limits. */
#include "dma/dma_internal.h"

/* The granules around [start, start + len): the rule for G > P (REQUIREMENTS.md 1). */
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

int gr_dma_map(struct gr_device *dev, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir, unsigned attrs,
               gr_iova_t *out_iova)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    struct gr_iova_req req = {0};
    struct encap e;
    int ret;

    if (!domain)
        return gri_offset_map(dev, pa, len, dir, attrs, out_iova);
    ret = gri_dma_check(pa, len, dir, attrs);
    if (ret)
        return ret;
    if (gri_isolated(dev))
        return gri_dma_map_one(dev, pa, len, dir, attrs, out_iova);
    e = encapsulate(pa, len, domain->pt.granule_mask);
    if (!e.span || e.base + e.span - 1 > domain->pt.pa_mask)
        return GR_EFAULT;
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
    int ret;

    if (!domain)
        return gri_offset_unmap(dev, iova, len, dir, attrs);
    ret = gri_dma_check(iova, len, dir, attrs);
    if (ret)
        return ret;
    if (gri_isolated(dev))
        return gri_dma_unmap_one(dev, iova, len, dir, attrs);
    e = encapsulate(iova, len, domain->pt.granule_mask);
    if (!e.span)
        return GR_ENOENT;
    ret = gri_domain_unmap_free(domain, e.base, e.span, sync ? &pa : NULL, NULL);
    if (!ret && sync)
        gri_dma_to_cpu(domain, pa + e.offset, len, dir);
    return ret;
}

/* ---- limits ---- */

int gr_dma_set_mask(struct gr_device *dev, uint64_t mask)
{
    const struct gr_domain *const domain = gri_dma_any(dev);
    uint64_t first;

    if (!domain)
        return GR_ENODEV;
    first = domain->type == GR_DOMAIN_TRANSLATED ? domain->aperture.first
                                                 : domain->direct.first - domain->direct_offset;
    if (mask < first + gri_mask(domain->table.granule_lg2))
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
    const struct gr_domain *const domain = gri_dma_any(dev);
    unsigned bits = 0;
    uint64_t last;

    if (!domain)
        return 0;
    last = domain->type == GR_DOMAIN_TRANSLATED ? domain->aperture.last
                                                : domain->direct.last - domain->direct_offset;
    while (last & ~gri_mask(bits))
        bits++;
    return gri_mask(bits);
}

/* The reserved range of the group that covers `at`, or the nearest range above `at`, or NULL. */
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
        return gri_dma_offset(dev) ? gri_offset_max(dev, gri_dma_offset(dev)) : 0;
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
    mask += dev->config.overread;
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
