/* SPDX-License-Identifier: MIT */
/*
 * The DART driver's registers: values of DART.md 13, orders of DART.md 7, parameters,
 * refusals, bounded waits. Faults are in test_dart_fault.c. SEED=N replays the random test.
 */
#include "chance.h"
#include "dart_tools.h"

#include <granule/err.h>

static uint64_t seed;

/* ---- reset ---- */

static void push(struct access *list, size_t *n, uint32_t offset, uint32_t value)
{
    list[(*n)++] = (struct access){offset, value};
}

static uint32_t word_of(unsigned streams, unsigned word)
{
    return streams - 32 * word >= 32 ? UINT32_MAX : (1u << (streams - 32 * word)) - 1;
}

/* DART.md 7: what each store is, and in which order. */
static size_t expected_reset(const struct kind *k, unsigned streams, uint32_t error,
                             struct access *list)
{
    size_t n = 0;

    for (unsigned sid = 0; sid < streams; sid++)
        push(list, &n, k->tcr + 4 * sid, 0);
    for (unsigned i = 0; i < streams * k->ttbrs; i++)
        push(list, &n, k->ttbr + 4 * i, 0);
    for (unsigned word = 0; word * 32 < streams; word++)
        push(list, &n, k->enable + 4 * word, word_of(streams, word));
    push(list, &n, k->error, error);
    if (k->kind == GR_DART_T8110) {
        push(list, &n, 0x104, 0);
        for (unsigned sid = 0; sid < streams; sid++)
            push(list, &n, 0x80, 0x100 | sid);
    } else {
        push(list, &n, 0x34, word_of(streams, 0));
        push(list, &n, 0x20, 0x00100000);
    }
    return n;
}

static void reset_order(void **state)
{
    static const struct {
        unsigned kind, streams;
    } v[] = {{0, 16}, {0, 32}, {0, 1},  {1, 16}, {1, 32},
             {2, 1},  {2, 16}, {2, 32}, {2, 40}, {2, 256}};

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        const struct kind *const k = &kinds[v[i].kind];
        struct probe *const p = probe_new(k, v[i].streams);
        struct gr_dart_config config = probe_config(p);
        static struct access want[2048];
        const uint32_t error = 0x85000004;
        size_t n;

        config.streams = (uint16_t)v[i].streams;
        for (uint32_t at = 0; at < 32; at++) { /* as firmware may have left it */
            p->regs[k->tcr / 4 + at] = 0x1100;
            p->regs[k->ttbr / 4 + at] = 0x80888888;
        }
        p->regs[k->error / 4] = error;
        n = expected_reset(k, v[i].streams, error, want);
        assert_int_equal(gr_dart_init(&p->dart, &config), 0);
        assert_writes(p, want, n);
        assert_int_equal(p->regs[k->error / 4], 0);
        assert_int_equal(p->dart.inst.streams, v[i].streams);
        assert_true(p->dart.invalidations == (k->kind == GR_DART_T8110 ? v[i].streams : 1));
        assert_false(p->commanded); /* it was seen to be done */
        n = 0;
        for (unsigned sid = 0; sid < v[i].streams; sid++)
            push(want, &n, k->tcr + 4 * sid, 0);
        assert_int_equal(gr_dart_fini(&p->dart), 0);
        assert_writes(p, want, n);
        probe_free(p, false);
    }
}

/* ---- attach, block, invalidate ---- */

static const struct gr_pt one_root = {.root_pa = 0x8a0b0c000, .granule_lg2 = 14, .roots_lg2 = 0};
static const struct gr_pt four_roots = {.root_pa = 0x86ffff000, .granule_lg2 = 12, .roots_lg2 = 2};
static const struct gr_pt four_large = {.root_pa = 0x8a0b00000, .granule_lg2 = 14, .roots_lg2 = 2};

static int attach(struct probe *p, uint32_t sid, const struct gr_pt *pt, struct gr_binding *b)
{
    return p->dart.inst.ops->attach(&p->dart.inst, sid, pt, b);
}

static int block(struct probe *p, uint32_t sid, struct gr_binding *b)
{
    return p->dart.inst.ops->block(&p->dart.inst, sid, b);
}

static int invalidate(struct probe *p, struct gr_binding *b)
{
    return p->dart.inst.ops->invalidate(&p->dart.inst, b, 0, UINT64_MAX, true);
}

/* Firmware let one stream go as another: DART.md 2. It must go as itself again, or nowhere.
 */
