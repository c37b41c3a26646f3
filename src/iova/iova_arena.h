/* SPDX-License-Identifier: MIT */
/*
 * Arenas: aligned runs of 2^arena_lg2 units that the core gave to one CPU's slot.
 *
 * An arena has a mark of two bits for each unit: what begins there, if anything does. A range ends
 * where the next mark is, so an operation changes one mark, whatever the length. Holes have one
 * too, except that what lies before the first mark is a hole as well. In an arena that is not
 * current holes are as long as they can be; in a current one they may lie side by side, but none in
 * the hole of the slot.
 *
 * Who may touch what. A slot's lock guards its arenas, but for the current one, `cur`, where the
 * port has an exclusive section: that arena and the hole belong to the CPU inside a section, with
 * plain loads and stores (relaxed atomics, since others may look at marks of a range that is
 * theirs, and count). `cur` itself changes with both, so that whoever has the lock knows what is
 * current. A CPU that frees what lies in another's current arena leaves `claimed` and `done` in the
 * slot, under its lock; the owner collects them. Without a section the lock is all there is.
 *
 * Headers and slots stay what they are until gr_iova_fini(): a stale pointer to one is harmless.
 * Order of locks: a slot's, then the space's. An exclusive section is inside all and takes none.
 */
#ifndef GRI_IOVA_ARENA_H
#define GRI_IOVA_ARENA_H

#include "iova/iova_internal.h"

#ifdef GR_PORT_HAS_EXCLUSIVE
#define GRI_IOVA_EXCLUSIVE 1
#else
#define GRI_IOVA_EXCLUSIVE 0
#endif

#define GRI_ARENA_LG2_MIN 6u
#define GRI_ARENA_LG2_MAX                                                                          \
    (sizeof(size_t) == 8 ? 11u : 9u)              /* so that `any` has a bit for each word */
#define GRI_ARENA_UNITS (1u << GRI_ARENA_LG2_MAX) /* of the largest */

#define GRI_WORD_BITS ((unsigned)(8 * sizeof(size_t)))
#define GRI_NOTE_WORDS (GRI_ARENA_UNITS / GRI_WORD_BITS)
#define GRI_WORD_MARKS (GRI_WORD_BITS / 2)

/* What begins at a unit. Bit 1: a range. */
enum gri_mark { GRI_NONE, GRI_HOLE, GRI_HELD, GRI_LIVE };

struct gr_iova_arena {
    uint64_t first;            /* its first unit */
    struct gr_iova_slot *slot; /* whose it is; also of a spare one, for who comes too late */
    struct gr_iova_arena *next;
    struct gr_iova_arena *prev; /* in its bin */
    uint32_t busy; /* ranges in it, live or being freed; and their units: gri_count() */
    uint32_t held; /* those being freed */
    uint16_t
        hole; /* units of a hole that begins at hole_at; but of a current arena: see the slot */
    uint16_t hole_at;
    uint16_t rest; /* no other hole is longer */
    uint16_t bin;
    size_t any;    /* which words have a mark */
    size_t mark[]; /* of GRI_WORD_MARKS units each; and one for the end, where a hole might begin */
};

/*
 * Bins of arenas by what no hole is longer than: exact up to 16 units, then eight for each power of
 * two up to the longest request, those above, and those without a range.
 */
#define GRI_BIN_LONG 55u
#define GRI_BIN_EMPTY 56u
#define GRI_BINS 57u
#define GRI_BIN_NONE 0xffffu

/*
 * What is in arenas. Sums of all slots' are what counts: a range may come in one and go in another.
 */
struct gri_iova_tally {
    size_t live;
    size_t used; /* units */
    size_t held;
};

struct gr_iova_slot {
    struct gr_iova_arena *cur;
    gr_iova_t
        base;    /* its first byte; where there is none, what no unit is a number of units from */
    unsigned lo; /* [lo, hi) is free in `cur`: where the next range is cut off, at the top */
    unsigned hi;
    unsigned most; /* no other hole of `cur` is longer */
    unsigned cpu;
    uint8_t apart[GR_PORT_CACHE_LINE];
    gr_lock_t lock;
    struct gri_iova_tally sum; /* of all arenas but `cur` */
    uint64_t bins;             /* which of them have an arena */
    struct gr_iova_arena *bin[GRI_BINS];
    size_t claimed[GRI_NOTE_WORDS]; /* at the first unit of ranges in `cur` */
    size_t done[GRI_NOTE_WORDS];
    struct gri_iova_tally noted; /* what the notes change */
    uint8_t apart_too[GR_PORT_CACHE_LINE];
    size_t remote; /* bits in both; read without the lock */
};

/* Pages of a slot, and of the table of slots. */
#define GRI_SLOT_LG2 12u
#define GRI_SLOTS_SIZE (GR_PORT_CPUS * sizeof(void *))
#define GRI_SLOTS_LG2                                                                              \
    (12u + (GRI_SLOTS_SIZE > 4096) + (GRI_SLOTS_SIZE > 8192) + (GRI_SLOTS_SIZE > 16384))

