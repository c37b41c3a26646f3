/* SPDX-License-Identifier: MIT */
/* Between pt.c, which checks arguments, and the engine that is compiled once per format. */
#ifndef GRI_PT_INTERNAL_H
#define GRI_PT_INTERNAL_H

#include <granule/pt.h>

/*
 * Mapping a list piece by piece, ascending in va, gaps allowed: the leaf table is kept from one to
 * the next, so the table is walked from its root once for each leaf table. Start with the first two
 * members set; gri_pt_map_segs() any number of times until it fails, then gri_pt_map_end().
 */
struct gri_pt_cursor {
    struct gr_pt *pt;
    unsigned prot;
    uint64_t end;       /* exclusive: everything mapped so far lies below */
    uint64_t walks;     /* from the root */
    uint64_t *table;    /* leaf table that the cursor is in */
    uint64_t table_end; /* of what it spans, exclusive; 0: it is in none */
};

/*
 * A table that somebody else made and hardware walks: firmware's, where the top registers are
 * locked (src/iommu/adopt.c). `boot` is what it held when we came, of a leaf table NULL.
 */
struct gri_pt_foreign {
    gr_pa_t pa;
    uint64_t *live;
    uint64_t *boot;
    uint64_t va; /* where its span begins */
    unsigned level;
};

/*
 * A tree of those, from its roots down. Entries above the leaves that lead nowhere, or at level 1,
 * lead to our tables wherever we have one; others are never touched. What is stored there follows
 * our own entry at once, under the same barriers.
 */
struct gr_pt_mirror {
    struct gr_pt_mirror *next;
    struct gri_pt_foreign *table; /* parents before their children */
    unsigned count;
};

/*
 * Operations of one format with one granule. Addresses are checked, aligned and masked to the
 * table's va_bits; a function pointer is followed once per range.
 */
struct gr_pt_ops {
    int (*map)(struct gr_pt *pt, uint64_t va, gr_pa_t pa, uint64_t len, unsigned prot,
               uint64_t *out_done);
    int (*map_segs)(struct gri_pt_cursor *cursor, uint64_t va, const struct gr_seg *segs,
                    unsigned count);
    /* `retire` is in the same masked addresses; first > last retires nothing */
    int (*unmap)(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_range retire,
                 struct gr_pt_gather *gather);
    int (*to_phys)(const struct gr_pt *pt, uint64_t va, gr_pa_t *out_pa);
    void (*retire)(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_pt_gather *gather);
    void (*trim)(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_pt_gather *gather);
    int (*check_mapped)(const struct gr_pt *pt, uint64_t va, uint64_t last);
    int (*walk)(const struct gr_pt *pt, uint64_t va, struct gr_pt_walk *out);
    void (*gather_all)(struct gr_pt *pt, struct gr_pt_gather *gather);
    int (*map_window)(struct gri_pt_cursor *cursor, uint64_t va, const struct gr_seg *seg);
    /* is an entry valid, and what does it lead to? */
    bool (*decode)(uint64_t entry, unsigned granule_lg2, gr_pa_t *out_pa);
    /* store one leaf as it is. GR_EEXIST (another is there), GR_ENOMEM */
    int (*import)(struct gr_pt *pt, uint64_t va, uint64_t leaf);
    /* bring all of a mirror in step with the tables or, without, back to what it was */
    void (*reflect)(const struct gr_pt *pt, const struct gr_pt_mirror *mirror, bool ours);
};

struct gri_pt_format {
    unsigned levels_max;
    unsigned roots_lg2_max;
    unsigned root_align_lg2; /* what the top register's encoding asks for */
    unsigned va_bits_min;
    unsigned va_bits_max;
    bool levels_follow_va; /* the number of levels is the least for va_bits */
    bool va_within_pa;     /* no more bits go in than come out */
    uint64_t pa_bits;      /* a bit for each width that there is */
    bool windows;          /* a leaf can let through a part of its granule: pt->window_unit */
    unsigned granules;     /* 4 KiB, 16 KiB and 64 KiB, as many as this */
    struct gr_pt_ops ops[3];
};

extern const struct gri_pt_format gri_pt_dart1;
extern const struct gri_pt_format gri_pt_dart2;
extern const struct gri_pt_format gri_pt_lpae_s1;
extern const struct gri_pt_format gri_pt_lpae_s2;

/* The operations for a shape that an instance walks. */
const struct gr_pt_ops *gri_pt_ops_of(const struct gr_pt_config *config);

/*
 * Map segments side by side from `va` on, which is on a granule: each in the granules around it;
 * those that touch share theirs. Returns 0, GR_EEXIST or GR_ENOMEM; cursor->end then says how much
 * to take back.
 */
static inline int gri_pt_map_segs(struct gri_pt_cursor *cursor, uint64_t va,
                                  const struct gr_seg *segs, unsigned count)
{
    return cursor->pt->ops->map_segs(cursor, va, segs, count);
}

/*
 * Map the granule around `seg` at `va`, letting through the bytes of `seg` only, which begins and
 * ends on pt->window_unit, not 0, and lies within the granule. Errors as above.
 */
static inline int gri_pt_map_window(struct gri_pt_cursor *cursor, uint64_t va,
                                    const struct gr_seg *seg)
{
    return cursor->pt->ops->map_window(cursor, va, seg);
}

/* gr_pt_walk() for those who want to know only where it leads. Returns 0, GR_ENOENT. */
static inline int gri_pt_to_phys(const struct gr_pt *pt, gr_iova_t iova, gr_pa_t *out_pa)
{
    return pt->ops->to_phys(pt, iova & pt->va_mask, out_pa);
}

/* Make all of it reachable for the walker, before the device is told of the address. */
static inline void gri_pt_map_end(const struct gri_pt_cursor *cursor)
{
    (void)cursor;
    gr_port_wmb();
}

/*
 * An entry that another CPU may be storing: what it leads to is seen as it was when it was stored.
 * Halves, where there is no plain load of 64 bits: an entry changes once while others may look,
 * from nothing to valid, and valid is in the lower half.
 */
static inline uint64_t gri_pt_load(const uint64_t *slot)
{
#if UINTPTR_MAX > UINT32_MAX
    return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
#else
    typedef uint32_t __attribute__((may_alias)) half;
    const half *const halves = (const half *)slot; /* little-endian, as the hardware */
    const uint32_t low = __atomic_load_n(&halves[0], __ATOMIC_ACQUIRE);

    return (uint64_t)__atomic_load_n(&halves[1], __ATOMIC_RELAXED) << 32 | low;
#endif
}

#endif