static void remap_is_reset(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct dart_model_config config = model_of(&kinds[i]);
        struct probe *const p = probe_new_model(&kinds[i], &config, 1);
        struct gr_binding b = {.inst = &p->dart.inst};
        const uint64_t len = 0x4000;
        struct gr_pt pt;
        uint64_t pa = 0;
        uint64_t done;

        if (kinds[i].kind == GR_DART_S5L8960X) { /* nothing is known of a remap there */
            probe_free(p, false);
            continue;
        }
        if (kinds[i].remap) {
            dart_model_poke32(p->model.model, kinds[i].remap, 0x03030100);      /* 2 as 3 */
            dart_model_poke32(p->model.model, kinds[i].remap + 12, 0x030e0d0c); /* 15 as 3 */
        } else {
            dart_model_poke32(p->model.model, kinds[i].tcr + 8, 0x380);
            dart_model_poke32(p->model.model, kinds[i].tcr + 60, 0x380);
        }
        probe_start(p, 0);
        assert_int_equal(gr_pt_init(&pt, p->h, &p->dart.inst.table), 0);
        assert_int_equal(gr_pt_map(&pt, 0x4000, 0x900000000, len, RW, &done), 0);
        assert_int_equal(attach(p, 3, &pt, &b), 0);
        for (unsigned sid = 0; sid < 16; sid++)
            assert_int_equal(dart_model_translate(p->model.model, sid, 0x4000, false, 4, &pa),
                             sid == 3 ? MODEL_OK : MODEL_FAULT);
        assert_int_equal(block(p, 3, &b), 0);
        gr_pt_fini(&pt);
        probe_free(p, true);
    }
}

/* Nor do streams pass that the host has not counted, whatever firmware let them do. */
static void uncounted_streams_are_blocked(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct dart_model_config config = model_of(&kinds[i]);
        struct probe *const p = probe_new_model(&kinds[i], &config, 1);
        uint64_t pa = 0;

        const uint32_t streams = kinds[i].streams;
        const uint32_t open = kinds[i].kind == GR_DART_T8110 ? 0x2
                              : kinds[i].bypass              ? 0x1100
                                                             : 0x80;

        for (uint32_t sid = streams / 2; sid < streams; sid++)
            probe_set_tcr(p, sid, open);
        if (kinds[i].enable)
            dart_model_poke32(p->model.model, kinds[i].enable, 0xffff);
        probe_start(p, streams / 2);
        for (unsigned sid = 0; sid < streams; sid++)
            assert_int_equal(dart_model_translate(p->model.model, sid, 0x900000000, false, 4, &pa),
                             MODEL_FAULT);
        probe_free(p, true);
    }
}

/* What is the identity already is left alone; the rest is written once streams are blocked. */
static void remap_is_written_where_it_differs(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct probe *const p = probe_new(&kinds[i], 16);
        struct gr_dart_config config = probe_config(p);
        const uint32_t at = kinds[i].remap + 8;

        if (kinds[i].remap) {
            p->regs[at / 4] = 0x0b0a0908 ^ 0x03000000;
            assert_int_equal(gr_dart_init(&p->dart, &config), 0);
            assert_int_equal(p->writes[kinds[i].streams].offset, at);
            assert_int_equal(p->writes[kinds[i].streams].value, 0x0b0a0908);
            for (size_t n = 0; n < p->written; n++)
                assert_true(n == kinds[i].streams || p->writes[n].offset < 0x80 ||
                            p->writes[n].offset > 0x8c);
        }
        probe_free(p, kinds[i].remap);
    }
}

static bool remap_is_fixed(struct probe *p, uint32_t offset, uint32_t *out)
{
    *out = 0x03020000;
    return offset == p->k->remap;
}

static void remap_that_stays_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct probe *const p = probe_new(&kinds[i], 16);
        struct gr_dart_config config = probe_config(p);

        if (kinds[i].remap) {
            for (uint32_t sid = 0; sid < 16; sid++)
                p->regs[kinds[i].tcr / 4 + sid] = 0x80;
            p->on_read = remap_is_fixed;
            assert_int_equal(gr_dart_init(&p->dart, &config), GR_EIO);
            assert_non_null(strstr(host_last_log(p->h), "dart-under-test: "));
            assert_non_null(strstr(host_last_log(p->h), "STREAM_REMAP"));
            for (uint32_t sid = 0; sid < 16; sid++)
                assert_int_equal(p->regs[kinds[i].tcr / 4 + sid], 0);
        }
        probe_free(p, false);
    }
}

static void t8020_values_of(const struct kind *k)
{
    struct probe *const p = probe_new(k, 16);
    struct gr_binding b = {.inst = &p->dart.inst, .streams = 1};

    probe_start(p, 0);
    assert_int_equal(attach(p, 5, &one_root, &b), 0);
    ASSERT_WRITES(p, {0x114, 0}, {0x250, 0x808a0b0c}, {0x254, 0}, {0x258, 0}, {0x25c, 0},
                  {0x34, 0x20}, {0x20, 0x00100000}, {0x114, 0x80});
    assert_true(b.hw[0] == 0x20 && !b.hw[1] && !b.hw[2] && !b.hw[3]);
    assert_int_equal(invalidate(p, &b), 0);
    ASSERT_WRITES(p, {0x34, 0x20}, {0x20, 0x00100000});

    /* Four tables of 4 KiB, four of 16 KiB, and one again: what is not used is zero. */
    assert_int_equal(attach(p, 5, &four_roots, &b), 0);
    ASSERT_WRITES(p, {0x114, 0}, {0x250, 0x8086ffff}, {0x254, 0x80870000}, {0x258, 0x80870001},
                  {0x25c, 0x80870002}, {0x34, 0x20}, {0x20, 0x00100000}, {0x114, 0x80});
    assert_int_equal(attach(p, 5, &four_large, &b), 0);
    ASSERT_WRITES(p, {0x114, 0}, {0x250, 0x808a0b00}, {0x254, 0x808a0b04}, {0x258, 0x808a0b08},
                  {0x25c, 0x808a0b0c}, {0x34, 0x20}, {0x20, 0x00100000}, {0x114, 0x80});
    assert_int_equal(attach(p, 5, &one_root, &b), 0);
    assert_int_equal(p->regs[0x254 / 4] | p->regs[0x258 / 4] | p->regs[0x25c / 4], 0);
    p->written = 0;

    /* A second stream of the binding: one command for both. */
    assert_int_equal(attach(p, 15, &one_root, &b), 0);
    p->written = 0;
    assert_int_equal(invalidate(p, &b), 0);
    ASSERT_WRITES(p, {0x34, 0x8020}, {0x20, 0x00100000});
    assert_int_equal(block(p, 5, &b), 0);
    ASSERT_WRITES(p, {0x114, 0}, {0x250, 0}, {0x254, 0}, {0x258, 0}, {0x25c, 0}, {0x34, 0x20},
                  {0x20, 0x00100000});
    assert_true(b.hw[0] == 0x8000);
    assert_int_equal(block(p, 15, &b), 0);
    assert_true(b.hw[0] == 0);
    p->written = 0;
    assert_int_equal(invalidate(p, &b), 0); /* of nothing */
    assert_int_equal(p->written, 0);
    probe_free(p, true);
}

