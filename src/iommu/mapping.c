/* SPDX-License-Identifier: MIT */
/* Mapping and unmapping in TRANSLATED and UNMANAGED domains; domain.c tells of their locks. */
#include "core/bits.h"
#include "iommu/adopt.h"
#include "iommu/iommu_internal.h"
#include "iova/iova_internal.h"

/* Attempts to allocate before a map fails with GR_ENOSPC: see gri_domain_alloc_again(). */
#define ALLOC_TRIES 64u

/* ---- TRANSLATED domains: no lock is held ---- */

/* Invalidate what was unmapped, and free its IOVAs and the tables whose spans they hold. */
static int finish_free_locked(struct gr_domain *domain, gr_iova_t iova, uint64_t len,
                              struct gr_range held)
{
    const gr_lock_state_t state = gr_port_lock(&domain->lock);
    const int ret = gri_domain_retire(domain, iova, len, held);

    gr_port_unlock(&domain->lock, state);
    return ret;
}

/* The same, without the lock, where no table is freed: the common case. */
static int finish_free(struct gr_domain *domain, gr_iova_t iova, uint64_t len,
                       const struct gri_iova_hold *hold)
{
    struct gr_range held;
    int ret = len ? gri_domain_invalidate(domain, iova, iova + len - 1, false) : 0;

    if (ret || gri_domain_in_doubt(domain)) {
        const gr_lock_state_t state = gr_port_lock(&domain->lock);

        ret = gri_domain_settle(domain, ret, len, &(struct gr_pt_gather){0});
        gr_port_unlock(&domain->lock, state);
    }
    if (!ret && gri_iova_end(&domain->iova, hold, &held))
        /* Ranges that other CPUs freed beside this one meanwhile may make up a table's span. */
        ret = finish_free_locked(domain, held.first, 0, held);
    return ret;
}

/* gr_pt_unmap() without checks, of a range that is known to be mapped; it takes out no table. */
static int unmap_leaves(struct gr_domain *domain, gr_iova_t iova, uint64_t len)
{
    const uint64_t va = iova & domain->pt.va_mask;

    return domain->pt.ops->unmap(&domain->pt, va, va + len - 1, (struct gr_range){1, 0}, NULL);
}

/*
 * Clear the leaves of [iova, iova + done), and free the allocation [iova, iova + size). *out_pa,
 * unless out_pa is NULL, becomes the PA that `iova` was mapped to. With `defer` the invalidation is
 * queued, and `slots` with it.
 */
static int unmap_free(struct gr_domain *domain, gr_iova_t iova, uint64_t done, uint64_t size,
                      gr_pa_t *out_pa, bool defer, struct gri_slot *slots)
{
    struct gri_iova_hold hold;
    struct gr_range span;
    int ret;

    gri_overlap_enter(domain, iova, iova + size - 1);
    ret = gri_iova_begin(&domain->iova, iova, size, &hold);
    if (!ret && out_pa)
        ret = gri_pt_to_phys(&domain->pt, iova, out_pa);
    if (!ret && done)
        ret = unmap_leaves(domain, iova, done);
    /* Before the IOVAs are free: then another call may own them. */
    gri_overlap_leave(domain, iova, iova + size - 1);
    if (ret)
        return ret;
    span = hold.range;
    if (defer) {
        const struct gri_deferred entry = {hold.range, iova, done, slots};

        return gri_defer_push(domain, &entry,
                              !hold.arena && gri_domain_holds_table(domain, &span) ? &span : NULL);
    }
    return !hold.arena && gri_domain_holds_table(domain, &span)
               ? finish_free_locked(domain, iova, done, hold.range)
               : finish_free(domain, iova, done, &hold);
}

/*
 * Frees in flight may hold all free IOVAs. Retry a bounded number of times: if this is an interrupt
 * on the CPU that is freeing, that CPU cannot finish while the interrupt waits.
 */
int gri_domain_alloc_again(struct gr_domain *domain, const struct gr_iova_req *req,
                           gr_iova_t *out_iova)
{
    int ret = GR_ENOSPC;

    if (domain->defer) {
        gri_defer_flush(domain);
        ret = gr_iova_alloc(&domain->iova, req, out_iova);
    }
    for (unsigned i = 0; ret == GR_ENOSPC && i < ALLOC_TRIES; i++) {
        const gr_lock_state_t state = gr_port_lock(&domain->lock);
        struct gr_iova_stats stats;

        gr_iova_stats(&domain->iova, &stats);
        ret = gr_iova_alloc(&domain->iova, req, out_iova);
        if (stats.held <= domain->quarantined_bytes)
            i = ALLOC_TRIES;
        gr_port_unlock(&domain->lock, state);
        gr_port_relax(domain->env);
    }
    return ret;
}

int gri_domain_map_settle(struct gri_mapping *m, int ret)
{
    struct gr_domain *const domain = m->domain;

    if (!ret && domain->defer)
        ret = gri_defer_flush_with(domain, m->iova, m->iova + m->size - 1);
    else if (!ret)
        ret = gri_domain_invalidate_visible(domain, m->iova, m->iova + m->size - 1, true);
    if (ret) {
        const uint64_t done = m->cursor.end - (m->iova & domain->pt.va_mask);
        const int undo = unmap_free(domain, m->iova, done, m->size, NULL, false, NULL);

        ret = undo ? undo : ret;
    }
    return ret;
}

