/* SPDX-License-Identifier: MIT */
/* The page-table engine: worked examples to the bit, every error, edges, and failing memory. */
#include "pt_tools.h"

#include <granule/err.h>

#include "pt/pt_internal.h"

#define EXAMPLE_IOVA UINT64_C(0x9f4a1234) /* DART.md 13 */
#define EXAMPLE_PAGE UINT64_C(0x8c5d54000)

static uint64_t raw(struct host *h, gr_pa_t pa)
{
    uint64_t entry = 0;

    assert_true(host_table_read64(h, pa, &entry));
    return entry;
}

/* Everything goes: unmap all, free what was retired, and only the root is left. */
static void empty(struct gr_pt *pt)
{
    const struct gr_range all = {0, UINT64_MAX};
    struct gr_pt_gather gather = {0};

    assert_int_equal(gr_pt_unmap(pt, 0, bits(pt->va_bits) + 1, &all, &gather), 0);
    gr_port_wmb();
    gr_pt_gather_free(pt, &gather);
    assert_true(pt->tables == UINT64_C(1) << pt->roots_lg2);
}

static void map(struct gr_pt *pt, gr_iova_t iova, gr_pa_t pa, uint64_t len, unsigned prot)
{
    uint64_t done = 1;

    assert_int_equal(gr_pt_map(pt, iova, pa, len, prot, &done), 0);
    assert_true(done == len);
}

static void assert_leads(const struct gr_pt *pt, gr_iova_t iova, gr_pa_t pa, unsigned prot)
{
    const uint64_t last = bits(pt->granule_lg2);
    struct gr_pt_walk walk;

    assert_int_equal(gr_pt_walk(pt, iova, &walk), 0);
    assert_true(walk.pa == pa);
    assert_int_equal(walk.prot, prot);
    assert_true(walk.window.first == 0 && walk.window.last == last);
}

static void assert_absent(const struct gr_pt *pt, gr_iova_t iova)
{
    struct gr_pt_walk walk;

    assert_int_equal(gr_pt_walk(pt, iova, &walk), GR_ENOENT);
}

/* ---- DART.md 13 ---- */

/* RAM where the example has its tables, and a root on the first. */
static struct host *example_machine(const struct gr_pt_config *config, struct gr_pt *pt)
{
    for (uint64_t seed = 0; seed < 64; seed++) {
        const struct host_config banks = {
            .cpu_page = 4096,
            .nbanks = 2,
            .seed = seed,
            .banks = {{0x8a0b0c000, 0x4000}, {0x8a0b10000, 0x4000}},
        };
        struct host *const h = machine(&banks);

        assert_int_equal(gr_pt_init(pt, h, config), 0);
        if (pt->root_pa == 0x8a0b0c000)
            return h;
        gr_pt_fini(pt);
        finish(h);
    }
    fail_msg("no seed puts the root where the example has it");
    return NULL;
}

static void example(const struct gr_pt_config *config, gr_pa_t pa, uint64_t table_entry,
                    uint64_t leaf, unsigned prot)
{
    struct gr_pt pt;
    struct host *const h = example_machine(config, &pt);
    struct gr_pt_walk walk;

    map(&pt, 0x9f4a0000, pa, 0x4000, prot);
    assert_true(raw(h, 0x8a0b0c278) == table_entry);
    assert_true(raw(h, 0x8a0b12940) == leaf);
    assert_int_equal(gr_pt_walk(&pt, EXAMPLE_IOVA, &walk), 0);
    assert_int_equal(walk.steps, 2);
    assert_int_equal(walk.step[0].level, 1);
    assert_true(walk.step[0].entry_pa == 0x8a0b0c278);
    assert_true(walk.step[0].entry == table_entry);
    assert_int_equal(walk.step[1].level, 0);
    assert_true(walk.step[1].entry_pa == 0x8a0b12940);
    assert_true(walk.step[1].entry == leaf);
    assert_true(walk.pa == pa + 0x1234);
    assert_int_equal(walk.prot, prot);
    assert_true(walk.window.first == 0 && walk.window.last == 0x3fff);
    assert_true(pt.tables == 2);
    empty(&pt);
    assert_true(raw(h, 0x8a0b0c278) == 0);
    gr_pt_fini(&pt);
    finish(h);
}

