/* SPDX-License-Identifier: MIT */
/*
 * Domains. Lock order: domain->lock, then the table's, then an instance's (inside the driver's
 * calls).
 *
 * In a TRANSLATED domain map and unmap take no lock: an operation touches only IOVAs that it owns,
 * and a table is taken out only by who holds its whole span (iova.h). domain->lock is for what is
 * rare: tables that go, since gr_domain_iova_to_phys() walks IOVAs that it does not own, and a
 * domain that breaks. In an UNMANAGED one the caller owns the IOVAs, nobody knows whose a span is,
 * and everything happens under the lock.
 */
#include <granule/domain.h>

#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"
#include "iommu/adopt.h"
#include "iommu/bounce.h"
#include "iommu/iommu_internal.h"
#include "iova/iova_internal.h"

/* Looks for room before a map gives up: see gri_domain_alloc_again(). */
#define ENOUGH 64u

int gri_for_each_stream(struct gr_domain *domain, const struct gr_group *group,
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

/* ---- making a domain ---- */

static int fold_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    const struct gr_instance *const inst = stream->inst;
    struct gr_pt_config *const t = &domain->table;

    const int ret = gri_adopt_fold(domain, stream);

    if (ret || domain->type == GR_DOMAIN_BLOCKED)
        return ret;
    if (domain->type == GR_DOMAIN_IDENTITY && !inst->bypass) {
        gri_log(domain->env, GR_LOG_ERR, "%s: no IDENTITY domain: %s cannot bypass translation",
                stream->dev->config.name, inst->name);
        return GR_EOPNOTSUPP;
    }
    domain->windows_verified = domain->windows_verified && inst->window_verified;
    if (!t->granule_lg2) {
        *t = inst->table;
    } else if (t->granule_lg2 != inst->table.granule_lg2 || t->format != inst->table.format) {
        gri_log(domain->env, GR_LOG_ERR,
                "%s: %s has %u KiB granules in format %u, another of its instances %u KiB in %u: "
                "one domain cannot serve both",
                stream->dev->config.name, inst->name, 1u << (inst->table.granule_lg2 - 10),
                (uint32_t)inst->table.format, 1u << (t->granule_lg2 - 10), (uint32_t)t->format);
        return GR_EOPNOTSUPP;
    }
    t->levels = (uint8_t)gri_min(t->levels, inst->table.levels);
    t->roots_lg2 = (uint8_t)gri_min(t->roots_lg2, inst->table.roots_lg2);
    t->va_bits = (uint8_t)gri_min(t->va_bits, inst->table.va_bits);
    t->pa_bits = (uint8_t)gri_min(t->pa_bits, inst->table.pa_bits);
    t->coherent = t->coherent && inst->table.coherent;
    domain->invalidate_on_map = domain->invalidate_on_map || inst->caches_absent;

    const uint64_t first = gri_max(inst->aperture.first, stream->window.first);
    const uint64_t last = gri_min(inst->aperture.last, stream->window.last);

    domain->aperture.first = gri_max(domain->aperture.first, first);
    domain->aperture.last = gri_min(domain->aperture.last, last);
    return 0;
}

/* Narrow a range to the whole granules inside; false if there is none. */
static bool whole_granules(struct gr_range *range, uint64_t mask)
{
    if (range->first > UINT64_MAX - mask || range->last < mask)
        return false;
    range->first = (range->first + mask) & ~mask;
    if ((range->last & mask) != mask)
        range->last = (range->last & ~mask) - 1;
    return range->first <= range->last;
}

/* The shallowest tables that reach all of the aperture: fewer fetches for each TLB miss. */
static void settle_levels(struct gr_domain *domain)
{
    struct gr_pt_config *const t = &domain->table;
    const uint64_t last = domain->aperture.last & gri_mask(t->va_bits);
    const uint8_t most = domain->fixed_levels ? domain->fixed_levels : t->levels;

    for (t->levels = domain->fixed_levels ? most : 2; t->levels < most; t->levels++) {
        if (!(last >> gr_pt_reach_bits(t)))
            break;
    }
    t->va_bits = (uint8_t)gri_min(t->va_bits, gr_pt_reach_bits(t));
}

