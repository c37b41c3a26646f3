/* SPDX-License-Identifier: MIT */
/*
 * Arenas: aligned runs of 2^arena_lg2 units that the core gave to one CPU's slot. One arena of a
 * slot may be *current*: the CPU allocates there. The others are *parked*.
 *
 * An arena has a mark of two bits for each unit, which says what begins there: a hole, a live
 * range, a held range, or nothing. A range ends at the next mark, so an operation changes one mark,
 * whatever the length. A hole at the start of the arena needs no mark. In a parked arena no two
 * holes lie side by side. In a current arena holes may, but no mark lies inside the slot's hole.
 *
 * Locking. A slot's lock guards its parked arenas and, where the port has no exclusive section, its
 * current arena too. Where the port has one, the current arena and the slot's hole belong to the
 * slot's CPU while it is inside a section. That CPU needs no atomic operation but relaxed loads and
 * stores: another CPU may at the same time read the marks of a range that it owns, or the counts.
 * The pointer `cur` changes only with lock and section held, so a CPU that has the lock knows which
 * arena is current. A CPU that frees a range in another CPU's current arena notes that in the
 * slot's `claimed` and `done`, under the lock. The slot's CPU collects these notes.
 *
 * The memory of a header or slot holds headers or slots until gr_iova_fini(), so a stale pointer
 * to one is harmless. Order of locks: a slot's, then the space's. A section is entered after any
 * lock, and none is taken inside it.
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
    (sizeof(size_t) == 8 ? 11u : 9u)              /* `any` has a bit for each word of marks */
#define GRI_ARENA_UNITS (1u << GRI_ARENA_LG2_MAX) /* units of the largest arena */

#define GRI_WORD_BITS ((unsigned)(8 * sizeof(size_t)))
#define GRI_NOTE_WORDS (GRI_ARENA_UNITS / GRI_WORD_BITS)
#define GRI_WORD_MARKS (GRI_WORD_BITS / 2)

/* What begins at a unit. Bit 1 is set for ranges. */
enum gri_mark { GRI_NONE, GRI_HOLE, GRI_HELD, GRI_LIVE };

struct gr_iova_arena {
    uint64_t first; /* its first unit */
    /* Kept while the header is spare: a CPU that looked the arena up before may still read it. */
    struct gr_iova_slot *slot;
    struct gr_iova_arena *next; /* in its bin, or in the list of spare headers */
    struct gr_iova_arena *prev;
    uint32_t busy; /* ranges, live or held, and their units: gri_count() */
    uint32_t held; /* held ranges alone */
    /* Of a parked arena; a current arena's hole and bound are in its slot. */
    uint16_t hole; /* units of the known hole, which begins at hole_at */
    uint16_t hole_at;
    uint16_t rest; /* no other hole is longer */
    uint16_t bin;  /* GRI_BIN_NONE: current, or parked and full */
    size_t any;    /* a bit for each word of `mark` that is not 0; none for the last word */
    /* GRI_WORD_MARKS units a word. The last word marks a hole at the end, where a range may end. */
    size_t mark[];
};

/*
 * Parked arenas are binned by an upper bound of their longest hole: a bin for each length below 16
 * units, eight for each power of two up to 511 units, and one for all longer holes. Arenas without
 * a range have a bin of their own.
 */
#define GRI_BIN_LONG 55u
#define GRI_BIN_EMPTY 56u
#define GRI_BINS 57u
#define GRI_BIN_NONE 0xffffu

/*
 * What arenas hold. A tally of its own may wrap below 0: `noted` takes ranges off that the current
 * arena still counts. Only the sum over a slot means anything.
 */
struct gri_iova_tally {
    size_t live;
    size_t used; /* units */
    size_t held; /* units */
};

struct gr_iova_slot {
    struct gr_iova_arena *cur;
    gr_iova_t base; /* first byte of `cur`; NO_BASE without one, so that no unit matches */
    unsigned lo;    /* [lo, hi) is the hole of `cur` that ranges are cut from, at its top */
    unsigned hi;
    unsigned most; /* no other hole of `cur` is longer; GRI_ARENA_UNITS: not known */
    unsigned cpu;
    uint8_t apart[GR_PORT_CACHE_LINE];
    gr_lock_t lock;
    struct gri_iova_tally sum; /* of all parked arenas */
    uint64_t bins;             /* a bit for each bin that has an arena */
    struct gr_iova_arena *bin[GRI_BINS];
    /* Notes: a bit at the first unit of each range of `cur` that another CPU frees. */
    size_t claimed[GRI_NOTE_WORDS]; /* gr_iova_free_begin(): the range is held */
    size_t done[GRI_NOTE_WORDS];    /* gr_iova_free_end(): the range is a hole */
    struct gri_iova_tally noted;    /* what the notes change in the counts of `cur` */
    uint8_t apart_too[GR_PORT_CACHE_LINE];
    size_t remote; /* bits set in the notes; read without the lock */
};

/* log2 of the bytes of a slot and of the table of slots: whole pages. */
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

/* ---- Counts: ranges in the lower half of a word, their units in the upper ---- */

#define GRI_COUNT_UNITS 16u

