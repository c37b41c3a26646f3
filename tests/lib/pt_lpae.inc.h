/* SPDX-License-Identifier: MIT */
/*
 * What holds for tables of both stages of ARM LPAE: blocks and contiguous groups, what may not be
 * cut, and tables of every depth, decoded by the independent walker. The including file has the
 * stage's codec, and defines STAGE_FORMAT, STAGE_WRITE_ONLY and STAGE_GRANULES, the shapes that are
 * tried. Each stage adds its entries to the bit.
 */
#include "pt_tools.h"

#include <granule/err.h>

#include "pt/pt_internal.h"
#include "tables.h"

#ifndef STAGE_FORMAT /* so that an editor can read this file alone */
#include "pt/fmt/lpae_s1.h"
#define STAGE_FORMAT GR_PT_LPAE_S1
#define STAGE_WRITE_ONLY RW
#define STAGE_GRANULES                                                                             \
    {                                                                                              \
        12, 4, 48, 40, 64 * KIB, 2 * MIB, 32 * MIB                                                 \
    }
#endif

#define CONTIGUOUS (UINT64_C(1) << 52)

/* ---- values ---- */

struct value {
    gr_pa_t pa;
    unsigned prot;
    uint64_t leaf;
};

static void check_values(const struct value *v, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_true(gri_fmt_leaf(v[i].pa, gri_fmt_attrs(v[i].prot)) == v[i].leaf);
        assert_true(gri_fmt_valid(v[i].leaf));
        assert_true(gri_fmt_pa(v[i].leaf, 12) == v[i].pa);
        assert_true(gri_fmt_pa(v[i].leaf | CONTIGUOUS, 12) == v[i].pa);
        assert_int_equal(gri_fmt_prot(v[i].leaf), v[i].prot);
    }
}

/* ---- tables ---- */

struct world {
    struct host *h;
    struct gr_pt pt;
    struct tables tables;
};

static struct gr_pt_config shape_of(uint8_t granule_lg2, uint8_t levels, uint8_t va_bits,
                                    uint8_t pa_bits)
{
    return (struct gr_pt_config){.format = STAGE_FORMAT,
                                 .granule_lg2 = granule_lg2,
                                 .levels = levels,
                                 .roots_lg2 = GRI_FMT_ROOTS_LG2_MAX,
                                 .va_bits = va_bits,
                                 .pa_bits = pa_bits,
                                 .coherent = true};
}

static void open_world(struct world *w, const struct gr_pt_config *c)
{
    memset(w, 0, sizeof(*w));
    w->h = machine_of(16, 1, c->coherent);
    assert_int_equal(gr_pt_init(&w->pt, w->h, c), 0);
    assert_true(w->pt.root_pa % (UINT64_C(1) << (c->granule_lg2 + w->pt.roots_lg2)) == 0);
    tables_open(&w->tables, &w->pt);
}

/* Nothing may be left but the root. */
static void close_world(struct world *w)
{
    const struct gr_range all = {0, UINT64_MAX};
    struct gr_pt_gather gather = {0};

    assert_int_equal(gr_pt_unmap(&w->pt, 0, bits(w->pt.va_bits) + 1, &all, &gather), 0);
    gr_port_wmb();
    gr_pt_gather_free(&w->pt, &gather);
    assert_true(w->pt.tables == UINT64_C(1) << w->pt.roots_lg2);
    gr_pt_fini(&w->pt);
    assert_int_equal(host_leaks(w->h), 0);
    finish(w->h);
}

static void map(struct world *w, gr_iova_t iova, gr_pa_t pa, uint64_t len, unsigned prot)
{
    uint64_t done = 1;

    assert_int_equal(gr_pt_map(&w->pt, iova, pa, len, prot, &done), 0);
    assert_true(done == len);
}

static void trim(struct world *w, gr_iova_t iova, uint64_t len)
{
    struct gr_pt_gather gather = {0};

    assert_int_equal(gr_pt_trim(&w->pt, iova, len, &gather), 0);
    assert_true(gather.count);
    gr_port_wmb();
    gr_pt_gather_free(&w->pt, &gather);
}

static void unmap(struct world *w, gr_iova_t iova, uint64_t len)
{
    assert_int_equal(gr_pt_unmap(&w->pt, iova, len, NULL, NULL), 0);
    gr_port_wmb();
}

/* One IOVA, by the library and by the walker. */
static struct walker_leaf leads(struct world *w, gr_iova_t iova, gr_pa_t pa, unsigned prot)
{
    struct gr_pt_walk own;
    struct walker_walk walk;

