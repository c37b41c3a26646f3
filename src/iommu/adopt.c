/* SPDX-License-Identifier: MIT */
/*
 * Adoption: domains beside the mappings that firmware left in a stream, and reserved regions.
 *
 * Firmware's tables are untrusted: they are read once into copies, every page is asked of the port,
 * counted, and met at most once, so whatever they hold the walk ends. Facts: facts/DART.md 9, 10,
 * facts/REQUIREMENTS.md 6.
 */
#include "iommu/adopt.h"

#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"
#include "core/mem.h"

/* log2 of the bytes that one entry of a level spans. */
static unsigned span_lg2(const struct gr_instance *inst, unsigned level)
{
    return inst->table.granule_lg2 + level * (inst->table.granule_lg2 - 3u);
}

static size_t entries_of(const struct gr_instance *inst)
{
    return (size_t)1 << (inst->table.granule_lg2 - 3u);
}

/* ---- reading firmware's tables ---- */

static int refuse_tables(const struct gr_adopted *a, int err, const char *why, gr_pa_t pa)
{
    gri_log(a->inst->env, GR_LOG_ERR, "%s: firmware's tables cannot be adopted: the table at %x %s",
            a->inst->name, pa, why);
    return err;
}

static int add_table(struct gr_adopted *a, gr_pa_t pa, uint64_t va, unsigned level)
{
    const gr_env_t env = a->inst->env;
    const unsigned lg2 = a->inst->table.granule_lg2;
    struct gri_pt_foreign *const t = &a->table[a->mirror.count];

    for (unsigned i = 0; i < a->mirror.count; i++) {
        if (a->table[i].pa == pa)
            return refuse_tables(a, GR_EOPNOTSUPP, "is reached twice", pa);
    }
    if (a->mirror.count == GR_CFG_FIRMWARE_TABLES)
        return refuse_tables(a, GR_ENOSPC, "exceeds GR_CFG_FIRMWARE_TABLES", pa);
    *t = (struct gri_pt_foreign){.pa = pa, .va = va, .level = level};
    t->live = pa & gri_mask(lg2) ? NULL : gr_port_map_firmware(env, pa, (size_t)1 << lg2);
    if (!t->live)
        return refuse_tables(a, GR_EOPNOTSUPP, "is not in memory that firmware may use", pa);
    if (level) {
        t->boot = gr_port_pages_alloc(env, lg2, UINT64_MAX, GR_PAGES_MAY_SLEEP);
        if (!t->boot)
            return GR_ENOMEM;
        memcpy(t->boot, t->live, (size_t)1 << lg2);
    }
    a->mirror.count++;
    return 0;
}

/* What one table leads to: tables, or memory. */
static int read_table(struct gr_adopted *a, const struct gri_pt_foreign *t)
{
    const unsigned lg2 = a->inst->table.granule_lg2;
    const uint64_t *const entry = t->level ? t->boot : t->live;
    int ret = 0;

    for (size_t i = 0; !ret && i < entries_of(a->inst); i++) {
        gr_pa_t pa;

        if (!a->ops->decode(entry[i], lg2, &pa))
            continue;
        if (t->level)
            ret = add_table(a, pa, t->va + ((uint64_t)i << span_lg2(a->inst, t->level)),
                            t->level - 1);
        else
            a->leaves++;
    }
    return ret;
}

static int read_tables(struct gr_adopted *a)
{
    const unsigned top = a->firmware.levels - 1u;
    int ret = 0;

    for (unsigned i = 0; !ret && i < GR_FIRMWARE_ROOTS; i++) {
        if (a->firmware.roots >> i & 1)
            ret = add_table(a, a->firmware.root[i], (uint64_t)i << span_lg2(a->inst, top + 1), top);
    }
    for (unsigned i = 0; !ret && i < a->mirror.count; i++)
        ret = read_table(a, &a->table[i]);
    return ret;
}

static void free_adopted(struct gr_adopted *a)
{
    for (unsigned i = 0; i < a->mirror.count; i++) {
        if (a->table[i].boot)
            gr_port_pages_free(a->inst->env, a->table[i].boot, a->inst->table.granule_lg2);
    }
    gr_port_pages_free(a->inst->env, a, a->lg2);
}

