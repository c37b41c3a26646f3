/* SPDX-License-Identifier: MIT */
/*
 * Arenas: aligned runs of 2^arena_lg2 units that the core gave to one CPU's slot.
 *
 * An arena marks the first and the last unit of each range in it, so that an operation costs two
 * bits whatever the length, and a third bit at the last unit while the range is being freed. Holes
 * are what lies between a last unit and the next first one.
 *
 * Who may touch what. A slot's lock guards its arenas, but for the current one, `cur`, where the
 * port has an exclusive section: that arena, the hole and `own` belong to the CPU inside a section,
 * with plain loads and stores (relaxed atomics, since others may look at marks of a range that is
 * theirs). `cur` itself changes with both, so that whoever has the lock knows what is current. A
 * CPU that frees what lies in another's current arena leaves `claimed` and `done` in the slot,
 * under its lock; the owner collects them. Without a section the lock is all there is.
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
    (sizeof(size_t) == 8 ? 11u : 10u)             /* so that a word has a bit for each             \
                                                   */
#define GRI_ARENA_UNITS (1u << GRI_ARENA_LG2_MAX) /* of the largest */

#define GRI_WORD_BITS ((unsigned)(8 * sizeof(size_t)))
#define GRI_ARENA_WORDS (GRI_ARENA_UNITS / GRI_WORD_BITS)

enum gri_mark { GRI_FIRST, GRI_LAST, GRI_HELD, GRI_MARKS };

struct gr_iova_arena {
    uint64_t first;            /* its first unit */
    struct gr_iova_slot *slot; /* whose it is; also of a spare one, for who comes too late */
    struct gr_iova_arena *next;
    struct gr_iova_arena *prev; /* in its bin */
    uint16_t busy;              /* ranges in it, live or being freed */
    uint16_t hole;              /* units of the longest hole, but of a current arena */
    uint16_t hole_at;
    uint16_t bin;
    size_t any[GRI_HELD];     /* for first and last units: which words have a mark */
    size_t mark[][GRI_MARKS]; /* GRI_WORD_BITS units each */
};

/* Bins of arenas by the longest hole: exact up to 16 units, then eight for each power of two up to
 * the longest request, those above, and those without a range. */
#define GRI_BIN_LONG 55u
#define GRI_BIN_EMPTY 56u
#define GRI_BINS 57u
#define GRI_BIN_NONE 0xffffu

/* Sums of all slots' are what counts: a range may come in one and go in another. */
struct gri_iova_tally {
    size_t live;
    size_t used; /* units */
    size_t held;
};

struct gr_iova_slot {
    struct gr_iova_arena *cur;
    uint64_t lo; /* [lo, hi) is free in `cur`: where the next range is cut off, at the top */
    uint64_t hi;
    unsigned most; /* no other hole of `cur` is longer */
    unsigned cpu;
    struct gri_iova_tally own;
    uint8_t apart[GR_PORT_CACHE_LINE];
    gr_lock_t lock;
    struct gri_iova_tally others; /* what other CPUs did */
    uint64_t bins;                /* which of them have an arena */
    struct gr_iova_arena *bin[GRI_BINS];
    size_t claimed[GRI_ARENA_WORDS]; /* at the last unit of ranges in `cur` */
    size_t done[GRI_ARENA_WORDS];
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
    return 1u << space->arena_lg2;
}

/* ---- Marks ---- */

static inline size_t gri_mark_word(const struct gr_iova_arena *arena, unsigned at,
                                   enum gri_mark mark)
{
    return __atomic_load_n(&arena->mark[at / GRI_WORD_BITS][mark], __ATOMIC_RELAXED);
}

static inline size_t gri_mark_bit(unsigned at)
{
    return (size_t)1 << at % GRI_WORD_BITS;
}

static inline bool gri_marked(const struct gr_iova_arena *arena, unsigned at, enum gri_mark mark)
{
    return gri_mark_word(arena, at, mark) & gri_mark_bit(at);
}