static inline uint32_t gri_count(uint64_t units)
{
    return (uint32_t)units << GRI_COUNT_UNITS | 1;
}

static inline uint32_t gri_counted(const uint32_t *count)
{
    return __atomic_load_n(count, __ATOMIC_RELAXED);
}

/*
 * Plain loads and relaxed stores will do: only one CPU changes a count at a time. gr_iova_stats()
 * may read it meanwhile, since it has the lock but not the section of a current arena's CPU.
 */
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

/* Add an arena's counts to a sum. */
static inline void gri_tally_add(struct gri_iova_tally *sum, const struct gr_iova_arena *arena)
{
    sum->live += (size_t)gri_count_ranges(&arena->busy) - gri_count_ranges(&arena->held);
    sum->used += (size_t)gri_count_units(&arena->busy) - gri_count_units(&arena->held);
    sum->held += gri_count_units(&arena->held);
}

/* Take an arena's counts out of a sum. */
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

/*
 * A single store: the owner of a neighbouring range may read the mark at the same time, and sees
 * the old one or the new.
 */
static inline void gri_remark(struct gr_iova_arena *arena, unsigned at, enum gri_mark from,
                              enum gri_mark to)
{
    const unsigned i = at / GRI_WORD_MARKS;
    const size_t word = gri_mark_word(arena, i) ^ (size_t)(from ^ to) << gri_mark_shift(at);

    __atomic_store_n(&arena->mark[i], word, __ATOMIC_RELAXED);
}

/* Remove the mark. Branch-free, because whether the word becomes empty is unpredictable. */
static inline __attribute__((always_inline)) void gri_unmark(struct gr_iova_arena *arena,
                                                             unsigned at, enum gri_mark from)
{
    const unsigned i = at / GRI_WORD_MARKS;
    const size_t word = gri_mark_word(arena, i) ^ (size_t)from << gri_mark_shift(at);

    __atomic_store_n(&arena->mark[i], word, __ATOMIC_RELAXED);
    __atomic_store_n(&arena->any, gri_any(arena) & ~((size_t)!word << i), __ATOMIC_RELAXED);
}

/* Set a mark where there is none or GRI_HOLE: GRI_LIVE has that bit too, so an OR will do. */
static inline void gri_mark_new(struct gr_iova_arena *arena, unsigned at, enum gri_mark mark)
{
    const unsigned i = at / GRI_WORD_MARKS;
    const size_t word = gri_mark_word(arena, i) | (size_t)mark << gri_mark_shift(at);

    __atomic_store_n(&arena->mark[i], word, __ATOMIC_RELAXED);
    __atomic_store_n(&arena->any, gri_any(arena) | (size_t)1 << i, __ATOMIC_RELAXED);
}

#define GRI_MARKS_LOW ((size_t)-1 / 3)

enum gri_seek { GRI_ANY_MARK, GRI_A_RANGE, GRI_A_HOLE };

/* A word of marks filtered: each mark of the kind sought keeps at least one bit, others keep none.
 */
static inline size_t gri_seek(size_t word, enum gri_seek what)
{
    return what == GRI_ANY_MARK  ? word
           : what == GRI_A_RANGE ? word & ~GRI_MARKS_LOW
                                 : word & ~(word >> 1) & GRI_MARKS_LOW;
}

/* The unit of the first mark of that kind from `at` on; `units` if there is none. */
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

/* One more than the unit of the last mark below `at`; 0 if there is none. */
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
 * The state of unit `at`, and its range [*first, *end) unless it is free. Where the caller owns the
 * range and it begins at `at`, the answer depends only on marks that no other CPU takes away: the
 * range's own and the one at its end.
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
 * Is [first, first + units) a live range? `first` is in the arena, which has `all` units. What
 * gri_arena_range() says of the marks that the answer depends on holds here too.
 */
static inline bool gri_arena_exactly(const struct gr_iova_arena *arena, unsigned all,
                                     unsigned first, uint64_t units)
{
    unsigned i = first / GRI_WORD_MARKS;
    const unsigned shift = gri_mark_shift(first);
    const size_t word = gri_mark_word(arena, i) >> shift;

    if (~word & GRI_LIVE)
        return false;
    /* The next word's worth of marks after `first`; only longer ranges take the branch below. */
    size_t next = word >> 2 | gri_mark_word(arena, i + 1) << (GRI_WORD_BITS - 2 - shift);
    unsigned end = first + 1; /* the unit at bit 0 of `next` */

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

/* ---- Arenas, for iova_fixed.c, whose calls have the space to themselves ---- */

/* The arena that holds `unit`, or NULL. */
struct gr_iova_arena *gri_arena_of(const struct gr_iova *space, uint64_t unit);

/* Collect the notes on an arena and take it out of its slot. The map and the core keep it. */
void gri_arena_detach(struct gr_iova *space, struct gr_iova_arena *arena);

/*
 * Take a detached arena out of the map; its header becomes a spare one. The core's range is the
 * caller's to replace. space->lock is held, or the space is the caller's alone.
 */
void gri_arena_free(struct gr_iova *space, struct gr_iova_arena *arena);

#endif
