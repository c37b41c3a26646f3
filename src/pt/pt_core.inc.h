/* SPDX-License-Identifier: MIT */
/*
 * The page-table engine. A format's .c file includes its codec (fmt/<name>.h) and then this file,
 * which defines the operations of that format and knows formats only by their codec. Functions on
 * the way of every map and unmap are compiled once more for each granule: they take the granule's
 * log2 as `g`, and are inlined where `g` is a constant, so that shifts and masks are constants.
 *
 * Hardware may walk between any two stores, and so may other CPUs. So a new table is zeroed and
 * made visible before its parent points to it, and leaves are stored into it later (docs/DESIGN.md
 * on the order of stores).
 *
 * Another CPU may be storing an entry above the leaves, so those are read by gri_pt_load(). A leaf
 * belongs to the caller that owns its IOVA. A table belongs to a caller that holds its whole span.
 *
 * In some formats an entry above the leaves may map a *block*, and a *group* of neighbouring
 * entries may be marked as contiguous. Both are written and cleared as a whole: see is_cut().
 */
#include "pt/pt_internal.h"

#ifndef GRI_FMT_NAME
#include "pt/fmt/dart1.h" /* lets an editor read this file alone */
#endif

#include "pt/pt_names.inc.h"

#ifndef GRI_PT_INLINE /* coverage counts each function once */
#define GRI_PT_INLINE __attribute__((always_inline))
#endif
#define GRI_PT_HOT static inline GRI_PT_INLINE
#define GRI_PT_COLD static __attribute__((noinline))

/* log2 of the bytes that one entry of a level spans. */
GRI_PT_HOT unsigned span_lg2(unsigned g, unsigned level)
{
    return g + level * (g - 3);
}

/* The index of `va` in a table below the root. The root's index is all bits above root_shift. */
GRI_PT_HOT size_t index_of(unsigned g, unsigned level, uint64_t va)
{
    return (size_t)(va >> span_lg2(g, level) & gri_mask(g - 3));
}

/* May an entry of this level, above the leaves, map a block? */
GRI_PT_HOT bool has_blocks(unsigned g, unsigned level)
{
    return gri_fmt_block_levels(g) >> level & 1;
}

/* Bytes of a group of this level, less 1; 0 where the level has no groups. */
GRI_PT_HOT uint64_t group_mask(unsigned g, unsigned level)
{
    const unsigned lg2 = gri_fmt_group_lg2(g, level);

    return lg2 ? gri_mask(span_lg2(g, level) + lg2) : 0;
}

GRI_PT_HOT uint64_t *table_of(const struct gr_pt *pt, unsigned g, uint64_t entry)
{
    return gr_port_phys_to_virt(pt->env, gri_fmt_pa(entry, g));
}

/* Write `count` entries back to memory, where the walker does not snoop. */
GRI_PT_HOT void clean(const struct gr_pt *pt, const uint64_t *first, size_t count)
{
    if (!pt->coherent)
        gr_port_cache(pt->env, first, count * sizeof(*first), GR_CACHE_CLEAN);
}

GRI_PT_HOT void store(const struct gr_pt *pt, uint64_t *slot, uint64_t entry)
{
    gr_port_table_store64(pt->env, slot, entry);
}

/* ---- Mirrors: foreign tables that lead to ours; walkers snoop, so nothing is cleaned ---- */

/* The entry for `va` at `level` in our own tables; NULL where a table above is missing. */
static const uint64_t *own_slot(const struct gr_pt *pt, unsigned level, uint64_t va)
{
    const uint64_t *slot = &pt->root[va >> pt->root_shift];

    for (unsigned at = pt->levels - 1u; at > level; at--) {
        const uint64_t entry = gri_pt_load(slot);

        if (!gri_fmt_is_table(entry))
            return NULL;
        slot = &table_of(pt, pt->granule_lg2, entry)[index_of(pt->granule_lg2, at - 1, va)];
    }
    return slot;
}

/* The mirror's foreign table of this level whose span holds `va`, or NULL. */
static const struct gri_pt_foreign *
foreign_of(const struct gr_pt *pt, const struct gr_pt_mirror *mirror, unsigned level, uint64_t va)
{
    const uint64_t span = gri_mask(span_lg2(pt->granule_lg2, level + 1));

    for (unsigned i = 0; i < mirror->count; i++) {
        if (mirror->table[i].level == level && mirror->table[i].va == (va & ~span))
            return &mirror->table[i];
    }
    return NULL;
}

