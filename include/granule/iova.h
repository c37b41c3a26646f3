/* SPDX-License-Identifier: MIT */
/*
 * The IOVA allocator: which device addresses are in use.
 *
 * One space covers [first, last] of an aperture in units of the granule. Its core is a tree of
 * ranges, O(log n) in their number. In front of it, in spaces of 2^14 units and more, each CPU has
 * arenas: aligned runs of 64 to 2048 units, never longer than a leaf table, from which requests of
 * up to a quarter of one are met. No operation is linear in what is allocated. Freeing never needs
 * memory. Pages of bookkeeping are kept until gr_iova_fini().
 *
 * Freeing has two steps, because an address must not be handed out again before the IOMMU forgot it
 * (docs/DESIGN.md, "Table lifetime"): gr_iova_free_begin() takes the range out of use and tells
 * which tables' spans hold no allocation any more; the caller clears, invalidates and frees; then
 * gr_iova_free_end() makes the range available. What is begun and never ended is quarantined: no
 * later call can return it.
 *
 * Locking: inside. gr_iova_alloc(), free_begin(), free_end(), free(), check() and stats(), which is
 * exact when nothing else runs: any CPU at any time. All others are exclusive: the caller
 * serialises them against everything. Context: any.
 *
 * Where the port has an exclusive section, what another CPU frees in a CPU's current arena is
 * collected when its owner next comes to a slow path, or by gr_iova_drain(): such a free retires
 * no table, and at most one arena per CPU waits like that.
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

/* Size is public so that a caller can embed it; every member is private. */
struct gr_iova {
    gr_env_t env; /* from here on: written when something is set up, read by every call */
    unsigned unit_lg2;
    unsigned arena_lg2;   /* log2 of an arena's units; 0: there are none */
    uint64_t unit_mask;   /* these three follow from the two */
    uint64_t arena_units; /* or 0 */
    uint64_t arena_size;  /* its bytes, or 0 */
    uint64_t first;       /* the aperture's whole units: [first, end) */
    uint64_t end;
    uint8_t span_lg2[GR_IOVA_SPANS];
    unsigned spans;
    uintptr_t map; /* from units to arenas */
    struct gr_iova_slot **slots;
    uint8_t apart[GR_PORT_CACHE_LINE];
    gr_lock_t lock; /* of all that follows */
    struct gr_iova_node *root;
    struct gr_iova_node *spare; /* list of unused nodes */
    uint64_t spares;
    struct gr_iova_node *slabs;
    struct gr_iova_arena *spare_arena;
    void *arena_slabs;
    uint64_t arenas;
    uint64_t drains;
    uint64_t memory;      /* bytes of pages */
    uint64_t allocations; /* live; this and the next two without what is in arenas */
    uint64_t used_units;  /* in them */
    uint64_t held_units;  /* between free_begin and free_end */
    uint64_t reserved_units;
};

/* What to allocate. Zero-initialised members mean the defaults in brackets. */
struct gr_iova_req {
    uint64_t size;     /* bytes, a multiple of the unit, not 0 */
    uint64_t align;    /* power of two [the unit]; values below the unit mean the unit */
    uint64_t boundary; /* power of two [none], not below size: no multiple of it is crossed */
    gr_iova_t first;   /* the range lies within [first, last] and the aperture */
    gr_iova_t last;    /* inclusive [the end of the aperture] */
};

/*
 * The state of a space, for reports and tests. Bytes saturate at 2^64 - 1: a space of all 2^64 has
 * one byte more than that.
 */
struct gr_iova_stats {
    uint64_t allocations; /* live allocations */
    uint64_t allocated;   /* bytes in them */
    uint64_t held;        /* bytes held: being freed, or quarantined */
    uint64_t reserved;    /* bytes reserved */
    uint64_t available;   /* bytes free */
    uint64_t memory;      /* bytes of the port's memory in use for bookkeeping */
    uint64_t arenas;      /* how many CPUs have */
    uint64_t stranded;    /* bytes of `available` that lie in arenas */
    uint64_t drains;      /* allocations that had to look into all CPUs' arenas */
};

/*
 * Exclusive. Prepare a space for [first, last], both inclusive; bytes of units that lie only partly
 * inside are not used. `unit_lg2` is log2 of the granule, 12..32. Returns 0, GR_EINVAL (unit_lg2,
 * first > last), GR_ERANGE (no whole unit inside), GR_ENOMEM. After a failure the space is empty:
 * only gr_iova_init() and gr_iova_fini() may be called on it.
 */
GR_MUST_CHECK int gr_iova_init(struct gr_iova *space, gr_env_t env, unsigned unit_lg2,
                               gr_iova_t first, gr_iova_t last);

/* Exclusive. Give all bookkeeping memory back, whatever is still allocated. A second call does
 * nothing. */
void gr_iova_fini(struct gr_iova *space);

