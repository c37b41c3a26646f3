/* SPDX-License-Identifier: MIT */
/*
 * LINEAR domains: memory is mapped once, at a constant offset. The tables are built before any
 * device is attached, so nothing has to be invalidated.
 *
 * Holes are kept as sorted physical ranges. A domain's own tables must not be mapped either. Where
 * they lie is known only once memory is mapped, and a hole in a block takes another table. So the
 * build looks for tables and unmaps their granules until it finds none that is mapped.
 */
#include "core/bits.h"
#include "core/list.h"
#include "core/log.h"
#include "core/mem.h"
#include "iommu/iommu_internal.h"

struct build {
    struct gr_domain *domain;
    const struct gr_linear_config *config;
    uint64_t mask; /* of the granule */
    unsigned room; /* for so many holes */
};

static gr_iova_t linear_iova(const struct gr_domain *domain, gr_pa_t pa)
{
    return pa - domain->direct_offset;
}

/* The index of the first hole that ends at or above `pa`, or hole_count. */
static unsigned find_hole(const struct gr_domain *domain, gr_pa_t pa)
{
    unsigned low = 0;
    unsigned high = domain->hole_count;

    while (low < high) {
        const unsigned mid = low + (high - low) / 2;

        if (domain->holes[mid].last < pa)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool in_hole(const struct gr_domain *domain, gr_pa_t first, gr_pa_t last)
{
    const unsigned i = find_hole(domain, first);

    return i < domain->hole_count && domain->holes[i].first <= last;
}

bool gri_linear_passes(const struct gr_domain *domain, gr_pa_t pa, uint64_t len, uint64_t mask)
{
    const gr_pa_t last = pa + (len - 1);

    return gri_range_contains(&domain->direct, pa, last) && linear_iova(domain, last) <= mask &&
           !in_hole(domain, pa, last);
}

/* ---- holes ---- */

/* Make a hole of all granules that [first, last] touches, as far as they lie in the window. */
static int add_hole(struct build *b, uint64_t first, uint64_t last)
{
    struct gr_domain *const domain = b->domain;
    uint64_t after;
    unsigned from;
    unsigned to;

    if (first > domain->direct.last || last < domain->direct.first)
        return 0;
    first = gri_max(first & ~b->mask, domain->direct.first);
    last = gri_min(last | b->mask, domain->direct.last);
    after = last + (last < UINT64_MAX);
    /* Holes that touch the new hole become one with it. */
    from = find_hole(domain, first ? first - 1 : 0);
    for (to = from; to < domain->hole_count && domain->holes[to].first <= after; to++) {
        first = gri_min(first, domain->holes[to].first);
        last = gri_max(last, domain->holes[to].last);
    }
    if (to == from && domain->hole_count == b->room)
        return GR_ENOMEM;
    if (to != from + 1)
        memmove(&domain->holes[from + 1], &domain->holes[to],
                (domain->hole_count - to) * sizeof(domain->holes[0]));
    domain->hole_count += from + 1 - to;
    domain->holes[from] = (struct gr_range){first, last};
    return 0;
}

/* Make holes of the gaps between banks: of every granule that is not memory as a whole. */
static int add_gaps(struct build *b)
{
    const struct gr_linear_config *const c = b->config;
    gr_pa_t at = b->domain->direct.first;
    int ret = 0;

    while (!ret && at <= b->domain->direct.last) {
        struct gr_range next = {UINT64_MAX, UINT64_MAX}; /* replaced: the window ends in a bank */

        for (unsigned i = 0; i < c->ram_count; i++) {
            if (c->ram[i].last >= at && c->ram[i].first < next.first)
                next = c->ram[i];
        }
        if (next.first > at)
            ret = add_hole(b, at, next.first - 1);
        if (next.last >= b->domain->direct.last)
            break;
        at = next.last + 1;
        /* The bank ends inside a granule: a hole, unless another bank begins right there. */
        if (!ret && at & b->mask) {
            bool goes_on = false;

            for (unsigned i = 0; i < c->ram_count; i++)
                goes_on = goes_on || c->ram[i].first == at;
            if (!goes_on)
                ret = add_hole(b, at, at);
        }
    }
    return ret;
}

/* Make holes of the group's reserved IOVAs. */
static int add_reserved(struct build *b, const struct gr_device *dev)
{
    const struct gr_domain *const domain = b->domain;
    const struct gr_range iovas = {linear_iova(domain, domain->direct.first),
                                   linear_iova(domain, domain->direct.last)};
    int ret = 0;

    GRI_LIST_FOREACH(link, &dev->group->members) {
        const struct gr_device *const member = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; !ret && i < member->config.reserved_count; i++) {
            const struct gr_range *const r = &member->config.reserved[i];

            if (r->first > iovas.last || r->last < iovas.first)
                continue;
            ret = add_hole(b, gri_max(r->first, iovas.first) + domain->direct_offset,
                           gri_min(r->last, iovas.last) + domain->direct_offset);
        }
    }
    return ret;
}

/* ---- mapping ---- */

/* Map [first, last] except for the holes in it. */
static int map_around(struct build *b, gr_pa_t first, gr_pa_t last)
{
    struct gr_domain *const domain = b->domain;
    int ret = 0;

    for (unsigned i = find_hole(domain, first); !ret && first <= last; i++) {
        const bool hole = i < domain->hole_count && domain->holes[i].first <= last;
        const gr_pa_t stop = hole ? domain->holes[i].first : last + 1; /* 0 stands for 2^64 */
        uint64_t done;

        if (stop != first)
            ret = gr_pt_map(&domain->pt, linear_iova(domain, first), first, stop - first,
                            GR_PROT_READ | GR_PROT_WRITE, &done);
        if (!hole || domain->holes[i].last >= last)
            break;
        first = domain->holes[i].last + 1;
    }
    return ret;
}

/* Unmap the granule at `pa`, which has just become a hole. A block around it is mapped anew. */
static int punch(struct build *b, gr_pa_t pa)
{
    struct gr_domain *const domain = b->domain;
    uint64_t size = b->mask + 1;
    int ret;

    do {
        ret = gr_pt_unmap(&domain->pt, linear_iova(domain, pa) & ~(size - 1), size, NULL, NULL);
        size *= 2;
    } while (ret == GR_EMSGSIZE);
    size /= 2;
    if (!ret && size > b->mask + 1) {
        const gr_pa_t first = (linear_iova(domain, pa) & ~(size - 1)) + domain->direct_offset;

        ret = map_around(b, first, first + size - 1);
    }
    return ret;
}

/* Make a hole of the granule at `pa`, which holds a table; *found: the granule was mapped. */
static int hide_granule(struct build *b, gr_pa_t pa, bool *found)
{
    struct gr_domain *const domain = b->domain;
    int ret;

    if (!gri_range_contains(&domain->direct, pa, pa) || in_hole(domain, pa, pa))
        return 0;
    *found = true;
    ret = add_hole(b, pa, pa);
    return ret ? ret : punch(b, pa);
}

/* Make holes of all tables that a walk for any IOVA of the window reads. */
static int hide_tables(struct build *b, bool *found)
{
    struct gr_domain *const domain = b->domain;
    const gr_iova_t last = linear_iova(domain, domain->direct.last);
    gr_iova_t at = linear_iova(domain, domain->direct.first);
    int ret = 0;

    for (uint64_t i = 0; !ret && i < (uint64_t)1 << (domain->pt.root_lg2 - domain->pt.granule_lg2);
         i++)
        ret = hide_granule(b, domain->pt.root_pa + (i << domain->pt.granule_lg2), found);
    while (!ret) {
        struct gr_pt_walk walk;
        /* Returns 0 or GR_ENOENT, and fills in the steps in either case. */
        const int walked = gr_pt_walk(&domain->pt, at, &walk);

        (void)walked;
        for (unsigned i = 1; !ret && i < walk.steps; i++)
            ret = hide_granule(b, walk.step[i].entry_pa & ~b->mask, found);
        if ((at | domain->table_span) >= last)
            break;
        at = (at | domain->table_span) + 1;
    }
    return ret;
}

static int map_all(struct build *b)
{
    bool found = true;
    int ret = map_around(b, b->domain->direct.first, b->domain->direct.last);

    while (!ret && found) {
        found = false;
        ret = hide_tables(b, &found);
    }
    /* punch() ends without a barrier: no walker may meet a leaf that led to a table. */
    gr_port_wmb();
    return ret;
}

/* ---- the window ---- */

static int check_banks(const struct gr_linear_config *c, struct gr_range *out)
{
    *out = (struct gr_range){UINT64_MAX, 0};
    for (unsigned i = 0; i < c->ram_count; i++) {
        const struct gr_range *const r = &c->ram[i];

        if (r->first > r->last)
            return GR_EINVAL;
        for (unsigned k = 0; k < i; k++) {
            if (r->first <= c->ram[k].last && c->ram[k].first <= r->last)
                return GR_EINVAL;
        }
        out->first = gri_min(out->first, r->first);
        out->last = gri_max(out->last, r->last);
    }
    return c->ram_count ? 0 : GR_EINVAL;
}

/* Choose the window's offset and ends. False: no memory is within reach. */
static bool settle_window(struct build *b, struct gr_range ram)
{
    struct gr_domain *const domain = b->domain;
    const struct gr_range a = domain->aperture;
    const uint64_t span = domain->table_span;
    const uint64_t start = a.first <= UINT64_MAX - span ? (a.first + span) & ~span : a.first;
    const gr_pa_t highest = ram.last;

    ram.last = gri_min(ram.last, domain->pt.pa_mask);
    if (ram.first > UINT64_MAX - b->mask || ram.last < b->mask)
        return false;
    ram.first = (ram.first + b->mask) & ~b->mask;
    ram.last = ((ram.last - b->mask) | b->mask); /* the last whole granule */
    if (ram.first > ram.last)
        return false;
    /* Offset 0 if all memory is within the aperture. Else memory keeps its alignment, up to the
     * span of a leaf table, so that blocks fit and buffers stay aligned. */
    domain->direct_offset = 0;
    if (!gri_range_contains(&a, ram.first, ram.last))
        domain->direct_offset =
            (ram.first & ~span) - (start <= a.last && start >= a.first ? start : a.first);
    domain->direct.first = ram.first;
    domain->direct.last =
        gri_min(ram.last - ram.first, a.last - linear_iova(domain, ram.first)) + ram.first;
    domain->beyond = domain->direct.last < highest;
    return gri_range_contains(&a, linear_iova(domain, ram.first), linear_iova(domain, ram.first));
}

static bool all_holes(const struct gr_domain *domain)
{
    return domain->hole_count && domain->holes[0].first <= domain->direct.first &&
           domain->holes[0].last >= domain->direct.last;
}

int gri_linear_build(struct gr_domain *domain, const struct gr_device *dev,
                     const struct gr_linear_config *config)
{
    struct build b = {domain, config, domain->pt.granule_mask, 0};
    const unsigned table_lg2 = 2u * domain->table.granule_lg2 - 3u; /* of what a leaf table spans */
    struct gr_range ram;
    int ret = check_banks(config, &ram);

    if (ret)
        return ret;
    if (!settle_window(&b, ram)) {
        gri_log(domain->env, GR_LOG_ERR, "%s: no LINEAR domain: no memory is within reach",
                dev->config.name);
        return GR_ERANGE;
    }
    domain->holes_lg2 = 13;
    while ((uint64_t)1 << (domain->holes_lg2 - 4) <
           2u * config->ram_count + config->hole_count + 256u +
               2 * ((domain->direct.last - domain->direct.first) >> table_lg2))
        domain->holes_lg2++;
    domain->holes =
        gr_port_pages_alloc(domain->env, domain->holes_lg2, UINT64_MAX, GR_PAGES_MAY_SLEEP);
    if (!domain->holes)
        return GR_ENOMEM;
    b.room = 1u << (domain->holes_lg2 - 4);
    ret = add_gaps(&b);
    for (unsigned i = 0; !ret && i < config->hole_count; i++) {
        const struct gr_range *const hole = &config->holes[i];

        ret = hole->first > hole->last ? GR_EINVAL : add_hole(&b, hole->first, hole->last);
    }
    if (!ret)
        ret = add_reserved(&b, dev);
    if (!ret)
        ret = map_all(&b);
    if (!ret && all_holes(domain))
        ret = GR_ERANGE;
    if (ret)
        gr_port_pages_free(domain->env, domain->holes, domain->holes_lg2);
    return ret;
}

/* Does a range lie in one hole, as far as it is inside the window? */
static bool is_left_out(const struct gr_domain *domain, const struct gr_range *iovas)
{
    const gr_iova_t first = gri_max(iovas->first, linear_iova(domain, domain->direct.first));
    const gr_iova_t last = gri_min(iovas->last, linear_iova(domain, domain->direct.last));
    unsigned i;

    if (first > last)
        return true;
    i = find_hole(domain, first + domain->direct_offset);
    return i < domain->hole_count &&
           gri_range_contains(&domain->holes[i], first + domain->direct_offset,
                              last + domain->direct_offset);
}

int gri_linear_check(const struct gr_domain *domain, const struct gr_device *dev)
{
    GRI_LIST_FOREACH(link, &dev->group->members) {
        const struct gr_device *const member = GRI_CONTAINER(link, struct gr_device, group_link);

        for (unsigned i = 0; i < member->config.reserved_count; i++) {
            if (!is_left_out(domain, &member->config.reserved[i]))
                return GR_EBUSY;
        }
    }
    return 0;
}
