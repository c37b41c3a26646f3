/* SPDX-License-Identifier: MIT */
/*
 * Scatter lists. A list is cut into *runs*: neighbours that touch in physical memory, which are
 * encapsulated once. Runs are laid side by side, in whole granules, in one IOVA range. The list is
 * read twice: once for the size of the range, once to map.
 */
#include "dma/dma_internal.h"

struct layout {
    const struct gr_seg *segs;
    unsigned count;
    unsigned next; /* first segment of the next run */
    uint64_t pos;  /* offset in the range where the next run may begin, on a granule */
    uint64_t mask; /* of the granule */
    uint64_t max_len;
    uint64_t boundary; /* 0: none */
    uint64_t pa_max;
};

struct run {
    unsigned first; /* segments first .. end - 1 */
    unsigned end;
    uint64_t at;     /* offset in the range, on a granule */
    uint64_t offset; /* of the first byte in its granule */
    uint64_t span;   /* whole granules */
    gr_pa_t base;
};

static struct layout layout_of(const struct gr_device *dev, const struct gr_domain *domain,
                               const struct gr_dma_list *list)
{
    return (struct layout){
        .segs = list->segs,
        .count = list->count,
        .mask = gri_mask(domain->pt.granule_lg2),
        .max_len = dev->seg_max,
        .boundary = dev->seg_boundary,
        .pa_max = gri_mask(domain->pt.pa_bits),
    };
}

static int check_seg(const struct layout *l, const struct gr_seg *seg)
{
    if (!seg->len)
        return GR_ENODATA;
    if (seg->len > l->max_len || (l->boundary && seg->len > l->boundary))
        return GR_EINVAL;
    if (gri_overflows(seg->pa, seg->len))
        return GR_EOVERFLOW;
    return seg->pa + seg->len - 1 > l->pa_max ? GR_EFAULT : 0;
}

/* Would `len` bytes at `at` cross a multiple of the boundary? len is not above it. */
static bool crosses(const struct layout *l, uint64_t at, uint64_t len)
{
    return l->boundary && (at & (l->boundary - 1)) > l->boundary - len;
}

/* Where a segment may go that cannot stay at `at`: the next boundary; offsets in a granule stay. */
static int place(const struct layout *l, uint64_t offset, uint64_t len, uint64_t *at)
{
    if (!crosses(l, *at + offset, len))
        return 0;
    *at = (*at + l->boundary - 1) & ~(l->boundary - 1);
    return crosses(l, *at + offset, len) ? GR_EINVAL : 0;
}

/* 1 and the next run, 0 after the last, or an error. */
static int next_run(struct layout *l, struct run *out)
{
    const struct gr_seg *seg = &l->segs[l->next];
    uint64_t bytes; /* of the run so far, its first granule's offset included */
    int ret;

    if (l->next == l->count)
        return 0;
    ret = check_seg(l, seg);
    if (ret)
        return ret;
    out->first = l->next;
    out->at = l->pos;
    out->offset = seg->pa & l->mask;
    out->base = seg->pa - out->offset;
    ret = place(l, out->offset, seg->len, &out->at);
    if (ret)
        return ret;
    bytes = out->offset + seg->len;
    for (l->next++, seg++; l->next < l->count && seg->pa == out->base + bytes; l->next++, seg++) {
        ret = check_seg(l, seg);
        if (ret)
            return ret;
        if (crosses(l, out->at + bytes, seg->len))
            break;
        bytes += seg->len;
    }
    out->end = l->next;
    out->span = (bytes + l->mask) & ~l->mask;
    l->pos = out->at + out->span;
    /* PAs have far fewer bits than 64, so a single run cannot wrap; their sum can. */
    return l->pos > INT64_MAX ? GR_EOVERFLOW : 1;
}

/* Add a run's segments to the output, merged as far as limits allow. */
static void emit(const struct layout *l, const struct run *run, struct gr_dma_list *list)
{
    uint64_t at = run->at + run->offset;

    for (unsigned i = run->first; i < run->end; i++) {
        const uint64_t len = l->segs[i].len;
        struct gr_dma_seg *const last = list->out_count ? &list->out[list->out_count - 1] : NULL;

        if (last && last->iova + last->len == at && last->len <= l->max_len - len &&
            !(l->boundary && !(at & (l->boundary - 1))))
            last->len += len;
        else
            list->out[list->out_count++] = (struct gr_dma_seg){at, len};
        at += len;
    }
}