static int settle_aperture(struct gr_domain *domain, const struct gr_device *dev)
{
    struct gr_range *const a = &domain->aperture;

    settle_levels(domain);
    /* Bits above va_bits are not compared by the hardware, so they must not differ (DART.md 4). */
    if (whole_granules(a, gri_mask(domain->table.granule_lg2)) &&
        !((a->first ^ a->last) & ~gri_mask(domain->table.va_bits)))
        return 0;
    gri_log(domain->env, GR_LOG_ERR,
            "%s: no domain: the apertures of its instances and streams leave %x..%x, which is not "
            "a range of granules in one block of %u bits",
            dev->config.name, a->first, a->last, (uint32_t)domain->table.va_bits);
    return GR_ERANGE;
}

/* Bits that only one of table and hardware looks at must be 0 in every IOVA (DART.md 4). */
static bool compares_alike(const struct gr_domain *domain, const struct gr_instance *inst)
{
    const unsigned most = domain->fixed_levels ? gr_pt_reach_bits(&domain->table) : 64;
    const unsigned bits = (unsigned)gri_min(inst->table.va_bits, most);

    return !(domain->aperture.first & (gri_mask(domain->table.va_bits) ^ gri_mask(bits)));
}

static int check_bits(struct gr_domain *domain, struct gr_stream *stream)
{
    if (compares_alike(domain, stream->inst))
        return 0;
    gri_log(domain->env, GR_LOG_ERR,
            "%s: %s and another of its instances disagree on IOVA bits of the aperture %x..%x",
            stream->dev->config.name, stream->inst->name, domain->aperture.first,
            domain->aperture.last);
    return GR_EOPNOTSUPP;
}

/* Call `fn` for the reserved ranges of all members, until it fails; how many there were. */
static int for_each_reserved(struct gr_domain *domain, const struct gr_group *group,
                             int (*fn)(struct gr_iova *space, gr_iova_t first, gr_iova_t last),
                             uint64_t *out_count)
{
    int ret = 0;

    *out_count = 0;
    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; !ret && i < dev->config.reserved_count; i++, ++*out_count)
            ret = fn(&domain->iova, dev->config.reserved[i].first, dev->config.reserved[i].last);
    }
    return ret;
}

static int reserve_all(struct gr_domain *domain, const struct gr_group *group)
{
    uint64_t count;

    return for_each_reserved(domain, group, gr_iova_reserve, &count);
}

/* After a 0, reserve_all() cannot fail until something else is done with the space. */
static int ready_to_reserve(struct gr_domain *domain, const struct gr_group *group)
{
    uint64_t count;
    const int ret = for_each_reserved(domain, group, gri_iova_reserve_check, &count);

    return ret ? ret : gri_iova_reserve_ready(&domain->iova, count);
}

static int init_iova(struct gr_domain *domain, const struct gr_device *dev)
{
    struct gr_iova_stats stats;
    uint8_t span_lg2[GR_PT_MAX_LEVELS];
    int ret = gr_iova_init(&domain->iova, domain->env, domain->table.granule_lg2,
                           domain->aperture.first, domain->aperture.last);

    if (ret)
        return ret;
    gr_iova_set_spans(&domain->iova, span_lg2, gr_pt_spans(&domain->pt, span_lg2));
    ret = reserve_all(domain, dev->group);
    if (!ret)
        ret = gri_adopt_reserve(domain);
    gr_iova_stats(&domain->iova, &stats);
    if (!ret && !stats.available) {
        gri_log(domain->env, GR_LOG_ERR, "%s: no domain: reserved ranges fill the aperture %x..%x",
                dev->config.name, domain->aperture.first, domain->aperture.last);
        ret = GR_EBUSY;
    }
    if (ret)
        gr_iova_fini(&domain->iova);
    return ret;
}

