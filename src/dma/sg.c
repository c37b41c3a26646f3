/* SPDX-License-Identifier: MIT */
/*
 * Scatter lists. Neighbouring segments that touch in physical memory form a *run*, which is rounded
 * to whole granules once. Runs lie side by side in one IOVA range. One pass checks the list, finds
 * the size of the range and writes the output, as offsets in the range. The page tables are then
 * filled from the list itself.
 */
#include "dma/dma_internal.h"

struct limits {
    uint64_t mask;     /* of the granule */
    uint64_t max_len;  /* of one segment */
    uint64_t boundary; /* a mask as well; UINT64_MAX: none */
    uint64_t pa_max;   /* a mask as well */
    uint64_t over;     /* bytes that the device may read beyond a run */
};

/* What measure() finds. */
struct layout {
    uint64_t size; /* of the range */
    unsigned out_count;
    bool apart; /* runs do not simply lie side by side: a boundary moved one of them */
};

static struct limits limits_of(const struct gr_device *dev, const struct gr_domain *domain)
{
    return (struct limits){
        .mask = domain->pt.granule_mask,
        .max_len = dev->seg_max,
        .boundary = dev->seg_boundary - 1, /* 0 is none, and wraps to all ones */
        .pa_max = domain->pt.pa_mask,
        .over = dev->config.overread,
    };
}

/* The first granule after a run that ends at `at`, and after the overread beyond the run. */
static inline uint64_t next_granule(const struct limits *l, uint64_t at)
{
    return (at + l->over + l->mask) & ~l->mask;
}

/* The position before the first segment: minus the overread, so that next_granule() gives 0. */
static inline uint64_t start_of(const struct limits *l)
{
    return 0 - l->over;
}

/* Would `len` bytes at `at` cross a multiple of the boundary? */
static bool crosses(const struct limits *l, uint64_t at, uint64_t len)
{
    return (at & l->boundary) > l->boundary - (len - 1);
}

/*
 * The offset in the range of `seg`, whose predecessor ended at `pos` in the range and at `next` in
 * memory. If the two touch in memory, and no boundary comes between, they touch in the range, too.
 * Else the segment begins a run with granules of its own, from the next boundary on if it would
 * cross that.
 */
static uint64_t place_seg(const struct limits *l, uint64_t pos, gr_pa_t next,
                          const struct gr_seg *seg)
{
    const uint64_t apart = next_granule(l, pos) + (seg->pa & l->mask);

    if (seg->pa == next && !crosses(l, pos, seg->len))
        return pos;
    if (!crosses(l, apart, seg->len))
        return apart;
    return ((next_granule(l, pos) + l->boundary) & ~l->boundary) + (seg->pa & l->mask);
}

/* The error of a segment alone, or 0. */
static int check_seg(const struct limits *l, const struct gr_seg *seg)
{
    if (!seg->len)
        return GR_ENODATA;
    if (seg->len > l->max_len || seg->len - 1 > l->boundary)
        return GR_EINVAL;
    if (gri_overflows(seg->pa, seg->len))
        return GR_EOVERFLOW;
    return seg->pa + (seg->len - 1) > l->pa_max ? GR_EFAULT : 0;
}

/* The first error of a list that has one. */
static int first_error(const struct limits *l, const struct gr_dma_list *list)
{
    uint64_t pos = start_of(l);
    gr_pa_t next = UINT64_MAX;

    for (const struct gr_seg *seg = list->segs;; seg++) {
        const int ret = check_seg(l, seg);
        uint64_t at;

        if (ret)
            return ret;
        at = place_seg(l, pos, next, seg);
        if (crosses(l, at, seg->len))
            return GR_EINVAL;
        pos = at + seg->len;
        next = seg->pa + seg->len;
        if (next_granule(l, pos) > INT64_MAX)
            return GR_EOVERFLOW;
    }
}

/*
 * Check the list, write the output, find the layout. The function is not inlined and copies the
 * limits, so that all that the loop needs stays in registers.
 */
