/* SPDX-License-Identifier: MIT */
/*
 * The page-table engine. A format's .c file includes its codec (fmt/<name>.h) and then this file,
 * which defines the operations of one format; nothing here knows which.
 *
 * Hardware may walk between any two stores, and so may other CPUs. So: a new table is zeroed, made
 * visible, and only then hung into its parent (DESIGN "Store order"); its entries come after that.
 *
 * Entries above the leaves that others may be making at the same time are read by gri_pt_load().
 * Leaves are the caller's alone, as far as its IOVAs are, and so is a table whose span it holds.
 */
#include "pt/pt_internal.h"

#ifndef GRI_FMT_NAME
#include "pt/fmt/dart1.h" /* so that an editor can read this file alone */
#endif

static uint64_t *slot_of(const struct gr_pt *pt, uint64_t *table, unsigned level, uint64_t va)
{
    uint64_t index = va >> gri_pt_shift(pt, level);

    if (level + 1 < pt->levels) /* the root's index is all the bits that are left */
        index &= gri_mask(pt->index_bits);
    return &table[index];
}

static uint64_t *table_of(const struct gr_pt *pt, uint64_t entry)
{
    return gr_port_phys_to_virt(pt->env, gri_fmt_pa(entry, pt->granule_lg2));
}

/* Make stores to [first, first + count) leave the CPU where the walker does not snoop. */
static void clean(const struct gr_pt *pt, const uint64_t *first, size_t count)
{
    if (!pt->coherent)
        gr_port_cache(pt->env, first, count * sizeof(*first), GR_CACHE_CLEAN);
}

static void store(const struct gr_pt *pt, uint64_t *slot, uint64_t entry)
{
    gr_port_table_store64(pt->env, slot, entry);
}

/*
 * Take a table out of the tree. Links run through entry 0 of the retired tables: a table's address
 * is aligned, so the link reads as "not valid" to a walker that still holds a stale pointer here.
 */
static void gather_table(const struct gr_pt *pt, struct gr_pt_gather *gather, uint64_t *table)
{
    store(pt, table, (uintptr_t)gather->head);
    gather->head = table;
    gather->count++;
}

/* Gather `table`, of level `top`, and every table below it. */
static void gather_tree(const struct gr_pt *pt, uint64_t *table, unsigned top,
                        struct gr_pt_gather *gather)
{
    const size_t entries = (size_t)1 << pt->index_bits;
    uint64_t *at[GR_PT_MAX_LEVELS] = {NULL};
    size_t next[GR_PT_MAX_LEVELS] = {0};
    unsigned level = top;

    at[level] = table;
    while (level <= top) {
        size_t i = level ? next[level] : entries;

        while (i < entries && !gri_fmt_is_table(at[level][i]))
            i++;
        if (i < entries) {
            next[level] = i + 1;
            at[level - 1] = table_of(pt, at[level][i]);
            next[level - 1] = 0;
            level--;
        } else {
            gather_table(pt, gather, at[level++]);
        }
    }
}

static void fmt_gather_all(struct gr_pt *pt, struct gr_pt_gather *gather)
{
    const uint64_t last = gri_mask(pt->va_bits) >> gri_pt_shift(pt, pt->levels - 1u);

    for (uint64_t i = 0; i <= last; i++) {
        if (gri_fmt_is_table(pt->root[i]))
            gather_tree(pt, table_of(pt, pt->root[i]), pt->levels - 2u, gather);
    }
}

/*
 * Hang what is missing between `slot`, of `level`, and the leaf table of `va` into the tree; the
 * lock is held. From the leaf table up, nothing of it is visible until the last store.
 */
static int make_tables(struct gr_pt *pt, uint64_t *slot, unsigned level, uint64_t va)
{
    uint64_t *child = NULL;

    for (unsigned below = 0; below < level; below++) {
        uint64_t *const table =
            gr_port_pages_alloc(pt->env, pt->granule_lg2, gri_mask(pt->pa_bits), GR_PAGES_TABLE);

        if (!table) {
            while (below--) { /* nobody has seen them */
                uint64_t *const next = below ? table_of(pt, *slot_of(pt, child, below, va)) : NULL;

                gr_port_pages_free(pt->env, child, pt->granule_lg2);
                child = next;
            }
            return GR_ENOMEM;
        }
        if (child)
            store(pt, slot_of(pt, table, below, va),
                  gri_fmt_table(gr_port_virt_to_phys(pt->env, child)));
        clean(pt, table, (size_t)1 << pt->index_bits);
        child = table;
    }
    pt->tables += level;
    gr_port_wmb(); /* the new tables before the pointer to them */
    store(pt, slot, gri_fmt_table(gr_port_virt_to_phys(pt->env, child)));
    clean(pt, slot, 1);
    return 0;
}