_Static_assert(sizeof(struct gr_iova_slot) <= 1u << GRI_SLOT_LG2, "a slot has a page");
_Static_assert(GRI_SLOTS_SIZE <= 1u << GRI_SLOTS_LG2, "GR_PORT_CPUS is 4096 at most");

static inline unsigned gri_arena_units(const struct gr_iova *space)
{
    return (unsigned)space->arena_units;
}

/* ---- Counts: of ranges in the lower half of a word, of their units in the upper ---- */

#define GRI_COUNT_UNITS 16u

static inline uint32_t gri_count(uint64_t units)
{
    return (uint32_t)units << GRI_COUNT_UNITS | 1;
}

static inline uint32_t gri_counted(const uint32_t *count)
{
    return __atomic_load_n(count, __ATOMIC_RELAXED);
}

/* gr_iova_stats() reads them under the lock only. */
static inline void gri_count_up(uint32_t *count, uint64_t units)
{
    __atomic_store_n(count, gri_counted(count) + gri_count(units), __ATOMIC_RELAXED);
}

static inline void gri_count_down(uint32_t *count, uint64_t units)
{
    __atomic_store_n(count, gri_counted(count) - gri_count(units), __ATOMIC_RELAXED);
}

static inline unsigned gri_count_ranges(const uint32_t *count)
{
    return gri_counted(count) & ((1u << GRI_COUNT_UNITS) - 1);
}

static inline unsigned gri_count_units(const uint32_t *count)
{
    return gri_counted(count) >> GRI_COUNT_UNITS;
}

/* Add what is in an arena to a sum. */
static inline void gri_tally_add(struct gri_iova_tally *sum, const struct gr_iova_arena *arena)
{
    sum->live += (size_t)gri_count_ranges(&arena->busy) - gri_count_ranges(&arena->held);
    sum->used += (size_t)gri_count_units(&arena->busy) - gri_count_units(&arena->held);
    sum->held += gri_count_units(&arena->held);
}

/* Take it out. */
static inline void gri_tally_sub(struct gri_iova_tally *sum, const struct gr_iova_arena *arena)
{
    struct gri_iova_tally part = {0};

    gri_tally_add(&part, arena);
    sum->live -= part.live;
    sum->used -= part.used;
    sum->held -= part.held;
}

/* ---- Marks ---- */

static inline size_t gri_mark_word(const struct gr_iova_arena *arena, unsigned i)
{
    return __atomic_load_n(&arena->mark[i], __ATOMIC_RELAXED);
}

static inline unsigned gri_mark_shift(unsigned at)
{
    return at % GRI_WORD_MARKS * 2;
}

static inline enum gri_mark gri_mark(const struct gr_iova_arena *arena, unsigned at)
{
    return (enum gri_mark)(gri_mark_word(arena, at / GRI_WORD_MARKS) >> gri_mark_shift(at) & 3);
}

static inline bool gri_is_range(enum gri_mark mark)
{
    return mark & 2;
}

static inline size_t gri_any(const struct gr_iova_arena *arena)
{
    return __atomic_load_n(&arena->any, __ATOMIC_RELAXED);
}

/* One store, so that who has the range on one side of the mark sees it at any time. */
static inline void gri_remark(struct gr_iova_arena *arena, unsigned at, enum gri_mark from,
                              enum gri_mark to)
{
    const unsigned i = at / GRI_WORD_MARKS;
    const size_t word = gri_mark_word(arena, i) ^ (size_t)(from ^ to) << gri_mark_shift(at);

    __atomic_store_n(&arena->mark[i], word, __ATOMIC_RELAXED);
}

/* No mark any more; and no branch for what nobody can foresee. */
static inline __attribute__((always_inline)) void gri_unmark(struct gr_iova_arena *arena,
                                                             unsigned at, enum gri_mark from)
{
    const unsigned i = at / GRI_WORD_MARKS;
    const size_t word = gri_mark_word(arena, i) ^ (size_t)from << gri_mark_shift(at);

    __atomic_store_n(&arena->mark[i], word, __ATOMIC_RELAXED);
    __atomic_store_n(&arena->any, gri_any(arena) & ~((size_t)!word << i), __ATOMIC_RELAXED);
}

/* Where nothing may be marked. */
static inline void gri_mark_new(struct gr_iova_arena *arena, unsigned at, enum gri_mark mark)
{
    const unsigned i = at / GRI_WORD_MARKS;
    const size_t word = gri_mark_word(arena, i) | (size_t)mark << gri_mark_shift(at);

    __atomic_store_n(&arena->mark[i], word, __ATOMIC_RELAXED);
    __atomic_store_n(&arena->any, gri_any(arena) | (size_t)1 << i, __ATOMIC_RELAXED);
}

