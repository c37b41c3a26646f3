/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the page tables share: machines, geometries, and a walker that decodes tables
 * from DART.md 4 and the Arm ARM's VMSAv8-64 descriptors alone, as hardware sees them.
 */
#ifndef TESTS_PT_TOOLS_H
#define TESTS_PT_TOOLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <granule/pt.h>
#include <host.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "chance.h"
#include "units.h"

#define TEST_RAM UINT64_C(0x800000000)

struct geometry {
    const char *name;
    struct gr_pt_config config;
};

#define GEOMETRY(fmt, granule, va, pa)                                                             \
    {                                                                                              \
#fmt " granule 2^" #granule " va " #va " pa " #pa,                                         \
        {                                                                                          \
            .format = GR_PT_##fmt, .granule_lg2 = (granule), .levels = 2, .roots_lg2 = 2,          \
            .va_bits = (va), .pa_bits = (pa), .coherent = true                                     \
        }                                                                                          \
    }

#define LPAE(stage, granule, depth, va, pa)                                                        \
    {                                                                                              \
        "LPAE stage " #stage " granule 2^" #granule " levels " #depth " va " #va " pa " #pa,       \
        {                                                                                          \
            .format = GR_PT_LPAE_S##stage, .granule_lg2 = (granule), .levels = (depth),            \
            .roots_lg2 = (stage) == 2 ? 4 : 0, .va_bits = (va), .pa_bits = (pa), .coherent = true  \
        }                                                                                          \
    }

/* Two levels each; what has more is in the tests that look at the levels between. */
static const struct geometry geometries[] = {
    GEOMETRY(DART1, 14, 32, 36), GEOMETRY(DART1, 14, 37, 36), GEOMETRY(DART1, 14, 38, 36),
    GEOMETRY(DART1, 12, 32, 36), GEOMETRY(DART2, 14, 32, 42), GEOMETRY(DART2, 14, 36, 42),
    GEOMETRY(DART2, 14, 38, 36), GEOMETRY(DART2, 12, 30, 42), GEOMETRY(DART2, 12, 32, 42),
    LPAE(1, 12, 2, 30, 48),      LPAE(1, 12, 2, 25, 36),      LPAE(1, 14, 2, 36, 40),
    LPAE(1, 16, 2, 42, 48),      LPAE(2, 12, 2, 34, 36),      LPAE(2, 12, 2, 30, 48),
    LPAE(2, 14, 2, 40, 40),      LPAE(2, 16, 2, 43, 44),
};

#define GEOMETRIES (sizeof(geometries) / sizeof(geometries[0]))

