/* SPDX-License-Identifier: MIT */
/*
 * Isolation. Only the first and the last granule of a buffer can show a device what is not the
 * buffer's. These two are narrowed by a window, or replaced by a slot of the bounce pool. The
 * granules between are mapped in place (REQUIREMENTS.md 2, 3).
 *
 * Nothing but the tables says which granules are slots: an unmap looks up the PAs of its ends.
 */
#include "dma/dma_internal.h"

void gri_isolation_init(struct gri_isolation *is, const struct gr_device *dev, unsigned attrs)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    const bool trusted = !dev->group->untrusted;
    const uint32_t access = dev->config.access_unit ? dev->config.access_unit : 8;
    enum gr_isolation how = dev->config.isolation;

    if (how == GR_ISOLATION_DEFAULT || (how == GR_ISOLATION_EXPOSE && !trusted))
        how = trusted ? GR_ISOLATION_EXPOSE : GR_ISOLATION_WINDOW;
    *is = (struct gri_isolation){
        .dev = dev,
        .domain = domain,
        .trusted = trusted,
        .expose = how == GR_ISOLATION_EXPOSE,
        .mmio = attrs & GR_DMA_MMIO,
    };
    if (how == GR_ISOLATION_WINDOW && domain->pt.window_unit &&
        (trusted || domain->windows_verified))
        is->unit = gri_max(domain->pt.window_unit, access);
}

/* ---- map ---- */

/*
 * Fit `seg`, which lies in one granule, to a window; false if it has to bounce. A trusted device's
 * window is rounded outwards and includes the overread. An untrusted device's window must be the
 * buffer's part exactly, without overread.
 */
static bool fit_window(const struct gri_isolation *is, struct gr_seg *seg)
{
    const uint64_t mask = is->domain->pt.granule_mask;
    const uint64_t unit = is->unit - 1;
    const uint64_t end = (seg->pa & mask) + seg->len;
    uint64_t first = seg->pa & mask;
    /* Overread from the granule's end on lies in the next granule, which is mapped on its own. */
    uint64_t wide = end > mask ? end : end + is->dev->config.overread;

    if (!is->unit)
        return false;
    if (!is->trusted)
        return !((first | end) & unit) && wide == end;
    first &= ~unit;
    wide = gri_min((wide + unit) & ~unit, mask + 1);
    *seg = (struct gr_seg){(seg->pa & ~mask) + first, wide - first};
    return true;
}

/* Bounce `len` bytes at `pa`: they keep their offset in a granule, in a slot of `span` bytes. */
static int bounce_end(struct gri_isolation *is, struct gri_mapping *m, uint64_t at, gr_pa_t pa,
                      uint64_t len, uint64_t span)
{
    struct gr_domain *const domain = is->domain;
    const uint32_t offset = (uint32_t)(pa & domain->pt.granule_mask);
    struct gri_slot *slot;
    struct gr_seg seg;
    int ret;

    if (is->mmio || !domain->bounce)
        return GR_EOPNOTSUPP;
    ret = gri_bounce_make(domain->bounce, span, offset, pa, (uint32_t)len, &slot);
    if (ret == GR_ENOBUFS && domain->defer) { /* queued unmaps may hold slots until a flush */
        ret = gr_domain_flush(domain);
        if (!ret)
            ret = gri_bounce_make(domain->bounce, span, offset, pa, (uint32_t)len, &slot);
    }
    if (ret == GR_ENOBUFS)
        gri_bounce_refused(domain->bounce, span);
    if (ret)
        return ret;
    slot->next = is->slots;
    is->slots = slot;
    if (!is->dev->config.coherent)
        gr_port_cache(domain->env, gri_bounce_va(slot), slot->size, GR_CACHE_CLEAN);
    seg = (struct gr_seg){gri_bounce_pa(slot), span};
    return gri_domain_map_segs(m, at, &seg, 1);
}

/* Map an end of a buffer: `len` bytes at `pa`, in one granule, to `span` bytes of IOVA. */
static int map_end(struct gri_isolation *is, struct gri_mapping *m, uint64_t at, gr_pa_t pa,
                   uint64_t len, uint64_t span)
{
    struct gr_seg seg = {pa, len};

    if (len && span == is->domain->pt.granule_mask + 1) {
        if (is->expose)
            return gri_domain_map_segs(m, at, &seg, 1);
        if (fit_window(is, &seg))
            return gri_domain_map_window(m, at, &seg);
    }
    return bounce_end(is, m, at, pa, len, span);
}