/* Two streams may share all tables above the leaves, or none. */
static int check_shared(const struct gr_adopted *a)
{
    for (const struct gr_adopted *o = a->inst->adopted; o; o = o->next) {
        for (unsigned i = 0; i < a->mirror.count; i++) {
            for (unsigned k = 0; k < o->mirror.count; k++) {
                if (a->table[i].pa == o->table[k].pa && (a->table[i].level || o->table[k].level))
                    return refuse_tables(a, GR_EOPNOTSUPP, "is shared in part with another stream",
                                         a->table[i].pa);
            }
        }
    }
    return 0;
}

static bool same_roots(const struct gr_firmware *a, const struct gr_firmware *b)
{
    if (a->levels != b->levels || a->roots != b->roots)
        return false;
    for (unsigned i = 0; i < GR_FIRMWARE_ROOTS; i++) {
        if ((a->roots >> i & 1) && a->root[i] != b->root[i])
            return false;
    }
    return true;
}

static int adopt_stream(struct gr_stream *stream)
{
    struct gr_instance *const inst = stream->inst;
    struct gr_firmware firmware = {0};
    struct gr_adopted *a;
    unsigned lg2 = 12;
    int ret;

    if (inst->ops->firmware)
        inst->ops->firmware(inst, stream->sid, &firmware);
    if (!firmware.serves || !inst->table.coherent)
        return 0;
    for (a = inst->adopted; a; a = a->next) {
        if (same_roots(&a->firmware, &firmware)) {
            a->users++;
            stream->adopted = a;
            return 0;
        }
    }
    while (sizeof(*a) >> lg2)
        lg2++;
    a = gr_port_pages_alloc(inst->env, lg2, UINT64_MAX, GR_PAGES_MAY_SLEEP);
    if (!a)
        return GR_ENOMEM;
    *a = (struct gr_adopted){.inst = inst, .firmware = firmware, .users = 1, .lg2 = lg2};
    a->ops = gri_pt_ops_of(&inst->table);
    a->mirror.table = a->table;
    ret = read_tables(a);
    if (!ret)
        ret = check_shared(a);
    if (ret) {
        free_adopted(a);
        return ret;
    }
    a->next = inst->adopted;
    inst->adopted = a;
    stream->adopted = a;
    return 0;
}

static void drop_stream(struct gr_stream *stream)
{
    struct gr_adopted *const a = stream->adopted;
    struct gr_adopted **link = &stream->inst->adopted;

    if (!a || --a->users)
        return;
    while (*link != a)
        link = &(*link)->next;
    *link = a->next;
    free_adopted(a);
}

int gri_adopt_streams(const struct gr_device_config *config)
{
    int ret = 0;

    for (unsigned i = 0; i < config->stream_count; i++) {
        ret = adopt_stream(&config->streams[i]);
        if (ret) {
            while (i--)
                drop_stream(&config->streams[i]);
            break;
        }
    }
    return ret;
}

void gri_adopt_forget(const struct gr_device_config *config)
{
    for (unsigned i = 0; i < config->stream_count; i++)
        drop_stream(&config->streams[i]);
}

void gr_stream_adoption(const struct gr_stream *stream, struct gr_adoption *out)
{
    const struct gr_adopted *const a = stream->adopted;

    *out = (struct gr_adoption){0};
    if (!a)
        return;
    out->state = a->firmware.state;
    out->tables = a->mirror.count;
    out->leaves = a->leaves;
    if (stream->domain) {
        out->policy = stream->domain->adopt;
        out->reason = stream->domain->adopt_reason;
        out->partial = stream->domain->type == GR_DOMAIN_BLOCKED;
    }
}

/* ---- what a group's streams hold ---- */

/* Firmware's leaf table whose span `va` is in. */
static const struct gri_pt_foreign *leaf_table(const struct gr_adopted *a, uint64_t va)
{
    const uint64_t span = gri_mask(span_lg2(a->inst, 1));

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

enum meets {
    MEETS_NOTHING, /* no stream has a leaf table there */
    MEETS_LEAVES,  /* all streams have this very leaf */
    MEETS_TABLE,   /* anything between */
    MEETS_OTHERS,  /* a stream has another leaf */
};

/* What the streams of a group hold at `va`, where a region wants `pa`. */
static enum meets meets(const struct gr_group *group, uint64_t va, gr_pa_t pa)
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
                return MEETS_OTHERS;
        }
    }
    return !table ? MEETS_NOTHING : leaves ? MEETS_LEAVES : MEETS_TABLE;
}

