/* SPDX-License-Identifier: MIT */
/* The ranges of an IOVA space as callers know them: no arena and nothing that a CPU keeps shows. */
#ifndef TESTS_IOVA_TOOLS_H
#define TESTS_IOVA_TOOLS_H

#include "chance.h"

#include <iova/iova_arena.h>

#include <stdint.h>

typedef void (*iova_fn)(void *arg, uint64_t first, uint64_t units, enum gri_iova_state state);

struct iova_ranges {
    iova_fn fn;
    void *arg;
    uint64_t free_first, free_units; /* not told yet: free neighbours are one */
};

static inline void iova_tell(struct iova_ranges *r, uint64_t first, uint64_t units,
                             enum gri_iova_state state)
{
    if (!units)
        return;
    if (state == GRI_IOVA_FREE) {
        r->free_first = r->free_units ? r->free_first : first;
        r->free_units += units;
        return;
    }
    if (r->free_units)
        r->fn(r->arg, r->free_first, r->free_units, GRI_IOVA_FREE);
    r->free_units = 0;
    r->fn(r->arg, first, units, state);
}

static inline bool iova_noted(const struct gr_iova_arena *a, const size_t *bits, unsigned at)
{
    return a->slot->cur == a && gri_noted(bits, at);
}

/* Each range of an arena; also those free for good that its owner has not collected yet. */
static inline void iova_each_in(const struct gr_iova *space, const struct gr_iova_arena *a,
                                struct iova_ranges *r)
{
    const unsigned units = gri_arena_units(space);
    unsigned end = 0;

    for (unsigned at = 0; at < units; at = end) {
        const unsigned first = gri_mark_next(a, units, at, GRI_A_RANGE);
        enum gri_iova_state state = GRI_IOVA_ALLOCATED;

        iova_tell(r, a->first + at, first - at, GRI_IOVA_FREE);
        if (first == units)
            return;
        end = gri_mark_next(a, units, first + 1, GRI_ANY_MARK);
        if (gri_mark(a, first) == GRI_HELD || iova_noted(a, a->slot->claimed, first))
            state = GRI_IOVA_HELD;
        if (iova_noted(a, a->slot->done, first))
            state = GRI_IOVA_FREE;
        iova_tell(r, a->first + first, end - first, state);
    }
}

static inline const struct gr_iova_node *iova_next_node(const struct gr_iova_node *node)
{
    const struct gr_iova_node *from;

    if (node->child[1]) {
        for (node = node->child[1]; node->child[0];)
            node = node->child[0];
        return node;
    }
    do {
        from = node;
        node = node->parent;
    } while (node && node->child[1] == from);
    return node;
}

static inline void iova_each(const struct gr_iova *space, iova_fn fn, void *arg)
{
    struct iova_ranges r = {.fn = fn, .arg = arg};
    const struct gr_iova_node *node = space->root;

    while (node && node->child[0])
        node = node->child[0];
    for (; node; node = iova_next_node(node)) {
        if (node->state == GRI_IOVA_ARENA)
            iova_each_in(space, gri_arena_of(space, node->first), &r);
        else
            iova_tell(&r, node->first, node->units, (enum gri_iova_state)node->state);
    }
    if (r.free_units)
        fn(arg, r.free_first, r.free_units, GRI_IOVA_FREE);
}

#endif
