/* SPDX-License-Identifier: MIT */
/*
 * Domains beside the mappings that firmware left in a stream. DART.md 9, 10;
 * REQUIREMENTS.md 4.
 */
#include "iommu/adopt.h"

#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"

/* ---- what a group's streams hold ---- */

/* Firmware's leaf table whose span holds `va`, or NULL. */
static const struct gri_pt_foreign *leaf_table(const struct gr_adopted *a, uint64_t va)
{
    const uint64_t span = gri_mask(gri_adopt_span_lg2(a->inst, 1));

    for (unsigned i = 0; i < a->mirror.count; i++) {
        if (!a->table[i].level && a->table[i].va == (va & ~span))
            return &a->table[i];
    }
    return NULL;
}

/* The entry for `va` in a leaf table. */
static uint64_t leaf_of(const struct gr_adopted *a, const struct gri_pt_foreign *t, uint64_t va)
{
    return gri_pt_load(&t->live[(va - t->va) >> a->inst->table.granule_lg2]);
}

enum firmware_at {
    FIRMWARE_NOTHING,    /* no stream has a leaf table there */
    FIRMWARE_LEAF,       /* all streams have the leaf that the region wants there */
    FIRMWARE_TABLE,      /* a stream has a leaf table there, and not all have that leaf */
    FIRMWARE_OTHER_LEAF, /* a stream has a leaf there that points elsewhere */
};

/* What the streams of a group hold at `va`, where a region wants `pa`. */
static enum firmware_at firmware_at(const struct gr_group *group, uint64_t va, gr_pa_t pa)
{
    bool leaves = true;
    bool table = false;

    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; i < dev->config.stream_count; i++) {
            const struct gr_adopted *const a = dev->config.streams[i].adopted;
            const struct gri_pt_foreign *const t = a ? leaf_table(a, va) : NULL;
            gr_pa_t leads;

            table = table || t;
            if (!t || !a->ops->decode(leaf_of(a, t, va), a->inst->table.granule_lg2, &leads))
                leaves = false;
            else if (leads != pa)
                return FIRMWARE_OTHER_LEAF;
        }
    }
    return !table ? FIRMWARE_NOTHING : leaves ? FIRMWARE_LEAF : FIRMWARE_TABLE;
}

/* ---- building ---- */

/* The IOVA of `va`, which has only the address bits that tables translate. */
static gr_iova_t domain_iova(const struct gr_domain *domain, uint64_t va)
{
    return (domain->aperture.first & ~domain->pt.va_mask) | va;
}

/* Call `fn` for firmware's leaf tables that the domain's tables reach, until a call fails. */
static int for_leaf_tables(struct gr_domain *domain, const struct gr_adopted *a,
                           int (*fn)(struct gr_domain *domain, const struct gr_adopted *a,
                                     const struct gri_pt_foreign *t))
{
    int ret = 0;

    for (unsigned i = 0; !ret && i < a->mirror.count; i++) {
        if (!a->table[i].level && a->table[i].va <= domain->pt.va_mask)
            ret = fn(domain, a, &a->table[i]);
    }
    return ret;
}

static int keep_table(struct gr_domain *domain, const struct gr_adopted *a,
                      const struct gri_pt_foreign *t)
{
    const gr_iova_t iova = domain_iova(domain, t->va);

    return gri_fixed_add(domain, iova, iova | gri_mask(gri_adopt_span_lg2(a->inst, 1)));
}

static int import_table(struct gr_domain *domain, const struct gr_adopted *a,
                        const struct gri_pt_foreign *t)
{
    const unsigned lg2 = a->inst->table.granule_lg2;
    int ret = 0;

    for (size_t i = 0; !ret && i < gri_adopt_entries(a->inst); i++) {
        const uint64_t va = t->va + ((uint64_t)i << lg2);
        const uint64_t leaf = gri_pt_load(&t->live[i]);
        gr_pa_t pa;

        if (!a->ops->decode(leaf, lg2, &pa) || va > domain->pt.va_mask)
            continue;
        ret = domain->pt.ops->import(&domain->pt, va, leaf);
        if (!ret)
            ret = gri_fixed_add(domain, domain_iova(domain, va),
                                domain_iova(domain, va) | gri_mask(lg2));
    }
    return ret;
}

/* Fix the IOVAs of roots that firmware left empty: beside its other roots they cannot be mapped. */
static int keep_roots(struct gr_domain *domain, const struct gr_adopted *a)
{
    const unsigned lg2 = gri_adopt_span_lg2(a->inst, a->firmware.levels);
    int ret = 0;

    for (unsigned i = 0; !ret && i < 1u << domain->pt.roots_lg2; i++) {
        const gr_iova_t iova = domain_iova(domain, (uint64_t)i << lg2);

        if (!(a->firmware.roots >> i & 1))
            ret = gri_fixed_add(domain, iova, iova | gri_mask(lg2));
    }
    return ret;
}