/* What no device of the group may be given. */
static int check_type(const struct gr_domain *domain, const struct gr_device *dev, unsigned flags)
{
    const bool open = domain->type == GR_DOMAIN_IDENTITY || domain->type == GR_DOMAIN_LINEAR;

    if (flags & ~(GR_DOMAIN_LP_AWARE | GR_DOMAIN_DEFERRED))
        return GR_EOPNOTSUPP;
    if ((flags & GR_DOMAIN_DEFERRED) && domain->type != GR_DOMAIN_TRANSLATED)
        return GR_EOPNOTSUPP;
    if (open && gri_has_regions(dev->group)) {
        gri_log(domain->env, GR_LOG_ERR,
                "%s: no LINEAR or IDENTITY domain: memory is reserved at fixed IOVAs",
                dev->config.name);
        return GR_EOPNOTSUPP;
    }
    if (dev->group->untrusted && (open || flags & GR_DOMAIN_DEFERRED)) {
        gri_log(domain->env, GR_LOG_ERR,
                "%s: an untrusted device is not given a domain that is %s: TRANSLATED and strict",
                dev->config.name, open ? "open" : "DEFERRED");
        return GR_EOPNOTSUPP;
    }
    return 0;
}

/* Bits of an address that are the buffer's: the offset in a granule is. */
static int check_alignment(const struct gr_domain *domain, const struct gr_device *dev)
{
    GRI_LIST_FOREACH(link, &dev->group->members) {
        const struct gr_device *const member = GRI_CONTAINER(link, struct gr_device, group_link);

        if (member->config.min_align_mask > gri_mask(domain->table.granule_lg2)) {
            gri_log(domain->env, GR_LOG_ERR,
                    "%s: no domain: its min_align_mask of %x exceeds the granule",
                    member->config.name, (uint64_t)member->config.min_align_mask);
            return GR_EOPNOTSUPP;
        }
    }
    return 0;
}

/* Fold the group's instances into an empty domain; with tables if it has any. */
static int fold_group(struct gr_domain *domain, gr_env_t env, struct gr_device *dev,
                      enum gr_domain_type type, unsigned flags)
{
    int ret;

    *domain = (struct gr_domain){
        .type = type,
        .env = env,
        .aperture = {0, UINT64_MAX},
        .windows_verified = true,
    };
    ret = check_type(domain, dev, flags);
    if (!ret)
        ret = gri_for_each_stream(domain, dev->group, fold_stream);
    if (ret || type == GR_DOMAIN_BLOCKED)
        return ret;
    if (type == GR_DOMAIN_IDENTITY) {
        domain->direct.last = gri_mask(domain->table.pa_bits);
        return 0;
    }
    ret = settle_aperture(domain, dev);
    if (ret)
        return ret;
    if (type == GR_DOMAIN_UNMANAGED && !(flags & GR_DOMAIN_LP_AWARE) &&
        domain->table.granule_lg2 > gr_port_cpu_page_lg2(env)) {
        gri_log(
            env, GR_LOG_ERR,
            "%s: an UNMANAGED domain needs LP_AWARE: its granule of %u KiB exceeds the CPU page",
            dev->config.name, 1u << (domain->table.granule_lg2 - 10));
        return GR_EOPNOTSUPP;
    }
    ret = gri_for_each_stream(domain, dev->group, check_bits);
    if (!ret && type == GR_DOMAIN_TRANSLATED)
        ret = check_alignment(domain, dev);
    if (!ret)
        ret = gr_pt_init(&domain->pt, env, &domain->table);
    domain->table_span = gri_mask(2u * domain->table.granule_lg2 - 3u);
    if (ret)
        return ret;
    ret = gri_adopt_build(domain, dev);
    if (ret)
        gr_pt_fini(&domain->pt);
    return ret;
}

static void ready(struct gr_domain *domain)
{
    gri_list_init(&domain->groups);
    gri_list_init(&domain->doubtful);
    gr_port_lock_init(&domain->lock);
    gri_overlap_init(domain);
}

int gr_domain_init(struct gr_domain *domain, gr_env_t env, struct gr_device *dev,
                   enum gr_domain_type type, unsigned flags)
{
    int ret;

