/* SPDX-License-Identifier: MIT */
/*
 * ARM LPAE stage 2 entries (Arm ARM D8.3, D8.5.5 and D8.6). A leaf holds its memory type itself,
 * not an index, and has one bit that permits reading and one that permits writing. The driver that
 * points hardware at these tables derives S2T0SZ from va_bits, S2SL0 from the number of levels and
 * S2PS from pa_bits.
 *
 * A root is up to 16 tables side by side, aligned to the root's size. The number of levels is the
 * least with which such a root translates va_bits, and va_bits are no more than pa_bits. Hardware
 * asks for both: a higher start level exists only where PAs are wide enough.
 */
#ifndef GRI_PT_FMT_LPAE_S2_H
#define GRI_PT_FMT_LPAE_S2_H

#define GRI_FMT_NAME lpae_s2

#include "pt/fmt/lpae.inc.h"

#define GRI_FMT_ROOTS_LG2_MAX 4u
#define GRI_FMT_VA_WITHIN_PA true

#define GRI_LPAE_S2_READ ((uint64_t)1 << 6) /* S2AP */
#define GRI_LPAE_S2_WRITE ((uint64_t)1 << 7)
#define GRI_LPAE_S2_XN ((uint64_t)1 << 54)

/* MemAttr[3:0], outer and inner */
enum {
    GRI_LPAE_S2_UNCACHED = 0x5, /* normal, not cacheable */
    GRI_LPAE_S2_WRITE_BACK = 0xf,
};

/* A leaf of level 0 without its PA. */
static inline uint64_t gri_fmt_attrs(unsigned prot)
{
    const uint64_t attr = prot & GR_PROT_UNCACHED ? GRI_LPAE_S2_UNCACHED : GRI_LPAE_S2_WRITE_BACK;

    return GRI_LPAE_LEAF | attr << GRI_LPAE_ATTR_SHIFT |
           (prot & GR_PROT_READ ? GRI_LPAE_S2_READ : 0) |
           (prot & GR_PROT_WRITE ? GRI_LPAE_S2_WRITE : 0) | GRI_LPAE_S2_XN;
}

static inline unsigned gri_fmt_prot(uint64_t leaf)
{
    const unsigned attr = (unsigned)(leaf >> GRI_LPAE_ATTR_SHIFT & 0xf);

    return (leaf & GRI_LPAE_S2_READ ? GR_PROT_READ : 0) |
           (leaf & GRI_LPAE_S2_WRITE ? GR_PROT_WRITE : 0) |
           (attr == GRI_LPAE_S2_UNCACHED ? GR_PROT_UNCACHED : 0);
}

#endif