static int build_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    const struct gr_adopted *const a = stream->adopted;
    int ret;

    if (!a)
        return 0;
    if (domain->adopt == GR_ADOPT_KEEP_SLOTS)
        ret = for_leaf_tables(domain, a, keep_table);
    else
        ret = for_leaf_tables(domain, a, import_table);
    if (!ret && domain->adopt != GR_ADOPT_REPLACE)
        ret = keep_roots(domain, a);
    return ret;
}

/* Do the leaves of two streams agree wherever both streams have a leaf? */
static bool agree(const struct gr_adopted *a, const struct gr_adopted *b)
{
    for (unsigned i = 0; i < a->mirror.count; i++) {
        const struct gri_pt_foreign *const t = &a->table[i];
        const struct gri_pt_foreign *const u = t->level ? NULL : leaf_table(b, t->va);

        for (size_t k = 0; u && k < gri_adopt_entries(a->inst); k++) {
            const uint64_t x = gri_pt_load(&t->live[k]);
            const uint64_t y = gri_pt_load(&u->live[k]);
            gr_pa_t pa;

            if (x != y && a->ops->decode(x, a->inst->table.granule_lg2, &pa) &&
                b->ops->decode(y, b->inst->table.granule_lg2, &pa))
                return false;
        }
    }
    return true;
}

static int is_adopted(struct gr_domain *domain, struct gr_stream *stream)
{
    (void)domain;
    return stream->adopted != NULL;
}

/* Compare the leaves of one stream with those of every stream of its group. */
static int check_agreement(struct gr_domain *domain, struct gr_stream *stream)
{
    GRI_LIST_FOREACH(link, &stream->dev->group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; stream->adopted && i < dev->config.stream_count; i++) {
            const struct gr_adopted *const other = dev->config.streams[i].adopted;

            if (!other || agree(stream->adopted, other))
                continue;
            gri_log(domain->env, GR_LOG_ERR,
                    "%s: no domain: firmware left different mappings in %s and in %s",
                    stream->dev->config.name, stream->inst->name, other->inst->name);
            return GR_EBUSY;
        }
    }
    return 0;
}

/* Has firmware a leaf table for every leaf table's span of the aperture? */
static bool is_full(const struct gr_domain *domain, const struct gr_group *group)
{
    const uint64_t span = domain->table_span;
    uint64_t va = domain->aperture.first & domain->pt.va_mask & ~span;
    const uint64_t last = domain->aperture.last & domain->pt.va_mask;

    for (; va <= last; va += span + 1) {
        if (firmware_at(group, va, 0) == FIRMWARE_NOTHING)
            return false;
    }
    return true;
}

/* GR_EBUSY if a leaf table of firmware's spans the granule at `iova`, but does not map it. */
static int needs_import(struct gr_domain *domain, const struct gr_device *dev,
                        const struct gr_region *r, gr_iova_t iova, gr_pa_t pa)
{
    (void)r;
    return firmware_at(dev->group, iova & domain->pt.va_mask, pa) == FIRMWARE_TABLE ? GR_EBUSY : 0;
}

static int is_locked_stream(struct gr_domain *domain, struct gr_stream *stream)
{
    (void)domain;
    return stream->inst->locked;
}

/* The adoption that the group's members ask for; the host sees to it that they agree. */
static enum gr_adopt wish_of(const struct gr_group *group)
{
    enum gr_adopt wish = GR_ADOPT_DEFAULT;

    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        wish = wish ? wish : dev->config.adopt;
    }
    return wish;
}

static int choose_adoption(struct gr_domain *domain, const struct gr_device *dev)
{
    const struct gr_group *const group = dev->group;

    domain->adopt = wish_of(group);
    domain->adopt_reason = "asked for by the device's configuration";
    if (domain->adopt == GR_ADOPT_REPLACE && gri_for_each_stream(domain, group, is_locked_stream)) {
        gri_log(domain->env, GR_LOG_ERR,
                "%s: no domain: its tables cannot replace firmware's: an instance is locked",
                dev->config.name);
        return GR_EOPNOTSUPP;
    }
    if (domain->adopt)
        return 0;
    domain->adopt = GR_ADOPT_IMPORT;
    domain->adopt_reason = "firmware's leaf tables cover all other IOVAs";
    if (is_full(domain, group))
        return 0;
    domain->adopt_reason = "a reserved region must be added to a leaf table of firmware's";
    if (gri_region_for_granules(domain, group, needs_import))
        return 0;
    domain->adopt = GR_ADOPT_KEEP_SLOTS;
    domain->adopt_reason = "no write to firmware's tables is needed";
    return 0;
}