/*
 * The lowest slot that there is for `va`. A table is published once it is zeroed and visible, so no
 * lock is needed to go down, and whatever is below a table that the caller has IOVAs in stays.
 */
static uint64_t *descend(const struct gr_pt *pt, uint64_t va, unsigned *out_level)
{
    uint64_t *slot = slot_of(pt, pt->root, pt->levels - 1u, va);
    unsigned level = pt->levels - 1u;

    while (level) {
        const uint64_t entry = gri_pt_load(slot);

        if (!gri_fmt_is_table(entry))
            break;
        slot = slot_of(pt, table_of(pt, entry), --level, va);
    }
    *out_level = level;
    return slot;
}

/*
 * Make the tables down to the leaf of `va`, unless somebody else has meanwhile. On failure nothing
 * has changed.
 */
static int make_path(struct gr_pt *pt, uint64_t va)
{
    const gr_lock_state_t state = gr_port_lock(&pt->lock);
    unsigned level;
    uint64_t *const slot = descend(pt, va, &level);
    const int ret = level ? make_tables(pt, slot, level, va) : 0;

    gr_port_unlock(&pt->lock, state);
    return ret;
}

/*
 * Move the cursor to the leaf table of `va`, made if missing. Where the walker does not snoop, the
 * lock is taken also to find one: whoever made it may have stored the pointer and not cleaned it.
 */
static int seek(struct gri_pt_cursor *c, uint64_t va)
{
    struct gr_pt *const pt = c->pt;
    unsigned level = 0;
    uint64_t *slot = NULL;

    c->walks++;
    if (pt->coherent)
        slot = descend(pt, va, &level);
    if (!slot || level) {
        const int ret = make_path(pt, va);

        if (ret) {
            c->table = NULL;
            return ret;
        }
        slot = descend(pt, va, &level);
    }
    c->table = slot - (va >> pt->granule_lg2 & gri_mask(pt->index_bits));
    c->table_last = va | gri_mask(gri_pt_shift(pt, 1));
    return 0;
}

static int fmt_map_runs(struct gri_pt_cursor *c, const struct gri_pt_run *runs, unsigned count)
{
    const struct gr_pt *const pt = c->pt;
    const uint64_t attrs = gri_fmt_attrs(c->prot);
    const uint64_t granule = (uint64_t)1 << pt->granule_lg2;

    for (const struct gri_pt_run *run = runs; run < runs + count; run++) {
        const uint64_t last = run->va + run->len - 1;
        uint64_t va = run->va;
        gr_pa_t pa = run->pa;

        for (;;) {
            uint64_t *slot;
            const uint64_t *first;
            uint64_t chunk_last;

            if (!c->table || va > c->table_last) {
                const int ret = seek(c, va);

                if (ret)
                    return ret;
            }
            chunk_last = gri_min(c->table_last, last);
            slot = slot_of(pt, c->table, 0, va);
            for (first = slot; va <= chunk_last && !gri_fmt_valid(*slot); slot++) {
                store(pt, slot, gri_fmt_leaf(pa, attrs));
                pa += granule;
                va += granule;
            }
            if (slot > first) {
                clean(pt, first, (size_t)(slot - first));
                c->end = va;
            }
            if (va <= chunk_last)
                return GR_EEXIST;
            if (chunk_last == last)
                break;
        }
    }
    return 0;
}

/*
 * Retire the tables above and at the leaf that `va` has walked through, slot[level] being the entry
 * that points to the table of level - 1, as far as their spans lie in `retire` and this call will
 * not come back to them.
 */
static void retire_path(struct gr_pt *pt, uint64_t *const *slot, unsigned from, uint64_t va,
                        bool is_last, uint64_t chunk_last, struct gr_range retire,
                        struct gr_pt_gather *gather)
{
    for (unsigned level = from; level < pt->levels; level++) {
        const uint64_t span = gri_mask(gri_pt_shift(pt, level));

        if (!gri_range_contains(&retire, va & ~span, va | span) ||
            !(is_last || chunk_last == (va | span)))
            return;
        uint64_t *const table = table_of(pt, *slot[level]);

        store(pt, slot[level], 0);
        clean(pt, slot[level], 1);
        gather_tree(pt, table, level - 1, gather);
    }
}

static void fmt_unmap(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_range retire,
                      struct gr_pt_gather *gather)
{
    for (;;) {
        uint64_t *slot[GR_PT_MAX_LEVELS] = {NULL};
        uint64_t *table = pt->root;
        unsigned level = pt->levels - 1u;
        uint64_t chunk_last;

        for (;; level--) {
            uint64_t entry;

            slot[level] = slot_of(pt, table, level, va);
            if (!level)
                break;
            entry = gri_pt_load(slot[level]);
            if (!gri_fmt_is_table(entry))
                break;
            table = table_of(pt, entry);
        }
        chunk_last = gri_min(va | gri_mask(gri_pt_shift(pt, level ? level : 1)), last);
        if (!level) {
            const size_t count = (size_t)((chunk_last - va) >> pt->granule_lg2) + 1;

            for (size_t i = 0; i < count; i++)
                store(pt, slot[0] + i, 0);
            clean(pt, slot[0], count);
        }
        retire_path(pt, slot, level + 1, va, chunk_last == last, chunk_last, retire, gather);
        if (chunk_last == last)
            break;
        va = chunk_last + 1;
    }
}