static void t8020_values(void **state)
{
    (void)state;
    t8020_values_of(&kinds[0]);
    t8020_values_of(&kinds[1]);
}

static void t8020_32_streams(void **state)
{
    struct probe *const p = probe_new(&kinds[0], 32);
    struct gr_binding b = {.inst = &p->dart.inst, .streams = 3};

    (void)state;
    probe_start(p, 32);
    assert_int_equal(attach(p, 0, &one_root, &b), 0);
    assert_int_equal(attach(p, 31, &one_root, &b), 0);
    ASSERT_WRITES(p, {0x100, 0}, {0x200, 0x808a0b0c}, {0x204, 0}, {0x208, 0}, {0x20c, 0}, {0x34, 1},
                  {0x20, 0x00100000}, {0x100, 0x80}, {0x17c, 0}, {0x3f0, 0x808a0b0c}, {0x3f4, 0},
                  {0x3f8, 0}, {0x3fc, 0}, {0x34, 0x80000000}, {0x20, 0x00100000}, {0x17c, 0x80});
    assert_int_equal(invalidate(p, &b), 0);
    ASSERT_WRITES(p, {0x34, 0x80000001}, {0x20, 0x00100000});
    probe_free(p, true);
}

static void t8110_values(void **state)
{
    static const struct gr_pt high = {.root_pa = 0x97c9d4000, .granule_lg2 = 14};
    static const struct gr_pt highest = {.root_pa = 0x3ffffffc000, .granule_lg2 = 14};
    struct probe *const p = probe_new(&kinds[2], 256);
    struct gr_binding b = {.inst = &p->dart.inst, .streams = 1};

    (void)state;
    probe_start(p, 0);
    assert_int_equal(attach(p, 5, &one_root, &b), 0);
    ASSERT_WRITES(p, {0x1014, 0}, {0x1414, 0x008a0b0d}, {0x80, 0x105}, {0x1014, 1});
    assert_int_equal(invalidate(p, &b), 0);
    ASSERT_WRITES(p, {0x80, 0x105});
    assert_int_equal(attach(p, 5, &high, &b), 0);
    ASSERT_WRITES(p, {0x1014, 0}, {0x1414, 0x0097c9d5}, {0x80, 0x105}, {0x1014, 1});
    assert_int_equal(attach(p, 255, &highest, &b), 0);
    ASSERT_WRITES(p, {0x13fc, 0}, {0x17fc, 0x3ffffffd}, {0x80, 0x1ff}, {0x13fc, 1});
    for (uint32_t sid = 31; sid < 256; sid += 32)
        assert_int_equal(attach(p, sid, &one_root, &b), 0);
    p->written = 0;
    assert_true(b.hw[0] == 0x8000000080000020 && b.hw[1] == 0x8000000080000000);
    assert_true(b.hw[2] == 0x8000000080000000 && b.hw[3] == 0x8000000080000000);
    assert_int_equal(invalidate(p, &b), 0); /* one command for each stream */
    ASSERT_WRITES(p, {0x80, 0x105}, {0x80, 0x11f}, {0x80, 0x13f}, {0x80, 0x15f}, {0x80, 0x17f},
                  {0x80, 0x19f}, {0x80, 0x1bf}, {0x80, 0x1df}, {0x80, 0x1ff});
    assert_int_equal(block(p, 255, &b), 0);
    ASSERT_WRITES(p, {0x13fc, 0}, {0x17fc, 0}, {0x80, 0x1ff});
    assert_true(b.hw[3] == 0x80000000);
    probe_free(p, true);
}

