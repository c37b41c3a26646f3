/* SPDX-License-Identifier: MIT */
/* What dma/ uses of iommu/ beyond the public header. */
#ifndef GRI_IOMMU_INTERNAL_H
#define GRI_IOMMU_INTERNAL_H

#include <granule/domain.h>

#include "core/bits.h"
#include "core/list.h"
#include "pt/pt_internal.h"

struct gri_slot;

/* Read without the lock: the domain may break at any time. */
static inline bool gri_domain_is_broken(const struct gr_domain *domain)
{
    return __atomic_load_n(&domain->broken, __ATOMIC_RELAXED);
}

/* May an instance still cache the domain's tables for a stream that has left the domain? */
static inline bool gri_domain_in_doubt(const struct gr_domain *domain)
{
    return domain->unconfirmed || !gri_list_empty(&domain->doubtful);
}

/* After a map that failed with GR_ETIMEDOUT: may a device still reach the memory of that map? */
static inline bool gri_domain_is_unsafe(const struct gr_domain *domain)
{
    return gri_domain_is_broken(domain) || gri_domain_in_doubt(domain);
}

/* The domain's binding to an instance, or NULL. */
static inline struct gr_binding *gri_domain_binding(struct gr_domain *domain,
                                                    const struct gr_instance *inst)
{
    for (unsigned i = 0; i < domain->bindings; i++) {
        if (domain->binding[i].inst == inst)
            return &domain->binding[i];
    }
    return NULL;
}

/* Visit every stream of every member of a group, until `fn` gives something other than 0. */
static inline int gri_for_each_stream(struct gr_domain *domain, const struct gr_group *group,
                                      int (*fn)(struct gr_domain *domain, struct gr_stream *stream))
{
    int ret = 0;

    GRI_LIST_FOREACH(link, &group->members) {
        struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; !ret && i < dev->config.stream_count; i++)
            ret = fn(domain, &dev->config.streams[i]);
    }
    return ret;
}

/* A load and a store, no atomic addition: two CPUs that share a counter may lose a count. */
static inline void gri_domain_add(uintptr_t *counter, uint64_t n)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + (uintptr_t)n,
                     __ATOMIC_RELAXED);
}

static inline struct gr_domain_counts *gri_domain_counts(struct gr_domain *domain)
{
    return &domain->counts[gr_port_cpu() % GR_CFG_COUNTS];
}

/* ---- mapping.c ---- */

/* A map under way in a TRANSLATED domain. */
struct gri_mapping {
    struct gr_domain *domain;
    gr_iova_t iova; /* where `size` bytes were allocated */
    uint64_t size;
    struct gri_pt_cursor cursor;
};

/* After GR_ENOSPC: retry while frees in flight hold IOVAs. Returns as gr_iova_alloc(). */
GR_MUST_CHECK int gri_domain_alloc_again(struct gr_domain *domain, const struct gr_iova_req *req,
                                         gr_iova_t *out_iova);

/*
 * Allocate an IOVA range as `req` says. Lengths, alignment and PA width are the caller's to check.
 * Returns 0, GR_EIO (broken), GR_ENOSPC, GR_ERANGE, GR_ENOMEM; on failure nothing is held.
 */
GR_MUST_CHECK static inline int gri_domain_map_begin(struct gr_domain *domain,
                                                     const struct gr_iova_req *req, unsigned prot,
                                                     struct gri_mapping *out)
{
    gr_iova_t iova;
    int ret;

    if (gri_domain_is_broken(domain))
        return GR_EIO;
    ret = gr_iova_alloc(&domain->iova, req, &iova);
    if (ret == GR_ENOSPC)
        ret = gri_domain_alloc_again(domain, req, &iova);
    if (ret)
        return ret;
    *out = (struct gri_mapping){
        .domain = domain,
        .iova = iova,
        .size = req->size,
        .cursor = {.pt = &domain->pt, .prot = prot, .end = iova & domain->pt.va_mask},
    };
    return 0;
}

