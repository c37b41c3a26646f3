/* SPDX-License-Identifier: MIT */
/*
 * The core of the IOVA allocator: the tree of ranges. See iova_internal.h for its shape and for
 * what each function here does.
 *
 * Because the ranges always cover the whole space, the tree changes in two ways only: a range is
 * split in two (split), or a range takes units from its neighbour, perhaps all of them (take).
 * Freeing uses take alone, which is why it never needs memory.
 */
#include "iova_internal.h"

#define SLAB_LG2 12u
#define SLAB_NODES ((1u << SLAB_LG2) / sizeof(struct gr_iova_node))

/* How many ranges that are long enough are looked at before the search settles for less. */
#define CORE_TRIES 8

/*
 * The largest power of two that is not above x; x is not 0. Spelled out: freestanding targets
 * without a count-leading-zeros instruction would call a function of the compiler's library.
 */
static uint64_t pow2_floor(uint64_t x)
{
    for (unsigned shift = 1; shift < 64; shift *= 2)
        x |= x >> shift;
    return x - (x >> 1);
}

static uint64_t pow2_ceil(uint64_t x)
{
    return x > 1 ? pow2_floor(x - 1) * 2 : 1;
}

/* ---- Ranges ---- */

static unsigned height(const struct gr_iova_node *node)
{
    return node ? node->height : 0;
}

/*
 * The largest naturally aligned power of two within a range: any range of 2^k units holds an
 * aligned block of 2^(k-1), so that only one larger has to be tried.
 */
static uint64_t block_of(const struct gr_iova_node *node)
{
    uint64_t block = pow2_floor(node->units);
    uint64_t start = (node->first + block - 1) & ~(block - 1);

    if (block > 1 && start + block > gri_iova_end_of(node))
        block /= 2;
    return block;
}

static bool range_fits(const struct gr_iova_node *node, uint64_t units, uint64_t block)
{
    return node->state == GRI_IOVA_FREE && node->units >= units && block_of(node) >= block;
}

/*
 * Exact if one of `units` and `block` is 0; then a subtree that says yes holds a range that fits.
 */
static bool tree_fits(const struct gr_iova_node *node, uint64_t units, uint64_t block)
{
    return node && node->max_units >= units && node->max_block >= block;
}

/* ---- The tree ---- */

static void refresh(struct gr_iova_node *node)
{
    const bool is_free = node->state == GRI_IOVA_FREE;
    unsigned tallest = 0;

    node->max_units = is_free ? node->units : 0;
    node->max_block = is_free ? block_of(node) : 0;
    for (unsigned side = 0; side < 2; side++) {
        const struct gr_iova_node *const child = node->child[side];

        if (!child)
            continue;
        node->max_units = gri_max(node->max_units, child->max_units);
        node->max_block = gri_max(node->max_block, child->max_block);
        if (child->height > tallest)
            tallest = child->height;
    }
    node->height = (uint8_t)(tallest + 1);
}

/* Put `heir`, which may be NULL, in the place that `node` has under its parent. */
static void replace(struct gr_iova *space, const struct gr_iova_node *node,
                    struct gr_iova_node *heir)
{
    struct gr_iova_node *const parent = node->parent;

    if (!parent)
        space->root = heir;
    else
        parent->child[parent->child[1] == node] = heir;
    if (heir)
        heir->parent = parent;
}

/* Lift the child on `side` above `node`; returns it. */
static struct gr_iova_node *rotate(struct gr_iova *space, struct gr_iova_node *node, unsigned side)
{
    struct gr_iova_node *const up = node->child[side];
    struct gr_iova_node *const inner = up->child[!side];

    replace(space, node, up);
    node->child[side] = inner;
    if (inner)
        inner->parent = node;
    up->child[!side] = node;
    node->parent = up;
    refresh(node);
    refresh(up);
    return up;
}

/* Make the subtree at `node` balanced again after one change below; returns its new top. */
static struct gr_iova_node *balance(struct gr_iova *space, struct gr_iova_node *node)
{
    const unsigned low = height(node->child[0]);
    unsigned high = height(node->child[1]);

    if (low <= high + 1 && high <= low + 1)
        return node;