/*
 * Bring entry `i` of the foreign table `t`, above the leaves, up to date. `ours`: the entry leads
 * to our table where we have one there; everywhere else it is what the owner had. An owner's entry
 * that leads to a table above the leaf tables stays: that table is foreign too, and leads to ours.
 */
static void reflect_entry(const struct gr_pt *pt, const struct gri_pt_foreign *t, size_t i,
                          bool ours)
{
    const uint64_t va = t->va + ((uint64_t)i << span_lg2(pt->granule_lg2, t->level));
    uint64_t entry = t->boot[i];

    if (t->level > 1 && gri_fmt_is_table(entry))
        return;
    if (ours && va <= pt->va_mask) {
        const uint64_t *const slot = own_slot(pt, t->level, va);

        if (slot && gri_fmt_is_table(gri_pt_load(slot)))
            entry = gri_pt_load(slot);
    }
    if (t->live[i] != entry)
        store(pt, &t->live[i], entry);
}

static void reflect_table(const struct gr_pt *pt, const struct gri_pt_foreign *t, bool ours)
{
    for (size_t i = 0; i < (size_t)1 << pt->index_bits; i++)
        reflect_entry(pt, t, i, ours);
}

static void fmt_reflect(const struct gr_pt *pt, const struct gr_pt_mirror *mirror, bool ours)
{
    for (unsigned i = 0; i < mirror->count; i++) {
        if (mirror->table[i].level)
            reflect_table(pt, &mirror->table[i], ours);
    }
}

/*
 * Our entry for `va` at `level`, above the leaves, has changed: bring the mirrors up to date. Where
 * the owner's entry leads to a foreign table one level down, our table for that span is new or
 * gone, and all entries of the foreign one follow. Mirrors are of DARTs, whose root is at level 2
 * at most, so one level down is enough.
 */
GRI_PT_COLD void reflect_change(const struct gr_pt *pt, unsigned level, uint64_t va)
{
    for (const struct gr_pt_mirror *m = pt->mirrors; m; m = m->next) {
        const struct gri_pt_foreign *t = foreign_of(pt, m, level, va);
        const size_t i =
            (size_t)(va >> span_lg2(pt->granule_lg2, level) & gri_mask(pt->index_bits));

        if (!t)
            continue; /* the mirror comes here through our tables */
        reflect_entry(pt, t, i, true);
        if (level > 1 && gri_fmt_is_table(t->boot[i])) {
            t = foreign_of(pt, m, level - 1, va);
            reflect_table(pt, t, true);
        }
    }
}

/* Store our entry for `va` at `level`, above the leaves; mirrors follow. */
GRI_PT_HOT void store_upper(const struct gr_pt *pt, uint64_t *slot, uint64_t entry, unsigned level,
                            uint64_t va)
{
    store(pt, slot, entry);
    clean(pt, slot, 1);
    if (__builtin_expect(pt->mirrors != NULL, 0))
        reflect_change(pt, level, va);
}

/* ---- Retired tables ---- */

/*
 * Put a table that no entry points to any more on the gather. Entry 0 links the retired tables. A
 * table's address is aligned, so a walker that still has a stale pointer to this table reads the
 * link as an entry that is not valid.
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
            at[level - 1] = table_of(pt, pt->granule_lg2, at[level][i]);
            next[level - 1] = 0;
            level--;
        } else {
            gather_table(pt, gather, at[level++]);
        }
    }
}

static void fmt_gather_all(struct gr_pt *pt, struct gr_pt_gather *gather)
{
    const uint64_t last = gri_mask(pt->va_bits) >> pt->root_shift;

    for (uint64_t i = 0; i <= last; i++) {
        if (gri_fmt_is_table(pt->root[i]))
            gather_tree(pt, table_of(pt, pt->granule_lg2, pt->root[i]), pt->levels - 2u, gather);
    }
}

/* ---- Walking down ---- */

/*
 * The lowest slot that exists for `va`, and its level. This needs no lock: a table is zeroed and
 * visible before its parent points to it, and no table above an IOVA that the caller owns is
 * retired.
 */
