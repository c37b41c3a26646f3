/* SPDX-License-Identifier: MIT */
/*
 * The IOVA allocator. See iova.h for the contract, iova_internal.h for the core, and iova_arena.h
 * for the arenas in front of the core and the locking.
 */
#include "iova/iova_arena.h"

#include "core/mem.h"

#define PAGE_LG2 12u

/* `base` of a slot without a current arena: no unit begins a whole number of units above it. */
#define NO_BASE 1u

/* Kept out of line so that the fast path spills no registers. */
#define COLD __attribute__((noinline))

/* How many arenas one search() tries. */
#define ARENA_TRIES 8u

/* How many arenas at the upper end of a request's limits are scanned before it fails. */
#define EDGE_ARENAS 8u

/* ---- Bytes and units ---- */

/* The number of the first unit that starts at or above the byte `first`. */
static uint64_t unit_from(const struct gr_iova *space, uint64_t first)
{
    return (first >> space->unit_lg2) + !!(first & gri_iova_unit_mask(space));
}

/* The number of whole units at or below the byte `last`. */
static uint64_t unit_end(const struct gr_iova *space, uint64_t last)
{
    uint64_t mask = gri_iova_unit_mask(space);

    return (last >> space->unit_lg2) + ((last & mask) == mask);
}

static uint64_t bytes(const struct gr_iova *space, uint64_t units)
{
    return units <= UINT64_MAX >> space->unit_lg2 ? units << space->unit_lg2 : UINT64_MAX;
}

/* True of 0 too. */
static bool is_pow2(uint64_t x)
{
    return !(x & (x - 1));
}

static int want_from(const struct gr_iova *space, const struct gr_iova_req *req,
                     struct gri_iova_want *want)
{
    if (!req->size)
        return GR_ENODATA;
    if (req->size & gri_iova_unit_mask(space) || (req->align && !is_pow2(req->align)) ||
        (req->boundary && (!is_pow2(req->boundary) || req->boundary < req->size)))
        return GR_EINVAL;

    const uint64_t last = req->last ? req->last : UINT64_MAX;

    *want = (struct gri_iova_want){
        .units = req->size >> space->unit_lg2,
        .align = gri_max(req->align >> space->unit_lg2, 1),
        .boundary = req->boundary >> space->unit_lg2,
        .first = gri_max(unit_from(space, req->first), space->first),
        .end = gri_min(unit_end(space, last), space->end),
    };
    return want->first < want->end ? 0 : GR_ERANGE;
}

/*
 * Small enough for an arena? A boundary of an arena's size or more is never crossed inside one.
 */
static bool for_arenas(const struct gr_iova *space, const struct gri_iova_want *want)
{
    const uint64_t most = gri_arena_units(space) / 4;

    return want->units <= most && want->align <= most &&
           (!want->boundary || want->boundary >= gri_arena_units(space));
}

/* ---- Slots ---- */

/*
 * A slot whose lock is held. `own`: the current arena and the slot's hole may be touched as well.
 * That takes the exclusive section of the slot's CPU or, in a port without sections, the lock
 * alone.
 */
struct visit {
    struct gr_iova_slot *slot;
    gr_lock_state_t state;
    gr_exclusive_t section;
    bool own;
};

/* Enter the exclusive section if this is the slot's CPU. Not while in a section. */
static void section_enter(struct visit *v)
{
    v->own = true;
#if GRI_IOVA_EXCLUSIVE
    v->section = gr_port_exclusive_enter();
    v->own = gr_port_cpu() == v->slot->cpu;
    if (!v->own)
        gr_port_exclusive_leave(v->section);
#endif
}

/* Leave the section and keep the lock: before taking the space's lock or allocating pages. */
static void section_leave(struct visit *v)
{
#if GRI_IOVA_EXCLUSIVE
    if (v->own)
        gr_port_exclusive_leave(v->section);
#endif
    v->own = false;
}

static struct visit slot_enter(struct gr_iova_slot *slot)
{
    struct visit v = {.slot = slot, .state = gr_port_lock(&slot->lock)};

    section_enter(&v);
    return v;
}

static void slot_leave(struct visit *v)
{
    section_leave(v);
    gr_port_unlock(&v->slot->lock, v->state);
}

static struct gr_iova_slot *slot_of(const struct gr_iova *space, unsigned cpu)
{
    struct gr_iova_slot **const slots = __atomic_load_n(&space->slots, __ATOMIC_ACQUIRE);

    return slots ? __atomic_load_n(&slots[cpu % GR_PORT_CPUS], __ATOMIC_ACQUIRE) : NULL;
}

/* ---- Bins; the slot's lock is held ---- */

/* The bin of an arena that has a range and whose longest hole has `len` units, at least 1. */
static unsigned bin_of(unsigned len)
{
    if (len < 16)
        return len - 1;

    const unsigned lg2 = gri_high_bit(len);

    return lg2 < 9 ? 15 + (lg2 - 4) * 8 + (len >> (lg2 - 3) & 7) : GRI_BIN_LONG;
}

static void bin_remove(struct gr_iova_slot *slot, struct gr_iova_arena *arena)
{
    if (arena->bin == GRI_BIN_NONE)
        return;
    if (arena->next)
        arena->next->prev = arena->prev;
    if (arena->prev)
        arena->prev->next = arena->next;
    else
        slot->bin[arena->bin] = arena->next;
    if (!slot->bin[arena->bin])
        slot->bins &= ~((uint64_t)1 << arena->bin);
    arena->bin = GRI_BIN_NONE;
}

/* No hole of a parked arena is longer. */
static unsigned longest(const struct gr_iova_arena *arena)
{
    return arena->hole > arena->rest ? arena->hole : arena->rest;
}

/* Move a parked arena to the bin that its holes ask for; a full arena is in none. */
static void bin_update(const struct gr_iova *space, struct gr_iova_slot *slot,
                       struct gr_iova_arena *arena)
{
    const unsigned bin = arena->hole == gri_arena_units(space) ? GRI_BIN_EMPTY
                         : longest(arena)                      ? bin_of(longest(arena))
                                                               : GRI_BIN_NONE;

    if (bin == arena->bin)
        return;
    bin_remove(slot, arena);
    arena->bin = (uint16_t)bin;
    if (bin == GRI_BIN_NONE)
        return;
    arena->prev = NULL;
    arena->next = slot->bin[bin];
    if (arena->next)
        arena->next->prev = arena;
    slot->bin[bin] = arena;
    slot->bins |= (uint64_t)1 << bin;
}

/* ---- Within one arena ---- */

/* Mark a new range at the top of a joined hole, whose end has a mark already. */
static inline __attribute__((always_inline)) void mark_live(struct gr_iova_arena *arena,
                                                            unsigned at, unsigned units)
{
    gri_mark_new(arena, at, GRI_LIVE);
    gri_count_up(&arena->busy, units);
}

/* Mark a new range anywhere in a joined hole. What is left above it becomes another hole. */
static void mark_live_inside(const struct gr_iova *space, struct gr_iova_arena *arena, unsigned at,
                             unsigned units)
{
    const unsigned end = at + units;

    if (end < gri_arena_units(space) && gri_mark(arena, end) == GRI_NONE)
        gri_mark_new(arena, end, GRI_HOLE);
    mark_live(arena, at, units);
}

