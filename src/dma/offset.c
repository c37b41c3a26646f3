/* SPDX-License-Identifier: MIT */
/*
 * The DMA API where IOVAs are physical addresses less a constant offset: no IOVA to allocate, no
 * table to write, nothing to invalidate. A buffer of which a part does not pass bounces as a whole.
 */
#include "dma/dma_internal.h"

/* The domain that serves a device. Returns 0, GR_ENODEV. */
static int domain_of(const struct gr_device *dev, struct gr_domain **out)
{
    *out = gri_dma_offset(dev);
    return *out ? 0 : GR_ENODEV;
}

static void clean_slot(const struct gr_domain *domain, const struct gri_slot *slot)
{
    gr_port_cache(domain->env, gri_bounce_va(slot), slot->size, GR_CACHE_CLEAN);
}

static struct gri_slot *slot_at_iova(const struct gr_domain *domain, gr_iova_t iova)
{
    return domain->bounce ? gri_bounce_find(domain->bounce, iova + domain->direct_offset) : NULL;
}

/* The bits of its address that a bounced buffer keeps, a mask. */
static uint64_t kept_bits(const struct gr_device *dev)
{
    return gri_max(dev->config.min_align_mask, 4095);
}

static int bounce_whole(struct gr_device *dev, struct gr_domain *domain, gr_pa_t pa, uint64_t len,
                        unsigned attrs, gr_iova_t *out_iova)
{
    const uint64_t offset = pa & kept_bits(dev);
    struct gri_slot *slot;
    gr_pa_t at;
    int ret;

    if ((attrs & GR_DMA_MMIO) || !domain->bounce)
        return GR_EFAULT;
    ret = len > GR_BOUNCE_CHUNK - offset
              ? GR_ENOBUFS
              : gri_bounce_make(domain->bounce, gri_max(offset + len, kept_bits(dev) + 1),
                                (uint32_t)offset, pa, (uint32_t)len, &slot);
    if (ret == GR_ENOBUFS)
        gri_bounce_refused(domain->bounce, len);
    if (ret)
        return ret;
    at = gri_bounce_pa(slot);
    if (!gri_linear_passes(domain, at, slot->size, dev->dma_mask)) {
        gri_bounce_free(slot, false);
        return GR_ERANGE;
    }
    if (!dev->config.coherent)
        clean_slot(domain, slot);
    *out_iova = at + offset - domain->direct_offset;
    return 0;
}

int gri_offset_map(struct gr_device *dev, gr_pa_t pa, uint64_t len, enum gr_dma_dir dir,
                   unsigned attrs, gr_iova_t *out_iova)
{
    struct gr_domain *domain;
    int ret = domain_of(dev, &domain);

    if (!ret)
        ret = gri_dma_check(pa, len, dir, attrs);
    if (ret)
        return ret;
    if (!gri_linear_passes(domain, pa, len, dev->dma_mask))
        return bounce_whole(dev, domain, pa, len, attrs, out_iova);
    if (gri_dma_must_sync(dev, attrs))
        gri_dma_to_device(domain, pa, len);
    *out_iova = pa - domain->direct_offset;
    return 0;
}

/* A part of a mapping: in a slot, or in the caller's memory. */
struct part {
    struct gr_domain *domain;
    struct gri_slot *slot; /* or NULL */
    gr_pa_t pa;
    uint64_t len;
};

/* Check a call on a part and find it. Returns as gri_dma_check(), GR_ENODEV, GR_ENOENT. */
static int find_part(const struct gr_device *dev, const struct gr_dma_seg *seg, enum gr_dma_dir dir,
                     unsigned attrs, struct part *out)
{
    struct gri_slot *slot;
    int ret = domain_of(dev, &out->domain);

    if (!ret)
        ret = gri_dma_check(seg->iova, seg->len, dir, attrs);
    if (ret)
        return ret;
    slot = slot_at_iova(out->domain, seg->iova);
    out->slot = slot;
    out->pa = seg->iova + out->domain->direct_offset;
    out->len = seg->len;
    if (!gri_linear_passes(out->domain, out->pa, out->len, dev->dma_mask))
        return GR_ENOENT;
    if (!slot)
        return 0;
    if (!slot->size || out->pa - gri_bounce_pa(slot) < slot->offset ||
        out->pa - gri_bounce_pa(slot) + out->len > (uint64_t)slot->offset + slot->len)
        return GR_ENOENT;
    return 0;
}

/* Hand a part to the CPU or to the device. */
static void hand_over(const struct gr_device *dev, const struct part *p, enum gr_dma_dir dir,
                      bool for_cpu)
{
    if (p->slot && !for_cpu)
        gri_bounce_copy(p->slot, p->pa - gri_bounce_pa(p->slot), p->len, false);
    if (!dev->config.coherent && for_cpu)
        gri_dma_to_cpu(p->domain, p->pa, p->len, dir);
    else if (!dev->config.coherent)
        gri_dma_to_device(p->domain, p->pa, p->len);
    if (p->slot && for_cpu && (dir & GR_DMA_FROM_DEVICE))
        gri_bounce_copy(p->slot, p->pa - gri_bounce_pa(p->slot), p->len, true);
}

int gri_offset_unmap(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                     unsigned attrs)
{
    struct part part;
    int ret = find_part(dev, &(struct gr_dma_seg){iova, len}, dir, attrs, &part);

    if (ret)
        return ret;
    if (part.slot && len != part.slot->len)
        return GR_EMSGSIZE;
    if (!(attrs & (GR_DMA_SKIP_SYNC | GR_DMA_MMIO)))
        hand_over(dev, &part, dir, true);
    gri_bounce_free(part.slot, false);
    return 0;
}