GRI_PT_HOT uint64_t *descend(const struct gr_pt *pt, unsigned g, uint64_t va, unsigned *out_level)
{
    uint64_t *slot = &pt->root[va >> pt->root_shift];
    uint64_t entry = gri_pt_load(slot);

    *out_level = pt->levels - 1u;
    if (!gri_fmt_is_table(entry))
        return slot;
    switch (pt->levels) {
    case 4:
        slot = &table_of(pt, g, entry)[index_of(g, 2, va)];
        entry = gri_pt_load(slot);
        *out_level = 2;
        if (!gri_fmt_is_table(entry))
            return slot;
        __attribute__((fallthrough));
    case 3:
        slot = &table_of(pt, g, entry)[index_of(g, 1, va)];
        entry = gri_pt_load(slot);
        *out_level = 1;
        if (!gri_fmt_is_table(entry))
            return slot;
        __attribute__((fallthrough));
    default:
        *out_level = 0;
        return &table_of(pt, g, entry)[index_of(g, 0, va)];
    }
}

/*
 * May a map descend without the lock? A map that returns promises that hardware reaches its leaves.
 * Where the walker does not snoop, another CPU may have stored the pointer to a table that it made,
 * and not cleaned that pointer yet. Where mirrors exist, it may not have stored the pointer in the
 * foreign table yet. Taking the lock waits for both.
 */
GRI_PT_HOT bool may_descend_unlocked(const struct gr_pt *pt)
{
    return pt->coherent && !__atomic_load_n(&pt->mirrors, __ATOMIC_RELAXED);
}

/* descend() for a map. */
GRI_PT_HOT uint64_t *find(struct gr_pt *pt, unsigned g, uint64_t va, unsigned *out_level)
{
    gr_lock_state_t state;
    uint64_t *slot;

    if (may_descend_unlocked(pt))
        return descend(pt, g, va, out_level);
    state = gr_port_lock(&pt->lock);
    slot = descend(pt, g, va, out_level);
    gr_port_unlock(&pt->lock, state);
    return slot;
}

/* The slot of `va` in a table of this level, below the root. */
static uint64_t *slot_in(const struct gr_pt *pt, uint64_t *table, unsigned level, uint64_t va)
{
    return &table[index_of(pt->granule_lg2, level, va)];
}

/*
 * Make the tables that are missing between `slot`, of level `top`, and the entry of level `bottom`
 * for `va`. The lock is held. The tables are made from the bottom up, and one store to `slot`
 * publishes all of them.
 */
static int make_tables(struct gr_pt *pt, uint64_t *slot, unsigned top, unsigned bottom, uint64_t va)
{
    uint64_t *child = NULL;

    for (unsigned level = bottom; level < top; level++) {
        uint64_t *const table =
            gr_port_pages_alloc(pt->env, pt->granule_lg2, pt->pa_mask, GR_PAGES_TABLE);

        if (!table) {
            while (level-- > bottom) { /* free those made: no entry of the tree points to them */
                uint64_t *const next =
                    level > bottom ? table_of(pt, pt->granule_lg2, *slot_in(pt, child, level, va))
                                   : NULL;

                gr_port_pages_free(pt->env, child, pt->granule_lg2);
                child = next;
            }
            return GR_ENOMEM;
        }
        if (child)
            store(pt, slot_in(pt, table, level, va),
                  gri_fmt_table(gr_port_virt_to_phys(pt->env, child)));
        clean(pt, table, (size_t)1 << pt->index_bits);
        child = table;
    }
    pt->tables += top - bottom;
    gr_port_wmb(); /* the new tables before the pointer to them */
    store_upper(pt, slot, gri_fmt_table(gr_port_virt_to_phys(pt->env, child)), top, va);
    return 0;
}

/*
 * Make the tables down to the entry of level `bottom` for `va`, unless another CPU has meanwhile.
 * GR_ENOMEM: nothing has changed.
 */
static int make_path(struct gr_pt *pt, uint64_t va, unsigned bottom)
{
    const gr_lock_state_t state = gr_port_lock(&pt->lock);
    unsigned level;
    uint64_t *const slot = descend(pt, pt->granule_lg2, va, &level);
    const int ret = level > bottom ? make_tables(pt, slot, level, bottom, va) : 0;

    gr_port_unlock(&pt->lock, state);
    return ret;
}

/* ---- Mapping ---- */

/* Write leaves into `count` slots, up to the first valid one. Returns how many were written. */
GRI_PT_HOT size_t fill(const struct gr_pt *pt, uint64_t *slot, size_t count, uint64_t entry,
                       uint64_t step)
{
    const uint64_t *const first = slot;
    const uint64_t *const end = slot + count;

    for (; end - slot >= 4; slot += 4) {
        if (gri_fmt_valid(slot[0] | slot[1] | slot[2] | slot[3]))
            break;
        store(pt, slot, entry);
        store(pt, slot + 1, entry + step);
        store(pt, slot + 2, entry + 2 * step);
        store(pt, slot + 3, entry + 3 * step);
        entry += 4 * step;
    }
    for (; slot < end && !gri_fmt_valid(*slot); slot++) {
        store(pt, slot, entry);
        entry += step;
    }
    return (size_t)(slot - first);
}