static void worked_example_16k(void **state)
{
    const struct gr_pt_config dart1 = {GR_PT_DART1, 14, 2, 2, 32, 36, true};
    const struct gr_pt_config dart2 = {GR_PT_DART2, 14, 2, 0, 36, 42, true};

    (void)state;
    example(&dart1, EXAMPLE_PAGE, 0x00000008a0b10001, 0x000fff08c5d54003, RW);
    example(&dart1, EXAMPLE_PAGE, 0x00000008a0b10001, 0x000fff08c5d54083, GR_PROT_READ);
    example(&dart1, EXAMPLE_PAGE, 0x00000008a0b10001, 0x000fff08c5d54103, GR_PROT_WRITE);
    example(&dart2, EXAMPLE_PAGE, 0x000000008a0b1001, 0x000fff008c5d5401, RW);
    example(&dart2, EXAMPLE_PAGE, 0x000000008a0b1001, 0x000fff008c5d5403, RW | GR_PROT_UNCACHED);
    example(&dart2, EXAMPLE_PAGE, 0x000000008a0b1001, 0x000fff008c5d5405, GR_PROT_READ);
    example(&dart2, EXAMPLE_PAGE, 0x000000008a0b1001, 0x000fff008c5d5409, GR_PROT_WRITE);
    example(&dart2, 0x2b987654000, 0x000000008a0b1001, 0x000fff2b98765401, RW);
}

/* A walk reads what a window in a leaf says, and keeps the entry it stopped at. */
static void walk_reports(void **state)
{
    const struct gr_pt_config dart1 = {GR_PT_DART1, 14, 2, 2, 32, 36, true};
    struct gr_pt pt;
    struct host *const h = example_machine(&dart1, &pt);
    struct gr_pt_walk walk;

    (void)state;
    assert_int_equal(gr_pt_walk(&pt, EXAMPLE_IOVA, &walk), GR_ENOENT);
    assert_int_equal(walk.steps, 1);
    assert_int_equal(walk.step[0].level, 1);
    assert_true(walk.step[0].entry_pa == 0x8a0b0c278 && walk.step[0].entry == 0);
    map(&pt, 0x9f4a0000, EXAMPLE_PAGE, 0x4000, RW);
    assert_int_equal(gr_pt_walk(&pt, EXAMPLE_IOVA + 0x4000, &walk), GR_ENOENT);
    assert_int_equal(walk.steps, 2);
    assert_int_equal(walk.step[1].level, 0);
    assert_true(walk.step[1].entry_pa == 0x8a0b12948 && walk.step[1].entry == 0);
    gr_port_table_store64(h, host_ptr(h, 0x8a0b12940, 8), 0x04047f08c5d54001);
    gr_port_wmb();
    assert_int_equal(gr_pt_walk(&pt, EXAMPLE_IOVA, &walk), 0);
    assert_true(walk.window.first == 0x100 && walk.window.last == 0x11ff);
    gr_pt_fini(&pt);
    finish(h);
}

/*
 * Four tables of 4 KiB at the top, where their natural alignment would not put them: the struct is
 * made by hand. The fourth lies where the example has its leaf table; nothing here reaches it.
 */
static void worked_example_4k(void **state)
{
    const struct gr_pt_config config = {GR_PT_DART1, 12, 2, 2, 32, 36, true};
    const struct host_config banks = {
        .cpu_page = 4096,
        .nbanks = 2,
        .banks = {{0x86ffff000, 0x3000}, {0x870002000, 0x1000}},
    };
    const struct host_config elsewhere = {
        .cpu_page = 4096, .nbanks = 1, .banks = {{0x800000000, 0x4000}}};
    const struct gr_range all = {0, UINT64_MAX};
    struct gr_pt_gather gather = {0};
    struct host *const h = machine(&banks);
    struct host *const h2 = machine(&elsewhere);
    struct gr_pt_walk walk;
    struct gr_pt pt;
    struct gr_pt crafted;
    gr_pa_t roots = 0;

    (void)state;
    assert_int_equal(gr_pt_init(&pt, h2, &config), 0);
    assert_int_equal(pt.roots_lg2, 2);
    assert_int_equal(host_ram_alloc(h, 0x3000, 0, &roots), 0);
    crafted = pt;
    crafted.env = h;
    crafted.root_pa = roots;
    crafted.root = host_ptr(h, roots, 0x3000);
    memset(crafted.root, 0, 0x3000);
    map(&crafted, 0x9f4a1000, 0x8700ab000, 0x1000, RW);
    assert_true(raw(h, 0x8700017d0) == 0x0000000870002001);
    assert_true(raw(h, 0x870002508) == 0x000fff08700ab003);
    assert_int_equal(gr_pt_walk(&crafted, EXAMPLE_IOVA, &walk), 0);
    assert_true(walk.step[0].entry_pa == 0x8700017d0);
    assert_true(walk.step[1].entry_pa == 0x870002508);
    assert_true(walk.pa == 0x8700ab234);
    assert_int_equal(gr_pt_unmap(&crafted, 0x9f4a1000, 0x1000, &all, &gather), 0);
    gr_pt_gather_free(&crafted, &gather);
    assert_true(crafted.tables == pt.tables);
    gr_pt_fini(&pt);
    host_ram_free(h, roots);
    finish(h);
    finish(h2);
}

/* ---- shapes ---- */

