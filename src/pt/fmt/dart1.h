/* SPDX-License-Identifier: MIT */
/*
 * DART1 entries (DART.md 4.1, 4.3, 4.4): s5l8960x, t8020, t8103. Pure functions on values.
 */
#ifndef GRI_PT_FMT_DART1_H
#define GRI_PT_FMT_DART1_H

#include <granule/pt.h>

#include "core/bits.h"
#include "pt/fmt/name.h"

#define GRI_FMT_NAME dart1
#define GRI_FMT_LEAF_ONLY 0u
#define GRI_FMT_LEVELS_MAX 2u /* below the TTBR */
#define GRI_FMT_ROOTS_LG2_MAX 2u
#define GRI_FMT_VA_BITS_MIN 0u
#define GRI_FMT_VA_BITS_MAX 64u
#define GRI_FMT_LEVELS_FOLLOW_VA false
#define GRI_FMT_VA_WITHIN_PA false
#define GRI_FMT_PA_BITS ((uint64_t)1 << 36)
#define GRI_FMT_WINDOWS 1
#define GRI_FMT_GRANULES 2 /* 4 and 16 KiB */
#define GRI_FMT_GROUP ((uint64_t)0)
#define GRI_FMT_ROOT_ALIGN_LG2 12u /* TTBR holds PA >> 12: DART.md 1 */

enum {
    GRI_DART1_START_BIT = 52,
    GRI_DART1_END_BIT = 40,
};

#define GRI_DART1_VALID ((uint64_t)1 << 0)
#define GRI_DART1_SP_DIS ((uint64_t)1 << 1) /* START and END are ignored: the whole granule */
#define GRI_DART1_NO_WRITE ((uint64_t)1 << 7)
#define GRI_DART1_NO_READ ((uint64_t)1 << 8)
#define GRI_DART1_PA ((uint64_t)0xffffff000) /* bits 35:12 */

static inline bool gri_fmt_valid(uint64_t entry)
{
    return entry & GRI_DART1_VALID;
}

/* For entries above the leaves: every valid one leads to a table. */
static inline bool gri_fmt_is_table(uint64_t entry)
{
    return gri_fmt_valid(entry);
}

/* The PA in an entry, of a leaf's granule or of a table; the bits lie in place (DART.md 4.1). */
static inline gr_pa_t gri_fmt_pa(uint64_t entry, unsigned granule_lg2)
{
    return entry & GRI_DART1_PA & ~gri_mask(granule_lg2);
}

static inline uint64_t gri_fmt_table(gr_pa_t pa)
{
    return pa | GRI_DART1_VALID;
}

/* A leaf without its PA, that opens the whole granule. */
static inline uint64_t gri_fmt_attrs(unsigned prot)
{
    return GRI_DART1_VALID | GRI_DART1_SP_DIS | (uint64_t)0xfff << GRI_DART1_END_BIT |
           (prot & GR_PROT_READ ? 0 : GRI_DART1_NO_READ) |
           (prot & GR_PROT_WRITE ? 0 : GRI_DART1_NO_WRITE);
}

/* Narrow a leaf to bytes [first, last] of its granule, in units of granule / 4096. */
static inline uint64_t gri_fmt_window(uint64_t attrs, unsigned granule_lg2, uint64_t first,
                                      uint64_t last)
{
    const unsigned unit_lg2 = granule_lg2 - 12;

    attrs &= ~(GRI_DART1_SP_DIS | (uint64_t)0xfff << GRI_DART1_END_BIT);
    return attrs | (first >> unit_lg2) << GRI_DART1_START_BIT |
           (last >> unit_lg2) << GRI_DART1_END_BIT;
}

static inline uint64_t gri_fmt_leaf(gr_pa_t pa, uint64_t attrs)
{
    return pa | attrs;
}

/* What a leaf grows by when its PA grows by `size`. */
static inline uint64_t gri_fmt_step(uint64_t size)
{
    return size;
}

/* No level has blocks: only leaves of level 0 map. */
static inline unsigned gri_fmt_block_levels(unsigned granule_lg2)
{
    (void)granule_lg2;
    return 0;
}

static inline unsigned gri_fmt_group_lg2(unsigned granule_lg2, unsigned level)
{
    (void)granule_lg2;
    (void)level;
    return 0;
}

static inline unsigned gri_fmt_prot(uint64_t leaf)
{
    return (leaf & GRI_DART1_NO_READ ? 0 : GR_PROT_READ) |
           (leaf & GRI_DART1_NO_WRITE ? 0 : GR_PROT_WRITE);
}

static inline struct gr_range gri_fmt_leaf_window(uint64_t leaf, unsigned granule_lg2)
{
    const unsigned unit_lg2 = granule_lg2 - 12;

    if (leaf & GRI_DART1_SP_DIS)
        return (struct gr_range){0, gri_mask(granule_lg2)};
    return (struct gr_range){
        (leaf >> GRI_DART1_START_BIT) << unit_lg2,
        ((leaf >> GRI_DART1_END_BIT & 0xfff) << unit_lg2) + gri_mask(unit_lg2),
    };
}

#endif