/*
 * fill() where IOVA and PA have the same offset in a group: a group that is empty, and written as a
 * whole, is marked as contiguous.
 */
GRI_PT_COLD size_t fill_groups(const struct gr_pt *pt, uint64_t *slot, size_t count,
                               unsigned group_lg2, uint64_t entry, uint64_t step)
{
    const size_t group = (size_t)1 << group_lg2;
    size_t done = 0;

    while (done < count) {
        uint64_t *const at = slot + done;
        const size_t in = (uintptr_t)at / sizeof(*at) & (group - 1);
        const size_t n = (size_t)gri_min(group - in, count - done);
        uint64_t live = 0;
        size_t written;

        for (size_t i = 0; i < n; i++)
            live |= at[i];
        written =
            fill(pt, at, n, entry | (n == group && !gri_fmt_valid(live) ? GRI_FMT_GROUP : 0), step);
        done += written;
        if (written < n)
            break;
        entry += n * step;
    }
    return done;
}

/* The leaf table that a map is in. */
struct place {
    uint64_t *table;
    uint64_t end;   /* of the table's span, exclusive; 0: none yet */
    uint64_t walks; /* from the root, to find tables */
};

/* What remains of a range that is being mapped: [va, last] to pa. */
struct remaining {
    uint64_t va, last;
    gr_pa_t pa;
};

/*
 * Map the start of `r` in one table of `level`, from `slot` on to the end of the table or of `r`,
 * and take what was mapped off `r`. False: a slot was valid.
 */
GRI_PT_HOT bool fill_level(const struct gr_pt *pt, unsigned g, unsigned level, uint64_t *slot,
                           struct remaining *r, uint64_t attrs)
{
    const unsigned lg2 = span_lg2(g, level);
    const uint64_t span = gri_mask(span_lg2(g, level + 1)); /* of the table, less 1 */
    const size_t count = (size_t)((gri_min(r->va | span, r->last) - r->va + 1) >> lg2);
    const uint64_t entry = gri_fmt_leaf(r->pa, attrs);
    const uint64_t step = gri_fmt_step((uint64_t)1 << lg2);
    const uint64_t group = group_mask(g, level);
    size_t n;

    if (group && r->last - r->va >= group && !((r->va ^ r->pa) & group))
        n = fill_groups(pt, slot, count, gri_fmt_group_lg2(g, level), entry, step);
    else
        n = fill(pt, slot, count, entry, step);
    if (n)
        clean(pt, slot, n);
    r->va += (uint64_t)n << lg2;
    r->pa += (uint64_t)n << lg2;
    return n == count;
}

/*
 * The start of `r` has no leaf table; its lowest slot is `slot`, of `level`. Map blocks there, or
 * make tables below. On 0, find() gets at least one level deeper, or `r` has shrunk.
 */
GRI_PT_COLD int map_above(struct gr_pt *pt, uint64_t *slot, unsigned level, struct remaining *r,
                          uint64_t attrs)
{
    const unsigned g = pt->granule_lg2;
    const uint64_t entry = gri_pt_load(slot); /* another CPU may have stored a table by now */
    unsigned best = level;

    if (gri_fmt_valid(entry) && !gri_fmt_is_table(entry))
        return GR_EEXIST; /* a block */
    for (; best; best--) {
        const uint64_t mask = gri_mask(span_lg2(g, best));

        if (has_blocks(g, best) && !((r->va | r->pa) & mask) && r->last - r->va >= mask)
            break;
    }
    if (best < level)
        return make_path(pt, r->va, best);
    (void)fill_level(pt, g, level, slot, r, attrs & ~GRI_FMT_LEAF_ONLY);
    return 0;
}