/* ---- regions ---- */

static bool is_mapped_region(const struct gr_region *r)
{
    return r->kind != GR_REGION_RESERVED;
}

static gr_pa_t region_pa(const struct gr_region *r)
{
    return r->kind == GR_REGION_DIRECT ? r->iova : r->pa;
}

bool gri_has_regions(const struct gr_group *group)
{
    GRI_LIST_FOREACH(link, &group->members) {
        if (GRI_CONTAINER(link, struct gr_device, group_link)->config.region_count)
            return true;
    }
    return false;
}

int gri_region_check(const struct gr_device_config *config)
{
    for (unsigned i = 0; i < config->region_count; i++) {
        const struct gr_region *const r = &config->regions[i];
        const gr_pa_t pa = region_pa(r);

        if (r->kind < GR_REGION_RESERVED || r->kind > GR_REGION_TRANSLATED || !r->len ||
            gri_overflows(r->iova, r->len))
            return GR_EINVAL;
        if (!is_mapped_region(r))
            continue;
        if (gri_overflows(pa, r->len) || !(r->prot & (GR_PROT_READ | GR_PROT_WRITE)))
            return GR_EINVAL;
        for (unsigned k = 0; k < config->stream_count; k++) {
            const struct gr_instance *const inst = config->streams[k].inst;

            if (!((pa - r->iova) & gri_mask(inst->table.granule_lg2)))
                continue;
            gri_log(inst->env, GR_LOG_ERR,
                    "%s: its region at IOVA %x cannot be mapped to %x: they lie differently in "
                    "granules of %u KiB",
                    config->name, r->iova, pa, 1u << (inst->table.granule_lg2 - 10));
            return GR_EINVAL;
        }
    }
    return 0;
}

/* The granules of a region. */
static struct gr_range region_range(const struct gr_domain *domain, const struct gr_region *r)
{
    const uint64_t mask = domain->pt.granule_mask;

    return (struct gr_range){r->iova & ~mask, (r->iova + (r->len - 1)) | mask};
}

static int refuse_region(const struct gr_domain *domain, const struct gr_device *dev, int err,
                         const char *why, gr_iova_t iova)
{
    gri_log(domain->env, GR_LOG_ERR, "%s: no domain: its region at IOVA %x %s", dev->config.name,
            iova, why);
    return err;
}

/* Call `fn` for each granule of each region of a group that is mapped, until it fails. */
static int for_region_granules(struct gr_domain *domain, const struct gr_group *group,
                               int (*fn)(struct gr_domain *domain, const struct gr_device *dev,
                                         const struct gr_region *r, gr_iova_t iova, gr_pa_t pa))
{
    int ret = 0;

    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; !ret && i < dev->config.region_count; i++) {
            const struct gr_region *const r = &dev->config.regions[i];
            const struct gr_range range = region_range(domain, r);
            const uint64_t count = ((range.last - range.first) >> domain->pt.granule_lg2) + 1;
            const gr_pa_t pa = region_pa(r) & ~domain->pt.granule_mask;

            for (uint64_t k = 0; !ret && is_mapped_region(r) && k < count; k++) {
                const uint64_t offset = k << domain->pt.granule_lg2;

                ret = fn(domain, dev, r, range.first + offset, pa + offset);
            }
        }
    }
    return ret;
}

/* ---- building ---- */

/* The IOVA that the domain's device uses for what tables call `va`. */
static gr_iova_t iova_of(const struct gr_domain *domain, uint64_t va)
{
    return (domain->aperture.first & ~domain->pt.va_mask) | va;
}

