/* SPDX-License-Identifier: MIT */
/*
 * The inside of an IOVA space, for src/iova and for the tests that check its invariants.
 *
 * The core is one AVL tree, ordered by address, that holds every unit of the space in exactly one
 * range: the ranges are contiguous and cover [space->first, space->end). Neighbours that are both
 * free or both reserved are one range; all others stay as they were made. space->lock guards it.
 *
 * Everything here counts in units. A unit is at least 4 KiB, so unit numbers, exclusive ends and
 * the sums of a few lengths stay far below 2^64.
 */
#ifndef GRI_IOVA_INTERNAL_H
#define GRI_IOVA_INTERNAL_H

#include <granule/iova.h>

#include "core/bits.h"

enum gri_iova_state {
    GRI_IOVA_FREE,
    GRI_IOVA_ALLOCATED,
    GRI_IOVA_HELD,
    GRI_IOVA_RESERVED,
    GRI_IOVA_ARENA, /* given to a CPU's slot: iova_arena.h */
};

struct gr_iova_node {
    struct gr_iova_node *child[2]; /* [0] lower, [1] higher addresses; [0] links spares, slabs */
    struct gr_iova_node *parent;
    uint64_t first;
    uint64_t units;
    uint64_t max_units; /* longest free range of the subtree */
    uint64_t max_block; /* largest naturally aligned power of two inside one of its free ranges */
    uint8_t height;     /* of the subtree; a leaf has 1 */
    uint8_t state;      /* enum gri_iova_state */
};

_Static_assert(sizeof(struct gr_iova_node) <= 64, "one range, one cache line");

/* A request in units. */
struct gri_iova_want {
    uint64_t units;
    uint64_t align;
    uint64_t boundary; /* 0: none */
    uint64_t first;    /* within [first, end) */
    uint64_t end;
};

static inline uint64_t gri_iova_end_of(const struct gr_iova_node *node)
{
    return node->first + node->units;
}

static inline uint64_t gri_iova_unit_mask(const struct gr_iova *space)
{
    return space->unit_mask;
}

/* The highest legal place for `want` in [first, end), first <= end. */
bool gri_iova_place(const struct gri_iova_want *want, uint64_t first, uint64_t end,
                    uint64_t *out_first);

/* ---- The core; space->lock is held, or the space is the caller's alone ---- */

/* Make the tree: one free range, all of the space. GR_ENOMEM. */
int gri_core_start(struct gr_iova *space);

/* Free all nodes. */
void gri_core_stop(struct gr_iova *space);

/* Have `count` spare nodes. GR_ENOMEM. A call below that needs spare nodes says how many. */
int gri_core_ready(struct gr_iova *space, uint64_t count);

/* The range that holds `unit`, which must be in the space. */
struct gr_iova_node *gri_core_find(const struct gr_iova *space, uint64_t unit);

/* The range just below `node` (side 0) or above it (side 1); NULL at the end of the space. */
struct gr_iova_node *gri_core_neighbour(const struct gr_iova_node *node, unsigned side);

/* Find a place for `want` and make it a range of `state`. GR_ENOSPC, GR_ENOMEM. */
int gri_core_alloc(struct gr_iova *space, const struct gri_iova_want *want,
                   enum gri_iova_state state, uint64_t *out_first);

/*
 * Make [first, end), part of the free range *node, a range of `state`; *node becomes that range.
 * Needs up to two spare nodes and allocates what is missing: GR_ENOMEM.
 */
int gri_core_carve(struct gr_iova *space, struct gr_iova_node **node, uint64_t first, uint64_t end,
                   enum gri_iova_state state);

/* `node` takes `units` from its neighbour on `side`. Returns the node of the grown range. */
struct gr_iova_node *gri_core_take(struct gr_iova *space, struct gr_iova_node *node, unsigned side,
                                   uint64_t units);

/* Make `node` free or reserved and join it with neighbours of that state. Needs no memory. */
void gri_core_settle(struct gr_iova *space, struct gr_iova_node *node, enum gri_iova_state state);

/*
 * Hold `node`, and of the free ranges beside it what lies in tables' spans that are now without a
 * user. Needs no memory.
 */
void gri_core_hold(struct gr_iova *space, struct gr_iova_node *node, struct gr_range *out_held);

/* ---- Freeing in two steps, for a caller that finishes before any exclusive call ---- */

/* A held range and, where that is enough to end it, its place in an arena. */
struct gri_iova_hold {
    struct gr_range range; /* *out_held of gr_iova_free_begin() */
    /* Was current on this CPU, and no table's span is held with the range. NULL: look again. */
    struct gr_iova_arena *arena;
    unsigned first; /* unit in the arena */
    unsigned units;
};

/*
 * gr_iova_free_begin(), and gr_iova_free_end() of the range that it held. The second call does not
 * search for the range again, which is why no exclusive call may come between.
 */
GR_MUST_CHECK int gri_iova_begin(struct gr_iova *space, gr_iova_t start, uint64_t size,
                                 struct gri_iova_hold *out);
GR_MUST_CHECK bool gri_iova_end(struct gr_iova *space, const struct gri_iova_hold *hold,
                                struct gr_range *out_empty);

/* ---- Exclusive calls ---- */

/*
 * For a caller that must reserve several ranges or none. Check each range first: this returns what
 * gr_iova_reserve() would with enough spare nodes.
 */
int gri_iova_reserve_check(struct gr_iova *space, gr_iova_t first, gr_iova_t last);

/* Then have spare nodes for that many calls of gr_iova_reserve(). GR_ENOMEM. */
int gri_iova_reserve_ready(struct gr_iova *space, uint64_t ranges);

#endif