/* Map `r`; afterwards `r` is what was not mapped. */
GRI_PT_HOT int map_range(struct gr_pt *pt, unsigned g, struct place *at, struct remaining *r,
                         uint64_t attrs)
{
    for (;;) {
        if (__builtin_expect(r->va >= at->end, 0)) {
            unsigned level;
            uint64_t *const slot = find(pt, g, r->va, &level);

            if (__builtin_expect(level != 0, 0)) {
                const int ret = map_above(pt, slot, level, r, attrs);

                if (ret)
                    return ret;
                if (r->va > r->last)
                    return 0;
                continue;
            }
            at->table = slot - index_of(g, 0, r->va);
            at->end = (r->va | gri_mask(span_lg2(g, 1))) + 1;
            at->walks++;
        }
        if (!fill_level(pt, g, 0, &at->table[index_of(g, 0, r->va)], r, attrs))
            return GR_EEXIST;
        if (r->va > r->last)
            return 0;
    }
}

GRI_PT_HOT int map_hot(struct gr_pt *pt, unsigned g, uint64_t va, gr_pa_t pa, uint64_t len,
                       unsigned prot, uint64_t *out_done)
{
    const uint64_t attrs = gri_fmt_attrs(prot);
    struct place at = {NULL, 0, 0};
    struct remaining r = {va, va + len - 1, pa};
    unsigned level;
    uint64_t *slot;
    int ret;

    /* Fast path: one granule, and its leaf table is there. */
    if (len == (uint64_t)1 << g && may_descend_unlocked(pt)) {
        slot = descend(pt, g, va, &level);
        if (__builtin_expect(!level && !gri_fmt_valid(*slot), 1)) {
            store(pt, slot, gri_fmt_leaf(pa, attrs));
            gr_port_wmb(); /* the tables before the device is told the address */
            *out_done = len;
            return 0;
        }
    }
    ret = map_range(pt, g, &at, &r, attrs);
    gr_port_wmb(); /* as above */
    *out_done = r.va - va;
    return ret;
}

GRI_PT_HOT int map_segs_hot(struct gri_pt_cursor *c, unsigned g, uint64_t va,
                            const struct gr_seg *segs, unsigned count)
{
    struct gr_pt *const pt = c->pt;
    const uint64_t attrs = gri_fmt_attrs(c->prot);
    const uint64_t granule = (uint64_t)1 << g;
    const bool coherent = pt->coherent;
    const struct gr_seg *const end = segs + count;
    const uint64_t start = va;
    struct place at = {c->table, c->table_end, c->walks};
    int ret = 0;

    if (va >= at.end && may_descend_unlocked(pt)) { /* most lists find their leaf table */
        unsigned level;
        uint64_t *const slot = descend(pt, g, va, &level);

        if (__builtin_expect(!level, 1)) {
            at.table = slot - index_of(g, 0, va);
            at.end = (va | gri_mask(span_lg2(g, 1))) + 1;
            at.walks++;
        }
    }
    while (segs < end) {
        const gr_pa_t pa = segs->pa & ~(granule - 1);
        gr_pa_t next = segs->pa + segs->len;
        struct remaining r;

        while (++segs < end && segs->pa == next)
            next += segs->len;
        if (next - pa <= granule && va < at.end && coherent) { /* most runs: one granule */
            uint64_t *const slot = &at.table[index_of(g, 0, va)];

            if (!gri_fmt_valid(*slot)) {
                store(pt, slot, gri_fmt_leaf(pa, attrs));
                va += granule;
                continue;
            }
        }
        r = (struct remaining){va, va + ((next - 1 - pa) | (granule - 1)), pa};
        ret = map_range(pt, g, &at, &r, attrs);
        va = r.va;
        if (ret)
            break;
    }
    c->table = at.table;
    c->table_end = at.end;
    c->walks = at.walks;
    if (va != start)
        c->end = va;
    return ret;
}

#if GRI_FMT_WINDOWS
/* Map one leaf that lets through the bytes of `seg` only; `seg` lies in one granule. */
static int fmt_map_window(struct gri_pt_cursor *c, uint64_t va, const struct gr_seg *seg)
{
    struct gr_pt *const pt = c->pt;
    const unsigned g = pt->granule_lg2;
    const uint64_t first = seg->pa & pt->granule_mask;
    const uint64_t attrs = gri_fmt_window(gri_fmt_attrs(c->prot), g, first, first + seg->len - 1);
    struct place at = {c->table, c->table_end, c->walks};
    struct remaining r = {va, va + pt->granule_mask, seg->pa - first};
    const int ret = map_range(pt, g, &at, &r, attrs);

    c->table = at.table;
    c->table_end = at.end;
    c->walks = at.walks;
    if (!ret)
        c->end = r.va;
    return ret;
}
#endif

/* ---- Unmapping ---- */