int gri_isolate(struct gri_isolation *is, struct gri_mapping *m, uint64_t at, gr_pa_t pa,
                uint64_t len)
{
    const uint64_t mask = is->domain->pt.granule_mask;
    const uint64_t head = pa & mask;
    const uint64_t end = head + len; /* counted from the first granule's start, as all below */
    const uint64_t span = (end + is->dev->config.overread + mask) & ~mask;
    const uint64_t middle = head ? mask + 1 : 0;
    const uint64_t tail = end & ~mask;
    int ret = 0;

    at -= head;
    pa -= head;
    if (!tail || (head && end == mask + 1))
        return map_end(is, m, at, pa + head, len, span); /* all in one granule */
    if (head)
        ret = map_end(is, m, at, pa + head, middle - head, middle);
    if (!ret && tail > middle) {
        const struct gr_seg seg = {pa + middle, tail - middle};

        ret = gri_domain_map_segs(m, at + middle, &seg, 1);
    }
    if (!ret && span > tail)
        ret = map_end(is, m, at + tail, pa + tail, end - tail, span - tail);
    return ret;
}

void gri_isolation_undo(struct gri_isolation *is, int ret)
{
    gri_bounce_free(is->slots, ret == GR_ETIMEDOUT && gri_domain_is_unsafe(is->domain));
    is->slots = NULL;
}

/* ---- unmap ---- */

/* The slot that an IOVA, which the caller owns, is mapped to, or NULL. */
static struct gri_slot *slot_at(const struct gri_isolation *is, gr_iova_t iova)
{
    gr_pa_t pa;

    return gri_pt_to_phys(&is->domain->pt, iova, &pa) ? NULL
                                                      : gri_bounce_find(is->domain->bounce, pa);
}

void gri_isolation_find(struct gri_isolation *is, gr_iova_t iova, uint64_t len)
{
    const uint64_t mask = is->domain->pt.granule_mask;
    /* The last granule may hold overread only, and no byte of the buffer. */
    const gr_iova_t at[] = {iova, iova + (len - 1) + is->dev->config.overread};

    if (!is->domain->bounce)
        return;
    for (unsigned i = 0; i < GRI_ARRAY_SIZE(at); i++) {
        struct gri_slot *const slot = slot_at(is, at[i] & ~mask);

        /* A run has two slots at most, and several outputs may belong to it: add a slot once. */
        if (slot && slot != is->slots && !(is->slots && slot == is->slots->next)) {
            slot->next = is->slots;
            is->slots = slot;
        }
    }
}

gr_pa_t gri_isolation_origin(const struct gri_isolation *is, gr_iova_t iova)
{
    const struct gri_slot *slot = NULL;
    gr_pa_t pa = 0;
    const int ret = gri_pt_to_phys(&is->domain->pt, iova, &pa);

    if (!ret && is->domain->bounce)
        slot = gri_bounce_find(is->domain->bounce, pa);
    return slot ? pa - gri_bounce_pa(slot) + slot->pa - slot->offset : pa;
}

int gri_isolation_unmap(struct gri_isolation *is, gr_iova_t iova, uint64_t size)
{
    const bool defer = is->domain->defer;
    const int ret = gri_domain_unmap_free(is->domain, iova, size, NULL, is->slots);

    if (ret == GR_ETIMEDOUT && !defer)
        gri_bounce_free(is->slots, true);
    if (ret == GR_ETIMEDOUT || defer)
        is->slots = NULL; /* lost, or in the domain's queue, or flushed and freed from there */
    return ret;
}

void gri_isolation_end(struct gri_isolation *is, enum gr_dma_dir dir, unsigned attrs)
{
    const bool out = (dir & GR_DMA_FROM_DEVICE) && !(attrs & GR_DMA_SKIP_SYNC);

    for (const struct gri_slot *slot = is->slots; out && slot; slot = slot->next) {
        if (!is->dev->config.coherent)
            gr_port_cache(is->domain->env, gri_bounce_va(slot), slot->size, GR_CACHE_INVAL);
        gri_bounce_copy(slot, 0, slot->size, true);
    }
    gri_bounce_free(is->slots, false);
}

/* ---- sync ---- */

int gri_isolation_sync(const struct gr_device *dev, gr_iova_t iova, uint64_t len, bool out,
                       bool check)
{
    struct gr_domain *const domain = gri_dma_domain(dev);
    const uint64_t mask = domain->pt.granule_mask;
    const gr_iova_t at[] = {iova & ~mask, (iova + (len - 1)) & ~mask};
    const struct gri_slot *before = NULL;

    for (unsigned i = 0; domain->bounce && i < GRI_ARRAY_SIZE(at); i++) {
        const struct gri_slot *slot;
        gr_pa_t pa;

        if (gr_domain_iova_to_phys(domain, at[i], &pa))
            return GR_ENOENT;
        slot = gri_bounce_find(domain->bounce, pa);
        if (!slot || slot == before)
            continue;
        before = slot;

        const gr_iova_t start = at[i] - (pa - gri_bounce_pa(slot));
        const uint64_t first = gri_max(iova, start) - start;
        const uint64_t last = gri_min(iova + (len - 1), start + (slot->size - 1)) - start;

        if (!check)
            gri_bounce_copy(slot, first, last - first + 1, out);
        else if (first < slot->offset || last - slot->offset >= slot->len)
            return GR_ENOENT;
    }
    return 0;
}