/*
 * Allocate a range. Any CPU, at any time.
 *
 * In a space without arenas the highest range that fits is taken. Where `align` is the unit and no
 * `boundary` is given, this fails only if no free range within [first, last] is long enough.
 * Otherwise, to stay O(log n), the result may be lower than the highest possible, and the request
 * may be refused although an odd-shaped remainder would fit, but never while there lies within
 * [first, last] either a naturally aligned free block of max(align, size rounded up to a power of
 * two), or a free range of size + align - unit bytes, with a boundary size - unit bytes more.
 *
 * In a space with arenas the place is any within the limits, and the same is promised of room
 * outside arenas. Room in arenas may be missed where it lies
 *   - across the border of two arenas;
 *   - in the current arena of another CPU, where the port has an exclusive section;
 *   - beyond a few arenas at the ends of [first, last], for a request of more than a quarter of an
 *     arena, or with other limits than most requests have.
 * Before it fails it has looked into the arenas of all CPUs (stats.drains).
 *
 * Returns 0 and *out_start, or GR_ENODATA (size 0), GR_EINVAL (size no multiple of the unit, align
 * or boundary no power of two, boundary below size), GR_ERANGE ([first, last] and the aperture
 * share no whole unit, or first > last), GR_ENOSPC, GR_ENOMEM. Nothing changes on failure, but that
 * pages of bookkeeping may be there for the next call.
 */
GR_MUST_CHECK int gr_iova_alloc(struct gr_iova *space, const struct gr_iova_req *req,
                                gr_iova_t *out_start);

/*
 * Exclusive. Allocate exactly [start, start + size). Freed like any other allocation. Arenas that
 * it meets are dissolved, which is slow.
 * Returns 0, GR_ENODATA, GR_EINVAL (not in units), GR_EOVERFLOW, GR_ERANGE (not all of it
 * in the aperture), GR_EEXIST (allocated, held or reserved in part), GR_ENOMEM. Nothing changes on
 * failure.
 */
GR_MUST_CHECK int gr_iova_alloc_fixed(struct gr_iova *space, gr_iova_t start, uint64_t size);

/*
 * Exclusive. Keep every unit that [first, last] touches out of all allocations for good: MSI pages,
 * host windows, firmware's regions. Parts outside the aperture and parts reserved before are fine.
 * Returns 0, GR_EINVAL (first > last), GR_EBUSY (something in it is allocated or held), GR_ENOMEM.
 * Nothing changes on failure.
 */
GR_MUST_CHECK int gr_iova_reserve(struct gr_iova *space, gr_iova_t first, gr_iova_t last);

/*
 * Exclusive. Name the tables: `span_lg2` is log2 of the bytes that one page table of each level
 * covers, up to 64, in any order; of more than GR_IOVA_SPANS the rest is ignored. Once, before the
 * first allocation; a space without tables leaves it out.
 */
void gr_iova_set_spans(struct gr_iova *space, const uint8_t *span_lg2, unsigned spans);

/*
 * Any CPU, at any time. Begin to free the allocation [start, start + size), which must be exactly
 * one that was made.
 *
 * Where freeing leaves the whole (aligned) span of a table without an allocation, hold, reservation
 * or arena, and the span touches what is freed, the free neighbourhood up to the span's ends is
 * held too. With the last range of an arena goes the arena, all of which counts as freed. What a
 * span covers outside the aperture's whole units counts as unused. *out_held then covers every such
 * span, clipped to those units: a table whose clipped span lies within it has no user and may be
 * retired. *out_held contains [start, start + size) always, starts and ends on units, and is what
 * gr_iova_free_end() wants.
 *
 * Returns 0, GR_ENODATA (size 0), GR_ENOENT (no allocation at or around start), GR_EMSGSIZE (an
 * allocation is there, but not exactly this one). Nothing changes on failure. Never needs memory.
 * Two calls at the same time for one allocation are the caller's error, and may both return 0.
 */
GR_MUST_CHECK int gr_iova_free_begin(struct gr_iova *space, gr_iova_t start, uint64_t size,
                                     struct gr_range *out_held);

/*
 * Any CPU, at any time. Make a held range available again. `held` must be one that
 * gr_iova_free_begin() gave and that was not ended yet; any other is ignored. Returns true where
 * the arena has lost its last range in a way that no gr_iova_free_begin() could foresee, since
 * several were being freed at once: then *out_empty is held as by gr_iova_free_begin(), and the
 * caller retires the tables and ends it too. Never without tables. out_empty may be `held`.
 */
GR_MUST_CHECK bool gr_iova_free_end(struct gr_iova *space, const struct gr_range *held,
                                    struct gr_range *out_empty);

/* Both at once, for a space whose addresses nothing remembers. Errors of gr_iova_free_begin(). */
GR_MUST_CHECK int gr_iova_free(struct gr_iova *space, gr_iova_t start, uint64_t size);

/*
 * Is [start, start + size) exactly one live allocation? 0, or the errors of gr_iova_free_begin().
 */
GR_MUST_CHECK int gr_iova_check(struct gr_iova *space, gr_iova_t start, uint64_t size);

/*
 * Exclusive. Finish what CPUs left for one another and give every arena without a range back, their
 * tables or not: a caller that has tables may trim them. Returns bytes given back.
 */
uint64_t gr_iova_drain(struct gr_iova *space);

/* Any CPU, at any time; exact when nothing else runs. */
void gr_iova_stats(struct gr_iova *space, struct gr_iova_stats *out);

GR_END_DECLS

#endif