    if (type < GR_DOMAIN_TRANSLATED || type > GR_DOMAIN_BLOCKED || type == GR_DOMAIN_LINEAR)
        return GR_EINVAL;
    ret = fold_group(domain, env, dev, type, flags);
    if (ret)
        return ret;
    if (type == GR_DOMAIN_TRANSLATED) {
        ret = init_iova(domain, dev);
        if (!ret && (flags & GR_DOMAIN_DEFERRED)) {
            ret = gri_defer_init(domain);
            if (ret)
                gr_iova_fini(&domain->iova);
        }
        if (ret) {
            gri_adopt_fini(domain);
            gr_pt_fini(&domain->pt);
        }
    }
    if (!ret)
        ready(domain);
    return ret;
}

int gr_domain_init_linear(struct gr_domain *domain, gr_env_t env, struct gr_device *dev,
                          const struct gr_linear_config *config)
{
    int ret = fold_group(domain, env, dev, GR_DOMAIN_LINEAR, 0);

    if (ret)
        return ret;
    ret = gri_linear_build(domain, dev, config);
    if (ret)
        gr_pt_fini(&domain->pt);
    else
        ready(domain);
    return ret;
}

int gr_domain_set_bounce(struct gr_domain *domain, struct gr_bounce *pool)
{
    gr_pa_t last = domain->direct.last;

    if (domain->type == GR_DOMAIN_TRANSLATED)
        last = domain->pt.pa_mask;
    else if (domain->type != GR_DOMAIN_LINEAR && domain->type != GR_DOMAIN_IDENTITY)
        return GR_EOPNOTSUPP;
    if (domain->bounce)
        return GR_EBUSY;
    if (pool->config.pa_last > last)
        return GR_EFAULT;
    domain->bounce = pool;
    return 0;
}

static bool in_doubt(const struct gr_domain *domain)
{
    return domain->unconfirmed || !gri_list_empty(&domain->doubtful);
}

bool gri_domain_is_unsafe(const struct gr_domain *domain)
{
    return gri_domain_is_broken(domain) || in_doubt(domain);
}

int gr_domain_fini(struct gr_domain *domain)
{
    struct gr_iova_stats stats = {0};
    bool doubt;

    gri_defer_flush(domain);
    if (domain->type == GR_DOMAIN_TRANSLATED)
        gr_iova_stats(&domain->iova, &stats);
    if (!gri_list_empty(&domain->groups) ||
        (stats.allocations && !domain->broken && !in_doubt(domain)))
        return GR_EBUSY;
    gri_overlap_fini(domain);
    gr_port_lock_fini(&domain->lock);
    gri_defer_fini(domain);
    if (domain->holes)
        gr_port_pages_free(domain->env, domain->holes, domain->holes_lg2);
    gri_adopt_fini(domain);
    if (domain->type == GR_DOMAIN_TRANSLATED)
        gr_iova_fini(&domain->iova);
    doubt = in_doubt(domain);
    while (!gri_list_empty(&domain->doubtful))
        gri_list_remove(domain->doubtful.next);
    if (!domain->pt.ops)
        return 0;
    if (doubt) {
        gri_log(domain->env, GR_LOG_ERR,
                "domain: %u page tables stay allocated: an instance never confirmed their "
                "invalidation",
                (uint32_t)gr_pt_tables(&domain->pt));
        gr_port_lock_fini(&domain->pt.lock);
        return 0;
    }
    gr_pt_gather_free(&domain->pt, &domain->quarantined);
    gr_pt_fini(&domain->pt);
    return 0;
}

/* ---- attaching ---- */

static struct gr_binding *find_binding(struct gr_domain *domain, const struct gr_instance *inst)
{
    for (unsigned i = 0; i < domain->bindings; i++) {
        if (domain->binding[i].inst == inst)
            return &domain->binding[i];
    }
    return NULL;
}