/* Has every adopted stream a root for `va`? */
static bool has_roots(const struct gr_group *group, uint64_t va)
{
    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; i < dev->config.stream_count; i++) {
            const struct gr_adopted *const a = dev->config.streams[i].adopted;

            if (a &&
                !(a->firmware.roots >> (va >> gri_adopt_span_lg2(a->inst, a->firmware.levels)) & 1))
                return false;
        }
    }
    return true;
}

static int map_region_granule(struct gr_domain *domain, const struct gr_device *dev,
                              const struct gr_region *r, gr_iova_t iova, gr_pa_t pa)
{
    const uint64_t granule = domain->pt.granule_mask + 1;
    const uint64_t va = iova & domain->pt.va_mask;
    const enum firmware_at there = firmware_at(dev->group, va, pa);
    gr_pa_t leads;
    uint64_t done;
    int ret;

    if (!gri_range_contains(&domain->aperture, iova, iova | domain->pt.granule_mask))
        return gri_region_refuse(domain, dev, GR_ERANGE, "lies outside the aperture", r->iova);
    if (domain->adopt != GR_ADOPT_REPLACE && !has_roots(dev->group, va))
        return gri_region_refuse(domain, dev, GR_ERANGE,
                                 "needs a root table that firmware did not set up", iova);
    if (there == FIRMWARE_OTHER_LEAF)
        return gri_region_refuse(domain, dev, GR_EBUSY, "is mapped differently by firmware", iova);
    if (domain->adopt == GR_ADOPT_KEEP_SLOTS && there == FIRMWARE_LEAF)
        return 0;
    if (domain->adopt == GR_ADOPT_KEEP_SLOTS && there == FIRMWARE_TABLE)
        return gri_region_refuse(domain, dev, GR_EBUSY,
                                 "is not mapped in a slot that firmware keeps", iova);
    if (!gri_pt_to_phys(&domain->pt, va, &leads))
        return leads == pa
                   ? 0
                   : gri_region_refuse(domain, dev, GR_EBUSY, "overlaps another region", iova);
    ret = gr_pt_map(&domain->pt, iova, pa, granule, r->prot, &done);
    return ret == GR_EFAULT
               ? gri_region_refuse(domain, dev, ret,
                                   "has a physical address that its IOMMU cannot put out", iova)
               : ret;
}

int gri_coexist_build(struct gr_domain *domain, struct gr_device *dev)
{
    const struct gr_group *const group = dev->group;
    int ret = 0;

    if (gri_for_each_stream(domain, group, is_adopted)) {
        ret = gri_for_each_stream(domain, group, check_agreement);
        if (!ret)
            ret = choose_adoption(domain, dev);
        if (!ret)
            ret = gri_for_each_stream(domain, group, build_stream);
    }
    if (!ret)
        ret = gri_region_for_granules(domain, group, map_region_granule);
    if (!ret)
        ret = gri_region_fix(domain, group);
    if (ret)
        gri_fixed_fini(domain);
    return ret;
}

/* ---- attaching ---- */

int gri_coexist_fold(struct gr_domain *domain, const struct gr_stream *stream)
{
    const struct gr_adopted *const a = stream->adopted;
    const struct gr_instance *const inst = stream->inst;

    if (!a && !inst->locked)
        return 0;
    if (!a) {
        gri_log(domain->env, GR_LOG_ERR,
                "%s: no domain: stream %u of %s is locked, and was not left translating",
                stream->dev->config.name, stream->sid, inst->name);
        return GR_EOPNOTSUPP;
    }
    if (domain->type == GR_DOMAIN_IDENTITY || domain->type == GR_DOMAIN_LINEAR) {
        gri_log(domain->env, GR_LOG_ERR,
                "%s: no such domain: firmware's mappings in stream %u of %s must be kept",
                stream->dev->config.name, stream->sid, inst->name);
        return GR_EOPNOTSUPP;
    }
    if (domain->fixed_levels && domain->fixed_levels != a->firmware.levels) {
        gri_log(domain->env, GR_LOG_ERR,
                "%s: no domain: firmware left tables of different depths in its streams",
                stream->dev->config.name);
        return GR_EOPNOTSUPP;
    }
    domain->fixed_levels = a->firmware.levels;
    return 0;
}

static int fits_kept(struct gr_domain *domain, const struct gr_adopted *a,
                     const struct gri_pt_foreign *t)
{
    const gr_iova_t first = domain_iova(domain, t->va);

    return gri_fixed_contains(domain, first, first | gri_mask(gri_adopt_span_lg2(a->inst, 1)))
               ? 0
               : GR_EOPNOTSUPP;
}