/* DART.md 13, the four-level example; revision 1 has no such bit (DART.md 3). */
static void t8110_four_levels(void **state)
{
    static const struct gr_pt deep = {.root_pa = 0x8a0b08000, .granule_lg2 = 14, .levels = 3};
    static const struct gr_pt flat = {.root_pa = 0x8a0b0c000, .granule_lg2 = 14, .levels = 2};
    struct probe *const p = probe_new(&kinds[2], 16);
    struct gr_binding b = {.inst = &p->dart.inst, .streams = 1};

    (void)state;
    p->regs[2] = 42u << 24 | 42u << 16 | 0x0200u;
    probe_start(p, 0);
    assert_int_equal(p->dart.inst.table.levels, 3);
    assert_int_equal(p->dart.inst.table.va_bits, 42);
    assert_true(p->dart.inst.aperture.last == (UINT64_C(1) << 42) - 1);
    assert_int_equal(attach(p, 5, &deep, &b), 0);
    ASSERT_WRITES(p, {0x1014, 0}, {0x1414, 0x008a0b09}, {0x80, 0x105}, {0x1014, 0x9});
    assert_int_equal(attach(p, 5, &flat, &b), 0);
    ASSERT_WRITES(p, {0x1014, 0}, {0x1414, 0x008a0b0d}, {0x80, 0x105}, {0x1014, 0x1});
    assert_int_equal(block(p, 5, &b), 0);
    probe_free(p, true);
}

static void t8110_40_streams(void **state)
{
    struct probe *const p = probe_new(&kinds[2], 40);
    struct gr_binding b = {.inst = &p->dart.inst, .streams = 2};

    (void)state;
    probe_start(p, 0);
    assert_int_equal(p->dart.inst.streams, 40);
    assert_int_equal(p->regs[0xc00 / 4], UINT32_MAX);
    assert_int_equal(p->regs[0xc04 / 4], 0xff);
    assert_int_equal(p->regs[0xc08 / 4], 0);
    assert_int_equal(attach(p, 39, &one_root, &b), 0);
    assert_int_equal(attach(p, 31, &one_root, &b), 0);
    p->written = 0;
    assert_int_equal(invalidate(p, &b), 0);
    ASSERT_WRITES(p, {0x80, 0x11f}, {0x80, 0x127});
    probe_free(p, true);
}

/* The watch over streams sees what the driver must not do. */
static void the_watch_sees(void **state)
{
    struct probe *p = probe_new(&kinds[0], 16);

    (void)state;
    probe_write(p, 0x250, 0x80000001);
    probe_write(p, 0x114, 0x80); /* nothing forgotten */
    assert_int_equal(p->mixed, 1);
    probe_write(p, 0x34, 0x20);
    probe_write(p, 0x20, 0x00100000);
    assert_int_equal(p->hasty, 0);
    probe_write(p, 0x34, 0x20); /* not waited for */
    assert_int_equal(p->hasty, 1);
    (void)probe_read(p, 0x20);
    probe_write(p, 0x114, 0x80);
    assert_int_equal(p->mixed, 1);
    probe_write(p, 0x254, 0x80000002); /* under a translating stream */
    assert_int_equal(p->mixed, 2);
    p->mixed = 0;
    p->hasty = 0;
    probe_free(p, false);
}

/*
 * Streams move between tables and nothing, commands take their time, and an access goes where the
 * stream's last table says. The watch in the register file sees to it that nothing is ever mixed.
 */
static void moves_of(const struct kind *k)
{
    enum { PTS = 3, STREAMS = 4, MOVES = 400 };
    struct dart_model_config config = model_of(k);
    struct gr_binding b[PTS];
    struct gr_pt pt[PTS];
    int where[STREAMS];
    uint64_t rng = seed;
    struct probe *p;

    config.keep_all = true;
    p = probe_new_model(k, &config, seed);
    probe_start(p, 0);
    for (unsigned i = 0; i < PTS; i++) {
        uint64_t done;

        b[i] = (struct gr_binding){.inst = &p->dart.inst};
        assert_int_equal(gr_pt_init(&pt[i], p->h, &p->dart.inst.table), 0);
        assert_int_equal(gr_pt_map(&pt[i], 0x4000, 0x900000000 + i * 0x4000, 0x4000, RW, &done), 0);
    }
    memset(where, -1, sizeof(where));
    for (unsigned n = 0; n < MOVES; n++) {
        const uint32_t sid = (uint32_t)(chance_next(&rng) % STREAMS);
        const int to = (int)(chance_next(&rng) % (PTS + 1)) - 1;

        dart_model_set_busy(p->model.model, chance_next(&rng) % 2 ? chance_next(&rng) % 100000 : 0,
                            false);
        if (where[sid] >= 0 && chance_next(&rng) % 3 == 0)
            assert_int_equal(invalidate(p, &b[where[sid]]), 0);
        if (to >= 0)
            assert_int_equal(attach(p, sid, &pt[to], &b[to]), 0);
        else
            assert_int_equal(block(p, sid, &b[where[sid] < 0 ? 0 : where[sid]]), 0);
        if (where[sid] >= 0 && to >= 0 && to != where[sid])
            b[where[sid]].hw[0] &= ~(UINT64_C(1) << sid);
        where[sid] = to;
        for (uint32_t s = 0; s < STREAMS; s++) {
            uint64_t pa = 0;
            const enum model_result r =
                dart_model_translate(p->model.model, s, 0x4123, false, 4, &pa);

            assert_int_equal(r, where[s] < 0 ? MODEL_FAULT : MODEL_OK);
            if (where[s] >= 0)
                assert_true(pa == 0x900000123 + (uint64_t)where[s] * 0x4000);
        }
    }
    for (uint32_t sid = 0; sid < STREAMS; sid++)
        assert_int_equal(block(p, sid, &b[0]), 0);
    for (unsigned i = 0; i < PTS; i++)
        gr_pt_fini(&pt[i]);
    probe_free(p, true);
}

