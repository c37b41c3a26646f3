/* SPDX-License-Identifier: MIT */
/*
 * ARM LPAE stage 1 entries. The driver that points hardware at them sets MAIR to what the attribute
 * indices below stand for, and derives T0SZ from va_bits and IPS from pa_bits. Hardware derives the
 * level where walks begin from T0SZ, so the number of levels must be the least that translates
 * va_bits.
 */
#ifndef GRI_PT_FMT_LPAE_S1_H
#define GRI_PT_FMT_LPAE_S1_H

#define GRI_FMT_NAME lpae_s1

#include "pt/fmt/lpae.inc.h"

#define GRI_FMT_ROOTS_LG2_MAX 0u /* concatenation is for stage 2 */
#define GRI_FMT_VA_WITHIN_PA false

#define GRI_LPAE_S1_EL0 ((uint64_t)1 << 6)       /* AP[1]: devices' accesses are unprivileged */
#define GRI_LPAE_S1_READ_ONLY ((uint64_t)1 << 7) /* AP[2] */
#define GRI_LPAE_S1_NG ((uint64_t)1 << 11)
#define GRI_LPAE_S1_PXN ((uint64_t)1 << 53)
#define GRI_LPAE_S1_UXN ((uint64_t)1 << 54)

/* AttrIndx[2:0]: indices into MAIR. */
enum {
    GRI_LPAE_S1_WRITE_BACK = 0, /* 0xff: normal, write-back, allocating */
    GRI_LPAE_S1_UNCACHED = 1,   /* 0x44: normal, not cacheable */
};

/* A leaf of level 0 without its PA. Stage 1 has no write-only: GR_PROT_WRITE opens reading too. */
static inline uint64_t gri_fmt_attrs(unsigned prot)
{
    const uint64_t attr = prot & GR_PROT_UNCACHED ? GRI_LPAE_S1_UNCACHED : GRI_LPAE_S1_WRITE_BACK;

    return GRI_LPAE_LEAF | attr << GRI_LPAE_ATTR_SHIFT | GRI_LPAE_S1_EL0 |
           (prot & GR_PROT_WRITE ? 0 : GRI_LPAE_S1_READ_ONLY) | GRI_LPAE_S1_NG | GRI_LPAE_S1_PXN |
           GRI_LPAE_S1_UXN;
}

static inline unsigned gri_fmt_prot(uint64_t leaf)
{
    const unsigned attr = (unsigned)(leaf >> GRI_LPAE_ATTR_SHIFT & 7);

    return GR_PROT_READ | (leaf & GRI_LPAE_S1_READ_ONLY ? 0 : GR_PROT_WRITE) |
           (attr == GRI_LPAE_S1_UNCACHED ? GR_PROT_UNCACHED : 0);
}

#endif