static int check_fits(struct gr_domain *domain, struct gr_stream *stream)
{
    const struct gr_instance *const inst = stream->inst;
    const struct gr_pt_config *const t = &inst->table;
    const struct gr_pt *const pt = &domain->pt;

    const bool fixed = inst->locked || stream->adopted;

    if (inst->locked && !stream->adopted)
        return GR_EOPNOTSUPP;
    if (domain->type == GR_DOMAIN_BLOCKED)
        return 0;
    if (domain->type == GR_DOMAIN_IDENTITY)
        return fixed || !inst->bypass || gri_mask(t->pa_bits) < domain->direct.last ? GR_EOPNOTSUPP
                                                                                    : 0;
    if ((fixed && domain->type == GR_DOMAIN_LINEAR) || t->granule_lg2 != pt->granule_lg2 ||
        t->format != domain->table.format || t->levels < pt->levels ||
        t->roots_lg2 < pt->roots_lg2 || t->pa_bits < pt->pa_bits ||
        (pt->coherent && !t->coherent) || !compares_alike(domain, inst))
        return GR_EOPNOTSUPP;
    if (domain->aperture.first < gri_max(inst->aperture.first, stream->window.first) ||
        domain->aperture.last > gri_min(inst->aperture.last, stream->window.last))
        return GR_ERANGE;
    return 0;
}

/* Under the instance's lock, because faults may be dispatched at any time. */
static void set_stream_domain(struct gr_stream *stream, struct gr_domain *domain)
{
    const gr_lock_state_t state = gr_port_lock(&stream->inst->lock);

    stream->domain = domain;
    gr_port_unlock(&stream->inst->lock, state);
}

int gri_domain_open_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    struct gr_instance *const inst = stream->inst;
    struct gr_binding *const binding = find_binding(domain, inst);

    if (stream->adopted)
        return gri_adopt_attach(domain, stream, binding);
    if (domain->type == GR_DOMAIN_BLOCKED)
        return inst->ops->block(inst, stream->sid, binding);
    if (domain->type == GR_DOMAIN_IDENTITY)
        return inst->ops->bypass(inst, stream->sid, binding);
    return inst->ops->attach(inst, stream->sid, &domain->pt, binding);
}

static int attach_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    struct gr_binding *binding = find_binding(domain, stream->inst);
    int ret;

    if (!binding) {
        if (domain->bindings == GR_CFG_DOMAIN_INSTANCES)
            return GR_ENOSPC;
        binding = &domain->binding[domain->bindings++];
        *binding = (struct gr_binding){.inst = stream->inst};
    }
    /* Counted before the hardware sees it, so that every invalidation from here on includes it. */
    binding->streams++;
    set_stream_domain(stream, domain);
    domain->invalidate_on_map = domain->invalidate_on_map || stream->inst->caches_absent;
    ret = gri_domain_open_stream(domain, stream);
    if (!ret || ret == GR_EIO)
        gri_list_remove(&stream->doubt); /* whatever tables it had, they are forgotten now */
    return ret == GR_EIO ? GR_ETIMEDOUT : ret;
}

/* Let nothing of a stream pass but what firmware left in it. */
static int shut(struct gr_stream *stream, struct gr_binding *binding)
{
    return stream->adopted ? gri_adopt_release(stream, binding)
                           : stream->inst->ops->block(stream->inst, stream->sid, binding);
}

/* Block a stream and drop it from its binding. */
static int detach_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    struct gr_binding *const binding = find_binding(domain, stream->inst);

    if (!stream->domain)
        return 0;
    if (!shut(stream, binding)) {
        gri_list_remove(&stream->doubt);
    } else if (gri_list_empty(&stream->doubt)) {
        stream->doubted = domain;
        gri_list_append(&domain->doubtful, &stream->doubt);
    } /* else it never came to use our tables, and may know those that it had before */
    set_stream_domain(stream, NULL);
    if (!--binding->streams)
        *binding = domain->binding[--domain->bindings];
    return 0; /* the others must be blocked as well */
}

static void detach_group(struct gr_domain *domain, struct gr_group *group)
{
    gr_lock_state_t state;

    gri_defer_flush(domain); /* while there is somebody to ask */
    state = gr_port_lock(&domain->lock);
    (void)gri_for_each_stream(domain, group, detach_stream);
    gri_list_remove(&group->domain_link);
    group->domain = NULL;
    gr_port_unlock(&domain->lock, state);
}