/*
 * The first unit of the first hole from `at` on; `units` if there is none. `at` is 0 or the end of
 * a range.
 */
static unsigned hole_next(const struct gr_iova_arena *arena, unsigned units, unsigned at)
{
    return !at && !gri_is_range(gri_mark(arena, 0)) ? 0
                                                    : gri_mark_next(arena, units, at, GRI_A_HOLE);
}

/* [lo, hi) is one more hole: keep the longer of it and the known hole, bound the rest. */
static void hole_found(struct gr_iova_arena *arena, unsigned lo, unsigned hi)
{
    unsigned other = hi - lo;

    if (other >= arena->hole) {
        other = arena->hole;
        arena->hole = (uint16_t)(hi - lo);
        arena->hole_at = (uint16_t)lo;
    }
    if (other > arena->rest)
        arena->rest = (uint16_t)other;
}

/* Join the hole [*lo, *hi) with the hole on either side, if there is one. */
static void join_holes(const struct gr_iova *space, struct gr_iova_arena *arena, unsigned *lo,
                       unsigned *hi)
{
    const unsigned units = gri_arena_units(space);
    const unsigned behind = gri_mark_before(arena, *lo);

    if (*hi < units && gri_mark(arena, *hi) == GRI_HOLE) {
        gri_unmark(arena, *hi, GRI_HOLE);
        *hi = gri_mark_next(arena, units, *hi, GRI_ANY_MARK);
    }
    if (!behind || gri_mark(arena, behind - 1) == GRI_HOLE) {
        if (*lo)
            gri_unmark(arena, *lo, GRI_HOLE);
        *lo = behind ? behind - 1 : 0;
    }
}

/* Join all neighbouring holes of an arena. Its `hole` and `rest` become the longest two. */
static void rescan(const struct gr_iova *space, struct gr_iova_arena *arena)
{
    const unsigned units = gri_arena_units(space);
    unsigned hi;

    arena->hole = 0;
    arena->rest = 0;
    for (unsigned lo = hole_next(arena, units, 0); lo < units; lo = hole_next(arena, units, hi)) {
        unsigned at = gri_mark_next(arena, units, lo + 1, GRI_ANY_MARK);

        hi = gri_mark_next(arena, units, at, GRI_A_RANGE);
        for (; at < hi; at = gri_mark_next(arena, units, at + 1, GRI_ANY_MARK))
            gri_unmark(arena, at, GRI_HOLE);
        hole_found(arena, lo, hi);
    }
}

/*
 * Find a hole that fits `want`, where the limits hold all of the arena. Without alignment the known
 * hole will do; if that is too short, the arena is scanned for its longest. With alignment, it is
 * the highest hole that fits.
 */
static bool hole_for(const struct gr_iova *space, struct gr_iova_arena *arena,
                     const struct gri_iova_want *want, unsigned *out_lo, unsigned *out_hi)
{
    const unsigned units = gri_arena_units(space);
    uint64_t start;
    bool found = false;
    unsigned hi;

    if (arena->hole < want->units && arena->rest >= want->units)
        rescan(space, arena);
    *out_lo = arena->hole_at;
    *out_hi = arena->hole_at + (unsigned)arena->hole;
    if (want->align == 1 || arena->hole < want->units)
        return arena->hole >= want->units;
    for (unsigned lo = hole_next(arena, units, 0); lo < units; lo = hole_next(arena, units, hi)) {
        hi = gri_mark_next(arena, units, lo, GRI_A_RANGE);
        if (gri_iova_place(want, arena->first + lo, arena->first + hi, &start)) {
            *out_lo = lo;
            *out_hi = hi;
            found = true;
        }
    }
    return found;
}

static bool in_limits(const struct gr_iova *space, const struct gr_iova_arena *arena,
                      const struct gri_iova_want *want)
{
    return arena->first >= want->first && arena->first + gri_arena_units(space) <= want->end;
}

/* ---- The current arena; the visit or section owns it ---- */

/* Cut `want` off the top of the slot's hole. */
static bool cut_current(const struct gr_iova *space, struct gr_iova_slot *slot,
                        const struct gri_iova_want *want, uint64_t *out_first)
{
    const uint64_t first = slot->cur->first;

    if (slot->hi - slot->lo < want->units)
        return false;

    const uint64_t start = (first + slot->hi - want->units) & ~(want->align - 1);
    const uint64_t end = start + want->units;

    if (start < first + slot->lo || start < want->first || end > want->end)
        return false;
    if (end < first + slot->hi) /* alignment leaves a hole above the range */
        slot->most = GRI_ARENA_UNITS;
    slot->hi = (unsigned)(start - first);
    mark_live_inside(space, slot->cur, slot->hi, (unsigned)want->units);
    *out_first = start;
    return true;
}

static void set_hole(struct gr_iova_slot *slot, unsigned lo, unsigned hi)
{
    slot->lo = lo;
    slot->hi = hi;
}

/* Join the holes of the current arena. The longest becomes the slot's. */
static void rescan_current(const struct gr_iova *space, struct gr_iova_slot *slot)
{
    struct gr_iova_arena *const cur = slot->cur;

    rescan(space, cur);
    slot->most = cur->rest;
    set_hole(slot, cur->hole_at, cur->hole_at + (unsigned)cur->hole);
}

/* The range [at, at + units) of the current arena, which has mark `mark`, becomes a hole. */
static inline __attribute__((always_inline)) void
drop_current(struct gr_iova_slot *slot, unsigned at, unsigned units, enum gri_mark mark)
{
    struct gr_iova_arena *const cur = slot->cur;

    if (at == slot->hi && slot->lo != at) {
        gri_unmark(cur, at, mark);
        slot->hi += units;
    } else {
        gri_remark(cur, at, mark, GRI_HOLE);
        if (slot->lo == slot->hi) {
            slot->lo = at;
            slot->hi = at + units;
        } else if (at + units == slot->lo) {
            gri_unmark(cur, at + units, GRI_HOLE);
            slot->lo = at;
        } else {
            slot->most = GRI_ARENA_UNITS;
        }
    }
    gri_count_down(&cur->busy, units);
}

/* The range [first, end) of an arena, current or parked, becomes a hole. */
static void drop(const struct gr_iova *space, struct gr_iova_slot *slot,
                 struct gr_iova_arena *arena, unsigned first, unsigned end)
{
    const enum gri_mark mark = gri_mark(arena, first);

    if (mark == GRI_HELD)
        gri_count_down(&arena->held, end - first);
    if (arena == slot->cur) {
        drop_current(slot, first, end - first, mark);
        return;
    }

    unsigned lo = first;
    unsigned hi = end;

    gri_remark(arena, first, mark, GRI_HOLE);
    join_holes(space, arena, &lo, &hi);
    gri_count_down(&arena->busy, end - first);
    if (arena->hole_at >= lo && arena->hole_at < hi)
        arena->hole = 0; /* the known hole is part of [lo, hi) now */
    hole_found(arena, lo, hi);
    bin_update(space, slot, arena);
}