static void reach_and_spans(void **state)
{
    static const struct {
        struct gr_pt_config config;
        unsigned reach;
        uint8_t span;
    } v[] = {
        {{GR_PT_DART1, 14, 2, 2, 0, 0, true}, 38, 25},
        {{GR_PT_DART1, 14, 2, 0, 0, 0, true}, 36, 25},
        {{GR_PT_DART2, 14, 2, 0, 0, 0, true}, 36, 25},
        {{GR_PT_DART1, 12, 2, 2, 0, 0, true}, 32, 21},
        {{GR_PT_DART2, 12, 2, 0, 0, 0, true}, 30, 21},
    };
    static const struct gr_pt_config none[] = {
        {(enum gr_pt_format)0, 14, 2, 2, 0, 0, true}, {(enum gr_pt_format)99, 14, 2, 2, 0, 0, true},
        {GR_PT_DART1, 13, 2, 2, 0, 0, true},          {GR_PT_DART1, 16, 2, 2, 0, 0, true},
        {GR_PT_DART1, 0, 2, 2, 0, 0, true},
    };
    struct host *const h = machine_of(4, 1, true);

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct gr_pt_config config = v[i].config;
        uint8_t span[GR_PT_MAX_LEVELS] = {0};
        struct gr_pt pt;

        assert_int_equal(gr_pt_reach_bits(&config), v[i].reach);
        config.va_bits = (uint8_t)v[i].reach;
        config.pa_bits = 36;
        assert_int_equal(gr_pt_init(&pt, h, &config), 0);
        assert_int_equal(gr_pt_spans(&pt, span), 1);
        assert_int_equal(span[0], v[i].span);
        assert_int_equal(pt.roots_lg2, config.roots_lg2);
        assert_true(pt.root_pa % (config.format == GR_PT_DART2 ? 0x4000 : 0x1000) == 0);
        gr_pt_fini(&pt);
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        assert_int_equal(gr_pt_reach_bits(&none[i]), 0);
    finish(h);
}

/* Tables at the top only as far as va_bits need them: DART.md 4, Linux's rule. */
static void roots_as_needed(void **state)
{
    static const struct {
        uint8_t granule_lg2, va_bits, roots;
    } v[] = {{14, 32, 1}, {14, 36, 1}, {14, 37, 2}, {14, 38, 4}, {12, 30, 1},
             {12, 31, 2}, {12, 32, 4}, {14, 15, 1}, {12, 13, 1}};
    struct host *const h = machine_of(4, 1, true);

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        const struct gr_pt_config config = {GR_PT_DART1, v[i].granule_lg2, 2, 2, v[i].va_bits, 36,
                                            true};
        const uint64_t granule = UINT64_C(1) << v[i].granule_lg2;
        struct gr_pt pt;

        assert_int_equal(gr_pt_init(&pt, h, &config), 0);
        assert_true(pt.tables == v[i].roots);
        assert_int_equal(1 << pt.roots_lg2, v[i].roots);
        map(&pt, bits(v[i].va_bits) + 1 - granule, 0, granule, RW);
        assert_leads(&pt, bits(v[i].va_bits), granule - 1, RW);
        gr_pt_fini(&pt);
        assert_int_equal(host_leaks(h), 0);
    }
    finish(h);
}

static void init_errors(void **state)
{
    static const struct gr_pt_config bad[] = {
        {(enum gr_pt_format)0, 14, 2, 2, 32, 36, true},
        {(enum gr_pt_format)5, 14, 2, 2, 32, 36, true},
        {GR_PT_DART1, 13, 2, 2, 32, 36, true},
        {GR_PT_DART1, 15, 2, 2, 32, 36, true},
        {GR_PT_DART1, 14, 1, 2, 32, 36, true},
        {GR_PT_DART1, 14, 3, 2, 32, 36, true},
        {GR_PT_DART1, 14, 0, 2, 32, 36, true},
        {GR_PT_DART1, 14, 2, 3, 32, 36, true},
        {GR_PT_DART1, 14, 2, 2, 39, 36, true},
        {GR_PT_DART1, 14, 2, 0, 37, 36, true},
        {GR_PT_DART1, 12, 2, 2, 33, 36, true},
        {GR_PT_DART1, 14, 2, 2, 14, 36, true},
        {GR_PT_DART1, 14, 2, 2, 0, 36, true},
        {GR_PT_DART1, 14, 2, 2, 255, 36, true},
        {GR_PT_DART1, 14, 2, 2, 32, 35, true},
        {GR_PT_DART1, 14, 2, 2, 32, 0, true},
        {GR_PT_DART2, 14, 2, 2, 32, 40, true},
        {GR_PT_DART2, 14, 2, 2, 32, 64, true},
        /* A DART1 entry holds PA[35:12]; what is above would land in END: DART.md 4.1. */
        {GR_PT_DART1, 14, 2, 2, 32, 42, true},
    };
    const struct gr_pt_config good = {GR_PT_DART2, 14, 2, 2, 38, 42, true};
    struct host *const h = machine_of(4, 1, true);
    struct gr_pt pt;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const int ret = gr_pt_init(&pt, h, &bad[i]);

        if (ret != GR_EINVAL)
            fail_msg("bad configuration %zu: %d", i, ret);
    }
    assert_true(host_allocs(h) == 0);
    host_fail_alloc(h, 1);
    assert_int_equal(gr_pt_init(&pt, h, &good), GR_ENOMEM);
    assert_int_equal(host_leaks(h), 0);
    finish(h);
}

