/* SPDX-License-Identifier: MIT */
/*
 * The exclusive calls that place a range where the caller says. Arenas in the way are dissolved
 * into ranges of the core first.
 */
#include "iova/iova_arena.h"

/* Turn an arena into ranges of the core. On GR_ENOMEM the arena is unchanged. */
static int dissolve(struct gr_iova *space, struct gr_iova_arena *arena)
{
    const unsigned units = gri_arena_units(space);
    unsigned end;
    const int ret = gri_core_ready(space, 2 * (uint64_t)gri_count_ranges(&arena->busy));

    if (ret)
        return ret;
    gri_arena_detach(space, arena);
    gri_arena_free(space, arena);
    gri_core_settle(space, gri_core_find(space, arena->first), GRI_IOVA_FREE);
    for (unsigned at = gri_mark_next(arena, units, 0, GRI_A_RANGE); at < units;
         at = gri_mark_next(arena, units, end, GRI_A_RANGE)) {
        end = gri_mark_next(arena, units, at + 1, GRI_ANY_MARK);

        struct gr_iova_node *node = gri_core_find(space, arena->first + at);

        if (gri_mark(arena, at) == GRI_HELD) {
            (void)gri_core_carve(space, &node, arena->first + at, arena->first + end,
                                 GRI_IOVA_HELD);
            space->held_units += end - at;
        } else {
            (void)gri_core_carve(space, &node, arena->first + at, arena->first + end,
                                 GRI_IOVA_ALLOCATED);
            space->allocations++;
            space->used_units += end - at;
        }
    }
    return 0;
}

/*
 * Dissolve the arenas that [first, end) meets. Stops at the first allocated or held range of the
 * core, since that makes the caller fail.
 */
static int dissolve_within(struct gr_iova *space, uint64_t first, uint64_t end)
{
    int ret = 0;

    while (!ret && first < end) {
        const struct gr_iova_node *const node = gri_core_find(space, first);

        if (node->state == GRI_IOVA_ARENA)
            ret = dissolve(space, gri_arena_of(space, first));
        else if (node->state == GRI_IOVA_FREE || node->state == GRI_IOVA_RESERVED)
            first = gri_iova_end_of(node);
        else
            break;
    }
    return ret;
}

int gr_iova_alloc_fixed(struct gr_iova *space, gr_iova_t start, uint64_t size)
{
    if (!size)
        return GR_ENODATA;
    if ((start | size) & gri_iova_unit_mask(space))
        return GR_EINVAL;
    if (gri_overflows(start, size))
        return GR_EOVERFLOW;

    const uint64_t first = start >> space->unit_lg2;
    const uint64_t end = first + (size >> space->unit_lg2);

    if (first < space->first || end > space->end)
        return GR_ERANGE;

    int ret = dissolve_within(space, first, end);

    if (ret)
        return ret;

    struct gr_iova_node *node = gri_core_find(space, first);

    if (node->state != GRI_IOVA_FREE || gri_iova_end_of(node) < end)
        return GR_EEXIST;
    ret = gri_core_carve(space, &node, first, end, GRI_IOVA_ALLOCATED);
    if (ret)
        return ret;
    space->allocations++;
    space->used_units += end - first;
    return 0;
}

/*
 * The units [*out_from, *out_end) that [first, last] touches, and how many of them are free. All
 * others must be reserved already: GR_EBUSY.
 */
static int reservable(struct gr_iova *space, gr_iova_t first, gr_iova_t last, uint64_t *out_from,
                      uint64_t *out_end, uint64_t *out_fresh)
{
    uint64_t from = gri_max(first >> space->unit_lg2, space->first);
    const uint64_t end = gri_min((last >> space->unit_lg2) + 1, space->end);

    *out_from = from;
    *out_end = end;
    *out_fresh = 0;
    if (first > last)
        return GR_EINVAL;

    const int ret = dissolve_within(space, from, end);

    if (ret)
        return ret;
    for (const struct gr_iova_node *part; from < end; from = gri_iova_end_of(part)) {
        part = gri_core_find(space, from);
        if (part->state == GRI_IOVA_FREE)
            *out_fresh += gri_min(gri_iova_end_of(part), end) - from;
        else if (part->state != GRI_IOVA_RESERVED)
            return GR_EBUSY;
    }
    return 0;
}

int gri_iova_reserve_check(struct gr_iova *space, gr_iova_t first, gr_iova_t last)
{
    uint64_t from;
    uint64_t end;
    uint64_t fresh;

    return reservable(space, first, last, &from, &end, &fresh);
}

int gri_iova_reserve_ready(struct gr_iova *space, uint64_t ranges)
{
    return gri_core_ready(space, 2 * ranges);
}

int gr_iova_reserve(struct gr_iova *space, gr_iova_t first, gr_iova_t last)
{
    uint64_t from;
    uint64_t end;
    uint64_t fresh;
    int ret = reservable(space, first, last, &from, &end, &fresh);

    if (ret || from >= end)
        return ret;

    struct gr_iova_node *node = gri_core_find(space, from);

    if (node->state == GRI_IOVA_FREE) {
        ret = gri_core_carve(space, &node, from, gri_min(gri_iova_end_of(node), end),
                             GRI_IOVA_RESERVED);
        if (ret)
            return ret;
    }
    while (gri_iova_end_of(node) < end)
        node =
            gri_core_take(space, node, 1,
                          gri_min(gri_core_neighbour(node, 1)->units, end - gri_iova_end_of(node)));
    gri_core_settle(space, node, GRI_IOVA_RESERVED);
    space->reserved_units += fresh;
    return 0;
}