/*
 * Map a list at `offset` in the range, a multiple of the granule, as gri_pt_map_segs() does.
 * Returns 0, GR_EEXIST, GR_ENOMEM.
 */
GR_MUST_CHECK static inline int gri_domain_map_segs(struct gri_mapping *m, uint64_t offset,
                                                    const struct gr_seg *segs, unsigned count)
{
    return gri_pt_map_segs(&m->cursor, (m->iova + offset) & m->domain->pt.va_mask, segs, count);
}

/* gri_pt_map_window() at `offset` in the range. Returns as above. */
GR_MUST_CHECK static inline int gri_domain_map_window(struct gri_mapping *m, uint64_t offset,
                                                      const struct gr_seg *seg)
{
    return gri_pt_map_window(&m->cursor, (m->iova + offset) & m->domain->pt.va_mask, seg);
}

/* The slow part of gri_domain_map_finish(): invalidate for the map, or undo a map that failed. */
GR_MUST_CHECK int gri_domain_map_settle(struct gri_mapping *m, int ret);

/*
 * Finish a map. With `ret` 0 make the mapping usable; if `ret` is an error or that fails, undo the
 * whole map. Returns ret, or GR_ETIMEDOUT.
 */
GR_MUST_CHECK static inline int gri_domain_map_finish(struct gri_mapping *m, int ret)
{
    gri_pt_map_end(&m->cursor);
    gri_domain_add(&gri_domain_counts(m->domain)->walks, m->cursor.walks);
    return ret || m->domain->invalidate_on_map ? gri_domain_map_settle(m, ret) : 0;
}

/* Begin, map and finish in one call, for a single run of req->size bytes at `pa`. */
GR_MUST_CHECK int gri_domain_map_range(struct gr_domain *domain, const struct gr_iova_req *req,
                                       unsigned prot, gr_pa_t pa, gr_iova_t *out_iova);

/*
 * Unmap and free the allocation [iova, iova + size). *out_pa, unless out_pa is NULL, becomes the PA
 * that `iova` was mapped to. A DEFERRED domain takes the slots over and frees them after the
 * invalidation; otherwise they stay the caller's.
 * Returns 0, GR_ENOENT, GR_EMSGSIZE, GR_ETIMEDOUT (quarantined).
 */
GR_MUST_CHECK int gri_domain_unmap_free(struct gr_domain *domain, gr_iova_t iova, uint64_t size,
                                        gr_pa_t *out_pa, struct gri_slot *slots);

/* ---- domain.c; domain->lock is held ---- */

/* Let a stream translate, pass or be blocked, as the domain's type says. Returns as `ops`. */
GR_MUST_CHECK int gri_domain_open_stream(struct gr_domain *domain, struct gr_stream *stream);

/* ---- retire.c; domain->lock is held, except for an invalidation of leaves alone ---- */

/* Block a stream, except for the mappings that firmware left in it. Returns 0, GR_ETIMEDOUT. */
GR_MUST_CHECK int gri_stream_block(struct gr_stream *stream, struct gr_binding *binding);

/*
 * Invalidate [first, last] on every instance, also after an instance has failed. The range's new or
 * cleared entries are visible to the hardware already. Returns 0 or the first error, GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gri_domain_invalidate_visible(struct gr_domain *domain, gr_iova_t first,
                                                gr_iova_t last, bool tables);

/* The same for entries that were stored only: a barrier makes them visible first. */
GR_MUST_CHECK int gri_domain_invalidate(struct gr_domain *domain, gr_iova_t first, gr_iova_t last,
                                        bool tables);