/* ---- errors of calls, each with everything as it was ---- */

struct before {
    uint64_t tables;
    uint64_t hash;
    int pages;
};

static struct before remember(const struct gr_pt *pt, const struct gr_pt_config *c)
{
    return (struct before){pt->tables, fingerprint(pt, c), host_leaks(pt->env)};
}

static void assert_as_before(const struct gr_pt *pt, const struct gr_pt_config *c,
                             const struct before *b)
{
    assert_true(pt->tables == b->tables);
    assert_true(fingerprint(pt, c) == b->hash);
    assert_int_equal(host_leaks(pt->env), b->pages);
}

static void call_errors_of(const struct gr_pt_config *c)
{
    const uint64_t g = UINT64_C(1) << c->granule_lg2;
    const uint64_t va_end = bits(c->va_bits) + 1;
    const uint64_t pa_end = bits(c->pa_bits) + 1;
    const struct {
        uint64_t iova, pa, len;
        unsigned prot;
        int err;
    } v[] = {
        {0, 0, 0, RW, GR_ENODATA},
        {1, 0, g, RW, GR_EINVAL},
        {g / 2, 0, g, RW, GR_EINVAL},
        {0, g / 2, g, RW, GR_EINVAL},
        {0, 0, g + 1, RW, GR_EINVAL},
        {0, 0, g / 2, RW, GR_EINVAL},
        {0, 0, 1, RW, GR_EINVAL},
        {UINT64_MAX - g + 1, 0, 2 * g, RW, GR_EOVERFLOW},
        {2 * g, 0, UINT64_MAX - g + 1, RW, GR_EOVERFLOW},
        {0, UINT64_MAX - g + 1, 2 * g, RW, GR_EOVERFLOW},
        {0, 0, g, 0, GR_EACCES},
        {0, 0, g, GR_PROT_UNCACHED, GR_EACCES},
        {0, 0, g, RW | 8, GR_EOPNOTSUPP},
        {0, 0, g, RW | 0x80000000u, GR_EOPNOTSUPP},
        {0, pa_end, g, RW, GR_EFAULT},
        {0, pa_end - g, 2 * g, RW, GR_EFAULT},
        {0, UINT64_MAX - g + 1, g, RW, GR_EFAULT},
        {0, 0, va_end + g, RW, GR_ERANGE},
        {va_end - g, 0, 2 * g, RW, GR_ERANGE},
        {UINT64_MAX & ~bits(c->va_bits), 0, UINT64_C(0) - (va_end + g), RW, GR_EOVERFLOW},
        {7 * g, 0, g, RW, GR_EEXIST},
    };
    struct host *const h = machine_of(4, 1, true);
    struct before before;
    struct gr_pt pt;
    const struct gr_range all = {0, UINT64_MAX};

    assert_int_equal(gr_pt_init(&pt, h, c), 0);
    map(&pt, 7 * g, 0x40 * g, 3 * g, RW);
    map(&pt, va_end - g, pa_end - g, g, GR_PROT_READ);
    before = remember(&pt, c);
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct gr_pt_gather gather = {0};
        uint64_t done = 77;
        const int ret = gr_pt_map(&pt, v[i].iova, v[i].pa, v[i].len, v[i].prot, &done);

        if (ret != v[i].err || done)
            fail_msg("map %zu: %d, %" PRIu64 " bytes done", i, ret, done);
        assert_as_before(&pt, c, &before);
        /* What is wrong with the IOVAs is wrong everywhere. */
        if (v[i].pa || v[i].prot != RW || v[i].err == GR_EEXIST)
            continue;
        assert_int_equal(gr_pt_unmap(&pt, v[i].iova, v[i].len, &all, &gather), v[i].err);
        assert_int_equal(gr_pt_unmap(&pt, v[i].iova, v[i].len, NULL, &gather), v[i].err);
        assert_int_equal(gr_pt_trim(&pt, v[i].iova, v[i].len, &gather), v[i].err);
        assert_int_equal(gr_pt_check_mapped(&pt, v[i].iova, v[i].len), v[i].err);
        assert_true(!gather.head && !gather.count);
        assert_as_before(&pt, c, &before);
    }
    assert_int_equal(gr_pt_check_mapped(&pt, 7 * g, 3 * g), 0);
    assert_int_equal(gr_pt_check_mapped(&pt, 6 * g, 4 * g), GR_ENOENT);
    assert_int_equal(gr_pt_check_mapped(&pt, 7 * g, 4 * g), GR_ENOENT);
    assert_int_equal(gr_pt_check_mapped(&pt, va_end - g, g), 0);
    assert_int_equal(gr_pt_check_mapped(&pt, 0, va_end), GR_ENOENT);
    assert_absent(&pt, 6 * g);
    assert_absent(&pt, va_end / 2);
    assert_as_before(&pt, c, &before);
    gr_pt_fini(&pt);
    finish(h);
}