static __attribute__((noinline)) int measure(const struct limits *limits, struct gr_dma_list *list,
                                             struct layout *out_layout)
{
    const struct limits k = *limits;
    const struct limits *const l = &k;
    const uint64_t longest = gri_min(gri_min(l->max_len - 1, l->boundary), l->pa_max);
    const struct gr_seg *const end = list->segs + list->count;
    struct gr_dma_seg *out = list->out;
    bool apart = false;
    uint64_t pos = start_of(l);
    gr_pa_t next = UINT64_MAX; /* no segment ends there */
    uint64_t pas = 0;          /* all addresses, or'ed */
    uint64_t offsets = 0; /* all ends in the range, or'ed: the top bit is set before one wraps, as
                             a segment is not longer than a PA, which has far fewer than 64 bits */

    for (const struct gr_seg *seg = list->segs; seg < end; seg++) {
        const gr_pa_t pa = seg->pa;
        const uint64_t len = seg->len;
        uint64_t at = pa == next ? pos : next_granule(l, pos) + (pa & l->mask);

        if (len - 1 > longest)
            return first_error(limits, list);
        if (at + (len - 1) > l->boundary) { /* before the first boundary none can be crossed */
            const uint64_t to = place_seg(limits, pos, next, seg);

            if (crosses(l, to, len))
                return first_error(limits, list);
            apart |= to != at;
            at = to;
        }
        /* out[-1] exists: the first segment lies at 0, a boundary, or not at pos. */
        if (at == pos && at & l->boundary && out[-1].len <= l->max_len - len)
            out[-1].len += len;
        else
            *out++ = (struct gr_dma_seg){at, len};
        pos = at + len;
        next = pa + len;
        pas |= pa | (next - 1);
        offsets |= pos;
    }
    *out_layout = (struct layout){next_granule(l, pos), (unsigned)(out - list->out), apart};
    if (pas > l->pa_max || (offsets | out_layout->size) > INT64_MAX)
        return first_error(limits, list);
    return 0;
}

/* Map `count` segments, which lie from `at` to `end` in the range, as one run. */
static int map_run(const struct limits *l, struct gri_mapping *m, struct gri_isolation *is,
                   uint64_t at, uint64_t end, const struct gr_seg *segs, unsigned count)
{
    if (!count)
        return 0; /* before the first run */
    return is ? gri_isolate(is, m, at, segs->pa, end - at)
              : gri_domain_map_segs(m, at & ~l->mask, segs, count);
}