/* Note IOVAs that nobody may be given; those that touch the last ones are joined. */
static int add_fixed(struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    struct gr_range *const top =
        domain->fixed_count ? &domain->fixed[domain->fixed_count - 1] : NULL;
    struct gr_range *grown;
    unsigned lg2;

    if (top && top->last + 1 == first) {
        top->last = last;
        return 0;
    }
    if (!domain->fixed || (domain->fixed_count + 1) * sizeof(*grown) >> domain->fixed_lg2) {
        lg2 = domain->fixed ? domain->fixed_lg2 + 1 : 12;
        grown = gr_port_pages_alloc(domain->env, lg2, UINT64_MAX, GR_PAGES_MAY_SLEEP);
        if (!grown)
            return GR_ENOMEM;
        if (domain->fixed) {
            memcpy(grown, domain->fixed, domain->fixed_count * sizeof(*grown));
            gr_port_pages_free(domain->env, domain->fixed, domain->fixed_lg2);
        }
        domain->fixed = grown;
        domain->fixed_lg2 = lg2;
    }
    domain->fixed[domain->fixed_count++] = (struct gr_range){first, last};
    return 0;
}

/* Visit the leaf tables of an adopted stream that the domain's tables reach, until `fn` fails. */
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
    const gr_iova_t iova = iova_of(domain, t->va);

    return add_fixed(domain, iova, iova | gri_mask(span_lg2(a->inst, 1)));
}

static int import_table(struct gr_domain *domain, const struct gr_adopted *a,
                        const struct gri_pt_foreign *t)
{
    const unsigned lg2 = a->inst->table.granule_lg2;
    int ret = 0;

    for (size_t i = 0; !ret && i < entries_of(a->inst); i++) {
        const uint64_t va = t->va + ((uint64_t)i << lg2);
        const uint64_t leaf = gri_pt_load(&t->live[i]);
        gr_pa_t pa;

        if (!a->ops->decode(leaf, lg2, &pa) || va > domain->pt.va_mask)
            continue;
        ret = domain->pt.ops->import(&domain->pt, va, leaf);
        if (!ret)
            ret = add_fixed(domain, iova_of(domain, va), iova_of(domain, va) | gri_mask(lg2));
    }
    return ret;
}

