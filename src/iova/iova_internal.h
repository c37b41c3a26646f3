/* SPDX-License-Identifier: MIT */
/*
 * The inside of an IOVA space, for iova.c and for the test that checks the tree's invariants.
 *
 * One AVL tree, ordered by address, holds every unit of the space in exactly one range: the ranges
 * are contiguous and cover [space->first, space->end). Neighbours that are both free or both
 * reserved are one range; allocated and held ranges stay as they were made.
 *
 * Everything here counts in units. A unit is at least 4 KiB, so unit numbers, exclusive ends and
 * the sums of a few lengths stay far below 2^64.
 */
#ifndef GRI_IOVA_INTERNAL_H
#define GRI_IOVA_INTERNAL_H

#include <granule/iova.h>

enum gri_iova_state { GRI_IOVA_FREE, GRI_IOVA_ALLOCATED, GRI_IOVA_HELD, GRI_IOVA_RESERVED };

struct gr_iova_node {
    struct gr_iova_node *child[2]; /* [0] lower, [1] higher addresses; [0] links spares and slabs */
    struct gr_iova_node *parent;
    uint64_t first;
    uint64_t units;
    uint64_t max_units; /* longest free range of the subtree */
    uint64_t max_block; /* largest naturally aligned power of two inside one of its free ranges */
    uint8_t height;     /* of the subtree; a leaf has 1 */
    uint8_t state;      /* enum gri_iova_state */
};

/*
 * For who must reserve several ranges or none. gri_iova_reserve_check(): what gr_iova_reserve()
 * would return, but for GR_ENOMEM; gri_iova_reserve_ready(): have memory for so many of its calls.
 */
int gri_iova_reserve_check(struct gr_iova *space, gr_iova_t first, gr_iova_t last);
int gri_iova_reserve_ready(struct gr_iova *space, uint64_t ranges);

_Static_assert(sizeof(struct gr_iova_node) <= 64, "one range, one cache line");

#endif