    assert_int_equal(gr_pt_walk(&w->pt, iova, &own), 0);
    walker_walk(&w->tables.stream, iova, &walk);
    assert_int_equal(walk.end, WALKER_MAPPED);
    assert_true(own.pa == pa && walk.pa == pa);
    assert_int_equal(own.prot, prot);
    assert_int_equal(own.steps, walk.nsteps);
    assert_int_equal((walk.leaf.read ? GR_PROT_READ : 0u) | (walk.leaf.write ? GR_PROT_WRITE : 0u) |
                         (walk.leaf.uncached ? GR_PROT_UNCACHED : 0u),
                     prot);
    return walk.leaf;
}

static void absent(struct world *w, gr_iova_t iova)
{
    struct gr_pt_walk own;
    struct walker_walk walk;

    assert_int_equal(gr_pt_walk(&w->pt, iova, &own), GR_ENOENT);
    walker_walk(&w->tables.stream, iova, &walk);
    assert_int_equal(walk.end, WALKER_NO_ENTRY);
}

/* What [iova, iova + len) is mapped with: one size of leaf, one of group, all the way. */
static void made_of(struct world *w, gr_iova_t iova, gr_pa_t pa, uint64_t len, uint64_t leaf,
                    uint64_t group)
{
    for (uint64_t at = 0; at < len; at += leaf) {
        const struct walker_leaf l = leads(w, iova + at, pa + at, RW);

        assert_true(l.last - l.iova + 1 == leaf);
        assert_true(l.whole_last - l.whole + 1 == group);
    }
}

static const struct {
    uint8_t lg2, levels, va_bits, pa_bits;
    uint64_t group, block, blocks; /* bytes: of a group of leaves, a block, a group of blocks */
} granules[] = {STAGE_GRANULES};

/* Tables that the root consists of. */
static unsigned roots(const struct world *w)
{
    return 1u << w->pt.roots_lg2;
}

/* From one granule before a group of blocks to one after: each part as large as it can be. */
static void sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < GRI_ARRAY_SIZE(granules); i++) {
        const struct gr_pt_config c =
            shape_of(granules[i].lg2, granules[i].levels, granules[i].va_bits, 48);
        const uint64_t g = UINT64_C(1) << c.granule_lg2, group = granules[i].group,
                       block = granules[i].block, blocks = granules[i].blocks;
        const gr_iova_t iova = blocks - block - group - g;
        const gr_pa_t pa = 4 * blocks - block - group - g;
        const uint64_t len = g + group + block + blocks + block + group + g;
        gr_iova_t at = iova;
        struct world w;
        gr_pa_t to = pa;

        open_world(&w, &c);
        map(&w, iova, pa, len, RW);
        made_of(&w, at, to, g, g, g);
        at += g, to += g;
        made_of(&w, at, to, group, g, group);
        at += group, to += group;
        made_of(&w, at, to, block, block, block);
        at += block, to += block;
        made_of(&w, at, to, blocks, block, blocks);
        at += blocks, to += blocks;
        made_of(&w, at, to, block, block, block);
        at += block, to += block;
        made_of(&w, at, to, group, g, group);
        at += group, to += group;
        made_of(&w, at, to, g, g, g);
        absent(&w, at + g);
        absent(&w, iova - 1);
        assert_int_equal(gr_pt_check_mapped(&w.pt, iova, len), 0);
        assert_int_equal(gr_pt_check_mapped(&w.pt, iova - g, len + g), GR_ENOENT);
        unmap(&w, iova, len);
        absent(&w, iova + g);
        absent(&w, iova + len / 2);

        /* A PA that is less aligned: leaves, no groups. */
        map(&w, 0, g, 2 * group, RW);
        made_of(&w, 0, g, 2 * group, g, g);
        unmap(&w, g, g); /* any of them may go alone */
        absent(&w, g);
        close_world(&w);
    }
}