static int attach_group(struct gr_domain *domain, struct gr_group *group)
{
    const gr_lock_state_t state = gr_port_lock(&domain->lock);
    int ret;

    gri_list_append(&domain->groups, &group->domain_link);
    group->domain = domain;
    ret = domain->broken ? GR_EIO : gri_for_each_stream(domain, group, attach_stream);
    gr_port_unlock(&domain->lock, state);
    return ret;
}

static int block_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    if (stream->domain)
        (void)shut(stream, find_binding(domain, stream->inst));
    return 0;
}

/*
 * An invalidation that failed cannot be undone (DESIGN "Errors"): every stream is blocked, and the
 * domain takes no more maps. What it covered stays held by the caller.
 */
static void mark_broken(struct gr_domain *domain)
{
    __atomic_store_n(&domain->broken, true, __ATOMIC_RELAXED);
    GRI_LIST_FOREACH(link, &domain->groups) {
        (void)gri_for_each_stream(domain, GRI_CONTAINER(link, struct gr_group, domain_link),
                                  block_stream);
    }
    gri_log(domain->env, GR_LOG_ERR,
            "domain: an invalidation failed: its streams are blocked, and %x bytes of IOVA are "
            "quarantined: their memory is not safe to reuse",
            domain->quarantined_bytes);
}

int gr_domain_attach(struct gr_domain *domain, struct gr_device *dev)
{
    struct gr_group *const group = dev->group;
    struct gr_domain *const before = group->domain;
    int ret;

    if (before == domain)
        return 0;
    if (domain->type == GR_DOMAIN_TRANSLATED && !gri_list_empty(&domain->groups))
        return GR_EBUSY;
    ret = check_type(domain, dev, domain->defer ? GR_DOMAIN_DEFERRED : 0);
    if (ret)
        return ret;
    ret = domain->broken ? GR_EIO : gri_for_each_stream(domain, group, check_fits);
    if (!ret)
        ret = gri_adopt_fits(domain, dev);
    if (!ret && domain->type == GR_DOMAIN_TRANSLATED)
        ret = ready_to_reserve(domain, group);
    if (!ret && domain->type == GR_DOMAIN_LINEAR)
        ret = gri_linear_check(domain, dev);
    if (ret)
        return ret;
    if (before)
        detach_group(before, group);
    ret = attach_group(domain, group);
    if (!ret && domain->type == GR_DOMAIN_TRANSLATED)
        return reserve_all(domain, group); /* the device has no address of it yet */
    if (ret)
        detach_group(domain, group);
    if (ret && before && attach_group(before, group)) {
        gri_log(domain->env, GR_LOG_ERR, "%s: blocked: the return to its previous domain failed",
                dev->config.name);
        detach_group(before, group);
    }
    return ret;
}

int gr_domain_detach(struct gr_domain *domain, struct gr_device *dev)
{
    if (dev->group->domain != domain)
        return GR_ENODEV;
    detach_group(domain, dev->group);
    return in_doubt(domain) ? GR_ETIMEDOUT : 0;
}

/* ---- mapping; domain->lock is held unless a function takes it ---- */

/*
 * Forget [first, last] on every instance, also when one fails; the first error. The cleared or new
 * entries have been stored.
 */
static int invalidate(struct gr_domain *domain, gr_iova_t first, gr_iova_t last, bool tables)
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
    gr_port_wmb(); /* the cleared entries before the command to forget them */
    return invalidate(domain, first, last, tables);
}

int gri_domain_settle(struct gr_domain *domain, int ret, uint64_t len, struct gr_pt_gather *gather)
{
    if (!ret && !in_doubt(domain)) {
        gr_pt_gather_free(&domain->pt, gather);
        return 0;
    }
    gr_pt_gather_join(&domain->pt, &domain->quarantined, gather);
    domain->quarantined_bytes += len;
    if (ret)
        mark_broken(domain);
    return GR_ETIMEDOUT;
}