static inline void mark_held(struct gr_iova_arena *arena, unsigned first, unsigned units)
{
    gri_remark(arena, first, GRI_LIVE, GRI_HELD);
    gri_count_up(&arena->held, units);
}

/*
 * Carry out the notes on the current arena: hold the ranges that other CPUs began to free, and drop
 * those that they ended. A range that this CPU freed as well has no such mark any more. It is
 * skipped: a double free is the caller's error, and must not harm other ranges.
 */
static void collect_notes(const struct gr_iova *space, struct gr_iova_slot *slot)
{
    struct gr_iova_arena *const cur = slot->cur;
    const unsigned units = gri_arena_units(space);

    if (!slot->remote)
        return;
    __atomic_store_n(&slot->remote, 0, __ATOMIC_RELAXED);
    slot->noted = (struct gri_iova_tally){0};
    for (unsigned i = 0; i < units / GRI_WORD_BITS; i++) {
        for (size_t left = slot->claimed[i] | slot->done[i]; left; left &= left - 1) {
            const unsigned first = i * GRI_WORD_BITS + gri_low_bit(left);
            const unsigned end = gri_mark_next(cur, units, first + 1, GRI_ANY_MARK);

            if (gri_noted(slot->claimed, first) && gri_mark(cur, first) == GRI_LIVE)
                mark_held(cur, first, end - first);
            if (gri_noted(slot->done, first) && gri_mark(cur, first) == GRI_HELD)
                drop(space, slot, cur, first, end);
        }
        slot->claimed[i] = 0;
        slot->done[i] = 0;
    }
}

/* End the current arena. Returns it, parked but in no bin yet. */
static struct gr_iova_arena *release_current(const struct gr_iova *space, struct gr_iova_slot *slot)
{
    struct gr_iova_arena *const old = slot->cur;

    collect_notes(space, slot);
    if (slot->most == GRI_ARENA_UNITS) {
        rescan(space, old);
    } else { /* all other holes are joined, unless they touch the slot's */
        if (slot->lo < slot->hi)
            join_holes(space, old, &slot->lo, &slot->hi);
        old->hole = (uint16_t)(slot->hi - slot->lo);
        old->hole_at = (uint16_t)slot->lo;
        old->rest = (uint16_t)slot->most;
    }
    gri_tally_add(&slot->sum, old);
    slot->cur = NULL;
    slot->base = NO_BASE;
    slot->lo = slot->hi = 0;
    return old;
}

/* Make a parked arena current, with [lo, hi) as the slot's hole. */
static void make_current(const struct gr_iova *space, struct gr_iova_slot *slot,
                         struct gr_iova_arena *arena, unsigned lo, unsigned hi)
{
    if (slot->cur)
        bin_update(space, slot, release_current(space, slot));
    bin_remove(slot, arena);
    gri_tally_sub(&slot->sum, arena);
    slot->cur = arena;
    slot->base = arena->first << space->unit_lg2;
    slot->most = lo == arena->hole_at ? arena->rest : longest(arena);
    set_hole(slot, lo, hi);
}

/* ---- From arena to arena; the slot's lock is held ---- */

/*
 * Find an arena of the bins [from, to) in which `want` has a place, and its hole there; bins of
 * short holes come first. Gives up after ARENA_TRIES arenas without a place. *out_elsewhere is set
 * if one of these was passed over because it does not lie within the limits.
 */
static struct gr_iova_arena *search(const struct gr_iova *space, struct gr_iova_slot *slot,
                                    const struct gri_iova_want *want, unsigned from, unsigned to,
                                    unsigned *out_lo, unsigned *out_hi, bool *out_elsewhere)
{
    unsigned tries = ARENA_TRIES;
    uint64_t bins = slot->bins & gri_mask(to) & ~gri_mask(from);

    for (; bins; bins &= bins - 1) {
        struct gr_iova_arena *next;

        for (struct gr_iova_arena *arena = slot->bin[gri_low_bit(bins)]; arena; arena = next) {
            const bool inside = in_limits(space, arena, want);

            next = arena->next;
            if (inside && hole_for(space, arena, want, out_lo, out_hi))
                return arena;
            bin_update(space, slot, arena); /* hole_for() may have found its holes shorter */
            *out_elsewhere = *out_elsewhere || !inside;
            if (!--tries)
                return NULL;
        }
    }
    return NULL;
}

/* Allocate [first, first + units), inside a hole, in a parked arena. */
static void alloc_parked(const struct gr_iova *space, struct gr_iova_slot *slot,
                         struct gr_iova_arena *arena, uint64_t units, uint64_t first)
{
    mark_live_inside(space, arena, (unsigned)(first - arena->first), (unsigned)units);
    rescan(space, arena);
    bin_update(space, slot, arena);
    slot->sum.live++;
    slot->sum.used += (size_t)units;
}

/* Allocate `want` in the hole [lo, hi) of a parked arena. */
static void cut_parked(const struct gr_iova *space, struct gr_iova_slot *slot,
                       struct gr_iova_arena *arena, const struct gri_iova_want *want, unsigned lo,
                       unsigned hi, uint64_t *out_first)
{
    (void)gri_iova_place(want, arena->first + lo, arena->first + hi, out_first);
    alloc_parked(space, slot, arena, want->units, *out_first);
}

/* Allocate from the slot's arenas, the current one first. See search() for *out_elsewhere. */
static bool pick(const struct gr_iova *space, const struct visit *v,
                 const struct gri_iova_want *want, uint64_t *out_first, bool *out_elsewhere)
{
    struct gr_iova_slot *const slot = v->slot;
    unsigned lo;
    unsigned hi;

    if (v->own && slot->cur) {
        collect_notes(space, slot);
        if (cut_current(space, slot, want, out_first))
            return true;
        if (in_limits(space, slot->cur, want) && want->units <= slot->most) {
            rescan_current(space, slot);
            if (hole_for(space, slot->cur, want, &lo, &hi)) {
                if (lo != slot->lo)
                    slot->most = longest(slot->cur);
                set_hole(slot, lo, hi);
                return cut_current(space, slot, want, out_first);
            }
        }
    }
    /* A hole as long as those of bin `sure` has a place for certain, one of bin `floor` perhaps. */
    const unsigned floor = bin_of((unsigned)want->units);
    const unsigned need = (unsigned)(want->units + want->align - 1);
    const unsigned sure = need > 1 ? bin_of(need - 1) + 1 : 0;
    /* For small ranges try holes with room for several first: changing the current arena costs. */
    const unsigned roomy = need <= 32 ? bin_of(8 * need) : sure;
    struct gr_iova_arena *arena =
        search(space, slot, want, roomy, GRI_BIN_EMPTY, &lo, &hi, out_elsewhere);

    if (!arena)
        arena = search(space, slot, want, sure, GRI_BINS, &lo, &hi, out_elsewhere);
    if (!arena)
        arena = search(space, slot, want, floor, sure, &lo, &hi, out_elsewhere);
    if (!arena)
        return false;
    if (!v->own) {
        cut_parked(space, slot, arena, want, lo, hi, out_first);
        return true;
    }
    make_current(space, slot, arena, lo, hi);
    return cut_current(space, slot, want, out_first);
}

