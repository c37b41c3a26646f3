/* SPDX-License-Identifier: MIT */
/*
 * The IOVA allocator: which device addresses are in use.
 *
 * One space covers [first, last] of an aperture in units of the granule. The core is a tree of
 * ranges; its operations are O(log n) in the number of ranges. In spaces of 2^14 units and more
 * each CPU has *arenas* in front of the tree: aligned runs of 64 to 2048 units, never longer than
 * the span of a leaf table. A request for up to a quarter of an arena is met from an arena. No
 * operation is linear in the number of allocations. Freeing never needs memory. Pages of
 * bookkeeping are kept until gr_iova_fini().
 *
 * Freeing takes two calls, because an address must not be handed out again before the IOMMU has
 * invalidated it (docs/DESIGN.md, "Table lifetime"):
 *  1. gr_iova_free_begin() takes the range out of use, and tells which tables hold no allocation
 *     in their spans any more.
 *  2. The caller clears the entries, invalidates, and frees these tables.
 *  3. gr_iova_free_end() makes the range available.
 * Between the two calls the range is *held*. A range that is never ended is quarantined: no later
 * call returns any of it.
 *
 * Locking: inside. gr_iova_alloc(), gr_iova_free_begin(), gr_iova_free_end(), gr_iova_free(),
 * gr_iova_check() and gr_iova_stats() may run on any CPU at any time. All other calls are
 * exclusive: the caller serialises them against every other call on the space. Context: any; no
 * call sleeps.
 *
 * Where the port has an exclusive section (port.h), a CPU that frees in the current arena of
 * another CPU leaves a note there. The arena's owner carries notes out when it next takes a slow
 * path, and gr_iova_drain() does it too. Until then the free retires no table; at most one arena
 * of each CPU waits in this way.
 */
#ifndef GRANULE_IOVA_H
#define GRANULE_IOVA_H

#include <granule/err.h>
#include <granule/port.h>
#include <granule/types.h>

GR_BEGIN_DECLS

struct gr_iova_node; /* private */
struct gr_iova_arena;
struct gr_iova_slot;

#define GR_IOVA_SPANS 8u

/* The size is public, so that a caller can embed the struct. Every member is private. */
struct gr_iova {
    gr_env_t env; /* the members up to `apart` are read by every call and hardly ever written */
    unsigned unit_lg2;
    unsigned arena_lg2;   /* log2 of the units of an arena; 0: no arenas */
    uint64_t unit_mask;   /* this and the next two follow from the two above */
    uint64_t arena_units; /* 0: no arenas */
    uint64_t arena_size;  /* bytes of an arena; 0: no arenas */
    uint64_t first;       /* the aperture's whole units: [first, end) */
    uint64_t end;
    uint8_t span_lg2[GR_IOVA_SPANS];
    unsigned spans;
    uintptr_t map;               /* radix tree that finds the arena of a unit */
    struct gr_iova_slot **slots; /* of each CPU: its arenas */
    uint8_t apart[GR_PORT_CACHE_LINE];
    gr_lock_t lock; /* guards all members below */
    struct gr_iova_node *root;
    struct gr_iova_node *spare; /* list of unused nodes */
    uint64_t spares;
    struct gr_iova_node *slabs;
    struct gr_iova_arena *spare_arena;
    void *arena_slabs;
    uint64_t arenas;
    uint64_t drains;
    uint64_t memory;      /* bytes of bookkeeping pages */
    uint64_t allocations; /* live ones in the tree; arenas count theirs themselves */
    uint64_t used_units;  /* units of these allocations */
    uint64_t held_units;  /* units of the tree that are held */
    uint64_t reserved_units;
};

/* What to allocate. A member that is zero has the default in brackets. */
struct gr_iova_req {
    uint64_t size;     /* bytes, a multiple of the unit, not 0 */
    uint64_t align;    /* power of two [the unit]; values below the unit mean the unit */
    uint64_t boundary; /* power of two [none], not below size; no multiple of it is crossed */
    gr_iova_t first;   /* the range lies within [first, last] and the aperture */
    gr_iova_t last;    /* inclusive [the end of the aperture] */
};