static inline uint64_t bits(unsigned n)
{
    return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

static inline struct host *machine(const struct host_config *config)
{
    char err[256] = "";
    struct host *h = host_create(config, err, sizeof(err));

    if (!h)
        fail_msg("host_create: %s", err);
    host_log_level(h, -1);
    return h;
}

/* `mib` MiB of RAM. */
static inline struct host *machine_of(uint64_t mib, uint64_t seed, bool coherent)
{
    const struct host_config config = {.cpu_page = 4096,
                                       .nbanks = 1,
                                       .seed = seed,
                                       .noncoherent_walk = !coherent,
                                       .banks = {{TEST_RAM, mib << 20}}};

    return machine(&config);
}

/* The end of a machine without misuse and without leaks. */
static inline void finish(struct host *h)
{
    if (host_misuse(h))
        fail_msg("misuse: %s", host_last_log(h));
    assert_int_equal(host_ram_leaks(h), 0);
    assert_int_equal(host_destroy(h), 0);
}

/* What a walker finds for one IOVA. */
struct seen {
    bool broken; /* a table entry led outside RAM or into freed memory */
    bool valid;
    uint64_t pa; /* of the granule */
    unsigned prot;
    bool whole; /* the window is the whole granule */
};

/* What of `prot` a format can say: DART1 has no bit for UNCACHED, stage 1 no write-only. */
static inline unsigned kept_prot(const struct gr_pt_config *c, unsigned prot)
{
    if (c->format == GR_PT_DART1)
        return prot & ~(unsigned)GR_PROT_UNCACHED;
    return c->format == GR_PT_LPAE_S1 ? prot | GR_PROT_READ : prot;
}

static inline bool is_lpae(const struct gr_pt_config *c)
{
    return c->format == GR_PT_LPAE_S1 || c->format == GR_PT_LPAE_S2;
}

/* log2 of the leaves that LPAE's Contiguous bit makes one; 0: the format has none. */
static inline unsigned group_lg2(const struct gr_pt_config *c)
{
    if (!is_lpae(c))
        return 0;
    return c->granule_lg2 == 12 ? 4 : c->granule_lg2 == 14 ? 7 : 5;
}

/* Addresses of leaves and table entries alike: DART.md 4.1 to 4.3, or bits 47:12. */
static inline uint64_t entry_address(const struct gr_pt_config *c, uint64_t entry)
{
    if (c->format == GR_PT_DART1)
        return entry & bits(36) & ~bits(c->granule_lg2);
    if (is_lpae(c))
        return entry & bits(48) & ~bits(c->granule_lg2);
    return entry << 4 & bits(42) & ~bits(c->granule_lg2);
}

/* Does an entry above the leaves point to a table? */
static inline bool is_table(const struct gr_pt_config *c, uint64_t entry)
{
    return is_lpae(c) ? (entry & 3) == 3 : entry & 1;
}

/* A page has bit 1 set and a block has not; AP[1], AF, inner shareable, nG, PXN and UXN always. */
static inline void decode_lpae(const struct gr_pt_config *c, uint64_t leaf, struct seen *out)
{
    const uint64_t always = UINT64_C(3) << 53 | 0xf40;

    out->valid = leaf & 1;
    out->pa = entry_address(c, leaf);
    out->prot = GR_PROT_READ | (leaf >> 7 & 1 ? 0 : GR_PROT_WRITE);
    if ((leaf >> 2 & 7) == 1)
        out->prot |= GR_PROT_UNCACHED;
    out->whole = (leaf & always) == always && (leaf >> 2 & 7) < 2;
}

/* AF, inner shareable and XN always; S2AP allows reading and writing, MemAttr is 15 or 5. */
static inline void decode_lpae_s2(const struct gr_pt_config *c, uint64_t leaf, struct seen *out)
{
    const uint64_t always = UINT64_C(1) << 54 | 0x700;
    const unsigned attr = leaf >> 2 & 15;

    out->valid = leaf & 1;
    out->pa = entry_address(c, leaf);
    out->prot = (leaf >> 6 & 1 ? GR_PROT_READ : 0) | (leaf >> 7 & 1 ? GR_PROT_WRITE : 0) |
                (attr == 5 ? GR_PROT_UNCACHED : 0);
    out->whole =
        (leaf & (always | UINT64_C(1) << 53 | 0x800)) == always && (attr == 5 || attr == 15);
}

static inline void decode_leaf(const struct gr_pt_config *c, uint64_t leaf, struct seen *out)
{
    const bool dart1 = c->format == GR_PT_DART1;
    const bool no_read = leaf >> (dart1 ? 8 : 3) & 1;
    const bool no_write = leaf >> (dart1 ? 7 : 2) & 1;

    if (c->format == GR_PT_LPAE_S1) {
        decode_lpae(c, leaf, out);
        return;
    }
    if (c->format == GR_PT_LPAE_S2) {
        decode_lpae_s2(c, leaf, out);
        return;
    }
    out->valid = leaf & 1;
    out->pa = entry_address(c, leaf);
    out->prot = (no_read ? 0 : GR_PROT_READ) | (no_write ? 0 : GR_PROT_WRITE);
    if (!dart1 && (leaf & 2))
        out->prot |= GR_PROT_UNCACHED;
    out->whole = (dart1 && (leaf & 2)) || leaf >> 40 == 0x000fff;
}

/* Where the entry of the top level that translates `iova` lies: DART.md 4. */
static inline gr_pa_t top_entry(const struct gr_pt_config *c, gr_pa_t root, uint64_t iova)
{
    const unsigned top_lg2 = c->granule_lg2 + c->levels * (c->granule_lg2 - 3u); /* of one table */
    const uint64_t va = iova & bits(c->va_bits);
    const uint64_t select = va >> top_lg2;
    const uint64_t index = (va & bits(top_lg2)) >> (top_lg2 - (c->granule_lg2 - 3u));

    return root + (select << c->granule_lg2) + 8 * index;
}

static inline uint64_t leaf_offset(const struct gr_pt_config *c, uint64_t iova)
{
    return 8 * (iova >> c->granule_lg2 & bits(c->granule_lg2 - 3u));
}

static inline struct seen hardware_walk(struct host *h, const struct gr_pt_config *c, gr_pa_t root,
                                        uint64_t iova)
{
    const unsigned index_bits = c->granule_lg2 - 3u;
    struct seen out = {.broken = true};
    gr_pa_t at = top_entry(c, root, iova);
    uint64_t entry = 0;

    for (unsigned level = c->levels - 1u; host_table_read64(h, at, &entry); level--) {
        const unsigned shift = c->granule_lg2 + level * index_bits;

        if (level && is_table(c, entry)) {
            at = entry_address(c, entry) + 8 * (iova >> (shift - index_bits) & bits(index_bits));
            continue;
        }
        if (entry & 1)
            decode_leaf(c, entry, &out);
        if (level) /* a block: the granule of it */
            out.pa += iova & bits(shift) & ~bits(c->granule_lg2);
        out.broken = !level && is_lpae(c) && (entry & 3) == 1; /* reserved */
        return out;
    }
    return out;
}

/* FNV-1a over the root and every table below it, as the CPU sees them. */
static inline uint64_t fingerprint(const struct gr_pt *pt, const struct gr_pt_config *c)
{
    const size_t per_table = (size_t)1 << (c->granule_lg2 - 3);
    const size_t root_entries = per_table << pt->roots_lg2;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < root_entries; i++) {
        const uint64_t entry = pt->root[i];

        hash = (hash ^ entry) * UINT64_C(0x100000001b3);
        if (!is_table(c, entry))
            continue;
        const uint64_t *const leaves =
            host_ptr(pt->env, entry_address(c, entry), 1u << c->granule_lg2);

        assert_non_null(leaves);
        for (size_t k = 0; k < per_table; k++)
            hash = (hash ^ leaves[k]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

#endif