/* ---- The map from units to arenas ---- */

/*
 * A radix tree of pages. It is read without a lock, and none of its pages is freed before the
 * space. Index 0 is the last arena of the space, because allocation begins at the end: the tree
 * starts low, and grows at its top. The low bits of space->map hold its number of levels.
 */
#define MAP_BITS (sizeof(void *) == 8 ? 9u : 10u)
#define MAP_LEVELS 7u /* mask of these low bits; no map needs as many levels */

static uint64_t map_index(const struct gr_iova *space, uint64_t unit)
{
    return ((space->end - 1) >> space->arena_lg2) - (unit >> space->arena_lg2);
}

static void **map_entry(void **page, uint64_t index, unsigned level)
{
    return &page[(index >> level * MAP_BITS) & gri_mask(MAP_BITS)];
}

struct gr_iova_arena *gri_arena_of(const struct gr_iova *space, uint64_t unit)
{
    uintptr_t map = __atomic_load_n(&space->map, __ATOMIC_ACQUIRE);
    unsigned level = map & MAP_LEVELS;
    void *page = (void *)(map & ~(uintptr_t)MAP_LEVELS);
    const uint64_t index = map_index(space, unit);

    if (index >> level * MAP_BITS)
        return NULL;
    while (page && level)
        page = __atomic_load_n(map_entry(page, index, --level), __ATOMIC_ACQUIRE);
    return page;
}

static void *page_new(struct gr_iova *space, unsigned lg2)
{
    void *const page = gr_port_pages_alloc(space->env, lg2, UINT64_MAX, 0);

    if (page)
        space->memory += (uint64_t)1 << lg2;
    return page;
}

/* The map's entry for `unit`, made if need be; NULL: no memory. The space's lock is held. */
static void **map_ready(struct gr_iova *space, uint64_t unit)
{
    const uint64_t index = map_index(space, unit);

    while (!space->map || index >> (space->map & MAP_LEVELS) * MAP_BITS) {
        void **const top = page_new(space, PAGE_LG2);

        if (!top)
            return NULL;
        top[0] = (void *)(space->map & ~(uintptr_t)MAP_LEVELS);

        unsigned level = (space->map & MAP_LEVELS) + 1;

        __atomic_store_n(&space->map, (uintptr_t)top | level, __ATOMIC_RELEASE);
    }

    unsigned level = (unsigned)(space->map & MAP_LEVELS) - 1;
    void **page = (void **)(space->map & ~(uintptr_t)MAP_LEVELS);

    for (; level; level--) {
        void **const entry = map_entry(page, index, level);

        if (!*entry) {
            void *const below = page_new(space, PAGE_LG2);

            if (!below)
                return NULL;
            __atomic_store_n(entry, below, __ATOMIC_RELEASE);
        }
        page = *entry;
    }
    return map_entry(page, index, 0);
}

/* ---- Arenas from the core and back ---- */

static size_t arena_size(const struct gr_iova *space)
{
    return offsetof(struct gr_iova_arena, mark) +
           (gri_arena_units(space) / GRI_WORD_MARKS + 1) * sizeof(size_t);
}

/* Have a spare header. The first bytes of each slab link the slabs. The space's lock is held. */
static int header_ready(struct gr_iova *space)
{
    if (space->spare_arena)
        return 0;

    unsigned char *slab = page_new(space, PAGE_LG2);

    if (!slab)
        return GR_ENOMEM;

    const size_t size = (arena_size(space) + 63) & ~(size_t)63;

    *(void **)(void *)slab = space->arena_slabs;
    space->arena_slabs = slab;
    for (size_t at = 64; at + size <= (size_t)1 << PAGE_LG2; at += size) {
        struct gr_iova_arena *const arena = (void *)(slab + at);

        arena->next = space->spare_arena;
        space->spare_arena = arena;
    }
    return 0;
}

/*
 * Get a new arena within the limits of `want` from the core; it is in no bin. The slot's lock is
 * held, and no section.
 */
static int arena_new(struct gr_iova *space, struct gr_iova_slot *slot,
                     const struct gri_iova_want *want, struct gr_iova_arena **out_arena)
{
    struct gri_iova_want all = *want;

    all.units = all.align = gri_arena_units(space);
    all.boundary = 0;

    uint64_t first;
    const gr_lock_state_t state = gr_port_lock(&space->lock);
    int ret = header_ready(space);

    if (!ret)
        ret = gri_core_alloc(space, &all, GRI_IOVA_ARENA, &first);
    if (!ret) {
        void **const entry = map_ready(space, first);

        if (entry) {
            struct gr_iova_arena *const arena = space->spare_arena;

            space->spare_arena = arena->next;
            /* Keep `slot`: a CPU that looked the header up as its last arena may still read it. */
            memset(&arena->next, 0, arena_size(space) - offsetof(struct gr_iova_arena, next));
            arena->first = first;
            arena->hole = (uint16_t)all.units;
            arena->mark[all.units / GRI_WORD_MARKS] = GRI_HOLE;
            arena->bin = GRI_BIN_NONE;
            __atomic_store_n(&arena->slot, slot, __ATOMIC_RELAXED);
            __atomic_store_n(entry, arena, __ATOMIC_RELEASE);
            space->arenas++;
            *out_arena = arena;
        } else {
            gri_core_settle(space, gri_core_find(space, first), GRI_IOVA_FREE);
            ret = GR_ENOMEM;
        }
    }
    gr_port_unlock(&space->lock, state);
    return ret;
}

void gri_arena_free(struct gr_iova *space, struct gr_iova_arena *arena)
{
    __atomic_store_n(map_ready(space, arena->first), NULL, __ATOMIC_RELEASE);
    arena->next = space->spare_arena;
    space->spare_arena = arena;
    space->arenas--;
}

/*
 * Take an arena and its counts out of the slot, but leave it in the map. The slot's lock is held,
 * and the visit owns the arena if it is current.
 */
static void take_out(const struct gr_iova *space, struct gr_iova_slot *slot,
                     struct gr_iova_arena *arena)
{
    if (arena == slot->cur)
        (void)release_current(space, slot);
    else
        bin_remove(slot, arena);
    gri_tally_sub(&slot->sum, arena);
}

void gri_arena_detach(struct gr_iova *space, struct gr_iova_arena *arena)
{
    take_out(space, arena->slot, arena);
}

/*
 * Give an arena that was taken out of its slot back to the core: as free units or, with out_held,
 * held with the free units around it as gri_core_hold() does. It has no range but, with
 * out_held, perhaps the one that is being freed. The slot's lock is held, and no section.
 */
static void give_back(struct gr_iova *space, struct gr_iova_arena *arena, struct gr_range *out_held)
{
    const gr_lock_state_t state = gr_port_lock(&space->lock);
    struct gr_iova_node *const node = gri_core_find(space, arena->first);

    gri_arena_free(space, arena);
    if (out_held)
        gri_core_hold(space, node, out_held);
    else
        gri_core_settle(space, node, GRI_IOVA_FREE);
    gr_port_unlock(&space->lock, state);
}