    const unsigned side = high > low;
    struct gr_iova_node *const child = node->child[side];

    if (height(child->child[!side]) > height(child->child[side]))
        rotate(space, child, !side);
    return rotate(space, node, side);
}

/*
 * `node` or one of its children changed: bring it and those above it up to date, as far up as
 * something differs.
 */
static void fix(struct gr_iova *space, struct gr_iova_node *node)
{
    while (node) {
        const uint8_t old_height = node->height;
        const uint64_t old_units = node->max_units;
        const uint64_t old_block = node->max_block;

        refresh(node);
        node = balance(space, node);
        if (node->height == old_height && node->max_units == old_units &&
            node->max_block == old_block)
            return;
        node = node->parent;
    }
}

struct gr_iova_node *gri_core_find(const struct gr_iova *space, uint64_t unit)
{
    struct gr_iova_node *node = space->root;

    while (unit - node->first >= node->units)
        node = node->child[unit > node->first];
    return node;
}

struct gr_iova_node *gri_core_neighbour(const struct gr_iova_node *node, unsigned side)
{
    struct gr_iova_node *next = node->child[side];

    if (next) {
        while (next->child[!side])
            next = next->child[!side];
        return next;
    }
    for (next = node->parent; next && next->child[side] == node; next = next->parent)
        node = next;
    return next;
}

/* The highest range of the subtree that fits; the subtree holds one. */
static struct gr_iova_node *last_fit(struct gr_iova_node *node, uint64_t units, uint64_t block)
{
    for (;;) {
        if (tree_fits(node->child[1], units, block))
            node = node->child[1];
        else if (range_fits(node, units, block))
            return node;
        else
            node = node->child[0];
    }
}

/* The highest range below `node` that fits, or NULL. */
static struct gr_iova_node *fit_before(struct gr_iova_node *node, uint64_t units, uint64_t block)
{
    for (;;) {
        if (tree_fits(node->child[0], units, block))
            return last_fit(node->child[0], units, block);

        const struct gr_iova_node *from;

        do {
            from = node;
            node = node->parent;
        } while (node && node->child[0] == from);
        if (!node || range_fits(node, units, block))
            return node;
    }
}

/* ---- Nodes ---- */

static void node_put(struct gr_iova *space, struct gr_iova_node *node)
{
    node->child[0] = space->spare;
    space->spare = node;
    space->spares++;
}

static struct gr_iova_node *node_get(struct gr_iova *space)
{
    struct gr_iova_node *const node = space->spare;

    space->spare = node->child[0];
    space->spares--;
    return node;
}

/* Have `count` nodes ready. The first node of a slab links the slabs. */
int gri_core_ready(struct gr_iova *space, uint64_t count)
{
    while (space->spares < count) {
        struct gr_iova_node *const slab = gr_port_pages_alloc(space->env, SLAB_LG2, UINT64_MAX, 0);

        if (!slab)
            return GR_ENOMEM;
        slab->child[0] = space->slabs;
        space->slabs = slab;
        space->memory += 1u << SLAB_LG2;
        for (size_t i = SLAB_NODES - 1; i > 0; i--)
            node_put(space, &slab[i]);
    }
    return 0;
}

int gri_core_start(struct gr_iova *space)
{
    const int ret = gri_core_ready(space, 1);

    if (ret)
        return ret;
    space->root = node_get(space);
    *space->root = (struct gr_iova_node){
        .first = space->first, .units = space->end - space->first, .state = GRI_IOVA_FREE};
    refresh(space->root);
    return 0;
}

void gri_core_stop(struct gr_iova *space)
{
    struct gr_iova_node *slab = space->slabs;

    while (slab) {
        struct gr_iova_node *const next = slab->child[0];

        gr_port_pages_free(space->env, slab, SLAB_LG2);
        slab = next;
    }
}

/* ---- Split and take ---- */

/*
 * Cut `node` in two at `at`, inside it; the upper part gets `state` and is returned. Uses a ready
 * node.
 */
static struct gr_iova_node *split(struct gr_iova *space, struct gr_iova_node *node, uint64_t at,
                                  enum gri_iova_state state)
{
    struct gr_iova_node *upper = node_get(space);
    struct gr_iova_node *parent = node;
    unsigned side = 1;