/* Would the edge between `va` - 1 and `va` cut what `entry`, of `level`, maps? */
GRI_PT_HOT bool cuts(unsigned g, unsigned level, uint64_t entry, uint64_t va)
{
    const uint64_t mask =
        entry & GRI_FMT_GROUP ? group_mask(g, level) : gri_mask(span_lg2(g, level));

    return gri_fmt_valid(entry) && (va & mask);
}

/*
 * Is the edge between two granules inside a block or a group? `va`, on one side of the edge, is an
 * IOVA that the caller owns. Another CPU may be retiring the tables on the other side.
 */
static bool is_cut(const struct gr_pt *pt, uint64_t va, uint64_t edge)
{
    const unsigned g = pt->granule_lg2;
    unsigned level;

    if (!gri_fmt_block_levels(g))
        return false;
    const uint64_t *const slot = descend(pt, g, va, &level);

    return cuts(g, level, gri_pt_load(slot), edge);
}

GRI_PT_HOT void clear(const struct gr_pt *pt, uint64_t *slot, size_t count)
{
    uint64_t *const end = slot + count;

    for (; end - slot >= 4; slot += 4) {
        store(pt, slot, 0);
        store(pt, slot + 1, 0);
        store(pt, slot + 2, 0);
        store(pt, slot + 3, 0);
    }
    for (; slot < end; slot++)
        store(pt, slot, 0);
}

/*
 * Retire tables on the path of `va`, from the one that slot[from] points to upwards: slot[level] is
 * the entry of `level` for `va`. A table goes if its whole span lies in `retire`, and if the chunk
 * that ends at `chunk_last` is the last one that the unmap clears in it.
 */
static void retire_path(struct gr_pt *pt, uint64_t *const *slot, unsigned from, uint64_t va,
                        bool is_last, uint64_t chunk_last, struct gr_range retire,
                        struct gr_pt_gather *gather)
{
    for (unsigned level = from; level < pt->levels; level++) {
        const uint64_t span = gri_mask(span_lg2(pt->granule_lg2, level));

        if (!gri_range_contains(&retire, va & ~span, va | span) ||
            !(is_last || chunk_last == (va | span)))
            return;
        uint64_t *const table = table_of(pt, pt->granule_lg2, *slot[level]);

        store_upper(pt, slot[level], 0, level, va);
        gather_tree(pt, table, level - 1, gather);
    }
}

/* Write the slot of `va` at every level, as far down as there are tables; returns the lowest. */
static unsigned path(const struct gr_pt *pt, uint64_t va, uint64_t **slot)
{
    unsigned level = pt->levels - 1u;

    slot[level] = &pt->root[va >> pt->root_shift];
    for (; level; level--) {
        const uint64_t entry = gri_pt_load(slot[level]);

        if (!gri_fmt_is_table(entry))
            break;
        slot[level - 1] = slot_in(pt, table_of(pt, pt->granule_lg2, entry), level - 1, va);
    }
    return level;
}

/* Slow path: any range, and tables may be retired. */
GRI_PT_COLD int unmap_any(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_range retire,
                          struct gr_pt_gather *gather)
{
    const unsigned g = pt->granule_lg2;

    if (is_cut(pt, va, va) || is_cut(pt, last, last + 1))
        return GR_EMSGSIZE;
    for (;;) {
        uint64_t *slot[GR_PT_MAX_LEVELS] = {NULL};
        const unsigned level = path(pt, va, slot);
        const uint64_t chunk_last = gri_min(va | gri_mask(span_lg2(g, level ? level : 1)), last);

        if (!level || gri_fmt_valid(*slot[level])) {
            const size_t count = (size_t)((chunk_last - va) >> span_lg2(g, level)) + 1;

            clear(pt, slot[level], count);
            clean(pt, slot[level], count);
        }
        retire_path(pt, slot, level + 1, va, chunk_last == last, chunk_last, retire, gather);
        if (chunk_last == last)
            return 0;
        va = chunk_last + 1;
    }
}

GRI_PT_HOT int unmap_hot(struct gr_pt *pt, unsigned g, uint64_t va, uint64_t last,
                         struct gr_range retire, struct gr_pt_gather *gather)
{
    const uint64_t span = gri_mask(span_lg2(g, 1));
    const size_t count = (size_t)((last - va) >> g) + 1;
    unsigned level;
    uint64_t *const slot = descend(pt, g, va, &level);