/* This CPU's slot, made if need be; NULL: no memory. */
static struct gr_iova_slot *slot_here(struct gr_iova *space)
{
    const unsigned cpu = gr_port_cpu() % GR_PORT_CPUS;
    struct gr_iova_slot *slot = slot_of(space, cpu);

    if (slot)
        return slot;

    const gr_lock_state_t state = gr_port_lock(&space->lock);
    struct gr_iova_slot **slots = space->slots;

    if (!slots) {
        slots = page_new(space, GRI_SLOTS_LG2);
        __atomic_store_n(&space->slots, slots, __ATOMIC_RELEASE);
    }
    slot = slots ? slots[cpu] : NULL;
    if (slots && !slot) {
        slot = page_new(space, GRI_SLOT_LG2);
        if (slot) {
            gr_port_lock_init(&slot->lock);
            slot->cpu = cpu;
            slot->base = NO_BASE;
            __atomic_store_n(&slots[cpu], slot, __ATOMIC_RELEASE);
        }
    }
    gr_port_unlock(&space->lock, state);
    return slot;
}

/*
 * Enter the slot of the arena that holds `unit`. NULL if no arena does; then no slot is entered.
 * The arena may go, and its header serve another slot, before the lock is taken: so look again
 * after.
 */
static struct gr_iova_arena *visit_arena(const struct gr_iova *space, uint64_t unit,
                                         struct visit *v)
{
    struct gr_iova_arena *arena;

    while ((arena = gri_arena_of(space, unit))) {
        *v = slot_enter(__atomic_load_n(&arena->slot, __ATOMIC_RELAXED));
        if (gri_arena_of(space, unit) == arena &&
            __atomic_load_n(&arena->slot, __ATOMIC_RELAXED) == v->slot)
            break;
        slot_leave(v);
    }
    return arena;
}

/* ---- Allocating ---- */

static int core_alloc(struct gr_iova *space, const struct gri_iova_want *want, uint64_t *out_first)
{
    const gr_lock_state_t state = gr_port_lock(&space->lock);
    const int ret = gri_core_alloc(space, want, GRI_IOVA_ALLOCATED, out_first);

    if (!ret) {
        space->allocations++;
        space->used_units += want->units;
    }
    gr_port_unlock(&space->lock, state);
    return ret;
}

/*
 * This CPU's slot, for its current arena alone: in the CPU's exclusive section or, in a port
 * without sections, under the slot's lock.
 */
struct here {
    struct gr_iova_slot *slot; /* NULL: this CPU has none yet */
#if GRI_IOVA_EXCLUSIVE
    gr_exclusive_t section;
#else
    gr_lock_state_t state;
#endif
};

static inline struct here here_enter(const struct gr_iova *space)
{
    struct here h;
#if GRI_IOVA_EXCLUSIVE
    h.section = gr_port_exclusive_enter();
    h.slot = slot_of(space, gr_port_cpu());
#else
    h.slot = slot_of(space, gr_port_cpu());
    if (h.slot)
        h.state = gr_port_lock(&h.slot->lock);
#endif
    return h;
}

static inline void here_leave(const struct here *h)
{
#if GRI_IOVA_EXCLUSIVE
    gr_port_exclusive_leave(h->section);
#else
    if (h->slot)
        gr_port_unlock(&h->slot->lock, h->state);
#endif
}

/* Fast path: cut from this CPU's hole. False: the slow path decides, errors included. */
static inline bool alloc_here(const struct gr_iova *space, const struct gr_iova_req *req,
                              gr_iova_t *out_start)
{
    const uint64_t size = req->size;
    bool found = false;

    /* Less 1, a size of 0 and a boundary of 0, which is none, are the largest value. */
    if (size & gri_iova_unit_mask(space) || size - 1 >= space->arena_size / 4 || req->align ||
        !is_pow2(req->boundary) || req->boundary - 1 < space->arena_size - 1)
        return false;

    struct here h = here_enter(space);
    struct gr_iova_slot *const slot = h.slot;
    const unsigned units = (unsigned)(size >> space->unit_lg2);

    if (slot && slot->hi - slot->lo >= units) {
        const unsigned at = slot->hi - units;
        gr_iova_t start = slot->base + ((gr_iova_t)at << space->unit_lg2);

        /* `last` 0 is no limit: less 1 it is the largest value. */
        if (start >= req->first && start + (size - 1) <= req->last - !req->last) {
            slot->hi = at;
            mark_live(slot->cur, at, units);
            *out_start = start;
            found = true;
        }
    }
    here_leave(&h);
    return found;
}

/*
 * Allocate from this CPU's arenas; else from a new arena, unless the limits are all that kept one
 * from being used; else from the core.
 */
static int slot_alloc(struct gr_iova *space, const struct gri_iova_want *want, uint64_t *out_first)
{
    struct gr_iova_slot *const slot = slot_here(space);
    struct gr_iova_arena *arena;
    bool elsewhere = false;

    if (!slot)
        return GR_ENOMEM;

    struct visit v = slot_enter(slot);
    int ret = pick(space, &v, want, out_first, &elsewhere) ? 0 : GR_ENOSPC;

    if (ret && !elsewhere) {
        section_leave(&v);
        ret = arena_new(space, slot, want, &arena);
        if (!ret) {
            bin_update(space, slot, arena);
            section_enter(&v);
            ret = pick(space, &v, want, out_first, &elsewhere) ? 0 : GR_ENOSPC;
        }
    }
    slot_leave(&v);
    return ret == GR_ENOSPC ? core_alloc(space, want, out_first) : ret;
}

/* Park the current arena if it has no range. The caller owns it. */
static void park_empty(const struct gr_iova *space, struct gr_iova_slot *slot)
{
    if (!slot->cur)
        return;
    collect_notes(space, slot);
    if (gri_counted(&slot->cur->busy))
        return;
    bin_update(space, slot, release_current(space, slot));
}

/* Give the slot's arenas without a range back to the core; returns how many. */
static unsigned give_empty(struct gr_iova *space, struct gr_iova_slot *slot)
{
    struct visit v = slot_enter(slot);
    struct gr_iova_arena *arena;
    unsigned count = 0;

    if (v.own)
        park_empty(space, slot);
    section_leave(&v);
    for (; (arena = slot->bin[GRI_BIN_EMPTY]); count++) {
        bin_remove(slot, arena);
        give_back(space, arena, NULL);
    }
    slot_leave(&v);
    return count;
}

/*
 * Allocate in the arena that holds `unit`, which may lie only partly within the limits of `want`.
 */