/* Map a list run by run: because boundaries moved runs apart or, with `is`, to isolate each run. */
static int map_apart(const struct limits *l, struct gri_mapping *m, struct gri_isolation *is,
                     const struct gr_dma_list *list)
{
    const struct gr_seg *first = list->segs; /* of the run */
    uint64_t first_at = 0;
    uint64_t pos = start_of(l);
    gr_pa_t next = UINT64_MAX;
    int ret = 0;

    for (const struct gr_seg *seg = first; !ret && seg < list->segs + list->count; seg++) {
        const uint64_t at = place_seg(l, pos, next, seg);

        if (at != pos || seg->pa != next) {
            ret = map_run(l, m, is, first_at, pos, first, (unsigned)(seg - first));
            first = seg;
            first_at = at;
        }
        pos = at + seg->len;
        next = seg->pa + seg->len;
    }
    return ret ? ret
               : map_run(l, m, is, first_at, pos, first,
                         (unsigned)(list->segs + list->count - first));
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

/* The IOVA range to ask for, for a list. */
static inline struct gr_iova_req request(const struct gr_device *dev,
                                         const struct gr_domain *domain, const struct limits *l,
                                         uint64_t size)
{
    struct gr_iova_req req = {
        .size = size,
        .last = gri_min(dev->dma_mask, domain->aperture.last),
    };

    /* Offsets in the range and IOVAs must agree on where a boundary is. Without one, + 1 is 0. */
    if (l->boundary + 1 > size)
        req.boundary = l->boundary + 1;
    else
        req.align = l->boundary + 1;
    return req;
}

/* Turn the output's offsets into IOVAs. */
static inline void place_output(struct gr_dma_list *list, unsigned count, gr_iova_t iova)
{
    for (unsigned i = 0; i < count; i++)
        list->out[i].iova += iova;
    list->out_count = count;
}

static __attribute__((noinline)) int map_isolated(struct gr_device *dev, const struct limits *l,
                                                  struct gr_dma_list *list, enum gr_dma_dir dir,
                                                  unsigned attrs)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    struct gri_isolation is;
    struct gr_iova_req req;
    struct gri_mapping m;
    struct layout layout;
    int ret = measure(l, list, &layout);

    if (ret)
        return ret;
    req = request(dev, domain, l, layout.size);
    if (gri_dma_must_sync(dev, attrs))
        sync_list(dev, list, dir, false);
    ret = gri_domain_map_begin(domain, &req, gri_dma_prot(dir, attrs), &m);
    if (ret)
        return ret;
    gri_isolation_init(&is, dev, attrs);
    ret = gri_domain_map_finish(&m, map_apart(l, &m, &is, list));
    if (ret)
        gri_isolation_undo(&is, ret);
    else
        place_output(list, layout.out_count, m.iova);
    return ret;
}

int gr_dma_map_sg(struct gr_device *dev, struct gr_dma_list *list, enum gr_dma_dir dir,
                  unsigned attrs)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    struct gr_iova_req req;
    struct gri_mapping m;
    struct layout layout;
    struct limits l;
    int ret;

    list->out_count = 0;
    if (!domain)
        return gri_offset_map_sg(dev, list, dir, attrs);
    ret = gri_dma_check_list(list, dir, attrs);
    if (ret)
        return ret;
    l = limits_of(dev, domain);
    if (gri_isolated(dev))
        return map_isolated(dev, &l, list, dir, attrs);
    ret = measure(&l, list, &layout);
    if (ret)
        return ret;
    req = request(dev, domain, &l, layout.size);
    if (gri_dma_must_sync(dev, attrs))
        sync_list(dev, list, dir, false);
    ret = gri_domain_map_begin(domain, &req, gri_dma_prot(dir, attrs), &m);
    if (!ret)
        ret = gri_domain_map_finish(&m, layout.apart
                                            ? map_apart(&l, &m, NULL, list)
                                            : gri_domain_map_segs(&m, 0, list->segs, list->count));
    if (!ret)
        place_output(list, layout.out_count, m.iova);
    return ret;
}

int gri_dma_map_one(struct gr_device *dev, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir,
                    unsigned attrs, gr_iova_t *out_iova)
{
    const struct gr_seg seg = {pa, len};
    struct gr_dma_seg out;
    struct gr_dma_list list = {.segs = &seg, .count = 1, .out = &out};
    struct limits l = limits_of(dev, gri_dma_domain(dev));
    int ret;

    l.max_len = UINT64_MAX;
    l.boundary = UINT64_MAX;
    ret = map_isolated(dev, &l, &list, dir, attrs);
    if (!ret)
        *out_iova = out.iova;
    return ret;
}

/*
 * Unmap the range of an isolated device's list. `one`, unless NULL, is the list's only segment,
 * whose PA is not known yet and is filled in.
 */