    if (__builtin_expect(level != 0 || (va | span) < last ||
                             gri_range_contains(&retire, va & ~span, va | span),
                         0))
        return unmap_any(pt, va, last, retire, gather);
    if (group_mask(g, 0) && (cuts(g, 0, slot[0], va) || cuts(g, 0, slot[count - 1], last + 1)))
        return GR_EMSGSIZE;
    clear(pt, slot, count);
    clean(pt, slot, count);
    return 0;
}

/*
 * Take out every table whose span lies in [va, last], from the top down. A span may reach beyond
 * the last IOVA that va_bits can express. Nothing is mapped there, so a range that ends with that
 * IOVA reaches as far as any span.
 */
static void fmt_retire(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_pt_gather *gather)
{
    const unsigned g = pt->granule_lg2;
    const uint64_t first = va;
    const uint64_t reach = last == gri_mask(pt->va_bits) ? UINT64_MAX : last;

    for (;;) {
        unsigned level = pt->levels - 1u;
        uint64_t *slot = &pt->root[va >> pt->root_shift];
        uint64_t span = gri_mask(pt->root_shift); /* of the slot, less 1 */

        while (level && gri_fmt_is_table(gri_pt_load(slot))) {
            uint64_t *const table = table_of(pt, g, *slot);

            level--;
            if ((va & ~span) >= first && (va | span) <= reach) {
                store_upper(pt, slot, 0, level + 1, va);
                gather_tree(pt, table, level, gather);
                break;
            }
            slot = slot_in(pt, table, level, va);
            if (level)
                span = gri_mask(span_lg2(g, level));
        }
        if ((va | span) >= last)
            break;
        va = (va | span) + 1;
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
    const unsigned g = pt->granule_lg2;

    for (;;) {
        uint64_t *slot[GR_PT_MAX_LEVELS] = {NULL};
        unsigned level = path(pt, va, slot);
        const uint64_t chunk_last = va | gri_mask(span_lg2(g, level ? level : 1));

        /* Take out empty tables, upwards. A table is read only once: when the loop leaves it. */
        while (++level < pt->levels &&
               (chunk_last >= last || chunk_last == (va | gri_mask(span_lg2(g, level))))) {
            uint64_t *const table = table_of(pt, g, *slot[level]);

            if (!table_is_empty(pt, table))
                break;
            store_upper(pt, slot[level], 0, level, va);
            gather_table(pt, gather, table);
        }
        if (chunk_last >= last)
            return;
        va = chunk_last + 1;
    }
}

/* ---- Questions ---- */

static int fmt_check_mapped(const struct gr_pt *pt, uint64_t va, uint64_t last)
{
    const unsigned g = pt->granule_lg2;

    if (is_cut(pt, va, va) || is_cut(pt, last, last + 1))
        return GR_EMSGSIZE;
    for (;;) {
        unsigned level;
        const uint64_t *slot = descend(pt, g, va, &level);
        const uint64_t chunk_last = gri_min(va | gri_mask(span_lg2(g, level ? level : 1)), last);

        for (uint64_t at = va; at <= chunk_last; at += (uint64_t)1 << span_lg2(g, level)) {
            if (!gri_fmt_valid(gri_pt_load(slot++)))
                return GR_ENOENT;
        }
        if (chunk_last == last)
            return 0;
        va = chunk_last + 1;
    }
}

GRI_PT_HOT int to_phys_hot(const struct gr_pt *pt, unsigned g, uint64_t va, gr_pa_t *out_pa)
{
    unsigned level;
    const uint64_t entry = gri_pt_load(descend(pt, g, va, &level));
    const unsigned lg2 = span_lg2(g, level);

    if (!gri_fmt_valid(entry))
        return GR_ENOENT;
    *out_pa = gri_fmt_pa(entry, lg2) | (va & gri_mask(lg2));
    return 0;
}

static int fmt_walk(const struct gr_pt *pt, uint64_t va, struct gr_pt_walk *out)
{
    const unsigned g = pt->granule_lg2;
    uint64_t *table = pt->root;
    uint64_t *slot = &table[va >> pt->root_shift];
    gr_pa_t table_pa = pt->root_pa;

    out->steps = 0;
    for (unsigned level = pt->levels - 1u;; level--) {
        const uint64_t entry = gri_pt_load(slot);
        const unsigned lg2 = span_lg2(g, level);

        out->step[out->steps].level = level;
        out->step[out->steps].entry_pa = table_pa + (uint64_t)(slot - table) * sizeof(*slot);
        out->step[out->steps].entry = entry;
        out->steps++;
        if (!gri_fmt_valid(entry))
            return GR_ENOENT;
        if (!level || !gri_fmt_is_table(entry)) {
            out->pa = gri_fmt_pa(entry, lg2) | (va & gri_mask(lg2));
            out->prot = gri_fmt_prot(entry);
            out->window = gri_fmt_leaf_window(entry, g);
            return 0;
        }
        table_pa = gri_fmt_pa(entry, g);
        table = table_of(pt, g, entry);
        slot = slot_in(pt, table, level - 1, va);
    }
}

/* ---- Firmware's entries; walkers snoop, so nothing is cleaned ---- */

static bool fmt_decode(uint64_t entry, unsigned granule_lg2, gr_pa_t *out_pa)
{
    *out_pa = gri_fmt_pa(entry, granule_lg2);
    return gri_fmt_valid(entry);
}

static int fmt_import(struct gr_pt *pt, uint64_t va, uint64_t leaf)
{
    unsigned level;
    uint64_t *slot = descend(pt, pt->granule_lg2, va, &level);

    if (level) {
        const int ret = make_path(pt, va, 0);

        if (ret)
            return ret;
        slot = descend(pt, pt->granule_lg2, va, &level);
    }
    if (gri_fmt_valid(*slot))
        return *slot == leaf ? 0 : GR_EEXIST;
    store(pt, slot, leaf);
    return 0;
}

/* ---- The operations, for each granule ---- */

#define GRI_PT_OPS_FUNCTIONS(g)                                                                    \
    static int map_##g(struct gr_pt *pt, uint64_t va, gr_pa_t pa, uint64_t len, unsigned prot,     \
                       uint64_t *out_done)                                                         \
    {                                                                                              \
        return map_hot(pt, g, va, pa, len, prot, out_done);                                        \
    }                                                                                              \
    static int map_segs_##g(struct gri_pt_cursor *cursor, uint64_t va, const struct gr_seg *segs,  \
                            unsigned count)                                                        \
    {                                                                                              \
        return map_segs_hot(cursor, g, va, segs, count);                                           \
    }                                                                                              \
    static int unmap_##g(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_range retire,     \
                         struct gr_pt_gather *gather)                                              \
    {                                                                                              \
        return unmap_hot(pt, g, va, last, retire, gather);                                         \
    }                                                                                              \
    static int to_phys_##g(const struct gr_pt *pt, uint64_t va, gr_pa_t *out_pa)                   \
    {                                                                                              \
        return to_phys_hot(pt, g, va, out_pa);                                                     \
    }