static bool alloc_at(struct gr_iova *space, uint64_t unit, const struct gri_iova_want *want,
                     uint64_t *out_first)
{
    struct visit v;
    struct gr_iova_arena *const arena = visit_arena(space, unit, &v);
    const unsigned units = gri_arena_units(space);
    bool found = false;
    unsigned hi;

    if (!arena)
        return false;

    bool current = arena == v.slot->cur;
    uint64_t most = longest(arena);

    if (current) {
        most = v.own ? gri_max(v.slot->most, v.slot->hi - v.slot->lo) : 0;
        if (most >= want->units)
            rescan_current(space, v.slot);
    }
    for (unsigned lo = most < want->units ? units : hole_next(arena, units, 0); lo < units;
         lo = hole_next(arena, units, hi)) {
        hi = gri_mark_next(arena, units, lo, GRI_A_RANGE);

        const uint64_t first = gri_max(arena->first + lo, want->first);
        const uint64_t end = gri_min(arena->first + hi, want->end);

        if (first < end && gri_iova_place(want, first, end, out_first)) {
            found = true;
            break;
        }
    }
    if (found && current) {
        mark_live_inside(space, arena, (unsigned)(*out_first - arena->first),
                         (unsigned)want->units);
        v.slot->lo = v.slot->hi = 0;
        v.slot->most = GRI_ARENA_UNITS;
    } else if (found) {
        alloc_parked(space, v.slot, arena, want->units, *out_first);
    }
    slot_leave(&v);
    return found;
}

/*
 * Allocate in an arena at either end of the limits: pick() passes over arenas that lie partly
 * outside. A few more at the upper end are tried too, which is all of them where limits are narrow.
 */
static bool alloc_within(struct gr_iova *space, const struct gri_iova_want *want,
                         uint64_t *out_first)
{
    const uint64_t step = gri_arena_units(space);
    uint64_t unit = (want->end - 1) & ~(step - 1);
    const uint64_t lowest = want->first & ~(step - 1);

    for (unsigned i = 0; i < EDGE_ARENAS && unit > lowest; i++, unit -= step) {
        if (alloc_at(space, gri_max(unit, space->first), want, out_first))
            return true;
    }
    return alloc_at(space, want->first, want, out_first);
}

/* The last resort: ask the slots of all CPUs, and take back their arenas without a range. */
static int alloc_anywhere(struct gr_iova *space, const struct gri_iova_want *want,
                          uint64_t *out_first)
{
    const bool small = for_arenas(space, want);
    bool elsewhere = false;
    unsigned given = 0;
    const gr_lock_state_t state = gr_port_lock(&space->lock);

    space->drains++;
    gr_port_unlock(&space->lock, state);
    for (unsigned cpu = 0; cpu < GR_PORT_CPUS; cpu++) {
        struct gr_iova_slot *const slot = slot_of(space, cpu);

        if (!slot)
            continue;
        if (small) {
            struct visit v = slot_enter(slot);
            const bool found = pick(space, &v, want, out_first, &elsewhere);

            slot_leave(&v);
            if (found)
                return 0;
        }
        given += give_empty(space, slot);
    }

    const int ret = given ? core_alloc(space, want, out_first) : GR_ENOSPC;

    return ret == GR_ENOSPC && alloc_within(space, want, out_first) ? 0 : ret;
}

static COLD int alloc_any(struct gr_iova *space, const struct gr_iova_req *req,
                          gr_iova_t *out_start)
{
    struct gri_iova_want want;
    uint64_t first;
    int ret = want_from(space, req, &want);

    if (ret)
        return ret;
    if (for_arenas(space, &want))
        ret = slot_alloc(space, &want, &first);
    else
        ret = core_alloc(space, &want, &first);
    if (ret == GR_ENOSPC && space->arena_lg2)
        ret = alloc_anywhere(space, &want, &first);
    if (!ret)
        *out_start = first << space->unit_lg2;
    return ret;
}

int gr_iova_alloc(struct gr_iova *space, const struct gr_iova_req *req, gr_iova_t *out_start)
{
    return alloc_here(space, req, out_start) ? 0 : alloc_any(space, req, out_start);
}

/* ---- Freeing ---- */

/* Is [start, start + size) exactly the range of `units` units at `first`, and is that live? */
static int check_exact(const struct gr_iova *space, gr_iova_t start, uint64_t size,
                       enum gri_iova_state state, uint64_t first, uint64_t units)
{
    if (state != GRI_IOVA_ALLOCATED)
        return GR_ENOENT;
    return start == first << space->unit_lg2 && size == units << space->unit_lg2 ? 0 : GR_EMSGSIZE;
}

/*
 * Leave a note in another CPU's slot: the range at `first` of its current arena is held (`claimed`)
 * or a hole (`done`).
 */
static void note(struct gr_iova_slot *slot, size_t *notes, unsigned first)
{
    notes[first / GRI_WORD_BITS] |= gri_note_bit(first);
    __atomic_store_n(&slot->remote, slot->remote + 1, __ATOMIC_RELAXED);
}

static void note_claimed(struct gr_iova_slot *slot, unsigned first, unsigned units)
{
    note(slot, slot->claimed, first);
    slot->noted.live--;
    slot->noted.used -= units;
    slot->noted.held += units;
}

static void note_done(struct gr_iova_slot *slot, unsigned first, unsigned units)
{
    note(slot, slot->done, first);
    slot->noted.held -= units;
}

/* gri_arena_range() with the slot's notes: a range that is noted as claimed is held. */
static enum gri_iova_state range_at(const struct gr_iova *space, const struct visit *v,
                                    const struct gr_iova_arena *arena, unsigned at, unsigned *first,
                                    unsigned *end)
{
    if (v->own)
        collect_notes(space, v->slot);

    enum gri_iova_state state = gri_arena_range(arena, gri_arena_units(space), at, first, end);

    if (state == GRI_IOVA_ALLOCATED && arena == v->slot->cur && gri_noted(v->slot->claimed, *first))
        state = GRI_IOVA_HELD;
    return state;
}

/*
 * Begin to free a range of an arena; `at_once`: end that too, which only a space without tables
 * asks for. In a space with tables an arena goes back to the core with its last range: held, with
 * the spans that this leaves without a user. At once, a parked arena goes back as free units; a
 * current one stays.
 */
static int arena_begin(struct gr_iova *space, struct visit *v, struct gr_iova_arena *arena,
                       gr_iova_t start, uint64_t size, bool at_once, struct gr_range *out_held)
{
    struct gr_iova_slot *const slot = v->slot;
    unsigned first = 0;
    unsigned end = 0;
    const unsigned at = (unsigned)((start >> space->unit_lg2) - arena->first);
    const enum gri_iova_state state = range_at(space, v, arena, at, &first, &end);
    const int ret = check_exact(space, start, size, state, arena->first + first, end - first);

    if (ret)
        return ret;

    const bool current = arena == slot->cur;
    bool gone = false;

    if (!current)
        gri_tally_sub(&slot->sum, arena);
    if (current && !v->own) {
        note_claimed(slot, first, end - first);
        if (at_once)
            note_done(slot, first, end - first);
    } else if (at_once) {
        drop(space, slot, arena, first, end);
        gone = !gri_counted(&arena->busy) && !current;
    } else if (gri_count_ranges(&arena->busy) == 1 && space->spans) {
        gone = true;
    } else {
        mark_held(arena, first, end - first);
    }
    if (!current)
        gri_tally_add(&slot->sum, arena);
    if (gone) {
        take_out(space, slot, arena);
        section_leave(v);
        give_back(space, arena, at_once ? NULL : out_held);
    } else if (!at_once) {
        *out_held = (struct gr_range){start, start + (size - 1)};
    }
    return 0;
}