/* First pass: check everything, find the size of the range. */
static int measure(const struct gr_device *dev, struct layout l, uint64_t *out_size)
{
    const bool whole = gr_device_untrusted(dev);
    struct run run;
    int ret;

    while ((ret = next_run(&l, &run)) > 0) {
        const struct gr_seg *const last = &l.segs[run.end - 1];

        if (whole && (run.offset || (last->pa + last->len) & l.mask))
            return GR_EOPNOTSUPP;
    }
    *out_size = l.pos;
    return ret;
}

/* Second pass: map the runs, write the output, offsets for now. */
static int map_runs(struct layout l, struct gri_mapping *m, struct gr_dma_list *list)
{
    struct run run;
    int ret = 0;

    list->out_count = 0;
    while (!ret && next_run(&l, &run) > 0) {
        ret = gri_domain_map_run(m, run.at, run.base, run.span);
        emit(&l, &run, list);
    }
    return ret;
}

static int check_list(const struct gr_device *dev, const struct gr_dma_list *list,
                      enum gr_dma_dir dir, unsigned attrs)
{
    if (!gri_dma_domain(dev))
        return GR_ENODEV;
    if (!list->count)
        return GR_ENODATA;
    if (!gri_dma_dir_ok(dir))
        return GR_EACCES;
    return attrs & ~GRI_DMA_ATTRS ? GR_EOPNOTSUPP : 0;
}

static void sync_list(const struct gr_device *dev, const struct gr_dma_list *list,
                      enum gr_dma_dir dir, bool for_cpu)
{
    const struct gr_domain *const domain = gri_dma_domain(dev);

    for (unsigned i = 0; i < list->count; i++) {
        if (for_cpu)
            gri_dma_to_cpu(domain, list->segs[i].pa, list->segs[i].len, dir);
        else
            gri_dma_to_device(domain, list->segs[i].pa, list->segs[i].len);
    }
}

int gr_dma_map_sg(struct gr_device *dev, struct gr_dma_list *list, enum gr_dma_dir dir,
                  unsigned attrs)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    struct gr_iova_req req = {0};
    struct gri_mapping m;
    struct layout l;
    int ret = check_list(dev, list, dir, attrs);

    list->out_count = 0;
    if (ret)
        return ret;
    l = layout_of(dev, domain, list);
    ret = measure(dev, l, &req.size);
    if (ret)
        return ret;
    req.last = gri_min(dev->dma_mask, domain->aperture.last);
    /* So that offsets and addresses agree on where a boundary is. */
    if (l.boundary > req.size)
        req.boundary = l.boundary;
    else
        req.align = l.boundary;
    if (gri_dma_must_sync(dev, attrs))
        sync_list(dev, list, dir, false);
    ret = gri_domain_map_begin(domain, &req, gri_dma_prot(dir, attrs), &m);
    if (!ret)
        ret = gri_domain_map_finish(&m, map_runs(l, &m, list));
    if (ret) {
        list->out_count = 0;
        return ret;
    }
    for (unsigned i = 0; i < list->out_count; i++)
        list->out[i].iova += m.iova;
    return 0;
}

int gr_dma_unmap_sg(struct gr_device *dev, const struct gr_dma_list *list, enum gr_dma_dir dir,
                    unsigned attrs)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    const struct gr_dma_seg *last;
    uint64_t mask;
    uint64_t first;
    uint64_t end;
    int ret = check_list(dev, list, dir, attrs);

    if (ret)
        return ret;
    if (!list->out_count)
        return GR_ENODATA;
    mask = gri_mask(domain->pt.granule_lg2);
    last = &list->out[list->out_count - 1];
    if (!last->len)
        return GR_ENODATA;
    if (gri_overflows(last->iova, last->len))
        return GR_EOVERFLOW;
    first = list->out[0].iova & ~mask;
    end = last->iova + (last->len - 1); /* inclusive */
    if (end < first)
        return GR_EMSGSIZE;
    ret = gri_domain_unmap_free(domain, first, (end | mask) - first + 1, NULL);
    if (!ret && gri_dma_must_sync(dev, attrs))
        sync_list(dev, list, dir, true);
    return ret;
}

int gr_dma_sync_sg_for_cpu(struct gr_device *dev, const struct gr_dma_list *list,
                           enum gr_dma_dir dir)
{
    const int ret = check_list(dev, list, dir, 0);

    if (!ret && !dev->config.coherent)
        sync_list(dev, list, dir, true);
    return ret;
}

int gr_dma_sync_sg_for_device(struct gr_device *dev, const struct gr_dma_list *list,
                              enum gr_dma_dir dir)
{
    const int ret = check_list(dev, list, dir, 0);

    if (!ret && !dev->config.coherent)
        sync_list(dev, list, dir, false);
    return ret;
}
