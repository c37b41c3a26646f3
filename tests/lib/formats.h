/* SPDX-License-Identifier: MIT */
/*
 * The formats of page tables as tests know them: what an entry says, read anew from DART.md
 * 4.1 to 4.3 and from the Arm ARM's D8.3 rather than taken from the library, and the geometries
 * that the tests go through. A new format is a row of formats[], and a row of each list of
 * geometries that is to have it.
 */
#ifndef TESTS_FORMATS_H
#define TESTS_FORMATS_H

#include <granule/pt.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Holds where (entry & mask) == value. */
struct format_test {
    uint64_t mask, value;
};

#define FORMAT_SET(bits)                                                                           \
    {                                                                                              \
        (bits), (bits)                                                                             \
    }
#define FORMAT_CLEAR(bits)                                                                         \
    {                                                                                              \
        (bits), 0                                                                                  \
    }
#define FORMAT_ALWAYS                                                                              \
    {                                                                                              \
        0, 0                                                                                       \
    }
#define FORMAT_NEVER                                                                               \
    {                                                                                              \
        0, 1                                                                                       \
    }

struct format {
    enum gr_pt_format format;
    const char *entries;               /* the walker's name of it */
    uint8_t address_bits, address_lg2; /* an address is that many bits of an entry << address_lg2 */
    uint8_t most_roots_lg2;
    bool lpae; /* has blocks and groups of leaves, and pages are marked apart from blocks */
    struct format_test table; /* above the leaves */
    struct format_test read, write, uncached;
    struct format_test whole[2]; /* either: all is open, and the bits that never change are right */
    unsigned cannot_say;         /* GR_PROT_* without a bit */
    unsigned comes_along;        /* GR_PROT_* with any other */
};

#define FORMAT_WINDOW                                                                              \
    {                                                                                              \
        UINT64_C(0xffffff) << 40, UINT64_C(0xfff) << 40                                            \
    }

/* Stage 1: AP[1], AF, inner shareable, nG, PXN and UXN always; AttrIndx 0 or 1. */
#define FORMAT_S1 (UINT64_C(3) << 53 | 0xf40)
/* Stage 2: AF, inner shareable and XN always, not bits 53 and 11; MemAttr 5 or 15. */
#define FORMAT_S2 (UINT64_C(1) << 54 | 0x700)
#define FORMAT_S2_BITS (FORMAT_S2 | UINT64_C(1) << 53 | 0x800 | 15 << 2)

static const struct format formats[] = {
    {GR_PT_DART1, "DART1", 36, 0, 2, false, .table = FORMAT_SET(1), .read = FORMAT_CLEAR(1 << 8),
     .write = FORMAT_CLEAR(1 << 7), .uncached = FORMAT_NEVER,
     .whole = {FORMAT_SET(2), FORMAT_WINDOW}, .cannot_say = GR_PROT_UNCACHED},
    {GR_PT_DART2, "DART2", 38, 4, 2, false, .table = FORMAT_SET(1), .read = FORMAT_CLEAR(1 << 3),
     .write = FORMAT_CLEAR(1 << 2), .uncached = FORMAT_SET(2),
     .whole = {FORMAT_WINDOW, FORMAT_NEVER}},
    {GR_PT_LPAE_S1, "LPAE", 48, 0, 0, true, .table = FORMAT_SET(3), .read = FORMAT_ALWAYS,
     .write = FORMAT_CLEAR(1 << 7), .uncached = {7 << 2, 1 << 2},
     .whole = {{FORMAT_S1 | 6 << 2, FORMAT_S1}, FORMAT_NEVER}, .comes_along = GR_PROT_READ},
    {GR_PT_LPAE_S2, "LPAE2", 48, 0, 4, true, .table = FORMAT_SET(3), .read = FORMAT_SET(1 << 6),
     .write = FORMAT_SET(1 << 7), .uncached = {15 << 2, 5 << 2},
     .whole = {{FORMAT_S2_BITS, FORMAT_S2 | 5 << 2}, {FORMAT_S2_BITS, FORMAT_S2 | 15 << 2}}},
};

#define FORMATS (sizeof(formats) / sizeof(formats[0]))

static inline const struct format *format_of(enum gr_pt_format which)
{
    for (size_t i = 0; i < FORMATS; i++) {
        if (formats[i].format == which)
            return &formats[i];
    }
    abort(); /* a row is missing above */
}

static inline bool format_says(struct format_test test, uint64_t entry)
{
    return (entry & test.mask) == test.value;
}

/* Addresses of leaves and of entries of tables alike. */
static inline uint64_t format_address(enum gr_pt_format which, unsigned granule_lg2, uint64_t entry)
{
    const struct format *const f = format_of(which);
    const uint64_t pa = (entry & ((UINT64_C(1) << f->address_bits) - 1)) << f->address_lg2;

    return pa >> granule_lg2 << granule_lg2;
}

/* Does an entry above the leaves point to a table? */
static inline bool format_is_table(enum gr_pt_format which, uint64_t entry)
{
    return format_says(format_of(which)->table, entry);
}