/*
 * True, and *out, only if [start, start + size) is a live range of this CPU's current arena, and no
 * notes wait there. With `spans` the arena must keep another range, so that no table's span becomes
 * empty: an arena lies in one table of each level. Otherwise the slow path decides, errors
 * included.
 */
static inline __attribute__((always_inline)) bool find_here(const struct gr_iova *space,
                                                            struct gr_iova_slot *slot,
                                                            gr_iova_t start, uint64_t size,
                                                            bool spans, struct gri_iova_hold *out)
{
    if (!slot || __atomic_load_n(&slot->remote, __ATOMIC_RELAXED))
        return false;

    const uint64_t offset = start - slot->base;

    if (offset >= space->arena_size || (start | offset | size) & space->unit_mask ||
        (spans && gri_count_ranges(&slot->cur->busy) == 1))
        return false;
    out->arena = slot->cur;
    out->first = (unsigned)(offset >> space->unit_lg2);
    out->units = (unsigned)(size >> space->unit_lg2);
    return gri_arena_exactly(out->arena, (unsigned)space->arena_units, out->first,
                             size >> space->unit_lg2);
}

static int core_begin(struct gr_iova *space, gr_iova_t start, uint64_t size, bool at_once,
                      struct gr_range *out_held)
{
    const gr_lock_state_t state = gr_port_lock(&space->lock);
    struct gr_iova_node *const node = gri_core_find(space, start >> space->unit_lg2);
    const int ret = check_exact(space, start, size, node->state, node->first, node->units);

    if (!ret) {
        space->allocations--;
        space->used_units -= node->units;
        if (at_once)
            gri_core_settle(space, node, GRI_IOVA_FREE);
        else
            gri_core_hold(space, node, out_held);
    }
    gr_port_unlock(&space->lock, state);
    return ret;
}

static COLD int begin_any(struct gr_iova *space, gr_iova_t start, uint64_t size, bool at_once,
                          struct gr_range *out_held)
{
    const uint64_t unit = start >> space->unit_lg2;
    struct visit v;

    if (!size)
        return GR_ENODATA;
    if (unit < space->first || unit >= space->end)
        return GR_ENOENT;

    struct gr_iova_arena *const arena = visit_arena(space, unit, &v);

    if (!arena)
        return core_begin(space, start, size, at_once, out_held);

    const int ret = arena_begin(space, &v, arena, start, size, at_once, out_held);

    slot_leave(&v);
    return ret;
}

int gri_iova_begin(struct gr_iova *space, gr_iova_t start, uint64_t size, struct gri_iova_hold *out)
{
    struct gri_iova_hold in = {.range = {start, start + (size - 1)}};
    struct here h = here_enter(space);
    const bool found = find_here(space, h.slot, start, size, space->spans, &in);

    if (found)
        mark_held(in.arena, in.first, in.units);
    here_leave(&h);
    if (found) {
        *out = in;
        return 0;
    }
    out->arena = NULL;
    return begin_any(space, start, size, false, &out->range);
}

int gr_iova_free_begin(struct gr_iova *space, gr_iova_t start, uint64_t size,
                       struct gr_range *out_held)
{
    struct gri_iova_hold hold;
    const int ret = gri_iova_begin(space, start, size, &hold);

    if (!ret)
        *out_held = hold.range;
    return ret;
}

static bool arena_end(struct gr_iova *space, struct visit *v, struct gr_iova_arena *arena,
                      const struct gr_range *held, struct gr_range *out_empty)
{
    struct gr_iova_slot *const slot = v->slot;
    unsigned first = 0;
    unsigned end = 0;
    const unsigned at = (unsigned)((held->first >> space->unit_lg2) - arena->first);
    const enum gri_iova_state state = range_at(space, v, arena, at, &first, &end);
    const bool current = arena == slot->cur;

    if (state != GRI_IOVA_HELD || held->first != (arena->first + first) << space->unit_lg2 ||
        held->last != ((arena->first + end) << space->unit_lg2) - 1)
        return false;
    if (current && !v->own) {
        if (!gri_noted(slot->done, first))
            note_done(slot, first, end - first);
        return false;
    }
    if (!current)
        gri_tally_sub(&slot->sum, arena);
    drop(space, slot, arena, first, end);
    if (!current)
        gri_tally_add(&slot->sum, arena);
    if (gri_counted(&arena->busy) || (current && !space->spans))
        return false;
    take_out(space, slot, arena);
    section_leave(v);
    give_back(space, arena, space->spans ? out_empty : NULL);
    return space->spans;
}

static void core_end(struct gr_iova *space, const struct gr_range *held)
{
    const gr_lock_state_t state = gr_port_lock(&space->lock);
    struct gr_iova_node *const node = gri_core_find(space, held->first >> space->unit_lg2);
    const uint64_t last =
        ((gri_iova_end_of(node) - 1) << space->unit_lg2) | gri_iova_unit_mask(space);

    if (node->state == GRI_IOVA_HELD && held->first == node->first << space->unit_lg2 &&
        held->last == last) {
        space->held_units -= node->units;
        gri_core_settle(space, node, GRI_IOVA_FREE);
    }
    gr_port_unlock(&space->lock, state);
}

static COLD bool end_any(struct gr_iova *space, const struct gr_range *held,
                         struct gr_range *out_empty)
{
    const uint64_t unit = held->first >> space->unit_lg2;
    bool empty = false;
    struct visit v;

    if (unit < space->first || unit >= space->end)
        return false;

    struct gr_iova_arena *const arena = visit_arena(space, unit, &v);

    if (arena) {
        empty = arena_end(space, &v, arena, held, out_empty);
        slot_leave(&v);
    } else {
        core_end(space, held);
    }
    return empty;
}

bool gri_iova_end(struct gr_iova *space, const struct gri_iova_hold *hold,
                  struct gr_range *out_empty)
{
    struct here h = here_enter(space);
    struct gr_iova_slot *const slot = h.slot;
    const bool found = slot && hold->arena && slot->cur == hold->arena &&
                       !__atomic_load_n(&slot->remote, __ATOMIC_RELAXED) &&
                       (!space->spans || gri_count_ranges(&hold->arena->busy) > 1);

    if (found) {
        drop_current(slot, hold->first, hold->units, GRI_HELD);
        gri_count_down(&hold->arena->held, hold->units);
    }
    here_leave(&h);
    return !found && end_any(space, &hold->range, out_empty);
}

bool gr_iova_free_end(struct gr_iova *space, const struct gr_range *held,
                      struct gr_range *out_empty)
{
    return end_any(space, held, out_empty);
}

static COLD int free_any(struct gr_iova *space, gr_iova_t start, uint64_t size)
{
    struct gr_range held;
    const int ret = begin_any(space, start, size, !space->spans, &held);

    for (bool more = !ret && space->spans; more;)
        more = gr_iova_free_end(space, &held, &held);
    return ret;
}

int gr_iova_free(struct gr_iova *space, gr_iova_t start, uint64_t size)
{
    struct gri_iova_hold hold;
    struct here h = here_enter(space);
    const bool found = !space->spans && find_here(space, h.slot, start, size, false, &hold);

    if (found)
        drop_current(h.slot, hold.first, hold.units, GRI_LIVE);
    here_leave(&h);
    return found ? 0 : free_any(space, start, size);
}