static void moves(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++)
        moves_of(&kinds[i]);
}

/* ---- parameters ---- */

struct given {
    const char *what;
    unsigned kind;
    uint32_t params1, params3, params4; /* 0: as probe_new() has them */
    struct gr_dart_config config;       /* widths, streams and aperture of it */
};

static struct probe *with(const struct given *g, struct gr_dart_config *out)
{
    struct probe *const p = probe_new(&kinds[g->kind], 16);

    if (g->params1)
        p->regs[0] = g->params1;
    if (g->params3)
        p->regs[2] = g->params3;
    if (g->params4)
        p->regs[3] = g->params4;
    *out = probe_config(p);
    out->va_bits = g->config.va_bits;
    out->pa_bits = g->config.pa_bits;
    out->streams = g->config.streams;
    out->aperture = g->config.aperture;
    return p;
}

#define T8110(pa, va) ((pa) << 24 | (va) << 16 | REVISION_1)

static void parameters(void **state)
{
    static const struct {
        struct {
            unsigned granule_lg2, roots_lg2, va_bits, pa_bits, streams;
        };
        struct gr_range aperture;
        struct given given;
    } v[] = {
        {{14, 2, 32, 36, 16}, {0, 0xffffffff}, {"t8020", 0, 0, 0, 0, {0}}},
        {{14, 2, 32, 42, 16}, {0, 0xffffffff}, {"t6000", 1, 0, 0, 0, {0}}},
        {{14, 0, 36, 42, 16}, {0, 0xfffffffff}, {"t8110", 2, 0, 0, 0, {0}}},
        {{12, 2, 32, 36, 16}, {0, 0xffffffff}, {"4 KiB", 0, 12u << 24, 0, 0, {0}}},
        {{14, 2, 32, 36, 16}, {0, 0xffffffff}, {"other bits of PARAMS1", 0, 0xfeffffff, 0, 0, {0}}},
        {{14, 2, 38, 36, 32},
         {0, 0x3fffffffff},
         {"t8020 as wide as it gets", 0, 0, 0, 0, {.va_bits = 38, .streams = 32}}},
        {{14, 2, 38, 36, 16},
         {0, 0x3fffffffff},
         {"t8020 wider than its tables", 0, 0, 0, 0, {.va_bits = 42}}},
        {{12, 2, 32, 36, 16},
         {0, 0xffffffff},
         {"t8020 of 4 KiB, wider than its tables", 0, 12u << 24, 0, 0, {.va_bits = 36}}},
        {{14, 2, 30, 36, 4},
         {0, 0x3fffffff},
         {"t6000 narrowed", 1, 0, 0, 0, {.va_bits = 30, .pa_bits = 36, .streams = 4}}},
        {{14, 0, 36, 42, 64},
         {0, 0xfffffffff},
         {"t8110 of 42 bits", 2, 0, T8110(42u, 42u), 64, {0}}},
        {{12, 0, 30, 36, 256},
         {0, 0x3fffffff},
         {"t8110 of 42 bits, 4 KiB", 2, 12u << 24, T8110(36u, 42u), 256, {0}}},
        {{14, 0, 32, 36, 9},
         {0, 0xffffffff},
         {"t8110 narrowed",
          2,
          0,
          T8110(42u, 42u),
          256,
          {.va_bits = 32, .pa_bits = 36, .streams = 9}}},
        {{14, 0, 34, 36, 8},
         {0, 0x3ffffffff},
         {"t8110 cannot be widened",
          2,
          0,
          T8110(36u, 34u),
          8,
          {.va_bits = 36, .pa_bits = 42, .streams = 16}}},
        {{14, 0, 36, 42, 16},
         {0, 0xfffffffff},
         {"other bits of PARAMS3 and 4", 2, 0, 0xc0000000 | T8110(42u, 36u), 0xffff0000 | 16, {0}}},
        {{14, 2, 32, 36, 16},
         {0, 0xfbffffff},
         {"a window", 0, 0, 0, 0, {.aperture = {0, 0xfbffffff}}}},
        {{14, 2, 32, 36, 16},
         {0xf00000000, 0xffbffffff},
         {"a window above the bits that are translated",
          0,
          0,
          0,
          0,
          {.aperture = {0xf00000000, 0xffbffffff}}}},
        {{14, 0, 36, 36, 16},
         {0x800000000, 0xfffefffff},
         {"the t8112 display coprocessor's",
          2,
          0,
          T8110(36u, 36u),
          0,
          {.aperture = {0x800000000, 0xfffefffff}}}},
        {{14, 0, 36, 42, 16},
         {0x10000000000, 0x10fffffffff},
         {"a window of 42 bits that fits",
          2,
          0,
          T8110(42u, 42u),
          0,
          {.aperture = {0x10000000000, 0x10fffffffff}}}},
        {{14, 0, 36, 42, 16},
         {0x10800000000, 0x10fffffffff},
         {"a window of 42 bits that is clamped",
          2,
          0,
          T8110(42u, 42u),
          0,
          {.aperture = {0x10800000000, 0x11fffffffff}}}},
        {{14, 2, 32, 36, 16},
         {0xffffffff00000000, UINT64_MAX},
         {"the last window", 0, 0, 0, 0, {.aperture = {0xffffffff00000000, UINT64_MAX}}}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct gr_dart_config config;
        struct probe *const p = with(&v[i].given, &config);
        const struct gr_instance *const inst = &p->dart.inst;

        if (gr_dart_init(&p->dart, &config))
            fail_msg("%s: refused: %s", v[i].given.what, host_last_log(p->h));
        if (inst->aperture.first != v[i].aperture.first ||
            inst->aperture.last != v[i].aperture.last)
            fail_msg("%s: aperture 0x%" PRIx64 "..0x%" PRIx64, v[i].given.what,
                     inst->aperture.first, inst->aperture.last);
        assert_int_equal(inst->table.format, v[i].given.kind == 0 ? GR_PT_DART1 : GR_PT_DART2);
        assert_int_equal(inst->table.granule_lg2, v[i].granule_lg2);
        assert_int_equal(inst->table.levels, 2);
        assert_int_equal(inst->table.roots_lg2, v[i].roots_lg2);
        assert_int_equal(inst->table.va_bits, v[i].va_bits);
        assert_int_equal(inst->table.pa_bits, v[i].pa_bits);
        assert_int_equal(inst->streams, v[i].streams);
        assert_true(inst->table.coherent && inst->caches_absent && !inst->locked);
        assert_string_equal(inst->name, "dart-under-test");
        probe_free(p, true);
    }
}

static void bypass_is_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct probe *p = probe_new(&kinds[i], 16);

        probe_start(p, 0);
        assert_false(p->dart.inst.bypass);
        probe_free(p, true);
        p = probe_new(&kinds[i], 16);
        p->regs[1] = 0x30110003;
        probe_start(p, 0);
        assert_int_equal(p->dart.inst.bypass, kinds[i].bypass); /* USB4: never, DART.md 2 */
        assert_int_equal(p->dart.params[1], kinds[i].page_bits == 12 ? 0 : 0x30110003);
        probe_free(p, true);
    }
}

