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
#include "formats.h"
#include "units.h"

#define TEST_RAM UINT64_C(0x800000000)

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

static inline unsigned kept_prot(const struct gr_pt_config *c, unsigned prot)
{
    return format_prot(c->format, prot);
}

static inline bool is_lpae(const struct gr_pt_config *c)
{
    return format_of(c->format)->lpae;
}

/* log2 of the leaves that LPAE's Contiguous bit makes one; 0: the format has none. */
static inline unsigned group_lg2(const struct gr_pt_config *c)
{
    if (!is_lpae(c))
        return 0;
    return c->granule_lg2 == 12 ? 4 : c->granule_lg2 == 14 ? 7 : 5;
}

static inline uint64_t entry_address(const struct gr_pt_config *c, uint64_t entry)
{
    return format_address(c->format, c->granule_lg2, entry);
}

static inline bool is_table(const struct gr_pt_config *c, uint64_t entry)
{
    return format_is_table(c->format, entry);
}

static inline void decode_leaf(const struct gr_pt_config *c, uint64_t leaf, struct seen *out)
{
    const struct format *const f = format_of(c->format);

    out->valid = leaf & 1;
    out->pa = entry_address(c, leaf);
    out->prot = (format_says(f->read, leaf) ? GR_PROT_READ : 0) |
                (format_says(f->write, leaf) ? GR_PROT_WRITE : 0) |
                (format_says(f->uncached, leaf) ? GR_PROT_UNCACHED : 0);
    out->whole = format_says(f->whole[0], leaf) || format_says(f->whole[1], leaf);
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