/* ---- Questions ---- */

int gr_iova_check(struct gr_iova *space, gr_iova_t start, uint64_t size)
{
    const uint64_t unit = start >> space->unit_lg2;
    unsigned first = 0;
    unsigned end = 0;
    struct visit v;
    int ret;

    if (!size)
        return GR_ENODATA;
    if (unit < space->first || unit >= space->end)
        return GR_ENOENT;

    struct gr_iova_arena *const arena = visit_arena(space, unit, &v);

    if (arena) {
        enum gri_iova_state state =
            range_at(space, &v, arena, (unsigned)(unit - arena->first), &first, &end);

        ret = check_exact(space, start, size, state, arena->first + first, end - first);
        slot_leave(&v);
        return ret;
    }

    gr_lock_state_t state = gr_port_lock(&space->lock);
    const struct gr_iova_node *const node = gri_core_find(space, unit);

    ret = check_exact(space, start, size, node->state, node->first, node->units);
    gr_port_unlock(&space->lock, state);
    return ret;
}

static void tally_add(struct gri_iova_tally *sum, const struct gri_iova_tally *part)
{
    sum->live += part->live;
    sum->used += part->used;
    sum->held += part->held;
}

void gr_iova_stats(struct gr_iova *space, struct gr_iova_stats *out)
{
    struct gri_iova_tally sum = {0};

    for (unsigned cpu = 0; cpu < GR_PORT_CPUS; cpu++) {
        struct gr_iova_slot *const slot = slot_of(space, cpu);

        if (slot) {
            gr_lock_state_t state = gr_port_lock(&slot->lock);

            tally_add(&sum, &slot->sum);
            tally_add(&sum, &slot->noted);
            if (slot->cur)
                gri_tally_add(&sum, slot->cur);
            gr_port_unlock(&slot->lock, state);
        }
    }

    gr_lock_state_t state = gr_port_lock(&space->lock);
    const uint64_t used = space->used_units + sum.used;
    const uint64_t held = space->held_units + sum.held;
    const uint64_t busy = used + held + space->reserved_units;

    *out = (struct gr_iova_stats){
        .allocations = space->allocations + sum.live,
        .allocated = bytes(space, used),
        .held = bytes(space, held),
        .reserved = bytes(space, space->reserved_units),
        .available = bytes(space, space->end - space->first - busy),
        .memory = space->memory,
        .arenas = space->arenas,
        .stranded = bytes(space, (space->arenas << space->arena_lg2) - sum.used - sum.held),
        .drains = space->drains,
    };
    gr_port_unlock(&space->lock, state);
}

uint64_t gr_iova_drain(struct gr_iova *space)
{
    uint64_t arenas = 0;

    for (unsigned cpu = 0; cpu < GR_PORT_CPUS; cpu++) {
        struct gr_iova_slot *const slot = slot_of(space, cpu);

        if (slot) {
            park_empty(space, slot);
            arenas += give_empty(space, slot);
        }
    }
    return bytes(space, arenas << space->arena_lg2);
}

/* ---- Setting up ---- */

/*
 * An arena is 1/256 of the space at most, so that there are many for the CPUs. Below 2^14 units
 * that is less than the smallest arena, and the space has none.
 */
static unsigned arena_lg2_for(uint64_t units)
{
    const unsigned lg2 = gri_high_bit(units);

    if (lg2 < 14)
        return 0;
    return lg2 - 8 > GRI_ARENA_LG2_MAX ? GRI_ARENA_LG2_MAX : lg2 - 8;
}

static void size_arenas(struct gr_iova *space)
{
    space->arena_units = space->arena_lg2 ? (uint64_t)1 << space->arena_lg2 : 0;
    space->arena_size = space->arena_units << space->unit_lg2;
}

int gr_iova_init(struct gr_iova *space, gr_env_t env, unsigned unit_lg2, gr_iova_t first,
                 gr_iova_t last)
{
    memset(space, 0, sizeof(*space));
    space->env = env;
    space->unit_lg2 = unit_lg2;
    if (unit_lg2 < 12 || unit_lg2 > 32 || first > last)
        return GR_EINVAL;
    space->unit_mask = gri_mask(unit_lg2);
    space->first = unit_from(space, first);
    space->end = unit_end(space, last);
    if (space->first >= space->end)
        return GR_ERANGE;
    space->arena_lg2 = arena_lg2_for(space->end - space->first);
    size_arenas(space);

    const int ret = gri_core_start(space);

    if (!ret)
        gr_port_lock_init(&space->lock);
    return ret;
}

void gr_iova_set_spans(struct gr_iova *space, const uint8_t *span_lg2, unsigned spans)
{
    space->spans = spans < GR_IOVA_SPANS ? spans : GR_IOVA_SPANS;
    for (unsigned i = 0; i < space->spans; i++) {
        space->span_lg2[i] = span_lg2[i];
        /* no arena is longer than a table's span: see find_here() */
        if (span_lg2[i] > space->unit_lg2 && span_lg2[i] - space->unit_lg2 < space->arena_lg2)
            space->arena_lg2 = span_lg2[i] - space->unit_lg2;
    }
    if (space->arena_lg2 < GRI_ARENA_LG2_MIN)
        space->arena_lg2 = 0;
    size_arenas(space);
}

static void free_slots(struct gr_iova *space)
{
    for (unsigned cpu = 0; cpu < GR_PORT_CPUS; cpu++) {
        struct gr_iova_slot *const slot = slot_of(space, cpu);

        if (slot) {
            gr_port_lock_fini(&slot->lock);
            gr_port_pages_free(space->env, slot, GRI_SLOT_LG2);
        }
    }
    if (space->slots)
        gr_port_pages_free(space->env, space->slots, GRI_SLOTS_LG2);
}

/*
 * Free the map's pages, depth first. at[level] is the next entry of page[level] to follow. Pages of
 * level 1 hold arenas, which belong to slabs.
 */
static void free_map(struct gr_iova *space)
{
    void **page[MAP_LEVELS + 1] = {0};
    unsigned at[MAP_LEVELS + 1] = {0};
    const unsigned levels = space->map & MAP_LEVELS;
    unsigned level = levels;

    page[level] = (void **)(space->map & ~(uintptr_t)MAP_LEVELS);
    while (level <= levels && page[level]) {
        if (level > 1 && at[level] < 1u << MAP_BITS) {
            void **const below = page[level][at[level]++];

            if (below) {
                page[--level] = below;
                at[level] = 0;
            }
        } else {
            gr_port_pages_free(space->env, page[level++], PAGE_LG2);
        }
    }
}

void gr_iova_fini(struct gr_iova *space)
{
    if (space->root) {
        free_slots(space);
        free_map(space);
        for (void *slab = space->arena_slabs; slab;) {
            void *const next = *(void **)slab;

            gr_port_pages_free(space->env, slab, PAGE_LG2);
            slab = next;
        }
        gri_core_stop(space);
        gr_port_lock_fini(&space->lock);
    }

    const gr_env_t env = space->env;

    memset(space, 0, sizeof(*space));
    space->env = env;
}