static void call_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < GEOMETRIES; i++)
        call_errors_of(&geometries[i].config);
}

/* ---- edges ---- */

/* IOVA 0, PA 0, the last granules of both; ranges over leaf tables and top tables; tagged IOVAs. */
static void edges_of(const struct gr_pt_config *c)
{
    const uint64_t g = UINT64_C(1) << c->granule_lg2;
    const uint64_t span = g << (c->granule_lg2 - 3);
    const uint64_t top = span << (c->granule_lg2 - 3); /* one top table */
    const uint64_t va_end = bits(c->va_bits) + 1;
    const uint64_t pa_end = bits(c->pa_bits) + 1;
    const uint64_t tag = UINT64_C(0xa5) << (c->va_bits + 3);
    struct host *const h = machine_of(8, 1, true);
    struct gr_pt pt;
    uint64_t roots;

    assert_int_equal(gr_pt_init(&pt, h, c), 0);
    roots = pt.tables;
    map(&pt, 0, 0, g, RW);
    assert_leads(&pt, 0, 0, RW);
    assert_leads(&pt, g - 1, g - 1, RW);
    assert_absent(&pt, g);
    map(&pt, va_end - g, pa_end - g, g, GR_PROT_WRITE);
    assert_leads(&pt, va_end - 1, pa_end - 1, kept_prot(c, GR_PROT_WRITE));
    assert_true(pt.tables == roots + 2);

    /* Higher bits are ignored, and what they alias is mapped already. */
    assert_leads(&pt, tag + g - 1, g - 1, RW);
    assert_leads(&pt, UINT64_MAX, pa_end - 1, kept_prot(c, GR_PROT_WRITE));
    assert_int_equal(gr_pt_check_mapped(&pt, tag, g), 0);
    assert_int_equal(gr_pt_check_mapped(&pt, UINT64_MAX - g + 1, g), 0);
    map(&pt, tag + g, 2 * g, g, RW);
    assert_leads(&pt, g, 2 * g, RW);
    assert_int_equal(gr_pt_unmap(&pt, UINT64_MAX - 2 * g + 1, 2 * g, NULL, NULL), 0);
    assert_absent(&pt, va_end - 1);

    /* Several leaf tables in one call. */
    map(&pt, span - 2 * g, 16 * g, span + 4 * g, GR_PROT_READ);
    for (uint64_t at = 0; at < span + 4 * g; at += g)
        assert_leads(&pt, span - 2 * g + at + 1, 16 * g + at + 1, GR_PROT_READ);
    assert_absent(&pt, span - 2 * g - 1);
    assert_absent(&pt, 2 * span + 2 * g);
    assert_true(pt.tables == roots + 4);

    /* Over every edge between top tables. */
    for (uint64_t edge = top; edge < va_end; edge += top) {
        map(&pt, edge - g, 4 * g, 2 * g, RW);
        assert_leads(&pt, edge - 1, 5 * g - 1, RW);
        assert_leads(&pt, edge + g - 1, 6 * g - 1, RW);
        assert_absent(&pt, edge + g);
        assert_true(hardware_walk(h, c, pt.root_pa, edge).pa == 5 * g);
    }
    empty(&pt);
    gr_pt_fini(&pt);
    assert_int_equal(host_leaks(h), 0);
    finish(h);
}

static void edges(void **state)
{
    (void)state;
    for (size_t i = 0; i < GEOMETRIES; i++)
        edges_of(&geometries[i].config);
}

/* ---- depths ---- */

enum way { ONE, TWO, LIST, ABSENT, WAYS };

/*
 * IOVA 0 is mapped, and the way to `iova` ends at a level where it leads past that; every call goes
 * down there once.
 */