/*
 * Free the tables of `gather` after an invalidation that returned `ret`. If the invalidation
 * failed, or an instance may still cache the tables for a stream that has left, keep them for good
 * and count `len` bytes of IOVA as quarantined. Returns 0, GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gri_domain_settle(struct gr_domain *domain, int ret, uint64_t len,
                                    struct gr_pt_gather *gather);

/*
 * Widen a held range to the tables that it frees. A held range stops at the ends of the aperture,
 * but a table there also spans IOVAs outside, which nothing can use. False if no table's whole span
 * lies in the range.
 */
bool gri_domain_holds_table(const struct gr_domain *domain, struct gr_range *held);

/*
 * Take out and free the tables whose spans lie in `held`, invalidate [iova, iova + len), which was
 * unmapped, and free `held`. All under the lock, so that an allocation that finds no room can wait
 * for the free. Returns 0, GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gri_domain_retire(struct gr_domain *domain, gr_iova_t iova, uint64_t len,
                                    struct gr_range held);

/* ---- defer.c: unmaps of a DEFERRED domain that wait for an invalidation ---- */

struct gri_deferred {
    struct gr_range held; /* of gr_iova_free_begin() */
    gr_iova_t iova;       /* what was unmapped: `len` bytes of it */
    uint64_t len;
    struct gri_slot *slots;
};

/* Returns 0, GR_ENOMEM. */
GR_MUST_CHECK int gri_defer_init(struct gr_domain *domain);
void gri_defer_fini(struct gr_domain *domain);

/*
 * Queue an unmap, and retire the tables of `span` unless that is NULL. Returns 0, GR_ETIMEDOUT (a
 * flush was due, and failed).
 */
GR_MUST_CHECK int gri_defer_push(struct gr_domain *domain, const struct gri_deferred *entry,
                                 const struct gr_range *span);

/*
 * Invalidate [first, last] for a map together with all queued unmaps, and finish the latter.
 * Returns 0, GR_ETIMEDOUT.
 */
GR_MUST_CHECK int gri_defer_flush_with(struct gr_domain *domain, gr_iova_t first, gr_iova_t last);

/* gr_domain_flush() for a caller that goes on also if the flush fails. */
void gri_defer_flush(struct gr_domain *domain);

uint64_t gri_defer_count(struct gr_domain *domain);

/* ---- linear.c ---- */

GR_MUST_CHECK int gri_linear_build(struct gr_domain *domain, const struct gr_device *dev,
                                   const struct gr_linear_config *config);

/* Does the domain leave out the reserved IOVAs of the device's group? Returns 0, GR_EBUSY. */
GR_MUST_CHECK int gri_linear_check(const struct gr_domain *domain, const struct gr_device *dev);

/* Do [pa, pa + len) and its IOVAs up to `mask` pass in a LINEAR or IDENTITY domain? */
bool gri_linear_passes(const struct gr_domain *domain, gr_pa_t pa, uint64_t len, uint64_t mask);

/*
 * With GR_CFG_DEBUG: a call on IOVAs that the caller names enters before its first step. It leaves
 * before it frees the IOVAs or releases domain->lock: from then on another call may own them. A
 * call that enters in between with one of the same IOVAs is logged as the caller's error.
 */
#if GR_CFG_DEBUG
void gri_overlap_init(struct gr_domain *domain);
void gri_overlap_fini(struct gr_domain *domain);
void gri_overlap_enter(struct gr_domain *domain, gr_iova_t first, gr_iova_t last);
void gri_overlap_leave(struct gr_domain *domain, gr_iova_t first, gr_iova_t last);
uint64_t gri_overlap_count(struct gr_domain *domain);
#else
static inline void gri_overlap_init(struct gr_domain *domain)
{
    (void)domain;
}
static inline void gri_overlap_fini(struct gr_domain *domain)
{
    (void)domain;
}
static inline void gri_overlap_enter(struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    (void)domain;
    (void)first;
    (void)last;
}
static inline void gri_overlap_leave(struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    (void)domain;
    (void)first;
    (void)last;
}
static inline uint64_t gri_overlap_count(struct gr_domain *domain)
{
    (void)domain;
    return 0;
}
#endif

#endif
