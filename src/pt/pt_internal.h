/* SPDX-License-Identifier: MIT */
/* Between pt.c, which checks arguments, and the engine that is compiled once per format. */
#ifndef GRI_PT_INTERNAL_H
#define GRI_PT_INTERNAL_H

#include <granule/pt.h>

/*
 * Operations of one format. Addresses are checked, aligned and masked to the table's va_bits; a
 * function pointer is followed once per range.
 */
struct gr_pt_ops {
    unsigned levels_max;
    unsigned root_align_lg2; /* what the top register's encoding asks for */
    int (*map)(struct gr_pt *pt, uint64_t va, gr_pa_t pa, uint64_t len, unsigned prot,
               uint64_t *out_done);
    /* `retire` is in the same masked addresses; first > last retires nothing */
    void (*unmap)(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_range retire,
                  struct gr_pt_gather *gather);
    void (*trim)(struct gr_pt *pt, uint64_t va, uint64_t last, struct gr_pt_gather *gather);
    int (*check_mapped)(const struct gr_pt *pt, uint64_t va, uint64_t last);
    int (*walk)(const struct gr_pt *pt, uint64_t va, struct gr_pt_walk *out);
    void (*gather_all)(struct gr_pt *pt, struct gr_pt_gather *gather);
};

extern const struct gr_pt_ops gri_pt_dart1_ops;
extern const struct gr_pt_ops gri_pt_dart2_ops;

/* log2 of the bytes that one entry of a level spans. */
static inline unsigned gri_pt_shift(const struct gr_pt *pt, unsigned level)
{
    return pt->granule_lg2 + level * pt->index_bits;
}

#endif