/* What of `prot` is left when an entry has said it. */
static inline unsigned format_prot(enum gr_pt_format which, unsigned prot)
{
    const struct format *const f = format_of(which);

    return (prot & ~f->cannot_say) | f->comes_along;
}

/* ---- geometries ---- */

#define GEOMETRY(fmt, granule, depth, roots, va, pa)                                               \
    {                                                                                              \
#fmt " granule 2^" #granule " levels " #depth " va " #va " pa " #pa,                       \
        {                                                                                          \
            .format = GR_PT_##fmt, .granule_lg2 = (granule), .levels = (depth),                    \
            .roots_lg2 = (roots), .va_bits = (va), .pa_bits = (pa), .coherent = true               \
        }                                                                                          \
    }

struct geometry {
    const char *name;
    struct gr_pt_config config;
};

/* Two levels. */
static const struct geometry geometries[] = {
    GEOMETRY(DART1, 14, 2, 2, 32, 36),   GEOMETRY(DART1, 14, 2, 2, 37, 36),
    GEOMETRY(DART1, 14, 2, 2, 38, 36),   GEOMETRY(DART1, 12, 2, 2, 32, 36),
    GEOMETRY(DART2, 14, 2, 2, 32, 42),   GEOMETRY(DART2, 14, 2, 2, 36, 42),
    GEOMETRY(DART2, 14, 2, 2, 38, 36),   GEOMETRY(DART2, 12, 2, 2, 30, 42),
    GEOMETRY(DART2, 12, 2, 2, 32, 42),   GEOMETRY(LPAE_S1, 12, 2, 0, 30, 48),
    GEOMETRY(LPAE_S1, 12, 2, 0, 25, 36), GEOMETRY(LPAE_S1, 14, 2, 0, 36, 40),
    GEOMETRY(LPAE_S1, 16, 2, 0, 42, 48), GEOMETRY(LPAE_S2, 12, 2, 4, 34, 36),
    GEOMETRY(LPAE_S2, 12, 2, 4, 30, 48), GEOMETRY(LPAE_S2, 14, 2, 4, 40, 40),
    GEOMETRY(LPAE_S2, 16, 2, 4, 43, 44),
};

#define GEOMETRIES (sizeof(geometries) / sizeof(geometries[0]))

/* Tables between the root and the leaves, for what devices see while tables change. */
static const struct geometry deep_geometries[] = {
    GEOMETRY(LPAE_S1, 12, 3, 0, 39, 48),
    GEOMETRY(LPAE_S1, 12, 4, 0, 48, 48),
    GEOMETRY(LPAE_S2, 12, 3, 4, 41, 42),
};

#define DEEP_GEOMETRIES (sizeof(deep_geometries) / sizeof(deep_geometries[0]))

/* Every depth of every format and granule. */
static const struct geometry all_depths[] = {
    GEOMETRY(DART1, 12, 2, 0, 30, 36),   GEOMETRY(DART1, 14, 2, 0, 36, 36),
    GEOMETRY(DART2, 12, 2, 0, 30, 42),   GEOMETRY(DART2, 12, 3, 0, 39, 42),
    GEOMETRY(DART2, 14, 2, 0, 36, 42),   GEOMETRY(DART2, 14, 3, 0, 47, 42),
    GEOMETRY(LPAE_S1, 12, 2, 0, 30, 48), GEOMETRY(LPAE_S1, 12, 3, 0, 39, 48),
    GEOMETRY(LPAE_S1, 12, 4, 0, 48, 48), GEOMETRY(LPAE_S1, 14, 2, 0, 36, 48),
    GEOMETRY(LPAE_S1, 14, 3, 0, 47, 48), GEOMETRY(LPAE_S1, 14, 4, 0, 48, 48),
    GEOMETRY(LPAE_S1, 16, 2, 0, 42, 48), GEOMETRY(LPAE_S1, 16, 3, 0, 48, 48),
    GEOMETRY(LPAE_S2, 12, 3, 4, 41, 48), GEOMETRY(LPAE_S2, 12, 4, 4, 44, 48),
    GEOMETRY(LPAE_S2, 14, 2, 4, 37, 48), GEOMETRY(LPAE_S2, 14, 3, 4, 48, 48),
    GEOMETRY(LPAE_S2, 16, 2, 4, 43, 48), GEOMETRY(LPAE_S2, 16, 3, 4, 48, 48),
};

#define ALL_DEPTHS (sizeof(all_depths) / sizeof(all_depths[0]))

/* For CPUs that meet in one table: of two levels and three, where two tables may be missing. */
static const struct geometry raced_geometries[] = {
    GEOMETRY(DART1, 14, 2, 2, 32, 36),   GEOMETRY(DART2, 12, 3, 0, 39, 42),
    GEOMETRY(LPAE_S1, 12, 3, 0, 39, 48), GEOMETRY(LPAE_S1, 16, 2, 0, 42, 48),
    GEOMETRY(LPAE_S2, 14, 2, 4, 38, 40),
};

#define RACED_GEOMETRIES (sizeof(raced_geometries) / sizeof(raced_geometries[0]))

#endif
