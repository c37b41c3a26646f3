/* SPDX-License-Identifier: MIT */
/*
 * What both stages of ARM LPAE have in common: the VMSAv8-64 descriptors of the Arm ARM (section
 * D8.3 of issue J.a), as an SMMU walks them with AArch64 tables and 48 output bits. The header of a
 * stage includes this file, and adds its leaves' permission and memory attributes. Pure functions
 * on values.
 */
#include <granule/pt.h>

#include "core/bits.h"
#include "pt/fmt/name.h"

#define GRI_FMT_LEAF_ONLY GRI_LPAE_TABLE /* set in a leaf of level 0, clear in a block */
#define GRI_FMT_LEVELS_MAX 4u
#define GRI_FMT_ROOT_ALIGN_LG2 12u /* more than a smaller root needs */
#define GRI_FMT_VA_BITS_MIN 25u    /* T0SZ is at most 39 */
#define GRI_FMT_VA_BITS_MAX 48u
#define GRI_FMT_LEVELS_FOLLOW_VA true
#define GRI_FMT_PA_BITS                                                                            \
    ((uint64_t)1 << 32 | (uint64_t)1 << 36 | (uint64_t)1 << 40 | (uint64_t)1 << 42 |               \
     (uint64_t)1 << 44 | (uint64_t)1 << 48) /* the sizes that IPS and S2PS encode */
#define GRI_FMT_WINDOWS 0
#define GRI_FMT_GRANULES 3 /* 4, 16 and 64 KiB */

#define GRI_LPAE_VALID ((uint64_t)1 << 0)
#define GRI_LPAE_TABLE                                                                             \
    ((uint64_t)1 << 1) /* above the leaves: a table, not a block; set in every leaf of level 0 */
#define GRI_LPAE_ATTR_SHIFT 2
#define GRI_LPAE_INNER_SHAREABLE ((uint64_t)3 << 8)
#define GRI_LPAE_AF ((uint64_t)1 << 10)
#define GRI_LPAE_PA ((uint64_t)0xfffffffff000) /* 47:12 */
#define GRI_FMT_GROUP ((uint64_t)1 << 52)      /* Contiguous */

/* The bits that every leaf of level 0 has. */
#define GRI_LPAE_LEAF (GRI_LPAE_VALID | GRI_LPAE_TABLE | GRI_LPAE_INNER_SHAREABLE | GRI_LPAE_AF)

static inline bool gri_fmt_valid(uint64_t entry)
{
    return entry & GRI_LPAE_VALID;
}

/* For entries above the leaves: a leaf of level 0 has the same bits. */
static inline bool gri_fmt_is_table(uint64_t entry)
{
    return (entry & (GRI_LPAE_VALID | GRI_LPAE_TABLE)) == (GRI_LPAE_VALID | GRI_LPAE_TABLE);
}

/* The PA in an entry, of a table or of the 2^lg2 bytes that a block or leaf maps. */
static inline gr_pa_t gri_fmt_pa(uint64_t entry, unsigned lg2)
{
    return entry & GRI_LPAE_PA & ~gri_mask(lg2);
}

static inline uint64_t gri_fmt_table(gr_pa_t pa)
{
    return pa | GRI_LPAE_VALID | GRI_LPAE_TABLE;
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

/*
 * A bit for each level that has blocks. With 4 KiB granules blocks have 2 MiB and 1 GiB, with 16
 * KiB 32 MiB, with 64 KiB 512 MiB.
 */
static inline unsigned gri_fmt_block_levels(unsigned granule_lg2)
{
    return granule_lg2 == 12 ? 0x6 : 0x2;
}

/*
 * log2 of the entries in a contiguous group; levels 0 and 1 have groups. With 4 KiB granules these
 * have 64 KiB and 32 MiB, with 16 KiB 2 MiB and 1 GiB, with 64 KiB 2 MiB and 16 GiB.
 */
static inline unsigned gri_fmt_group_lg2(unsigned granule_lg2, unsigned level)
{
    if (level > 1)
        return 0;
    return granule_lg2 == 12 ? 4 : granule_lg2 == 14 && !level ? 7 : 5;
}

static inline struct gr_range gri_fmt_leaf_window(uint64_t leaf, unsigned granule_lg2)
{
    (void)leaf;
    return (struct gr_range){0, gri_mask(granule_lg2)};
}