/* What is one entry or one group goes as a whole; a refusal changes nothing. */
static void cuts(void **state)
{
    (void)state;
    for (size_t i = 0; i < GRI_ARRAY_SIZE(granules); i++) {
        const struct gr_pt_config c =
            shape_of(granules[i].lg2, granules[i].levels, granules[i].va_bits, 48);
        const uint64_t g = UINT64_C(1) << c.granule_lg2, group = granules[i].group,
                       block = granules[i].block, blocks = granules[i].blocks;
        /* A group at 0, one block from `block` on, a group of blocks from `blocks` on. */
        const struct {
            uint64_t first, len, inside, size;
        } v[] = {{0, group, g, group}, {block, block, g, block}, {blocks, blocks, block, blocks}};
        struct world w;

        open_world(&w, &c);
        for (size_t k = 0; k < GRI_ARRAY_SIZE(v); k++)
            map(&w, v[k].first, v[k].first, v[k].len, RW);
        for (size_t k = 0; k < GRI_ARRAY_SIZE(v); k++) {
            const struct {
                uint64_t iova, len;
            } bad[] = {
                {v[k].first, v[k].inside},                           /* its start */
                {v[k].first + v[k].inside, v[k].size - v[k].inside}, /* its end */
                {v[k].first + v[k].inside, g},                       /* its middle */
                {v[k].first + v[k].size - g, 2 * g},                 /* and beyond */
                {0, v[k].first + v[k].inside},                       /* from before */
                {v[k].first + v[k].inside, bits(c.va_bits) + 1 - v[k].first - v[k].inside},
            };

            for (size_t n = 0; n < GRI_ARRAY_SIZE(bad); n++) {
                const struct gr_range all = {0, UINT64_MAX};
                struct gr_pt_gather gather = {0};

                assert_int_equal(gr_pt_unmap(&w.pt, bad[n].iova, bad[n].len, &all, &gather),
                                 GR_EMSGSIZE);
                assert_int_equal(gr_pt_unmap(&w.pt, bad[n].iova, bad[n].len, NULL, NULL),
                                 GR_EMSGSIZE);
                assert_int_equal(gr_pt_check_mapped(&w.pt, bad[n].iova, bad[n].len), GR_EMSGSIZE);
                assert_true(!gather.head && !gather.count);
                for (size_t m = 0; m < GRI_ARRAY_SIZE(v); m++) {
                    (void)leads(&w, v[m].first, v[m].first, RW);
                    (void)leads(&w, v[m].first + v[m].len - 1, v[m].first + v[m].len - 1, RW);
                }
            }
        }
        unmap(&w, block,
              2 * blocks - block); /* with what is not mapped between, and both ends whole */
        absent(&w, block);
        absent(&w, blocks);
        (void)leads(&w, 0, 0, RW);
        close_world(&w);
    }
}

/* Maps over and under what is live; blocks where there is a table already; groups with one taken.
 */
static void collisions(void **state)
{
    (void)state;
    for (size_t i = 0; i < GRI_ARRAY_SIZE(granules); i++) {
        const struct gr_pt_config c =
            shape_of(granules[i].lg2, granules[i].levels, granules[i].va_bits, 48);
        const uint64_t g = UINT64_C(1) << c.granule_lg2, group = granules[i].group,
                       block = granules[i].block, blocks = granules[i].blocks;
        struct gr_pt_gather gather = {0};
        uint64_t done = 1;
        gr_pa_t pa = 0;
        struct world w;

        open_world(&w, &c);
        map(&w, block, block, block, RW);
        assert_int_equal(gr_pt_map(&w.pt, block + g, 0, g, RW, &done), GR_EEXIST);
        assert_true(done == 0);
        assert_int_equal(gr_pt_map(&w.pt, block, 4 * block, block, RW, &done), GR_EEXIST);
        assert_true(done == 0);
        /* From before it: as far as it is free, and the caller takes that back. */
        assert_int_equal(gr_pt_map(&w.pt, block - group - g, g, 2 * block, RW, &done), GR_EEXIST);
        assert_true(done == group + g);
        unmap(&w, block - group - g, done);
        trim(&w, 0, block);
        /* A run of blocks that meets one. */
        assert_int_equal(gr_pt_map(&w.pt, 0, blocks, 4 * block, RW, &done), GR_EEXIST);
        assert_true(done == block);
        unmap(&w, 0, done);
        unmap(&w, block, block);

        /* A table with one granule: blocks around it, and over it groups as far as it allows. */
        map(&w, block + group + 2 * g, 7 * g, g, RW);
        assert_int_equal(gr_pt_map(&w.pt, 0, 0, 3 * block, RW, &done), GR_EEXIST);
        assert_true(done == block + group + 2 * g);
        made_of(&w, 0, 0, block, block, block);
        made_of(&w, block, block, group, g, group);
        made_of(&w, block + group, block + group, 2 * g, g, g);
        unmap(&w, 0, done);
        assert_int_equal(gri_pt_to_phys(&w.pt, block + group + 2 * g + 5, &pa), 0);
        assert_true(pa == 7 * g + 5);
        assert_int_equal(gri_pt_to_phys(&w.pt, block + group + g, &pa), GR_ENOENT);
        unmap(&w, block + group + 2 * g, g);

        /* The empty table is used, and no block, until it is trimmed. */
        map(&w, block, block, block, RW);
        made_of(&w, block, block, block, g, group);
        unmap(&w, block, block);
        trim(&w, block, block);
        map(&w, block, block, block, RW);
        made_of(&w, block, block, block, block, block);
        assert_int_equal(gri_pt_to_phys(&w.pt, block + g + 5, &pa), 0);
        assert_true(pa == block + g + 5);
        /* What maps is not trimmed. */
        assert_int_equal(gr_pt_trim(&w.pt, 0, bits(c.va_bits) + 1, &gather), 0);
        assert_true(gather.count == 0);
        close_world(&w);
    }
}