int gri_domain_map_range(struct gr_domain *domain, const struct gr_iova_req *req, unsigned prot,
                         gr_pa_t pa, gr_iova_t *out_iova)
{
    struct gri_mapping m;
    int ret = gri_domain_map_begin(domain, req, prot, &m);

    if (!ret) {
        const struct gr_seg seg = {pa, req->size};

        ret = gri_domain_map_finish(&m, gri_domain_map_segs(&m, 0, &seg, 1));
    }
    if (!ret)
        *out_iova = m.iova;
    return ret;
}

int gri_domain_unmap_free(struct gr_domain *domain, gr_iova_t iova, uint64_t size, gr_pa_t *out_pa,
                          struct gri_slot *slots)
{
    return unmap_free(domain, iova, size, size, out_pa, domain->defer, slots);
}

/* ---- UNMANAGED domains ---- */

/* Invalidate what was unmapped, then free the tables that were retired. domain->lock is held. */
static int finish_unmap(struct gr_domain *domain, gr_iova_t iova, uint64_t len,
                        struct gr_pt_gather *gather)
{
    return gri_domain_settle(
        domain, gri_domain_invalidate(domain, iova, iova + len - 1, gather->count), len, gather);
}

static int check_range(const struct gr_domain *domain, gr_iova_t iova, uint64_t len)
{
    if (!len)
        return GR_ENODATA;
    if ((iova | len) & gri_mask(domain->pt.granule_lg2))
        return GR_EINVAL;
    if (gri_overflows(iova, len))
        return GR_EOVERFLOW;
    return gri_range_contains(&domain->aperture, iova, iova + len - 1) ? 0 : GR_ERANGE;
}

static int check_unmanaged(const struct gr_domain *domain, gr_iova_t iova, uint64_t len)
{
    const int ret =
        domain->type == GR_DOMAIN_UNMANAGED ? check_range(domain, iova, len) : GR_ENODEV;

    return !ret && gri_fixed_overlaps(domain, iova, iova + len - 1) ? GR_EBUSY : ret;
}

/* Undo a map that stopped after `done` bytes. The trim frees a table that the map has made and that
 * spans more than those bytes. */
static int roll_back(struct gr_domain *domain, gr_iova_t iova, uint64_t done)
{
    const struct gr_range whole = {iova, iova + done - 1};
    struct gr_pt_gather gather = {0};
    int ret = gr_pt_unmap(&domain->pt, iova, done, &whole, &gather);

    if (!ret)
        ret = gr_pt_trim(&domain->pt, iova, done, &gather);
    return ret ? ret : finish_unmap(domain, iova, done, &gather);
}

int gr_domain_map(struct gr_domain *domain, gr_iova_t iova, gr_pa_t pa, uint64_t len, unsigned prot)
{
    gr_lock_state_t state;
    uint64_t done = 0;
    int ret = check_unmanaged(domain, iova, len);

    if (ret)
        return ret;
    gri_overlap_enter(domain, iova, iova + len - 1);
    state = gr_port_lock(&domain->lock);
    ret = domain->broken ? GR_EIO : gr_pt_map(&domain->pt, iova, pa, len, prot, &done);
    if (!ret && domain->invalidate_on_map)
        ret = gri_domain_invalidate_visible(domain, iova, iova + len - 1, true);
    if (ret && done) {
        const int undo = roll_back(domain, iova, done);

        ret = undo ? undo : ret;
    }
    gri_overlap_leave(domain, iova, iova + len - 1);
    gr_port_unlock(&domain->lock, state);
    return ret;
}

int gr_domain_unmap(struct gr_domain *domain, gr_iova_t iova, uint64_t len)
{
    const struct gr_range whole = {iova, iova + len - 1};
    struct gr_pt_gather gather = {0};
    gr_lock_state_t state;
    int ret = check_unmanaged(domain, iova, len);

    if (ret)
        return ret;
    gri_overlap_enter(domain, iova, iova + len - 1);
    state = gr_port_lock(&domain->lock);
    ret = gr_pt_check_mapped(&domain->pt, iova, len);
    if (!ret)
        ret = gr_pt_unmap(&domain->pt, iova, len, &whole, &gather);
    if (!ret)
        ret = finish_unmap(domain, iova, len, &gather);
    gri_overlap_leave(domain, iova, iova + len - 1);
    gr_port_unlock(&domain->lock, state);
    return ret;
}

int gr_domain_trim(struct gr_domain *domain, gr_iova_t iova, uint64_t len)
{
    struct gr_pt_gather gather = {0};
    gr_lock_state_t state;
    int ret = domain->pt.ops ? check_range(domain, iova, len) : GR_ENODEV;

    if (ret)
        return ret;
    if (domain->type == GR_DOMAIN_LINEAR)
        return 0; /* its mappings, and so its tables, stay as long as the domain */
    gri_defer_flush(domain);
    if (domain->type == GR_DOMAIN_TRANSLATED)
        (void)gr_iova_drain(&domain->iova);
    gri_overlap_enter(domain, iova, iova + len - 1);
    state = gr_port_lock(&domain->lock);
    ret = gr_pt_trim(&domain->pt, iova, len, &gather);
    if (!ret && gather.count)
        ret = finish_unmap(domain, iova, len, &gather);
    gri_overlap_leave(domain, iova, iova + len - 1);
    gr_port_unlock(&domain->lock, state);
    return ret;
}