static inline void gri_set(size_t *word, size_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* The words of an arena that may have a mark: all that have, and some that had. */
static inline size_t gri_any(const struct gr_iova_arena *arena, enum gri_mark mark)
{
    return __atomic_load_n(&arena->any[mark], __ATOMIC_RELAXED);
}

static inline void gri_mark(struct gr_iova_arena *arena, unsigned at, enum gri_mark mark)
{
    unsigned i = at / GRI_WORD_BITS;
    gri_set(&arena->mark[i][mark], gri_mark_word(arena, at, mark) | gri_mark_bit(at));
    if (mark != GRI_HELD && !(gri_any(arena, mark) >> i & 1))
        gri_set(&arena->any[mark], gri_any(arena, mark) | (size_t)1 << i);
}

static inline void gri_unmark(struct gr_iova_arena *arena, unsigned at, enum gri_mark mark)
{
    gri_set(&arena->mark[at / GRI_WORD_BITS][mark],
            gri_mark_word(arena, at, mark) & ~gri_mark_bit(at));
}

/* The first marked unit from `at` on; `units` if there is none. Not of GRI_HELD. */
static inline unsigned gri_mark_next(const struct gr_iova_arena *arena, unsigned units, unsigned at,
                                     enum gri_mark mark)
{
    if (at >= units)
        return units;
    unsigned i = at / GRI_WORD_BITS;
    size_t w = gri_mark_word(arena, at, mark) & ~(gri_mark_bit(at) - 1);
    for (size_t above = gri_any(arena, mark) & ~((((size_t)1 << i) << 1) - 1); !w;
         above &= above - 1) {
        if (!above)
            return units;
        i = gri_low_bit(above);
        w = gri_mark_word(arena, i * GRI_WORD_BITS, mark);
    }
    return i * GRI_WORD_BITS + gri_low_bit(w);
}

/* One more than the last marked unit below `at`; 0 if there is none. Not of GRI_HELD. */
static inline unsigned gri_mark_before(const struct gr_iova_arena *arena, unsigned at,
                                       enum gri_mark mark)
{
    if (!at--)
        return 0;
    unsigned i = at / GRI_WORD_BITS;
    size_t w = gri_mark_word(arena, at, mark) & (gri_mark_bit(at) | (gri_mark_bit(at) - 1));
    for (size_t below = gri_any(arena, mark) & (((size_t)1 << i) - 1); !w;
         below &= ~((size_t)1 << i)) {
        if (!below)
            return 0;
        i = gri_high_bit(below);
        w = gri_mark_word(arena, i * GRI_WORD_BITS, mark);
    }
    return i * GRI_WORD_BITS + gri_high_bit(w) + 1;
}

/* Forget the words that had marks. */
static inline void gri_any_refresh(struct gr_iova_arena *arena)
{
    for (unsigned mark = 0; mark < GRI_HELD; mark++) {
        size_t any = gri_any(arena, (enum gri_mark)mark);
        for (size_t left = any; left; left &= left - 1) {
            unsigned i = gri_low_bit(left);
            if (!gri_mark_word(arena, i * GRI_WORD_BITS, (enum gri_mark)mark))
                any &= ~((size_t)1 << i);
        }
        gri_set(&arena->any[mark], any);
    }
}

/* The range that unit `at` is in: [*first, *last]. Reads only what belongs to it, if there is one
 * that begins at `at`; else perhaps half of what its owner makes at this moment. */
static inline enum gri_iova_state gri_arena_range(const struct gr_iova_arena *arena, unsigned units,
                                                  unsigned at, unsigned *first, unsigned *last)
{
    unsigned end = gri_mark_before(arena, at + 1, GRI_FIRST);
    if (!end)
        return GRI_IOVA_FREE;
    *first = end - 1;
    *last = gri_mark_next(arena, units, *first, GRI_LAST);
    if (*last < at || *last == units)
        return GRI_IOVA_FREE;
    return gri_marked(arena, *last, GRI_HELD) ? GRI_IOVA_HELD : GRI_IOVA_ALLOCATED;
}

/* Is [first, last] a range, live or being freed? Reads only what belongs to it, if it is. */
static inline bool gri_arena_exactly(const struct gr_iova_arena *arena, unsigned units,
                                     unsigned first, unsigned last)
{
    return gri_marked(arena, first, GRI_FIRST) &&
           gri_mark_next(arena, units, first, GRI_LAST) == last;
}

/* ---- Slots, for iova_fixed.c; the space is the caller's alone ---- */

/* The arena that holds `unit`, or NULL. */
struct gr_iova_arena *gri_arena_of(const struct gr_iova *space, uint64_t unit);

/* Take the arena out of its slot, with what other CPUs left for it, but not out of the core. */
void gri_arena_detach(struct gr_iova *space, struct gr_iova_arena *arena);

/* Forget a detached arena; the core has other ranges there now. */
void gri_arena_forget(struct gr_iova *space, struct gr_iova_arena *arena);

#endif