/* Invalidate what was unmapped, then free the tables that were retired. domain->lock is held. */
static int retire(struct gr_domain *domain, gr_iova_t iova, uint64_t len,
                  struct gr_pt_gather *gather)
{
    return gri_domain_settle(
        domain, gri_domain_invalidate(domain, iova, iova + len - 1, gather->count), len, gather);
}

/* ---- TRANSLATED domains: no lock is held ---- */

/*
 * What a held range means to the tables: it stops at the ends of the aperture, but a table there
 * spans IOVAs that nothing can use. False if no table's span lies in it.
 */
static bool holds_table(const struct gr_domain *domain, struct gr_range *held)
{
    const uint64_t span = domain->table_span;
    const uint64_t rest = domain->pt.va_mask | span;
    const bool at_first = held->first == domain->aperture.first;
    const bool at_last = held->last == domain->aperture.last;

    if (held->last - held->first < span && !at_first && !at_last)
        return false; /* as mostly */
    /* Unless firmware has mapped some of those: the copies of its leaves are in such a table. */
    if (at_first && !gri_adopt_owns(domain, held->first & ~rest, held->first))
        held->first &= ~rest;
    if (at_last && !gri_adopt_owns(domain, held->last, held->last | rest))
        held->last |= rest;
    /* From the first span that begins in it, one must end in it. */
    return held->last - held->first >= span && held->last - span >= ((held->first - 1) | span) + 1;
}