int gri_offset_sync(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                    bool for_cpu)
{
    struct part part;
    int ret = find_part(dev, &(struct gr_dma_seg){iova, len}, dir, 0, &part);

    if (!ret)
        hand_over(dev, &part, dir, for_cpu);
    return ret;
}

/* ---- lists ---- */

/*
 * May `len` bytes at `iova` be joined to the last output segment? Not where either is in a slot: a
 * sync of a part of the output could not tell where the slot's data end.
 */
static bool joins(const struct gr_device *dev, const struct gr_dma_seg *last, gr_iova_t iova,
                  uint64_t len)
{
    const struct gr_domain *const domain = gri_dma_offset(dev);

    if (slot_at_iova(domain, last->iova) || slot_at_iova(domain, iova))
        return false;
    return last->iova + last->len == iova && (iova & (dev->seg_boundary - 1)) &&
           last->len <= dev->seg_max - len;
}

static bool over_limits(const struct gr_device *dev, gr_iova_t iova, uint64_t len)
{
    const uint64_t boundary = dev->seg_boundary - 1; /* 0 is none, and wraps to all ones */

    return len > dev->seg_max || (iova & boundary) > boundary - (len - 1);
}

static int check_list(const struct gr_device *dev, const struct gr_dma_list *list,
                      enum gr_dma_dir dir, unsigned attrs)
{
    return gri_dma_offset(dev) ? gri_dma_check_list(list, dir, attrs) : GR_ENODEV;
}

/* The same for a list that a map has filled. */
static int check_mapped(const struct gr_device *dev, const struct gr_dma_list *list,
                        enum gr_dma_dir dir, unsigned attrs)
{
    const int ret = check_list(dev, list, dir, attrs);

    return ret || list->out_count ? ret : GR_ENODATA;
}

/* Call `fn` for each of the first `count` segments, where `list->out` has mapped them. Returns the
 * first error, and goes on after it. */
static int for_each_segment(struct gr_device *dev, const struct gr_dma_list *list, unsigned count,
                            int (*fn)(struct gr_device *dev, gr_iova_t iova, uint64_t len,
                                      enum gr_dma_dir dir, unsigned attrs),
                            enum gr_dma_dir dir, unsigned attrs)
{
    const struct gr_dma_seg *out = list->out;
    uint64_t pos = 0;
    int ret = 0;

    for (unsigned i = 0; i < count; i++) {
        const uint64_t len = list->segs[i].len;
        const int one = fn(dev, out->iova + pos, len, dir, attrs);

        ret = ret ? ret : one;
        pos += len;
        if (pos >= out->len) {
            out++;
            pos = 0;
        }
    }
    return ret;
}

int gri_offset_map_sg(struct gr_device *dev, struct gr_dma_list *list, enum gr_dma_dir dir,
                      unsigned attrs)
{
    struct gr_dma_seg *out = list->out;
    unsigned i = 0;
    int ret = check_list(dev, list, dir, attrs);

    if (ret)
        return ret;
    for (; i < list->count; i++) {
        const struct gr_seg *const seg = &list->segs[i];
        gr_iova_t iova;

        ret = gri_offset_map(dev, seg->pa, seg->len, dir, attrs, &iova);
        if (ret)
            break;
        if (over_limits(dev, iova, seg->len)) {
            *out = (struct gr_dma_seg){iova, seg->len};
            ret = GR_EINVAL;
            i++;
            break;
        }
        if (out > list->out && joins(dev, &out[-1], iova, seg->len))
            out[-1].len += seg->len;
        else
            *out++ = (struct gr_dma_seg){iova, seg->len};
    }
    if (ret) {
        const int undo =
            for_each_segment(dev, list, i, gri_offset_unmap, dir, attrs | GR_DMA_SKIP_SYNC);

        return undo ? undo : ret;
    }
    list->out_count = (unsigned)(out - list->out);
    return 0;
}

int gri_offset_unmap_sg(struct gr_device *dev, const struct gr_dma_list *list, enum gr_dma_dir dir,
                        unsigned attrs)
{
    const int ret = check_mapped(dev, list, dir, attrs);

    return ret ? ret : for_each_segment(dev, list, list->count, gri_offset_unmap, dir, attrs);
}

static int sync_for_cpu(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                        unsigned attrs)
{
    (void)attrs;
    return gri_offset_sync(dev, iova, len, dir, true);
}

static int sync_for_device(struct gr_device *dev, gr_iova_t iova, uint64_t len, enum gr_dma_dir dir,
                           unsigned attrs)
{
    (void)attrs;
    return gri_offset_sync(dev, iova, len, dir, false);
}

int gri_offset_sync_sg(struct gr_device *dev, const struct gr_dma_list *list, enum gr_dma_dir dir,
                       bool for_cpu)
{
    const int ret = check_mapped(dev, list, dir, 0);

    return ret ? ret
               : for_each_segment(dev, list, list->count, for_cpu ? sync_for_cpu : sync_for_device,
                                  dir, 0);
}

/* ---- limits ---- */

uint64_t gri_offset_max(const struct gr_device *dev, const struct gr_domain *domain)
{
    const uint64_t mask = domain->direct.last - domain->direct_offset;

    if (domain->bounce && (domain->beyond || dev->dma_mask < mask))
        return GR_BOUNCE_CHUNK - kept_bits(dev); /* the worst offset takes so much */
    return gri_min(dev->dma_mask, mask) - (domain->direct.first - domain->direct_offset) + 1;
}
