/* SPDX-License-Identifier: MIT */
/*
 * DART2 entries (DART.md 4.2, 4.3, 4.4): t6000, t8110. Pure functions on values.
 * Bit 1 is not what it is in DART1: here it keeps an access out of the cache. No bit turns the
 * sub-page window off.
 */
#ifndef GRI_PT_FMT_DART2_H
#define GRI_PT_FMT_DART2_H

#include <granule/pt.h>

#include "core/bits.h"
#include "pt/fmt/name.h"

#define GRI_FMT_NAME dart2
#define GRI_FMT_LEAF_ONLY 0u
#define GRI_FMT_LEVELS_MAX 3u /* below the TTBR; two unless TCR.FOUR_LEVELS (DART.md 3) */
#define GRI_FMT_ROOTS_LG2_MAX 2u
#define GRI_FMT_VA_BITS_MIN 0u
#define GRI_FMT_VA_BITS_MAX 64u
#define GRI_FMT_LEVELS_FOLLOW_VA false
#define GRI_FMT_VA_WITHIN_PA false
#define GRI_FMT_PA_BITS ((uint64_t)1 << 36 | (uint64_t)1 << 42)
#define GRI_FMT_WINDOWS 1
#define GRI_FMT_GRANULES 2 /* 4 and 16 KiB */
#define GRI_FMT_GROUP ((uint64_t)0)
#define GRI_FMT_ROOT_ALIGN_LG2 14u /* the TTBR of t8110 holds PA >> 14: DART.md 1 */

enum {
    GRI_DART2_START_BIT = 52,
    GRI_DART2_END_BIT = 40,
    GRI_DART2_PA_SHIFT = 4,
};

#define GRI_DART2_VALID ((uint64_t)1 << 0)
#define GRI_DART2_NO_CACHE ((uint64_t)1 << 1)
#define GRI_DART2_NO_WRITE ((uint64_t)1 << 2)
#define GRI_DART2_NO_READ ((uint64_t)1 << 3)
/*
 * PA[41:14] at bits 37:10. With 4 KiB granules PA[13:12] is taken to be at bits 9:8. That is an
 * assumption (docs/ASSUMPTIONS.md): no instance with 4 KiB granules is known.
 */
#define GRI_DART2_PA ((uint64_t)0x3fffffff00)

static inline bool gri_fmt_valid(uint64_t entry)
{
    return entry & GRI_DART2_VALID;
}

static inline bool gri_fmt_is_table(uint64_t entry)
{
    return gri_fmt_valid(entry);
}

static inline gr_pa_t gri_fmt_pa(uint64_t entry, unsigned granule_lg2)
{
    return (entry & GRI_DART2_PA) << GRI_DART2_PA_SHIFT & ~gri_mask(granule_lg2);
}

static inline uint64_t gri_fmt_table(gr_pa_t pa)
{
    return pa >> GRI_DART2_PA_SHIFT | GRI_DART2_VALID;
}

static inline uint64_t gri_fmt_attrs(unsigned prot)
{
    return GRI_DART2_VALID | (uint64_t)0xfff << GRI_DART2_END_BIT |
           (prot & GR_PROT_UNCACHED ? GRI_DART2_NO_CACHE : 0) |
           (prot & GR_PROT_READ ? 0 : GRI_DART2_NO_READ) |
           (prot & GR_PROT_WRITE ? 0 : GRI_DART2_NO_WRITE);
}

static inline uint64_t gri_fmt_window(uint64_t attrs, unsigned granule_lg2, uint64_t first,
                                      uint64_t last)
{
    const unsigned unit_lg2 = granule_lg2 - 12;

    attrs &= ~((uint64_t)0xfff << GRI_DART2_END_BIT);
    return attrs | (first >> unit_lg2) << GRI_DART2_START_BIT |
           (last >> unit_lg2) << GRI_DART2_END_BIT;
}

static inline uint64_t gri_fmt_leaf(gr_pa_t pa, uint64_t attrs)
{
    return pa >> GRI_DART2_PA_SHIFT | attrs;
}

/* What a leaf grows by when its PA grows by `size`. */
static inline uint64_t gri_fmt_step(uint64_t size)
{
    return size >> GRI_DART2_PA_SHIFT;
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
    return (leaf & GRI_DART2_NO_READ ? 0 : GR_PROT_READ) |
           (leaf & GRI_DART2_NO_WRITE ? 0 : GR_PROT_WRITE) |
           (leaf & GRI_DART2_NO_CACHE ? GR_PROT_UNCACHED : 0);
}

static inline struct gr_range gri_fmt_leaf_window(uint64_t leaf, unsigned granule_lg2)
{
    const unsigned unit_lg2 = granule_lg2 - 12;

    return (struct gr_range){
        (leaf >> GRI_DART2_START_BIT) << unit_lg2,
        ((leaf >> GRI_DART2_END_BIT & 0xfff) << unit_lg2) + gri_mask(unit_lg2),
    };
}

#endif