int gri_domain_retire(struct gr_domain *domain, gr_iova_t iova, uint64_t len, struct gr_range held)
{
    int ret;

    do {
        struct gr_pt_gather gather = {0};
        struct gr_range span = held;

        ret = 0;
        if (holds_table(domain, &span))
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

static int retire_held(struct gr_domain *domain, gr_iova_t iova, uint64_t len, struct gr_range held)
{
    const gr_lock_state_t state = gr_port_lock(&domain->lock);
    const int ret = gri_domain_retire(domain, iova, len, held);

    gr_port_unlock(&domain->lock, state);
    return ret;
}

/* The same where no table goes, as mostly: no lock. */
static int end_held(struct gr_domain *domain, gr_iova_t iova, uint64_t len,
                    const struct gri_iova_hold *hold)
{
    struct gr_range held;
    int ret = len ? gri_domain_invalidate(domain, iova, iova + len - 1, false) : 0;

    if (ret || in_doubt(domain)) {
        const gr_lock_state_t state = gr_port_lock(&domain->lock);

        ret = gri_domain_settle(domain, ret, len, &(struct gr_pt_gather){0});
        gr_port_unlock(&domain->lock, state);
    }
    if (!ret && gri_iova_end(&domain->iova, hold, &held))
        ret = retire_held(domain, held.first, 0, held); /* others were being freed beside it */
    return ret;
}

/* gr_pt_unmap() of a range that is known to be good, where no table goes. */
static int clear(struct gr_domain *domain, gr_iova_t iova, uint64_t len)
{
    const uint64_t va = iova & domain->pt.va_mask;

    return domain->pt.ops->unmap(&domain->pt, va, va + len - 1, (struct gr_range){1, 0}, NULL);
}

/*
 * Take [iova, iova + done) out of the tables, and free the allocation [iova, iova + size). Where it
 * led goes to *out_pa if that is not NULL.
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
        ret = clear(domain, iova, done);
    gri_overlap_leave(domain, iova, iova + size - 1); /* from here on they may be another's */
    if (ret)
        return ret;
    span = hold.range;
    if (defer) {
        const struct gri_deferred entry = {hold.range, iova, done, slots};

        return gri_defer_push(domain, &entry,
                              !hold.arena && holds_table(domain, &span) ? &span : NULL);
    }
    return !hold.arena && holds_table(domain, &span) ? retire_held(domain, iova, done, hold.range)
                                                     : end_held(domain, iova, done, &hold);
}

/*
 * What is on its way out may hold all the room that there is for a moment: wait for that, but not
 * for ever, since we may be the interrupt of who does it.
 */
int gri_domain_alloc_again(struct gr_domain *domain, const struct gr_iova_req *req,
                           gr_iova_t *out_iova)
{
    int ret = GR_ENOSPC;

    if (domain->defer) {
        gri_defer_flush(domain);
        ret = gr_iova_alloc(&domain->iova, req, out_iova);
    }
    for (unsigned i = 0; ret == GR_ENOSPC && i < ENOUGH; i++) {
        const gr_lock_state_t state = gr_port_lock(&domain->lock);
        struct gr_iova_stats stats;

        gr_iova_stats(&domain->iova, &stats);
        ret = gr_iova_alloc(&domain->iova, req, out_iova);
        if (stats.held <= domain->quarantined_bytes)
            i = ENOUGH;
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
        ret = invalidate(domain, m->iova, m->iova + m->size - 1, true);
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

    return !ret && gri_adopt_owns(domain, iova, iova + len - 1) ? GR_EBUSY : ret;
}

/* Undo a map that stopped after `done` bytes: also a table that it made for the first of them. */
static int roll_back(struct gr_domain *domain, gr_iova_t iova, uint64_t done)
{
    const struct gr_range whole = {iova, iova + done - 1};
    struct gr_pt_gather gather = {0};
    int ret = gr_pt_unmap(&domain->pt, iova, done, &whole, &gather);

    if (!ret)
        ret = gr_pt_trim(&domain->pt, iova, done, &gather);
    return ret ? ret : retire(domain, iova, done, &gather);
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
        ret = invalidate(domain, iova, iova + len - 1, true);
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
        ret = retire(domain, iova, len, &gather);
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
        return 0; /* nothing of it ever goes */
    gri_defer_flush(domain);
    if (domain->type == GR_DOMAIN_TRANSLATED)
        (void)gr_iova_drain(&domain->iova);
    gri_overlap_enter(domain, iova, iova + len - 1);
    state = gr_port_lock(&domain->lock);
    ret = gr_pt_trim(&domain->pt, iova, len, &gather);
    if (!ret && gather.count)
        ret = retire(domain, iova, len, &gather);
    gri_overlap_leave(domain, iova, iova + len - 1);
    gr_port_unlock(&domain->lock, state);
    return ret;
}

/* ---- questions ---- */

int gr_domain_iova_to_phys(struct gr_domain *domain, gr_iova_t iova, gr_pa_t *out_pa)
{
    struct gr_pt_walk walk;
    gr_lock_state_t state;
    int ret;

    if (!domain->pt.ops)
        return GR_ENODEV;
    if (!gri_range_contains(&domain->aperture, iova, iova))
        return GR_ERANGE;
    state = gr_port_lock(&domain->lock);
    ret = gr_pt_walk(&domain->pt, iova, &walk);
    gr_port_unlock(&domain->lock, state);
    if (!ret)
        *out_pa = walk.pa;
    return ret;
}

unsigned gr_domain_granule_lg2(const struct gr_domain *domain)
{
    return domain->table.granule_lg2;
}

void gr_domain_set_fault_handler(struct gr_domain *domain, gr_fault_handler handler, void *cookie)
{
    domain->fault_handler = handler;
    domain->fault_cookie = cookie;
}

void gr_domain_stats(struct gr_domain *domain, struct gr_domain_stats *out)
{
    const gr_lock_state_t state = gr_port_lock(&domain->lock);

    *out = (struct gr_domain_stats){
        .tables = domain->pt.ops ? gr_pt_tables(&domain->pt) : 0,
        .quarantined_bytes = domain->quarantined_bytes,
        .broken = domain->broken,
        .deferred = gri_defer_count(domain),
    };
    for (unsigned i = 0; i < GR_CFG_COUNTS; i++) {
        out->walks += __atomic_load_n(&domain->counts[i].walks, __ATOMIC_RELAXED);
        out->invalidations += __atomic_load_n(&domain->counts[i].invalidations, __ATOMIC_RELAXED);
    }
    out->overlaps = gri_overlap_count(domain);
    if (domain->type == GR_DOMAIN_TRANSLATED)
        gr_iova_stats(&domain->iova, &out->iova);
    gr_port_unlock(&domain->lock, state);
}