/* The driver does not start, says why, names the instance, and has written nothing. */
static void assert_refused(struct probe *p, const struct gr_dart_config *config, const char *what,
                           int err)
{
    const int ret = gr_dart_init(&p->dart, config);

    if (ret != err)
        fail_msg("%s, %s: %d, not %d", p->k->name, what, ret, err);
    assert_int_equal(p->written, 0);
    if (strncmp(host_last_log(p->h), "dart-under-test: ", 17) != 0)
        fail_msg("%s, %s: the log says \"%s\"", p->k->name, what, host_last_log(p->h));
    probe_free(p, false);
}

static void refusals(void **state)
{
    static const struct {
        struct given given;
        int err;
    } v[] = {
        {{"granule 2^13", 0, 13u << 24, 0, 0, {0}}, GR_EIO},
        {{"granule 2^15", 2, 15u << 24, 0, 0, {0}}, GR_EIO},
        {{"nothing answers", 0, UINT32_MAX, 0, 0, {0}}, GR_EIO},
        {{"257 streams", 2, 0, 0, 257, {0}}, GR_EIO},
        {{"511 streams", 2, 0, 0, 511, {0}}, GR_EIO},
        {{"no stream", 2, 0, 0, 0x00100000, {0}}, GR_EIO},
        {{"33 streams asked", 0, 0, 0, 0, {.streams = 33}}, GR_EINVAL},
        {{"256 streams asked", 1, 0, 0, 0, {.streams = 256}}, GR_EINVAL},
        {{"pa 42 of DART1", 0, 0, 0, 0, {.pa_bits = 42}}, GR_EINVAL},
        {{"pa 40", 1, 0, 0, 0, {.pa_bits = 40}}, GR_EINVAL},
        {{"pa 40 asked", 2, 0, 0, 0, {.pa_bits = 40}}, GR_EINVAL},
        {{"va as small as a granule", 0, 0, 0, 0, {.va_bits = 14}}, GR_EINVAL},
        {{"va 1", 2, 0, 0, 0, {.va_bits = 1}}, GR_EINVAL},
        {{"aperture upside down", 0, 0, 0, 0, {.aperture = {0x8000, 0x4000}}}, GR_EINVAL},
        {{"aperture over two blocks", 0, 0, 0, 0, {.aperture = {0xffffc000, 0x100003fff}}},
         GR_EINVAL},
        {{"aperture over two blocks", 2, 0, 0, 0, {.aperture = {0, 0x1000000000}}}, GR_EINVAL},
        {{"aperture of all", 0, 0, 0, 0, {.aperture = {0, UINT64_MAX}}}, GR_EINVAL},
        /* Said by registers, so it is the hardware that cannot be: GR_EIO. */
        {{"PARAMS3 with pa 40", 2, 0, T8110(40u, 36u), 0, {0}}, GR_EIO},
        {{"PARAMS3 with va 14", 2, 0, T8110(42u, 14u), 0, {0}}, GR_EIO},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        struct gr_dart_config config;
        struct probe *const p = with(&v[i].given, &config);

        assert_refused(p, &config, v[i].given.what, v[i].err);
    }
}