/* Both ends of both spaces, 2^31 and 2^32, protections, and ends with blocks mapped. */
static void edges(void **state)
{
    (void)state;
    for (size_t i = 0; i < GRI_ARRAY_SIZE(granules); i++) {
        const struct gr_pt_config c =
            shape_of(granules[i].lg2, granules[i].levels, granules[i].va_bits, granules[i].pa_bits);
        const uint64_t g = UINT64_C(1) << c.granule_lg2, block = granules[i].block;
        const uint64_t va_end = bits(c.va_bits) + 1, pa_end = bits(c.pa_bits) + 1;
        uint64_t done;
        struct world w;

        open_world(&w, &c);
        map(&w, 0, 0, g, RW);
        map(&w, va_end - g, pa_end - g, g, GR_PROT_READ);
        map(&w, (UINT64_C(1) << 31) - g, 5 * g, 2 * g, GR_PROT_WRITE);
        map(&w, (UINT64_C(1) << 32) - g, 9 * g, 2 * g, RW | GR_PROT_UNCACHED);
        (void)leads(&w, 0, 0, RW);
        (void)leads(&w, va_end - 1, pa_end - 1, GR_PROT_READ);
        (void)leads(&w, UINT64_C(1) << 31, 6 * g, STAGE_WRITE_ONLY);
        (void)leads(&w, (UINT64_C(1) << 32) - 1, 10 * g - 1, RW | GR_PROT_UNCACHED);
        absent(&w, g);
        absent(&w, va_end - g - 1);
        assert_int_equal(gr_pt_map(&w.pt, g, pa_end, g, RW, &done), GR_EFAULT);
        assert_int_equal(gr_pt_map(&w.pt, va_end - g, 0, 2 * g, RW, &done), GR_ERANGE);
        assert_int_equal(gr_pt_check_mapped(&w.pt, va_end - g, g), 0);
        unmap(&w, va_end - g, g);
        map(&w, va_end - block, pa_end - block, block, RW);
        (void)leads(&w, va_end - 1, pa_end - 1, RW);
        unmap(&w, va_end - block, block);
        map(&w, va_end - block, pa_end - block, block, RW); /* fini frees what is left */
        gr_pt_fini(&w.pt);
        assert_int_equal(host_leaks(w.h), 0);
        finish(w.h);
    }
}

/* Any allocation may fail: nothing is left of the way down, and the rollback is an unmap. */
static void failing_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < GRI_ARRAY_SIZE(granules); i++) {
        const struct gr_pt_config c =
            shape_of(granules[i].lg2, granules[i].levels, granules[i].va_bits, 48);
        const uint64_t g = UINT64_C(1) << c.granule_lg2, block = granules[i].block;
        const struct gr_range all = {0, UINT64_MAX};
        struct gr_pt_gather gather = {0};
        uint64_t done = 1;
        struct world w;
        int ret = GR_ENOMEM;

        open_world(&w, &c);
        for (unsigned n = 1; ret; n++) {
            host_fail_alloc(w.h, n);
            ret = gr_pt_map(&w.pt, block - g, g, 2 * g, RW, &done);
            assert_true(ret == (n > c.levels ? 0 : GR_ENOMEM));
            assert_true(done == (ret ? (n == c.levels ? g : 0) : 2 * g));
            assert_true(w.pt.tables - roots(&w) == (done == g ? c.levels - 1u
                                                    : done    ? c.levels
                                                              : 0u));
            assert_int_equal(gr_pt_unmap(&w.pt, block - g, 2 * g, &all, &gather), 0);
            gr_port_wmb();
            gr_pt_gather_free(&w.pt, &gather);
            assert_true(w.pt.tables == roots(&w));
        }
        host_fail_alloc(w.h, 0);
        close_world(&w);
    }
}

struct shape {
    uint8_t lg2, levels, va_bits, pa_bits;
    int ret;
};

/* What gr_pt_init() says of each. */
static void try_shapes(const struct shape *v, size_t count)
{
    struct host *const h = machine_of(4, 1, true);
    struct gr_pt pt;

    for (size_t i = 0; i < count; i++) {
        const struct gr_pt_config c = shape_of(v[i].lg2, v[i].levels, v[i].va_bits, v[i].pa_bits);
        const int ret = gr_pt_init(&pt, h, &c);

        if (ret != v[i].ret)
            fail_msg("shape %zu: %d", i, ret);
        if (!ret)
            gr_pt_fini(&pt);
    }
    finish(h);
}