    if (node->child[1]) {
        side = 0;
        for (parent = node->child[1]; parent->child[0];)
            parent = parent->child[0];
    }
    *upper = (struct gr_iova_node){.parent = parent,
                                   .first = at,
                                   .units = gri_iova_end_of(node) - at,
                                   .state = (uint8_t)state};
    refresh(upper);
    node->units = at - node->first;
    parent->child[side] = upper;
    fix(space, parent);
    fix(space, node);
    return upper;
}

/*
 * `node` takes `units` from its neighbour on `side`; returns the node that stands for the grown
 * range now. If nothing is left of the neighbour, one of the two goes: of two neighbours the inner
 * one never has a child between them, so that it has one child at most and is easily unlinked.
 */
struct gr_iova_node *gri_core_take(struct gr_iova *space, struct gr_iova_node *node, unsigned side,
                                   uint64_t units)
{
    struct gr_iova_node *const other = gri_core_neighbour(node, side);

    other->units -= units;
    if (side)
        other->first += units;
    else
        node->first -= units;
    node->units += units;
    if (other->units) {
        fix(space, other);
        fix(space, node);
        return node;
    }

    struct gr_iova_node *gone = other;
    struct gr_iova_node *stays = node;

    if (!node->child[side]) {
        other->first = node->first;
        other->units = node->units;
        other->state = node->state;
        gone = node;
        stays = other;
    }

    struct gr_iova_node *const parent = gone->parent;

    replace(space, gone, gone->child[0] ? gone->child[0] : gone->child[1]);
    node_put(space, gone);
    fix(space, parent);
    fix(space, stays);
    return stays;
}

void gri_core_settle(struct gr_iova *space, struct gr_iova_node *node, enum gri_iova_state state)
{
    node->state = (uint8_t)state;
    for (unsigned side = 0; side < 2; side++) {
        const struct gr_iova_node *const other = gri_core_neighbour(node, side);

        if (other && other->state == state)
            node = gri_core_take(space, node, side, other->units);
    }
    fix(space, node);
}

int gri_core_carve(struct gr_iova *space, struct gr_iova_node **node, uint64_t first, uint64_t end,
                   enum gri_iova_state state)
{
    struct gr_iova_node *part = *node;
    const bool below = first > part->first;
    const bool above = end < gri_iova_end_of(part);
    const int ret = gri_core_ready(space, (unsigned)below + above);

    if (ret)
        return ret;
    if (above)
        split(space, part, end, GRI_IOVA_FREE);
    if (below) {
        part = split(space, part, first, state);
    } else {
        part->state = (uint8_t)state;
        fix(space, part);
    }
    *node = part;
    return 0;
}

/* ---- Placement ---- */

/*
 * The highest legal place for `want` in [first, end), first <= end. A range that would cross a
 * multiple of the boundary is moved below it. One move is enough: an align up to the boundary
 * divides the boundary, so that the move leaves less than one boundary below the multiple; a start
 * with a larger align is itself a multiple of the boundary, and no range is longer than that.
 */
bool gri_iova_place(const struct gri_iova_want *want, uint64_t first, uint64_t end,
                    uint64_t *out_first)
{
    if (end - first < want->units)
        return false;

    uint64_t start = (end - want->units) & ~(want->align - 1);
    const uint64_t last = start + want->units - 1;

    if (want->boundary && ((start ^ last) & ~(want->boundary - 1)))
        start = ((last & ~(want->boundary - 1)) - want->units) & ~(want->align - 1);
    *out_first = start;
    return start >= first;
}

/*
 * Look for a place in the highest free ranges that have `units` or an aligned `block` (the other
 * is 0), from the one that holds the end of the limits downwards. Only the ranges at the two limits
 * can be smaller than the tree says, so that where each whole range with `units` (or `block`) has
 * a place, the third range is beyond the limits at the latest.
 */