/* Without a root of its own a part of the IOVAs leads nowhere, unless the root can be replaced. */
static int keep_roots(struct gr_domain *domain, const struct gr_adopted *a)
{
    const unsigned lg2 = span_lg2(a->inst, a->firmware.levels);
    int ret = 0;

    for (unsigned i = 0; !ret && i < 1u << domain->pt.roots_lg2; i++) {
        const gr_iova_t iova = iova_of(domain, (uint64_t)i << lg2);

        if (!(a->firmware.roots >> i & 1))
            ret = add_fixed(domain, iova, iova | gri_mask(lg2));
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

/* Do the leaves of two streams agree wherever both have one? */
static bool agree(const struct gr_adopted *a, const struct gr_adopted *b)
{
    for (unsigned i = 0; i < a->mirror.count; i++) {
        const struct gri_pt_foreign *const t = &a->table[i];
        const struct gri_pt_foreign *const u = t->level ? NULL : leaf_table(b, t->va);

        for (size_t k = 0; u && k < entries_of(a->inst); k++) {
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

/* One stream against all of its group. */
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

/* Is every leaf table's span of the aperture firmware's already? */
static bool is_full(const struct gr_domain *domain, const struct gr_group *group)
{
    const uint64_t span = domain->table_span;
    uint64_t va = domain->aperture.first & domain->pt.va_mask & ~span;
    const uint64_t last = domain->aperture.last & domain->pt.va_mask;

    for (; va <= last; va += span + 1) {
        if (meets(group, va, 0) == MEETS_NOTHING)
            return false;
    }
    return true;
}

/* Is it in a slot that firmware keeps, and not mapped there? */
static int needs_import(struct gr_domain *domain, const struct gr_device *dev,
                        const struct gr_region *r, gr_iova_t iova, gr_pa_t pa)
{
    (void)r;
    return meets(dev->group, iova & domain->pt.va_mask, pa) == MEETS_TABLE ? GR_EBUSY : 0;
}

static int is_locked(struct gr_domain *domain, struct gr_stream *stream)
{
    (void)domain;
    return stream->inst->locked;
}

/* What any member of the group asks for; the host sees to it that they agree. */
static enum gr_adopt wish_of(const struct gr_group *group)
{
    enum gr_adopt wish = GR_ADOPT_DEFAULT;

    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        wish = wish ? wish : dev->config.adopt;
    }
    return wish;
}

static int choose(struct gr_domain *domain, const struct gr_device *dev)
{
    const struct gr_group *const group = dev->group;

    domain->adopt = wish_of(group);
    domain->adopt_reason = "asked for by the device's configuration";
    if (domain->adopt == GR_ADOPT_REPLACE && gri_for_each_stream(domain, group, is_locked)) {
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
    if (for_region_granules(domain, group, needs_import))
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

            if (a && !(a->firmware.roots >> (va >> span_lg2(a->inst, a->firmware.levels)) & 1))
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
    const enum meets there = meets(dev->group, va, pa);
    gr_pa_t leads;
    uint64_t done;
    int ret;

    if (!gri_range_contains(&domain->aperture, iova, iova | domain->pt.granule_mask))
        return refuse_region(domain, dev, GR_ERANGE, "lies outside the aperture", r->iova);
    if (domain->adopt != GR_ADOPT_REPLACE && !has_roots(dev->group, va))
        return refuse_region(domain, dev, GR_ERANGE,
                             "needs a root table that firmware did not set up", iova);
    if (there == MEETS_OTHERS)
        return refuse_region(domain, dev, GR_EBUSY, "is mapped differently by firmware", iova);
    if (domain->adopt == GR_ADOPT_KEEP_SLOTS && there == MEETS_LEAVES)
        return 0;
    if (domain->adopt == GR_ADOPT_KEEP_SLOTS && there == MEETS_TABLE)
        return refuse_region(domain, dev, GR_EBUSY, "is not mapped in a slot that firmware keeps",
                             iova);
    if (!gri_pt_to_phys(&domain->pt, va, &leads))
        return leads == pa ? 0
                           : refuse_region(domain, dev, GR_EBUSY, "overlaps another region", iova);
    ret = gr_pt_map(&domain->pt, iova, pa, granule, r->prot, &done);
    return ret == GR_EFAULT
               ? refuse_region(domain, dev, ret,
                               "has a physical address that its IOMMU cannot put out", iova)
               : ret;
}

static int fix_regions(struct gr_domain *domain, const struct gr_group *group)
{
    int ret = 0;

    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; !ret && i < dev->config.region_count; i++) {
            const struct gr_range range = region_range(domain, &dev->config.regions[i]);

            ret = add_fixed(domain, range.first, range.last);
        }
    }
    return ret;
}

int gri_adopt_build(struct gr_domain *domain, struct gr_device *dev)
{
    const struct gr_group *const group = dev->group;
    int ret = 0;

    if (gri_for_each_stream(domain, group, is_adopted)) {
        ret = gri_for_each_stream(domain, group, check_agreement);
        if (!ret)
            ret = choose(domain, dev);
        if (!ret)
            ret = gri_for_each_stream(domain, group, build_stream);
    }
    if (!ret)
        ret = for_region_granules(domain, group, map_region_granule);
    if (!ret)
        ret = fix_regions(domain, group);
    if (ret)
        gri_adopt_fini(domain);
    return ret;
}

void gri_adopt_fini(struct gr_domain *domain)
{
    if (domain->fixed)
        gr_port_pages_free(domain->env, domain->fixed, domain->fixed_lg2);
    domain->fixed = NULL;
    domain->fixed_count = 0;
}

int gri_adopt_reserve(struct gr_domain *domain)
{
    int ret = 0;

    for (unsigned i = 0; !ret && i < domain->fixed_count; i++)
        ret = gr_iova_reserve(&domain->iova, domain->fixed[i].first, domain->fixed[i].last);
    return ret;
}

bool gri_adopt_owns(const struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    for (unsigned i = 0; i < domain->fixed_count; i++) {
        if (first <= domain->fixed[i].last && last >= domain->fixed[i].first)
            return true;
    }
    return false;
}

/* ---- attaching ---- */

int gri_adopt_fold(struct gr_domain *domain, const struct gr_stream *stream)
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

/* Is all of this noted as what nobody may be given? */
static bool is_fixed(const struct gr_domain *domain, gr_iova_t first, gr_iova_t last)
{
    for (unsigned i = 0; i < domain->fixed_count; i++) {
        if (gri_range_contains(&domain->fixed[i], first, last))
            return true;
    }
    return false;
}

static int fits_kept(struct gr_domain *domain, const struct gr_adopted *a,
                     const struct gri_pt_foreign *t)
{
    const gr_iova_t first = iova_of(domain, t->va);

    return is_fixed(domain, first, first | gri_mask(span_lg2(a->inst, 1))) ? 0 : GR_EOPNOTSUPP;
}

/* Has the domain each leaf of a table? */
static int fits_imported(struct gr_domain *domain, const struct gr_adopted *a,
                         const struct gri_pt_foreign *t)
{
    const unsigned lg2 = a->inst->table.granule_lg2;

    for (size_t i = 0; i < entries_of(a->inst); i++) {
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
    return meets(dev->group, iova & domain->pt.va_mask, pa) == MEETS_LEAVES ? 0 : GR_EOPNOTSUPP;
}

static bool regions_are_fixed(const struct gr_domain *domain, const struct gr_group *group)
{
    GRI_LIST_FOREACH(link, &group->members) {
        const struct gr_device *const dev = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; i < dev->config.region_count; i++) {
            const struct gr_range range = region_range(domain, &dev->config.regions[i]);

            if (!is_fixed(domain, range.first, range.last))
                return false;
        }
    }
    return true;
}

int gri_adopt_fits(struct gr_domain *domain, const struct gr_device *dev)
{
    int ret;

    if (domain->type != GR_DOMAIN_TRANSLATED && domain->type != GR_DOMAIN_UNMANAGED)
        return 0;
    ret = gri_for_each_stream(domain, dev->group, stream_fits);
    if (!ret && !regions_are_fixed(domain, dev->group))
        ret = GR_EOPNOTSUPP;
    return ret ? ret : for_region_granules(domain, dev->group, granule_fits);
}

/* Let firmware's tables lead to the domain's. */
static void hang_in(struct gr_domain *domain, struct gr_adopted *a)
{
    gr_port_wmb(); /* the tables, leaves included, before entries that lead to them */
    a->ops->reflect(&domain->pt, &a->mirror, true);
    a->mirror.next = domain->pt.mirrors;
    __atomic_store_n(&domain->pt.mirrors, &a->mirror, __ATOMIC_RELAXED);
    a->pt = &domain->pt;
}

int gri_adopt_attach(struct gr_domain *domain, struct gr_stream *stream, struct gr_binding *binding)
{
    struct gr_adopted *const a = stream->adopted;
    struct gr_instance *const inst = stream->inst;
    const bool replace = domain->adopt == GR_ADOPT_REPLACE;

    if (domain->type == GR_DOMAIN_BLOCKED)
        gri_log(domain->env, GR_LOG_WARN,
                "%s: blocked in part: firmware's mappings in stream %u of %s remain in use",
                stream->dev->config.name, stream->sid, inst->name);
    else if (!replace && !a->pt)
        hang_in(domain, a);
    gr_port_wmb(); /* entries before what was cached is forgotten, tables before their register */
    return inst->ops->adopt(inst, stream->sid, &a->firmware, replace ? &domain->pt : NULL, binding);
}

int gri_adopt_release(struct gr_stream *stream, struct gr_binding *binding)
{
    struct gr_adopted *const a = stream->adopted;
    struct gr_instance *const inst = stream->inst;

    if (a->pt) {
        struct gr_pt_mirror **link = &a->pt->mirrors;
        /* Where a domain breaks, a map may be making a table at the same time. */
        const gr_lock_state_t state = gr_port_lock(&a->pt->lock);

        while (*link != &a->mirror)
            link = &(*link)->next;
        __atomic_store_n(link, a->mirror.next, __ATOMIC_RELAXED); /* maps look at the first */
        a->ops->reflect(a->pt, &a->mirror, false);
        gr_port_unlock(&a->pt->lock, state);
        a->pt = NULL;
    }
    gr_port_wmb(); /* firmware's entries before ours are forgotten */
    return inst->ops->release(inst, stream->sid, &a->firmware, binding);
}