/*
 * The state of a space, for reports and tests. Bytes saturate at 2^64 - 1: a space of all
 * addresses has one byte more than that.
 */
struct gr_iova_stats {
    uint64_t allocations; /* live allocations */
    uint64_t allocated;   /* bytes in them */
    uint64_t held;        /* bytes held: being freed, or quarantined */
    uint64_t reserved;    /* bytes reserved */
    uint64_t available;   /* bytes free */
    uint64_t memory;      /* bytes of the port's memory in use for bookkeeping */
    uint64_t arenas;      /* arenas of all CPUs */
    uint64_t stranded;    /* bytes of `available` that lie in arenas */
    uint64_t drains;      /* allocations that searched the arenas of all CPUs */
};

/*
 * Exclusive. Prepare a space for [first, last], both inclusive. Units that lie only partly inside
 * are not used. `unit_lg2` is log2 of the granule, 12..32.
 * Returns 0, GR_EINVAL (unit_lg2, first > last), GR_ERANGE (no whole unit inside), GR_ENOMEM. After
 * a failure the space is empty: only gr_iova_init() and gr_iova_fini() may be called on it.
 */
GR_MUST_CHECK int gr_iova_init(struct gr_iova *space, gr_env_t env, unsigned unit_lg2,
                               gr_iova_t first, gr_iova_t last);

/*
 * Exclusive. Give all bookkeeping memory back, whatever is still allocated. A second call does
 * nothing.
 */
void gr_iova_fini(struct gr_iova *space);

/*
 * Allocate a range. Any CPU, at any time.
 *
 * In a space without arenas the highest range that fits is taken. Where `align` is the unit and
 * `boundary` is not given, the request fails only if no free range within [first, last] is long
 * enough. With `align` or `boundary` the search stays O(log n) at a price: the result may lie lower
 * than the highest possible, and a request may be refused although an odd-shaped remainder would
 * fit. A request is never refused while [first, last] contains one of these:
 *   - a naturally aligned free block of max(align, size rounded up to a power of two) bytes;
 *   - a free range of size + align - unit bytes, or with a boundary 2 * size + align - 2 * unit.
 *
 * In a space with arenas the result lies anywhere within the limits. The same promise holds for
 * room outside arenas. Room in arenas may be missed where it lies
 *   - across the border of two arenas;
 *   - in the current arena of another CPU, where the port has an exclusive section;
 *   - beyond a few arenas at the ends of [first, last], for a request of more than a quarter of an
 *     arena, or with other limits than most requests have.
 * A request fails only after the arenas of all CPUs were searched (gr_iova_stats.drains).
 *
 * Returns 0 and *out_start, or GR_ENODATA (size 0), GR_EINVAL (size no multiple of the unit, align
 * or boundary no power of two, boundary below size), GR_ERANGE ([first, last] and the aperture
 * share no whole unit, or first > last), GR_ENOSPC, GR_ENOMEM. Nothing changes on failure, except
 * that pages of bookkeeping may have been allocated.
 */
GR_MUST_CHECK int gr_iova_alloc(struct gr_iova *space, const struct gr_iova_req *req,
                                gr_iova_t *out_start);

/*
 * Exclusive. Allocate exactly [start, start + size). The range is freed like any other allocation.
 * Arenas that the range overlaps are dissolved, which is slow.
 * Returns 0, GR_ENODATA, GR_EINVAL (not in whole units), GR_EOVERFLOW, GR_ERANGE (the range is not
 * all in the aperture), GR_EEXIST (the range is allocated, held or reserved in part), GR_ENOMEM.
 * Nothing changes on failure.
 */
