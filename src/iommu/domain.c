/* SPDX-License-Identifier: MIT */
/*
 * Domains. Lock order: domain->lock, then the table's, then an instance's (inside the driver's
 * calls).
 *
 * In a TRANSLATED domain map and unmap take no lock. An operation touches only IOVAs that it owns,
 * and only the operation that holds a table's whole span takes that table out (iova.h).
 * domain->lock is for the rare cases: a table that is taken out, because gr_domain_iova_to_phys()
 * walks IOVAs that it does not own, and a domain that breaks.
 *
 * In an UNMANAGED domain the caller owns the IOVAs. The library cannot tell which call owns a
 * table's span, so every operation takes the lock.
 */
#include <granule/domain.h>

#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"
#include "iommu/adopt.h"
#include "iommu/iommu_internal.h"
#include "iova/iova_internal.h"

/* ---- making a domain ---- */

static int fold_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    const struct gr_instance *const inst = stream->inst;
    struct gr_pt_config *const t = &domain->table;

    const int ret = gri_coexist_fold(domain, stream);

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

/* Narrow a range to the whole granules inside; false if no whole granule is. */
static bool whole_granules(struct gr_range *range, uint64_t mask)
{
    if (range->first > UINT64_MAX - mask || range->last < mask)
        return false;
    range->first = (range->first + mask) & ~mask;
    if ((range->last & mask) != mask)
        range->last = (range->last & ~mask) - 1;
    return range->first <= range->last;
}

/* Take the fewest levels that reach the whole aperture: each level is a fetch on a TLB miss. */
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

/* IOVA bits that only the domain's tables or only the instance looks at must be 0 (DART.md 4). */
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

/* Call `fn` for each reserved range of all members until a call fails; *out_count: the calls. */
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

/* Prepare reserve_all(): after a 0 it cannot fail, unless the space is used in between. */
static int prepare_reserve(struct gr_domain *domain, const struct gr_group *group)
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
        ret = gri_fixed_reserve(domain);
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

/* Refuse a type and flags that do not go together, or that a member of the group rules out. */
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

/* An IOVA keeps a buffer's offset in its granule: does no member ask for higher bits? */
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

/* Start a domain from what the group's instances share, with tables if its type has any. */
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
    ret = gri_coexist_build(domain, dev);
    if (ret)
        gr_pt_fini(&domain->pt);
    return ret;
}

static void init_lists_and_lock(struct gr_domain *domain)
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
            gri_fixed_fini(domain);
            gr_pt_fini(&domain->pt);
        }
    }
    if (!ret)
        init_lists_and_lock(domain);
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
        init_lists_and_lock(domain);
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

int gr_domain_fini(struct gr_domain *domain)
{
    struct gr_iova_stats stats = {0};
    bool doubt;

    gri_defer_flush(domain);
    if (domain->type == GR_DOMAIN_TRANSLATED)
        gr_iova_stats(&domain->iova, &stats);
    if (!gri_list_empty(&domain->groups) ||
        (stats.allocations && !domain->broken && !gri_domain_in_doubt(domain)))
        return GR_EBUSY;
    gri_overlap_fini(domain);
    gr_port_lock_fini(&domain->lock);
    gri_defer_fini(domain);
    if (domain->holes)
        gr_port_pages_free(domain->env, domain->holes, domain->holes_lg2);
    gri_fixed_fini(domain);
    if (domain->type == GR_DOMAIN_TRANSLATED)
        gr_iova_fini(&domain->iova);
    doubt = gri_domain_in_doubt(domain);
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

/* Under the instance's lock: a dispatch of faults reads stream->domain at any time. */
static void set_stream_domain(struct gr_stream *stream, struct gr_domain *domain)
{
    const gr_lock_state_t state = gr_port_lock(&stream->inst->lock);

    stream->domain = domain;
    gr_port_unlock(&stream->inst->lock, state);
}

int gri_domain_open_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    struct gr_instance *const inst = stream->inst;
    struct gr_binding *const binding = gri_domain_binding(domain, inst);

    if (stream->adopted)
        return gri_coexist_attach(domain, stream, binding);
    if (domain->type == GR_DOMAIN_BLOCKED)
        return inst->ops->block(inst, stream->sid, binding);
    if (domain->type == GR_DOMAIN_IDENTITY)
        return inst->ops->bypass(inst, stream->sid, binding);
    return inst->ops->attach(inst, stream->sid, &domain->pt, binding);
}

static int attach_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    struct gr_binding *binding = gri_domain_binding(domain, stream->inst);
    int ret;

    if (!binding) {
        if (domain->bindings == GR_CFG_DOMAIN_INSTANCES)
            return GR_ENOSPC;
        binding = &domain->binding[domain->bindings++];
        *binding = (struct gr_binding){.inst = stream->inst};
    }
    /* Count the stream before the hardware uses the tables: from then on every invalidation has to
     * include its instance. */
    binding->streams++;
    set_stream_domain(stream, domain);
    domain->invalidate_on_map = domain->invalidate_on_map || stream->inst->caches_absent;
    ret = gri_domain_open_stream(domain, stream);
    if (!ret || ret == GR_EIO)
        gri_list_remove(&stream->doubt); /* 0 or GR_EIO: its earlier tables are invalidated */
    return ret == GR_EIO ? GR_ETIMEDOUT : ret;
}

/* Block a stream and drop it from its binding. */
static int detach_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    struct gr_binding *const binding = gri_domain_binding(domain, stream->inst);

    if (!stream->domain)
        return 0;
    if (!gri_stream_block(stream, binding)) {
        gri_list_remove(&stream->doubt);
    } else if (gri_list_empty(&stream->doubt)) {
        stream->doubted = domain;
        gri_list_append(&domain->doubtful, &stream->doubt);
    } /* else its instance may cache the tables of an earlier domain, but never used this domain's
       */
    set_stream_domain(stream, NULL);
    if (!--binding->streams)
        *binding = domain->binding[--domain->bindings];
    return 0; /* go on: the group's other streams must be blocked as well */
}

static void detach_group(struct gr_domain *domain, struct gr_group *group)
{
    gr_lock_state_t state;

    gri_defer_flush(domain); /* while the domain has bindings to invalidate on */
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
        ret = gri_coexist_fits(domain, dev);
    if (!ret && domain->type == GR_DOMAIN_TRANSLATED)
        ret = prepare_reserve(domain, group);
    if (!ret && domain->type == GR_DOMAIN_LINEAR)
        ret = gri_linear_check(domain, dev);
    if (ret)
        return ret;
    if (before)
        detach_group(before, group);
    ret = attach_group(domain, group);
    if (!ret && domain->type == GR_DOMAIN_TRANSLATED)
        return reserve_all(domain, group); /* in time: the device has no IOVA of the domain yet */
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
    return gri_domain_in_doubt(domain) ? GR_ETIMEDOUT : 0;
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
