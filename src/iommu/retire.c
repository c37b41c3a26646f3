/* SPDX-License-Identifier: MIT */
/*
 * Taking mappings back: invalidate the cleared entries on every instance, then free the tables that
 * were taken out; and what becomes of a domain whose invalidation failed. domain->lock is held,
 * except for an invalidation of leaves alone.
 */
#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"
#include "iommu/adopt.h"
#include "iommu/iommu_internal.h"

int gri_stream_block(struct gr_stream *stream, struct gr_binding *binding)
{
    return stream->adopted ? gri_coexist_release(stream, binding)
                           : stream->inst->ops->block(stream->inst, stream->sid, binding);
}

static int block_if_attached(struct gr_domain *domain, struct gr_stream *stream)
{
    if (stream->domain) {
        const int ret = gri_stream_block(stream, gri_domain_binding(domain, stream->inst));

        (void)ret; /* the domain is broken already */
    }
    return 0;
}

/*
 * An invalidation that failed cannot be undone (DESIGN "Errors"): every stream is blocked, and the
 * domain takes no more maps. The caller keeps the IOVAs held that the invalidation covered.
 */
static void mark_broken(struct gr_domain *domain)
{
    __atomic_store_n(&domain->broken, true, __ATOMIC_RELAXED);
    GRI_LIST_FOREACH(link, &domain->groups) {
        (void)gri_for_each_stream(domain, GRI_CONTAINER(link, struct gr_group, domain_link),
                                  block_if_attached);
    }
    gri_log(domain->env, GR_LOG_ERR,
            "domain: an invalidation failed: its streams are blocked, and %x bytes of IOVA are "
            "quarantined: their memory is not safe to reuse",
            domain->quarantined_bytes);
}

int gri_domain_invalidate_visible(struct gr_domain *domain, gr_iova_t first, gr_iova_t last,
                                  bool tables)
{
    int ret = 0;

    gri_domain_add(&gri_domain_counts(domain)->invalidations, 1);
    for (unsigned i = 0; i < domain->bindings; i++) {
        struct gr_binding *const b = &domain->binding[i];
        const int one = b->inst->ops->invalidate(b->inst, b, first, last, tables);

        ret = ret ? ret : one;
    }
    return ret;
}

int gri_domain_invalidate(struct gr_domain *domain, gr_iova_t first, gr_iova_t last, bool tables)
{
    gr_port_wmb(); /* the cleared entries before the command that invalidates them */
    return gri_domain_invalidate_visible(domain, first, last, tables);
}

int gri_domain_settle(struct gr_domain *domain, int ret, uint64_t len, struct gr_pt_gather *gather)
{
    if (!ret && !gri_domain_in_doubt(domain)) {
        gr_pt_gather_free(&domain->pt, gather);
        return 0;
    }
    gr_pt_gather_join(&domain->pt, &domain->quarantined, gather);
    domain->quarantined_bytes += len;
    if (ret)
        mark_broken(domain);
    return GR_ETIMEDOUT;
}

bool gri_domain_holds_table(const struct gr_domain *domain, struct gr_range *held)
{
    const uint64_t span = domain->table_span;
    const uint64_t rest = domain->pt.va_mask | span;
    const bool at_first = held->first == domain->aperture.first;
    const bool at_last = held->last == domain->aperture.last;

    if (held->last - held->first < span && !at_first && !at_last)
        return false; /* the common case */
    /* Where firmware has mapped IOVAs outside the aperture, the table has copies of its leaves. */
    if (at_first && !gri_fixed_overlaps(domain, held->first & ~rest, held->first))
        held->first &= ~rest;
    if (at_last && !gri_fixed_overlaps(domain, held->last, held->last | rest))
        held->last |= rest;
    /* The first span that begins in the range must end in it. */
    return held->last - held->first >= span && held->last - span >= ((held->first - 1) | span) + 1;
}

int gri_domain_retire(struct gr_domain *domain, gr_iova_t iova, uint64_t len, struct gr_range held)
{
    int ret;

    do {
        struct gr_pt_gather gather = {0};
        struct gr_range span = held;

        ret = 0;
        if (gri_domain_holds_table(domain, &span))
            gr_pt_retire(&domain->pt, &span, &gather);
        if (gather.count)
            ret = gri_domain_invalidate(domain, held.first, held.last, true);
        else if (len)
            ret = gri_domain_invalidate(domain, iova, iova + len - 1, false);
        if (len || gather.count)
            ret = gri_domain_settle(domain, ret, len, &gather);
        len = 0;
    } while (!ret && gr_iova_free_end(&domain->iova, &held, &held));
    return ret;
}