GR_MUST_CHECK int gr_iova_alloc_fixed(struct gr_iova *space, gr_iova_t start, uint64_t size);

/*
 * Exclusive. Keep every unit that [first, last] touches out of all allocations for good: MSI pages,
 * host windows, firmware's regions. The range may reach outside the aperture, and may overlap what
 * is reserved already.
 * Returns 0, GR_EINVAL (first > last), GR_EBUSY (a unit of it is allocated or held), GR_ENOMEM.
 * Nothing changes on failure.
 */
GR_MUST_CHECK int gr_iova_reserve(struct gr_iova *space, gr_iova_t first, gr_iova_t last);

/*
 * Exclusive. Say what tables the space has: span_lg2[i] is log2 of the bytes that one table of a
 * level spans, up to 64. The levels come in any order; values from GR_IOVA_SPANS on are ignored.
 * Call it once, before the first allocation; a space without tables needs no call.
 */
void gr_iova_set_spans(struct gr_iova *space, const uint8_t *span_lg2, unsigned spans);

/*
 * Any CPU, at any time. Begin to free [start, start + size), which must be exactly one allocation.
 *
 * The range is held from now on. Where it was the last user of a table, the rest of the table's
 * span is held as well, so that the caller can retire the table. A span has no user if it touches
 * the freed range and contains no other allocation, held range, reservation or arena; addresses
 * outside the aperture's whole units are never users. When the last range of an arena is freed the
 * arena goes too, and all its units count as freed.
 *
 * *out_held contains [start, start + size) and every such span, clipped to the aperture's whole
 * units; it starts and ends on units. A table whose clipped span lies within *out_held has no user
 * and may be retired. Pass *out_held to gr_iova_free_end().
 *
 * Returns 0, GR_ENODATA (size 0), GR_ENOENT (no allocation at or around start), GR_EMSGSIZE (an
 * allocation is there, but not exactly this one). Nothing changes on failure. Never needs memory.
 * Two calls at the same time for one allocation are the caller's error, and may both return 0.
 */
GR_MUST_CHECK int gr_iova_free_begin(struct gr_iova *space, gr_iova_t start, uint64_t size,
                                     struct gr_range *out_held);

/*
 * Any CPU, at any time. Make a held range available again. `held` is a range that
 * gr_iova_free_begin() or this function wrote, and that was not ended yet; any other range is
 * ignored.
 *
 * Returns true if the arena of the range has lost its last range and no gr_iova_free_begin() could
 * see that, because several ranges were being freed at once. Then *out_empty is held as by
 * gr_iova_free_begin(): the caller retires its tables, invalidates, and ends *out_empty too. Always
 * false in a space without tables. `out_empty` may be `held`.
 */
GR_MUST_CHECK bool gr_iova_free_end(struct gr_iova *space, const struct gr_range *held,
                                    struct gr_range *out_empty);

/*
 * Any CPU, at any time. gr_iova_free_begin() and gr_iova_free_end() in one call, for a space whose
 * addresses no IOMMU caches. Returns as gr_iova_free_begin().
 */
GR_MUST_CHECK int gr_iova_free(struct gr_iova *space, gr_iova_t start, uint64_t size);

/*
 * Any CPU, at any time. Is [start, start + size) exactly one live allocation? Returns 0 if so, else
 * the errors of gr_iova_free_begin().
 */
GR_MUST_CHECK int gr_iova_check(struct gr_iova *space, gr_iova_t start, uint64_t size);

/*
 * Exclusive. Carry out the frees that CPUs noted for each other, and give back every arena without
 * a range. The tables of these arenas are not retired: a caller with tables trims them afterwards
 * (gr_pt_trim()). Returns the bytes of the arenas given back.
 */
uint64_t gr_iova_drain(struct gr_iova *space);

/* Any CPU, at any time. The numbers are exact when no other call runs. */
void gr_iova_stats(struct gr_iova *space, struct gr_iova_stats *out);

GR_END_DECLS

#endif