/* Is no entry of a table valid? */
static bool table_is_empty(const struct gr_pt *pt, const uint64_t *table)
{
    for (size_t i = 0; i < (size_t)1 << pt->index_bits; i++) {
        if (gri_fmt_valid(table[i]))
            return false;
    }
    return true;
}

static void fmt_trim(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_pt_gather *gather)
{
    for (;;) {
        uint64_t *slot[GR_PT_MAX_LEVELS] = {NULL};
        uint64_t *table = pt->root;
        unsigned level = pt->levels - 1u;
        uint64_t chunk_last;

        for (; level; level--) {
            slot[level] = slot_of(pt, table, level, va);
            if (!gri_fmt_is_table(*slot[level]))
                break;
            table = table_of(pt, *slot[level]);
        }
        chunk_last = va | gri_mask(gri_pt_shift(pt, level ? level : 1));
        /*
         * `table` is the lowest there is on this path: take out what is empty, upwards; but look at
         * a table only once, on leaving it
         */
        while (++level < pt->levels &&
               (chunk_last >= last || chunk_last == (va | gri_mask(gri_pt_shift(pt, level)))) &&
               table_is_empty(pt, table)) {
            store(pt, slot[level], 0);
            clean(pt, slot[level], 1);
            gather_table(pt, gather, table);
            if (level + 1 < pt->levels)
                table = table_of(pt, *slot[level + 1]);
        }
        if (chunk_last >= last)
            break;
        va = chunk_last + 1;
    }
}

static int fmt_check_mapped(const struct gr_pt *pt, uint64_t va, uint64_t last)
{
    for (;;) {
        uint64_t *table = pt->root;
        uint64_t chunk_last;

        for (unsigned level = pt->levels - 1u; level; level--) {
            const uint64_t entry = gri_pt_load(slot_of(pt, table, level, va));

            if (!gri_fmt_is_table(entry))
                return GR_ENOENT;
            table = table_of(pt, entry);
        }
        chunk_last = gri_min(va | gri_mask(gri_pt_shift(pt, 1)), last);
        for (const uint64_t *slot = slot_of(pt, table, 0, va);
             slot <= slot_of(pt, table, 0, chunk_last); slot++) {
            if (!gri_fmt_valid(*slot))
                return GR_ENOENT;
        }
        if (chunk_last == last)
            return 0;
        va = chunk_last + 1;
    }
}

static int fmt_walk(const struct gr_pt *pt, uint64_t va, struct gr_pt_walk *out)
{
    uint64_t *table = pt->root;
    gr_pa_t table_pa = pt->root_pa;

    out->steps = 0;
    for (unsigned level = pt->levels - 1u;; level--) {
        const uint64_t *const slot = slot_of(pt, table, level, va);
        const uint64_t entry = gri_pt_load(slot);

        out->step[out->steps].level = level;
        out->step[out->steps].entry_pa = table_pa + (uint64_t)(slot - table) * sizeof(*slot);
        out->step[out->steps].entry = entry;
        out->steps++;
        if (!gri_fmt_valid(entry))
            return GR_ENOENT;
        if (!level) {
            out->pa = gri_fmt_pa(entry, pt->granule_lg2) | (va & gri_mask(pt->granule_lg2));
            out->prot = gri_fmt_prot(entry);
            out->window = gri_fmt_leaf_window(entry, pt->granule_lg2);
            return 0;
        }
        table_pa = gri_fmt_pa(entry, pt->granule_lg2);
        table = table_of(pt, entry);
    }
}

#define GRI_PT_OPS_NAME_(fmt) gri_pt_##fmt##_ops
#define GRI_PT_OPS_NAME(fmt) GRI_PT_OPS_NAME_(fmt)

const struct gr_pt_ops GRI_PT_OPS_NAME(GRI_FMT_NAME) = {
    .levels_max = GRI_FMT_LEVELS_MAX,
    .root_align_lg2 = GRI_FMT_ROOT_ALIGN_LG2,
    .pa_bits_max = GRI_FMT_PA_BITS_MAX,
    .map_runs = fmt_map_runs,
    .unmap = fmt_unmap,
    .trim = fmt_trim,
    .check_mapped = fmt_check_mapped,
    .walk = fmt_walk,
    .gather_all = fmt_gather_all,
};