static int unmap_isolated(struct gr_device *dev, const struct gr_dma_list *list, struct gr_seg *one,
                          gr_iova_t first, uint64_t size, enum gr_dma_dir dir, unsigned attrs)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    struct gri_isolation is;
    int ret = gr_iova_check(&domain->iova, first, size); /* only an owned range may be looked up */

    if (ret)
        return ret;
    gri_isolation_init(&is, dev, attrs);
    for (unsigned i = 0; i < list->out_count; i++)
        gri_isolation_find(&is, list->out[i].iova, list->out[i].len);
    if (one)
        one->pa = gri_isolation_origin(&is, list->out->iova);
    /* In a DEFERRED domain the slots go to the queue, which any CPU may flush: copy out first. */
    if (is.slots && domain->defer && !(attrs & GR_DMA_SKIP_SYNC)) {
        ret = gri_dma_sync(dev, list->out, list->out_count, dir, true);
        attrs |= GR_DMA_SKIP_SYNC;
    }
    if (!ret)
        ret = gri_isolation_unmap(&is, first, size);
    if (ret)
        return ret;
    if (gri_dma_must_sync(dev, attrs))
        sync_list(dev, list, dir, true);
    gri_isolation_end(&is, dir, attrs);
    return 0;
}

int gri_dma_unmap_one(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                      unsigned attrs)
{
    const uint64_t mask = gri_dma_domain(dev)->pt.granule_mask;
    const uint64_t over = dev->config.overread;
    struct gr_dma_seg out = {iova, len};
    struct gr_seg seg = {0, len};
    const struct gr_dma_list list = {.segs = &seg, .count = 1, .out_count = 1, .out = &out};

    if (len > UINT64_MAX - over - mask || iova > UINT64_MAX - over - (len - 1))
        return GR_ENOENT;
    return unmap_isolated(dev, &list, &seg, iova & ~mask,
                          ((iova & mask) + len + over + mask) & ~mask, dir, attrs);
}

int gr_dma_unmap_sg(struct gr_device *dev, const struct gr_dma_list *list, enum gr_dma_dir dir,
                    unsigned attrs)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    const struct gr_dma_seg *last;
    uint64_t mask;
    uint64_t first;
    uint64_t end;
    int ret;

    if (!domain)
        return gri_offset_unmap_sg(dev, list, dir, attrs);
    ret = gri_dma_check_list(list, dir, attrs);
    if (ret)
        return ret;
    if (!list->out_count)
        return GR_ENODATA;
    last = &list->out[list->out_count - 1];
    if (!last->len)
        return GR_ENODATA;
    if (gri_overflows(last->iova, last->len))
        return GR_EOVERFLOW;
    mask = domain->pt.granule_mask;
    first = list->out[0].iova & ~mask;
    end = last->iova + (last->len - 1); /* inclusive */
    if (end < first)
        return GR_EMSGSIZE;
    if (gri_isolated(dev)) {
        if (end > UINT64_MAX - dev->config.overread)
            return GR_ENOENT;
        end = (end + dev->config.overread) | mask;
        return unmap_isolated(dev, list, NULL, first, end - first + 1, dir, attrs);
    }
    ret = gri_domain_unmap_free(domain, first, (end | mask) - first + 1, NULL, NULL);
    if (!ret && gri_dma_must_sync(dev, attrs))
        sync_list(dev, list, dir, true);
    return ret;
}

static int sync_sg(struct gr_device *dev, const struct gr_dma_list *list, enum gr_dma_dir dir,
                   bool for_cpu)
{
    int ret;

    if (!gri_dma_domain(dev))
        return gri_offset_sync_sg(dev, list, dir, for_cpu);
    ret = gri_dma_check_list(list, dir, 0);
    if (ret)
        return ret;
    if (gri_isolated(dev)) /* parts of the buffer may be in slots */
        return gri_dma_sync(dev, list->out, list->out_count, dir, for_cpu);
    if (!dev->config.coherent)
        sync_list(dev, list, dir, for_cpu);
    return 0;
}

int gr_dma_sync_sg_for_cpu(struct gr_device *dev, const struct gr_dma_list *list,
                           enum gr_dma_dir dir)
{
    return sync_sg(dev, list, dir, true);
}

int gr_dma_sync_sg_for_device(struct gr_device *dev, const struct gr_dma_list *list,
                              enum gr_dma_dir dir)
{
    return sync_sg(dev, list, dir, false);
}