static void go_down(const struct gr_pt_config *c, unsigned level, enum way way)
{
    const uint64_t g = UINT64_C(1) << c->granule_lg2;
    const gr_iova_t iova = g << level * (c->granule_lg2 - 3u);
    const unsigned granules = way == ONE ? 1 : way == LIST ? 3 : 2;
    const struct gr_seg segs[] = {{5 * g, g}, {6 * g, 2 * g}};
    struct host *const h = machine_of(4, level, c->coherent);
    gr_pa_t pa = 0;
    uint64_t made;
    struct gr_pt pt;

    assert_int_equal(gr_pt_init(&pt, h, c), 0);
    map(&pt, 0, 4 * g, g, RW);
    made = pt.tables + level;
    if (way == LIST) {
        struct gri_pt_cursor cursor = {.pt = &pt, .prot = RW, .end = iova};

        assert_int_equal(gri_pt_map_segs(&cursor, iova, segs, 2), 0);
        gri_pt_map_end(&cursor);
        assert_true(cursor.end == iova + 3 * g && cursor.walks == 1);
    } else if (way != ABSENT) {
        map(&pt, iova, 5 * g, granules * g, RW);
    }
    if (way != ABSENT) {
        assert_true(pt.tables == made);
        for (unsigned i = 0; i < granules; i++) {
            const struct seen seen = hardware_walk(h, c, pt.root_pa, iova + i * g);

            assert_leads(&pt, iova + i * g, (5 + i) * g, RW);
            assert_true(!seen.broken && seen.valid && seen.pa == (5 + i) * g);
            assert_int_equal(gri_pt_to_phys(&pt, iova + i * g + 1, &pa), 0);
            assert_true(pa == (5 + i) * g + 1);
        }
        assert_int_equal(gr_pt_check_mapped(&pt, iova, granules * g), 0);
    }
    assert_int_equal(gr_pt_unmap(&pt, iova, granules * g, NULL, NULL), 0); /* or nothing is there */
    gr_port_wmb();
    assert_int_equal(gri_pt_to_phys(&pt, iova, &pa), GR_ENOENT);
    assert_int_equal(gr_pt_check_mapped(&pt, iova, granules * g), GR_ENOENT);
    assert_false(hardware_walk(h, c, pt.root_pa, iova).valid);
    assert_leads(&pt, 0, 4 * g, RW);
    empty(&pt);
    gr_pt_fini(&pt);
    assert_int_equal(host_leaks(h), 0);
    finish(h);
}

static void depths(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL_DEPTHS; i++) {
        for (unsigned level = 0; level < all_depths[i].config.levels; level++) {
            for (unsigned way = 0; way < WAYS; way++) {
                struct gr_pt_config c = all_depths[i].config;

                go_down(&c, level, (enum way)way);
                c.coherent = false;
                go_down(&c, level, (enum way)way);
            }
        }
    }
}

/* ---- the retire range ---- */

static uint64_t tables_retired(struct gr_pt *pt, gr_iova_t iova, uint64_t len,
                               struct gr_range retire)
{
    struct gr_pt_gather gather = {0};
    const uint64_t before = pt->tables;
    uint64_t count;

    assert_int_equal(gr_pt_unmap(pt, iova, len, &retire, &gather), 0);
    count = gather.count;
    gr_pt_gather_free(pt, &gather);
    assert_true(gather.count == 0 && !gather.head);
    assert_true(before - pt->tables == count);
    return count;
}

/* Only tables whose span lies within `retire` go, whatever block of ignored bits it is given in. */
static void retire_ranges(void **state)
{
    const struct gr_pt_config c = {GR_PT_DART1, 14, 2, 2, 32, 36, true};
    const uint64_t g = 1 << 14;
    const uint64_t span = 1 << 25;
    const uint64_t block = UINT64_C(1) << 32;
    const uint64_t tag = 5 * block;
    const struct {
        uint64_t iova;
        struct gr_range retire;
        uint64_t retired;
    } v[] = {
        {span + g, {span, 2 * span - 1}, 1},
        {span + g, {0, UINT64_MAX}, 1},
        {span + g, {span + 1, 2 * span - 1}, 0},
        {span + g, {span, 2 * span - 2}, 0},
        {span + g, {span + g, span + 2 * g - 1}, 0},
        {span + g, {0, span - 1}, 0},
        {span + g, {2 * span, block - 1}, 0},
        {tag + span + g, {tag + span, tag + 2 * span - 1}, 1},
        {tag + span + g, {0, UINT64_MAX}, 1},
        {tag + span + g, {tag - 1, tag + block}, 1},
        {tag + span + g, {tag + block, tag + 2 * block - 1}, 0}, /* in the block above */
        {tag + span + g, {tag - block, tag - 1}, 0},             /* in the block below */
        {tag + span + g, {0, 0}, 0},
        {tag + span + g, {1, 0}, 0}, /* empty */
        {span + g, {1, 0}, 0},
    };
    struct host *const h = machine_of(4, 1, true);
    struct gr_pt pt;

    (void)state;
    assert_int_equal(gr_pt_init(&pt, h, &c), 0);
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        uint64_t n;

        map(&pt, v[i].iova, g, g, RW);
        n = tables_retired(&pt, v[i].iova, g, v[i].retire);
        if (n != v[i].retired)
            fail_msg("range %zu: %" PRIu64 " tables retired", i, n);
        empty(&pt);
    }

    /* Three tables, of which the range holds one, two, all, and one that the unmap does not touch.
     */
    map(&pt, span - g, g, span + 2 * g, RW);
    map(&pt, 9 * span, g, g, RW);
    assert_true(pt.tables == 5);
    assert_true(tables_retired(&pt, span - g, span + 2 * g, (struct gr_range){1, 2 * span - 1}) ==
                1);
    map(&pt, span - g, g, span + 2 * g, RW);
    assert_true(tables_retired(&pt, span - g, span + 2 * g, (struct gr_range){1, 9 * span - 1}) ==
                2);
    map(&pt, span - g, g, span + 2 * g, RW);
    assert_true(tables_retired(&pt, span - g, span + 2 * g, (struct gr_range){0, 9 * span - 1}) ==
                3);
    assert_leads(&pt, 9 * span, g, RW);
    gr_pt_fini(&pt);
    finish(h);
}