#define GRI_PT_OPS(g)                                                                              \
    {                                                                                              \
        .map = map_##g, .map_segs = map_segs_##g, .unmap = unmap_##g, .to_phys = to_phys_##g,      \
        .retire = fmt_retire, .trim = fmt_trim, .check_mapped = fmt_check_mapped,                  \
        .walk = fmt_walk, .gather_all = fmt_gather_all, .map_window = GRI_PT_MAP_WINDOW,           \
        .decode = fmt_decode, .import = fmt_import, .reflect = fmt_reflect,                        \
    }

#if GRI_FMT_WINDOWS
#define GRI_PT_MAP_WINDOW fmt_map_window
#else
#define GRI_PT_MAP_WINDOW NULL
#endif

GRI_PT_OPS_FUNCTIONS(12)
GRI_PT_OPS_FUNCTIONS(14)
#if GRI_FMT_GRANULES == 3
GRI_PT_OPS_FUNCTIONS(16)
#endif

const struct gri_pt_format GRI_FMT_JOIN(gri_pt, GRI_FMT_NAME) = {
    .levels_max = GRI_FMT_LEVELS_MAX,
    .roots_lg2_max = GRI_FMT_ROOTS_LG2_MAX,
    .root_align_lg2 = GRI_FMT_ROOT_ALIGN_LG2,
    .va_bits_min = GRI_FMT_VA_BITS_MIN,
    .va_bits_max = GRI_FMT_VA_BITS_MAX,
    .levels_follow_va = GRI_FMT_LEVELS_FOLLOW_VA,
    .va_within_pa = GRI_FMT_VA_WITHIN_PA,
    .pa_bits = GRI_FMT_PA_BITS,
    .windows = GRI_FMT_WINDOWS,
    .granules = GRI_FMT_GRANULES,
    .ops =
        {
            GRI_PT_OPS(12),
            GRI_PT_OPS(14),
#if GRI_FMT_GRANULES == 3
            GRI_PT_OPS(16),
#endif
        },
};

#include "pt/pt_names.inc.h"