static struct gr_iova_node *seek(const struct gr_iova *space, const struct gri_iova_want *want,
                                 uint64_t units, uint64_t block, uint64_t *out_first)
{
    struct gr_iova_node *node;

    if (want->end < space->end)
        node = gri_core_find(space, want->end - 1);
    else if (tree_fits(space->root, units, block))
        node = last_fit(space->root, units, block);
    else
        return NULL;

    for (unsigned i = 0; i < CORE_TRIES && node && gri_iova_end_of(node) > want->first; i++) {
        if (node->state == GRI_IOVA_FREE &&
            gri_iova_place(want, gri_max(node->first, want->first),
                           gri_min(gri_iova_end_of(node), want->end), out_first))
            return node;
        node = fit_before(node, units, block);
    }
    return NULL;
}

/*
 * The two fallbacks find any range in which a place is certain, by its length or by an aligned
 * block in it. A boundary costs size - 1 units: moving a range below a multiple loses at most what
 * was above it.
 */
static struct gr_iova_node *seek_any(const struct gr_iova *space, const struct gri_iova_want *want,
                                     uint64_t *out_first)
{
    struct gr_iova_node *node = seek(space, want, want->units, 0, out_first);

    if (node || (want->align == 1 && !want->boundary))
        return node;

    const uint64_t slack = want->align - 1 + (want->boundary ? want->units - 1 : 0);

    node = seek(space, want, want->units + slack, 0, out_first);
    if (node)
        return node;
    return seek(space, want, 0, gri_max(want->align, pow2_ceil(want->units)), out_first);
}

int gri_core_alloc(struct gr_iova *space, const struct gri_iova_want *want,
                   enum gri_iova_state state, uint64_t *out_first)
{
    uint64_t first;
    struct gr_iova_node *node = state == GRI_IOVA_ARENA ? seek(space, want, 0, want->units, &first)
                                                        : seek_any(space, want, &first);

    if (!node)
        return GR_ENOSPC;

    const int ret = gri_core_carve(space, &node, first, first + want->units, state);

    if (!ret)
        *out_first = first;
    return ret;
}

/* ---- Holding ---- */

/*
 * The widest [*first, *end) around `node` whose spans have no user once `node` is gone. The free
 * neighbourhood is at most one range on each side.
 */
static void spans_around(const struct gr_iova *space, const struct gr_iova_node *node,
                         uint64_t *first, uint64_t *end)
{
    const struct gr_iova_node *const below = gri_core_neighbour(node, 0);
    const struct gr_iova_node *const above = gri_core_neighbour(node, 1);
    const uint64_t last = gri_iova_end_of(node) - 1;
    const uint64_t free_first = below && below->state == GRI_IOVA_FREE ? below->first : node->first;
    const uint64_t free_end =
        above && above->state == GRI_IOVA_FREE ? gri_iova_end_of(above) : last + 1;

    *first = node->first;
    *end = last + 1;
    for (unsigned i = 0; i < space->spans; i++) {
        if (space->span_lg2[i] <= space->unit_lg2)
            continue;

        const uint64_t mask = gri_mask((unsigned)space->span_lg2[i] - space->unit_lg2);
        const uint64_t lowest = gri_max(node->first & ~mask, space->first);
        const uint64_t highest = gri_min((last | mask) + 1, space->end);
        const bool one = !((node->first ^ last) & ~mask); /* one span has both ends */
        const bool low_free = lowest >= free_first;
        const bool high_free = highest <= free_end;

        if (low_free && (high_free || !one))
            *first = gri_min(*first, lowest);
        if (high_free && (low_free || !one))
            *end = gri_max(*end, highest);
    }
}

void gri_core_hold(struct gr_iova *space, struct gr_iova_node *node, struct gr_range *out_held)
{
    uint64_t first;
    uint64_t end;

    spans_around(space, node, &first, &end);
    space->held_units += end - first;
    node->state = GRI_IOVA_HELD;
    if (first < node->first)
        node = gri_core_take(space, node, 0, node->first - first);
    if (end > gri_iova_end_of(node))
        gri_core_take(space, node, 1, end - gri_iova_end_of(node));
    out_held->first = first << space->unit_lg2;
    out_held->last = ((end - 1) << space->unit_lg2) | gri_iova_unit_mask(space);
}