/* All of the space is less than a table spans: what is beyond it keeps no table. */
static void retire_small_space(void **state)
{
    const uint64_t g = 1 << 14;
    struct host *const h = machine_of(4, 1, true);

    (void)state;
    for (uint8_t va_bits = 15; va_bits <= 26; va_bits++) {
        const struct gr_pt_config c = {GR_PT_DART1, 14, 2, 2, va_bits, 36, true};
        const uint64_t size = bits(va_bits) + 1;
        const uint64_t span = va_bits < 25 ? size : 1 << 25;
        const uint64_t tag = UINT64_C(5) << 32;
        struct gr_pt pt;

        assert_int_equal(gr_pt_init(&pt, h, &c), 0);
        for (uint64_t base = 0; base <= tag; base += tag) {
            const gr_iova_t last = base + size - g; /* granule */

            map(&pt, last, g, g, RW);
            assert_true(tables_retired(&pt, last, g, (struct gr_range){base, last + g - 2}) == 0);
            map(&pt, last, g, g, RW);
            assert_true(tables_retired(&pt, last, g,
                                       (struct gr_range){last + g - span + 1, last + g - 1}) == 0);
            map(&pt, last, g, g, RW);
            assert_true(tables_retired(&pt, last, g,
                                       (struct gr_range){last + g - span, last + g - 1}) == 1);
            assert_true(pt.tables == 1);
        }
        gr_pt_fini(&pt);
    }
    finish(h);
}

/* Trim takes what maps nothing and leaves what maps something, wherever the spans reach. */
static void trims(void **state)
{
    const struct gr_pt_config c = {GR_PT_DART2, 14, 2, 2, 38, 42, true};
    const uint64_t g = 1 << 14;
    const uint64_t span = 1 << 25;
    struct gr_pt_gather first = {0};
    struct gr_pt_gather second = {0};
    struct host *const h = machine_of(4, 1, true);
    struct gr_pt pt;

    (void)state;
    assert_int_equal(gr_pt_init(&pt, h, &c), 0);
    map(&pt, 0, g, g, RW);
    map(&pt, 2 * span - g, g, g, RW);
    map(&pt, 5 * span, g, 2 * span, RW);
    assert_int_equal(gr_pt_unmap(&pt, 0, g, NULL, NULL), 0);
    assert_int_equal(gr_pt_unmap(&pt, 5 * span, 2 * span - g, NULL, NULL), 0);
    assert_true(pt.tables == 4 + 4);
    assert_int_equal(gr_pt_trim(&pt, span, g, &first), 0);
    assert_true(first.count == 0);
    assert_int_equal(gr_pt_trim(&pt, 3 * g, g, &first), 0); /* its table reaches further */
    assert_true(first.count == 1);
    assert_int_equal(gr_pt_trim(&pt, 0, bits(38) + 1, &second), 0);
    assert_true(second.count == 1);
    gr_pt_gather_join(&pt, &first, &second);
    assert_true(first.count == 2 && second.count == 0 && !second.head);
    assert_true(pt.tables == 4 + 4);
    gr_pt_gather_free(&pt, &first);
    assert_true(pt.tables == 4 + 2);
    assert_leads(&pt, 2 * span - g, g, RW);
    assert_leads(&pt, 7 * span - g, 2 * span, RW);
    gr_pt_fini(&pt);
    finish(h);
}

/* fini frees what is still mapped. */
static void fini_frees_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < GEOMETRIES; i++) {
        const struct gr_pt_config *const c = &geometries[i].config;
        const uint64_t g = UINT64_C(1) << c->granule_lg2;
        struct host *const h = machine_of(8, i, true);
        struct gr_pt pt;

        assert_int_equal(gr_pt_init(&pt, h, c), 0);
        for (uint64_t at = 0; at <= bits(c->va_bits); at += bits(c->va_bits - 3u) + 1)
            map(&pt, at, at & bits(36), g, RW);
        assert_true(host_leaks(h) > 0);
        gr_pt_fini(&pt);
        assert_int_equal(host_leaks(h), 0);
        finish(h);
    }
}

/* ---- maps that fail half way ---- */

