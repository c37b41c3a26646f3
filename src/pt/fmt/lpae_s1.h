/* SPDX-License-Identifier: MIT */
/*
 * ARM LPAE stage 1 entries: the VMSAv8-64 descriptors of the Arm ARM (section D8.3 of issue J.a),
 * as an SMMU walks them with AArch64 tables and 48 output bits. Pure functions on values.
 *
 * Whoever points hardware at them sets MAIR to what the attribute indices below stand for, and
 * takes T0SZ from va_bits and IPS from pa_bits. Where its walks begin follows from T0SZ, so the
 * number of levels has to be the least that translates va_bits.
 */
#ifndef GRI_PT_FMT_LPAE_S1_H
#define GRI_PT_FMT_LPAE_S1_H

#include <granule/pt.h>

#include "core/bits.h"

#define GRI_FMT_NAME lpae_s1
#define GRI_FMT_LEAF_ONLY GRI_LPAE_TABLE /* of a leaf's attributes, not a block's */
#define GRI_FMT_LEVELS_MAX 4u
#define GRI_FMT_ROOTS_LG2_MAX 0u   /* concatenation is for stage 2 */
#define GRI_FMT_ROOT_ALIGN_LG2 12u /* a root smaller than that is aligned more than it needs */
#define GRI_FMT_VA_BITS_MIN 25u    /* T0SZ is at most 39 */
#define GRI_FMT_VA_BITS_MAX 48u
#define GRI_FMT_LEVELS_FOLLOW_VA true
#define GRI_FMT_PA_BITS                                                                            \
    ((uint64_t)1 << 32 | (uint64_t)1 << 36 | (uint64_t)1 << 40 | (uint64_t)1 << 42 |               \
     (uint64_t)1 << 44 | (uint64_t)1 << 48) /* the sizes that IPS has */
#define GRI_FMT_WINDOWS 0
#define GRI_FMT_GRANULES 3 /* 4, 16 and 64 KiB */

#define GRI_LPAE_VALID ((uint64_t)1 << 0)
#define GRI_LPAE_TABLE                                                                             \
    ((uint64_t)1 << 1)                  /* above the leaves; set in every leaf of level 0 as well */
#define GRI_LPAE_ATTR_SHIFT 2           /* AttrIndx[2:0] */
#define GRI_LPAE_EL0 ((uint64_t)1 << 6) /* AP[1]: devices' accesses are unprivileged */
#define GRI_LPAE_READ_ONLY ((uint64_t)1 << 7) /* AP[2] */
#define GRI_LPAE_INNER_SHAREABLE ((uint64_t)3 << 8)
#define GRI_LPAE_AF ((uint64_t)1 << 10)
#define GRI_LPAE_NG ((uint64_t)1 << 11)
#define GRI_LPAE_PA ((uint64_t)0xfffffffff000) /* 47:12 */
#define GRI_FMT_GROUP ((uint64_t)1 << 52)      /* Contiguous */
#define GRI_LPAE_PXN ((uint64_t)1 << 53)
#define GRI_LPAE_UXN ((uint64_t)1 << 54)

/* Indices into MAIR. */
enum {
    GRI_LPAE_ATTR_WRITE_BACK = 0, /* 0xff: normal, write-back, allocating */
    GRI_LPAE_ATTR_UNCACHED = 1,   /* 0x44: normal, not cacheable */
};

static inline bool gri_fmt_valid(uint64_t entry)
{
    return entry & GRI_LPAE_VALID;
}

/* Above the leaves. A leaf of level 0 looks the same. */
static inline bool gri_fmt_is_table(uint64_t entry)
{
    return (entry & (GRI_LPAE_VALID | GRI_LPAE_TABLE)) == (GRI_LPAE_VALID | GRI_LPAE_TABLE);
}

/* The PA that an entry names, leaf or table; `lg2` of what it spans. */
static inline gr_pa_t gri_fmt_pa(uint64_t entry, unsigned lg2)
{
    return entry & GRI_LPAE_PA & ~gri_mask(lg2);
}

static inline uint64_t gri_fmt_table(gr_pa_t pa)
{
    return pa | GRI_LPAE_VALID | GRI_LPAE_TABLE;
}

/* Everything of a leaf of level 0 but its address. There is no write-only: it is read and write. */
static inline uint64_t gri_fmt_attrs(unsigned prot)
{
    const uint64_t attr =
        prot & GR_PROT_UNCACHED ? GRI_LPAE_ATTR_UNCACHED : GRI_LPAE_ATTR_WRITE_BACK;

    return GRI_LPAE_VALID | GRI_LPAE_TABLE | attr << GRI_LPAE_ATTR_SHIFT | GRI_LPAE_EL0 |
           (prot & GR_PROT_WRITE ? 0 : GRI_LPAE_READ_ONLY) | GRI_LPAE_INNER_SHAREABLE |
           GRI_LPAE_AF | GRI_LPAE_NG | GRI_LPAE_PXN | GRI_LPAE_UXN;
}

static inline uint64_t gri_fmt_leaf(gr_pa_t pa, uint64_t attrs)
{
    return pa | attrs;
}

/* What the next leaf, `size` bytes on, has more. */
static inline uint64_t gri_fmt_step(uint64_t size)
{
    return size;
}

/* A bit for each level that may map: 2 MiB and 1 GiB, 32 MiB, 512 MiB. */
static inline unsigned gri_fmt_block_levels(unsigned granule_lg2)
{
    return granule_lg2 == 12 ? 0x6 : 0x2;
}

/* log2 of the entries of a group: 64 KiB and 32 MiB, 2 MiB and 1 GiB, 2 MiB and 16 GiB. */
static inline unsigned gri_fmt_group_lg2(unsigned granule_lg2, unsigned level)
{
    if (level > 1)
        return 0;
    return granule_lg2 == 12 ? 4 : granule_lg2 == 14 && !level ? 7 : 5;
}

static inline unsigned gri_fmt_prot(uint64_t leaf)
{
    const unsigned attr = (unsigned)(leaf >> GRI_LPAE_ATTR_SHIFT & 7);

    return GR_PROT_READ | (leaf & GRI_LPAE_READ_ONLY ? 0 : GR_PROT_WRITE) |
           (attr == GRI_LPAE_ATTR_UNCACHED ? GR_PROT_UNCACHED : 0);
}

static inline struct gr_range gri_fmt_leaf_window(uint64_t leaf, unsigned granule_lg2)
{
    (void)leaf;
    return (struct gr_range){0, gri_mask(granule_lg2)};
}

#endif