static void refusals_of_the_window(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct probe *const p = probe_new(&kinds[i], 16);
        struct gr_dart_config config = probe_config(p);

        config.mmio_size = kinds[i].kind == GR_DART_S5L8960X ? 0x1fff : 0x3fff;
        assert_refused(p, &config, "a small window", GR_EINVAL);
    }
}

static void refusals_of_the_kind(void **state)
{
    static const unsigned bad[] = {0, 6, 99};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct probe *const p = probe_new(&kinds[0], 16);
        struct gr_dart_config config = probe_config(p);

        config.kind = (enum gr_dart_kind)bad[i];
        assert_refused(p, &config, "no such kind", GR_EINVAL);
    }
}

static void tcr_and_ttbr_kept(const struct probe *p)
{
    const struct kind *const k = p->k;

    for (size_t i = 0; i < p->written; i++) {
        const uint32_t offset = p->writes[i].offset;

        assert_false(offset >= k->tcr && offset < k->tcr + 64);
        assert_false(offset >= k->ttbr && offset < k->ttbr + 64 * k->ttbrs);
        assert_false(k->kind != GR_DART_T8110 && offset >= 0x80 && offset < 0x90);
    }
    assert_true(p->written > 0);
}

/* DART.md 9.1: what firmware locked keeps its state; the driver does not even try. */
static void locked(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct dart_model_config config = model_of(&kinds[i]);
        struct probe *p = probe_new(&kinds[i], 16);

        struct gr_dart_config given = probe_config(p);

        if (!kinds[i].lock_bit) { /* DART.md 6: no lock is known */
            probe_free(p, false);
            continue;
        }
        p->regs[kinds[i].lock / 4] = kinds[i].lock_bit;
        assert_int_equal(gr_dart_init(&p->dart, &given), 0);
        assert_true(p->dart.inst.locked);
        assert_int_equal(gr_dart_fini(&p->dart), 0);
        tcr_and_ttbr_kept(p);
        probe_free(p, false);
        config.locked = true;
        p = probe_new_model(&kinds[i], &config, 1);
        probe_start(p, 0);
        assert_int_equal(gr_dart_fini(&p->dart), 0);
        assert_int_equal(dart_model_stats(p->model.model)->locked_writes, 0);
        probe_free(p, false);

        /* Every other bit of that register is no lock of TCR and TTBR. */
        p = probe_new(&kinds[i], 16);
        p->regs[kinds[i].lock / 4] = ~kinds[i].lock_bit;
        probe_start(p, 0);
        assert_false(p->dart.inst.locked);
        probe_free(p, true);
    }
}

static void fini_while_in_use(void **state)
{
    struct probe *const p = probe_new(&kinds[0], 16);
    struct gr_link link;

    (void)state;
    probe_start(p, 0);
    link = p->dart.inst.stream_list;
    p->dart.inst.stream_list.next = &link;
    p->dart.inst.stream_list.prev = &link;
    assert_int_equal(gr_dart_fini(&p->dart), GR_EBUSY);
    assert_int_equal(p->written, 0);
    p->dart.inst.stream_list = link;
    probe_free(p, true);
}

/* ---- bounded waits ---- */

static bool blocked(struct probe *p, uint32_t sid)
{
    return probe_tcr(p, sid) == 0;
}

/* It gives up, not before the limit and not much after. */
#define ASSERT_TIMES_OUT(p, call)                                                                  \
    do {                                                                                           \
        const uint64_t start_ = host_now((p)->h);                                                  \
        const uint64_t before_ = (p)->dart.timeouts;                                               \
        assert_int_equal(call, GR_ETIMEDOUT);                                                      \
        assert_in_range(host_now((p)->h) - start_, LIMIT, LIMIT + SLACK);                          \
        assert_true((p)->dart.timeouts == before_ + 1);                                            \
    } while (0)

static void init_times_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        const struct kind *const k = &kinds[i];
        struct dart_model_config config = model_of(k);
        struct gr_dart_config given;
        uint64_t start;
        struct probe *p;

        if (k->kind == GR_DART_T8110)
            config.streams = 256;
        p = probe_new_model(k, &config, 1);
        given = probe_config(p);
        for (uint32_t sid = 0; sid < config.streams; sid++)
            probe_set_tcr(p, sid, k->bypass ? 0x1100 : 0x80);
        dart_model_set_busy(p->model.model, 0, true);
        start = host_now(p->h);
        assert_int_equal(gr_dart_init(&p->dart, &given), GR_ETIMEDOUT);
        assert_in_range(host_now(p->h) - start, LIMIT, LIMIT + SLACK);
        for (uint32_t sid = 0; sid < config.streams; sid++)
            assert_true(blocked(p, sid));
        assert_non_null(strstr(host_last_log(p->h), "dart-under-test: "));
        assert_non_null(strstr(host_last_log(p->h), "TLB command"));
        probe_free(p, false);
    }
}

