/* SPDX-License-Identifier: MIT */
/* The interface between pt.c, which checks arguments, and the engine, compiled once per format. */
#ifndef GRI_PT_INTERNAL_H
#define GRI_PT_INTERNAL_H

#include <granule/pt.h>

/*
 * The state of mapping a list in pieces, ascending in va; gaps are allowed. It keeps the leaf table
 * between pieces, so there is one walk from the root for each leaf table. Start with the first two
 * members set. Call gri_pt_map_segs() any number of times until it fails, then gri_pt_map_end().
 */
struct gri_pt_cursor {
    struct gr_pt *pt;
    unsigned prot;
    uint64_t end;       /* exclusive: everything mapped so far lies below */
    uint64_t walks;     /* from the root */
    uint64_t *table;    /* the leaf table of the last piece */
    uint64_t table_end; /* of that table's span, exclusive; 0: no table yet */
};

/*
 * A table that firmware made (src/iommu/adopt.c). Hardware goes on walking it unless the domain
 * replaces the top registers; where these are locked, no domain can.
 */
struct gri_pt_foreign {
    gr_pa_t pa;
    uint64_t *live; /* the table itself */
    uint64_t *boot; /* a copy of what the table held at adoption; NULL for a leaf table */
    uint64_t va;    /* where its span begins */
    unsigned level;
};

/*
 * A tree of foreign tables, from its roots down, that leads to ours. An entry above the leaves that
 * was not valid at adoption, or that is of level 1, leads to our table wherever we have one there.
 * No other entry is touched. When our own entry changes, the mirror's is stored right after it,
 * under the same barriers.
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
    /* is an entry valid, and which PA does it hold? */
    bool (*decode)(uint64_t entry, unsigned granule_lg2, gr_pa_t *out_pa);
    /* store one leaf unchanged. GR_EEXIST (a different leaf is there), GR_ENOMEM */
    int (*import)(struct gr_pt *pt, uint64_t va, uint64_t leaf);
    /* make a mirror's entries lead to our tables (`ours`), or what they were at adoption */
    void (*reflect)(const struct gr_pt *pt, const struct gr_pt_mirror *mirror, bool ours);
};

struct gri_pt_format {
    unsigned levels_max;
    unsigned roots_lg2_max;
    unsigned root_align_lg2; /* alignment that the top register's encoding asks for */
    unsigned va_bits_min;
    unsigned va_bits_max;
    bool levels_follow_va; /* the number of levels is the least for va_bits */
    bool va_within_pa;     /* va_bits are no more than pa_bits */
    uint64_t pa_bits;      /* bit n: a PA may have n bits */
    bool windows;          /* a leaf can let through a part of its granule: pt->window_unit */
    unsigned granules;     /* the first so many of 4 KiB, 16 KiB and 64 KiB */
    struct gr_pt_ops ops[3];
};

extern const struct gri_pt_format gri_pt_dart1;
extern const struct gri_pt_format gri_pt_dart2;
extern const struct gri_pt_format gri_pt_lpae_s1;
extern const struct gri_pt_format gri_pt_lpae_s2;

/* The operations for the format and granule of `config`, which are valid. */
const struct gr_pt_ops *gri_pt_ops_of(const struct gr_pt_config *config);

/*
 * Map segments from `va` on, which is granule-aligned. Each run of segments that touch in PA takes
 * the granules around it, and runs lie side by side. Returns 0, GR_EEXIST or GR_ENOMEM; after an
 * error cursor->end is the end of what has to be unmapped.
 */
static inline int gri_pt_map_segs(struct gri_pt_cursor *cursor, uint64_t va,
                                  const struct gr_seg *segs, unsigned count)
{
    return cursor->pt->ops->map_segs(cursor, va, segs, count);
}

/*
 * Map the granule around `seg` at `va` and let through the bytes of `seg` only. `seg` lies within
 * the granule, and begins and ends on pt->window_unit, which must not be 0. Errors as above.
 */
static inline int gri_pt_map_window(struct gri_pt_cursor *cursor, uint64_t va,
                                    const struct gr_seg *seg)
{
    return cursor->pt->ops->map_window(cursor, va, seg);
}

/* gr_pt_walk() for a caller that needs the PA only. Returns 0, GR_ENOENT. */
static inline int gri_pt_to_phys(const struct gr_pt *pt, gr_iova_t iova, gr_pa_t *out_pa)
{
    return pt->ops->to_phys(pt, iova & pt->va_mask, out_pa);
}

/* Make all that was mapped visible to the walker, before the device is told the address. */
static inline void gri_pt_map_end(const struct gri_pt_cursor *cursor)
{
    (void)cursor;
    gr_port_wmb();
}

/*
 * Load an entry that another CPU may be storing. Acquire: the table that the entry points to is
 * seen as it was when the entry was stored. Where there is no plain load of 64 bits the lower half
 * comes first. While other CPUs may look, an entry changes only once, from empty to valid, and the
 * valid bit is in the lower half.
 */
static inline uint64_t gri_pt_load(const uint64_t *slot)
{
#if UINTPTR_MAX > UINT32_MAX
    return __atomic_load_n(slot, __ATOMIC_ACQUIRE);
#else
    typedef uint32_t __attribute__((may_alias)) half;
    const half *const halves = (const half *)slot; /* little-endian, as hardware reads them */
    const uint32_t low = __atomic_load_n(&halves[0], __ATOMIC_ACQUIRE);

    return (uint64_t)__atomic_load_n(&halves[1], __ATOMIC_RELAXED) << 32 | low;
#endif
}

#endif