/* Undo what was done, as the callers do, and be where we were. */
static void roll_back(struct gr_pt *pt, const struct gr_pt_config *c, gr_iova_t iova, uint64_t done,
                      struct gr_range retire, const struct before *before)
{
    struct gr_pt_gather gather = {0};

    for (uint64_t at = 0; at < done; at += UINT64_C(1) << c->granule_lg2)
        assert_int_equal(gr_pt_check_mapped(pt, iova + at, UINT64_C(1) << c->granule_lg2), 0);
    if (done)
        assert_int_equal(gr_pt_unmap(pt, iova, done, &retire, &gather), 0);
    gr_pt_gather_free(pt, &gather);
    assert_as_before(pt, c, before);
}

/*
 * A map over three leaf tables, the first `have` of which there are; the n-th allocation fails.
 * Every chunk that was done before is reported, and no more.
 */
static void failing_memory_of(const struct gr_pt_config *c)
{
    const uint64_t g = UINT64_C(1) << c->granule_lg2;
    const uint64_t span = g << (c->granule_lg2 - 3);
    const uint64_t base = bits(c->va_bits - 1u) + 1;
    const gr_iova_t iova = base + span - 3 * g;
    const uint64_t len = 3 * g + span + 2 * g;
    const uint64_t chunk_done[] = {0, 3 * g, 3 * g + span};

    for (unsigned have = 0; have < 3; have++) {
        struct host *const h = machine_of(4, have, true);
        struct before before;
        struct gr_pt pt;
        uint64_t done;

        assert_int_equal(gr_pt_init(&pt, h, c), 0);
        for (unsigned i = 0; i < have; i++)
            map(&pt, base + i * span + (i == 1 ? span : 0), 0, g, RW);
        if (have == 2) /* the middle one is missing */
            assert_int_equal(gr_pt_unmap(&pt, base + 2 * span, g, NULL, NULL), 0);
        before = remember(&pt, c);
        for (unsigned n = 1; n <= 3 - have; n++) {
            const struct gr_range retire = {have ? base + span : base,
                                            have == 2 ? base + 2 * span - 1 : base + 3 * span - 1};
            const unsigned chunk = have == 2 ? 1 : have + n - 1;

            host_fail_alloc(h, n);
            done = UINT64_MAX;
            assert_int_equal(gr_pt_map(&pt, iova, 0, len, RW, &done), GR_ENOMEM);
            assert_true(done == chunk_done[chunk]);
            roll_back(&pt, c, iova, done, retire, &before);
        }
        map(&pt, iova, 0, len, RW);
        empty(&pt);
        gr_pt_fini(&pt);
        finish(h);
    }
}

static void failing_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < GEOMETRIES; i++)
        failing_memory_of(&geometries[i].config);
}

/* One granule is taken: first, in the middle or last of the first, the second or the third chunk.
 */
static void taken_of(const struct gr_pt_config *c)
{
    const uint64_t g = UINT64_C(1) << c->granule_lg2;
    const uint64_t span = g << (c->granule_lg2 - 3);
    const uint64_t len = 3 * g + span + 3 * g;
    const gr_iova_t iova = span - 3 * g;
    const uint64_t taken[] = {
        0,
        g,
        2 * g,
        3 * g,
        3 * g + span / 2,
        2 * g + span,
        3 * g + span,
        4 * g + span,
        5 * g + span,
    };
    struct host *const h = machine_of(4, 1, true);
    struct gr_pt pt;

    assert_int_equal(gr_pt_init(&pt, h, c), 0);
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        const gr_iova_t at = iova + taken[i];
        const uint64_t own = at / span; /* the table that holds it stays */
        uint64_t done = UINT64_MAX;
        struct before before;

        map(&pt, at, 0x55 * g, g, GR_PROT_READ);
        before = remember(&pt, c);
        assert_int_equal(gr_pt_map(&pt, iova, 0, len, RW, &done), GR_EEXIST);
        assert_true(done == taken[i]);
        assert_leads(&pt, at, 0x55 * g, GR_PROT_READ);
        roll_back(&pt, c, iova, done, (struct gr_range){0, own * span - 1 + (own ? 0 : 1)},
                  &before);
        empty(&pt);
    }
    gr_pt_fini(&pt);
    finish(h);
}

static void taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < GEOMETRIES; i++)
        taken_of(&geometries[i].config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_example_16k),
        cmocka_unit_test(walk_reports),
        cmocka_unit_test(worked_example_4k),
        cmocka_unit_test(reach_and_spans),
        cmocka_unit_test(roots_as_needed),
        cmocka_unit_test(init_errors),
        cmocka_unit_test(call_errors),
        cmocka_unit_test(edges),
        cmocka_unit_test(depths),
        cmocka_unit_test(retire_ranges),
        cmocka_unit_test(retire_small_space),
        cmocka_unit_test(trims),
        cmocka_unit_test(fini_frees_all),
        cmocka_unit_test(failing_memory),
        cmocka_unit_test(taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
