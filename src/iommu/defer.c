/* SPDX-License-Identifier: MIT */
/*
 * Deferred invalidation. An unmap waits in a ring of the CPU that unmapped, its IOVAs held, until
 * one invalidation covers all unmaps that were queued before it.
 *
 * A flush holds domain->lock. A ring's own lock is for its head and tail; the entries between head
 * and tail belong to the flush.
 */
#include "core/bits.h"
#include "iommu/bounce.h"
#include "iommu/iommu_internal.h"

struct gr_defer_queue {
    gr_lock_t lock;
    unsigned head; /* head and tail count on for ever */
    unsigned tail;
    uint64_t since_ns; /* the oldest entry was queued at this time or before */
    struct gri_deferred entry[GR_CFG_DEFER];
} __attribute__((aligned(GR_PORT_CACHE_LINE)));

static unsigned pages_lg2(void)
{
    unsigned lg2 = 12;

    while ((size_t)1 << lg2 < GR_CFG_COUNTS * sizeof(struct gr_defer_queue))
        lg2++;
    return lg2;
}

int gri_defer_init(struct gr_domain *domain)
{
    domain->defer = gr_port_pages_alloc(domain->env, pages_lg2(), UINT64_MAX, GR_PAGES_MAY_SLEEP);
    if (!domain->defer)
        return GR_ENOMEM;
    for (unsigned i = 0; i < GR_CFG_COUNTS; i++)
        gr_port_lock_init(&domain->defer[i].lock);
    return 0;
}

void gri_defer_fini(struct gr_domain *domain)
{
    if (!domain->defer)
        return;
    for (unsigned i = 0; i < GR_CFG_COUNTS; i++)
        gr_port_lock_fini(&domain->defer[i].lock);
    gr_port_pages_free(domain->env, domain->defer, pages_lg2());
    domain->defer = NULL;
}

/* Append an entry to a ring; false: the ring is full. *out_due: it is time to flush. */
static bool push(struct gr_defer_queue *q, const struct gri_deferred *entry, uint64_t now,
                 bool *out_due)
{
    const gr_lock_state_t state = gr_port_lock(&q->lock);
    const bool room = q->tail - q->head < GR_CFG_DEFER;

    if (room) {
        if (q->tail == q->head)
            q->since_ns = now;
        q->entry[q->tail++ % GR_CFG_DEFER] = *entry;
    }
    *out_due = q->tail - q->head == GR_CFG_DEFER || now - q->since_ns >= GR_CFG_DEFER_NS;
    gr_port_unlock(&q->lock, state);
    return room;
}

/* Remove a ring's entries up to `end`. Free what they hold if their invalidation's `ret` is 0. */
static int finish_ring(struct gr_domain *domain, struct gr_defer_queue *q, unsigned end, int ret)
{
    gr_lock_state_t state;
    int result = ret;

    for (unsigned i = q->head; i != end; i++) {
        struct gri_deferred *const e = &q->entry[i % GR_CFG_DEFER];

        gri_bounce_free(e->slots, ret);
        if (!ret && gr_iova_free_end(&domain->iova, &e->held, &e->held)) {
            const int one = gri_domain_retire(domain, e->held.first, 0, e->held);

            result = result ? result : one;
        }
    }
    state = gr_port_lock(&q->lock);
    q->head = end;
    q->since_ns = gr_port_now_ns(domain->env);
    gr_port_unlock(&q->lock, state);
    return result;
}

/* Invalidate `range`, empty where first > last, and all queued unmaps; finish the latter. */
static int flush_locked(struct gr_domain *domain, struct gr_range range)
{
    struct gr_pt_gather gather = domain->defer_tables; /* of queued unmaps */
    const bool map = range.first <= range.last;
    unsigned end[GR_CFG_COUNTS];
    uint64_t len = 0;
    int result;
    int ret;

    for (unsigned i = 0; i < GR_CFG_COUNTS; i++) {
        struct gr_defer_queue *const q = &domain->defer[i];
        const gr_lock_state_t state = gr_port_lock(&q->lock);

        end[i] = q->tail;
        gr_port_unlock(&q->lock, state);
        for (unsigned k = q->head; k != end[i]; k++) {
            const struct gri_deferred *const e = &q->entry[k % GR_CFG_DEFER];

            range.first = gri_min(range.first, e->held.first);
            range.last = gri_max(range.last, e->held.last);
            len += e->len;
        }
    }
    if (range.first > range.last)
        return 0;
    domain->defer_tables = (struct gr_pt_gather){0};
    ret = gri_domain_invalidate(domain, range.first, range.last, map || gather.count);
    if (!len)
        return ret; /* a map's range alone: if this failed, undoing the map invalidates again */
    ret = gri_domain_settle(domain, ret, len, &gather);
    result = ret;
    for (unsigned i = 0; i < GR_CFG_COUNTS; i++) {
        if (domain->defer[i].head != end[i]) {
            const int one = finish_ring(domain, &domain->defer[i], end[i], ret);

            result = result ? result : one;
        }
    }
    return result;
}

static int flush(struct gr_domain *domain, struct gr_range range)
{
    const gr_lock_state_t state = gr_port_lock(&domain->lock);
    const int ret = flush_locked(domain, range);

    gr_port_unlock(&domain->lock, state);
    return ret;
}

static int flush_all(struct gr_domain *domain, bool locked)
{
    return locked ? flush_locked(domain, (struct gr_range){UINT64_MAX, 0})
                  : gr_domain_flush(domain);
}

/* Queue an unmap, and retire the tables of `span` or none; `locked`: domain->lock is held. */
static int push_or_flush(struct gr_domain *domain, const struct gri_deferred *entry,
                         const struct gr_range *span, bool locked)
{
    struct gr_defer_queue *const q = &domain->defer[gr_port_cpu() % GR_CFG_COUNTS];
    bool due = false;
    int ret = 0;

    while (!push(q, entry, gr_port_now_ns(domain->env), &due))
        ret = flush_all(domain, locked); /* CPUs may share the ring: it may be full again */
    if (span)
        gr_pt_retire(&domain->pt, span, &domain->defer_tables);
    return due ? flush_all(domain, locked) : ret;
}

int gri_defer_push(struct gr_domain *domain, const struct gri_deferred *entry,
                   const struct gr_range *span)
{
    gr_lock_state_t state;
    int ret;

    if (!span)
        return push_or_flush(domain, entry, NULL, false);
    /* Rare: a table is retired. No flush may come between the entry and its table. */
    state = gr_port_lock(&domain->lock);
    ret = push_or_flush(domain, entry, span, true);
    gr_port_unlock(&domain->lock, state);
    return ret;
}

int gri_defer_flush_with(struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    return flush(domain, (struct gr_range){first, last});
}

int gr_domain_flush(struct gr_domain *domain)
{
    return domain->defer ? flush(domain, (struct gr_range){UINT64_MAX, 0}) : 0;
}

void gri_defer_flush(struct gr_domain *domain)
{
    const int ret = gr_domain_flush(domain);

    (void)ret; /* what the flush could not invalidate is quarantined: gr_domain_stats() tells */
}

uint64_t gri_defer_count(struct gr_domain *domain)
{
    uint64_t n = 0;

    for (unsigned i = 0; domain->defer && i < GR_CFG_COUNTS; i++) {
        const gr_lock_state_t state = gr_port_lock(&domain->defer[i].lock);

        n += domain->defer[i].tail - domain->defer[i].head;
        gr_port_unlock(&domain->defer[i].lock, state);
    }
    return n;
}