#define GRI_MARKS_LOW ((size_t)-1 / 3)

/* The lowest bit of these is in the lowest mark that is meant; the highest bit in the highest. */
enum gri_seek { GRI_ANY_MARK, GRI_A_RANGE, GRI_A_HOLE };

static inline size_t gri_seek(size_t word, enum gri_seek what)
{
    return what == GRI_ANY_MARK  ? word
           : what == GRI_A_RANGE ? word & ~GRI_MARKS_LOW
                                 : word & ~(word >> 1) & GRI_MARKS_LOW;
}

/* The first such mark from `at` on; `units` if there is none. */
static inline unsigned gri_mark_next(const struct gr_iova_arena *arena, unsigned units, unsigned at,
                                     enum gri_seek what)
{
    if (at >= units)
        return units;

    unsigned i = at / GRI_WORD_MARKS;
    size_t w = gri_seek(gri_mark_word(arena, i) & (size_t)-1 << gri_mark_shift(at), what);

    for (size_t above = gri_any(arena) & (size_t)-2 << i; !w; above &= above - 1) {
        if (!above)
            return units;
        i = gri_low_bit(above);
        w = gri_seek(gri_mark_word(arena, i), what);
    }
    return i * GRI_WORD_MARKS + gri_low_bit(w) / 2;
}

/* One more than the last mark below `at`; 0 if there is none. */
static inline unsigned gri_mark_before(const struct gr_iova_arena *arena, unsigned at)
{
    if (!at--)
        return 0;

    unsigned i = at / GRI_WORD_MARKS;
    size_t w = gri_mark_word(arena, i) & (size_t)-1 >> (GRI_WORD_BITS - 2 - gri_mark_shift(at));

    for (size_t below = gri_any(arena) & (((size_t)1 << i) - 1); !w; below &= ~((size_t)1 << i)) {
        if (!below)
            return 0;
        i = gri_high_bit(below);
        w = gri_mark_word(arena, i);
    }
    return i * GRI_WORD_MARKS + gri_high_bit(w) / 2 + 1;
}

/*
 * The range that unit `at` is in: [*first, *end). Reads only what belongs to it, if there is one
 * that begins at `at`.
 */
static inline enum gri_iova_state gri_arena_range(const struct gr_iova_arena *arena, unsigned units,
                                                  unsigned at, unsigned *first, unsigned *end)
{
    const unsigned behind = gri_mark_before(arena, at + 1);
    const enum gri_mark mark = behind ? gri_mark(arena, behind - 1) : GRI_HOLE;

    if (!gri_is_range(mark))
        return GRI_IOVA_FREE;
    *first = behind - 1;
    *end = gri_mark_next(arena, units, behind, GRI_ANY_MARK);
    return mark == GRI_HELD ? GRI_IOVA_HELD : GRI_IOVA_ALLOCATED;
}

/*
 * Is [first, first + units), `first` in the arena, a live range? Reads only what belongs to it, if
 * it is one.
 */
static inline bool gri_arena_exactly(const struct gr_iova_arena *arena, unsigned all,
                                     unsigned first, uint64_t units)
{
    unsigned i = first / GRI_WORD_MARKS;
    const unsigned shift = gri_mark_shift(first);
    const size_t word = gri_mark_word(arena, i) >> shift;

    if (~word & GRI_LIVE)
        return false;
    /* As many marks as a word has, behind `first`: what branches does so for long ranges only. */
    size_t next = word >> 2 | gri_mark_word(arena, i + 1) << (GRI_WORD_BITS - 2 - shift);
    unsigned end = first + 1; /* of all that is not in `next` */

    if (!next) {
        const size_t above = gri_any(arena) & (size_t)-2 << i;

        i = above ? gri_low_bit(above) : all / GRI_WORD_MARKS;
        next = gri_mark_word(arena, i);
        end = i * GRI_WORD_MARKS;
    }
    end += gri_low_bit(next) / 2;
    return first + units == end;
}

/* ---- Notes ---- */

static inline size_t gri_note_bit(unsigned at)
{
    return (size_t)1 << at % GRI_WORD_BITS;
}

static inline bool gri_noted(const size_t *notes, unsigned at)
{
    return notes[at / GRI_WORD_BITS] & gri_note_bit(at);
}

/* ---- Slots, for iova_fixed.c; the space is the caller's alone ---- */

/* The arena that holds `unit`, or NULL. */
struct gr_iova_arena *gri_arena_of(const struct gr_iova *space, uint64_t unit);

/* Take the arena out of its slot, with what other CPUs left for it, but not out of the core. */
void gri_arena_detach(struct gr_iova *space, struct gr_iova_arena *arena);

/* Forget a detached arena; the core has other ranges there now. */
void gri_arena_forget(struct gr_iova *space, struct gr_iova_arena *arena);

#endif
