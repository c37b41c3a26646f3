/* SPDX-License-Identifier: MIT */
/*
 * The core of the IOVA allocator: the tree of ranges. See iova_internal.h for the shape of the tree
 * and for the contracts of the functions.
 *
 * The ranges always cover the whole space, so the tree changes in two ways only. split() cuts a
 * range in two. gri_core_take() lets a range take units from its neighbour, perhaps all of them.
 * Freeing never splits, and so needs no memory.
 */
#include "iova_internal.h"

#define SLAB_LG2 12u
#define SLAB_NODES ((1u << SLAB_LG2) / sizeof(struct gr_iova_node))

/* How many ranges one seek() tries. */
#define CORE_TRIES 8

/*
 * The largest power of two that is not above x; x is not 0. No builtin: on freestanding targets
 * without a count-leading-zeros instruction that would call a function of the compiler's library.
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
 * Units of the largest naturally aligned power of two inside a range. A range of at least 2^k units
 * always holds an aligned block of 2^(k-1), so only the one of 2^k has to be tried.
 */
static uint64_t block_of(const struct gr_iova_node *node)
{
    uint64_t block = pow2_floor(node->units);
    uint64_t start = (node->first + block - 1) & ~(block - 1);

    if (block > 1 && start + block > gri_iova_end_of(node))
        block /= 2;
    return block;
}

/* Is the range free, with at least `units` and an aligned block of at least `block`? */
static bool range_fits(const struct gr_iova_node *node, uint64_t units, uint64_t block)
{
    return node->state == GRI_IOVA_FREE && node->units >= units && block_of(node) >= block;
}

/*
 * May a range of the subtree fit? Exact if `units` or `block` is 0; otherwise one range may have
 * the units and another the block.
 */
static bool tree_fits(const struct gr_iova_node *node, uint64_t units, uint64_t block)
{
    return node && node->max_units >= units && node->max_block >= block;
}

/* ---- The tree ---- */

/* Compute what `node` says of its subtree from its range and its children. */
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

/* Lift the child on `side` above `node`; returns that child. */
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

/* Balance the subtree at `node` after one insertion or removal below; returns its new top. */
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
 * `node` or one of its children changed: bring `node` and its ancestors up to date. Stops at the
 * first node that comes out as it was.
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

/* The highest range of the subtree that fits; there must be one. */
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

/* The first node of each slab is not used: it links the slabs. */
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
 * Cut `node` in two at `at`, which is inside it. The upper part gets `state` and is returned. Uses
 * one spare node.
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
 * If nothing is left of the neighbour, one of the two nodes goes. Of two neighbours in address
 * order the lower one in the tree has no child on the other's side. That node has one child at
 * most, which takes its place. If that node is `node`, the neighbour's node becomes the grown
 * range.
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
 * A range that would cross a multiple of the boundary is moved below that multiple. One move is
 * enough. An align up to the boundary divides the boundary, so the moved range begins less than one
 * boundary below the multiple. With a larger align no range crosses a multiple: its start is one,
 * and it is no longer than the boundary.
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
 * Look for a place in free ranges that have `units` or an aligned `block` (the other is 0), from
 * the range at the end of the limits downwards. The limits may cut a piece off the first and the
 * last range; all others are as long as the tree says. If every whole range with `units` (or
 * `block`) has a place, then at most two ranges within the limits are tried in vain.
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
 * Ranges with `units` come first, highest first, but where align or boundary asks for more than
 * length, seek() may give up before it meets one with a place. Then ranges with a certain place are
 * sought: first by length, then by an aligned block. A boundary adds units - 1 to the length, since
 * moving a range below a multiple wastes no more than the part that was above.
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
 * [*first, *end): `node`, and around it every table's span that has no user once `node` is gone.
 * Free neighbours are joined, so the free units around `node` are at most one range on each side.
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
        const bool single = !((node->first ^ last) & ~mask); /* node lies in one span */
        const bool low_free = lowest >= free_first;
        const bool high_free = highest <= free_end;

        if (low_free && (high_free || !single))
            *first = gri_min(*first, lowest);
        if (high_free && (low_free || !single))
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