static void waits_of(const struct kind *k)
{
    const struct dart_model_config config = model_of(k);
    struct probe *const p = probe_new_model(k, &config, 1);
    struct gr_binding b = {.inst = &p->dart.inst, .streams = 1};
    struct dart_model *const m = p->model.model;
    uint64_t before;

    probe_start(p, 0);

    /* Late, but inside the limit. */
    dart_model_set_busy(m, LIMIT - 1000, false);
    assert_int_equal(attach(p, 3, &one_root, &b), 0);
    assert_false(blocked(p, 3));
    assert_int_equal(invalidate(p, &b), 0);
    assert_int_equal(block(p, 3, &b), 0);
    assert_true(p->dart.timeouts == 0);

    /* Just too late: the stream stays blocked. */
    dart_model_set_busy(m, LIMIT + 1000, false);
    ASSERT_TIMES_OUT(p, attach(p, 3, &one_root, &b));
    assert_true(blocked(p, 3));
    host_advance(p->h, LIMIT);

    /* The command after one that timed out waits for it first, and then for its own. */
    dart_model_set_busy(m, 0, false);
    assert_int_equal(attach(p, 3, &one_root, &b), 0);
    dart_model_set_busy(m, LIMIT + LIMIT / 2, false);
    ASSERT_TIMES_OUT(p, invalidate(p, &b));
    assert_false(blocked(p, 3)); /* what follows from it is not the driver's to decide */
    dart_model_set_busy(m, LIMIT / 4, false);
    before = host_now(p->h);
    assert_int_equal(invalidate(p, &b), 0);
    assert_in_range(host_now(p->h) - before, LIMIT / 2 + LIMIT / 4, LIMIT / 2 + LIMIT / 4 + SLACK);

    /* Stuck for good: nothing is written to the command's registers any more. */
    dart_model_set_busy(m, 0, true);
    ASSERT_TIMES_OUT(p, invalidate(p, &b));
    p->written = 0;
    ASSERT_TIMES_OUT(p, invalidate(p, &b));
    assert_int_equal(p->written, 0);
    ASSERT_TIMES_OUT(p, block(p, 3, &b));
    assert_true(blocked(p, 3));
    for (size_t i = 0; i < p->written; i++)
        assert_true(p->writes[i].offset != k->command && p->writes[i].offset != 0x34);
    ASSERT_TIMES_OUT(p, attach(p, 3, &one_root, &b));
    assert_true(blocked(p, 3));

    /* It comes back. */
    dart_model_set_busy(m, 0, false);
    assert_int_equal(attach(p, 3, &one_root, &b), 0);
    assert_false(blocked(p, 3));
    probe_free(p, true);
}

static void waits(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++)
        waits_of(&kinds[i]);
}

/* The first look at the command says busy, and the next time the CPU looks the limit is long over.
 */
static bool away(struct probe *p, uint32_t offset, uint32_t *out)
{
    if (offset != p->k->command || p->answers++)
        return false;
    *out = p->k->busy;
    host_advance(p->h, 2 * LIMIT);
    return true;
}

static void cpu_was_away(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        struct probe *const p = probe_new(&kinds[i], 16);
        struct gr_binding b = {.inst = &p->dart.inst, .streams = 1};

        probe_start(p, 0);
        p->on_read = away;
        assert_int_equal(attach(p, 5, &one_root, &b), 0);
        assert_true(p->answers > 1 && p->dart.timeouts == 0);
        probe_free(p, true);
    }
}

/* Of many commands the first that does not end is the last. */
static void many_commands_time_out_once(void **state)
{
    struct dart_model_config config = model_of(&kinds[2]);
    struct gr_binding b = {.streams = 64};
    struct probe *p;

    (void)state;
    config.streams = 256;
    p = probe_new_model(&kinds[2], &config, 1);
    probe_start(p, 0);
    for (uint32_t sid = 0; sid < 256; sid += 4)
        assert_int_equal(attach(p, sid, &one_root, &b), 0);
    dart_model_set_busy(p->model.model, 0, true);
    p->written = 0;
    ASSERT_TIMES_OUT(p, invalidate(p, &b));
    ASSERT_WRITES(p, {0x80, 0x100});
    dart_model_set_busy(p->model.model, 0, false);
    probe_free(p, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reset_order),
        cmocka_unit_test(remap_is_reset),
        cmocka_unit_test(uncounted_streams_are_blocked),
        cmocka_unit_test(remap_is_written_where_it_differs),
        cmocka_unit_test(remap_that_stays_is_refused),
        cmocka_unit_test(t8020_values),
        cmocka_unit_test(t8020_32_streams),
        cmocka_unit_test(t8110_values),
        cmocka_unit_test(t8110_four_levels),
        cmocka_unit_test(t8110_40_streams),
        cmocka_unit_test(the_watch_sees),
        cmocka_unit_test(moves),
        cmocka_unit_test(parameters),
        cmocka_unit_test(bypass_is_read),
        cmocka_unit_test(refusals),
        cmocka_unit_test(refusals_of_the_window),
        cmocka_unit_test(refusals_of_the_kind),
        cmocka_unit_test(locked),
        cmocka_unit_test(fini_while_in_use),
        cmocka_unit_test(init_times_out),
        cmocka_unit_test(waits),
        cmocka_unit_test(cpu_was_away),
        cmocka_unit_test(many_commands_time_out_once),
    };

    seed = chance_seed_or("dart", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