/* Do the domain's tables hold each leaf of firmware's table? */
static int fits_imported(struct gr_domain *domain, const struct gr_adopted *a,
                         const struct gri_pt_foreign *t)
{
    const unsigned lg2 = a->inst->table.granule_lg2;

    for (size_t i = 0; i < gri_adopt_entries(a->inst); i++) {
        const uint64_t va = t->va + ((uint64_t)i << lg2);
        const uint64_t leaf = gri_pt_load(&t->live[i]);
        struct gr_pt_walk walk;
        gr_pa_t pa;

        if (!a->ops->decode(leaf, lg2, &pa) || va > domain->pt.va_mask)
            continue;
        if (gr_pt_walk(&domain->pt, va, &walk) || walk.step[walk.steps - 1].entry != leaf)
            return GR_EOPNOTSUPP;
    }
    return 0;
}

static int stream_fits(struct gr_domain *domain, struct gr_stream *stream)
{
    const struct gr_adopted *const a = stream->adopted;

    if (!a)
        return 0;
    if (a->firmware.levels != domain->pt.levels || !domain->adopt)
        return GR_EOPNOTSUPP;
    return for_leaf_tables(domain, a,
                           domain->adopt == GR_ADOPT_KEEP_SLOTS ? fits_kept : fits_imported);
}

static int granule_fits(struct gr_domain *domain, const struct gr_device *dev,
                        const struct gr_region *r, gr_iova_t iova, gr_pa_t pa)
{
    gr_pa_t leads;

    (void)r;
    if (!gri_pt_to_phys(&domain->pt, iova, &leads))
        return leads == pa ? 0 : GR_EOPNOTSUPP;
    return firmware_at(dev->group, iova & domain->pt.va_mask, pa) == FIRMWARE_LEAF ? 0
                                                                                   : GR_EOPNOTSUPP;
}

int gri_coexist_fits(struct gr_domain *domain, const struct gr_device *dev)
{
    int ret;

    if (domain->type != GR_DOMAIN_TRANSLATED && domain->type != GR_DOMAIN_UNMANAGED)
        return 0;
    ret = gri_for_each_stream(domain, dev->group, stream_fits);
    if (!ret && !gri_region_all_fixed(domain, dev->group))
        ret = GR_EOPNOTSUPP;
    return ret ? ret : gri_region_for_granules(domain, dev->group, granule_fits);
}

/* Store entries into firmware's tables that point to the domain's tables. */
static void link_into_firmware(struct gr_domain *domain, struct gr_adopted *a)
{
    gr_port_wmb(); /* the domain's tables, leaves included, before entries that point to them */
    a->ops->reflect(&domain->pt, &a->mirror, true);
    a->mirror.next = domain->pt.mirrors;
    __atomic_store_n(&domain->pt.mirrors, &a->mirror, __ATOMIC_RELAXED);
    a->pt = &domain->pt;
}

int gri_coexist_attach(struct gr_domain *domain, struct gr_stream *stream,
                       struct gr_binding *binding)
{
    struct gr_adopted *const a = stream->adopted;
    struct gr_instance *const inst = stream->inst;
    const bool replace = domain->adopt == GR_ADOPT_REPLACE;

    if (domain->type == GR_DOMAIN_BLOCKED)
        gri_log(domain->env, GR_LOG_WARN,
                "%s: blocked in part: firmware's mappings in stream %u of %s remain in use",
                stream->dev->config.name, stream->sid, inst->name);
    else if (!replace && !a->pt)
        link_into_firmware(domain, a);
    gr_port_wmb(); /* entries before the invalidation, tables before the register of their root */
    return inst->ops->adopt(inst, stream->sid, &a->firmware, replace ? &domain->pt : NULL, binding);
}

int gri_coexist_release(struct gr_stream *stream, struct gr_binding *binding)
{
    struct gr_adopted *const a = stream->adopted;
    struct gr_instance *const inst = stream->inst;

    if (a->pt) {
        struct gr_pt_mirror **link = &a->pt->mirrors;
        /* In a domain that breaks, a map may be adding a table at the same time. */
        const gr_lock_state_t state = gr_port_lock(&a->pt->lock);

        while (*link != &a->mirror)
            link = &(*link)->next;
        /* Atomic, because maps read the head of the list without a lock. */
        __atomic_store_n(link, a->mirror.next, __ATOMIC_RELAXED);
        a->ops->reflect(a->pt, &a->mirror, false);
        gr_port_unlock(&a->pt->lock, state);
        a->pt = NULL;
    }
    gr_port_wmb(); /* firmware's entries before the invalidation of those they replace */
    return inst->ops->release(inst, stream->sid, &a->firmware, binding);
}
